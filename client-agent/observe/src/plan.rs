//! What to read: everything, only what is new, or nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use chorale_people::store::{FileSeen, Reading};
use chorale_wire::Digest;
use futures::future::BoxFuture;

use super::{
    ObserveError,
    database::newest,
    engine::{Prepared, Selected, prepare},
    files::{Listing, list},
};
use crate::{Settings, Source};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything that is there, whatever was read before.
    All,
    /// What is new, or everything where that is not enough.
    New,
}

/// What is read.
pub struct Plan<'a> {
    pub(super) prepared: Prepared<'a>,
    pub(super) settings: Settings<'a>,
    /// Whether what is read adds to what is stored; otherwise it replaces it.
    pub adds: bool,
    /// Files that are not read, because they were.
    pub known: usize,
    /// Files that are read.
    pub to_read: usize,
    /// What will have been read, but for the rows.
    pub reading: Reading,
}

/// Files by source, as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(Vec<Listing>);

/// What the files and the last reading call for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing changed.
    Nothing,
    /// These files are new, and all others as they were.
    Added(BTreeSet<FileSeen>),
    /// Everything, for this reason.
    Everything(&'static str),
}

impl Sources {
    /// Lists the files of every source. `before` is what was read by the same recipe.
    ///
    /// # Errors
    /// [`ObserveError`] when one cannot be found or opened.
    pub fn list<'a>(
        settings: Settings<'a>,
        now: SystemTime,
        before: Option<&'a Reading>,
    ) -> BoxFuture<'a, Result<Self, ObserveError>> {
        Box::pin(Self::listed(settings, now, before))
    }

    async fn listed(
        settings: Settings<'_>,
        now: SystemTime,
        before: Option<&Reading>,
    ) -> Result<Self, ObserveError> {
        let mut listings = Vec::new();
        for source in settings.sources {
            listings.push(if source.format.is_database() {
                let mut files = before.iter().flat_map(|before| before.files.iter().rev());
                let last = files.find(|file| file.source == source.name);
                Listing { files: newest(source, last).await?, unsettled: 0 }
            } else {
                list(source, now)?
            });
        }
        Ok(Self(listings))
    }

    fn need(&self, settings: Settings<'_>, recipe: Digest, before: Option<&Reading>) -> Need {
        let Some(before) = before else { return Need::Everything("nothing was read yet") };
        if before.recipe != recipe {
            return Need::Everything("the configuration, the catalogue or a key changed");
        }
        let known: BTreeSet<&FileSeen> = before.files.iter().collect();
        let names: BTreeSet<_> = before.files.iter().map(key).collect();
        let mut added = BTreeSet::new();
        for file in self.files() {
            if known.contains(file) {
                continue;
            }
            if names.contains(&key(file)) {
                return Need::Everything("a file changed");
            }
            added.insert(file.clone());
        }
        let database = |file: &&FileSeen| is_database(settings, file);
        if self.gone(before).any(|file| !may_go(settings, file) && !database(&file)) {
            return Need::Everything("a file is gone");
        }
        if added.is_empty() { Need::Nothing } else { Need::Added(added) }
    }

    /// The files of each source: those that `before` names in its order, then the others in the
    /// order of their paths. Where any file is `new`, of sources with new ones only these are read.
    fn select<'a>(
        &self,
        settings: Settings<'a>,
        before: Option<&Reading>,
        new: impl Fn(&FileSeen) -> bool,
    ) -> Vec<Selected<'a>> {
        let before: Vec<&FileSeen> = before.iter().flat_map(|before| &before.files).collect();
        let order: BTreeMap<_, usize> = before.iter().copied().map(key).zip(0..).collect();
        let one = |(source, listing): (&'a Source, &Listing)| {
            let mut all = listing.files.clone();
            all.sort_by_key(|file| order.get(&key(file)).copied().unwrap_or(usize::MAX));
            let mut to_read: Vec<FileSeen> = all.iter().filter(|file| new(file)).cloned().collect();
            let grown = !to_read.is_empty();
            if !grown {
                to_read.clone_from(&all);
            }
            // A database's rows up to its newest, above the newest of the last reading.
            let last = before.iter().rfind(|file| file.source == source.name);
            let after = last.filter(|_| grown && source.format.is_database()).copied().cloned();
            Selected { source, all, to_read, grown, after, unsettled: listing.unsettled }
        };
        settings.sources.iter().zip(&self.0).map(one).collect()
    }

    /// Refuses to read everything again where that would lose what stood in files that were taken
    /// away as they may.
    fn nothing_lost(
        &self,
        settings: Settings<'_>,
        before: Option<&Reading>,
        reason: &'static str,
    ) -> Result<(), ObserveError> {
        let Some(before) = before else { return Ok(()) };
        let gone: Vec<&FileSeen> =
            self.gone(before).filter(|file| may_go(settings, file)).collect();
        let Some(first) = gone.first() else { return Ok(()) };
        let path = first.path.clone().into();
        Err(ObserveError::Gone { reason, missing: gone.len(), path })
    }

    fn files(&self) -> impl Iterator<Item = &FileSeen> {
        self.0.iter().flat_map(|listing| &listing.files)
    }

    fn gone<'a>(&self, before: &'a Reading) -> impl Iterator<Item = &'a FileSeen> {
        let there: BTreeSet<(String, String)> =
            self.files().map(|file| (file.source.clone(), file.path.clone())).collect();
        let gone =
            move |file: &&FileSeen| !there.contains(&(file.source.clone(), file.path.clone()));
        before.files.iter().filter(gone)
    }
}

