//! The durable journal behind the gate: what this agent gave to each federation.
//!
//! Every record is one redb transaction that returns only when the disk has it
//! (`Durability::Immediate`), so that a killed process finds each charge again and answers no
//! round twice. The rules are `chorale_gate`'s; this module writes and reads. It holds public
//! figures only (digests, round numbers, costs), therefore it is not sealed: an auditor may read
//! it. The file stays open while the agent runs, so that no two agents share one budget.

use std::path::{Path, PathBuf};

use chorale_dp::{Frees, Rho};
use chorale_gate::{AgentCaps, Charge, Journal, JournalRefusal, JournalState, Record, Settlement};
use chorale_round::{
    WitnessBook,
    agent::{Behind, Fact, Memory},
};
use chorale_wire::{
    Epoch, FederationId, RoundNumber, VerifiedAbort, codec, limits::AGENTS_MAX,
    message::StatedRound,
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::{error::Explain, keys::create_private_dir};

/// The journal of one agent, in a redb file.
pub struct RedbJournal {
    path: PathBuf,
    database: Database,
    state: JournalState,
    /// Number of records on disk; the next one's key.
    length: u64,
    /// Set when a write failed half-way: what the disk holds is then unknown.
    broken: bool,
}

/// Why the journal refuses or fails. Whatever it is, nothing may be released.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Against the rules; nothing was written.
    #[error(transparent)]
    Refused(#[from] JournalRefusal),
    /// The directory cannot be made.
    #[error("the journal's directory cannot be made")]
    Directory {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the journal open.
    #[error("another agent is running on this journal")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be opened, read or written.
    #[error("the journal cannot be {doing}")]
    Database {
        /// The file.
        path: PathBuf,
        /// `opened`, `read` or `written`.
        doing: &'static str,
        /// What the database says.
        #[source]
        source: Box<redb::Error>,
    },
    /// Records are missing or cannot be read: the file was changed by something else.
    #[error("the journal is damaged at record {record}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The record, counted from 0.
        record: u64,
    },
    /// The records contradict each other: the file was changed by something else.
    #[error("the journal holds records that cannot follow each other")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// Which rule they break.
        #[source]
        source: JournalRefusal,
    },
    /// An earlier write failed.
    #[error("an earlier write to the journal failed, so this agent stops answering")]
    Broken {
        /// The file.
        path: PathBuf,
    },
}

const RECORDS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records");

/// Longest record in bytes: the names of the largest roster.
const RECORD_BYTES_MAX: usize = 1024 + 66 * AGENTS_MAX;

/// Most rounds that are restored by one record.
const RESTORED_ROUNDS_MAX: usize = 512;

impl RedbJournal {
    /// Opens the journal in `dir`, makes it where there is none, and replays it under `caps`.
    ///
    /// # Errors
    /// [`JournalError`] when the file is in use, unreadable or was changed by something else.
    pub fn open(dir: &Path, caps: impl Into<AgentCaps>) -> Result<Self, JournalError> {
        let path = dir.join("journal.redb");
        create_private_dir(dir)
            .map_err(|source| JournalError::Directory { path: path.clone(), source })?;
        let database = Database::create(&path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => JournalError::InUse { path: path.clone() },
            other => failed(&path, "opened", other),
        })?;
        let records = read(&database, &path)?;
        let mut state = JournalState::new(caps);
        state
            .replay(&records)
            .map_err(|source| JournalError::Contradiction { path: path.clone(), source })?;
        Ok(Self { path, database, state, length: records.len() as u64, broken: false })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was given to whom, for reports.
    #[must_use]
    pub fn state(&self) -> &JournalState {
        &self.state
    }

    /// The highest round ever charged in a federation; none up to it is answered again.
    ///
    /// # Errors
    /// [`JournalError::Broken`] after a failed write.
    pub fn last_round(
        &self,
        federation: &FederationId,
    ) -> Result<Option<RoundNumber>, JournalError> {
        self.check_whole()?;
        Ok(self.state.last_round(federation))
    }

    /// The highest epoch ever voted in; no other roster is signed for it or for one below.
    ///
    /// # Errors
    /// [`JournalError::Broken`] after a failed write.
    pub fn last_epoch(&self, federation: &FederationId) -> Result<Option<Epoch>, JournalError> {
        self.check_whole()?;
        Ok(self.state.last_epoch(federation))
    }

