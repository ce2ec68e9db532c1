//! `data check` and `ingest`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use chorale_people::retention::Expired;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Agent, Done, OutputError, data_page, now_s, runtime, table, thousands, write_json};
use crate::{
    error::{Explain, Failure},
    ingest::{self, Ingested},
    observe::{ColumnQuality, Quality, Quarantine, Reason, SourceQuality, Wanted},
};

#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write it as a page for a browser too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct IngestOptions {
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
    /// Read every file that is there again, and forget what stood in others.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExpireOptions {
    /// Write what was taken out as JSON.
    #[arg(long)]
    json: bool,
}

/// Rows that need a repair; the report above names them.
#[derive(Debug, thiserror::Error)]
#[error("{faulty} of {rows} rows are faulty: {summary}")]
struct FaultyRows {
    faulty: u64,
    rows: u64,
    summary: String,
}

impl Explain for FaultyRows {
    fn place(&self) -> String {
        "the rows that event_sql yields, counted from 1".into()
    }

    fn remedy(&self) -> String {
        "repair these rows at their source; `client-agent ingest` leaves them out and goes on \
         while their share is at most cleaning.quarantine_max_share"
            .into()
    }
}

/// Reads everything and keeps nothing. Any faulty row makes the check fail.
pub(super) fn check(
    config: &Path,
    options: &CheckOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let spinner = spinner("reading events");
    let Agent { config, catalogue, names, .. } = &agent;
    let reading = ingest::check(config, catalogue, names, now_s(), || spinner.inc(1));
    let quality = runtime()?.block_on(reading)?;
    spinner.finish_and_clear();
    if let Some(page) = &options.html {
        let text = data_page::page(&config.agent, &quality);
        fs::write(page, text)
            .map_err(|source| data_page::PageError { path: page.clone(), source })?;
    }
    if options.json {
        write_json(out, &quality)?;
    } else {
        out.write_all(report(&quality).as_bytes()).map_err(OutputError)?;
    }
    let (faulty, rows) = (quality.faulty_rows(), quality.rows);
    if faulty > 0 {
        let summary = quality.fault_summary();
        return Err(FaultyRows { faulty, rows, summary }.into());
    }
    if quality.used == 0 {
        return Err(ingest::NothingUsed { rows }.into());
    }
    Ok(Done::Well)
}

pub(super) fn ingest(
    config: &Path,
    options: &IngestOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let store = agent.store()?;
    let spinner = spinner("reading and sealing events");
    let Agent { config, catalogue, names, .. } = &agent;
    let wanted = if options.all { Wanted::All } else { Wanted::New };
    let reading = ingest::ingest(config, catalogue, names, &store, now_s(), wanted);
    let ingested = runtime()?.block_on(reading)?;
    spinner.finish_and_clear();
    let ingest = ingested.ingest();
    if options.json {
        write_json(out, &json(&ingested)?)?;
        return Ok(Done::Well);
    }
    let kept = format!(
        "{} customers ({} at home here), in {}",
        thousands(ingest.persons),
        thousands(ingest.home_persons),
        store.path().display()
    );
    match &ingested {
        Ingested::NothingNew { .. } => writeln!(
            out,
            "Nothing new: no file changed since the last ingest.\nKept as they are: {kept}"
        ),
        Ingested::Taken { ingest, added, known, files, .. } => {
            let how = if *added { "added to what was there" } else { "read from the beginning" };
            let (files, known) = (thousands(*files as u64), thousands(*known as u64));
            write!(
                out,
                "{files} files {how}; {known} were read before\n\n{}\n\
                 Kept, pseudonymised and sealed: {kept}\n",
                report(&ingest.quality)
            )
        }
    }
    .map_err(OutputError)?;
    if !ingested.expired().is_nothing() {
        writeln!(out, "{}", said(ingested.expired())).map_err(OutputError)?;
    }
    Ok(Done::Well)
}

