//! The agent's own data on disk: a redb file whose values are all sealed.
//!
//! Tables: `persons` (pseudonym to record), `origins` (pseudonym to what the next ingest needs to
//! add to the record), `profiles` (pseudonym to profile), `models`, `meta`, and those of [`live`].
//! Keys are pseudonyms, keyed hashes and fixed names; nothing else stands there in clear. What names
//! persons is listed in [`tables`]. Every change is one transaction, so that a crash leaves the state
//! before or after it.
//!
//! The file is opened for each operation and closed again, under a lock file that makes other
//! processes of this agent wait: `client-agent recommend` works while `client-agent run` runs.

mod expire;
mod live;
mod names;
mod renew;
mod rewrite;
mod seal;
mod tables;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use chorale_plan::Pseudonym;
use chorale_task::{Model, ModelError};
use chorale_wire::{Digest, codec};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use live::{Change, Live, Removed};
pub use names::{Layout, Named, NamesError, RenameValue};
pub use renew::{RenewError, renew};
pub use rewrite::TakeIn;
pub use seal::{SealError, Sealer};

use crate::{
    error::Explain,
    features::PersonRecord,
    gather::Origin,
    keys::create_private_dir,
    profiles::Profile,
    pseudonym::{Mark, Pseudonymiser},
    quality::Quality,
};

/// The sealed data of one agent.
pub struct Store {
    dir: PathBuf,
    sealer: Sealer,
    /// The keys that names are under, for what does not say so yet.
    mark: Option<Mark>,
}

/// What the last ingest was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingest {
    /// When, in Unix seconds.
    pub time_s: i64,
    /// Digest of the catalogue that the item indices belong to.
    pub catalogue: Digest,
    /// The home store that `at_home` was judged by.
    pub home: String,
    /// Persons in the store.
    pub persons: u64,
    /// Persons at home here.
    pub home_persons: u64,
    /// End of the window that may be served from (Unix seconds, exclusive); `i64::MAX` when the
    /// configuration holds nothing out.
    pub window_end_s: i64,
    /// Last event inside that window, Unix seconds; 0 without any.
    pub last_event_s: i64,
    /// For each item of the catalogue, how many persons bought it here inside that window.
    pub bought_by: Vec<u32>,
    /// What was read.
    pub quality: Quality,
}

/// Which files the last ingest read, and how: an incremental ingest reads only what is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Digest of everything that decides what becomes of a row: SQL, sources, rules, keys.
    pub recipe: Digest,
    /// The files in the order of reading.
    pub files: Vec<FileSeen>,
    /// Rows that became events, over all files.
    pub used: u64,
}

/// A file as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileSeen {
    /// The source it belongs to.
    pub source: String,
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last changed, nanoseconds since 1970.
    pub modified_ns: u64,
}

/// Whom a store answers for, and from which events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// The home store whose customers are at home here.
    pub home: &'a str,
    /// End of the window that may be served from (Unix seconds, exclusive); `i64::MAX` when
    /// nothing is held out.
    pub window_end_s: i64,
}

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or the lock file cannot be made or opened.
    #[error("the data directory cannot be used")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The database could not be opened, read or written.
    #[error("the data file cannot be {doing}")]
    Database {
        /// The file.
        path: PathBuf,
        /// `opened`, `read`, `written` or `sealed anew`.
        doing: &'static str,
        /// What the database says.
        #[source]
        source: Box<redb::Error>,
    },
    /// A value could not be sealed or opened.
    #[error("the data file and the store key do not fit")]
    Seal {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: SealError,
    },
    /// A value that this version cannot read.
    #[error("the data file holds a value that this version cannot read")]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the codec says.
        #[source]
        source: chorale_wire::DecodeError,
    },
    /// A value that is too long to keep.
    #[error("a record is too long to be stored")]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the codec says.
        #[source]
        source: chorale_wire::EncodeError,
    },
    /// The stored model cannot be read, or the given one not encoded.
    #[error("the model cannot be stored or read")]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ModelError,
    },
    /// What the names are under is not what the key file holds, or they cannot be renamed.
    #[error("the data file and the pseudonym key do not fit")]
    Names {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: NamesError,
    },
    /// Nothing was ingested yet.
    #[error("no events have been ingested yet")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Another process has ingested since this one looked.
    #[error("another process has ingested events meanwhile")]
    Overtaken {
        /// The file.
        path: PathBuf,
    },
    /// What was ingested belongs to another catalogue or home store.
    #[error("the ingested events belong to another {what}")]
    Stale {
        /// The file.
        path: PathBuf,
        /// `catalogue`, `home store` or `events_before`.
        what: &'static str,
    },
}

