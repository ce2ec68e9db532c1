//! Both sides of a round as sans-IO machines: what may be answered to which message, and when.
//!
//! The protocol is that of PROTOCOL.md, section 1: epoch setup (ADVERTISE, ROSTER, ROSTER-QC,
//! SHARES), then rounds (ROUND-OPEN, READY, COMMIT, MASKED, SURVIVORS, votes, certificate,
//! REVEAL, RESULT or ABORT). Every state is a struct, every transition consumes it, and every
//! phase has a file. Time (`now_ms`, Unix milliseconds) and randomness come in as arguments, so
//! that the binaries drive the machines in real time and the simulator in virtual time.
//!
//! The agent's side ([`agent`]) does not trust the coordinator: it verifies every signature
//! itself, signs one roster per epoch number, one session per round and one vote per session, and
//! reveals once, never both secrets of one agent. The coordinator's side ([`coordinator`]) is
//! trusted for progress only.
//!
//! Up to 128 agents everybody shares masks and secrets with everybody, above with its neighbours
//! on a ring ([`chorale_secagg::graph`]).
//!
//! An epoch's keys live in memory and end with the process. What must outlive it, an agent's own
//! highest numbers and what it saw of the others, is stored by the driver as the machine asks
//! ([`agent::Fact`]); an agent whose store was rolled back learns so from the votes of the next
//! roster ([`agent::Behind`]).

pub mod agent;
pub mod coordinator;

mod certificate;
mod context;
mod memo;
mod roster;
mod witness;

/// How vectors are masked. Another scheme is put in here, and where its openings are gathered.
type Scheme = chorale_secagg::Pairwise;

pub use certificate::{CertificateError, VoteError};
pub use context::{ContextError, SetError};
pub use memo::VerifiedMemo;
pub use roster::{
    AdvertError, Entry, Expectation, GAMMA_PER_MILLE, ROSTER_AGENTS_MIN, RosterError,
    VerifiedRoster, graph_for,
};
pub use witness::{WITNESSED_ROUNDS_MAX, WitnessBook};
