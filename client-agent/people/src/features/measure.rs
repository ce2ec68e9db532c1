//! What a feature measures, of the events that count for it.

use serde::{Deserialize, Serialize};

use super::{StoredEvent, history::median_gap_days};
use crate::{calendar::DAY_S, event::Kind};

/// What a feature measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Events.
    Events,
    /// Different baskets.
    Baskets,
    /// Different items.
    Items,
    /// Different channels, of events that name one.
    Channels,
    /// How many, over all events.
    Quantity,
    /// For how much money, over all events.
    Amount,
    /// Money for one piece, on average over all pieces.
    Price,
    /// Money that was taken off prices, over all events.
    Discount,
    /// Money that was taken off, of what it would have cost, 0 to 1.
    DiscountShare,
    /// Events with a discount among those that count, 0 to 1.
    PromotedShare,
    /// Events in a basket, on average.
    BasketSize,
    /// Days since the last event.
    RecencyDays,
    /// Days since the first event.
    TenureDays,
    /// Median days from one day with events to the next.
    GapDays,
    /// Visits: events with less than 30 minutes from one to the next.
    Sessions,
    /// Median minutes from the first to the last event of a visit.
    SessionMinutes,
    /// Events in a visit, on average.
    SessionDepth,
    /// Items of these events that were bought after the first of them, 0 to 1.
    Conversion,
    /// Searches that came over the API.
    Searches,
    /// Events with all that the feature is narrowed to among all of these kinds, 0 to 1.
    Share,
}

/// What kind of number a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// A whole number of things.
    Count,
    /// A number of things or of money.
    Number,
    /// Days.
    Days,
    /// Minutes.
    Minutes,
    /// A share of a whole, 0 to 1.
    Share,
    /// A number of a bucket, from 0.
    Bucket,
    /// A number without a unit.
    Scaled,
}

/// What a person does within as many seconds is one visit, as web analytics count it.
const SESSION_GAP_S: i64 = 30 * 60;

/// The events that a measure is made of.
pub(super) struct Counted<'a> {
    /// Those that count, by ascending time.
    pub(super) events: &'a [&'a StoredEvent],
    /// How many there are of the same kinds and days, whatever the feature is narrowed to.
    pub(super) of_kind: usize,
    /// Everything up to the instant, by ascending time.
    pub(super) all: &'a [StoredEvent],
    /// Searches that count.
    pub(super) searches: usize,
    /// The instant, Unix seconds.
    pub(super) at_s: i64,
}

impl Measure {
    /// The type of its values.
    #[must_use]
    pub fn value_type(self) -> Type {
        match self {
            Self::Events
            | Self::Baskets
            | Self::Items
            | Self::Channels
            | Self::Sessions
            | Self::Searches => Type::Count,
            Self::Quantity
            | Self::Amount
            | Self::Price
            | Self::Discount
            | Self::BasketSize
            | Self::SessionDepth => Type::Number,
            Self::RecencyDays | Self::TenureDays | Self::GapDays => Type::Days,
            Self::SessionMinutes => Type::Minutes,
            Self::DiscountShare | Self::PromotedShare | Self::Conversion | Self::Share => {
                Type::Share
            }
        }
    }

    /// The value; `None` where nothing can be said.
    pub(super) fn of(self, counted: &Counted<'_>) -> Option<f64> {
        let Counted { events, at_s, .. } = *counted;
        let number = events.len() as f64;
        let sum = |of: fn(&StoredEvent) -> f64| events.iter().map(|event| of(event)).sum::<f64>();
        let quantity = || sum(|event| f64::from(event.quantity));
        let amount = || sum(|event| event.amount);
        let discount = || sum(|event| f64::from(event.discount));
        let since = |event: &&&StoredEvent| (at_s - event.time_s).max(0) as f64 / DAY_S as f64;
        match self {
            Self::Events => Some(number),
            Self::Baskets => Some(different(events.iter().map(|event| event.basket))),
            Self::Items => Some(different(events.iter().map(|event| event.item))),
            Self::Channels => {
                let named = events.iter().map(|event| event.channel).filter(|of| *of != 0);
                Some(different(named))
            }
            Self::Quantity => Some(quantity()),
            Self::Amount => Some(amount()),
            Self::Price => share(amount(), quantity()),
            Self::Discount => Some(discount()),
            Self::DiscountShare => share(discount(), amount() + discount()),
            Self::PromotedShare => share(sum(|event| f64::from(event.discount > 0.0)), number),
            Self::BasketSize => share(number, different(events.iter().map(|event| event.basket))),
            Self::RecencyDays => events.last().as_ref().map(since),
            Self::TenureDays => events.first().as_ref().map(since),
            Self::GapDays => median_gap_days(events.iter().map(|event| event.time_s)),
            Self::Sessions => Some(visits(events).len() as f64),
            Self::SessionMinutes => median(visits(events)),
            Self::SessionDepth => share(number, visits(events).len() as f64),
            Self::Conversion => converted(counted),
            Self::Searches => Some(counted.searches as f64),
            Self::Share => share(number, counted.of_kind as f64),
        }
    }
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn different(values: impl Iterator<Item = u32>) -> f64 {
    let mut found: Vec<u32> = values.collect();
    found.sort_unstable();
    found.dedup();
    found.len() as f64
}

/// The length of each visit in minutes.
fn visits(events: &[&StoredEvent]) -> Vec<f64> {
    let together = |a: &&StoredEvent, b: &&StoredEvent| b.time_s - a.time_s < SESSION_GAP_S;
    let length = |visit: &[&StoredEvent]| match visit {
        [first, .., last] => (last.time_s - first.time_s) as f64 / 60.0,
        _ => 0.0,
    };
    events.chunk_by(together).map(length).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => None,
        0 => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

fn converted(counted: &Counted<'_>) -> Option<f64> {
    let mut first_s = std::collections::BTreeMap::new();
    for event in counted.events {
        first_s.entry(event.item).or_insert(event.time_s);
    }
    let whole = first_s.len() as f64;
    for event in counted.all.iter().filter(|event| event.kind == Kind::Purchase) {
        // At one instant, which came first is not known: it counts.
        if first_s.get(&event.item).is_some_and(|first_s| *first_s <= event.time_s) {
            first_s.remove(&event.item);
        }
    }
    share(whole - first_s.len() as f64, whole)
}
