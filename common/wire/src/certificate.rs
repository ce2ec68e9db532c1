//! Certificates: many agents' signatures under one statement.
//!
//! The votes of a certificate say the same but for the voter's own slot, so that a certificate
//! carries the statement once and, for each voter, its slot and its signature. Whoever relies on
//! it puts each vote together again and verifies the signature over its encoding. A message has
//! exactly one encoding ([`crate::codec`]), so these are the very bytes that the voter signed.
//!
//! For 10,000 agents, of whom 5,501 vote, a certificate of survivors takes 0.37 MB: 67 bytes for
//! each voter and one bitmap. Whole votes with a bitmap in each of them take 7.5 MB.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, EncodeError, PublicKey, SessionId, Signature, SignatureError, Signed, Slot,
    limits::AGENTS_MAX,
    message::{AbortCertificate, SurvivorVote, Vote},
    sign::Message,
};

/// One agent's signature under the statement of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterSignature {
    /// The voter.
    pub slot: Slot,
    /// Its signature over the vote that it sent.
    pub signature: Signature,
}

/// Who may vote, and how many votes decide: the identity keys of a roster in slot order, and T.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawElectorate", into = "RawElectorate")]
pub struct Electorate {
    votes_min: u16,
    voters: Vec<PublicKey>,
}

#[derive(Serialize, Deserialize)]
struct RawElectorate {
    votes_min: u16,
    voters: Vec<PublicKey>,
}

/// Why a list of voters can decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElectorateError {
    /// More voters than a roster can have.
    #[error("an electorate has at most {AGENTS_MAX} voters, not {voters}")]
    TooMany {
        /// Voters given.
        voters: usize,
    },
    /// A threshold with which two opposite decisions could both be certified although nobody
    /// signs twice, or that nobody can reach.
    #[error("{votes_min} votes of {voters} voters are no majority, or more than there are")]
    Threshold {
        /// Votes that would decide.
        votes_min: u16,
        /// Voters.
        voters: usize,
    },
    /// One key in two places.
    #[error("one key stands for two voters")]
    Repeated,
}

/// Why a certificate does not show what it states. Whoever passed it on is to blame.
#[derive(Debug, thiserror::Error)]
pub enum VotesError {
    /// Too few votes.
    #[error("the certificate holds {given} votes and {needed} are needed")]
    TooFew {
        /// Votes given.
        given: usize,
        /// Votes needed, T.
        needed: usize,
    },
    /// Votes out of slot order or one voter twice.
    #[error("the votes are not in ascending order of slots, each once")]
    Order,
    /// A slot that the roster does not have.
    #[error("the certificate holds a vote of slot {slot}, which the roster does not have")]
    Stranger {
        /// The slot.
        slot: Slot,
    },
    /// A signature that is not the voter's under this statement.
    #[error("the vote of slot {slot} is not signed by its certified identity for this statement")]
    Signature {
        /// The claimed voter.
        slot: Slot,
        /// What the verification says.
        #[source]
        source: SignatureError,
    },
    /// The statement cannot be encoded, so that nobody can have signed it.
    #[error("the statement of the certificate cannot be encoded")]
    Encode(#[from] EncodeError),
}

impl Electorate {
    /// The voters in slot order, of whom `votes_min` decide.
    ///
    /// # Errors
    /// [`ElectorateError`]: too many voters, one twice, or a threshold that is no majority.
    pub fn new(voters: Vec<PublicKey>, votes_min: u16) -> Result<Self, ElectorateError> {
        let count = voters.len();
        if count > AGENTS_MAX {
            return Err(ElectorateError::TooMany { voters: count });
        }
        let votes = usize::from(votes_min);
        if 2 * votes <= count || votes > count {
            return Err(ElectorateError::Threshold { votes_min, voters: count });
        }
        let mut seen = HashSet::with_capacity(count);
        if !voters.iter().all(|voter| seen.insert(voter)) {
            return Err(ElectorateError::Repeated);
        }
        Ok(Self { votes_min, voters })
    }

