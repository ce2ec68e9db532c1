//! A store in which everything is filled, renamed.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use chorale_wire::Digest;
use proptest::prelude::*;

use super::{super::tables::LAYOUT, *};
use crate::{
    event::{Event, Kind, RepeatedId, Said},
    features::{Features, PersonRecord, StoredEvent},
    gather::{At, Gather},
    hand_over::{Disclosure, Received, Summary},
    keys::Key,
    live::{Consent, Consents, Erasure, ItemRecord, LiveEvent, MergeEntry, Purpose},
    profiles::{Profile, Serving},
    quality::Quality,
    store::{Change, Ingest, Reading, Store, StoreError, TakeIn},
};

const SHOPPERS: [&str; 5] = ["ada", "ben", "cleo", "dan", "eve"];

fn key() -> Key {
    Key::from_bytes([3; 32])
}

/// A chain of this many keys.
fn chain(keys: u8) -> Pseudonymiser {
    let first = Pseudonymiser::new(&Key::from_bytes([10; 32]));
    (1..keys).fold(first, |names, number| names.then(&Key::from_bytes([10 + number; 32])))
}

fn ingest() -> Ingest {
    Ingest {
        time_s: 5,
        catalogue: catalogue().digest(),
        home: "367".into(),
        persons: 5,
        home_persons: 5,
        window_end_s: i64::MAX,
        last_event_s: 1000,
        bought_by: vec![5, 0],
        quality: Quality::default(),
    }
}

fn catalogue() -> chorale_task::Catalogue {
    let text = b"index,item_id,department,category\n0,APPLES,D,C\n1,PEARS,D,C\n";
    chorale_task::Catalogue::read_csv(text).unwrap()
}

fn event(names: &Pseudonymiser, who: &str, time_s: i64) -> Event {
    Event {
        time_s,
        person: names.person(who),
        at_home: Some(true),
        kind: Kind::Purchase,
        item: 0,
        quantity: 1.0,
        amount: 1.0,
        discount: 0.0,
        channel: 0,
        basket: names.basket("r1"),
        id: names.event("e1").max(1),
    }
}

/// Takes in a purchase of each shopper at `time_s`, beside what is there.
fn take_in(store: &Store, names: &Pseudonymiser, time_s: i64) {
    let dir = tempfile::tempdir().unwrap();
    let mut gather = Gather::new(dir.path(), 1 << 20, RepeatedId::default());
    for who in SHOPPERS {
        let mut event = event(names, who, time_s);
        event.id = time_s as u64;
        gather.add(Said::Happened(event), At::row(1)).unwrap();
    }
    let before = store.reading().unwrap();
    let how = TakeIn {
        before: before.as_ref(),
        add: before.is_some(),
        items: 2,
        window_end_s: i64::MAX,
        bytes_max: 1 << 20,
        cut: None,
    };
    let judged = |_| {
        let serving = Serving::new(catalogue(), &ingest(), None)?;
        Ok((ingest(), Some(Reading::nothing(Digest::plain(b"recipe"))), serving))
    };
    store.take_in(gather.finish(), how, judged).unwrap();
}

fn live(id: u64) -> LiveEvent {
    LiveEvent {
        id,
        time_s: 1500,
        kind: "purchase".into(),
        item: Some("PEARS".into()),
        quantity: 1.0,
        amount: 1.0,
        discount: 0.0,
        channel: 0,
        basket: Some(7),
        session: Some(8),
        request: Some("recommend.1.2".into()),
        text: Some("shoes".into()),
    }
}

fn merge(names: &Pseudonymiser, alias: Pseudonym, into: &str, undone: bool) -> Change {
    let into = *names.person(into).as_bytes();
    Change::Merge(MergeEntry { time_s: 1, alias: *alias.as_bytes(), into, undone })
}

/// A letter that was given, or taken with its content until `until_s`.
fn letter(names: &Pseudonymiser, who: &str, until_s: Option<i64>) -> Change {
    let who = names.person(who);
    let name = |_: u32| None;
    let agents = ("store-1", "web-shop");
    let summary = Summary::of(&Features::default(), who, agents, 5, name);
    let line = Disclosure {
        time_s: 5,
        given: until_s.is_none(),
        agent: "web-shop".into(),
        person: *who.as_bytes(),
        items: 0,
        letter: Digest::plain(b"letter"),
    };
    Change::Letter(line, until_s.map(|until_s| Received { summary, until_s }))
}

