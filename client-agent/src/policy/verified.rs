//! From a file to a policy in force: who signed it, for whom, and whether a newer one was obeyed.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
};

use chorale_plan::{Derived, Policy, Refused, RoundSpec};
use chorale_wire::{AgentId, Digest, FederationId, PublicKey, SignatureError, Verified};

use super::{
    PolicyError, PolicyStatement, SeenError, Signature, SignatureFileError, StorePolicy,
    seen::Seen, statement::VERSION,
};
use crate::{
    config::{Config, ConfigError},
    error::Explain,
};

/// A policy that the store's administrator signed for this agent and this federation. Only
/// [`VerifiedPolicy::check`] and [`VerifiedPolicy::enforce`] make one. It stays as it was verified,
/// whatever happens to its file afterwards.
#[derive(Debug)]
pub struct VerifiedPolicy {
    policy: StorePolicy,
    statement: Verified<PolicyStatement>,
}

/// Why a policy is not in force. The agent takes part in nothing then.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no signature.
    #[error("the policy is not signed")]
    Unsigned {
        /// The policy.
        path: PathBuf,
        /// Where its signature should be.
        signature: PathBuf,
    },
    /// The signature file cannot be read.
    #[error(transparent)]
    SignatureFile(#[from] SignatureFileError),
    /// Somebody else signed.
    #[error(
        "the policy is signed by {signer}, which is not this agent's administrator; that is \
         {administrator}"
    )]
    ForeignKey {
        /// The signature file.
        path: PathBuf,
        /// The key that is named in it.
        signer: PublicKey,
        /// The key in the agent's membership.
        administrator: PublicKey,
    },
    /// The signature is not by the key that it names.
    #[error("the policy's signature is forged or damaged")]
    Forged {
        /// The signature file.
        path: PathBuf,
        /// What the verification says.
        #[source]
        source: SignatureError,
    },
    /// Signed by a newer or older program.
    #[error("the policy is signed in version {version}; this program knows version 1")]
    Version {
        /// The signature file.
        path: PathBuf,
        /// The version it states.
        version: u16,
    },
    /// Signed for another agent.
    #[error("the policy is signed for {signed_for} and this agent is {agent}")]
    OtherAgent {
        /// The policy.
        path: PathBuf,
        /// Whom it is for.
        signed_for: AgentId,
        /// Who this is.
        agent: AgentId,
    },
    /// Signed for another federation.
    #[error("the policy is signed for federation {signed_for} and this is {federation}")]
    OtherFederation {
        /// The policy.
        path: PathBuf,
        /// What it is for.
        signed_for: FederationId,
        /// What the configuration names.
        federation: FederationId,
    },
    /// The file is not the one that was signed.
    #[error("the policy was changed after it was signed")]
    Changed {
        /// The policy.
        path: PathBuf,
    },
    /// A newer policy was obeyed before, or that cannot be told.
    #[error(transparent)]
    Seen(#[from] SeenError),
    /// The file cannot be read, or its rules make no sense to this program.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl VerifiedPolicy {
    /// Verifies the policy that `config` names against the `administrator` of the agent's
    /// membership, and remembers durably that it was obeyed: from then on no older one is.
    ///
    /// # Errors
    /// [`VerifyError`] says what is wrong and where.
    pub fn enforce(config: &Config, administrator: &PublicKey) -> Result<Self, VerifyError> {
        let verified = Self::signed(config, administrator)?;
        seen(config).advance(&verified.statement, &config.policy)?;
        Ok(verified)
    }

    /// As [`VerifiedPolicy::enforce`], for whoever only wants to look: nothing is remembered.
    ///
    /// # Errors
    /// [`VerifyError`] says what is wrong and where.
    pub fn check(config: &Config, administrator: &PublicKey) -> Result<Self, VerifyError> {
        let verified = Self::signed(config, administrator)?;
        seen(config).admits(&verified.statement, &config.policy)?;
        Ok(verified)
    }

    /// The rules.
    #[must_use]
    pub fn policy(&self) -> &StorePolicy {
        &self.policy
    }

    /// What the administrator signed.
    #[must_use]
    pub fn statement(&self) -> &Verified<PolicyStatement> {
        &self.statement
    }

    /// Everything but the memory. The rules are read only after the signature has been verified,
    /// and from the very bytes that it covers.
    fn signed(config: &Config, administrator: &PublicKey) -> Result<Self, VerifyError> {
        let path = &config.policy;
        let bytes = fs::read(path).map_err(|source| {
            PolicyError::File(ConfigError::Read { path: path.clone(), source })
        })?;
        let statement = statement(path, config, administrator)?;
        if statement.policy != Digest::plain(&bytes) {
            return Err(VerifyError::Changed { path: path.clone() });
        }
        Ok(Self { policy: StorePolicy::parse(&bytes, path)?, statement })
    }
}

