//! An agent's link: a background task that dials the coordinator, greets, reconnects for ever
//! and resumes an interrupted upload.
//!
//! Control messages are delivered at most once and in order. Those handed over while the line is
//! down wait (at most [`bounds::AGENT_CONTROL_QUEUE`]) and follow the next `Hello`; one that was
//! written when the line broke may be lost, and the round machines treat that as a drop-out. A
//! vector is delivered exactly once to a coordinator that lives on, whatever the line does.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use chorale_wire::{
    SessionId, Signed, ToAgent, ToCoordinator, codec,
    limits::{AGENT_CONTROL_BYTES_MAX, CONTROL_BYTES_MAX, MODEL_BYTES_MAX, VECTOR_BYTES_MAX},
    message::{MaskedHeader, Reason},
};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rand::{Rng, RngExt as _};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    bounds::{
        self, AGENT_CONTROL_QUEUE, BACKOFF_RESET_AFTER, CHUNK_BYTES, CLOSE_TIMEOUT,
        HANDSHAKE_TIMEOUT, UPLOAD_RETRY,
    },
    endpoint::{PeerStreams, transport_config},
    fault::ConnectionFault,
    frame::{self, ANSWER_BYTES_MAX, FrameWriter, UploadAnswer},
    tls::{self, COORDINATOR_NAME, Credentials, TlsError},
    traffic::{Counter, Traffic},
    upload::{Bulk, Upload},
};

/// What an agent's link needs to know. [`AgentLinkConfig::new`] fills in the time-outs.
#[derive(Clone, Debug)]
pub struct AgentLinkConfig {
    /// The coordinator, `host:port`; resolved anew at every dial.
    pub address: String,
    /// The agent's certificate and key, and the pinned root.
    pub credentials: Credentials,
    /// First back-off; doubled by each failure.
    pub backoff_first: Duration,
    /// Longest back-off.
    pub backoff_cap: Duration,
    /// Silence after which the connection counts as lost.
    pub idle_timeout: Duration,
    /// Interval of keep-alives.
    pub keep_alive: Duration,
    /// Longest model in bytes that this agent takes.
    pub model_bytes_max: usize,
}

impl AgentLinkConfig {
    /// The defaults of [`bounds`].
    #[must_use]
    pub fn new(address: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            address: address.into(),
            credentials,
            backoff_first: bounds::BACKOFF_FIRST,
            backoff_cap: bounds::BACKOFF_CAP,
            idle_timeout: bounds::IDLE_TIMEOUT,
            keep_alive: bounds::KEEP_ALIVE,
            model_bytes_max: MODEL_BYTES_MAX,
        }
    }
}

/// What happens on the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected and admitted. The driver answers with `ToCoordinator::Hello`; nothing else is
    /// sent on this connection before it.
    Connected,
    /// Not connected, or not any more; the link tries again by itself.
    Disconnected {
        /// Why, and what to do.
        reason: ConnectionFault,
        /// Time until the next attempt.
        retry_in: Duration,
    },
    /// A control message, in the order in which the coordinator sent them.
    Control(ToAgent),
    /// A model. It travels on a stream of its own and may come before or after the control
    /// message that names its digest.
    Model(Vec<u8>),
    /// The coordinator has the whole vector.
    Uploaded {
        /// Its session.
        session: SessionId,
    },
    /// The coordinator does not take the vector (declared dropped, aborted or unknown session).
    UploadRefused {
        /// Its session.
        session: SessionId,
        /// The coordinator's words.
        reason: Reason,
    },
}

/// Why something could not be handed to the link. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The link was closed.
    #[error("the link to the coordinator is closed")]
    Closed,
    /// Too many messages wait for the line.
    #[error("{AGENT_CONTROL_QUEUE} messages wait for the coordinator already; this one is dropped")]
    Full,
    /// The header does not describe the release: a mistake of the caller.
    #[error("the signed header does not describe the vector that was to be uploaded")]
    HeaderMismatch,
    /// The vector is longer than the protocol allows: a mistake of the caller.
    #[error("the vector is empty or longer than {VECTOR_BYTES_MAX} bytes")]
    Length,
}

