//! Rules of changes: signed, in order, between rounds, and never to anybody's disadvantage.

use chorale_wire::Digest;

use super::{State, Violation, check_cohort, check_text, range};
use crate::{
    change::{Change, ChangeEntry},
    entry::{GenesisEntry, Privacy},
};

/// How far changes have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Hash of the first entry.
    pub(super) genesis: Option<Digest>,
    /// The last one's serial number.
    pub(super) serial: u32,
    /// The number of enrolled agents changed since the latest roster.
    pub(super) roster_is_old: bool,
}

impl State {
    /// The next change's serial number, and what its signature binds.
    pub(crate) fn next_change(&self) -> Option<(u32, Digest)> {
        Some((self.changes.serial.checked_add(1)?, self.changes.genesis?))
    }

    pub(super) fn check_change(&self, entry: &ChangeEntry) -> Result<(), Violation> {
        let serial = entry.serial;
        let Some((next, genesis)) = self.next_change().filter(|(next, _)| *next == serial) else {
            return Err(range("serial", "one above that of the change before, from 1"));
        };
        debug_assert_eq!(next, serial);
        if !entry.is_signed(&genesis, &self.genesis.compliance) {
            return Err(Violation::ChangeUnsigned { serial });
        }
        if !self.open.is_empty() {
            return Err(range("what", "between rounds: a round has not ended"));
        }
        if !entry.is_whole() {
            return Err(range("what", "all that the other fields are about"));
        }
        let after = self.changed(entry);
        if after.enrolled < self.genesis.enrolled || after.corrupt < self.genesis.corrupt {
            return Err(range("enrolled, corrupt", "at least those before"));
        }
        if after.survivors_min < self.genesis.survivors_min {
            return Err(range("survivors_min", "at least that before"));
        }
        match (&self.genesis.cap_rho, &after.cap_rho) {
            (Privacy::Rho(before), Privacy::Rho(after)) if after <= before => {}
            (Privacy::Unprotected, Privacy::Unprotected) => {}
            _ => return Err(range("cap_rho", "at most that before")),
        }
        check_text("software", &after.software)?;
        check_cohort(&after, after.survivors_min, after.survivors_min)
    }

    pub(super) fn commit_change(&mut self, entry: &ChangeEntry) {
        self.genesis = self.changed(entry);
        self.changes.serial = entry.serial;
        self.changes.roster_is_old |= entry.what == Change::Roster;
    }

    /// The promise after a change.
    fn changed(&self, entry: &ChangeEntry) -> GenesisEntry {
        let mut after = self.genesis.clone();
        after.catalogue = entry.catalogue.unwrap_or(after.catalogue);
        after.software = entry.software.clone().unwrap_or(after.software);
        after.cap_rho = entry.cap_rho.clone().unwrap_or(after.cap_rho);
        after.survivors_min = entry.survivors_min.unwrap_or(after.survivors_min);
        after.enrolled = entry.enrolled.unwrap_or(after.enrolled);
        after.corrupt = entry.corrupt.unwrap_or(after.corrupt);
        after
    }
}
