//! The query engine: registers the sources, runs the SQL and streams its batches.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use chorale_people::{
    error::Failure,
    event::{Cleaner, Said},
    gather::At,
    pseudonym::Pseudonymiser,
    quality::{SourceQuality, Spot},
    store::FileSeen,
};
use chorale_task::Catalogue;
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    common::{DataFusionError, SchemaError},
    datasource::{
        file_format::parquet::ParquetFormat,
        listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl},
    },
    execution::{
        SendableRecordBatchStream,
        context::{SQLOptions, SessionContext},
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        runtime_env::RuntimeEnvBuilder,
    },
    physical_plan::streaming::PartitionStream,
    prelude::DataFrame,
};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::{
    Engine, Format, ObserveError, Quality, Read, Settings, Source,
    columns::{Columns, Layout},
    database, files,
    linear::added_rows,
    place::{Place, said},
    text::{Table, Tally},
};

/// Batches that are read ahead while one is cleaned.
const BATCHES_AHEAD: usize = 4;

/// The files of one source that are read now.
pub(super) struct Selected<'a> {
    pub(super) source: &'a Source,
    /// All files there are.
    pub(super) all: Vec<FileSeen>,
    /// Those that are read.
    pub(super) to_read: Vec<FileSeen>,
    /// Whether these are the new ones only.
    pub(super) grown: bool,
    /// For a database: what was read up to.
    pub(super) after: Option<FileSeen>,
    pub(super) unsettled: u64,
}

/// The SQL over the selected files, ready to run.
pub(super) struct Prepared<'a> {
    place: Place,
    frame: DataFrame,
    selected: Vec<Selected<'a>>,
    tallies: Vec<Option<Arc<Mutex<Tally>>>>,
}

/// Plans the SQL over the selected files; where `only_new`, for the rows that new files add. `None`
/// where these files change other rows too.
pub(super) async fn prepare<'a>(
    settings: Settings<'_>,
    selected: Vec<Selected<'a>>,
    only_new: bool,
) -> Result<Option<Prepared<'a>>, ObserveError> {
    // What the engine would put on the disk it would put there in clear, so it may not.
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(settings.memory_bytes, 1.0)
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        )
        .build_arc()
        .map_err(|error| ObserveError::Sql { source: said(&error) })?;
    let place = Place::of(settings)?;
    let context = place
        .context(settings, runtime)
        .map_err(|error| ObserveError::Sql { source: said(&error) })?;
    let mut tallies = Vec::new();
    for one in &selected {
        tallies.push(register(&context, one).await?);
    }
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let mut frame = context
        .sql_with_options(settings.event_sql, read_only)
        .await
        .map_err(|error| sql_error(error, settings.event_sql))?;
    if only_new {
        let grown = selected.iter().filter(|one| one.grown).map(|one| one.source.name.as_str());
        let (state, plan) = frame.into_parts();
        let Some(plan) = added_rows(plan, &grown.collect()) else { return Ok(None) };
        frame = DataFrame::new(state, plan);
    }
    Ok(Some(Prepared { place, frame, selected, tallies }))
}

/// Runs the SQL: one task reads, this one cleans.
pub(super) async fn run(
    prepared: Prepared<'_>,
    settings: Settings<'_>,
    catalogue: &Catalogue,
    names: &Pseudonymiser,
    now_s: i64,
    sink: &mut (dyn FnMut(Said, At) -> Result<(), Failure> + Send),
) -> Result<Read, Failure> {
    let Prepared { place, frame, selected, tallies } = prepared;
    let schema = frame.schema().as_arrow().clone();
    let layout = Layout::of(&schema)?;
    let quality = Quality { columns: layout.report(&schema), ..Quality::default() };
    let cleaner =
        Cleaner { home: settings.home, rules: settings.cleaning, catalogue, names, now_s };
    let (stream, job) = place.start(frame).await?;
    let read = take(stream, &layout, quality, cleaner, &place, sink).await;
    job.end(read.is_ok()).await;
    let Read { mut quality, files } = read?;
    for (one, tally) in selected.iter().zip(&tallies) {
        for file in one.to_read.iter().filter(|_| !one.source.format.is_database()) {
            files::unchanged(one.source, file)?;
        }
        count(&mut quality, one, tally.as_deref());
    }
    Ok(Read { quality, files })
}

