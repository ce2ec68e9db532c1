//! Mask keys: which keystream an agent adds to its vector, and which one it subtracts.
//!
//! Every key is derived under the session id, which is a digest of the epoch, the round, the
//! roster, the spec and the cohort. Agents that were shown different ones derive different keys, and
//! their masks do not cancel. That alone does not make the coordinator's numbers uniform: the
//! secrets behind the keys are the same in every session that uses one of an epoch's keys, so a self
//! seed that is revealed in one session would open the self mask of another. Agents therefore reveal
//! a share of it only for those that signed a vector for their own session (`chorale-round`,
//! SURVIVORS).

use std::fmt;

use chorale_wire::{SessionId, Slot};
use zeroize::Zeroizing;

use crate::keys::{PairwiseSecret, SecretScalar, hkdf_sha256};

/// The modulus 2^w of the masked vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    bits: u8,
}

/// The modulus asked for is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a modulus of {bits} bits is not offered: use {} to {}",
    Modulus::BITS_MIN,
    Modulus::BITS_MAX
)]
pub struct ModulusError {
    /// The bits asked for.
    pub bits: u8,
}

impl Modulus {
    /// Fewest bits: a sum has a sign and something beside it.
    pub const BITS_MIN: u8 = 2;
    /// Most bits, so that a centred total is an `i64` with room to spare.
    pub const BITS_MAX: u8 = 62;

    /// The modulus 2^`bits`.
    ///
    /// # Errors
    /// [`ModulusError`] unless `bits` is [`Self::BITS_MIN`] to [`Self::BITS_MAX`].
    pub fn new(bits: u8) -> Result<Self, ModulusError> {
        if (Self::BITS_MIN..=Self::BITS_MAX).contains(&bits) {
            Ok(Self { bits })
        } else {
            Err(ModulusError { bits })
        }
    }

    /// Bits w of one coordinate.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Whether coordinates are computed in 32 bits rather than 64.
    #[must_use]
    pub const fn is_narrow(self) -> bool {
        self.bits <= 32
    }

    /// The low w bits.
    pub(crate) const fn mask(self) -> u64 {
        (1 << self.bits) - 1
    }

    /// The representative of `value` modulo 2^w in (-2^(w-1), 2^(w-1)].
    pub(crate) const fn centre(self, value: u64) -> i64 {
        let value = (value & self.mask()) as i64;
        if value > 1 << (self.bits - 1) { value - (1 << self.bits) } else { value }
    }
}

/// Whether a mask is added or subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// By the lower slot of a pair.
    Add,
    /// By the higher slot of a pair.
    Subtract,
}

impl Sign {
    /// The sign with which `own` applies the mask it shares with `other`: the lower slot adds,
    /// the higher one subtracts.
    ///
    /// # Errors
    /// [`MaskError::NotAPair`] when both are the same slot.
    pub fn of(own: Slot, other: Slot) -> Result<Self, MaskError> {
        match own.cmp(&other) {
            std::cmp::Ordering::Less => Ok(Self::Add),
            std::cmp::Ordering::Greater => Ok(Self::Subtract),
            std::cmp::Ordering::Equal => Err(MaskError::NotAPair { lo: own, hi: other }),
        }
    }

    /// The other sign.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Add => Self::Subtract,
            Self::Subtract => Self::Add,
        }
    }
}

/// Why a mask key cannot be derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// The other agent advertised a point of small order; that agent is to blame.
    #[error("slots {lo} and {hi} cannot share a mask: a public key is a point of small order")]
    LowOrder {
        /// The lower slot of the pair.
        lo: Slot,
        /// The higher slot of the pair.
        hi: Slot,
    },
    /// The slots are not a pair in ascending order. The caller is to blame.
    #[error("slots {lo} and {hi} are not a pair in ascending order")]
    NotAPair {
        /// The first slot given.
        lo: Slot,
        /// The second slot given.
        hi: Slot,
    },
}

/// The key of the mask that two agents share in one session; wiped when dropped.
pub struct PairKey(pub(crate) Zeroizing<[u8; 32]>);

/// The key of an agent's own mask in one session; wiped when dropped.
pub struct SelfKey(pub(crate) Zeroizing<[u8; 32]>);

impl fmt::Debug for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairKey(redacted)")
    }
}

impl fmt::Debug for SelfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelfKey(redacted)")
    }
}

/// The key of the mask shared by slots `lo` < `hi`, the same from either side: HKDF-SHA256 with
/// the session as salt, the X25519 shared secret as key material and the info
/// "pair" | lo | hi (two big-endian bytes each).
///
/// # Errors
/// [`MaskError::LowOrder`] when the shared secret is all zero (RFC 7748, section 6.1);
/// [`MaskError::NotAPair`] unless `lo` < `hi`.
pub fn pairwise_key(
    session: SessionId,
    own: &PairwiseSecret,
    their_public: &[u8; 32],
    lo: Slot,
    hi: Slot,
) -> Result<PairKey, MaskError> {
    if lo >= hi {
        return Err(MaskError::NotAPair { lo, hi });
    }
    let shared = own.agree(their_public).ok_or(MaskError::LowOrder { lo, hi })?;
    Ok(PairKey(hkdf_sha256(
        Some(session.as_bytes()),
        shared.as_ref(),
        &[b"pair", &lo.0.to_be_bytes(), &hi.0.to_be_bytes()],
    )))
}

