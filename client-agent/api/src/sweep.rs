//! Taking out what is no longer kept, once a day.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chorale_people::{
    retention::{Cut, Retention},
    store::Store,
};
use chorale_task::Catalogue;

use crate::{clock::Clock, keeper::chain};

const EVERY: Duration = Duration::from_secs(86_400);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(600);

/// When the store is swept, and of what.
pub(crate) struct Sweep {
    retention: Retention,
    clock: Clock,
    next: Mutex<Instant>,
}

impl Sweep {
    pub(crate) fn new(retention: Retention, clock: Clock) -> Self {
        Self { retention, clock, next: Mutex::new(Instant::now()) }
    }

    /// What is still kept. A clock that was set ahead takes nothing away.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.retention.at(self.now_s())
    }

    fn now_s(&self) -> i64 {
        self.clock.now_s().min(Clock::System.now_s())
    }

    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out of the store what is no longer kept. Serving goes on where that fails, since it
    /// would not be better otherwise; it is tried again soon.
    pub(crate) fn run(&self, store: &Store, catalogue: &Catalogue) {
        if let Err(error) = store.drop_old_letters(self.now_s()) {
            tracing::error!(
                error = chain(&error),
                "summaries past their period cannot be taken out"
            );
            return self.after(AGAIN);
        }
        let Some(cut) = self.cut() else { return self.after(EVERY) };
        match store.expire(&cut, catalogue) {
            Ok(expired) => {
                if !expired.is_nothing() {
                    tracing::info!(?expired, "events past their period were taken out");
                }
                self.after(EVERY);
            }
            Err(error) => {
                tracing::error!(
                    error = chain(error.explained()),
                    "events past their period cannot be taken out"
                );
                self.after(AGAIN);
            }
        }
    }

    fn after(&self, wait: Duration) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + wait;
    }
}
