//! Profiles and recommendations: the person's own history, which never leaves, blended with the
//! global model, which everybody's noisy sums made.

mod person;
mod recommend;
mod taste;

use std::collections::BTreeMap;

use chorale_plan::Pseudonym;
use chorale_task::{Catalogue, Model};

pub use person::{CategoryInterest, Habit, ItemInterest, Profile, Rhythm, habit_due_s};
pub use recommend::{Reason, Recommendation, Recommendations, reasons};
pub use taste::{Source, Taste, TasteError};

use crate::{
    error::Failure,
    features::PersonRecord,
    parallel,
    store::{Ingest, Served, Store},
};

/// Everything that answers questions about persons: the ingested events, the current model and
/// the catalogue, loaded together so that they fit each other.
pub struct Serving {
    catalogue: Catalogue,
    window_end_s: i64,
    as_of_s: i64,
    taste: Taste,
}

impl Serving {
    /// Loads what serving needs. It works before any round: then without a global model.
    ///
    /// # Errors
    /// When nothing was ingested, the store cannot be read, or the model does not fit the
    /// catalogue.
    pub fn load(served: Served<'_>, catalogue: Catalogue, store: &Store) -> Result<Self, Failure> {
        let ingest = store.require_served(&catalogue.digest(), served)?;
        Ok(Self::new(catalogue, &ingest, store.model()?.as_ref())?)
    }

    /// From parts that belong together.
    ///
    /// # Errors
    /// [`TasteError`] when the model does not fit the catalogue.
    pub fn new(
        catalogue: Catalogue,
        ingest: &Ingest,
        model: Option<&Model>,
    ) -> Result<Self, TasteError> {
        let taste = Taste::new(&catalogue, &ingest.bought_by, model)?;
        let Ingest { window_end_s, last_event_s, .. } = *ingest;
        let as_of_s = if window_end_s == i64::MAX { last_event_s } else { window_end_s };
        Ok(Self { catalogue, window_end_s, as_of_s, taste })
    }

    /// For an agent that serves: `catalogue` may hold items of the store's own after those that
    /// `taste` knows a model for, and answers are given for `as_of_s` (Unix seconds).
    #[must_use]
    pub fn live(catalogue: Catalogue, taste: Taste, window_end_s: i64, as_of_s: i64) -> Self {
        Self { catalogue, window_end_s, as_of_s, taste }
    }

    /// The profiles of all `records`.
    #[must_use]
    pub fn profiles(
        &self,
        records: &BTreeMap<Pseudonym, PersonRecord>,
    ) -> BTreeMap<Pseudonym, Profile> {
        let one = |(who, record): (&Pseudonym, &PersonRecord)| (*who, Profile::of(record, self));
        parallel::map(records.iter().collect(), one).into_iter().collect()
    }

    /// The catalogue.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What knows about tastes: local popularity and the global model.
    #[must_use]
    pub fn taste(&self) -> &Taste {
        &self.taste
    }

    /// The instant that answers are given for, Unix seconds: the end of the served window, or
    /// where it is open the last event, or the present of an agent that serves.
    #[must_use]
    pub fn as_of_s(&self) -> i64 {
        self.as_of_s
    }

    /// End of the served window, Unix seconds, exclusive.
    #[must_use]
    pub fn window_end_s(&self) -> i64 {
        self.window_end_s
    }
}

/// Makes the profiles of all persons with the current model and stores them sealed; returns how
/// many. An ingest does the same; call it whenever a new model was saved.
///
/// # Errors
/// As [`Serving::load`], or when the disk is full; then the profiles before stay.
pub fn refresh(served: Served<'_>, catalogue: Catalogue, store: &Store) -> Result<usize, Failure> {
    let serving = Serving::load(served, catalogue, store)?;
    let profiles = serving.profiles(&store.persons()?);
    store.replace_profiles(&profiles)?;
    Ok(profiles.len())
}

#[cfg(test)]
mod tests;
