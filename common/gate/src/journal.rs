//! The agent's own account of what it gave: charged durably before anything leaves, and never
//! trusted to the coordinator.
//!
//! [`Journal`] is what the gate asks for. [`JournalState`] is the logic that a durable journal
//! runs its records through, before it writes one and when it reads them back.

use std::collections::{BTreeMap, BTreeSet};

use chorale_dp::{Cap, CapExceeded, Frees, Rho, Settlement as Ended, Standing};
use chorale_plan::cost_of_units;
use chorale_wire::{
    AgentId, Digest, Epoch, FederationId, RoundNumber, SessionId, SlotSet, VerifiedAbort,
    message::{LedgerHead, StatedRound},
};
use serde::{Deserialize, Serialize};

use crate::{
    caps::{AgentCaps, Kept},
    remembered::{Remembered, Restoration},
};

/// What a round costs this agent's customers, and what must not be answered twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The federation whose budget is charged.
    pub federation: FederationId,
    /// The round.
    pub round: RoundNumber,
    /// Digest of the plan.
    pub plan: Digest,
    /// Digest of the model that the contributions are computed on.
    pub model: Digest,
    /// The data window: events before this instant, in Unix seconds.
    pub window: u64,
    /// The task's name: which caps the round counts in.
    pub task: String,
    /// The cost; `None` for a round without noise.
    pub rho: Option<Rho>,
    /// When it was charged, Unix seconds.
    pub time_s: u64,
}

/// How a charged round ends at this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settlement {
    /// The masked vector is about to leave: recorded *before* its first byte. The charge stands,
    /// unless enough of `electorate` vote to abort this very session ([`Journal::reopen`]).
    Released {
        /// The session that the vector is masked for.
        session: SessionId,
        /// Those who can vote in it, by [`chorale_wire::Electorate::digest`] of the verified roster.
        electorate: Digest,
        /// When, Unix seconds: from then on the charge moves through the windows.
        time_s: u64,
    },
    /// The round ended and no byte of a masked vector left: the charge is given back.
    Refunded,
}

/// The durable journal of an agent. An implementation returns only after the disk has it.
pub trait Journal {
    /// Why a journal refuses or fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Charges a round, durably. Refuses a round that is not above every round charged before in
    /// that federation, a (plan, model, window) that was answered before, and a cost over the cap.
    ///
    /// # Errors
    /// The journal's own; nothing is charged.
    fn charge(&mut self, charge: &Charge) -> Result<(), Self::Error>;

    /// Ends a charged round, durably and once.
    ///
    /// # Errors
    /// The journal's own; also for a round that is not charged or is settled already, so that
    /// nothing is given back after a vector may have left.
    fn settle(
        &mut self,
        federation: &FederationId,
        round: RoundNumber,
        settlement: Settlement,
    ) -> Result<(), Self::Error>;

    /// Gives back the charge of a released round on proof that its session was aborted, durably and
    /// once, and returns the round: its vector will never be unmasked, and its question may be
    /// asked again, under a higher round number.
    ///
    /// # Errors
    /// The journal's own; also when no vector left for that session under that electorate.
    fn reopen(
        &mut self,
        federation: &FederationId,
        abort: &VerifiedAbort,
    ) -> Result<RoundNumber, Self::Error>;

    /// What is charged and not given back.
    ///
    /// # Errors
    /// The journal's own.
    fn spent(&self, federation: &FederationId) -> Result<Rho, Self::Error>;
}

