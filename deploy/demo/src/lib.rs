//! The one-command demo and the full benchmark.
//!
//! The demo re-executes itself as coordinator and agents: the same programs that a federation
//! runs, as separate processes over real QUIC on this machine.

pub mod evaluation;
pub mod federation;
pub mod plot;
pub mod report;
pub mod results;
pub mod run;
pub mod setting;
pub mod workplace;
