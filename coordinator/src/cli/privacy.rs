//! `coordinator privacy`: what mechanisms cost, for people and for machines.

mod forecast;

use std::path::{Path, PathBuf};

use chorale_dp::accountant::{
    event::{Event, EventError, Fields, Mechanism, Name},
    figure::{self, Accountant, FigureError},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::AnyError;

/// Questions about privacy that need no federation.
#[derive(Debug, Subcommand)]
pub(super) enum PrivacyCommand {
    /// The ε of a mechanism or of a plan, rounded up.
    ///
    /// The unit is one person, added or removed. A mechanism is named by its flags, or several are
    /// listed in a file, which all compose:
    ///
    ///   [{"mechanism": "poisson-gaussian", "sigma": 1.0, "sampling": 0.01, "steps": 1000},
    ///    {"mechanism": "laplace", "sigma": 20, "sensitivity": 1, "steps": 10},
    ///    {"mechanism": "zcdp", "rho": "1/8"}]
    ///
    /// Keys are the names of the flags; sensitivity and steps are 1 if absent.
    #[command(verbatim_doc_comment)]
    Epsilon {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        how: How,
    },
    /// The smallest noise with which a mechanism or a plan comes to a given ε, never above it.
    ///
    /// For one mechanism --sigma is what is sought, and is left out. For a plan, all its noise is
    /// multiplied by the same factor.
    Calibrate {
        #[command(flatten)]
        what: What,
        /// The ε to be met.
        #[arg(long, value_name = "E", value_parser = number, allow_negative_numbers = true)]
        epsilon: f64,
        #[command(flatten)]
        how: How,
    },
    /// How many rounds of which plans still fit into a budget.
    ///
    /// FILE is a federation's configuration (TOML): its plans against its cap in rho, exactly, and
    /// with --ledger against what the ledger has left. Or a list in JSON for any mechanisms:
    ///
    ///   {"epsilon": 4, "delta": 1e-5, "accountant": "pld",
    ///    "spent": [{"mechanism": "laplace", "sigma": 10}],
    ///    "plans": [{"name": "taste",
    ///               "round": [{"mechanism": "gaussian", "sigma": 5.0}]}]}
    ///
    /// Each plan is counted by itself: what is said to fit fits if no other plan runs.
    #[command(verbatim_doc_comment)]
    Forecast {
        /// The federation's configuration (.toml) or a list of plans (.json).
        #[arg(value_name = "FILE")]
        plan: PathBuf,
        /// The federation's ledger so far (JSON Lines); it is verified.
        #[arg(long, value_name = "FILE")]
        ledger: Option<PathBuf>,
        /// Print JSON for machines.
        #[arg(long)]
        json: bool,
    },
}

/// One mechanism by its flags, or a file of them.
#[derive(Debug, Args)]
pub(super) struct What {
    /// What adds the noise.
    #[arg(long, value_enum, required_unless_present = "plan", conflicts_with = "plan")]
    mechanism: Option<MechanismName>,
    /// The noise: sigma of a Gaussian, the scale b of Laplace noise, the parameter a of discrete
    /// Laplace noise (mass proportional to e^(-a|x|): a larger a is less noise).
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true, conflicts_with = "plan")]
    sigma: Option<f64>,
    /// How far one person can move the result: in L2 for Gaussian noise, in L1 for Laplace noise,
    /// a whole number for discrete noise [default: 1].
    #[arg(long, value_name = "K", value_parser = number, allow_negative_numbers = true, conflicts_with = "plan")]
    sensitivity: Option<f64>,
    /// The share of people in a round, each drawn independently and in secret; for the poisson
    /// mechanisms.
    #[arg(long, value_name = "Q", value_parser = number, allow_negative_numbers = true, conflicts_with = "plan")]
    sampling: Option<f64>,
    /// Coordinates of discrete Gaussian noise: more than one is accounted through the Gaussian
    /// bridge [default: 1].
    #[arg(long, value_name = "D", conflicts_with = "plan")]
    dimension: Option<u32>,
    /// How often the mechanism is used [default: 1].
    #[arg(long, value_name = "T", conflicts_with = "plan")]
    steps: Option<u64>,
    /// A list of mechanisms in JSON, instead of the flags.
    #[arg(long, value_name = "FILE.json")]
    plan: Option<PathBuf>,
}

