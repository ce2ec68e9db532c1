//! SHARES: every agent deals one sealed envelope to each of its neighbours.

use std::{collections::BTreeMap, sync::Arc};

use chorale_secagg::Graph;
use chorale_wire::{
    AgentId, Signed, Slot, ToAgent,
    message::{RosterCertificate, ShareEnvelope},
};

use super::{
    accept::Accepting,
    desk::Desk,
    fault::{EnvelopesError, FaultKind},
    setup::Setup,
    stage::Stage,
};
use crate::roster::VerifiedRoster;

/// Envelopes are coming in.
#[derive(Debug)]
pub(super) struct Dealing {
    setup: Setup,
    pub(super) roster: Arc<VerifiedRoster>,
    certificate: RosterCertificate,
    graph: Arc<Graph>,
    /// By dealer, in order of recipients.
    dealt: BTreeMap<Slot, Vec<Signed<ShareEnvelope>>>,
    lost: Vec<Slot>,
    pub(super) deadline_ms: u64,
}

impl Dealing {
    pub(super) fn open(
        setup: Setup,
        roster: Arc<VerifiedRoster>,
        certificate: RosterCertificate,
        graph: Arc<Graph>,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Self {
        desk.broadcast(roster.agent_ids(), ToAgent::RosterCertificate(certificate.clone()));
        Self {
            setup,
            roster,
            certificate,
            graph,
            dealt: BTreeMap::new(),
            lost: Vec::new(),
            deadline_ms: now_ms.saturating_add(desk.config.timeouts.shares_ms),
        }
    }

    pub(super) fn on_shares(
        &mut self,
        slot: Slot,
        envelopes: Vec<Signed<ShareEnvelope>>,
    ) -> Result<(), FaultKind> {
        if self.dealt.contains_key(&slot) {
            // Sent again after a reconnect: the first ones count.
            return Ok(());
        }
        self.check(slot, &envelopes).map_err(FaultKind::Envelopes)?;
        self.dealt.insert(slot, envelopes);
        Ok(())
    }

    fn check(&self, slot: Slot, envelopes: &[Signed<ShareEnvelope>]) -> Result<(), EnvelopesError> {
        let dealer = self.roster.entry(slot).ok_or(EnvelopesError::Elsewhere)?;
        let recipients = self.graph.neighbours(slot);
        if envelopes.len() != recipients.len() {
            return Err(EnvelopesError::Recipients);
        }
        for (to, signed) in recipients.into_iter().zip(envelopes) {
            let envelope = signed.verify(&dealer.identity).map_err(EnvelopesError::Signature)?;
            if envelope.to != to {
                return Err(EnvelopesError::Recipients);
            }
            if envelope.from != slot
                || envelope.epoch != self.roster.epoch()
                || envelope.roster != self.roster.digest()
                || envelope.graph_seed != self.graph.seed()
            {
                return Err(EnvelopesError::Elsewhere);
            }
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, agent: &AgentId, slot: Slot, keys: bool, desk: &mut Desk) {
        if !keys {
            self.lost.push(slot);
        } else if !self.dealt.contains_key(&slot) {
            let certificate = self.certificate.clone();
            desk.send(agent, ToAgent::RosterCertificate(certificate));
        }
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        !self.lost.is_empty()
            || self.roster.slots().zip(self.roster.agent_ids()).all(|(slot, agent)| {
                self.dealt.contains_key(&slot) || !desk.peers.worth_waiting_for(agent, now_ms)
            })
    }

    /// Passes the envelopes on when all are there.
    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Stage {
        let excluded: Vec<(AgentId, String)> = self
            .roster
            .slots()
            .zip(self.roster.agent_ids())
            .filter(|(slot, _)| {
                if self.lost.is_empty() {
                    !self.dealt.contains_key(slot)
                } else {
                    self.lost.contains(slot)
                }
            })
            .map(|(_, agent)| (agent.clone(), "dealt no valid shares in time".to_string()))
            .collect();
        if !excluded.is_empty() {
            return self.setup.restart(excluded, desk, now_ms);
        }
        Stage::Accepting(Accepting::open(
            self.setup,
            self.roster,
            self.graph,
            self.dealt,
            desk,
            now_ms,
        ))
    }
}
