//! Reading the store's own files: SQL over Parquet, CSV or NDJSON into canonical events.
//!
//! The SQL may only read. Every row is either used or set aside with a reason; a raw customer id
//! lives only inside the loop over one batch, where it becomes a pseudonym.

mod columns;
mod engine;

use std::path::PathBuf;

use chorale_task::Catalogue;

pub use chorale_people::{
    event::{Event, Kind, Reason},
    quality::{ColumnQuality, Quality, Quarantine, TooManyFaults},
};
pub use columns::COLUMNS;

use crate::{
    config::{Config, Format},
    error::Explain,
    pseudonym::Pseudonymiser,
};

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

/// Reads every event of the configured sources, gives the clean ones to `sink` and reports on all
/// rows. `now_s` is the present in Unix seconds: times far ahead of it are faults.
///
/// # Errors
/// [`ObserveError`] when a file, the SQL or a column is wrong. Faulty rows are no error here: see
/// [`Quality::admit`].
pub async fn observe(
    config: &Config,
    catalogue: &Catalogue,
    names: &Pseudonymiser,
    now_s: i64,
    sink: &mut (dyn FnMut(Event) + Send),
) -> Result<Quality, ObserveError> {
    engine::run(config, catalogue, names, now_s, sink).await
}

impl Explain for ObserveError {
    fn place(&self) -> String {
        match self {
            Self::Open { path, .. } | Self::NoFile { path, .. } | Self::Format { path, .. } => {
                path.display().to_string()
            }
            Self::NoColumn { at: Some((line, column)), .. } => {
                format!("event_sql, line {line}, column {column}")
            }
            Self::NoColumn { .. }
            | Self::Sql { .. }
            | Self::Missing { .. }
            | Self::Unknown { .. }
            | Self::Type { .. } => "event_sql in the agent's configuration".into(),
            Self::Read { rows, .. } => format!("the sources, near row {}", rows + 1),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Open { .. } => "check the path in [[sources]] and the file's owner".into(),
            Self::NoFile { .. } => "check the pattern in [[sources]]".into(),
            Self::Format { .. } | Self::Read { .. } => {
                "check that the file is whole and that 'format' in [[sources]] fits it".into()
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
