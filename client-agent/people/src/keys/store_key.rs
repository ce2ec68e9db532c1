//! The key that seals an agent's data, and its rotation.
//!
//! Whoever holds the key holds a shared lock in the data directory; whoever rotates it holds the
//! lock alone. So no process can seal under a key that is on its way out. The file names both keys
//! from before the first value is sealed anew until after the last, so that a process killed at any
//! moment leaves data that the file's keys open.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{KeyError, KeyFile, Unlock, Wrap, create_private_dir};

/// The key that seals the data, held: nobody rotates it meanwhile.
#[derive(Debug)]
pub struct StoreKey {
    file: KeyFile,
    lock: Arc<File>,
}

/// A rotation that has begun: the key file names the new key and the one before.
#[derive(Debug)]
pub struct Rotation {
    key: StoreKey,
    resumed: bool,
}

impl StoreKey {
    /// Opens the key in `path` for the data in `data_dir`, which is made where it is missing. Waits
    /// for a rotation that is going on.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot be read or opened, or the directory not be locked.
    pub fn open(data_dir: &Path, path: &Path, unlock: &Unlock) -> Result<Self, KeyError> {
        let (lock, lock_path) = lock_file(data_dir)?;
        lock.lock_shared().map_err(|source| KeyError::Create { path: lock_path, source })?;
        let file = KeyFile::open(path, unlock)?;
        Ok(Self { file, lock: Arc::new(lock) })
    }

    /// Opens the key while nobody else holds it.
    ///
    /// # Errors
    /// [`KeyError::InUse`] while another process holds the key; [`KeyError`] as in [`Self::open`].
    pub(super) fn alone(data_dir: &Path, path: &Path, unlock: &Unlock) -> Result<Self, KeyError> {
        let (lock, lock_path) = lock_file(data_dir)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => KeyError::InUse { path: lock_path },
            TryLockError::Error(source) => KeyError::Create { path: lock_path, source },
        })?;
        let file = KeyFile::open(path, unlock)?;
        Ok(Self { file, lock: Arc::new(lock) })
    }

    /// The key file.
    #[must_use]
    pub fn file(&self) -> &KeyFile {
        &self.file
    }

    /// Seals the key file in another way.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be written.
    pub fn rewrap(&mut self, wrap: Wrap) -> Result<(), KeyError> {
        self.file.rewrap(wrap)
    }

    pub(crate) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }
}

impl Rotation {
    /// Makes a new key and writes it beside the one before, or goes on where a rotation was cut
    /// short. Everything under the key must then be sealed anew under [`Rotation::key`].
    ///
    /// # Errors
    /// [`KeyError::InUse`] while another process holds the key; [`KeyError`] when a file cannot be
    /// read, opened or written.
    pub fn begin(data_dir: &Path, path: &Path, unlock: &Unlock) -> Result<Self, KeyError> {
        let mut key = StoreKey::alone(data_dir, path, unlock)?;
        let resumed = key.file.before().is_some();
        if !resumed {
            key.file.begin_rotation()?;
        }
        Ok(Self { key, resumed })
    }

    /// The new key, which also opens what the one before sealed.
    #[must_use]
    pub fn key(&self) -> &StoreKey {
        &self.key
    }

    /// Whether an earlier rotation was cut short.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Drops the key before. Only when nothing is sealed under it any more.
    ///
    /// # Errors
    /// [`KeyError`] when the file cannot be written; then both keys stay.
    pub fn finish(mut self) -> Result<(), KeyError> {
        self.key.file.finish_rotation()
    }
}

fn lock_file(data_dir: &Path) -> Result<(File, PathBuf), KeyError> {
    let path = data_dir.join("keys.lock");
    let opened = create_private_dir(data_dir).and_then(|()| File::create(&path));
    match opened {
        Ok(file) => Ok((file, path)),
        Err(source) => Err(KeyError::Create { path, source }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keys::Key;

    #[test]
    fn a_key_that_is_held_is_not_rotated_and_a_rotation_can_be_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let (data, path) = (dir.path().join("data"), dir.path().join("store.key"));
        let unlock = Unlock::default();
        let first = Key::create(&path).unwrap();
        let held = StoreKey::open(&data, &path, &unlock).unwrap();
        let other = StoreKey::open(&data, &path, &unlock).unwrap();
        let begin = || Rotation::begin(&data, &path, &unlock);
        assert!(matches!(begin(), Err(KeyError::InUse { .. })));
        drop((held, other));
        let rotation = begin().unwrap();
        assert!(!rotation.is_resumed());
        let new = *rotation.key().file().current().as_bytes();
        // As after a crash: both keys are in the file, and the same rotation goes on.
        drop(rotation);
        let held = StoreKey::open(&data, &path, &unlock).unwrap();
        assert_eq!(held.file().current().as_bytes(), &new);
        assert_eq!(held.file().before().unwrap().as_bytes(), first.as_bytes());
        drop(held);
        let rotation = begin().unwrap();
        assert!(rotation.is_resumed());
        assert_eq!(rotation.key().file().current().as_bytes(), &new);
        rotation.finish().unwrap();
        assert_eq!(Key::read(&path).unwrap().as_bytes(), &new);
    }
}
