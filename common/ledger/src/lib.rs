//! The ledger: what a federation promised, what each round cost, and who signed for it.
//!
//! A ledger is a file of canonical JSON lines, chained by SHA-256 and signed by the coordinator.
//! [`Chain`] writes it and [`verify`] reads it; both run every entry through the same rules, so
//! that a coordinator cannot write what an auditor would refuse. Budgets are exact rationals.
//! The format is specified in `docs/ledger.md`, precisely enough for a second implementation.
//!
//! The crate is pure: bytes in, bytes out, time and keys as arguments.
//!
//! Reading order: [`entry`], [`rules`], [`chain`], [`verify()`], [`report`].

pub mod canary;
mod canonical;
pub mod chain;
pub mod change;
pub mod entry;
pub mod lineage;
pub mod page;
pub mod report;
pub mod rules;
mod verify;

pub use canary::{CanaryCommitment, CanaryFigures, CanaryLine, CanaryOpening, RecountError};
pub use canonical::CanonicalError;
pub use chain::{Chain, Head, HeadError, LedgerError, Released, torn_tail};
pub use change::{Change, ChangeEntry};
pub use entry::{
    ACCOUNTANT_VERSION, AbortEntry, AbortProof, Adjacency, CosignedEntry, Entry, GenesisEntry,
    IdentityMethod, MechanismName, MembershipLine, Predecessor, Privacy, RefusalKind, RefusalLine,
    ReleaseEntry, ReserveEntry, RosterEntry, RoundingRule, Unit,
};
pub use lineage::{Ancestor, Lineage, LineageError, lineage};
pub use page::{Page, guessing_chance};
pub use report::{Completeness, Epsilon, Outcome, Refused, Report, RoundLine};
pub use rules::{CertifiedRound, Violation};
pub use verify::{Expect, VerifyError, verify, verify_with};

#[cfg(test)]
mod tests;
