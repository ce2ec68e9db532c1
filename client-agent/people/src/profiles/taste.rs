//! What a person might like: scores from every source there is, each on a scale of its own.

use std::sync::Arc;

use chorale_task::{
    Catalogue, Cooccurrence, Gram, Hierarchy, MatrixFactorisation, Model, ModelError, Popularity,
    scorers::{
        Ease, EaseError, EaseOptions, LocalHistory, LogLinear, LogLinearOptions, PopularityScorer,
        PureSvd, PureSvdOptions, Scale, Scorer,
    },
};
use chorale_wire::Digest;
use serde::{Deserialize, Serialize};

use crate::error::Explain;

/// Where a score comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The person's own purchases at this store.
    History,
    /// How many customers of this store bought it.
    LocalPopularity,
    /// How many customers of the federation bought it (a noisy total).
    GlobalPopularity,
    /// The federated factor model.
    MatrixFactorisation,
    /// The federated item-item model.
    Cooccurrence,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::History => "history",
            Self::LocalPopularity => "local-popularity",
            Self::GlobalPopularity => "global-popularity",
            Self::MatrixFactorisation => "matrix-factorisation",
            Self::Cooccurrence => "cooccurrence",
        })
    }
}

/// Every source of scores that is there. Cheap to clone.
#[derive(Clone)]
pub struct Taste {
    components: Vec<Component>,
    items: usize,
    neighbours: Option<Arc<(Ease, Vec<u32>)>>,
    embedder: Option<Arc<Embedder>>,
    model: Option<Digest>,
    /// Items of a person with whom the item-item model weighs as much as popularity; without
    /// one popularity has all the weight.
    half_known: Option<f32>,
    /// How much the item-item model says for all its noise: √ of the λ that it would have without
    /// noise and the one that it has, 0 to 1.
    trust: f32,
    /// Share of the store's own in popularity.
    local_share: f32,
}

