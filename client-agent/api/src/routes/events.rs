//! `POST /v1/events`: what happens, as it happens.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chorale_people::{
    calendar,
    live::LiveEvent,
    scrub::{Found, scrub},
};
use chorale_plan::Pseudonym;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::{App, checked},
    idempotency::Judged,
    keeper::Work,
    problem::{Failures, Problem},
    request::{Answer, Context, Keyed, json},
};

/// One event. A purchase of three different items is three events with one `basket`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventIn {
    /// An id that no other event of the person has: the same id again changes nothing.
    #[schema(max_length = 256, example = "order-4711-1")]
    id: Option<String>,
    /// What happened: a word of a-z, 0-9 and '-'. `purchase`, `return`, `view`, `click`,
    /// `cart-add`, `cart-remove` and `impression` have a meaning here, others are kept.
    #[serde(rename = "type")]
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", example = "purchase")]
    kind: String,
    /// The customer's id. It becomes a keyed pseudonym at once.
    #[schema(max_length = 256, example = "customer-42")]
    user: Option<String>,
    /// The session's id, for visitors without a login. With a `user`, the event is the user's.
    #[schema(max_length = 256)]
    session: Option<String>,
    /// When, in UTC, for example `2026-01-31T12:00:00Z`; now where absent.
    #[schema(example = "2026-01-31T12:00:00Z")]
    time: Option<String>,
    /// The item's id.
    #[schema(max_length = 256, example = "APPLES")]
    item: Option<String>,
    /// How many, 0 to 1,000,000; 1 where absent.
    quantity: Option<f64>,
    /// For how much money in the store's currency; negative only for returns.
    amount: Option<f64>,
    /// How much money was taken off the price.
    discount: Option<f64>,
    /// Where it happened: a channel that the configuration names.
    #[schema(max_length = 256)]
    channel: Option<String>,
    /// The basket's or receipt's number.
    #[schema(max_length = 256)]
    basket: Option<String>,
    /// The `request_id` of the answer that led to this event.
    #[schema(max_length = 256)]
    request_id: Option<String>,
    /// What was searched for, or the text of a review; kept for `search` and `review` alone, without
    /// what was recognised as personal data.
    #[schema(max_length = 4096)]
    text: Option<String>,
}

/// What became of the events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Collected {
    /// Events that are new; they are on the disk.
    accepted: usize,
    /// Events whose id was there before.
    duplicates: usize,
    /// Events of persons who were erased, or older than events are kept; nothing of them is kept.
    ignored: usize,
    /// Events that cannot be used.
    rejected: Vec<Rejected>,
    /// Telephone numbers, names and other personal data that were taken out of texts.
    scrubbed: u64,
}

/// An event that cannot be used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rejected {
    /// Its position in the array, from 0.
    index: usize,
    /// What is wrong with it.
    reason: String,
}

/// Most events in one request.
const EVENTS_MAX: usize = 1000;

/// Longest text in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Kinds of event whose text is kept.
const TEXT_KINDS: [&str; 2] = ["search", "review"];

/// Clocks of other systems may run ahead by as much, in seconds.
const AHEAD_MAX_S: i64 = 86_400;

/// Keep events
///
/// Usable events are kept even where others in the array are not; `rejected` says which and why.
/// With an `id` for each event, or an `Idempotency-Key` for all, a request may be repeated.
#[utoipa::path(
    post, path = "/v1/events", tag = "events",
    request_body(content = Vec<EventIn>, example = json!([{
        "type": "purchase", "user": "customer-42", "item": "APPLES", "quantity": 2,
        "amount": 3.5, "basket": "receipt-7", "id": "receipt-7-line-1"
    }])),
    params(("Idempotency-Key" = Option<String>, Header,
        description = "The same key and body again give the same answer and change nothing")),
    responses((status = 200, body = Answer<Collected>), Failures)
)]
pub(super) async fn collect(
    State(app): State<Arc<App>>,
    context: Context,
    request: Keyed<Vec<EventIn>>,
) -> Result<Response, Problem> {
    let Keyed { body: events, bytes, key } = request;
    if events.is_empty() || events.len() > EVENTS_MAX {
        return Err(Problem::bad(format!("send 1 to {EVENTS_MAX} events")));
    }
    let pending = match &key {
        None => None,
        Some(key) => match app.answered.judge(context.caller.number, "/v1/events", key, &bytes)? {
            Judged::Again(body) => return Ok(json(&context.stamp.0, body)),
            Judged::First(pending) => Some(pending),
        },
    };
    let answer = keep(&app, &context, events, key.as_deref()).await?;
    if let Some(pending) = pending {
        pending.keep(serde_json::to_vec(&answer).unwrap_or_default().into());
    }
    Ok(answer.into_response())
}

