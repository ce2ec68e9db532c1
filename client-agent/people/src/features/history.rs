//! What a person's purchases say: frequency, recency, money, rhythm.

use std::collections::BTreeMap;

use super::{PersonRecord, StoredEvent};
use crate::{
    calendar::{DAY_S, weekday},
    event::Kind,
};

/// Days after which a purchase weighs half in the recency-weighted count.
pub const HALF_LIFE_DAYS: f64 = 120.0;

/// The purchases of one person before the end of a window.
#[derive(Clone, Default, PartialEq)]
pub struct Features {
    /// The items bought, by ascending index.
    pub items: Vec<ItemHabit>,
    /// Number of baskets (frequency).
    pub baskets: u32,
    /// Money spent.
    pub amount: f64,
    /// First purchase, Unix seconds; 0 for a person without any.
    pub first_s: i64,
    /// Last purchase, Unix seconds; 0 for a person without any.
    pub last_s: i64,
    /// Median days between one shopping day and the next, from two shopping days on.
    pub period_days: Option<f64>,
    /// Baskets by weekday (Monday first) and quarter of the day (UTC), each six hours.
    pub time_of_week: [[u32; 4]; 7],
}

/// How a person buys one item.
#[derive(Clone, PartialEq)]
pub struct ItemHabit {
    /// The item's index in the catalogue.
    pub item: u32,
    /// Number of baskets with it.
    pub baskets: u32,
    /// Baskets, each halved for every [`HALF_LIFE_DAYS`] between it and the end of the window
    /// (or the person's last purchase where the window is open).
    pub recent: f64,
    /// How many in all.
    pub quantity: f64,
    /// Money spent on it.
    pub amount: f64,
    /// Last purchase of it, Unix seconds.
    pub last_s: i64,
    /// Median days between one day with it and the next, from two such days on.
    pub period_days: Option<f64>,
}

crate::error::redacted!(Features, ItemHabit);

impl Features {
    /// The features of the purchases strictly before `end_s` (Unix seconds). Returned goods do
    /// not undo a purchase: that somebody wanted the item is what counts here.
    #[must_use]
    pub fn of(record: &PersonRecord, end_s: i64) -> Self {
        let purchases: Vec<&StoredEvent> =
            record.before(end_s).iter().filter(|event| event.kind == Kind::Purchase).collect();
        let (Some(first), Some(last)) = (purchases.first(), purchases.last()) else {
            return Self::default();
        };
        let now_s = if end_s == i64::MAX { last.time_s } else { end_s };
        let mut by_item: BTreeMap<u32, Vec<&StoredEvent>> = BTreeMap::new();
        let mut baskets: BTreeMap<u32, i64> = BTreeMap::new();
        for event in &purchases {
            by_item.entry(event.item).or_default().push(event);
            baskets.entry(event.basket).or_insert(event.time_s);
        }
        let mut time_of_week = [[0; 4]; 7];
        for time_s in baskets.values() {
            let quarter = time_s.rem_euclid(DAY_S) / (DAY_S / 4);
            time_of_week[weekday(*time_s)][quarter as usize] += 1;
        }
        Self {
            items: by_item.into_values().map(|events| ItemHabit::of(&events, now_s)).collect(),
            baskets: baskets.len() as u32,
            amount: purchases.iter().map(|event| event.amount).sum(),
            first_s: first.time_s,
            last_s: last.time_s,
            period_days: median_gap_days(purchases.iter().map(|event| event.time_s)),
            time_of_week,
        }
    }

    /// Catalogue index and number of baskets, by ascending index: a person as tasks see them.
    #[must_use]
    pub fn counts(&self) -> Vec<(u32, f32)> {
        self.items.iter().map(|habit| (habit.item, habit.baskets as f32)).collect()
    }

    /// Catalogue index and recency-weighted count, by ascending index.
    #[must_use]
    pub fn recent_counts(&self) -> Vec<(u32, f32)> {
        self.items.iter().map(|habit| (habit.item, habit.recent as f32)).collect()
    }
}

