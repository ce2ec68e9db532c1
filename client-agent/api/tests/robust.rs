//! Whatever is sent, the agent answers; and whatever was sent, no raw id stays anywhere.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use axum::{body::Body, http::Request};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use support::{Shop, is_problem};

/// Every path with a body that it takes.
fn bodies() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "POST",
            "/v1/events",
            json!([{"type": "purchase", "user": "u", "session": "s",
            "time": "2026-01-01T10:00:00Z", "item": "PEARS", "quantity": 1.0, "amount": 2.0,
            "basket": "b", "id": "i", "request_id": "home.none.000000000000000000000000"}]),
        ),
        (
            "POST",
            "/v1/items",
            json!([{"item": "OOLONG", "title": "t", "department": "d",
            "category": "c", "labels": ["l"], "price": 1.0, "stock": 1, "hidden": false}]),
        ),
        ("PATCH", "/v1/items/PEARS", json!({"labels": ["l"], "price": 1.0, "stock": 1})),
        (
            "POST",
            "/v1/recommend",
            json!({"user": "u", "session": "s", "count": 3,
            "scenario": "home", "exclude": ["PEARS"], "filter": {"categories": ["FRUIT"],
            "labels_any": ["l"], "price_max": 9.0}, "repeat": "only", "explain": true,
            "cursor": "AAAAAA"}),
        ),
        (
            "POST",
            "/v1/rank",
            json!({"user": "u", "query": "pears",
            "candidates": [{"item": "PEARS", "score": 1.0}, {"item": "?"}], "explain": true}),
        ),
        ("PUT", "/v1/users/u/consents", json!({"personalisation": true, "training": false})),
        ("POST", "/v1/users/u/merge", json!({"session": "s", "user": "v"})),
        ("POST", "/v1/users/u/unmerge", json!({"session": "s"})),
        ("POST", "/v1/pseudonyms", json!({"users": ["u"]})),
        (
            "POST",
            "/v1/batch",
            json!({"requests": [
            {"method": "GET", "path": "/v1/popular", "user": "u", "body": {}}]}),
        ),
    ]
}

