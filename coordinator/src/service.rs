//! From a configuration to a running federation.

use std::{fmt, pin::Pin};

use chorale_dp::{Rational, Rho};
use chorale_plan::{Derived, Mechanism, Plan, RoundSpec};
use chorale_task::Catalogue;
use chorale_transport::server::{Server, ServerConfig};
use chorale_wire::{AgentId, Digest, Epoch, RoundNumber, SecretKey};
use serde::Serialize;

use crate::{
    canaries,
    caps::{self, CapForecast, PlanCost},
    config::Config,
    driver::{Driver, Parts, now_s},
    enrolment,
    error::RunError,
    events::{Event, Reporter},
    programme::Programme,
    records::Records,
    recover::recover,
    sign_off::SignOffs,
    state::{Position, State},
};

/// How a federation runs.
#[derive(Debug)]
pub struct Options {
    /// End when all plans are done.
    pub exit_when_done: bool,
    /// Where events go.
    pub reporter: Reporter,
}

/// Runs a federation until it is done (with [`Options::exit_when_done`]), `shutdown` resolves or
/// an error stops it.
///
/// # Errors
/// [`RunError`] says what stopped it and what to do.
pub fn serve(
    config: Config,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Running {
    // Without type parameters, so that its code is made in this crate and not in every program.
    Box::pin(run(config, options, Box::pin(shutdown)))
}

/// A federation that runs once it is polled.
pub type Running = Pin<Box<dyn Future<Output = Result<(), RunError>> + Send>>;

/// Resolves when it is to stop.
pub(crate) type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn run(config: Config, options: Options, shutdown: Shutdown) -> Result<(), RunError> {
    let (keys, credentials, authority) = enrolment::coordinator_keys(&config.keys)?;
    let key = SecretKey::from_seed(&keys.identity().to_seed());
    let programme = programme(&config)?;
    // Plans that cannot run, or cost too much together, are refused before the first agent comes.
    forecast(&config)?;
    let plans = programme.plans()?;
    let sign_offs = SignOffs::open(&config)?;
    for plan in &plans {
        sign_offs.of(plan)?;
    }
    let state = State::open(&config.state)?;
    let ledger = config.state.join("ledger.jsonl");
    let compliance = sign_offs.compliance();
    let mut records =
        Records::open(&ledger, &config, &programme, &key, authority, compliance, now_s())?;
    let (position, model) = recover(&state, &mut records, &programme, &key)?;
    canaries::check_acknowledged(records.noise_short(), config.noise_acknowledged)?;
    let admit = |_: &AgentId, _: &Digest| true;
    let mut bounds =
        ServerConfig::new(config.listen, credentials.clone(), std::sync::Arc::new(admit));
    if let Some(connections) = config.connections_per_address {
        bounds.connections_per_address_max = connections;
    }
    let (server, events) =
        Server::bind(bounds).map_err(|source| RunError::Bind(Box::new(source)))?;
    let _enrolment = match config.enrolment_listen {
        Some(address) => Some(enrolment::listen(
            address,
            credentials,
            &config.state,
            config.enrolments_per_minute,
        )?),
        None => None,
    };
    options.reporter.report(&Event::Listening {
        // The port is the system's choice where 0 was asked for.
        agents: server.local_address().unwrap_or(config.listen).to_string(),
        enrolment: config.enrolment_listen.map(|address| address.to_string()),
    });
    let driver = Driver::new(Parts {
        programme,
        key,
        authority,
        state,
        records,
        sign_offs,
        server,
        reporter: options.reporter,
        position,
        model,
        config,
    })?;
    driver.run(events, options.exit_when_done, shutdown).await
}

/// Every plan of a configuration as it will run.
///
/// # Errors
/// [`RunError`] when a plan cannot run.
pub(crate) fn plans(config: &Config) -> Result<Vec<Plan>, RunError> {
    programme(config)?.plans()
}

fn programme(config: &Config) -> Result<Programme, RunError> {
    let path = &config.catalogue;
    let bytes = std::fs::read(path).map_err(|source| RunError::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let catalogue = Catalogue::read_csv(&bytes)
        .map_err(|source| RunError::Catalogue { path: path.clone(), source })?;
    Ok(Programme::new(config.clone(), catalogue))
}

/// What a programme would cost, before anything runs.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast {
    /// The federation.
    pub federation: String,
    /// The promise, for example `ε = 4, δ = 1/100000` or `unprotected`.
    pub promise: String,
    /// The cap in ρ, exactly; absent without protection.
    pub cap_rho: Option<Rational>,
    /// Caps over windows and families, with what the programme needs of each.
    pub caps: Vec<CapForecast>,
    /// How one person at several stores is bounded, in words.
    pub identity: String,
    /// One line per plan.
    pub plans: Vec<PlanForecast>,
    /// ρ of all plans together, exactly; absent without protection.
    pub total_rho: Option<Rational>,
}

/// What one plan would cost.
#[derive(Clone, Debug, Serialize)]
pub struct PlanForecast {
    /// Its name.
    pub name: String,
    /// Its task.
    pub task: String,
    /// Its rounds.
    pub rounds: u32,
    /// Coordinates of its vector.
    pub coordinates: u32,
    /// Canary lanes behind them.
    pub canary_lanes: u32,
    /// Δ in lattice units.
    pub delta: u64,
    /// Noise multiplier z = σ/Δ that T_min - A honest survivors carry; absent without noise.
    pub noise_multiplier: Option<f64>,
    /// Modulus bits.
    pub modulus_bits: u8,
    /// Megabytes that one agent sends in one round.
    pub megabytes: f64,
    /// ρ of all its rounds, exactly; absent without noise.
    pub rho: Option<Rational>,
}

/// Computes what a configuration would run and spend.
///
/// # Errors
/// [`RunError`] when a plan cannot run.
pub fn forecast(config: &Config) -> Result<Forecast, RunError> {
    let programme = programme(config)?;
    let model = programme.initial_model()?;
    let mut plans = Vec::new();
    let mut total = Rational::zero();
    for (index, plan) in programme.plans()?.into_iter().enumerate() {
        let position = Position { plan: index as u32, ..Position::default() };
        let (_, task) = programme.current(&position, &model)?;
        let spec = RoundSpec {
            federation: config.federation.clone(),
            epoch: Epoch(1),
            round: RoundNumber(1),
            key_index: 0,
            step: 0,
            shape: task.shape(&model),
            model: model.digest()?,
            ready_within_ms: config.timing.ready_ms,
            upload_within_ms: config.timing.upload_ms,
            keystream: config.keystream,
            sign_off: None,
            plan,
        };
        let derived = spec.derive(config.agents)?;
        let line = plan_forecast(&spec, &derived);
        if let Some(rho) = &line.rho {
            total = &total + rho;
        }
        plans.push(line);
    }
    let costs: Vec<PlanCost<'_>> = plans
        .iter()
        .filter_map(|line: &PlanForecast| {
            let rounds = line.rounds;
            let each = line.rho.as_ref()? / &Rational::from_integer(rounds);
            Some(PlanCost {
                plan: &line.name,
                task: &line.task,
                rounds,
                each: Rho::new(each).ok()?,
            })
        })
        .collect();
    let caps = caps::forecast(programme.caps(), &costs)?;
    let cap_rho = programme.cap().map(|cap| cap.as_rational().clone());
    Ok(Forecast {
        federation: config.federation.to_string(),
        promise: match config.privacy.epsilon {
            Some(epsilon) => format!("ε = {epsilon}, δ = {}", config.privacy.delta),
            None => "unprotected, ε = ∞".into(),
        },
        total_rho: cap_rho.is_some().then_some(total),
        cap_rho,
        caps,
        identity: match config.stores_max {
            None => "at one store, their home, with all of the bound".into(),
            Some(stores) => {
                format!("at up to {stores} stores, at each with 1/{stores} of the bound")
            }
        },
        plans,
    })
}

fn plan_forecast(spec: &RoundSpec, derived: &Derived) -> PlanForecast {
    let coordinates = spec.shape.coordinates;
    let noise_multiplier = match &spec.plan.mechanism {
        Mechanism::DiscreteGaussian { sigma_squared, .. } => {
            Some(sigma_squared.to_f64_up().sqrt() / derived.delta as f64)
        }
        Mechanism::Unprotected => None,
    };
    PlanForecast {
        name: spec.plan.name.clone(),
        task: spec.plan.task.name.clone(),
        rounds: spec.plan.rounds,
        coordinates,
        canary_lanes: spec.plan.canary_lanes,
        delta: derived.delta,
        noise_multiplier,
        modulus_bits: derived.modulus_bits,
        megabytes: spec.vector_length() as f64 * f64::from(derived.modulus_bits) / 8e6,
        rho: derived
            .rho
            .as_ref()
            .map(|rho| rho.as_rational() * &Rational::from_integer(spec.plan.rounds)),
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "federation {}: {}", self.federation, self.promise)?;
        writeln!(
            f,
            "{:<24} {:<22} {:>6} {:>12} {:>8} {:>6} {:>10} {:>10}",
            "plan", "task", "rounds", "coordinates", "z", "bits", "MB/round", "rho"
        )?;
        for plan in &self.plans {
            writeln!(
                f,
                "{:<24} {:<22} {:>6} {:>12} {:>8} {:>6} {:>10.2} {:>10}",
                plan.name,
                plan.task,
                plan.rounds,
                plan.coordinates,
                plan.noise_multiplier.map_or("none".into(), |z| format!("{z:.3}")),
                plan.modulus_bits,
                plan.megabytes,
                plan.rho.as_ref().map_or("-".into(), |rho| format!("{:.5}", rho.to_f64_up())),
            )?;
        }
        writeln!(f, "a person counts {}", self.identity)?;
        for line in &self.caps {
            let covered = line.covered_rho.to_f64_up();
            write!(f, "cap {}: rho {covered:.6} falls under it", line.cap)?;
            match (line.cap.days, line.windows) {
                (Some(days), windows) if windows > 1 => {
                    let wait = u64::from(days) * (windows - 1);
                    writeln!(f, "; it takes at least {wait} days")?;
                }
                _ => writeln!(f, ": fits")?,
            }
        }
        match (&self.total_rho, &self.cap_rho) {
            (Some(total), Some(cap)) => write!(
                f,
                "rho of all plans {:.6} of a cap of {:.6}: {}",
                total.to_f64_up(),
                cap.to_f64_down(),
                if total <= cap { "fits" } else { "DOES NOT FIT" }
            ),
            _ => write!(f, "no noise: every agent's own policy must allow it"),
        }
    }
}
