//! Honest evaluation: temporal hold-out, full ranking over the declared catalogue, no sampled
//! negatives.
//!
//! The households of all stores lie together here, in the evaluator's memory only. That is what
//! an evaluation is, and why its figures are labelled so; no agent and no coordinator does this.

use std::collections::BTreeSet;

use chorale_client_agent::{features::Features, features::PersonRecord, observe::Kind};
use chorale_plan::Pseudonym;
use chorale_task::{
    Gram, MemoryPeople, Scorer, Weighting,
    metrics::{ndcg_at_k, paired_uplift, recall_at_k},
    top_k,
};

use crate::results::{Metric, Uplift};

/// Length of the ranked list that counts.
pub const CUT: usize = 20;

/// Bootstrap resamples of an uplift interval.
const RESAMPLES: usize = 2000;

/// Seed of the bootstrap, so that a report can be made again.
const BOOTSTRAP_SEED: u64 = 20_171_202;

/// Households with at most this many baskets before the window count as new customers.
const NEW_CUSTOMER_BASKETS: u32 = 10;

/// One household at its home store.
pub struct Household {
    /// The store, an index into [`Panel::stores`].
    pub store: usize,
    /// The household.
    pub who: Pseudonym,
    /// Items and number of baskets with each before the window, ascending.
    pub history: Vec<(u32, f32)>,
    /// Items and recency-weighted number of baskets, ascending.
    pub recent: Vec<(u32, f32)>,
    /// Baskets before the window.
    pub baskets: u32,
    /// Items bought in the window, ascending.
    pub bought: Vec<u32>,
    /// Those of them that it had not bought before, ascending.
    pub bought_new: Vec<u32>,
}

/// All households of all stores, before and in the window.
pub struct Panel {
    /// Store names, in the order of [`Household::store`].
    pub stores: Vec<String>,
    /// Households by store, then pseudonym.
    pub households: Vec<Household>,
    /// Items of the catalogue.
    pub items: usize,
}

/// Which purchases of the window count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only items that the household had not bought before; those are not recommended either.
    NewItems,
    /// Everything.
    AllItems,
}

impl Scope {
    /// As results and plots call it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NewItems => "new items",
            Self::AllItems => "all items",
        }
    }
}

/// Quality for each household of a panel; `None` where it bought nothing that counts.
#[derive(Clone, Debug)]
pub struct Quality {
    /// Recall@20.
    pub recall: Vec<Option<f64>>,
    /// NDCG@20.
    pub ndcg: Vec<Option<f64>>,
}

