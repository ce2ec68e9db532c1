//! What a journal remembers beside charges: the epochs that the agent voted in, whom it saw there,
//! and whether other agents had to tell it what it had forgotten.

use std::collections::BTreeMap;

use chorale_wire::{
    AgentId, Epoch, FederationId, SlotSet,
    message::{LedgerHead, StatedRound},
};

use crate::JournalRefusal;

/// What other agents saw from this one and its journal did not hold, as after a backup of the disk
/// was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restoration {
    /// What was missing, ascending. It is charged.
    pub rounds: Vec<StatedRound>,
    /// Who said so, each once.
    pub witnesses: Vec<AgentId>,
}

/// One federation's part of the journal that costs no budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    rosters: BTreeMap<Epoch, Vec<AgentId>>,
    cohorts: BTreeMap<(Epoch, StatedRound), SlotSet>,
    restoration: Option<Restoration>,
    last_head: Option<LedgerHead>,
}

impl Remembered {
    pub(crate) fn last_epoch(&self) -> Option<Epoch> {
        self.rosters.last_key_value().map(|(epoch, _)| *epoch)
    }

    pub(crate) fn rosters(&self) -> impl Iterator<Item = (Epoch, &[AgentId])> {
        self.rosters.iter().map(|(epoch, agents)| (*epoch, agents.as_slice()))
    }

    pub(crate) fn cohorts(&self, epoch: Epoch) -> impl Iterator<Item = (StatedRound, &SlotSet)> {
        let all = self.cohorts.iter().filter(move |((of, _), _)| *of == epoch);
        all.map(|((_, round), cohort)| (*round, cohort))
    }

    /// What was restored and is not acknowledged.
    pub(crate) fn restoration(&self) -> Option<&Restoration> {
        self.restoration.as_ref()
    }

    /// One roster for each epoch number, and numbers only rise.
    pub(crate) fn check_vote(
        &self,
        federation: &FederationId,
        epoch: Epoch,
    ) -> Result<(), JournalRefusal> {
        match self.last_epoch().filter(|last| epoch <= *last) {
            Some(last) => {
                Err(JournalRefusal::EpochVoted { federation: federation.clone(), epoch, last })
            }
            None => Ok(()),
        }
    }

    /// A cohort's slots have names only in a roster that was voted for.
    pub(crate) fn check_cohort(
        &self,
        federation: &FederationId,
        epoch: Epoch,
        cohort: &SlotSet,
    ) -> Result<(), JournalRefusal> {
        let agents = self.rosters.get(&epoch).map(Vec::len);
        if agents == Some(cohort.agents()) {
            return Ok(());
        }
        Err(JournalRefusal::UnknownRoster { federation: federation.clone(), epoch })
    }

    /// The last head of the ledger that was cosigned.
    pub(crate) fn last_head(&self) -> Option<&LedgerHead> {
        self.last_head.as_ref()
    }

    /// One cosignature for each number, and numbers only rise.
    pub(crate) fn check_head(
        &self,
        federation: &FederationId,
        head: &LedgerHead,
    ) -> Result<(), JournalRefusal> {
        match self.last_head.filter(|last| head.seq <= last.seq) {
            Some(last) => Err(JournalRefusal::HeadCosigned {
                federation: federation.clone(),
                seq: head.seq,
                last: last.seq,
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn cosign(&mut self, head: &LedgerHead) {
        self.last_head = Some(*head);
    }

    pub(crate) fn vote(&mut self, epoch: Epoch, agents: &[AgentId]) {
        self.rosters.insert(epoch, agents.to_vec());
    }

    pub(crate) fn see(&mut self, epoch: Epoch, round: StatedRound, cohort: &SlotSet) {
        self.cohorts.insert((epoch, round), cohort.clone());
    }

    pub(crate) fn restore(&mut self, rounds: &[StatedRound], witnesses: &[AgentId]) {
        let restoration = self.restoration.get_or_insert_default();
        restoration.rounds.extend_from_slice(rounds);
        restoration.witnesses.extend_from_slice(witnesses);
        restoration.witnesses.sort_unstable();
        restoration.witnesses.dedup();
    }

    pub(crate) fn acknowledge(&mut self) {
        self.restoration = None;
    }
}
