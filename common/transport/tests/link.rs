//! The link between agents and coordinator over real QUIC on loopback, through the public API.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use chorale_transport::{
    AgentLinkConfig, ConnectionFault, LinkEvent, LinkSender, SendError, Server, ServerEvent,
    connect,
};
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, ToAgent, ToCoordinator,
    message::{Reason, Waiting},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use support::{Federation, agent_id, hello, next, until, until_connected, until_linked};
use tokio::sync::mpsc::Receiver;

fn link(federation: &mut Federation, name: &str, port: u16) -> (LinkSender, Receiver<LinkEvent>) {
    let enrolled = federation.enrol(name);
    let config = AgentLinkConfig::new(format!("127.0.0.1:{port}"), enrolled.credentials);
    connect(config, StdRng::seed_from_u64(9)).unwrap()
}

fn waiting(text: &str) -> ToAgent {
    ToAgent::Waiting(Waiting { what: Reason::new(text) })
}

async fn next_control(events: &mut Receiver<ServerEvent>) -> (AgentId, ToCoordinator) {
    until(events, |event| match event {
        ServerEvent::Control { agent, message } => Some((agent, message)),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn control_goes_both_ways_in_order_and_the_key_is_reported() {
    let mut federation = Federation::new(20);
    let (server, mut events, port) = federation.serve();
    let enrolled = federation.enrol("store-1");
    let membership = enrolled.membership.peek().unwrap();
    let config = AgentLinkConfig::new(format!("127.0.0.1:{port}"), enrolled.credentials);
    let (sender, mut link_events) = connect(config, StdRng::seed_from_u64(9)).unwrap();
    // What is handed over before the greeting follows it.
    sender.control(ToCoordinator::SharesAccepted(Epoch(7))).unwrap();
    until_linked(&mut link_events).await;
    match next(&mut events).await {
        ServerEvent::Connected { agent, tls_key, .. } => {
            assert_eq!(agent, agent_id("store-1"));
            assert_eq!(tls_key, membership.tls_key);
        }
        other => panic!("{other:?}"),
    }
    sender.control(hello("store-1")).unwrap();
    sender.control(ToCoordinator::SharesAccepted(Epoch(8))).unwrap();
    assert!(matches!(next_control(&mut events).await.1, ToCoordinator::Hello(_)));
    for epoch in [7, 8] {
        let (agent, message) = next_control(&mut events).await;
        assert_eq!(
            (agent.as_str(), &message),
            ("store-1", &ToCoordinator::SharesAccepted(Epoch(epoch)))
        );
    }
    for number in 0..50 {
        server.send(&agent_id("store-1"), &waiting(&number.to_string())).unwrap();
    }
    for number in 0..50 {
        match next(&mut link_events).await {
            LinkEvent::Control(message) => assert_eq!(message, waiting(&number.to_string())),
            other => panic!("{other:?}"),
        }
    }
    let absent = server.send(&agent_id("store-2"), &waiting("x")).unwrap_err();
    assert!(matches!(absent, SendError::NotConnected { .. }));
}

#[tokio::test]
async fn the_link_waits_for_a_coordinator_and_survives_its_restart() {
    let mut federation = Federation::new(21);
    let (server, events, port) = federation.serve();
    server.shutdown().await;
    drop(events);
    // Nobody listens yet.
    let enrolled = federation.enrol("store-1");
    let mut config = AgentLinkConfig::new(format!("127.0.0.1:{port}"), enrolled.credentials);
    config.backoff_cap = Duration::from_millis(300);
    let (sender, mut link_events) = connect(config, StdRng::seed_from_u64(9)).unwrap();
    let (mut server, mut events) = federation.serve_again(port).await;
    for _ in 0..2 {
        until_linked(&mut link_events).await;
        until_connected(&mut events).await;
        sender.control(hello("store-1")).unwrap();
        assert!(matches!(next_control(&mut events).await.1, ToCoordinator::Hello(_)));
        // The farewell is delivered although the coordinator stops at once.
        let farewell = ToAgent::Finished { round: RoundNumber(1), model: Digest::plain(b"m") };
        server.send(&agent_id("store-1"), &farewell).unwrap();
        let stopping = tokio::spawn(server.shutdown());
        let message = until(&mut link_events, |event| match event {
            LinkEvent::Control(message) => Some(message),
            _ => None,
        })
        .await;
        assert_eq!(message, farewell);
        let reason = until(&mut link_events, |event| match event {
            LinkEvent::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
        assert!(matches!(reason, ConnectionFault::Closed { .. }), "{reason:?}");
        stopping.await.unwrap();
        (server, events) = federation.serve_again(port).await;
    }
}

#[tokio::test]
async fn closing_a_link_delivers_what_was_handed_over() {
    let mut federation = Federation::new(22);
    let (_server, mut events, port) = federation.serve();
    let (sender, mut link_events) = link(&mut federation, "store-1", port);
    until_linked(&mut link_events).await;
    sender.control(hello("store-1")).unwrap();
    for epoch in 0..20 {
        sender.control(ToCoordinator::SharesAccepted(Epoch(epoch))).unwrap();
    }
    sender.close().await;
    assert!(matches!(next_control(&mut events).await.1, ToCoordinator::Hello(_)));
    for epoch in 0..20 {
        let message = next_control(&mut events).await.1;
        assert_eq!(message, ToCoordinator::SharesAccepted(Epoch(epoch)));
    }
    until(&mut events, |event| matches!(event, ServerEvent::Disconnected { .. }).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_reaches_every_agent_intact() {
    let mut federation = Federation::new(23);
    let (server, mut events, port) = federation.serve();
    let mut model = vec![0; 5_000_000];
    StdRng::seed_from_u64(1).fill_bytes(&mut model);
    let model = Arc::new(model);
    let mut links = Vec::new();
    for name in ["store-1", "store-2", "store-3"] {
        let (sender, mut link_events) = link(&mut federation, name, port);
        until_linked(&mut link_events).await;
        until_connected(&mut events).await;
        links.push((sender, link_events));
    }
    for agent in server.connected() {
        server.send_model(&agent, model.clone()).unwrap();
    }
    for (_sender, link_events) in &mut links {
        let received = until(link_events, |event| match event {
            LinkEvent::Model(model) => Some(model),
            _ => None,
        })
        .await;
        assert!(received == *model, "the model differs");
    }
    let empty = server.send_model(&agent_id("store-1"), Arc::new(Vec::new()));
    assert!(matches!(empty, Err(SendError::ModelLength { length: 0 })));
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    let mut federation = Federation::new(24);
    let (server, mut events, port) = federation.serve();
    let enrolled = federation.enrol("store-1");
    let config = AgentLinkConfig::new(format!("127.0.0.1:{port}"), enrolled.credentials);
    let (_older, mut older_events) = connect(config.clone(), StdRng::seed_from_u64(1)).unwrap();
    until_linked(&mut older_events).await;
    until_connected(&mut events).await;
    let (newer, mut newer_events) = connect(config, StdRng::seed_from_u64(2)).unwrap();
    until_linked(&mut newer_events).await;
    let reason = until(&mut older_events, |event| match event {
        LinkEvent::Disconnected { reason, .. } => Some(reason),
        _ => None,
    })
    .await;
    assert!(matches!(reason, ConnectionFault::Replaced), "{reason:?}");
    match next(&mut events).await {
        ServerEvent::Disconnected { reason: ConnectionFault::Replaced, .. } => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(&mut events).await, ServerEvent::Connected { .. }));
    assert_eq!(server.connected().len(), 1);
    newer.close().await;
}

#[tokio::test]
async fn an_agent_that_is_not_on_the_list_is_told_so() {
    let mut federation = Federation::new(25);
    let mut config = federation.server_config(0);
    config.admit = Arc::new(|agent, _| agent.as_str() == "store-1");
    let (server, mut events) = Server::bind(config).unwrap();
    let port = server.local_address().unwrap().port();
    let (_sender, mut stranger) = link(&mut federation, "store-2", port);
    match next(&mut stranger).await {
        LinkEvent::Disconnected { reason: ConnectionFault::NotAdmitted { reason }, .. } => {
            assert!(reason.contains("store-2"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let (_sender, mut member) = link(&mut federation, "store-1", port);
    until_linked(&mut member).await;
    assert_eq!(until_connected(&mut events).await, agent_id("store-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_agent_is_disconnected_and_holds_nobody_up() {
    let mut federation = Federation::new(26);
    let (server, mut events, port) = federation.serve();
    // The slow one never looks at its events.
    let (_slow, slow_events) = link(&mut federation, "store-1", port);
    let (_quick, mut quick_events) = link(&mut federation, "store-2", port);
    until_linked(&mut quick_events).await;
    for _ in 0..2 {
        until_connected(&mut events).await;
    }
    // A sink for what the quick one receives.
    let drain = tokio::spawn(async move {
        let mut received = 0;
        while received < 2000 {
            if let LinkEvent::Control(_) = next(&mut quick_events).await {
                received += 1;
            }
        }
        received
    });
    let mut slow_refused = false;
    let text = "x".repeat(500);
    for number in 0..2000_u32 {
        let sent = server.send(&agent_id("store-2"), &waiting(&text));
        assert!(sent.is_ok(), "the quick agent was held up at message {number}: {sent:?}");
        // 500 bytes each: the windows take thousands of them before the queue fills, so that the
        // slow one gets large models too.
        if !slow_refused {
            let model = Arc::new(vec![0; 8 << 20]);
            slow_refused = server.send_model(&agent_id("store-1"), model).is_err();
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    assert!(slow_refused, "the slow agent was never disconnected");
    assert_eq!(drain.await.unwrap(), 2000);
    until(&mut events, |event| match event {
        ServerEvent::Disconnected { agent, reason, .. } if agent == agent_id("store-1") => {
            assert!(matches!(reason, ConnectionFault::Slow { .. }), "{reason:?}");
            Some(())
        }
        _ => None,
    })
    .await;
    drop(slow_events);
}

#[tokio::test]
async fn too_many_connections_from_one_address_are_refused() {
    let mut federation = Federation::new(27);
    let mut config = federation.server_config(0);
    config.connections_per_address_max = 1;
    let (server, mut events) = Server::bind(config).unwrap();
    let port = server.local_address().unwrap().port();
    let (first, mut first_events) = link(&mut federation, "store-1", port);
    until_linked(&mut first_events).await;
    until_connected(&mut events).await;
    let (_second, mut second_events) = link(&mut federation, "store-2", port);
    assert!(matches!(next(&mut second_events).await, LinkEvent::Disconnected { .. }));
    assert_eq!(server.connected(), [agent_id("store-1")]);
    // Its place is free when the first one has gone.
    first.close().await;
    until_linked(&mut second_events).await;
}
