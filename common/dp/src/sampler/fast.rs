//! A fast discrete Gaussian: rejection from a table of buckets, in integers only.
//!
//! Magnitudes are cut into K buckets of W = 2^b integers, with 64 <= σ/W < 128 where σ >= 128 and
//! W = 1 below; K·W >= 13σ. A trial draws a bucket k with probability w_k/S, w_k = ρ(kW),
//! ρ(x) = exp(-x²/(2σ²)), S = Σ w_k; a sign; a uniform offset o; and accepts x = kW + o with
//! probability ρ(x)/ρ(kW). Minus zero is refused. So x comes out with probability proportional to
//! w_k·ρ(x)/w_k = ρ(x): exactly N_Z(0, σ²) cut at |x| < KW.
//!
//! What differs from that law, and by how much (the proof is in `docs/privacy.md`):
//! - bucket probabilities are multiples of 2^-107: Σ_k |error| <= 2^-94;
//! - the acceptance is decided to 84 bits: |error| <= 2^-83.9;
//! - a trial accepts with probability at least 1/2, so both together move the output law by at
//!   most 2·(2^-94 + 2^-83.9) < 2^-82 in total variation;
//! - the cut removes at most 2·exp(-13²/2) < 2^-120.
//!
//! Speed comes from laziness: 20 bits settle the acceptance and 32 bits the alias table nearly
//! always; the other 64 bits of either are drawn only where they matter.

use std::fmt;

use num_bigint::BigUint;
use num_traits::{One, ToPrimitive, Zero};
use rand_core::CryptoRng;

use super::{SamplerError, Words, check_variance};
use crate::{Noise, Rational};

/// log2 of the number of slots in the alias table.
const SLOT_BITS: u32 = 11;
/// Slots of the alias table; K <= ⌈13·128⌉ = 1664 buckets fit.
const SLOTS: usize = 1 << SLOT_BITS;
/// Bits of a slot's threshold: 32 in the first word, 64 drawn when those tie.
const THRESHOLD_BITS: u32 = 96;
/// Bits of the acceptance variable in the first word; 64 more are drawn when needed.
const SQUEEZE_BITS: u32 = 20;
/// Fractional bits in which tables are computed.
const TABLE_BITS: u64 = 256;
/// The tail is cut at this many standard deviations or more.
const CUT_SIGMAS: u32 = 13;
/// σ/W is at least this where W > 1.
const BUCKETS_PER_SIGMA: u32 = 64;
/// -log2 of the distance from the exact law.
const TOTAL_VARIATION_BITS: u64 = 81;

/// Fast discrete Gaussian noise for 1 <= σ² <= 2^80.
pub struct FastDiscreteGaussian<R> {
    law: FastLaw,
    rng: Words<R>,
}

impl<R: CryptoRng> FastDiscreteGaussian<R> {
    /// Noise of parameter `variance` = σ² in squared lattice units. Builds tables of 32 KiB.
    ///
    /// # Errors
    /// [`SamplerError`] for σ² out of range.
    pub fn new(variance: &Rational, rng: R) -> Result<Self, SamplerError> {
        Ok(Self { law: FastLaw::new(variance)?, rng: Words::new(rng) })
    }

    /// One draw.
    #[inline]
    pub fn sample(&mut self) -> i64 {
        self.law.sample(&mut self.rng)
    }

    /// An upper bound on the total variation distance of one draw from N_Z(0, σ²), given uniform
    /// bits. n shares of d coordinates add n·d·TV·(1 + e^ε) to δ.
    #[must_use]
    pub fn total_variation_bound(&self) -> Rational {
        total_variation_bound()
    }
}

/// The bound that holds for every admissible σ²: 2^-81.
#[must_use]
pub fn total_variation_bound() -> Rational {
    Rational::power_of_half(TOTAL_VARIATION_BITS)
}

impl<R: CryptoRng> Noise for FastDiscreteGaussian<R> {
    fn add_to(&mut self, total: &mut [i64]) {
        for coordinate in total {
            *coordinate = coordinate.wrapping_add(self.law.sample(&mut self.rng));
        }
    }

    fn variance(&self) -> &Rational {
        &self.law.variance
    }
}

impl<R> fmt::Debug for FastDiscreteGaussian<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastDiscreteGaussian")
            .field("variance", &self.law.variance)
            .finish_non_exhaustive()
    }
}

/// One slot of the alias table: below the threshold the slot's own bucket, else the alias.
#[derive(Clone, Copy, Default)]
struct Slot {
    threshold_head: u32,
    alias: u32,
}

pub(crate) struct FastLaw {
    variance: Rational,
    /// b, log2 of the bucket width.
    width_bits: u32,
    slots: Box<[Slot; SLOTS]>,
    threshold_tails: Box<[u64; SLOTS]>,
    /// An acceptance head below this accepts every offset of the bucket.
    squeeze: Box<[u32; SLOTS]>,
    exponent: Exponent,
}

