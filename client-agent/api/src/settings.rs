//! The section `[serve]` of the agent's configuration.

use std::{net::SocketAddr, path::PathBuf};

use chorale_people::live::Purpose;
use serde::{Deserialize, Serialize};

use crate::rules::segments::Segment;

/// How the API is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to listen. Other addresses than loopback need `allow_remote`.
    pub listen: SocketAddr,
    /// Listen on other addresses than loopback. The API speaks plain HTTP: put a reverse proxy
    /// that speaks TLS before it.
    pub allow_remote: bool,
    /// The tokens' file; `tokens.toml` in `keys_dir` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<PathBuf>,
    /// The key that signs receipts of erasure; `receipt.key` in `keys_dir` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_key: Option<PathBuf>,
    /// Purposes that need a person's yes first; for the others only a no counts.
    pub consent_required: Vec<Purpose>,
    /// Requests that one token may make in a second, on average, 1 to 1,000,000.
    pub requests_per_second: u32,
    /// Requests that one token may make at once, 1 to 1,000,000.
    pub burst: u32,
    /// Segments of the store's own, beside those that every agent has.
    pub segments: Vec<Segment>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_remote: false,
            tokens: None,
            receipt_key: None,
            consent_required: Vec::new(),
            segments: Vec::new(),
            requests_per_second: 1000,
            burst: 2000,
        }
    }
}

impl Settings {
    /// Whether `purpose` needs a person's yes first.
    #[must_use]
    pub fn asks_first(&self, purpose: Purpose) -> bool {
        purpose == Purpose::HandOver || self.consent_required.contains(&purpose)
    }

    /// The first key whose value cannot be meant, and what it must be.
    #[must_use]
    pub fn wrong(&self) -> Option<(&'static str, &'static str)> {
        let possible = 1..=1_000_000;
        if !possible.contains(&self.requests_per_second) {
            return Some(("serve.requests_per_second", "1 to 1,000,000"));
        }
        if !possible.contains(&self.burst) {
            return Some(("serve.burst", "1 to 1,000,000"));
        }
        if !self.listen.ip().is_loopback() && !self.allow_remote {
            return Some(("serve.listen", "a loopback address, unless 'allow_remote' is set"));
        }
        None
    }
}
