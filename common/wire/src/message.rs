//! Every message of the protocol, in the order in which it flows.
//!
//! Variants are only ever appended, so that neighbouring versions understand each other.

mod control;
mod enrol;
mod epoch;
mod head;
mod round;

pub use control::{Hello, Reason, ToAgent, ToCoordinator, Waiting};
pub use enrol::{EnrolmentAnswer, EnrolmentBundle, EnrolmentRequest};
pub use epoch::{
    Advert, Complaint, EpochOpen, Roster, RosterCertificate, RosterOpening, RosterVote,
    RoundPublicKeys, ShareEnvelope, StatedRound, Statement,
};
pub use head::{HeadLink, HeadOffer, LEDGER_ENTRY_CONTEXT, LedgerHead, entry_hash};
pub use round::{
    Abort, AbortCause, AbortCertificate, Ballot, Commit, MaskedHeader, NoiseLink, ProvenSurvivors,
    Ready, Refusal, RefusalCode, Reveal, RevealedShare, RoundResult, ShareKind,
    SurvivorCertificate, SurvivorVote, Survivors, Vote,
};
