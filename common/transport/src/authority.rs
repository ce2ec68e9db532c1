//! The offline enrolment authority: says who is an agent of the federation.
//!
//! It is not the coordinator and needs no network. Its folder holds
//!
//! | file | what |
//! |---|---|
//! | `membership.key` | Ed25519 key that signs memberships; secret |
//! | `root.key.pem` | key of the TLS root; secret |
//! | `root.cert.pem` | the TLS root |
//! | `authority.json` | the enrolment list with the open tokens; secret |
//! | `tokens.json` | digests of the open tokens, to be given to the coordinator |
//! | `issued/AGENT.bundle` | the last bundle issued to each agent (hexadecimal) |

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use chorale_wire::{
    AgentId, Digest, EncodeError, Membership, PublicKey, SecretKey, SignatureError, Signed, codec,
    limits::{AGENTS_MAX, ENROLMENT_BYTES_MAX},
    message::{EnrolmentBundle, EnrolmentRequest},
};
use hmac::Mac as _;
use rand::CryptoRng;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateSigningRequestDer;
use serde::{Deserialize, Serialize};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};
use zeroize::Zeroizing;

use crate::{
    files::{self, FileError},
    invitation::{Invitation, TokenEntry, TokenList},
    keys::{self, ServerBundle, ServerRequest},
    tls::{self, COORDINATOR_NAME, CertificateError, CertificateFacts},
    token::Token,
};

/// Validity of the TLS root: ten years.
pub const ROOT_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Validity of memberships and leaf certificates: one year.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Everything issued is valid from this much earlier, for clocks that are behind.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

const MEMBERSHIP_KEY_FILE: &str = "membership.key";
const ROOT_KEY_FILE: &str = "root.key.pem";
const ROOT_FILE: &str = "root.cert.pem";
const STATE_FILE: &str = "authority.json";
const TOKENS_FILE: &str = "tokens.json";
const ISSUED_FOLDER: &str = "issued";
const LOCK_FILE: &str = "lock";
const FORMAT: u32 = 1;

