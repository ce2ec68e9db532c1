//! Lines into records of delimited text (RFC 4180, and what people call CSV).

use std::{collections::VecDeque, io};

use chorale_people::event::Reason;

use super::lines::{Line, Lines};
use crate::{Delimiter, Source};

/// The records of one file.
pub(super) struct Records {
    lines: Lines,
    splitter: Splitter,
    comment: Option<u8>,
    /// Lines that were read on in the hope of a closing quote and are to be read again.
    again: VecDeque<(u64, Line, Vec<u8>)>,
    line: Vec<u8>,
}

/// The fields of one record.
pub(super) struct Record {
    /// The line on which it begins.
    pub(super) line: u64,
    /// Why it is none, or `Ok`.
    pub(super) state: Result<(), Reason>,
}

struct Splitter {
    /// `None`: fields are apart by white space.
    delimited: Option<csv_core::Reader>,
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Record,
    /// A quote is still open.
    Open,
    Malformed,
}

/// A quoted field goes over at most so many lines; a stray quote costs no more than itself.
const RECORD_LINES_MAX: usize = 64;
/// Fields of one record at most.
const FIELDS_MAX: usize = 4096;

impl Records {
    /// The records of `lines`, after the lines that the source says to skip.
    pub(super) fn new(mut lines: Lines, source: &Source) -> io::Result<Self> {
        let mut skipped = Vec::new();
        for _ in 0..source.skip_lines {
            lines.next(&mut skipped)?;
        }
        let delimited = match source.delimiter {
            Delimiter::Whitespace => None,
            Delimiter::Byte(byte) => {
                Some(csv_core::ReaderBuilder::new().delimiter(byte).quote(b'"').build())
            }
        };
        let (text, ends) = (Vec::new(), vec![0; FIELDS_MAX + 1]);
        Ok(Self {
            lines,
            splitter: Splitter { delimited, text, ends, fields: 0 },
            comment: source.comment.map(|comment| comment as u8),
            again: VecDeque::new(),
            line: Vec::new(),
        })
    }

    /// The next record, which has `expected` fields, or any number where `None`; lines that are
    /// empty or a comment are no records. `None` at the end of the file.
    pub(super) fn next(&mut self, expected: Option<usize>) -> io::Result<Option<Record>> {
        loop {
            let Some((line, kind)) = self.next_line()? else { return Ok(None) };
            let blank = self.line.iter().all(u8::is_ascii_whitespace);
            if kind == Line::Text && (blank || self.line.first().copied() == self.comment) {
                continue;
            }
            let state = match kind {
                Line::NotText => Err(Reason::WrongEncoding),
                Line::TooLong => Err(Reason::MalformedLine),
                Line::Text => self.record(expected)?,
            };
            return Ok(Some(Record { line, state }));
        }
    }

    /// Field `index` of the last record; empty where it has none.
    pub(super) fn field(&self, index: usize) -> &str {
        self.splitter.field(index)
    }

    /// All fields of the last record.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        (0..self.splitter.fields).map(|index| self.splitter.field(index))
    }

    fn next_line(&mut self) -> io::Result<Option<(u64, Line)>> {
        if let Some((number, kind, line)) = self.again.pop_front() {
            self.line = line;
            return Ok(Some((number, kind)));
        }
        let kind = self.lines.next(&mut self.line)?;
        Ok(kind.map(|kind| (self.lines.number(), kind)))
    }

    /// Splits the line at hand, with those after it while a quote is open.
    fn record(&mut self, expected: Option<usize>) -> io::Result<Result<(), Reason>> {
        let fits = |splitter: &Splitter| expected.is_none_or(|count| splitter.fields == count);
        let mut split = self.splitter.split(&self.line, expected);
        if split != Split::Open {
            let good = split == Split::Record && fits(&self.splitter);
            return Ok(if good { Ok(()) } else { Err(Reason::MalformedLine) });
        }
        let mut whole = self.line.clone();
        let mut more = VecDeque::new();
        while split == Split::Open && more.len() < RECORD_LINES_MAX {
            let Some((number, kind)) = self.next_line()? else { break };
            whole.extend_from_slice(&self.line);
            more.push_back((number, kind, self.line.clone()));
            if kind != Line::Text {
                break;
            }
            split = self.splitter.split(&whole, expected);
        }
        if split == Split::Record && fits(&self.splitter) {
            return Ok(Ok(()));
        }
        more.append(&mut self.again);
        self.again = more;
        Ok(Err(Reason::MalformedLine))
    }
}

