//! The HTTP API as a process of its own, over a real connection.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Serving, run};

const CATALOGUE: &str = "index,item_id,department,category\n\
    0,APPLES,PRODUCE,FRUIT\n1,PEARS,PRODUCE,FRUIT\n2,RYE BREAD,GROCERY,BREAD\n";

const CONFIG: &str = r#"
agent = "store-367"
federation = "demo"
coordinator = "127.0.0.1:7443"
home = "367"
catalogue = "catalogue.csv"
event_sql = '''
SELECT day AS event_time, customer AS person, '367' AS home_store, 'purchase' AS kind, item
FROM receipts'''

[[sources]]
name = "receipts"
path = "receipts.csv"
format = "csv"
"#;

/// Slower than the rate limit.
fn pause() {
    #[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn from_a_file_and_live_events_to_answers_over_a_killed_process() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("agent.toml"), CONFIG).unwrap();
    fs::write(dir.join("catalogue.csv"), CATALOGUE).unwrap();
    let receipts = "day,customer,item\n2026-01-02,1,APPLES\n2026-01-02,2,APPLES\n\
        2026-01-03,2,RYE BREAD\n";
    fs::write(dir.join("receipts.csv"), receipts).unwrap();
    run(dir, &["init"]);
    run(dir, &["ingest"]);
    let token = run(dir, &["tokens", "add", "shop", "--role", "application"]);
    let token = token.trim();
    let listed: Value = serde_json::from_str(&run(dir, &["tokens", "list", "--json"])).unwrap();
    assert_eq!(listed, json!([{"name": "shop", "role": "application"}]));

    let serving = Serving::start(dir, &[]);
    let (status, profile) = serving.call(token, "GET", "/v1/users/2/profile", None);
    assert_eq!((status, &profile["facts"]["items"]), (200, &json!(2)));
    let events = json!([{"type": "purchase", "user": "2", "item": "PEARS", "id": "e1"}]);
    let began = Instant::now();
    let (status, kept) = serving.call(token, "POST", "/v1/events", Some(&events));
    assert_eq!((status, &kept["accepted"]), (200, &json!(1)));
    let (_, profile) = serving.call(token, "GET", "/v1/users/2/profile", None);
    assert_eq!(profile["facts"]["items"], 3, "after {:?}", began.elapsed());
    let (status, _) = serving.call("wrong", "GET", "/v1/users/2/profile", None);
    assert_eq!(status, 401);

    // A revoked token stops working while the server runs, a new one begins to.
    run(dir, &["tokens", "revoke", "shop"]);
    let until = Instant::now() + Duration::from_secs(5);
    while serving.call(token, "GET", "/v1/popular", None).0 != 401 {
        assert!(Instant::now() < until, "a revoked token goes on working");
        pause();
    }
    let token = run(dir, &["tokens", "add", "shop", "--role", "application"]);
    let token = token.trim();
    while serving.call(token, "GET", "/v1/popular", None).0 != 200 {
        assert!(Instant::now() < until, "a new token never works");
        pause();
    }

    // Killed without a word: what was acknowledged is there.
    drop(serving);
    let serving = Serving::start(dir, &[]);
    let (_, profile) = serving.call(token, "GET", "/v1/users/2/profile", None);
    assert_eq!(profile["facts"]["items"], 3);
    let (_, kept) = serving.call(token, "POST", "/v1/events", Some(&events));
    assert_eq!(kept["duplicates"], 1);

    // The command line and an ingest work beside it, and live events stay.
    let shown: Value =
        serde_json::from_str(&run(dir, &["profiles", "show", "2", "--json"])).unwrap();
    assert_eq!(shown["rhythm"]["items"], 3);
    let more = format!("{receipts}2026-01-04,3,RYE BREAD\n");
    fs::write(dir.join("receipts.csv"), more).unwrap();
    run(dir, &["ingest"]);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, profile) = serving.call(token, "GET", "/v1/users/3/profile", None);
        if profile["known"] == true {
            break;
        }
        assert!(Instant::now() < until, "an ingest beside the server is never seen");
        pause();
    }
    let (_, profile) = serving.call(token, "GET", "/v1/users/2/profile", None);
    assert_eq!(profile["facts"]["items"], 3);
}
