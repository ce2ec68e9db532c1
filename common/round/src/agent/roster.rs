//! ROSTER and ROSTER-QC: one vote per epoch number, then shares for every neighbour.

use std::sync::Arc;

use chorale_secagg::{
    EnvelopeContext, EnvelopeError, EpochSecrets, Graph, RoundShares, envelope,
    shamir::{self, SplitError},
};
use chorale_wire::{
    AgentId, EncodeError, Signed, Slot, ToCoordinator,
    message::{Roster, RosterCertificate, RosterVote, ShareEnvelope},
};
use rand_core::CryptoRng;

use super::{
    advertise::Advertised,
    deal::Dealt,
    identity::{Identity, Kept},
    memory::{Behind, Memory, Standing},
};
use crate::{
    certificate::{CertificateError, check_roster_certificate},
    memo::{self, VerifiedMemo},
    roster::{RosterError, VerifiedRoster},
};

/// Why ROSTER got no vote.
#[derive(Debug, thiserror::Error)]
pub enum RosterRefused {
    /// The roster is bad; the variant inside names who is to blame.
    #[error("the roster is refused")]
    Roster(#[from] RosterError),
    /// Too few agents to tell whether this agent's journal was restored from a backup. The
    /// coordinator is to blame, or whoever keeps so many agents away.
    #[error(
        "a roster of {agents} agents is too small for an agent that was started since its last \
         epoch: {needed} are needed, so that somebody honest who saw its last rounds is among them"
    )]
    Unwitnessed {
        /// Agents in the roster.
        agents: u32,
        /// Fewest that this agent accepts.
        needed: u32,
    },
    /// The vote cannot be encoded: a defect of this program.
    #[error("this agent's roster vote could not be encoded")]
    Encode(#[from] EncodeError),
}

