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

use super::{fault::Fault, keys::EpochKeys, open::Party, state::RoundState};
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
        let vote = if may_vote && !state.has_voted() { Cast::Open } else { Cast::Closed };
        Self { party: state.into_party(), locked, vote }
    }

    /// A round that this agent missed, and its vote to abort it: its key is used up, so that it is
    /// never run. Where the ballot is refused, no key was taken.
    pub(super) fn missed(
        keys: &mut EpochKeys,
        ballot: &Ballot,
    ) -> Result<(Self, ToCoordinator), Fault> {
        let party = keys.check_open(ballot.spec.clone())?;
        let session = check_ballot(&party, None, ballot)?;
        let signed = sign_abort(&party, session)?;
        let opened = keys.take(party)?;
        let mut past = Self { party: opened.party, locked: None, vote: Cast::Open };
        let vote = past.cast(session, signed);
        Ok((past, vote))
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
        let signed = sign_abort(&self.party, session)?;
        Ok(Some(self.cast(session, signed)))
    }

    /// Takes over the one vote of the round.
    pub(super) fn cast(
        &mut self,
        session: SessionId,
        signed: Signed<SurvivorVote>,
    ) -> ToCoordinator {
        self.vote = Cast::Abort(session, signed.clone());
        ToCoordinator::SurvivorVote(signed)
    }
}

/// The vote of an agent in a round in progress to abort the ballot's session, to be cast when the
/// round's secrets are wiped; `None` where it has voted for survivors.
pub(super) fn abort_vote(
    state: &RoundState,
    ballot: &Ballot,
) -> Result<Option<(SessionId, Signed<SurvivorVote>)>, AbortError> {
    let session = check_ballot(state.party(), state.session(), ballot)?;
    if state.has_voted() {
        return Ok(None);
    }
    Ok(Some((session, sign_abort(state.party(), session)?)))
}

fn sign_abort(party: &Party, session: SessionId) -> Result<Signed<SurvivorVote>, AbortError> {
    let vote = SurvivorVote { session, slot: party.slot, vote: Vote::Abort };
    Ok(Signed::sign(&vote, &party.identity.key)?)
}

/// The session of a ballot: of the very spec that the agent opened, over an admissible cohort, and
/// the session that the agent is locked to, if it is.
fn check_ballot(
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
