//! Looks for secrets in the fast sampler's time, in the manner of dudect (Reparaz, Balasch,
//! Verbauwhede 2017): blocks of prepared words of two classes in random order, and Welch's t of
//! the times of the two. |t| above 4.5 says that the classes can be told apart.
//!
//! Classes are of *inputs*: words that give one value, or one kind of verdict, beside words that
//! give another, all drawn from a generator that copies prepared words. All blocks of a comparison
//! accept equally many trials, as how many were accepted is public. The last line is a control: a
//! sampler that stops climbing at the right bucket, which the same test must find out.
//!
//! `cargo run --release -p chorale-dp --example sampler_timing`
#![allow(clippy::print_stdout)]

use std::{convert::Infallible, hint::black_box, time::Instant};

use chorale_dp::{Aes256CtrRng, FastDiscreteGaussian, Noise as _, Rational, SamplerError};
use rand_chacha::rand_core::{Rng as _, SeedableRng as _, TryCryptoRng, TryRng};

/// Trials of a block of the sampler, and its words: a head and an offset each, and a tail.
const TRIALS: usize = 256;
const WORDS: usize = 2 * TRIALS + 1;
/// Prepared blocks of both classes, in random order: so many that where a block is in memory says
/// nothing about its class.
const PREPARED: usize = 4000;
/// Blocks measured in a comparison.
const MEASUREMENTS: usize = 50 * PREPARED;
/// The largest |t| of no interest.
const THRESHOLD: f64 = 4.5;
/// σ, a power of two: σ/W = 1.
const SIGMA: u64 = 1 << 20;

/// Hands out prepared words. It is no generator and knows no secret.
struct Script {
    bytes: Vec<u8>,
    next: usize,
}

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        for chunk in target.chunks_mut(8) {
            if self.next == self.bytes.len() {
                self.next = 0;
            }
            chunk.copy_from_slice(&self.bytes[self.next..self.next + chunk.len()]);
            self.next += chunk.len();
        }
        Ok(())
    }
}

impl TryCryptoRng for Script {}

/// Makes the words of one block, all of whose trials are accepted unless it says otherwise.
type Maker = fn(&mut Aes256CtrRng, &[f64]) -> Vec<u64>;

/// A head that falls a hundredth of the bucket's height above its step: accepted at every offset of
/// the buckets used here, whose curve falls by less than a factor of e^8.
fn head(steps: &[f64], bucket: usize, sign: u64) -> u64 {
    let inside = steps[bucket] + 1e-5 * (steps[bucket + 1] - steps[bucket]);
    ((inside * 2f64.powi(63)) as u64) << 1 | sign
}

fn block(rng: &mut Aes256CtrRng, trial: impl Fn(&mut Aes256CtrRng) -> (u64, u64)) -> Vec<u64> {
    let mut words = vec![0; WORDS];
    for index in 0..TRIALS {
        (words[index], words[TRIALS + index]) = trial(rng);
    }
    words[2 * TRIALS] = rng.next_u64();
    words
}

/// The smallest magnitudes, all positive.
fn small(rng: &mut Aes256CtrRng, steps: &[f64]) -> Vec<u64> {
    block(rng, |_| (head(steps, 0, 0), 1 << 63))
}

/// Magnitudes of more than six standard deviations, of either sign.
fn huge(rng: &mut Aes256CtrRng, steps: &[f64]) -> Vec<u64> {
    block(rng, |rng| (head(steps, 6, rng.next_u64() & 1), rng.next_u64()))
}

/// Any magnitude up to seven standard deviations.
fn mixed(rng: &mut Aes256CtrRng, steps: &[f64]) -> Vec<u64> {
    block(rng, |rng| {
        let bucket = (rng.next_u64() % 7) as usize;
        (head(steps, bucket, rng.next_u64() & 1), rng.next_u64())
    })
}

/// As `mixed`, but one trial is on an edge and is settled by all bits.
fn one_unsure(rng: &mut Aes256CtrRng, steps: &[f64]) -> Vec<u64> {
    let mut words = mixed(rng, steps);
    let place = (rng.next_u64() % TRIALS as u64) as usize;
    words[place] = 0;
    words
}

/// Half of the trials are refused, in random places.
fn half_refused_small(rng: &mut Aes256CtrRng, steps: &[f64]) -> Vec<u64> {
    half_refused(rng, small(&mut rng_of(1), steps))
}

fn half_refused_huge(rng: &mut Aes256CtrRng, steps: &[f64]) -> Vec<u64> {
    let words = huge(rng, steps);
    half_refused(rng, words)
}

/// Minus zero at exactly half of the places.
fn half_refused(rng: &mut Aes256CtrRng, mut words: Vec<u64>) -> Vec<u64> {
    let mut places: Vec<usize> = (0..TRIALS).collect();
    for chosen in 0..TRIALS / 2 {
        let other = chosen + (rng.next_u64() % (TRIALS - chosen) as u64) as usize;
        places.swap(chosen, other);
        words[places[chosen]] = 1 << 40 | 1;
        words[TRIALS + places[chosen]] = 0;
    }
    words
}

