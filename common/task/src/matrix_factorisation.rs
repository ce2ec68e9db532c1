//! Item factors by normalised gradients: ten or more rounds of Σ_u e_u ⊗ u_u.
//!
//! Every person has a factor u of their own, which is found anew in each round by one Newton step
//! and never leaves the agent. Their part is the descent direction of their log-likelihood in the
//! shared item factors V under the model softmax(log π + V u), scaled to norm exactly 1 (up to
//! rounding): a rank-one matrix (p - softmax) uᵀ. Normalised rather than clipped gradients follow
//! Das et al., *Beyond Uniform Lipschitz Condition* (2021); the gradient needs no sampled
//! negatives, because the softmax runs over the whole catalogue.
//!
//! The task reads the tensor `popularity`, so a popularity plan must run first.

mod person;

use chorale_plan::{PersonSink, PersonVector, Plan, Shape};
use chorale_wire::limits::COORDINATES_MAX;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use crate::{
    ContributeError, Model, ModelError, Next, NoisyTotal, People, Popularity, Progress, Task,
    TaskError, Tensor, UpdateError, Weighting,
    hierarchy::Hierarchy,
    linalg::{orthonormalise, seeded_normal},
    people::BELOW_ONE,
    task::{ParameterReader, check_length, unit_shape},
};

use person::SharedFactors;

/// The task `matrix-factorisation`.
///
/// | parameter | range | default | meaning |
/// |---|---|---|---|
/// | `persons` | 1 to 2^30 | must be given | declared number of persons N; a public plan constant, never counted |
/// | `rank` | 1 to 64 | 8 | dimensions k of the factors |
/// | `eta` | 0 to 1e6 | 200 | total learning rate η: each of T rounds moves V by η/(T·N) times the total |
/// | `lambda` | 1e-3 to 1e6 | 10 | ridge λ of the person's Newton step |
/// | `tail_exponent` | 0 to 2 | 0.5 | item i's residual is weighted by (π_i/max π)^exponent, which calms the noisy tail |
/// | `start` | `hierarchy`, `random` | `hierarchy` | where the factors start; `random` for a catalogue without a hierarchy |
/// | `department_share` | 0 to 1 | 0.3 | weight of departments against categories in the starting factors |
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixFactorisation {
    items: u32,
    rounds: u32,
    persons: f64,
    rank: u32,
    eta: f64,
    lambda: f64,
    tail_exponent: f64,
    start: Start,
    department_share: f64,
}

/// Where the factors of a federation's first round come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Hierarchy,
    Random,
}

const PARAMETERS: [&str; 7] =
    ["persons", "rank", "eta", "lambda", "tail_exponent", "start", "department_share"];

/// Public seed of random starting factors.
const START_SEED: u64 = 1;

impl MatrixFactorisation {
    /// The name that plans use.
    pub const NAME: &'static str = "matrix-factorisation";

    /// The tensor that the task writes, of shape `[items, rank]`.
    pub const TENSOR: &'static str = "item_factors";

    /// The task with the plan's parameters.
    ///
    /// # Errors
    /// [`TaskError`] names the parameter; items times rank must be at most 2^24.
    pub fn from_plan(plan: &Plan, items: usize) -> Result<Self, TaskError> {
        let read = ParameterReader::new(Self::NAME, plan, &PARAMETERS)?;
        let rank = read.integer("rank", Some(8), 1, 64)? as u32;
        if items == 0 || items > COORDINATES_MAX / rank as usize {
            return Err(TaskError::TooManyItems {
                task: Self::NAME,
                items,
                limit: COORDINATES_MAX,
                hint: ": lower the rank",
            });
        }
        Ok(Self {
            items: items as u32,
            rounds: plan.rounds,
            persons: read.integer("persons", None, 1, 1 << 30)? as f64,
            rank,
            eta: read.real("eta", 200.0, 0.0, 1e6)?,
            lambda: read.real("lambda", 10.0, 1e-3, 1e6)?,
            tail_exponent: read.real("tail_exponent", 0.5, 0.0, 2.0)?,
            start: read.choice("start", "hierarchy", "hierarchy, random", |text| match text {
                "hierarchy" => Some(Start::Hierarchy),
                "random" => Some(Start::Random),
                _ => None,
            })?,
            department_share: read.real("department_share", 0.3, 0.0, 1.0)?,
        })
    }

