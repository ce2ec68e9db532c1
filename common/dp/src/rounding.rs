//! From real values to the integer lattice, one person at a time: value·2^s, rounded up or down
//! at random so that the mean is the value.
//!
//! Privacy does not rest on this step: the norm check on the rounded integers comes after it
//! ([`crate::clip`]). What is random here is drawn per person and never from the store's total.

use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

/// Largest magnitude of a rounded coordinate. What is larger, or infinite, becomes this, with its
/// sign; the clip that follows limits it further. Its square leaves room for 2^32 coordinates.
pub const COORDINATE_MAX: i64 = (1 << 46) - 1;

/// Largest s: one real unit is at most 2^40 lattice units.
pub const SCALE_BITS_MAX: u8 = 40;

/// Why nothing was rounded. The caller is to blame; `out` is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoundingError {
    /// The slices differ in length.
    #[error("{values} values cannot fill {out} coordinates")]
    Length {
        /// Values given.
        values: usize,
        /// Coordinates expected.
        out: usize,
    },
    /// A lattice finer than 2^40.
    #[error("scale_bits is {scale_bits}, at most 40 is possible")]
    Scale {
        /// The s given.
        scale_bits: u8,
    },
}

/// Rounds `value·2^scale_bits` of every coordinate into `out`.
///
/// For f = |value·2^s| - ⌊|value·2^s|⌋ the magnitude is rounded up with probability f to within
/// 2^-96 (exactly f where f is a multiple of 2^-96, as for every value·2^s that is an `f32` of
/// magnitude at least 2^-73). Whole numbers, zero included, stay what they are; where there is
/// nothing else, no randomness is used. NaN counts as 0; beyond ±[`COORDINATE_MAX`] the value saturates.
///
/// # Errors
/// [`RoundingError`] for slices of different length or s above 40.
pub fn round_dense<T, R>(
    values: &[T],
    scale_bits: u8,
    out: &mut [i64],
    rng: &mut R,
) -> Result<(), RoundingError>
where
    T: Copy + Into<f64>,
    R: CryptoRng + ?Sized,
{
    if values.len() != out.len() {
        return Err(RoundingError::Length { values: values.len(), out: out.len() });
    }
    if scale_bits > SCALE_BITS_MAX {
        return Err(RoundingError::Scale { scale_bits });
    }
    // Exact: a power of two.
    let scale = (1u64 << scale_bits) as f64;
    let mut block = Zeroizing::new(Block::default());
    for (values, out) in values.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        if block.split(values, scale, out) {
            rng.fill_bytes(&mut block.heads.as_flattened_mut()[..4 * values.len()]);
            if block.raise(out) {
                block.settle_ties(out, rng);
            }
        }
        for (out, negative) in out.iter_mut().zip(&block.negative) {
            // -x = !x + 1 where the mask is all ones.
            *out = (*out ^ negative) - negative;
        }
    }
    Ok(())
}

/// Rounds the values of a sparse vector; the coordinates left out are zero and stay zero.
///
/// # Errors
/// As [`round_dense`].
pub fn round_sparse<T, R>(
    values: &[T],
    scale_bits: u8,
    out: &mut [i64],
    rng: &mut R,
) -> Result<(), RoundingError>
where
    T: Copy + Into<f64>,
    R: CryptoRng + ?Sized,
{
    round_dense(values, scale_bits, out, rng)
}

/// Coordinates whose random heads are drawn at once.
const BLOCK: usize = 256;

/// 2^52: below it, adding and subtracting it rounds a double to a whole number, and the sum's low
/// bits are that number.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// What is known of each coordinate of a block, in loops without branches, which the compiler
/// turns into vector instructions.
#[derive(Zeroize)]
struct Block {
    /// The fraction times 2^32: it is rounded up where a uniform real in [0, 2^32) is below.
    thresholds: [f64; BLOCK],
    /// The first 32 bits of that real.
    heads: [[u8; 4]; BLOCK],
    /// All ones for a negative coordinate.
    negative: [i64; BLOCK],
}

