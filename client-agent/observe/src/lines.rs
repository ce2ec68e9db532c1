//! Lines of a text file, decompressed, in UTF-8, each of bounded length.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use encoding_rs::Encoding;
use encoding_rs_io::DecodeReaderBytesBuilder;

use super::files::{Compression, compression};

/// The lines of one file.
pub(super) struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    number: u64,
    /// Whether other bytes than UTF-8 were translated, so that a mark stands for what could not be.
    translated: bool,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Text.
    Text,
    /// Not in the encoding.
    NotText,
    /// Longer than anybody writes.
    TooLong,
}

/// Longest line in bytes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

impl Lines {
    /// Opens a file. Without an encoding it is UTF-8, or UTF-16 where a byte-order mark says so.
    pub(super) fn open(path: &Path, encoding: Option<&'static Encoding>) -> io::Result<Self> {
        let file = BufReader::with_capacity(1 << 16, File::open(path)?);
        let plain: Box<dyn Read + Send> = match compression(path) {
            None => Box::new(file),
            Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Some(Compression::Zstd) => Box::new(zstd::Decoder::with_buffer(file)?),
        };
        let mut plain = BufReader::with_capacity(1 << 16, plain);
        let start = plain.fill_buf()?;
        let marked = start.starts_with(&[0xFF, 0xFE]) || start.starts_with(&[0xFE, 0xFF]);
        let translated = marked || encoding.is_some_and(|encoding| encoding != encoding_rs::UTF_8);
        let decoded: Box<dyn Read + Send> = Box::new(
            DecodeReaderBytesBuilder::new()
                .encoding(encoding)
                .utf8_passthru(true)
                .strip_bom(true)
                .bom_override(true)
                .build(plain),
        );
        Ok(Self { input: BufReader::with_capacity(1 << 16, decoded), number: 0, translated })
    }

    /// The number of the last line, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Puts the next line with its end into `line`; `None` at the end of the file.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Line>> {
        line.clear();
        let mut too_long = false;
        loop {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                if line.is_empty() && !too_long {
                    return Ok(None);
                }
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let take = end.unwrap_or(available.len());
            if line.len() + take > LINE_BYTES_MAX {
                too_long = true;
            } else {
                line.extend_from_slice(&available[..take]);
            }
            self.input.consume(take);
            if end.is_some() {
                break;
            }
        }
        self.number += 1;
        if too_long {
            return Ok(Some(Line::TooLong));
        }
        let readable = std::str::from_utf8(line)
            .is_ok_and(|text| !self.translated || !text.contains(char::REPLACEMENT_CHARACTER));
        Ok(Some(if readable { Line::Text } else { Line::NotText }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn read(name: &str, bytes: &[u8], encoding: Option<&'static Encoding>) -> Vec<(Line, String)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let (mut lines, mut found) = (Lines::open(&path, encoding).unwrap(), Vec::new());
        let mut line = Vec::new();
        while let Some(kind) = lines.next(&mut line).unwrap() {
            found.push((kind, String::from_utf8_lossy(&line).into_owned()));
        }
        assert_eq!(lines.number(), found.len() as u64);
        found
    }

    #[test]
    fn encodings() {
        let text = vec![(Line::Text, "café\n".to_owned()), (Line::Text, "thé".to_owned())];
        assert_eq!(read("a", "café\nthé".as_bytes(), None), text);
        assert_eq!(read("a", "\u{feff}café\nthé".as_bytes(), None), text);
        assert_eq!(read("a", b"caf\xE9\nth\xE9", Some(encoding_rs::WINDOWS_1252)), text);
        let (mut little, mut big) = (vec![0xFF, 0xFE], vec![0xFE, 0xFF]);
        for unit in "café\nthé".encode_utf16() {
            little.extend(unit.to_le_bytes());
            big.extend(unit.to_be_bytes());
        }
        assert_eq!(read("a", &little, None), text);
        assert_eq!(read("a", &big, None), text);
        assert_eq!(read("a", &little[2..], Some(encoding_rs::UTF_16LE)), text);
        let kinds: Vec<Line> =
            read("a", b"caf\xE9\ntea\n", None).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Line::NotText, Line::Text]);
        assert_eq!(read("a", b"\x81\x20x\n", Some(encoding_rs::GBK))[0].0, Line::NotText);
    }

    #[test]
    fn compressed_and_too_long() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"one\ntwo\n").unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(read("a.csv.gz", &gzip, None).len(), 2);
        // Two members one after the other, as `cat a.gz b.gz` makes them.
        assert_eq!(read("a.csv.GZ", &[gzip.clone(), gzip].concat(), None).len(), 4);
        let zstd = zstd::encode_all(&b"one\ntwo\n"[..], 1).unwrap();
        assert_eq!(read("a.csv.zst", &zstd, None).len(), 2);
        let long = [vec![b'x'; LINE_BYTES_MAX + 1], b"\nend\n".to_vec()].concat();
        let kinds: Vec<Line> = read("a", &long, None).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Line::TooLong, Line::Text]);
    }
}
