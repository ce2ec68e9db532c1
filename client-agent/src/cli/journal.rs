//! `journal show` and `journal acknowledge`: what this agent gave, and what others had to remind
//! it of. The agent must not be running: its journal belongs to one process at a time.

use std::{io::Write, path::Path};

use chorale_dp::Standing;
use chorale_gate::Restoration;
use clap::Args;
use serde::Serialize;

use super::{Done, OutputError, now_s, table, write_json};
use crate::{
    calendar,
    config::Config,
    error::Failure,
    journal::{ACKNOWLEDGE, RedbJournal},
    policy::StorePolicy,
};

#[derive(Debug, Args)]
pub(super) struct ShowOptions {
    /// Write the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// What `journal show` says. Costs are in ρ; the exact fractions are in the journal.
#[derive(Debug, Serialize)]
struct Account {
    federation: String,
    rho_spent: f64,
    rho_cap: f64,
    last_round: Option<u64>,
    last_epoch: Option<u64>,
    rounds_released: usize,
    /// The last head of the ledger that this agent cosigned, `SEQ:HASH`: hand it to whoever
    /// verifies the ledger.
    last_head: Option<String>,
    /// Charges that a crash left open; they stand.
    rounds_interrupted: usize,
    /// Caps over windows and families, with what counts in them now.
    caps: Vec<Standing>,
    /// Rounds that other agents had to state because this journal was an old one; `null` when
    /// there is nothing to acknowledge.
    restored_rounds: Option<Vec<u64>>,
    /// Who stated them.
    restored_by: Vec<String>,
}

impl Account {
    fn of(config: &Config, journal: &RedbJournal) -> Self {
        let (state, federation) = (journal.state(), &config.federation);
        let restoration = state.restoration(federation);
        let rounds =
            |found: &Restoration| found.rounds.iter().map(|stated| stated.round.0).collect();
        Self {
            federation: federation.to_string(),
            rho_spent: state.spent(federation).as_rational().to_f64_up(),
            rho_cap: state.cap(federation).as_rational().to_f64_down(),
            last_round: state.last_round(federation).map(|round| round.0),
            last_epoch: state.last_epoch(federation).map(|epoch| epoch.0),
            rounds_released: state.released(federation),
            last_head: state
                .last_head(federation)
                .map(|head| format!("{}:{}", head.seq, head.hash)),
            rounds_interrupted: state.interrupted(federation) + state.open().count(),
            caps: state.standing(federation, now_s().unsigned_abs()),
            restored_rounds: restoration.map(rounds),
            restored_by: restoration
                .iter()
                .flat_map(|found| found.witnesses.iter().map(ToString::to_string))
                .collect(),
        }
    }
}

fn open(config: &Path) -> Result<(Config, RedbJournal), Failure> {
    let config = Config::load(config)?;
    // Only to show the cap: what holds is judged when the agent runs, by the signed policy.
    let (policy, _) = StorePolicy::read(&config.policy)?;
    let journal = RedbJournal::open(&config.data_dir, policy.budgets())?;
    Ok((config, journal))
}

pub(super) fn show(
    config: &Path,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let (config, journal) = open(config)?;
    let account = Account::of(&config, &journal);
    if options.json {
        write_json(out, &account)?;
    } else {
        out.write_all(describe(&account).as_bytes()).map_err(OutputError)?;
    }
    Ok(Done::Well)
}

pub(super) fn acknowledge(config: &Path, out: &mut dyn Write) -> Result<Done, Failure> {
    let (config, mut journal) = open(config)?;
    let account = Account::of(&config, &journal);
    journal.acknowledge(&config.federation)?;
    writeln!(
        out,
        "acknowledged: {} rounds that {} stated stay charged; start the agent again",
        account.restored_rounds.map_or(0, |rounds| rounds.len()),
        account.restored_by.join(", ")
    )
    .map_err(OutputError)?;
    Ok(Done::Well)
}

fn describe(account: &Account) -> String {
    let number =
        |value: Option<u64>| value.map_or_else(|| "none".into(), |value| value.to_string());
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut rows = vec![
        row("federation", account.federation.clone()),
        row("spent", format!("rho = {:.6} of {:.6}", account.rho_spent, account.rho_cap)),
        row("last round", number(account.last_round)),
        row("last epoch", number(account.last_epoch)),
        row("vectors that left", account.rounds_released.to_string()),
        row("last ledger head", account.last_head.clone().unwrap_or_else(|| "none".into())),
    ];
    if account.rounds_interrupted > 0 {
        rows.push(row("cut short by a crash", format!("{}, charged", account.rounds_interrupted)));
    }
    for standing in &account.caps {
        let counted = (&standing.spent + &standing.reserved).as_rational().to_f64_up();
        let frees = standing.frees_at_s.map_or(String::new(), |second| {
            let second = i64::try_from(second).unwrap_or(i64::MAX);
            format!("; frees from {}", calendar::instant(second))
        });
        rows.push(row("cap", format!("{}: {counted:.6} counts{frees}", standing.cap)));
    }
    if let Some(rounds) = &account.restored_rounds {
        rows.push(row("restored rounds", rounds.len().to_string()));
        rows.push(row("stated by", account.restored_by.join(", ")));
    }
    let mut text = table(&rows);
    if account.restored_rounds.is_some() {
        text.push_str("This journal was an old one (a restored backup?). No round is answered\n");
        text.push_str(&format!("until you {ACKNOWLEDGE}.\n"));
    }
    text
}
