//! ρ-zCDP to (ε, δ): the conversion of Canonne, Kamath and Steinke 2020 (Proposition 12 in its
//! arXiv version, by way of Asoodeh et al. 2020),
//! ε = inf over α > 1 of ρα + ln(1/(αδ))/(α-1) + ln(1-1/α).
//!
//! Any α gives a valid ε, so a search that misses the best α is loose and never wrong.

use super::{in_domain, largest, special::EPSILON};
use crate::{Rational, Rho};

/// The ε of a ρ-zCDP mechanism at δ, rounded up. Infinity for δ outside (0, 1).
#[must_use]
pub fn epsilon(rho: &Rho, delta: f64) -> f64 {
    epsilon_of(rho.as_rational().to_f64_up(), delta)
}

/// The largest ρ found whose [`epsilon`] at δ is at most `epsilon`. Zero outside the domain.
#[must_use]
pub fn rho(epsilon: f64, delta: f64) -> Rho {
    if !in_domain(epsilon, delta) {
        return Rho::zero();
    }
    // ε + ln(1/δ) is above the ρ of any α: f(α) >= ρ - ln(1/δ) - 1 for all α > 1.
    let high = epsilon - libm::log(delta) + 2.0;
    let found = largest(high, |rho| epsilon_of(rho, delta) <= epsilon);
    Rational::from_f64_exact(found).and_then(|rho| Rho::new(rho).ok()).unwrap_or(Rho::zero())
}

fn epsilon_of(rho: f64, delta: f64) -> f64 {
    if !(delta > 0.0 && delta < 1.0) || rho.is_nan() || !rho.is_finite() {
        return f64::INFINITY;
    }
    if rho <= 0.0 {
        return 0.0;
    }
    // α - 1 near √(ln(1/δ)/ρ) is best; searched on a logarithmic scale around it.
    let log_delta = libm::log(delta);
    let centre = 0.5 * (libm::log(-log_delta) - libm::log(rho));
    let value = |log_excess: f64| bound(rho, log_delta, libm::exp(log_excess));
    let steps = 400;
    let at = |step: i32| centre + 14.0 * f64::from(step - steps / 2) / f64::from(steps / 2);
    let best =
        (0..=steps).min_by(|a, b| value(at(*a)).total_cmp(&value(at(*b)))).unwrap_or(steps / 2);
    let (mut low, mut high) = (at(best - 1), at(best + 1));
    for _ in 0..100 {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if value(left) < value(right) { high = right } else { low = left }
    }
    value(low).min(value(high)).min(value(at(best))).max(0.0)
}

/// The bound at α = 1 + excess, plus slack for rounding: 16 units of every term's magnitude.
fn bound(rho: f64, log_delta: f64, excess: f64) -> f64 {
    let log_alpha = libm::log1p(excess);
    let renyi = rho * (1.0 + excess);
    let tail = -(log_alpha + log_delta) / excess;
    let log_excess = libm::log(excess);
    let gain = log_excess - log_alpha;
    let magnitude = renyi + (log_alpha + log_delta.abs()) / excess + log_excess.abs() + log_alpha;
    let value = renyi + tail + gain + 16.0 * EPSILON * magnitude;
    if value.is_nan() { f64::INFINITY } else { value }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn rho_of(value: f64) -> Rho {
        Rho::new(Rational::from_f64_exact(value).unwrap()).unwrap()
    }

    #[test]
    fn a_known_value_and_the_classic_bound() {
        // ρ = 1, δ = 1e-5: the classic ρ + 2√(ρ·ln(1/δ)) is 7.786; the tight one 7.0774.
        let ours = epsilon(&rho_of(1.0), 1e-5);
        assert!((7.07..7.0774).contains(&ours), "{ours}");
        // Independent evaluation on a coarse grid of α is an upper bound for all.
        let grid = (1..100_000)
            .map(|i| {
                let a = 1.0 + f64::from(i) * 1e-4;
                a + (1.0 / (a * 1e-5)).ln() / (a - 1.0) + (1.0 - 1.0 / a).ln()
            })
            .fold(f64::INFINITY, f64::min);
        assert!((ours - grid).abs() < 1e-6, "{ours} {grid}");
    }

    #[test]
    fn outside_the_domain_it_fails_closed() {
        for delta in [0.0, -1.0, 1.0, 2.0, f64::NAN] {
            assert_eq!(epsilon(&rho_of(0.1), delta), f64::INFINITY);
            assert_eq!(rho(1.0, delta), Rho::zero());
        }
        for target in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(rho(target, 1e-5), Rho::zero());
        }
        assert_eq!(epsilon(&Rho::zero(), 1e-5), 0.0);
        assert!(
            epsilon(&rho_of(1e300), 1e-5).is_infinite() || epsilon(&rho_of(1e300), 1e-5) >= 1e300
        );
    }

    proptest! {
        #[test]
        fn the_inverse_never_overshoots_and_is_tight(log_epsilon in -6.0f64..6.0, log_delta in -40.0f64..-2.0) {
            let (target, delta) = (log_epsilon.exp(), log_delta.exp());
            let budget = rho(target, delta);
            let spent = epsilon(&budget, delta);
            prop_assert!(spent <= target);
            prop_assert!(spent >= target * (1.0 - 1e-6), "{spent} {target}");
        }

        #[test]
        fn monotone(rho in 1e-6f64..100.0, factor in 1.001f64..10.0, log_delta in -40.0f64..-2.0) {
            let delta = log_delta.exp();
            prop_assert!(epsilon(&rho_of(rho), delta) <= epsilon(&rho_of(rho * factor), delta));
            prop_assert!(epsilon(&rho_of(rho), delta) >= epsilon(&rho_of(rho), (delta * factor).min(0.9)));
        }
    }
}
