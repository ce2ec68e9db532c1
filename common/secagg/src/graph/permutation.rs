//! The order of the ring: a permutation of the slots that the graph seed decides.
//!
//! Frozen, so that every agent, the coordinator and any second implementation walk one ring:
//!
//! 1. *Key.* 32 bytes of HKDF-SHA256 (RFC 5869) without salt, with the 32 bytes of the graph seed
//!    as key material and the info "chorale/1 ring permutation".
//! 2. *Stream.* AES-256 in counter mode (NIST SP 800-38A) under that key from a zero counter
//!    block, the counter being all 16 bytes, big-endian. It is read as 32-bit big-endian words.
//! 3. *Draws.* A number below `bound` is `word mod bound` of the next word that is below
//!    `⌊2^32 / bound⌋ · bound`; other words are passed over, so that no number is favoured.
//! 4. *Shuffle* (Fisher and Yates, Durstenfeld's form). The ring starts as 0, 1, …, n-1. For
//!    `place` from n-1 down to 1, swap the slots at `place` and at a number drawn below
//!    `place + 1`.

use aes::{
    Aes256Enc,
    cipher::{Array, BlockCipherEncrypt as _, KeyInit as _},
};
use chorale_wire::{Digest, Slot};

use crate::keys::hkdf_sha256;

/// The ring of `agents` slots under `seed`: the slot at each place.
pub(super) fn ring(seed: &Digest, agents: u16) -> Vec<Slot> {
    let mut ring: Vec<Slot> = (0..agents).map(Slot).collect();
    let mut words = Words::new(seed);
    for place in (1..ring.len()).rev() {
        let other = words.below(place as u32 + 1);
        ring.swap(place, other as usize);
    }
    ring
}

/// The stream of 32-bit words.
struct Words {
    cipher: Aes256Enc,
    counter: u128,
    block: [u8; 16],
    /// Words of the block that were not read yet.
    left: usize,
}

impl Words {
    fn new(seed: &Digest) -> Self {
        let key = hkdf_sha256(None, seed.as_bytes(), &[b"chorale/1 ring permutation"]);
        Self { cipher: Aes256Enc::new((&*key).into()), counter: 0, block: [0; 16], left: 0 }
    }

    fn next(&mut self) -> u32 {
        if self.left == 0 {
            let mut block = Array::from(self.counter.to_be_bytes());
            self.cipher.encrypt_block(&mut block);
            self.block = block.into();
            self.counter += 1;
            self.left = 4;
        }
        let (words, _) = self.block.as_chunks();
        let word = u32::from_be_bytes(words[4 - self.left]);
        self.left -= 1;
        word
    }

    /// A uniform number below `bound`, which must be at least 1 and at most 2^16.
    fn below(&mut self, bound: u32) -> u32 {
        let accepted = ((1_u64 << 32) / u64::from(bound)) * u64::from(bound);
        loop {
            let word = self.next();
            if u64::from(word) < accepted {
                return word % bound;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn numbered(bytes: impl Iterator<Item = u8>) -> Digest {
        Digest::from_bytes(bytes.collect::<Vec<u8>>().try_into().unwrap())
    }

    fn plain(ring: &[Slot]) -> Vec<u16> {
        ring.iter().map(|slot| slot.0).collect()
    }

    // Computed apart from this program, in Python, from the description above.
    #[test]
    fn the_frozen_rings() {
        let seed = numbered(0..32);
        assert_eq!(plain(&ring(&seed, 16)), FROZEN_16);
        let large = ring(&seed, 10_000);
        let bytes: Vec<u8> = large.iter().flat_map(|slot| slot.0.to_be_bytes()).collect();
        assert_eq!(Digest::plain(&bytes).to_string(), FROZEN_10_000);
    }

    const FROZEN_16: [u16; 16] = [15, 2, 4, 14, 8, 0, 10, 5, 13, 6, 1, 9, 7, 12, 11, 3];
    const FROZEN_10_000: &str = "35efe8159afc8282f84c67a5d994f92cb615cfa3d6526c4930dea6fc5538fbae";

    #[test]
    fn it_is_a_permutation_that_every_bit_of_the_seed_changes() {
        let seed = numbered(0..32);
        let reference = ring(&seed, 1000);
        let mut sorted = reference.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().enumerate().all(|(index, slot)| slot.index() == index));
        for bit in 0..256 {
            let mut bytes = *seed.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(ring(&Digest::from_bytes(bytes), 1000), reference);
        }
    }

    #[test]
    fn every_order_of_four_comes_equally_often() {
        // χ² with 23 degrees of freedom: 60 has a probability of 4e-5; the seeds are fixed.
        let mut counts = std::collections::BTreeMap::<Vec<u16>, u32>::new();
        let draws = 24_000_u32;
        for draw in 0..draws {
            let seed = Digest::plain(&draw.to_be_bytes());
            *counts.entry(plain(&ring(&seed, 4))).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = f64::from(draws / 24);
        let statistic: f64 =
            counts.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        assert!(statistic < 60.0, "{statistic}");
    }

    #[test]
    fn words_past_the_last_multiple_are_passed_over() {
        // A bound just above 2^31 (not used by rings) refuses almost every second word.
        let seed = numbered(0..32);
        let (mut taken, mut all) = (Words::new(&seed), Words::new(&seed));
        let bound = (1 << 31) + 1;
        let expected: Vec<u32> =
            std::iter::repeat_with(|| all.next()).filter(|word| *word < bound).take(50).collect();
        let drawn: Vec<u32> = (0..50).map(|_| taken.below(bound)).collect();
        assert_eq!(drawn, expected);
    }
}
