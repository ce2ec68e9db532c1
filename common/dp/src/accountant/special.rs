//! Functions the Gaussian figures need beyond `libm`.

/// Unit of relative rounding error.
pub(super) const EPSILON: f64 = f64::EPSILON;

/// The scaled complementary error function e^{x²}·erfc(x) for x >= 0, to 8 units in the last place.
pub(super) fn erfcx(x: f64) -> f64 {
    if x < 25.0 {
        let (square, rest) = exact_square(x);
        return libm::erfc(x) * libm::exp(square) * (1.0 + rest);
    }
    // 1/(x√π)·Σ (-1)^n (2n-1)!!/(2x²)^n: it alternates, so the error is below the first term left
    // out, 2027025/1250^8 < 2^-59 at x = 25.
    let y = 1.0 / (2.0 * x * x);
    let mut sum = 0.0;
    for n in (1..=7).rev() {
        sum = -(2.0 * f64::from(n) - 1.0) * y * (1.0 + sum);
    }
    (1.0 + sum) / (x * std::f64::consts::PI.sqrt())
}

/// e^{-x²}, to 6 units in the last place of a normal result.
pub(super) fn exp_minus_square(x: f64) -> f64 {
    let (square, rest) = exact_square(x);
    libm::exp(-square) * (1.0 - rest)
}

/// x² as a float and what it lacks.
fn exact_square(x: f64) -> (f64, f64) {
    let square = x * x;
    (square, libm::fma(x, x, -square))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfcx_against_known_values() {
        // Computed with 30 digits.
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.615_690_344_192_925_9),
            (1.0, 0.427_583_576_155_807),
            (3.0, 0.179_001_151_181_389_95),
            (10.0, 0.056_140_992_743_822_59),
            (24.9, 0.022_639_987_776_049_506),
            (25.1, 0.022_459_875_817_581_39),
            (100.0, 0.005_641_613_782_989_433),
            (1e8, 5.641_895_835_477_562e-9),
        ] {
            assert!((erfcx(x) / expected - 1.0).abs() < 8.0 * EPSILON, "{x}: {}", erfcx(x));
        }
    }

    #[test]
    fn both_branches_meet() {
        let below = erfcx(25.0f64.next_down());
        let above = erfcx(25.0);
        assert!((below / above - 1.0).abs() < 16.0 * EPSILON);
    }

    #[test]
    fn the_square_is_exact() {
        // x² = 404.01 at x = 20.1: a rounded square would lose 100 units.
        assert!(
            (exp_minus_square(20.1) / 3.472_852_724_271_799_8e-176 - 1.0).abs() < 64.0 * EPSILON
        );
    }
}
