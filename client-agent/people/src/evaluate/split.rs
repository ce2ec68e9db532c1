//! What is kept from the ranking, and what it is judged by.

use std::collections::{BTreeMap, BTreeSet};

use chorale_plan::Pseudonym;
use sha2::{Digest as _, Sha256};

use crate::{
    calendar::DAY_S,
    event::Kind,
    features::{Features, PersonRecord, StoredEvent},
};

/// How purchases are kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Everything from `cut_s` on (Unix seconds) is kept back, for everybody.
    Temporal {
        /// The first instant that is kept back.
        cut_s: i64,
    },
    /// As `Temporal`, and what the store's other customers bought comes from the other folds only:
    /// how it would serve people whom it has never counted.
    Folds {
        /// The first instant that is kept back.
        cut_s: i64,
        /// Number of folds, at least 2. A person's fold follows from pseudonym and seed.
        folds: u32,
    },
    /// Of each person's last basket one item is kept back, drawn by the seed, with everything at
    /// or after that basket's beginning. Others' purchases of later days are not kept back, so
    /// its figures are kinder than those of `Temporal`.
    LeaveOneOut,
}

/// One person who is judged.
pub(super) struct Case {
    pub(super) fold: u32,
    /// Items and baskets before the cut, ascending.
    pub(super) counts: Vec<(u32, f32)>,
    /// Items and recency-weighted baskets before the cut, ascending.
    pub(super) recent: Vec<(u32, f32)>,
    /// Items bought before the cut, ascending.
    pub(super) known: Vec<u32>,
    /// Items bought from the cut on, ascending.
    pub(super) bought: Vec<u32>,
    /// Draws this person's negatives.
    pub(super) seed: [u8; 32],
    pub(super) features: Features,
}

/// Everybody, and what each fold may know of the others.
pub(super) struct Cases {
    pub(super) cases: Vec<Case>,
    /// For each fold, how many persons outside it bought each item before the cut.
    pub(super) bought_by: Vec<Vec<u32>>,
    /// Last event that counts, Unix seconds.
    pub(super) until_s: i64,
}

impl Cases {
    /// `items` is the length of the catalogue.
    pub(super) fn new(
        persons: &BTreeMap<Pseudonym, PersonRecord>,
        items: usize,
        split: Split,
        seed: u64,
    ) -> Self {
        let folds = match split {
            Split::Folds { folds, .. } => folds.max(2),
            _ => 1,
        };
        let mut all = vec![0u32; items];
        let mut own = vec![vec![0u32; items]; folds as usize];
        let mut cases = Vec::new();
        let mut until_s = i64::MIN;
        for (who, record) in persons {
            let drawn = draw(*who, seed);
            let fold = (number(&drawn, 0) % u64::from(folds)) as u32;
            until_s = until_s.max(record.events.last().map_or(i64::MIN, |event| event.time_s));
            let Some((cut_s, bought)) = kept_back(record, split, &drawn) else { continue };
            let features = Features::of(record, cut_s);
            for habit in &features.items {
                all[habit.item as usize] += 1;
                own[fold as usize][habit.item as usize] += 1;
            }
            cases.push(Case {
                fold,
                counts: features.counts(),
                recent: features.recent_counts(),
                known: features.items.iter().map(|habit| habit.item).collect(),
                bought,
                seed: drawn,
                features,
            });
        }
        let bought_by = own
            .into_iter()
            .map(|own| match folds {
                1 => all.clone(),
                _ => all.iter().zip(own).map(|(all, own)| all - own).collect(),
            })
            .collect();
        Self { cases, bought_by, until_s }
    }
}

/// Where a person's history ends, and what is kept back. `None` for somebody without purchases.
fn kept_back(record: &PersonRecord, split: Split, drawn: &[u8; 32]) -> Option<(i64, Vec<u32>)> {
    let is_purchase = |event: &&StoredEvent| event.kind == Kind::Purchase;
    match split {
        Split::Temporal { cut_s } | Split::Folds { cut_s, .. } => {
            record.events.iter().find(is_purchase)?;
            let bought: BTreeSet<u32> =
                record.from(cut_s).iter().filter(is_purchase).map(|event| event.item).collect();
            Some((cut_s, bought.into_iter().collect()))
        }
        Split::LeaveOneOut => {
            let last = record.events.iter().rfind(is_purchase)?.basket;
            let basket: Vec<&StoredEvent> =
                record.events.iter().filter(is_purchase).filter(|e| e.basket == last).collect();
            let items: BTreeSet<u32> = basket.iter().map(|event| event.item).collect();
            let items: Vec<u32> = items.into_iter().collect();
            let one = items[(number(drawn, 1) % items.len() as u64) as usize];
            Some((basket.first()?.time_s, vec![one]))
        }
    }
}

/// Uniform bytes of one person under one seed.
fn draw(who: Pseudonym, seed: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"chorale evaluate");
    hash.update(seed.to_le_bytes());
    hash.update(who.as_bytes());
    hash.finalize().into()
}

