//! `GET /v1/items/{item}/similar`.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::recommend::{Offers, counted, twenty};
use crate::{
    app::App,
    choose::offer,
    filter::Filter,
    problem::{Failures, Kind, Problem},
    request::{Answer, Asked, At, Context, Fallback},
};

/// How many are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SimilarQuery {
    /// How many items, 1 to 200.
    #[serde(default = "twenty")]
    #[param(minimum = 1, maximum = 200, default = 20)]
    count: usize,
}

/// Items that go with an item
///
/// From the federation's item-item model where it covers the item, else from this store's own
/// customers who bought both, else the popular ones of its category.
#[utoipa::path(
    get, path = "/v1/items/{item}/similar", tag = "recommendations",
    params(("item" = String, Path, description = "The item's id"), SimilarQuery),
    responses((status = 200, body = Answer<Offers>), Failures)
)]
pub(super) async fn similar(
    State(app): State<Arc<App>>,
    context: Context,
    At(item): At<String>,
    Asked(query): Asked<SimilarQuery>,
) -> Result<Answer<Offers>, Problem> {
    let count = counted(query.count)?;
    let world = app.world();
    let Some(index) = world.shelf.index_of(&item) else {
        return Err(Problem::new(Kind::UnknownItem, "POST /v1/items adds items"));
    };
    let filter = Filter::default();
    let named = |item: &u32| world.shelf.line(*item).is_some_and(|line| filter.admits(line));
    // Some may be hidden: more are asked for than are wanted.
    let federated = world.serving.taste().neighbours(index, count * 4 + 100);
    let (near, source) = if federated.is_empty() {
        let bought = app.shared.bought.read().unwrap_or_else(PoisonError::into_inner);
        (bought.together(index, count * 4 + 100), "local-cooccurrence")
    } else {
        (federated, "cooccurrence")
    };
    let mut items: Vec<_> = near
        .into_iter()
        .filter(|(item, _)| named(item))
        .take(count)
        .filter_map(|(item, score)| offer(item, &world, score as f32, source.into(), None))
        .collect();
    let fallback = items.is_empty().then_some(Fallback::NoNeighbours);
    if items.is_empty()
        && let Some(own) = world.shelf.line(index)
    {
        let same = |item: &u32| {
            *item != index
                && world.shelf.line(*item).is_some_and(|line| {
                    line.category == own.category && line.department == own.department
                })
        };
        items = world
            .popular
            .iter()
            .copied()
            .filter(same)
            .take(count)
            .filter_map(|item| {
                let score = world.bought_by.get(item as usize).copied().unwrap_or(0) as f32;
                offer(item, &world, score, "category".into(), None)
            })
            .collect();
    }
    Ok(context.answer(&world, "similar", fallback, Offers { items, next: None }))
}
