//! The integer bound on one person's vector: this check carries the sensitivity proof.

use num_bigint::BigUint;
use num_traits::ToPrimitive;

/// Magnitudes below this are squared and summed in u128 without a thought about overflow:
/// (2^47)²·2^32 = 2^126.
const SAFE_MAGNITUDE: u64 = 1 << 47;

/// Longest vector for the same.
const SAFE_LENGTH: usize = 1 << 32;

/// Limits a vector to L2 norm at most `bound` = Δ, exactly, staying integer.
///
/// A vector with ‖q‖² <= Δ² is unchanged; else every coordinate becomes trunc(q·Δ/⌈‖q‖⌉), towards
/// zero, and Σ trunc(q·Δ/⌈‖q‖⌉)² <= Δ²·Σq²/⌈‖q‖⌉² <= Δ². For a sparse vector pass its values:
/// the coordinates left out are zero and add nothing. Any `i64` is admissible.
pub fn clip_to(q: &mut [i64], bound: u64) {
    let (largest, square) = magnitudes(q);
    if largest >= SAFE_MAGNITUDE || q.len() > SAFE_LENGTH {
        return clip_wide(q, bound);
    }
    if square <= u128::from(bound) * u128::from(bound) {
        return;
    }
    // Below 2^63: the square is at most 2^126.
    let norm = ceil_sqrt(square) as u64;
    if largest < 1 << 31 && norm < 1 << 31 {
        return scale_narrow(q, bound, norm);
    }
    // Here Δ < norm, so that Δ·2^64/norm < 2^64.
    let reciprocal = ((u128::from(bound) << 64) / u128::from(norm)) as u64;
    for x in q {
        let magnitude = scale(x.unsigned_abs(), bound, norm, reciprocal) as i64;
        *x = if *x < 0 { -magnitude } else { magnitude };
    }
}

/// As [`scale`], for magnitudes and norms below 2^31 and Δ < norm, where all products fit 64 bits
/// and several fit a register: with r = ⌊Δ·2^32/norm⌋ the product's upper half is the quotient or
/// one less.
fn scale_narrow(q: &mut [i64], bound: u64, norm: u64) {
    let reciprocal = (bound << 32) / norm;
    let low = |x: u64| u64::from(x as u32);
    let (bound, norm, reciprocal) = (low(bound), low(norm), low(reciprocal));
    for x in q {
        let negative = *x >> 63;
        let magnitude = low(((*x ^ negative) - negative) as u64);
        let quotient = low((magnitude * reciprocal) >> 32);
        // The true remainder is below 2·norm; the sign of its distance from norm tells the case.
        let over = (magnitude * bound).wrapping_sub(quotient * norm).wrapping_sub(norm);
        let scaled = (quotient + 1 - (over >> 63)) as i64;
        *x = (scaled ^ negative) - negative;
    }
}

/// ⌊magnitude·bound/norm⌋ by a multiplication: with r = ⌊bound·2^64/norm⌋ the product's upper
/// half is the quotient or one less, and the remainder tells which.
#[inline]
fn scale(magnitude: u64, bound: u64, norm: u64, reciprocal: u64) -> u64 {
    let quotient = ((u128::from(magnitude) * u128::from(reciprocal)) >> 64) as u64;
    // The true remainder is below 2·norm < 2^64, so arithmetic modulo 2^64 finds it.
    let remainder = magnitude.wrapping_mul(bound).wrapping_sub(quotient.wrapping_mul(norm));
    quotient + u64::from(remainder >= norm)
}

/// Coordinates that are looked at twice while they are in the first-level cache.
const CHUNK: usize = 1 << 11;

/// The union of the bits of all magnitudes, and Σq², which is right where that is below 2^47.
fn magnitudes(q: &[i64]) -> (u64, u128) {
    let mut union = 0;
    let mut square = 0u128;
    for part in q.chunks(CHUNK) {
        let bits = part.iter().fold(0, |union: u64, x| union | x.unsigned_abs());
        union |= bits;
        square = square.wrapping_add(sum_of_squares(part, bits));
    }
    (union, square)
}

/// Σq², given that all magnitudes have no bit outside `largest` < 2^47.
fn sum_of_squares(q: &[i64], largest: u64) -> u128 {
    let bits = 64 - largest.leading_zeros();
    if bits > 31 {
        return q.iter().fold(0, |sum: u128, x| {
            let x = u128::from(x.unsigned_abs());
            sum.wrapping_add(x.wrapping_mul(x))
        });
    }
    // Squares of 31 bits fit u64, and 2^(64-2·bits) of them too: at least 4.
    let chunk = 1usize << (64 - 2 * bits).min(20);
    q.chunks(chunk)
        .map(|part| {
            let sum: u64 = part
                .iter()
                .map(|x| {
                    let x = u64::from(x.unsigned_abs() as u32);
                    x * x
                })
                .fold(0, |sum: u64, square| sum.wrapping_add(square));
            u128::from(sum)
        })
        .sum()
}

