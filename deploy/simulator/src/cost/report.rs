//! The figures of a cost run, as a table and as JSON.

use std::{fmt, time::Duration};

use chorale_plan::CohortRule;
use serde::Serialize;

use super::CostRun;

/// Number of phases.
pub(super) const PHASES: usize = 9;

/// The phases of an epoch's setup and of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Advert,
    Roster,
    Deal,
    Accept,
    Ready,
    Masked,
    Vote,
    Reveal,
    Result,
}

/// What an agent does in each phase, and what the coordinator does with it.
const NAMES: [&str; PHASES] = [
    "setup: keys, adverts",
    "setup: roster, votes",
    "setup: certificate, shares dealt",
    "setup: shares opened",
    "round: ready",
    "round: masked vectors",
    "round: votes",
    "round: certificate, reveal, unmasking",
    "round: result",
];

/// The phases before this one happen once an epoch.
const FIRST_OF_ROUND: usize = Phase::Ready as usize;

/// What one party spent in one phase.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) cpu: Duration,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

/// What is known of the epoch.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) neighbours: usize,
    pub(super) threshold: usize,
    pub(super) votes_min: usize,
}

/// Median and largest of a figure over all agents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the agents have at most this.
    pub median: f64,
    /// No agent has more.
    pub max: f64,
}

/// What one phase cost: an epoch's setup in all, a round on average.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseCost {
    /// What happens.
    pub phase: &'static str,
    /// CPU seconds of an agent that shares verified objects with the others.
    pub agent_cpu_s: Spread,
    /// CPU seconds of an agent that verifies everything itself, as every agent does in a
    /// deployment.
    pub agent_alone_cpu_s: f64,
    /// Bytes that an agent sends.
    pub agent_sent_bytes: Spread,
    /// Bytes that an agent receives.
    pub agent_received_bytes: Spread,
    /// CPU seconds of the coordinator.
    pub coordinator_cpu_s: f64,
    /// Bytes that the coordinator sends.
    pub coordinator_sent_bytes: u64,
    /// Bytes that the coordinator receives.
    pub coordinator_received_bytes: u64,
}

/// What a federation cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostReport {
    /// Agents n.
    pub agents: usize,
    /// Agents assumed corrupt, A.
    pub corrupt: u32,
    /// Fewest survivors, T_min.
    pub survivors_min: u32,
    /// Votes of a certificate, T.
    pub votes_min: usize,
    /// Neighbours of each agent.
    pub neighbours: usize,
    /// Shares that open a secret, t.
    pub threshold: usize,
    /// Rounds.
    pub rounds: usize,
    /// Agents that dropped out of each round, after READY.
    pub dropouts: usize,
    /// Coordinates of a vector.
    pub coordinates: usize,
    /// Threads that the agents shared.
    pub threads: usize,
    /// Phase by phase.
    pub phases: Vec<PhaseCost>,
    /// CPU seconds of all agents together, as simulated.
    pub agents_cpu_s: f64,
    /// Wall-clock seconds of the run.
    pub wall_s: f64,
    /// The most memory of the whole federation, in bytes, where the system says.
    pub peak_memory_bytes: Option<u64>,
}

impl Ledger {
    pub(super) fn report(
        &self,
        run: &CostRun,
        rule: &CohortRule,
        agents: Vec<[Spent; PHASES]>,
        coordinator: [Spent; PHASES],
        wall: Duration,
        peak_memory_bytes: Option<u64>,
    ) -> CostReport {
        let all = agents.iter().flatten().map(|spent| spent.cpu.as_secs_f64()).sum();
        let phases = (0..PHASES).map(|phase| {
            let times = if phase < FIRST_OF_ROUND { 1.0 } else { run.rounds as f64 };
            let over = |of: fn(&Spent) -> f64| {
                // The first agent is alone, and its figures stand for themselves.
                spread(agents.iter().skip(1).map(|spent| of(&spent[phase]) / times).collect())
            };
            let spent = coordinator[phase];
            PhaseCost {
                phase: NAMES[phase],
                agent_cpu_s: over(|spent| spent.cpu.as_secs_f64()),
                agent_alone_cpu_s: agents[0][phase].cpu.as_secs_f64() / times,
                agent_sent_bytes: over(|spent| spent.sent_bytes as f64),
                agent_received_bytes: over(|spent| spent.received_bytes as f64),
                coordinator_cpu_s: spent.cpu.as_secs_f64() / times,
                coordinator_sent_bytes: (spent.sent_bytes as f64 / times) as u64,
                coordinator_received_bytes: (spent.received_bytes as f64 / times) as u64,
            }
        });
        CostReport {
            agents: run.agents,
            corrupt: rule.corrupt,
            survivors_min: rule.survivors_min,
            votes_min: self.votes_min,
            neighbours: self.neighbours,
            threshold: self.threshold,
            rounds: run.rounds,
            dropouts: run.dropouts(),
            coordinates: run.coordinates,
            threads: run.threads,
            phases: phases.collect(),
            agents_cpu_s: all,
            wall_s: wall.as_secs_f64(),
            peak_memory_bytes,
        }
    }
}

