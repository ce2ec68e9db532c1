//! Shamir's secret sharing over the scalar field of Curve25519.
//!
//! Shamir, "How to share a secret", CACM 1979. The field has the prime order
//! ℓ = 2^252 + 27742317777372353535851937790883648493. All coefficients but the secret are
//! uniform, zero included, so any `threshold - 1` shares are independent of the secret.

mod decode;
mod many;

use std::fmt;

use curve25519_dalek::Scalar;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::keys::SecretScalar;

pub use decode::{Decoded, decode};
pub use many::reconstruct_many;

/// The value of a sharing polynomial at one point: wiped when dropped, never shown.
#[derive(Clone)]
pub struct Share(Scalar);

/// 32 bytes that do not encode a scalar below the group order. Who sent them is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these 32 bytes are not the canonical encoding of a scalar")]
pub struct NotCanonical;

impl Share {
    /// The share with this canonical little-endian encoding.
    ///
    /// # Errors
    /// [`NotCanonical`] when the bytes encode a number not below the group order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, NotCanonical> {
        Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes)).map(Self).ok_or(NotCanonical)
    }

    /// The canonical little-endian encoding, to be sealed or revealed.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Share {}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(redacted)")
    }
}

/// Why a secret cannot be shared like this. The caller is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The threshold is zero or above the number of points.
    #[error("a threshold of {threshold} cannot be met with {points} shares")]
    Threshold {
        /// The threshold asked for.
        threshold: usize,
        /// Number of points given.
        points: usize,
    },
    /// The points are not usable.
    #[error("the secret cannot be shared at these points")]
    Points(#[from] PointError),
}

/// Why a secret cannot be reconstructed from these shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReconstructError {
    /// Fewer shares than the threshold, or a threshold of zero.
    #[error("{shares} shares are not enough for a threshold of {threshold}")]
    TooFew {
        /// Number of shares given.
        shares: usize,
        /// The threshold.
        threshold: usize,
    },
    /// The points are not usable.
    #[error("the secret cannot be reconstructed from these points")]
    Points(#[from] PointError),
}

/// Why a list of evaluation points is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// The share at zero is the secret itself.
    #[error("point 0 holds the secret itself and is no share")]
    Zero,
    /// Two shares at one point.
    #[error("point {point} appears twice")]
    Duplicate {
        /// The point.
        point: u64,
    },
}

/// Shares `secret` at `points`, so that any `threshold` of the shares determine it and any fewer
/// say nothing about it. The shares come in the order of the points.
///
/// # Errors
/// [`SplitError`] when the threshold is 0 or above the number of points, or when the points are
/// not distinct and non-zero.
pub fn split<R: CryptoRng + ?Sized>(
    secret: &SecretScalar,
    threshold: usize,
    points: &[u64],
    rng: &mut R,
) -> Result<Vec<Share>, SplitError> {
    if threshold == 0 || threshold > points.len() {
        return Err(SplitError::Threshold { threshold, points: points.len() });
    }
    check_points(points.iter().copied())?;
    // Lowest degree first; the vector is filled in place so that no copy stays behind.
    let mut polynomial = Zeroizing::new(Vec::with_capacity(threshold));
    polynomial.push(*secret.as_scalar());
    for _ in 1..threshold {
        polynomial.push(*SecretScalar::random(rng).as_scalar());
    }
    Ok(points
        .iter()
        .map(|point| {
            let x = Scalar::from(*point);
            Share(
                polynomial
                    .iter()
                    .rev()
                    .fold(Scalar::ZERO, |value, coefficient| value * x + coefficient),
            )
        })
        .collect())
}

/// The secret behind the first `threshold` of `shares`, each with its point.
///
/// Shamir's scheme cannot tell a wrong share: compare the result with its owner's commitment
/// ([`crate::keys::check_pairwise`], [`crate::keys::check_self`]).
///
/// # Errors
/// [`ReconstructError`] when there are fewer shares than the threshold, the threshold is 0, or
/// any of the points, also of a share that is not needed, is zero or appears twice.
pub fn reconstruct(
    shares: &[(u64, Share)],
    threshold: usize,
) -> Result<SecretScalar, ReconstructError> {
    if threshold == 0 || shares.len() < threshold {
        return Err(ReconstructError::TooFew { shares: shares.len(), threshold });
    }
    check_points(shares.iter().map(|(point, _)| *point))?;
    let shares = &shares[..threshold];
    let points: Vec<u64> = shares.iter().map(|(point, _)| *point).collect();

    // Lagrange at zero: Σ_i y_i Π_{j≠i} x_j/(x_j - x_i) = (Π_j x_j) Σ_i y_i / d_i with
    // d_i = x_i Π_{j≠i} (x_j - x_i), so that one inversion serves all terms. Points are public.
    let mut inverses: Vec<Scalar> = points
        .iter()
        .map(|own| {
            let differences = points.iter().filter(|other| *other != own);
            let below = points.iter().filter(|other| *other < own).count();
            let magnitudes = differences.map(|other| other.abs_diff(*own));
            let product = product(magnitudes.chain([*own]));
            if below % 2 == 0 { product } else { -product }
        })
        .collect();
    Scalar::invert_batch_alloc(&mut inverses);
    let all = product(points.iter().copied());
    let sum: Scalar =
        shares.iter().zip(&inverses).map(|((_, share), inverse)| share.0 * inverse).sum();
    Ok(SecretScalar::from_scalar(all * sum))
}

