//! The coordinator's side: accepts agents, keeps one connection for each, and never lets a slow
//! one hold up another.

mod connection;
mod message;
mod uploads;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chorale_wire::{
    AgentId, Digest, SessionId, Signed, ToAgent, ToCoordinator,
    limits::{MODEL_BYTES_MAX, VECTOR_BYTES_MAX},
    message::{MaskedHeader, Reason},
};
use quinn::{Connection, Endpoint, Incoming};
use tokio::{
    sync::{mpsc, watch},
    time::{interval, timeout},
};

pub use self::{message::EncodedMessage, uploads::ArrivedVector};
use self::{message::Shared as SharedBytes, uploads::UploadStore};
use crate::{
    bounds::{
        self, CLOSE_TIMEOUT, HANDSHAKES_MAX, SERVER_CONTROL_QUEUE, SERVER_CONTROL_QUEUE_BYTES,
        SERVER_EVENT_QUEUE, SERVER_MODEL_QUEUE, UNPROVEN_HANDSHAKES_MAX,
    },
    crowd::{Crowd, CrowdLimits},
    endpoint::{PeerStreams, listen, transport_config},
    fault::{ConnectionFault, close},
    tls::{self, CertificateError, Credentials, TlsError},
};

/// Decides whether an agent with this TLS key (SHA-256 of the `SubjectPublicKeyInfo`) may
/// connect. It is called for every connection and must not block.
pub type Admit = Arc<dyn Fn(&AgentId, &Digest) -> bool + Send + Sync>;

/// What the server needs to know. [`ServerConfig::new`] fills in the bounds.
#[derive(Clone)]
pub struct ServerConfig {
    /// Local UDP address.
    pub bind: SocketAddr,
    /// The coordinator's certificate and key, and the pinned root.
    pub credentials: Credentials,
    /// Who may connect.
    pub admit: Admit,
    /// Connections of all admitted agents.
    pub connections_max: usize,
    /// Connections from one network: an IPv4 address, or 64 bits of an IPv6 address.
    pub connections_per_address_max: usize,
    /// Time from the first packet to an admitted agent.
    pub handshake_timeout: Duration,
    /// Silence after which a connection counts as lost.
    pub idle_timeout: Duration,
    /// Interval of keep-alives.
    pub keep_alive: Duration,
    /// Longest vector in bytes.
    pub vector_bytes_max: usize,
    /// Memory for all vectors that are being received, in bytes.
    pub upload_memory_bytes_max: usize,
}

impl ServerConfig {
    /// The defaults of [`bounds`].
    #[must_use]
    pub fn new(bind: SocketAddr, credentials: Credentials, admit: Admit) -> Self {
        Self {
            bind,
            credentials,
            admit,
            connections_max: bounds::CONNECTIONS_MAX,
            connections_per_address_max: bounds::CONNECTIONS_PER_ADDRESS_MAX,
            handshake_timeout: bounds::HANDSHAKE_TIMEOUT,
            idle_timeout: bounds::IDLE_TIMEOUT,
            keep_alive: bounds::KEEP_ALIVE,
            vector_bytes_max: VECTOR_BYTES_MAX,
            upload_memory_bytes_max: bounds::UPLOAD_MEMORY_BYTES_MAX,
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerConfig({}, {:?})", self.bind, self.credentials)
    }
}

/// Number of a connection, never used twice by one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What happens at the server. For one agent, `Connected` and `Disconnected` alternate, and
/// everything else lies between them.
#[derive(Debug)]
pub enum ServerEvent {
    /// An admitted agent is connected. Its first control message is `ToCoordinator::Hello`.
    Connected {
        /// This connection.
        connection: ConnectionId,
        /// The agent, as its certificate names it.
        agent: AgentId,
        /// Where it connects from.
        peer: SocketAddr,
        /// SHA-256 of the DER `SubjectPublicKeyInfo` of its certificate; the driver compares it
        /// with `Membership::tls_key`.
        tls_key: Digest,
    },
    /// The connection is gone.
    Disconnected {
        /// Which one.
        connection: ConnectionId,
        /// Whose.
        agent: AgentId,
        /// Why.
        reason: ConnectionFault,
    },
    /// A control message, in the order in which the agent sent them.
    Control {
        /// The sender.
        agent: AgentId,
        /// The message.
        message: ToCoordinator,
    },
    /// A whole vector. Length and digest are those of the header; the signature of the header
    /// has not been verified.
    Vector {
        /// The sender.
        agent: AgentId,
        /// As sent.
        header: Signed<MaskedHeader>,
        /// The packed vector. Drop it as soon as it is added: it holds memory that other uploads
        /// wait for.
        vector: ArrivedVector,
    },
}

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The certificate, key or root cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The local address cannot be used.
    #[error(
        "UDP address {address} cannot be opened: is another coordinator running, or is the \
         address not this machine's?"
    )]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Why something was not sent to an agent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection of this agent is open.
    #[error("{agent} is not connected")]
    NotConnected {
        /// The agent.
        agent: AgentId,
    },
    /// Its queue is full; it has been disconnected.
    #[error("{agent} takes its messages too slowly and was disconnected")]
    Slow {
        /// The agent.
        agent: AgentId,
    },
    /// The message is too long: a mistake of the caller.
    #[error("the message to {agent} cannot be encoded")]
    Encode {
        /// The agent.
        agent: AgentId,
        /// What the codec says.
        #[source]
        source: chorale_wire::EncodeError,
    },
    /// The model is empty or too long: a mistake of the caller.
    #[error("a model has 1 to {MODEL_BYTES_MAX} bytes and this one has {length}")]
    ModelLength {
        /// Its length in bytes.
        length: usize,
    },
}