fn spread(mut figures: Vec<f64>) -> Spread {
    figures.sort_by(f64::total_cmp);
    let median = figures.get(figures.len() / 2).copied().unwrap_or(0.0);
    Spread { median, max: figures.last().copied().unwrap_or(0.0) }
}

impl CostReport {
    /// The report as JSON.
    ///
    /// # Errors
    /// What the encoder says; no report that [`super::cost`] makes is refused.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// Sums of one figure over the setup's phases, and over a round's.
    fn sums(&self, of: impl Fn(&PhaseCost) -> f64) -> (f64, f64) {
        let (setup, round) = self.phases.split_at(FIRST_OF_ROUND);
        (setup.iter().map(&of).sum(), round.iter().map(&of).sum())
    }
}

impl fmt::Display for CostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} agents (A = {}, T = {}, T_min = {}), {} neighbours each, t = {}; {} rounds of {} \
             coordinates, {} agents drop out of each after READY",
            self.agents,
            self.corrupt,
            self.votes_min,
            self.survivors_min,
            self.neighbours,
            self.threshold,
            self.rounds,
            self.coordinates,
            self.dropouts
        )?;
        writeln!(f, "agent: median / max; alone: verifies everything itself; CPU in seconds")?;
        writeln!(
            f,
            "{:<38}{:>19}{:>9}{:>21}{:>21}{:>11}{:>11}{:>11}",
            "",
            "agent CPU",
            "alone",
            "agent sends",
            "agent receives",
            "coord. CPU",
            "sends",
            "receives"
        )?;
        for phase in &self.phases {
            let cpu = phase.agent_cpu_s;
            let (sent, received) = (phase.agent_sent_bytes, phase.agent_received_bytes);
            writeln!(
                f,
                "{:<38}{:>19}{:>9.4}{:>21}{:>21}{:>11.3}{:>11}{:>11}",
                phase.phase,
                format!("{:.4} / {:.4}", cpu.median, cpu.max),
                phase.agent_alone_cpu_s,
                format!("{} / {}", bytes(sent.median), bytes(sent.max)),
                format!("{} / {}", bytes(received.median), bytes(received.max)),
                phase.coordinator_cpu_s,
                bytes(phase.coordinator_sent_bytes as f64),
                bytes(phase.coordinator_received_bytes as f64),
            )?;
        }
        let alone = self.sums(|phase| phase.agent_alone_cpu_s);
        let coordinator = self.sums(|phase| phase.coordinator_cpu_s);
        let sent = self.sums(|phase| phase.agent_sent_bytes.median);
        let received = self.sums(|phase| phase.agent_received_bytes.median);
        for (what, pick) in [("an epoch's setup", 0), ("a round", 1)] {
            let of = |sums: (f64, f64)| if pick == 0 { sums.0 } else { sums.1 };
            writeln!(
                f,
                "{what}: an agent alone {:.3} s, {} sent, {} received; the coordinator {:.3} s",
                of(alone),
                bytes(of(sent)),
                bytes(of(received)),
                of(coordinator)
            )?;
        }
        write!(
            f,
            "the whole run: {:.0} s on {} threads, {:.0} s CPU of all agents as simulated, peak \
             memory {}",
            self.wall_s,
            self.threads,
            self.agents_cpu_s,
            self.peak_memory_bytes.map_or("unknown".to_string(), |peak| bytes(peak as f64))
        )
    }
}

/// Bytes with three digits and a decimal unit.
fn bytes(count: f64) -> String {
    let (value, unit) = match count {
        count if count >= 1e9 => (count / 1e9, "GB"),
        count if count >= 1e6 => (count / 1e6, "MB"),
        count if count >= 1e3 => (count / 1e3, "kB"),
        count => return format!("{count:.0} B"),
    };
    format!("{value:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_maximum() {
        let spread = spread(vec![5.0, 1.0, 3.0]);
        assert_eq!(spread, Spread { median: 3.0, max: 5.0 });
    }

    #[test]
    fn bytes_in_units() {
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(1_234.0), "1.23 kB");
        assert_eq!(bytes(4_500_000.0), "4.50 MB");
        assert_eq!(bytes(7e9), "7.00 GB");
    }
}
