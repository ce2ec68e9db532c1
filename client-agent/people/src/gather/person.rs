//! One person's events, put together: repeated ids settled, sorted by time, baskets numbered.

use std::collections::{HashMap, HashSet};

use chorale_plan::Pseudonym;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Kind, RepeatedId, Said},
    features::{PersonRecord, StoredEvent},
    retention::Cut,
};

/// Where a row stood: its number in the SQL's result, or file and line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(u64);

/// What one reading leaves for the next about a person, beside the record: enough to add events as
/// if all had been read at once.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Whether a row named this store as the home.
    pub here: bool,
    /// Whether a row named another.
    pub elsewhere: bool,
    /// The keyed numbers of the baskets, in the order in which the record numbers them.
    pub baskets: Vec<u64>,
    /// The keyed ids of the record's events, 0 for none; empty where no event has one.
    pub ids: Vec<u64>,
}

/// A person of whom everything was read.
pub struct Assembled {
    /// The record.
    pub record: PersonRecord,
    /// What the next reading needs.
    pub origin: Origin,
    /// Rows that were set aside because of a repeated id.
    pub repeated: Vec<At>,
    /// Events that a later row corrected or took back.
    pub corrected: u64,
}

/// What one row says about a person whom the place names.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(super) time_s: i64,
    pub(super) basket: u64,
    pub(super) id: u64,
    pub(super) at: At,
    pub(super) amount: f64,
    pub(super) discount: f32,
    pub(super) channel: u32,
    pub(super) item: u32,
    pub(super) quantity: f32,
    /// `None`: what stood under this id is taken back.
    pub(super) kind: Option<Kind>,
    pub(super) at_home: Option<bool>,
}

crate::error::redacted!(Origin, Assembled, Held);

impl At {
    /// Of rows of an earlier reading.
    pub(super) const EARLIER: Self = Self(0);
    const FILE: u64 = 1 << 63;
    const LINE_BITS: u32 = 40;

    /// Row `number` of the SQL's result, from 1.
    #[must_use]
    pub fn row(number: u64) -> Self {
        Self(number & !Self::FILE)
    }

    /// Line `line`, from 1, of the file that the reading knows as `file`; the row where either is
    /// too large to be kept.
    #[must_use]
    pub fn line(file: usize, line: u64, row: u64) -> Self {
        if file >= 1 << (63 - Self::LINE_BITS) || line >= 1 << Self::LINE_BITS {
            return Self::row(row);
        }
        Self(Self::FILE | (file as u64) << Self::LINE_BITS | line)
    }

    /// File and line, or `None` and the row.
    #[must_use]
    pub fn parts(self) -> (Option<usize>, u64) {
        if self.0 & Self::FILE == 0 {
            return (None, self.0);
        }
        let file = (self.0 & !Self::FILE) >> Self::LINE_BITS;
        (Some(file as usize), self.0 & ((1 << Self::LINE_BITS) - 1))
    }

