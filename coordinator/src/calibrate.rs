//! From a budget to the noise of each plan, never overshooting.

use chorale_dp::{
    Cap, Rational, Rho, accountant::sampler_delta_under_cap, sampler::fast::total_variation_bound,
};
use chorale_plan::{
    Mechanism, Plan, SPARSE_EPOCHS_MAX, Shape, TaskSpec, canary::default_lanes, delta_reserved,
    gaussian_cap, graph_delta,
};
use chorale_wire::{Digest, Epoch};

use crate::config::{Config, PlannedTask};

/// Why a plan cannot be calibrated. The operator is to blame.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// No noise satisfies so small a share.
    #[error("plan '{plan}': its budget_share of {share} leaves nothing for {rounds} rounds")]
    Empty {
        /// The plan's name.
        plan: String,
        /// Its share.
        share: Rational,
        /// Its rounds.
        rounds: u32,
    },
    /// The clip does not fit the lattice.
    #[error("plan '{plan}': the clip times 2^{scale_bits} does not fit: lower scale_bits")]
    Lattice {
        /// The plan's name.
        plan: String,
        /// Its resolution.
        scale_bits: u8,
    },
    /// A cap that the programme cannot keep.
    #[error(
        "plan '{plan}' does not fit the cap {cap}: give its rounds more noise (a smaller \
         budget_share), run fewer, or raise the cap"
    )]
    Cap {
        /// The plan's name.
        plan: String,
        /// The cap.
        cap: Box<Cap>,
    },
    /// The samplers' distance from the exact law costs more δ than is set aside for it.
    #[error(
        "the programme draws {draws} times {agents} numbers of noise, whose distance from the exact \
         law costs {needed:e} of δ; {left:e} is set aside for it: run fewer rounds or raise delta"
    )]
    Samplers {
        /// Coordinates of all rounds.
        draws: u64,
        /// Agents enrolled.
        agents: u32,
        /// What they cost, rounded up.
        needed: f64,
        /// What is set aside, rounded down.
        left: f64,
    },
}

/// The lifetime cap in ρ; `None` for a federation without protection.
#[must_use]
pub fn budget_cap(config: &Config) -> Option<Rho> {
    Some(gaussian_cap(config.privacy.epsilon?, &config.privacy.delta))
}

/// Checks that what is set aside of δ holds the samplers of a whole programme, which draws `draws`
/// coordinates of noise at each agent. The ledger holds each round against it again.
///
/// # Errors
/// [`CalibrateError::Samplers`] when it does not.
pub fn check_samplers(config: &Config, draws: u64, cap: &Rho) -> Result<(), CalibrateError> {
    let delta = &config.privacy.delta;
    let reserved = delta_reserved(delta);
    let agents = config.cohort.rule().enrolled;
    let mechanism = delta - &reserved;
    let needed = sampler_delta_under_cap(agents, draws, &total_variation_bound(), cap, &mechanism);
    let left = &reserved - &graph_delta(Epoch(SPARSE_EPOCHS_MAX));
    if needed <= left {
        return Ok(());
    }
    let (needed, left) = (needed.to_f64_up(), left.to_f64_down());
    Err(CalibrateError::Samplers { draws, agents, needed, left })
}

/// Turns a planned task into a plan whose rounds together cost at most its share of `cap`.
///
/// # Errors
/// [`CalibrateError`] when the share is too small or the lattice does not fit.
pub fn plan(
    config: &Config,
    planned: &PlannedTask,
    shape: &Shape,
    catalogue: Digest,
    cap: Option<&Rho>,
) -> Result<Plan, CalibrateError> {
    let mechanism = match cap {
        None => Mechanism::Unprotected,
        Some(cap) => Mechanism::DiscreteGaussian {
            sigma_squared: sigma_squared(planned, shape, cap)?,
            remove_surplus: config.cohort.removes_surplus(config.agents),
        },
    };
    Ok(Plan {
        name: planned.name.clone(),
        task: TaskSpec { name: planned.task.clone(), parameters: planned.parameters.clone() },
        rounds: planned.rounds,
        mechanism,
        scale_bits: planned.scale_bits,
        persons_max: planned.persons_max,
        stores_max: config.stores_max(),
        cohort: config.cohort.rule(),
        catalogue,
        events_before_s: planned.events_before_s,
        canary_lanes: planned.canary_lanes.unwrap_or(match cap {
            None => 0,
            Some(_) => default_lanes(shape.coordinates),
        }),
    })
}

/// σ² = ⌈Δ²/(2(ρ_t - τd))⌉ with ρ_t the share of one round: a whole number, rounded up.
fn sigma_squared(
    planned: &PlannedTask,
    shape: &Shape,
    cap: &Rho,
) -> Result<Rational, CalibrateError> {
    let lattice =
        || CalibrateError::Lattice { plan: planned.name.clone(), scale_bits: planned.scale_bits };
    let scale = Rational::from_integer(1u64 << planned.scale_bits.min(40));
    let delta = u64::try_from((&shape.clip * &scale).floor()).map_err(|_| lattice())?;
    let share = cap.as_rational() * &planned.budget_share;
    let each = &share / &Rational::from_integer(planned.rounds.max(1));
    // τd is what a round costs beyond Δ²/(2σ²). For every share that a spec admits (σ >= 16) the
    // bound on τ is the same; a single share would have none.
    let large = Rational::from_integer(1u64 << 20);
    let sample = Rho::of_distributed_gaussian(delta, &large, 2, shape.coordinates);
    let half_square =
        &Rational::from_integer(u128::from(delta) * u128::from(delta)) / &Rational::from_integer(2);
    let tau = sample.as_rational() - &(&half_square / &large);
    let left = &each - &tau;
    if left <= Rational::zero() {
        return Err(CalibrateError::Empty {
            plan: planned.name.clone(),
            share: planned.budget_share.clone(),
            rounds: planned.rounds,
        });
    }
    Ok(Rational::from_integer((&half_square / &left).ceil()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CONFIG: &str = r#"
federation = "retail"
agents = 99
catalogue = "catalogue.csv"
state = "state"
keys = "keys"
listen = "127.0.0.1:7443"
[privacy]
epsilon = 8.0
[cohort]
enrolled = 99
survivors_min = 90
[[plan]]
name = "taste"
task = "cooccurrence"
rounds = 1
events_before_s = 1512172800
"#;

    /// What does not fit is refused before anything runs.
    #[test]
    fn a_programme_whose_samplers_do_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordinator.toml");
        std::fs::write(&path, CONFIG).unwrap();
        let config = Config::load(&path).unwrap();
        let cap = budget_cap(&config).unwrap();
        let fits = |draws: u64| check_samplers(&config, draws, &cap);
        // 1e-5/2^20 / (99·2^-89·(1 + 2^16)): 500 rounds of the largest plan of the evaluation.
        fits(909_804_224).unwrap();
        let error = fits(909_804_225).unwrap_err();
        assert!(matches!(error, CalibrateError::Samplers { agents: 99, .. }), "{error}");
    }
}
