//! Neighbouring data sets end to end: real agents over real QUIC read the same files with and without
//! one person, and what the coordinator unmasks is compared, for every task.
//!
//! Noise is left out by an unprotected federation, so that the integer totals can be seen. The coins
//! of rounding cannot be held fixed across two runs of real agents: each of the *other* persons'
//! coordinates may move by one unit, so the distance is at most Δ plus √d for each of them. That Δ
//! itself is kept to the unit is read off every agent's odometer, which has the norms that its gate
//! realised, and is shown for equal coins by `common/gate/src/tests.rs:
//! neighbours_differ_by_at_most_delta`.

use std::fs;

use chorale_client_agent::{
    cli::read_catalogue, ingest::ingest, keys::Key, observe::Wanted, odometer::Odometer,
};
use chorale_plan::{Mechanism, Parameter, Parameters, TaskSpec};
use chorale_task::{Model, Popularity, Tensor};
use chorale_tests::{Federation, Setup, federation::now_s};
use chorale_wire::RoundNumber;

use crate::recorder::{Question, ask, catalogue};

const AGENTS: u32 = 5;
const CUSTOMERS: u32 = 4;
const ITEMS: u32 = 8;
/// Δ, for a clip of 1 and 16 bits after the point.
const DELTA: f64 = 65_536.0;

async fn federation() -> Federation {
    let setup = Setup {
        agents: AGENTS,
        survivors_min: 4,
        customers: CUSTOMERS,
        items: ITEMS,
        ..Setup::default()
    };
    Federation::new(setup).await
}

/// A round of `task` on a model that has had a popularity round.
fn question(federation: &Federation, task: &str, rounds: u32, stores_max: u32) -> Question {
    let mut parameters = Parameters::default();
    if task == "matrix-factorisation" {
        parameters.0.insert("persons".into(), Parameter::Integer(i64::from(AGENTS * CUSTOMERS)));
        parameters.0.insert("rank".into(), Parameter::Integer(3));
    }
    let popularity: Vec<f64> = (0..ITEMS).map(|item| f64::from(ITEMS - item)).collect();
    let model = Model::for_catalogue(&catalogue(federation))
        .unwrap()
        .with_tensor(Popularity::NAME, Popularity::TENSOR, Tensor::vector(&popularity).unwrap())
        .unwrap();
    let task = TaskSpec { name: task.into(), parameters };
    Question { mechanism: Mechanism::Unprotected, task, rounds, stores_max, model }
}

/// The store's own files without one customer, as if the customer had never come.
async fn forget(federation: &Federation, number: u32, customer: u32) {
    let who = federation.shop(number).customer(customer);
    change_receipts(federation, number, |text| {
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains(&who)).collect();
        kept.join("\n") + "\n"
    })
    .await;
}

/// Changes a store's own files and reads them anew.
async fn change_receipts(federation: &Federation, number: u32, change: impl Fn(&str) -> String) {
    let path = federation.agent_folder(number).join("receipts.csv");
    let before = fs::read_to_string(&path).unwrap();
    let after = change(&before);
    assert!(after != before);
    fs::write(&path, after).unwrap();
    let config = federation.agent_config(number);
    let items = read_catalogue(&config.catalogue).unwrap();
    let (names, store) = (federation.pseudonyms(number), federation.open_store(number));
    ingest(&config, &items, &names, &store, now_s() as i64, Wanted::All).await.unwrap();
}

/// Squared norms of all persons at all agents, as their odometers have them.
fn realised(federation: &Federation) -> Vec<f64> {
    let mut norms = Vec::new();
    for number in 0..AGENTS {
        let (config, names) = (federation.agent_config(number), federation.pseudonyms(number));
        let key = Key::read(&config.store_key_path()).unwrap();
        let odometer = Odometer::new(&config.data_dir, &key);
        for customer in 0..CUSTOMERS {
            let who = names.person(&federation.shop(number).customer(customer));
            let reading = odometer.person(who).unwrap();
            // Nothing bounds what a round without noise shows, and the odometer says so.
            assert_eq!((reading.rho(), reading.federations.len()), (None, 1));
            let norm = odometer.norm_squared(&federation.name(), RoundNumber(1), who).unwrap();
            norms.push(norm.unwrap() as f64);
        }
    }
    norms
}

async fn neighbours(task: &str, rounds: u32, stores_max: u32) {
    let (with, without) = (federation().await, federation().await);
    forget(&without, 2, 1).await;
    let all = ask(&with, question(&with, task, rounds, stores_max)).await.totals;
    let rest = ask(&without, question(&without, task, rounds, stores_max)).await.totals;
    assert_eq!(all.len(), rest.len());
    let square: f64 = all.iter().zip(&rest).map(|(a, b)| (a - b) as f64).map(|x| x * x).sum();
    let others = f64::from(AGENTS * CUSTOMERS - 1);
    let coins = others * (all.len() as f64).sqrt();
    let bound = (DELTA / f64::from(stores_max)).floor();
    assert!(coins < bound / 10.0, "coins of {coins} would hide a bound of {bound}");
    let distance = square.sqrt();
    assert!(distance <= bound + coins, "{task}: {distance} > {bound} + {coins}");
    // The person is in there with most of what they may have: clipped, not discarded.
    assert!(distance >= bound / 2.0 - coins, "{task}: {distance}");
    let norms = realised(&with);
    assert_eq!(norms.len(), (AGENTS * CUSTOMERS) as usize);
    for norm in norms {
        assert!(norm <= bound * bound && norm > bound * bound / 4.0, "{task}: {norm}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbouring_data_sets_of_popularity() {
    neighbours("popularity", 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbouring_data_sets_of_cooccurrence() {
    neighbours("cooccurrence", 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbouring_data_sets_of_matrix_factorisation() {
    neighbours("matrix-factorisation", 3, 1).await;
}

/// A person who is divided among four stores weighs a quarter at each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbouring_data_sets_of_divided_persons() {
    neighbours("popularity", 1, 4).await;
}

/// Refusals depend on public parameters only: a store at which nobody is at home answers a round like
/// a full one, with noise alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_answers_like_a_full_one() {
    let federation = federation().await;
    change_receipts(&federation, 3, |text| text.replace(",3,SMOKED", ",99,SMOKED")).await;
    // A refusal, a missing agent or an aborted round would end the recording with a panic.
    let recording = ask(&federation, question(&federation, "popularity", 1, 1)).await;
    assert_eq!(recording.vectors.len(), AGENTS as usize);
    let lengths: Vec<usize> = recording.vectors.iter().map(|vector| vector.bytes.len()).collect();
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
}
