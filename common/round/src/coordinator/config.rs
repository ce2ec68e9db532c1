//! What the coordinator's machine is told once.

use std::num::NonZeroUsize;

use chorale_plan::CohortRule;
use chorale_wire::{Epoch, FederationId, PublicKey, RoundNumber, SecretKey};

use super::abort::KeptCertificate;

/// How long each phase may take, in milliseconds. READY and upload times stand in the round spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until every invited agent has advertised its keys.
    pub advert_ms: u64,
    /// Until every agent of the roster has voted for it.
    pub roster_vote_ms: u64,
    /// Until every agent has dealt its shares.
    pub shares_ms: u64,
    /// Until every agent has opened the shares it received.
    pub accept_ms: u64,
    /// Until the survivors have voted.
    pub survivor_vote_ms: u64,
    /// Until the survivors have revealed their shares.
    pub reveal_ms: u64,
    /// Until enough agents have voted to abort a round whose vectors may have left.
    pub abort_vote_ms: u64,
    /// How long a phase waits for an agent whose connection broke, within the phase's time.
    pub reconnect_grace_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            advert_ms: 20_000,
            roster_vote_ms: 20_000,
            shares_ms: 20_000,
            accept_ms: 20_000,
            survivor_vote_ms: 20_000,
            reveal_ms: 20_000,
            abort_vote_ms: 20_000,
            reconnect_grace_ms: 3_000,
        }
    }
}

/// The coordinator's identity, federation and rules.
#[derive(Debug)]
pub struct CoordinatorConfig {
    /// Signs everything that the coordinator says in a round.
    pub key: SecretKey,
    /// The federation.
    pub federation: FederationId,
    /// The enrolment authority, whose secret key is elsewhere.
    pub authority: PublicKey,
    /// Threat model and floors, as in GENESIS.
    pub rule: CohortRule,
    /// Times per phase.
    pub timeouts: Timeouts,
    /// The highest epoch number ever used; `Epoch(0)` in a new federation.
    pub last_epoch: Epoch,
    /// The highest round number ever used; `RoundNumber(0)` in a new federation.
    pub last_round: RoundNumber,
    /// Abort certificates of an earlier run, oldest first, for agents that missed them.
    pub certified: Vec<KeptCertificate>,
    /// Most threads that unmasking a sum may use while it lasts: the cores of the machine. The
    /// result does not depend on it.
    pub threads: NonZeroUsize,
}
