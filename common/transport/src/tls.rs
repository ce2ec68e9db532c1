//! TLS as the product uses it, and nothing else: TLS 1.3 (RFC 8446) only, key exchange
//! X25519MLKEM768 only (hybrid post-quantum, draft-ietf-tls-ecdhe-mlkem), mutual authentication
//! against one pinned root, ALPN, no 0-RTT and no session tickets.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use chorale_wire::{AgentId, Digest};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject,
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};
use zeroize::Zeroizing;

/// ALPN of agents and coordinator.
pub const ALPN: &[u8] = b"chorale/1";

/// ALPN of the enrolment endpoint.
pub const ENROLMENT_ALPN: &[u8] = b"chorale-enrol/1";

/// The name in the coordinator's certificate. No agent can have it.
pub const COORDINATOR_NAME: &str = "coordinator";

/// A leaf certificate, its private key and the pinned root. The key is wiped when dropped and
/// never shown.
#[derive(Clone)]
pub struct Credentials {
    certificate: Vec<u8>,
    pub(crate) key: Zeroizing<Vec<u8>>,
    root: Vec<u8>,
}

impl Credentials {
    /// Credentials from DER: the leaf certificate, its private key (PKCS#8) and the root.
    #[must_use]
    pub fn new(certificate: Vec<u8>, key: Zeroizing<Vec<u8>>, root: Vec<u8>) -> Self {
        Self { certificate, key, root }
    }

    /// DER of the leaf certificate.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// DER of the pinned root.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// Reads the leaf certificate and checks that it and the root are valid at `now_s`.
    ///
    /// # Errors
    /// [`CertificateError`]: unreadable, not exactly one name, not yet valid or expired.
    pub fn check(&self, now_s: u64) -> Result<CertificateFacts, CertificateError> {
        CertificateFacts::read_any(&self.root)?.valid_at(now_s)?;
        let facts = CertificateFacts::read(&self.certificate)?;
        facts.valid_at(now_s)?;
        Ok(facts)
    }

    /// 32 bytes that only the holder of the private key can derive.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        *Digest::of(purpose, &[&self.key]).as_bytes()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, key redacted)", Digest::plain(&self.certificate).short())
    }
}

/// What the product reads in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The one DNS name: an agent id, or [`COORDINATOR_NAME`]. Empty for a root.
    pub name: String,
    /// SHA-256 of the DER `SubjectPublicKeyInfo`; the same as `Membership::tls_key`.
    pub key: Digest,
    /// First second of validity (Unix time).
    pub not_before_s: u64,
    /// Last second of validity (Unix time).
    pub not_after_s: u64,
}

/// Why a certificate is refused before it is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate.
    #[error("these bytes are not an X.509 certificate in DER: enrol again")]
    Unreadable,
    /// Not exactly one DNS name.
    #[error("the certificate must carry exactly one DNS name and carries {count} names")]
    Names {
        /// Names of any kind.
        count: usize,
    },
    /// The name is not an agent's.
    #[error("the certificate's name '{name}' is not an agent id")]
    NotAnAgent {
        /// The name.
        name: String,
    },
    /// Not valid yet.
    #[error(
        "the certificate of '{name}' is valid from {not_before_s} on and it is {now_s} (Unix \
         seconds): check this machine's clock"
    )]
    NotYetValid {
        /// The name.
        name: String,
        /// Start of validity.
        not_before_s: u64,
        /// The time now.
        now_s: u64,
    },
    /// No longer valid.
    #[error(
        "the certificate of '{name}' has expired: it was valid until {not_after_s} and it is \
         {now_s} (Unix seconds). Ask the enrolment authority for a new invitation and enrol \
         again; if the certificate should still be valid, check this machine's clock"
    )]
    Expired {
        /// The name.
        name: String,
        /// End of validity.
        not_after_s: u64,
        /// The time now.
        now_s: u64,
    },
}

