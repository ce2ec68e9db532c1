//! SURVIVORS and votes: the survivors agree on who they are before anything is unmasked.

use std::collections::BTreeMap;

use chorale_wire::{
    Signed, Slot, ToAgent,
    message::{AbortCause, SurvivorCertificate, SurvivorVote, Survivors},
};

use super::{
    collect::MaskedSum, desk::Desk, fault::FaultKind, in_round::InRound, reveal::Revealing,
    stage::Stage,
};
use crate::certificate::check_survivor_vote;

/// Votes on the survivor set are coming in.
#[derive(Debug)]
pub(super) struct Agreeing {
    pub(super) round: InRound,
    masked: MaskedSum,
    message: Signed<Survivors>,
    votes: BTreeMap<Slot, Signed<SurvivorVote>>,
    pub(super) deadline_ms: u64,
}

impl Agreeing {
    pub(super) fn open(
        round: InRound,
        masked: MaskedSum,
        message: Signed<Survivors>,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Self {
        for slot in masked.survivors.iter() {
            round.send(slot, ToAgent::Survivors(message.clone()), desk);
        }
        Self {
            round,
            masked,
            message,
            votes: BTreeMap::new(),
            deadline_ms: now_ms.saturating_add(desk.config.timeouts.survivor_vote_ms),
        }
    }

    pub(super) fn on_vote(
        &mut self,
        slot: Slot,
        signed: Signed<SurvivorVote>,
    ) -> Result<(), FaultKind> {
        let roster = &self.round.context.roster;
        let MaskedSum { session, survivors, .. } = &self.masked;
        check_survivor_vote(roster, *session, survivors, slot, &signed).map_err(FaultKind::Vote)?;
        self.votes.insert(slot, signed);
        Ok(())
    }

    pub(super) fn resume(&mut self, slot: Slot, desk: &mut Desk) {
        if !self.masked.survivors.contains(slot) {
            self.round.send_waiting(slot, desk);
        } else if !self.votes.contains_key(&slot) {
            self.round.send(slot, ToAgent::Survivors(self.message.clone()), desk);
        }
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        self.round.all_settled(self.masked.survivors.iter(), desk, now_ms, |slot| {
            self.votes.contains_key(&slot)
        })
    }

    /// Issues the certificate.
    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Stage {
        let (given, needed) = (self.votes.len(), self.round.context.roster.votes_min());
        if given < needed {
            let reason = format!("{given} agents voted for the survivors and {needed} are needed");
            return self.round.abort(AbortCause::Votes, reason, Vec::new(), desk);
        }
        let certificate = SurvivorCertificate {
            session: self.masked.session,
            votes: self.votes.into_values().collect(),
        };
        Stage::Revealing(Revealing::open(
            self.round,
            self.masked,
            self.message,
            certificate,
            desk,
            now_ms,
        ))
    }
}
