//! What genesis promised changes by the compliance officer's signature, when the coordinator starts.

use std::fs;

use chorale_coordinator::error::RunError;
use chorale_ledger::{Chain, Change, ChangeEntry};
use chorale_task::Catalogue;
use chorale_wire::{Digest, SecretKey};

use super::*;

/// Signs a change of the ledger as it stands, and lays it into the state folder.
fn sign(
    federation: &Federation,
    key: &SecretKey,
    what: Change,
    set: impl FnOnce(&mut ChangeEntry),
) {
    let chain = Chain::resume(federation.ledger_text().as_bytes()).unwrap();
    let (serial, genesis) = chain.next_change().unwrap();
    let mut change = ChangeEntry::new(what, serial);
    set(&mut change);
    let text = serde_json::to_string(&change.sign(&genesis, key).unwrap()).unwrap();
    fs::write(federation.root().join(format!("state/change-{serial}.json")), text).unwrap();
}

fn raise_floor(federation: &Federation, key: &SecretKey) {
    sign(federation, key, Change::Policy, |change| change.survivors_min = Some(6));
}

/// The key that compliance keeps.
fn officer(federation: &Federation) -> SecretKey {
    let seed = fs::read_to_string(federation.root().join("compliance.key")).unwrap();
    SecretKey::from_seed(Digest::parse(seed.trim()).unwrap().as_bytes())
}

/// The coordinator's configuration with `before` replaced by `after`, and signed off.
fn configure(federation: &Federation, replaced: &[(&str, &str)], added: &str) {
    let path = federation.root().join("coordinator.toml");
    let mut config = fs::read_to_string(&path).unwrap();
    for (before, after) in replaced {
        assert!(config.contains(before), "{before} in {config}");
        config = config.replace(before, after);
    }
    fs::write(&path, config + added).unwrap();
    federation.sign_off();
}

async fn run(federation: &Federation) {
    let coordinator = federation.start_coordinator();
    let agents = federation.start_agents(0..6);
    let (result, events) = coordinator.finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    for agent in agents {
        agent.finish().await;
    }
}

async fn refused(federation: &Federation) -> RunError {
    federation.start_coordinator().finish().await.0.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_change_is_in_force_from_the_next_start_on() {
    let plans = plan("popularity", "popularity", 1, "3/10", "");
    let setup = Setup { plans, timing: patient(), ..Setup::default() };
    let federation = Federation::new(setup).await;
    run(&federation).await;
    let before = federation.ledger_text();

    // Without the officer's signature nothing changes, and the coordinator does not start.
    raise_floor(&federation, &SecretKey::from_seed(&[9; 32]));
    let error = refused(&federation).await;
    assert!(matches!(error, RunError::Refused(_)), "{error:?}");
    assert_eq!(federation.ledger_text(), before);

    // With it the ledger changes; the configuration has to follow.
    raise_floor(&federation, &officer(&federation));
    let error = refused(&federation).await;
    assert!(matches!(error, RunError::OtherFederation { what: "cohort rule", .. }), "{error:?}");
    assert_eq!(federation.verified_ledger().survivors_min, 6);

    // As it does, with another plan: its rounds are held to the new floor.
    let taste = plan("taste", "matrix-factorisation", 2, "7/10", "rank = 2\npersons = 60");
    configure(&federation, &[("survivors_min = 5", "survivors_min = 6")], &taste);
    run(&federation).await;
    let text = federation.ledger_text();
    assert!(text.starts_with(&before));
    assert_eq!(text.matches(r#""kind":"change""#).count(), 1, "{text}");
    let report = federation.verified_ledger();
    let floors: Vec<u32> = report.rounds.iter().map(|line| line.survivors_min).collect();
    assert_eq!((report.released, floors), (3, vec![5, 6, 6]));
    federation.audit_by_python();
    for agent in 0..6 {
        spent_what_the_ledger_says(&federation, agent, &report);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_and_a_release_come_in_by_signed_changes() {
    let plans = plan("popularity", "popularity", 1, "3/10", "");
    let setup = Setup { plans, timing: patient(), ..Setup::default() };
    let federation = Federation::new(setup).await;
    run(&federation).await;

    // One more item, and nobody has signed.
    let items = fs::read_to_string(federation.root().join("catalogue.csv")).unwrap();
    let items = items + "8,SMOKED EEL 008,DEPARTMENT 0,CATEGORY 0\n";
    fs::write(federation.root().join("catalogue.csv"), &items).unwrap();
    for agent in 0..6 {
        federation.ingest(agent).await;
    }
    configure(&federation, &[], &plan("again", "popularity", 1, "7/10", ""));
    // A release needs no signature to start; with one the ledger says from where on it is in force.
    // The items need theirs.
    let key = officer(&federation);
    sign(&federation, &key, Change::Upgrade, |change| change.software = Some("next".into()));
    let error = refused(&federation).await;
    assert!(matches!(error, RunError::OtherFederation { what: "catalogue", .. }), "{error:?}");
    let catalogue = Catalogue::read_csv(items.as_bytes()).unwrap().digest();
    sign(&federation, &key, Change::Catalogue, |change| change.catalogue = Some(catalogue));
    run(&federation).await;

    let text = federation.ledger_text();
    let kinds: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["entry"].take())
        .filter(|entry| entry["kind"] == "change")
        .map(|entry| entry["what"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["upgrade", "catalogue"]);
    let report = federation.verified_ledger();
    federation.audit_by_python();
    assert_eq!((report.released, report.open), (2, 0));
    let sizes: Vec<u32> = report.rounds.iter().map(|round| round.coordinates).collect();
    assert!(sizes[0] < sizes[1], "{sizes:?}");
    for agent in 0..6 {
        spent_what_the_ledger_says(&federation, agent, &report);
    }
}
