//! One person against the shared item factors: the Newton step that finds their own factor, and
//! the rank-one gradient that they add to the sum.
//!
//! The loss of a person with items I, n = |I|, p = 1_I/n is -Σ_i p_i log softmax(log π + V u)_i.
//! Its derivative by u at u = 0 is -Vᵀ(p - π), its second derivative Vᵀ(diag π - ππᵀ)V; its
//! derivative by V at a given u is -(p - softmax(log π + V u)) uᵀ.

use ndarray::Array2;

use crate::linalg::{dot, norm, solve_positive_definite};

/// The shared part of a round: everything that does not depend on the person.
#[derive(Clone, Debug)]
pub(crate) struct SharedFactors {
    rank: usize,
    /// Items x rank, row-major.
    factors: Vec<f64>,
    log_popularity: Vec<f64>,
    /// (π_i / max π)^exponent, the weight of item i's residual.
    tail_weights: Vec<f64>,
    /// Vᵀπ.
    mean: Vec<f64>,
    /// Vᵀ(diag π - ππᵀ)V.
    curvature: Array2<f64>,
}

impl SharedFactors {
    /// From factors (items x rank, row-major) and popularity (probabilities, all positive).
    pub(crate) fn new(
        factors: Vec<f64>,
        rank: usize,
        popularity: &[f64],
        tail_exponent: f64,
    ) -> Self {
        let most = popularity.iter().copied().fold(0.0, f64::max);
        let weight = |share: &f64| (share / most).powf(tail_exponent);
        let mut mean = vec![0.0; rank];
        let mut curvature = Array2::zeros((rank, rank));
        for (row, &share) in factors.chunks_exact(rank).zip(popularity) {
            for a in 0..rank {
                mean[a] += share * row[a];
                for b in 0..rank {
                    curvature[[a, b]] += share * row[a] * row[b];
                }
            }
        }
        for a in 0..rank {
            for b in 0..rank {
                curvature[[a, b]] -= mean[a] * mean[b];
            }
        }
        Self {
            rank,
            factors,
            log_popularity: popularity.iter().map(|share| share.ln()).collect(),
            tail_weights: popularity.iter().map(weight).collect(),
            mean,
            curvature,
        }
    }

    /// Number of items.
    pub(crate) fn items(&self) -> usize {
        self.log_popularity.len()
    }

    /// The person's factor: one Newton step from 0 on n times the loss with ridge λ > 0,
    /// u = (n VᵀΣV + λI)⁻¹ n Vᵀ(p - π). Zero for a person without items.
    pub(crate) fn person_factor(&self, items: &[u32], lambda: f64) -> Vec<f64> {
        let count = items.len() as f64;
        let mut u: Vec<f64> = self.mean.iter().map(|mean| -count * mean).collect();
        for &item in items {
            for (sum, value) in u.iter_mut().zip(self.row(item as usize)) {
                *sum += value;
            }
        }
        if items.is_empty() {
            return vec![0.0; self.rank];
        }
        let mut system = &self.curvature * count;
        system.diag_mut().mapv_inplace(|value| value + lambda);
        match solve_positive_definite(system, &mut u) {
            Ok(()) if u.iter().all(|value| value.is_finite()) => u,
            // Factors so large that the curvature overflows: such a model says nothing.
            _ => vec![0.0; self.rank],
        }
    }

    /// log π + V u for every item.
    pub(crate) fn logits(&self, u: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.extend(
            self.factors
                .chunks_exact(self.rank)
                .zip(&self.log_popularity)
                .map(|(row, log)| log + dot(row, u)),
        );
    }

    /// p - softmax(log π + V u): what the model does not explain of the person.
    pub(crate) fn residual(&self, items: &[u32], u: &[f64], out: &mut Vec<f64>) {
        self.logits(u, out);
        let most = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut total = 0.0;
        for value in out.iter_mut() {
            *value = (*value - most).exp();
            total += *value;
        }
        let factor = -1.0 / total;
        out.iter_mut().for_each(|value| *value *= factor);
        let share = 1.0 / items.len().max(1) as f64;
        for &item in items {
            out[item as usize] += share;
        }
    }

    /// The person's descent direction w ∘ (p - softmax) uᵀ, w the tail weights, scaled to norm `clip`, row-major, in single
    /// precision; all zeros where there is no direction. The norm of a rank-one matrix is the
    /// product of its factors' norms.
    pub(crate) fn normalised_gradient(
        &self,
        items: &[u32],
        lambda: f64,
        clip: f64,
        residual: &mut Vec<f64>,
        out: &mut [f32],
    ) {
        let u = self.person_factor(items, lambda);
        self.residual(items, &u, residual);
        for (value, weight) in residual.iter_mut().zip(&self.tail_weights) {
            *value *= weight;
        }
        let scale = clip / (norm(residual) * norm(&u));
        if !scale.is_finite() {
            out.fill(0.0);
            return;
        }
        let scaled: Vec<f64> = u.iter().map(|value| value * scale).collect();
        for (row, e) in out.chunks_exact_mut(self.rank).zip(residual.iter()) {
            for (place, value) in row.iter_mut().zip(&scaled) {
                *place = (e * value) as f32;
            }
        }
    }

