//! A whole run: enrol, ingest, federate, evaluate.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chorale_client_agent::{Config, Store, features::PersonRecord, keys::Key};
use chorale_plan::Pseudonym;
use chorale_task::{
    Catalogue, Gram, Model, Scorer, Weighting,
    scorers::{Ease, EaseOptions, LogLinear, LogLinearOptions, PopularityScorer},
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    evaluation::{Household, Panel, Quality, Scope, uplifts},
    federation::{Federation, Outcome, Programme},
    results::{CurvePoint, Metric, ModelSummary, Results},
    setting::{DATA_END_S, DELTA, Recipe, Setting, TEST_FROM, TEST_START_S},
    workplace::{DemoError, Process, Workplace},
};

/// What a run is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Data and rules.
    pub setting: Setting,
    /// Where it writes.
    pub root: PathBuf,
    /// Noise seeds per ε: how often each private federation is run.
    pub seeds: u32,
    /// Whether progress bars are drawn.
    pub quiet: bool,
}

/// The ways in which a person's items are ranked.
const SCOPES: [Scope; 2] = [Scope::NewItems, Scope::AllItems];

/// Runs everything and gives the results.
///
/// # Errors
/// [`DemoError`] says which step failed and where its log lies.
pub fn run(request: &Request) -> Result<Results, DemoError> {
    let begun = Instant::now();
    let setting = &request.setting;
    let place = Workplace::create(&request.root, setting)?;
    let catalogue = read_catalogue(&setting.data.join("catalogue.csv"))?;
    certify(&place)?;
    let mut results = Results {
        label: "evaluation only".into(),
        agents: place.stores.len() as u32,
        ..Results::default()
    };
    let mut runs: Vec<(Recipe, Programme, Vec<Outcome>)> = Vec::new();
    let mut enrolled = false;
    for (recipe, programme) in programmes(setting) {
        let seeds = if recipe.epsilon.is_some() { request.seeds } else { 1 };
        let mut outcomes = Vec::new();
        for seed in 0..seeds {
            let name = name_of(&recipe, programme, seed);
            let bar = bar(request.quiet, &name);
            if !enrolled {
                bar.set_message("ingest");
            }
            let federation = Federation {
                place: &place,
                setting,
                name,
                recipe,
                programme,
                kill_one: seed == 0 && recipe.epsilon == Some(8.0),
                profiles: runs.is_empty() && seed == 0,
                enrol: !enrolled,
            };
            if enrolled {
                outcomes.push(federation.run(&bar)?);
            } else {
                outcomes.push(federation.run_first(&bar, |bar| ingest(&place, setting, bar))?);
                enrolled = true;
            }
            bar.finish_with_message("done");
        }
        runs.push((recipe, programme, outcomes));
    }
    let bar = bar(request.quiet, "evaluation");
    bar.set_message("ranking");
    let panel = panel(&place, setting, &catalogue)?;
    evaluate(&panel, setting, &runs, &mut results)?;
    bar.finish_with_message("done");
    summarise(&panel, setting, &runs, &catalogue, &mut results);
    results.wall_s = begun.elapsed().as_secs_f64();
    results.randomness = format!(
        "The noise is fresh in every run and cannot be seeded: that is what protects people. \
         Everything else (data, split, model without noise, bootstrap) is the same in every run. \
         Each private setting was run {} time(s); the spread over runs is shown where there were \
         several.",
        request.seeds
    );
    Ok(results)
}

/// Every federation of a run. Without noise both tasks are shown.
fn programmes(setting: &Setting) -> Vec<(Recipe, Programme)> {
    let mut all: Vec<(Recipe, Programme)> =
        setting.recipes.iter().map(|recipe| (*recipe, Programme::MatrixFactorisation)).collect();
    let plain = Recipe { epsilon: None, rank: 0, eta: 0.0, local_prior: 0.0 };
    all.push((plain, Programme::Cooccurrence));
    all
}

