//! Seeds of the noise that may be taken off again, in a hash chain.
//!
//! An agent whose noise has removable layers 1 to m draws one uniform link and hashes it forward:
//! link 1, link 2 = H(link 1), ... link m, and a commitment H'(link m), which it signs together
//! with its masked vector. Layer j is drawn from a seed derived from link j under the session.
//! When the certified survivors make layers j to m superfluous, the agent reveals link j: it gives
//! the seeds of these layers and of no earlier one, for the hash cannot be turned back, and
//! anybody can check it against the commitment. So one value of 32 bytes is revealed whatever the
//! number of layers, and a wrong one is noticed and attributable.

use std::fmt;

use chorale_wire::{Digest, SessionId, Slot};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::keys::hkdf_sha256;

/// The links of one agent in one session; wiped when dropped, never shown.
pub struct SurplusChain {
    /// Link 1 first.
    links: Vec<Zeroizing<[u8; 32]>>,
}

/// A revealed link is not the one that its owner committed to. The owner is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the revealed noise link does not lead to the commitment in the masked header")]
pub struct NotInChain;

impl SurplusChain {
    /// A fresh chain for `layers` removable layers, at least 1.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R, layers: usize) -> Self {
        let mut first = Zeroizing::new([0; 32]);
        rng.fill_bytes(first.as_mut());
        let mut links = Vec::with_capacity(layers.max(1));
        links.push(first);
        while links.len() < layers {
            links.push(next(&links[links.len() - 1]));
        }
        Self { links }
    }

    /// What the agent commits to when it sends its vector.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        end(&self.links[self.links.len() - 1])
    }

    /// The seeds of all layers in order, for the vector of `slot` in `session`.
    #[must_use]
    pub fn seeds(&self, session: SessionId, slot: Slot) -> Vec<Zeroizing<[u8; 32]>> {
        let indices = 1..=self.links.len();
        indices.zip(&self.links).map(|(layer, link)| seed(session, slot, layer, link)).collect()
    }

    /// The link that gives up layer `first` (counted from 1) and every later one; `None` for a
    /// layer that the chain does not have.
    #[must_use]
    pub fn reveal(&self, first: usize) -> Option<[u8; 32]> {
        self.links.get(first.checked_sub(1)?).map(|link| **link)
    }
}

impl fmt::Debug for SurplusChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SurplusChain(redacted, {} links)", self.links.len())
    }
}

/// The seeds of layers `first` to `layers` (counted from 1) behind a revealed link.
///
/// # Errors
/// [`NotInChain`] when the link does not lead to `commitment` in the right number of steps, or
/// there is no such layer.
pub fn open(
    commitment: &Digest,
    session: SessionId,
    slot: Slot,
    first: usize,
    layers: usize,
    link: &[u8; 32],
) -> Result<Vec<Zeroizing<[u8; 32]>>, NotInChain> {
    if first == 0 || first > layers {
        return Err(NotInChain);
    }
    let mut link = Zeroizing::new(*link);
    let mut seeds = Vec::with_capacity(layers - first + 1);
    for layer in first..=layers {
        seeds.push(seed(session, slot, layer, &link));
        if layer < layers {
            link = next(&link);
        }
    }
    if end(&link) == *commitment { Ok(seeds) } else { Err(NotInChain) }
}

fn next(link: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(*Digest::of("chorale/1 noise link", &[link]).as_bytes())
}

fn end(link: &[u8; 32]) -> Digest {
    Digest::of("chorale/1 noise commitment", &[link])
}

/// HKDF-SHA256 with the session as salt, the link as key material and the info
/// "noise" | slot | layer (two big-endian bytes each).
fn seed(session: SessionId, slot: Slot, layer: usize, link: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let layer = u16::try_from(layer).unwrap_or(u16::MAX).to_be_bytes();
    hkdf_sha256(Some(session.as_bytes()), link, &[b"noise", &slot.0.to_be_bytes(), &layer])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_wire::{Epoch, RoundNumber, SlotSet};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    use super::*;

    fn session(round: u64) -> SessionId {
        let digest = Digest::plain(b"fixed");
        SessionId::new(Epoch(1), RoundNumber(round), &digest, &digest, &SlotSet::empty(4))
    }

    fn chain(layers: usize) -> SurplusChain {
        SurplusChain::generate(&mut ChaCha20Rng::from_seed([4; 32]), layers)
    }

    #[test]
    fn a_link_opens_its_layer_and_the_later_ones_only() {
        let chain = chain(4);
        let all = chain.seeds(session(1), Slot(2));
        for first in 1..=4 {
            let link = chain.reveal(first).unwrap();
            let opened = open(&chain.commitment(), session(1), Slot(2), first, 4, &link).unwrap();
            assert_eq!(opened, all[first - 1..]);
            // The link is not among the seeds, and no earlier seed comes out of it.
            for other in 1..=4 {
                let accepted = open(&chain.commitment(), session(1), Slot(2), other, 4, &link);
                assert_eq!(accepted.is_ok(), other == first);
            }
        }
        assert_eq!((chain.reveal(0), chain.reveal(5)), (None, None));
    }

    #[test]
    fn a_wrong_link_is_noticed() {
        let chain = chain(3);
        let mut link = chain.reveal(2).unwrap();
        link[31] ^= 1;
        let opened = open(&chain.commitment(), session(1), Slot(0), 2, 3, &link);
        assert_eq!(opened, Err(NotInChain));
        let good = chain.reveal(2).unwrap();
        for (first, layers) in [(0, 3), (4, 3), (2, 4), (2, 2)] {
            assert!(open(&chain.commitment(), session(1), Slot(0), first, layers, &good).is_err());
        }
    }

    #[test]
    fn seeds_differ_by_layer_slot_and_session() {
        let chain = chain(3);
        let mut seen: Vec<[u8; 32]> = [(1, 0), (1, 1), (2, 0)]
            .into_iter()
            .flat_map(|(round, slot)| chain.seeds(session(round), Slot(slot)))
            .map(|seed| *seed)
            .chain((1..=3).map(|layer| chain.reveal(layer).unwrap()))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 12);
        assert_eq!(format!("{chain:?}"), "SurplusChain(redacted, 3 links)");
    }
}
