//! ε of every row of a table by the PLD accountant, and how long each took.
//!
//! `cargo run --release -p chorale-dp --example accounting_rate [FILE.csv]`: the table is in the
//! form of `common/dp/tests/data/dp_accounting-0.6.0.csv`, which is used without an argument. Prints
//! CSV: the row's first five columns, ε, and the fastest of five in seconds of wall clock.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/rows/mod.rs"]
#[allow(dead_code)] // tests read more of a row
mod rows;

use std::time::Instant;

use chorale_dp::accountant::pld;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = match std::env::args().nth(1) {
        Some(path) => rows::parse(&std::fs::read_to_string(path)?)?,
        None => rows::parse(rows::TABLE)?,
    };
    println!("mechanism,sigma,q,steps,delta,epsilon,seconds");
    for row in rows.iter().filter(|row| row.epsilon_pld.is_some()) {
        let mut fastest = f64::INFINITY;
        let mut epsilon = 0.0;
        for _ in 0..5 {
            let start = Instant::now();
            epsilon = pld::epsilon(&row.events, row.delta)?;
            fastest = fastest.min(start.elapsed().as_secs_f64());
        }
        println!("{},{epsilon:?},{fastest:.9}", row.key);
    }
    Ok(())
}
