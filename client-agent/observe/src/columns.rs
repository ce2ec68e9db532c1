//! The columns of the canonical event: which there must be, and what each may hold.

use std::{collections::HashMap, str::FromStr, sync::Arc};

use chrono::{DateTime, TimeZone};
use datafusion::arrow::{
    array::timezone::Tz,
    array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray},
    compute::{CastOptions, cast_with_options, kernels::cast_utils::string_to_datetime},
    datatypes::{DataType, Float64Type, Int64Type, Schema, TimeUnit},
    error::ArrowError,
};

use super::{ColumnQuality, ObserveError};
use chorale_people::event::{Number, Row};

/// One column of the canonical event.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Whether the SQL must yield it.
    pub required: bool,
    /// What it holds.
    pub expected: &'static str,
    holds: Holds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Time,
    Text,
    Number,
}

const fn column(
    name: &'static str,
    required: bool,
    expected: &'static str,
    holds: Holds,
) -> Column {
    Column { name, required, expected, holds }
}

/// The columns of the canonical event, in the order of [`Columns`].
pub const COLUMNS: [Column; 15] = [
    column(
        "event_time",
        true,
        "the time: a timestamp or date in UTC or in the column 'zone', ISO 8601 text, or whole Unix \
         seconds",
        Holds::Time,
    ),
    column(
        "person",
        true,
        "the customer's id: text or a whole number, NULL for a visitor without one",
        Holds::Text,
    ),
    column(
        "home_store",
        true,
        "the store that the loyalty programme names as the customer's home: text, a whole number \
         or NULL",
        Holds::Text,
    ),
    column(
        "kind",
        true,
        "one of 'purchase', 'return', 'view', 'click', 'cart-add', 'cart-remove', and 'void' where \
         rows correct",
        Holds::Text,
    ),
    column("item", true, "the item's id in the catalogue: text or a whole number", Holds::Text),
    column("quantity", false, "how many: a number", Holds::Number),
    column("amount", false, "the money paid: a number", Holds::Number),
    column("discount", false, "the money taken off the price: a number", Holds::Number),
    column("channel", false, "where it happened, as 'till' or 'web': text", Holds::Text),
    column("basket", false, "the receipt's number: text or a whole number", Holds::Text),
    column("event_id", false, "an id that no other row has: text or a whole number", Holds::Text),
    column("session", false, "the visit's id, for visitors without a customer's id", Holds::Text),
    column(
        "zone",
        false,
        "the time zone of times without one: 'Asia/Shanghai', '+08:00'",
        Holds::Text,
    ),
    column("file", false, "the file of the row: _file of a text source", Holds::Text),
    column("line", false, "the line of the row: _line of a text source", Holds::Number),
];

/// Positions in [`COLUMNS`].
const PERSON: usize = 1;
const HOME: usize = 2;
const KIND: usize = 3;
const ITEM: usize = 4;
const QUANTITY: usize = 5;
const AMOUNT: usize = 6;
const DISCOUNT: usize = 7;
const CHANNEL: usize = 8;
const BASKET: usize = 9;
const EVENT_ID: usize = 10;
const SESSION: usize = 11;
const ZONE: usize = 12;
const FILE: usize = 13;
const LINE: usize = 14;

/// Where each column of [`COLUMNS`] stands in the SQL's result.
pub(crate) struct Layout([Option<usize>; COLUMNS.len()]);

/// The columns of one batch, converted.
pub(crate) struct Columns {
    times: Int64Array,
    texts: [Option<StringArray>; COLUMNS.len()],
    numbers: [Option<(ArrayRef, Float64Array)>; COLUMNS.len()],
}

