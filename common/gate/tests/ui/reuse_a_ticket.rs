//! A ticket masks one vector: two under one keystream would tell their difference.
use chorale_gate::{Permit, Protection, release};
use chorale_plan::{PersonSink, SinkError};
use chorale_secagg::PairwiseTicket;
use rand_chacha::ChaCha20Rng;

fn nobody(_: &mut dyn PersonSink) -> Result<(), SinkError> {
    Ok(())
}

fn twice(one: Permit, two: Permit, rng: &mut ChaCha20Rng, ticket: PairwiseTicket) {
    let _ = release(one, rng, Protection::None, ticket, nobody);
    let _ = release(two, rng, Protection::None, ticket, nobody);
}

fn main() {}