/// One record of a durable journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A round was charged.
    Charged(Charge),
    /// A charged round ended.
    Settled {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
        /// How.
        settlement: Settlement,
    },
    /// A released round was given back, because its session was aborted by certificate.
    Reopened(Reopened),
    /// The agent votes for the one roster that it signs for this epoch number. Recorded *before*
    /// the vote leaves.
    RosterVoted {
        /// The federation.
        federation: FederationId,
        /// The epoch.
        epoch: Epoch,
        /// The roster in slot order.
        agents: Vec<AgentId>,
    },
    /// The agent saw who is in a round's cohort. Recorded *before* its own vector is masked, so
    /// that it can tell an agent whose journal was rolled back.
    CohortSeen {
        /// The federation.
        federation: FederationId,
        /// The epoch.
        epoch: Epoch,
        /// What the round asks and costs.
        round: StatedRound,
        /// The cohort, by slot of the epoch's roster.
        cohort: SlotSet,
    },
    /// Other agents stated rounds of this agent that this journal does not hold: it is an old one.
    /// The rounds are charged, and none is charged from now on until somebody acknowledges it.
    Restored {
        /// The federation.
        federation: FederationId,
        /// What was missing, ascending.
        rounds: Vec<StatedRound>,
        /// Who stated it.
        witnesses: Vec<AgentId>,
        /// When it was noticed, Unix seconds: the rounds count in every window from then on.
        time_s: u64,
    },
    /// A new run of the agent found charges that the one before it had neither released nor given
    /// back. They stand: were the disk a restored one, their vectors may have left. They ended no
    /// later than this.
    Interrupted {
        /// The federation.
        federation: FederationId,
        /// When it was noticed, Unix seconds.
        time_s: u64,
    },
    /// The agent's administrator knows of the restoration and lets the agent go on.
    Acknowledged {
        /// The federation.
        federation: FederationId,
    },
    /// The agent cosigns a head of the ledger. Recorded *before* the cosignature leaves.
    HeadCosigned {
        /// The federation.
        federation: FederationId,
        /// The head.
        head: LedgerHead,
    },
}

/// The content of [`Record::Reopened`]. Besides decoding, only [`JournalState::reopening`] makes
/// one, from proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopened {
    federation: FederationId,
    round: RoundNumber,
    session: SessionId,
}

impl Reopened {
    /// The round that was given back.
    #[must_use]
    pub fn round(&self) -> RoundNumber {
        self.round
    }
}

impl From<Reopened> for Record {
    fn from(reopened: Reopened) -> Self {
        Self::Reopened(reopened)
    }
}

/// Why a record may not follow. It depends on public parameters only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalRefusal {
    /// A round number that was answered before, or is below one that was.
    #[error(
        "federation {federation}: round {round} was asked after round {last}; this agent answers \
         rounds in ascending order, each once"
    )]
    Stale {
        /// The federation.
        federation: FederationId,
        /// The round asked for.
        round: RoundNumber,
        /// The highest round ever charged.
        last: RoundNumber,
    },
    /// The same question under another round number.
    #[error(
        "federation {federation}: round {round} asks again what round {before} asked (same plan, \
         model and data window); the difference of two answers would say too much"
    )]
    Repeated {
        /// The federation.
        federation: FederationId,
        /// The round asked for.
        round: RoundNumber,
        /// The round that was answered.
        before: RoundNumber,
    },
    /// The cost does not fit one of this agent's own caps.
    #[error("federation {federation}: round {round} does not fit this agent's own budget")]
    OverCap {
        /// The federation.
        federation: FederationId,
        /// The round asked for.
        round: RoundNumber,
        /// Which cap, what is left of it and when it has room.
        #[source]
        source: Box<CapExceeded>,
    },
    /// A federation either has noise in every round or in none.
    #[error("federation {federation}: round {round} mixes rounds with and without noise")]
    Mixed {
        /// The federation.
        federation: FederationId,
        /// The round asked for.
        round: RoundNumber,
    },
    /// The journal was found to be an old one, and nobody has acknowledged that.
    #[error(
        "federation {federation}: round {round} is refused: this agent's journal was older than \
         what {witnesses} other agents saw from it (a restored backup?), and its administrator \
         has not acknowledged that yet"
    )]
    Unacknowledged {
        /// The federation.
        federation: FederationId,
        /// The round asked for.
        round: RoundNumber,
        /// Number of agents that said so.
        witnesses: usize,
    },
    /// A second roster for an epoch number, or a lower number.
    #[error(
        "federation {federation}: epoch {epoch} came after epoch {last}; this agent votes for one \
         roster of each epoch number, in ascending order"
    )]
    EpochVoted {
        /// The federation.
        federation: FederationId,
        /// The epoch.
        epoch: Epoch,
        /// The highest epoch voted in.
        last: Epoch,
    },
    /// A cohort of an epoch in which this agent did not vote, or of another size.
    #[error(
        "federation {federation}: a cohort names no roster of epoch {epoch} that was voted for"
    )]
    UnknownRoster {
        /// The federation.
        federation: FederationId,
        /// The epoch.
        epoch: Epoch,
    },
    /// Restored rounds that are not ascending, or not above what the journal holds.
    #[error(
        "federation {federation}: restored rounds must ascend from above the highest one known"
    )]
    RestoredOrder {
        /// The federation.
        federation: FederationId,
    },
    /// A second cosignature for one entry of the ledger, or one for an earlier entry.
    #[error(
        "federation {federation}: entry {seq} of the ledger is to be cosigned after entry {last}; \
         this agent cosigns each number once, in ascending order"
    )]
    HeadCosigned {
        /// The federation.
        federation: FederationId,
        /// The entry.
        seq: u64,
        /// The last entry cosigned.
        last: u64,
    },
    /// There is nothing to acknowledge.
    #[error("federation {federation}: there is nothing to acknowledge")]
    NothingRestored {
        /// The federation.
        federation: FederationId,
    },
    /// The round holds no charge that could end.
    #[error(
        "federation {federation}: round {round} is not charged, or ended already; nothing is \
         given back after a vector may have left"
    )]
    NotOpen {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
    },
    /// Proof of an abort under which nothing can be given back.
    #[error(
        "federation {federation}: no vector left for session {session} under the votes that abort \
         it, or its charge was given back before"
    )]
    NotReleased {
        /// The federation.
        federation: FederationId,
        /// The session that was aborted.
        session: SessionId,
    },
}

