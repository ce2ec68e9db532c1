//! A store with a few customers, and its API without a network.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, path::Path};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use chorale_api::{
    Clock, Parts, Settings,
    tokens::{Role, Tokens},
};
use chorale_people::{
    Quality,
    event::Kind,
    features::{PersonRecord, StoredEvent},
    keys::Key,
    pseudonym::Pseudonymiser,
    retention::Retention,
    store::{Ingest, Store},
};
use chorale_plan::Pseudonym;
use chorale_task::Catalogue;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

pub(crate) const CATALOGUE: &str = "index,item_id,department,category\n\
    0,APPLES,PRODUCE,FRUIT\n1,PEARS,PRODUCE,FRUIT\n2,PICKLED HERRING,GROCERY,FISH\n\
    3,RYE BREAD,GROCERY,BREAD\n4,MATCHES,HOUSEHOLD,KINDLING\n5,PLUMS,PRODUCE,FRUIT\n";

/// 1 January 2026, 12 o'clock.
pub(crate) const NOW_S: i64 = 1_767_268_800;

pub(crate) const DAY_S: i64 = 86_400;

pub(crate) struct Shop {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) service: Router,
    pub(crate) application: String,
    pub(crate) administrator: String,
    pub(crate) collector: String,
    pub(crate) auditor: String,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: String,
    pub(crate) body: Value,
}

pub(crate) fn catalogue() -> Catalogue {
    Catalogue::read_csv(CATALOGUE.as_bytes()).unwrap()
}

pub(crate) fn names() -> Pseudonymiser {
    Pseudonymiser::new(&Key::from_bytes([1; 32]))
}

pub(crate) fn store(dir: &Path) -> Store {
    Store::open(&dir.join("data"), &Key::from_bytes([2; 32])).unwrap()
}

fn bought(days_ago: i64, item: u32, basket: u32) -> StoredEvent {
    StoredEvent {
        time_s: NOW_S - days_ago * DAY_S,
        item,
        kind: Kind::Purchase,
        basket,
        quantity: 1.0,
        amount: 2.5,
        discount: 0.0,
        channel: 0,
    }
}

/// CUSTOMER-0098765 buys herring every ten days; ten others bought apples, some with bread.
pub(crate) fn records() -> BTreeMap<Pseudonym, PersonRecord> {
    let names = names();
    let regular =
        [(32, 2, 0), (22, 2, 1), (12, 2, 2), (12, 1, 2)].map(|(d, i, b)| bought(d, i, b)).to_vec();
    let mut all = BTreeMap::from([(
        names.person("CUSTOMER-0098765"),
        PersonRecord { at_home: true, events: regular },
    )]);
    for number in 1..=10 {
        let mut events = vec![bought(100, 0, 0)];
        if number % 2 == 0 {
            events.push(bought(100, 3, 0));
        }
        let who = names.person(&format!("CUSTOMER-{number:07}"));
        all.insert(who, PersonRecord { at_home: true, events });
    }
    all
}

pub(crate) fn ingest_into(store: &Store) {
    let ingest = Ingest {
        time_s: NOW_S,
        catalogue: catalogue().digest(),
        home: "367".into(),
        persons: 11,
        home_persons: 11,
        window_end_s: i64::MAX,
        last_event_s: NOW_S,
        bought_by: vec![10, 1, 1, 5, 0, 0],
        quality: Quality::default(),
    };
    store.replace_persons(&records(), &BTreeMap::new(), &ingest).unwrap();
}

pub(crate) fn start(dir: &Path, settings: Settings) -> Router {
    chorale_api::service(parts(dir, settings)).unwrap()
}

fn parts(dir: &Path, settings: Settings) -> Parts {
    Parts {
        agent: "store-367".into(),
        home: "367".into(),
        window_end_s: i64::MAX,
        catalogue: catalogue(),
        names: names(),
        store: store(dir),
        settings,
        tokens: dir.join("keys/tokens.toml"),
        receipt_key: Key::from_bytes([3; 32]),
        retention: Retention::default(),
        clock: Clock::Fixed(NOW_S),
        features: Vec::new(),
        channels: ["till", "web"].into_iter().collect(),
        linked: Vec::new(),
        elsewhere: Vec::new(),
    }
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        ingest_into(&store(dir.path()));
        Self::of(dir, settings)
    }

    /// A store that has read no file.
    pub(crate) fn empty() -> Self {
        Self::of(tempfile::tempdir().unwrap(), Settings::default())
    }

    fn of(dir: tempfile::TempDir, settings: Settings) -> Self {
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        let tokens = dir.path().join("keys/tokens.toml");
        let add = |name, role| Tokens::add(&tokens, name, role).unwrap();
        let (application, administrator) =
            (add("application", Role::Application), add("administrator", Role::Administrator));
        let (collector, auditor) =
            (add("collector", Role::Collector), add("auditor", Role::Auditor));
        let service = start(dir.path(), settings);
        Self { dir, service, application, administrator, collector, auditor }
    }

    /// The same store, after a restart with periods for what is kept.
    pub(crate) fn keeping(self, retention: Retention) -> Self {
        self.restarted_with(|parts| parts.retention = retention)
    }

    /// The same store, after a restart with other parts.
    pub(crate) fn restarted_with(self, change: impl FnOnce(&mut Parts)) -> Self {
        let mut parts = parts(self.dir.path(), Settings::default());
        change(&mut parts);
        let service = chorale_api::service(parts).unwrap();
        Self { service, ..self }
    }

    /// The same store, after a restart.
    pub(crate) fn restarted(self) -> Self {
        let service = start(self.dir.path(), Settings::default());
        Self { service, ..self }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.service.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get("content-type").map(|k| k.to_str().unwrap().to_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status, kind: kind.unwrap_or_default(), body }
    }

    pub(crate) async fn call(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    /// As the administrator; must be answered.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Option<Value>>,
    ) -> Value {
        let body = body.into();
        let answer = self.call(&self.administrator, method, path, body.as_ref()).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {}", answer.body);
        assert_eq!(answer.kind, "application/json");
        for member in ["request_id", "model_version", "fallback"] {
            assert!(answer.body.get(member).is_some(), "{member} in {}", answer.body);
        }
        answer.body
    }

    /// As the administrator; must be refused so.
    pub(crate) async fn refused(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Option<Value>>,
        status: u16,
    ) -> Value {
        let body = body.into();
        let answer = self.call(&self.administrator, method, path, body.as_ref()).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.body);
        is_problem(&answer);
        answer.body
    }
}

/// Whether an answer is a problem after RFC 9457 that names its request.
pub(crate) fn is_problem(answer: &Answer) {
    assert_eq!(answer.kind, "application/problem+json", "{}", answer.body);
    assert_eq!(answer.body["status"], answer.status.as_u16());
    for member in ["type", "title", "detail", "request_id"] {
        assert!(!answer.body[member].as_str().unwrap().is_empty(), "{}", answer.body);
    }
}

pub(crate) fn items(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|i| i["item"].as_str().unwrap()).collect()
}
