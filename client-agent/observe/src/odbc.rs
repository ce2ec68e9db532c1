//! Any database with an ODBC driver, among them SQL Server, through the machine's driver manager.
//!
//! ODBC has no session that cannot write, so nothing is ever committed here; the account should be
//! one that may only read.

use std::{error::Error, sync::Arc};

use datafusion::{
    arrow::{
        array::{ArrayRef, RecordBatch, StringBuilder},
        datatypes::SchemaRef,
    },
    common::DataFusionError,
};
use odbc_api::{
    Connection, ConnectionOptions, Cursor, ResultSetMetadata, buffers::TextRowSet, environment,
};
use tokio::sync::mpsc::Sender;

type Failed = Box<dyn Error + Send + Sync>;

/// Rows of one batch. Buffers are as large as the longest values may be.
const BATCH_ROWS: usize = 512;

/// Longest value in bytes; a longer one is an error.
const VALUE_BYTES_MAX: usize = 8192;

/// The first value of the first row, as text.
pub(super) fn first_text(address: &str, sql: &str) -> Result<Option<String>, Failed> {
    let connection = connect(address)?;
    let Some(mut cursor) = connection.execute(sql, (), None)? else { return Ok(None) };
    let buffer = TextRowSet::for_cursor(1, &mut cursor, Some(VALUE_BYTES_MAX))?;
    let mut rows = cursor.bind_buffer(buffer)?;
    let first = rows.fetch_with_truncation_check(true)?;
    let value = first.filter(|rows| rows.num_rows() > 0).map(|rows| rows.at_as_str(0, 0));
    Ok(value.transpose()?.flatten().map(str::to_owned))
}

/// The columns that `sql` yields.
pub(super) fn columns(address: &str, sql: &str) -> Result<Vec<String>, Failed> {
    let connection = connect(address)?;
    let mut statement = connection.prepare(sql)?;
    let names: Result<Vec<String>, _> = statement.column_names()?.collect();
    Ok(names?)
}

/// Sends the rows of `sql` in batches to `sender`, while somebody wants them.
pub(super) fn read(
    address: &str,
    sql: &str,
    schema: &SchemaRef,
    sender: &Sender<Result<RecordBatch, DataFusionError>>,
) -> Result<(), Failed> {
    let connection = connect(address)?;
    let Some(mut cursor) = connection.execute(sql, (), None)? else { return Ok(()) };
    let buffer = TextRowSet::for_cursor(BATCH_ROWS, &mut cursor, Some(VALUE_BYTES_MAX))?;
    let mut batches = cursor.bind_buffer(buffer)?;
    while let Some(rows) = batches.fetch_with_truncation_check(true)? {
        let mut arrays = Vec::new();
        for column in 0..schema.fields().len() {
            let mut builder = StringBuilder::new();
            for row in 0..rows.num_rows() {
                builder.append_option(rows.at_as_str(column, row)?);
            }
            arrays.push(Arc::new(builder.finish()) as ArrayRef);
        }
        let batch = RecordBatch::try_new(Arc::clone(schema), arrays)?;
        if sender.blocking_send(Ok(batch)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A connection that commits nothing: what is not committed is rolled back when it closes.
fn connect(address: &str) -> Result<Connection<'static>, Failed> {
    let options = ConnectionOptions { login_timeout_sec: Some(30), ..ConnectionOptions::default() };
    let connection = environment()?.connect_with_connection_string(address, options)?;
    connection.set_autocommit(false)?;
    Ok(connection)
}
