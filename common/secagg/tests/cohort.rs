//! A whole round of masking, dropping out, sharing and unmasking with the crate's public API.
#![allow(clippy::unwrap_used, missing_docs)]

use std::num::NonZeroUsize;

use chorale_secagg::{
    MaskTicket as _, MaskedSum as _, Modulus, PairwiseOpening, PairwiseTicket, RoundSecret, Share,
    Sum, SumError, TicketBinding, TicketError,
    graph::{Graph, GraphParameters},
    keys, mask, packing, shamir,
};
use chorale_wire::{Digest, Epoch, Keystream, RoundNumber, SessionId, Slot, SlotSet};
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use zeroize::Zeroizing;

struct Cohort {
    secrets: Vec<RoundSecret>,
    binding: TicketBinding,
}

impl Cohort {
    fn new(agents: usize, coordinates: usize, bits: u8, rng: &mut ChaCha20Rng) -> Self {
        let keystream = Keystream::ALL[usize::from(bits) % 2];
        let spec = Digest::plain(b"spec");
        let roster = Digest::plain(b"roster");
        let everybody = SlotSet::from_slots(agents, (0..agents as u16).map(Slot));
        Self {
            secrets: (0..agents).map(|_| RoundSecret::generate(rng)).collect(),
            binding: TicketBinding {
                session: SessionId::new(Epoch(1), RoundNumber(1), &roster, &spec, &everybody),
                spec,
                coordinates,
                modulus: Modulus::new(bits).unwrap(),
                keystream,
            },
        }
    }

    fn public(&self, slot: Slot) -> (Slot, [u8; 32]) {
        (slot, self.secrets[slot.index()].public().pairwise)
    }

    fn ticket(&self, slot: Slot, session: SessionId) -> PairwiseTicket {
        let parameters = GraphParameters::find(self.secrets.len(), 1, 1).unwrap();
        let graph = Graph::new(parameters, Digest::plain(b"seed"));
        let own = &self.secrets[slot.index()];
        let peers = graph.neighbours(slot).into_iter().map(|peer| self.public(peer));
        let pairs = mask::pairwise_keys(session, &own.pairwise(), slot, peers).unwrap();
        let self_key = mask::self_key(session, own.self_seed());
        PairwiseTicket::new(self.binding, self_key, pairs).unwrap()
    }

    fn masked(&self, slot: Slot, total: &[i64]) -> Vec<u8> {
        let ticket = self.ticket(slot, self.binding.session);
        let packed = ticket.mask(Zeroizing::new(total.to_vec())).unwrap();
        packed.into_bytes()
    }
}

/// Vectors whose sum over `agents` stays inside ±2^(w-1).
fn vectors(agents: usize, coordinates: usize, bits: u8, rng: &mut ChaCha20Rng) -> Vec<Vec<i64>> {
    let bound = ((1i64 << (bits - 1)) - 1) / agents as i64;
    let span = 2 * bound as u64 + 1;
    let mut draw = || (rng.next_u64() % span) as i64 - bound;
    (0..agents).map(|_| (0..coordinates).map(|_| draw()).collect()).collect()
}

