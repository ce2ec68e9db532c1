//! Key files that are themselves sealed: AES-256-GCM under a key that comes out of a passphrase
//! (Argon2id, RFC 9106) or lies in a file elsewhere, such as a token or a secret of the service
//! manager.
//!
//! A file has a line for each of its keys:
//!
//! ```text
//! 64 hexadecimal digits                                             in the clear
//! chorale-key/1 argon2id m=65536,t=3,p=4 SALT NONCE-AND-SEALED      with a passphrase
//! chorale-key/1 key-file NONCE-AND-SEALED                           with a key file
//! ```
//!
//! A store's key has a second line while it is rotated: the key before. What later lines of
//! pseudonym keys are is said in [`chain`](super::chain).

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Key, KeyError, Readers, read_private, replace, write_private};
use crate::store::Sealer;

/// The environment variable that may hold the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "CHORALE_PASSPHRASE";

/// Shortest passphrase in bytes.
pub const PASSPHRASE_BYTES_MIN: usize = 12;

/// Section `[unlock]` of the configuration: what opens sealed key files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnlockSettings {
    /// A file that holds the passphrase on its first line, readable by its owner only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// A key file, in the clear, that seals the others: best on another volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// A passphrase; zeroized when dropped, never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

/// Keys that passphrases were stretched to, by salt and cost.
type Stretched = Vec<(String, Arc<Key>)>;

/// What opens sealed key files. Each passphrase is stretched once.
#[derive(Clone, Debug, Default)]
pub struct Unlock {
    passphrases: Vec<Passphrase>,
    key_files: Vec<Arc<Key>>,
    stretched: Arc<Mutex<Stretched>>,
}

/// How keys are sealed as they are written.
#[derive(Clone, Debug)]
pub enum Wrap {
    /// Not at all.
    Clear,
    /// With a passphrase.
    Passphrase(Sealed),
    /// With a key file.
    KeyFile(Sealed),
}

/// A key over keys, and how a line says so.
#[derive(Clone, Debug)]
pub struct Sealed {
    header: String,
    over: Arc<Key>,
}

/// A key file, opened.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    current: Key,
    /// The key before, while the data is sealed anew.
    before: Option<Key>,
    wrap: Wrap,
}

const MAGIC: &str = "chorale-key/1";

/// RFC 9106, section 4, the second choice: 64 MiB, three passes, four lanes.
const PARAMS: (u32, u32, u32) = (65_536, 3, 4);

/// Most memory in KiB, passes and lanes that a file may ask for: it may have been forged.
const PARAMS_MAX: (u32, u32, u32) = (1 << 20, 16, 16);

const SALT_BYTES: usize = 16;

impl UnlockSettings {
    /// Reads what the settings name; without a `passphrase_file` the environment variable
    /// [`PASSPHRASE_VARIABLE`] counts, and then what [`provide_passphrase`] was given.
    ///
    /// # Errors
    /// [`KeyError`] when a file that is named cannot be read, or is open to others.
    pub fn load(&self) -> Result<Unlock, KeyError> {
        let mut unlock = Unlock::default();
        let passphrase = match &self.passphrase_file {
            Some(path) => Some(Passphrase::read(path)?),
            None => Passphrase::from_environment(PASSPHRASE_VARIABLE)
                .or_else(|| PROVIDED.get().cloned()),
        };
        unlock.passphrases.extend(passphrase);
        if let Some(path) = &self.key_file {
            unlock.key_files.push(Arc::new(Key::read(path)?));
        }
        Ok(unlock)
    }
}

static PROVIDED: OnceLock<Passphrase> = OnceLock::new();

/// A passphrase that somebody typed for this process. The first one counts.
pub fn provide_passphrase(passphrase: Passphrase) {
    // A second one would have to open what the first one did not.
    let _ = PROVIDED.set(passphrase);
}

impl Passphrase {
    /// A passphrase from a text.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The first line of a file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be read, or is open to others.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        Ok(Self(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
    }

    /// The value of an environment variable, where it has one.
    #[must_use]
    pub fn from_environment(variable: &str) -> Option<Self> {
        std::env::var(variable).ok().filter(|text| !text.is_empty()).map(|t| Self(t.into()))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(redacted)")
    }
}

