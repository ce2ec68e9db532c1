//! The command line: `client-agent <command>`. Exit code 0 for done, 1 for refused or failed, 2
//! for a mistake in the command itself.

mod data;
mod data_page;
mod evaluate;
mod evaluation_page;
mod features;
mod federation;
mod init;
mod journal;
mod keys;
mod linked;
mod odometer;
mod person;
mod policy;
mod serve;

use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use chorale_task::{Catalogue, CatalogueError};
use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    config::Config,
    error::{Explain, Failure},
    keys::{StoreKey, Unlock},
    pseudonym::Pseudonymiser,
    store::Store,
};

/// The agent at a store: reads the store's own events, takes part in training, answers with
/// profiles. Raw data never leaves.
#[derive(Debug, Parser)]
#[command(name = "client-agent", version, about, max_term_width = 100)]
struct Arguments {
    /// The agent's configuration.
    #[arg(long, short, global = true, default_value = "agent.toml", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented configuration and policy, and make the keys.
    Init(init::Options),
    /// Look at the store's data.
    #[command(subcommand)]
    Data(DataCommand),
    /// Read new events and keep them, pseudonymised and sealed. Safe to repeat.
    ///
    /// Files that were read and did not change are not read again, unless the configuration, the
    /// catalogue or the SQL makes it necessary. All or nothing: an ingest that fails or is killed
    /// leaves everything as it was.
    Ingest(data::IngestOptions),
    /// The store's rules: what this agent admits, signed by the store's administrator.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Answer an invitation: make this store's keys and fetch its certificate.
    Enrol(federation::EnrolOptions),
    /// Take part in the federation's rounds, under this store's own policy and budget.
    Run(federation::RunOptions),
    /// What this agent gave to the federation, and whether its record of it was restored.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Features that the configuration declares.
    #[command(subcommand)]
    Features(FeaturesCommand),
    /// Customers' profiles.
    #[command(subcommand)]
    Profiles(ProfilesCommand),
    /// What one customer's data has cost in privacy; for that customer or the store's compliance.
    #[command(subcommand)]
    Person(PersonCommand),
    /// What a customer might want.
    Recommend(person::RecommendOptions),
    /// How good this store's recommendations are, judged on its own customers' purchases.
    ///
    /// Purchases are kept back, everything is ranked without them, and what customers then bought
    /// judges. Nothing leaves the store. The federation's model is judged only where training
    /// never saw what is kept back: set 'events_before' in the configuration before the rounds.
    Evaluate(evaluate::EvaluateOptions),
    /// Answer the store's own systems over HTTP: GET / on the address shows how.
    Serve(serve::Options),
    /// Who may call the HTTP API.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// The agent's keys: seal them with a passphrase or a key file, rotate them.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Write a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Read everything, report what is used and what is set aside, and keep nothing.
    Check(data::CheckOptions),
    /// List the letters about customers to and from linked agents.
    Disclosures(linked::ListOptions),
    /// Take out what the configured periods ('retention_days') no longer keep.
    ///
    /// `ingest` does it each time, `serve` and `run` when they start and once a day.
    Expire(data::ExpireOptions),
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Make the administrator's key. It is needed only to sign, and best kept elsewhere.
    Keygen(policy::KeygenOptions),
    /// Say in words what a policy allows, and sign it for one agent and federation.
    Sign(policy::SignOptions),
    /// Verify this agent's policy as `run` does, and say in words what it allows.
    #[command(visible_alias = "show")]
    Check(policy::CheckOptions),
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// What is spent of the budget, and what was restored.
    Show(journal::ShowOptions),
    /// Let the agent go on after its journal was found to be an old one.
    Acknowledge,
}

