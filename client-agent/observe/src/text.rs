//! Text sources as tables: delimited text and JSON lines, each row with its file and line.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use chorale_people::{event::Reason, quality::Spot, store::FileSeen};
use datafusion::{
    arrow::{
        array::{
            ArrayRef, BooleanBuilder, DictionaryArray, Float64Builder, Int32Array, Int64Builder,
            RecordBatch, StringArray, StringBuilder, UInt64Builder,
        },
        datatypes::{DataType, Field, Schema, SchemaRef},
    },
    common::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchReceiverStream, streaming::PartitionStream},
};
use serde_json::Value;

use super::{
    Engine, ObserveError,
    lines::{Line, Lines},
    split::Records,
};
use crate::{Format, Source};

/// Columns that say where a row stood, unless the file has columns of these names.
const FILE: &str = "_file";
const LINE: &str = "_line";
/// Rows of one batch.
const BATCH_ROWS: usize = 8192;
/// Malformed lines that are remembered with their place.
const SPOTS_MAX: usize = 5;

/// What one scan of a source read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) malformed: Vec<(Reason, u64, Vec<Spot>)>,
}

/// A source of text files as a table of one partition.
#[derive(Debug)]
pub(super) struct Table {
    source: Source,
    files: Vec<PathBuf>,
    columns: Vec<(String, Holds)>,
    schema: SchemaRef,
    tally: Arc<Mutex<Tally>>,
}

/// What a column of text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Text,
    Whole,
    Number,
    Truth,
}

impl Table {
    /// The columns of `all` files of the source, and the rows of those `to_read`.
    pub(super) fn open(
        source: &Source,
        all: &[FileSeen],
        to_read: &[FileSeen],
    ) -> Result<Self, ObserveError> {
        let columns = match source.format {
            Format::Ndjson => json_columns(source, if to_read.is_empty() { all } else { to_read })?,
            _ => header_columns(source, all)?,
        };
        let mut fields: Vec<Field> = columns
            .iter()
            .map(|(name, holds)| {
                let kind = match holds {
                    Holds::Text => DataType::Utf8,
                    Holds::Whole => DataType::Int64,
                    Holds::Number => DataType::Float64,
                    Holds::Truth => DataType::Boolean,
                };
                Field::new(name, kind, true)
            })
            .collect();
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for (name, kind) in [(FILE, dictionary), (LINE, DataType::UInt64)] {
            if !columns.iter().any(|(column, _)| column == name) {
                fields.push(Field::new(name, kind, false));
            }
        }
        Ok(Self {
            source: source.clone(),
            files: to_read.iter().map(|file| file.path.clone().into()).collect(),
            columns,
            schema: Arc::new(Schema::new(fields)),
            tally: Arc::default(),
        })
    }

    /// Where the counts of the latest scan stand.
    pub(super) fn tally(&self) -> Arc<Mutex<Tally>> {
        Arc::clone(&self.tally)
    }
}

impl PartitionStream for Table {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), 2);
        let sender = stream.tx();
        let (source, files) = (self.source.clone(), self.files.clone());
        let (columns, schema) = (self.columns.clone(), Arc::clone(&self.schema));
        let shared = Arc::clone(&self.tally);
        stream.spawn_blocking(move || {
            let mut tally = Tally::default();
            for path in &files {
                let mut rows = Rows::new(&columns, &schema, path);
                // The receiver is gone when the query wants no more rows, as with LIMIT.
                let mut send = |batch: Result<RecordBatch, DataFusionError>, tally: &Tally| {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = tally.clone();
                    sender.blocking_send(batch).is_ok()
                };
                let read = match source.format {
                    Format::Ndjson => rows.json(&source, &mut tally, &mut send),
                    _ => rows.delimited(&source, &mut tally, &mut send),
                };
                match read {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        let said = Engine(format!("{}: {error}", path.display()));
                        send(Err(DataFusionError::External(Box::new(said))), &tally);
                        break;
                    }
                }
            }
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = tally;
            Ok(())
        });
        stream.build()
    }
}

/// The rows of one file on their way into batches.
struct Rows<'a> {
    columns: &'a [(String, Holds)],
    schema: &'a SchemaRef,
    path: &'a Path,
    name: String,
    builders: Vec<Builder>,
    lines: UInt64Builder,
    count: usize,
}

enum Builder {
    Text(StringBuilder),
    Whole(Int64Builder),
    Number(Float64Builder),
    Truth(BooleanBuilder),
}

type Deliver<'a> = dyn FnMut(Result<RecordBatch, DataFusionError>, &Tally) -> bool + 'a;

impl<'a> Rows<'a> {
    fn new(columns: &'a [(String, Holds)], schema: &'a SchemaRef, path: &'a Path) -> Self {
        let builders = columns.iter().map(|(_, holds)| Builder::new(*holds)).collect();
        let (name, lines) = (short(path), UInt64Builder::new());
        Self { columns, schema, path, name, builders, lines, count: 0 }
    }

