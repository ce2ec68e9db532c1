//! `evaluate`.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use chorale_people::{
    evaluate::{self, Arm, Classified, Evaluation, Options, Ranking, Scope, Split, last_days},
    live::Purpose,
};
use chorale_task::metrics::Interval;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Agent, Done, OutputError, evaluation_page, table, thousands, write_json};
use crate::{
    calendar,
    error::{Explain, Failure},
};

#[derive(Debug, Args)]
pub(super) struct EvaluateOptions {
    /// How purchases are kept back.
    #[arg(long, value_enum, default_value_t = SplitName::Temporal)]
    split: SplitName,
    /// Keep everything from this instant on back, as 2017-12-02T05:00:00Z. Without it, what
    /// 'events_before' in the configuration holds out; else the last days.
    #[arg(long, value_name = "INSTANT", conflicts_with = "days", value_parser = instant)]
    from: Option<i64>,
    /// Keep so many last days back.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3660))]
    days: Option<u32>,
    /// Number of folds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100))]
    folds: u32,
    /// Lengths of the lists that are judged.
    #[arg(long, value_delimiter = ',', default_value = "5,10,20", value_parser = clap::value_parser!(u16).range(1..=1000))]
    top: Vec<u16>,
    /// Judge against so many drawn items a customer instead of all that were not bought. It is
    /// faster on large catalogues, flatters, and may order methods wrongly.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    negatives: Option<u32>,
    /// Seed of folds, draws and intervals: the same figures again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Write the figures as a page for people, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SplitName {
    /// Everything from an instant on is kept back.
    Temporal,
    /// The same, and the store's popularity comes from other customers only.
    Folds,
    /// One item of each customer's last basket is kept back.
    LeaveOneOut,
}

/// There is nothing to judge by.
#[derive(Debug, thiserror::Error)]
#[error("no purchase was ingested")]
struct NoPurchases;

/// The page cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the page cannot be written")]
struct PageError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    evaluation: Evaluation,
    /// Why the federation's model was not judged.
    federation_left_out: Option<&'static str>,
}

const NO_MODEL: &str = "there is no model of the federation yet";

const LEAKS: &str = "its training may have seen what is kept back; set 'events_before' in the \
                     configuration to the instant or earlier, before the rounds";

pub(super) fn evaluate(
    config: &Path,
    options: &EvaluateOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let store = agent.store()?;
    let served = agent.config.served();
    store.require_served(&agent.catalogue.digest(), served)?;
    let asks_first = agent.config.serve.asks_first(Purpose::Personalisation);
    let persons = store.people(Purpose::Personalisation, &agent.catalogue, asks_first)?;

    let held_out_s = agent.config.held_out_from_s();
    let cut_s = options.from.or(match options.days {
        Some(days) => last_days(&persons, days),
        None => held_out_s.or_else(|| last_days(&persons, 30)),
    });
    let cut_s = cut_s.ok_or(NoPurchases)?;
    let split = match options.split {
        SplitName::Temporal => Split::Temporal { cut_s },
        SplitName::Folds => Split::Folds { cut_s, folds: options.folds },
        SplitName::LeaveOneOut => Split::LeaveOneOut,
    };
    let model = store.model()?;
    let is_clean =
        split != Split::LeaveOneOut && held_out_s.is_some_and(|held_out_s| held_out_s <= cut_s);
    let left_out = match (&model, is_clean) {
        (None, _) => Some(NO_MODEL),
        (Some(_), false) => Some(LEAKS),
        (Some(_), true) => None,
    };
    let mut lengths: Vec<usize> = options.top.iter().map(|&length| length.into()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let asked = Options {
        split,
        lengths,
        negatives: options.negatives.map(|count| count as usize),
        seed: options.seed,
    };
    let model = model.as_ref().filter(|_| left_out.is_none());
    let evaluation = evaluate::evaluate(&persons, &agent.catalogue, model, &asked)?;
    if let Some(path) = &options.html {
        let page = evaluation_page::page(agent.config.agent.as_str(), &evaluation, left_out);
        fs::write(path, page).map_err(|source| PageError { path: path.clone(), source })?;
    }
    if options.json {
        write_json(out, &Answer { evaluation, federation_left_out: left_out })?;
    } else {
        out.write_all(describe(&evaluation, left_out).as_bytes()).map_err(OutputError)?;
    }
    Ok(Done::Well)
}

fn instant(text: &str) -> Result<i64, &'static str> {
    calendar::parse(text).ok_or("an instant in UTC like '2017-12-02T05:00:00Z'")
}

