//! Canary lanes: what both verifiers demand of them, and what they show.

use chorale_plan::canary::{Measured, coins, measure};

use super::{
    peer::{Case, both_accept, both_refuse},
    *,
};
use crate::canary::{CanaryCommitment, CanaryOpening, RecountError};

const LANES: u32 = 30_000;

/// Noise of a lane where all 11 survivors of [`Ledger::release`] add their share of 2^33/8.
const OWED: u64 = 11 << 30;

fn seed(round: u64) -> [u8; 32] {
    [round as u8; 32]
}

fn laned(round: u64) -> ReserveEntry {
    reserve(round, 1).with_canaries(LANES, &seed(round))
}

/// An opening whose lanes have so many thousandths of the noise that is owed.
fn opened(round: u64, per_mille: u64, right: u32) -> CanaryOpening {
    let squares = u128::from(LANES) * u128::from(OWED) * u128::from(per_mille) / 1_000;
    let sum_of_squares = Rational::from_integer(squares);
    CanaryOpening::new(seed(round), "1\n2\n", Measured { sum_of_squares, right }, None)
}

fn release(ledger: &mut Ledger, round: u64, opening: CanaryOpening) -> Result<(), Violation> {
    let released = Released { canaries: Some(opening), ..released(round, 11) };
    ledger.append(ledger.chain.release(released)?)
}

/// One round for each of the openings, by the thousandths of noise and the right guesses.
fn example(openings: &[(u64, u32)]) -> Ledger {
    let mut ledger = Ledger::new(Privacy::Rho(rho(8, 1)));
    ledger.append(roster(1)).unwrap();
    for ((per_mille, right), round) in openings.iter().zip(1..) {
        ledger.reserve(laned(round)).unwrap();
        release(&mut ledger, round, opened(round, *per_mille, *right)).unwrap();
    }
    ledger
}

fn page(report: &Report) -> String {
    let lineage = lineage(report, &[]).unwrap();
    Page { report, lineage: &lineage, now_s: 0 }.html()
}

#[test]
fn honest_lanes_raise_no_flag_and_give_a_lower_bound() {
    let ledger = example(&[(990, 950), (1_004, 960)]);
    assert_eq!(ledger.chain.noise_short(), None);
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    let line = report.rounds[0].canaries.as_ref().unwrap();
    assert!((line.noise - 0.99).abs() < 1e-9 && !line.short && !line.below_promise);
    let figures = report.canaries.clone().unwrap();
    assert_eq!((figures.rounds, figures.guesses, figures.right), (2, 3_000, 1_910));
    assert!(figures.short.is_empty() && !figures.contradict());
    // Δ/σ = 1/√2 of one round, at δ a little below 1e-5; 1,910 of 3,000 is e^0.56 to 1.
    assert!((0.3..0.5).contains(&figures.epsilon_lower), "{}", figures.epsilon_lower);
    assert!((2.94..2.95).contains(&figures.epsilon_upper), "{}", figures.epsilon_upper);
    // Lanes cost nothing and change no other figure.
    let mut bare = Ledger::new(Privacy::Rho(rho(8, 1)));
    bare.append(roster(1)).unwrap();
    for round in [1, 2] {
        bare.reserve(reserve(round, 1)).unwrap();
        bare.release(round).unwrap();
    }
    let without = verify(bare.file.as_bytes(), None).unwrap();
    assert_eq!((&without.spent, without.epsilon), (&report.spent, report.epsilon));
    assert_eq!(without.canaries, None);
    let text = report.to_string();
    assert!(text.contains("as much as is owed") && !text.contains("SHORT"), "{text}");
    let html = page(&report);
    assert!(html.contains("What was measured") && !html.contains("Noise is short"), "{html}");
    assert!(!page(&without).contains("What was measured"));
    both_accept(&ledger.file, ledger.chain.head());
}

#[test]
fn short_noise_is_flagged_everywhere() {
    // One of 11 silent; half of all noise missing, so that not even σ² is left.
    let ledger = example(&[(1_000, 800), (909, 800), (500, 900)]);
    assert_eq!(ledger.chain.noise_short(), Some(RoundNumber(3)));
    assert_eq!(Chain::resume(ledger.file.as_bytes()).unwrap().noise_short(), Some(RoundNumber(3)));
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert_eq!(report.canaries.as_ref().unwrap().short, [2, 3]);
    let below: Vec<bool> =
        report.rounds.iter().map(|line| line.canaries.as_ref().unwrap().below_promise).collect();
    assert_eq!(below, [false, false, true]);
    let text = report.to_string();
    assert!(text.contains("SHORT in round 2, 3") && text.contains("; NOISE SHORT"), "{text}");
    let html = page(&report);
    assert!(html.contains("Noise is short in round 2, 3"), "{html}");
    both_accept(&ledger.file, ledger.chain.head());
}

