//! The tables of what reaches the agent while it serves.
//!
//! `live` holds events under pseudonym and a running number, a row for each batch; `consents`,
//! `merges` and `erased` one row for each pseudonym; `merge_log` one for each change; `items` one
//! for each item, under a keyed hash of its id; `received` a summary under pseudonym and the hash of
//! the agent that gave it; `disclosures` a line for each letter given or taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use chorale_plan::Pseudonym;
use chorale_task::Catalogue;
use redb::{ReadableTable, TableDefinition};

use super::{META, ORIGINS, PERSONS, PROFILES, SealError, Sealed, Store, StoreError};
use crate::{
    features::{Contributors, PersonRecord, Who},
    hand_over::{Disclosure, Received},
    live::{
        Aliases, Consents, Erasure, ItemRecord, LiveEvent, MergeEntry, Purpose, allows,
        for_training, latest,
    },
    retention::Cut,
};

pub(super) const LIVE: Sealed = TableDefinition::new("live");
pub(super) const CONSENTS: Sealed = TableDefinition::new("consents");
pub(super) const MERGES: Sealed = TableDefinition::new("merges");
pub(super) const MERGE_LOG: Sealed = TableDefinition::new("merge_log");
pub(super) const ERASED: Sealed = TableDefinition::new("erased");
pub(super) const ITEMS: Sealed = TableDefinition::new("items");
pub(super) const RECEIVED: Sealed = TableDefinition::new("received");
pub(super) const DISCLOSURES: Sealed = TableDefinition::new("disclosures");

/// Everything that these tables hold.
#[derive(Default)]
pub struct Live {
    /// Events by pseudonym, in the order in which they came.
    pub events: BTreeMap<Pseudonym, Vec<LiveEvent>>,
    /// Consents by pseudonym.
    pub consents: BTreeMap<Pseudonym, Consents>,
    /// Merges in force.
    pub aliases: Aliases,
    /// Every merge and un-merge, oldest first.
    pub merge_log: Vec<MergeEntry>,
    /// Who was erased.
    pub erased: BTreeMap<Pseudonym, Erasure>,
    /// The store's items, in the order in which it named them.
    pub items: Vec<ItemRecord>,
    /// Summaries that linked agents gave, by pseudonym.
    pub received: BTreeMap<Pseudonym, Vec<Received>>,
    /// Every letter given or taken, oldest first.
    pub disclosures: Vec<Disclosure>,
}

/// One change; several are one transaction.
#[derive(Clone)]
pub enum Change {
    /// Events of one person, in order.
    Events(Pseudonym, Vec<LiveEvent>),
    /// A person's consents, all of them.
    Consents(Pseudonym, Consents),
    /// A merge, or its undoing.
    Merge(MergeEntry),
    /// An item and the key that it stands under.
    Item([u8; 32], ItemRecord),
    /// A letter that was given, or taken with what it says.
    Letter(Disclosure, Option<Received>),
}

/// What an erasure took out of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Pseudonyms of the person.
    pub pseudonyms: u64,
    /// Records out of the files.
    pub records: u64,
    /// Profiles.
    pub profiles: u64,
    /// Rows of live events.
    pub live_rows: u64,
    /// Consents.
    pub consents: u64,
    /// Merges in force, and lines of their log.
    pub merges: u64,
    /// Summaries that linked agents gave.
    pub received: u64,
    /// Agents that summaries of the person were given to, by name.
    pub given_to: BTreeSet<String>,
}

crate::error::redacted!(Live, Change);

