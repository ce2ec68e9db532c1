//! What can be wrong with an agent's message, and with a driver's request.

use chorale_secagg::{GraphError, NotInChain};
use chorale_wire::{AgentId, EncodeError, Epoch, RoundNumber, SignatureError};

use super::contribution::ContributionError;
use crate::{certificate::VoteError, context::ContextError, roster::AdvertError};

/// A message that was dropped. Its sender is to blame, unless the kind says otherwise.
#[derive(Debug, thiserror::Error)]
#[error("a message of {agent} was dropped: {kind}")]
pub struct Fault {
    /// The agent on whose connection the message came.
    pub agent: AgentId,
    /// What is wrong with it.
    #[source]
    pub kind: FaultKind,
}

/// What is wrong with a message.
#[derive(Debug, thiserror::Error)]
pub enum FaultKind {
    /// The message belongs to a phase that is over or was never open; harmless after a
    /// reconnect, and the message had no effect.
    #[error("{message} came while the coordinator was {phase}")]
    OutOfPhase {
        /// The kind of message.
        message: &'static str,
        /// What the coordinator was doing.
        phase: &'static str,
    },
    /// The sender said no `Hello` on this connection, or is not connected.
    #[error("{message} came before Hello")]
    BeforeHello {
        /// The kind of message.
        message: &'static str,
    },
    /// The `Hello` names another agent or federation than the connection's certificate.
    #[error("its Hello names another agent or another federation")]
    Hello,
    /// The agent has no part in the epoch or round at hand.
    #[error("it has no part in this epoch or round")]
    NoPart,
    /// The advert is bad.
    #[error("its advert is refused")]
    Advert(#[source] AdvertError),
    /// The advert names another agent than the connection's certificate.
    #[error("its advert names another agent")]
    AdvertOfOther,
    /// The membership certifies another TLS key than the connection's.
    #[error("the TLS key of its connection is not the one in its membership")]
    TlsKey,
    /// The vote is bad.
    #[error("its vote does not count")]
    Vote(#[source] VoteError),
    /// The share envelopes are bad.
    #[error("its share envelopes are refused")]
    Envelopes(#[source] EnvelopesError),
    /// A complaint without valid evidence.
    #[error("its complaint carries no valid evidence")]
    Complaint,
    /// Signed by another key than the agent's certified identity, or unreadable.
    #[error("its {message} is not signed by its certified identity")]
    Signature {
        /// The kind of message.
        message: &'static str,
        /// What the verification says.
        #[source]
        source: SignatureError,
    },
    /// Names another epoch, round, spec, session or slot than the one at hand.
    #[error("its {message} names another epoch, round, spec, session or slot")]
    Elsewhere {
        /// The kind of message.
        message: &'static str,
    },
    /// The masked vector is bad.
    #[error("its masked vector is refused")]
    Contribution(#[source] ContributionError),
    /// The revealed shares are bad.
    #[error("its reveal is refused")]
    Reveal(#[source] RevealError),
    /// What it revealed of its surplus noise is not what it committed to, or is missing. Its shares
    /// count, and its surplus stays in the total.
    #[error("its surplus noise cannot be taken off")]
    Surplus(#[source] SurplusError),
    /// A share that it revealed does not belong to the secret that its dealer committed to: the
    /// holder altered it, or the dealer dealt a bad one.
    #[error("its share of a secret of {dealer} does not match the other shares")]
    Share {
        /// Whose secret was shared.
        dealer: AgentId,
    },
    /// Said something else before, in the same place, and both are signed.
    #[error("it sent two different messages of kind {message}; the first one counts")]
    Equivocation {
        /// The kind of message.
        message: &'static str,
    },
}

/// What is wrong with a dealer's envelopes.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopesError {
    /// Not exactly one for each neighbour, in slot order.
    #[error("there must be one envelope for each neighbour, in slot order")]
    Recipients,
    /// Not signed by the dealer.
    #[error("an envelope is not signed by its dealer")]
    Signature(#[source] SignatureError),
    /// Of another epoch, roster, graph or dealer.
    #[error("an envelope is for another epoch, roster, graph or dealer")]
    Elsewhere,
}

/// What is wrong with revealed shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevealError {
    /// Not exactly one share for each neighbour in the cohort, in slot order.
    #[error("there must be one share for each neighbour in the cohort, in slot order")]
    Subjects,
    /// A share is no scalar.
    #[error("a share is not the canonical encoding of a scalar")]
    Malformed,
    /// The share of the wrong secret: both of one agent's secrets must never be known.
    #[error("a share is of the wrong one of its subject's two secrets")]
    Kind,
}

/// What is wrong with a revealed noise link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SurplusError {
    /// None was revealed, and there is surplus.
    #[error("it revealed no link of its noise chain")]
    Missing,
    /// One was revealed, and all noise must stay.
    #[error("it revealed a link of its noise chain although nothing is surplus")]
    Unasked,
    /// It does not lead to the commitment.
    #[error("the link is not of the chain that it committed to")]
    NotInChain(#[from] NotInChain),
}

/// Why an epoch could not be opened. The driver is to blame.
#[derive(Debug, thiserror::Error)]
pub enum OpenEpochError {
    /// Something else is under way.
    #[error("the coordinator is {phase}; wait until it is done")]
    Busy {
        /// What it is doing.
        phase: &'static str,
    },
    /// Not 1 to 64 rounds.
    #[error("an epoch has 1 to 64 rounds, not {rounds}")]
    Rounds {
        /// Rounds asked for.
        rounds: u16,
    },
    /// The cohort rule does not allow a roster of so few or so many agents.
    #[error("an epoch with {agents} agents is not possible: {reason}")]
    Agents {
        /// Agents asked for.
        agents: usize,
        /// Which floor is violated.
        reason: String,
    },
    /// No graph withstands what the cohort rule assumes.
    #[error("there is no graph for this epoch")]
    Graph(#[source] GraphError),
    /// The keys of so many rounds of so many agents do not fit into one roster message.
    #[error(
        "a roster of {agents} agents has room for the keys of {rounds_max} rounds, not {rounds}: \
         open the epoch with fewer rounds"
    )]
    TooLong {
        /// Agents asked for.
        agents: usize,
        /// Rounds asked for.
        rounds: u16,
        /// Most rounds that fit.
        rounds_max: usize,
    },
    /// All epoch numbers are used up.
    #[error("no epoch number is left")]
    Exhausted,
    /// A message could not be encoded: a defect of this program.
    #[error("a message could not be encoded")]
    Encode(#[from] EncodeError),
}

/// Why a round could not be opened. The driver is to blame.
#[derive(Debug, thiserror::Error)]
pub enum OpenRoundError {
    /// No epoch is ready, or a round is under way.
    #[error("the coordinator is {phase}; a round opens when an epoch is ready and no round runs")]
    Busy {
        /// What it is doing.
        phase: &'static str,
    },
    /// Round numbers are never used twice.
    #[error("round {round} is not above {last}, the last one used")]
    Round {
        /// The round asked for.
        round: RoundNumber,
        /// The last one used.
        last: RoundNumber,
    },
    /// Keys are used in order, each once.
    #[error("the spec names key {given} of epoch {epoch}; the next unused is {expected}")]
    KeyIndex {
        /// The epoch.
        epoch: Epoch,
        /// Key index in the spec.
        given: u16,
        /// The next unused one.
        expected: usize,
    },
    /// The epoch's keys are used up.
    #[error("all keys of epoch {epoch} are used; open a new epoch")]
    UsedUp {
        /// The epoch.
        epoch: Epoch,
    },
    /// The spec's cohort rule is not the coordinator's.
    #[error("the plan's cohort rule is not the one this coordinator was configured with")]
    Rule,
    /// The spec does not fit the epoch.
    #[error("the round spec does not fit the epoch")]
    Context(#[from] ContextError),
    /// The own signature did not verify: a defect of this program.
    #[error("the coordinator's own signature does not verify")]
    Signature(#[from] SignatureError),
    /// A message could not be encoded.
    #[error("the round spec could not be encoded")]
    Encode(#[from] EncodeError),
}
