//! Which items go together: one round, the Gram matrix Σ b_u b_uᵀ of persons' unit vectors.
//!
//! A person's part is the packed upper triangle of b bᵀ with off-diagonals scaled by √2, so that
//! its L2 norm is the Frobenius norm of b bᵀ, which is ‖b‖² = 1. Parts are sparse: a person with
//! n items has n(n+1)/2 coordinates of m(m+1)/2. The matrix gives popularity, item neighbours
//! (item-kNN), PureSVD and EASE: see [`scorers`](crate::scorers).
//!
//! With `popularity_share` α > 0 the person's unit vector x over the whole catalogue rides along:
//! the part is [α·x ; √(1-α²)·vech(b bᵀ)], whose norm is at most 1 again, and popularity comes out
//! less noisy than from the diagonal.

use chorale_plan::{PersonSink, PersonVector, Plan, Shape};
use chorale_wire::limits::COORDINATES_MAX;

use crate::{
    ContributeError, Model, ModelError, Next, NoisyTotal, People, Popularity, Progress, Task,
    TaskError, Tensor, UpdateError, Weighting,
    gram::{packed_index, packed_len, unscaled_off_diagonals},
    people::BELOW_ONE,
    popularity::Floor,
    task::{ParameterReader, check_length, one_round, unit_shape},
};

/// The task `cooccurrence`.
///
/// | parameter | range | default | meaning |
/// |---|---|---|---|
/// | `items_max` | 0 to 5792 | 0 | cover only so many items, the most popular by the model's tensor `popularity`; 0 covers all |
/// | `weighting` | `binary`, `square-root`, `logarithm` | `binary` | how counts become weights |
/// | `popularity_share` | 0 to 0.99 | 0 | α, the norm of the popularity segment; 0 leaves it out |
/// | `floor`, `floor_noise` | | | as in `popularity`, for that segment |
#[derive(Clone, Debug, PartialEq)]
pub struct Cooccurrence {
    items: u32,
    covered: usize,
    weighting: Weighting,
    popularity_share: f64,
    floor: Floor,
}

const PARAMETERS: [&str; 5] =
    ["items_max", "weighting", "popularity_share", "floor", "floor_noise"];

impl Cooccurrence {
    /// The name that plans use.
    pub const NAME: &'static str = "cooccurrence";

    /// The packed upper triangle of the matrix (off-diagonals not scaled), shape `[m(m+1)/2]`.
    pub const TENSOR: &'static str = "gram";

    /// The covered catalogue indices, ascending, shape `[m]`; exact in `f32` below 2^24.
    pub const COVERED: &'static str = "gram_items";

    /// The note that says how counts became weights; models without it are binary.
    pub const WEIGHTING: &'static str = "gram_weighting";

    /// Standard deviation of the noise on the diagonal, shape `[1]`.
    pub const NOISE: &'static str = "gram_noise_std";

    /// The task with the plan's parameters.
    ///
    /// # Errors
    /// [`TaskError`] names the parameter; the plan must have exactly one round and the packed
    /// triangle at most 2^24 coordinates.
    pub fn from_plan(plan: &Plan, items: usize) -> Result<Self, TaskError> {
        let parameters = ParameterReader::new(Self::NAME, plan, &PARAMETERS)?;
        one_round(Self::NAME, plan)?;
        let asked = parameters.integer("items_max", Some(0), 0, 5792)? as usize;
        let covered = if asked == 0 { items } else { asked.min(items) };
        let popularity_share = parameters.real("popularity_share", 0.0, 0.0, 0.99)?;
        let segment = if popularity_share > 0.0 { items } else { 0 };
        let fits = (1..=1 << 20).contains(&covered)
            && packed_len(covered).saturating_add(segment) <= COORDINATES_MAX;
        if !fits {
            return Err(TaskError::TooManyItems {
                task: Self::NAME,
                items: covered,
                limit: COORDINATES_MAX,
                hint: ": set items_max to cover the most popular ones only",
            });
        }
        Ok(Self {
            items: items as u32,
            covered,
            weighting: parameters.choice(
                "weighting",
                "binary",
                "binary, square-root, logarithm",
                Weighting::parse,
            )?,
            popularity_share,
            floor: Floor::read(&parameters)?,
        })
    }

    /// The items that the matrix in the model covers, ascending catalogue indices.
    ///
    /// # Errors
    /// [`ModelError`] when the tensor is missing or is not a list of ascending indices.
    pub fn covered(model: &Model) -> Result<Vec<u32>, ModelError> {
        let tensor = model
            .tensor(Self::COVERED)
            .ok_or_else(|| ModelError::Missing { tensor: Self::COVERED.to_owned() })?;
        let covered: Vec<u32> = tensor.values().iter().map(|&value| value as u32).collect();
        let exact = covered
            .iter()
            .zip(tensor.values())
            .all(|(&item, &value)| item as f32 == value && item < model.items());
        if !exact || !covered.is_sorted_by(|a, b| a < b) {
            return Err(ModelError::Content {
                tensor: Self::COVERED,
                expected: "ascending catalogue indices",
            });
        }
        Ok(covered)
    }

