//! Certificates: all votes on a roster, and enough equal votes on a survivor set. Both sides
//! verify them with the functions here.

use chorale_secagg::{graph, keys};
use chorale_wire::{
    AgentId, Digest, Epoch, FederationId, SessionId, SignatureError, Signed, Slot, SlotSet,
    message::{RosterCertificate, RosterVote, SurvivorCertificate, SurvivorVote, Vote},
};

use crate::roster::VerifiedRoster;

/// Why one vote was not counted. The voter is to blame, or whoever forged it.
#[derive(Debug, thiserror::Error)]
pub enum VoteError {
    /// The slot is outside the roster, or not the sender's.
    #[error("the vote names slot {slot}, which is not the voter's")]
    Slot {
        /// The slot in the vote.
        slot: String,
    },
    /// Not signed by the agent at that slot.
    #[error("the vote of {agent} is not signed by its certified identity")]
    Signature {
        /// The claimed voter.
        agent: AgentId,
        /// What the verification says.
        #[source]
        source: SignatureError,
    },
    /// The vote is for another federation, epoch, roster or session.
    #[error("the vote of {agent} is for another epoch, roster or session")]
    Elsewhere {
        /// The voter.
        agent: AgentId,
    },
    /// The nonce does not open the commitment in the voter's advert.
    #[error("the nonce of {agent} does not open the commitment in its advert")]
    Nonce {
        /// The voter.
        agent: AgentId,
    },
    /// The vote is for another survivor set, or for none.
    #[error("{agent} did not vote for this survivor set")]
    OtherSet {
        /// The voter.
        agent: AgentId,
    },
    /// The voter is not a survivor, so that it has no vote.
    #[error("{agent} voted and is not among the survivors")]
    NotSurvivor {
        /// The voter.
        agent: AgentId,
    },
}

/// Why a certificate was refused. The coordinator is to blame in every variant, because it
/// passes on only what it has verified.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Of another epoch or session.
    #[error("the certificate is for another epoch or session")]
    Elsewhere,
    /// A vote in it does not count.
    #[error("the certificate holds a vote that does not count")]
    Vote(#[from] VoteError),
    /// Votes out of slot order or one voter twice.
    #[error("the votes are not in ascending order of slots, each once")]
    Order,
    /// Too few votes.
    #[error("the certificate holds {given} votes and {needed} are needed")]
    TooFew {
        /// Votes given.
        given: usize,
        /// Votes needed.
        needed: usize,
    },
}

/// Verifies one roster vote of `slot` and returns its nonce.
///
/// # Errors
/// [`VoteError`] says what is wrong with it.
pub(crate) fn check_roster_vote(
    roster: &VerifiedRoster,
    federation: &FederationId,
    slot: Slot,
    signed: &Signed<RosterVote>,
) -> Result<[u8; 32], VoteError> {
    let entry = roster.entry(slot).ok_or_else(|| unknown_slot(slot))?;
    let agent = || entry.agent.clone();
    let vote = signed
        .verify(&entry.identity)
        .map_err(|source| VoteError::Signature { agent: agent(), source })?;
    if vote.slot != slot {
        return Err(unknown_slot(vote.slot));
    }
    if vote.federation != *federation
        || vote.epoch != roster.epoch()
        || vote.roster != roster.digest()
    {
        return Err(VoteError::Elsewhere { agent: agent() });
    }
    if keys::nonce_commitment(&vote.nonce) != entry.nonce_commitment {
        return Err(VoteError::Nonce { agent: agent() });
    }
    Ok(vote.nonce)
}

/// Verifies a roster certificate, votes of *all* agents in slot order, and returns the graph
/// seed, which binds the roster and every nonce.
///
/// # Errors
/// [`CertificateError`] says what is wrong with it.
pub(crate) fn check_roster_certificate(
    roster: &VerifiedRoster,
    federation: &FederationId,
    certificate: &RosterCertificate,
) -> Result<Digest, CertificateError> {
    check_epoch(roster.epoch(), certificate.epoch)?;
    if certificate.votes.len() != roster.agents() {
        return Err(CertificateError::TooFew {
            given: certificate.votes.len(),
            needed: roster.agents(),
        });
    }
    let nonces = roster
        .slots()
        .zip(&certificate.votes)
        .map(|(slot, vote)| check_roster_vote(roster, federation, slot, vote))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(graph::seed(&roster.digest(), &nonces))
}

/// Verifies one survivor vote of `slot` for exactly `survivors`.
///
/// # Errors
/// [`VoteError`] says what is wrong with it.
pub(crate) fn check_survivor_vote(
    roster: &VerifiedRoster,
    session: SessionId,
    survivors: &SlotSet,
    slot: Slot,
    signed: &Signed<SurvivorVote>,
) -> Result<(), VoteError> {
    let entry = roster.entry(slot).ok_or_else(|| unknown_slot(slot))?;
    let agent = || entry.agent.clone();
    let vote = signed
        .verify(&entry.identity)
        .map_err(|source| VoteError::Signature { agent: agent(), source })?;
    if vote.slot != slot {
        return Err(unknown_slot(vote.slot));
    }
    if vote.session != session {
        return Err(VoteError::Elsewhere { agent: agent() });
    }
    if !survivors.contains(slot) {
        return Err(VoteError::NotSurvivor { agent: agent() });
    }
    match &vote.vote {
        Vote::Survivors(set) if set == survivors => Ok(()),
        Vote::Survivors(_) | Vote::Abort => Err(VoteError::OtherSet { agent: agent() }),
    }
}

/// Verifies a survivor certificate: at least T votes of different survivors for exactly
/// `survivors`.
///
/// # Errors
/// [`CertificateError`] says what is wrong with it.
pub(crate) fn check_survivor_certificate(
    roster: &VerifiedRoster,
    session: SessionId,
    survivors: &SlotSet,
    certificate: &SurvivorCertificate,
) -> Result<(), CertificateError> {
    if certificate.session != session {
        return Err(CertificateError::Elsewhere);
    }
    let given = certificate.votes.len();
    let needed = roster.votes_min();
    if given < needed {
        return Err(CertificateError::TooFew { given, needed });
    }
    let mut last = None;
    for signed in &certificate.votes {
        let slot = signed.peek().map_err(|_| CertificateError::Elsewhere)?.slot;
        if last.is_some_and(|last| last >= slot) {
            return Err(CertificateError::Order);
        }
        last = Some(slot);
        check_survivor_vote(roster, session, survivors, slot, signed)?;
    }
    Ok(())
}

fn check_epoch(expected: Epoch, given: Epoch) -> Result<(), CertificateError> {
    if expected == given { Ok(()) } else { Err(CertificateError::Elsewhere) }
}

fn unknown_slot(slot: Slot) -> VoteError {
    VoteError::Slot { slot: slot.to_string() }
}