/// At which δ, by which accountant, in which form.
#[derive(Debug, Args)]
pub(super) struct How {
    /// The probability with which the promise may fail, for example 1e-5; well below one over the
    /// number of people.
    #[arg(long, value_name = "D", value_parser = number, allow_negative_numbers = true)]
    delta: f64,
    /// pld: tight, for everything, delta from 1e-11. rdp: looser, for everything. gdp: exact, for
    /// Gaussian noise alone. zcdp: what ledgers add up; also for rounds chosen on the way.
    #[arg(long, value_enum, default_value_t = AccountantName::Pld)]
    accountant: AccountantName,
    /// Print JSON for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MechanismName {
    Gaussian,
    PoissonGaussian,
    Laplace,
    PoissonLaplace,
    DiscreteGaussian,
    DiscreteLaplace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AccountantName {
    Pld,
    Rdp,
    Gdp,
    Zcdp,
}

impl From<AccountantName> for Accountant {
    fn from(name: AccountantName) -> Self {
        match name {
            AccountantName::Pld => Self::Pld,
            AccountantName::Rdp => Self::Rdp,
            AccountantName::Gdp => Self::Gdp,
            AccountantName::Zcdp => Self::Zcdp,
        }
    }
}

/// Why a question has no answer. Whoever asks is to blame.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrivacyError {
    /// A file cannot be read.
    #[error("cannot read {path}: check the path and its permissions")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file is not in the form that `--help` shows.
    #[error("{path} is not in the form that `coordinator privacy {command} --help` shows")]
    Form {
        path: PathBuf,
        command: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// A mechanism's numbers are out of range.
    #[error("the mechanism cannot be accounted")]
    Event(#[from] EventError),
    /// `calibrate` was given the noise that it is to find.
    #[error("--sigma is what calibrate looks for: leave it out, or use `privacy epsilon`")]
    Sought,
    /// The accountant has no figure.
    #[error("the {accountant} accountant has no figure for this")]
    Figure {
        accountant: &'static str,
        #[source]
        source: FigureError,
    },
    /// ε is infinite.
    #[error(
        "no finite ε holds at delta = {delta}: there is too little noise for a promise, or delta \
         is too small"
    )]
    Infinite { delta: f64 },
    /// A plan's name in a forecast.
    #[error("plan '{plan}' cannot be accounted")]
    Plan {
        plan: String,
        #[source]
        source: FigureError,
    },
    /// A ledger for plans that have none.
    #[error("--ledger belongs to a federation's configuration (.toml)")]
    NoLedger,
    /// A ledger of another federation, or under another budget.
    #[error("the ledger is of federation '{ledger}' with another name or cap than '{config}'")]
    OtherLedger { ledger: String, config: String },
    /// A federation without protection.
    #[error("federation '{0}' runs without noise: there is no budget to forecast")]
    Unprotected(String),
}

/// A finite number as people write it.
fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("a number is expected, for example 0.5 or 1e-5".to_string()),
    }
}

/// What to print.
pub(super) fn answer(command: PrivacyCommand) -> Result<String, AnyError> {
    match command {
        PrivacyCommand::Epsilon { what, how } => Ok(epsilon(&what, &how)?),
        PrivacyCommand::Calibrate { what, epsilon, how } => Ok(calibrate(&what, epsilon, &how)?),
        PrivacyCommand::Forecast { plan, ledger, json } => {
            forecast::answer(&plan, ledger.as_deref(), json)
        }
    }
}

impl What {
    fn event(&self, name: MechanismName, sigma: Option<f64>) -> Result<Event, EventError> {
        let mechanism = match name {
            MechanismName::Gaussian => Name::Gaussian,
            MechanismName::PoissonGaussian => Name::PoissonGaussian,
            MechanismName::Laplace => Name::Laplace,
            MechanismName::PoissonLaplace => Name::PoissonLaplace,
            MechanismName::DiscreteGaussian => Name::DiscreteGaussian,
            MechanismName::DiscreteLaplace => Name::DiscreteLaplace,
        };
        Event::try_from(Fields {
            mechanism,
            sigma,
            sensitivity: self.sensitivity,
            sampling: self.sampling,
            dimension: self.dimension,
            rho: None,
            steps: self.steps,
        })
    }

    /// The events; `sigma` is for a mechanism named by flags.
    fn events(
        &self,
        sigma: Option<f64>,
        command: &'static str,
    ) -> Result<Vec<Event>, PrivacyError> {
        match (&self.plan, self.mechanism) {
            (Some(path), _) => parse(path, command),
            (None, Some(name)) => Ok(vec![self.event(name, sigma)?]),
            // The command line asks for one of them.
            (None, None) => Ok(Vec::new()),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    path: &Path,
    command: &'static str,
) -> Result<T, PrivacyError> {
    let text = std::fs::read(path)
        .map_err(|source| PrivacyError::Read { path: path.to_path_buf(), source })?;
    serde_json::from_slice(&text).map_err(|source| PrivacyError::Form {
        path: path.to_path_buf(),
        command,
        source,
    })
}

impl How {
    fn name(&self) -> &'static str {
        accountant_name(self.accountant.into())
    }

    fn failed(&self, source: FigureError) -> PrivacyError {
        PrivacyError::Figure { accountant: self.name(), source }
    }
}

fn accountant_name(accountant: Accountant) -> &'static str {
    match accountant {
        Accountant::Pld => "pld",
        Accountant::Rdp => "rdp",
        Accountant::Gdp => "gdp",
        Accountant::Zcdp => "zcdp",
    }
}