    /// Votes that decide, T.
    #[must_use]
    pub fn votes_min(&self) -> usize {
        usize::from(self.votes_min)
    }

    /// Names the voters and the threshold.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let votes_min = self.votes_min.to_be_bytes();
        let mut parts: Vec<&[u8]> = Vec::with_capacity(self.voters.len() + 1);
        parts.push(&votes_min);
        parts.extend(self.voters.iter().map(|voter| voter.as_bytes().as_slice()));
        Digest::of("chorale/1 electorate", &parts)
    }

    /// Verifies that at least T different voters signed the vote that `vote` puts together for
    /// their slots.
    ///
    /// # Errors
    /// [`VotesError`] names the first violation.
    pub fn check<T: Message>(
        &self,
        signatures: &[VoterSignature],
        vote: impl Fn(Slot) -> T,
    ) -> Result<(), VotesError> {
        let (given, needed) = (signatures.len(), self.votes_min());
        if given < needed {
            return Err(VotesError::TooFew { given, needed });
        }
        if !signatures.is_sorted_by(|a, b| a.slot < b.slot) {
            return Err(VotesError::Order);
        }
        for VoterSignature { slot, signature } in signatures {
            let voter = self.voters.get(slot.index());
            let voter = voter.ok_or(VotesError::Stranger { slot: *slot })?;
            Signed::with_signature(&vote(*slot), *signature)?
                .verify(voter)
                .map_err(|source| VotesError::Signature { slot: *slot, source })?;
        }
        Ok(())
    }
}

impl TryFrom<RawElectorate> for Electorate {
    type Error = ElectorateError;

    fn try_from(raw: RawElectorate) -> Result<Self, ElectorateError> {
        Self::new(raw.voters, raw.votes_min)
    }
}

impl From<Electorate> for RawElectorate {
    fn from(electorate: Electorate) -> Self {
        Self { votes_min: electorate.votes_min, voters: electorate.voters }
    }
}

/// Proof that T voters of an electorate voted to abort a session, so that the same electorate can
/// never certify survivors for it. Only [`AbortCertificate::verify`] makes one.
///
/// It is worth as much as the electorate: who relies on it compares [`Self::electorate`] with the
/// one that was certified for the session's roster.
#[derive(Debug)]
pub struct VerifiedAbort {
    session: SessionId,
    electorate: Digest,
}

impl VerifiedAbort {
    /// The session that was aborted.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// [`Electorate::digest`] of those who voted.
    #[must_use]
    pub fn electorate(&self) -> Digest {
        self.electorate
    }
}

