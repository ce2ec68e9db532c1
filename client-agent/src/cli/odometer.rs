//! `person privacy`: one customer's odometer.

use std::{io::Write, path::Path};

use clap::Args;
use serde::Serialize;

use super::{Agent, Done, OutputError, table, write_json};
use crate::{
    error::Failure,
    odometer::{Odometer, PersonReading},
    policy::StorePolicy,
};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The customer's id as the store's own data has it; it becomes a pseudonym at once.
    person: String,
    /// Write the reading as JSON.
    #[arg(long)]
    json: bool,
}

/// A reading beside what the policy allows.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    reading: PersonReading,
    /// ε at `delta`, rounded up; `null` where nothing bounds it.
    epsilon: Option<f64>,
    /// The policy's δ, rounded down.
    delta: f64,
    /// What the policy allows one federation.
    epsilon_max: f64,
}

pub(super) fn show(config: &Path, options: &Options, out: &mut dyn Write) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let (policy, _) = StorePolicy::read(&agent.config.policy)?;
    let odometer =
        Odometer::new(&agent.config.data_dir, &agent.store_key()?).under(&agent.names)?;
    let reading = odometer.person(agent.names.person(&options.person))?;
    let rules = policy.rules();
    let delta = rules.delta.to_f64_down();
    let epsilon = reading.epsilon(delta);
    let answer = Answer { reading, epsilon, delta, epsilon_max: rules.epsilon_max };
    if options.json {
        write_json(out, &answer)?;
    } else {
        out.write_all(describe(&answer).as_bytes()).map_err(OutputError)?;
    }
    Ok(Done::Well)
}

fn describe(answer: &Answer) -> String {
    if answer.reading.federations.is_empty() {
        return "No vector with a part of this customer has left this store.\n".into();
    }
    let mut rows = vec![["federation", "rounds", "rho"].map(String::from).to_vec()];
    rows.extend(answer.reading.federations.iter().map(|(name, reading)| {
        let mut rho = format!("{:.9}", reading.rho.to_f64_up());
        if reading.unprotected > 0 {
            rho = format!("without noise in {} rounds", reading.unprotected);
        }
        vec![name.clone(), reading.rounds.to_string(), rho]
    }));
    let mut text = table(&rows);
    text.push_str(&match answer.epsilon {
        Some(epsilon) => format!(
            "Together at most ε = {:.4} at δ = {:.1e}; everybody is promised ε = {} by this store's \
             policy.\n",
            (epsilon * 1e4).ceil() / 1e4,
            answer.delta,
            answer.epsilon_max
        ),
        None => "Nothing bounds what rounds without noise show.\n".into(),
    });
    text.push_str("This reading depends on the customer's purchases: show it to nobody else.\n");
    text
}
