//! ABORT after COMMIT: vectors may have left agents, so the agents are asked to vote. T votes are
//! proof that the session will never be unmasked, and give every agent its charge back.

use std::collections::{BTreeMap, BTreeSet};

use chorale_wire::{
    AgentId, Electorate, SessionId, Signature, Signed, Slot, SlotSet, ToAgent,
    message::{Abort, AbortCause, AbortCertificate, Ballot, SurvivorVote, Vote},
};

use super::{
    action::CertifiedAbort, agree::voter_signatures, desk::Desk, fault::FaultKind,
    in_round::InRound, stage::Stage,
};
use crate::certificate::check_vote;

/// Why a round ends without a result.
#[derive(Debug)]
pub(super) struct End {
    pub(super) cause: AbortCause,
    pub(super) reason: String,
    pub(super) blamed: Vec<(AgentId, String)>,
}

impl End {
    pub(super) fn new(cause: AbortCause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into(), blamed: Vec::new() }
    }
}

/// Votes to abort are coming in. No survivor certificate has left, and none ever will.
#[derive(Debug)]
pub(super) struct Aborting {
    pub(super) round: InRound,
    session: SessionId,
    cohort: SlotSet,
    end: End,
    message: Signed<Abort>,
    /// Who voted for survivors and thus has no vote left.
    spent: BTreeSet<Slot>,
    votes: BTreeMap<Slot, Signature>,
    pub(super) deadline_ms: u64,
}

impl Aborting {
    /// Asks everybody. `spent` are those who voted for survivors before.
    pub(super) fn open(
        round: InRound,
        session: SessionId,
        cohort: SlotSet,
        spent: BTreeSet<Slot>,
        end: End,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Stage {
        let ballot = Ballot { spec: round.open.clone(), cohort: cohort.clone() };
        let Some(message) = round.abort_message(&end, Some(ballot), desk) else {
            return round.abort(end, desk);
        };
        round.send_to_all(desk, &ToAgent::Abort(message.clone()));
        Stage::Aborting(Self {
            round,
            session,
            cohort,
            end,
            message,
            spent,
            votes: BTreeMap::new(),
            deadline_ms: now_ms.saturating_add(desk.config.timeouts.abort_vote_ms),
        })
    }

    pub(super) fn on_vote(
        &mut self,
        slot: Slot,
        signed: &Signed<SurvivorVote>,
    ) -> Result<(), FaultKind> {
        let roster = &self.round.context.roster;
        match check_vote(roster, self.session, slot, signed).map_err(FaultKind::Vote)? {
            // Sent before the agent heard of the abort.
            Vote::Survivors(_) => self.spent.insert(slot),
            Vote::Abort => self.votes.insert(slot, signed.signature()).is_none(),
        };
        Ok(())
    }

    pub(super) fn resume(&mut self, slot: Slot, desk: &mut Desk) {
        if !self.votes.contains_key(&slot) {
            self.round.send(slot, ToAgent::Abort(self.message.clone()), desk);
        }
    }

    /// With T votes there is a certificate; without them every agent that may come back and vote
    /// is waited for, since so much hangs on it.
    pub(super) fn settled(&self) -> bool {
        let roster = &self.round.context.roster;
        let possible = roster
            .slots()
            .filter(|slot| {
                self.votes.contains_key(slot)
                    || !self.spent.contains(slot) && !self.round.epoch.lost.contains(slot)
            })
            .count();
        let needed = roster.votes_min();
        self.votes.len() >= needed || possible < needed
    }

    /// Certifies the abort where there are enough votes, and ends the round.
    pub(super) fn close(self, desk: &mut Desk) -> Stage {
        let Self { round, session, cohort, end, votes, .. } = self;
        let roster = round.context.roster.clone();
        let certificate = AbortCertificate { session, signatures: voter_signatures(votes) };
        if certificate.verify(roster.electorate()).is_err() {
            return round.abort(end, desk);
        }
        let name = |slot: Slot| Some(roster.entry(slot)?.agent.clone());
        let certified = CertifiedAbort {
            session,
            spec: round.context.spec_digest,
            cohort: cohort.iter().filter_map(name).collect(),
            votes: certificate
                .signatures
                .iter()
                .filter_map(|voter| Some((name(voter.slot)?, voter.signature)))
                .collect(),
        };
        let kept = KeptCertificate {
            agents: roster.agent_ids().cloned().collect(),
            electorate: roster.electorate().clone(),
            certificate,
        };
        round.abort_certified(end, certified, kept, desk)
    }
}

/// An abort certificate that agents may still need when they come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCertificate {
    /// The agents of the roster.
    pub agents: Vec<AgentId>,
    /// Who could vote.
    pub electorate: Electorate,
    /// The votes.
    pub certificate: AbortCertificate,
}

impl KeptCertificate {
    /// For an agent that has the epoch's roster.
    pub(super) fn message(&self) -> ToAgent {
        ToAgent::AbortCertificate { certificate: self.certificate.clone(), electorate: None }
    }

    /// For an agent that may have lost it.
    pub(super) fn whole_message(&self) -> ToAgent {
        ToAgent::AbortCertificate {
            certificate: self.certificate.clone(),
            electorate: Some(self.electorate.clone()),
        }
    }
}