/// The keys and signs of all masks that `own_slot` shares with `peers`, each given by slot and
/// advertised X25519 key, in the order given.
///
/// # Errors
/// As [`pairwise_key`] and [`Sign::of`].
pub fn pairwise_keys(
    session: SessionId,
    own: &PairwiseSecret,
    own_slot: Slot,
    peers: impl IntoIterator<Item = (Slot, [u8; 32])>,
) -> Result<Vec<(PairKey, Sign)>, MaskError> {
    peers
        .into_iter()
        .map(|(peer, public)| {
            let sign = Sign::of(own_slot, peer)?;
            let (lo, hi) = (own_slot.min(peer), own_slot.max(peer));
            Ok((pairwise_key(session, own, &public, lo, hi)?, sign))
        })
        .collect()
}

/// The key of an agent's own mask: HKDF-SHA256 with the session as salt, the self seed as key
/// material and the info "self".
#[must_use]
pub fn self_key(session: SessionId, self_seed: &SecretScalar) -> SelfKey {
    SelfKey(hkdf_sha256(Some(session.as_bytes()), self_seed.to_bytes().as_ref(), &[b"self"]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_wire::{Digest, Epoch, RoundNumber, SlotSet};

    use super::*;
    use crate::keys::LOW_ORDER;

    fn session(round: u64) -> SessionId {
        let digest = Digest::plain(b"fixed");
        SessionId::new(Epoch(1), RoundNumber(round), &digest, &digest, &SlotSet::empty(4))
    }

    #[test]
    fn both_sides_derive_one_key_and_nobody_else_does() {
        let (alice, bob) =
            (PairwiseSecret::from_bytes([1; 32]), PairwiseSecret::from_bytes([2; 32]));
        let key = |own: &PairwiseSecret, other: &PairwiseSecret, round, lo, hi| {
            *pairwise_key(session(round), own, &other.public(), Slot(lo), Slot(hi)).unwrap().0
        };
        let reference = key(&alice, &bob, 1, 0, 3);
        assert_eq!(reference, key(&bob, &alice, 1, 0, 3));
        // Another session, another pair, another key: another mask.
        assert_ne!(reference, key(&alice, &bob, 2, 0, 3));
        assert_ne!(reference, key(&alice, &bob, 1, 0, 2));
        assert_ne!(reference, key(&alice, &bob, 1, 1, 3));
        assert_ne!(reference, key(&alice, &PairwiseSecret::from_bytes([3; 32]), 1, 0, 3));

        let seed = |byte| SecretScalar::from_bytes(&[byte; 32]).unwrap();
        let own = *self_key(session(1), &seed(1)).0;
        assert_ne!(own, *self_key(session(2), &seed(1)).0);
        assert_ne!(own, *self_key(session(1), &seed(2)).0);
    }

    #[test]
    fn low_order_points_are_refused() {
        let own = PairwiseSecret::from_bytes([1; 32]);
        for point in LOW_ORDER {
            let point: [u8; 32] = hex::decode(point).unwrap().try_into().unwrap();
            // Also in its second spelling, with the bit that X25519 ignores.
            for top in [0, 0x80] {
                let mut point = point;
                point[31] |= top;
                let refused = pairwise_key(session(1), &own, &point, Slot(0), Slot(1));
                assert!(matches!(refused, Err(MaskError::LowOrder { .. })));
            }
        }
    }

    #[test]
    fn a_pair_is_two_slots_in_order() {
        let own = PairwiseSecret::from_bytes([1; 32]);
        for (lo, hi) in [(1, 1), (2, 1)] {
            let refused = pairwise_key(session(1), &own, &[9; 32], Slot(lo), Slot(hi));
            assert!(matches!(refused, Err(MaskError::NotAPair { .. })));
        }
        assert_eq!(Sign::of(Slot(1), Slot(2)), Ok(Sign::Add));
        assert_eq!(Sign::of(Slot(2), Slot(1)), Ok(Sign::Subtract));
        assert!(Sign::of(Slot(2), Slot(2)).is_err());
    }

    #[test]
    fn centring() {
        let modulus = Modulus::new(8).unwrap();
        for (value, centred) in [(0, 0), (1, 1), (127, 127), (128, 128), (129, -127), (255, -1)] {
            assert_eq!(modulus.centre(value), centred);
            assert_eq!(modulus.centre(value + 256), centred);
        }
        let widest = Modulus::new(62).unwrap();
        assert_eq!(widest.centre(1 << 61), 1 << 61);
        assert_eq!(widest.centre((1 << 61) + 1), -(1 << 61) + 1);
        for bits in [0, 1, 63, 64, 255] {
            assert!(Modulus::new(bits).is_err());
        }
    }
}
