#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::accountant::rdp;

fn event(mechanism: Mechanism, count: u64) -> Event {
    Event::new(mechanism, count).unwrap()
}

fn gaussian(sigma: f64, sampling: f64, count: u64) -> Event {
    event(Mechanism::Gaussian { sigma, sensitivity: 1.0, sampling }, count)
}

fn laplace(scale: f64, sampling: f64, count: u64) -> Event {
    event(Mechanism::Laplace { scale, sensitivity: 1.0, sampling }, count)
}

fn discrete_laplace(parameter: f64, sensitivity: u64, count: u64) -> Event {
    event(Mechanism::DiscreteLaplace { parameter, sensitivity }, count)
}

fn discrete_gaussian(sigma: f64, sensitivity: u64, count: u64) -> Event {
    event(Mechanism::DiscreteGaussian { sigma, sensitivity, dimension: 1 }, count)
}

/// The masses of outcomes with and without the person.
type Law = Vec<(f64, f64)>;

/// δ(ε) by definition: every tuple of outcomes of a few discrete mechanisms, given as (P, Q).
fn curve(laws: &[Law]) -> impl Fn(f64) -> f64 {
    let mut outcomes = vec![(1.0, 1.0)];
    for law in laws {
        outcomes = outcomes
            .iter()
            .flat_map(|(p, q)| law.iter().map(move |(a, b)| (p * a, q * b)))
            .collect();
    }
    move |epsilon: f64| outcomes.iter().map(|(p, q)| (p - epsilon.exp() * q).max(0.0)).sum::<f64>()
}

fn by_enumeration(laws: &[Law], delta: f64) -> f64 {
    let at = curve(laws);
    if at(0.0) <= delta {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 100.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if at(middle) <= delta { high = middle } else { low = middle }
    }
    high
}

/// The laws of discrete Laplace noise, values far out left out of neither.
fn laplace_law(a: f64, sensitivity: i32) -> Law {
    let mass = |x: i32| (1.0 - (-a).exp()) / (1.0 + (-a).exp()) * (-a * f64::from(x.abs())).exp();
    let end = (40.0 / a) as i32;
    (-end..=end + sensitivity).map(|x| (mass(x), mass(x - sensitivity))).collect()
}

fn gaussian_law(sigma: f64, sensitivity: i32) -> Law {
    let density = |x: i32| (-f64::from(x * x) / (2.0 * sigma * sigma)).exp();
    let end = (12.0 * sigma) as i32 + 1;
    let sum: f64 = (-end..=end).map(density).sum();
    (-end..=end + sensitivity).map(|x| (density(x) / sum, density(x - sensitivity) / sum)).collect()
}

#[test]
fn tiny_discrete_plans_equal_their_enumeration() {
    let cases: [(Vec<Event>, Vec<Law>); 5] = [
        (vec![discrete_laplace(1.0, 1, 1)], vec![laplace_law(1.0, 1)]),
        (vec![discrete_laplace(1.5, 2, 3)], vec![laplace_law(1.5, 2); 3]),
        (vec![discrete_gaussian(1.0, 1, 3)], vec![gaussian_law(1.0, 1); 3]),
        (vec![discrete_gaussian(0.7, 3, 2)], vec![gaussian_law(0.7, 3); 2]),
        (
            vec![discrete_gaussian(1.0, 2, 1), discrete_laplace(1.2, 1, 2)],
            vec![gaussian_law(1.0, 2), laplace_law(1.2, 1), laplace_law(1.2, 1)],
        ),
    ];
    for (plan, laws) in cases {
        for delta in [0.3, 1e-2, 1e-5, 1e-8] {
            let (ours, exact) = (epsilon(&plan, delta).unwrap(), by_enumeration(&laws, delta));
            // Enumeration is itself right to about 1e-12 of δ; mixtures are on a grid.
            let slack = if plan.len() > 1 { 5e-5 } else { 1e-6 };
            assert!(ours >= exact - 1e-9, "{plan:?} {delta}: {ours} < {exact}");
            assert!(ours <= exact + slack, "{plan:?} {delta}: {ours} {exact}");
        }
    }
}

