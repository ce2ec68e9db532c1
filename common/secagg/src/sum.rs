//! The coordinator's side of a round: add the masked vectors, take off what does not cancel.

use std::{fmt, num::NonZeroUsize};

use chorale_wire::{Keystream, SessionId, Slot};
use zeroize::Zeroizing;

use crate::{
    keys::{PairwiseSecret, SecretScalar},
    keystream::{Lane, apply_all},
    mask::{self, MaskError, Modulus, Sign},
    packing::{self, PackingError},
    scheme::MaskedSum,
    spread::spread,
};

/// The sum of the masked vectors of one session.
pub struct Sum {
    modulus: Modulus,
    keystream: Keystream,
    lanes: Lanes,
    vectors: usize,
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
    /// The masks of an agent that dropped out cannot be derived.
    #[error("the pairwise masks of slot {dropped} cannot be derived")]
    Keys {
        /// The agent.
        dropped: Slot,
        /// Which of its neighbours, and why.
        #[source]
        source: MaskError,
    },
}

/// The secrets that the coordinator reconstructed once the survivors were certified: of each agent
/// one kind only. Wiped when dropped.
pub struct PairwiseOpening {
    session: SessionId,
    self_seeds: Vec<SecretScalar>,
    dropped: Vec<Dropped>,
}

/// An agent that dropped out, and its neighbours that did not.
struct Dropped {
    slot: Slot,
    secret: PairwiseSecret,
    survivors: Vec<(Slot, [u8; 32])>,
}

impl PairwiseOpening {
    /// An opening of vectors masked for `session`, without secrets yet.
    #[must_use]
    pub fn new(session: SessionId) -> Self {
        Self { session, self_seeds: Vec::new(), dropped: Vec::new() }
    }

    /// A survivor's self seed, reconstructed and checked ([`crate::keys::check_self`]).
    pub fn survived(&mut self, self_seed: SecretScalar) {
        self.self_seeds.push(self_seed);
    }

    /// The pairwise key of the agent in slot `dropped`, reconstructed and checked
    /// ([`crate::keys::check_pairwise`]). `survivors` are those among its neighbours, by slot and
    /// advertised X25519 key.
    pub fn dropped_out(
        &mut self,
        dropped: Slot,
        secret: PairwiseSecret,
        survivors: impl IntoIterator<Item = (Slot, [u8; 32])>,
    ) {
        let survivors = survivors.into_iter().collect();
        self.dropped.push(Dropped { slot: dropped, secret, survivors });
    }

    /// The keys of all masks that are left in the sum, each with the sign that takes it off.
    fn keys(&self, threads: NonZeroUsize) -> Result<Vec<(MaskKey, Sign)>, SumError> {
        // One agreement at a time, since these cost far more than all the rest.
        let pairs: Vec<(&Dropped, (Slot, [u8; 32]))> = self
            .dropped
            .iter()
            .flat_map(|dropped| dropped.survivors.iter().map(move |peer| (dropped, *peer)))
            .collect();
        let missing = spread(threads, &pairs, |(dropped, peer)| {
            // The dropped agent would have applied the opposite of what the survivor applied, so
            // its own missing masks are exactly what cancels the survivors'.
            let keys = mask::pairwise_keys(self.session, &dropped.secret, dropped.slot, [*peer]);
            keys.map_err(|source| SumError::Keys { dropped: dropped.slot, source })
        });
        let own = self.self_seeds.iter().map(|seed| mask::self_key(self.session, seed));
        let mut keys: Vec<(MaskKey, Sign)> = own.map(|key| (key.0, Sign::Subtract)).collect();
        for pair in missing {
            keys.extend(pair?.into_iter().map(|(key, sign)| (key.0, sign)));
        }
        Ok(keys)
    }
}

type MaskKey = Zeroizing<[u8; 32]>;

impl fmt::Debug for PairwiseOpening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairwiseOpening")
            .field("survivors", &self.self_seeds.len())
            .field("dropped", &self.dropped.len())
            .finish_non_exhaustive()
    }
}

impl Sum {
    /// The empty sum of vectors of `coordinates` coordinates modulo 2^w.
    #[must_use]
    pub fn new(coordinates: usize, modulus: Modulus, keystream: Keystream) -> Self {
        Self {
            modulus,
            keystream,
            lanes: if modulus.is_narrow() {
                Lanes::Narrow(vec![0; coordinates])
            } else {
                Lanes::Wide(vec![0; coordinates])
            },
            vectors: 0,
        }
    }

    /// Coordinates of the vectors.
    #[must_use]
    pub fn coordinates(&self) -> usize {
        match &self.lanes {
            Lanes::Narrow(lanes) => lanes.len(),
            Lanes::Wide(lanes) => lanes.len(),
        }
    }
}

impl MaskedSum for Sum {
    type Opening = PairwiseOpening;

    fn add_packed(&mut self, bytes: &[u8]) -> Result<(), PackingError> {
        packing::check(bytes, self.coordinates(), self.modulus)?;
        match &mut self.lanes {
            Lanes::Narrow(lanes) => packing::add_packed(lanes, bytes, self.modulus),
            Lanes::Wide(lanes) => packing::add_packed(lanes, bytes, self.modulus),
        }
        self.vectors += 1;
        Ok(())
    }

    fn vectors(&self) -> usize {
        self.vectors
    }

    /// All masks are taken off block by block, so that the vector passes through the cache once
    /// however many agents dropped out.
    fn open(self, opening: &PairwiseOpening, threads: NonZeroUsize) -> Result<Vec<i64>, SumError> {
        let (vectors, self_masks) = (self.vectors, opening.self_seeds.len());
        if vectors != self_masks {
            return Err(SumError::SelfMasks { vectors, self_masks });
        }
        let keys = opening.keys(threads)?;
        Ok(match self.lanes {
            Lanes::Narrow(lanes) => unmask(lanes, &keys, self.modulus, self.keystream, threads),
            Lanes::Wide(lanes) => unmask(lanes, &keys, self.modulus, self.keystream, threads),
        })
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sum")
            .field("modulus", &self.modulus)
            .field("keystream", &self.keystream)
            .field("vectors", &self.vectors)
            .finish_non_exhaustive()
    }
}

fn unmask<L: Lane>(
    mut lanes: Vec<L>,
    keys: &[(MaskKey, Sign)],
    modulus: Modulus,
    keystream: Keystream,
    threads: NonZeroUsize,
) -> Vec<i64> {
    apply_all(keystream, &mut lanes, keys, threads.get());
    lanes.iter().map(|lane| modulus.centre(lane.to_u64())).collect()
}
