//! Offline quality of rankings and of yes-or-no forecasts, and how sure a figure is.

mod confusion;
mod interval;

pub use confusion::Confusion;
pub use interval::{Interval, IntervalError, mean, paired_uplift};

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

/// Precision@k of one person: the share of relevant items among the first `k` of `ranked` (fewer
/// ranked items count as misses). `None` for a person without relevant items, or `k` of 0.
/// `relevant` must be ascending.
#[must_use]
pub fn precision_at_k(ranked: &[u32], relevant: &[u32], k: usize) -> Option<f64> {
    (k > 0)
        .then(|| recall_at_k(ranked, relevant, k))?
        .map(|recall| recall * relevant.len() as f64 / k as f64)
}

/// HR@k of one person: 1 if any of the first `k` of `ranked` is relevant, else 0. `None` for a
/// person without relevant items. `relevant` must be ascending.
#[must_use]
pub fn hit_at_k(ranked: &[u32], relevant: &[u32], k: usize) -> Option<f64> {
    recall_at_k(ranked, relevant, k).map(|recall| f64::from(u8::from(recall > 0.0)))
}

/// Area under the ROC curve of one person: the probability that a relevant candidate scores above
/// one that is not, where equal scores count half (Mann and Whitney 1947; Hanley and McNeil 1982).
/// `scores` holds the candidates' scores and whether each is relevant; a score that is not a number
/// ranks below all others. `None` unless there are candidates of both kinds.
#[must_use]
pub fn auc(scores: &mut [(f32, bool)]) -> Option<f64> {
    let order = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
    scores.sort_unstable_by(|a, b| order(a.0).total_cmp(&order(b.0)));
    let (mut below, mut pairs) = (0.0f64, 0.0f64);
    for equal in scores.chunk_by(|a, b| order(a.0) == order(b.0)) {
        let relevant = equal.iter().filter(|(_, relevant)| *relevant).count() as f64;
        let other = equal.len() as f64 - relevant;
        pairs += relevant * (below + other / 2.0);
        below += other;
    }
    let relevant = scores.len() as f64 - below;
    (relevant > 0.0 && below > 0.0).then(|| pairs / (relevant * below))
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
    fn hand_computed_hits_and_precision() {
        let (ranked, relevant) = ([7, 2, 9, 4], [2, 4, 5]);
        assert_eq!(precision_at_k(&ranked, &relevant, 4), Some(0.5));
        assert_eq!(precision_at_k(&ranked, &relevant, 8), Some(0.25));
        assert_eq!(precision_at_k(&ranked, &relevant, 0), None);
        assert_eq!(
            (hit_at_k(&ranked, &relevant, 1), hit_at_k(&ranked, &relevant, 2)),
            (Some(0.0), Some(1.0))
        );
        assert_eq!(hit_at_k(&ranked, &[], 2), None);
    }

    #[test]
    fn hand_computed_area() {
        let area = |scores: &[(f32, bool)]| auc(&mut scores.to_vec());
        assert_eq!(area(&[(0.9, true), (0.1, false)]), Some(1.0));
        assert_eq!(area(&[(0.1, true), (0.9, false)]), Some(0.0));
        assert_eq!(area(&[(0.5, true), (0.5, false), (0.5, false)]), Some(0.5));
        // Pairs: 3 > 2, 3 > 1, 2 = 2 counts half, 2 > 1.
        assert_eq!(area(&[(3.0, true), (2.0, true), (2.0, false), (1.0, false)]), Some(3.5 / 4.0));
        assert_eq!(area(&[(f32::NAN, true), (0.0, false)]), Some(0.0));
        assert_eq!((area(&[]), area(&[(1.0, true)])), (None, None));
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
