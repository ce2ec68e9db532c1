//! The agent's ranking beside the best simple baselines, person by person: own history weighted by
//! recency, blended with EASE, then what most persons bought. The baselines are tuned on the thirty
//! days before those that are judged.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::PathBuf,
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
    Catalogue, Gram, Weighting,
    metrics::{mean, ndcg_at_k, paired_uplift, recall_at_k},
    scorers::{
        Ease, EaseOptions, LocalHistory, PopularityScorer, Purchase, Scale, Scorer, decayed,
    },
    top_k,
};

const USAGE: &str = "\
simple FOLDER CUT [--covered ITEMS] [--weighting WEIGHTING]

FOLDER     an agent's, with catalogue.csv, keys/ and an ingested data/
CUT        the thirty days from here on are judged, those before tune the baselines; Unix seconds
ITEMS      what matrices cover of a larger catalogue: the items that most persons bought (2400)
WEIGHTING  how the agent's matrix weighs counts: logarithm (where nothing is said), square-root,
           binary; the baselines try the first and the last";

const LENGTH: usize = 20;
const RESAMPLES: usize = 1000;
const SEED: u64 = 1;
const WINDOW_S: i64 = 30 * 86_400;

/// What is tried.
const HALF_LIVES_DAYS: [f32; 5] = [60.0, 90.0, 120.0, 180.0, 240.0];
const LAMBDAS: [f64; 3] = [3.0, 10.0, 30.0];
const WEIGHTS: [f32; 4] = [0.1, 0.2, 0.3, 0.4];
const WEIGHTINGS: [Weighting; 2] = [Weighting::Logarithm, Weighting::Binary];

/// A simple baseline; without a matrix λ and weight mean nothing.
#[derive(Clone, Copy, Debug)]
struct Simple {
    half_life_days: f32,
    matrix: Option<(Weighting, f64)>,
    weight: f32,
}

/// One person before and in a window.
struct Case {
    purchases: Vec<Purchase>,
    features: Features,
    bought: Vec<u32>,
}

/// Recall and NDCG of each person; all items, then new ones.
type Figures = [Vec<(f64, f64)>; 2];

