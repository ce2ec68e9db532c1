#![allow(clippy::unwrap_used)]
use chorale_task::{Cooccurrence, Popularity, Tensor};

use super::*;
use crate::{calendar::DAY_S, event::Kind, features::StoredEvent};

const TEXT: &str = "index,item_id,department,category\n0,APPLES,PRODUCE,FRUIT\n\
    1,PEARS,PRODUCE,FRUIT\n2,HERRING,GROCERY,FISH\n3,BREAD,GROCERY,BREAD\n4,MATCHES,HOME,FIRE\n";

const CUT: i64 = 80 * DAY_S;

fn catalogue() -> Catalogue {
    Catalogue::read_csv(TEXT.as_bytes()).unwrap()
}

/// Persons by number; each buys the given items on the given days.
fn people(persons: u8, buys: impl Fn(u8) -> Vec<(i64, u32)>) -> BTreeMap<Pseudonym, PersonRecord> {
    (0..persons)
        .map(|who| {
            let event = |(basket, (day, item)): (usize, (i64, u32))| StoredEvent {
                time_s: day * DAY_S,
                item,
                kind: Kind::Purchase,
                basket: basket as u32,
                quantity: 1.0,
                amount: 1.0,
                discount: 0.0,
                channel: 0,
            };
            let events = buys(who).into_iter().enumerate().map(event).collect();
            (Pseudonym::from_bytes([who; 32]), PersonRecord { at_home: true, events })
        })
        .collect()
}

/// Each buys one item every ten days.
fn creatures_of_habit(persons: u8) -> BTreeMap<Pseudonym, PersonRecord> {
    people(persons, |who| (0..10).map(|n| (10 * n, u32::from(who % 5))).collect())
}

fn temporal() -> Options {
    let split = Split::Temporal { cut_s: CUT };
    Options { split, lengths: vec![1, 2], negatives: None, seed: 1 }
}

fn find(evaluation: &Evaluation, scope: Scope, arm: Arm) -> &Ranking {
    evaluation.rankings.iter().find(|one| one.scope == scope && one.arm == arm).unwrap()
}

#[test]
fn habits_are_found_and_popularity_is_not_enough() {
    let evaluation = evaluate(&creatures_of_habit(20), &catalogue(), None, &temporal()).unwrap();
    assert_eq!((evaluation.persons, evaluation.cut_s), (20, Some(CUT)));
    let own = find(&evaluation, Scope::AllItems, Arm::StoreAlone);
    assert_eq!((own.judged, own.at[0].recall.mean, own.at[0].hit_rate.mean), (20, 1.0, 1.0));
    assert_eq!((own.at[1].precision.mean, own.at[1].ndcg.mean), (0.5, 1.0));
    assert_eq!(own.auc.unwrap().mean, 1.0);
    // A list of 2 out of 5 with 1 hit each.
    let counts =
        Confusion { true_positive: 20, false_positive: 20, false_negative: 0, true_negative: 60 };
    assert_eq!(own.classified.counts, counts);
    assert_eq!(own.classified.accuracy, Some(0.8));
    // Everything is equally popular: the first item is right for one of five.
    let popular = find(&evaluation, Scope::AllItems, Arm::Popular);
    assert_eq!((popular.at[0].recall.mean, popular.auc.unwrap().mean), (0.2, 0.5));
    let habits = evaluation.habits.unwrap();
    assert_eq!((habits.counts.true_positive, habits.counts.all()), (20, 20));
    // Nobody bought anything new.
    assert!(evaluation.rankings.iter().all(|one| one.scope == Scope::AllItems));
}

