//! RESULT and ABORT: how a round ends for an agent.

use chorale_wire::{
    RoundNumber, SessionId, SignatureError, Signed, Slot,
    message::{Abort, RoundResult},
};

use super::{identity::Identity, reveal::Revealed};

/// Why RESULT or ABORT was refused. The coordinator is to blame in every variant.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// Not signed by the pinned coordinator.
    #[error("the end of the round is not signed by the pinned coordinator")]
    Signature(#[from] SignatureError),
    /// Of another session, epoch or round.
    #[error("the end of the round names another session, epoch or round")]
    Elsewhere,
    /// The survivors in it are not those that this agent voted for.
    #[error("the result is over other survivors than those that this agent voted for")]
    Survivors,
    /// One digest per survivor is needed.
    #[error("the result lists {given} vectors for {expected} survivors")]
    Vectors {
        /// Digests listed.
        given: usize,
        /// Survivors.
        expected: usize,
    },
    /// The list of vectors does not hold the one that this agent sent.
    #[error("the result does not list the vector that this agent sent")]
    OwnVector,
}

/// A round that ended with a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The round; `None` where this agent did not take part and only learns the new model.
    pub round: Option<RoundNumber>,
    /// The result: session, survivors, vectors, the new model's digest and the ledger head.
    pub result: RoundResult,
    /// Whether this agent's vector is in the sum.
    pub contributed: bool,
}

/// Verifies the result of a round that this agent revealed shares for.
pub(super) fn check_own(
    state: &Revealed,
    signed: &Signed<RoundResult>,
) -> Result<Outcome, EndError> {
    let party = &state.party;
    let result = check_any(&party.identity, signed)?;
    if result.session != state.locked.session {
        return Err(EndError::Elsewhere);
    }
    if result.survivors != state.survivors {
        return Err(EndError::Survivors);
    }
    let place =
        result.survivors.iter().position(|slot| slot == party.slot).ok_or(EndError::Survivors)?;
    if result.vectors.get(place) != Some(&state.vector) {
        return Err(EndError::OwnVector);
    }
    Ok(Outcome { round: Some(party.round()), result, contributed: true })
}

/// Verifies the result of a round in which this agent's part ended earlier; `locked` is the
/// session that it is locked to, if it got that far.
pub(super) fn check_other(
    identity: &Identity,
    slot: Slot,
    round: Option<RoundNumber>,
    locked: Option<SessionId>,
    signed: &Signed<RoundResult>,
) -> Result<Outcome, EndError> {
    let result = check_any(identity, signed)?;
    if locked.is_some_and(|session| session != result.session) {
        return Err(EndError::Elsewhere);
    }
    let contributed = locked.is_some() && result.survivors.contains(slot);
    Ok(Outcome { round, result, contributed })
}

/// Verifies the signature and the counts of a result.
fn check_any(identity: &Identity, signed: &Signed<RoundResult>) -> Result<RoundResult, EndError> {
    let result = signed.verify(&identity.coordinator)?.into_inner();
    if result.vectors.len() != result.survivors.len() {
        return Err(EndError::Vectors {
            given: result.vectors.len(),
            expected: result.survivors.len(),
        });
    }
    Ok(result)
}

/// Verifies that the coordinator says ABORT.
pub(super) fn check_abort(identity: &Identity, signed: &Signed<Abort>) -> Result<Abort, EndError> {
    Ok(signed.verify(&identity.coordinator)?.into_inner())
}
