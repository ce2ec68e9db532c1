//! The roster of an epoch: verified by every agent and by the coordinator with the same function.

use std::{collections::HashSet, sync::Arc};

use chorale_plan::{
    CohortError, CohortRule, SPARSE_EPOCHS_MAX,
    cohort::{HONEST_SURVIVORS_MIN, SURVIVORS_FLOOR},
};
use chorale_secagg::{
    Graph, GraphError, GraphParameters,
    keys::{BadPublicKey, check_public},
};
use chorale_wire::{
    AgentId, Digest, Electorate, Epoch, FederationId, Membership, MembershipError, PublicKey,
    RoundNumber, SignatureError, Signed, Slot,
    limits::AGENTS_MAX,
    message::{Advert, Roster, RoundPublicKeys},
};

/// Share γ of the enrolled identities that are assumed corrupt, in thousandths: the default of
/// PROTOCOL.md. A = max(1, ⌈γN⌉) with N from the authority's memberships, never from a roster.
pub const GAMMA_PER_MILLE: u32 = 100;

/// Fewest agents in a roster: with three, one corrupt agent leaves two and masks hide nothing.
pub const ROSTER_AGENTS_MIN: usize = 4;

/// Why an advert does not admit its agent to a roster.
#[derive(Debug, thiserror::Error)]
pub enum AdvertError {
    /// The payload is no advert.
    #[error("it cannot be read")]
    Unreadable(#[source] chorale_wire::DecodeError),
    /// The membership is not the pinned authority's or not valid now.
    #[error("its membership does not admit it")]
    Membership(#[source] MembershipError),
    /// The advert is not signed by the identity that the membership certifies.
    #[error("it is not signed by the certified identity")]
    Signature(#[source] SignatureError),
    /// The membership certifies another agent.
    #[error("its membership certifies another agent, {certified}")]
    OtherAgent {
        /// The agent in the membership.
        certified: AgentId,
    },
    /// Of another federation or epoch.
    #[error("it was made for another federation or epoch")]
    OtherEpoch,
    /// Not one public key pair for each round.
    #[error("it has keys for {given} rounds and the epoch has {expected}")]
    Rounds {
        /// Rounds in the advert.
        given: usize,
        /// Rounds of the epoch.
        expected: usize,
    },
    /// A key of small order (every shared secret with it is zero) or oddly encoded.
    #[error("one of its public keys is unusable")]
    Key(#[source] BadPublicKey),
}

/// Why a roster was refused.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// One agent's advert is bad; that agent or whoever altered it is to blame.
    #[error("the advert of {agent} is refused: {source}")]
    Advert {
        /// The agent, as claimed.
        agent: String,
        /// What is wrong with it.
        source: AdvertError,
    },
    /// The coordinator assembled a roster for another epoch.
    #[error("the roster is for epoch {given}, this agent is in epoch {expected}")]
    Epoch {
        /// The roster's epoch.
        given: Epoch,
        /// The epoch at hand.
        expected: Epoch,
    },
    /// Too few or too many agents. The coordinator is to blame.
    #[error("a roster of {agents} agents: at least {min} and at most {max} are needed")]
    Size {
        /// Agents in the roster.
        agents: usize,
        /// Fewest admissible.
        min: usize,
        /// Most admissible.
        max: usize,
    },
    /// T_min does not protect the agents of this roster. The coordinator is to blame.
    #[error("the floors of the epoch are not admissible for this roster")]
    Floors(#[source] CohortError),
    /// No graph withstands so many corrupt agents and drop-outs. The coordinator is to blame.
    #[error("there is no graph for this roster")]
    Graph(#[source] GraphError),
    /// So many sparse graphs may have been drawn by now that one more could be a bad one by
    /// design. The coordinator is to blame.
    #[error("epoch {epoch} is above {SPARSE_EPOCHS_MAX}, the last one for rosters of this size")]
    SparseEpoch {
        /// The roster's epoch.
        epoch: Epoch,
    },
    /// Not in strictly ascending order of agent ids. The coordinator is to blame.
    #[error("the roster is not in ascending order of agents, each once (at {agent})")]
    Order {
        /// The first agent out of order.
        agent: AgentId,
    },
    /// A key or commitment occurs twice, so that one party could stand behind two agents.
    #[error("{agent} shows a key or commitment that another entry of the roster shows too")]
    Reused {
        /// The later of the two agents.
        agent: AgentId,
    },
    /// This agent's own entry is missing or not the advert that it sent.
    #[error("this agent's own entry in the roster is missing or was exchanged")]
    OwnEntry,
}

/// One agent of a verified roster.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The agent.
    pub agent: AgentId,
    /// The certified Ed25519 key.
    pub identity: PublicKey,
    /// SHA-256 of the certified TLS key.
    pub tls_key: Digest,
    /// The enrolment authority's word for both keys.
    pub membership: Signed<Membership>,
    /// HPKE public key for this epoch.
    pub hpke: [u8; 32],
    /// Commitment to the agent's nonce.
    pub nonce_commitment: Digest,
    /// The highest round that the agent claims to know of.
    pub last_round: Option<RoundNumber>,
    /// Public keys for each round of the epoch.
    pub rounds: Vec<RoundPublicKeys>,
}

/// A roster whose every entry was verified. Only [`VerifiedRoster::check`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedRoster {
    epoch: Epoch,
    digest: Digest,
    entries: Vec<Entry>,
    enrolled: u32,
    rounds: usize,
    survivors_min: u32,
    graph: GraphParameters,
    electorate: Electorate,
}

/// What a roster is verified against.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// The federation.
    pub federation: &'a FederationId,
    /// The epoch.
    pub epoch: Epoch,
    /// Rounds of the epoch.
    pub rounds: usize,
    /// The pinned enrolment authority.
    pub authority: &'a PublicKey,
    /// The verifier's time in Unix seconds.
    pub now_s: u64,
}

/// Verifies one advert on its own: membership, signature, epoch, number and order of keys.
///
/// Returns the entry and the membership.
///
/// # Errors
/// [`AdvertError`] says what is wrong; the advert's agent is to blame.
pub(crate) fn check_advert(
    signed: &Signed<Advert>,
    expect: &Expectation<'_>,
) -> Result<(Entry, Membership), AdvertError> {
    let claimed = signed.peek().map_err(AdvertError::Unreadable)?;
    let membership = Membership::admit(&claimed.membership, expect.authority, expect.now_s)
        .map_err(AdvertError::Membership)?
        .into_inner();
    let advert = signed.verify(&membership.identity).map_err(AdvertError::Signature)?.into_inner();
    if membership.agent != advert.agent {
        return Err(AdvertError::OtherAgent { certified: membership.agent });
    }
    if advert.federation != *expect.federation || advert.epoch != expect.epoch {
        return Err(AdvertError::OtherEpoch);
    }
    if advert.rounds.len() != expect.rounds {
        return Err(AdvertError::Rounds { given: advert.rounds.len(), expected: expect.rounds });
    }
    let keys = advert.rounds.iter().map(|round| &round.pairwise);
    keys.chain([&advert.hpke]).try_for_each(check_public).map_err(AdvertError::Key)?;
    let entry = Entry {
        agent: advert.agent,
        identity: membership.identity,
        tls_key: membership.tls_key,
        membership: claimed.membership,
        hpke: advert.hpke,
        nonce_commitment: advert.nonce_commitment,
        last_round: advert.last_round,
        rounds: advert.rounds,
    };
    Ok((entry, membership))
}

impl VerifiedRoster {
    /// Verifies a roster: every advert on its own, ascending order, no key, identity or
    /// commitment twice, and a size that the corruption bound allows.
    ///
    /// # Errors
    /// [`RosterError`] names the first violation.
    pub fn check(roster: &Roster, expect: &Expectation<'_>) -> Result<Self, RosterError> {
        if roster.epoch != expect.epoch {
            return Err(RosterError::Epoch { given: roster.epoch, expected: expect.epoch });
        }
        let agents = roster.adverts.len();
        let size = |min| RosterError::Size { agents, min, max: AGENTS_MAX };
        if !(ROSTER_AGENTS_MIN..=AGENTS_MAX).contains(&agents) {
            return Err(size(ROSTER_AGENTS_MIN));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(agents);
        let mut enrolled = 0;
        for signed in &roster.adverts {
            let (entry, membership) = check_advert(signed, expect)
                .map_err(|source| RosterError::Advert { agent: claimed_agent(signed), source })?;
            if entries.last().is_some_and(|last| last.agent >= entry.agent) {
                return Err(RosterError::Order { agent: entry.agent });
            }
            enrolled = enrolled.max(membership.enrolled);
            entries.push(entry);
        }
        check_uniqueness(&entries)?;
        let rule = rule_of(enrolled, roster.survivors_min);
        let needed = (rule.corrupt as usize + 3).max(ROSTER_AGENTS_MIN);
        // A roster that cannot reach its own vote threshold is too small.
        let voters = entries.iter().map(|entry| entry.identity).collect();
        let electorate = Electorate::new(voters, rule.votes_min(agents as u32) as u16)
            .map_err(|_| size(needed))?;
        if agents < needed {
            return Err(size(needed));
        }
        rule.check(agents as u32).map_err(RosterError::Floors)?;
        let graph = graph_for(&rule, agents as u32).map_err(RosterError::Graph)?;
        if matches!(graph, GraphParameters::Ring(_)) && roster.epoch.0 > SPARSE_EPOCHS_MAX {
            return Err(RosterError::SparseEpoch { epoch: roster.epoch });
        }
        Ok(Self {
            epoch: roster.epoch,
            digest: roster.digest(),
            entries,
            enrolled,
            rounds: expect.rounds,
            survivors_min: roster.survivors_min,
            graph,
            electorate,
        })
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// [`Roster::digest`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Number of agents n.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.entries.len()
    }

    /// Number of rounds whose keys the epoch prepares.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Identities on the authority's list N: the largest number in any membership.
    #[must_use]
    pub fn enrolled(&self) -> u32 {
        self.enrolled
    }

    /// Agents assumed corrupt, A.
    #[must_use]
    pub fn corrupt(&self) -> u32 {
        self.rule().corrupt
    }

    /// Vote threshold T = ⌊(n + A)/2⌋ + 1.
    #[must_use]
    pub fn votes_min(&self) -> usize {
        self.electorate.votes_min()
    }

    /// The identity keys in slot order, and T: what certificates are verified against.
    #[must_use]
    pub fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    /// T_min of the epoch: no round may admit fewer survivors.
    #[must_use]
    pub fn survivors_min(&self) -> u32 {
        self.survivors_min
    }

    /// Shamir threshold t: max(A + 1, T - 1) on the complete graph, the ring's own otherwise.
    /// In either case above [`Self::corrupt_neighbours`].
    #[must_use]
    pub fn share_threshold(&self) -> usize {
        match &self.graph {
            GraphParameters::Complete { .. } => {
                self.rule().share_threshold(self.agents() as u32) as usize
            }
            GraphParameters::Ring(ring) => ring.threshold(),
        }
    }

    /// Most corrupt neighbours that any agent has: A on the complete graph, fewer on the ring.
    #[must_use]
    pub fn corrupt_neighbours(&self) -> usize {
        match &self.graph {
            GraphParameters::Complete { .. } => self.corrupt() as usize,
            GraphParameters::Ring(ring) => ring.threshold_min() - 1,
        }
    }

    /// The shape of the epoch's graph; its seed makes it one.
    #[must_use]
    pub fn graph_parameters(&self) -> &GraphParameters {
        &self.graph
    }

    /// The epoch's graph under `seed`, the digest of this roster and all its nonces.
    #[must_use]
    pub(crate) fn graph(&self, seed: Digest) -> Arc<Graph> {
        Arc::new(Graph::new(self.graph, seed))
    }

    /// Honest agents of this roster, other than any one of them, that are sure to have seen each
    /// readable round of that one: T_min - A - 1 of them exist, and N - n agents are not here.
    /// `survivors_floor` is a T_min below which the agent never answered; what every plan must
    /// keep is known without it.
    #[must_use]
    pub fn witnesses_min(&self, survivors_floor: u32) -> u32 {
        let absent = self.enrolled.saturating_sub(self.agents() as u32);
        let (floor, corrupt) = (self.survivors_floor(survivors_floor), self.corrupt());
        floor.saturating_sub(corrupt + 1).saturating_sub(absent)
    }

    /// Fewest agents that a roster must have for an agent which cannot tell whether its journal
    /// was restored from a backup: N + A + 2 - T_min, so that [`Self::witnesses_min`] is at least
    /// one, and T_min.
    #[must_use]
    pub fn agents_after_restart(&self, survivors_floor: u32) -> u32 {
        let floor = self.survivors_floor(survivors_floor);
        (self.enrolled + self.corrupt() + 2).saturating_sub(floor).max(floor)
    }

    /// A T_min below which no plan for these agents is admissible.
    pub(crate) fn survivors_floor(&self, own: u32) -> u32 {
        let enough = self.corrupt() + HONEST_SURVIVORS_MIN;
        let large = if self.enrolled >= SURVIVORS_FLOOR { SURVIVORS_FLOOR } else { 0 };
        own.max(enough).max(large)
    }

    /// All slots in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.entries.len() as u16).map(Slot)
    }

    /// The entry at `slot`, if the roster has that slot.
    #[must_use]
    pub fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot.index())
    }

