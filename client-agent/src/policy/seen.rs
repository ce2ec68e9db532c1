//! The newest policy that this agent ever obeyed in a federation, so that it never goes back to
//! an older one. It lies with the keys: a data directory that is restored from a backup does not
//! bring an older policy back.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use chorale_wire::{Digest, FederationId};
use serde::{Deserialize, Serialize};

use super::PolicyStatement;
use crate::keys::{Readers, replace};

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The highest serial number obeyed.
    serial: u32,
    /// SHA-256 of the policy file with that number, in hexadecimal digits.
    policy: String,
}

/// Why the memory of policies could not be used. No policy is obeyed without it.
#[derive(Debug, thiserror::Error)]
pub enum SeenError {
    /// The system refuses.
    #[error("what this agent remembers of earlier policies cannot be {doing}")]
    Io {
        /// `read`, `written` or `locked`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Not what an agent writes.
    #[error("what this agent remembers of earlier policies is damaged")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A newer policy was obeyed before.
    #[error(
        "the policy is outdated: its serial number is {serial} and this agent has obeyed {seen}"
    )]
    Outdated {
        /// The policy.
        path: PathBuf,
        /// Its number.
        serial: u32,
        /// The highest number obeyed.
        seen: u32,
    },
    /// Two policies have one number.
    #[error("another policy with serial number {serial} was obeyed before")]
    Ambiguous {
        /// The policy.
        path: PathBuf,
        /// Its number.
        serial: u32,
    },
}

/// The memory of one federation's policies in a keys directory.
#[derive(Debug)]
pub(super) struct Seen {
    path: PathBuf,
}

impl Seen {
    pub(super) fn of(keys_dir: &Path, federation: &FederationId) -> Self {
        Self { path: keys_dir.join(format!("policy-{federation}.toml")) }
    }

    /// Whether `statement`, of the policy in `policy`, may be obeyed after what was obeyed before.
    pub(super) fn admits(
        &self,
        statement: &PolicyStatement,
        policy: &Path,
    ) -> Result<(), SeenError> {
        let Some(entry) = self.entry()? else { return Ok(()) };
        let serial = statement.serial;
        if serial < entry.serial {
            return Err(SeenError::Outdated { path: policy.into(), serial, seen: entry.serial });
        }
        if serial == entry.serial && entry.policy != statement.policy.to_string() {
            return Err(SeenError::Ambiguous { path: policy.into(), serial });
        }
        Ok(())
    }

    /// As [`Seen::admits`], and remembers the statement durably before it returns. A lock keeps
    /// two processes from judging by the same memory.
    pub(super) fn advance(
        &self,
        statement: &PolicyStatement,
        policy: &Path,
    ) -> Result<(), SeenError> {
        let _held = self.lock()?;
        self.admits(statement, policy)?;
        let entry = Entry { serial: statement.serial, policy: statement.policy.to_string() };
        if self.entry()?.as_ref() == Some(&entry) {
            return Ok(());
        }
        toml::to_string(&entry)
            .map_err(io::Error::other)
            .and_then(|text| replace(&self.path, text.as_bytes(), Readers::Owner))
            .map_err(|source| self.failed("written", source))
    }

    fn entry(&self) -> Result<Option<Entry>, SeenError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed("read", source)),
        };
        let entry: Option<Entry> = toml::from_str(&text).ok();
        entry
            .filter(|entry| entry.serial > 0 && Digest::parse(&entry.policy).is_some())
            .map(Some)
            .ok_or_else(|| SeenError::Malformed { path: self.path.clone() })
    }

    fn lock(&self) -> Result<File, SeenError> {
        let path = self.path.with_extension("lock");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        options
            .open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| self.failed("locked", source))
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> SeenError {
        SeenError::Io { doing, path: self.path.clone(), source }
    }
}
