//! SURVIVORS and votes: the survivors agree on who they are before anything is unmasked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chorale_wire::{
    Signature, Signed, Slot, VoterSignature,
    message::{AbortCause, SurvivorCertificate, SurvivorVote},
};

use super::{
    abort::{Aborting, End},
    collect::MaskedSum,
    desk::Desk,
    fault::FaultKind,
    in_round::InRound,
    proven::Proven,
    reveal::Revealing,
    stage::Stage,
};
use crate::certificate::check_survivor_vote;

/// Votes on the survivor set are coming in.
#[derive(Debug)]
pub(super) struct Agreeing {
    pub(super) round: InRound,
    masked: MaskedSum,
    proven: Arc<Proven>,
    votes: BTreeMap<Slot, Signature>,
    pub(super) deadline_ms: u64,
}

impl Agreeing {
    pub(super) fn open(
        round: InRound,
        masked: MaskedSum,
        proven: Arc<Proven>,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Self {
        round.send_each(masked.survivors.iter(), &proven, desk);
        Self {
            round,
            masked,
            proven,
            votes: BTreeMap::new(),
            deadline_ms: now_ms.saturating_add(desk.config.timeouts.survivor_vote_ms),
        }
    }

    pub(super) fn on_vote(
        &mut self,
        slot: Slot,
        signed: &Signed<SurvivorVote>,
    ) -> Result<(), FaultKind> {
        let roster = &self.round.context.roster;
        let MaskedSum { session, survivors, .. } = &self.masked;
        check_survivor_vote(roster, *session, survivors, slot, signed).map_err(FaultKind::Vote)?;
        self.votes.insert(slot, signed.signature());
        Ok(())
    }

    pub(super) fn resume(&mut self, slot: Slot, desk: &mut Desk) {
        if !self.masked.cohort.contains(slot) {
            self.round.send_outsider(slot, desk);
        } else if !self.masked.survivors.contains(slot) {
            self.round.send_waiting(slot, desk);
        } else if !self.votes.contains_key(&slot) {
            self.round.send(slot, self.proven.message(slot), desk);
        }
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        self.round.all_settled(self.masked.survivors.iter(), desk, now_ms, |slot| {
            self.votes.contains_key(&slot)
        })
    }

    /// Ends the round; who voted for survivors cannot vote to abort it.
    pub(super) fn abort(self, end: End, desk: &mut Desk, now_ms: u64) -> Stage {
        let spent: BTreeSet<Slot> = self.votes.into_keys().collect();
        let MaskedSum { session, cohort, .. } = self.masked;
        Aborting::open(self.round, session, cohort, spent, end, desk, now_ms)
    }

    /// Issues the certificate.
    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Stage {
        let (given, needed) = (self.votes.len(), self.round.context.roster.votes_min());
        if given < needed {
            let reason = format!("{given} agents voted for the survivors and {needed} are needed");
            return self.abort(End::new(AbortCause::Votes, reason), desk, now_ms);
        }
        let certificate = SurvivorCertificate {
            session: self.masked.session,
            survivors: self.masked.survivors.clone(),
            signatures: voter_signatures(self.votes),
        };
        Stage::Revealing(Revealing::open(
            self.round,
            self.masked,
            self.proven,
            certificate,
            desk,
            now_ms,
        ))
    }
}

/// Votes as a certificate lists them.
pub(super) fn voter_signatures(votes: BTreeMap<Slot, Signature>) -> Vec<VoterSignature> {
    votes.into_iter().map(|(slot, signature)| VoterSignature { slot, signature }).collect()
}
