//! What reaches an agent while it serves: events as they happen, consents, merges of channels,
//! erasures, and the store's own words about its items.
//!
//! Files stay the record of the past: an ingest replaces what it read before and leaves all of
//! this alone, except that erased persons are not read again.

use std::collections::{BTreeMap, BTreeSet};

use chorale_plan::Pseudonym;
use chorale_task::Catalogue;
use serde::{Deserialize, Serialize};

use crate::{
    event::Kind,
    features::{PersonRecord, StoredEvent},
};

/// One event as it was sent, without the person.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveEvent {
    /// Keyed hash of the event's id: one person's equal ids are one event.
    pub id: u64,
    /// When, in Unix seconds.
    pub time_s: i64,
    /// What happened; a free word in kebab-case, see [`Kind::parse`] for those that train.
    pub kind: String,
    /// With which item, as the store names it.
    pub item: Option<String>,
    /// How many.
    pub quantity: f32,
    /// For how much money in the store's currency.
    pub amount: f64,
    /// How much money was taken off, 0 where nobody says.
    pub discount: f32,
    /// Where, see [`crate::channel::Channels`]; 0 where nobody says.
    pub channel: u32,
    /// Keyed hash of the basket's or receipt's number.
    pub basket: Option<u64>,
    /// Keyed hash of the session.
    pub session: Option<u64>,
    /// The answer of this agent that led to it.
    pub request: Option<String>,
    /// What was searched for or written in a review, scrubbed of personal data.
    pub text: Option<String>,
}

/// What a person's data may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Recommendations, re-ranking and the profile behind them.
    Personalisation,
    /// Segments and triggers.
    Marketing,
    /// Indications of abuse.
    Risk,
    /// A part in the federation's rounds.
    Training,
    /// A summary for a linked agent; always asked first.
    HandOver,
}

/// A person's word on one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Yes or no.
    pub granted: bool,
    /// When it was given, Unix seconds.
    pub time_s: i64,
}

/// A person's consents; what is absent was never asked.
pub type Consents = BTreeMap<Purpose, Consent>;

/// One line of the log of merges.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MergeEntry {
    /// When, Unix seconds.
    pub time_s: i64,
    /// The pseudonym that joins or leaves.
    pub alias: [u8; 32],
    /// The pseudonym that stands for both.
    pub into: [u8; 32],
    /// Whether a merge was undone.
    pub undone: bool,
}

/// What the store says about one item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// The item's id.
    pub item: String,
    /// Order in which the store named it, from 0.
    pub position: u32,
    /// For people, and for matching a search's words.
    pub title: Option<String>,
    /// Department, for items outside the federation's catalogue.
    pub department: Option<String>,
    /// Category, for items outside the federation's catalogue.
    pub category: Option<String>,
    /// Words to filter by.
    pub labels: Vec<String>,
    /// Price in the store's currency.
    pub price: Option<f64>,
    /// Pieces in stock; 0 keeps the item out of answers.
    pub stock: Option<u64>,
    /// Kept out of every answer.
    pub hidden: bool,
}

/// That a person was erased.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Erasure {
    /// When, Unix seconds.
    pub time_s: i64,
    /// The signed receipt, as it was given out.
    pub receipt: String,
}

crate::error::redacted!(LiveEvent, MergeEntry, Erasure);

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 5] =
        [Self::Personalisation, Self::Marketing, Self::Risk, Self::Training, Self::HandOver];
}

/// Whether `purpose` is allowed: by the person's word, or without one by `default`.
#[must_use]
pub fn allows(consents: Option<&Consents>, purpose: Purpose, default: bool) -> bool {
    consents.and_then(|given| given.get(&purpose)).map_or(default, |consent| consent.granted)
}

/// The latest word on each purpose over all channels of a person; of two words in one second the
/// refusal counts.
#[must_use]
pub fn latest<'a>(channels: impl IntoIterator<Item = &'a Consents>) -> Consents {
    let mut all = Consents::new();
    for (purpose, consent) in channels.into_iter().flatten() {
        let kept = all.entry(*purpose).or_insert(*consent);
        let newer = consent.time_s > kept.time_s;
        let refuses = consent.time_s == kept.time_s && !consent.granted;
        if newer || refuses {
            *kept = *consent;
        }
    }
    all
}

