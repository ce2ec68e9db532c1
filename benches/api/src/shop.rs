//! A store with many items and persons, a factor model, its API and a static reply.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{Router, routing::get};
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
use chorale_task::{Catalogue, Item, MatrixFactorisation, Model, Popularity, Tensor};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use tokio::net::TcpListener;

pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    pub(crate) fixed_address: SocketAddr,
    token: String,
    _dir: tempfile::TempDir,
}

const NOW_S: i64 = 1_767_268_800;
const EVENTS: u32 = 200;
const RANK: u32 = 16;
const CATEGORIES: u32 = 300;

/// Bytes of the static reply: about a profile's.
const FIXED_BYTES: usize = 5000;

impl Shop {
    pub(crate) async fn start(items: u32, persons: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut random = ChaCha12Rng::seed_from_u64(1);
        let catalogue = catalogue(items);
        let names = Pseudonymiser::new(&Key::from_bytes([1; 32]));
        let store = Store::open(&dir.path().join("data"), &Key::from_bytes([2; 32])).unwrap();
        let records = records(items, persons, &names, &mut random);
        let ingest = Ingest {
            time_s: NOW_S,
            catalogue: catalogue.digest(),
            home: "1".into(),
            persons: u64::from(persons),
            home_persons: u64::from(persons),
            window_end_s: i64::MAX,
            last_event_s: NOW_S,
            bought_by: vec![0; items as usize],
            quality: Quality::default(),
        };
        store.replace_persons(&records, &BTreeMap::new(), &ingest).unwrap();
        store.save_model(&model(&catalogue, &mut random)).unwrap();
        let tokens = dir.path().join("tokens.toml");
        let token = Tokens::add(&tokens, "load", Role::Application).unwrap();
        let settings =
            Settings { requests_per_second: 1_000_000, burst: 1_000_000, ..Settings::default() };
        let parts = Parts {
            agent: "store-1".into(),
            home: "1".into(),
            window_end_s: i64::MAX,
            catalogue,
            names,
            store,
            settings,
            tokens,
            receipt_key: Key::from_bytes([3; 32]),
            retention: Retention::default(),
            clock: Clock::Fixed(NOW_S),
            features: Vec::new(),
            channels: chorale_people::channel::Channels::default(),
            linked: Vec::new(),
            elsewhere: Vec::new(),
        };
        let address = listen(chorale_api::service(parts).unwrap()).await;
        let body: &'static str = Box::leak("x".repeat(FIXED_BYTES).into_boxed_str());
        let fixed_address =
            listen(Router::new().route("/", get(move || async move { body }))).await;
        Self { address, fixed_address, token, _dir: dir }
    }

    /// A static reply of about a profile's length.
    pub(crate) fn fixed(&self) -> Vec<u8> {
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()
    }

    pub(crate) fn profile(&self, person: u32) -> Vec<u8> {
        self.request("GET", &format!("/v1/users/customer-{person}/profile"), "")
    }

    /// Twenty items that the person has not bought.
    pub(crate) fn wish(&self, person: u32) -> Vec<u8> {
        let body = format!(r#"{{"user":"customer-{person}","count":20,"repeat":"never"}}"#);
        self.request("POST", "/v1/recommend", &body)
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .into_bytes()
    }
}

async fn listen(service: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    address
}

fn catalogue(items: u32) -> Catalogue {
    let item = |index: u32| Item {
        item_id: format!("ITEM-{index}"),
        department: format!("D{}", index % CATEGORIES / 20),
        category: format!("C{}", index % CATEGORIES),
    };
    Catalogue::new((0..items).map(item).collect()).unwrap()
}

/// Popular items more often: the square of a uniform number.
fn item(items: u32, random: &mut ChaCha12Rng) -> u32 {
    let uniform = f64::from(random.next_u32()) / f64::from(u32::MAX);
    ((uniform * uniform * f64::from(items)) as u32).min(items - 1)
}

fn records(
    items: u32,
    persons: u32,
    names: &Pseudonymiser,
    random: &mut ChaCha12Rng,
) -> BTreeMap<chorale_plan::Pseudonym, PersonRecord> {
    (0..persons)
        .map(|person| {
            let events = (0..EVENTS).map(|number| StoredEvent {
                time_s: NOW_S - i64::from(EVENTS - number) * 86_400,
                item: item(items, random),
                kind: Kind::Purchase,
                basket: number / 5,
                quantity: 1.0,
                amount: 2.0,
                discount: 0.0,
                channel: 0,
            });
            let record = PersonRecord { at_home: true, events: events.collect() };
            (names.person(&format!("customer-{person}")), record)
        })
        .collect()
}

fn model(catalogue: &Catalogue, random: &mut ChaCha12Rng) -> Model {
    let items = catalogue.len();
    let popularity: Vec<f64> = (0..items).map(|index| 1e6 / (index as f64 + 10.0)).collect();
    let factors: Vec<f32> = (0..items * RANK as usize)
        .map(|_| (random.next_u32() >> 8) as f32 / (1 << 24) as f32 - 0.5)
        .collect();
    let factors = Tensor::new(vec![items as u32, RANK], factors).unwrap();
    Model::for_catalogue(catalogue)
        .unwrap()
        .with_tensor("popularity", Popularity::TENSOR, Tensor::vector(&popularity).unwrap())
        .unwrap()
        .with_tensor("matrix-factorisation", MatrixFactorisation::TENSOR, factors)
        .unwrap()
}
