//! REVEAL: exactly one of the two shares held for each neighbour in the cohort, exactly once.

use chorale_wire::{
    Digest, EncodeError, Signed, SlotSet, ToCoordinator,
    message::{NoiseLink, Reveal, RevealedShare, RoundResult, ShareKind, SurvivorCertificate},
};

use super::{
    commit::Locked,
    identity::Kept,
    open::Party,
    result::{EndError, Outcome},
    survivors::SurvivorVoted,
};
use crate::{
    certificate::{CertificateError, check_survivor_certificate},
    memo::{self, VerifiedMemo},
};

/// Why nothing was revealed.
#[derive(Debug, thiserror::Error)]
pub enum RevealError {
    /// The certificate is bad; the coordinator is to blame.
    #[error("the survivor certificate is refused")]
    Certificate(#[from] CertificateError),
    /// The message cannot be encoded: a defect of this program.
    #[error("REVEAL could not be encoded")]
    Encode(#[from] EncodeError),
}

/// The shares are out and every secret of the round is wiped; RESULT is awaited.
#[derive(Debug)]
pub struct Revealed {
    pub(super) party: Party,
    pub(super) locked: Locked,
    pub(super) vector: Digest,
    pub(super) survivors: SlotSet,
    reveal: Signed<Reveal>,
}

impl Revealed {
    pub(super) fn reveal(
        from: SurvivorVoted,
        certificate: &SurvivorCertificate,
        memo: Option<&VerifiedMemo>,
    ) -> Result<(Self, ToCoordinator), Kept<SurvivorVoted, RevealError>> {
        match check(&from, certificate, memo) {
            Ok(reveal) => {
                let state = Self {
                    party: from.party,
                    locked: from.locked,
                    vector: from.vector,
                    survivors: from.survivors,
                    reveal,
                };
                let answer = state.answer();
                Ok((state, answer))
            }
            Err(error) => Err(Kept::new(from, error)),
        }
    }

    /// What was sent, to be sent again, byte for byte, after a reconnect.
    #[must_use]
    pub fn answer(&self) -> ToCoordinator {
        ToCoordinator::Reveal(self.reveal.clone())
    }

    /// Verifies the result: this session, the survivors that were voted for and, in their list,
    /// the digest of this agent's own vector.
    ///
    /// # Errors
    /// The state unchanged, and [`EndError`].
    pub fn on_result(self, result: &Signed<RoundResult>) -> Result<Outcome, Kept<Self, EndError>> {
        match super::result::check_own(&self, result) {
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(Kept::new(self, error)),
        }
    }
}

fn check(
    from: &SurvivorVoted,
    certificate: &SurvivorCertificate,
    memo: Option<&VerifiedMemo>,
) -> Result<Signed<Reveal>, RevealError> {
    let Party { identity, slot, context } = &from.party;
    let (roster, session, survivors) = (&context.roster, from.locked.session, &from.survivors);
    memo::survivors(memo, roster, session, survivors, certificate, || {
        check_survivor_certificate(roster, session, survivors, certificate)
    })?;
    // Shares are held of neighbours only.
    let held = from.held.iter().filter(|(subject, _)| from.locked.cohort.contains(**subject));
    let shares = held
        .map(|(subject, held)| {
            let subject = *subject;
            let (kind, share) = if from.survivors.contains(subject) {
                (ShareKind::SelfSeed, &held.seed)
            } else {
                (ShareKind::PairwiseKey, &held.key)
            };
            RevealedShare { subject, kind, share: share.to_bytes() }
        })
        .collect();
    let first = context.first_surplus_layer(from.survivors.len());
    let surplus = from.chain.as_ref().zip(first).and_then(|(chain, first)| chain.reveal(first));
    let reveal = Reveal {
        session: from.locked.session,
        slot: *slot,
        shares,
        surplus: surplus.map(NoiseLink),
    };
    Ok(Signed::sign(&reveal, &identity.key)?)
}
