//! Which pseudonym keys the names in a database are under, and renaming them all.
//!
//! Pseudonyms stand in the clear, as keys of tables, and stay readable in pages that a database has
//! freed. So a database is not renamed in place: it is written anew beside the old one, with every
//! value sealed for its new place, and then takes the old one's place at once. After a crash there
//! is the old database or the new one. Each says, sealed, which chain of keys its names are under.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use chorale_plan::Pseudonym;
use chorale_wire::codec;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
    TableHandle, WriteTransaction,
};
use zeroize::Zeroizing;

use super::{SealError, Sealer};
use crate::pseudonym::{Mark, Pseudonymiser, Renames};

/// Gives the pseudonyms inside a value new names.
pub type RenameValue =
    fn(&Renames, &[u8]) -> Result<Zeroizing<Vec<u8>>, Box<dyn Error + Send + Sync>>;

/// Where pseudonyms stand in one table.
#[derive(Clone, Copy)]
pub struct Named {
    /// The table.
    pub table: &'static str,
    /// Whether its keys begin with one.
    pub in_keys: bool,
    /// What renames those in its values, where there are any.
    pub in_values: Option<RenameValue>,
}

/// Where pseudonyms stand in a database, and where it says which keys they are under.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Every table that there may be. One that is not listed cannot be renamed, so that none is
    /// forgotten.
    pub tables: &'static [Named],
    /// The table of the mark.
    pub mark_table: &'static str,
    /// The key of the mark.
    pub mark_key: &'static [u8],
}

/// Why the names in a database cannot be used, or not be renamed.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// It cannot be read or written.
    #[error("the database cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// A value cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The new file cannot be put in the place of the old one.
    #[error("the renamed file cannot be put in its place")]
    File(#[source] io::Error),
    /// A value that this version cannot read.
    #[error("a value cannot be read by this version")]
    Value(#[source] Box<dyn Error + Send + Sync>),
    /// A table of which this version does not know what it says about persons.
    #[error("the table '{0}' is unknown to this version")]
    Table(String),
    /// The key file has a key more than the names are under.
    #[error("the names are under an earlier pseudonym key")]
    Behind,
    /// The key file has not the keys that the names are under.
    #[error("the names are under another pseudonym key than the key file holds")]
    Strange,
}

type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

const MARK_BYTES_MAX: usize = 64;

impl NamesError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Database(_) | Self::File(_) => {
                "check that the disk is not full and not failing: a renamed copy needs as much room \
                 again; nothing was changed, so run the command again afterwards"
            }
            Self::Seal(_) => "restore the store key that belongs to this data directory",
            Self::Value(_) | Self::Table(_) => {
                "use the version that wrote the file, or a later one; nothing was changed"
            }
            Self::Behind => {
                "run `client-agent keys rotate --pseudonyms`, which renames what is behind; or \
                 restore key file and data from the same backup"
            }
            Self::Strange => {
                "restore the newest pseudonym key file of this data; without it nobody can be found \
                 under these names: only a new data directory and `client-agent ingest` help then"
            }
        }
    }
}

impl Layout {
    /// What renames the names in the database to those of `names`: nothing where they are under
    /// them already. A database from before there were marks has names under the first key.
    ///
    /// # Errors
    /// [`NamesError::Strange`] where `names` does not go on from what they are under;
    /// [`NamesError`] when the database cannot be read.
    pub fn standing(
        &self,
        transaction: &ReadTransaction,
        sealer: &Sealer,
        names: &Pseudonymiser,
    ) -> Result<Renames, NamesError> {
        match self.mark(transaction, sealer)? {
            Some(mark) => names.since(&mark).ok_or(NamesError::Strange),
            None if transaction.list_tables().map_err(failed)?.next().is_none() => {
                Ok(Renames::default())
            }
            None => Ok(names.since_first().clone()),
        }
    }

    /// As [`Self::standing`], where everything must be under `names` already.
    ///
    /// # Errors
    /// [`NamesError::Behind`] or [`NamesError::Strange`] where it is not; [`NamesError`] when the
    /// database cannot be read.
    pub fn require(
        &self,
        transaction: &ReadTransaction,
        sealer: &Sealer,
        names: &Pseudonymiser,
    ) -> Result<(), NamesError> {
        match self.standing(transaction, sealer, names)?.is_nothing() {
            true => Ok(()),
            false => Err(NamesError::Behind),
        }
    }

    /// Says in a database which keys its names are under, where it does not say so yet.
    ///
    /// # Errors
    /// [`NamesError`]; then the transaction must not be committed.
    pub fn record(
        &self,
        transaction: &WriteTransaction,
        sealer: &Sealer,
        mark: &Mark,
    ) -> Result<(), NamesError> {
        let mut table = transaction.open_table(self.marks()).map_err(failed)?;
        if table.get(self.mark_key).map_err(failed)?.is_some() {
            return Ok(());
        }
        self.put_mark(&mut table, sealer, mark)
    }

    /// Renames everything in the database in `path` to the names of `names`; how many rows were
    /// written anew. Nobody else may have the file open. After a crash it may be done again.
    ///
    /// # Errors
    /// [`NamesError`]; then the database is as it was.
    pub fn rename(
        &self,
        path: &Path,
        database: Database,
        sealer: &Sealer,
        names: &Pseudonymiser,
    ) -> Result<u64, NamesError> {
        let from = database.begin_read().map_err(failed)?;
        let renames = self.standing(&from, sealer, names)?;
        if renames.is_nothing() {
            return Ok(0);
        }
        let beside = beside(path);
        let done = self.copy(&from, &beside, sealer, &renames, &names.mark());
        drop(from);
        drop(database);
        let placed =
            done.and_then(|rows| place(&beside, path).map_err(NamesError::File).map(|()| rows));
        if placed.is_err() {
            // It would only take room; the next attempt begins anew.
            let _ = fs::remove_file(&beside);
        }
        placed
    }

