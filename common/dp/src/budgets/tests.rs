//! Caps one by one, and all of them against a model that keeps every charge.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::{DAY_S, Rational};

fn rho(numerator: u64, denominator: u64) -> Rho {
    Rho::new(Rational::new(numerator, denominator).unwrap()).unwrap()
}

fn cap(name: &str, tasks: &[&str], days: Option<u32>, rho: Rho) -> Cap {
    Cap { name: name.into(), tasks: tasks.iter().map(ToString::to_string).collect(), days, rho }
}

/// Reserves what fits, as both sides do.
fn begin(
    budgets: &mut Budgets<u64>,
    round: u64,
    task: &str,
    cost: &Rho,
    now_s: u64,
) -> Result<(), Box<CapExceeded>> {
    budgets.admit(task, cost, now_s)?;
    budgets.reserve(round, Some(task), cost, now_s);
    Ok(())
}

#[test]
fn a_window_frees_exactly_when_it_has_moved_on() {
    let window = cap("month", &[], Some(30), rho(3, 10));
    let mut budgets = Budgets::new([Cap::lifetime(rho(1, 1)), window]);
    begin(&mut budgets, 1, "a", &rho(1, 10), 1_000).unwrap();
    // The charge is dated by the end of the round, not by its beginning.
    budgets.settle(&1, Settlement::Spent, 2_000);
    begin(&mut budgets, 2, "a", &rho(2, 10), 3_000).unwrap();
    budgets.settle(&2, Settlement::Spent, 4_000);
    let trace = Rho::new(Rational::power_of_half(4000)).unwrap();
    let refused = budgets.admit("a", &trace, 4_000).unwrap_err();
    assert_eq!((refused.cap.name.as_str(), refused.left()), ("month", Rational::zero()));
    assert_eq!(refused.frees, Frees::At(2_000 + 30 * DAY_S));
    let refused = budgets.admit("a", &rho(3, 10), 4_000).unwrap_err();
    assert_eq!(refused.frees, Frees::At(4_000 + 30 * DAY_S));
    // One second early, and on time.
    let free = 2_000 + 30 * DAY_S;
    assert!(budgets.admit("a", &rho(1, 10), free - 1).is_err());
    budgets.admit("a", &rho(1, 10), free).unwrap();
    assert!(budgets.admit("a", &rho(2, 10), free).is_err());
    // The lifetime's cap frees never.
    let refused = budgets.admit("a", &rho(8, 10), u64::MAX).unwrap_err();
    assert_eq!((refused.cap.name.as_str(), refused.frees), ("lifetime", Frees::Never));
    let said = refused.to_string();
    assert!(said.contains("'lifetime'") && said.contains("0.700000 left"), "{said}");
}

#[test]
fn a_family_counts_its_own_tasks_only() {
    let family = cap("statistics", &["cooccurrence", "popularity"], None, rho(1, 4));
    let mut budgets = Budgets::new([Cap::lifetime(rho(1, 1)), family]);
    begin(&mut budgets, 1, "popularity", &rho(1, 4), 5).unwrap();
    budgets.settle(&1, Settlement::Spent, 5);
    let refused = begin(&mut budgets, 2, "cooccurrence", &rho(1, 100), 6).unwrap_err();
    assert_eq!(refused.cap.name, "statistics");
    begin(&mut budgets, 2, "matrix-factorisation", &rho(3, 4), 6).unwrap();
    assert!(begin(&mut budgets, 3, "matrix-factorisation", &rho(1, 100), 6).is_err());
    // A round of which nobody knows the task any more fills every family.
    let mut budgets = Budgets::new([cap("statistics", &["popularity"], None, rho(1, 4))]);
    budgets.reserve(1, None, &rho(1, 4), 5);
    assert!(budgets.admit("popularity", &rho(1, 100), 5).is_err());
}

#[test]
fn a_clock_that_goes_back_frees_nothing() {
    let window = || Budgets::new([cap("day", &[], Some(1), rho(1, 1))]);
    let mut budgets = window();
    let late = 50 * DAY_S;
    begin(&mut budgets, 1, "a", &rho(1, 2), late).unwrap();
    // The clock is put back by a month before the round ends: it is dated by the latest second.
    budgets.settle(&1, Settlement::Spent, late - 30 * DAY_S);
    assert!(budgets.admit("a", &rho(1, 1), late + DAY_S - 1).is_err());
    begin(&mut budgets, 2, "a", &rho(1, 2), 0).unwrap();
    budgets.settle(&2, Settlement::Spent, 0);
    for now in [0, 1, late - DAY_S, late, late + DAY_S - 1] {
        assert!(budgets.admit("a", &rho(1, 100), now).is_err(), "{now}");
    }
    budgets.admit("a", &rho(1, 1), late + DAY_S).unwrap();
    // At the end of time nothing overflows.
    let mut budgets = window();
    begin(&mut budgets, 1, "a", &rho(1, 1), u64::MAX).unwrap();
    budgets.settle(&1, Settlement::Spent, u64::MAX);
    assert!(budgets.standing(u64::MAX)[0].spent == Rho::zero());
}