/// A model that does not fit, or a matrix that cannot be solved.
#[derive(Debug, thiserror::Error)]
pub enum TasteError {
    /// The model is over another catalogue.
    #[error("the stored model belongs to another catalogue")]
    Catalogue,
    /// A tensor is not what its name says.
    #[error("the stored model cannot be used")]
    Model(#[from] ModelError),
    /// The item-item weights cannot be computed.
    #[error("the stored item-item matrix cannot be used")]
    Ease(#[from] EaseError),
}

#[derive(Clone)]
struct Component {
    source: Source,
    scorer: Arc<dyn Scorer>,
    scale: Scale,
    weight: Weight,
}

/// What a source weighs, for a person of whom so much is known.
#[derive(Clone, Copy, PartialEq)]
enum Weight {
    /// Always the same.
    Fixed(f32),
    /// The store's part of what popularity weighs.
    LocalPopularity,
    /// The federation's part of it.
    GlobalPopularity,
    /// What popularity leaves.
    Neighbours,
}

enum Embedder {
    Factors(LogLinear),
    Principal(PureSvd),
}

/// λ of the item-item weights, in units where every person adds trace 1; chosen on the month before
/// the test month of the Complete Journey.
const EASE_LAMBDA: f64 = 10.0;

/// What λ grows by, in units of how far the noise alone pushes eigenvalues ([`Gram::noise_edge`]): by
/// one the matrix is as well conditioned as without noise, by two its small eigenvalues, which are
/// noise, no longer rule the weights. Chosen as [`EASE_LAMBDA`] was, with noise of σ 0.5 to 4.
const NOISE_EDGES: f64 = 2.0;

/// Dimensions of an embedding out of the item-item matrix.
const EMBEDDING_RANK: usize = 16;

/// Weight of the person's own history, scaled to a maximum of 1: what somebody buys again and
/// again outweighs every guess.
const HISTORY_WEIGHT: f32 = 1.0;

/// Weight of models and popularity together, each scaled to standard deviation 1 or less; chosen as
/// [`EASE_LAMBDA`] was.
const GLOBAL_WEIGHT: f32 = 0.02;

/// Standard deviations from the mean to the best score of a global source, at most: in a long
/// catalogue an item-item model's best items lie forty above it, and without a limit they would
/// outweigh what the person buys. Chosen as [`EASE_LAMBDA`] was, over types and over products.
const GLOBAL_DEVIATIONS: u8 = 12;

/// Weight of local popularity, scaled to a maximum of 1, while it is all there is for new items.
const LOCAL_WEIGHT: f32 = 0.05;

/// Weight of local popularity beside a factor model, which knows most of it: it only breaks ties.
const LOCAL_WEIGHT_BESIDE_FACTORS: f32 = 0.004;

/// The item-item model weighs as much as popularity for a person with this share of the items that
/// persons have on average: a first basket says less than what everybody buys. Chosen on new
/// customers of April to June of the Complete Journey and on the month before the test month.
const HALF_KNOWN_SHARE: f64 = 0.2;

/// The store's popularity weighs as much as the federation's where its most bought item was bought
/// by so many customers: people buy what their store sells, and few customers do not say what that
/// is. Chosen as [`HALF_KNOWN_SHARE`] was.
const HALF_LOCAL_CUSTOMERS: f32 = 15.0;

impl Taste {
    /// Gathers the sources: local popularity always, and whatever the model holds.
    /// `bought_by` counts the persons of this store who bought each item.
    ///
    /// # Errors
    /// [`TasteError`] when the model does not fit the catalogue or itself.
    pub fn new(
        catalogue: &Catalogue,
        bought_by: &[u32],
        model: Option<&Model>,
    ) -> Result<Self, TasteError> {
        let items = catalogue.len();
        let mut taste = Self {
            components: vec![
                component(
                    Source::History,
                    LocalHistory::new(items),
                    Scale::Maximum,
                    Weight::Fixed(HISTORY_WEIGHT),
                ),
                component(
                    Source::LocalPopularity,
                    PopularityScorer::new(&counted(bought_by)),
                    Scale::Maximum,
                    Weight::Fixed(LOCAL_WEIGHT),
                ),
            ],
            items,
            neighbours: None,
            embedder: None,
            model: None,
            half_known: None,
            trust: 1.0,
            local_share: 0.0,
        };
        if let Some(model) = model {
            if *model.catalogue() != catalogue.digest() || model.items() as usize != items {
                return Err(TasteError::Catalogue);
            }
            taste.add_model(model)?;
        }
        Ok(taste.with_popularity(bought_by))
    }

    /// The same global model over more items: the store's own follow those of the catalogue, and
    /// the model says nothing about them. `bought_by` has one count for each of all items.
    #[must_use]
    pub fn with_popularity(&self, bought_by: &[u32]) -> Self {
        let mut taste = self.clone();
        taste.items = bought_by.len().max(self.items);
        let most = bought_by.iter().copied().max().unwrap_or(0) as f32;
        taste.local_share = most / (most + HALF_LOCAL_CUSTOMERS);
        let counts = counted(bought_by);
        for component in &mut taste.components {
            match (component.source, component.weight) {
                (Source::History, _) => {
                    component.scorer = Arc::new(LocalHistory::new(taste.items));
                }
                (Source::LocalPopularity, Weight::Fixed(_)) => {
                    component.scorer = Arc::new(PopularityScorer::new(&counts));
                }
                // On the scale of the federation's: logarithms.
                (Source::LocalPopularity, _) => {
                    let logarithms: Vec<f64> = counts.iter().map(|count| count.ln_1p()).collect();
                    component.scorer = Arc::new(PopularityScorer::new(&logarithms));
                }
                _ => {}
            }
        }
        taste
    }

    /// Items that sell together with `item` in the federation, best first, at most `count`, with
    /// their weight. Empty without an item-item model, or for an item that it does not cover.
    #[must_use]
    pub fn neighbours(&self, item: u32, count: usize) -> Vec<(u32, f64)> {
        let Some(neighbours) = &self.neighbours else { return Vec::new() };
        let (ease, covered) = neighbours.as_ref();
        let Ok(row) = covered.binary_search(&item) else { return Vec::new() };
        let mut near: Vec<(u32, f64)> = covered
            .iter()
            .enumerate()
            .filter(|(column, _)| *column != row)
            .map(|(column, other)| (*other, ease.weights()[[row, column]]))
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        near.truncate(count);
        near
    }

    /// The sources that take part, in order.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        self.components.iter().map(|component| component.source).collect()
    }

    /// Digest of the global model, if there is one.
    #[must_use]
    pub fn model(&self) -> Option<&Digest> {
        self.model.as_ref()
    }

    /// The person's place in the space of tastes, empty without a model that has one. Same
    /// dimensions for everybody under one model.
    #[must_use]
    pub fn embed(&self, counts: &[(u32, f32)]) -> Vec<f32> {
        let embedding = match self.embedder.as_deref() {
            None => Vec::new(),
            Some(Embedder::Factors(factors)) => factors.taste(counts).embedding,
            Some(Embedder::Principal(principal)) => principal.embed(counts),
        };
        embedding.iter().map(|value| *value as f32).collect()
    }

    /// The person's items that speak most for `item`, best first, at most two. Empty without an
    /// item-item model.
    #[must_use]
    pub fn because_of(&self, item: u32, counts: &[(u32, f32)]) -> Vec<u32> {
        let Some(neighbours) = &self.neighbours else { return Vec::new() };
        let (ease, covered) = neighbours.as_ref();
        let Ok(column) = covered.binary_search(&item) else { return Vec::new() };
        let mut reasons: Vec<(f64, u32)> = counts
            .iter()
            .filter_map(|(own, _)| {
                let row = covered.binary_search(own).ok()?;
                Some((ease.weights()[[row, column]], *own))
            })
            .filter(|(weight, _)| *weight > 0.0)
            .collect();
        reasons.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        reasons.into_iter().take(2).map(|(_, own)| own).collect()
    }

    /// Per source, the weighted scores of all items. `recent` are recency-weighted counts for the
    /// history, `counts` the counts that the models were trained on.
    #[must_use]
    pub fn scores(&self, recent: &[(u32, f32)], counts: &[(u32, f32)]) -> Vec<(Source, Vec<f32>)> {
        let one = |component: &Component| {
            let given = if component.source == Source::History { recent } else { counts };
            let mut scores = component.scorer.scores(given);
            component.scale.apply(&mut scores);
            let weight = self.weight(component.weight, counts.len());
            scores.iter_mut().for_each(|score| *score *= weight);
            // Nothing is known there, which is what the average is on every scale.
            scores.resize(self.items, 0.0);
            (component.source, scores)
        };
        self.components.iter().map(one).collect()
    }

    /// All sources together: what items are ranked by. Arguments as for [`Taste::scores`].
    #[must_use]
    pub fn blend(&self, recent: &[(u32, f32)], counts: &[(u32, f32)]) -> Vec<f32> {
        self.sum(&self.scores(recent, counts))
    }

    /// The sum over what [`Taste::scores`] made.
    #[must_use]
    pub fn sum(&self, scores: &[(Source, Vec<f32>)]) -> Vec<f32> {
        let mut sums = vec![0.0f32; self.items];
        for (_, scores) in scores {
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
        }
        sums
    }

    /// Number of items.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    fn add_model(&mut self, model: &Model) -> Result<(), TasteError> {
        self.model = Some(model.digest()?);
        let mut global: Vec<(Source, Arc<dyn Scorer>, Weight)> = Vec::new();
        if model.tensor(Cooccurrence::TENSOR).is_some() {
            let gram = Gram::from_model(model)?;
            let covered = gram.covered().to_vec();
            let weighting = Cooccurrence::weighting(model)?;
            let options = PureSvdOptions { rank: EMBEDDING_RANK, weighting };
            self.half_known = Some((HALF_KNOWN_SHARE * gram.items_per_person()) as f32);
            let principal = PureSvd::fit(gram.clone(), &options);
            self.embedder = Some(Arc::new(Embedder::Principal(principal)));
            let lambda = EASE_LAMBDA + NOISE_EDGES * gram.noise_edge();
            let ease = Ease::fit(gram, &EaseOptions { lambda, weighting })?;
            self.trust = (EASE_LAMBDA / ease.lambda()).sqrt() as f32;
            global.push((Source::Cooccurrence, Arc::new(ease.clone()), Weight::Neighbours));
            self.neighbours = Some(Arc::new((ease, covered)));
        }
        // The public hierarchy helps where the model carries it.
        let mut options = LogLinearOptions::default();
        if model.tensor(Hierarchy::CATEGORY).is_none() {
            options = LogLinearOptions { category: 0.0, department: 0.0, ..options };
        }
        let mut local = None;
        if model.tensor(MatrixFactorisation::TENSOR).is_some() {
            // The factor model's scores hold the popularity already, and how sure it is of whom.
            let factors = LogLinear::from_model(model, &options)?;
            self.embedder = Some(Arc::new(Embedder::Factors(factors.clone())));
            let neighbours = if global.is_empty() { 0.0 } else { GLOBAL_WEIGHT / 2.0 * self.trust };
            global.iter_mut().for_each(|(_, _, weight)| *weight = Weight::Fixed(neighbours));
            let weight = Weight::Fixed(GLOBAL_WEIGHT - neighbours);
            global.push((Source::MatrixFactorisation, Arc::new(factors), weight));
            local = Some((Scale::Maximum, Weight::Fixed(LOCAL_WEIGHT_BESIDE_FACTORS)));
        } else if model.tensor(Popularity::TENSOR).is_some() {
            let popular = LogLinear::content(model, &options)?;
            global.push((Source::GlobalPopularity, Arc::new(popular), Weight::GlobalPopularity));
        }
        if global.is_empty() {
            return Ok(());
        }
        let scale = Scale::Limited { deviations: GLOBAL_DEVIATIONS };
        for component in &mut self.components {
            if component.source == Source::LocalPopularity {
                (component.scale, component.weight) =
                    local.unwrap_or((scale, Weight::LocalPopularity));
            }
        }
        for (source, scorer, weight) in global {
            self.components.push(Component { source, scorer, scale, weight });
        }
        Ok(())
    }

    /// What a source weighs for a person with `known` items.
    fn weight(&self, weight: Weight, known: usize) -> f32 {
        let share = |half| self.trust * known as f32 / (half + known as f32);
        let popularity = 1.0 - self.half_known.map_or(0.0, share);
        match weight {
            Weight::Fixed(weight) => weight,
            Weight::LocalPopularity => GLOBAL_WEIGHT * popularity * self.local_share,
            Weight::GlobalPopularity => GLOBAL_WEIGHT * popularity * (1.0 - self.local_share),
            Weight::Neighbours => GLOBAL_WEIGHT * (1.0 - popularity),
        }
    }
}

impl Explain for TasteError {
    fn place(&self) -> String {
        "the model in the agent's data directory".into()
    }

    fn remedy(&self) -> String {
        "check that 'catalogue' is the federation's list, and wait for the next round's model"
            .into()
    }
}

fn component(
    source: Source,
    scorer: impl Scorer + 'static,
    scale: Scale,
    weight: Weight,
) -> Component {
    Component { source, scorer: Arc::new(scorer), scale, weight }
}

fn counted(bought_by: &[u32]) -> Vec<f64> {
    bought_by.iter().map(|&count| f64::from(count)).collect()
}
