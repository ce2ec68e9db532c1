//! Epoch setup: ADVERTISE, ROSTER, ROSTER-QC, SHARES (Bell et al. 2020, offline phase).

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, Digest, Epoch, FederationId, Signed, Slot,
    limits::{CONTROL_BYTES_MAX, ROUNDS_PER_EPOCH_MAX},
    membership::Membership,
    sign::Message,
};

/// Coordinator to agents: an epoch begins; answer with an [`Advert`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochOpen {
    /// The federation.
    pub federation: FederationId,
    /// The epoch's number, larger than every earlier one.
    pub epoch: Epoch,
    /// Rounds whose keys are prepared, 1 to 64.
    pub rounds: u16,
}

impl Message for EpochOpen {
    const CONTEXT: &'static str = "epoch open";
    const BYTES_MAX: usize = 256;
}

/// One round's public values of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundPublicKeys {
    /// X25519 public key for pairwise masks (RFC 7748).
    pub pairwise: [u8; 32],
    /// Commitment to the self-mask seed.
    pub self_commitment: Digest,
}

/// Agent to coordinator to agents: the agent's public values for an epoch, signed by the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advert {
    /// The federation.
    pub federation: FederationId,
    /// The epoch.
    pub epoch: Epoch,
    /// The agent.
    pub agent: AgentId,
    /// The enrolment authority's word for the agent's identity key.
    pub membership: Signed<Membership>,
    /// HPKE public key (RFC 9180, X25519) under which neighbours seal shares.
    pub hpke: [u8; 32],
    /// Commitment to the nonce that the agent reveals with its roster vote.
    pub nonce_commitment: Digest,
    /// One entry for each round of the epoch.
    pub rounds: Vec<RoundPublicKeys>,
}

impl Message for Advert {
    const CONTEXT: &'static str = "advert";
    const BYTES_MAX: usize = 2048 + 64 * ROUNDS_PER_EPOCH_MAX;
}

/// Coordinator to agents: all adverts of the epoch in ascending order of agent id. An agent's
/// position is its [`Slot`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// The epoch.
    pub epoch: Epoch,
    /// The signed adverts.
    pub adverts: Vec<Signed<Advert>>,
}

impl Roster {
    /// Digest that votes, envelopes and sessions bind.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let adverts: Vec<Digest> = self.adverts.iter().map(Signed::payload_digest).collect();
        let mut parts: Vec<&[u8]> = Vec::with_capacity(adverts.len() + 1);
        let epoch = self.epoch.0.to_be_bytes();
        parts.push(&epoch);
        parts.extend(adverts.iter().map(|digest| digest.as_bytes().as_slice()));
        Digest::of("chorale/1 roster", &parts)
    }
}

/// Agent to coordinator to agents: the agent accepts this roster, the only one it signs for this
/// epoch number, and opens its nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterVote {
    /// The federation.
    pub federation: FederationId,
    /// The epoch.
    pub epoch: Epoch,
    /// [`Roster::digest`].
    pub roster: Digest,
    /// The voter's slot.
    pub slot: Slot,
    /// The nonce behind [`Advert::nonce_commitment`].
    pub nonce: [u8; 32],
}

impl Message for RosterVote {
    const CONTEXT: &'static str = "roster vote";
    const BYTES_MAX: usize = 256;
}

/// Coordinator to agents: the votes of *all* agents of the roster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RosterCertificate {
    /// The epoch.
    pub epoch: Epoch,
    /// Votes in slot order.
    pub votes: Vec<Signed<RosterVote>>,
}

/// Dealer to one neighbour, through the coordinator: shares of the dealer's secrets for every
/// round of the epoch, sealed with HPKE, signed by the dealer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareEnvelope {
    /// The epoch.
    pub epoch: Epoch,
    /// [`Roster::digest`].
    pub roster: Digest,
    /// Graph seed: digest of the roster and all nonces.
    pub graph_seed: Digest,
    /// The dealer.
    pub from: Slot,
    /// The neighbour who can open it.
    pub to: Slot,
    /// HPKE encapsulated key.
    pub encapsulated: [u8; 32],
    /// Sealed shares: for each round, 32 bytes of key share and 32 bytes of seed share.
    pub sealed: Vec<u8>,
}

impl Message for ShareEnvelope {
    const CONTEXT: &'static str = "share envelope";
    const BYTES_MAX: usize = 512 + 64 * ROUNDS_PER_EPOCH_MAX;
}

/// Agent to coordinator: an envelope that the named dealer signed cannot be opened or holds
/// malformed shares. The signed envelope is the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Complaint {
    /// The epoch.
    pub epoch: Epoch,
    /// Who complains.
    pub from: Slot,
    /// The dealer.
    pub dealer: Slot,
    /// The envelope as received.
    pub evidence: Signed<ShareEnvelope>,
}

impl Message for Complaint {
    const CONTEXT: &'static str = "complaint";
    const BYTES_MAX: usize = 2 * ShareEnvelope::BYTES_MAX;
}

const _: () = assert!(Advert::BYTES_MAX < CONTROL_BYTES_MAX);
