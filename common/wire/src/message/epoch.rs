//! Epoch setup: ADVERTISE, ROSTER, ROSTER-QC, SHARES (Bell et al. 2020, offline phase).

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, Digest, Epoch, FederationId, RoundNumber, Signature, Signed, Slot, SlotSet,
    limits::{
        AGENT_CONTROL_BYTES_MAX, AGENTS_MAX, CONTROL_BYTES_MAX, NEIGHBOURS_MAX,
        ROUNDS_PER_EPOCH_MAX, STATED_ROUNDS_MAX,
    },
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
    /// The highest round that the agent's own journal knows of in this federation; `None` where it
    /// knows of none. Whoever saw more of the agent says so in its [`RosterVote`].
    pub last_round: Option<RoundNumber>,
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
    /// T_min of the epoch's rounds: the sparse graph withstands as many drop-outs as it allows.
    /// No round of the epoch may allow more.
    pub survivors_min: u32,
    /// The signed adverts.
    pub adverts: Vec<Signed<Advert>>,
}

/// Longest signed advert without its round keys, in bytes, with room to spare.
const ADVERT_FIXED_BYTES_MAX: usize = 704;

/// Bytes of one round's keys in an advert.
const ROUND_KEYS_BYTES: usize = 64;

/// Longest encoding of what stands around the adverts of a roster, in bytes.
const ROSTER_FIXED_BYTES_MAX: usize = 64;

/// Longest encoding of what a signature and a length add to a payload, in bytes.
const SIGNED_BYTES: usize = 72;

impl Roster {
    /// Rounds whose keys fit into the roster message of `agents` agents, at most
    /// [`ROUNDS_PER_EPOCH_MAX`], whatever their names: 64 up to 3,495 agents, 41 for 5,000, 15
    /// for 10,000. Zero above that.
    #[must_use]
    pub const fn rounds_max(agents: usize) -> usize {
        if agents > AGENTS_MAX {
            return 0;
        }
        let agents = if agents == 0 { 1 } else { agents };
        let advert = (CONTROL_BYTES_MAX - ROSTER_FIXED_BYTES_MAX) / agents;
        let rounds = advert.saturating_sub(ADVERT_FIXED_BYTES_MAX) / ROUND_KEYS_BYTES;
        if rounds > ROUNDS_PER_EPOCH_MAX { ROUNDS_PER_EPOCH_MAX } else { rounds }
    }

    /// Digest that votes, envelopes and sessions bind.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let adverts: Vec<Digest> = self.adverts.iter().map(Signed::payload_digest).collect();
        let mut parts: Vec<&[u8]> = Vec::with_capacity(adverts.len() + 2);
        let epoch = self.epoch.0.to_be_bytes();
        let survivors_min = self.survivors_min.to_be_bytes();
        parts.push(&epoch);
        parts.push(&survivors_min);
        parts.extend(adverts.iter().map(|digest| digest.as_bytes().as_slice()));
        Digest::of("chorale/1 roster", &parts)
    }
}

/// One round as a witness saw it: what it asked, and what an answer costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StatedRound {
    /// The round.
    pub round: RoundNumber,
    /// Digest of the question: plan, model and data window.
    pub question: Digest,
    /// The cost ρ in units of 2^-64, rounded up; `None` for a round without noise.
    pub cost: Option<u128>,
}

/// Part of a [`RosterVote`]: the advert of one agent claims less than the voter saw from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The agent whose advert claims less.
    pub about: Slot,
    /// Up to [`STATED_ROUNDS_MAX`] rounds above [`Advert::last_round`] in whose cohort the voter saw the agent, ascending and
    /// the lowest ones first: these are all up to the last one listed.
    pub rounds: Vec<StatedRound>,
    /// Whether the voter saw still higher ones, for which there was no room.
    pub more: bool,
}

/// Agent to coordinator to agents: the agent accepts this roster, the only one it signs for this
/// epoch number, opens its nonce, and states what it saw from agents that claim less. No statement
/// about an agent says: nothing above its claim. The roster binds the fresh keys of everybody, so
/// a statement cannot be older than the keys it is about.
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
    /// Ascending by slot, no longer together than [`RosterVote::room_max`] allows.
    pub statements: Vec<Statement>,
    /// Where there was no room for all statements: the agents about whom the vote says only that
    /// the voter saw more.
    pub unstated: Option<SlotSet>,
}

