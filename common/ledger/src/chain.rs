//! Writing a ledger: each entry chained to the one before and signed.

use std::{fmt, str::FromStr};

use chorale_dp::{CapExceeded, Rho, Standing};
use chorale_wire::{
    AgentId, Digest, RoundNumber, SecretKey, SessionId, Signature, SignedBytes,
    message::{AbortCause, HeadLink, HeadOffer, LEDGER_ENTRY_CONTEXT, LedgerHead, entry_hash},
};
use serde::{Deserialize, Serialize};

use crate::{
    canary::CanaryOpening,
    canonical::{self, CanonicalError, hex32, hex64, whole},
    entry::{AbortEntry, AbortProof, Entry, GenesisEntry, Privacy, ReleaseEntry},
    rules::{CertifiedRound, Links, State, Violation},
    verify::{Replayed, VerifyError, replay},
};

/// Longest line in bytes, its end included: a roster of 10,000 agents with their memberships fits.
pub const LINE_BYTES_MAX: usize = 5 << 20;

/// One line as it stands in the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) entry: Entry,
    #[serde(with = "hex32")]
    pub(crate) hash: Digest,
    #[serde(with = "hex32")]
    pub(crate) previous: Digest,
    #[serde(deserialize_with = "whole")]
    pub(crate) seq: u64,
    #[serde(with = "hex64")]
    pub(crate) signature: Signature,
    #[serde(deserialize_with = "whole")]
    pub(crate) time_s: u64,
}

impl Line {
    /// The hash that this line must carry.
    pub(crate) fn expected_hash(&self) -> Result<Digest, CanonicalError> {
        let HeadLink { entry, time_s } = self.link()?;
        Ok(entry_hash(&self.previous, self.seq, time_s, &entry))
    }

    /// What makes that hash out of the one before.
    pub(crate) fn link(&self) -> Result<HeadLink, CanonicalError> {
        link(&self.entry, self.time_s)
    }

    /// The line's one text, without its end.
    pub(crate) fn text(&self) -> Result<String, CanonicalError> {
        canonical::encode(self)
    }
}

fn link(entry: &Entry, time_s: u64) -> Result<HeadLink, CanonicalError> {
    Ok(HeadLink { entry: Digest::plain(canonical::encode(entry)?.as_bytes()), time_s })
}

/// The end of a ledger: names all entries up to it. Its text is `seq:hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last entry's number.
    pub seq: u64,
    /// The last entry's hash.
    #[serde(with = "hex32")]
    pub hash: Digest,
}

/// Why a text is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ledger head is written 'seq:hash', a number and 64 hexadecimal digits")]
pub struct HeadError;

impl From<LedgerHead> for Head {
    fn from(LedgerHead { seq, hash }: LedgerHead) -> Self {
        Self { seq, hash }
    }
}

impl From<Head> for LedgerHead {
    fn from(Head { seq, hash }: Head) -> Self {
        Self { seq, hash }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = HeadError;
    fn from_str(text: &str) -> Result<Self, HeadError> {
        let (seq, hash) = text.trim().split_once(':').ok_or(HeadError)?;
        let seq = seq.parse().map_err(|_| HeadError)?;
        Ok(Self { seq, hash: Digest::parse(hash).ok_or(HeadError)? })
    }
}

/// Why nothing was appended. The chain is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The entry breaks a rule.
    #[error("entry {seq} was not written, since a verifier would refuse it")]
    Rule {
        /// The number it would have had.
        seq: u64,
        /// Which rule.
        #[source]
        source: Violation,
    },
    /// The key is not the one that GENESIS names.
    #[error("entry {seq} was not written: this key is not the one that the genesis entry names")]
    WrongKey {
        /// The number it would have had.
        seq: u64,
    },
    /// The entry has no canonical text.
    #[error("entry {seq} was not written")]
    Encode {
        /// The number it would have had.
        seq: u64,
        /// Why.
        #[source]
        source: CanonicalError,
    },
    /// The line would be longer than [`LINE_BYTES_MAX`].
    #[error("entry {seq} was not written: its line would have {bytes} bytes")]
    TooLong {
        /// The number it would have had.
        seq: u64,
        /// Its length.
        bytes: usize,
    },
}

/// A ledger being written: bytes out, nothing stored.
///
/// [`Self::append`] returns a line that the caller writes and syncs before anything depends on it.
/// Where writing fails, drop the chain and [`Self::resume`] from what the file holds.
#[derive(Clone, Debug)]
pub struct Chain {
    state: State,
    head: Head,
    /// The coordinator's signature over the head's hash.
    signature: Signature,
    time_s: u64,
    links: Links,
}

