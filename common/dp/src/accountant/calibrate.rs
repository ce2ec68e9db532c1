//! From a target (ε, δ) to noise: σ² per round such that the figure reported for all rounds
//! together is at most the target, never above it.

use super::{
    bridge::{self, BridgeError, GaussianRelease},
    gdp, sampler_delta, zcdp,
};
use crate::{Rational, Rho};

/// Which figure is to meet the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// The zCDP conversion: valid for rounds chosen adaptively under a cap.
    Zcdp,
    /// The exact Gaussian curve through the bridge: for rounds fixed in advance.
    Gaussian,
}

/// One planned round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRound {
    /// Δ, the integer L2 sensitivity in lattice units.
    pub delta: u64,
    /// d.
    pub coordinates: u32,
    /// Its share of the budget, relative to the other rounds'; positive.
    pub weight: u64,
}

/// What to calibrate.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationRequest {
    /// Target ε.
    pub epsilon: f64,
    /// Target δ, everything included.
    pub delta: f64,
    /// The part of δ that is spent elsewhere: the graph's 2^-40 per epoch.
    pub delta_reserved: Rational,
    /// Bound on the sampler's total variation distance per draw; zero for the exact one.
    pub sampler_total_variation: Rational,
    /// Number of agents that may add a share.
    pub agents: u32,
    /// Number of honest shares that must suffice, T_min - A.
    pub honest_min: u32,
    /// Which figure is to meet the target.
    pub conversion: Conversion,
    /// The rounds.
    pub rounds: Vec<PlannedRound>,
}

/// Noise that meets the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// σ² per round: `honest_min` shares together. A share's variance is a multiple of 2^-8.
    pub sigma_squared: Vec<Rational>,
    /// ρ of all rounds, exactly: the cap to write into the federation's genesis.
    pub rho: Rho,
    /// The δ left for the mechanism after the reserved part and the sampler's, rounded down.
    pub delta_mechanism: f64,
    /// The figure of the conversion asked for, at most the target.
    pub epsilon: f64,
    /// The zCDP figure, which may exceed a target met by the Gaussian one.
    pub epsilon_zcdp: f64,
}

/// Why there is no calibration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// ε or δ outside their ranges.
    #[error("target ε = {epsilon}, δ = {delta}: ε must be positive and finite, δ in (0, 1)")]
    Target {
        /// ε.
        epsilon: f64,
        /// δ.
        delta: f64,
    },
    /// No round, a round of weight, Δ or d zero, or no honest share.
    #[error("round {index}: weight, Δ, coordinates and honest shares must all be positive")]
    Round {
        /// Which round, from 0.
        index: usize,
    },
    /// What the graph and the sampler need leaves no δ.
    #[error("δ = {delta} leaves nothing: {elsewhere:e} of it is spent outside the mechanism")]
    DeltaSpent {
        /// δ.
        delta: f64,
        /// The reserved part and the sampler's.
        elsewhere: f64,
    },
    /// One agent's share would be below 16 lattice units.
    #[error(
        "round {index}: a noise share of variance {share_variance} is below 16²: raise scale_bits"
    )]
    ShareTooNarrow {
        /// Which round, from 0.
        index: usize,
        /// The share's variance.
        share_variance: Rational,
    },
    /// The bridge theorem does not apply.
    #[error("the Gaussian figure does not apply")]
    Bridge(#[from] BridgeError),
    /// The target is too small to be met in float arithmetic.
    #[error("no noise was found that meets ε = {epsilon}")]
    NotFound {
        /// ε.
        epsilon: f64,
    },
}

/// Smallest variance of one share: 16².
const SHARE_VARIANCE_MIN: i64 = 256;
/// A share's variance is rounded up to a multiple of 2^-8: short to write down.
const SHARE_FRACTION_BITS: u64 = 8;
/// Attempts with a little more noise each before giving up.
const ATTEMPTS_MAX: u32 = 40;

