//! Tests over real QUIC that need what the product does not offer: a client with other TLS
//! settings, one that breaks the framing, and a vector that did not come from the gate.
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chorale_wire::{
    Digest, Epoch, FederationId, RoundNumber, SecretKey, SessionId, Signed, Slot, SlotSet, ToAgent,
    ToCoordinator, codec,
    limits::CONTROL_BYTES_MAX,
    message::{MaskedHeader, Reason, Refusal, RefusalCode, Waiting},
};
use quinn::crypto::rustls::QuicClientConfig;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustls::crypto::aws_lc_rs;
use support::{Federation, agent_id, hello, next, now_s, until, until_connected, until_linked};
use tokio::sync::mpsc;

use crate::{
    AgentLinkConfig, ArrivedVector, ConnectionFault, Credentials, EncodedMessage, LinkError,
    LinkEvent, LinkSender, SendError, Server, ServerError, ServerEvent, agent_link, connect,
    frame::{self, FrameWriter},
    tls::{self, COORDINATOR_NAME},
    upload::Bulk,
};

const YEAR_S: u64 = 366 * 24 * 3600;

/// Connects with any TLS settings; the end of it if the coordinator does not welcome it.
async fn knock(
    port: u16,
    crypto: QuicClientConfig,
) -> Result<(quinn::Connection, quinn::SendStream, quinn::RecvStream), ConnectionFault> {
    let peer = support::loopback(port);
    let endpoint = agent_link::open_client(peer).unwrap();
    let client = quinn::ClientConfig::new(Arc::new(crypto));
    let connection = endpoint.connect_with(client, peer, COORDINATOR_NAME).unwrap().await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let knocked: Result<u8, ConnectionFault> = async {
        send.write_all(&[frame::STREAM_CONTROL]).await?;
        frame::read_kind(&mut receive).await
    }
    .await;
    match knocked {
        Ok(frame::WELCOME) => Ok((connection, send, receive)),
        Ok(other) => panic!("welcomed with {other}"),
        Err(_) => Err(connection.closed().await.into()),
    }
}

#[tokio::test]
async fn classical_key_exchange_is_refused() {
    let mut federation = Federation::new(1);
    let enrolled = federation.enrol("store-1");
    let (_server, _events, port) = federation.serve();
    let mut classical = aws_lc_rs::default_provider();
    classical.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let client = tls::client_config(&enrolled.credentials, Arc::new(classical), true).unwrap();
    let fault = knock(port, client).await.unwrap_err();
    assert!(matches!(fault, ConnectionFault::Incompatible { .. }), "{fault:?}");
    // The same client with the product's key exchange is welcomed.
    let client = tls::client_config(&enrolled.credentials, tls::provider(), true).unwrap();
    knock(port, client).await.unwrap();
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let mut federation = Federation::new(2);
    let enrolled = federation.enrol("store-1");
    let (_server, _events, port) = federation.serve();
    let client = tls::client_config(&enrolled.credentials, tls::provider(), false).unwrap();
    let fault = knock(port, client).await.unwrap_err();
    assert!(matches!(fault, ConnectionFault::OurCertificateRefused { .. }), "{fault:?}");
}

