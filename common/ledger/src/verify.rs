//! Reading a ledger without trusting whoever wrote it.

use chorale_wire::{Digest, PublicKey, Signature, SignatureError, message::LEDGER_ENTRY_CONTEXT};

use crate::{
    canonical::CanonicalError,
    chain::{Head, LINE_BYTES_MAX, Line},
    report::{Recorder, Report},
    rules::{Links, State, Violation},
};

/// What a verifier knows from elsewhere. Each part that is given is held against the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// A head that an agent or an earlier look at the file recorded.
    pub head: Option<Head>,
    /// The coordinator's key, as the agents know it.
    pub coordinator: Option<PublicKey>,
}

/// Why a ledger is not what it claims to be. Lines count from 1, entries (`seq`) from 0.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No line at all.
    #[error("the ledger is empty")]
    Empty,
    /// The last line has no end.
    #[error("line {line} is cut off in the middle: the ledger was not written to its end")]
    Torn {
        /// The line.
        line: usize,
    },
    /// A line longer than any entry.
    #[error("line {line} is longer than any entry can be")]
    TooLong {
        /// The line.
        line: usize,
    },
    /// A line that is no entry.
    #[error("line {line} is no ledger entry")]
    Unreadable {
        /// The line.
        line: usize,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// An entry that cannot be written back.
    #[error("line {line} holds what an entry cannot hold")]
    Foreign {
        /// The line.
        line: usize,
        /// What.
        #[source]
        source: CanonicalError,
    },
    /// The same entry has another text.
    #[error("line {line} (entry {seq}) is not in canonical form: somebody rewrote it")]
    NotCanonical {
        /// The line.
        line: usize,
        /// The entry's number as it claims.
        seq: u64,
    },
    /// Entries are missing, repeated or out of order.
    #[error("line {line} holds entry {found} where entry {expected} belongs")]
    Sequence {
        /// The line.
        line: usize,
        /// The number that belongs here.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// The entry follows another one than the one before it.
    #[error("line {line}: entry {seq} does not follow the entry before it: the chain is broken")]
    Link {
        /// The line.
        line: usize,
        /// The entry.
        seq: u64,
    },
    /// The content was changed.
    #[error("line {line}: the content of entry {seq} does not have the hash it carries")]
    Hash {
        /// The line.
        line: usize,
        /// The entry.
        seq: u64,
    },
    /// The signature is not that of the coordinator.
    #[error("line {line}: entry {seq} is not signed by the coordinator that genesis names")]
    Signature {
        /// The line.
        line: usize,
        /// The entry.
        seq: u64,
        /// What the check says.
        #[source]
        source: SignatureError,
    },
    /// The clock goes back.
    #[error("line {line}: entry {seq} is dated before the entry that it follows")]
    Time {
        /// The line.
        line: usize,
        /// The entry.
        seq: u64,
    },
    /// The entry breaks a rule.
    #[error("line {line}: entry {seq} breaks a rule")]
    Rule {
        /// The line.
        line: usize,
        /// The entry.
        seq: u64,
        /// Which rule.
        #[source]
        source: Violation,
    },
    /// The file ends before the head.
    #[error("the ledger ends at entry {last}, but a head names entry {head}: entries are missing")]
    Truncated {
        /// The last entry in the file.
        last: u64,
        /// The head's number.
        head: u64,
    },
    /// The file continues from another history than the head.
    #[error("line {line}: entry {seq} has hash {found}, but a head names {expected}: a fork")]
    Forked {
        /// The line.
        line: usize,
        /// The entry.
        seq: u64,
        /// The head's hash.
        expected: Digest,
        /// The hash in the file.
        found: Digest,
    },
    /// Another coordinator's ledger.
    #[error("line 1: genesis names the coordinator key {found}, expected was {expected}")]
    Coordinator {
        /// The key expected.
        expected: PublicKey,
        /// The key in the file.
        found: PublicKey,
    },
}

impl VerifyError {
    /// The first entry at fault, counted from 0 in the order of lines: the one that is wrong, or
    /// the first one that is missing.
    #[must_use]
    pub fn entry(&self) -> u64 {
        let line = match self {
            Self::Truncated { last, .. } => return last + 1,
            Self::Empty | Self::Coordinator { .. } => 1,
            Self::Torn { line }
            | Self::TooLong { line }
            | Self::Unreadable { line, .. }
            | Self::Foreign { line, .. }
            | Self::NotCanonical { line, .. }
            | Self::Sequence { line, .. }
            | Self::Link { line, .. }
            | Self::Hash { line, .. }
            | Self::Signature { line, .. }
            | Self::Time { line, .. }
            | Self::Rule { line, .. }
            | Self::Forked { line, .. } => *line,
        };
        line as u64 - 1
    }
}

/// Verifies a whole ledger and recomputes everything in it. With a head, it also shows that no
/// entry up to the head is missing or was replaced.
///
/// # Errors
/// [`VerifyError`] names the first entry at fault.
pub fn verify(file: &[u8], head: Option<Head>) -> Result<Report, VerifyError> {
    verify_with(file, &Expect { head, coordinator: None })
}

/// [`verify`] with everything that the verifier knows from elsewhere.
///
/// # Errors
/// [`VerifyError`] names the first entry at fault.
pub fn verify_with(file: &[u8], expect: &Expect) -> Result<Report, VerifyError> {
    let mut recorder = Recorder::default();
    let mut at_head = None;
    let replayed = replay(file, |line, number| {
        recorder.record(line);
        if expect.head.is_some_and(|head| head.seq == line.seq) {
            at_head = Some((number, line.hash));
        }
    })?;
    let found = replayed.state.genesis().coordinator;
    if let Some(expected) = expect.coordinator.filter(|expected| *expected != found) {
        return Err(VerifyError::Coordinator { expected, found });
    }
    if let Some(head) = expect.head {
        match at_head {
            None => {
                return Err(VerifyError::Truncated { last: replayed.head.seq, head: head.seq });
            }
            Some((line, found)) if found != head.hash => {
                let (seq, expected) = (head.seq, head.hash);
                return Err(VerifyError::Forked { line, seq, expected, found });
            }
            Some(_) => {}
        }
    }
    Ok(recorder.finish(&replayed.state, replayed.head, expect.head))
}

/// The end of a verified ledger.
pub(crate) struct Replayed {
    pub(crate) state: State,
    pub(crate) head: Head,
    /// The coordinator's signature over the head's hash.
    pub(crate) signature: Signature,
    pub(crate) time_s: u64,
    pub(crate) links: Links,
}

/// Verifies every line in turn and shows each to `watch` with its line number.
pub(crate) fn replay(
    file: &[u8],
    mut watch: impl FnMut(&Line, usize),
) -> Result<Replayed, VerifyError> {
    let mut at: Option<Replayed> = None;
    for (index, bytes) in file.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let line = read(bytes, number)?;
        let next = follow(at, &line, number)?;
        watch(&line, number);
        at = Some(next);
    }
    at.ok_or(VerifyError::Empty)
}