    /// How a person's counts became weights in the matrix, and so must do when it is applied.
    ///
    /// # Errors
    /// [`ModelError::Content`] when the model names no way that is known here.
    pub fn weighting(model: &Model) -> Result<Weighting, ModelError> {
        let Some(name) = model.notes().get(Self::WEIGHTING) else { return Ok(Weighting::Binary) };
        Weighting::parse(name).ok_or(ModelError::Content {
            tensor: Self::WEIGHTING,
            expected: "binary, square-root or logarithm",
        })
    }

    /// The items that a round on `model` covers: all, or the most popular ones by the public
    /// popularity (ties to the smaller index), ascending.
    fn select(&self, model: &Model) -> Result<Vec<u32>, ModelError> {
        model.check_items(self.items)?;
        if self.covered == self.items as usize {
            return Ok((0..self.items).collect());
        }
        let popularity = Popularity::probabilities(model)?;
        let mut order: Vec<u32> = (0..self.items).collect();
        order.sort_by(|&a, &b| {
            popularity[b as usize].total_cmp(&popularity[a as usize]).then(a.cmp(&b))
        });
        order.truncate(self.covered);
        order.sort_unstable();
        Ok(order)
    }

    /// Coordinates of the popularity segment, which comes first.
    fn segment(&self) -> usize {
        if self.popularity_share > 0.0 { self.items as usize } else { 0 }
    }

    /// √(1-α²), the norm of the matrix's part.
    fn matrix_share(&self) -> f64 {
        (1.0 - self.popularity_share * self.popularity_share).sqrt()
    }

    fn model_error(source: ModelError) -> UpdateError {
        UpdateError::Model { task: Self::NAME, source }
    }
}

impl Task for Cooccurrence {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shape(&self, _model: &Model) -> Shape {
        unit_shape(self.segment() + packed_len(self.covered))
    }

    fn contribute(
        &self,
        model: &Model,
        people: &mut dyn People,
        out: &mut dyn PersonSink,
    ) -> Result<(), ContributeError> {
        let covered = self
            .select(model)
            .map_err(|source| ContributeError::Model { task: Self::NAME, source })?;
        let mut position = vec![u32::MAX; self.items as usize];
        for (place, &item) in covered.iter().enumerate() {
            position[item as usize] = place as u32;
        }
        let (mut inside, mut unit) = (Vec::new(), Vec::new());
        let (mut index, mut value) = (Vec::new(), Vec::new());
        while let Some(person) = people.next_person() {
            index.clear();
            value.clear();
            if self.popularity_share > 0.0 {
                self.weighting.unit_vector(person.items, self.items, &mut unit);
                let scale = self.popularity_share * BELOW_ONE;
                index.extend(unit.iter().map(|&(item, _)| item));
                value.extend(unit.iter().map(|&(_, x)| (x * scale) as f32));
            }
            inside.clear();
            inside.extend(person.items.iter().filter_map(|&(item, count)| {
                let place = *position.get(item as usize)?;
                (place != u32::MAX).then_some((place, count))
            }));
            self.weighting.unit_vector(&inside, covered.len() as u32, &mut unit);
            let start = self.segment() as u32;
            let scale = self.matrix_share() * BELOW_ONE;
            push_packed_outer(start, covered.len(), scale, &unit, &mut index, &mut value);
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
        let covered = self.select(&model).map_err(Self::model_error)?;
        check_length(Self::NAME, &self.shape(&model), total)?;
        let (segment, matrix) = total.values.split_at(self.segment());
        let share = self.matrix_share();
        let mut packed = unscaled_off_diagonals(covered.len(), matrix);
        packed.iter_mut().for_each(|value| *value /= share);
        let covered: Vec<f64> = covered.iter().map(|&item| f64::from(item)).collect();
        let write = |model: Model, name, values: &[f64]| {
            model.with_tensor(Self::NAME, name, Tensor::vector(values)?)
        };
        let done = write(model, Self::TENSOR, &packed)
            .and_then(|model| write(model, Self::COVERED, &covered))
            .and_then(|model| write(model, Self::NOISE, &[total.noise_std / share]))
            .and_then(|model| model.with_note(Self::WEIGHTING, self.weighting.name()))
            .and_then(|model| {
                if segment.is_empty() {
                    return Ok(model);
                }
                let alpha = self.popularity_share;
                let sums: Vec<f64> = segment.iter().map(|sum| sum / alpha).collect();
                let noise_std = total.noise_std / alpha;
                Popularity::write(model, Self::NAME, self.floor, &sums, noise_std)
            });
        Ok(Next::Done(done.map_err(Self::model_error)?))
    }
}

/// Appends `scale` times the packed upper triangle of b bᵀ with off-diagonals scaled by √2, at
/// coordinates from `start` on. ‖vech(b bᵀ)‖² = Σ_i b_i⁴ + Σ_{i<j} 2 b_i² b_j² = (Σ b_i²)² = 1.
fn push_packed_outer(
    start: u32,
    side: usize,
    scale: f64,
    unit: &[(u32, f64)],
    index: &mut Vec<u32>,
    value: &mut Vec<f32>,
) {
    for (at, &(i, x)) in unit.iter().enumerate() {
        // The coordinate of (i, j) is this plus j.
        let row = start + packed_index(side, i as usize, 0) as u32;
        index.push(row + i);
        value.push((x * x * scale) as f32);
        let scaled = x * std::f64::consts::SQRT_2 * scale;
        index.extend(unit[at + 1..].iter().map(|&(j, _)| row + j));
        value.extend(unit[at + 1..].iter().map(|&(_, y)| (scaled * y) as f32));
    }
}
