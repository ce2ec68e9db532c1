//! `profiles show`, `profiles refresh` and `recommend`.

use std::{io::Write, path::Path};

use clap::Args;

use super::{Agent, Done, OutputError, table, thousands, write_json};
use crate::{
    calendar,
    error::Failure,
    profiles::{self, Profile, Recommendations, Serving},
};

#[derive(Debug, Args)]
pub(super) struct ShowOptions {
    /// The customer's id as the store's own data has it; it becomes a pseudonym at once.
    person: String,
    /// Write the profile as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RecommendOptions {
    /// The customer's id as the store's own data has it; it becomes a pseudonym at once.
    person: String,
    /// How many items.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Only items that the customer has not bought here.
    #[arg(long)]
    new_only: bool,
    /// Write the answer as JSON.
    #[arg(long)]
    json: bool,
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const QUARTERS: [&str; 4] = ["0-6 h", "6-12 h", "12-18 h", "18-24 h"];

pub(super) fn show(
    config: &Path,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let store = agent.store()?;
    let who = agent.names.person(&options.person);
    let serving = Serving::load(agent.config.served(), agent.catalogue, &store)?;
    // A stored profile answers unless a newer model or live events have arrived since.
    let whole = store.whole(who, serving.catalogue())?;
    let stored = match &whole {
        Some((_, false)) => store.profile(who)?,
        _ => None,
    };
    let stored = stored.filter(|profile| profile.model.as_ref() == serving.taste().model());
    let profile = stored.or_else(|| whole.map(|(record, _)| Profile::of(&record, &serving)));
    match profile {
        Some(profile) if options.json => write_json(out, &profile)?,
        Some(profile) => out.write_all(describe(&profile).as_bytes()).map_err(OutputError)?,
        None => {
            let answer = Recommendations::of(None, &serving, 10, false);
            if options.json {
                write_json(out, &answer)?;
            } else {
                out.write_all(list(&answer).as_bytes()).map_err(OutputError)?;
            }
        }
    }
    Ok(Done::Well)
}

pub(super) fn recommend(
    config: &Path,
    options: &RecommendOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let store = agent.store()?;
    let who = agent.names.person(&options.person);
    let serving = Serving::load(agent.config.served(), agent.catalogue, &store)?;
    let record = store.whole(who, serving.catalogue())?.map(|(record, _)| record);
    let count = usize::from(options.count);
    let answer = Recommendations::of(record.as_ref(), &serving, count, options.new_only);
    if options.json {
        write_json(out, &answer)?;
    } else {
        out.write_all(list(&answer).as_bytes()).map_err(OutputError)?;
    }
    Ok(Done::Well)
}

pub(super) fn refresh(config: &Path, out: &mut dyn Write) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let store = agent.store()?;
    let made = profiles::refresh(agent.config.served(), agent.catalogue, &store)?;
    writeln!(out, "{} profiles made and sealed", thousands(made as u64)).map_err(OutputError)?;
    Ok(Done::Well)
}

fn list(answer: &Recommendations) -> String {
    let mut text = String::new();
    if let Some(note) = &answer.note {
        text.push_str(&format!("Note: {note}.\n\n"));
    }
    let mut rows = vec![["", "item", "category", "because"].map(String::from).to_vec()];
    for (position, item) in answer.items.iter().enumerate() {
        let because: Vec<&str> = item.reasons.iter().map(|reason| reason.text.as_str()).collect();
        rows.push(vec![
            (position + 1).to_string(),
            item.item.clone(),
            item.category.clone(),
            because.join("; "),
        ]);
    }
    text.push_str(&table(&rows));
    let sources: Vec<String> = answer.sources.iter().map(|source| source.to_string()).collect();
    text.push_str(&format!("\nFrom: {}\n", sources.join(", ")));
    text
}

fn describe(profile: &Profile) -> String {
    let rhythm = &profile.rhythm;
    let mut text = format!(
        "As of {}. {} baskets, {} items, {:.2} spent",
        calendar::date(profile.as_of_s),
        thousands(u64::from(rhythm.baskets)),
        thousands(u64::from(rhythm.items)),
        rhythm.amount
    );
    if rhythm.baskets > 0 {
        text.push_str(&format!(
            ", from {} to {}",
            calendar::date(rhythm.first_s),
            calendar::date(rhythm.last_s)
        ));
    }
    if let Some(period) = rhythm.period_days {
        text.push_str(&format!(", about every {period} days"));
    }
    if let Some(when) = favourite_time(&rhythm.time_of_week) {
        text.push_str(&format!(", most often {when}"));
    }
    text.push_str(".\n");
    let home = if profile.at_home { "is" } else { "is not" };
    text.push_str(&format!("This store {home} the customer's home.\n\nInterests\n"));
    let mut rows = vec![
        ["category", "department", "interest", "bought", "expected"].map(String::from).to_vec(),
    ];
    rows.extend(profile.categories.iter().map(|category| {
        let percent = |share: f32| format!("{:.1} %", 100.0 * share);
        vec![
            category.category.clone(),
            category.department.clone(),
            percent(category.interest),
            percent(category.bought),
            percent(category.expected),
        ]
    }));
    text.push_str(&table(&rows));
    text.push_str("\nFavourite items\n");
    let mut rows = vec![["item", "category", "baskets"].map(String::from).to_vec()];
    rows.extend(
        profile
            .items
            .iter()
            .map(|item| vec![item.item.clone(), item.category.clone(), item.baskets.to_string()]),
    );
    text.push_str(&table(&rows));
    if !profile.habits.is_empty() {
        text.push_str("\nBought again and again\n");
        let mut rows = vec![["item", "baskets", "every", "last", "due"].map(String::from).to_vec()];
        rows.extend(profile.habits.iter().map(|habit| {
            let overdue = if habit.overdue { " (overdue)" } else { "" };
            vec![
                habit.item.clone(),
                habit.baskets.to_string(),
                format!("{} days", habit.period_days),
                calendar::date(habit.last_s),
                format!("{}{overdue}", calendar::date(habit.due_s)),
            ]
        }));
        text.push_str(&table(&rows));
    }
    let sources: Vec<String> = profile.sources.iter().map(|source| source.to_string()).collect();
    text.push_str(&format!("\nFrom: {}\n", sources.join(", ")));
    if !profile.embedding.is_empty() {
        text.push_str(&format!(
            "Place in the space of tastes: {} numbers\n",
            profile.embedding.len()
        ));
    }
    text
}

/// The weekday and quarter of the day with most baskets.
fn favourite_time(time_of_week: &[[u32; 4]; 7]) -> Option<String> {
    let all = time_of_week.iter().enumerate().flat_map(|(day, quarters)| {
        quarters.iter().enumerate().map(move |(quarter, count)| (*count, day, quarter))
    });
    let (count, day, quarter) = all.max_by_key(|(count, ..)| *count)?;
    (count > 0).then(|| format!("{} {} UTC", WEEKDAYS[day], QUARTERS[quarter]))
}