type Sealed = TableDefinition<'static, &'static [u8], &'static [u8]>;

const PERSONS: Sealed = TableDefinition::new("persons");
const ORIGINS: Sealed = TableDefinition::new("origins");
const PROFILES: Sealed = TableDefinition::new("profiles");
const MODELS: Sealed = TableDefinition::new("models");
const META: Sealed = TableDefinition::new("meta");

const CURRENT_MODEL: &[u8] = b"current";
const INGEST: &[u8] = b"ingest/2";
const READING: &[u8] = b"reading";

/// Bytes that the database may keep of its file in memory.
const CACHE_BYTES: usize = 32 << 20;

/// Longest record of one person in bytes: a million events.
const RECORD_BYTES_MAX: usize = 32 << 20;

impl Reading {
    /// No file was read by this recipe yet.
    #[must_use]
    pub fn nothing(recipe: Digest) -> Self {
        Self { recipe, files: Vec::new(), used: 0 }
    }
}

impl Store {
    /// Opens the store in `dir`, which is made when it is missing.
    ///
    /// # Errors
    /// [`StoreError::Directory`], or [`StoreError::Seal`] when `sealer` is not under the key that
    /// sealed what is there.
    pub fn open(dir: &Path, sealer: impl Into<Sealer>) -> Result<Self, StoreError> {
        create_private_dir(dir)
            .map_err(|source| StoreError::Directory { path: dir.into(), source })?;
        let store = Self { dir: dir.into(), sealer: sealer.into(), mark: None };
        if store.path().exists() {
            store.ingest()?;
        }
        Ok(store)
    }

    /// The store for work with `names`: what stands there must be under the same keys, and what
    /// does not say under which it stands will do so from the next change on.
    ///
    /// # Errors
    /// [`StoreError::Names`] when it is under other keys.
    pub fn under(mut self, names: &Pseudonymiser) -> Result<Self, StoreError> {
        if self.path().exists() {
            let (_lock, database) = self.locked()?;
            let transaction = database.begin_read().map_err(|error| self.failed("read", error))?;
            tables::LAYOUT
                .require(&transaction, &self.sealer, names)
                .map_err(|source| self.names(source))?;
        }
        self.mark = Some(names.mark());
        Ok(self)
    }

    /// Whether anything stands under a shorter chain of pseudonym keys than that of `names`.
    ///
    /// # Errors
    /// [`StoreError::Names`] when it is under other keys.
    pub fn is_behind(&self, names: &Pseudonymiser) -> Result<bool, StoreError> {
        if !self.path().exists() {
            return Ok(false);
        }
        let (_lock, database) = self.locked()?;
        let transaction = database.begin_read().map_err(|error| self.failed("read", error))?;
        let standing = tables::LAYOUT.standing(&transaction, &self.sealer, names);
        Ok(!standing.map_err(|source| self.names(source))?.is_nothing())
    }

    /// Gives everybody the name that `names` has for them, where the chain of keys has grown; how
    /// many rows that took. All or nothing, and nothing where it was done before.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is changed.
    pub fn rename(&self, names: &Pseudonymiser) -> Result<u64, StoreError> {
        if !self.path().exists() {
            return Ok(0);
        }
        let (_lock, database) = self.locked()?;
        tables::LAYOUT
            .rename(&self.path(), database, &self.sealer, names)
            .map_err(|source| self.names(source))
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join("store.redb")
    }

