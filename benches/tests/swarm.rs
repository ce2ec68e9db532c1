//! A small swarm, whole: the command of `docs/benchmarks.md` cannot rot.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn swarm(arguments: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_swarm");
    Command::new(program).args(arguments.split(' ')).output().unwrap()
}

fn figures(arguments: &str) -> Value {
    let output = swarm(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Three of sixteen may drop out, so that noise comes in layers and surplus ones come off.
#[test]
fn sixteen_agents_lose_one_in_each_round_and_get_it_back() {
    let figures = figures(
        "--agents 16 --coordinates 3000 --rounds 2 --dropouts 7 --tolerated 20 --patience 120 \
         --json",
    );
    assert_eq!(figures["dropouts"], 1);
    assert_eq!(figures["rounds"].as_array().unwrap().len(), 2);
    for round in figures["rounds"].as_array().unwrap() {
        assert_eq!((&round["cohort"], &round["survivors"]), (&16.into(), &15.into()));
        assert_eq!(round["steps"].as_array().unwrap().len(), 4);
    }
    for total in figures["verdict"]["totals"].as_array().unwrap() {
        assert!(total["noise_ratio"].as_f64().unwrap() > 0.5);
    }
    assert_eq!(figures["vectors_uploaded"], 30);
    assert_eq!(figures["troubles"], serde_json::json!([]));
    assert!(figures["coordinator_peak_bytes"].as_u64().unwrap() > 1 << 20);
    let bytes = figures["rounds"][0]["steps"][1]["agent_sent_bytes"].as_f64().unwrap();
    assert!(bytes > 3_000.0, "a vector of 3,000 coordinates left in {bytes} bytes");
}

#[test]
fn without_noise_the_total_is_exact() {
    let figures = figures(
        "--agents 12 --coordinates 1200 --rounds 1 --dropouts 9 --tolerated 10 --unprotected \
         --share-verified --patience 120 --json",
    );
    let total = &figures["verdict"]["totals"][0];
    assert_eq!((&total["noise_std"], &total["largest_error"]), (&0.0.into(), &0.0.into()));
    assert_eq!(figures["rounds"][0]["survivors"], 11);
}

#[test]
fn wrong_usage_is_told_from_failure() {
    assert_eq!(swarm("--agents 16 --coordinates 10").status.code(), Some(2));
    assert_eq!(swarm("--dropouts 12 --tolerated 10").status.code(), Some(2));
    let help = String::from_utf8(swarm("--help").stdout).unwrap();
    assert!(help.contains("--share-verified") && help.contains("COMMIT"));
    let missing = swarm("--agents 16 --coordinates 3000 --coordinator /nonexistent --patience 60");
    assert_eq!(missing.status.code(), Some(1));
}
