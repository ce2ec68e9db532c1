//! ε in words: how often an attacker who sees everything guesses rightly whether a person took
//! part, if before it was as likely as not.
//!
//! The best guess is right with probability (1 + TV)/2, TV the total variation distance of the two
//! outcomes' laws, which is δ at ε = 0 (Dong, Roth, Su 2022, section 2: the trade-off curve's
//! largest distance from the diagonal). Rounded up, as the attacker would like it.

use super::gdp;

/// From the mechanism itself: `delta_at_zero` is its δ at ε = 0, as `pld::delta` reports it.
#[must_use]
pub fn success(delta_at_zero: f64) -> f64 {
    if delta_at_zero.is_nan() {
        return 1.0;
    }
    (0.5 + delta_at_zero.clamp(0.0, 1.0) / 2.0).next_up().min(1.0)
}

/// For Gaussian noise: Φ(μ/2), with μ² = Σ Δ²/σ².
#[must_use]
pub fn success_of_gaussian(mu: f64) -> f64 {
    success(gdp::delta(0.0, mu))
}

/// For Gaussian noise calibrated to (ε, δ); 1 outside the domain of [`gdp::mu`].
#[must_use]
pub fn success_of_gaussian_at(epsilon: f64, delta: f64) -> f64 {
    let mu = gdp::mu(epsilon, delta);
    if mu > 0.0 { success_of_gaussian(mu.next_up()) } else { 1.0 }
}

/// Where only (ε, δ) is known: (e^ε + δ)/(e^ε + 1), which some mechanism attains (Kairouz, Oh,
/// Viswanath 2015).
#[must_use]
pub fn success_at_worst(epsilon: f64, delta: f64) -> f64 {
    if !(epsilon >= 0.0 && (0.0..1.0).contains(&delta)) {
        return 1.0;
    }
    // 1 - (1 - δ)/(e^ε + 1).
    let wrong = (1.0 - delta) / (libm::exp(epsilon) + 1.0);
    (1.0 - wrong * (1.0 - 8.0 * f64::EPSILON)).next_up().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recomputed from Φ with 30 digits: μ at (ε, 1e-5) is 0.26810, 0.50174, 0.92519, 1.66633.
    #[test]
    fn a_gaussian_promise_in_words() {
        for (epsilon, exact) in [(1.0, 0.5533), (2.0, 0.5990), (4.0, 0.6782), (8.0, 0.7976)] {
            let ours = success_of_gaussian_at(epsilon, 1e-5);
            assert!((ours - exact).abs() < 1e-4, "{epsilon}: {ours}");
            assert!(ours < success_at_worst(epsilon, 1e-5));
        }
        assert!((success_at_worst(1.0, 0.0) - 0.731_058_578_630_004_9).abs() < 1e-14);
    }

    #[test]
    fn outside_the_domain_the_attacker_is_always_right() {
        for bad in [f64::NAN, -1.0] {
            assert_eq!(success_at_worst(bad, 1e-5), 1.0);
            assert_eq!(success_of_gaussian_at(bad, 1e-5), 1.0);
        }
        assert_eq!(success(f64::NAN), 1.0);
        assert_eq!(success(2.0), 1.0);
        assert!(success(0.0) >= 0.5);
    }
}
