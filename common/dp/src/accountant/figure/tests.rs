#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

const ALL: [Accountant; 4] = [Accountant::Pld, Accountant::Rdp, Accountant::Gdp, Accountant::Zcdp];

fn gaussian(sigma: f64, sampling: f64, count: u64) -> Event {
    Event::new(Mechanism::Gaussian { sigma, sensitivity: 1.0, sampling }, count).unwrap()
}

fn laplace(scale: f64, count: u64) -> Event {
    Event::new(Mechanism::Laplace { scale, sensitivity: 1.0, sampling: 1.0 }, count).unwrap()
}

#[test]
fn accountants_keep_their_order_and_say_what_they_do_not_cover() {
    let plan = [gaussian(2.0, 1.0, 10)];
    let figure = |accountant| epsilon(accountant, &plan, 1e-5).unwrap();
    let [pld, rdp, gdp, zcdp] = ALL.map(figure);
    assert_eq!(pld, gdp);
    assert!(gdp < zcdp && zcdp <= rdp);
    let sampled = [laplace(3.0, 1), gaussian(2.0, 0.1, 10)];
    assert!(matches!(
        epsilon(Accountant::Zcdp, &sampled, 1e-5),
        Err(FigureError::NotCovered { index: 1, .. })
    ));
    assert!(matches!(
        epsilon(Accountant::Gdp, &sampled, 1e-5),
        Err(FigureError::NotCovered { index: 0, .. })
    ));
    let figure = |accountant| epsilon(accountant, &sampled, 1e-5).unwrap();
    assert!(figure(Accountant::Pld) < figure(Accountant::Rdp));
    for accountant in ALL {
        assert_eq!(epsilon(accountant, &[], 1e-5), Err(FigureError::Empty));
        for delta in [0.0, 1.0, -1.0, f64::NAN] {
            let error = epsilon(accountant, &plan, delta);
            assert!(matches!(error, Err(FigureError::Delta { .. })), "{accountant:?} {delta}");
        }
    }
    // Below what an FFT can certify, and only there.
    assert!(matches!(
        epsilon(Accountant::Pld, &plan, 9.9e-12),
        Err(FigureError::Pld(pld::PldError::Delta { .. }))
    ));
    for accountant in [Accountant::Rdp, Accountant::Gdp, Accountant::Zcdp] {
        assert!(epsilon(accountant, &plan, 1e-30).unwrap() > 15.0);
    }
}

#[test]
fn a_cost_in_rho_is_exact() {
    let tenth = Event::new(Mechanism::Zcdp { rho: Rational::new(1, 10).unwrap() }, 3).unwrap();
    let plan = [gaussian(2.0, 1.0, 10), laplace(4.0, 8), tenth];
    // 10/8 + 8/32 + 3/10.
    assert_eq!(rho(&plan).unwrap().to_string(), "9/5");
}

#[test]
fn discrete_noise_in_many_dimensions_takes_the_bridge() {
    let release = |dimension| {
        let mechanism = Mechanism::DiscreteGaussian { sigma: 100.0, sensitivity: 100, dimension };
        [Event::new(mechanism, 1).unwrap()]
    };
    let continuous = epsilon(Accountant::Gdp, &[gaussian(1.0, 1.0, 1)], 1e-5).unwrap();
    for dimension in [2, 1_000_000] {
        let pld = epsilon(Accountant::Pld, &release(dimension), 1e-5).unwrap();
        assert_eq!(pld, epsilon(Accountant::Gdp, &release(dimension), 1e-5).unwrap());
        // σ² - 4 instead of σ².
        assert!(pld > continuous && pld < continuous * 1.0004, "{pld} {continuous}");
    }
    let narrow = Mechanism::DiscreteGaussian { sigma: 2.0, sensitivity: 1, dimension: 2 };
    let narrow = [Event::new(narrow, 1).unwrap()];
    assert!(matches!(
        epsilon(Accountant::Pld, &narrow, 1e-5),
        Err(FigureError::Pld(pld::PldError::Bridge { index: 0, dimension: 2 }))
    ));
}

/// The best guess against one Gaussian release is right with probability Φ(μ/2).
#[test]
fn the_attacker_of_a_plan() {
    let plan = [gaussian(1.0, 1.0, 1)];
    let success = attack_success(&plan, 4.377, 1e-5);
    assert!((success - 0.691_462_461_274_013).abs() < 1e-12, "{success}");
    // A mixture, at worst what its ε says.
    let mixture = [gaussian(2.0, 0.1, 100), laplace(10.0, 2)];
    let epsilon = epsilon(Accountant::Pld, &mixture, 1e-5).unwrap();
    let ours = attack_success(&mixture, epsilon, 1e-5);
    let worst = guess::success_at_worst(epsilon, 1e-5);
    assert!(ours > 0.5 && ours < worst, "{ours} {worst}");
    // Nothing but ρ is known.
    let known = [Event::new(Mechanism::Zcdp { rho: Rational::one() }, 1).unwrap()];
    assert_eq!(attack_success(&known, 1.0, 1e-5), guess::success_at_worst(1.0, 1e-5));
}