/// Reads the stream to its end.
async fn take(
    mut stream: SendableRecordBatchStream,
    layout: &Layout,
    mut quality: Quality,
    cleaner: Cleaner<'_>,
    place: &Place,
    sink: &mut (dyn FnMut(Said, At) -> Result<(), Failure> + Send),
) -> Result<Read, Failure> {
    let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let reader = tokio::spawn(async move {
        while let Some(batch) = stream.next().await {
            if sender.send(batch).await.is_err() {
                break;
            }
        }
    });
    let mut places = Places::default();
    while let Some(batch) = batches.recv().await {
        let rows = quality.rows;
        let batch = batch.map_err(|error| place.stopped(rows, &error))?;
        let columns = layout
            .columns(&batch, &mut quality.columns)
            .map_err(|error| ObserveError::Read { rows, source: Engine(error.to_string()) })?;
        let mut cleaning = cleaner.batch();
        for index in 0..batch.num_rows() {
            quality.rows += 1;
            let row = quality.rows;
            match cleaning.clean(&columns.row(index)) {
                Ok(said) => {
                    quality.used += 1;
                    sink(said, places.at(&columns, index, row))?;
                }
                Err(reason) => quality.set_aside(reason, || spot(&columns, index, row)),
            }
        }
    }
    // The reader ends by itself; a panic in it would otherwise look like the end of the files.
    reader.await.map_err(|error| ObserveError::Read {
        rows: quality.rows,
        source: Engine(error.to_string()),
    })?;
    Ok(Read { quality, files: places.files })
}

/// The names of the files that rows came from, numbered.
#[derive(Default)]
struct Places {
    files: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Places {
    fn at(&mut self, columns: &Columns, index: usize, row: u64) -> At {
        let Some((file, line)) = columns.spot(index) else { return At::row(row) };
        let number = match self.numbers.get(file) {
            Some(number) => *number,
            None => {
                self.files.push(file.to_owned());
                self.numbers.insert(file.to_owned(), self.files.len() - 1);
                self.files.len() - 1
            }
        };
        At::line(number, line, row)
    }
}

fn spot(columns: &Columns, index: usize, row: u64) -> Spot {
    match columns.spot(index) {
        Some((file, number)) => Spot { file: Some(file.to_owned()), number },
        None => Spot::row(row),
    }
}

/// Adds what was read of one source: malformed lines are rows that were set aside.
fn count(quality: &mut Quality, one: &Selected<'_>, tally: Option<&Mutex<Tally>>) {
    let tally = tally.map(|tally| tally.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let mut source = SourceQuality {
        name: one.source.name.clone(),
        files: one.to_read.len() as u64,
        known: (one.all.len() - one.to_read.len()) as u64,
        unsettled: one.unsettled,
        rows: tally.as_ref().map(|tally| tally.rows),
        malformed: 0,
    };
    for (reason, count, spots) in tally.into_iter().flat_map(|tally| tally.malformed) {
        source.malformed += count;
        quality.rows += count;
        let entry = quality.quarantined.entry(reason).or_default();
        entry.rows += count;
        let room = chorale_people::quality::FIRST_ROWS.saturating_sub(entry.first.len());
        entry.first.extend(spots.into_iter().take(room));
    }
    quality.sources.push(source);
}

/// Makes the files of a source known to the engine under its name.
async fn register(
    context: &SessionContext,
    one: &Selected<'_>,
) -> Result<Option<Arc<Mutex<Tally>>>, ObserveError> {
    let Source { name, path, format, .. } = one.source;
    let unreadable = |error: &DataFusionError| ObserveError::Format {
        name: name.clone(),
        path: path.clone(),
        format: *format,
        source: said(error),
    };
    if one.all.is_empty() {
        return Err(ObserveError::NoFile { name: name.clone(), path: path.clone() });
    }
    let (table, tally): (Arc<dyn TableProvider>, _) = if format.is_database() {
        let table = database::Table::open(one.source, one.after.as_ref(), &one.all[0]).await?;
        let table = streaming(Arc::new(table)).map_err(|error| unreadable(&error))?;
        (Arc::new(table), None)
    } else if *format == Format::Parquet {
        let table = parquet(context, &one.to_read).await.map_err(|error| unreadable(&error))?;
        (Arc::new(table), None)
    } else {
        let table = Table::open(one.source, &one.all, &one.to_read)?;
        let tally = table.tally();
        let table = streaming(Arc::new(table)).map_err(|error| unreadable(&error))?;
        (Arc::new(table), Some(tally))
    };
    context.register_table(name.as_str(), table).map_err(|error| unreadable(&error))?;
    Ok(tally)
}

fn streaming(table: Arc<dyn PartitionStream>) -> Result<StreamingTable, DataFusionError> {
    StreamingTable::try_new(Arc::clone(table.schema()), vec![table])
}

async fn parquet(
    context: &SessionContext,
    files: &[FileSeen],
) -> Result<ListingTable, DataFusionError> {
    // As addresses, because in a path the engine takes '*', '?' and '[' for a pattern.
    let urls = files.iter().map(|file| ListingTableUrl::parse(address(Path::new(&file.path))));
    let urls: Vec<ListingTableUrl> = urls.collect::<Result<_, _>>()?;
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
    let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options);
    ListingTable::try_new(config.infer_schema(&context.state()).await?)
}

/// An absolute path as an address.
fn address(path: &Path) -> String {
    let mut address = String::from("file://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                address.push(char::from(*byte));
            }
            other => address.push_str(&format!("%{other:02X}")),
        }
    }
    address
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
