//! The two control enums: what an agent may say, and what a coordinator may say.

use serde::{Deserialize, Serialize};

use super::{
    Abort, AbortCertificate, Advert, Commit, Complaint, EpochOpen, HeadOffer, LedgerHead,
    ProvenSurvivors, Ready, Refusal, Reveal, Roster, RosterCertificate, RosterVote, RoundResult,
    ShareEnvelope, SurvivorCertificate, SurvivorVote,
};
use crate::{
    AgentId, Digest, Electorate, Epoch, FederationId, RoundNumber, Signed, SignedBytes,
    limits::REASON_BYTES_MAX,
};

/// A short text for people, at most 512 bytes. It never carries personal data or secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

/// A reason longer than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reason has at most {REASON_BYTES_MAX} bytes")]
pub struct ReasonTooLong;

impl Reason {
    /// A reason from any text; what is too long is cut at a character boundary.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(REASON_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].to_string())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Reason {
    type Error = ReasonTooLong;

    fn try_from(text: String) -> Result<Self, ReasonTooLong> {
        if text.len() > REASON_BYTES_MAX { Err(ReasonTooLong) } else { Ok(Self(text)) }
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> String {
        reason.0
    }
}

impl std::fmt::Debug for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// First message on every connection of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The federation that the agent wants to take part in.
    pub federation: FederationId,
    /// The agent; the transport has matched its TLS key already.
    pub agent: AgentId,
    /// The epoch whose keys the agent holds in memory, if any.
    pub epoch: Option<Epoch>,
    /// Digest of the newest model that the agent holds, if any.
    pub model: Option<Digest>,
}

/// Agent to coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// Begins a connection.
    Hello(Hello),
    /// Epoch setup, first step.
    Advert(Signed<Advert>),
    /// Epoch setup, second step.
    RosterVote(Signed<RosterVote>),
    /// Epoch setup, third step: one envelope for each neighbour.
    Shares(Vec<Signed<ShareEnvelope>>),
    /// Epoch setup, last step: every envelope could be opened.
    SharesAccepted(Epoch),
    /// Epoch setup failed because of a dealer.
    Complaint(Signed<Complaint>),
    /// The agent wants to be in the cohort.
    Ready(Signed<Ready>),
    /// The agent does not take part; its words are for the operator to read.
    Refusal(Signed<Refusal>, Reason),
    /// The agent's one vote on the survivors.
    SurvivorVote(Signed<SurvivorVote>),
    /// The agent's shares for unmasking.
    Reveal(Signed<Reveal>),
    /// The agent's cosignature under a head of the ledger.
    HeadVote(Signed<LedgerHead>),
    /// The agent's last cosignature is under this head, which is older than those that it was
    /// shown: it asks for what came since.
    HeadFrom(LedgerHead),
}

/// What an agent without a task waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// For people to read: for example "2 of 12 agents to connect".
    pub what: Reason,
}

/// Coordinator to agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Nothing to do yet, and what for.
    Waiting(Waiting),
    /// An epoch begins.
    EpochOpen(Signed<EpochOpen>),
    /// The epoch's roster.
    Roster(Roster),
    /// All votes on the roster.
    RosterCertificate(RosterCertificate),
    /// The envelopes addressed to this agent.
    Shares(Vec<Signed<ShareEnvelope>>),
    /// A round begins; the payload is a signed round spec.
    RoundOpen(SignedBytes),
    /// The cohort.
    Commit(Signed<Commit>),
    /// The survivors, and proof that they are of one session.
    Survivors(ProvenSurvivors),
    /// Enough votes for the survivors.
    SurvivorCertificate(SurvivorCertificate),
    /// The round is complete.
    RoundResult(Signed<RoundResult>),
    /// The round ends without a result.
    Abort(Signed<Abort>),
    /// The epoch cannot be completed or is used up; the agent forgets its keys.
    EpochVoid {
        /// The epoch.
        epoch: Epoch,
        /// For people to read.
        reason: Reason,
    },
    /// All scheduled rounds are done; the last round and the final model.
    Finished {
        /// The last round of the programme.
        round: RoundNumber,
        /// Digest of the final model.
        model: Digest,
    },
    /// Enough votes to abort a session: whoever sent a vector for it takes its charge back.
    AbortCertificate {
        /// The votes.
        certificate: AbortCertificate,
        /// Who could vote, for an agent that has lost the epoch's roster since; it trusts none but
        /// the electorate that it recorded when its vector left.
        electorate: Option<Electorate>,
    },
    /// A head of the ledger, to be cosigned.
    LedgerHead(HeadOffer),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reasons_are_cut_at_a_character() {
        let reason = Reason::new(&"ü".repeat(400));
        assert_eq!(reason.as_str().len(), 512);
        assert!(Reason::try_from("x".repeat(513)).is_err());
    }
}
