//! Answers kept for a while under the caller's `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header): the same request again gets the same answer and
//! changes nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use axum::body::Bytes;
use sha2::{Digest as _, Sha256};

use crate::problem::{Kind, Problem};

/// Answers by key.
#[derive(Default)]
pub(crate) struct Answered(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: HashMap<[u8; 32], Entry>,
    order: VecDeque<[u8; 32]>,
}

struct Entry {
    request: [u8; 32],
    /// `None` while the first request is under way.
    answer: Option<Bytes>,
}

/// What is to be done with a request.
pub(crate) enum Judged<'a> {
    /// It is the first: carry it out, then call [`Pending::keep`].
    First(Pending<'a>),
    /// It was answered so.
    Again(Bytes),
}

/// A first request under way. Dropped without an answer, because it failed or its caller went
/// away, it may come again.
pub(crate) struct Pending<'a> {
    answered: &'a Answered,
    place: [u8; 32],
    is_kept: bool,
}

/// Answers kept; the oldest goes first.
const KEPT_MAX: usize = 10_000;

impl Answered {
    /// Looks a key up. The key belongs to its caller and path; `body` must be the same each time.
    pub(crate) fn judge(
        &self,
        caller: u32,
        path: &str,
        key: &str,
        body: &[u8],
    ) -> Result<Judged<'_>, Problem> {
        let mut hash = Sha256::new();
        hash.update(caller.to_be_bytes());
        hash.update((path.len() as u64).to_be_bytes());
        hash.update(path.as_bytes());
        hash.update(key.as_bytes());
        let place: [u8; 32] = hash.finalize().into();
        let request: [u8; 32] = Sha256::digest(body).into();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.entries.get(&place) {
            Some(entry) if entry.request != request => Err(Problem::new(
                Kind::KeyReused,
                "this Idempotency-Key came with another body before: use a new one",
            )),
            Some(Entry { answer: None, .. }) => {
                Err(Problem::new(Kind::Conflict, "wait for its answer").after(1))
            }
            Some(Entry { answer: Some(body), .. }) => Ok(Judged::Again(body.clone())),
            None => {
                if kept.order.len() >= KEPT_MAX
                    && let Some(oldest) = kept.order.pop_front()
                {
                    kept.entries.remove(&oldest);
                }
                kept.entries.insert(place, Entry { request, answer: None });
                kept.order.push_back(place);
                Ok(Judged::First(Pending { answered: self, place, is_kept: false }))
            }
        }
    }
}

impl Pending<'_> {
    /// Keeps the answer.
    pub(crate) fn keep(mut self, body: Bytes) {
        let mut kept = self.answered.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = kept.entries.get_mut(&self.place) {
            entry.answer = Some(body);
        }
        drop(kept);
        self.is_kept = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            let mut kept = self.answered.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entries.remove(&self.place);
            kept.order.retain(|other| *other != self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn first<'a>(answered: &'a Answered, caller: u32, path: &str) -> Pending<'a> {
        match answered.judge(caller, path, "k", b"one") {
            Ok(Judged::First(pending)) => pending,
            _ => panic!("a first request"),
        }
    }

    #[test]
    fn the_same_again_is_answered_and_another_body_refused() {
        let answered = Answered::default();
        let pending = first(&answered, 0, "/v1/events");
        assert!(answered.judge(0, "/v1/events", "k", b"one").is_err(), "under way");
        pending.keep(Bytes::from_static(b"done"));
        let again = answered.judge(0, "/v1/events", "k", b"one").unwrap();
        assert!(matches!(again, Judged::Again(body) if body == "done"));
        assert!(answered.judge(0, "/v1/events", "k", b"two").is_err());
        drop(first(&answered, 1, "/v1/events"));
        drop(first(&answered, 0, "/v1/items"));
        drop(first(&answered, 1, "/v1/events"));
    }
}
