//! What every task must hold, whatever the persons' records: bounded parts, no influence of one
//! person's presence on another's part, sums that do not care how persons are split over agents.

#![allow(clippy::unwrap_used)]

use chorale_plan::{
    CohortRule, Mechanism, Parameter, Parameters, PersonVector, Pseudonym, TaskSpec,
};
use chorale_wire::Digest;
use proptest::prelude::*;

use super::*;
use crate::{
    Catalogue, Gram, Item, MemoryPeople, Person, Weighting,
    gram::packed_len,
    scorers::{Ease, EaseOptions, LogLinear, LogLinearOptions, PureSvd, PureSvdOptions, Scorer},
};

const ITEMS: u32 = 30;

type History = Vec<(u32, f32)>;

fn plan(task: &str, rounds: u32, parameters: &[(&str, Parameter)]) -> Plan {
    let named = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Plan {
        name: "taste".to_owned(),
        task: TaskSpec { name: task.to_owned(), parameters: Parameters(named.collect()) },
        rounds,
        mechanism: Mechanism::Unprotected,
        scale_bits: 20,
        persons_max: 1000,
        stores_max: 1,
        cohort: CohortRule { enrolled: 12, corrupt: 2, survivors_min: 10 },
        catalogue: Digest::plain(b"catalogue"),
        events_before_s: 0,
        canary_lanes: 0,
    }
}

fn catalogue() -> Catalogue {
    let item = |i: u32| Item {
        item_id: format!("item {i}"),
        department: format!("department {}", i % 3),
        category: format!("category {}", i % 7),
    };
    Catalogue::new((0..ITEMS).map(item).collect()).unwrap()
}

/// A model after a popularity round.
fn model() -> Model {
    let popularity: Vec<f64> = (0..ITEMS).map(|i| f64::from(40 - i)).collect();
    Model::for_catalogue(&catalogue())
        .unwrap()
        .with_tensor(Popularity::NAME, Popularity::TENSOR, Tensor::vector(&popularity).unwrap())
        .unwrap()
}

fn tasks() -> Vec<Box<dyn Task>> {
    let integer = Parameter::Integer;
    let text = |text: &str| Parameter::Text(text.to_owned());
    let plans = [
        plan("popularity", 1, &[("weighting", text("square-root"))]),
        plan("cooccurrence", 1, &[]),
        plan(
            "cooccurrence",
            1,
            &[
                ("items_max", integer(9)),
                ("weighting", text("logarithm")),
                ("popularity_share", Parameter::Real(0.5)),
            ],
        ),
        plan("matrix-factorisation", 3, &[("persons", integer(40)), ("rank", integer(4))]),
    ];
    plans.iter().map(|plan| from_plan(plan, ITEMS as usize).unwrap()).collect()
}

fn who(number: usize) -> Pseudonym {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Pseudonym::from_bytes(bytes)
}

/// Keeps each part as a dense vector; refuses what the gate would refuse.
struct Collected {
    coordinates: usize,
    parts: Vec<(Pseudonym, Vec<f32>)>,
}

impl PersonSink for Collected {
    fn person(&mut self, who: Pseudonym, part: PersonVector<'_>) -> Result<(), SinkError> {
        if self.parts.last().is_some_and(|(last, _)| *last >= who) {
            return Err(SinkError::Order);
        }
        let mut dense = vec![0.0; self.coordinates];
        match part {
            PersonVector::Dense(values) => dense.copy_from_slice(values),
            PersonVector::Sparse { index, value } => {
                let ascending = index.is_sorted_by(|a, b| a < b);
                let inside = index.last().is_none_or(|&i| (i as usize) < self.coordinates);
                if !ascending || !inside || index.len() != value.len() {
                    return Err(SinkError::Index { coordinates: self.coordinates });
                }
                for (&i, &v) in index.iter().zip(value) {
                    dense[i as usize] = v;
                }
            }
        }
        self.parts.push((who, dense));
        Ok(())
    }
}

fn parts(task: &dyn Task, model: &Model, persons: Vec<(Pseudonym, History)>) -> Collected {
    let mut out =
        Collected { coordinates: task.shape(model).coordinates as usize, parts: Vec::new() };
    let mut people = MemoryPeople::new(persons).unwrap();
    task.contribute(model, &mut people, &mut out).unwrap();
    out
}

fn sum(collected: &Collected) -> Vec<f64> {
    let mut total = vec![0.0; collected.coordinates];
    for (_, part) in &collected.parts {
        for (sum, &value) in total.iter_mut().zip(part) {
            *sum += f64::from(value);
        }
    }
    total
}

