//! From the store's files to the sealed store, in one go: read, clean, pseudonymise, gather, seal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chorale_people::{gather::Gather, retention::Expired, store::TakeIn};
use chorale_task::{Catalogue, Model};
use chorale_wire::Digest;
use futures::future::BoxFuture;

use crate::{
    config::Config,
    error::{Explain, Failure},
    observe::{Plan, Quality, Read, Sources, Wanted, observe},
    profiles::Serving,
    pseudonym::Pseudonymiser,
    store::{Ingest, Store, StoreError},
};

/// What a row becomes depends on this program too: raise it when cleaning changes.
const READER: &[u8] = b"1";

/// The share of the memory for events before they are sealed, and for records until their profiles
/// are made.
const EVENTS_SHARE: f64 = 0.3;

/// What became of an ingest.
pub enum Ingested {
    /// No file is new or changed.
    NothingNew {
        /// What the store holds.
        ingest: Ingest,
        /// What was taken out because its period has ended.
        expired: Expired,
    },
    /// Events came.
    Taken {
        /// What the store holds now, and what was read.
        ingest: Ingest,
        /// Whether they were added to those that were there.
        added: bool,
        /// Files that were not read again.
        known: usize,
        /// Files that were read.
        files: usize,
        /// Sealed pieces that waited on the disk, because memory did not hold them.
        runs: usize,
        /// What was left out or taken out because its period has ended.
        expired: Expired,
    },
}

impl Ingested {
    /// What the store holds.
    #[must_use]
    pub fn ingest(&self) -> &Ingest {
        match self {
            Self::NothingNew { ingest, .. } | Self::Taken { ingest, .. } => ingest,
        }
    }

    /// What was left out or taken out because its period has ended.
    #[must_use]
    pub fn expired(&self) -> &Expired {
        match self {
            Self::NothingNew { expired, .. } | Self::Taken { expired, .. } => expired,
        }
    }
}

/// Reads the events that are `wanted` and brings persons and profiles in the store up to date; all
/// or nothing. Reading only what is new leaves the store as reading everything would, in the order
/// in which files came. `now_s` is the present in Unix seconds.
///
/// # Errors
/// Whatever is wrong with files, SQL, columns, too many rows or the disk; then the store is as it
/// was.
// Boxed, so that the SQL engine's code under it is made in this crate and not in every program.
pub fn ingest<'a>(
    config: &'a Config,
    catalogue: &'a Catalogue,
    names: &'a Pseudonymiser,
    store: &'a Store,
    now_s: i64,
    wanted: Wanted,
) -> BoxFuture<'a, Result<Ingested, Failure>> {
    Box::pin(take_in(config, catalogue, names, store, now_s, wanted))
}

async fn take_in(
    config: &Config,
    catalogue: &Catalogue,
    names: &Pseudonymiser,
    store: &Store,
    now_s: i64,
    wanted: Wanted,
) -> Result<Ingested, Failure> {
    let window_end_s = config.held_out_from_s().unwrap_or(i64::MAX);
    let before = store.reading()?;
    let recipe = recipe(config, catalogue, names);
    let same = before.as_ref().filter(|before| before.recipe == recipe);
    let sources = Sources::list(config.reading(), time(now_s), same).await?;
    let plan = Plan::new(config.reading(), &sources, recipe, before.as_ref(), wanted).await?;
    let bytes_max = config.memory_bytes(EVENTS_SHARE);
    let mut gather = Gather::new(&config.data_dir, bytes_max, config.cleaning.repeated_id);
    let (mut read, mut reading, added, known, files) = match (plan, store.ingest()?, before.clone())
    {
        (Some(plan), ..) => {
            let (added, known, files) = (plan.adds, plan.known, plan.to_read);
            let reading = plan.reading.clone();
            let mut sink = |said, at| Ok(gather.add(said, at)?);
            let read = observe(plan, catalogue, names, now_s, &mut sink).await?;
            (read, reading, added, known, files)
        }
        (None, Some(last), Some(mut before)) => {
            if last.window_end_s == window_end_s {
                let expired = expire(config, catalogue, store, now_s)?;
                let ingest = store.ingest()?.unwrap_or(last);
                return Ok(Ingested::NothingNew { ingest, expired });
            }
            // The same events for another window: other figures and profiles.
            before.used = before.used.saturating_sub(last.quality.used);
            let known = before.files.len();
            (Read::again(last.quality), before, true, known, 0)
        }
        (None, ..) => return Err(StoreError::Empty { path: store.path() }.into()),
    };
    let gathered = gather.finish();
    let runs = gathered.runs();
    let how = TakeIn {
        before: before.as_ref(),
        add: added,
        items: catalogue.len(),
        window_end_s,
        bytes_max,
        cut: config.retention_days.at(now_s),
    };
    let mut expired = Expired::default();
    let model = usable_model(store, catalogue)?;
    let ingest = store.take_in(gathered, how, |summary| {
        expired = summary.expired;
        read.repeated(summary.repeated, &summary.first_repeated, summary.corrected);
        let quality = read.quality;
        quality.admit(config.cleaning.quarantine_max_share)?;
        reading.used += quality.used;
        if reading.used == 0 {
            return Err(NothingUsed { rows: quality.rows }.into());
        }
        let ingest = Ingest {
            time_s: now_s,
            catalogue: catalogue.digest(),
            home: config.home.clone(),
            persons: summary.persons,
            home_persons: summary.home_persons,
            window_end_s,
            last_event_s: summary.last_event_s,
            bought_by: summary.bought_by,
            quality,
        };
        let serving = Serving::new(catalogue.clone(), &ingest, model.as_ref())?;
        Ok((ingest, Some(reading), serving))
    })?;
    Ok(Ingested::Taken { ingest, added, known, files, runs, expired })
}