/// What a caller knows of a released round; costs are the chain's to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The round.
    pub round: RoundNumber,
    /// The session.
    pub session: SessionId,
    /// The certified survivors, in slot order.
    pub survivors: Vec<AgentId>,
    /// Plain SHA-256 of each survivor's packed vector, in the same order.
    pub vectors: Vec<Digest>,
    /// Digest of the messages that certify the survivors.
    pub transcript: Digest,
    /// Digest of the model after the round.
    pub output_model: Digest,
    /// What its canary lanes showed; for a round that was reserved with lanes.
    pub canaries: Option<CanaryOpening>,
}

impl Chain {
    /// Begins a ledger; also returns its first line, end of line included.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn genesis(
        entry: GenesisEntry,
        key: &SecretKey,
        time_s: u64,
    ) -> Result<(Self, String), LedgerError> {
        let entry = Entry::Genesis(Box::new(entry));
        let state = State::begin(&entry).map_err(|source| LedgerError::Rule { seq: 0, source })?;
        let previous = Digest::from_bytes([0; 32]);
        let Written { head, signature, link, text } =
            write(&state, entry, previous, 0, time_s, key)?;
        let links = Links::default();
        let mut chain = Self { state, head, signature, time_s, links };
        chain.passed(head, signature, link);
        Ok((chain, text))
    }

    /// Continues the ledger in `file`, which is verified whole. An unfinished last line, left by
    /// a crash, is refused: cut off [`torn_tail`] first.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn resume(file: &[u8]) -> Result<Self, VerifyError> {
        let Replayed { state, head, signature, time_s, links } = replay(file, |_, _| {})?;
        Ok(Self { state, head, signature, time_s, links })
    }

    fn passed(&mut self, head: Head, signature: Signature, link: HeadLink) {
        self.state.passed(head);
        self.links.push(link);
        (self.head, self.signature, self.time_s) = (head, signature, link.time_s);
    }

    /// Checks, chains and signs `entry`; returns its line, end of line included. The entry
    /// carries `time_s` (Unix seconds), or the time before it where the clock went back.
    ///
    /// # Errors
    /// [`LedgerError`]; over the cap, out of order, figures that do not follow.
    pub fn append(
        &mut self,
        entry: Entry,
        key: &SecretKey,
        time_s: u64,
    ) -> Result<String, LedgerError> {
        let seq = self.head.seq + 1;
        let time_s = time_s.max(self.time_s);
        self.state.check(&entry, time_s).map_err(|source| LedgerError::Rule { seq, source })?;
        let copy = entry.clone();
        let Written { head, signature, link, text } =
            write(&self.state, entry, self.head.hash, seq, time_s, key)?;
        self.state.commit(&copy, time_s);
        self.time_s = time_s;
        self.passed(head, signature, link);
        Ok(text)
    }

    /// The RELEASE of an open round, with its charge and the running sum filled in.
    ///
    /// # Errors
    /// [`Violation::NotReserved`].
    pub fn release(&self, released: Released) -> Result<Entry, Violation> {
        let round = released.round;
        let held = self.state.open().get(&round).ok_or(Violation::NotReserved { round })?;
        let rho = held.entry.rho.clone();
        Ok(Entry::Release(Box::new(ReleaseEntry {
            round,
            session: Digest::from_bytes(*released.session.as_bytes()),
            survivors: released.survivors,
            vectors: released.vectors,
            transcript: released.transcript,
            output_model: released.output_model,
            canaries: released.canaries,
            refusals: Vec::new(),
            spent: self.state.spent_with(&rho),
            rho,
        })))
    }

    /// The ABORT of an open round. Where the cohort was `committed`, masked vectors may have left
    /// agents and the charge stands; else it is given back.
    ///
    /// # Errors
    /// [`Violation::NotReserved`].
    pub fn abort(
        &self,
        round: RoundNumber,
        cause: AbortCause,
        committed: bool,
        unmask_started: bool,
    ) -> Result<Entry, Violation> {
        let held = self.state.open().get(&round).ok_or(Violation::NotReserved { round })?;
        let rho_charged = if committed { held.entry.rho.clone() } else { self.state.no_charge() };
        Ok(Entry::Abort(AbortEntry {
            round,
            cause,
            committed,
            unmask_started,
            spent: self.state.spent_with(&rho_charged),
            rho_charged,
            certificate: None,
            refusals: Vec::new(),
        }))
    }

    /// The ABORT of an open round whose cohort was committed and whose agents voted to abort it:
    /// the charge is given back, since the votes exclude that it is ever unmasked.
    ///
    /// # Errors
    /// [`Violation::NotReserved`]. Whether the proof is one is checked when it is appended.
    pub fn abort_certified(
        &self,
        round: RoundNumber,
        cause: AbortCause,
        proof: AbortProof,
    ) -> Result<Entry, Violation> {
        if !self.state.open().contains_key(&round) {
            return Err(Violation::NotReserved { round });
        }
        let rho_charged = self.state.no_charge();
        Ok(Entry::Abort(AbortEntry {
            round,
            cause,
            committed: true,
            unmask_started: false,
            spent: self.state.spent_with(&rho_charged),
            rho_charged,
            certificate: Some(Box::new(proof)),
            refusals: Vec::new(),
        }))
    }

    /// What the federation promises.
    #[must_use]
    pub fn promise(&self) -> &GenesisEntry {
        self.state.genesis()
    }

    /// The last entry.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The next change's serial number, and the hash of the genesis entry, for
    /// [`crate::ChangeEntry::sign`].
    #[must_use]
    pub fn next_change(&self) -> Option<(u32, Digest)> {
        self.state.next_change()
    }

    /// The last head that agents have cosigned, as the ledger holds it.
    #[must_use]
    pub fn cosigned(&self) -> Option<Head> {
        self.state.cosigned()
    }

    /// The last entry, to be cosigned by agents whose last cosignature is under the head of entry
    /// `from` or a later one; `None` where there is no such entry.
    #[must_use]
    pub fn offer(&self, from: u64) -> Option<HeadOffer> {
        Some(HeadOffer {
            head: self.head.into(),
            signature: self.signature,
            from: self.links.head(from)?,
            links: self.links.after(from)?.to_vec(),
        })
    }

    /// What is charged for good.
    #[must_use]
    pub fn spent(&self) -> Privacy {
        self.state.spent()
    }

    /// What open rounds hold.
    #[must_use]
    pub fn reserved(&self) -> Privacy {
        self.state.reserved()
    }

    /// Whether a round of `task` that costs `cost` would fit every cap at `time_s`, Unix seconds.
    ///
    /// # Errors
    /// [`CapExceeded`] names the cap, what is left of it and when it has room.
    pub fn admits(&self, task: &str, cost: &Rho, time_s: u64) -> Result<(), Box<CapExceeded>> {
        self.state.admits(task, cost, time_s.max(self.time_s))
    }

    /// The caps beside the lifetime's, with what counts in them at `time_s`.
    #[must_use]
    pub fn standing(&self, time_s: u64) -> Vec<Standing> {
        self.state.standing(time_s.max(self.time_s))
    }

    /// The latest rounds that the agents voted to abort, oldest first, for agents that missed it.
    pub fn certified(&self) -> impl Iterator<Item = &CertifiedRound> {
        self.state.certified()
    }

    /// The last released round whose canary lanes show too little noise: whoever runs the
    /// federation has to look into it before anything else is released.
    #[must_use]
    pub fn noise_short(&self) -> Option<RoundNumber> {
        self.state.noise_short()
    }

    /// Rounds that are reserved and not ended, ascending: after a crash each needs an ABORT.
    #[must_use]
    pub fn open_rounds(&self) -> Vec<RoundNumber> {
        self.state.open().keys().copied().collect()
    }
}

