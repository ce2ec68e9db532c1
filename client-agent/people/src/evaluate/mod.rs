//! How well this agent would have served its own customers: judged on purchases that were kept
//! from it. Nothing leaves the store.
//!
//! Every candidate that a person did not buy is a negative unless a number of them is asked for;
//! figures over drawn negatives look better and may order methods wrongly (Krichene and Rendle,
//! KDD 2020), and the result says so.

mod judge;
mod split;

use std::collections::BTreeMap;

use chorale_plan::Pseudonym;
use chorale_task::{
    Catalogue, Model,
    metrics::{Confusion, Interval, mean, paired_uplift},
};
use serde::Serialize;

pub use split::{Split, last_days};

use crate::{
    error::Explain,
    features::PersonRecord,
    profiles::{Taste, TasteError, habit_due_s},
};
use judge::{Judged, judge};
use split::{Case, Cases};

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct Options {
    /// How purchases are kept back.
    pub split: Split,
    /// Lengths of the lists that are judged, each at least 1; the last one also classifies.
    pub lengths: Vec<usize>,
    /// So many negatives a person, drawn by the seed; all where `None`.
    pub negatives: Option<usize>,
    /// Seed of folds, drawn items and intervals.
    pub seed: u64,
}

/// Why there is nothing to say.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The stored model does not fit.
    #[error(transparent)]
    Taste(#[from] TasteError),
    /// Too few persons bought anything that was kept back.
    #[error("{judged} customers bought something that was kept back; an interval needs 2")]
    TooFew {
        /// How many did.
        judged: usize,
    },
}

/// Which purchases count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Items that the person had not bought before; those bought are no candidates.
    NewItems,
    /// All items.
    AllItems,
}

/// A way to rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// What most customers of this store buy, the same for everybody.
    Popular,
    /// What this agent says without the federation: own history and the store's popularity.
    StoreAlone,
    /// What this agent says: with the federation's model.
    Federation,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Persons with purchases.
    pub persons: usize,
    /// Items of the catalogue.
    pub items: usize,
    /// First instant that was kept back, Unix seconds; `None` where everybody has their own.
    pub cut_s: Option<i64>,
    /// Last event, Unix seconds.
    pub until_s: i64,
    /// Negatives drawn for each person; `None` for all of them.
    pub negatives: Option<usize>,
    /// By scope, then arm.
    pub rankings: Vec<Ranking>,
    /// Whether what was due was bought again; with a cut for everybody only.
    pub habits: Option<Classified>,
}

/// One way to rank, judged.
#[derive(Clone, Debug, Serialize)]
pub struct Ranking {
    /// Which purchases count.
    pub scope: Scope,
    /// How it was ranked.
    pub arm: Arm,
    /// Persons who bought something that counts.
    pub judged: usize,
    /// At each length.
    pub at: Vec<AtLength>,
    /// Mean area under the ROC curve, 0.5 for a guess; without persons who bought every candidate.
    pub auc: Option<Interval>,
    /// The longest list taken as a forecast of what is bought, over all persons and candidates.
    pub classified: Classified,
    /// Mean recall at the longest length in each fold, where there are folds.
    pub folds: Vec<f64>,
    /// Mean difference in recall at the longest length from [`Arm::StoreAlone`].
    pub uplift: Option<Interval>,
}

/// Means over persons at one length of list, with 95% intervals (bootstrap over persons).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AtLength {
    /// Length.
    pub k: usize,
    /// Share of what was bought that is in the list.
    pub recall: Interval,
    /// Gain that falls with the position.
    pub ndcg: Interval,
    /// Share of the list that was bought.
    pub precision: Interval,
    /// Share of persons who bought anything in the list.
    pub hit_rate: Interval,
}

/// A yes-or-no forecast, judged.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Classified {
    /// The counts.
    pub counts: Confusion,
    /// Share of right forecasts.
    pub accuracy: Option<f64>,
    /// Share of forecasts that happened.
    pub precision: Option<f64>,
    /// Share of what happened that was forecast.
    pub recall: Option<f64>,
    /// Harmonic mean of both.
    pub f1: Option<f64>,
}

impl From<Confusion> for Classified {
    fn from(counts: Confusion) -> Self {
        Self {
            counts,
            accuracy: counts.accuracy(),
            precision: counts.precision(),
            recall: counts.recall(),
            f1: counts.f1(),
        }
    }
}

/// Resamples of every interval.
const RESAMPLES: usize = 1000;