impl Unlock {
    /// Tries this passphrase too.
    #[must_use]
    pub fn with_passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrases.push(passphrase);
        self
    }

    /// Tries this key over keys too.
    #[must_use]
    pub fn with_key(mut self, over: Arc<Key>) -> Self {
        self.key_files.push(over);
        self
    }

    /// The keys over keys that a line with this header may be sealed under.
    fn candidates(&self, header: &Header<'_>, path: &Path) -> Result<Vec<Arc<Key>>, KeyError> {
        let Header::Passphrase { text, params, salt } = header else {
            return Ok(self.key_files.clone());
        };
        let mut known = self.stretched.lock().unwrap_or_else(PoisonError::into_inner);
        self.passphrases
            .iter()
            .enumerate()
            .map(|(number, passphrase)| {
                let name = format!("{number} {text}");
                if let Some((_, key)) = known.iter().find(|(other, _)| *other == name) {
                    return Ok(Arc::clone(key));
                }
                let key = Arc::new(stretch(passphrase, params.clone(), salt, path)?);
                known.push((name, Arc::clone(&key)));
                Ok(key)
            })
            .collect()
    }

    /// Opens the key of a line that was sealed for `place` in its file.
    pub(super) fn open_line(
        &self,
        line: &str,
        place: &str,
        path: &Path,
    ) -> Result<(Key, Wrap), KeyError> {
        let malformed = || KeyError::Malformed { path: path.into() };
        let Some((header, sealed)) = Header::parse(line).ok_or_else(malformed)? else {
            let mut bytes = Zeroizing::new([0u8; 32]);
            hex::decode_to_slice(line, bytes.as_mut()).map_err(|_| malformed())?;
            return Ok((Key(bytes), Wrap::Clear));
        };
        let sealed = hex::decode(sealed).map_err(|_| malformed())?;
        let candidates = self.candidates(&header, path)?;
        if candidates.is_empty() {
            return Err(KeyError::Locked { path: path.into(), with: header.with(true) });
        }
        for over in candidates {
            let bound = bound(header.text(), place);
            let plain = Sealer::over_keys(&over).open(MAGIC, bound.as_bytes(), &sealed);
            let plain = plain.ok().and_then(|plain| <[u8; 32]>::try_from(plain.as_slice()).ok());
            if let Some(bytes) = plain {
                return Ok((Key::from_bytes(bytes), header.wrap(over)));
            }
        }
        Err(KeyError::Unfit { path: path.into(), with: header.with(false) })
    }
}

/// What stands before a sealed key.
enum Header<'a> {
    Passphrase { text: &'a str, params: Params, salt: Vec<u8> },
    KeyFile { text: &'a str },
}

impl<'a> Header<'a> {
    /// Header and sealed digits of a line; `Some(None)` for a key in the clear, `None` for what is
    /// neither.
    fn parse(line: &'a str) -> Option<Option<(Self, &'a str)>> {
        if !line.starts_with(MAGIC) {
            return Some(None);
        }
        let (text, sealed) = line.rsplit_once(' ')?;
        let words: Vec<&str> = text.split(' ').collect();
        let header = match words[..] {
            [MAGIC, "argon2id", params, salt] => Self::Passphrase {
                text,
                params: parse_params(params)?,
                salt: hex::decode(salt).ok().filter(|salt| salt.len() == SALT_BYTES)?,
            },
            [MAGIC, "key-file"] => Self::KeyFile { text },
            _ => return None,
        };
        Some(Some((header, sealed)))
    }

    fn text(&self) -> &'a str {
        match self {
            Self::Passphrase { text, .. } | Self::KeyFile { text } => text,
        }
    }

    fn with(&self, article: bool) -> &'static str {
        match (self, article) {
            (Self::Passphrase { .. }, true) => "a passphrase",
            (Self::Passphrase { .. }, false) => "passphrase",
            (Self::KeyFile { .. }, true) => "a key file",
            (Self::KeyFile { .. }, false) => "key file",
        }
    }

    fn wrap(&self, over: Arc<Key>) -> Wrap {
        let sealed = Sealed { header: self.text().to_owned(), over };
        match self {
            Self::Passphrase { .. } => Wrap::Passphrase(sealed),
            Self::KeyFile { .. } => Wrap::KeyFile(sealed),
        }
    }
}

/// `m=65536,t=3,p=4` within bounds.
fn parse_params(text: &str) -> Option<Params> {
    let mut numbers = ["m=", "t=", "p="]
        .into_iter()
        .zip(text.split(','))
        .map(|(name, part)| part.strip_prefix(name).and_then(|digits| digits.parse::<u32>().ok()));
    let (m, t, p) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let (m_max, t_max, p_max) = PARAMS_MAX;
    let exact = format!("m={m},t={t},p={p}") == text;
    let bounded = m <= m_max && t <= t_max && p <= p_max;
    (exact && bounded).then(|| Params::new(m, t, p, Some(32)).ok()).flatten()
}