    pub(super) fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl Held {
    pub(super) fn of(said: Said, at: At) -> (Pseudonym, Self) {
        match said {
            Said::Happened(event) => {
                let held = Self {
                    time_s: event.time_s,
                    basket: event.basket,
                    id: event.id,
                    at,
                    amount: event.amount,
                    discount: event.discount,
                    channel: event.channel,
                    item: event.item,
                    quantity: event.quantity,
                    kind: Some(event.kind),
                    at_home: event.at_home,
                };
                (event.person, held)
            }
            Said::TakenBack { person, id } => {
                let (time_s, basket, amount, discount, channel, item, quantity) = <_>::default();
                let (kind, at_home) = (None, None);
                let held = Self {
                    time_s,
                    basket,
                    id,
                    at,
                    amount,
                    discount,
                    channel,
                    item,
                    quantity,
                    kind,
                    at_home,
                };
                (person, held)
            }
        }
    }

    /// The events of a record as they were held before it was put together, but for what its
    /// origin keeps of all of them at once.
    pub(crate) fn earlier(record: &PersonRecord, origin: &Origin, into: &mut Vec<Self>) {
        for (position, event) in record.events.iter().enumerate() {
            into.push(Self {
                time_s: event.time_s,
                basket: origin.baskets.get(event.basket as usize).copied().unwrap_or_default(),
                id: origin.ids.get(position).copied().unwrap_or_default(),
                at: At::EARLIER,
                amount: event.amount,
                discount: event.discount,
                channel: event.channel,
                item: event.item,
                quantity: event.quantity,
                kind: Some(event.kind),
                at_home: None,
            });
        }
        // Where the person is at home stands in no event; two rows that take nothing back say it.
        for (said, home) in [(origin.here, true), (origin.elsewhere, false)] {
            if said {
                let taken_back = Said::TakenBack { person: Pseudonym::from_bytes([0; 32]), id: 0 };
                let (_, held) = Self::of(taken_back, At::EARLIER);
                into.push(Self { at_home: Some(home), ..held });
            }
        }
    }
}

impl Origin {
    /// Of a record that no reading put together.
    pub(crate) fn unknown(record: &PersonRecord) -> Self {
        let baskets = record.events.iter().map(|event| u64::from(event.basket) + 1).max();
        Self {
            here: record.at_home,
            elsewhere: false,
            baskets: (0..baskets.unwrap_or(0)).collect(),
            ids: Vec::new(),
        }
    }
}

impl Assembled {
    /// Takes out the events that are no longer kept; how many that were. Where the person is at
    /// home stays known for as long as anything else is.
    pub(crate) fn expire(&mut self, cut: &Cut) -> u64 {
        let before = self.record.events.len();
        let kept = |event: &&StoredEvent| cut.keeps(event.kind, event.time_s);
        let gone = before - self.record.events.iter().filter(kept).count();
        if gone > 0 {
            let mut held = Vec::new();
            Held::earlier(&self.record, &self.origin, &mut held);
            held.retain(|event| event.kind.is_none_or(|kind| cut.keeps(kind, event.time_s)));
            // No id is there twice any more.
            let Assembled { record, origin, .. } = assemble(held, RepeatedId::SetAside);
            (self.record, self.origin) = (record, origin);
        }
        gone as u64
    }
}

/// Puts a person together from `held`, which is in the order of reading. A person whose rows name
/// two homes contributes nowhere: fail closed.
pub(crate) fn assemble(mut held: Vec<Held>, rule: RepeatedId) -> Assembled {
    let here = held.iter().any(|event| event.at_home == Some(true));
    let elsewhere = held.iter().any(|event| event.at_home == Some(false));
    let (mut repeated, mut corrected) = (Vec::new(), 0);
    if held.iter().any(|event| event.id != 0) {
        match rule {
            RepeatedId::SetAside => {
                let mut seen = HashSet::new();
                held.retain(|event| {
                    let first = event.id == 0 || seen.insert(event.id);
                    if !first {
                        repeated.push(event.at);
                    }
                    first
                });
            }
            RepeatedId::Correct => {
                let mut last = HashMap::new();
                for (position, event) in held.iter().enumerate() {
                    last.insert(event.id, position);
                }
                let mut position = 0;
                held.retain(|event| {
                    let counts = event.id == 0 || last.get(&event.id) == Some(&position);
                    corrected += u64::from(!counts);
                    position += 1;
                    counts
                });
            }
        }
    }
    held.retain(|event| event.kind.is_some());
    // Everything of an event takes part, so that the order of the files changes nothing.
    held.sort_unstable_by(|a, b| {
        (a.time_s, a.basket, a.item, a.kind)
            .cmp(&(b.time_s, b.basket, b.item, b.kind))
            .then(a.quantity.total_cmp(&b.quantity))
            .then(a.amount.total_cmp(&b.amount))
            .then(a.discount.total_cmp(&b.discount))
            .then(a.channel.cmp(&b.channel))
            .then(a.id.cmp(&b.id))
    });
    let (mut numbers, mut baskets) = (HashMap::new(), Vec::new());
    let mut events = Vec::with_capacity(held.len());
    let mut before = None;
    for event in &held {
        let Some(kind) = event.kind else { continue };
        // Neighbours mostly share a basket.
        let basket = match before {
            Some((basket, number)) if basket == event.basket => number,
            _ => *numbers.entry(event.basket).or_insert_with(|| {
                baskets.push(event.basket);
                baskets.len() as u32 - 1
            }),
        };
        before = Some((event.basket, basket));
        let Held { time_s, item, quantity, amount, discount, channel, .. } = *event;
        events.push(StoredEvent {
            time_s,
            item,
            kind,
            basket,
            quantity,
            amount,
            discount,
            channel,
        });
    }
    let mut ids: Vec<u64> = held.iter().map(|event| event.id).collect();
    if ids.iter().all(|id| *id == 0) {
        ids = Vec::new();
    }
    Assembled {
        record: PersonRecord { at_home: here && !elsewhere, events },
        origin: Origin { here, elsewhere, baskets, ids },
        repeated,
        corrected,
    }
}
