//! The exact Gaussian curve for discrete noise: a bridge between the two, with its toll.
//!
//! Theorem (proved in `docs/privacy.md`). Let rounds t release, for integer vectors of L2
//! sensitivity Δ_t in d_t dimensions, the sum plus n_t independent N_Z(0, s_t²) per coordinate,
//! s_t >= 1, σ_t² = n_t·s_t² > 4. If the continuous Gaussian mechanisms of variances σ_t² - 4 are
//! together (ε, δ)-DP, the discrete ones are together (ε + 2H, e^H·δ)-DP with H = Σ d_t·η_t and
//! η_t <= 2^-111 + τ_t.
//!
//! The number of rounds and their σ_t are fixed in advance here.

use super::{gdp, sum_of_discrete_gaussians::tau};
use crate::Rational;

/// Variance that the smoothing step takes from the continuous mechanism.
pub const SMOOTHING_VARIANCE: i64 = 4;

/// -log2 of a bound on the toll of one coordinate for the smoothing step: with
/// e = 2·Σ_{m>=1} exp(-8π²m²) < 1.03e-34, ln((1+e)/(1-e)) < 2.1e-34 < 2^-111.
const SMOOTHING_BITS: u64 = 111;

/// One release as the figure sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaussianRelease {
    /// Δ, the integer L2 sensitivity.
    pub delta: u64,
    /// σ², the variance that any admissible survivor set carries after colluders subtract theirs.
    pub sigma_squared: Rational,
    /// Number of shares that make up σ².
    pub honest_min: u32,
    /// d.
    pub coordinates: u32,
}

/// A release outside the theorem's conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// σ² is at most 4, or there is no share.
    #[error("release {index}: the noise variance {sigma_squared} is not above 4")]
    VarianceTooSmall {
        /// Which release, from 0.
        index: usize,
        /// Its σ².
        sigma_squared: Rational,
    },
    /// One share has variance below 1.
    #[error("release {index}: one noise share has variance {share_variance}, below 1")]
    ShareTooNarrow {
        /// Which release, from 0.
        index: usize,
        /// Its s².
        share_variance: Rational,
    },
}

/// The ε at `delta` of all releases together, rounded up. Infinity for δ outside (0, 1).
///
/// # Errors
/// [`BridgeError`] where the theorem does not apply.
pub fn epsilon(releases: &[GaussianRelease], delta: f64) -> Result<f64, BridgeError> {
    let mu_squared = mu_squared(releases)?.to_f64_up();
    let toll = log_factor(releases)?.to_f64_up();
    // e^H·δ' <= δ for δ' = δ(1 - H), as e^H(1 - H) <= 1.
    let continuous_delta =
        if toll < 1.0 { (delta * (1.0 - toll).next_down()).next_down() } else { 0.0 };
    let continuous = gdp::epsilon(mu_squared, continuous_delta);
    Ok((continuous + (2.0 * toll).next_up()).next_up())
}

/// μ² = Σ Δ_t²/(σ_t² - 4) of the continuous mechanisms, exactly.
///
/// # Errors
/// [`BridgeError`] where the theorem does not apply.
pub fn mu_squared(releases: &[GaussianRelease]) -> Result<Rational, BridgeError> {
    let mut sum = Rational::zero();
    for (index, release) in releases.iter().enumerate() {
        check(index, release)?;
        let variance = &release.sigma_squared - &Rational::from_integer(SMOOTHING_VARIANCE);
        let delta_squared =
            Rational::from_integer(u128::from(release.delta) * u128::from(release.delta));
        sum = &sum + &(&delta_squared / &variance);
    }
    Ok(sum)
}

/// H = Σ d_t·(2^-111 + τ_t).
///
/// # Errors
/// [`BridgeError`] where the theorem does not apply.
pub fn log_factor(releases: &[GaussianRelease]) -> Result<Rational, BridgeError> {
    let mut sum = Rational::zero();
    for (index, release) in releases.iter().enumerate() {
        let share = check(index, release)?;
        let per_coordinate =
            &Rational::power_of_half(SMOOTHING_BITS) + &tau(release.honest_min, &share);
        sum = &sum + &(&Rational::from_integer(release.coordinates) * &per_coordinate);
    }
    Ok(sum)
}

