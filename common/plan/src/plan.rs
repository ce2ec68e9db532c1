//! Plans: what the operator schedules and the compliance officer signs off.

use std::collections::BTreeMap;

use chorale_dp::Rational;
use chorale_wire::{Digest, codec, limits::ROUNDS_PER_EPOCH_MAX};
use serde::{Deserialize, Serialize};

use crate::{CohortRule, canary};

/// A task with its parameters, by name, so that a new task needs no change here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Name of the task, for example `cooccurrence`.
    pub name: String,
    /// The task's parameters.
    #[serde(default)]
    pub parameters: Parameters,
}

/// Parameters of a task by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters(pub BTreeMap<String, Parameter>);

/// One parameter of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// A whole number.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// A text.
    Text(String),
}

/// The mechanism that protects a plan's totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// Distributed discrete Gaussian. `sigma_squared` is the variance σ², in squared lattice
    /// units, that any T_min - A honest survivors carry together in each round.
    DiscreteGaussian {
        /// σ² > 0, exact.
        sigma_squared: Rational,
        /// Whether each share comes in layers, of which those that turn out to be surplus are
        /// taken off again ([`crate::noise`]).
        remove_surplus: bool,
    },
    /// No noise, ε = ∞: still clipped and masked. Only in a federation whose GENESIS says so,
    /// and only at agents whose policy allows it.
    Unprotected,
}

/// One task over some rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name for people, for example `taste-2026-11`.
    pub name: String,
    /// The task.
    pub task: TaskSpec,
    /// Number of rounds, 1 to 64.
    pub rounds: u32,
    /// The mechanism, the same in each round.
    pub mechanism: Mechanism,
    /// Lattice: one real unit is 2^`scale_bits` lattice units, 0 to 40.
    pub scale_bits: u8,
    /// Most persons at one agent, P_max, at least 1; an agent with more refuses.
    pub persons_max: u32,
    /// Most agents at which one person counts, M_cap: each agent bounds a person's part by
    /// ⌊Δ/M_cap⌋. 1 is the home-store rule: a person counts at one agent, with all of Δ.
    pub stores_max: u32,
    /// Cohort floors and threat model.
    pub cohort: CohortRule,
    /// Digest of the declared item catalogue.
    pub catalogue: Digest,
    /// The data window as both sides name it: events before this instant (Unix seconds, UTC)
    /// may be used.
    pub events_before_s: u64,
    /// Canary lanes: so many coordinates follow the task's in every vector. They hold noise and
    /// never data ([`crate::canary`]). 0, or 256 to 2^20; 0 without noise.
    #[serde(default)]
    pub canary_lanes: u32,
}

/// Why a plan cannot run. Its author is to blame in every variant.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A number outside its range.
    #[error("plan '{plan}': {field} must be {expected}")]
    Range {
        /// The plan's name.
        plan: String,
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The encoding failed.
    #[error("plan '{plan}' cannot be encoded")]
    Encode {
        /// The plan's name.
        plan: String,
        /// What the codec says.
        #[source]
        source: chorale_wire::EncodeError,
    },
}

/// Longest encoded plan in bytes.
pub(crate) const PLAN_BYTES_MAX: usize = 16 << 10;

impl Plan {
    /// Checks every range that does not depend on the roster.
    ///
    /// # Errors
    /// [`PlanError::Range`] names the first field out of range.
    pub fn check(&self) -> Result<(), PlanError> {
        let range =
            |field, expected| Err(PlanError::Range { plan: self.name.clone(), field, expected });
        if self.name.is_empty() || self.name.len() > 64 {
            return range("name", "1 to 64 bytes long");
        }
        if self.rounds == 0 || self.rounds as usize > ROUNDS_PER_EPOCH_MAX {
            return range("rounds", "1 to 64");
        }
        if self.scale_bits > 40 {
            return range("scale_bits", "0 to 40");
        }
        if self.persons_max == 0 || self.persons_max > 1 << 24 {
            return range("persons_max", "1 to 2^24");
        }
        if self.stores_max == 0 || self.stores_max > self.cohort.enrolled.max(1) {
            return range("stores_max", "1 to the number of agents enrolled");
        }
        if let Mechanism::DiscreteGaussian { sigma_squared, .. } = &self.mechanism
            && *sigma_squared <= Rational::zero()
        {
            return range("sigma_squared", "positive");
        }
        if self.canary_lanes > 0 && !canary::LANES.contains(&self.canary_lanes) {
            return range("canary_lanes", "0, or 256 to 2^20");
        }
        if self.canary_lanes > 0 && self.mechanism == Mechanism::Unprotected {
            return range("canary_lanes", "0 where there is no noise");
        }
        Ok(())
    }

    /// Digest of the whole plan, which RESERVE entries and agents' journals name.
    ///
    /// # Errors
    /// [`PlanError::Encode`] when the plan is longer than its limit.
    pub fn digest(&self) -> Result<Digest, PlanError> {
        let bytes = codec::encode(self, PLAN_BYTES_MAX)
            .map_err(|source| PlanError::Encode { plan: self.name.clone(), source })?;
        Ok(Digest::of("chorale/1 plan", &[&bytes]))
    }
}

impl Parameters {
    /// The whole number `name`, or `default` where it is absent; `None` where it is of another kind.
    #[must_use]
    pub fn integer(&self, name: &str, default: i64) -> Option<i64> {
        match self.0.get(name) {
            None => Some(default),
            Some(Parameter::Integer(value)) => Some(*value),
            Some(_) => None,
        }
    }

    /// The real (or whole) number `name`, or `default`; `None` where it is a text or not finite.
    #[must_use]
    pub fn real(&self, name: &str, default: f64) -> Option<f64> {
        match self.0.get(name) {
            None => Some(default),
            Some(Parameter::Real(value)) if value.is_finite() => Some(*value),
            Some(Parameter::Integer(value)) => Some(*value as f64),
            Some(_) => None,
        }
    }

    /// The text `name`, or `default`; `None` where it is a number.
    #[must_use]
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> Option<&'a str> {
        match self.0.get(name) {
            None => Some(default),
            Some(Parameter::Text(value)) => Some(value),
            Some(_) => None,
        }
    }
}

/// In TOML and JSON a parameter is a bare value; in the binary codec it carries its kind.
mod parameter_serde {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Parameter;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Bare {
        Integer(i64),
        Real(f64),
        Text(String),
    }

    #[derive(Serialize, Deserialize)]
    enum Kinded {
        Integer(i64),
        Real(f64),
        Text(String),
    }

    impl Serialize for Parameter {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            if to.is_human_readable() {
                match self.clone() {
                    Self::Integer(value) => Bare::Integer(value),
                    Self::Real(value) => Bare::Real(value),
                    Self::Text(value) => Bare::Text(value),
                }
                .serialize(to)
            } else {
                match self.clone() {
                    Self::Integer(value) => Kinded::Integer(value),
                    Self::Real(value) => Kinded::Real(value),
                    Self::Text(value) => Kinded::Text(value),
                }
                .serialize(to)
            }
        }
    }

    impl<'de> Deserialize<'de> for Parameter {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            if from.is_human_readable() {
                Ok(match Bare::deserialize(from)? {
                    Bare::Integer(value) => Self::Integer(value),
                    Bare::Real(value) => Self::Real(value),
                    Bare::Text(value) => Self::Text(value),
                })
            } else {
                Ok(match Kinded::deserialize(from)? {
                    Kinded::Integer(value) => Self::Integer(value),
                    Kinded::Real(value) => Self::Real(value),
                    Kinded::Text(value) => Self::Text(value),
                })
            }
        }
    }
}