impl Default for Block {
    fn default() -> Self {
        Self { thresholds: [0.0; BLOCK], heads: [[0; 4]; BLOCK], negative: [0; BLOCK] }
    }
}

impl Block {
    /// Puts the floors of the magnitudes into `out`; whether any has a fraction.
    fn split<T: Copy + Into<f64>>(&mut self, values: &[T], scale: f64, out: &mut [i64]) -> bool {
        let mut fractions = 0;
        let about = self.thresholds.iter_mut().zip(&mut self.negative);
        for ((value, out), (threshold, negative)) in values.iter().zip(out).zip(about) {
            let scaled = (*value).into() * scale;
            *negative = (scaled.to_bits() as i64) >> 63;
            let magnitude = scaled.abs();
            let most = COORDINATE_MAX as f64;
            // Not below the maximum are larger ones, infinity and NaN, which counts as zero.
            let magnitude = if magnitude < most { magnitude } else { most };
            let magnitude = if scaled.is_nan() { 0.0 } else { magnitude };
            let nearest = (magnitude + WHOLE) - WHOLE;
            let floor = nearest - if nearest > magnitude { 1.0 } else { 0.0 };
            // Exact: both are multiples of the magnitude's last bit.
            let fraction = magnitude - floor;
            fractions |= fraction.to_bits();
            *threshold = fraction * 4_294_967_296.0;
            *out = ((floor + WHOLE).to_bits() & (WHOLE as u64 - 1)) as i64;
        }
        fractions != 0
    }

    /// Adds one where the head is below the threshold; whether a head ties with one, which one
    /// does in 2^32. Where the heads' real is within a unit below, 64 bits more decide.
    fn raise(&self, out: &mut [i64]) -> bool {
        let mut ties = false;
        for ((out, head), threshold) in out.iter_mut().zip(&self.heads).zip(&self.thresholds) {
            let gap = threshold - f64::from(u32::from_le_bytes(*head));
            *out += i64::from(gap > 0.0);
            ties |= (gap > 0.0) & (gap < 1.0);
        }
        ties
    }