/// Why the authority did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The coordinator's key is not pinned yet.
    #[error(
        "no coordinator is pinned yet: first issue the coordinator's certificate from its \
         request, so that invitations can name its key"
    )]
    NoCoordinator,
    /// Another coordinator is pinned.
    #[error(
        "the coordinator key {pinned} is pinned and the request is by {requested}: an authority \
         serves one coordinator; make a new authority for a new federation"
    )]
    OtherCoordinator {
        /// As pinned.
        pinned: PublicKey,
        /// As requested.
        requested: PublicKey,
    },
    /// A store's name that cannot be an agent's.
    #[error("'{COORDINATOR_NAME}' is the coordinator's name: call the store something else")]
    ReservedName,
    /// More agents than a roster holds.
    #[error("the list would hold {count} agents; at most {AGENTS_MAX} are supported")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The list is closed: memberships that name its length have been signed.
    #[error(
        "the list would hold {count} agents, and memberships signed before say that there are \
         {places}: the corrupt ones that everybody reckons with follow from that number. Invite \
         again under a name that is on the list, or make a new authority with room for more stores"
    )]
    Closed {
        /// How many there would be.
        count: usize,
        /// N.
        places: u32,
    },
    /// Fewer places than agents, or more than a roster holds, or the list is closed.
    #[error(
        "{asked} places cannot be reserved: from {least} to {most} are possible, once, before the \
         first membership is signed"
    )]
    Places {
        /// As asked for.
        asked: u32,
        /// Agents on the list.
        least: u32,
        /// What is possible.
        most: u32,
    },
    /// Nobody invited this agent, or with another token.
    #[error("{agent} has no open invitation with this token: was another file used, or a copy?")]
    NotInvited {
        /// As claimed.
        agent: AgentId,
    },
    /// The token was used.
    #[error(
        "the invitation of {agent} was used before: if that was not the store itself, somebody \
         else enrolled in its name; invite it again to replace what was issued"
    )]
    TokenUsed {
        /// The agent.
        agent: AgentId,
    },
    /// The token has expired.
    #[error(
        "the invitation of {agent} has expired (it was good until {expires_s} and it is {now_s}, \
         Unix seconds): invite it again"
    )]
    TokenExpired {
        /// The agent.
        agent: AgentId,
        /// End of validity.
        expires_s: u64,
        /// The time now.
        now_s: u64,
    },
    /// The request was changed on its way.
    #[error(
        "the request of {agent} was not made by the holder of its invitation: a key was swapped \
         on the way. Do not trust the relay"
    )]
    Proof {
        /// The agent.
        agent: AgentId,
    },
    /// The request is not signed by the key that it names.
    #[error("the request is not signed by the identity key that it names")]
    Signature(#[source] SignatureError),
    /// The request cannot be read.
    #[error("the request cannot be read")]
    Unreadable(#[source] chorale_wire::DecodeError),
    /// The certificate request is not usable.
    #[error("the certificate request of {name} is refused: {what}")]
    CertificateRequest {
        /// As claimed.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A certificate could not be made.
    #[error("the certificate cannot be made")]
    Certificate(#[source] rcgen::Error),
    /// The own root is unusable or has expired.
    #[error("the authority's root cannot be used")]
    Root(#[source] CertificateError),
    /// A message does not fit its limit.
    #[error("the bundle cannot be encoded")]
    Encode(#[from] EncodeError),
}

/// The addresses that invitations name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The coordinator, `host:port` over UDP.
    pub coordinator: String,
    /// Its enrolment endpoint, `host:port` over UDP.
    pub enrolment: String,
}

/// An enrolment authority in its folder. One process at a time holds it.
pub struct Authority {
    folder: PathBuf,
    key: SecretKey,
    root: Vec<u8>,
    root_not_after_s: u64,
    issuer: Issuer<'static, KeyPair>,
    state: State,
    _lock: File,
}

/// `authority.json`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u32,
    coordinator: Option<String>,
    /// N, once it is fixed: reserved, or the list's length when the first membership was signed.
    #[serde(default)]
    places: Option<u32>,
    agents: BTreeMap<AgentId, Entry>,
}

/// One identity of the enrolment list.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    note: String,
    expires_s: u64,
    token_sha256: String,
    /// The open token; deleted when it was used.
    token: Option<Token>,
    /// The identity that was enrolled last.
    enrolled: Option<Enrolled>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrolled {
    identity: String,
    tls_key: String,
    at_s: u64,
}

impl Authority {
    /// Makes a new authority in `folder`.
    ///
    /// # Errors
    /// [`AuthorityError`]: the folder holds one already, or cannot be written.
    pub fn create<R: CryptoRng + ?Sized>(
        folder: &Path,
        now_s: u64,
        rng: &mut R,
    ) -> Result<Self, AuthorityError> {
        files::create_folder(folder)?;
        for name in [MEMBERSHIP_KEY_FILE, ROOT_KEY_FILE, ROOT_FILE, STATE_FILE] {
            files::must_not_exist(&folder.join(name))?;
        }
        files::create_folder(&folder.join(ISSUED_FOLDER))?;
        let root_key = keys::new_tls_key().map_err(AuthorityError::Certificate)?;
        let params = root_params(now_s, serial(rng));
        let root = params.self_signed(&root_key).map_err(AuthorityError::Certificate)?;
        let pem = Zeroizing::new(root_key.serialize_pem());
        files::write_private(&folder.join(ROOT_KEY_FILE), pem.as_bytes())?;
        files::write_private(&folder.join(ROOT_FILE), root.pem().as_bytes())?;
        keys::write_secret_key(&folder.join(MEMBERSHIP_KEY_FILE), &SecretKey::generate(rng))?;
        let state =
            State { format: FORMAT, coordinator: None, places: None, agents: BTreeMap::new() };
        save(folder, &state)?;
        Self::open(folder)
    }

    /// Opens the authority in `folder`.
    ///
    /// # Errors
    /// [`AuthorityError`]: files missing, readable by others, malformed or in use.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let lock = files::lock(&folder.join(LOCK_FILE))?;
        let key = keys::read_secret_key(&folder.join(MEMBERSHIP_KEY_FILE))?;
        let root_key = keys::read_tls_key(&folder.join(ROOT_KEY_FILE))?;
        let root_path = folder.join(ROOT_FILE);
        let root = tls::certificate_of_pem(&files::read_text(&root_path)?)
            .ok_or_else(|| FileError::malformed(&root_path, "not a certificate in PEM"))?;
        let facts = CertificateFacts::read_any(&root).map_err(AuthorityError::Root)?;
        let der = rustls_pki_types::CertificateDer::from(root.clone());
        let issuer =
            Issuer::from_ca_cert_der(&der, root_key).map_err(AuthorityError::Certificate)?;
        let state_path = folder.join(STATE_FILE);
        let state: State = serde_json::from_str(&files::read_private(&state_path)?)
            .map_err(|error| FileError::malformed(&state_path, error.to_string()))?;
        if state.format != FORMAT {
            let what = format!("format {} instead of {FORMAT}", state.format);
            return Err(FileError::malformed(&state_path, what).into());
        }
        Ok(Self {
            folder: folder.to_owned(),
            key,
            root,
            root_not_after_s: facts.not_after_s,
            issuer,
            state,
            _lock: lock,
        })
    }

    /// The Ed25519 key that signs memberships.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// SHA-256 of the DER of the TLS root.
    #[must_use]
    pub fn root_fingerprint(&self) -> Digest {
        tls::fingerprint(&self.root)
    }

    /// The pinned coordinator key, once there is one.
    #[must_use]
    pub fn coordinator(&self) -> Option<PublicKey> {
        self.state.coordinator.as_deref().and_then(PublicKey::parse)
    }

    /// Number of identities on the enrolment list, places kept free for later ones included: N of
    /// the threat model. It is fixed by the first membership that is signed, since every agent
    /// reckons with a share of it being corrupt: of a list that grew, a coordinator could gather
    /// the early members, who know the smaller number.
    #[must_use]
    pub fn enrolled(&self) -> u32 {
        let listed = u32::try_from(self.state.agents.len()).unwrap_or(u32::MAX);
        self.state.places.unwrap_or(listed)
    }

    /// Fixes N with room for stores that are invited later.
    ///
    /// # Errors
    /// [`AuthorityError::Places`]: fewer than are on the list, more than a roster holds, or N is
    /// fixed already.
    pub fn reserve(&mut self, places: u32) -> Result<(), AuthorityError> {
        let (least, most) = (self.enrolled().max(1), AGENTS_MAX as u32);
        if self.state.places.is_some() || !(least..=most).contains(&places) {
            return Err(AuthorityError::Places { asked: places, least, most });
        }
        self.commit(State { places: Some(places), ..self.state.clone() })
    }

    /// The file with the digests of the open tokens, for the coordinator.
    #[must_use]
    pub fn tokens_path(&self) -> PathBuf {
        self.folder.join(TOKENS_FILE)
    }

    /// Issues the coordinator's TLS certificate and pins its Ed25519 key.
    ///
    /// # Errors
    /// [`AuthorityError`]: a forged request, or another coordinator is pinned.
    pub fn issue_server<R: CryptoRng + ?Sized>(
        &mut self,
        request: &Signed<ServerRequest>,
        now_s: u64,
        rng: &mut R,
    ) -> Result<ServerBundle, AuthorityError> {
        let claimed = request.peek().map_err(AuthorityError::Unreadable)?;
        let request = request.verify(&claimed.coordinator).map_err(AuthorityError::Signature)?;
        let requested = request.coordinator;
        match self.coordinator() {
            Some(pinned) if pinned != requested => {
                return Err(AuthorityError::OtherCoordinator { pinned, requested });
            }
            _ => {}
        }
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        let certificate = self.issue(&request.tls_request, COORDINATOR_NAME, usage, now_s, rng)?;
        let mut state = self.state.clone();
        state.coordinator = Some(requested.to_string());
        self.commit(state)?;
        Ok(ServerBundle {
            tls_certificate: certificate,
            tls_root: self.root.clone(),
            authority: self.public(),
        })
    }

    /// Invites stores: one invitation each, good for `validity`. A store on the list gets a new
    /// token, and its old one is void. Also renews `tokens.json`.
    ///
    /// # Errors
    /// [`AuthorityError`]; then nobody was invited.
    pub fn invite<R: CryptoRng + ?Sized>(
        &mut self,
        stores: &[(AgentId, String)],
        addresses: &Addresses,
        validity: Duration,
        now_s: u64,
        rng: &mut R,
    ) -> Result<Vec<Invitation>, AuthorityError> {
        let coordinator_key = self.coordinator().ok_or(AuthorityError::NoCoordinator)?;
        let expires_s = now_s.saturating_add(validity.as_secs());
        let mut state = self.state.clone();
        let mut invitations = Vec::with_capacity(stores.len());
        for (agent, note) in stores {
            if agent.as_str() == COORDINATOR_NAME {
                return Err(AuthorityError::ReservedName);
            }
            let invitation = Invitation {
                agent: agent.clone(),
                coordinator: addresses.coordinator.clone(),
                enrolment: addresses.enrolment.clone(),
                root_fingerprint: self.root_fingerprint(),
                authority: self.public(),
                coordinator_key,
                expires_s,
                token: Token::generate(rng),
            };
            let enrolled = state.agents.remove(agent).and_then(|entry| entry.enrolled);
            let entry = Entry {
                note: note.clone(),
                expires_s,
                token_sha256: invitation.token_digest().to_string(),
                token: Some(invitation.token.clone()),
                enrolled,
            };
            state.agents.insert(agent.clone(), entry);
            invitations.push(invitation);
        }
        let count = state.agents.len();
        if count > AGENTS_MAX {
            return Err(AuthorityError::TooMany { count });
        }
        if let Some(places) = state.places.filter(|places| count > *places as usize) {
            return Err(AuthorityError::Closed { count, places });
        }
        self.commit(state)?;
        Ok(invitations)
    }

    /// Signs a store's request: its token is open, the proof shows that no key was swapped on
    /// the way, the certificate request is signed by its own key and names the agent alone. The
    /// bundle is written to `issued/` before the token counts as used.
    ///
    /// # Errors
    /// [`AuthorityError`]; then nothing was issued.
    pub fn sign<R: CryptoRng + ?Sized>(
        &mut self,
        request: &Signed<EnrolmentRequest>,
        now_s: u64,
        rng: &mut R,
    ) -> Result<EnrolmentBundle, AuthorityError> {
        let claimed = request.peek().map_err(AuthorityError::Unreadable)?;
        let coordinator = self.coordinator().ok_or(AuthorityError::NoCoordinator)?;
        self.check_token(&claimed, now_s)?;
        let request = request.verify(&claimed.identity).map_err(AuthorityError::Signature)?;
        if self.state.places.is_none() {
            // Before anybody can hold a membership that names N.
            self.commit(State { places: Some(self.enrolled()), ..self.state.clone() })?;
        }
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let certificate =
            self.issue(&request.tls_request, request.agent.as_str(), usage, now_s, rng)?;
        let facts = CertificateFacts::read(&certificate).map_err(AuthorityError::Root)?;
        let membership = Membership {
            agent: request.agent.clone(),
            identity: request.identity,
            tls_key: facts.key,
            administrator: request.administrator,
            not_before_s: facts.not_before_s,
            not_after_s: facts.not_after_s,
            enrolled: self.enrolled(),
        };
        let bundle = EnrolmentBundle {
            membership: Signed::sign(&membership, &self.key)?,
            tls_certificate: certificate,
            tls_root: self.root.clone(),
            authority: self.public(),
            coordinator,
        };
        let bytes = codec::encode(&bundle, ENROLMENT_BYTES_MAX)?;
        let path = self.folder.join(ISSUED_FOLDER).join(format!("{}.bundle", request.agent));
        files::write_private(&path, hex::encode(bytes).as_bytes())?;
        let mut state = self.state.clone();
        if let Some(entry) = state.agents.get_mut(&request.agent) {
            entry.token = None;
            entry.enrolled = Some(Enrolled {
                identity: request.identity.to_string(),
                tls_key: facts.key.to_string(),
                at_s: now_s,
            });
        }
        self.commit(state)?;
        Ok(bundle)
    }

    fn check_token(&self, request: &EnrolmentRequest, now_s: u64) -> Result<(), AuthorityError> {
        let agent = || request.agent.clone();
        let not_invited = || AuthorityError::NotInvited { agent: agent() };
        let entry = self.state.agents.get(&request.agent).ok_or_else(not_invited)?;
        if Digest::parse(&entry.token_sha256) != Some(request.token) {
            return Err(not_invited());
        }
        let Some(token) = &entry.token else {
            return Err(AuthorityError::TokenUsed { agent: agent() });
        };
        if now_s > entry.expires_s {
            let expires_s = entry.expires_s;
            return Err(AuthorityError::TokenExpired { agent: agent(), expires_s, now_s });
        }
        // Constant time, by the hmac crate.
        keys::proof(token, request)
            .verify_slice(&request.proof)
            .map_err(|_| AuthorityError::Proof { agent: agent() })
    }

    /// A leaf for the key of a PKCS#10 request. Nothing but the key and the name is taken from
    /// the request, whose every other wish is ignored.
    fn issue<R: CryptoRng + ?Sized>(
        &self,
        request: &[u8],
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        now_s: u64,
        rng: &mut R,
    ) -> Result<Vec<u8>, AuthorityError> {
        let refused = |what| AuthorityError::CertificateRequest { name: name.to_owned(), what };
        match X509CertificationRequest::from_der(request) {
            Ok(([], _)) => {}
            Ok(_) => return Err(refused("bytes follow its end")),
            Err(_) => return Err(refused("it is not a PKCS#10 request in DER")),
        }
        // Reading it verifies its self-signature.
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
                .map_err(|error| match error {
                    rcgen::Error::InvalidCertificationRequestSignature => {
                        refused("it is not signed by its own key")
                    }
                    _ => refused("it asks for something that is not supported"),
                })?;
        if request.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(refused("its key is not ECDSA P-256"));
        }
        match request.params.subject_alt_names.as_slice() {
            [SanType::DnsName(asked)] if asked.as_str() == name => {}
            _ => return Err(refused("it does not name exactly the agent of the invitation")),
        }
        let mut params = keys::leaf_params(name).map_err(AuthorityError::Certificate)?;
        let not_after_s = now_s.saturating_add(LEAF_VALIDITY.as_secs()).min(self.root_not_after_s);
        set_validity(&mut params, now_s, not_after_s);
        params.serial_number = Some(serial(rng));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(AuthorityError::Certificate)?;
        Ok(certificate.der().to_vec())
    }

    fn commit(&mut self, state: State) -> Result<(), AuthorityError> {
        save(&self.folder, &state)?;
        self.state = state;
        Ok(())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, {} agents)", self.folder.display(), self.state.agents.len())
    }
}

