//! Letters between linked agents: `POST /v1/users/{user}/hand-over` makes one, `POST /v1/hand-overs`
//! takes one. The store's own systems carry them.

use std::sync::Arc;

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chorale_people::{
    calendar,
    calendar::DAY_S,
    hand_over::{Disclosure, LETTER_BYTES_MAX, Linked, Received, Summary},
    live::{Purpose, allows},
};
use chorale_plan::Pseudonym;
use chorale_wire::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    keeper::Work,
    problem::{Failures, Kind, Problem},
    request::{Answer, At, Body, Context},
};

/// Whom a letter is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Addressee {
    /// The linked agent.
    #[schema(max_length = 64, example = "web-shop")]
    to: String,
}

/// A letter for another agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Letter {
    /// Who made it.
    from: String,
    /// The letter in base64; only the agent that it is for can open it, within a day.
    letter: String,
    /// Items in it.
    items: usize,
}

/// A letter from another agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arrival {
    /// The linked agent that made it.
    #[schema(max_length = 64, example = "store-367")]
    from: String,
    /// The letter, in base64.
    letter: String,
}

/// A letter that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Taken {
    /// Whose, as segments name persons.
    person: String,
    /// Items in it.
    items: usize,
    /// Until when it is kept, in UTC.
    until: String,
}

/// Make a letter about a user for a linked agent
///
/// It holds a summary of purchases: items, how often and when last; no event, no amount. It needs the
/// user's yes to `hand-over`, and the linked agent in the store's signed policy. The letter is logged as
/// a disclosure before it is answered.
#[utoipa::path(
    post, path = "/v1/users/{user}/hand-over", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    request_body(content = Addressee, example = json!({"to": "web-shop"})),
    responses((status = 200, body = Answer<Letter>), Failures)
)]
pub(super) async fn give(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
    Body(Addressee { to }): Body<Addressee>,
) -> Result<Answer<Letter>, Problem> {
    let who = app.user(context.user(&user)?)?;
    let to = linked(&app, &to, |linked| linked.give)?;
    let world = app.world();
    let view = app
        .view(who, &world)
        .ok_or_else(|| Problem::new(Kind::UnknownUser, "nothing is known about this user here"))?;
    if !agrees(&app, who, false) {
        return Err(Problem::new(Kind::NoConsent, "this user has not said yes to 'hand-over'"));
    }
    let now_s = app.now_s();
    // Of the federation's catalogue alone: the store's own items are nobody else's business.
    let name = |item| Some(app.shared.catalogue.item(item)?.item_id.clone());
    let summary = Summary::of(&view.features, who, (&app.agent, &to.agent), now_s, name);
    let letter = app.link_keys.seal(&summary, to).map_err(|error| {
        tracing::error!(%error, agent = to.agent, "a letter cannot be made");
        Problem::new(Kind::Internal, "the agent's log says why")
    })?;
    let items = summary.items.len();
    let line = line(&summary, &letter, &to.agent, now_s, true);
    app.keeper.work(Work::Letter(line, None)).await?;
    let from = app.agent.clone();
    let letter = BASE64.encode(letter);
    Ok(context.answer(&world, "hand-over", None, Letter { from, letter, items }))
}

/// Take a letter from a linked agent
///
/// The user must be known here, and must not have said no to `hand-over`. An older letter than the one
/// that is there is refused; a newer one replaces it.
#[utoipa::path(
    post, path = "/v1/hand-overs", tag = "users",
    request_body(content = Arrival, example = json!({"from": "store-367", "letter": "c2VhbGVk"})),
    responses((status = 200, body = Answer<Taken>), Failures)
)]
pub(super) async fn take(
    State(app): State<Arc<App>>,
    context: Context,
    Body(Arrival { from, letter }): Body<Arrival>,
) -> Result<Answer<Taken>, Problem> {
    let from = linked(&app, &from, |linked| linked.take)?;
    let letter = (letter.len() <= LETTER_BYTES_MAX * 2).then(|| BASE64.decode(letter));
    let letter =
        letter.and_then(Result::ok).ok_or_else(|| Problem::bad("'letter' is no base64"))?;
    let now_s = app.now_s();
    let summary = app
        .link_keys
        .open(&letter, from, &app.agent, now_s)
        .map_err(|error| Problem::bad(error.to_string()))?;
    let who = Pseudonym::from_bytes(summary.person);
    let world = app.world();
    if app.view(who, &world).is_none() {
        return Err(Problem::new(
            Kind::UnknownUser,
            "the letter is about somebody who is unknown here; nothing of it is kept",
        ));
    }
    if !agrees(&app, who, true) {
        return Err(Problem::new(Kind::NoConsent, "this user has said no to 'hand-over'"));
    }
    let line = line(&summary, &letter, &from.agent, now_s, false);
    let (items, until_s) = (summary.items.len(), now_s + i64::from(from.days) * DAY_S);
    app.keeper.work(Work::Letter(line, Some(Received { summary, until_s }))).await?;
    let person = hex::encode(app.shared.crowd.primary(who).as_bytes());
    let taken = Taken { person, items, until: calendar::instant(until_s) };
    Ok(context.answer(&world, "hand-over", None, taken))
}

/// The agent of this name, where the signed policy allows it.
fn linked<'a>(
    app: &'a App,
    agent: &str,
    allows: impl Fn(&Linked) -> bool,
) -> Result<&'a Linked, Problem> {
    app.linked.iter().find(|linked| linked.agent == agent && allows(linked)).ok_or_else(|| {
        Problem::new(
            Kind::Unlinked,
            "the store's signed policy does not allow it: see [[hand_over]] in policy.toml",
        )
    })
}

/// The person's word on hand-overs, or `silence` without one.
fn agrees(app: &App, who: Pseudonym, silence: bool) -> bool {
    allows(Some(&app.shared.crowd.consents(who)), Purpose::HandOver, silence)
}

fn line(summary: &Summary, letter: &[u8], agent: &str, time_s: i64, given: bool) -> Disclosure {
    Disclosure {
        time_s,
        given,
        agent: agent.to_owned(),
        person: summary.person,
        items: summary.items.len() as u32,
        letter: Digest::plain(letter),
    }
}
