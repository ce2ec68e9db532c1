//! The round machines under a schedule, and a liar, that the fuzzer chooses.
//!
//! A whole federation of five honest programs runs in memory. The input decides, step by step,
//! what happens to the message that is next: it arrives, is lost, comes twice or late; a
//! connection breaks, a program restarts, time passes, the operator intervenes. In
//! [`agent`](fn@agent) the coordinator and all agents but the first collude: what they say is
//! changed at will and signed anew with their keys. In [`coordinator`](fn@coordinator) one agent
//! lies in the same way, as many as a federation of five assumes.
//!
//! Checked after every step, on every honest machine:
//!
//! - one roster vote per epoch number, one vector and one session per round, over restarts too;
//! - one survivor vote per session, for the set that the reveal then follows: the self seed of
//!   those in it, the pairwise key of those not in it, never both, never the own;
//! - nothing is said in a round that has ended;
//! - a refused message leaves the state as it was;
//! - every deadline is honoured, and the federation comes to rest.
//!
//! With an honest coordinator, whatever the lying agent does: a round ends once, with at least
//! T_min survivors and exactly the sum of the vectors that arrived, or without a sum.

mod federation;
mod forge;
mod oracle;
mod world;

pub use world::Messages;

use crate::Verdict;

/// A malicious coordinator and its agents against the first agent.
pub fn agent(data: &[u8]) -> Verdict {
    world::World::new(forge::Power::Coordinator).play(data)
}

/// A malicious agent against the coordinator and the other agents.
pub fn coordinator(data: &[u8]) -> Verdict {
    world::World::new(forge::Power::OneAgent).play(data)
}

/// What is said in a federation in which one agent drops out with its vector on the way, another
/// stops, and the operator stops a round.
#[must_use]
pub fn messages() -> Messages {
    // Until a vector is next, lose it; until READY is next, agent 1 refuses, the operator stops.
    let schedule = [64 + 17, 255, 128, 64 + 8, 255, 196, 1, 2, 64 + 13, 255, 188, 0];
    world::World::new(forge::Power::OneAgent).record(&schedule)
}
