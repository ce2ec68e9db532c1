//! A federation in a temporary folder: authority, coordinator and enrolled agents, made through
//! the public API alone.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chorale_transport::{
    Addresses, Admit, Authority, CoordinatorKeys, Credentials, Enrolment, LinkEvent, Server,
    ServerConfig, ServerEvent, StoreKeys,
};
use chorale_wire::{AgentId, FederationId, PublicKey, SecretKey, ToCoordinator, message::Hello};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc::Receiver;

/// Longest wait for anything in these tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Federation {
    pub folder: tempfile::TempDir,
    pub authority: Authority,
    pub coordinator: Credentials,
    pub rng: StdRng,
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn agent_id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The public key of the stores' administrator.
pub fn administrator() -> PublicKey {
    SecretKey::from_seed(&[3; 32]).public()
}

impl Federation {
    pub fn new(seed: u64) -> Self {
        Self::at(seed, now_s(), now_s())
    }

    /// The authority made at `founded_s`, the coordinator's certificate issued at `issued_s`.
    pub fn at(seed: u64, founded_s: u64, issued_s: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut authority =
            Authority::create(&folder.path().join("authority"), founded_s, &mut rng).unwrap();
        authority.reserve(12).unwrap();
        let keys = CoordinatorKeys::generate(&folder.path().join("coordinator"), &mut rng).unwrap();
        let bundle = authority.issue_server(&keys.request().unwrap(), issued_s, &mut rng).unwrap();
        let coordinator = keys.accept(&bundle, issued_s).unwrap();
        Self { folder, authority, coordinator, rng }
    }

    pub fn enrol(&mut self, name: &str) -> Enrolment {
        self.enrol_at(name, now_s())
    }

    pub fn enrol_at(&mut self, name: &str, at_s: u64) -> Enrolment {
        let addresses =
            Addresses { coordinator: "127.0.0.1:1".into(), enrolment: "127.0.0.1:2".into() };
        let stores = [(agent_id(name), String::new())];
        let validity = Duration::from_secs(3600);
        let invitations =
            self.authority.invite(&stores, &addresses, validity, at_s, &mut self.rng).unwrap();
        let keys = StoreKeys::generate(&self.folder.path().join(name), &mut self.rng).unwrap();
        let administrator = administrator();
        let request = keys.request(&invitations[0], &administrator).unwrap();
        let bundle = self.authority.sign(&request, at_s, &mut self.rng).unwrap();
        keys.accept(&invitations[0], &administrator, &bundle, at_s).unwrap()
    }

    pub fn server_config(&self, port: u16) -> ServerConfig {
        let admit: Admit = Arc::new(|_, _| true);
        ServerConfig::new(loopback(port), self.coordinator.clone(), admit)
    }

    pub fn serve(&self) -> (Server, Receiver<ServerEvent>, u16) {
        let (server, events) = Server::bind(self.server_config(0)).unwrap();
        let port = server.local_address().unwrap().port();
        (server, events, port)
    }

    /// Binds a port again that another server has just left.
    pub async fn serve_again(&self, port: u16) -> (Server, Receiver<ServerEvent>) {
        let began = std::time::Instant::now();
        loop {
            match Server::bind(self.server_config(port)) {
                Ok(serving) => return serving,
                Err(error) if began.elapsed() > PATIENCE => panic!("{error:?}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

pub fn hello(agent: &str) -> ToCoordinator {
    let federation = FederationId::new("test").unwrap();
    ToCoordinator::Hello(Hello { federation, agent: agent_id(agent), epoch: None, model: None })
}

/// The next event, within patience.
pub async fn next<T>(events: &mut Receiver<T>) -> T {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event").expect("a sender")
}

/// The next event for which `pick` gives something; others are passed over.
pub async fn until<T, U>(events: &mut Receiver<T>, mut pick: impl FnMut(T) -> Option<U>) -> U {
    loop {
        if let Some(picked) = pick(next(events).await) {
            return picked;
        }
    }
}

pub async fn until_linked(events: &mut Receiver<LinkEvent>) {
    until(events, |event| matches!(event, LinkEvent::Connected).then_some(())).await;
}

pub async fn until_connected(events: &mut Receiver<ServerEvent>) -> AgentId {
    until(events, |event| match event {
        ServerEvent::Connected { agent, .. } => Some(agent),
        _ => None,
    })
    .await
}
