//! The coordinator's side: one file per phase, one struct per state, and the [`Machine`] that a
//! driver (the coordinator's daemon, or the simulator) feeds with events and time.
//!
//! Call order: [`Machine::connected`] and [`Machine::handle`] with the agent's `Hello`;
//! [`Machine::open_epoch`]; when [`Action::EpochReady`] came, [`Machine::open_round`]; after
//! [`Action::RoundComplete`], [`Machine::conclude`]. [`Machine::tick`] is due at
//! [`Machine::poll_deadline`]. Every call returns actions that the driver carries out in order.
//!
//! A bad message never stops a round: it is dropped and reported as [`Action::Fault`].

mod abort;
mod accept;
mod action;
mod advertise;
mod agree;
mod collect;
mod conclude;
mod config;
mod contribution;
mod deal;
mod desk;
mod fault;
mod gather;
mod head;
mod in_round;
mod machine;
mod peers;
mod proven;
mod reveal;
mod roster;
mod setup;
mod stage;
mod surplus;
mod unmask;

pub use abort::KeptCertificate;
pub use action::{Action, CertifiedAbort, Completed};
pub use config::{CoordinatorConfig, Timeouts};
pub use contribution::{ContributionError, ReceivedContribution, Receiving};
pub use fault::{
    EnvelopesError, Fault, FaultKind, OpenEpochError, OpenRoundError, RevealError, SurplusError,
};
pub use head::CosignedHead;
pub use machine::Machine;
pub use proven::Letters;
