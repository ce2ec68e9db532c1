//! Reading the store's own files: SQL over Parquet, delimited text or JSON lines into canonical
//! events.
//!
//! The SQL may only read. Every row is either used or set aside with a reason; a raw customer id
//! lives only inside the loop over one batch, where it becomes a pseudonym. What was read before
//! is read again only where it must be ([`plan`]).

#[cfg(feature = "ballista")]
mod ballista;
mod cluster;
mod columns;
mod database;
mod engine;
mod files;
mod linear;
mod lines;
#[cfg(feature = "odbc")]
mod odbc;
mod place;
mod plan;
mod source;
mod split;
mod text;

use std::path::PathBuf;

use chorale_people::{
    error::{Explain, Failure},
    event::{Cleaning, Said},
    gather::At,
    pseudonym::Pseudonymiser,
    quality::Spot,
};
use chorale_task::Catalogue;
use futures::future::BoxFuture;

pub use chorale_people::{
    event::{Event, Kind, Reason},
    quality::{ColumnQuality, Quality, Quarantine, SourceQuality, TooManyFaults},
};
pub use cluster::{Cluster, ExecutorDisks, RunsOn};
pub use columns::COLUMNS;
pub use plan::{Plan, Sources, Wanted};
pub use source::{Delimiter, Format, Source};

/// What is to be read, and how.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The tables that the SQL may name.
    pub sources: &'a [Source],
    /// A SQL SELECT over them that yields the canonical event ([`COLUMNS`]).
    pub event_sql: &'a str,
    /// The store whose customers are at home here, as the column `home_store` names it.
    pub home: &'a str,
    /// What counts as a bad row.
    pub cleaning: &'a Cleaning,
    /// Bytes that the engine may use for joins and sums; it never writes to the disk.
    pub memory_bytes: usize,
    /// Where the SQL runs.
    pub runs_on: &'a RunsOn,
    /// The cluster, if there.
    pub cluster: &'a Cluster,
}

/// Why the store's events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A file is missing or cannot be opened.
    #[error("the source '{name}' cannot be opened")]
    Open {
        /// The source.
        name: String,
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// A database does not answer as it should.
    #[error("the database of the source '{name}' cannot be {doing}")]
    Database {
        /// The source.
        name: String,
        /// What was tried.
        doing: &'static str,
        /// What the database or the connection says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file with a database's address holds none.
    #[error("the address of the source '{name}' is none")]
    Address {
        /// The source.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// A cursor that cannot be compared.
    #[error(
        "the cursor of the source '{name}' holds something else than a number, a time or a plain word"
    )]
    Cursor {
        /// The source.
        name: String,
    },
    /// A file that was written to while it was read.
    #[error("a file of the source '{name}' changed while it was read")]
    Changed {
        /// The source.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// Files that were read are gone, and all must be read again.
    #[error(
        "{reason}, so everything must be read again, but {missing} files that were read are gone"
    )]
    Gone {
        /// Why all must be read again.
        reason: &'static str,
        /// How many files are gone.
        missing: usize,
        /// The first of them.
        path: PathBuf,
    },
    /// A pattern that no file matches.
    #[error("no file matches the source '{name}'")]
    NoFile {
        /// The source.
        name: String,
        /// Its pattern.
        path: PathBuf,
    },
    /// A file is not what its format says.
    #[error("the source '{name}' cannot be read as {format:?}")]
    Format {
        /// The source.
        name: String,
        /// Its path.
        path: PathBuf,
        /// The configured format.
        format: Format,
        /// What the reader says.
        #[source]
        source: Engine,
    },
    /// A column that the SQL names and no source has.
    #[error("event_sql names the column '{column}', which no source has; there are: {there}")]
    NoColumn {
        /// The column.
        column: String,
        /// Line and column of its first mention in the SQL, from 1.
        at: Option<(usize, usize)>,
        /// The columns there are.
        there: String,
    },
    /// The SQL is not a SELECT that this engine can run.
    #[error("event_sql cannot be run")]
    Sql {
        /// What the engine says.
        #[source]
        source: Engine,
    },
    /// The SQL's result lacks a column of the canonical event.
    #[error("event_sql yields no column '{column}' ({expected}); it yields: {there}")]
    Missing {
        /// The missing column.
        column: &'static str,
        /// What it must hold.
        expected: &'static str,
        /// The columns it yields.
        there: String,
    },
    /// The SQL's result has a column that no canonical event has.
    #[error("event_sql yields a column '{column}', which is no part of an event; use: {known}")]
    Unknown {
        /// The column.
        column: String,
        /// The columns of an event.
        known: String,
    },
    /// A column of the wrong type.
    #[error("event_sql yields '{column}' as {found}; expected {expected}")]
    Type {
        /// The column.
        column: &'static str,
        /// Its type.
        found: String,
        /// What it must hold.
        expected: &'static str,
    },
    /// A cluster does not run the SQL to its end.
    #[error("the cluster at {address} did not run event_sql to its end")]
    Cluster {
        /// Its scheduler.
        address: String,
        /// What it says, or the connection.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A join or a sum that the memory does not hold.
    #[error("event_sql needs more memory than it may use, after {rows} rows")]
    Memory {
        /// Rows read before.
        rows: u64,
        /// What the engine says.
        #[source]
        source: Engine,
    },
    /// Reading stopped in the middle.
    #[error("reading stopped after {rows} rows")]
    Read {
        /// Rows read before.
        rows: u64,
        /// What the reader says.
        #[source]
        source: Engine,
    },
}

