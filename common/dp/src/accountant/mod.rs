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
pub mod canary;
pub mod event;
pub mod figure;
pub mod gdp;
pub mod guess;
pub mod pld;
pub mod rdp;
mod sampled_gaussian;
mod special;
pub mod sum_of_discrete_gaussians;
pub mod zcdp;

use num_bigint::BigInt;
use num_integer::Integer;

use crate::{Rational, Rho};

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

/// What n shares of d coordinates each add to δ at every ε that a budget of ρ = `cap` can come to:
/// n·d·TV·(1 + 2^g), exactly, at most 1. `delta` is the δ at which ε is reported. Ledgers hold it
/// against what was set aside, so it is in integers alone, for other programs to compute the same.
///
/// 2^g bounds e^ε: with 2^-b <= δ, ε <= ρ + 2·√(ρ·b·ln 2) (Bun and Steinke 2016, Proposition 1.3,
/// which the other figures only improve on), so log2 e^ε <= a + 2·√(a·b) for any
/// a >= ρ·log2 e; here a = ρ·14427/10000 and g = ⌈a⌉ + ⌈√⌈4ab⌉⌉ + 1, the last for the tolls of
/// the bridge, which add far less than ln 2 to ε.
#[must_use]
pub fn sampler_delta_under_cap(
    shares: u32,
    coordinates: u64,
    total_variation: &Rational,
    cap: &Rho,
    delta: &Rational,
) -> Rational {
    let draws = Rational::from_integer(u128::from(shares) * u128::from(coordinates));
    let growth = growth_bits(cap, delta).and_then(|bits| u32::try_from(bits).ok());
    let Some(bits) = growth.filter(|bits| *bits <= GROWTH_BITS_MAX) else {
        return if draws.is_positive() { Rational::one() } else { Rational::zero() };
    };
    let growth = Rational::from_integer(BigInt::from(1) << bits);
    let added = &(&draws * total_variation) * &(&Rational::one() + &growth);
    added.min(Rational::one())
}

/// Above this many bits e^ε is no promise anyway, and δ is counted as spent.
const GROWTH_BITS_MAX: u32 = 256;

/// g of [`sampler_delta_under_cap`]; none where nothing is promised.
fn growth_bits(cap: &Rho, delta: &Rational) -> Option<BigInt> {
    if !delta.is_positive() {
        return None;
    }
    // The smallest b with 1/δ <= 2^b.
    let odds = delta.denominator().div_ceil(delta.numerator());
    let bits = (&odds - BigInt::from(1)).bits();
    let a =
        &(cap.as_rational() * &Rational::from_integer(14_427)) / &Rational::from_integer(10_000);
    let square = (&a * &Rational::from_integer(4 * bits)).ceil();
    let root = square.sqrt();
    let rounded_up = if &root * &root < square { root + 1 } else { root };
    Some(a.ceil() + rounded_up + 1)
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
        let bound = Rational::power_of_half(89);
        let delta = sampler_delta(99, 1_700_000, &bound, 8.0);
        // 99·1.7e6·2^-89·(1 + e^8) = 8.109e-16.
        assert!((delta.to_f64_up() / 8.1087e-16 - 1.0).abs() < 1e-3, "{}", delta.to_f64_up());
        assert!(delta > sampler_delta(99, 1_700_000, &bound, 7.99));
        assert_eq!(sampler_delta(1, 1, &bound, f64::INFINITY), Rational::one());
        assert_eq!(sampler_delta(1, 1, &bound, f64::NAN), Rational::one());
    }

    /// The exact charge covers that at every figure a budget can be reported with, and is not
    /// more than some powers of two above it.
    #[test]
    fn the_charge_under_a_cap_covers_every_reported_epsilon() {
        let bound = Rational::power_of_half(200);
        for (rho, delta) in
            [(1, 100_000i64), (14, 100_000), (139, 100_000), (300, 10), (139, 1 << 50)]
        {
            let cap = Rho::new(Rational::new(rho, 100).unwrap()).unwrap();
            let delta = Rational::new(1, delta).unwrap();
            let charge = sampler_delta_under_cap(99, 1_700_000, &bound, &cap, &delta);
            let epsilon = zcdp::epsilon(&cap, delta.to_f64_down());
            assert!(epsilon > 0.0 && epsilon.is_finite());
            let needed = sampler_delta(99, 1_700_000, &bound, epsilon);
            assert!(charge > needed, "{rho}");
            let slack = (&charge / &needed).to_f64_up();
            assert!(slack < 512.0, "{rho}: {slack}");
        }
    }

    #[test]
    fn the_charge_under_a_cap_by_hand() {
        let tv = Rational::power_of_half(89);
        let delta = Rational::new(1, 100_000).unwrap();
        // ρ = 2: a = 2.8854, b = 17, 4ab = 196.2.., its root below 15: g = 3 + 15 + 1.
        let two = Rho::new(Rational::from_integer(2)).unwrap();
        let charge = sampler_delta_under_cap(12, 1847, &tv, &two, &delta);
        let expected = &Rational::from_integer(12 * 1847 * ((1i64 << 19) + 1)) * &tv;
        assert_eq!(charge, expected);
        // Nothing spent: e^0 is counted as 2.
        let nothing = sampler_delta_under_cap(1, 1, &tv, &Rho::zero(), &delta);
        assert_eq!(nothing, &Rational::from_integer(3) * &tv);
        // A budget without a promise, and a δ of nothing, spend all.
        let large = Rho::new(Rational::from_integer(1000)).unwrap();
        assert_eq!(sampler_delta_under_cap(1, 1, &tv, &large, &delta), Rational::one());
        assert_eq!(sampler_delta_under_cap(1, 1, &tv, &two, &Rational::zero()), Rational::one());
    }
}
