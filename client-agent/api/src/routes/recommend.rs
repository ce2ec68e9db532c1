//! `POST /v1/recommend` and `GET /v1/popular`.

use std::{collections::HashSet, sync::Arc};

use axum::extract::State;
use chorale_people::live::Purpose;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::events::is_word;
use crate::{
    app::App,
    choose::{Offer, Scored, best, offer},
    cursor,
    filter::Filter,
    problem::{Failures, Problem},
    request::{Answer, Asked, Body, Context, Fallback},
};

/// What is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// The customer's id. Give this or `session`; somebody who is unknown gets what is popular.
    #[schema(max_length = 256, example = "customer-42")]
    user: Option<String>,
    /// The session's id, for visitors without a login.
    #[schema(max_length = 256)]
    session: Option<String>,
    /// How many items, 1 to 200.
    #[serde(default = "twenty")]
    #[schema(minimum = 1, maximum = 200, default = 20)]
    count: usize,
    /// Where it is shown: a word of a-z, 0-9 and '-'. Attribution is counted by it.
    #[serde(default = "home")]
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,63}$", default = "home")]
    scenario: String,
    /// Items to leave out, at most 2000.
    #[serde(default)]
    exclude: Vec<String>,
    /// Which items may be named.
    #[serde(default)]
    filter: Filter,
    /// Items that the person has bought here before.
    #[serde(default)]
    repeat: Repeat,
    /// Whether to say why.
    #[serde(default)]
    explain: bool,
    /// `next` of the answer before, with the same other members: further items, none twice.
    cursor: Option<String>,
}

/// What to do with items that the person has bought here before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Repeat {
    /// They may be named.
    #[default]
    Allow,
    /// Only they may be named.
    Only,
    /// They may not be named.
    Never,
}

/// Which popular items are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PopularQuery {
    /// How many items, 1 to 200.
    #[serde(default = "twenty")]
    #[param(minimum = 1, maximum = 200, default = 20)]
    count: usize,
    /// Only this category.
    category: Option<String>,
    /// Only this department.
    department: Option<String>,
    /// `next` of the answer before: further items, none twice.
    cursor: Option<String>,
}

/// Items, best first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Offers {
    /// The items.
    pub(crate) items: Vec<Offer>,
    /// Give it back as `cursor` for the next page; absent where there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// Most items that a request may leave out.
const EXCLUDE_MAX: usize = 2000;

pub(super) fn twenty() -> usize {
    20
}

fn home() -> String {
    "home".into()
}

/// Recommend items to a user or a session
///
/// Events that come of it carry the answer's `request_id`.
#[utoipa::path(
    post, path = "/v1/recommend", tag = "recommendations",
    request_body(content = Wish, example = json!({
        "user": "customer-42", "count": 10, "repeat": "never", "explain": true
    })),
    responses((status = 200, body = Answer<Offers>), Failures)
)]
pub(super) async fn recommend(
    State(app): State<Arc<App>>,
    context: Context,
    Body(wish): Body<Wish>,
) -> Result<Answer<Offers>, Problem> {
    let count = counted(wish.count)?;
    if !is_word(&wish.scenario) {
        return Err(Problem::bad("'scenario' must be a word of a-z, 0-9 and '-'"));
    }
    if wish.exclude.len() > EXCLUDE_MAX {
        return Err(Problem::bad(format!("'exclude' has at most {EXCLUDE_MAX} items")));
    }
    let who = app.subject(wish.user.as_deref(), wish.session.as_deref())?;
    let mut given = cursor::items(wish.cursor.as_deref())?;
    let world = app.world();
    let view = app.view(who, &world);
    let agreed = view.as_deref().is_none_or(|view| app.allows(view, Purpose::Personalisation));
    let scored = Scored::of(view.as_deref().filter(|_| agreed), &world);
    let fallback = match &view {
        None => Some(Fallback::UnknownUser),
        Some(_) if !agreed => Some(Fallback::NoConsent),
        Some(_) if !scored.bought => Some(Fallback::NoPurchases),
        Some(_) => None,
    };
    let out: HashSet<u32> = wish
        .exclude
        .iter()
        .filter_map(|item| world.shelf.index_of(item))
        .chain(given.iter().copied())
        .collect();
    let (items, more) = best(&scored.sums, &world, &wish.filter, count, |item| {
        !out.contains(&item)
            && match wish.repeat {
                Repeat::Allow => true,
                Repeat::Only => scored.has_bought(item),
                Repeat::Never => !scored.has_bought(item),
            }
    });
    given.extend(&items);
    let next = (more && given.len() + count <= cursor::GIVEN_MAX).then(|| cursor::of_items(&given));
    let items = items.into_iter().filter_map(|item| scored.offer(item, &world, wish.explain));
    let offers = Offers { items: items.collect(), next };
    Ok(context.answer(&world, &wish.scenario, fallback, offers))
}

/// Items that most customers of this store bought
#[utoipa::path(
    get, path = "/v1/popular", tag = "recommendations", params(PopularQuery),
    responses((status = 200, body = Answer<Offers>), Failures)
)]
pub(super) async fn popular(
    State(app): State<Arc<App>>,
    context: Context,
    Asked(query): Asked<PopularQuery>,
) -> Result<Answer<Offers>, Problem> {
    let count = counted(query.count)?;
    let mut given = cursor::items(query.cursor.as_deref())?;
    let world = app.world();
    let filter = Filter {
        departments: query.department.into_iter().collect(),
        categories: query.category.into_iter().collect(),
        ..Filter::default()
    };
    let before: HashSet<u32> = given.iter().copied().collect();
    let mut wanted = world
        .popular
        .iter()
        .copied()
        .filter(|item| !before.contains(item))
        .filter(|item| world.shelf.line(*item).is_some_and(|line| filter.admits(line)));
    let items: Vec<u32> = wanted.by_ref().take(count).collect();
    let more = wanted.next().is_some();
    given.extend(&items);
    let next = (more && given.len() + count <= cursor::GIVEN_MAX).then(|| cursor::of_items(&given));
    let items = items.into_iter().filter_map(|item| {
        let score = world.bought_by.get(item as usize).copied().unwrap_or(0) as f32;
        offer(item, &world, score, "local-popularity".into(), None)
    });
    Ok(context.answer(&world, "popular", None, Offers { items: items.collect(), next }))
}

/// A number of items, 1 to 200.
pub(super) fn counted(count: usize) -> Result<usize, Problem> {
    match count {
        1..=200 => Ok(count),
        _ => Err(Problem::bad("'count' must be 1 to 200")),
    }
}
