//! The agent's configuration: one TOML file, in which a typo is an error.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chorale_observe::{Cluster, RunsOn, Settings, Source};
use chorale_people::{features::Declared, retention::Retention};
use chorale_wire::{AgentId, FederationId};
use serde::{Deserialize, Serialize};

use crate::{
    calendar,
    error::Explain,
    event::{Cleaning, RepeatedId},
    keys::{KeyError, StoreKey, UnlockSettings},
    pseudonym::Pseudonymiser,
    store::Served,
};

/// Everything an agent is told. Paths are relative to the file they stand in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The agent's name, as the enrolment authority invited it.
    pub agent: AgentId,
    /// The federation it belongs to.
    pub federation: FederationId,
    /// The coordinator, `host:port`.
    pub coordinator: String,
    /// The store whose home customers this agent answers for: the value that the events' column
    /// `home_store` has for them.
    pub home: String,
    /// Where the agent keeps its sealed data.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// Where the agent keeps its identity, its certificate and its keys.
    #[serde(default = "default_keys_dir")]
    pub keys_dir: PathBuf,
    /// The key of the pseudonyms; `pseudonym.key` in `keys_dir` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym_key: Option<PathBuf>,
    /// The key that seals the data; `store.key` in `keys_dir` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_key: Option<PathBuf>,
    /// What this agent admits.
    #[serde(default = "default_policy")]
    pub policy: PathBuf,
    /// The federation's declared item list.
    pub catalogue: PathBuf,
    /// Events at or after this instant are neither trained on nor served from, whatever a plan
    /// says: for evaluation on held-out days. UTC, for example `2017-12-02T05:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_before: Option<String>,
    /// A SQL SELECT over the sources that yields the canonical event.
    pub event_sql: String,
    /// Where `event_sql` runs.
    #[serde(default)]
    pub engine: RunsOn,
    /// The cluster that it runs on, if on one.
    #[serde(default)]
    pub cluster: Cluster,
    /// What counts as a bad row.
    #[serde(default)]
    pub cleaning: Cleaning,
    /// Features of the store's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Declared>,
    /// For how many days events are kept; for ever where nothing is said.
    #[serde(default)]
    pub retention_days: Retention,
    /// Memory that an ingest may use, about, in MiB. Events beyond it wait sealed on the disk.
    #[serde(default = "default_memory_limit")]
    pub memory_limit_mib: u32,
    /// What opens key files that are sealed.
    #[serde(default)]
    pub unlock: UnlockSettings,
    /// How the HTTP API is served.
    #[serde(default)]
    pub serve: chorale_api::Settings,
    /// The files that hold the events.
    pub sources: Vec<Source>,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not there or not readable.
    #[error("the file cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Not TOML, a key that does not exist, a key that is missing or a value of the wrong kind.
    #[error("the file is not valid")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1, when the parser knows it.
        line: Option<usize>,
        /// The parser's message, which shows the key and the line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value that cannot be meant.
    #[error("'{key}' must be {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it must be.
        expected: &'static str,
    },
}

/// What the program, its engine and the database's cache take in an ingest, about, in MiB.
const PROGRAM_MIB: u32 = 96;

/// The SQL engine's share of an ingest's memory.
const ENGINE_SHARE: f64 = 0.25;

impl Config {
    /// Reads and checks a configuration file and makes its paths absolute or relative to the
    /// current directory.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line and the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = read_toml(path)?;
        config.check(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let paths =
            [&mut config.data_dir, &mut config.keys_dir, &mut config.policy, &mut config.catalogue];
        let serve = &mut config.serve;
        let keys = config.pseudonym_key.iter_mut().chain(config.store_key.iter_mut());
        let keys = keys.chain(serve.tokens.iter_mut()).chain(serve.receipt_key.iter_mut());
        let unlock = &mut config.unlock;
        let keys = keys.chain(unlock.passphrase_file.iter_mut()).chain(unlock.key_file.iter_mut());
        let sources = config
            .sources
            .iter_mut()
            .flat_map(|source| [Some(&mut source.path), source.address.as_mut()])
            .flatten()
            .filter(|path| !path.as_os_str().is_empty());
        let cluster = config.cluster.paths_mut();
        for path in paths.into_iter().chain(keys).chain(sources).chain(cluster) {
            *path = base.join(&*path);
        }
        Ok(config)
    }

    /// The file of the pseudonym key.
    #[must_use]
    pub fn pseudonym_key_path(&self) -> PathBuf {
        self.pseudonym_key.clone().unwrap_or_else(|| self.keys_dir.join("pseudonym.key"))
    }

    /// The file of the key that seals the data.
    #[must_use]
    pub fn store_key_path(&self) -> PathBuf {
        self.store_key.clone().unwrap_or_else(|| self.keys_dir.join("store.key"))
    }

    /// The key that signs receipts of erasure.
    #[must_use]
    pub fn receipt_key_path(&self) -> PathBuf {
        self.serve.receipt_key.clone().unwrap_or_else(|| self.keys_dir.join("receipt.key"))
    }