/// What an agent gave to each federation: pure, rebuilt from its records.
///
/// A charge that is not settled counts as spent, so a crash between charge and settlement costs
/// budget and never privacy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalState {
    cap: Rho,
    caps: BTreeMap<FederationId, Rho>,
    accounts: BTreeMap<FederationId, Account>,
    /// What counts in the caps beside the lifetimes'.
    kept: Kept,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Account {
    /// Sum of all charges that stand.
    spent: Option<Rho>,
    /// Whether the rounds have no noise.
    unprotected: Option<bool>,
    /// The tombstone: no round up to this one is ever answered again.
    last: Option<RoundNumber>,
    /// Rounds that are neither released nor given back.
    open: BTreeMap<RoundNumber, Charge>,
    /// Questions answered or being answered.
    asked: BTreeMap<Question, RoundNumber>,
    /// Rounds whose vector left.
    released: BTreeMap<RoundNumber, Departed>,
    /// Rounds whose vector left and whose charge was given back.
    reopened: BTreeSet<RoundNumber>,
    /// Rounds that were restored, whose vector may have left.
    restored: BTreeSet<RoundNumber>,
    /// Charges that an earlier run left open. They stand.
    interrupted: BTreeSet<RoundNumber>,
    /// Epochs and other agents.
    remembered: Remembered,
}

/// A charge whose vector left, and for which session.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Departed {
    charge: Charge,
    session: SessionId,
    electorate: Digest,
}

/// Digest of plan, model and data window.
type Question = Digest;

impl Account {
    /// Rounds whose vector left, or may have.
    fn departed(&self) -> usize {
        self.released.len() + self.reopened.len() + self.restored.len()
    }

    fn spent(&self) -> Rho {
        self.spent.clone().unwrap_or_else(Rho::zero)
    }
}

impl JournalState {
    /// Nothing charged; `caps` hold for each federation, but the lifetime's not for one with its own.
    #[must_use]
    pub fn new(caps: impl Into<AgentCaps>) -> Self {
        let AgentCaps { lifetime, others } = caps.into();
        let kept = Kept::new(&others);
        Self { cap: lifetime, caps: BTreeMap::new(), accounts: BTreeMap::new(), kept }
    }

    /// Gives one federation a cap of its own. A cap below what is spent refuses every round.
    pub fn set_cap(&mut self, federation: FederationId, cap: Rho) {
        self.caps.insert(federation, cap);
    }

    /// The cap that holds for a federation.
    #[must_use]
    pub fn cap(&self, federation: &FederationId) -> &Rho {
        self.caps.get(federation).unwrap_or(&self.cap)
    }

