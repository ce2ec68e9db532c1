//! Where the SQL runs: in this program, or on a cluster that the store says it may trust.

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Format, Source};

/// Where `event_sql` runs, as `engine` in the configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RunsOn {
    /// In this program: `datafusion`.
    #[default]
    Here,
    /// On a Ballista cluster: `ballista://host:port`, its scheduler's address.
    Ballista {
        /// Name or address of the scheduler's machine.
        host: String,
        /// Its port; 50050 where nothing is said.
        port: u16,
    },
}

/// What a cluster has to be told, and what has to be known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// How the executors keep what they write down. Ballista writes the rows between the steps of a
    /// query as they are, so somebody has to say that nobody can read them there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_disks: Option<ExecutorDisks>,
    /// Parts that a query is cut into, 1 to 4096.
    pub partitions: u16,
    /// PEM file of the authorities that the scheduler's certificate must come from. With it the
    /// connection is TLS; only on this machine may it be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file of the agent's certificate for the scheduler, where it asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file of that certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// How the executors keep what they write down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorDisks {
    /// On disks that are encrypted.
    Encrypted,
    /// In memory (tmpfs), without swap.
    InMemory,
}

/// Port of a scheduler, where `engine` names none.
const SCHEDULER_PORT: u16 = 50050;

impl Default for Cluster {
    fn default() -> Self {
        Self { executor_disks: None, partitions: 16, ca: None, certificate: None, key: None }
    }
}

impl Cluster {
    /// The files it names.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.ca.iter_mut().chain(&mut self.certificate).chain(&mut self.key)
    }
}

impl RunsOn {
    /// The key that is wrong together with `cluster` and `sources`, and what it must be.
    #[must_use]
    pub fn wrong(
        &self,
        cluster: &Cluster,
        sources: &[Source],
    ) -> Option<(&'static str, &'static str)> {
        let Self::Ballista { host, .. } = self else {
            return (*cluster != Cluster::default())
                .then_some(("engine", "'ballista://host:port' where [cluster] stands"));
        };
        if !cfg!(feature = "ballista") {
            return Some((
                "engine",
                "'datafusion'; for 'ballista://' the program must be built with --features ballista",
            ));
        }
        if sources.iter().any(|source| source.format != Format::Parquet) {
            return Some((
                "engine",
                "'datafusion' where a source is no parquet: an agent reads text and databases itself",
            ));
        }
        if cluster.executor_disks.is_none() {
            return Some((
                "cluster.executor_disks",
                "'encrypted' or 'in-memory', as it is: executors write customers' rows down between \
                 the steps of a query",
            ));
        }
        if !(1..=4096).contains(&cluster.partitions) {
            return Some(("cluster.partitions", "1 to 4096"));
        }
        if cluster.certificate.is_some() != cluster.key.is_some()
            || (cluster.key.is_some() && cluster.ca.is_none())
        {
            return Some(("cluster.key", "there with 'certificate' and 'ca'"));
        }
        if cluster.ca.is_none() && !is_this_machine(host) {
            return Some((
                "cluster.ca",
                "there, so that the connection is TLS, unless the scheduler is on this machine",
            ));
        }
        None
    }
}

impl TryFrom<String> for RunsOn {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const EXPECTED: &str = "an engine is 'datafusion' or 'ballista://host:port'";
        if text == "datafusion" {
            return Ok(Self::Here);
        }
        let address = text.strip_prefix("ballista://").ok_or(EXPECTED)?;
        let address = address.strip_suffix('/').unwrap_or(address);
        // Without a port, a colon is part of an IPv6 address in brackets.
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| EXPECTED)?)
            }
            _ => (address, SCHEDULER_PORT),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(plain),
        };
        if !is_host || port == 0 {
            return Err(EXPECTED);
        }
        Ok(Self::Ballista { host: host.to_ascii_lowercase(), port })
    }
}

impl From<RunsOn> for String {
    fn from(place: RunsOn) -> Self {
        match place {
            RunsOn::Here => "datafusion".into(),
            RunsOn::Ballista { host, port } => format!("ballista://{host}:{port}"),
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Deserialize)]
    struct Said {
        engine: RunsOn,
        #[serde(default)]
        cluster: Cluster,
        sources: Vec<Source>,
    }

    fn said(engine: &str, more: &str) -> Result<Said, toml::de::Error> {
        toml::from_str(&format!(
            "engine = '{engine}'\n[[sources]]\nname = 'a'\npath = 'a.parquet'\nformat = 'parquet'\n{more}"
        ))
    }

    fn wrong(engine: &str, more: &str) -> Option<&'static str> {
        let said = said(engine, more).unwrap();
        said.engine.wrong(&said.cluster, &said.sources).map(|(key, _)| key)
    }

    #[test]
    fn addresses() {
        for (text, host, port) in [
            ("ballista://reader.example:7", "reader.example", 7),
            ("ballista://Reader/", "reader", SCHEDULER_PORT),
            ("ballista://10.0.0.7", "10.0.0.7", SCHEDULER_PORT),
            ("ballista://[::1]:9", "[::1]", 9),
            ("ballista://[::1]", "[::1]", SCHEDULER_PORT),
        ] {
            let engine = said(text, "").unwrap().engine;
            assert_eq!(engine, RunsOn::Ballista { host: host.into(), port });
            assert_eq!(RunsOn::try_from(String::from(engine.clone())), Ok(engine));
        }
        assert_eq!(said("datafusion", "").unwrap().engine, RunsOn::Here);
        for text in ["", "spark://a:1", "ballista://", "ballista://:1", "ballista://a:0"] {
            assert!(said(text, "").is_err(), "{text}");
        }
        for text in ["ballista://a:x", "ballista://a@b:1", "ballista://a/b:1", "ballista://::1:5"] {
            assert!(said(text, "").is_err(), "{text}");
        }
    }

    #[test]
    fn a_cluster_without_an_engine_is_a_mistake() {
        assert_eq!(wrong("datafusion", ""), None);
        assert_eq!(wrong("datafusion", "[cluster]\npartitions = 3"), Some("engine"));
    }

    #[cfg(not(feature = "ballista"))]
    #[test]
    fn a_program_without_it_says_so() {
        let disks = "[cluster]\nexecutor_disks = 'encrypted'";
        assert_eq!(wrong("ballista://localhost", disks), Some("engine"));
    }

    #[cfg(feature = "ballista")]
    #[test]
    fn what_a_cluster_must_be() {
        let disks = "[cluster]\nexecutor_disks = 'encrypted'\n";
        for (engine, more, key) in [
            ("ballista://localhost", disks, None),
            ("ballista://[::1]", "[cluster]\nexecutor_disks = 'in-memory'", None),
            ("ballista://127.0.0.1", "", Some("cluster.executor_disks")),
            ("ballista://reader.example", disks, Some("cluster.ca")),
            ("ballista://reader.example", &format!("{disks}ca = 'ca.pem'"), None),
            ("ballista://localhost", &format!("{disks}partitions = 0"), Some("cluster.partitions")),
            ("ballista://localhost", &format!("{disks}key = 'k.pem'"), Some("cluster.key")),
            (
                "ballista://localhost",
                &format!("{disks}[[sources]]\nname = 'b'\npath = 'b.csv'\nformat = 'csv'"),
                Some("engine"),
            ),
        ] {
            assert_eq!(wrong(engine, more), key, "{engine} {more}");
        }
    }
}
