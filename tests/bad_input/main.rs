//! Bad input, through the real command lines: a clear error (what, where, what to do), exit code
//! not 0, nothing sent, nothing charged.
//!
//! This executable is also the two programs: `bad_input coordinator …` and
//! `bad_input client-agent …` run them, so that each case is a process with an exit code. What a
//! single agent refuses in its files is covered at length in `client-agent/tests`; here is one
//! case of each kind.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Output},
};

use chorale_coordinator::events::Event;
use chorale_dp::Rational;
use chorale_tests::{Case, Federation, Setup, run_cases};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.nth(1);
    match program.as_ref().and_then(|name| name.to_str()) {
        Some("coordinator") => {
            let arguments = std::iter::once("coordinator".into()).chain(arguments);
            chorale_coordinator::cli::main(arguments)
        }
        Some("client-agent") => {
            let arguments = std::iter::once("client-agent".into()).chain(arguments);
            chorale_client_agent::cli::main(arguments)
        }
        filter => run_cases(&CASES, filter),
    }
}

const CASES: [Case; 11] = [
    ("an_unreadable_file", an_unreadable_file),
    ("a_wrong_column", a_wrong_column),
    ("a_negative_price", a_negative_price),
    ("a_typo_in_the_agents_configuration", a_typo_in_the_agents_configuration),
    ("a_typo_in_the_coordinators_configuration", a_typo_in_the_coordinators_configuration),
    ("a_plan_that_was_changed_after_its_sign_off", a_plan_that_was_changed_after_its_sign_off),
    ("a_loosened_policy", a_loosened_policy),
    ("expired_certificates", expired_certificates),
    ("a_full_disk", a_full_disk),
    ("a_cohort_below_the_floor", a_cohort_below_the_floor),
    ("a_policy_that_forbids_the_plan", a_policy_that_forbids_the_plan),
];

fn an_unreadable_file() {
    let place = Place::new();
    fs::remove_file(place.agent_file("receipts.csv")).unwrap();
    let said = place.agent_refuses(&["ingest"]);
    assert!(said.contains("receipts.csv"), "{said}");
    place.store_is_unchanged();
}

fn a_wrong_column() {
    let place = Place::new();
    place.edit_agent("agent.toml", "price AS amount", "prise AS amount");
    let said = place.agent_refuses(&["ingest"]);
    assert!(said.contains("prise"), "{said}");
    place.store_is_unchanged();
}

fn a_negative_price() {
    let place = Place::new();
    let good = fs::read_to_string(place.agent_file("receipts.csv")).unwrap();
    // One row among many is set aside and reported.
    fs::write(place.agent_file("receipts.csv"), good.replacen(",2.50,", ",-2.50,", 1)).unwrap();
    let said = place.agent_refuses(&["data", "check"]);
    assert!(said.contains("negative"), "{said}");
    let ingested = place.agent(&["ingest"]);
    assert!(ingested.status.success());
    let report = String::from_utf8_lossy(&ingested.stdout).into_owned();
    assert!(report.contains("negative") && report.contains("1 set aside"), "{report}");
    // Too many are no accident: nothing is kept.
    fs::write(place.agent_file("receipts.csv"), good.replace(",2.50,", ",-2.50,")).unwrap();
    let said = place.agent_refuses(&["ingest"]);
    assert!(said.contains("negative"), "{said}");
    place.store_is_unchanged();
}

fn a_typo_in_the_agents_configuration() {
    let place = Place::new();
    place.edit_agent("agent.toml", "home =", "hom =");
    let said = place.agent_refuses(&["run", "--exit-when-done"]);
    assert!(said.contains("hom") && said.contains("agent.toml"), "{said}");
    place.edit_agent("agent.toml", "hom =", "home =");
    place.edit_agent("policy.toml", "epsilon_max", "epsilom_max");
    let said = place.agent_refuses(&["run", "--exit-when-done"]);
    assert!(said.contains("changed after it was signed") && said.contains("policy.toml"), "{said}");
    let (policy, key) = (place.agent_file("policy.toml"), place.federation.administrator_key(0));
    let (policy, key) = (policy.to_str().unwrap(), key.to_str().unwrap());
    let said = place.agent_refuses(&["policy", "sign", policy, "--key", key]);
    assert!(said.contains("epsilom_max") && said.contains("policy.toml"), "{said}");
}