#[derive(Debug, Subcommand)]
enum PersonCommand {
    /// Read the odometer: what this customer's own data has cost so far, over all federations. It
    /// is personal data and must stay at the store.
    Privacy(odometer::Options),
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// Make a token and show it once; a running agent knows it within a second.
    Add(serve::AddOptions),
    /// Take a token out; a running agent forgets it within a second.
    Revoke {
        /// The token's name.
        name: String,
    },
    /// Names and roles of the tokens.
    List(serve::ListOptions),
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Which keys there are and how they are sealed.
    Show(keys::ShowOptions),
    /// Seal the key files with a passphrase or a key file, or no longer. Safe to repeat.
    Wrap(keys::WrapOptions),
    /// Print this agent's entry for the policies of agents that shall give to it or take from it.
    Link,
    /// Make a new key over the data and seal everything anew, or a new key of the pseudonyms and
    /// rename everybody. Nothing else of this agent may run. Cut short at any moment, it goes on when
    /// it is run again.
    Rotate(keys::RotateOptions),
}

#[derive(Debug, Subcommand)]
enum FeaturesCommand {
    /// What is declared: owner, purpose, type, range.
    List(features::ListOptions),
    /// Values of all customers at past instants, for the store's own models: a line of JSON each.
    ///
    /// It names customers by pseudonym, and goes to the standard output in the clear.
    Table(features::TableOptions),
}

#[derive(Debug, Subcommand)]
enum ProfilesCommand {
    /// What the agent knows about one customer.
    Show(person::ShowOptions),
    /// Make all profiles again, with the current model.
    Refresh,
}

/// Runs the program with the given arguments (the first is its name) and returns its exit code.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes; clap knows which stream each belongs to.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    start_logging();
    let mut out = io::stdout().lock();
    match keys::ask_when_locked(|| execute(&arguments, &mut out)).and_then(|done| {
        out.flush().map_err(OutputError)?;
        Ok(done)
    }) {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::Refused) => ExitCode::FAILURE,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{failure}");
            ExitCode::FAILURE
        }
    }
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// As asked.
    Well,
    /// It said why not; exit code 1.
    Refused,
}

fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<Done, Failure> {
    let config = arguments.config.as_path();
    match &arguments.command {
        Command::Init(options) => init::init(config, options, out),
        Command::Data(DataCommand::Check(options)) => data::check(config, options, out),
        Command::Data(DataCommand::Disclosures(options)) => {
            linked::disclosures(config, options, out)
        }
        Command::Data(DataCommand::Expire(options)) => data::expire(config, options, out),
        Command::Ingest(options) => data::ingest(config, options, out),
        Command::Policy(PolicyCommand::Keygen(options)) => policy::keygen(options, out),
        Command::Policy(PolicyCommand::Sign(options)) => policy::sign(config, options, out),
        Command::Policy(PolicyCommand::Check(options)) => policy::check(config, options, out),
        Command::Enrol(options) => federation::enrol(options, out),
        Command::Run(options) => federation::run(config, options, out),
        Command::Journal(JournalCommand::Show(options)) => journal::show(config, options, out),
        Command::Journal(JournalCommand::Acknowledge) => journal::acknowledge(config, out),
        Command::Features(FeaturesCommand::List(options)) => features::list(config, options, out),
        Command::Features(FeaturesCommand::Table(options)) => features::table(config, options, out),
        Command::Profiles(ProfilesCommand::Show(options)) => person::show(config, options, out),
        Command::Profiles(ProfilesCommand::Refresh) => person::refresh(config, out),
        Command::Person(PersonCommand::Privacy(options)) => odometer::show(config, options, out),
        Command::Recommend(options) => person::recommend(config, options, out),
        Command::Evaluate(options) => evaluate::evaluate(config, options, out),
        Command::Serve(options) => serve::serve(config, options, out),
        Command::Tokens(TokensCommand::Add(options)) => serve::add(config, options, out),
        Command::Tokens(TokensCommand::Revoke { name }) => serve::revoke(config, name, out),
        Command::Tokens(TokensCommand::List(options)) => serve::list(config, options, out),
        Command::Keys(KeysCommand::Show(options)) => keys::show(config, options, out),
        Command::Keys(KeysCommand::Wrap(options)) => keys::wrap(config, options, out),
        Command::Keys(KeysCommand::Link) => linked::link(config, out),
        Command::Keys(KeysCommand::Rotate(options)) => keys::rotate(config, options, out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Arguments::command();
            clap_complete::generate(*shell, &mut command, "client-agent", &mut script);
            out.write_all(&script).map_err(OutputError)?;
            Ok(Done::Well)
        }
    }
}

