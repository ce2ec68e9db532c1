//! Key and state files: written whole or not at all, secrets readable by their owner only.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot {action} {path}: check that the folder exists, is yours and has space")]
    Io {
        /// Read, write, lock.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A secret that others can read.
    #[error("{path} holds a secret and others can read it: run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Exists already and must not be overwritten.
    #[error("{path} exists already and is not overwritten: choose an empty folder")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Not what it should be.
    #[error("{path} cannot be understood ({what}): restore it from a copy or make it anew")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Another process uses the folder.
    #[error("{path} is in use by another process: wait until it has ended")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
}

impl FileError {
    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), what: what.into() }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io { action, path: path.to_owned(), source }
}

/// Creates a folder that only its owner enters, if it is not there.
pub(crate) fn create_folder(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(io_error("create", path))
}

/// Refuses where `path` exists.
pub(crate) fn must_not_exist(path: &Path) -> Result<(), FileError> {
    if path.exists() { Err(FileError::Exists { path: path.to_owned() }) } else { Ok(()) }
}

/// Replaces a file whole: a temporary file beside it, synced, renamed, the folder synced. Only
/// the owner can read it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    // A left-over of a crash may be in the way.
    let _ = fs::remove_file(&temporary);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder_of(path)
    });
    written.map_err(|source| {
        // The error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
        io_error("write", path)(source)
    })
}

/// Reads a file that holds a secret: refused where others can read it.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, FileError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = fs::metadata(path).map_err(io_error("read", path))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(FileError::Exposed { path: path.to_owned() });
        }
    }
    read_text(path).map(Zeroizing::new)
}

/// Reads a text file of bounded length.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(io_error("read", path))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::malformed(path, "longer than 16 MiB"));
    }
    Ok(text)
}

/// Holds a lock file for as long as the returned file lives.
pub(crate) fn lock(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = options.open(path).map_err(io_error("lock", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(FileError::InUse { path: path.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(io_error("lock", path)(source)),
    }
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(*read_private(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_private(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_private(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_folder_is_used_by_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(FileError::InUse { .. })));
        drop(held);
        assert!(lock(&path).is_ok());
    }
}
