//! What the coordinator's driver is asked to do.

use chorale_dp::Rational;
use chorale_wire::{
    AgentId, Digest, Epoch, Membership, RoundNumber, SessionId, Signature, Signed, SlotSet,
    ToAgent,
    message::{AbortCause, LedgerHead, Reason, RefusalCode, SurvivorCertificate},
};

use super::{fault::Fault, head::CosignedHead, proven::Letters};

/// What the driver must do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Send a message. It may get lost with the connection: what matters is sent again when the
    /// agent says hello.
    Send(AgentId, ToAgent),
    /// Send one message to each of these agents, as [`Action::Send`] would. It is one message, so
    /// that a roster of megabytes exists once for thousands of receivers.
    Broadcast(Vec<AgentId>, ToAgent),
    /// Send each of several agents a message of its own, as [`Action::Send`] would, one after the
    /// other.
    SendEach(Letters),
    /// An attempt to set up an epoch uses this number. Store it durably before carrying out the
    /// actions that follow, so that no epoch number is ever used twice.
    EpochStarted {
        /// The number.
        epoch: Epoch,
    },
    /// An epoch is ready for rounds.
    EpochReady {
        /// The epoch.
        epoch: Epoch,
        /// Its agents in slot order.
        agents: Vec<AgentId>,
        /// Digest of the roster.
        roster: Digest,
        /// Digest of the roster and all nonces; sessions bind it.
        graph_seed: Digest,
        /// The enrolment authority's word for each agent's identity, in slot order.
        memberships: Vec<Signed<Membership>>,
        /// Invited agents that are not in it, and why.
        excluded: Vec<(AgentId, String)>,
    },
    /// No epoch could be set up.
    EpochFailed {
        /// The last number tried; `Epoch(0)` when none was.
        epoch: Epoch,
        /// Why.
        reason: String,
        /// Agents that were left out, and why.
        blamed: Vec<(AgentId, String)>,
    },
    /// An agent does not take part in the round.
    Refused {
        /// The agent.
        agent: AgentId,
        /// The round.
        round: RoundNumber,
        /// What kind of refusal.
        code: RefusalCode,
        /// The agent's words, which it did not sign.
        reason: Reason,
        /// Its signature under [`chorale_wire::message::Refusal`], for the ledger.
        signature: Signature,
    },
    /// The cohort is fixed.
    CohortFixed {
        /// The round.
        round: RoundNumber,
        /// Agents in the cohort.
        agents: Vec<AgentId>,
    },
    /// The totals are known. Update model and ledger, then call [`Machine::conclude`].
    RoundComplete(Box<Completed>),
    /// The round ended without a result.
    RoundAborted {
        /// The round.
        round: RoundNumber,
        /// Why.
        cause: AbortCause,
        /// Why, for people.
        reason: String,
        /// Agents to blame, where they are known, and for what.
        blamed: Vec<(AgentId, String)>,
        /// Whether a survivor certificate left the coordinator, so that shares may be known.
        unmask_started: bool,
        /// Proof that the session will never be unmasked, which gives the charge back. Record it
        /// durably before carrying out the actions that follow: they send it to the agents.
        certificate: Option<Box<CertifiedAbort>>,
    },
    /// T agents of the roster in force have cosigned the head of the ledger that
    /// [`Machine::offer_head`] showed them. Write it into the ledger.
    ///
    /// [`Machine::offer_head`]: super::Machine::offer_head
    HeadCosigned(CosignedHead),
    /// An agent has cosigned nothing since this head: send it an offer of its own that begins
    /// there. Where the ledger has another hash under that number, the agent was shown a fork.
    HeadWanted {
        /// The agent.
        agent: AgentId,
        /// The last head that it cosigned.
        from: LedgerHead,
    },
    /// A message was dropped.
    Fault(Fault),
}

/// T votes to abort a session, with what an auditor needs to verify them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedAbort {
    /// The session.
    pub session: SessionId,
    /// Payload digest of the signed round spec.
    pub spec: Digest,
    /// The cohort in slot order.
    pub cohort: Vec<AgentId>,
    /// Who voted to abort, in slot order, and its signature.
    pub votes: Vec<(AgentId, Signature)>,
}

/// A completed round.
#[derive(Clone, PartialEq)]
pub struct Completed {
    /// The session.
    pub session: SessionId,
    /// The epoch.
    pub epoch: Epoch,
    /// The round.
    pub round: RoundNumber,
    /// Payload digest of the signed round spec.
    pub spec: Digest,
    /// Digest of session, cohort, survivors, vectors and votes.
    pub transcript: Digest,
    /// Agents whose masks were in play.
    pub cohort: SlotSet,
    /// Agents whose vectors are in the totals.
    pub survivors: SlotSet,
    /// The survivors by name, in slot order.
    pub agents: Vec<AgentId>,
    /// Plain SHA-256 of each survivor's packed vector, in slot order.
    pub vector_digests: Vec<Digest>,
    /// The survivors' votes.
    pub certificate: SurvivorCertificate,
    /// The sum of the survivors' vectors in lattice units, noise included.
    pub totals: Vec<i64>,
    /// The canary lanes, the tail of the totals, as they were before surplus noise came off; empty
    /// where noise comes in one piece, or without lanes.
    pub whole_lanes: Vec<i64>,
    /// Variance of the noise in each coordinate of the totals, in squared lattice units, as far as
    /// every survivor added its share; `None` in a round without noise.
    pub noise_variance: Option<Rational>,
}

impl std::fmt::Debug for Completed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Completed")
            .field("round", &self.round)
            .field("session", &self.session)
            .field("cohort", &self.cohort)
            .field("survivors", &self.survivors)
            .field("coordinates", &self.totals.len())
            .finish_non_exhaustive()
    }
}
