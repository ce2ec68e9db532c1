//! Composition by FFT of tilted distributions, and a certified bound on δ(ε) from it.
//!
//! For a tilt θ >= 0, w_i = p_i·e^{θε_i}/M has sum 1, and so has its composition W. Then
//! δ(ε) = e^{ΣlnM - θε}·Σ_{ε_j>ε} W_j·g_j with g_j = e^{-θ(ε_j-ε)}(1 - e^{-(ε_j-ε)}) in [0, 1):
//! with θ chosen well, W lies where δ is decided, and an error of the FFT near 1e-14 stays near
//! 1e-12 *of δ*, however small δ is. Whatever θ and window are chosen, the bound holds:
//!
//! - *Window*: an FFT of length n adds what lies outside n points to those inside. From below this
//!   only adds. From above it may hide; so what lies above the window is added as
//!   e^{-θ(top-ε)} times a bound on its mass.
//! - *Floats*: see [`fft_error`] and [`Composed::new`].

use std::sync::Arc;

use realfft::{RealFftPlanner, num_complex::Complex};

use super::losses::Losses;
use crate::accountant::special::EPSILON;

/// The composition of parts on one grid, tilted.
pub(super) struct Composed {
    h: f64,
    theta: f64,
    /// Index of the first point of the window.
    first: i64,
    /// Σ_{k>=j} W_k·e^{-θ(ε_k-ε_j)}.
    plain: Vec<f64>,
    /// Σ_{k>=j} W_k·e^{-θ(ε_k-ε_j)}(1 - e^{-(ε_k-ε_j)}).
    weighted: Vec<f64>,
    /// Σ ln M.
    log_moment: f64,
    /// Bound on the L2 norm of W's error.
    error: f64,
    /// Bound on W's mass above the window.
    above: f64,
    /// Mass at infinity.
    infinity: f64,
    /// What every loss may exceed its grid point by, for all parts together.
    shift: f64,
    /// Relative slack of sums and exponents.
    slack: f64,
}

/// One part, tilted.
struct Tilted {
    masses: Vec<f64>,
    log_moment: f64,
    /// Bound on their sum.
    total: f64,
    /// Bound on their L2 norm.
    norm: f64,
}

/// Errors of FFTs as Euclidean norms: computed and exact transform differ by at most this times
/// the norm of the exact one.
///
/// For powers of two the transform is a product of log2(n) sparse matrices whose rows have two
/// entries, one of them a root of unity; each factor computed in floats is off by at most
/// u·(1 + 4√2 + 1) < 8u of its norm when roots are right to one unit u = 2^-53 (Higham 2002,
/// Theorem 24.2). Larger radices multiply less. Twice that is charged, and one more factor for
/// the split of a real transform.
pub(super) fn fft_error(length: usize) -> f64 {
    8.0 * EPSILON * f64::from(length.ilog2() + 2)
}

impl Composed {
    /// Composes `parts`, each with its count, at tilt `theta` in a window of `length` points (a
    /// power of two) from index `first`.
    ///
    /// The errors, with z a transform, m >= |z| its part's mass and d = fft_error·√n·‖w‖₂ that of z:
    /// z^T by squaring is off by T·m^{T-1}·(d + 3.5u·‖z‖₂), products of parts add up, the inverse
    /// adds fft_error of what it gets.
    pub(super) fn new(
        parts: &[(Losses, u64)],
        h: f64,
        theta: f64,
        first: i64,
        length: usize,
        planner: &mut RealFftPlanner<f64>,
    ) -> Self {
        let forward = planner.plan_fft_forward(length);
        let relative = fft_error(length);
        let root = (length as f64).sqrt();
        let mut product: Vec<Complex<f64>> = Vec::new();
        let (mut log_moment, mut log_mass, mut magnitude) = (0.0, 0.0, 0.0);
        let (mut infinity, mut shift, mut error) = (0.0, 0.0, 0.0);
        let mut smallest_norm = f64::INFINITY;
        let mut support_end = 0i64;
        let mut input = forward.make_input_vec();
        let mut scratch = forward.make_scratch_vec();
        for (losses, count) in parts {
            let times = *count as f64;
            let tilted = tilt(losses, h, theta);
            fold(&tilted.masses, losses.first, &mut input);
            let mut output = forward.make_output_vec();
            // The lengths are the plan's own.
            let done = forward.process_with_scratch(&mut input, &mut output, &mut scratch);
            debug_assert!(done.is_ok());
            // Folding adds to the norm, never above the sum.
            let norm = folded_norm(&tilted, length);
            let own = relative * root * norm;
            let mass = tilted.total + own;
            error += times * (own + 2.0 * EPSILON * (root * norm + own)) / mass.min(1.0);
            log_mass += times * libm::log(mass) + EPSILON * times;
            smallest_norm = f64::min(smallest_norm, norm);
            power_and_multiply(&mut product, output, *count);
            log_moment += times * tilted.log_moment;
            magnitude += (times * tilted.log_moment).abs();
            infinity += times * losses.infinity;
            shift += times * losses.shift;
            support_end = support_end.saturating_add(losses.last().saturating_mul(*count as i64));
        }
        let mass = libm::exp(log_mass) * (1.0 + 1e-12);
        let frequencies = root * smallest_norm;
        let error =
            mass * (error + parts.len() as f64 * 4.0 * EPSILON * frequencies) * (1.0 + 1e-9);
        let error = (error + relative * (mass * frequencies + error)) / root
            + EPSILON * mass * smallest_norm;
        let values = inverse(product, length, planner);
        // Index first + k sits at its remainder.
        let start = first.rem_euclid(length as i64) as usize;
        let (plain, weighted) = suffix_sums(&values, start, theta * h, h);
        let above = if support_end < first + length as i64 { 0.0 } else { mass };
        let slack = 8.0 * EPSILON * (length as f64 + magnitude + 16.0);
        Self {
            h,
            theta,
            first,
            plain,
            weighted,
            log_moment,
            error,
            above,
            infinity: infinity * (1.0 + 1e-12),
            shift: shift * (1.0 + 1e-12),
            slack,
        }
    }

