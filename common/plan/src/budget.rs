//! From a promise (ε, δ) to the cap in ρ that ledgers and agents' journals keep exactly.

use chorale_dp::{Rational, Rho, accountant::gdp};
use chorale_wire::Epoch;

/// Largest number of an epoch on a sparse graph. Agents refuse such rosters under higher numbers,
/// so that nobody draws graphs until a bad one comes: every draw needs an epoch number of its own,
/// given up or not, and numbers only rise.
pub const SPARSE_EPOCHS_MAX: u64 = 1 << 10;

/// δ of all sparse graphs that can have been drawn by the time `epoch` has one: 2^-40 for each
/// epoch number up to it. Setups that began again, four times at most, are counted thereby.
#[must_use]
pub fn graph_delta(epoch: Epoch) -> Rational {
    &Rational::from_integer(epoch.0) * &Rational::power_of_half(40)
}

/// The part of δ that is set aside for what is not the mechanism itself: one in 2^20 of it for the
/// samplers' distance from the exact law, and [`graph_delta`] of [`SPARSE_EPOCHS_MAX`], 2^-30.
#[must_use]
pub fn delta_reserved(delta: &Rational) -> Rational {
    let samplers = delta / &Rational::from_integer(1u64 << 20);
    &samplers + &graph_delta(Epoch(SPARSE_EPOCHS_MAX))
}

/// The largest cap ρ = μ²/2 such that Gaussian releases fixed in advance, of together ρ, are
/// (ε, δ)-DP by the exact Gaussian curve (Balle and Wang 2018), [`delta_reserved`] taken from δ.
/// It is lowered by one part in 2^20 for what discreteness adds (`docs/privacy.md`, the bridge).
/// Zero outside 0 < ε, 0 < δ < 1, and where nothing of δ is left.
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
        // Below the graph's own share nothing is left to promise.
        assert_eq!(gaussian_cap(1.0, &Rational::power_of_half(30)), Rho::zero());
    }
}
