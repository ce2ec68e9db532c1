//! Exact rationals: the currency of budgets. No float enters or leaves without a direction.

use std::{
    fmt,
    ops::{Add, Div, Mul, Sub},
    str::FromStr,
};

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};

/// Longest text form in characters that is read or written.
const TEXT_MAX: usize = 4096;

/// An exact rational number, always in lowest terms with a positive denominator.
///
/// Its text form, also in serde, is `numerator/denominator` in decimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Rational(BigRational);

/// Why a text is no rational.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a whole number or 'numerator/denominator' with a positive denominator, \
     in decimal digits, at most 4096 characters"
)]
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

    /// 2^-`bits`, exactly.
    #[must_use]
    pub fn power_of_half(bits: u64) -> Self {
        Self(BigRational::new(BigInt::one(), BigInt::one() << bits))
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

    /// Parses `"3"`, `"-3/7"`; terms need not be lowest.
    ///
    /// # Errors
    /// [`RationalError`] for any other text, or one longer than 4,096 characters.
    pub fn parse(text: &str) -> Result<Self, RationalError> {
        if text.len() > TEXT_MAX {
            return Err(RationalError);
        }
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(numerator.strip_prefix('-').unwrap_or(numerator)) || !digits(denominator) {
            return Err(RationalError);
        }
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

    /// Whether the value is above zero.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.0.is_positive()
    }

    /// The quotient; `None` where `other` is zero.
    #[must_use]
    pub fn checked_div(&self, other: &Self) -> Option<Self> {
        if other.0.is_zero() { None } else { Some(self / other) }
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

    /// The smallest multiple of 2^-`bits` not below the value: short, and never too small.
    #[must_use]
    pub fn round_up(&self, bits: u64) -> Self {
        let unit = BigInt::one() << bits;
        let scaled = (&self.0 * BigRational::from_integer(unit.clone())).ceil().to_integer();
        Self(BigRational::new(scaled, unit))
    }

    /// The nearest float not below the value.
    #[must_use]
    pub fn to_f64_up(&self) -> f64 {
        let mut float = self.0.to_f64().unwrap_or(f64::INFINITY).max(-f64::MAX);
        while float.is_finite() && Self::from_f64_exact(float).is_some_and(|exact| exact < *self) {
            float = float.next_up();
        }
        float
    }

    /// The nearest float not above the value.
    #[must_use]
    pub fn to_f64_down(&self) -> f64 {
        let mut float = self.0.to_f64().unwrap_or(f64::NEG_INFINITY).min(f64::MAX);
        while float.is_finite() && Self::from_f64_exact(float).is_some_and(|exact| exact > *self) {
            float = float.next_down();
        }
        float
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        /// Exact. Division by zero panics; where a zero is possible use [`Rational::checked_div`].
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

impl Serialize for Rational {
    /// Fails for a number whose text nobody would read back.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_string();
        if text.len() > TEXT_MAX {
            return Err(S::Error::custom("a rational of more than 4096 characters"));
        }
        serializer.serialize_str(&text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_checked() {
        assert_eq!(Rational::parse("6/14").unwrap().to_string(), "3/7");
        assert_eq!(Rational::parse("-3").unwrap().to_string(), "-3/1");
        let long = "1".repeat(4097);
        for bad in ["", "/", "1/0", "0/0", "1/-2", "+1", "1_0", "1/", "/2", "0.5", " 1", "1/2/3"] {
            assert!(Rational::parse(bad).is_err(), "{bad}");
        }
        assert!(Rational::parse(&long).is_err());
        assert!(serde_json::from_str::<Rational>("\"1/0\"").is_err());
        assert!(serde_json::from_str::<Rational>("1").is_err());
        assert!(serde_json::to_string(&Rational::power_of_half(20_000)).is_err());
    }

    #[test]
    fn floats_at_the_edges() {
        let huge = Rational::from_integer(BigInt::one() << 2000u32);
        assert_eq!(huge.to_f64_up(), f64::INFINITY);
        assert_eq!(huge.to_f64_down(), f64::MAX);
        let negative = &Rational::zero() - &huge;
        assert_eq!(negative.to_f64_up(), -f64::MAX);
        assert_eq!(negative.to_f64_down(), f64::NEG_INFINITY);
        let tiny = Rational::power_of_half(2000);
        assert!(tiny.to_f64_up() > 0.0);
        assert_eq!(tiny.to_f64_down(), 0.0);
        assert_eq!(Rational::from_f64_exact(f64::NAN), None);
        assert_eq!(Rational::from_f64_exact(0.5), Rational::new(1, 2));
    }

    proptest! {
        #[test]
        fn text_round_trips(n in any::<i128>(), d in 1u128..) {
            let value = Rational::new(n, d).unwrap();
            prop_assert_eq!(Rational::parse(&value.to_string()).unwrap(), value.clone());
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Rational>(&json).unwrap(), value);
        }

        #[test]
        fn floats_are_outward_and_tight(n in any::<i128>(), d in 1u128..) {
            let value = Rational::new(n, d).unwrap();
            let (up, down) = (value.to_f64_up(), value.to_f64_down());
            prop_assert!(Rational::from_f64_exact(up).unwrap() >= value);
            prop_assert!(Rational::from_f64_exact(down).unwrap() <= value);
            prop_assert!(up == down || down.next_up() == up);
        }

        #[test]
        fn arithmetic_is_that_of_a_field(a in any::<i64>(), b in 1i64.., c in any::<i64>(), d in 1i64..) {
            let (x, y) = (Rational::new(a, b).unwrap(), Rational::new(c, d).unwrap());
            prop_assert_eq!(&(&x + &y) - &y, x.clone());
            prop_assert_eq!(&x * &y, &y * &x);
            if let Some(q) = x.checked_div(&y) { prop_assert_eq!(&q * &y, x.clone()); }
            let up = x.round_up(10);
            prop_assert!(up >= x && &up - &x < Rational::power_of_half(10));
            let floor = Rational::from_integer(x.floor());
            prop_assert!(floor <= x && x < &floor + &Rational::one());
        }
    }
}
