//! `POST /v1/batch`: several requests in one.

use std::sync::Arc;

use axum::{
    body::Body as HttpBody,
    extract::{Request, State},
    http::{Method, Uri, header},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::ServiceExt;
use utoipa::ToSchema;

use super::router;
use crate::{
    app::App,
    problem::{Failures, Problem},
    request::{Answer, Body, Context, USER_HEADER},
};

/// Several requests.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// 1 to 100 requests, carried out in order; each counts against the rate limit.
    requests: Vec<Part>,
}

/// One request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    #[schema(example = "GET")]
    method: String,
    /// A path under `/v1/`, with its query.
    #[schema(example = "/v1/popular?count=3")]
    path: String,
    /// For a path with `-` in the place of the user.
    user: Option<String>,
    /// The body.
    body: Option<Value>,
}

/// The answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Parts {
    /// In the order of the requests.
    responses: Vec<PartAnswer>,
}

/// One answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartAnswer {
    /// The HTTP status.
    status: u16,
    /// The body.
    #[schema(value_type = Object)]
    body: Value,
}

const PARTS_MAX: usize = 100;

/// Longest answer of one part in bytes.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Carry out several requests
#[utoipa::path(
    post, path = "/v1/batch", tag = "batch",
    request_body(content = Batch, example = json!({"requests": [
        {"method": "GET", "path": "/v1/popular?count=3"},
        {"method": "GET", "path": "/v1/users/-/profile", "user": "customer-42"}
    ]})),
    responses((status = 200, body = Answer<Parts>), Failures)
)]
pub(super) async fn batch(
    State(app): State<Arc<App>>,
    context: Context,
    headers: axum::http::HeaderMap,
    Body(batch): Body<Batch>,
) -> Result<Answer<Parts>, Problem> {
    if batch.requests.is_empty() || batch.requests.len() > PARTS_MAX {
        return Err(Problem::bad(format!("send 1 to {PARTS_MAX} requests")));
    }
    let service = router(Arc::clone(&app));
    let mut responses = Vec::with_capacity(batch.requests.len());
    for part in batch.requests {
        responses.push(match part.request(&headers) {
            Ok(request) => match service.clone().oneshot(request).await {
                Ok(response) => PartAnswer::of(response).await,
                Err(never) => match never {},
            },
            Err(problem) => PartAnswer {
                status: problem.status,
                body: serde_json::to_value(&problem).unwrap_or_default(),
            },
        });
    }
    Ok(context.answer(&app.world(), "batch", None, Parts { responses }))
}

impl Part {
    fn request(self, headers: &axum::http::HeaderMap) -> Result<Request, Problem> {
        let method = match self.method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => return Err(Problem::bad("'method' must be GET, POST, PUT, PATCH or DELETE")),
        };
        let uri: Uri = self.path.parse().map_err(|_| Problem::bad("'path' is no path"))?;
        let fits =
            uri.path().starts_with("/v1/") && uri.path().trim_end_matches('/') != "/v1/batch";
        if !fits || uri.authority().is_some() {
            return Err(Problem::bad("'path' must be under /v1/, and no batch"));
        }
        let body = match &self.body {
            None => HttpBody::empty(),
            Some(body) => HttpBody::from(body.to_string()),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = headers.get(header::AUTHORIZATION) {
            request = request.header(header::AUTHORIZATION, token);
        }
        if let Some(user) = &self.user {
            request = request.header(USER_HEADER, user);
        }
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(body).map_err(|_| Problem::bad("'user' cannot stand in a header"))
    }
}

impl PartAnswer {
    async fn of(response: axum::response::Response) -> Self {
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
        let body = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { status, body: body.unwrap_or_default() }
    }
}