fn stretch(
    passphrase: &Passphrase,
    params: Params,
    salt: &[u8],
    path: &Path,
) -> Result<Key, KeyError> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.0.as_bytes(), salt, bytes.as_mut())
        .map_err(|_| KeyError::Malformed { path: path.into() })?;
    Ok(Key(bytes))
}

impl Wrap {
    /// Seals with a passphrase, under a salt of its own. `place` is where the passphrase stands.
    ///
    /// # Errors
    /// [`KeyError::Short`], or [`KeyError::Randomness`].
    pub fn passphrase(passphrase: &Passphrase, place: &Path) -> Result<Self, KeyError> {
        if passphrase.0.len() < PASSPHRASE_BYTES_MIN {
            return Err(KeyError::Short { place: place.into() });
        }
        let mut salt = [0u8; SALT_BYTES];
        getrandom::fill(&mut salt)
            .map_err(|source| KeyError::Randomness { path: place.into(), source })?;
        let (m, t, p) = PARAMS;
        let text = format!("m={m},t={t},p={p}");
        let params =
            parse_params(&text).ok_or_else(|| KeyError::Malformed { path: place.into() })?;
        let over = Arc::new(stretch(passphrase, params, &salt, place)?);
        let header = format!("{MAGIC} argon2id {text} {}", hex::encode(salt));
        Ok(Self::Passphrase(Sealed { header, over }))
    }

    /// Seals with a key over keys.
    #[must_use]
    pub fn key_file(over: Arc<Key>) -> Self {
        Self::KeyFile(Sealed { header: format!("{MAGIC} key-file"), over })
    }

    /// A few words for people.
    #[must_use]
    pub fn text(&self) -> &'static str {
        match self {
            Self::Clear => "not sealed",
            Self::Passphrase(_) => "sealed with a passphrase",
            Self::KeyFile(_) => "sealed with a key file",
        }
    }

    /// The line of a key, for `place` in the file `path`.
    pub(super) fn line(
        &self,
        key: &Key,
        place: &str,
        path: &Path,
    ) -> Result<Zeroizing<String>, KeyError> {
        Ok(Zeroizing::new(match self {
            Self::Clear => format!("{}\n", hex::encode(key.as_bytes())),
            Self::Passphrase(Sealed { header, over }) | Self::KeyFile(Sealed { header, over }) => {
                let bound = bound(header, place);
                let sealed = Sealer::over_keys(over).seal(MAGIC, bound.as_bytes(), key.as_bytes());
                let sealed = sealed.map_err(|source| KeyError::Create {
                    path: path.into(),
                    source: std::io::Error::other(source),
                })?;
                format!("{header} {}\n", hex::encode(sealed))
            }
        }))
    }
}

/// What a sealed line is bound to: its header, and its place where that is not the first.
fn bound(header: &str, place: &str) -> String {
    if place.is_empty() { header.to_owned() } else { format!("{header} {place}") }
}