/// The sending half of a link; clones share it. When all are dropped, the link closes.
#[derive(Clone, Debug)]
pub struct LinkSender {
    control: mpsc::Sender<ToCoordinator>,
    upload: mpsc::Sender<Pending>,
    close: Arc<watch::Sender<bool>>,
    ended: watch::Receiver<bool>,
    traffic: Counter,
}

impl LinkSender {
    /// Hands over a control message; never waits.
    ///
    /// # Errors
    /// [`LinkError::Closed`] or [`LinkError::Full`].
    pub fn control(&self, message: ToCoordinator) -> Result<(), LinkError> {
        self.control.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkError::Closed,
        })
    }

    /// Hands over a masked vector. It is sent, and resumed after every reconnect, until
    /// [`LinkEvent::Uploaded`] or [`LinkEvent::UploadRefused`]; a newer upload takes its place.
    ///
    /// # Errors
    /// [`LinkError`]; in every case nothing was sent.
    pub fn upload(&self, upload: Upload) -> Result<(), LinkError> {
        self.enqueue(upload.header, Box::new(upload.release))
    }

    /// What this link has sent and received so far, over all its connections.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic.total()
    }

    /// Sends the control messages that wait (at most two seconds), closes the connection and ends
    /// the task. An upload on its way is cut.
    pub async fn close(&self) {
        self.close.send_replace(true);
        let mut ended = self.ended.clone();
        // An error means that the task is gone already, which is what is waited for.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(crate) fn enqueue(
        &self,
        header: Signed<MaskedHeader>,
        bulk: Box<dyn Bulk>,
    ) -> Result<(), LinkError> {
        let claimed = header.peek().map_err(|_| LinkError::HeaderMismatch)?;
        let fits = claimed.length == bulk.len()
            && claimed.digest == bulk.digest()
            && claimed.session == bulk.session();
        if !fits {
            return Err(LinkError::HeaderMismatch);
        }
        if claimed.length == 0 || claimed.length > VECTOR_BYTES_MAX as u64 {
            return Err(LinkError::Length);
        }
        let pending = Pending { header, session: claimed.session, bulk: bulk.into() };
        self.upload.try_send(pending).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkError::Closed,
        })
    }
}

/// Starts a link in the current tokio runtime. `jitter` spreads the reconnects of many agents;
/// it needs no secrecy.
///
/// # Errors
/// [`TlsError`] when the certificate, key or root cannot be used, for example an expired one.
pub fn connect(
    config: AgentLinkConfig,
    jitter: impl Rng + Send + 'static,
) -> Result<(LinkSender, mpsc::Receiver<LinkEvent>), TlsError> {
    config.credentials.check(tls::now_s())?;
    tls::agent_config(&config.credentials)?;
    let (control, control_queue) = mpsc::channel(AGENT_CONTROL_QUEUE);
    let (upload, uploads) = mpsc::channel(2);
    let (events, event_queue) = mpsc::channel(bounds::AGENT_EVENT_QUEUE);
    let (close, closing) = watch::channel(false);
    let (ended_flag, ended) = watch::channel(false);
    let traffic = Counter::default();
    let link = Link {
        config,
        traffic: traffic.clone(),
        events,
        outgoing: Outgoing { queue: control_queue, backlog: VecDeque::new(), greeted: false },
        uploads: Uploads { queue: uploads, current: None },
        closing,
    };
    tokio::spawn(async move {
        link.run(jitter).await;
        ended_flag.send_replace(true);
    });
    Ok((LinkSender { control, upload, close: Arc::new(close), ended, traffic }, event_queue))
}

