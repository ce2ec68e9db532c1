//! One person's readings, and what they mean.

use std::collections::BTreeMap;

use chorale_dp::{Rational, Rho};
use chorale_plan::Pseudonym;
use serde::Serialize;

use super::{PublicCost, RoundReadings};

/// Filters of fixed sizes that a reading is held against: ρ = 2^4, 2^3, …, 2^-27.
const GRID: std::ops::RangeInclusive<i32> = -27..=4;

/// What one person has lost to one federation through one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FederationReading {
    /// Rounds whose vector held a part of this person.
    pub rounds: u32,
    /// Rounds among them without noise: nothing bounds what they show.
    pub unprotected: u32,
    /// Sum of ‖q‖²/(2σ²) + τd over the others, exactly.
    pub rho: Rational,
}

impl Default for FederationReading {
    fn default() -> Self {
        Self { rounds: 0, unprotected: 0, rho: Rational::zero() }
    }
}

/// What one person has lost to all federations through one agent.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct PersonReading {
    /// By federation.
    pub federations: BTreeMap<String, FederationReading>,
}

crate::error::redacted!(PersonReading);

impl PersonReading {
    pub(super) fn add(&mut self, federation: &str, round: &RoundReadings, who: Pseudonym) {
        let Some(norm_squared) = round.norm_squared(who) else { return };
        let reading = self.federations.entry(federation.into()).or_default();
        reading.rounds += 1;
        match &round.public {
            Some(public) => reading.rho = &reading.rho + &cost(norm_squared, public),
            None => reading.unprotected += 1,
        }
    }

    /// ρ of all federations together, exactly; `None` where one had a round without noise.
    #[must_use]
    pub fn rho(&self) -> Option<Rho> {
        let all = self.federations.values();
        if all.clone().any(|reading| reading.unprotected > 0) {
            return None;
        }
        Rho::new(all.fold(Rational::zero(), |sum, reading| &sum + &reading.rho)).ok()
    }

    /// ε at `delta` that the reading comes to, rounded up; `None` where nothing bounds it.
    ///
    /// A running sum is no bound by itself. For each B of a fixed grid think of the same rounds with
    /// this person left out from the first one on at which the sum would pass B: that is an
    /// individual filter (Feldman & Zrnic 2021), B-zCDP for this person, and its privacy loss is
    /// above B + 2√(B·ln(1/δ')) with probability at most δ' (Bun & Steinke 2016). As long as the
    /// reading is at most B nothing was left out, so what happened is what that filter did. With
    /// δ' = δ/K for all K of the grid at once the smallest B above the reading may be chosen
    /// afterwards.
    #[must_use]
    pub fn epsilon(&self, delta: f64) -> Option<f64> {
        let rho = self.rho()?.as_rational().to_f64_up();
        if rho == 0.0 {
            return Some(0.0);
        }
        let filter = GRID.map(|power| 2f64.powi(power)).find(|size| rho <= *size)?;
        let tests = (GRID.end() - GRID.start() + 1) as f64;
        let tail = 2.0 * (filter * (tests / delta).ln()).sqrt();
        // Far above what a few roundings can take off.
        Some((filter + tail) * (1.0 + 1e-12))
    }
}

/// (‖q‖ + what other agents may add)²/(2σ²) + τd.
fn cost(norm_squared: u128, public: &PublicCost) -> Rational {
    let square = match public.elsewhere {
        0 => Rational::from_integer(norm_squared),
        elsewhere => {
            let root = norm_squared.isqrt();
            let norm = root + u128::from(root * root < norm_squared) + u128::from(elsewhere);
            let norm = Rational::from_integer(norm);
            &norm * &norm
        }
    };
    let twice = &Rational::from_integer(2) * &public.sigma_squared;
    &(&square / &twice) + &public.trace
}
