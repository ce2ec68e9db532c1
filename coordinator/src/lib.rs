//! The coordinator: enrolment, schedule, rounds, models and the ledger.
//!
//! It is trusted for progress, not with data: all it ever holds about people is noisy totals.
//!
//! Reading order: [`config`], [`service`], `driver`, [`cli`].

pub mod calibrate;
mod canaries;
pub mod caps;
pub mod changes;
pub mod cli;
pub mod config;
mod driver;
mod enrolment;
pub mod error;
pub mod events;
mod ledger_file;
mod programme;
mod records;
mod recover;
pub mod service;
pub mod sign_off;
mod state;
