//! Errors as callers see them: `application/problem+json` (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// An error, after RFC 9457.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:chorale:problem:` and the kind's name; the same for the same kind of trouble.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what to do about it.
    pub detail: String,
    /// Which request; it stands in the agent's log.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Seconds to wait before the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// The kinds of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    BadRequest,
    Unauthorised,
    Forbidden,
    NoConsent,
    UnknownUser,
    UnknownItem,
    UnknownSegment,
    Unlinked,
    Stale,
    NoSuchPath,
    WrongMethod,
    Conflict,
    TooLarge,
    MediaType,
    KeyReused,
    RateLimited,
    Internal,
    Busy,
}

impl Kind {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest => (S::BAD_REQUEST, "bad-request", "The request cannot be read"),
            Self::Unauthorised => (S::UNAUTHORIZED, "unauthorised", "A token is needed"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "This token may not do that"),
            Self::NoConsent => (S::FORBIDDEN, "no-consent", "The user has not agreed to this"),
            Self::UnknownUser => (S::NOT_FOUND, "unknown-user", "This user is unknown here"),
            Self::UnknownItem => (S::NOT_FOUND, "unknown-item", "This item is unknown here"),
            Self::UnknownSegment => (S::NOT_FOUND, "unknown-segment", "There is no such segment"),
            Self::Unlinked => (S::FORBIDDEN, "unlinked", "There is no link to that agent"),
            Self::Stale => (S::CONFLICT, "stale", "Something newer is there"),
            Self::NoSuchPath => (S::NOT_FOUND, "no-such-path", "There is no such path"),
            Self::WrongMethod => {
                (S::METHOD_NOT_ALLOWED, "wrong-method", "This path takes another method")
            }
            Self::Conflict => (S::CONFLICT, "conflict", "The same request is under way"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::MediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body must be application/json")
            }
            Self::KeyReused => {
                (S::UNPROCESSABLE_ENTITY, "key-reused", "The key belongs to another request")
            }
            Self::RateLimited => (S::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "The agent failed"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "The agent is busy"),
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (status, name, title) = kind.parts();
        Self {
            kind: format!("urn:chorale:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            request_id: String::new(),
            retry_after_s: None,
        }
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, detail)
    }

    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The response carries the problem too, so that the outermost layer can name the request in it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let json = HeaderValue::from_static("application/problem+json");
        let mut response = (self.code(), [(header::CONTENT_TYPE, json)], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code() == StatusCode::UNAUTHORIZED {
            let realm = HeaderValue::from_static("Bearer realm=\"chorale\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// What every path may answer instead.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "read by the generator of the OpenAPI document only")]
pub(crate) enum Failures {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] Problem),
    /// A token is needed.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorised(#[to_schema] Problem),
    /// This token may not do that, or the user has not agreed to it.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// Unknown here.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// The same request is under way.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
    /// The body must be JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(#[to_schema] Problem),
    /// The idempotency key belongs to another request.
    #[response(status = 422, content_type = "application/problem+json")]
    KeyReused(#[to_schema] Problem),
    /// Too many requests.
    #[response(status = 429, content_type = "application/problem+json")]
    RateLimited(#[to_schema] Problem),
    /// The agent is busy.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(#[to_schema] Problem),
}
