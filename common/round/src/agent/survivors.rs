//! SURVIVORS and the certificate: one vote, and one reveal on enough equal votes. Whoever votes has
//! seen that the survivors of whom it holds shares are locked to its own session, and nobody
//! reveals that has not voted.

use std::{collections::BTreeMap, fmt};

use chorale_secagg::{RoundShares, SurplusChain};
use chorale_wire::{
    AgentId, Digest, EncodeError, SessionId, SignatureError, Signed, Slot, SlotSet, ToCoordinator,
    message::{MaskedHeader, ProvenSurvivors, SurvivorCertificate, SurvivorVote, Vote},
};

use super::{
    commit::Locked,
    identity::Kept,
    masked::Masked,
    open::Party,
    reveal::{RevealError, Revealed},
};
use crate::{
    context::{SetError, with_neighbours_in},
    memo::{self, VerifiedMemo},
};

/// Why SURVIVORS got no vote. The coordinator is to blame, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum SurvivorsError {
    /// Not signed by the pinned coordinator.
    #[error("SURVIVORS is not signed by the pinned coordinator")]
    Signature(#[from] SignatureError),
    /// Of another session.
    #[error("SURVIVORS names another session than the one this agent is locked to")]
    Elsewhere,
    /// The set is not admissible.
    #[error("the survivor set is refused")]
    Set(#[from] SetError),
    /// This agent is not in it.
    #[error("this agent is not among the survivors")]
    NotSurvivor,
    /// Not exactly one header of this agent and of each neighbour among the survivors.
    #[error("{given} signed headers came; this agent and its neighbours make {expected} survivors")]
    Headers {
        /// Headers received.
        given: usize,
        /// Headers expected.
        expected: usize,
    },
    /// A survivor may be locked to another session, so that a share of its self seed would open
    /// what it masked there.
    #[error("nothing proves that {agent} masked its vector for the session of this agent")]
    Inclusion {
        /// The survivor.
        agent: AgentId,
        /// What is wrong with its header.
        #[source]
        source: InclusionError,
    },
    /// The vote cannot be encoded: a defect of this program.
    #[error("this agent's vote could not be encoded")]
    Encode(#[from] EncodeError),
}

/// Why a header does not prove that a survivor is locked to a session. Where another session is in
/// it, either the coordinator showed two cohorts, or the survivor is corrupt.
#[derive(Debug, thiserror::Error)]
pub enum InclusionError {
    /// Not signed by the survivor's certified identity.
    #[error("its header is not signed by its certified identity")]
    Signature(#[from] SignatureError),
    /// Of a vector for another session.
    #[error("it signed a vector for session {given}")]
    Session {
        /// The session in the header.
        given: SessionId,
    },
    /// Of another slot.
    #[error("its header names slot {given}")]
    Slot {
        /// The slot in the header.
        given: Slot,
    },
    /// In this agent's own place, and not what it signed.
    #[error("the header in this agent's own place is not the one that it signed")]
    NotOwn,
}

/// The vote on the survivors is out; the certificate is awaited.
pub struct SurvivorVoted {
    pub(super) party: Party,
    pub(super) locked: Locked,
    pub(super) held: BTreeMap<Slot, RoundShares>,
    pub(super) chain: Option<SurplusChain>,
    pub(super) vector: Digest,
    pub(super) survivors: SlotSet,
    vote: Signed<SurvivorVote>,
}

impl SurvivorVoted {
    pub(super) fn vote(
        from: Masked,
        proven: &ProvenSurvivors,
        memo: Option<&VerifiedMemo>,
    ) -> Result<(Self, ToCoordinator), Kept<Masked, SurvivorsError>> {
        match check(&from, proven, memo) {
            Ok((survivors, vote)) => {
                let state = Self {
                    party: from.party,
                    locked: from.locked,
                    held: from.held,
                    chain: from.chain,
                    vector: from.vector,
                    survivors,
                    vote,
                };
                let answer = state.answer();
                Ok((state, answer))
            }
            Err(error) => Err(Kept::new(from, error)),
        }
    }

    /// The survivors that this agent voted for.
    #[must_use]
    pub fn survivors(&self) -> &SlotSet {
        &self.survivors
    }

    /// What was sent, to be sent again after a reconnect.
    #[must_use]
    pub fn answer(&self) -> ToCoordinator {
        ToCoordinator::SurvivorVote(self.vote.clone())
    }

    /// Verifies at least T votes for exactly this agent's survivor set, and reveals one share for
    /// each neighbour in the cohort: of the self seed of a survivor, of the pairwise key of one that
    /// dropped out. All other shares of the round are wiped.
    ///
    /// # Errors
    /// The state unchanged, and [`RevealError`].
    pub fn on_certificate(
        self,
        certificate: &SurvivorCertificate,
        memo: Option<&VerifiedMemo>,
    ) -> Result<(Revealed, ToCoordinator), Kept<Self, RevealError>> {
        Revealed::reveal(self, certificate, memo)
    }
}

impl fmt::Debug for SurvivorVoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SurvivorVoted")
            .field("locked", &self.locked)
            .field("survivors", &self.survivors)
            .finish_non_exhaustive()
    }
}

fn check(
    from: &Masked,
    proven: &ProvenSurvivors,
    memo: Option<&VerifiedMemo>,
) -> Result<(SlotSet, Signed<SurvivorVote>), SurvivorsError> {
    let Party { identity, slot, context } = &from.party;
    let message = proven.fixed.verify(&identity.coordinator)?.into_inner();
    if message.session != from.locked.session {
        return Err(SurvivorsError::Elsewhere);
    }
    let survivors = message.survivors;
    context.check_survivors(&from.locked.cohort, &survivors, *slot)?;
    if !survivors.contains(*slot) {
        return Err(SurvivorsError::NotSurvivor);
    }
    check_inclusion(from, &survivors, &proven.headers, memo)?;
    let vote = SurvivorVote {
        session: from.locked.session,
        slot: *slot,
        vote: Vote::Survivors(survivors.clone()),
    };
    let signed = Signed::sign(&vote, &identity.key)?;
    Ok((survivors, signed))
}

/// Verifies that every survivor of whom this agent holds shares signed a vector for the session
/// that this agent is locked to. Without it, the coordinator could put an agent that it showed
/// another cohort among these survivors, and learn its self seed without its pairwise masks
/// (signed inclusion of Bell et al., "Secure Single-Server Aggregation with (Poly)Logarithmic
/// Overhead", CCS 2020, section 4).
fn check_inclusion(
    from: &Masked,
    survivors: &SlotSet,
    headers: &[Signed<MaskedHeader>],
    memo: Option<&VerifiedMemo>,
) -> Result<(), SurvivorsError> {
    let Party { slot: own, context, .. } = &from.party;
    let subjects = with_neighbours_in(&context.graph, *own, survivors);
    if headers.len() != subjects.len() {
        return Err(SurvivorsError::Headers { given: headers.len(), expected: subjects.len() });
    }
    for (subject, signed) in subjects.into_iter().zip(headers) {
        let Some(entry) = context.roster.entry(subject) else {
            continue;
        };
        let proof = if subject == *own {
            if *signed == *from.header() { Ok(()) } else { Err(InclusionError::NotOwn) }
        } else {
            memo::header(memo, &entry.identity, signed).map_err(InclusionError::from).and_then(
                |header| {
                    if header.session != from.locked.session {
                        return Err(InclusionError::Session { given: header.session });
                    }
                    if header.slot != subject {
                        return Err(InclusionError::Slot { given: header.slot });
                    }
                    Ok(())
                },
            )
        };
        proof.map_err(|source| SurvivorsError::Inclusion { agent: entry.agent.clone(), source })?;
    }
    Ok(())
}
