//! Reconstruction in spite of wrong shares.
//!
//! The shares of one secret are a codeword of a Reed–Solomon code, so up to half of the surplus
//! shares may be wrong and the secret is still unique. Gao, "A new algorithm for decoding
//! Reed–Solomon codes" (2003): with g₀ = Π(x - xᵢ) and g₁ through all points, the extended
//! Euclidean algorithm is stopped when the remainder g = u·g₀ + v·g₁ has a degree below
//! (shares + threshold)/2; then g/v is the sharing polynomial, or too many shares are wrong.
//!
//! Not in constant time, and not wiped: shares that are decoded were revealed.

use curve25519_dalek::Scalar;

use super::{ReconstructError, Share, check_points};
use crate::keys::SecretScalar;

/// What [`decode`] found.
#[derive(Debug)]
pub struct Decoded {
    /// The secret.
    pub secret: SecretScalar,
    /// Which of the shares are wrong, as positions in the order given, ascending.
    pub wrong: Vec<usize>,
}

/// The one secret that all but at most ⌊(shares - threshold)/2⌋ of `shares`, each with its point,
/// agree on, and the shares that do not; `None` when more are wrong.
///
/// Takes a time quadratic in the number of shares: milliseconds for a hundred.
///
/// # Errors
/// As [`super::reconstruct`].
pub fn decode(
    shares: &[(u64, Share)],
    threshold: usize,
) -> Result<Option<Decoded>, ReconstructError> {
    if threshold == 0 || shares.len() < threshold {
        return Err(ReconstructError::TooFew { shares: shares.len(), threshold });
    }
    check_points(shares.iter().map(|(point, _)| *point))?;
    let points: Vec<(Scalar, Scalar)> =
        shares.iter().map(|(point, share)| (Scalar::from(*point), share.0)).collect();
    let Some(polynomial) = sharing_polynomial(&points, threshold) else {
        return Ok(None);
    };
    let wrong: Vec<usize> = (0..points.len())
        .filter(|index| polynomial.at(points[*index].0) != points[*index].1)
        .collect();
    if 2 * wrong.len() > shares.len() - threshold {
        return Ok(None);
    }
    let secret = SecretScalar::from_scalar(polynomial.at(Scalar::ZERO));
    Ok(Some(Decoded { secret, wrong }))
}

fn sharing_polynomial(points: &[(Scalar, Scalar)], threshold: usize) -> Option<Polynomial> {
    let (all, through) = interpolate(points);
    let enough = |g: &Polynomial| 2 * g.0.len() > points.len() + threshold + 1;
    // Invariant: each remainder is some multiple of `all` plus its factor times `through`.
    let (mut before, mut remainder) = (all, through);
    let (mut factor_before, mut factor) = (Polynomial(Vec::new()), Polynomial(vec![Scalar::ONE]));
    while enough(&remainder) {
        let (quotient, rest) = before.divide(&remainder)?;
        let next = factor_before.minus(&quotient.times(&factor));
        (before, remainder) = (remainder, rest);
        (factor_before, factor) = (factor, next);
    }
    let (polynomial, rest) = remainder.divide(&factor)?;
    (rest.0.is_empty() && polynomial.0.len() <= threshold).then_some(polynomial)
}

/// Π(x - xᵢ), and the polynomial of lower degree through all points, by Newton's method: each
/// point adds a multiple of the product of the earlier ones.
fn interpolate(points: &[(Scalar, Scalar)]) -> (Polynomial, Polynomial) {
    let mut product = Polynomial(vec![Scalar::ONE]);
    let mut through = Polynomial(Vec::new());
    for (x, y) in points {
        let missing = (y - through.at(*x)) * product.at(*x).invert();
        through = through.minus(&product.times(&Polynomial(vec![-missing])));
        product = product.times(&Polynomial(vec![-x, Scalar::ONE]));
    }
    (product, through)
}

/// Coefficients from the lowest degree, the last one not zero.
#[derive(Clone)]
struct Polynomial(Vec<Scalar>);

impl Polynomial {
    fn trimmed(mut coefficients: Vec<Scalar>) -> Self {
        while coefficients.last() == Some(&Scalar::ZERO) {
            coefficients.pop();
        }
        Self(coefficients)
    }

