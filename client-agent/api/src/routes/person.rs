//! `/v1/users/{user}`: profile, consents, export, merge, erasure.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use chorale_people::{
    calendar,
    channel::Channels,
    hand_over::Disclosure,
    live::{Consent, Consents, Erasure, MergeEntry, Purpose},
    store::Removed,
};
use chorale_plan::Pseudonym;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    problem::{Failures, Kind, Problem},
    profile::ProfileBody,
    receipt::Receipt,
    request::{Answer, At, Body, Context, Fallback, json},
    world::World,
};

/// A person's word on each purpose; what is absent stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    /// Recommendations, re-ranking and the profile behind them.
    personalisation: Option<bool>,
    /// Segments and triggers.
    marketing: Option<bool>,
    /// Indications of abuse.
    risk: Option<bool>,
    /// A part in the federation's rounds.
    training: Option<bool>,
    /// Summaries for linked agents; a no unless there is a yes.
    #[serde(rename = "hand-over")]
    hand_over: Option<bool>,
}

/// Consents in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsentList {
    consents: Vec<ConsentLine>,
}

/// One purpose.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsentLine {
    /// `personalisation`, `marketing`, `risk`, `training` or `hand-over`.
    #[schema(value_type = String)]
    purpose: Purpose,
    /// Whether the person's data may be used so.
    allowed: bool,
    /// When the person said so, in UTC; absent where the store's default holds.
    since: Option<String>,
}

/// Everything that is kept about a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Export {
    /// Pseudonyms as hexadecimal digits; the raw ids are not kept.
    persons: Vec<String>,
    /// Events out of the store's files and over the API that are about known items.
    history: Vec<HistoryLine>,
    /// Everything that came over the API.
    live: Vec<LiveLine>,
    /// Consents.
    consents: Vec<ConsentLine>,
    /// Merges and un-merges of channels.
    merges: Vec<MergeLine>,
    /// Letters to and from linked agents; what they gave stands in the profile.
    disclosures: Vec<DisclosureLine>,
    /// The profile that is made of it.
    profile: ProfileBody,
}

/// An event about a known item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryLine {
    /// When, in UTC.
    time: String,
    /// `purchase`, `return`, `view`, `click`, `cart-add` or `cart-remove`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: chorale_people::Kind,
    item: String,
    quantity: f32,
    amount: f64,
    /// The money taken off the price, 0 where nobody said.
    discount: f32,
    /// Where it happened.
    channel: Option<String>,
    /// The person's baskets, counted from 0.
    basket: u32,
}

/// An event that came over the API.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LiveLine {
    /// When, in UTC.
    time: String,
    #[serde(rename = "type")]
    kind: String,
    item: Option<String>,
    quantity: f32,
    amount: f64,
    /// The money taken off the price, 0 where nobody said.
    discount: f32,
    /// Where it happened.
    channel: Option<String>,
    request_id: Option<String>,
    /// What was searched for or written, scrubbed.
    text: Option<String>,
}

/// A merge or un-merge.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MergeLine {
    /// When, in UTC.
    time: String,
    /// The pseudonym that joined or left.
    alias: String,
    /// The pseudonym that stands for both.
    into: String,
    /// Whether a merge was undone.
    undone: bool,
}

/// A letter to or from a linked agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DisclosureLine {
    /// When, in UTC.
    time: String,
    /// Whether this agent gave; otherwise it was given.
    given: bool,
    /// The other agent.
    agent: String,
    /// Items in the letter.
    items: u32,
    /// SHA-256 over the letter, as hexadecimal digits; the same at both agents.
    letter: String,
}

/// Who joins or leaves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Other {
    /// Another id of the same customer.
    #[schema(max_length = 256)]
    user: Option<String>,
    /// A session of the customer's.
    #[schema(max_length = 256, example = "session-9")]
    session: Option<String>,
}

/// The person after a merge.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Merged {
    /// Whether anything changed.
    changed: bool,
    /// Pseudonyms (channels) of the person now.
    channels: usize,
}