/// Reads one line and insists on its one text.
fn read(bytes: &[u8], number: usize) -> Result<Line, VerifyError> {
    if bytes.len() > LINE_BYTES_MAX {
        return Err(VerifyError::TooLong { line: number });
    }
    let text = bytes.strip_suffix(b"\n").ok_or(VerifyError::Torn { line: number })?;
    let line: Line = serde_json::from_slice(text)
        .map_err(|source| VerifyError::Unreadable { line: number, source })?;
    let canonical = line.text().map_err(|source| VerifyError::Foreign { line: number, source })?;
    if canonical.as_bytes() != text {
        return Err(VerifyError::NotCanonical { line: number, seq: line.seq });
    }
    Ok(line)
}

/// Checks that `line` follows what is there, and what is there after it.
fn follow(at: Option<Replayed>, line: &Line, number: usize) -> Result<Replayed, VerifyError> {
    let seq = line.seq;
    let expected = at.as_ref().map_or(0, |at| at.head.seq + 1);
    if seq != expected {
        return Err(VerifyError::Sequence { line: number, expected, found: seq });
    }
    let previous = at.as_ref().map_or(Digest::from_bytes([0; 32]), |at| at.head.hash);
    if line.previous != previous {
        return Err(VerifyError::Link { line: number, seq });
    }
    let foreign = |source| VerifyError::Foreign { line: number, source };
    let hash = line.expected_hash().map_err(foreign)?;
    if line.hash != hash {
        return Err(VerifyError::Hash { line: number, seq });
    }
    let rule = |source| VerifyError::Rule { line: number, seq, source };
    let signed = |key: &PublicKey| {
        key.verify_bytes(LEDGER_ENTRY_CONTEXT, hash.as_bytes(), line.signature.as_bytes())
            .map_err(|source| VerifyError::Signature { line: number, seq, source })
    };
    let (mut state, mut links) = match at {
        None => {
            let state = State::begin(&line.entry).map_err(rule)?;
            signed(&state.genesis().coordinator)?;
            (state, Links::default())
        }
        Some(at) => {
            let mut state = at.state;
            signed(&state.genesis().coordinator)?;
            if line.time_s < at.time_s {
                return Err(VerifyError::Time { line: number, seq });
            }
            state.check(&line.entry, line.time_s).map_err(rule)?;
            state.commit(&line.entry, line.time_s);
            (state, at.links)
        }
    };
    let head = Head { seq, hash };
    state.passed(head);
    links.push(line.link().map_err(foreign)?);
    Ok(Replayed { state, head, signature: line.signature, time_s: line.time_s, links })
}