    /// The caps beside the lifetime's that hold for a federation, with what counts in them at `now_s`.
    #[must_use]
    pub fn standing(&self, federation: &FederationId, now_s: u64) -> Vec<Standing> {
        self.kept.standing(federation, now_s)
    }

    /// Charges that earlier runs left open, and that stand.
    #[must_use]
    pub fn interrupted(&self, federation: &FederationId) -> usize {
        self.accounts.get(federation).map_or(0, |account| account.interrupted.len())
    }

    /// What is charged and not given back.
    #[must_use]
    pub fn spent(&self, federation: &FederationId) -> Rho {
        self.accounts.get(federation).map_or_else(Rho::zero, Account::spent)
    }

    /// The highest round ever charged: none up to it is answered again.
    #[must_use]
    pub fn last_round(&self, federation: &FederationId) -> Option<RoundNumber> {
        self.accounts.get(federation).and_then(|account| account.last)
    }

    /// Charges that are neither released nor given back: rounds under way, or cut short by a
    /// crash before their vector left.
    pub fn open(&self) -> impl Iterator<Item = &Charge> {
        self.accounts.values().flat_map(|account| account.open.values())
    }

    /// Number of rounds whose vector left, or was about to.
    #[must_use]
    pub fn released(&self, federation: &FederationId) -> usize {
        self.accounts.get(federation).map_or(0, Account::departed)
    }

    /// The record that gives a released round back on this proof: it must name the session that
    /// the vector left for and the electorate that was recorded with it.
    ///
    /// # Errors
    /// [`JournalRefusal::NotReleased`].
    pub fn reopening(
        &self,
        federation: &FederationId,
        abort: &VerifiedAbort,
    ) -> Result<Reopened, JournalRefusal> {
        let (session, electorate) = (abort.session(), abort.electorate());
        let released = self.accounts.get(federation).into_iter().flat_map(|a| &a.released);
        let mut matching = released.filter(|(_, departed)| {
            departed.session == session && departed.electorate == electorate
        });
        let refusal = || JournalRefusal::NotReleased { federation: federation.clone(), session };
        let (round, _) = matching.next().ok_or_else(refusal)?;
        Ok(Reopened { federation: federation.clone(), round: *round, session })
    }

    /// The highest epoch number ever voted in.
    #[must_use]
    pub fn last_epoch(&self, federation: &FederationId) -> Option<Epoch> {
        self.remembered(federation)?.last_epoch()
    }

    /// The rosters that were voted for, in slot order, by ascending epoch.
    pub fn rosters(&self, federation: &FederationId) -> impl Iterator<Item = (Epoch, &[AgentId])> {
        self.remembered(federation).into_iter().flat_map(Remembered::rosters)
    }

    /// The cohorts seen in an epoch, by ascending round.
    pub fn cohorts(
        &self,
        federation: &FederationId,
        epoch: Epoch,
    ) -> impl Iterator<Item = (StatedRound, &SlotSet)> {
        self.remembered(federation).into_iter().flat_map(move |memory| memory.cohorts(epoch))
    }

    /// What other agents had to tell this one because its journal was an old one, while nobody has
    /// acknowledged it; no round is charged until then.
    #[must_use]
    pub fn restoration(&self, federation: &FederationId) -> Option<&Restoration> {
        self.remembered(federation)?.restoration()
    }

    /// The last head of the ledger that was cosigned.
    #[must_use]
    pub fn last_head(&self, federation: &FederationId) -> Option<&LedgerHead> {
        self.remembered(federation)?.last_head()
    }

    fn remembered(&self, federation: &FederationId) -> Option<&Remembered> {
        self.accounts.get(federation).map(|account| &account.remembered)
    }

