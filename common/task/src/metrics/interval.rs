//! How sure a mean over persons is.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// A mean with an interval that covers it with the stated confidence.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
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
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    mean(&differences, resamples, seed)
}

/// The mean over persons with its 95% percentile bootstrap interval, as [`paired_uplift`] makes it.
///
/// # Errors
/// [`IntervalError::TooFew`].
pub fn mean(values: &[f64], resamples: usize, seed: u64) -> Result<Interval, IntervalError> {
    let persons = values.len();
    if persons < 2 || resamples == 0 {
        return Err(IntervalError::TooFew);
    }
    let mean = values.iter().sum::<f64>() / persons as f64;
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| {
            let sum: f64 = (0..persons).map(|_| values[rng.random_range(0..persons)]).sum();
            sum / persons as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let quantile = |q: f64| means[((q * (resamples - 1) as f64).round()) as usize];
    Ok(Interval { mean, low: quantile(0.025), high: quantile(0.975) })
}
