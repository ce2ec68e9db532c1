//! ROSTER: every agent of the roster votes for it and opens its nonce.

use std::{collections::BTreeMap, sync::Arc};

use chorale_wire::{
    AgentId, Signed, Slot, ToAgent,
    message::{Roster, RosterCertificate, RosterOpening, RosterVote},
};

use super::{deal::Dealing, desk::Desk, fault::FaultKind, setup::Setup, stage::Stage};
use crate::{
    certificate::{check_roster_certificate, check_roster_vote},
    roster::VerifiedRoster,
};

/// Roster votes are coming in.
#[derive(Debug)]
pub(super) struct RosterVoting {
    setup: Setup,
    pub(super) roster: Arc<VerifiedRoster>,
    message: Roster,
    votes: BTreeMap<Slot, RosterOpening>,
    lost: Vec<Slot>,
    pub(super) deadline_ms: u64,
}

impl RosterVoting {
    pub(super) fn open(
        setup: Setup,
        message: Roster,
        roster: Arc<VerifiedRoster>,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Self {
        desk.broadcast(roster.agent_ids(), ToAgent::Roster(message.clone()));
        Self {
            setup,
            roster,
            message,
            votes: BTreeMap::new(),
            lost: Vec::new(),
            deadline_ms: now_ms.saturating_add(desk.config.timeouts.roster_vote_ms),
        }
    }

    pub(super) fn on_vote(
        &mut self,
        slot: Slot,
        signed: &Signed<RosterVote>,
        desk: &Desk,
    ) -> Result<(), FaultKind> {
        let vote = check_roster_vote(&self.roster, &desk.config.federation, slot, signed)
            .map_err(FaultKind::Vote)?;
        self.votes.insert(slot, RosterOpening::of(vote, signed.signature()));
        Ok(())
    }

    pub(super) fn resume(&mut self, agent: &AgentId, slot: Slot, keys: bool, desk: &mut Desk) {
        if !keys {
            self.lost.push(slot);
        } else if !self.votes.contains_key(&slot) {
            desk.send(agent, ToAgent::Roster(self.message.clone()));
        }
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        !self.lost.is_empty()
            || self.roster.slots().zip(self.roster.agent_ids()).all(|(slot, agent)| {
                self.votes.contains_key(&slot) || !desk.peers.worth_waiting_for(agent, now_ms)
            })
    }

    /// With all votes the graph seed is known; a missing nonce voids the epoch number.
    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Stage {
        let Self { setup, roster, votes, lost, .. } = self;
        let excluded: Vec<(AgentId, String)> = roster
            .slots()
            .zip(roster.agent_ids())
            .filter_map(|(slot, agent)| {
                let why = if lost.contains(&slot) {
                    "lost its keys during setup"
                } else if votes.contains_key(&slot) {
                    return None;
                } else {
                    "did not vote for the roster in time"
                };
                Some((agent.clone(), why.to_string()))
            })
            .collect();
        // One agent's restart ends the vote early: those who had no time to vote are not blamed.
        let excluded = if lost.is_empty() {
            excluded
        } else {
            let named =
                |agent: &AgentId| roster.slot_of(agent).is_some_and(|slot| lost.contains(&slot));
            excluded.into_iter().filter(|(agent, _)| named(agent)).collect()
        };
        if !excluded.is_empty() {
            return setup.restart(excluded, desk, now_ms);
        }
        let certificate =
            RosterCertificate { epoch: roster.epoch(), votes: votes.into_values().collect() };
        match check_roster_certificate(&roster, &desk.config.federation, &certificate) {
            Ok(seed) => {
                let graph = roster.graph(seed);
                Stage::Dealing(Dealing::open(setup, roster, certificate, graph, desk, now_ms))
            }
            Err(error) => setup.fail(desk, error.to_string()),
        }
    }
}