fn main() -> ExitCode {
    support::end(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = support::Arguments::read(USAGE, &["covered", "weighting"])?;
    let folder: PathBuf = arguments.value("FOLDER")?;
    let cut_s: i64 = arguments.value("CUT")?;
    let weighting = arguments.weighting(Weighting::Logarithm)?;
    let covered = arguments.option("covered")?.unwrap_or(support::COVERED_MAX);

    let catalogue = support::catalogue(&folder)?;
    let key = Key::read(&folder.join("keys/store.key"))?;
    let persons = Store::open(&folder.join("data"), &key)?.persons()?;
    let tuned = Window::new(&catalogue, &persons, cut_s - WINDOW_S, covered)?;
    let window = Window::new(&catalogue, &persons, cut_s, covered)?;
    let mut tried = Vec::new();
    for half_life_days in HALF_LIVES_DAYS {
        tried.push(Simple { half_life_days, matrix: None, weight: 0.0 });
    }
    for matrix in WEIGHTINGS.iter().flat_map(|w| LAMBDAS.iter().map(move |lambda| (*w, *lambda))) {
        for half_life_days in HALF_LIVES_DAYS {
            for weight in WEIGHTS {
                tried.push(Simple { half_life_days, matrix: Some(matrix), weight });
            }
        }
    }
    let mut found: Vec<(Simple, f64, f64)> = Vec::new();
    for (simple, figures) in tuned.simple(&tried, false)? {
        let [all, _] = figures;
        let sum = all.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        found.push((simple, sum.0 / all.len() as f64, sum.1 / all.len() as f64));
    }
    let best = |of: &dyn Fn(&(Simple, f64, f64)) -> f64, matrix: bool| {
        let kind = found.iter().filter(|one| one.0.matrix.is_some() == matrix);
        kind.max_by(|a, b| of(a).total_cmp(&of(b))).map(|one| one.0)
    };
    let chosen: Vec<Simple> = [
        best(&|one| one.1, false),
        best(&|one| one.2, false),
        best(&|one| one.1, true),
        best(&|one| one.2, true),
    ]
    .into_iter()
    .flatten()
    .collect();

    let names = ["own, by recall", "own, by NDCG", "with EASE, by recall", "with EASE, by NDCG"];
    let agent = window.agent(&persons, weighting)?;
    println!("{} items, matrices cover {}", catalogue.len(), covered.min(catalogue.len()));
    line("the agent", &agent, None)?;
    for (name, (simple, figures)) in names.iter().zip(window.simple(&chosen, true)?) {
        println!("{simple:?}");
        line(name, &figures, Some(&agent))?;
    }
    Ok(())
}

/// The figures of one ranking, and by how much the agent's are greater.
fn line(name: &str, figures: &Figures, agent: Option<&Figures>) -> Result<(), Box<dyn Error>> {
    for (scope, place) in [("all items", 0), ("new items", 1)] {
        for (metric, of) in [("Recall@20", 0), ("NDCG@20", 1)] {
            let column = |figures: &Figures| -> Vec<f64> {
                figures[place].iter().map(|one| if of == 0 { one.0 } else { one.1 }).collect()
            };
            let values = column(figures);
            let value = mean(&values, RESAMPLES, SEED)?;
            let mut text = format!(
                "{name:21} {scope} {metric:9} {:.4} [{:.4}, {:.4}]",
                value.mean, value.low, value.high
            );
            if let Some(agent) = agent {
                let more = paired_uplift(&column(agent), &values, RESAMPLES, SEED)?;
                text +=
                    &format!("; the agent {:+.4} [{:+.4}, {:+.4}]", more.mean, more.low, more.high);
            }
            println!("{text}, {} persons", values.len());
        }
    }
    Ok(())
}

/// Everybody, thirty days from an instant on, and what was known then.
struct Window<'a> {
    catalogue: &'a Catalogue,
    cut_s: i64,
    covered: usize,
    cases: Vec<Case>,
    people: Contributors,
}

impl<'a> Window<'a> {
    fn new(
        catalogue: &'a Catalogue,
        persons: &BTreeMap<Pseudonym, PersonRecord>,
        cut_s: i64,
        covered: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let records = persons.iter().map(|(who, record)| (*who, record));
        let people = Contributors::of(records, Who::Everybody, cut_s);
        let cases: Vec<Case> = persons.values().filter_map(|one| case(one, cut_s)).collect();
        if people.is_empty() || cases.len() < 2 {
            return Err(format!("too few purchases before or from {cut_s} on").into());
        }
        Ok(Self { catalogue, cut_s, covered, cases, people })
    }

    /// The agent's ranking of everybody.
    fn agent(
        &self,
        persons: &BTreeMap<Pseudonym, PersonRecord>,
        weighting: Weighting,
    ) -> Result<Figures, Box<dyn Error>> {
        let mut people = self.people.clone();
        let model = support::model(self.catalogue, &mut people, self.covered, weighting)?;
        let mut bought_by = vec![0; self.catalogue.len()];
        for record in persons.values() {
            for habit in Features::of(record, self.cut_s).items {
                bought_by[habit.item as usize] += 1;
            }
        }
        let taste = Taste::new(self.catalogue, &bought_by, Some(&model))?;
        let scores =
            |case: &Case| taste.blend(&case.features.recent_counts(), &case.features.counts());
        Ok(self.judged(true, scores))
    }

