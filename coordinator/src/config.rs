//! The coordinator's configuration file.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use chorale_dp::Rational;
use chorale_ledger::{Head, IdentityMethod, Predecessor};
use chorale_plan::{CohortRule, PHASE_WITHIN_MS_MAX, Parameters, delta_reserved, noise};
use chorale_wire::{FederationId, Keystream};
use serde::Deserialize;

use crate::{
    calibrate::budget_cap,
    caps::{CapConfig, caps},
};

/// A federation as its operator describes it, in TOML. Paths are relative to the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the federation.
    pub federation: FederationId,
    /// What it is for; stands in the ledger's first entry. For example `evaluation only`.
    #[serde(default = "default_purpose")]
    pub purpose: String,
    /// Agents to wait for before the first epoch opens.
    pub agents: u32,
    /// The cipher that makes the masks: `aes256-ctr`, or `chacha20` where most agents' processors
    /// have no AES instructions.
    #[serde(default)]
    pub keystream: Keystream,
    /// How one person at several stores is bounded: `home-store`, or `uniform-share` with
    /// `stores_max`.
    #[serde(default = "default_identity_method")]
    pub identity_method: IdentityMethod,
    /// Most stores at which one person counts, with `uniform-share`: at each with this fraction of
    /// the bound.
    pub stores_max: Option<u32>,
    /// Declared item catalogue, CSV.
    pub catalogue: PathBuf,
    /// Folder for the ledger, models and position.
    pub state: PathBuf,
    /// Folder with the coordinator's own keys and certificates.
    pub keys: PathBuf,
    /// The compliance officer's public key, from `coordinator plan keygen`.
    #[serde(default = "default_compliance")]
    pub compliance: PathBuf,
    /// What that key has signed off, from `coordinator plan sign`.
    #[serde(default = "default_sign_off")]
    pub sign_off: PathBuf,
    /// Where agents connect.
    pub listen: SocketAddr,
    /// Where stores enrol; nothing listens there when absent.
    pub enrolment_listen: Option<SocketAddr>,
    /// Enrolment requests that one network address may send in a minute; the transport's default
    /// when absent. Raise it where many stores share an address.
    pub enrolments_per_minute: Option<u32>,
    /// Agents' connections that one network address may hold; the transport's default when absent.
    /// Raise it where many stores share an address.
    pub connections_per_address: Option<usize>,
    /// The last round whose canary lanes showed too little noise, once the operator has found out
    /// why: without it the coordinator does not start again after such a round.
    pub noise_acknowledged: Option<u64>,
    /// The privacy budget.
    pub privacy: Privacy,
    /// The threat model.
    pub cohort: Cohort,
    /// Deadlines.
    #[serde(default)]
    pub timing: Timing,
    /// Earlier federations over the same people, whose spending counts beside this one's.
    #[serde(default, rename = "predecessor")]
    pub predecessors: Vec<PredecessorLine>,
    /// Plans in the order in which they run.
    #[serde(rename = "plan")]
    pub plans: Vec<PlannedTask>,
}

/// An earlier federation in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredecessorLine {
    /// Its name.
    pub federation: FederationId,
    /// The head of its ledger, `SEQ:HASH`, as `coordinator ledger verify` prints it.
    pub head: String,
}

/// Budget over the federation's lifetime.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// Largest ε over the lifetime; absent only where `unprotected` is true.
    pub epsilon: Option<f64>,
    /// δ over the lifetime, as an exact decimal or fraction, for example `1/100000`.
    #[serde(default = "default_delta")]
    pub delta: Rational,
    /// No noise, ε = ∞. Agents refuse it unless their own policy allows it.
    #[serde(default)]
    pub unprotected: bool,
    /// Caps beside the lifetime's: rolling windows, families of tasks.
    #[serde(default)]
    pub caps: Vec<CapConfig>,
}

/// The threat model in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cohort {
    /// Identities on the enrolment list, N.
    pub enrolled: u32,
    /// γ in thousandths: ⌈γN⌉ agents are assumed corrupt.
    #[serde(default = "default_gamma")]
    pub gamma_per_mille: u32,
    /// Smallest admissible number of survivors, T_min.
    pub survivors_min: u32,
    /// Whether noise that turns out to be surplus is taken off again; by default where more than
    /// a tenth of the agents may drop out.
    pub remove_surplus: Option<bool>,
}

impl Cohort {
    /// Whether plans for `agents` agents have surplus noise removed.
    #[must_use]
    pub fn removes_surplus(&self, agents: u32) -> bool {
        self.remove_surplus.unwrap_or_else(|| noise::removal_is_worth_it(&self.rule(), agents))
    }

    /// Most layers that a noise share of one agent comes in.
    #[must_use]
    pub fn layers_max(&self, agents: u32) -> u32 {
        if self.removes_surplus(agents) { noise::REMOVABLE_LAYERS_MAX + 1 } else { 1 }
    }

    /// The rule that plans carry.
    #[must_use]
    pub fn rule(&self) -> CohortRule {
        CohortRule {
            enrolled: self.enrolled,
            corrupt: CohortRule::corrupt_of(self.enrolled, self.gamma_per_mille),
            survivors_min: self.survivors_min,
        }
    }
}