/// Everything that is known about one person in one record: the files' records of all their
/// channels and the live events whose kind and item are known, by ascending time. `index` finds an
/// item's number. Baskets are numbered anew, from the first.
///
/// The person is at home where every record out of the files says so, and at least one is there.
#[must_use]
pub fn combined<'a>(
    files: impl IntoIterator<Item = &'a PersonRecord>,
    live: impl IntoIterator<Item = &'a LiveEvent>,
    index: impl Fn(&str) -> Option<u32>,
) -> PersonRecord {
    // A basket's name: the channel and its number there, or the live events' own.
    let mut events: Vec<((u64, u64), StoredEvent)> = Vec::new();
    let (mut channels, mut home) = (0, true);
    for record in files {
        channels += 1;
        home &= record.at_home;
        let named = record.events.iter().map(|e| ((channels, u64::from(e.basket)), *e));
        events.extend(named);
    }
    for event in live {
        let (Some(kind), Some(item)) =
            (Kind::parse(&event.kind), event.item.as_deref().and_then(&index))
        else {
            continue;
        };
        // Without a basket, what a person does within one day belongs together.
        let day = event.time_s.div_euclid(crate::calendar::DAY_S) as u64;
        let basket = event.basket.map_or((u64::MAX, day), |basket| (0, basket));
        let stored = StoredEvent {
            time_s: event.time_s,
            item,
            kind,
            basket: 0,
            quantity: event.quantity,
            amount: event.amount,
            discount: event.discount,
            channel: event.channel,
        };
        events.push((basket, stored));
    }
    events.sort_by_key(|(_, event)| event.time_s);
    let mut numbers = std::collections::HashMap::new();
    let events = events.into_iter().map(|(basket, event)| {
        let next = numbers.len() as u32;
        StoredEvent { basket: *numbers.entry(basket).or_insert(next), ..event }
    });
    PersonRecord { events: events.collect(), at_home: home && channels > 0 }
}

/// As [`combined`], for the federation's catalogue alone: what a round may see.
#[must_use]
pub fn for_training<'a>(
    files: impl IntoIterator<Item = &'a PersonRecord>,
    live: impl IntoIterator<Item = &'a LiveEvent>,
    catalogue: &Catalogue,
) -> PersonRecord {
    combined(files, live, |item| catalogue.index_of(item))
}

/// Which pseudonym stands for each alias, followed to the end.
#[derive(Clone, Debug, Default)]
pub struct Aliases {
    up: BTreeMap<Pseudonym, Pseudonym>,
    down: BTreeMap<Pseudonym, BTreeSet<Pseudonym>>,
}

impl Aliases {
    /// From the merges in force, alias to primary.
    #[must_use]
    pub fn new(merges: BTreeMap<Pseudonym, Pseudonym>) -> Self {
        let mut down: BTreeMap<Pseudonym, BTreeSet<Pseudonym>> = BTreeMap::new();
        for (alias, primary) in &merges {
            down.entry(*primary).or_default().insert(*alias);
        }
        Self { up: merges, down }
    }

    /// The pseudonym that stands for `who`.
    #[must_use]
    pub fn primary(&self, who: Pseudonym) -> Pseudonym {
        let mut at = who;
        // A circle cannot be made (see `join`); should one be stored all the same, it ends.
        for _ in 0..self.up.len() {
            match self.up.get(&at) {
                Some(next) => at = *next,
                None => break,
            }
        }
        at
    }

    /// Lets `primary`'s person stand for `alias`'s too; the pair in force, or `None` where they
    /// are one already.
    pub fn join(&mut self, alias: Pseudonym, primary: Pseudonym) -> Option<(Pseudonym, Pseudonym)> {
        let (alias, primary) = (self.primary(alias), self.primary(primary));
        (alias != primary).then(|| {
            self.up.insert(alias, primary);
            self.down.entry(primary).or_default().insert(alias);
            (alias, primary)
        })
    }

    /// Undoes a merge of `alias`; the pseudonym that stood for it.
    pub fn part(&mut self, alias: Pseudonym) -> Option<Pseudonym> {
        let primary = self.up.remove(&alias)?;
        if let Some(aliases) = self.down.get_mut(&primary) {
            aliases.remove(&alias);
        }
        Some(primary)
    }

