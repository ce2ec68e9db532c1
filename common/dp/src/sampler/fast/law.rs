//! What trials need to know of σ², computed once in big integers.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::{One, ToPrimitive, Zero};

use crate::{
    Rational,
    sampler::{SamplerError, check_variance},
};

/// Fractional bits of x/W.
pub(super) const POSITION_BITS: u32 = 59;
/// The lower bits of a step, which hold its bucket: K <= 26.
pub(super) const BUCKET_MASK: u64 = 31;
/// Most buckets: σ/W < 2.
pub(super) const BUCKETS_MAX: usize = 26;
/// Terms of the full series of 2^-f.
pub(super) const COEFFICIENTS_FULL: usize = 31;
/// Bits of U.
pub(super) const UNIFORM_BITS: u64 = 127;
/// Steps of the short staircase end where at most this much of U is above, in units of 2^-63. Every
/// U there is in the band around the curve, so that all 127 bits are asked.
pub(super) const TOP: u64 = 64;

/// The tail is cut at this many standard deviations or more.
const CUT_SIGMAS: u32 = 13;
/// Fractional bits in which tables are computed.
pub(super) const TABLE_BITS: u64 = 256;

/// One step of the staircase, in units of 2^-63.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// T_k, rounded down to a multiple of 32.
    pub(super) threshold: u64,
    /// T_k - T_{k-1}, and 1 for the bucket.
    pub(super) rise: u64,
}

/// The tables of one σ².
pub(super) struct Law {
    variance: Rational,
    /// The upper b bits of a word.
    pub(super) offset_mask: u64,
    /// From a position to a magnitude.
    pub(super) magnitude_shift: u32,
    /// The steps k >= 1 that 63 bits can tell apart, from the lowest on.
    pub(super) steps: Vec<Step>,
    /// √c in units of 2^-64, rounded down, where c = W²/(2σ²·ln 2).
    pub(super) curvature_root: u64,
    /// log2 S in units of 2^-57, rounded down, and 5 units more: squares are cut by up to 8 units.
    pub(super) depth: u64,
    /// T_k for k >= 1 in units of 2^-127, rounded down; 2^127 from K on.
    pub(super) thresholds: [u128; BUCKETS_MAX - 1],
    /// c in units of 2^-128, rounded down.
    pub(super) curvature_full: u128,
    /// log2 S, its whole part and 128 bits more, rounded down.
    pub(super) depth_full: (u64, u128),
    /// (ln 2)^n/n! in units of 2^-127, rounded down.
    pub(super) coefficients_full: [u128; COEFFICIENTS_FULL],
}

impl Law {
    pub(super) fn new(variance: &Rational) -> Result<Self, SamplerError> {
        check_variance(variance)?;
        let width_bits = width_bits(variance);
        let weights = weights(variance, width_bits);
        let sum: BigUint = weights.iter().sum();
        let thresholds = thresholds(&weights, &sum);
        let ln2 = ln2();
        // c = W²·b/(2a·ln 2) for σ² = a/b, in units of 2^-128.
        let (a, b) = (variance.numerator().magnitude(), variance.denominator().magnitude());
        let curvature =
            (b << (2 * u64::from(width_bits) + TABLE_BITS + 128)) / ((a << 1u32) * &ln2);
        let curvature_full = curvature.to_u128().unwrap_or(u128::MAX);
        // Between 0.8 and 1.6, in units of 2^-128.
        let depth = binary_logarithm(&sum, 128);
        let fraction = &depth % (BigUint::one() << 128u32);
        let whole = (&depth >> 128u32).to_u64().unwrap_or(0);
        Ok(Self {
            variance: variance.clone(),
            offset_mask: !u64::MAX.checked_shr(width_bits).unwrap_or(0),
            magnitude_shift: POSITION_BITS - width_bits,
            steps: steps(&thresholds),
            curvature_root: curvature.sqrt().to_u64().unwrap_or(u64::MAX),
            depth: (depth >> (128 - super::block::EXPONENT_BITS)).to_u64().unwrap_or(0) + 5,
            thresholds,
            curvature_full,
            depth_full: (whole, fraction.to_u128().unwrap_or(0)),
            coefficients_full: series(&ln2),
        })
    }

    pub(super) fn variance(&self) -> &Rational {
        &self.variance
    }
}

/// b: the largest with 2^b <= σ.
pub(super) fn width_bits(variance: &Rational) -> u32 {
    // 4^b <= a/b iff 4^b <= ⌊a/b⌋, and σ² >= 1.
    let bits = variance.floor().magnitude().bits();
    u32::try_from((bits.max(1) - 1) / 2).unwrap_or(0)
}

