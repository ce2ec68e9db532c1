//! Privacy loss distributions: the tightest ε of plans that mix mechanisms, certified from above.
//!
//! Each event becomes a distribution on a grid that is never better than the real one
//! ([`losses`]); grids are composed by FFT ([`compose`]); both directions, a person added and a
//! person removed, are computed and the larger ε counts. Unsampled Gaussians are merged before, and
//! alone they need no grid: their ε is that of [`super::gdp`]. The proof is in `docs/privacy.md`,
//! section 10.
//!
//! FFTs differ in their last digits between processors, so figures do, by some 1e-12 of δ; all of
//! them are upper bounds.

mod cells;
mod compose;
mod grid;
mod losses;
mod pair;
mod sketch;

use super::{
    bridge::{self, GaussianRelease},
    event::{Event, Mechanism},
    gdp,
};
use crate::Rational;
use grid::Search;
use pair::{Pair, Part};

/// The smallest δ that this accountant answers for.
pub const DELTA_MIN: f64 = 1e-11;
/// Above this σ, discrete Gaussian noise is accounted through the Gaussian bridge, which costs
/// less than one part in 10^7 of σ there.
const BRIDGE_SIGMA: f64 = 4096.0;
/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PldError {
    /// δ outside [1e-11, 1).
    #[error(
        "δ = {delta:e}: this accountant works with floating-point Fourier transforms and certifies \
         δ from 1e-11 to below 1 only; for a smaller δ use the accountant gdp (Gaussian noise), \
         zcdp or rdp"
    )]
    Delta {
        /// δ.
        delta: f64,
    },
    /// ε negative, infinite or no number.
    #[error("ε = {epsilon}: must be zero or a positive number")]
    Epsilon {
        /// ε.
        epsilon: f64,
    },
    /// There is nothing to account.
    #[error("the plan has no event")]
    Empty,
    /// An event of which no privacy loss distribution is known.
    #[error(
        "event {index}: a zcdp event has a cost but no privacy loss distribution: use the \
         accountant rdp or zcdp"
    )]
    NoDistribution {
        /// Which event, from 0.
        index: usize,
    },
    /// Discrete Gaussian noise that the bridge does not cover.
    #[error(
        "event {index}: discrete Gaussian noise on {dimension} coordinates is accounted through \
         the Gaussian bridge, which needs σ above 2"
    )]
    Bridge {
        /// Which event, from 0.
        index: usize,
        /// Its coordinates.
        dimension: u32,
    },
}

/// The ε at `delta` of all events together, rounded up; infinite where noise is too small for a grid
/// (losses of 10^7 and more) or errors alone exceed δ.
///
/// # Errors
/// [`PldError`].
pub fn epsilon(events: &[Event], delta: f64) -> Result<f64, PldError> {
    if !(DELTA_MIN..1.0).contains(&delta) {
        return Err(PldError::Delta { delta });
    }
    let composition = Composition::new(events)?;
    let toll = composition.toll.to_f64_up();
    let inner = delta_after(delta, toll);
    let value = if composition.parts.is_empty() {
        gdp::epsilon(composition.mu_squared.to_f64_up(), inner)
    } else {
        let parts = composition.all_parts();
        let huge = parts.iter().any(Part::is_huge);
        if huge { f64::INFINITY } else { Search::new(parts).epsilon(inner) }
    };
    Ok(epsilon_after(value, toll))
}

/// The ε at `delta` of plans of Gaussian noise alone, rounded up, for every δ in (0, 1): of
/// continuous noise exactly, of discrete noise through the bridge. `None` where another mechanism,
/// or a sampled one, is in the plan.
///
/// # Errors
/// [`PldError::Empty`], [`PldError::Bridge`].
pub(super) fn gaussian_epsilon(events: &[Event], delta: f64) -> Result<Option<f64>, PldError> {
    let gaussian = |event: &Event| match event.mechanism() {
        Mechanism::Gaussian { sampling, .. } => *sampling == 1.0,
        Mechanism::DiscreteGaussian { .. } => true,
        _ => false,
    };
    if !events.iter().all(gaussian) {
        return Ok(None);
    }
    let composition = Composition::with(events, 0.0)?;
    let toll = composition.toll.to_f64_up();
    let value = gdp::epsilon(composition.mu_squared.to_f64_up(), delta_after(delta, toll));
    Ok(Some(epsilon_after(value, toll)))
}

/// δ' with e^H·δ' <= δ: δ(1 - H), as e^H(1 - H) <= 1.
fn delta_after(delta: f64, toll: f64) -> f64 {
    match toll {
        0.0 => delta,
        toll if toll < 1.0 => (delta * (1.0 - toll).next_down()).next_down(),
        _ => 0.0,
    }
}

/// ε + 2H.
fn epsilon_after(epsilon: f64, toll: f64) -> f64 {
    if toll == 0.0 { epsilon } else { (epsilon + (2.0 * toll).next_up()).next_up() }
}