/// Customers' ids.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ids {
    /// 1 to 10,000 ids.
    users: Vec<String>,
}

/// Their pseudonyms.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pseudonyms {
    /// In the order of the ids, as segments and triggers name them.
    persons: Vec<String>,
}

const IDS_MAX: usize = 10_000;

/// The profile of a user
///
/// An unknown user gets what is expected of anybody, with `known: false`.
#[utoipa::path(
    get, path = "/v1/users/{user}/profile", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    responses((status = 200, body = Answer<ProfileBody>), Failures)
)]
pub(super) async fn profile(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
) -> Result<Response, Problem> {
    let who = app.user(context.user(&user)?)?;
    let world = app.world();
    let view = app.view(who, &world);
    let make = |view| {
        let body = serde_json::to_vec(&ProfileBody::of(&app, view, &world));
        Bytes::from(body.unwrap_or_default())
    };
    let (fallback, body) = match view.as_deref() {
        None => ("\"unknown-user\"", world.stranger.get_or_init(|| make(None)).clone()),
        Some(view) => {
            if !app.allows(view, Purpose::Personalisation) {
                return Err(Problem::new(
                    Kind::NoConsent,
                    "purpose 'personalisation' is refused by this user",
                ));
            }
            ("null", view.profile(world.number, || make(Some(view))))
        }
    };
    // Every member of `Answer` before the profile's own: made by hand, because the profile is
    // kept as bytes. A test compares the two ways.
    let id = context.request_id(&world, "profile");
    let model = &world.model_version;
    let head = format!(r#"{{"request_id":"{id}","model_version":"{model}","fallback":{fallback},"#);
    let rest = body.get(1..).unwrap_or_default();
    let mut bytes = Vec::with_capacity(head.len() + rest.len());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(rest);
    Ok(json(&id, bytes.into()))
}

/// The consents of a user
#[utoipa::path(
    get, path = "/v1/users/{user}/consents", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    responses((status = 200, body = Answer<ConsentList>), Failures)
)]
pub(super) async fn consents(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
) -> Result<Answer<ConsentList>, Problem> {
    let who = app.user(context.user(&user)?)?;
    let consents = consent_lines(&app, &app.shared.crowd.consents(who));
    Ok(context.answer(&app.world(), "consents", None, ConsentList { consents }))
}

/// Record what a user agrees to
///
/// It holds from the answer on, also for the federation's next round.
#[utoipa::path(
    put, path = "/v1/users/{user}/consents", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    request_body(content = Words, example = json!({"marketing": false})),
    responses((status = 200, body = Answer<ConsentList>), Failures)
)]
pub(super) async fn set_consents(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
    Body(words): Body<Words>,
) -> Result<Answer<ConsentList>, Problem> {
    let who = app.shared.crowd.primary(app.user(context.user(&user)?)?);
    refuse_erased(&app, who)?;
    let mut consents = app.shared.crowd.consents(who);
    let time_s = app.now_s();
    let said = [
        (Purpose::Personalisation, words.personalisation),
        (Purpose::Marketing, words.marketing),
        (Purpose::Risk, words.risk),
        (Purpose::Training, words.training),
        (Purpose::HandOver, words.hand_over),
    ];
    for (purpose, granted) in said {
        if let Some(granted) = granted {
            consents.insert(purpose, Consent { granted, time_s });
        }
    }
    app.keeper.work(crate::keeper::Work::Consents(who, consents.clone())).await?;
    let consents = consent_lines(&app, &consents);
    Ok(context.answer(&app.world(), "consents", None, ConsentList { consents }))
}

