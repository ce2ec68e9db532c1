//! The persons whose parts this agent may contribute, as tasks take them.

use std::collections::BTreeSet;

use chorale_plan::Pseudonym;
use chorale_task::{People, Person};

use super::{Features, PersonRecord};

/// Whose parts count at this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Home customers: each person counts at one agent.
    AtHome,
    /// Everybody whom this store knows: each person counts at several agents, at each with a part.
    Everybody,
}

impl Who {
    /// Whose parts count in plans with this M_cap.
    #[must_use]
    pub fn of(stores_max: u32) -> Self {
        if stores_max > 1 { Self::Everybody } else { Self::AtHome }
    }
}

/// Persons with at least one purchase in the window, by ascending pseudonym.
#[derive(Clone, Default)]
pub struct Contributors {
    persons: Vec<(Pseudonym, Vec<(u32, f32)>)>,
    next: usize,
}

crate::error::redacted!(Contributors);

impl Contributors {
    /// Picks the contributors out of records: only `who`, only purchases strictly
    /// before `end_s` (Unix seconds). A person's count of an item is the number of their baskets
    /// with it. Later records of a pseudonym that is already there are left out.
    #[must_use]
    pub fn of<'a>(
        records: impl IntoIterator<Item = (Pseudonym, &'a PersonRecord)>,
        who: Who,
        end_s: i64,
    ) -> Self {
        let mut seen = BTreeSet::new();
        let mut persons: Vec<_> = records
            .into_iter()
            .filter(|(_, record)| who == Who::Everybody || record.at_home)
            .filter(|(who, _)| seen.insert(*who))
            .map(|(who, record)| (who, Features::of(record, end_s).counts()))
            .filter(|(_, items)| !items.is_empty())
            .collect();
        persons.sort_by_key(|(who, _)| *who);
        Self { persons, next: 0 }
    }

    /// Number of persons. It stays at the agent: a plan's cap is judged against it here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.persons.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.persons.is_empty()
    }

    /// Starts again at the first person.
    pub fn rewind(&mut self) {
        self.next = 0;
    }
}

impl People for Contributors {
    fn next_person(&mut self) -> Option<Person<'_>> {
        let (who, items) = self.persons.get(self.next)?;
        self.next += 1;
        Some(Person { who: *who, items })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::gather::tests::{event, gathered};

    #[test]
    fn only_home_customers_before_the_end_of_the_window() {
        let records = gathered([
            event(9, 1, 4, Some(true)),
            event(9, 2, 4, Some(true)),
            event(9, 2, 1, Some(true)),
            event(9, 8, 2, Some(true)),
            event(3, 1, 0, Some(true)),
            event(4, 1, 0, Some(false)),
            event(5, 1, 0, None),
            event(6, 8, 0, Some(true)),
        ]);
        let borrowed = records.iter().map(|(who, record)| (*who, record));
        let mut people = Contributors::of(borrowed.clone(), Who::AtHome, 8 * 86_400);
        assert_eq!(people.len(), 2);
        let first = people.next_person().unwrap();
        assert_eq!((first.who.as_bytes()[0], first.items), (3, &[(0, 1.0)][..]));
        let second = people.next_person().unwrap();
        assert_eq!((second.who.as_bytes()[0], second.items), (9, &[(1, 1.0), (4, 2.0)][..]));
        assert!(people.next_person().is_none());
        people.rewind();
        assert!(people.next_person().is_some());
        // Where persons are divided, those of other homes and of none count too.
        assert_eq!(Contributors::of(borrowed, Who::Everybody, 8 * 86_400).len(), 4);
    }
}
