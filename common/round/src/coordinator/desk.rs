//! What every phase can reach.

use std::collections::VecDeque;

use chorale_wire::{
    AgentId, Epoch, Message, RoundNumber, Signed, ToAgent,
    message::{Reason, Waiting},
};

use super::{
    abort::KeptCertificate,
    action::Action,
    config::CoordinatorConfig,
    fault::{Fault, FaultKind},
    peers::Peers,
};

/// What every phase can reach: configuration, connections and the list of actions.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) config: CoordinatorConfig,
    pub(super) peers: Peers,
    pub(super) last_epoch: Epoch,
    pub(super) last_round: RoundNumber,
    pub(super) actions: Vec<Action>,
    /// The latest abort certificates, for agents that missed them.
    pub(super) certified: VecDeque<KeptCertificate>,
}

/// Abort certificates kept for agents that come back: as many as a round is usually tried again.
const CERTIFIED_KEPT: usize = 8;

impl Desk {
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Sends to an agent that is there; to others it is sent when they say hello.
    pub(super) fn send(&mut self, agent: &AgentId, message: ToAgent) {
        if self.peers.reachable(agent) {
            self.act(Action::Send(agent.clone(), message));
        }
    }

    /// Keeps a certificate for agents that come back.
    pub(super) fn keep(&mut self, certified: KeptCertificate) {
        self.certified.truncate(CERTIFIED_KEPT - 1);
        self.certified.push_front(certified);
    }

    /// Sends an agent that said hello the abort certificates that concern it, oldest first. It
    /// may have lost its keys, but not its journal.
    pub(super) fn send_certified(&mut self, agent: &AgentId) {
        let concerning = self.certified.iter().rev().filter(|kept| kept.agents.contains(agent));
        let messages: Vec<ToAgent> = concerning.map(KeptCertificate::whole_message).collect();
        for message in messages {
            self.send(agent, message);
        }
    }

    /// Sends one message to all of `agents` that are there.
    pub(super) fn broadcast<'a>(
        &mut self,
        agents: impl Iterator<Item = &'a AgentId>,
        message: ToAgent,
    ) {
        let present: Vec<AgentId> =
            agents.filter(|agent| self.peers.reachable(agent)).cloned().collect();
        if !present.is_empty() {
            self.act(Action::Broadcast(present, message));
        }
    }

    pub(super) fn waiting(&mut self, agent: &AgentId, what: &str) {
        let what = Reason::new(what);
        self.send(agent, ToAgent::Waiting(Waiting { what }));
    }

    pub(super) fn fault(&mut self, agent: &AgentId, kind: FaultKind) {
        let agent = agent.clone();
        self.act(Action::Fault(Fault { agent, kind }));
    }

    /// Signs one of the coordinator's small messages; `None` when it does not fit its limit.
    pub(super) fn sign<T: Message>(&self, message: &T) -> Option<Signed<T>> {
        Signed::sign(message, &self.config.key).ok()
    }

    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}