fn describe(evaluation: &Evaluation, left_out: Option<&str>) -> String {
    let mut text = kept_back(evaluation) + "\n";
    for (scope, title) in SCOPES {
        let rankings = of_scope(evaluation, scope);
        let Some(first) = rankings.first() else {
            text += &format!("\n{title}: fewer than two customers bought one.\n");
            continue;
        };
        text += &format!("\n{title} ({} customers)\n", thousands(first.judged as u64));
        text += &table(&ranking_rows(&rankings));
        for ranking in rankings {
            text += &verdict(ranking);
        }
    }
    if let Some(habits) = &evaluation.habits {
        text += &format!(
            "\nHabits: is what is due bought?\n{}",
            table(&[classified_heads(), classified_row("habits", habits)])
        );
    }
    if let Some(why) = left_out {
        text += &format!("\nThe federation's model is not judged: {why}.\n");
    }
    text + "\nIntervals are of 95%, over customers. They say nothing of other seasons.\n"
}

pub(super) const SCOPES: [(Scope, &str); 2] = [
    (Scope::NewItems, "Items that the customer had not bought before"),
    (Scope::AllItems, "All items"),
];

pub(super) fn of_scope(evaluation: &Evaluation, scope: Scope) -> Vec<&Ranking> {
    evaluation.rankings.iter().filter(|ranking| ranking.scope == scope).collect()
}

/// What was kept back, of how many, and against what it was ranked.
pub(super) fn kept_back(evaluation: &Evaluation) -> String {
    let until = calendar::date(evaluation.until_s);
    let mut text = match evaluation.cut_s {
        Some(cut_s) => format!("Kept back: {} to {until}.", calendar::instant(cut_s)),
        None => format!("Kept back: one item of each customer's last basket, until {until}."),
    };
    text += &format!(
        " {} customers, {} items.",
        thousands(evaluation.persons as u64),
        thousands(evaluation.items as u64)
    );
    if let Some(count) = evaluation.negatives {
        text += &format!("\nAgainst {count} drawn items a customer: these figures flatter.");
    }
    text
}

/// A head, and a row for each way to rank and length.
pub(super) fn ranking_rows(rankings: &[&Ranking]) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["", "k", "recall@k", "95%", "NDCG@k", "precision@k", "HR@k", "AUC", "accuracy", "F1"]
            .map(String::from)
            .to_vec(),
    ];
    for ranking in rankings {
        for (n, at) in ranking.at.iter().enumerate() {
            let last = n + 1 == ranking.at.len();
            let only_last = |text: String| if last { text } else { String::new() };
            rows.push(vec![
                if n == 0 { arm_name(ranking.arm).to_owned() } else { String::new() },
                at.k.to_string(),
                number(at.recall.mean),
                range(&at.recall),
                number(at.ndcg.mean),
                number(at.precision.mean),
                number(at.hit_rate.mean),
                only_last(ranking.auc.as_ref().map_or("-".into(), |auc| number(auc.mean))),
                only_last(optional(ranking.classified.accuracy)),
                only_last(optional(ranking.classified.f1)),
            ]);
        }
    }
    rows
}

/// What may be said of the difference.
pub(super) fn verdict(ranking: &Ranking) -> String {
    let mut text = String::new();
    if let Some(uplift) = &ranking.uplift {
        let said = match (uplift.low > 0.0, uplift.high < 0.0) {
            (true, _) => "better than the store alone",
            (_, true) => "worse than the store alone",
            _ => "cannot be told from the store alone",
        };
        text += &format!(
            "  {}: {:+.4} recall {}: {said}\n",
            arm_name(ranking.arm),
            uplift.mean,
            range(uplift)
        );
    }
    if !ranking.folds.is_empty() {
        let folds: Vec<String> = ranking.folds.iter().map(|&recall| number(recall)).collect();
        text += &format!("  {}: recall by fold {}\n", arm_name(ranking.arm), folds.join(" "));
    }
    text
}

pub(super) fn classified_heads() -> Vec<String> {
    ["", "forecasts", "accuracy", "precision", "recall", "F1"].map(String::from).to_vec()
}

pub(super) fn classified_row(name: &str, it: &Classified) -> Vec<String> {
    vec![
        name.to_owned(),
        thousands(it.counts.all()),
        optional(it.accuracy),
        optional(it.precision),
        optional(it.recall),
        optional(it.f1),
    ]
}

pub(super) fn arm_name(arm: Arm) -> &'static str {
    match arm {
        Arm::Popular => "most bought here",
        Arm::StoreAlone => "store alone",
        Arm::Federation => "with the federation",
    }
}

fn number(value: f64) -> String {
    format!("{value:.4}")
}

fn optional(value: Option<f64>) -> String {
    value.map_or("-".into(), number)
}

fn range(interval: &Interval) -> String {
    format!("[{:.4}, {:.4}]", interval.low, interval.high)
}

impl Explain for PageError {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn remedy(&self) -> String {
        "check the directory, its owner and its free space".into()
    }
}

impl Explain for NoPurchases {
    fn place(&self) -> String {
        "the agent's data".into()
    }

    fn remedy(&self) -> String {
        "run `client-agent ingest` first".into()
    }
}