    /// Each of the baselines, in order. They follow one another by matrix, which is made once.
    fn simple(
        &self,
        tried: &[Simple],
        with_new: bool,
    ) -> Result<Vec<(Simple, Figures)>, Box<dyn Error>> {
        let items = self.catalogue.len();
        let mut people = self.people.clone();
        let popularity = support::bought_by(&mut people, items);
        let popular = scaled(&PopularityScorer::new(&popularity), &[]);
        let covered = support::covered(&popularity, self.covered);
        let own = LocalHistory::new(items);
        let mut figures = Vec::new();
        for same in tried.chunk_by(|a, b| a.matrix == b.matrix) {
            let ease = match same[0].matrix {
                None => None,
                Some((weighting, lambda)) => {
                    eprintln!("EASE, {} and {lambda}", weighting.name());
                    people.rewind();
                    let gram = Gram::pooled(&mut people, items as u32, &covered, weighting);
                    let ease = Ease::fit(gram, &EaseOptions { lambda, weighting })?;
                    let one = |case: &Case| scaled(&ease, &case.features.counts());
                    Some(self.cases.iter().map(one).collect::<Vec<Vec<f32>>>())
                }
            };
            for simple in same {
                let mut number = 0;
                let judged = self.judged(with_new, |case| {
                    let recent = decayed(&case.purchases, simple.half_life_days);
                    let mut sums = scaled(&own, &recent);
                    if let Some(ease) = &ease {
                        let both = sums.iter_mut().zip(&ease[number]);
                        both.for_each(|(sum, score)| *sum += simple.weight * score);
                    }
                    number += 1;
                    // Popularity only breaks ties.
                    let both = sums.iter_mut().zip(&popular);
                    both.for_each(|(sum, score)| *sum += 1e-4 * score);
                    sums
                });
                figures.push((*simple, judged));
            }
        }
        Ok(figures)
    }

    /// Every case ranked by `scores`, in order.
    fn judged(&self, with_new: bool, mut scores: impl FnMut(&Case) -> Vec<f32>) -> Figures {
        let mut figures = [Vec::new(), Vec::new()];
        for case in &self.cases {
            let scores = scores(case);
            let known: Vec<u32> = case.features.items.iter().map(|habit| habit.item).collect();
            let is_new = |item: &u32| known.binary_search(item).is_err();
            let new: Vec<u32> = case.bought.iter().copied().filter(is_new).collect();
            let scopes = [(&[][..], &case.bought), (&known[..], &new)];
            for (place, (exclude, relevant)) in scopes.into_iter().enumerate() {
                if place == 1 && !with_new {
                    continue;
                }
                let ranked = top_k(&scores, exclude, LENGTH);
                let recall = recall_at_k(&ranked, relevant, LENGTH);
                figures[place].extend(recall.zip(ndcg_at_k(&ranked, relevant, LENGTH)));
            }
        }
        figures
    }
}

/// `None` for whoever bought nothing in the thirty days.
fn case(record: &PersonRecord, cut_s: i64) -> Option<Case> {
    let is_purchase = |event: &&StoredEvent| event.kind == Kind::Purchase;
    // As the agent counts: one for each basket with the item.
    let mut baskets = BTreeMap::new();
    for event in record.before(cut_s).iter().filter(is_purchase) {
        baskets.insert((event.item, event.basket), event.time_s);
    }
    let purchase = |((item, _), time_s): (&(u32, u32), &i64)| Purchase {
        item: *item,
        count: 1.0,
        age_days: ((cut_s - time_s) as f64 / 86_400.0) as f32,
    };
    let later = record.from(cut_s).iter().filter(is_purchase);
    let bought: BTreeSet<u32> =
        later.filter(|event| event.time_s < cut_s + WINDOW_S).map(|event| event.item).collect();
    (!bought.is_empty()).then(|| Case {
        purchases: baskets.iter().map(purchase).collect(),
        features: Features::of(record, cut_s),
        bought: bought.into_iter().collect(),
    })
}

/// Scores with a maximum of 1.
fn scaled(scorer: &dyn Scorer, history: &[(u32, f32)]) -> Vec<f32> {
    let mut scores = scorer.scores(history);
    Scale::Maximum.apply(&mut scores);
    scores
}
