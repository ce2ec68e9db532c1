//! A clickstream, as web shops export it, from its file to answers: sessions with and without a
//! login, on several platforms; and over the API what happens next.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use support::{Serving, run};

const NOW: &str = "2026-01-10T12:00:00Z";

const ITEMS: [(&str, &str); 5] = [
    ("phone-a", "PHONES"),
    ("phone-b", "PHONES"),
    ("phone-case", "COVERS"),
    ("charger", "POWER"),
    ("headset", "SOUND"),
];

const CONFIG: &str = r#"
agent = "web-shop"
federation = "demo"
coordinator = "127.0.0.1:7443"
home = "web"
catalogue = "catalogue.csv"
event_sql = '''
SELECT event_time, user_id AS person, user_session AS session, 'web' AS home_store,
       CASE event_type WHEN 'cart' THEN 'cart-add' WHEN 'remove_from_cart' THEN 'cart-remove'
                       ELSE event_type END AS kind,
       product AS item, price AS amount, user_session AS basket
FROM clicks WHERE platform <> 'crawler'
'''

[[sources]]
name = "clicks"
path = "clicks.csv"
format = "csv"
"#;

/// Who did what, in lines of the file.
#[derive(Default)]
struct Clicks(String);

impl Clicks {
    fn add(&mut self, time: &str, kind: &str, item: &str, user: &str, session: &str) {
        let platform = match session.as_bytes()[2] {
            b'c' => "crawler",
            b'0'..=b'4' => "app",
            _ => "web",
        };
        self.0 += &format!("2026-01-{time}:00Z,{kind},{item},99.5,{user},{session},{platform}\n");
    }

    /// Forty buyers of a phone, most of them with its case.
    fn crowd(&mut self) {
        for buyer in 0..40 {
            let (user, session) = (format!("10{buyer:02}"), format!("s-{buyer:02}"));
            let phone = if buyer % 2 == 0 { "phone-a" } else { "phone-b" };
            let day = 1 + buyer % 7;
            for (minute, kind) in [(1, "view"), (2, "cart"), (5, "purchase")] {
                self.add(&format!("0{day}T10:0{minute}"), kind, phone, &user, &session);
            }
            if buyer % 4 != 3 {
                self.add(&format!("0{day}T10:05"), "purchase", "phone-case", &user, &session);
            }
        }
    }

    fn write(&self, dir: &Path) {
        let head = "event_time,event_type,product,price,user_id,user_session,platform\n";
        fs::write(dir.join("clicks.csv"), format!("{head}{}", self.0)).unwrap();
    }
}

fn shop(dir: &Path) -> (Serving, String) {
    fs::write(dir.join("agent.toml"), CONFIG).unwrap();
    let lines =
        ITEMS.iter().enumerate().map(|(n, (item, kind))| format!("{n},{item},SHOP,{kind}\n"));
    let catalogue = format!("index,item_id,department,category\n{}", lines.collect::<String>());
    fs::write(dir.join("catalogue.csv"), catalogue).unwrap();
    run(dir, &["init"]);
    let ingest: Value = serde_json::from_str(&run(dir, &["ingest", "--json"])).unwrap();
    let quality = &ingest["quality"];
    assert_eq!((&quality["rows"], &quality["quarantined"]), (&quality["used"], &json!({})));
    let token = run(dir, &["tokens", "add", "shop", "--role", "administrator"]);
    (Serving::start(dir, &["--as-of", NOW]), token.trim().to_owned())
}

