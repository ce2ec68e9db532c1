//! Rényi differential privacy: what each event costs at each order, added up, and the ε of it.
//!
//! The orders are those of Google's dp_accounting 0.6.0, so that figures can be laid side by side.
//! Any order gives a valid ε: a short list is loose and never wrong. Every value is rounded up, by
//! 1e-11 of itself and what cancellation can lose; sums of up to 10^3 logarithms as they occur here
//! are accurate to some 1e-12.

use super::{
    event::{Event, Mechanism},
    sampled_gaussian,
    special::EPSILON,
};

/// Relative slack of one divergence.
const SLACK: f64 = 1e-11;

/// An ε and the order that gave it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RenyiEpsilon {
    /// ε, rounded up.
    pub epsilon: f64,
    /// α; zero if no order gave anything.
    pub order: f64,
}

/// 1.1, 1.2, … 10.9, 11, 12, … 63, 128, 256, 512, 1024.
#[must_use]
pub fn default_orders() -> Vec<f64> {
    let tenths = (1..100).map(|tenth| 1.0 + f64::from(tenth) / 10.0);
    let whole = (11..64).map(f64::from);
    tenths.chain(whole).chain([128.0, 256.0, 512.0, 1024.0]).collect()
}

/// The ε at `delta` of all events together, over [`default_orders`].
/// Infinity for δ outside (0, 1).
#[must_use]
pub fn epsilon(events: &[Event], delta: f64) -> RenyiEpsilon {
    let orders = default_orders();
    let divergences: Vec<f64> = orders.iter().map(|order| total(events, *order)).collect();
    convert(&orders, &divergences, delta)
}

/// The divergence of order `order` > 1 of all events together, both directions, rounded up.
#[must_use]
pub fn total(events: &[Event], order: f64) -> f64 {
    let sum: f64 = events.iter().map(|e| e.count() as f64 * divergence(e.mechanism(), order)).sum();
    sum * (1.0 + (events.len() + 4) as f64 * EPSILON)
}

/// The divergence of order `order` > 1 of one use of a mechanism, both directions, rounded up.
#[must_use]
pub fn divergence(mechanism: &Mechanism, order: f64) -> f64 {
    let value = match mechanism {
        Mechanism::Gaussian { sigma, sensitivity, sampling } if *sampling == 1.0 => {
            gaussian(order, sensitivity / sigma)
        }
        Mechanism::Gaussian { sigma, sensitivity, sampling } => {
            let log_a = sampled_gaussian::log_a(order, sigma / sensitivity, *sampling);
            // A sampled mechanism is never worse than one on everybody.
            (log_a / (order - 1.0)).min(gaussian(order, sensitivity / sigma))
        }
        Mechanism::DiscreteGaussian { sigma, sensitivity, .. } => {
            gaussian(order, *sensitivity as f64 / sigma)
        }
        Mechanism::Laplace { scale, sensitivity, sampling } if *sampling == 1.0 => {
            laplace(order, sensitivity / scale)
        }
        Mechanism::Laplace { scale, sensitivity, sampling } => {
            sampled_laplace(order, sensitivity / scale, *sampling)
        }
        Mechanism::DiscreteLaplace { parameter, sensitivity } => {
            discrete_laplace(order, *parameter, *sensitivity as f64)
        }
        Mechanism::Zcdp { rho } => order * rho.to_f64_up(),
    };
    if value.is_nan() { f64::INFINITY } else { value * (1.0 + SLACK) + f64::MIN_POSITIVE }
}

/// αμ²/2, which bounds discrete noise as well (Canonne, Kamath, Steinke 2020, Theorem 4).
fn gaussian(order: f64, mu: f64) -> f64 {
    order * mu * mu / 2.0
}

/// Mironov 2017, Proposition 6, and αε²/2 where rounding would show (Bun, Steinke 2016).
fn laplace(order: f64, reach: f64) -> f64 {
    let inner = (order - 1.0) * libm::expm1(reach * (1.0 - 2.0 * order)) / (2.0 * order - 1.0);
    let value = reach + libm::log1p(inner) / (order - 1.0);
    (value + 16.0 * EPSILON * reach).min(gaussian(order, reach))
}

/// The same for P(x) proportional to e^{-a|x|} on the integers. The loss is aΔ for x <= 0, -aΔ for
/// x >= Δ and a(Δ - 2x) between; the sum over x is geometric.
fn discrete_laplace(order: f64, a: f64, sensitivity: f64) -> f64 {
    let reach = a * sensitivity;
    let ratio = a * (2.0 * order - 1.0);
    let (r, x_last) = (libm::exp(-a), libm::exp(-ratio * sensitivity));
    let inner = -libm::expm1(-a) * (libm::exp(-ratio) - x_last) / -libm::expm1(-ratio);
    // 1 + r less the sum of masses times e^{(α-1)(loss - aΔ)}.
    let lacking = r - x_last - inner;
    let value = reach + libm::log1p(-lacking / (1.0 + r)) / (order - 1.0);
    let slack = 32.0 * EPSILON * (reach + (1.0 + ratio * sensitivity) / (order - 1.0));
    (value + slack).min(gaussian(order, reach))
}

/// Whole orders by the binomial theorem; between them ln E(dP/dQ)^α is convex in α. The direction
/// of removal is the worse one: the pair is its own mirror image (Mironov, Talwar, Zhang 2019,
/// Theorem 5).
fn sampled_laplace(order: f64, reach: f64, q: f64) -> f64 {
    // ln E_Q e^{ky} = (k-1)·D_k.
    let moment = |k: f64| if k < 1.5 { 0.0 } else { (k - 1.0) * laplace(k, reach) };
    let log_a =
        sampled_gaussian::interpolated(order, |whole| sampled_gaussian::binomial(whole, q, moment));
    (log_a / (order - 1.0)).min(laplace(order, reach))
}

/// The tight conversion (Canonne, Kamath, Steinke 2020, Proposition 12; Asoodeh et al. 2020) at
/// every order, and nothing at all where the total variation, at most √(1 - e^{-KL}), is below δ.
#[must_use]
pub fn convert(orders: &[f64], divergences: &[f64], delta: f64) -> RenyiEpsilon {
    let mut best = RenyiEpsilon { epsilon: f64::INFINITY, order: 0.0 };
    if !(delta > 0.0 && delta < 1.0) {
        return best;
    }
    for (&order, &divergence) in orders.iter().zip(divergences) {
        let gap = delta * delta * (1.0 - 8.0 * EPSILON) + libm::expm1(-divergence);
        let epsilon = if gap > 4.0 * EPSILON * divergence.min(1.0) {
            0.0
        } else if order > 1.01 {
            let gain = libm::log1p(-1.0 / order);
            let tail = -libm::log(delta * order) / (order - 1.0);
            let value = divergence + gain + tail;
            value + 16.0 * EPSILON * (divergence + gain.abs() + tail.abs() + 1.0 / (order - 1.0))
        } else {
            f64::INFINITY
        };
        if epsilon < best.epsilon {
            best = RenyiEpsilon { epsilon, order };
        }
    }
    best.epsilon = best.epsilon.max(0.0);
    best
}
