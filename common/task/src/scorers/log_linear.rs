//! The log-linear model of a person's next items: softmax(log π + F u), with item features
//! F = [V | a·one-hot(category) | b·one-hot(department)] and the person's own weights u.
//!
//! V are the factors that `matrix-factorisation` learned, or factors from a Gram matrix, or none:
//! the public hierarchy alone already says more than popularity. u is one Newton step of the
//! multinomial log-likelihood with ridge λ, u = (n Σ + λI)⁻¹ n Fᵀ(p - π) with
//! Σ = Fᵀ(diag π - ππᵀ)F, and Σ's spectrum is computed once for everybody.

use ndarray::{Array1, Array2};

use crate::{
    Hierarchy, MatrixFactorisation, Model, ModelError, Popularity, linalg::symmetric_eigen,
    people::COUNT_MAX,
};

use super::Scorer;

/// How a person is fitted to the features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogLinearOptions {
    /// Ridge λ of the person's weights, positive.
    pub ridge: f64,
    /// Scale of the category features; 0 leaves them out.
    pub category: f64,
    /// Scale of the department features; 0 leaves them out.
    pub department: f64,
    /// An item bought c times weighs c to this power in the person's profile; 0 is binary.
    pub count_exponent: f64,
}

/// Scores every item by log π + F u.
#[derive(Clone, Debug)]
pub struct LogLinear {
    log_popularity: Vec<f64>,
    /// Items x rank.
    factors: Array2<f64>,
    hierarchy: Option<Hierarchy>,
    options: LogLinearOptions,
    /// Fᵀπ.
    mean: Array1<f64>,
    eigenvalues: Array1<f64>,
    eigenvectors: Array2<f64>,
}

/// What the model says about one person: the weights u by kind of feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Taste {
    /// Weight of each learned factor: the person's embedding.
    pub embedding: Vec<f64>,
    /// Log-odds by which the person prefers each category over the average customer.
    pub categories: Vec<f64>,
    /// The same for each department.
    pub departments: Vec<f64>,
}

impl Default for LogLinearOptions {
    /// What validation on grocery data chose.
    fn default() -> Self {
        Self { ridge: 30.0, category: 2.0, department: 0.2, count_exponent: 0.0 }
    }
}

impl LogLinear {
    /// With the factors that `matrix-factorisation` wrote into the model.
    ///
    /// # Errors
    /// [`ModelError`] when factors, popularity or a hierarchy that the options ask for is missing.
    pub fn from_model(model: &Model, options: &LogLinearOptions) -> Result<Self, ModelError> {
        let name = MatrixFactorisation::TENSOR;
        let tensor =
            model.tensor(name).ok_or_else(|| ModelError::Missing { tensor: name.to_owned() })?;
        let rank = tensor.shape().last().copied().unwrap_or(0);
        let tensor = model.require(name, &[model.items(), rank])?;
        let mut factors = Array2::zeros((model.items() as usize, rank as usize));
        for (place, &value) in factors.iter_mut().zip(tensor.values()) {
            *place = f64::from(value);
        }
        Self::with_factors(model, factors, options)
    }

    /// Without learned factors: popularity and the public hierarchy only.
    ///
    /// # Errors
    /// As [`LogLinear::from_model`].
    pub fn content(model: &Model, options: &LogLinearOptions) -> Result<Self, ModelError> {
        Self::with_factors(model, Array2::zeros((model.items() as usize, 0)), options)
    }

    /// With other factors (items x rank) over the model's popularity and hierarchy.
    ///
    /// # Errors
    /// As [`LogLinear::from_model`]; the factors must have one row for each item.
    pub fn with_factors(
        model: &Model,
        factors: Array2<f64>,
        options: &LogLinearOptions,
    ) -> Result<Self, ModelError> {
        let popularity = Popularity::probabilities(model)?;
        model.check_items(factors.nrows() as u32)?;
        let content = options.category != 0.0 || options.department != 0.0;
        let hierarchy = content.then(|| Hierarchy::from_model(model)).transpose()?;
        let mut scorer = Self {
            log_popularity: popularity.iter().map(|share| share.ln()).collect(),
            factors,
            hierarchy,
            options: *options,
            mean: Array1::zeros(0),
            eigenvalues: Array1::zeros(0),
            eigenvectors: Array2::zeros((0, 0)),
        };
        scorer.fit(&popularity);
        Ok(scorer)
    }

