//! REVEAL: the survivors give up one share of one secret of each neighbour in the cohort.

use std::{collections::BTreeMap, sync::Arc};

use chorale_secagg::Share;
use chorale_wire::{
    Signed, Slot, ToAgent,
    message::{AbortCause, Reveal, RevealedShare, ShareKind, SurvivorCertificate},
};

use super::{
    abort::End,
    collect::MaskedSum,
    conclude::Concluding,
    desk::Desk,
    fault::{FaultKind, RevealError},
    in_round::InRound,
    proven::Proven,
    stage::Stage,
    surplus::Surplus,
    unmask::unmask,
};

/// Shares are coming in.
#[derive(Debug)]
pub(super) struct Revealing {
    pub(super) round: InRound,
    masked: MaskedSum,
    proven: Arc<Proven>,
    certificate: SurvivorCertificate,
    /// By holder: its shares by subject.
    reveals: BTreeMap<Slot, BTreeMap<Slot, Share>>,
    surplus: Surplus,
    pub(super) deadline_ms: u64,
}

impl Revealing {
    pub(super) fn open(
        mut round: InRound,
        masked: MaskedSum,
        proven: Arc<Proven>,
        certificate: SurvivorCertificate,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Self {
        round.unmask_started = true;
        let surplus = Surplus::new(&round.context, masked.survivors.len());
        let message_to_all = ToAgent::SurvivorCertificate(certificate.clone());
        round.broadcast(masked.survivors.iter(), message_to_all, desk);
        Self {
            round,
            masked,
            proven,
            certificate,
            reveals: BTreeMap::new(),
            surplus,
            deadline_ms: now_ms.saturating_add(desk.config.timeouts.reveal_ms),
        }
    }

    pub(super) fn on_reveal(
        &mut self,
        slot: Slot,
        signed: &Signed<Reveal>,
    ) -> Result<(), FaultKind> {
        let reveal = signed
            .verify(&self.round.identity(slot)?)
            .map_err(|source| FaultKind::Signature { message: "REVEAL", source })?
            .into_inner();
        if reveal.slot != slot || reveal.session != self.masked.session {
            return Err(FaultKind::Elsewhere { message: "REVEAL" });
        }
        if !self.masked.survivors.contains(slot) {
            return Err(FaultKind::NoPart);
        }
        if self.reveals.contains_key(&slot) {
            // Sent again after a reconnect: the first one counts.
            return Ok(());
        }
        let shares = self.check(slot, &reveal.shares).map_err(FaultKind::Reveal)?;
        self.reveals.insert(slot, shares);
        // The shares count whatever became of the noise: surplus that stays hurts nobody's privacy.
        let commitment = self.masked.commitments.get(&slot);
        let session = self.masked.session;
        self.surplus.take(slot, session, commitment, reveal.surplus).map_err(FaultKind::Surplus)
    }

    /// One share for each neighbour in the cohort, of the secret that its fate opens.
    fn check(
        &self,
        holder: Slot,
        shares: &[RevealedShare],
    ) -> Result<BTreeMap<Slot, Share>, RevealError> {
        let subjects: Vec<Slot> =
            self.round.context.neighbours_in(holder, &self.masked.cohort).collect();
        let given: Vec<Slot> = shares.iter().map(|share| share.subject).collect();
        if subjects != given {
            return Err(RevealError::Subjects);
        }
        shares
            .iter()
            .map(|share| {
                let expected = if self.masked.survivors.contains(share.subject) {
                    ShareKind::SelfSeed
                } else {
                    ShareKind::PairwiseKey
                };
                if share.kind != expected {
                    return Err(RevealError::Kind);
                }
                let value = Share::from_bytes(&share.share).map_err(|_| RevealError::Malformed)?;
                Ok((share.subject, value))
            })
            .collect()
    }

    /// An agent may have missed SURVIVORS when its connection broke: it gets both.
    pub(super) fn resume(&mut self, slot: Slot, desk: &mut Desk) {
        if !self.masked.cohort.contains(slot) {
            self.round.send_outsider(slot, desk);
        } else if !self.masked.survivors.contains(slot) {
            self.round.send_waiting(slot, desk);
        } else if !self.reveals.contains_key(&slot) {
            self.round.send(slot, self.proven.message(slot), desk);
            let certificate = ToAgent::SurvivorCertificate(self.certificate.clone());
            self.round.send(slot, certificate, desk);
        }
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        self.round.all_settled(self.masked.survivors.iter(), desk, now_ms, |slot| {
            self.reveals.contains_key(&slot)
        })
    }

    /// Unmasks the sum, or aborts: never a wrong sum.
    pub(super) fn close(self, desk: &mut Desk) -> Stage {
        let Self { round, masked, certificate, reveals, surplus, .. } = self;
        let MaskedSum { session, cohort, survivors, digests, sum, .. } = masked;
        let threads = desk.config.threads;
        let lanes_from = round.context.spec.shape.coordinates as usize;
        let unmasked = unmask(&round.context, session, &cohort, &survivors, &reveals, sum, threads)
            .and_then(|unmasked| surplus.remove(unmasked, lanes_from, threads));
        let name = |slot: Slot| {
            let entry = round.context.roster.entry(slot);
            entry.map(|entry| entry.agent.clone())
        };
        match unmasked {
            Ok(unmasked) => {
                let survivors_count = survivors.len();
                for (holder, dealer) in unmasked.mismatches {
                    if let (Some(agent), Some(dealer)) = (name(holder), name(dealer)) {
                        desk.fault(&agent, FaultKind::Share { dealer });
                    }
                }
                Concluding::open(
                    round,
                    session,
                    cohort,
                    survivors,
                    digests,
                    certificate,
                    (unmasked.totals, unmasked.whole_lanes),
                    surplus.variance_left(survivors_count),
                    desk,
                )
            }
            Err(error) => {
                let blamed = error
                    .blamed()
                    .into_iter()
                    .filter_map(|slot| Some((name(slot)?, error.to_string())))
                    .collect();
                // A certificate of survivors left: no refund, ever.
                let cause = AbortCause::Shares;
                round.abort(End { cause, reason: error.to_string(), blamed }, desk)
            }
        }
    }
}
