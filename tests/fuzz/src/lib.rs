//! Fuzz targets: what bytes from outside may do, checked on any bytes.
//!
//! A target takes bytes and panics where a promise is broken. Two programs call it: the fuzzer
//! (`tests/fuzz/run`, libFuzzer), which searches for such bytes, and `cargo test`, which replays
//! the committed corpus and the seeds, so that whatever the fuzzer once found interesting stays
//! tested everywhere.
//!
//! Decoders promise more than not to panic: what they accept is canonical, which means that it
//! encodes to the very same bytes, and within its limits. The round machines promise what
//! [`machines`] lists, against whoever may lie to them.
//!
//! Reading order: [`TARGETS`], [`wire`], [`plans`], [`vectors`], [`ledger`], [`tasks`],
//! [`machines`], [`seeds`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a target reports what it finds by panicking"
)]

pub mod choices;
pub mod ledger;
pub mod machines;
pub mod plans;
pub mod seeds;
pub mod tasks;
#[cfg(feature = "transport")]
pub mod transport;
pub mod vectors;
pub mod wire;

/// What a target made of its input, so that a test can tell that valid input gets through: a
/// target that refuses everything tests nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The input is what the target reads, or the machines reached what they are for.
    Accepted,
    /// It is not, and was refused with an error.
    Refused,
}

impl Verdict {
    /// Accepted where there is a value.
    #[must_use]
    pub fn of<T>(value: Option<T>) -> Self {
        if value.is_some() { Self::Accepted } else { Self::Refused }
    }
}

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its folder in the corpus, and for `tests/fuzz/run`.
    pub name: &'static str,
    /// Runs it.
    ///
    /// # Panics
    /// When a promise is broken.
    pub run: fn(&[u8]) -> Verdict,
    /// Longest input in bytes that the fuzzer makes.
    pub length_max: usize,
    /// Share of a run's time, in parts: the machines have more to find and are slower.
    pub weight: u32,
}

/// All targets, in the order in which they run.
pub const TARGETS: &[Target] = &[
    Target { name: "to_agent", run: wire::to_agent, length_max: 4096, weight: 2 },
    Target { name: "to_coordinator", run: wire::to_coordinator, length_max: 4096, weight: 2 },
    Target { name: "signed_message", run: wire::signed_message, length_max: 4096, weight: 2 },
    Target { name: "enrolment", run: wire::enrolment, length_max: 4096, weight: 1 },
    Target { name: "round_spec", run: plans::round_spec, length_max: 2048, weight: 2 },
    Target { name: "plan_text", run: plans::plan_text, length_max: 2048, weight: 1 },
    Target { name: "rational", run: plans::rational, length_max: 1024, weight: 1 },
    Target { name: "packing", run: vectors::packing, length_max: 1024, weight: 1 },
    Target { name: "share_plaintext", run: vectors::share_plaintext, length_max: 1024, weight: 1 },
    Target { name: "ledger_file", run: ledger::file, length_max: 16_384, weight: 1 },
    Target { name: "ledger_entries", run: ledger::entries, length_max: 16_384, weight: 2 },
    Target { name: "model", run: tasks::model, length_max: 2048, weight: 1 },
    Target { name: "catalogue", run: tasks::catalogue, length_max: 2048, weight: 1 },
    #[cfg(feature = "transport")]
    Target { name: "invitation", run: transport::invitation, length_max: 1024, weight: 1 },
    #[cfg(feature = "transport")]
    Target { name: "token_list", run: transport::token_list, length_max: 1024, weight: 1 },
    #[cfg(feature = "transport")]
    Target { name: "certificate", run: transport::certificate, length_max: 1024, weight: 1 },
    Target { name: "agent_machine", run: machines::agent, length_max: 512, weight: 6 },
    Target { name: "coordinator_machine", run: machines::coordinator, length_max: 512, weight: 6 },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Most bytes that a target may hold at once for an input of `length` bytes: a claimed length
/// must never allocate. The constant part covers what serde reserves before it has read anything
/// (at most a mebibyte for each sequence it is inside of) and the federations of the machines.
#[must_use]
pub fn memory_max(length: usize) -> usize {
    (32 << 20) + 1024 * length
}
