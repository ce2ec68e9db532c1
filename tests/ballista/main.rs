//! An agent whose SQL runs on a real Ballista cluster: a scheduler and two executors as processes.
//!
//! This executable is also the programs: `ballista scheduler …`, `ballista executor …` and
//! `ballista client-agent …` run them. The cluster's programs are the library's own; only what the
//! command lines of the originals would say is said here in code.
#![allow(missing_docs, clippy::unwrap_used)]

mod cluster;
mod shop;
mod tls;

use std::process::ExitCode;

use chorale_tests::{Case, run_cases};
use cluster::{Cluster, Results};
use shop::Shop;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.nth(1);
    match program.as_deref() {
        Some("scheduler") => cluster::scheduler(arguments),
        Some("executor") => cluster::executor(arguments),
        Some("client-agent") => {
            let arguments = std::iter::once("client-agent".to_owned()).chain(arguments);
            chorale_client_agent::cli::main(arguments.map(Into::into))
        }
        filter => run_cases(&CASES, filter),
    }
}

const CASES: [Case; 6] = [
    ("the_same_as_in_the_agent", the_same_as_in_the_agent),
    ("a_query_that_fails_says_nothing_of_its_rows", a_query_that_fails_says_nothing_of_its_rows),
    ("a_scheduler_that_sends_elsewhere_is_refused", a_scheduler_that_sends_elsewhere_is_refused),
    ("no_scheduler", no_scheduler),
    ("tls_with_certificates_of_both_sides", tls_with_certificates_of_both_sides),
    ("what_a_cluster_cannot_read_is_refused", what_a_cluster_cannot_read_is_refused),
];

/// Filters and joins, then new files alone, then a sum, whose rows the executors exchange: persons
/// in the sealed store are what the agent's own engine makes of it, and the executors' disks are
/// empty afterwards.
fn the_same_as_in_the_agent() {
    let cluster = Cluster::start(Results::ThroughTheScheduler);
    for sql in [shop::JOIN, shop::SUM] {
        let here = Shop::new(sql);
        let there = here.twin(&cluster.engine());
        for shop in [&here, &there] {
            shop.add_receipts("367");
        }
        let (ours, theirs) = (here.ingest(), there.ingest());
        assert!(ours["quality"]["used"].as_u64().unwrap() > 10_000, "{ours}");
        for part in ["rows", "used", "columns"] {
            assert_eq!(ours["quality"][part], theirs["quality"][part]);
        }
        let persons = here.persons();
        assert!(persons.len() > 20);
        assert!(persons == there.persons());
        assert_eq!(there.ingest()["reading"]["nothing_new"], true);
        for shop in [&here, &there] {
            shop.add_receipts("343");
        }
        let (ours, theirs) = (here.ingest(), there.ingest());
        assert_eq!(ours["reading"]["added"], sql == shop::JOIN);
        assert_eq!(ours["reading"]["added"], theirs["reading"]["added"]);
        assert!(here.persons() == there.persons() && here.persons().len() > persons.len());
    }
    cluster.nothing_is_left();
}

fn a_query_that_fails_says_nothing_of_its_rows() {
    let cluster = Cluster::start(Results::ThroughTheScheduler);
    let shop = Shop::new(shop::FAILS).twin(&cluster.engine());
    shop.add_receipts("367");
    let said = shop.refused("debug");
    assert!(said.contains("did not run event_sql to its end"), "{said}");
    let catalogue = shop.catalogue();
    let shown = catalogue.iter().find(|item| said.contains(item.as_str()));
    assert_eq!(shown, None, "{said}");
    assert!(!shop.has_data());
    cluster.nothing_is_left();
}

fn a_scheduler_that_sends_elsewhere_is_refused() {
    let cluster = Cluster::start(Results::FromTheExecutors);
    let shop = Shop::new(shop::JOIN).twin(&cluster.engine());
    shop.add_receipts("367");
    let said = shop.refused("warn");
    assert!(said.contains("--enable-embedded-flight-proxy"), "{said}");
    assert!(!shop.has_data());
    cluster.nothing_is_left();
}

fn no_scheduler() {
    let shop = Shop::new(shop::JOIN).twin(&format!("ballista://127.0.0.1:{}", cluster::port()));
    shop.add_receipts("367");
    let said = shop.refused("warn");
    assert!(said.contains("did not run event_sql to its end"), "{said}");
    assert!(said.contains("onnection refused"), "{said}");
    assert!(!shop.has_data());
}

fn tls_with_certificates_of_both_sides() {
    let cluster = Cluster::start(Results::ThroughTheScheduler);
    let door = tls::Door::before(cluster.port);
    let engine = format!("ballista://localhost:{}", door.port);
    let shop = Shop::new(shop::JOIN).twin(&engine);
    shop.add_receipts("367");
    // Plain text at a door of TLS.
    shop.refused("warn");
    let own = "certificate = 'agent.pem'\nkey = 'agent.key'";
    for (more, admitted) in [
        ("ca = 'ca.pem'", false),
        (&*format!("ca = 'other.pem'\n{own}"), false),
        (&*format!("ca = 'ca.pem'\n{own}"), true),
    ] {
        let shop = shop.twin_with(&engine, more);
        shop.add_receipts("367");
        for (name, text) in &door.files {
            shop.write(name, text);
        }
        if admitted {
            assert!(shop.ingest()["persons"].as_u64().unwrap() > 20);
        } else {
            let said = shop.refused("warn");
            let unknown = said.contains("invalid peer certificate");
            assert_eq!(more.contains("other"), unknown, "{said}");
            assert!(!shop.has_data());
        }
    }
    cluster.nothing_is_left();
}

fn what_a_cluster_cannot_read_is_refused() {
    let engine = "ballista://127.0.0.1:9";
    let shop = Shop::new(shop::JOIN);
    shop.add_receipts("367");
    let config = shop.twin(engine).config();
    for (of, instead, key) in [
        ("format = 'parquet'", "format = 'csv'", "engine"),
        ("executor_disks = 'encrypted'", "", "cluster.executor_disks"),
        ("127.0.0.1:9", "10.1.1.1:9", "cluster.ca"),
        ("[cleaning]", "[cleaning]\nrepeated_id = 'correct'", "engine"),
    ] {
        let other = shop.twin(engine);
        other.write("agent.toml", &config.replacen(of, instead, 1));
        let said = other.refused("warn");
        assert!(said.contains(&format!("'{key}'")), "{said}");
    }
}
