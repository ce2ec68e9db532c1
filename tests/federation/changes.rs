//! What genesis promised changes by the compliance officer's signature, when the coordinator starts.

use std::fs;

use chorale_coordinator::error::RunError;
use chorale_ledger::{Chain, Change, ChangeEntry};
use chorale_wire::{Digest, SecretKey};

use super::*;

/// Signs a higher T_min for the ledger as it stands, and lays it into the state folder.
fn raise_floor(federation: &Federation, key: &SecretKey) {
    let chain = Chain::resume(federation.ledger_text().as_bytes()).unwrap();
    let (serial, genesis) = chain.next_change().unwrap();
    let mut change = ChangeEntry::new(Change::Policy, serial);
    change.survivors_min = Some(6);
    let text = serde_json::to_string(&change.sign(&genesis, key).unwrap()).unwrap();
    fs::write(federation.root().join(format!("state/change-{serial}.json")), text).unwrap();
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
    let seed = fs::read_to_string(federation.root().join("compliance.key")).unwrap();
    let officer = SecretKey::from_seed(Digest::parse(seed.trim()).unwrap().as_bytes());
    raise_floor(&federation, &officer);
    let error = refused(&federation).await;
    assert!(matches!(error, RunError::OtherFederation { what: "cohort rule", .. }), "{error:?}");
    assert_eq!(federation.verified_ledger().survivors_min, 6);

    // As it does, with another plan: its rounds are held to the new floor.
    let path = federation.root().join("coordinator.toml");
    let config = fs::read_to_string(&path).unwrap();
    let config = config.replace("survivors_min = 5", "survivors_min = 6")
        + &plan("taste", "matrix-factorisation", 2, "7/10", "rank = 2\npersons = 60");
    fs::write(&path, config).unwrap();
    federation.sign_off();
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
