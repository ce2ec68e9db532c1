//! Tables of the store's databases as tables of the engine: PostgreSQL and MySQL, and others by ODBC;
//! read only.

use std::{
    fmt, fs, io,
    path::Path,
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use chorale_people::store::FileSeen;
use datafusion::{
    arrow::{
        array::{ArrayRef, RecordBatch, StringBuilder},
        datatypes::{DataType, Field, Schema, SchemaRef},
    },
    common::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchReceiverStream, streaming::PartitionStream},
};
use futures::StreamExt;
use sqlx::{
    AssertSqlSafe, Column, ColumnIndex, ConnectOptions, Connection, Database, Decode, Executor,
    MySql, Postgres, Row, SqlSafeStr, Statement, Type, mysql::MySqlConnectOptions,
    postgres::PgConnectOptions,
};
use tokio::sync::mpsc::Sender;

use super::{Engine, ObserveError};
use crate::{Format, Source};

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;

/// What a database source is read from and how far.
pub(super) struct Table {
    source: Source,
    sql: String,
    schema: SchemaRef,
}

/// An address with a password in it, which nothing prints.
struct Address(String);

/// The newest state of a database source, as a file would be: named by the greatest value of its
/// cursor, which is `last` where no row is above it: rows may go, and a replica may lag behind.
/// Without a cursor it is new each time, because nobody can tell.
pub(super) async fn newest(
    source: &Source,
    last: Option<&FileSeen>,
) -> Result<Vec<FileSeen>, ObserveError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let query = source.query.as_deref().unwrap_or_default();
    let (path, modified_ns) = match &source.cursor {
        None => ("all rows".to_owned(), since.as_nanos() as u64),
        Some(cursor) => {
            let mut sql = format!("SELECT max({cursor}) FROM ({query}) AS chorale");
            if let Some(last) = last {
                sql.push_str(&format!(" WHERE {cursor} > {}", literal(source, &last.path)?));
            }
            let Some(greatest) = first_text(source, &sql).await? else {
                return Ok(last.into_iter().cloned().collect());
            };
            (greatest, 0)
        }
    };
    Ok(vec![FileSeen { source: source.name.clone(), path, bytes: 0, modified_ns }])
}

impl Table {
    /// The rows of `source` with a cursor above `after` and up to `up_to`.
    pub(super) async fn open(
        source: &Source,
        after: Option<&FileSeen>,
        up_to: &FileSeen,
    ) -> Result<Self, ObserveError> {
        let query = source.query.as_deref().unwrap_or_default();
        let mut sql = format!("SELECT * FROM ({query}) AS chorale");
        if let Some(cursor) = &source.cursor {
            sql.push_str(&format!(" WHERE {cursor} <= {}", literal(source, &up_to.path)?));
            if let Some(after) = after {
                sql.push_str(&format!(" AND {cursor} > {}", literal(source, &after.path)?));
            }
            sql.push_str(&format!(" ORDER BY {cursor}"));
        }
        let columns = columns(source, &sql).await?;
        let fields: Vec<Field> =
            columns.into_iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        Ok(Self { source: source.clone(), sql, schema: Arc::new(Schema::new(fields)) })
    }
}

impl PartitionStream for Table {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), 2);
        let sender = stream.tx();
        let (source, sql, schema) =
            (self.source.clone(), self.sql.clone(), Arc::clone(&self.schema));
        stream.spawn(async move {
            let read = match source.format {
                #[cfg(feature = "odbc")]
                Format::Odbc => {
                    let address = address(&source).map_err(external)?.0;
                    let read = move || super::odbc::read(&address, &sql, &schema, &sender);
                    tokio::task::spawn_blocking(read).await.map_err(external)?
                }
                Format::Mysql => read::<MySql>(mysql(&source).await, &sql, &schema, &sender).await,
                _ => read::<Postgres>(postgres(&source).await, &sql, &schema, &sender).await,
            };
            read.map_err(|error| {
                let said = Engine(format!("the database of '{}': {error}", source.name));
                DataFusionError::External(Box::new(said))
            })
        });
        stream.build()
    }
}

