//! A masked vector as it arrived: decoded and checked, never encoded.

use std::{fmt, sync::Arc};

use chorale_wire::{
    AgentId, Digest, Hashed, SessionId, SignatureError, Signed, Slot, message::MaskedHeader,
};

use crate::roster::VerifiedRoster;

/// Why a masked vector was refused. The sender is to blame, or came too late.
#[derive(Debug, thiserror::Error)]
pub enum ContributionError {
    /// The sender is not in the roster.
    #[error("{agent} is not in the roster of this epoch")]
    NotInRoster {
        /// The sender.
        agent: AgentId,
    },
    /// The header is not signed by the sender's certified identity.
    #[error("the header is not signed by the sender's certified identity")]
    Signature(#[source] SignatureError),
    /// The header names another session or slot.
    #[error("the header names another session or slot")]
    Elsewhere,
    /// Not as long as the header or the round says.
    #[error("the vector has {given} bytes; this round's vectors have {expected}")]
    Length {
        /// Bytes received, or announced by the header.
        given: u64,
        /// Bytes of this round's vectors.
        expected: u64,
    },
    /// The bytes are not those that the sender signed.
    #[error("the vector's digest is not the one in the signed header")]
    Digest,
    /// The bytes are no packed vector.
    #[error("the bytes are no packed vector: {0}")]
    Packing(#[source] chorale_secagg::packing::PackingError),
    /// A commitment to removable noise is missing, or there is one where no noise is removable.
    #[error("the header must commit to removable noise exactly where the round has such")]
    NoiseCommitment,
    /// The sender is not in the cohort, or refused.
    #[error("the sender has no part in this round")]
    NoPart,
    /// The sender already sent another vector for this session, and both are signed.
    #[error("the sender already sent a different vector for this session; the first one counts")]
    Second,
    /// The survivors are fixed, or no round is collecting vectors.
    #[error("the vector came too late, or for no round")]
    Late,
}

/// What vectors are checked against while a round collects them. Cheap to clone, so that a driver
/// can check vectors on other threads.
#[derive(Debug, Clone)]
pub struct Receiving {
    pub(super) roster: Arc<VerifiedRoster>,
    pub(super) session: SessionId,
    pub(super) length: u64,
    /// Whether the round's noise shares have removable layers.
    pub(super) removable: bool,
}

impl Receiving {
    /// The session that collects.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Length in bytes of every vector of the round.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// A masked vector whose header, length and digest were verified. Only
/// [`ReceivedContribution::parse`] makes one.
pub struct ReceivedContribution<'a> {
    agent: AgentId,
    slot: Slot,
    session: SessionId,
    noise: Option<Digest>,
    signed: &'a Signed<MaskedHeader>,
    vector: &'a Hashed,
}

impl<'a> ReceivedContribution<'a> {
    /// Verifies the header's signature, session, slot and length and the vector's digest.
    ///
    /// # Errors
    /// [`ContributionError`] says what is wrong; nothing is kept.
    pub fn parse(
        agent: &AgentId,
        signed: &'a Signed<MaskedHeader>,
        vector: &'a Hashed,
        receiving: &Receiving,
    ) -> Result<Self, ContributionError> {
        let not_in_roster = || ContributionError::NotInRoster { agent: agent.clone() };
        let slot = receiving.roster.slot_of(agent).ok_or_else(not_in_roster)?;
        let entry = receiving.roster.entry(slot).ok_or_else(not_in_roster)?;
        let header = signed.verify(&entry.identity).map_err(ContributionError::Signature)?;
        if header.session != receiving.session || header.slot != slot {
            return Err(ContributionError::Elsewhere);
        }
        if header.noise.is_some() != receiving.removable {
            return Err(ContributionError::NoiseCommitment);
        }
        for given in [header.length, vector.bytes().len() as u64] {
            if given != receiving.length {
                return Err(ContributionError::Length { given, expected: receiving.length });
            }
        }
        if vector.digest() != header.digest {
            return Err(ContributionError::Digest);
        }
        Ok(Self {
            agent: agent.clone(),
            slot,
            session: header.session,
            noise: header.noise,
            signed,
            vector,
        })
    }

    /// The sender.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// The session that the vector was masked for.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Plain SHA-256 of the packed vector.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.vector.digest()
    }

    pub(super) fn noise(&self) -> Option<Digest> {
        self.noise
    }

    /// The header as the sender signed it.
    pub(super) fn header(&self) -> &Signed<MaskedHeader> {
        self.signed
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.vector.bytes()
    }
}

impl fmt::Debug for ReceivedContribution<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedContribution({} {} bytes)", self.agent, self.bytes().len())
    }
}
