//! Secret keys in files of their own: 32 random bytes, readable by their owner only, in the clear
//! or themselves sealed ([`wrap`]).

mod chain;
mod store_key;
mod wrap;

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

pub use chain::{NameKeys, NameRotation};
pub use store_key::{Rotation, StoreKey};
pub use wrap::{
    KeyFile, PASSPHRASE_BYTES_MIN, PASSPHRASE_VARIABLE, Passphrase, Unlock, UnlockSettings, Wrap,
    provide_passphrase,
};

use crate::error::Explain;

/// 32 secret bytes; zeroized when dropped, never printed.
pub struct Key(Zeroizing<[u8; 32]>);

/// Why a key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not there or not readable.
    #[error("the key file cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Could not be written.
    #[error("the key file cannot be created")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error("the key file can be read by others (mode {mode:03o})")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Neither 64 hexadecimal digits nor a sealed key.
    #[error("the key file holds neither 64 hexadecimal digits nor a sealed key")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Sealed, and there is nothing to open it with.
    #[error("the key file is sealed with {with}, and there is none")]
    Locked {
        /// The file.
        path: PathBuf,
        /// `a passphrase` or `a key file`.
        with: &'static str,
    },
    /// Sealed with something else than what was given, or changed.
    #[error("the key file does not open with the {with} that was given")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// `passphrase` or `key file`.
        with: &'static str,
    },
    /// Too short to resist guessing.
    #[error("the passphrase has fewer than {PASSPHRASE_BYTES_MIN} bytes")]
    Short {
        /// Where it stands.
        place: PathBuf,
    },
    /// A rotation of the pseudonym key is not finished.
    #[error("a rotation of the pseudonym key was cut short")]
    Pending {
        /// The file.
        path: PathBuf,
    },
    /// A pseudonym key file that does not go on where this agent's ends.
    #[error("the pseudonym key file does not begin with this agent's keys")]
    OtherChain {
        /// The file.
        path: PathBuf,
    },
    /// A pseudonym key file with no key that this agent does not have.
    #[error("the pseudonym key file holds no key that this agent does not have already")]
    NothingNew {
        /// The file.
        path: PathBuf,
    },
    /// Other processes work with the key.
    #[error("the key is in use by another process of this agent")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness")]
    Randomness {
        /// The file that was to be made.
        path: PathBuf,
        /// What it says.
        #[source]
        source: getrandom::Error,
    },
}

impl Key {
    /// A key from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Makes a new random key and writes it to `path`, which must not exist, with mode 0600.
    ///
    /// # Errors
    /// [`KeyError`] when there is no randomness or the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let key = Self::random(path)?;
        let text = Zeroizing::new(format!("{}\n", hex::encode(key.as_bytes())));
        write_private(path, text.as_bytes())
            .map_err(|source| KeyError::Create { path: path.into(), source })?;
        Ok(key)
    }

    /// Reads a key file that is not sealed, and refuses one that others may read.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be read, is open to others, sealed or malformed.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::open(path, &Unlock::default())
    }

    /// Reads a key file that may be sealed, and refuses one that others may read.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be read or opened, is open to others or malformed.
    pub fn open(path: &Path, unlock: &Unlock) -> Result<Self, KeyError> {
        match KeyFile::open(path, unlock)?.into_keys() {
            (key, None) => Ok(key),
            // Only the store's key has two, while it is rotated.
            (_, Some(_)) => Err(KeyError::Malformed { path: path.into() }),
        }
    }

    /// A new random key, for the file `path`.
    fn random(path: &Path) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        getrandom::fill(bytes.as_mut())
            .map_err(|source| KeyError::Randomness { path: path.into(), source })?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

impl KeyError {
    fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::Create { path, .. }
            | Self::Permissions { path, .. }
            | Self::Malformed { path }
            | Self::Locked { path, .. }
            | Self::Unfit { path, .. }
            | Self::Pending { path }
            | Self::OtherChain { path }
            | Self::NothingNew { path }
            | Self::Short { place: path }
            | Self::InUse { path }
            | Self::Randomness { path, .. } => path,
        }
    }
}

impl Explain for KeyError {
    fn place(&self) -> String {
        self.path().display().to_string()
    }

