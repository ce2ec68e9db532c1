//! An ingest, in one transaction: persons put together, sealed and stored, then their profiles.

use std::collections::HashSet;

use chorale_plan::Pseudonym;
use chorale_wire::codec;
use redb::{Range, ReadTransaction, ReadableDatabase, ReadableTable, TableError, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    INGEST, Ingest, META, ORIGINS, PERSONS, PROFILES, READING, Reading, Sealed, Store, StoreError,
    live::ERASED,
};
use crate::{
    error::Failure,
    features::{PersonRecord, StoredEvent},
    gather::{Assembled, Earlier, Gathered, Held, Nobody, Origin, Summary},
    parallel,
    profiles::{Profile, Serving},
    retention::Cut,
};

/// Profiles that are made at a time.
const CHUNK_PERSONS: usize = 4096;

/// How persons are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeIn<'a> {
    /// What had been read when it was decided what to read now. Where it is no longer so, another
    /// process came before, and nothing is taken in.
    pub before: Option<&'a Reading>,
    /// Whether those who are there stay and what is new is added to them; otherwise only what was
    /// gathered now counts.
    pub add: bool,
    /// Number of items of the catalogue.
    pub items: usize,
    /// End of the window that may be served from, Unix seconds, exclusive.
    pub window_end_s: i64,
    /// Bytes of records that may stay in memory until their profiles are made.
    pub bytes_max: usize,
    /// What is still kept; everything where `None`.
    pub cut: Option<Cut>,
}

/// Persons as they were stored before this transaction.
struct Stored<'a> {
    store: &'a Store,
    persons: Range<'static, &'static [u8], &'static [u8]>,
    origins: Range<'static, &'static [u8], &'static [u8]>,
    head: Option<(Pseudonym, Vec<u8>, Vec<u8>)>,
}

impl Store {
    /// Puts together what was gathered and replaces all persons and profiles by it; the model and
    /// what reached the agent while it served stay. Erased persons are left out, and so is what
    /// [`TakeIn::cut`] no longer keeps, of live events too. Before anything is in force, `judge` sees
    /// the summary, and says what the ingest was, which files it read (`None`: unknown, or as before)
    /// and who makes the profiles, or refuses.
    ///
    /// # Errors
    /// What `judge` says, [`StoreError`], among them [`StoreError::Overtaken`], or that the disk holds no more; then the store is as it
    /// was.
    pub fn take_in(
        &self,
        gathered: Gathered,
        how: TakeIn<'_>,
        judge: impl FnOnce(Summary) -> Result<(Ingest, Option<Reading>, Serving), Failure>,
    ) -> Result<Ingest, Failure> {
        let (_lock, database) = self.locked()?;
        let before = database.begin_read().map_err(|error| self.failed("read", error))?;
        let reading = self.one_in(&before, META, READING)?;
        let reading: Option<Reading> = reading.map(|bytes| self.decode(&bytes)).transpose()?;
        if reading.as_ref() != how.before {
            return Err(StoreError::Overtaken { path: self.path() }.into());
        }
        let transaction = database.begin_write().map_err(|error| self.failed("written", error))?;
        for table in [PERSONS, ORIGINS, PROFILES] {
            transaction.delete_table(table).map_err(|error| self.failed("written", error))?;
        }
        let erased = self.erased(&before)?;
        let mut summary = Summary::new(how.items);
        let mut kept = Some(Vec::new());
        let mut bytes = 0;
        let visit = |chunk: Vec<(Pseudonym, Assembled)>| -> Result<(), Failure> {
            let stays = |(who, _): &(Pseudonym, Assembled)| !erased.contains(who);
            let mut chunk: Vec<_> = chunk.into_iter().filter(stays).collect();
            if let Some(cut) = &how.cut {
                chunk = self.expired(chunk, cut, &mut summary.expired);
            }
            for (_, person) in &chunk {
                summary.add(person, how.window_end_s);
                bytes += person.record.events.len() * size_of::<StoredEvent>() + 64;
            }
            let sealed = parallel::map(chunk, |(who, person)| {
                let record = self.sealed(PERSONS, who, &person.record);
                let origin = self.sealed(ORIGINS, who, &person.origin);
                (who, person.record, record, origin)
            });
            for (who, record, sealed, origin) in sealed {
                self.put_sealed(&transaction, PERSONS, who, &sealed?)?;
                self.put_sealed(&transaction, ORIGINS, who, &origin?)?;
                if let Some(kept) = &mut kept {
                    kept.push((who, record));
                }
            }
            if bytes > how.bytes_max {
                kept = None;
            }
            Ok(())
        };
        if how.add {
            gathered.persons(Stored::open(self, &before)?, visit)?;
        } else {
            gathered.persons(Nobody, visit)?;
        }
        if let Some(cut) = &how.cut {
            summary.expired.add(self.expire_live(&transaction, cut)?);
        }
        let (ingest, reading, serving) = judge(summary.finish())?;
        match kept {
            Some(persons) => self.put_profiles(&transaction, &serving, persons)?,
            None => {
                let persons = transaction.open_table(PERSONS);
                let persons = persons.map_err(|error| self.failed("read", error))?;
                let mut chunk = Vec::new();
                for entry in persons.iter().map_err(|error| self.failed("read", error))? {
                    let (key, sealed) = entry.map_err(|error| self.failed("read", error))?;
                    let who = self.pseudonym(key.value())?;
                    let bytes = self.unseal(PERSONS, key.value(), sealed.value())?;
                    chunk.push((who, self.decode::<PersonRecord>(&bytes)?));
                    if chunk.len() == CHUNK_PERSONS {
                        self.put_profiles(&transaction, &serving, std::mem::take(&mut chunk))?;
                    }
                }
                self.put_profiles(&transaction, &serving, chunk)?;
            }
        }
        self.put(&transaction, META, INGEST, &ingest)?;
        if let Some(reading) = reading {
            self.put(&transaction, META, READING, &reading)?;
        }
        self.renewed(&transaction)?;
        self.commit(transaction)?;
        Ok(ingest)
    }

