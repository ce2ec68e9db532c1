//! COMMIT: the agent locks the one session of the round and gets the ticket to mask a vector.

use std::{collections::BTreeMap, fmt};

use chorale_secagg::{
    MaskError, MaskScheme as _, Modulus, PairwiseTicket, RoundShares, SurplusChain, TicketBinding,
    TicketError,
    mask::{self, ModulusError},
};
use chorale_wire::{
    Digest, SessionId, SignatureError, Signed, Slot, SlotSet, ToCoordinator,
    message::{Commit, MaskedHeader, Ready},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{
    identity::Kept,
    keys::RoundKeys,
    masked::{Masked, MaskedError},
    open::{Party, RoundOpened},
};
use crate::{Scheme, context::SetError};

/// Why COMMIT was refused. The coordinator is to blame, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Not signed by the pinned coordinator.
    #[error("COMMIT is not signed by the pinned coordinator")]
    Signature(#[from] SignatureError),
    /// Of another epoch, round or spec.
    #[error("COMMIT names another epoch, round or spec than the one this agent is ready for")]
    Elsewhere,
    /// The cohort is not admissible.
    #[error("the cohort is refused")]
    Cohort(#[from] SetError),
    /// This agent is not in the cohort.
    #[error("this agent said READY and is not in the cohort")]
    NotInCohort,
    /// A mask cannot be derived; the variant inside names who is to blame.
    #[error("a mask cannot be derived")]
    Mask(#[from] MaskError),
    /// The ticket cannot be made.
    #[error("no vector can be masked for this cohort")]
    Ticket(#[from] TicketError),
    /// The modulus is not offered.
    #[error("the round's modulus cannot be used")]
    Modulus(#[from] ModulusError),
}

/// READY is out; COMMIT is awaited.
#[derive(Debug)]
pub struct AwaitingCommit {
    pub(super) party: Party,
    keys: RoundKeys,
    ready: Signed<Ready>,
}

impl AwaitingCommit {
    pub(super) fn new(from: RoundOpened, ready: Signed<Ready>) -> Self {
        Self { party: from.party, keys: from.keys, ready }
    }

    /// What was sent, to be sent again after a reconnect.
    #[must_use]
    pub fn answer(&self) -> ToCoordinator {
        ToCoordinator::Ready(self.ready.clone())
    }

    /// Verifies the cohort and locks the session: there is no way to another one of this round.
    /// The agent's own secrets go into the ticket and are wiped. Where the round's noise has
    /// removable layers, their seeds are drawn here.
    ///
    /// # Errors
    /// The state unchanged, and [`CommitError`].
    pub fn on_commit<R: CryptoRng + ?Sized>(
        self,
        commit: &Signed<Commit>,
        rng: &mut R,
    ) -> Result<(Committed, PairwiseTicket), Kept<Self, CommitError>> {
        match self.check(commit) {
            Ok((locked, ticket)) => {
                let removable = self.party.context.removable_layers();
                let chain = (removable > 0).then(|| SurplusChain::generate(rng, removable));
                let held = self.keys.held;
                let state = Committed { party: self.party, locked, held, chain };
                Ok((state, ticket))
            }
            Err(error) => Err(Kept::new(self, error)),
        }
    }

    fn check(&self, commit: &Signed<Commit>) -> Result<(Locked, PairwiseTicket), CommitError> {
        let Party { identity, slot, context } = &self.party;
        let digest = commit.payload_digest();
        let commit = commit.verify(&identity.coordinator)?.into_inner();
        if commit.epoch != context.roster.epoch()
            || commit.round != context.round()
            || commit.spec != context.spec_digest
        {
            return Err(CommitError::Elsewhere);
        }
        if !commit.cohort.contains(*slot) {
            return Err(CommitError::NotInCohort);
        }
        context.check_cohort(&commit.cohort, *slot)?;
        let session = context.session(&commit.cohort);
        let peers: Vec<(Slot, [u8; 32])> = context
            .neighbours_in(*slot, &commit.cohort)
            .filter_map(|peer| {
                let rounds = &context.roster.entry(peer)?.rounds;
                Some((peer, rounds.get(context.key_index())?.pairwise))
            })
            .collect();
        let secret = &self.keys.secret;
        let pairs = mask::pairwise_keys(session, &secret.pairwise(), *slot, peers)?;
        let binding = TicketBinding {
            session,
            spec: context.spec_digest,
            coordinates: context.coordinates(),
            modulus: Modulus::new(context.derived.modulus_bits)?,
            keystream: context.spec.keystream,
        };
        let self_key = mask::self_key(session, secret.self_seed());
        let ticket = Scheme::ticket(binding, (self_key, pairs))?;
        let locked = Locked { commit: digest, session, cohort: commit.cohort };
        Ok((locked, ticket))
    }
}

/// The session that a round is locked to.
#[derive(Debug)]
pub(super) struct Locked {
    /// Payload digest of the COMMIT that locked it.
    pub(super) commit: Digest,
    pub(super) session: SessionId,
    pub(super) cohort: SlotSet,
}

/// The session is locked; the gate masks and releases the vector.
pub struct Committed {
    pub(super) party: Party,
    pub(super) locked: Locked,
    pub(super) held: BTreeMap<Slot, RoundShares>,
    /// Behind the seeds of the removable noise; `None` where the noise is in one piece.
    pub(super) chain: Option<SurplusChain>,
}

impl Committed {
    /// Seeds of the removable layers of this agent's noise, in order; none where the noise is in
    /// one piece.
    #[must_use]
    pub fn noise_seeds(&self) -> Vec<Zeroizing<[u8; 32]>> {
        let seeds = |chain: &SurplusChain| chain.seeds(self.locked.session, self.party.slot);
        self.chain.as_ref().map(seeds).unwrap_or_default()
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.locked.session
    }

    /// The cohort.
    #[must_use]
    pub fn cohort(&self) -> &SlotSet {
        &self.locked.cohort
    }

    /// Signs the header of the masked vector with this plain SHA-256 and length in bytes.
    ///
    /// # Errors
    /// The state unchanged, and [`MaskedError`].
    pub fn on_masked(
        self,
        digest: Digest,
        length: u64,
    ) -> Result<(Masked, Signed<MaskedHeader>), Kept<Self, MaskedError>> {
        Masked::sign(self, digest, length)
    }
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed").field("locked", &self.locked).finish_non_exhaustive()
    }
}
