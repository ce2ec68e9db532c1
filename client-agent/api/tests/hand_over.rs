//! Two linked agents, and what they may tell each other about one person.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use chorale_api::Clock;
use chorale_people::{
    hand_over::{LinkKeys, Linked},
    keys::Key,
};
use serde_json::{Value, json};
use support::{DAY_S, NOW_S, Shop, store};

const USER: &str = "/v1/users/CUSTOMER-0098765";

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn linked(agent: &str, byte: u8, give: bool, take: bool) -> Linked {
    let (seal_key, sign_key) = LinkKeys::new(&key(byte)).public();
    Linked { agent: agent.into(), seal_key, sign_key, give, take, days: 30 }
}

/// A store that knows the customer by their purchases, and gives.
fn giving() -> Shop {
    Shop::new().restarted_with(|parts| {
        parts.agent = "store-367".into();
        parts.receipt_key = key(1);
        parts.linked = vec![linked("web-shop", 2, true, false)];
    })
}

fn taking_at(shop: Shop, clock_s: i64) -> Shop {
    shop.restarted_with(|parts| {
        parts.agent = "web-shop".into();
        parts.receipt_key = key(2);
        parts.linked = vec![linked("store-367", 1, false, true)];
        parts.clock = Clock::Fixed(clock_s);
    })
}

/// A web shop at which the same customer only looked at something.
async fn taking() -> Shop {
    let shop = taking_at(Shop::empty(), NOW_S);
    let view = json!([{"type": "view", "user": "CUSTOMER-0098765", "item": "PLUMS"}]);
    shop.ask("POST", "/v1/events", view).await;
    shop
}

async fn letter(giving: &Shop) -> Value {
    giving.ask("PUT", &format!("{USER}/consents"), json!({"hand-over": true})).await;
    let made = giving.ask("POST", &format!("{USER}/hand-over"), json!({"to": "web-shop"})).await;
    json!({"from": made["from"], "letter": made["letter"]})
}

async fn best(shop: &Shop) -> Value {
    let wish = json!({"user": "CUSTOMER-0098765", "count": 1});
    shop.ask("POST", "/v1/recommend", wish).await["items"][0]["item"].clone()
}

#[tokio::test]
async fn a_summary_reaches_the_linked_agent_and_counts_there() {
    let (giving, taking) = (giving(), taking().await);
    // What only the store's own shelf has stays there.
    giving.ask("POST", "/v1/items", json!([{"item": "HOUSE BLEND"}])).await;
    let own = json!([{"type": "purchase", "user": "CUSTOMER-0098765", "item": "HOUSE BLEND"}]);
    giving.ask("POST", "/v1/events", own).await;
    let letter = letter(&giving).await;
    let before = taking.ask("GET", &format!("{USER}/profile"), None).await;
    assert_eq!((&before["knowledge"], &before["linked"]), (&json!("channel-only"), &json!([])));
    assert_eq!(best(&taking).await, "PLUMS");
    let taken = taking.ask("POST", "/v1/hand-overs", letter.clone()).await;
    assert!(taken["items"].as_u64().unwrap() > 0, "{taken}");
    let profile = taking.ask("GET", &format!("{USER}/profile"), None).await;
    assert_eq!(profile["knowledge"], "channel-and-linked");
    assert_eq!(profile["linked"][0]["agent"], "store-367");
    assert_eq!(profile["linked"][0]["baskets"], 4);
    assert!(!profile["linked"].to_string().contains("HOUSE BLEND"), "{profile}");
    assert_eq!(profile["linked"][0]["items"][0]["item"], "PICKLED HERRING");
    assert_eq!(profile["facts"]["baskets"], 0, "facts are the own channel's");
    assert_eq!(best(&taking).await, "PICKLED HERRING");
    // Both sides keep a line about the same letter.
    let line = |export: Value| export["disclosures"][0].clone();
    let gave = line(giving.ask("GET", &format!("{USER}/export"), None).await);
    let got = line(taking.ask("GET", &format!("{USER}/export"), None).await);
    assert_eq!((&gave["given"], &gave["agent"]), (&json!(true), &json!("web-shop")));
    assert_eq!((&got["given"], &got["agent"]), (&json!(false), &json!("store-367")));
    assert_eq!((&gave["letter"], &gave["items"]), (&got["letter"], &got["items"]));
    // It survives a restart, is refused a second time, and goes when its time is over.
    let taking = taking_at(taking, NOW_S + 60);
    assert_eq!(best(&taking).await, "PICKLED HERRING");
    taking.refused("POST", "/v1/hand-overs", letter.clone(), 409).await;
    let taking = taking_at(taking, NOW_S + 31 * DAY_S);
    let profile = taking.ask("GET", &format!("{USER}/profile"), None).await;
    assert_eq!(profile["knowledge"], "channel-only");
    assert!(store(taking.dir.path()).live().unwrap().received.is_empty(), "on the disk too");
    let late = taking.refused("POST", "/v1/hand-overs", letter, 400).await;
    assert!(late["detail"].as_str().unwrap().contains("at most a day"), "{late}");
}

