//! What an agent's ranking is worth when nothing is kept apart: all events in one agent's store,
//! the item-item matrix of everybody without noise, judged on the purchases from an instant on.
#![allow(clippy::print_stdout)]

mod support;

use std::{error::Error, path::PathBuf, process::ExitCode};

use chorale_people::{
    evaluate::{Options, Split, evaluate},
    features::{Contributors, Who},
    keys::Key,
    store::Store,
};
use chorale_task::Weighting;

const USAGE: &str = "\
pooled FOLDER CUT [--weighting WEIGHTING] [--covered ITEMS] [--until UNTIL] [--json FILE]

FOLDER     an agent's, with catalogue.csv, keys/ and an ingested data/
CUT        purchases from here on are judged, Unix seconds
WEIGHTING  how the matrix weighs counts: logarithm (where nothing is said), square-root, binary
ITEMS      what the matrix covers of a larger catalogue: the items that most persons bought (2400)
UNTIL      what happens from here on is left out, Unix seconds: for choosing between rankings";

fn main() -> ExitCode {
    support::end(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments =
        support::Arguments::read(USAGE, &["weighting", "covered", "until", "json"])?;
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