    /// The smallest ε that [`Composed::delta`] covers.
    pub(super) fn bottom(&self) -> f64 {
        self.first as f64 * self.h + self.shift
    }

    /// The end of the window.
    pub(super) fn top(&self) -> f64 {
        (self.first + self.plain.len() as i64 - 1) as f64 * self.h + self.shift
    }

    /// Tightens the bound on the mass above the window by Chernoff's, given Σ ln E e^{(θ+t)L} of
    /// the parts, rounded up.
    pub(super) fn bound_above(&mut self, t: f64, log_moment: f64) {
        let top = (self.first + self.plain.len() as i64) as f64 * self.h;
        let exponent = log_moment - self.log_moment - t * top;
        let terms = log_moment.abs() + self.log_moment.abs() + (t * top).abs();
        let slack = self.slack + 64.0 * EPSILON * terms;
        self.above = self.above.min(libm::exp(exponent + slack) * (1.0 + 1e-9));
    }

    /// δ(ε), rounded up; 1 outside the window.
    pub(super) fn delta(&self, epsilon: f64) -> f64 {
        // A little lower, so that no rounding below moves it up.
        let loss = epsilon - self.shift;
        let loss = loss - 8.0 * EPSILON * (epsilon.abs() + self.shift + self.h);
        let position = (loss / self.h).floor() + 1.0 - self.first as f64;
        if !(position >= 0.0 && position < self.plain.len() as f64) {
            return 1.0;
        }
        let at = position as usize;
        let gap = ((self.first + at as i64) as f64 * self.h - loss).max(0.0);
        let (Some(plain), Some(weighted)) = (self.plain.get(at), self.weighted.get(at)) else {
            return 1.0;
        };
        let decay = libm::exp(-self.theta * gap);
        let core = decay * (libm::exp(-gap) * weighted - libm::expm1(-gap) * plain);
        let top = (self.first + self.plain.len() as i64) as f64 * self.h;
        let hidden = self.above * libm::exp(-self.theta * (top - loss));
        let sum = core * (1.0 + self.slack) + self.error * self.weights_norm() + hidden;
        let exponent = self.log_moment - self.theta * loss;
        let slack = self.slack + 16.0 * EPSILON * (self.theta * loss).abs();
        let delta = libm::exp(exponent) * sum * (1.0 + 2.0 * slack) + self.infinity;
        if delta.is_nan() { 1.0 } else { delta.min(1.0) }
    }

    /// Bound on the L2 norm of the weights g over the window: g_k <= min(1, (k+1)h)·r^{k/2} with
    /// r = e^{-2θh}, and Σ(k+1)²r^k = (1+r)/(1-r)³.
    fn weights_norm(&self) -> f64 {
        let rest = -libm::expm1(-2.0 * self.theta * self.h);
        let all = self.plain.len() as f64;
        let few = if rest > 0.0 { (2.0 - rest) / rest.powi(3) * self.h * self.h } else { all };
        let geometric = if rest > 0.0 { 1.0 / rest } else { all };
        few.min(geometric).min(all).sqrt() * (1.0 + 1e-9)
    }
}

/// ln E e^{θL} of one part's grid law, rounded up.
pub(super) fn log_moment(losses: &Losses, h: f64, theta: f64) -> f64 {
    let tilted = tilt(losses, h, theta);
    tilted.log_moment + libm::log(tilted.total) + 4.0 * EPSILON * (1.0 + tilted.log_moment.abs())
}