/// An upload that the coordinator does not have yet.
#[derive(Clone)]
struct Pending {
    header: Signed<MaskedHeader>,
    session: SessionId,
    bulk: Arc<dyn Bulk>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({} bytes, redacted)", self.bulk.len())
    }
}

struct Link {
    config: AgentLinkConfig,
    traffic: Counter,
    events: mpsc::Sender<LinkEvent>,
    outgoing: Outgoing,
    uploads: Uploads,
    closing: watch::Receiver<bool>,
}

/// Control messages: those in the queue, and those taken from it that wait for a `Hello`.
struct Outgoing {
    queue: mpsc::Receiver<ToCoordinator>,
    backlog: VecDeque<ToCoordinator>,
    /// Whether a `Hello` has left on this connection.
    greeted: bool,
}

struct Uploads {
    queue: mpsc::Receiver<Pending>,
    current: Option<Pending>,
}

impl Link {
    async fn run(mut self, mut jitter: impl Rng + Send) {
        let mut backoff = Backoff::new(self.config.backoff_first, self.config.backoff_cap);
        let mut closing = self.closing.clone();
        loop {
            let began = Instant::now();
            let reason = self.one_connection().await;
            if matches!(reason, ConnectionFault::ClosedHere) || self.events.is_closed() {
                return;
            }
            if began.elapsed() >= BACKOFF_RESET_AFTER
                && !matches!(reason, ConnectionFault::Replaced)
            {
                backoff.reset();
            }
            let retry_in = backoff.next(&mut jitter);
            tracing::info!(%reason, retry_ms = retry_in.as_millis() as u64, "not connected");
            tokio::select! {
                sent = self.events.send(LinkEvent::Disconnected { reason, retry_in }) => {
                    if sent.is_err() { return; }
                }
                () = closed(&mut closing) => return,
            }
            tokio::select! {
                () = sleep(retry_in) => {}
                () = closed(&mut closing) => return,
            }
        }
    }

    /// Dials and serves one connection until it ends; says why it ended.
    async fn one_connection(&mut self) -> ConnectionFault {
        let mut closing = self.closing.clone();
        let dialled = tokio::select! {
            dialled = dial(&self.config) => match dialled {
                Ok(dialled) => dialled,
                Err(fault) => return fault,
            },
            () = closed(&mut closing) => return ConnectionFault::ClosedHere,
        };
        self.traffic.begin(&dialled.connection);
        let fault = self.serve(&dialled.connection, dialled.send, dialled.receive).await;
        let (code, words) = fault.closing();
        dialled.connection.close(code, words.as_bytes());
        // Lets the close frame leave; an error is only the time-out.
        let _ = timeout(CLOSE_TIMEOUT, dialled.endpoint.wait_idle()).await;
        self.traffic.end();
        fault
    }

    async fn serve(
        &mut self,
        connection: &Connection,
        send: SendStream,
        mut receive: RecvStream,
    ) -> ConnectionFault {
        let mut send = FrameWriter::new(send);
        self.outgoing.begin();
        tracing::info!(coordinator = %connection.remote_address(), "connected");
        let events = &self.events;
        let mut closing = self.closing.clone();
        let model_bytes_max = self.config.model_bytes_max;
        let work = async {
            if events.send(LinkEvent::Connected).await.is_err() {
                return ConnectionFault::ClosedHere;
            }
            tokio::select! {
                fault = read_control(&mut receive, events) => fault,
                fault = self.outgoing.write(&mut send) => fault,
                fault = self.uploads.run(connection, events) => fault,
                fault = read_models(connection, model_bytes_max, events) => fault,
            }
        };
        let fault = tokio::select! {
            fault = work => fault,
            lost = connection.closed() => lost.into(),
            () = closed(&mut closing) => ConnectionFault::ClosedHere,
        };
        match (fault, connection.close_reason()) {
            (ConnectionFault::ClosedHere, None) => {
                self.outgoing.flush(&mut send).await;
                ConnectionFault::ClosedHere
            }
            // Why the connection was lost says more than which stream noticed it first.
            (_, Some(lost)) => lost.into(),
            (fault, None) => fault,
        }
    }
}

