//! The record of one person: the clean events of their history at this store.

use serde::{Deserialize, Serialize};

use crate::event::Kind;

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
    /// How much money was taken off, 0 where nobody says.
    pub discount: f32,
    /// Where, see [`crate::channel::Channels`]; 0 where nobody says.
    pub channel: u32,
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