    /// Replaces every person by `records` and every profile by `profiles`, in one transaction;
    /// the model and what reached the agent while it served stay. Erased persons are left out.
    /// The next ingest reads everything again.
    ///
    /// # Errors
    /// [`StoreError`]; then the store is as it was.
    pub fn replace_persons(
        &self,
        records: &BTreeMap<Pseudonym, PersonRecord>,
        profiles: &BTreeMap<Pseudonym, Profile>,
        ingest: &Ingest,
    ) -> Result<(), StoreError> {
        self.write(|store, transaction| {
            for table in [PERSONS, ORIGINS, PROFILES] {
                transaction.delete_table(table).map_err(|e| store.failed("written", e))?;
            }
            for (who, record) in records {
                if !store.is_erased(transaction, *who)? {
                    store.put(transaction, PERSONS, who.as_bytes(), record)?;
                    store.put(transaction, ORIGINS, who.as_bytes(), &Origin::unknown(record))?;
                }
            }
            for (who, profile) in profiles {
                if !store.is_erased(transaction, *who)? {
                    store.put(transaction, PROFILES, who.as_bytes(), profile)?;
                }
            }
            store.put(transaction, META, INGEST, ingest)?;
            store.remove(transaction, META, READING)?;
            store.renewed(transaction)
        })
    }

    /// What the last ingest was, or `None` before the first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read or opened with this key.
    pub fn ingest(&self) -> Result<Option<Ingest>, StoreError> {
        self.one(META, INGEST)
    }

