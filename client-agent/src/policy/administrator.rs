//! The store's administrator: an Ed25519 key of its own that puts policies into force.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chorale_wire::{EncodeError, PublicKey, SecretKey, Signed};

use super::{
    PolicyError, StorePolicy,
    statement::{PolicyStatement, Signature, Terms},
};
use crate::{
    error::Explain,
    keys::{Key, KeyError, Readers, write_new},
};

/// The administrator's signing key. It belongs on the administrator's machine and is not needed
/// where the agent runs.
#[derive(Debug)]
pub struct Administrator(SecretKey);

/// Why the administrator's key could not be made or read, or a policy not be signed.
#[derive(Debug, thiserror::Error)]
pub enum AdministratorError {
    /// The secret key's file.
    #[error("the administrator's key cannot be used")]
    Key(#[source] KeyError),
    /// The public key's file.
    #[error("the administrator's public key cannot be {doing}")]
    PublicKey {
        /// `read` or `written`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Not 64 hexadecimal digits.
    #[error("the file of the administrator's public key does not hold 64 hexadecimal digits")]
    NoPublicKey {
        /// The file.
        path: PathBuf,
    },
    /// Policies that no agent would admit are not signed.
    #[error("the policy is not signed, because no agent could use it")]
    Policy(#[source] PolicyError),
    /// Serial numbers begin at 1.
    #[error("a policy's serial number begins at 1")]
    Serial {
        /// The policy.
        path: PathBuf,
    },
    /// The statement does not fit its limit.
    #[error("the policy's statement cannot be encoded")]
    Encode {
        /// The policy.
        path: PathBuf,
        /// What the codec says.
        #[source]
        source: EncodeError,
    },
}

impl Administrator {
    /// Makes a new key in `path` (mode 0600), with its public half beside it
    /// ([`Administrator::public_path`]). Neither file may exist.
    ///
    /// # Errors
    /// [`AdministratorError::Key`] or [`AdministratorError::PublicKey`].
    pub fn create(path: &Path) -> Result<Self, AdministratorError> {
        let public_path = Self::public_path(path);
        let failed = |source| AdministratorError::PublicKey {
            doing: "written",
            path: public_path.clone(),
            source,
        };
        // Looked for first, so that no key is left behind whose public half has no place.
        if public_path.exists() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let key = Key::create(path).map_err(AdministratorError::Key)?;
        let administrator = Self(SecretKey::from_seed(key.as_bytes()));
        let line = format!("{}\n", administrator.public());
        write_new(&public_path, line.as_bytes(), Readers::Everybody).map_err(failed)?;
        Ok(administrator)
    }

    /// Reads the key from `path`; refused where others can read it.
    ///
    /// # Errors
    /// [`AdministratorError::Key`].
    pub fn read(path: &Path) -> Result<Self, AdministratorError> {
        let key = Key::read(path).map_err(AdministratorError::Key)?;
        Ok(Self(SecretKey::from_seed(key.as_bytes())))
    }

    /// Where the public half of the key in `path` lies: the same name, ending in `.pub`.
    #[must_use]
    pub fn public_path(path: &Path) -> PathBuf {
        path.with_extension("pub")
    }

    /// The public half, which enrolment binds to the agent.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// Signs the policy in `path`, exactly as the file is, on `terms`. What it allows is given back
    /// for whoever wants to see what was signed.
    ///
    /// # Errors
    /// [`AdministratorError`]: the policy is not valid, or the serial number is 0.
    pub fn sign(
        &self,
        path: &Path,
        terms: Terms,
    ) -> Result<(StorePolicy, Signature), AdministratorError> {
        let (policy, digest) = StorePolicy::read(path).map_err(AdministratorError::Policy)?;
        if terms.serial == 0 {
            return Err(AdministratorError::Serial { path: path.into() });
        }
        let statement = PolicyStatement::new(terms, digest);
        let signed = Signed::sign(&statement, &self.0)
            .map_err(|source| AdministratorError::Encode { path: path.into(), source })?;
        Ok((policy, Signature::new(self.public(), signed)))
    }
}

/// Reads an administrator's public key from its file.
///
/// # Errors
/// [`AdministratorError::PublicKey`] or [`AdministratorError::NoPublicKey`].
pub fn read_public_key(path: &Path) -> Result<PublicKey, AdministratorError> {
    let text = fs::read_to_string(path).map_err(|source| AdministratorError::PublicKey {
        doing: "read",
        path: path.into(),
        source,
    })?;
    PublicKey::parse(text.trim())
        .ok_or_else(|| AdministratorError::NoPublicKey { path: path.into() })
}

impl Explain for AdministratorError {
    fn place(&self) -> String {
        match self {
            Self::Key(error) => error.place(),
            Self::Policy(error) => error.place(),
            Self::PublicKey { path, .. }
            | Self::NoPublicKey { path }
            | Self::Serial { path }
            | Self::Encode { path, .. } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        let make = "make a key with `client-agent policy keygen`";
        match self {
            Self::Key(error @ (KeyError::Permissions { .. } | KeyError::Randomness { .. })) => {
                error.remedy()
            }
            Self::Key(KeyError::Create { source, .. }) | Self::PublicKey { source, .. }
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                "keep the key that is there, or give another place with --out: agents enrolled \
                 with a key obey that key alone"
                    .into()
            }
            Self::Key(KeyError::Create { .. }) | Self::PublicKey { doing: "written", .. } => {
                "check the directory, its owner and its free space".into()
            }
            Self::Key(_) => format!("give the key's file with --key, or {make}"),
            Self::PublicKey { .. } | Self::NoPublicKey { .. } => {
                format!("give the .pub file of the administrator's key, or {make}")
            }
            Self::Policy(error) => error.remedy(),
            Self::Serial { .. } => "give a serial number of 1 or more with --serial".into(),
            Self::Encode { .. } => "use shorter names".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_made_once_and_its_public_half_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("administrator.key");
        let made = Administrator::create(&path).unwrap();
        assert_eq!(Administrator::read(&path).unwrap().public(), made.public());
        let public_path = dir.path().join("administrator.pub");
        assert_eq!(read_public_key(&public_path).unwrap(), made.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(Administrator::create(&path).is_err());
        fs::remove_file(&path).unwrap();
        let error = Administrator::create(&path).unwrap_err();
        assert!(error.remedy().contains("keep the key"), "{}", error.remedy());
        assert!(!path.exists(), "no key without its public half");
        fs::write(&public_path, "no key").unwrap();
        assert!(matches!(
            read_public_key(&public_path),
            Err(AdministratorError::NoPublicKey { .. })
        ));
        assert!(!format!("{made:?}").contains(&hex::encode(*made.0.to_seed())));
    }
}
