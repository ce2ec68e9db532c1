//! What the demo found, as data: the JSON for machines and the source of the report.

use serde::{Deserialize, Serialize};

/// Everything one run of the demo or of the full benchmark shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Always `evaluation only`: the federations of one run compose to more than each spends.
    pub label: String,
    /// Stores that took part.
    pub agents: u32,
    /// Agents that dropped out of a round that then completed without them.
    pub dropped: u32,
    /// Rounds that completed, over all federations.
    pub rounds: u32,
    /// What was trained.
    pub model: ModelSummary,
    /// One row for each setting and scope.
    pub metrics: Vec<Metric>,
    /// Paired differences against the best local blend.
    pub uplift: Vec<Uplift>,
    /// Quality after each round.
    pub learning_curve: Vec<CurvePoint>,
    /// Bytes and seconds of each round.
    pub round_costs: Vec<RoundCost>,
    /// The federation that the summary line speaks of, verified offline.
    pub ledger: LedgerSummary,
    /// Every federation's ledger.
    pub ledgers: Vec<LedgerSummary>,
    /// Bytes that one agent sent in that federation, on average.
    pub bytes_per_agent: u64,
    /// Wall-clock seconds of the whole run.
    pub wall_s: f64,
    /// What is random from run to run.
    pub randomness: String,
}

/// What was trained on what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ModelSummary {
    /// Tasks in the order in which they ran.
    pub tasks: Vec<String>,
    /// Items of the declared catalogue.
    pub items: u32,
    /// Households that contributed.
    pub households: u32,
    /// Households with purchases in the test window.
    pub evaluated: u32,
    /// First day of the test window, ISO 8601.
    pub test_from: String,
    /// Cohort floors: T_min.
    pub survivors_min: u32,
    /// Agents assumed corrupt, A.
    pub corrupt: u32,
}

/// Quality of one setting in one scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metric {
    /// For example `popularity`, `store alone`, `federated`, `pooled`.
    pub setting: String,
    /// ε of the federation; absent where nothing is private or nothing is shared.
    pub epsilon: Option<f64>,
    /// δ of the federation.
    pub delta: Option<f64>,
    /// `new items` or `all items`.
    pub scope: String,
    /// Mean Recall@20.
    pub recall_at_20: f64,
    /// Mean NDCG@20.
    pub ndcg_at_20: f64,
    /// Standard deviation of Recall@20 over noise seeds, where there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall_spread: Option<f64>,
    /// Standard deviation of NDCG@20 over noise seeds, where there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ndcg_spread: Option<f64>,
    /// Number of noise seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<u32>,
    /// Households that count.
    pub households: u32,
}

/// A paired difference in Recall@20 with its 95% interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Uplift {
    /// The setting compared with the best local blend.
    pub setting: String,
    /// ε of the setting.
    pub epsilon: Option<f64>,
    /// `all`, `small stores`, `large stores` or `new customers`.
    pub group: String,
    /// `new items` or `all items`.
    pub scope: String,
    /// Mean difference.
    pub difference: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Whether the interval lies above zero.
    pub beats: bool,
    /// Households in the group.
    pub households: u32,
}

/// Quality of the global model after one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The setting.
    pub setting: String,
    /// ε of the setting.
    pub epsilon: Option<f64>,
    /// Round of the federation, from 1.
    pub round: u32,
    /// Mean Recall@20, new items.
    pub recall_at_20: f64,
}

/// What one round cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RoundCost {
    /// The federation.
    pub federation: String,
    /// Round of the federation, from 1.
    pub round: u64,
    /// The plan's name.
    pub plan: String,
    /// Bytes that arrived from all agents.
    pub bytes_received: u64,
    /// Bytes that went to all agents.
    pub bytes_sent: u64,
    /// Seconds from ROUND-OPEN to RESULT.
    pub seconds: f64,
    /// Survivors.
    pub survivors: u32,
    /// Cohort.
    pub cohort: u32,
}

/// What the offline verifier says of a ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LedgerSummary {
    /// The federation.
    pub federation: String,
    /// Whether every entry verified.
    pub verified: bool,
    /// Number of entries.
    pub entries: u64,
    /// ε spent (exact Gaussian figure); absent for ε = ∞.
    pub epsilon: Option<f64>,
    /// ε spent by the zCDP conversion; absent for ε = ∞.
    pub epsilon_zcdp: Option<f64>,
    /// δ.
    pub delta: Option<f64>,
    /// Completed rounds.
    pub released: u64,
    /// Aborted rounds.
    pub aborted: u64,
}

/// How a setting with its ε is called in tables and plots.
#[must_use]
pub fn label(setting: &str, epsilon: Option<f64>) -> String {
    match epsilon {
        Some(epsilon) => format!("{setting}, ε = {epsilon}"),
        None => setting.to_string(),
    }
}