impl Panel {
    /// Puts the stores' home households together. `train_end_s` ends the history, the window is
    /// from there until `test_end_s` (Unix seconds).
    pub fn new<'a>(
        stores: impl IntoIterator<Item = (String, Vec<(Pseudonym, &'a PersonRecord)>)>,
        items: usize,
        train_end_s: i64,
        test_end_s: i64,
    ) -> Self {
        let mut panel = Self { stores: Vec::new(), households: Vec::new(), items };
        for (name, persons) in stores {
            let store = panel.stores.len();
            panel.stores.push(name);
            for (who, record) in persons.into_iter().filter(|(_, record)| record.at_home) {
                panel.households.push(household(store, who, record, train_end_s, test_end_s));
            }
        }
        panel
    }

    /// The households of `store` as a task sees them.
    #[must_use]
    pub fn people(&self, store: Option<usize>) -> MemoryPeople {
        let persons = self
            .households
            .iter()
            .filter(|household| store.is_none_or(|store| household.store == store))
            .filter(|household| !household.history.is_empty())
            // A household has one home, but pseudonyms of different keys could meet; the store
            // tells them apart.
            .map(|household| (household.who, household.history.clone()))
            .collect();
        MemoryPeople::new(persons).unwrap_or_else(|_| unreachable!("a household has one home"))
    }

    /// The Gram matrix of `store`, or of everybody in one place.
    #[must_use]
    pub fn gram(&self, store: Option<usize>) -> Gram {
        let covered: Vec<u32> = (0..self.items as u32).collect();
        Gram::pooled(&mut self.people(store), self.items as u32, &covered, Weighting::Binary)
    }

    /// A store's own popularity: Σ b/‖b‖ over its home households.
    #[must_use]
    pub fn local_popularity(&self, store: usize) -> Vec<f64> {
        let mut popularity = vec![0.0; self.items];
        for household in self.households.iter().filter(|household| household.store == store) {
            let norm = (household.history.len() as f64).sqrt();
            for (item, _) in &household.history {
                popularity[*item as usize] += 1.0 / norm;
            }
        }
        popularity
    }

    /// Evaluates one scorer for each household in both scopes, on both cores.
    pub fn evaluate<'a>(
        &self,
        scope: Scope,
        scores_of: impl Fn(&Household) -> Vec<f32> + Sync + 'a,
    ) -> Quality {
        let half = self.households.len().div_ceil(2).max(1);
        let parts: Vec<Vec<(Option<f64>, Option<f64>)>> = std::thread::scope(|threads| {
            let handles: Vec<_> = self
                .households
                .chunks(half)
                .map(|chunk| {
                    let scores_of = &scores_of;
                    threads.spawn(move || {
                        chunk.iter().map(|one| quality(one, scope, &scores_of(one))).collect()
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap_or_default()).collect()
        });
        let (recall, ndcg) = parts.into_iter().flatten().unzip();
        Quality { recall, ndcg }
    }

    /// Evaluates a scorer that reads the history.
    pub fn evaluate_scorer(&self, scope: Scope, scorer: &dyn Scorer) -> Quality {
        self.evaluate(scope, |household| scorer.scores(&household.history))
    }

    /// Groups of households for paired comparisons.
    #[must_use]
    pub fn groups(&self) -> Vec<(&'static str, Vec<usize>)> {
        let mut sizes: Vec<usize> = vec![0; self.stores.len()];
        for household in &self.households {
            sizes[household.store] += 1;
        }
        let mut sorted = sizes.clone();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let pick = |rule: &dyn Fn(&Household) -> bool| -> Vec<usize> {
            (0..self.households.len()).filter(|index| rule(&self.households[*index])).collect()
        };
        vec![
            ("all", pick(&|_| true)),
            ("small stores", pick(&|one| sizes[one.store] < median)),
            ("large stores", pick(&|one| sizes[one.store] >= median)),
            ("new customers", pick(&|one| one.baskets <= NEW_CUSTOMER_BASKETS)),
        ]
    }
}

impl Quality {
    /// Mean Recall@20, mean NDCG@20 and the number of households that count.
    #[must_use]
    pub fn means(&self) -> (f64, f64, u32) {
        let mean = |values: &[Option<f64>]| {
            let present: Vec<f64> = values.iter().flatten().copied().collect();
            (present.iter().sum::<f64>() / present.len().max(1) as f64, present.len() as u32)
        };
        let (recall, households) = mean(&self.recall);
        (recall, mean(&self.ndcg).0, households)
    }

    /// A row for the results.
    #[must_use]
    pub fn metric(
        &self,
        setting: &str,
        epsilon: Option<f64>,
        delta: Option<f64>,
        scope: Scope,
    ) -> Metric {
        let (recall_at_20, ndcg_at_20, households) = self.means();
        Metric {
            setting: setting.into(),
            epsilon,
            delta,
            scope: scope.text().into(),
            recall_at_20,
            ndcg_at_20,
            recall_spread: None,
            ndcg_spread: None,
            seeds: None,
            households,
        }
    }
}

/// The paired differences of `ours` against `theirs` in every group of the panel.
#[must_use]
pub fn uplifts(
    panel: &Panel,
    setting: &str,
    epsilon: Option<f64>,
    scope: Scope,
    ours: &Quality,
    theirs: &Quality,
) -> Vec<Uplift> {
    let mut rows = Vec::new();
    for (group, members) in panel.groups() {
        let pairs: Vec<(f64, f64)> = members
            .iter()
            .filter_map(|index| Some((ours.recall[*index]?, theirs.recall[*index]?)))
            .collect();
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let Ok(interval) = paired_uplift(&a, &b, RESAMPLES, BOOTSTRAP_SEED) else { continue };
        rows.push(Uplift {
            setting: setting.into(),
            epsilon,
            group: group.into(),
            scope: scope.text().into(),
            difference: interval.mean,
            low: interval.low,
            high: interval.high,
            beats: interval.excludes_zero_from_above(),
            households: a.len() as u32,
        });
    }
    rows
}

fn household(
    store: usize,
    who: Pseudonym,
    record: &PersonRecord,
    train_end_s: i64,
    test_end_s: i64,
) -> Household {
    let features = Features::of(record, train_end_s);
    let history = features.counts();
    let window = record.from(train_end_s).iter();
    let bought: BTreeSet<u32> = window
        .filter(|event| event.kind == Kind::Purchase && event.time_s < test_end_s)
        .map(|event| event.item)
        .collect();
    let had = |item: &u32| history.binary_search_by_key(item, |(item, _)| *item).is_ok();
    Household {
        store,
        who,
        bought_new: bought.iter().copied().filter(|item| !had(item)).collect(),
        bought: bought.into_iter().collect(),
        recent: features.recent_counts(),
        baskets: features.baskets,
        history,
    }
}

fn quality(one: &Household, scope: Scope, scores: &[f32]) -> (Option<f64>, Option<f64>) {
    let had: Vec<u32>;
    let (relevant, exclude): (&[u32], &[u32]) = match scope {
        Scope::AllItems => (&one.bought, &[]),
        Scope::NewItems => {
            had = one.history.iter().map(|(item, _)| *item).collect();
            (&one.bought_new, &had)
        }
    };
    if relevant.is_empty() {
        return (None, None);
    }
    let ranked = top_k(scores, exclude, CUT);
    (recall_at_k(&ranked, relevant, CUT), ndcg_at_k(&ranked, relevant, CUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel() -> Panel {
        let household = |store, number: u8, history: &[(u32, f32)], bought: &[u32]| Household {
            store,
            who: Pseudonym::from_bytes([number; 32]),
            history: history.to_vec(),
            recent: history.to_vec(),
            baskets: u32::from(number),
            bought: bought.to_vec(),
            bought_new: bought
                .iter()
                .copied()
                .filter(|item| history.iter().all(|(had, _)| had != item))
                .collect(),
        };
        Panel {
            stores: vec!["a".into(), "b".into()],
            households: vec![
                household(0, 1, &[(0, 2.0)], &[0, 1]),
                household(1, 2, &[(1, 1.0)], &[]),
                household(1, 30, &[(2, 1.0)], &[29]),
            ],
            items: 30,
        }
    }

    #[test]
    fn an_untouched_model_scores_at_chance_not_by_the_test_items() {
        // The leak of the literature: scores that say nothing must rank by index, so that only
        // what stands early by chance is hit.
        let panel = panel();
        let quality = panel.evaluate(Scope::NewItems, |_| vec![0.0; 30]);
        assert_eq!(quality.recall, vec![Some(1.0), None, Some(0.0)]);
    }

    #[test]
    fn bought_before_is_neither_relevant_nor_recommended_as_new() {
        let panel = panel();
        // Item 0 scores highest, but the first household had it.
        let scores: Vec<f32> = (0..30).map(|item| -(item as f32)).collect();
        let new = panel.evaluate(Scope::NewItems, |_| scores.clone());
        let all = panel.evaluate(Scope::AllItems, |_| scores.clone());
        assert_eq!(new.recall[0], Some(1.0));
        assert_eq!(all.recall[0], Some(1.0));
        assert!(all.ndcg[0] > Some(0.99) && new.ndcg[0] > Some(0.99));
        assert_eq!(new.means().2, 2);
    }

    #[test]
    fn groups_are_what_they_say() {
        let groups = panel().groups();
        assert_eq!(groups[0].1.len(), 3);
        assert_eq!(groups[1], ("small stores", vec![0]));
        assert_eq!(groups[2], ("large stores", vec![1, 2]));
        assert_eq!(groups[3], ("new customers", vec![0, 1]));
    }
}
