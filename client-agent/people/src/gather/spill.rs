//! Sealed runs: sorted pieces of what was gathered, on the disk, unreadable to everybody else.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use chorale_plan::Pseudonym;
use zeroize::Zeroizing;

use super::person::{At, Held};
use crate::{
    error::Explain,
    event::Kind,
    keys::Key,
    store::{SealError, Sealer},
};

/// Why events could not be put down on the disk or read back.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The file cannot be made, written or read.
    #[error("events that do not fit into memory cannot be put down sealed")]
    File {
        /// The directory it is in.
        dir: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A block cannot be sealed or opened.
    #[error("sealed events cannot be read back")]
    Seal {
        /// The directory of the file.
        dir: PathBuf,
        /// What went wrong.
        #[source]
        source: SealError,
    },
}

/// A file without a name, and the key to it, which nobody else has and nothing keeps.
pub(super) struct Spill {
    dir: PathBuf,
    file: File,
    sealer: Sealer,
    runs: Vec<Run>,
    blocks: u64,
    end: u64,
}

/// One sorted piece.
#[derive(Clone, Copy)]
struct Run {
    start: u64,
    first_block: u64,
    blocks: u64,
}

/// Reads one run from its beginning.
pub(super) struct Reader<'a> {
    spill: &'a Spill,
    at: u64,
    block: u64,
    left: u64,
    events: Vec<(Pseudonym, Held)>,
    next: usize,
}

/// Bytes of one event.
const EVENT_BYTES: usize = 90;
/// Events of one block: 11 KiB, because every run has one in memory while runs are merged.
const BLOCK_EVENTS: usize = 128;
const TABLE: &str = "spill";

impl Spill {
    pub(super) fn new(dir: &Path) -> Result<Self, SpillError> {
        let failed = |source| SpillError::File { dir: dir.into(), source };
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut())
            .map_err(|_| SpillError::Seal { dir: dir.into(), source: SealError::Randomness })?;
        let sealer = Sealer::new(&Key::from_bytes(*secret));
        let file = tempfile::tempfile_in(dir).map_err(failed)?;
        Ok(Self { dir: dir.into(), file, sealer, runs: Vec::new(), blocks: 0, end: 0 })
    }

    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Puts `persons`, sorted by pseudonym, down as one run.
    pub(super) fn run(&mut self, persons: &[(Pseudonym, Vec<Held>)]) -> Result<(), SpillError> {
        let mut run = Run { start: self.end, first_block: self.blocks, blocks: 0 };
        let mut plain = Zeroizing::new(Vec::with_capacity(BLOCK_EVENTS * EVENT_BYTES));
        for (who, held) in persons {
            for event in held {
                encode(*who, event, &mut plain);
                if plain.len() == BLOCK_EVENTS * EVENT_BYTES {
                    self.block(&mut plain, &mut run)?;
                }
            }
        }
        if !plain.is_empty() {
            self.block(&mut plain, &mut run)?;
        }
        self.runs.push(run);
        Ok(())
    }

    fn block(&mut self, plain: &mut Vec<u8>, run: &mut Run) -> Result<(), SpillError> {
        let sealed = self
            .sealer
            .seal(TABLE, &self.blocks.to_be_bytes(), plain)
            .map_err(|source| SpillError::Seal { dir: self.dir.clone(), source })?;
        let length = sealed.len() as u32;
        self.file
            .write_all(&length.to_be_bytes())
            .and_then(|()| self.file.write_all(&sealed))
            .map_err(|source| self.failed(source))?;
        self.end += u64::from(length) + 4;
        self.blocks += 1;
        run.blocks += 1;
        plain.clear();
        Ok(())
    }

    /// A reader for each run, in the order in which they were put down.
    pub(super) fn readers(&self) -> Result<Vec<Reader<'_>>, SpillError> {
        let readers = self.runs.iter().map(|run| {
            let (events, next) = (Vec::new(), 0);
            let Run { start: at, first_block: block, blocks: left } = *run;
            let mut reader = Reader { spill: self, at, block, left, events, next };
            reader.fill()?;
            Ok(reader)
        });
        readers.collect()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (mut file, mut bytes) = (&self.file, Vec::new());
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_or(Vec::new(), |_| bytes)
    }

    fn failed(&self, source: io::Error) -> SpillError {
        SpillError::File { dir: self.dir.clone(), source }
    }
}