impl CertificateFacts {
    /// Reads a leaf certificate.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`] or [`CertificateError::Names`].
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let facts = Self::read_any(der)?;
        if facts.name.is_empty() {
            return Err(CertificateError::Names { count: 0 });
        }
        Ok(facts)
    }

    /// The name as an agent id.
    ///
    /// # Errors
    /// [`CertificateError::NotAnAgent`].
    pub fn agent(&self) -> Result<AgentId, CertificateError> {
        let agent = AgentId::new(self.name.as_str()).ok();
        agent
            .filter(|agent| agent.as_str() != COORDINATOR_NAME)
            .ok_or_else(|| CertificateError::NotAnAgent { name: self.name.clone() })
    }

    /// Checks the validity at `now_s`.
    ///
    /// # Errors
    /// [`CertificateError::NotYetValid`] or [`CertificateError::Expired`].
    pub fn valid_at(&self, now_s: u64) -> Result<(), CertificateError> {
        let name = if self.name.is_empty() { "the root".to_owned() } else { self.name.clone() };
        if now_s < self.not_before_s {
            let not_before_s = self.not_before_s;
            return Err(CertificateError::NotYetValid { name, not_before_s, now_s });
        }
        if now_s > self.not_after_s {
            let not_after_s = self.not_after_s;
            return Err(CertificateError::Expired { name, not_after_s, now_s });
        }
        Ok(())
    }

    /// A leaf or a root; a root carries no name.
    pub(crate) fn read_any(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Unreadable)?;
        if !rest.is_empty() {
            return Err(CertificateError::Unreadable);
        }
        let names = match certificate.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.clone(),
            Ok(None) => Vec::new(),
            Err(_) => return Err(CertificateError::Unreadable),
        };
        let name = match names.as_slice() {
            [] => String::new(),
            [GeneralName::DNSName(name)] => (*name).to_owned(),
            _ => return Err(CertificateError::Names { count: names.len() }),
        };
        let seconds = |time: i64| u64::try_from(time).map_err(|_| CertificateError::Unreadable);
        Ok(Self {
            name,
            key: Digest::plain(certificate.public_key().raw),
            not_before_s: seconds(certificate.validity().not_before.timestamp())?,
            not_after_s: seconds(certificate.validity().not_after.timestamp())?,
        })
    }
}

/// SHA-256 of a certificate's DER: the root's stands in every invitation.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> Digest {
    Digest::plain(certificate)
}

/// Why TLS cannot be set up with what this machine has.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The own certificate or the root is not usable now.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The library refuses the certificate, the key or the root.
    #[error("the certificate, its key or the root cannot be used: enrol again")]
    Unusable(#[source] rustls::Error),
    /// The root cannot verify client certificates.
    #[error("the root certificate cannot be used to verify agents: enrol again")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// No cipher suite that QUIC needs; cannot happen with the provider in use.
    #[error("TLS offers no cipher suite for QUIC")]
    NoInitialSuite(#[source] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// An agent's side: shows its certificate, accepts only the coordinator's.
pub(crate) fn agent_config(credentials: &Credentials) -> Result<QuicClientConfig, TlsError> {
    client_config(credentials, provider(), true)
}

/// Builds a client with any provider, and with or without a certificate: tests use what the
/// product does not.
pub(crate) fn client_config(
    credentials: &Credentials,
    provider: Arc<CryptoProvider>,
    authenticate: bool,
) -> Result<QuicClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unusable)?
        .with_root_certificates(root_store(&credentials.root)?);
    let mut config = if authenticate {
        let chain = vec![CertificateDer::from(credentials.certificate.clone())];
        builder
            .with_client_auth_cert(chain, credentials.private_key())
            .map_err(TlsError::Unusable)?
    } else {
        builder.with_no_client_auth()
    };
    finish_client(&mut config, ALPN);
    QuicClientConfig::try_from(config).map_err(TlsError::NoInitialSuite)
}

