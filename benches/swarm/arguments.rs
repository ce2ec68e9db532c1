//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, error::ErrorKind};

use crate::vector;

/// Runs a federation of many agents on this machine, over real QUIC, and says what it cost.
///
/// The coordinator is a process of its own; all agents share another one. In every round some
/// agents vanish after COMMIT, before they have masked, and come back when the survivors are fixed. Totals are
/// compared with the sum over the survivors that the ledger names, and the ledger is verified. The
/// exit code is 0 only if all of that is as it must be.
///
/// The machine needs Linux and some 4 MB for each agent beside the coordinator's memory.
#[derive(Clone, Debug, Parser)]
#[command(name = "swarm", max_term_width = 100)]
pub(crate) struct Arguments {
    /// Agents.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) agents: u32,
    /// Coordinates of a vector, at least 7 for each agent and 1,008.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) coordinates: u32,
    /// Rounds, each of a plan of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) rounds: u32,
    /// Of a hundred agents, how many vanish in each round after COMMIT; others in each round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=30))]
    pub(crate) dropouts: u32,
    /// Of a hundred agents, how many the plans let drop out: T_min is what is left.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=33))]
    pub(crate) tolerated: u32,
    /// γ in thousandths of the agents: how many are assumed corrupt.
    #[arg(long, value_name = "GAMMA", default_value_t = 100)]
    pub(crate) gamma_per_mille: u32,
    /// ε of all rounds together, with δ = 1e-5.
    #[arg(long, default_value = "4", conflicts_with = "unprotected")]
    pub(crate) epsilon: Option<f64>,
    /// No noise: the totals must be exact.
    #[arg(long)]
    pub(crate) unprotected: bool,
    /// Agents verify what is public once for all of them. Their CPU time then says nothing; the
    /// coordinator's is what it was.
    #[arg(long)]
    pub(crate) share_verified: bool,
    /// Seconds that any one step may take before the run counts as stuck.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub(crate) patience: u32,
    /// Measure this coordinator program instead of the same one that is linked into this.
    #[arg(long, value_name = "FILE")]
    pub(crate) coordinator: Option<PathBuf>,
    /// Print the figures as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Arguments {
    /// What no single option shows.
    pub(crate) fn checked(mut self) -> Result<Self, clap::Error> {
        let refuse = |what: String| Err(Self::command().error(ErrorKind::ValueValidation, what));
        let least = vector::coordinates_min(self.agents);
        if self.coordinates < least {
            return refuse(format!("{} agents need --coordinates {least} or more", self.agents));
        }
        if self.dropouts > self.tolerated {
            return refuse("--dropouts is more than --tolerated: no round could complete".into());
        }
        if self.unprotected {
            self.epsilon = None;
        }
        Ok(self)
    }

    /// T_min.
    pub(crate) fn survivors_min(&self) -> u32 {
        self.agents - self.agents * self.tolerated / 100
    }

    /// Agents that vanish in each round.
    pub(crate) fn leave(&self) -> u32 {
        self.agents * self.dropouts / 100
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' ')).and_then(Arguments::checked)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        let arguments = read("swarm").unwrap();
        assert_eq!((arguments.survivors_min(), arguments.leave()), (900, 50));
        assert_eq!(arguments.epsilon, Some(4.0));
        assert_eq!(read("swarm --unprotected").unwrap().epsilon, None);
        assert!(read("swarm --unprotected --epsilon 2").is_err());
        assert!(read("swarm --coordinates 5000").is_err());
        assert!(read("swarm --dropouts 11").is_err());
    }

    #[test]
    fn every_round_loses_as_many_others() {
        let arguments = read("swarm --agents 20 --coordinates 2000 --dropouts 10").unwrap();
        let of = |round| -> Vec<u32> {
            (0..20).filter(|store| crate::agent::drops_out(&arguments, *store, round)).collect()
        };
        assert_eq!(of(1).len(), 2);
        assert_eq!(of(2).len(), 2);
        assert!(of(1).iter().all(|store| !of(2).contains(store)));
    }
}