/// w_k = ρ(kW) in units of 2^-256 for k = 0..K, K = ⌈13σ/W⌉, by w_{k+1} = w_k·g_k and
/// g_{k+1} = g_k·exp(-W²/σ²). With e units of error in the two exponentials, g_k has at most
/// (k+1)(e+1) and w_k at most k²(e+2): below 2^-230 for e <= 2^8 and k < 2^8.
pub(super) fn weights(variance: &Rational, width_bits: u32) -> Vec<BigUint> {
    let (a, b) = (variance.numerator().magnitude(), variance.denominator().magnitude());
    let scaled = b << (2 * width_bits);
    let step = exp_minus(&scaled, a);
    let mut ratio = exp_minus(&scaled, &(a << 1u32));
    let mut weight = BigUint::one() << TABLE_BITS;
    let reach_squared = (BigUint::from(CUT_SIGMAS * CUT_SIGMAS) * a).div_ceil(&scaled);
    let mut reach = reach_squared.sqrt();
    if &reach * &reach < reach_squared {
        reach += BigUint::one();
    }
    let count = reach.to_usize().unwrap_or(0);
    let mut weights = Vec::with_capacity(count);
    for _ in 0..count {
        let next = (&weight * &ratio) >> TABLE_BITS;
        weights.push(std::mem::replace(&mut weight, next));
        ratio = (&ratio * &step) >> TABLE_BITS;
    }
    weights
}

/// T_k for k >= 1 in units of 2^-127, rounded down; 2^127, which U never reaches, from K on.
fn thresholds(weights: &[BigUint], sum: &BigUint) -> [u128; BUCKETS_MAX - 1] {
    let mut thresholds = [1 << UNIFORM_BITS; BUCKETS_MAX - 1];
    let mut below = BigUint::zero();
    for (threshold, weight) in thresholds.iter_mut().zip(&weights[..weights.len() - 1]) {
        below += weight;
        *threshold = ((&below << UNIFORM_BITS) / sum).to_u128().unwrap_or(u128::MAX);
    }
    thresholds
}

/// The short staircase, up to and including the first step that is within [`TOP`] of 2^63.
fn steps(thresholds: &[u128; BUCKETS_MAX - 1]) -> Vec<Step> {
    let mut previous = 0;
    let mut steps = Vec::with_capacity(BUCKETS_MAX);
    for threshold in thresholds {
        let threshold = (threshold >> 64) as u64 & !BUCKET_MASK;
        steps.push(Step { threshold, rise: threshold - previous + 1 });
        previous = threshold;
        if (1 << 63) - threshold <= TOP {
            break;
        }
    }
    steps
}

/// exp(-n/d) in units of 2^-256 for 0 <= n <= d, by its Taylor series, which alternates with
/// falling terms. Each of at most 60 terms is off by at most 2 units: below 2^8 in all.
pub(super) fn exp_minus(numerator: &BigUint, denominator: &BigUint) -> BigUint {
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

/// ln 2 = Σ 2/((2n+1)·3^(2n+1)) in units of 2^-256, rounded down.
pub(super) fn ln2() -> BigUint {
    const GUARD_BITS: u64 = 32;
    let mut power = (BigUint::one() << (TABLE_BITS + GUARD_BITS + 1)) / 3u32;
    let mut sum = BigUint::zero();
    let mut n = 1u32;
    while !power.is_zero() {
        sum += &power / n;
        power /= 9u32;
        n += 2;
    }
    sum >> GUARD_BITS
}

/// log2 of a value of at least 1, given in units of 2^-256, in units of 2^-`bits`, bit by bit:
/// squaring doubles the logarithm. Rounded down, but for an error of the value itself.
pub(super) fn binary_logarithm(value: &BigUint, bits: u32) -> BigUint {
    const SQUARE_BITS: u64 = 512;
    let whole = value.bits() - 1 - TABLE_BITS;
    let mut mantissa = value << (SQUARE_BITS - TABLE_BITS - whole);
    let mut logarithm = BigUint::from(whole);
    for _ in 0..bits {
        mantissa = (&mantissa * &mantissa) >> SQUARE_BITS;
        let carry = mantissa.bits() - 1 - SQUARE_BITS;
        mantissa >>= carry;
        logarithm = (logarithm << 1u32) + carry;
    }
    logarithm
}

/// (ln 2)^n/n! in units of 2^-127.
fn series(ln2: &BigUint) -> [u128; COEFFICIENTS_FULL] {
    let mut term = BigUint::one() << TABLE_BITS;
    std::array::from_fn(|n| {
        if n > 0 {
            term = ((&term * ln2) >> TABLE_BITS) / n;
        }
        (&term >> (TABLE_BITS - UNIFORM_BITS)).to_u128().unwrap_or(0)
    })
}