    /// The factors of the model (items x rank, row-major), or the public starting point where no
    /// round of this rank has run yet. Agents and coordinator compute the latter alike.
    ///
    /// # Errors
    /// [`ModelError`] when the factors have another shape or the hierarchy is missing.
    pub fn factors(&self, model: &Model) -> Result<Vec<f64>, ModelError> {
        model.check_items(self.items)?;
        if model.tensor(Self::TENSOR).is_some() {
            let tensor = model.require(Self::TENSOR, &[self.items, self.rank])?;
            return Ok(tensor.values().iter().map(|&value| f64::from(value)).collect());
        }
        self.starting_factors(model)
    }

    /// V₀, a function of public information and π alone: the items' public features
    /// F = [√(1-d)·one-hot(category) | √d·one-hot(department)], centred under π, projected onto
    /// the top eigenvectors of Fᵀ diag(π) F, with orthonormal columns. Directions that the
    /// hierarchy does not have are random ones.
    fn starting_factors(&self, model: &Model) -> Result<Vec<f64>, ModelError> {
        let (items, rank) = (self.items as usize, self.rank as usize);
        let mut factors = seeded_normal(items, rank, &mut ChaCha12Rng::seed_from_u64(START_SEED));
        if self.start == Start::Hierarchy {
            let tree = Hierarchy::from_model(model)?;
            let popularity = Popularity::probabilities(model)?;
            let known = tree.principal_components(&popularity, self.department_share, rank);
            for (column, component) in known.iter().enumerate() {
                for (place, &value) in factors.column_mut(column).iter_mut().zip(component) {
                    *place = value;
                }
            }
        }
        orthonormalise(&mut factors);
        Ok(factors.into_iter().collect())
    }

    fn shared(&self, model: &Model) -> Result<SharedFactors, ModelError> {
        let factors = self.factors(model)?;
        let popularity = Popularity::probabilities(model)?;
        Ok(SharedFactors::new(factors, self.rank as usize, &popularity, self.tail_exponent))
    }

    fn model_error(source: ModelError) -> UpdateError {
        UpdateError::Model { task: Self::NAME, source }
    }
}

impl Task for MatrixFactorisation {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shape(&self, _model: &Model) -> Shape {
        unit_shape(self.items as usize * self.rank as usize)
    }

    fn contribute(
        &self,
        model: &Model,
        people: &mut dyn People,
        out: &mut dyn PersonSink,
    ) -> Result<(), ContributeError> {
        let shared = self
            .shared(model)
            .map_err(|source| ContributeError::Model { task: Self::NAME, source })?;
        let (mut unit, mut own, mut residual) = (Vec::new(), Vec::new(), Vec::new());
        let mut part = vec![0.0; shared.items() * self.rank as usize];
        while let Some(person) = people.next_person() {
            Weighting::Binary.unit_vector(person.items, self.items, &mut unit);
            own.clear();
            own.extend(unit.iter().map(|&(item, _)| item));
            shared.normalised_gradient(&own, self.lambda, BELOW_ONE, &mut residual, &mut part);
            out.person(person.who, PersonVector::Dense(&part))?;
        }
        Ok(())
    }

    fn update(
        &self,
        model: Model,
        mut progress: Progress,
        total: &NoisyTotal,
    ) -> Result<Next, UpdateError> {
        if progress.step >= self.rounds {
            return Err(UpdateError::Complete { task: Self::NAME, rounds: self.rounds });
        }
        let factors = self.factors(&model).map_err(Self::model_error)?;
        check_length(Self::NAME, &self.shape(&model), total)?;
        let step = self.eta / (f64::from(self.rounds) * self.persons);
        let values = factors
            .iter()
            .zip(&total.values)
            .map(|(factor, gradient)| (factor + step * gradient) as f32)
            .collect();
        let model = Tensor::new(vec![self.items, self.rank], values)
            .and_then(|tensor| model.with_tensor(Self::NAME, Self::TENSOR, tensor))
            .map_err(Self::model_error)?;
        progress.step += 1;
        Ok(if progress.step == self.rounds {
            Next::Done(model)
        } else {
            Next::Round(model, progress)
        })
    }
}