/// Everything that is kept about a user
#[utoipa::path(
    get, path = "/v1/users/{user}/export", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    responses((status = 200, body = Answer<Export>), Failures)
)]
pub(super) async fn export(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
) -> Result<Answer<Export>, Problem> {
    let who = app.user(context.user(&user)?)?;
    let world = app.world();
    let view = app.view(who, &world);
    let members = app.shared.crowd.members(who);
    let name = |bytes: &[u8]| hex::encode(bytes);
    let merges = app.shared.crowd.merges_of(&members).into_iter().map(|entry| MergeLine {
        time: calendar::instant(entry.time_s),
        alias: name(&entry.alias),
        into: name(&entry.into),
        undone: entry.undone,
    });
    let (history, live) = match view.as_deref() {
        None => (Vec::new(), Vec::new()),
        Some(view) => (
            view.record
                .events
                .iter()
                .filter_map(|e| HistoryLine::of(e, &world, &app.channels))
                .collect(),
            view.live.iter().map(|event| LiveLine::of(event, &app.channels)).collect(),
        ),
    };
    let export = Export {
        persons: members.iter().map(|who| name(who.as_bytes())).collect(),
        history,
        live,
        consents: consent_lines(&app, &app.shared.crowd.consents(who)),
        merges: merges.collect(),
        disclosures: app.shared.crowd.letters_of(&members).iter().map(DisclosureLine::of).collect(),
        profile: ProfileBody::of(&app, view.as_deref(), &world),
    };
    let fallback = view.is_none().then_some(Fallback::UnknownUser);
    Ok(context.answer(&world, "export", fallback, export))
}

/// Merge another id or a session into a user
///
/// Both are one person from then on; nothing is copied, and `unmerge` undoes it.
#[utoipa::path(
    post, path = "/v1/users/{user}/merge", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    request_body(content = Other, example = json!({"session": "session-9"})),
    responses((status = 200, body = Answer<Merged>), Failures)
)]
pub(super) async fn merge(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
    Body(other): Body<Other>,
) -> Result<Answer<Merged>, Problem> {
    let crowd = &app.shared.crowd;
    let into = crowd.primary(app.user(context.user(&user)?)?);
    let alias = crowd.primary(app.subject(other.user.as_deref(), other.session.as_deref())?);
    refuse_erased(&app, into)?;
    refuse_erased(&app, alias)?;
    let changed = alias != into;
    if changed {
        app.keeper.merge(entry(&app, alias, into, false)).await?;
    }
    let channels = crowd.members(into).len();
    Ok(context.answer(&app.world(), "merge", None, Merged { changed, channels }))
}

/// Undo a merge
#[utoipa::path(
    post, path = "/v1/users/{user}/unmerge", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    request_body(content = Other, example = json!({"session": "session-9"})),
    responses((status = 200, body = Answer<Merged>), Failures)
)]
pub(super) async fn unmerge(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
    Body(other): Body<Other>,
) -> Result<Answer<Merged>, Problem> {
    let crowd = &app.shared.crowd;
    let into = crowd.primary(app.user(context.user(&user)?)?);
    let alias = app.subject(other.user.as_deref(), other.session.as_deref())?;
    let changed = alias != into && crowd.primary(alias) == into;
    if changed {
        app.keeper.merge(entry(&app, alias, into, true)).await?;
    }
    let channels = crowd.members(into).len();
    Ok(context.answer(&app.world(), "unmerge", None, Merged { changed, channels }))
}

/// Erase a user
///
/// Everything about the person leaves this agent, over all merged channels; no later ingest reads
/// them again, no later round holds them, and later events are not kept. The receipt is signed;
/// asked again, the same receipt comes.
#[utoipa::path(
    delete, path = "/v1/users/{user}", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    responses((status = 200, body = Answer<Receipt>), Failures)
)]
pub(super) async fn erase(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
) -> Result<Response, Problem> {
    let who = app.user(context.user(&user)?)?;
    let erasure = match app.shared.crowd.is_erased(who) {
        true => {
            let stored = app.shared.store.erasure(who).map_err(|error| {
                tracing::error!(%error, "a receipt cannot be read");
                Problem::new(Kind::Internal, "the agent's log says why")
            })?;
            stored.ok_or_else(|| Problem::new(Kind::Internal, "the receipt is missing"))?
        }
        false => {
            let members = app.shared.crowd.members(who);
            let (signer, now_s, persons) = (Arc::clone(&app), app.now_s(), members.clone());
            let receipt = move |removed: &Removed, elsewhere: u64| {
                let receipt = signer.receipts.sign(&persons, removed, elsewhere, now_s);
                let receipt = serde_json::to_string(&receipt).unwrap_or_default();
                Erasure { time_s: now_s, receipt }
            };
            app.keeper.erase(members, Box::new(receipt)).await?
        }
    };
    let receipt: Receipt = serde_json::from_str(&erasure.receipt)
        .map_err(|_| Problem::new(Kind::Internal, "the stored receipt cannot be read"))?;
    Ok(context.answer(&app.world(), "erase", None, receipt).into_response())
}

