//! PureSVD (Cremonesi, Koren and Turrin, RecSys 2010): the person's items projected onto the top
//! eigenvectors of the Gram matrix, which are the right singular vectors of the person-item matrix.

use ndarray::Array2;

use crate::{
    Gram, Weighting,
    linalg::{block, top_eigen},
};

use super::Scorer;

/// How many dimensions are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PureSvdOptions {
    /// Eigenvectors kept, at least 1.
    pub rank: usize,
    /// How the person's counts become weights.
    pub weighting: Weighting,
}

/// Scores by the projection x V Vᵀ.
#[derive(Clone, Debug)]
pub struct PureSvd {
    gram: Gram,
    values: Vec<f64>,
    /// Covered items x rank.
    vectors: Array2<f64>,
    weighting: Weighting,
}

impl PureSvd {
    /// Finds the top eigenvectors; those whose eigenvalue is not above zero are dropped.
    #[must_use]
    pub fn fit(gram: Gram, options: &PureSvdOptions) -> Self {
        let eigen = top_eigen(gram.matrix(), options.rank.max(1), gram.noise_edge());
        let kept = eigen.values.iter().filter(|value| **value > 0.0).count();
        Self {
            gram,
            values: eigen.values.iter().take(kept).copied().collect(),
            vectors: block(&eigen.vectors, 0..eigen.vectors.nrows(), 0..kept).to_owned(),
            weighting: options.weighting,
        }
    }

    /// The eigenvalues kept, descending.
    #[must_use]
    pub fn eigenvalues(&self) -> &[f64] {
        &self.values
    }

    /// The person's coordinates along the kept eigenvectors: an embedding.
    #[must_use]
    pub fn embed(&self, history: &[(u32, f32)]) -> Vec<f64> {
        let mut unit = Vec::new();
        self.gram.project(history, self.weighting, &mut unit);
        let mut embedding = vec![0.0; self.values.len()];
        for &(place, weight) in &unit {
            let row = self.vectors.row(place as usize);
            for (sum, value) in embedding.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        embedding
    }
}

impl Scorer for PureSvd {
    fn items(&self) -> usize {
        self.gram.catalogue_items() as usize
    }

    fn score(&self, history: &[(u32, f32)], out: &mut [f32]) {
        out.iter_mut().take(self.items()).for_each(|place| *place = 0.0);
        let embedding = self.embed(history);
        for (row, &item) in self.vectors.rows().into_iter().zip(self.gram.covered()) {
            if let Some(place) = out.get_mut(item as usize) {
                let score: f64 = row.iter().zip(&embedding).map(|(a, b)| a * b).sum();
                *place = score as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scorers::tests_support::gram_of;

    #[test]
    fn two_groups_of_items_have_two_eigenvectors() {
        // Each person of a group adds bbᵀ with b = (1,1)/√2: eigenvalues 3 and 2.
        let gram = gram_of(&[&[0, 1], &[0, 1], &[0, 1], &[2, 3], &[2, 3]], 5);
        let options = PureSvdOptions { rank: 4, weighting: Weighting::Binary };
        let svd = PureSvd::fit(gram, &options);
        assert!((svd.eigenvalues()[0] - 3.0).abs() < 1e-9);
        assert!((svd.eigenvalues()[1] - 2.0).abs() < 1e-9);
        let scores = svd.scores(&[(0, 1.0)]);
        // Half of the unit vector e0 lies in the group's direction: (1/2, 1/2, 0, 0, 0).
        for (score, expected) in scores.iter().zip([0.5, 0.5, 0.0, 0.0, 0.0]) {
            assert!((score - expected).abs() < 1e-6, "{scores:?}");
        }
    }
}