/// Streams the rows of `sql` in batches to `sender`, while somebody wants them.
async fn read<DB: Database>(
    connection: Result<DB::Connection, ObserveError>,
    sql: &str,
    schema: &SchemaRef,
    sender: &Sender<Result<RecordBatch, DataFusionError>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'r> String: Decode<'r, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let mut connection = connection?;
    let mut builders: Vec<StringBuilder> =
        schema.fields().iter().map(|_| StringBuilder::new()).collect();
    let mut count = 0;
    let batch = |builders: &mut Vec<StringBuilder>| {
        let arrays = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        RecordBatch::try_new(Arc::clone(schema), arrays.collect())
    };
    {
        // The simple protocol hands every value over as text.
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&mut connection);
        while let Some(row) = rows.next().await {
            let row = row?;
            for (position, builder) in builders.iter_mut().enumerate() {
                builder.append_option(row.try_get_unchecked::<Option<String>, _>(position)?);
            }
            count += 1;
            if count == BATCH_ROWS {
                count = 0;
                if sender.send(Ok(batch(&mut builders)?)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    if count > 0 {
        // Where nobody wants it, nobody misses it.
        let _ = sender.send(Ok(batch(&mut builders)?)).await;
    }
    connection.close().await?;
    Ok(())
}

/// The first value of the first row, as text.
async fn first_text(source: &Source, sql: &str) -> Result<Option<String>, ObserveError> {
    const DOING: &str = "asked for its newest row";
    let failed = |error| failed(source, DOING, error);
    let safe = AssertSqlSafe(sql.to_owned());
    match source.format {
        #[cfg(feature = "odbc")]
        Format::Odbc => by_odbc(source, DOING, sql, super::odbc::first_text).await,
        Format::Mysql => {
            let row = sqlx::raw_sql(safe).fetch_one(&mut mysql(source).await?).await;
            row.and_then(|row| row.try_get_unchecked(0)).map_err(failed)
        }
        _ => {
            let row = sqlx::raw_sql(safe).fetch_one(&mut postgres(source).await?).await;
            row.and_then(|row| row.try_get_unchecked(0)).map_err(failed)
        }
    }
}

/// The columns that `sql` yields.
async fn columns(source: &Source, sql: &str) -> Result<Vec<String>, ObserveError> {
    const DOING: &str = "asked for its columns";
    let failed = |error| failed(source, DOING, error);
    #[cfg(feature = "odbc")]
    if source.format == Format::Odbc {
        return by_odbc(source, DOING, sql, super::odbc::columns).await;
    }
    let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
    let name = |name: &str| name.to_owned();
    Ok(match source.format {
        Format::Mysql => {
            let mut connection = mysql(source).await?;
            let statement = connection.prepare(sql).await.map_err(failed)?;
            statement.columns().iter().map(|column| name(column.name())).collect()
        }
        _ => {
            let mut connection = postgres(source).await?;
            let statement = connection.prepare(sql).await.map_err(failed)?;
            statement.columns().iter().map(|column| name(column.name())).collect()
        }
    })
}

#[cfg(feature = "odbc")]
fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Asks by ODBC, which waits, on a thread of its own.
#[cfg(feature = "odbc")]
async fn by_odbc<T: Send + 'static>(
    source: &Source,
    doing: &'static str,
    sql: &str,
    ask: impl FnOnce(&str, &str) -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
) -> Result<T, ObserveError> {
    let (address, sql) = (address(source)?, sql.to_owned());
    let asked = tokio::task::spawn_blocking(move || ask(&address.0, &sql)).await;
    asked.map_err(Into::into).flatten().map_err(|cause| ObserveError::Database {
        name: source.name.clone(),
        doing,
        source: cause,
    })
}

/// A connection on which nothing can be changed, with times in UTC.
async fn postgres(source: &Source) -> Result<sqlx::PgConnection, ObserveError> {
    let options = address(source)?.options::<PgConnectOptions>(source)?;
    let options = options.options([("default_transaction_read_only", "on"), ("TimeZone", "UTC")]);
    options.connect().await.map_err(|error| failed(source, "reached", error))
}

/// A connection on which nothing can be changed, with times in UTC, as sqlx asks for them.
async fn mysql(source: &Source) -> Result<sqlx::MySqlConnection, ObserveError> {
    let options = address(source)?.options::<MySqlConnectOptions>(source)?;
    let mut connection =
        options.connect().await.map_err(|error| failed(source, "reached", error))?;
    let read_only = sqlx::raw_sql("SET SESSION TRANSACTION READ ONLY");
    connection.execute(read_only).await.map_err(|error| failed(source, "made read-only", error))?;
    Ok(connection)
}

/// Reads the file with the address, which nobody else may read.
fn address(source: &Source) -> Result<Address, ObserveError> {
    let path = source.address.as_deref().unwrap_or(Path::new(""));
    let open =
        |error| ObserveError::Open { name: source.name.clone(), path: path.into(), source: error };
    let text = fs::read_to_string(path).map_err(open)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(open)?.permissions().mode();
        if mode & 0o077 != 0 {
            let said =
                format!("others may read it (mode {:03o}); it holds a password", mode & 0o777);
            return Err(open(io::Error::other(said)));
        }
    }
    Ok(Address(text.trim().to_owned()))
}

impl Address {
    fn options<O: FromStr>(&self, source: &Source) -> Result<O, ObserveError> {
        // What a parser says may hold what it parsed, so it is not passed on.
        self.0.parse().map_err(|_| ObserveError::Address {
            name: source.name.clone(),
            path: source.address.clone().unwrap_or_default(),
        })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("source", &self.source.name).finish_non_exhaustive()
    }
}

/// A value of the cursor as it stands in SQL. Numbers and times need nothing else.
fn literal(source: &Source, value: &str) -> Result<String, ObserveError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || " :.+-_".contains(c);
    if value.is_empty() || !value.chars().all(plain) {
        return Err(ObserveError::Cursor { name: source.name.clone() });
    }
    Ok(format!("'{value}'"))
}

fn failed(source: &Source, doing: &'static str, error: sqlx::Error) -> ObserveError {
    ObserveError::Database { name: source.name.clone(), doing, source: Box::new(error) }
}
