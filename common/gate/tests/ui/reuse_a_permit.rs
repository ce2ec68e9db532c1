//! A permit is good for one vector.
use chorale_gate::{Permit, Protection, release};
use chorale_plan::{PersonSink, SinkError};
use chorale_secagg::PairwiseTicket;
use rand_chacha::ChaCha20Rng;

fn nobody(_: &mut dyn PersonSink) -> Result<(), SinkError> {
    Ok(())
}

fn twice(permit: Permit, rng: &mut ChaCha20Rng, one: PairwiseTicket, two: PairwiseTicket) {
    let _ = release(permit, rng, Protection::None, one, nobody);
    let _ = release(permit, rng, Protection::None, two, nobody);
}

fn main() {}