fn epsilon(what: &What, how: &How) -> Result<String, PrivacyError> {
    let events = what.events(what.sigma, "epsilon")?;
    let epsilon = figure::epsilon(how.accountant.into(), &events, how.delta)
        .map_err(|source| how.failed(source))?;
    if !epsilon.is_finite() {
        return Err(PrivacyError::Infinite { delta: how.delta });
    }
    let success = figure::attack_success(&events, epsilon, how.delta);
    if how.json {
        let value = json!({
            "epsilon": epsilon,
            "delta": how.delta,
            "accountant": how.name(),
            "attack_success": success,
            "events": events,
        });
        return Ok(format!("{value:#}"));
    }
    Ok(format!(
        "ε = {} at δ = {:e} ({}, rounded up)\n{}{}",
        rounded_up(epsilon),
        how.delta,
        how.name(),
        in_words(success),
        note(&events)
    ))
}

/// The figure for one coordinate is not that of a vector.
fn note(events: &[Event]) -> &'static str {
    let scalar = |event: &Event| {
        matches!(event.mechanism(), Mechanism::DiscreteGaussian { dimension: 1, .. })
    };
    if events.iter().any(scalar) {
        "\nThe discrete Gaussian noise is taken to be on one number; for a vector say --dimension."
    } else {
        ""
    }
}

fn calibrate(what: &What, target: f64, how: &How) -> Result<String, PrivacyError> {
    if what.sigma.is_some() {
        return Err(PrivacyError::Sought);
    }
    let events = what.events(Some(1.0), "epsilon")?;
    let found = figure::noise_for(how.accountant.into(), &events, target, how.delta)
        .map_err(|source| how.failed(source))?;
    let success = figure::attack_success(&found.events, found.epsilon, how.delta);
    let first = found.events.first().filter(|_| what.plan.is_none());
    let single = first.and_then(noise_of);
    if how.json {
        let value = json!({
            "sigma": single,
            "factor": found.factor,
            "epsilon": found.epsilon,
            "delta": how.delta,
            "accountant": how.name(),
            "attack_success": success,
            "events": found.events,
        });
        return Ok(format!("{value:#}"));
    }
    let noise = match single {
        Some(sigma) => format!("sigma = {sigma}"),
        None => {
            let lines: Vec<String> = found
                .events
                .iter()
                .map(|event| serde_json::to_string(event).unwrap_or_default())
                .collect();
            format!("noise times {}:\n{}", found.factor, lines.join("\n"))
        }
    };
    Ok(format!(
        "{noise}\nε = {} at δ = {:e} ({}, rounded up), at most {target}\n{}{}",
        rounded_up(found.epsilon),
        how.delta,
        how.name(),
        in_words(success),
        note(&found.events)
    ))
}

/// What `--sigma` stands for.
fn noise_of(event: &Event) -> Option<f64> {
    match event.mechanism() {
        Mechanism::Gaussian { sigma, .. } | Mechanism::DiscreteGaussian { sigma, .. } => {
            Some(*sigma)
        }
        Mechanism::Laplace { scale, .. } => Some(*scale),
        Mechanism::DiscreteLaplace { parameter, .. } => Some(*parameter),
        Mechanism::Zcdp { .. } => None,
    }
}

/// Six decimals, never below the value.
fn rounded_up(value: f64) -> String {
    let text = format!("{value:.6}");
    if text.parse::<f64>().is_ok_and(|shown| shown >= value) {
        return text;
    }
    format!("{:.6}", value + 1e-6)
}

/// An attacker's success for people.
fn in_words(success: f64) -> String {
    format!(
        "Whoever sees everything that is released, and before thought it as likely as not that a \
         person took part, guesses right at most {:.1} times in 100.",
        (success * 1000.0).ceil() / 10.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_never_below_what_is_meant() {
        assert_eq!(rounded_up(1.0), "1.000000");
        assert_eq!(rounded_up(1.000_000_1), "1.000001");
        assert_eq!(rounded_up(0.0), "0.000000");
        for value in [0.1, 1.234_567_8, 345.600_000_1, 1e-9] {
            assert!(rounded_up(value).parse::<f64>().is_ok_and(|shown| shown >= value), "{value}");
        }
    }
}
