//! The figures of a run, for people and for machines.

use std::{collections::BTreeMap, fmt, sync::atomic::Ordering};

use serde::Serialize;

use crate::{
    agent::Hive,
    coordinator::Completed,
    meter::{Mark, Moment},
    verdict::Verdict,
};

/// What a run showed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    agents: u32,
    coordinates: u32,
    survivors_min: u32,
    dropouts: u32,
    epsilon: Option<f64>,
    share_verified: bool,
    cores: usize,
    /// Seconds for the keys and certificates of everybody.
    enrolment_s: f64,
    /// Seconds from the first connection to the epoch.
    setup_s: f64,
    setup: Vec<Step>,
    rounds: Vec<RoundFigures>,
    /// Resident memory at its highest, in bytes.
    coordinator_peak_bytes: u64,
    agents_peak_bytes: u64,
    /// CPU seconds of the whole run.
    coordinator_cpu_s: f64,
    agents_cpu_s: f64,
    vectors_uploaded: u64,
    verdict: Verdict,
    /// What should not have happened; empty in a good run.
    pub(crate) troubles: Vec<String>,
}

/// One round.
#[derive(Clone, Debug, Serialize)]
struct RoundFigures {
    round: u64,
    cohort: u32,
    survivors: u32,
    /// From ROUND-OPEN until model and ledger are written, by the coordinator's clock.
    seconds: f64,
    steps: Vec<Step>,
}

/// From one mark to the next.
#[derive(Clone, Debug, Serialize)]
struct Step {
    step: &'static str,
    seconds: f64,
    coordinator_cpu_s: f64,
    /// CPU seconds of the process that holds all agents.
    agents_cpu_s: f64,
    /// Bytes on the wire per agent, packets and repetitions included.
    agent_sent_bytes: f64,
    agent_received_bytes: f64,
}

impl Figures {
    pub(crate) fn new(
        hive: &Hive,
        enrolment_s: f64,
        completed: &[Completed],
        verdict: Verdict,
        troubles: Vec<String>,
    ) -> Self {
        let arguments = &hive.arguments;
        let marks = hive.meter.marks();
        let end = hive.meter.now();
        let agents = f64::from(arguments.agents);
        let setup = steps(&marks, agents, &SETUP);
        let rounds = completed.iter().map(|completed| {
            let round = completed.round;
            RoundFigures {
                round,
                cohort: completed.cohort,
                survivors: completed.survivors,
                seconds: completed.seconds,
                steps: steps(&marks, agents, &ROUND.map(|(name, mark)| (name, mark(round)))),
            }
        });
        Self {
            agents: arguments.agents,
            coordinates: arguments.coordinates,
            survivors_min: arguments.survivors_min(),
            dropouts: arguments.leave(),
            epsilon: arguments.epsilon,
            share_verified: arguments.share_verified,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            enrolment_s,
            setup_s: setup.iter().map(|step| step.seconds).sum(),
            setup,
            rounds: rounds.collect(),
            coordinator_peak_bytes: end.coordinator.peak_bytes,
            agents_peak_bytes: end.agents.peak_bytes,
            coordinator_cpu_s: end.coordinator.cpu_s,
            agents_cpu_s: end.agents.cpu_s,
            vectors_uploaded: hive.uploaded.load(Ordering::Relaxed),
            verdict,
            troubles,
        }
    }
}

/// Steps of an epoch's setup with the mark at which each begins; the last one ends it.
const SETUP: [(&str, Mark); 6] = [
    ("connect", Mark::Connect),
    ("advertise keys", Mark::Advertise),
    ("verify and sign the roster", Mark::Roster),
    ("verify its votes, deal shares", Mark::Deal),
    ("open shares", Mark::Accept),
    ("", Mark::Ready),
];

/// A mark of any round.
type OfRound = fn(u64) -> Mark;

/// Steps of a round with the mark at which each begins; the last one ends it.
const ROUND: [(&str, OfRound); 5] = [
    ("model, charge, READY", Mark::Open),
    ("noise, mask, upload", Mark::Mask),
    ("vote on survivors", Mark::Vote),
    ("verify votes, reveal, unmask", Mark::Reveal),
    ("", Mark::Over),
];

