//! The command line: what an operator, an enrolment authority and an auditor type.

mod privacy;

use std::{
    ffi::OsString,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use chorale_dp::{Rational, Rho};
use chorale_ledger::{Expect, Head, Lineage, Page, Privacy, Report};
use chorale_task::Catalogue;
use chorale_wire::PublicKey;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::{
    changes,
    config::Config,
    driver::now_s,
    enrolment,
    error::explain,
    events::Reporter,
    service::{self, Options},
    sign_off,
};

/// Runs rounds of a federation, keeps its models and its ledger.
///
/// The coordinator never sees a person's data: stores' agents send one masked vector per round,
/// and only the noisy sum over enough stores can be read.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a federation until it is stopped (or done, with --exit-when-done).
    Run {
        /// The federation's configuration (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// End when all plans are done and agents have the final model.
        #[arg(long)]
        exit_when_done: bool,
        /// Report every step as one JSON object per line on standard output.
        #[arg(long)]
        events: bool,
    },
    /// Look at plans before they run.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Compute ε, the noise for an ε, and the rounds that a budget still holds.
    #[command(subcommand)]
    Privacy(privacy::PrivacyCommand),
    /// Verify a ledger, offline, with nothing but the file.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// The enrolment authority. Run it on a machine that is not the coordinator's.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Print a completion script for your shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum PlanCommand {
    /// Show each plan with its noise, its cost and what is left, without running anything.
    Check {
        /// The federation's configuration (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON for machines.
        #[arg(long)]
        json: bool,
    },
    /// Make the compliance officer's key. Do it on a machine that is not the coordinator's.
    ///
    /// No round of a plan runs without this key's signature. The public half, beside it with the
    /// ending `pub`, stands in the ledger's first entry: carry it to the coordinator.
    Keygen {
        /// The new key's file, for example compliance.key.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Sign every plan of a configuration off, after showing what it costs.
    ///
    /// The sign-off holds for exactly these plans: their noise, their data window, their cohort
    /// floors. Whatever is changed afterwards needs another one.
    Sign {
        /// The federation's configuration (TOML), with the catalogue beside it.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The compliance officer's key, from `coordinator plan keygen`.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the sign-offs go; by default where the configuration looks for them.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Recompute everything in a ledger and say what was spent.
    ///
    /// Without --head the answer is "complete only up to entry N": whoever wrote the file could
    /// have left out entries at its end. A head from an agent or an earlier look proves that
    /// nothing up to it is missing.
    Verify {
        #[command(flatten)]
        ledger: LedgerFiles,
        /// Folder of the canary lanes' totals that the coordinator keeps (ROUND.lanes), to count
        /// them again.
        #[arg(long, value_name = "DIR")]
        lanes: Option<PathBuf>,
        /// Print JSON for machines.
        #[arg(long)]
        json: bool,
    },
    /// Sign a change of what the ledger's first entry fixed, with the compliance officer's key.
    ///
    /// Budgets only shrink and floors only rise. Carry the file into the coordinator's state
    /// folder and change its configuration to match: it goes into the ledger at the next start.
    Change {
        /// The ledger (JSON Lines) that is to change.
        file: PathBuf,
        /// The compliance officer's key, from `coordinator plan keygen`.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Folder for the signed change.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        #[command(flatten)]
        what: ChangeOptions,
    },
    /// Verify a ledger and write what it says as one page for people, to be read or printed.
    ///
    /// The page holds the budget round by round, every round with its noise, who took part, what
    /// failed and why, and what ε means for one person. It loads nothing and runs no script. For
    /// machines the ledger itself is the export: JSON Lines, as docs/ledger.md says.
    Report {
        #[command(flatten)]
        ledger: LedgerFiles,
        /// Where the page goes.
        #[arg(long, value_name = "FILE")]
        html: PathBuf,
    },
}

/// A ledger, and what is known about it from elsewhere.
#[derive(Debug, Args)]
struct LedgerFiles {
    /// The ledger (JSON Lines).
    file: PathBuf,
    /// A head from elsewhere, SEQ:HASH.
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Head>,
    /// The ledger of an earlier federation over the same people, which genesis names; may be
    /// given several times. The total over all of them is printed, and what is missing in it.
    #[arg(long, value_name = "FILE")]
    predecessor: Vec<PathBuf>,
    /// The coordinator's public key as the agents know it, 64 hexadecimal digits.
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    key: Option<PublicKey>,
}

/// One kind of change at a time.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct ChangeOptions {
    /// Another item catalogue, CSV; between plans only.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["software", "cap_rho", "survivors_min", "enrolled"])]
    catalogue: Option<PathBuf>,
    /// Another version of the coordinator's software.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["cap_rho", "survivors_min", "enrolled"])]
    software: Option<String>,
    /// A lower cap on the sum of rho, as a fraction.
    #[arg(long, value_name = "RHO", conflicts_with = "enrolled")]
    cap_rho: Option<Rational>,
    /// A higher floor of survivors, T_min.
    #[arg(long, value_name = "N", conflicts_with = "enrolled")]
    survivors_min: Option<u32>,
    /// More enrolled agents, N.
    #[arg(long, value_name = "N", requires = "corrupt")]
    enrolled: Option<u32>,
    /// How many of them are assumed corrupt, A.
    #[arg(long, value_name = "A", requires = "enrolled")]
    corrupt: Option<u32>,
}

/// Commands of the enrolment authority.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a new authority: its keys stay in this folder.
    Create {
        /// The authority's folder.
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// N, the most stores that will ever be invited. A share of them is reckoned with as
        /// corrupt, so the number is fixed: without this, by the first store that is signed.
        #[arg(long, value_name = "N")]
        stores_max: Option<u32>,
    },
    /// Make the coordinator's keys in --keys and certify them.
    Coordinator {
        /// The authority's folder.
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// The coordinator's key folder, to be carried to the coordinator.
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
    },
    /// Write one invitation file per store: address, fingerprint, one-time token.
    Invite {
        /// The authority's folder.
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// CSV with a column `agent`; a second column is a note.
        #[arg(long, value_name = "FILE")]
        stores: PathBuf,
        /// Where agents reach the coordinator, HOST:PORT.
        #[arg(long, value_name = "HOST:PORT")]
        address: String,
        /// Where stores enrol, HOST:PORT.
        #[arg(long, value_name = "HOST:PORT")]
        enrolment: String,
        /// Folder for the invitation files: hand each to its store over a channel you trust.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The coordinator's state folder; it gets the tokens' digests, never the tokens.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// Days until the invitations expire.
        #[arg(long, default_value_t = 14)]
        days: u32,
    },
    /// Check the requests that stores have sent and sign the good ones.
    Sign {
        /// The authority's folder.
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// The coordinator's state folder (or a copy of its `enrolment` folder's parent).
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).ok_or_else(|| "a key has 64 hexadecimal digits".to_string())
}

