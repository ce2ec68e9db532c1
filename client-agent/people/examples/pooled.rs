//! What an agent's ranking is worth when nothing is kept apart: all events in one agent's store,
//! the item-item matrix of everybody without noise, judged on the purchases from an instant on.
//!
//! `cargo run -p chorale-people --example pooled -- FOLDER CUT [WEIGHTING]` where FOLDER is an
//! agent's with `catalogue.csv`, `keys/` and an ingested `data/`, CUT is in Unix seconds, and
//! WEIGHTING is how the matrix weighs counts: `binary`, `square-root`, or `logarithm`, which holds
//! where nothing is said. A larger catalogue is covered where most persons buy.
#![allow(clippy::print_stdout)]

use std::{error::Error, path::PathBuf};

use chorale_people::{
    evaluate::{Options, Split, evaluate},
    features::{Contributors, Who},
    keys::Key,
    store::Store,
};
use chorale_task::{
    Catalogue, Cooccurrence, Gram, Model, People as _, Popularity, Tensor, Weighting,
};

/// Items that the matrix covers at most, those that most persons bought.
const COVERED_MAX: usize = 2400;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "pooled FOLDER CUT [WEIGHTING]";
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let cut_s: i64 = arguments.next().ok_or(usage)?.parse()?;
    let weighting = arguments.next().unwrap_or_else(|| "logarithm".into());
    let weighting = Weighting::parse(&weighting).ok_or(usage)?;

    let catalogue = Catalogue::read_csv(&std::fs::read(folder.join("catalogue.csv"))?)?;
    let key = Key::read(&folder.join("keys/store.key"))?;
    let persons = Store::open(&folder.join("data"), &key)?.persons()?;
    let records = persons.iter().map(|(who, record)| (*who, record));
    let mut people = Contributors::of(records, Who::Everybody, cut_s);

    let items = catalogue.len();
    let mut bought_by = vec![0.0f64; items];
    while let Some(person) = people.next_person() {
        person.items.iter().for_each(|(item, _)| bought_by[*item as usize] += 1.0);
    }
    people.rewind();
    let mut covered: Vec<u32> = (0..items as u32).collect();
    covered.sort_by(|a, b| bought_by[*b as usize].total_cmp(&bought_by[*a as usize]));
    covered.truncate(COVERED_MAX);
    covered.sort_unstable();
    let gram = Gram::pooled(&mut people, items as u32, &covered, weighting);
    let side = covered.len();
    let places = (0..side).flat_map(|row| (row..side).map(move |column| [row, column]));
    let packed: Vec<f64> = places.map(|place| gram.matrix()[place]).collect();
    let covered: Vec<f64> = covered.into_iter().map(f64::from).collect();
    let total: f64 = bought_by.iter().sum();
    let popularity: Vec<f64> = bought_by.iter().map(|count| (count + 1.0) / total).collect();
    let mut model = Model::for_catalogue(&catalogue)?;
    for (name, values) in [
        (Popularity::TENSOR, &popularity[..]),
        (Cooccurrence::TENSOR, &packed),
        (Cooccurrence::COVERED, &covered),
        (Cooccurrence::NOISE, &[0.0]),
    ] {
        model = model.with_tensor("pooled", name, Tensor::vector(values)?)?;
    }
    model = model.with_note(Cooccurrence::WEIGHTING, weighting.name())?;

    let options =
        Options { split: Split::Temporal { cut_s }, lengths: vec![20], negatives: None, seed: 1 };
    let judged = evaluate(&persons, &catalogue, Some(&model), &options)?;
    println!("{} persons, {items} items, counts are weighed {}", judged.persons, weighting.name());
    for ranking in &judged.rankings {
        let (scope, arm) = (format!("{:?}", ranking.scope), format!("{:?}", ranking.arm));
        for at in &ranking.at {
            let (recall, ndcg) = (at.recall, at.ndcg);
            println!(
                "{scope:9} {arm:11} {} judged, Recall@{} {:.4} [{:.4}, {:.4}], NDCG {:.4} [{:.4}, {:.4}]",
                ranking.judged,
                at.k,
                recall.mean,
                recall.low,
                recall.high,
                ndcg.mean,
                ndcg.low,
                ndcg.high
            );
        }
    }
    Ok(())
}