/// Deadlines in milliseconds. A phase goes on early when everybody answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// How long to wait for `agents` to connect before going on with at least `survivors_min`.
    pub gather_ms: u64,
    /// Each step of epoch setup.
    pub setup_ms: u64,
    /// From ROUND-OPEN until agents are ready.
    pub ready_ms: u32,
    /// From COMMIT until masked vectors have arrived.
    pub upload_ms: u32,
    /// Votes and shares, each.
    pub reveal_ms: u64,
    /// How often a round that aborted is tried again.
    pub retries: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            gather_ms: 60_000,
            setup_ms: 20_000,
            ready_ms: 60_000,
            upload_ms: 120_000,
            reveal_ms: 20_000,
            retries: 2,
        }
    }
}

/// One plan of the programme.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTask {
    /// Name for people.
    pub name: String,
    /// Name of the task, for example `matrix-factorisation`.
    pub task: String,
    /// Number of rounds, 1 to 64.
    pub rounds: u32,
    /// Share of the whole budget (of ρ) for this plan, as a fraction such as `3/20`.
    #[serde(default = "Rational::one")]
    pub budget_share: Rational,
    /// Lattice resolution, 0 to 40.
    #[serde(default = "default_scale_bits")]
    pub scale_bits: u8,
    /// Most persons at one agent.
    #[serde(default = "default_persons_max")]
    pub persons_max: u32,
    /// Only events before this instant are used (Unix seconds, UTC).
    pub events_before_s: u64,
    /// Canary lanes: coordinates behind the task's, of noise alone, that show how much noise a total
    /// carries. 0, or 256 to 2^20; when absent 30,000 where the vector is ten times as long, else 0.
    pub canary_lanes: Option<u32>,
    /// The task's parameters.
    #[serde(default)]
    pub parameters: Parameters,
}

fn default_identity_method() -> IdentityMethod {
    IdentityMethod::HomeStore
}

fn default_purpose() -> String {
    "production".into()
}

fn default_compliance() -> PathBuf {
    "compliance.pub".into()
}

fn default_sign_off() -> PathBuf {
    "sign-off.json".into()
}

fn default_delta() -> Rational {
    Rational::new(1, 100_000).unwrap_or_else(Rational::zero)
}

fn default_gamma() -> u32 {
    100
}

fn default_scale_bits() -> u8 {
    16
}

fn default_persons_max() -> u32 {
    1024
}

