//! The seam between masking and everything around it, so that another way to hide vectors can take
//! the place of pairwise masks. What one would have to bring is argued in
//! `docs/decisions/0007-mask-scheme-seam.md`.

use std::num::NonZeroUsize;

use chorale_wire::{Digest, Keystream, SessionId};
use zeroize::Zeroizing;

use crate::{
    mask::{Modulus, PairKey, SelfKey, Sign},
    packing::PackingError,
    sum::{PairwiseOpening, Sum, SumError},
    ticket::{PackedVector, PairwiseTicket, TicketBinding, TicketError},
};

/// A way to hide vectors of which only a sum can be read.
///
/// A scheme must guarantee, for every session and against a coordinator that colludes with all but
/// a few of the agents:
///
/// 1. *Hiding.* The masked vectors of a cohort, and an opening for the survivors U, tell nothing
///    but the sum over U. Without an opening they tell nothing at all. An opening is for one U:
///    agents give up what makes one only under a certificate of U.
/// 2. *Exactness.* [`MaskedSum::open`] gives the sum modulo 2^w to the last bit, or an error. A
///    scheme whose masks add up with an error must remove it; noise that privacy is charged for
///    is not its to change.
/// 3. *Once.* A ticket masks one vector and is gone. Tickets of two sessions share no randomness.
/// 4. *Bound to the session.* Agents that were shown different rosters, specs or cohorts hold
///    tickets whose masks do not fit together: the sum is then uniform, not wrong by a little.
///
/// Sealed: what masks is decided in this crate, not where a ticket is used.
pub trait MaskScheme: sealed::Scheme {
    /// What an agent derives from its secrets of the session.
    type Keys;
    /// What it masks with.
    type Ticket: MaskTicket;
    /// What the coordinator recovers from the survivors' shares.
    type Opening;
    /// What it adds masked vectors to.
    type Sum: MaskedSum<Opening = Self::Opening>;

    /// The right to mask one vector in one session.
    ///
    /// # Errors
    /// [`TicketError`] when the keys would not hide it.
    fn ticket(binding: TicketBinding, keys: Self::Keys) -> Result<Self::Ticket, TicketError>;

    /// The empty sum of vectors of `coordinates` coordinates.
    fn sum(coordinates: usize, modulus: Modulus, keystream: Keystream) -> Self::Sum;
}

/// An agent's side of a session: the right to mask one vector.
pub trait MaskTicket: sealed::Ticket {
    /// The session whose cohort expects the vector.
    fn session(&self) -> SessionId;
    /// Payload digest of the signed round spec that the session was opened with.
    fn spec(&self) -> Digest;
    /// Coordinates of the vector.
    fn coordinates(&self) -> usize;
    /// Bits w of the modulus.
    fn modulus_bits(&self) -> u8;

    /// Masks `total` modulo 2^w and packs it. A coordinate outside ±2^(w-1) wraps; plans are
    /// made so that this has negligible probability, and refusing would depend on data.
    ///
    /// # Errors
    /// [`TicketError::Coordinates`] when `total` has another length. The ticket is spent.
    fn mask(self, total: Zeroizing<Vec<i64>>) -> Result<PackedVector, TicketError>;
}

/// The coordinator's side of a session: vectors are added as they arrive and not kept.
pub trait MaskedSum {
    /// As [`MaskScheme::Opening`].
    type Opening;

    /// Adds a survivor's masked vector. Nothing is added when it is refused.
    ///
    /// # Errors
    /// [`PackingError`] when the bytes are no packed vector of this round; the sender is to blame.
    fn add_packed(&mut self, bytes: &[u8]) -> Result<(), PackingError>;

    /// Number of masked vectors added.
    fn vectors(&self) -> usize;

    /// The sum without masks, each coordinate centred into (-2^(w-1), 2^(w-1)], computed on up to
    /// `threads` threads.
    ///
    /// # Errors
    /// [`SumError`] when the opening is not one of the vectors added.
    fn open(self, opening: &Self::Opening, threads: NonZeroUsize) -> Result<Vec<i64>, SumError>;
}

/// Pairwise masks with a self mask (Bonawitz et al. 2017, Bell et al. 2020): the one scheme in use.
#[derive(Debug, Clone, Copy)]
pub enum Pairwise {}

impl MaskScheme for Pairwise {
    type Keys = (SelfKey, Vec<(PairKey, Sign)>);
    type Ticket = PairwiseTicket;
    type Opening = PairwiseOpening;
    type Sum = Sum;

    fn ticket(
        binding: TicketBinding,
        (self_key, pairs): Self::Keys,
    ) -> Result<PairwiseTicket, TicketError> {
        PairwiseTicket::new(binding, self_key, pairs)
    }

    fn sum(coordinates: usize, modulus: Modulus, keystream: Keystream) -> Sum {
        Sum::new(coordinates, modulus, keystream)
    }
}

pub(crate) mod sealed {
    pub trait Scheme {}
    impl Scheme for super::Pairwise {}

    pub trait Ticket {}
    impl Ticket for super::PairwiseTicket {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_wire::{Epoch, RoundNumber, Slot, SlotSet};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
    use rand_core::Rng as _;

    use super::*;
    use crate::{RoundSecret, mask, packing};

