//! Features that a store declares: what is measured, for which purpose, who answers for it.
//!
//! A value at an instant is made of events strictly before it, so that a table of past values holds
//! nothing that was not known then.

use serde::{Deserialize, Serialize};

use super::{
    PersonRecord, StoredEvent,
    measure::{Counted, Measure, Type},
};
use crate::{
    calendar::{DAY_S, weekday},
    channel::Channels,
    event::Kind,
    live::{LiveEvent, Purpose},
};

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
    /// Only items with this label of the store's own, such as `brand:acme`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Only events of this channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Only events from the first hour of the day up to the second, 0 to 24; over midnight where the first
    /// is the greater one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<[u8; 2]>,
    /// Only events on these days of the week.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<Weekday>,
    /// Minutes that the store's clocks are ahead of UTC, for hours and weekdays.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub utc_offset_minutes: i16,
    /// Only searches in whose text this stands, without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched: Option<String>,
    /// Only so many days back; everything where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Least and greatest value; what lies outside is set to the nearer one.
    pub range: [f64; 2],
    /// The value where nothing can be said; without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<f64>,
    /// How the value is brought to another scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Lower bounds of buckets, ascending, at most 64: the value becomes the number of bounds that
    /// it reaches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<f64>,
    /// For how many hours a caller may keep a value.
    pub ttl_hours: u32,
    /// For how many hours a value is given again before it is made anew. A new event of the person
    /// makes it anew at once.
    #[serde(default)]
    pub refresh_hours: u32,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// How a value is brought to another scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// From 0 at the least value of the range to 1 at the greatest.
    Unit,
    /// The natural logarithm of 1 and the value, which must not be negative.
    Log,
}

/// What is known about an item.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// Its department.
    pub department: &'a str,
    /// Its category.
    pub category: &'a str,
    /// The store's own labels.
    pub labels: &'a [String],
}

/// What a person did, as far as features look.
#[derive(Clone, Copy)]
pub struct Did<'a> {
    /// Events about known items, by ascending time.
    pub record: &'a PersonRecord,
    /// Live events of every kind.
    pub live: &'a [LiveEvent],
}

/// Features that one agent may declare.
pub const FEATURES_MAX: usize = 256;

/// Buckets of one feature.
const BUCKETS_MAX: usize = 64;