/// The product in the field. Points are small, so their differences are multiplied as integers
/// of up to 512 bits: one reduction then costs as much as one multiplication of scalars.
fn product(factors: impl Iterator<Item = u64>) -> Scalar {
    let (mut reduced, mut wide, mut part) = (None, Wide::from(1), 1u64);
    let mut multiply = |part| {
        wide = wide.times(part).unwrap_or_else(|| {
            let full = wide.reduce();
            reduced = Some(reduced.map_or(full, |reduced: Scalar| reduced * full));
            Wide::from(part)
        });
    };
    for factor in factors {
        part = part.checked_mul(factor).unwrap_or_else(|| {
            multiply(part);
            factor
        });
    }
    multiply(part);
    let rest = wide.reduce();
    reduced.map_or(rest, |reduced| reduced * rest)
}

/// An integer of 512 bits, least significant limb first, of which `used` limbs are not zero.
#[derive(Clone, Copy)]
struct Wide {
    limbs: [u64; 8],
    used: usize,
}

impl Wide {
    fn from(value: u64) -> Self {
        Self { limbs: [value, 0, 0, 0, 0, 0, 0, 0], used: 1 }
    }

    /// The product, unless it is longer.
    fn times(mut self, factor: u64) -> Option<Self> {
        let mut carry = 0u64;
        for limb in &mut self.limbs[..self.used] {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            (*limb, carry) = (product as u64, (product >> 64) as u64);
        }
        if carry != 0 {
            *self.limbs.get_mut(self.used)? = carry;
            self.used += 1;
        }
        Some(self)
    }

    fn reduce(self) -> Scalar {
        let mut bytes = [0; 64];
        for (bytes, limb) in bytes.as_chunks_mut().0.iter_mut().zip(self.limbs) {
            *bytes = limb.to_le_bytes();
        }
        Scalar::from_bytes_mod_order_wide(&bytes)
    }
}

