//! What an agent remembers over restarts, and how it learns that it has forgotten something.

use chorale_wire::{
    AgentId, Epoch, RoundNumber, Slot, SlotSet,
    message::{LedgerHead, RosterCertificate, StatedRound},
};

use crate::{
    certificate::roster_statements,
    roster::VerifiedRoster,
    witness::{WitnessBook, judge},
};

/// What the driver stores durably *before* it carries out any action that follows. When that
/// fails, none of them may be carried out and the agent must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The vote for the one roster that this agent signs for the epoch number follows.
    RosterVoted {
        /// The epoch.
        epoch: Epoch,
        /// The roster, in slot order.
        agents: Vec<AgentId>,
    },
    /// The session of a round is locked, and a masked vector may follow.
    CohortSeen {
        /// The epoch.
        epoch: Epoch,
        /// What the round asks and costs.
        round: StatedRound,
        /// Who is in it, by slot of the epoch's roster.
        cohort: SlotSet,
    },
    /// The cosignature under this head of the ledger follows; none under another hash for the same
    /// number, nor under an earlier or other history, ever.
    HeadCosigned {
        /// The head.
        head: LedgerHead,
    },
}

/// This agent's journal is older than what other agents saw from it, as after a backup of the disk
/// was restored. Nothing was dealt in the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The epoch whose votes say so.
    pub epoch: Epoch,
    /// What is missing in the journal, ascending: to be charged, and never to be answered again.
    pub rounds: Vec<StatedRound>,
    /// Whether still more is missing; the next epoch's votes go on from here.
    pub more: bool,
    /// Who says so.
    pub witnesses: Vec<AgentId>,
}

/// What the votes of a whole roster say about this agent's journal.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nothing is missing.
    Current,
    /// Something is missing.
    Behind(Behind),
    /// Something may be missing: so few are sure to have seen this agent's rounds that those who say
    /// so may all be corrupt.
    Doubtful {
        /// Who says so.
        witnesses: Vec<AgentId>,
    },
}

/// What the agent remembers: its own highest numbers, and what it saw of the others.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub(super) last_epoch: Option<Epoch>,
    pub(super) last_round: Option<RoundNumber>,
    survivors_floor: u32,
    last_head: Option<LedgerHead>,
    book: WitnessBook,
    /// Whether other agents' votes have confirmed, since the start of the process, that nothing
    /// is missing. Until then the journal may be an old one.
    confirmed: bool,
}

impl Memory {
    /// `last_epoch` is the highest epoch number that the agent ever voted in and `last_round` the
    /// highest round that it ever charged, as far as its durable journal knows; `None` for a new
    /// agent.
    #[must_use]
    pub fn new(last_epoch: Option<Epoch>, last_round: Option<RoundNumber>) -> Self {
        Self { last_epoch, last_round, ..Self::default() }
    }

    /// With what the journal holds of other agents.
    #[must_use]
    pub fn with_book(self, book: WitnessBook) -> Self {
        Self { book, ..self }
    }

    /// With the smallest T_min that the agent's own policy ever admitted: the higher it is, the
    /// more witnesses each of its rounds has, and the smaller a roster suffices after a restart.
    #[must_use]
    pub fn with_survivors_floor(self, survivors_floor: u32) -> Self {
        Self { survivors_floor, ..self }
    }

    /// With the last head of the ledger that the agent cosigned, as far as its durable journal
    /// knows.
    #[must_use]
    pub fn with_last_head(self, last_head: Option<LedgerHead>) -> Self {
        Self { last_head, ..self }
    }

    /// The last head of the ledger that this agent cosigned.
    #[must_use]
    pub fn last_head(&self) -> Option<&LedgerHead> {
        self.last_head.as_ref()
    }

    /// The same after a restart of the process: it may have been restarted on an old backup, which
    /// only other agents' votes can deny.
    #[must_use]
    pub fn after_restart(&self) -> Self {
        Self { confirmed: false, ..self.clone() }
    }

    /// The highest round that this agent ever opened, or that others saw from it.
    #[must_use]
    pub fn last_round(&self) -> Option<RoundNumber> {
        self.last_round
    }

    /// What was seen of other agents.
    #[must_use]
    pub fn book(&self) -> &WitnessBook {
        &self.book
    }

    /// Takes a fact over; the driver stores it.
    pub(super) fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::RosterVoted { epoch, agents } => {
                self.last_epoch = self.last_epoch.max(Some(*epoch));
                self.book.vote(*epoch, agents.iter().cloned());
            }
            Fact::CohortSeen { epoch, round, cohort } => {
                self.book.see(*epoch, *round, cohort.clone());
            }
            Fact::HeadCosigned { head } => self.last_head = Some(*head),
        }
    }

    /// Other agents' votes show that nothing is missing.
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Something is missing; the driver stores it. The next votes must show that it was all.
    pub(super) fn restore(&mut self, behind: &Behind) {
        let highest = behind.rounds.last().map(|stated| stated.round);
        self.last_round = self.last_round.max(highest);
        self.confirmed = false;
    }

    /// Fewest agents of a roster that this agent votes for.
    pub(super) fn roster_min(&self, roster: &VerifiedRoster) -> u32 {
        if self.confirmed {
            roster.survivors_floor(self.survivors_floor)
        } else {
            roster.agents_after_restart(self.survivors_floor)
        }
    }

    /// What a verified certificate says about this agent at `own`, and who states rounds that do
    /// not count.
    pub(super) fn judge(
        &self,
        roster: &VerifiedRoster,
        own: Slot,
        certificate: &RosterCertificate,
    ) -> (Standing, Vec<AgentId>) {
        let names = |slots: &[Slot]| -> Vec<AgentId> {
            slots.iter().filter_map(|slot| Some(roster.entry(*slot)?.agent.clone())).collect()
        };
        let sure = roster.witnesses_min(self.survivors_floor) as usize;
        let statements = roster_statements(certificate, own);
        let verdict = judge(sure, roster.corrupt() as usize, &statements);
        let disputed = names(&verdict.disputed);
        let witnesses = names(&verdict.witnesses);
        let standing = match (verdict.is_behind(), verdict.certain) {
            (false, _) => Standing::Current,
            (true, false) => Standing::Doubtful { witnesses },
            (true, true) => Standing::Behind(Behind {
                epoch: roster.epoch(),
                witnesses,
                rounds: verdict.rounds,
                more: verdict.more,
            }),
        };
        (standing, disputed)
    }
}
