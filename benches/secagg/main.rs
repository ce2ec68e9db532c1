//! What secure aggregation costs, as ratios: masking beside the bare keystream of one core, agent
//! and coordinator beside the floors of `docs/benchmarks.md`. All figures are CPU seconds of one
//! run, the best of several.
//!
//! `cargo bench -p chorale-benches --bench secagg -- [--quick] [--json FILE]`
//!
//! `--only n=16,d=1000000,drop=0.05 --json -` prints one setting as JSON and nothing else, for
//! scripts that put it beside other programs.
#![allow(missing_docs, clippy::print_stdout)]

mod agent;
mod clock;
mod coordinator;
mod federation;
mod rates;

use std::{error::Error, path::PathBuf, str::FromStr};

use chorale_wire::limits::AGENTS_MAX;
use clap::Parser;
use serde::Serialize;

use agent::AgentCost;
use coordinator::CoordinatorCost;
use federation::{Federation, Setting};
use rates::Rates;

type AnyError = Box<dyn Error + Send + Sync>;

/// Costs of secure aggregation beside their floors.
#[derive(Parser)]
struct Arguments {
    /// Fewer repetitions, one drop-out rate.
    #[arg(long)]
    quick: bool,
    /// Write the figures here as JSON; `-` for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// One setting: n=AGENTS,d=COORDINATES,drop=FRACTION and, if wanted, w=BITS.
    #[arg(long, value_name = "SETTING")]
    only: Option<Setting>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl FromStr for Setting {
    type Err = AnyError;

    fn from_str(text: &str) -> Result<Self, AnyError> {
        let mut setting = Self { agents: 16, coordinates: 1_000_000, dropouts: 0.0, bits: 32 };
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("n", value)) => setting.agents = value.parse()?,
                Some(("d", value)) => setting.coordinates = value.parse()?,
                Some(("drop", value)) => setting.dropouts = value.parse()?,
                Some(("w", value)) => setting.bits = value.parse()?,
                _ => return Err(format!("{part:?} is none of n=, d=, drop= and w=").into()),
            }
        }
        if !(4..=AGENTS_MAX).contains(&setting.agents) || !(0.0..=0.33).contains(&setting.dropouts)
        {
            return Err(format!("use 4 to {AGENTS_MAX} agents and drop-outs of 0 to 0.33").into());
        }
        Ok(setting)
    }
}

/// One setting.
#[derive(Serialize)]
struct Cost {
    n: usize,
    d: usize,
    dropouts: f64,
    bits: u8,
    neighbours: usize,
    agent: AgentCost,
    coordinator: CoordinatorCost,
    peak_memory_bytes: Option<u64>,
}

/// Masking beside the bare keystream.
#[derive(Serialize)]
struct Masking {
    bits: u8,
    bytes_per_s: f64,
    of_keystream_rate: f64,
}

#[derive(Serialize)]
struct Report {
    rates: Rates,
    masking: Vec<Masking>,
    costs: Vec<Cost>,
}

fn main() -> Result<(), AnyError> {
    let arguments = Arguments::parse();
    let repeats = if arguments.quick { 3 } else { 7 };
    let rates = Rates::measure(repeats)?;
    if let Some(setting) = arguments.only {
        let cost = measure(setting, &rates, repeats)?;
        match &arguments.json {
            Some(path) => write_json(path, &cost)?,
            None => print_cost(&cost),
        }
        return Ok(());
    }
    println!(
        "R = {:.2} GB/s of AES-256 keystream, {:.2} billion additions/s, {:.1} us an agreement",
        rates.keystream_bytes_per_s / 1e9,
        rates.add_per_s / 1e9,
        rates.agreement_s * 1e6
    );
    let masking = masking(&rates, repeats)?;
    let dropouts: &[f64] = if arguments.quick { &[0.05] } else { &[0.0, 0.05, 0.2] };
    let mut costs = Vec::new();
    for (agents, coordinates) in [(16, 1_000_000), (100, 1_000_000), (1000, 100_000)] {
        for dropouts in dropouts {
            let setting = Setting { agents, coordinates, dropouts: *dropouts, bits: 32 };
            let cost = measure(setting, &rates, repeats)?;
            print_cost(&cost);
            costs.push(cost);
        }
    }
    if let Some(path) = &arguments.json {
        write_json(path, &Report { rates, masking, costs })?;
    }
    Ok(())
}

