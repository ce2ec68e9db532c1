//! Enrolment over the network: a store hands its request to the coordinator, which relays it to
//! the offline authority, and later fetches the answer.
//!
//! The endpoint asks for no client certificate, since a store has none yet; the store pins the
//! root by the fingerprint in its invitation. One request and one answer for each connection.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chorale_wire::{
    Digest, Signed, codec,
    limits::ENROLMENT_BYTES_MAX,
    message::{EnrolmentAnswer, EnrolmentRequest, Reason},
};
use quinn::{Endpoint, Incoming};
use tokio::time::{Instant, timeout};

use crate::{
    agent_link::open_client,
    bounds::{
        CLOSE_TIMEOUT, ENROLMENT_ADDRESSES_MAX, ENROLMENTS_AT_ONCE, ENROLMENTS_PER_MINUTE,
        ENROLMENTS_PER_NETWORK, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, KEEP_ALIVE,
    },
    crowd::{Crowd, CrowdLimits, network},
    endpoint::{PeerStreams, listen, transport_config},
    fault::{ConnectionFault, close},
    frame,
    server::ServerError,
    tls::{self, COORDINATOR_NAME, Credentials, TlsError},
};

/// Answers a request that was read and whose signature is by the identity key that it names.
/// Called on a thread where it may block shortly (a file, a database).
pub type EnrolmentHandler = Arc<dyn Fn(Signed<EnrolmentRequest>) -> EnrolmentAnswer + Send + Sync>;

/// What the enrolment endpoint needs to know.
#[derive(Clone)]
pub struct EnrolmentConfig {
    /// Local UDP address.
    pub bind: SocketAddr,
    /// The coordinator's certificate and key, and the root that stores pin.
    pub credentials: Credentials,
    /// Answers requests.
    pub handler: EnrolmentHandler,
    /// Connections from one network in one minute.
    pub per_minute: u32,
}

impl EnrolmentConfig {
    /// The defaults of [`crate::bounds`].
    #[must_use]
    pub fn new(bind: SocketAddr, credentials: Credentials, handler: EnrolmentHandler) -> Self {
        Self { bind, credentials, handler, per_minute: ENROLMENTS_PER_MINUTE }
    }
}

impl fmt::Debug for EnrolmentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolmentConfig({})", self.bind)
    }
}

/// A running enrolment endpoint; dropping it closes it.
#[derive(Debug)]
pub struct EnrolmentServer {
    endpoint: Endpoint,
}

impl EnrolmentServer {
    /// Opens the address and answers requests in the current tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`]: TLS (for example an expired certificate) or the address.
    pub fn bind(config: EnrolmentConfig) -> Result<Self, ServerError> {
        config.credentials.check(tls::now_s())?;
        let crypto = tls::enrolment_server_config(&config.credentials)?;
        let mut quic = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let streams = PeerStreams { bidirectional: 1, unidirectional: 0 };
        quic.transport_config(transport_config(&streams, IDLE_TIMEOUT, KEEP_ALIVE));
        quic.max_incoming(ENROLMENTS_AT_ONCE);
        let address = config.bind;
        let endpoint = listen(address, &config.credentials, quic)
            .map_err(|source| ServerError::Bind { address, source })?;
        tokio::spawn(accept(endpoint.clone(), config));
        Ok(Self { endpoint })
    }

