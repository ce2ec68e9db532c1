//! A door before a scheduler that speaks TLS, as a proxy or a service mesh would be: both sides
//! show certificates.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

pub(crate) struct Door {
    pub(crate) port: u16,
    /// PEM files for an agent.
    pub(crate) files: Vec<(&'static str, String)>,
    _runtime: Runtime,
}

impl Door {
    pub(crate) fn before(scheduler: u16) -> Self {
        let (authority, other) = (authority(), authority());
        let (server, server_key) = leaf("localhost", &authority.0);
        let (agent, agent_key) = leaf("store-367", &authority.0);
        let files = vec![
            ("ca.pem", authority.1.pem()),
            ("other.pem", other.1.pem()),
            ("agent.pem", agent.pem()),
            ("agent.key", agent_key.serialize_pem()),
        ];
        let mut roots = RootCertStore::empty();
        roots.add(authority.1.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![server.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut inside) = acceptor.accept(stream).await else { return };
                    let mut scheduler = TcpStream::connect(("127.0.0.1", scheduler)).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut scheduler).await;
                });
            }
        });
        Self { port, files, _runtime: runtime }
    }
}

fn authority() -> (Issuer<'static, KeyPair>, rcgen::Certificate) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (Issuer::new(params, key), certificate)
}

fn leaf(name: &str, issuer: &Issuer<'static, KeyPair>) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, issuer).unwrap(), key)
}
