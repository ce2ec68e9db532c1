//! ABORT: the one vote of a round that is not for survivors, and the certificate that T of them
//! make.
//!
//! An agent signs at most one of {U, ABORT} for each round that it opened, and with it for each of
//! its epoch's keys. It votes ABORT only where the coordinator asks for it and after it has wiped
//! the round's secrets, so that it cannot vote for survivors any more. T is chosen so that not both
//! can be certified (`CohortRule::votes_min`): an abort certificate proves that the vectors of its
//! session will never be unmasked.

use chorale_plan::RoundSpec;
use chorale_wire::{
    EncodeError, RoundNumber, SessionId, Signed, ToCoordinator,
    limits::SPEC_BYTES_MAX,
    message::{Ballot, SurvivorVote, Vote},
    sign::Message as _,
};

use super::{
    keys::{EpochKeys, OpenError},
    open::Party,
    state::RoundState,
};
use crate::context::SetError;

/// Why an abort got no vote. The coordinator is to blame, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum AbortError {
    /// The spec on the ballot is that of another round, or another one of this round.
    #[error("the ballot names another round or spec than the one this agent opened")]
    OtherSpec,
    /// The cohort on the ballot is not admissible.
    #[error("the cohort on the ballot is refused")]
    Cohort(#[from] SetError),
    /// The ballot is about another session than the one this agent is locked to.
    #[error("the ballot is about session {given} and this agent is locked to {locked}")]
    OtherSession {
        /// The session of the ballot.
        given: SessionId,
        /// The agent's.
        locked: SessionId,
    },
    /// This agent has voted to abort another session of the round.
    #[error("this agent has voted to abort session {voted}; it signs nothing about {given}")]
    Voted {
        /// The session of the ballot.
        given: SessionId,
        /// The session that it voted to abort.
        voted: SessionId,
    },
    /// The vote cannot be encoded: a defect of this program.
    #[error("this agent's vote could not be encoded")]
    Encode(#[from] EncodeError),
}

/// What is left of a round whose secrets are wiped: nothing secret.
#[derive(Debug)]
pub(super) struct Past {
    party: Party,
    locked: Option<SessionId>,
    vote: Cast,
}

/// How an agent voted in a round that is over.
#[derive(Debug)]
enum Cast {
    /// Not at all, and it may still vote to abort.
    Open,
    /// For survivors, or its time to vote is over.
    Closed,
    /// To abort this session.
    Abort(SessionId, Signed<SurvivorVote>),
}

impl Past {
    /// Wipes the secrets of a round. Where `may_vote` and the agent has not voted for survivors,
    /// it may still vote to abort.
    pub(super) fn of(state: RoundState, may_vote: bool) -> Self {
        let locked = state.session();
        let voted = matches!(state, RoundState::SurvivorVoted(_) | RoundState::Revealed(_));
        let vote = if may_vote && !voted { Cast::Open } else { Cast::Closed };
        Self { party: state.into_party(), locked, vote }
    }

    /// A round that this agent missed: its key is used up, so that it is never run.
    pub(super) fn missed(keys: &mut EpochKeys, ballot: &Ballot) -> Result<Self, OpenError> {
        let opened = keys.open_round(ballot.spec.clone())?;
        Ok(Self::of(RoundState::Opened(opened), true))
    }

    pub(super) fn round(&self) -> RoundNumber {
        self.party.round()
    }

    /// The vote to abort the ballot's session; the same one when it is asked for again, and `None`
    /// where this agent has no vote left.
    pub(super) fn vote(&mut self, ballot: &Ballot) -> Result<Option<ToCoordinator>, AbortError> {
        let session = check_ballot(&self.party, self.locked, ballot)?;
        match &self.vote {
            Cast::Closed => return Ok(None),
            Cast::Abort(voted, vote) if *voted == session => {
                return Ok(Some(ToCoordinator::SurvivorVote(vote.clone())));
            }
            Cast::Abort(voted, _) => {
                return Err(AbortError::Voted { given: session, voted: *voted });
            }
            Cast::Open => {}
        }
        let Party { identity, slot, .. } = &self.party;
        let vote = SurvivorVote { session, slot: *slot, vote: Vote::Abort };
        let signed = Signed::sign(&vote, &identity.key)?;
        self.vote = Cast::Abort(session, signed.clone());
        Ok(Some(ToCoordinator::SurvivorVote(signed)))
    }
}

/// The session of a ballot: of the very spec that the agent opened, over an admissible cohort, and
/// the session that the agent is locked to, if it is.
pub(super) fn check_ballot(
    party: &Party,
    locked: Option<SessionId>,
    ballot: &Ballot,
) -> Result<SessionId, AbortError> {
    let spec = ballot.spec.clone().into_typed::<RoundSpec>();
    if spec.payload_digest() != party.context.spec_digest {
        return Err(AbortError::OtherSpec);
    }
    // Its size only: a vote to abort unmasks nothing.
    party.context.check_size(&ballot.cohort)?;
    let given = party.context.session(&ballot.cohort);
    match locked {
        Some(locked) if locked != given => Err(AbortError::OtherSession { given, locked }),
        _ => Ok(given),
    }
}

const _: () = assert!(RoundSpec::BYTES_MAX + 128 <= SPEC_BYTES_MAX);
