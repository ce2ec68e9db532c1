//! MASKED: the header of the one masked vector of a session.

use std::{collections::BTreeMap, fmt};

use chorale_secagg::{Modulus, RoundShares, SurplusChain, packing};
use chorale_wire::{
    Digest, EncodeError, Signed, Slot, ToCoordinator,
    message::{MaskedHeader, ProvenSurvivors},
};

use super::{
    commit::{Committed, Locked},
    identity::Kept,
    open::Party,
    survivors::{SurvivorVoted, SurvivorsError},
};
use crate::memo::VerifiedMemo;

/// Why no header was signed. The driver is to blame.
#[derive(Debug, thiserror::Error)]
pub enum MaskedError {
    /// Not the length of this round's vectors.
    #[error("the masked vector has {given} bytes; this round's vectors have {expected}")]
    Length {
        /// Bytes given.
        given: u64,
        /// Bytes of the round's vectors.
        expected: u64,
    },
    /// The modulus is not offered.
    #[error("the round's modulus cannot be used")]
    Modulus(#[from] chorale_secagg::mask::ModulusError),
    /// The header cannot be encoded: a defect of this program.
    #[error("the header of the masked vector could not be encoded")]
    Encode(#[from] EncodeError),
}

/// The masked vector is on its way; SURVIVORS is awaited.
pub struct Masked {
    pub(super) party: Party,
    pub(super) locked: Locked,
    pub(super) held: BTreeMap<Slot, RoundShares>,
    pub(super) chain: Option<SurplusChain>,
    /// Plain SHA-256 of the vector.
    pub(super) vector: Digest,
    header: Signed<MaskedHeader>,
}

impl Masked {
    pub(super) fn sign(
        from: Committed,
        digest: Digest,
        length: u64,
    ) -> Result<(Self, Signed<MaskedHeader>), Kept<Committed, MaskedError>> {
        match header(&from, digest, length) {
            Ok(header) => {
                let state = Self {
                    party: from.party,
                    locked: from.locked,
                    held: from.held,
                    chain: from.chain,
                    vector: digest,
                    header: header.clone(),
                };
                Ok((state, header))
            }
            Err(error) => Err(Kept::new(from, error)),
        }
    }

    /// The header that was signed.
    #[must_use]
    pub fn header(&self) -> &Signed<MaskedHeader> {
        &self.header
    }

    /// Verifies the survivors, and that those whose shares this agent holds masked their vectors
    /// for the same session, and votes for them: the only vote for this session.
    ///
    /// # Errors
    /// The state unchanged, and [`SurvivorsError`].
    pub fn on_survivors(
        self,
        survivors: &ProvenSurvivors,
        memo: Option<&VerifiedMemo>,
    ) -> Result<(SurvivorVoted, ToCoordinator), Kept<Self, SurvivorsError>> {
        SurvivorVoted::vote(self, survivors, memo)
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masked")
            .field("locked", &self.locked)
            .field("vector", &self.vector)
            .finish_non_exhaustive()
    }
}

fn header(
    from: &Committed,
    digest: Digest,
    length: u64,
) -> Result<Signed<MaskedHeader>, MaskedError> {
    let context = &from.party.context;
    let modulus = Modulus::new(context.derived.modulus_bits)?;
    let expected = packing::packed_len(context.coordinates(), modulus) as u64;
    if length != expected {
        return Err(MaskedError::Length { given: length, expected });
    }
    let header = MaskedHeader {
        session: from.locked.session,
        slot: from.party.slot,
        length,
        digest,
        noise: from.chain.as_ref().map(SurplusChain::commitment),
    };
    Ok(Signed::sign(&header, &from.party.identity.key)?)
}
