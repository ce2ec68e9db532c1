//! One question, four accountants: ε of a plan, the noise that meets an ε, the rounds that fit.
//!
//! | accountant | holds for | answers for |
//! |---|---|---|
//! | `pld` | rounds fixed in advance | all but `zcdp` events; δ from 1e-11 |
//! | `rdp` | rounds fixed in advance | all |
//! | `gdp` | rounds fixed in advance | unsampled Gaussian noise, continuous and discrete |
//! | `zcdp` | rounds chosen adaptively under a cap | all but sampled mechanisms |
//!
//! What a search returns was evaluated itself: noise never misses its target, rounds never exceed
//! their budget.

use serde::{Deserialize, Serialize};

use super::{
    event::{Event, Mechanism},
    guess, pld, rdp, zcdp,
};
use crate::{Rational, Rho};

/// Which accountant is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accountant {
    /// Privacy loss distributions: tight, for mixtures.
    Pld,
    /// Rényi privacy, for mixtures.
    Rdp,
    /// The exact Gaussian curve.
    Gdp,
    /// Zero-concentrated privacy: what ledgers add up.
    Zcdp,
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FigureError {
    /// δ outside (0, 1).
    #[error("δ = {delta}: must be above 0 and below 1, for example 1e-5")]
    Delta {
        /// δ.
        delta: f64,
    },
    /// ε not positive, infinite or no number.
    #[error("ε = {epsilon}: must be a positive number")]
    Epsilon {
        /// ε.
        epsilon: f64,
    },
    /// There is nothing to account.
    #[error("the plan has no event: name at least one")]
    Empty,
    /// This accountant does not cover an event.
    #[error("event {index}: {why}")]
    NotCovered {
        /// Which event, from 0.
        index: usize,
        /// What to use instead.
        why: &'static str,
    },
    /// The PLD accountant has no answer.
    #[error(transparent)]
    Pld(#[from] pld::PldError),
    /// No noise meets the target.
    #[error(
        "no noise up to {factor:e} times that of the plan comes to ε = {epsilon}: raise ε or δ, or \
         run fewer rounds"
    )]
    NotFound {
        /// The target.
        epsilon: f64,
        /// The largest factor tried.
        factor: f64,
    },
}

/// A plan with the noise that a calibration found.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// What the plan's noise is multiplied by.
    pub factor: f64,
    /// The plan with that noise.
    pub events: Vec<Event>,
    /// Its ε, at most the target.
    pub epsilon: f64,
}

/// How many rounds fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Rounds.
    pub rounds: u64,
    /// ε after them, at most the budget's.
    pub epsilon: f64,
    /// Whether the search ended before the budget did.
    pub at_least: bool,
}

/// Most rounds that [`rounds_that_fit`] looks for.
pub const ROUNDS_MAX: u64 = 1_000_000;
/// Largest factor of noise, and the inverse of the smallest.
const FACTOR_MAX: f64 = 1e9;

/// The ε at `delta` of all events together by this accountant, rounded up.
///
/// # Errors
/// [`FigureError`] where the accountant does not cover the plan or δ.
pub fn epsilon(accountant: Accountant, events: &[Event], delta: f64) -> Result<f64, FigureError> {
    if !(delta > 0.0 && delta < 1.0) {
        return Err(FigureError::Delta { delta });
    }
    if events.is_empty() {
        return Err(FigureError::Empty);
    }
    match accountant {
        Accountant::Pld => Ok(pld::epsilon(events, delta)?),
        Accountant::Rdp => Ok(rdp::epsilon(events, delta).epsilon),
        Accountant::Zcdp => Ok(zcdp::epsilon(&rho(events)?, delta)),
        Accountant::Gdp => pld::gaussian_epsilon(events, delta)?.ok_or_else(|| {
            let plain = |event: &Event| match event.mechanism() {
                Mechanism::Gaussian { sampling, .. } => *sampling == 1.0,
                Mechanism::DiscreteGaussian { .. } => true,
                _ => false,
            };
            let index = events.iter().position(|event| !plain(event)).unwrap_or(0);
            let why = "gdp is exact for unsampled Gaussian noise and covers nothing else: use pld";
            FigureError::NotCovered { index, why }
        }),
    }
}

/// ρ of all events together, exactly: Δ²/(2σ²) for Gaussian noise, continuous or discrete, in any
/// dimension; ε²/2 for noise of pure ε (Bun and Steinke 2016, Propositions 1.4 and 1.6).
///
/// # Errors
/// [`FigureError::NotCovered`] for sampled mechanisms.
pub fn rho(events: &[Event]) -> Result<Rho, FigureError> {
    let mut sum = Rational::zero();
    for (index, event) in events.iter().enumerate() {
        let exact = |value: f64| Rational::from_f64_exact(value).unwrap_or_else(Rational::zero);
        let ratio = match event.mechanism() {
            Mechanism::Gaussian { sampling, .. } | Mechanism::Laplace { sampling, .. }
                if *sampling < 1.0 =>
            {
                let why = "zcdp gains nothing from sampling: use pld or rdp";
                return Err(FigureError::NotCovered { index, why });
            }
            Mechanism::Gaussian { sigma, sensitivity, .. } => &exact(*sensitivity) / &exact(*sigma),
            Mechanism::Laplace { scale, sensitivity, .. } => &exact(*sensitivity) / &exact(*scale),
            Mechanism::DiscreteGaussian { sigma, sensitivity, .. } => {
                &Rational::from_integer(*sensitivity) / &exact(*sigma)
            }
            Mechanism::DiscreteLaplace { parameter, sensitivity } => {
                &Rational::from_integer(*sensitivity) * &exact(*parameter)
            }
            Mechanism::Zcdp { rho } => {
                sum = &sum + &(rho * &Rational::from_integer(event.count()));
                continue;
            }
        };
        let twice = &(&ratio * &ratio) * &Rational::from_integer(event.count());
        sum = &sum + &(&twice / &Rational::from_integer(2));
    }
    Ok(Rho::new(sum).unwrap_or_else(|_| Rho::zero()))
}

