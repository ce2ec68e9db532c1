//! Every agent opens the envelopes addressed to it, and accepts them or complains.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chorale_secagg::Graph;
use chorale_wire::{
    AgentId, Signed, Slot, ToAgent,
    message::{Complaint, ShareEnvelope},
};

use super::{
    action::Action, desk::Desk, fault::FaultKind, in_round::EpochState, setup::Setup, stage::Stage,
};
use crate::roster::VerifiedRoster;

/// Acceptances and complaints are coming in.
#[derive(Debug)]
pub(super) struct Accepting {
    setup: Setup,
    pub(super) roster: Arc<VerifiedRoster>,
    graph: Arc<Graph>,
    /// By recipient, in order of dealers.
    inboxes: Vec<Vec<Signed<ShareEnvelope>>>,
    accepted: BTreeSet<Slot>,
    /// By complainer: about which dealer.
    complaints: BTreeMap<Slot, Slot>,
    /// Whoever signed complaints about two dealers, which no honest agent does.
    false_witnesses: BTreeSet<Slot>,
    lost: Vec<Slot>,
    pub(super) deadline_ms: u64,
}

impl Accepting {
    pub(super) fn open(
        setup: Setup,
        roster: Arc<VerifiedRoster>,
        graph: Arc<Graph>,
        dealt: BTreeMap<Slot, Vec<Signed<ShareEnvelope>>>,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Self {
        let mut inboxes = vec![Vec::new(); roster.agents()];
        for (dealer, envelopes) in dealt {
            for (to, envelope) in graph.neighbours(dealer).into_iter().zip(envelopes) {
                inboxes[to.index()].push(envelope);
            }
        }
        for (agent, inbox) in roster.agent_ids().zip(&inboxes) {
            desk.send(agent, ToAgent::Shares(inbox.clone()));
        }
        Self {
            setup,
            roster,
            graph,
            inboxes,
            accepted: BTreeSet::new(),
            complaints: BTreeMap::new(),
            false_witnesses: BTreeSet::new(),
            lost: Vec::new(),
            deadline_ms: now_ms.saturating_add(desk.config.timeouts.accept_ms),
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        slot: Slot,
        epoch: chorale_wire::Epoch,
    ) -> Result<(), FaultKind> {
        if epoch != self.roster.epoch() {
            return Err(FaultKind::Elsewhere { message: "acceptance" });
        }
        self.accepted.insert(slot);
        Ok(())
    }

    /// Takes a complaint whose evidence is an envelope that this coordinator passed on. An honest
    /// agent complains about the first bad envelope and is done with the epoch; who complains about
    /// two dealers lies, and neither complaint counts.
    pub(super) fn on_complaint(
        &mut self,
        slot: Slot,
        signed: &Signed<Complaint>,
    ) -> Result<(), FaultKind> {
        let entry = self.roster.entry(slot).ok_or(FaultKind::NoPart)?;
        let complaint = signed
            .verify(&entry.identity)
            .map_err(|source| FaultKind::Signature { message: "complaint", source })?;
        let passed_on =
            self.inboxes.get(slot.index()).is_some_and(|inbox| inbox.contains(&complaint.evidence));
        let dealer = complaint.evidence.peek().map(|envelope| envelope.from);
        if complaint.epoch != self.roster.epoch()
            || complaint.from != slot
            || !passed_on
            || dealer.ok() != Some(complaint.dealer)
        {
            return Err(FaultKind::Complaint);
        }
        let first = *self.complaints.entry(slot).or_insert(complaint.dealer);
        if first != complaint.dealer {
            self.false_witnesses.insert(slot);
            return Err(FaultKind::Equivocation { message: "complaint" });
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, agent: &AgentId, slot: Slot, keys: bool, desk: &mut Desk) {
        if !keys {
            self.lost.push(slot);
        } else if !self.accepted.contains(&slot) {
            desk.send(agent, ToAgent::Shares(self.inboxes[slot.index()].clone()));
        }
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        !self.lost.is_empty()
            || self.roster.slots().zip(self.roster.agent_ids()).all(|(slot, agent)| {
                self.accepted.contains(&slot)
                    || self.complaints.contains_key(&slot)
                    || !desk.peers.worth_waiting_for(agent, now_ms)
            })
    }

    /// The epoch is ready when all accepted.
    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Stage {
        let excluded = self.excluded();
        if !excluded.is_empty() {
            return self.setup.restart(excluded, desk, now_ms);
        }
        desk.act(Action::EpochReady {
            epoch: self.roster.epoch(),
            agents: self.roster.agent_ids().cloned().collect(),
            roster: self.roster.digest(),
            graph_seed: self.graph.seed(),
            memberships: self.roster.memberships().cloned().collect(),
            excluded: self.setup.into_excluded(),
        });
        Stage::Between(EpochState::new(self.roster, self.graph))
    }

    /// Who is left out of the next attempt. A dealer about whom more agents complain than it has
    /// corrupt neighbours is guilty, for one of them is honest. With fewer, nobody can tell whether
    /// dealer or complainer lies, so both go: every false complaint costs the liar its own place,
    /// and it has one.
    fn excluded(&self) -> Vec<(AgentId, String)> {
        let mut reasons: BTreeMap<Slot, &str> = BTreeMap::new();
        if !self.lost.is_empty() {
            reasons.extend(self.lost.iter().map(|slot| (*slot, "lost its keys during setup")));
        } else if !self.complaints.is_empty() {
            let mut by_dealer: BTreeMap<Slot, Vec<Slot>> = BTreeMap::new();
            for (complainer, dealer) in &self.complaints {
                if self.false_witnesses.contains(complainer) {
                    reasons.insert(*complainer, "complained about the shares of two dealers");
                } else {
                    by_dealer.entry(*dealer).or_default().push(*complainer);
                }
            }
            for (dealer, complainers) in by_dealer {
                reasons.insert(dealer, "dealt shares that their receivers could not open");
                if complainers.len() <= self.roster.corrupt_neighbours() {
                    let disputed = complainers.iter().map(|slot| {
                        (*slot, "complained about shares; it stands word against word")
                    });
                    reasons.extend(disputed);
                }
            }
        } else {
            let silent = self
                .roster
                .slots()
                .filter(|slot| !self.accepted.contains(slot))
                .map(|slot| (slot, "did not accept its shares in time"));
            reasons.extend(silent);
        }
        reasons
            .into_iter()
            .filter_map(|(slot, why)| {
                let entry = self.roster.entry(slot)?;
                Some((entry.agent.clone(), why.to_string()))
            })
            .collect()
    }
}
