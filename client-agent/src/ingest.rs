//! From the store's files to the sealed store, in one go: read, clean, pseudonymise, gather, seal.

use chorale_task::{Catalogue, Model};

use crate::{
    config::Config,
    error::{Explain, Failure},
    features::{Features, PersonRecord, Records},
    observe::observe,
    profiles::Serving,
    pseudonym::Pseudonymiser,
    store::{Ingest, Store, StoreError},
};

/// Reads all events and replaces the persons and profiles in the store by them. Running it again on the same
/// files gives the same records. `now_s` is the present in Unix seconds.
///
/// # Errors
/// Whatever is wrong with files, SQL, columns, too many rows or the disk; then the store is as it
/// was.
pub async fn ingest(
    config: &Config,
    catalogue: &Catalogue,
    names: &Pseudonymiser,
    store: &Store,
    now_s: i64,
) -> Result<Ingest, Failure> {
    let mut records = Records::default();
    let mut sink = |event| records.add(event);
    let quality = observe(config, catalogue, names, now_s, &mut sink).await?;
    quality.admit(config.cleaning.quarantine_max_share)?;
    if quality.used == 0 {
        return Err(NothingUsed { rows: quality.rows }.into());
    }
    let records = records.finish();
    let window_end_s = config.held_out_from_s().unwrap_or(i64::MAX);
    let mut bought_by = vec![0u32; catalogue.len()];
    let mut last_event_s = 0;
    for record in records.values() {
        last_event_s =
            record.before(window_end_s).last().map_or(last_event_s, |e| last_event_s.max(e.time_s));
        for habit in Features::of(record, window_end_s).items {
            bought_by[habit.item as usize] += 1;
        }
    }
    let ingest = Ingest {
        time_s: now_s,
        catalogue: catalogue.digest(),
        home: config.home.clone(),
        persons: records.len() as u64,
        home_persons: records.values().filter(|record: &&PersonRecord| record.at_home).count()
            as u64,
        window_end_s,
        last_event_s,
        bought_by,
        quality,
    };
    let model = usable_model(store, catalogue)?;
    let serving = Serving::new(catalogue.clone(), &ingest, model.as_ref())?;
    store.replace_persons(&records, &serving.profiles(&records), &ingest)?;
    Ok(ingest)
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