    fn remedy(&self) -> String {
        match self {
            Self::Read { .. } => {
                "make the agent's keys with `client-agent init`, or restore them from their backup"
                    .into()
            }
            Self::Create { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "keep the key that is there: a new one would orphan all data made with the old one"
                    .into()
            }
            Self::Create { .. } => "check the directory's owner and free space".into(),
            Self::Permissions { path, .. } => format!("run: chmod 600 {}", path.display()),
            Self::Malformed { .. } => "restore the file from its backup".into(),
            Self::Locked { .. } => format!(
                "name 'passphrase_file' or 'key_file' in the configuration's [unlock], or set \
                 {PASSPHRASE_VARIABLE}"
            ),
            Self::Unfit { .. } => {
                "give the one that `client-agent keys wrap` was last run with; nothing else opens it"
                    .into()
            }
            Self::Short { .. } => "choose a longer one, such as six words by dice".into(),
            Self::Pending { .. } => {
                "run `client-agent keys rotate --pseudonyms` of the agent that has this file again: \
                 it goes on, and nothing is lost"
                    .into()
            }
            Self::OtherChain { .. } => {
                "take the file of a store that shares the linkage key and was rotated after this \
                 one, and rotate at one store only"
                    .into()
            }
            Self::NothingNew { .. } => {
                "rotate the pseudonym key of the other store first; there is nothing to do here"
                    .into()
            }
            Self::InUse { .. } => {
                "stop `client-agent serve`, `run` and `ingest` of this agent, then run it again".into()
            }
            Self::Randomness { .. } => "check the operating system's random generator".into(),
        }
    }
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner: mode 0600.
    Owner,
    /// Everybody whom the process's umask does not shut out: mode 0644.
    Everybody,
}

/// Writes a new file with mode 0600 and flushes it to the disk.
///
/// # Errors
/// What the operating system says; `AlreadyExists` when the file is there.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(path, bytes, Readers::Owner)
}

/// Writes a new file and flushes it to the disk.
///
/// # Errors
/// What the operating system says; `AlreadyExists` when the file is there.
pub fn write_new(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match readers {
            Readers::Owner => 0o600,
            Readers::Everybody => 0o644,
        },
    );
    #[cfg(not(unix))]
    let _ = readers;
    let mut file = options.open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
        // A half-written key is worse than none.
        let _ = fs::remove_file(path);
    })
}

/// Replaces a file whole, durably: a temporary file beside it, flushed, renamed, and the directory
/// flushed. After a crash there is the old file or the new one.
///
/// # Errors
/// What the operating system says.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // A left-over of a crash may be in the way.
    let _ = fs::remove_file(&temporary);
    write_new(&temporary, bytes, readers)?;
    fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes `path` and its parents, for the owner only.
///
/// # Errors
/// What the operating system says.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Reads a secret text file, and refuses one that others may read.
fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let read = |source| KeyError::Read { path: path.into(), source };
    let metadata = fs::metadata(path).map_err(read)?;
    if let Some(mode) = open_to_others(&metadata) {
        return Err(KeyError::Permissions { path: path.into(), mode });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(read)
}

#[cfg(unix)]
fn open_to_others(metadata: &fs::Metadata) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn open_to_others(_: &fs::Metadata) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let made = Key::create(&path).unwrap();
        assert_eq!(Key::read(&path).unwrap().as_bytes(), made.as_bytes());
        assert_ne!(made.as_bytes(), &[0; 32]);
        assert!(matches!(Key::create(&path), Err(KeyError::Create { .. })));
        assert_eq!(format!("{made:?}"), "Key(redacted)");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::write(dir.path().join("state.new"), "half of a crash").unwrap();
        replace(&path, b"one", Readers::Owner).unwrap();
        replace(&path, b"two", Readers::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn open_or_broken_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        assert!(matches!(Key::read(&path), Err(KeyError::Read { .. })));
        write_private(&path, b"abc").unwrap();
        assert!(matches!(Key::read(&path), Err(KeyError::Malformed { .. })));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let error = Key::read(&path).unwrap_err();
            assert!(matches!(error, KeyError::Permissions { mode: 0o644, .. }));
            assert!(error.remedy().contains("chmod 600"));
        }
    }
}