    /// The address that stores reach.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Closes the endpoint and waits until its connections have ended (at most two seconds).
    pub async fn shutdown(self) {
        self.endpoint.close(close::GOODBYE, b"the coordinator stops");
        // An error is only the time-out.
        let _ = timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

impl Drop for EnrolmentServer {
    fn drop(&mut self) {
        self.endpoint.close(close::GOODBYE, b"the coordinator stops");
    }
}

/// Why a store got no answer. What to do is in the text.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The connection.
    #[error(transparent)]
    Connection(#[from] ConnectionFault),
    /// Whoever answers does not show the root of the invitation.
    #[error(
        "whoever answers at '{address}' is not the coordinator of the invitation: its \
         certificate does not lead to the root with fingerprint {expected}. Check the address; \
         if it is right, the line is being intercepted"
    )]
    WrongRoot {
        /// As in the invitation.
        address: String,
        /// As in the invitation.
        expected: Digest,
    },
    /// The request is too long: a mistake of the caller.
    #[error("the request cannot be encoded")]
    Encode(#[from] chorale_wire::EncodeError),
    /// The answer cannot be read.
    #[error("the coordinator's answer cannot be read: are both sides of the same version?")]
    Answer(#[source] chorale_wire::DecodeError),
}

/// Sends a request to the enrolment endpoint at `address` (`host:port`) and returns its answer.
/// Only a coordinator under the root with this fingerprint is talked to.
///
/// # Errors
/// [`EnrolmentError`].
pub async fn request_enrolment(
    address: &str,
    root_fingerprint: &Digest,
    request: &Signed<EnrolmentRequest>,
) -> Result<EnrolmentAnswer, EnrolmentError> {
    let bytes = codec::encode(request, ENROLMENT_BYTES_MAX)?;
    let crypto = tls::enrolment_client_config(*root_fingerprint).map_err(ConnectionFault::Tls)?;
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    let streams = PeerStreams { bidirectional: 0, unidirectional: 0 };
    client.transport_config(transport_config(&streams, IDLE_TIMEOUT, KEEP_ALIVE));
    let resolve = |source| ConnectionFault::Resolve { address: address.to_owned(), source };
    let peers: Vec<SocketAddr> = tokio::net::lookup_host(address).await.map_err(resolve)?.collect();
    let mut last = ConnectionFault::Unreachable { address: address.to_owned() };
    for peer in peers {
        match timeout(HANDSHAKE_TIMEOUT, ask(peer, client.clone(), &bytes)).await {
            Ok(Ok(answer)) => {
                return codec::decode(&answer, ENROLMENT_BYTES_MAX).map_err(EnrolmentError::Answer);
            }
            Ok(Err(ConnectionFault::PeerCertificateRefused { .. })) => {
                let (address, expected) = (address.to_owned(), *root_fingerprint);
                return Err(EnrolmentError::WrongRoot { address, expected });
            }
            Ok(Err(fault)) => last = fault,
            Err(_) => {}
        }
    }
    Err(last.into())
}

async fn ask(
    peer: SocketAddr,
    client: quinn::ClientConfig,
    request: &[u8],
) -> Result<Vec<u8>, ConnectionFault> {
    let endpoint = open_client(peer).map_err(ConnectionFault::Socket)?;
    let connection = endpoint
        .connect_with(client, peer, COORDINATOR_NAME)
        .map_err(|error| ConnectionFault::Lost { detail: error.to_string() })?
        .await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    frame::write_frame(&mut send, request).await?;
    // An error means that the stream is finished already.
    let _ = send.finish();
    let answer = frame::read_frame(&mut receive, ENROLMENT_BYTES_MAX).await?;
    connection.close(close::GOODBYE, b"");
    endpoint.wait_idle().await;
    answer.ok_or_else(|| ConnectionFault::protocol("no answer to the enrolment request"))
}

async fn accept(endpoint: Endpoint, config: EnrolmentConfig) {
    let crowd = Crowd::new(CrowdLimits {
        strangers: ENROLMENTS_AT_ONCE,
        strangers_per_network: ENROLMENTS_PER_NETWORK,
        known: 0,
        known_per_network: 0,
    });
    let rate = Arc::new(Rate::new(config.per_minute));
    while let Some(incoming) = endpoint.accept().await {
        // The address is proven first (QUIC Retry): everything below is counted by it.
        if !incoming.remote_address_validated() && incoming.may_retry() {
            // An error means that no Retry was possible, which was asked before.
            let _ = incoming.retry();
            continue;
        }
        let Some(place) = crowd.enter(incoming.remote_address().ip()) else {
            incoming.refuse();
            continue;
        };
        let (handler, rate) = (config.handler.clone(), rate.clone());
        tokio::spawn(async move {
            let peer = incoming.remote_address();
            match timeout(HANDSHAKE_TIMEOUT, serve(incoming, &rate, handler)).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => tracing::info!(%peer, %fault, "enrolment ended early"),
                Err(_) => tracing::info!(%peer, "enrolment took too long"),
            }
            drop(place);
        });
    }
}

async fn serve(
    incoming: Incoming,
    rate: &Rate,
    handler: EnrolmentHandler,
) -> Result<(), ConnectionFault> {
    // Whether or not a request follows: a connection costs a handshake.
    let admitted = rate.admits(incoming.remote_address().ip(), Instant::now());
    let connection = incoming.accept()?.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let bytes = frame::read_frame(&mut receive, ENROLMENT_BYTES_MAX)
        .await?
        .ok_or_else(|| ConnectionFault::protocol("no enrolment request"))?;
    let answer = if admitted {
        // An error means that the handler panicked.
        tokio::task::spawn_blocking(move || answer_to(&bytes, &handler))
            .await
            .unwrap_or_else(|_| refusal("the coordinator failed; its log says why"))
    } else {
        refusal("too many requests from this address: try again in a minute")
    };
    let bytes = codec::encode(&answer, ENROLMENT_BYTES_MAX)
        .map_err(|error| ConnectionFault::protocol(error.to_string()))?;
    frame::write_frame(&mut send, &bytes).await?;
    // An error means that the stream is finished already.
    let _ = send.finish();
    // The store closes when it has read the answer; an error is only the time-out.
    let _ = timeout(CLOSE_TIMEOUT, connection.closed()).await;
    Ok(())
}

fn answer_to(bytes: &[u8], handler: &EnrolmentHandler) -> EnrolmentAnswer {
    let Ok(signed) = codec::decode::<Signed<EnrolmentRequest>>(bytes, ENROLMENT_BYTES_MAX) else {
        return refusal("this is not an enrolment request: are both sides of the same version?");
    };
    let Ok(request) = signed.peek() else {
        return refusal("this is not an enrolment request: are both sides of the same version?");
    };
    if signed.verify(&request.identity).is_err() {
        return refusal("the request is not signed by the identity key that it names");
    }
    handler(signed)
}

fn refusal(text: &str) -> EnrolmentAnswer {
    EnrolmentAnswer::Refused(Reason::new(text))
}

/// Connections from each network in the current minute.
struct Rate {
    per_minute: u32,
    seen: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Rate {
    fn new(per_minute: u32) -> Self {
        Self { per_minute, seen: Mutex::default() }
    }

    fn admits(&self, address: IpAddr, now: Instant) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        let address = network(address);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ENROLMENT_ADDRESSES_MAX && !seen.contains_key(&address) {
            seen.retain(|_, (began, _)| now.duration_since(*began) < MINUTE);
            if seen.len() >= ENROLMENT_ADDRESSES_MAX {
                return false;
            }
        }
        let (began, count) = seen.entry(address).or_insert((now, 0));
        if now.duration_since(*began) >= MINUTE {
            (*began, *count) = (now, 0);
        }
        *count += 1;
        *count <= self.per_minute
    }
}

impl From<TlsError> for EnrolmentError {
    fn from(error: TlsError) -> Self {
        Self::Connection(ConnectionFault::Tls(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_requests_a_minute_and_no_more() {
        let rate = Rate::new(2);
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        assert!(rate.admits(one, start) && rate.admits(one, start));
        assert!(!rate.admits(one, start));
        assert!(rate.admits(two, start));
        assert!(rate.admits(one, start + Duration::from_secs(61)));
    }
}
