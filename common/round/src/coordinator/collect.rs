//! COMMIT and MASKED: the cohort is fixed and its masked vectors come in.

use std::collections::{BTreeMap, BTreeSet};

use chorale_secagg::{MaskScheme, MaskedSum as _, Modulus, packing};
use chorale_wire::{
    Digest, SessionId, Signed, Slot, SlotSet, ToAgent,
    message::{AbortCause, Commit, MaskedHeader, Reason, Refusal, Survivors},
};

use super::{
    abort::{Aborting, End},
    action::Action,
    agree::Agreeing,
    contribution::{ContributionError, ReceivedContribution, Receiving},
    desk::Desk,
    fault::FaultKind,
    in_round::InRound,
    proven::Proven,
    stage::Stage,
};
use crate::Scheme;

/// Masked vectors are coming in. Each is added to the sum at once and not kept: whoever arrives
/// before the deadline is a survivor.
#[derive(Debug)]
pub(super) struct Collecting {
    pub(super) round: InRound,
    cohort: SlotSet,
    session: SessionId,
    commit: Signed<Commit>,
    sum: <Scheme as MaskScheme>::Sum,
    length: u64,
    arrived: BTreeMap<Slot, Digest>,
    /// The headers of those vectors, as they were signed: what proves to other agents that the
    /// sender is locked to this session.
    headers: BTreeMap<Slot, Signed<MaskedHeader>>,
    /// Commitments to removable noise.
    commitments: BTreeMap<Slot, Digest>,
    pub(super) deadline_ms: u64,
}

impl Collecting {
    pub(super) fn open(
        round: InRound,
        cohort: SlotSet,
        commit: Signed<Commit>,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Stage {
        let context = &round.context;
        let modulus = match Modulus::new(context.derived.modulus_bits) {
            Ok(modulus) => modulus,
            Err(error) => {
                return round.abort(End::new(AbortCause::Stopped, error.to_string()), desk);
            }
        };
        desk.act(Action::CohortFixed {
            round: context.round(),
            agents: cohort
                .iter()
                .filter_map(|slot| Some(context.roster.entry(slot)?.agent.clone()))
                .collect(),
        });
        round.broadcast(cohort.iter(), ToAgent::Commit(commit.clone()), desk);
        let deadline_ms = now_ms.saturating_add(u64::from(context.spec.upload_within_ms));
        Stage::Collecting(Self {
            session: context.session(&cohort),
            sum: Scheme::sum(context.coordinates(), modulus, context.spec.keystream),
            length: packing::packed_len(context.coordinates(), modulus) as u64,
            round,
            cohort,
            commit,
            arrived: BTreeMap::new(),
            headers: BTreeMap::new(),
            commitments: BTreeMap::new(),
            deadline_ms,
        })
    }

    pub(super) fn receiving(&self) -> Receiving {
        Receiving {
            roster: self.round.context.roster.clone(),
            session: self.session,
            length: self.length,
            removable: self.round.context.removable_layers() > 0,
        }
    }

    pub(super) fn on_vector(
        &mut self,
        received: &ReceivedContribution<'_>,
    ) -> Result<(), ContributionError> {
        let slot = received.slot();
        if received.session() != self.session {
            return Err(ContributionError::Late);
        }
        if !self.cohort.contains(slot) || self.round.is_out(slot) {
            return Err(ContributionError::NoPart);
        }
        match self.arrived.get(&slot) {
            Some(digest) if *digest == received.digest() => return Ok(()),
            Some(_) => return Err(ContributionError::Second),
            None => {}
        }
        self.sum.add_packed(received.bytes()).map_err(ContributionError::Packing)?;
        self.arrived.insert(slot, received.digest());
        self.headers.insert(slot, received.header().clone());
        if let Some(commitment) = received.noise() {
            self.commitments.insert(slot, commitment);
        }
        Ok(())
    }

    /// A cohort member that cannot contribute after all.
    pub(super) fn on_refusal(
        &mut self,
        slot: Slot,
        signed: &Signed<Refusal>,
        reason: Reason,
        desk: &mut Desk,
    ) -> Result<(), FaultKind> {
        if self.arrived.contains_key(&slot) {
            return Err(FaultKind::Equivocation { message: "masked vector or refusal" });
        }
        self.round.refuse(slot, signed, reason, desk)
    }

    pub(super) fn resume(&mut self, slot: Slot, desk: &mut Desk) {
        if !self.cohort.contains(slot) {
            self.round.send_outsider(slot, desk);
        } else if self.round.is_out(slot) {
            self.round.send_waiting(slot, desk);
        } else if !self.arrived.contains_key(&slot) {
            self.round.send(slot, ToAgent::Commit(self.commit.clone()), desk);
        }
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        self.round
            .all_settled(self.cohort.iter(), desk, now_ms, |slot| self.arrived.contains_key(&slot))
    }

    /// Ends the round: vectors may have left agents.
    pub(super) fn abort(self, end: End, desk: &mut Desk, now_ms: u64) -> Stage {
        let Self { round, cohort, session, .. } = self;
        Aborting::open(round, session, cohort, BTreeSet::new(), end, desk, now_ms)
    }

    /// Fixes the survivors.
    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Stage {
        let Self { round, cohort, session, sum, arrived, headers, commitments, .. } = self;
        let survivors = SlotSet::from_slots(cohort.agents(), arrived.keys().copied());
        let (given, needed) = (survivors.len(), round.context.survivors_min());
        if given < needed {
            let reason = format!("{given} masked vectors arrived and {needed} are needed");
            let end = End::new(AbortCause::Survivors, reason);
            return Aborting::open(round, session, cohort, BTreeSet::new(), end, desk, now_ms);
        }
        // What the survivors will check, and beyond it that the secrets of all can be found.
        if let Err(error) = round.context.check_for_all(&cohort, &survivors) {
            let reason = format!("the agents that are left do not hang together: {error}");
            let end = End::new(AbortCause::Survivors, reason);
            return Aborting::open(round, session, cohort, BTreeSet::new(), end, desk, now_ms);
        }
        let message = Survivors { session, survivors: survivors.clone() };
        let Some(signed) = desk.sign(&message) else {
            return round.abort_unencodable("SURVIVORS", desk);
        };
        let proven = Proven::new(signed, survivors.clone(), headers, &round.context);
        let digests = arrived.into_values().collect();
        let masked = MaskedSum { session, cohort, survivors, digests, commitments, sum };
        Stage::Agreeing(Agreeing::open(round, masked, proven, desk, now_ms))
    }
}

/// The masked sum over fixed survivors.
#[derive(Debug)]
pub(super) struct MaskedSum {
    pub(super) session: SessionId,
    pub(super) cohort: SlotSet,
    pub(super) survivors: SlotSet,
    /// Digest of each survivor's vector in slot order.
    pub(super) digests: Vec<Digest>,
    /// The survivors' commitments to removable noise.
    pub(super) commitments: BTreeMap<Slot, Digest>,
    pub(super) sum: <Scheme as MaskScheme>::Sum,
}