/// Longest encoding of a roster vote without its statements, in bytes.
const VOTE_FIXED_BYTES_MAX: usize = 256;

/// Longest encoding of a statement that lists no rounds, in bytes.
const STATEMENT_BYTES_MAX: usize = 8;

/// Longest encoding of one stated round, in bytes.
const STATED_ROUND_BYTES_MAX: usize = 64;

impl RosterVote {
    /// Room for statements in a vote on a roster of `agents`, in bytes, so that a certificate of
    /// all votes fits a control message: a statement about one agent with 64 rounds or about 64
    /// agents with one round each up to 3,400 agents, some 20 rounds for 10,000.
    #[must_use]
    pub const fn room_max(agents: usize) -> usize {
        let agents = if agents == 0 { 1 } else { agents };
        let vote = (CONTROL_BYTES_MAX - ROSTER_FIXED_BYTES_MAX) / agents;
        let room = vote.saturating_sub(VOTE_FIXED_BYTES_MAX + SIGNED_BYTES);
        if room > STATEMENTS_BYTES_MAX { STATEMENTS_BYTES_MAX } else { room }
    }

    /// Room that a statement with so many rounds takes, in bytes.
    #[must_use]
    pub const fn room_of(rounds: usize) -> usize {
        STATEMENT_BYTES_MAX + rounds * STATED_ROUND_BYTES_MAX
    }

    /// Room that the set of those without a statement takes, in bytes.
    #[must_use]
    pub const fn room_of_set(agents: usize) -> usize {
        STATEMENT_BYTES_MAX + agents.div_ceil(8)
    }
}

const STATEMENTS_BYTES_MAX: usize =
    STATED_ROUNDS_MAX * (STATEMENT_BYTES_MAX + STATED_ROUND_BYTES_MAX);

impl Message for RosterVote {
    const CONTEXT: &'static str = "roster vote";
    const BYTES_MAX: usize = VOTE_FIXED_BYTES_MAX + STATEMENTS_BYTES_MAX;
}

/// Coordinator to agents: the votes of *all* agents of the roster. The vote of each slot is
/// [`RosterVote`] with the receiver's own federation, epoch and roster, that slot, and what stands
/// here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterCertificate {
    /// The epoch.
    pub epoch: Epoch,
    /// What differs from vote to vote, in slot order.
    pub votes: Vec<RosterOpening>,
}

/// One agent's part of a [`RosterCertificate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterOpening {
    /// The nonce behind [`Advert::nonce_commitment`].
    pub nonce: [u8; 32],
    /// [`RosterVote::statements`].
    pub statements: Vec<Statement>,
    /// [`RosterVote::unstated`].
    pub unstated: Option<SlotSet>,
    /// The agent's signature over its vote.
    pub signature: Signature,
}

impl RosterOpening {
    /// The part of this vote that a certificate holds.
    #[must_use]
    pub fn of(vote: RosterVote, signature: Signature) -> Self {
        let RosterVote { nonce, statements, unstated, .. } = vote;
        Self { nonce, statements, unstated, signature }
    }

    /// The vote that the agent at `slot` must have signed.
    #[must_use]
    pub fn vote(
        &self,
        federation: FederationId,
        epoch: Epoch,
        roster: Digest,
        slot: Slot,
    ) -> RosterVote {
        let Self { nonce, statements, unstated, .. } = self.clone();
        RosterVote { federation, epoch, roster, slot, nonce, statements, unstated }
    }
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

// Everything else about an epoch fits at every size.
const _: () = assert!(Roster::rounds_max(AGENTS_MAX) >= 1);
const _: () = assert!(
    RosterVote::room_max(AGENTS_MAX)
        >= RosterVote::room_of(1) + RosterVote::room_of_set(AGENTS_MAX)
);
const _: () =
    assert!(NEIGHBOURS_MAX * (ShareEnvelope::BYTES_MAX + SIGNED_BYTES) < AGENT_CONTROL_BYTES_MAX);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{PublicKey, SecretKey, codec};