/// Losses on, just below and just above a grid point: none may slip to a lower bucket.
#[test]
fn losses_at_bucket_boundaries() {
    for scale in [1.0, 2.0, 3.0, 7.0, 1.0 / 3.0] {
        for nudge in [f64::next_down as fn(f64) -> f64, |x| x, f64::next_up] {
            let scale = nudge(scale);
            let reach = 1.0 / scale;
            for delta in [1e-3f64, 1e-6, 1e-9] {
                // δ(ε) = (1 - e^{(ε - 1/b)/2}) for one release.
                let exact = reach + 2.0 * (-delta).ln_1p();
                let ours = epsilon(&[laplace(scale, 1.0, 1)], delta).unwrap();
                assert!(ours >= exact - 1e-15, "{scale} {delta}: {ours} < {exact}");
                assert!(ours <= exact + 2e-5, "{scale} {delta}: {ours} {exact}");
            }
        }
    }
}

/// One sampled release has a closed form: δ(ε) = q·δ₀(ln(1 + (e^ε - 1)/q)).
#[test]
fn one_sampled_release_equals_its_closed_form() {
    for (sigma, q) in [(0.5, 0.01), (1.0, 0.3), (3.0, 0.9), (20.0, 0.05), (0.3, 1e-4)] {
        let mu = 1.0 / sigma;
        let exact_delta = |epsilon: f64| q * gdp::delta((epsilon.exp_m1() / q).ln_1p(), mu);
        for delta in [1e-2, 1e-5, 1e-8, 1e-10] {
            let ours = epsilon(&[gaussian(sigma, q, 1)], delta).unwrap();
            if ours > 0.0 {
                assert!(exact_delta(ours) <= delta * (1.0 + 1e-9), "{sigma} {q} {delta}: {ours}");
                let less = ours - 3e-5;
                assert!(less < 0.0 || exact_delta(less) > delta, "{sigma} {q} {delta}: {ours}");
            } else {
                assert!(exact_delta(0.0) <= delta, "{sigma} {q} {delta}");
            }
        }
    }
}

/// The grid against the exact curve: rates just below 1 force unsampled Gaussians onto it.
#[test]
fn gaussians_on_the_grid_are_above_the_exact_curve_and_close() {
    for (sigma, count) in [(0.7, 1), (1.0, 10), (4.0, 100), (30.0, 1000)] {
        for delta in [1e-3, 1e-6, 1e-10] {
            let mu_squared = count as f64 / (sigma * sigma);
            let exact = gdp::epsilon(mu_squared, delta);
            // A release of pure ε₀ near 0 adds nothing but keeps the Gaussian on the grid.
            let plan = [gaussian(sigma, 1.0, count), laplace(1e9, 1.0, 1)];
            let ours = epsilon(&plan, delta).unwrap();
            let step_by_step = epsilon(&[gaussian(sigma, 1.0 - 1e-12, count)], delta).unwrap();
            for found in [ours, step_by_step] {
                assert!(found >= exact * (1.0 - 1e-8), "{sigma} {count} {delta}: {found} {exact}");
                assert!(
                    found <= exact + 1e-4 * exact.max(1.0),
                    "{sigma} {count} {delta}: {found} {exact}"
                );
            }
        }
    }
}

#[test]
fn what_is_asked_twice_is_answered_alike() {
    let plan = [gaussian(1.0, 0.02, 300), laplace(8.0, 1.0, 4), gaussian(1.0, 0.02, 100)];
    let merged = [laplace(8.0, 1.0, 4), gaussian(1.0, 0.02, 400)];
    let first = epsilon(&plan, 1e-6).unwrap();
    assert_eq!(first, epsilon(&plan, 1e-6).unwrap());
    assert!((first - epsilon(&merged, 1e-6).unwrap()).abs() < 1e-4);
    assert_eq!(delta(&plan, 1.0).unwrap(), delta(&plan, 1.0).unwrap());
}

/// δ at the reported ε is at most δ, also when it is asked with another window and tilt.
#[test]
fn both_questions_agree() {
    let plan = [gaussian(1.0, 0.05, 200), laplace(10.0, 1.0, 5)];
    for target in [1e-3, 1e-6, 1e-9] {
        let found = epsilon(&plan, target).unwrap();
        let back = delta(&plan, found).unwrap();
        assert!((back / target - 1.0).abs() < 1e-3, "{target}: {back}");
    }
    // Total variation of unsampled Gaussians on the grid: 2Φ(μ/2) - 1.
    let plan = [gaussian(1.0, 1.0, 1), laplace(1e9, 1.0, 1)];
    let at_zero = delta(&plan, 0.0).unwrap();
    assert!((at_zero - 0.382_924_922_548_026).abs() < 1e-5, "{at_zero}");
    assert!(at_zero >= 0.382_924_922_548_026);
}