/// Takes out of the store what the configured periods no longer keep at `now_s` (Unix seconds).
///
/// # Errors
/// As [`Store::expire`].
pub fn expire(
    config: &Config,
    catalogue: &Catalogue,
    store: &Store,
    now_s: i64,
) -> Result<Expired, Failure> {
    match config.retention_days.at(now_s) {
        Some(cut) => store.expire(&cut, catalogue),
        None => Ok(Expired::default()),
    }
}

/// Reads everything and keeps nothing; says what an ingest of it all would set aside.
///
/// # Errors
/// As [`ingest`], but for the store and for too many faulty rows.
pub async fn check(
    config: &Config,
    catalogue: &Catalogue,
    names: &Pseudonymiser,
    now_s: i64,
    mut each: impl FnMut() + Send,
) -> Result<Quality, Failure> {
    let sources = Sources::list(config.reading(), time(now_s), None).await?;
    let recipe = recipe(config, catalogue, names);
    let plan = Plan::new(config.reading(), &sources, recipe, None, Wanted::All).await?;
    let Some(plan) = plan else { return Ok(Quality::default()) };
    let place = std::env::temp_dir();
    let bytes_max = config.memory_bytes(EVENTS_SHARE);
    let mut gather = Gather::new(&place, bytes_max, config.cleaning.repeated_id);
    let mut sink = |said, at| {
        each();
        Ok(gather.add(said, at)?)
    };
    let mut read = observe(plan, catalogue, names, now_s, &mut sink).await?;
    let summary = gather.finish().summary(catalogue.len(), i64::MAX)?;
    read.repeated(summary.repeated, &summary.first_repeated, summary.corrected);
    Ok(read.quality)
}

/// Digest of everything but the files that decides what becomes of a row.
fn recipe(config: &Config, catalogue: &Catalogue, names: &Pseudonymiser) -> Digest {
    // Debug shows every field of these; a new one changes the digest, and all is read again.
    let sources = format!("{:?}", config.sources);
    let cleaning = format!("{:?}", config.cleaning);
    Digest::of(
        "chorale/1 reading recipe",
        &[
            READER,
            config.event_sql.as_bytes(),
            sources.as_bytes(),
            cleaning.as_bytes(),
            config.home.as_bytes(),
            catalogue.digest().as_bytes(),
            // Says which key it is without telling anything about it. Only the first: a rotation
            // renames what is there, and the store itself refuses names under another chain.
            &names.root(),
        ],
    )
}

fn time(now_s: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(now_s).unwrap_or_default())
}

/// The stored model, unless it belongs to a catalogue that is no longer in force.
fn usable_model(store: &Store, catalogue: &Catalogue) -> Result<Option<Model>, StoreError> {
    let model = store.model()?;
    Ok(model.filter(|model| *model.catalogue() == catalogue.digest()))
}

/// Files were read, and no row of them could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("none of the {rows} rows can be used")]
pub struct NothingUsed {
    /// Rows read.
    pub rows: u64,
}

impl Explain for NothingUsed {
    fn place(&self) -> String {
        "the rows that event_sql yields".into()
    }

    fn remedy(&self) -> String {
        "see `client-agent data check`: most often 'item' does not match the catalogue's item_id"
            .into()
    }
}