    /// What the round machine starts with: the highest numbers, and what was seen of others.
    ///
    /// # Errors
    /// [`JournalError::Broken`] after a failed write.
    pub fn memory(&self, federation: &FederationId) -> Result<Memory, JournalError> {
        let (epoch, round) = (self.last_epoch(federation)?, self.last_round(federation)?);
        let mut book = WitnessBook::new();
        for (epoch, agents) in self.state.rosters(federation) {
            book.vote(epoch, agents.iter().cloned());
            for (round, cohort) in self.state.cohorts(federation, epoch) {
                book.see(epoch, round, cohort.clone());
            }
        }
        let last_head = self.state.last_head(federation).copied();
        Ok(Memory::new(epoch, round).with_book(book).with_last_head(last_head))
    }

    /// Stores what must be on the disk before the round machine's next action is carried out.
    ///
    /// # Errors
    /// [`JournalError`]: that action must not be carried out.
    pub fn remember(&mut self, federation: &FederationId, fact: Fact) -> Result<(), JournalError> {
        let federation = federation.clone();
        self.append(&match fact {
            Fact::RosterVoted { epoch, agents } => {
                Record::RosterVoted { federation, epoch, agents }
            }
            Fact::CohortSeen { epoch, round, cohort } => {
                Record::CohortSeen { federation, epoch, round, cohort }
            }
            Fact::HeadCosigned { head } => Record::HeadCosigned { federation, head },
        })
    }

    /// A new run begins: charges that the one before it left open stand, and move through the
    /// windows from `now_s` (Unix seconds) on. Their number is returned.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn begin_run(&mut self, now_s: u64) -> Result<usize, JournalError> {
        let mut open: Vec<FederationId> =
            self.state.open().map(|charge| charge.federation.clone()).collect();
        let count = open.len();
        open.dedup();
        for federation in open {
            self.append(&Record::Interrupted { federation, time_s: now_s })?;
        }
        Ok(count)
    }

    /// Charges what this journal had lost, as other agents stated it, dated `now_s` (Unix seconds).
    /// No round is charged from now on until [`Self::acknowledge`].
    ///
    /// # Errors
    /// [`JournalError`]; what is stored of it by then stands, and the next epoch's votes say the
    /// rest.
    pub fn restore(
        &mut self,
        federation: &FederationId,
        behind: &Behind,
        now_s: u64,
    ) -> Result<(), JournalError> {
        let witnesses = behind.witnesses.clone();
        let record = |rounds: &[StatedRound]| Record::Restored {
            federation: federation.clone(),
            rounds: rounds.to_vec(),
            witnesses: witnesses.clone(),
            time_s: now_s,
        };
        if behind.rounds.is_empty() {
            return self.append(&record(&[]));
        }
        behind.rounds.chunks(RESTORED_ROUNDS_MAX).try_for_each(|part| self.append(&record(part)))
    }

    /// The agent's administrator knows that this journal was an old one and lets the agent go on,
    /// with the budget as the others stated it.
    ///
    /// # Errors
    /// [`JournalError::Refused`] when there is nothing to acknowledge.
    pub fn acknowledge(&mut self, federation: &FederationId) -> Result<(), JournalError> {
        self.append(&Record::Acknowledged { federation: federation.clone() })
    }

    fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.check_whole()?;
        self.state.check(record)?;
        // Until the disk has confirmed, assume the worst.
        self.broken = true;
        self.write(record)?;
        self.length += 1;
        self.state.apply(record)?;
        self.broken = false;
        Ok(())
    }

    fn write(&self, record: &Record) -> Result<(), JournalError> {
        let bytes = codec::encode(record, RECORD_BYTES_MAX)
            .map_err(|_| JournalError::Damaged { path: self.path.clone(), record: self.length })?;
        let written = |error: redb::Error| failed(&self.path, "written", error);
        let mut transaction = self.database.begin_write().map_err(|e| written(e.into()))?;
        transaction.set_durability(Durability::Immediate).map_err(|e| written(e.into()))?;
        {
            let mut table = transaction.open_table(RECORDS).map_err(|e| written(e.into()))?;
            table.insert(self.length, bytes.as_slice()).map_err(|e| written(e.into()))?;
        }
        transaction.commit().map_err(|e| written(e.into()))
    }

    fn check_whole(&self) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken { path: self.path.clone() });
        }
        Ok(())
    }
}

impl Journal for RedbJournal {
    type Error = JournalError;