#[test]
fn pure_losses_end_where_they_end() {
    // δ above what is ever reached: ε = 0; δ tiny: just below the sum of the largest losses.
    assert_eq!(epsilon(&[laplace(1e6, 1.0, 1)], 1e-3), Ok(0.0));
    let ours = epsilon(&[discrete_laplace(0.5, 3, 4)], 1e-11).unwrap();
    assert!(ours <= 6.0 + 1e-9 && ours > 5.999_999, "{ours}");
}

#[test]
fn outside_its_range_it_says_so() {
    let plan = [gaussian(1.0, 1.0, 1)];
    for bad in [0.0, 1e-12, 1.0, -1.0, f64::NAN] {
        assert!(matches!(epsilon(&plan, bad), Err(PldError::Delta { .. })), "{bad}");
    }
    let message = epsilon(&plan, 1e-12).unwrap_err().to_string();
    assert!(message.contains("1e-11") && message.contains("gdp"), "{message}");
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(delta(&plan, bad), Err(PldError::Epsilon { .. })), "{bad}");
    }
    assert_eq!(epsilon(&[], 1e-5), Err(PldError::Empty));
    let cost = event(Mechanism::Zcdp { rho: Rational::one() }, 1);
    let error = epsilon(&[plan[0].clone(), cost], 1e-5);
    assert_eq!(error, Err(PldError::NoDistribution { index: 1 }));
}

/// Noise at both ends of what can be written down gives a number or infinity, and no panic.
#[test]
fn extremes_end() {
    for (sigma, q) in [(1e-100, 0.5), (1e-3, 0.5), (0.05, 1e-15), (1e8, 0.5), (1e100, 1e-15)] {
        for count in [1, 100_000_000] {
            for mechanism in [
                Mechanism::Gaussian { sigma, sensitivity: 1.0, sampling: q },
                Mechanism::Laplace { scale: sigma, sensitivity: 1.0, sampling: q },
            ] {
                let found = epsilon(&[event(mechanism.clone(), count)], 1e-6).unwrap();
                assert!(found >= 0.0, "{mechanism:?} {count}: {found}");
                // Far too much noise: nothing is lost, or little by very many roundings.
                let most = if count == 1 { 1e-6 } else { 0.1 };
                assert!(sigma < 1.0 || found < most, "{mechanism:?} {count}: {found}");
            }
        }
    }
    // A thousand million rounds of a real mechanism still have a figure.
    let plan = [gaussian(2.0, 1e-5, 1_000_000_000)];
    let found = epsilon(&plan, 1e-6).unwrap();
    assert!(found > 0.0 && found <= rdp::epsilon(&plan, 1e-6).epsilon * 1.1, "{found}");
    for sigma in [1e-100, 0.01, 0.3, 4095.0, 4097.0, 1e9] {
        let found = epsilon(&[discrete_gaussian(sigma, 1 << 20, 1)], 1e-6).unwrap();
        assert!(found >= 0.0, "{sigma}: {found}");
        let found = epsilon(&[discrete_laplace(1.0 / sigma, 1 << 20, 3)], 1e-6).unwrap();
        assert!(found >= 0.0, "{sigma}: {found}");
    }
}

#[test]
fn the_bridge_and_the_lattice_meet() {
    let below = epsilon(&[discrete_gaussian(4096.0, 4096, 1)], 1e-5).unwrap();
    let above = epsilon(&[discrete_gaussian(4096.0f64.next_up(), 4096, 1)], 1e-5).unwrap();
    assert!((below - above).abs() < 1e-5, "{below} {above}");
}

