//! Exact rationals: the currency of budgets. No float enters or leaves without a direction.

use std::{
    fmt,
    ops::{Add, Div, Mul, Sub},
    str::FromStr,
};

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, ToPrimitive, Zero};
use serde::{Deserialize, Serialize};

/// Longest text form in characters that is read.
const TEXT_MAX: usize = 4096;

/// An exact rational number, always in lowest terms with a positive denominator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rational(BigRational);

/// Why a text is no rational.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number or 'numerator/denominator' with a non-zero denominator")]
pub struct RationalError;

impl Rational {
    /// `numerator / denominator`; a zero denominator gives `None`.
    #[must_use]
    pub fn new(numerator: impl Into<BigInt>, denominator: impl Into<BigInt>) -> Option<Self> {
        let denominator = denominator.into();
        if denominator.is_zero() {
            return None;
        }
        Some(Self(BigRational::new(numerator.into(), denominator)))
    }

    /// A whole number.
    #[must_use]
    pub fn from_integer(value: impl Into<BigInt>) -> Self {
        Self(BigRational::from_integer(value.into()))
    }

    /// 0.
    #[must_use]
    pub fn zero() -> Self {
        Self(BigRational::zero())
    }

    /// 1.
    #[must_use]
    pub fn one() -> Self {
        Self(BigRational::one())
    }

    /// The exact value of a finite float; `None` for others.
    #[must_use]
    pub fn from_f64_exact(value: f64) -> Option<Self> {
        BigRational::from_float(value).map(Self)
    }

    /// Parses `"3"`, `"-3/7"`.
    ///
    /// # Errors
    /// [`RationalError`] for any other text, or one longer than 4,096 characters.
    pub fn parse(text: &str) -> Result<Self, RationalError> {
        if text.len() > TEXT_MAX {
            return Err(RationalError);
        }
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        let numerator = BigInt::from_str(numerator).map_err(|_| RationalError)?;
        let denominator = BigInt::from_str(denominator).map_err(|_| RationalError)?;
        Self::new(numerator, denominator).ok_or(RationalError)
    }

    /// Numerator in lowest terms.
    #[must_use]
    pub fn numerator(&self) -> &BigInt {
        self.0.numer()
    }

    /// Denominator in lowest terms, positive.
    #[must_use]
    pub fn denominator(&self) -> &BigInt {
        self.0.denom()
    }

    /// Largest whole number not above the value.
    #[must_use]
    pub fn floor(&self) -> BigInt {
        self.0.floor().to_integer()
    }

    /// Smallest whole number not below the value.
    #[must_use]
    pub fn ceil(&self) -> BigInt {
        self.0.ceil().to_integer()
    }

    /// The smallest float found that is not below the value.
    #[must_use]
    pub fn to_f64_up(&self) -> f64 {
        let mut float = self.0.to_f64().unwrap_or(f64::INFINITY);
        while float.is_finite() && Self::from_f64_exact(float).is_some_and(|exact| exact < *self) {
            float = float.next_up();
        }
        float
    }

    /// The largest float found that is not above the value.
    #[must_use]
    pub fn to_f64_down(&self) -> f64 {
        let mut float = self.0.to_f64().unwrap_or(f64::NEG_INFINITY);
        while float.is_finite() && Self::from_f64_exact(float).is_some_and(|exact| exact > *self) {
            float = float.next_down();
        }
        float
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl $trait<&Rational> for &Rational {
            type Output = Rational;
            fn $method(self, other: &Rational) -> Rational {
                Rational($trait::$method(&self.0, &other.0))
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl fmt::Display for Rational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.numer(), self.0.denom())
    }
}

impl fmt::Debug for Rational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Rational {
    type Err = RationalError;
    fn from_str(text: &str) -> Result<Self, RationalError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Rational {
    type Error = RationalError;
    fn try_from(text: String) -> Result<Self, RationalError> {
        Self::parse(&text)
    }
}

impl From<Rational> for String {
    fn from(value: Rational) -> String {
        value.to_string()
    }
}
