//! Attacks on what a federation releases, without and with noise: was somebody in, and what did
//! they buy? Beside each stands what the proof allows.
//!
//! `cargo bench -p chorale-benches --bench attacks -- --out docs/attacks`
#![allow(missing_docs, clippy::print_stdout)]

mod chart;
mod data;
mod membership;
mod reconstruction;
mod round;

use std::path::PathBuf;

use chorale_dp::Aes256CtrRng;
use chorale_task::Model;
use clap::Parser;
use rand_core::SeedableRng as _;
use serde::Serialize;

use crate::{
    chart::{Curve, draw},
    data::Data,
    membership::{Attacked, Outsider, Share, bound, insider},
    reconstruction::{Found, attack},
};

pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Attacks totals and models at several ε and prints how often they succeed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Guesses of the attacker who knows all others, for each task and ε.
    #[arg(long, default_value_t = 20_000)]
    guesses: u64,
    /// Models trained for the attacker who knows only the model, for each task and ε.
    #[arg(long, default_value_t = 12)]
    models: u32,
    /// Households to be reconstructed, for each task and ε.
    #[arg(long, default_value_t = 60)]
    targets: usize,
    /// Folder for the plots and the figures as JSON; without it, only the tables are printed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of all coins and noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// All figures at one ε.
#[derive(Debug, Serialize)]
struct Row {
    epsilon: Option<f64>,
    bound: f64,
    insider_popularity: Share,
    insider_cooccurrence: Share,
    outsider_popularity: Share,
    outsider_cooccurrence: Share,
    reconstructed_popularity: Found,
    reconstructed_cooccurrence: Found,
}

fn main() -> Result<(), AnyError> {
    let arguments = Arguments::parse();
    let data = Data::read()?;
    let model = Model::for_catalogue(&data.catalogue)?;
    println!("{} households, {} item types", data.households.len(), data.catalogue.len());
    let mut coins = Aes256CtrRng::seed_from_u64(arguments.seed);
    let rows = [None, Some(8.0), Some(4.0), Some(2.0), Some(1.0)]
        .map(|epsilon| row(&arguments, &data, &model, epsilon, &mut coins))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    print(&rows);
    if let Some(folder) = &arguments.out {
        // Cargo runs benchmarks in the package's folder; people mean the repository's.
        let folder = &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        std::fs::create_dir_all(folder)?;
        plot(folder, &rows)?;
        let figures = serde_json::to_string_pretty(&rows)? + "\n";
        std::fs::write(folder.join("attacks.json"), figures)?;
    }
    Ok(())
}

fn row(
    arguments: &Arguments,
    data: &Data,
    model: &Model,
    epsilon: Option<f64>,
    coins: &mut Aes256CtrRng,
) -> Result<Row, AnyError> {
    let outsider = Outsider { data, start: model, repeats: arguments.models };
    let mut inside = |task| insider(data, model, task, epsilon, arguments.guesses, coins);
    let (insider_popularity, insider_cooccurrence) =
        (inside("popularity")?, inside("cooccurrence")?);
    let mut outside = |task| outsider.area(task, epsilon, coins);
    let (outsider_popularity, outsider_cooccurrence) =
        (outside(Attacked::Popularity)?, outside(Attacked::Cooccurrence)?);
    let mut rebuild = |task| attack(data, model, task, epsilon, arguments.targets, coins);
    Ok(Row {
        epsilon,
        bound: bound(epsilon),
        insider_popularity,
        insider_cooccurrence,
        outsider_popularity,
        outsider_cooccurrence,
        reconstructed_popularity: rebuild("popularity")?,
        reconstructed_cooccurrence: rebuild("cooccurrence")?,
    })
}

fn name(epsilon: Option<f64>) -> String {
    epsilon.map_or_else(|| "no noise".into(), |epsilon| format!("ε = {epsilon}"))
}

fn print(rows: &[Row]) {
    println!(
        "\nWas this household in? Share of right guesses from an even prior; 0.5 is a coin.\n"
    );
    println!(
        "| | proven bound | knows all others: popularity | co-occurrence | knows the model only (area under the curve): popularity | co-occurrence |"
    );
    println!("|---|---|---|---|---|---|");
    for row in rows {
        let share = |it: &Share| format!("{:.3} [{:.3}, {:.3}]", it.value, it.low, it.high);
        println!(
            "| {} | {:.3} | {} | {} | {} | {} |",
            name(row.epsilon),
            row.bound,
            share(&row.insider_popularity),
            share(&row.insider_cooccurrence),
            share(&row.outsider_popularity),
            share(&row.outsider_cooccurrence),
        );
    }
    println!("\nWhat did it buy? Share of its items found by one who knows all others.\n");
    println!("| | popularity | co-occurrence | naming the most popular items |");
    println!("|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {:.3} | {:.3} | {:.3} |",
            name(row.epsilon),
            row.reconstructed_popularity.attacked,
            row.reconstructed_cooccurrence.attacked,
            row.reconstructed_popularity.guessed,
        );
    }
}

fn plot(folder: &std::path::Path, rows: &[Row]) -> Result<(), AnyError> {
    let labels: Vec<String> = rows.iter().map(|row| name(row.epsilon)).collect();
    let curve = |name, proven, value: &dyn Fn(&Row) -> f64| Curve {
        name,
        values: rows.iter().map(value).collect(),
        proven,
    };
    draw(
        &folder.join("membership.svg"),
        "Was this household in? Guessing from an even prior",
        "share of right guesses; 0.5 is a coin",
        &labels,
        0.45..1.02,
        &[
            curve("proven bound", true, &|row| row.bound),
            curve("knows all others, popularity", false, &|row| row.insider_popularity.value),
            curve("knows all others, co-occurrence", false, &|row| row.insider_cooccurrence.value),
            curve("knows the model only, co-occurrence (area)", false, &|row| {
                row.outsider_cooccurrence.value
            }),
        ],
    )?;
    draw(
        &folder.join("reconstruction.svg"),
        "What did this household buy? Known: all other households",
        "share of its items found",
        &labels,
        0.0..1.02,
        &[
            curve("naming the most popular items", true, &|row| {
                row.reconstructed_popularity.guessed
            }),
            curve("popularity", false, &|row| row.reconstructed_popularity.attacked),
            curve("co-occurrence", false, &|row| row.reconstructed_cooccurrence.attacked),
        ],
    )
}