/// Takes out what the configured periods no longer keep.
pub(super) fn expire(
    config: &Path,
    options: &ExpireOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let agent = Agent::load(config)?;
    let store = agent.store()?;
    let spinner = spinner("looking for events whose period has ended");
    let expired = ingest::expire(&agent.config, &agent.catalogue, &store, now_s())?;
    spinner.finish_and_clear();
    if options.json {
        write_json(out, &expired)?;
    } else if agent.config.retention_days.at(0).is_none() {
        writeln!(out, "Nothing expires: the configuration has no 'retention_days'.")
            .map_err(OutputError)?;
    } else {
        writeln!(out, "{}", said(&expired)).map_err(OutputError)?;
    }
    Ok(Done::Well)
}

/// What an expiry took out, in words.
fn said(expired: &Expired) -> String {
    let Expired { events, persons, live, texts } = *expired;
    format!(
        "Past their period and gone: {} events out of files, with {} customers of whom nothing else \
         was known; {} live events; {} texts.",
        thousands(events),
        thousands(persons),
        thousands(live),
        thousands(texts)
    )
}

/// The ingest, and whether and how files were read.
fn json(ingested: &Ingested) -> Result<serde_json::Value, OutputError> {
    let mut value = serde_json::to_value(ingested.ingest()).map_err(|e| OutputError(e.into()))?;
    let reading = match ingested {
        Ingested::NothingNew { .. } => serde_json::json!({ "nothing_new": true }),
        Ingested::Taken { added, known, files, runs, .. } => serde_json::json!({
            "nothing_new": false, "added": added, "files_known": known, "files_read": files,
            "sealed_runs": runs,
        }),
    };
    value["reading"] = reading;
    value["expired"] =
        serde_json::to_value(ingested.expired()).map_err(|e| OutputError(e.into()))?;
    Ok(value)
}

/// A sign of life on a terminal; nothing where the output goes elsewhere.
fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {human_pos} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn report(quality: &Quality) -> String {
    let mut text = format!(
        "{} rows = {} used + {} set aside\n",
        thousands(quality.rows),
        thousands(quality.used),
        thousands(quality.quarantined_rows())
    );
    if quality.corrected > 0 {
        let corrected = thousands(quality.corrected);
        text.push_str(&format!(
            "{corrected} used rows were corrected or taken back by later ones\n"
        ));
    }
    for rows in [sources(quality), reasons(quality), columns(quality)] {
        if rows.len() > 1 {
            text.push('\n');
            text.push_str(&table(&rows));
        }
    }
    text
}

/// Per source, what was read; the first row names the columns.
pub(super) fn sources(quality: &Quality) -> Vec<Vec<String>> {
    let head = ["source", "files", "read before", "left for later", "rows", "malformed lines"];
    let row = |source: &SourceQuality| {
        vec![
            source.name.clone(),
            thousands(source.files),
            thousands(source.known),
            thousands(source.unsettled),
            source.rows.map_or_else(|| "not counted".into(), thousands),
            thousands(source.malformed),
        ]
    };
    headed(&head, quality.sources.iter().map(row))
}

/// Per reason, what was set aside.
pub(super) fn reasons(quality: &Quality) -> Vec<Vec<String>> {
    let row = |(reason, entry): (&Reason, &Quarantine)| {
        vec![reason.text().to_owned(), thousands(entry.rows), entry.first_rows()]
    };
    headed(&["set aside because of", "rows", "first"], quality.quarantined.iter().map(row))
}

/// Per column of the events.
pub(super) fn columns(quality: &Quality) -> Vec<Vec<String>> {
    let row = |column: &ColumnQuality| {
        let (empty, unreadable) = (thousands(column.empty), thousands(column.unreadable));
        vec![column.name.clone(), column.kind.clone(), empty, unreadable]
    };
    headed(&["column", "type", "empty", "unreadable"], quality.columns.iter().map(row))
}

fn headed(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    std::iter::once(head).chain(rows).collect()
}