    /// Whether `record` may follow. Changes nothing: check, write durably, then [`Self::apply`].
    ///
    /// # Errors
    /// [`JournalRefusal`].
    pub fn check(&self, record: &Record) -> Result<(), JournalRefusal> {
        match record {
            Record::Charged(charge) => self.check_charge(charge),
            Record::Settled { federation, round, .. } => {
                let open = self.accounts.get(federation).map(|account| &account.open);
                if open.is_some_and(|open| open.contains_key(round)) {
                    return Ok(());
                }
                Err(JournalRefusal::NotOpen { federation: federation.clone(), round: *round })
            }
            Record::Reopened(Reopened { federation, round, session }) => {
                let account = self.accounts.get(federation);
                let departed = account.and_then(|account| account.released.get(round));
                if departed.is_some_and(|departed| departed.session == *session) {
                    return Ok(());
                }
                let (federation, session) = (federation.clone(), *session);
                Err(JournalRefusal::NotReleased { federation, session })
            }
            Record::RosterVoted { federation, epoch, .. } => {
                let memory = self.remembered(federation);
                memory.map_or(Ok(()), |memory| memory.check_vote(federation, *epoch))
            }
            Record::CohortSeen { federation, epoch, cohort, .. } => {
                let fresh = Remembered::default();
                let memory = self.remembered(federation).unwrap_or(&fresh);
                memory.check_cohort(federation, *epoch, cohort)
            }
            Record::Restored { federation, rounds, .. } => self.check_restored(federation, rounds),
            Record::Interrupted { .. } => Ok(()),
            Record::Acknowledged { federation } => match self.restoration(federation) {
                Some(_) => Ok(()),
                None => Err(JournalRefusal::NothingRestored { federation: federation.clone() }),
            },
            Record::HeadCosigned { federation, head } => {
                let memory = self.remembered(federation);
                memory.map_or(Ok(()), |memory| memory.check_head(federation, head))
            }
        }
    }

    /// Takes a record over.
    ///
    /// # Errors
    /// [`JournalRefusal`], as [`Self::check`]; the state is unchanged. Of records read back from
    /// a disk it means that the file was tampered with. A cap that was lowered since is no reason
    /// to refuse those: use [`Self::replay`].
    pub fn apply(&mut self, record: &Record) -> Result<(), JournalRefusal> {
        self.check(record)?;
        self.commit(record);
        Ok(())
    }