fn masking(rates: &Rates, repeats: usize) -> Result<Vec<Masking>, AnyError> {
    [24, 32, 45]
        .into_iter()
        .map(|bits| {
            let setting = Setting { agents: 32, coordinates: 2_000_000, dropouts: 0.0, bits };
            let bytes_per_s = agent::masking_bytes_per_s(&Federation::new(setting)?, repeats)?;
            let of_keystream_rate = bytes_per_s / rates.keystream_bytes_per_s;
            println!(
                "masking, w = {bits}, 32 masks on 2 million coordinates: {:.2} GB/s = {:.2} R",
                bytes_per_s / 1e9,
                of_keystream_rate
            );
            Ok(Masking { bits, bytes_per_s, of_keystream_rate })
        })
        .collect()
}

fn measure(setting: Setting, rates: &Rates, repeats: usize) -> Result<Cost, AnyError> {
    clock::reset_peak_memory();
    let federation = Federation::new(setting)?;
    let (agent, vector) = agent::measure(&federation, rates, repeats)?;
    let coordinator =
        coordinator::measure(&federation, rates, &vector, agent.bytes, repeats.min(3))?;
    Ok(Cost {
        n: setting.agents,
        d: setting.coordinates,
        dropouts: setting.dropouts,
        bits: setting.bits,
        neighbours: federation.degree,
        agent,
        coordinator,
        peak_memory_bytes: clock::peak_memory_bytes(),
    })
}

fn print_cost(cost: &Cost) {
    let ms = |seconds: f64| seconds * 1e3;
    let (agent, coordinator) = (&cost.agent, &cost.coordinator);
    println!(
        "\nn = {}, d = {}, {:.0}% drop-outs, k = {}, w = {}",
        cost.n,
        cost.d,
        cost.dropouts * 100.0,
        cost.neighbours,
        cost.bits
    );
    println!(
        "  agent        mask {:9.2} ms = {:4.2} of the floor of {:.2} ms",
        ms(agent.mask_s),
        agent.mask_s / agent.floor_s,
        ms(agent.floor_s)
    );
    println!(
        "               one person {:.2}, noise {:.2}, hash and signatures {:.2}, epoch's share \
         {:.2}, in all {:.2} ms; {} bytes",
        ms(agent.quantise_s),
        ms(agent.noise_s),
        ms(agent.sign_s),
        ms(agent.setup_s),
        ms(agent.total_s),
        agent.bytes
    );
    let sum_s = coordinator.add_s + coordinator.unmask_s;
    println!(
        "  coordinator  add {:.2} + unmask {:.2} = {:.2} ms = {:4.2} of the floor of {:.2} ms",
        ms(coordinator.add_s),
        ms(coordinator.unmask_s),
        ms(sum_s),
        sum_s / coordinator.floor_s,
        ms(coordinator.floor_s)
    );
    println!(
        "               hash and signatures {:.2} ms; unmasking on {} threads {:.2} ms by the \
         clock; {} bytes received",
        ms(coordinator.verify_s),
        coordinator.threads,
        ms(coordinator.unmask_wall_s),
        coordinator.bytes_received
    );
    if let Some(bytes) = cost.peak_memory_bytes {
        println!("  peak memory  {:.0} MiB", bytes as f64 / (1 << 20) as f64);
    }
}

fn write_json(path: &std::path::Path, value: &impl Serialize) -> Result<(), AnyError> {
    let text = serde_json::to_string_pretty(value)?;
    if path.as_os_str() == "-" {
        println!("{text}");
    } else {
        std::fs::write(path, text + "\n")?;
    }
    Ok(())
}
