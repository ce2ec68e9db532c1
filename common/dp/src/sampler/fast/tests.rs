//! The fast sampler against its own definition in big integers: tables, curve, verdicts, law.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use num_bigint::{BigInt, BigUint};
use num_traits::{One, ToPrimitive, Zero};
use proptest::prelude::*;
use rand_core::{SeedableRng as _, TryCryptoRng, TryRng};

use super::{
    block::{BAND, COEFFICIENTS, height, place, verdict},
    law::{
        BUCKET_MASK, BUCKETS_MAX, POSITION_BITS, TABLE_BITS, TOP, UNIFORM_BITS, binary_logarithm,
        exp_minus, ln2, weights, width_bits,
    },
    resolve::{height_full, multiply_wide, resolve},
    *,
};
use crate::Aes256CtrRng;

fn whole(value: u128) -> Rational {
    Rational::from_integer(value)
}

/// Every kind of σ²: both ends, both sides of the powers of four at which W changes, fractions.
fn variances() -> Vec<Rational> {
    let mut variances = vec![
        Rational::one(),
        Rational::new(3, 2).unwrap(),
        Rational::new(1000, 3).unwrap(),
        Rational::new(40_001, 2).unwrap(),
        Rational::new(1u64 << 60, 7).unwrap(),
    ];
    for bits in [1, 2, 4, 7, 16, 20, 39, 40] {
        variances.push(whole((1 << (2 * bits)) - 1));
        variances.push(whole(1 << (2 * bits)));
        variances.push(whole((1 << (2 * bits)) - (1 << (2 * bits - 2))));
    }
    variances
}

/// ρ(x)/S in units of 2^-256 at a position, from rationals: exp(-γ) as exp(-γ/256)^256.
fn exact_height(law: &Law, position: u64) -> BigUint {
    let width_bits = width_bits(law.variance());
    let (a, b) = (law.variance().numerator(), law.variance().denominator());
    // γ = (position·2^(b-59))²/(2σ²).
    let square = BigUint::from(position) * position;
    let numerator = (square * b.magnitude()) << (2 * width_bits);
    let denominator = a.magnitude() << (2 * POSITION_BITS + 1 + 8);
    let mut power = exp_minus(&numerator, &denominator);
    for _ in 0..8 {
        power = (&power * &power) >> TABLE_BITS;
    }
    let sum: BigUint = weights(law.variance(), width_bits).iter().sum();
    (power << TABLE_BITS) / sum
}

fn away(a: &BigUint, b: &BigUint) -> BigUint {
    (BigInt::from(a.clone()) - BigInt::from(b.clone())).magnitude().clone()
}

/// Words for `count` trials with positions in the buckets of the short staircase.
fn positions(law: &Law, count: usize) -> Vec<u64> {
    let mut rng = Aes256CtrRng::seed_from_u64(7);
    let buckets = law.steps.len() as u64 + 1;
    let mut positions = vec![0, 1, (buckets << POSITION_BITS) - 1];
    positions.extend((0..buckets).map(|bucket| bucket << POSITION_BITS));
    positions.extend((0..count).map(|_| rng.next_u64() % (buckets << POSITION_BITS)));
    positions
}

#[test]
fn the_tables_are_what_they_say() {
    for variance in variances() {
        let law = Law::new(&variance).unwrap();
        let bits = width_bits(&variance);
        let width_squared = whole(1 << (2 * bits));
        assert!(width_squared <= variance && variance < &whole(4) * &width_squared);
        let weights = weights(&variance, bits);
        assert!(weights.len() <= BUCKETS_MAX && BUCKETS_MAX <= BUCKET_MASK as usize);
        let reach = BigUint::from(weights.len()) << bits;
        let reach_squared = Rational::from_integer(&reach * &reach);
        assert!(reach_squared >= &variance * &whole(169), "cut below 13σ at {variance}");
        // The long staircase, exactly.
        let sum: BigUint = weights.iter().sum();
        let mut below = BigUint::zero();
        for (index, threshold) in law.thresholds.iter().enumerate() {
            below += weights.get(index).cloned().unwrap_or_default();
            let exact = (&below << UNIFORM_BITS) / &sum;
            assert_eq!(BigUint::from(*threshold), exact, "{variance}: T_{}", index + 1);
        }
        // The short one.
        let mut climbed = 0u64;
        for (step, threshold) in law.steps.iter().zip(&law.thresholds) {
            climbed += step.rise;
            assert_eq!(step.threshold, (threshold >> 64) as u64 / 32 * 32);
            assert_eq!(climbed & !BUCKET_MASK, step.threshold);
            assert!(step.rise > 1, "{variance}: two steps at the same height");
        }
        assert_eq!(climbed & BUCKET_MASK, law.steps.len() as u64);
        assert!((1 << 63) - law.steps.last().unwrap().threshold <= TOP);
        assert!(law.steps.len() <= 18);
    }
}