struct Dialled {
    endpoint: Endpoint,
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

/// Connects to the first of the coordinator's addresses that answers, and waits until the
/// coordinator admits this agent: in TLS 1.3 a client whose certificate is refused learns it
/// only after its own handshake.
async fn dial(config: &AgentLinkConfig) -> Result<Dialled, ConnectionFault> {
    config.credentials.check(tls::now_s()).map_err(ConnectionFault::OwnCertificate)?;
    let crypto = tls::agent_config(&config.credentials).map_err(ConnectionFault::Tls)?;
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    let streams = PeerStreams { bidirectional: 0, unidirectional: 1 };
    client.transport_config(transport_config(&streams, config.idle_timeout, config.keep_alive));
    let resolve = |source| ConnectionFault::Resolve { address: config.address.clone(), source };
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host(&config.address).await.map_err(resolve)?.collect();
    let mut last = ConnectionFault::Unreachable { address: config.address.clone() };
    for address in addresses {
        match timeout(HANDSHAKE_TIMEOUT, dial_one(address, client.clone())).await {
            Ok(Ok(dialled)) => return Ok(dialled),
            Ok(Err(ConnectionFault::Lost { .. })) | Err(_) => {}
            Ok(Err(fault)) => last = fault,
        }
    }
    Err(last)
}

async fn dial_one(
    address: SocketAddr,
    client: quinn::ClientConfig,
) -> Result<Dialled, ConnectionFault> {
    let endpoint = open_client(address).map_err(ConnectionFault::Socket)?;
    let connection = endpoint
        .connect_with(client, address, COORDINATOR_NAME)
        .map_err(|error| ConnectionFault::Lost { detail: error.to_string() })?
        .await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&[frame::STREAM_CONTROL]).await?;
    let welcomed = async {
        match frame::read_kind(&mut receive).await {
            Ok(frame::WELCOME) => Ok(()),
            Ok(_) => Err(ConnectionFault::protocol("no welcome on the control stream")),
            Err(fault) => Err(fault),
        }
    }
    .await;
    // A refusal closes the connection; its reason says more than the broken stream does.
    match (welcomed, connection.close_reason()) {
        (Ok(()), _) => Ok(Dialled { endpoint, connection, send, receive }),
        (Err(_), Some(reason)) => Err(reason.into()),
        (Err(fault), None) => Err(fault),
    }
}

/// A client endpoint of the address family of `peer`.
pub(crate) fn open_client(peer: SocketAddr) -> std::io::Result<Endpoint> {
    let any: SocketAddr = if peer.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    Endpoint::client(any)
}

async fn read_control(
    receive: &mut RecvStream,
    events: &mpsc::Sender<LinkEvent>,
) -> ConnectionFault {
    loop {
        let bytes = match frame::read_frame(receive, CONTROL_BYTES_MAX).await {
            Ok(Some(bytes)) => bytes,
            // The coordinator says goodbye; it closes when everything has arrived.
            Ok(None) => return std::future::pending().await,
            Err(fault) => return fault,
        };
        match codec::decode::<ToAgent>(&bytes, CONTROL_BYTES_MAX) {
            Ok(message) => {
                if events.send(LinkEvent::Control(message)).await.is_err() {
                    return ConnectionFault::ClosedHere;
                }
            }
            Err(error) => return ConnectionFault::protocol(format!("control message: {error}")),
        }
    }
}

