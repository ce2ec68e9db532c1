//! Features that a store declares: what is measured, for which purpose, who answers for it.
//!
//! A value at an instant is made of events strictly before it, so that a table of past values holds
//! nothing that was not known then.

use serde::{Deserialize, Serialize};

use super::{PersonRecord, StoredEvent, history::median_gap_days};
use crate::{calendar::DAY_S, event::Kind, live::Purpose};

/// One declared feature, as it stands in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// A word of a-z, 0-9 and '-', used once.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// What it may be used for: a person who refuses the purpose has no value.
    pub purpose: Purpose,
    /// What is measured.
    pub measure: Measure,
    /// The kinds of event that count; purchases where nothing is said.
    #[serde(default = "purchases")]
    pub kinds: Vec<Kind>,
    /// Only items of this department.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// Only items of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Only so many days back; everything where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Least and greatest value; what lies outside is set to the nearer one.
    pub range: [f64; 2],
    /// The value where nothing can be said; without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<f64>,
    /// For how many hours a caller may keep a value.
    pub ttl_hours: u32,
    /// For how many hours a value is given again before it is made anew. A new event of the person
    /// makes it anew at once.
    #[serde(default)]
    pub refresh_hours: u32,
}

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
    /// How many, over all events.
    Quantity,
    /// For how much money, over all events.
    Amount,
    /// Events in a basket, on average.
    BasketSize,
    /// Days since the last event.
    RecencyDays,
    /// Days since the first event.
    TenureDays,
    /// Median days from one day with events to the next.
    GapDays,
    /// Events of the department or category among all of these kinds, 0 to 1.
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
    /// A share of a whole, 0 to 1.
    Share,
}

/// Features that one agent may declare.
pub const FEATURES_MAX: usize = 256;

impl Measure {
    /// The type of its values.
    #[must_use]
    pub fn value_type(self) -> Type {
        match self {
            Self::Events | Self::Baskets | Self::Items => Type::Count,
            Self::Quantity | Self::Amount | Self::BasketSize => Type::Number,
            Self::RecencyDays | Self::TenureDays | Self::GapDays => Type::Days,
            Self::Share => Type::Share,
        }
    }
}

impl Declared {
    /// The value at `at_s` (Unix seconds), of events strictly before it; `about` names an item's
    /// department and category. `None` where nothing can be said.
    #[must_use]
    pub fn value<'a>(
        &self,
        record: &PersonRecord,
        at_s: i64,
        about: impl Fn(u32) -> Option<(&'a str, &'a str)>,
    ) -> Option<f64> {
        let start_s = self.days.map_or(i64::MIN, |days| at_s - i64::from(days) * DAY_S);
        let of_kind = record
            .before(at_s)
            .iter()
            .filter(|event| event.time_s >= start_s && self.kinds.contains(&event.kind));
        let inside = |event: &&StoredEvent| {
            let Some((department, category)) = about(event.item) else { return false };
            self.department.as_deref().is_none_or(|wanted| wanted == department)
                && self.category.as_deref().is_none_or(|wanted| wanted == category)
        };
        let all = of_kind.clone().count();
        let events: Vec<&StoredEvent> = of_kind.filter(inside).collect();
        let value = self.measured(&events, all, at_s).filter(|value| value.is_finite());
        let [least, greatest] = self.range;
        value.map(|value| value.clamp(least, greatest)).or(self.missing)
    }

    fn measured(&self, events: &[&StoredEvent], all: usize, at_s: i64) -> Option<f64> {
        let different = |of: fn(&StoredEvent) -> u32| {
            let mut found: Vec<u32> = events.iter().map(|event| of(event)).collect();
            found.sort_unstable();
            found.dedup();
            found.len() as f64
        };
        let since = |event: &&&StoredEvent| (at_s - event.time_s).max(0) as f64 / DAY_S as f64;
        match self.measure {
            Measure::Events => Some(events.len() as f64),
            Measure::Baskets => Some(different(|event| event.basket)),
            Measure::Items => Some(different(|event| event.item)),
            Measure::Quantity => Some(events.iter().map(|event| f64::from(event.quantity)).sum()),
            Measure::Amount => Some(events.iter().map(|event| event.amount).sum()),
            Measure::BasketSize => {
                (!events.is_empty()).then(|| events.len() as f64 / different(|event| event.basket))
            }
            Measure::RecencyDays => events.last().as_ref().map(since),
            Measure::TenureDays => events.first().as_ref().map(since),
            Measure::GapDays => median_gap_days(events.iter().map(|event| event.time_s)),
            Measure::Share => (all > 0).then(|| events.len() as f64 / all as f64),
        }
    }

    /// The key that is wrong, and what it must be.
    #[must_use]
    pub fn wrong(&self) -> Option<(&'static str, &'static str)> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let [least, greatest] = self.range;
        let missing = self.missing.is_none_or(|value| (least..=greatest).contains(&value));
        let narrowed = self.department.is_some() || self.category.is_some();
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return Some(("name", "a word of a-z, 0-9 and '-', used once"));
        }
        if self.owner.trim().is_empty() {
            return Some(("owner", "whoever answers for the feature"));
        }
        if self.kinds.is_empty() {
            return Some(("kinds", "at least one kind of event"));
        }
        if self.measure == Measure::Share && !narrowed {
            return Some(("measure", "another one than share where no department or category is"));
        }
        if !(least.is_finite() && greatest.is_finite() && least <= greatest && missing) {
            return Some((
                "range",
                "the least and the greatest value, with 'missing' between them",
            ));
        }
        if self.days == Some(0) || self.days.is_some_and(|days| days > 36_500) {
            return Some(("days", "1 to 36500, or absent"));
        }
        if self.ttl_hours == 0 || self.refresh_hours > self.ttl_hours {
            return Some(("ttl_hours", "1 or more, and not below refresh_hours"));
        }
        None
    }

    /// The first of `features` that is wrong: its place, the key, and what that must be.
    #[must_use]
    pub fn first_wrong(features: &[Self]) -> Option<(usize, &'static str, &'static str)> {
        if features.len() > FEATURES_MAX {
            return Some((FEATURES_MAX, "name", "one of at most 256 features"));
        }
        features.iter().enumerate().find_map(|(place, feature)| {
            let repeated = features[..place].iter().any(|other| other.name == feature.name);
            let repeated = repeated.then_some(("name", "a word that no other feature has"));
            feature.wrong().or(repeated).map(|(key, expected)| (place, key, expected))
        })
    }
}

