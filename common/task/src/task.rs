//! What a task is, and which tasks there are.

use std::collections::BTreeMap;

use chorale_dp::Rational;
use chorale_plan::{PersonSink, Plan, Shape, SinkError};
use serde::{Deserialize, Serialize};

use crate::{
    Cooccurrence, MatrixFactorisation, Model, ModelError, NoisyTotal, People, Popularity, Tensor,
};

/// A computation that is a sum of per-person vectors.
pub trait Task: Send + Sync {
    /// The name that plans use.
    fn name(&self) -> &'static str;

    /// Length of the vector and the L2 bound of one person's part for a round on `model`.
    fn shape(&self, model: &Model) -> Shape;

    /// Hands one part of L2 norm at most the shape's clip to `out` for each person. Runs at the
    /// agent. A part depends on the model and on that person alone, never on who else is there.
    ///
    /// # Errors
    /// [`ContributeError`] when the model lacks what the task needs or the sink refuses. Never
    /// because of what a person's records hold: those are cleaned.
    fn contribute(
        &self,
        model: &Model,
        people: &mut dyn People,
        out: &mut dyn PersonSink,
    ) -> Result<(), ContributeError>;

    /// What the noisy total does to the model. Runs at the coordinator, which alone keeps
    /// `progress`; a plan starts with the default.
    ///
    /// # Errors
    /// [`UpdateError`] when the total has another length than the shape or the model does not fit.
    fn update(
        &self,
        model: Model,
        progress: Progress,
        total: &NoisyTotal,
    ) -> Result<Next, UpdateError>;
}

/// State of a plan between its rounds, kept by the coordinator and never sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Rounds of the plan already in the model.
    pub step: u32,
    /// The optimiser's state by name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// What follows a round.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Another round on this model.
    Round(Model, Progress),
    /// The plan is complete.
    Done(Model),
}

/// Why a plan names no runnable task. The plan's author is to blame in every variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// No such task.
    #[error("plan '{plan}': there is no task '{task}'; the tasks are {known}")]
    Unknown {
        /// The plan's name.
        plan: String,
        /// The task asked for.
        task: String,
        /// The tasks there are.
        known: String,
    },
    /// A parameter that the task does not have.
    #[error("task '{task}' has no parameter '{parameter}'; it has: {known}")]
    UnknownParameter {
        /// The task.
        task: &'static str,
        /// The parameter given.
        parameter: String,
        /// The parameters the task has.
        known: String,
    },
    /// A parameter of the wrong kind or out of range.
    #[error("task '{task}': parameter '{parameter}' must be {expected}")]
    Parameter {
        /// The task.
        task: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// What it must be.
        expected: String,
    },
    /// The task needs another number of rounds.
    #[error("task '{task}' runs for {expected}, the plan has {rounds}")]
    Rounds {
        /// The task.
        task: &'static str,
        /// What is possible.
        expected: &'static str,
        /// The plan's rounds.
        rounds: u32,
    },
    /// The catalogue is too large for the task's vector.
    #[error("task '{task}': {items} items need a vector of more than {limit} coordinates{hint}")]
    TooManyItems {
        /// The task.
        task: &'static str,
        /// The items asked for.
        items: usize,
        /// Most coordinates of a vector.
        limit: usize,
        /// What to do.
        hint: &'static str,
    },
}

/// Why an agent could not compute its parts.
#[derive(Debug, thiserror::Error)]
pub enum ContributeError {
    /// The coordinator's model does not fit the task.
    #[error("the model does not fit task '{task}'")]
    Model {
        /// The task.
        task: &'static str,
        /// What is wrong with the model.
        #[source]
        source: ModelError,
    },
    /// The sink refused a part.
    #[error("a person's part was refused")]
    Sink(#[from] SinkError),
}

/// Why a total could not be put into the model. The driver is to blame in every variant.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The model does not fit the task, or would break its limits.
    #[error("the model does not fit task '{task}'")]
    Model {
        /// The task.
        task: &'static str,
        /// What is wrong with the model.
        #[source]
        source: ModelError,
    },
    /// A total of another round or task.
    #[error("task '{task}' expects a total of {expected} coordinates, got {found}")]
    Length {
        /// The task.
        task: &'static str,
        /// Coordinates of the shape.
        expected: usize,
        /// Coordinates of the total.
        found: usize,
    },
    /// The plan has run all its rounds already.
    #[error("task '{task}' is complete after {rounds} rounds")]
    Complete {
        /// The task.
        task: &'static str,
        /// The plan's rounds.
        rounds: u32,
    },
}

