//! Who the agent is and whom it trusts for what.

use chorale_wire::{AgentId, FederationId, Membership, PublicKey, SecretKey, Signed};

/// The agent's certified identity and the keys it pinned at enrolment.
#[derive(Debug)]
pub struct Identity {
    /// The agent.
    pub agent: AgentId,
    /// Signs every protocol message; never leaves the agent.
    pub key: SecretKey,
    /// The enrolment authority's word for the agent's key.
    pub membership: Signed<Membership>,
    /// The pinned enrolment authority, trusted for identities.
    pub authority: PublicKey,
    /// The pinned coordinator, trusted for progress only.
    pub coordinator: PublicKey,
    /// The federation.
    pub federation: FederationId,
}

/// A state that refused a message, unchanged, and why.
#[derive(Debug)]
pub struct Kept<S, E> {
    /// The state as it was.
    pub state: Box<S>,
    /// Why the message was refused.
    pub error: E,
}

impl<S, E> Kept<S, E> {
    pub(super) fn new(state: S, error: impl Into<E>) -> Self {
        Self { state: Box::new(state), error: error.into() }
    }
}