    /// Opens the key that seals the data, and holds it: nobody rotates it meanwhile.
    ///
    /// # Errors
    /// [`KeyError`] names the file.
    pub fn hold_store_key(&self) -> Result<StoreKey, KeyError> {
        StoreKey::open(&self.data_dir, &self.store_key_path(), &self.unlock.load()?)
    }

    /// Opens the pseudonym keys.
    ///
    /// # Errors
    /// [`KeyError`] names the file; [`KeyError::Pending`] while a rotation is not finished.
    pub fn names(&self) -> Result<Pseudonymiser, KeyError> {
        Pseudonymiser::open(&self.pseudonym_key_path(), &self.unlock.load()?)
    }

    /// The first instant (Unix seconds) whose events are held out, if there is one.
    #[must_use]
    pub fn held_out_from_s(&self) -> Option<i64> {
        self.events_before.as_deref().and_then(calendar::parse)
    }

    /// The file of the API's tokens.
    #[must_use]
    pub fn tokens_path(&self) -> PathBuf {
        self.serve.tokens.clone().unwrap_or_else(|| self.keys_dir.join("tokens.toml"))
    }

    /// Whom this agent answers for, and from which events.
    #[must_use]
    pub fn served(&self) -> Served<'_> {
        let window_end_s = self.held_out_from_s().unwrap_or(i64::MAX);
        Served { home: &self.home, window_end_s }
    }

    /// The end of the window in which both a plan and this configuration allow events.
    #[must_use]
    pub fn window_end_s(&self, plan_events_before_s: u64) -> i64 {
        let plan = i64::try_from(plan_events_before_s).unwrap_or(i64::MAX);
        self.held_out_from_s().map_or(plan, |own| own.min(plan))
    }

    /// What an ingest reads, and how.
    #[must_use]
    pub fn reading(&self) -> Settings<'_> {
        Settings {
            sources: &self.sources,
            event_sql: &self.event_sql,
            home: &self.home,
            cleaning: &self.cleaning,
            memory_bytes: self.memory_bytes(ENGINE_SHARE),
            runs_on: &self.engine,
            cluster: &self.cluster,
        }
    }

    /// Bytes that an ingest may use for `share` of its memory, beside what the program itself takes.
    #[must_use]
    pub fn memory_bytes(&self, share: f64) -> usize {
        let limit = self.memory_limit_mib;
        let free = limit.saturating_sub(PROGRAM_MIB).max(limit / 4);
        (f64::from(free) * share * f64::from(1 << 20)) as usize
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |key: &str, expected| {
            Err(ConfigError::Value { path: path.into(), key: key.into(), expected })
        };
        if self.home.is_empty() {
            return wrong("home", "the store's id, as the column home_store has it");
        }
        if self
            .coordinator
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            return wrong("coordinator", "an address like 'coordinator.example:7443'");
        }
        if self.events_before.is_some() && self.held_out_from_s().is_none() {
            return wrong("events_before", "an instant in UTC like '2017-12-02T05:00:00Z'");
        }
        if self.event_sql.trim().is_empty() {
            return wrong("event_sql", "a SQL SELECT over the sources");
        }
        if self.sources.is_empty() {
            return wrong("sources", "at least one [[sources]] table");
        }
        for (position, source) in self.sources.iter().enumerate() {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            let named = source.name.bytes().all(fits)
                && source.name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
            let once = !self.sources[..position].iter().any(|other| other.name == source.name);
            if !named || !once {
                let key = format!("sources[{position}].name");
                return wrong(&key, "used once, of a-z, 0-9 and '_', not beginning with a digit");
            }
            if let Some((key, expected)) = source.wrong() {
                return wrong(&format!("sources[{position}].{key}"), expected);
            }
        }
        if let Some((key, expected)) = self.engine.wrong(&self.cluster, &self.sources) {
            return wrong(key, expected);
        }
        if self.engine != RunsOn::Here && self.cleaning.repeated_id == RepeatedId::Correct {
            return wrong(
                "engine",
                "'datafusion' where the last row of an id counts: a cluster's rows \
                         come in no order",
            );
        }
        if let Some((key, expected)) = self.serve.wrong() {
            return wrong(key, expected);
        }
        if !(64..=1 << 24).contains(&self.memory_limit_mib) {
            return wrong("memory_limit_mib", "64 to 16777216");
        }
        if let Some((place, key, expected)) =
            Declared::first_wrong(&self.features, &self.cleaning.channels)
        {
            return wrong(&format!("features[{place}].{key}"), expected);
        }
        let declared = |name: &Option<String>| {
            name.as_ref().is_some_and(|name| self.features.iter().any(|f| f.name == *name))
        };
        for (place, segment) in self.serve.segments.iter().enumerate() {
            let meant = |condition: &chorale_api::Condition| {
                condition.is_feature() == condition.feature.is_some()
                    && (!condition.is_feature() || declared(&condition.feature))
            };
            if !segment.all.iter().all(meant) {
                let key = format!("serve.segments[{place}].all");
                return wrong(&key, "conditions in which fact = \"feature\" names a declared one");
            }
        }
        if !self.retention_days.is_possible() {
            return wrong("retention_days", "whole days from 1 to 36500 for each kind of event");
        }
        if !(0.0..=1.0).contains(&self.cleaning.quarantine_max_share) {
            return wrong("cleaning.quarantine_max_share", "a share from 0 to 1");
        }
        if self.cleaning.channels.are_wrong() {
            return wrong("cleaning.channels", "at most 64 names, each once");
        }
        let Cleaning { quantity_min, quantity_max, .. } = self.cleaning;
        if !(quantity_min >= 0.0 && quantity_max > quantity_min && quantity_max <= 1e9) {
            return wrong("cleaning.quantity_max", "above quantity_min and at most 1e9");
        }
        Ok(())
    }
}