/// Whoever can write the policy file, or put another one there, cannot loosen it.
fn a_loosened_policy() {
    let place = Place::new();
    let (policy, signature) =
        (place.agent_file("policy.toml"), place.agent_file("policy.toml.sig"));
    let strict = [fs::read(&policy).unwrap(), fs::read(&signature).unwrap()];
    let refuses = |words: &str| {
        for command in [&["run", "--exit-when-done"][..], &["policy", "check"][..]] {
            let said = place.agent_refuses(command);
            assert!(said.contains(words) && said.contains("policy.toml"), "{said}");
        }
    };
    let sign = |key: &Path, more: &[&str]| {
        let words = ["policy", "sign", policy.to_str().unwrap(), "--key", key.to_str().unwrap()];
        place.agent(&[&words[..], more].concat())
    };
    place.edit_agent("policy.toml", "epsilon_max = 8.0", "epsilon_max = 80.0");
    refuses("changed after it was signed");
    fs::remove_file(&signature).unwrap();
    refuses("not signed");
    // The administrator of another store signs.
    let foreign = place.federation.administrator_key(1);
    assert!(sign(&foreign, &[]).status.success());
    refuses("is not this agent's administrator");
    // Another store's policy, with the signature that is right there.
    fs::write(&policy, &strict[0]).unwrap();
    fs::copy(place.federation.agent_folder(1).join("policy.toml.sig"), &signature).unwrap();
    refuses("is not this agent's administrator");
    // This store's administrator, for somebody else.
    let own = place.federation.administrator_key(0);
    let other = ["--agent", "store-01", "--federation", "small", "--serial", "2"];
    assert!(sign(&own, &other).status.success());
    refuses("is signed for store-01");
    let other = ["--agent", "store-00", "--federation", "large"];
    assert!(sign(&own, &other).status.success());
    refuses("is signed for federation large");
    // What the administrator signed is good again.
    fs::write(&signature, &strict[1]).unwrap();
    let checked = place.agent(&["policy", "check", "--json"]);
    assert!(checked.status.success());
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&report["serial"], &report["agent"]), (&1.into(), &"store-00".into()));
    assert_eq!(report["rules"]["epsilon_max"], 8.0);
    assert_eq!(*place.federation.journal(0).0.as_rational(), Rational::zero());
}

fn a_typo_in_the_coordinators_configuration() {
    let place = Place::new();
    place.edit("coordinator.toml", "survivors_min", "survivor_min");
    let said = place.coordinator_refuses(&["run"]);
    assert!(said.contains("survivor_min") && said.contains("coordinator.toml"), "{said}");
    assert!(!place.federation.root().join("state").exists(), "nothing was begun");
}

fn a_plan_that_was_changed_after_its_sign_off() {
    let place = Place::new();
    place.edit("coordinator.toml", "persons_max", "persons_max = 77 #");
    let said = place.coordinator_refuses(&["run"]);
    assert!(said.contains("not signed off") && said.contains("plan sign"), "{said}");
    assert!(!place.federation.root().join("state").exists(), "nothing was begun");
}

fn expired_certificates() {
    // Certificates are good for a year.
    let enrolled_ago_s = 400 * 24 * 3600;
    let place = Place::of(Setup { enrolled_ago_s, ..small() });
    let said = place.agent_refuses(&["run", "--exit-when-done"]);
    assert!(said.contains("valid") || said.contains("expired"), "{said}");
    let said = place.coordinator_refuses(&["run"]);
    assert!(said.contains("valid") || said.contains("expired"), "{said}");
    assert!(!place.federation.root().join("state/ledger.jsonl").exists(), "nothing was begun");
    assert_eq!(*place.federation.journal(0).0.as_rational(), Rational::zero());
}

/// A limit on the size of files stands for the full disk; the signal that comes with it is
/// ignored, as a disk sends none.
fn a_full_disk() {
    let place = Place::new();
    fs::remove_dir_all(place.agent_file("data")).unwrap();
    let limited = |program: &str, arguments: &[&str], config: &str| {
        Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .arg(program)
            .args(arguments)
            .args(["--config", config])
            .output()
            .unwrap()
    };
    let config = place.agent_file("agent.toml");
    let output = limited("client-agent", &["ingest"], config.to_str().unwrap());
    let said = refused(&output);
    assert!(said.contains("what to do: ") && said.contains("disk"), "{said}");
    let config = place.federation.root().join("coordinator.toml");
    let output = limited("coordinator", &["run"], config.to_str().unwrap());
    let said = refused(&output);
    assert!(said.contains("disk"), "{said}");
}

