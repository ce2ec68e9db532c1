//! EASE (Steck, *Embarrassingly Shallow Autoencoders for Sparse Data*, WWW 2019): the item-item
//! weights B with zero diagonal that best reproduce each person's items, in closed form:
//! P = (G + λI)⁻¹, B_ij = -P_ij / P_jj.

use ndarray::Array2;

use crate::{Gram, Weighting, linalg::invert_positive_definite};

use super::Scorer;

/// How strongly the weights are pulled towards zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EaseOptions {
    /// λ > 0 in the matrix's units, where every person adds trace 1.
    pub lambda: f64,
    /// How the person's counts become weights.
    pub weighting: Weighting,
}

/// Scores by the person's items times the item-item weights.
#[derive(Clone, Debug)]
pub struct Ease {
    gram: Gram,
    weights: Array2<f64>,
    lambda: f64,
    weighting: Weighting,
}

/// Why no weights could be computed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum EaseError {
    /// λ is not a positive number.
    #[error("EASE needs a positive regularisation, got {lambda}")]
    Lambda {
        /// The λ given.
        lambda: f64,
    },
    /// No admissible λ makes the matrix positive definite.
    #[error("the Gram matrix is not positive definite even with a regularisation of {lambda}")]
    Indefinite {
        /// The largest λ tried.
        lambda: f64,
    },
}

/// How often λ is doubled before giving up.
const ATTEMPTS: u32 = 8;

impl Ease {
    /// Computes the weights. Noise can make eigenvalues as low as minus
    /// [`Gram::noise_edge`]: where `lambda` does not outweigh that, it is raised to the edge and
    /// then doubled until the matrix is positive definite; [`Ease::lambda`] says what was used.
    ///
    /// # Errors
    /// [`EaseError`].
    pub fn fit(gram: Gram, options: &EaseOptions) -> Result<Self, EaseError> {
        let mut lambda = options.lambda;
        if !(lambda > 0.0 && lambda.is_finite()) {
            return Err(EaseError::Lambda { lambda });
        }
        for _ in 0..ATTEMPTS {
            let mut regular = gram.matrix().clone();
            regular.diag_mut().mapv_inplace(|value| value + lambda);
            if let Ok(inverse) = invert_positive_definite(regular) {
                return Ok(Self {
                    weights: weights_of(inverse),
                    gram,
                    lambda,
                    weighting: options.weighting,
                });
            }
            lambda = (2.0 * lambda).max(gram.noise_edge());
        }
        Err(EaseError::Indefinite { lambda })
    }

    /// The regularisation used: the one asked for, or a larger one where noise required it.
    #[must_use]
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// The item-item weights over the covered items; zero diagonal.
    #[must_use]
    pub fn weights(&self) -> &Array2<f64> {
        &self.weights
    }
}

impl Scorer for Ease {
    fn items(&self) -> usize {
        self.gram.catalogue_items() as usize
    }

    fn score(&self, history: &[(u32, f32)], out: &mut [f32]) {
        out.iter_mut().take(self.items()).for_each(|place| *place = 0.0);
        let mut unit = Vec::new();
        self.gram.project(history, self.weighting, &mut unit);
        let mut sums = vec![0.0; self.gram.covered().len()];
        for &(own, weight) in &unit {
            for (sum, value) in sums.iter_mut().zip(self.weights.row(own as usize)) {
                *sum += weight * value;
            }
        }
        for (&item, &sum) in self.gram.covered().iter().zip(&sums) {
            if let Some(place) = out.get_mut(item as usize) {
                *place = sum as f32;
            }
        }
    }
}

/// B = I - P diag(1/diag P), with an exactly zero diagonal.
fn weights_of(mut inverse: Array2<f64>) -> Array2<f64> {
    let scale = inverse.diag().mapv(|value| -1.0 / value);
    for mut row in inverse.rows_mut() {
        row *= &scale;
    }
    inverse.diag_mut().fill(0.0);
    inverse
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scorers::tests_support::{gram_of, with_noise};

    const OPTIONS: EaseOptions = EaseOptions { lambda: 0.3, weighting: Weighting::Binary };

    /// The inverse by Gauss-Jordan elimination, which shares nothing with the one under test.
    fn brute_force_inverse(a: &Array2<f64>) -> Array2<f64> {
        let n = a.nrows();
        let mut left = a.clone();
        let mut right = Array2::<f64>::eye(n);
        for column in 0..n {
            let pivot = left[[column, column]];
            for j in 0..n {
                left[[column, j]] /= pivot;
                right[[column, j]] /= pivot;
            }
            for i in (0..n).filter(|&i| i != column) {
                let factor = left[[i, column]];
                for j in 0..n {
                    left[[i, j]] -= factor * left[[column, j]];
                    right[[i, j]] -= factor * right[[column, j]];
                }
            }
        }
        right
    }

    #[test]
    fn weights_equal_the_brute_force_ones() {
        let gram = gram_of(&[&[0, 1, 2], &[0, 2], &[3, 4], &[1, 3, 4, 5]], 6);
        let regular = gram.matrix() + &(Array2::<f64>::eye(6) * OPTIONS.lambda);
        let p = brute_force_inverse(&regular);
        let ease = Ease::fit(gram, &OPTIONS).unwrap();
        for i in 0..6 {
            for j in 0..6 {
                let expected = if i == j { 0.0 } else { -p[[i, j]] / p[[j, j]] };
                assert!((ease.weights()[[i, j]] - expected).abs() < 1e-12);
            }
        }
        let scores = ease.scores(&[(3, 2.0)]);
        assert!(scores[4] > scores[0], "{scores:?}");
    }

    #[test]
    fn noise_raises_the_regularisation_until_the_matrix_is_definite() {
        let gram = with_noise(gram_of(&[&[0, 1], &[2, 3]], 40), 2.0, 7);
        let ease = Ease::fit(gram, &OPTIONS).unwrap();
        assert!(ease.lambda() > OPTIONS.lambda);
        assert!(ease.scores(&[(0, 1.0)]).iter().all(|s| s.is_finite()));
    }

    #[test]
    fn a_bad_lambda_is_refused() {
        for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let options = EaseOptions { lambda, ..OPTIONS };
            let refused = Ease::fit(gram_of(&[&[0]], 2), &options);
            assert!(matches!(refused, Err(EaseError::Lambda { .. })));
        }
    }
}