#[test]
fn logarithms_and_exponentials_to_fifty_digits() {
    let decimal = |value: BigUint| (value * BigUint::from(10u32).pow(50)) >> TABLE_BITS;
    let digits = |text: &str| -> BigUint { text.parse().unwrap() };
    assert_eq!(decimal(ln2()), digits("69314718055994530941723212145817656807550013436025"));
    let half = exp_minus(&BigUint::from(1u32), &BigUint::from(2u32));
    assert_eq!(decimal(half), digits("60653065971263342360379953499118045344191813548718"));
    // log2 3.
    let three = BigUint::from(3u32) << TABLE_BITS;
    let logarithm = binary_logarithm(&three, 200) << (TABLE_BITS - 200);
    assert_eq!(decimal(logarithm), digits("158496250072115618145373894394781650875981440769248"));
}

/// The largest absolute Bernstein coefficient of Σ a_j·f^j on [0, 1] bounds it there.
fn bernstein_bound(coefficients: &[Rational]) -> Rational {
    let degree = coefficients.len() - 1;
    let choose = |n: usize, k: usize| -> Rational {
        (0..k).fold(Rational::one(), |product, i| {
            &(&product * &whole((n - i) as u128)) / &whole((i + 1) as u128)
        })
    };
    let mut bound = Rational::zero();
    for i in 0..=degree {
        let sum = (0..=i).fold(Rational::zero(), |sum, j| {
            let weight = &choose(i, j) / &choose(degree, j);
            &sum + &(&weight * &coefficients[j])
        });
        let magnitude = if sum < Rational::zero() { &Rational::zero() - &sum } else { sum };
        bound = bound.max(magnitude);
    }
    bound
}

/// A proof by computation: the polynomial minus 24 terms of the series of 2^-f, on each of 64
/// pieces of [0, 1], in exact rationals. The rest of the series is below 2^-92.
#[test]
fn the_polynomial_is_within_24_units_of_the_exponential() {
    let unit = Rational::power_of_half(63);
    let ln2 = Rational::new(ln2(), BigUint::one() << TABLE_BITS).unwrap();
    let mut term = Rational::one();
    let difference: Vec<Rational> = (0..24usize)
        .map(|n| {
            if n > 0 {
                term = &(&term * &ln2) / &whole(n as u128);
            }
            let ours =
                COEFFICIENTS.get(n).map_or(Rational::zero(), |c| &whole(u128::from(*c)) * &unit);
            let error = (&ours - &term).round_up(200);
            if n % 2 == 0 { error } else { &Rational::zero() - &error }
        })
        .collect();
    const PIECES: u128 = 64;
    for piece in 0..PIECES {
        // Substitutes f = (piece + g)/64 by Horner's rule.
        let mut shifted: Vec<Rational> = vec![Rational::zero(); difference.len()];
        for coefficient in difference.iter().rev() {
            for j in (0..shifted.len()).rev() {
                let from_below = if j > 0 { shifted[j - 1].clone() } else { Rational::zero() };
                shifted[j] = &(&(&shifted[j] * &whole(piece)) + &from_below) / &whole(PIECES);
            }
            shifted[0] = &shifted[0] + coefficient;
        }
        let bound = &bernstein_bound(&shifted) + &Rational::power_of_half(92);
        assert!(bound < &whole(24) * &unit, "piece {piece}: {}", bound.to_f64_up() * 2f64.powi(63));
    }
}

