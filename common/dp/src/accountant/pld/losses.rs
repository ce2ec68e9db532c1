//! Connect the dots (Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022): a privacy loss
//! distribution on a grid that is never better than the real one.
//!
//! The outcomes between two grid points ε_i and ε_{i+1}, of mass P with the person and Q without,
//! are replaced by one outcome at each end such that both masses stay:
//! b = (P - Q·e^{ε_i})/(1 - e^{-h}) at the upper, P - b at the lower. The hockey-stick curve of the
//! two is the chord of a convex curve in e^ε, so no δ becomes smaller, and this survives
//! composition. What floats may get wrong is added on top: every mass here is an upper bound, and
//! losses are at most `shift` above their grid point.

use super::{
    cells,
    pair::{Pair, Part},
};
use crate::accountant::special::EPSILON;

/// Masses at the losses (first + i)·h, each rounded up.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    pub(super) first: i64,
    pub(super) masses: Vec<f64>,
    /// Mass at infinity, rounded up.
    pub(super) infinity: f64,
    /// How far a loss may lie above its grid point.
    pub(super) shift: f64,
    /// Q's mass of the outcomes counted at infinity, rounded up.
    infinity_without: f64,
    /// Q's mass of the outcomes counted at the first point, that addition counts at infinity.
    below_without: f64,
}

impl Losses {
    /// Losses of removing the person: P is the law with it. `tail` is what may go to infinity.
    pub(super) fn of_removal(part: &Part, h: f64, tail: f64) -> Self {
        match &part.pair {
            Pair::Gaussian { mu } => gaussian(part, *mu, h, tail),
            Pair::Laplace { reach } => laplace(part, *reach, h),
            Pair::Lattice(lattice) => {
                let ends = (lattice.atoms.first(), lattice.atoms.last());
                let (Some(first), Some(last)) = ends else { return Builder::new(h, 0, 0).done() };
                let mut builder = Builder::new(h, index(first.loss, h), index(last.loss, h) + 1);
                for atom in &lattice.atoms {
                    // Discrete noise is never sampled: Q's mass has no part in it.
                    builder.atom(part, atom.loss, (atom.mass, 0.0), lattice.error);
                }
                builder.losses.infinity = lattice.beyond;
                builder.done()
            }
        }
    }

    /// Losses of adding the person: the same outcomes with the laws exchanged. A mass p at ε becomes
    /// e^{-ε}·p at -ε.
    pub(super) fn of_addition(&self, part: &Part, h: f64) -> Self {
        if !part.is_sampled() {
            return self.clone();
        }
        let last = self.first + self.masses.len() as i64 - 1;
        let mut masses: Vec<f64> = self
            .masses
            .iter()
            .enumerate()
            .rev()
            .map(|(i, mass)| {
                let loss = (self.first + i as i64) as f64 * h;
                let slack = 1.0 + 2.0 * self.shift + 8.0 * EPSILON * (1.0 + loss.abs());
                mass * libm::exp(-loss) * slack
            })
            .collect();
        if let Some(mass) = masses.first_mut() {
            *mass += self.infinity_without;
        }
        let infinity = self.below_without;
        let (infinity_without, below_without) = (0.0, 0.0);
        Self { first: -last, masses, infinity, shift: self.shift, infinity_without, below_without }
    }

    pub(super) fn last(&self) -> i64 {
        self.first + self.masses.len() as i64 - 1
    }
}

/// The grid point at or below a loss.
fn index(loss: f64, h: f64) -> i64 {
    // Atoms that lie on the grid but for rounding belong to their point.
    let position = loss / h;
    let nearest = position.round();
    let at = if (position - nearest).abs() < 1e-6 { nearest } else { position.floor() };
    at as i64
}

/// What is split between two grid points.
struct Split {
    /// The cell's mass P.
    p: f64,
    /// Bound on its relative error.
    error: f64,
    /// P - Q·e^{ε_i}.
    excess: f64,
    /// Bound on its error.
    excess_error: f64,
}

