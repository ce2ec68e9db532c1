//! The agent's side: one struct per state, one file per phase, and the [`Machine`] that a driver
//! (the client agent, or the simulator) feeds with messages and time.
//!
//! ```text
//! Advertising -> Advertised -> RosterVoted -> Dealt -> EpochKeys
//! EpochKeys   -> RoundOpened -> AwaitingCommit -> Committed -> Masked -> SurvivorVoted -> Revealed
//! ```
//!
//! ABORT, the agent's deadline and newer rounds and epochs end a round in any state. What is left
//! of it then knows only whether and how the agent may still vote.
//!
//! A state that refuses a message is handed back unchanged in [`Kept`]. Secrets live in the
//! states, in memory only; dropping a state wipes them. Whatever happens in a round, its secrets
//! were moved out of [`EpochKeys`] when it opened, so no round can be run twice.

mod abort;
mod action;
mod advertise;
mod commit;
mod deal;
mod fault;
mod head;
mod identity;
mod keys;
mod machine;
mod masked;
mod memory;
mod open;
mod result;
mod reveal;
mod roster;
mod state;
mod survivors;

pub use abort::AbortError;
pub use action::{Action, RoundEnd};
pub use advertise::{AdvertiseError, Advertised, Advertising};
pub use commit::{AwaitingCommit, CommitError, Committed};
pub use deal::{Dealt, DealtOutcome, SharesError};
pub use fault::{Blame, Fault};
pub use head::HeadError;
pub use identity::{Identity, Kept};
pub use keys::{EpochKeys, OpenError};
pub use machine::Machine;
pub use masked::{Masked, MaskedError};
pub use memory::{Behind, Fact, Memory};
pub use open::{ReadyError, RoundOpened};
pub use result::{EndError, Outcome};
pub use reveal::{RevealError, Revealed};
pub use roster::{Certified, DealError, RosterRefused, RosterVoted};
pub use survivors::{InclusionError, SurvivorVoted, SurvivorsError};
