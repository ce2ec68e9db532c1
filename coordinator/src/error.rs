//! Why a coordinator stopped.

use std::path::PathBuf;

use chorale_wire::RoundNumber;

use crate::{
    calibrate::CalibrateError, changes::ChangeError, ledger_file::LedgerFileError,
    sign_off::SignOffError, state::StateError,
};

/// Everything that stops a running federation. Each says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file of the federation cannot be used.
    #[error("cannot {action} {path}: check the path and its permissions")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The coordinator has no keys yet.
    #[error(
        "{path} does not hold the coordinator's keys: run `coordinator ca create`, or restore them"
    )]
    Keys {
        /// The folder.
        path: PathBuf,
        /// What is missing or broken.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The declared catalogue cannot be read.
    #[error("the catalogue {path} cannot be used: correct the file")]
    Catalogue {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: chorale_task::CatalogueError,
    },
    /// The ledger on disk does not verify.
    #[error("the ledger {path} does not verify: restore it from a backup; nothing was changed")]
    Ledger {
        /// The file.
        path: PathBuf,
        /// The entry and what is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ledger refuses an entry, most often because the budget is used up.
    #[error("the ledger refuses the next entry: no further round can run under this budget")]
    Refused(#[source] chorale_ledger::LedgerError),
    /// The ledger refuses to end a round that it does not hold open.
    #[error("the ledger does not know this round as open")]
    Rule(#[source] chorale_ledger::Violation),
    /// The ledger on disk belongs to other rules than the configuration.
    #[error(
        "the ledger {path} was begun with another {what}: use another state folder for another federation"
    )]
    OtherFederation {
        /// The ledger.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// A change of the promise cannot be read.
    #[error("a change of the ledger's promise cannot be used")]
    Change(#[from] ChangeError),
    /// The catalogue was changed in the middle of a plan.
    #[error(
        "the catalogue was changed while plan {plan} had done {steps} of its rounds: let the plan end \
         under the old catalogue first"
    )]
    CatalogueMidPlan {
        /// The plan, counted from 1.
        plan: u32,
        /// Its rounds that are done.
        steps: u32,
    },
    /// A plan is not signed off.
    #[error("a plan may not run")]
    SignOff(#[from] SignOffError),
    /// The ledger file failed.
    #[error(transparent)]
    LedgerFile(#[from] LedgerFileError),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A plan cannot be calibrated.
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    /// A plan names no runnable task.
    #[error("a plan cannot run: correct its [[plan]] section")]
    Task(#[from] chorale_task::TaskError),
    /// A plan cannot be encoded.
    #[error("a plan cannot run: correct its [[plan]] section")]
    Plan(#[from] chorale_plan::PlanError),
    /// A round of a plan is not admissible.
    #[error("a round cannot run: correct the plan or the cohort rule")]
    Spec(#[from] chorale_plan::SpecError),
    /// The round machine does not open a round.
    #[error("a round cannot be opened")]
    Open(#[from] chorale_round::coordinator::OpenRoundError),
    /// The model cannot be used.
    #[error("the global model cannot be used")]
    Model(#[from] chorale_task::ModelError),
    /// A total could not be put into the model.
    #[error("a round's total could not be put into the model")]
    Update(#[from] chorale_task::UpdateError),
    /// A total is malformed.
    #[error("a round's total cannot be used")]
    Total(#[from] chorale_task::TotalError),
    /// The state cannot be encoded.
    #[error("the optimiser's state cannot be stored")]
    Encode(#[from] chorale_wire::EncodeError),
    /// The state cannot be decoded.
    #[error("the optimiser's stored state cannot be read")]
    Decode(#[from] chorale_wire::DecodeError),
    /// A membership that the round machine verified cannot be written down: a defect.
    #[error("a membership of the epoch's roster cannot be written into the ledger")]
    Roster(#[source] chorale_wire::DecodeError),
    /// The network part failed.
    #[error("the network cannot be used: check the listen address and the certificates")]
    Bind(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The network part stopped by itself.
    #[error("the network part stopped: start the coordinator again")]
    Network,
    /// No epoch could be set up.
    #[error("no epoch could be set up in {attempts} attempts: {reason}")]
    Epoch {
        /// Attempts made.
        attempts: u32,
        /// The last reason.
        reason: String,
    },
    /// A round was aborted too often.
    #[error("round {round} of plan '{spec}' was aborted and no attempt is left: {reason}")]
    Round {
        /// The last attempt's round.
        round: RoundNumber,
        /// The plan.
        spec: String,
        /// Why.
        reason: String,
    },
    /// A round's canary lanes show too little noise.
    #[error(
        "round {round}: its canary lanes show less noise than its survivors owe, so at least one of \
         them did not add its share. The round is charged; no model made from it leaves the \
         coordinator. Find out which agent it is, then set noise_acknowledged = {round} in the \
         configuration and start again"
    )]
    NoiseShort {
        /// The round.
        round: RoundNumber,
    },
    /// The operator acknowledges what did not happen.
    #[error(
        "noise_acknowledged is {acknowledged}, and that is not the last round whose noise was \
         short: name that round, or take the line out where there is none"
    )]
    NoiseNotShort {
        /// What the configuration says.
        acknowledged: u64,
    },
    /// The operating system gives no randomness.
    #[error("no coins for the canary lanes: the operating system gives no randomness")]
    Randomness(#[source] getrandom::Error),
    /// There is nothing left to run.
    #[error("all plans of the programme are done")]
    ProgrammeOver,
}

/// The error and its causes on one line each, for people.
#[must_use]
pub fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("error: {error}");
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !said.contains(&next) {
            text.push_str(&format!("\n  because: {next}"));
        }
        said = next;
        cause = error.source();
    }
    text
}
