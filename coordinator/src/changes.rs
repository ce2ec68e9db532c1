//! Changes of the promise: signed by the compliance key, put into the ledger when the coordinator
//! starts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chorale_ledger::{Chain, Change, ChangeEntry, Privacy, VerifyError};
use chorale_wire::SecretKey;

/// Beginning of the names of files with changes, in the state folder.
const PREFIX: &str = "change-";

/// Why a change could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A file cannot be used.
    #[error("cannot {action} {path}: check the path and its permissions")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Not what `ledger change` writes.
    #[error("{path} is no change of a ledger: make it anew with `coordinator ledger change`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// The ledger that it is for does not verify.
    #[error("the ledger {path} does not verify: nothing was signed")]
    Ledger {
        /// The ledger.
        path: PathBuf,
        /// The entry at fault.
        #[source]
        source: Box<VerifyError>,
    },
    /// All serial numbers are used.
    #[error("the ledger has no serial number left for a change")]
    Exhausted,
    /// It has no canonical text: a defect.
    #[error("the change cannot be written")]
    Encode(#[from] chorale_ledger::CanonicalError),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ChangeError {
    move |source| ChangeError::File { action, path: path.into(), source }
}

/// What shall change, as it is typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) catalogue: Option<chorale_wire::Digest>,
    pub(crate) software: Option<String>,
    pub(crate) cap_rho: Option<Privacy>,
    pub(crate) survivors_min: Option<u32>,
    pub(crate) enrolled: Option<u32>,
    pub(crate) corrupt: Option<u32>,
}

/// Signs the next change of a ledger and writes it beside others, to be carried into the
/// coordinator's state folder. Whether it is admissible is the ledger's to say.
pub(crate) fn sign(
    ledger: &Path,
    key: &SecretKey,
    wanted: Wanted,
    folder: &Path,
) -> Result<PathBuf, ChangeError> {
    let content = fs::read(ledger).map_err(failed("read", ledger))?;
    let chain = Chain::resume(&content)
        .map_err(|source| ChangeError::Ledger { path: ledger.into(), source: Box::new(source) })?;
    let (serial, genesis) = chain.next_change().ok_or(ChangeError::Exhausted)?;
    let what = if wanted.catalogue.is_some() {
        Change::Catalogue
    } else if wanted.software.is_some() {
        Change::Upgrade
    } else if wanted.enrolled.is_some() {
        Change::Roster
    } else {
        Change::Policy
    };
    let mut entry = ChangeEntry::new(what, serial);
    entry.catalogue = wanted.catalogue;
    entry.software = wanted.software;
    entry.cap_rho = wanted.cap_rho;
    entry.survivors_min = wanted.survivors_min;
    (entry.enrolled, entry.corrupt) = (wanted.enrolled, wanted.corrupt);
    let entry = entry.sign(&genesis, key)?;
    let path = folder.join(format!("{PREFIX}{serial}.json"));
    let text = serde_json::to_string_pretty(&entry)
        .map_err(|source| ChangeError::Malformed { path: path.clone(), source })?;
    fs::write(&path, text + "\n").map_err(failed("write", &path))?;
    Ok(path)
}

/// The changes that lie in the state folder, by serial number.
pub(crate) fn read_all(state: &Path) -> Result<Vec<ChangeEntry>, ChangeError> {
    let mut entries = Vec::new();
    let folder = match fs::read_dir(state) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
        Err(source) => return Err(failed("read", state)(source)),
    };
    for file in folder {
        let path = file.map_err(failed("read", state))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if !name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(".json")) {
            continue;
        }
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let entry: ChangeEntry = serde_json::from_slice(&bytes)
            .map_err(|source| ChangeError::Malformed { path, source })?;
        entries.push(entry);
    }
    entries.sort_by_key(|entry| entry.serial);
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_dp::{Rational, Rho};
    use chorale_ledger::{
        ACCOUNTANT_VERSION, Adjacency, Entry, GenesisEntry, IdentityMethod, Unit,
    };
    use chorale_wire::{Digest, FederationId};

    use super::*;

    fn promise(coordinator: &SecretKey, compliance: &SecretKey) -> GenesisEntry {
        GenesisEntry {
            federation: FederationId::new("small").unwrap(),
            unit: Unit::Person,
            adjacency: Adjacency::AddRemove,
            identity_method: IdentityMethod::HomeStore,
            stores_max: None,
            caps: Vec::new(),
            delta: Rational::new(1, 100_000).unwrap(),
            delta_reserved: Rational::new(1, 1_000_000_000).unwrap(),
            cap_rho: Privacy::Rho(Rho::new(Rational::from_integer(2)).unwrap()),
            enrolled: 12,
            corrupt: 2,
            survivors_min: 10,
            catalogue: Digest::plain(b"catalogue"),
            coordinator: coordinator.public(),
            authority: coordinator.public(),
            compliance: compliance.public(),
            predecessors: Vec::new(),
            accountant_version: ACCOUNTANT_VERSION.into(),
            software: "chorale".into(),
            purpose: "test".into(),
        }
    }

    #[test]
    fn what_is_signed_for_a_ledger_can_be_appended_to_it_in_order() {
        let (key, compliance) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let state = tempfile::tempdir().unwrap();
        let ledger = state.path().join("ledger.jsonl");
        let (mut chain, mut file) = Chain::genesis(promise(&key, &compliance), &key, 1).unwrap();
        fs::write(&ledger, &file).unwrap();
        assert!(read_all(state.path()).unwrap().is_empty());
        for wanted in [
            Wanted { survivors_min: Some(11), ..Wanted::default() },
            Wanted { software: Some("chorale 2".into()), ..Wanted::default() },
            Wanted { enrolled: Some(13), corrupt: Some(2), ..Wanted::default() },
        ] {
            sign(&ledger, &compliance, wanted, state.path()).unwrap();
            let entry = read_all(state.path()).unwrap().pop().unwrap();
            file.push_str(&chain.append(Entry::Change(Box::new(entry)), &key, 2).unwrap());
            fs::write(&ledger, &file).unwrap();
        }
        let serials: Vec<u32> = read_all(state.path()).unwrap().iter().map(|c| c.serial).collect();
        assert_eq!(serials, [1, 2, 3]);
        let now = chain.promise();
        assert_eq!((now.survivors_min, now.enrolled, now.software.as_str()), (11, 13, "chorale 2"));
        fs::write(state.path().join("change-9.json"), "{}").unwrap();
        assert!(matches!(read_all(state.path()), Err(ChangeError::Malformed { .. })));
    }
}
