//! ρ, the currency of the ledger: zero-concentrated differential privacy (Bun & Steinke 2016).

use std::{fmt, ops::Add};

use serde::{Deserialize, Serialize};

use crate::{Rational, accountant::sum_of_discrete_gaussians::tau};

pub use crate::accountant::sum_of_discrete_gaussians::TAU_BITS;

/// A zCDP cost, exact and never negative.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Rational", into = "Rational")]
pub struct Rho(Rational);

/// A negative ρ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a privacy cost cannot be negative")]
pub struct NegativeRho;

/// A variance that is zero or negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a noise variance must be above zero")]
pub struct NonPositiveVariance;

impl Rho {
    /// Nothing spent.
    #[must_use]
    pub fn zero() -> Self {
        Self(Rational::zero())
    }

    /// A cost from an exact rational.
    ///
    /// # Errors
    /// [`NegativeRho`] for a value below zero.
    pub fn new(value: Rational) -> Result<Self, NegativeRho> {
        if value < Rational::zero() { Err(NegativeRho) } else { Ok(Self(value)) }
    }

    /// Δ²/(2σ²): cost of one discrete or continuous Gaussian at L2 sensitivity Δ
    /// (Canonne, Kamath and Steinke 2020, Theorem 4; Bun and Steinke 2016, Proposition 1.6).
    ///
    /// # Errors
    /// [`NonPositiveVariance`].
    pub fn of_gaussian(
        delta_squared: &Rational,
        sigma_squared: &Rational,
    ) -> Result<Self, NonPositiveVariance> {
        if !sigma_squared.is_positive() {
            return Err(NonPositiveVariance);
        }
        Ok(Self(delta_squared / &(&Rational::from_integer(2) * sigma_squared)))
    }

    /// Cost of one release of d coordinates with integer sensitivity Δ whose noise is a sum of at
    /// least `honest_min` discrete Gaussians of together variance σ²: Δ²/(2σ²) + τd, with the
    /// rational bound on τ of [`tau`].
    ///
    /// # Panics
    /// When σ² is not positive or `honest_min` is zero; a spec with either is refused before.
    #[must_use]
    pub fn of_distributed_gaussian(
        delta: u64,
        sigma_squared: &Rational,
        honest_min: u32,
        coordinates: u32,
    ) -> Self {
        assert!(sigma_squared.is_positive() && honest_min > 0, "a spec without noise");
        let delta_squared = Rational::from_integer(u128::from(delta) * u128::from(delta));
        let main = &delta_squared / &(&Rational::from_integer(2) * sigma_squared);
        let share_variance = sigma_squared / &Rational::from_integer(honest_min);
        let trace = &Rational::from_integer(coordinates) * &tau(honest_min, &share_variance);
        Self(&main + &trace)
    }

    /// The exact value.
    #[must_use]
    pub fn as_rational(&self) -> &Rational {
        &self.0
    }
}

impl Add<&Rho> for &Rho {
    type Output = Rho;
    fn add(self, other: &Rho) -> Rho {
        Rho(&self.0 + &other.0)
    }
}

impl std::iter::Sum for Rho {
    fn sum<I: Iterator<Item = Rho>>(costs: I) -> Rho {
        costs.fold(Rho::zero(), |sum, cost| &sum + &cost)
    }
}

impl TryFrom<Rational> for Rho {
    type Error = NegativeRho;
    fn try_from(value: Rational) -> Result<Self, NegativeRho> {
        Self::new(value)
    }
}

impl From<Rho> for Rational {
    fn from(rho: Rho) -> Rational {
        rho.0
    }
}

impl fmt::Display for Rho {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_negative_cost_cannot_come_in() {
        assert_eq!(Rho::new(Rational::from_integer(-1)), Err(NegativeRho));
        assert!(serde_json::from_str::<Rho>("\"-1/9\"").is_err());
        assert!(serde_json::from_str::<Rho>("\"1/9\"").is_ok());
        let one = Rational::one();
        assert_eq!(Rho::of_gaussian(&one, &Rational::zero()), Err(NonPositiveVariance));
    }

    #[test]
    fn cost_by_hand_and_decreasing_in_variance() {
        let delta_squared = Rational::from_integer(9);
        let rho = Rho::of_gaussian(&delta_squared, &Rational::from_integer(18)).unwrap();
        assert_eq!(rho.to_string(), "1/4");
        let distributed = |sigma_squared: i64| {
            Rho::of_distributed_gaussian(100, &Rational::from_integer(sigma_squared), 10, 1000)
        };
        assert!(distributed(10_000) > distributed(10_001));
        assert!(*distributed(10_000).as_rational() > Rational::new(1, 2).unwrap());
    }

    #[test]
    fn a_narrow_share_pays_its_real_trace() {
        // s² = 1: τ <= 10·9·2^-14, no longer negligible, and charged.
        let rho = Rho::of_distributed_gaussian(1, &Rational::from_integer(10), 10, 1);
        let expected = &Rational::new(1, 20).unwrap() + &Rational::new(90, 1 << 14).unwrap();
        assert_eq!(*rho.as_rational(), expected);
    }
}
