//! Ledger heads: what an agent cosigns, and how it sees that one head extends another.
//!
//! A head names one entry of the ledger by its number and hash, and with it the whole history up
//! to there. The hash of an entry covers the hash before it and the digest of the entry's text, so
//! that two heads can be compared over 40 bytes for each entry between them, whatever the entries
//! hold.

use serde::{Deserialize, Serialize};

use crate::{Digest, Signature, sign::Message};

/// The hash of the ledger entry with number `seq`: over the hash before it (zeros for the first),
/// its number, its time in Unix seconds and the plain SHA-256 of its canonical text.
#[must_use]
pub fn entry_hash(previous: &Digest, seq: u64, time_s: u64, entry: &Digest) -> Digest {
    let parts: [&[u8]; 4] =
        [previous.as_bytes(), &seq.to_be_bytes(), &time_s.to_be_bytes(), entry.as_bytes()];
    Digest::of("chorale/1 ledger", &parts)
}

/// The end of a ledger. As a signed message it is an agent's cosignature: it has seen no other
/// history up to here, and will sign none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// Number of the last entry, from 0.
    pub seq: u64,
    /// Its hash, as [`entry_hash`] gives it.
    pub hash: Digest,
}

impl Message for LedgerHead {
    const CONTEXT: &'static str = "ledger head";
    const BYTES_MAX: usize = 64;
}

impl LedgerHead {
    /// The head after one more entry; `None` where the numbers are used up.
    #[must_use]
    pub fn after(&self, link: &HeadLink) -> Option<Self> {
        let seq = self.seq.checked_add(1)?;
        Some(Self { seq, hash: entry_hash(&self.hash, seq, link.time_s, &link.entry) })
    }
}

/// What makes an entry's hash out of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadLink {
    /// Plain SHA-256 of the entry's canonical text.
    pub entry: Digest,
    /// The entry's time in Unix seconds.
    pub time_s: u64,
}

/// Coordinator to agents: a head to be cosigned, and how it extends an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadOffer {
    /// The head.
    pub head: LedgerHead,
    /// The coordinator's signature over its hash, as it stands in the ledger.
    pub signature: Signature,
    /// An earlier head.
    pub from: LedgerHead,
    /// Every entry after `from` up to `head`, in order.
    pub links: Vec<HeadLink>,
}

/// Context under which a coordinator signs the hash of a ledger entry.
pub const LEDGER_ENTRY_CONTEXT: &str = "ledger entry";