fn check_points(points: impl Iterator<Item = u64>) -> Result<(), PointError> {
    let mut seen = std::collections::BTreeSet::new();
    for point in points {
        if point == 0 {
            return Err(PointError::Zero);
        }
        if !seen.insert(point) {
            return Err(PointError::Duplicate { point });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    use super::*;

    fn rng(seed: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(seed)
    }

    fn scalar(value: u64) -> SecretScalar {
        SecretScalar::from_scalar(Scalar::from(value))
    }

    #[test]
    fn a_line_by_hand() {
        // 7 + 5x at 1, 2 and 10.
        let at = |x: u64| (x, Share(Scalar::from(7 + 5 * x)));
        assert_eq!(reconstruct(&[at(10), at(1)], 2).unwrap(), scalar(7));
        assert_eq!(reconstruct(&[at(2), at(10), at(1)], 2).unwrap(), scalar(7));
    }

    #[test]
    fn a_threshold_of_one_gives_everybody_the_secret() {
        let shares = split(&scalar(9), 1, &[4, 5], &mut rng(0)).unwrap();
        assert!(shares.iter().all(|share| share.0 == Scalar::from(9u64)));
    }

    #[test]
    fn bad_points_and_thresholds_are_refused() {
        let secret = scalar(1);
        let mut rng = rng(1);
        for (threshold, points) in [(0, vec![1, 2]), (3, vec![1, 2]), (1, vec![])] {
            assert!(matches!(
                split(&secret, threshold, &points, &mut rng),
                Err(SplitError::Threshold { .. })
            ));
        }
        assert_eq!(
            split(&secret, 2, &[1, 0, 2], &mut rng),
            Err(SplitError::Points(PointError::Zero))
        );
        assert_eq!(
            split(&secret, 2, &[1, 3, 3], &mut rng),
            Err(SplitError::Points(PointError::Duplicate { point: 3 }))
        );
        let share = Share(Scalar::ONE);
        let with = |points: &[u64]| -> Vec<(u64, Share)> {
            points.iter().map(|point| (*point, share.clone())).collect()
        };
        assert_eq!(reconstruct(&with(&[0, 1]), 2), Err(ReconstructError::Points(PointError::Zero)));
        // Also where the duplicate is not among those needed.
        assert_eq!(
            reconstruct(&with(&[1, 2, 5, 5]), 2),
            Err(ReconstructError::Points(PointError::Duplicate { point: 5 }))
        );
        for (shares, threshold) in [(with(&[1]), 2), (with(&[1]), 0), (with(&[]), 0)] {
            assert!(matches!(
                reconstruct(&shares, threshold),
                Err(ReconstructError::TooFew { .. })
            ));
        }
    }

    #[test]
    fn non_canonical_shares_are_refused() {
        // The group order ℓ, little-endian; ℓ - 1 is the largest scalar.
        let mut order: [u8; 32] = [0; 32];
        order[..16].copy_from_slice(&hex::decode("edd3f55c1a631258d69cf7a2def9de14").unwrap());
        order[31] = 0x10;
        assert_eq!(Share::from_bytes(&order), Err(NotCanonical));
        assert!(SecretScalar::from_bytes(&order).is_err());
        let mut largest = order;
        largest[0] -= 1;
        assert_eq!(Share::from_bytes(&largest).unwrap().to_bytes(), largest);
        assert_eq!(Share::from_bytes(&[0xff; 32]), Err(NotCanonical));
        assert_eq!(format!("{:?}", Share(Scalar::ONE)), "Share(redacted)");
    }

    #[test]
    fn products_of_any_length_and_size_are_those_of_the_field() {
        let mut rng = rng(3);
        for length in [0, 1, 2, 7, 8, 9, 60, 200] {
            for bits in [1, 9, 16, 33, 64] {
                let factors: Vec<u64> =
                    (0..length).map(|_| rng.next_u64() >> (64 - bits) | 1).collect();
                let expected: Scalar = factors.iter().map(|factor| Scalar::from(*factor)).product();
                assert_eq!(product(factors.iter().copied()), expected, "{length} of {bits} bits");
            }
        }
        assert_eq!(product([u64::MAX; 8].into_iter()), product([u64::MAX; 8].into_iter().rev()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_threshold_of_shares_reconstructs_and_fewer_do_not(
            seed: u64,
            points in proptest::collection::hash_set(1u64..200, 2..40),
            threshold_of in 0.0f64..1.0,
        ) {
            // A hash set iterates in random order, so any subset and order is drawn.
            let points: Vec<u64> = points.into_iter().collect();
            let threshold = 2 + ((points.len() - 2) as f64 * threshold_of) as usize;
            let mut rng = rng(seed);
            let secret = SecretScalar::random(&mut rng);
            let shares = split(&secret, threshold, &points, &mut rng).unwrap();
            let mut held: Vec<(u64, Share)> = points.iter().copied().zip(shares).collect();
            prop_assert_eq!(&reconstruct(&held, threshold).unwrap(), &secret);
            held.reverse();
            prop_assert_eq!(&reconstruct(&held[..threshold], threshold).unwrap(), &secret);

            // A polynomial of lower degree through too few shares misses the secret.
            prop_assert!(reconstruct(&held[..threshold - 1], threshold).is_err());
            prop_assert_ne!(&reconstruct(&held[..threshold - 1], threshold - 1).unwrap(), &secret);

            // And every other secret is consistent with them: add a share that completes it.
            let other = SecretScalar::random(&mut rng);
            let mut with_zero: Vec<(Scalar, Scalar)> = held[..threshold - 1]
                .iter()
                .map(|(x, share)| (Scalar::from(*x), share.0))
                .collect();
            with_zero.push((Scalar::ZERO, *other.as_scalar()));
            let point = 1000u64;
            held[threshold - 1] = (point, Share(interpolate(&with_zero, Scalar::from(point))));
            prop_assert_eq!(&reconstruct(&held[..threshold], threshold).unwrap(), &other);
        }

        #[test]
        fn one_wrong_share_changes_the_secret(seed: u64, threshold in 1usize..10, which in 0usize..10) {
            let mut rng = rng(seed);
            let secret = SecretScalar::random(&mut rng);
            let points: Vec<u64> = (1..=10).collect();
            let shares = split(&secret, threshold, &points, &mut rng).unwrap();
            let mut held: Vec<(u64, Share)> = points.into_iter().zip(shares).collect();
            let which = which % threshold;
            held[which].1.0 += Scalar::ONE;
            prop_assert_ne!(reconstruct(&held, threshold).unwrap(), secret);
        }
    }

    /// Textbook Lagrange interpolation at any point, written apart from [`reconstruct`].
    fn interpolate(points: &[(Scalar, Scalar)], at: Scalar) -> Scalar {
        points
            .iter()
            .map(|(own, value)| {
                points
                    .iter()
                    .filter(|(other, _)| other != own)
                    .fold(*value, |term, (other, _)| term * (at - other) * (own - other).invert())
            })
            .sum()
    }
}