/// Whether the file's source says that files may be taken away. A source that is no longer there
/// says nothing.
fn may_go(settings: Settings<'_>, file: &FileSeen) -> bool {
    settings.sources.iter().any(|source| source.name == file.source && source.drop_folder)
}

impl<'a> Plan<'a> {
    /// Decides what to read. `None` where nothing changed since `before`.
    ///
    /// # Errors
    /// [`ObserveError`] when the SQL or a file is wrong, or when everything must be read again and
    /// files of a drop folder are gone.
    pub fn new(
        settings: Settings<'a>,
        sources: &'a Sources,
        recipe: Digest,
        before: Option<&'a Reading>,
        wanted: Wanted,
    ) -> BoxFuture<'a, Result<Option<Self>, ObserveError>> {
        Box::pin(Self::made(settings, sources, recipe, before, wanted))
    }

    async fn made(
        settings: Settings<'a>,
        sources: &Sources,
        recipe: Digest,
        before: Option<&Reading>,
        wanted: Wanted,
    ) -> Result<Option<Self>, ObserveError> {
        let need = match wanted {
            Wanted::All => Need::Everything("asked for"),
            Wanted::New => sources.need(settings, recipe, before),
        };
        let reason = match need {
            Need::Nothing => return Ok(None),
            Need::Everything(reason) => reason,
            Need::Added(added) => {
                let selected = sources.select(settings, before, |file| added.contains(file));
                // A column that only older files have is no mistake: then all are read.
                if let Ok(Some(prepared)) = prepare(settings, selected, true).await {
                    let mut reading = before.cloned().unwrap_or(Reading::nothing(recipe));
                    let (known, to_read) = (reading.files.len(), added.len());
                    reading.files.extend(added);
                    return Ok(Some(Self {
                        prepared,
                        settings,
                        adds: true,
                        known,
                        to_read,
                        reading,
                    }));
                }
                "in this event_sql new files change what older ones say"
            }
        };
        if wanted == Wanted::New {
            sources.nothing_lost(settings, before, reason)?;
        }
        let selected = sources.select(settings, before, |_| false);
        let files: Vec<FileSeen> =
            selected.iter().flat_map(|one| one.to_read.iter().cloned()).collect();
        let (to_read, reading) = (files.len(), Reading { files, ..Reading::nothing(recipe) });
        let prepared = prepare(settings, selected, false).await?;
        Ok(prepared.map(|prepared| Self {
            prepared,
            settings,
            adds: false,
            known: 0,
            to_read,
            reading,
        }))
    }
}

fn is_database(settings: Settings<'_>, file: &FileSeen) -> bool {
    settings.sources.iter().any(|source| source.name == file.source && source.format.is_database())
}

/// What names a file from one reading to the next.
fn key(file: &FileSeen) -> (&str, &str) {
    (&file.source, &file.path)
}