/// The bytes after the last end of line: what a crash left of an append that was never complete.
/// A ledger without such a tail gives an empty slice.
#[must_use]
pub fn torn_tail(file: &[u8]) -> &[u8] {
    let complete = file.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    &file[complete..]
}

/// A line, and what the next one needs of it.
struct Written {
    head: Head,
    signature: Signature,
    link: HeadLink,
    text: String,
}

fn write(
    state: &State,
    entry: Entry,
    previous: Digest,
    seq: u64,
    time_s: u64,
    key: &SecretKey,
) -> Result<Written, LedgerError> {
    if key.public() != state.genesis().coordinator {
        return Err(LedgerError::WrongKey { seq });
    }
    let encode = |source| LedgerError::Encode { seq, source };
    let link = link(&entry, time_s).map_err(encode)?;
    let hash = entry_hash(&previous, seq, time_s, &link.entry);
    let signed = SignedBytes::sign(LEDGER_ENTRY_CONTEXT, hash.as_bytes().to_vec(), key);
    let signature = Signature::from_bytes(*signed.signature());
    let line = Line { entry, hash, previous, seq, signature, time_s };
    let mut text = line.text().map_err(encode)?;
    text.push('\n');
    if text.len() > LINE_BYTES_MAX {
        return Err(LedgerError::TooLong { seq, bytes: text.len() });
    }
    Ok(Written { head: Head { seq, hash }, signature, link, text })
}
