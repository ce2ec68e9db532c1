//! Why an agent stopped, or made no contribution.

use std::path::PathBuf;

use chorale_dp::SamplerError;
use chorale_round::agent::Identity;
use chorale_task::{CatalogueError, ContributeError, ModelError, TaskError};
use chorale_transport::{AgentLinkConfig, KeyError, LinkError, StoreKeys, tls::TlsError};
use chorale_wire::{PublicKey, SecretKey};

use crate::{
    config::Config, error::Explain, journal::JournalError, keys::KeyError as SealKeyError,
    odometer::OdometerError, policy::VerifyError, store::StoreError,
};

/// Everything that stops a running agent.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The policy is not in force.
    #[error(transparent)]
    Policy(#[from] VerifyError),
    /// The sealing key cannot be used.
    #[error(transparent)]
    Key(#[from] SealKeyError),
    /// The agent's data cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The budget journal cannot be used; nothing is sent without it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The odometer cannot be used; nothing is sent without it.
    #[error(transparent)]
    Odometer(#[from] OdometerError),
    /// The identity keys or the certificate cannot be used.
    #[error("this agent's identity cannot be used")]
    Identity {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<KeyError>,
    },
    /// The certificate is for another agent than the configuration names.
    #[error("the keys are {enrolled}'s and the configuration is {configured}'s")]
    OtherAgent {
        /// Who enrolled.
        enrolled: String,
        /// Who is configured.
        configured: String,
    },
    /// The catalogue cannot be read.
    #[error("the catalogue cannot be read")]
    CatalogueRead {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The catalogue is no catalogue.
    #[error("the catalogue cannot be used")]
    Catalogue {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: CatalogueError,
    },
    /// A stored model cannot be used.
    #[error("the stored model cannot be used")]
    Model(#[from] ModelError),
    /// TLS cannot be set up.
    #[error("the connection cannot be set up")]
    Tls(#[source] TlsError),
    /// The link refused what it was given.
    #[error("the link to the coordinator does not work")]
    Link(#[source] LinkError),
    /// A task of the runtime failed.
    #[error("a worker of the agent stopped unexpectedly")]
    Task(#[source] tokio::task::JoinError),
}

impl Explain for RunError {
    fn place(&self) -> String {
        match self {
            Self::Policy(error) => error.place(),
            Self::Key(error) => error.place(),
            Self::Store(error) => error.place(),
            Self::Journal(error) => error.place(),
            Self::Odometer(error) => error.place(),
            Self::Identity { path, .. }
            | Self::CatalogueRead { path, .. }
            | Self::Catalogue { path, .. } => path.display().to_string(),
            Self::OtherAgent { .. } => "agent.toml and the keys folder".into(),
            Self::Model(_) => "the agent's store".into(),
            Self::Tls(_) | Self::Link(_) => "the connection to the coordinator".into(),
            Self::Task(_) => "this process".into(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Policy(error) => error.remedy(),
            Self::Key(error) => error.remedy(),
            Self::Store(error) => error.remedy(),
            Self::Journal(error) => error.remedy(),
            Self::Odometer(error) => error.remedy(),
            Self::Identity { .. } => {
                "enrol this store again with a new invitation (client-agent enrol)".into()
            }
            Self::OtherAgent { .. } => {
                "correct `agent` or `keys_dir` so that both name the same store".into()
            }
            Self::CatalogueRead { .. } | Self::Catalogue { .. } => {
                "put the federation's declared catalogue at this path".into()
            }
            Self::Model(_) => "run `client-agent ingest` again and rejoin the federation".into(),
            Self::Tls(_) => "check the certificate and this machine's clock".into(),
            Self::Link(_) | Self::Task(_) => "start the agent again; nothing was sent twice".into(),
        }
    }
}

/// Why no vector was made. Nothing left the agent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContributionError {
    #[error("the plan names no task of this agent")]
    Task(#[from] TaskError),
    #[error("the persons cannot be read")]
    Store(#[from] StoreError),
    #[error("the noise source cannot be made")]
    Noise(#[from] SamplerError),
    #[error("the gate released nothing")]
    Gate(#[from] Box<chorale_gate::ReleaseError<ContributeError>>),
}

/// Who the agent is, how it connects and whose policies it obeys, from its keys folder.
pub(super) fn identity(
    config: &Config,
) -> Result<(Identity, AgentLinkConfig, PublicKey), RunError> {
    let failed =
        |source| RunError::Identity { path: config.keys_dir.clone(), source: Box::new(source) };
    let keys = StoreKeys::open(&config.keys_dir).map_err(failed)?;
    let enrolment = keys.enrolment(super::now_ms() / 1000).map_err(failed)?;
    if enrolment.agent != config.agent {
        return Err(RunError::OtherAgent {
            enrolled: enrolment.agent.to_string(),
            configured: config.agent.to_string(),
        });
    }
    let identity = Identity {
        agent: enrolment.agent,
        key: SecretKey::from_seed(&keys.identity().to_seed()),
        membership: enrolment.membership,
        authority: enrolment.authority,
        coordinator: enrolment.coordinator,
        federation: config.federation.clone(),
    };
    let link = AgentLinkConfig::new(config.coordinator.clone(), enrolment.credentials);
    Ok((identity, link, enrolment.administrator))
}

/// An error and its causes on one line, for the operator: public parameters only.
pub(super) fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