    fn row(&self, item: usize) -> &[f64] {
        &self.factors[item * self.rank..(item + 1) * self.rank]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::seeded_normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    const ITEMS: usize = 12;
    const RANK: usize = 3;

    fn factors() -> Vec<f64> {
        let mut rng = ChaCha12Rng::seed_from_u64(4);
        seeded_normal(ITEMS, RANK, &mut rng).into_iter().collect()
    }

    fn popularity() -> Vec<f64> {
        let raw: Vec<f64> = (1..=ITEMS).map(|i| i as f64).collect();
        let total: f64 = raw.iter().sum();
        raw.iter().map(|value| value / total).collect()
    }

    /// The loss written down once more, without any of the shared precomputation.
    fn loss(factors: &[f64], u: &[f64], items: &[u32]) -> f64 {
        let logits: Vec<f64> = popularity()
            .iter()
            .enumerate()
            .map(|(i, share)| {
                let product: f64 = (0..RANK).map(|a| factors[i * RANK + a] * u[a]).sum();
                share.ln() + product
            })
            .collect();
        let normaliser = logits.iter().map(|z| z.exp()).sum::<f64>().ln();
        items.iter().map(|&i| (normaliser - logits[i as usize]) / items.len() as f64).sum()
    }

    #[test]
    fn gradient_equals_finite_differences_of_the_loss() {
        let shared = SharedFactors::new(factors(), RANK, &popularity(), 0.0);
        let (items, lambda) = ([0u32, 3, 7, 8], 0.5);
        let u = shared.person_factor(&items, lambda);
        let mut residual = Vec::new();
        let mut part = vec![0.0; ITEMS * RANK];
        shared.normalised_gradient(&items, lambda, 1.0, &mut residual, &mut part);
        let length = norm(&residual) * norm(&u);
        let step = 1e-5;
        for place in 0..ITEMS * RANK {
            let mut moved = factors();
            moved[place] += step;
            let above = loss(&moved, &u, &items);
            moved[place] -= 2.0 * step;
            let below = loss(&moved, &u, &items);
            let descent = -(above - below) / (2.0 * step) / length;
            assert!((descent - f64::from(part[place])).abs() < 1e-6, "{place}");
        }
    }

    #[test]
    fn person_factor_is_the_newton_step_of_the_loss() {
        // Gradient and curvature at 0 by finite differences of the loss.
        let shared = SharedFactors::new(factors(), RANK, &popularity(), 0.0);
        let (items, lambda, step) = ([1u32, 2, 9], 0.7, 1e-4);
        let count = items.len() as f64;
        let at = |moves: &[(usize, f64)]| {
            let mut u = [0.0; RANK];
            for &(a, by) in moves {
                u[a] += by;
            }
            loss(&factors(), &u, &items)
        };
        let mut hessian = Array2::<f64>::eye(RANK) * lambda;
        let mut expected = vec![0.0; RANK];
        for a in 0..RANK {
            expected[a] = -count * (at(&[(a, step)]) - at(&[(a, -step)])) / (2.0 * step);
            for b in 0..RANK {
                let mixed = at(&[(a, step), (b, step)])
                    - at(&[(a, step), (b, -step)])
                    - at(&[(a, -step), (b, step)])
                    + at(&[(a, -step), (b, -step)]);
                hessian[[a, b]] += count * mixed / (4.0 * step * step);
            }
        }
        assert!(solve_positive_definite(hessian, &mut expected).is_ok());
        for (found, expected) in shared.person_factor(&items, lambda).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn tail_weights_only_rescale_rows() {
        let plain = SharedFactors::new(factors(), RANK, &popularity(), 0.0);
        let calm = SharedFactors::new(factors(), RANK, &popularity(), 0.5);
        let (mut a, mut b) = (vec![0.0; ITEMS * RANK], vec![0.0; ITEMS * RANK]);
        plain.normalised_gradient(&[0, 5], 0.5, 1.0, &mut Vec::new(), &mut a);
        calm.normalised_gradient(&[0, 5], 0.5, 1.0, &mut Vec::new(), &mut b);
        // π grows linearly with the index: item 2's weight is (3/12)^0.5, the last one's is 1.
        let last = (ITEMS - 1) * RANK;
        let ratio = (b[2 * RANK] / a[2 * RANK]) / (b[last] / a[last]);
        assert!((ratio - 0.5).abs() < 1e-4, "{ratio}");
    }

    #[test]
    fn nobody_moves_nothing() {
        let shared = SharedFactors::new(factors(), RANK, &popularity(), 0.25);
        let mut part = vec![1.0; ITEMS * RANK];
        shared.normalised_gradient(&[], 1.0, 1.0, &mut Vec::new(), &mut part);
        assert!(part.iter().all(|value| *value == 0.0));
    }
}
