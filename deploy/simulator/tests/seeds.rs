//! Many unlucky federations: none may violate anything.
#![allow(clippy::unwrap_used)]

use chorale_simulator::simulate;

/// Seeds of one run; every one is a federation of its own.
const SEEDS: u64 = 200;

#[test]
fn no_seed_violates_anything() {
    let (mut completed, mut aborted, mut disconnects, mut restarts) = (0, 0, 0, 0);
    let mut failures = Vec::new();
    for seed in 0..SEEDS {
        match simulate(seed) {
            Ok(summary) => {
                completed += summary.completed;
                aborted += summary.aborted;
                disconnects += summary.disconnects;
                restarts += summary.restarts;
            }
            Err(failure) => failures.push(format!("seed {seed}: {failure}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    // The test would be empty if nothing ever went right, or nothing ever went wrong.
    assert!(completed > 150, "{completed} rounds completed");
    assert!(aborted > 20, "{aborted} rounds aborted");
    assert!(disconnects > 200, "{disconnects} disconnects");
    assert!(restarts > 20, "{restarts} restarts");
}

#[test]
fn a_seed_is_played_the_same_way_twice() {
    for seed in [3, 17, 40] {
        assert_eq!(simulate(seed).unwrap(), simulate(seed).unwrap());
    }
}
