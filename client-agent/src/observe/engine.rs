//! The query engine: registers the sources, runs the SQL and streams its batches.

use std::{collections::HashSet, fs::File};

use chorale_task::Catalogue;
use datafusion::{
    common::{DataFusionError, SchemaError},
    execution::context::{SQLOptions, SessionContext},
    prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionConfig},
};
use futures::StreamExt;

use super::{Engine, Event, ObserveError, Quality, columns::Layout};
use crate::{
    config::{Config, Format, Source},
    event::Cleaner,
    pseudonym::Pseudonymiser,
};

pub(super) async fn run(
    config: &Config,
    catalogue: &Catalogue,
    names: &Pseudonymiser,
    now_s: i64,
    sink: &mut (dyn FnMut(Event) + Send),
) -> Result<Quality, ObserveError> {
    // One partition keeps the rows in the files' order, so that row numbers mean something.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for source in &config.sources {
        register(&context, source).await?;
    }
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context
        .sql_with_options(&config.event_sql, read_only)
        .await
        .map_err(|error| sql_error(error, &config.event_sql))?;
    let schema = frame.schema().as_arrow().clone();
    let layout = Layout::of(&schema)?;
    let mut quality = Quality { columns: layout.report(&schema), ..Quality::default() };
    let mut cleaner = Cleaner {
        home: &config.home,
        rules: &config.cleaning,
        catalogue,
        names,
        now_s,
        seen: HashSet::new(),
    };
    let mut batches =
        frame.execute_stream().await.map_err(|error| ObserveError::Sql { source: said(&error) })?;
    while let Some(batch) = batches.next().await {
        let rows = quality.rows;
        let batch = batch.map_err(|error| ObserveError::Read { rows, source: said(&error) })?;
        let columns = layout
            .columns(&batch, &mut quality.columns)
            .map_err(|error| ObserveError::Read { rows, source: Engine(error.to_string()) })?;
        for index in 0..batch.num_rows() {
            quality.rows += 1;
            match cleaner.clean(&columns.row(index)) {
                Ok(event) => {
                    quality.used += 1;
                    sink(event);
                }
                Err(reason) => {
                    let row = quality.rows;
                    quality.set_aside(reason, row);
                }
            }
        }
    }
    Ok(quality)
}

/// Makes a source known to the engine under its name, after a look whether it is there at all:
/// the engine takes a missing file for an empty table.
async fn register(context: &SessionContext, source: &Source) -> Result<(), ObserveError> {
    let Source { name, path, format } = source;
    let text = path.to_string_lossy();
    let is_pattern = text.contains(['*', '?', '[']);
    if !is_pattern {
        File::open(path).map_err(|error| ObserveError::Open {
            name: name.clone(),
            path: path.clone(),
            source: error,
        })?;
    }
    // The engine compares file names with an ending; in a directory that is useful, but a file or
    // a pattern that the administrator wrote down is meant as it stands.
    let ending = |usual| if path.is_dir() { usual } else { "" };
    let registered = match format {
        Format::Parquet => {
            let options = ParquetReadOptions::new().file_extension(ending(".parquet"));
            context.register_parquet(name.as_str(), &text, options).await
        }
        Format::Csv => {
            // No guessing of types: '007' stays '007', and a bad number is one bad row.
            let options =
                CsvReadOptions::new().file_extension(ending(".csv")).schema_infer_max_records(0);
            context.register_csv(name.as_str(), &text, options).await
        }
        Format::Ndjson => {
            let options = JsonReadOptions::default()
                .file_extension(ending(".ndjson"))
                .schema_infer_max_records(usize::MAX);
            context.register_json(name.as_str(), &text, options).await
        }
    };
    let unreadable = |error: &DataFusionError| ObserveError::Format {
        name: name.clone(),
        path: path.clone(),
        format: *format,
        source: said(error),
    };
    let nothing = || ObserveError::NoFile { name: name.clone(), path: path.clone() };
    registered.map_err(|error| {
        // The engine has no variant of its own for a pattern without a match.
        let no_match = is_pattern && error.to_string().contains("No files found");
        if no_match { nothing() } else { unreadable(&error) }
    })?;
    let table = context.table(name.as_str()).await.map_err(|error| unreadable(&error))?;
    if table.schema().fields().is_empty() {
        return Err(nothing());
    }
    Ok(())
}

fn sql_error(error: DataFusionError, sql: &str) -> ObserveError {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let there: Vec<String> =
                    valid_fields.iter().map(|field| field.flat_name()).collect();
                ObserveError::NoColumn {
                    column: field.name().to_owned(),
                    at: position(sql, field.name()),
                    there: there.join(", "),
                }
            }
            _ => ObserveError::Sql { source: said(&error) },
        },
        _ => ObserveError::Sql { source: said(&error) },
    }
}

/// Line and column of the first mention of `name` as a whole word.
fn position(sql: &str, name: &str) -> Option<(usize, usize)> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let folded = sql.to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    let found = folded.match_indices(&name).map(|(at, _)| at).find(|&at| {
        !folded[..at].ends_with(word) && !folded[at + name.len()..].starts_with(word)
    })?;
    let before = &sql[..found];
    let line = before.matches('\n').count() + 1;
    let column = found - before.rfind('\n').map_or(0, |end| end + 1) + 1;
    Some((line, column))
}

/// The innermost message, without the engine's layers of wrapping and its backtraces.
fn said(error: &DataFusionError) -> Engine {
    Engine(error.find_root().strip_backtrace())
}