fn save(folder: &Path, state: &State) -> Result<(), FileError> {
    let path = folder.join(STATE_FILE);
    let text = serde_json::to_string_pretty(state)
        .map(Zeroizing::new)
        .map_err(|error| FileError::malformed(&path, error.to_string()))?;
    files::write_private(&path, text.as_bytes())?;
    let open = state.agents.iter().filter(|(_, entry)| entry.token.is_some());
    let tokens = open.map(|(agent, entry)| TokenEntry {
        agent: agent.clone(),
        token_sha256: entry.token_sha256.clone(),
        expires_s: entry.expires_s,
    });
    TokenList { tokens: tokens.collect() }.write(&folder.join(TOKENS_FILE))
}

fn root_params(now_s: u64, serial: SerialNumber) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Chorale enrolment authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(serial);
    set_validity(&mut params, now_s, now_s.saturating_add(ROOT_VALIDITY.as_secs()));
    params
}

fn set_validity(params: &mut CertificateParams, now_s: u64, not_after_s: u64) {
    let not_before_s = now_s.saturating_sub(CLOCK_TOLERANCE.as_secs());
    params.not_before = (UNIX_EPOCH + Duration::from_secs(not_before_s)).into();
    params.not_after = (UNIX_EPOCH + Duration::from_secs(not_after_s)).into();
}

/// A random serial number of 16 bytes, positive.
fn serial<R: CryptoRng + ?Sized>(rng: &mut R) -> SerialNumber {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}
