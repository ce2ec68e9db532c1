//! The frozen known answer: masked vectors from fixed keys. It must be the same with every cipher
//! backend; a change of it is a change of the protocol. The digests were also computed by a
//! program in another language, from the documented layout alone.
//!
//! The backends are forced with
//! `RUSTFLAGS='--cfg aes_backend="soft" --cfg chacha20_backend="soft"' cargo test -p
//! chorale-secagg --test frozen --target-dir target/soft`; what other processors would choose is
//! seen by running the test's binary under `qemu-x86_64 -cpu Haswell` (AES-NI, AVX2) or `-cpu
//! Nehalem` (neither).
#![allow(clippy::unwrap_used, missing_docs)]

use chorale_secagg::{MaskTicket as _, Modulus, PairwiseTicket, Sign, TicketBinding, keys, mask};
use chorale_wire::{Digest, Epoch, Keystream, RoundNumber, SessionId, Slot, SlotSet};
use zeroize::Zeroizing;

/// Slot 1 of a cohort of four masks `i² - 5,000,000` for every coordinate `i`.
fn masked(keystream: Keystream, bits: u8, coordinates: usize) -> Vec<u8> {
    let session = SessionId::new(
        Epoch(1),
        RoundNumber(2),
        &Digest::plain(b"roster"),
        &Digest::plain(b"spec"),
        &SlotSet::from_slots(4, (0..4).map(Slot)),
    );
    let scalar = |byte| keys::SecretScalar::from_bytes(&[byte; 32]).unwrap();
    let pairwise = |byte| keys::PairwiseSecret::derive(&scalar(byte));
    let peers = [(0, 2), (2, 3), (3, 4)].map(|(slot, byte)| (Slot(slot), pairwise(byte).public()));
    let pairs = mask::pairwise_keys(session, &pairwise(1), Slot(1), peers).unwrap();
    let signs: Vec<Sign> = pairs.iter().map(|(_, sign)| *sign).collect();
    assert_eq!(signs, [Sign::Subtract, Sign::Add, Sign::Add]);
    let binding = TicketBinding {
        session,
        spec: Digest::plain(b"spec"),
        coordinates,
        modulus: Modulus::new(bits).unwrap(),
        keystream,
    };
    let self_key = mask::self_key(session, &scalar(5));
    let ticket = PairwiseTicket::new(binding, self_key, pairs).unwrap();
    let total = (0..coordinates as i64).map(|i| i * i - 5_000_000).collect();
    ticket.mask(Zeroizing::new(total)).unwrap().into_bytes()
}

/// One coordinate; less, as much and more than a block of lanes in either width; several blocks.
const LENGTHS: [usize; 6] = [1, 1000, 1024, 2048, 2051, 10_001];

#[test]
fn frozen_masked_vectors() {
    let frozen = include_str!("frozen.txt");
    let mut computed = String::new();
    for keystream in Keystream::ALL {
        for bits in [7, 24, 32, 33, 45, 62] {
            for coordinates in LENGTHS {
                let digest = Digest::plain(&masked(keystream, bits, coordinates));
                computed += &format!("{keystream:?} {bits} {coordinates} {digest}\n");
            }
        }
    }
    for (computed, frozen) in computed.lines().zip(frozen.lines()) {
        assert_eq!(computed, frozen);
    }
    assert_eq!(computed, frozen, "all of them\n{computed}");
}

/// Coordinates 24 bits wide are those of 45 bits modulo 2^24 for no keystream: lanes of other
/// widths take other bytes. But within a width, fewer coordinates are a prefix of more.
#[test]
fn a_shorter_vector_is_a_prefix_of_a_longer_one() {
    for keystream in Keystream::ALL {
        for bits in [24, 32, 48] {
            let (short, long) = (masked(keystream, bits, 1000), masked(keystream, bits, 10_001));
            assert_eq!(short, long[..short.len()]);
        }
    }
}