fn words(granted: bool) -> Consents {
    Consents::from([(Purpose::Training, Consent { granted, time_s: 1 })])
}

/// Something in every table.
fn fill(store: &Store, names: &Pseudonymiser) {
    take_in(store, names, 1000);
    store.save_model(&chorale_task::Model::initial(2, catalogue().digest()).unwrap()).unwrap();
    let ada = names.person("ada");
    let item = ItemRecord { item: "PEARS".into(), ..ItemRecord::default() };
    let changes = [
        Change::Events(ada, vec![live(1), live(2)]),
        Change::Events(ada, vec![live(3)]),
        Change::Events(names.session("s1"), vec![live(4)]),
        Change::Consents(names.person("ben"), words(false)),
        merge(names, names.session("s1"), "ada", false),
        merge(names, names.person("cleo"), "ada", false),
        merge(names, names.person("dan"), "ben", false),
        merge(names, names.person("dan"), "ben", true),
        Change::Item(names.item("PEARS"), item),
        letter(names, "ada", None),
        letter(names, "ben", Some(1000)),
    ];
    store.change(&changes).unwrap();
    let make = |_: &_| Erasure { time_s: 9, receipt: "signed".into() };
    store.erase(&[names.person("eve")], make).unwrap();
}

fn filled(dir: &Path, names: &Pseudonymiser) -> Store {
    let store = Store::open(dir, &key()).unwrap().under(names).unwrap();
    fill(&store, names);
    store
}

/// Tables with their keys and opened values.
fn everything(store: &Store) -> BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>> {
    let (_lock, database) = store.locked().unwrap();
    let transaction = database.begin_read().unwrap();
    let tables: Vec<String> =
        transaction.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
    let rows = |name: &String| {
        let table = transaction.open_table(TableDefinition::<&[u8], &[u8]>::new(name)).unwrap();
        let rows = table.iter().unwrap().map(|entry| {
            let (key, sealed) = entry.unwrap();
            let value = store.sealer.open(name, key.value(), sealed.value()).unwrap();
            (key.value().to_vec(), value.to_vec())
        });
        rows.collect()
    };
    tables.iter().map(|name| (name.clone(), rows(name))).collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn all_names(names: &Pseudonymiser) -> Vec<Pseudonym> {
    SHOPPERS.iter().map(|who| names.person(who)).chain([names.session("s1")]).collect()
}

#[test]
fn no_old_name_is_left_in_any_key_or_value_or_anywhere_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (chain(1), chain(2));
    let store = filled(dir.path(), &before);
    // Every table that the layout lists is filled, and no other is there: who adds one fills it
    // above.
    let tables: Vec<String> = everything(&store).into_keys().collect();
    let mut listed: Vec<&str> = LAYOUT.tables.iter().map(|named| named.table).collect();
    listed.sort_unstable();
    assert_eq!(tables, listed);
    let old = fs::read(store.path()).unwrap();
    assert!(all_names(&before).iter().all(|who| holds(&old, who.as_bytes())));

    assert!(store.is_behind(&after).unwrap());
    let rows = everything(&store).values().map(|rows| rows.len() as u64).sum::<u64>();
    assert_eq!(store.rename(&after).unwrap(), rows);
    let found = everything(&store);
    assert!(found.values().all(|rows| !rows.is_empty()), "a table was lost");
    for (table, rows) in &found {
        for (key, value) in rows {
            for who in all_names(&before) {
                let (who, hex) = (who.as_bytes(), hex::encode(who.as_bytes()));
                assert!(!holds(key, who) && !holds(value, who), "an old name is in {table}");
                assert!(!holds(value, hex.as_bytes()), "an old name is in {table}");
            }
        }
    }
    // Also not in pages that are free: the file is a new one.
    let file = fs::read(store.path()).unwrap();
    assert!(!all_names(&before).iter().any(|who| holds(&file, &who.as_bytes()[..8])));
    assert!(all_names(&after).iter().all(|who| holds(&file, who.as_bytes())));
    // Done once, it is done; nothing is left beside the file.
    assert_eq!((store.rename(&after).unwrap(), store.is_behind(&after).unwrap()), (0, false));
    assert!(!beside(&store.path()).exists());
}