    /// The scorer with log((1-β)π + β·local) in the place of log π, for a store whose customers
    /// buy what others do not. `local` is the store's own popularity on any scale; values that
    /// are not positive and finite count as 0, and without any the scorer stays as it is. The
    /// store's popularity never leaves it.
    ///
    /// # Errors
    /// [`ModelError::Items`] unless there is one value for each item.
    pub fn with_local_popularity(mut self, local: &[f64], beta: f64) -> Result<Self, ModelError> {
        if local.len() != self.items() {
            return Err(ModelError::Items {
                found: local.len() as u32,
                expected: self.items() as u32,
            });
        }
        let positive = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
        let total: f64 = local.iter().copied().map(positive).sum();
        // A share of 1 would leave the logarithm of 0 to items that the store never sold.
        let beta = beta.clamp(0.0, 0.999);
        if total > 0.0 {
            for (log, &value) in self.log_popularity.iter_mut().zip(local) {
                *log = ((1.0 - beta) * log.exp() + beta * positive(value) / total).ln();
            }
        }
        Ok(self)
    }

    /// The weights that one Newton step gives to a person with this history.
    #[must_use]
    pub fn taste(&self, history: &[(u32, f32)]) -> Taste {
        let weights = self.weights(history);
        let (rank, categories) = (self.rank(), self.categories());
        let scaled = |range: std::ops::Range<usize>, scale: f64| {
            let inside = weights.iter().skip(range.start).take(range.len());
            inside.map(|weight| weight * scale).collect()
        };
        Taste {
            embedding: scaled(0..rank, 1.0),
            categories: scaled(rank..rank + categories, self.options.category),
            departments: scaled(rank + categories..weights.len(), self.options.department),
        }
    }

    fn rank(&self) -> usize {
        self.factors.ncols()
    }

    fn categories(&self) -> usize {
        self.hierarchy.as_ref().map_or(0, Hierarchy::categories)
    }

    fn width(&self) -> usize {
        let departments = self.hierarchy.as_ref().map_or(0, Hierarchy::departments);
        self.rank() + self.categories() + departments
    }

    /// Mean, covariance and its spectrum under π.
    fn fit(&mut self, popularity: &[f64]) {
        let mut features = Array2::zeros((self.items(), self.width()));
        for (item, mut row) in features.rows_mut().into_iter().enumerate() {
            self.add_features(item, 1.0, row.as_slice_mut().unwrap_or(&mut []));
        }
        let mut weighted = features.clone();
        for (mut row, &share) in weighted.rows_mut().into_iter().zip(popularity) {
            row *= share;
        }
        self.mean = weighted.sum_axis(ndarray::Axis(0));
        let mut covariance = features.t().dot(&weighted);
        for (mut row, &mean) in covariance.rows_mut().into_iter().zip(&self.mean) {
            row.scaled_add(-mean, &self.mean);
        }
        (self.eigenvalues, self.eigenvectors) = symmetric_eigen(covariance);
    }

    /// Adds `weight` times the item's features to `sum`.
    fn add_features(&self, item: usize, weight: f64, sum: &mut [f64]) {
        for (place, value) in sum.iter_mut().zip(self.factors.row(item)) {
            *place += weight * value;
        }
        if let Some(tree) = &self.hierarchy {
            let category = self.rank() + tree.category()[item] as usize;
            let department = self.rank() + tree.categories() + tree.department()[item] as usize;
            sum[category] += weight * self.options.category;
            sum[department] += weight * self.options.department;
        }
    }

    /// u, all features.
    fn weights(&self, history: &[(u32, f32)]) -> Array1<f64> {
        let width = self.width();
        let mut sum = vec![0.0; width];
        let (mut total, mut count) = (0.0, 0.0);
        for &(item, times) in history {
            if (item as usize) < self.items() && times > 0.0 && times.is_finite() {
                let weight = f64::from(times.min(COUNT_MAX)).powf(self.options.count_exponent);
                self.add_features(item as usize, weight, &mut sum);
                total += weight;
                count += 1.0;
            }
        }
        if count == 0.0 || total <= 0.0 {
            return Array1::zeros(width);
        }
        let difference = Array1::from(sum) / total - &self.mean;
        let mut along = self.eigenvectors.t().dot(&difference);
        for (value, &eigenvalue) in along.iter_mut().zip(&self.eigenvalues) {
            // Rounding can leave an eigenvalue a little below its true 0.
            *value *= count / (count * eigenvalue.max(0.0) + self.options.ridge);
        }
        self.eigenvectors.dot(&along)
    }
}

impl Scorer for LogLinear {
    fn items(&self) -> usize {
        self.log_popularity.len()
    }