impl Splitter {
    fn split(&mut self, line: &[u8], expected: Option<usize>) -> Split {
        let Some(reader) = &mut self.delimited else { return self.split_white(line) };
        reader.reset();
        self.text.resize(line.len() + 2, 0);
        let room = expected.map_or(FIELDS_MAX, |count| count.min(FIELDS_MAX)) + 1;
        let (result, read, _, fields) =
            reader.read_record(line, &mut self.text, &mut self.ends[..room]);
        match result {
            csv_core::ReadRecordResult::Record => {
                self.fields = fields;
                // A lone carriage return in the middle of a line ends a record for the parser.
                let rest = &line[read..];
                let whole = rest.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
                if whole { Split::Record } else { Split::Malformed }
            }
            csv_core::ReadRecordResult::InputEmpty if line.ends_with(b"\n") => Split::Open,
            csv_core::ReadRecordResult::InputEmpty => {
                // The last line of a file without an end; inside a quote it stays open.
                let mut ended = line.to_vec();
                ended.push(b'\n');
                self.split(&ended, expected)
            }
            _ => Split::Malformed,
        }
    }

    fn split_white(&mut self, line: &[u8]) -> Split {
        self.text.clear();
        self.fields = 0;
        for field in line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()) {
            if self.fields == FIELDS_MAX {
                return Split::Malformed;
            }
            self.text.extend_from_slice(field);
            self.ends[self.fields] = self.text.len();
            self.fields += 1;
        }
        Split::Record
    }

    fn field(&self, index: usize) -> &str {
        if index >= self.fields {
            return "";
        }
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        // Delimiters are single bytes below 128, so fields of readable lines are readable.
        std::str::from_utf8(&self.text[start..self.ends[index]]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, options: &str, expected: Option<usize>) -> Vec<Result<Vec<String>, u64>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let source = format!("name = 'a'\npath = 'a.csv'\nformat = 'csv'\n{options}");
        let source: Source = toml::from_str(&source).unwrap();
        let mut records = Records::new(Lines::open(&path, None).unwrap(), &source).unwrap();
        let mut found = Vec::new();
        while let Some(record) = records.next(expected).unwrap() {
            let fields = records.fields().map(str::to_owned).collect();
            found.push(record.state.map(|()| fields).map_err(|_| record.line));
        }
        found
    }

    fn row(fields: &[&str]) -> Result<Vec<String>, u64> {
        Ok(fields.iter().map(|field| (*field).to_owned()).collect())
    }

    #[test]
    fn quotes_delimiters_comments() {
        let found = read("a,\"b, c\",\"d\"\"e\"\r\n\n1,,3\n", "", None);
        assert_eq!(found, [row(&["a", "b, c", "d\"e"]), row(&["1", "", "3"])]);
        let found =
            read("junk\n# note\n1;2\n", "delimiter = ';'\ncomment = '#'\nskip_lines = 1", None);
        assert_eq!(found, [row(&["1", "2"])]);
        let found = read("  1   a\tx\r\n2 b y", "delimiter = 'whitespace'", Some(3));
        assert_eq!(found, [row(&["1", "a", "x"]), row(&["2", "b", "y"])]);
        assert_eq!(read("1\t\t3\n", "delimiter = 'tab'", Some(3)), [row(&["1", "", "3"])]);
    }

    #[test]
    fn a_quoted_field_may_go_on_and_a_stray_quote_costs_one_line() {
        let found = read("1,\"two\nlines\"\n3,4\n", "", Some(2));
        assert_eq!(found, [row(&["1", "two\nlines"]), row(&["3", "4"])]);
        let mut text = String::from("1,\"stray\n");
        for number in 2..200 {
            text.push_str(&format!("{number},x\n"));
        }
        let found = read(&text, "", Some(2));
        assert_eq!((found.len(), &found[0]), (199, &Err(1)));
        assert!(found[1..].iter().all(Result::is_ok));
        assert_eq!(read("1,\"no end", "", Some(2)), [Err(1)]);
    }

    #[test]
    fn the_wrong_number_of_fields_is_malformed() {
        let found = read("1,2\n1\n1,2,3\n4,5\n", "", Some(2));
        assert_eq!(found, [row(&["1", "2"]), Err(2), Err(3), row(&["4", "5"])]);
        assert_eq!(read("1,2\r3,4\n", "", Some(2)), [Err(1)]);
    }

    proptest! {
        /// What a careful writer writes is read as it was, around lines of rubbish.
        #[test]
        fn written_rows_are_read(
            rows in prop::collection::vec(prop::collection::vec("[a-z ,\"\n]{0,6}", 3), 1..12),
            rubbish in 0usize..12,
        ) {
            let mut text = String::new();
            for (number, row) in rows.iter().enumerate() {
                if number == rubbish {
                    text.push_str("rubbish\n");
                }
                let quoted: Vec<String> =
                    row.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
                text.push_str(&quoted.join(","));
                text.push('\n');
            }
            let found = read(&text, "", Some(3));
            let good: Vec<Vec<String>> = found.into_iter().flatten().collect();
            prop_assert_eq!(good, rows);
        }
    }
}
