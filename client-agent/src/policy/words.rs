//! A policy in words, for the people who sign it and for those who ask what it allows.

use chorale_people::hand_over::Linked;
use chorale_wire::AgentId;
use serde::Serialize;

use super::{PolicyCap, PolicyFile, StorePolicy, VerifiedPolicy};
use crate::calendar;

/// A verified policy, for machines.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// The agent that it is for.
    pub agent: &'a AgentId,
    /// The federation that it is for.
    pub federation: &'a str,
    /// Its serial number.
    pub serial: u32,
    /// When it was signed, UTC.
    pub signed_at: String,
    /// The administrator's public key, in hexadecimal digits.
    pub administrator: String,
    /// SHA-256 of the policy file, in hexadecimal digits.
    pub sha256: String,
    /// Every rule, the defaults included.
    pub rules: &'a PolicyFile,
}

impl<'a> Report<'a> {
    /// What there is to say about `verified`.
    #[must_use]
    pub fn of(verified: &'a VerifiedPolicy) -> Self {
        let statement = verified.statement();
        Self {
            agent: &statement.agent,
            federation: statement.federation.as_str(),
            serial: statement.serial,
            signed_at: calendar::instant(i64::try_from(statement.created_s).unwrap_or(i64::MAX)),
            administrator: statement.signer().to_string(),
            sha256: statement.policy.to_string(),
            rules: verified.rules(),
        }
    }
}

/// What `policy` allows and demands: one sentence for each rule, the defaults included.
#[must_use]
pub fn in_words(policy: &StorePolicy) -> Vec<String> {
    let PolicyFile {
        epsilon_max,
        delta,
        allow_unprotected,
        tasks,
        coordinates_max,
        rounds_max,
        persons_max,
        survivors_min,
        dropout_max,
        corrupt_min,
        corrupt_per_mille_min,
        roster_min,
        stores_max_min,
        compliance_key,
        caps,
        hand_over,
    } = policy.rules();
    let cap = policy.cap().as_rational().to_f64_down();
    let tasks = if tasks.is_empty() { "none".into() } else { tasks.join(", ") };
    let mut words = vec![
        format!(
            "One person loses at most ε = {epsilon_max} at δ = {delta} over the federation's \
             lifetime (ρ = {cap:.6})."
        ),
        if *allow_unprotected {
            "ROUNDS WITHOUT NOISE ARE ALLOWED: in such a federation ε is infinite.".into()
        } else {
            "Rounds without noise are refused.".into()
        },
        format!("Tasks that may run: {tasks}."),
        format!(
            "A plan has at most {rounds_max} rounds of at most {coordinates_max} coordinates, and \
             counts on at most {persons_max} persons here."
        ),
        format!("The federation and each of its rosters have at least {roster_min} agents."),
        format!(
            "A round needs at least {survivors_min} survivors; at most {dropout_max} of its roster \
             may drop out."
        ),
        format!(
            "At least {corrupt_min} agents, and {corrupt_per_mille_min} of every 1000 enrolled, \
             are assumed to be in league with the coordinator."
        ),
        match stores_max_min {
            None => "Only home customers contribute.".into(),
            Some(least) => format!(
                "Every customer may contribute where a plan divides persons among {least} stores or \
                 more."
            ),
        },
        match compliance_key {
            None => "Plans need no sign-off that this agent verifies.".into(),
            Some(key) => format!("Every plan must be signed off by the compliance key {key}."),
        },
    ];
    words.extend(caps.iter().map(cap_in_words));
    words.extend(hand_over.iter().map(link_in_words));
    words
}

fn link_in_words(linked: &Linked) -> String {
    let Linked { agent, give, take, days, .. } = linked;
    let may = match (give, take) {
        (true, true) => format!("given to and taken from '{agent}'"),
        (true, false) => format!("given to '{agent}'"),
        (false, true) => format!("taken from '{agent}'"),
        (false, false) => return format!("'{agent}' is linked, and nothing is given or taken."),
    };
    let kept =
        if *take { format!(" What was taken is kept for {days} days.") } else { String::new() };
    format!("A summary of the purchases of a customer who has said yes may be {may}.{kept}")
}

fn cap_in_words(cap: &PolicyCap) -> String {
    let PolicyCap { name, tasks, days, epsilon_max, across_federations } = cap;
    let tasks = if tasks.is_empty() { "all tasks".into() } else { tasks.join(", ") };
    let span = match days {
        None => "the lifetime".into(),
        Some(1) => "any one day".into(),
        Some(days) => format!("any {days} days"),
    };
    let federations = if *across_federations {
        "all federations that this agent was ever in, together"
    } else {
        "this federation"
    };
    format!("Cap '{name}': at most ε = {epsilon_max} by {tasks} over {span}, for {federations}.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    #[test]
    fn every_rule_is_named() {
        let file = PolicyFile {
            epsilon_max: 2.5,
            delta: "1/777".parse().unwrap(),
            allow_unprotected: true,
            tasks: vec!["popularity".into()],
            coordinates_max: 1001,
            rounds_max: 1002,
            persons_max: 1003,
            survivors_min: 1004,
            dropout_max: "1/13".parse().unwrap(),
            corrupt_min: 1005,
            corrupt_per_mille_min: 233,
            roster_min: 1006,
            stores_max_min: Some(1007),
            compliance_key: Some("a7".repeat(32)),
            caps: vec![PolicyCap {
                name: "quarter".into(),
                tasks: vec!["gram".into()],
                days: Some(91),
                epsilon_max: 0.75,
                across_federations: true,
            }],
            hand_over: vec![Linked {
                agent: "web-shop".into(),
                seal_key: "b8".repeat(32),
                sign_key: "c9".repeat(32),
                give: true,
                take: true,
                days: 17,
            }],
        };
        let words = in_words(&StorePolicy::new(file, Path::new("policy.toml")).unwrap()).join("\n");
        for value in [
            "2.5",
            "1/777",
            "WITHOUT NOISE",
            "popularity",
            "1001",
            "1002",
            "1003",
            "1004",
            "1/13",
            "1005",
            "233",
            "1006",
            "1007",
            &"a7".repeat(32),
            "given to and taken from 'web-shop'. What was taken is kept for 17 days",
            "'quarter': at most ε = 0.75 by gram over any 91 days, for all federations",
        ] {
            assert!(words.contains(value), "{value} is not in:\n{words}");
        }
        let strict = StorePolicy::new(PolicyFile::default(), Path::new("policy.toml")).unwrap();
        assert!(in_words(&strict).join("\n").contains("without noise are refused"));
    }
}