/// The task that `plan` names, over a catalogue of `items` items.
///
/// # Errors
/// [`TaskError`] names the task or the parameter that is wrong; an unknown parameter is wrong too,
/// because a mistyped name would otherwise run with a default.
pub fn from_plan(plan: &Plan, items: usize) -> Result<Box<dyn Task>, TaskError> {
    match plan.task.name.as_str() {
        Popularity::NAME => Ok(Box::new(Popularity::from_plan(plan, items)?)),
        Cooccurrence::NAME => Ok(Box::new(Cooccurrence::from_plan(plan, items)?)),
        MatrixFactorisation::NAME => Ok(Box::new(MatrixFactorisation::from_plan(plan, items)?)),
        other => Err(TaskError::Unknown {
            plan: plan.name.clone(),
            task: other.to_owned(),
            known: [Popularity::NAME, Cooccurrence::NAME, MatrixFactorisation::NAME].join(", "),
        }),
    }
}

/// Reads a task's parameters and names the one that is wrong.
pub(crate) struct ParameterReader<'a> {
    task: &'static str,
    plan: &'a Plan,
}

impl<'a> ParameterReader<'a> {
    /// Refuses parameters other than `known`.
    pub(crate) fn new(
        task: &'static str,
        plan: &'a Plan,
        known: &[&str],
    ) -> Result<Self, TaskError> {
        let mut names = plan.task.parameters.0.keys();
        match names.find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(TaskError::UnknownParameter {
                task,
                parameter: unknown.clone(),
                known: known.join(", "),
            }),
            None => Ok(Self { task, plan }),
        }
    }

    /// A whole number from `low` to `high`; it must be given if there is no default.
    pub(crate) fn integer(
        &self,
        name: &'static str,
        default: Option<i64>,
        low: i64,
        high: i64,
    ) -> Result<i64, TaskError> {
        // A value below every range stands for "absent and without default".
        let value = self.plan.task.parameters.integer(name, default.unwrap_or(i64::MIN));
        match value {
            Some(value) if (low..=high).contains(&value) => Ok(value),
            _ => Err(self.wrong(name, format!("a whole number from {low} to {high}"))),
        }
    }

    /// A real number from `low` to `high`.
    pub(crate) fn real(
        &self,
        name: &'static str,
        default: f64,
        low: f64,
        high: f64,
    ) -> Result<f64, TaskError> {
        match self.plan.task.parameters.real(name, default) {
            Some(value) if (low..=high).contains(&value) => Ok(value),
            _ => Err(self.wrong(name, format!("a number from {low} to {high}"))),
        }
    }

    /// One of the `choices`.
    pub(crate) fn choice<T>(
        &self,
        name: &'static str,
        default: &str,
        choices: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, TaskError> {
        let text = self.plan.task.parameters.text(name, default);
        text.and_then(parse).ok_or_else(|| self.wrong(name, format!("one of {choices}")))
    }

    fn wrong(&self, parameter: &'static str, expected: String) -> TaskError {
        TaskError::Parameter { task: self.task, parameter, expected }
    }
}

/// Refuses a plan with another number of rounds than one.
pub(crate) fn one_round(task: &'static str, plan: &Plan) -> Result<(), TaskError> {
    if plan.rounds == 1 {
        Ok(())
    } else {
        Err(TaskError::Rounds { task, expected: "exactly one round", rounds: plan.rounds })
    }
}

/// Refuses a total of the wrong length.
pub(crate) fn check_length(
    task: &'static str,
    shape: &Shape,
    total: &NoisyTotal,
) -> Result<(), UpdateError> {
    let expected = shape.coordinates as usize;
    if total.values.len() == expected {
        Ok(())
    } else {
        Err(UpdateError::Length { task, expected, found: total.values.len() })
    }
}

/// A shape with L2 bound 1.
pub(crate) fn unit_shape(coordinates: usize) -> Shape {
    Shape { coordinates: coordinates as u32, clip: Rational::from_integer(1) }
}

#[cfg(test)]
mod tests;
