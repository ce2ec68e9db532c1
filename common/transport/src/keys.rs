//! Keys that are born where they are used and never move: a store's, and the coordinator's.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use chorale_wire::{
    AgentId, Digest, EncodeError, Membership, MembershipError, Message, PublicKey, SecretKey,
    Signed, codec,
    limits::ENROLMENT_BYTES_MAX,
    message::{EnrolmentBundle, EnrolmentRequest},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::CryptoRng;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SanType};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    files::{self, FileError},
    invitation::Invitation,
    tls::{self, COORDINATOR_NAME, CertificateError, CertificateFacts, Credentials, TlsError},
    token::Token,
};

const IDENTITY_FILE: &str = "identity.key";
const TLS_FILE: &str = "tls.key.pem";
const ENROLMENT_FILE: &str = "enrolment.toml";
const SERVER_FILE: &str = "server.toml";

/// Why keys could not be made, or what came back for them was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The TLS key or its certificate request could not be made.
    #[error("the TLS key or its certificate request cannot be made")]
    Tls(#[source] rcgen::Error),
    /// A message does not fit its limit.
    #[error("the request cannot be encoded")]
    Encode(#[from] EncodeError),
    /// Not enrolled yet.
    #[error("{folder} holds keys and no certificate yet: finish the enrolment first")]
    NotEnrolled {
        /// The folder.
        folder: PathBuf,
    },
    /// What came back is not what the invitation promised: the relay, or the file, is wrong.
    #[error(
        "the enrolment answer does not fit the invitation: {what}. Do not use it; ask the \
         enrolment authority whether the coordinator can be trusted"
    )]
    Mismatch {
        /// What differs.
        what: &'static str,
    },
    /// The membership is not the authority's, or not valid now.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The certificate does not carry what it should.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate was not issued under the root, or is not valid now.
    #[error("the certificate was not issued under the authority's root, or is not valid now")]
    Issuer(#[source] TlsError),
}

/// A store's private keys, before and after enrolment. They never leave their folder.
pub struct StoreKeys {
    keys: KeyFolder,
}

/// What a store has after enrolment: everything that its agent needs to connect and to take
/// part.
#[derive(Debug)]
pub struct Enrolment {
    /// The agent.
    pub agent: AgentId,
    /// The coordinator, `host:port` over UDP.
    pub coordinator_address: String,
    /// The authority's word.
    pub membership: Signed<Membership>,
    /// The store's administrator's Ed25519 key, as the membership certifies it.
    pub administrator: PublicKey,
    /// The authority's Ed25519 key, pinned.
    pub authority: PublicKey,
    /// The coordinator's Ed25519 key, pinned.
    pub coordinator: PublicKey,
    /// For the link.
    pub credentials: Credentials,
}

impl StoreKeys {
    /// Makes new keys in `folder`; an existing key is never overwritten.
    ///
    /// # Errors
    /// [`KeyError`]: the folder holds keys already, or cannot be written.
    pub fn generate<R: CryptoRng + ?Sized>(folder: &Path, rng: &mut R) -> Result<Self, KeyError> {
        Ok(Self { keys: KeyFolder::generate(folder, rng)? })
    }