fn a_cohort_below_the_floor() {
    let place = Place::new();
    place.edit("coordinator.toml", "survivors_min = 4", "survivors_min = 3");
    let said = place.coordinator_refuses(&["run"]);
    assert!(said.contains("survivors_min"), "{said}");
    let said = place.coordinator_refuses(&["plan", "check"]);
    assert!(said.contains("survivors_min"), "{said}");
    assert!(!place.federation.root().join("state").exists(), "nothing was begun");
    // Agents that are missing are waited for, and nothing is reserved: see tests/federation.
}

fn a_policy_that_forbids_the_plan() {
    let timing = Setup::default().timing.replace("retries = 4", "retries = 0");
    let place = Place::of(Setup { timing, ..small() });
    for agent in 0..4 {
        let path = place.federation.agent_folder(agent).join("policy.toml");
        let strict = fs::read_to_string(&path).unwrap() + "tasks = [\"cooccurrence\"]\n";
        fs::write(path, strict).unwrap();
        place.federation.sign_policy(agent, 2);
    }
    let (result, events) = place.runtime.block_on(async {
        let coordinator = place.federation.start_coordinator();
        let agents = place.federation.start_agents(0..4);
        let ended = coordinator.finish().await;
        for agent in agents {
            agent.kill().await;
        }
        ended
    });
    let said = format!("{:?}", result.unwrap_err());
    assert!(said.contains("popularity"), "{said}");
    let refusals: Vec<&String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Refused { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(refusals.len(), 4, "{events:#?}");
    assert!(
        refusals
            .iter()
            .all(|reason| { reason.contains("policy") && reason.contains("task 'popularity'") })
    );
    assert!(!events.iter().any(|event| matches!(event, Event::Cohort { .. })), "nothing was sent");
    let report = place.federation.verified_ledger();
    assert_eq!((report.released, report.open), (0, 0));
    assert_eq!(*report.spent.rho().unwrap().as_rational(), Rational::zero());
    for agent in 0..4 {
        assert_eq!(*place.federation.journal(agent).0.as_rational(), Rational::zero());
    }
}

fn small() -> Setup {
    Setup { agents: 4, survivors_min: 4, ..Setup::default() }
}

/// A federation of four, of which a case spoils a part.
struct Place {
    runtime: Runtime,
    federation: Federation,
}

impl Place {
    fn new() -> Self {
        Self::of(small())
    }

    fn of(setup: Setup) -> Self {
        let runtime = Runtime::new().unwrap();
        let federation = runtime.block_on(Federation::new(setup));
        Self { runtime, federation }
    }

    fn agent_file(&self, name: &str) -> std::path::PathBuf {
        self.federation.agent_folder(0).join(name)
    }

    fn edit_agent(&self, name: &str, from: &str, to: &str) {
        let path = self.agent_file(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.federation.root().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn agent(&self, arguments: &[&str]) -> Output {
        let config = self.agent_file("agent.toml");
        Command::new(std::env::current_exe().unwrap())
            .arg("client-agent")
            .args(arguments)
            .arg("--config")
            .arg(config)
            .output()
            .unwrap()
    }

    fn agent_refuses(&self, arguments: &[&str]) -> String {
        let said = refused(&self.agent(arguments));
        for part in ["error: ", "where: ", "what to do: "] {
            assert!(said.contains(part), "{said}");
        }
        said
    }

    fn coordinator_refuses(&self, arguments: &[&str]) -> String {
        let config = self.federation.root().join("coordinator.toml");
        let output = Command::new(std::env::current_exe().unwrap())
            .arg("coordinator")
            .args(arguments)
            .arg("--config")
            .arg(config)
            .output()
            .unwrap();
        refused(&output)
    }

    /// The store that was ingested in good order is still there.
    fn store_is_unchanged(&self) {
        let persons = self.federation.open_store(0).persons().unwrap();
        assert_eq!(persons.len(), self.federation.setup.customers as usize);
    }
}

/// Exit code 1 and something said, and what.
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.trim().is_empty());
    said
}
