//! The noisy total of a round in real units, as `update` reads it.

use chorale_dp::Rational;

/// What the coordinator knows after a round: the sum over certified survivors, nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct NoisyTotal {
    /// The total of each coordinate: the integer total divided by 2^`scale_bits`.
    pub values: Vec<f64>,
    /// Number of agents in the sum, |U|.
    pub survivors: u32,
    /// Standard deviation of the noise in each coordinate in real units; 0 without noise.
    pub noise_std: f64,
}

/// Why a total cannot be used. The driver is to blame in every variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TotalError {
    /// Beyond what a plan may ask for.
    #[error("scale_bits is {scale_bits}; at most 40 are possible")]
    Scale {
        /// The scale given.
        scale_bits: u8,
    },
    /// A sum over nobody.
    #[error("a total needs at least one survivor")]
    Empty,
}

impl NoisyTotal {
    /// From unmasked integer totals, each coordinate of which carries noise of `variance` (squared
    /// lattice units; `None` without noise).
    ///
    /// # Errors
    /// [`TotalError`] when `scale_bits` is above 40 or there is no survivor.
    pub fn from_lattice(
        totals: &[i64],
        scale_bits: u8,
        survivors: u32,
        variance: Option<&Rational>,
    ) -> Result<Self, TotalError> {
        if scale_bits > 40 {
            return Err(TotalError::Scale { scale_bits });
        }
        if survivors == 0 {
            return Err(TotalError::Empty);
        }
        let unit = 1.0 / (1u64 << scale_bits) as f64;
        let variance = variance.map_or(0.0, Rational::to_f64_up);
        Ok(Self {
            values: totals.iter().map(|&total| total as f64 * unit).collect(),
            survivors,
            noise_std: variance.sqrt() * unit,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lattice_units_become_real_units() {
        let variance = Rational::from_integer(128 * 128);
        let total = NoisyTotal::from_lattice(&[-512, 0, 256], 8, 4, Some(&variance)).unwrap();
        assert_eq!(total.values, [-2.0, 0.0, 1.0]);
        // 128 lattice units of 2^-8.
        assert!((total.noise_std - 0.5).abs() < 1e-12);
        let quiet = NoisyTotal::from_lattice(&[7], 0, 1, None).unwrap();
        assert_eq!((quiet.values[0], quiet.noise_std), (7.0, 0.0));
    }

    #[test]
    fn impossible_totals_are_refused() {
        assert_eq!(
            NoisyTotal::from_lattice(&[], 41, 1, None),
            Err(TotalError::Scale { scale_bits: 41 })
        );
        assert_eq!(NoisyTotal::from_lattice(&[], 4, 0, None), Err(TotalError::Empty));
    }
}