#[test]
fn a_measurement_above_the_proof_is_called_a_contradiction() {
    let ledger = example(&[(1_000, 1_500)]);
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert!(report.canaries.as_ref().unwrap().contradict());
    assert!(report.to_string().contains("A CONTRADICTION"));
    assert!(page(&report).contains("contradicts what is proven"));
    both_accept(&ledger.file, ledger.chain.head());
}

/// Surplus that was taken off is not owed any more: 12 levels the roster, so 2^33/10 an agent.
#[test]
fn what_is_owed_follows_the_survivors_and_their_layers() {
    for (levels, survivors, owed) in [
        (None, 12, 12 * (1u64 << 30)),
        (None, 10, 10 << 30),
        (Some(vec![12, 11, 10]), 12, 12 * (1 << 33) / 10),
        (Some(vec![12, 11, 10]), 11, 11 * (1 << 33) / 9),
    ] {
        let reserve = ReserveEntry { noise_levels: levels, ..laned(1) };
        let shown = opened(1, 1_000, 0).shows(&reserve, survivors).unwrap();
        assert_eq!(shown.short, OWED * 31 < owed * 30, "{survivors}");
        let expected = OWED as f64 / owed as f64;
        assert!((shown.noise - expected).abs() < 1e-6, "{survivors}: {}", shown.noise);
    }
}

/// Who reveals the seeds of layers that it never added leaves them in the total, negative: what it
/// owes is judged before they come off.
#[test]
fn layers_are_judged_before_and_after_they_come_off() {
    let layered = |round| {
        let mut entry = laned(round);
        entry.noise_levels = Some(vec![12, 11, 10]);
        let distance = &total_variation_bound() * &Rational::from_integer(3);
        entry.sampler_distance = Some(distance);
        entry
    };
    // 11 survivors: 11·2^33/8 before, 11·2^33/9 after.
    let squares = |per_mille: u64, share: u64| {
        let one = (11u128 << 33) / u128::from(share) * u128::from(per_mille) / 1_000;
        Rational::from_integer(one * u128::from(LANES))
    };
    let opening = |round, after, before| {
        let measured = Measured { sum_of_squares: squares(after, 9), right: 800 };
        CanaryOpening::new(seed(round), "1\n", measured, Some(squares(before, 8)))
    };
    let mut ledger = Ledger::new(Privacy::Rho(rho(2, 1)));
    ledger.append(roster(1)).unwrap();
    for (round, after, before) in [(1, 1_000, 1_001), (2, 990, 909), (3, 900, 1_000)] {
        ledger.reserve(layered(round)).unwrap();
        release(&mut ledger, round, opening(round, after, before)).unwrap();
    }
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert_eq!(report.canaries.as_ref().unwrap().short, [2, 3]);
    let noise = report.rounds[1].canaries.as_ref().unwrap().noise;
    assert!((noise - 0.909).abs() < 1e-6, "{noise}");
    both_accept(&ledger.file, ledger.chain.head());
    // Both sums or one, as the noise comes.
    ledger.reserve(layered(4)).unwrap();
    let missing = release(&mut ledger, 4, opened(4, 1_000, 0));
    assert!(matches!(missing, Err(Violation::Range { field: "sum_before_removal", .. })));
    let mut plain = example(&[]);
    plain.reserve(laned(1)).unwrap();
    let surplus = release(&mut plain, 1, opening(1, 1_000, 1_000));
    assert!(matches!(surplus, Err(Violation::Range { field: "sum_before_removal", .. })));
    let cases = [("sum_before_removal", "1/2"), ("sum_of_squares", "1/2")].map(|(field, value)| {
        let file = resign(&ledger.file, 3, &key(), |line| {
            let mut entry = serde_json::to_value(&line.entry).unwrap();
            entry["canaries"][field] = value.into();
            line.entry = serde_json::from_value(entry).unwrap();
        });
        Case::new(field, file)
    });
    both_refuse(&cases);
}

