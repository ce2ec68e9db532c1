//! What a round computes, in terms that an agent's policy can judge before any data is touched.
//!
//! A [`Plan`] says which task runs, for how many rounds, under which mechanism and with which
//! cohort floors. A [`RoundSpec`] is one round of a plan as the coordinator signs it. Everything
//! that must agree between agents, coordinator and auditor (Δ, modulus, noise shares) is
//! *derived* from these by one function here and never sent.

mod budget;
pub mod canary;
pub mod cohort;
pub mod noise;
mod person;
mod plan;
mod policy;
mod sign_off;
mod spec;
mod stated;

pub use budget::{SPARSE_EPOCHS_MAX, delta_reserved, gaussian_cap, graph_delta};
pub use cohort::{CohortError, CohortRule};
pub use noise::{NoiseLayer, layers_kept};
pub use person::{PersonSink, PersonVector, Pseudonym, SinkError};
pub use plan::{Mechanism, Parameter, Parameters, Plan, PlanError, TaskSpec};
pub use policy::{Policy, Refused};
pub use sign_off::SignOff;
pub use spec::{
    Derived, MODULUS_BITS_MAX, PHASE_WITHIN_MS_MAX, RoundSpec, SHARE_SIGMA_MIN, SpecError,
};
pub use stated::{cost_of_units, cost_units, question};

use chorale_dp::Rational;
use serde::{Deserialize, Serialize};

/// Length of a round's vector and the exact L2 bound of one person's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Number of coordinates d, at least 1.
    pub coordinates: u32,
    /// L2 bound C of one person's real-valued part, positive.
    pub clip: Rational,
}
