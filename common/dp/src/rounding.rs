//! From real values to the integer lattice, one person at a time: value·2^s, rounded up or down
//! at random so that the mean is the value.
//!
//! Privacy does not rest on this step: the norm check on the rounded integers comes after it
//! ([`crate::clip`]). What is random here is drawn per person and never from the store's total.

use rand_core::CryptoRng;

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
/// magnitude at least 2^-73). Whole numbers, zero included, stay what they are and use no
/// randomness. NaN counts as 0; beyond ±[`COORDINATE_MAX`] the value saturates.
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
    let mut heads = [0u8; 4 * BLOCK];
    for (values, out) in values.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let mut used = heads.len();
        for (value, out) in values.iter().zip(out) {
            let scaled = (*value).into() * scale;
            let magnitude = scaled.abs().min(COORDINATE_MAX as f64);
            // `min` turns NaN into the maximum, so NaN is asked for by name.
            let magnitude = if scaled.is_nan() { 0.0 } else { magnitude };
            let floor = magnitude as i64;
            // Exact: both are multiples of the magnitude's last bit.
            let fraction = magnitude - floor as f64;
            let mut rounded = floor;
            if fraction > 0.0 {
                if used == heads.len() {
                    let need = 4 * values.len();
                    used = heads.len() - need;
                    rng.fill_bytes(&mut heads[used..]);
                }
                let (head, _) = heads[used..].split_first_chunk().unwrap_or((&[0; 4], &[]));
                used += 4;
                rounded += i64::from(coin(fraction, u32::from_le_bytes(*head), rng));
            }
            *out = if scaled < 0.0 { -rounded } else { rounded };
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

/// True with probability `fraction` in [0, 1), to 96 bits: `head` decides unless it ties, which it
/// does once in 2^32.
#[inline]
fn coin<R: CryptoRng + ?Sized>(fraction: f64, head: u32, rng: &mut R) -> bool {
    // Exact: a power of two, then the whole part of a number below 2^32.
    let scaled = fraction * 4_294_967_296.0;
    let threshold = scaled as u32;
    if head != threshold {
        return head < threshold;
    }
    let tail = (scaled - f64::from(threshold)) * 18_446_744_073_709_551_616.0;
    rng.next_u64() < tail as u64
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
        // f = 1/2 + 2^-40: the head 2^31 ties; then 2^-8 of all tails are below the rest.
        let fraction = 0.5 + 2f64.powi(-40);
        assert!(coin(fraction, (1 << 31) - 1, &mut Constant(None)));
        assert!(!coin(fraction, (1 << 31) + 1, &mut Constant(None)));
        assert!(coin(fraction, 1 << 31, &mut Constant(Some(0))));
        assert!(!coin(fraction, 1 << 31, &mut Constant(Some(1))));
        assert!(!coin(0.5, 1 << 31, &mut Constant(Some(0))));
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
