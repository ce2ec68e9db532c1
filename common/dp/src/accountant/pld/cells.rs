//! The two Gaussian masses of a cell, to a relative error that is known.

use crate::accountant::special::{EPSILON, erfcx};

/// Masses of [z1, z2] under P = N(μ, 1) and Q = N(0, 1), where y(z) = μz - μ²/2 = ln dP/dQ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// P's.
    pub(super) p: f64,
    /// Q's, times e^{y(z1)}: at most P's, and no smaller than e^{-(y(z2) - y(z1))} of it.
    pub(super) q_scaled: f64,
    /// Bound on the error of each, relative to P's.
    pub(super) error: f64,
}

/// 1/√(2π).
const DENSITY: f64 = 0.398_942_280_401_432_7;

/// The cell between two finite points.
pub(super) fn gaussian(mu: f64, z1: f64, z2: f64) -> Cell {
    let width = z2 - z1;
    let centre = z1 + width / 2.0;
    let (near, far) = (centre - mu, centre);
    let reach = near.abs().max(far.abs());
    if width <= 0.1 && width * reach <= 0.5 {
        // Both densities are p(near) times a slow function; Q's is smaller by e^{-μ·width/2} at
        // the centre, measured from z1.
        let density = DENSITY * libm::exp(-0.5 * near * near) * width;
        return Cell {
            p: density * mean_density(near, width),
            q_scaled: density * mean_density(far, width) * libm::exp(-0.5 * mu * width),
            error: EPSILON * (32.0 + 4.0 * reach * reach.min(near.abs() + 1.0)),
        };
    }
    // What rounding of a point z moves is below z²·u of the mass beyond it; a cell as wide as this
    // has at least a third of the mass beyond its near end, and s²·exp(-(s² - t²)/2) <= t² + 2.
    let t = (z1 - mu).max(mu - z2).max(0.0);
    let error = 8.0 * EPSILON * (32.0 + 8.0 * (t * t + 2.0));
    let p = mass(z1 - mu, z2 - mu);
    let q_scaled = if z1 >= 0.0 {
        let at = |z: f64| {
            let (from, x) = (z - mu, z * std::f64::consts::FRAC_1_SQRT_2);
            0.5 * libm::exp(-0.5 * from * from) * erfcx(x)
        };
        at(z1) - at(z2) * libm::exp(-mu * width)
    } else {
        mass(z1, z2) * libm::exp(mu * z1 - mu * mu / 2.0)
    };
    Cell { p, q_scaled: q_scaled.clamp(0.0, p), error }
}

/// The mean of e^{-(cs + s²/2)} over |s| <= w/2, by Hermite polynomials: e^{-cs - s²/2} =
/// Σ He_k(c)(-s)^k/k!, odd terms vanish. |He_{2k}(c)| <= E(|c| + Z)^{2k}, so for w <= 0.1 and
/// |c|w <= 0.5 what is left out is below 1e-16.
fn mean_density(centre: f64, width: f64) -> f64 {
    let s = centre * centre;
    let v = width * width / 4.0;
    let he2 = s - 1.0;
    let he4 = (s - 6.0) * s + 3.0;
    let he6 = ((s - 15.0) * s + 45.0) * s - 15.0;
    let he8 = (((s - 28.0) * s + 210.0) * s - 420.0) * s + 105.0;
    let he10 = ((((s - 45.0) * s + 630.0) * s - 3150.0) * s + 4725.0) * s - 945.0;
    let tail = he8 / 362_880.0 + v * he10 / 39_916_800.0;
    1.0 + v * (he2 / 6.0 + v * (he4 / 120.0 + v * (he6 / 5040.0 + v * tail)))
}

/// Φ(b) - Φ(a) for a <= b, infinities included, without cancelling in a tail.
pub(super) fn mass(a: f64, b: f64) -> f64 {
    let root = std::f64::consts::FRAC_1_SQRT_2;
    if a >= 0.0 {
        return 0.5 * (libm::erfc(a * root) - libm::erfc(b * root));
    }
    if b <= 0.0 {
        return 0.5 * (libm::erfc(-b * root) - libm::erfc(-a * root));
    }
    0.5 * (libm::erf(b * root) + libm::erf(-a * root))
}

/// 1 - Φ(t), rounded up.
pub(super) fn upper_tail(t: f64) -> f64 {
    if t > 38.5 {
        // exp(-t²/2) < 1e-321.
        return f64::MIN_POSITIVE;
    }
    let value = 0.5 * libm::erfc(t * std::f64::consts::FRAC_1_SQRT_2);
    let beyond = t.max(0.0);
    value * (1.0 + EPSILON * (8.0 + 8.0 * beyond * beyond)) + f64::MIN_POSITIVE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Composite Simpson with many points, an independent definition.
    fn simpson(f: impl Fn(f64) -> f64, a: f64, b: f64) -> f64 {
        let n = 40_000;
        let step = (b - a) / f64::from(n);
        let inner = (1..n).map(|i| {
            let weight = if i % 2 == 1 { 4.0 } else { 2.0 };
            weight * f(a + f64::from(i) * step)
        });
        (f(a) + f(b) + inner.sum::<f64>()) * step / 3.0
    }

    #[test]
    fn both_ways_agree_with_the_integral() {
        for mu in [0.01, 0.5, 2.0, 12.0] {
            for (z1, width) in [
                (-3.0, 1e-4),
                (-0.3, 0.09),
                (0.0, 0.1),
                (1.0, 0.02),
                (4.9, 0.05),
                (4.9, 0.11),
                (-2.0, 3.0),
                (0.5, 0.7),
                (11.0, 0.01),
                (11.0, 0.3),
            ] {
                let z2 = z1 + width;
                let cell = gaussian(mu, z1, z2);
                let p = simpson(|z| DENSITY * (-0.5 * (z - mu) * (z - mu)).exp(), z1, z2);
                // Q's density times e^{y(z1)}, without leaving the range of floats.
                let q = simpson(
                    |z| DENSITY * (-0.5 * (z - mu) * (z - mu) - mu * (z - z1)).exp(),
                    z1,
                    z2,
                );
                // Simpson's own error is below 1e-12 here.
                let close = |a: f64, b: f64| (a / b - 1.0).abs() < 4e-12 + 2.0 * cell.error;
                assert!(close(cell.p, p), "{mu} {z1} {width}: {} {p}", cell.p);
                assert!(close(cell.q_scaled, q), "{mu} {z1} {width}: {} {q}", cell.q_scaled);
                assert!(cell.error < 4e-12, "{}", cell.error);
            }
        }
    }

    #[test]
    fn masses_add_up() {
        let all = mass(f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(all, 1.0);
        let parts = mass(f64::NEG_INFINITY, -7.0) + mass(-7.0, 0.3) + mass(0.3, f64::INFINITY);
        assert!((parts - 1.0).abs() < 1e-15);
        assert!(upper_tail(7.0) >= mass(7.0, f64::INFINITY));
    }
}