impl ItemHabit {
    fn of(events: &[&StoredEvent], now_s: i64) -> Self {
        let mut habit = Self {
            item: events[0].item,
            baskets: 0,
            recent: 0.0,
            quantity: 0.0,
            amount: 0.0,
            last_s: events[events.len() - 1].time_s,
            period_days: median_gap_days(events.iter().map(|event| event.time_s)),
        };
        let mut baskets = BTreeMap::new();
        for event in events {
            habit.quantity += f64::from(event.quantity);
            habit.amount += event.amount;
            baskets.insert(event.basket, event.time_s);
        }
        habit.baskets = baskets.len() as u32;
        for time_s in baskets.values() {
            let age_days = (now_s - time_s).max(0) as f64 / DAY_S as f64;
            habit.recent += 0.5f64.powf(age_days / HALF_LIFE_DAYS);
        }
        habit
    }

    /// When the item is due again, Unix seconds, if there is a rhythm.
    #[must_use]
    pub fn due_s(&self) -> Option<i64> {
        Some(self.last_s + (self.period_days? * DAY_S as f64) as i64)
    }
}

/// Median number of days between consecutive distinct days of `times` (ascending Unix seconds).
pub(super) fn median_gap_days(times: impl Iterator<Item = i64>) -> Option<f64> {
    let mut days: Vec<i64> = times.map(|time| time.div_euclid(DAY_S)).collect();
    days.dedup();
    let mut gaps: Vec<i64> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if gaps.is_empty() {
        return None;
    }
    gaps.sort_unstable();
    let middle = gaps.len() / 2;
    let median = if gaps.len() % 2 == 1 {
        gaps[middle] as f64
    } else {
        (gaps[middle - 1] + gaps[middle]) as f64 / 2.0
    };
    Some(median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(day: i64, item: u32, basket: u32) -> StoredEvent {
        StoredEvent {
            time_s: day * DAY_S + 3600,
            item,
            kind: Kind::Purchase,
            basket,
            quantity: 2.0,
            amount: 1.5,
            discount: 0.0,
            channel: 0,
        }
    }

    #[test]
    fn frequency_recency_money_and_rhythm_by_hand() {
        let mut events = vec![
            bought(0, 5, 0),
            bought(0, 5, 0),
            bought(0, 1, 0),
            bought(10, 5, 1),
            bought(16, 5, 2),
            bought(40, 5, 3),
        ];
        events.insert(3, StoredEvent { kind: Kind::View, ..bought(5, 7, 9) });
        let record = PersonRecord { at_home: true, events };
        let features = Features::of(&record, 20 * DAY_S + 3600);
        assert_eq!(features.counts(), [(1, 1.0), (5, 3.0)]);
        assert_eq!((features.baskets, features.amount), (3, 7.5));
        assert_eq!(features.period_days, Some(8.0));
        let habit = &features.items[1];
        assert_eq!((habit.baskets, habit.quantity, habit.period_days), (3, 8.0, Some(8.0)));
        assert_eq!(habit.due_s(), Some(24 * DAY_S + 3600));
        let expected: f64 = [20.0, 10.0, 4.0].iter().map(|d: &f64| 0.5f64.powf(d / 120.0)).sum();
        assert!((habit.recent - expected).abs() < 1e-12);
        // Days 0, 10 and 16 after Thursday 1 January 1970, at one o'clock at night.
        assert_eq!(features.time_of_week[3][0], 1);
        assert_eq!(features.time_of_week[6][0], 1);
        assert_eq!(features.time_of_week[5][0], 1);
    }

    #[test]
    fn nothing_before_the_window_means_nothing() {
        let record = PersonRecord { at_home: true, events: vec![bought(10, 1, 0)] };
        assert_eq!(Features::of(&record, 10 * DAY_S), Features::default());
        assert_eq!(Features::of(&record, i64::MAX).items[0].recent, 1.0);
    }
}