impl FastLaw {
    pub(crate) fn new(variance: &Rational) -> Result<Self, SamplerError> {
        check_variance(variance)?;
        let width_bits = width_bits(variance);
        let weights = Weights::new(variance, width_bits);
        let (slots, threshold_tails) = alias_table(weights.bucket_masses());
        let mut squeeze = Box::new([0u32; SLOTS]);
        for (head, ratio) in squeeze.iter_mut().zip(&weights.ratios) {
            *head = (ratio >> (TABLE_BITS - u64::from(SQUEEZE_BITS)))
                .to_u32()
                .unwrap_or(0)
                .saturating_sub(2);
        }
        let exponent = Exponent::new(variance);
        Ok(Self {
            variance: variance.clone(),
            width_bits,
            slots,
            threshold_tails,
            squeeze,
            exponent,
        })
    }

    /// One draw. Of the first word, bits 53..64 choose a slot, 21..53 the bucket in it, 1..21 are
    /// the head of the acceptance variable, bit 0 is the sign: disjoint, hence independent.
    #[inline]
    pub(crate) fn sample<R: CryptoRng>(&self, words: &mut Words<R>) -> i64 {
        loop {
            let word = words.word();
            let index = (word >> (64 - SLOT_BITS)) as usize;
            let threshold = (word >> 21) as u32;
            let acceptance = (word >> 1) as u32 & ((1 << SQUEEZE_BITS) - 1);
            let slot = self.slots[index];
            let mut own = threshold < slot.threshold_head;
            if threshold == slot.threshold_head {
                own = words.word() < self.threshold_tails[index];
            }
            let bucket = if own { index } else { slot.alias as usize };
            let mut magnitude = bucket as u64;
            if self.width_bits > 0 {
                let offset = words.word() >> (64 - self.width_bits);
                if acceptance >= self.squeeze[bucket % SLOTS]
                    && !self.accept(bucket as u64, offset, acceptance, words.word())
                {
                    continue;
                }
                magnitude = magnitude << self.width_bits | offset;
            }
            let negative = word & 1;
            if magnitude == 0 && negative == 1 {
                continue;
            }
            // Two's complement negation where the sign bit is set.
            return (magnitude ^ negative.wrapping_neg()).wrapping_add(negative) as i64;
        }
    }

    /// The decision the squeeze could not make: an 84-bit uniform against ρ(x)/ρ(kW).
    #[cold]
    #[inline(never)]
    fn accept(&self, bucket: u64, offset: u64, head: u32, tail: u64) -> bool {
        let uniform = u128::from(head) << 64 | u128::from(tail);
        // x² - (kW)² = (2kW + o)·o, below 2^84 as kW < 2^45 and o < 2^36.
        let difference =
            u128::from((bucket << (self.width_bits + 1)) + offset) * u128::from(offset);
        let ratio = exp_minus(self.exponent.times(difference));
        uniform < ratio >> (127 - (SQUEEZE_BITS + 64))
    }
}

/// b: the largest with σ/2^b >= 64, at least 0.
fn width_bits(variance: &Rational) -> u32 {
    let mut bits = 0;
    let floor = u64::from(BUCKETS_PER_SIGMA * BUCKETS_PER_SIGMA);
    while Rational::from_integer(BigUint::from(floor) << (2 * (bits + 1))) <= *variance {
        bits += 1;
    }
    bits
}

/// w_k = ρ(kW) and g_k = ρ((k+1)W)/ρ(kW) in units of 2^-256, for k = 0..K.
struct Weights {
    weights: Vec<BigUint>,
    ratios: Vec<BigUint>,
}

impl Weights {
    /// By w_{k+1} = w_k·g_k and g_{k+1} = g_k·exp(-W²/σ²). With e units of error in the two
    /// exponentials, g_k has at most (k+1)(e+1) and w_k at most k²(e+2): below 2^-220 for
    /// e <= 2^8 and k < 2^11.
    fn new(variance: &Rational, width_bits: u32) -> Self {
        let (a, b) = (variance.numerator().magnitude(), variance.denominator().magnitude());
        let width_squared = BigUint::one() << (2 * width_bits);
        let step = exp_minus_table(&(&width_squared * b), a);
        let mut ratio = exp_minus_table(&(&width_squared * b), &(a << 1u32));
        let mut weight = BigUint::one() << TABLE_BITS;
        // K = ⌈13σ/W⌉.
        let reach = (BigUint::from(CUT_SIGMAS * CUT_SIGMAS) * a).div_ceil_by(&(b * width_squared));
        let mut count = reach.sqrt();
        if &count * &count < reach {
            count += BigUint::one();
        }
        let count = count.to_usize().unwrap_or(SLOTS).min(SLOTS);
        let (mut weights, mut ratios) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            let next = (&weight * &ratio) >> TABLE_BITS;
            weights.push(std::mem::replace(&mut weight, next));
            let next = (&ratio * &step) >> TABLE_BITS;
            ratios.push(std::mem::replace(&mut ratio, next));
        }
        Self { weights, ratios }
    }

    /// Bucket probabilities as whole multiples of 2^-107 that sum to one: rounded down, and the
    /// fewer than K units left over given to bucket 0.
    fn bucket_masses(&self) -> Vec<u128> {
        let total: BigUint = self.weights.iter().sum();
        let one = 1u128 << (SLOT_BITS + THRESHOLD_BITS);
        let mut masses: Vec<u128> = self
            .weights
            .iter()
            .map(|weight| ((weight * one) / &total).to_u128().unwrap_or(0))
            .collect();
        let assigned: u128 = masses.iter().sum();
        masses[0] += one - assigned;
        masses.resize(SLOTS, 0);
        masses
    }
}

