//! A weighted sum of scorers, each brought to a common scale first.

use super::Scorer;

/// How a component's scores are brought to a common scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As they are.
    Raw,
    /// Divided by the largest absolute score of the person's catalogue.
    Maximum,
    /// Divided by their sum, for scores that are not negative: a distribution over items.
    Share,
    /// exp(score) divided by its sum, for log-probabilities: a distribution over items.
    Softmax,
    /// Mean 0 and standard deviation 1 over the person's catalogue.
    Standard,
    /// As `Standard`, and where the best score lies further above the mean than so many deviations,
    /// all shrink until it does not. Of scores of which few are large the deviation shrinks with the
    /// catalogue's length, and what they weigh in a blend must not grow with it.
    Limited {
        /// Standard deviations from the mean to the best score, at most.
        deviations: u8,
    },
}

struct Component {
    scorer: Box<dyn Scorer>,
    scale: Scale,
    weight: f32,
}

/// Σ weight · scale(scores) over its components.
pub struct Blend {
    items: usize,
    components: Vec<Component>,
}

/// Why a component cannot be added. The caller is to blame.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BlendError {
    /// Another catalogue.
    #[error("a component scores {found} items, the blend {expected}")]
    Items {
        /// The component's items.
        found: usize,
        /// The blend's items.
        expected: usize,
    },
    /// The weight is not a number.
    #[error("the weight of a component must be finite, got {weight}")]
    Weight {
        /// The weight given.
        weight: f32,
    },
}

impl Blend {
    /// An empty blend over a catalogue of `items` items; it scores everything 0.
    #[must_use]
    pub fn new(items: usize) -> Self {
        Self { items, components: Vec::new() }
    }

    /// The blend with one more component.
    ///
    /// # Errors
    /// [`BlendError`] for another catalogue or a weight that is not finite.
    pub fn with(
        mut self,
        scorer: Box<dyn Scorer>,
        scale: Scale,
        weight: f32,
    ) -> Result<Self, BlendError> {
        if scorer.items() != self.items {
            return Err(BlendError::Items { found: scorer.items(), expected: self.items });
        }
        if !weight.is_finite() {
            return Err(BlendError::Weight { weight });
        }
        self.components.push(Component { scorer, scale, weight });
        Ok(self)
    }
}

impl Scorer for Blend {
    fn items(&self) -> usize {
        self.items
    }

    fn score(&self, history: &[(u32, f32)], out: &mut [f32]) {
        let inside = out.len().min(self.items);
        let out = &mut out[..inside];
        out.fill(0.0);
        for component in &self.components {
            let mut scores = component.scorer.scores(history);
            component.scale.apply(&mut scores);
            for (sum, score) in out.iter_mut().zip(&scores) {
                *sum += component.weight * score;
            }
        }
    }
}

impl Scale {
    /// Rescales one person's scores in place; scores that are all equal become 0 under
    /// [`Scale::Standard`] and [`Scale::Limited`], scores that are all 0 stay so under [`Scale::Maximum`] and
    /// [`Scale::Share`].
    pub fn apply(self, scores: &mut [f32]) {
        match self {
            Self::Raw => {}
            Self::Maximum => {
                let most = scores.iter().fold(0.0f32, |most, s| most.max(s.abs()));
                if most > 0.0 {
                    scores.iter_mut().for_each(|score| *score /= most);
                }
            }
            Self::Share => {
                let total: f32 = scores.iter().map(|score| score.max(0.0)).sum();
                if total > 0.0 {
                    scores.iter_mut().for_each(|score| *score = score.max(0.0) / total);
                }
            }
            Self::Softmax => {
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                scores.iter_mut().for_each(|score| *score = (*score - most).exp());
                let total: f32 = scores.iter().sum();
                scores.iter_mut().for_each(|score| *score /= total);
            }
            Self::Standard => {
                let count = scores.len().max(1) as f64;
                let mean = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / count;
                let square = |&s: &f32| (f64::from(s) - mean) * (f64::from(s) - mean);
                let deviation = (scores.iter().map(square).sum::<f64>() / count).sqrt();
                let factor = if deviation > 1e-12 { 1.0 / deviation } else { 0.0 };
                for score in scores {
                    *score = ((f64::from(*score) - mean) * factor) as f32;
                }
            }
            Self::Limited { deviations } => {
                Self::Standard.apply(scores);
                let best = scores.iter().copied().fold(0.0f32, f32::max);
                let limit = f32::from(deviations);
                if best > limit {
                    scores.iter_mut().for_each(|score| *score *= limit / best);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scorers::{LocalHistory, PopularityScorer};

    #[test]
    fn local_history_outweighs_popularity_where_there_is_any() {
        let popularity = PopularityScorer::new(&[4.0, 2.0, 1.0]);
        let blend = Blend::new(3)
            .with(Box::new(LocalHistory::new(3)), Scale::Maximum, 1.0)
            .unwrap()
            .with(Box::new(popularity), Scale::Maximum, 0.25)
            .unwrap();
        assert_eq!(blend.scores(&[(2, 8.0)]), [0.25, 0.125, 1.0625]);
        assert_eq!(blend.scores(&[]), [0.25, 0.125, 0.0625]);
    }

    #[test]
    fn standard_scores_have_mean_zero_and_deviation_one() {
        let mut scores = [1.0, 3.0];
        Scale::Standard.apply(&mut scores);
        assert_eq!(scores, [-1.0, 1.0]);
        let mut flat = [2.0, 2.0];
        Scale::Standard.apply(&mut flat);
        assert_eq!(flat, [0.0, 0.0]);
    }

    #[test]
    fn few_large_scores_weigh_the_same_in_every_catalogue() {
        let limited = Scale::Limited { deviations: 3 };
        // One of n is large: it lies √(n - 1) deviations above the mean.
        for items in [17, 101, 10_001] {
            let mut scores = vec![0.0; items];
            scores[5] = 0.25;
            limited.apply(&mut scores);
            assert!((scores[5] - 3.0).abs() < 1e-5, "{}", scores[5]);
            let sum: f64 = scores.iter().map(|&score| f64::from(score)).sum();
            assert!(sum.abs() < 1e-3, "{sum}");
        }
        let (mut near, mut standard) = ([1.0, 3.0, 4.0], [1.0, 3.0, 4.0]);
        limited.apply(&mut near);
        Scale::Standard.apply(&mut standard);
        assert_eq!(near, standard);
        let mut flat = [2.0, 2.0];
        limited.apply(&mut flat);
        assert_eq!(flat, [0.0, 0.0]);
    }

    #[test]
    fn shares_and_softmax_are_distributions() {
        let mut scores = [1.0, 3.0, 0.0];
        Scale::Share.apply(&mut scores);
        assert_eq!(scores, [0.25, 0.75, 0.0]);
        let mut logs = [100.0, 100.0 + 3f32.ln()];
        Scale::Softmax.apply(&mut logs);
        assert!((logs[0] - 0.25).abs() < 1e-5 && (logs[1] - 0.75).abs() < 1e-5);
        let mut none = [0.0, 0.0];
        Scale::Share.apply(&mut none);
        assert_eq!(none, [0.0, 0.0]);
    }

    #[test]
    fn another_catalogue_or_no_number_is_refused() {
        let local = || Box::new(LocalHistory::new(2));
        assert!(Blend::new(3).with(local(), Scale::Raw, 1.0).is_err());
        assert!(Blend::new(2).with(local(), Scale::Raw, f32::NAN).is_err());
    }
}