#[tokio::test]
async fn another_root_is_refused_by_both_sides() {
    let mut federation = Federation::new(3);
    let stranger = Federation::new(4).enrol("store-1").credentials;
    let (_server, _events, port) = federation.serve();
    let fault = knock(port, tls::agent_config(&stranger).unwrap()).await.unwrap_err();
    assert!(matches!(fault, ConnectionFault::PeerCertificateRefused { .. }), "{fault:?}");
    // A stranger who trusts the coordinator is not trusted by it.
    let root = federation.enrol("store-2").credentials.root().to_vec();
    let intruder = Credentials::new(stranger.certificate().to_vec(), stranger.key.clone(), root);
    let fault = knock(port, tls::agent_config(&intruder).unwrap()).await.unwrap_err();
    assert!(matches!(fault, ConnectionFault::OurCertificateRefused { .. }), "{fault:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_the_text_says_what_to_do() {
    let mut federation = Federation::at(5, now_s() - 2 * YEAR_S, now_s());
    let expired = federation.enrol_at("store-1", now_s() - YEAR_S).credentials;
    let (_server, _events, port) = federation.serve();
    // The coordinator refuses it.
    let fault = knock(port, tls::agent_config(&expired).unwrap()).await.unwrap_err();
    assert!(matches!(fault, ConnectionFault::OurCertificateExpired), "{fault:?}");
    assert!(fault.to_string().contains("expired") && fault.to_string().contains("enrol again"));
    // The agent notices before it dials.
    let config = AgentLinkConfig::new(format!("127.0.0.1:{port}"), expired);
    let error = connect(config, StdRng::seed_from_u64(0)).unwrap_err().to_string();
    assert!(error.contains("expired") && error.contains("enrol again"), "{error}");
}

#[tokio::test]
async fn a_coordinator_does_not_start_with_an_expired_certificate() {
    let federation = Federation::at(6, now_s() - 2 * YEAR_S, now_s() - YEAR_S);
    let error = Server::bind(federation.server_config(0)).unwrap_err();
    assert!(matches!(error, ServerError::Tls(_)));
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn bad_frames_end_the_connection_before_anything_is_allocated() {
    let mut federation = Federation::new(7);
    let enrolled = federation.enrol("store-1");
    let (_server, mut events, port) = federation.serve();
    let over_long = u32::MAX.to_be_bytes().to_vec();
    let empty = 0_u32.to_be_bytes().to_vec();
    let not_a_message = [&4_u32.to_be_bytes()[..], &[255; 4]].concat();
    for bad in [over_long, empty, not_a_message] {
        let crypto = tls::agent_config(&enrolled.credentials).unwrap();
        let (connection, mut send, _receive) = knock(port, crypto).await.unwrap();
        send.write_all(&bad).await.unwrap();
        let fault = ConnectionFault::from(connection.closed().await);
        assert!(matches!(fault, ConnectionFault::OurProtocol { .. }), "{fault:?}");
        let reason = until(&mut events, |event| match event {
            ServerEvent::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
        assert!(matches!(reason, ConnectionFault::Protocol { .. }), "{reason:?}");
    }
}

/// The line blocks because nobody takes the events; every send is given up at its first wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_writer_goes_on_where_it_was() {
    const MESSAGES: u64 = 6_000;
    let mut federation = Federation::new(14);
    let enrolled = federation.enrol("store-1");
    let (_server, mut events, port) = federation.serve();
    let crypto = tls::agent_config(&enrolled.credentials).unwrap();
    let (_connection, send, _receive) = knock(port, crypto).await.unwrap();
    let message = |round: u64| {
        ToCoordinator::Refusal(
            Signed::sign(
                &Refusal {
                    federation: FederationId::new("small").unwrap(),
                    epoch: Epoch(1),
                    round: RoundNumber(round),
                    slot: Slot(0),
                    plan: Digest::plain(b"plan"),
                    code: RefusalCode::Unable,
                },
                &SecretKey::from_seed(&[1; 32]),
            )
            .unwrap(),
            Reason::new(&"x".repeat(500)),
        )
    };
    let mut writer = FrameWriter::new(send);
    let mut interrupted = 0;
    for round in 0..MESSAGES {
        let bytes = codec::encode(&message(round), CONTROL_BYTES_MAX).unwrap();
        tokio::select! {
            biased;
            sent = writer.send(bytes.into()) => sent.unwrap(),
            () = std::future::ready(()) => interrupted += 1,
        }
    }
    assert!(interrupted > 0, "the line never blocked");
    let finished = tokio::spawn(async move { writer.finish().await });
    for round in 0..MESSAGES {
        let arrived = until(&mut events, |event| match event {
            ServerEvent::Control { message, .. } => Some(message),
            _ => None,
        })
        .await;
        assert!(arrived == message(round), "message {round} is another one");
    }
    finished.await.unwrap();
}

#[tokio::test]
async fn one_encoded_message_reaches_every_agent_and_is_not_copied() {
    let mut federation = Federation::new(15);
    let (server, _events, port) = federation.serve();
    let mut links = Vec::new();
    for agent in ["store-1", "store-2", "store-3"] {
        let (sender, mut link_events) = link(&mut federation, agent, port);
        until_linked(&mut link_events).await;
        links.push((agent, sender, link_events));
    }
    let waiting = ToAgent::Waiting(Waiting { what: Reason::new("for the others") });
    let encoded = EncodedMessage::new(&waiting).unwrap();
    assert_eq!(encoded.bytes().as_ptr(), encoded.clone().bytes().as_ptr());
    for (agent, _, link_events) in &mut links {
        server.send_encoded(&agent_id(agent), &encoded).unwrap();
        let message = until(link_events, |event| match event {
            LinkEvent::Control(message) => Some(message),
            _ => None,
        })
        .await;
        assert_eq!(message, waiting);
    }
    let absent = server.send_encoded(&agent_id("store-4"), &encoded).unwrap_err();
    assert!(matches!(absent, SendError::NotConnected { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_counts_its_traffic_over_all_its_connections() {
    let mut federation = Federation::new(16);
    let (server, mut events, port) = federation.serve();
    let (sender, mut link_events) = link(&mut federation, "store-1", port);
    until_linked(&mut link_events).await;
    let mut sent = vector(1_000_000, 6);
    sent.upload(&sender);
    until_vector(&mut events).await;
    let first = sender.traffic();
    assert!(first.sent > 1_000_000 && first.received > 0, "{first:?}");
    server.disconnect(&agent_id("store-1"), &Reason::new("a test cuts the line"));
    until_linked(&mut link_events).await;
    let second = sender.traffic();
    assert!(second.sent > first.sent && second.received > first.received, "{second:?}");
}

/// A vector that did not come from the gate, which tells where it is read.
struct TestVector {
    session: SessionId,
    bytes: Vec<u8>,
    /// Offsets of all chunks that were asked for.
    offsets: Arc<Mutex<Vec<usize>>>,
    /// Told once when the reading passes the middle.
    middle: mpsc::UnboundedSender<()>,
}

impl Bulk for TestVector {
    fn session(&self) -> SessionId {
        self.session
    }

    fn digest(&self) -> Digest {
        Digest::plain(&self.bytes)
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn chunk(&self, offset: usize, max: usize) -> &[u8] {
        let mut offsets = self.offsets.lock().unwrap();
        let passed = offsets.iter().any(|earlier| *earlier >= self.bytes.len() / 2);
        if offset >= self.bytes.len() / 2 && !passed {
            self.middle.send(()).unwrap();
        }
        offsets.push(offset);
        &self.bytes[offset..(offset + max).min(self.bytes.len())]
    }
}

struct Sent {
    session: SessionId,
    bytes: Vec<u8>,
    header: Signed<MaskedHeader>,
    offsets: Arc<Mutex<Vec<usize>>>,
    middle: mpsc::UnboundedReceiver<()>,
    vector: Option<TestVector>,
}

fn vector(length: usize, round: u64) -> Sent {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(round).fill_bytes(&mut bytes);
    let digest = Digest::plain(b"any");
    let cohort = SlotSet::from_slots(4, [Slot(0)]);
    let session = SessionId::new(Epoch(1), RoundNumber(round), &digest, &digest, &cohort);
    let header = MaskedHeader {
        session,
        slot: Slot(0),
        length: length as u64,
        digest: Digest::plain(&bytes),
        noise: None,
    };
    let (middle_sender, middle) = mpsc::unbounded_channel();
    let offsets: Arc<Mutex<Vec<usize>>> = Arc::default();
    let vector = TestVector {
        session,
        bytes: bytes.clone(),
        offsets: offsets.clone(),
        middle: middle_sender,
    };
    Sent {
        session,
        bytes,
        header: Signed::sign(&header, &SecretKey::from_seed(&[1; 32])).unwrap(),
        offsets,
        middle,
        vector: Some(vector),
    }
}

impl Sent {
    fn upload(&mut self, link: &LinkSender) {
        let vector = self.vector.take().unwrap();
        link.enqueue(self.header.clone(), Box::new(vector)).unwrap();
    }
}

fn link(
    federation: &mut Federation,
    name: &str,
    port: u16,
) -> (LinkSender, mpsc::Receiver<LinkEvent>) {
    let enrolled = federation.enrol(name);
    let config = AgentLinkConfig::new(format!("127.0.0.1:{port}"), enrolled.credentials);
    connect(config, StdRng::seed_from_u64(9)).unwrap()
}

async fn until_vector(
    events: &mut mpsc::Receiver<ServerEvent>,
) -> (Signed<MaskedHeader>, ArrivedVector) {
    until(events, |event| match event {
        ServerEvent::Vector { header, vector, .. } => Some((header, vector)),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_cut_in_the_middle_resumes_and_arrives_once_and_intact() {
    let mut federation = Federation::new(10);
    let (server, mut events, port) = federation.serve();
    let (sender, mut link_events) = link(&mut federation, "store-1", port);
    until_linked(&mut link_events).await;
    let mut sent = vector(20_000_000, 1);
    server.expect_uploads(sent.session, 20_000_000);
    sent.upload(&sender);
    sent.middle.recv().await.unwrap();
    let reason = Reason::new("a test cuts the line");
    server.disconnect(&agent_id("store-1"), &reason);
    let (header, arrived) = until_vector(&mut events).await;
    assert!(arrived.bytes() == sent.bytes, "the vector differs");
    assert_eq!(header, sent.header);
    let mut cut = 0;
    let uploaded = until(&mut link_events, |event| match event {
        LinkEvent::Uploaded { session } => Some(session),
        LinkEvent::Disconnected { .. } => {
            cut += 1;
            None
        }
        _ => None,
    })
    .await;
    assert_eq!((uploaded, cut), (sent.session, 1));
    // It began again somewhere between the start and the cut, and only there.
    let offsets = sent.offsets.lock().unwrap().clone();
    let resumed: Vec<usize> =
        offsets.windows(2).filter(|pair| pair[1] <= pair[0]).map(|pair| pair[1]).collect();
    assert!(resumed.iter().all(|offset| *offset > 0), "sent again from the start: {resumed:?}");
    assert_eq!(offsets.iter().filter(|offset| **offset == 0).count(), 1);
    // Nothing is handed on twice.
    tokio::time::sleep(Duration::from_millis(300)).await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, ServerEvent::Vector { .. }), "delivered twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_survives_a_restart_of_the_coordinator() {
    let mut federation = Federation::new(11);
    let (server, events, port) = federation.serve();
    let (sender, mut link_events) = link(&mut federation, "store-1", port);
    until_linked(&mut link_events).await;
    let mut sent = vector(20_000_000, 2);
    sent.upload(&sender);
    sent.middle.recv().await.unwrap();
    drop(server);
    drop(events);
    let (_server, mut events) = federation.serve_again(port).await;
    let (_, arrived) = until_vector(&mut events).await;
    assert!(arrived.bytes() == sent.bytes, "the vector differs");
}

/// Vectors that were handed on and not yet added count, however many agents send at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_that_wait_to_be_added_hold_the_memory_for_uploads() {
    let mut federation = Federation::new(13);
    let mut config = federation.server_config(0);
    config.upload_memory_bytes_max = 250_000;
    let (server, mut events) = Server::bind(config).unwrap();
    let port = server.local_address().unwrap().port();
    let mut links = Vec::new();
    for agent in ["store-1", "store-2", "store-3"] {
        let (sender, mut link_events) = link(&mut federation, agent, port);
        until_linked(&mut link_events).await;
        let mut sent = vector(100_000, 5);
        sent.upload(&sender);
        links.push((sender, link_events, sent));
    }
    // Room for two: the third agent is told to try again for as long as both wait here.
    let (_, first) = until_vector(&mut events).await;
    let (_, second) = until_vector(&mut events).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, ServerEvent::Vector { .. }), "a third vector is in memory");
    }
    drop(first);
    let (_, third) = until_vector(&mut events).await;
    assert!(third.bytes() == links[0].2.bytes && second.bytes() == links[0].2.bytes);
}

#[tokio::test]
async fn a_vector_of_another_session_or_length_is_refused_with_a_reason() {
    let mut federation = Federation::new(12);
    let (server, _events, port) = federation.serve();
    let (sender, mut link_events) = link(&mut federation, "store-1", port);
    until_linked(&mut link_events).await;
    let (mut first, mut second) = (vector(1000, 3), vector(1000, 4));
    server.expect_uploads(second.session, 999);
    for (sent, word) in [(&mut first, "session"), (&mut second, "999")] {
        sent.upload(&sender);
        let (session, reason) = until(&mut link_events, |event| match event {
            LinkEvent::UploadRefused { session, reason } => Some((session, reason)),
            _ => None,
        })
        .await;
        assert_eq!(session, sent.session);
        assert!(reason.as_str().contains(word), "{reason}");
    }
}

#[tokio::test]
async fn a_header_that_does_not_describe_its_vector_is_not_sent() {
    let mut federation = Federation::new(13);
    let (_server, _events, port) = federation.serve();
    let (sender, _link_events) = link(&mut federation, "store-1", port);
    let (one, mut two) = (vector(1000, 5), vector(1000, 6));
    let swapped = sender.enqueue(one.header, Box::new(two.vector.take().unwrap()));
    assert_eq!(swapped, Err(LinkError::HeaderMismatch));
}

#[tokio::test]
async fn a_crashed_coordinator_is_noticed_before_the_idle_time_out() {
    let mut federation = Federation::new(15);
    // A crash says no goodbye: the tasks of the first server stop with their runtime.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let (server, mut events, port) = {
        let _inside = runtime.enter();
        federation.serve()
    };
    let enrolled = federation.enrol("store-1");
    let mut config = AgentLinkConfig::new(format!("127.0.0.1:{port}"), enrolled.credentials);
    config.keep_alive = Duration::from_millis(500);
    config.idle_timeout = Duration::from_secs(50);
    let (sender, mut link_events) = connect(config, StdRng::seed_from_u64(9)).unwrap();
    until_linked(&mut link_events).await;
    sender.control(hello("store-1")).unwrap();
    until_connected(&mut events).await;
    let began = std::time::Instant::now();
    let stop = move || runtime.shutdown_timeout(Duration::from_secs(10));
    tokio::task::spawn_blocking(stop).await.unwrap();
    drop((server, events));
    let (_server, mut events) = federation.serve_again(port).await;
    let reason = match next(&mut link_events).await {
        LinkEvent::Disconnected { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert!(matches!(reason, ConnectionFault::Lost { .. }), "{reason:?}");
    until_connected(&mut events).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
