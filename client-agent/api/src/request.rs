//! What every request carries and every answer begins with.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderName, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use crate::{
    app::App,
    problem::{Kind, Problem},
    tokens::Caller,
    world::World,
};

/// The random part of a request's id, made when the request arrives.
#[derive(Clone)]
pub(crate) struct Stamp(pub(crate) String);

/// The header that names a user where a path should not: `/v1/users/-/profile`.
pub(crate) const USER_HEADER: HeaderName = HeaderName::from_static("chorale-user");

/// The header with a request's id.
pub(crate) const ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Largest body in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 2 << 20;

/// What an answer is about.
pub(crate) struct Context {
    pub(crate) stamp: Stamp,
    pub(crate) caller: Caller,
    user: Option<String>,
}

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body with its bytes, and the caller's idempotency key.
pub(crate) struct Keyed<T> {
    pub(crate) body: T,
    pub(crate) bytes: Bytes,
    pub(crate) key: Option<String>,
}

/// A path's parameters.
pub(crate) struct At<T>(pub(crate) T);

/// The parameters after the question mark.
pub(crate) struct Asked<T>(pub(crate) T);

/// What every answer begins with.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Answer<T> {
    /// Names this answer; give it back in later events as `request_id`. It holds the scenario or
    /// the kind of answer, the first digits of the model's digest and a random number.
    pub(crate) request_id: String,
    /// SHA-256 of the federation's model that took part, or `none`.
    pub(crate) model_version: String,
    /// Why the answer is a general one and not made for the person, if so.
    pub(crate) fallback: Option<Fallback>,
    /// The answer itself.
    #[serde(flatten)]
    pub(crate) body: T,
}

/// Why an answer is a general one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fallback {
    /// Nothing is known about this user or session.
    UnknownUser,
    /// The user has not agreed to personalisation.
    NoConsent,
    /// The user has bought nothing; what they looked at counts instead.
    NoPurchases,
    /// Nothing is known about what goes with this item; popular ones of its category instead.
    NoNeighbours,
}

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let stamp = parts.extensions.get::<Stamp>().cloned();
        let caller = parts.extensions.get::<Caller>().cloned();
        let user = match parts.headers.get(USER_HEADER) {
            None => None,
            Some(value) => Some(
                std::str::from_utf8(value.as_bytes())
                    .map_err(|_| Problem::bad("the header chorale-user must be UTF-8"))?
                    .to_owned(),
            ),
        };
        match (stamp, caller) {
            (Some(stamp), Some(caller)) => Ok(Self { stamp, caller, user }),
            // Every handler stands behind the door that sets both; fail closed.
            _ => Err(Problem::new(Kind::Unauthorised, "give a token")),
        }
    }
}

impl Context {
    /// A new answer under `kind`, the scenario or the kind of answer.
    pub(crate) fn answer<T>(
        &self,
        world: &World,
        kind: &str,
        fallback: Option<Fallback>,
        body: T,
    ) -> Answer<T> {
        Answer {
            request_id: self.request_id(world, kind),
            model_version: world.model_version.clone(),
            fallback,
            body,
        }
    }

    pub(crate) fn request_id(&self, world: &World, kind: &str) -> String {
        let model: String = world.model_version.chars().take(8).collect();
        format!("{kind}.{model}.{}", self.stamp.0)
    }

    /// The user that a path names: `-` means the one in the header.
    pub(crate) fn user<'a>(&'a self, path: &'a str) -> Result<&'a str, Problem> {
        if path != "-" {
            return Ok(path);
        }
        self.user.as_deref().ok_or_else(|| {
            Problem::bad("a path with '-' for the user needs the header chorale-user")
        })
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        json(&self.request_id, body.into())
    }
}

/// A response of JSON bytes.
pub(crate) fn json(request_id: &str, body: Bytes) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(ID_HEADER, value);
    }
    response
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Problem> {
        let bytes = bytes(request).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Keyed<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Problem> {
        let key = match request.headers().get("idempotency-key") {
            None => None,
            Some(value) => {
                let text = value.to_str().ok().filter(|text| (1..=255).contains(&text.len()));
                let text = text.ok_or_else(|| {
                    Problem::bad("an Idempotency-Key has 1 to 255 visible ASCII characters")
                })?;
                Some(text.to_owned())
            }
        };
        let bytes = bytes(request).await?;
        Ok(Self { body: parse(&bytes)?, bytes, key })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // What is wrong may be the user's id: it is not repeated.
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|_| Problem::bad("the path is not valid UTF-8"))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| Problem::bad(error.body_text()))
    }
}

async fn bytes(request: Request) -> Result<Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    });
    if !is_json {
        return Err(Problem::new(Kind::MediaType, "send content-type: application/json"));
    }
    axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|_| {
        Problem::new(Kind::TooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes"))
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::bad(format!("the body: {error}")))
}