#[test]
fn a_round_under_way_counts_however_long_it_takes() {
    let mut budgets = Budgets::new([cap("day", &[], Some(1), rho(1, 1))]);
    begin(&mut budgets, 1, "a", &rho(1, 1), 0).unwrap();
    let refused = budgets.admit("a", &rho(1, 1), 99 * DAY_S).unwrap_err();
    assert_eq!(refused.frees, Frees::WhenRoundsEnd);
    assert_eq!(budgets.admit("a", &rho(2, 1), 0).unwrap_err().frees, Frees::Never);
    budgets.settle(&1, Settlement::Refunded, 99 * DAY_S);
    budgets.admit("a", &rho(1, 1), 99 * DAY_S).unwrap();
}

#[test]
fn a_charge_is_given_back_once_and_only_while_it_counts() {
    let mut budgets = Budgets::new([Cap::lifetime(rho(1, 1)), cap("day", &[], Some(1), rho(1, 1))]);
    for round in [1, 2] {
        begin(&mut budgets, round, "a", &rho(1, 2), 10).unwrap();
        budgets.settle(&round, Settlement::Spent, 10);
    }
    budgets.give_back(&1);
    budgets.give_back(&1);
    budgets.give_back(&7);
    let spent = |budgets: &Budgets<u64>, now| {
        budgets.standing(now).into_iter().map(|standing| standing.spent).collect::<Vec<_>>()
    };
    assert_eq!(spent(&budgets, 10), [rho(1, 2), rho(1, 2)]);
    assert_eq!(spent(&budgets, 10 + DAY_S), [rho(1, 2), rho(0, 1)]);
    // After it has left the window, giving it back gives the lifetime's share back alone.
    begin(&mut budgets, 3, "a", &rho(1, 2), 10 + DAY_S).unwrap();
    budgets.give_back(&2);
    assert_eq!(spent(&budgets, 10 + DAY_S), [rho(0, 1), rho(0, 1)]);
}

#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    round: u64,
    task: bool,
    cost: u64,
    /// The clock moves by this many quarters of a day, backwards too.
    quarters: i8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..4, 0u64..20, any::<bool>(), 0u64..40, -6i8..12);
    let step = step.prop_map(|(kind, round, task, cost, quarters)| Step {
        kind,
        round,
        task,
        cost,
        quarters,
    });
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// Whatever happens in whatever order, and however the clock jumps: no window of the true
    /// dates ever holds more than its cap, and what is admitted is what a list of all charges
    /// admits.
    #[test]
    fn no_window_ever_holds_more_than_its_cap(steps in steps()) {
        let caps = [
            Cap::lifetime(rho(100, 3)),
            cap("both", &["a"], Some(2), rho(30, 3)),
            cap("family", &["a"], None, rho(60, 3)),
            cap("window", &[], Some(3), rho(45, 3)),
        ];
        let covered = |cap: &Cap, task: bool| cap.covers(Some(if task { "a" } else { "b" }));
        let mut budgets = Budgets::new(caps.clone());
        // Round, task, cost in thirds, date of its end.
        let mut all: Vec<(u64, bool, u64, Option<u64>)> = Vec::new();
        let (mut clock, mut latest) = (40 * DAY_S, 0u64);
        for step in steps {
            clock = clock.saturating_add_signed(i64::from(step.quarters) * (DAY_S as i64) / 4);
            let known = all.iter().position(|(round, ..)| *round == step.round);
            let task = if step.task { "a" } else { "b" };
            match (step.kind, known) {
                (0 | 1, None) => {
                    let now = latest.max(clock);
                    let fits = caps.iter().filter(|cap| covered(cap, step.task)).all(|cap| {
                        let counts = all.iter().filter(|(_, task, _, ended)| {
                            covered(cap, *task)
                                && ended.zip(cap.window_s()).is_none_or(|(end, w)| end + w > now)
                        });
                        rho(counts.map(|(_, _, cost, _)| cost).sum::<u64>() + step.cost, 3) <= cap.rho
                    });
                    let begun = begin(&mut budgets, step.round, task, &rho(step.cost, 3), clock);
                    prop_assert_eq!(begun.is_ok(), fits);
                    if fits {
                        latest = now;
                        all.push((step.round, step.task, step.cost, None));
                    }
                }
                (2, Some(at)) if all[at].3.is_none() => {
                    latest = latest.max(clock);
                    budgets.settle(&step.round, Settlement::Spent, clock);
                    all[at].3 = Some(latest);
                }
                (3, Some(at)) => {
                    latest = latest.max(if all[at].3.is_none() { clock } else { 0 });
                    match all[at].3 {
                        None => budgets.settle(&step.round, Settlement::Refunded, clock),
                        Some(_) => budgets.give_back(&step.round),
                    }
                    all.remove(at);
                }
                _ => {}
            }
            for cap in &caps {
                let ended: Vec<(u64, u64)> = all
                    .iter()
                    .filter(|(_, task, ..)| covered(cap, *task))
                    .filter_map(|(_, _, cost, end)| Some(((*end)?, *cost)))
                    .collect();
                for (start, _) in &ended {
                    let inside = ended.iter().filter(|(end, _)| {
                        end >= start && cap.window_s().is_none_or(|window| *end < start + window)
                    });
                    prop_assert!(rho(inside.map(|(_, cost)| cost).sum(), 3) <= cap.rho);
                }
            }
        }
    }
}