/// Tilted masses, rounded up, that sum to about 1; they are masses·e^{θε}/e^{log_moment}.
fn tilt(losses: &Losses, h: f64, theta: f64) -> Tilted {
    let step = theta * h;
    let exponent = |i: usize| (losses.first + i as i64) as f64 * step;
    // Powers within a block from one exponential, where they stay in the range of floats.
    let block = if step.abs() * BLOCK as f64 > 30.0 { 1 } else { BLOCK };
    // The peak of ln mass + θε, near enough: another only scales.
    let peak = losses
        .masses
        .iter()
        .enumerate()
        .step_by(block.min(8))
        .chain(losses.masses.iter().enumerate().next_back())
        .filter(|(_, mass)| **mass > 0.0)
        .map(|(i, mass)| libm::log(*mass) + exponent(i))
        .fold(f64::NEG_INFINITY, f64::max);
    let peak = if peak.is_finite() { peak } else { 0.0 };
    let ratio = if block == 1 { 1.0 } else { libm::exp(step) };
    let mut masses = Vec::with_capacity(losses.masses.len());
    let mut total = 0.0;
    for (at, chunk) in losses.masses.chunks(block).enumerate() {
        let mut factor = libm::exp(exponent(at * block) - peak);
        let mut sum = 0.0;
        for mass in chunk {
            // Where there is no mass the factor may have no bound.
            let value = if *mass > 0.0 { mass * factor + UNDERFLOW } else { 0.0 };
            masses.push(value);
            sum += value;
            factor *= ratio;
        }
        total += sum;
    }
    let ends = exponent(0).abs().max(exponent(losses.masses.len()).abs());
    let slack = EPSILON * (2.0 * BLOCK as f64 + 4.0 * (ends + peak.abs()) + 8.0);
    let scale = (1.0 + slack) / total;
    let mut squares = 0.0;
    for mass in &mut masses {
        *mass *= scale;
        squares += *mass * *mass;
    }
    let blocks = (masses.len() / block + block + 8) as f64;
    let total_bound = 1.0 + 2.0 * slack + EPSILON * blocks;
    let norm = squares.sqrt() * (1.0 + EPSILON * (masses.len() as f64 + 4.0));
    Tilted { masses, log_moment: peak + libm::log(total), total: total_bound, norm }
}

/// Powers of e^{θh} between two exponentials.
const BLOCK: usize = 64;
/// More than a product can lose by leaving the range of normal floats.
const UNDERFLOW: f64 = 1e-290;

/// Adds masses up by remainder of their index.
fn fold(masses: &[f64], first: i64, buffer: &mut [f64]) {
    buffer.fill(0.0);
    let length = buffer.len();
    let mut at = first.rem_euclid(length as i64) as usize;
    for mass in masses {
        if let Some(place) = buffer.get_mut(at) {
            *place += mass;
        }
        at = if at + 1 == length { 0 } else { at + 1 };
    }
}

/// Norm after folding: f vectors of together that norm add up to at most √f times it.
fn folded_norm(tilted: &Tilted, length: usize) -> f64 {
    let folds = tilted.masses.len().div_ceil(length) as f64;
    (tilted.norm * folds.sqrt() * (1.0 + EPSILON * (folds + 4.0))).min(tilted.total)
}

/// product *= factor^count, pointwise; an empty product is 1.
fn power_and_multiply(product: &mut Vec<Complex<f64>>, factor: Vec<Complex<f64>>, count: u64) {
    if product.is_empty() {
        *product = factor;
        for value in product.iter_mut() {
            *value = power(*value, count);
        }
        return;
    }
    for (value, base) in product.iter_mut().zip(factor) {
        *value *= power(base, count);
    }
}

fn power(mut base: Complex<f64>, mut count: u64) -> Complex<f64> {
    let mut result = Complex::new(1.0, 0.0);
    loop {
        if count & 1 == 1 {
            result *= base;
        }
        count >>= 1;
        if count == 0 {
            return result;
        }
        base *= base;
    }
}

fn inverse(
    mut product: Vec<Complex<f64>>,
    length: usize,
    planner: &mut RealFftPlanner<f64>,
) -> Vec<f64> {
    let plan = planner.plan_fft_inverse(length);
    // Real inputs have real sums and alternating sums.
    let middle = length / 2;
    for at in [0, middle] {
        if let Some(value) = product.get_mut(at) {
            value.im = 0.0;
        }
    }
    product.resize(middle + 1, Complex::new(0.0, 0.0));
    let mut output = plan.make_output_vec();
    let done = Arc::clone(&plan).process(&mut product, &mut output);
    debug_assert!(done.is_ok());
    let scale = 1.0 / length as f64;
    for value in &mut output {
        // The exact values are not negative: this brings them nearer.
        *value = (*value * scale).max(0.0);
    }
    output
}

/// The sums of [`Composed::plain`] and [`Composed::weighted`], from the window's end.
fn suffix_sums(values: &[f64], start: usize, step: f64, h: f64) -> (Vec<f64>, Vec<f64>) {
    let length = values.len();
    let (mut plain, mut weighted) = (vec![0.0; length], vec![0.0; length]);
    let (decay, shrink, grow) = (libm::exp(-step), libm::exp(-h), -libm::expm1(-h));
    let (mut a, mut c) = (0.0, 0.0);
    for k in (0..length).rev() {
        c = decay * (shrink * c + grow * a);
        let place = if start + k >= length { start + k - length } else { start + k };
        a = values[place] + decay * a;
        plain[k] = a;
        weighted[k] = c;
    }
    (plain, weighted)
}
