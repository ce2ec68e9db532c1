//! From a federation that fails to a smaller and luckier one that fails in the same way.

use std::mem::discriminant;

use crate::{
    oracle::Failure,
    scenario::{PARAMETERS, Scenario},
};

/// Seeds tried for one smaller federation: fewer messages draw other luck.
const SEEDS_TRIED: u64 = 4;

/// Looks for a federation with smaller numbers (fewer agents and rounds, less bad luck, fewer
/// lies) for which `play` gives a failure of the same kind, until none of the numbers can be made
/// smaller, or `tries_max` federations were played. Returns the last one found and its failure;
/// `None` when nothing smaller fails.
pub fn shrink<T>(
    from: &Scenario,
    failure: &Failure,
    tries_max: usize,
    mut play: impl FnMut(&Scenario) -> Result<T, Failure>,
) -> Option<(Scenario, Failure)> {
    let mut tries = 0;
    let mut found: Option<(Scenario, Failure)> = None;
    loop {
        let current = found.as_ref().map_or(from, |(scenario, _)| scenario);
        let smaller = smaller_ones(current).find_map(|candidate| {
            (0..SEEDS_TRIED).find_map(|shift| {
                if tries == tries_max {
                    return None;
                }
                tries += 1;
                let candidate =
                    Scenario { seed: from.seed.wrapping_add(shift), ..candidate.clone() };
                let other = play(&candidate).err()?;
                (discriminant(&other) == discriminant(failure)).then_some((candidate, other))
            })
        });
        match smaller {
            Some(smaller) => found = Some(smaller),
            None => return found,
        }
    }
}

/// Every scenario in which one number is smaller: as small as possible, or half way there.
fn smaller_ones(scenario: &Scenario) -> impl Iterator<Item = Scenario> {
    PARAMETERS.iter().flat_map(move |parameter| {
        let (least, value) = (*parameter.range.start(), parameter.value(scenario));
        let halfway = least + (value - least) / 2;
        let mut values = vec![least, halfway, value.saturating_sub(1).max(least)];
        values.dedup();
        values.into_iter().filter(move |smaller| *smaller < value).map(move |smaller| {
            let mut candidate = scenario.clone();
            parameter.set(&mut candidate, smaller);
            candidate
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endless(steps: usize) -> Failure {
        Failure::Endless { steps }
    }

    #[test]
    fn only_what_the_failure_needs_is_left() {
        let from = Scenario { agents: 40, loss_per_mille: 15, ..Scenario::sized(3, 40) };
        // Fails whenever there are at least seven agents and a message is ever lost.
        let play = |scenario: &Scenario| {
            let fails = scenario.agents >= 7 && scenario.loss_per_mille > 0;
            if fails { Err(endless(scenario.agents)) } else { Ok(()) }
        };
        let (smallest, failure) =
            shrink(&from, &endless(0), 400, play).unwrap_or_else(|| panic!("none"));
        assert_eq!((smallest.agents, smallest.loss_per_mille), (7, 1));
        assert_eq!((smallest.rounds, smallest.disconnect_per_mille, smallest.liars), (1, 0, 0));
        assert_eq!(failure, endless(7));
    }

    #[test]
    fn another_failure_is_not_taken_for_this_one() {
        let from = Scenario::from_seed(5);
        let play = |_: &Scenario| -> Result<(), Failure> { Err(Failure::Ledger("other".into())) };
        assert_eq!(shrink(&from, &endless(1), 400, play), None);
    }
}
