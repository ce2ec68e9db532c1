//! The canonical event, and the rules by which a row becomes one or is set aside.

use std::collections::HashMap;

use chorale_plan::Pseudonym;
use chorale_task::Catalogue;
use serde::{Deserialize, Serialize};

use crate::{channel::Channels, pseudonym::Pseudonymiser};

/// One clean event. No raw id is left in it.
#[derive(Clone, Copy, PartialEq)]
pub struct Event {
    /// When, in Unix seconds.
    pub time_s: i64,
    /// Who.
    pub person: Pseudonym,
    /// Whether the row names this agent's store as the person's home; `None` when it names none.
    pub at_home: Option<bool>,
    /// What happened.
    pub kind: Kind,
    /// With which item, as an index of the catalogue.
    pub item: u32,
    /// How many, 1 where the data does not say.
    pub quantity: f32,
    /// For how much money in the store's currency, 0 where the data does not say.
    pub amount: f64,
    /// How much money was taken off its price, 0 where the data does not say.
    pub discount: f32,
    /// Where it happened, see [`Channels`]; 0 where the data does not say.
    pub channel: u32,
    /// The basket; rows of one person with the same number belong together.
    pub basket: u64,
    /// Stands for the event's id, keyed; 0 where the data has none.
    pub id: u64,
}

/// What a clean row says.
#[derive(Clone, Copy, PartialEq)]
pub enum Said {
    /// This happened.
    Happened(Event),
    /// What stood under this id did not happen.
    TakenBack {
        /// Whose event it was.
        person: Pseudonym,
        /// The event's keyed id.
        id: u64,
    },
}

/// What a person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Bought the item.
    Purchase,
    /// Gave it back.
    Return,
    /// Looked at it.
    View,
    /// Followed a link to it.
    Click,
    /// Put it into the cart.
    CartAdd,
    /// Took it out of the cart.
    CartRemove,
}

/// Why a row was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No time, one that cannot be read, or one before 1970 or more than a day ahead.
    UnknownTime,
    /// No customer.
    MissingPerson,
    /// An unknown kind of event.
    UnknownKind,
    /// A quantity or an amount that is no number.
    NotANumber,
    /// A negative price on anything but a return, or a negative discount.
    NegativeAmount,
    /// A quantity outside the configured range.
    ImpossibleQuantity,
    /// An `event_id` that was there before.
    DuplicateId,
    /// An item outside the declared catalogue. Not a fault of the data.
    UnknownItem,
    /// A line with too many or too few fields, or one that is no JSON object.
    MalformedLine,
    /// A line that is not in the source's encoding.
    WrongEncoding,
    /// A channel that the configuration does not name.
    UnknownChannel,
}

/// A row as it was read; the texts borrow from the batch and end with it.
#[derive(Clone, Copy, Default)]
pub struct Row<'a> {
    /// When, in Unix seconds; `None` when unreadable.
    pub time_s: Option<i64>,
    /// The raw customer id.
    pub person: Option<&'a str>,
    /// The raw id of a visit, for visitors without a login.
    pub session: Option<&'a str>,
    /// The customer's home store.
    pub home_store: Option<&'a str>,
    /// What happened, see [`Kind::parse`].
    pub kind: Option<&'a str>,
    /// The item's id.
    pub item: Option<&'a str>,
    /// How many.
    pub quantity: Number,
    /// For how much money.
    pub amount: Number,
    /// How much money was taken off.
    pub discount: Number,
    /// Where: the till, the web shop or the like.
    pub channel: Option<&'a str>,
    /// The raw basket or receipt number.
    pub basket: Option<&'a str>,
    /// An id that no other row has.
    pub event_id: Option<&'a str>,
}

/// A numeric cell.
#[derive(Clone, Copy, Default)]
pub enum Number {
    /// The data does not say.
    #[default]
    Absent,
    /// This.
    Value(f64),
    /// Something that is no number.
    Unreadable,
}