/// What the query engine says; its own type stays in this module.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Engine(String);

/// What was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// What became of the rows; rows with a repeated id are still among the used ones.
    pub quality: Quality,
    /// The names of files that places of rows refer to.
    files: Vec<String>,
}

impl Read {
    /// Nothing was read; `quality` is that of an earlier reading.
    #[must_use]
    pub fn again(quality: Quality) -> Self {
        Self { quality, files: Vec::new() }
    }

    /// Takes rows with a repeated id out of the used ones. `first` says where the first stood.
    pub fn repeated(&mut self, rows: u64, first: &[At], corrected: u64) {
        self.quality.corrected = corrected;
        if rows == 0 {
            return;
        }
        let first = first.iter().map(|at| match at.parts() {
            (Some(file), number) => Spot { file: self.files.get(file).cloned(), number },
            (None, number) => Spot::row(number),
        });
        self.quality.used = self.quality.used.saturating_sub(rows);
        let quarantine = Quarantine { rows, first: first.collect() };
        self.quality.quarantined.insert(Reason::DuplicateId, quarantine);
    }
}

/// Reads what `plan` selected, gives what clean rows say to `sink` and reports on all rows.
/// `now_s` is the present in Unix seconds: times far ahead of it are faults.
///
/// # Errors
/// [`ObserveError`] when a file, the SQL or a column is wrong, or what `sink` says. Faulty rows are
/// no error here: see [`Quality::admit`].
// Boxed, as all of this crate's futures, so that the engine's code is made here and nowhere else.
pub fn observe<'a>(
    plan: Plan<'a>,
    catalogue: &'a Catalogue,
    names: &'a Pseudonymiser,
    now_s: i64,
    sink: &'a mut (dyn FnMut(Said, At) -> Result<(), Failure> + Send),
) -> BoxFuture<'a, Result<Read, Failure>> {
    Box::pin(engine::run(plan.prepared, plan.settings, catalogue, names, now_s, sink))
}

impl Explain for ObserveError {
    fn place(&self) -> String {
        match self {
            Self::Open { path, .. }
            | Self::Address { path, .. }
            | Self::Changed { path, .. }
            | Self::Gone { path, .. }
            | Self::NoFile { path, .. }
            | Self::Format { path, .. } => path.display().to_string(),
            Self::Database { name, .. } | Self::Cursor { name } => {
                format!("the source '{name}' in the agent's configuration")
            }
            Self::Cluster { .. } => "the key 'engine' in the agent's configuration".into(),
            Self::NoColumn { at: Some((line, column)), .. } => {
                format!("event_sql, line {line}, column {column}")
            }
            Self::NoColumn { .. }
            | Self::Sql { .. }
            | Self::Memory { .. }
            | Self::Missing { .. }
            | Self::Unknown { .. }
            | Self::Type { .. } => "event_sql in the agent's configuration".into(),
            Self::Read { rows, .. } => format!("the sources, near row {}", rows + 1),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Open { .. } => "check the path in [[sources]] and the file's owner".into(),
            Self::Database { .. } => {
                "check that the database runs, that 'address' and 'query' are \
                 right, and that the account may read"
                    .into()
            }
            Self::Cluster { .. } => {
                "check that the scheduler runs, that executors see the same files under the same \
                 paths, and [cluster]; the cluster's own logs say more"
                    .into()
            }
            Self::Memory { .. } => {
                "raise memory_limit_mib, or join and sum less in event_sql".into()
            }
            Self::Address { .. } => {
                "write an address like 'postgres://reader:secret@host/shop' into the file".into()
            }
            Self::Cursor { .. } => "choose a column such as a serial number".into(),
            Self::Changed { .. } => {
                "run the command again when nobody writes to the file; settle_s \
                 in [[sources]] makes readings leave young files alone"
                    .into()
            }
            Self::Gone { .. } => "put the files back, or accept with `client-agent ingest --all` \
                 that what stood in them is forgotten"
                .into(),
            Self::NoFile { .. } => "check the pattern in [[sources]]".into(),
            Self::Format { .. } => {
                "check that the file is whole and that 'format' in [[sources]] fits it".into()
            }
            Self::Read { .. } => {
                "check that the file is whole; where event_sql converts, TRY_CAST \
                 sets a bad value aside instead of stopping"
                    .into()
            }
            Self::NoColumn { column, .. } => {
                format!("correct '{column}' in event_sql, or the source that should have it")
            }
            Self::Sql { .. } => "correct event_sql; only SELECT is allowed".into(),
            Self::Missing { column, .. } => {
                format!("add '... AS {column}' to the SELECT list of event_sql")
            }
            Self::Unknown { column, .. } => {
                format!("rename or remove '{column}' in the SELECT list of event_sql")
            }
            Self::Type { column, .. } => format!("convert '{column}' in event_sql with CAST"),
        }
    }
}
