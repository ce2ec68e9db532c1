//! What came together: the figures that decide whether it is put into force, and profiles need.

use super::{Assembled, At};
use crate::{event::Kind, quality::FIRST_ROWS, retention::Expired};

/// What came together, before it is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Persons.
    pub persons: u64,
    /// Persons at home here.
    pub home_persons: u64,
    /// Last event inside the window, Unix seconds; 0 without any.
    pub last_event_s: i64,
    /// For each item of the catalogue, how many persons bought it inside the window.
    pub bought_by: Vec<u32>,
    /// Rows that were set aside because of a repeated id.
    pub repeated: u64,
    /// Where the first of them stood, by row, or by file and line.
    pub first_repeated: Vec<At>,
    /// Events that a later row corrected or took back.
    pub corrected: u64,
    /// What was left out or taken out because its period has ended.
    pub expired: Expired,
}

impl Summary {
    /// Nobody yet, for a catalogue of `items`.
    pub(crate) fn new(items: usize) -> Self {
        Self { bought_by: vec![0; items], ..Self::default() }
    }

    pub(crate) fn add(&mut self, person: &Assembled, window_end_s: i64) {
        self.persons += 1;
        self.home_persons += u64::from(person.record.at_home);
        let inside = person.record.before(window_end_s);
        self.last_event_s =
            inside.last().map_or(self.last_event_s, |last| last.time_s.max(self.last_event_s));
        let purchases = inside.iter().filter(|event| event.kind == Kind::Purchase);
        let mut bought: Vec<u32> = purchases.map(|event| event.item).collect();
        bought.sort_unstable();
        bought.dedup();
        for item in bought {
            // Items are indices of the catalogue that the rows were cleaned with.
            if let Some(persons) = self.bought_by.get_mut(item as usize) {
                *persons += 1;
            }
        }
        self.repeated += person.repeated.len() as u64;
        self.corrected += person.corrected;
        self.first_repeated.extend(&person.repeated);
        if self.first_repeated.len() > 64 * FIRST_ROWS {
            self.first_repeated.sort_unstable();
            self.first_repeated.truncate(FIRST_ROWS);
        }
    }

    /// Everybody was added.
    pub(crate) fn finish(mut self) -> Self {
        self.first_repeated.sort_unstable();
        self.first_repeated.truncate(FIRST_ROWS);
        self
    }
}