    /// The agents in slot order.
    pub fn agent_ids(&self) -> impl Iterator<Item = &AgentId> {
        self.entries.iter().map(|entry| &entry.agent)
    }

    /// The enrolment authority's word for each agent's identity, in slot order.
    pub fn memberships(&self) -> impl Iterator<Item = &Signed<Membership>> {
        self.entries.iter().map(|entry| &entry.membership)
    }

    /// The slot of `agent`.
    #[must_use]
    pub fn slot_of(&self, agent: &AgentId) -> Option<Slot> {
        self.entries
            .binary_search_by(|entry| entry.agent.cmp(agent))
            .ok()
            .map(|index| Slot(index as u16))
    }

    pub(crate) fn own_slot(
        &self,
        roster: &Roster,
        agent: &AgentId,
        advert: Digest,
    ) -> Result<Slot, RosterError> {
        let slot = self.slot_of(agent).ok_or(RosterError::OwnEntry)?;
        if roster.adverts[slot.index()].payload_digest() == advert {
            Ok(slot)
        } else {
            Err(RosterError::OwnEntry)
        }
    }

    fn rule(&self) -> CohortRule {
        rule_of(self.enrolled, self.survivors_min)
    }
}

fn rule_of(enrolled: u32, survivors_min: u32) -> CohortRule {
    let corrupt = CohortRule::corrupt_of(enrolled, GAMMA_PER_MILLE);
    CohortRule { enrolled, corrupt, survivors_min }
}

