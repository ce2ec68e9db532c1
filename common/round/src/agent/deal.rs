//! SHARES: the envelopes of the neighbours are opened, or complained about.

use std::{collections::BTreeMap, sync::Arc};

use chorale_secagg::{EnvelopeContext, EnvelopeError, EpochSecrets, Graph, RoundShares, envelope};
use chorale_wire::{
    AgentId, EncodeError, SignatureError, Signed, Slot, ToCoordinator,
    message::{Complaint, ShareEnvelope},
};

use super::{
    identity::{Identity, Kept},
    keys::EpochKeys,
    roster::RosterVoted,
};
use crate::roster::VerifiedRoster;

/// Why the envelopes were refused. The coordinator is to blame in every variant but the last:
/// bad envelopes that their dealer signed lead to a complaint instead.
#[derive(Debug, thiserror::Error)]
pub enum SharesError {
    /// Not exactly one envelope from each neighbour, in slot order.
    #[error("{given} envelopes arrived instead of one from each of the {expected} neighbours")]
    Count {
        /// Envelopes received.
        given: usize,
        /// Envelopes expected.
        expected: usize,
    },
    /// Not signed by its dealer.
    #[error("the envelope in the place of {dealer} is not signed by it")]
    Signature {
        /// Whose envelope it should be.
        dealer: AgentId,
        /// What the verification says.
        #[source]
        source: SignatureError,
    },
    /// Signed by its dealer for another receiver, epoch, roster or graph.
    #[error("the envelope of {dealer} is for another receiver, epoch, roster or graph")]
    Elsewhere {
        /// The dealer.
        dealer: AgentId,
    },
    /// The complaint cannot be encoded: a defect of this program.
    #[error("a complaint could not be encoded")]
    Encode(#[from] EncodeError),
}

/// What came out of opening the envelopes.
#[derive(Debug)]
pub enum DealtOutcome {
    /// All could be opened: the epoch is ready.
    Keys(EpochKeys, ToCoordinator),
    /// One could not: the epoch is over for this agent, and the signed envelope is the evidence.
    Complaint {
        /// Who dealt it.
        dealer: AgentId,
        /// What is wrong with it.
        error: EnvelopeError,
        /// The complaint to be sent.
        message: ToCoordinator,
    },
}

/// The own shares are dealt; those of the others are awaited.
#[derive(Debug)]
pub struct Dealt {
    identity: Arc<Identity>,
    roster: Arc<VerifiedRoster>,
    graph: Arc<Graph>,
    slot: Slot,
    secrets: EpochSecrets,
    envelopes: Vec<Signed<ShareEnvelope>>,
}

impl Dealt {
    pub(super) fn new(
        from: RosterVoted,
        graph: Arc<Graph>,
        envelopes: Vec<Signed<ShareEnvelope>>,
    ) -> Self {
        Self {
            identity: from.identity,
            roster: from.roster,
            graph,
            slot: from.slot,
            secrets: from.secrets,
            envelopes,
        }
    }

    /// The verified roster.
    #[must_use]
    pub fn roster(&self) -> &VerifiedRoster {
        &self.roster
    }

    /// What was sent, to be sent again after a reconnect.
    #[must_use]
    pub fn answer(&self) -> ToCoordinator {
        ToCoordinator::Shares(self.envelopes.clone())
    }

    /// Verifies and opens the envelopes of all neighbours, given in slot order.
    ///
    /// # Errors
    /// The state unchanged, and [`SharesError`].
    pub fn on_shares(
        self,
        envelopes: &[Signed<ShareEnvelope>],
    ) -> Result<DealtOutcome, Kept<Self, SharesError>> {
        match self.open_all(envelopes) {
            Ok(Opened::All(received)) => {
                let keys = EpochKeys::new(
                    self.identity,
                    self.roster,
                    self.graph,
                    self.slot,
                    self.secrets,
                    received,
                );
                let answer = keys.answer();
                Ok(DealtOutcome::Keys(keys, answer))
            }
            Ok(Opened::Bad { dealer, error, message }) => {
                Ok(DealtOutcome::Complaint { dealer, error, message })
            }
            Err(error) => Err(Kept::new(self, error)),
        }
    }

    fn open_all(&self, envelopes: &[Signed<ShareEnvelope>]) -> Result<Opened, SharesError> {
        let dealers = self.graph.neighbours(self.slot);
        let expected = dealers.len();
        if envelopes.len() != expected {
            return Err(SharesError::Count { given: envelopes.len(), expected });
        }
        let rounds = self.secrets.rounds();
        let mut received = vec![BTreeMap::new(); rounds];
        for (from, signed) in dealers.into_iter().zip(envelopes) {
            let Some(dealer) = self.roster.entry(from) else {
                continue;
            };
            let message = signed
                .verify(&dealer.identity)
                .map_err(|source| SharesError::Signature { dealer: dealer.agent.clone(), source })?
                .into_inner();
            let context = self.context(from);
            if message.from != from
                || message.to != self.slot
                || message.epoch != context.epoch
                || message.roster != context.roster
                || message.graph_seed != context.graph_seed
            {
                let dealer = dealer.agent.clone();
                return Err(SharesError::Elsewhere { dealer });
            }
            let opened = envelope::open(
                self.secrets.hpke(),
                &context,
                &message.encapsulated,
                &message.sealed,
            )
            .and_then(|plaintext| envelope::decode_shares(&plaintext, rounds));
            match opened {
                Ok(shares) => {
                    for (round, shares) in received.iter_mut().zip(shares) {
                        round.insert(from, shares);
                    }
                }
                Err(error) => {
                    return Ok(Opened::Bad {
                        dealer: dealer.agent.clone(),
                        error,
                        message: self.complain(from, signed)?,
                    });
                }
            }
        }
        Ok(Opened::All(received))
    }

    fn context(&self, from: Slot) -> EnvelopeContext {
        EnvelopeContext {
            epoch: self.roster.epoch(),
            roster: self.roster.digest(),
            graph_seed: self.graph.seed(),
            from,
            to: self.slot,
            threshold: self.roster.share_threshold() as u32,
        }
    }

    fn complain(
        &self,
        dealer: Slot,
        evidence: &Signed<ShareEnvelope>,
    ) -> Result<ToCoordinator, EncodeError> {
        let complaint = Complaint {
            epoch: self.roster.epoch(),
            from: self.slot,
            dealer,
            evidence: evidence.clone(),
        };
        let signed = Signed::sign(&complaint, &self.identity.key)?;
        Ok(ToCoordinator::Complaint(signed))
    }
}

enum Opened {
    /// For each round, the shares by dealer.
    All(Vec<BTreeMap<Slot, RoundShares>>),
    Bad {
        dealer: AgentId,
        error: EnvelopeError,
        message: ToCoordinator,
    },
}
