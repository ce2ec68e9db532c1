//! Our figures against those of Google's dp_accounting, where the reference file is at hand.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;

use chorale_dp::{
    Rational, Rho,
    accountant::{gdp, zcdp},
};

struct Row {
    sigma: f64,
    steps: u32,
    delta: f64,
    epsilon_pld: Option<f64>,
    epsilon_rdp: Option<f64>,
}

/// The rows of one mechanism; `None`, with a message, where the file is absent.
fn rows(mechanism: &str) -> Option<Vec<Row>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/dp_reference.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    };
    let rows = text
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|fields| fields[0] == mechanism)
        .map(|fields| Row {
            sigma: fields[1].parse().unwrap(),
            steps: fields[3].parse().unwrap(),
            delta: fields[4].parse().unwrap(),
            epsilon_pld: fields[5].parse().ok(),
            epsilon_rdp: fields[6].parse().ok(),
        })
        .collect::<Vec<_>>();
    assert!(!rows.is_empty(), "no rows for {mechanism}");
    Some(rows)
}

/// Σ_steps 1/σ², exactly.
fn mu_squared(row: &Row) -> Rational {
    let sigma = Rational::from_f64_exact(row.sigma).unwrap();
    &Rational::from_integer(row.steps) / &(&sigma * &sigma)
}

#[test]
fn gaussian() {
    for row in rows("gaussian").unwrap_or_default() {
        let ours = gdp::epsilon(mu_squared(&row).to_f64_up(), row.delta);
        let theirs = row.epsilon_pld.unwrap();
        let label = format!("σ = {}, {} steps, δ = {}", row.sigma, row.steps, row.delta);
        assert!(ours <= theirs + 1e-3 * theirs.max(1.0), "{label}: {ours} {theirs}");
        // Not below the exact value: δ at our ε is certified from above, and a hair less fails.
        let mu = mu_squared(&row).to_f64_down().sqrt().next_down();
        assert!(gdp::delta(ours * (1.0 - 1e-9), mu) > row.delta * (1.0 - 1e-12), "{label}: loose");
        assert!(ours >= theirs - 1e-2 * theirs.max(1.0), "{label}: {ours} {theirs}");
        assert!(ours <= row.epsilon_rdp.unwrap(), "{label}: above the RDP figure");
    }
}

#[test]
fn zero_concentrated() {
    for row in rows("zcdp").unwrap_or_default() {
        let rho = Rational::from_f64_exact(row.sigma).unwrap();
        let ours = zcdp::epsilon(&Rho::new(rho).unwrap(), row.delta);
        let theirs = row.epsilon_rdp.unwrap();
        // Theirs takes the best of a fixed list of orders, ours of all of them.
        assert!(ours <= theirs + 1e-9, "ρ = {}: {ours} {theirs}", row.sigma);
        assert!(ours >= theirs * 0.99 - 0.02, "ρ = {}: {ours} {theirs}", row.sigma);
        // A continuous Gaussian is ρ-zCDP with μ² = 2ρ: no valid ε is below its own.
        assert!(ours >= gdp::epsilon(2.0 * row.sigma, row.delta), "ρ = {}: {ours}", row.sigma);
    }
}
