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
