//! ρ, the currency of the ledger: zero-concentrated differential privacy (Bun & Steinke 2016).

use std::{fmt, ops::Add};

use serde::{Deserialize, Serialize};

use crate::Rational;

/// A zCDP cost, exact and never negative.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Rational", into = "Rational")]
pub struct Rho(Rational);

/// A negative ρ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a privacy cost cannot be negative")]
pub struct NegativeRho;

/// Bits b of the bound τ <= 2^-b on what a sum of discrete Gaussians costs beyond one of them.
pub const TAU_BITS: u64 = 256;

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

    /// Cost of one release of d coordinates with integer sensitivity Δ whose noise is a sum of
    /// at least two discrete Gaussians of together variance σ²: Δ²/(2σ²) + τd.
    ///
    /// τ = 10·Σ_{k=1}^{n-1} exp(-2π²s²k/(k+1)) with s² the variance of one share (Kairouz, Liu
    /// and Steinke 2021, Theorem 1, where it enters as τd/4). For s >= 16 and n <= 2^16 shares it
    /// is at most 10·2^16·exp(-π²·256) < 2^-3600; 2^-256 bounds it and keeps numbers short.
    #[must_use]
    pub fn of_distributed_gaussian(
        delta: u64,
        sigma_squared: &Rational,
        _honest_min: u32,
        coordinates: u32,
    ) -> Self {
        let delta_squared = Rational::from_integer(u128::from(delta) * u128::from(delta));
        let main = &delta_squared / &(&Rational::from_integer(2) * sigma_squared);
        let tau = &Rational::from_integer(coordinates)
            / &Rational::from_integer(num_bigint::BigInt::from(1) << TAU_BITS);
        Self(&main + &tau)
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
