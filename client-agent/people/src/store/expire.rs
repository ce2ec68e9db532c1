//! Taking out what is no longer kept.

use std::ops::ControlFlow;

use chorale_plan::Pseudonym;
use chorale_task::Catalogue;
use redb::{ReadableTable, WriteTransaction};

use super::{Ingest, PERSONS, Sealed, Store, StoreError, TakeIn, live::LIVE};
use crate::{
    error::Failure,
    features::PersonRecord,
    gather::{Assembled, Gathered},
    live::LiveEvent,
    parallel,
    profiles::Serving,
    retention::{Cut, Expired},
};

/// Bytes of records that stay in memory until their profiles are made.
const BYTES_MAX: usize = 64 << 20;

impl Store {
    /// Takes out every event that `cut` no longer keeps, and whoever has no other; makes the
    /// profiles and the figures about the rest anew. One transaction, and none where nothing is
    /// due. Consents, merges and erasures stay: they are what a person or the store said.
    ///
    /// # Errors
    /// When the store cannot be read or written, or the ingested events belong to another
    /// catalogue; then nothing is changed.
    pub fn expire(&self, cut: &Cut, catalogue: &Catalogue) -> Result<Expired, Failure> {
        let due = self.any(PERSONS, |record: PersonRecord| {
            record.events.iter().any(|event| !cut.keeps(event.kind, event.time_s))
        })? || self
            .any(LIVE, |mut events: Vec<LiveEvent>| !cut.apply(&mut events).is_nothing())?;
        if !due {
            return Ok(Expired::default());
        }
        let mut expired = Expired::default();
        let reading = self.reading()?;
        let Some(last) = self.ingest()? else {
            self.write(|store, transaction| {
                expired = store.expire_live(transaction, cut)?;
                store.renewed(transaction)
            })?;
            return Ok(expired);
        };
        if last.catalogue != catalogue.digest() {
            return Err(StoreError::Stale { path: self.path(), what: "catalogue" }.into());
        }
        let model = self.model()?.filter(|model| *model.catalogue() == last.catalogue);
        let how = TakeIn {
            before: reading.as_ref(),
            add: true,
            items: catalogue.len(),
            window_end_s: last.window_end_s,
            bytes_max: BYTES_MAX,
            cut: Some(*cut),
        };
        self.take_in(Gathered::nothing(), how, |summary| {
            expired = summary.expired;
            let ingest = Ingest {
                persons: summary.persons,
                home_persons: summary.home_persons,
                last_event_s: summary.last_event_s,
                bought_by: summary.bought_by,
                ..last
            };
            let serving = Serving::new(catalogue.clone(), &ingest, model.as_ref())?;
            Ok((ingest, None, serving))
        })?;
        Ok(expired)
    }

    /// `persons` without what is no longer kept.
    pub(super) fn expired(
        &self,
        persons: Vec<(Pseudonym, Assembled)>,
        cut: &Cut,
        count: &mut Expired,
    ) -> Vec<(Pseudonym, Assembled)> {
        let persons = parallel::map(persons, |(who, mut person)| {
            let gone = person.expire(cut);
            (who, person, gone)
        });
        let mut kept = Vec::with_capacity(persons.len());
        for (who, person, gone) in persons {
            count.events += gone;
            if gone > 0 && person.record.events.is_empty() {
                count.persons += 1;
            } else {
                kept.push((who, person));
            }
        }
        kept
    }

    /// Takes live events out that are no longer kept.
    pub(super) fn expire_live(
        &self,
        transaction: &WriteTransaction,
        cut: &Cut,
    ) -> Result<Expired, StoreError> {
        let mut expired = Expired::default();
        let mut changed = Vec::new();
        {
            let open =
                transaction.open_table(LIVE).map_err(|error| self.failed("written", error))?;
            for entry in open.iter().map_err(|error| self.failed("read", error))? {
                let (key, sealed) = entry.map_err(|error| self.failed("read", error))?;
                let bytes = self.unseal(LIVE, key.value(), sealed.value())?;
                let mut events: Vec<LiveEvent> = self.decode(&bytes)?;
                let gone = cut.apply(&mut events);
                if !gone.is_nothing() {
                    expired.add(gone);
                    changed.push((key.value().to_vec(), events));
                }
            }
        }
        for (key, events) in changed {
            if events.is_empty() {
                self.remove(transaction, LIVE, &key)?;
            } else {
                self.put(transaction, LIVE, &key, &events)?;
            }
        }
        Ok(expired)
    }