impl KeyFile {
    /// Opens a key file of one key, or of two while a rotation is not finished.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be read or opened, is open to others or malformed.
    pub fn open(path: &Path, unlock: &Unlock) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let malformed = || KeyError::Malformed { path: path.into() };
        let (current, wrap) = unlock.open_line(lines.next().ok_or_else(malformed)?, "", path)?;
        let before = lines.next().map(|line| unlock.open_line(line, "", path)).transpose()?;
        if lines.next().is_some() {
            return Err(malformed());
        }
        Ok(Self { path: path.into(), current, before: before.map(|(key, _)| key), wrap })
    }

    /// Makes a file with a new random key; `path` must not exist.
    ///
    /// # Errors
    /// [`KeyError`] when there is no randomness or the file exists or cannot be written.
    pub fn create(path: &Path, wrap: Wrap) -> Result<Self, KeyError> {
        let file = Self { path: path.into(), current: Key::random(path)?, before: None, wrap };
        write_private(path, file.text()?.as_bytes())
            .map_err(|source| KeyError::Create { path: path.into(), source })?;
        Ok(file)
    }

    /// The key that seals.
    #[must_use]
    pub fn current(&self) -> &Key {
        &self.current
    }

    /// The key before, which opens what is not yet sealed anew.
    #[must_use]
    pub fn before(&self) -> Option<&Key> {
        self.before.as_ref()
    }

    /// How the file is sealed.
    #[must_use]
    pub fn wrap(&self) -> &Wrap {
        &self.wrap
    }

    /// The keys: the current one, and the one before.
    #[must_use]
    pub fn into_keys(self) -> (Key, Option<Key>) {
        (self.current, self.before)
    }

    /// Seals the same keys in another way. After a crash there is the old file or the new one.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be written.
    pub fn rewrap(&mut self, wrap: Wrap) -> Result<(), KeyError> {
        self.wrap = wrap;
        self.write()
    }

    /// Puts a new random key before the current one, durably.
    pub(super) fn begin_rotation(&mut self) -> Result<(), KeyError> {
        let before = std::mem::replace(&mut self.current, Key::random(&self.path)?);
        self.before = Some(before);
        self.write()
    }

    /// Drops the key before, durably.
    pub(super) fn finish_rotation(&mut self) -> Result<(), KeyError> {
        self.before = None;
        self.write()
    }

    fn write(&self) -> Result<(), KeyError> {
        replace(&self.path, self.text()?.as_bytes(), Readers::Owner)
            .map_err(|source| KeyError::Create { path: self.path.clone(), source })
    }

    fn text(&self) -> Result<Zeroizing<String>, KeyError> {
        let mut text = Zeroizing::new(String::new());
        for key in std::iter::once(&self.current).chain(&self.before) {
            text.push_str(&self.wrap.line(key, "", &self.path)?);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase(Zeroizing::new(text.to_owned()))
    }

    fn sealed(dir: &Path, name: &str) -> (PathBuf, [u8; 32]) {
        let path = dir.join(name);
        let wrap = Wrap::passphrase(&passphrase("six words by dice"), dir).unwrap();
        let file = KeyFile::create(&path, wrap).unwrap();
        (path, *file.current().as_bytes())
    }

    #[test]
    fn a_key_opens_with_its_passphrase_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, key) = sealed(dir.path(), "a.key");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("chorale-key/1 argon2id m=65536,t=3,p=4 "), "{text}");
        assert!(!text.contains(&hex::encode(key)));
        let with = |text: &str| Unlock::default().with_passphrase(passphrase(text));
        assert_eq!(Key::open(&path, &with("six words by dice")).unwrap().as_bytes(), &key);
        let both = with("another").with_passphrase(passphrase("six words by dice"));
        assert_eq!(Key::open(&path, &both).unwrap().as_bytes(), &key);
        assert!(matches!(Key::open(&path, &with("another")), Err(KeyError::Unfit { .. })));
        let error = Key::read(&path).unwrap_err();
        assert!(matches!(error, KeyError::Locked { with: "a passphrase", .. }));
        let short = Wrap::passphrase(&passphrase("eleven char"), dir.path());
        assert!(matches!(short, Err(KeyError::Short { .. })));
    }

    #[test]
    fn a_key_opens_with_its_key_file_alone_and_can_be_wrapped_anew() {
        let dir = tempfile::tempdir().unwrap();
        let over = Arc::new(Key::from_bytes([1; 32]));
        let path = dir.path().join("a.key");
        let mut file = KeyFile::create(&path, Wrap::key_file(Arc::clone(&over))).unwrap();
        let key = *file.current().as_bytes();
        let unlock = Unlock::default().with_key(over);
        assert_eq!(Key::open(&path, &unlock).unwrap().as_bytes(), &key);
        let other = Unlock::default().with_key(Arc::new(Key::from_bytes([2; 32])));
        assert!(matches!(Key::open(&path, &other), Err(KeyError::Unfit { .. })));
        file.rewrap(Wrap::Clear).unwrap();
        assert_eq!(Key::read(&path).unwrap().as_bytes(), &key);
    }

    #[test]
    fn whatever_is_changed_in_the_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = sealed(dir.path(), "a.key");
        let text = fs::read_to_string(&path).unwrap();
        let unlock = Unlock::default().with_passphrase(passphrase("six words by dice"));
        let end = text.len() - 2;
        let last = if text.as_bytes()[end] == b'0' { "1" } else { "0" };
        for changed in [
            text.replace("argon2id", "argon2d"),
            text.replace("m=65536", "m=99999999"),
            text.replace("m=65536", "m=065536"),
            text.replace("t=3,p=4", "t=3"),
            format!("{}{last}\n", &text[..end]),
            format!("{text}{text}{text}"),
            text.replace("chorale-key/1", "chorale-key/2"),
        ] {
            assert_ne!(changed, text);
            replace(&path, changed.as_bytes(), Readers::Owner).unwrap();
            assert!(KeyFile::open(&path, &unlock).is_err(), "{changed}");
        }
    }
}
