//! The agent's HTTP API: events in; profiles, recommendations, segments and triggers out.
//!
//! Everything is answered from memory. One thread makes every change, on the disk first (see
//! `keeper`). Raw customers' ids end in the handlers: they become pseudonyms there, are in no
//! message of the log and on no disk.
//!
//! Reading order: `routes`, `request`, `app`, `keeper`, `crowd`, `world`, `choose`, `rules`.

mod app;
mod bought;
mod callers;
mod choose;
mod clock;
mod crowd;
mod cursor;
mod filter;
mod idempotency;
mod keeper;
mod limit;
mod openapi;
mod problem;
mod profile;
mod receipt;
mod request;
#[allow(unused_qualifications, reason = "the macro of the OpenAPI document writes them")]
mod routes;
mod rules;
mod settings;
mod shelf;
mod sweep;
pub mod tokens;
mod world;

use std::{net::SocketAddr, sync::Arc};

use axum::Router;

pub use app::{Elsewhere, Parts, StartError};
pub use clock::Clock;
pub use keeper::LoadError;
pub use receipt::Receipt;
pub use rules::segments::{Condition, Fact, Segment};
pub use settings::Settings;

/// The service, loaded and ready to answer.
///
/// # Errors
/// [`StartError`] when the store, the tokens or the receipts' key cannot be used.
pub fn service(parts: Parts) -> Result<Router, StartError> {
    Ok(routes::router(Arc::new(app::App::start(parts)?)))
}

/// The OpenAPI document as JSON.
#[must_use]
pub fn document() -> &'static str {
    openapi::json()
}

/// Answers on `listen` until `shutdown` resolves; `listening` is told the address.
///
/// # Errors
/// [`StartError`] when the service cannot start or the address cannot be listened on.
pub async fn serve(
    parts: Parts,
    listen: SocketAddr,
    listening: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let failed = |source| StartError::Listen { address: listen.to_string(), source };
    let service = service(parts)?;
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(failed)?;
    listening(listener.local_addr().map_err(failed)?);
    axum::serve(listener, service).with_graceful_shutdown(shutdown).await.map_err(failed)
}
