//! RESULT: the sum is out; the driver updates model and ledger, then the agents are told.

use chorale_dp::Rational;
use chorale_wire::{
    AgentId, Digest, SessionId, Slot, SlotSet, ToAgent,
    message::{RoundResult, SurvivorCertificate},
};

use super::{
    action::{Action, Completed},
    desk::Desk,
    in_round::InRound,
    stage::Stage,
};

/// The driver has the totals; [`super::Machine::conclude`] is awaited.
#[derive(Debug)]
pub(super) struct Concluding {
    round: InRound,
    session: SessionId,
    survivors: SlotSet,
    digests: Vec<Digest>,
}

impl Concluding {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, with the parts of the round that it takes apart"
    )]
    pub(super) fn open(
        round: InRound,
        session: SessionId,
        cohort: SlotSet,
        survivors: SlotSet,
        digests: Vec<Digest>,
        certificate: SurvivorCertificate,
        (totals, whole_lanes): (Vec<i64>, Vec<i64>),
        noise_variance: Option<Rational>,
        desk: &mut Desk,
    ) -> Stage {
        let context = &round.context;
        let agents: Vec<AgentId> = survivors
            .iter()
            .filter_map(|slot| Some(context.roster.entry(slot)?.agent.clone()))
            .collect();
        let completed = Completed {
            session,
            epoch: context.roster.epoch(),
            round: context.round(),
            spec: context.spec_digest,
            transcript: transcript(&cohort, &digests, &certificate),
            cohort,
            survivors: survivors.clone(),
            agents,
            vector_digests: digests.clone(),
            certificate,
            totals,
            whole_lanes,
            noise_variance,
        };
        desk.act(Action::RoundComplete(Box::new(completed)));
        Stage::Concluding(Self { round, session, survivors, digests })
    }

    /// Tells the agents and ends the round.
    pub(super) fn close(
        self,
        model: Digest,
        ledger_sequence: u64,
        ledger_head: Digest,
        desk: &mut Desk,
    ) -> Stage {
        let result = RoundResult {
            session: self.session,
            survivors: self.survivors,
            vectors: self.digests,
            model,
            ledger_sequence,
            ledger_head,
        };
        let mut round = self.round;
        if let Some(signed) = desk.sign(&result) {
            let message = ToAgent::RoundResult(signed);
            round.send_to_all(desk, &message);
            round.epoch.last_end = Some(message.clone());
            round.epoch.last_result = Some(message);
        }
        Stage::Between(round.epoch)
    }

    pub(super) fn round(&self) -> &InRound {
        &self.round
    }

    pub(super) fn lost_mut(&mut self) -> &mut std::collections::BTreeSet<Slot> {
        &mut self.round.epoch.lost
    }

    pub(super) fn into_round(self) -> InRound {
        self.round
    }
}

/// Digest of everything that decided the round, for the ledger.
fn transcript(cohort: &SlotSet, digests: &[Digest], certificate: &SurvivorCertificate) -> Digest {
    let (cohort, survivors) = (cohort.to_bytes(), certificate.survivors.to_bytes());
    let count = (digests.len() as u64).to_be_bytes();
    let voters: Vec<[u8; 2]> =
        certificate.signatures.iter().map(|voter| voter.slot.0.to_be_bytes()).collect();
    let mut parts: Vec<&[u8]> = vec![certificate.session.as_bytes(), &cohort, &survivors, &count];
    parts.extend(digests.iter().map(|digest| digest.as_bytes().as_slice()));
    for (voter, slot) in certificate.signatures.iter().zip(&voters) {
        parts.push(slot);
        parts.push(voter.signature.as_bytes());
    }
    Digest::of("chorale/1 transcript", &parts)
}
