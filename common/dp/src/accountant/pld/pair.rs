//! Pairs of output laws with and without one person, before sampling.

use std::sync::Arc;

use crate::accountant::special::EPSILON;

/// One outcome, or all outcomes of one privacy loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Atom {
    /// y = ln P/Q.
    pub(super) loss: f64,
    /// P's mass; Q's is e^{-y} times that.
    pub(super) mass: f64,
}

/// Discrete noise: its outcomes by rising loss.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lattice {
    pub(super) atoms: Vec<Atom>,
    /// All losses are whole multiples of this.
    pub(super) unit: f64,
    /// P's mass of the outcomes that were left out, rounded up.
    pub(super) beyond: f64,
    /// Bound on the relative error of every mass.
    pub(super) error: f64,
}

/// P, the law with the person, over Q, the law without. Both directions are alike: there is a
/// mirror that turns one law into the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pair {
    /// N(μ, 1) over N(0, 1).
    Gaussian { mu: f64 },
    /// Laplace noise; losses lie within ±reach, reach = Δ/b.
    Laplace { reach: f64 },
    /// Discrete noise.
    Lattice(Arc<Lattice>),
}

impl Pair {
    /// P(x) proportional to exp(-x²/(2σ²)), Q shifted by Δ. The loss (Δ² - 2xΔ)/(2σ²) falls with x.
    pub(super) fn discrete_gaussian(sigma: f64, sensitivity: u64) -> Self {
        let delta = sensitivity as f64;
        let variance = sigma * sigma;
        // P[|X| >= tσ] <= 2·exp(-t²/2) < 1e-30: discrete Gaussians are σ²-subgaussian.
        let reach = (11.85 * sigma).ceil().max(1.0);
        let density = |x: f64| libm::exp(-x * x / (2.0 * variance));
        let points = 2 * reach as i64 + 1;
        // From the smallest up, so that rounding stays below one unit a point of what is summed.
        let mut half = 0.0;
        let mut x = reach;
        while x >= 1.0 {
            half += density(x);
            x -= 1.0;
        }
        let sum = 1.0 + 2.0 * half;
        let atoms = (0..points)
            .map(|step| {
                let x = reach - step as f64;
                let loss = delta * (delta - 2.0 * x) / (2.0 * variance);
                Atom { loss, mass: density(x) / sum }
            })
            .collect();
        // Losses are (Δ/2σ²)·(Δ - 2x): of one parity.
        let half_unit = delta / (2.0 * variance);
        let unit = if sensitivity.is_multiple_of(2) { 2.0 * half_unit } else { half_unit };
        let error = EPSILON * (400.0 + points as f64);
        Self::Lattice(Arc::new(Lattice { atoms, unit, beyond: 2e-30, error }))
    }

    /// P(x) proportional to e^{-a|x|}, Q shifted by Δ. The loss is aΔ for all x <= 0, -aΔ for all
    /// x >= Δ, a(Δ - 2x) between.
    pub(super) fn discrete_laplace(a: f64, sensitivity: u64) -> Self {
        let delta = sensitivity as f64;
        let scale = 1.0 / (1.0 + libm::exp(-a));
        let point = -libm::expm1(-a) * scale;
        let mut atoms = Vec::with_capacity(sensitivity as usize + 1);
        atoms.push(Atom { loss: -a * delta, mass: scale * libm::exp(-a * delta) });
        for x in (1..sensitivity).rev() {
            let x = x as f64;
            let (loss, mass) = (a * (delta - 2.0 * x), point * libm::exp(-a * x));
            atoms.push(Atom { loss, mass });
        }
        atoms.push(Atom { loss: a * delta, mass: scale });
        let error = EPSILON * (32.0 + 4.0 * a * delta);
        // One parity, as above.
        let unit = if sensitivity.is_multiple_of(2) { 2.0 * a } else { a };
        Self::Lattice(Arc::new(Lattice { atoms, unit, beyond: 0.0, error }))
    }
}

/// A pair, the sampling rate q, and how often it is used.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) pair: Pair,
    pub(super) sampling: f64,
    pub(super) count: u64,
}

impl Part {
    pub(super) fn is_sampled(&self) -> bool {
        self.sampling < 1.0
    }

    /// Losses beyond any use, for which no grid is laid: the noise is too small by far.
    pub(super) fn is_huge(&self) -> bool {
        let largest = match &self.pair {
            Pair::Gaussian { mu } => mu * mu,
            Pair::Laplace { reach } => *reach,
            Pair::Lattice(lattice) => {
                lattice.atoms.iter().map(|atom| atom.loss.abs()).fold(0.0, f64::max)
            }
        };
        largest.is_nan() || largest >= 1e7
    }

    /// ln(1 - q + q·e^y): the loss of the sampled mechanism, for removal.
    pub(super) fn loss(&self, y: f64) -> f64 {
        let q = self.sampling;
        if q >= 1.0 {
            y
        } else if y > 30.0 {
            y + libm::log(q) + libm::log1p((1.0 - q) / q * libm::exp(-y))
        } else if q >= 0.5 && y < -0.5 {
            libm::log((1.0 - q) + q * libm::exp(y))
        } else {
            libm::log1p(q * libm::expm1(y))
        }
    }

    /// The inverse of [`Part::loss`]; minus infinity at and below ln(1 - q).
    pub(super) fn inner_loss(&self, loss: f64) -> f64 {
        let q = self.sampling;
        if q >= 1.0 {
            loss
        } else if loss > 30.0 {
            loss - libm::log(q) + libm::log1p(-(1.0 - q) * libm::exp(-loss))
        } else if loss < -0.5 {
            // From the lower end up: e^y = (e^{loss - ln(1-q)} - 1)(1-q)/q.
            let above = loss - libm::log1p(-q);
            if above <= 0.0 {
                return f64::NEG_INFINITY;
            }
            libm::log(libm::expm1(above)) + libm::log((1.0 - q) / q)
        } else {
            let value = libm::expm1(loss) / q;
            if value <= -1.0 { f64::NEG_INFINITY } else { libm::log1p(value) }
        }
    }

    /// Bound on how far the loss of a computed [`Part::inner_loss`] is from the loss asked for,
    /// where the inner loss itself then moves by `scale`·u at most on its way to a cell's end.
    pub(super) fn offset(&self, loss: f64, scale: f64) -> f64 {
        let q = self.sampling;
        // dℓ/dy = 1 - (1 - q)·e^{-ℓ}; an error of u·v in v = (e^ℓ - 1)/q is one of u(1 - e^{-ℓ}) in ℓ.
        let slope =
            if q >= 1.0 { 1.0 } else { (1.0 - (1.0 - q) * libm::exp(-loss)).clamp(0.0, 1.0) };
        let end = if loss < -0.5 && q < 1.0 { libm::log1p(-q).abs() } else { 0.0 };
        32.0 * EPSILON * (loss.abs() + slope * scale + end)
    }

    /// The loss that is met exactly with positive probability and should lie on the grid.
    pub(super) fn unit(&self) -> Option<f64> {
        match &self.pair {
            Pair::Gaussian { .. } => None,
            Pair::Laplace { reach } => Some(self.loss(*reach)),
            Pair::Lattice(lattice) => Some(lattice.unit),
        }
    }
}
