//! Enrolment: the coordinator relays, the authority decides.
//!
//! The relay keeps three things in `STATE/enrolment`: `tokens.json` (digests of open tokens, from
//! the authority), `requests/AGENT.request` and `issued/AGENT.bundle`. The authority's owner
//! carries the folder to the authority's machine and back, or runs both on one for an evaluation.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chorale_transport::{
    authority::{Addresses, Authority},
    enrolment::{EnrolmentConfig, EnrolmentServer},
    invitation::TokenList,
    keys::CoordinatorKeys,
    tls::Credentials,
};
use chorale_wire::{
    AgentId, Membership, PublicKey, Signed, codec,
    limits::ENROLMENT_BYTES_MAX,
    message::{EnrolmentAnswer, EnrolmentBundle, EnrolmentRequest, Reason},
};

use crate::{cli::CaCommand, driver::now_s, error::RunError};

/// The folders of the relay.
#[derive(Clone, Debug)]
struct Relay {
    tokens: PathBuf,
    requests: PathBuf,
    issued: PathBuf,
}

impl Relay {
    fn open(state: &Path) -> io::Result<Self> {
        let root = state.join("enrolment");
        let relay = Self {
            tokens: root.join("tokens.json"),
            requests: root.join("requests"),
            issued: root.join("issued"),
        };
        fs::create_dir_all(&relay.requests)?;
        fs::create_dir_all(&relay.issued)?;
        Ok(relay)
    }

    fn request_path(&self, agent: &AgentId) -> PathBuf {
        self.requests.join(format!("{agent}.request"))
    }

    fn bundle_path(&self, agent: &AgentId) -> PathBuf {
        self.issued.join(format!("{agent}.bundle"))
    }

    /// Answers a store: its bundle, or that the authority has not signed yet.
    fn answer(&self, request: &Signed<EnrolmentRequest>) -> EnrolmentAnswer {
        let refused = |text: &str| EnrolmentAnswer::Refused(Reason::new(text));
        let Ok(claimed) = request.peek() else {
            return refused("the request cannot be read");
        };
        let agent = &claimed.agent;
        if let Some(bundle) = self.issued_for(&claimed) {
            return EnrolmentAnswer::Issued(Box::new(bundle));
        }
        let open = TokenList::read(&self.tokens)
            .is_ok_and(|tokens| tokens.admits(agent, &claimed.token, now_s()));
        if !open {
            tracing::warn!(%agent, "an enrolment request without an open invitation was refused");
            return refused(
                "no open invitation for this store and token: it is used, expired or unknown",
            );
        }
        let kept = codec::encode(request, ENROLMENT_BYTES_MAX)
            .map_err(io::Error::other)
            .and_then(|bytes| write(&self.request_path(agent), &bytes));
        match kept {
            Ok(()) => EnrolmentAnswer::Pending(Reason::new(
                "the request is here; the enrolment authority's owner has to sign it \
                 (coordinator ca sign)",
            )),
            Err(error) => {
                tracing::error!(%agent, %error, "an enrolment request could not be kept");
                refused("the coordinator cannot keep the request: its disk fails; try again later")
            }
        }
    }

    /// The issued bundle, if it is for the key that asks.
    fn issued_for(&self, request: &EnrolmentRequest) -> Option<EnrolmentBundle> {
        let bytes = fs::read(self.bundle_path(&request.agent)).ok()?;
        let bundle: EnrolmentBundle = codec::decode(&bytes, ENROLMENT_BYTES_MAX).ok()?;
        let membership = bundle.membership.peek().ok()?;
        (membership.identity == request.identity).then_some(bundle)
    }
}

/// Opens the enrolment endpoint. It closes when the answer is dropped.
pub(crate) fn listen(
    address: SocketAddr,
    credentials: Credentials,
    state: &Path,
    per_minute: Option<u32>,
) -> Result<EnrolmentServer, RunError> {
    let relay = Relay::open(state).map_err(|source| RunError::File {
        action: "create",
        path: state.join("enrolment"),
        source,
    })?;
    let handler = Arc::new(move |request: Signed<EnrolmentRequest>| relay.answer(&request));
    let mut config = EnrolmentConfig::new(address, credentials, handler);
    if let Some(per_minute) = per_minute {
        config.per_minute = per_minute;
    }
    EnrolmentServer::bind(config).map_err(|source| RunError::Bind(Box::new(source)))
}

