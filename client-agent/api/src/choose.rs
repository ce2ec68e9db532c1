//! Choosing items for a person: scores from every source, then the best that may be named.

use std::collections::BTreeMap;

use chorale_people::{
    event::Kind,
    features::Features,
    profiles::{Source, reasons},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{crowd::View, filter::Filter, world::World};

/// One item of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Offer {
    /// The item's id.
    pub(crate) item: String,
    /// The store's title for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// Its category.
    pub(crate) category: String,
    /// Only the order of scores within one answer means something.
    pub(crate) score: f32,
    /// What speaks most for it: `history`, `interest`, `local-popularity`, `global-popularity`,
    /// `matrix-factorisation`, `cooccurrence`, `local-cooccurrence`, `category`, `search`.
    pub(crate) source: String,
    /// Why, strongest first; only where the request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasons: Option<Vec<String>>,
}

/// What is known about a person's taste.
pub(crate) struct Scored {
    features: Features,
    counts: Vec<(u32, f32)>,
    scores: Vec<(Source, Vec<f32>)>,
    /// Per item, all sources together.
    pub(crate) sums: Vec<f32>,
    /// Whether purchases speak, or only what the person looked at.
    pub(crate) bought: bool,
}

/// How much a glance says beside the other ways to show interest.
const INTEREST: [(Kind, f32); 3] = [(Kind::CartAdd, 1.0), (Kind::Click, 0.3), (Kind::View, 0.2)];

/// Days after which a glance says half.
const INTEREST_HALF_LIFE_DAYS: f64 = 7.0;

impl Scored {
    /// Scores all items for a person, or for nobody in particular.
    pub(crate) fn of(view: Option<&View>, world: &World) -> Self {
        let features = view.map(|view| view.taste.clone()).unwrap_or_default();
        let bought = !features.items.is_empty();
        let (counts, recent) = match view {
            Some(view) if !bought => {
                let interest = interest(view, world);
                (interest.clone(), interest)
            }
            _ => (features.counts(), features.recent_counts()),
        };
        let scores = world.serving.taste().scores(&recent, &counts);
        let mut sums = vec![0.0f32; world.shelf.len()];
        for (_, scores) in &scores {
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
        }
        Self { features, counts, scores, sums, bought }
    }

    /// Whether the person is known to have bought the item, here or at a linked agent's.
    pub(crate) fn has_bought(&self, item: u32) -> bool {
        self.features.items.binary_search_by_key(&item, |habit| habit.item).is_ok()
    }

    /// The source that speaks most for an item.
    pub(crate) fn source(&self, item: u32) -> Source {
        self.scores
            .iter()
            .map(|(source, scores)| (scores.get(item as usize).copied().unwrap_or(0.0), *source))
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
            .map_or(Source::LocalPopularity, |(_, source)| source)
    }

    /// An item as it is answered.
    pub(crate) fn offer(&self, item: u32, world: &World, explain: bool) -> Option<Offer> {
        let source = self.source(item);
        let of_glances = source == Source::History && !self.bought;
        let reasons = explain.then(|| {
            let mut texts: Vec<String> =
                reasons(&world.serving, &self.features, &self.counts, &self.scores, item)
                    .into_iter()
                    .map(|reason| reason.text)
                    .collect();
            if of_glances {
                texts.insert(0, "looked at before".into());
            }
            texts
        });
        let source = if of_glances { "interest".into() } else { source.to_string() };
        let score = self.sums.get(item as usize).copied()?;
        offer(item, world, score, source, reasons)
    }
}

/// An item as it is answered.
pub(crate) fn offer(
    item: u32,
    world: &World,
    score: f32,
    source: String,
    reasons: Option<Vec<String>>,
) -> Option<Offer> {
    let line = world.shelf.line(item)?;
    Some(Offer {
        item: line.item.to_string(),
        title: line.title().map(str::to_owned),
        category: line.category.clone(),
        score,
        source,
        reasons,
    })
}

/// The `count` best items that the filter and `also` admit, best first, ties to the smaller index;
/// and whether there are more.
pub(crate) fn best(
    sums: &[f32],
    world: &World,
    filter: &Filter,
    count: usize,
    also: impl Fn(u32) -> bool,
) -> (Vec<u32>, bool) {
    let mut admitted: Vec<u32> = world
        .shelf
        .lines()
        .iter()
        .enumerate()
        .map(|(index, line)| (index as u32, line))
        .filter(|(index, line)| filter.admits(line) && also(*index))
        .map(|(index, _)| index)
        .collect();
    let better = |a: &u32, b: &u32| {
        let (x, y) = (sums[*a as usize], sums[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    let more = admitted.len() > count;
    if count == 0 {
        admitted.clear();
    } else if more {
        admitted.select_nth_unstable_by(count - 1, better);
        admitted.truncate(count);
    }
    admitted.sort_unstable_by(better);
    (admitted, more)
}

/// Items that a person looked at, each glance halved for every week that lies between it and their
/// last.
fn interest(view: &View, world: &World) -> Vec<(u32, f32)> {
    let end_s = world.serving.window_end_s();
    let events = view.record.before(end_s);
    let Some(last) = events.last() else { return Vec::new() };
    let mut sums: BTreeMap<u32, f32> = BTreeMap::new();
    for event in events {
        let weight = INTEREST.iter().find(|(kind, _)| *kind == event.kind);
        let Some((_, weight)) = weight else { continue };
        let age_days = (last.time_s - event.time_s) as f64 / 86_400.0;
        *sums.entry(event.item).or_default() +=
            weight * 0.5f64.powf(age_days / INTEREST_HALF_LIFE_DAYS) as f32;
    }
    sums.into_iter().collect()
}
