//! A federation in virtual time: the machines of `chorale-round` and the chain of
//! `chorale-ledger`, exactly as the binaries drive them, between seeded delays, drop-outs,
//! restarts, losses, duplicates and reorderings.
//!
//! [`simulate`] plays the federation that a seed stands for and checks after every step what must
//! never fail (see [`oracle`]): a sum is exact or the round aborts cleanly, nobody signs or reveals
//! twice, no budget is charged twice, everybody comes to rest. A seed that fails is replayed by
//! `cargo simulate --seed N`.
//!
//! The agents' vectors are drawn at random and masked with the real tickets; the gate, which
//! makes them from data, is tested where it is.

mod federation;
mod oracle;
mod scenario;
mod world;

pub use oracle::Failure;
pub use scenario::Scenario;
pub use world::Summary;

/// Plays the federation of `seed` to its end.
///
/// # Errors
/// [`Failure`]: what was violated, and when. The same seed fails in the same way.
pub fn simulate(seed: u64) -> Result<Summary, Failure> {
    world::World::new(&Scenario::from_seed(seed)).play()
}