    fn charge(&mut self, charge: &Charge) -> Result<(), JournalError> {
        self.append(&Record::Charged(charge.clone()))
    }

    fn settle(
        &mut self,
        federation: &FederationId,
        round: RoundNumber,
        settlement: Settlement,
    ) -> Result<(), JournalError> {
        self.append(&Record::Settled { federation: federation.clone(), round, settlement })
    }

    fn reopen(
        &mut self,
        federation: &FederationId,
        abort: &VerifiedAbort,
    ) -> Result<RoundNumber, JournalError> {
        let reopened = self.state.reopening(federation, abort)?;
        let round = reopened.round();
        self.append(&reopened.into())?;
        Ok(round)
    }

    fn spent(&self, federation: &FederationId) -> Result<Rho, JournalError> {
        self.check_whole()?;
        Ok(self.state.spent(federation))
    }
}

impl Explain for JournalError {
    fn place(&self) -> String {
        match self {
            Self::Refused(_) => "this agent's journal".into(),
            Self::Directory { path, .. }
            | Self::InUse { path }
            | Self::Database { path, .. }
            | Self::Damaged { path, .. }
            | Self::Contradiction { path, .. }
            | Self::Broken { path } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Refused(JournalRefusal::OverCap { source, .. })
                if matches!(source.frees, Frees::At(_) | Frees::WhenRoundsEnd) =>
            {
                "nothing: this store takes part again when the window of its policy has room".into()
            }
            Self::Refused(JournalRefusal::OverCap { .. }) => {
                "the budget of this store's policy is used up: end the federation, or decide on a \
                 larger epsilon_max"
                    .into()
            }
            Self::Refused(JournalRefusal::Unacknowledged { .. }) => ACKNOWLEDGE.into(),
            Self::Refused(JournalRefusal::NothingRestored { .. }) => {
                "nothing: no other agent ever saw more than this journal holds".into()
            }
            Self::Refused(_) => {
                "nothing at this store; the coordinator asked what it may not".into()
            }
            Self::InUse { .. } => "stop the other agent, or give this one its own data_dir".into(),
            Self::Directory { .. } | Self::Database { .. } | Self::Broken { .. } => {
                "check that the disk is not full and not failing, then start the agent again".into()
            }
            Self::Damaged { .. } | Self::Contradiction { .. } => {
                "never delete it: that would forget what was given. Restore the newest backup, or \
                 enrol under a new name in a new federation"
                    .into()
            }
        }
    }
}

/// What to do about a journal that was an old one.
pub(crate) const ACKNOWLEDGE: &str = "find out why the data folder is an old one, read the events and the erasures since then \
     again, then stop the agent, run `client-agent journal acknowledge` and start it again";

/// All records in order, without a gap.
fn read(database: &Database, path: &Path) -> Result<Vec<Record>, JournalError> {
    let unreadable = |error: redb::Error| failed(path, "read", error);
    let transaction = database.begin_read().map_err(|e| unreadable(e.into()))?;
    let table = match transaction.open_table(RECORDS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error.into())),
    };
    let mut records = Vec::new();
    for entry in table.iter().map_err(|e| unreadable(e.into()))? {
        let (key, bytes) = entry.map_err(|e| unreadable(e.into()))?;
        let record = records.len() as u64;
        let damaged = || JournalError::Damaged { path: path.into(), record };
        if key.value() != record {
            return Err(damaged());
        }
        records.push(codec::decode(bytes.value(), RECORD_BYTES_MAX).map_err(|_| damaged())?);
    }
    Ok(records)
}

