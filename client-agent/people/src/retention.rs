//! How long events are kept.
//!
//! A period counts from the moment when something happened. What is older is left out of every
//! ingest and taken out by [`crate::store::Store::expire`]; profiles, figures and rounds follow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{calendar::DAY_S, event::Kind, live::LiveEvent};

/// Days for which events are kept; for ever where none are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Retention(BTreeMap<Subject, u32>);

/// What a period is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Every event without a period of its own.
    Events,
    /// See [`Kind::Purchase`].
    Purchase,
    /// See [`Kind::Return`].
    Return,
    /// See [`Kind::View`].
    View,
    /// See [`Kind::Click`].
    Click,
    /// See [`Kind::CartAdd`].
    CartAdd,
    /// See [`Kind::CartRemove`].
    CartRemove,
    /// Live events of any other type, such as `impression`.
    Other,
    /// What was searched for or written in a review: the text alone, its event stays.
    Texts,
}

/// From when on events are kept, Unix seconds: a [`Retention`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    kinds: [i64; Kind::ALL.len()],
    other: i64,
    texts: i64,
}

/// What an expiry took out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Events out of files.
    pub events: u64,
    /// Persons of whom files left nothing else.
    pub persons: u64,
    /// Live events.
    pub live: u64,
    /// Texts of live events that stay.
    pub texts: u64,
}

/// Longest period in days.
pub const DAYS_MAX: u32 = 36_500;

impl Subject {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Purchase => Self::Purchase,
            Kind::Return => Self::Return,
            Kind::View => Self::View,
            Kind::Click => Self::Click,
            Kind::CartAdd => Self::CartAdd,
            Kind::CartRemove => Self::CartRemove,
        }
    }
}

impl Retention {
    /// From `(subject, days)`.
    #[must_use]
    pub fn days(periods: impl IntoIterator<Item = (Subject, u32)>) -> Self {
        Self(periods.into_iter().collect())
    }

    /// Whether every period is of 1 to [`DAYS_MAX`] days.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.0.values().all(|days| (1..=DAYS_MAX).contains(days))
    }

    /// From when on events are kept at `now_s` (Unix seconds); `None` where all are kept for ever.
    #[must_use]
    pub fn at(&self, now_s: i64) -> Option<Cut> {
        let since = |subject: Subject| {
            let general = (subject != Subject::Texts).then_some(Subject::Events);
            let days = self.0.get(&subject).or_else(|| self.0.get(&general?));
            days.map_or(i64::MIN, |days| now_s.saturating_sub(i64::from(*days) * DAY_S))
        };
        let cut = Cut {
            kinds: Kind::ALL.map(|kind| since(Subject::of(kind))),
            other: since(Subject::Other),
            texts: since(Subject::Texts),
        };
        (!self.0.is_empty()).then_some(cut)
    }
}

impl Cut {
    /// Whether an event of this kind at `time_s` (Unix seconds) is kept.
    #[must_use]
    pub fn keeps(&self, kind: Kind, time_s: i64) -> bool {
        time_s >= self.kinds[kind as usize]
    }

    /// Whether a live event is kept.
    #[must_use]
    pub fn keeps_live(&self, event: &LiveEvent) -> bool {
        match Kind::parse(&event.kind) {
            Some(kind) => self.keeps(kind, event.time_s),
            None => event.time_s >= self.other,
        }
    }

    /// Whether the text of a live event is kept.
    #[must_use]
    pub fn keeps_text(&self, event: &LiveEvent) -> bool {
        event.time_s >= self.texts
    }

    /// Takes out events and texts that are no longer kept.
    pub fn apply(&self, events: &mut Vec<LiveEvent>) -> Expired {
        let before = events.len();
        events.retain(|event| self.keeps_live(event));
        let mut expired = Expired { live: (before - events.len()) as u64, ..Expired::default() };
        for event in events.iter_mut().filter(|event| !self.keeps_text(event)) {
            expired.texts += u64::from(event.text.take().is_some());
        }
        expired
    }
}

impl Expired {
    /// Whether nothing was taken out.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.persons += other.persons;
        self.live += other.live;
        self.texts += other.texts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(kind: &str, time_s: i64) -> LiveEvent {
        LiveEvent {
            id: 1,
            time_s,
            kind: kind.into(),
            item: None,
            quantity: 1.0,
            amount: 0.0,
            discount: 0.0,
            channel: 0,
            basket: None,
            session: None,
            request: None,
            text: Some("tea".into()),
        }
    }

    #[test]
    fn a_period_of_its_own_goes_before_the_general_one() {
        assert_eq!(Retention::default().at(0), None);
        let periods = [
            (Subject::Events, 100),
            (Subject::Purchase, 200),
            (Subject::View, 10),
            (Subject::Texts, 5),
        ];
        let cut = Retention::days(periods).at(1000 * DAY_S).unwrap_or_else(|| panic!("a period"));
        for (kind, kept_from) in
            [(Kind::Purchase, 800), (Kind::View, 990), (Kind::Click, 900), (Kind::CartRemove, 900)]
        {
            assert!(cut.keeps(kind, kept_from * DAY_S), "{kind:?}");
            assert!(!cut.keeps(kind, kept_from * DAY_S - 1), "{kind:?}");
        }
        let mut events = vec![
            live("impression", 899 * DAY_S),
            live("impression", 900 * DAY_S),
            live("purchase", 899 * DAY_S),
            live("search", 996 * DAY_S),
        ];
        let expired = cut.apply(&mut events);
        assert_eq!(expired, Expired { live: 1, texts: 2, ..Expired::default() });
        assert_eq!(events.iter().filter(|event| event.text.is_some()).count(), 1);
    }

    #[test]
    fn only_texts_may_have_a_period() {
        let Some(cut) = Retention::days([(Subject::Texts, 1)]).at(10 * DAY_S) else { panic!() };
        assert!(cut.keeps(Kind::View, 0) && cut.keeps_live(&live("impression", 0)));
        assert!(!cut.keeps_text(&live("search", 0)));
    }

    #[test]
    fn nothing_and_more_than_a_century_are_no_periods() {
        for (days, possible) in [(0, false), (1, true), (DAYS_MAX, true), (DAYS_MAX + 1, false)] {
            assert_eq!(Retention::days([(Subject::Other, days)]).is_possible(), possible);
        }
    }
}
