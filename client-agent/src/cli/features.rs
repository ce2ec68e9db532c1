//! `features list` and `features table`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Write,
    path::Path,
};

use chorale_people::{
    features::{About, Declared, Did},
    live::{LiveEvent, for_training},
};
use clap::Args;

use super::{Agent, Done, OutputError, table as columns, write_json};
use crate::{calendar, config::Config, error::Failure};

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Write the list as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TableOptions {
    /// The instants (UTC) that the values describe, such as `2017-11-01T00:00:00Z,2017-12-01`.
    /// Nothing that happened at one or later is in its values.
    #[arg(long, value_name = "INSTANTS", value_delimiter = ',', required = true, value_parser = instant)]
    at: Vec<i64>,
}

pub(super) fn list(
    config: &Path,
    options: &ListOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let features = Config::load(config)?.features;
    if options.json {
        write_json(out, &features)?;
        return Ok(Done::Well);
    }
    if features.is_empty() {
        writeln!(out, "The configuration declares no [[features]].").map_err(OutputError)?;
        return Ok(Done::Well);
    }
    let row = |feature: &Declared| {
        let [least, greatest] = feature.range;
        vec![
            feature.name.clone(),
            feature.owner.clone(),
            word(feature.purpose),
            word(feature.measure),
            word(feature.value_type()),
            format!("{least} to {greatest}"),
            feature.days.map_or_else(|| "all".into(), |days| format!("{days} days")),
            only(feature),
            format!("{} h", feature.ttl_hours),
        ]
    };
    let head = ["name", "owner", "purpose", "measure", "type", "range", "of", "only", "kept"];
    let rows: Vec<Vec<String>> =
        std::iter::once(head.map(String::from).to_vec()).chain(features.iter().map(row)).collect();
    out.write_all(columns(&rows).as_bytes()).map_err(OutputError)?;
    Ok(Done::Well)
}

/// One line of JSON for each person and instant. A feature is left out where the person's word on its
/// purpose forbids it.
pub(super) fn table(
    config: &Path,
    options: &TableOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let store = agent.store()?;
    let Agent { config, catalogue, .. } = &agent;
    store.require_ingest(&catalogue.digest(), &config.home)?;
    let purposes: BTreeSet<_> = config.features.iter().map(|feature| feature.purpose).collect();
    let mut lines: BTreeMap<_, BTreeMap<i64, BTreeMap<&str, f64>>> = BTreeMap::new();
    let items = store.live()?.items;
    let labels: HashMap<u32, &[String]> = items
        .iter()
        .filter_map(|says| Some((catalogue.index_of(&says.item)?, &*says.labels)))
        .collect();
    let about = |item| {
        let (item, labels) =
            (catalogue.item(item)?, labels.get(&item).copied().unwrap_or_default());
        Some(About { department: &item.department, category: &item.category, labels })
    };
    for purpose in purposes {
        let ask_first = config.serve.asks_first(purpose);
        let people = store.people_as(purpose, ask_first, |files, live| {
            let searches = live.iter().filter(|event| event.kind == "search");
            let searches: Vec<LiveEvent> = searches.map(|event| (*event).clone()).collect();
            let record = for_training(files.iter().copied(), live.iter().copied(), catalogue);
            (record, searches)
        })?;
        for (who, (record, live)) in people {
            let did = Did { record: &record, live: &live };
            let line = lines.entry(who).or_default();
            for at_s in &options.at {
                let end_s = config.held_out_from_s().map_or(*at_s, |end_s| end_s.min(*at_s));
                let values = line.entry(*at_s).or_default();
                for feature in config.features.iter().filter(|f| f.purpose == purpose) {
                    let value = feature.value(did, end_s, &config.cleaning.channels, about);
                    values.extend(value.map(|value| (&*feature.name, value)));
                }
            }
        }
    }
    for (who, instants) in lines {
        for (at_s, features) in instants {
            let line = serde_json::json!({
                "person": hex::encode(who.as_bytes()), "at": calendar::instant(at_s),
                "features": features,
            });
            writeln!(out, "{line}").map_err(OutputError)?;
        }
    }
    Ok(Done::Well)
}

/// What a feature is narrowed to.
fn only(feature: &Declared) -> String {
    let texts = [
        &feature.department,
        &feature.category,
        &feature.label,
        &feature.channel,
        &feature.searched,
    ];
    let hours = feature.hours.map(|[from, to]| format!("{from} to {to} h"));
    let days: Vec<String> = feature.weekdays.iter().map(word).collect();
    let days = (!days.is_empty()).then(|| days.join(" "));
    let parts: Vec<String> =
        texts.into_iter().flatten().cloned().chain(hours).chain(days).collect();
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}

/// A word as configurations have it.
fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn instant(text: &str) -> Result<i64, String> {
    calendar::parse(text).ok_or_else(|| "an instant in UTC like 2017-12-02T05:00:00Z".into())
}
