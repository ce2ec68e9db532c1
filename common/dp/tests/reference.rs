//! Our figures against those of Google's dp_accounting 0.6.0: every row of its table.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod rows;

use chorale_dp::{
    Rational, Rho,
    accountant::{
        event::{Event, Mechanism},
        gdp, pld, rdp, zcdp,
    },
};
use rows::Row;

fn table() -> Vec<Row> {
    let rows = rows::parse(rows::TABLE).unwrap();
    assert_eq!(rows.len(), 397);
    rows
}

fn rows_of(mechanism: &str) -> Vec<Row> {
    let rows: Vec<Row> =
        table().into_iter().filter(|row| row.mechanism.starts_with(mechanism)).collect();
    assert!(!rows.is_empty(), "no rows for {mechanism}");
    rows
}

fn pld_of(row: &Row) -> (f64, f64) {
    (pld::epsilon(&row.events, row.delta).unwrap(), row.epsilon_pld.unwrap())
}

/// Σ_steps 1/σ², exactly.
fn mu_squared(row: &Row) -> Rational {
    let sigma = Rational::from_f64_exact(row.sigma).unwrap();
    &Rational::from_integer(row.steps) / &(&sigma * &sigma)
}

/// Where the file that the table was copied from is at hand, they are the same.
#[test]
fn the_table_is_a_faithful_copy() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference/dp_reference.csv");
    let Ok(original) = std::fs::read_to_string(path) else {
        eprintln!("skipped: the original table is absent");
        return;
    };
    let ours: Vec<&str> = rows::TABLE.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(ours, original.lines().collect::<Vec<_>>());
}

#[test]
fn gaussian() {
    for row in rows_of("gaussian") {
        let (ours, theirs) = pld_of(&row);
        let label = &row.key;
        // Unsampled Gaussians have no grid: this is the exact curve.
        assert_eq!(ours, gdp::epsilon(mu_squared(&row).to_f64_up(), row.delta), "{label}");
        assert!(ours <= theirs + 1e-3 * theirs.max(1.0), "{label}: {ours} {theirs}");
        // Not below the exact value: δ at our ε is certified from above, and a hair less fails.
        let mu = mu_squared(&row).to_f64_down().sqrt().next_down();
        assert!(gdp::delta(ours * (1.0 - 1e-9), mu) > row.delta * (1.0 - 1e-12), "{label}: loose");
        assert!(ours >= theirs - 1e-2 * theirs.max(1.0), "{label}: {ours} {theirs}");
        assert!(ours <= row.epsilon_rdp.unwrap(), "{label}: above the RDP figure");
    }
}

#[test]
fn poisson_gaussian() {
    for row in rows_of("poisson_gaussian") {
        let (ours, theirs) = pld_of(&row);
        let tolerance = if theirs < 12.0 { 1e-4 } else { 1e-5 * theirs };
        assert!((ours - theirs).abs() <= tolerance, "{}: {ours} {theirs}", row.key);
        assert!(ours <= row.epsilon_rdp.unwrap(), "{}: above the RDP figure", row.key);
    }
}

#[test]
fn laplace_and_poisson_laplace() {
    for row in rows_of("laplace").into_iter().chain(rows_of("poisson_laplace")) {
        let (ours, theirs) = pld_of(&row);
        assert!((ours - theirs).abs() <= 2e-5 * theirs.max(1.0), "{}: {ours} {theirs}", row.key);
    }
}

/// Their discrete rows round every loss up to the grid of 1e-4: they may be above by that for each
/// step, and where losses lie on the grid they are exact.
#[test]
fn discrete() {
    for row in rows_of("discrete") {
        let (ours, theirs) = pld_of(&row);
        let steps = row.steps as f64;
        assert!(ours <= theirs + 2e-5 * theirs.max(1.0), "{}: {ours} {theirs}", row.key);
        assert!(ours >= theirs - 1e-4 * steps - 1e-6, "{}: {ours} {theirs}", row.key);
        if let Some(bound) = row.epsilon_rdp {
            assert!(ours <= bound, "{}: above the RDP figure", row.key);
        }
    }
}

#[test]
fn mixtures() {
    for row in rows_of("mix_") {
        let (ours, theirs) = pld_of(&row);
        assert!((ours - theirs).abs() <= 1e-4, "{}: {ours} {theirs}", row.key);
    }
}

/// Every figure that they have; the same orders.
#[test]
fn renyi() {
    for row in table() {
        let Some(theirs) = row.epsilon_rdp else { continue };
        let ours = rdp::epsilon(&row.events, row.delta).epsilon;
        // They leave out orders at which their series does not settle.
        let left_out =
            row.mechanism == "poisson_gaussian" && row.sigma == 0.5 && row.sampling == 0.1;
        assert!(ours <= theirs * (1.0 + 1e-9), "{}: {ours} {theirs}", row.key);
        if left_out {
            assert!(ours >= row.epsilon_pld.unwrap(), "{}: {ours}", row.key);
        } else {
            assert!(ours >= theirs * (1.0 - 1e-9), "{}: {ours} {theirs}", row.key);
        }
    }
}

#[test]
fn zero_concentrated() {
    for row in rows_of("zcdp") {
        let rho = Rational::from_f64_exact(row.sigma).unwrap();
        let ours = zcdp::epsilon(&Rho::new(rho.clone()).unwrap(), row.delta);
        let theirs = row.epsilon_rdp.unwrap();
        // Theirs takes the best of a fixed list of orders, ours of all of them.
        assert!(ours <= theirs + 1e-9, "ρ = {}: {ours} {theirs}", row.sigma);
        assert!(ours >= theirs * 0.99 - 0.02, "ρ = {}: {ours} {theirs}", row.sigma);
        // A continuous Gaussian is ρ-zCDP with μ² = 2ρ: no valid ε is below its own.
        assert!(ours >= gdp::epsilon(2.0 * row.sigma, row.delta), "ρ = {}: {ours}", row.sigma);
        let event = Event::new(Mechanism::Zcdp { rho }, 1).unwrap();
        assert!(ours <= rdp::epsilon(&[event], row.delta).epsilon + 1e-9, "ρ = {}", row.sigma);
    }
}
