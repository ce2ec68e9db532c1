//! The reference rows as events.

use chorale_dp::{
    Rational,
    accountant::event::{Event, Mechanism},
};

/// ε by Google's dp_accounting 0.6.0.
pub(crate) const TABLE: &str = include_str!("../data/dp_accounting-0.6.0.csv");

/// One row.
pub(crate) struct Row {
    /// Its first five columns as they are written.
    pub(crate) key: String,
    /// What kind of row: the first column up to its parameters.
    pub(crate) mechanism: String,
    /// σ, b, a or ρ; not a number for mixtures.
    pub(crate) sigma: f64,
    /// Sampling rate.
    pub(crate) sampling: f64,
    /// Compositions.
    pub(crate) steps: u64,
    /// δ.
    pub(crate) delta: f64,
    /// Their ε by PLD.
    pub(crate) epsilon_pld: Option<f64>,
    /// Their ε by RDP.
    pub(crate) epsilon_rdp: Option<f64>,
    /// What is composed.
    pub(crate) events: Vec<Event>,
}

/// Reads a table.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.skip(1).map(row).collect()
}

fn row(line: &str) -> Result<Row, Box<dyn std::error::Error>> {
    // The names of mixtures hold no comma.
    let fields: Vec<&str> = line.split(',').collect();
    let [name, sigma, sampling, steps, delta, pld, rdp] = fields[..] else {
        return Err(format!("not seven fields: {line}").into());
    };
    let number = |text: &str| text.parse::<f64>().ok();
    let (q, steps, noise) = (sampling.parse()?, steps.parse()?, number(sigma));
    let events = match name.strip_prefix("mix_") {
        Some(mixture) => parts(mixture)?,
        None => vec![single(name, noise.ok_or("no sigma")?, q, steps)?],
    };
    Ok(Row {
        key: fields[..5].join(","),
        mechanism: name.split(':').next().unwrap_or(name).to_string(),
        sigma: noise.unwrap_or(f64::NAN),
        sampling: q,
        steps,
        delta: delta.parse()?,
        epsilon_pld: number(pld),
        epsilon_rdp: number(rdp),
        events,
    })
}

fn single(
    name: &str,
    sigma: f64,
    sampling: f64,
    count: u64,
) -> Result<Event, Box<dyn std::error::Error>> {
    let after = |prefix: &str| name.strip_prefix(prefix).map(str::parse::<u64>);
    let mechanism = match name {
        "gaussian" | "poisson_gaussian" => {
            Mechanism::Gaussian { sigma, sensitivity: 1.0, sampling }
        }
        "laplace" | "poisson_laplace" => {
            Mechanism::Laplace { scale: sigma, sensitivity: 1.0, sampling }
        }
        "zcdp" => {
            let rho = Rational::from_f64_exact(sigma).ok_or("not finite")?;
            Mechanism::Zcdp { rho }
        }
        "tree_single_epoch_replace_special" => {
            return Ok(Event::tree_aggregation(sigma, 1.0, count)?);
        }
        _ => match (after("discrete_gaussian_1d_sens"), after("discrete_laplace_sens")) {
            (Some(sensitivity), _) => {
                Mechanism::DiscreteGaussian { sigma, sensitivity: sensitivity?, dimension: 1 }
            }
            (_, Some(sensitivity)) => {
                Mechanism::DiscreteLaplace { parameter: sigma, sensitivity: sensitivity? }
            }
            _ => return Err(format!("unknown mechanism {name}").into()),
        },
    };
    Ok(Event::new(mechanism, count)?)
}

/// `A: 100xGauss(s=5)+10xLaplace(b=20)`.
fn parts(mixture: &str) -> Result<Vec<Event>, Box<dyn std::error::Error>> {
    let (_, list) = mixture.split_once(": ").ok_or("no list")?;
    list.split('+')
        .map(|part| {
            let (count, rest) = part.split_once('x').ok_or("no count")?;
            let (name, rest) = rest.split_once('(').ok_or("no parameter")?;
            let first = |text: &str| -> Result<f64, Box<dyn std::error::Error>> {
                let number = text.split(')').next().and_then(|text| text.split('=').nth(1));
                Ok(number.ok_or("no number")?.parse()?)
            };
            let (name, q, sigma) = match name {
                "Gauss" => ("gaussian", 1.0, first(rest)?),
                "Laplace" => ("laplace", 1.0, first(rest)?),
                "DiscreteLaplace" => ("discrete_laplace_sens1", 1.0, first(rest)?),
                "Poisson" => {
                    let (_, inner) = rest.split_once('(').ok_or("no inner")?;
                    ("poisson_gaussian", first(rest)?, first(inner)?)
                }
                _ => return Err(format!("unknown part {part}").into()),
            };
            single(name, sigma, q, count.parse()?)
        })
        .collect()
}