    /// Reads a delimited file; `false` where nobody wants more.
    fn delimited(
        &mut self,
        source: &Source,
        tally: &mut Tally,
        send: &mut Deliver<'_>,
    ) -> std::io::Result<bool> {
        let mut records = Records::new(Lines::open(self.path, source.encoding())?, source)?;
        // Where each column stands in this file, which may have them in another order or not all.
        let mut places: Vec<Option<usize>> = (0..self.columns.len()).map(Some).collect();
        let mut expected = self.columns.len();
        if source.header {
            let Some(header) = records.next(None)? else { return Ok(true) };
            if let Err(reason) = header.state {
                return Err(std::io::Error::other(format!("the header is a {}", reason.text())));
            }
            let names: Vec<String> = records.fields().map(clean_name).collect();
            let place = |(name, _): &(String, Holds)| names.iter().position(|n| n == name);
            places = self.columns.iter().map(place).collect();
            expected = names.len();
        }
        while let Some(record) = records.next(Some(expected))? {
            if let Err(reason) = record.state {
                tally.set_aside(reason, &self.name, record.line);
                continue;
            }
            for (builder, place) in self.builders.iter_mut().zip(&places) {
                let text = place.map_or("", |place| records.field(place));
                builder.text((!text.is_empty()).then_some(text));
            }
            if !self.row(record.line, tally, send)? {
                return Ok(false);
            }
        }
        self.flush(tally, send)
    }

    /// Reads a file of JSON lines; `false` where nobody wants more.
    fn json(
        &mut self,
        source: &Source,
        tally: &mut Tally,
        send: &mut Deliver<'_>,
    ) -> std::io::Result<bool> {
        let positions: HashMap<&str, usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(position, (name, _))| (name.as_str(), position))
            .collect();
        let mut lines = Lines::open(self.path, source.encoding())?;
        let mut line = Vec::new();
        let mut row: Vec<Option<Value>> = vec![None; self.columns.len()];
        while let Some(kind) = lines.next(&mut line)? {
            let number = lines.number();
            if kind == Line::NotText {
                tally.set_aside(Reason::WrongEncoding, &self.name, number);
                continue;
            }
            if line.iter().all(u8::is_ascii_whitespace) && kind == Line::Text {
                continue;
            }
            let Some(Value::Object(object)) = parsed(kind, &line) else {
                tally.set_aside(Reason::MalformedLine, &self.name, number);
                continue;
            };
            flatten(object, "", &mut |name, value| {
                if let Some(position) = positions.get(name) {
                    row[*position] = Some(value);
                }
            });
            for (builder, value) in self.builders.iter_mut().zip(&mut row) {
                builder.value(value.take());
            }
            if !self.row(number, tally, send)? {
                return Ok(false);
            }
        }
        self.flush(tally, send)
    }

    fn row(
        &mut self,
        line: u64,
        tally: &mut Tally,
        send: &mut Deliver<'_>,
    ) -> std::io::Result<bool> {
        tally.rows += 1;
        self.lines.append_value(line);
        self.count += 1;
        if self.count < BATCH_ROWS { Ok(true) } else { self.flush(tally, send) }
    }

    fn flush(&mut self, tally: &Tally, send: &mut Deliver<'_>) -> std::io::Result<bool> {
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return Ok(true);
        }
        let mut arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let lines: ArrayRef = Arc::new(self.lines.finish());
        for field in &self.schema.fields()[arrays.len()..] {
            if field.name() == FILE {
                let name = Arc::new(StringArray::from(vec![self.name.as_str()]));
                let names = DictionaryArray::try_new(Int32Array::from(vec![0; count]), name);
                arrays.push(Arc::new(names.map_err(std::io::Error::other)?));
            } else {
                arrays.push(Arc::clone(&lines));
            }
        }
        let batch = RecordBatch::try_new(Arc::clone(self.schema), arrays);
        Ok(send(batch.map_err(DataFusionError::from), tally))
    }
}

impl Tally {
    fn set_aside(&mut self, reason: Reason, file: &str, line: u64) {
        let position = self.malformed.iter().position(|(other, ..)| *other == reason);
        let position = position.unwrap_or_else(|| {
            self.malformed.push((reason, 0, Vec::new()));
            self.malformed.len() - 1
        });
        let (_, count, spots) = &mut self.malformed[position];
        *count += 1;
        if spots.len() < SPOTS_MAX {
            spots.push(Spot { file: Some(file.to_owned()), number: line });
        }
    }
}

impl Builder {
    fn new(holds: Holds) -> Self {
        match holds {
            Holds::Text => Self::Text(StringBuilder::new()),
            Holds::Whole => Self::Whole(Int64Builder::new()),
            Holds::Number => Self::Number(Float64Builder::new()),
            Holds::Truth => Self::Truth(BooleanBuilder::new()),
        }
    }

    fn text(&mut self, text: Option<&str>) {
        if let Self::Text(builder) = self {
            builder.append_option(text);
        }
    }

