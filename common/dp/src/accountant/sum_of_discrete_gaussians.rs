//! What it costs that a sum of discrete Gaussians is not a discrete Gaussian.
//!
//! Kairouz, Liu and Steinke ("The Distributed Discrete Gaussian Mechanism", 2021, Proposition 14):
//! if Z is a sum of n independent N_Z(0, s²) per coordinate, s >= 1/2, then for integer v in d
//! dimensions D_α(Z ‖ Z + v) <= α‖v‖²/(2ns²) + τd with
//! τ = 10·Σ_{k=1}^{n-1} exp(-2π²s²·k/(k+1)). As α >= 1, ρ = ‖v‖²/(2ns²) + τd is a zCDP cost.

use num_bigint::BigInt;

use crate::Rational;

/// τ is never stated below 2^-256: rationals stay short, and the surplus is nothing.
pub const TAU_BITS: u64 = 256;

/// A rational upper bound on τ for `shares` summands of variance parameter `share_variance`.
/// Zero for a single summand.
///
/// Each k/(k+1) is at least 1/2 and π²/ln 2 > 14, so τ <= 10(n-1)·exp(-π²s²)
/// <= 10(n-1)·2^-⌊14s²⌋, and for the s >= 16 that rounds use 2^-256 bounds that.
///
/// # Panics
/// For s² below 1/4, where the proposition does not hold.
#[must_use]
pub fn tau(shares: u32, share_variance: &Rational) -> Rational {
    assert!(
        &Rational::from_integer(4) * share_variance >= Rational::one(),
        "a noise share of variance below 1/4"
    );
    if shares <= 1 {
        return Rational::zero();
    }
    let exponent = (&Rational::from_integer(14) * share_variance).floor();
    // 10(n-1) < 2^36.
    if exponent >= BigInt::from(TAU_BITS + 36) {
        return Rational::power_of_half(TAU_BITS);
    }
    let exponent = u64::try_from(exponent).unwrap_or(0);
    &Rational::from_integer(10 * (u64::from(shares) - 1)) * &Rational::power_of_half(exponent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_bound_is_above_the_sum() {
        for shares in [2u32, 3, 10, 1000] {
            for (n, d) in [(1, 4), (1, 2), (1, 1), (2, 1), (7, 3), (10, 1)] {
                let s_squared = Rational::new(n, d).unwrap();
                let exact: f64 = (1..shares)
                    .map(|k| {
                        let weight = f64::from(k) / f64::from(k + 1);
                        let pi = std::f64::consts::PI;
                        10.0 * (-2.0 * pi * pi * s_squared.to_f64_down() * weight).exp()
                    })
                    .sum();
                assert!(tau(shares, &s_squared).to_f64_down() >= exact, "{shares} {s_squared}");
            }
        }
    }

    #[test]
    fn at_sixteen_it_is_negligible() {
        assert_eq!(tau(99, &Rational::from_integer(256)), Rational::power_of_half(256));
        assert_eq!(tau(u32::MAX, &Rational::from_integer(256)), Rational::power_of_half(256));
        assert_eq!(tau(1, &Rational::from_integer(1)), Rational::zero());
    }

    #[test]
    #[should_panic(expected = "below 1/4")]
    fn below_the_propositions_domain_there_is_no_figure() {
        let _ = tau(2, &Rational::new(1, 5).unwrap());
    }

    /// The divergence itself, in one dimension: the exact law of a sum by convolution.
    #[test]
    fn a_sum_costs_no_more_than_stated() {
        let (shares, s_squared) = (4usize, 0.5f64);
        let single: Vec<f64> =
            (-12i32..=12).map(|x| (-f64::from(x * x) / (2.0 * s_squared)).exp()).collect();
        let mut law = vec![1.0];
        for _ in 0..shares {
            let mut next = vec![0.0; law.len() + single.len() - 1];
            for (i, p) in law.iter().enumerate() {
                for (j, q) in single.iter().enumerate() {
                    next[i + j] += p * q;
                }
            }
            law = next;
        }
        let sum: f64 = law.iter().sum();
        let trace = tau(4, &Rational::new(1, 2).unwrap()).to_f64_up();
        for alpha in [1.5f64, 2.0, 4.0, 8.0] {
            for shift in [1usize, 2, 3] {
                let moment: f64 = (shift..law.len())
                    .map(|x| {
                        let (p, q) = ((law[x] / sum).ln(), (law[x - shift] / sum).ln());
                        (alpha * p + (1.0 - alpha) * q).exp()
                    })
                    .sum();
                let divergence = moment.ln() / (alpha - 1.0);
                let bound =
                    alpha * (shift * shift) as f64 / (2.0 * shares as f64 * s_squared) + trace;
                assert!(divergence <= bound + 1e-12, "{alpha} {shift}: {divergence} {bound}");
            }
        }
    }
}
