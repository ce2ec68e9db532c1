//! Both samplers against the probability mass function, their moments, and each other.
//!
//! Seeds are fixed, so a pass is reproducible; thresholds are at 5 standard deviations or a tail
//! below 10^-6, so that no seed had to be chosen.
#![allow(clippy::unwrap_used)]

use num_bigint::BigUint;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::Noise;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn rational(n: u64, d: u64) -> Rational {
    Rational::new(n, d).unwrap()
}

/// Probabilities of -reach..=reach, beyond 12σ nothing.
fn mass_function(sigma_squared: f64) -> Vec<f64> {
    let reach = (12.0 * sigma_squared.sqrt()) as i64 + 1;
    let weights: Vec<f64> =
        (-reach..=reach).map(|x| (-(x as f64).powi(2) / (2.0 * sigma_squared)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// (χ² - k)/√(2k) over bins with at least 20 expected draws, the rest pooled.
fn chi_square_score(draws: &[i64], sigma_squared: f64) -> f64 {
    let mass = mass_function(sigma_squared);
    let reach = (mass.len() / 2) as i64;
    let mut observed = vec![0u64; mass.len()];
    for &draw in draws {
        observed[(draw + reach) as usize] += 1;
    }
    let (mut statistic, mut bins) = (0.0, 0.0);
    let (mut pooled_expected, mut pooled_observed) = (0.0, 0.0);
    for (probability, &count) in mass.iter().zip(&observed) {
        pooled_expected += probability * draws.len() as f64;
        pooled_observed += count as f64;
        if pooled_expected >= 20.0 {
            statistic += (pooled_observed - pooled_expected).powi(2) / pooled_expected;
            bins += 1.0;
            (pooled_expected, pooled_observed) = (0.0, 0.0);
        }
    }
    let freedom: f64 = bins - 1.0;
    (statistic - freedom) / (2.0 * freedom).sqrt()
}

/// The moments and the sign within 5 standard errors; returns nothing, asserts all.
fn check_moments(draws: &[i64], sigma_squared: f64, what: &str) {
    let n = draws.len() as f64;
    let sigma = sigma_squared.sqrt();
    let mean = draws.iter().map(|&x| x as f64).sum::<f64>() / n;
    assert!(mean.abs() < 5.0 * sigma / n.sqrt(), "{what}: mean {mean}");
    let second = draws.iter().map(|&x| (x as f64 / sigma).powi(2)).sum::<f64>() / n;
    // The variance of a discrete Gaussian of σ >= 1 is σ² to within 10^-6.
    assert!((second - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{what}: variance {second}");
    let fourth = draws.iter().map(|&x| (x as f64 / sigma).powi(4)).sum::<f64>() / n;
    assert!((fourth - 3.0).abs() < 5.0 * (96.0 / n).sqrt() + 1e-4, "{what}: kurtosis {fourth}");
    let positive = draws.iter().filter(|&&x| x > 0).count() as f64;
    let negative = draws.iter().filter(|&&x| x < 0).count() as f64;
    let spread = 5.0 * (positive + negative).sqrt();
    assert!((positive - negative).abs() < spread, "{what}: signs {positive} {negative}");
}

fn fast_draws(variance: &Rational, count: usize, seed: u64) -> Vec<i64> {
    let mut noise = FastDiscreteGaussian::new(variance, rng(seed)).unwrap();
    let mut total = vec![0; count];
    noise.add_to(&mut total);
    total
}

fn exact_draws(variance: &Rational, count: usize, seed: u64) -> Vec<i64> {
    let mut noise = ExactDiscreteGaussian::new(variance, rng(seed)).unwrap();
    let mut total = vec![0; count];
    noise.add_to(&mut total);
    total
}

#[test]
fn exact_follows_the_mass_function() {
    for (seed, variance) in
        [rational(1, 1), rational(7, 3), rational(256, 1), rational(1000, 3)].iter().enumerate()
    {
        let draws = exact_draws(variance, 100_000, seed as u64);
        let score = chi_square_score(&draws, variance.to_f64_up());
        assert!(score < 6.0, "σ² = {variance}: χ² score {score}");
        check_moments(&draws, variance.to_f64_up(), "exact");
    }
}

#[test]
fn fast_follows_the_mass_function() {
    // Widths 1, 16, 64, 128, 512 and 8192; σ at both ends of [W, 2W).
    let variances = [
        rational(1, 1),
        rational(399, 100),
        rational(256, 1),
        rational(1000, 3),
        rational(16_383, 1),
        rational(20_000, 1),
        rational(2_000_003, 2),
        rational(100_000_000, 1),
    ];
    for (seed, variance) in variances.iter().enumerate() {
        let draws = fast_draws(variance, 2_000_000, seed as u64);
        let score = chi_square_score(&draws, variance.to_f64_up());
        assert!(score < 6.0, "σ² = {variance}: χ² score {score}");
        check_moments(&draws, variance.to_f64_up(), "fast");
    }
}

#[test]
fn the_mass_function_sums_to_the_theta_function() {
    // Σ ρ(x) = σ√(2π)·(1 + 2exp(-2π²σ²) + ..): the correction is below 10^-8 from σ = 1 on.
    for sigma_squared in [1.0f64, 7.0 / 3.0, 256.0] {
        let peak = mass_function(sigma_squared).into_iter().fold(0.0, f64::max);
        let density = 1.0 / (2.0 * std::f64::consts::PI * sigma_squared).sqrt();
        assert!((peak / density - 1.0).abs() < 1e-8);
    }
}

/// Kolmogorov and Smirnov's two-sample statistic at large σ, where the mass function has no
/// table: √(nm/(n+m))·D is above 2.8 with probability below 10^-6.
#[test]
fn fast_and_exact_agree_at_large_sigma() {
    for (seed, bits) in [40u32, 60, 80].into_iter().enumerate() {
        let variance = Rational::from_integer(BigUint::from(1u32) << bits);
        let mut fast = fast_draws(&variance, 400_000, seed as u64);
        let mut exact = exact_draws(&variance, 40_000, 100 + seed as u64);
        let sigma_squared = 2f64.powi(bits as i32);
        check_moments(&fast, sigma_squared, "fast");
        check_moments(&exact, sigma_squared, "exact");
        fast.sort_unstable();
        exact.sort_unstable();
        let (n, m) = (fast.len() as f64, exact.len() as f64);
        let distance = exact
            .iter()
            .enumerate()
            .map(|(rank, x)| {
                let below = fast.partition_point(|y| y <= x) as f64 / n;
                (below - rank as f64 / m).abs().max((below - (rank + 1) as f64 / m).abs())
            })
            .fold(0.0, f64::max);
        let score = distance * (n * m / (n + m)).sqrt();
        assert!(score < 2.8, "σ² = 2^{bits}: {score}");
    }
}

/// How often the normal law is beyond 2, 3, 4 and 5 standard deviations, on either side.
#[test]
fn tails_are_as_heavy_as_they_should_be() {
    const DRAWS: usize = 4_000_000;
    for (seed, bits) in [32u32, 41, 79].into_iter().enumerate() {
        let variance = Rational::from_integer(BigUint::from(1u32) << bits);
        let draws = fast_draws(&variance, DRAWS, 50 + seed as u64);
        let sigma = 2f64.powf(f64::from(bits) / 2.0);
        for (sigmas, tail) in
            [(2.0, 0.0227501), (3.0, 1.349898e-3), (4.0, 3.16712e-5), (5.0, 2.8665e-7)]
        {
            let expected = tail * DRAWS as f64;
            let above = draws.iter().filter(|&&x| x as f64 > sigmas * sigma).count() as f64;
            let below = draws.iter().filter(|&&x| (x as f64) < -sigmas * sigma).count() as f64;
            for count in [above, below] {
                let spread = 5.0 * expected.sqrt() + 5.0;
                assert!((count - expected).abs() < spread, "2^{bits}, {sigmas}σ: {count}");
            }
        }
    }
}

#[test]
fn low_bits_are_uniform_at_large_sigma() {
    let draws = fast_draws(&Rational::from_integer(BigUint::from(1u32) << 70u32), 500_000, 9);
    let mut counts = [0f64; 256];
    for draw in draws {
        counts[(draw & 255) as usize] += 1.0;
    }
    let expected: f64 = 500_000.0 / 256.0;
    let statistic: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
    assert!((statistic - 255.0) / 510f64.sqrt() < 6.0, "{statistic}");
}

/// Reducing 64 random bits modulo 3·2^62 would give the lowest third half of all draws.
#[test]
fn big_integer_reduction_is_not_biased() {
    let mut rng = rng(3);
    for (bound, parts) in [
        (BigUint::from(3u32) << 62u32, 3usize),
        (BigUint::from(3u32) << 30u32, 3),
        (BigUint::from(5u32) << 126u32, 5),
        (BigUint::from(7u32), 7),
        (BigUint::from(1u64 << 32), 4),
        (BigUint::from(1u32), 1),
    ] {
        let mut counts = vec![0f64; parts];
        for _ in 0..60_000 {
            let draw = exact::uniform_below(&bound, &mut rng);
            assert!(draw < bound);
            counts[usize::try_from(draw * parts / &bound).unwrap()] += 1.0;
        }
        let expected = 60_000.0 / parts as f64;
        for count in counts {
            assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{bound}: {count}");
        }
    }
}

#[test]
fn an_all_zero_total_gets_noise_on_every_coordinate() {
    let variance = rational(1 << 20, 1);
    let mut noise = FastDiscreteGaussian::new(&variance, rng(5)).unwrap();
    let mut total = vec![0; 1000];
    noise.add_to(&mut total);
    let first = total.clone();
    noise.add_to(&mut total);
    // Zero has probability 1/2567 per draw; two in three draws at one place are not luck.
    assert!(first.iter().filter(|&&x| x == 0).count() < 10);
    assert!(total.iter().zip(&first).filter(|(a, b)| a == b).count() < 10);
    assert_eq!(noise.variance(), &variance);
    assert_eq!(noise.total_variation_bound(), Rational::power_of_half(89));
}

#[test]
fn a_variance_out_of_range_is_refused() {
    let refused = |variance: &Rational| {
        let fast = FastDiscreteGaussian::new(variance, rng(0)).map(|_| ()).unwrap_err();
        let exact = ExactDiscreteGaussian::new(variance, rng(0)).map(|_| ()).unwrap_err();
        assert_eq!(fast, exact);
        fast
    };
    for small in [rational(0, 1), rational(999, 1000), Rational::from_integer(-4)] {
        assert!(matches!(refused(&small), SamplerError::VarianceTooSmall { .. }));
    }
    let large = Rational::from_integer((BigUint::from(1u32) << 80u32) + 1u32);
    assert!(matches!(refused(&large), SamplerError::VarianceTooLarge { .. }));
    let long = &Rational::from_integer(256) + &Rational::power_of_half(600);
    assert_eq!(refused(&long), SamplerError::VarianceTooLong);
}

#[test]
fn buffered_words_are_the_generators_own_stream() {
    use rand_core::Rng;
    let mut words = Words::new(rng(1));
    let mut plain = rng(1);
    for _ in 0..2000 {
        assert_eq!(words.word(), plain.next_u64());
    }
}