struct Builder {
    h: f64,
    /// 1 - e^{-h}.
    step: f64,
    losses: Losses,
}

impl Builder {
    fn new(h: f64, first: i64, last: i64) -> Self {
        let masses = vec![0.0; usize::try_from(last - first + 1).unwrap_or(1)];
        let losses = Losses {
            first,
            masses,
            infinity: 0.0,
            shift: 0.0,
            infinity_without: 0.0,
            below_without: 0.0,
        };
        Self { h, step: -libm::expm1(-h), losses }
    }

    fn add(&mut self, at: i64, mass: f64) {
        // Upwards only: to the first point from below it, to infinity from above the last.
        let slot = usize::try_from(at - self.losses.first).unwrap_or(0);
        match self.losses.masses.get_mut(slot) {
            Some(place) => *place += mass,
            None => self.losses.infinity += mass,
        }
    }

    /// Splits a cell whose ends lie within `offset` of grid points.
    fn split(&mut self, at: i64, cell: &Split, offset: f64) {
        let upper = (cell.excess / self.step).clamp(0.0, cell.p);
        let slack = (2.0 * cell.excess_error + 4.0 * offset * upper) / self.step
            + 16.0 * EPSILON * upper
            + f64::MIN_POSITIVE;
        self.add(at, cell.p - upper + slack + cell.p * (cell.error + 16.0 * EPSILON));
        self.add(at + 1, upper + slack);
        self.losses.shift = self.losses.shift.max(offset);
    }

    /// An outcome of inner loss y and of these masses with and without the person.
    fn atom(&mut self, part: &Part, y: f64, (with, without): (f64, f64), error: f64) {
        let q = part.sampling;
        let loss = part.loss(y);
        let p = (1.0 - q) * without + q * with;
        let error = error + EPSILON * (8.0 + 2.0 * y.abs());
        let at = index(loss, self.h);
        let distance = loss - at as f64 * self.h;
        let offset = part.offset(loss, y.abs());
        if distance.abs() <= offset {
            self.add(at, p * (1.0 + error));
            self.losses.shift = self.losses.shift.max(offset);
        } else {
            // Above the point below by nearly h, if it is just below this one.
            let (at, above) =
                if distance < 0.0 { (at - 1, distance + self.h) } else { (at, distance) };
            let excess = p * -libm::expm1(-above);
            let excess_error = p * offset + excess * error;
            self.split(at, &Split { p, error, excess, excess_error }, offset);
        }
    }

    fn done(self) -> Losses {
        self.losses
    }
}

