//! Shamir's secret sharing over the scalar field of Curve25519.
//!
//! Shamir, "How to share a secret", CACM 1979. The field has the prime order
//! ℓ = 2^252 + 27742317777372353535851937790883648493. All coefficients but the secret are
//! uniform, zero included, so any `threshold - 1` shares are independent of the secret.

use std::fmt;

use curve25519_dalek::Scalar;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::keys::SecretScalar;

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
    let points: Vec<Scalar> = shares.iter().map(|(point, _)| Scalar::from(*point)).collect();

    // Lagrange at zero: Σ_i y_i Π_{j≠i} x_j/(x_j - x_i) = (Π_j x_j) Σ_i y_i / d_i with
    // d_i = x_i Π_{j≠i} (x_j - x_i), so that one inversion serves all terms. Points are public.
    let mut inverses: Vec<Scalar> = points
        .iter()
        .enumerate()
        .map(|(i, own)| {
            points
                .iter()
                .enumerate()
                .filter(|(j, _)| *j != i)
                .fold(*own, |product, (_, other)| product * (other - own))
        })
        .collect();
    Scalar::invert_batch_alloc(&mut inverses);
    let all: Scalar = points.iter().product();
    let sum: Scalar =
        shares.iter().zip(&inverses).map(|((_, share), inverse)| share.0 * inverse).sum();
    Ok(SecretScalar::from_scalar(all * sum))
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
