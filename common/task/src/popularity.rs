//! How popular each item is: one round, Σ x_u/‖x_u‖.
//!
//! Every person adds the unit vector of their own items, so that a person with many items says
//! no more than a person with few. The L2 bound is 1 by construction. Later tasks and scorers
//! read the tensor as an unnormalised probability, therefore it is floored on arrival.

use chorale_plan::{PersonSink, PersonVector, Plan, Shape};

use crate::{
    ContributeError, Model, ModelError, Next, NoisyTotal, People, Progress, Task, TaskError,
    Tensor, UpdateError, Weighting,
    people::BELOW_ONE,
    task::{ParameterReader, check_length, one_round, unit_shape},
};

/// The task `popularity`.
///
/// | parameter | range | default | meaning |
/// |---|---|---|---|
/// | `weighting` | `binary`, `square-root`, `logarithm` | `binary` | how counts become weights |
/// | `floor` | 1e-6 to 1e6 | 0.5 | smallest popularity; a person with n items adds 1/√n to each |
/// | `floor_noise` | 0 to 100 | 1 | smallest popularity in standard deviations of the noise; the larger floor holds |
#[derive(Clone, Debug, PartialEq)]
pub struct Popularity {
    items: u32,
    weighting: Weighting,
    floor: Floor,
}

/// The smallest popularity that an item can have after a noisy round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Floor {
    absolute: f64,
    noise_stds: f64,
}

impl Floor {
    pub(crate) fn read(parameters: &ParameterReader<'_>) -> Result<Self, TaskError> {
        Ok(Self {
            absolute: parameters.real("floor", 0.5, 1e-6, 1e6)?,
            noise_stds: parameters.real("floor_noise", 1.0, 0.0, 100.0)?,
        })
    }

    /// Noisy sums raised to the floor, so that every value is positive and has a logarithm.
    pub(crate) fn apply(self, values: &[f64], noise_std: f64) -> Vec<f64> {
        let least = self.absolute.max(self.noise_stds * noise_std);
        values.iter().map(|value| value.max(least)).collect()
    }
}

impl Popularity {
    /// The name that plans use.
    pub const NAME: &'static str = "popularity";

    /// The tensor that the task writes, of shape `[items]`, every value positive.
    pub const TENSOR: &'static str = "popularity";

    /// The tensor with the standard deviation of the noise in each value, of shape `[1]`.
    pub const NOISE: &'static str = "popularity_noise_std";

    /// The task with the plan's parameters.
    ///
    /// # Errors
    /// [`TaskError`] names the parameter; the plan must have exactly one round.
    pub fn from_plan(plan: &Plan, items: usize) -> Result<Self, TaskError> {
        let parameters =
            ParameterReader::new(Self::NAME, plan, &["weighting", "floor", "floor_noise"])?;
        one_round(Self::NAME, plan)?;
        let limit = chorale_wire::limits::COORDINATES_MAX;
        if items == 0 || items > limit {
            return Err(TaskError::TooManyItems { task: Self::NAME, items, limit, hint: "" });
        }
        Ok(Self {
            items: items as u32,
            weighting: parameters.choice(
                "weighting",
                "binary",
                "binary, square-root, logarithm",
                Weighting::parse,
            )?,
            floor: Floor::read(&parameters)?,
        })
    }

    /// The popularity of every item from a model, as probabilities that sum to 1.
    ///
    /// # Errors
    /// [`ModelError`] when the tensor is missing, of another length or not positive.
    pub fn probabilities(model: &Model) -> Result<Vec<f64>, ModelError> {
        let tensor = model.require(Self::TENSOR, &[model.items()])?;
        if tensor.values().iter().any(|value| *value <= 0.0) {
            return Err(ModelError::Content { tensor: Self::TENSOR, expected: "positive numbers" });
        }
        let total: f64 = tensor.values().iter().map(|&value| f64::from(value)).sum();
        let share = |&value: &f32| f64::from(value) / total;
        Ok(tensor.values().iter().map(share).collect())
    }

    /// Writes floored popularities and their noise into the model, for the task `kind`.
    pub(crate) fn write(
        model: Model,
        kind: &str,
        floor: Floor,
        values: &[f64],
        noise_std: f64,
    ) -> Result<Model, ModelError> {
        let floored = Tensor::vector(&floor.apply(values, noise_std))?;
        model.with_tensor(kind, Self::TENSOR, floored)?.with_tensor(
            kind,
            Self::NOISE,
            Tensor::vector(&[noise_std])?,
        )
    }

    fn model_error(source: ModelError) -> UpdateError {
        UpdateError::Model { task: Self::NAME, source }
    }
}

impl Task for Popularity {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shape(&self, _model: &Model) -> Shape {
        unit_shape(self.items as usize)
    }

    fn contribute(
        &self,
        model: &Model,
        people: &mut dyn People,
        out: &mut dyn PersonSink,
    ) -> Result<(), ContributeError> {
        let fits = model.check_items(self.items);
        fits.map_err(|source| ContributeError::Model { task: Self::NAME, source })?;
        let mut unit = Vec::new();
        let (mut index, mut value) = (Vec::new(), Vec::new());
        while let Some(person) = people.next_person() {
            self.weighting.unit_vector(person.items, self.items, &mut unit);
            index.clear();
            value.clear();
            for &(item, weight) in &unit {
                index.push(item);
                value.push((weight * BELOW_ONE) as f32);
            }
            let part = PersonVector::Sparse { index: &index, value: &value };
            out.person(person.who, part)?;
        }
        Ok(())
    }

    fn update(
        &self,
        model: Model,
        _progress: Progress,
        total: &NoisyTotal,
    ) -> Result<Next, UpdateError> {
        model.check_items(self.items).map_err(Self::model_error)?;
        check_length(Self::NAME, &self.shape(&model), total)?;
        let done = Self::write(model, Self::NAME, self.floor, &total.values, total.noise_std);
        Ok(Next::Done(done.map_err(Self::model_error)?))
    }
}