/// The coordinator's keys, its credentials and the authority that it serves.
pub(crate) fn coordinator_keys(
    folder: &Path,
) -> Result<(CoordinatorKeys, Credentials, PublicKey), RunError> {
    let open = || {
        let keys = CoordinatorKeys::open(folder)?;
        let (credentials, authority) = keys.credentials(now_s())?;
        Ok((keys, credentials, authority))
    };
    open().map_err(|source: chorale_transport::keys::KeyError| RunError::Keys {
        path: folder.to_path_buf(),
        source: Box::new(source),
    })
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Carries out a command of the authority and gives what it has to say.
pub(crate) fn authority_command(command: CaCommand) -> Result<Vec<String>, AnyError> {
    match command {
        CaCommand::Create { ca, stores_max } => {
            let mut authority = Authority::create(&ca, now_s(), &mut system_rng()?)?;
            if let Some(places) = stores_max {
                authority.reserve(places)?;
            }
            Ok(vec![
                format!("a new enrolment authority is in {}", ca.display()),
                format!("membership key   {}", authority.public()),
                format!("root fingerprint {}", authority.root_fingerprint()),
                "keep this folder off the coordinator's machine, and back it up".into(),
            ])
        }
        CaCommand::Coordinator { ca, keys } => {
            let mut authority = Authority::open(&ca)?;
            let own = if keys.join("identity.key").exists() {
                CoordinatorKeys::open(&keys)?
            } else {
                CoordinatorKeys::generate(&keys, &mut system_rng()?)?
            };
            let bundle = authority.issue_server(&own.request()?, now_s(), &mut system_rng()?)?;
            own.accept(&bundle, now_s())?;
            Ok(vec![
                format!("the coordinator's keys and certificate are in {}", keys.display()),
                format!("coordinator key {}", own.identity().public()),
            ])
        }
        CaCommand::Invite { ca, stores, address, enrolment, out, state, days } => {
            invite(&ca, &stores, Addresses { coordinator: address, enrolment }, &out, &state, days)
        }
        CaCommand::Sign { ca, state } => sign(&ca, &state),
    }
}

fn invite(
    ca: &Path,
    stores: &Path,
    addresses: Addresses,
    out: &Path,
    state: &Path,
    days: u32,
) -> Result<Vec<String>, AnyError> {
    let mut authority = Authority::open(ca)?;
    let list = read_stores(stores)?;
    let validity = Duration::from_secs(u64::from(days) * 24 * 3600);
    let invitations = authority.invite(&list, &addresses, validity, now_s(), &mut system_rng()?)?;
    fs::create_dir_all(out).map_err(|e| format!("cannot create {}: {e}", out.display()))?;
    for invitation in &invitations {
        invitation.write(out)?;
    }
    let relay = Relay::open(state)
        .map_err(|e| format!("cannot create {}: {e}", state.join("enrolment").display()))?;
    fs::copy(authority.tokens_path(), &relay.tokens)
        .map_err(|e| format!("cannot write {}: {e}", relay.tokens.display()))?;
    Ok(vec![
        format!("{} invitations are in {}", invitations.len(), out.display()),
        format!("N = {} identities are on the list", authority.enrolled()),
        format!("valid for {days} days; hand each file to its store over a channel you trust"),
    ])
}

fn sign(ca: &Path, state: &Path) -> Result<Vec<String>, AnyError> {
    let mut authority = Authority::open(ca)?;
    let relay = Relay::open(state)
        .map_err(|e| format!("cannot use {}: {e}", state.join("enrolment").display()))?;
    let mut said = Vec::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(&relay.requests)
        .map_err(|e| format!("cannot read {}: {e}", relay.requests.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "request"))
        .collect();
    paths.sort();
    for path in paths {
        let bytes = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let signed = codec::decode::<Signed<EnrolmentRequest>>(&bytes, ENROLMENT_BYTES_MAX)
            .map_err(AnyError::from)
            .and_then(|request| {
                let bundle = authority.sign(&request, now_s(), &mut system_rng()?)?;
                let member = bundle.membership.peek()?;
                let path = relay.bundle_path(&member.agent);
                write(&path, &codec::encode(&bundle, ENROLMENT_BYTES_MAX)?)?;
                Ok(member)
            });
        match signed {
            Ok(member) => {
                // The authority's owner can compare the key with what the administrator says.
                let Membership { agent, administrator, .. } = member;
                said.push(format!("signed    {agent}, administrator's key {administrator}"));
                fs::remove_file(&path)
                    .map_err(|e| format!("cannot remove {}: {e}", path.display()))?;
            }
            Err(error) => {
                said.push(format!("NOT signed {}: {error}", path.display()));
                fs::rename(&path, path.with_extension("refused"))
                    .map_err(|e| format!("cannot set {} aside: {e}", path.display()))?;
            }
        }
    }
    // The authority has closed the tokens it used; the relay must know.
    if !said.is_empty() {
        fs::copy(authority.tokens_path(), &relay.tokens)
            .map_err(|e| format!("cannot write {}: {e}", relay.tokens.display()))?;
    } else {
        said.push("no request waits".into());
    }
    Ok(said)
}

/// The stores in a CSV file with a column `agent` and, if there is one, `note`.
fn read_stores(path: &Path) -> Result<Vec<(AgentId, String)>, AnyError> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    let agent = columns
        .iter()
        .position(|column| *column == "agent")
        .ok_or_else(|| format!("{} line 1: a column 'agent' is needed", path.display()))?;
    let note = columns.iter().position(|column| *column == "note");
    let mut stores = Vec::new();
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let name = cells.get(agent).copied().unwrap_or_default();
        let id = AgentId::new(name)
            .map_err(|error| format!("{} line {}: {error}", path.display(), number + 2))?;
        let note = note.and_then(|column| cells.get(column)).copied().unwrap_or_default();
        stores.push((id, note.to_string()));
    }
    Ok(stores)
}

/// Writes aside and renames, so that no reader sees half a file.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("part");
    let mut file = fs::File::create(&aside)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

/// A generator seeded from the operating system.
pub(crate) fn system_rng() -> Result<rand_chacha::ChaCha20Rng, AnyError> {
    let mut seed = zeroize::Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|error| format!("the operating system gives no randomness: {error}"))?;
    Ok(rand_core::SeedableRng::from_seed(*seed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stores_are_read_by_column_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stores.csv");
        fs::write(&path, "note, agent\nMain Street,store-1\n\n,store-2\n").unwrap();
        let stores = read_stores(&path).unwrap();
        assert_eq!(stores[0], (AgentId::new("store-1").unwrap(), "Main Street".into()));
        assert_eq!(stores[1].1, "");
        fs::write(&path, "agent\nBad Name\n").unwrap();
        assert!(read_stores(&path).unwrap_err().to_string().contains("line 2"));
        fs::write(&path, "name\nx\n").unwrap();
        assert!(read_stores(&path).unwrap_err().to_string().contains("'agent'"));
    }
}