/// What counts as a bad row, and how many of them are too many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cleaning {
    /// Largest share of faulty rows, 0 to 1, with which an ingest still goes on. Rows whose item
    /// is outside the catalogue are set aside too, but are no fault and do not count here.
    pub quarantine_max_share: f64,
    /// Smallest possible quantity on one row.
    pub quantity_min: f64,
    /// Largest possible quantity on one row.
    pub quantity_max: f64,
    /// What a second row with the same `event_id` is, within one person's rows.
    pub repeated_id: RepeatedId,
    /// The channels that rows may name.
    pub channels: Channels,
}

/// What a row is whose person has a row with its `event_id` already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepeatedId {
    /// A fault: the first row counts.
    #[default]
    SetAside,
    /// A correction: the last row counts, and one of kind 'void' takes the event back.
    Correct,
}

impl Default for Cleaning {
    fn default() -> Self {
        Self {
            quarantine_max_share: 0.05,
            quantity_min: 0.0,
            quantity_max: 1e6,
            repeated_id: RepeatedId::SetAside,
            channels: Channels::default(),
        }
    }
}

/// Turns rows into events.
pub struct Cleaner<'a> {
    /// The store that rows must name for the person to be at home.
    pub home: &'a str,
    /// What counts as a bad row.
    pub rules: &'a Cleaning,
    /// The declared items.
    pub catalogue: &'a Catalogue,
    /// Makes the pseudonyms.
    pub names: &'a Pseudonymiser,
    /// The present, Unix seconds.
    pub now_s: i64,
}

/// Turns the rows of one batch into events. Rows of a batch often share a person, a basket or an
/// item; what was worked out for one is kept for the others, until the batch and its texts end.
pub struct Batch<'c, 'r> {
    cleaner: &'c Cleaner<'c>,
    persons: HashMap<&'r str, Pseudonym>,
    baskets: HashMap<&'r str, u64>,
    items: HashMap<&'r str, Option<u32>>,
    channels: HashMap<&'r str, Option<u32>>,
}

/// Clocks of tills may run ahead of ours by as much, in seconds.
const AHEAD_MAX_S: i64 = 86_400;

crate::error::redacted!(Event, Said);

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Purchase, Self::Return, Self::View, Self::Click, Self::CartAdd, Self::CartRemove];

    /// Parses the text of the column `kind`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "purchase" => Self::Purchase,
            "return" => Self::Return,
            "view" => Self::View,
            "click" => Self::Click,
            "cart-add" => Self::CartAdd,
            "cart-remove" => Self::CartRemove,
            _ => return None,
        })
    }
}

impl Reason {
    /// A few words for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::UnknownTime => "unknown time",
            Self::MissingPerson => "no customer",
            Self::UnknownKind => "unknown kind",
            Self::NotANumber => "not a number",
            Self::NegativeAmount => "negative amount",
            Self::ImpossibleQuantity => "impossible quantity",
            Self::DuplicateId => "duplicate id",
            Self::UnknownItem => "item outside the catalogue",
            Self::MalformedLine => "malformed line",
            Self::WrongEncoding => "not in the declared encoding",
            Self::UnknownChannel => "unknown channel",
        }
    }

    /// Whether the row is faulty, as opposed to merely outside the catalogue.
    #[must_use]
    pub fn is_fault(self) -> bool {
        self != Self::UnknownItem
    }
}

impl<'c> Cleaner<'c> {
    /// For the rows of one batch.
    #[must_use]
    pub fn batch<'r>(&'c self) -> Batch<'c, 'r> {
        let (persons, baskets, items, channels) = <_>::default();
        Batch { cleaner: self, persons, baskets, items, channels }
    }
}