impl Declared {
    /// The value at `at_s` (Unix seconds), of events strictly before it; `about` says what is known
    /// about an item. `None` where nothing can be said.
    #[must_use]
    pub fn value<'a>(
        &self,
        did: Did<'_>,
        at_s: i64,
        channels: &Channels,
        about: impl Fn(u32) -> Option<About<'a>>,
    ) -> Option<f64> {
        let start_s = self.days.map_or(i64::MIN, |days| at_s - i64::from(days) * DAY_S);
        let all = did.record.before(at_s);
        let of_kind =
            all.iter().filter(|event| event.time_s >= start_s && self.kinds.contains(&event.kind));
        let channel = self.channel.as_deref().map(|name| channels.number(name));
        let counts = |event: &&StoredEvent| {
            channel.is_none_or(|wanted| wanted == Some(event.channel))
                && self.meets_time(event.time_s)
                && about(event.item).is_some_and(|about| self.meets(about))
        };
        let events: Vec<&StoredEvent> = of_kind.clone().filter(counts).collect();
        let searches = did.live.iter().filter(|event| {
            (start_s..at_s).contains(&event.time_s)
                && event.kind == "search"
                && channel.is_none_or(|wanted| wanted == Some(event.channel))
                && self.meets_time(event.time_s)
                && self.meets_text(event.text.as_deref())
        });
        let value = self.measure.of(&Counted {
            events: &events,
            of_kind: of_kind.count(),
            all,
            searches: if self.measure == Measure::Searches { searches.count() } else { 0 },
            at_s,
        });
        let [least, greatest] = self.range;
        let value = value.filter(|value| value.is_finite()).map(|v| v.clamp(least, greatest));
        value.or(self.missing).map(|value| self.scaled(value))
    }

    /// The value on the declared scale.
    fn scaled(&self, value: f64) -> f64 {
        let [least, greatest] = self.range;
        match self.scale {
            _ if !self.buckets.is_empty() => {
                self.buckets.partition_point(|bound| *bound <= value) as f64
            }
            Some(Scale::Unit) => (value - least) / (greatest - least),
            Some(Scale::Log) => value.ln_1p(),
            None => value,
        }
    }

    /// The type of its values.
    #[must_use]
    pub fn value_type(&self) -> Type {
        match self.scale {
            _ if !self.buckets.is_empty() => Type::Bucket,
            Some(_) => Type::Scaled,
            None => self.measure.value_type(),
        }
    }

    /// The key that is wrong, and what it must be.
    #[must_use]
    pub fn wrong(&self, channels: &Channels) -> Option<(&'static str, &'static str)> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let [least, greatest] = self.range;
        let missing = self.missing.is_none_or(|value| (least..=greatest).contains(&value));
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return Some(("name", "a word of a-z, 0-9 and '-', used once"));
        }
        if self.owner.trim().is_empty() {
            return Some(("owner", "whoever answers for the feature"));
        }
        if self.kinds.is_empty() {
            return Some(("kinds", "at least one kind of event"));
        }
        if self.measure == Measure::Share && !self.narrows() {
            return Some(("measure", "another one than share where the feature is not narrowed"));
        }
        if self.searched.is_some() && self.measure != Measure::Searches {
            return Some(("searched", "there with the measure 'searches' alone"));
        }
        let of_items = [&self.department, &self.category, &self.label];
        if self.measure == Measure::Searches && of_items.iter().any(|of| of.is_some()) {
            return Some(("measure", "another one than searches where items are named"));
        }
        if let Some(wrong) = self.wrongly_narrowed(channels) {
            return Some(wrong);
        }
        if !(least.is_finite() && greatest.is_finite() && least <= greatest && missing) {
            return Some((
                "range",
                "the least and the greatest value, with 'missing' between them",
            ));
        }
        let scales = match self.scale {
            Some(Scale::Unit) => least < greatest,
            Some(Scale::Log) => least >= 0.0,
            None => true,
        };
        if !scales || (self.scale.is_some() && !self.buckets.is_empty()) {
            return Some((
                "scale",
                "'unit' over a range with two ends or 'log' over one from 0 on, without 'buckets'",
            ));
        }
        let ascends = self.buckets.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascends
            || self.buckets.len() > BUCKETS_MAX
            || self.buckets.iter().any(|bound| !bound.is_finite())
        {
            return Some(("buckets", "at most 64 numbers, each greater than the one before"));
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
    pub fn first_wrong(
        features: &[Self],
        channels: &Channels,
    ) -> Option<(usize, &'static str, &'static str)> {
        if features.len() > FEATURES_MAX {
            return Some((FEATURES_MAX, "name", "one of at most 256 features"));
        }
        features.iter().enumerate().find_map(|(place, feature)| {
            let repeated = features[..place].iter().any(|other| other.name == feature.name);
            let repeated = repeated.then_some(("name", "a word that no other feature has"));
            feature.wrong(channels).or(repeated).map(|(key, expected)| (place, key, expected))
        })
    }

    fn narrows(&self) -> bool {
        let texts = [&self.department, &self.category, &self.label, &self.channel];
        texts.iter().any(|text| text.is_some()) || self.hours.is_some() || !self.weekdays.is_empty()
    }

    /// Whether an item is one of those that count.
    fn meets(&self, about: About<'_>) -> bool {
        let is =
            |wanted: &Option<String>, of: &str| wanted.as_deref().is_none_or(|wanted| wanted == of);
        is(&self.department, about.department)
            && is(&self.category, about.category)
            && self.label.as_ref().is_none_or(|wanted| about.labels.contains(wanted))
    }

    /// Whether something happened on a day and at an hour that count.
    fn meets_time(&self, time_s: i64) -> bool {
        let local_s = time_s + i64::from(self.utc_offset_minutes) * 60;
        let hour = local_s.rem_euclid(DAY_S) / 3600;
        let at_hour = self.hours.is_none_or(|[from, to]| {
            let (from, to) = (i64::from(from), i64::from(to));
            if from < to { (from..to).contains(&hour) } else { hour >= from || hour < to }
        });
        at_hour
            && (self.weekdays.is_empty()
                || self.weekdays.iter().any(|day| *day as usize == weekday(local_s)))
    }

    fn meets_text(&self, text: Option<&str>) -> bool {
        let Some(wanted) = &self.searched else { return true };
        text.is_some_and(|text| text.to_lowercase().contains(&wanted.to_lowercase()))
    }

    fn wrongly_narrowed(&self, channels: &Channels) -> Option<(&'static str, &'static str)> {
        if self.channel.as_ref().is_some_and(|name| channels.number(name).is_none()) {
            return Some(("channel", "one of cleaning.channels"));
        }
        if self.hours.is_some_and(|[from, to]| from > 23 || to > 24 || from == to) {
            return Some(("hours", "two different hours, from 0 to 23 and up to 24"));
        }
        if self.utc_offset_minutes.unsigned_abs() > 14 * 60 {
            return Some(("utc_offset_minutes", "-840 to 840"));
        }
        if self.searched.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Some(("searched", "a part of what is searched for"));
        }
        None
    }
}

