//! μ-GDP to (ε, δ), exactly: a Gaussian mechanism with μ = Δ/σ is (ε, δ)-DP iff
//! δ >= Φ(-ε/μ + μ/2) - e^ε·Φ(-ε/μ - μ/2) (Balle and Wang 2018, Theorem 8; Dong, Roth and Su
//! 2022, Corollary 2.13). Gaussian mechanisms compose as μ² = Σ μ_t².
//!
//! These are figures for *continuous* Gaussians: for discrete ones go through [`super::bridge`].

use super::{
    in_domain, largest, smallest,
    special::{EPSILON, erfcx, exp_minus_square},
};

/// The δ of μ-GDP at ε >= 0, rounded up; 1 outside the domain.
#[must_use]
pub fn delta(epsilon: f64, mu: f64) -> f64 {
    if epsilon.is_nan() || mu.is_nan() || epsilon < 0.0 || mu < 0.0 || !mu.is_finite() {
        return 1.0;
    }
    if mu == 0.0 || epsilon.is_infinite() {
        return 0.0;
    }
    // With a = (ε/μ - μ/2)/√2 and b = (ε/μ + μ/2)/√2: b² - a² = ε, so both terms carry the factor
    // e^{-a²} and e^ε never appears by itself.
    let (ratio, half) = (epsilon / mu, mu / 2.0);
    let a = (ratio - half) * std::f64::consts::FRAC_1_SQRT_2;
    let b = (ratio + half) * std::f64::consts::FRAC_1_SQRT_2;
    let gauss = exp_minus_square(a);
    let first = if a >= 0.0 { gauss * erfcx(a) } else { libm::erfc(a) };
    let second = gauss * erfcx(b);
    // a and b are off by at most 4 units of b; erfc(a) and e^{-a²} have logarithmic derivatives
    // up to 2(|a|+1); the functions themselves add at most 32 units.
    let slack = EPSILON * (32.0 + 16.0 * (a.abs() + 1.0) * (b + 1.0));
    let value = 0.5 * (first - second) + slack * 0.5 * (first + second) + f64::MIN_POSITIVE;
    if value.is_nan() { 1.0 } else { value.clamp(0.0, 1.0) }
}

/// The ε of μ-GDP at δ, rounded up, given μ² (rounded up by the caller).
/// Infinity for δ outside (0, 1) or μ² that is negative, infinite or NaN.
#[must_use]
pub fn epsilon(mu_squared: f64, delta: f64) -> f64 {
    let domain = delta > 0.0 && delta < 1.0 && mu_squared >= 0.0 && mu_squared.is_finite();
    if !domain {
        return f64::INFINITY;
    }
    let mu = mu_squared.sqrt().next_up();
    let holds = |epsilon: f64| self::delta(epsilon, mu) <= delta;
    // Φ(-ε/μ + μ/2) <= δ already at ε = μ²/2 + μ√(2·ln(1/δ)).
    let mut high = mu * mu / 2.0 + mu * (-2.0 * libm::log(delta)).sqrt();
    for _ in 0..64 {
        if holds(high) {
            return smallest(high, holds);
        }
        high = high * 1.001 + f64::MIN_POSITIVE;
    }
    f64::INFINITY
}

/// The largest μ found that is (ε, δ)-DP, rounded down. Zero outside the domain.
#[must_use]
pub fn mu(epsilon: f64, delta: f64) -> f64 {
    if !in_domain(epsilon, delta) {
        return 0.0;
    }
    // δ(ε, μ) -> 1 as μ grows; a μ with μ²/2 - μ·√(2ln(1/(1-δ))) above ε is too large.
    let mut high = 1.0;
    while self::delta(epsilon, high) <= delta && high < 1e150 {
        high *= 2.0;
    }
    largest(high, |mu| self::delta(epsilon, mu) <= delta)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        // δ(1, 1) = Φ(-1/2) - e·Φ(-3/2), to 15 digits.
        let exact = 0.308_537_538_725_986_9 - std::f64::consts::E * 0.066_807_201_268_858_07;
        let ours = delta(1.0, 1.0);
        assert!(ours >= exact - 1e-16 && ours < exact + 1e-13, "{ours} {exact}");
        // δ(0, μ) = 2Φ(μ/2) - 1.
        let zero = delta(0.0, 1.0);
        assert!((zero - 0.382_924_922_548_026).abs() < 1e-13, "{zero}");
        assert_eq!(epsilon(1.0, 0.39), 0.0);
    }

    #[test]
    fn epsilon_is_at_or_just_above_the_exact_value() {
        // By bisection with 60 digits.
        for (mu_squared, delta, exact) in [
            (4.0, 1e-5, 9.997_256_146_434_3),
            (4.0, 1e-30, 24.595_552_116_158_2),
            (250.0, 1e-6, 199.284_568_805_627_85),
            (4000.0, 1e-5, 2_268.767_721_629_27),
            (0.0625, 1e-10, 1.492_026_856_985_376_2),
            (1e-6, 1e-6, 0.002_718_219_088_813_995),
        ] {
            let ours = epsilon(mu_squared, delta);
            // The literal itself is right to half a unit.
            assert!(ours >= exact * (1.0 - EPSILON), "{mu_squared} {delta}: {ours} < {exact}");
            assert!(ours <= exact * (1.0 + 1e-9), "{mu_squared} {delta}: {ours} loose");
        }
    }

    #[test]
    fn outside_the_domain_it_fails_closed() {
        for bad in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(epsilon(1.0, bad), f64::INFINITY);
            assert_eq!(mu(1.0, bad), 0.0);
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(epsilon(bad, 1e-5), f64::INFINITY);
            assert_eq!(mu(bad, 1e-5), 0.0);
        }
        assert_eq!(delta(-1.0, 1.0), 1.0);
        assert_eq!(epsilon(0.0, 1e-5), 0.0);
    }

    proptest! {
        #[test]
        fn epsilon_is_certified_and_tight(log_mu in -7.0f64..4.0, log_delta in -60.0f64..-1.0) {
            let (mu, target) = (log_mu.exp(), log_delta.exp());
            let found = epsilon(mu * mu, target);
            // The slack is not monotone in its last digits: certified is the μ that was used.
            let mu = (mu * mu).sqrt().next_up();
            prop_assert!(delta(found, mu) <= target);
            if found > 0.0 {
                prop_assert!(delta(found * (1.0 - 1e-8), mu) > target);
            }
        }

        #[test]
        fn mu_never_overshoots_and_is_tight(log_epsilon in -6.0f64..7.0, log_delta in -60.0f64..-1.0) {
            let (target, delta) = (log_epsilon.exp(), log_delta.exp());
            let found = mu(target, delta);
            prop_assert!(found > 0.0);
            prop_assert!(self::delta(target, found) <= delta);
            prop_assert!(self::delta(target, found * (1.0 + 1e-8)) > delta);
        }
    }
}