/// Finds σ² per round. Round t gets the share w_t/Σw of the budget (of ρ, or of μ²).
///
/// # Errors
/// [`CalibrationError`].
pub fn calibrate(request: &CalibrationRequest) -> Result<Calibration, CalibrationError> {
    let delta_mechanism = check(request)?;
    let (epsilon, conversion) = (request.epsilon, request.conversion);
    // μ² of the Gaussian target; a ρ-zCDP Gaussian has μ² = 2ρ.
    let mu_squared = match conversion {
        Conversion::Zcdp => {
            &Rational::from_integer(2) * zcdp::rho(epsilon, delta_mechanism).as_rational()
        }
        Conversion::Gaussian => {
            let mu = gdp::mu(epsilon, delta_mechanism);
            let mu = Rational::from_f64_exact(mu).unwrap_or(Rational::zero());
            &mu * &mu
        }
    };
    if !mu_squared.is_positive() {
        return Err(CalibrationError::NotFound { epsilon });
    }
    // The tolls (τd, 2H) are not in μ²: noise grows from 2^-50 of itself until they are covered.
    for attempt in 0..ATTEMPTS_MAX {
        let more = if attempt == 0 {
            Rational::one()
        } else {
            &Rational::one() + &Rational::power_of_half(u64::from(51 - attempt))
        };
        let releases = releases(request, &mu_squared, &more)?;
        let rho: Rho = releases
            .iter()
            .map(|r| {
                Rho::of_distributed_gaussian(r.delta, &r.sigma_squared, r.honest_min, r.coordinates)
            })
            .sum();
        let epsilon_zcdp = zcdp::epsilon(&rho, delta_mechanism);
        let reported = match conversion {
            Conversion::Zcdp => epsilon_zcdp,
            Conversion::Gaussian => bridge::epsilon(&releases, delta_mechanism)?,
        };
        if reported <= epsilon {
            let sigma_squared = releases.into_iter().map(|r| r.sigma_squared).collect();
            return Ok(Calibration {
                sigma_squared,
                rho,
                delta_mechanism,
                epsilon: reported,
                epsilon_zcdp,
            });
        }
    }
    Err(CalibrationError::NotFound { epsilon })
}

/// Checks the request; returns the δ that is left for the mechanism, rounded down.
fn check(request: &CalibrationRequest) -> Result<f64, CalibrationError> {
    let CalibrationRequest { epsilon, delta, .. } = *request;
    if !super::in_domain(epsilon, delta) {
        return Err(CalibrationError::Target { epsilon, delta });
    }
    if request.rounds.is_empty() || request.honest_min == 0 {
        return Err(CalibrationError::Round { index: 0 });
    }
    for (index, round) in request.rounds.iter().enumerate() {
        if round.delta == 0 || round.weight == 0 || round.coordinates == 0 {
            return Err(CalibrationError::Round { index });
        }
    }
    let draws = request.rounds.iter().map(|round| u64::from(round.coordinates)).sum();
    let sampler = sampler_delta(request.agents, draws, &request.sampler_total_variation, epsilon);
    let elsewhere = &request.delta_reserved + &sampler;
    // In the domain, δ is finite.
    let exact = Rational::from_f64_exact(delta).unwrap_or(Rational::zero());
    let left = (&exact - &elsewhere).to_f64_down();
    if left > 0.0 && request.delta_reserved >= Rational::zero() {
        Ok(left)
    } else {
        Err(CalibrationError::DeltaSpent { delta, elsewhere: elsewhere.to_f64_up() })
    }
}