/// The δ at `epsilon` of all events together, rounded up, at most 1.
///
/// # Errors
/// [`PldError`].
pub fn delta(events: &[Event], epsilon: f64) -> Result<f64, PldError> {
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(PldError::Epsilon { epsilon });
    }
    let composition = Composition::new(events)?;
    let toll = composition.toll.to_f64_up();
    let inner = (epsilon - (2.0 * toll).next_up()).max(0.0).next_down().max(0.0);
    let value = if composition.parts.is_empty() {
        gdp::delta(inner, composition.mu_squared.to_f64_up().sqrt().next_up())
    } else {
        let parts = composition.all_parts();
        if parts.iter().any(Part::is_huge) { 1.0 } else { Search::new(parts).delta(inner) }
    };
    // What a toll above ε leaves uncovered: e^{2H} - 1 at most.
    let uncovered = if epsilon < 2.0 * toll { 4.0 * toll } else { 0.0 };
    let grown = if toll == 0.0 { value } else { value * (1.0 + 2.0 * toll) + uncovered };
    Ok(grown.next_up().min(1.0))
}

/// Events by kind: unsampled Gaussians are one.
struct Composition {
    /// μ² = Σ Δ²/σ², exactly.
    mu_squared: Rational,
    /// H of the bridge, exactly.
    toll: Rational,
    parts: Vec<Part>,
}

impl Composition {
    fn new(events: &[Event]) -> Result<Self, PldError> {
        Self::with(events, BRIDGE_SIGMA)
    }

    /// Discrete Gaussian noise above `bridge_sigma` goes over the bridge.
    fn with(events: &[Event], bridge_sigma: f64) -> Result<Self, PldError> {
        if events.is_empty() {
            return Err(PldError::Empty);
        }
        let mut all =
            Self { mu_squared: Rational::zero(), toll: Rational::zero(), parts: Vec::new() };
        for (index, event) in events.iter().enumerate() {
            match event.mechanism() {
                Mechanism::Gaussian { sigma, sensitivity, sampling } if *sampling == 1.0 => {
                    let ratio = &exact(*sensitivity) / &exact(*sigma);
                    let count = Rational::from_integer(event.count());
                    all.mu_squared = &all.mu_squared + &(&(&ratio * &ratio) * &count);
                }
                Mechanism::Gaussian { sigma, sensitivity, sampling } => {
                    let mu = (sensitivity / sigma).next_up();
                    all.push(Pair::Gaussian { mu }, *sampling, event.count());
                }
                Mechanism::Laplace { scale, sensitivity, sampling } => {
                    let reach = sensitivity / scale;
                    all.push(Pair::Laplace { reach }, *sampling, event.count());
                }
                Mechanism::DiscreteGaussian { sigma, sensitivity, dimension } => {
                    if *dimension == 1 && *sigma <= bridge_sigma {
                        all.push(Pair::discrete_gaussian(*sigma, *sensitivity), 1.0, event.count());
                    } else {
                        all.bridged(index, event, *sigma, *sensitivity, *dimension)?;
                    }
                }
                Mechanism::DiscreteLaplace { parameter, sensitivity } => {
                    let pair = Pair::discrete_laplace(*parameter, *sensitivity);
                    all.push(pair, 1.0, event.count());
                }
                Mechanism::Zcdp { .. } => return Err(PldError::NoDistribution { index }),
            }
        }
        Ok(all)
    }

    fn bridged(
        &mut self,
        index: usize,
        event: &Event,
        sigma: f64,
        sensitivity: u64,
        dimension: u32,
    ) -> Result<(), PldError> {
        let sigma = exact(sigma);
        let release = GaussianRelease {
            delta: sensitivity,
            sigma_squared: &sigma * &sigma,
            honest_min: 1,
            coordinates: dimension,
        };
        let release = std::slice::from_ref(&release);
        let not_covered = |_| PldError::Bridge { index, dimension };
        let count = Rational::from_integer(event.count());
        let mu_squared = bridge::mu_squared(release).map_err(not_covered)?;
        let toll = bridge::log_factor(release).map_err(not_covered)?;
        self.mu_squared = &self.mu_squared + &(&mu_squared * &count);
        self.toll = &self.toll + &(&toll * &count);
        Ok(())
    }

    /// Adds a part, or to the count of one that is the same.
    fn push(&mut self, pair: Pair, sampling: f64, count: u64) {
        let same = |part: &&mut Part| part.pair == pair && part.sampling == sampling;
        match self.parts.iter_mut().find(same) {
            Some(part) => part.count += count,
            None => self.parts.push(Part { pair, sampling, count }),
        }
    }

    /// The parts, the merged Gaussian among them.
    fn all_parts(mut self) -> Vec<Part> {
        if self.mu_squared.is_positive() {
            let mu = self.mu_squared.to_f64_up().sqrt().next_up();
            self.parts.push(Part { pair: Pair::Gaussian { mu }, sampling: 1.0, count: 1 });
        }
        self.parts
    }
}

/// Events hold finite numbers only.
fn exact(value: f64) -> Rational {
    Rational::from_f64_exact(value).unwrap_or(Rational::zero())
}

#[cfg(test)]
mod tests;
