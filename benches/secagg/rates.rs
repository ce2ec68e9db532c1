//! What the floors are made of: the rates of this machine, measured in the same run.

use std::hint::black_box;

use aes::{
    Aes256Enc,
    cipher::{Array, BlockCipherEncrypt as _, KeyInit as _, typenum::U16},
};
use chorale_secagg::RoundSecret;
use chorale_wire::{Digest, Epoch, RoundNumber, SessionId, Slot, SlotSet};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;

use crate::{AnyError, clock::best_cpu};

/// Lanes of the plain addition: 64 MiB for both vectors, far more than a core's caches.
const ADD_LANES: usize = 8 << 20;

/// Rates of one core.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Rates {
    /// R: bytes a second of AES-256 over counter blocks that are already there, into a buffer
    /// that stays in the first-level cache. Nothing in this project is faster.
    pub(crate) keystream_bytes_per_s: f64,
    /// Coordinates a second of `sum += vector` over plain 32-bit numbers in memory.
    pub(crate) add_per_s: f64,
    /// Seconds of one X25519 agreement with its HKDF.
    pub(crate) agreement_s: f64,
}

impl Rates {
    pub(crate) fn measure(repeats: usize) -> Result<Self, AnyError> {
        Ok(Self {
            keystream_bytes_per_s: keystream(repeats),
            add_per_s: add(repeats),
            agreement_s: agreement(repeats)?,
        })
    }
}

/// The best block size counts, since what fits the cache differs between machines.
fn keystream(repeats: usize) -> f64 {
    let cipher = Aes256Enc::new(&[1; 32].into());
    let rate = |blocks: usize| {
        let counters: Vec<Array<u8, U16>> =
            (0..blocks as u128).map(|i| i.to_be_bytes().into()).collect();
        let mut keystream = counters.clone();
        let rounds = (32 << 20) / (16 * blocks);
        let seconds = best_cpu(
            repeats,
            || (),
            |()| {
                for _ in 0..rounds {
                    cipher
                        .encrypt_blocks_b2b(black_box(&counters), black_box(&mut keystream))
                        .expect("both slices have the same number of blocks");
                }
            },
        );
        (16 * blocks * rounds) as f64 / seconds
    };
    [128, 256, 512, 1024].into_iter().map(rate).fold(0.0, f64::max)
}

fn add(repeats: usize) -> f64 {
    let mut sum = vec![1u32; ADD_LANES];
    let vector = vec![3u32; ADD_LANES];
    let seconds = best_cpu(
        repeats,
        || (),
        |()| {
            for (sum, value) in black_box(&mut sum).iter_mut().zip(black_box(&vector)) {
                *sum = sum.wrapping_add(*value);
            }
        },
    );
    ADD_LANES as f64 / seconds
}

fn agreement(repeats: usize) -> Result<f64, AnyError> {
    const PEERS: usize = 200;
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let own = RoundSecret::generate(&mut rng).pairwise();
    let peers: Vec<(Slot, [u8; 32])> = (1..=PEERS)
        .map(|slot| (Slot(slot as u16), RoundSecret::generate(&mut rng).public().pairwise))
        .collect();
    let digest = Digest::plain(b"rates");
    let session = SessionId::new(Epoch(1), RoundNumber(1), &digest, &digest, &SlotSet::empty(4));
    let agree =
        || chorale_secagg::mask::pairwise_keys(session, &own, Slot(0), peers.iter().copied());
    agree()?;
    Ok(best_cpu(repeats, || (), |()| agree()) / PEERS as f64)
}
