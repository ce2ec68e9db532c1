//! Discrete Gaussian noise N_Z(0, σ²): the integer x has probability proportional to
//! exp(-x²/(2σ²)), for rational σ².
//!
//! [`exact`] is the reference, exact and slow. [`fast`] is what rounds use; its distance from the
//! exact law is bounded in writing, and its time does not depend on what it draws. The exact one
//! is not constant-time: it serves tests and comparisons. Neither computes with floats.

pub mod exact;
pub mod fast;
mod words;

use num_bigint::BigInt;

pub use exact::ExactDiscreteGaussian;
pub use fast::FastDiscreteGaussian;
pub use words::Words;

use crate::Rational;

/// Bits of the largest admissible σ²: σ up to 2^40.
pub const VARIANCE_BITS_MAX: u64 = 80;

/// Why a sampler cannot be built. The plan is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplerError {
    /// σ² below 1 lattice unit.
    #[error("noise variance {variance} is below 1: raise the plan's scale_bits")]
    VarianceTooSmall {
        /// The variance asked for.
        variance: Rational,
    },
    /// σ² above 2^80.
    #[error("noise variance {variance} is above 2^80: lower the plan's scale_bits")]
    VarianceTooLarge {
        /// The variance asked for.
        variance: Rational,
    },
    /// A numerator or denominator of more than 512 bits.
    #[error("the noise variance has terms of more than 512 bits: round it")]
    VarianceTooLong,
}

/// Longest numerator or denominator of σ² in bits, so that building stays cheap.
const TERM_BITS_MAX: u64 = 512;

/// Checks the range both samplers share: 1 <= σ² <= 2^80.
fn check_variance(variance: &Rational) -> Result<(), SamplerError> {
    if variance.numerator().bits() > TERM_BITS_MAX || variance.denominator().bits() > TERM_BITS_MAX
    {
        return Err(SamplerError::VarianceTooLong);
    }
    if *variance < Rational::one() {
        return Err(SamplerError::VarianceTooSmall { variance: variance.clone() });
    }
    if *variance > Rational::from_integer(BigInt::from(1) << VARIANCE_BITS_MAX) {
        return Err(SamplerError::VarianceTooLarge { variance: variance.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
