//! How fast one core masks, packs and sums, beside the rate at which it makes raw AES-256-CTR
//! keystream in the same run. A mask costs one keystream at least, so the ratio is the figure.
//!
//! Usage: `cargo run -p chorale-secagg --example mask_rate -- [coordinates] [agents]`
#![allow(clippy::print_stdout)]

use std::{error::Error, num::NonZeroUsize, time::Instant};

use aes::{
    Aes256Enc,
    cipher::{Array, BlockCipherEncrypt as _, KeyInit as _, typenum::U16},
};
use chorale_secagg::{
    MaskTicket as _, Modulus, PairwiseSecret, PairwiseTicket, RoundSecret, Sum, TicketBinding, mask,
};
use chorale_wire::{Digest, Epoch, RoundNumber, SessionId, Slot, SlotSet};
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use zeroize::Zeroizing;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (coordinates, agents) = (number(2_000_000)?, number(32)?.max(5));

    let raw = keystream_rate()?;
    println!("raw AES-256-CTR keystream, one core {:8.2} GB/s", raw / 1e9);
    println!("the same by the ctr crate           {:8.2} GB/s", ctr_crate_rate()? / 1e9);
    for bits in [32, 45] {
        measure(coordinates, agents, bits, raw)?;
    }
    Ok(())
}

/// Keystream bytes per second of the bare cipher over counter blocks that are already there, into
/// a buffer that stays in cache: the best of several runs.
fn keystream_rate() -> Result<f64, Box<dyn Error>> {
    let cipher = Aes256Enc::new(&[1; 32].into());
    let counters: Vec<Array<u8, U16>> = (0..512u128).map(|i| i.to_be_bytes().into()).collect();
    let mut keystream = counters.clone();
    best_rate(16 * counters.len(), || {
        let counters = std::hint::black_box(&counters);
        cipher.encrypt_blocks_b2b(counters, std::hint::black_box(&mut keystream))?;
        Ok(())
    })
}

/// The same for the `ctr` crate, which makes the counter blocks too.
fn ctr_crate_rate() -> Result<f64, Box<dyn Error>> {
    let mut buffer = [0; 8 << 10];
    let mut cipher = Ctr128BE::<Aes256Enc>::new(&[1; 32].into(), &[0; 16].into());
    best_rate(buffer.len(), || {
        cipher.write_keystream(std::hint::black_box(&mut buffer));
        Ok(())
    })
}

fn best_rate(
    bytes: usize,
    mut work: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let (runs, repeats) = (9, 8 << 10);
    let mut best = f64::MIN_POSITIVE;
    for _ in 0..runs {
        let start = Instant::now();
        for _ in 0..repeats {
            work()?;
        }
        best = best.max((repeats * bytes) as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn measure(coordinates: usize, agents: usize, bits: u8, raw: f64) -> Result<(), Box<dyn Error>> {
    let mut rng = ChaCha20Rng::from_seed([0; 32]);
    let secrets: Vec<RoundSecret> = (0..agents).map(|_| RoundSecret::generate(&mut rng)).collect();
    let publics: Vec<[u8; 32]> = secrets.iter().map(|secret| secret.public().pairwise).collect();
    let spec = Digest::plain(b"spec");
    let session = SessionId::new(Epoch(1), RoundNumber(1), &spec, &spec, &SlotSet::empty(agents));
    let modulus = Modulus::new(bits)?;
    let lane_bytes = if modulus.is_narrow() { 4 } else { 8 };
    let slot = |index: usize| Slot(index as u16);

    let start = Instant::now();
    let keys: Vec<PairwiseSecret> = secrets.iter().map(RoundSecret::pairwise).collect();
    let others = |own: usize| (0..agents).filter(move |peer| *peer != own);
    let peers = others(0).map(|peer| (slot(peer), publics[peer]));
    let pairs = mask::pairwise_keys(session, &keys[0], slot(0), peers)?;
    let agreement = start.elapsed().as_secs_f64();

    let binding = TicketBinding { session, spec, coordinates, modulus };
    let ticket =
        PairwiseTicket::new(binding, mask::self_key(session, secrets[0].self_seed()), pairs)?;
    let start = Instant::now();
    let packed = ticket.mask(Zeroizing::new(vec![1; coordinates]))?;
    let masking = start.elapsed().as_secs_f64();
    let rate = (coordinates * lane_bytes * agents) as f64 / masking;
    println!(
        "w = {bits}: {agents} masks on {coordinates} coordinates {:8.1} ms, {:6.2} GB/s = {:.0} % of raw \
         (key agreement {:.1} ms)",
        masking * 1e3,
        rate / 1e9,
        100.0 * rate / raw,
        agreement * 1e3,
    );

    let mut sum = Sum::new(coordinates, modulus);
    // Once beforehand, so that the pages of the sum are there.
    sum.add_packed(packed.bytes())?;
    let start = Instant::now();
    sum.add_packed(packed.bytes())?;
    let adding = start.elapsed().as_secs_f64();
    println!("w = {bits}: unpack and add            {:8.1} ms a vector", adding * 1e3);

    // As many vectors as survive with a tenth dropped out; that they are equal costs the same.
    let dropped = agents.div_ceil(10);
    for _ in 2..agents - dropped {
        sum.add_packed(packed.bytes())?;
    }
    for secret in &secrets[dropped..] {
        sum.subtract_self(session, secret.self_seed());
    }
    for (gone, key) in keys.iter().enumerate().take(dropped) {
        let survivors = (dropped..agents).map(|peer| (slot(peer), publics[peer]));
        sum.cancel_dropped(session, key, slot(gone), survivors)?;
    }
    let streams = (agents - dropped) * (1 + dropped);
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let start = Instant::now();
    sum.finish_on(threads)?;
    let unmasking = start.elapsed().as_secs_f64();
    let rate = (coordinates * lane_bytes * streams) as f64 / unmasking;
    println!(
        "w = {bits}: {streams} masks off on {threads} threads       {:8.1} ms, {:6.2} GB/s = {:.0} % of raw a thread",
        unmasking * 1e3,
        rate / 1e9,
        100.0 * rate / raw / threads.get() as f64,
    );
    Ok(())
}