    fn put_profiles(
        &self,
        transaction: &WriteTransaction,
        serving: &Serving,
        persons: Vec<(Pseudonym, PersonRecord)>,
    ) -> Result<(), StoreError> {
        let sealed = parallel::map(persons, |(who, record)| {
            (who, self.sealed(PROFILES, who, &Profile::of(&record, serving)))
        });
        for (who, sealed) in sealed {
            self.put_sealed(transaction, PROFILES, who, &sealed?)?;
        }
        Ok(())
    }

    /// `value` sealed for a person's place in `table`.
    fn sealed(
        &self,
        table: Sealed,
        who: Pseudonym,
        value: &(impl Serialize + DeserializeOwned),
    ) -> Result<Vec<u8>, StoreError> {
        let bytes = codec::encode(value, super::RECORD_BYTES_MAX)
            .map_err(|source| StoreError::Encode { path: self.path(), source })?;
        self.seal(table, who.as_bytes(), &Zeroizing::new(bytes))
    }

    fn put_sealed(
        &self,
        transaction: &WriteTransaction,
        table: Sealed,
        who: Pseudonym,
        sealed: &[u8],
    ) -> Result<(), StoreError> {
        let mut open =
            transaction.open_table(table).map_err(|error| self.failed("written", error))?;
        let key = who.as_bytes().as_slice();
        open.insert(key, sealed).map_err(|error| self.failed("written", error))?;
        Ok(())
    }

    /// Everybody who was erased.
    fn erased(&self, before: &ReadTransaction) -> Result<HashSet<Pseudonym>, StoreError> {
        let open = match before.open_table(ERASED) {
            Ok(open) => open,
            Err(TableError::TableDoesNotExist(_)) => return Ok(HashSet::new()),
            Err(error) => return Err(self.failed("read", error)),
        };
        let rows = open.iter().map_err(|error| self.failed("read", error))?;
        let who = rows.map(|entry| {
            let (key, _) = entry.map_err(|error| self.failed("read", error))?;
            self.pseudonym(key.value())
        });
        who.collect()
    }

    fn pseudonym(&self, key: &[u8]) -> Result<Pseudonym, StoreError> {
        key.try_into().map(Pseudonym::from_bytes).map_err(|_| self.misplaced())
    }
}

impl<'a> Stored<'a> {
    fn open(store: &'a Store, before: &ReadTransaction) -> Result<Self, StoreError> {
        let range = |table| {
            let open = before.open_table(table).map_err(|error| store.failed("read", error))?;
            open.range::<&[u8]>(..).map_err(|error| store.failed("read", error))
        };
        let (persons, origins) = (range(PERSONS)?, range(ORIGINS)?);
        let mut stored = Self { store, persons, origins, head: None };
        stored.advance()?;
        Ok(stored)
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        self.head = None;
        let Some(person) = self.persons.next() else { return Ok(()) };
        let (key, record) = person.map_err(|error| self.store.failed("read", error))?;
        // The two tables are always written together.
        let origin = self.origins.next().ok_or_else(|| self.store.misplaced())?;
        let (same, origin) = origin.map_err(|error| self.store.failed("read", error))?;
        if key.value() != same.value() {
            return Err(self.store.misplaced());
        }
        let who = self.store.pseudonym(key.value())?;
        self.head = Some((who, record.value().to_vec(), origin.value().to_vec()));
        Ok(())
    }
}

impl Earlier<Failure> for Stored<'_> {
    fn next(&self) -> Option<Pseudonym> {
        self.head.as_ref().map(|(who, _, _)| *who)
    }

    fn take(&mut self, into: &mut Vec<Held>) -> Result<(), Failure> {
        let Some((who, record, origin)) = &self.head else { return Ok(()) };
        let open = |table, sealed| self.store.unseal(table, who.as_bytes(), sealed);
        let record: PersonRecord = self.store.decode(&open(PERSONS, record)?)?;
        let origin: Origin = self.store.decode(&open(ORIGINS, origin)?)?;
        Held::earlier(&record, &origin, into);
        Ok(self.advance()?)
    }
}
