//! `/v1/segments`: groups of customers by rule.

use std::sync::Arc;

use axum::extract::State;
use chorale_people::live::Purpose;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    cursor,
    problem::{Failures, Kind, Problem},
    request::{Answer, Asked, At, Context},
    rules::segments::{Condition, Segment, built_in},
};

/// The segments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Segments {
    segments: Vec<Sized>,
    /// Customers that were counted: those who have not refused marketing.
    customers: usize,
}

/// A segment and how many belong to it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sized {
    /// Its id.
    id: String,
    /// For people.
    title: String,
    /// The conditions, all of which must hold.
    all: Vec<Condition>,
    /// Customers in it now.
    size: usize,
}

/// Members of a segment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Members {
    /// Pseudonyms as hexadecimal digits; `POST /v1/pseudonyms` says which of the store's customers
    /// they are.
    persons: Vec<String>,
    /// Give it back as `cursor` for the next page; absent where there are no more. A page may be
    /// shorter than asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which page is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// How many, 1 to 1000.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) count: usize,
    /// `next` of the answer before.
    pub(super) cursor: Option<String>,
}

/// Persons looked at for one page.
pub(super) const LOOKED_AT_MAX: usize = 5000;

fn hundred() -> usize {
    100
}

/// The segments and their sizes
#[utoipa::path(
    get, path = "/v1/segments", tag = "segments",
    responses((status = 200, body = Answer<Segments>), Failures)
)]
pub(super) async fn segments(
    State(app): State<Arc<App>>,
    context: Context,
) -> Result<Answer<Segments>, Problem> {
    let world = app.world();
    let counted = {
        let (app, world) = (Arc::clone(&app), Arc::clone(&world));
        blocking(move || {
            let all = all(&app);
            let (mut sizes, mut customers) = (vec![0; all.len()], 0);
            let now_s = app.now_s();
            for who in app.shared.crowd.everybody(None) {
                let Some(view) = app.view(who, &world) else { continue };
                if !app.allows(&view, Purpose::Marketing) {
                    continue;
                }
                customers += 1;
                for (size, segment) in sizes.iter_mut().zip(&all) {
                    *size += usize::from(segment.holds(&app, &view, &world, now_s));
                }
            }
            let sized = all.into_iter().zip(sizes);
            let segments = sized.map(|(segment, size)| Sized::of(segment, size)).collect();
            Segments { segments, customers }
        })
        .await?
    };
    Ok(context.answer(&world, "segments", None, counted))
}

/// The members of a segment
///
/// Without those who have refused marketing.
#[utoipa::path(
    get, path = "/v1/segments/{id}/members", tag = "segments",
    params(("id" = String, Path, description = "The segment's id"), Page),
    responses((status = 200, body = Answer<Members>), Failures)
)]
pub(super) async fn members(
    State(app): State<Arc<App>>,
    context: Context,
    At(id): At<String>,
    Asked(page): Asked<Page>,
) -> Result<Answer<Members>, Problem> {
    let world = app.world();
    let Some(segment) = all(&app).into_iter().find(|segment| segment.id == id) else {
        return Err(Problem::new(Kind::UnknownSegment, "GET /v1/segments lists them"));
    };
    let (count, after) = page.checked()?;
    let found = {
        let (app, world) = (Arc::clone(&app), Arc::clone(&world));
        blocking(move || {
            let now_s = app.now_s();
            let everybody = app.shared.crowd.everybody(after);
            let mut persons = Vec::new();
            for (position, who) in everybody.iter().enumerate() {
                if let Some(view) = app.view(*who, &world)
                    && app.allows(&view, Purpose::Marketing)
                    && segment.holds(&app, &view, &world, now_s)
                {
                    persons.push(hex::encode(who.as_bytes()));
                }
                let full = persons.len() == count || position + 1 == LOOKED_AT_MAX;
                if full && position + 1 < everybody.len() {
                    return Members { persons, next: Some(cursor::of_person(*who)) };
                }
            }
            Members { persons, next: None }
        })
        .await?
    };
    Ok(context.answer(&world, "members", None, found))
}

/// The agent's own segments and those of its configuration.
pub(super) fn all(app: &App) -> Vec<Segment> {
    built_in().into_iter().chain(app.settings.segments.iter().cloned()).collect()
}

impl Sized {
    fn of(Segment { id, title, all }: Segment, size: usize) -> Self {
        Self { id, title, all, size }
    }
}

impl Page {
    pub(super) fn checked(&self) -> Result<(usize, Option<chorale_plan::Pseudonym>), Problem> {
        if !(1..=1000).contains(&self.count) {
            return Err(Problem::bad("'count' must be 1 to 1000"));
        }
        Ok((self.count, cursor::person(self.cursor.as_deref())?))
    }
}

/// Work over many persons, beside the answers that wait for nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Problem::new(Kind::Internal, "the agent's log says why"))
}
