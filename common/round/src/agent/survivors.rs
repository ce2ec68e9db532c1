//! SURVIVORS and the certificate: one vote, and one reveal on enough equal votes.

use std::{collections::BTreeMap, fmt};

use chorale_secagg::{RoundShares, SurplusChain};
use chorale_wire::{
    Digest, EncodeError, SignatureError, Signed, Slot, SlotSet, ToCoordinator,
    message::{SurvivorCertificate, SurvivorVote, Survivors, Vote},
};

use super::{
    commit::Locked,
    identity::Kept,
    masked::Masked,
    open::Party,
    reveal::{RevealError, Revealed},
};
use crate::{context::SetError, memo::VerifiedMemo};

/// Why SURVIVORS got no vote. The coordinator is to blame, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum SurvivorsError {
    /// Not signed by the pinned coordinator.
    #[error("SURVIVORS is not signed by the pinned coordinator")]
    Signature(#[from] SignatureError),
    /// Of another session.
    #[error("SURVIVORS names another session than the one this agent is locked to")]
    Elsewhere,
    /// The set is not admissible.
    #[error("the survivor set is refused")]
    Set(#[from] SetError),
    /// This agent is not in it.
    #[error("this agent is not among the survivors")]
    NotSurvivor,
    /// The vote cannot be encoded: a defect of this program.
    #[error("this agent's vote could not be encoded")]
    Encode(#[from] EncodeError),
}

/// The vote on the survivors is out; the certificate is awaited.
pub struct SurvivorVoted {
    pub(super) party: Party,
    pub(super) locked: Locked,
    pub(super) held: BTreeMap<Slot, RoundShares>,
    pub(super) chain: Option<SurplusChain>,
    pub(super) vector: Digest,
    pub(super) survivors: SlotSet,
    vote: Signed<SurvivorVote>,
}

impl SurvivorVoted {
    pub(super) fn vote(
        from: Masked,
        survivors: &Signed<Survivors>,
    ) -> Result<(Self, ToCoordinator), Kept<Masked, SurvivorsError>> {
        match check(&from, survivors) {
            Ok((survivors, vote)) => {
                let state = Self {
                    party: from.party,
                    locked: from.locked,
                    held: from.held,
                    chain: from.chain,
                    vector: from.vector,
                    survivors,
                    vote,
                };
                let answer = state.answer();
                Ok((state, answer))
            }
            Err(error) => Err(Kept::new(from, error)),
        }
    }

    /// The survivors that this agent voted for.
    #[must_use]
    pub fn survivors(&self) -> &SlotSet {
        &self.survivors
    }

    /// What was sent, to be sent again after a reconnect.
    #[must_use]
    pub fn answer(&self) -> ToCoordinator {
        ToCoordinator::SurvivorVote(self.vote.clone())
    }

    /// Verifies at least T votes for exactly this agent's survivor set, and reveals one share for
    /// each neighbour in the cohort: of the self seed of a survivor, of the pairwise key of one that
    /// dropped out. All other shares of the round are wiped.
    ///
    /// # Errors
    /// The state unchanged, and [`RevealError`].
    pub fn on_certificate(
        self,
        certificate: &SurvivorCertificate,
        memo: Option<&VerifiedMemo>,
    ) -> Result<(Revealed, ToCoordinator), Kept<Self, RevealError>> {
        Revealed::reveal(self, certificate, memo)
    }
}

impl fmt::Debug for SurvivorVoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SurvivorVoted")
            .field("locked", &self.locked)
            .field("survivors", &self.survivors)
            .finish_non_exhaustive()
    }
}

fn check(
    from: &Masked,
    survivors: &Signed<Survivors>,
) -> Result<(SlotSet, Signed<SurvivorVote>), SurvivorsError> {
    let Party { identity, slot, context } = &from.party;
    let message = survivors.verify(&identity.coordinator)?.into_inner();
    if message.session != from.locked.session {
        return Err(SurvivorsError::Elsewhere);
    }
    let survivors = message.survivors;
    context.check_survivors(&from.locked.cohort, &survivors, *slot)?;
    if !survivors.contains(*slot) {
        return Err(SurvivorsError::NotSurvivor);
    }
    let vote = SurvivorVote {
        session: from.locked.session,
        slot: *slot,
        vote: Vote::Survivors(survivors.clone()),
    };
    let signed = Signed::sign(&vote, &identity.key)?;
    Ok((survivors, signed))
}