/// Renaming gives what the same life under the longer chain would have given.
#[test]
fn a_renamed_store_is_one_that_always_had_the_names() {
    let dir = tempfile::tempdir().unwrap();
    for keys in [2, 3] {
        let (one, two) = (dir.path().join(format!("a{keys}")), dir.path().join(format!("b{keys}")));
        let (renamed, always) = (filled(&one, &chain(1)), filled(&two, &chain(keys)));
        (2..=keys).for_each(|keys| assert!(renamed.rename(&chain(keys)).unwrap() > 0));
        assert_eq!(everything(&renamed), everything(&always));
    }
}

#[test]
fn life_goes_on_under_new_names() {
    let dir = tempfile::tempdir().unwrap();
    let names = chain(3);
    let store = filled(dir.path(), &chain(1));
    let reading = store.reading().unwrap();
    store.rename(&names).unwrap();
    let store = Store::open(dir.path(), &key()).unwrap().under(&names).unwrap();
    assert_eq!(store.reading().unwrap(), reading);
    // An ingest adds to what is there.
    take_in(&store, &names, 2000);
    let ada = names.person("ada");
    assert_eq!(store.person(ada).unwrap().unwrap().events.len(), 2);
    // Who was erased stays so, over files and over the API.
    let eve = names.person("eve");
    assert!(store.erasure(eve).unwrap().is_some_and(|erasure| erasure.receipt == "signed"));
    store.change(&[Change::Events(eve, vec![live(9)])]).unwrap();
    let live_now = store.live().unwrap();
    assert!(store.person(eve).unwrap().is_none() && !live_now.events.contains_key(&eve));
    // Merges and consents hold, and live events keep their order and get new numbers.
    let members = live_now.aliases.members(ada);
    assert_eq!(members.len(), 3);
    assert!(members.contains(&names.session("s1")) && members.contains(&names.person("cleo")));
    assert_eq!(live_now.merge_log.len(), 4);
    assert!(live_now.consents[&names.person("ben")] == words(false));
    store.change(&[Change::Events(ada, vec![live(5)])]).unwrap();
    let ids: Vec<u64> = store.live().unwrap().events[&ada].iter().map(|event| event.id).collect();
    assert_eq!(ids, [1, 2, 3, 5]);
    let people = store.people(Purpose::Training, &catalogue(), false).unwrap();
    let expected = std::collections::BTreeSet::from([ada, names.person("dan")]);
    assert!(people.into_keys().collect::<std::collections::BTreeSet<_>>() == expected);
}

#[test]
fn keys_and_names_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |names: &Pseudonymiser| Store::open(dir.path(), &key()).unwrap().under(names);
    let refused = |names: &Pseudonymiser| match open(names).err() {
        Some(StoreError::Names { source, .. }) => source,
        _ => panic!("opened"),
    };
    let store = filled(dir.path(), &chain(1));
    store.rename(&chain(2)).unwrap();
    assert!(open(&chain(2)).is_ok());
    // The key file is an old backup, the data is one, and the key is another.
    assert!(matches!(refused(&chain(1)), NamesError::Strange));
    assert!(matches!(refused(&chain(3)), NamesError::Behind));
    let other = Pseudonymiser::new(&Key::from_bytes([99; 32]));
    assert!(matches!(refused(&other), NamesError::Strange));
    assert!(matches!(store.is_behind(&other), Err(StoreError::Names { .. })));
    let before = everything(&store);
    assert!(matches!(store.rename(&other), Err(StoreError::Names { .. })));
    assert!(everything(&store) == before);
}

/// A store from before marks: its names are under the first key.
#[test]
fn a_store_without_a_mark_is_taken_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let old = |name: &str| {
        let store = Store::open(&dir.path().join(name), &key()).unwrap();
        fill(&store, &chain(1));
        store
    };
    let has_mark = |store: &Store| everything(store)["meta"].contains_key(&b"names"[..]);
    // The next change marks it; looking does not.
    let store = old("a").under(&chain(1)).unwrap();
    assert!(!has_mark(&store));
    store.change(&[Change::Consents(chain(1).person("ada"), words(true))]).unwrap();
    assert!(has_mark(&store));
    // A longer chain has to rename it first.
    let store = old("b");
    assert!(store.is_behind(&chain(2)).unwrap());
    store.rename(&chain(2)).unwrap();
    assert!(has_mark(&store));
    assert!(store.person(chain(2).person("ada")).unwrap().is_some());
    // Where there is nothing yet, any chain may begin.
    let store = Store::open(&dir.path().join("c"), &key()).unwrap();
    drop(store.locked().unwrap());
    let store = store.under(&chain(2)).unwrap();
    fill(&store, &chain(2));
    assert!(has_mark(&store) && store.under(&chain(2)).is_ok());
}

