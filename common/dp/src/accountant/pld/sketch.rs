//! A coarse look at a composition, for choosing grid, window and tilt. Nothing here is certified,
//! and nothing that is certified depends on it: a bad choice makes the figure loose.

use super::pair::{Pair, Part};

/// Which way the person goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Removal,
    Addition,
}

/// ln E e^{θL} of a composed privacy loss L, and its first two derivatives in θ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cumulants {
    pub(super) log_moment: f64,
    pub(super) mean: f64,
    pub(super) variance: f64,
}

/// One part: exact for an unsampled Gaussian, a few hundred outcomes for others.
enum Shape {
    Normal {
        mean: f64,
        variance: f64,
    },
    /// (ln mass, loss).
    Outcomes(Vec<(f64, f64)>),
}

/// A composition as the search sees it.
pub(super) struct Sketch {
    parts: Vec<(Shape, f64)>,
}

/// Outcomes of one part.
const OUTCOMES: usize = 256;

impl Sketch {
    pub(super) fn new(parts: &[Part], direction: Direction, tail: f64) -> Self {
        let parts = parts.iter().map(|part| (shape(part, direction, tail), part.count as f64));
        Self { parts: parts.collect() }
    }

    /// Of the law that is tilted by e^{θL}.
    pub(super) fn cumulants(&self, theta: f64) -> Cumulants {
        let mut all = Cumulants::default();
        for (shape, count) in &self.parts {
            let one = match shape {
                Shape::Normal { mean, variance } => Cumulants {
                    log_moment: theta * mean + theta * theta * variance / 2.0,
                    mean: mean + theta * variance,
                    variance: *variance,
                },
                Shape::Outcomes(outcomes) => of_outcomes(outcomes, theta),
            };
            all.log_moment += count * one.log_moment;
            all.mean += count * one.mean;
            all.variance += count * one.variance;
        }
        all
    }

    /// The tilt at which the law's bulk lies where δ(ε) comes to `delta`, by the saddle point.
    pub(super) fn tilt_for_delta(&self, delta: f64) -> f64 {
        let target = delta.ln();
        solve(|theta| {
            let c = self.cumulants(theta);
            // δ is about e^{K - θK'}·∫ density·e^{-θx}(1 - e^{-x})dx; an atom has the width of its
            // weight instead.
            let width = (c.variance.sqrt() * 2.5 * (1.0 + theta)).max(1.0);
            c.log_moment - theta * c.mean - (width * theta).ln() < target
        })
    }

    /// The tilt that moves the mean to `loss`; near zero if it is there or above without.
    pub(super) fn tilt_for_loss(&self, loss: f64) -> f64 {
        solve(|theta| self.cumulants(theta).mean > loss)
    }
}

/// The smallest θ, by halving on a logarithmic scale, from which on `holds`.
fn solve(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (-9.0f64, 20.0f64);
    if holds(low.exp()) {
        return low.exp();
    }
    for _ in 0..24 {
        let middle = (low + high) / 2.0;
        if holds(middle.exp()) { high = middle } else { low = middle }
    }
    high.exp()
}

fn of_outcomes(outcomes: &[(f64, f64)], theta: f64) -> Cumulants {
    let top = outcomes.iter().map(|(mass, loss)| mass + theta * loss).fold(f64::MIN, f64::max);
    let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
    for (mass, loss) in outcomes {
        let exponent = mass + theta * loss - top;
        if exponent < -60.0 {
            continue;
        }
        let weight = exponent.exp();
        sum += weight;
        first += weight * loss;
        second += weight * loss * loss;
    }
    let mean = first / sum;
    let variance = (second / sum - mean * mean).max(0.0);
    Cumulants { log_moment: top + sum.ln(), mean, variance }
}

fn shape(part: &Part, direction: Direction, tail: f64) -> Shape {
    let q = part.sampling;
    // Masses of an outcome without and with the person, and its inner loss.
    let mut outcomes: Vec<(f64, f64)> = Vec::with_capacity(OUTCOMES);
    let mut push = |log_without: f64, y: f64| {
        let loss = part.loss(y);
        outcomes.push(match direction {
            Direction::Removal => (log_without + loss, loss),
            Direction::Addition => (log_without, -loss),
        });
    };
    match &part.pair {
        Pair::Gaussian { mu } if q >= 1.0 => {
            return Shape::Normal { mean: mu * mu / 2.0, variance: mu * mu };
        }
        Pair::Gaussian { mu } => {
            let t = (-2.0 * tail.ln()).max(1.0).sqrt();
            let steps = (OUTCOMES - 1) as f64;
            let width = (mu + 2.0 * t) / steps;
            let log_width = (width / (2.0 * std::f64::consts::PI).sqrt()).ln();
            for step in 0..OUTCOMES {
                let z = -t + step as f64 * width;
                push(log_width - z * z / 2.0, mu * z - mu * mu / 2.0);
            }
        }
        Pair::Laplace { reach } => {
            let steps = (OUTCOMES - 2) as f64;
            let width = 2.0 * reach / steps;
            push(0.5f64.ln(), -reach);
            for step in 0..OUTCOMES - 2 {
                let y = -reach + (step as f64 + 0.5) * width;
                // Q's density ½·e^{-(y + reach)/2}·½ of y.
                push((width / 4.0).ln() - (y + reach) / 2.0, y);
            }
            push(0.5f64.ln() - reach, *reach);
        }
        Pair::Lattice(lattice) => {
            let stride = lattice.atoms.len().div_ceil(OUTCOMES);
            for atoms in lattice.atoms.chunks(stride) {
                let mass: f64 = atoms.iter().map(|atom| atom.mass).sum();
                let Some(middle) = atoms.get(atoms.len() / 2) else { continue };
                push(mass.max(1e-300).ln() - middle.loss, middle.loss);
            }
        }
    }
    Shape::Outcomes(outcomes)
}