fn name_of(recipe: &Recipe, programme: Programme, seed: u32) -> String {
    let task = match programme {
        Programme::MatrixFactorisation => "taste",
        Programme::Cooccurrence => "cooccurrence",
    };
    match recipe.epsilon {
        Some(epsilon) => format!("{task}-epsilon-{epsilon}-run-{}", seed + 1).replace('.', "-"),
        None => format!("{task}-without-noise"),
    }
}

fn bar(quiet: bool, name: &str) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template(
        "{prefix:<28} {bar:24.cyan/blue} {pos:>3}/{len:<3} {elapsed:>4}  {msg}",
    ) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_string());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The enrolment authority, the coordinator's own certificate and the compliance officer's key.
fn certify(place: &Workplace) -> Result<(), DemoError> {
    let authority = place.root.join("authority").display().to_string();
    let keys = place.root.join("coordinator-keys").display().to_string();
    let log = place.log("ca");
    Process::start(&["coordinator", "ca", "create", "--ca", &authority], &log, false)?
        .finish(60)?;
    Process::start(
        &["coordinator", "ca", "coordinator", "--ca", &authority, "--keys", &keys],
        &log,
        false,
    )?
    .finish(60)?;
    let compliance = place.root.join("compliance.key").display().to_string();
    let log = place.log("compliance");
    Process::start(&["coordinator", "plan", "keygen", "--out", &compliance], &log, false)?
        .finish(60)
}

/// Each agent reads its own store's events, two agents at a time.
fn ingest(place: &Workplace, setting: &Setting, bar: &ProgressBar) -> Result<(), DemoError> {
    bar.set_length(place.stores.len() as u64);
    let mut running: Vec<Process> = Vec::new();
    for (done, store) in place.stores.iter().enumerate() {
        bar.set_message("stores read their own events");
        bar.set_position(done as u64);
        let config =
            place.agent_config(setting, store, "ingest", "127.0.0.1:1", &store.folder.join("data"));
        let path = store.folder.join("agent.toml");
        place.write(&path, &config)?;
        let log = place.log(&format!("ingest-{}", store.agent));
        let arguments = ["client-agent", "ingest", "--config", &path.display().to_string()];
        running.push(Process::start(&arguments, &log, false)?);
        if running.len() == 2 {
            running.remove(0).finish(120)?;
        }
    }
    running.into_iter().try_for_each(|process| process.finish(120))?;
    bar.set_position(0);
    Ok(())
}

fn read_catalogue(path: &Path) -> Result<Catalogue, DemoError> {
    let read = |what: &Path, source: Box<dyn std::error::Error + Send + Sync>| DemoError::Read {
        what: what.display().to_string(),
        source,
    };
    let bytes = std::fs::read(path).map_err(|source| read(path, Box::new(source)))?;
    Catalogue::read_csv(&bytes).map_err(|source| read(path, Box::new(source)))
}

/// All stores' persons in the evaluator's memory.
fn panel(place: &Workplace, setting: &Setting, catalogue: &Catalogue) -> Result<Panel, DemoError> {
    let mut all: Vec<(String, BTreeMap<Pseudonym, PersonRecord>)> = Vec::new();
    for store in &place.stores {
        let read = |source: Box<dyn std::error::Error + Send + Sync>| DemoError::Read {
            what: format!("the data of {}", store.agent),
            source,
        };
        let config =
            Config::load(&store.folder.join("agent.toml")).map_err(|e| read(Box::new(e)))?;
        let key = Key::read(&config.store_key_path()).map_err(|e| read(Box::new(e)))?;
        let open = Store::open(&config.data_dir, &key).map_err(|e| read(Box::new(e)))?;
        all.push((store.agent.clone(), open.persons().map_err(|e| read(Box::new(e)))?));
    }
    let _ = setting;
    let stores = all.iter().map(|(name, persons)| {
        (name.clone(), persons.iter().map(|(who, record)| (*who, record)).collect())
    });
    Ok(Panel::new(stores, catalogue.len(), TEST_START_S, DATA_END_S))
}