/// Runs the program with these arguments (the first is the program's name).
///
/// Exit codes: 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = error.exit_code();
            let shown = error.print();
            return ExitCode::from(if shown.is_ok() { code as u8 } else { 2 });
        }
    };
    start_logging();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&explain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn run(command: Command) -> Result<(), AnyError> {
    match command {
        Command::Run { config, exit_when_done, events } => {
            let config = Config::load(&config)?;
            let reporter = if events { Reporter::json() } else { Reporter::Log };
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let options = Options { exit_when_done, reporter };
            runtime.block_on(service::serve(config, options, shutdown_signal()))?;
            Ok(())
        }
        Command::Plan(PlanCommand::Check { config, json }) => plan_check(&config, json),
        Command::Plan(PlanCommand::Keygen { out }) => {
            let public = sign_off::keygen(&out, &mut enrolment::system_rng()?)?;
            say(&format!(
                "{} is secret; carry {} to the coordinator",
                out.display(),
                public.display()
            ))
        }
        Command::Plan(PlanCommand::Sign { config, key, out }) => plan_sign(&config, &key, out),
        Command::Ledger(LedgerCommand::Verify { ledger, lanes, json }) => {
            ledger_verify(ledger, lanes.as_deref(), json)
        }
        Command::Ledger(LedgerCommand::Change { file, key, out, what }) => {
            ledger_change(&file, &key, &out, what)
        }
        Command::Ledger(LedgerCommand::Report { ledger, html }) => ledger_report(ledger, &html),
        Command::Privacy(command) => say(&privacy::answer(command)?),
        Command::Ca(command) => {
            for line in enrolment::authority_command(command)? {
                say(&line)?;
            }
            Ok(())
        }
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "coordinator", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn plan_check(path: &Path, json: bool) -> Result<(), AnyError> {
    let config = Config::load(path)?;
    let forecast = service::forecast(&config)?;
    if json {
        return say(&serde_json::to_string_pretty(&forecast)?);
    }
    say(&forecast.to_string())
}

fn plan_sign(path: &Path, key: &Path, out: Option<PathBuf>) -> Result<(), AnyError> {
    let config = Config::load(path)?;
    say(&service::forecast(&config)?.to_string())?;
    let out = out.unwrap_or_else(|| config.sign_off.clone());
    for (plan, digest) in sign_off::sign(&config, key, &out)? {
        say(&format!("signed off: {plan} ({digest})"))?;
    }
    say(&format!("the sign-offs are in {}", out.display()))
}

fn read_ledger(file: &Path) -> Result<Vec<u8>, AnyError> {
    let failed = |error| {
        format!(
            "cannot read the ledger {} ({error}): check the path and its permissions",
            file.display()
        )
    };
    Ok(std::fs::read(file).map_err(failed)?)
}

fn ledger_change(
    file: &Path,
    key: &Path,
    out: &Path,
    options: ChangeOptions,
) -> Result<(), AnyError> {
    let catalogue = match options.catalogue {
        Some(path) => Some(Catalogue::read_csv(&std::fs::read(path)?)?.digest()),
        None => None,
    };
    let wanted = changes::Wanted {
        catalogue,
        software: options.software,
        cap_rho: options.cap_rho.map(Rho::new).transpose()?.map(Privacy::Rho),
        survivors_min: options.survivors_min,
        enrolled: options.enrolled,
        corrupt: options.corrupt,
    };
    let path = changes::sign(file, &sign_off::secret_key(key)?, wanted, out)?;
    say(&format!(
        "signed: carry {} into the coordinator's state folder, change its configuration to match, \
         and start it again",
        path.display()
    ))
}

/// A ledger and its predecessors, verified. Also where none was given: what is missing is said.
fn read_verified(ledger: LedgerFiles) -> Result<(Report, Lineage), AnyError> {
    let LedgerFiles { file, head, predecessor, key } = ledger;
    let expect = Expect { head, coordinator: key };
    let report = chorale_ledger::verify_with(&read_ledger(&file)?, &expect)?;
    let files: Vec<Vec<u8>> =
        predecessor.iter().map(|path| read_ledger(path)).collect::<Result<_, _>>()?;
    let given: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let lineage = chorale_ledger::lineage(&report, &given)?;
    Ok((report, lineage))
}

fn ledger_report(ledger: LedgerFiles, html: &Path) -> Result<(), AnyError> {
    let (report, lineage) = read_verified(ledger)?;
    let page = Page { report: &report, lineage: &lineage, now_s: now_s() };
    std::fs::write(html, page.html()).map_err(|error| {
        format!("cannot write {} ({error}): check the folder and its space", html.display())
    })?;
    say(&format!("the report is in {}", html.display()))
}

fn ledger_verify(ledger: LedgerFiles, lanes: Option<&Path>, json: bool) -> Result<(), AnyError> {
    let (report, lineage) = read_verified(ledger)?;
    let related = !report.predecessors.is_empty();
    let recounted = lanes.map(|folder| recount(&report, folder)).transpose()?;
    if json {
        let mut value = serde_json::to_value(&report)?;
        value["lineage"] = serde_json::to_value(&lineage)?;
        if let Some(recounted) = recounted {
            value["rounds_recounted"] = recounted.into();
        }
        return say(&serde_json::to_string_pretty(&value)?);
    }
    let all = if related { lineage.to_string() } else { String::new() };
    let again = recounted.map_or(String::new(), |rounds| {
        format!("recounted      {rounds} rounds, from their canary lanes' totals\n")
    });
    say(&format!("{report}{all}{again}"))
}

/// Counts every measured round again whose lanes' totals lie in the folder; how many there were.
fn recount(report: &Report, folder: &Path) -> Result<u32, AnyError> {
    let mut rounds = 0;
    for line in &report.rounds {
        let path = folder.join(format!("{}.lanes", line.round));
        let totals = match std::fs::read(&path) {
            Ok(totals) => totals,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot read {} ({error})", path.display()).into()),
        };
        let counted = line
            .recount(&totals)
            .map_err(|error| format!("{}: {error}; ask for the file again", path.display()))?;
        rounds += u32::from(counted);
    }
    Ok(rounds)
}

/// Resolves at Ctrl-C or SIGTERM.
async fn shutdown_signal() {
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

fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CHORALE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    if started.is_err() {
        tracing::debug!("another part of this process has set up logging");
    }
}

fn say(text: &str) -> Result<(), AnyError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    Ok(())
}

fn say_error(text: &str) {
    let written = writeln!(std::io::stderr(), "{text}");
    drop(written);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
