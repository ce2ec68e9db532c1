//! Masks as keystreams: AES-256 in counter mode (NIST SP 800-38A) from a zero counter block.
//!
//! A key serves one session and one stream, therefore the counter can start at zero. Coordinate
//! `i` takes bytes `4i..4i+4` of the stream (`8i..8i+8` where the modulus is wider than 32 bits)
//! as a little-endian number. All streams are applied to one block of 8 KiB before the next
//! block is touched, so that the vector passes through the cache once.

use aes::Aes256Enc;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _},
};
use zeroize::{Zeroize, Zeroizing};

use crate::mask::Sign;

/// Bytes of lanes that are processed at a time.
pub(crate) const BLOCK_BYTES: usize = 8 << 10;

/// A coordinate in the width that the machine computes in.
pub(crate) trait Lane: Copy + Default + Zeroize + Send {
    /// Lanes in one block.
    const PER_BLOCK: usize;

    /// The value modulo 2^32 or 2^64.
    fn from_i64(value: i64) -> Self;
    fn from_u64(value: u64) -> Self;
    fn to_u64(self) -> u64;
    fn plus(self, other: Self) -> Self;

    /// Adds or subtracts one keystream, of as many bytes as the lanes have.
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
pub(crate) struct Keystreams {
    streams: Vec<(Ctr128BE<Aes256Enc>, Sign)>,
    buffer: Zeroizing<[u8; BLOCK_BYTES]>,
}

impl Keystreams {
    /// The streams of `keys`, positioned at the start of block `first_block`.
    pub(crate) fn new<'a>(
        keys: impl IntoIterator<Item = (&'a [u8; 32], Sign)>,
        first_block: usize,
    ) -> Self {
        let position = (first_block * BLOCK_BYTES) as u64;
        let streams = keys
            .into_iter()
            .map(|(key, sign)| {
                let mut cipher = Ctr128BE::<Aes256Enc>::new(key.into(), &[0; 16].into());
                cipher.seek(position);
                (cipher, sign)
            })
            .collect();
        Self { streams, buffer: Zeroizing::new([0; BLOCK_BYTES]) }
    }

    /// Applies every stream to the next block. All blocks but the last are full.
    pub(crate) fn apply_block<L: Lane>(&mut self, lanes: &mut [L]) {
        let keystream = &mut self.buffer[..size_of_val(lanes)];
        for (cipher, sign) in &mut self.streams {
            // A 128-bit counter does not run out within a vector.
            cipher.write_keystream(keystream);
            L::apply(lanes, keystream, *sign);
        }
    }
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
    use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};

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
        let mut text = hex::decode(concat!(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
        ))
        .unwrap();
        let mut cipher = Ctr128BE::<Aes256Enc>::new(&key.into(), &counter.into());
        let mut keystream = vec![0; text.len()];
        cipher.write_keystream(&mut keystream);
        for (byte, mask) in text.iter_mut().zip(keystream) {
            *byte ^= mask;
        }
        assert_eq!(
            hex::encode(text),
            concat!(
                "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5",
                "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
            )
        );
    }

    /// Byte `i` of a stream is byte `i mod 16` of AES-256(key, i / 16), whatever the lane width,
    /// the block and the thread.
    #[test]
    fn lanes_take_the_stream_in_order() {
        let key = [9; 32];
        let cipher = Aes256Enc::new(&key.into());
        let length = 2 * BLOCK_BYTES + 104;
        let stream: Vec<u8> = (0..length.div_ceil(16) as u128)
            .flat_map(|counter| {
                let mut block = counter.to_be_bytes().into();
                cipher.encrypt_block(&mut block);
                block
            })
            .take(length)
            .collect();
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
