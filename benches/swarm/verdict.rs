//! Whether the run's results are what they must be: the ledger verifies, its survivors are those
//! who did not vanish, and every total is the sum over them.

use std::{collections::BTreeMap, fs, path::Path};

use chorale_ledger::{Entry, ReleaseEntry};
use chorale_task::Model;
use serde::{Deserialize, Serialize};

use crate::{
    Arguments, Failure,
    agent::drops_out,
    coordinator::Completed,
    federation::{model_path, number_of},
    vector::{self, Checked},
};

/// What the checks found; whatever is wrong is an error instead.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    /// Rounds that the verified ledger lists as released.
    pub(crate) ledger_released: u32,
    /// ε that the verified ledger states; absent without noise.
    pub(crate) ledger_epsilon: Option<f64>,
    /// One for each round.
    pub(crate) totals: Vec<Checked>,
}

/// A ledger line as far as it is needed here.
#[derive(Deserialize)]
struct Line {
    entry: Entry,
}

/// Checks everything that a run left behind.
///
/// # Errors
/// What is wrong.
pub(crate) fn check(
    arguments: &Arguments,
    state: &Path,
    completed: &[Completed],
) -> Result<Verdict, Failure> {
    let ledger = fs::read(state.join("ledger.jsonl"))?;
    let report = chorale_ledger::verify(&ledger, None)?;
    let mut releases: BTreeMap<u64, ReleaseEntry> = BTreeMap::new();
    for line in ledger.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if let Entry::Release(release) = serde_json::from_slice::<Line>(line)?.entry {
            releases.insert(release.round.0, *release);
        }
    }
    let rounds = arguments.rounds as usize;
    if completed.len() != rounds || releases.len() != rounds {
        let (told, written) = (completed.len(), releases.len());
        return Err(format!("{rounds} rounds, {told} reported, {written} in the ledger").into());
    }
    let mut totals = Vec::new();
    for Completed { round, survivors: told, model, .. } in completed {
        let release = releases.get(round).ok_or_else(|| format!("no release of round {round}"))?;
        let survivors: Vec<u32> = release.survivors.iter().filter_map(number_of).collect();
        if survivors.len() != *told as usize || release.survivors.len() != survivors.len() {
            return Err(format!("round {round}: the ledger names other survivors").into());
        }
        if let Some(store) = survivors.iter().find(|store| drops_out(arguments, **store, *round)) {
            return Err(format!("round {round}: store-{store} vanished and survived").into());
        }
        let model = Model::decode(&fs::read(model_path(state, model))?)?;
        let checked = vector::check(&model, &survivors, arguments.coordinates);
        totals.push(checked.map_err(|what| format!("round {round}: {what}"))?);
    }
    Ok(Verdict {
        ledger_released: report.released,
        ledger_epsilon: arguments.epsilon.map(|_| report.epsilon.best()),
        totals,
    })
}
