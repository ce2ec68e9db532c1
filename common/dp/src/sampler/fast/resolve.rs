//! One trial settled by all 127 bits, in constant time: what the first 63 bits decide elsewhere is
//! what this decides.

use std::hint::black_box;

use super::{
    block::place,
    law::{COEFFICIENTS_FULL, Law, POSITION_BITS},
};

/// A settled trial.
#[derive(Clone, Copy)]
pub(super) struct Settled {
    /// 1 if x is accepted (minus zero included, which is refused later), else 0.
    pub(super) accepted: u64,
    /// x/W in units of 2^-59.
    pub(super) position: u64,
}

/// Settles the trial of a head, an offset and a tail: U is 63 bits of the head and 64 of the tail.
pub(super) fn resolve(law: &Law, head: u64, offset: u64, tail: u64) -> Settled {
    let uniform = u128::from(head >> 1) << 64 | u128::from(tail);
    let (mut bucket, mut step) = (0u64, 0u128);
    for threshold in &law.thresholds {
        // Both are at most 2^127, so the top bit of the difference is the borrow.
        let reached = mask(uniform.wrapping_sub(*threshold) >> 127 ^ 1);
        bucket += reached as u64 & 1;
        step ^= (step ^ threshold) & reached;
    }
    let position = place(law, bucket, offset);
    let above_curve = (uniform - step).wrapping_sub(height_full(law, position));
    Settled { accepted: (above_curve >> 127) as u64, position }
}

/// ρ(x)/S in units of 2^-127, off by fewer than 2^7 units: 31 terms, each cut twice, the rest of
/// the series below one unit, and an exponent off by at most 4 units of 2^-128.
pub(super) fn height_full(law: &Law, position: u64) -> u128 {
    let square = u128::from(position) * u128::from(position);
    // 118 fractional bits of the square and 128 of the curvature.
    let (high, low) = multiply_wide(square, law.curvature_full);
    let whole_bits = 2 * POSITION_BITS;
    let (fraction, carry) =
        (high << (128 - whole_bits) | low >> whole_bits).overflowing_add(law.depth_full.1);
    let whole = (high >> whole_bits) as u64 + law.depth_full.0 + u64::from(carry);
    let mut sum = law.coefficients_full[COEFFICIENTS_FULL - 1];
    for coefficient in law.coefficients_full[..COEFFICIENTS_FULL - 1].iter().rev() {
        sum = coefficient.wrapping_sub(multiply_wide(sum, fraction).0);
    }
    // Shifts by 1, 2, 4, .. 128, each done or not by a mask: an exponent is below 256.
    for bit in 0..7 {
        sum ^= (sum ^ sum >> (1 << bit)) & mask(u128::from(whole >> bit & 1));
    }
    sum & !mask(u128::from(whole >> 7 & 1))
}

/// All ones for 1, nothing for 0. The compiler is not told, so that it makes no branch of it.
fn mask(bit: u128) -> u128 {
    black_box(bit.wrapping_neg())
}

/// The 256-bit product as (high, low).
pub(super) fn multiply_wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (low, middle, other, high) = (a0 * b0, a1 * b0, a0 * b1, a1 * b1);
    let carry = (low >> 64) + (middle & LOW) + (other & LOW);
    (high + (middle >> 64) + (other >> 64) + (carry >> 64), carry << 64 | low & LOW)
}
