//! The law of the fast sampler, computed from its own tables in big integers.
#![allow(clippy::unwrap_used)]

use num_bigint::{BigInt, BigUint};

use super::*;

/// The mass of each bucket, in units of 2^-107, as the alias table really gives it.
fn masses_of(law: &FastLaw) -> Vec<u128> {
    let mut masses = vec![0u128; SLOTS];
    for (index, slot) in law.slots.iter().enumerate() {
        let threshold =
            u128::from(slot.threshold_head) << 64 | u128::from(law.threshold_tails[index]);
        masses[index] += threshold;
        masses[slot.alias as usize] += (1u128 << THRESHOLD_BITS) - threshold;
    }
    masses
}

#[test]
fn the_alias_table_holds_the_masses_exactly() {
    for variance in [1, 256, 20_000, 123_456_789] {
        let variance = Rational::from_integer(variance);
        let law = FastLaw::new(&variance).unwrap();
        let expected = Weights::new(&variance, law.width_bits).bucket_masses();
        assert_eq!(masses_of(&law), expected);
        assert_eq!(expected.iter().sum::<u128>(), 1 << (SLOT_BITS + THRESHOLD_BITS));
    }
}

/// Total variation between what the tables and the acceptance rule give and N_Z(0, σ²) cut at
/// 13σ, over every single integer, with 256 bits. Width 1 and, at σ = 141, width 2.
#[test]
fn the_distance_from_the_exact_law_is_within_the_bound() {
    for (variance, width_bits) in [
        (Rational::one(), 0),
        (Rational::new(1000, 3).unwrap(), 0),
        (Rational::from_integer(16_383), 0),
        (Rational::new(40_001, 2).unwrap(), 1),
    ] {
        let law = FastLaw::new(&variance).unwrap();
        assert_eq!(law.width_bits, width_bits);
        let masses = masses_of(&law);
        let exact = Weights::new(&variance, 0).weights;
        let width = 1u64 << width_bits;
        // f'(x) in units of a trial's probability, for x and -x together; zero comes once.
        let drawn: Vec<BigUint> = (0..exact.len() as u64)
            .map(|x| {
                let (bucket, offset) = (x / width, x % width);
                let difference = u128::from(2 * bucket * width + offset) * u128::from(offset);
                let accepted = if width_bits == 0 {
                    1 << 84
                } else {
                    exp_minus(law.exponent.times(difference)) >> 43
                };
                BigUint::from(masses[bucket as usize]) * accepted * if x == 0 { 1u32 } else { 2 }
            })
            .collect();
        let target: Vec<BigUint> = exact
            .iter()
            .enumerate()
            .map(|(x, weight)| weight * if x == 0 { 1u32 } else { 2 })
            .collect();
        let (drawn_sum, target_sum): (BigUint, BigUint) = (drawn.iter().sum(), target.iter().sum());
        let twice: BigUint = drawn
            .iter()
            .zip(&target)
            .map(|(f, p)| {
                let difference = BigInt::from(f * &target_sum) - BigInt::from(p * &drawn_sum);
                difference.magnitude().clone()
            })
            .sum();
        let distance = Rational::new(twice, (drawn_sum * target_sum) << 1u32).unwrap();
        assert!(distance < Rational::power_of_half(82), "{}", distance.to_f64_up());
        // The bound is not empty either: without lazy bits it would fail.
        assert!(distance > Rational::power_of_half(120));
    }
}

#[test]
fn the_cut_is_beyond_thirteen_sigmas() {
    let variances = [
        Rational::one(),
        Rational::from_integer(256),
        Rational::from_integer(16_384),
        Rational::new(1u64 << 60, 7).unwrap(),
        Rational::from_integer(1u128 << 80),
    ];
    for variance in variances {
        let width = width_bits(&variance);
        let weights = Weights::new(&variance, width);
        let reach = BigUint::from(weights.weights.len()) << width;
        let reach_squared = Rational::from_integer(&reach * &reach);
        assert!(reach_squared >= &variance * &Rational::from_integer(169));
        assert!(weights.weights.len() <= 1664, "{}", weights.weights.len());
        if width > 0 {
            let scaled =
                Rational::new(variance.numerator().clone(), variance.denominator() << (2 * width))
                    .unwrap();
            assert!(scaled >= Rational::from_integer(4096));
            assert!(scaled < Rational::from_integer(16_384));
        }
    }
}

#[test]
fn the_integer_exponential_agrees_with_the_table_one() {
    for (n, d) in [(0u64, 1u64), (1, 2), (1, 3), (1, 1000), (203, 1000), (12_345, 1 << 40)] {
        let argument = ((BigUint::from(n) << 127u32) / d).to_u128().unwrap();
        let expected = exp_minus_table(&BigUint::from(n), &BigUint::from(d)) >> 129u32;
        let got = BigInt::from(exp_minus(argument)) - BigInt::from(expected);
        assert!(got.magnitude() < &BigUint::from(128u32), "{n}/{d}: {got}");
    }
    // exp(-1/2) to 50 digits, from tables.
    let digits: BigUint = "60653065971263342360379953499118045344191813548718".parse().unwrap();
    let ours = (exp_minus_table(&BigUint::from(1u32), &BigUint::from(2u32))
        * BigUint::from(10u32).pow(50))
        >> TABLE_BITS;
    assert_eq!(ours, digits);
}

#[test]
fn the_squeeze_never_accepts_what_the_full_test_refuses() {
    let law = FastLaw::new(&Rational::new(1_000_003, 7).unwrap()).unwrap();
    let width = 1u64 << law.width_bits;
    for bucket in 0..1664u64 {
        let squeeze = law.squeeze[bucket as usize];
        if squeeze > 0 {
            assert!(law.accept(bucket, width - 1, squeeze - 1, u64::MAX));
        }
    }
}

#[test]
fn the_wide_product_is_right() {
    for (a, b) in [(u128::MAX, u128::MAX), (1 << 127, 3), (u128::MAX - 5, 12_345), (0, 7)] {
        let (high, low) = multiply_wide(a, b);
        assert_eq!((BigUint::from(high) << 128u32) + low, BigUint::from(a) * b);
    }
}