fn sum_of<'a>(coordinates: usize, vectors: impl Iterator<Item = &'a Vec<i64>>) -> Vec<i64> {
    vectors.fold(vec![0; coordinates], |mut sum, vector| {
        sum.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
        sum
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Masks of the survivors cancel, the others are removed through reconstructed secrets, and
    /// the exact sum of the survivors' vectors is left.
    #[test]
    fn only_the_survivors_sum_is_left(
        seed: u64,
        agents in 4usize..14,
        bits in 8u8..=62,
        coordinates in prop_oneof![1usize..200, 1000usize..5000],
        dropped_mask: u16,
        threads in 1usize..4,
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let cohort = Cohort::new(agents, coordinates, bits, &mut rng);
        let binding = cohort.binding;
        let vectors = vectors(agents, coordinates, bits, &mut rng);
        // Slot 0 always survives; about half of the others drop out.
        let survived = |slot: Slot| slot.0 == 0 || dropped_mask >> slot.0 & 1 == 0;
        let slots: Vec<Slot> = (0..agents as u16).map(Slot).collect();
        let (alive, dead): (Vec<Slot>, Vec<Slot>) = slots.iter().partition(|slot| survived(**slot));

        let mut sum = Sum::new(coordinates, binding.modulus, binding.keystream);
        for slot in &alive {
            sum.add_packed(&cohort.masked(*slot, &vectors[slot.index()])).unwrap();
        }
        let mut opening = PairwiseOpening::new(binding.session);
        let threshold = agents / 2 + 1;
        let points: Vec<u64> = slots.iter().map(|slot| slot.share_point()).collect();
        let recover = |secret, rng: &mut ChaCha20Rng| {
            let shares = shamir::split(secret, threshold, &points, rng).unwrap();
            let held: Vec<(u64, Share)> = points.iter().copied().zip(shares).rev().collect();
            shamir::reconstruct(&held[..threshold], threshold).unwrap()
        };
        for slot in &alive {
            let secret = &cohort.secrets[slot.index()];
            let self_seed = recover(secret.self_seed(), &mut rng);
            keys::check_self(&self_seed, &secret.public()).unwrap();
            opening.survived(self_seed);
        }
        for slot in &dead {
            let secret = &cohort.secrets[slot.index()];
            let key_seed = recover(secret.key_seed(), &mut rng);
            let pairwise = keys::check_pairwise(&key_seed, &secret.public()).unwrap();
            let survivors = alive.iter().map(|slot| cohort.public(*slot));
            opening.dropped_out(*slot, pairwise, survivors);
        }
        let total = sum.open(&opening, NonZeroUsize::new(threads).unwrap()).unwrap();
        let expected = sum_of(coordinates, alive.iter().map(|slot| &vectors[slot.index()]));
        prop_assert_eq!(total, expected);
    }
}

/// One forgotten mask, or one agent in another session, and nothing can be read.
#[test]
fn what_is_not_cancelled_hides_everything() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let cohort = Cohort::new(5, 4000, 20, &mut rng);
    let binding = cohort.binding;
    let zeros = vec![0; 4000];
    let other_session =
        SessionId::new(Epoch(1), RoundNumber(2), &binding.spec, &binding.spec, &SlotSet::empty(5));
    // Uniform values below 2^20 repeat rarely: about 8 of 4000 coincide; zeros would all.
    let looks_uniform = |total: Vec<i64>| {
        let distinct: std::collections::HashSet<i64> = total.iter().copied().collect();
        distinct.len() > 3900 && total.iter().map(|v| v.abs()).max().unwrap() > 500_000
    };

    // Slot 4 dropped out and nobody takes off its pairs.
    let empty = || Sum::new(4000, binding.modulus, binding.keystream);
    let (mut sum, mut opening) = (empty(), PairwiseOpening::new(binding.session));
    // Slot 3 was shown another session, and its self mask is taken off under that one.
    let mut most = (empty(), PairwiseOpening::new(binding.session));
    let mut other = (empty(), PairwiseOpening::new(other_session));
    for slot in (0..5).map(Slot) {
        let seed = || cohort.secrets[slot.index()].self_seed().clone();
        let bytes = cohort.masked(slot, &zeros);
        assert!(looks_uniform(
            packing::unpack(&bytes, 4000, binding.modulus)
                .unwrap()
                .into_iter()
                .map(|value| value as i64)
                .collect()
        ));
        if slot != Slot(4) {
            sum.add_packed(&bytes).unwrap();
            opening.survived(seed());
        }
        let session = if slot == Slot(3) { other_session } else { binding.session };
        let (view, opening) = if slot == Slot(3) { &mut other } else { &mut most };
        let packed = cohort.ticket(slot, session).mask(Zeroizing::new(zeros.clone())).unwrap();
        view.add_packed(packed.bytes()).unwrap();
        opening.survived(seed());
    }
    assert!(looks_uniform(sum.open(&opening, NonZeroUsize::MIN).unwrap()));
    let (most, other) = (
        most.0.open(&most.1, NonZeroUsize::MIN).unwrap(),
        other.0.open(&other.1, NonZeroUsize::MIN).unwrap(),
    );
    let together = most.iter().zip(&other).map(|(one, two)| (one + two) % (1 << 20));
    assert!(looks_uniform(together.collect()));
}

#[test]
fn a_sum_with_other_self_masks_is_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let cohort = Cohort::new(4, 10, 16, &mut rng);
    let bytes = cohort.masked(Slot(0), &[0; 10]);
    let mut sum = Sum::new(10, cohort.binding.modulus, cohort.binding.keystream);
    assert!(sum.add_packed(&bytes[1..]).is_err());
    assert_eq!(sum.vectors(), 0);
    sum.add_packed(&bytes).unwrap();
    let opening = PairwiseOpening::new(cohort.binding.session);
    let refused = sum.open(&opening, NonZeroUsize::MIN);
    assert_eq!(refused, Err(SumError::SelfMasks { vectors: 1, self_masks: 0 }));
}

#[test]
fn a_ticket_that_hides_nothing_is_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let cohort = Cohort::new(4, 10, 16, &mut rng);
    let key = || mask::self_key(cohort.binding.session, cohort.secrets[0].self_seed());
    let pairs = |count: u16| {
        let peers = (1..=count).map(|slot| cohort.public(Slot(slot)));
        let own = cohort.secrets[0].pairwise();
        mask::pairwise_keys(cohort.binding.session, &own, Slot(0), peers).unwrap()
    };
    for count in 0..3 {
        assert_eq!(
            PairwiseTicket::new(cohort.binding, key(), pairs(count)).unwrap_err(),
            TicketError::Pairs { pairs: usize::from(count) }
        );
    }
    for coordinates in [0, (1 << 24) + 1] {
        let binding = TicketBinding { coordinates, ..cohort.binding };
        assert_eq!(
            PairwiseTicket::new(binding, key(), pairs(3)).unwrap_err(),
            TicketError::Range { coordinates }
        );
    }
    let ticket = PairwiseTicket::new(cohort.binding, key(), pairs(3)).unwrap();
    assert_eq!(
        ticket.mask(Zeroizing::new(vec![0; 11])).unwrap_err(),
        TicketError::Coordinates { given: 11, expected: 10 }
    );
}