    fn score(&self, history: &[(u32, f32)], out: &mut [f32]) {
        let Taste { embedding, categories, departments } = self.taste(history);
        for (item, place) in out.iter_mut().take(self.items()).enumerate() {
            let row = self.factors.row(item);
            let learned: f64 = row.iter().zip(&embedding).map(|(a, b)| a * b).sum();
            let known = self.hierarchy.as_ref().map_or(0.0, |tree| {
                categories[tree.category()[item] as usize]
                    + departments[tree.department()[item] as usize]
            });
            *place = (self.log_popularity[item] + learned + known) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Catalogue, Tensor, linalg::solve_positive_definite};

    const TEXT: &str = "index,item_id,department,category\n\
        0,A,X,P\n1,B,X,P\n2,C,X,Q\n3,D,Y,R\n4,E,Y,R\n";

    fn model() -> Model {
        let catalogue = Catalogue::read_csv(TEXT.as_bytes()).unwrap();
        let popularity = Tensor::vector(&[5.0, 1.0, 2.0, 4.0, 3.0]).unwrap();
        let factors = (0..10).map(|i| (i * i % 7) as f32 / 5.0).collect();
        Model::for_catalogue(&catalogue)
            .unwrap()
            .with_tensor("t", Popularity::TENSOR, popularity)
            .unwrap()
            .with_tensor(
                "t",
                MatrixFactorisation::TENSOR,
                Tensor::new(vec![5, 2], factors).unwrap(),
            )
            .unwrap()
    }

    #[test]
    fn scores_equal_the_formula_solved_directly() {
        let options =
            LogLinearOptions { ridge: 2.0, category: 1.0, department: 0.3, count_exponent: 0.5 };
        let scorer = LogLinear::from_model(&model(), &options).unwrap();
        let history = [(1, 4.0), (3, 1.0)];
        let pi: Vec<f64> = [5.0, 1.0, 2.0, 4.0, 3.0].iter().map(|v| v / 15.0).collect();
        // [V | 1·category P, Q, R | 0.3·department X, Y]
        let hot = [
            [1.0, 0.0, 0.0, 0.3, 0.0],
            [1.0, 0.0, 0.0, 0.3, 0.0],
            [0.0, 1.0, 0.0, 0.3, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.3],
            [0.0, 0.0, 1.0, 0.0, 0.3],
        ];
        let features = Array2::from_shape_fn((5, 7), |(i, j)| {
            if j < 2 {
                f64::from(((2 * i + j) * (2 * i + j) % 7) as f32 / 5.0)
            } else {
                hot[i][j - 2]
            }
        });
        let (n, p) = (2.0, [0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0, 0.0]);
        let mut system = Array2::<f64>::eye(7) * options.ridge;
        let mut u = vec![0.0; 7];
        for a in 0..7 {
            let mean = |c: usize| (0..5).map(|i| pi[i] * features[[i, c]]).sum::<f64>();
            for b in 0..7 {
                let second: f64 = (0..5).map(|i| pi[i] * features[[i, a]] * features[[i, b]]).sum();
                system[[a, b]] += n * (second - mean(a) * mean(b));
            }
            u[a] = (0..5).map(|i| n * (p[i] - pi[i]) * features[[i, a]]).sum();
        }
        solve_positive_definite(system, &mut u).unwrap();
        for (item, score) in scorer.scores(&history).iter().enumerate() {
            let expected: f64 =
                pi[item].ln() + (0..7).map(|a| features[[item, a]] * u[a]).sum::<f64>();
            assert!((f64::from(*score) - expected).abs() < 1e-5, "{item}");
        }
        let taste = scorer.taste(&history);
        assert!((taste.embedding[1] - u[1]).abs() < 1e-9);
        assert!((taste.departments[0] - 0.3 * u[5]).abs() < 1e-9);
    }

    #[test]
    fn a_stranger_gets_popularity() {
        let scorer = LogLinear::content(&model(), &LogLinearOptions::default()).unwrap();
        let scores = scorer.scores(&[(99, 1.0), (0, f32::NAN)]);
        assert!((f64::from(scores[0]) - (5.0f64 / 15.0).ln()).abs() < 1e-6);
        let local = scorer.clone().with_local_popularity(&[0.0, 3.0, 1.0, 0.0, f64::NAN], 0.5);
        let scores = local.unwrap().scores(&[]);
        let expected = (0.5 * 1.0 / 15.0 + 0.5 * 0.75f64).ln();
        assert!((f64::from(scores[1]) - expected).abs() < 1e-6);
        assert!(scorer.clone().with_local_popularity(&[1.0], 0.5).is_err());
        let taste = scorer.taste(&[(3, 1.0)]);
        assert!(taste.embedding.is_empty());
        assert!(taste.categories[2] > 0.0 && taste.categories[0] < 0.0);
    }

    #[test]
    fn what_is_missing_is_named() {
        let bare = Model::initial(5, *model().catalogue()).unwrap();
        let refused = LogLinear::content(&bare, &LogLinearOptions::default());
        assert!(matches!(refused, Err(ModelError::Missing { .. })));
        let refused = LogLinear::from_model(&bare, &LogLinearOptions::default());
        assert!(matches!(
            refused,
            Err(ModelError::Missing { tensor }) if tensor == "item_factors"
        ));
    }
}
