#![allow(clippy::unwrap_used)]
use std::fs;

use chorale_task::Catalogue;

use super::*;
use crate::{
    event::Kind,
    features::{StoredEvent, Who},
    keys::{Key, Rotation, StoreKey, Unlock},
    live::{Consent, Consents, Erasure, LiveEvent, MergeEntry, Purpose},
};

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
        discount: 0.0,
        channel: 0,
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

fn catalogue() -> Catalogue {
    let text: String = (0..12).map(|index| format!("{index},I{index},D,C\n")).collect();
    Catalogue::read_csv(format!("index,item_id,department,category\n{text}").as_bytes()).unwrap()
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
    assert_eq!(again.contributors(Who::AtHome, 2000, &catalogue(), false, None).unwrap().len(), 1);
    assert_eq!(again.contributors(Who::AtHome, 1000, &catalogue(), false, None).unwrap().len(), 0);
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
    let gathered = crate::gather::tests::gathered([crate::event::Event {
        time_s: -5,
        person: who(1),
        at_home: Some(true),
        kind: Kind::CartRemove,
        item: 4,
        quantity: 0.25,
        amount: -1.5,
        discount: 0.0,
        channel: 0,
        basket: u64::MAX,
        id: 0,
    }]);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    store.replace_persons(&gathered, &BTreeMap::new(), &ingest_of("367")).unwrap();
    assert_eq!(store.persons().unwrap(), gathered);
}

fn live(id: u64, item: &str) -> LiveEvent {
    LiveEvent {
        id,
        time_s: 1500,
        kind: "purchase".into(),
        item: Some(item.into()),
        quantity: 1.0,
        amount: 1.0,
        discount: 0.0,
        channel: 0,
        basket: None,
        session: None,
        request: None,
        text: None,
    }
}

#[test]
fn live_events_stay_through_an_ingest_and_train() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    let before = store.generation().unwrap();
    store.replace_persons(&records(&[(1, 4)]), &BTreeMap::new(), &ingest_of("367")).unwrap();
    assert!(store.generation().unwrap() > before);
    let events = |id| Change::Events(who(1), vec![live(id, "I5"), live(id + 1, "CAVIAR")]);
    store.change(&[events(1), events(3)]).unwrap();
    store.change(&[events(5)]).unwrap();
    store.replace_persons(&records(&[(1, 4)]), &BTreeMap::new(), &ingest_of("367")).unwrap();
    let ids: Vec<u64> = store.live().unwrap().events[&who(1)].iter().map(|e| e.id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    store.change(&[Change::Events(who(9), vec![live(1, "I5")])]).unwrap();
    assert_eq!(
        store.contributors(Who::Everybody, 2000, &catalogue(), false, None).unwrap().len(),
        1
    );
    let mut people = store.contributors(Who::AtHome, 2000, &catalogue(), false, None).unwrap();
    let person = chorale_task::People::next_person(&mut people).unwrap();
    assert_eq!(person.items, [(4, 1.0), (5, 1.0)]);
}

#[test]
fn merged_channels_count_once_and_refusal_counts() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    let both = records(&[(1, 4), (2, 5)]);
    store.replace_persons(&both, &BTreeMap::new(), &ingest_of("367")).unwrap();
    let entry =
        |undone| Change::Merge(MergeEntry { time_s: 1, alias: [1; 32], into: [2; 32], undone });
    let count = |ask| store.contributors(Who::AtHome, 2000, &catalogue(), ask, None).unwrap().len();
    store.change(&[entry(false)]).unwrap();
    assert_eq!((count(false), count(true)), (1, 0));
    let word = |granted| Consents::from([(Purpose::Training, Consent { granted, time_s: 1 })]);
    store.change(&[Change::Consents(who(2), word(true))]).unwrap();
    assert_eq!((count(false), count(true)), (1, 1));
    store.change(&[Change::Consents(who(2), word(false))]).unwrap();
    assert_eq!(count(false), 0);
    store.change(&[entry(true)]).unwrap();
    assert_eq!(count(false), 1, "who(1) said nothing");
    let refusal = Consents::from([(Purpose::Training, Consent { granted: false, time_s: 2 })]);
    let changes = [entry(false), Change::Consents(who(1), refusal)];
    store.change(&changes).unwrap();
    store.change(&[Change::Consents(who(2), word(true))]).unwrap();
    assert_eq!(count(false), 0, "the later word of the other channel counts");
    assert_eq!(store.live().unwrap().merge_log.len(), 3);
}

