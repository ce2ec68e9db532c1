//! The keys, names and rules of the federation. They are made once: signing memberships for
//! every input would take longer than most inputs.

use std::sync::{Arc, LazyLock};

use chorale_dp::Rational;
use chorale_plan::{CohortRule, Mechanism, Parameters, Plan, RoundSpec, Shape, TaskSpec};
use chorale_round::{
    agent::Identity,
    coordinator::{CoordinatorConfig, Timeouts},
};
use chorale_wire::{
    AgentId, Digest, Epoch, FederationId, Membership, RoundNumber, SecretKey, Signed,
};

/// Five agents, one of them corrupt: the smallest federation in which one may drop out.
pub(super) const AGENTS: usize = 5;

/// Rounds whose keys an epoch prepares.
pub(super) const ROUNDS: u16 = 2;

/// Coordinates of a vector.
pub(super) const COORDINATES: usize = 3;

/// When everything begins, in Unix milliseconds.
pub(super) const START_MS: u64 = 1_800_000_000_000;

pub(super) struct Federation {
    pub(super) name: FederationId,
    pub(super) agents: Vec<AgentId>,
    pub(super) identities: Vec<Arc<Identity>>,
    pub(super) rule: CohortRule,
}

static FEDERATION: LazyLock<Federation> = LazyLock::new(Federation::new);

pub(super) fn federation() -> &'static Federation {
    &FEDERATION
}

pub(super) fn coordinator_key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

pub(super) fn agent_key(index: usize) -> SecretKey {
    SecretKey::from_seed(&[10 + index as u8; 32])
}

pub(super) fn tls_key(index: usize) -> Digest {
    Digest::plain(&[index as u8])
}

impl Federation {
    fn new() -> Self {
        let name = FederationId::new("fuzz").unwrap();
        let authority = SecretKey::from_seed(&[1; 32]);
        let agents: Vec<AgentId> =
            (0..AGENTS).map(|index| AgentId::new(format!("store-{index}")).unwrap()).collect();
        let mut rule = CohortRule { enrolled: AGENTS as u32, corrupt: 1, survivors_min: 4 };
        rule.survivors_min = rule.survivors_min.max(rule.votes_min(AGENTS as u32));
        let identities = (0..AGENTS)
            .map(|index| {
                let membership = Membership {
                    agent: agents[index].clone(),
                    identity: agent_key(index).public(),
                    tls_key: tls_key(index),
                    administrator: SecretKey::from_seed(&[20 + index as u8; 32]).public(),
                    not_before_s: 0,
                    not_after_s: u64::MAX / 2000,
                    enrolled: AGENTS as u32,
                };
                Arc::new(Identity {
                    agent: agents[index].clone(),
                    key: agent_key(index),
                    membership: Signed::sign(&membership, &authority).unwrap(),
                    authority: authority.public(),
                    coordinator: coordinator_key().public(),
                    federation: name.clone(),
                })
            })
            .collect();
        Self { name, agents, identities, rule }
    }

    pub(super) fn index_of(&self, agent: &AgentId) -> usize {
        self.agents.iter().position(|known| known == agent).expect("an agent of the federation")
    }

    pub(super) fn config(&self, last_epoch: Epoch, last_round: RoundNumber) -> CoordinatorConfig {
        CoordinatorConfig {
            key: coordinator_key(),
            federation: self.name.clone(),
            authority: SecretKey::from_seed(&[1; 32]).public(),
            rule: self.rule.clone(),
            timeouts: Timeouts { reconnect_grace_ms: 500, ..Timeouts::default() },
            last_epoch,
            last_round,
            certified: Vec::new(),
            threads: std::num::NonZeroUsize::MIN,
        }
    }

    pub(super) fn spec(&self, epoch: Epoch, round: RoundNumber, key_index: u16) -> RoundSpec {
        RoundSpec {
            federation: self.name.clone(),
            epoch,
            round,
            key_index,
            keystream: chorale_wire::Keystream::default(),
            sign_off: None,
            step: 0,
            plan: Plan {
                name: "fuzz".to_string(),
                task: TaskSpec {
                    name: "popularity".to_string(),
                    parameters: Parameters::default(),
                },
                rounds: 64,
                mechanism: Mechanism::Unprotected,
                scale_bits: 10,
                persons_max: 100,
                stores_max: 1,
                cohort: self.rule.clone(),
                catalogue: Digest::plain(b"catalogue"),
                events_before_s: 0,
                canary_lanes: 0,
            },
            shape: Shape { coordinates: COORDINATES as u32, clip: Rational::from_integer(1) },
            model: Digest::plain(&round.0.to_be_bytes()),
            ready_within_ms: 5_000,
            upload_within_ms: 7_000,
        }
    }
}

/// What an agent contributes to a round.
pub(super) fn values(index: usize, round: RoundNumber) -> Vec<i64> {
    (0..COORDINATES as i64)
        .map(|i| (index as i64 + 1) * 1009 * (i - 1) + (round.0 % 1000) as i64 * 31 - i)
        .collect()
}