trait DivCeil {
    fn div_ceil_by(&self, divisor: &BigUint) -> BigUint;
}

impl DivCeil for BigUint {
    fn div_ceil_by(&self, divisor: &BigUint) -> BigUint {
        (self + divisor - BigUint::one()) / divisor
    }
}

/// exp(-n/d) in units of 2^-256 for 0 <= n <= d, by its Taylor series, which alternates with
/// falling terms. Each of at most 60 terms is off by at most 2 units: below 2^8 in all.
fn exp_minus_table(numerator: &BigUint, denominator: &BigUint) -> BigUint {
    let argument = (numerator << TABLE_BITS) / denominator;
    let mut term = BigUint::one() << TABLE_BITS;
    let (mut positive, mut negative) = (term.clone(), BigUint::zero());
    let mut n = 1u32;
    while !term.is_zero() {
        term = ((&term * &argument) >> TABLE_BITS) / n;
        if n % 2 == 1 {
            negative += &term
        } else {
            positive += &term
        }
        n += 1;
    }
    positive - negative
}

/// Walker's alias method in integers, after Vose: slot i holds 2^96 units, split between bucket i
/// and one alias; the masses come out exactly.
fn alias_table(mut masses: Vec<u128>) -> (Box<[Slot; SLOTS]>, Box<[u64; SLOTS]>) {
    let capacity = 1u128 << THRESHOLD_BITS;
    let mut slots = Box::new([Slot::default(); SLOTS]);
    let mut tails = Box::new([0u64; SLOTS]);
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..SLOTS).partition(|&index| masses[index] < capacity);
    while let Some(index) = small.pop() {
        // The masses sum to SLOTS·capacity, so while one slot is short another overflows.
        let Some(&alias) = large.last() else { break };
        slots[index] = Slot { threshold_head: (masses[index] >> 64) as u32, alias: alias as u32 };
        tails[index] = masses[index] as u64;
        masses[alias] -= capacity - masses[index];
        if masses[alias] < capacity {
            large.pop();
            small.push(alias);
        }
    }
    // What is left is exactly full: itself on either side of any threshold.
    for index in large {
        slots[index] = Slot { threshold_head: 0, alias: index as u32 };
    }
    (slots, tails)
}

/// 1/(2σ²) as mantissa·2^-shift with a mantissa of 128 bits, rounded down.
struct Exponent {
    mantissa: u128,
    shift: u64,
}

impl Exponent {
    fn new(variance: &Rational) -> Self {
        let numerator = variance.denominator().magnitude();
        let denominator = variance.numerator().magnitude() << 1u32;
        let mut shift = 128 + denominator.bits() - numerator.bits();
        let mut mantissa = (numerator << shift) / &denominator;
        // The quotient has 128 or 129 bits.
        if mantissa.bits() > 128 {
            mantissa >>= 1u32;
            shift -= 1;
        }
        Self { mantissa: mantissa.to_u128().unwrap_or(u128::MAX), shift }
    }

    /// γ = difference/(2σ²) in units of 2^-127, at most 3 units too small.
    fn times(&self, difference: u128) -> u128 {
        let (high, low) = multiply_wide(difference, self.mantissa);
        // σ >= 128 where this is called, so 1/(2σ²) < 2^-14 and the shift exceeds 140.
        let shift = self.shift - 127;
        if shift >= 128 {
            high.checked_shr((shift - 128) as u32).unwrap_or(0)
        } else {
            high << (128 - shift) | low >> shift
        }
    }
}

/// exp(-γ) for γ <= 1/2, both in units of 2^-127; off by fewer than 2^7 units: at most 40 terms,
/// each cut twice.
fn exp_minus(argument: u128) -> u128 {
    let mut sum = 1u128 << 127;
    let mut term = sum;
    let mut n = 1u128;
    loop {
        let (high, low) = multiply_wide(term, argument);
        term = (high << 1 | low >> 127) / n;
        if term == 0 {
            return sum;
        }
        if n % 2 == 1 {
            sum -= term
        } else {
            sum += term
        }
        n += 1;
    }
}

/// The 256-bit product as (high, low).
fn multiply_wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (low, middle, other, high) = (a0 * b0, a1 * b0, a0 * b1, a1 * b1);
    let carry = (low >> 64) + (middle & LOW) + (other & LOW);
    (high + (middle >> 64) + (other >> 64) + (carry >> 64), carry << 64 | low & LOW)
}

#[cfg(test)]
mod tests;
