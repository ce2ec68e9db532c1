//! Everything that agents send in a whole round, recorded and searched: no raw id, no pseudonym,
//! no item, no vector before noise and masks.
//!
//! The recording coordinator is the real server and the real round machine; it keeps every
//! decoded byte that the server hands it (control messages, headers, vectors) and, through a
//! relay in front of it, every UDP payload as it was on the wire.
#![allow(missing_docs, clippy::unwrap_used)]

mod neighbours;
mod recorder;
mod search;

use std::{fs, path::Path};

use chorale_dp::Rational;
use chorale_plan::Mechanism;
use chorale_tests::{Federation, Setup, shop::item_name};

use recorder::Recording;
use search::{find, find_vector};

const AGENTS: u32 = 6;

/// Each person's part is rounded at random to a neighbouring lattice point, so that the vector
/// before noise is known up to one unit a customer.
const CUSTOMERS: u32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_masked_vectors_leaves_without_noise() {
    let federation = federation().await;
    let recording = recorder::record(&federation, Mechanism::Unprotected).await;
    // Control of the search itself: what it looks for is what the agents summed.
    for (coordinate, total) in recording.totals.iter().enumerate() {
        let expected: i64 = (0..AGENTS).map(|n| bare_vector(&federation, n)[coordinate]).sum();
        let rounding = i64::from(AGENTS * CUSTOMERS);
        assert!((total - expected).abs() <= rounding, "{coordinate}: {total} for {expected}");
    }
    search_everything(&federation, &recording);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_masked_vectors_leaves_with_noise() {
    let federation = federation().await;
    let sigma_squared = Rational::from_integer(1u64 << 34);
    let noise = Mechanism::DiscreteGaussian { sigma_squared, remove_surplus: true };
    let recording = recorder::record(&federation, noise).await;
    search_everything(&federation, &recording);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_swapped_after_ready_gets_no_vector() {
    let federation = federation().await;
    let catalogue = fs::read(federation.root().join("catalogue.csv")).unwrap();
    let catalogue = chorale_task::Catalogue::read_csv(&catalogue).unwrap();
    let other = chorale_task::Model::for_catalogue(&catalogue).unwrap();
    let other = other.with_note("for", "one agent only").unwrap();
    let sigma_squared = Rational::from_integer(1u64 << 34);
    let noise = Mechanism::DiscreteGaussian { sigma_squared, remove_surplus: false };
    let (recording, summaries) =
        recorder::record_with_swapped_model(&federation, noise, &other).await;
    assert!(recording.vectors.is_empty(), "{} vectors left", recording.vectors.len());
    for summary in summaries {
        assert_eq!((summary.completed, summary.refused), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_data_holds_no_raw_id() {
    let federation = federation().await;
    for number in 0..AGENTS {
        let mut stored = Vec::new();
        for folder in ["data", "keys"] {
            read_all(&federation.agent_folder(number).join(folder), &mut stored);
        }
        assert!(stored.len() > 1000);
        for (what, needle) in raw_ids(&federation, number).chain(items()) {
            assert!(find(&stored, &needle).is_none(), "{what} in plain text at store {number}");
        }
    }
}

async fn federation() -> Federation {
    Federation::new(Setup { agents: AGENTS, customers: CUSTOMERS, items: 24, ..Setup::default() })
        .await
}

fn search_everything(federation: &Federation, recording: &Recording) {
    assert_eq!(recording.vectors.len(), AGENTS as usize);
    assert!(recording.control.len() > 1000 && recording.udp.len() > recording.control.len());
    let mut decoded = recording.control.clone();
    recording.vectors.iter().for_each(|vector| decoded.extend_from_slice(&vector.bytes));
    for number in 0..AGENTS {
        let needles: Vec<(String, Vec<u8>)> = raw_ids(federation, number)
            .chain(pseudonyms(federation, number))
            .chain(items())
            .collect();
        assert!(needles.len() > 30);
        for (what, needle) in &needles {
            for (place, bytes) in [("a message", &decoded), ("a packet", &recording.udp)] {
                assert!(find(bytes, needle).is_none(), "{what} is in {place}");
            }
        }
        // The search finds each of them where it is planted.
        let (_, needle) = &needles[number as usize];
        let mut planted = decoded.clone();
        planted.splice(777..777, needle.iter().copied());
        assert_eq!(find(&planted, needle), Some(777));

        let bare = bare_vector(federation, number);
        let slack = i64::from(CUSTOMERS);
        assert_eq!(find_vector(&decoded, &bare, slack), None, "vector of {number}");
        assert_eq!(find_vector(&recording.udp, &bare, slack), None, "vector of {number}");
        for (format, encoded) in search::encodings(&bare) {
            let mut planted = decoded.clone();
            planted.splice(555..555, encoded);
            assert_eq!(find_vector(&planted, &bare, slack), Some((555, format)));
        }
        // Packed to w bits as vectors travel: not one coordinate of a masked vector is near.
        for vector in &recording.vectors {
            assert_eq!(
                vector.near(&bare, slack),
                0,
                "{} sent coordinates of {number}",
                vector.agent
            );
        }
        let unmasked = recording.vectors[0].with(&bare);
        assert_eq!(unmasked.near(&bare, slack), bare.len());
    }
}

fn raw_ids(federation: &Federation, number: u32) -> impl Iterator<Item = (String, Vec<u8>)> {
    let shop = federation.shop(number);
    (0..CUSTOMERS).map(move |customer| {
        let raw = shop.customer(customer);
        (format!("raw id {raw}"), raw.into_bytes())
    })
}

/// The first half of each pseudonym, as bytes and in hexadecimal digits: a piece is too much.
fn pseudonyms(federation: &Federation, number: u32) -> impl Iterator<Item = (String, Vec<u8>)> {
    let (shop, names) = (federation.shop(number), federation.pseudonyms(number));
    (0..CUSTOMERS).flat_map(move |customer| {
        let half = names.person(&shop.customer(customer)).as_bytes()[..16].to_vec();
        let hex: String = half.iter().map(|byte| format!("{byte:02x}")).collect();
        let what = format!("pseudonym of {}", shop.customer(customer));
        [
            (what.clone(), half),
            (what.clone(), hex.to_uppercase().into_bytes()),
            (what, hex.into_bytes()),
        ]
    })
}

fn items() -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..24).map(|item| (format!("item {}", item_name(item)), item_name(item).into_bytes()))
}

/// An agent's popularity vector before noise and masks, in lattice units: Σ 2^16/√n over the
/// baskets with the item, known up to one unit a customer.
fn bare_vector(federation: &Federation, number: u32) -> Vec<i64> {
    let shop = federation.shop(number);
    let mut sum = vec![0f64; shop.items as usize];
    for customer in 0..shop.customers {
        let history = shop.history(customer);
        for (item, _) in &history {
            sum[*item as usize] += 65_536.0 / (history.len() as f64).sqrt();
        }
    }
    sum.into_iter().map(|value| value.round() as i64).collect()
}

fn read_all(folder: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else {
            into.extend(fs::read(path).unwrap());
        }
    }
}
