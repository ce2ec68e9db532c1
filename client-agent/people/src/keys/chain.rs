//! The keys of the pseudonyms: a chain in one file, and its rotation.
//!
//! The file's first line is the first key, as in any key file. Each later key has a line of its own
//! behind a word, and a sealed one is bound to word and number, so that none can be moved:
//!
//! ```text
//! LINE             the first key
//! then LINE        a later key in force
//! pending LINE     a key of a rotation that is not finished; only after those in force
//! ```
//!
//! A rotation writes the new keys as pending, renames each database, and puts the keys in force.
//! While a key is pending [`NameKeys::names`] refuses. Each database says itself which part of the
//! chain its names are under, so that a rotation that is run again goes on where it was cut short.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Key, KeyError, Readers, StoreKey, Unlock, Wrap, read_private, replace};
use crate::pseudonym::Pseudonymiser;

/// The file of the pseudonym keys, opened.
#[derive(Debug)]
pub struct NameKeys {
    path: PathBuf,
    first: Key,
    later: Vec<Key>,
    /// How many of `later` are in force.
    in_force: usize,
    wrap: Wrap,
}

/// A rotation of the pseudonym key: nothing else of the agent runs meanwhile.
#[derive(Debug)]
pub struct NameRotation {
    keys: NameKeys,
    store_key: StoreKey,
}

const THEN: &str = "then";
const PENDING: &str = "pending";

impl NameKeys {
    /// Opens the pseudonym key file in `path`.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be read or opened, is open to others or malformed.
    pub fn open(path: &Path, unlock: &Unlock) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let malformed = || KeyError::Malformed { path: path.into() };
        let (first, wrap) = unlock.open_line(lines.next().ok_or_else(malformed)?, "", path)?;
        let mut keys = Self { path: path.into(), first, later: Vec::new(), in_force: 0, wrap };
        for line in lines {
            let (word, line) = line.split_once(' ').ok_or_else(malformed)?;
            let is_pending = match word {
                THEN if !keys.is_pending() => false,
                PENDING => true,
                _ => return Err(malformed()),
            };
            let place = place(keys.later.len(), is_pending);
            keys.later.push(unlock.open_line(line, &place, path)?.0);
            keys.in_force += usize::from(!is_pending);
        }
        Ok(keys)
    }

    /// How many keys are in force.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.in_force
    }

    /// Whether a rotation is not finished.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.in_force < self.later.len()
    }

    /// How the file is sealed.
    #[must_use]
    pub fn wrap(&self) -> &Wrap {
        &self.wrap
    }

    /// The pseudonyms under the keys in force.
    ///
    /// # Errors
    /// [`KeyError::Pending`] while a rotation is not finished: names may stand under either.
    pub fn names(&self) -> Result<Pseudonymiser, KeyError> {
        match self.is_pending() {
            true => Err(KeyError::Pending { path: self.path.clone() }),
            false => Ok(self.all()),
        }
    }

    /// The pseudonyms under every key of the file, also those that are pending.
    #[must_use]
    pub fn all(&self) -> Pseudonymiser {
        let first = Pseudonymiser::new(&self.first);
        self.later.iter().fold(first, |names, key| names.then(key))
    }

    /// Seals the same keys in another way. After a crash there is the old file or the new one. Only
    /// while the agent's [`StoreKey`] is held, so that no rotation is going on.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be written.
    pub fn rewrap(&mut self, wrap: Wrap) -> Result<(), KeyError> {
        self.wrap = wrap;
        self.write()
    }

    /// Adds a key as pending: a new one, or those that `to` has after ours.
    fn extend(&mut self, to: Option<Self>) -> Result<(), KeyError> {
        let Some(to) = to else {
            self.later.push(Key::random(&self.path)?);
            return self.write();
        };
        let path = to.path.clone();
        if to.is_pending() {
            return Err(KeyError::Pending { path });
        }
        let same = |ours: &[Key], theirs: &[Key]| {
            ours.len() <= theirs.len()
                && ours.iter().zip(theirs).all(|(one, two)| one.as_bytes() == two.as_bytes())
        };
        if to.first.as_bytes() != self.first.as_bytes() {
            return Err(KeyError::OtherChain { path });
        }
        if same(&to.later, &self.later) && !(self.is_pending() && same(&self.later, &to.later)) {
            return Err(KeyError::NothingNew { path });
        }
        if !same(&self.later, &to.later) {
            return Err(KeyError::OtherChain { path });
        }
        let known = self.later.len();
        self.later.extend(to.later.into_iter().skip(known));
        self.write()
    }

    fn write(&self) -> Result<(), KeyError> {
        let mut text = self.wrap.line(&self.first, "", &self.path)?;
        for (number, key) in self.later.iter().enumerate() {
            let is_pending = number >= self.in_force;
            text.push_str(if is_pending { PENDING } else { THEN });
            text.push(' ');
            text.push_str(&self.wrap.line(key, &place(number, is_pending), &self.path)?);
        }
        let text: Zeroizing<String> = text;
        replace(&self.path, text.as_bytes(), Readers::Owner)
            .map_err(|source| KeyError::Create { path: self.path.clone(), source })
    }
}

/// What the line of a later key is bound to.
fn place(number: usize, is_pending: bool) -> String {
    format!("{} {number}", if is_pending { PENDING } else { THEN })
}

impl NameRotation {
    /// Opens the pseudonym key file `names` while nothing else of the agent runs. Nothing is changed
    /// yet.
    ///
    /// # Errors
    /// [`KeyError::InUse`] while another process holds the store's key; [`KeyError`] when a file
    /// cannot be read or opened.
    pub fn open(
        data_dir: &Path,
        store_key: &Path,
        names: &Path,
        unlock: &Unlock,
    ) -> Result<Self, KeyError> {
        let store_key = StoreKey::alone(data_dir, store_key, unlock)?;
        Ok(Self { keys: NameKeys::open(names, unlock)?, store_key })
    }

    /// The key that seals the data.
    #[must_use]
    pub fn store_key(&self) -> &StoreKey {
        &self.store_key
    }

    /// The keys as they are now.
    #[must_use]
    pub fn keys(&self) -> &NameKeys {
        &self.keys
    }

    /// Adds a new key as pending; where `to` is given, the keys that it has after ours instead.
    ///
    /// # Errors
    /// [`KeyError::OtherChain`] or [`KeyError::NothingNew`] when `to` does not go on where ours end,
    /// [`KeyError::Pending`] when its own rotation is not finished; [`KeyError`] when there is no
    /// randomness or the file cannot be written. Then nothing is changed.
    pub fn begin(&mut self, to: Option<NameKeys>) -> Result<(), KeyError> {
        self.keys.extend(to)
    }

    /// Puts every key in force; how many there are. Only when all names stand under them.
    ///
    /// # Errors
    /// [`KeyError`] when the file cannot be written; then the keys stay pending.
    pub fn finish(mut self) -> Result<usize, KeyError> {
        if self.keys.is_pending() {
            self.keys.in_force = self.keys.later.len();
            self.keys.write()?;
        }
        Ok(self.keys.count())
    }
}

#[cfg(test)]
mod tests;
