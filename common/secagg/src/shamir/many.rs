//! Reconstruction of many secrets whose holders are nearly the same: on the complete graph the
//! survivors hold shares of everybody, and neighbours on the ring have most of their neighbours in
//! common. Lagrange's coefficients are carried from one secret to the next, and only what changes
//! with a holder is multiplied in.

use curve25519_dalek::Scalar;

use super::{ReconstructError, Share, check_points, product, reconstruct};
use crate::keys::SecretScalar;

/// Largest point for which inverses are kept, 2 MiB of them at most. Points are slots.
const POINT_MAX: u64 = 1 << 16;

/// More new holders than this part of the threshold, and starting afresh is faster.
const AFRESH: usize = 8;

/// The secret behind some `threshold` of the shares of each subject, as [`reconstruct`] gives it
/// where all shares are right. It is fast where a subject's holders are those of the subject
/// before, but for a few.
///
/// # Errors
/// For each subject apart, as [`reconstruct`].
pub fn reconstruct_many(
    subjects: &[Vec<(u64, Share)>],
    threshold: usize,
) -> Vec<Result<SecretScalar, ReconstructError>> {
    let largest = subjects.iter().flatten().map(|(point, _)| *point).max().unwrap_or_default();
    if largest > POINT_MAX || subjects.len() < 2 {
        return subjects.iter().map(|shares| reconstruct(shares, threshold)).collect();
    }
    let mut coefficients = Coefficients::new(largest);
    subjects
        .iter()
        .map(|shares| {
            if threshold == 0 || shares.len() < threshold {
                return Err(ReconstructError::TooFew { shares: shares.len(), threshold });
            }
            check_points(shares.iter().map(|(point, _)| *point))?;
            Ok(coefficients.reconstruct(shares, threshold))
        })
        .collect()
}

/// Lagrange's coefficients at zero for a set of points: (Π_j x_j) / d_i, where
/// d_i = x_i Π_{j≠i} (x_j - x_i). All of this is public.
struct Coefficients {
    /// 1/k at place k; zero at 0.
    inverses: Vec<Scalar>,
    points: Vec<u64>,
    /// 1/d_i for each of the points.
    parts: Vec<Scalar>,
    /// Π_j x_j.
    all: Scalar,
    /// Its inverse.
    one_over_all: Scalar,
}

impl Coefficients {
    fn new(largest: u64) -> Self {
        let mut inverses: Vec<Scalar> = (1..=largest).map(Scalar::from).collect();
        Scalar::invert_batch_alloc(&mut inverses);
        inverses.insert(0, Scalar::ZERO);
        Self {
            inverses,
            points: Vec::new(),
            parts: Vec::new(),
            all: Scalar::ONE,
            one_over_all: Scalar::ONE,
        }
    }

    /// The secret, given enough shares at distinct points other than zero.
    fn reconstruct(&mut self, shares: &[(u64, Share)], threshold: usize) -> SecretScalar {
        let mut held: Vec<(u64, &Share)> =
            shares.iter().map(|(point, share)| (*point, share)).collect();
        held.sort_unstable_by_key(|(point, _)| *point);
        self.choose(&held, threshold);
        let share = |point: &u64| held.binary_search_by_key(point, |(point, _)| *point);
        let terms = self.points.iter().zip(&self.parts).filter_map(|(point, part)| {
            // Every chosen point is among those held.
            share(point).ok().map(|place| held[place].1.0 * part)
        });
        SecretScalar::from_scalar(self.all * terms.sum::<Scalar>())
    }

    /// Moves to `threshold` of the points held, to as many as possible of those chosen before.
    fn choose(&mut self, held: &[(u64, &Share)], threshold: usize) {
        let is_held = |point: u64| held.binary_search_by_key(&point, |(point, _)| *point).is_ok();
        let gone: Vec<usize> =
            (0..self.points.len()).filter(|place| !is_held(self.points[*place])).collect();
        if self.points.len() != threshold || gone.len() * AFRESH > threshold {
            return self.start(held.iter().take(threshold).map(|(point, _)| *point).collect());
        }
        let mut chosen = self.points.clone();
        chosen.sort_unstable();
        let mut others = held
            .iter()
            .map(|(point, _)| *point)
            .filter(|point| chosen.binary_search(point).is_err());
        for place in gone {
            // There are enough others: at least the threshold is held.
            if let Some(other) = others.next() {
                self.replace(place, other);
            }
        }
    }

