//! `GET /v1/features` and `GET /v1/users/{user}/features`: what the store declares, and a person's
//! values.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use chorale_people::{
    calendar,
    event::Kind as EventKind,
    features::{About, Declared, Did, Measure, Scale, Type, Weekday},
    live::Purpose,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    crowd::View,
    problem::{Failures, Problem},
    request::{Answer, At, Context, Fallback},
    world::World,
};

/// The declared features.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Declarations {
    features: Vec<Declaration>,
}

/// A declared feature.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Declaration {
    name: String,
    /// Who answers for it.
    owner: String,
    /// What it may be used for.
    #[schema(value_type = String)]
    purpose: Purpose,
    /// `count`, `number`, `days`, `minutes`, `share`, `bucket` or `scaled`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    value_type: Type,
    /// What is measured.
    #[schema(value_type = String)]
    measure: Measure,
    /// The kinds of event that count.
    #[schema(value_type = Vec<String>)]
    kinds: Vec<EventKind>,
    department: Option<String>,
    category: Option<String>,
    /// Only items with this label.
    label: Option<String>,
    /// Only events of this channel.
    channel: Option<String>,
    /// Only events from the first hour of the day up to the second.
    hours: Option<[u8; 2]>,
    /// Only events on these days of the week, `mon` to `sun`; all where empty.
    #[schema(value_type = Vec<String>)]
    weekdays: Vec<Weekday>,
    /// Minutes that the store's clocks are ahead of UTC, for hours and weekdays.
    utc_offset_minutes: i16,
    /// Only searches with this in their text.
    searched: Option<String>,
    /// Only so many days back.
    days: Option<u32>,
    /// Least and greatest value.
    range: [f64; 2],
    /// The value where nothing can be said.
    missing: Option<f64>,
    /// `unit` or `log`: how the value is brought to another scale.
    #[schema(value_type = Option<String>)]
    scale: Option<Scale>,
    /// Lower bounds of buckets; the value is a bucket's number where there are any.
    buckets: Vec<f64>,
    /// For how many hours a value may be kept.
    ttl_hours: u32,
    /// For how many hours a value is given again before it is made anew.
    refresh_hours: u32,
}

/// A person's values.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Values {
    /// By the feature's name; features of which nothing can be said are absent.
    features: BTreeMap<String, Value>,
    /// Features that the person's word on their purpose forbids.
    withheld: Vec<String>,
}

/// A feature's value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Value {
    value: f64,
    /// The instant that it describes, in UTC: of events up to it.
    as_of: String,
    /// Until when it may be kept, in UTC.
    expires: String,
}

/// The features that the store declares
#[utoipa::path(
    get, path = "/v1/features", tag = "segments",
    responses((status = 200, body = Answer<Declarations>), Failures)
)]
pub(super) async fn declared(
    State(app): State<Arc<App>>,
    context: Context,
) -> Result<Answer<Declarations>, Problem> {
    let features = app.features.iter().cloned().map(Declaration::of).collect();
    Ok(context.answer(&app.world(), "features", None, Declarations { features }))
}

/// A user's values of the declared features
#[utoipa::path(
    get, path = "/v1/users/{user}/features", tag = "users",
    params(("user" = String, Path, description = "The customer's id, or `-` and the header"),
        ("chorale-user" = Option<String>, Header, description = "The customer's id, for `-`")),
    responses((status = 200, body = Answer<Values>), Failures)
)]
pub(super) async fn of_user(
    State(app): State<Arc<App>>,
    context: Context,
    At(user): At<String>,
) -> Result<Answer<Values>, Problem> {
    let who = app.user(context.user(&user)?)?;
    let world = app.world();
    let (mut features, mut withheld) = (BTreeMap::new(), Vec::new());
    let view = app.view(who, &world);
    if let Some(view) = &view {
        for feature in &app.features {
            if !app.allows(view, feature.purpose) {
                withheld.push(feature.name.clone());
                continue;
            }
            let (made_s, value) = made(&app, feature, view, &world, app.now_s());
            let Some(value) = value else { continue };
            let expires_s = made_s + i64::from(feature.ttl_hours) * 3600;
            let (as_of, expires) = (calendar::instant(made_s), calendar::instant(expires_s));
            features.insert(feature.name.clone(), Value { value, as_of, expires });
        }
    }
    let fallback = view.is_none().then_some(Fallback::UnknownUser);
    Ok(context.answer(&world, "features", fallback, Values { features, withheld }))
}

/// A feature's value for a condition of a segment, where the person's word on its purpose allows it.
pub(crate) fn value_of(
    app: &App,
    feature: &Declared,
    view: &View,
    world: &World,
    now_s: i64,
) -> Option<f64> {
    app.allows(view, feature.purpose).then(|| made(app, feature, view, world, now_s).1)?
}

fn made(
    app: &App,
    feature: &Declared,
    view: &View,
    world: &World,
    now_s: i64,
) -> (i64, Option<f64>) {
    view.value(&feature.name, now_s, i64::from(feature.refresh_hours) * 3600, || {
        // What happens in this second has happened.
        let at_s = (now_s + 1).min(world.serving.window_end_s());
        let did = Did { record: &view.record, live: &view.live };
        feature.value(did, at_s, &app.channels, |item| {
            let line = world.shelf.line(item)?;
            let labels = line.says.as_ref().map_or(&[][..], |says| &says.labels);
            Some(About { department: &line.department, category: &line.category, labels })
        })
    })
}

impl Declaration {
    fn of(feature: Declared) -> Self {
        let value_type = feature.value_type();
        let Declared { name, owner, purpose, measure, kinds, department, category, .. } = feature;
        let Declared { label, channel, hours, weekdays, utc_offset_minutes, .. } = feature;
        let Declared { searched, days, range, missing, scale, buckets, .. } = feature;
        let Declared { ttl_hours, refresh_hours, .. } = feature;
        Self {
            name,
            owner,
            purpose,
            value_type,
            measure,
            kinds,
            department,
            category,
            label,
            channel,
            hours,
            weekdays,
            utc_offset_minutes,
            searched,
            days,
            range,
            missing,
            scale,
            buckets,
            ttl_hours,
            refresh_hours,
        }
    }
}
