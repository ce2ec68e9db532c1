//! The canary lanes of the round in progress: coins before it, a measurement after it.

use chorale_ledger::{CanaryOpening, ReserveEntry};
use chorale_plan::{
    Derived, RoundSpec,
    canary::{measure, sum_of_squares},
};
use chorale_round::coordinator::Completed;
use chorale_wire::RoundNumber;

use crate::{error::RunError, state::State};

/// Lanes of the round in progress, their coins, and the reservation that commits to them.
pub(crate) struct Canaries {
    seed: [u8; 32],
    delta: u64,
    lanes: usize,
}

impl Canaries {
    /// Draws the coins of a round with lanes and commits to them in its reservation.
    pub(crate) fn commit(
        spec: &RoundSpec,
        derived: &Derived,
        reserve: ReserveEntry,
    ) -> Result<(Option<Self>, ReserveEntry), RunError> {
        let lanes = spec.plan.canary_lanes;
        if lanes == 0 {
            return Ok((None, reserve));
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(RunError::Randomness)?;
        let reserve = reserve.with_canaries(lanes, &seed);
        Ok((Some(Self { seed, delta: derived.delta, lanes: lanes as usize }), reserve))
    }

    /// Cuts the lanes off an unmasked total, whose tail they are, and gives the task's part of it
    /// together with what the lanes show and their totals as text, one number a line: after surplus
    /// came off and then, where noise comes in layers, the `whole` lanes before.
    pub(crate) fn cut<'a>(
        &self,
        totals: &'a [i64],
        whole: &[i64],
    ) -> (&'a [i64], CanaryOpening, String) {
        // The round machine gives vectors of the spec's length; a shorter one has no lanes left.
        let (data, lanes) = totals.split_at(totals.len().saturating_sub(self.lanes));
        let text: String = lanes.iter().chain(whole).map(|total| format!("{total}\n")).collect();
        let measured = measure(lanes, self.delta, &self.seed);
        let before = (!whole.is_empty()).then(|| sum_of_squares(whole));
        let opening = CanaryOpening::new(self.seed, &text, measured, before);
        (data, opening, text)
    }
}

/// What became of a round's total: the task's part, and what the lanes showed.
pub(crate) struct Cut<'a> {
    pub(crate) data: &'a [i64],
    pub(crate) opening: Option<CanaryOpening>,
}

impl<'a> Cut<'a> {
    /// Cuts the lanes off and keeps their totals on the disk, for whoever wants to count again.
    pub(crate) fn make(
        canaries: Option<&Canaries>,
        completed: &'a Completed,
        state: &State,
    ) -> Result<Self, RunError> {
        let totals = &completed.totals;
        let Some(canaries) = canaries else { return Ok(Self { data: totals, opening: None }) };
        let (data, opening, text) = canaries.cut(totals, &completed.whole_lanes);
        state.save_lanes(completed.round.0, &text)?;
        Ok(Self { data, opening: Some(opening) })
    }
}

/// Whether the federation may go on: the last round whose noise was short is one that the operator
/// has looked into, and no other round is named so.
pub(crate) fn check_acknowledged(
    short: Option<RoundNumber>,
    acknowledged: Option<u64>,
) -> Result<(), RunError> {
    match (short, acknowledged) {
        (None, None) => Ok(()),
        (Some(round), Some(acknowledged)) if round.0 == acknowledged => Ok(()),
        (Some(round), acknowledged) if acknowledged.unwrap_or(0) < round.0 => {
            Err(RunError::NoiseShort { round })
        }
        (_, Some(acknowledged)) => Err(RunError::NoiseNotShort { acknowledged }),
        (Some(round), None) => Err(RunError::NoiseShort { round }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lanes_are_cut_off_and_can_be_counted_again() {
        let canaries = Canaries { seed: [3; 32], delta: 100, lanes: 256 };
        let totals: Vec<i64> = (0..260).map(|i| i * i - 3_000).collect();
        let (data, opening, text) = canaries.cut(&totals, &[]);
        assert_eq!(data, &totals[..4]);
        let read: Vec<i64> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(read, totals[4..]);
        let again = CanaryOpening::new([3; 32], &text, measure(&read, 100, &[3; 32]), None);
        assert_eq!(opening, again);
        // With what they were before surplus came off.
        let (_, layered, longer) = canaries.cut(&totals, &[2; 256]);
        assert_eq!(layered.sum_before_removal, Some(chorale_dp::Rational::from_integer(1_024)));
        assert_eq!(longer, text + &"2\n".repeat(256));
        assert_eq!(layered.totals, chorale_wire::Digest::plain(longer.as_bytes()));
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state.save_lanes(7, &longer).unwrap();
        let kept = std::fs::read_to_string(folder.path().join("lanes/7.lanes")).unwrap();
        assert_eq!(kept, longer);
    }

    #[test]
    fn only_the_round_that_was_looked_into_lets_the_federation_go_on() {
        let short = |round| Some(RoundNumber(round));
        check_acknowledged(None, None).unwrap();
        check_acknowledged(short(7), Some(7)).unwrap();
        for acknowledged in [None, Some(3)] {
            let refused = check_acknowledged(short(7), acknowledged);
            assert!(matches!(refused, Err(RunError::NoiseShort { round: RoundNumber(7) })));
        }
        // Nobody acknowledges in advance.
        for found in [None, short(7)] {
            let refused = check_acknowledged(found, Some(8));
            assert!(matches!(refused, Err(RunError::NoiseNotShort { acknowledged: 8 })));
        }
    }
}
