//! What a model says about one person: a score for every item of the catalogue.
//!
//! Scorers run at the agent, on the broadcast model and the person's own history, and nothing of
//! them is ever sent. All are deterministic. Whether items that the person already has may be
//! recommended is the caller's choice: see [`top_k`].

mod blend;
mod ease;
mod item_knn;
mod local_history;
mod log_linear;
mod popularity;
mod pure_svd;

pub use blend::{Blend, BlendError, Scale};
pub use ease::{Ease, EaseError, EaseOptions};
pub use item_knn::{ItemKnn, ItemKnnOptions};
pub use local_history::{LocalHistory, Purchase, decayed};
pub use log_linear::{LogLinear, LogLinearOptions, Taste};
pub use popularity::PopularityScorer;
pub use pure_svd::{PureSvd, PureSvdOptions};

/// Scores every item of the catalogue for one person; higher is better.
pub trait Scorer: Send + Sync {
    /// Number of items in the catalogue.
    fn items(&self) -> usize;

    /// Writes one finite score for each item into `out`, which should have [`Scorer::items`]
    /// places (a longer one keeps its rest, of a shorter one only its places are written).
    /// `history` is the person's items and counts; entries outside the catalogue or without a
    /// positive finite count are ignored.
    fn score(&self, history: &[(u32, f32)], out: &mut [f32]);

    /// The scores as a vector of [`Scorer::items`] places.
    fn scores(&self, history: &[(u32, f32)]) -> Vec<f32> {
        let mut out = vec![0.0; self.items()];
        self.score(history, &mut out);
        out
    }
}

/// The `k` best items by score, best first, ties to the smaller index; items in `exclude` (in any
/// order) and scores that are not finite are left out. For new items only, exclude the person's
/// history; for all items, exclude nothing.
#[must_use]
pub fn top_k(scores: &[f32], exclude: &[u32], k: usize) -> Vec<u32> {
    let mut admitted: Vec<bool> = scores.iter().map(|score| score.is_finite()).collect();
    for &item in exclude {
        if let Some(place) = admitted.get_mut(item as usize) {
            *place = false;
        }
    }
    let mut order: Vec<u32> =
        (0..scores.len() as u32).filter(|&item| admitted[item as usize]).collect();
    let better = |a: &u32, b: &u32| {
        let (x, y) = (scores[*a as usize], scores[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    if k == 0 {
        return Vec::new();
    }
    if k < order.len() {
        order.select_nth_unstable_by(k - 1, better);
        order.truncate(k);
    }
    order.sort_unstable_by(better);
    order
}

#[cfg(test)]
pub(crate) mod tests_support {
    #![allow(clippy::unwrap_used)]
    use chorale_plan::Pseudonym;
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    use crate::{Gram, MemoryPeople, Weighting, linalg::seeded_normal};

    /// The Gram matrix of persons given by their items.
    pub(crate) fn gram_of(persons: &[&[u32]], items: u32) -> Gram {
        let persons = persons
            .iter()
            .enumerate()
            .map(|(number, own)| {
                let who = Pseudonym::from_bytes([number as u8; 32]);
                (who, own.iter().map(|&item| (item, 1.0)).collect())
            })
            .collect();
        let mut people = MemoryPeople::new(persons).unwrap();
        let covered: Vec<u32> = (0..items).collect();
        Gram::pooled(&mut people, items, &covered, Weighting::Binary)
    }

    /// The matrix with symmetric noise as a round would add it.
    pub(crate) fn with_noise(gram: Gram, std: f64, seed: u64) -> Gram {
        let side = gram.matrix().nrows();
        let raw = seeded_normal(side, side, &mut ChaCha12Rng::seed_from_u64(seed)) * std;
        let noise = Array2::from_shape_fn((side, side), |(i, j)| match i.cmp(&j) {
            std::cmp::Ordering::Equal => raw[[i, i]],
            std::cmp::Ordering::Less => raw[[i, j]] / 2f64.sqrt(),
            std::cmp::Ordering::Greater => raw[[j, i]] / 2f64.sqrt(),
        });
        Gram::from_parts(
            gram.catalogue_items(),
            gram.covered().to_vec(),
            gram.matrix() + &noise,
            std,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn best_first_without_the_excluded() {
        let scores = [0.5, 2.0, f32::NAN, 2.0, -1.0, f32::INFINITY];
        assert_eq!(top_k(&scores, &[], 3), [1, 3, 0]);
        assert_eq!(top_k(&scores, &[3, 1, 99], 9), [0, 4]);
        assert!(top_k(&scores, &[], 0).is_empty());
        assert!(top_k(&[], &[], 5).is_empty());
    }

    proptest! {
        #[test]
        fn equals_a_full_sort(
            scores in proptest::collection::vec((-3i8..3).prop_map(f32::from), 0..60),
            exclude in proptest::collection::vec(0u32..60, 0..20),
            k in 0usize..70,
        ) {
            let mut order: Vec<u32> = (0..scores.len() as u32).filter(|i| !exclude.contains(i)).collect();
            order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
            order.truncate(k);
            prop_assert_eq!(top_k(&scores, &exclude, k), order);
        }
    }
}
