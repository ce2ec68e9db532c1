//! The agent at a store: it reads the store's own events, pseudonymises them, takes part in
//! rounds and answers with profiles. Nothing leaves but what the gate released.
//!
//! Reading order: [`config`], [`observe`], [`pseudonym`], [`features`], [`store`], [`ingest`],
//! [`policy`], [`journal`], [`odometer`], [`profiles`], [`cli`].

pub mod cli;
pub mod config;
pub mod ingest;
pub mod journal;
pub mod odometer;
pub mod policy;
pub mod run;

/// Reading the store's sources has a crate of its own, since it takes long to build.
pub use chorale_observe as observe;
/// What the agent keeps about people has a crate of its own; it is part of this one's interface.
pub use chorale_people::{
    calendar, error, event, features, keys, live, profiles, pseudonym, quality, store,
};
pub use config::Config;
pub use error::{Explain, Failure};
pub use features::Contributors;
pub use journal::RedbJournal;
pub use policy::{PolicyFile, StorePolicy, VerifiedPolicy};
pub use store::{Ingest, Store};