/// The transforms used here are within their bound of sums by definition.
#[test]
fn transforms_are_within_their_bound() {
    for length in [256usize, 1024, 2048] {
        // A spread of magnitudes, from a fixed recurrence.
        let mut state = 1u64;
        let mut input: Vec<f64> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 11) as f64 / 2f64.powi(53)).powi(8)
            })
            .collect();
        let by_definition = |k: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, x) in input.iter().enumerate() {
                let turn = (i * k % length) as f64 / length as f64;
                re += x * (2.0 * std::f64::consts::PI * turn).cos();
                im -= x * (2.0 * std::f64::consts::PI * turn).sin();
            }
            (re, im)
        };
        let exact: Vec<(f64, f64)> = (0..=length / 2).map(by_definition).collect();
        let plan = realfft::RealFftPlanner::<f64>::new().plan_fft_forward(length);
        let mut output = plan.make_output_vec();
        plan.process(&mut input, &mut output).unwrap();
        let off: f64 = exact
            .iter()
            .zip(&output)
            .map(|((re, im), z)| (re - z.re).powi(2) + (im - z.im).powi(2))
            .sum();
        let norm: f64 = exact.iter().map(|(re, im)| re * re + im * im).sum();
        let relative = (off / norm).sqrt();
        assert!(relative <= compose::fft_error(length), "{length}: {relative:e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever tilt and window are chosen: never below the definition.
    #[test]
    fn any_tilt_and_window_gives_a_bound(theta in 0.0f64..40.0, first in -60i64..30, log_length in 4u32..9,
                                         epsilon in 0.0f64..7.0, on_grid in any::<bool>()) {
        let part = Part { pair: Pair::discrete_laplace(1.0, 2), sampling: 1.0, count: 3 };
        let h = if on_grid { 0.25 } else { 0.3 };
        let losses = losses::Losses::of_removal(&part, h, 1e-20);
        let mut planner = realfft::RealFftPlanner::new();
        let composed =
            compose::Composed::new(&[(losses, 3)], h, theta, first, 1 << log_length, &mut planner);
        let law = laplace_law(1.0, 2);
        // Losses alone matter: three of them, with both masses each.
        let classes: Law = [-2.0f64, 0.0, 2.0]
            .iter()
            .map(|loss| {
                let of = |(p, q): &&(f64, f64)| ((p / q).ln() - loss).abs() < 1e-6;
                law.iter().filter(of).fold((0.0, 0.0), |(p, q), (a, b)| (p + a, q + b))
            })
            .collect();
        let exact = curve(&vec![classes; 3])(epsilon);
        let bound = composed.delta(epsilon);
        prop_assert!(bound >= exact * (1.0 - 1e-9) - 1e-13, "{} {}", bound, exact);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Never above RDP, which is valid but loose; for sampled Gaussians, never above the unsampled.
    #[test]
    fn between_the_others(log_sigma in -0.6f64..2.5, log_q in -14.0f64..-0.1, log_count in 0.0f64..8.0,
                          log_delta in -23.0f64..-3.0, is_laplace in any::<bool>()) {
        let (sigma, q) = (log_sigma.exp(), log_q.exp());
        let (count, delta) = (log_count.exp() as u64, log_delta.exp());
        let make = if is_laplace { laplace } else { gaussian };
        let sampled = [make(sigma, q, count)];
        let ours = epsilon(&sampled, delta).unwrap();
        prop_assert!(ours <= rdp::epsilon(&sampled, delta).epsilon + 5e-5);
        let plain = epsilon(&[make(sigma, 1.0, count)], delta).unwrap();
        prop_assert!(ours <= plain + 5e-5 * plain.max(1.0), "{} {}", ours, plain);
    }

    /// Less noise, more sampling, more rounds, less δ: never a smaller ε.
    #[test]
    fn monotone(sigma in 0.6f64..6.0, q in 0.005f64..0.6, count in 1u64..300,
                log_delta in -20.0f64..-4.0, factor in 1.02f64..2.0) {
        let delta = log_delta.exp();
        let base = epsilon(&[gaussian(sigma, q, count)], delta).unwrap();
        let more = (count as f64 * factor).ceil() as u64;
        for (name, other) in [
            ("sigma", epsilon(&[gaussian(sigma / factor, q, count)], delta)),
            ("q", epsilon(&[gaussian(sigma, (q * factor).min(1.0), count)], delta)),
            ("count", epsilon(&[gaussian(sigma, q, more)], delta)),
            ("delta", epsilon(&[gaussian(sigma, q, count)], delta / factor)),
        ] {
            let other = other.unwrap();
            prop_assert!(other >= base - 2e-5 * base.max(1.0).min(100.0 * base), "{} {} {}", name, base, other);
        }
    }

    /// Composition costs: a plan and more of it, and never more than the sum of the parts at
    /// half of δ each.
    #[test]
    fn parts_and_wholes(b in 1.0f64..20.0, sigma in 1.0f64..6.0, n in 1u64..40, m in 1u64..40) {
        let (one, two) = (laplace(b, 1.0, n), gaussian(sigma, 0.1, m));
        let whole = epsilon(&[one.clone(), two.clone()], 2e-6).unwrap();
        let alone = |event: &Event, delta| epsilon(std::slice::from_ref(event), delta).unwrap();
        let (first, second) = (alone(&one, 1e-6), alone(&two, 1e-6));
        prop_assert!(whole <= first + second + 5e-5, "{} {} {}", whole, first, second);
        prop_assert!(whole >= alone(&one, 2e-6) - 5e-5);
    }
}