#[test]
fn what_is_kept_back_is_not_known() {
    // Everybody takes to bread on the last day.
    let persons = people(20, |who| vec![(10, u32::from(who % 3)), (90, 3)]);
    let evaluation = evaluate(&persons, &catalogue(), None, &temporal()).unwrap();
    for arm in [Arm::Popular, Arm::StoreAlone] {
        let new = find(&evaluation, Scope::NewItems, arm);
        assert_eq!(new.at[0].recall.mean, 0.0, "bread was never bought before the cut");
    }
    let earlier = Options { split: Split::Temporal { cut_s: 95 * DAY_S }, ..temporal() };
    let nothing = evaluate(&persons, &catalogue(), None, &earlier).unwrap_err();
    assert!(matches!(nothing, EvaluateError::TooFew { judged: 0 }), "{nothing}");
}

/// Herring and matches go together everywhere but at this store.
fn model() -> Model {
    let mut matrix = [[0.0; 5]; 5];
    for (i, j, value) in
        [(0, 0, 9.0), (1, 1, 1.0), (2, 2, 6.0), (2, 4, 6.0), (3, 3, 4.0), (4, 4, 6.0)]
    {
        matrix[i][j] = value;
    }
    let packed: Vec<f64> = (0..5).flat_map(|i| matrix[i][i..].to_vec()).collect();
    let vector = |values: &[f64]| Tensor::vector(values).unwrap();
    Model::for_catalogue(&catalogue())
        .unwrap()
        .with_tensor("popularity", Popularity::TENSOR, vector(&[9.0, 2.0, 2.0, 4.0, 1.0]))
        .unwrap()
        .with_tensor("c", Cooccurrence::TENSOR, vector(&packed))
        .unwrap()
        .with_tensor("c", Cooccurrence::COVERED, vector(&[0.0, 1.0, 2.0, 3.0, 4.0]))
        .unwrap()
        .with_tensor("c", Cooccurrence::NOISE, vector(&[0.0]))
        .unwrap()
}

#[test]
fn the_federations_part_is_the_difference() {
    let persons = people(30, |who| match who % 2 {
        0 => vec![(10, 2), (90, 4)],
        _ => vec![(10, 0), (20, 1), (90, 0)],
    });
    let evaluation = evaluate(&persons, &catalogue(), Some(&model()), &temporal()).unwrap();
    let alone = find(&evaluation, Scope::NewItems, Arm::StoreAlone);
    let with = find(&evaluation, Scope::NewItems, Arm::Federation);
    assert_eq!((alone.judged, alone.at[0].recall.mean), (15, 0.0));
    assert_eq!(with.at[0].recall.mean, 1.0);
    assert!(with.uplift.unwrap().excludes_zero_from_above());
    assert!(alone.uplift.is_none());
}

#[test]
fn folds_and_drawn_negatives() {
    let split = Split::Folds { cut_s: CUT, folds: 4 };
    let options = Options { split, negatives: Some(1), ..temporal() };
    let evaluation = evaluate(&creatures_of_habit(20), &catalogue(), None, &options).unwrap();
    let popular = find(&evaluation, Scope::AllItems, Arm::Popular);
    assert_eq!(popular.folds.len(), 4);
    // Two candidates each, and a list of two.
    assert_eq!((popular.at[1].recall.mean, popular.classified.counts.all()), (1.0, 40));
    assert_eq!(evaluation.negatives, Some(1));
    let drawn = Options { negatives: Some(1), ..temporal() };
    let drawn = evaluate(&creatures_of_habit(200), &catalogue(), None, &drawn).unwrap();
    let flattered = find(&drawn, Scope::AllItems, Arm::Popular).at[0].recall.mean;
    assert!((flattered - 0.5).abs() < 0.15, "0.2 with all negatives, {flattered} with one");
}

#[test]
fn one_left_out_of_each() {
    let options = Options { split: Split::LeaveOneOut, ..temporal() };
    let evaluation = evaluate(&creatures_of_habit(20), &catalogue(), None, &options).unwrap();
    assert_eq!(find(&evaluation, Scope::AllItems, Arm::StoreAlone).at[0].hit_rate.mean, 1.0);
    assert!(evaluation.habits.is_none() && evaluation.cut_s.is_none());
}