/// A running server. Dropping it closes every connection at once; [`Server::shutdown`] first
/// sends what waits.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the address and accepts agents in the current tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`]: TLS (for example an expired certificate) or the address.
    pub fn bind(config: ServerConfig) -> Result<(Self, mpsc::Receiver<ServerEvent>), ServerError> {
        config.credentials.check(tls::now_s()).map_err(TlsError::from)?;
        let crypto = tls::coordinator_config(&config.credentials)?;
        let mut quic = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        // The control stream, one upload and its successor.
        let streams = PeerStreams { bidirectional: 3, unidirectional: 0 };
        quic.transport_config(transport_config(&streams, config.idle_timeout, config.keep_alive));
        quic.max_incoming(config.connections_max.min(1024));
        let address = config.bind;
        let endpoint = listen(address, &config.credentials, quic)
            .map_err(|source| ServerError::Bind { address, source })?;
        let (events, queue) = mpsc::channel(SERVER_EVENT_QUEUE);
        let uploads = UploadStore::new(config.vector_bytes_max, config.upload_memory_bytes_max);
        let crowd = Crowd::new(CrowdLimits {
            strangers: HANDSHAKES_MAX,
            strangers_per_network: config.connections_per_address_max.min(HANDSHAKES_MAX),
            known: config.connections_max,
            known_per_network: config.connections_per_address_max,
        });
        let shared = Arc::new(Shared {
            config,
            endpoint,
            agents: Mutex::default(),
            crowd,
            uploads,
            events,
            next: AtomicU64::new(1),
            leaving: watch::channel(false).0,
        });
        tokio::spawn(accept(Arc::downgrade(&shared), shared.endpoint.clone()));
        Ok((Self { shared }, queue))
    }

    /// The address that agents reach, with the port that the system chose where 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// Queues a control message; never waits.
    ///
    /// # Errors
    /// [`SendError`]. An agent whose queue is full is disconnected.
    pub fn send(&self, agent: &AgentId, message: &ToAgent) -> Result<(), SendError> {
        let encoded = EncodedMessage::new(message)
            .map_err(|source| SendError::Encode { agent: agent.clone(), source })?;
        self.send_encoded(agent, &encoded)
    }

    /// As [`Self::send`], of a message that was encoded before: all agents share its bytes.
    ///
    /// # Errors
    /// [`SendError`]. An agent whose queue is full is disconnected.
    pub fn send_encoded(&self, agent: &AgentId, message: &EncodedMessage) -> Result<(), SendError> {
        let bytes = message.bytes();
        self.with_line(agent, |line| {
            let waiting = line.queued_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
            waiting + bytes.len() <= SERVER_CONTROL_QUEUE_BYTES
                && line.control.try_send(bytes).is_ok()
        })
    }

    /// Queues a model; never waits. All agents share the bytes.
    ///
    /// # Errors
    /// [`SendError`]. An agent whose queue is full is disconnected.
    pub fn send_model(&self, agent: &AgentId, model: Arc<Vec<u8>>) -> Result<(), SendError> {
        if model.is_empty() || model.len() > MODEL_BYTES_MAX {
            return Err(SendError::ModelLength { length: model.len() });
        }
        let bytes = Bytes::from_owner(SharedBytes(model));
        self.with_line(agent, |line| line.models.try_send(bytes).is_ok())
    }

    /// From now on takes vectors of this session and length only, and forgets partial ones of
    /// other sessions. Before the first call vectors of any session are taken.
    pub fn expect_uploads(&self, session: SessionId, length: u64) {
        self.shared.uploads.expect(session, length);
    }

    /// From now on takes no vectors, and forgets partial ones.
    pub fn expect_no_uploads(&self) {
        self.shared.uploads.expect_none();
    }

    /// Closes an agent's connection with a reason that its owner reads.
    pub fn disconnect(&self, agent: &AgentId, reason: &Reason) {
        if let Some(line) = self.shared.agents().get(agent) {
            line.close(ClosedBecause::Dismissed(reason.as_str().to_owned()));
        }
    }

    /// The agents that are connected now, in ascending order.
    #[must_use]
    pub fn connected(&self) -> Vec<AgentId> {
        let mut agents: Vec<AgentId> = self.shared.agents().keys().cloned().collect();
        agents.sort();
        agents
    }

    /// Sends what waits, closes every connection (at most two seconds each step) and frees the
    /// address. Events must still be taken, or dropped with their receiver, meanwhile.
    pub async fn shutdown(self) {
        self.shared.leaving.send_replace(true);
        let all_left = async {
            let mut lines: Vec<watch::Receiver<bool>> =
                self.shared.agents().values().map(|line| line.ended.clone()).collect();
            for line in &mut lines {
                // An error means that its task is gone, which is what is waited for.
                let _ = line.wait_for(|ended| *ended).await;
            }
        };
        if timeout(2 * CLOSE_TIMEOUT, all_left).await.is_err() {
            tracing::warn!("some agents did not take their last messages in time");
        }
        self.shared.endpoint.close(close::GOODBYE, b"the coordinator stops");
        // An error is only the time-out.
        let _ = timeout(CLOSE_TIMEOUT, self.shared.endpoint.wait_idle()).await;
    }

    /// Runs `queue` on the agent's line; false means full, and the agent is disconnected.
    fn with_line(
        &self,
        agent: &AgentId,
        queue: impl FnOnce(&Line) -> bool,
    ) -> Result<(), SendError> {
        let agents = self.shared.agents();
        let line =
            agents.get(agent).ok_or_else(|| SendError::NotConnected { agent: agent.clone() })?;
        if queue(line) {
            return Ok(());
        }
        line.close(ClosedBecause::Slow);
        Err(SendError::Slow { agent: agent.clone() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.endpoint.close(close::GOODBYE, b"the coordinator stops");
    }
}

/// What all tasks of a server share.
struct Shared {
    config: ServerConfig,
    endpoint: Endpoint,
    agents: Mutex<HashMap<AgentId, Line>>,
    crowd: Arc<Crowd>,
    uploads: UploadStore,
    events: mpsc::Sender<ServerEvent>,
    next: AtomicU64,
    leaving: watch::Sender<bool>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:?})", self.config)
    }
}