    /// One-time pads from a trusted dealer, who tells the coordinator the sum of the survivors'
    /// pads. Not for use: it only shows that the seam asks for nothing that is peculiar to
    /// pairwise masks. A key-homomorphic scheme has this shape, with the sum of keys for the sum
    /// of pads.
    enum Dealer {}

    struct Pad {
        binding: TicketBinding,
        pad: Vec<u64>,
    }

    struct PadSum {
        modulus: Modulus,
        sum: Vec<u64>,
        vectors: usize,
    }

    /// Number of survivors, and the sum of their pads.
    struct Pads(usize, Vec<u64>);

    impl sealed::Scheme for Dealer {}
    impl sealed::Ticket for Pad {}

    impl MaskScheme for Dealer {
        type Keys = Vec<u64>;
        type Ticket = Pad;
        type Opening = Pads;
        type Sum = PadSum;

        fn ticket(binding: TicketBinding, pad: Vec<u64>) -> Result<Pad, TicketError> {
            Ok(Pad { binding, pad })
        }

        fn sum(coordinates: usize, modulus: Modulus, _: Keystream) -> PadSum {
            PadSum { modulus, sum: vec![0; coordinates], vectors: 0 }
        }
    }

    impl MaskTicket for Pad {
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
            let masked = total.iter().zip(&self.pad).map(|(x, pad)| (*x as u64).wrapping_add(*pad));
            let masked: Vec<u64> = masked.collect();
            Ok(PackedVector::from_bytes(packing::pack(&masked, self.binding.modulus)))
        }
    }

    impl MaskedSum for PadSum {
        type Opening = Pads;

        fn add_packed(&mut self, bytes: &[u8]) -> Result<(), PackingError> {
            let vector = packing::unpack(bytes, self.sum.len(), self.modulus)?;
            add(&mut self.sum, &vector);
            self.vectors += 1;
            Ok(())
        }

        fn vectors(&self) -> usize {
            self.vectors
        }

        fn open(self, Pads(survivors, pads): &Pads, _: NonZeroUsize) -> Result<Vec<i64>, SumError> {
            if *survivors != self.vectors {
                return Err(SumError::SelfMasks { vectors: self.vectors, self_masks: *survivors });
            }
            let unmasked = self.sum.iter().zip(pads).map(|(sum, pad)| sum.wrapping_sub(*pad));
            Ok(unmasked.map(|value| self.modulus.centre(value)).collect())
        }
    }

    fn add(sum: &mut [u64], vector: &[u64]) {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
    }

    const AGENTS: u16 = 5;
    const COORDINATES: usize = 300;

    fn binding() -> TicketBinding {
        let spec = Digest::plain(b"spec");
        TicketBinding {
            session: SessionId::new(Epoch(1), RoundNumber(1), &spec, &spec, &SlotSet::empty(5)),
            spec,
            coordinates: COORDINATES,
            modulus: Modulus::new(20).unwrap(),
            keystream: Keystream::Aes256Ctr,
        }
    }

    /// Slot 4 drops out. Written against the seam alone.
    fn only_the_survivors_sum_is_left<S: MaskScheme>(
        keys: impl Fn(Slot) -> S::Keys,
        opening: &S::Opening,
    ) {
        let binding = binding();
        let mut sum = S::sum(COORDINATES, binding.modulus, binding.keystream);
        for slot in (0..AGENTS - 1).map(Slot) {
            let ticket = S::ticket(binding, keys(slot)).unwrap();
            let total = (0..COORDINATES as i64).map(|i| i - i64::from(slot.0)).collect();
            sum.add_packed(ticket.mask(Zeroizing::new(total)).unwrap().bytes()).unwrap();
        }
        assert_eq!(sum.vectors(), 4);
        let expected: Vec<i64> = (0..COORDINATES as i64).map(|i| 4 * i - 6).collect();
        assert_eq!(sum.open(opening, NonZeroUsize::MIN).unwrap(), expected);
    }

    #[test]
    fn the_seam_carries_pairwise_masks() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let secrets: Vec<RoundSecret> =
            (0..AGENTS).map(|_| RoundSecret::generate(&mut rng)).collect();
        let public = |slot: u16| (Slot(slot), secrets[usize::from(slot)].public().pairwise);
        let session = binding().session;
        let mut opening = PairwiseOpening::new(session);
        for secret in &secrets[..4] {
            opening.survived(secret.self_seed().clone());
        }
        opening.dropped_out(Slot(4), secrets[4].pairwise(), (0..4).map(public));
        let keys = |slot: Slot| {
            let own = &secrets[slot.index()];
            let peers = (0..AGENTS).filter(|peer| *peer != slot.0).map(public);
            let pairs = mask::pairwise_keys(session, &own.pairwise(), slot, peers).unwrap();
            (mask::self_key(session, own.self_seed()), pairs)
        };
        only_the_survivors_sum_is_left::<Pairwise>(keys, &opening);
    }

    #[test]
    fn the_seam_carries_another_scheme() {
        let pad = |slot: Slot| {
            let mut rng = ChaCha20Rng::seed_from_u64(u64::from(slot.0));
            (0..COORDINATES).map(|_| rng.next_u64()).collect::<Vec<u64>>()
        };
        let mut pads = vec![0; COORDINATES];
        for slot in (0..AGENTS - 1).map(Slot) {
            add(&mut pads, &pad(slot));
        }
        only_the_survivors_sum_is_left::<Dealer>(pad, &Pads(4, pads));
    }
}