/// The pseudonyms of customers
///
/// Segments and triggers name pseudonyms: with this the store finds its customers among them.
#[utoipa::path(
    post, path = "/v1/pseudonyms", tag = "segments",
    request_body(content = Ids, example = json!({"users": ["customer-42"]})),
    responses((status = 200, body = Answer<Pseudonyms>), Failures)
)]
pub(super) async fn pseudonyms(
    State(app): State<Arc<App>>,
    context: Context,
    Body(ids): Body<Ids>,
) -> Result<Answer<Pseudonyms>, Problem> {
    if ids.users.is_empty() || ids.users.len() > IDS_MAX {
        return Err(Problem::bad(format!("send 1 to {IDS_MAX} ids")));
    }
    let crowd = &app.shared.crowd;
    let persons: Result<Vec<String>, Problem> = ids
        .users
        .iter()
        .map(|raw| Ok(hex::encode(crowd.primary(app.user(raw)?).as_bytes())))
        .collect();
    Ok(context.answer(&app.world(), "pseudonyms", None, Pseudonyms { persons: persons? }))
}

fn refuse_erased(app: &App, who: Pseudonym) -> Result<(), Problem> {
    match app.shared.crowd.is_erased(who) {
        true => Err(Problem::new(Kind::UnknownUser, "this user was erased")),
        false => Ok(()),
    }
}

fn entry(app: &App, alias: Pseudonym, into: Pseudonym, undone: bool) -> MergeEntry {
    MergeEntry { time_s: app.now_s(), alias: *alias.as_bytes(), into: *into.as_bytes(), undone }
}

fn consent_lines(app: &App, consents: &Consents) -> Vec<ConsentLine> {
    Purpose::ALL
        .into_iter()
        .map(|purpose| ConsentLine {
            purpose,
            allowed: chorale_people::live::allows(
                Some(consents),
                purpose,
                !app.settings.asks_first(purpose),
            ),
            since: consents.get(&purpose).map(|consent| calendar::instant(consent.time_s)),
        })
        .collect()
}

impl DisclosureLine {
    fn of(line: &Disclosure) -> Self {
        Self {
            time: calendar::instant(line.time_s),
            given: line.given,
            agent: line.agent.clone(),
            items: line.items,
            letter: line.letter.to_string(),
        }
    }
}

impl HistoryLine {
    fn of(
        event: &chorale_people::features::StoredEvent,
        world: &World,
        channels: &Channels,
    ) -> Option<Self> {
        Some(Self {
            time: calendar::instant(event.time_s),
            kind: event.kind,
            item: world.shelf.line(event.item)?.item.to_string(),
            quantity: event.quantity,
            amount: event.amount,
            discount: event.discount,
            channel: channels.name(event.channel).map(str::to_owned),
            basket: event.basket,
        })
    }
}

impl LiveLine {
    fn of(event: &chorale_people::live::LiveEvent, channels: &Channels) -> Self {
        Self {
            time: calendar::instant(event.time_s),
            kind: event.kind.clone(),
            item: event.item.clone(),
            quantity: event.quantity,
            amount: event.amount,
            discount: event.discount,
            channel: channels.name(event.channel).map(str::to_owned),
            request_id: event.request.clone(),
            text: event.text.clone(),
        }
    }
}
