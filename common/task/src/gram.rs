//! The item-item matrix that a `cooccurrence` round releases: G = Σ_u b_u b_uᵀ with ‖b_u‖ <= 1.

use ndarray::Array2;

use crate::{Cooccurrence, Model, ModelError, People, Weighting, linalg::symmetric_eigen};

/// A symmetric item-item matrix over the covered items.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    catalogue_items: u32,
    covered: Vec<u32>,
    matrix: Array2<f64>,
    noise_std: f64,
}

/// How item factors are read out of a noisy matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GramFactors {
    /// Only so many of the most popular items get factors; the eigenproblem has this side.
    pub items: usize,
    /// Dimensions.
    pub rank: usize,
    /// c: rows and columns are scaled by popularity to the power -c before the eigenvectors.
    pub whitening: f64,
    /// b: factors are scaled by popularity to the power b after them.
    pub colouring: f64,
    /// Norm of the longest column.
    pub length: f64,
}

impl Default for GramFactors {
    /// One setting for every noise; validation prefers slightly different ones for each.
    fn default() -> Self {
        Self { items: 600, rank: 8, whitening: 0.0, colouring: 0.0, length: 8.0 }
    }
}

/// Number of coordinates of the packed upper triangle of an m x m matrix, m(m+1)/2.
#[must_use]
pub fn packed_len(side: usize) -> usize {
    side * (side + 1) / 2
}

/// Position of the entry (i, j), i <= j < m, in the packed upper triangle, row by row:
/// i(2m - i - 1)/2 + j. Ascending in (i, j).
#[must_use]
pub fn packed_index(side: usize, i: usize, j: usize) -> usize {
    i * (2 * side - i - 1) / 2 + j
}

impl Gram {
    /// The matrix that a `cooccurrence` plan wrote into the model.
    ///
    /// # Errors
    /// [`ModelError`] when the tensors are missing or do not fit each other.
    pub fn from_model(model: &Model) -> Result<Self, ModelError> {
        let covered = Cooccurrence::covered(model)?;
        let packed_shape = [packed_len(covered.len()) as u32];
        let packed = model.require(Cooccurrence::TENSOR, &packed_shape)?;
        let values = packed.values().iter().map(|&value| f64::from(value));
        Ok(Self {
            catalogue_items: model.items(),
            matrix: unpack(covered.len(), values),
            covered,
            noise_std: f64::from(model.scalar(Cooccurrence::NOISE)?).max(0.0),
        })
    }

    /// The matrix of persons held in one place, computed directly: the reference that a federated
    /// round without noise must equal. `covered` are ascending catalogue indices.
    ///
    /// # Panics
    /// When `covered` names an item outside the catalogue.
    pub fn pooled(
        people: &mut dyn People,
        catalogue_items: u32,
        covered: &[u32],
        weighting: Weighting,
    ) -> Self {
        let side = covered.len();
        let mut position = vec![None; catalogue_items as usize];
        for (place, &item) in covered.iter().enumerate() {
            position[item as usize] = Some(place);
        }
        let mut matrix = Array2::zeros((side, side));
        let (mut inside, mut unit) = (Vec::new(), Vec::new());
        while let Some(person) = people.next_person() {
            inside.clear();
            inside.extend(person.items.iter().filter_map(|&(item, count)| {
                let place = (*position.get(item as usize)?)?;
                Some((place as u32, count))
            }));
            weighting.unit_vector(&inside, side as u32, &mut unit);
            for &(i, x) in &unit {
                for &(j, y) in &unit {
                    matrix[[i as usize, j as usize]] += x * y;
                }
            }
        }
        Self { catalogue_items, covered: covered.to_vec(), matrix, noise_std: 0.0 }
    }

    /// From its parts; only tests make a matrix that no round and no persons made.
    #[cfg(test)]
    pub(crate) fn from_parts(
        catalogue_items: u32,
        covered: Vec<u32>,
        matrix: Array2<f64>,
        noise_std: f64,
    ) -> Self {
        Self { catalogue_items, covered, matrix, noise_std }
    }

