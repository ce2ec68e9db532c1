//! A federation in virtual time: the machines of `chorale-round` and the chain of
//! `chorale-ledger`, exactly as the binaries drive them, between seeded delays, drop-outs,
//! restarts, losses, duplicates, reorderings and replays, and with parties that lie.
//!
//! [`play`] plays a [`Scenario`], the federation that a seed stands for, and checks after every
//! step what must never fail: a sum is exact or the round aborts cleanly, nobody signs or reveals
//! twice, the shares that are out never open both secrets of an agent, nobody honest is blamed,
//! no budget is charged twice, everybody comes to rest. A seed that fails is replayed by
//! `cargo simulate --seed N`, and [`shrink`] looks for a smaller federation that fails too.
//!
//! [`exhaustive`] plays every drop-out pattern of small federations; [`cost`] plays a calm
//! federation of up to ten thousand agents and measures it.
//!
//! The agents' vectors are drawn at random and masked with the real tickets; the gate, which
//! makes them from data, is tested where it is.

pub mod cost;
pub mod exhaustive;

mod blame;
mod federation;
mod liar;
mod oracle;
mod scenario;
mod shrink;
mod trace;
mod world;

pub use oracle::Failure;
pub use scenario::{PARAMETERS, Parameter, Scenario};
pub use shrink::shrink;
pub use world::Summary;

/// Plays a federation to its end.
///
/// # Errors
/// [`Failure`]: what was violated. The same scenario fails in the same way.
pub fn play(scenario: &Scenario) -> Result<Summary, Failure> {
    world::World::new(scenario, trace::Timeline::new(false))?.play().0
}

/// Plays a federation to its end and tells what happened, one line an event: seconds since the
/// beginning, who says what to whom, who lies, what the coordinator is doing.
///
/// # Errors
/// [`Failure`], as [`play`]; the lines up to it are told all the same.
pub fn play_traced(scenario: &Scenario) -> (Result<Summary, Failure>, Vec<String>) {
    match world::World::new(scenario, trace::Timeline::new(true)) {
        Ok(world) => world.play(),
        Err(failure) => (Err(failure), Vec::new()),
    }
}
