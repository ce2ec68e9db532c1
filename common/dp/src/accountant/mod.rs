//! From noise to (ε, δ) and back. Every figure is rounded so that it overstates what is spent.
//!
//! Floats appear here only, at the edge where a person reads a number: ρ is what is added up and
//! compared with a cap, exactly. The elementary functions are those of `libm`, the same on every
//! platform, taken as accurate to 2 units in the last place; the slack each figure carries for it
//! is stated beside the line that adds it.
//!
//! Domain: ε is positive and finite, δ in (0, 1). Outside it ε comes out as infinity and a budget
//! as zero, never the reverse; NaN counts as outside.

pub mod bridge;
pub mod calibrate;
pub mod gdp;
mod special;
pub mod sum_of_discrete_gaussians;
pub mod zcdp;

use crate::Rational;

/// What n shares of d coordinates each, drawn by a sampler at distance `total_variation` from the
/// exact law, add to δ at ε: n·d·TV·(1 + e^ε), rounded up, at most 1.
///
/// The joint law of all draws is within T = n·d·TV of the ideal one, so for neighbours
/// P(S) <= Q(S) + T <= e^ε·Q'(S) + δ + T <= e^ε·P'(S) + δ + T(1 + e^ε). Over several rounds the
/// d add up.
#[must_use]
pub fn sampler_delta(
    shares: u32,
    coordinates: u64,
    total_variation: &Rational,
    epsilon: f64,
) -> Rational {
    let growth = libm::exp(epsilon).next_up().next_up();
    let Some(growth) = Rational::from_f64_exact(growth) else { return Rational::one() };
    let draws = Rational::from_integer(u128::from(shares) * u128::from(coordinates));
    let delta = &(&draws * total_variation) * &(&Rational::one() + &growth);
    // Short, so that it can be written down: a multiple of 2^-256.
    delta.min(Rational::one()).round_up(256)
}

/// Whether (ε, δ) is a target that anything can be solved for.
fn in_domain(epsilon: f64, delta: f64) -> bool {
    epsilon > 0.0 && epsilon.is_finite() && delta > 0.0 && delta < 1.0
}

/// The largest float at which `holds`, found by halving between 0 and `high`; 0 if there is none.
/// What is returned was tested itself, so no monotonicity is relied on for safety.
fn largest(high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0f64, high);
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

/// The smallest float found, at most `high`, at which `holds`; `high` itself must have been tested.
fn smallest(high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0f64, high);
    if holds(0.0) {
        return 0.0;
    }
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sampler_delta_by_hand() {
        let bound = Rational::power_of_half(81);
        let delta = sampler_delta(99, 1_700_000, &bound, 8.0);
        // 99·1.7e6·2^-81·(1 + e^8) = 2.0758e-13.
        assert!((delta.to_f64_up() / 2.0758e-13 - 1.0).abs() < 1e-3, "{}", delta.to_f64_up());
        assert!(delta > sampler_delta(99, 1_700_000, &bound, 7.99));
        assert_eq!(sampler_delta(1, 1, &bound, f64::INFINITY), Rational::one());
        assert_eq!(sampler_delta(1, 1, &bound, f64::NAN), Rational::one());
    }
}
