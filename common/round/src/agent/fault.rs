//! What can be wrong with a message to an agent, or with a driver's call.

use chorale_plan::PlanError;
use chorale_wire::VotesError;

use super::{
    abort::AbortError,
    advertise::AdvertiseError,
    commit::CommitError,
    deal::SharesError,
    head::HeadError,
    keys::OpenError,
    masked::MaskedError,
    open::ReadyError,
    result::EndError,
    reveal::RevealError,
    roster::{DealError, RosterRefused},
    survivors::SurvivorsError,
};

/// Who is to blame for a fault, as far as the agent can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The coordinator sent it or let it through.
    Coordinator,
    /// This agent's driver called in the wrong order, or the program has a defect.
    Own,
}

/// A message that was refused. The machine's state is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The message does not belong to the current state. Harmless after a reconnect.
    #[error("{message} came while this agent was {state}")]
    Unexpected {
        /// The kind of message.
        message: &'static str,
        /// What the agent was doing.
        state: &'static str,
    },
    /// The driver's call does not belong to the current state.
    #[error("{call} was called while this agent was {state}")]
    Call {
        /// The method.
        call: &'static str,
        /// What the agent was doing.
        state: &'static str,
    },
    /// A second, different message where the protocol allows one: another roster for an epoch
    /// number, another cohort for a round, another survivor set for a session.
    #[error("a second, different {message} came for the same {scope}")]
    Second {
        /// The kind of message.
        message: &'static str,
        /// What may have only one.
        scope: &'static str,
    },
    /// EPOCH-OPEN was refused.
    #[error("EPOCH-OPEN was refused")]
    Advertise(#[from] AdvertiseError),
    /// ROSTER was refused.
    #[error("ROSTER was refused")]
    Roster(#[from] RosterRefused),
    /// ROSTER-QC was refused.
    #[error("ROSTER-QC was refused")]
    Deal(#[from] DealError),
    /// SHARES was refused.
    #[error("SHARES was refused")]
    Shares(#[from] SharesError),
    /// ROUND-OPEN was refused.
    #[error("ROUND-OPEN was refused")]
    Open(#[from] OpenError),
    /// READY or a refusal could not be made.
    #[error("READY or a refusal could not be sent")]
    Ready(#[from] ReadyError),
    /// COMMIT was refused.
    #[error("COMMIT was refused")]
    Commit(#[from] CommitError),
    /// The masked vector was refused.
    #[error("the masked vector was refused")]
    Masked(#[from] MaskedError),
    /// SURVIVORS was refused.
    #[error("SURVIVORS was refused")]
    Survivors(#[from] SurvivorsError),
    /// The survivor certificate was refused.
    #[error("the survivor certificate was refused")]
    Reveal(#[from] RevealError),
    /// RESULT or ABORT was refused.
    #[error("RESULT or ABORT was refused")]
    End(#[from] EndError),
    /// ABORT asks for a vote that this agent does not give.
    #[error("ABORT got no vote")]
    Abort(#[from] AbortError),
    /// The abort certificate was refused.
    #[error("the abort certificate was refused")]
    AbortCertificate(#[from] VotesError),
    /// The head of the ledger was not cosigned.
    #[error("the head of the ledger was not cosigned")]
    Head(#[from] HeadError),
    /// What this round asks cannot be written down.
    #[error("what the round asks could not be written down")]
    Remember(#[from] PlanError),
}

impl Fault {
    /// Who is to blame. The coordinator is for every bad message that reaches an agent: it
    /// verifies all that it passes on. The source names the agent whose message it was.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Call { .. }
            | Self::Remember(_)
            | Self::Ready(_)
            | Self::Masked(_)
            | Self::Advertise(AdvertiseError::Encode(_))
            | Self::Roster(RosterRefused::Encode(_))
            | Self::Deal(DealError::Split(_) | DealError::Encode(_))
            | Self::Shares(SharesError::Encode(_))
            | Self::Survivors(SurvivorsError::Encode(_))
            | Self::Abort(AbortError::Encode(_))
            | Self::Head(HeadError::Encode(_))
            | Self::Reveal(RevealError::Encode(_)) => Blame::Own,
            _ => Blame::Coordinator,
        }
    }
}