async fn read_models(
    connection: &Connection,
    limit: usize,
    events: &mpsc::Sender<LinkEvent>,
) -> ConnectionFault {
    loop {
        let model = async {
            let mut stream = connection.accept_uni().await?;
            if frame::read_kind(&mut stream).await? != frame::STREAM_MODEL {
                return Err(ConnectionFault::protocol("an unknown kind of stream"));
            }
            let mut length = [0; 8];
            frame::within_stall(async { Ok(stream.read_exact(&mut length).await?) }).await?;
            let length = frame::checked_length(u64::from_be_bytes(length), limit)?;
            frame::read_bytes(&mut stream, length).await
        };
        match model.await {
            Ok(bytes) => {
                if events.send(LinkEvent::Model(bytes)).await.is_err() {
                    return ConnectionFault::ClosedHere;
                }
            }
            // The coordinator gave the stream up; if the connection is gone too, that is noticed.
            Err(ConnectionFault::Lost { detail }) if connection.close_reason().is_none() => {
                tracing::info!(%detail, "a model did not arrive");
            }
            Err(fault) => return fault,
        }
    }
}

impl Outgoing {
    /// A new connection: greetings of an earlier one must not greet on it.
    fn begin(&mut self) {
        self.greeted = false;
        while let Ok(message) = self.queue.try_recv() {
            self.keep(message);
        }
    }

    fn keep(&mut self, message: ToCoordinator) {
        if matches!(message, ToCoordinator::Hello(_)) {
            return;
        }
        if self.backlog.len() == AGENT_CONTROL_QUEUE {
            tracing::warn!("the oldest message that waits for the coordinator is dropped");
            self.backlog.pop_front();
        }
        self.backlog.push_back(message);
    }

    /// Sends the greeting first, then what waited, then what comes.
    async fn write(&mut self, send: &mut FrameWriter) -> ConnectionFault {
        loop {
            match self.queue.recv().await {
                None => return ConnectionFault::ClosedHere,
                Some(message) => {
                    if let Err(fault) = self.pass(send, message).await {
                        return fault;
                    }
                }
            }
        }
    }

    async fn pass(
        &mut self,
        send: &mut FrameWriter,
        message: ToCoordinator,
    ) -> Result<(), ConnectionFault> {
        if matches!(message, ToCoordinator::Hello(_)) {
            self.greeted = true;
            write_message(send, &message).await?;
        } else {
            self.keep(message);
        }
        while self.greeted
            && let Some(message) = self.backlog.pop_front()
        {
            write_message(send, &message).await?;
        }
        Ok(())
    }

    /// At a close in good order: what is in the queue still leaves, if the line takes it.
    async fn flush(&mut self, send: &mut FrameWriter) {
        let flush = async {
            while let Ok(message) = self.queue.try_recv() {
                if self.pass(send, message).await.is_err() {
                    return;
                }
            }
            send.finish().await;
        };
        if timeout(CLOSE_TIMEOUT, flush).await.is_err() {
            tracing::debug!("closed before everything had left");
        }
    }
}

async fn write_message(
    send: &mut FrameWriter,
    message: &ToCoordinator,
) -> Result<(), ConnectionFault> {
    match codec::encode(message, AGENT_CONTROL_BYTES_MAX) {
        Ok(bytes) => send.send(bytes.into()).await,
        Err(error) => {
            tracing::error!(%error, "a control message of this agent cannot be sent");
            Ok(())
        }
    }
}

impl Uploads {
    async fn run(
        &mut self,
        connection: &Connection,
        events: &mpsc::Sender<LinkEvent>,
    ) -> ConnectionFault {
        loop {
            let Some(pending) = self.current.clone() else {
                match self.queue.recv().await {
                    Some(newer) => self.current = Some(newer),
                    None => return ConnectionFault::ClosedHere,
                }
                continue;
            };
            let session = pending.session;
            let event = tokio::select! {
                newer = self.queue.recv() => {
                    match newer {
                        Some(newer) => self.current = Some(newer),
                        None => return ConnectionFault::ClosedHere,
                    }
                    continue;
                }
                outcome = attempt(connection, &pending) => match outcome {
                    UploadAnswer::Accepted => LinkEvent::Uploaded { session },
                    UploadAnswer::Refused { reason, .. } => {
                        LinkEvent::UploadRefused { session, reason }
                    }
                    UploadAnswer::Continue { .. } => continue,
                },
            };
            self.current = None;
            if events.send(event).await.is_err() {
                return ConnectionFault::ClosedHere;
            }
        }
    }
}

