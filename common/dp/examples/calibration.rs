//! Prints what a target ε costs in noise, and what the small tolls are, for one release of a Gram
//! matrix over 1,847 product types and for ten rounds of the same length.
//!
//! `cargo run -p chorale-dp --example calibration`
#![allow(clippy::print_stdout)]

use chorale_dp::{
    Rational,
    accountant::{
        bridge::{GaussianRelease, log_factor},
        calibrate::{CalibrationRequest, Conversion, PlannedRound, calibrate},
        sampler_delta,
        sum_of_discrete_gaussians::tau,
    },
    sampler::fast::total_variation_bound,
};

const AGENTS: u32 = 99;
const CORRUPT: u32 = 10;
const SURVIVORS_MIN: u32 = 90;
const COORDINATES: u32 = 1847 * 1848 / 2;
const DELTA_LATTICE: u64 = 1 << 20;
const DELTA: f64 = 1e-5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let honest_min = SURVIVORS_MIN - CORRUPT;
    println!(
        "n = {AGENTS}, A = {CORRUPT}, T_min = {SURVIVORS_MIN}, d = {COORDINATES}, \
         Δ = 2^20 lattice units, δ = {DELTA}; z = σ/Δ"
    );
    println!(
        "{:>7} {:>3} {:>10} {:>12} {:>10} {:>12} {:>14} {:>12}",
        "rounds", "ε", "z (GDP)", "ε reported", "ε (zCDP)", "z (zCDP)", "sampler's δ", "2H"
    );
    for rounds in [1, 10] {
        for epsilon in [1.0, 2.0, 4.0, 8.0] {
            let round = PlannedRound { delta: DELTA_LATTICE, coordinates: COORDINATES, weight: 1 };
            let request = |conversion| CalibrationRequest {
                epsilon,
                delta: DELTA,
                delta_reserved: Rational::power_of_half(40),
                sampler_total_variation: total_variation_bound(),
                agents: AGENTS,
                honest_min,
                conversion,
                rounds: vec![round.clone(); rounds],
            };
            let gaussian = calibrate(&request(Conversion::Gaussian))?;
            let zcdp = calibrate(&request(Conversion::Zcdp))?;
            let z =
                |sigma_squared: &Rational| sigma_squared.to_f64_up().sqrt() / DELTA_LATTICE as f64;
            let draws = rounds as u64 * u64::from(COORDINATES);
            let sampler = sampler_delta(AGENTS, draws, &total_variation_bound(), epsilon);
            let releases: Vec<GaussianRelease> = gaussian
                .sigma_squared
                .iter()
                .map(|sigma_squared| GaussianRelease {
                    delta: DELTA_LATTICE,
                    sigma_squared: sigma_squared.clone(),
                    honest_min,
                    coordinates: COORDINATES,
                })
                .collect();
            println!(
                "{rounds:>7} {epsilon:>3} {:>10.4} {:>12.8} {:>10.4} {:>12.4} {:>14.2e} {:>12.2e}",
                z(&gaussian.sigma_squared[0]),
                gaussian.epsilon,
                gaussian.epsilon_zcdp,
                z(&zcdp.sigma_squared[0]),
                sampler.to_f64_up(),
                2.0 * log_factor(&releases)?.to_f64_up(),
            );
        }
    }
    let trace =
        &Rational::from_integer(COORDINATES) * &tau(honest_min, &Rational::from_integer(256));
    println!("τd = {:.2e} at shares of σ >= 16", trace.to_f64_up());
    Ok(())
}
