//! What an agent keeps about people: keyed pseudonyms, one sealed record per person, and what is
//! made of it: features, profiles, recommendations. Nothing here reads a store's files, listens to
//! a network or takes part in a round.
//!
//! Reading order: [`pseudonym`], [`event`], [`gather`], [`live`], [`features`], [`store`], [`profiles`], [`evaluate`].

pub mod calendar;
pub mod channel;
pub mod error;
pub mod evaluate;
pub mod event;
pub mod features;
pub mod gather;
pub mod hand_over;
pub mod keys;
pub mod live;
mod parallel;
pub mod profiles;
pub mod pseudonym;
pub mod quality;
pub mod retention;
pub mod scrub;
pub mod store;

pub use error::{Explain, Failure};
pub use event::{Cleaning, Event, Kind};
pub use features::Contributors;
pub use quality::Quality;
pub use store::{Ingest, Store};