fn purchases() -> Vec<Kind> {
    vec![Kind::Purchase]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MEASURES: [Measure; 10] = [
        Measure::Events,
        Measure::Baskets,
        Measure::Items,
        Measure::Quantity,
        Measure::Amount,
        Measure::BasketSize,
        Measure::RecencyDays,
        Measure::TenureDays,
        Measure::GapDays,
        Measure::Share,
    ];

    fn declared(measure: Measure) -> Declared {
        Declared {
            name: "tea".into(),
            owner: "crm".into(),
            purpose: Purpose::Marketing,
            measure,
            kinds: vec![Kind::Purchase],
            department: None,
            category: Some("TEA".into()),
            days: Some(30),
            range: [0.0, 1000.0],
            missing: None,
            ttl_hours: 24,
            refresh_hours: 0,
        }
    }

    /// Even items are tea.
    fn about(item: u32) -> Option<(&'static str, &'static str)> {
        Some(("DRINKS", if item.is_multiple_of(2) { "TEA" } else { "COFFEE" }))
    }

    fn event(hour: i64, item: u32, basket: u32) -> StoredEvent {
        StoredEvent {
            time_s: hour * 3600,
            item,
            kind: Kind::Purchase,
            basket,
            quantity: 2.0,
            amount: 1.5,
        }
    }

    #[test]
    fn measures_by_hand() {
        let mut events = vec![
            event(24, 2, 0),
            event(24 * 40, 2, 1),
            event(24 * 40, 4, 1),
            event(24 * 40, 3, 1),
            event(24 * 46, 2, 2),
            event(24 * 60, 2, 3),
        ];
        events.insert(4, StoredEvent { kind: Kind::View, ..event(24 * 41, 2, 9) });
        let record = PersonRecord { at_home: true, events };
        let at_s = 60 * DAY_S;
        let values: Vec<Option<f64>> =
            MEASURES.iter().map(|m| declared(*m).value(&record, at_s, about)).collect();
        let expected = [3.0, 2.0, 2.0, 6.0, 4.5, 1.5, 14.0, 20.0, 6.0, 0.75].map(Some).to_vec();
        assert_eq!(values, expected);
        let whole = Declared { days: None, category: None, ..declared(Measure::TenureDays) };
        assert_eq!(whole.value(&record, at_s, about), Some(59.0));
        let capped = Declared { range: [0.0, 1.0], ..declared(Measure::Events) };
        assert_eq!(capped.value(&record, at_s, about), Some(1.0));
        let nobody = PersonRecord::default();
        assert_eq!(declared(Measure::RecencyDays).value(&nobody, at_s, about), None);
        let filled = Declared { missing: Some(999.0), ..declared(Measure::RecencyDays) };
        assert_eq!(filled.value(&nobody, at_s, about), Some(999.0));
    }

    #[test]
    fn what_cannot_be_meant_is_found() {
        let good = declared(Measure::Share);
        assert_eq!(good.wrong(), None);
        for (wrong, key) in [
            (Declared { name: "Tea".into(), ..good.clone() }, "name"),
            (Declared { owner: " ".into(), ..good.clone() }, "owner"),
            (Declared { kinds: Vec::new(), ..good.clone() }, "kinds"),
            (Declared { category: None, ..good.clone() }, "measure"),
            (Declared { range: [1.0, 0.0], ..good.clone() }, "range"),
            (Declared { missing: Some(-1.0), ..good.clone() }, "range"),
            (Declared { days: Some(0), ..good.clone() }, "days"),
            (Declared { refresh_hours: 25, ..good.clone() }, "ttl_hours"),
        ] {
            assert_eq!(wrong.wrong().unwrap().0, key);
        }
        let twice = [good.clone(), good];
        assert_eq!(Declared::first_wrong(&twice).unwrap().0, 1);
    }

    proptest! {
        /// What happens later changes no earlier value.
        #[test]
        fn values_are_right_for_their_instant(
            hours in prop::collection::vec((0i64..2000, 0u32..6, 0u32..9), 0..40),
            at in 0i64..2000,
            measure in 0usize..10,
        ) {
            let mut events: Vec<StoredEvent> =
                hours.into_iter().map(|(hour, item, basket)| event(hour, item, basket)).collect();
            events.sort_by_key(|event| event.time_s);
            let known: Vec<StoredEvent> =
                events.iter().filter(|event| event.time_s < at * 3600).copied().collect();
            let (all, then) = (
                PersonRecord { at_home: true, events },
                PersonRecord { at_home: true, events: known },
            );
            let feature = declared(MEASURES[measure]);
            let value = feature.value(&all, at * 3600, about);
            prop_assert_eq!(value, feature.value(&then, at * 3600, about));
            prop_assert!(value.is_none_or(|value| (0.0..=1000.0).contains(&value)));
        }
    }
}