#[test]
fn a_refusal_through_any_channel_holds_for_its_purpose() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    let both = records(&[(1, 4), (2, 5)]);
    store.replace_persons(&both, &BTreeMap::new(), &ingest_of("367")).unwrap();
    let merge = MergeEntry { time_s: 1, alias: [1; 32], into: [3; 32], undone: false };
    let refusal = Consent { granted: false, time_s: 1 };
    let words = Consents::from([(Purpose::Personalisation, refusal)]);
    // Who is in the files refused where they are called otherwise.
    store.change(&[Change::Merge(merge), Change::Consents(who(3), words)]).unwrap();
    let named = |purpose| -> Vec<Pseudonym> {
        store.people(purpose, &catalogue(), false).unwrap().into_keys().collect()
    };
    assert_eq!(named(Purpose::Personalisation), [who(2)]);
    assert_eq!(named(Purpose::Training), [who(2), who(3)]);
}

#[test]
fn an_erased_person_is_gone_and_stays_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &key()).unwrap();
    let both = records(&[(1, 4), (2, 5)]);
    store.replace_persons(&both, &BTreeMap::new(), &ingest_of("367")).unwrap();
    let merge = MergeEntry { time_s: 1, alias: [3; 32], into: [1; 32], undone: false };
    let changes = [Change::Events(who(1), vec![live(1, "I5")]), Change::Merge(merge)];
    store.change(&changes).unwrap();
    let make = |removed: &Removed| Erasure { time_s: 9, receipt: format!("{removed:?}") };
    let erasure = store.erase(&[who(1), who(3)], make).unwrap();
    let expected =
        Removed { pseudonyms: 2, records: 1, live_rows: 1, merges: 2, ..Removed::default() };
    assert_eq!(erasure.receipt, format!("{expected:?}"));
    store.change(&changes[..1]).unwrap();
    store.replace_persons(&both, &BTreeMap::new(), &ingest_of("367")).unwrap();
    let left = store.live().unwrap();
    assert!(left.events.is_empty() && left.merge_log.is_empty());
    assert_eq!(store.persons().unwrap().keys().copied().collect::<Vec<_>>(), [who(2)]);
    assert_eq!(store.contributors(Who::AtHome, 2000, &catalogue(), false, None).unwrap().len(), 1);
    assert_eq!(store.erasure(who(3)).unwrap(), Some(erasure));
}

#[test]
fn a_rotated_key_opens_everything_and_the_one_before_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, path) = (dir.path().join("data"), dir.path().join("store.key"));
    let first = Key::create(&path).unwrap();
    let unlock = Unlock::default();
    let consents = Consents::from([(Purpose::Risk, Consent { granted: false, time_s: 1 })]);
    let consent = Change::Consents(who(2), consents.clone());
    {
        let store = Store::open(&data, &StoreKey::open(&data, &path, &unlock).unwrap()).unwrap();
        store.replace_persons(&records(&[(1, 0)]), &BTreeMap::new(), &ingest_of("367")).unwrap();
        store.change(std::slice::from_ref(&consent)).unwrap();
    }
    let rotation = Rotation::begin(&data, &path, &unlock).unwrap();
    let store = Store::open(&data, rotation.key()).unwrap();
    // Before, half-way and after, everything opens.
    assert!(store.persons().unwrap() == records(&[(1, 0)]));
    store.change(&[consent]).unwrap();
    // Person, origin, ingest and generation; the consents are new already.
    assert_eq!(store.renew().unwrap(), 4);
    assert_eq!(store.renew().unwrap(), 0);
    assert!(store.persons().unwrap() == records(&[(1, 0)]));
    drop(store);
    rotation.finish().unwrap();
    let store = Store::open(&data, &StoreKey::open(&data, &path, &unlock).unwrap()).unwrap();
    assert!(store.persons().unwrap() == records(&[(1, 0)]));
    assert!(store.live().unwrap().consents[&who(2)] == consents);
    assert!(matches!(Store::open(&data, &first), Err(StoreError::Seal { .. })));
}
