//! `GET /v1/triggers` and `GET /v1/users/{user}/risk`.

use std::sync::Arc;

use axum::extract::State;
use chorale_people::live::Purpose;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::segments::{LOOKED_AT_MAX, Page, blocking};
use crate::{
    app::App,
    cursor,
    problem::{Failures, Kind, Problem},
    request::{Answer, Asked, At, Context, Fallback},
    rules::{
        risk::{self, Indication},
        triggers::{self, Trigger, TriggerKind},
    },
};

/// Which triggers are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TriggerQuery {
    /// Only this kind.
    #[param(inline)]
    kind: Option<TriggerKind>,
    /// How many persons, 1 to 1000.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    count: usize,
    /// `next` of the answer before.
    cursor: Option<String>,
}

/// Persons with their triggers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Triggered {
    persons: Vec<PersonTriggers>,
    /// Give it back as `cursor` for the next page; absent where there are no more. A page may be
    /// shorter than asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One person's triggers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PersonTriggers {
    /// The pseudonym as hexadecimal digits; `POST /v1/pseudonyms` says which customer it is.
    person: String,
    triggers: Vec<Trigger>,
}

/// What speaks for abuse.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Risk {
    /// Always true: these are indications for a person to look at, never a decision.
    advisory: bool,
    /// What was found; empty for almost everybody.
    indications: Vec<Indication>,
}

fn hundred() -> usize {
    100
}

/// Occasions to write to customers
///
/// Without those who have refused marketing. Each trigger says which rule fired.
#[utoipa::path(
    get, path = "/v1/triggers", tag = "segments", params(TriggerQuery),
    responses((status = 200, body = Answer<Triggered>), Failures)
)]
pub(super) async fn triggers(
    State(app): State<Arc<App>>,
    context: Context,
    Asked(query): Asked<TriggerQuery>,
) -> Result<Answer<Triggered>, Problem> {
    let (count, after) = Page { count: query.count, cursor: query.cursor }.checked()?;
    let world = app.world();
    let found = {
        let (app, world) = (Arc::clone(&app), Arc::clone(&world));
        blocking(move || {
            let now_s = app.now_s();
            let everybody = app.shared.crowd.everybody(after);
            let mut persons = Vec::new();
            for (position, who) in everybody.iter().enumerate() {
                if let Some(view) = app.view(*who, &world)
                    && app.allows(&view, Purpose::Marketing)
                {
                    let mut triggers = triggers::all(&view, &world.shelf, now_s);
                    triggers.retain(|t| query.kind.is_none_or(|kind| kind == t.kind));
                    if !triggers.is_empty() {
                        let person = hex::encode(who.as_bytes());
                        persons.push(PersonTriggers { person, triggers });
                    }
                }
                let full = persons.len() == count || position + 1 == LOOKED_AT_MAX;
                if full && position + 1 < everybody.len() {
                    return Triggered { persons, next: Some(cursor::of_person(*who)) };
                }
            }
            Triggered { persons, next: None }
        })
        .await?
    };
    Ok(context.answer(&world, "triggers", None, found))
}

/// Indications of abuse by a user
///
/// Advisory: each says which rule fired and what it saw, for a person to look at.
#[utoipa::path(
    get, path = "/v1/users/{user}/risk", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    responses((status = 200, body = Answer<Risk>), Failures)
)]
pub(super) async fn risk(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
) -> Result<Answer<Risk>, Problem> {
    let who = app.user(context.user(&user)?)?;
    let world = app.world();
    let view = app.view(who, &world);
    if view.as_deref().is_some_and(|view| !app.allows(view, Purpose::Risk)) {
        return Err(Problem::new(Kind::NoConsent, "purpose 'risk' is refused by this user"));
    }
    let fallback = view.is_none().then_some(Fallback::UnknownUser);
    let indications = view.as_deref().map(|view| risk::all(view, app.now_s())).unwrap_or_default();
    Ok(context.answer(&world, "risk", fallback, Risk { advisory: true, indications }))
}