    /// Opens the keys in `folder`.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or malformed.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        Ok(Self { keys: KeyFolder::open(folder)? })
    }

    /// The identity key, which signs every protocol message.
    #[must_use]
    pub fn identity(&self) -> &SecretKey {
        &self.keys.identity
    }

    /// The request that answers an invitation, with the public key of the store's administrator.
    /// It holds public keys and proofs only.
    ///
    /// # Errors
    /// [`KeyError::Tls`] or [`KeyError::Encode`].
    pub fn request(
        &self,
        invitation: &Invitation,
        administrator: &PublicKey,
    ) -> Result<Signed<EnrolmentRequest>, KeyError> {
        let mut request = EnrolmentRequest {
            agent: invitation.agent.clone(),
            identity: self.keys.identity.public(),
            tls_request: self.keys.certificate_request(invitation.agent.as_str())?,
            administrator: *administrator,
            token: invitation.token_digest(),
            proof: [0; 32],
        };
        request.proof = proof(&invitation.token, &request).finalize().into_bytes().into();
        Ok(Signed::sign(&request, &self.keys.identity)?)
    }

    /// Checks the authority's answer against the invitation, these keys and the administrator's,
    /// and keeps it. A relay that changed anything is found out here.
    ///
    /// # Errors
    /// [`KeyError`]; nothing is kept then.
    pub fn accept(
        &self,
        invitation: &Invitation,
        administrator: &PublicKey,
        bundle: &EnrolmentBundle,
        now_s: u64,
    ) -> Result<Enrolment, KeyError> {
        if tls::fingerprint(&bundle.tls_root) != invitation.root_fingerprint {
            return Err(KeyError::Mismatch { what: "another TLS root" });
        }
        if bundle.authority != invitation.authority {
            return Err(KeyError::Mismatch { what: "another enrolment authority" });
        }
        if bundle.coordinator != invitation.coordinator_key {
            return Err(KeyError::Mismatch { what: "another coordinator key" });
        }
        let file = EnrolmentFile {
            agent: invitation.agent.clone(),
            coordinator_address: invitation.coordinator.clone(),
            authority: bundle.authority.to_string(),
            coordinator: bundle.coordinator.to_string(),
            membership: hex::encode(codec::encode(&bundle.membership, ENROLMENT_BYTES_MAX)?),
            tls_certificate: hex::encode(&bundle.tls_certificate),
            tls_root: hex::encode(&bundle.tls_root),
        };
        let path = self.keys.folder.join(ENROLMENT_FILE);
        let enrolment = self.checked(&path, file.clone(), now_s)?;
        if enrolment.administrator != *administrator {
            return Err(KeyError::Mismatch { what: "a membership for another administrator" });
        }
        write_toml(&path, &file)?;
        Ok(enrolment)
    }

    /// What [`StoreKeys::accept`] kept, checked anew at `now_s`.
    ///
    /// # Errors
    /// [`KeyError`]: not enrolled, or no longer valid.
    pub fn enrolment(&self, now_s: u64) -> Result<Enrolment, KeyError> {
        let path = self.keys.folder.join(ENROLMENT_FILE);
        if !path.exists() {
            return Err(KeyError::NotEnrolled { folder: self.keys.folder.clone() });
        }
        let file = read_toml(&path)?;
        self.checked(&path, file, now_s)
    }

    fn checked(&self, path: &Path, file: EnrolmentFile, now_s: u64) -> Result<Enrolment, KeyError> {
        let public = |field: &str, text: &str| {
            PublicKey::parse(text)
                .ok_or_else(|| FileError::malformed(path, format!("`{field}` is no key")))
        };
        let authority = public("authority", &file.authority)?;
        let coordinator = public("coordinator", &file.coordinator)?;
        let membership: Signed<Membership> =
            codec::decode(&from_hex(path, "membership", &file.membership)?, ENROLMENT_BYTES_MAX)
                .map_err(|error| FileError::malformed(path, error.to_string()))?;
        let member = Membership::admit(&membership, &authority, now_s)?;
        if member.agent != file.agent {
            return Err(KeyError::Mismatch { what: "a membership for another agent" });
        }
        if member.identity != self.keys.identity.public() {
            return Err(KeyError::Mismatch { what: "a membership for another identity key" });
        }
        if member.tls_key != self.keys.tls_key_digest() {
            return Err(KeyError::Mismatch { what: "a membership for another TLS key" });
        }
        let certificate = from_hex(path, "tls_certificate", &file.tls_certificate)?;
        let root = from_hex(path, "tls_root", &file.tls_root)?;
        let facts = self.keys.check_certificate(&certificate, now_s)?;
        if facts.agent()? != file.agent {
            return Err(KeyError::Mismatch { what: "a certificate for another agent" });
        }
        tls::issued_to_agent(&certificate, &root, now_s).map_err(KeyError::Issuer)?;
        Ok(Enrolment {
            agent: file.agent,
            coordinator_address: file.coordinator_address,
            membership,
            administrator: member.administrator,
            authority,
            coordinator,
            credentials: Credentials::new(certificate, self.keys.tls_private(), root),
        })
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreKeys({}, redacted)", self.keys.folder.display())
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolmentFile {
    agent: AgentId,
    coordinator_address: String,
    authority: String,
    coordinator: String,
    membership: String,
    tls_certificate: String,
    tls_root: String,
}

/// Coordinator to authority, by file: a request for the coordinator's TLS certificate, signed by
/// the coordinator's Ed25519 key, which the authority pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRequest {
    /// The coordinator's Ed25519 key; signs round specs and the ledger.
    pub coordinator: PublicKey,
    /// DER of a PKCS#10 request for the TLS certificate.
    pub tls_request: Vec<u8>,
}

