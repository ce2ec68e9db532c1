//! However events are cut into readings, runs and files, the records are the same.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    event::{Event, Kind},
    features::PersonRecord,
    retention::{Retention, Subject},
};

pub(crate) fn event(person: u8, day: i64, item: u32, at_home: Option<bool>) -> Event {
    Event {
        time_s: day * 86_400,
        person: Pseudonym::from_bytes([person; 32]),
        at_home,
        kind: Kind::Purchase,
        item,
        quantity: 1.0,
        amount: 2.0,
        discount: item as f32 / 4.0,
        channel: day as u32,
        basket: day as u64 * 7919,
        id: 0,
    }
}

type Persons = BTreeMap<Pseudonym, Assembled>;

/// What came of some rows, with at most `bytes_max` in memory, added to what was there before.
fn read(rule: RepeatedId, bytes_max: usize, before: &Persons, rows: &[Said]) -> (Persons, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut gather = Gather::new(dir.path(), bytes_max, rule);
    for (number, said) in rows.iter().enumerate() {
        gather.add(*said, At::row(number as u64 + 1)).unwrap();
    }
    let gathered = gather.finish();
    let runs = gathered.runs();
    let mut persons = Persons::new();
    let earlier = Stored(before.iter().collect::<Vec<_>>(), 0);
    let kept = |chunk: Vec<(Pseudonym, Assembled)>| {
        persons.extend(chunk);
        Ok::<_, SpillError>(())
    };
    gathered.persons(earlier, kept).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing stays");
    (persons, runs)
}

struct Stored<'a>(Vec<(&'a Pseudonym, &'a Assembled)>, usize);

impl Earlier<SpillError> for Stored<'_> {
    fn next(&self) -> Option<Pseudonym> {
        self.0.get(self.1).map(|(who, _)| **who)
    }

    fn take(&mut self, into: &mut Vec<Held>) -> Result<(), SpillError> {
        let (_, person) = self.0[self.1];
        Held::earlier(&person.record, &person.origin, into);
        self.1 += 1;
        Ok(())
    }
}

/// The records of these events.
pub(crate) fn gathered<const N: usize>(events: [Event; N]) -> BTreeMap<Pseudonym, PersonRecord> {
    let rows: Vec<Said> = events.map(Said::Happened).into();
    let (persons, _) = read(RepeatedId::SetAside, usize::MAX, &Persons::new(), &rows);
    persons.into_iter().map(|(who, person)| (who, person.record)).collect()
}

#[test]
fn records_are_sorted_and_homes_must_agree() {
    let records = gathered([
        event(2, 9, 1, Some(true)),
        event(2, 3, 0, None),
        event(2, 9, 0, Some(true)),
        event(1, 4, 0, Some(true)),
        event(1, 5, 0, Some(false)),
        event(3, 5, 0, None),
    ]);
    let homes: Vec<bool> = records.values().map(|record| record.at_home).collect();
    assert_eq!(homes, [false, true, false]);
    let two = &records[&Pseudonym::from_bytes([2; 32])];
    let seen: Vec<_> = two.events.iter().map(|e| (e.time_s / 86_400, e.item, e.basket)).collect();
    assert_eq!(seen, [(3, 0, 0), (9, 0, 1), (9, 1, 1)]);
    assert_eq!(two.before(9 * 86_400).len(), 1);
    assert_eq!(two.from(9 * 86_400).len(), 2);
}

#[test]
fn a_repeated_id_is_a_fault_or_a_correction() {
    let first = Event { id: 7, ..event(1, 3, 0, Some(true)) };
    let second = Event { quantity: 5.0, ..first };
    let taken_back = Said::TakenBack { person: first.person, id: 7 };
    let one = |rule, rows: &[Said]| {
        let (persons, _) = read(rule, usize::MAX, &Persons::new(), rows);
        persons.into_values().next().unwrap()
    };
    let rows = [Said::Happened(first), Said::Happened(second)];
    let kept = one(RepeatedId::SetAside, &rows);
    assert_eq!((kept.record.events.len(), kept.record.events[0].quantity), (1, 1.0));
    assert_eq!((kept.repeated, kept.corrected), (vec![At::row(2)], 0));
    let kept = one(RepeatedId::Correct, &rows);
    assert_eq!((kept.record.events.len(), kept.record.events[0].quantity), (1, 5.0));
    assert_eq!((kept.repeated, kept.corrected), (vec![], 1));
    let kept = one(RepeatedId::Correct, &[Said::Happened(first), taken_back]);
    assert!(kept.record.events.is_empty() && kept.record.at_home);
}

