//! Cosigning the ledger's heads: one hash for each number, and only what extends the last one.

use chorale_wire::{
    EncodeError, SignatureError, Signed, ToCoordinator,
    message::{HeadOffer, LEDGER_ENTRY_CONTEXT, LedgerHead},
};

use super::{
    action::Action,
    fault::Fault,
    identity::Identity,
    memory::{Fact, Memory},
};

/// Why a head was not cosigned. The coordinator is to blame, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Not signed by the pinned coordinator.
    #[error("head {seq} of the ledger is not signed by the pinned coordinator")]
    Signature {
        /// The entry.
        seq: u64,
        /// What the verification says.
        #[source]
        source: SignatureError,
    },
    /// Older than what this agent has cosigned.
    #[error(
        "head {given} of the ledger was offered after this agent cosigned head {signed}: the \
         ledger went back; keep both heads and ask the coordinator's operator"
    )]
    Back {
        /// The entry offered.
        given: u64,
        /// The entry cosigned last.
        signed: u64,
    },
    /// Another history than the one that this agent has cosigned.
    #[error(
        "head {given} of the ledger does not extend head {signed}, which this agent cosigned: the \
         ledger was forked or rewritten; keep both heads and ask the coordinator's operator"
    )]
    Fork {
        /// The entry offered.
        given: u64,
        /// The entry cosigned last.
        signed: u64,
    },
    /// The links do not lead from one head to the other.
    #[error("what was shown of the ledger does not lead from entry {from} to entry {to}")]
    Links {
        /// Where the links begin.
        from: u64,
        /// Where they should end.
        to: u64,
    },
    /// The cosignature cannot be encoded: a defect of this program.
    #[error("a cosignature could not be encoded")]
    Encode(#[from] EncodeError),
}

/// What an admissible offer calls for.
enum Verdict {
    /// To cosign the head.
    Cosign,
    /// To ask for what came since the last head that was cosigned.
    Behind(LedgerHead),
}

/// Holds an offer against the last head that was cosigned. An agent that has cosigned none takes
/// the coordinator's word for the history up to the offer, once.
fn judge(last: Option<&LedgerHead>, offer: &HeadOffer) -> Result<Verdict, HeadError> {
    let given = offer.head.seq;
    let Some(last) = last.copied() else { return Ok(Verdict::Cosign) };
    let fork = || HeadError::Fork { given, signed: last.seq };
    if given < last.seq {
        return Err(HeadError::Back { given, signed: last.seq });
    }
    if given == last.seq {
        return if offer.head.hash == last.hash { Ok(Verdict::Cosign) } else { Err(fork()) };
    }
    if offer.from.seq > last.seq {
        return Ok(Verdict::Behind(last));
    }
    let broken = || HeadError::Links { from: offer.from.seq, to: given };
    if given.checked_sub(offer.from.seq) != Some(offer.links.len() as u64) {
        return Err(broken());
    }
    let mut at = offer.from;
    let mut passed = at.seq == last.seq && at.hash == last.hash;
    for link in &offer.links {
        at = at.after(link).ok_or_else(broken)?;
        passed |= at == last;
    }
    if at != offer.head {
        return Err(broken());
    }
    if passed { Ok(Verdict::Cosign) } else { Err(fork()) }
}

/// Cosigns the head of an offer, or asks for what is missing between. The cosignature is on the
/// disk before it leaves.
pub(super) fn on_offer(
    identity: &Identity,
    memory: &mut Memory,
    offer: &HeadOffer,
    actions: &mut Vec<Action>,
) -> Result<(), Fault> {
    let LedgerHead { seq, hash } = offer.head;
    identity
        .coordinator
        .verify_bytes(LEDGER_ENTRY_CONTEXT, hash.as_bytes(), offer.signature.as_bytes())
        .map_err(|source| HeadError::Signature { seq, source })?;
    match judge(memory.last_head(), offer)? {
        Verdict::Behind(last) => actions.push(Action::Send(ToCoordinator::HeadFrom(last))),
        Verdict::Cosign => {
            let vote = Signed::sign(&offer.head, &identity.key).map_err(HeadError::from)?;
            if memory.last_head() != Some(&offer.head) {
                let fact = Fact::HeadCosigned { head: offer.head };
                memory.note(&fact);
                actions.push(Action::Remember(fact));
            }
            actions.push(Action::Send(ToCoordinator::HeadVote(vote)));
        }
    }
    Ok(())
}
