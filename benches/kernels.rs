//! What an agent spends its time in, beside a reference in the same run: the fast noise sampler
//! over two generators beside the exact one, rounding and clipping beside a plain pass over the same memory.
//!
//! `cargo bench -p chorale-benches`
#![allow(missing_docs, clippy::unwrap_used)]

use std::{hint::black_box, time::Duration};

use chorale_dp::{
    Aes256CtrRng, ExactDiscreteGaussian, FastDiscreteGaussian, Noise as _, Rational, clip::clip_to,
    rounding::round_dense,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

const COORDINATES: usize = 100_000;

fn noise(c: &mut Criterion) {
    let mut group = c.benchmark_group("noise, draws");
    group.throughput(Throughput::Elements(COORDINATES as u64));
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    let variance = Rational::from_integer(65_536u64 * 65_536);
    let rng = || Aes256CtrRng::seed_from_u64(1);
    let mut total = vec![0i64; COORDINATES];
    let mut fast = FastDiscreteGaussian::new(&variance, rng()).unwrap();
    group.bench_function("fast", |b| b.iter(|| fast.add_to(black_box(&mut total))));
    let mut chacha = FastDiscreteGaussian::new(&variance, ChaCha20Rng::seed_from_u64(1)).unwrap();
    group.bench_function("fast over ChaCha20", |b| b.iter(|| chacha.add_to(black_box(&mut total))));
    let mut exact = ExactDiscreteGaussian::new(&variance, rng()).unwrap();
    group.bench_function("exact (reference)", |b| b.iter(|| exact.add_to(black_box(&mut total))));
    group.finish();
}

fn person(c: &mut Criterion) {
    let mut group = c.benchmark_group("one dense person, coordinates");
    group.throughput(Throughput::Elements(COORDINATES as u64));
    let values: Vec<f32> = (0..COORDINATES).map(|i| (i as f32).sin() / 300.0).collect();
    let mut row = vec![0i64; COORDINATES];
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for bound in [1u64 << 10, 1 << 16] {
        group.bench_with_input(BenchmarkId::new("round and clip", bound), &bound, |b, bound| {
            b.iter(|| {
                round_dense(&values, 16, &mut row, &mut rng).unwrap();
                clip_to(black_box(&mut row), *bound);
            });
        });
    }
    group.bench_function("a plain pass (reference)", |b| {
        b.iter(|| {
            for (out, value) in row.iter_mut().zip(&values) {
                *out = (*value * 65_536.0) as i64;
            }
            black_box(&mut row);
        });
    });
    group.finish();
}

criterion_group!(kernels, noise, person);
criterion_main!(kernels);
