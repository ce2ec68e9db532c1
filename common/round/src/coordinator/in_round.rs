//! What the phases of a round share.

use std::{collections::BTreeSet, sync::Arc};

use chorale_secagg::Graph;
use chorale_wire::{
    PublicKey, Signed, SignedBytes, Slot, ToAgent,
    message::{Abort, AbortCause, Ballot, Reason, Refusal},
};

use super::{
    abort::{End, KeptCertificate},
    action::{Action, CertifiedAbort},
    desk::Desk,
    fault::FaultKind,
    proven::{Letters, Proven},
    stage::Stage,
};
use crate::{context::Context, roster::VerifiedRoster};

/// An epoch whose keys are in place.
#[derive(Debug)]
pub(super) struct EpochState {
    pub(super) roster: Arc<VerifiedRoster>,
    pub(super) graph: Arc<Graph>,
    pub(super) next_key: usize,
    /// Agents that restarted and thus lost their keys.
    pub(super) lost: BTreeSet<Slot>,
    /// How the last round ended, for agents that missed it.
    pub(super) last_end: Option<ToAgent>,
    /// The result of the last round that had one, for agents that come back while the next one
    /// goes on without them.
    pub(super) last_result: Option<ToAgent>,
}

impl EpochState {
    pub(super) fn new(roster: Arc<VerifiedRoster>, graph: Arc<Graph>) -> Self {
        let lost = BTreeSet::new();
        Self { roster, graph, next_key: 0, lost, last_end: None, last_result: None }
    }
}

/// A round in progress, in whatever phase.
#[derive(Debug)]
pub(super) struct InRound {
    pub(super) epoch: EpochState,
    pub(super) context: Context,
    /// The signed spec, as it was sent.
    pub(super) open: SignedBytes,
    refused: BTreeSet<Slot>,
    pub(super) unmask_started: bool,
}

impl InRound {
    pub(super) fn new(epoch: EpochState, context: Context, open: SignedBytes) -> Self {
        Self { epoch, context, open, refused: BTreeSet::new(), unmask_started: false }
    }

    pub(super) fn identity(&self, slot: Slot) -> Result<PublicKey, FaultKind> {
        let entry = self.context.roster.entry(slot).ok_or(FaultKind::NoPart)?;
        Ok(entry.identity)
    }

    /// Whether the agent refused or lost its keys.
    pub(super) fn is_out(&self, slot: Slot) -> bool {
        self.refused.contains(&slot) || self.epoch.lost.contains(&slot)
    }

    /// Whether each of `slots` has answered or cannot answer any more.
    pub(super) fn all_settled(
        &self,
        mut slots: impl Iterator<Item = Slot>,
        desk: &Desk,
        now_ms: u64,
        answered: impl Fn(Slot) -> bool,
    ) -> bool {
        slots.all(|slot| {
            let entry = self.context.roster.entry(slot);
            answered(slot)
                || self.is_out(slot)
                || !entry.is_some_and(|entry| desk.peers.worth_waiting_for(&entry.agent, now_ms))
        })
    }

    pub(super) fn send(&self, slot: Slot, message: ToAgent, desk: &mut Desk) {
        if let Some(entry) = self.context.roster.entry(slot)
            && !self.epoch.lost.contains(&slot)
        {
            desk.send(&entry.agent, message);
        }
    }

    /// Sends to those of `slots` that have not lost their keys.
    pub(super) fn broadcast(
        &self,
        slots: impl Iterator<Item = Slot>,
        message: ToAgent,
        desk: &mut Desk,
    ) {
        let keyed = slots.filter(|slot| !self.epoch.lost.contains(slot));
        let entries = keyed.filter_map(|slot| self.context.roster.entry(slot));
        desk.broadcast(entries.map(|entry| &entry.agent), message);
    }

    /// Sends SURVIVORS to those of `slots` that have not lost their keys, to each its own.
    pub(super) fn send_each(
        &self,
        slots: impl Iterator<Item = Slot>,
        proven: &Arc<Proven>,
        desk: &mut Desk,
    ) {
        let keyed = slots.filter(|slot| !self.epoch.lost.contains(slot));
        let receivers = keyed
            .filter_map(|slot| Some((self.context.roster.entry(slot)?.agent.clone(), slot)))
            .filter(|(agent, _)| desk.peers.reachable(agent))
            .collect();
        desk.act(Action::SendEach(Letters::new(receivers, proven.clone())));
    }

