//! Agents whose policy names the compliance officer's key believe that key, not the coordinator.

use chorale_dp::Rational;
use chorale_ledger::RefusalKind;
use chorale_tests::federation::POLICY;
use chorale_wire::SecretKey;

use super::*;

/// Has the administrators of `agents` sign policies that demand the sign-off of `key`.
fn demand(federation: &Federation, agents: std::ops::Range<u32>, key: &str) {
    for number in agents {
        let policy = format!("{POLICY}compliance_key = {key:?}\n");
        std::fs::write(federation.agent_config(number).policy, policy).unwrap();
        federation.sign_policy(number, 2);
    }
}

fn stranger() -> String {
    SecretKey::from_seed(&[9; 32]).public().to_string()
}

fn officer(federation: &Federation) -> String {
    let key = std::fs::read_to_string(federation.root().join("compliance.pub")).unwrap();
    key.trim().to_owned()
}

fn refused(events: &[Event]) -> Vec<(&str, &str)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Refused { agent, reason, .. } => Some((agent.as_str(), reason.as_str())),
            _ => None,
        })
        .collect()
}

/// A coordinator may name a compliance key of its own in genesis and sign every plan off itself: its
/// ledger verifies, and no agent that knows the officer's key gives it anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compliance_key_of_the_coordinators_own_gets_no_round() {
    let timing = patient().replace("retries = 4", "retries = 0");
    let federation = Federation::new(Setup { timing, ..Setup::default() }).await;
    demand(&federation, 0..6, &stranger());
    let coordinator = federation.start_coordinator();
    let agents = federation.start_agents(0..6);
    let (result, events) = coordinator.finish().await;
    assert!(result.unwrap_err().to_string().contains("round"));
    let refusals = refused(&events);
    assert_eq!(refusals.len(), 6, "{events:#?}");
    for (_, reason) in refusals {
        assert!(reason.contains(&stranger()) && reason.contains("plan sign"), "{reason}");
    }
    for agent in agents {
        agent.kill().await;
    }
    let report = federation.verified_ledger();
    assert_eq!((report.released, report.aborted), (0, 1));
    federation.audit_by_python();
    let refused = &report.rounds[0].refused;
    assert_eq!(refused.len(), 6);
    assert!(refused.iter().all(|refused| refused.why == RefusalKind::SignOff), "{refused:?}");
    for agent in 0..6 {
        assert_eq!(*federation.journal(agent).0.as_rational(), Rational::zero(), "agent {agent}");
    }
}

/// The same key on both sides: the programme completes, without the one agent that waits for another
/// officer's word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_take_part_in_what_their_officer_signed_off() {
    let federation = Federation::new(Setup { timing: patient(), ..Setup::default() }).await;
    demand(&federation, 0..5, &officer(&federation));
    demand(&federation, 5..6, &stranger());
    let coordinator = federation.start_coordinator();
    let agents = federation.start_agents(0..6);
    let (result, events) = coordinator.finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    let refusals = refused(&events);
    let waits = federation.shop(5).name();
    assert!(refusals.iter().all(|(agent, _)| *agent == waits), "{refusals:?}");
    for (number, agent) in (0..).zip(agents) {
        let expected = if number < 5 { u64::from(ROUNDS) } else { 0 };
        assert_eq!(agent.finish().await.completed, expected, "agent {number}");
    }
    let report = complete_and_charged_once(&federation);
    assert_eq!(refusals.len(), report.rounds.len(), "{events:#?}");
    for line in &report.rounds {
        let refused: Vec<String> = line.refused.iter().map(ToString::to_string).collect();
        assert_eq!(refused, [format!("{waits} (sign-off)")]);
    }
    assert_eq!(*federation.journal(5).0.as_rational(), Rational::zero());
}