/// σ_t² = more·Δ_t²·Σw/(μ²·w_t), plus what smoothing takes; the share's variance rounded up.
fn releases(
    request: &CalibrationRequest,
    mu_squared: &Rational,
    more: &Rational,
) -> Result<Vec<GaussianRelease>, CalibrationError> {
    let weights: u128 = request.rounds.iter().map(|round| u128::from(round.weight)).sum();
    let honest = Rational::from_integer(request.honest_min);
    let smoothing = match request.conversion {
        Conversion::Zcdp => Rational::zero(),
        Conversion::Gaussian => Rational::from_integer(bridge::SMOOTHING_VARIANCE),
    };
    let mut releases = Vec::with_capacity(request.rounds.len());
    for (index, round) in request.rounds.iter().enumerate() {
        let delta_squared =
            Rational::from_integer(u128::from(round.delta) * u128::from(round.delta));
        let budget = &(mu_squared * &Rational::from_integer(round.weight))
            / &Rational::from_integer(weights);
        let sigma_squared = &(&(&delta_squared / &budget) * more) + &smoothing;
        let share_variance = (&sigma_squared / &honest).round_up(SHARE_FRACTION_BITS);
        if share_variance < Rational::from_integer(SHARE_VARIANCE_MIN) {
            return Err(CalibrationError::ShareTooNarrow { index, share_variance });
        }
        releases.push(GaussianRelease {
            delta: round.delta,
            sigma_squared: &share_variance * &honest,
            honest_min: request.honest_min,
            coordinates: round.coordinates,
        });
    }
    Ok(releases)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn request(epsilon: f64, conversion: Conversion) -> CalibrationRequest {
        CalibrationRequest {
            epsilon,
            delta: 1e-5,
            delta_reserved: Rational::power_of_half(40),
            sampler_total_variation: Rational::power_of_half(89),
            agents: 99,
            honest_min: 80,
            conversion,
            rounds: vec![PlannedRound { delta: 1 << 20, coordinates: 1_706_628, weight: 1 }; 10],
        }
    }

    #[test]
    fn the_targets_of_an_evaluation_are_met_closely() {
        for target in [1.0, 2.0, 4.0, 8.0] {
            let gaussian = calibrate(&request(target, Conversion::Gaussian)).unwrap();
            let zcdp = calibrate(&request(target, Conversion::Zcdp)).unwrap();
            for found in [&gaussian, &zcdp] {
                assert!(found.epsilon <= target && found.epsilon > target * (1.0 - 1e-6));
            }
            // The exact curve needs less noise for the same figure.
            assert!(gaussian.sigma_squared[0] < zcdp.sigma_squared[0]);
            assert!(gaussian.epsilon_zcdp > target && zcdp.epsilon_zcdp == zcdp.epsilon);
            assert!(zcdp.sigma_squared[0].to_string().len() < 40);
        }
    }

    #[test]
    fn weights_divide_the_budget() {
        let mut request = request(2.0, Conversion::Zcdp);
        request.rounds[0].weight = 4;
        let found = calibrate(&request).unwrap();
        let ratio = (&found.sigma_squared[1] / &found.sigma_squared[0]).to_f64_up();
        assert!((ratio - 4.0).abs() < 1e-6, "{ratio}");
    }

    #[test]
    fn what_cannot_be_met_is_said() {
        let fails = |change: &dyn Fn(&mut CalibrationRequest)| {
            let mut request = request(1.0, Conversion::Gaussian);
            change(&mut request);
            calibrate(&request).unwrap_err()
        };
        use CalibrationError as E;
        assert!(matches!(fails(&|r| r.epsilon = f64::NAN), E::Target { .. }));
        assert!(matches!(fails(&|r| r.delta = 0.0), E::Target { .. }));
        assert!(matches!(fails(&|r| r.rounds.clear()), E::Round { index: 0 }));
        assert!(matches!(fails(&|r| r.rounds[3].weight = 0), E::Round { index: 3 }));
        assert!(matches!(fails(&|r| r.delta = 1e-13), E::DeltaSpent { .. }));
        assert!(matches!(fails(&|r| r.rounds[2].delta = 10), E::ShareTooNarrow { index: 2, .. }));
        let negative = Rational::from_integer(-1);
        assert!(matches!(fails(&|r| r.delta_reserved = negative.clone()), E::DeltaSpent { .. }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_never_overshoots(log_epsilon in -3.0f64..3.0, log_delta in -24.0f64..-5.0,
                               rounds in 1usize..5, delta in 1u64 << 14..1 << 24,
                               gaussian in any::<bool>()) {
            let conversion = if gaussian { Conversion::Gaussian } else { Conversion::Zcdp };
            let mut request = request(log_epsilon.exp(), conversion);
            request.delta = log_delta.exp();
            request.rounds = (0..rounds)
                .map(|t| PlannedRound { delta, coordinates: 1000, weight: 1 + t as u64 })
                .collect();
            match calibrate(&request) {
                Ok(found) => prop_assert!(found.epsilon <= request.epsilon
                    && found.delta_mechanism < request.delta),
                Err(error) => {
                    let narrow = matches!(error, CalibrationError::ShareTooNarrow { .. });
                    prop_assert!(narrow, "{}", error);
                }
            }
        }
    }
}
