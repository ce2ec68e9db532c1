//! `data check` and `ingest`.

use std::{io::Write, path::Path, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Agent, Done, OutputError, now_s, runtime, table, thousands, write_json};
use crate::{
    error::{Explain, Failure},
    ingest,
    observe::{self, Quality},
};

#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct IngestOptions {
    /// Write the report as JSON.
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
    let quality = runtime()?.block_on(observe::observe(
        &agent.config,
        &agent.catalogue,
        &agent.names,
        now_s(),
        &mut |_| spinner.inc(1),
    ))?;
    spinner.finish_and_clear();
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
    let Agent { config, catalogue, names } = &agent;
    let ingest = runtime()?.block_on(ingest::ingest(config, catalogue, names, &store, now_s()))?;
    spinner.finish_and_clear();
    if options.json {
        write_json(out, &ingest)?;
        return Ok(Done::Well);
    }
    out.write_all(report(&ingest.quality).as_bytes()).map_err(OutputError)?;
    writeln!(
        out,
        "\nKept, pseudonymised and sealed: {} customers ({} at home here), in {}",
        thousands(ingest.persons),
        thousands(ingest.home_persons),
        store.path().display()
    )
    .map_err(OutputError)?;
    Ok(Done::Well)
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
    if !quality.quarantined.is_empty() {
        let mut rows = vec![["set aside because of", "rows", "first"].map(String::from).to_vec()];
        rows.extend(quality.quarantined.iter().map(|(reason, entry)| {
            vec![reason.text().to_owned(), thousands(entry.rows), entry.first_rows()]
        }));
        text.push('\n');
        text.push_str(&table(&rows));
    }
    let mut rows = vec![["column", "type", "empty", "unreadable"].map(String::from).to_vec()];
    rows.extend(quality.columns.iter().map(|column| {
        vec![
            column.name.clone(),
            column.kind.clone(),
            thousands(column.empty),
            thousands(column.unreadable),
        ]
    }));
    text.push('\n');
    text.push_str(&table(&rows));
    text
}