fn failed(path: &Path, doing: &'static str, error: impl Into<redb::Error>) -> JournalError {
    JournalError::Database { path: path.into(), doing, source: Box::new(error.into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_dp::Rational;
    use chorale_wire::{
        AgentId, Digest, Electorate, SecretKey, SessionId, Signed, Slot, SlotSet, VoterSignature,
        message::{AbortCertificate, SurvivorVote, Vote},
    };

    use super::*;

    fn rho(tenths: u64) -> Rho {
        Rho::new(Rational::new(tenths, 10u64).unwrap()).unwrap()
    }

    fn federation() -> FederationId {
        FederationId::new("demo").unwrap()
    }

    fn charge(round: u64, tenths: u64) -> Charge {
        Charge {
            federation: federation(),
            round: RoundNumber(round),
            plan: Digest::plain(b"plan"),
            model: Digest::plain(&round.to_be_bytes()),
            window: 7,
            task: "popularity".into(),
            time_s: round,
            rho: Some(rho(tenths)),
        }
    }

    fn session(round: u64) -> SessionId {
        let digest = Digest::plain(b"");
        SessionId::new(Epoch(1), RoundNumber(round), &digest, &digest, &SlotSet::empty(4))
    }

    fn key(slot: u8) -> SecretKey {
        SecretKey::from_seed(&[slot + 1; 32])
    }

    fn electorate() -> Electorate {
        Electorate::new((0..4).map(|slot| key(slot).public()).collect(), 3).unwrap()
    }

    fn released(round: u64) -> Settlement {
        let electorate = electorate().digest();
        Settlement::Released { session: session(round), electorate, time_s: round }
    }

    /// Three of four agents voted to abort the round's session.
    fn aborted(round: u64) -> VerifiedAbort {
        let vote = |slot: u8| {
            let slot_number = Slot(u16::from(slot));
            let session = session(round);
            let vote = SurvivorVote { session, slot: slot_number, vote: Vote::Abort };
            let signature = Signed::sign(&vote, &key(slot)).unwrap().signature();
            VoterSignature { slot: slot_number, signature }
        };
        let signatures = (0..3).map(vote).collect();
        let certificate = AbortCertificate { session: session(round), signatures };
        certificate.verify(&electorate()).unwrap()
    }

    #[test]
    fn a_released_round_is_given_back_on_proof_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = RedbJournal::open(dir.path(), rho(5)).unwrap();
        journal.charge(&charge(1, 2)).unwrap();
        journal.settle(&federation(), RoundNumber(1), released(1)).unwrap();
        drop(journal);
        let mut journal = RedbJournal::open(dir.path(), rho(5)).unwrap();
        let foreign = journal.reopen(&federation(), &aborted(2)).unwrap_err();
        assert!(matches!(foreign, JournalError::Refused(JournalRefusal::NotReleased { .. })));
        assert_eq!(journal.spent(&federation()).unwrap(), rho(2));
        assert_eq!(journal.reopen(&federation(), &aborted(1)).unwrap(), RoundNumber(1));
        assert!(journal.reopen(&federation(), &aborted(1)).is_err());
        drop(journal);
        let mut journal = RedbJournal::open(dir.path(), rho(5)).unwrap();
        assert_eq!(journal.spent(&federation()).unwrap(), rho(0));
        let again = Charge { round: RoundNumber(2), ..charge(1, 2) };
        journal.charge(&again).unwrap();
    }

    #[test]
    fn charges_survive_and_repeats_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = RedbJournal::open(dir.path(), rho(5)).unwrap();
        assert_eq!(journal.last_round(&federation()).unwrap(), None);
        journal.charge(&charge(1, 2)).unwrap();
        journal.settle(&federation(), RoundNumber(1), released(1)).unwrap();
        journal.charge(&charge(2, 2)).unwrap();
        journal.settle(&federation(), RoundNumber(2), Settlement::Refunded).unwrap();
        drop(journal);
        let mut journal = RedbJournal::open(dir.path(), rho(5)).unwrap();
        assert_eq!(journal.spent(&federation()).unwrap(), rho(2));
        assert_eq!(journal.last_round(&federation()).unwrap(), Some(RoundNumber(2)));
        for again in [charge(1, 0), charge(2, 0)] {
            assert!(matches!(
                journal.charge(&again),
                Err(JournalError::Refused(JournalRefusal::Stale { .. }))
            ));
        }
        let same_question = Charge { round: RoundNumber(3), ..charge(1, 1) };
        assert!(matches!(
            journal.charge(&same_question),
            Err(JournalError::Refused(JournalRefusal::Repeated { .. }))
        ));
        let error = journal.charge(&charge(3, 4)).unwrap_err();
        assert!(matches!(error, JournalError::Refused(JournalRefusal::OverCap { .. })));
        assert!(error.remedy().contains("epsilon_max"));
        // A refusal breaks nothing.
        journal.charge(&charge(3, 3)).unwrap();
        assert_eq!(journal.spent(&federation()).unwrap(), rho(5));
    }

    fn stated(round: u64, tenths: u64) -> StatedRound {
        let charge = charge(round, tenths);
        StatedRound {
            round: charge.round,
            question: chorale_plan::question(&charge.plan, &charge.model, charge.window),
            cost: Some(chorale_plan::cost_units(&rho(tenths))),
        }
    }

    fn agents() -> Vec<AgentId> {
        ["store-1", "store-2"].map(|name| AgentId::new(name).unwrap()).to_vec()
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, JournalError>) -> JournalRefusal {
        match result {
            Err(JournalError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// The file is copied away, two rounds are answered, and the copy is put back.
    #[test]
    fn a_restored_backup_is_repaired_from_what_others_saw() {
        let dir = tempfile::tempdir().unwrap();
        let (path, backup) = (dir.path().join("journal.redb"), dir.path().join("backup"));
        let open = || RedbJournal::open(dir.path(), rho(9)).unwrap();
        let mut journal = open();
        journal.charge(&charge(1, 1)).unwrap();
        drop(journal);
        std::fs::copy(&path, &backup).unwrap();
        let mut journal = open();
        for round in [2, 3] {
            journal.charge(&charge(round, 3)).unwrap();
            journal.settle(&federation(), RoundNumber(round), released(round)).unwrap();
        }
        let spent = journal.spent(&federation()).unwrap();
        drop(journal);
        std::fs::copy(&backup, &path).unwrap();

        let mut journal = open();
        assert_eq!(journal.last_round(&federation()).unwrap(), Some(RoundNumber(1)));
        let behind = Behind {
            epoch: Epoch(2),
            rounds: vec![stated(2, 3), stated(3, 3)],
            more: false,
            witnesses: agents(),
        };
        journal.restore(&federation(), &behind, 9).unwrap();
        // Also over another restart: no round is charged until somebody has looked.
        for _ in 0..2 {
            drop(journal);
            journal = open();
            assert!(journal.spent(&federation()).unwrap() >= spent);
            let refused = refusal(journal.charge(&charge(4, 0)));
            assert!(matches!(refused, JournalRefusal::Unacknowledged { witnesses: 2, .. }));
        }
        journal.acknowledge(&federation()).unwrap();
        let again = Charge { round: RoundNumber(4), ..charge(3, 0) };
        assert!(matches!(refusal(journal.charge(&again)), JournalRefusal::Repeated { .. }));
        assert!(matches!(refusal(journal.charge(&charge(3, 0))), JournalRefusal::Stale { .. }));
        assert!(matches!(refusal(journal.charge(&charge(4, 3))), JournalRefusal::OverCap { .. }));
        journal.charge(&charge(4, 1)).unwrap();
        assert!(matches!(
            refusal(journal.acknowledge(&federation())),
            JournalRefusal::NothingRestored { .. }
        ));
    }

    #[test]
    fn many_restored_rounds_take_several_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = RedbJournal::open(dir.path(), rho(9)).unwrap();
        let rounds = (1..=RESTORED_ROUNDS_MAX as u64 + 1).map(|round| stated(round, 0)).collect();
        let behind = Behind { epoch: Epoch(2), rounds, more: true, witnesses: agents() };
        journal.restore(&federation(), &behind, 9).unwrap();
        assert_eq!(journal.length, 2);
        // Where nothing fits into the votes, the journal still says that it is an old one.
        let nothing = Behind { rounds: Vec::new(), ..behind };
        journal.restore(&federation(), &nothing, 9).unwrap();
        assert_eq!(journal.state.restoration(&federation()).unwrap().rounds.len(), 513);
    }

    #[test]
    fn epochs_and_cohorts_survive_and_an_epoch_is_voted_in_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = RedbJournal::open(dir.path(), rho(9)).unwrap();
        let vote = Fact::RosterVoted { epoch: Epoch(7), agents: agents() };
        let cohort = SlotSet::from_slots(2, [Slot(0), Slot(1)]);
        let seen = Fact::CohortSeen { epoch: Epoch(7), round: stated(3, 1), cohort };
        journal.remember(&federation(), vote.clone()).unwrap();
        journal.remember(&federation(), seen.clone()).unwrap();
        drop(journal);
        let mut journal = RedbJournal::open(dir.path(), rho(9)).unwrap();
        assert_eq!(journal.last_epoch(&federation()).unwrap(), Some(Epoch(7)));
        assert_eq!(journal.memory(&federation()).unwrap().book().len(), 1);
        let again = refusal(journal.remember(&federation(), vote));
        assert!(matches!(again, JournalRefusal::EpochVoted { last: Epoch(7), .. }));
        let other = FederationId::new("other").unwrap();
        let unknown = refusal(journal.remember(&other, seen));
        assert!(matches!(unknown, JournalRefusal::UnknownRoster { .. }));
    }

    #[test]
    fn the_largest_roster_fits_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = RedbJournal::open(dir.path(), rho(9)).unwrap();
        let name = |number| AgentId::new(format!("{number:064}")).unwrap();
        let agents = (0..AGENTS_MAX).map(name).collect();
        journal.remember(&federation(), Fact::RosterVoted { epoch: Epoch(1), agents }).unwrap();
    }

    /// What a killed run left open stands, dates itself at the next start, and only once.
    #[test]
    fn what_a_killed_run_left_open_stands_and_leaves_its_window() {
        use chorale_dp::{Cap, DAY_S};
        use chorale_gate::AgentCap;
        let dir = tempfile::tempdir().unwrap();
        let cap = Cap { name: "day".into(), tasks: Vec::new(), days: Some(1), rho: rho(3) };
        let others = vec![AgentCap { cap, across_federations: true }];
        let caps = AgentCaps { lifetime: rho(9), others };
        let open = |now_s| {
            let mut journal = RedbJournal::open(dir.path(), caps.clone()).unwrap();
            let interrupted = journal.begin_run(now_s).unwrap();
            (journal, interrupted)
        };
        let (mut journal, _) = open(0);
        journal.charge(&charge(1, 3)).unwrap();
        drop(journal);
        let (mut journal, interrupted) = open(100);
        assert_eq!(interrupted, 1);
        let refused = journal.charge(&charge(2, 1)).unwrap_err();
        assert!(refused.remedy().contains("window"), "{}", refused.remedy());
        drop(journal);
        let (mut journal, interrupted) = open(5_000);
        assert_eq!(interrupted, 0);
        let at = |round, time_s| Charge { time_s, ..charge(round, 3) };
        assert!(journal.charge(&at(2, 100 + DAY_S - 1)).is_err());
        journal.charge(&at(2, 100 + DAY_S)).unwrap();
        assert_eq!(journal.spent(&federation()).unwrap(), rho(6));
    }

    #[test]
    fn two_agents_cannot_share_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let _first = RedbJournal::open(dir.path(), rho(5)).unwrap();
        assert!(matches!(RedbJournal::open(dir.path(), rho(5)), Err(JournalError::InUse { .. })));
    }

    #[test]
    fn a_lost_record_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = RedbJournal::open(dir.path(), rho(5)).unwrap();
        journal.charge(&charge(1, 2)).unwrap();
        journal.settle(&federation(), RoundNumber(1), released(1)).unwrap();
        let transaction = journal.database.begin_write().unwrap();
        transaction.open_table(RECORDS).unwrap().remove(0).unwrap();
        transaction.commit().unwrap();
        drop(journal);
        assert!(matches!(
            RedbJournal::open(dir.path(), rho(5)),
            Err(JournalError::Damaged { record: 0, .. })
        ));
    }

    /// The parent starts itself again as a child that charges rounds until it is killed; every
    /// round that the child reported as charged must be found afterwards.
    #[test]
    fn a_killed_agent_remembers_every_charge() {
        use std::io::{BufRead, BufReader, Write};

        const CHILD: &str = "CHORALE_TEST_JOURNAL_DIR";
        if let Some(dir) = std::env::var_os(CHILD) {
            let mut journal = RedbJournal::open(Path::new(&dir), rho(1_000_000)).unwrap();
            let mut out = std::io::stdout();
            for round in 1.. {
                journal.charge(&charge(round, 1)).unwrap();
                writeln!(out, "charged {round}").unwrap();
                out.flush().unwrap();
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::a_killed_agent_remembers_every_charge"])
            .arg("--nocapture")
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut reported = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some(round) = line.unwrap().split("charged ").nth(1) {
                reported = round.trim().parse::<u64>().unwrap();
                if reported == 20 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(reported >= 20, "{reported}");
        let journal = RedbJournal::open(dir.path(), rho(1_000_000)).unwrap();
        let last = journal.last_round(&federation()).unwrap().unwrap().0;
        // One more may have reached the disk before it was reported.
        assert!(last == reported || last == reported + 1, "{last} {reported}");
        assert_eq!(journal.spent(&federation()).unwrap(), rho(last));
    }
}
