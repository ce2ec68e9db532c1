//! What a source is: a file, files by a pattern, a directory or a database, and how to read it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One table that `event_sql` may name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name in the SQL: a-z, 0-9 and '_', not beginning with a digit.
    pub name: String,
    /// A file, a pattern such as `receipts/*.csv.gz`, or a directory.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// How to read it.
    pub format: Format,
    /// What stands between the fields of a `csv` source: one character, `tab` or `whitespace`.
    #[serde(default)]
    pub delimiter: Delimiter,
    /// Whether the first line of each `csv` file names the columns. Files may have them in another
    /// order; a column that a file lacks is empty there.
    #[serde(default = "yes")]
    pub header: bool,
    /// Names of the columns where no header has them, or columns that there may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The encoding of a text, as the WHATWG names it: `utf-8`, `latin1`, `gb18030` and others.
    /// Without, UTF-8, or UTF-16 where a byte-order mark says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Lines of a `csv` source that begin with this character are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<char>,
    /// Lines of each `csv` file before the header or the first row.
    #[serde(default)]
    pub skip_lines: u32,
    /// A file that changed less than so many seconds ago is left for the next reading: somebody
    /// may still be writing it.
    #[serde(default)]
    pub settle_s: u64,
    /// Whether files may be taken away once they were read. Otherwise what stood in a file that is
    /// gone is forgotten with it.
    #[serde(default)]
    pub drop_folder: bool,
    /// For a database: a file, readable by its owner only, that holds its address with the
    /// password, as `postgres://reader:secret@host/shop`; by ODBC the connection string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<PathBuf>,
    /// For a database: the SELECT whose rows the source has, in the database's own SQL. Its columns
    /// are text here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// For a database: a column of the query that is greater in each new row, such as a serial
    /// number. With it only new rows are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// File formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Delimited text, plain or compressed. Every column is text.
    Csv,
    /// One JSON object on each line, plain or compressed.
    Ndjson,
    /// A query of a PostgreSQL database.
    Postgres,
    /// A query of a MySQL or MariaDB database.
    Mysql,
    /// A query of any database with an ODBC driver, such as SQL Server. Only in builds with the
    /// feature `odbc`.
    Odbc,
}

/// What stands between fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Delimiter {
    /// One ASCII character; fields may be quoted.
    Byte(u8),
    /// Any run of white space; nothing is quoted.
    Whitespace,
}

impl Source {
    /// The declared encoding.
    #[must_use]
    pub fn encoding(&self) -> Option<&'static encoding_rs::Encoding> {
        self.encoding
            .as_deref()
            .and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()))
    }

    /// The key that is wrong, and what it must be.
    #[must_use]
    pub fn wrong(&self) -> Option<(&'static str, &'static str)> {
        if self.format == Format::Odbc && !cfg!(feature = "odbc") {
            return Some((
                "format",
                "one that this program can read; for 'odbc' it must be built with --features odbc",
            ));
        }
        let text = matches!(self.format, Format::Csv | Format::Ndjson);
        let database = self.format.is_database();
        let (address, query) = (self.address.is_some(), self.query.is_some());
        if database != address || database != query || (self.cursor.is_some() && !database) {
            return Some(("query", "there with 'address', and 'cursor' if at all, of a database"));
        }
        if database != self.path.as_os_str().is_empty() || (database && self.drop_folder) {
            return Some(("path", "a file, a pattern or a directory, and absent for a database"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if self.cursor.as_ref().is_some_and(|name| name.is_empty() || !name.chars().all(plain)) {
            return Some(("cursor", "a column's name, of letters, digits and '_'"));
        }
        let csv = self.format == Format::Csv;
        if self.encoding.is_some() && (!text || self.encoding().is_none()) {
            return Some((
                "encoding",
                "of a csv or ndjson source, as 'utf-8', 'latin1' or 'utf-16le'",
            ));
        }
        if !csv && (self.delimiter != Delimiter::default() || !self.header || self.skip_lines > 0) {
            return Some(("format", "csv where 'delimiter', 'header' or 'skip_lines' stand"));
        }
        if self.comment.is_some_and(|comment| !csv || !comment.is_ascii_graphic()) {
            return Some(("comment", "one ASCII character, of a csv source"));
        }
        let repeated =
            |(at, name): (usize, &String)| name.is_empty() || self.columns[..at].contains(name);
        if (!text && !self.columns.is_empty()) || self.columns.iter().enumerate().any(repeated) {
            return Some(("columns", "different names, of a csv or ndjson source"));
        }
        None
    }
}

impl Format {
    /// Whether it is a database and no file.
    #[must_use]
    pub fn is_database(self) -> bool {
        matches!(self, Self::Postgres | Self::Mysql | Self::Odbc)
    }

    /// Endings of files that count in a directory.
    #[must_use]
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Parquet => &["parquet", "pq"],
            Self::Csv => &["csv", "tsv", "txt", "dat"],
            Self::Ndjson => &["ndjson", "jsonl", "json"],
            Self::Postgres | Self::Mysql | Self::Odbc => &[],
        }
    }
}

impl Default for Delimiter {
    fn default() -> Self {
        Self::Byte(b',')
    }
}

impl TryFrom<String> for Delimiter {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match (text.as_str(), text.as_bytes()) {
            ("whitespace", _) => Ok(Self::Whitespace),
            ("tab", _) => Ok(Self::Byte(b'\t')),
            (_, &[byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => {
                Ok(Self::Byte(byte))
            }
            _ => Err("a delimiter is one ASCII character, 'tab' or 'whitespace'"),
        }
    }
}

impl From<Delimiter> for String {
    fn from(delimiter: Delimiter) -> Self {
        match delimiter {
            Delimiter::Whitespace => "whitespace".into(),
            Delimiter::Byte(b'\t') => "tab".into(),
            Delimiter::Byte(byte) => char::from(byte).into(),
        }
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn yes() -> bool {
    true
}