    /// `primary` and every pseudonym that it stands for, in order.
    #[must_use]
    pub fn members(&self, primary: Pseudonym) -> Vec<Pseudonym> {
        let mut all = BTreeSet::from([primary]);
        let mut open = vec![primary];
        while let Some(who) = open.pop() {
            let aliases = self.down.get(&who).into_iter().flatten();
            open.extend(aliases.copied().filter(|alias| all.insert(*alias)));
        }
        all.into_iter().collect()
    }

    /// Drops every trace of these pseudonyms.
    pub fn forget(&mut self, gone: &[Pseudonym]) {
        let merges = std::mem::take(&mut self.up);
        let kept = merges
            .into_iter()
            .filter(|(alias, primary)| !gone.contains(alias) && !gone.contains(primary));
        *self = Self::new(kept.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(byte: u8) -> Pseudonym {
        Pseudonym::from_bytes([byte; 32])
    }

    fn live(time_s: i64, kind: &str, item: &str, basket: Option<u64>) -> LiveEvent {
        LiveEvent {
            id: time_s as u64,
            time_s,
            kind: kind.into(),
            item: Some(item.into()),
            quantity: 1.0,
            amount: 2.0,
            discount: 0.0,
            channel: 0,
            basket,
            session: None,
            request: None,
            text: None,
        }
    }

    #[test]
    fn files_and_live_events_make_one_record() {
        let stored = |time_s, basket| StoredEvent {
            time_s,
            item: 0,
            kind: Kind::Purchase,
            basket,
            quantity: 1.0,
            amount: 1.0,
            discount: 0.0,
            channel: 0,
        };
        let home = PersonRecord { at_home: true, events: vec![stored(10, 0), stored(30, 1)] };
        let away = PersonRecord { at_home: false, events: vec![stored(20, 0)] };
        let events = [
            live(25, "purchase", "PEARS", Some(7)),
            live(25, "purchase", "APPLES", Some(7)),
            live(26, "impression", "PEARS", None),
            live(27, "purchase", "NOWHERE", None),
        ];
        let index = |item: &str| ["APPLES", "PEARS"].iter().position(|i| *i == item);
        let index = |item: &str| index(item).map(|at| at as u32);
        let both = combined([&home, &away], &events, index);
        let seen: Vec<_> = both.events.iter().map(|e| (e.time_s, e.item, e.basket)).collect();
        assert_eq!(seen, [(10, 0, 0), (20, 0, 1), (25, 1, 2), (25, 0, 2), (30, 0, 3)]);
        assert!(!both.at_home, "a person with two homes has none");
        assert!(combined([&home], &events, index).at_home);
        assert!(!combined([], &events, index).at_home, "no file names a home");
    }

    #[test]
    fn merges_follow_and_never_make_a_circle() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.join(who(1), who(2)), Some((who(1), who(2))));
        assert_eq!(aliases.join(who(2), who(3)), Some((who(2), who(3))));
        assert_eq!(aliases.join(who(3), who(1)), None);
        assert_eq!(aliases.primary(who(1)), who(3));
        assert_eq!(aliases.members(who(3)), [who(1), who(2), who(3)]);
        assert_eq!(aliases.part(who(2)), Some(who(3)));
        assert_eq!(aliases.members(who(2)), [who(1), who(2)]);
        aliases.forget(&[who(2)]);
        assert_eq!(aliases.primary(who(1)), who(1));
    }

    #[test]
    fn a_word_counts_more_than_the_default() {
        let given = Consents::from([(Purpose::Risk, Consent { granted: false, time_s: 1 })]);
        assert!(!allows(Some(&given), Purpose::Risk, true));
        assert!(allows(Some(&given), Purpose::Marketing, true));
        assert!(!allows(None, Purpose::Training, false));
        let word = |granted, time_s| Consents::from([(Purpose::Risk, Consent { granted, time_s })]);
        let risk = |channels: &[Consents]| latest(channels)[&Purpose::Risk].granted;
        assert!(risk(&[word(false, 1), word(true, 2)]));
        assert!(!risk(&[word(true, 1), word(false, 2)]));
        assert!(!risk(&[word(true, 2), word(false, 2)]));
    }
}
