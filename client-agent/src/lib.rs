//! The agent at a store: it reads the store's own events, pseudonymises them, takes part in
//! rounds and answers with profiles. Nothing leaves but what the gate released.
//!
//! Reading order: [`config`], [`observe`], [`pseudonym`], [`features`], [`store`], [`ingest`],
//! [`policy`], [`journal`], [`odometer`], [`profiles`], [`cli`].

pub mod calendar;
pub mod cli;
pub mod config;
pub mod error;
pub mod features;
pub mod ingest;
pub mod journal;
pub mod keys;
pub mod observe;
pub mod odometer;
pub mod policy;
pub mod profiles;
pub mod pseudonym;
pub mod run;
pub mod store;

pub use config::Config;
pub use error::{Explain, Failure};
pub use features::Contributors;
pub use journal::RedbJournal;
pub use policy::{PolicyFile, StorePolicy, VerifiedPolicy};
pub use store::{Ingest, Store};
