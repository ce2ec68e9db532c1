//! Gathering cosignatures under a head of the ledger, beside whatever round runs meanwhile.
//!
//! Nothing waits for them: a head without T cosignatures is one that nobody has to believe, and
//! the next one covers it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chorale_wire::{
    AgentId, Signature, Signed, Slot, ToAgent,
    message::{HeadOffer, LedgerHead},
};

use super::{action::Action, desk::Desk, fault::FaultKind};
use crate::roster::VerifiedRoster;

/// The head that agents are asked to cosign.
#[derive(Debug)]
pub(super) struct Cosigning {
    offer: HeadOffer,
    /// The roster in force: whose cosignatures count.
    roster: Arc<VerifiedRoster>,
    votes: BTreeMap<Slot, Signature>,
    /// Who asked for what came since its last cosignature; once for each head.
    behind: BTreeSet<AgentId>,
    done: bool,
}

/// T cosignatures under a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedHead {
    /// The head.
    pub head: LedgerHead,
    /// Who cosigned it, in slot order, and its signature.
    pub votes: Vec<(AgentId, Signature)>,
}

impl Cosigning {
    /// Asks everybody in the roster.
    pub(super) fn open(offer: HeadOffer, roster: Arc<VerifiedRoster>, desk: &mut Desk) -> Self {
        desk.broadcast(roster.agent_ids(), ToAgent::LedgerHead(offer.clone()));
        let (votes, behind) = (BTreeMap::new(), BTreeSet::new());
        Self { offer, roster, votes, behind, done: false }
    }

    /// Asks an agent that said hello again, unless it has answered.
    pub(super) fn resume(&mut self, agent: &AgentId, desk: &mut Desk) {
        self.behind.remove(agent);
        let slot = self.roster.slot_of(agent);
        if slot.is_some_and(|slot| !self.votes.contains_key(&slot)) {
            desk.send(agent, ToAgent::LedgerHead(self.offer.clone()));
        }
    }

    /// Takes a cosignature; with the T-th one the head is cosigned.
    pub(super) fn on_vote(
        &mut self,
        agent: &AgentId,
        vote: &Signed<LedgerHead>,
        desk: &mut Desk,
    ) -> Result<(), FaultKind> {
        let slot = self.roster.slot_of(agent).ok_or(FaultKind::NoPart)?;
        let entry = self.roster.entry(slot).ok_or(FaultKind::NoPart)?;
        let head = *vote
            .verify(&entry.identity)
            .map_err(|source| FaultKind::Signature { message: "cosignature", source })?;
        if head.seq < self.offer.head.seq {
            // For an earlier head that too few had cosigned by then.
            return Ok(());
        }
        if head != self.offer.head {
            return Err(FaultKind::Elsewhere { message: "cosignature" });
        }
        self.votes.insert(slot, vote.signature());
        if !self.done && self.votes.len() >= self.roster.votes_min() {
            self.done = true;
            let name = |slot: Slot| Some(self.roster.entry(slot)?.agent.clone());
            let votes = self.votes.iter();
            let votes = votes.filter_map(|(slot, signature)| Some((name(*slot)?, *signature)));
            let cosigned = CosignedHead { head, votes: votes.collect() };
            desk.act(Action::HeadCosigned(cosigned));
        }
        Ok(())
    }

    /// An agent asks for what came since `from`.
    pub(super) fn on_behind(
        &mut self,
        agent: &AgentId,
        from: LedgerHead,
        desk: &mut Desk,
    ) -> Result<(), FaultKind> {
        self.roster.slot_of(agent).ok_or(FaultKind::NoPart)?;
        if !self.behind.insert(agent.clone()) {
            return Err(FaultKind::Equivocation { message: "head request" });
        }
        desk.act(Action::HeadWanted { agent: agent.clone(), from });
        Ok(())
    }
}
