//! From a budget to the noise of each plan, never overshooting.

use chorale_dp::{Rational, Rho};
use chorale_plan::{Mechanism, Plan, Shape, TaskSpec, gaussian_cap};
use chorale_wire::Digest;

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
}

/// The lifetime cap in ρ; `None` for a federation without protection.
#[must_use]
pub fn budget_cap(config: &Config) -> Option<Rho> {
    Some(gaussian_cap(config.privacy.epsilon?, &config.privacy.delta))
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
        Some(cap) => {
            Mechanism::DiscreteGaussian { sigma_squared: sigma_squared(planned, shape, cap)? }
        }
    };
    Ok(Plan {
        name: planned.name.clone(),
        task: TaskSpec { name: planned.task.clone(), parameters: planned.parameters.clone() },
        rounds: planned.rounds,
        mechanism,
        scale_bits: planned.scale_bits,
        persons_max: planned.persons_max,
        cohort: config.cohort.rule(),
        catalogue,
        events_before_s: planned.events_before_s,
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
