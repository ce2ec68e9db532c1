//! Masks as keystreams: AES-256 in counter mode (NIST SP 800-38A) from a zero counter block, or
//! ChaCha20 (RFC 8439) with a zero nonce from block 0, as the round says.
//!
//! A key serves one session and one stream, therefore counter and nonce can start at zero.
//! Coordinate `i` takes bytes `4i..4i+4` of the stream (`8i..8i+8` where the modulus is wider than
//! 32 bits) as a little-endian number. All streams are applied to one block of 8 KiB before the
//! next block is touched, so that the vector passes through the cache once.

use aes::{
    Aes256Enc,
    cipher::{
        Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt as _,
        BlockSizeUser, KeyInit as _,
        inout::InOutBuf,
        typenum::{U16, Unsigned as _},
    },
};
use chacha20::{
    ChaCha20, KeyIvInit as _,
    cipher::{StreamCipher as _, StreamCipherSeek as _},
};
use chorale_wire::Keystream;
use zeroize::{Zeroize, Zeroizing};

use crate::mask::Sign;

/// Bytes of lanes that are processed at a time: with the counters and the keystream beside them
/// they stay in a first-level cache of 32 KiB.
pub(crate) const BLOCK_BYTES: usize = 8 << 10;

/// Cipher blocks in one block.
const AES_BLOCKS: usize = BLOCK_BYTES / size_of::<AesBlock>();

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

            #[inline(always)]
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
    streams: Streams,
    scratch: Box<Scratch>,
}

enum Streams {
    /// All count from zero, so they share their counter blocks, which are written once for a
    /// block of the vector.
    Aes {
        ciphers: Vec<(Aes256Enc, Sign)>,
        counter: u128,
        counters: Box<Scratch>,
    },
    ChaCha20(Vec<(ChaCha20, Sign)>),
}

type AesBlock = Array<u8, U16>;

/// Room for one block of keystream, wiped when dropped. Aligned, since a wide store that crosses
/// a cache line costs two.
#[repr(align(64))]
struct Scratch([AesBlock; AES_BLOCKS]);

impl Default for Scratch {
    fn default() -> Self {
        Self([AesBlock::default(); AES_BLOCKS])
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        Array::cast_slice_to_core_mut(&mut self.0).as_flattened_mut().zeroize();
    }
}

impl Keystreams {
    /// The streams of `keys`, positioned at the start of block `first_block`.
    pub(crate) fn new<'a>(
        keystream: Keystream,
        keys: impl IntoIterator<Item = (&'a [u8; 32], Sign)>,
        first_block: usize,
    ) -> Self {
        let keys = keys.into_iter();
        let streams = match keystream {
            Keystream::Aes256Ctr => Streams::Aes {
                ciphers: keys.map(|(key, sign)| (Aes256Enc::new(key.into()), sign)).collect(),
                counter: (first_block * AES_BLOCKS) as u128,
                counters: Box::default(),
            },
            Keystream::ChaCha20 => {
                let position = (first_block * BLOCK_BYTES) as u64;
                let start = |key: &[u8; 32]| {
                    let mut cipher = ChaCha20::new(key.into(), &[0; 12].into());
                    // The counter's 32 bits reach to 256 GiB, a thousand times the longest vector.
                    cipher.seek(position);
                    cipher
                };
                Streams::ChaCha20(keys.map(|(key, sign)| (start(key), sign)).collect())
            }
        };
        Self { streams, scratch: Box::default() }
    }

    /// Applies every stream to the next block. All blocks but the last are full.
    pub(crate) fn apply_block<L: Lane>(&mut self, lanes: &mut [L]) {
        let scratch = &mut self.scratch.0;
        match &mut self.streams {
            Streams::Aes { ciphers, counter, counters } => {
                let counters = &mut counters.0[..size_of_val(lanes).div_ceil(16)];
                *counter = count(counters, *counter);
                for (cipher, sign) in ciphers {
                    let sign = *sign;
                    cipher.encrypt_with_backend(Apply { counters, scratch, lanes, sign });
                }
            }
            Streams::ChaCha20(ciphers) => {
                let bytes = Array::cast_slice_to_core_mut(scratch).as_flattened_mut();
                let bytes = &mut bytes[..size_of_val(lanes)];
                for (cipher, sign) in ciphers {
                    cipher.write_keystream(bytes);
                    L::apply(lanes, bytes, *sign);
                }
            }
        }
    }
}

