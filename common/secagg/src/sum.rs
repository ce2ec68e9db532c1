//! The coordinator's side of a round: add the masked vectors, take off what does not cancel.

use std::{fmt, num::NonZeroUsize};

use chorale_wire::{SessionId, Slot};
use zeroize::Zeroizing;

use crate::{
    keys::{PairwiseSecret, SecretScalar},
    keystream::{Lane, apply_all},
    mask::{self, MaskError, Modulus, PairKey, Sign},
    packing::{self, PackingError},
};

/// The sum of the masked vectors of one session, and the masks still to be taken off it.
///
/// Masks are collected first and removed together in [`Sum::finish`], block by block, so that
/// the vector passes through the cache once however many agents dropped out.
pub struct Sum {
    modulus: Modulus,
    lanes: Lanes,
    vectors: usize,
    self_masks: usize,
    keys: Vec<(Zeroizing<[u8; 32]>, Sign)>,
}

enum Lanes {
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

/// Why a sum cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// The self masks taken off are not those of the vectors added: the result would be noise.
    #[error("{vectors} masked vectors were added, but {self_masks} self masks were taken off")]
    SelfMasks {
        /// Vectors added.
        vectors: usize,
        /// Self masks taken off.
        self_masks: usize,
    },
}

impl Sum {
    /// The empty sum of vectors of `coordinates` coordinates modulo 2^w.
    #[must_use]
    pub fn new(coordinates: usize, modulus: Modulus) -> Self {
        Self {
            modulus,
            lanes: if modulus.is_narrow() {
                Lanes::Narrow(vec![0; coordinates])
            } else {
                Lanes::Wide(vec![0; coordinates])
            },
            vectors: 0,
            self_masks: 0,
            keys: Vec::new(),
        }
    }

    /// Adds a survivor's masked vector. Nothing is added when it is refused.
    ///
    /// # Errors
    /// [`PackingError`] when the bytes are no packed vector of this round; the sender is to blame.
    pub fn add_packed(&mut self, bytes: &[u8]) -> Result<(), PackingError> {
        packing::check(bytes, self.coordinates(), self.modulus)?;
        match &mut self.lanes {
            Lanes::Narrow(lanes) => packing::add_packed(lanes, bytes, self.modulus),
            Lanes::Wide(lanes) => packing::add_packed(lanes, bytes, self.modulus),
        }
        self.vectors += 1;
        Ok(())
    }

    /// Takes off the self mask of a survivor whose self seed was reconstructed and checked.
    pub fn subtract_self(&mut self, session: SessionId, self_seed: &SecretScalar) {
        self.self_masks += 1;
        let key = mask::self_key(session, self_seed);
        self.keys.push((key.0, Sign::Subtract));
    }

    /// Takes off the pairwise mask of a survivor with an agent that dropped out, where `applied`
    /// is the sign with which the survivor applied it: `Sign::of(survivor, dropped)`.
    pub fn cancel_pair(&mut self, key: PairKey, applied: Sign) {
        self.keys.push((key.0, applied.opposite()));
    }

    /// Takes off all masks that the survivors among its neighbours share with the agent in slot
    /// `dropped`, whose pairwise key was reconstructed and checked. `survivors` are given by slot
    /// and advertised X25519 key. Nothing is taken off when one is refused.
    ///
    /// # Errors
    /// [`MaskError`], as [`mask::pairwise_keys`].
    pub fn cancel_dropped(
        &mut self,
        session: SessionId,
        secret: &PairwiseSecret,
        dropped: Slot,
        survivors: impl IntoIterator<Item = (Slot, [u8; 32])>,
    ) -> Result<(), MaskError> {
        // The dropped agent would have applied the opposite of what the survivor applied, so its
        // own missing masks are exactly what cancels the survivors'.
        let missing = mask::pairwise_keys(session, secret, dropped, survivors)?;
        for (key, sign) in missing {
            self.cancel_pair(key, sign.opposite());
        }
        Ok(())
    }

    /// Coordinates of the vectors.
    #[must_use]
    pub fn coordinates(&self) -> usize {
        match &self.lanes {
            Lanes::Narrow(lanes) => lanes.len(),
            Lanes::Wide(lanes) => lanes.len(),
        }
    }

    /// Number of masked vectors added.
    #[must_use]
    pub fn vectors(&self) -> usize {
        self.vectors
    }

    /// The sum without masks, each coordinate centred into (-2^(w-1), 2^(w-1)].
    ///
    /// # Errors
    /// [`SumError::SelfMasks`] unless exactly one self mask was taken off for each vector.
    pub fn finish(self) -> Result<Vec<i64>, SumError> {
        self.finish_on(NonZeroUsize::MIN)
    }

    /// [`Self::finish`] with the masks generated on up to `threads` threads.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_on(self, threads: NonZeroUsize) -> Result<Vec<i64>, SumError> {
        if self.vectors != self.self_masks {
            return Err(SumError::SelfMasks { vectors: self.vectors, self_masks: self.self_masks });
        }
        Ok(match self.lanes {
            Lanes::Narrow(lanes) => unmask(lanes, &self.keys, self.modulus, threads),
            Lanes::Wide(lanes) => unmask(lanes, &self.keys, self.modulus, threads),
        })
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sum")
            .field("modulus", &self.modulus)
            .field("vectors", &self.vectors)
            .field("self_masks", &self.self_masks)
            .finish_non_exhaustive()
    }
}

fn unmask<L: Lane>(
    mut lanes: Vec<L>,
    keys: &[(Zeroizing<[u8; 32]>, Sign)],
    modulus: Modulus,
    threads: NonZeroUsize,
) -> Vec<i64> {
    apply_all(&mut lanes, keys, threads.get());
    lanes.iter().map(|lane| modulus.centre(lane.to_u64())).collect()
}
