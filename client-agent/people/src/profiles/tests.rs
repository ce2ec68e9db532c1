#![allow(clippy::unwrap_used)]
use chorale_task::{Cooccurrence, MatrixFactorisation, Popularity, Tensor};
use chorale_wire::Digest;

use super::*;
use crate::{calendar::DAY_S, event::Kind, features::StoredEvent, quality::Quality};

const TEXT: &str = "index,item_id,department,category\n0,APPLES,PRODUCE,FRUIT\n\
    1,PEARS,PRODUCE,FRUIT\n2,HERRING,GROCERY,FISH\n3,BREAD,GROCERY,BREAD\n4,MATCHES,HOME,FIRE\n";

fn catalogue() -> Catalogue {
    Catalogue::read_csv(TEXT.as_bytes()).unwrap()
}

fn ingest() -> Ingest {
    Ingest {
        time_s: 0,
        catalogue: catalogue().digest(),
        home: "367".into(),
        persons: 9,
        home_persons: 9,
        window_end_s: i64::MAX,
        last_event_s: 100 * DAY_S,
        bought_by: vec![9, 1, 1, 5, 0],
        quality: Quality::default(),
    }
}

fn bought(items: &[(i64, u32)]) -> PersonRecord {
    let event = |(position, &(day, item)): (usize, &(i64, u32))| StoredEvent {
        time_s: day * DAY_S,
        item,
        kind: Kind::Purchase,
        basket: position as u32,
        quantity: 1.0,
        amount: 1.0,
        discount: 0.0,
        channel: 0,
    };
    PersonRecord { at_home: true, events: items.iter().enumerate().map(event).collect() }
}

fn popular() -> Model {
    let popularity = Tensor::vector(&[9.0, 2.0, 2.0, 4.0, 1.0]).unwrap();
    Model::for_catalogue(&catalogue())
        .unwrap()
        .with_tensor("popularity", Popularity::TENSOR, popularity)
        .unwrap()
}

/// Herring and matches always go together, apples and bread often.
fn with_gram() -> Model {
    let mut matrix = [[0.0; 5]; 5];
    let pairs = [(0, 0, 9.0), (0, 3, 3.0), (1, 1, 1.0), (2, 2, 6.0), (2, 4, 6.0), (3, 3, 4.0)];
    for (i, j, value) in pairs.into_iter().chain([(4, 4, 6.0)]) {
        matrix[i][j] = value;
    }
    let packed: Vec<f64> = (0..5).flat_map(|i| matrix[i][i..].to_vec()).collect();
    let vector = |values: &[f64]| Tensor::vector(values).unwrap();
    popular()
        .with_tensor("c", Cooccurrence::TENSOR, vector(&packed))
        .unwrap()
        .with_tensor("c", Cooccurrence::COVERED, vector(&[0.0, 1.0, 2.0, 3.0, 4.0]))
        .unwrap()
        .with_tensor("c", Cooccurrence::NOISE, vector(&[0.0]))
        .unwrap()
}

fn serving(model: Option<&Model>) -> Serving {
    Serving::new(catalogue(), &ingest(), model).unwrap()
}

fn names(answer: &Recommendations) -> Vec<&str> {
    answer.items.iter().map(|item| item.item.as_str()).collect()
}

#[test]
fn before_any_round_the_store_speaks_alone() {
    let serving = serving(None);
    let person = bought(&[(10, 2), (20, 2), (30, 2)]);
    let answer = Recommendations::of(Some(&person), &serving, 3, false);
    assert_eq!(names(&answer), ["HERRING", "APPLES", "BREAD"]);
    assert_eq!(answer.sources, [Source::History, Source::LocalPopularity]);
    assert_eq!(
        answer.items[0].reasons[0].text,
        "bought 3 times, about every 10 days, last 70 days ago"
    );
    assert_eq!(answer.items[1].source, Source::LocalPopularity);
    let profile = Profile::of(&person, &serving);
    assert!(profile.embedding.is_empty() && profile.model.is_none());
    assert_eq!(profile.categories.len(), 1);
    assert_eq!((profile.categories[0].interest, profile.categories[0].expected), (1.0, 0.0));
}

