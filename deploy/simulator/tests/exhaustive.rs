//! Every drop-out pattern of small federations, played: `chorale_simulator::exhaustive` says what
//! each must lead to.
use chorale_simulator::exhaustive::{
    Fates, ROUND_STEPS, SETUP_STEPS, Tally, divisions, patterns, rounds, setups, subsets,
};

/// Threads that share the patterns.
const THREADS: usize = 2;

fn played(agents: usize, all: &[Fates]) -> Tally {
    let tally = rounds(agents, all, THREADS).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(tally.patterns, all.len());
    // The test would be empty if one of the ways to end a round never occurred.
    let Tally { completed, cohort, survivors, votes, shares, .. } = tally;
    for ends in [completed, cohort, survivors, votes, shares] {
        assert!(ends > all.len() / 100, "{tally:?}");
    }
    tally
}

#[test]
fn every_drop_out_pattern_of_four_agents_gives_the_exact_sum_or_a_clean_abort() {
    let tally = played(4, &patterns(4, &ROUND_STEPS).collect::<Vec<_>>());
    assert_eq!(tally.patterns, 1_296);
}

#[test]
fn every_drop_out_pattern_of_five_agents_gives_the_exact_sum_or_a_clean_abort() {
    let tally = played(5, &patterns(5, &ROUND_STEPS).collect::<Vec<_>>());
    assert_eq!(tally.patterns, 7_776);
}

/// The 46,656 patterns of six agents take minutes: `cargo simulate --exhaustive 6` plays them.
/// Here are those that remain when agents are exchanged for one another, in both orders of slots.
#[test]
fn every_drop_out_pattern_of_six_agents_up_to_exchange_gives_the_exact_sum_or_a_clean_abort() {
    let tally = played(6, &divisions(6, &ROUND_STEPS).collect::<Vec<_>>());
    assert_eq!(tally.patterns, 918);
}

#[test]
fn every_subset_that_leaves_during_setup_is_left_out_and_nobody_else() {
    for agents in 4..=6 {
        let all: Vec<Fates> = subsets(agents).collect();
        let tally = setups(agents, &all, THREADS).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(tally.patterns, all.len());
        // Four are enough: the empty set, and where there are five or six also others.
        let enough = [4, 4 * (1 + 5), 4 * (1 + 6 + 15)][agents - 4];
        assert_eq!(tally.completed, enough);
    }
}

/// Two that leave at different steps void two epoch numbers, and the third attempt succeeds.
#[test]
fn two_that_leave_at_different_steps_of_a_setup_are_both_left_out() {
    let different = |fates: &Fates| {
        let steps: Vec<_> = fates.iter().flatten().collect();
        steps.len() == 2 && steps[0] != steps[1]
    };
    let all: Vec<Fates> = patterns(6, &SETUP_STEPS).filter(different).collect();
    let tally = setups(6, &all, THREADS).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((tally.patterns, tally.completed), (180, 180));
}
