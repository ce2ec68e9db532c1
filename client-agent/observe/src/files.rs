//! Which files a source has, and whether they are whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chorale_people::store::FileSeen;

use super::ObserveError;
use crate::Source;

/// The files of a source, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Whole files.
    pub files: Vec<FileSeen>,
    /// Files that changed less than `settle_s` ago: somebody may still be writing them.
    pub unsettled: u64,
}

/// `now` may be rounded down to a second.
const CLOCK_TICK: Duration = Duration::from_secs(1);

/// Endings of files that copying programs give to what is not whole yet.
const PARTIAL: [&str; 6] = ["part", "partial", "tmp", "temp", "crdownload", "filepart"];

/// Lists the files of `source`. In a directory those with an ending of its format count, with or
/// without one of a compression; in a directory and in a pattern hidden and partial files do not.
pub(super) fn list(source: &Source, now: SystemTime) -> Result<Listing, ObserveError> {
    let open = |path: &Path, error: io::Error| ObserveError::Open {
        name: source.name.clone(),
        path: path.into(),
        source: error,
    };
    let path = absolute(&source.path).map_err(|error| open(&source.path, error))?;
    let text = path.to_string_lossy();
    let mut listing = Listing::default();
    let found: Vec<PathBuf> = if path.is_dir() {
        let entries = fs::read_dir(&path).map_err(|error| open(&path, error))?;
        let mut found = Vec::new();
        for entry in entries {
            let file = entry.map_err(|error| open(&path, error))?.path();
            if file.is_file() && is_whole(&file) && has_ending(&file, source) {
                found.push(file);
            }
        }
        found
    } else if path.exists() || !text.contains(['*', '?', '[']) {
        // Opened here, because the engine takes a missing file for an empty table.
        fs::File::open(&path).map_err(|error| open(&path, error))?;
        vec![path.clone()]
    } else {
        let matches = glob::glob(&text).map_err(|_| ObserveError::NoFile {
            name: source.name.clone(),
            path: source.path.clone(),
        })?;
        let mut found = Vec::new();
        for entry in matches {
            let file = entry.map_err(|error| {
                let path = error.path().to_owned();
                open(&path, error.into())
            })?;
            if file.is_file() && is_whole(&file) {
                found.push(file);
            }
        }
        found
    };
    for file in found {
        let seen = seen(source, &file).map_err(|error| open(&file, error))?;
        let modified = UNIX_EPOCH + Duration::from_nanos(seen.modified_ns);
        // A time in the future is no young file, but a clock that is wrong.
        let age = (now + CLOCK_TICK).duration_since(modified);
        if age.is_ok_and(|age| age < Duration::from_secs(source.settle_s)) {
            listing.unsettled += 1;
        } else {
            listing.files.push(seen);
        }
    }
    listing.files.sort_by(|a, b| a.path.cmp(&b.path));
    if listing.files.is_empty() && listing.unsettled == 0 && !path.is_dir() {
        return Err(ObserveError::NoFile { name: source.name.clone(), path: source.path.clone() });
    }
    Ok(listing)
}

/// Refuses when a file is no longer what it was when it was listed.
pub(super) fn unchanged(source: &Source, before: &FileSeen) -> Result<(), ObserveError> {
    let path = Path::new(&before.path);
    let failed =
        |error| ObserveError::Open { name: source.name.clone(), path: path.into(), source: error };
    if seen(source, path).map_err(failed)? == *before {
        return Ok(());
    }
    Err(ObserveError::Changed { name: source.name.clone(), path: path.into() })
}

fn seen(source: &Source, path: &Path) -> io::Result<FileSeen> {
    let about = fs::metadata(path)?;
    let since = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(FileSeen {
        source: source.name.clone(),
        path: path.to_string_lossy().into_owned(),
        bytes: about.len(),
        modified_ns: since.as_nanos() as u64,
    })
}

/// The path from the root, without `..`; the file itself need not be there.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !parent.as_os_str().is_empty() && parent.is_dir() => {
            Ok(parent.canonicalize()?.join(name))
        }
        _ => std::path::absolute(path),
    }
}

fn is_whole(path: &Path) -> bool {
    let hidden =
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '~', '_']));
    let partial = ending(path).is_some_and(|ending| PARTIAL.contains(&ending.as_str()));
    !hidden && !partial
}

/// Whether a file in a directory is one of the source's format.
fn has_ending(path: &Path, source: &Source) -> bool {
    let compressed = compression(path).is_some();
    let stem = if compressed { path.with_extension("") } else { path.to_owned() };
    ending(&stem).is_some_and(|ending| source.format.endings().contains(&ending.as_str()))
}

/// How a file is compressed, by its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

pub(super) fn compression(path: &Path) -> Option<Compression> {
    match ending(path)?.as_str() {
        "gz" => Some(Compression::Gzip),
        "zst" => Some(Compression::Zstd),
        _ => None,
    }
}

fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase())
}
