//! Prints draws per second of one core, for both samplers and several σ.
//!
//! `cargo run -p chorale-dp --example sampler_rate`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use chorale_dp::{ExactDiscreteGaussian, FastDiscreteGaussian, Noise, Rational, SamplerError};
use rand_chacha::{ChaCha12Rng, ChaCha20Rng, rand_core::SeedableRng};

fn rate(noise: &mut impl Noise, draws: usize) -> f64 {
    let mut total = vec![0i64; 10_000];
    let start = Instant::now();
    for _ in 0..draws / total.len() {
        noise.add_to(&mut total);
    }
    std::hint::black_box(&total);
    draws as f64 / start.elapsed().as_secs_f64()
}

fn main() -> Result<(), SamplerError> {
    println!(
        "{:>12} {:>16} {:>16} {:>14} {:>12}",
        "sigma", "fast/s (20)", "fast/s (12)", "exact/s", "build"
    );
    for sigma in [16u64, 100, 1000, 65_536, 1 << 24, 1 << 40] {
        let variance = Rational::from_integer(u128::from(sigma) * u128::from(sigma));
        let seed = ChaCha20Rng::seed_from_u64;
        let start = Instant::now();
        let mut fast = FastDiscreteGaussian::new(&variance, seed(1))?;
        let build = start.elapsed();
        let mut fast_12 = FastDiscreteGaussian::new(&variance, ChaCha12Rng::seed_from_u64(1))?;
        let mut exact = ExactDiscreteGaussian::new(&variance, seed(1))?;
        println!(
            "{sigma:>12} {:>16.0} {:>16.0} {:>14.0} {:>12.1?}",
            rate(&mut fast, 20_000_000),
            rate(&mut fast_12, 20_000_000),
            rate(&mut exact, 100_000),
            build,
        );
    }
    Ok(())
}