impl<'r> Batch<'_, 'r> {
    /// What a row says, or why it says nothing. The raw id is pseudonymised here and goes no
    /// further.
    ///
    /// # Errors
    /// The [`Reason`] to set the row aside.
    pub fn clean(&mut self, row: &Row<'r>) -> Result<Said, Reason> {
        let Cleaner { home, rules, catalogue, names, now_s } = self.cleaner;
        let person = filled(row.person);
        let session = filled(row.session);
        let who = match (person, session) {
            (Some(raw), _) => *self.persons.entry(raw).or_insert_with(|| names.person(raw)),
            (None, Some(raw)) => names.session(raw),
            (None, None) => return Err(Reason::MissingPerson),
        };
        let id = row.event_id.map_or(0, |raw| names.basket(raw).max(1));
        if row.kind == Some("void") && rules.repeated_id == RepeatedId::Correct && id != 0 {
            return Ok(Said::TakenBack { person: who, id });
        }
        let time_s = row
            .time_s
            .filter(|time| (0..=now_s + AHEAD_MAX_S).contains(time))
            .ok_or(Reason::UnknownTime)?;
        let kind = row.kind.and_then(Kind::parse).ok_or(Reason::UnknownKind)?;
        let amount = row.amount.or(0.0)?;
        if amount < 0.0 && kind != Kind::Return {
            return Err(Reason::NegativeAmount);
        }
        let mut number =
            |raw| *self.channels.entry(raw).or_insert_with(|| rules.channels.number(raw));
        let channel = match filled(row.channel) {
            Some(raw) => number(raw).ok_or(Reason::UnknownChannel)?,
            None => 0,
        };
        let discount = row.discount.or(0.0)? as f32;
        if discount < 0.0 {
            return Err(Reason::NegativeAmount);
        }
        if discount.is_infinite() {
            return Err(Reason::NotANumber);
        }
        let quantity = row.quantity.or(1.0)?;
        if !(rules.quantity_min..=rules.quantity_max).contains(&quantity) {
            return Err(Reason::ImpossibleQuantity);
        }
        let index = |raw| *self.items.entry(raw).or_insert_with(|| catalogue.index_of(raw));
        let item = row.item.and_then(index).ok_or(Reason::UnknownItem)?;
        let basket = |raw| *self.baskets.entry(raw).or_insert_with(|| names.basket(raw));
        Ok(Said::Happened(Event {
            time_s,
            person: who,
            // A visit may be anybody's, so it has no home and never trains.
            at_home: person.and(row.home_store).map(|named| named == *home),
            kind,
            item,
            quantity: quantity as f32,
            amount,
            discount,
            channel,
            // Without a basket column, what a person does within one day belongs together.
            basket: row.basket.map_or((time_s / 86_400) as u64, basket),
            id,
        }))
    }
}

/// A text that is more than white space.
fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