impl Layout {
    /// Finds the columns in the schema of the SQL's result and checks their types.
    pub(crate) fn of(schema: &Schema) -> Result<Self, ObserveError> {
        let there = || join(schema.fields().iter().map(|field| field.name().as_str()));
        for field in schema.fields() {
            if !COLUMNS.iter().any(|column| column.name == field.name()) {
                let known = join(COLUMNS.iter().map(|column| column.name));
                return Err(ObserveError::Unknown { column: field.name().clone(), known });
            }
        }
        let mut places = [None; COLUMNS.len()];
        for (place, column) in places.iter_mut().zip(&COLUMNS) {
            let Column { name, expected, .. } = *column;
            *place = schema.index_of(name).ok();
            let Some(index) = *place else {
                if column.required {
                    let there = there();
                    return Err(ObserveError::Missing { column: name, expected, there });
                }
                continue;
            };
            let found = schema.field(index).data_type();
            if !column.holds.accepts(found) {
                let found = found.to_string();
                return Err(ObserveError::Type { column: name, found, expected });
            }
        }
        Ok(Self(places))
    }

    /// An empty report for each column that is there.
    pub(crate) fn report(&self, schema: &Schema) -> Vec<ColumnQuality> {
        let there = COLUMNS.iter().zip(self.0).filter_map(|(column, place)| Some((column, place?)));
        there
            .map(|(column, place)| ColumnQuality {
                name: column.name.into(),
                kind: schema.field(place).data_type().to_string(),
                ..ColumnQuality::default()
            })
            .collect()
    }

    /// Converts one batch; values that cannot be converted become empty and are counted.
    pub(crate) fn columns(
        &self,
        batch: &RecordBatch,
        report: &mut [ColumnQuality],
    ) -> Result<Columns, ArrowError> {
        let mut times = None;
        let zones = match self.0[ZONE] {
            Some(place) => Some(convert(batch.column(place), &DataType::Utf8)?),
            None => None,
        };
        let zones = zones.as_ref().map(|zones| zones.as_string::<i32>());
        let mut texts = [const { None }; COLUMNS.len()];
        let mut numbers = [const { None }; COLUMNS.len()];
        let mut reports = report.iter_mut();
        for (position, (column, place)) in COLUMNS.iter().zip(self.0).enumerate() {
            let Some(place) = place else { continue };
            let raw = batch.column(place);
            let converted: ArrayRef = match column.holds {
                Holds::Time => {
                    let seconds = match zones {
                        Some(zones) => zoned(raw, zones)?,
                        None => seconds(raw)?,
                    };
                    times = Some(seconds.clone());
                    Arc::new(seconds)
                }
                Holds::Text => {
                    let text = convert(raw, &DataType::Utf8)?;
                    texts[position] = Some(text.as_string::<i32>().clone());
                    text
                }
                Holds::Number => {
                    let number = convert(raw, &DataType::Float64)?;
                    let values = number.as_primitive::<Float64Type>().clone();
                    numbers[position] = Some((Arc::clone(raw), values));
                    number
                }
            };
            if let Some(report) = reports.next() {
                let empty = raw.logical_null_count() as u64;
                report.empty += empty;
                report.unreadable += (converted.null_count() as u64).saturating_sub(empty);
            }
        }
        // The layout always finds the time, because it is a required column.
        let times = times.unwrap_or_else(|| Int64Array::new_null(batch.num_rows()));
        Ok(Columns { times, texts, numbers })
    }
}

impl Columns {
    /// Row `index` of the batch.
    pub(crate) fn row(&self, index: usize) -> Row<'_> {
        let text = |position: usize| {
            let array = self.texts[position].as_ref()?;
            array.is_valid(index).then(|| array.value(index))
        };
        let number = |position: usize| match &self.numbers[position] {
            None => Number::Absent,
            Some((_, values)) if values.is_valid(index) => Number::Value(values.value(index)),
            Some((raw, _)) if raw.is_null(index) => Number::Absent,
            Some(_) => Number::Unreadable,
        };
        Row {
            time_s: self.times.is_valid(index).then(|| self.times.value(index)),
            person: text(PERSON),
            session: text(SESSION),
            home_store: text(HOME),
            kind: text(KIND),
            item: text(ITEM),
            quantity: number(QUANTITY),
            amount: number(AMOUNT),
            discount: number(DISCOUNT),
            channel: text(CHANNEL),
            basket: text(BASKET),
            event_id: text(EVENT_ID),
        }
    }

    /// File and line of row `index` of the batch, where the SQL yields both.
    pub(crate) fn spot(&self, index: usize) -> Option<(&str, u64)> {
        let file = self.texts[FILE].as_ref().filter(|files| files.is_valid(index))?;
        let (_, lines) = self.numbers[LINE].as_ref()?;
        let line = lines.is_valid(index).then(|| lines.value(index)).filter(|line| *line >= 1.0)?;
        Some((file.value(index), line as u64))
    }
}