    /// Takes the one off again where 64 bits after a head that ties are not below what is left of
    /// the threshold.
    fn settle_ties<R: CryptoRng + ?Sized>(&self, out: &mut [i64], rng: &mut R) {
        for ((out, head), threshold) in out.iter_mut().zip(&self.heads).zip(&self.thresholds) {
            // Exact: the whole part of a number below 2^32 is taken off.
            let gap = threshold - f64::from(u32::from_le_bytes(*head));
            if gap > 0.0 && gap < 1.0 {
                let tail = (gap * 18_446_744_073_709_551_616.0) as u64;
                *out -= i64::from(rng.next_u64() >= tail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;

    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use rand_core::{TryCryptoRng, TryRng};

    use super::*;

    /// A source that must not be asked, or says always the same.
    struct Constant(Option<u8>);
    impl TryRng for Constant {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(u32::from_le_bytes([self.0.unwrap(); 4]))
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(u64::from_le_bytes([self.0.unwrap(); 8]))
        }
        fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
            dst.fill(self.0.unwrap());
            Ok(())
        }
    }
    impl TryCryptoRng for Constant {}

    fn round(values: &[f64], scale_bits: u8, rng: &mut impl CryptoRng) -> Vec<i64> {
        let mut out = vec![99; values.len()];
        round_dense(values, scale_bits, &mut out, rng).unwrap();
        out
    }

    #[test]
    fn whole_numbers_use_no_randomness() {
        let values = [0.0, -0.0, 1.0, -3.0, 0.25, -0.75, f64::NAN, f64::INFINITY];
        let expected = [0, 0, 4, -12, 1, -3, 0, COORDINATE_MAX];
        assert_eq!(round(&values, 2, &mut Constant(None)), expected);
    }

    #[test]
    fn infinities_and_giants_saturate() {
        let giant = [f64::NEG_INFINITY, f64::MAX, -1e300, 1e13];
        let expected = [-COORDINATE_MAX, COORDINATE_MAX, -COORDINATE_MAX, COORDINATE_MAX];
        assert_eq!(round(&giant, 40, &mut Constant(None)), expected);
        assert_eq!(round(&[f64::MIN_POSITIVE, -5e-324], 0, &mut Constant(Some(1))), [0, 0]);
    }

    #[test]
    fn a_tie_is_settled_by_the_tail() {
        // Heads are 0x01010101 and tails 0x0101010101010101, just above 2^56.
        let ones = &mut Constant(Some(1));
        let fraction = |head: f64| head / 2f64.powi(32);
        let head = f64::from(0x0101_0101u32);
        assert_eq!(round(&[fraction(head - 1.0), fraction(head)], 0, ones), [0, 0]);
        assert_eq!(round(&[fraction(head + 1.0), -fraction(head + 1.0)], 0, ones), [1, -1]);
        assert_eq!(round(&[fraction(head + 2f64.powi(-8))], 0, ones), [0]);
        assert_eq!(round(&[fraction(head + 2f64.powi(-7)), 0.0], 0, ones), [1, 0]);
        // Zeros lie below every fraction, and fractions tie with them too.
        let zeros = &mut Constant(Some(0));
        assert_eq!(round(&[0.5, 2f64.powi(-40), 2f64.powi(-97), 0.0], 0, zeros), [1, 1, 0, 0]);
    }

    #[test]
    fn lengths_and_scales_are_checked() {
        let mut out = [7; 2];
        let rng = &mut Constant(None);
        let short = round_dense(&[1f32], 3, &mut out, rng);
        assert_eq!(short, Err(RoundingError::Length { values: 1, out: 2 }));
        let fine = round_sparse(&[1f32, 2.0], 41, &mut out, rng);
        assert_eq!(fine, Err(RoundingError::Scale { scale_bits: 41 }));
        assert_eq!(out, [7; 2]);
    }

    #[test]
    fn the_mean_is_the_value() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let n = 1_000_000;
        for value in [0.1f32, -0.1, 0.5, 2.999, -7.25, 1e-3, -123.456] {
            let mut out = vec![0; n];
            round_dense(&vec![value; n], 1, &mut out, &mut rng).unwrap();
            let exact = f64::from(value) * 2.0;
            assert!(out.iter().all(|x| (*x as f64 - exact).abs() < 1.0));
            let mean = out.iter().sum::<i64>() as f64 / n as f64;
            let fraction = exact.abs().fract();
            let error = 5.0 * (fraction * (1.0 - fraction) / n as f64).sqrt() + 1e-12;
            assert!((mean - exact).abs() <= error, "{value}: {mean}");
        }
    }

    #[test]
    fn coordinates_are_rounded_independently() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let n = 400_000;
        let out = round(&vec![0.5; n], 0, &mut rng);
        // Neighbours, and places one block apart, agree half of the time.
        for lag in [1, 2, BLOCK] {
            let same = out.iter().zip(&out[lag..]).filter(|(a, b)| a == b).count() as f64;
            let pairs = (n - lag) as f64;
            assert!((same - pairs / 2.0).abs() < 5.0 * (pairs / 4.0).sqrt(), "lag {lag}");
        }
    }

    proptest! {
        #[test]
        fn always_a_neighbour(values in proptest::collection::vec(any::<f32>(), 0..600),
                              scale_bits in 0u8..=40, seed in any::<u64>()) {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let mut out = vec![0; values.len()];
            round_dense(&values, scale_bits, &mut out, &mut rng).unwrap();
            for (value, q) in values.iter().zip(out) {
                prop_assert!(q.abs() <= COORDINATE_MAX);
                let exact = f64::from(*value) * 2f64.powi(scale_bits.into());
                if exact.abs() <= COORDINATE_MAX as f64 {
                    prop_assert!(q as f64 == exact.floor() || q as f64 == exact.ceil());
                } else if !value.is_nan() {
                    prop_assert_eq!(q, COORDINATE_MAX * exact.signum() as i64);
                } else {
                    prop_assert_eq!(q, 0);
                }
            }
        }
    }
}