/// One AES stream over one block of lanes: some counter blocks are encrypted at a time and added
/// to the lanes at once. The cipher calls this from within code for the widest instructions of
/// the machine, so that the additions use the same registers.
struct Apply<'a, L> {
    counters: &'a [AesBlock],
    scratch: &'a mut [AesBlock],
    lanes: &'a mut [L],
    sign: Sign,
}

impl<L> BlockSizeUser for Apply<'_, L> {
    type BlockSize = U16;
}

impl<L: Lane> BlockCipherEncClosure for Apply<'_, L> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Self { counters, scratch, lanes, sign } = self;
        let (groups, tail) = Array::<AesBlock, B::ParBlocksSize>::slice_as_chunks(counters);
        let group_lanes = B::ParBlocksSize::USIZE * 16 / size_of::<L>();
        let (full, rest) = lanes.split_at_mut(lanes.len().min(groups.len() * group_lanes));
        if let Some(keystream) = Array::slice_as_chunks_mut(scratch).0.first_mut() {
            for (counters, lanes) in groups.iter().zip(full.chunks_mut(group_lanes)) {
                backend.encrypt_par_blocks((counters, &mut *keystream).into());
                let keystream = Array::cast_slice_to_core(keystream.as_slice());
                L::apply(lanes, keystream.as_flattened(), sign);
            }
        }
        let keystream = &mut scratch[..tail.len()];
        let blocks = InOutBuf::new(tail, &mut *keystream).expect("both have the tail's length");
        backend.encrypt_tail_blocks(blocks);
        L::apply(rest, Array::cast_slice_to_core(keystream).as_flattened(), sign);
    }
}

/// Writes the counter blocks (128 bits, big-endian) from `counter` on; returns the next counter.
fn count(blocks: &mut [AesBlock], mut counter: u128) -> u128 {
    for block in blocks {
        *block = counter.to_be_bytes().into();
        counter = counter.wrapping_add(1);
    }
    counter
}

