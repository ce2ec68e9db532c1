//! Which heads can still be cosigned, and by whom.

use std::{collections::VecDeque, sync::Arc};

use chorale_wire::{
    Digest, VoterSignature, VotesError,
    message::{HeadLink, LedgerHead},
};

use super::{RosterInForce, Violation, range};
use crate::{chain::Head, entry::CosignedEntry};

/// The entries since the last cosigned head, each with the roster in force after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads {
    /// Number of the first entry in `since`.
    first: u64,
    since: VecDeque<(Digest, Option<Arc<RosterInForce>>)>,
    last: Option<Head>,
}

impl Heads {
    /// One more entry.
    pub(super) fn passed(&mut self, head: Head, roster: Option<Arc<RosterInForce>>) {
        self.since.push_back((head.hash, roster));
    }

    /// The last cosigned head.
    pub(super) fn last(&self) -> Option<Head> {
        self.last
    }

    pub(super) fn check(&self, entry: &CosignedEntry) -> Result<(), Violation> {
        let seq = entry.seq;
        let known = seq.checked_sub(self.first).and_then(|at| self.since.get(at as usize));
        let Some((_, roster)) = known.filter(|(hash, _)| *hash == entry.hash) else {
            return Err(Violation::HeadUnknown { seq });
        };
        let voters = || Violation::Cosigners { seq };
        let roster = roster.as_ref().ok_or_else(voters)?;
        let slots = roster.slots(&entry.voters).ok_or_else(voters)?;
        if entry.signatures.len() != slots.len() {
            return Err(range("signatures", "one for each voter"));
        }
        let signatures: Vec<VoterSignature> = slots
            .into_iter()
            .zip(&entry.signatures)
            .map(|(slot, signature)| VoterSignature { slot, signature: *signature })
            .collect();
        let head = LedgerHead { seq, hash: entry.hash };
        match roster.electorate.check(&signatures, |_| head) {
            Ok(()) => Ok(()),
            Err(VotesError::TooFew { given, needed }) => {
                Err(Violation::TooFewCosigners { seq, given, needed })
            }
            Err(VotesError::Signature { slot, .. }) => {
                let voter = roster.entry.agents.get(slot.index()).cloned();
                Err(voter.map_or_else(voters, |voter| Violation::Cosignature { seq, voter }))
            }
            Err(VotesError::Order | VotesError::Stranger { .. } | VotesError::Encode(_)) => {
                Err(voters())
            }
        }
    }

    pub(super) fn commit(&mut self, entry: &CosignedEntry) {
        // The entries up to the head need no cosignature any more.
        let done = (entry.seq + 1).saturating_sub(self.first);
        self.since.drain(..(done as usize).min(self.since.len()));
        self.first += done;
        self.last = Some(Head { seq: entry.seq, hash: entry.hash });
    }
}

/// The heads of a whole ledger, by what links each to the one before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links(Vec<HeadLink>);

impl Links {
    pub(crate) fn push(&mut self, link: HeadLink) {
        self.0.push(link);
    }

    /// The head of entry `seq`.
    pub(crate) fn head(&self, seq: u64) -> Option<LedgerHead> {
        let mut hash = Digest::from_bytes([0; 32]);
        let entries = self.0.get(..=usize::try_from(seq).ok()?)?;
        for (at, link) in (0..).zip(entries) {
            hash = chorale_wire::message::entry_hash(&hash, at, link.time_s, &link.entry);
        }
        Some(LedgerHead { seq, hash })
    }

    /// What follows entry `seq`.
    pub(crate) fn after(&self, seq: u64) -> Option<&[HeadLink]> {
        self.0.get(usize::try_from(seq).ok()?.checked_add(1)?..)
    }
}
