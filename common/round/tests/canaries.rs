//! Canary lanes through both round machines: masks, survivors, surplus; who adds no noise is seen.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use chorale_dp::{
    Rational,
    accountant::canary::{epsilon_lower, guesses, noise_is_short},
};
use chorale_plan::{
    Mechanism,
    canary::{measure, sum_of_squares, variance_of_total},
};
use support::{Break, COORDINATES, World};

const SIZE: usize = 20;
const LANES: u32 = 30_000;
const SEED: [u8; 32] = [5; 32];

/// Δ = 2^10 in the plan of the tests; σ = 8Δ.
const DELTA: u64 = 1 << 10;
const SIGMA_SQUARED: u64 = 1 << 26;

/// One round of 20 agents whose shares come in one piece.
fn world(remove_surplus: bool) -> World {
    let mut world = World::new(SIZE, 1);
    let sigma_squared = Rational::from_integer(SIGMA_SQUARED);
    world.mechanism = Mechanism::DiscreteGaussian { sigma_squared, remove_surplus };
    world.canary_lanes = LANES;
    world
}

/// Whether the noise of the only round is short, and its lower bound on ε.
fn judge(world: &World) -> (bool, f64) {
    assert_eq!(world.completed.len(), 1);
    let completed = &world.completed[0];
    let (data, lanes) = completed.totals.split_at(COORDINATES);
    assert_eq!((data.len(), lanes.len()), (COORDINATES, LANES as usize));
    // [`World`] has checked that the totals are the agents' sum; here only what is expected.
    let expected = completed.noise_variance.clone().unwrap();
    let measured = measure(lanes, DELTA, &SEED);
    let made = u64::from(guesses(LANES));
    let bound = epsilon_lower(u64::from(measured.right), made, LANES.into(), 1e-5);
    let mut short = noise_is_short(&measured.sum_of_squares, LANES, &expected);
    assert_eq!(completed.whole_lanes.is_empty(), world.noise[&(1, 1)].len() == 1);
    if !completed.whole_lanes.is_empty() {
        // Before surplus came off the lanes hold all that the survivors added.
        let (sigma_squared, rule) = (Rational::from_integer(SIGMA_SQUARED), &world.rule);
        let count = completed.agents.len() as u32;
        let whole =
            variance_of_total(&sigma_squared, &[rule.survivors_min], rule.corrupt, count).unwrap();
        short |= noise_is_short(&sum_of_squares(&completed.whole_lanes), LANES, &whole);
    }
    (short, bound)
}

#[test]
fn honest_noise_is_not_short() {
    let mut world = world(false);
    world.run_all();
    let (short, bound) = judge(&world);
    assert!(!short);
    // Nobody tells one insert of Δ from noise of more than 8Δ.
    assert!(bound < 0.3, "{bound}");
    let expected = variance_of_total(
        &Rational::from_integer(SIGMA_SQUARED),
        &[world.rule.survivors_min],
        world.rule.corrupt,
        SIZE as u32,
    );
    assert_eq!(world.completed[0].noise_variance, expected);
}

#[test]
fn lost_agents_and_removed_surplus_raise_no_alarm() {
    let mut short = world(false);
    short.breaks = Some(Break { agent: 4, after: 6, sending: true, returns: false });
    short.run_all();
    assert_eq!(short.completed[0].agents.len(), SIZE - 1);
    assert!(!judge(&short).0);
    let mut layered = world(true);
    layered.run_all();
    assert!(layered.noise[&(0, 1)].len() > 1);
    assert!(!judge(&layered).0);
}

#[test]
fn one_agent_of_twenty_without_noise_is_seen_within_one_round() {
    for silent in [0, 7, 19] {
        let mut world = world(false);
        world.silent.insert(silent);
        world.run_all();
        assert!(judge(&world).0, "agent {silent}");
    }
}

/// It reveals the seeds of layers that it never added, as the protocol asks: the coordinator takes
/// them off, and what is then missing is hidden behind them. Before that it is not.
#[test]
fn removed_layers_hide_nobody() {
    let mut world = world(true);
    world.silent.insert(7);
    world.run_all();
    assert!(judge(&world).0);
    let completed = &world.completed[0];
    let after = sum_of_squares(&completed.totals[COORDINATES..]);
    assert!(!noise_is_short(&after, LANES, completed.noise_variance.as_ref().unwrap()));
}

/// Without any noise every guess is right, and the bound says so.
#[test]
fn without_noise_the_bound_is_far_above_what_is_promised() {
    let mut world = world(false);
    world.silent.extend(0..SIZE);
    world.run_all();
    let (short, bound) = judge(&world);
    assert!(short);
    // 4 exceptions of 1,500 guesses: p = e^(-3.02/1496), ε = 6.2.
    assert!((6.0..6.3).contains(&bound), "{bound}");
}
