//! Sets of roster slots: cohorts and survivors.

use serde::{Deserialize, Serialize};

use crate::{Slot, limits::AGENTS_MAX};

/// A set of slots of a roster of known size, stored as a bitmap. The representation is unique:
/// bits past the end are always zero.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawSlotSet", into = "RawSlotSet")]
pub struct SlotSet {
    agents: u16,
    bits: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct RawSlotSet {
    agents: u16,
    bits: Vec<u8>,
}

/// Why received bytes are no slot set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a slot set must have one bit for each of at most {AGENTS_MAX} agents and no other bit set"
)]
pub struct SlotSetError;

impl SlotSet {
    /// The empty set over a roster of `agents`, at most [`AGENTS_MAX`] (more are cut off).
    #[must_use]
    pub fn empty(agents: usize) -> Self {
        let agents = agents.min(AGENTS_MAX);
        Self { agents: agents as u16, bits: vec![0; agents.div_ceil(8)] }
    }

    /// The set of `slots` over a roster of `agents`; slots outside the roster are ignored.
    #[must_use]
    pub fn from_slots(agents: usize, slots: impl IntoIterator<Item = Slot>) -> Self {
        let mut set = Self::empty(agents);
        for slot in slots {
            set.insert(slot);
        }
        set
    }

    /// Adds `slot`; returns false where it is outside the roster.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let inside = slot.0 < self.agents;
        if inside {
            self.bits[slot.index() / 8] |= 1 << (slot.0 % 8);
        }
        inside
    }

    /// Whether `slot` is in the set.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        slot.0 < self.agents && self.bits[slot.index() / 8] & (1 << (slot.0 % 8)) != 0
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.agents).map(Slot).filter(|slot| self.contains(*slot))
    }

    /// Number of slots in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bits.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the roster that the set is over.
    #[must_use]
    pub fn agents(&self) -> usize {
        usize::from(self.agents)
    }

    /// Whether every slot of `self` is in `other` and both are over the same roster.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.agents == other.agents && self.bits.iter().zip(&other.bits).all(|(a, b)| a & !b == 0)
    }

    /// Canonical bytes for hashing: roster size, then the bitmap.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.agents.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.bits);
        bytes
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(|slot| slot.0)).finish()
    }
}

impl TryFrom<RawSlotSet> for SlotSet {
    type Error = SlotSetError;

    fn try_from(raw: RawSlotSet) -> Result<Self, SlotSetError> {
        let agents = usize::from(raw.agents);
        let spare = agents.div_ceil(8) * 8 - agents;
        let stray = raw.bits.last().is_some_and(|last| spare > 0 && last >> (8 - spare) != 0);
        if agents > AGENTS_MAX || raw.bits.len() != agents.div_ceil(8) || stray {
            return Err(SlotSetError);
        }
        Ok(Self { agents: raw.agents, bits: raw.bits })
    }
}

impl From<SlotSet> for RawSlotSet {
    fn from(set: SlotSet) -> Self {
        Self { agents: set.agents, bits: set.bits }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    #[test]
    fn stray_bits_are_refused() {
        let raw = RawSlotSet { agents: 3, bits: vec![0b1000] };
        let bytes = codec::encode(&raw, 64).unwrap();
        assert!(codec::decode::<SlotSet>(&bytes, 64).is_err());
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(agents in 1usize..200, picks in proptest::collection::btree_set(0u16..200, 0..50)) {
            let set = SlotSet::from_slots(agents, picks.iter().copied().map(Slot));
            let inside: Vec<u16> = picks.iter().copied().filter(|p| usize::from(*p) < agents).collect();
            prop_assert_eq!(set.iter().map(|s| s.0).collect::<Vec<_>>(), inside.clone());
            prop_assert_eq!(set.len(), inside.len());
            let bytes = codec::encode(&set, 1 << 10).unwrap();
            prop_assert_eq!(codec::decode::<SlotSet>(&bytes, 1 << 10).unwrap(), set);
        }
    }
}