    /// Number of items in the catalogue, covered or not.
    #[must_use]
    pub fn catalogue_items(&self) -> u32 {
        self.catalogue_items
    }

    /// The covered items: row i of the matrix belongs to catalogue index `covered()[i]`.
    #[must_use]
    pub fn covered(&self) -> &[u32] {
        &self.covered
    }

    /// The matrix, symmetric.
    #[must_use]
    pub fn matrix(&self) -> &Array2<f64> {
        &self.matrix
    }

    /// Items of a person on average, at least 1: each adds the square of a unit vector's sum, which
    /// is the number of items where all weigh the same, and less where some weigh more. Noise
    /// hardly moves it, because it is summed over the whole matrix.
    #[must_use]
    pub fn items_per_person(&self) -> f64 {
        let persons = self.matrix.diag().sum();
        let items = self.matrix.sum() / persons;
        if persons > 0.0 && items.is_finite() { items.max(1.0) } else { 1.0 }
    }

    /// Standard deviation of the noise on the diagonal; off the diagonal it is 1/√2 of that.
    #[must_use]
    pub fn noise_std(&self) -> f64 {
        self.noise_std
    }

    /// How far the noise alone can push an eigenvalue: a symmetric Gaussian matrix of side m with
    /// off-diagonal deviation s has spectral norm close to 2s√m (Wigner's semicircle), here with
    /// s = `noise_std`/√2.
    #[must_use]
    pub fn noise_edge(&self) -> f64 {
        self.noise_std * (2.0 * self.covered.len() as f64).sqrt()
    }

    /// Item factors (catalogue items x rank, zero rows outside the most popular items) from what
    /// the matrix says beyond independence, G - a·p pᵀ off the diagonal: they survive noise that
    /// makes the matrix itself useless. `popularity` are probabilities over the catalogue; items
    /// that the matrix does not cover are left out. Score them with
    /// [`LogLinear::with_factors`](crate::scorers::LogLinear::with_factors).
    #[must_use]
    pub fn factors(&self, popularity: &[f64], options: &GramFactors) -> Array2<f64> {
        let top = self.most_popular(popularity, options.items.max(1));
        let side = top.len();
        let p: Vec<f64> =
            top.iter().map(|&place| popularity[self.covered[place] as usize]).collect();
        let (mut along, mut square) = (0.0, 0.0);
        for i in 0..side {
            for j in (0..side).filter(|&j| j != i) {
                along += self.matrix[[top[i], top[j]]] * p[i] * p[j];
                square += p[i] * p[j] * p[i] * p[j];
            }
        }
        let a = if square > 0.0 { along / square } else { 0.0 };
        let beyond = Array2::from_shape_fn((side, side), |(i, j)| {
            let whitened = (p[i] * p[j]).powf(-options.whitening);
            if i == j { 0.0 } else { (self.matrix[[top[i], top[j]]] - a * p[i] * p[j]) * whitened }
        });
        let (values, vectors) = symmetric_eigen(beyond);
        let rank = options.rank.min(side);
        let mut factors = Array2::zeros((self.catalogue_items as usize, rank));
        for column in 0..rank {
            let share = (values[column].max(0.0) / values[0].max(f64::MIN_POSITIVE)).sqrt();
            for (i, &place) in top.iter().enumerate() {
                let value = vectors[[i, column]] * share * p[i].powf(options.colouring);
                factors[[self.covered[place] as usize, column]] = value;
            }
        }
        let longest = factors
            .columns()
            .into_iter()
            .map(|column| column.dot(&column).sqrt())
            .fold(0.0, f64::max);
        if longest > 0.0 {
            factors *= options.length / longest;
        }
        factors
    }

