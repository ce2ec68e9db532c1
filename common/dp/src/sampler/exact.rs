//! The exact discrete Gaussian of Canonne, Kamath and Steinke ("The Discrete Gaussian for
//! Differential Privacy", 2020), Algorithms 1 to 3, in big integers: the output law is exactly
//! N_Z(0, σ²) given uniform bits. It is the reference that the fast sampler is tested against.

use std::fmt;

use num_bigint::{BigInt, BigUint};
use num_traits::{One, ToPrimitive, Zero};
use rand_core::{CryptoRng, Rng};

use super::{SamplerError, Words, check_variance};
use crate::{Noise, Rational};

/// Exact discrete Gaussian noise for 1 <= σ² <= 2^80. Some 10^5 draws a second.
pub struct ExactDiscreteGaussian<R> {
    law: ExactLaw,
    rng: Words<R>,
}

impl<R: CryptoRng> ExactDiscreteGaussian<R> {
    /// Noise of parameter `variance` = σ² in squared lattice units.
    ///
    /// # Errors
    /// [`SamplerError`] for σ² out of range.
    pub fn new(variance: &Rational, rng: R) -> Result<Self, SamplerError> {
        Ok(Self { law: ExactLaw::new(variance)?, rng: Words::new(rng) })
    }

    /// One draw.
    pub fn sample(&mut self) -> i64 {
        self.law.sample(&mut self.rng)
    }
}

impl<R: CryptoRng> Noise for ExactDiscreteGaussian<R> {
    fn add_to(&mut self, total: &mut [i64]) {
        for coordinate in total {
            *coordinate = coordinate.wrapping_add(self.sample());
        }
    }

    fn variance(&self) -> &Rational {
        &self.law.variance
    }
}

impl<R> fmt::Debug for ExactDiscreteGaussian<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactDiscreteGaussian")
            .field("variance", &self.law.variance)
            .finish_non_exhaustive()
    }
}

/// σ² = a/b with what Algorithm 3 needs of it.
struct ExactLaw {
    variance: Rational,
    /// t = ⌊σ⌋ + 1, the scale of the proposal.
    scale: BigUint,
    /// a.
    numerator: BigInt,
    /// b·t.
    stretch: BigInt,
    /// 2·a·b·t².
    denominator: BigUint,
}

impl ExactLaw {
    fn new(variance: &Rational) -> Result<Self, SamplerError> {
        check_variance(variance)?;
        let a = variance.numerator().magnitude();
        let b = variance.denominator().magnitude();
        let scale = (a / b).sqrt() + BigUint::one();
        Ok(Self {
            variance: variance.clone(),
            numerator: a.clone().into(),
            stretch: (b * &scale).into(),
            denominator: (a * b * &scale * &scale) << 1u32,
            scale,
        })
    }

    /// Algorithm 3: propose Y from a discrete Laplace law of scale t, accept with probability
    /// exp(-(|Y| - σ²/t)²/(2σ²)). With σ² = a/b the exponent is (|Y|·b·t - a)²/(2·a·b·t²).
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> i64 {
        loop {
            let (negative, magnitude) = discrete_laplace(&self.scale, rng);
            let distance = BigInt::from(magnitude.clone()) * &self.stretch - &self.numerator;
            let square = distance.magnitude() * distance.magnitude();
            if !bernoulli_exp(square, &self.denominator, rng) {
                continue;
            }
            // A magnitude of 2^63 or more has probability below exp(-2^44) and is drawn again.
            if let Some(magnitude) = magnitude.to_i64() {
                return if negative { -magnitude } else { magnitude };
            }
        }
    }
}

/// Algorithm 2 with s = 1: (sign, magnitude) of the discrete Laplace law `P(x) ∝ exp(-|x|/t)`.
fn discrete_laplace<R: Rng + ?Sized>(scale: &BigUint, rng: &mut R) -> (bool, BigUint) {
    loop {
        let low = uniform_below(scale, rng);
        if !bernoulli_exp(low.clone(), scale, rng) {
            continue;
        }
        let mut high = 0u64;
        while bernoulli_exp_unit(&BigUint::one(), &BigUint::one(), rng) {
            high += 1;
        }
        let magnitude = low + scale * high;
        let negative = rng.next_u32() >> 31 == 1;
        // Zero has one sign, else it would be drawn twice as often.
        if !(negative && magnitude.is_zero()) {
            return (negative, magnitude);
        }
    }
}

/// A coin of probability exp(-numerator/denominator), for any non-negative exponent.
fn bernoulli_exp<R: Rng + ?Sized>(
    mut numerator: BigUint,
    denominator: &BigUint,
    rng: &mut R,
) -> bool {
    while numerator > *denominator {
        if !bernoulli_exp_unit(&BigUint::one(), &BigUint::one(), rng) {
            return false;
        }
        numerator -= denominator;
    }
    bernoulli_exp_unit(&numerator, denominator, rng)
}

/// Algorithm 1: a coin of probability exp(-γ) for γ = numerator/denominator in [0, 1].
/// K is the first k at which a coin of probability γ/k fails; exp(-γ) is the probability that K is odd.
fn bernoulli_exp_unit<R: Rng + ?Sized>(
    numerator: &BigUint,
    denominator: &BigUint,
    rng: &mut R,
) -> bool {
    let mut k = 1u64;
    while uniform_below(&(denominator * k), rng) < *numerator {
        k += 1;
    }
    k % 2 == 1
}

/// Uniform in 0..bound for bound >= 1, unbiased: as many bits as bound - 1 has, redrawn until
/// they are below the bound.
pub(crate) fn uniform_below<R: Rng + ?Sized>(bound: &BigUint, rng: &mut R) -> BigUint {
    let bits = (bound - BigUint::one()).bits();
    let words = bits.div_ceil(32) as usize;
    let top_mask = u32::MAX >> ((32 - bits % 32) % 32);
    loop {
        let mut digits: Vec<u32> = (0..words).map(|_| rng.next_u32()).collect();
        if let Some(top) = digits.last_mut() {
            *top &= top_mask;
        }
        let candidate = BigUint::new(digits);
        if candidate < *bound {
            return candidate;
        }
    }
}
