//! The ledger on disk: lines are appended and synced before anything depends on them.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Why the ledger file failed. The machine is to blame; nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error(
    "the ledger {path} cannot be {action}: nothing was sent; free the disk or repair the file, then start again"
)]
pub struct LedgerFileError {
    path: PathBuf,
    action: &'static str,
    #[source]
    source: std::io::Error,
}

/// An append-only file of ledger lines.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    path: PathBuf,
    file: File,
}

impl LedgerFile {
    /// Opens or creates the file and gives its content.
    ///
    /// # Errors
    /// [`LedgerFileError`] when it cannot be created or read.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<u8>), LedgerFileError> {
        let failed =
            |action| move |source| LedgerFileError { path: path.to_path_buf(), action, source };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed("opened"))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed("read"))?;
        Ok((Self { path: path.to_path_buf(), file }, content))
    }

    /// Cuts the file off after `length` bytes: what a crash left of a line that was never complete.
    ///
    /// # Errors
    /// [`LedgerFileError`] when the file system refuses.
    pub(crate) fn cut(&mut self, length: u64) -> Result<(), LedgerFileError> {
        self.file.set_len(length).and_then(|()| self.file.sync_data()).map_err(|source| {
            LedgerFileError { path: self.path.clone(), action: "repaired", source }
        })
    }

    /// Appends one line and waits until the disk has it.
    ///
    /// # Errors
    /// [`LedgerFileError`] when it could not be written whole; a torn tail is cut off again.
    pub(crate) fn append(&mut self, line: &str) -> Result<(), LedgerFileError> {
        let before = self.file.metadata().map(|meta| meta.len());
        let written = self
            .file
            .write_all(format!("{}\n", line.trim_end_matches('\n')).as_bytes())
            .and_then(|()| self.file.sync_data());
        if written.is_err()
            && let Ok(length) = before
            && let Err(error) = self.file.set_len(length)
        {
            tracing::error!(%error, "a torn ledger line could not be cut off");
        }
        written.map_err(|source| LedgerFileError {
            path: self.path.clone(),
            action: "written",
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (mut file, content) = LedgerFile::open(&path).unwrap();
        assert!(content.is_empty());
        file.append("one").unwrap();
        file.append("two\n").unwrap();
        drop(file);
        assert_eq!(LedgerFile::open(&path).unwrap().1, b"one\ntwo\n");
    }

    #[test]
    fn a_full_disk_is_said() {
        if !Path::new("/dev/full").exists() {
            return;
        }
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut file = LedgerFile { path: "/dev/full".into(), file: full };
        let error = file.append("line").unwrap_err();
        assert!(error.to_string().contains("nothing was sent"));
    }
}