/// Why a configuration cannot be used. The operator is to blame.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: check the path and its permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is no such configuration; the source names line and key.
    #[error("{path} is not a coordinator configuration: correct the key named below")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value that contradicts another.
    #[error("{path}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What contradicts and what to do.
        what: String,
    },
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] says which file, which key and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        let mut config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_path_buf(),
            source: Box::new(source),
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for place in [
            &mut config.catalogue,
            &mut config.state,
            &mut config.keys,
            &mut config.compliance,
            &mut config.sign_off,
        ] {
            *place = folder.join(&place);
        }
        config.check().map_err(|what| ConfigError::Value { path: path.to_path_buf(), what })?;
        Ok(config)
    }

    /// The predecessors as genesis names them: ascending.
    pub(crate) fn named_predecessors(&self) -> Result<Vec<Predecessor>, String> {
        let mut named = Vec::new();
        for PredecessorLine { federation, head } in &self.predecessors {
            let head: Head =
                head.parse().map_err(|error| format!("[[predecessor]] {federation}: {error}"))?;
            named.push(Predecessor {
                federation: federation.clone(),
                seq: head.seq,
                hash: head.hash,
            });
        }
        named.sort();
        Ok(named)
    }

    /// M_cap as plans carry it: 1 for the home-store rule.
    #[must_use]
    pub fn stores_max(&self) -> u32 {
        self.stores_max.unwrap_or(1)
    }

    /// Agents refuse rounds that give them longer.
    fn check_phases(&self) -> Result<(), String> {
        let phases = [("ready_ms", self.timing.ready_ms), ("upload_ms", self.timing.upload_ms)];
        match phases.iter().find(|(_, given)| *given > PHASE_WITHIN_MS_MAX) {
            Some((field, given)) => Err(format!(
                "timing.{field} is {given}; agents give each phase of a round at most a day, \
                 {PHASE_WITHIN_MS_MAX}"
            )),
            None => Ok(()),
        }
    }

    fn check_identity(&self) -> Result<(), String> {
        let enrolled = self.cohort.enrolled;
        match (self.identity_method, self.stores_max) {
            (IdentityMethod::HomeStore, None) => Ok(()),
            (IdentityMethod::UniformShare, Some(stores)) if (2..=enrolled).contains(&stores) => {
                Ok(())
            }
            (IdentityMethod::PerAgent, _) => {
                Err("identity_method 'per-agent' is not offered: it protects less".into())
            }
            _ => Err(format!(
                "identity_method 'uniform-share' needs stores_max from 2 to the {enrolled} enrolled, \
                 and 'home-store' has none"
            )),
        }
    }

    fn check(&self) -> Result<(), String> {
        match (self.privacy.epsilon, self.privacy.unprotected) {
            (None, false) => {
                return Err("set privacy.epsilon, or privacy.unprotected = true for ε = ∞".into());
            }
            (Some(_), true) => {
                return Err("privacy.epsilon and privacy.unprotected exclude each other".into());
            }
            (Some(epsilon), false) if !(epsilon.is_finite() && epsilon > 0.0) => {
                return Err(format!("privacy.epsilon is {epsilon}; it must be positive"));
            }
            _ => {}
        }
        if self.privacy.delta <= Rational::zero() || self.privacy.delta >= Rational::one() {
            return Err("privacy.delta must lie between 0 and 1".into());
        }
        if delta_reserved(&self.privacy.delta) >= self.privacy.delta {
            return Err(format!(
                "privacy.delta is {}; 2^-30 of it is set aside, so it must be larger, such as 1/100000",
                self.privacy.delta
            ));
        }
        self.named_predecessors()?;
        caps(&self.privacy, budget_cap(self).as_ref())?;
        self.check_identity()?;
        self.check_phases()?;
        if self.plans.is_empty() {
            return Err("there is no [[plan]]: nothing would run".into());
        }
        if self.connections_per_address == Some(0) {
            return Err("connections_per_address is 0: no agent could connect".into());
        }
        let shares =
            self.plans.iter().fold(Rational::zero(), |sum, plan| &sum + &plan.budget_share);
        if !self.privacy.unprotected && shares > Rational::one() {
            return Err(format!(
                "the plans' budget_share add up to {shares}; at most 1 can be spent"
            ));
        }
        if self.agents < self.cohort.survivors_min {
            return Err(format!(
                "agents is {}, below cohort.survivors_min = {}: no round could complete",
                self.agents, self.cohort.survivors_min
            ));
        }
        let rule = self.cohort.rule();
        rule.check(self.agents).map_err(|error| format!("[cohort]: {error}"))?;
        let graph = chorale_round::graph_for(&rule, self.agents);
        graph.map(|_| ()).map_err(|error| format!("[cohort]: {error}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"
federation = "retail"
agents = 12
catalogue = "catalogue.csv"
state = "state"
keys = "keys"
listen = "127.0.0.1:7443"
[privacy]
epsilon = 4.0
[cohort]
enrolled = 12
survivors_min = 10
[[plan]]
name = "taste"
task = "cooccurrence"
rounds = 1
events_before_s = 1512172800
"#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordinator.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn a_good_file_loads_with_defaults() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.cohort.rule().corrupt, 2);
        assert_eq!(config.privacy.delta.to_string(), "1/100000");
        assert!(config.state.is_absolute());
    }

    #[test]
    fn surplus_noise_is_removed_where_many_may_drop_out() {
        // 2 of 12 are more than a tenth; at 11 the one that may be missing is not.
        let config = load(GOOD).unwrap();
        assert!(config.cohort.removes_surplus(12));
        assert!(!config.cohort.removes_surplus(11));
        let never = GOOD.replace("enrolled = 12", "enrolled = 12\nremove_surplus = false");
        assert!(!load(&never).unwrap().cohort.removes_surplus(12));
    }

    #[test]
    fn a_typo_names_the_key() {
        let error = load(&GOOD.replace("survivors_min", "survivor_min")).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("survivor_min"), "{source}");
    }

    #[test]
    fn contradictions_are_refused() {
        for (from, to, word) in [
            ("epsilon = 4.0", "epsilon = 4.0\nunprotected = true", "exclude"),
            ("epsilon = 4.0", "epsilon = -1.0", "positive"),
            ("epsilon = 4.0", "", "epsilon"),
            ("epsilon = 4.0", "epsilon = 4.0\n[[privacy.caps]]\nname = \"a\"\ndays = 1", "either"),
            ("agents = 12", "agents = 12\nstores_max = 4", "needs stores_max"),
            ("agents = 12", "agents = 12\nidentity_method = \"uniform-share\"", "needs stores_max"),
            ("agents = 12", "agents = 12\nidentity_method = \"per-agent\"", "not offered"),
            ("agents = 12", "agents = 9", "no round"),
            ("survivors_min = 10", "survivors_min = 6", "at least 10"),
            ("epsilon = 4.0", "epsilon = 4.0\ndelta = \"1/1073741824\"", "set aside"),
            (
                "survivors_min = 10",
                "survivors_min = 6700\ngamma_per_mille = 330",
                "no sparse graph",
            ),
            ("agents = 12", "agents = 12\nconnections_per_address = 0", "connect"),
            ("rounds = 1", "rounds = 1\nbudget_share = \"3/2\"", "add up"),
        ] {
            let mut text = GOOD.replace(from, to);
            if to.contains("6700") {
                text = text.replace("= 12", "= 10000");
            }
            let error = load(&text).unwrap_err().to_string();
            assert!(error.contains(word), "{to}: {error}");
        }
    }
}
