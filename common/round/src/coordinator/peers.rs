//! Who is connected, and whom a phase still waits for.

use std::collections::BTreeMap;

use chorale_wire::{AgentId, Digest, Epoch, message::Hello};

/// One agent's connection as the machine knows it.
#[derive(Debug, Default)]
struct Peer {
    connected: bool,
    /// SHA-256 of the TLS key of the connection, where the transport reports one.
    tls_key: Option<Digest>,
    /// What its `Hello` on this connection said about its keys.
    hello: Option<Option<Epoch>>,
    /// Whether the connection's TLS key is not the one in the agent's membership in the roster at
    /// hand: an agent that was enrolled anew, or the holder of an older certificate. It has no part
    /// until the next roster.
    foreign: bool,
    /// When the connection broke.
    gone_since_ms: u64,
}

impl Peer {
    fn is_here(&self) -> bool {
        self.connected && self.hello.is_some()
    }
}

/// All agents that ever connected to this process.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: BTreeMap<AgentId, Peer>,
    grace_ms: u64,
}

impl Peers {
    pub(super) fn new(grace_ms: u64) -> Self {
        Self { peers: BTreeMap::new(), grace_ms }
    }

    pub(super) fn connected(&mut self, agent: AgentId, tls_key: Option<Digest>) {
        let peer = Peer { connected: true, tls_key, ..Peer::default() };
        self.peers.insert(agent, peer);
    }

    pub(super) fn disconnected(&mut self, agent: &AgentId, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(agent)
            && peer.connected
        {
            peer.connected = false;
            peer.hello = None;
            peer.gone_since_ms = now_ms;
        }
    }

    pub(super) fn hello(&mut self, hello: &Hello, foreign: bool) {
        if let Some(peer) = self.peers.get_mut(&hello.agent) {
            peer.hello = Some(hello.epoch);
            peer.foreign = foreign;
        }
    }

    /// There is no roster: all that are here may advertise for the next one.
    pub(super) fn forget_roster(&mut self) {
        self.peers.values_mut().for_each(|peer| peer.foreign = false);
    }

    /// Whether the agent is connected with its certified key and has said hello, so that messages
    /// can reach it.
    pub(super) fn reachable(&self, agent: &AgentId) -> bool {
        self.peers.get(agent).is_some_and(|peer| peer.is_here() && !peer.foreign)
    }

    /// Who is connected and has said hello, also with a key that no roster names.
    pub(super) fn agents_here(&self) -> impl Iterator<Item = &AgentId> {
        self.peers.iter().filter(|(_, peer)| peer.is_here()).map(|(agent, _)| agent)
    }

    pub(super) fn tls_key(&self, agent: &AgentId) -> Option<Digest> {
        self.peers.get(agent).and_then(|peer| peer.tls_key)
    }

    /// Whether an answer of the agent may still come: it is connected, or was a moment ago.
    pub(super) fn worth_waiting_for(&self, agent: &AgentId, now_ms: u64) -> bool {
        self.peers.get(agent).is_some_and(|peer| {
            peer.connected && !peer.foreign
                || now_ms < peer.gone_since_ms.saturating_add(self.grace_ms)
        })
    }

    /// The next moment at which an agent stops being worth waiting for.
    pub(super) fn next_grace_end_ms(&self, now_ms: u64) -> Option<u64> {
        self.peers
            .values()
            .filter(|peer| !peer.connected)
            .map(|peer| peer.gone_since_ms.saturating_add(self.grace_ms))
            .filter(|end_ms| *end_ms > now_ms)
            .min()
    }
}