fn number(drawn: &[u8; 32], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&drawn[8 * at..8 * at + 8]);
    u64::from_le_bytes(bytes)
}

/// `count` different items below `items`, drawn uniformly without `taken` (ascending); all that
/// there are where there are no more. Ascending.
pub(super) fn negatives(seed: &[u8; 32], items: u32, taken: &[u32], count: usize) -> Vec<u32> {
    let free = items as usize - taken.len();
    let is_free = |item: &u32| taken.binary_search(item).is_err();
    if free <= count {
        return (0..items).filter(is_free).collect();
    }
    let mut drawn = BTreeSet::new();
    let mut block = 0u64;
    while drawn.len() < count {
        let bytes: [u8; 32] =
            Sha256::new().chain_update(seed).chain_update(block.to_le_bytes()).finalize().into();
        for at in 0..4 {
            // The remainder's bias is below 2^-32.
            let item = (number(&bytes, at) % u64::from(items)) as u32;
            if drawn.len() < count && is_free(&item) {
                drawn.insert(item);
            }
        }
        block += 1;
    }
    drawn.into_iter().collect()
}

/// The cut that keeps the last `days` days back.
#[must_use]
pub fn last_days(persons: &BTreeMap<Pseudonym, PersonRecord>, days: u32) -> Option<i64> {
    let last =
        persons.values().filter_map(|record| record.events.last()).map(|e| e.time_s).max()?;
    Some(last + 1 - i64::from(days) * DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(day: i64, item: u32, basket: u32) -> StoredEvent {
        let time_s = day * DAY_S;
        StoredEvent {
            time_s,
            item,
            kind: Kind::Purchase,
            basket,
            quantity: 1.0,
            amount: 1.0,
            discount: 0.0,
            channel: 0,
        }
    }

    fn persons() -> BTreeMap<Pseudonym, PersonRecord> {
        (0..40u8)
            .map(|who| {
                let own = u32::from(who % 4);
                let events =
                    vec![bought(1, own, 0), bought(5, 4, 1), bought(9, 5, 2), bought(9, own, 2)];
                (Pseudonym::from_bytes([who; 32]), PersonRecord { at_home: true, events })
            })
            .collect()
    }

    #[test]
    fn the_cut_divides_past_and_future() {
        let cases = Cases::new(&persons(), 6, Split::Temporal { cut_s: 5 * DAY_S }, 1);
        assert_eq!((cases.cases.len(), cases.until_s), (40, 9 * DAY_S));
        for case in &cases.cases {
            assert_eq!(case.known.len(), 1);
            assert_eq!(case.bought, [case.known[0], 4, 5]);
        }
        // Nobody had bought items 4 and 5 yet.
        assert_eq!(cases.bought_by, [[10, 10, 10, 10, 0, 0]]);
    }

    #[test]
    fn a_fold_knows_nothing_of_itself() {
        let split = Split::Folds { cut_s: 9 * DAY_S, folds: 4 };
        let cases = Cases::new(&persons(), 6, split, 7);
        assert_eq!(cases.bought_by.len(), 4);
        for fold in 0..4 {
            let inside = cases.cases.iter().filter(|case| case.fold == fold).count() as u32;
            assert!(inside > 0, "every fold has somebody under this seed");
            assert_eq!(cases.bought_by[fold as usize][4], 40 - inside);
        }
        let again = Cases::new(&persons(), 6, split, 7);
        assert!(cases.cases.iter().zip(&again.cases).all(|(a, b)| a.fold == b.fold));
    }

    #[test]
    fn one_item_of_the_last_basket_is_kept_back() {
        let cases = Cases::new(&persons(), 6, Split::LeaveOneOut, 1);
        let mut seen = BTreeSet::new();
        for case in &cases.cases {
            assert_eq!(case.known.len(), 2, "the last basket is not known");
            assert_eq!(case.bought.len(), 1);
            seen.insert(case.bought[0]);
        }
        assert!(seen.contains(&5) && seen.len() > 1, "either item may be drawn");
    }

    #[test]
    fn negatives_are_free_different_and_spread() {
        let taken = [0, 7, 99];
        let drawn = negatives(&[3; 32], 100, &taken, 20);
        assert_eq!(drawn.len(), 20);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(drawn.iter().all(|item| taken.binary_search(item).is_err()));
        assert_ne!(drawn, negatives(&[4; 32], 100, &taken, 20));
        assert_eq!(negatives(&[3; 32], 5, &[1, 2], 20), [0, 3, 4]);
        assert_eq!(negatives(&[3; 32], 5, &[1, 2], 3), [0, 3, 4]);
    }

    #[test]
    fn the_last_days_end_with_the_last_event() {
        assert_eq!(last_days(&persons(), 1), Some(8 * DAY_S + 1));
        assert_eq!(last_days(&BTreeMap::new(), 1), None);
    }
}