impl Message for ServerRequest {
    const CONTEXT: &'static str = "server request";
    const BYTES_MAX: usize = ENROLMENT_BYTES_MAX / 2;
}

/// Authority to coordinator, by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerBundle {
    /// DER of the coordinator's TLS certificate.
    pub tls_certificate: Vec<u8>,
    /// DER of the authority's TLS root.
    pub tls_root: Vec<u8>,
    /// The authority's Ed25519 key, which signs memberships.
    pub authority: PublicKey,
}

/// The coordinator's private keys. They never leave their folder.
pub struct CoordinatorKeys {
    keys: KeyFolder,
}

impl CoordinatorKeys {
    /// Makes new keys in `folder`; an existing key is never overwritten.
    ///
    /// # Errors
    /// [`KeyError`]: the folder holds keys already, or cannot be written.
    pub fn generate<R: CryptoRng + ?Sized>(folder: &Path, rng: &mut R) -> Result<Self, KeyError> {
        Ok(Self { keys: KeyFolder::generate(folder, rng)? })
    }

    /// Opens the keys in `folder`.
    ///
    /// # Errors
    /// [`KeyError`]: missing, readable by others, or malformed.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        Ok(Self { keys: KeyFolder::open(folder)? })
    }

    /// The key that signs round specs and the ledger.
    #[must_use]
    pub fn identity(&self) -> &SecretKey {
        &self.keys.identity
    }

    /// The request for the authority.
    ///
    /// # Errors
    /// [`KeyError::Tls`] or [`KeyError::Encode`].
    pub fn request(&self) -> Result<Signed<ServerRequest>, KeyError> {
        let request = ServerRequest {
            coordinator: self.keys.identity.public(),
            tls_request: self.keys.certificate_request(COORDINATOR_NAME)?,
        };
        Ok(Signed::sign(&request, &self.keys.identity)?)
    }

    /// Checks the authority's answer against these keys, and keeps it.
    ///
    /// # Errors
    /// [`KeyError`]; nothing is kept then.
    pub fn accept(&self, bundle: &ServerBundle, now_s: u64) -> Result<Credentials, KeyError> {
        let credentials = self.checked(bundle, now_s)?;
        let file = ServerFile {
            authority: bundle.authority.to_string(),
            tls_certificate: hex::encode(&bundle.tls_certificate),
            tls_root: hex::encode(&bundle.tls_root),
        };
        write_toml(&self.keys.folder.join(SERVER_FILE), &file)?;
        Ok(credentials)
    }

    /// The credentials that [`CoordinatorKeys::accept`] kept, checked anew, and the authority's
    /// Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError`]: no certificate yet, or no longer valid.
    pub fn credentials(&self, now_s: u64) -> Result<(Credentials, PublicKey), KeyError> {
        let path = self.keys.folder.join(SERVER_FILE);
        if !path.exists() {
            return Err(KeyError::NotEnrolled { folder: self.keys.folder.clone() });
        }
        let file: ServerFile = read_toml(&path)?;
        let authority = PublicKey::parse(&file.authority)
            .ok_or_else(|| FileError::malformed(&path, "`authority` is no key"))?;
        let bundle = ServerBundle {
            tls_certificate: from_hex(&path, "tls_certificate", &file.tls_certificate)?,
            tls_root: from_hex(&path, "tls_root", &file.tls_root)?,
            authority,
        };
        Ok((self.checked(&bundle, now_s)?, authority))
    }

    fn checked(&self, bundle: &ServerBundle, now_s: u64) -> Result<Credentials, KeyError> {
        let facts = self.keys.check_certificate(&bundle.tls_certificate, now_s)?;
        if facts.name != COORDINATOR_NAME {
            return Err(KeyError::Mismatch { what: "a certificate for another name" });
        }
        tls::issued_to_coordinator(&bundle.tls_certificate, &bundle.tls_root, now_s)
            .map_err(KeyError::Issuer)?;
        Ok(Credentials::new(
            bundle.tls_certificate.clone(),
            self.keys.tls_private(),
            bundle.tls_root.clone(),
        ))
    }
}

impl fmt::Debug for CoordinatorKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoordinatorKeys({}, redacted)", self.keys.folder.display())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerFile {
    authority: String,
    tls_certificate: String,
    tls_root: String,
}

