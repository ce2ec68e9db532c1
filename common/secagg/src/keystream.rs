//! Masks as keystreams: AES-256 in counter mode (NIST SP 800-38A) from a zero counter block.
//!
//! A key serves one session and one stream, therefore the counter can start at zero. Coordinate
//! `i` takes bytes `4i..4i+4` of the stream (`8i..8i+8` where the modulus is wider than 32 bits)
//! as a little-endian number. All streams are applied to one block of 8 KiB before the next
//! block is touched, so that the vector passes through the cache once.

use aes::{
    Aes256Enc,
    cipher::{Array, BlockCipherEncrypt as _, KeyInit as _, typenum::U16},
};
use zeroize::{Zeroize, Zeroizing};

use crate::mask::Sign;

/// Bytes of lanes that are processed at a time.
pub(crate) const BLOCK_BYTES: usize = 8 << 10;

/// Cipher blocks in one block.
const AES_BLOCKS: usize = BLOCK_BYTES / 16;

/// A coordinate in the width that the machine computes in.
pub(crate) trait Lane: Copy + Default + Zeroize + Send {
    /// Lanes in one block.
    const PER_BLOCK: usize;

    /// The value modulo 2^32 or 2^64.
    fn from_i64(value: i64) -> Self;
    fn from_u64(value: u64) -> Self;
    fn to_u64(self) -> u64;
    fn plus(self, other: Self) -> Self;

    /// Adds or subtracts one keystream, of at least as many bytes as the lanes have.
    fn apply(lanes: &mut [Self], keystream: &[u8], sign: Sign);
}

macro_rules! lane {
    ($type:ty) => {
        impl Lane for $type {
            const PER_BLOCK: usize = BLOCK_BYTES / size_of::<$type>();

            fn from_i64(value: i64) -> Self {
                value as $type
            }

            fn from_u64(value: u64) -> Self {
                value as $type
            }

            fn to_u64(self) -> u64 {
                u64::from(self)
            }

            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn apply(lanes: &mut [Self], keystream: &[u8], sign: Sign) {
                let (words, _) = keystream.as_chunks();
                match sign {
                    Sign::Add => {
                        for (lane, word) in lanes.iter_mut().zip(words) {
                            *lane = lane.wrapping_add(<$type>::from_le_bytes(*word));
                        }
                    }
                    Sign::Subtract => {
                        for (lane, word) in lanes.iter_mut().zip(words) {
                            *lane = lane.wrapping_sub(<$type>::from_le_bytes(*word));
                        }
                    }
                }
            }
        }
    };
}

lane!(u32);
lane!(u64);

/// Several keystreams at one common position.
///
/// All streams count from zero, so they share their counter blocks: these are written once for a
/// block of the vector, and each stream costs the bare cipher and the addition. `mask_rate` shows
/// more than twice the rate of the `ctr` crate, which makes its own counter blocks.
pub(crate) struct Keystreams {
    ciphers: Vec<(Aes256Enc, Sign)>,
    counter: u128,
    counters: Vec<Block>,
    keystream: Zeroizing<Vec<[u8; 16]>>,
}

type Block = Array<u8, U16>;

impl Keystreams {
    /// The streams of `keys`, positioned at the start of block `first_block`.
    pub(crate) fn new<'a>(
        keys: impl IntoIterator<Item = (&'a [u8; 32], Sign)>,
        first_block: usize,
    ) -> Self {
        let ciphers = keys.into_iter().map(|(key, sign)| (Aes256Enc::new(key.into()), sign));
        Self {
            ciphers: ciphers.collect(),
            counter: (first_block * AES_BLOCKS) as u128,
            counters: vec![Block::default(); AES_BLOCKS],
            keystream: Zeroizing::new(vec![[0; 16]; AES_BLOCKS]),
        }
    }