#[test]
fn expiry_leaves_what_reading_only_the_rest_would_have_left() {
    let cut = Retention::days([(Subject::Events, 10)]).at(15 * 86_400).unwrap();
    let rows: Vec<Said> = [
        Event { id: 3, ..event(1, 4, 1, Some(true)) },
        event(1, 4, 2, Some(true)),
        Event { id: 9, ..event(1, 5, 0, Some(true)) },
        event(1, 7, 1, Some(true)),
    ]
    .map(Said::Happened)
    .into();
    let all = read(RepeatedId::SetAside, usize::MAX, &Persons::new(), &rows).0;
    let rest = read(RepeatedId::SetAside, usize::MAX, &Persons::new(), &rows[2..]).0;
    let mut person = all.into_values().next().unwrap();
    assert_eq!(person.expire(&cut), 2);
    let rest = rest.into_values().next().unwrap();
    assert!(person.record == rest.record && person.origin == rest.origin);
    assert_eq!((person.origin.baskets.len(), person.origin.ids.len()), (2, 2));
    assert_eq!(person.expire(&cut), 0);
}

#[test]
fn places_survive_their_encoding() {
    for at in [At::row(5), At::line(3, 1 << 35, 9), At::line(0, 1, 9)] {
        assert_eq!(At::from_bits(at.to_bits()), at);
    }
    assert_eq!(At::row(5).parts(), (None, 5));
    assert_eq!(At::line(3, 77, 9).parts(), (Some(3), 77));
    assert_eq!(At::line(1 << 30, 77, 9).parts(), (None, 9));
}

#[test]
fn runs_are_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = Spill::new(dir.path()).unwrap();
    let who = Pseudonym::from_bytes([0xAB; 32]);
    let (_, held) = Held::of(Said::Happened(event(1, 1, 1, None)), At::row(1));
    spill.run(&[(who, vec![held; 3])]).unwrap();
    let sealed = spill.bytes();
    assert!(sealed.len() > 3 * 82 && !sealed.windows(8).any(|bytes| bytes == [0xAB; 8]));
    let mut back = Vec::new();
    spill.readers().unwrap()[0].take(&mut back).unwrap();
    assert_eq!(back.len(), 3);
}

fn said() -> impl Strategy<Value = Said> {
    let home = prop_oneof![Just(None), Just(Some(true)), Just(Some(false))];
    (0u8..4, 0i64..4, 0u32..3, 0u64..6, 0usize..7, home, 0u64..3).prop_map(
        |(person, day, item, id, kind, at_home, basket)| {
            let event = event(person, day, item, at_home);
            match Kind::ALL.get(kind) {
                Some(kind) => Said::Happened(Event { kind: *kind, id, basket, ..event }),
                None => Said::TakenBack { person: event.person, id: id + 1 },
            }
        },
    )
}

proptest! {
    /// Adding to what was read earlier, with whatever memory, equals reading all at once.
    #[test]
    fn cutting_changes_nothing(
        rows in prop::collection::vec(said(), 0..60),
        cut in 0usize..60,
        bytes_max in prop_oneof![Just(0usize), Just(500), Just(2000), Just(usize::MAX)],
        correct in any::<bool>(),
    ) {
        let rule = if correct { RepeatedId::Correct } else { RepeatedId::SetAside };
        let happened = |said: &Said| correct || matches!(said, Said::Happened(_));
        let rows: Vec<Said> = rows.into_iter().filter(happened).collect();
        let (whole, _) = read(rule, usize::MAX, &Persons::new(), &rows);
        let (first, second) = rows.split_at(cut.min(rows.len()));
        let (before, _) = read(rule, bytes_max, &Persons::new(), first);
        let (after, runs) = read(rule, bytes_max, &before, second);
        prop_assert!(runs > 0 || bytes_max > 0 || second.is_empty());
        prop_assert_eq!(whole.len(), after.len());
        for ((who, one), (other, two)) in whole.iter().zip(&after) {
            prop_assert!(who == other && one.record == two.record && one.origin == two.origin);
        }
    }

    /// The order of the rows matters only where ids repeat.
    #[test]
    fn the_order_of_the_rows_changes_nothing(
        rows in prop::collection::vec(said(), 0..40),
        shift in 0usize..40,
    ) {
        let unnamed = |said: &Said| match *said {
            Said::Happened(event) => Said::Happened(Event { id: 0, ..event }),
            taken_back => taken_back,
        };
        let mut rows: Vec<Said> = rows.iter().map(unnamed).collect();
        let (one, _) = read(RepeatedId::SetAside, usize::MAX, &Persons::new(), &rows);
        let middle = shift.min(rows.len());
        rows.rotate_left(middle);
        let (two, _) = read(RepeatedId::SetAside, usize::MAX, &Persons::new(), &rows);
        prop_assert!(one.iter().zip(&two).all(|(a, b)| a.0 == b.0 && a.1.record == b.1.record));
    }
}