const READS: [&str; 9] = [
    "/v1/popular",
    "/v1/items/PEARS/similar",
    "/v1/users/u/profile",
    "/v1/users/u/consents",
    "/v1/users/u/export",
    "/v1/users/u/risk",
    "/v1/segments/regulars/members",
    "/v1/triggers",
    "/v1/attribution",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[a-z-]{1,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,9}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// Puts `value` in the place of the `at`-th value inside `body`, counted depth first.
fn replaced(body: &mut Value, at: &mut usize, value: &Value) {
    if *at == 0 {
        *body = value.clone();
        *at = usize::MAX;
        return;
    }
    *at = at.wrapping_sub(1);
    match body {
        Value::Array(all) => all.iter_mut().for_each(|inner| replaced(inner, at, value)),
        Value::Object(all) => all.values_mut().for_each(|inner| replaced(inner, at, value)),
        _ => {}
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn judge(shop: &Shop, runtime: &tokio::runtime::Runtime, method: &str, path: &str, body: &Value) {
    let answer = runtime.block_on(shop.call(&shop.administrator, method, path, Some(body)));
    let status = answer.status.as_u16();
    assert!(status < 500, "{method} {path} {body}: {}", answer.body);
    if status == 200 {
        assert!(answer.body["request_id"].is_string(), "{path}");
    } else {
        is_problem(&answer);
    }
}

#[test]
fn no_body_brings_the_agent_down() {
    let (shop, runtime) = (Shop::new(), runtime());
    let bodies = bodies();
    let strategy = (0..bodies.len(), 0usize..30, any_json());
    TestRunner::default()
        .run(&strategy, |(path, mut at, value)| {
            let (method, path, mut body) = bodies[path].clone();
            judge(&shop, &runtime, method, path, &value);
            replaced(&mut body, &mut at, &value);
            judge(&shop, &runtime, method, path, &body);
            Ok(())
        })
        .unwrap();
}

#[test]
fn no_path_or_query_brings_the_agent_down() {
    let (shop, runtime) = (Shop::new(), runtime());
    let strategy = (0..READS.len(), "[ -~]{0,12}", "(count|cursor|kind|category)", ".{0,9}");
    TestRunner::default()
        .run(&strategy, |(path, inside, name, value)| {
            let encode = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02X}")).collect()
            };
            let path = READS[path].replace("/u/", &format!("/{}/", encode(&inside)));
            let path = format!("{path}?{name}={}", encode(&value));
            judge(&shop, &runtime, "GET", &path, &Value::Null);
            Ok(())
        })
        .unwrap();
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Texts that only this test's requests hold.
const SECRETS: [&str; 6] =
    ["ZWÖLFKATZEN", "SITZUNG-77123", "BON-55129", "SUCHWORT-99", "EREIGNIS-4410", "TITEL-8812"];

#[test]
fn no_raw_id_stays_on_the_disk_or_in_the_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let (shop, runtime) = (Shop::new(), runtime());
    let [user, session, basket, query, id, title] = SECRETS;
    runtime.block_on(async {
        let events = json!([
            {"type": "purchase", "user": user, "session": session, "item": "PEARS",
                "basket": basket, "id": id},
            {"type": "view", "session": session, "item": "PEARS"},
            {"type": "view", "user": user, "item": "PEARS", "request_id": user},
        ]);
        shop.ask("POST", "/v1/events", events).await;
        shop.ask("POST", "/v1/items", json!([{"item": "T", "title": title}])).await;
        let path = format!("/v1/users/{}", user.replace('Ö', "%C3%96"));
        shop.ask("GET", &format!("{path}/profile"), None).await;
        shop.ask("PUT", &format!("{path}/consents"), json!({"risk": true})).await;
        shop.ask("POST", &format!("{path}/merge"), json!({"session": session})).await;
        shop.ask("POST", "/v1/recommend", json!({"user": user})).await;
        let search = json!({"user": user, "query": query, "candidates": [{"item": "PEARS"}]});
        shop.ask("POST", "/v1/rank", search).await;
        shop.refused("POST", "/v1/recommend", json!({"user": user, "count": 0}), 400).await;
        let request = Request::get("/v1/users/-/profile")
            .header("authorization", format!("Bearer {}", shop.application))
            .header("chorale-user", user)
            .body(Body::empty())
            .unwrap();
        assert_eq!(shop.send(request).await.body["known"], true);
        let export = shop.ask("GET", &format!("{path}/export"), None).await;
        assert_eq!(export["live"].as_array().unwrap().len(), 3);
        shop.ask("DELETE", &path, None).await;
    });
    let mut places = vec![("the log".to_owned(), log.0.lock().unwrap().clone())];
    for folder in ["data", "keys"] {
        for entry in std::fs::read_dir(shop.dir.path().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            places.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
    assert!(String::from_utf8_lossy(&places[0].1).contains("answered"), "the log is recorded");
    assert!(places.len() >= 4, "{}", places.len());
    let tokens = [shop.application.as_str(), shop.administrator.as_str()];
    for (place, bytes) in &places {
        for secret in SECRETS.iter().chain(&tokens).chain(&["CUSTOMER-00", "PEARS"]) {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "'{secret}' stands in {place}");
        }
    }
}

#[test]
fn the_document_describes_every_path() {
    let document: Value = serde_json::from_str(chorale_api::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/events",
        "/v1/items",
        "/v1/items/{item}",
        "/v1/recommend",
        "/v1/popular",
        "/v1/items/{item}/similar",
        "/v1/rank",
        "/v1/users/{user}/profile",
        "/v1/users/{user}/consents",
        "/v1/users/{user}/export",
        "/v1/users/{user}/merge",
        "/v1/users/{user}/unmerge",
        "/v1/users/{user}",
        "/v1/users/{user}/risk",
        "/v1/users/{user}/features",
        "/v1/users/{user}/hand-over",
        "/v1/hand-overs",
        "/v1/features",
        "/v1/segments",
        "/v1/segments/{id}/members",
        "/v1/triggers",
        "/v1/attribution",
        "/v1/pseudonyms",
        "/v1/batch",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    assert_eq!(paths.len(), 24);
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap();
            for status in ["200", "400", "401", "403", "429"] {
                assert!(answers.contains_key(status), "{method} {path} {status}");
            }
            let schema = &answers["200"]["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{method} {path}");
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            assert!(operation.get("requestBody").is_none() || !example.is_null(), "{path}");
        }
    }
}