#[tokio::test]
async fn without_a_yes_or_a_link_nothing_is_given() {
    let shop = giving();
    let (path, to) = (format!("{USER}/hand-over"), json!({"to": "web-shop"}));
    let refused = shop.refused("POST", &path, to.clone(), 403).await;
    assert!(refused["type"].as_str().unwrap().ends_with("no-consent"), "{refused}");
    shop.ask("PUT", &format!("{USER}/consents"), json!({"hand-over": true})).await;
    let refused = shop.refused("POST", &path, json!({"to": "stranger"}), 403).await;
    assert!(refused["type"].as_str().unwrap().ends_with("unlinked"), "{refused}");
    shop.refused("POST", "/v1/users/NOBODY/hand-over", to.clone(), 404).await;
    assert!(store(shop.dir.path()).live().unwrap().disclosures.is_empty());
    // Only an administrator's token makes letters.
    let answer = shop.call(&shop.application, "POST", &path, Some(&to)).await;
    assert_eq!(answer.status.as_u16(), 403);
    // An agent that may only give takes nothing.
    let letter = json!({"from": "web-shop", "letter": "AAAA"});
    shop.refused("POST", "/v1/hand-overs", letter, 403).await;
}

#[tokio::test]
async fn a_letter_about_a_stranger_or_against_a_no_is_not_kept() {
    let giving = giving();
    let letter = letter(&giving).await;
    let stranger = taking_at(Shop::empty(), NOW_S);
    stranger.refused("POST", "/v1/hand-overs", letter.clone(), 404).await;
    assert!(store(stranger.dir.path()).live().unwrap().disclosures.is_empty());
    let taking = taking().await;
    taking.ask("PUT", &format!("{USER}/consents"), json!({"hand-over": false})).await;
    taking.refused("POST", "/v1/hand-overs", letter.clone(), 403).await;
    taking.ask("PUT", &format!("{USER}/consents"), json!({"hand-over": true})).await;
    taking.ask("POST", "/v1/hand-overs", letter.clone()).await;
    assert_eq!(best(&taking).await, "PICKLED HERRING");
    // A later no makes what was taken count no longer, at once.
    taking.ask("PUT", &format!("{USER}/consents"), json!({"hand-over": false})).await;
    let profile = taking.ask("GET", &format!("{USER}/profile"), None).await;
    assert_eq!(profile["knowledge"], "channel-only");
    assert_eq!(best(&taking).await, "PLUMS");
    let bent = json!({"from": "store-367", "letter": "AAAA"});
    taking.refused("POST", "/v1/hand-overs", bent, 400).await;
}

#[tokio::test]
async fn an_erasure_says_who_was_told() {
    let (giving, taking) = (giving(), taking().await);
    let letter = letter(&giving).await;
    taking.ask("POST", "/v1/hand-overs", letter.clone()).await;
    let said = |receipt: Value| -> Value {
        serde_json::from_str(receipt["statement"].as_str().unwrap()).unwrap()
    };
    let gave = said(giving.ask("DELETE", USER, None).await);
    assert_eq!((&gave["given_to"], &gave["received"]), (&json!(["web-shop"]), &json!(0)));
    let got = said(taking.ask("DELETE", USER, None).await);
    assert_eq!((&got["given_to"], &got["received"]), (&json!([]), &json!(1)));
    assert!(store(taking.dir.path()).live().unwrap().received.is_empty());
    taking.refused("POST", "/v1/hand-overs", letter, 404).await;
}
