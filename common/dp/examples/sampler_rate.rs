//! Prints draws per second of one core: the fast sampler over two generators, the exact one, and
//! their ratio, for several σ. Seconds are those of the processor where the system tells them.
//!
//! `cargo run -p chorale-dp --example sampler_rate [-- --json]`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use chorale_dp::{
    Aes256CtrRng, ExactDiscreteGaussian, FastDiscreteGaussian, Noise, Rational, SamplerError,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Time in nanoseconds that this thread has run, or that has passed where Linux is not there to say.
struct Clock {
    start: Instant,
}

impl Clock {
    fn now_ns(&self) -> f64 {
        std::fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|line| line.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| self.start.elapsed().as_nanos() as f64)
    }
}

/// The best of five runs: what a quiet machine would show.
fn rate(noise: &mut impl Noise, draws: usize) -> f64 {
    let clock = Clock { start: Instant::now() };
    let mut total = vec![0i64; 10_000];
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = clock.now_ns();
        for _ in 0..draws / total.len() {
            noise.add_to(&mut total);
        }
        best = best.min(clock.now_ns() - start);
    }
    std::hint::black_box(&total);
    draws as f64 / best * 1e9
}

fn main() -> Result<(), SamplerError> {
    let json = std::env::args().any(|argument| argument == "--json");
    if !json {
        println!(
            "{:>14} {:>16} {:>16} {:>14} {:>7} {:>10}",
            "sigma", "fast/s (AES)", "fast/s (ChaCha)", "exact/s", "ratio", "tables"
        );
    }
    let mut rows = Vec::new();
    for sigma in [1u64, 16, 100, 1000, 65_536, 1 << 24, 1 << 40] {
        let variance = Rational::from_integer(u128::from(sigma) * u128::from(sigma));
        let start = Instant::now();
        let mut fast = FastDiscreteGaussian::new(&variance, Aes256CtrRng::seed_from_u64(1))?;
        let tables = start.elapsed();
        let mut chacha = FastDiscreteGaussian::new(&variance, ChaCha20Rng::seed_from_u64(1))?;
        let mut exact = ExactDiscreteGaussian::new(&variance, Aes256CtrRng::seed_from_u64(1))?;
        let fast = rate(&mut fast, 4_000_000);
        let chacha = rate(&mut chacha, 4_000_000);
        let exact = rate(&mut exact, 40_000);
        let ratio = fast / exact;
        if json {
            rows.push(format!(
                "{{\"sigma\":{sigma},\"fast_per_s\":{fast:.0},\"fast_chacha_per_s\":{chacha:.0},\
                 \"exact_per_s\":{exact:.0},\"fast_over_exact\":{ratio:.1}}}"
            ));
        } else {
            println!(
                "{sigma:>14} {fast:>16.0} {chacha:>16.0} {exact:>14.0} {ratio:>7.1} {tables:>10.1?}"
            );
        }
    }
    if json {
        println!("[{}]", rows.join(","));
    }
    Ok(())
}
