//! `policy`: the administrator's key, its signature, and what a policy allows.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use chorale_transport::{KeyError, StoreKeys};
use chorale_wire::{AgentId, FederationId};
use clap::Args;

use super::{Done, OutputError, now_s, write_json};
use crate::{
    calendar,
    config::Config,
    error::{Explain, Failure},
    policy::{Administrator, Report, Signature, Terms, VerifiedPolicy, in_words},
};

#[derive(Debug, Args)]
pub(super) struct KeygenOptions {
    /// Where the secret key goes (mode 0600, no passphrase). The public key goes beside it, with
    /// the ending .pub. Neither file may exist.
    #[arg(long, value_name = "FILE", default_value = "administrator.key")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SignOptions {
    /// The policy. Its signature goes beside it, with .sig added to the name.
    policy: PathBuf,
    /// The administrator's secret key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The agent it is for, where the agent's configuration is not at hand.
    #[arg(long, requires = "federation")]
    agent: Option<AgentId>,
    /// The federation it is for, where the agent's configuration is not at hand.
    #[arg(long, requires = "agent")]
    federation: Option<FederationId>,
    /// The policy's number: higher than every earlier one's, since an agent never goes back. One
    /// more than that of the signature it replaces, or 1, when absent.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    serial: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// Write the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Why a policy could not be looked at or be given a number.
#[derive(Debug, thiserror::Error)]
enum PolicyCommandError {
    #[error("this agent's identity cannot be used, so its administrator is not known")]
    Identity {
        path: PathBuf,
        #[source]
        source: Box<KeyError>,
    },
    #[error("the keys are {enrolled}'s and the configuration is {configured}'s")]
    OtherAgent { path: PathBuf, enrolled: AgentId, configured: AgentId },
    #[error("the signature that is there is not this administrator's, or its number is the last")]
    NoNumber { path: PathBuf },
}

impl Explain for PolicyCommandError {
    fn place(&self) -> String {
        match self {
            Self::Identity { path, .. }
            | Self::OtherAgent { path, .. }
            | Self::NoNumber { path } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Identity { .. } => {
                "enrol this store first: client-agent enrol INVITATION --administrator \
                 administrator.pub"
                    .into()
            }
            Self::OtherAgent { .. } => {
                "correct `agent` or `keys_dir` so that both name the same store".into()
            }
            Self::NoNumber { .. } => {
                "give a serial number above every earlier one with --serial".into()
            }
        }
    }
}

pub(super) fn keygen(options: &KeygenOptions, out: &mut dyn Write) -> Result<Done, Failure> {
    let administrator = Administrator::create(&options.out)?;
    writeln!(
        out,
        "written  {secret}\nwritten  {public}\n\n\
         The administrator's public key is {key}\n\
         Enrol the agent with {public}. Whoever holds {secret} decides what the agent admits:\n\
         keep it away from the agent's machine, and a copy in a safe place.",
        secret = options.out.display(),
        public = Administrator::public_path(&options.out).display(),
        key = administrator.public()
    )
    .map_err(OutputError)?;
    Ok(Done::Well)
}

pub(super) fn sign(
    config: &Path,
    options: &SignOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let (agent, federation) = match (&options.agent, &options.federation) {
        (Some(agent), Some(federation)) => (agent.clone(), federation.clone()),
        _ => {
            let config = Config::load(config)?;
            (config.agent, config.federation)
        }
    };
    let administrator = Administrator::read(&options.key)?;
    let path = Signature::path_of(&options.policy);
    let serial = match options.serial {
        Some(serial) => serial,
        None => next_serial(&path, &administrator)?,
    };
    let created_s = now_s().unsigned_abs();
    let terms = Terms { agent, federation, serial, created_s };
    let heading = format!(
        "signed   {} as number {serial} for {} in federation {}",
        path.display(),
        terms.agent,
        terms.federation
    );
    let (policy, signature) = administrator.sign(&options.policy, terms)?;
    signature.write(&path)?;
    writeln!(out, "{heading}\n").map_err(OutputError)?;
    for sentence in in_words(&policy) {
        writeln!(out, "  {sentence}").map_err(OutputError)?;
    }
    writeln!(out, "\nIt is in force from the agent's next start on.").map_err(OutputError)?;
    Ok(Done::Well)
}

pub(super) fn check(
    config: &Path,
    options: &CheckOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let config = Config::load(config)?;
    let enrolment = StoreKeys::open(&config.keys_dir)
        .and_then(|keys| keys.enrolment(now_s().unsigned_abs()))
        .map_err(|source| PolicyCommandError::Identity {
            path: config.keys_dir.clone(),
            source: Box::new(source),
        })?;
    if enrolment.agent != config.agent {
        return Err(PolicyCommandError::OtherAgent {
            path: config.keys_dir,
            enrolled: enrolment.agent,
            configured: config.agent,
        }
        .into());
    }
    let verified = VerifiedPolicy::check(&config, &enrolment.administrator)?;
    if options.json {
        write_json(out, &Report::of(&verified))?;
        return Ok(Done::Well);
    }
    let statement = verified.statement();
    let signed_at = calendar::instant(i64::try_from(statement.created_s).unwrap_or(i64::MAX));
    writeln!(
        out,
        "{path}\nin force for {agent} in federation {federation}: number {serial}, signed {signed_at}\n\
         by the store's administrator {key}\n",
        path = config.policy.display(),
        agent = statement.agent,
        federation = statement.federation,
        serial = statement.serial,
        key = statement.signer()
    )
    .map_err(OutputError)?;
    for sentence in in_words(verified.policy()) {
        writeln!(out, "  {sentence}").map_err(OutputError)?;
    }
    Ok(Done::Well)
}

/// One more than the number of the signature that is there; 1 where there is none. A number that
/// somebody else wrote there is not believed: it could be the highest, and use all others up.
fn next_serial(path: &Path, administrator: &Administrator) -> Result<u32, Failure> {
    match Signature::read(path)? {
        None => Ok(1),
        Some(signature) => signature
            .verify(&administrator.public())
            .ok()
            .and_then(|statement| statement.serial.checked_add(1))
            .ok_or_else(|| PolicyCommandError::NoNumber { path: path.into() }.into()),
    }
}