/// 164 units for the curve of 63 bits, 128 for the curve of 127 bits: what the proof counts.
#[test]
fn both_curves_are_within_their_bounds() {
    for variance in variances() {
        let law = Law::new(&variance).unwrap();
        for position in positions(&law, 40) {
            let exact = exact_height(&law, position);
            let short = BigUint::from(height(&law, position)) << (TABLE_BITS - 63);
            let bound = BigUint::from(164u32) << (TABLE_BITS - 63);
            assert!(away(&short, &exact) < bound, "{variance} at {position}");
            let full = BigUint::from(height_full(&law, position)) << (TABLE_BITS - 127);
            let bound = BigUint::from(128u32) << (TABLE_BITS - 127);
            assert!(away(&full, &exact) < bound, "{variance} at {position}");
        }
    }
}

/// What 63 bits decide is what 127 bits decide, whatever the other 64 are: all around the curve
/// and the edges of the bucket, and everywhere else.
#[test]
fn the_hot_verdict_is_the_full_one() {
    let mut rng = Aes256CtrRng::seed_from_u64(8);
    let mut unsure_seen = 0;
    for variance in variances() {
        let law = Law::new(&variance).unwrap();
        for bucket in 0..=law.steps.len() as u64 {
            let step: u64 = law.steps[..bucket as usize].iter().map(|step| step.rise).sum();
            let base = step & !BUCKET_MASK;
            let next = law.steps.get(bucket as usize).map_or(1 << 63, |step| step.threshold);
            for _ in 0..4 {
                let offset = rng.next_u64();
                let curve = base + height(&law, place(&law, bucket, offset));
                let near = |center: u64| center.saturating_sub(400)..center.saturating_add(400);
                let heads = near(base).chain(near(curve)).chain(near(next));
                for uniform in heads.filter(|uniform| (base..next).contains(uniform)) {
                    let head = uniform << 1;
                    let (accepted, unsure) =
                        verdict(head, step, height(&law, place(&law, bucket, offset)));
                    unsure_seen += unsure;
                    if unsure == 1 {
                        assert_eq!(accepted, 0);
                        continue;
                    }
                    for tail in [0, u64::MAX] {
                        let full = resolve(&law, head, offset, tail);
                        assert_eq!(full.accepted, accepted, "{variance}, {bucket}, {uniform}");
                        assert_eq!(full.position, place(&law, bucket, offset));
                    }
                }
            }
        }
    }
    assert!(unsure_seen > 10_000);
}

/// The parts of the bound, in exact rationals, for every kind of σ²: the pairs of unsure trials,
/// the rounding of 127 bits and the cut add up to less than 2^-89.
#[test]
fn the_bound_adds_up() {
    for variance in variances() {
        let law = Law::new(&variance).unwrap();
        let bits = width_bits(&variance);
        let weights = weights(&variance, bits);
        let sum =
            Rational::new(weights.iter().sum::<BigUint>(), BigUint::one() << TABLE_BITS).unwrap();
        // A >= Σρ/(2WS) - (cut) >= √(2π)σ/(2WS) - (cut): from 25/10 < √(2π).
        let width_squared = whole(1 << (2 * bits));
        let acceptance = Rational::new(7, 10).unwrap();
        let floor = &Rational::new(25, 20).unwrap() / &sum;
        assert!(&(&floor * &floor) * &(&variance / &width_squared) > &acceptance * &acceptance);
        // Unsure: of each bucket a band of 2·256 and an edge of 32 of the 2^63 values of U.
        let buckets = law.steps.len() as u128 + 1;
        let unsure = &whole(buckets * u128::from(2 * BAND + 32)) * &Rational::power_of_half(63);
        let pairs = &whole(2 * (TRIALS as u128 - 1)) * &(&unsure * &unsure);
        let rounding = &whole(BUCKETS_MAX as u128 * 128) * &Rational::power_of_half(127);
        let total = &(&(&pairs + &rounding) / &acceptance) + &Rational::power_of_half(120);
        assert!(total < total_variation_bound(), "{variance}: {}", total.to_f64_up());
    }
}

