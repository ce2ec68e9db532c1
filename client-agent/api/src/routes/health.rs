//! What needs no token: whether the agent is there, what it offers, and the key of its receipts.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{app::App, openapi};

pub(super) fn open() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(|| async { text("application/json", r#"{"status":"up"}"#.into()) }))
        .route("/readyz", get(ready))
        .route("/v1/openapi.json", get(document))
}

/// Whether there is something to answer from.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let world = app.world();
    let body = json!({
        "status": "ready",
        "items": world.shelf.len(),
        "model_version": world.model_version,
    });
    text("application/json", body.to_string())
}

async fn document() -> Response {
    text("application/json", openapi::json().to_owned())
}

async fn page() -> Response {
    let mut response = Html(openapi::PAGE).into_response();
    // The page holds everything it needs and talks to this agent only.
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                  connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn text(kind: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}