#[test]
fn calibration_meets_known_noise() {
    for accountant in [Accountant::Pld, Accountant::Gdp] {
        let found = noise_for(accountant, &[gaussian(1.0, 1.0, 1)], 1.0, 1e-5).unwrap();
        // Balle and Wang 2018, by 1/gdp::mu.
        let exact = 1.0 / super::super::gdp::mu(1.0, 1e-5);
        assert!(found.factor >= exact * (1.0 - 1e-9), "{} {exact}", found.factor);
        assert!(found.factor < exact * (1.0 + 1e-6), "{} {exact}", found.factor);
    }
    assert!(matches!(
        noise_for(Accountant::Pld, &[gaussian(1.0, 1.0, 1)], f64::NAN, 1e-5),
        Err(FigureError::Epsilon { .. })
    ));
    assert!(matches!(
        noise_for(Accountant::Rdp, &[gaussian(1.0, 1.0, 1)], 1e-12, 1e-30),
        Err(FigureError::NotFound { .. })
    ));
}

#[test]
fn rounds_in_rho_are_counted_exactly() {
    // The cap in ρ of (1, 1e-5), rounds of a thirtieth of it: floats would lose one.
    let cap = zcdp::rho(1.0, 1e-5);
    let each = cap.as_rational() / &Rational::from_integer(30);
    let round = [Event::new(Mechanism::Zcdp { rho: each }, 1).unwrap()];
    let fit = rounds_that_fit(Accountant::Zcdp, &[], &round, 1.0, 1e-5).unwrap();
    assert_eq!((fit.rounds, fit.at_least), (30, false));
    let spent = [round[0].repeated(29).unwrap()];
    let fit = rounds_that_fit(Accountant::Zcdp, &spent, &round, 1.0, 1e-5).unwrap();
    assert_eq!(fit.rounds, 1);
    let spent = [round[0].repeated(31).unwrap()];
    let fit = rounds_that_fit(Accountant::Zcdp, &spent, &round, 1.0, 1e-5).unwrap();
    assert!(fit.rounds == 0 && fit.epsilon > 1.0);
}

#[test]
fn what_costs_nearly_nothing_ends_the_search() {
    let round = [gaussian(1e9, 1.0, 1)];
    let fit = rounds_that_fit(Accountant::Gdp, &[], &round, 1.0, 1e-5).unwrap();
    assert_eq!((fit.rounds, fit.at_least), (ROUNDS_MAX, true));
}

/// An arbitrary plan of one or two events.
fn plans() -> impl Strategy<Value = Vec<Event>> {
    let sampled = (0.6f64..8.0, 0.005f64..0.5, 1u64..200)
        .prop_map(|(sigma, q, count)| gaussian(sigma, q, count));
    let plain = (0.6f64..8.0, 1u64..50).prop_map(|(sigma, count)| gaussian(sigma, 1.0, count));
    let noise = (0.5f64..20.0, 1u64..50).prop_map(|(scale, count)| laplace(scale, count));
    prop::collection::vec(prop_oneof![sampled, plain, noise], 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Calibration never overshoots, and a hair less noise would.
    #[test]
    fn noise_meets_its_target_closely(plan in plans(), log_target in -1.0f64..2.5,
                                      pld in any::<bool>()) {
        let target = log_target.exp();
        let accountant = if pld { Accountant::Pld } else { Accountant::Rdp };
        let found = noise_for(accountant, &plan, target, 1e-6).unwrap();
        prop_assert!(found.epsilon <= target);
        prop_assert_eq!(epsilon(accountant, &found.events, 1e-6).unwrap(), found.epsilon);
        prop_assert!(found.epsilon > target * (1.0 - 1e-3) - 1e-4, "{} {}", found.epsilon, target);
    }

    /// The rounds that fit do, and one more does not.
    #[test]
    fn one_round_more_does_not_fit(plan in plans(), spent in plans(), budget in 1.0f64..20.0) {
        let fit = rounds_that_fit(Accountant::Rdp, &spent, &plan, budget, 1e-6).unwrap();
        let after = |rounds: u64| {
            let more = plan.iter().filter_map(|event| event.repeated(rounds));
            epsilon(Accountant::Rdp, &spent.iter().cloned().chain(more).collect::<Vec<_>>(), 1e-6)
                .unwrap()
        };
        if fit.rounds > 0 {
            prop_assert!(after(fit.rounds) <= budget);
            prop_assert_eq!(after(fit.rounds), fit.epsilon);
        }
        prop_assert!(fit.at_least || after(fit.rounds + 1) > budget);
    }
}