impl AbortCertificate {
    /// Verifies that at least T voters of `electorate` voted to abort this session.
    ///
    /// # Errors
    /// [`VotesError`] names the first violation.
    pub fn verify(&self, electorate: &Electorate) -> Result<VerifiedAbort, VotesError> {
        let session = self.session;
        electorate.check(&self.signatures, |slot| SurvivorVote {
            session,
            slot,
            vote: Vote::Abort,
        })?;
        Ok(VerifiedAbort { session, electorate: electorate.digest() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Epoch, RoundNumber, SecretKey, SlotSet, codec, message::SurvivorCertificate};

    const VOTERS: u16 = 6;

    fn key(slot: u16) -> SecretKey {
        SecretKey::from_seed(&[slot as u8 + 1; 32])
    }

    fn electorate() -> Electorate {
        Electorate::new((0..VOTERS).map(|slot| key(slot).public()).collect(), 4).unwrap()
    }

    fn session(round: u64) -> SessionId {
        let digest = Digest::plain(b"");
        SessionId::new(Epoch(1), RoundNumber(round), &digest, &digest, &SlotSet::empty(6))
    }

    fn signed(slot: u16, vote: Vote, signer: u16) -> VoterSignature {
        let vote = SurvivorVote { session: session(1), slot: Slot(slot), vote };
        let signature = Signed::sign(&vote, &key(signer)).unwrap().signature();
        VoterSignature { slot: Slot(slot), signature }
    }

    fn abort(signatures: Vec<VoterSignature>) -> AbortCertificate {
        AbortCertificate { session: session(1), signatures }
    }

    fn votes(slots: &[u16]) -> Vec<VoterSignature> {
        slots.iter().map(|slot| signed(*slot, Vote::Abort, *slot)).collect()
    }

    #[test]
    fn enough_votes_of_the_electorate_are_a_proof() {
        let electorate = electorate();
        let proof = abort(votes(&[0, 2, 3, 5])).verify(&electorate).unwrap();
        assert_eq!((proof.session(), proof.electorate()), (session(1), electorate.digest()));
    }

    #[test]
    fn forged_repeated_few_and_foreign_votes_are_none() {
        let electorate = electorate();
        let refused = |signatures| abort(signatures).verify(&electorate).unwrap_err();
        assert!(matches!(refused(votes(&[0, 1, 2])), VotesError::TooFew { given: 3, needed: 4 }));
        assert!(matches!(refused(votes(&[0, 1, 1, 2])), VotesError::Order));
        assert!(matches!(refused(votes(&[1, 0, 2, 3])), VotesError::Order));
        assert!(matches!(refused(votes(&[0, 1, 2, 6])), VotesError::Stranger { slot: Slot(6) }));
        // Signed by another key, for another slot, for survivors, for another session.
        let mut forged = votes(&[0, 1, 2, 3]);
        forged[2] = signed(2, Vote::Abort, 4);
        assert!(matches!(refused(forged), VotesError::Signature { slot: Slot(2), .. }));
        let mut shifted = votes(&[0, 1, 2, 3]);
        shifted[3].slot = Slot(4);
        assert!(matches!(refused(shifted), VotesError::Signature { slot: Slot(4), .. }));
        let mut other = votes(&[0, 1, 2, 3]);
        other[0] = signed(0, Vote::Survivors(SlotSet::empty(6)), 0);
        assert!(matches!(refused(other), VotesError::Signature { slot: Slot(0), .. }));
        let moved = AbortCertificate { session: session(2), signatures: votes(&[0, 1, 2, 3]) };
        assert!(matches!(
            moved.verify(&electorate),
            Err(VotesError::Signature { slot: Slot(0), .. })
        ));
    }

    #[test]
    fn an_electorate_is_a_majority_of_different_keys() {
        let keys = |count: u16| (0..count).map(|slot| key(slot).public()).collect::<Vec<_>>();
        for votes_min in [0, 3, 7] {
            assert!(matches!(
                Electorate::new(keys(6), votes_min),
                Err(ElectorateError::Threshold { .. })
            ));
        }
        let mut twice = keys(6);
        twice[5] = twice[0];
        assert_eq!(Electorate::new(twice.clone(), 4), Err(ElectorateError::Repeated));
        // Neither by the wire.
        let raw = RawElectorate { votes_min: 4, voters: twice };
        let bytes = codec::encode(&raw, 1 << 10).unwrap();
        assert!(codec::decode::<Electorate>(&bytes, 1 << 10).is_err());
        // Other voters, another order or another threshold have another name.
        let mut swapped = keys(6);
        swapped.swap(0, 1);
        let names = [(keys(6), 4), (keys(6), 5), (keys(7), 4), (swapped, 4)]
            .map(|(voters, votes_min)| Electorate::new(voters, votes_min).unwrap().digest());
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name));
        }
    }

    #[test]
    fn a_certificate_takes_67_bytes_for_a_voter() {
        let entry =
            |slot| VoterSignature { slot: Slot(slot), signature: Signature::from_bytes([0; 64]) };
        let size = |voters: u16| {
            let survivors = SlotSet::empty(1000);
            let signatures = (0..voters).map(|slot| entry(slot + 300)).collect();
            let certificate = SurvivorCertificate { session: session(1), survivors, signatures };
            codec::encode(&certificate, 1 << 20).unwrap().len()
        };
        assert_eq!(size(600) - size(500), 6_700);
        assert!(size(0) < 200);
    }
}