fn rng_of(seed: u64) -> Aes256CtrRng {
    Aes256CtrRng::seed_from_u64(seed)
}

/// T_k for σ/W = 1.
fn steps() -> Vec<f64> {
    let weights: Vec<f64> = (0..13).map(|k| (-f64::from(k * k) / 2.0).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut steps = vec![0.0];
    for weight in weights {
        steps.push(steps[steps.len() - 1] + weight / sum);
    }
    steps
}

/// Means and variances of the times of the two classes, and of those alone that are below a limit:
/// interrupts make long times, which say nothing.
fn welch(times: &[(usize, f64)], limit: f64) -> f64 {
    let mut moments = [(0.0, 0.0, 0.0); 2];
    for &(class, time) in times.iter().filter(|(_, time)| *time <= limit) {
        let (count, mean, square) = &mut moments[class];
        *count += 1.0;
        let difference = time - *mean;
        *mean += difference / *count;
        *square += difference * (time - *mean);
    }
    let [(n0, m0, s0), (n1, m1, s1)] = moments;
    (m0 - m1) / (s0 / (n0 * (n0 - 1.0)) + s1 / (n1 * (n1 - 1.0))).sqrt()
}

/// The class of each prepared block.
fn classes() -> Vec<usize> {
    let mut rng = rng_of(2);
    (0..PREPARED).map(|_| (rng.next_u64() & 1) as usize).collect()
}

/// Measures blocks one after the other, again and again; returns the largest |t| over several
/// limits.
fn compare(classes: &[usize], mut run: impl FnMut(usize)) -> f64 {
    let mut times = Vec::with_capacity(MEASUREMENTS);
    for round in 0..MEASUREMENTS {
        let start = Instant::now();
        run(round % PREPARED);
        times.push((classes[round % PREPARED], start.elapsed().as_nanos() as f64));
    }
    // The first pass warms up.
    times.drain(..PREPARED);
    let mut sorted: Vec<f64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    [0.5, 0.8, 0.9, 0.99]
        .iter()
        .map(|quantile| sorted[(quantile * (sorted.len() - 1) as f64) as usize])
        .map(|limit| welch(&times, limit).abs())
        .fold(0.0, f64::max)
}

/// |t| of the real sampler between two kinds of blocks.
fn sampler(makers: [Maker; 2], accepted: usize) -> Result<f64, SamplerError> {
    let variance = Rational::from_integer(u128::from(SIGMA) * u128::from(SIGMA));
    let mut rng = rng_of(3);
    let (steps, order) = (steps(), classes());
    let words = order.iter().flat_map(|class| makers[*class](&mut rng, &steps));
    let bytes = words.flat_map(u64::to_le_bytes).collect();
    let mut noise = FastDiscreteGaussian::new(&variance, Script { bytes, next: 0 })?;
    // One block accepts exactly so many, and the next call begins with the next block.
    let mut total = vec![0i64; accepted];
    Ok(compare(&order, |_| noise.add_to(black_box(&mut total))))
}

/// |t| of a sampler that leaks: it climbs until it has passed the head.
fn control() -> f64 {
    let steps: Vec<u64> = steps()[1..].iter().map(|step| (step * 2f64.powi(63)) as u64).collect();
    let mut rng = rng_of(3);
    let (makers, order): ([Maker; 2], _) = ([small, huge], classes());
    let blocks: Vec<Vec<u64>> =
        order.iter().map(|class| makers[*class](&mut rng, &self::steps())).collect();
    compare(&order, |index| {
        for head in &blocks[index][..TRIALS] {
            black_box(steps.iter().position(|step| head >> 1 < *step));
        }
    })
}

fn main() -> Result<(), SamplerError> {
    println!("{:<64} {:>8}  verdict", "words of class 0 / class 1", "|t|");
    let comparisons: [(&str, [Maker; 2], usize); 5] = [
        ("any value / any value", [mixed, mixed], TRIALS),
        ("all the smallest value / all beyond 6 standard deviations", [small, huge], TRIALS),
        ("all the smallest value / any value", [small, mixed], TRIALS),
        ("any value / with one trial that 63 bits do not settle", [mixed, one_unsure], TRIALS),
        ("smallest / beyond 6, half refused", [half_refused_small, half_refused_huge], TRIALS / 2),
    ];
    let mut leaks = false;
    for (name, makers, accepted) in comparisons {
        let t = sampler(makers, accepted)?;
        leaks |= t > THRESHOLD;
        let verdict = if t > THRESHOLD { "can be told apart" } else { "not told apart" };
        println!("{name:<64} {t:>8.2}  {verdict}");
    }
    let t = control();
    let found = t > THRESHOLD;
    let verdict = if found { "found, as it must be" } else { "NOT FOUND: nothing was shown" };
    println!(
        "{:<64} {t:>8.2}  {verdict}",
        "control: a climb that stops early, smallest / beyond 6"
    );
    if leaks || !found {
        std::process::exit(1);
    }
    Ok(())
}