/// Uploads until the coordinator has accepted or refused for good.
async fn attempt(connection: &Connection, pending: &Pending) -> UploadAnswer {
    loop {
        match send_vector(connection, pending).await {
            Ok(UploadAnswer::Refused { reason, retry: true }) => {
                tracing::info!(%reason, "upload postponed");
            }
            Ok(answer) => return answer,
            Err(fault) => tracing::info!(%fault, "upload interrupted"),
        }
        sleep(UPLOAD_RETRY).await;
    }
}

async fn send_vector(
    connection: &Connection,
    pending: &Pending,
) -> Result<UploadAnswer, ConnectionFault> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let header = codec::encode(&pending.header, frame::HEADER_BYTES_MAX)
        .map_err(|error| ConnectionFault::protocol(error.to_string()))?;
    send.write_all(&[frame::STREAM_UPLOAD]).await?;
    frame::write_frame(&mut send, &header).await?;
    let length = pending.bulk.len();
    let mut offset = match read_answer(&mut receive).await? {
        UploadAnswer::Continue { offset } if offset <= length => offset as usize,
        UploadAnswer::Continue { .. } => {
            return Err(ConnectionFault::protocol("an offset past the end of the vector"));
        }
        answer => return Ok(answer),
    };
    tracing::debug!(offset, length, "upload");
    while (offset as u64) < length {
        let chunk = pending.bulk.chunk(offset, CHUNK_BYTES);
        if chunk.is_empty() {
            return Err(ConnectionFault::protocol("the release ended early"));
        }
        if frame::write_chunks(&mut send, chunk).await.is_err() {
            // The coordinator may have refused midway; its answer says why.
            return read_answer(&mut receive).await;
        }
        offset += chunk.len();
    }
    // An error means that the stream is closed already; the answer tells.
    let _ = send.finish();
    read_answer(&mut receive).await
}

async fn read_answer(receive: &mut RecvStream) -> Result<UploadAnswer, ConnectionFault> {
    let bytes = frame::read_frame(receive, ANSWER_BYTES_MAX)
        .await?
        .ok_or_else(|| ConnectionFault::Lost { detail: "no answer to an upload".into() })?;
    codec::decode(&bytes, ANSWER_BYTES_MAX)
        .map_err(|error| ConnectionFault::protocol(format!("answer to an upload: {error}")))
}

/// Waits for [`LinkSender::close`], or until every sender is gone.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that every sender was dropped, which closes too.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Capped exponential back-off with full jitter: uniform in [0, min(cap, first·2^n)].
struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    fn reset(&mut self) {
        self.failures = 0;
    }

    fn ceiling(&self) -> Duration {
        self.first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.cap)
    }

    fn next(&mut self, jitter: &mut impl Rng) -> Duration {
        let ceiling_us = u64::try_from(self.ceiling().as_micros()).unwrap_or(u64::MAX);
        self.failures = self.failures.saturating_add(1).min(30);
        Duration::from_micros(jitter.random_range(0..=ceiling_us))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn back_off_doubles_is_capped_and_fully_jittered() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
        let ceilings: Vec<u64> = (0..10)
            .map(|_| {
                let ceiling = backoff.ceiling();
                assert!(backoff.next(&mut rng) <= ceiling);
                ceiling.as_millis() as u64
            })
            .collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000]);
        let draws: Vec<Duration> = (0..200).map(|_| backoff.next(&mut rng)).collect();
        assert!(draws.iter().any(|draw| *draw < Duration::from_secs(3)));
        assert!(draws.iter().any(|draw| *draw > Duration::from_secs(12)));
        backoff.reset();
        assert_eq!(backoff.ceiling(), Duration::from_millis(100));
    }
}
