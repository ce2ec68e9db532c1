//! Noise in layers, so that what turns out to be surplus can be taken off again.
//!
//! A round that tolerates many drop-outs needs large noise shares, and most of them are surplus
//! when few agents drop out. Jiang, Wang and others ("Dordis: Efficient Federated Learning with
//! Dropout-Resilient Differential Privacy", EuroSys 2024) let each agent add its share in parts
//! drawn from seeds, and give up the seeds of the parts that the number of survivors makes
//! superfluous. Here the parts are discrete Gaussians: the first is drawn from the operating
//! system's randomness and stays, the others are drawn from seeds of 32 bytes each.

use std::{num::NonZeroUsize, thread};

use rand_core::{CryptoRng, SeedableRng as _};
use zeroize::Zeroizing;

use crate::{Aes256CtrRng, FastDiscreteGaussian, Noise, Rational, SamplerError};

/// A layer that can be drawn a second time by whoever knows its seed.
#[derive(Clone)]
pub struct SeededLayer {
    /// Variance parameter in squared lattice units.
    pub variance: Rational,
    /// Seed of the generator, [`Aes256CtrRng`].
    pub seed: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for SeededLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeededLayer").field("variance", &self.variance).finish_non_exhaustive()
    }
}

impl SeededLayer {
    fn sampler(&self) -> Result<FastDiscreteGaussian<Aes256CtrRng>, SamplerError> {
        FastDiscreteGaussian::new(&self.variance, Aes256CtrRng::from_seed(*self.seed))
    }
}

/// One base layer that stays, and any number of layers that can be taken off.
pub struct LayeredNoise<R> {
    base: FastDiscreteGaussian<R>,
    removable: Vec<FastDiscreteGaussian<Aes256CtrRng>>,
    layers: Vec<Rational>,
    variance: Rational,
}

impl<R: CryptoRng> LayeredNoise<R> {
    /// Noise whose base layer of parameter `base` is drawn with `rng`, and whose other layers are
    /// drawn from their seeds. Each seed must be fresh and serve one vector only.
    ///
    /// # Errors
    /// [`SamplerError`] for a variance out of range.
    pub fn new(base: &Rational, rng: R, removable: &[SeededLayer]) -> Result<Self, SamplerError> {
        let mut layers = vec![base.clone()];
        let mut variance = base.clone();
        for layer in removable {
            variance = &variance + &layer.variance;
            layers.push(layer.variance.clone());
        }
        Ok(Self {
            base: FastDiscreteGaussian::new(base, rng)?,
            removable: removable.iter().map(SeededLayer::sampler).collect::<Result<_, _>>()?,
            layers,
            variance,
        })
    }
}

impl<R: CryptoRng> Noise for LayeredNoise<R> {
    fn add_to(&mut self, total: &mut [i64]) {
        self.base.add_to(total);
        for layer in &mut self.removable {
            layer.add_to(total);
        }
    }

    fn variance(&self) -> &Rational {
        &self.variance
    }

    fn layers(&self) -> &[Rational] {
        &self.layers
    }
}

impl<R> std::fmt::Debug for LayeredNoise<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayeredNoise").field("layers", &self.layers).finish_non_exhaustive()
    }
}

/// Draws each of `layers` again and takes it off `total`, on up to `threads` threads. Each
/// further thread holds one more vector of the length of `total`.
///
/// # Errors
/// [`SamplerError`] for a variance out of range; `total` is unchanged then.
pub fn subtract_layers(
    total: &mut [i64],
    layers: &[SeededLayer],
    threads: NonZeroUsize,
) -> Result<(), SamplerError> {
    let mut samplers =
        layers.iter().map(SeededLayer::sampler).collect::<Result<Vec<_>, SamplerError>>()?;
    let length = total.len();
    let each = samplers.len().div_ceil(threads.get()).max(1);
    let sums: Vec<Vec<i64>> = thread::scope(|scope| {
        let workers: Vec<_> = samplers
            .chunks_mut(each)
            .map(|part| {
                scope.spawn(move || {
                    let mut sum = vec![0; length];
                    for sampler in part {
                        sampler.add_to(&mut sum);
                    }
                    sum
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    for sum in sums {
        for (coordinate, drawn) in total.iter_mut().zip(sum) {
            *coordinate = coordinate.wrapping_sub(drawn);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn layer(variance: u64, byte: u8) -> SeededLayer {
        SeededLayer { variance: Rational::from_integer(variance), seed: Zeroizing::new([byte; 32]) }
    }

    #[test]
    fn what_was_added_from_seeds_comes_off_exactly() {
        let base = Rational::from_integer(10_000u64);
        let rng = || Aes256CtrRng::from_seed([9; 32]);
        let removable = [layer(300, 1), layer(5_000, 2), layer(70_000, 3)];
        let mut kept = vec![7i64; 1_003];
        LayeredNoise::new(&base, rng(), &removable[..1]).unwrap().add_to(&mut kept);
        for threads in 1..4 {
            let mut all = vec![7i64; 1_003];
            LayeredNoise::new(&base, rng(), &removable).unwrap().add_to(&mut all);
            assert_ne!(all, kept);
            let threads = NonZeroUsize::new(threads).unwrap();
            subtract_layers(&mut all, &removable[1..], threads).unwrap();
            assert_eq!(all, kept);
        }
    }

    #[test]
    fn layers_are_declared_and_add_up() {
        let noise = LayeredNoise::new(
            &Rational::from_integer(1_000u64),
            Aes256CtrRng::from_seed([0; 32]),
            &[layer(300, 1), layer(500, 2)],
        )
        .unwrap();
        assert_eq!(*noise.variance(), Rational::from_integer(1_800u64));
        assert_eq!(noise.layers().len(), 3);
        let plain = FastDiscreteGaussian::new(
            &Rational::from_integer(5u64),
            Aes256CtrRng::from_seed([1; 32]),
        )
        .unwrap();
        assert_eq!(plain.layers(), [Rational::from_integer(5u64)]);
    }

    #[test]
    fn every_layer_is_in_every_coordinate_with_its_variance() {
        let variances = [2_000u64, 900, 400];
        let mut noise = LayeredNoise::new(
            &Rational::from_integer(variances[0]),
            Aes256CtrRng::from_seed([5; 32]),
            &[layer(variances[1], 6), layer(variances[2], 7)],
        )
        .unwrap();
        let mut total = vec![0i64; 40_000];
        noise.add_to(&mut total);
        let mean_square = total.iter().map(|x| (x * x) as f64).sum::<f64>() / total.len() as f64;
        // The mean of 40,000 squares has a relative deviation of √(2/40,000) < 0.008.
        assert!((mean_square / 3_300.0 - 1.0).abs() < 0.04, "{mean_square}");
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert!(!format!("{:?}", layer(300, 77)).contains("77"));
    }
}