fn steps(
    marks: &BTreeMap<Mark, Moment>,
    agents: f64,
    bounds: &[(&'static str, Mark)],
) -> Vec<Step> {
    let ends = bounds.iter().skip(1);
    let pairs = bounds
        .iter()
        .zip(ends)
        .filter_map(|((step, from), (_, to))| Some((*step, marks.get(from)?, marks.get(to)?)));
    pairs
        .map(|(step, from, to)| Step {
            step,
            seconds: to.at.saturating_duration_since(from.at).as_secs_f64(),
            coordinator_cpu_s: to.coordinator.cpu_s - from.coordinator.cpu_s,
            agents_cpu_s: to.agents.cpu_s - from.agents.cpu_s,
            agent_sent_bytes: to.sent.saturating_sub(from.sent) as f64 / agents,
            agent_received_bytes: to.received.saturating_sub(from.received) as f64 / agents,
        })
        .collect()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noise = match self.epsilon {
            Some(epsilon) => format!("ε = {epsilon}"),
            None => "no noise".to_string(),
        };
        writeln!(
            f,
            "{} agents, {} coordinates, T_min = {}, {} vanish in each round, {noise}, {} cores",
            self.agents, self.coordinates, self.survivors_min, self.dropouts, self.cores
        )?;
        if self.share_verified {
            writeln!(f, "agents verify public objects once for all: their CPU time says nothing")?;
        }
        heading(f)?;
        for step in &self.setup {
            line(f, step, self.agents)?;
        }
        for round in &self.rounds {
            writeln!(f, "round {}: {} of {} survive", round.round, round.survivors, round.cohort)?;
            for step in &round.steps {
                line(f, step, self.agents)?;
            }
        }
        writeln!(
            f,
            "keys and certificates in {:.1} s; an epoch in {:.1} s; rounds in {} s",
            self.enrolment_s,
            self.setup_s,
            self.rounds
                .iter()
                .map(|round| format!("{:.1}", round.seconds))
                .collect::<Vec<_>>()
                .join(", ")
        )?;
        writeln!(
            f,
            "coordinator: {:.0} MiB at most, {:.1} CPU s; all agents: {:.0} MiB, {:.1} CPU s",
            mebibytes(self.coordinator_peak_bytes),
            self.coordinator_cpu_s,
            mebibytes(self.agents_peak_bytes),
            self.agents_cpu_s
        )?;
        for (round, total) in self.rounds.iter().zip(&self.verdict.totals) {
            match total.noise_ratio {
                Some(ratio) => writeln!(
                    f,
                    "total of round {}: at most {:.1} σ from the survivors' sum; noise {ratio:.3} \
                     times the stated σ = {:.2}",
                    round.round, total.largest_error, total.noise_std
                )?,
                None => writeln!(
                    f,
                    "total of round {}: exactly the survivors' sum in every coordinate",
                    round.round
                )?,
            }
        }
        write!(f, "ledger verified: {} rounds released", self.verdict.ledger_released)?;
        if let Some(epsilon) = self.verdict.ledger_epsilon {
            write!(f, ", ε = {epsilon:.3}")?;
        }
        self.troubles.iter().try_for_each(|trouble| write!(f, "\ntrouble: {trouble}"))
    }
}

fn heading(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{:<32}{:>9}{:>15}{:>14}{:>13}{:>14}",
        "", "seconds", "coordinator", "an agent", "an agent", "an agent"
    )?;
    writeln!(
        f,
        "{:<32}{:>9}{:>15}{:>14}{:>13}{:>14}",
        "", "", "CPU s", "CPU s", "sends kB", "receives kB"
    )
}

fn line(f: &mut fmt::Formatter<'_>, step: &Step, agents: u32) -> fmt::Result {
    writeln!(
        f,
        "  {:<30}{:>9.2}{:>15.2}{:>14.4}{:>13.1}{:>14.1}",
        step.step,
        step.seconds,
        step.coordinator_cpu_s,
        step.agents_cpu_s / f64::from(agents),
        step.agent_sent_bytes / 1e3,
        step.agent_received_bytes / 1e3
    )
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
