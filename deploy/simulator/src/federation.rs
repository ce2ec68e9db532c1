//! Identities, rules and round specs of a simulated federation.

use std::sync::Arc;

use chorale_dp::{Rational, Rho};
use chorale_ledger::{ACCOUNTANT_VERSION, Adjacency, GenesisEntry, IdentityMethod, Privacy, Unit};
use chorale_plan::{CohortRule, Mechanism, Parameters, Plan, RoundSpec, Shape, TaskSpec};
use chorale_round::{
    agent::Identity,
    coordinator::{CoordinatorConfig, Timeouts},
};
use chorale_wire::{
    AgentId, Digest, Epoch, FederationId, Membership, RoundNumber, SecretKey, Signed,
};

use crate::oracle::Failure;

/// When a simulation begins, in Unix milliseconds.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// Coordinates of a vector: more than one, not a multiple of eight.
pub(crate) const COORDINATES: usize = 11;

/// Bound on one agent's coordinates, far inside the modulus of the spec below.
pub(crate) const VALUE_MAX: i64 = 50_000;

/// Keys and names of everybody.
#[derive(Debug)]
pub(crate) struct Federation {
    pub(crate) name: FederationId,
    pub(crate) agents: Vec<AgentId>,
    pub(crate) rule: CohortRule,
    pub(crate) identities: Vec<Arc<Identity>>,
    pub(crate) mechanism: Mechanism,
    pub(crate) coordinates: usize,
    coordinator_seed: [u8; 32],
    authority: SecretKey,
}

impl Federation {
    pub(crate) fn new(seed: u64, size: usize) -> Result<Self, Failure> {
        let key = |role: &str, index: u64| {
            let parts: [&[u8]; 3] = [role.as_bytes(), &seed.to_be_bytes(), &index.to_be_bytes()];
            *Digest::of("chorale/1 simulated key", &parts).as_bytes()
        };
        let name = FederationId::new("simulated").map_err(broken)?;
        let authority = SecretKey::from_seed(&key("authority", 0));
        let coordinator_seed = key("coordinator", 0);
        let agents: Vec<AgentId> = (0..size)
            .map(|index| AgentId::new(name_of(index, size)))
            .collect::<Result<_, _>>()
            .map_err(broken)?;
        let corrupt = CohortRule::corrupt_of(size as u32, chorale_round::GAMMA_PER_MILLE);
        let mut rule = CohortRule { enrolled: size as u32, corrupt, survivors_min: 0 };
        rule.survivors_min = rule.survivors_floor(size as u32);
        let identities = agents
            .iter()
            .enumerate()
            .map(|(index, agent)| {
                let own = SecretKey::from_seed(&key("agent", index as u64));
                let membership = Membership {
                    agent: agent.clone(),
                    identity: own.public(),
                    tls_key: tls_key(agent),
                    administrator: own.public(),
                    not_before_s: 0,
                    not_after_s: u64::MAX,
                    enrolled: size as u32,
                };
                let identity = Identity {
                    agent: agent.clone(),
                    key: own,
                    membership: Signed::sign(&membership, &authority).map_err(broken)?,
                    authority: authority.public(),
                    coordinator: SecretKey::from_seed(&coordinator_seed).public(),
                    federation: name.clone(),
                };
                Ok(Arc::new(identity))
            })
            .collect::<Result<_, Failure>>()?;
        let sigma_squared = Rational::from_integer(1 << 27);
        let mechanism = Mechanism::DiscreteGaussian { sigma_squared, remove_surplus: false };
        Ok(Self {
            name,
            agents,
            rule,
            identities,
            mechanism,
            coordinates: COORDINATES,
            coordinator_seed,
            authority,
        })
    }

    pub(crate) fn coordinator_key(&self) -> SecretKey {
        SecretKey::from_seed(&self.coordinator_seed)
    }

    /// Who signs plans off: the authority's owner here.
    pub(crate) fn compliance_key(&self) -> &SecretKey {
        &self.authority
    }

    pub(crate) fn config(&self, last_epoch: Epoch, last_round: RoundNumber) -> CoordinatorConfig {
        CoordinatorConfig {
            key: self.coordinator_key(),
            federation: self.name.clone(),
            authority: self.authority.public(),
            rule: self.rule.clone(),
            timeouts: Timeouts { reconnect_grace_ms: 1_500, ..Timeouts::default() },
            last_epoch,
            last_round,
            certified: Vec::new(),
            threads: std::num::NonZeroUsize::MIN,
        }
    }

    pub(crate) fn genesis(&self) -> Result<GenesisEntry, Failure> {
        Ok(GenesisEntry {
            federation: self.name.clone(),
            unit: Unit::Person,
            adjacency: Adjacency::AddRemove,
            identity_method: IdentityMethod::HomeStore,
            stores_max: None,
            delta: Rational::parse("1/100000").map_err(broken)?,
            delta_reserved: Rational::parse("1/1000000").map_err(broken)?,
            cap_rho: Privacy::Rho(Rho::new(Rational::from_integer(4)).map_err(broken)?),
            caps: Vec::new(),
            enrolled: self.rule.enrolled,
            corrupt: self.rule.corrupt,
            survivors_min: self.rule.survivors_min,
            catalogue: Digest::plain(b"catalogue"),
            coordinator: self.coordinator_key().public(),
            authority: self.authority.public(),
            compliance: self.compliance_key().public(),
            predecessors: Vec::new(),
            accountant_version: ACCOUNTANT_VERSION.to_string(),
            software: "chorale-simulator".to_string(),
            purpose: "simulation".to_string(),
        })
    }

    pub(crate) fn spec(
        &self,
        epoch: Epoch,
        round: RoundNumber,
        key_index: u16,
        model: Digest,
    ) -> RoundSpec {
        RoundSpec {
            federation: self.name.clone(),
            epoch,
            round,
            key_index,
            step: 0,
            plan: Plan {
                name: "simulated".to_string(),
                task: TaskSpec {
                    name: "popularity".to_string(),
                    parameters: Parameters::default(),
                },
                rounds: 64,
                mechanism: self.mechanism.clone(),
                scale_bits: 10,
                persons_max: 100,
                stores_max: 1,
                cohort: self.rule.clone(),
                catalogue: Digest::plain(b"catalogue"),
                events_before_s: 0,
                canary_lanes: 0,
            },
            shape: Shape { coordinates: self.coordinates as u32, clip: Rational::from_integer(1) },
            model,
            ready_within_ms: 8_000,
            upload_within_ms: 8_000,
            keystream: chorale_wire::Keystream::default(),
            sign_off: None,
        }
    }
}

/// Names of equal length, so that the order of agents is the order of their numbers.
fn name_of(index: usize, size: usize) -> String {
    let width = size.saturating_sub(1).max(1).ilog10() as usize + 1;
    format!("store-{index:0width$}")
}

/// SHA-256 that the transport would report for an agent's TLS key.
pub(crate) fn tls_key(agent: &AgentId) -> Digest {
    Digest::plain(agent.as_str().as_bytes())
}

/// A defect of the simulator itself.
pub(crate) fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Simulator(error.to_string())
}
