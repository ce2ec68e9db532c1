//! `cargo simulate`: plays simulated federations and prints what became of them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's output")]

mod options;

use std::process::ExitCode;

use chorale_simulator::{
    Failure, Scenario,
    cost::{CostRun, cost},
    exhaustive::{self, Fates, ROUND_STEPS, SETUP_STEPS},
    play, play_traced, shrink,
};
use options::{Faults, Options};

/// Federations that are played in search of a smaller one that fails too.
const TRIES_MAX: usize = 400;

fn main() -> ExitCode {
    match options::parse(std::env::args().skip(1)) {
        Ok(Options::Help) => {
            println!("{}", options::usage());
            ExitCode::SUCCESS
        }
        Ok(Options::Faults(faults)) => play_faults(&faults),
        Ok(Options::Cost { run, json }) => measure(&run, json),
        Ok(Options::Exhaustive { agents }) => play_all(agents),
        Err(problem) => {
            eprintln!("{problem}\n\n{}", options::usage());
            ExitCode::from(2)
        }
    }
}

fn play_faults(faults: &Faults) -> ExitCode {
    let (mut completed, mut aborted, mut failures) = (0, 0, 0);
    for seed in faults.first..faults.first.saturating_add(faults.count) {
        let scenario = faults.scenario(seed);
        let result = if faults.trace {
            let (result, lines) = play_traced(&scenario);
            lines.iter().for_each(|line| println!("{line}"));
            result
        } else {
            play(&scenario)
        };
        match result {
            Ok(summary) => {
                if faults.count == 1 {
                    println!("{summary:#?}");
                }
                completed += summary.completed;
                aborted += summary.aborted;
            }
            Err(failure) => {
                failures += 1;
                report(&scenario, &failure, faults.shrink);
            }
        }
    }
    println!(
        "{} federations: {completed} rounds completed, {aborted} aborted cleanly, \
         {failures} violations",
        faults.count
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(scenario: &Scenario, failure: &Failure, shrinks: bool) {
    println!("seed {} FAILED: {failure}", scenario.seed);
    println!("  replay it with: {} --trace", scenario.command());
    if !shrinks {
        return;
    }
    match shrink(scenario, failure, TRIES_MAX, play) {
        Some((smaller, failure)) => {
            println!("  smaller: {failure}");
            println!("  replay it with: {} --trace", smaller.command());
        }
        None => println!("  no smaller federation was found that fails in the same way"),
    }
}

fn measure(run: &CostRun, json: bool) -> ExitCode {
    let report = match cost(run) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error}");
            if let Some(cause) = std::error::Error::source(&error) {
                eprintln!("  {cause}");
            }
            return ExitCode::FAILURE;
        }
    };
    match report.to_json() {
        Ok(text) if json => println!("{text}"),
        _ => println!("{report}"),
    }
    ExitCode::SUCCESS
}

/// Every drop-out pattern of `agents` agents: rounds, and the setup of epochs.
fn play_all(agents: usize) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rounds: Vec<Fates> = exhaustive::patterns(agents, &ROUND_STEPS).collect();
    println!("{} patterns of {agents} agents in a round, {threads} threads", rounds.len());
    let played = exhaustive::rounds(agents, &rounds, threads).and_then(|tally| {
        println!("{tally:#?}");
        let setups: Vec<Fates> = exhaustive::patterns(agents, &SETUP_STEPS).collect();
        println!("{} patterns of {agents} agents in an epoch's setup", setups.len());
        exhaustive::setups(agents, &setups, threads)
    });
    match played {
        Ok(tally) => {
            println!("{tally:#?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}