/// How often an attacker who sees everything guesses rightly whether a person took part, from an
/// even prior, rounded up: from the plan's own curve where there is one, otherwise from (ε, δ).
#[must_use]
pub fn attack_success(events: &[Event], epsilon: f64, delta: f64) -> f64 {
    let worst = guess::success_at_worst(epsilon, delta);
    match pld::delta(events, 0.0) {
        Ok(at_zero) => guess::success(at_zero).min(worst),
        Err(_) => worst,
    }
}

/// The smallest factor found by which to multiply the noise of all events so that their ε is at
/// most `target`, to six digits and upwards.
///
/// # Errors
/// [`FigureError`] where the accountant does not cover the plan, or nothing was found.
pub fn noise_for(
    accountant: Accountant,
    events: &[Event],
    target: f64,
    delta: f64,
) -> Result<Calibrated, FigureError> {
    if !(target > 0.0 && target.is_finite()) {
        return Err(FigureError::Epsilon { epsilon: target });
    }
    // Where noise is too small to be stated, or for the bridge, it does not meet the target.
    let attempt = |factor: f64| -> Result<Option<Calibrated>, FigureError> {
        let louder: Result<Vec<Event>, _> =
            events.iter().map(|event| event.with_noise_times(factor)).collect();
        let Ok(louder) = louder else { return Ok(None) };
        match epsilon(accountant, &louder, delta) {
            Ok(epsilon) if epsilon <= target => {
                Ok(Some(Calibrated { factor, events: louder, epsilon }))
            }
            Ok(_) | Err(FigureError::Pld(pld::PldError::Bridge { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let mut high = 1.0;
    let mut best = attempt(high)?;
    while best.is_none() {
        high *= 4.0;
        if high > FACTOR_MAX {
            return Err(FigureError::NotFound { epsilon: target, factor: high / 4.0 });
        }
        best = attempt(high)?;
    }
    let mut low = high / 4.0;
    while low > 1.0 / FACTOR_MAX {
        match attempt(low)? {
            Some(found) => (best, high, low) = (Some(found), low, low / 4.0),
            None => break,
        }
    }
    while high / low > 1.0 + 1e-7 {
        let middle = short(low * (high / low).sqrt());
        if middle <= low || middle >= high {
            break;
        }
        match attempt(middle)? {
            Some(found) => (best, high) = (Some(found), middle),
            None => low = middle,
        }
    }
    best.ok_or(FigureError::NotFound { epsilon: target, factor: high })
}

/// A number near to this one that is short to write down: seven digits.
fn short(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

/// How many rounds, each of all events of `round`, fit beside `spent` into ε = `budget` at δ.
///
/// With the zCDP accountant the comparison is exact, in ρ.
///
/// # Errors
/// [`FigureError`] where the accountant does not cover the events.
pub fn rounds_that_fit(
    accountant: Accountant,
    spent: &[Event],
    round: &[Event],
    budget: f64,
    delta: f64,
) -> Result<Fit, FigureError> {
    if !(budget > 0.0 && budget.is_finite()) {
        return Err(FigureError::Epsilon { epsilon: budget });
    }
    if round.is_empty() {
        return Err(FigureError::Empty);
    }
    let cap = zcdp::rho(budget, delta);
    let after = |rounds: u64| -> Result<Option<f64>, FigureError> {
        let mut events = spent.to_vec();
        for event in round {
            if rounds == 0 {
                break;
            }
            let Some(event) = event.repeated(rounds) else { return Ok(None) };
            events.push(event);
        }
        if events.is_empty() {
            return Ok(Some(0.0));
        }
        if accountant == Accountant::Zcdp && rho(&events)? > cap {
            return Ok(None);
        }
        let epsilon = epsilon(accountant, &events, delta)?;
        Ok((epsilon <= budget).then_some(epsilon))
    };
    // Covered or not is said even where nothing fits.
    epsilon(accountant, round, delta)?;
    let Some(mut epsilon) = after(0)? else {
        let spent = epsilon(accountant, spent, delta)?;
        return Ok(Fit { rounds: 0, epsilon: spent, at_least: false });
    };
    let (mut low, mut high) = (0u64, 1u64);
    while let Some(found) = after(high)? {
        (low, epsilon) = (high, found);
        if high >= ROUNDS_MAX {
            return Ok(Fit { rounds: low, epsilon, at_least: true });
        }
        high = (high * 2).min(ROUNDS_MAX);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match after(middle)? {
            Some(found) => (low, epsilon) = (middle, found),
            None => high = middle,
        }
    }
    Ok(Fit { rounds: low, epsilon, at_least: false })
}

#[cfg(test)]
mod tests;
