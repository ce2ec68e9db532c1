//! The agent's own account of what it gave: charged durably before anything leaves, and never
//! trusted to the coordinator.
//!
//! [`Journal`] is what the gate asks for. [`JournalState`] is the logic that a durable journal
//! runs its records through, before it writes one and when it reads them back.

use std::collections::{BTreeMap, BTreeSet};

use chorale_dp::{OverBudget, Rho};
use chorale_plan::cost_of_units;
use chorale_wire::{
    AgentId, Digest, Epoch, FederationId, RoundNumber, SessionId, SlotSet, VerifiedAbort,
    message::StatedRound,
};
use serde::{Deserialize, Serialize};

use crate::remembered::{Remembered, Restoration};

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
    /// The cost; `None` for a round without noise.
    pub rho: Option<Rho>,
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
    },
    /// The agent's administrator knows of the restoration and lets the agent go on.
    Acknowledged {
        /// The federation.
        federation: FederationId,
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
    /// The cost does not fit this agent's own cap.
    #[error(
        "federation {federation}: round {round} does not fit this agent's own cap; end the \
         federation or raise the cap in the agent's policy"
    )]
    OverCap {
        /// The federation.
        federation: FederationId,
        /// The round asked for.
        round: RoundNumber,
        /// The figures; nothing is held in reserve, what is charged counts as spent.
        #[source]
        source: Box<OverBudget>,
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
    /// Nothing charged; `cap` holds for each federation without one of its own.
    #[must_use]
    pub fn new(cap: Rho) -> Self {
        Self { cap, caps: BTreeMap::new(), accounts: BTreeMap::new() }
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
            Record::Acknowledged { federation } => match self.restoration(federation) {
                Some(_) => Ok(()),
                None => Err(JournalRefusal::NothingRestored { federation: federation.clone() }),
            },
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
            let (cap, spent) = (self.cap(&federation).clone(), account.spent());
            if &spent + asked > cap {
                let (asked, reserved) = (asked.clone(), Rho::zero());
                let source = Box::new(OverBudget { cap, spent, reserved, asked });
                return Err(JournalRefusal::OverCap { federation, round, source });
            }
        }
        Ok(())
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
            }
            Record::Settled { federation, round, settlement } => {
                let Some(account) = self.accounts.get_mut(federation) else { return };
                let Some(charge) = account.open.remove(round) else { return };
                match settlement {
                    Settlement::Released { session, electorate } => {
                        let (session, electorate) = (*session, *electorate);
                        account.released.insert(*round, Departed { charge, session, electorate });
                    }
                    Settlement::Refunded => account.give_back(&charge),
                }
            }
            Record::Reopened(Reopened { federation, round, .. }) => {
                let Some(account) = self.accounts.get_mut(federation) else { return };
                let Some(departed) = account.released.remove(round) else { return };
                account.reopened.insert(*round);
                account.give_back(&departed.charge);
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
            Record::Restored { federation, rounds, witnesses } => {
                let account = self.accounts.entry(federation.clone()).or_default();
                account.restore(rounds);
                account.remembered.restore(rounds, witnesses);
            }
            Record::Acknowledged { federation } => {
                self.accounts.entry(federation.clone()).or_default().remembered.acknowledge();
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
        self.asked.remove(&question(charge));
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_dp::Rational;
    use chorale_wire::{
        Electorate, Epoch, SecretKey, Signed, Slot, SlotSet, VoterSignature,
        message::{AbortCertificate, SurvivorVote, Vote},
    };
    use proptest::prelude::*;

    use super::*;

    fn rho(numerator: u64, denominator: u64) -> Rho {
        Rho::new(Rational::new(numerator, denominator).unwrap()).unwrap()
    }

    fn federation() -> FederationId {
        FederationId::new("test").unwrap()
    }

    fn charge(round: u64, cost: Rho) -> Charge {
        Charge {
            federation: federation(),
            round: RoundNumber(round),
            plan: Digest::plain(b"plan"),
            model: Digest::plain(&round.to_be_bytes()),
            window: 7,
            rho: Some(cost),
        }
    }

    fn charged(round: u64, cost: Rho) -> Record {
        Record::Charged(charge(round, cost))
    }

    /// The session of a round's vector, and the votes of the first `voters` of six agents on it.
    fn session(round: u64) -> SessionId {
        let digest = Digest::plain(b"");
        SessionId::new(Epoch(1), RoundNumber(round), &digest, &digest, &SlotSet::empty(6))
    }

    fn electorate(first: u8) -> Electorate {
        let keys = (0..6).map(|slot| SecretKey::from_seed(&[first + slot; 32]).public());
        Electorate::new(keys.collect(), 4).unwrap()
    }

    fn aborted(round: u64, first: u8) -> VerifiedAbort {
        let vote = |slot: u16| {
            let vote =
                SurvivorVote { session: session(round), slot: Slot(slot), vote: Vote::Abort };
            let key = SecretKey::from_seed(&[first + slot as u8; 32]);
            let signature = Signed::sign(&vote, &key).unwrap().signature();
            VoterSignature { slot: Slot(slot), signature }
        };
        let signatures = (0..4).map(vote).collect();
        let certificate = AbortCertificate { session: session(round), signatures };
        certificate.verify(&electorate(first)).unwrap()
    }

    fn released(round: u64) -> Record {
        let (session, electorate) = (session(round), electorate(1).digest());
        settled(round, Settlement::Released { session, electorate })
    }

    fn settled(round: u64, settlement: Settlement) -> Record {
        Record::Settled { federation: federation(), round: RoundNumber(round), settlement }
    }

    #[test]
    fn a_round_is_answered_once() {
        let mut state = JournalState::new(rho(10, 1));
        state.apply(&charged(3, rho(1, 1))).unwrap();
        for round in [3, 2] {
            let again = state.apply(&charged(round, rho(0, 1)));
            assert!(matches!(again, Err(JournalRefusal::Stale { last: RoundNumber(3), .. })));
        }
        // Giving the charge back does not give the number back.
        state.apply(&settled(3, Settlement::Refunded)).unwrap();
        assert!(matches!(state.apply(&charged(3, rho(1, 1))), Err(JournalRefusal::Stale { .. })));
        assert_eq!(state.last_round(&federation()), Some(RoundNumber(3)));
    }

    #[test]
    fn a_question_is_answered_once() {
        let mut state = JournalState::new(rho(10, 1));
        state.apply(&charged(1, rho(1, 1))).unwrap();
        let same = Charge { round: RoundNumber(2), ..charge(1, rho(1, 1)) };
        let refused = state.apply(&Record::Charged(same.clone()));
        assert!(matches!(refused, Err(JournalRefusal::Repeated { before: RoundNumber(1), .. })));
        // Another window, model or plan is another question.
        for (round, other) in [
            (2, Charge { window: 8, ..same.clone() }),
            (3, Charge { model: Digest::plain(b"other"), ..same.clone() }),
            (4, Charge { plan: Digest::plain(b"other"), ..same.clone() }),
        ] {
            state.apply(&Record::Charged(Charge { round: RoundNumber(round), ..other })).unwrap();
        }
        // After the vector left, never again; after a refund, once more.
        state.apply(&released(1)).unwrap();
        let later = Record::Charged(Charge { round: RoundNumber(5), ..same.clone() });
        assert!(matches!(state.apply(&later), Err(JournalRefusal::Repeated { .. })));
        state.apply(&settled(2, Settlement::Refunded)).unwrap();
        let again = Charge { round: RoundNumber(6), window: 8, ..same };
        state.apply(&Record::Charged(again)).unwrap();
    }

    #[test]
    fn the_cap_is_exact_at_the_boundary() {
        let mut state = JournalState::new(rho(3, 10));
        state.apply(&charged(1, rho(1, 10))).unwrap();
        let trace = Rho::new(Rational::power_of_half(4000)).unwrap();
        let over = charged(2, &rho(2, 10) + &trace);
        assert!(matches!(state.apply(&over), Err(JournalRefusal::OverCap { .. })));
        assert_eq!(state.spent(&federation()), rho(1, 10));
        // The refused number was not used up, and in floats 0.1 + 0.2 would exceed 0.3.
        state.apply(&charged(2, rho(2, 10))).unwrap();
        assert!(matches!(state.apply(&charged(3, trace)), Err(JournalRefusal::OverCap { .. })));
        state.apply(&charged(3, rho(0, 1))).unwrap();

        // Caps and accounts are each federation's own.
        let other = FederationId::new("other").unwrap();
        state.set_cap(other.clone(), rho(1, 10));
        let elsewhere =
            |cost| Record::Charged(Charge { federation: other.clone(), ..charge(1, cost) });
        assert!(matches!(state.apply(&elsewhere(rho(2, 10))), Err(JournalRefusal::OverCap { .. })));
        state.apply(&elsewhere(rho(1, 10))).unwrap();
    }

    #[test]
    fn nothing_is_given_back_after_a_vector_left() {
        let mut state = JournalState::new(rho(1, 1));
        state.apply(&charged(1, rho(1, 2))).unwrap();
        state.apply(&released(1)).unwrap();
        for again in [settled(1, Settlement::Refunded), released(1)] {
            let late = state.apply(&again);
            assert!(matches!(late, Err(JournalRefusal::NotOpen { .. })));
        }
        assert_eq!((state.spent(&federation()), state.released(&federation())), (rho(1, 2), 1));
        // An unsettled charge counts, and may still be given back, once.
        state.apply(&charged(2, rho(1, 2))).unwrap();
        assert_eq!(state.spent(&federation()), rho(1, 1));
        assert_eq!(state.open().count(), 1);
        state.apply(&settled(2, Settlement::Refunded)).unwrap();
        assert!(state.apply(&settled(2, Settlement::Refunded)).is_err());
        assert_eq!(state.spent(&federation()), rho(1, 2));
        assert!(state.apply(&settled(9, Settlement::Refunded)).is_err());
    }

    #[test]
    fn an_abort_certificate_gives_a_released_round_back_once() {
        let mut state = JournalState::new(rho(1, 1));
        state.apply(&charged(1, rho(1, 2))).unwrap();
        state.apply(&released(1)).unwrap();
        let record = Record::from(state.reopening(&federation(), &aborted(1, 1)).unwrap());
        state.apply(&record).unwrap();
        assert_eq!((state.spent(&federation()), state.released(&federation())), (rho(0, 1), 1));
        assert!(matches!(state.apply(&record), Err(JournalRefusal::NotReleased { .. })));
        let again = state.reopening(&federation(), &aborted(1, 1));
        assert!(matches!(again, Err(JournalRefusal::NotReleased { .. })));
        // The question may be asked again, under a new number only.
        assert!(matches!(state.apply(&charged(1, rho(1, 2))), Err(JournalRefusal::Stale { .. })));
        let same = Charge { round: RoundNumber(2), ..charge(1, rho(1, 2)) };
        state.apply(&Record::Charged(same.clone())).unwrap();
        state.apply(&released(2)).unwrap();
        // The certificate of the first attempt says nothing about the second.
        assert!(state.reopening(&federation(), &aborted(1, 1)).is_err());
        assert_eq!(state.spent(&federation()), rho(1, 2));
    }

    #[test]
    fn differencing_by_re_running_an_aborted_round_is_refused() {
        let mut state = JournalState::new(rho(10, 1));
        state.apply(&charged(1, rho(1, 2))).unwrap();
        state.apply(&released(1)).unwrap();
        let again = Record::Charged(Charge { round: RoundNumber(2), ..charge(1, rho(1, 2)) });
        let refused = |state: &mut JournalState| {
            let answer = state.apply(&again);
            assert!(matches!(answer, Err(JournalRefusal::Repeated { before: RoundNumber(1), .. })));
            assert_eq!(state.spent(&federation()), rho(1, 2));
        };
        refused(&mut state);
        // Votes about another session, or of others than those who could vote in this one.
        for proof in [aborted(2, 1), aborted(1, 100)] {
            let record = state.reopening(&federation(), &proof);
            assert!(matches!(record, Err(JournalRefusal::NotReleased { .. })));
            refused(&mut state);
        }
        let elsewhere = FederationId::new("other").unwrap();
        assert!(state.reopening(&elsewhere, &aborted(1, 1)).is_err());
        // A record that was made for another round or session does not fit.
        let made = state.reopening(&federation(), &aborted(1, 1)).unwrap();
        let bent = Record::Reopened(Reopened { session: session(2), ..made.clone() });
        assert!(matches!(state.apply(&bent), Err(JournalRefusal::NotReleased { .. })));
        state.apply(&made.into()).unwrap();
        state.apply(&again).unwrap();
    }

    #[test]
    fn an_open_charge_is_not_given_back_by_certificate() {
        let mut state = JournalState::new(rho(1, 1));
        state.apply(&charged(1, rho(1, 2))).unwrap();
        assert!(state.reopening(&federation(), &aborted(1, 1)).is_err());
        // It needs none: nothing left.
        state.apply(&settled(1, Settlement::Refunded)).unwrap();
        assert!(state.reopening(&federation(), &aborted(1, 1)).is_err());
        assert_eq!(state.spent(&federation()), Rho::zero());
    }

    #[test]
    fn a_federation_has_noise_always_or_never() {
        let bare = |round| Record::Charged(Charge { rho: None, ..charge(round, Rho::zero()) });
        let mut state = JournalState::new(rho(0, 1));
        state.apply(&bare(1)).unwrap();
        let mixed = state.apply(&charged(2, rho(0, 1)));
        assert!(matches!(mixed, Err(JournalRefusal::Mixed { .. })));
        assert!(matches!(state.apply(&bare(1)), Err(JournalRefusal::Stale { .. })));
        assert_eq!(state.spent(&federation()), Rho::zero());
    }

    #[test]
    fn a_lowered_cap_does_not_forget_what_was_spent() {
        let records = [charged(1, rho(1, 1)), released(1)];
        let mut state = JournalState::new(rho(1, 2));
        state.replay(&records).unwrap();
        assert_eq!(state.spent(&federation()), rho(1, 1));
        assert!(matches!(state.apply(&charged(2, rho(0, 1))), Err(JournalRefusal::OverCap { .. })));
        // Records in an order that was never written are refused.
        let mut state = JournalState::new(rho(1, 1));
        assert!(state.replay(&[released(1)]).is_err());
    }

    fn stated(round: u64, cost: Rho) -> StatedRound {
        let question = question(&charge(round, Rho::zero()));
        let cost = Some(chorale_plan::cost_units(&cost));
        StatedRound { round: RoundNumber(round), question, cost }
    }

    fn restored(rounds: Vec<StatedRound>) -> Record {
        let witnesses = vec![AgentId::new("store-01").unwrap()];
        Record::Restored { federation: federation(), rounds, witnesses }
    }

    fn voted(epoch: u64) -> Record {
        let agents = ["store-00", "store-01"].map(|name| AgentId::new(name).unwrap()).to_vec();
        Record::RosterVoted { federation: federation(), epoch: Epoch(epoch), agents }
    }

    fn seen(epoch: u64, agents: usize) -> Record {
        Record::CohortSeen {
            federation: federation(),
            epoch: Epoch(epoch),
            round: stated(5, rho(1, 1)),
            cohort: SlotSet::from_slots(agents, [Slot(0)]),
        }
    }

    #[test]
    fn a_restored_backup_is_charged_and_stops_the_agent_until_acknowledged() {
        let mut state = JournalState::new(rho(3, 1));
        state.apply(&charged(1, rho(1, 2))).unwrap();
        state.apply(&released(1)).unwrap();
        state.apply(&restored(vec![stated(2, rho(1, 2)), stated(4, rho(1, 1))])).unwrap();
        assert_eq!(state.spent(&federation()), rho(2, 1));
        assert_eq!(state.last_round(&federation()), Some(RoundNumber(4)));
        let refused = state.apply(&charged(5, rho(1, 8)));
        assert!(matches!(refused, Err(JournalRefusal::Unacknowledged { witnesses: 1, .. })));
        // Statements that come in parts add up.
        state.apply(&restored(vec![stated(6, rho(1, 2))])).unwrap();
        assert_eq!(state.restoration(&federation()).unwrap().rounds.len(), 3);
        let acknowledged = Record::Acknowledged { federation: federation() };
        state.apply(&acknowledged).unwrap();
        let again = state.apply(&acknowledged);
        assert!(matches!(again, Err(JournalRefusal::NothingRestored { .. })));
        // Numbers, questions and budget stay as the others stated them.
        assert!(matches!(state.apply(&charged(6, rho(0, 1))), Err(JournalRefusal::Stale { .. })));
        let repeated = Charge { round: RoundNumber(7), ..charge(4, rho(1, 8)) };
        assert!(matches!(
            state.apply(&Record::Charged(repeated)),
            Err(JournalRefusal::Repeated { before: RoundNumber(4), .. })
        ));
        assert!(matches!(state.apply(&charged(7, rho(1, 1))), Err(JournalRefusal::OverCap { .. })));
        state.apply(&charged(7, rho(1, 2))).unwrap();
        // Nothing that was restored can be given back, and nothing known is restored.
        assert!(state.apply(&settled(4, Settlement::Refunded)).is_err());
        for rounds in [vec![stated(7, rho(0, 1))], vec![stated(9, rho(0, 1)), stated(8, rho(0, 1))]]
        {
            let out_of_order = state.apply(&restored(rounds));
            assert!(matches!(out_of_order, Err(JournalRefusal::RestoredOrder { .. })));
        }
    }

    #[test]
    fn an_epoch_number_has_one_roster() {
        let mut state = JournalState::new(rho(1, 1));
        assert!(matches!(state.apply(&seen(3, 2)), Err(JournalRefusal::UnknownRoster { .. })));
        state.apply(&voted(3)).unwrap();
        for epoch in [3, 2] {
            let again = state.apply(&voted(epoch));
            assert!(matches!(again, Err(JournalRefusal::EpochVoted { last: Epoch(3), .. })));
        }
        assert!(matches!(state.apply(&seen(3, 3)), Err(JournalRefusal::UnknownRoster { .. })));
        state.apply(&seen(3, 2)).unwrap();
        state.apply(&voted(4)).unwrap();
        assert_eq!(state.last_epoch(&federation()), Some(Epoch(4)));
        assert_eq!(state.rosters(&federation()).count(), 2);
        let cohorts: Vec<_> = state.cohorts(&federation(), Epoch(3)).collect();
        assert_eq!((cohorts.len(), cohorts[0].1.len()), (1, 1));
        assert_eq!(state.cohorts(&federation(), Epoch(4)).count(), 0);
        // What is only remembered costs nothing and names no round of this agent's own.
        assert_eq!(state.spent(&federation()), Rho::zero());
        assert_eq!(state.last_round(&federation()), None);
    }

    #[test]
    fn records_survive_the_codec() {
        let reopened =
            Reopened { federation: federation(), round: RoundNumber(1), session: session(1) };
        for record in [
            charged(1, rho(1, 3)),
            settled(1, Settlement::Refunded),
            released(1),
            reopened.into(),
            voted(1),
            seen(1, 2),
            restored(vec![stated(9, rho(1, 3))]),
            Record::Acknowledged { federation: federation() },
        ] {
            let bytes = chorale_wire::codec::encode(&record, 1 << 12).unwrap();
            let back: Record = chorale_wire::codec::decode(&bytes, 1 << 12).unwrap();
            assert_eq!(back, record);
        }
    }

    proptest! {
        /// In any order of requests: the sum of what stands never exceeds the cap, refusals
        /// change nothing, and replaying what was written gives the same state.
        #[test]
        fn the_invariants_hold_in_any_order(
            steps in proptest::collection::vec((0u64..12, 0u64..40, 0u8..4), 0..60),
        ) {
            let mut state = JournalState::new(rho(100, 3));
            let mut written = Vec::new();
            let mut standing: BTreeMap<u64, u64> = BTreeMap::new();
            for (round, cost, kind) in steps {
                let record = match kind {
                    0 => charged(round, rho(cost, 3)),
                    1 => released(round),
                    2 => settled(round, Settlement::Refunded),
                    _ => match state.reopening(&federation(), &aborted(round, 1)) {
                        Ok(reopened) => reopened.into(),
                        Err(_) => continue,
                    },
                };
                let before = state.clone();
                if state.apply(&record).is_ok() {
                    match kind {
                        0 => { standing.insert(round, cost); }
                        1 => {}
                        _ => { standing.remove(&round); }
                    }
                    written.push(record);
                } else {
                    prop_assert_eq!(&state, &before);
                }
                prop_assert_eq!(state.spent(&federation()), rho(standing.values().sum(), 3));
                prop_assert!(state.spent(&federation()) <= rho(100, 3));
            }
            let mut again = JournalState::new(rho(100, 3));
            again.replay(&written).unwrap();
            prop_assert_eq!(again, state);
        }
    }
}
