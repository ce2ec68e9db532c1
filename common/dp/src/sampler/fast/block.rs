//! A block of trials, in passes over whole arrays: the same instructions on the same addresses
//! whatever was drawn, except for where accepted draws are stored.
//!
//! Conditions are computed as bits and masks by subtraction and shift, never as `bool`, so that
//! there is nothing for the compiler to branch on.

use std::hint::black_box;

use zeroize::Zeroize;

use super::{
    law::{BUCKET_MASK, Law, POSITION_BITS},
    resolve::{Settled, resolve},
};

/// Trials of a block.
pub(super) const TRIALS: usize = 256;
/// Words of a block: a head and an offset for each trial, and one tail for the unsure trial.
const WORDS: usize = 2 * TRIALS + 1;

/// Half the width of the band around the curve in which 63 bits do not settle a trial, in units of
/// 2^-63. The computed curve and staircase are off by fewer than 197 units (`docs/privacy.md`).
pub(super) const BAND: u64 = 256;
/// log2 of the width of the whole band.
const BAND_BITS: u32 = (2 * BAND).ilog2();

/// Fractional bits of the exponent t.
pub(super) const EXPONENT_BITS: u32 = 57;
/// Fractional bits of the upper half of a square of a position.
const SQUARE_BITS: u32 = 2 * POSITION_BITS - 64;

/// 2^-f for f in [0, 1] as Σ (-1)^n·c_n·f^n: the polynomial of degree 11 through Chebyshev's nodes,
/// in units of 2^-63 and off by fewer than 24 of them, which a test proves in Bernstein's basis.
pub(super) const COEFFICIENTS: [u64; 12] = [
    0x7fff_ffff_ffff_ffeb,
    0x58b9_0bfb_e8e7_a5b6,
    0x1ebf_bdff_82c1_3f60,
    0x071a_c235_c0d7_98ab,
    0x013b_2ab6_f899_a6b5,
    0x002b_b0ff_bdb2_3cdf,
    0x0005_0c24_0cd7_4c35,
    0x0000_7ff2_6844_1f80,
    0x0000_0b15_0f7f_172a,
    0x0000_00d9_9170_74e2,
    0x0000_000e_76ab_7bfd,
    0x0000_0000_ad36_b5cd,
];

/// The state of a block; wiped when dropped.
///
/// A head holds U's first 63 bits above the sign. An offset is in a word's upper b bits. A position
/// is x/W in units of 2^-59. All arrays are in the order of the trials.
pub(super) struct Block {
    words: [u64; WORDS],
    steps: [u64; TRIALS],
    positions: [u64; TRIALS],
    heights: [u64; TRIALS],
    draws: [i64; TRIALS],
}

impl Default for Block {
    fn default() -> Self {
        Self {
            words: [0; WORDS],
            steps: [0; TRIALS],
            positions: [0; TRIALS],
            heights: [0; TRIALS],
            draws: [0; TRIALS],
        }
    }
}

/// The one trial that 63 bits did not settle. With several, their words are mixed up; `count` says
/// so and nothing of it is used. With none it is a dummy of zeros.
#[derive(Default)]
struct Unsure {
    count: u64,
    head: u64,
    offset: u64,
}