impl Number {
    fn or(self, default: f64) -> Result<f64, Reason> {
        match self {
            Self::Absent => Ok(default),
            Self::Value(value) if value.is_finite() => Ok(value),
            Self::Value(_) | Self::Unreadable => Err(Reason::NotANumber),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_task::Item;

    use super::*;
    use crate::keys::Key;

    fn judge(rows: &[Row<'_>]) -> Vec<Result<Said, Reason>> {
        judge_by(&Cleaning::default(), rows)
    }

    fn judge_by(rules: &Cleaning, rows: &[Row<'_>]) -> Vec<Result<Said, Reason>> {
        let item = |name: &str| Item {
            item_id: name.into(),
            department: "D".into(),
            category: "C".into(),
        };
        let catalogue = Catalogue::new(vec![item("APPLES"), item("PEARS")]).unwrap();
        let names = Pseudonymiser::new(&Key::from_bytes([7; 32]));
        let cleaner = Cleaner {
            home: "367",
            rules,
            catalogue: &catalogue,
            names: &names,
            now_s: 2_000_000_000,
        };
        let mut batch = cleaner.batch();
        rows.iter().map(|row| batch.clean(row)).collect()
    }

    fn event(row: Row<'_>) -> Event {
        match judge(&[row])[0].unwrap() {
            Said::Happened(event) => event,
            Said::TakenBack { .. } => panic!("nothing is taken back"),
        }
    }

    fn good() -> Row<'static> {
        Row {
            time_s: Some(1_500_000_000),
            person: Some("42"),
            session: None,
            home_store: Some("367"),
            kind: Some("purchase"),
            item: Some("PEARS"),
            quantity: Number::Value(2.0),
            amount: Number::Value(1.5),
            discount: Number::Absent,
            channel: None,
            basket: Some("b1"),
            event_id: None,
        }
    }

    #[test]
    fn a_good_row_becomes_an_event() {
        let good_one = event(good());
        assert_eq!((good_one.item, good_one.quantity, good_one.at_home), (1, 2.0, Some(true)));
        let elsewhere = Row { home_store: Some("1"), quantity: Number::Absent, ..good() };
        let elsewhere = event(elsewhere);
        assert_eq!((elsewhere.quantity, elsewhere.at_home), (1.0, Some(false)));
        assert_eq!(event(Row { home_store: None, ..good() }).at_home, None);
        assert_eq!((good_one.discount, good_one.channel), (0.0, 0));
        let off = Row { discount: Number::Value(0.5), channel: Some(" Web "), ..good() };
        let channels = Channels::from_iter(["till", "web"]);
        let web = channels.number("web").unwrap();
        let rules = Cleaning { channels, ..Cleaning::default() };
        let Ok(Said::Happened(off)) = judge_by(&rules, &[off])[0] else { panic!("a good row") };
        assert_eq!((off.discount, off.channel), (0.5, web));
    }

    #[test]
    fn a_visitor_is_nobody_at_home_here() {
        let visit = Row { person: None, session: Some("42"), ..good() };
        let visitor = event(visit);
        assert_eq!(visitor.at_home, None);
        assert!(visitor.person != event(good()).person, "a session is no customer's number");
        let known = event(Row { session: Some("s9"), ..good() });
        assert!(known.person == event(good()).person);
    }

    #[test]
    fn every_fault_has_its_reason() {
        let rows = [
            (Row { time_s: None, ..good() }, Reason::UnknownTime),
            (Row { time_s: Some(-1), ..good() }, Reason::UnknownTime),
            (Row { time_s: Some(2_000_100_000), ..good() }, Reason::UnknownTime),
            (Row { person: None, ..good() }, Reason::MissingPerson),
            (Row { person: Some(" "), ..good() }, Reason::MissingPerson),
            (Row { kind: Some("teleport"), ..good() }, Reason::UnknownKind),
            (Row { amount: Number::Value(-0.01), ..good() }, Reason::NegativeAmount),
            (Row { amount: Number::Unreadable, ..good() }, Reason::NotANumber),
            (Row { discount: Number::Value(-0.01), ..good() }, Reason::NegativeAmount),
            (Row { discount: Number::Unreadable, ..good() }, Reason::NotANumber),
            (Row { discount: Number::Value(1e300), ..good() }, Reason::NotANumber),
            (Row { quantity: Number::Value(f64::NAN), ..good() }, Reason::NotANumber),
            (Row { quantity: Number::Value(-1.0), ..good() }, Reason::ImpossibleQuantity),
            (Row { quantity: Number::Value(1e7), ..good() }, Reason::ImpossibleQuantity),
            (Row { channel: Some("fax"), ..good() }, Reason::UnknownChannel),
            (Row { item: Some("CAVIAR"), ..good() }, Reason::UnknownItem),
            (Row { item: None, ..good() }, Reason::UnknownItem),
        ];
        for (row, reason) in rows {
            assert_eq!(judge(&[row])[0], Err(reason));
        }
    }

    #[test]
    fn returns_may_be_negative() {
        let back = Row { kind: Some("return"), amount: Number::Value(-3.0), ..good() };
        assert_eq!(event(back).amount, -3.0);
    }

    #[test]
    fn only_corrections_take_back() {
        let void = Row { kind: Some("void"), event_id: Some("e1"), time_s: None, ..good() };
        assert_eq!(judge(&[void])[0], Err(Reason::UnknownTime));
        let rules = Cleaning { repeated_id: RepeatedId::Correct, ..Cleaning::default() };
        let judged = judge_by(&rules, &[Row { event_id: Some("e1"), ..good() }, void]);
        let (Ok(Said::Happened(event)), Ok(Said::TakenBack { person, id })) =
            (judged[0], judged[1])
        else {
            panic!("{judged:?}");
        };
        assert!(person == event.person && id == event.id && id != 0);
        let nameless = Row { event_id: None, ..void };
        assert!(judge_by(&rules, &[nameless])[0].is_err());
    }
}
