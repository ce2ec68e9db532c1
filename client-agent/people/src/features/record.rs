//! The record of one person: the clean events of their history at this store.

use std::collections::{BTreeMap, HashMap};

use chorale_plan::Pseudonym;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Kind};

/// What the agent keeps about one person. It is stored sealed and never leaves.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PersonRecord {
    /// Whether this store is the person's home, as every row that names one says. Only then does
    /// the person contribute to training here, so that everybody counts once in the federation.
    pub at_home: bool,
    /// The events by ascending time.
    pub events: Vec<StoredEvent>,
}

/// One event of a person.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// When, in Unix seconds.
    pub time_s: i64,
    /// The item's index in the catalogue.
    pub item: u32,
    /// What happened.
    pub kind: Kind,
    /// The person's baskets, counted from 0 in order of time.
    pub basket: u32,
    /// How many.
    pub quantity: f32,
    /// For how much money.
    pub amount: f64,
}

/// Gathers events into records.
#[derive(Default)]
pub struct Records(HashMap<Pseudonym, Gathered>);

#[derive(Default)]
struct Gathered {
    says_home: bool,
    says_elsewhere: bool,
    events: Vec<Event>,
}

crate::error::redacted!(PersonRecord, StoredEvent);

impl PersonRecord {
    /// The events strictly before `end_s` (Unix seconds).
    #[must_use]
    pub fn before(&self, end_s: i64) -> &[StoredEvent] {
        let end = self.events.partition_point(|event| event.time_s < end_s);
        &self.events[..end]
    }

    /// The events at or after `start_s` (Unix seconds).
    #[must_use]
    pub fn from(&self, start_s: i64) -> &[StoredEvent] {
        let start = self.events.partition_point(|event| event.time_s < start_s);
        &self.events[start..]
    }
}

impl Records {
    /// Adds one event to its person's record.
    pub fn add(&mut self, event: Event) {
        let person = self.0.entry(event.person).or_default();
        person.says_home |= event.at_home == Some(true);
        person.says_elsewhere |= event.at_home == Some(false);
        person.events.push(event);
    }

    /// Number of persons.
    #[must_use]
    pub fn persons(&self) -> usize {
        self.0.len()
    }

    /// The records by ascending pseudonym.
    #[must_use]
    pub fn finish(self) -> BTreeMap<Pseudonym, PersonRecord> {
        self.0.into_iter().map(|(who, person)| (who, person.record())).collect()
    }
}

impl Gathered {
    /// A person whose rows name two homes contributes nowhere: fail closed.
    fn record(mut self) -> PersonRecord {
        // Everything of an event takes part, so that the order of the files changes nothing.
        self.events.sort_by(|a, b| {
            (a.time_s, a.basket, a.item, a.kind)
                .cmp(&(b.time_s, b.basket, b.item, b.kind))
                .then(a.quantity.total_cmp(&b.quantity))
                .then(a.amount.total_cmp(&b.amount))
        });
        let mut baskets = HashMap::new();
        let events = self.events.iter().map(|event| {
            let next = baskets.len() as u32;
            StoredEvent {
                time_s: event.time_s,
                item: event.item,
                kind: event.kind,
                basket: *baskets.entry(event.basket).or_insert(next),
                quantity: event.quantity,
                amount: event.amount,
            }
        });
        let events = events.collect();
        PersonRecord { at_home: self.says_home && !self.says_elsewhere, events }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn event(person: u8, day: i64, item: u32, at_home: Option<bool>) -> Event {
        Event {
            time_s: day * 86_400,
            person: Pseudonym::from_bytes([person; 32]),
            at_home,
            kind: Kind::Purchase,
            item,
            quantity: 1.0,
            amount: 2.0,
            basket: day as u64 * 7919,
        }
    }

    #[test]
    fn records_are_sorted_and_homes_must_agree() {
        let mut records = Records::default();
        for given in [
            event(2, 9, 1, Some(true)),
            event(2, 3, 0, None),
            event(2, 9, 0, Some(true)),
            event(1, 4, 0, Some(true)),
            event(1, 5, 0, Some(false)),
            event(3, 5, 0, None),
        ] {
            records.add(given);
        }
        let records = records.finish();
        let homes: Vec<bool> = records.values().map(|record| record.at_home).collect();
        assert_eq!(homes, [false, true, false]);
        let two = &records[&Pseudonym::from_bytes([2; 32])];
        let seen: Vec<_> =
            two.events.iter().map(|e| (e.time_s / 86_400, e.item, e.basket)).collect();
        assert_eq!(seen, [(3, 0, 0), (9, 0, 1), (9, 1, 1)]);
        assert_eq!(two.before(9 * 86_400).len(), 1);
        assert_eq!(two.from(9 * 86_400).len(), 2);
    }

    #[test]
    fn the_order_of_the_rows_changes_nothing() {
        let rows = [event(2, 9, 1, None), event(2, 3, 0, None), event(2, 9, 0, None)];
        let gather = |order: [usize; 3]| {
            let mut records = Records::default();
            order.iter().for_each(|&at| records.add(rows[at]));
            records.finish()
        };
        assert_eq!(gather([0, 1, 2]), gather([2, 1, 0]));
    }
}
