//! Links with the agents of other stores: who they are, this agent's keys, and what was disclosed.

use std::{io::Write, path::Path};

use chorale_people::hand_over::{Disclosure, LinkKeys, Linked};
use clap::Args;

use super::{Agent, Done, OutputError, table, write_json};
use crate::{
    calendar,
    error::Failure,
    keys::{Key, KeyError, KeyFile, StoreKey, create_private_dir},
    policy::{StorePolicy, VerifiedPolicy},
    run,
};

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Write the list as JSON.
    #[arg(long)]
    json: bool,
}

/// The agents that the policy links this one with; then it must be the one that the store's
/// administrator signed. A policy without links is not looked at further: a store may serve before it
/// joins a federation.
pub(super) fn linked(agent: &Agent) -> Result<Vec<Linked>, Failure> {
    if !agent.config.policy.exists() {
        return Ok(Vec::new());
    }
    let (policy, _) = StorePolicy::read(&agent.config.policy)?;
    if policy.rules().hand_over.is_empty() {
        return Ok(Vec::new());
    }
    // What it says counts only as the administrator signed it.
    let administrator = run::administrator(&agent.config)?;
    let policy = VerifiedPolicy::check(&agent.config, &administrator)?;
    Ok(policy.policy().rules().hand_over.clone())
}

/// This agent's entry for the policies of others.
pub(super) fn link(config: &Path, out: &mut dyn Write) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let key = receipt_key(&agent, &agent.store_key()?)?;
    let (seal, sign) = LinkKeys::new(&key).public();
    let name = &agent.config.agent;
    writeln!(
        out,
        "[[hand_over]]\nagent = \"{name}\"\nseal_key = \"{seal}\"\nsign_key = \"{sign}\"\n\
         give = false\ntake = false"
    )
    .map_err(OutputError)?;
    Ok(Done::Well)
}

/// Every letter to and from linked agents.
pub(super) fn disclosures(
    config: &Path,
    options: &ListOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let lines = Agent::load(config)?.store()?.live()?.disclosures;
    if options.json {
        let all: Vec<_> = lines
            .iter()
            .map(|line| {
                serde_json::json!({
                    "time": calendar::instant(line.time_s), "given": line.given,
                    "agent": line.agent, "person": hex::encode(line.person),
                    "items": line.items, "letter": line.letter,
                })
            })
            .collect();
        write_json(out, &all)?;
        return Ok(Done::Well);
    }
    let row = |line: &Disclosure| {
        vec![
            calendar::instant(line.time_s),
            if line.given { "to" } else { "from" }.to_owned(),
            line.agent.clone(),
            hex::encode(&line.person[..8]),
            line.items.to_string(),
            hex::encode(&line.letter.as_bytes()[..8]),
        ]
    };
    let header = ["time", "", "agent", "person", "items", "letter"].map(String::from).to_vec();
    let rows: Vec<_> = std::iter::once(header).chain(lines.iter().map(row)).collect();
    out.write_all(table(&rows).as_bytes()).map_err(OutputError)?;
    Ok(Done::Well)
}

/// The key that signs receipts and letters; where there is none, a new one is made and sealed as the store's
/// key is.
pub(super) fn receipt_key(agent: &Agent, store_key: &StoreKey) -> Result<Key, KeyError> {
    let path = agent.config.receipt_key_path();
    if path.exists() {
        return Key::open(&path, &agent.unlock);
    }
    if let Some(folder) = path.parent() {
        create_private_dir(folder)
            .map_err(|source| KeyError::Create { path: path.clone(), source })?;
    }
    Ok(KeyFile::create(&path, store_key.file().wrap().clone())?.into_keys().0)
}
