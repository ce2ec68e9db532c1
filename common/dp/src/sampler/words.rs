//! Bulk randomness: one call of the generator per 4 KiB.

use std::{convert::Infallible, fmt};

use rand_core::{CryptoRng, TryCryptoRng, TryRng};
use zeroize::Zeroize;

/// Words fetched at a time.
const WORDS: usize = 512;

/// A generator behind a buffer of 4 KiB; wiped when dropped. It is a generator itself.
pub struct Words<R> {
    rng: R,
    words: Box<[u64; WORDS]>,
    bytes: Box<[u8; WORDS * 8]>,
    next: usize,
}

impl<R: CryptoRng> Words<R> {
    /// Wraps `rng`; nothing is drawn yet.
    pub fn new(rng: R) -> Self {
        Self { rng, words: Box::new([0; WORDS]), bytes: Box::new([0; WORDS * 8]), next: WORDS }
    }

    /// 64 uniform bits.
    #[inline]
    pub fn word(&mut self) -> u64 {
        if self.next >= WORDS {
            self.refill();
        }
        let word = self.words[self.next];
        self.next += 1;
        word
    }

    /// The next words of the same stream, many at once.
    pub fn fill(&mut self, mut target: &mut [u64]) {
        while !target.is_empty() {
            if self.next >= WORDS {
                self.refill();
            }
            let ready = &self.words[self.next..];
            let count = ready.len().min(target.len());
            let (now, later) = target.split_at_mut(count);
            now.copy_from_slice(&ready[..count]);
            self.next += count;
            target = later;
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self) {
        self.rng.fill_bytes(&mut self.bytes[..]);
        let (chunks, _) = self.bytes.as_chunks::<8>();
        for (word, chunk) in self.words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        self.next = 0;
    }
}

impl<R: CryptoRng> TryRng for Words<R> {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.word() >> 32) as u32)
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.word())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(8) {
            let bytes = self.word().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

impl<R: CryptoRng> TryCryptoRng for Words<R> {}

impl<R> Drop for Words<R> {
    fn drop(&mut self) {
        self.words.zeroize();
        self.bytes.zeroize();
    }
}

impl<R> fmt::Debug for Words<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(..)")
    }
}