    /// Applies every stream to the next block. All blocks but the last are full.
    pub(crate) fn apply_block<L: Lane>(&mut self, lanes: &mut [L]) {
        let blocks = size_of_val(lanes).div_ceil(16);
        let (counters, keystream) = (&mut self.counters[..blocks], &mut self.keystream[..blocks]);
        self.counter = count(counters, self.counter);
        for (cipher, sign) in &self.ciphers {
            cipher
                .encrypt_blocks_b2b(counters, Array::cast_slice_from_core_mut(keystream))
                .expect("both slices have the same number of blocks");
            L::apply(lanes, keystream.as_flattened(), *sign);
        }
    }
}

/// Writes the counter blocks (128 bits, big-endian) from `counter` on; returns the next counter.
fn count(blocks: &mut [Block], mut counter: u128) -> u128 {
    for block in blocks {
        *block = counter.to_be_bytes().into();
        counter = counter.wrapping_add(1);
    }
    counter
}

/// Applies every stream to the whole vector, on up to `threads` threads.
pub(crate) fn apply_all<L: Lane>(
    lanes: &mut [L],
    keys: &[(Zeroizing<[u8; 32]>, Sign)],
    threads: usize,
) {
    let blocks = lanes.len().div_ceil(L::PER_BLOCK);
    let blocks_each = blocks.div_ceil(threads.max(1)).max(1);
    let run = |first_block: usize, part: &mut [L]| {
        let keys = keys.iter().map(|(key, sign)| (&**key, *sign));
        let mut streams = Keystreams::new(keys, first_block);
        for block in part.chunks_mut(L::PER_BLOCK) {
            streams.apply_block(block);
        }
    };
    std::thread::scope(|scope| {
        let mut parts = lanes.chunks_mut(blocks_each * L::PER_BLOCK).enumerate();
        let own = parts.next();
        for (index, part) in parts {
            let run = &run;
            scope.spawn(move || run(index * blocks_each, part));
        }
        if let Some((_, part)) = own {
            run(0, part);
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ctr::{
        Ctr128BE,
        cipher::{KeyIvInit as _, StreamCipher as _},
    };

    use super::*;

    #[test]
    fn nist_sp_800_38a_f_5_5_ctr_aes256() {
        let key: [u8; 32] =
            hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
                .unwrap()
                .try_into()
                .unwrap();
        let counter: [u8; 16] =
            hex::decode("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").unwrap().try_into().unwrap();
        let text = hex::decode(concat!(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
        ))
        .unwrap();
        // Subtracting the keystream from zeros and negating shows the keystream itself.
        let mut streams = Keystreams::new([(&key, Sign::Subtract)], 0);
        streams.counter = u128::from_be_bytes(counter);
        let mut lanes = [0u64; 8];
        streams.apply_block(&mut lanes);
        let keystream = lanes.iter().flat_map(|lane| lane.wrapping_neg().to_le_bytes());
        let text: Vec<u8> = text.iter().zip(keystream).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(
            hex::encode(text),
            concat!(
                "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5",
                "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
            )
        );
    }

    /// The lanes take the stream of an independent counter mode in order, whatever their width,
    /// the block and the thread.
    #[test]
    fn lanes_take_the_stream_in_order() {
        let key = [9; 32];
        let length = 2 * BLOCK_BYTES + 104;
        let mut stream = vec![0; length];
        Ctr128BE::<Aes256Enc>::new(&key.into(), &[0; 16].into()).write_keystream(&mut stream);
        let keys = [(Zeroizing::new(key), Sign::Add)];
        let undo = [(Zeroizing::new(key), Sign::Subtract)];
        for threads in [1, 2, 3, 7] {
            let mut narrow = vec![0u32; length / 4];
            apply_all(&mut narrow, &keys, threads);
            let expected = stream.as_chunks().0.iter();
            assert!(expected.map(|word| u32::from_le_bytes(*word)).eq(narrow.iter().copied()));
            apply_all(&mut narrow, &undo, threads);
            assert!(narrow.iter().all(|lane| *lane == 0));

            let mut wide = vec![5u64; length / 8];
            apply_all(&mut wide, &keys, threads);
            let expected = stream.as_chunks().0.iter();
            assert!(expected.map(|word| u64::from_le_bytes(*word).wrapping_add(5)).eq(wide));
        }
    }
}
