//! What a federation costs: one calm federation of any size, with the CPU time and the bytes of
//! every agent and of the coordinator, by phase.
//!
//! The machines and messages are the real ones; what differs from a deployment is said here.
//! Messages are handed over without encoding, compression or TLS, and their length is that of
//! their encoding. The agents share the verification of public objects
//! ([`chorale_round::VerifiedMemo`]), because ten thousand agents that verify ten thousand adverts
//! each would take days; the first agent does not share, and its figures stand beside the others'
//! as those of an agent alone. Vectors are made up: clipping, noise and training are the gate's
//! and the tasks', and are measured there.

mod hall;
mod meter;
mod report;

use std::time::Instant;

use chorale_plan::CohortRule;
use chorale_round::GAMMA_PER_MILLE;
use chorale_wire::{limits::AGENTS_MAX, message::Roster};

use crate::oracle::Failure;
use hall::Hall;
pub use report::{CostReport, PhaseCost, Spread};

/// Most coordinates: what the made-up plan's lattice is fine enough for.
pub const COORDINATES_MAX: usize = 1_000_000;

/// A federation whose cost is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRun {
    /// Agents, 4 to [`AGENTS_MAX`].
    pub agents: usize,
    /// Rounds.
    pub rounds: usize,
    /// Agents that drop out of each round after READY, in thousandths.
    pub dropout_per_mille: u32,
    /// Coordinates of a vector, 1 to [`COORDINATES_MAX`].
    pub coordinates: usize,
    /// The seed of everything.
    pub seed: u64,
    /// Threads for the agents.
    pub threads: usize,
}

/// Why a federation cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum CostError {
    /// A number is out of its range.
    #[error("{what} is {least} to {most}, not {given}")]
    Range {
        /// Which number.
        what: &'static str,
        /// Smallest admissible.
        least: usize,
        /// Largest admissible.
        most: usize,
        /// What was given.
        given: usize,
    },
    /// The federation violated something.
    #[error("the federation failed")]
    Failed(#[from] Failure),
}

impl CostRun {
    /// The rule of the federation: at least nine tenths must survive where few drop out, two
    /// thirds otherwise.
    fn rule(&self) -> CohortRule {
        let agents = self.agents as u32;
        let corrupt = CohortRule::corrupt_of(agents, GAMMA_PER_MILLE);
        let mut rule = CohortRule { enrolled: agents, corrupt, survivors_min: 0 };
        let floor = rule.survivors_floor(agents);
        let few = self.dropout_per_mille <= 80;
        rule.survivors_min = if few { floor.max(agents - agents / 10) } else { floor };
        rule
    }

    /// Agents that drop out of each round.
    fn dropouts(&self) -> usize {
        self.agents * self.dropout_per_mille as usize / 1_000
    }

    fn check(&self) -> Result<(), CostError> {
        let in_range = |what, least, most, given| {
            let error = CostError::Range { what, least, most, given };
            if (least..=most).contains(&given) { Ok(()) } else { Err(error) }
        };
        in_range("the number of agents", 4, AGENTS_MAX, self.agents)?;
        in_range("the number of rounds", 1, Roster::rounds_max(self.agents), self.rounds)?;
        in_range("the number of coordinates", 1, COORDINATES_MAX, self.coordinates)?;
        let most = self.rule().dropouts(self.agents as u32) as usize;
        in_range("the number of agents that drop out", 0, most, self.dropouts())
    }
}

/// Plays the federation: one epoch and all rounds.
///
/// # Errors
/// [`CostError`]: a number out of its range, or a round without its exact sum.
pub fn cost(run: &CostRun) -> Result<CostReport, CostError> {
    run.check()?;
    let begin = Instant::now();
    let mut hall = Hall::new(run, run.rule())?;
    hall.set_up()?;
    for _ in 0..run.rounds {
        hall.round()?;
    }
    Ok(hall.into_report(begin.elapsed()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused() {
        let run = CostRun {
            agents: 100,
            rounds: 1,
            dropout_per_mille: 50,
            coordinates: 10,
            seed: 0,
            threads: 1,
        };
        assert!(run.check().is_ok());
        for bad in [
            CostRun { agents: 3, ..run.clone() },
            CostRun { rounds: 65, ..run.clone() },
            CostRun { coordinates: 0, ..run.clone() },
            CostRun { dropout_per_mille: 500, ..run.clone() },
        ] {
            assert!(matches!(bad.check(), Err(CostError::Range { .. })), "{bad:?}");
        }
    }
}
