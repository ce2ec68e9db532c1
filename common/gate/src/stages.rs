//! The stages a vector passes, in this order and no other. None of them can be made, copied or
//! looked at outside this crate, and each consumes the one before it.

use chorale_dp::{Noise, clip, rounding};
use chorale_plan::PersonVector;
use chorale_secagg::{MaskTicket, PackedVector, TicketError};
use rand_core::CryptoRng;
use zeroize::{Zeroize as _, Zeroizing};

/// Room for one person's integers, used again for each person and wiped at the end.
pub(crate) struct Scratch(Zeroizing<Vec<i64>>);

/// One person's vector on the lattice, unclipped. For a sparse part only its given coordinates.
pub(crate) struct Quantised<'a>(&'a mut [i64]);

/// One person's vector of L2 norm at most ⌊Δ/M_cap⌋.
pub(crate) struct Clipped<'a>(&'a [i64]);

/// The sum of clipped vectors.
pub(crate) struct Summed(Zeroizing<Vec<i64>>);

/// The sum with this agent's share of the noise, or without for an unprotected federation.
pub(crate) struct Noised(Zeroizing<Vec<i64>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(Vec::new()))
    }

    /// Rounds the values of `part`, which was checked by the sink, without bias.
    pub(crate) fn quantise<R: CryptoRng + ?Sized>(
        &mut self,
        part: PersonVector<'_>,
        scale_bits: u8,
        rng: &mut R,
    ) -> Result<Quantised<'_>, rounding::RoundingError> {
        let (PersonVector::Dense(values) | PersonVector::Sparse { value: values, .. }) = part;
        if self.0.len() < values.len() {
            // Wiped before it is given up for a longer one.
            self.0.zeroize();
            self.0.resize(values.len(), 0);
        }
        let row = &mut self.0[..values.len()];
        rounding::round_dense(values, scale_bits, row, rng)?;
        Ok(Quantised(row))
    }
}

impl<'a> Quantised<'a> {
    /// Shrinks the vector to L2 norm at most `bound`, exactly: this agent's part of the sensitivity.
    pub(crate) fn clip(self, bound: u64) -> Clipped<'a> {
        clip::clip_to(self.0, bound);
        Clipped(self.0)
    }
}

impl Clipped<'_> {
    /// ‖q‖². Below 2^124: it is at most Δ², and a Δ of 2^62 or more has no modulus.
    pub(crate) fn norm_squared(&self) -> u128 {
        self.0.iter().map(|x| u128::from(x.unsigned_abs())).map(|x| x * x).sum()
    }
}

impl Summed {
    pub(crate) fn zero(coordinates: usize) -> Self {
        Self(Zeroizing::new(vec![0; coordinates]))
    }

    /// Adds one person's vector; `index` names the coordinates of a sparse one. A vector is as long
    /// as the task's coordinates, so that no person reaches the canary lanes behind them.
    ///
    /// No sum leaves i64: each coordinate is at most Δ in magnitude, at most P_max are added, and
    /// a spec with P_max·Δ of 2^61 or more has no modulus.
    pub(crate) fn add(&mut self, person: Clipped<'_>, index: Option<&[u32]>) {
        match index {
            None => {
                for (sum, value) in self.0.iter_mut().zip(person.0) {
                    *sum += value;
                }
            }
            Some(index) => {
                for (index, value) in index.iter().zip(person.0) {
                    self.0[*index as usize] += value;
                }
            }
        }
    }

    /// Adds this agent's share of the noise to every coordinate.
    pub(crate) fn noise(mut self, noise: &mut dyn Noise) -> Noised {
        noise.add_to(&mut self.0);
        Noised(self.0)
    }

    /// For a federation whose first ledger entry says ε = ∞, at an agent whose policy allows it.
    pub(crate) fn unprotected(self) -> Noised {
        Noised(self.0)
    }
}

impl Noised {
    /// Masks the vector for one session and packs it.
    pub(crate) fn mask(self, ticket: impl MaskTicket) -> Result<PackedVector, TicketError> {
        ticket.mask(self.0)
    }
}