/// Total variation between what 127 bits give and N_Z(0, σ²) cut at 13σ, over every integer.
#[test]
fn the_law_of_all_bits_is_within_its_part_of_the_bound() {
    for variance in [
        Rational::one(),
        Rational::new(399, 100).unwrap(),
        Rational::new(1000, 3).unwrap(),
        whole(16_383),
        Rational::new(40_001, 2).unwrap(),
    ] {
        let law = Law::new(&variance).unwrap();
        let bits = width_bits(&variance);
        let target: Vec<BigUint> = unit_weights(&variance, weights(&variance, bits).len() << bits);
        let (mut drawn, mut heights) = (Vec::new(), 0u32);
        for x in 0..target.len() as u64 {
            let bucket = (x >> bits) as usize;
            let lower = if bucket == 0 { 0 } else { law.thresholds[bucket - 1] };
            let upper = law.thresholds.get(bucket).copied().unwrap_or(1 << UNIFORM_BITS);
            let height = height_full(&law, x << (POSITION_BITS - bits));
            heights += u32::from(height < upper - lower);
            drawn.push(BigUint::from(height.min(upper - lower)) * if x == 0 { 1u32 } else { 2 });
        }
        let target: Vec<BigUint> =
            target.iter().enumerate().map(|(x, w)| w * if x == 0 { 1u32 } else { 2 }).collect();
        let (drawn_sum, target_sum): (BigUint, BigUint) = (drawn.iter().sum(), target.iter().sum());
        let twice: BigUint = drawn
            .iter()
            .zip(&target)
            .map(|(f, p)| away(&(f * &target_sum), &(p * &drawn_sum)))
            .sum();
        let distance = Rational::new(twice, (drawn_sum * target_sum) << 1u32).unwrap();
        assert!(distance < Rational::power_of_half(113), "{variance}: {}", distance.to_f64_up());
        // Nor is the test empty: with fewer bits it would fail, and the curve did decide.
        assert!(distance > Rational::power_of_half(135));
        assert!(bits == 0 || heights > 0);
    }
}

/// ρ(x) for x in 0..count in units of 2^-256.
fn unit_weights(variance: &Rational, count: usize) -> Vec<BigUint> {
    let (a, b) = (variance.numerator().magnitude(), variance.denominator().magnitude());
    let step = exp_minus(b, a);
    let mut ratio = exp_minus(b, &(a << 1u32));
    let mut weight = BigUint::one() << TABLE_BITS;
    (0..count)
        .map(|_| {
            let next = (&weight * &ratio) >> TABLE_BITS;
            ratio = (&ratio * &step) >> TABLE_BITS;
            std::mem::replace(&mut weight, next)
        })
        .collect()
}

/// A generator of prepared words.
struct Script(std::vec::IntoIter<u64>);

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("words are fetched in bulk")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("words are fetched in bulk")
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        for chunk in target.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next().unwrap_or(0).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Script {}

/// One trial by its definition, in 127 bits and big integers, with branches.
fn trial(law: &Law, head: u64, offset: u64, tail: u64) -> Option<i64> {
    let uniform = u128::from(head >> 1) << 64 | u128::from(tail);
    let bucket = law.thresholds.iter().filter(|threshold| **threshold <= uniform).count();
    let base = if bucket == 0 { 0 } else { law.thresholds[bucket - 1] };
    let bits = width_bits(law.variance());
    let offset = if bits == 0 { 0 } else { offset >> (64 - bits) };
    let magnitude = ((bucket as u64) << bits) + offset;
    let height = exact_height(law, magnitude << (POSITION_BITS - bits)) >> (TABLE_BITS - 127);
    let accepted = BigUint::from(uniform - base) < height;
    let negative = head & 1 == 1;
    (accepted && !(negative && magnitude == 0)).then(|| {
        let magnitude = magnitude.to_i64().unwrap();
        if negative { -magnitude } else { magnitude }
    })
}

/// What the sampler makes of one block of words.
fn one_block(variance: &Rational, words: &[u64]) -> Vec<i64> {
    let mut noise =
        FastDiscreteGaussian::new(variance, Script(Vec::from(words).into_iter())).unwrap();
    noise.refill();
    noise.block.draws()[..noise.accepted].to_vec()
}

