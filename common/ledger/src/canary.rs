//! Canary lanes in the ledger: a commitment in RESERVE, its opening in RELEASE, and what they show.

use chorale_dp::{
    Rational,
    accountant::{
        bridge::{self, GaussianRelease},
        canary::{CONFIDENCE, epsilon_lower, guesses, noise_is_short},
    },
};
use chorale_plan::canary::{Measured, commitment, measure, sum_of_squares, variance_of_total};
use chorale_wire::{Digest, RoundNumber};
use serde::{Deserialize, Serialize};

use crate::{canonical::hex32, entry::ReserveEntry, report::finite};

/// A round's canary lanes, bound before anybody adds noise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryCommitment {
    /// How many coordinates follow the task's, L.
    pub lanes: u32,
    /// [`chorale_plan::canary::commitment`] of the seed of the coins.
    #[serde(with = "hex32")]
    pub commitment: Digest,
}

impl CanaryCommitment {
    /// Commits to the coins that `seed` gives in `round`.
    #[must_use]
    pub fn new(lanes: u32, seed: &[u8; 32], round: RoundNumber) -> Self {
        Self { lanes, commitment: commitment(seed, round) }
    }
}

/// The coins, and what the lanes showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryOpening {
    /// The seed that RESERVE commits to.
    #[serde(with = "hex32")]
    pub seed: Digest,
    /// Plain SHA-256 of the lanes' totals as the coordinator keeps them: decimal numbers, one a
    /// line; where noise comes in layers, then those before surplus came off.
    #[serde(with = "hex32")]
    pub totals: Digest,
    /// Sum of the squares of the noise in all lanes, a whole number of squared lattice units.
    pub sum_of_squares: Rational,
    /// The same before surplus noise came off; present exactly where noise comes in layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum_before_removal: Option<Rational>,
    /// How many of [`guesses`] were right.
    pub right: u32,
}

impl CanaryOpening {
    /// The opening of `seed` with what was measured in lanes whose text is `totals`, and the sum of
    /// squares before surplus came off, where noise comes in layers.
    #[must_use]
    pub fn new(
        seed: [u8; 32],
        totals: &str,
        measured: Measured,
        sum_before_removal: Option<Rational>,
    ) -> Self {
        Self {
            seed: Digest::from_bytes(seed),
            totals: Digest::plain(totals.as_bytes()),
            sum_of_squares: measured.sum_of_squares,
            sum_before_removal,
            right: measured.right,
        }
    }

    /// Counts the lanes of a round reserved by `reserve` again, from their totals as the coordinator
    /// keeps them.
    ///
    /// # Errors
    /// [`RecountError`]: the totals are not what the ledger says of them.
    pub fn recount(&self, reserve: &ReserveEntry, totals: &[u8]) -> Result<(), RecountError> {
        let round = reserve.round;
        if Digest::plain(totals) != self.totals {
            return Err(RecountError::Other { round });
        }
        let malformed = || RecountError::Malformed { round };
        let text = str::from_utf8(totals).map_err(|_| malformed())?;
        let numbers: Vec<i64> = text
            .lines()
            .map(|line| line.parse().map_err(|_| malformed()))
            .collect::<Result<_, _>>()?;
        let lanes = reserve.canaries.as_ref().map_or(0, |canaries| canaries.lanes as usize);
        let parts = 1 + usize::from(self.sum_before_removal.is_some());
        if numbers.len() != parts * lanes {
            return Err(malformed());
        }
        let (after, before) = numbers.split_at(lanes);
        let Measured { sum_of_squares: sum, right } =
            measure(after, reserve.delta, self.seed.as_bytes());
        let sum_before = self.sum_before_removal.as_ref().map(|_| sum_of_squares(before));
        if sum != self.sum_of_squares || sum_before != self.sum_before_removal {
            return Err(RecountError::Squares { round });
        }
        if right != self.right {
            return Err(RecountError::Guesses { round, found: right, stated: self.right });
        }
        Ok(())
    }

    /// What it shows of a round reserved by `reserve` with so many `survivors`; `None` for a round
    /// without lanes or without noise.
    #[must_use]
    pub fn shows(&self, reserve: &ReserveEntry, survivors: u32) -> Option<CanaryLine> {
        let lanes = reserve.canaries.as_ref()?.lanes;
        let promised = reserve.sigma_squared.as_ref()?;
        let one_piece = [reserve.survivors_min];
        let levels = reserve.noise_levels.as_deref().unwrap_or(&one_piece);
        let expected = variance_of_total(promised, levels, reserve.corrupt, survivors)?;
        let short = noise_is_short(&self.sum_of_squares, lanes, &expected);
        // What agents owe is judged before anything comes off, and what stays afterwards too.
        let (squares, owed) = match &self.sum_before_removal {
            None => (&self.sum_of_squares, expected),
            Some(before) => {
                let all = variance_of_total(promised, &one_piece, reserve.corrupt, survivors)?;
                (before, all)
            }
        };
        Some(CanaryLine {
            lanes,
            guesses: guesses(lanes),
            right: self.right,
            noise: squares.checked_div(&(&Rational::from_integer(lanes) * &owed))?.to_f64_down(),
            short: short || noise_is_short(squares, lanes, &owed),
            below_promise: noise_is_short(&self.sum_of_squares, lanes, promised),
        })
    }
}

