//! Secure aggregation without sockets, clocks or files: what the agents and the coordinator
//! compute so that only the sum of the agents' vectors can be read.
//!
//! The construction is that of Bonawitz et al. ("Practical Secure Aggregation for
//! Privacy-Preserving Machine Learning", CCS 2017) and Bell et al. ("Secure Single-Server
//! Aggregation with (Poly)Logarithmic Overhead", CCS 2020). Each agent adds to its vector one
//! *self mask* and, for each neighbour in the cohort, one *pairwise mask* that the neighbour
//! subtracts. The pairwise masks of two survivors cancel in the sum. The coordinator removes the
//! self masks of survivors and the pairwise masks of agents that dropped out after it received
//! enough Shamir shares of the secrets behind them, of each agent one kind only.
//!
//! Everything here is a function of its arguments; randomness comes in as an `rng`. Which
//! message may be answered when is decided by the round machines, not here.
//!
//! Reading order: [`keys`], [`shamir`], [`envelope`], [`graph`], [`mask`], [`packing`],
//! [`scheme`] (the seam), [`ticket`] (the agent's side of a round), [`sum`] (the coordinator's),
//! [`surplus`] (seeds of noise that may come off again).

pub mod envelope;
pub mod graph;
pub mod keys;
pub mod mask;
pub mod packing;
pub mod scheme;
pub mod shamir;
pub mod sum;
pub mod surplus;
pub mod ticket;

mod keystream;
#[cfg(test)]
mod known_answers;
mod spread;

pub use envelope::{EnvelopeContext, EnvelopeError, HpkeSecret, RoundShares};
pub use graph::{Graph, GraphError, GraphParameters, RingParameters, WindowError};
pub use keys::{EpochSecrets, PairwiseSecret, RoundSecret, SecretScalar};
pub use mask::{MaskError, Modulus, PairKey, SelfKey, Sign};
pub use scheme::{MaskScheme, MaskTicket, MaskedSum, Pairwise};
pub use shamir::Share;
pub use spread::spread;
pub use sum::{PairwiseOpening, Sum, SumError};
pub use surplus::{NotInChain, SurplusChain};
pub use ticket::{PackedVector, PairwiseTicket, TicketBinding, TicketError};
