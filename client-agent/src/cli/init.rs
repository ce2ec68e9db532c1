//! `init`: a commented configuration and policy, and the keys.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Done, OutputError};
use crate::{
    config::Config,
    error::{Explain, Failure},
    keys::{Key, KeyError, create_private_dir, write_private},
};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only print the two files; write nothing.
    #[arg(long)]
    print: bool,
}

const CONFIG: &str = include_str!("example-agent.toml");
const POLICY: &str = include_str!("example-policy.toml");

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the file cannot be written")]
struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Explain for WriteError {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn remedy(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::AlreadyExists => {
                "the file is there already: edit it, or give another place with --config".into()
            }
            _ => "check the directory, its owner and its free space".into(),
        }
    }
}

/// Writes the configuration and the policy where there are none, and makes the keys that the
/// configuration names where there are none. Nothing that exists is changed.
pub(super) fn init(path: &Path, options: &Options, out: &mut dyn Write) -> Result<Done, Failure> {
    if options.print {
        write!(out, "# --- agent.toml ---\n{CONFIG}\n# --- policy.toml ---\n{POLICY}")
            .map_err(OutputError)?;
        return Ok(Done::Well);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|source| WriteError { path: parent.into(), source })?;
    }
    let written = write_new(path, CONFIG)?;
    let config = Config::load(path)?;
    say(out, path, written)?;
    let written = write_new(&config.policy, POLICY)?;
    say(out, &config.policy, written)?;
    for key in [config.pseudonym_key_path(), config.store_key_path()] {
        if let Some(parent) = key.parent() {
            create_private_dir(parent)
                .map_err(|source| KeyError::Create { path: key.clone(), source })?;
        }
        let made = !key.exists();
        if made {
            Key::create(&key)?;
        }
        say(out, &key, made)?;
    }
    writeln!(
        out,
        "\nNext:\n\
         \x20 1. Edit {config}, then `client-agent data check` and `client-agent ingest`.\n\
         \x20 2. `client-agent policy keygen --out administrator.key`: the key of the store's\n\
         \x20    administrator, who keeps it, best on another machine.\n\
         \x20 3. `client-agent enrol INVITATION --administrator administrator.pub`.\n\
         \x20 4. Edit {policy}, then\n\
         \x20    `client-agent policy sign {policy} --key administrator.key`.\n\
         \x20 5. `client-agent policy check`, then `client-agent run`.\n\
         Keep a copy of the keys in a safe place: without them the data cannot be read.",
        config = path.display(),
        policy = config.policy.display()
    )
    .map_err(OutputError)?;
    Ok(Done::Well)
}

/// Writes a file that is not there; says whether it did.
fn write_new(path: &Path, text: &str) -> Result<bool, WriteError> {
    if path.exists() {
        return Ok(false);
    }
    write_private(path, text.as_bytes())
        .map(|()| true)
        .map_err(|source| WriteError { path: path.into(), source })
}

fn say(out: &mut dyn Write, path: &Path, written: bool) -> Result<(), OutputError> {
    let what = if written { "written" } else { "kept   " };
    writeln!(out, "{what}  {}", path.display()).map_err(OutputError)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::{PolicyFile, StorePolicy};

    #[test]
    fn the_examples_are_valid_and_show_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/agent.toml");
        let run = || init(&path, &Options { print: false }, &mut Vec::new());
        run().unwrap();
        let config = Config::load(&path).unwrap();
        let (policy, _) = StorePolicy::read(&config.policy).unwrap();
        assert_eq!(*policy.rules(), PolicyFile::default());
        let key = Key::read(&config.store_key_path()).unwrap();
        run().unwrap();
        assert_eq!(Key::read(&config.store_key_path()).unwrap().as_bytes(), key.as_bytes());
        assert_ne!(Key::read(&config.pseudonym_key_path()).unwrap().as_bytes(), key.as_bytes());
    }
}