async fn keep(
    app: &App,
    context: &Context,
    events: Vec<EventIn>,
    key: Option<&str>,
) -> Result<Answer<Collected>, Problem> {
    let now_s = app.now_s();
    let mut rejected = Vec::new();
    let mut found = Found::default();
    let mut by_person: BTreeMap<Pseudonym, Vec<LiveEvent>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        // Events without an id of their own get one from the request's key, which makes the whole
        // request repeatable even over a restart; without either each is its own.
        let own = match (&event.id, key) {
            (Some(id), _) => format!("event {id}"),
            (None, Some(key)) => {
                format!("key {} {index} {key}", context.caller.number)
            }
            (None, None) => format!("request {} {index}", context.stamp.0),
        };
        match event.clean(app, &own, now_s, &mut found) {
            Ok((who, event)) => by_person.entry(who).or_default().push(event),
            Err(reason) => rejected.push(Rejected { index, reason }),
        }
    }
    let kept = match by_person.is_empty() {
        true => crate::keeper::Kept::default(),
        false => app.keeper.work(Work::Events(by_person.into_iter().collect())).await?,
    };
    let collected = Collected {
        accepted: kept.accepted,
        duplicates: kept.duplicates,
        ignored: kept.ignored,
        rejected,
        scrubbed: found.total(),
    };
    Ok(context.answer(&app.world(), "events", None, collected))
}

impl EventIn {
    /// The event and whose it is. Raw ids end here, and what is personal in its text.
    fn clean(
        &self,
        app: &App,
        own: &str,
        now_s: i64,
        found: &mut Found,
    ) -> Result<(Pseudonym, LiveEvent), String> {
        let who = app
            .subject(self.user.as_deref(), self.session.as_deref())
            .map_err(|problem| problem.detail)?;
        let text = |what: &str, given: &Option<String>| match given {
            None => Ok(None),
            Some(raw) => checked(what, raw).map(|raw| Some(raw.to_owned())).map_err(|p| p.detail),
        };
        let kind = self.kind.replace('_', "-");
        if !is_word(&kind) {
            return Err("'type' must be a word of a-z, 0-9 and '-'".into());
        }
        let time_s = match self.time.as_deref() {
            None => now_s,
            Some(text) => {
                calendar::parse(text).ok_or("'time' must be like 2026-01-31T12:00:00Z")?
            }
        };
        if !(0..=now_s + AHEAD_MAX_S).contains(&time_s) {
            return Err("'time' must lie after 1970 and at most a day ahead".into());
        }
        let quantity = self.quantity.unwrap_or(1.0);
        if !(0.0..=1e6).contains(&quantity) {
            return Err("'quantity' must be 0 to 1,000,000".into());
        }
        let amount = self.amount.unwrap_or(0.0);
        if amount.abs() > 1e9 || (amount < 0.0 && kind != "return") {
            return Err("'amount' must be 0 to 1e9, and is negative only for returns".into());
        }
        let discount = self.discount.unwrap_or(0.0);
        if !(0.0..=1e9).contains(&discount) {
            return Err("'discount' must be 0 to 1e9".into());
        }
        let number = |name: String| app.channels.number(&name);
        let channel = match text("channel", &self.channel)? {
            Some(name) => number(name).ok_or("'channel' must be one of cleaning.channels")?,
            None => 0,
        };
        let item = text("item", &self.item)?;
        if item.is_none() && chorale_people::event::Kind::parse(&kind).is_some() {
            return Err(format!("'{kind}' needs an 'item'"));
        }
        let said = self.text.as_deref().filter(|_| TEXT_KINDS.contains(&kind.as_str()));
        if said.is_some_and(|said| said.len() > TEXT_BYTES_MAX) {
            return Err(format!("'text' must have at most {TEXT_BYTES_MAX} bytes"));
        }
        let said = said.map(scrub).map(|scrubbed| {
            found.add(&scrubbed.found);
            scrubbed.text
        });
        let names = &app.shared.names;
        let event = LiveEvent {
            id: names.event(own),
            time_s,
            kind,
            item,
            quantity: quantity as f32,
            amount,
            discount: discount as f32,
            channel,
            basket: text("basket", &self.basket)?.map(|raw| names.basket(&raw)),
            session: text("session", &self.session)?.map(|raw| names.event(&format!("s {raw}"))),
            request: text("request_id", &self.request_id)?.filter(|id| is_request_id(id)),
            text: said,
        };
        Ok((who, event))
    }
}

/// A word of 1 to 64 characters a-z, 0-9 and '-', not beginning with '-'.
pub(super) fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(fits)
}

/// Whether a text has the form of this agent's request ids; other texts are not kept.
fn is_request_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    matches!(&parts[..], [kind, model, random]
        if is_word(kind) && model.len() <= 8 && is_word(model)
            && random.len() == 24 && random.bytes().all(|b| b.is_ascii_hexdigit()))
}
