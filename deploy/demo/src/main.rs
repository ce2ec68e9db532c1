//! `cargo demo`: one command trains real profiles across twelve stores and proves what it spent.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use chorale_demo::{
    plot, report,
    results::Results,
    run::{Request, run},
    setting::Setting,
};
use clap::Parser;

/// Twelve stores train one model together on this machine, as separate processes over QUIC, with
/// the gate, secure aggregation, differential privacy and the ledger in the path; then the result
/// is compared with staying alone and with pooling.
///
/// `demo coordinator …` and `demo client-agent …` are those two programs.
#[derive(Debug, Parser)]
#[command(name = "demo", version, max_term_width = 100)]
struct Arguments {
    /// Write the results as JSON for machines.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the HTML report goes.
    #[arg(long, value_name = "FILE", default_value = "demo-output/report.html")]
    report: PathBuf,
    /// Also write the first plot as an SVG file of its own.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Folder for keys, ledgers, models and logs of the run; replaced if a run made it.
    #[arg(long, value_name = "DIR", default_value = "demo-output/work")]
    work: PathBuf,
    /// The full benchmark: 99 stores, 1,847 item types. Needs
    /// `python3 tests/data/make-complete-journey.py --all` first and takes a while.
    #[arg(long)]
    full: bool,
    /// How often each private federation is run, with fresh noise each time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: u32,
    /// Run nothing: make report and plot again from the JSON of an earlier run.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["full", "runs", "work"])]
    from_json: Option<PathBuf>,
    /// No progress bars.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("coordinator") => {
            arguments.remove(0);
            return chorale_coordinator::cli::main(arguments);
        }
        Some("client-agent") => {
            arguments.remove(0);
            return chorale_client_agent::cli::main(arguments);
        }
        _ => {}
    }
    let arguments = Arguments::parse_from(arguments);
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut std::io::stderr(), &chorale_coordinator::error::explain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn execute(arguments: &Arguments) -> Result<(), AnyError> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let setting = if arguments.full { Setting::full(&checkout) } else { Setting::demo(&checkout) };
    let request = Request {
        setting,
        root: arguments.work.clone(),
        seeds: arguments.runs,
        quiet: arguments.quiet,
    };
    let results = match &arguments.from_json {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            serde_json::from_str(&text)
                .map_err(|error| format!("{} is no result of a run: {error}", path.display()))?
        }
        None => run(&request)?,
    };
    write(&arguments.report, &report::html(&results))?;
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&results)?)?;
    }
    if let Some(path) = &arguments.plot {
        write(path, &plot::standalone(&report::headline_plot(&results)))?;
    }
    conclude(&results, &arguments.report);
    Ok(())
}

fn conclude(results: &Results, report_path: &Path) {
    let mut out = std::io::stdout();
    say(&mut out, &report::table(results));
    let ledger = &results.ledger;
    say(
        &mut out,
        &format!(
            "{} rounds, {} agent(s) lost in mid-round; ledger of {}: {}, {} entries, ε = {} at δ = {}\n\
             evaluation only: each ε is a federation of its own; together they compose to more\n\
             report: {}   ({:.0} s)",
            results.rounds,
            results.dropped,
            ledger.federation,
            if ledger.verified { "verified" } else { "NOT VERIFIED" },
            ledger.entries,
            ledger.epsilon.map_or("∞".into(), |epsilon| format!("{epsilon:.4}")),
            ledger.delta.map_or("-".into(), |delta| format!("{delta:e}")),
            report_path.display(),
            results.wall_s
        ),
    );
}

fn write(path: &Path, text: &str) -> Result<(), AnyError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    std::fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// A terminal that is gone is no reason to fail: everything is in the report too.
fn say(out: &mut dyn std::io::Write, text: &str) {
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    drop(written);
}
