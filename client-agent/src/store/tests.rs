#![allow(clippy::unwrap_used)]
use std::fs;

use super::*;
use crate::{features::Records, features::StoredEvent, observe::Kind};

fn who(byte: u8) -> Pseudonym {
    Pseudonym::from_bytes([byte; 32])
}

fn records(items: &[(u8, u32)]) -> BTreeMap<Pseudonym, PersonRecord> {
    let event = |item| StoredEvent {
        time_s: 1000,
        item,
        kind: Kind::Purchase,
        basket: 0,
        quantity: 1.0,
        amount: 1.0,
    };
    let record = |item| PersonRecord { at_home: true, events: vec![event(item)] };
    items.iter().map(|&(byte, item)| (who(byte), record(item))).collect()
}

fn ingest_of(home: &str) -> Ingest {
    Ingest {
        time_s: 5,
        catalogue: Digest::plain(b"catalogue"),
        home: home.into(),
        persons: 1,
        home_persons: 1,
        window_end_s: i64::MAX,
        last_event_s: 1000,
        bought_by: vec![1],
        quality: Quality::default(),
    }
}

fn key() -> Key {
    Key::from_bytes([3; 32])
}

#[test]
fn what_was_put_comes_back_and_a_second_ingest_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    assert!(store.persons().unwrap().is_empty());
    assert!(matches!(
        store.require_ingest(&Digest::plain(b"catalogue"), "367"),
        Err(StoreError::Empty { .. })
    ));
    let first = records(&[(1, 4), (2, 5)]);
    store.replace_persons(&first, &BTreeMap::new(), &ingest_of("367")).unwrap();
    assert_eq!(store.persons().unwrap(), first);
    let second = records(&[(2, 9)]);
    store.replace_persons(&second, &BTreeMap::new(), &ingest_of("367")).unwrap();
    let again = Store::open(dir.path(), &key()).unwrap();
    assert_eq!(again.persons().unwrap(), second);
    assert_eq!(again.person(who(1)).unwrap(), None);
    assert_eq!(again.contributors(Who::AtHome, 2000).unwrap().len(), 1);
    assert_eq!(again.contributors(Who::AtHome, 1000).unwrap().len(), 0);
    assert!(again.require_ingest(&Digest::plain(b"catalogue"), "367").is_ok());
    for (catalogue, home) in [("other", "367"), ("catalogue", "1")] {
        let stale = again.require_ingest(&Digest::plain(catalogue.as_bytes()), home);
        assert!(matches!(stale, Err(StoreError::Stale { .. })));
    }
}

#[test]
fn another_key_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    store.replace_persons(&records(&[(1, 4)]), &BTreeMap::new(), &ingest_of("367")).unwrap();
    let error = Store::open(dir.path(), &Key::from_bytes([4; 32])).err().unwrap();
    assert!(matches!(error, StoreError::Seal { .. }), "{error}");
}

#[test]
fn the_model_stays_through_an_ingest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    assert_eq!(store.model().unwrap(), None);
    let model = Model::initial(3, Digest::plain(b"catalogue")).unwrap();
    store.save_model(&model).unwrap();
    store.replace_persons(&records(&[(1, 4)]), &BTreeMap::new(), &ingest_of("367")).unwrap();
    assert_eq!(store.model().unwrap(), Some(model));
}

#[test]
fn a_failed_change_leaves_the_state_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    let first = records(&[(1, 4)]);
    store.replace_persons(&first, &BTreeMap::new(), &ingest_of("367")).unwrap();
    let failed = store.write(|store, transaction| {
        transaction.delete_table(PERSONS).unwrap();
        store.put(transaction, PERSONS, who(7).as_bytes(), &PersonRecord::default())?;
        Err(StoreError::Empty { path: store.path() })
    });
    assert!(failed.is_err());
    assert_eq!(store.persons().unwrap(), first);
}

#[test]
fn a_damaged_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    fs::write(store.path(), b"this is no database").unwrap();
    assert!(matches!(store.persons(), Err(StoreError::Database { doing: "opened", .. })));
}

#[test]
fn records_survive_the_codec() {
    let mut gathered = Records::default();
    gathered.add(crate::observe::Event {
        time_s: -5,
        person: who(1),
        at_home: Some(true),
        kind: Kind::CartRemove,
        item: 4,
        quantity: 0.25,
        amount: -1.5,
        basket: u64::MAX,
    });
    let gathered = gathered.finish();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    store.replace_persons(&gathered, &BTreeMap::new(), &ingest_of("367")).unwrap();
    assert_eq!(store.persons().unwrap(), gathered);
}