/// Scores of every setting for every household, and what they are worth.
fn evaluate(
    panel: &Panel,
    setting: &Setting,
    runs: &[(Recipe, Programme, Vec<Outcome>)],
    results: &mut Results,
) -> Result<(), DemoError> {
    let local = Locals::of(panel, setting)?;
    let blend = |scope| panel.evaluate(scope, |one| local.blend(one, setting, scope));
    let opponents: Vec<(Scope, Quality)> =
        SCOPES.into_iter().map(|scope| (scope, blend(scope))).collect();
    for (scope, opponent) in &opponents {
        let scope = *scope;
        let store_popularity = panel.evaluate(scope, |one| local.popularity[one.store].clone());
        let with_ease = |ease: &Ease, one: &Household| {
            let scores = shares(ease.scores(&one.history), scope);
            with_history(scores, one, setting.history_weight, scope)
        };
        let alone = panel.evaluate(scope, |one| with_ease(&local.ease[one.store], one));
        let pooled =
            Ease::fit(panel.gram(None), &ease_options(setting.ease_lambda)).map_err(fitting)?;
        results.metrics.extend([
            store_popularity.metric("popularity of own store", None, None, scope),
            alone.metric("store alone, EASE", None, None, scope),
            opponent.metric("best local blend", None, None, scope),
        ]);
        for (recipe, programme, outcomes) in runs {
            let qualities: Vec<Quality> = outcomes
                .iter()
                .filter_map(|outcome| outcome.models.last())
                .map(|model| federated(panel, setting, recipe, *programme, model, &local, scope))
                .collect::<Result<_, _>>()?;
            let name = setting_name(recipe, *programme);
            results.metrics.push(over_seeds(&qualities, name, recipe.epsilon, scope));
            let averaged = average(&qualities);
            results.uplift.extend(uplifts(panel, name, recipe.epsilon, scope, &averaged, opponent));
        }
        let pooled = panel.evaluate(scope, |one| with_ease(&pooled, one));
        results.metrics.push(pooled.metric("pooled in one place, EASE", None, None, scope));
    }
    for (recipe, programme, outcomes) in runs {
        if *programme == Programme::MatrixFactorisation
            && let Some(outcome) = outcomes.first()
        {
            learning_curve(panel, setting, recipe, outcome, results)?;
        }
    }
    Ok(())
}

/// What a store can do by itself.
struct Locals {
    /// Σ b/‖b‖ of each store, normalised to sum 1.
    popularity: Vec<Vec<f32>>,
    /// EASE on each store's own households.
    ease: Vec<Ease>,
}

impl Locals {
    fn of(panel: &Panel, setting: &Setting) -> Result<Self, DemoError> {
        let stores = 0..panel.stores.len();
        let popularity = stores
            .clone()
            .map(|store| {
                let counts = panel.local_popularity(store);
                let sum = counts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
                counts.into_iter().map(|count| (count / sum) as f32).collect()
            })
            .collect();
        let ease = stores
            .map(|store| {
                Ease::fit(panel.gram(Some(store)), &ease_options(setting.local_ease_lambda))
            })
            .collect::<Result<_, _>>()
            .map_err(fitting)?;
        Ok(Self { popularity, ease })
    }

    /// The opponent: own frequency with recency, and the store's own popularity.
    fn blend(&self, one: &Household, setting: &Setting, scope: Scope) -> Vec<f32> {
        with_history(self.popularity[one.store].clone(), one, setting.history_weight, scope)
    }
}

