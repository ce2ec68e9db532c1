//! Pitfalls of other people's implementations that have no place of their own elsewhere. The whole
//! list, with the test for each, is in `docs/privacy.md`, section 8.
#![allow(missing_docs, clippy::unwrap_used)]

use std::convert::Infallible;

use chorale_dp::{
    Budget, BudgetError, FastDiscreteGaussian, Noise as _, Rational, Rho, Settlement, clip,
};
use rand_core::{TryCryptoRng, TryRng};

/// Every file between uniform bits and a noised sum.
const NOISE_PATH: [(&str, &str); 10] = [
    ("noise.rs", include_str!("../src/noise.rs")),
    ("layered.rs", include_str!("../src/layered.rs")),
    ("generator.rs", include_str!("../src/generator.rs")),
    ("sampler/mod.rs", include_str!("../src/sampler/mod.rs")),
    ("sampler/words.rs", include_str!("../src/sampler/words.rs")),
    ("sampler/exact.rs", include_str!("../src/sampler/exact.rs")),
    ("sampler/fast.rs", include_str!("../src/sampler/fast.rs")),
    ("sampler/fast/block.rs", include_str!("../src/sampler/fast/block.rs")),
    ("sampler/fast/law.rs", include_str!("../src/sampler/fast/law.rs")),
    ("sampler/fast/resolve.rs", include_str!("../src/sampler/fast/resolve.rs")),
];

/// Mironov (2012): the low bits of floating-point noise give the data away.
#[test]
fn no_float_in_the_noise_path() {
    for (name, source) in NOISE_PATH {
        let code = source.split("#[cfg(test)]").next().unwrap();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            assert!(!line.contains("f32") && !line.contains("f64"), "{name}: {line}");
        }
    }
}

/// The bound is on the whole vector: many small coordinates are as long as one large one.
#[test]
fn the_whole_vector_is_clipped_and_not_its_parts() {
    let bound = 1_000;
    let mut flat = vec![bound as i64 / 10; 10_000];
    clip::clip_to(&mut flat, bound);
    let square: u128 = flat.iter().map(|x| u128::from(x.unsigned_abs()).pow(2)).sum();
    assert!(square <= u128::from(bound) * u128::from(bound));
    assert!(square > u128::from(bound) * u128::from(bound) / 4, "bounded, not thrown away");
    assert!(flat.iter().all(|x| *x == flat[0] && *x > 0));
}

/// The cost is that of the integer Δ which the clip enforces, and one unit more costs more.
#[test]
fn the_sensitivity_is_not_rounded_in_anybodys_favour() {
    let sigma_squared = Rational::from_integer(1u64 << 30);
    let cost = |delta: u64| Rho::of_distributed_gaussian(delta, &sigma_squared, 8, 100);
    for delta in [1u64, 2, 3, 65_535, 65_536, (1 << 40) + 1] {
        let square = Rational::from_integer(u128::from(delta) * u128::from(delta));
        let exact = &square / &(&Rational::from_integer(2) * &sigma_squared);
        assert!(*cost(delta).as_rational() >= exact);
        assert!(cost(delta + 1) > cost(delta));
    }
}

/// Whoever asks for one round twice, or settles it twice, gets no second charge and no refund.
#[test]
fn a_budget_asked_twice_charges_once() {
    let rho = |n: u64| Rho::new(Rational::new(n, 10u64).unwrap()).unwrap();
    let mut budget = Budget::new(rho(10));
    budget.reserve(1, rho(4)).unwrap();
    assert!(matches!(budget.reserve(1, rho(4)), Err(BudgetError::Stale { .. })));
    budget.settle(1, Settlement::Spent).unwrap();
    assert!(matches!(
        budget.settle(1, Settlement::Refunded),
        Err(BudgetError::NotReserved { round: 1 })
    ));
    assert_eq!((budget.spent(), budget.reserved()), (&rho(4), Rho::zero()));
    // Asking whether something would fit changes nothing, however often.
    for _ in 0..3 {
        budget.admit(&rho(6)).unwrap();
    }
}

/// A generator that has run dry repeats itself: what would be a weak one in the field.
struct Stuck(u64);

impl TryRng for Stuck {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0 as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Ok(self.0)
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = (self.try_next_u64()? >> 56) as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Stuck {}

/// Noise is a function of the generator alone: equal bits give equal noise, so whoever could guess
/// the generator could take the noise off. That only cryptographic generators are accepted is a
/// compile-fail test of the gate (`tests/ui/weak_randomness.rs`).
#[test]
fn noise_is_as_secret_as_its_generator() {
    let draw = |seed: u64| {
        let variance = Rational::from_integer(1u64 << 20);
        let mut noise = FastDiscreteGaussian::new(&variance, Stuck(seed)).unwrap();
        let mut values = vec![0i64; 64];
        noise.add_to(&mut values);
        values
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