    fn copy(
        &self,
        from: &ReadTransaction,
        beside: &Path,
        sealer: &Sealer,
        renames: &Renames,
        mark: &Mark,
    ) -> Result<u64, NamesError> {
        // A left-over of a crash may be in the way.
        let _ = fs::remove_file(beside);
        let database = Database::builder()
            .set_cache_size(super::CACHE_BYTES)
            .create(beside)
            .map_err(failed)?;
        let transaction = database.begin_write().map_err(failed)?;
        let tables = from.list_tables().map_err(failed)?;
        let tables: Vec<String> = tables.map(|table| table.name().to_owned()).collect();
        let mut rows = 0;
        for table in &tables {
            let unknown = || NamesError::Table(table.clone());
            let named =
                self.tables.iter().find(|named| named.table == table).ok_or_else(unknown)?;
            let definition = Bytes::new(named.table);
            let old = from.open_table(definition).map_err(failed)?;
            let mut new = transaction.open_table(definition).map_err(failed)?;
            // In the order of the new keys: a tree that grows at its end is written once.
            let mut keys = Vec::new();
            for entry in old.iter().map_err(failed)? {
                let (key, _) = entry.map_err(failed)?;
                keys.push((named.new_key(renames, key.value())?, key.value().to_vec()));
            }
            keys.sort_unstable();
            for (key, old_key) in keys {
                let Some(sealed) = old.get(old_key.as_slice()).map_err(failed)? else { continue };
                let sealed = named.renamed(renames, sealer, &old_key, &key, sealed.value())?;
                new.insert(key.as_slice(), sealed.as_slice()).map_err(failed)?;
                rows += 1;
            }
        }
        let mut marks = transaction.open_table(self.marks()).map_err(failed)?;
        self.put_mark(&mut marks, sealer, mark)?;
        drop(marks);
        transaction.commit().map_err(failed)?;
        Ok(rows)
    }

    fn mark(
        &self,
        transaction: &ReadTransaction,
        sealer: &Sealer,
    ) -> Result<Option<Mark>, NamesError> {
        let table = match transaction.open_table(self.marks()) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let Some(sealed) = table.get(self.mark_key).map_err(failed)? else { return Ok(None) };
        let bytes = sealer.open(self.mark_table, self.mark_key, sealed.value())?;
        let mark = codec::decode(&bytes, MARK_BYTES_MAX);
        mark.map(Some).map_err(|error| NamesError::Value(Box::new(error)))
    }

    fn put_mark(
        &self,
        table: &mut Table<'_, &'static [u8], &'static [u8]>,
        sealer: &Sealer,
        mark: &Mark,
    ) -> Result<(), NamesError> {
        let bytes = codec::encode(mark, MARK_BYTES_MAX);
        let bytes = bytes.map_err(|error| NamesError::Value(Box::new(error)))?;
        let sealed = sealer.seal(self.mark_table, self.mark_key, &bytes)?;
        table.insert(self.mark_key, sealed.as_slice()).map_err(failed)?;
        Ok(())
    }

    fn marks(&self) -> Bytes {
        Bytes::new(self.mark_table)
    }
}

impl Named {
    /// A table that says nothing about persons.
    #[must_use]
    pub const fn nobody(table: &'static str) -> Self {
        Self { table, in_keys: false, in_values: None }
    }

    /// A table whose keys begin with a pseudonym.
    #[must_use]
    pub const fn by_person(table: &'static str) -> Self {
        Self { table, in_keys: true, in_values: None }
    }

    /// The same, with pseudonyms in its values.
    #[must_use]
    pub const fn and_in_values(self, rename: RenameValue) -> Self {
        Self { in_values: Some(rename), ..self }
    }

    /// The key of a row under its new name.
    fn new_key(&self, renames: &Renames, key: &[u8]) -> Result<Vec<u8>, NamesError> {
        let mut key = key.to_vec();
        if self.in_keys {
            let who = key.first_chunk_mut::<32>().ok_or(SealError::Open)?;
            *who = *renames.of(Pseudonym::from_bytes(*who)).as_bytes();
        }
        Ok(key)
    }

    /// The sealed value of a row under its new names, for its new place.
    fn renamed(
        &self,
        renames: &Renames,
        sealer: &Sealer,
        old_key: &[u8],
        key: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, NamesError> {
        let value = sealer.open(self.table, old_key, sealed)?;
        let value = match self.in_values {
            Some(rename) => rename(renames, &value).map_err(NamesError::Value)?,
            None => value,
        };
        Ok(sealer.seal(self.table, key, &value)?)
    }
}

/// Where the renamed database is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".renamed");
    path.with_file_name(name)
}

/// Puts `new` in the place of `path`, durably.
fn place(new: &Path, path: &Path) -> io::Result<()> {
    fs::File::open(new)?.sync_all()?;
    fs::rename(new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn failed(error: impl Into<redb::Error>) -> NamesError {
    NamesError::Database(Box::new(error.into()))
}

#[cfg(test)]
mod tests;