/// The graph that a roster of `agents` under `rule` gets. It withstands the drop-outs that T_min
/// allows, D = n - T_min, and A is that of the rule, whatever the roster's size.
///
/// # Errors
/// [`GraphError`] where no graph does; [`CohortRule::check`] comes first.
pub fn graph_for(rule: &CohortRule, agents: u32) -> Result<GraphParameters, GraphError> {
    let dropouts = rule.dropouts(agents) as usize;
    GraphParameters::find(agents as usize, rule.corrupt as usize, dropouts)
}

fn check_uniqueness(entries: &[Entry]) -> Result<(), RosterError> {
    let mut seen: HashSet<[u8; 32]> = HashSet::new();
    for entry in entries {
        let fresh = [*entry.identity.as_bytes(), entry.hpke, *entry.nonce_commitment.as_bytes()]
            .into_iter()
            .chain(
                entry
                    .rounds
                    .iter()
                    .flat_map(|round| [round.pairwise, *round.self_commitment.as_bytes()]),
            )
            .all(|value| seen.insert(value));
        if !fresh {
            return Err(RosterError::Reused { agent: entry.agent.clone() });
        }
    }
    Ok(())
}

fn claimed_agent(signed: &Signed<Advert>) -> String {
    signed
        .peek()
        .map_or_else(|_| "an unreadable advert".to_string(), |advert| advert.agent.to_string())
}
