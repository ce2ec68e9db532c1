//! Canary lanes in a whole federation: honest noise raises no flag, and short noise stops it.

use std::{ffi::OsString, process::ExitCode};

use chorale_coordinator::{config::Config, error::RunError};
use chorale_dp::Rational;
use chorale_ledger::{CanaryOpening, Chain, Entry, Released, canary::CanaryCommitment};
use chorale_plan::canary::{Measured, measure, sum_of_squares};
use chorale_transport::CoordinatorKeys;
use chorale_wire::{Digest, SecretKey, SessionId, Slot, SlotSet};

use super::*;

const LANES: u32 = 4_096;

async fn federation() -> Federation {
    let popularity = plan("popularity", "popularity", 1, "3/10", "");
    let taste = plan("taste", "matrix-factorisation", 2, "3/10", "rank = 2\npersons = 60");
    let plans = popularity + &taste;
    let plans = plans.replace("persons_max", &format!("canary_lanes = {LANES}\npersons_max"));
    Federation::new(Setup { plans, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_noise_is_measured_and_short_noise_stops_the_federation() {
    let federation = federation().await;
    let coordinator = federation.start_coordinator();
    let agents = federation.start_agents(0..6);
    let (result, events) = coordinator.finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    for agent in agents {
        // A total with lanes in it would fit no model.
        assert!(agent.finish().await.final_model.is_some());
    }
    let report = federation.verified_ledger();
    federation.audit_by_python();
    let canaries = report.canaries.clone().unwrap();
    assert_eq!((canaries.rounds, canaries.lanes), (3, 3 * u64::from(LANES)));
    assert!(canaries.short.is_empty() && !canaries.contradict(), "{canaries:?}");
    for line in &report.rounds {
        let noise = line.canaries.as_ref().unwrap().noise;
        // Five standard deviations of a mean of 4,096 squares.
        assert!((noise - 1.0).abs() < 0.111, "{noise}");
    }
    counted_again(&federation);

    // Another round, with the ledger's own key, whose lanes have half of what is owed.
    short_round(&federation);
    let report = federation.verified_ledger();
    federation.audit_by_python();
    assert_eq!(report.canaries.unwrap().short, [4]);
    let (result, _) = federation.start_coordinator().finish().await;
    let refused = result.unwrap_err();
    assert!(matches!(refused, RunError::NoiseShort { round } if round.0 == 4), "{refused:?}");
    // It starts again when the operator names that round, and no other.
    let path = federation.root().join("coordinator.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    for (named, starts) in [(3, false), (5, false), (4, true)] {
        let acknowledged = format!("noise_acknowledged = {named}\n{text}");
        std::fs::write(&path, acknowledged).unwrap();
        assert_eq!(Config::load(&path).unwrap().noise_acknowledged, Some(named));
        let (result, events) = federation.start_coordinator().finish().await;
        assert_eq!(result.is_ok(), starts, "{named}: {result:?}, {events:#?}");
    }
}

/// The totals that the coordinator keeps give what stands in the ledger.
fn counted_again(federation: &Federation) {
    let mut delta = 0;
    let mut found = 0;
    for line in federation.ledger_text().lines() {
        let entry = serde_json::from_str::<serde_json::Value>(line).unwrap()["entry"].clone();
        match serde_json::from_value(entry).unwrap() {
            Entry::Reserve(reserve) => delta = reserve.delta,
            Entry::Release(release) => {
                let opening = release.canaries.clone().unwrap();
                let name = format!("state/lanes/{}.lanes", release.round.0);
                let text = std::fs::read_to_string(federation.root().join(name)).unwrap();
                let lanes: Vec<i64> = text.lines().map(|line| line.parse().unwrap()).collect();
                // Six agents of whom one may drop out: noise comes in layers.
                assert_eq!(lanes.len(), 2 * LANES as usize);
                let (after, before) = lanes.split_at(LANES as usize);
                let seed = *opening.seed.as_bytes();
                let measured = measure(after, delta, &seed);
                let before = Some(sum_of_squares(before));
                let again = CanaryOpening::new(seed, &text, measured, before);
                assert_eq!(opening, again);
                found += 1;
            }
            _ => {}
        }
    }
    assert_eq!(found, 3);
    for line in &federation.verified_ledger().rounds {
        let name = format!("state/lanes/{}.lanes", line.round);
        let totals = std::fs::read(federation.root().join(name)).unwrap();
        assert_eq!(line.recount(&totals), Ok(true));
    }
    by_command(federation);
    by_python(federation);
}

/// And so says `ledger verify --lanes`, unless a number of a file was changed.
fn by_command(federation: &Federation) {
    let file = |name: &str| federation.root().join("state").join(name).into_os_string();
    let verified = || {
        let words = ["coordinator", "ledger", "verify", "--json"].map(OsString::from);
        let files = [file("ledger.jsonl"), "--lanes".into(), file("lanes")];
        let code = chorale_coordinator::cli::main(words.into_iter().chain(files));
        format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
    };
    assert!(verified());
    let path = file("lanes/2.lanes");
    let kept = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("1{kept}")).unwrap();
    assert!(!verified());
    std::fs::write(&path, kept).unwrap();
}

/// And so says the auditor's verifier, unless a number of a file was changed.
fn by_python(federation: &Federation) {
    let script = chorale_tests::checkout().join("docs/audit/verify_ledger.py");
    let recount = || {
        let mut command = std::process::Command::new("python3");
        command.arg("-B").arg(&script).arg(federation.root().join("state/ledger.jsonl"));
        command.arg("--lanes").arg(federation.root().join("state/lanes")).output()
    };
    // Where there is no Python, `audit_by_python` has said so.
    let Ok(said) = recount() else { return };
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    assert!(text.contains("rounds_recounted  3"), "{text}");
    let path = federation.root().join("state/lanes/2.lanes");
    let kept = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("1{kept}")).unwrap();
    let said = recount().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(!said.status.success() && text.contains("2.lanes is not what"), "{text}");
    std::fs::write(&path, kept).unwrap();
}

/// Appends a round to the stopped federation's ledger whose lanes have half of what is owed.
fn short_round(federation: &Federation) {
    let keys = CoordinatorKeys::open(&federation.root().join("coordinator-keys")).unwrap();
    let key = SecretKey::from_seed(&keys.identity().to_seed());
    let text = federation.ledger_text();
    let mut chain = Chain::resume(text.as_bytes()).unwrap();
    let entries = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        serde_json::from_value::<Entry>(line["entry"].clone()).unwrap()
    });
    let (mut reserve, mut release) = (None, None);
    for entry in entries {
        match entry {
            Entry::Reserve(found) => reserve = Some(*found),
            Entry::Release(found) => release = Some(*found),
            _ => {}
        }
    }
    let (mut reserve, release) = (reserve.unwrap(), release.unwrap());
    reserve.round.0 += 1;
    let (round, seed) = (reserve.round, [9; 32]);
    reserve.canaries = Some(CanaryCommitment::new(LANES, &seed, round));
    let half = &(reserve.sigma_squared.as_ref().unwrap() * &Rational::new(1, 2).unwrap())
        * &Rational::from_integer(LANES);
    let sum_of_squares = Rational::from_integer(half.floor());
    let before = Some(sum_of_squares.clone());
    let measured = Measured { sum_of_squares, right: 100 };
    let cohort = SlotSet::from_slots(6, (0..6).map(Slot));
    let digest = Digest::plain(b"short");
    let released = Released {
        round,
        session: SessionId::new(reserve.epoch, round, &digest, &digest, &cohort),
        survivors: release.survivors,
        vectors: release.vectors,
        transcript: digest,
        output_model: release.output_model,
        canaries: Some(CanaryOpening::new(seed, "", measured, before)),
    };
    let now_s = chorale_tests::federation::now_s();
    let mut lines = chain.append(Entry::Reserve(Box::new(reserve)), &key, now_s).unwrap();
    let entry = chain.release(released).unwrap();
    lines += &chain.append(entry, &key, now_s).unwrap();
    std::fs::write(federation.root().join("state/ledger.jsonl"), text + &lines).unwrap();
}
