//! The gate: the only way out of a store.
//!
//! Every task gives one vector for each person. The gate rounds it to integers, clips it in
//! integers to L2 norm Δ, adds up the store's persons, adds this agent's share of the noise, and
//! masks the sum. What comes out is a [`Release`]; nothing else that is computed from events can
//! be put on an agent's connection.
//!
//! Each stage consumes the one before it, and the stages are private to this crate: `Quantised`
//! and `Clipped` borrow one scratch row, `Summed` and `Noised` move one vector that is wiped when
//! dropped. A [`Permit`] exists only after the agent's own policy admitted the round and its
//! durable [`Journal`] charged it; [`release`] uses it up, together with the one mask ticket of
//! the session. The tests under `tests/ui` show that none of this can be skipped, repeated,
//! forged or printed: they must not compile.
//!
//! Refusals depend on public parameters only, never on data, except for a task that breaks the
//! rules of the sink (order, length, cap on persons), which is a fault of the program.
//!
//! Reading order: [`permit`], [`journal`], [`release()`], then the private stages.

mod caps;
pub mod journal;
mod meter;
pub mod permit;
mod release;
mod remembered;
mod sink;
mod stages;

pub use caps::{AgentCap, AgentCaps};
pub use journal::{Charge, Journal, JournalRefusal, JournalState, Record, Reopened, Settlement};
pub use meter::Meter;
pub use permit::{Permit, PermitError};
pub use release::{Protection, Release, ReleaseError, release, release_metered};
pub use remembered::Restoration;

#[cfg(test)]
mod tests;