    /// A value of the kind that the column was found to hold; another becomes empty.
    fn value(&mut self, value: Option<Value>) {
        let value = value.unwrap_or(Value::Null);
        match self {
            Self::Whole(builder) => builder.append_option(value.as_i64()),
            Self::Number(builder) => builder.append_option(value.as_f64()),
            Self::Truth(builder) => builder.append_option(value.as_bool()),
            Self::Text(builder) => match value {
                Value::Null => builder.append_null(),
                Value::String(text) => builder.append_value(text),
                other => builder.append_value(other.to_string()),
            },
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Whole(builder) => Arc::new(builder.finish()),
            Self::Number(builder) => Arc::new(builder.finish()),
            Self::Truth(builder) => Arc::new(builder.finish()),
        }
    }
}

/// The columns of delimited files: those of the configuration, or every name of a header.
fn header_columns(
    source: &Source,
    files: &[FileSeen],
) -> Result<Vec<(String, Holds)>, ObserveError> {
    let mut names: Vec<String> = source.columns.clone();
    for file in files {
        if !source.header && !names.is_empty() {
            break;
        }
        let wrong = |said: String| ObserveError::Format {
            name: source.name.clone(),
            path: file.path.clone().into(),
            format: source.format,
            source: Engine(said),
        };
        let path = Path::new(&file.path);
        let first = Lines::open(path, source.encoding())
            .and_then(|lines| Records::new(lines, source))
            .and_then(|mut records| {
                let first = records.next(None)?;
                Ok(first.map(|record| {
                    record.state.map(|()| records.fields().map(clean_name).collect::<Vec<_>>())
                }))
            });
        let Some(first) = first.map_err(|error| wrong(error.to_string()))? else { continue };
        let first = first.map_err(|reason| wrong(format!("its first line: {}", reason.text())))?;
        if !source.header {
            names = (1..=first.len()).map(|number| format!("c{number}")).collect();
            break;
        }
        for (position, name) in first.iter().enumerate() {
            if name.is_empty() || first[..position].contains(name) {
                let said = format!("column {} of its header is empty or repeated", position + 1);
                return Err(wrong(said));
            }
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    if names.is_empty() {
        return Err(nothing(source));
    }
    Ok(names.into_iter().map(|name| (name, Holds::Text)).collect())
}

/// The columns of JSON lines: every key of every object, those of objects inside as `outer.inner`,
/// as numbers or truths where all their values are.
fn json_columns(source: &Source, files: &[FileSeen]) -> Result<Vec<(String, Holds)>, ObserveError> {
    let mut columns: Vec<(String, Option<Holds>)> =
        source.columns.iter().map(|name| (name.clone(), None)).collect();
    let mut positions: HashMap<String, usize> =
        columns.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
    for file in files {
        let path = Path::new(&file.path);
        let wrong = |error: std::io::Error| ObserveError::Format {
            name: source.name.clone(),
            path: path.into(),
            format: source.format,
            source: Engine(error.to_string()),
        };
        let mut lines = Lines::open(path, source.encoding()).map_err(wrong)?;
        let mut line = Vec::new();
        while let Some(kind) = lines.next(&mut line).map_err(wrong)? {
            let Some(Value::Object(object)) = parsed(kind, &line) else { continue };
            flatten(object, "", &mut |name, value| {
                let position = positions.get(name).copied().unwrap_or_else(|| {
                    positions.insert(name.to_owned(), columns.len());
                    columns.push((name.to_owned(), None));
                    columns.len() - 1
                });
                let known = &mut columns[position].1;
                if let Some(found) = holds(&value) {
                    *known = Some(match (*known, found) {
                        (None, found) => found,
                        (Some(known), found) if known == found => found,
                        (Some(Holds::Whole | Holds::Number), Holds::Whole | Holds::Number) => {
                            Holds::Number
                        }
                        _ => Holds::Text,
                    });
                }
            });
        }
    }
    if columns.is_empty() {
        return Err(nothing(source));
    }
    Ok(columns.into_iter().map(|(name, kind)| (name, kind.unwrap_or(Holds::Text))).collect())
}

fn holds(value: &Value) -> Option<Holds> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(Holds::Truth),
        Value::Number(number) if number.is_i64() => Some(Holds::Whole),
        Value::Number(number) if number.is_f64() => Some(Holds::Number),
        _ => Some(Holds::Text),
    }
}

fn parsed(kind: Line, line: &[u8]) -> Option<Value> {
    if kind == Line::Text { serde_json::from_slice(line).ok() } else { None }
}

/// Gives every value with its dotted name to `visit`; lists stay whole.
fn flatten(
    object: serde_json::Map<String, Value>,
    prefix: &str,
    visit: &mut dyn FnMut(&str, Value),
) {
    for (key, value) in object {
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) => flatten(inner, &name, visit),
            value => visit(&name, value),
        }
    }
}

fn clean_name(name: &str) -> String {
    name.trim().to_owned()
}

/// A file's own name, without its folders.
fn short(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn nothing(source: &Source) -> ObserveError {
    ObserveError::NoFile { name: source.name.clone(), path: source.path.clone() }
}