#[test]
fn a_clickstream_becomes_recommendations_reminders_and_indications() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut clicks = Clicks::default();
    clicks.crowd();
    // A visitor without a login, one with a full cart, one who gives everything back, a crawler.
    clicks.add("10T09:00", "view", "phone-a", "", "s-90");
    clicks.add("10T09:01", "cart", "charger", "", "s-90");
    clicks.add("10T09:00", "cart", "headset", "2001", "s-91");
    clicks.add("10T09:02", "cart", "charger", "2001", "s-91");
    clicks.add("10T09:03", "remove_from_cart", "charger", "2001", "s-91");
    for (minute, item) in ["phone-a", "phone-case", "charger", "headset"].iter().enumerate() {
        clicks.add(&format!("03T08:0{minute}"), "purchase", item, "2002", "s-92");
        clicks.add(&format!("08T08:0{minute}"), "return", item, "2002", "s-93");
    }
    clicks.add("09T08:00", "view", "phone-a", "", "s-crawler");
    clicks.write(dir);
    let (serving, token) = shop(dir);
    let ask = |method: &str, path: &str, body: Option<Value>| {
        let (status, answer) = serving.call(&token, method, path, body.as_ref());
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };

    // The visitor is offered what others buy, with reasons, and is known by the session alone.
    let wish = json!({"session": "s-90", "count": 3, "explain": true});
    let answer = ask("POST", "/v1/recommend", Some(wish));
    let items: BTreeSet<&str> =
        answer["items"].as_array().unwrap().iter().map(|i| i["item"].as_str().unwrap()).collect();
    assert_eq!(items.len(), 3, "{answer}");
    assert!(items.contains("phone-case"), "{answer}");
    assert_ne!(answer["fallback"], "unknown-user", "the file named this session");
    let nobody = ask("POST", "/v1/recommend", Some(json!({"session": "s-77", "count": 3})));
    assert_eq!(nobody["fallback"], "unknown-user");

    // Carts that were left alone, the visitor's too.
    let triggers = ask("GET", "/v1/triggers?kind=cart-reminder", None);
    let mut left: Vec<&Value> =
        triggers["persons"].as_array().unwrap().iter().map(|p| &p["triggers"][0]).collect();
    left.sort_by_key(|trigger| trigger["items"].to_string());
    let carts: Vec<&Value> = left.iter().map(|trigger| &trigger["items"]).collect();
    assert_eq!(carts, [&json!(["charger"]), &json!(["headset"])]);
    assert!(left[1]["rule"].as_str().unwrap().contains("1 items put into the cart"), "{}", left[1]);
    let named = ask("POST", "/v1/pseudonyms", Some(json!({"users": ["2001"]}))).to_string();
    let persons: Vec<&str> = triggers["persons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["person"].as_str().unwrap())
        .collect();
    assert!(persons.iter().any(|person| named.contains(person)), "{persons:?} {named}");

    // What comes over the API afterwards: attacks on accounts, and a hunt for coupons.
    let mut events = Vec::new();
    for minute in 0..5 {
        let time = format!("2026-01-10T10:0{minute}:00Z");
        events.push(json!({"type": "login-failed", "user": "1000", "time": time}));
        events.push(json!({"type": "coupon", "user": "1002", "time": time}));
    }
    events.push(json!({"type": "login", "user": "1000", "time": "2026-01-10T10:06:00Z"}));
    for session in ["s-71", "s-72", "s-73"] {
        events.push(json!({"type": "purchase", "user": "1004", "session": session,
            "item": "phone-a", "time": "2026-01-10T11:00:00Z", "id": session}));
    }
    let kept = ask("POST", "/v1/events", Some(Value::from(events)));
    assert_eq!((&kept["accepted"], &kept["rejected"]), (&json!(14), &json!([])));
    for (user, kind, rule) in [
        ("2002", "returns", "4 pieces returned of 4 bought within 90 days"),
        ("1002", "coupon-abuse", "5 coupons within 24 hours"),
        ("1000", "account-takeover", "5 failed logins within the hour before one that succeeded"),
        ("1004", "account-takeover", "purchases from 3 sessions within an hour"),
    ] {
        let risk = ask("GET", &format!("/v1/users/{user}/risk"), None);
        let found = &risk["indications"][0];
        assert_eq!((&found["kind"], &risk["advisory"]), (&json!(kind), &json!(true)), "{user}");
        assert!(found["rule"].as_str().unwrap().starts_with(rule), "{found}");
    }
    let calm = ask("GET", "/v1/users/1001/risk", None);
    assert_eq!(calm["indications"], json!([]));

    // The visitor logs in: one person from then on, whose cart is reminded of once.
    ask("POST", "/v1/users/2003/merge", Some(json!({"session": "s-90"})));
    let profile = ask("GET", "/v1/users/2003/profile", None);
    assert_eq!(profile["known"], true, "{profile}");
    let triggers = ask("GET", "/v1/triggers?kind=cart-reminder", None);
    assert_eq!(triggers["persons"].as_array().unwrap().len(), 2);
}
