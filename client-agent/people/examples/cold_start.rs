//! What agents answer for customers who are new at a store, and at a store that is new itself.
//!
//! Everything is ranked by the agent's own code. Whoever is judged is in no count and no matrix
//! that ranks for them: persons are in folds, and what a fold is ranked by comes from the others.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

use chorale_people::{
    Kind,
    features::{Contributors, Features, PersonRecord, StoredEvent, Who},
    keys::Key,
    profiles::Taste,
    store::Store,
};
use chorale_plan::Pseudonym;
use chorale_task::{
    Catalogue, Weighting,
    metrics::{Interval, mean, ndcg_at_k, paired_uplift, recall_at_k},
    top_k,
};
use serde::Serialize;

const USAGE: &str = "\
cold_start FOLDER CUT [--persons N] [--folds N] [--store-folds N] [--covered ITEMS]
           [--weighting WEIGHTING] [--until UNTIL] [--json FILE] [--table FILE]

FOLDER       holds catalogue.csv and agents/STORE with keys/ and an ingested data/ for each store;
             all under one pseudonym key
CUT          what happened before, is known; customers are new from here on, Unix seconds
--persons    stores with fewer judged customers are in the sums only (20)
--folds      persons are in so many folds (5): nobody is in a model or a count that ranks for them
--store-folds  stores are in so many (10): of a new store's fold, nobody is in its model
--covered    what the matrix covers of a larger catalogue: the items that most persons bought (2400)
--weighting  how the matrix weighs counts: binary (where nothing is said), square-root, logarithm
--until      what happens from here on is left out, Unix seconds: for choosing between rankings
--json       writes every figure of every store; --table one line for each store, as Markdown";

/// Length of the lists.
const LENGTH: usize = 20;

/// Baskets that are known of a new customer, at most.
const BASKETS_MAX: usize = 3;

/// Resamples of every interval, and their seed.
const RESAMPLES: usize = 1000;
const SEED: u64 = 1;

/// One store's events as its agent keeps them.
struct Shop {
    number: String,
    persons: BTreeMap<Pseudonym, PersonRecord>,
}

/// Who is judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Customers {
    /// Whoever had bought nothing at the store before the cut.
    New,
    /// Everybody who bought there after it, as if they had bought nothing before.
    AllAsNew,
}

/// What is known of the store itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Knows {
    /// What its other customers bought before the cut.
    OtherCustomers,
    /// Nothing: nobody of it is in the federation's model either.
    Nothing,
}

/// A way to rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Arm {
    /// What most customers of the store bought.
    StorePopular,
    /// What most customers of the federation bought.
    FederationPopular,
    /// The agent without the federation: own baskets, then the store's most bought.
    StoreAlone,
    /// The agent under a model that holds popularity only; the store's own counts in it.
    WithPopularity,
    /// The agent under a model with the matrix.
    WithMatrix,
}

const ARMS: [Arm; 5] = [
    Arm::StorePopular,
    Arm::FederationPopular,
    Arm::StoreAlone,
    Arm::WithPopularity,
    Arm::WithMatrix,
];

/// Which purchases count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    /// All.
    AllItems,
    /// Those that the known baskets do not hold.
    NewItems,
}

const SCOPES: [Scope; 2] = [Scope::AllItems, Scope::NewItems];

/// What a figure is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
struct Of {
    customers: Customers,
    knows: Knows,
    baskets: usize,
    scope: Scope,
}

/// Recall and NDCG of one person at one store under each arm, in the order of [`ARMS`].
type Figures = [Option<(f64, f64)>; ARMS.len()];

/// One judged person at one store.
struct Judged {
    of: Of,
    shop: usize,
    who: Pseudonym,
    figures: Figures,
}

/// What comes out for one arm.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    of: Of,
    /// The store; all together where there is none.
    store: Option<String>,
    arm: Arm,
    judged: usize,
    recall: Interval,
    ndcg: Interval,
    /// Mean difference in recall from the store's own answer, or from a new store's without the
    /// federation.
    more: Option<Interval>,
}