    /// Rebuilds the state from records in the order in which they were written. All rules but
    /// the caps are checked again; caps may have been lowered since.
    ///
    /// # Errors
    /// [`JournalRefusal`]: these records were not written by this logic.
    pub fn replay<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<(), JournalRefusal> {
        for record in records {
            match self.check(record) {
                Ok(()) | Err(JournalRefusal::OverCap { .. }) => self.commit(record),
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    fn check_charge(&self, charge: &Charge) -> Result<(), JournalRefusal> {
        let (federation, round) = (charge.federation.clone(), charge.round);
        let fresh = Account::default();
        let account = self.accounts.get(&federation).unwrap_or(&fresh);
        if let Some(restoration) = account.remembered.restoration() {
            let witnesses = restoration.witnesses.len();
            return Err(JournalRefusal::Unacknowledged { federation, round, witnesses });
        }
        if let Some(last) = account.last.filter(|last| round <= *last) {
            return Err(JournalRefusal::Stale { federation, round, last });
        }
        if let Some(before) = account.asked.get(&question(charge)) {
            return Err(JournalRefusal::Repeated { federation, round, before: *before });
        }
        if account.unprotected.is_some_and(|unprotected| unprotected != charge.rho.is_none()) {
            return Err(JournalRefusal::Mixed { federation, round });
        }
        if let Some(asked) = &charge.rho {
            let (cap, used) = (self.cap(&federation).clone(), account.spent());
            if &used + asked > cap {
                let (cap, asked) = (Cap::lifetime(cap), asked.clone());
                let source = Box::new(CapExceeded { cap, used, asked, frees: Frees::Never });
                return Err(JournalRefusal::OverCap { federation, round, source });
            }
        }
        self.kept.admit(charge).map_err(|source| JournalRefusal::OverCap {
            federation,
            round,
            source,
        })
    }

    fn check_restored(
        &self,
        federation: &FederationId,
        rounds: &[StatedRound],
    ) -> Result<(), JournalRefusal> {
        let ascending = rounds.windows(2).all(|pair| pair[0] < pair[1]);
        let first = rounds.first().map(|stated| stated.round);
        if ascending && first.is_none_or(|first| Some(first) > self.last_round(federation)) {
            return Ok(());
        }
        Err(JournalRefusal::RestoredOrder { federation: federation.clone() })
    }

    fn commit(&mut self, record: &Record) {
        match record {
            Record::Charged(charge) => {
                let account = self.accounts.entry(charge.federation.clone()).or_default();
                account.last = Some(charge.round);
                account.unprotected = Some(charge.rho.is_none());
                account.asked.insert(question(charge), charge.round);
                if let Some(rho) = &charge.rho {
                    account.spent = Some(&account.spent() + rho);
                }
                account.open.insert(charge.round, charge.clone());
                self.kept.charge(charge);
            }
            Record::Settled { federation, round, settlement } => {
                let Some(account) = self.accounts.get_mut(federation) else { return };
                let Some(charge) = account.open.remove(round) else { return };
                match settlement {
                    Settlement::Released { session, electorate, time_s } => {
                        let (session, electorate) = (*session, *electorate);
                        account.released.insert(*round, Departed { charge, session, electorate });
                        self.kept.end(federation, *round, Ended::Spent, *time_s);
                    }
                    Settlement::Refunded => {
                        account.give_back(&charge);
                        // What is given back needs no date.
                        self.kept.end(federation, *round, Ended::Refunded, 0);
                    }
                }
            }
            Record::Reopened(Reopened { federation, round, .. }) => {
                let Some(account) = self.accounts.get_mut(federation) else { return };
                let Some(departed) = account.released.remove(round) else { return };
                account.reopened.insert(*round);
                account.give_back(&departed.charge);
                self.kept.give_back(federation, *round);
            }
            Record::RosterVoted { federation, epoch, agents } => {
                self.accounts
                    .entry(federation.clone())
                    .or_default()
                    .remembered
                    .vote(*epoch, agents);
            }
            Record::CohortSeen { federation, epoch, round, cohort } => {
                let account = self.accounts.entry(federation.clone()).or_default();
                account.remembered.see(*epoch, *round, cohort);
            }
            Record::Restored { federation, rounds, witnesses, time_s } => {
                let account = self.accounts.entry(federation.clone()).or_default();
                account.restore(rounds);
                account.remembered.restore(rounds, witnesses);
                self.kept.restore(federation, rounds, *time_s);
            }
            Record::Interrupted { federation, time_s } => {
                let Some(account) = self.accounts.get_mut(federation) else { return };
                for round in std::mem::take(&mut account.open).into_keys() {
                    account.interrupted.insert(round);
                    self.kept.end(federation, round, Ended::Spent, *time_s);
                }
            }
            Record::Acknowledged { federation } => {
                self.accounts.entry(federation.clone()).or_default().remembered.acknowledge();
            }
            Record::HeadCosigned { federation, head } => {
                self.accounts.entry(federation.clone()).or_default().remembered.cosign(head);
            }
        }
    }
}

impl Account {
    /// Charges rounds of which the journal had lost its record, as if their vectors had left. One
    /// question may occur twice, where a round was asked again after an abort.
    fn restore(&mut self, rounds: &[StatedRound]) {
        for stated in rounds {
            self.last = self.last.max(Some(stated.round));
            self.unprotected = self.unprotected.or(Some(stated.cost.is_none()));
            self.asked.insert(stated.question, stated.round);
            if let Some(units) = stated.cost {
                self.spent = Some(&self.spent() + &cost_of_units(units));
            }
            self.restored.insert(stated.round);
        }
    }

    /// Nothing left the agent, or what left will never be unmasked: the same question may be asked
    /// again, under a higher round number.
    fn give_back(&mut self, charge: &Charge) {
        let question = question(charge);
        // Others may have stated a later round that asked the same; that one still counts.
        if self.asked.get(&question) == Some(&charge.round) {
            self.asked.remove(&question);
        }
        if let Some(rho) = &charge.rho {
            let rest = self.spent().as_rational() - rho.as_rational();
            // A charge is given back once and was added before, so the rest is never negative;
            // were it, the sum stays.
            self.spent = Rho::new(rest).ok().or_else(|| self.spent.take());
        }
    }
}

fn question(charge: &Charge) -> Question {
    chorale_plan::question(&charge.plan, &charge.model, charge.window)
}

#[cfg(test)]
mod tests;
