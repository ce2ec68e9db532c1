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
        Key, KeyError, KeyFile, NameKeys, NameRotation, PASSPHRASE_VARIABLE, Passphrase, Rotation,
        StoreKey, Unlock, Wrap, provide_passphrase,
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

#[derive(Debug, Args)]
pub(super) struct RotateOptions {
    /// Rotate the key of the pseudonyms instead of the one over the data: everybody is renamed.
    #[arg(long)]
    pseudonyms: bool,
    /// Come to the same pseudonyms as another store of the linkage: the pseudonym key file of that
    /// store, after its own rotation. Without it a new key is made.
    #[arg(long, value_name = "FILE", requires = "pseudonyms")]
    to: Option<PathBuf>,
    /// A file with the passphrase that --to is sealed with, where it is not this agent's own.
    #[arg(long, value_name = "FILE", requires = "to")]
    to_passphrase_file: Option<PathBuf>,
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
    /// Keys in force: several where pseudonyms were renamed.
    keys: usize,
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
        let file = path.display().to_string();
        lines.push(if path == config.pseudonym_key_path() {
            let chain = NameKeys::open(&path, &unlock)?;
            let (sealed, keys) = (chain.wrap().text(), chain.count());
            Line { key, file, sealed, keys, rotating: chain.is_pending() }
        } else {
            let opened = KeyFile::open(&path, &unlock)?;
            let (sealed, rotating) = (opened.wrap().text(), opened.before().is_some());
            Line { key, file, sealed, keys: 1, rotating }
        });
    }
    if options.json {
        write_json(out, &lines)?;
        return Ok(Done::Well);
    }
    let mut rows = vec![["key of", "file", ""].map(String::from).to_vec()];
    rows.extend(lines.into_iter().map(|line| {
        let chain = if line.keys > 1 { format!("; {} keys", line.keys) } else { String::new() };
        let unfinished = if line.rotating { "; a rotation was cut short" } else { "" };
        vec![line.key.to_owned(), line.file, format!("{}{chain}{unfinished}", line.sealed)]
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
    let store_key = config.store_key_path();
    // Held to the end, so that no rotation is going on.
    let mut held = match store_key.exists() {
        true => Some(StoreKey::open(&config.data_dir, &store_key, &unlock)?),
        false => None,
    };
    for (_, path) in files(&config) {
        if !path.exists() {
            continue;
        }
        match &mut held {
            Some(held) if path == store_key => held.rewrap(wrap.clone())?,
            _ if path == config.pseudonym_key_path() => {
                NameKeys::open(&path, &unlock)?.rewrap(wrap.clone())?;
            }
            _ => KeyFile::open(&path, &unlock)?.rewrap(wrap.clone())?,
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

pub(super) fn rotate(
    config: &Path,
    options: &RotateOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let config = Config::load(config)?;
    let unlock: Unlock = config.unlock.load()?;
    if options.pseudonyms {
        return rename(&config, unlock, options, out);
    }
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

/// Rotates the key of the pseudonyms: the file names the new key as pending, each database is
/// renamed at once, then the key is in force. Where data is behind its key file, as after a restored
/// backup or a rotation that was cut short, that is caught up with first.
fn rename(
    config: &Config,
    unlock: Unlock,
    options: &RotateOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let names_path = config.pseudonym_key_path();
    let mut rotation =
        NameRotation::open(&config.data_dir, &config.store_key_path(), &names_path, &unlock)?;
    let store = Store::open(&config.data_dir, rotation.store_key())?;
    let odometer = Odometer::new(&config.data_dir, rotation.store_key());
    let names = rotation.keys().all();
    let is_behind = store.is_behind(&names)? || odometer.is_behind(&names)?;
    let is_pending = rotation.keys().is_pending();
    if is_pending {
        writeln!(out, "going on with a rotation that was cut short").map_err(OutputError)?;
    } else if is_behind {
        writeln!(out, "the data is behind its pseudonym key file: going on from there")
            .map_err(OutputError)?;
    }
    if let Some(path) = &options.to {
        let unlock = match &options.to_passphrase_file {
            Some(file) => unlock.with_passphrase(Passphrase::read(file)?),
            None => unlock,
        };
        match rotation.begin(Some(NameKeys::open(path, &unlock)?)) {
            // The file was put here by hand, and the data is not yet renamed.
            Err(KeyError::NothingNew { .. }) if is_behind => {}
            begun => begun?,
        }
    } else if !is_pending && !is_behind {
        rotation.begin(None)?;
    }
    let names = rotation.keys().all();
    let rows = store.rename(&names)? + odometer.rename(&names)?;
    let keys = rotation.finish()?;
    writeln!(
        out,
        "{} rows were written anew; everybody has the pseudonym under all {keys} keys of {}.\n\
         Names that other systems of the store keep, such as those of segments, are old now: ask for \
         them again. Every other store of the linkage takes this file: `keys rotate --pseudonyms --to`.",
        thousands(rows),
        names_path.display()
    )
    .map_err(OutputError)?;
    Ok(Done::Well)
}
