//! The HTTP API under load, beside a static axum reply in the same run.
//!
//! `cargo run --release -p chorale-api-load -- --seconds 10`
//!
//! Server and load generator share the machine and this process. Profile reads are measured in a
//! closed loop and in turns with the static reply of the same length; recommendations in an open
//! loop at a fixed rate, each latency from the moment at which the request was due, so that a
//! server that falls behind cannot hide it.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod client;
mod shop;

use std::time::Duration;

use clap::Parser;
use serde_json::json;

use client::{Load, closed_loop, open_loop};
use shop::Shop;

/// Loads an API that it starts itself, on this machine.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Items of the catalogue.
    #[arg(long, default_value_t = 25_000)]
    items: u32,
    /// Persons, with 200 events each.
    #[arg(long, default_value_t = 2_500)]
    persons: u32,
    /// Recommendations asked for in a second.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Connections.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Turns of static reply and profile read; their median ratio counts.
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&arguments));
}

async fn measure(arguments: &Arguments) {
    let shop = Shop::start(arguments.items, arguments.persons).await;
    let time = Duration::from_secs(arguments.seconds);
    let profiles: Vec<_> = (0..arguments.persons).map(|person| shop.profile(person)).collect();
    let wishes: Vec<_> = (0..arguments.persons).map(|person| shop.wish(person)).collect();
    // Everybody's profile is made once: what is measured is reading.
    let warm = Load { address: shop.address, requests: &profiles, connections: 4 };
    closed_loop(&warm, time.max(Duration::from_secs(5))).await;
    let before = resident_mib();
    let mut ratios = Vec::new();
    let (mut reads, mut replies) = (0.0, 0.0);
    let mut failed = 0;
    for _ in 0..arguments.turns {
        let load =
            |address, requests| Load { address, requests, connections: arguments.connections };
        let fixed = vec![shop.fixed()];
        let reply = closed_loop(&load(shop.fixed_address, &fixed), time).await;
        let read = closed_loop(&load(shop.address, &profiles), time).await;
        failed += reply.failed + read.failed;
        ratios.push(read.rate() / reply.rate());
        reads += read.rate() / arguments.turns as f64;
        replies += reply.rate() / arguments.turns as f64;
    }
    let load =
        Load { address: shop.address, requests: &wishes, connections: arguments.connections };
    let wish = open_loop(&load, arguments.rate, time * 2).await;
    failed += wish.failed;
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    let ms = |share: f64| wish.latency(share).as_secs_f64() * 1e3;
    let resident = resident_mib();
    if arguments.json {
        println!(
            "{}",
            json!({"static_per_s": replies, "profiles_per_s": reads, "ratio": ratio,
                "recommend_per_s": wish.rate(), "p50_ms": ms(0.5), "p99_ms": ms(0.99),
                "p999_ms": ms(0.999), "failed": failed, "resident_mib": [before, resident]})
        );
        return;
    }
    println!("{} items, {} persons", arguments.items, arguments.persons);
    println!("static reply of the same length   {replies:10.0} a second");
    println!("profile                           {reads:10.0} a second, ratio {ratio:.2}");
    println!(
        "top 20 at {} a second             {:10.0} a second, p50 {:.2} ms, p99 {:.2} ms, \
         p99.9 {:.2} ms",
        arguments.rate,
        wish.rate(),
        ms(0.5),
        ms(0.99),
        ms(0.999)
    );
    println!("failed                            {failed:10}");
    println!("resident                          {before:10} MiB before, {resident} after");
}

/// Resident memory of this process in MiB; 0 where the system does not say.
fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096 / (1 << 20)
}