    fn start(&mut self, points: Vec<u64>) {
        self.all = product(points.iter().copied());
        let parts = points.iter().map(|own| {
            let others = points.iter().filter(|other| *other != own);
            let magnitude = product(others.clone().map(|other| other.abs_diff(*own)).chain([*own]));
            if others.filter(|other| *other < own).count() % 2 == 0 {
                magnitude
            } else {
                -magnitude
            }
        });
        // The product takes part in the one inversion.
        self.parts = parts.chain([self.all]).collect();
        Scalar::invert_batch_alloc(&mut self.parts);
        self.one_over_all = self.parts.pop().unwrap_or_default();
        self.points = points;
    }

    /// Puts point `new` in the place of another: every other d_i loses a factor and gains one.
    fn replace(&mut self, place: usize, new: u64) {
        let old = std::mem::replace(&mut self.points[place], new);
        self.all *= Scalar::from(new) * self.inverse(old);
        self.one_over_all *= Scalar::from(old) * self.inverse(new);
        // The coefficients of a constant add up to one: what the others leave is the new one's.
        let mut own = self.one_over_all;
        for index in (0..self.points.len()).filter(|index| *index != place) {
            let point = self.points[index];
            let factor = Scalar::from(point.abs_diff(old)) * self.inverse(point.abs_diff(new));
            let same_side = (old < point) == (new < point);
            self.parts[index] *= if same_side { factor } else { -factor };
            own -= self.parts[index];
        }
        self.parts[place] = own;
    }

    fn inverse(&self, value: u64) -> Scalar {
        // Differences of points are no larger than the largest.
        self.inverses.get(value as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    use super::*;
    use crate::shamir::{PointError, split};

    /// A secret with shares at `points`, of which all are right.
    fn dealt(
        points: &[u64],
        threshold: usize,
        rng: &mut ChaCha20Rng,
    ) -> (SecretScalar, Vec<(u64, Share)>) {
        let secret = SecretScalar::random(rng);
        let shares = split(&secret, threshold, points, rng).unwrap();
        (secret, points.iter().copied().zip(shares).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Holders that change little, a lot, or grow beyond the table, in any order.
        #[test]
        fn every_secret_is_the_one_that_was_shared(
            seed: u64,
            threshold in 1usize..20,
            changes in proptest::collection::vec(0usize..6, 1..30),
            spread in prop_oneof![Just(60u64), Just(5000), Just(1 << 20)],
        ) {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let mut points: Vec<u64> = Vec::new();
            let draw = |points: &[u64], rng: &mut ChaCha20Rng| loop {
                let point = 1 + rng.next_u64() % spread;
                if !points.contains(&point) {
                    return point;
                }
            };
            for _ in 0..threshold + 3 {
                points.push(draw(&points, &mut rng));
            }
            let mut subjects = Vec::new();
            for change in changes {
                for _ in 0..change {
                    let place = rng.next_u64() as usize % points.len();
                    points[place] = draw(&points, &mut rng);
                }
                let rotated = change % points.len();
                points.rotate_left(rotated);
                subjects.push(dealt(&points, threshold, &mut rng));
            }
            let shares: Vec<_> = subjects.iter().map(|(_, shares)| shares.clone()).collect();
            for (found, (secret, _)) in reconstruct_many(&shares, threshold).iter().zip(&subjects) {
                prop_assert_eq!(found.as_ref().unwrap(), secret);
            }
        }
    }

    #[test]
    fn a_subject_that_is_refused_does_not_disturb_the_others() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (first, shares) = dealt(&[1, 2, 3, 4], 3, &mut rng);
        let (last, others) = dealt(&[2, 3, 4, 5], 3, &mut rng);
        let twice = vec![shares[0].clone(), shares[0].clone(), shares[1].clone()];
        let zero = vec![(0, shares[0].1.clone()), shares[1].clone(), shares[2].clone()];
        let few = shares[..2].to_vec();
        let found = reconstruct_many(&[shares, twice, zero, few, others], 3);
        assert_eq!(found[0].as_ref(), Ok(&first));
        let duplicate = PointError::Duplicate { point: 1 };
        assert_eq!(found[1], Err(ReconstructError::Points(duplicate)));
        assert_eq!(found[2], Err(ReconstructError::Points(PointError::Zero)));
        assert_eq!(found[3], Err(ReconstructError::TooFew { shares: 2, threshold: 3 }));
        assert_eq!(found[4].as_ref(), Ok(&last));
        assert!(reconstruct_many(&[Vec::new(), Vec::new()], 0).iter().all(Result::is_err));
    }
}
