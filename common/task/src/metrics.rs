//! Offline quality of rankings, and how sure a difference is.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// Recall@k of one person: the share of the relevant items that are among the first `k` of
/// `ranked` (with more than `k` relevant items it cannot reach 1). `None` for a person without relevant items.
/// `relevant` must be ascending.
#[must_use]
pub fn recall_at_k(ranked: &[u32], relevant: &[u32], k: usize) -> Option<f64> {
    if relevant.is_empty() {
        return None;
    }
    let hits = ranked.iter().take(k).filter(|item| relevant.binary_search(item).is_ok()).count();
    Some(hits as f64 / relevant.len() as f64)
}

/// NDCG@k of one person with binary relevance: Σ 1/log2(rank + 1) over hits among the first `k`,
/// divided by the same sum for a perfect ranking of min(k, number of relevant items) hits
/// (Järvelin and Kekäläinen, TOIS 2002). `None` for a person without relevant items.
/// `relevant` must be ascending.
#[must_use]
pub fn ndcg_at_k(ranked: &[u32], relevant: &[u32], k: usize) -> Option<f64> {
    let possible = relevant.len().min(k);
    if possible == 0 {
        return None;
    }
    let discount = |position: usize| 1.0 / ((position + 2) as f64).log2();
    let gain: f64 = ranked
        .iter()
        .take(k)
        .enumerate()
        .filter(|(_, item)| relevant.binary_search(item).is_ok())
        .map(|(position, _)| discount(position))
        .sum();
    let ideal: f64 = (0..possible).map(discount).sum();
    Some(gain / ideal)
}

/// A mean with an interval that covers it with the stated confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the interval lies wholly above zero: only then may "beats" be said.
    #[must_use]
    pub fn excludes_zero_from_above(&self) -> bool {
        self.low > 0.0
    }
}

/// Why no interval can be given. The caller is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// The two lists are not about the same persons.
    #[error("paired figures need equally long lists, got {left} and {right}")]
    Unpaired {
        /// Length of the first list.
        left: usize,
        /// Length of the second list.
        right: usize,
    },
    /// Fewer than two persons, or no resamples.
    #[error("an interval needs at least two persons and one resample")]
    TooFew,
}

/// The mean of `ours - theirs` over persons with its 95% percentile bootstrap interval (Efron
/// 1979): persons are drawn with replacement `resamples` times by a generator with the given seed.
///
/// # Errors
/// [`IntervalError`].
pub fn paired_uplift(
    ours: &[f64],
    theirs: &[f64],
    resamples: usize,
    seed: u64,
) -> Result<Interval, IntervalError> {
    if ours.len() != theirs.len() {
        return Err(IntervalError::Unpaired { left: ours.len(), right: theirs.len() });
    }
    let persons = ours.len();
    if persons < 2 || resamples == 0 {
        return Err(IntervalError::TooFew);
    }
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    let mean = differences.iter().sum::<f64>() / persons as f64;
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| {
            let sum: f64 = (0..persons).map(|_| differences[rng.random_range(0..persons)]).sum();
            sum / persons as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let quantile = |q: f64| means[((q * (resamples - 1) as f64).round()) as usize];
    Ok(Interval { mean, low: quantile(0.025), high: quantile(0.975) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hand_computed_ranking() {
        let ranked = [7, 2, 9, 4];
        let relevant = [2, 4, 5];
        assert_eq!(recall_at_k(&ranked, &relevant, 4), Some(2.0 / 3.0));
        assert_eq!(recall_at_k(&ranked, &relevant, 2), Some(1.0 / 3.0));
        let gain = 1.0 / 3f64.log2() + 1.0 / 5f64.log2();
        let ideal = 1.0 + 1.0 / 3f64.log2() + 0.5;
        assert!((ndcg_at_k(&ranked, &relevant, 4).unwrap() - gain / ideal).abs() < 1e-15);
        assert_eq!(ndcg_at_k(&[2, 4, 5], &relevant, 20), Some(1.0));
        assert_eq!(recall_at_k(&ranked, &[], 20), None);
        assert_eq!(ndcg_at_k(&ranked, &relevant, 0), None);
    }

    #[test]
    fn the_interval_covers_and_repeats() {
        let theirs: Vec<f64> = (0..400).map(|i| f64::from(i % 7) / 7.0).collect();
        let ours: Vec<f64> = theirs.iter().map(|x| x + 0.1).collect();
        let sure = paired_uplift(&ours, &theirs, 500, 1).unwrap();
        assert!((sure.mean - 0.1).abs() < 1e-12 && sure.excludes_zero_from_above());
        // Differences of ±1 with mean 0: the standard error is 1/√400 = 0.05.
        let noisy: Vec<f64> = theirs
            .iter()
            .enumerate()
            .map(|(i, x)| x + if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let unsure = paired_uplift(&noisy, &theirs, 2000, 1).unwrap();
        assert!(!unsure.excludes_zero_from_above());
        assert!((unsure.high - unsure.low - 2.0 * 1.96 * 0.05).abs() < 0.02);
        assert_eq!(unsure, paired_uplift(&noisy, &theirs, 2000, 1).unwrap());
        assert_ne!(unsure, paired_uplift(&noisy, &theirs, 2000, 2).unwrap());
        assert!(paired_uplift(&ours, &theirs[1..], 10, 1).is_err());
        assert!(paired_uplift(&ours[..1], &theirs[..1], 10, 1).is_err());
    }
}
