//! What each store of the swarm contributes, and what the sum over survivors must therefore be.
//!
//! Each store has one person with 1/4 at 15 coordinates: 8 that all stores share, where the sum
//! stands far above the noise, and 7 of its own, so that a sum over the wrong stores is found out.
//! Quarters are whole numbers on the lattice, so that nothing is rounded; the norm is 0.97, so that
//! nothing is clipped.

use chorale_plan::{PersonSink, PersonVector, Pseudonym, SinkError};
use chorale_task::{Model, Popularity};

/// Coordinates at which every store has something.
const SHARED: u32 = 8;

/// Coordinates at which one store has something, beside the shared ones.
const OWN: u32 = 7;

/// Fewest coordinates of a swarm, so that a thousand of them are empty and show the noise alone.
pub(crate) const fn coordinates_min(stores: u32) -> u32 {
    SHARED + OWN * stores + 1_000
}

/// What a store has at each of its coordinates.
const VALUE: f32 = 0.25;

/// The `floor` of the swarm's plans: the task raises every sum to it. A power of two, so that it is
/// the same number in every format.
pub(crate) const FLOOR: f32 = 1.0 / 1024.0;

/// How far a noisy figure may be from what it estimates, in its own standard deviations. Beyond 6
/// lies one in 500 million.
const DEVIATIONS_MAX: f64 = 6.0;

/// The store's coordinates, ascending.
fn coordinates_of(store: u32, coordinates: u32) -> Vec<u32> {
    let rest = coordinates - SHARED;
    let own = (0..OWN).map(|number| {
        SHARED + ((u64::from(store) * u64::from(OWN) + u64::from(number)) % u64::from(rest)) as u32
    });
    let mut all: Vec<u32> = (0..SHARED).chain(own).collect();
    all.sort_unstable();
    all
}

/// Gives the store's one person to the gate.
pub(crate) fn contribute(
    store: u32,
    coordinates: u32,
    sink: &mut dyn PersonSink,
) -> Result<(), SinkError> {
    let index = coordinates_of(store, coordinates);
    let value = vec![VALUE; index.len()];
    let part = PersonVector::Sparse { index: &index, value: &value };
    sink.person(Pseudonym::from_bytes([1; 32]), part)
}

/// What the total of a round shows.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Checked {
    /// Standard deviation of the noise that the coordinator states, per coordinate; 0 without.
    pub(crate) noise_std: f64,
    /// Standard deviation that the coordinates where nobody has anything show, divided by that;
    /// absent without noise.
    pub(crate) noise_ratio: Option<f64>,
    /// Largest distance from the survivors' true sum at a shared coordinate, in the coordinator's
    /// standard deviations; in quarters without noise, where it is 0.
    pub(crate) largest_error: f64,
}

/// Compares a round's model with the sum over `survivors`. Without noise every coordinate must be
/// exact; with noise the shared coordinates must be near and the empty ones must spread as stated.
///
/// # Errors
/// What is wrong with the total.
pub(crate) fn check(model: &Model, survivors: &[u32], coordinates: u32) -> Result<Checked, String> {
    let mut quarters = vec![0u32; coordinates as usize];
    for store in survivors {
        for coordinate in coordinates_of(*store, coordinates) {
            quarters[coordinate as usize] += 1;
        }
    }
    let tensor =
        |name: &str, length: u32| model.require(name, &[length]).map_err(|error| error.to_string());
    let sums = tensor(Popularity::TENSOR, coordinates)?.values();
    let noise_std = f64::from(tensor(Popularity::NOISE, 1)?.values()[0]);
    if noise_std == 0.0 {
        let expected = quarters.iter().map(|count| (*count as f32 * VALUE).max(FLOOR));
        let wrong = sums.iter().zip(expected).filter(|(sum, expected)| *sum != expected).count();
        return match wrong {
            0 => Ok(Checked { noise_std, noise_ratio: None, largest_error: 0.0 }),
            wrong => Err(format!("{wrong} coordinates are not the survivors' exact sum")),
        };
    }
    let shared = SHARED as usize;
    let errors = sums[..shared].iter().zip(&quarters).map(|(sum, count)| {
        (f64::from(*sum) - f64::from(*count) * f64::from(VALUE)).abs() / noise_std
    });
    let largest_error = errors.fold(0.0, f64::max);
    // Where the floor raised a sum, it only brought it nearer.
    if largest_error > DEVIATIONS_MAX {
        return Err(format!("a coordinate is {largest_error:.1} σ off the survivors' sum"));
    }
    let noise_ratio = Some(spread(sums, &quarters, noise_std)?);
    Ok(Checked { noise_std, noise_ratio, largest_error })
}

