//! `GET /v1/features` and `GET /v1/users/{user}/features`: what the store declares, and a person's
//! values.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use chorale_people::{
    calendar,
    event::Kind as EventKind,
    features::{Declared, Measure, Type},
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
    /// `count`, `number`, `days` or `share`.
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
    /// Only so many days back.
    days: Option<u32>,
    /// Least and greatest value.
    range: [f64; 2],
    /// The value where nothing can be said.
    missing: Option<f64>,
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
            let (made_s, value) = made(feature, view, &world, app.now_s());
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
    app.allows(view, feature.purpose).then(|| made(feature, view, world, now_s).1)?
}

fn made(feature: &Declared, view: &View, world: &World, now_s: i64) -> (i64, Option<f64>) {
    view.value(&feature.name, now_s, i64::from(feature.refresh_hours) * 3600, || {
        // What happens in this second has happened.
        let at_s = (now_s + 1).min(world.serving.window_end_s());
        feature.value(&view.record, at_s, |item| {
            world.shelf.line(item).map(|line| (&*line.department, &*line.category))
        })
    })
}

impl Declaration {
    fn of(feature: Declared) -> Self {
        let value_type = feature.measure.value_type();
        let Declared { name, owner, purpose, measure, kinds, department, category, .. } = feature;
        let Declared { days, range, missing, ttl_hours, refresh_hours, .. } = feature;
        Self {
            name,
            owner,
            purpose,
            value_type,
            measure,
            kinds,
            department,
            category,
            days,
            range,
            missing,
            ttl_hours,
            refresh_hours,
        }
    }
}