    /// An advert with names and numbers as long as they get.
    fn longest(rounds: usize) -> Signed<Advert> {
        let key = SecretKey::from_seed(&[1; 32]);
        let agent = AgentId::new("a".repeat(64)).unwrap();
        let federation = FederationId::new("f".repeat(64)).unwrap();
        let membership = Membership {
            agent: agent.clone(),
            identity: PublicKey::from_bytes([0xff; 32]),
            tls_key: Digest::plain(b"tls"),
            administrator: PublicKey::from_bytes([0xff; 32]),
            not_before_s: u64::MAX - 1,
            not_after_s: u64::MAX,
            enrolled: u32::MAX,
        };
        let keys = RoundPublicKeys { pairwise: [0xff; 32], self_commitment: Digest::plain(b"b") };
        let advert = Advert {
            federation,
            epoch: Epoch(u64::MAX),
            agent,
            membership: Signed::sign(&membership, &key).unwrap(),
            hpke: [0xff; 32],
            nonce_commitment: Digest::plain(b"nonce"),
            last_round: Some(RoundNumber(u64::MAX)),
            rounds: vec![keys; rounds],
        };
        Signed::sign(&advert, &key).unwrap()
    }

    #[test]
    fn the_rounds_that_fit_do_fit() {
        let length = |adverts: usize, rounds: usize| {
            let advert = codec::encode(&longest(rounds), CONTROL_BYTES_MAX).unwrap().len();
            assert!(advert <= ADVERT_FIXED_BYTES_MAX + rounds * ROUND_KEYS_BYTES, "{advert}");
            let none = Roster { epoch: Epoch(u64::MAX), survivors_min: u32::MAX, adverts: vec![] };
            let around = codec::encode(&none, CONTROL_BYTES_MAX).unwrap().len() + 9;
            assert!(around <= ROSTER_FIXED_BYTES_MAX);
            around + adverts * advert
        };
        for (agents, rounds) in [(4, 64), (1_000, 64), (3_495, 64), (5_000, 41), (10_000, 15)] {
            assert_eq!(Roster::rounds_max(agents), rounds, "{agents}");
            assert!(length(agents, rounds) <= CONTROL_BYTES_MAX);
        }
        assert_eq!(Roster::rounds_max(AGENTS_MAX + 1), 0);
        assert_eq!(Roster::rounds_max(0), 64);
    }

    /// A certificate of votes that say as much as they may fits a control message.
    #[test]
    fn the_longest_votes_fit() {
        let round = StatedRound {
            round: RoundNumber(u64::MAX),
            question: Digest::plain(b"question"),
            cost: Some(u128::MAX),
        };
        let statement = |about, rounds| Statement {
            about: Slot(about),
            rounds: vec![round; rounds],
            more: true,
        };
        for agents in [4, 1_000, 4_000, AGENTS_MAX] {
            let set = SlotSet::from_slots(agents, [Slot(0)]);
            let mut room = RosterVote::room_max(agents) - RosterVote::room_of_set(agents);
            let mut statements = Vec::new();
            while room >= RosterVote::room_of(1) {
                room -= RosterVote::room_of(1);
                statements.push(statement(u16::MAX, 1));
            }
            assert!(!statements.is_empty(), "{agents}");
            let vote = RosterVote {
                federation: FederationId::new("f".repeat(64)).unwrap(),
                epoch: Epoch(u64::MAX),
                roster: Digest::plain(b"roster"),
                slot: Slot(u16::MAX),
                nonce: [255; 32],
                statements,
                unstated: Some(set),
            };
            let signed = Signed::sign(&vote, &SecretKey::from_seed(&[3; 32])).unwrap();
            let length = codec::encode(&signed, CONTROL_BYTES_MAX).unwrap().len();
            assert!(agents * length + 32 <= CONTROL_BYTES_MAX, "{agents}: {length}");
        }
        for rounds in [0, 1, STATED_ROUNDS_MAX] {
            let length = codec::encode(&statement(u16::MAX, rounds), 1 << 16).unwrap().len();
            assert!(length <= RosterVote::room_of(rounds), "{rounds}: {length}");
        }
    }
}