/// (1 - w)·own recency-weighted frequency + w·`scores`, which sum to 1. For new items the history
/// says nothing and `scores` alone ranks.
fn with_history(scores: Vec<f32>, one: &Household, weight: f64, scope: Scope) -> Vec<f32> {
    if scope == Scope::NewItems {
        return scores;
    }
    let sum: f32 = one.recent.iter().map(|(_, count)| count).sum::<f32>().max(f32::MIN_POSITIVE);
    let mut blended: Vec<f32> = scores.into_iter().map(|score| score * weight as f32).collect();
    for (item, count) in &one.recent {
        if let Some(score) = blended.get_mut(*item as usize) {
            *score += (1.0 - weight as f32) * count / sum;
        }
    }
    blended
}

/// For all items, scores as shares of what is positive in them, so that they can be blended with
/// the history; for new items as they are.
fn shares(scores: Vec<f32>, scope: Scope) -> Vec<f32> {
    if scope == Scope::NewItems {
        return scores;
    }
    let sum = scores.iter().map(|score| score.max(0.0)).sum::<f32>().max(f32::MIN_POSITIVE);
    scores.into_iter().map(|score| score / sum).collect()
}

/// Softmax, so that scores of a log-linear model sum to 1.
fn softmax(mut scores: Vec<f32>) -> Vec<f32> {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in &mut scores {
        *score = (*score - top).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
    scores
}

fn federated(
    panel: &Panel,
    setting: &Setting,
    recipe: &Recipe,
    programme: Programme,
    model: &Model,
    local: &Locals,
    scope: Scope,
) -> Result<Quality, DemoError> {
    match programme {
        Programme::Cooccurrence => {
            let gram = Gram::from_model(model).map_err(fitting)?;
            let ease = Ease::fit(gram, &ease_options(setting.ease_lambda)).map_err(fitting)?;
            Ok(panel.evaluate(scope, |one| {
                let scores = shares(ease.scores(&one.history), scope);
                with_history(scores, one, setting.history_weight, scope)
            }))
        }
        Programme::MatrixFactorisation => {
            let scorer = taste(setting, model)?;
            let own = local_priors(panel, recipe, model, local);
            Ok(panel.evaluate(scope, |one| {
                let mut scores = scorer.scores(&one.history);
                for (score, shift) in scores.iter_mut().zip(&own[one.store]) {
                    *score += shift;
                }
                with_history(softmax(scores), one, setting.history_weight, scope)
            }))
        }
    }
}

/// log((1-β)π + β·π_store) - log π for every store: the store's own popularity in the prior.
fn local_priors(panel: &Panel, recipe: &Recipe, model: &Model, local: &Locals) -> Vec<Vec<f32>> {
    let beta = recipe.local_prior as f32;
    let global: Vec<f32> =
        model.tensor("popularity").map(|tensor| tensor.values().to_vec()).unwrap_or_default();
    let sum = global.iter().sum::<f32>().max(f32::MIN_POSITIVE);
    (0..panel.stores.len())
        .map(|store| {
            global
                .iter()
                .zip(&local.popularity[store])
                .map(|(global, own)| {
                    let global = (global / sum).max(f32::MIN_POSITIVE);
                    (((1.0 - beta) * global + beta * own) / global).ln()
                })
                .collect()
        })
        .collect()
}

fn taste(setting: &Setting, model: &Model) -> Result<LogLinear, DemoError> {
    let options = LogLinearOptions {
        ridge: setting.ridge,
        category: setting.content.0,
        department: setting.content.1,
        count_exponent: 0.0,
    };
    LogLinear::from_model(model, &options).map_err(fitting)
}

/// The global model alone after each round, new items.
fn learning_curve(
    panel: &Panel,
    setting: &Setting,
    recipe: &Recipe,
    outcome: &Outcome,
    results: &mut Results,
) -> Result<(), DemoError> {
    for (index, model) in outcome.models.iter().enumerate() {
        let quality = if model.tensor("item_factors").is_some() {
            panel.evaluate_scorer(Scope::NewItems, &taste(setting, model)?)
        } else {
            let popularity = PopularityScorer::from_model(model).map_err(fitting)?;
            panel.evaluate_scorer(Scope::NewItems, &popularity)
        };
        results.learning_curve.push(CurvePoint {
            setting: setting_name(recipe, Programme::MatrixFactorisation).into(),
            epsilon: recipe.epsilon,
            round: index as u32 + 1,
            recall_at_20: quality.means().0,
        });
    }
    Ok(())
}

fn setting_name(recipe: &Recipe, programme: Programme) -> &'static str {
    match (programme, recipe.epsilon) {
        (Programme::Cooccurrence, _) => "federated EASE, no noise",
        (Programme::MatrixFactorisation, Some(_)) => "federated",
        (Programme::MatrixFactorisation, None) => "federated, no noise",
    }
}