/// The sending half of one agent's connection.
struct Line {
    id: ConnectionId,
    connection: Connection,
    control: mpsc::Sender<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    models: mpsc::Sender<Bytes>,
    ended: watch::Receiver<bool>,
    closed_because: Arc<OnceLock<ClosedBecause>>,
}

/// Why this side closed a connection.
enum ClosedBecause {
    Replaced,
    Slow,
    Dismissed(String),
}

/// The receiving halves of a [`Line`]'s queues.
struct Queues {
    control: mpsc::Receiver<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    models: mpsc::Receiver<Bytes>,
    closed_because: Arc<OnceLock<ClosedBecause>>,
}

impl Line {
    fn new(
        id: ConnectionId,
        connection: Connection,
        ended: watch::Receiver<bool>,
    ) -> (Self, Queues) {
        let (control, control_queue) = mpsc::channel(SERVER_CONTROL_QUEUE);
        let (models, model_queue) = mpsc::channel(SERVER_MODEL_QUEUE);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let queues = Queues {
            control: control_queue,
            queued_bytes: queued_bytes.clone(),
            models: model_queue,
            closed_because: Arc::default(),
        };
        let closed_because = queues.closed_because.clone();
        (Self { id, connection, control, queued_bytes, models, ended, closed_because }, queues)
    }

    fn close(&self, because: ClosedBecause) {
        let (code, words) = match &because {
            ClosedBecause::Replaced => (close::REPLACED, ""),
            ClosedBecause::Slow => (close::SLOW, "messages pile up at the coordinator"),
            ClosedBecause::Dismissed(words) => (close::DISMISSED, words.as_str()),
        };
        self.connection.close(code, words.as_bytes());
        // The first reason stays.
        let _ = self.closed_because.set(because);
    }
}

impl Shared {
    /// A panic while the map was held leaves it usable: every change is one operation.
    fn agents(&self) -> MutexGuard<'_, HashMap<AgentId, Line>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes incoming connections until the server is gone.
async fn accept(shared: std::sync::Weak<Shared>, endpoint: Endpoint) {
    let mut sweep = interval(Duration::from_secs(60));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = sweep.tick() => {
                let Some(shared) = shared.upgrade() else { return };
                shared.uploads.sweep();
                continue;
            }
        };
        let (Some(incoming), Some(shared)) = (incoming, shared.upgrade()) else { return };
        if *shared.leaving.borrow() {
            incoming.refuse();
            continue;
        }
        take(shared, incoming);
    }
}

fn take(shared: Arc<Shared>, incoming: Incoming) {
    let crowded =
        shared.endpoint.open_connections() > shared.agents().len() + UNPROVEN_HANDSHAKES_MAX;
    if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
        // An error means that no Retry was possible, which was asked before.
        let _ = incoming.retry();
        return;
    }
    let peer = incoming.remote_address();
    let Some(place) = shared.crowd.enter(peer.ip()) else {
        tracing::warn!(%peer, "connection refused: as many are open as may be");
        incoming.refuse();
        return;
    };
    tokio::spawn(connection::serve(shared, incoming, place));
}

impl From<CertificateError> for ServerError {
    fn from(error: CertificateError) -> Self {
        Self::Tls(error.into())
    }
}