/// Ranks for everybody in `persons` as this agent would have done, and compares with what they
/// bought. `model` must have been trained without what is kept back, or its figures mean nothing.
///
/// # Errors
/// [`EvaluateError`].
pub fn evaluate(
    persons: &BTreeMap<Pseudonym, PersonRecord>,
    catalogue: &Catalogue,
    model: Option<&Model>,
    options: &Options,
) -> Result<Evaluation, EvaluateError> {
    let items = catalogue.len();
    let cases = Cases::new(persons, items, options.split, options.seed);
    let judged = cases.cases.iter().filter(|case| !case.bought.is_empty()).count();
    if judged < 2 {
        return Err(EvaluateError::TooFew { judged });
    }
    let alone = Taste::new(catalogue, &cases.bought_by[0], None)?;
    let federation =
        model.map(|model| Taste::new(catalogue, &cases.bought_by[0], Some(model))).transpose()?;
    let mut rankings = Vec::new();
    for scope in [Scope::NewItems, Scope::AllItems] {
        let mut baseline = None;
        for (arm, taste) in [
            (Arm::Popular, None),
            (Arm::StoreAlone, Some(&alone)),
            (Arm::Federation, federation.as_ref()),
        ] {
            if arm == Arm::Federation && taste.is_none() {
                continue;
            }
            let all = judge(&cases, taste, scope, options);
            let Some(ranking) = ranking(&all, arm, scope, baseline.as_deref(), options) else {
                continue;
            };
            rankings.push(ranking);
            if arm == Arm::StoreAlone {
                baseline = Some(all);
            }
        }
    }
    let cut_s = match options.split {
        Split::Temporal { cut_s } | Split::Folds { cut_s, .. } => Some(cut_s),
        Split::LeaveOneOut => None,
    };
    Ok(Evaluation {
        persons: cases.cases.len(),
        items,
        cut_s,
        until_s: cases.until_s,
        negatives: options.negatives,
        rankings,
        habits: cut_s.map(|cut_s| habits(&cases, cut_s).into()),
    })
}

/// The figures of one arm. `None` with fewer than two persons.
fn ranking(
    all: &[Option<Judged>],
    arm: Arm,
    scope: Scope,
    baseline: Option<&[Option<Judged>]>,
    options: &Options,
) -> Option<Ranking> {
    let judged: Vec<&Judged> = all.iter().flatten().collect();
    let over = |of: &dyn Fn(&Judged) -> f64| {
        interval(&judged.iter().map(|one| of(one)).collect::<Vec<f64>>(), options)
    };
    let mut at = Vec::new();
    for (n, &k) in options.lengths.iter().enumerate() {
        at.push(AtLength {
            k,
            recall: over(&|one| one.at[n].recall)?,
            ndcg: over(&|one| one.at[n].ndcg)?,
            precision: over(&|one| one.at[n].precision)?,
            hit_rate: over(&|one| one.at[n].hit)?,
        });
    }
    let longest = options.lengths.len().checked_sub(1)?;
    let areas: Vec<f64> = judged.iter().filter_map(|one| one.auc).collect();
    let mut counts = Confusion::default();
    for one in &judged {
        counts.true_positive += one.counts.true_positive;
        counts.false_positive += one.counts.false_positive;
        counts.false_negative += one.counts.false_negative;
        counts.true_negative += one.counts.true_negative;
    }
    let folds = match options.split {
        Split::Folds { folds, .. } => (0..folds)
            .map(|fold| {
                let inside = judged.iter().filter(|one| one.fold == fold);
                let recalls: Vec<f64> = inside.map(|one| one.at[longest].recall).collect();
                recalls.iter().sum::<f64>() / recalls.len().max(1) as f64
            })
            .collect(),
        _ => Vec::new(),
    };
    let recalls = |all: &[Option<Judged>]| -> Vec<f64> {
        all.iter().flatten().map(|one| one.at[longest].recall).collect()
    };
    let uplift = baseline.and_then(|theirs| {
        paired_uplift(&recalls(all), &recalls(theirs), RESAMPLES, options.seed).ok()
    });
    let (auc, judged) = (interval(&areas, options), judged.len());
    Some(Ranking { scope, arm, judged, at, auc, classified: counts.into(), folds, uplift })
}

fn interval(values: &[f64], options: &Options) -> Option<Interval> {
    mean(values, RESAMPLES, options.seed).ok()
}

/// For everything that somebody had bought often enough to have a rhythm: was it due before the
/// end, and was it bought from the cut on?
fn habits(cases: &Cases, cut_s: i64) -> Confusion {
    let mut counts = Confusion::default();
    for Case { features, bought, .. } in &cases.cases {
        for habit in features.items.iter().filter(|habit| habit.is_habit()) {
            let due = habit_due_s(habit, cut_s).is_some_and(|due_s| due_s <= cases.until_s);
            counts.add(due, bought.binary_search(&habit.item).is_ok());
        }
    }
    counts
}

impl Explain for EvaluateError {
    fn place(&self) -> String {
        "the ingested events".into()
    }

    fn remedy(&self) -> String {
        match self {
            Self::Taste(error) => error.remedy(),
            Self::TooFew { .. } => {
                "keep more back: an earlier --from, or more --days; or ingest more".into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
