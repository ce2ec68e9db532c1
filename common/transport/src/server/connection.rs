//! One agent's connection at the coordinator, from its first packet to its end.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use chorale_wire::{AgentId, Digest, ToCoordinator, codec, limits::AGENT_CONTROL_BYTES_MAX};
use quinn::{Connection, Incoming, RecvStream, SendStream};
use rustls_pki_types::CertificateDer;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{ClosedBecause, ConnectionId, Line, Queues, ServerEvent, Shared, uploads};
use crate::{
    bounds::CLOSE_TIMEOUT,
    crowd::Place,
    fault::{ConnectionFault, close},
    frame::{self, FrameWriter},
    tls::CertificateFacts,
};

/// An authenticated, admitted agent with its control stream.
struct Admitted {
    agent: AgentId,
    tls_key: Digest,
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

/// Serves one incoming connection to its end, for which it holds `place`.
pub(super) async fn serve(shared: Arc<Shared>, incoming: Incoming, mut place: Place) {
    let peer = incoming.remote_address();
    let admit = admit(&shared, incoming, &mut place);
    let admitted = match timeout(shared.config.handshake_timeout, admit).await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(fault)) => {
            tracing::warn!(%peer, %fault, "a connection was not admitted");
            return;
        }
        Err(_) => {
            tracing::warn!(%peer, "a connection did not finish its handshake in time");
            return;
        }
    };
    let Admitted { agent, tls_key, connection, mut send, mut receive } = admitted;
    let id = ConnectionId(shared.next.fetch_add(1, Ordering::Relaxed));
    let (end, ended) = watch::channel(false);
    let (line, mut queues) = Line::new(id, connection.clone(), ended);
    let older = shared.agents().insert(agent.clone(), line);
    if let Some(mut older) = older {
        older.close(ClosedBecause::Replaced);
        // The older one reports its end before the newer one begins. An error means that its
        // task is gone already.
        let _ = older.ended.wait_for(|ended| *ended).await;
    }
    let connected = ServerEvent::Connected { connection: id, agent: agent.clone(), peer, tls_key };
    let begun = connection.close_reason().is_none()
        && send.write_all(&[frame::WELCOME]).await.is_ok()
        && shared.events.send(connected).await.is_ok();
    if begun {
        tracing::info!(%agent, %peer, "agent connected");
        let mut send = FrameWriter::new(send);
        let reason = run(&shared, &agent, &connection, &mut send, &mut receive, &mut queues).await;
        tracing::info!(%agent, %reason, "agent disconnected");
        let (code, words) = reason.closing();
        connection.close(code, words.as_bytes());
        forget(&shared, &agent, id);
        // An error means that the driver is gone.
        let _ = shared
            .events
            .send(ServerEvent::Disconnected { connection: id, agent: agent.clone(), reason })
            .await;
    }
    forget(&shared, &agent, id);
    end.send_replace(true);
}

/// Removes the line, unless a newer connection took its place.
fn forget(shared: &Shared, agent: &AgentId, id: ConnectionId) {
    let mut agents = shared.agents();
    if agents.get(agent).is_some_and(|line| line.id == id) {
        agents.remove(agent);
    }
}

async fn admit(
    shared: &Shared,
    incoming: Incoming,
    place: &mut Place,
) -> Result<Admitted, ConnectionFault> {
    let connection = incoming.accept()?.await?;
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.as_ref().and_then(|chain| chain.first());
    let facts = match leaf.map(|leaf| CertificateFacts::read(leaf)) {
        Some(Ok(facts)) => facts,
        _ => return Err(turn_away(&connection, "its certificate carries no usable name")),
    };
    let Ok(agent) = facts.agent() else {
        return Err(turn_away(&connection, "its certificate does not name an agent"));
    };
    if !(shared.config.admit)(&agent, &facts.key) {
        return Err(turn_away(
            &connection,
            &format!("{agent} with this key is not on the coordinator's list of members"),
        ));
    }
    if !place.become_known() {
        return Err(turn_away(&connection, "as many agents are connected as may be"));
    }
    let (send, mut receive) = connection.accept_bi().await?;
    if frame::read_kind(&mut receive).await? != frame::STREAM_CONTROL {
        connection.close(close::PROTOCOL, b"the first stream must be the control stream");
        return Err(ConnectionFault::protocol("the first stream is not the control stream"));
    }
    Ok(Admitted { agent, tls_key: facts.key, connection, send, receive })
}

fn turn_away(connection: &Connection, reason: &str) -> ConnectionFault {
    connection.close(close::NOT_ADMITTED, reason.as_bytes());
    ConnectionFault::NotAdmitted { reason: reason.to_owned() }
}