    /// Which files the last ingest read, or `None` where no ingest remembers any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reading(&self) -> Result<Option<Reading>, StoreError> {
        self.one(META, READING)
    }

    /// What the last ingest was, checked to fit the catalogue and the home store in force.
    ///
    /// # Errors
    /// [`StoreError::Empty`] or [`StoreError::Stale`].
    pub fn require_ingest(&self, catalogue: &Digest, home: &str) -> Result<Ingest, StoreError> {
        let ingest = self.ingest()?.ok_or_else(|| StoreError::Empty { path: self.path() })?;
        let stale = |what| Err(StoreError::Stale { path: self.path(), what });
        if ingest.catalogue != *catalogue {
            return stale("catalogue");
        }
        if ingest.home != home {
            return stale("home store");
        }
        Ok(ingest)
    }

    /// As [`Store::require_ingest`], and made for the window that is served.
    ///
    /// # Errors
    /// [`StoreError::Empty`] or [`StoreError::Stale`].
    pub fn require_served(
        &self,
        catalogue: &Digest,
        served: Served<'_>,
    ) -> Result<Ingest, StoreError> {
        let ingest = self.require_ingest(catalogue, served.home)?;
        if ingest.window_end_s != served.window_end_s {
            return Err(StoreError::Stale { path: self.path(), what: "'events_before'" });
        }
        Ok(ingest)
    }

    /// The record of one person.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn person(&self, who: Pseudonym) -> Result<Option<PersonRecord>, StoreError> {
        self.one(PERSONS, who.as_bytes())
    }

    /// All records by ascending pseudonym.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn persons(&self) -> Result<BTreeMap<Pseudonym, PersonRecord>, StoreError> {
        self.all(PERSONS)
    }

    /// Makes `model` the current one.
    ///
    /// # Errors
    /// [`StoreError`]; then the model before it stays.
    pub fn save_model(&self, model: &Model) -> Result<(), StoreError> {
        let bytes =
            model.encode().map_err(|source| StoreError::Model { path: self.path(), source })?;
        self.write(|store, transaction| {
            store.put_bytes(transaction, MODELS, CURRENT_MODEL, &bytes)?;
            store.renewed(transaction)
        })
    }

    /// The current model, or `None` before the first round.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn model(&self) -> Result<Option<Model>, StoreError> {
        let Some(bytes) = self.one_bytes(MODELS, CURRENT_MODEL)? else { return Ok(None) };
        let model = Model::decode(&bytes)
            .map_err(|source| StoreError::Model { path: self.path(), source })?;
        Ok(Some(model))
    }

    /// Replaces every profile, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; then the profiles before stay.
    pub fn replace_profiles(
        &self,
        profiles: &BTreeMap<Pseudonym, Profile>,
    ) -> Result<(), StoreError> {
        self.write(|store, transaction| {
            transaction.delete_table(PROFILES).map_err(|e| store.failed("written", e))?;
            for (who, profile) in profiles {
                if !store.is_erased(transaction, *who)? {
                    store.put(transaction, PROFILES, who.as_bytes(), profile)?;
                }
            }
            Ok(())
        })
    }

    /// The stored profile of one person.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn profile(&self, who: Pseudonym) -> Result<Option<Profile>, StoreError> {
        self.one(PROFILES, who.as_bytes())
    }

    /// All stored profiles by ascending pseudonym.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn profiles(&self) -> Result<BTreeMap<Pseudonym, Profile>, StoreError> {
        self.all(PROFILES)
    }

    /// Seals everything anew that stands under the key before, in one transaction; how many values
    /// that were.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is changed.
    pub fn renew(&self) -> Result<u64, StoreError> {
        if !self.path().exists() {
            return Ok(0);
        }
        let (_lock, database) = self.locked()?;
        renew(&database, &self.sealer).map_err(|error| match error {
            RenewError::Database(source) => {
                StoreError::Database { path: self.path(), doing: "sealed anew", source }
            }
            RenewError::Seal(source) => StoreError::Seal { path: self.path(), source },
        })
    }

    /// Waits for other processes of this agent, then opens the file. The lock ends with the
    /// returned file handle.
    fn locked(&self) -> Result<(File, Database), StoreError> {
        let directory = |source| StoreError::Directory { path: self.dir.clone(), source };
        let lock = File::create(self.dir.join("store.lock")).map_err(directory)?;
        lock.lock().map_err(directory)?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(self.path())
            .map_err(|error| self.failed("opened", error))?;
        Ok((lock, database))
    }

    fn write(
        &self,
        change: impl FnOnce(&Self, &redb::WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (_lock, database) = self.locked()?;
        let transaction = database.begin_write().map_err(|error| self.failed("written", error))?;
        change(self, &transaction)?;
        self.commit(transaction)
    }

    /// Commits, and says which keys names are under where that is not said yet.
    fn commit(&self, transaction: redb::WriteTransaction) -> Result<(), StoreError> {
        if let Some(mark) = &self.mark {
            tables::LAYOUT
                .record(&transaction, &self.sealer, mark)
                .map_err(|source| self.names(source))?;
        }
        transaction.commit().map_err(|error| self.failed("written", error))
    }

    fn put<T: Serialize>(
        &self,
        transaction: &redb::WriteTransaction,
        table: Sealed,
        key: &[u8],
        value: &T,
    ) -> Result<(), StoreError> {
        let bytes = codec::encode(value, RECORD_BYTES_MAX)
            .map_err(|source| StoreError::Encode { path: self.path(), source })?;
        self.put_bytes(transaction, table, key, &zeroize::Zeroizing::new(bytes))
    }

    fn put_bytes(
        &self,
        transaction: &redb::WriteTransaction,
        table: Sealed,
        key: &[u8],
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let sealed = self.seal(table, key, bytes)?;
        let mut open =
            transaction.open_table(table).map_err(|error| self.failed("written", error))?;
        open.insert(key, sealed.as_slice()).map_err(|error| self.failed("written", error))?;
        Ok(())
    }

    fn one<T: Serialize + DeserializeOwned>(
        &self,
        table: Sealed,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        self.one_bytes(table, key)?.map(|bytes| self.decode(&bytes)).transpose()
    }

    fn one_bytes(
        &self,
        table: Sealed,
        key: &[u8],
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, StoreError> {
        if !self.path().exists() {
            return Ok(None);
        }
        let (_lock, database) = self.locked()?;
        let transaction = database.begin_read().map_err(|error| self.failed("read", error))?;
        self.one_in(&transaction, table, key)
    }

    fn one_in(
        &self,
        transaction: &redb::ReadTransaction,
        table: Sealed,
        key: &[u8],
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, StoreError> {
        let open = match transaction.open_table(table) {
            Ok(open) => open,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        };
        let Some(sealed) = open.get(key).map_err(|error| self.failed("read", error))? else {
            return Ok(None);
        };
        self.unseal(table, key, sealed.value()).map(Some)
    }

    fn all<T: Serialize + DeserializeOwned>(
        &self,
        table: Sealed,
    ) -> Result<BTreeMap<Pseudonym, T>, StoreError> {
        let mut found = BTreeMap::new();
        self.visit(table, |key, value| {
            let who: [u8; 32] = key.try_into().map_err(|_| self.misplaced())?;
            found.insert(Pseudonym::from_bytes(who), value);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Shows the rows of a table in the order of their keys, for as long as `see` goes on; none where
    /// there is no table.
    fn visit<T: Serialize + DeserializeOwned>(
        &self,
        table: Sealed,
        mut see: impl FnMut(&[u8], T) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        if !self.path().exists() {
            return Ok(());
        }
        let (_lock, database) = self.locked()?;
        let transaction = database.begin_read().map_err(|error| self.failed("read", error))?;
        let open = match transaction.open_table(table) {
            Ok(open) => open,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(self.failed("read", error)),
        };
        for entry in open.iter().map_err(|error| self.failed("read", error))? {
            let (key, sealed) = entry.map_err(|error| self.failed("read", error))?;
            let bytes = self.unseal(table, key.value(), sealed.value())?;
            if see(key.value(), self.decode(&bytes)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn seal(&self, table: Sealed, key: &[u8], bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        let name = redb::TableHandle::name(&table).to_owned();
        self.sealer
            .seal(&name, key, bytes)
            .map_err(|source| StoreError::Seal { path: self.path(), source })
    }

    fn unseal(
        &self,
        table: Sealed,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, StoreError> {
        let name = redb::TableHandle::name(&table).to_owned();
        self.sealer
            .open(&name, key, sealed)
            .map_err(|source| StoreError::Seal { path: self.path(), source })
    }

    fn decode<T: Serialize + DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, StoreError> {
        codec::decode(bytes, RECORD_BYTES_MAX)
            .map_err(|source| StoreError::Decode { path: self.path(), source })
    }

    fn names(&self, source: NamesError) -> StoreError {
        StoreError::Names { path: self.path(), source }
    }

    fn failed(&self, doing: &'static str, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Database { path: self.path(), doing, source: Box::new(error.into()) }
    }
}

impl Explain for StoreError {
    fn place(&self) -> String {
        match self {
            Self::Directory { path, .. }
            | Self::Database { path, .. }
            | Self::Seal { path, .. }
            | Self::Decode { path, .. }
            | Self::Encode { path, .. }
            | Self::Model { path, .. }
            | Self::Names { path, .. }
            | Self::Empty { path }
            | Self::Overtaken { path }
            | Self::Stale { path, .. } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Directory { .. } => "check 'data_dir', its owner and its free space".into(),
            Self::Database { .. } => "check that the disk is not full and not failing; nothing \
                 was changed, so run the command again afterwards"
                .into(),
            Self::Seal { .. } => {
                "restore the store key that belongs to this data directory, or remove the data \
                 file and run `client-agent ingest` again"
                    .into()
            }
            Self::Decode { .. } => {
                "the file is of another version: remove it and run `client-agent ingest` again"
                    .into()
            }
            Self::Encode { .. } => {
                "one customer has an impossible number of events: check 'person' in event_sql"
                    .into()
            }
            Self::Model { .. } => "wait for the next round, which brings a new model".into(),
            Self::Overtaken { .. } => "nothing was changed; run the command again".into(),
            Self::Names { source, .. } => source.remedy().into(),
            Self::Empty { .. } | Self::Stale { .. } => "run `client-agent ingest`".into(),
        }
    }
}

#[cfg(test)]
mod tests;
