//! READY or refusal: the answer to ROUND-OPEN.

use std::sync::Arc;

use chorale_plan::{Derived, PlanError, RoundSpec};
use chorale_wire::{
    Digest, EncodeError, RoundNumber, Signed, Slot, ToCoordinator,
    message::{Ready, Reason, Refusal, RefusalCode},
};

use super::{
    commit::AwaitingCommit,
    identity::{Identity, Kept},
    keys::RoundKeys,
};
use crate::context::Context;

/// Why READY could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum ReadyError {
    /// The message cannot be encoded: a defect of this program.
    #[error("READY could not be encoded")]
    Encode(#[from] EncodeError),
    /// The plan has no digest: it cannot be encoded.
    #[error("the plan could not be named")]
    Plan(#[from] PlanError),
}

/// A round was opened: the agent judges it and trains, then says READY or refuses.
#[derive(Debug)]
pub struct RoundOpened {
    pub(super) party: Party,
    pub(super) keys: RoundKeys,
}

/// What every state of a round knows, nothing of it secret.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) identity: Arc<Identity>,
    pub(super) slot: Slot,
    pub(super) context: Context,
}

impl Party {
    /// The refusal of the round, signed but for its words.
    pub(super) fn refusal(
        &self,
        code: RefusalCode,
        reason: &str,
    ) -> Result<ToCoordinator, ReadyError> {
        let refusal = Refusal {
            federation: self.context.spec.federation.clone(),
            epoch: self.context.roster.epoch(),
            round: self.context.round(),
            slot: self.slot,
            plan: self.context.spec.plan.digest()?,
            code,
        };
        let signed = Signed::sign(&refusal, &self.identity.key)?;
        Ok(ToCoordinator::Refusal(signed, Reason::new(reason)))
    }

    pub(super) fn round(&self) -> RoundNumber {
        self.context.round()
    }
}

impl RoundOpened {
    /// The verified spec.
    #[must_use]
    pub fn spec(&self) -> &Arc<RoundSpec> {
        &self.party.context.spec
    }

    /// Payload digest of the signed spec.
    #[must_use]
    pub fn spec_digest(&self) -> Digest {
        self.party.context.spec_digest
    }

    /// What follows from the spec for this roster.
    #[must_use]
    pub fn derived(&self) -> &Arc<Derived> {
        &self.party.context.derived
    }

    /// Agents in the roster.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.party.context.roster.agents()
    }

    /// Says READY: the agent wants to be in the cohort.
    ///
    /// # Errors
    /// The state unchanged, and [`ReadyError`].
    pub fn ready(self) -> Result<(AwaitingCommit, ToCoordinator), Kept<Self, ReadyError>> {
        let ready = Ready {
            epoch: self.party.context.roster.epoch(),
            round: self.party.round(),
            slot: self.party.slot,
            spec: self.spec_digest(),
        };
        match Signed::sign(&ready, &self.party.identity.key) {
            Ok(signed) => {
                let state = AwaitingCommit::new(self, signed);
                let answer = state.answer();
                Ok((state, answer))
            }
            Err(error) => Err(Kept::new(self, error)),
        }
    }
}