/// What most commands work with.
struct Agent {
    config: Config,
    catalogue: Catalogue,
    names: Pseudonymiser,
    unlock: Unlock,
}

impl Agent {
    fn load(path: &Path) -> Result<Self, Failure> {
        let config = Config::load(path)?;
        let catalogue = read_catalogue(&config.catalogue)?;
        let unlock = config.unlock.load()?;
        let names = Pseudonymiser::open(&config.pseudonym_key_path(), &unlock)?;
        Ok(Self { config, catalogue, names, unlock })
    }

    fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.config.data_dir, &self.store_key()?)?.under(&self.names)?)
    }

    /// The key that seals the data; held until whatever is opened with it is gone.
    fn store_key(&self) -> Result<StoreKey, Failure> {
        let Config { data_dir, .. } = &self.config;
        let key = StoreKey::open(data_dir, &self.config.store_key_path(), &self.unlock)?;
        if key.file().before().is_some() {
            tracing::warn!("a rotation of the store's key was cut short: run `keys rotate` again");
        }
        Ok(key)
    }
}

/// Reads the federation's item list.
///
/// # Errors
/// [`CatalogueFileError`] names the file and the line.
pub fn read_catalogue(path: &Path) -> Result<Catalogue, CatalogueFileError> {
    let bytes =
        fs::read(path).map_err(|source| CatalogueFileError::Read { path: path.into(), source })?;
    Catalogue::read_csv(&bytes)
        .map_err(|source| CatalogueFileError::Content { path: path.into(), source })
}

/// Why the item list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueFileError {
    /// Not there or not readable.
    #[error("the catalogue cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Not a catalogue.
    #[error("the catalogue is not valid")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CatalogueError,
    },
}

impl Explain for CatalogueFileError {
    fn place(&self) -> String {
        match self {
            Self::Read { path, .. } | Self::Content { path, .. } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        "put the federation's catalogue file there, unchanged; 'catalogue' in the configuration \
         names it"
            .into()
    }
}

/// The answer could not be written to the standard output.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be written")]
struct OutputError(#[source] io::Error);

impl Explain for OutputError {
    fn place(&self) -> String {
        "standard output".into()
    }

    fn remedy(&self) -> String {
        "check where the output goes and its free space".into()
    }
}

/// The runtime for reading and for the network could not start.
#[derive(Debug, thiserror::Error)]
#[error("the program's runtime cannot start")]
struct RuntimeError(#[source] io::Error);

impl Explain for RuntimeError {
    fn place(&self) -> String {
        "this machine".into()
    }

    fn remedy(&self) -> String {
        "check the limits on threads and open files (ulimit -a)".into()
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, RuntimeError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RuntimeError)
}

/// Present time, Unix seconds.
fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn write_json(out: &mut dyn Write, value: &impl serde::Serialize) -> Result<(), OutputError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| OutputError(error.into()))?;
    writeln!(out, "{text}").map_err(OutputError)
}

/// Logs go to the standard error; `CHORALE_LOG` chooses what, `CHORALE_LOG_FORMAT=json` how.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CHORALE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // The SQL engine's own messages, and headers of what brings a cluster's, may quote customers'
    // rows: nobody can ask for them.
    let filter = ["ballista=off", "datafusion=off", "h2=off"]
        .into_iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, tracing_subscriber::EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // Both fail only where the embedding program has set a logger already; that one is used then.
    let _ = match std::env::var("CHORALE_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().try_init(),
        _ => builder.try_init(),
    };
}

/// Two columns or more, each as wide as its longest cell.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A whole number with separators, as 219,878.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn numbers_and_tables() {
        assert_eq!(
            [0, 999, 1000, 219_878, 1_000_000].map(thousands).join(" "),
            "0 999 1,000 219,878 1,000,000"
        );
        let rows = [vec!["a".into(), "1".into()], vec!["bbb".into(), "22".into()]];
        assert_eq!(table(&rows), "  a    1\n  bbb  22\n");
    }
}