/// Applies every stream to the whole vector, on up to `threads` threads.
pub(crate) fn apply_all<L: Lane>(
    keystream: Keystream,
    lanes: &mut [L],
    keys: &[(Zeroizing<[u8; 32]>, Sign)],
    threads: usize,
) {
    let blocks = lanes.len().div_ceil(L::PER_BLOCK);
    let blocks_each = blocks.div_ceil(threads.max(1)).max(1);
    let run = |first_block: usize, part: &mut [L]| {
        let keys = keys.iter().map(|(key, sign)| (&**key, *sign));
        let mut streams = Keystreams::new(keystream, keys, first_block);
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
        let mut streams = Keystreams::new(Keystream::Aes256Ctr, [(&key, Sign::Subtract)], 0);
        if let Streams::Aes { counter: current, .. } = &mut streams.streams {
            *current = u128::from_be_bytes(counter);
        }
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

    /// RFC 8439, appendix A.1, vectors 1 and 2: the zero key and the zero nonce, blocks 0 and 1.
    #[test]
    fn rfc_8439_a_1_chacha20_blocks_under_a_zero_nonce() {
        let mut streams = Keystreams::new(Keystream::ChaCha20, [(&[0; 32], Sign::Add)], 0);
        let mut lanes = [0u64; 16];
        streams.apply_block(&mut lanes);
        let keystream: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        assert_eq!(
            hex::encode(keystream),
            concat!(
                "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7",
                "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
                "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed",
                "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
            )
        );
    }

    /// `length` bytes of the stream of `key`, by an independent counter mode for AES and by
    /// ChaCha20's block function written out after RFC 8439, section 2.3.
    fn reference(keystream: Keystream, key: [u8; 32], length: usize) -> Vec<u8> {
        match keystream {
            Keystream::Aes256Ctr => {
                let mut stream = vec![0; length];
                let mut cipher = Ctr128BE::<Aes256Enc>::new(&key.into(), &[0; 16].into());
                cipher.write_keystream(&mut stream);
                stream
            }
            Keystream::ChaCha20 => (0..length.div_ceil(64) as u32)
                .flat_map(|counter| chacha20_block(&key, counter, [0; 3]))
                .take(length)
                .collect(),
        }
    }

    fn chacha20_block(key: &[u8; 32], counter: u32, nonce: [u32; 3]) -> [u8; 64] {
        let mut state = [0u32; 16];
        state[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        for (word, bytes) in state[4..12].iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        state[12] = counter;
        state[13..].copy_from_slice(&nonce);
        let mut working = state;
        for _ in 0..10 {
            for i in 0..4 {
                quarter_round(&mut working, [i, 4 + i, 8 + i, 12 + i]);
            }
            for i in 0..4 {
                let diagonal = |row: usize| 4 * row + (i + row) % 4;
                quarter_round(&mut working, [i, diagonal(1), diagonal(2), diagonal(3)]);
            }
        }
        let mut bytes = [0; 64];
        for (bytes, (end, start)) in
            bytes.as_chunks_mut().0.iter_mut().zip(working.iter().zip(state))
        {
            *bytes = end.wrapping_add(start).to_le_bytes();
        }
        bytes
    }

    fn quarter_round(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
        for (sum, other, rotated, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]
        {
            state[sum] = state[sum].wrapping_add(state[other]);
            state[rotated] = (state[rotated] ^ state[sum]).rotate_left(by);
        }
    }

    /// The written-out block function is that of the RFC: the example of section 2.3.2.
    #[test]
    fn rfc_8439_2_3_2_chacha20_block_function() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(
            hex::encode(chacha20_block(&key, 1, [0x0900_0000, 0x4a00_0000, 0])),
            concat!(
                "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e",
                "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
            )
        );
    }

    /// The lanes take the stream of an independent implementation in order, whatever their width,
    /// the block and the thread.
    #[test]
    fn lanes_take_the_stream_in_order() {
        let key = [9; 32];
        let length = 2 * BLOCK_BYTES + 104;
        for keystream in Keystream::ALL {
            let stream = reference(keystream, key, length);
            let keys = [(Zeroizing::new(key), Sign::Add)];
            let undo = [(Zeroizing::new(key), Sign::Subtract)];
            for threads in [1, 2, 3, 7] {
                let mut narrow = vec![0u32; length / 4];
                apply_all(keystream, &mut narrow, &keys, threads);
                let expected = stream.as_chunks().0.iter();
                assert!(expected.map(|word| u32::from_le_bytes(*word)).eq(narrow.iter().copied()));
                apply_all(keystream, &mut narrow, &undo, threads);
                assert!(narrow.iter().all(|lane| *lane == 0));

                let mut wide = vec![5u64; length / 8];
                apply_all(keystream, &mut wide, &keys, threads);
                let expected = stream.as_chunks().0.iter();
                assert!(expected.map(|word| u64::from_le_bytes(*word).wrapping_add(5)).eq(wide));
            }
        }
    }

    /// Every length of the last block, so that each path through a cipher's groups and tail is
    /// taken, with several streams and both signs.
    #[test]
    fn every_length_of_the_last_block() {
        let (plus, minus) = ([1; 32], [2; 32]);
        for keystream in Keystream::ALL {
            let streams = [plus, minus].map(|key| reference(keystream, key, BLOCK_BYTES));
            for length in (0..600).chain([BLOCK_BYTES / 4 - 1, BLOCK_BYTES / 4]) {
                let mut lanes = vec![7u32; length];
                let keys = [(&plus, Sign::Add), (&minus, Sign::Subtract)];
                Keystreams::new(keystream, keys, 0).apply_block(&mut lanes);
                let word = |stream: &Vec<u8>, i| u32::from_le_bytes(stream.as_chunks().0[i]);
                let expected = (0..length).map(|i| {
                    7u32.wrapping_add(word(&streams[0], i)).wrapping_sub(word(&streams[1], i))
                });
                assert!(expected.eq(lanes), "{keystream:?}, {length} lanes");
            }
        }
    }
}