    /// Places of the most popular covered items, most popular first, ties to the smaller index.
    fn most_popular(&self, popularity: &[f64], count: usize) -> Vec<usize> {
        let of = |place: usize| popularity.get(self.covered[place] as usize).copied();
        let mut places: Vec<usize> = (0..self.covered.len())
            .filter(|&place| of(place).is_some_and(|share| share > 0.0 && share.is_finite()))
            .collect();
        places.sort_by(|&a, &b| {
            let (x, y) = (of(a).unwrap_or(0.0), of(b).unwrap_or(0.0));
            y.total_cmp(&x).then(a.cmp(&b))
        });
        places.truncate(count);
        places
    }

    /// Positions of a person's items among the covered ones, as a vector of norm 1.
    pub(crate) fn project(
        &self,
        history: &[(u32, f32)],
        weighting: Weighting,
        out: &mut Vec<(u32, f64)>,
    ) {
        let inside: Vec<(u32, f32)> = history
            .iter()
            .filter_map(|&(item, count)| {
                let place = self.covered.binary_search(&item).ok()?;
                Some((place as u32, count))
            })
            .collect();
        weighting.unit_vector(&inside, self.covered.len() as u32, out);
    }
}

/// The packed upper triangle of a noisy total, off-diagonals divided by √2 again.
pub(crate) fn unscaled_off_diagonals(side: usize, values: &[f64]) -> Vec<f64> {
    let mut packed = values.to_vec();
    let mut at = 0;
    for i in 0..side {
        for value in &mut packed[at + 1..at + side - i] {
            *value *= std::f64::consts::FRAC_1_SQRT_2;
        }
        at += side - i;
    }
    packed
}

fn unpack(side: usize, values: impl Iterator<Item = f64>) -> Array2<f64> {
    let mut matrix = Array2::zeros((side, side));
    let places = (0..side).flat_map(|i| (i..side).map(move |j| (i, j)));
    for ((i, j), value) in places.zip(values) {
        matrix[[i, j]] = value;
        matrix[[j, i]] = value;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_index_counts_the_upper_triangle_row_by_row() {
        for side in 1..20 {
            let mut expected = 0;
            for i in 0..side {
                for j in i..side {
                    assert_eq!(packed_index(side, i, j), expected);
                    expected += 1;
                }
            }
            assert_eq!(packed_len(side), expected);
        }
    }

    #[test]
    fn factors_find_what_independence_does_not_explain() {
        // Two groups of four items that are bought together, and an item that everybody buys.
        let first: &[u32] = &[0, 1, 2, 3, 8];
        let second: &[u32] = &[4, 5, 6, 7, 8];
        let gram = crate::scorers::tests_support::gram_of(&[first, second, first, second], 10);
        let mut popularity = [0.1; 10];
        (popularity[8], popularity[9]) = (0.2, 0.0);
        let options = GramFactors { rank: 1, ..GramFactors::default() };
        let factors = gram.factors(&popularity, &options);
        let column = factors.column(0);
        assert!((column.dot(&column).sqrt() - 8.0).abs() < 1e-9);
        for item in 0..4 {
            assert!(column[item] * column[0] > 1.0, "{column}");
            assert!(column[item + 4] * column[0] < -1.0, "{column}");
        }
        assert!(column[8].abs() < 1e-6 && column[9] == 0.0, "{column}");
    }

    #[test]
    fn items_of_a_person_on_average() {
        use crate::scorers::tests_support::{gram_of, with_noise};
        let gram = gram_of(&[&[0, 1, 2], &[4], &[1, 2]], 9);
        assert!((gram.items_per_person() - 2.0).abs() < 1e-12);
        assert_eq!(gram_of(&[], 3).items_per_person(), 1.0);
        let persons: Vec<Vec<u32>> = (0..250).map(|n| (n % 40..n % 40 + 20).collect()).collect();
        let persons: Vec<&[u32]> = persons.iter().map(Vec::as_slice).collect();
        let noisy = with_noise(gram_of(&persons, 60), 2.0, 7).items_per_person();
        assert!((noisy - 20.0).abs() < 2.0, "{noisy}");
    }

    #[test]
    fn unpacked_is_symmetric() {
        let matrix = unpack(3, (1..=6).map(f64::from));
        let expected = ndarray::array![[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]];
        assert_eq!(matrix, expected);
    }
}