impl Store {
    /// Everything that reached this agent while it served.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn live(&self) -> Result<Live, StoreError> {
        let mut live = Live::default();
        for (key, rows) in self.rows::<Vec<LiveEvent>>(LIVE)? {
            let (who, _) = key.split_first_chunk::<32>().ok_or_else(|| self.misplaced())?;
            live.events.entry(Pseudonym::from_bytes(*who)).or_default().extend(rows);
        }
        live.consents = self.all(CONSENTS)?;
        let merges: BTreeMap<Pseudonym, [u8; 32]> = self.all(MERGES)?;
        live.aliases = Aliases::new(
            merges.into_iter().map(|(who, into)| (who, Pseudonym::from_bytes(into))).collect(),
        );
        live.merge_log = self.rows(MERGE_LOG)?.into_iter().map(|(_, entry)| entry).collect();
        live.erased = self.all(ERASED)?;
        live.items = self.rows(ITEMS)?.into_iter().map(|(_, item)| item).collect();
        live.items.sort_by_key(|item: &ItemRecord| item.position);
        for (key, received) in self.rows::<Received>(RECEIVED)? {
            let (who, _) = key.split_first_chunk::<32>().ok_or_else(|| self.misplaced())?;
            live.received.entry(Pseudonym::from_bytes(*who)).or_default().push(received);
        }
        live.disclosures = self.rows(DISCLOSURES)?.into_iter().map(|(_, line)| line).collect();
        Ok(live)
    }

    /// Makes all `changes` durable, in one transaction. Events of erased persons are left out.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is changed.
    pub fn change(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.write(|store, transaction| {
            for change in changes {
                store.one_change(transaction, change)?;
            }
            Ok(())
        })
    }

    /// Takes every trace of these pseudonyms out, and remembers that they were erased with the
    /// receipt that `receipt` makes from what was removed. One transaction.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is changed.
    pub fn erase(
        &self,
        person: &[Pseudonym],
        receipt: impl FnOnce(&Removed) -> Erasure,
    ) -> Result<Erasure, StoreError> {
        let mut made = None;
        self.write(|store, transaction| {
            let mut removed = Removed { pseudonyms: person.len() as u64, ..Removed::default() };
            for who in person {
                let key = who.as_bytes().as_slice();
                removed.records += store.remove(transaction, PERSONS, key)?;
                store.remove(transaction, ORIGINS, key)?;
                removed.profiles += store.remove(transaction, PROFILES, key)?;
                removed.consents += store.remove(transaction, CONSENTS, key)?;
                removed.merges += store.remove(transaction, MERGES, key)?;
                let of = |key: &[u8]| key.starts_with(who.as_bytes());
                removed.live_rows += store.remove_where(transaction, LIVE, of)?;
                removed.received += store.remove_where(transaction, RECEIVED, of)?;
            }
            removed.given_to = store.given_to(transaction, person)?;
            removed.merges += store.forget_merges(transaction, person)?;
            let erasure = receipt(&removed);
            for who in person {
                store.put(transaction, ERASED, who.as_bytes(), &erasure)?;
            }
            made = Some(erasure);
            Ok(())
        })?;
        made.ok_or_else(|| self.misplaced())
    }

    /// Takes out summaries of linked agents that may be kept no longer at `now_s` (Unix seconds); how
    /// many.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is changed.
    pub fn drop_old_letters(&self, now_s: i64) -> Result<u64, StoreError> {
        if self.rows::<Received>(RECEIVED)?.iter().all(|(_, one)| one.until_s > now_s) {
            return Ok(0);
        }
        let mut dropped = 0;
        self.write(|store, transaction| {
            dropped = store.expire_received(transaction, now_s)?;
            store.renewed(transaction)
        })?;
        Ok(dropped)
    }

    /// Whether and how a person was erased.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn erasure(&self, who: Pseudonym) -> Result<Option<Erasure>, StoreError> {
        self.one(ERASED, who.as_bytes())
    }

    /// Everything that is known about one person, over all their channels, with live events about
    /// items of `catalogue`; and whether there are any such events.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn whole(
        &self,
        who: Pseudonym,
        catalogue: &Catalogue,
    ) -> Result<Option<(PersonRecord, bool)>, StoreError> {
        let live = self.live()?;
        let members = live.aliases.members(live.aliases.primary(who));
        let mut files = Vec::new();
        for member in &members {
            files.extend(self.person(*member)?);
        }
        let events: Vec<&LiveEvent> =
            members.iter().filter_map(|member| live.events.get(member)).flatten().collect();
        if files.is_empty() && events.is_empty() {
            return Ok(None);
        }
        let changed = !events.is_empty() || files.len() > 1;
        Ok(Some((for_training(&files, events, catalogue), changed)))
    }

    /// One number for what an ingest and a round leave here: it changes when either does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn generation(&self) -> Result<u64, StoreError> {
        Ok(self.one(META, GENERATION)?.unwrap_or(0))
    }

    /// The persons who may contribute to a plan whose window ends at `end_s` (Unix seconds): `who`
    /// of those whom files name, each once over all their channels, with live events, without
    /// whoever refuses training and without events that `cut` no longer keeps. Where `ask_first`, only those who said yes. Whoever is known by
    /// live events alone is left out: a session may be anybody, also somebody who counts already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn contributors(
        &self,
        who: Who,
        end_s: i64,
        catalogue: &Catalogue,
        ask_first: bool,
        cut: Option<&Cut>,
    ) -> Result<Contributors, StoreError> {
        let mut people = self.people(Purpose::Training, catalogue, ask_first)?;
        if let Some(cut) = cut {
            for record in people.values_mut() {
                record.events.retain(|event| cut.keeps(event.kind, event.time_s));
            }
        }
        Ok(Contributors::of(people.iter().map(|(who, record)| (*who, record)), who, end_s))
    }

    /// Everybody whom files name and whose data may be used for `purpose`, each once over all their
    /// channels, with live events about items of `catalogue`; under the pseudonym that stands for
    /// them. Where `ask_first`, only those who said yes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn people(
        &self,
        purpose: Purpose,
        catalogue: &Catalogue,
        ask_first: bool,
    ) -> Result<BTreeMap<Pseudonym, PersonRecord>, StoreError> {
        self.people_as(purpose, ask_first, |files, live| {
            for_training(files.iter().copied(), live.iter().copied(), catalogue)
        })
    }

    /// As [`Store::people`], with each person as `make` has it of the files' records and the live
    /// events of all their channels.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn people_as<T>(
        &self,
        purpose: Purpose,
        ask_first: bool,
        make: impl Fn(&[&PersonRecord], &[&LiveEvent]) -> T,
    ) -> Result<BTreeMap<Pseudonym, T>, StoreError> {
        let (records, live) = (self.persons()?, self.live()?);
        let mut persons: BTreeMap<Pseudonym, (Vec<&PersonRecord>, Vec<&LiveEvent>)> =
            BTreeMap::new();
        let mut refused = BTreeSet::new();
        for known in records.keys() {
            let primary = live.aliases.primary(*known);
            let person = persons.entry(primary).or_default();
            if live.erased.contains_key(known) {
                refused.insert(primary);
            }
            if person.0.is_empty() && person.1.is_empty() {
                let members = live.aliases.members(primary);
                let words = latest(members.iter().filter_map(|who| live.consents.get(who)));
                if !allows(Some(&words), purpose, !ask_first) {
                    refused.insert(primary);
                }
                for member in members {
                    person.0.extend(records.get(&member));
                    person.1.extend(live.events.get(&member).into_iter().flatten());
                }
            }
        }
        persons.retain(|primary, _| !refused.contains(primary));
        Ok(persons.into_iter().map(|(who, (files, live))| (who, make(&files, &live))).collect())
    }

    /// Raises the generation.
    pub(super) fn renewed(&self, transaction: &redb::WriteTransaction) -> Result<(), StoreError> {
        let open = transaction.open_table(META).map_err(|error| self.failed("written", error))?;
        let before = match open.get(GENERATION).map_err(|error| self.failed("read", error))? {
            Some(sealed) => self.decode(&self.unseal(META, GENERATION, sealed.value())?)?,
            None => 0u64,
        };
        drop(open);
        self.put(transaction, META, GENERATION, &(before + 1))
    }

    /// Whether the pseudonym is among the erased, within a transaction.
    pub(super) fn is_erased(
        &self,
        transaction: &redb::WriteTransaction,
        who: Pseudonym,
    ) -> Result<bool, StoreError> {
        let open = transaction.open_table(ERASED).map_err(|error| self.failed("written", error))?;
        let found = open.get(who.as_bytes().as_slice());
        Ok(found.map_err(|error| self.failed("read", error))?.is_some())
    }

    fn one_change(
        &self,
        transaction: &redb::WriteTransaction,
        change: &Change,
    ) -> Result<(), StoreError> {
        match change {
            Change::Events(who, events) => {
                if self.is_erased(transaction, *who)? {
                    return Ok(());
                }
                let next = self.next_row(transaction, who)?;
                self.put(transaction, LIVE, &row(who, next), events)
            }
            Change::Consents(who, consents) => {
                if self.is_erased(transaction, *who)? {
                    return Ok(());
                }
                self.put(transaction, CONSENTS, who.as_bytes(), consents)
            }
            Change::Merge(entry) => {
                if entry.undone {
                    self.remove(transaction, MERGES, &entry.alias)?;
                } else {
                    self.put(transaction, MERGES, &entry.alias, &entry.into)?;
                }
                let number = self.next_line(transaction, MERGE_LOG)?;
                self.put(transaction, MERGE_LOG, &number.to_be_bytes(), entry)
            }
            Change::Item(key, item) => self.put(transaction, ITEMS, key, item),
            Change::Letter(line, received) => {
                let who = Pseudonym::from_bytes(line.person);
                if self.is_erased(transaction, who)? {
                    return Ok(());
                }
                if let Some(received) = received {
                    let from = chorale_wire::Digest::plain(line.agent.as_bytes());
                    let key = [who.as_bytes().as_slice(), from.as_bytes()].concat();
                    self.put(transaction, RECEIVED, &key, received)?;
                }
                let number = self.next_line(transaction, DISCLOSURES)?;
                self.put(transaction, DISCLOSURES, &number.to_be_bytes(), line)
            }
        }
    }

    /// The number of a log's next line.
    fn next_line(
        &self,
        transaction: &redb::WriteTransaction,
        log: Sealed,
    ) -> Result<u64, StoreError> {
        let open = transaction.open_table(log).map_err(|error| self.failed("written", error))?;
        let last = open.last().map_err(|error| self.failed("read", error))?;
        let last = last.and_then(|(key, _)| key.value().try_into().ok());
        Ok(last.map_or(0, |number| u64::from_be_bytes(number) + 1))
    }

    /// The agents that summaries of this person were given to.
    fn given_to(
        &self,
        transaction: &redb::WriteTransaction,
        person: &[Pseudonym],
    ) -> Result<BTreeSet<String>, StoreError> {
        let open =
            transaction.open_table(DISCLOSURES).map_err(|error| self.failed("written", error))?;
        let mut agents = BTreeSet::new();
        for entry in open.iter().map_err(|error| self.failed("read", error))? {
            let (key, sealed) = entry.map_err(|error| self.failed("read", error))?;
            let bytes = self.unseal(DISCLOSURES, key.value(), sealed.value())?;
            let line: Disclosure = self.decode(&bytes)?;
            if line.given && person.iter().any(|who| *who.as_bytes() == line.person) {
                agents.insert(line.agent);
            }
        }
        Ok(agents)
    }

    /// Takes out summaries of linked agents that may be kept no longer; how many.
    pub(super) fn expire_received(
        &self,
        transaction: &redb::WriteTransaction,
        now_s: i64,
    ) -> Result<u64, StoreError> {
        let mut gone = Vec::new();
        {
            let open =
                transaction.open_table(RECEIVED).map_err(|error| self.failed("written", error))?;
            for entry in open.iter().map_err(|error| self.failed("read", error))? {
                let (key, sealed) = entry.map_err(|error| self.failed("read", error))?;
                let bytes = self.unseal(RECEIVED, key.value(), sealed.value())?;
                if self.decode::<Received>(&bytes)?.until_s <= now_s {
                    gone.push(key.value().to_vec());
                }
            }
        }
        for key in &gone {
            self.remove(transaction, RECEIVED, key)?;
        }
        Ok(gone.len() as u64)
    }

    /// The number of a person's next row of events.
    fn next_row(
        &self,
        transaction: &redb::WriteTransaction,
        who: &Pseudonym,
    ) -> Result<u64, StoreError> {
        let open = transaction.open_table(LIVE).map_err(|error| self.failed("written", error))?;
        let (first, last) = (row(who, 0), row(who, u64::MAX));
        let mut rows = open
            .range(first.as_slice()..=last.as_slice())
            .map_err(|error| self.failed("read", error))?;
        let Some(entry) = rows.next_back() else { return Ok(0) };
        let (key, _) = entry.map_err(|error| self.failed("read", error))?;
        let number = key.value().last_chunk::<8>().copied().unwrap_or_default();
        Ok(u64::from_be_bytes(number) + 1)
    }

    /// Merges into, and lines of the log about, any of these pseudonyms.
    fn forget_merges(
        &self,
        transaction: &redb::WriteTransaction,
        person: &[Pseudonym],
    ) -> Result<u64, StoreError> {
        let about = |bytes: &[u8; 32]| person.iter().any(|who| who.as_bytes() == bytes);
        let mut lines = Vec::new();
        {
            let open =
                transaction.open_table(MERGE_LOG).map_err(|error| self.failed("written", error))?;
            for entry in open.iter().map_err(|error| self.failed("read", error))? {
                let (key, sealed) = entry.map_err(|error| self.failed("read", error))?;
                let bytes = self.unseal(MERGE_LOG, key.value(), sealed.value())?;
                let entry: MergeEntry = self.decode(&bytes)?;
                if about(&entry.alias) || about(&entry.into) {
                    lines.push(key.value().to_vec());
                }
            }
        }
        self.remove_where(transaction, MERGE_LOG, |key| lines.iter().any(|line| line == key))
    }

    pub(super) fn remove(
        &self,
        transaction: &redb::WriteTransaction,
        table: Sealed,
        key: &[u8],
    ) -> Result<u64, StoreError> {
        let mut open =
            transaction.open_table(table).map_err(|error| self.failed("written", error))?;
        let found = open.remove(key).map_err(|error| self.failed("written", error))?;
        Ok(u64::from(found.is_some()))
    }

    fn remove_where(
        &self,
        transaction: &redb::WriteTransaction,
        table: Sealed,
        gone: impl Fn(&[u8]) -> bool,
    ) -> Result<u64, StoreError> {
        let mut open =
            transaction.open_table(table).map_err(|error| self.failed("written", error))?;
        let mut count = 0;
        open.retain(|key, _| {
            let keep = !gone(key);
            count += u64::from(!keep);
            keep
        })
        .map_err(|error| self.failed("written", error))?;
        Ok(count)
    }

    /// All rows of a table in the order of their keys.
    fn rows<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        table: Sealed,
    ) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let mut found = Vec::new();
        self.visit(table, |key, value| {
            found.push((key.to_vec(), value));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    pub(super) fn misplaced(&self) -> StoreError {
        StoreError::Seal { path: self.path(), source: SealError::Open }
    }
}

const GENERATION: &[u8] = b"generation";

/// The key of one row of live events.
fn row(who: &Pseudonym, number: u64) -> Vec<u8> {
    [who.as_bytes().as_slice(), &number.to_be_bytes()].concat()
}
