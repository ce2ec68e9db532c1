//! The canonical event, and the rules by which a row becomes one or is set aside.

use std::collections::HashSet;

use chorale_plan::Pseudonym;
use chorale_task::Catalogue;
use serde::{Deserialize, Serialize};

use crate::pseudonym::Pseudonymiser;

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
    /// The basket; rows of one person with the same number belong together.
    pub basket: u64,
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
    /// A negative price on anything but a return.
    NegativeAmount,
    /// A quantity outside the configured range.
    ImpossibleQuantity,
    /// An `event_id` that was there before.
    DuplicateId,
    /// An item outside the declared catalogue. Not a fault of the data.
    UnknownItem,
}

/// A row as it was read; the texts borrow from the batch and end with it.
#[derive(Clone, Copy, Default)]
pub struct Row<'a> {
    /// When, in Unix seconds; `None` when unreadable.
    pub time_s: Option<i64>,
    /// The raw customer id.
    pub person: Option<&'a str>,
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
}

impl Default for Cleaning {
    fn default() -> Self {
        Self { quarantine_max_share: 0.05, quantity_min: 0.0, quantity_max: 1e6 }
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
    /// Event ids so far, keyed.
    pub seen: HashSet<u64>,
}

/// Clocks of tills may run ahead of ours by as much, in seconds.
const AHEAD_MAX_S: i64 = 86_400;

crate::error::redacted!(Event);

impl Kind {
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
        }
    }

    /// Whether the row is faulty, as opposed to merely outside the catalogue.
    #[must_use]
    pub fn is_fault(self) -> bool {
        self != Self::UnknownItem
    }
}

impl Cleaner<'_> {
    /// The clean event, or why there is none. The raw id is pseudonymised here and goes no further.
    ///
    /// # Errors
    /// The [`Reason`] to set the row aside.
    pub fn clean(&mut self, row: &Row<'_>) -> Result<Event, Reason> {
        let time_s = row
            .time_s
            .filter(|time| (0..=self.now_s + AHEAD_MAX_S).contains(time))
            .ok_or(Reason::UnknownTime)?;
        let raw = row.person.filter(|raw| !raw.trim().is_empty()).ok_or(Reason::MissingPerson)?;
        let kind = row.kind.and_then(Kind::parse).ok_or(Reason::UnknownKind)?;
        let amount = row.amount.or(0.0)?;
        if amount < 0.0 && kind != Kind::Return {
            return Err(Reason::NegativeAmount);
        }
        let quantity = row.quantity.or(1.0)?;
        if !(self.rules.quantity_min..=self.rules.quantity_max).contains(&quantity) {
            return Err(Reason::ImpossibleQuantity);
        }
        if let Some(id) = row.event_id
            && !self.seen.insert(self.names.basket(id))
        {
            return Err(Reason::DuplicateId);
        }
        let item =
            row.item.and_then(|item| self.catalogue.index_of(item)).ok_or(Reason::UnknownItem)?;
        Ok(Event {
            time_s,
            person: self.names.person(raw),
            at_home: row.home_store.map(|home| home == self.home),
            kind,
            item,
            quantity: quantity as f32,
            amount,
            // Without a basket column, what a person does within one day belongs together.
            basket: row.basket.map_or((time_s / 86_400) as u64, |raw| self.names.basket(raw)),
        })
    }
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

    fn judge(rows: &[Row<'_>]) -> Vec<Result<Event, Reason>> {
        let item = |name: &str| Item {
            item_id: name.into(),
            department: "D".into(),
            category: "C".into(),
        };
        let catalogue = Catalogue::new(vec![item("APPLES"), item("PEARS")]).unwrap();
        let names = Pseudonymiser::new(&Key::from_bytes([7; 32]));
        let mut cleaner = Cleaner {
            home: "367",
            rules: &Cleaning::default(),
            catalogue: &catalogue,
            names: &names,
            now_s: 2_000_000_000,
            seen: HashSet::new(),
        };
        rows.iter().map(|row| cleaner.clean(row)).collect()
    }

    fn good() -> Row<'static> {
        Row {
            time_s: Some(1_500_000_000),
            person: Some("42"),
            home_store: Some("367"),
            kind: Some("purchase"),
            item: Some("PEARS"),
            quantity: Number::Value(2.0),
            amount: Number::Value(1.5),
            basket: Some("b1"),
            event_id: None,
        }
    }

    #[test]
    fn a_good_row_becomes_an_event() {
        let event = judge(&[good()])[0].unwrap();
        assert_eq!((event.item, event.quantity, event.at_home), (1, 2.0, Some(true)));
        let elsewhere = Row { home_store: Some("1"), quantity: Number::Absent, ..good() };
        let event = judge(&[elsewhere])[0].unwrap();
        assert_eq!((event.quantity, event.at_home), (1.0, Some(false)));
        let silent = Row { home_store: None, ..good() };
        assert_eq!(judge(&[silent])[0].unwrap().at_home, None);
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
            (Row { quantity: Number::Value(f64::NAN), ..good() }, Reason::NotANumber),
            (Row { quantity: Number::Value(-1.0), ..good() }, Reason::ImpossibleQuantity),
            (Row { quantity: Number::Value(1e7), ..good() }, Reason::ImpossibleQuantity),
            (Row { item: Some("CAVIAR"), ..good() }, Reason::UnknownItem),
            (Row { item: None, ..good() }, Reason::UnknownItem),
        ];
        for (row, reason) in rows {
            assert_eq!(judge(&[row])[0], Err(reason));
        }
    }

    #[test]
    fn ids_count_once_and_returns_may_be_negative() {
        let row = Row { event_id: Some("e1"), ..good() };
        let judged = judge(&[row, row]);
        assert!(judged[0].is_ok());
        assert_eq!(judged[1], Err(Reason::DuplicateId));
        let back = Row { kind: Some("return"), amount: Number::Value(-3.0), ..good() };
        assert_eq!(judge(&[back])[0].unwrap().amount, -3.0);
    }
}
