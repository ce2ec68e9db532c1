//! Canary lanes: committed in RESERVE, opened in RELEASE, exactly there and exactly so.

use chorale_dp::accountant::canary::guesses;
use chorale_plan::canary::{LANES, commitment};

use super::*;

/// Lanes lengthen a vector with noise, within its limit.
pub(super) fn check_committed(entry: &ReserveEntry) -> Result<(), Violation> {
    let Some(canaries) = &entry.canaries else { return Ok(()) };
    if entry.mechanism != MechanismName::DiscreteGaussian {
        return Err(range("canaries", "absent in a round without noise"));
    }
    let length = entry.coordinates as usize + canaries.lanes as usize;
    if !LANES.contains(&canaries.lanes) || length > COORDINATES_MAX {
        return Err(range("lanes", "256 to 2^20, and 2^24 at most with the coordinates"));
    }
    Ok(())
}

/// The seed is the one that was committed, and the counts are possible.
pub(super) fn check_opened(
    reserve: &ReserveEntry,
    release: &ReleaseEntry,
) -> Result<(), Violation> {
    let round = release.round;
    let (committed, opened) = match (&reserve.canaries, &release.canaries) {
        (None, None) => return Ok(()),
        (Some(committed), Some(opened)) => (committed, opened),
        _ => return Err(Violation::Differs { round, field: "canaries", fixed_by: "RESERVE" }),
    };
    let expected = commitment(opened.seed.as_bytes(), round);
    if committed.commitment != expected {
        let (found, expected) = (committed.commitment.to_string(), expected.to_string());
        return Err(Violation::Recomputed { round, field: "commitment", found, expected });
    }
    if opened.right > guesses(committed.lanes) {
        return Err(range("right", "at most the number of guesses, 2⌊L/40⌋"));
    }
    if opened.sum_before_removal.is_some() != reserve.noise_levels.is_some() {
        return Err(range("sum_before_removal", "present exactly where noise comes in layers"));
    }
    let before = opened.sum_before_removal.as_ref();
    for squares in std::iter::once(&opened.sum_of_squares).chain(before) {
        if *squares < Rational::zero() || Rational::from_integer(squares.floor()) != *squares {
            return Err(range("sum_of_squares, sum_before_removal", "whole numbers of at least 0"));
        }
    }
    Ok(())
}