/// Why ROSTER-QC was refused, or shares could not be dealt.
#[derive(Debug, thiserror::Error)]
pub enum DealError {
    /// The certificate is bad; the coordinator is to blame.
    #[error("the roster certificate is refused")]
    Certificate(#[from] CertificateError),
    /// A secret could not be shared: a defect of this program.
    #[error("a secret could not be shared")]
    Split(#[from] SplitError),
    /// An envelope could not be sealed; its receiver advertised an unusable key.
    #[error("an envelope could not be sealed")]
    Seal(#[from] EnvelopeError),
    /// An envelope cannot be encoded: a defect of this program.
    #[error("an envelope could not be encoded")]
    Encode(#[from] EncodeError),
}

/// What ROSTER-QC leads to.
#[derive(Debug)]
pub enum Certified {
    /// The shares are dealt.
    Dealt {
        /// The next state.
        state: Box<Dealt>,
        /// The shares, to be sent.
        answer: ToCoordinator,
        /// Agents that stated rounds of this agent which too few others state.
        disputed: Vec<AgentId>,
    },
    /// Some state rounds that this agent's journal does not know, and all of them may be corrupt;
    /// nothing was dealt.
    Doubtful {
        /// Who states them.
        witnesses: Vec<AgentId>,
    },
    /// This agent's journal is older than what others saw from it; nothing was dealt.
    Behind {
        /// What is missing.
        behind: Behind,
        /// Agents that stated rounds of this agent which too few others state.
        disputed: Vec<AgentId>,
    },
}

/// The vote for the roster is out; ROSTER-QC is awaited.
#[derive(Debug)]
pub struct RosterVoted {
    pub(super) identity: Arc<Identity>,
    pub(super) roster: Arc<VerifiedRoster>,
    pub(super) slot: Slot,
    pub(super) secrets: EpochSecrets,
    vote: Signed<RosterVote>,
}

impl RosterVoted {
    pub(super) fn vote(
        from: Advertised,
        roster: &Roster,
        memory: &Memory,
        now_ms: u64,
        memo: Option<&VerifiedMemo>,
    ) -> Result<(Self, ToCoordinator), Kept<Advertised, RosterRefused>> {
        match Self::check(&from, roster, memory, now_ms, memo) {
            Ok((verified, slot, vote)) => {
                let state = Self {
                    identity: from.identity,
                    roster: verified,
                    slot,
                    secrets: from.secrets,
                    vote,
                };
                let answer = state.answer();
                Ok((state, answer))
            }
            Err(error) => Err(Kept::new(from, error)),
        }
    }

    fn check(
        from: &Advertised,
        roster: &Roster,
        memory: &Memory,
        now_ms: u64,
        memo: Option<&VerifiedMemo>,
    ) -> Result<(Arc<VerifiedRoster>, Slot, Signed<RosterVote>), RosterRefused> {
        let expect = from.expectation(now_ms);
        let check = || VerifiedRoster::check(roster, &expect);
        let verified = memo::roster(memo, roster, &expect, check)?;
        let (agents, needed) = (verified.agents() as u32, memory.roster_min(&verified));
        if agents < needed {
            return Err(RosterRefused::Unwitnessed { agents, needed });
        }
        let identity = &from.identity;
        let slot = verified.own_slot(roster, &identity.agent, from.advert.payload_digest())?;
        let (statements, unstated) = memory.book().statements(&verified, slot);
        let vote = RosterVote {
            federation: identity.federation.clone(),
            epoch: from.epoch,
            roster: verified.digest(),
            slot,
            nonce: *from.secrets.nonce(),
            statements,
            unstated,
        };
        let signed = Signed::sign(&vote, &identity.key)?;
        Ok((verified, slot, signed))
    }

    /// The verified roster.
    #[must_use]
    pub fn roster(&self) -> &VerifiedRoster {
        &self.roster
    }

    /// What was sent, to be sent again after a reconnect.
    #[must_use]
    pub fn answer(&self) -> ToCoordinator {
        ToCoordinator::RosterVote(self.vote.clone())
    }

    /// Verifies that all agents voted for this very roster, and deals the shares of every round's
    /// two secrets: one sealed and signed envelope for each neighbour. Where the voters saw more
    /// from this agent than it claims, nothing is dealt and the epoch's secrets are wiped.
    ///
    /// # Errors
    /// The state unchanged, and [`DealError`].
    pub fn on_certificate<R: CryptoRng + ?Sized>(
        self,
        certificate: &RosterCertificate,
        memory: &Memory,
        memo: Option<&VerifiedMemo>,
        rng: &mut R,
    ) -> Result<Certified, Kept<Self, DealError>> {
        let federation = &self.identity.federation;
        let check = || {
            let seed = check_roster_certificate(&self.roster, federation, certificate)?;
            Ok::<_, CertificateError>(self.roster.graph(seed))
        };
        let graph = match memo::graph(memo, &self.roster, federation, certificate, check) {
            Ok(graph) => graph,
            Err(error) => return Err(Kept::new(self, error)),
        };
        let (standing, disputed) = memory.judge(&self.roster, self.slot, certificate);
        match standing {
            Standing::Current => {}
            Standing::Behind(behind) => return Ok(Certified::Behind { behind, disputed }),
            Standing::Doubtful { witnesses } => return Ok(Certified::Doubtful { witnesses }),
        }
        match self.deal(&graph, rng) {
            Ok(envelopes) => {
                let state = Dealt::new(self, graph, envelopes);
                let answer = state.answer();
                Ok(Certified::Dealt { state: Box::new(state), answer, disputed })
            }
            Err(error) => Err(Kept::new(self, error)),
        }
    }

    fn deal<R: CryptoRng + ?Sized>(
        &self,
        graph: &Graph,
        rng: &mut R,
    ) -> Result<Vec<Signed<ShareEnvelope>>, DealError> {
        let receivers = graph.neighbours(self.slot);
        let points: Vec<u64> = receivers.iter().map(|to| to.share_point()).collect();
        let threshold = self.roster.share_threshold();
        let mut by_receiver: Vec<Vec<RoundShares>> = vec![Vec::new(); receivers.len()];
        for index in 0..self.secrets.rounds() {
            // A round's secret is only ever taken after dealing.
            let Some(secret) = self.secrets.round(index) else {
                continue;
            };
            let keys = shamir::split(secret.key_seed(), threshold, &points, rng)?;
            let seeds = shamir::split(secret.self_seed(), threshold, &points, rng)?;
            for (shares, (key, seed)) in by_receiver.iter_mut().zip(keys.into_iter().zip(seeds)) {
                shares.push(RoundShares { key, seed });
            }
        }
        let mut envelopes = Vec::with_capacity(receivers.len());
        for (to, shares) in receivers.into_iter().zip(by_receiver) {
            let Some(receiver) = self.roster.entry(to) else {
                continue;
            };
            let context = EnvelopeContext {
                epoch: self.roster.epoch(),
                roster: self.roster.digest(),
                graph_seed: graph.seed(),
                from: self.slot,
                to,
                threshold: threshold as u32,
            };
            let plaintext = envelope::encode_shares(&shares);
            let (encapsulated, sealed) = envelope::seal(&receiver.hpke, &context, &plaintext, rng)?;
            let message = ShareEnvelope {
                epoch: context.epoch,
                roster: context.roster,
                graph_seed: context.graph_seed,
                from: self.slot,
                to,
                encapsulated,
                sealed,
            };
            envelopes.push(Signed::sign(&message, &self.identity.key)?);
        }
        Ok(envelopes)
    }
}