#[test]
fn counts_weigh_as_the_model_says() {
    let scores = |model: &Model, count: f32| {
        let taste = Taste::new(&catalogue(), &[1; 5], Some(model)).unwrap();
        let all = taste.scores(&[], &[(0, 1.0), (2, count)]);
        all.into_iter().find(|(source, _)| *source == Source::Cooccurrence).unwrap().1
    };
    let binary = with_gram();
    assert_eq!(scores(&binary, 1.0), scores(&binary, 9.0));
    let logarithm = with_gram().with_note(Cooccurrence::WEIGHTING, "logarithm").unwrap();
    assert_ne!(scores(&logarithm, 1.0), scores(&logarithm, 9.0));
    let unknown = with_gram().with_note(Cooccurrence::WEIGHTING, "cubic").unwrap();
    assert!(Taste::new(&catalogue(), &[1; 5], Some(&unknown)).is_err());
}

#[test]
fn what_is_bought_again_outweighs_the_model_in_a_long_catalogue() {
    // Items 0 and 1 always go together; the matrix knows nothing of the others.
    for items in [10, 10_000] {
        let rows: String = (0..items).map(|item| format!("{item},I{item},D,C\n")).collect();
        let text = format!("index,item_id,department,category\n{rows}");
        let catalogue = Catalogue::read_csv(text.as_bytes()).unwrap();
        let vector = |values: &[f64]| Tensor::vector(values).unwrap();
        let model = Model::for_catalogue(&catalogue)
            .unwrap()
            .with_tensor("c", Cooccurrence::TENSOR, vector(&[60.0, 60.0, 60.0]))
            .unwrap()
            .with_tensor("c", Cooccurrence::COVERED, vector(&[0.0, 1.0]))
            .unwrap()
            .with_tensor("c", Cooccurrence::NOISE, vector(&[0.0]))
            .unwrap();
        let taste = Taste::new(&catalogue, &vec![1; items], Some(&model)).unwrap();
        let own = [(0, 1.0), (7, 4.0)];
        let scores = taste.blend(&own, &own);
        assert_eq!(chorale_task::top_k(&scores, &[], 3), [7, 0, 1], "{items} items");
        assert_eq!(scores, taste.sum(&taste.scores(&own, &own)));
    }
}

#[test]
fn a_stores_own_popularity_counts_as_its_customers_are_many() {
    let first = |bought_by: [u32; 5], model: &Model| {
        let taste = Taste::new(&catalogue(), &bought_by, Some(model)).unwrap();
        chorale_task::top_k(&taste.blend(&[], &[]), &[], 1)[0]
    };
    // The federation buys apples, this store's customers matches.
    for model in [popular(), with_gram()] {
        assert_eq!(first([0; 5], &model), 0);
        assert_eq!(first([0, 0, 0, 0, 1], &model), 0);
        assert_eq!(first([0, 0, 0, 0, 200], &model), 4);
    }
}

#[test]
fn a_first_item_says_less_than_many() {
    let taste = Taste::new(&catalogue(), &[0; 5], Some(&with_gram())).unwrap();
    let greatest = |counts: &[(u32, f32)], source: Source| {
        let scores = taste.scores(&[], counts);
        let of = scores.into_iter().find(|(one, _)| *one == source).unwrap().1;
        of.into_iter().fold(0.0, f32::max)
    };
    let (few, many) = ([(2, 1.0)], [(0, 1.0), (2, 1.0), (3, 1.0)]);
    let popularity = |counts: &[(u32, f32)]| greatest(counts, Source::GlobalPopularity);
    assert!(popularity(&[]) > popularity(&few) && popularity(&few) > popularity(&many));
    assert_eq!(greatest(&[], Source::Cooccurrence), 0.0);
    assert!(greatest(&few, Source::Cooccurrence) > 0.0);
}

