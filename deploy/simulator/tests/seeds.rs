//! Many unlucky federations: none may violate anything.
#![allow(clippy::print_stdout, reason = "what was played, for --nocapture")]
#![allow(clippy::unwrap_used)]

use chorale_simulator::{PARAMETERS, Scenario, Summary, play, play_traced, shrink};

/// Plays every scenario; a violation is reported with the command that replays it, and a smaller
/// federation that fails too.
fn all(scenarios: impl Iterator<Item = Scenario>) -> Vec<Summary> {
    let play_one = |scenario: Scenario| {
        play(&scenario).map_err(|failure| {
            let mut text = format!("{failure}; replay it with: {} --trace", scenario.command());
            if let Some((smaller, failure)) = shrink(&scenario, &failure, 40, play) {
                text.push_str(&format!("; smaller: {failure}: {} --trace", smaller.command()));
            }
            text
        })
    };
    let (summaries, failures): (Vec<_>, Vec<_>) = scenarios.map(play_one).partition(Result::is_ok);
    assert!(failures.is_empty(), "{failures:#?}");
    summaries.into_iter().flatten().collect()
}

fn sum(summaries: &[Summary], of: impl Fn(&Summary) -> usize) -> usize {
    summaries.iter().map(of).sum()
}

#[test]
fn no_seed_violates_anything() {
    let summaries = all((0..200).map(Scenario::from_seed));
    // The test would be empty if nothing ever went right, or nothing ever went wrong.
    assert!(sum(&summaries, |summary| summary.completed) > 250);
    assert!(sum(&summaries, |summary| summary.aborted) > 100);
    assert!(sum(&summaries, |summary| summary.disconnects) > 200);
    assert!(sum(&summaries, |summary| summary.restarts) > 20);
    assert!(sum(&summaries, |summary| summary.lies) > 1_000);
}

#[test]
fn no_larger_federation_violates_anything() {
    let summaries = all((0..16).map(|seed| Scenario::sized(seed, 20 + 40 * seed as usize / 15)));
    assert!(sum(&summaries, |summary| summary.completed) > 20);
    assert!(sum(&summaries, |summary| summary.lies) > 30);
}

#[test]
fn no_federation_on_the_sparse_graph_violates_anything() {
    let with_liars = (0..).map(|seed| Scenario::sized(seed, 130)).filter(|it| it.liars > 0);
    let summaries = all(with_liars.take(2));
    println!("{summaries:#?}");
}

/// The graph is sparse enough, and drop-outs are many enough, that all of the victim's neighbours
/// are in one half or the other: without signed inclusion the oracle reports a readable vector.
#[test]
fn a_coordinator_that_splits_the_cohort_of_a_sparse_graph_reads_nothing() {
    let mut scenario = Scenario { agents: 160, ..Scenario::from_seed(1) };
    scenario.liars = scenario.corrupt_max();
    (scenario.rounds, scenario.rounds_per_epoch) = (1, 12);
    for parameter in &PARAMETERS {
        if ["disconnect", "loss", "duplicate", "reorder", "replay", "refusal"]
            .contains(&parameter.name)
        {
            assert!(parameter.set(&mut scenario, 0));
        }
    }
    (scenario.lie_per_mille, scenario.coordinator_lie_per_mille) = (0, 0);
    scenario.coordinator_restart_per_mille = 0;
    scenario.split_per_mille = 1_000;
    let summaries = all([scenario].into_iter());
    // One agent was shown another cohort, and the others other survivors, in every round.
    assert!(summaries[0].lies > 100, "{summaries:?}");
    assert_eq!(summaries[0].completed, 0);
    println!("{summaries:#?}");
}

#[test]
fn a_seed_is_played_the_same_way_twice() {
    for seed in [3, 17, 40] {
        let scenario = Scenario::from_seed(seed);
        let (traced, lines) = play_traced(&scenario);
        assert_eq!(play(&scenario).unwrap(), traced.unwrap());
        assert!(lines.len() > 100);
        assert!(lines.iter().any(|line| line.contains("ROSTER")));
    }
}