async fn run(
    shared: &Shared,
    agent: &AgentId,
    connection: &Connection,
    send: &mut FrameWriter,
    receive: &mut RecvStream,
    queues: &mut Queues,
) -> ConnectionFault {
    let mut leaving = shared.leaving.subscribe();
    let Queues { control, queued_bytes, models, closed_because } = queues;
    let fault = tokio::select! {
        fault = read_control(receive, agent, &shared.events) => fault,
        fault = write_control(send, control, queued_bytes) => fault,
        fault = write_models(connection, models) => fault,
        fault = uploads::receive_all(shared, agent, connection) => fault,
        lost = connection.closed() => lost.into(),
        // An error means that the server is gone, which ends the connection too.
        _ = leaving.wait_for(|leaving| *leaving) => ConnectionFault::ClosedHere,
    };
    match (fault, connection.close_reason()) {
        (ConnectionFault::ClosedHere, None) => {
            let farewell = say_farewell(connection, send, control, models);
            if timeout(CLOSE_TIMEOUT, farewell).await.is_err() {
                tracing::warn!(%agent, "did not take its last messages in time");
            }
            ConnectionFault::ClosedHere
        }
        // Why the connection was lost says more than which stream noticed it first.
        (_, Some(lost)) => lost_here(lost, closed_because.get()),
        (fault, None) => fault,
    }
}

/// The reason for which this side closed is not kept by QUIC.
fn lost_here(lost: quinn::ConnectionError, because: Option<&ClosedBecause>) -> ConnectionFault {
    match (lost, because) {
        (quinn::ConnectionError::LocallyClosed, Some(ClosedBecause::Replaced)) => {
            ConnectionFault::Replaced
        }
        (quinn::ConnectionError::LocallyClosed, Some(ClosedBecause::Slow)) => {
            ConnectionFault::Slow { what: "messages for it piled up".into() }
        }
        (quinn::ConnectionError::LocallyClosed, Some(ClosedBecause::Dismissed(words))) => {
            ConnectionFault::Closed { reason: format!("by this side: {words}") }
        }
        (lost, _) => lost.into(),
    }
}

async fn read_control(
    receive: &mut RecvStream,
    agent: &AgentId,
    events: &mpsc::Sender<ServerEvent>,
) -> ConnectionFault {
    loop {
        let bytes = match frame::read_frame(receive, AGENT_CONTROL_BYTES_MAX).await {
            Ok(Some(bytes)) => bytes,
            // The agent says goodbye; it closes when it knows that everything has arrived.
            Ok(None) => return std::future::pending().await,
            Err(fault) => return fault,
        };
        match codec::decode::<ToCoordinator>(&bytes, AGENT_CONTROL_BYTES_MAX) {
            Ok(message) => {
                let event = ServerEvent::Control { agent: agent.clone(), message };
                if events.send(event).await.is_err() {
                    return ConnectionFault::ClosedHere;
                }
            }
            Err(error) => return ConnectionFault::protocol(format!("control message: {error}")),
        }
    }
}

async fn write_control(
    send: &mut FrameWriter,
    queue: &mut mpsc::Receiver<Bytes>,
    queued_bytes: &std::sync::atomic::AtomicUsize,
) -> ConnectionFault {
    while let Some(bytes) = queue.recv().await {
        let length = bytes.len();
        if let Err(fault) = send.send(bytes).await {
            return fault;
        }
        queued_bytes.fetch_sub(length, Ordering::Relaxed);
    }
    // The line was taken out of the map: a newer connection took over.
    std::future::pending().await
}

async fn write_models(
    connection: &Connection,
    queue: &mut mpsc::Receiver<Bytes>,
) -> ConnectionFault {
    while let Some(model) = queue.recv().await {
        if let Err(fault) = write_model(connection, model).await {
            return fault;
        }
    }
    std::future::pending().await
}

async fn write_model(connection: &Connection, model: Bytes) -> Result<(), ConnectionFault> {
    let mut stream = frame::within_stall(async { Ok(connection.open_uni().await?) }).await?;
    // Control messages go first where both wait.
    let _ = stream.set_priority(-1);
    stream.write_all(&[frame::STREAM_MODEL]).await?;
    stream.write_all(&(model.len() as u64).to_be_bytes()).await?;
    frame::write_shared(&mut stream, &mut vec![model]).await?;
    // An error means that the stream is finished already.
    let _ = stream.finish();
    Ok(())
}

/// At a shutdown in good order: what is in the queues still leaves.
async fn say_farewell(
    connection: &Connection,
    send: &mut FrameWriter,
    control: &mut mpsc::Receiver<Bytes>,
    models: &mut mpsc::Receiver<Bytes>,
) {
    while let Ok(bytes) = control.try_recv() {
        if send.send(bytes).await.is_err() {
            return;
        }
    }
    while let Ok(model) = models.try_recv() {
        if write_model(connection, model).await.is_err() {
            return;
        }
    }
    send.finish().await;
}