#[derive(Serialize)]
struct Report {
    cut_s: i64,
    until_s: Option<i64>,
    stores: usize,
    items: usize,
    weighting: &'static str,
    folds: usize,
    store_folds: usize,
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    support::end(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let names =
        ["persons", "folds", "store-folds", "covered", "weighting", "until", "json", "table"];
    let mut arguments = support::Arguments::read(USAGE, &names)?;
    let folder: PathBuf = arguments.value("FOLDER")?;
    let cut_s: i64 = arguments.value("CUT")?;
    let persons_min: usize = arguments.option("persons")?.unwrap_or(20);
    let folds: usize = arguments.option("folds")?.unwrap_or(5);
    let store_folds: usize = arguments.option("store-folds")?.unwrap_or(10);
    if folds < 2 || store_folds < 2 {
        return Err("two folds at least, or there is nobody to learn from".into());
    }
    let covered = arguments.option("covered")?.unwrap_or(support::COVERED_MAX);
    let weighting = arguments.weighting(Weighting::Binary)?;

    let catalogue = support::catalogue(&folder)?;
    let until_s: Option<i64> = arguments.option("until")?;
    let shops = shops(&folder, until_s.unwrap_or(i64::MAX))?;
    let setting = Setting { catalogue, shops, cut_s, folds, store_folds, covered, weighting };
    let mut judged = Vec::new();
    for fold in 0..folds {
        eprintln!("persons of fold {} of {folds}", fold + 1);
        judged.extend(setting.judge(fold)?);
    }
    if judged.is_empty() {
        return Err(format!("nobody bought anything from {cut_s} on").into());
    }
    let rows = setting.rows(&judged, persons_min);
    print(&rows);
    if let Some(path) = arguments.option::<PathBuf>("table")? {
        std::fs::write(path, table(&rows))?;
    }
    if let Some(path) = arguments.option::<PathBuf>("json")? {
        let report = Report {
            cut_s,
            until_s,
            stores: setting.shops.len(),
            items: setting.catalogue.len(),
            weighting: weighting.name(),
            folds,
            store_folds,
            rows,
        };
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

/// The stores below `folder` with what happened before `until_s`, in the order of their names.
fn shops(folder: &Path, until_s: i64) -> Result<Vec<Shop>, Box<dyn Error>> {
    let agents = folder.join("agents");
    let listed = std::fs::read_dir(&agents)
        .map_err(|error| format!("cannot list {}: {error}\n{USAGE}", agents.display()))?;
    let mut folders: Vec<PathBuf> =
        listed.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    folders.sort();
    let mut shops = Vec::new();
    for folder in folders {
        let read = || -> Result<_, Box<dyn Error>> {
            let key = Key::read(&folder.join("keys/store.key"))?;
            Ok(Store::open(&folder.join("data"), &key)?.persons()?)
        };
        let mut persons = read().map_err(|error| format!("{}: {error}", folder.display()))?;
        for record in persons.values_mut() {
            record.events.truncate(record.before(until_s).len());
        }
        let number = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        shops.push(Shop { number, persons });
    }
    Ok(shops)
}

/// What one store ranks by for one fold of persons.
struct Tastes {
    /// Of the federation's popularity, whatever the store's customers bought.
    federation: Taste,
    alone: Taste,
    popular: Taste,
    matrix: Taste,
}

struct Setting {
    catalogue: Catalogue,
    shops: Vec<Shop>,
    cut_s: i64,
    folds: usize,
    store_folds: usize,
    covered: usize,
    weighting: Weighting,
}

impl Setting {
    fn fold(&self, who: Pseudonym) -> usize {
        let bytes = who.as_bytes();
        usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % self.folds
    }

    /// Everybody of one fold at every store.
    fn judge(&self, fold: usize) -> Result<Vec<Judged>, Box<dyn Error>> {
        let mut judged = Vec::new();
        let known = self.tastes(fold, None)?;
        for store_fold in 0..self.store_folds {
            let unknown = self.tastes(fold, Some(store_fold))?;
            for shop in (store_fold..self.shops.len()).step_by(self.store_folds) {
                let bought_by = self.bought_by(shop, fold);
                let known = known.at(&bought_by);
                for (who, record) in &self.shops[shop].persons {
                    if self.fold(*who) == fold {
                        self.judge_one(shop, *who, record, &known, &unknown, &mut judged);
                    }
                }
            }
        }
        Ok(judged)
    }

    /// Tastes under the federation's model without the fold's persons, and without everybody at
    /// home in the stores of `without`. No store's own customers are in them yet.
    fn tastes(&self, fold: usize, without: Option<usize>) -> Result<Tastes, Box<dyn Error>> {
        let records = self
            .shops
            .iter()
            .enumerate()
            .filter(|(shop, _)| without.is_none_or(|without| shop % self.store_folds != without))
            .flat_map(|(_, shop)| shop.persons.iter().map(|(who, record)| (*who, record)))
            .filter(|(who, _)| self.fold(*who) != fold);
        let mut people = Contributors::of(records, Who::AtHome, self.cut_s);
        if people.is_empty() {
            return Err(format!("nobody bought anything before {}", self.cut_s).into());
        }
        let items = self.catalogue.len();
        let matrix = support::model(&self.catalogue, &mut people, self.covered, self.weighting)?;
        let popular = support::popular(&self.catalogue, &support::bought_by(&mut people, items))?;
        let nobody = vec![0; items];
        let popular = Taste::new(&self.catalogue, &nobody, Some(&popular))?;
        Ok(Tastes {
            federation: popular.clone(),
            alone: Taste::new(&self.catalogue, &nobody, None)?,
            popular,
            matrix: Taste::new(&self.catalogue, &nobody, Some(&matrix))?,
        })
    }

    /// How many of the store's customers outside the fold bought each item before the cut.
    fn bought_by(&self, shop: usize, fold: usize) -> Vec<u32> {
        let mut bought_by = vec![0; self.catalogue.len()];
        for (who, record) in &self.shops[shop].persons {
            if self.fold(*who) != fold {
                for habit in Features::of(record, self.cut_s).items {
                    bought_by[habit.item as usize] += 1;
                }
            }
        }
        bought_by
    }

    /// One person at one store, after each number of baskets.
    fn judge_one(
        &self,
        shop: usize,
        who: Pseudonym,
        record: &PersonRecord,
        known: &Tastes,
        unknown: &Tastes,
        judged: &mut Vec<Judged>,
    ) {
        let is_purchase = |event: &&StoredEvent| event.kind == Kind::Purchase;
        let is_new = record.before(self.cut_s).iter().find(is_purchase).is_none();
        let later: Vec<StoredEvent> =
            record.from(self.cut_s).iter().filter(is_purchase).copied().collect();
        let mut starts: Vec<i64> = Vec::new();
        let mut seen = BTreeSet::new();
        for event in &later {
            if seen.insert(event.basket) {
                starts.push(event.time_s);
            }
        }
        for (baskets, start_s) in starts.iter().take(BASKETS_MAX + 1).enumerate() {
            let so_far = PersonRecord { at_home: record.at_home, events: later.clone() };
            let features = Features::of(&so_far, *start_s);
            if features.baskets as usize != baskets {
                continue; // Two baskets began in the same second.
            }
            let bought: BTreeSet<u32> = so_far.from(*start_s).iter().map(|e| e.item).collect();
            let bought: Vec<u32> = bought.into_iter().collect();
            for (knows, tastes) in [(Knows::OtherCustomers, known), (Knows::Nothing, unknown)] {
                let rankings = tastes.rankings(&features, knows);
                // Before the first basket every item is new.
                let scopes = if baskets == 0 { &SCOPES[..1] } else { &SCOPES[..] };
                for scope in scopes.iter().copied() {
                    let Some(figures) = figures(&rankings, &features, &bought, scope) else {
                        continue;
                    };
                    let mut add = |customers| {
                        let of = Of { customers, knows, baskets, scope };
                        judged.push(Judged { of, shop, who, figures });
                    };
                    add(Customers::AllAsNew);
                    if is_new {
                        add(Customers::New);
                    }
                }
            }
        }
    }

    /// Everything together and, with enough persons, by store.
    fn rows(&self, judged: &[Judged], persons_min: usize) -> Vec<Row> {
        let mut together: BTreeMap<Of, BTreeMap<Pseudonym, Vec<Figures>>> = BTreeMap::new();
        let mut by_store: BTreeMap<(Of, usize), Vec<Figures>> = BTreeMap::new();
        for Judged { of, shop, who, figures } in judged {
            together.entry(*of).or_default().entry(*who).or_default().push(*figures);
            by_store.entry((*of, *shop)).or_default().push(*figures);
        }
        let mut rows = Vec::new();
        for (of, persons) in together {
            // Somebody who is new at several stores counts once.
            let persons: Vec<Figures> = persons.into_values().map(|all| averaged(&all)).collect();
            rows.extend(rows_of(of, None, &persons));
        }
        for ((of, shop), persons) in by_store {
            if persons.len() >= persons_min {
                rows.extend(rows_of(of, Some(self.shops[shop].number.clone()), &persons));
            }
        }
        rows
    }
}

impl Tastes {
    /// The same models beside the store's own customers.
    fn at(&self, bought_by: &[u32]) -> Self {
        Self {
            federation: self.federation.clone(),
            alone: self.alone.with_popularity(bought_by),
            popular: self.popular.with_popularity(bought_by),
            matrix: self.matrix.with_popularity(bought_by),
        }
    }

    /// The scores of every arm, in the order of [`ARMS`]. A popularity is the agent's answer for
    /// somebody of whom it knows nothing.
    fn rankings(&self, features: &Features, knows: Knows) -> Vec<Option<Vec<f32>>> {
        let (recent, counts) = (features.recent_counts(), features.counts());
        let known = features.baskets > 0;
        ARMS.iter()
            .map(|arm| match arm {
                Arm::StorePopular => {
                    (knows == Knows::OtherCustomers).then(|| self.alone.blend(&[], &[]))
                }
                Arm::FederationPopular => Some(self.federation.blend(&[], &[])),
                Arm::StoreAlone => known.then(|| self.alone.blend(&recent, &counts)),
                Arm::WithPopularity => known.then(|| self.popular.blend(&recent, &counts)),
                Arm::WithMatrix => Some(self.matrix.blend(&recent, &counts)),
            })
            .collect()
    }
}

/// What each ranking is worth for one person; `None` where nothing that counts was bought.
fn figures(
    rankings: &[Option<Vec<f32>>],
    features: &Features,
    bought: &[u32],
    scope: Scope,
) -> Option<Figures> {
    let known: Vec<u32> = match scope {
        Scope::AllItems => Vec::new(),
        Scope::NewItems => features.items.iter().map(|habit| habit.item).collect(),
    };
    let relevant: Vec<u32> =
        bought.iter().copied().filter(|item| known.binary_search(item).is_err()).collect();
    if relevant.is_empty() {
        return None;
    }
    let mut figures = [None; ARMS.len()];
    for (figure, scores) in figures.iter_mut().zip(rankings) {
        let Some(scores) = scores else { continue };
        let ranked = top_k(scores, &known, LENGTH);
        let recall = recall_at_k(&ranked, &relevant, LENGTH)?;
        *figure = Some((recall, ndcg_at_k(&ranked, &relevant, LENGTH)?));
    }
    Some(figures)
}

/// The mean of one person's figures at several stores.
fn averaged(all: &[Figures]) -> Figures {
    std::array::from_fn(|arm| {
        let one: Vec<(f64, f64)> = all.iter().filter_map(|figures| figures[arm]).collect();
        let sum = one.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let count = one.len() as f64;
        (!one.is_empty()).then(|| (sum.0 / count, sum.1 / count))
    })
}

/// One row for each arm. An arm is there for all of `persons` or for none.
fn rows_of(of: Of, store: Option<String>, persons: &[Figures]) -> Vec<Row> {
    let column = |arm: usize| -> Vec<(f64, f64)> {
        persons.iter().filter_map(|figures| figures[arm]).collect()
    };
    let recalls = |arm: usize| -> Vec<f64> { column(arm).iter().map(|one| one.0).collect() };
    let base = ARMS
        .iter()
        .position(|arm| *arm == if of.baskets > 0 { Arm::StoreAlone } else { Arm::StorePopular });
    let base = base.map(recalls).unwrap_or_default();
    let row = |(place, arm): (usize, &Arm)| {
        let figures = column(place);
        let recall: Vec<f64> = figures.iter().map(|one| one.0).collect();
        let ndcg: Vec<f64> = figures.iter().map(|one| one.1).collect();
        Some(Row {
            of,
            store: store.clone(),
            arm: *arm,
            judged: figures.len(),
            recall: mean(&recall, RESAMPLES, SEED).ok()?,
            ndcg: mean(&ndcg, RESAMPLES, SEED).ok()?,
            more: paired_uplift(&recall, &base, RESAMPLES, SEED).ok(),
        })
    };
    ARMS.iter().enumerate().filter_map(row).collect()
}

/// The figures of all stores together.
fn print(rows: &[Row]) {
    let mut before = None;
    for row in rows.iter().filter(|row| row.store.is_none()) {
        if before != Some(row.of) {
            let Of { customers, knows, baskets, scope } = row.of;
            println!(
                "\n{customers:?}, {baskets} baskets known, the store knows {knows:?}, {scope:?}: {} persons",
                row.judged
            );
            before = Some(row.of);
        }
        println!("  {}", line(row));
    }
}

/// Recall@20 on all items, a line for each store.
fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for customers in [Customers::New, Customers::AllAsNew] {
        text += match customers {
            Customers::New => "## Customers who are new at the store\n\n",
            Customers::AllAsNew => "\n## All customers, as if they were new\n\n",
        };
        text += "| store | customers | store's most bought | federation's | agent | at a new store \
                 | after one basket: customers | store alone | agent | at a new store |\n\
                 |---|---|---|---|---|---|---|---|---|---|\n";
        let mut stores: Vec<&str> = rows
            .iter()
            .filter(|row| row.of.customers == customers)
            .filter_map(|row| row.store.as_deref())
            .collect();
        stores.sort_unstable();
        stores.dedup();
        for store in stores {
            let cell = |baskets: usize, knows: Knows, arm: Arm| {
                let of = Of { customers, knows, baskets, scope: Scope::AllItems };
                rows.iter().find(|row| {
                    row.of == of && row.arm == arm && row.store.as_deref() == Some(store)
                })
            };
            let short =
                |row: Option<&Row>| row.map_or("-".into(), |row| format!("{:.3}", row.recall.mean));
            let long = |row: Option<&Row>| {
                row.map_or("-".into(), |row| {
                    let Interval { mean, low, high } = row.recall;
                    format!("{mean:.3} [{low:.3}, {high:.3}]")
                })
            };
            let judged = |row: Option<&Row>| row.map_or("-".into(), |row| row.judged.to_string());
            let (others, nothing) = (Knows::OtherCustomers, Knows::Nothing);
            let cells = [
                store.to_owned(),
                judged(cell(0, others, Arm::WithMatrix)),
                short(cell(0, others, Arm::StorePopular)),
                short(cell(0, others, Arm::FederationPopular)),
                long(cell(0, others, Arm::WithMatrix)),
                short(cell(0, nothing, Arm::WithMatrix)),
                judged(cell(1, others, Arm::WithMatrix)),
                short(cell(1, others, Arm::StoreAlone)),
                long(cell(1, others, Arm::WithMatrix)),
                short(cell(1, nothing, Arm::WithMatrix)),
            ];
            text += &format!("| {} |\n", cells.join(" | "));
        }
    }
    text
}

fn line(row: &Row) -> String {
    let range = |of: &Interval| format!("{:.3} [{:.3}, {:.3}]", of.mean, of.low, of.high);
    let more = row.more.filter(|more| more.low != 0.0 || more.high != 0.0);
    let more = more.map_or(String::new(), |more| {
        format!(", more {:+.4} [{:+.4}, {:+.4}]", more.mean, more.low, more.high)
    });
    let arm = format!("{:?}", row.arm);
    format!("{arm:18} Recall@20 {}, NDCG {}{more}", range(&row.recall), range(&row.ndcg))
}
