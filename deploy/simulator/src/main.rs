//! `cargo simulate`: plays simulated federations and prints what became of them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's output")]

use std::process::ExitCode;

const USAGE: &str = "\
Plays federations in virtual time, with delays, drop-outs, restarts, losses, duplicates and
reorderings, and checks after every step that sums are exact or rounds abort cleanly.

Usage: simulate [--seed N] [--count K]
  --seed N    the first seed (default 0); alone, it replays this one federation
  --count K   how many seeds from there on (default 1 with --seed, else 100)";

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)) {
        Ok(Some((first, count))) => run(first, count),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(first: u64, count: u64) -> ExitCode {
    let (mut completed, mut aborted, mut failures) = (0, 0, 0);
    for seed in first..first.saturating_add(count) {
        match chorale_simulator::simulate(seed) {
            Ok(summary) => {
                if count == 1 {
                    println!("{summary:#?}");
                }
                completed += summary.completed;
                aborted += summary.aborted;
            }
            Err(failure) => {
                failures += 1;
                println!("seed {seed} FAILED: {failure}");
                println!("  replay it with: cargo simulate --seed {seed}");
            }
        }
    }
    println!(
        "{count} federations: {completed} rounds completed, {aborted} aborted cleanly, \
         {failures} violations"
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// First seed and count; `None` when help was asked for.
fn arguments(mut given: impl Iterator<Item = String>) -> Result<Option<(u64, u64)>, String> {
    let (mut seed, mut count) = (None, None);
    while let Some(name) = given.next() {
        let place = match name.as_str() {
            "--seed" => &mut seed,
            "--count" => &mut count,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("'{other}' is not an option")),
        };
        let value = given.next().ok_or_else(|| format!("{name} needs a number"))?;
        let number: u64 = value.parse().map_err(|_| format!("'{value}' is not a whole number"))?;
        *place = Some(number);
    }
    let default_count = if seed.is_some() { 1 } else { 100 };
    Ok(Some((seed.unwrap_or(0), count.unwrap_or(default_count))))
}
