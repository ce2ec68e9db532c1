//! Who may call: bearer tokens (RFC 6750) with roles. The file holds names, roles and SHA-256 of
//! the tokens; a token has 256 random bits, so that a plain hash is enough.

use std::{
    io,
    path::{Path, PathBuf},
};

use chorale_people::{
    Explain,
    keys::{Readers, replace},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sends events, and nothing else: for what runs in the shop's pages.
    Collector,
    /// The store's systems: events, items, recommendations, profiles.
    Application,
    /// Everything, with export, erasure and members of segments.
    Administrator,
    /// Figures about no person in particular.
    Auditor,
}

/// The callers that are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// One entry for each token.
    #[serde(default, rename = "token")]
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    /// SHA-256 of the token's text, as hexadecimal digits.
    sha256: String,
}

/// A caller whose token was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The first 32 bits of the token's hash: the same whatever else is in the file.
    pub number: u32,
    /// What it may do.
    pub role: Role,
}

/// Why the tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not readable or not writable.
    #[error("the tokens' file cannot be used")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Not TOML, or a key that does not exist.
    #[error("the tokens' file is not valid")]
    Content {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A name that is taken, or none.
    #[error("a token's name must be new, of 1 to 64 characters a-z, 0-9 and '-'")]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// No token of this name.
    #[error("there is no token of this name")]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness")]
    Randomness {
        /// The file.
        path: PathBuf,
        /// What it says.
        #[source]
        source: getrandom::Error,
    },
}

/// Marks a text as one of our tokens, so that scanners for leaked secrets can find it.
const PREFIX: &str = "chorale_";

impl Role {
    /// Parses a role's name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "collector" => Self::Collector,
            "application" => Self::Application,
            "administrator" => Self::Administrator,
            "auditor" => Self::Auditor,
            _ => return None,
        })
    }
}

impl Tokens {
    /// Reads the file; without one there are no callers.
    ///
    /// # Errors
    /// [`TokenError`] names the file.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(TokenError::File { path: path.into(), source }),
        };
        toml::from_str(&text)
            .map_err(|source| TokenError::Content { path: path.into(), source: Box::new(source) })
    }

    /// Makes a token, adds it to the file and returns its text, which is nowhere kept.
    ///
    /// # Errors
    /// [`TokenError`]; then the file is as it was.
    pub fn add(path: &Path, name: &str, role: Role) -> Result<String, TokenError> {
        let mut tokens = Self::read(path)?;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let named = (1..=64).contains(&name.len()) && name.bytes().all(fits);
        if !named || tokens.entries.iter().any(|entry| entry.name == name) {
            return Err(TokenError::Name { path: path.into() });
        }
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret)
            .map_err(|source| TokenError::Randomness { path: path.into(), source })?;
        let text = format!("{PREFIX}{}", hex::encode(secret));
        tokens.entries.push(Entry { name: name.to_owned(), role, sha256: hash(&text) });
        tokens.write(path)?;
        Ok(text)
    }

    /// Takes a token out of the file.
    ///
    /// # Errors
    /// [`TokenError`]; then the file is as it was.
    pub fn revoke(path: &Path, name: &str) -> Result<(), TokenError> {
        let mut tokens = Self::read(path)?;
        let before = tokens.entries.len();
        tokens.entries.retain(|entry| entry.name != name);
        if tokens.entries.len() == before {
            return Err(TokenError::Unknown { path: path.into() });
        }
        tokens.write(path)
    }

    /// Names and roles, in the file's order.
    pub fn list(&self) -> impl Iterator<Item = (&str, Role)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), entry.role))
    }

    /// The caller with this token.
    #[must_use]
    pub fn caller(&self, token: &str) -> Option<Caller> {
        let given = hash(token);
        let number = u32::from_str_radix(given.get(..8)?, 16).ok()?;
        let mut found = None;
        // All are compared, so that the time says nothing about the place.
        for entry in &self.entries {
            if bool::from(entry.sha256.as_bytes().ct_eq(given.as_bytes())) {
                found = Some(Caller { number, role: entry.role });
            }
        }
        found
    }

    fn write(&self, path: &Path) -> Result<(), TokenError> {
        let failed = |source| TokenError::File { path: path.into(), source };
        let text = toml::to_string(self).map_err(|error| failed(io::Error::other(error)))?;
        replace(path, text.as_bytes(), Readers::Owner).map_err(failed)
    }
}

impl Explain for TokenError {
    fn place(&self) -> String {
        match self {
            Self::File { path, .. }
            | Self::Content { path, .. }
            | Self::Name { path }
            | Self::Unknown { path }
            | Self::Randomness { path, .. } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::File { .. } => "check the file's owner and the directory".into(),
            Self::Content { .. } => "restore the file, or remove it and make new tokens".into(),
            Self::Name { .. } => "choose another name".into(),
            Self::Unknown { .. } => "`client-agent tokens list` shows the names".into(),
            Self::Randomness { .. } => "check the operating system's random generator".into(),
        }
    }
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_found_by_its_text_alone_and_revoked_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let shop = Tokens::add(&path, "shop", Role::Application).unwrap();
        let auditor = Tokens::add(&path, "auditor", Role::Auditor).unwrap();
        assert!(matches!(Tokens::add(&path, "shop", Role::Auditor), Err(TokenError::Name { .. })));
        let tokens = Tokens::read(&path).unwrap();
        let number = u32::from_str_radix(&hash(&auditor)[..8], 16).unwrap();
        assert_eq!(tokens.caller(&auditor), Some(Caller { number, role: Role::Auditor }));
        assert_eq!(tokens.caller("chorale_00"), None);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&shop) && !text.contains(&shop[PREFIX.len()..]));
        Tokens::revoke(&path, "shop").unwrap();
        assert_eq!(Tokens::read(&path).unwrap().caller(&shop), None);
        assert!(matches!(Tokens::revoke(&path, "shop"), Err(TokenError::Unknown { .. })));
    }
}