impl Reader<'_> {
    /// The pseudonym of the next event.
    pub(super) fn next(&self) -> Option<Pseudonym> {
        self.events.get(self.next).map(|(who, _)| *who)
    }

    /// Appends the events of the next person.
    pub(super) fn take(&mut self, into: &mut Vec<Held>) -> Result<(), SpillError> {
        let Some(person) = self.next() else { return Ok(()) };
        while let Some((who, held)) = self.events.get(self.next)
            && *who == person
        {
            into.push(*held);
            self.next += 1;
            if self.next == self.events.len() {
                self.fill()?;
            }
        }
        Ok(())
    }

    /// Reads the next block; without one nothing is left.
    fn fill(&mut self) -> Result<(), SpillError> {
        (self.events, self.next) = (Vec::new(), 0);
        if self.left == 0 {
            return Ok(());
        }
        let sealed = self.sealed().map_err(|source| self.spill.failed(source))?;
        let plain = self
            .spill
            .sealer
            .open(TABLE, &self.block.to_be_bytes(), &sealed)
            .map_err(|source| SpillError::Seal { dir: self.spill.dir.clone(), source })?;
        self.events = plain.as_chunks::<EVENT_BYTES>().0.iter().map(decode).collect();
        (self.block, self.left) = (self.block + 1, self.left - 1);
        Ok(())
    }

    fn sealed(&mut self) -> io::Result<Vec<u8>> {
        let mut file = &self.spill.file;
        file.seek(SeekFrom::Start(self.at))?;
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        let mut sealed = vec![0; length as usize];
        file.read_exact(&mut sealed)?;
        self.at += u64::from(length) + 4;
        Ok(sealed)
    }
}

fn encode(who: Pseudonym, held: &Held, into: &mut Vec<u8>) {
    into.extend_from_slice(who.as_bytes());
    into.extend_from_slice(&held.time_s.to_be_bytes());
    into.extend_from_slice(&held.basket.to_be_bytes());
    into.extend_from_slice(&held.id.to_be_bytes());
    into.extend_from_slice(&held.at.to_bits().to_be_bytes());
    into.extend_from_slice(&held.amount.to_be_bytes());
    into.extend_from_slice(&held.item.to_be_bytes());
    into.extend_from_slice(&held.quantity.to_be_bytes());
    into.extend_from_slice(&held.discount.to_be_bytes());
    into.extend_from_slice(&held.channel.to_be_bytes());
    let kind = held.kind.and_then(|kind| Kind::ALL.iter().position(|other| *other == kind));
    into.push(kind.map_or(0, |kind| kind as u8 + 1));
    into.push(held.at_home.map_or(0, |home| u8::from(home) + 1));
}

fn decode(bytes: &[u8; EVENT_BYTES]) -> (Pseudonym, Held) {
    let mut at = 32;
    let mut eight = || {
        let mut value = [0; 8];
        value.copy_from_slice(&bytes[at..at + 8]);
        at += 8;
        u64::from_be_bytes(value)
    };
    let (time_s, basket, id, place, amount) = (eight(), eight(), eight(), eight(), eight());
    let (both, also) = (eight(), eight());
    let mut who = [0; 32];
    who.copy_from_slice(&bytes[..32]);
    let held = Held {
        time_s: time_s as i64,
        basket,
        id,
        at: At::from_bits(place),
        amount: f64::from_bits(amount),
        item: (both >> 32) as u32,
        quantity: f32::from_bits(both as u32),
        discount: f32::from_bits((also >> 32) as u32),
        channel: also as u32,
        kind: Kind::ALL.get(usize::from(bytes[88]).wrapping_sub(1)).copied(),
        at_home: [None, Some(false), Some(true)][usize::from(bytes[89].min(2))],
    };
    (Pseudonym::from_bytes(who), held)
}

impl Explain for SpillError {
    fn place(&self) -> String {
        match self {
            Self::File { dir, .. } | Self::Seal { dir, .. } => dir.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        "check that the disk is not full and not failing, or raise memory_limit_mib; nothing was \
         changed, so run the command again afterwards"
            .into()
    }
}
