//! EPOCH-OPEN and ADVERTISE: fresh secrets for an epoch, and their public side.

use std::sync::Arc;

use chorale_secagg::EpochSecrets;
use chorale_wire::{
    EncodeError, Epoch, FederationId, RoundNumber, SignatureError, Signed, ToCoordinator,
    limits::ROUNDS_PER_EPOCH_MAX,
    message::{Advert, EpochOpen, Roster},
};
use rand_core::CryptoRng;

use super::{
    identity::{Identity, Kept},
    memory::Memory,
    roster::{RosterRefused, RosterVoted},
};
use crate::{memo::VerifiedMemo, roster::Expectation};

/// Why EPOCH-OPEN was refused. The coordinator is to blame, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum AdvertiseError {
    /// Not signed by the pinned coordinator.
    #[error("EPOCH-OPEN is not signed by the pinned coordinator")]
    Signature(#[from] SignatureError),
    /// Of another federation.
    #[error("EPOCH-OPEN is for federation {given}, not {expected}")]
    Federation {
        /// The federation in the message.
        given: FederationId,
        /// The agent's.
        expected: FederationId,
    },
    /// An epoch number that is not above every earlier one.
    #[error("epoch {given} is not above {last}, the last one that this agent took part in")]
    Stale {
        /// The epoch in the message.
        given: Epoch,
        /// The highest one seen.
        last: Epoch,
    },
    /// Not 1 to 64 rounds.
    #[error("an epoch has 1 to {ROUNDS_PER_EPOCH_MAX} rounds, not {rounds}")]
    Rounds {
        /// Rounds in the message.
        rounds: u16,
    },
    /// The agent's own advert cannot be encoded: a defect of this program.
    #[error("this agent's advert could not be encoded")]
    Encode(#[from] EncodeError),
}

/// The beginning of an epoch.
#[derive(Debug)]
pub struct Advertising;

impl Advertising {
    /// Verifies EPOCH-OPEN, makes the epoch's secrets and advertises their public side. `last` is
    /// the highest epoch number that the agent ever took part in; the new one must be above it.
    /// `last_round` is the highest round that the agent knows of, which the advert claims.
    ///
    /// # Errors
    /// [`AdvertiseError`] says which rule the message violates.
    pub fn start<R: CryptoRng + ?Sized>(
        identity: &Arc<Identity>,
        open: &Signed<EpochOpen>,
        last: Option<Epoch>,
        last_round: Option<RoundNumber>,
        rng: &mut R,
    ) -> Result<(Advertised, ToCoordinator), AdvertiseError> {
        let open = open.verify(&identity.coordinator)?.into_inner();
        if open.federation != identity.federation {
            return Err(AdvertiseError::Federation {
                given: open.federation,
                expected: identity.federation.clone(),
            });
        }
        if let Some(last) = last.filter(|last| open.epoch <= *last) {
            return Err(AdvertiseError::Stale { given: open.epoch, last });
        }
        let secrets = EpochSecrets::generate(rng, usize::from(open.rounds))
            .map_err(|_| AdvertiseError::Rounds { rounds: open.rounds })?;
        let (hpke, nonce_commitment, rounds) = secrets.advert_parts();
        let advert = Advert {
            federation: identity.federation.clone(),
            epoch: open.epoch,
            agent: identity.agent.clone(),
            membership: identity.membership.clone(),
            hpke,
            nonce_commitment,
            last_round,
            rounds,
        };
        let state = Advertised {
            identity: identity.clone(),
            epoch: open.epoch,
            secrets,
            advert: Signed::sign(&advert, &identity.key)?,
        };
        let answer = state.answer();
        Ok((state, answer))
    }
}

/// The advert is out; ROSTER is awaited.
#[derive(Debug)]
pub struct Advertised {
    pub(super) identity: Arc<Identity>,
    pub(super) epoch: Epoch,
    pub(super) secrets: EpochSecrets,
    pub(super) advert: Signed<Advert>,
}

impl Advertised {
    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What was sent, to be sent again after a reconnect.
    #[must_use]
    pub fn answer(&self) -> ToCoordinator {
        ToCoordinator::Advert(self.advert.clone())
    }

    /// Verifies the roster and votes for it: the only vote for this epoch number. The vote states
    /// what `memory` holds of agents that claim less.
    ///
    /// # Errors
    /// The state unchanged, and [`RosterRefused`].
    pub fn on_roster(
        self,
        roster: &Roster,
        memory: &Memory,
        now_ms: u64,
        memo: Option<&VerifiedMemo>,
    ) -> Result<(RosterVoted, ToCoordinator), Kept<Self, RosterRefused>> {
        RosterVoted::vote(self, roster, memory, now_ms, memo)
    }

    pub(super) fn expectation(&self, now_ms: u64) -> Expectation<'_> {
        Expectation {
            federation: &self.identity.federation,
            epoch: self.epoch,
            rounds: self.secrets.rounds(),
            authority: &self.identity.authority,
            now_s: now_ms / 1000,
        }
    }
}
