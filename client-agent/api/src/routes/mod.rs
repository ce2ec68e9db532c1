//! The paths, who may use them, and the door that every request goes through.

mod attribution;
mod batch;
mod events;
mod features;
mod hand_over;
mod health;
mod items;
mod person;
mod rank;
mod recommend;
mod segments;
mod similar;
mod triggers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use chorale_people::live::Purpose;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    crowd::View,
    openapi,
    problem::{Kind, Problem},
    request::{ID_HEADER, Stamp},
    tokens::{Caller, Role},
    world::World,
};

/// Longest time for a request, its body included: whoever sends slowly holds nothing for ever.
const ANSWER_MAX: Duration = Duration::from_secs(60);

type Roles = &'static [Role];

pub(crate) use features::value_of;

/// Everything under `/v1`, by who may use it, and its description.
fn described() -> (Router<Arc<App>>, OpenApi) {
    use Role::{Administrator, Application, Auditor, Collector};
    let allow = |roles: Roles| from_fn_with_state(roles, admitted);
    let collected = OpenApiRouter::new().routes(routes!(events::collect)).route_layer(allow(&[
        Collector,
        Application,
        Administrator,
    ]));
    let applied = OpenApiRouter::new()
        .routes(routes!(items::put))
        .routes(routes!(items::patch, items::delete))
        .routes(routes!(recommend::recommend))
        .routes(routes!(recommend::popular))
        .routes(routes!(similar::similar))
        .routes(routes!(rank::rank))
        .routes(routes!(person::profile))
        .routes(routes!(features::of_user))
        .routes(routes!(person::consents, person::set_consents))
        .routes(routes!(person::merge))
        .routes(routes!(person::unmerge))
        .routes(routes!(triggers::triggers))
        .routes(routes!(triggers::risk))
        .routes(routes!(batch::batch))
        .route_layer(allow(&[Application, Administrator]));
    let counted = OpenApiRouter::new()
        .routes(routes!(segments::segments))
        .routes(routes!(features::declared))
        .routes(routes!(attribution::attribution))
        .route_layer(allow(&[Application, Administrator, Auditor]));
    let administered = OpenApiRouter::new()
        .routes(routes!(segments::members))
        .routes(routes!(person::export))
        .routes(routes!(person::erase))
        .routes(routes!(hand_over::give))
        .routes(routes!(hand_over::take))
        .routes(routes!(person::pseudonyms))
        .route_layer(allow(&[Administrator]));
    OpenApiRouter::with_openapi(openapi::base())
        .merge(collected)
        .merge(applied)
        .merge(counted)
        .merge(administered)
        .split_for_parts()
}

/// The description of everything under `/v1`.
pub(crate) fn document() -> OpenApi {
    described().1
}

/// The whole service.
pub(crate) fn router(app: Arc<App>) -> Router {
    let versioned = described().0.layer(from_fn_with_state(Arc::clone(&app), door));
    versioned
        .merge(health::open())
        .fallback(|| async {
            Problem::new(Kind::NoSuchPath, "GET / shows every path with an example")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::WrongMethod, "GET / shows every path with its methods")
        })
        .layer(from_fn(named))
        .layer(CatchPanicLayer::custom(|_| {
            tracing::error!("a handler panicked");
            Problem::new(Kind::Internal, "the agent's log says why").into_response()
        }))
        .with_state(app)
}

/// The segments that a person belongs to, unless they have refused marketing.
pub(crate) fn segments_of(app: &App, view: &View, world: &World) -> Vec<String> {
    if !app.allows(view, Purpose::Marketing) {
        return Vec::new();
    }
    let now_s = world.serving.as_of_s();
    segments::all(app)
        .into_iter()
        .filter(|segment| segment.holds(app, view, world, now_s))
        .map(|segment| segment.id)
        .collect()
}

/// Lets only these roles through.
async fn admitted(State(roles): State<Roles>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if roles.contains(&caller.role) => next.run(request).await,
        Some(_) => {
            let names: Vec<String> = roles.iter().map(|role| format!("{role:?}")).collect();
            let names = names.join(", ").to_ascii_lowercase();
            Problem::new(Kind::Forbidden, format!("this needs a token of one of: {names}"))
                .into_response()
        }
        None => Problem::new(Kind::Unauthorised, "give a token").into_response(),
    }
}

/// Who calls, whether they call too often, and how long it took. The log names the path's
/// pattern, never the path: ids may stand in that.
async fn door(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let stamp = match request.extensions().get::<Stamp>() {
        Some(stamp) => stamp.clone(),
        None => return Problem::new(Kind::Internal, "the request has no id").into_response(),
    };
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let admitted = caller(&app, &request);
    let number = admitted.as_ref().ok().map(|caller| caller.number);
    let response = match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    tracing::info!(
        request = stamp.0,
        %method,
        path = path.as_deref().unwrap_or("-"),
        token = number,
        status = response.status().as_u16(),
        elapsed_us = began.elapsed().as_micros() as u64,
        "answered"
    );
    response
}

fn caller(app: &App, request: &Request) -> Result<Caller, Problem> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| {
        let (scheme, token) = given.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let token = token.ok_or_else(|| {
        Problem::new(
            Kind::Unauthorised,
            "send 'Authorization: Bearer TOKEN'; `client-agent tokens add` makes one",
        )
    })?;
    let now = app.started.elapsed();
    let caller = app
        .callers
        .caller(token, now)
        .ok_or_else(|| Problem::new(Kind::Unauthorised, "this token is not known here"))?;
    app.limiter.take(caller.number, now).map_err(|seconds| {
        Problem::new(Kind::RateLimited, "slow down, or ask the store to raise serve.burst")
            .after(seconds)
    })?;
    Ok(caller)
}

/// Gives every request an id, and every problem the id of its request.
async fn named(mut request: Request, next: Next) -> Response {
    let mut random = [0u8; 12];
    if getrandom::fill(&mut random).is_err() {
        return Problem::new(Kind::Internal, "the operating system gives no randomness")
            .into_response();
    }
    let stamp = hex::encode(random);
    request.extensions_mut().insert(Stamp(stamp.clone()));
    let mut response = match tokio::time::timeout(ANSWER_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Kind::Busy, "the request was not done in time").into_response(),
    };
    if response.status().as_u16() >= StatusCode::BAD_REQUEST.as_u16()
        && let Some(problem) = response.extensions_mut().remove::<Problem>()
    {
        response = Problem { request_id: stamp.clone(), ..problem }.into_response();
    }
    if let Ok(value) = HeaderValue::from_str(&stamp) {
        response.headers_mut().entry(ID_HEADER).or_insert(value);
    }
    response
}