/// The coordinator's side: demands a client certificate under the root.
pub(crate) fn coordinator_config(credentials: &Credentials) -> Result<QuicServerConfig, TlsError> {
    let roots = Arc::new(root_store(&credentials.root)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(TlsError::Verifier)?;
    let chain = vec![CertificateDer::from(credentials.certificate.clone())];
    let config = server_builder()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, credentials.private_key())
        .map_err(TlsError::Unusable)?;
    finish_server(config, ALPN)
}

/// The enrolment endpoint's side: no client certificate; the chain shows the root, so that a
/// store can compare it with the fingerprint in its invitation.
pub(crate) fn enrolment_server_config(
    credentials: &Credentials,
) -> Result<QuicServerConfig, TlsError> {
    let chain = vec![
        CertificateDer::from(credentials.certificate.clone()),
        CertificateDer::from(credentials.root.clone()),
    ];
    let config = server_builder()?
        .with_no_client_auth()
        .with_single_cert(chain, credentials.private_key())
        .map_err(TlsError::Unusable)?;
    finish_server(config, ENROLMENT_ALPN)
}

/// A store's side before it has a certificate: pins the root by its fingerprint.
pub(crate) fn enrolment_client_config(root: Digest) -> Result<QuicClientConfig, TlsError> {
    let provider = provider();
    let verifier = PinnedRoot { root, provider: provider.clone() };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    finish_client(&mut config, ENROLMENT_ALPN);
    QuicClientConfig::try_from(config).map_err(TlsError::NoInitialSuite)
}

/// Checks that `certificate` was issued under `root` for a TLS client and is valid at `now_s`.
pub(crate) fn issued_to_agent(certificate: &[u8], root: &[u8], now_s: u64) -> Result<(), TlsError> {
    let roots = Arc::new(root_store(root)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(TlsError::Verifier)?;
    verifier
        .verify_client_cert(&CertificateDer::from(certificate), &[], unix_time(now_s))
        .map(|_| ())
        .map_err(TlsError::Unusable)
}

/// Checks that `certificate` was issued under `root` for the coordinator and is valid at `now_s`.
pub(crate) fn issued_to_coordinator(
    certificate: &[u8],
    root: &[u8],
    now_s: u64,
) -> Result<(), TlsError> {
    let roots = Arc::new(root_store(root)?);
    let name = ServerName::try_from(COORDINATOR_NAME).map_err(|_| {
        TlsError::Certificate(CertificateError::NotAnAgent { name: COORDINATOR_NAME.into() })
    })?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(TlsError::Verifier)?;
    verifier
        .verify_server_cert(&CertificateDer::from(certificate), &[], &name, &[], unix_time(now_s))
        .map(|_| ())
        .map_err(TlsError::Unusable)
}

fn unix_time(now_s: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s))
}

/// The DER inside a PEM certificate.
pub(crate) fn certificate_of_pem(pem: &str) -> Option<Vec<u8>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|der| der.to_vec())
}

/// Seconds since 1970, UTC.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The one provider: aws-lc-rs with the hybrid key exchange alone.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    Arc::new(provider)
}

fn server_builder()
-> Result<rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier>, TlsError> {
    rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unusable)
}

fn finish_client(config: &mut rustls::ClientConfig, alpn: &[u8]) {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
}

fn finish_server(
    mut config: rustls::ServerConfig,
    alpn: &[u8],
) -> Result<QuicServerConfig, TlsError> {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    QuicServerConfig::try_from(config).map_err(TlsError::NoInitialSuite)
}

fn root_store(root: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from(root.to_vec())).map_err(TlsError::Unusable)?;
    Ok(store)
}

/// Accepts the coordinator's certificate under the root whose SHA-256 is known, wherever in the
/// shown chain that root stands.
#[derive(Debug)]
struct PinnedRoot {
    root: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let root = intermediates
            .iter()
            .find(|certificate| fingerprint(certificate) == self.root)
            .ok_or_else(unknown)?;
        let mut store = RootCertStore::empty();
        store.add(root.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), self.provider.clone())
            .build()
            .map_err(|_| unknown())?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
