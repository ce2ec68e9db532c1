//! A sum cannot be masked before it has its noise, not even inside the gate.
#[path = "../../src/stages.rs"]
mod stages;

fn leave(sum: stages::Summed, ticket: chorale_secagg::PairwiseTicket) {
    let _ = sum.mask(ticket);
}

fn main() {}