impl Holds {
    fn accepts(self, found: &DataType) -> bool {
        let text = matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            || matches!(found, DataType::Dictionary(_, value) if **value == DataType::Utf8);
        let empty = *found == DataType::Null;
        match self {
            Self::Time => text || is_instant(found) || found.is_integer(),
            Self::Text => text || empty || found.is_integer(),
            Self::Number => text || empty || found.is_numeric(),
        }
    }
}

fn is_instant(found: &DataType) -> bool {
    matches!(found, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// Unix seconds, rounded down. A timestamp without a zone is taken as UTC.
fn seconds(raw: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
    let (stamped, unit) = match raw.data_type() {
        whole if whole.is_integer() => (Arc::clone(raw), 1),
        DataType::Timestamp(unit, _) => (
            Arc::clone(raw),
            match unit {
                TimeUnit::Second => 1,
                TimeUnit::Millisecond => 1_000,
                TimeUnit::Microsecond => 1_000_000,
                TimeUnit::Nanosecond => 1_000_000_000,
            },
        ),
        _ => (convert(raw, &milliseconds)?, 1_000),
    };
    let whole = convert(&stamped, &DataType::Int64)?;
    Ok(whole.as_primitive::<Int64Type>().unary(|value: i64| value.div_euclid(unit)))
}

/// Converts a column; a value that does not fit becomes empty.
fn convert(raw: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(raw, to, &CastOptions { safe: true, ..CastOptions::default() })
}

/// Unix seconds, rounded down; a time that names no zone is in that of `zones`, or in UTC where it
/// is empty. A time that the zone skips, or a zone that nobody knows, is unreadable; of a time that
/// comes twice the first is meant.
fn zoned(raw: &ArrayRef, zones: &StringArray) -> Result<Int64Array, ArrowError> {
    let in_utc = seconds(raw)?;
    // Whole numbers and timestamps with a zone say the instant.
    let says_zone =
        raw.data_type().is_integer() || matches!(raw.data_type(), DataType::Timestamp(_, Some(_)));
    if says_zone {
        return Ok(in_utc);
    }
    let texts =
        if is_instant(raw.data_type()) { None } else { Some(convert(raw, &DataType::Utf8)?) };
    let texts = texts.as_ref().map(|texts| texts.as_string::<i32>());
    let mut known: HashMap<&str, Option<Tz>> = HashMap::new();
    let one = |row: usize| {
        let zone = if zones.is_valid(row) { zones.value(row).trim() } else { "" };
        if zone.is_empty() || raw.is_null(row) {
            return in_utc.is_valid(row).then(|| in_utc.value(row));
        }
        let zone = (*known.entry(zone).or_insert_with(|| Tz::from_str(zone).ok()))?;
        match texts {
            Some(texts) => {
                let text = texts.is_valid(row).then(|| texts.value(row))?;
                Some(string_to_datetime(&zone, text.trim()).ok()?.timestamp())
            }
            None => {
                let local = DateTime::from_timestamp(in_utc.value(row), 0)?.naive_utc();
                Some(zone.from_local_datetime(&local).earliest()?.timestamp())
            }
        }
    };
    Ok((0..raw.len()).map(one).collect())
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
