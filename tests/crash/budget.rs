//! What both sides say was spent, against what was released.

use std::{collections::BTreeSet, fs};

use chorale_dp::{Rational, Rho};
use chorale_ledger::{Outcome, Report, RoundLine, torn_tail};
use chorale_tests::Federation;
use serde_json::Value;

/// The ledger as it is on the disk now, without a line that a kill cut short.
fn ledger(federation: &Federation) -> (String, Report) {
    let mut bytes = fs::read(federation.root().join("state/ledger.jsonl")).unwrap();
    let torn = torn_tail(&bytes).len();
    bytes.truncate(bytes.len() - torn);
    let report = chorale_ledger::verify(&bytes, None).unwrap();
    (String::from_utf8(bytes).unwrap(), report)
}

fn is_released(line: &RoundLine) -> bool {
    matches!(line.outcome, Outcome::Released { .. })
}

/// Not released, and yet it cost.
fn is_charged_for_nothing(line: &RoundLine) -> bool {
    matches!(line.outcome, Outcome::Open | Outcome::Aborted { charged: true, .. })
}

fn cost(line: &RoundLine) -> Rho {
    line.rho.rho().unwrap().clone()
}

/// The ledger verifies, holds every release that was announced, and has charged at least as many
/// rounds as totals were unmasked.
pub(super) fn check_ledger(federation: &Federation, announced: &BTreeSet<u64>) -> Report {
    let (_, report) = ledger(federation);
    let released: BTreeSet<u64> =
        report.rounds.iter().filter(|line| is_released(line)).map(|line| line.round).collect();
    assert!(announced.is_subset(&released), "{announced:?} in {released:?}");
    let held = report.spent.rho().unwrap() + report.reserved.rho().unwrap();
    assert!(held <= *report.cap.rho().unwrap());
    let counted = || report.rounds.iter().filter(|l| is_released(l) || is_charged_for_nothing(l));
    assert_eq!(held, counted().map(cost).sum());
    let models = fs::read_dir(federation.root().join("state/models"));
    let models =
        models.map_or(0, |files| files.filter(|file| whole_model(file.as_ref().unwrap())).count());
    // The first model is there before any round.
    let (unmasked, counted) = (models.saturating_sub(1), counted().count());
    assert!(counted >= unmasked, "{counted} rounds are charged, {unmasked} were unmasked");
    report
}

/// Not the temporary file of a write that a kill cut short.
fn whole_model(file: &fs::DirEntry) -> bool {
    file.path().extension().is_some_and(|ending| ending == "model")
}

/// Rounds of the ledger that cost and released nothing.
pub(super) fn charged_for_nothing(report: &Report) -> u32 {
    report.rounds.iter().filter(|line| is_charged_for_nothing(line)).count() as u32
}

/// An agent that is not running has spent at least every round of which the ledger says that it
/// survived. How many rounds more is returned: the rounds of these plans cost the same but for a
/// rounding in the last digits, so it is the least number of the dearest of them that covers it.
pub(super) fn check_agent(federation: &Federation, agent: u32) -> u32 {
    let (spent, cap) = federation.journal(agent);
    assert!(spent <= cap);
    // The ledger is read after the journal: a vector of this agent is in it only if it had left.
    let (text, report) = ledger(federation);
    let name = Value::from(federation.shop(agent).name());
    let survived: BTreeSet<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].take())
        .filter(|entry| entry["kind"] == "release")
        .filter(|entry| entry["survivors"].as_array().unwrap().contains(&name))
        .map(|entry| entry["round"].as_u64().unwrap())
        .collect();
    let lines = || report.rounds.iter().filter(|line| survived.contains(&line.round));
    assert_eq!(lines().count(), survived.len());
    let released: Rho = lines().map(cost).sum();
    assert!(spent >= released, "{name} spent {spent}, released {released}");
    let Some(dearest) = report.rounds.iter().map(cost).max() else { return 0 };
    let extra = spent.as_rational() - released.as_rational();
    if extra == Rational::zero() {
        return 0;
    }
    u32::try_from((&extra / dearest.as_rational()).ceil()).unwrap()
}
