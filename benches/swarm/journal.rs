//! A journal in memory: the product's logic without its disk.

use chorale_dp::Rho;
use chorale_gate::{Charge, Journal, JournalRefusal, JournalState, Record, Settlement};
use chorale_round::agent::Fact;
use chorale_wire::{FederationId, RoundNumber, VerifiedAbort};

/// Refuses what the product's journal refuses, and forgets everything when the run ends.
pub(crate) struct MemoryJournal(JournalState);

impl MemoryJournal {
    pub(crate) fn new(cap: Rho) -> Self {
        Self(JournalState::new(cap))
    }

    pub(crate) fn remember(
        &mut self,
        federation: &FederationId,
        fact: Fact,
    ) -> Result<(), JournalRefusal> {
        let federation = federation.clone();
        self.0.apply(&match fact {
            Fact::RosterVoted { epoch, agents } => {
                Record::RosterVoted { federation, epoch, agents }
            }
            Fact::CohortSeen { epoch, round, cohort } => {
                Record::CohortSeen { federation, epoch, round, cohort }
            }
            Fact::HeadCosigned { head } => Record::HeadCosigned { federation, head },
        })
    }
}

impl Journal for MemoryJournal {
    type Error = JournalRefusal;

    fn charge(&mut self, charge: &Charge) -> Result<(), JournalRefusal> {
        self.0.apply(&Record::Charged(charge.clone()))
    }

    fn settle(
        &mut self,
        federation: &FederationId,
        round: RoundNumber,
        settlement: Settlement,
    ) -> Result<(), JournalRefusal> {
        self.0.apply(&Record::Settled { federation: federation.clone(), round, settlement })
    }

    fn reopen(
        &mut self,
        federation: &FederationId,
        abort: &VerifiedAbort,
    ) -> Result<RoundNumber, JournalRefusal> {
        let reopened = self.0.reopening(federation, abort)?;
        let round = reopened.round();
        self.0.apply(&reopened.into()).map(|()| round)
    }

    fn spent(&self, federation: &FederationId) -> Result<Rho, JournalRefusal> {
        Ok(self.0.spent(federation))
    }
}
