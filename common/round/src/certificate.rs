//! Certificates: all votes on a roster, and enough equal votes on a survivor set. Both sides
//! verify them with the functions here. That of an abort is verified by
//! [`chorale_wire::message::AbortCertificate::verify`], also by journals and auditors.

use chorale_secagg::{graph, keys};
use chorale_wire::{
    AgentId, Digest, EncodeError, FederationId, SessionId, SignatureError, Signed, Slot, SlotSet,
    VotesError,
    message::{RosterCertificate, RosterVote, Statement, SurvivorCertificate, SurvivorVote, Vote},
};

use crate::{roster::VerifiedRoster, witness::are_wellformed};

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
    /// The statements in the vote contradict the roster or themselves.
    #[error("the statements of {agent} about other agents are malformed")]
    Statements {
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
    /// For another survivor set than the one that this agent voted for.
    #[error("the certificate is for other survivors than those that this agent voted for")]
    OtherSet,
    /// A vote of somebody who is no survivor and so has none.
    #[error("slot {slot} voted and is not among the survivors")]
    NotSurvivor {
        /// The voter.
        slot: Slot,
    },
    /// The signatures do not make a certificate.
    #[error("the votes do not make a certificate")]
    Votes(#[from] VotesError),
    /// A roster vote in it does not count.
    #[error("the certificate holds a vote that does not count")]
    Vote(#[from] VoteError),
    /// Not the votes of all agents of the roster.
    #[error("the certificate holds {given} votes and the roster has {needed} agents")]
    Missing {
        /// Votes given.
        given: usize,
        /// Agents of the roster.
        needed: usize,
    },
    /// The votes cannot be put together, so that nobody can have signed them.
    #[error("the votes of the certificate cannot be encoded")]
    Encode(#[from] EncodeError),
}

/// Verifies one roster vote of `slot` and returns its content.
///
/// # Errors
/// [`VoteError`] says what is wrong with it.
pub(crate) fn check_roster_vote(
    roster: &VerifiedRoster,
    federation: &FederationId,
    slot: Slot,
    signed: &Signed<RosterVote>,
) -> Result<RosterVote, VoteError> {
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
    if !are_wellformed(roster, slot, &vote) {
        return Err(VoteError::Statements { agent: agent() });
    }
    Ok(vote.into_inner())
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
    if certificate.epoch != roster.epoch() {
        return Err(CertificateError::Elsewhere);
    }
    let (given, needed) = (certificate.votes.len(), roster.agents());
    if given != needed {
        return Err(CertificateError::Missing { given, needed });
    }
    let nonces = roster
        .slots()
        .zip(&certificate.votes)
        .map(|(slot, opening)| {
            let (epoch, digest) = (roster.epoch(), roster.digest());
            let vote = opening.vote(federation.clone(), epoch, digest, slot);
            let signed = Signed::with_signature(&vote, opening.signature)?;
            Ok(check_roster_vote(roster, federation, slot, &signed)?.nonce)
        })
        .collect::<Result<Vec<_>, CertificateError>>()?;
    Ok(graph::seed(&roster.digest(), &nonces))
}

/// Verifies that `slot` signed this vote of `session`, and returns what it voted for.
///
/// # Errors
/// [`VoteError`] says what is wrong with it.
pub(crate) fn check_vote(
    roster: &VerifiedRoster,
    session: SessionId,
    slot: Slot,
    signed: &Signed<SurvivorVote>,
) -> Result<Vote, VoteError> {
    let entry = roster.entry(slot).ok_or_else(|| unknown_slot(slot))?;
    let agent = || entry.agent.clone();
    let vote = signed
        .verify(&entry.identity)
        .map_err(|source| VoteError::Signature { agent: agent(), source })?
        .into_inner();
    if vote.slot != slot {
        return Err(unknown_slot(vote.slot));
    }
    if vote.session != session {
        return Err(VoteError::Elsewhere { agent: agent() });
    }
    Ok(vote.vote)
}

/// What the voters of a verified certificate state about the agent at `about`: voter and
/// statement, in slot order. A voter that is not named says that it saw nothing above the claim.
pub(crate) fn roster_statements(
    certificate: &RosterCertificate,
    about: Slot,
) -> Vec<(Slot, Statement)> {
    let votes = (0..).map(Slot).zip(&certificate.votes);
    votes
        .filter_map(|(voter, vote)| {
            let stated = vote.statements.iter().find(|statement| statement.about == about);
            let unstated = vote.unstated.as_ref().is_some_and(|set| set.contains(about));
            let empty = || Statement { about, rounds: Vec::new(), more: true };
            Some((voter, stated.cloned().or_else(|| unstated.then(empty))?))
        })
        .collect()
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
    let vote = check_vote(roster, session, slot, signed)?;
    let entry = roster.entry(slot).ok_or_else(|| unknown_slot(slot))?;
    let agent = entry.agent.clone();
    if !survivors.contains(slot) {
        return Err(VoteError::NotSurvivor { agent });
    }
    match &vote {
        Vote::Survivors(set) if set == survivors => Ok(()),
        Vote::Survivors(_) | Vote::Abort => Err(VoteError::OtherSet { agent }),
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
    if certificate.survivors != *survivors {
        return Err(CertificateError::OtherSet);
    }
    let mut voters = certificate.signatures.iter().map(|voter| voter.slot);
    if let Some(slot) = voters.find(|slot| !survivors.contains(*slot)) {
        return Err(CertificateError::NotSurvivor { slot });
    }
    let vote = |slot| SurvivorVote { session, slot, vote: Vote::Survivors(survivors.clone()) };
    Ok(roster.electorate().check(&certificate.signatures, vote)?)
}

fn unknown_slot(slot: Slot) -> VoteError {
    VoteError::Slot { slot: slot.to_string() }
}
