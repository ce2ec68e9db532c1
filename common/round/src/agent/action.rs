//! What the agent's driver is asked to do.

use std::sync::Arc;

use chorale_plan::{Derived, RoundSpec};
use chorale_secagg::PairwiseTicket;
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, SessionId, ToCoordinator, VerifiedAbort,
    message::{AbortCause, Reason},
};
use zeroize::Zeroizing;

use super::{
    memory::{Behind, Fact},
    result::Outcome,
};

/// What the driver must do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Send a message. If the connection breaks first, the coordinator asks again.
    Send(ToCoordinator),
    /// Store this durably before carrying out the actions that follow; where that fails, carry out
    /// none of them and stop the agent.
    Remember(Fact),
    /// Other agents saw more from this agent than its journal knows: charge the rounds and refuse
    /// their questions from now on, durably, and tell the agent's owner. Then say hello again:
    /// this agent takes no part in the epoch.
    Behind(Behind),
    /// Agents stated rounds that this agent's journal does not know, and so few are sure to have
    /// seen its rounds that all of them may lie. Charge nothing, and tell the agent's owner: a
    /// larger roster decides it, or a higher `survivors_min` in every policy. Then say hello again:
    /// this agent takes no part in the epoch.
    Doubtful {
        /// The epoch.
        epoch: Epoch,
        /// Who stated them.
        witnesses: Vec<AgentId>,
    },
    /// Agents stated rounds of this agent that too few others state, so that they do not count.
    Disputed {
        /// The epoch.
        epoch: Epoch,
        /// Who stated them.
        witnesses: Vec<AgentId>,
    },
    /// Judge the spec and train; then call [`Machine::ready`] or [`Machine::refuse`].
    Train {
        /// The verified spec.
        spec: Arc<RoundSpec>,
        /// Payload digest of the signed spec.
        spec_digest: Digest,
        /// What follows from the spec.
        derived: Arc<Derived>,
        /// Agents in the roster.
        agents: usize,
    },
    /// Take the vector through the gate with this ticket, then call [`Machine::masked`] and
    /// upload; or call [`Machine::refuse`].
    Contribute {
        /// The right to mask one vector in the round's session.
        ticket: PairwiseTicket,
        /// The verified spec.
        spec: Arc<RoundSpec>,
        /// What follows from the spec.
        derived: Arc<Derived>,
        /// The session.
        session: SessionId,
        /// Digest of those who can vote in it ([`chorale_wire::Electorate::digest`]). Record it with
        /// the session before the vector leaves: only votes of these give the charge back.
        electorate: Digest,
        /// Seeds of the removable layers of the noise, in the order of the derived layers; none
        /// where the noise is in one piece.
        noise_seeds: Vec<Zeroizing<[u8; 32]>>,
    },
    /// The epoch's keys are in place.
    EpochReady {
        /// The epoch.
        epoch: Epoch,
        /// Agents in the roster.
        agents: usize,
        /// Rounds whose keys are prepared.
        rounds: usize,
    },
    /// The epoch's keys are gone, or never came to be.
    EpochLost {
        /// The epoch.
        epoch: Epoch,
        /// Why.
        reason: String,
    },
    /// The round is complete; the new model follows on its own stream.
    RoundDone(Outcome),
    /// The round ended without a result for this agent; its secrets are wiped.
    RoundAborted {
        /// The round.
        round: RoundNumber,
        /// What ended it.
        end: RoundEnd,
        /// Why, for people.
        reason: String,
    },
    /// Enough agents voted to abort a session, so that its vectors will never be unmasked. Where a
    /// vector left for it, under this electorate, the charge is given back and the round's question
    /// may be asked again; the journal decides.
    AbortCertified(VerifiedAbort),
    /// Nothing to do; for people to read what for.
    Waiting {
        /// What the coordinator waits for.
        what: Reason,
    },
    /// All rounds of the programme are done.
    Finished {
        /// The last round.
        round: RoundNumber,
        /// Digest of the final model.
        model: Digest,
    },
}

/// What ends a round without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundEnd {
    /// The coordinator aborted it.
    Aborted(AbortCause),
    /// The agent's own deadline passed.
    Deadline,
    /// A newer round or epoch began, or the epoch was voided.
    Superseded,
    /// Enough agents voted to abort it.
    Certified,
}
