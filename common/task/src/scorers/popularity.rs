//! The same ranking for everybody: what sells.

use crate::{Gram, Model, ModelError, Popularity};

use super::Scorer;

/// Scores each item by its popularity, whoever asks.
#[derive(Clone, Debug)]
pub struct PopularityScorer {
    scores: Vec<f32>,
}

impl PopularityScorer {
    /// Log-probabilities from the model's tensor `popularity`.
    ///
    /// # Errors
    /// [`ModelError`] when the popularity round has not run.
    pub fn from_model(model: &Model) -> Result<Self, ModelError> {
        let probabilities = Popularity::probabilities(model)?;
        Ok(Self { scores: probabilities.iter().map(|p| p.ln() as f32).collect() })
    }

    /// From popularities of any scale; values that are not finite count as 0.
    #[must_use]
    pub fn new(popularity: &[f64]) -> Self {
        let clean = |&value: &f64| if value.is_finite() { value as f32 } else { 0.0 };
        Self { scores: popularity.iter().map(clean).collect() }
    }

    /// From the diagonal of a Gram matrix, Σ b_i²; items that it does not cover get 0.
    #[must_use]
    pub fn from_gram(gram: &Gram) -> Self {
        let mut popularity = vec![0.0; gram.catalogue_items() as usize];
        for (place, &item) in gram.covered().iter().enumerate() {
            popularity[item as usize] = gram.matrix()[[place, place]];
        }
        Self::new(&popularity)
    }
}

impl Scorer for PopularityScorer {
    fn items(&self) -> usize {
        self.scores.len()
    }

    fn score(&self, _history: &[(u32, f32)], out: &mut [f32]) {
        for (place, &score) in out.iter_mut().zip(&self.scores) {
            *place = score;
        }
    }
}
