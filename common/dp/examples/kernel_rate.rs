//! Prints the time of the per-person kernels: rounding and clipping.
//!
//! `cargo run -p chorale-dp --example kernel_rate`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use chorale_dp::{
    clip::clip_to,
    rounding::{RoundingError, round_dense, round_sparse},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

const SCALE_BITS: u8 = 20;

fn main() -> Result<(), RoundingError> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    println!(
        "{:>12} {:>14} {:>14} {:>14}",
        "coordinates", "round", "clip (inside)", "clip (scaled)"
    );
    for length in [20_000usize, 2_000_000] {
        let values: Vec<f32> = (0..length).map(|i| ((i as f32) * 0.618).sin() * 0.01).collect();
        let mut q = vec![0i64; length];
        let start = Instant::now();
        if length < 100_000 {
            round_sparse(&values, SCALE_BITS, &mut q, &mut rng)?;
        } else {
            round_dense(&values, SCALE_BITS, &mut q, &mut rng)?;
        }
        let rounded = start.elapsed();
        let start = Instant::now();
        clip_to(&mut q, 1 << 40);
        let inside = start.elapsed();
        let start = Instant::now();
        clip_to(&mut q, 1 << SCALE_BITS);
        let scaled = start.elapsed();
        std::hint::black_box(&q);
        println!("{length:>12} {rounded:>14.2?} {inside:>14.2?} {scaled:>14.2?}");
    }
    Ok(())
}
