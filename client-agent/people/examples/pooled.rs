//! What an agent's ranking is worth when nothing is kept apart: all events in one agent's store,
//! the item-item matrix of everybody, with or without a federation's noise, judged on the purchases from an instant on.
#![allow(clippy::print_stdout)]

mod support;

use std::{
    error::Error,
    f64::consts::{FRAC_1_SQRT_2, TAU},
    path::PathBuf,
    process::ExitCode,
};

use chorale_people::{
    evaluate::{Options, Split, evaluate},
    features::{Contributors, Who},
    keys::Key,
    store::Store,
};
use chorale_task::{Cooccurrence, Model, Tensor, Weighting};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

const USAGE: &str = "\
pooled FOLDER CUT [--weighting WEIGHTING] [--covered ITEMS] [--noise STD] [--until UNTIL] [--json FILE]

FOLDER     an agent's, with catalogue.csv, keys/ and an ingested data/
CUT        purchases from here on are judged, Unix seconds
WEIGHTING  how the matrix weighs counts: logarithm (where nothing is said), square-root, binary
ITEMS      what the matrix covers of a larger catalogue: the items that most persons bought (2400)
STD        standard deviation of the noise in a federation's total of the matrix (0), the same each time
UNTIL      what happens from here on is left out, Unix seconds: for choosing between rankings";

fn main() -> ExitCode {
    support::end(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments =
        support::Arguments::read(USAGE, &["weighting", "covered", "noise", "until", "json"])?;
    let folder: PathBuf = arguments.value("FOLDER")?;
    let cut_s: i64 = arguments.value("CUT")?;
    let weighting = arguments.weighting(Weighting::Logarithm)?;
    let covered = arguments.option("covered")?.unwrap_or(support::COVERED_MAX);
    let until_s = arguments.option("until")?.unwrap_or(i64::MAX);

    let catalogue = support::catalogue(&folder)?;
    let key = Key::read(&folder.join("keys/store.key"))?;
    let mut persons = Store::open(&folder.join("data"), &key)?.persons()?;
    for record in persons.values_mut() {
        record.events.truncate(record.before(until_s).len());
    }
    let records = persons.iter().map(|(who, record)| (*who, record));
    let mut people = Contributors::of(records, Who::Everybody, cut_s);
    let model = support::model(&catalogue, &mut people, covered, weighting)?;
    let noise_std: f64 = arguments.option("noise")?.unwrap_or(0.0);
    let model = with_noise(model, noise_std)?;

    let options =
        Options { split: Split::Temporal { cut_s }, lengths: vec![20], negatives: None, seed: 1 };
    let judged = evaluate(&persons, &catalogue, Some(&model), &options)?;
    println!(
        "{} persons, {} items, the matrix covers {}, counts are weighed {}",
        judged.persons,
        judged.items,
        covered.min(judged.items),
        weighting.name()
    );
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
        if let Some(more) = ranking.uplift {
            let range = format!("[{:+.4}, {:+.4}]", more.low, more.high);
            println!("{:9} {:11} Recall more than StoreAlone: {:+.4} {range}", "", "", more.mean);
        }
    }
    if let Some(path) = arguments.option::<PathBuf>("json")? {
        std::fs::write(path, serde_json::to_string_pretty(&judged)? + "\n")?;
    }
    Ok(())
}

/// The model with a federation's noise in the matrix: of standard deviation `std` on the diagonal, and
/// 1/√2 of that off it, as a plan's total has it.
fn with_noise(model: Model, std: f64) -> Result<Model, Box<dyn Error>> {
    if std == 0.0 {
        return Ok(model);
    }
    if !(std > 0.0 && std.is_finite()) {
        return Err(format!("{std} is no standard deviation").into());
    }
    let tensor = |name| model.tensor(name).ok_or("the model has no matrix");
    let side = tensor(Cooccurrence::COVERED)?.values().len();
    let packed = tensor(Cooccurrence::TENSOR)?.values().iter();
    let mut packed: Vec<f64> = packed.map(|value| f64::from(*value)).collect();
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let places = (0..side).flat_map(|row| (row..side).map(move |column| row == column));
    for (value, diagonal) in packed.iter_mut().zip(places) {
        // Box and Muller, 1958.
        let radius = (-2.0 * f64::ln(1.0 - uniform())).sqrt();
        let normal = radius * (TAU * uniform()).cos();
        *value += std * normal * if diagonal { 1.0 } else { FRAC_1_SQRT_2 };
    }
    let model = model.with_tensor("pooled", Cooccurrence::TENSOR, Tensor::vector(&packed)?)?;
    Ok(model.with_tensor("pooled", Cooccurrence::NOISE, Tensor::vector(&[std])?)?)
}
