//! `keys show`, `keys wrap` and `keys rotate`.

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Done, OutputError, table, thousands, write_json};
use crate::{
    config::Config,
    error::{Explain, Failure},
    keys::{
        Key, KeyError, KeyFile, PASSPHRASE_VARIABLE, Passphrase, Rotation, StoreKey, Unlock, Wrap,
        provide_passphrase,
    },
    odometer::Odometer,
    run::RunError,
    store::Store,
};

#[derive(Debug, Args)]
pub(super) struct ShowOptions {
    /// Write the list as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct WrapOptions {
    #[command(flatten)]
    with: With,
    /// A file with the new passphrase on its first line. Without it CHORALE_NEW_PASSPHRASE counts,
    /// then what opens the keys now, then what is typed.
    #[arg(long, value_name = "FILE", requires = "passphrase")]
    new_passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct With {
    /// Seal with a passphrase.
    #[arg(long)]
    passphrase: bool,
    /// Seal with the key in this file, which is made where there is none.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Seal no longer.
    #[arg(long)]
    clear: bool,
}

const NEW_PASSPHRASE_VARIABLE: &str = "CHORALE_NEW_PASSPHRASE";

/// A passphrase was to be typed, and there is no terminal or the two did not agree.
#[derive(Debug, thiserror::Error)]
#[error("no passphrase was given")]
struct NoPassphrase(#[source] io::Error);

impl Explain for NoPassphrase {
    fn place(&self) -> String {
        "the terminal".into()
    }

    fn remedy(&self) -> String {
        format!(
            "give it with --new-passphrase-file or in {NEW_PASSPHRASE_VARIABLE}, or type it twice"
        )
    }
}

#[derive(Serialize)]
struct Line {
    key: &'static str,
    file: String,
    sealed: &'static str,
    /// A rotation was cut short: `keys rotate` goes on.
    rotating: bool,
}

pub(super) fn show(
    config: &Path,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let config = Config::load(config)?;
    let unlock = config.unlock.load()?;
    let mut lines = Vec::new();
    for (key, path) in files(&config) {
        if !path.exists() {
            continue;
        }
        let file = KeyFile::open(&path, &unlock)?;
        let (sealed, rotating) = (file.wrap().text(), file.before().is_some());
        lines.push(Line { key, file: path.display().to_string(), sealed, rotating });
    }
    if options.json {
        write_json(out, &lines)?;
        return Ok(Done::Well);
    }
    let mut rows = vec![["key of", "file", ""].map(String::from).to_vec()];
    rows.extend(lines.into_iter().map(|line| {
        let unfinished = if line.rotating { "; a rotation was cut short" } else { "" };
        vec![line.key.to_owned(), line.file, format!("{}{unfinished}", line.sealed)]
    }));
    out.write_all(table(&rows).as_bytes()).map_err(OutputError)?;
    Ok(Done::Well)
}

/// The key files of a configuration, by what the keys are for.
fn files(config: &Config) -> [(&'static str, PathBuf); 3] {
    [
        ("pseudonyms", config.pseudonym_key_path()),
        ("data", config.store_key_path()),
        ("receipts", config.receipt_key_path()),
    ]
}

pub(super) fn wrap(
    config: &Path,
    options: &WrapOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let config = Config::load(config)?;
    let mut unlock = config.unlock.load()?;
    let wrap = if options.with.passphrase {
        let (passphrase, place) = new_passphrase(options, &config)?;
        // Some of the files may be sealed with it already: this may be a second attempt.
        unlock = unlock.with_passphrase(passphrase.clone());
        Wrap::passphrase(&passphrase, &place)?
    } else if let Some(path) = &options.with.key_file {
        let over = if path.exists() { Key::read(path)? } else { Key::create(path)? };
        let over = Arc::new(over);
        unlock = unlock.with_key(Arc::clone(&over));
        Wrap::key_file(over)
    } else {
        Wrap::Clear
    };
    for (_, path) in files(&config) {
        if !path.exists() {
            continue;
        }
        if path == config.store_key_path() {
            // Held, so that no rotation is going on.
            StoreKey::open(&config.data_dir, &path, &unlock)?.rewrap(wrap.clone())?;
        } else {
            KeyFile::open(&path, &unlock)?.rewrap(wrap.clone())?;
        }
        writeln!(out, "{}: {}", path.display(), wrap.text()).map_err(OutputError)?;
    }
    let next = match &wrap {
        Wrap::Clear => "Name neither 'passphrase_file' nor 'key_file' in [unlock] any more.".into(),
        Wrap::Passphrase(_) => format!(
            "From now on every command needs the passphrase: as 'passphrase_file' in [unlock], in \
             {PASSPHRASE_VARIABLE}, or typed."
        ),
        Wrap::KeyFile(_) => {
            "From now on every command needs that file: name it as 'key_file' in [unlock].".into()
        }
    };
    writeln!(out, "{next}\nWithout it nobody can read the data: keep a copy in a safe place.")
        .map_err(OutputError)?;
    Ok(Done::Well)
}

/// The passphrase to seal with, and where it stands.
fn new_passphrase(
    options: &WrapOptions,
    config: &Config,
) -> Result<(Passphrase, PathBuf), Failure> {
    if let Some(path) = &options.new_passphrase_file {
        return Ok((Passphrase::read(path)?, path.clone()));
    }
    if let Some(passphrase) = Passphrase::from_environment(NEW_PASSPHRASE_VARIABLE) {
        return Ok((passphrase, NEW_PASSPHRASE_VARIABLE.into()));
    }
    if let Some(path) = &config.unlock.passphrase_file {
        return Ok((Passphrase::read(path)?, path.clone()));
    }
    if let Some(passphrase) = Passphrase::from_environment(PASSPHRASE_VARIABLE) {
        return Ok((passphrase, PASSPHRASE_VARIABLE.into()));
    }
    let typed = typed("New passphrase: ").map_err(NoPassphrase)?;
    if *typed != *self::typed("Once more: ").map_err(NoPassphrase)? {
        return Err(NoPassphrase(io::Error::other("the two are not the same")).into());
    }
    Ok((Passphrase::new(typed), "the terminal".into()))
}

/// Reads a line from the terminal without showing it.
fn typed(prompt: &str) -> io::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return Err(io::Error::other("the standard input is no terminal"));
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

/// Runs a command; where a key turns out to be sealed with a passphrase that is named nowhere, asks
/// for it and runs the command again. Keys are opened before anything is done.
pub(super) fn ask_when_locked(
    mut command: impl FnMut() -> Result<Done, Failure>,
) -> Result<Done, Failure> {
    match command() {
        Err(failure) if is_locked(&failure) && io::stdin().is_terminal() => {
            let typed = typed("Passphrase of the agent's keys: ").map_err(NoPassphrase)?;
            provide_passphrase(Passphrase::new(typed));
            command()
        }
        done => done,
    }
}

fn is_locked(failure: &Failure) -> bool {
    let error: &(dyn Error + 'static) = failure.explained();
    let key = match error.downcast_ref::<RunError>() {
        Some(RunError::Key(key)) => Some(key),
        _ => error.downcast_ref::<KeyError>(),
    };
    matches!(key, Some(KeyError::Locked { with: "a passphrase", .. }))
}

pub(super) fn rotate(config: &Path, out: &mut dyn Write) -> Result<Done, Failure> {
    let config = Config::load(config)?;
    let unlock: Unlock = config.unlock.load()?;
    let rotation = Rotation::begin(&config.data_dir, &config.store_key_path(), &unlock)?;
    if rotation.is_resumed() {
        writeln!(out, "going on with a rotation that was cut short").map_err(OutputError)?;
    }
    let values = Store::open(&config.data_dir, rotation.key())?.renew()?
        + Odometer::new(&config.data_dir, rotation.key()).renew()?;
    rotation.finish()?;
    writeln!(
        out,
        "{} values are sealed under a new key; {} holds it alone.\n\
         Backups from before need the key from before: keep both together, or neither.",
        thousands(values),
        config.store_key_path().display()
    )
    .map_err(OutputError)?;
    Ok(Done::Well)
}