/// HMAC-SHA-256 (RFC 2104) under the token over the agent and every public key of its request: a
/// relay that swaps a key cannot make it.
pub(crate) fn proof(token: &Token, request: &EnrolmentRequest) -> Hmac<Sha256> {
    let message = Digest::of(
        "chorale/1 enrolment proof",
        &[
            request.agent.as_str().as_bytes(),
            request.identity.as_bytes(),
            &request.tls_request,
            request.administrator.as_bytes(),
        ],
    );
    // HMAC pads a key with zeros to the hash's block of 64 bytes.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(token.bytes());
    Hmac::<Sha256>::new((&*block).into()).chain_update(message.as_bytes())
}

/// An Ed25519 identity key and a TLS key (ECDSA P-256) in a folder.
struct KeyFolder {
    folder: PathBuf,
    identity: SecretKey,
    tls: KeyPair,
}

impl KeyFolder {
    fn generate<R: CryptoRng + ?Sized>(folder: &Path, rng: &mut R) -> Result<Self, KeyError> {
        files::create_folder(folder)?;
        let (identity_path, tls_path) = (folder.join(IDENTITY_FILE), folder.join(TLS_FILE));
        files::must_not_exist(&identity_path)?;
        files::must_not_exist(&tls_path)?;
        let identity = SecretKey::generate(rng);
        let tls = new_tls_key().map_err(KeyError::Tls)?;
        files::write_private(&tls_path, Zeroizing::new(tls.serialize_pem()).as_bytes())?;
        write_secret_key(&identity_path, &identity)?;
        Ok(Self { folder: folder.to_owned(), identity, tls })
    }

    fn open(folder: &Path) -> Result<Self, KeyError> {
        let identity = read_secret_key(&folder.join(IDENTITY_FILE))?;
        let tls = read_tls_key(&folder.join(TLS_FILE))?;
        Ok(Self { folder: folder.to_owned(), identity, tls })
    }

    fn tls_key_digest(&self) -> Digest {
        Digest::plain(&self.tls.subject_public_key_info())
    }

    fn tls_private(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.tls.serialize_der())
    }

    /// DER of a PKCS#10 request (RFC 2986) for this one name.
    fn certificate_request(&self, name: &str) -> Result<Vec<u8>, KeyError> {
        let params = leaf_params(name).map_err(KeyError::Tls)?;
        let request = params.serialize_request(&self.tls).map_err(KeyError::Tls)?;
        Ok(request.der().to_vec())
    }

    fn check_certificate(
        &self,
        certificate: &[u8],
        now_s: u64,
    ) -> Result<CertificateFacts, KeyError> {
        let facts = CertificateFacts::read(certificate)?;
        facts.valid_at(now_s)?;
        if facts.key != self.tls_key_digest() {
            return Err(KeyError::Mismatch { what: "a certificate for another TLS key" });
        }
        Ok(facts)
    }
}

pub(crate) fn new_tls_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
}

/// Parameters with `name` as the one subject alternative name (DNS) and as common name.
pub(crate) fn leaf_params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

pub(crate) fn write_secret_key(path: &Path, key: &SecretKey) -> Result<(), FileError> {
    let text = Zeroizing::new(hex::encode(*key.to_seed()) + "\n");
    files::write_private(path, text.as_bytes())
}

pub(crate) fn read_secret_key(path: &Path) -> Result<SecretKey, FileError> {
    let text = files::read_private(path)?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut())
        .map_err(|_| FileError::malformed(path, "not 64 hexadecimal digits"))?;
    Ok(SecretKey::from_seed(&seed))
}

pub(crate) fn read_tls_key(path: &Path) -> Result<KeyPair, FileError> {
    let text = files::read_private(path)?;
    KeyPair::from_pem(&text).map_err(|_| FileError::malformed(path, "not a private key in PEM"))
}

fn write_toml<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let text =
        toml::to_string(value).map_err(|error| FileError::malformed(path, error.to_string()))?;
    files::write_private(path, text.as_bytes())
}

fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    toml::from_str(&files::read_text(path)?)
        .map_err(|error| FileError::malformed(path, error.message().to_owned()))
}

fn from_hex(path: &Path, field: &str, text: &str) -> Result<Vec<u8>, FileError> {
    hex::decode(text).map_err(|_| FileError::malformed(path, format!("`{field}` is not hex")))
}