fn seen(config: &Config) -> Seen {
    Seen::of(&config.keys_dir, &config.federation)
}

/// The administrator's statement about this agent and federation.
fn statement(
    policy: &Path,
    config: &Config,
    administrator: &PublicKey,
) -> Result<Verified<PolicyStatement>, VerifyError> {
    let path = Signature::path_of(policy);
    let signature = Signature::read(&path)?
        .ok_or_else(|| VerifyError::Unsigned { path: policy.into(), signature: path.clone() })?;
    let signer = signature.claimed_signer();
    if signer != *administrator {
        return Err(VerifyError::ForeignKey { path, signer, administrator: *administrator });
    }
    let statement = signature
        .verify(administrator)
        .map_err(|source| VerifyError::Forged { path: path.clone(), source })?;
    if statement.version != VERSION {
        return Err(VerifyError::Version { path, version: statement.version });
    }
    if statement.agent != config.agent {
        return Err(VerifyError::OtherAgent {
            path: policy.into(),
            signed_for: statement.agent.clone(),
            agent: config.agent.clone(),
        });
    }
    if statement.federation != config.federation {
        return Err(VerifyError::OtherFederation {
            path: policy.into(),
            signed_for: statement.federation.clone(),
            federation: config.federation.clone(),
        });
    }
    Ok(statement)
}

impl Deref for VerifiedPolicy {
    type Target = StorePolicy;

    fn deref(&self) -> &StorePolicy {
        &self.policy
    }
}

impl Policy for VerifiedPolicy {
    fn admits(&self, spec: &RoundSpec, derived: &Derived) -> Result<(), Refused> {
        self.policy.admits(spec, derived)
    }
}

impl Explain for SignatureFileError {
    fn place(&self) -> String {
        match self {
            Self::Io { path, .. } | Self::Malformed { path } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Io { .. } => "check the file, its owner and the disk's free space".into(),
            Self::Malformed { .. } => SIGN.into(),
        }
    }
}

impl Explain for SeenError {
    fn place(&self) -> String {
        match self {
            Self::Io { path, .. }
            | Self::Malformed { path }
            | Self::Outdated { path, .. }
            | Self::Ambiguous { path, .. } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        let number = |serial: u32| {
            format!(
                "put the newer policy back, or have the store's administrator sign this one with \
                 --serial {} or more",
                u64::from(serial) + 1
            )
        };
        match self {
            Self::Io { .. } => {
                "make the keys folder writable for the agent, and check the disk's free space"
                    .into()
            }
            Self::Malformed { .. } => {
                "restore the file from the newest backup of the keys folder".into()
            }
            Self::Outdated { seen, .. } => number(*seen),
            Self::Ambiguous { serial, .. } => number(*serial),
        }
    }
}

/// What helps when a signature is missing or does not fit.
const SIGN: &str = "have the store's administrator read the policy and sign it: \
                    `client-agent policy sign`";

impl Explain for VerifyError {
    fn place(&self) -> String {
        match self {
            Self::Unsigned { path, .. }
            | Self::ForeignKey { path, .. }
            | Self::Forged { path, .. }
            | Self::Version { path, .. }
            | Self::OtherAgent { path, .. }
            | Self::OtherFederation { path, .. }
            | Self::Changed { path } => path.display().to_string(),
            Self::SignatureFile(error) => error.place(),
            Self::Seen(error) => error.place(),
            Self::Policy(error) => error.place(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Unsigned { signature, .. } => {
                format!("{SIGN}; the signature belongs into {}", signature.display())
            }
            Self::ForeignKey { .. } => {
                format!("{SIGN} with the key that this agent was enrolled with")
            }
            Self::Forged { .. } | Self::Changed { .. } => SIGN.into(),
            Self::Version { .. } => format!("{SIGN} of this program's version"),
            Self::OtherAgent { .. } | Self::OtherFederation { .. } => {
                format!("use this agent's own policy, or {SIGN}")
            }
            Self::SignatureFile(error) => error.remedy(),
            Self::Seen(error) => error.remedy(),
            Self::Policy(error) => error.remedy(),
        }
    }
}

#[cfg(test)]
mod tests;