/// The same with big integers, for magnitudes that no sane vector has.
fn clip_wide(q: &mut [i64], bound: u64) {
    let square: BigUint = q.iter().map(|x| BigUint::from(x.unsigned_abs()).pow(2)).sum();
    if square <= BigUint::from(bound).pow(2) {
        return;
    }
    let mut norm = square.sqrt();
    if norm.pow(2) < square {
        norm += 1u32;
    }
    // A norm of 2^128 would take 2^130 coordinates.
    let norm = norm.to_u128().unwrap_or(u128::MAX);
    for x in q {
        let magnitude = (u128::from(x.unsigned_abs()) * u128::from(bound) / norm) as i64;
        *x = if *x < 0 { -magnitude } else { magnitude };
    }
}

fn ceil_sqrt(value: u128) -> u128 {
    let root = value.isqrt();
    root + u128::from(root * root < value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn square(q: &[i64]) -> BigUint {
        q.iter().map(|x| BigUint::from(x.unsigned_abs()).pow(2)).sum()
    }

    /// The definition, in big integers.
    fn reference(q: &[i64], bound: u64) -> Vec<i64> {
        let mut clipped = q.to_vec();
        clip_wide(&mut clipped, bound);
        clipped
    }

    #[test]
    fn by_hand() {
        let mut inside = [3, -4];
        clip_to(&mut inside, 5);
        assert_eq!(inside, [3, -4]);
        let mut outside = [30, -40];
        clip_to(&mut outside, 5);
        assert_eq!(outside, [3, -4]);
        // ‖(5, 5)‖ = 7.07, so ⌈‖q‖⌉ = 8 and 5·5/8 = 3.1.
        let mut rounded = [5, -5];
        clip_to(&mut rounded, 5);
        assert_eq!(rounded, [3, -3]);
        let mut nothing: [i64; 0] = [];
        clip_to(&mut nothing, 0);
        let mut to_zero = [1, -1];
        clip_to(&mut to_zero, 0);
        assert_eq!(to_zero, [0, 0]);
    }

    #[test]
    fn one_above_the_bound_is_clipped_and_the_bound_itself_is_not() {
        // 3² + 4² = 25; one more unit of square must not slip through, however large.
        let k = 1i64 << 44;
        let bound = 5 * k as u64;
        let mut at = [3 * k, 4 * k, 0];
        clip_to(&mut at, bound);
        assert_eq!(at, [3 * k, 4 * k, 0]);
        let mut above = [3 * k, 4 * k, 1];
        clip_to(&mut above, bound);
        assert!(square(&above) <= BigUint::from(bound).pow(2));
        assert_ne!(above, [3 * k, 4 * k, 1]);
    }

    #[test]
    fn extremes() {
        for bound in [0, 1, 1 << 40, u64::MAX] {
            let mut q = vec![i64::MIN; 5];
            q.push(i64::MAX);
            clip_to(&mut q, bound);
            assert!(square(&q) <= BigUint::from(bound).pow(2));
            assert!(q[0] <= 0 && q[5] >= 0);
        }
    }

    fn vectors() -> impl Strategy<Value = Vec<i64>> {
        (0u32..64).prop_flat_map(|shift| {
            proptest::collection::vec(any::<i64>().prop_map(move |x| x >> shift), 0..60)
        })
    }

    proptest! {
        #[test]
        fn the_norm_never_exceeds_the_bound(q in vectors(), bound in any::<u64>(), shift in 0u32..64) {
            let bound = bound >> shift;
            let mut clipped = q.clone();
            clip_to(&mut clipped, bound);
            prop_assert!(square(&clipped) <= BigUint::from(bound).pow(2));
            prop_assert_eq!(&clipped, &reference(&q, bound));
            for (before, after) in q.iter().zip(&clipped) {
                prop_assert!(after.signum() == 0 || after.signum() == before.signum());
                prop_assert!(after.unsigned_abs() <= before.unsigned_abs());
            }
            let mut again = clipped.clone();
            clip_to(&mut again, bound);
            prop_assert_eq!(again, clipped);
        }

        /// Bounds close to the norm, where an error of one would show.
        #[test]
        fn near_the_norm(q in vectors(), slack in -3i64..4) {
            let norm = square(&q).sqrt().to_u64().unwrap_or(u64::MAX);
            let bound = norm.saturating_add_signed(slack);
            let mut clipped = q.clone();
            clip_to(&mut clipped, bound);
            prop_assert!(square(&clipped) <= BigUint::from(bound).pow(2));
            prop_assert_eq!(clipped, reference(&q, bound));
        }
    }
}