    fn at(&self, x: Scalar) -> Scalar {
        self.0.iter().rev().fold(Scalar::ZERO, |value, coefficient| value * x + coefficient)
    }

    fn minus(&self, other: &Self) -> Self {
        let coefficient = |from: &Self, degree: usize| from.0.get(degree).copied();
        let difference = (0..self.0.len().max(other.0.len())).map(|degree| {
            coefficient(self, degree).unwrap_or(Scalar::ZERO)
                - coefficient(other, degree).unwrap_or(Scalar::ZERO)
        });
        Self::trimmed(difference.collect())
    }

    fn times(&self, other: &Self) -> Self {
        if self.0.is_empty() || other.0.is_empty() {
            return Self(Vec::new());
        }
        let mut product = vec![Scalar::ZERO; self.0.len() + other.0.len() - 1];
        for (i, a) in self.0.iter().enumerate() {
            for (j, b) in other.0.iter().enumerate() {
                product[i + j] += a * b;
            }
        }
        Self::trimmed(product)
    }

    /// Quotient and remainder; `None` for a divisor of zero.
    fn divide(&self, divisor: &Self) -> Option<(Self, Self)> {
        let inverse = divisor.0.last()?.invert();
        let mut rest = self.0.clone();
        let steps = (self.0.len() + 1).saturating_sub(divisor.0.len());
        let mut quotient = vec![Scalar::ZERO; steps];
        for degree in (0..steps).rev() {
            let multiple = rest[degree + divisor.0.len() - 1] * inverse;
            for (offset, coefficient) in divisor.0.iter().enumerate() {
                rest[degree + offset] -= multiple * coefficient;
            }
            quotient[degree] = multiple;
        }
        Some((Self::trimmed(quotient), Self::trimmed(rest)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    use super::*;
    use crate::shamir::split;

    fn shared(
        threshold: usize,
        points: usize,
        rng: &mut ChaCha20Rng,
    ) -> (SecretScalar, Vec<(u64, Share)>) {
        let secret = SecretScalar::random(rng);
        let points: Vec<u64> = (0..points as u64).map(|point| 3 * point + 1).collect();
        let shares = split(&secret, threshold, &points, rng).unwrap();
        (secret, points.into_iter().zip(shares).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn up_to_half_of_the_surplus_may_be_wrong_and_no_more(
            seed: u64,
            threshold in 1_usize..14,
            surplus in 0_usize..12,
            extra: bool,
            order in Just((0..25).collect::<Vec<usize>>()).prop_shuffle(),
        ) {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let count = threshold + surplus;
            let (secret, mut shares) = shared(threshold, count, &mut rng);
            let errors = surplus / 2 + usize::from(extra);
            let mut wrong: Vec<usize> =
                order.into_iter().filter(|index| *index < count).take(errors).collect();
            wrong.sort_unstable();
            for index in &wrong {
                shares[*index].1 = Share(*SecretScalar::random(&mut rng).as_scalar());
            }
            let decoded = decode(&shares, threshold).unwrap();
            if extra {
                // Never the secret with one error more than can be told.
                let found = decoded.is_some_and(|decoded| decoded.secret == secret);
                prop_assert!(!found);
            } else {
                let decoded = decoded.unwrap();
                prop_assert_eq!(decoded.secret, secret);
                prop_assert_eq!(decoded.wrong, wrong);
            }
        }
    }

    #[test]
    fn the_zero_polynomial_and_shares_that_happen_to_be_zero() {
        let zero = |point: u64| (point, Share(Scalar::ZERO));
        let mut shares: Vec<(u64, Share)> = (1..8).map(zero).collect();
        shares[2].1 = Share(Scalar::ONE);
        let decoded = decode(&shares, 3).unwrap().unwrap();
        assert_eq!(*decoded.secret.as_scalar(), Scalar::ZERO);
        assert_eq!(decoded.wrong, [2]);
    }

    #[test]
    fn bad_input_is_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (_, mut shares) = shared(3, 5, &mut rng);
        assert!(matches!(decode(&shares, 6), Err(ReconstructError::TooFew { .. })));
        assert!(matches!(decode(&shares, 0), Err(ReconstructError::TooFew { .. })));
        shares[1].0 = shares[0].0;
        assert!(matches!(decode(&shares, 3), Err(ReconstructError::Points(_))));
    }
}