fn quiet(values: Vec<f64>) -> NoisyTotal {
    NoisyTotal { values, survivors: 4, noise_std: 0.0 }
}

/// Runs a plan over persons in one place to its end.
fn run(task: &dyn Task, mut model: Model, persons: &[(Pseudonym, History)]) -> Model {
    let mut progress = Progress::default();
    for _ in 0..100 {
        let total = quiet(sum(&parts(task, &model, persons.to_vec())));
        match task.update(model, progress, &total).unwrap() {
            Next::Done(done) => return done,
            Next::Round(next, state) => (model, progress) = (next, state),
        }
    }
    panic!("the plan does not end");
}

/// Persons of two tastes: even items or odd ones.
fn two_tastes(persons: usize) -> Vec<(Pseudonym, History)> {
    (0..persons)
        .map(|number| {
            let own = (0..6).map(|k| {
                let item = ((number / 2) as u32 * 5 + k * 3) % (ITEMS / 2);
                (2 * item + (number % 2) as u32, 1.0 + k as f32)
            });
            let mut history: History = own.collect();
            history.sort_by_key(|entry| entry.0);
            (who(number), history)
        })
        .collect()
}

fn hostile_history() -> impl Strategy<Value = History> {
    let count = prop_oneof![
        4 => 0.5f32..50.0,
        1 => any::<f32>(),
        1 => Just(f32::NAN),
        1 => Just(f32::MAX),
        1 => Just(f32::INFINITY),
        1 => Just(-3.0f32),
        1 => Just(f32::MIN_POSITIVE / 8.0),
    ];
    proptest::collection::vec((0..ITEMS + 5, count), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_part_exceeds_the_clip(histories in proptest::collection::vec(hostile_history(), 1..6)) {
        let persons: Vec<_> = histories.into_iter().enumerate().map(|(n, h)| (who(n), h)).collect();
        for task in tasks() {
            let clip = task.shape(&model()).clip.to_f64_down();
            for (_, part) in parts(&*task, &model(), persons.clone()).parts {
                let squares: f64 = part.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                prop_assert!(squares.sqrt() <= clip, "{}: {}", task.name(), squares.sqrt());
            }
        }
    }

    #[test]
    fn a_part_does_not_depend_on_who_else_is_there(
        histories in proptest::collection::vec(hostile_history(), 2..6),
    ) {
        let persons: Vec<_> = histories.into_iter().enumerate().map(|(n, h)| (who(n), h)).collect();
        for task in tasks() {
            let together = parts(&*task, &model(), persons.clone());
            for (person, part) in persons.iter().zip(&together.parts) {
                let alone = parts(&*task, &model(), vec![person.clone()]);
                prop_assert_eq!(&alone.parts[0], part, "{}", task.name());
            }
        }
    }
}

/// No batch size: one total moves the model by as much, from however many agents it came.
#[test]
fn a_batch_of_any_size_moves_the_model_by_what_the_plan_declares() {
    let model = model();
    for task in tasks() {
        let values: Vec<f64> =
            (0..task.shape(&model).coordinates).map(|i| f64::from(i % 5) + 0.5).collect();
        let after = |survivors| {
            let total = NoisyTotal { survivors, ..quiet(values.clone()) };
            match task.update(model.clone(), Progress::default(), &total).unwrap() {
                Next::Round(model, _) | Next::Done(model) => model.digest().unwrap(),
            }
        };
        assert_eq!(after(1), after(99), "{}", task.name());
    }
}

#[test]
fn every_person_is_handed_over_even_without_items() {
    let persons = vec![(who(1), vec![]), (who(2), vec![(3, 1.0)])];
    for task in tasks() {
        let out = parts(&*task, &model(), persons.clone());
        assert_eq!(out.parts.len(), 2);
        assert!(out.parts[0].1.iter().all(|value| *value == 0.0));
        // Normalised: an honest person uses all of the clip.
        let squares: f64 = out.parts[1].1.iter().map(|v| f64::from(v * v)).sum();
        assert!(squares > 0.999, "{} {squares}", task.name());
    }
}

#[test]
fn stores_sum_to_the_pooled_total() {
    let persons = two_tastes(40);
    for task in tasks() {
        let pooled = sum(&parts(&*task, &model(), persons.clone()));
        let mut federated = vec![0.0; pooled.len()];
        for store in persons.chunks(7) {
            let total = sum(&parts(&*task, &model(), store.to_vec()));
            federated.iter_mut().zip(&total).for_each(|(a, b)| *a += b);
        }
        for (a, b) in federated.iter().zip(&pooled) {
            assert!((a - b).abs() < 1e-9, "{}", task.name());
        }
    }
}

#[test]
fn the_released_gram_matrix_is_the_pooled_one() {
    let persons = two_tastes(40);
    for (task, share) in [(&tasks()[1], ITEMS), (&tasks()[2], 9)] {
        let done = run(&**task, model(), &persons);
        let found = Gram::from_model(&done).unwrap();
        assert_eq!(found.covered().len(), share as usize);
        let weighting = if share == 9 { Weighting::Logarithm } else { Weighting::Binary };
        let mut people = MemoryPeople::new(persons.clone()).unwrap();
        let pooled = Gram::pooled(&mut people, ITEMS, found.covered(), weighting);
        for (a, b) in found.matrix().iter().zip(pooled.matrix()) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        if share == ITEMS {
            // Every person adds trace 1.
            assert!((found.matrix().diag().sum() - 40.0).abs() < 1e-3);
        }
        // Model bytes carry it over.
        let read = Model::decode(&done.encode().unwrap()).unwrap();
        assert_eq!(Gram::from_model(&read).unwrap(), found);
        assert_eq!(Cooccurrence::weighting(&read).unwrap(), weighting);
        let other = read.with_note(Cooccurrence::WEIGHTING, "cubic").unwrap();
        assert!(matches!(Cooccurrence::weighting(&other), Err(ModelError::Content { .. })));
    }
}

#[test]
fn the_popularity_segment_is_the_popularity_round() {
    let persons = two_tastes(40);
    let own = plan("popularity", 1, &[("weighting", Parameter::Text("logarithm".to_owned()))]);
    let own = run(&*from_plan(&own, ITEMS as usize).unwrap(), model(), &persons);
    let ridden = run(&*tasks()[2], model(), &persons);
    let of = |model: &Model| Popularity::probabilities(model).unwrap();
    for (a, b) in of(&own).iter().zip(of(&ridden)) {
        assert!((a - b).abs() < 1e-6);
    }
}

#[test]
fn noise_floors_popularity() {
    let task = from_plan(&plan("popularity", 1, &[]), ITEMS as usize).unwrap();
    let mut values = vec![-5.0; ITEMS as usize];
    values[0] = 10.0;
    let total = NoisyTotal { values, survivors: 4, noise_std: 2.0 };
    let Next::Done(done) = task.update(model(), Progress::default(), &total).unwrap() else {
        panic!("one round");
    };
    let tensor = done.tensor(Popularity::TENSOR).unwrap();
    assert_eq!(&tensor.values()[..2], [10.0, 2.0]);
    assert_eq!(done.scalar(Popularity::NOISE).unwrap(), 2.0);
}

#[test]
fn matrix_factorisation_learns_two_tastes() {
    let persons = two_tastes(40);
    let popularity = from_plan(&plan("popularity", 1, &[]), ITEMS as usize).unwrap();
    let start = Model::for_catalogue(&catalogue()).unwrap();
    let known = run(&*popularity, start, &persons);
    let parameters = [
        ("persons", Parameter::Integer(40)),
        ("rank", Parameter::Integer(4)),
        ("lambda", Parameter::Integer(1)),
        ("eta", Parameter::Integer(100)),
        ("start", Parameter::Text("random".to_owned())),
    ];
    let task =
        from_plan(&plan(MatrixFactorisation::NAME, 20, &parameters), ITEMS as usize).unwrap();
    let done = run(&*task, known, &persons);
    assert_eq!(done.kind(), MatrixFactorisation::NAME);
    let options = LogLinearOptions {
        ridge: 1.0,
        category: 0.0,
        department: 0.0,
        ..LogLinearOptions::default()
    };
    let scorer = LogLinear::from_model(&done, &options).unwrap();
    let mean =
        |scores: &[f32], parity: usize| scores.iter().skip(parity).step_by(2).sum::<f32>() / 15.0;
    for (number, (_, history)) in persons.iter().enumerate() {
        let scores = scorer.scores(history);
        assert!(mean(&scores, number % 2) > mean(&scores, 1 - number % 2) + 0.8);
    }
}

#[test]
fn rounds_end_and_wrong_totals_are_refused() {
    let task = &tasks()[3];
    let length = task.shape(&model()).coordinates as usize;
    let zero = quiet(vec![0.0; length]);
    let late = Progress { step: 3, ..Progress::default() };
    assert!(matches!(
        task.update(model(), late, &zero),
        Err(UpdateError::Complete { rounds: 3, .. })
    ));
    for task in tasks() {
        let expected = task.shape(&model()).coordinates as usize;
        let refused = task.update(model(), Progress::default(), &quiet(vec![0.0; expected + 1]));
        assert!(matches!(refused, Err(UpdateError::Length { .. })));
    }
    // Totals of nothing leave the public starting point where it was, for agents and coordinator.
    let after = task.update(model(), Progress::default(), &zero).unwrap();
    let Next::Round(after, progress) = after else {
        panic!("three rounds");
    };
    assert_eq!(progress.step, 1);
    let again = task.update(model(), Progress::default(), &zero).unwrap();
    assert_eq!(again, Next::Round(after, progress));
}

#[test]
fn a_model_that_does_not_fit_is_refused_at_the_agent() {
    let short = Model::initial(ITEMS - 1, *model().catalogue()).unwrap();
    for task in tasks() {
        let mut out = Collected { coordinates: 1, parts: Vec::new() };
        let refused = task.contribute(&short, &mut MemoryPeople::default(), &mut out);
        assert!(matches!(refused, Err(ContributeError::Model { .. })));
    }
}

#[test]
fn wrong_plans_name_what_is_wrong() {
    let refused = |task: &str, rounds, parameters: &[(&str, Parameter)]| {
        from_plan(&plan(task, rounds, parameters), ITEMS as usize)
            .err()
            .map(|error| error.to_string())
            .unwrap()
    };
    let integer = Parameter::Integer;
    assert!(refused("popularty", 1, &[]).contains("cooccurrence, matrix-factorisation"));
    assert!(refused("popularity", 2, &[]).contains("exactly one round"));
    assert!(refused("popularity", 1, &[("flor", integer(1))]).contains("'flor'"));
    assert!(refused("cooccurrence", 1, &[("weighting", integer(1))]).contains("'weighting'"));
    assert!(refused("cooccurrence", 1, &[("items_max", integer(-1))]).contains("'items_max'"));
    let factorisation = "matrix-factorisation";
    assert!(refused(factorisation, 10, &[]).contains("'persons'"));
    let nan = ("eta", Parameter::Real(f64::NAN));
    let persons = ("persons", integer(9));
    assert!(refused(factorisation, 10, &[persons.clone(), nan]).contains("'eta'"));
    assert!(refused(factorisation, 10, &[persons, ("rank", integer(0))]).contains("'rank'"));
    let huge = from_plan(&plan("cooccurrence", 1, &[]), 6000).err().unwrap();
    assert!(huge.to_string().contains("items_max"));
    assert!(packed_len(5792) <= chorale_wire::limits::COORDINATES_MAX);
    assert!(packed_len(5793) > chorale_wire::limits::COORDINATES_MAX);
}

#[test]
fn scorers_repeat_to_the_last_bit() {
    let persons = two_tastes(40);
    let build = || -> Vec<Box<dyn Scorer>> {
        let done = run(&*tasks()[1], model(), &persons);
        let done = run(&*tasks()[3], done, &persons);
        let gram = Gram::from_model(&done).unwrap();
        let weighting = Weighting::Binary;
        let ease = EaseOptions { lambda: 1.0, weighting };
        let svd = PureSvdOptions { rank: 3, weighting };
        let options = LogLinearOptions::default();
        vec![
            Box::new(Ease::fit(gram.clone(), &ease).unwrap()),
            Box::new(PureSvd::fit(gram, &svd)),
            Box::new(LogLinear::from_model(&done, &options).unwrap()),
        ]
    };
    for (first, second) in build().iter().zip(&build()) {
        for (_, history) in &persons {
            assert_eq!(first.scores(history), second.scores(history));
        }
    }
}

#[test]
fn a_streaming_source_is_enough() {
    /// Makes each person on demand, as an agent reading its store does.
    struct Stream {
        next: usize,
        items: History,
    }
    impl People for Stream {
        fn next_person(&mut self) -> Option<Person<'_>> {
            self.next += 1;
            self.items = vec![(self.next as u32, 1.0)];
            (self.next <= 3).then_some(Person { who: who(self.next), items: &self.items })
        }
    }
    let task = &tasks()[0];
    let mut out = Collected { coordinates: ITEMS as usize, parts: Vec::new() };
    let mut stream = Stream { next: 0, items: Vec::new() };
    task.contribute(&model(), &mut stream, &mut out).unwrap();
    assert_eq!(out.parts.len(), 3);
}
