//! `enrol` and `run`: the store's part in a federation.

use std::{
    io::{IsTerminal as _, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chorale_transport::{Invitation, StoreKeys, request_enrolment};
use chorale_wire::message::{EnrolmentAnswer, Reason};
use clap::Args;

use super::{Done, OutputError};
use crate::{
    config::Config,
    error::{Explain, Failure},
    keys::Key,
    policy::read_public_key,
    run,
};

/// Time between two questions whether the certificate is there.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct EnrolOptions {
    /// The invitation file from the enrolment authority.
    invitation: PathBuf,
    /// The public key of the store's administrator (`client-agent policy keygen`). The authority
    /// certifies it: from then on only policies that this key signed are in force here.
    #[arg(long, value_name = "FILE")]
    administrator: PathBuf,
    /// Where this store's keys are made; they never leave this folder.
    #[arg(long, value_name = "DIR", default_value = "keys")]
    keys: PathBuf,
    /// How long to wait for the authority's signature, in seconds. Run the command again later
    /// if it takes longer: the request is kept.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait_s: u64,
}

#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// End when the federation's programme is done.
    #[arg(long)]
    exit_when_done: bool,
    /// Do not make the stored profiles anew at the end; they are made when somebody asks.
    #[arg(long)]
    keep_profiles: bool,
}

/// Why enrolment did not complete.
#[derive(Debug, thiserror::Error)]
enum EnrolError {
    #[error("the invitation cannot be used")]
    Invitation { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("this store's keys cannot be used")]
    Keys { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the coordinator's enrolment address cannot be asked")]
    Network { address: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the coordinator refuses this invitation: {reason}")]
    Refused { address: String, reason: String },
    #[error("still waiting: {what}")]
    Waiting { address: String, what: String },
    #[error("no worker threads can be started")]
    Runtime(#[source] std::io::Error),
}

impl Explain for EnrolError {
    fn place(&self) -> String {
        match self {
            Self::Invitation { path, .. } | Self::Keys { path, .. } => path.display().to_string(),
            Self::Network { address, .. }
            | Self::Refused { address, .. }
            | Self::Waiting { address, .. } => address.clone(),
            Self::Runtime(_) => "this machine".into(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Invitation { .. } => "ask the enrolment authority for a new invitation".into(),
            Self::Keys { .. } => {
                "use a folder of its own for each store, readable by its owner only".into()
            }
            Self::Network { .. } => {
                "check the address, the firewall (UDP) and whether the coordinator runs".into()
            }
            Self::Refused { .. } => "ask the enrolment authority for a new invitation".into(),
            Self::Waiting { .. } => {
                "run the same command again once the authority has signed".into()
            }
            Self::Runtime(_) => "free memory or raise the limit on threads".into(),
        }
    }
}

pub(super) fn enrol(options: &EnrolOptions, out: &mut dyn Write) -> Result<Done, Failure> {
    let runtime = runtime()?;
    let invitation = Invitation::read(&options.invitation).map_err(|source| {
        EnrolError::Invitation { path: options.invitation.clone(), source: Box::new(source) }
    })?;
    let administrator = read_public_key(&options.administrator)?;
    let keys = store_keys(&options.keys)?;
    let request =
        keys.request(&invitation, &administrator).map_err(|e| keys_error(&options.keys, e))?;
    let address = invitation.enrolment.clone();
    let until = Instant::now() + Duration::from_secs(options.wait_s);
    let mut said = String::new();
    loop {
        let asked = request_enrolment(&address, &invitation.root_fingerprint, &request);
        let answer = match runtime.block_on(asked) {
            // A coordinator that is busy or not there yet is waited for, like a signature.
            Err(source) if Instant::now() < until => {
                EnrolmentAnswer::Pending(Reason::new(&source.to_string()))
            }
            Err(source) => {
                return Err(EnrolError::Network { address, source: Box::new(source) }.into());
            }
            Ok(answer) => answer,
        };
        match answer {
            EnrolmentAnswer::Issued(bundle) => {
                let enrolment = keys
                    .accept(&invitation, &administrator, &bundle, super::now_s().unsigned_abs())
                    .map_err(|e| keys_error(&options.keys, e))?;
                writeln!(
                    out,
                    "{} is enrolled; its keys are in {}\n\
                     it obeys policies signed by {}",
                    enrolment.agent,
                    options.keys.display(),
                    enrolment.administrator
                )
                .map_err(OutputError)?;
                return Ok(Done::Well);
            }
            EnrolmentAnswer::Refused(reason) => {
                return Err(EnrolError::Refused { address, reason: reason.to_string() }.into());
            }
            EnrolmentAnswer::Pending(reason) => {
                let what = reason.to_string();
                if what != said {
                    writeln!(out, "waiting: {what}").map_err(OutputError)?;
                    out.flush().map_err(OutputError)?;
                    said.clone_from(&what);
                }
                if Instant::now() >= until {
                    return Err(EnrolError::Waiting { address, what }.into());
                }
                runtime.block_on(async { tokio::time::sleep(ASK_AGAIN).await });
            }
        }
    }
}

pub(super) fn run(
    config: &Path,
    options: &RunOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let runtime = runtime()?;
    let config = Config::load(config)?;
    let terminal = std::io::stderr().is_terminal();
    let observer: run::Observer = Box::new(move |notice| {
        if let run::Notice::Text(text) = notice
            && terminal
        {
            // The log shows the same; a terminal that is gone is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    });
    let summary = runtime.block_on(run::run(
        config,
        run::RunOptions {
            exit_when_done: options.exit_when_done,
            keep_profiles: options.keep_profiles,
        },
        observer,
        shutdown_signal(),
    ))?;
    writeln!(
        out,
        "{} rounds completed, {} refused, {} without a result",
        summary.completed, summary.refused, summary.aborted
    )
    .map_err(OutputError)?;
    Ok(if summary.completed == 0 && summary.refused > 0 { Done::Refused } else { Done::Well })
}

/// The store's keys; made on first use, with the two keys of its own data.
fn store_keys(folder: &Path) -> Result<StoreKeys, EnrolError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| EnrolError::Keys {
        path: folder.into(),
        source,
    };
    let keys = if folder.join("identity.key").exists() {
        StoreKeys::open(folder).map_err(|e| failed(Box::new(e)))?
    } else {
        StoreKeys::generate(folder, &mut run::system_rng()).map_err(|e| failed(Box::new(e)))?
    };
    for name in ["pseudonym.key", "store.key"] {
        let path = folder.join(name);
        if !path.exists() {
            Key::create(&path).map_err(|e| failed(Box::new(e)))?;
        }
    }
    Ok(keys)
}

fn keys_error(folder: &Path, source: impl std::error::Error + Send + Sync + 'static) -> EnrolError {
    EnrolError::Keys { path: folder.into(), source: Box::new(source) }
}

fn runtime() -> Result<tokio::runtime::Runtime, EnrolError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(EnrolError::Runtime)
}

/// Resolves at Ctrl-C or SIGTERM.
pub(super) async fn shutdown_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
