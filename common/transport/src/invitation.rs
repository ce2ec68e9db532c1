//! Invitations: one small file for each store, and the list of token digests for the
//! coordinator, which never sees a token.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use chorale_wire::{AgentId, Digest, PublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    files::{self, FileError},
    token::Token,
};

/// What a store's administrator gets from the enrolment authority, as a file. It holds a secret:
/// whoever has it first can enrol in the store's name until it expires.
#[derive(Clone)]
pub struct Invitation {
    /// The agent's name.
    pub agent: AgentId,
    /// The coordinator, `host:port` over UDP.
    pub coordinator: String,
    /// The coordinator's enrolment endpoint, `host:port` over UDP.
    pub enrolment: String,
    /// SHA-256 of the DER of the authority's TLS root.
    pub root_fingerprint: Digest,
    /// The authority's Ed25519 key, which signs memberships.
    pub authority: PublicKey,
    /// The coordinator's Ed25519 key, which signs round specs and the ledger.
    pub coordinator_key: PublicKey,
    /// Last second in which the token is good (Unix time).
    pub expires_s: u64,
    pub(crate) token: Token,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation({}, token redacted)", self.agent)
    }
}

/// The file, before it is checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InvitationFile {
    agent: AgentId,
    coordinator: String,
    enrolment: String,
    root_fingerprint: String,
    authority: String,
    coordinator_key: String,
    expires_s: u64,
    token: Token,
}

impl Invitation {
    /// SHA-256 of the token, by which authority and coordinator know it.
    #[must_use]
    pub fn token_digest(&self) -> Digest {
        self.token.digest()
    }

    /// The name of the file for this invitation.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.invitation.toml", self.agent)
    }

    /// Writes the invitation into `folder`; only its owner can read it. Returns its path.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, folder: &Path) -> Result<PathBuf, FileError> {
        files::create_folder(folder)?;
        let path = folder.join(self.file_name());
        files::write_private(&path, self.to_text()?.as_bytes())?;
        Ok(path)
    }

    /// The file's text. It holds the secret.
    ///
    /// # Errors
    /// [`FileError::Malformed`], which no invitation that was read or issued gives.
    pub fn to_text(&self) -> Result<Zeroizing<String>, FileError> {
        let file = InvitationFile {
            agent: self.agent.clone(),
            coordinator: self.coordinator.clone(),
            enrolment: self.enrolment.clone(),
            root_fingerprint: self.root_fingerprint.to_string(),
            authority: self.authority.to_string(),
            coordinator_key: self.coordinator_key.to_string(),
            expires_s: self.expires_s,
            token: self.token.clone(),
        };
        let body = toml::to_string(&file).map(Zeroizing::new).map_err(|error| {
            FileError::malformed(Path::new(&self.file_name()), error.to_string())
        })?;
        Ok(Zeroizing::new(format!(
            "# Invitation of {} to a Chorale federation. Keep it secret: it can be used once,\n\
             # until {} (Unix seconds), by whoever has it.\n{}",
            self.agent, self.expires_s, *body
        )))
    }

    /// Reads an invitation file.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::parse(&Zeroizing::new(files::read_text(path)?), path)
    }

    /// Reads the text of an invitation, which came from `path`.
    ///
    /// # Errors
    /// [`FileError::Malformed`]; it never quotes the text, which holds a secret.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let file: InvitationFile = toml::from_str(text).map_err(|error| {
            // The error's own text quotes the file, which holds a secret.
            FileError::malformed(path, error.message().to_owned())
        })?;
        let wrong = |field: &str| {
            FileError::malformed(path, format!("`{field}` is not 64 hexadecimal digits"))
        };
        Ok(Self {
            agent: file.agent,
            coordinator: file.coordinator,
            enrolment: file.enrolment,
            root_fingerprint: Digest::parse(&file.root_fingerprint)
                .ok_or_else(|| wrong("root_fingerprint"))?,
            authority: PublicKey::parse(&file.authority).ok_or_else(|| wrong("authority"))?,
            coordinator_key: PublicKey::parse(&file.coordinator_key)
                .ok_or_else(|| wrong("coordinator_key"))?,
            expires_s: file.expires_s,
            token: file.token,
        })
    }
}

/// What the coordinator knows about invitations: enough to turn strangers away, not enough to
/// enrol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenList {
    /// One entry for each open invitation, ascending by agent.
    pub tokens: Vec<TokenEntry>,
}

/// One open invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// The agent.
    pub agent: AgentId,
    /// SHA-256 of its token, 64 hexadecimal digits.
    pub token_sha256: String,
    /// Last second in which the token is good (Unix time).
    pub expires_s: u64,
}

impl TokenList {
    /// Reads `tokens.json` as the authority wrote it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::parse(&files::read_text(path)?, path)
    }

    /// Reads the text of a list, which came from `path`.
    ///
    /// # Errors
    /// [`FileError::Malformed`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        serde_json::from_str(text).map_err(|error| FileError::malformed(path, error.to_string()))
    }

    /// Writes the list.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| FileError::malformed(path, error.to_string()))?;
        files::write_private(path, text.as_bytes())
    }

    /// Whether this agent has an open invitation with this token at `now_s`.
    #[must_use]
    pub fn admits(&self, agent: &AgentId, token: &Digest, now_s: u64) -> bool {
        let token = token.to_string();
        self.tokens.iter().any(|entry| {
            entry.agent == *agent && entry.token_sha256 == token && now_s <= entry.expires_s
        })
    }
}