/// The noisier a federation's matrix is, the less it says beside popularity, and the less its own small
/// eigenvalues, which are noise, say in it.
#[test]
fn a_noisy_matrix_says_less() {
    let noisy = |std: f64| {
        let noise = Tensor::vector(&[std]).unwrap();
        let model = with_gram().with_tensor("c", Cooccurrence::NOISE, noise).unwrap();
        let taste = Taste::new(&catalogue(), &[0; 5], Some(&model)).unwrap();
        let counts = [(0, 1.0), (2, 1.0), (3, 1.0)];
        let scores = taste.scores(&[], &counts);
        let greatest = |source: Source| {
            let of = &scores.iter().find(|(one, _)| *one == source).unwrap().1;
            of.iter().copied().fold(0.0, f32::max)
        };
        (greatest(Source::Cooccurrence), greatest(Source::GlobalPopularity))
    };
    let (clear, some, much) = (noisy(0.0), noisy(1.0), noisy(20.0));
    assert!(clear.0 > some.0 && some.0 > much.0, "{clear:?} {some:?} {much:?}");
    assert!(clear.1 < some.1 && some.1 < much.1);
}

#[test]
fn the_global_model_finds_what_goes_together() {
    let model = with_gram();
    let serving = serving(Some(&model));
    let person = bought(&[(10, 2)]);
    let answer = Recommendations::of(Some(&person), &serving, 5, true);
    assert_eq!(answer.items[0].item, "MATCHES");
    assert_eq!(answer.items[0].reasons[0].text, "goes with HERRING");
    assert_eq!(answer.items[0].source, Source::Cooccurrence);
    assert!(!names(&answer).contains(&"HERRING"));
    assert_eq!(answer.model, Some(model.digest().unwrap().to_string()));
    let profile = Profile::of(&person, &serving);
    assert!(!profile.embedding.is_empty());
    let fire = profile.categories.iter().find(|c| c.category == "FIRE").unwrap();
    assert!(fire.expected > 0.0 && fire.bought == 0.0);
    let all: f32 = profile.categories.iter().map(|c| c.interest).sum();
    assert!((all - 1.0).abs() < 1e-5, "{all}");
}

#[test]
fn factors_give_an_embedding_and_a_taste() {
    let factors = Tensor::new(vec![5, 2], vec![0.0, 0.1, 0.0, 0.1, 30.0, 0.0, 0.0, 0.2, 30.0, 0.0]);
    let model = popular().with_tensor("m", MatrixFactorisation::TENSOR, factors.unwrap()).unwrap();
    let serving = serving(Some(&model));
    let person = bought(&[(10, 2)]);
    let answer = Recommendations::of(Some(&person), &serving, 5, true);
    assert!(answer.sources.contains(&Source::MatrixFactorisation));
    assert_eq!(answer.items[0].item, "MATCHES");
    assert_eq!(answer.items[0].reasons[0].text, "fits this customer's taste");
    assert_eq!(Profile::of(&person, &serving).embedding.len(), 2);
}

#[test]
fn an_unknown_person_gets_what_is_popular_and_a_note() {
    for model in [None, Some(popular()), Some(with_gram())] {
        let serving = serving(model.as_ref());
        let answer = Recommendations::of(None, &serving, 2, true);
        assert!(!answer.known && answer.note.as_deref().unwrap().contains("unknown here"));
        assert_eq!(answer.items[0].item, "APPLES");
        assert!(answer.items.iter().all(|item| !item.reasons.is_empty()));
    }
}

#[test]
fn habits_are_due_after_their_period_and_given_up_after_four() {
    let serving = serving(None);
    let weekly = |last: i64| bought(&[(last - 14, 3), (last - 7, 3), (last, 3)]);
    let due = Profile::of(&weekly(97), &serving).habits;
    assert_eq!((due[0].item.as_str(), due[0].due_s, due[0].overdue), ("BREAD", 104 * DAY_S, false));
    assert!(Profile::of(&weekly(90), &serving).habits[0].overdue);
    assert!(Profile::of(&weekly(40), &serving).habits.is_empty());
}

#[test]
fn a_model_of_another_catalogue_is_refused() {
    let model = Model::initial(5, Digest::plain(b"other")).unwrap();
    let refused = Serving::new(catalogue(), &ingest(), Some(&model)).err();
    assert!(matches!(refused, Some(TasteError::Catalogue)));
}
