//! Tests whose executable is also the programs that they run, which the usual harness cannot be.

use std::{
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

/// A test by its name.
pub type Case = (&'static str, fn());

/// Runs those whose name holds `filter` one after the other, and says what became of each, as the usual
/// harness does; an argument that begins with `-` is meant for that and filters nothing.
#[must_use]
pub fn run_cases(cases: &[Case], filter: Option<&str>) -> ExitCode {
    let filter = filter.filter(|text| !text.starts_with('-')).unwrap_or_default();
    let mut failed = 0;
    let mut out = std::io::stderr();
    for (name, case) in cases.iter().filter(|(name, _)| name.contains(filter)) {
        let outcome = catch_unwind(AssertUnwindSafe(case));
        failed += u32::from(outcome.is_err());
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        writeln!(out, "test {name} ... {word}").unwrap();
    }
    ExitCode::from(u8::from(failed > 0))
}
