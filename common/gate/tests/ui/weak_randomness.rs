//! A generator that is no cryptographic one rounds nothing.
use std::convert::Infallible;

use chorale_gate::{Permit, Protection, release};
use chorale_secagg::PairwiseTicket;

struct Counter(u64);

impl rand_core::TryRng for Counter {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 += 1;
        Ok(self.0)
    }
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

fn leave(permit: Permit, ticket: PairwiseTicket) {
    let mut weak = Counter(0);
    let _ = release(permit, &mut weak, Protection::None, ticket, |_| Ok::<(), Infallible>(()));
}

fn main() {}