#[test]
fn a_table_that_nobody_listed_stops_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &chain(1));
    let unlisted = TableDefinition::<&[u8], &[u8]>::new("wishes");
    store
        .write(|store, transaction| {
            store.put(transaction, unlisted, chain(1).person("ada").as_bytes(), &1u64)
        })
        .unwrap();
    let error = store.rename(&chain(2)).unwrap_err();
    assert!(
        matches!(&error, StoreError::Names { source: NamesError::Table(name), .. } if name == "wishes"),
        "{error}"
    );
    assert!(!beside(&store.path()).exists());
    assert!(store.under(&chain(1)).is_ok(), "nothing was changed");
}

/// What a killed attempt left beside the file is no harm.
#[test]
fn a_left_over_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &chain(1));
    fs::write(beside(&store.path()), b"half of a database").unwrap();
    assert!(store.rename(&chain(2)).unwrap() > 0);
    assert!(store.under(&chain(2)).is_ok());
    assert!(!dir.path().join("store.redb.renamed").exists());
}

#[test]
fn a_copy_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &chain(1));
    let before = everything(&store);
    // Something that cannot be written over is in the way.
    fs::create_dir_all(beside(&store.path()).join("in the way")).unwrap();
    let error = store.rename(&chain(2)).unwrap_err();
    assert!(matches!(&error, StoreError::Names { source: NamesError::Database(_), .. }), "{error}");
    assert!(everything(&store) == before && store.is_behind(&chain(2)).unwrap());
    fs::remove_dir_all(beside(&store.path())).unwrap();
    assert!(store.rename(&chain(2)).unwrap() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any persons, events and merges, by any number of keys at a time.
    #[test]
    fn names_change_and_nothing_else(
        persons in proptest::collection::btree_map("[a-z]{1,4}", 0u32..9, 0..20),
        events in proptest::collection::vec(("[a-z]{1,2}", 0u64..9), 0..20),
        merges in proptest::collection::vec(("[a-z]{1,2}", "[a-z]{1,2}", any::<bool>()), 0..8),
        erased in proptest::collection::vec("[a-z]{1,2}", 0..4),
        steps in proptest::collection::vec(1u8..3, 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let live_through = |name: &str, names: &Pseudonymiser| {
            let store = Store::open(&dir.path().join(name), &key()).unwrap().under(names).unwrap();
            let record = |events: u32| PersonRecord {
                at_home: events.is_multiple_of(2),
                events: (0..events).map(|at| StoredEvent {
                    time_s: i64::from(at), item: 0, kind: Kind::View, basket: at,
                    quantity: 1.0, amount: 0.0,
                    discount: 0.0,
                    channel: 0,
                }).collect(),
            };
            let records = persons.iter().map(|(who, events)| (names.person(who), record(*events)));
            let profiles = BTreeMap::<Pseudonym, Profile>::new();
            store.replace_persons(&records.collect(), &profiles, &ingest()).unwrap();
            let changes: Vec<Change> = events.iter()
                .map(|(who, id)| Change::Events(names.person(who), vec![live(*id)]))
                .chain(merges.iter().map(|(alias, into, undone)| {
                    merge(names, names.session(alias), into, *undone)
                }))
                .collect();
            store.change(&changes).unwrap();
            for who in &erased {
                let make = |_: &_| Erasure { time_s: 1, receipt: who.clone() };
                store.erase(&[names.person(who), names.session(who)], make).unwrap();
            }
            store
        };
        let renamed = live_through("renamed", &chain(1));
        let mut keys = 1;
        for step in steps {
            keys += step;
            renamed.rename(&chain(keys)).unwrap();
        }
        let always = live_through("always", &chain(keys));
        prop_assert_eq!(everything(&renamed), everything(&always));
    }
}
