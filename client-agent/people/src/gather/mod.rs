//! Gathering the events of one reading by person, in bounded memory.
//!
//! Events come in the order of the files and leave by ascending pseudonym. What does not fit into
//! memory waits in sealed runs: sorted pieces in a file without a name, under a key that exists in
//! this process only. After a crash nobody can read them, and the file system takes them back.

mod person;
mod spill;
mod summary;

use std::{collections::HashMap, path::Path};

use chorale_plan::Pseudonym;

pub use person::{Assembled, At, Origin};
pub(crate) use person::{Held, assemble};
pub use spill::SpillError;
pub use summary::Summary;

use crate::{
    event::{RepeatedId, Said},
    parallel,
};
use spill::Spill;

/// Gathers events until all are read.
pub struct Gather<'a> {
    dir: &'a Path,
    bytes_max: usize,
    rule: RepeatedId,
    held: HashMap<Pseudonym, Vec<Held>>,
    bytes: usize,
    spill: Option<Spill>,
}

/// All events of one reading.
pub struct Gathered {
    rule: RepeatedId,
    held: Vec<(Pseudonym, Vec<Held>)>,
    spill: Option<Spill>,
}

/// Persons of an earlier reading, by ascending pseudonym: what an incremental one adds to.
pub(crate) trait Earlier<E> {
    /// The next person's pseudonym, if there is one.
    fn next(&self) -> Option<Pseudonym>;
    /// Appends the next person's events and goes on to the one after.
    fn take(&mut self, into: &mut Vec<Held>) -> Result<(), E>;
}

/// Nobody was read before.
pub(crate) struct Nobody;

/// Bytes of one more event and of one more person, with half as much for what vectors keep free.
const EVENT_BYTES: usize = size_of::<Held>() * 3 / 2;
const PERSON_BYTES: usize = 128;
/// Events that are put together at a time.
const CHUNK_EVENTS: usize = 1 << 17;

impl<'a> Gather<'a> {
    /// Holds at most about `bytes_max` bytes in memory; the rest is sealed in a file in `dir`,
    /// which must exist.
    #[must_use]
    pub fn new(dir: &'a Path, bytes_max: usize, rule: RepeatedId) -> Self {
        Self { dir, bytes_max, rule, held: HashMap::new(), bytes: 0, spill: None }
    }

    /// Takes what the row at `at` says.
    ///
    /// # Errors
    /// [`SpillError`] when the disk is full.
    pub fn add(&mut self, said: Said, at: At) -> Result<(), SpillError> {
        let (person, held) = Held::of(said, at);
        let held_before = self.held.entry(person).or_insert_with(|| {
            self.bytes += PERSON_BYTES;
            Vec::new()
        });
        held_before.push(held);
        self.bytes += EVENT_BYTES;
        if self.bytes > self.bytes_max { self.put_down() } else { Ok(()) }
    }

    /// No more events come.
    #[must_use]
    pub fn finish(mut self) -> Gathered {
        Gathered { rule: self.rule, held: sorted(&mut self.held), spill: self.spill }
    }

    fn put_down(&mut self) -> Result<(), SpillError> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Spill::new(self.dir)?),
        };
        spill.run(&sorted(&mut self.held))?;
        self.bytes = 0;
        Ok(())
    }
}

impl Gathered {
    /// Nothing new.
    pub(crate) fn nothing() -> Self {
        Self { rule: RepeatedId::SetAside, held: Vec::new(), spill: None }
    }

    /// Sealed runs on the disk; 0 where everything fitted into memory.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.spill.as_ref().map_or(0, Spill::runs)
    }

    /// Whether nothing was gathered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.runs() == 0
    }

    /// What came together, of a catalogue of `items`, with events before `window_end_s` (Unix
    /// seconds); nothing is kept.
    ///
    /// # Errors
    /// [`SpillError`].
    pub fn summary(self, items: usize, window_end_s: i64) -> Result<Summary, SpillError> {
        let mut summary = Summary::new(items);
        self.persons::<SpillError>(Nobody, |chunk| {
            chunk.iter().for_each(|(_, person)| summary.add(person, window_end_s));
            Ok(())
        })?;
        Ok(summary.finish())
    }

    /// Gives every person to `visit`, by ascending pseudonym and many at a time: those of `earlier`
    /// with what is new about them, and the new ones.
    ///
    /// # Errors
    /// Those of `visit` and `earlier`, and [`SpillError`].
    pub(crate) fn persons<E: From<SpillError>>(
        self,
        mut earlier: impl Earlier<E>,
        mut visit: impl FnMut(Vec<(Pseudonym, Assembled)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut runs = match &self.spill {
            Some(spill) => spill.readers()?,
            None => Vec::new(),
        };
        let mut held = self.held.into_iter().peekable();
        let mut flush = |chunk: &mut Vec<(Pseudonym, Vec<Held>)>| {
            let persons = parallel::map(std::mem::take(chunk), |(who, held)| {
                (who, assemble(held, self.rule))
            });
            visit(persons)
        };
        let (mut chunk, mut events) = (Vec::new(), 0);
        loop {
            let heads = runs.iter().filter_map(spill::Reader::next);
            let heads = heads.chain(earlier.next()).chain(held.peek().map(|(who, _)| *who));
            let Some(who) = heads.min() else { break };
            // In the order of reading: first what was read earlier.
            let mut all = Vec::new();
            if earlier.next() == Some(who) {
                earlier.take(&mut all)?;
            }
            for run in runs.iter_mut().filter(|run| run.next() == Some(who)) {
                run.take(&mut all)?;
            }
            if let Some((_, last)) = held.next_if(|(next, _)| *next == who) {
                if all.is_empty() { all = last } else { all.extend(last) }
            }
            events += all.len();
            chunk.push((who, all));
            if events >= CHUNK_EVENTS {
                events = 0;
                flush(&mut chunk)?;
            }
        }
        flush(&mut chunk)
    }
}

impl<E> Earlier<E> for Nobody {
    fn next(&self) -> Option<Pseudonym> {
        None
    }

    fn take(&mut self, _into: &mut Vec<Held>) -> Result<(), E> {
        Ok(())
    }
}

fn sorted(held: &mut HashMap<Pseudonym, Vec<Held>>) -> Vec<(Pseudonym, Vec<Held>)> {
    let mut persons: Vec<_> = held.drain().collect();
    persons.sort_unstable_by_key(|(who, _)| *who);
    persons
}

#[cfg(test)]
pub(crate) mod tests;