#[test]
fn both_verifiers_name_the_entry_whose_canaries_are_wrong() {
    let ledger = example(&[(1_000, 800), (1_000, 801)]);
    let mut cases = Vec::new();
    let mut edit = |what: &str, line: usize, edit: &dyn Fn(&mut serde_json::Value)| {
        let file = resign(&ledger.file, line, &key(), |line| {
            let mut entry = serde_json::to_value(&line.entry).unwrap();
            edit(&mut entry);
            line.entry = serde_json::from_value(entry).unwrap();
        });
        cases.push(Case::new(what, file));
    };
    let none = |entry: &mut serde_json::Value| {
        entry.as_object_mut().unwrap().remove("canaries").unwrap();
    };
    edit("never committed", 2, &none);
    edit("never opened", 3, &none);
    for (name, line, key, value) in [
        ("too few lanes", 2, "lanes", serde_json::json!(255)),
        ("too many lanes", 2, "lanes", serde_json::json!((1 << 20) + 1)),
        ("fewer lanes than guesses", 2, "lanes", serde_json::json!(15_000)),
        ("another commitment", 2, "commitment", "00".repeat(32).into()),
        ("another seed", 3, "seed", "00".repeat(32).into()),
        ("the seed of another round", 5, "seed", "01".repeat(32).into()),
        ("more right than guessed", 3, "right", serde_json::json!(1_501)),
        ("half a square", 3, "sum_of_squares", "1/2".into()),
    ] {
        edit(name, line, &|entry| entry["canaries"][key] = value.clone());
    }
    edit("no room for the lanes", 2, &|entry| entry["coordinates"] = (1 << 24).into());
    both_refuse(&cases);
    // What cannot be written either.
    let mut unopened = example(&[]);
    unopened.reserve(laned(1)).unwrap();
    assert!(matches!(unopened.release(1), Err(Violation::Differs { field: "canaries", .. })));
    let negative =
        CanaryOpening { sum_of_squares: Rational::new(-1, 1).unwrap(), ..opened(1, 1_000, 0) };
    assert!(matches!(release(&mut unopened, 1, negative), Err(Violation::Range { .. })));
    let mut silent = Ledger::new(Privacy::Unprotected);
    silent.append(roster(1)).unwrap();
    let mut bare = laned(1);
    (bare.mechanism, bare.rho) = (MechanismName::Unprotected, Privacy::Unprotected);
    (bare.share_variance, bare.sigma_squared, bare.sampler_distance) = (None, None, None);
    assert!(matches!(silent.reserve(bare), Err(Violation::Range { field: "canaries", .. })));
}

/// Without the coordinator's key no digit of them can be changed.
#[test]
fn a_changed_digit_breaks_the_chain() {
    let ledger = example(&[(1_000, 800)]);
    let lines = ledger.lines();
    let mut cases = Vec::new();
    for (line, from, to) in [
        (2, "\"lanes\":30000", "\"lanes\":30001"),
        (3, "\"right\":800", "\"right\":801"),
        (3, "\"sum_of_squares\":\"3", "\"sum_of_squares\":\"4"),
        (3, "\"sum_of_squares\":\"3", "\"sum_of_squares\":\"03"),
    ] {
        assert!(lines[line].contains(from), "{from} in {}", lines[line]);
        let changed = lines[line].replacen(from, to, 1);
        cases.push(Case::new(to, [lines[..line].concat(), changed].concat()));
    }
    both_refuse(&cases);
}

#[test]
fn a_commitment_binds_round_and_coins() {
    let ours = CanaryCommitment::new(LANES, &seed(1), RoundNumber(1));
    assert_ne!(ours, CanaryCommitment::new(LANES, &seed(2), RoundNumber(1)));
    assert_ne!(ours, CanaryCommitment::new(LANES, &seed(1), RoundNumber(2)));
    // What is kept for an auditor gives what stands in the ledger.
    let lanes: Vec<i64> =
        coins(&seed(3), 400).iter().map(|coin| i64::from(*coin) * 3 - 1).collect();
    assert_eq!(measure(&lanes, 5, &seed(3)).right, 20);
}

/// Whoever has the totals counts again, and so finds a release that says something else of them.
#[test]
fn lanes_are_counted_again_from_their_totals() {
    const FEW: u32 = 256;
    let lanes: Vec<i64> = (0..FEW).map(|lane| i64::from(lane * 977 % 331) - 165).collect();
    let text: String = lanes.iter().map(|total| format!("{total}\n")).collect();
    let honest = measure(&lanes, 1 << 16, &seed(1));
    let counted = |measured: Measured, text: &str, given: &str| {
        let mut ledger = Ledger::new(Privacy::Rho(rho(8, 1)));
        ledger.append(roster(1)).unwrap();
        ledger.reserve(reserve(1, 1).with_canaries(FEW, &seed(1))).unwrap();
        release(&mut ledger, 1, CanaryOpening::new(seed(1), text, measured, None)).unwrap();
        ledger.reserve(reserve(2, 1)).unwrap();
        ledger.release(2).unwrap();
        let report = verify(ledger.file.as_bytes(), None).unwrap();
        assert_eq!(report.rounds[1].recount(given.as_bytes()), Ok(false), "no lanes");
        report.rounds[0].recount(given.as_bytes())
    };
    let round = RoundNumber(1);
    assert_eq!(counted(honest.clone(), &text, &text), Ok(true));
    let other = text.replacen("-165", "-166", 1);
    assert_eq!(counted(honest.clone(), &text, &other), Err(RecountError::Other { round }));
    assert_eq!(counted(honest.clone(), &other, &other), Err(RecountError::Squares { round }));
    let short = text.split_once('\n').unwrap().1;
    assert_eq!(counted(honest.clone(), short, short), Err(RecountError::Malformed { round }));
    let words = text.replacen("-165", "none", 1);
    assert_eq!(counted(honest.clone(), &words, &words), Err(RecountError::Malformed { round }));
    let (found, stated) = (honest.right, honest.right - 1);
    let dimmed = Measured { right: stated, ..honest };
    let error = RecountError::Guesses { round, found, stated };
    assert_eq!(counted(dimmed, &text, &text), Err(error));
}