fn purchases() -> Vec<Kind> {
    vec![Kind::Purchase]
}

fn is_zero(number: &i16) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MEASURES: [Measure; 20] = [
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
        Measure::Channels,
        Measure::Price,
        Measure::Discount,
        Measure::DiscountShare,
        Measure::PromotedShare,
        Measure::Sessions,
        Measure::SessionMinutes,
        Measure::SessionDepth,
        Measure::Conversion,
        Measure::Searches,
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
            label: None,
            channel: None,
            hours: None,
            weekdays: Vec::new(),
            utc_offset_minutes: 0,
            searched: None,
            days: Some(30),
            range: [0.0, 1000.0],
            missing: None,
            scale: None,
            buckets: Vec::new(),
            ttl_hours: 24,
            refresh_hours: 0,
        }
    }

    /// Even items are tea.
    fn about(item: u32) -> Option<About<'static>> {
        let category = if item.is_multiple_of(2) { "TEA" } else { "COFFEE" };
        Some(About { department: "DRINKS", category, labels: &[] })
    }

    fn channels() -> Channels {
        ["till", "web"].into_iter().collect()
    }

    fn value(feature: &Declared, record: &PersonRecord, at_s: i64) -> Option<f64> {
        feature.value(Did { record, live: &[] }, at_s, &channels(), about)
    }

    fn event(hour: i64, item: u32, basket: u32) -> StoredEvent {
        StoredEvent {
            time_s: hour * 3600,
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
            MEASURES[..10].iter().map(|m| value(&declared(*m), &record, at_s)).collect();
        let expected = [3.0, 2.0, 2.0, 6.0, 4.5, 1.5, 14.0, 20.0, 6.0, 0.75].map(Some).to_vec();
        assert_eq!(values, expected);
        let whole = Declared { days: None, category: None, ..declared(Measure::TenureDays) };
        assert_eq!(value(&whole, &record, at_s), Some(59.0));
        let capped = Declared { range: [0.0, 1.0], ..declared(Measure::Events) };
        assert_eq!(value(&capped, &record, at_s), Some(1.0));
        let nobody = PersonRecord::default();
        assert_eq!(value(&declared(Measure::RecencyDays), &nobody, at_s), None);
        let filled = Declared { missing: Some(999.0), ..declared(Measure::RecencyDays) };
        assert_eq!(value(&filled, &nobody, at_s), Some(999.0));
    }

    #[test]
    fn money_visits_and_what_came_of_them_by_hand() {
        let minute = |minute: i64, item: u32, kind: Kind| StoredEvent {
            time_s: 12 * 3600 + minute * 60,
            kind,
            ..event(0, item, 0)
        };
        let web = channels().number("web").unwrap();
        let mut events = vec![
            minute(0, 2, Kind::View),
            minute(10, 4, Kind::View),
            // Half an hour without an event ends a visit.
            minute(40, 2, Kind::View),
            minute(45, 4, Kind::Purchase),
            minute(45, 6, Kind::Purchase),
        ];
        events[3].discount = 1.5;
        events[3].channel = web;
        events[4].quantity = 1.0;
        let record = PersonRecord { at_home: true, events };
        let of = |measure: Measure, kinds: &[Kind]| {
            value(&Declared { kinds: kinds.to_vec(), ..declared(measure) }, &record, DAY_S)
        };
        let (bought, all) = (&[Kind::Purchase][..], &[Kind::View, Kind::Purchase][..]);
        for (measure, kinds, expected) in [
            (Measure::Price, bought, 1.0),
            (Measure::Discount, bought, 1.5),
            (Measure::DiscountShare, bought, 1.0 / 3.0),
            (Measure::PromotedShare, bought, 0.5),
            (Measure::Channels, bought, 1.0),
            (Measure::Sessions, all, 2.0),
            (Measure::SessionMinutes, all, 7.5),
            (Measure::SessionDepth, all, 2.5),
            // Of what was looked at, item 4 was bought and item 2 was not.
            (Measure::Conversion, &[Kind::View], 0.5),
        ] {
            assert_eq!(of(measure, kinds), Some(expected), "{measure:?}");
        }
        assert_eq!(of(Measure::Price, &[Kind::Return]), None);
    }

    #[test]
    fn features_are_narrowed() {
        let mut events = vec![event(23, 2, 0), event(25, 2, 1), event(36, 3, 2)];
        let web = channels().number("web").unwrap();
        events[2].channel = web;
        let record = PersonRecord { at_home: true, events };
        let labels = ["brand:acme".to_owned()];
        let count = |feature: Declared| {
            let about = |item: u32| {
                let labels = if item == 3 { &labels[..] } else { &[] };
                Some(About { labels, ..about(item)? })
            };
            feature.value(Did { record: &record, live: &[] }, 99 * DAY_S, &channels(), about)
        };
        let any = || Declared { category: None, days: None, ..declared(Measure::Events) };
        assert_eq!(count(any()), Some(3.0));
        let acme = Declared { label: Some("brand:acme".into()), ..any() };
        assert_eq!(count(acme.clone()), Some(1.0));
        assert_eq!(count(Declared { measure: Measure::Share, ..acme }), Some(1.0 / 3.0));
        assert_eq!(count(Declared { channel: Some("Web".into()), ..any() }), Some(1.0));
        assert_eq!(count(Declared { hours: Some([22, 2]), ..any() }), Some(2.0));
        assert_eq!(count(Declared { hours: Some([12, 24]), ..any() }), Some(2.0));
        let ahead = Declared { utc_offset_minutes: 60, hours: Some([0, 12]), ..any() };
        assert_eq!(count(ahead), Some(2.0));
        // The first of January 1970 was a Thursday.
        assert_eq!(count(Declared { weekdays: vec![Weekday::Thu], ..any() }), Some(1.0));
        assert_eq!(
            count(Declared { weekdays: vec![Weekday::Fri, Weekday::Sat], ..any() }),
            Some(2.0)
        );
    }

    #[test]
    fn searches_by_their_words() {
        let searched = |time_s: i64, kind: &str, text: Option<&str>| LiveEvent {
            id: 0,
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
            text: text.map(str::to_owned),
        };
        let live = [
            searched(10, "search", Some("Green TEA")),
            searched(20, "search", None),
            searched(30, "review", Some("tea")),
            searched(40, "search", Some("tea")),
        ];
        let record = PersonRecord::default();
        let count = |searched: Option<&str>, at_s: i64| {
            let searched = searched.map(str::to_owned);
            let feature = Declared { searched, ..declared(Measure::Searches) };
            feature.value(Did { record: &record, live: &live }, at_s, &channels(), about)
        };
        assert_eq!((count(None, 100), count(Some("tea"), 100)), (Some(3.0), Some(2.0)));
        assert_eq!(count(Some("Tea"), 40), Some(1.0));
    }

    #[test]
    fn values_on_other_scales() {
        let record = PersonRecord {
            at_home: true,
            events: vec![event(1, 2, 0), event(2, 2, 0), event(3, 2, 1)],
        };
        let of = |feature: Declared| (value(&feature, &record, DAY_S), feature.value_type());
        let plain = || Declared { range: [0.0, 12.0], ..declared(Measure::Events) };
        assert_eq!(of(plain()), (Some(3.0), Type::Count));
        let unit = Declared { scale: Some(Scale::Unit), ..plain() };
        assert_eq!(of(unit), (Some(0.25), Type::Scaled));
        let log = Declared { scale: Some(Scale::Log), ..plain() };
        assert_eq!(of(log), (Some(4.0f64.ln()), Type::Scaled));
        let bucket = Declared { buckets: vec![1.0, 3.0, 10.0], ..plain() };
        assert_eq!(of(bucket), (Some(2.0), Type::Bucket));
    }

    #[test]
    fn what_cannot_be_meant_is_found() {
        let good = declared(Measure::Share);
        assert_eq!(good.wrong(&channels()), None);
        for (wrong, key) in [
            (Declared { name: "Tea".into(), ..good.clone() }, "name"),
            (Declared { owner: " ".into(), ..good.clone() }, "owner"),
            (Declared { kinds: Vec::new(), ..good.clone() }, "kinds"),
            (Declared { category: None, ..good.clone() }, "measure"),
            (Declared { range: [1.0, 0.0], ..good.clone() }, "range"),
            (Declared { missing: Some(-1.0), ..good.clone() }, "range"),
            (Declared { days: Some(0), ..good.clone() }, "days"),
            (Declared { refresh_hours: 25, ..good.clone() }, "ttl_hours"),
            (Declared { channel: Some("fax".into()), ..good.clone() }, "channel"),
            (Declared { hours: Some([7, 7]), ..good.clone() }, "hours"),
            (Declared { hours: Some([7, 25]), ..good.clone() }, "hours"),
            (Declared { utc_offset_minutes: 900, ..good.clone() }, "utc_offset_minutes"),
            (Declared { searched: Some("tea".into()), ..good.clone() }, "searched"),
            (Declared { measure: Measure::Searches, ..good.clone() }, "measure"),
            (Declared { buckets: vec![2.0, 1.0], ..good.clone() }, "buckets"),
            (Declared { scale: Some(Scale::Log), range: [-1.0, 1.0], ..good.clone() }, "scale"),
            (Declared { scale: Some(Scale::Unit), range: [1.0, 1.0], ..good.clone() }, "scale"),
            (Declared { scale: Some(Scale::Log), buckets: vec![1.0], ..good.clone() }, "scale"),
        ] {
            assert_eq!(wrong.wrong(&channels()).unwrap().0, key);
        }
        let twice = [good.clone(), good];
        assert_eq!(Declared::first_wrong(&twice, &channels()).unwrap().0, 1);
    }

    proptest! {
        /// What happens later changes no earlier value.
        #[test]
        fn values_are_right_for_their_instant(
            hours in prop::collection::vec((0i64..2000, 0u32..6, 0u32..9), 0..40),
            at in 0i64..2000,
            measure in 0usize..20,
            off in prop::collection::vec(0u8..2, 40),
        ) {
            let mut events: Vec<StoredEvent> =
                hours.into_iter().map(|(hour, item, basket)| event(hour, item, basket)).collect();
            for (event, off) in events.iter_mut().zip(off) {
                event.discount = f32::from(off);
                event.channel = u32::from(off);
            }
            events.sort_by_key(|event| event.time_s);
            let known: Vec<StoredEvent> =
                events.iter().filter(|event| event.time_s < at * 3600).copied().collect();
            let (all, then) = (
                PersonRecord { at_home: true, events },
                PersonRecord { at_home: true, events: known },
            );
            let feature = declared(MEASURES[measure]);
            let later = value(&feature, &all, at * 3600);
            prop_assert_eq!(later, value(&feature, &then, at * 3600));
            prop_assert!(later.is_none_or(|value| (0.0..=1000.0).contains(&value)));
        }
    }
}
