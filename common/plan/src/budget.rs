//! From a promise (ε, δ) to the cap in ρ that ledgers and agents' journals keep exactly.

use chorale_dp::{Rational, Rho, accountant::gdp};

/// The part of δ, one in 2^20, that is set aside for what is not the mechanism itself: the
/// samplers' distance from the exact law.
#[must_use]
pub fn delta_reserved(delta: &Rational) -> Rational {
    delta / &Rational::from_integer(1u64 << 20)
}

/// The largest cap ρ = μ²/2 such that Gaussian releases fixed in advance, of together ρ, are
/// (ε, δ)-DP by the exact Gaussian curve (Balle and Wang 2018), [`delta_reserved`] taken from δ.
/// It is lowered by one part in 2^20 for what discreteness adds (`docs/privacy.md`, the bridge).
/// Zero outside 0 < ε, 0 < δ < 1.
#[must_use]
pub fn gaussian_cap(epsilon: f64, delta: &Rational) -> Rho {
    let mechanism = (delta - &delta_reserved(delta)).to_f64_down();
    let mu = Rational::from_f64_exact(gdp::mu(epsilon, mechanism)).unwrap_or_else(Rational::zero);
    let margin = &Rational::from_integer((1u64 << 20) - 1) / &Rational::from_integer(1u64 << 21);
    Rho::new(&(&mu * &mu) * &margin).unwrap_or_else(|_| Rho::zero())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn caps_of_the_usual_promises() {
        // μ at δ = 1e-5: 0.26805, 0.50155, 0.92493 and 1.66603 for ε = 1, 2, 4 and 8.
        let delta = Rational::new(1, 100_000).unwrap();
        for (epsilon, mu) in [(1.0, 0.26805), (2.0, 0.50155), (4.0, 0.92493), (8.0, 1.66603)] {
            let rho = gaussian_cap(epsilon, &delta).as_rational().to_f64_up();
            let expected = mu * mu / 2.0;
            assert!((rho / expected - 1.0).abs() < 1e-4, "{epsilon}: {rho} {expected}");
            let back = gdp::epsilon(2.0 * rho, 1e-5 * (1.0 - 1e-6));
            assert!(back < epsilon && back > epsilon * 0.9999, "{epsilon}: {back}");
        }
        assert_eq!(gaussian_cap(-1.0, &delta), Rho::zero());
    }
}