fn gaussian(part: &Part, mu: f64, h: f64, tail: f64) -> Losses {
    let q = part.sampling;
    let one_less_q = 1.0 - q;
    // 1 - Φ(t) <= exp(-t²/2)/2.
    let t = (2.0 * libm::log(0.5 / tail)).max(1.0).sqrt();
    let place = |y: f64| y / mu + mu / 2.0;
    let high = part.loss(mu * t + mu * mu / 2.0);
    // Below: where the law with the person ends, or, if it is mostly the other one, that.
    let low = if part.is_sampled() { -mu * mu / 2.0 } else { mu * mu / 2.0 } - mu * t;
    let (first, last) = ((part.loss(low) / h).floor() as i64, (high / h).ceil() as i64);
    let last = last.max(first + 1);
    let mut builder = Builder::new(h, first, last);
    let mut z1 = place(part.inner_loss(first as f64 * h));
    if z1 != f64::NEG_INFINITY {
        let below_without = cells::upper_tail(-z1);
        let below = one_less_q * below_without + q * cells::upper_tail(mu - z1);
        builder.add(first, below * (1.0 + 8.0 * EPSILON));
        builder.losses.below_without = below_without;
    }
    for i in first..last {
        let upper = (i + 1) as f64 * h;
        let y2 = part.inner_loss(upper);
        if y2 == f64::NEG_INFINITY {
            continue;
        }
        let z2 = place(y2);
        // Both ends of the cell.
        let scale = y2.abs() + mu * mu;
        let lower = if z1.is_finite() { (mu * z1 - mu * mu / 2.0).abs() + mu * mu } else { 0.0 };
        let offset = part.offset(upper, scale).max(part.offset(upper - h, lower));
        let split = if z1 == f64::NEG_INFINITY {
            // All the rest below, however far: its losses end at ln(1 - q).
            let (with, without) = (cells::mass(z1, z2 - mu), cells::mass(z1, z2));
            let p = one_less_q * without + q * with;
            let distance = ((-z2).max(0.0) + mu).min(60.0);
            let error = EPSILON * (64.0 + 16.0 * distance * distance);
            let lowest = one_less_q - libm::exp(i as f64 * h);
            let excess = q * with + without * lowest;
            let excess_error =
                error * (q * with + without * lowest.abs()) + 4.0 * EPSILON * without;
            Split { p, error, excess, excess_error }
        } else {
            let cell = cells::gaussian(mu, z1, z2);
            let y1 = mu * z1 - mu * mu / 2.0;
            let mut p = q * cell.p;
            if part.is_sampled() {
                p += one_less_q * cell.q_scaled * libm::exp(-y1);
            }
            let excess = q * (cell.p - cell.q_scaled);
            let error = cell.error + 4.0 * EPSILON * (y1.abs() + mu * mu);
            let excess_error = 2.0 * cell.error * q * cell.p;
            Split { p, error, excess, excess_error }
        };
        builder.split(i, &split, offset);
        z1 = z2;
    }
    let above = cells::upper_tail(z1);
    builder.losses.infinity = one_less_q * above + q * cells::upper_tail(z1 - mu);
    builder.losses.infinity *= 1.0 + 8.0 * EPSILON;
    builder.losses.infinity_without = above;
    builder.done()
}

fn laplace(part: &Part, reach: f64, h: f64) -> Losses {
    let q = part.sampling;
    let (low, high) = (part.loss(-reach), part.loss(reach));
    let (first, last) = (index(low, h), index(high, h) + 1);
    let mut builder = Builder::new(h, first, last);
    let edge = 0.5 * libm::exp(-reach);
    let error = EPSILON * (32.0 + 8.0 * reach);
    builder.atom(part, reach, (0.5, edge), error);
    builder.atom(part, -reach, (edge, 0.5), error);
    let mut y1 = part.inner_loss(first as f64 * h);
    // What rounding has left below the first point.
    let below = 0.5 * libm::exp(-reach) * libm::expm1(((y1 + reach) / 2.0).max(0.0));
    let below_without = 0.5 * -libm::expm1((-(y1 + reach) / 2.0).min(0.0));
    builder.add(first, (1.0 - q) * below_without + q * below);
    for i in first..last {
        let upper = (i + 1) as f64 * h;
        let y2 = part.inner_loss(upper);
        // The part of the cell that has mass.
        let (from, to) = (y1.clamp(-reach, reach), y2.clamp(-reach, reach));
        let half = (to - from) / 2.0;
        let with = 0.5 * libm::exp((from - reach) / 2.0) * libm::expm1(half);
        let without = 0.5 * libm::exp(-(from + reach) / 2.0) * -libm::expm1(-half);
        if half > 0.0 {
            let p = (1.0 - q) * without + q * with;
            // Q's mass times e^{y1}, without leaving the range of floats.
            let scaled = 0.5 * libm::exp(y1 - (from + reach) / 2.0) * -libm::expm1(-half);
            let (excess, excess_error) = if y1 == f64::NEG_INFINITY {
                let lowest = 1.0 - q - libm::exp(i as f64 * h);
                let error = error * (q * with + without * lowest.abs()) + 4.0 * EPSILON * without;
                (q * with + without * lowest, error)
            } else {
                (q * (with - scaled), 2.0 * error * q * with)
            };
            let lower = if y1.is_finite() { y1.abs() } else { 0.0 };
            let offset = part.offset(upper, y2.abs()).max(part.offset(upper - h, lower));
            builder.split(i, &Split { p, error, excess, excess_error }, offset);
        }
        y1 = y2;
    }
    builder.done()
}
