//! Attacks on the masks themselves; each test is named after its attack.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashSet;

use chorale_secagg::{
    MaskTicket as _, Modulus, PairwiseTicket, RoundSecret, TicketBinding, mask, packing,
};
use chorale_wire::{Digest, Epoch, Keystream, RoundNumber, SessionId, Slot, SlotSet};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use zeroize::Zeroizing;

/// What slot 0 of four sends for `total` in round `round`, as numbers below 2^w. The four agents
/// keep their secrets over the rounds, which is the worst that could happen.
fn masked(keystream: Keystream, bits: u8, round: u64, total: Vec<i64>) -> Vec<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secrets: Vec<RoundSecret> = (0..4).map(|_| RoundSecret::generate(&mut rng)).collect();
    let spec = Digest::plain(b"spec");
    let cohort = SlotSet::from_slots(4, (0..4).map(Slot));
    let session = SessionId::new(Epoch(1), RoundNumber(round), &spec, &spec, &cohort);
    let peers = (1..4).map(|slot| (Slot(slot), secrets[usize::from(slot)].public().pairwise));
    let pairs = mask::pairwise_keys(session, &secrets[0].pairwise(), Slot(0), peers).unwrap();
    let (coordinates, modulus) = (total.len(), Modulus::new(bits).unwrap());
    let binding = TicketBinding { session, spec, coordinates, modulus, keystream };
    let self_key = mask::self_key(session, secrets[0].self_seed());
    let ticket = PairwiseTicket::new(binding, self_key, pairs).unwrap();
    let packed = ticket.mask(Zeroizing::new(total)).unwrap();
    packing::unpack(packed.bytes(), coordinates, modulus).unwrap()
}

/// Some implementations start the keystream again for every tensor of a model: the difference of
/// two tensors then shows through. Here the masks of a whole model of zeros, which are all that is
/// sent, repeat nowhere: neither within a vector, at whatever offset, nor between two sessions.
#[test]
fn two_time_pads_across_tensors() {
    // An embedding, its bias, two layers that are equally long, and their biases.
    let tensors = [500 * 16, 16, 64 * 64, 64, 64 * 64, 64, 10];
    let zeros = vec![0; tensors.iter().sum()];
    for keystream in Keystream::ALL {
        for bits in [32, 62] {
            let sessions = [1, 2].map(|round| masked(keystream, bits, round, zeros.clone()));
            // Two neighbours together have at least 64 bits: by chance none of 33,000 repeats.
            let pairs = sessions.iter().flat_map(|vector| vector.windows(2));
            let distinct: HashSet<&[u64]> = pairs.clone().collect();
            assert_eq!(distinct.len(), pairs.count(), "{keystream:?}, {bits} bits");
            // And the two layers, said outright: their masks have nothing in common.
            let (one, other) = (8016, 8016 + 4096 + 64);
            let same = (0..4096).filter(|i| sessions[0][one + i] == sessions[0][other + i]).count();
            assert_eq!(same, 0);
        }
    }
}

/// A mask reduced by a modulus that does not divide the keystream's range favours small values,
/// and many vectors then show which way a coordinate leans. Here the modulus 2^w divides the 2^32
/// or 2^64 values of a word of keystream, so each residue has equally many words, and adding a
/// constant permutes the residues: the masked value of *any* total is exactly as uniform as the
/// keystream. The test looks at totals of both signs and out of range, at the highest bits, where
/// a bias of reduction would be, and at the lowest.
#[test]
fn modular_bias() {
    const DRAWS: usize = 200_000;
    for keystream in Keystream::ALL {
        for bits in [5, 12, 19, 24, 32, 33, 45, 62] {
            let half = 1i64 << (bits - 1);
            for (round, total) in (1..).zip([0, 1 - half, half, half / 3, 3 * half / 2]) {
                let values = masked(keystream, bits, round, vec![total; DRAWS]);
                for shift in [0, bits.saturating_sub(8)] {
                    let bins = 1usize << bits.min(8);
                    let mut counts = vec![0u32; bins];
                    for value in &values {
                        counts[(value >> shift) as usize % bins] += 1;
                    }
                    let expected = DRAWS as f64 / bins as f64;
                    let statistic: f64 = counts
                        .iter()
                        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                        .sum();
                    // Mean k and variance 2k: seven deviations, with fixed seeds.
                    let freedom = (bins - 1) as f64;
                    assert!(
                        (statistic - freedom).abs() < 7.0 * (2.0 * freedom).sqrt(),
                        "{keystream:?}, {bits} bits, total {total}, shift {shift}: {statistic}"
                    );
                }
            }
        }
    }
}