/// Why the lanes' totals that a coordinator keeps are not what its ledger says of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecountError {
    /// Not the totals that RELEASE names.
    #[error("these lanes' totals are not those that the release of round {round} names")]
    Other {
        /// The round.
        round: RoundNumber,
    },
    /// Not one whole number for each lane.
    #[error("the lanes' totals of round {round} are not one whole number a line for each lane")]
    Malformed {
        /// The round.
        round: RoundNumber,
    },
    /// Another sum of squares.
    #[error("the squares of the lanes' totals of round {round} have another sum than it says")]
    Squares {
        /// The round.
        round: RoundNumber,
    },
    /// Another number of right guesses.
    #[error("by its lanes' totals {found} guesses of round {round} are right, not {stated}")]
    Guesses {
        /// The round.
        round: RoundNumber,
        /// What the totals give.
        found: u32,
        /// What RELEASE says.
        stated: u32,
    },
}

/// What the lanes of one round show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CanaryLine {
    /// L.
    pub lanes: u32,
    /// Lanes whose coin was guessed.
    pub guesses: u32,
    /// How many guesses were right.
    pub right: u32,
    /// Variance measured, as a part of what the survivors owe: 1 is all of it. Rounded down.
    pub noise: f64,
    /// The noise is short: at least one survivor did not add what it owes. Raised falsely in less
    /// than one honest round of 1,000.
    pub short: bool,
    /// It is so short that even σ², which the proven ε rests on, is not reached.
    pub below_promise: bool,
}

/// What the lanes of all measured rounds show together, beside what is proven.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CanaryFigures {
    /// Rounds whose lanes were measured.
    pub rounds: u32,
    /// Their lanes together.
    pub lanes: u64,
    /// Lanes whose coin was guessed.
    pub guesses: u64,
    /// How many guesses were right.
    pub right: u64,
    /// At least so large is the ε of one of these rounds, at `confidence`. Rounded down.
    pub epsilon_lower: f64,
    /// At most so large is proven the ε of each of them, at the same δ: the largest of their exact
    /// Gaussian figures, rounded up. Infinite figures are the text `infinity`.
    #[serde(serialize_with = "finite")]
    pub epsilon_upper: f64,
    /// Confidence of `epsilon_lower`.
    pub confidence: f64,
    /// Rounds whose noise is short, ascending.
    pub short: Vec<u64>,
}

impl CanaryFigures {
    /// The figures of measured rounds at `delta`; `None` where there are none.
    pub(crate) fn of<'a>(
        measured: impl Iterator<Item = (&'a ReserveEntry, &'a CanaryLine)>,
        delta: f64,
    ) -> Option<Self> {
        let mut figures = Self {
            rounds: 0,
            lanes: 0,
            guesses: 0,
            right: 0,
            epsilon_lower: 0.0,
            epsilon_upper: 0.0,
            confidence: CONFIDENCE,
            short: Vec::new(),
        };
        for (reserve, line) in measured {
            figures.rounds += 1;
            figures.lanes += u64::from(line.lanes);
            figures.guesses += u64::from(line.guesses);
            figures.right += u64::from(line.right);
            figures.short.extend(line.short.then_some(reserve.round.0));
            let one = reserve.sigma_squared.clone().map(|sigma_squared| GaussianRelease {
                delta: reserve.delta,
                sigma_squared,
                honest_min: reserve.survivors_min - reserve.corrupt,
                coordinates: reserve.coordinates,
            });
            let proven = one.and_then(|one| bridge::epsilon(&[one], delta).ok());
            figures.epsilon_upper = figures.epsilon_upper.max(proven.unwrap_or(f64::INFINITY));
        }
        if figures.rounds == 0 {
            return None;
        }
        figures.epsilon_lower = epsilon_lower(figures.right, figures.guesses, figures.lanes, delta);
        Some(figures)
    }

    /// Whether what was measured contradicts what is proven.
    #[must_use]
    pub fn contradict(&self) -> bool {
        self.epsilon_lower > self.epsilon_upper
    }
}