    pub(super) fn send_to_all(&self, desk: &mut Desk, message: &ToAgent) {
        self.broadcast(self.context.roster.slots(), message.clone(), desk);
    }

    /// Tells an agent that is not in the cohort how the round before ended, which it may have
    /// missed: it would otherwise be locked to that round when this one's result comes.
    pub(super) fn send_outsider(&self, slot: Slot, desk: &mut Desk) {
        if let Some(result) = &self.epoch.last_result {
            self.send(slot, result.clone(), desk);
        }
        self.send_waiting(slot, desk);
    }

    pub(super) fn send_waiting(&self, slot: Slot, desk: &mut Desk) {
        if let Some(entry) = self.context.roster.entry(slot) {
            let what = format!("round {} goes on without this agent", self.context.round());
            desk.waiting(&entry.agent, &what);
        }
    }

    /// Takes a signed refusal of this round's plan, and the agent's words.
    pub(super) fn refuse(
        &mut self,
        slot: Slot,
        signed: &Signed<Refusal>,
        reason: Reason,
        desk: &mut Desk,
    ) -> Result<(), FaultKind> {
        let entry = self.context.roster.entry(slot).ok_or(FaultKind::NoPart)?;
        let refusal = signed
            .verify(&entry.identity)
            .map_err(|source| FaultKind::Signature { message: "refusal", source })?
            .into_inner();
        let spec = &self.context.spec;
        if refusal.slot != slot
            || refusal.federation != spec.federation
            || refusal.epoch != self.context.roster.epoch()
            || refusal.round != self.context.round()
            || spec.plan.digest().ok() != Some(refusal.plan)
        {
            return Err(FaultKind::Elsewhere { message: "refusal" });
        }
        if self.refused.insert(slot) {
            desk.act(Action::Refused {
                agent: entry.agent.clone(),
                round: refusal.round,
                code: refusal.code,
                reason,
                signature: signed.signature(),
            });
        }
        Ok(())
    }

    /// The signed ABORT; `None` when it does not fit its limit.
    pub(super) fn abort_message(
        &self,
        end: &End,
        ballot: Option<Ballot>,
        desk: &Desk,
    ) -> Option<Signed<Abort>> {
        desk.sign(&Abort {
            epoch: self.context.roster.epoch(),
            round: self.context.round(),
            cause: end.cause,
            reason: Reason::new(&end.reason),
            ballot,
        })
    }

    /// Ends the round without a result and without a certificate, and tells everybody.
    pub(super) fn abort(mut self, end: End, desk: &mut Desk) -> Stage {
        if let Some(signed) = self.abort_message(&end, None, desk) {
            let message = ToAgent::Abort(signed);
            self.send_to_all(desk, &message);
            self.epoch.last_end = Some(message);
        }
        self.aborted(end, None, desk)
    }

    /// Ends the round without a result and with a certificate. The driver hears of it first, so
    /// that it can record it before the agents take their charges back.
    pub(super) fn abort_certified(
        self,
        end: End,
        certified: CertifiedAbort,
        kept: KeptCertificate,
        desk: &mut Desk,
    ) -> Stage {
        let roster = self.context.roster.clone();
        let (lost, keyed): (Vec<Slot>, Vec<Slot>) =
            roster.slots().partition(|slot| self.epoch.lost.contains(slot));
        let stage = self.aborted(end, Some(Box::new(certified)), desk);
        for (slots, message) in [(keyed, kept.message()), (lost, kept.whole_message())] {
            let entries = slots.into_iter().filter_map(|slot| roster.entry(slot));
            desk.broadcast(entries.map(|entry| &entry.agent), message);
        }
        desk.keep(kept);
        stage
    }

    fn aborted(self, end: End, certificate: Option<Box<CertifiedAbort>>, desk: &mut Desk) -> Stage {
        let End { cause, reason, blamed } = end;
        desk.act(Action::RoundAborted {
            round: self.context.round(),
            cause,
            reason,
            blamed,
            unmask_started: self.unmask_started,
            certificate,
        });
        Stage::Between(self.epoch)
    }

    pub(super) fn abort_unencodable(self, message: &str, desk: &mut Desk) -> Stage {
        let reason = format!("{message} could not be encoded; this is a defect of the program");
        self.abort(End::new(AbortCause::Stopped, reason), desk)
    }
}