impl Block {
    /// Uniform words to be filled in before [`Block::run`].
    pub(super) fn words(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// The draws; those that the last run accepted come first.
    pub(super) fn draws(&self) -> &[i64; TRIALS] {
        &self.draws
    }

    /// Runs all trials; returns how many were accepted.
    pub(super) fn run(&mut self, law: &Law) -> usize {
        let Self { words, steps, positions, heights, draws } = self;
        let ([heads, offsets], tail) = words.as_chunks::<TRIALS>() else { return 0 };
        climb(law, heads, offsets, steps, positions);
        evaluate(law, positions, heights);
        // From here on `heights` accepts by bit 0, and `steps` is the mask of unsure trials.
        let unsure = judge(heads, offsets, steps, heights);
        let settled = resolve(law, unsure.head, unsure.offset, tail[0]);
        let lone = black_box(((unsure.count ^ 1).wrapping_sub(1) >> 63).wrapping_neg());
        keep(steps, lone);
        gather(law, heads, positions, (heights, steps), settled, draws)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.words.zeroize();
        self.steps.zeroize();
        self.positions.zeroize();
        self.heights.zeroize();
        self.draws.zeroize();
    }
}

/// The step of the staircase that each head falls on: T_k in units of 2^-63, its lower bits k; and
/// the position there. All thresholds are compared with every head, several heads at a time.
fn climb(
    law: &Law,
    heads: &[u64; TRIALS],
    offsets: &[u64; TRIALS],
    steps: &mut [u64; TRIALS],
    positions: &mut [u64; TRIALS],
) {
    const LANES: usize = 8;
    let (lanes, _) = heads.as_chunks::<LANES>();
    let (sums, _) = steps.as_chunks_mut::<LANES>();
    for (heads, steps) in lanes.iter().zip(sums) {
        let mut sums = [0u64; LANES];
        for step in &law.steps {
            for (sum, head) in sums.iter_mut().zip(heads) {
                // Both are below 2^63, so the top bit of the difference is the borrow.
                let below = (head >> 1).wrapping_sub(step.threshold) >> 63;
                *sum = sum.wrapping_add(step.rise & below.wrapping_sub(1));
            }
        }
        *steps = sums;
    }
    for index in 0..TRIALS {
        positions[index] = place(law, steps[index] & BUCKET_MASK, offsets[index]);
    }
}

/// Bucket and offset as one number.
#[inline(always)]
pub(super) fn place(law: &Law, bucket: u64, offset: u64) -> u64 {
    bucket << POSITION_BITS | (offset & law.offset_mask) >> (64 - POSITION_BITS)
}

/// The curve's height at each position.
fn evaluate(law: &Law, positions: &[u64; TRIALS], heights: &mut [u64; TRIALS]) {
    for (height, position) in heights.iter_mut().zip(positions) {
        *height = self::height(law, *position);
    }
}

/// ρ(x)/S = 2^-t in units of 2^-63, with t = (√c·x/W)² + log2 S.
#[inline(always)]
pub(super) fn height(law: &Law, position: u64) -> u64 {
    let root = multiply_high(position, law.curvature_root);
    let square = multiply_high(root, root) << (EXPONENT_BITS - SQUARE_BITS);
    let exponent = square + law.depth;
    let whole = exponent >> EXPONENT_BITS;
    let fraction = exponent << (64 - EXPONENT_BITS);
    // Even and odd terms apart, two chains of multiplications that the processor can overlap.
    let fraction_squared = multiply_high(fraction, fraction);
    let [mut even, mut odd] = [COEFFICIENTS[10], COEFFICIENTS[11]];
    for n in (0..5).rev() {
        even = COEFFICIENTS[2 * n].wrapping_add(multiply_high(even, fraction_squared));
        odd = COEFFICIENTS[2 * n + 1].wrapping_add(multiply_high(odd, fraction_squared));
    }
    let power = even.wrapping_sub(multiply_high(odd, fraction));
    // The exponent is below 128; from 64 on nothing is left of 63 bits, nor by a shift of 63.
    power >> ((whole | (whole >> 6).wrapping_neg()) & 63)
}

/// Replaces the curve's heights by 1 where a trial is accepted, and the steps by a mask of those
/// trials that 63 bits do not settle.
fn judge(
    heads: &[u64; TRIALS],
    offsets: &[u64; TRIALS],
    steps: &mut [u64; TRIALS],
    heights: &mut [u64; TRIALS],
) -> Unsure {
    let mut found = Unsure::default();
    for index in 0..TRIALS {
        let (accepted, unsure) = verdict(heads[index], steps[index], heights[index]);
        let mask = unsure.wrapping_neg();
        heights[index] = accepted;
        steps[index] = mask;
        found.count += unsure;
        found.head |= heads[index] & mask;
        found.offset |= offsets[index] & mask;
    }
    found
}

/// Whether U is under the curve; and whether it is too close to the curve or to the edge of its
/// bucket to tell, in which case it is not accepted either.
#[inline(always)]
pub(super) fn verdict(head: u64, step: u64, height: u64) -> (u64, u64) {
    // How far U is above its step, at most one bucket's height: the differences fit 64 bits.
    let above_step = (head >> 1).wrapping_sub(step & !BUCKET_MASK);
    let above_curve = above_step.wrapping_sub(height);
    let near_edge = above_step.wrapping_sub(BUCKET_MASK + 1) >> 63;
    let near_curve = (above_curve.wrapping_add(BAND) >> BAND_BITS).wrapping_sub(1) >> 63;
    let unsure = near_edge | near_curve;
    ((above_curve >> 63) & (unsure ^ 1), unsure)
}

/// Clears the masks of unsure trials if there are several.
fn keep(masks: &mut [u64; TRIALS], lone: u64) {
    for mask in masks {
        *mask &= lone;
    }
}

/// Stores the accepted draws one after the other; returns how many there are.
///
/// Where its mask is set, a trial is `settled`. Every trial is stored, where the next accepted one
/// overwrites it if it was refused. The masks come out of memory, so that the compiler does not know
/// that they are all zeros or all ones: when it did, it made a branch of them.
fn gather(
    law: &Law,
    heads: &[u64; TRIALS],
    positions: &[u64; TRIALS],
    (accepted, masks): (&[u64; TRIALS], &[u64; TRIALS]),
    settled: Settled,
    draws: &mut [i64; TRIALS],
) -> usize {
    let mut count = 0;
    for index in 0..TRIALS {
        let mask = masks[index];
        let position = positions[index] & !mask | settled.position & mask;
        let accepted = accepted[index] | settled.accepted & mask;
        let magnitude = position >> law.magnitude_shift;
        let negative = heads[index] & 1;
        // Minus zero is refused, else zero would come twice as often.
        let positive_or_not_zero = (magnitude.wrapping_neg() >> 63) | (negative ^ 1);
        // Two's complement negation where the sign bit is set.
        let draw = (magnitude ^ negative.wrapping_neg()).wrapping_add(negative);
        draws[count % TRIALS] = draw as i64;
        count += (accepted & positive_or_not_zero) as usize;
    }
    count
}

/// The upper half of the 128-bit product.
#[inline(always)]
fn multiply_high(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}
