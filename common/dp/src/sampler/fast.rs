//! A fast discrete Gaussian in constant time: points under a staircase, in integers only.
//!
//! Magnitudes are cut into K buckets of W = 2^b integers, with 1 <= σ/W < 2 and K·W >= 13σ. With
//! ρ(x) = exp(-x²/(2σ²)), w_k = ρ(kW) and S = Σ w_k, a trial draws a uniform U in [0, 1), a sign
//! and a uniform offset o. U falls into bucket k, the one with T_k <= U < T_{k+1}, T_k = Σ_{j<k}
//! w_j/S, and x = kW + o is accepted where U - T_k < ρ(x)/S: that is, a point drawn uniformly
//! under a staircase is kept where it is under the curve. Minus zero is refused. So ±x comes out
//! with probability proportional to ρ(x): exactly N_Z(0, σ²) cut at |x| < KW.
//!
//! **Law.** U has 127 bits. The first 63 settle a trial but for a few thousand values of 2^63;
//! those *unsure* trials are settled by all 127, in [`resolve`]. What differs from N_Z(0, σ²), and
//! by how much, is proved in `docs/privacy.md`: one draw is within total variation 2^-89.
//!
//! **Time.** 256 trials form a block, and every block executes the same instructions on the same
//! addresses, whatever is drawn, but for one thing: where an accepted draw is stored depends on how
//! many were accepted before it. Trials are independent and alike, so which of them were accepted
//! says nothing about the values that were (section 7 of `docs/privacy.md`). There is no branch on
//! a drawn value, no table indexed by one and no lazily drawn word: every block settles exactly
//! one trial in full, the unsure one or a dummy; two unsure trials in one block (2^-84) are both
//! refused, which is part of the 2^-89. Assumed to take the same time for all operands are the
//! machine's addition, logic, shift by a variable amount and 64×64-bit multiplication.
//!
//! Draws depend on the generator's words alone: a seed gives the same draws on every machine and
//! however they are asked for.

mod block;
mod law;
mod resolve;

use std::fmt;

use rand_core::CryptoRng;

use self::{
    block::{Block, TRIALS},
    law::Law,
};
use super::{SamplerError, Words};
use crate::{Noise, Rational};

/// -log2 of the distance of one draw from the exact law.
const TOTAL_VARIATION_BITS: u64 = 89;

/// Fast discrete Gaussian noise for 1 <= σ² <= 2^80, in constant time.
pub struct FastDiscreteGaussian<R> {
    law: Law,
    rng: Words<R>,
    block: Box<Block>,
    /// How many of the block's accepted draws were handed out.
    taken: usize,
    /// How many it accepted.
    accepted: usize,
}

impl<R: CryptoRng> FastDiscreteGaussian<R> {
    /// Noise of parameter `variance` = σ² in squared lattice units. Takes 20 KiB.
    ///
    /// # Errors
    /// [`SamplerError`] for σ² out of range.
    pub fn new(variance: &Rational, rng: R) -> Result<Self, SamplerError> {
        let law = Law::new(variance)?;
        Ok(Self { law, rng: Words::new(rng), block: Box::default(), taken: 0, accepted: 0 })
    }

    /// One draw. The next draws of the same block are kept for the next calls.
    #[inline]
    pub fn sample(&mut self) -> i64 {
        while self.taken == self.accepted {
            self.refill();
        }
        let draw = self.block.draws()[self.taken % TRIALS];
        self.taken += 1;
        draw
    }

    /// An upper bound on the total variation distance of one draw from N_Z(0, σ²), given uniform
    /// bits. n shares of d coordinates add n·d·TV·(1 + e^ε) to δ.
    #[must_use]
    pub fn total_variation_bound(&self) -> Rational {
        total_variation_bound()
    }

    #[inline(never)]
    fn refill(&mut self) {
        self.rng.fill(self.block.words());
        self.accepted = self.block.run(&self.law);
        self.taken = 0;
    }
}

/// The bound that holds for every admissible σ²: 2^-89.
#[must_use]
pub fn total_variation_bound() -> Rational {
    Rational::power_of_half(TOTAL_VARIATION_BITS)
}

impl<R: CryptoRng> Noise for FastDiscreteGaussian<R> {
    fn add_to(&mut self, total: &mut [i64]) {
        let mut rest = total;
        while !rest.is_empty() {
            if self.taken == self.accepted {
                self.refill();
            }
            let draws = &self.block.draws()[self.taken..self.accepted];
            let count = draws.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            for (coordinate, draw) in now.iter_mut().zip(draws) {
                *coordinate = coordinate.wrapping_add(*draw);
            }
            self.taken += count;
            rest = later;
        }
    }

    fn variance(&self) -> &Rational {
        self.law.variance()
    }
}

impl<R> fmt::Debug for FastDiscreteGaussian<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastDiscreteGaussian")
            .field("variance", self.law.variance())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