impl Explain for ConfigError {
    fn place(&self) -> String {
        match self {
            Self::Read { path, .. } | Self::Parse { path, line: None, .. } => {
                path.display().to_string()
            }
            Self::Parse { path, line: Some(line), .. } => {
                format!("{}, line {line}", path.display())
            }
            Self::Value { path, key, .. } => format!("{}, key '{key}'", path.display()),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Read { .. } => {
                "give the file with --config, or make one with `client-agent init`".into()
            }
            Self::Parse { .. } | Self::Value { .. } => {
                "correct the key; `client-agent init --print` shows every key with its meaning"
                    .into()
            }
        }
    }
}

/// Reads a TOML file into a type that denies unknown keys.
pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.into(), source })?;
    parse_toml(&text, path)
}

/// Reads a TOML text, which stood in `path`, into a type that denies unknown keys.
pub(crate) fn parse_toml<T: serde::de::DeserializeOwned>(
    text: &str,
    path: &Path,
) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|source| ConfigError::Parse {
        path: path.into(),
        line: source.span().map(|span| text[..span.start].matches('\n').count() + 1),
        source: Box::new(source),
    })
}

fn default_memory_limit() -> u32 {
    1024
}

fn default_data_dir() -> PathBuf {
    "data".into()
}

fn default_keys_dir() -> PathBuf {
    "keys".into()
}

fn default_policy() -> PathBuf {
    "policy.toml".into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"
agent = "store-367"
federation = "demo"
coordinator = "127.0.0.1:7443"
home = "367"
catalogue = "catalogue.csv"
events_before = "2017-12-02T05:00:00Z"
event_sql = "SELECT 1"

[[sources]]
name = "receipts"
path = "receipts/*.csv"
format = "csv"
"#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn defaults_and_paths() {
        let config = load(GOOD).unwrap();
        assert!(config.store_key_path().ends_with("keys/store.key"));
        assert!(config.sources[0].path.is_absolute());
        assert_eq!(config.window_end_s(u64::MAX), 1_512_190_800);
        assert_eq!(config.window_end_s(5), 5);
        let again = toml::to_string(&config).unwrap();
        assert_eq!(load(&again).unwrap(), config);
    }

    #[test]
    fn a_typo_names_key_and_line() {
        let error = load(&GOOD.replace("home =", "hom =")).unwrap_err();
        assert!(error.place().ends_with("agent.toml, line 5"), "{}", error.place());
        let said = crate::error::Failure::from(error).to_string();
        assert!(said.contains("unknown field `hom`"), "{said}");
        let error = load(&GOOD.replace("format = \"csv\"", "format = \"xls\"")).unwrap_err();
        assert!(error.place().ends_with("line 13"), "{}", error.place());
        assert!(crate::error::Failure::from(error).to_string().contains("xls"));
    }

    #[test]
    fn impossible_values_name_their_key() {
        for (from, to, key) in [
            ("127.0.0.1:7443", "nowhere", "coordinator"),
            ("2017-12-02T05:00:00Z", "soon", "events_before"),
            ("\"receipts\"", "\"my receipts\"", "sources[0].name"),
            ("home = \"367\"", "home = \"\"", "home"),
            ("SELECT 1", " ", "event_sql"),
            ("\"csv\"", "\"csv\"\nencoding = \"klingon\"", "sources[0].encoding"),
            ("\"csv\"", "\"csv\"\ncolumns = [\"a\", \"a\"]", "sources[0].columns"),
            ("\"csv\"", "\"ndjson\"\nskip_lines = 1", "sources[0].format"),
            ("home =", "memory_limit_mib = 1\nhome =", "memory_limit_mib"),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err();
            assert!(matches!(&error, ConfigError::Value { key: k, .. } if k == key), "{error}");
        }
        let error = load(&format!("{GOOD}\n[cleaning]\nquarantine_max_share = 2.0\n")).unwrap_err();
        assert!(error.place().contains("quarantine_max_share"));
    }
}