/// A block's draws by definition. `unsure` trials are told: one takes the block's last word as
/// its tail, several are refused.
fn expected_block(law: &Law, words: &[u64], unsure: &[usize]) -> Vec<i64> {
    (0..TRIALS)
        .filter_map(|index| match unsure {
            [only] if *only == index => {
                trial(law, words[index], words[TRIALS + index], words[2 * TRIALS])
            }
            several if several.contains(&index) => None,
            // Settled by 63 bits, so any tail will do.
            _ => trial(law, words[index], words[TRIALS + index], 1 << 63),
        })
        .collect()
}

fn words(seed: u64) -> Vec<u64> {
    let mut rng = Aes256CtrRng::seed_from_u64(seed);
    (0..=2 * TRIALS).map(|_| rng.next_u64()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_block_is_its_trials_in_order(
        seed: u64, bits in 0u64..80, fraction in 0u64..1_000_000, unsure in 0usize..3,
    ) {
        let more = Rational::new(fraction, 1_000_000u64).unwrap();
        let variance = &(&Rational::one() + &more) * &whole(1 << bits);
        let law = Law::new(&variance).unwrap();
        let mut words = words(seed);
        let places: Vec<usize> =
            (0..unsure).map(|i| (seed as usize % 100) + 70 * i).collect();
        for (i, &place) in places.iter().enumerate() {
            // On the edge of a bucket, where the tail says which bucket it is.
            let edge = (law.thresholds[(seed as usize + i) % 5] >> 64) as u64;
            words[place] = edge << 1 | words[place] & 1;
        }
        prop_assert_eq!(one_block(&variance, &words), expected_block(&law, &words, &places));
    }
}

/// The tail decides on which side of an edge U is, and which integer x is with it.
#[test]
fn a_tie_with_a_step_is_settled_by_the_tail() {
    let variance = whole(1 << 40);
    let law = Law::new(&variance).unwrap();
    let mut words = words(1);
    let edge = law.thresholds[2];
    words[5] = ((edge >> 64) as u64) << 1;
    words[TRIALS + 5] = 0;
    let draws = |tail: u64| {
        let mut words = words.clone();
        words[2 * TRIALS] = tail;
        (one_block(&variance, &words), expected_block(&law, &words, &[5]))
    };
    let (above, expected) = draws(edge as u64);
    assert_eq!(above, expected);
    // At the offset 0 of bucket 3 everything is accepted; just below, bucket 2 is full to the top.
    assert!(above.contains(&(3 << 20)));
    let (below, expected) = draws(edge as u64 - 1);
    assert_eq!(below, expected);
    assert!(!below.contains(&(3 << 20)));
    assert_ne!(above, below);
}

/// The tail decides on which side of the curve U is.
#[test]
fn a_tie_with_the_curve_is_settled_by_the_tail() {
    let variance = whole(3 << 60);
    let law = Law::new(&variance).unwrap();
    let offset = 0x9e37_79b9_7f4a_7c15;
    let curve = law.thresholds[1] + height_full(&law, place(&law, 2, offset));
    let mut words = words(2);
    words[9] = ((curve >> 64) as u64) << 1;
    words[TRIALS + 9] = offset;
    let draws = |tail: u64| {
        let mut words = words.clone();
        words[2 * TRIALS] = tail;
        one_block(&variance, &words)
    };
    let x = (place(&law, 2, offset) >> law.magnitude_shift) as i64;
    assert!(draws(curve as u64 - 1).contains(&x));
    assert!(!draws(curve as u64).contains(&x));
    assert_eq!(draws(curve as u64 - 1).len(), draws(curve as u64).len() + 1);
}

/// Beyond the short staircase all 127 bits are asked, up to the cut.
#[test]
fn the_far_tail_is_reached() {
    let variance = whole(1 << 40);
    let law = Law::new(&variance).unwrap();
    let mut words = words(3);
    words[100] = u64::MAX;
    words[TRIALS + 100] = 0;
    words[2 * TRIALS] = (law.thresholds[11] & u128::from(u64::MAX)) as u64;
    let draws = one_block(&variance, &words);
    assert_eq!(draws, expected_block(&law, &words, &[100]));
    assert!(draws.contains(&-(12 << 20)));
}

#[test]
fn two_unsure_trials_of_a_block_are_both_refused() {
    let variance = whole(1 << 40);
    let law = Law::new(&variance).unwrap();
    let mut words = words(4);
    // U = 0 is under the curve everywhere, but within 32 units of an edge.
    let zeros = [3, 200];
    for zero in zeros {
        words[zero] = 0;
    }
    assert!(trial(&law, 0, words[TRIALS + 3], 0).is_some());
    assert_eq!(one_block(&variance, &words), expected_block(&law, &words, &zeros));
    words[3] = words[4];
    assert_eq!(one_block(&variance, &words), expected_block(&law, &words, &[200]));
}

#[test]
fn minus_zero_never_comes() {
    let variance = Rational::one();
    let law = Law::new(&variance).unwrap();
    // Every U is in the middle of bucket 0, where 0 is always accepted.
    let inside = (law.thresholds[0] >> 65) as u64;
    let mut words = vec![inside << 1; 2 * TRIALS + 1];
    assert_eq!(one_block(&variance, &words), vec![0; TRIALS]);
    for head in words[..TRIALS].iter_mut().skip(1) {
        *head |= 1;
    }
    assert_eq!(one_block(&variance, &words), vec![0]);
    // The same for the trial that is settled by all bits.
    words[0] = 1;
    assert_eq!(one_block(&variance, &words), Vec::<i64>::new());
    words[0] = 0;
    assert_eq!(one_block(&variance, &words), vec![0]);
}

#[test]
fn draws_do_not_depend_on_how_they_are_asked_for() {
    let variance = whole(1 << 30);
    let new = || FastDiscreteGaussian::new(&variance, Aes256CtrRng::seed_from_u64(5)).unwrap();
    let mut one_by_one = new();
    let expected: Vec<i64> = (0..3000).map(|_| one_by_one.sample()).collect();
    let mut parts = new();
    let mut total = vec![0i64; 3000];
    let mut rest = &mut total[..];
    for length in [1, 0, 700, 255, 256, 257, 3] {
        let (now, later) = rest.split_at_mut(length);
        parts.add_to(now);
        rest = later;
    }
    rest[0] = parts.sample();
    parts.add_to(&mut rest[1..]);
    assert_eq!(total, expected);
}

/// Frozen: a seed gives these draws on every machine. Noise is made again from its seed elsewhere,
/// so a change here is a change of the protocol.
#[test]
fn ten_thousand_draws_of_a_seed_are_frozen() {
    use sha2::{Digest as _, Sha256};
    for (variance, expected) in [
        (Rational::one(), "0a68a02b80a12c1b4a200d71fbd3f43b4f228208dc4914b4333b24e5296cc645"),
        (whole(256), "9766ad8364f279d3174f59465b34e0d310277aefbf4eabdc9444a29b3c4a31a9"),
        (
            Rational::new(1000, 3).unwrap(),
            "42c92a8c545eea9108c77a52dc02e0cdbb9a4273240a902d6d8697e1f964b260",
        ),
        (whole(1 << 32), "7296546024ad2d3698df15eb96ae26236e7e538d8841fe998ecbdc393c0c181d"),
        (
            Rational::new(1u64 << 60, 7).unwrap(),
            "3eef698853249a034e53d10da4021c5736c45781708e13df1bbd721854ee9568",
        ),
        (whole(1 << 80), "74eb5331df4add84377908f5e7aa93120462d9b8a6c20b44ea32855889f1933d"),
    ] {
        let seed = std::array::from_fn(|i| i as u8);
        let mut noise =
            FastDiscreteGaussian::new(&variance, Aes256CtrRng::from_seed(seed)).unwrap();
        let mut draws = vec![0i64; 10_000];
        noise.add_to(&mut draws);
        let mut digest = Sha256::new();
        for draw in draws {
            digest.update(draw.to_le_bytes());
        }
        assert_eq!(hex::encode(digest.finalize()), expected, "{variance}");
    }
}

#[test]
fn the_wide_product_is_right() {
    for (a, b) in [(u128::MAX, u128::MAX), (1 << 127, 3), (u128::MAX - 5, 12_345), (0, 7)] {
        let (high, low) = multiply_wide(a, b);
        assert_eq!((BigUint::from(high) << 128u32) + low, BigUint::from(a) * b);
    }
}
