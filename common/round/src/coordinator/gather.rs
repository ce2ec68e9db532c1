//! ROUND-OPEN and READY: who has trained and wants to be in the cohort.

use std::collections::BTreeSet;

use chorale_wire::{
    Signed, SignedBytes, Slot, SlotSet, ToAgent,
    message::{AbortCause, Commit, Ready, Reason, Refusal},
};

use super::{
    abort::End,
    collect::Collecting,
    desk::Desk,
    fault::FaultKind,
    in_round::{EpochState, InRound},
    stage::Stage,
};
use crate::context::Context;

/// READY messages are coming in.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) round: InRound,
    ready: BTreeSet<Slot>,
    pub(super) deadline_ms: u64,
}

impl Gathering {
    pub(super) fn open(
        epoch: EpochState,
        context: Context,
        open: SignedBytes,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Self {
        let within_ms = u64::from(context.spec.ready_within_ms);
        let round = InRound::new(epoch, context, open);
        round.send_to_all(desk, &ToAgent::RoundOpen(round.open.clone()));
        Self { round, ready: BTreeSet::new(), deadline_ms: now_ms.saturating_add(within_ms) }
    }

    pub(super) fn on_ready(&mut self, slot: Slot, signed: &Signed<Ready>) -> Result<(), FaultKind> {
        let ready = signed
            .verify(&self.round.identity(slot)?)
            .map_err(|source| FaultKind::Signature { message: "READY", source })?;
        let context = &self.round.context;
        if ready.slot != slot
            || ready.epoch != context.roster.epoch()
            || ready.round != context.round()
            || ready.spec != context.spec_digest
        {
            return Err(FaultKind::Elsewhere { message: "READY" });
        }
        if self.round.is_out(slot) {
            return Err(FaultKind::NoPart);
        }
        self.ready.insert(slot);
        Ok(())
    }

    pub(super) fn on_refusal(
        &mut self,
        slot: Slot,
        signed: &Signed<Refusal>,
        reason: Reason,
        desk: &mut Desk,
    ) -> Result<(), FaultKind> {
        self.round.refuse(slot, signed, reason, desk)?;
        self.ready.remove(&slot);
        Ok(())
    }

    pub(super) fn resume(&mut self, slot: Slot, desk: &mut Desk) {
        if !self.ready.contains(&slot) && !self.round.is_out(slot) {
            self.round.send(slot, ToAgent::RoundOpen(self.round.open.clone()), desk);
        }
    }

    /// An agent that lost its keys cannot be in the cohort.
    pub(super) fn lose(&mut self, slot: Slot) {
        self.ready.remove(&slot);
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        let slots = self.round.context.roster.slots();
        self.round.all_settled(slots, desk, now_ms, |slot| self.ready.contains(&slot))
    }

    /// Fixes the cohort.
    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Stage {
        let Self { round, ready, .. } = self;
        let cohort = SlotSet::from_slots(round.context.roster.agents(), ready);
        // What the agents will check, so that none of them has to refuse.
        if let Err(error) = round.context.check_for_all(&cohort, &cohort) {
            let reason = format!("the cohort is too small: {error}");
            return round.abort(End::new(AbortCause::Cohort, reason), desk);
        }
        let commit = Commit {
            epoch: round.context.roster.epoch(),
            round: round.context.round(),
            spec: round.context.spec_digest,
            cohort: cohort.clone(),
        };
        match desk.sign(&commit) {
            Some(signed) => Collecting::open(round, cohort, signed, desk, now_ms),
            None => round.abort_unencodable("COMMIT", desk),
        }
    }
}
