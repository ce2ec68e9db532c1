//! What an administrator signs, and the file that holds it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chorale_wire::{
    AgentId, Digest, FederationId, Message, PublicKey, SignatureError, Signed, Verified, codec,
};
use serde::{Deserialize, Serialize};

use crate::keys::{Readers, replace};

/// Which agent a policy is for, where, and which one of its series it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The agent that may use it.
    pub agent: AgentId,
    /// The federation that it is for.
    pub federation: FederationId,
    /// From 1 upwards: an agent never goes back to a lower number.
    pub serial: u32,
    /// When it was signed, in Unix seconds. For people; nothing is decided by it.
    pub created_s: u64,
}

/// The administrator's word for one policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatement {
    /// Version of this layout and of what the policy's keys mean.
    pub version: u16,
    /// [`Terms::agent`].
    pub agent: AgentId,
    /// [`Terms::federation`].
    pub federation: FederationId,
    /// [`Terms::serial`].
    pub serial: u32,
    /// [`Terms::created_s`].
    pub created_s: u64,
    /// SHA-256 of the policy file, byte for byte.
    pub policy: Digest,
}

/// The version that this program writes and reads.
pub(super) const VERSION: u16 = 1;

impl Message for PolicyStatement {
    const CONTEXT: &'static str = "agent policy";
    // Two names of 64 bytes, a digest and four numbers.
    const BYTES_MAX: usize = 256;
}

impl PolicyStatement {
    pub(super) fn new(terms: Terms, policy: Digest) -> Self {
        let Terms { agent, federation, serial, created_s } = terms;
        Self { version: VERSION, agent, federation, serial, created_s, policy }
    }
}

/// A statement with its signature, as it lies beside the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Whose key is said to have signed. Believed of nobody: it only makes a better error.
    signer: PublicKey,
    statement: Signed<PolicyStatement>,
}

/// Longest encoding of a [`Signature`] in bytes.
const SIGNATURE_BYTES_MAX: usize = 512;

/// Why a signature file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SignatureFileError {
    /// The system refuses.
    #[error("the policy's signature cannot be {doing}")]
    Io {
        /// `read` or `written`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Not what `client-agent policy sign` writes.
    #[error("the policy's signature file is damaged")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl Signature {
    pub(super) fn new(signer: PublicKey, statement: Signed<PolicyStatement>) -> Self {
        Self { signer, statement }
    }

    /// Where the signature of the policy in `path` lies: the same name with `.sig` added.
    #[must_use]
    pub fn path_of(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".sig");
        name.into()
    }

    /// Reads a signature file: one line of hexadecimal digits, exactly as
    /// [`Signature::write`] makes it. Nothing is verified yet. `None` where there is no file.
    ///
    /// # Errors
    /// [`SignatureFileError`].
    pub fn read(path: &Path) -> Result<Option<Self>, SignatureFileError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(SignatureFileError::Io { doing: "read", path: path.into(), source });
            }
        };
        let malformed = || SignatureFileError::Malformed { path: path.into() };
        let line = text.strip_suffix(b"\n").ok_or_else(malformed)?;
        let bytes = hex::decode(line).map_err(|_| malformed())?;
        // There is one spelling for each signature, so that no changed byte passes unnoticed.
        if hex::encode(&bytes).as_bytes() != line {
            return Err(malformed());
        }
        codec::decode(&bytes, SIGNATURE_BYTES_MAX).map(Some).map_err(|_| malformed())
    }

    /// Writes the file whole, in place of one that is there.
    ///
    /// # Errors
    /// [`SignatureFileError`].
    pub fn write(&self, path: &Path) -> Result<(), SignatureFileError> {
        let written =
            codec::encode(self, SIGNATURE_BYTES_MAX).map_err(io::Error::other).and_then(|bytes| {
                let line = hex::encode(bytes) + "\n";
                replace(path, line.as_bytes(), Readers::Everybody)
            });
        written.map_err(|source| SignatureFileError::Io {
            doing: "written",
            path: path.into(),
            source,
        })
    }

    /// Whose key is said to have signed.
    #[must_use]
    pub fn claimed_signer(&self) -> PublicKey {
        self.signer
    }

    /// The statement, if `administrator` signed it.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(
        &self,
        administrator: &PublicKey,
    ) -> Result<Verified<PolicyStatement>, SignatureError> {
        self.statement.verify(administrator)
    }
}