/// The noise where nobody has anything. Its lower half was raised to the floor; the upper one must
/// be a half, and spread as stated.
fn spread(sums: &[f32], quarters: &[u32], noise_std: f64) -> Result<f64, String> {
    let empty = sums.iter().zip(quarters).filter(|(_, count)| **count == 0).map(|(sum, _)| *sum);
    let (mut all, mut above, mut squares) = (0.0f64, 0.0f64, 0.0f64);
    for sum in empty {
        all += 1.0;
        if sum > FLOOR {
            above += 1.0;
            squares += f64::from(sum).powi(2);
        }
    }
    if (above - all / 2.0).abs() > DEVIATIONS_MAX * (all / 4.0).sqrt() {
        return Err(format!("{above} of {all} empty coordinates are above zero, not one half"));
    }
    let ratio = (squares / above).sqrt() / noise_std;
    if (ratio - 1.0).abs() > DEVIATIONS_MAX / (2.0 * above).sqrt() {
        return Err(format!("the noise is {ratio:.3} times as large as the coordinator states"));
    }
    Ok(ratio)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_task::Tensor;
    use chorale_wire::Digest;

    use super::*;

    fn model(sums: &[f64], noise_std: f64) -> Model {
        let model = Model::initial(sums.len() as u32, Digest::plain(b"catalogue")).unwrap();
        let sums = Tensor::vector(sums).unwrap();
        let noise = Tensor::vector(&[noise_std]).unwrap();
        let model = model.with_tensor("popularity", Popularity::TENSOR, sums).unwrap();
        model.with_tensor("popularity", Popularity::NOISE, noise).unwrap()
    }

    fn exact(survivors: &[u32], coordinates: u32) -> Vec<f64> {
        let mut sums = vec![f64::from(FLOOR); coordinates as usize];
        for store in survivors {
            for coordinate in coordinates_of(*store, coordinates) {
                let sum = &mut sums[coordinate as usize];
                *sum = (*sum * 4.0).round() / 4.0 + 0.25;
            }
        }
        sums
    }

    #[test]
    fn a_store_has_fifteen_coordinates_within_its_norm() {
        for (store, coordinates) in [(0, 64), (999, 1_000), (1_999, 100_000)] {
            let own = coordinates_of(store, coordinates);
            assert_eq!(own.len(), 15);
            assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "{own:?}");
            assert!(own.iter().all(|coordinate| *coordinate < coordinates));
        }
    }

    #[test]
    fn an_exact_sum_is_told_from_one_over_other_stores() {
        let sums = model(&exact(&[0, 1, 5], 200), 0.0);
        assert_eq!(check(&sums, &[0, 1, 5], 200).unwrap().largest_error, 0.0);
        assert!(check(&sums, &[0, 1, 4], 200).is_err());
        assert!(check(&sums, &[0, 1], 200).is_err());
    }

    #[test]
    fn noise_must_be_there_and_as_large_as_stated() {
        let stores: Vec<u32> = (0..100).collect();
        let silent = exact(&stores, 4_000);
        let mut noisy = silent.clone();
        let empty = noisy.iter_mut().filter(|sum| **sum <= f64::from(FLOOR));
        // Half of them were below zero, and the squares of the others are 4 on average.
        empty.step_by(2).for_each(|sum| *sum = 2.0);
        let checked = check(&model(&noisy, 2.0), &stores, 4_000).unwrap();
        assert!((checked.noise_ratio.unwrap() - 1.0).abs() < 1e-6);
        assert!(check(&model(&noisy, 3.0), &stores, 4_000).is_err());
        assert!(check(&model(&silent, 2.0), &stores, 4_000).is_err());
        // A shared coordinate that is far off.
        noisy[0] += 20.0;
        assert!(check(&model(&noisy, 2.0), &stores, 4_000).is_err());
    }
}