fn ease_options(lambda: f64) -> EaseOptions {
    EaseOptions { lambda, weighting: Weighting::Binary }
}

fn fitting(error: impl std::error::Error + Send + Sync + 'static) -> DemoError {
    DemoError::Read { what: "a trained model".into(), source: Box::new(error) }
}

/// Mean and spread of a metric over noise seeds.
fn over_seeds(qualities: &[Quality], name: &str, epsilon: Option<f64>, scope: Scope) -> Metric {
    let delta = epsilon.map(|_| DELTA);
    let mut metric = average(qualities).metric(name, epsilon, delta, scope);
    if qualities.len() > 1 {
        let (recall, ndcg): (Vec<f64>, Vec<f64>) =
            qualities.iter().map(|quality| (quality.means().0, quality.means().1)).unzip();
        metric.recall_spread = Some(deviation(&recall));
        metric.ndcg_spread = Some(deviation(&ndcg));
        metric.seeds = Some(qualities.len() as u32);
    }
    metric
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1).max(1) as f64).sqrt()
}

/// Each household's mean quality over noise seeds.
fn average(qualities: &[Quality]) -> Quality {
    let over = |pick: &dyn Fn(&Quality) -> &Vec<Option<f64>>| -> Vec<Option<f64>> {
        let count = qualities.first().map_or(0, |quality| pick(quality).len());
        (0..count)
            .map(|index| {
                let values: Vec<f64> =
                    qualities.iter().filter_map(|quality| pick(quality)[index]).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            })
            .collect()
    };
    Quality { recall: over(&|quality| &quality.recall), ndcg: over(&|quality| &quality.ndcg) }
}

fn summarise(
    panel: &Panel,
    setting: &Setting,
    runs: &[(Recipe, Programme, Vec<Outcome>)],
    catalogue: &Catalogue,
    results: &mut Results,
) {
    let outcomes = || runs.iter().flat_map(|(_, _, outcomes)| outcomes);
    results.rounds = outcomes().map(|outcome| outcome.costs.len() as u32).sum();
    results.dropped = outcomes().map(|outcome| outcome.dropped).sum();
    results.round_costs = outcomes().flat_map(|outcome| outcome.costs.clone()).collect();
    results.ledgers = outcomes().map(|outcome| outcome.ledger.clone()).collect();
    if let Some(first) = outcomes().next() {
        results.ledger = first.ledger.clone();
        let bytes: u64 = first.costs.iter().map(|cost| cost.bytes_received).sum();
        results.bytes_per_agent = bytes / u64::from(results.agents.max(1));
    }
    results.model = ModelSummary {
        tasks: vec!["popularity".into(), "matrix-factorisation".into(), "cooccurrence".into()],
        items: catalogue.len() as u32,
        households: panel.households.iter().filter(|one| !one.history.is_empty()).count() as u32,
        evaluated: panel.households.iter().filter(|one| !one.bought.is_empty()).count() as u32,
        test_from: TEST_FROM.into(),
        survivors_min: setting.survivors_min,
        corrupt: chorale_plan::CohortRule::corrupt_of(results.agents, 100),
    };
}
