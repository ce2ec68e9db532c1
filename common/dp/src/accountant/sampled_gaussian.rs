//! ln A_α of the Poisson-sampled Gaussian, A_α = E_Q((1 - q) + q·e^y)^α (Mironov, Talwar and
//! Zhang 2019, section 3.3): in closed form for whole α, as a series for others.

/// ln A_α, rounded up to within the caller's slack; `sigma` is for sensitivity 1.
pub(super) fn log_a(order: f64, sigma: f64, q: f64) -> f64 {
    let whole = |order: f64| {
        // E_Q e^{ky} = exp((k² - k)/(2σ²)).
        binomial(order, q, |k| (k * k - k) / (2.0 * sigma * sigma))
    };
    if order.fract() == 0.0 {
        return whole(order);
    }
    series(order, sigma, q).unwrap_or_else(|| interpolated(order, whole))
}

/// ln Σ C(α,k)·q^k·(1-q)^{α-k}·e^{m(k)} for whole α, where m(0) = m(1) = 0: the binomial weights
/// add up to 1, so what is summed is e^{m(k)} - 1, and nothing cancels.
pub(super) fn binomial(order: f64, q: f64, log_moment: impl Fn(f64) -> f64) -> f64 {
    let (log_q, log_rest) = (libm::log(q), libm::log1p(-q));
    let mut logs = Vec::with_capacity(order as usize);
    let mut log_choose = libm::log(order);
    let mut k = 1.0;
    while k < order {
        log_choose += libm::log((order - k) / (k + 1.0));
        k += 1.0;
        logs.push(log_choose + k * log_q + (order - k) * log_rest + log_expm1(log_moment(k)));
    }
    log1p_exp(log_sum(&logs))
}

/// At an order between two whole ones, from the chord: ln A_α is convex in α, and ln A_1 = 0.
pub(super) fn interpolated(order: f64, whole: impl Fn(f64) -> f64) -> f64 {
    let (below, above) = (order.floor(), order.ceil());
    let at = |order: f64| if order <= 1.0 { 0.0 } else { whole(order) };
    if below == above {
        return at(order);
    }
    let share = order - below;
    (1.0 - share) * at(below) + share * at(above)
}

/// Terms before the series is given up: its terms fall like a power of i only.
const TERMS_MAX: u32 = 1000;

/// What rounding can take from a sum near 1 of that many terms.
const SERIES_SLACK: f64 = 2e-13;

/// The series with every term taken positive: past i = α they alternate and shrink, so the sum so
/// far is above that of the whole series. `None` if it has not settled.
fn series(order: f64, sigma: f64, q: f64) -> Option<f64> {
    let z0 = sigma * sigma * libm::log(1.0 / q - 1.0) + 0.5;
    let (log_q, log_rest) = (libm::log(q), libm::log1p(-q));
    let root = std::f64::consts::SQRT_2 * sigma;
    let half = libm::log(0.5);
    let mut log_choose = 0.0;
    let (mut left, mut right) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    let mut sum = f64::NEG_INFINITY;
    for step in 0..TERMS_MAX {
        let i = f64::from(step);
        let j = order - i;
        let term = |power: f64, other: f64, at: f64| {
            let weight = log_choose + power * log_q + other * log_rest;
            weight + (power * power - power) / (2.0 * sigma * sigma) + half + log_erfc(at / root)
        };
        let (next_left, next_right) = (term(i, j, i - z0), term(j, i, z0 - j));
        sum = log_sum(&[sum, next_left, next_right]);
        let falling = next_left < left && next_right < right;
        if falling && next_left.max(next_right) < sum - 30.0 && i > order {
            return Some(sum + SERIES_SLACK);
        }
        (left, right) = (next_left, next_right);
        log_choose += libm::log((order - i).abs() / (i + 1.0));
    }
    None
}

fn log_erfc(x: f64) -> f64 {
    if x < 5.0 {
        return libm::log(libm::erfc(x));
    }
    libm::log(super::special::erfcx(x)) - x * x
}

/// ln(e^x - 1) for x >= 0.
fn log_expm1(x: f64) -> f64 {
    if x > 40.0 { x } else { libm::log(libm::expm1(x)) }
}

/// ln(1 + e^x).
fn log1p_exp(x: f64) -> f64 {
    if x > 40.0 { x + libm::exp(-x) } else { libm::log1p(libm::exp(x)) }
}

/// ln Σ e^x.
fn log_sum(logs: &[f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + libm::log(logs.iter().map(|x| libm::exp(x - largest)).sum())
}
