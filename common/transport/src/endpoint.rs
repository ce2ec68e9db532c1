//! QUIC endpoints with the product's windows and time-outs.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime,
    TransportConfig, VarInt,
    crypto::{CryptoError, HmacKey},
};
use sha2::Sha256;
use socket2::SockRef;

use crate::{
    bounds::{CONNECTION_WINDOW_BYTES, SOCKET_BUFFER_BYTES, STREAM_WINDOW_BYTES},
    tls::Credentials,
};

/// How many streams the peer may have open at once.
pub(crate) struct PeerStreams {
    pub(crate) bidirectional: u32,
    pub(crate) unidirectional: u32,
}

/// Windows, streams and time-outs of a connection.
pub(crate) fn transport_config(
    streams: &PeerStreams,
    idle_timeout: Duration,
    keep_alive: Duration,
) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let idle_ms = u32::try_from(idle_timeout.as_millis()).unwrap_or(u32::MAX);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams.bidirectional))
        .max_concurrent_uni_streams(VarInt::from_u32(streams.unidirectional))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .keep_alive_interval(Some(keep_alive));
    Arc::new(config)
}

/// A listening endpoint. Its stateless-reset key (RFC 9000, section 10.3) comes from the TLS
/// key, so that after a crash and restart it can tell agents at once that their connections are
/// gone, instead of letting them wait for the idle time-out.
pub(crate) fn listen(
    bind: SocketAddr,
    credentials: &Credentials,
    config: quinn::ServerConfig,
) -> std::io::Result<Endpoint> {
    let keyed = |purpose| {
        Hmac::<Sha256>::new_from_slice(&credentials.derive(purpose)).map_err(std::io::Error::other)
    };
    let key = ResetKey(keyed("chorale/1 stateless reset")?);
    let ids = ConnectionIds {
        key: keyed("chorale/1 connection ids")?,
        began_ns: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()),
        next: 0,
    };
    let mut endpoint = EndpointConfig::new(Arc::new(key));
    // The default generator would drop packets of a former process before a reset is sent.
    endpoint.cid_generator(move || Box::new(ids.clone()));
    let socket = std::net::UdpSocket::bind(bind)?;
    // All agents' packets go through this one socket. More room than the system gives by itself is
    // a matter of speed only.
    let buffers = SockRef::from(&socket);
    let receive = buffers.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    if let Err(error) = receive.and_then(|()| buffers.set_send_buffer_size(SOCKET_BUFFER_BYTES)) {
        tracing::debug!(%error, "the socket keeps the system's buffers");
    }
    Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime))
}

/// Connection ids that nobody can predict or link, and that no two processes share: a keyed hash
/// of the time of the start and a counter.
#[derive(Clone)]
struct ConnectionIds {
    key: Hmac<Sha256>,
    began_ns: u128,
    next: u64,
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.next += 1;
        let mac = self
            .key
            .clone()
            .chain_update(self.began_ns.to_be_bytes())
            .chain_update(self.next.to_be_bytes());
        ConnectionId::new(&mac.finalize().into_bytes()[..self.cid_len()])
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

struct ResetKey(Hmac<Sha256>);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mac = self.0.clone().chain_update(data);
        signature_out.copy_from_slice(&mac.finalize().into_bytes());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mac = self.0.clone().chain_update(data);
        mac.verify_slice(signature).map_err(|_| CryptoError)
    }
}
