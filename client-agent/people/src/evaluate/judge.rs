//! Ranks for one person after another, and judges.

use std::num::NonZero;

use chorale_task::{
    metrics::{Confusion, auc, hit_at_k, ndcg_at_k, precision_at_k, recall_at_k},
    top_k,
};

use super::{
    Options, Scope,
    split::{Case, Cases, negatives},
};
use crate::profiles::Taste;

/// One person, judged.
pub(super) struct Judged {
    pub(super) fold: u32,
    /// At each length of list.
    pub(super) at: Vec<At>,
    pub(super) auc: Option<f64>,
    /// The longest list as a forecast.
    pub(super) counts: Confusion,
}

pub(super) struct At {
    pub(super) recall: f64,
    pub(super) ndcg: f64,
    pub(super) precision: f64,
    pub(super) hit: f64,
}

/// Everybody in the order of `cases`; `None` for whoever bought nothing that counts. Without a
/// taste it is what most customers buy.
pub(super) fn judge(
    cases: &Cases,
    taste: Option<&Taste>,
    scope: Scope,
    options: &Options,
) -> Vec<Option<Judged>> {
    let tastes: Vec<Option<Taste>> = cases
        .bought_by
        .iter()
        .map(|bought_by| taste.map(|taste| taste.with_popularity(bought_by)))
        .collect();
    let one = |case: &Case| {
        let scores = match &tastes[case.fold as usize] {
            None => cases.bought_by[case.fold as usize].iter().map(|&n| n as f32).collect(),
            Some(taste) => taste.blend(&case.recent, &case.counts),
        };
        judge_one(case, &scores, scope, options)
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = cases.cases.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = cases
            .cases
            .chunks(share)
            .map(|part| scope.spawn(|| part.iter().map(&one).collect::<Vec<_>>()))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn judge_one(case: &Case, scores: &[f32], scope: Scope, options: &Options) -> Option<Judged> {
    let no_candidates: &[u32] = match scope {
        Scope::NewItems => &case.known,
        Scope::AllItems => &[],
    };
    let is_candidate = |item: &u32| no_candidates.binary_search(item).is_err();
    let relevant: Vec<u32> = case.bought.iter().copied().filter(is_candidate).collect();
    if relevant.is_empty() {
        return None;
    }
    let items = scores.len() as u32;
    let candidates: Vec<u32> = match options.negatives {
        None => (0..items).filter(is_candidate).collect(),
        Some(count) => {
            let mut taken = [no_candidates, &relevant].concat();
            taken.sort_unstable();
            let mut candidates = negatives(&case.seed, items, &taken, count);
            candidates.extend(&relevant);
            candidates.sort_unstable();
            candidates
        }
    };
    let longest = options.lengths.last().copied()?;
    // Positions among the candidates, in the order in which `top_k` breaks ties.
    let own: Vec<f32> = candidates.iter().map(|item| scores[*item as usize]).collect();
    let ranked: Vec<u32> =
        top_k(&own, &[], longest).into_iter().map(|place| candidates[place as usize]).collect();
    let at = options
        .lengths
        .iter()
        .map(|&k| {
            Some(At {
                recall: recall_at_k(&ranked, &relevant, k)?,
                ndcg: ndcg_at_k(&ranked, &relevant, k)?,
                precision: precision_at_k(&ranked, &relevant, k)?,
                hit: hit_at_k(&ranked, &relevant, k)?,
            })
        })
        .collect::<Option<_>>()?;
    let mut labelled: Vec<(f32, bool)> = candidates
        .iter()
        .zip(&own)
        .map(|(item, score)| (*score, relevant.binary_search(item).is_ok()))
        .collect();
    let hits = ranked.iter().filter(|item| relevant.binary_search(item).is_ok()).count() as u64;
    let (forecast, happened) = (ranked.len() as u64, relevant.len() as u64);
    let counts = Confusion {
        true_positive: hits,
        false_positive: forecast - hits,
        false_negative: happened - hits,
        true_negative: candidates.len() as u64 + hits - forecast - happened,
    };
    Some(Judged { fold: case.fold, at, auc: auc(&mut labelled), counts })
}
