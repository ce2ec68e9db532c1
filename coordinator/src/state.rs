//! Where the federation stands, in a redb file: it survives a crash at any moment.

use std::path::{Path, PathBuf};

use chorale_wire::{Digest, codec};
use redb::{Database, ReadableDatabase as _, TableDefinition};
use serde::{Deserialize, Serialize};

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const POSITION: &str = "position";
const ASIDE: &str = "aside";

/// Longest encoded position in bytes: an optimiser's state may be as long as a model.
const POSITION_BYTES_MAX: usize = 256 << 20;

/// How far the programme has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Last epoch number used.
    pub(crate) epoch: u64,
    /// Last round number used.
    pub(crate) round: u64,
    /// The plan that runs next, an index into the configuration.
    pub(crate) plan: u32,
    /// The next round of that plan.
    pub(crate) step: u32,
    /// The model so far; its bytes lie in the models folder.
    pub(crate) model: Option<Digest>,
    /// The task's own progress (optimiser state), which never leaves the coordinator.
    pub(crate) progress: Vec<u8>,
}

/// Why the state cannot be kept. The machine is to blame.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database failed.
    #[error(
        "the coordinator's state in {path} cannot be {action}: check the disk and that no other coordinator runs on it"
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// What the database says.
        #[source]
        source: Box<redb::Error>,
    },
    /// What stands there is not a position.
    #[error("the coordinator's state in {path} is damaged: restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A file of lanes' totals failed.
    #[error("the canary lanes' totals cannot be written to {path}: check the disk")]
    Lanes {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A model file failed.
    #[error("the model file {path} cannot be {action}: check the disk")]
    Model {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// The coordinator's durable state.
pub(crate) struct State {
    path: PathBuf,
    database: Database,
    models: PathBuf,
    lanes: PathBuf,
}

impl State {
    /// Opens or creates the state in `folder`. Only one process can hold it.
    ///
    /// # Errors
    /// [`StateError`] when the folder or the file cannot be used.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join("coordinator.redb");
        let models = folder.join("models");
        let lanes = folder.join("lanes");
        std::fs::create_dir_all(&models).map_err(|source| StateError::Model {
            path: models.clone(),
            action: "created",
            source,
        })?;
        let database = Database::create(&path).map_err(|source| StateError::Database {
            path: path.clone(),
            action: "opened",
            source: Box::new(source.into()),
        })?;
        Ok(Self { path, database, models, lanes })
    }

    /// The stored position; the beginning where there is none.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be read.
    pub(crate) fn position(&self) -> Result<Position, StateError> {
        Ok(self.read(POSITION)?.unwrap_or_default())
    }

    /// The position that was written aside before the last RELEASE, if there is one.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be read.
    pub(crate) fn aside(&self) -> Result<Option<Position>, StateError> {
        self.read(ASIDE)
    }

    fn read(&self, key: &str) -> Result<Option<Position>, StateError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let table = match transaction.open_table(TABLE) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        };
        match read().map_err(|source| self.failed("read", source))? {
            None => Ok(None),
            Some(bytes) => codec::decode(&bytes, POSITION_BYTES_MAX)
                .map(Some)
                .map_err(|_| StateError::Damaged { path: self.path.clone() }),
        }
    }

    /// Stores the position durably.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be written; the older position then still stands.
    pub(crate) fn save(&self, position: &Position) -> Result<(), StateError> {
        self.write(POSITION, position)
    }

    /// Stores the position that will hold once RELEASE stands in the ledger.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be written.
    pub(crate) fn save_aside(&self, position: &Position) -> Result<(), StateError> {
        self.write(ASIDE, position)
    }

    fn write(&self, key: &str, position: &Position) -> Result<(), StateError> {
        let bytes = codec::encode(position, POSITION_BYTES_MAX)
            .map_err(|_| StateError::Damaged { path: self.path.clone() })?;
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(TABLE)?.insert(key, bytes.as_slice())?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|source| self.failed("written", source))
    }

    /// Stores a model under its digest: written aside, synced, renamed, the folder synced.
    ///
    /// # Errors
    /// [`StateError::Model`] when the disk refuses.
    pub(crate) fn save_model(&self, digest: &Digest, bytes: &[u8]) -> Result<PathBuf, StateError> {
        let path = self.model_path(digest);
        write_durably(&self.models, &path, bytes).map_err(|source| StateError::Model {
            path: path.clone(),
            action: "written",
            source,
        })?;
        Ok(path)
    }

    /// Stores the totals of a round's canary lanes, one number a line: they hold noise alone.
    ///
    /// # Errors
    /// [`StateError::Lanes`] when the disk refuses.
    pub(crate) fn save_lanes(&self, round: u64, totals: &str) -> Result<(), StateError> {
        let path = self.lanes.join(format!("{round}.lanes"));
        std::fs::create_dir_all(&self.lanes)
            .and_then(|()| write_durably(&self.lanes, &path, totals.as_bytes()))
            .map_err(|source| StateError::Lanes { path, source })
    }

    /// The bytes of a stored model.
    ///
    /// # Errors
    /// [`StateError::Model`] when the file is not there.
    pub(crate) fn load_model(&self, digest: &Digest) -> Result<Vec<u8>, StateError> {
        let path = self.model_path(digest);
        std::fs::read(&path).map_err(|source| StateError::Model { path, action: "read", source })
    }

    fn model_path(&self, digest: &Digest) -> PathBuf {
        self.models.join(format!("{digest}.model"))
    }

    fn failed(&self, action: &'static str, source: redb::Error) -> StateError {
        StateError::Database { path: self.path.clone(), action, source: Box::new(source) }
    }
}

/// Written aside, synced, renamed, the folder synced: the name must be on the disk too before a
/// position or the ledger counts on it.
fn write_durably(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("part");
    let mut file = std::fs::File::create(&aside)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_position_survives_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        assert_eq!(state.position().unwrap(), Position::default());
        let position = Position { epoch: 3, round: 17, plan: 1, step: 4, ..Position::default() };
        state.save(&position).unwrap();
        drop(state);
        assert_eq!(State::open(folder.path()).unwrap().position().unwrap(), position);
    }

    #[test]
    fn two_coordinators_cannot_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let _held = State::open(folder.path()).unwrap();
        let error = State::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("no other coordinator"), "{error}");
    }
}
