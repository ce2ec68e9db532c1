//! What answers are made from, apart from the persons: the shelf, the global model, popularity.
//! A world never changes; a new one takes its place.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use axum::body::Bytes;
use chorale_people::profiles::{Serving, Taste};

use crate::{bought::Bought, shelf::Shelf};

/// One state of everything but the persons.
pub(crate) struct World {
    /// Rises with every new world that shows in profiles.
    pub(crate) number: u64,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) serving: Serving,
    /// Persons who bought each item.
    pub(crate) bought_by: Vec<u32>,
    /// Offered items, best-selling first.
    pub(crate) popular: Vec<u32>,
    /// SHA-256 of the global model as hexadecimal digits, or `none`.
    pub(crate) model_version: String,
    /// The profile of somebody who is unknown, as it is sent.
    pub(crate) stranger: OnceLock<Bytes>,
}

/// The world in force.
pub(crate) struct Worlds(RwLock<Arc<World>>);

/// The global model over the federation's items, and the model's digest.
#[derive(Clone)]
pub(crate) struct Global {
    pub(crate) taste: Taste,
}

impl World {
    /// The world of this `number`, for `as_of_s`. `None` only where the shelf is empty.
    pub(crate) fn new(
        number: u64,
        shelf: Arc<Shelf>,
        global: &Global,
        bought: &Bought,
        window_end_s: i64,
        as_of_s: i64,
    ) -> Option<Self> {
        let bought_by = bought.counts(shelf.len());
        let taste = global.taste.with_popularity(&bought_by);
        let model_version = taste.model().map_or_else(|| "none".to_owned(), ToString::to_string);
        let mut popular: Vec<u32> = (0..shelf.len() as u32)
            .filter(|item| shelf.line(*item).is_some_and(crate::shelf::Line::is_offered))
            .collect();
        popular.sort_by_key(|item| std::cmp::Reverse(bought_by[*item as usize]));
        let serving = Serving::live(shelf.catalogue()?, taste, window_end_s, as_of_s);
        let stranger = OnceLock::new();
        Some(Self { number, shelf, serving, bought_by, popular, model_version, stranger })
    }
}

impl Worlds {
    pub(crate) fn new(world: World) -> Self {
        Self(RwLock::new(Arc::new(world)))
    }

    pub(crate) fn now(&self) -> Arc<World> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, world: World) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
    }
}