/// Checks one release; returns its s².
fn check(index: usize, release: &GaussianRelease) -> Result<Rational, BridgeError> {
    let sigma_squared = &release.sigma_squared;
    if release.honest_min == 0 || *sigma_squared <= Rational::from_integer(SMOOTHING_VARIANCE) {
        let sigma_squared = sigma_squared.clone();
        return Err(BridgeError::VarianceTooSmall { index, sigma_squared });
    }
    let share_variance = sigma_squared / &Rational::from_integer(release.honest_min);
    if share_variance < Rational::one() {
        return Err(BridgeError::ShareTooNarrow { index, share_variance });
    }
    Ok(share_variance)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Rho, accountant::zcdp};

    fn release(
        delta: u64,
        sigma_squared: i64,
        honest_min: u32,
        coordinates: u32,
    ) -> GaussianRelease {
        let sigma_squared = Rational::from_integer(sigma_squared);
        GaussianRelease { delta, sigma_squared, honest_min, coordinates }
    }

    #[test]
    fn it_is_a_little_above_the_continuous_curve_and_below_zcdp() {
        let rounds = vec![release(1 << 20, 1 << 44, 80, 1_700_000); 10];
        let ours = epsilon(&rounds, 1e-5).unwrap();
        let continuous = gdp::epsilon(10.0 / 16.0, 1e-5);
        assert!(ours > continuous && ours < continuous * (1.0 + 1e-9), "{ours} {continuous}");
        let rho: Rho = rounds
            .iter()
            .map(|r| Rho::of_distributed_gaussian(r.delta, &r.sigma_squared, 80, r.coordinates))
            .sum();
        assert!(ours < zcdp::epsilon(&rho, 1e-5));
    }

    #[test]
    fn what_the_theorem_does_not_cover_is_refused() {
        assert!(matches!(
            epsilon(&[release(1, 4, 1, 1)], 1e-5),
            Err(BridgeError::VarianceTooSmall { index: 0, .. })
        ));
        assert!(matches!(
            epsilon(&[release(1, 100, 1, 1), release(1, 50, 51, 1)], 1e-5),
            Err(BridgeError::ShareTooNarrow { index: 1, .. })
        ));
        assert_eq!(epsilon(&[release(1, 100, 1, 1)], 0.0), Ok(f64::INFINITY));
    }

    /// The pointwise ratio that the proof bounds, in one dimension and with a variance of 1/2
    /// smoothed away, where the toll is large enough to see: mixing N_Z(y, v) over
    /// y ~ N(0, σ² - v) is N_Z(0, σ²) up to the factor (1+e)/(1-e), e = 2Σexp(-2π²vm²).
    #[test]
    fn smoothing_a_continuous_gaussian_gives_the_discrete_one() {
        let (v, sigma_squared) = (0.5f64, 3.0f64);
        let outer = sigma_squared - v;
        let pi_squared = std::f64::consts::PI.powi(2);
        let e: f64 = (1..5).map(|m| 2.0 * (-2.0 * pi_squared * v * f64::from(m * m)).exp()).sum();
        let total: f64 =
            (-40i32..=40).map(|k| (-f64::from(k * k) / (2.0 * sigma_squared)).exp()).sum();
        let step = 1e-3;
        for k in 0..12i32 {
            let mixed: f64 = (-20_000..20_000)
                .map(|i| {
                    let y = f64::from(i) * step;
                    let density = (-y * y / (2.0 * outer)).exp()
                        / (2.0 * std::f64::consts::PI * outer).sqrt();
                    let around = |j: i32| (-(f64::from(j) - y).powi(2) / (2.0 * v)).exp();
                    let normaliser: f64 = (-8..=8).map(|j| around(y.round() as i32 + j)).sum();
                    density * around(k) / normaliser * step
                })
                .sum();
            let exact = (-f64::from(k * k) / (2.0 * sigma_squared)).exp() / total;
            let log_ratio = (mixed / exact).ln().abs();
            assert!(log_ratio <= ((1.0 + e) / (1.0 - e)).ln() + 1e-9, "{k}: {log_ratio}");
        }
    }
}
