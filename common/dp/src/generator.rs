//! A fast generator of uniform bits from a seed of 32 bytes.

use std::{convert::Infallible, fmt};

use aes::{
    Aes256Enc,
    cipher::{Array, BlockCipherEncrypt as _, KeyInit as _, typenum::U16},
};
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use zeroize::{Zeroize, Zeroizing};

/// Blocks of the cipher that are made at a time.
const BLOCKS: usize = 256;
/// Bytes made at a time.
const BYTES: usize = BLOCKS * 16;

/// AES-256 in counter mode (NIST SP 800-38A): the seed is the key, the counter starts at zero and
/// is 128 bits, big-endian. The stream of bytes does not depend on the sizes in which it is asked
/// for; words are little-endian.
///
/// The cipher is a permutation: D blocks of its stream can be told from uniform ones with an
/// advantage of D²/2^129 even if the cipher is ideal, 2^-85 for 64 MiB. Both implementations behind
/// it, the processor's instructions and the portable one, run in constant time. A seed must be used
/// for one purpose only. Key and stream are wiped when dropped.
pub struct Aes256CtrRng {
    cipher: Aes256Enc,
    counter: u128,
    counters: Box<[Array<u8, U16>; BLOCKS]>,
    stream: Box<[[u8; 16]; BLOCKS]>,
    /// Bytes of `stream` that were handed out.
    taken: usize,
}

impl Aes256CtrRng {
    /// Makes the next bytes of the stream.
    fn refill(&mut self) {
        for block in self.counters.iter_mut() {
            *block = self.counter.to_be_bytes().into();
            self.counter = self.counter.wrapping_add(1);
        }
        self.cipher
            .encrypt_blocks_b2b(
                &self.counters[..],
                Array::cast_slice_from_core_mut(&mut self.stream[..]),
            )
            .expect("both have the same number of blocks");
        self.taken = 0;
    }
}

impl SeedableRng for Aes256CtrRng {
    type Seed = [u8; 32];

    fn from_seed(seed: Self::Seed) -> Self {
        let seed = Zeroizing::new(seed);
        Self {
            cipher: Aes256Enc::new((&*seed).into()),
            counter: 0,
            counters: Box::new([Array::default(); BLOCKS]),
            stream: Box::new([[0; 16]; BLOCKS]),
            taken: BYTES,
        }
    }
}

impl TryRng for Aes256CtrRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, mut target: &mut [u8]) -> Result<(), Infallible> {
        while !target.is_empty() {
            if self.taken == BYTES {
                self.refill();
            }
            let ready = &self.stream.as_flattened()[self.taken..];
            let count = ready.len().min(target.len());
            let (now, later) = target.split_at_mut(count);
            now.copy_from_slice(&ready[..count]);
            self.taken += count;
            target = later;
        }
        Ok(())
    }
}

impl TryCryptoRng for Aes256CtrRng {}

impl Drop for Aes256CtrRng {
    fn drop(&mut self) {
        self.stream.zeroize();
    }
}

impl fmt::Debug for Aes256CtrRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aes256CtrRng(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand_core::Rng as _;

    use super::*;

    #[test]
    fn nist_sp_800_38a_f_5_5_ctr_aes256() {
        let key = hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let mut rng = Aes256CtrRng::from_seed(key.unwrap().try_into().unwrap());
        let counter = hex::decode("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").unwrap();
        rng.counter = u128::from_be_bytes(counter.try_into().unwrap());
        let text = hex::decode(concat!(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
        ))
        .unwrap();
        let mut stream = vec![0; text.len()];
        rng.fill_bytes(&mut stream);
        let text: Vec<u8> = text.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(
            hex::encode(text),
            concat!(
                "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5",
                "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
            )
        );
    }

    #[test]
    fn the_stream_does_not_depend_on_the_sizes_asked_for() {
        let new = || Aes256CtrRng::from_seed([3; 32]);
        let mut expected = vec![0; 3 * BYTES];
        new().fill_bytes(&mut expected);
        let mut rng = new();
        let mut found = Vec::new();
        for size in [1, 7, 16, 4, 0, BYTES - 1, 100, BYTES + 1] {
            let mut part = vec![0; size];
            rng.fill_bytes(&mut part);
            found.extend(part);
        }
        found.extend(rng.next_u64().to_le_bytes());
        found.extend(rng.next_u32().to_le_bytes());
        assert_eq!(found, expected[..found.len()]);
        assert!(found.len() > 2 * BYTES);
        assert_eq!(format!("{rng:?}"), "Aes256CtrRng(..)");
    }
}
