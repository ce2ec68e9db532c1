//! The keys of an epoch, and ROUND-OPEN, which takes those of one round out of them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use chorale_plan::RoundSpec;
use chorale_secagg::{EpochSecrets, Graph, RoundSecret, RoundShares};
use chorale_wire::{Digest, Epoch, RoundNumber, SignatureError, SignedBytes, Slot, ToCoordinator};

use super::{
    identity::Identity,
    open::{Party, RoundOpened},
};
use crate::{
    context::{Context, ContextError},
    roster::VerifiedRoster,
};

/// Why ROUND-OPEN was refused. The coordinator is to blame in every variant.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not signed by the pinned coordinator.
    #[error("ROUND-OPEN is not signed by the pinned coordinator")]
    Signature(#[from] SignatureError),
    /// The spec does not fit federation, epoch, threat model or its own rules.
    #[error("ROUND-OPEN is refused")]
    Context(#[from] ContextError),
    /// Round numbers only grow; this one is a replay.
    #[error("round {given} is not above {last}, the last one that this agent opened")]
    Replay {
        /// The round in the message.
        given: RoundNumber,
        /// The last one opened.
        last: RoundNumber,
    },
    /// The key was used by an earlier round, or the epoch has no such key.
    #[error("key {key_index} of epoch {epoch} was used before or does not exist")]
    KeyUsed {
        /// The key index in the message.
        key_index: u16,
        /// The epoch.
        epoch: Epoch,
    },
}

/// One round's secrets of this agent and the shares that it holds for others.
pub(super) struct RoundKeys {
    pub(super) secret: RoundSecret,
    /// By dealer.
    pub(super) held: BTreeMap<Slot, RoundShares>,
}

impl fmt::Debug for RoundKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoundKeys(redacted)")
    }
}

/// The keys of an epoch, in memory only: a restarted agent has none and waits for the next epoch.
pub struct EpochKeys {
    identity: Arc<Identity>,
    roster: Arc<VerifiedRoster>,
    graph: Arc<Graph>,
    slot: Slot,
    rounds: Vec<Option<RoundKeys>>,
    last_round: Option<RoundNumber>,
}

impl EpochKeys {
    pub(super) fn new(
        identity: Arc<Identity>,
        roster: Arc<VerifiedRoster>,
        graph: Arc<Graph>,
        slot: Slot,
        mut secrets: EpochSecrets,
        received: Vec<BTreeMap<Slot, RoundShares>>,
    ) -> Self {
        let rounds = received
            .into_iter()
            .enumerate()
            .map(|(index, held)| {
                let secret = secrets.take_round(index)?;
                Some(RoundKeys { secret, held })
            })
            .collect();
        Self { identity, roster, graph, slot, rounds, last_round: None }
    }

    /// Sets the highest round number that this agent ever opened, in whatever epoch.
    pub fn set_last_round(&mut self, round: Option<RoundNumber>) {
        self.last_round = self.last_round.max(round);
    }

    /// The highest round number that this agent ever opened.
    #[must_use]
    pub fn last_round(&self) -> Option<RoundNumber> {
        self.last_round
    }

    /// The verified roster.
    #[must_use]
    pub fn roster(&self) -> &VerifiedRoster {
        &self.roster
    }

    /// Digest of the roster and all its nonces.
    #[must_use]
    pub fn graph_seed(&self) -> Digest {
        self.graph.seed()
    }

    /// Who shares masks and secrets with whom in this epoch.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// This agent's place in the roster.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Number of rounds whose keys are unused.
    #[must_use]
    pub fn rounds_left(&self) -> usize {
        self.rounds.iter().flatten().count()
    }

    /// What was sent when the keys were complete, to be sent again after a reconnect.
    #[must_use]
    pub fn answer(&self) -> ToCoordinator {
        ToCoordinator::SharesAccepted(self.roster.epoch())
    }

    /// Verifies ROUND-OPEN and moves the round's keys out, so that no key ever serves a second
    /// round, whatever becomes of this one.
    ///
    /// # Errors
    /// [`OpenError`]; no key was taken then.
    pub fn open_round(&mut self, open: SignedBytes) -> Result<RoundOpened, OpenError> {
        let party = self.check_open(open)?;
        self.take(party)
    }

    /// Verifies ROUND-OPEN, and that its key is unused. Nothing changes.
    pub(super) fn check_open(&self, open: SignedBytes) -> Result<Party, OpenError> {
        let spec = open.into_typed::<RoundSpec>().verify(&self.identity.coordinator)?;
        if let Some(last) = self.last_round.filter(|last| spec.round <= *last) {
            return Err(OpenError::Replay { given: spec.round, last });
        }
        let context =
            Context::new(&self.identity.federation, self.roster.clone(), self.graph.clone(), spec)?;
        if self.rounds.get(context.key_index()).is_none_or(Option::is_none) {
            return Err(self.key_used(&context));
        }
        Ok(Party { identity: self.identity.clone(), slot: self.slot, context })
    }

    /// Moves the keys of a round out that [`Self::check_open`] admitted.
    pub(super) fn take(&mut self, party: Party) -> Result<RoundOpened, OpenError> {
        let slot = self.rounds.get_mut(party.context.key_index());
        let Some(keys) = slot.and_then(Option::take) else {
            return Err(self.key_used(&party.context));
        };
        self.last_round = Some(party.round());
        Ok(RoundOpened { party, keys })
    }

    fn key_used(&self, context: &Context) -> OpenError {
        OpenError::KeyUsed { key_index: context.spec.key_index, epoch: self.roster.epoch() }
    }
}

impl fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKeys")
            .field("epoch", &self.roster.epoch())
            .field("slot", &self.slot)
            .field("rounds_left", &self.rounds_left())
            .finish_non_exhaustive()
    }
}