    /// Whether a value of the table is one that `is_one`.
    fn any<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        table: Sealed,
        mut is_one: impl FnMut(T) -> bool,
    ) -> Result<bool, StoreError> {
        let mut found = false;
        self.visit(table, |_, value| {
            found = is_one(value);
            Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_wire::Digest;

    use super::*;
    use crate::{
        calendar::DAY_S,
        event::{Event, Kind, RepeatedId, Said},
        gather::{At, Gather},
        keys::Key,
        live::{Consent, Consents, Purpose},
        quality::Quality,
        retention::{Retention, Subject},
        store::{Change, Reading},
    };

    fn who(byte: u8) -> Pseudonym {
        Pseudonym::from_bytes([byte; 32])
    }

    fn catalogue() -> Catalogue {
        let text: String = (0..4).map(|index| format!("{index},I{index},D,C\n")).collect();
        Catalogue::read_csv(format!("index,item_id,department,category\n{text}").as_bytes())
            .unwrap()
    }

    /// Takes these events in: person, day, kind, item.
    fn take_in(
        store: &Store,
        cut: Option<Cut>,
        rows: &[(u8, i64, Kind, u32)],
    ) -> Result<Expired, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let mut gather = Gather::new(dir.path(), usize::MAX, RepeatedId::SetAside);
        for (row, &(person, day, kind, item)) in rows.iter().enumerate() {
            let (time_s, basket) = (day * DAY_S, day as u64 * 7919);
            let (person, at_home) = (who(person), Some(true));
            let (quantity, amount, id, discount, channel) = (1.0, 1.0, 0, 0.0, 0);
            #[rustfmt::skip]
            let event = Event { time_s, person, at_home, kind, item, quantity, amount, discount, channel, basket, id };
            gather.add(Said::Happened(event), At::row(row as u64 + 1)).unwrap();
        }
        let before = store.reading().unwrap();
        let how = TakeIn {
            before: before.as_ref(),
            add: before.is_some(),
            items: 4,
            window_end_s: i64::MAX,
            bytes_max: usize::MAX,
            cut,
        };
        let mut expired = Expired::default();
        store.take_in(gather.finish(), how, |summary| {
            expired = summary.expired;
            let ingest = Ingest {
                time_s: 0,
                catalogue: catalogue().digest(),
                home: "1".into(),
                persons: summary.persons,
                home_persons: summary.home_persons,
                window_end_s: i64::MAX,
                last_event_s: summary.last_event_s,
                bought_by: summary.bought_by,
                quality: Quality::default(),
            };
            let serving = Serving::new(catalogue(), &ingest, None)?;
            let used = before.as_ref().map_or(0, |before| before.used) + rows.len() as u64;
            let reading = Reading { used, ..Reading::nothing(Digest::plain(b"recipe")) };
            Ok((ingest, Some(reading), serving))
        })?;
        Ok(expired)
    }

    const ROWS: [(u8, i64, Kind, u32); 6] = [
        (1, 10, Kind::Purchase, 0),
        (1, 60, Kind::Purchase, 1),
        (2, 10, Kind::Purchase, 0),
        (2, 60, Kind::View, 1),
        (3, 20, Kind::View, 2),
        (4, 70, Kind::Purchase, 3),
    ];

    fn periods() -> Retention {
        Retention::days([(Subject::Purchase, 50), (Subject::View, 20)])
    }

    #[test]
    fn what_is_due_goes_with_the_figures_and_profiles_made_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &Key::from_bytes([3; 32])).unwrap();
        take_in(&store, None, &ROWS).unwrap();
        let said = Consents::from([(Purpose::Risk, Consent { granted: false, time_s: 1 })]);
        store.change(&[Change::Consents(who(3), said)]).unwrap();
        assert_eq!(store.ingest().unwrap().unwrap().bought_by, [2, 1, 0, 1]);
        let generation = store.generation().unwrap();
        let early = periods().at(30 * DAY_S).unwrap();
        assert!(store.expire(&early, &catalogue()).unwrap().is_nothing());
        assert_eq!(store.generation().unwrap(), generation, "nothing is written for nothing");

        let cut = periods().at(100 * DAY_S).unwrap();
        let expired = store.expire(&cut, &catalogue()).unwrap();
        assert_eq!(expired, Expired { events: 4, persons: 2, ..Expired::default() });
        let left: Vec<_> = store.persons().unwrap().into_keys().collect();
        assert_eq!(left, [who(1), who(4)]);
        assert_eq!(store.profiles().unwrap().into_keys().collect::<Vec<_>>(), left);
        let one = store.person(who(1)).unwrap().unwrap();
        assert_eq!(one.events.iter().map(|e| (e.item, e.basket)).collect::<Vec<_>>(), [(1, 0)]);
        let ingest = store.ingest().unwrap().unwrap();
        assert_eq!((ingest.persons, ingest.home_persons), (2, 2));
        assert_eq!(ingest.bought_by, [0, 1, 0, 1]);
        assert!(store.generation().unwrap() > generation, "a server must look again");
        assert_eq!(store.live().unwrap().consents.len(), 1, "a person's word stays");
        assert!(store.expire(&cut, &catalogue()).unwrap().is_nothing());
    }

    #[test]
    fn a_later_reading_brings_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &Key::from_bytes([3; 32])).unwrap();
        let cut = periods().at(100 * DAY_S);
        let expired = take_in(&store, cut, &ROWS).unwrap();
        assert_eq!(expired, Expired { events: 4, persons: 2, ..Expired::default() });
        let before = store.persons().unwrap();
        let expired = take_in(&store, cut, &[(3, 20, Kind::View, 2), (4, 20, Kind::View, 2)]);
        assert_eq!(expired.unwrap(), Expired { events: 2, persons: 1, ..Expired::default() });
        assert_eq!(store.persons().unwrap(), before);
        let profiles = store.profiles().unwrap();
        assert_eq!(profiles.len(), before.len());
    }

    #[test]
    fn whoever_looked_before_another_reading_takes_nothing_in() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &Key::from_bytes([3; 32])).unwrap();
        take_in(&store, None, &ROWS).unwrap();
        let old = store.reading().unwrap();
        take_in(&store, None, &[(9, 1, Kind::View, 1)]).unwrap();
        let persons = store.persons().unwrap();
        let how = TakeIn {
            before: old.as_ref(),
            add: true,
            items: 4,
            window_end_s: i64::MAX,
            bytes_max: 0,
            cut: None,
        };
        let late = store.take_in(Gathered::nothing(), how, |_| unreachable!());
        assert!(late.unwrap_err().to_string().contains("meanwhile"));
        assert_eq!(store.persons().unwrap(), persons);
    }
}
