//! The columns of the canonical event: which there must be, and what each may hold.

use std::sync::Arc;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Float64Type, Int64Type, Schema, TimeUnit},
    error::ArrowError,
};

use super::{ColumnQuality, ObserveError};
use crate::event::{Number, Row};

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
pub const COLUMNS: [Column; 9] = [
    column(
        "event_time",
        true,
        "the time: a timestamp or date in UTC, ISO 8601 text, or whole Unix seconds",
        Holds::Time,
    ),
    column("person", true, "the customer's id: text or a whole number", Holds::Text),
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
        "one of 'purchase', 'return', 'view', 'click', 'cart-add', 'cart-remove'",
        Holds::Text,
    ),
    column("item", true, "the item's id in the catalogue: text or a whole number", Holds::Text),
    column("quantity", false, "how many: a number", Holds::Number),
    column("amount", false, "the money paid: a number", Holds::Number),
    column("basket", false, "the receipt's number: text or a whole number", Holds::Text),
    column("event_id", false, "an id that no other row has: text or a whole number", Holds::Text),
];

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
        let mut texts = [const { None }; COLUMNS.len()];
        let mut numbers = [const { None }; COLUMNS.len()];
        let mut reports = report.iter_mut();
        for (position, (column, place)) in COLUMNS.iter().zip(self.0).enumerate() {
            let Some(place) = place else { continue };
            let raw = batch.column(place);
            let converted: ArrayRef = match column.holds {
                Holds::Time => {
                    let seconds = seconds(raw)?;
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
            person: text(1),
            home_store: text(2),
            kind: text(3),
            item: text(4),
            quantity: number(5),
            amount: number(6),
            basket: text(7),
            event_id: text(8),
        }
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

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
