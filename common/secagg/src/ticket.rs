//! The right to mask one vector in one session: what a cohort member holds after COMMIT.
//!
//! A ticket is made from the keys of one session and is used up by masking, so that no two
//! vectors ever meet the same keystream.

use std::fmt;

use chorale_wire::{Digest, Keystream, SessionId, limits::COORDINATES_MAX};
use zeroize::Zeroizing;

use crate::{
    keystream::{Keystreams, Lane},
    mask::{Modulus, PairKey, SelfKey, Sign},
    packing,
    scheme::MaskTicket,
};

/// Fewest pairwise masks in a ticket: a cohort of four, since with one corrupt agent fewer leave
/// no sum of three honest ones.
pub const PAIRS_MIN: usize = 3;

/// What a ticket is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketBinding {
    /// The session.
    pub session: SessionId,
    /// Payload digest of the signed round spec.
    pub spec: Digest,
    /// Coordinates of the vector, 1 to [`COORDINATES_MAX`].
    pub coordinates: usize,
    /// The modulus.
    pub modulus: Modulus,
    /// What the masks are made of.
    pub keystream: Keystream,
}

/// Why a ticket was not made, or did not mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Fewer pairwise masks than [`PAIRS_MIN`].
    #[error("a vector with {pairs} pairwise masks is not hidden; at least {PAIRS_MIN} are needed")]
    Pairs {
        /// Number of pairwise keys given.
        pairs: usize,
    },
    /// The vector would be empty or too long.
    #[error("a vector of {coordinates} coordinates is not offered: use 1 to {COORDINATES_MAX}")]
    Range {
        /// The coordinates asked for.
        coordinates: usize,
    },
    /// The vector is not as long as the round's.
    #[error("a vector of {given} coordinates was to be masked in a round of {expected}")]
    Coordinates {
        /// Coordinates of the vector.
        given: usize,
        /// Coordinates of the round.
        expected: usize,
    },
}

/// The ticket of pairwise masks: a self mask and one pairwise mask for each neighbour in the cohort.
pub struct PairwiseTicket {
    binding: TicketBinding,
    self_key: SelfKey,
    pairs: Vec<(PairKey, Sign)>,
}

impl PairwiseTicket {
    /// A ticket from the keys of one session ([`crate::mask::self_key`],
    /// [`crate::mask::pairwise_keys`]).
    ///
    /// # Errors
    /// [`TicketError::Pairs`] or [`TicketError::Range`].
    pub fn new(
        binding: TicketBinding,
        self_key: SelfKey,
        pairs: Vec<(PairKey, Sign)>,
    ) -> Result<Self, TicketError> {
        if pairs.len() < PAIRS_MIN {
            return Err(TicketError::Pairs { pairs: pairs.len() });
        }
        if !(1..=COORDINATES_MAX).contains(&binding.coordinates) {
            return Err(TicketError::Range { coordinates: binding.coordinates });
        }
        Ok(Self { binding, self_key, pairs })
    }

    fn mask_in<L: Lane>(&self, total: &[i64]) -> Vec<u8> {
        let modulus = self.binding.modulus;
        let keys = self.pairs.iter().map(|(key, sign)| (&*key.0, *sign));
        let keys = keys.chain(std::iter::once((&*self.self_key.0, Sign::Add)));
        let mut streams = Keystreams::new(self.binding.keystream, keys, 0);
        let mut bytes = vec![0; packing::packed_len(total.len(), modulus)];
        let block_bytes = packing::packed_len(L::PER_BLOCK, modulus);
        // From a whole cache line on, which saves a few per cent; at most 15 lanes before it.
        let mut lanes = Zeroizing::new(vec![L::default(); L::PER_BLOCK + 16]);
        let aligned = lanes.as_ptr().align_offset(64).min(16);
        for (block, bytes) in total.chunks(L::PER_BLOCK).zip(bytes.chunks_mut(block_bytes)) {
            let lanes = &mut lanes[aligned..][..block.len()];
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane = L::from_i64(*value);
            }
            streams.apply_block(lanes);
            packing::pack_into(lanes, modulus, bytes);
        }
        bytes
    }
}

impl MaskTicket for PairwiseTicket {
    fn session(&self) -> SessionId {
        self.binding.session
    }

    fn spec(&self) -> Digest {
        self.binding.spec
    }

    fn coordinates(&self) -> usize {
        self.binding.coordinates
    }

    fn modulus_bits(&self) -> u8 {
        self.binding.modulus.bits()
    }

    fn mask(self, total: Zeroizing<Vec<i64>>) -> Result<PackedVector, TicketError> {
        if total.len() != self.binding.coordinates {
            return Err(TicketError::Coordinates {
                given: total.len(),
                expected: self.binding.coordinates,
            });
        }
        let bytes = if self.binding.modulus.is_narrow() {
            self.mask_in::<u32>(&total)
        } else {
            self.mask_in::<u64>(&total)
        };
        Ok(PackedVector { bytes })
    }
}

impl fmt::Debug for PairwiseTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairwiseTicket")
            .field("binding", &self.binding)
            .field("pairs", &self.pairs.len())
            .finish_non_exhaustive()
    }
}

/// A masked vector, packed to w bits a coordinate. Only a [`MaskTicket`] makes one.
pub struct PackedVector {
    bytes: Vec<u8>,
}

impl PackedVector {
    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The packed bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The packed bytes, moved out.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Plain SHA-256 of the packed bytes, as the masked header carries it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::plain(&self.bytes)
    }
}

impl fmt::Debug for PackedVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedVector({} bytes)", self.bytes.len())
    }
}
