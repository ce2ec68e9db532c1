//! Item neighbours by cosine similarity (Sarwar et al., WWW 2001), from a Gram matrix.

use crate::{Gram, Weighting};

use super::Scorer;

/// How neighbours are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ItemKnnOptions {
    /// Neighbours kept for each item, at least 1.
    pub neighbours: usize,
    /// Added to each item's norm, so that rare and noisy items do not look similar to everything;
    /// in the matrix's units.
    pub shrinkage: f64,
    /// How the person's counts become weights.
    pub weighting: Weighting,
}

/// Scores an item by its similarity to the person's own items.
#[derive(Clone, Debug)]
pub struct ItemKnn {
    gram: Gram,
    /// For each covered item the positions of its nearest neighbours and their similarity.
    neighbours: Vec<Vec<(u32, f64)>>,
    weighting: Weighting,
}

impl ItemKnn {
    /// Finds each item's neighbours: S_ij = G_ij / (√(G_ii + s)·√(G_jj + s)) with shrinkage s;
    /// similarities that are not positive are no neighbours.
    #[must_use]
    pub fn fit(gram: Gram, options: &ItemKnnOptions) -> Self {
        let matrix = gram.matrix();
        let side = matrix.nrows();
        // Below its own noise a diagonal says nothing: such an item is treated as having that norm.
        let floor = gram.noise_std().max(1e-12);
        let scale: Vec<f64> = (0..side)
            .map(|i| 1.0 / (matrix[[i, i]].max(floor) + options.shrinkage.max(0.0)).sqrt())
            .collect();
        let neighbours = (0..side)
            .map(|i| {
                let mut row: Vec<(u32, f64)> = (0..side)
                    .filter(|&j| j != i && matrix[[i, j]] > 0.0)
                    .map(|j| (j as u32, matrix[[i, j]] * scale[i] * scale[j]))
                    .collect();
                row.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                row.truncate(options.neighbours.max(1));
                row
            })
            .collect();
        Self { gram, neighbours, weighting: options.weighting }
    }
}

impl Scorer for ItemKnn {
    fn items(&self) -> usize {
        self.gram.catalogue_items() as usize
    }

    fn score(&self, history: &[(u32, f32)], out: &mut [f32]) {
        out.iter_mut().take(self.items()).for_each(|place| *place = 0.0);
        let mut unit = Vec::new();
        self.gram.project(history, self.weighting, &mut unit);
        for &(own, weight) in &unit {
            for &(other, similarity) in &self.neighbours[own as usize] {
                let item = self.gram.covered()[other as usize] as usize;
                if let Some(place) = out.get_mut(item) {
                    *place += (weight * similarity) as f32;
                }
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
    fn cosine_of_a_hand_computed_case() {
        // Persons {0,1}, {0,1}, {2,3}: items 0 and 1 always go together.
        let gram = gram_of(&[&[0, 1], &[0, 1], &[2, 3]], 4);
        let knn = ItemKnn::fit(
            gram,
            &ItemKnnOptions { neighbours: 2, shrinkage: 0.0, weighting: Weighting::Binary },
        );
        let scores = knn.scores(&[(0, 3.0)]);
        assert!((scores[1] - 1.0).abs() < 1e-6, "{scores:?}");
        assert_eq!(&scores[2..], [0.0, 0.0]);
    }
}
