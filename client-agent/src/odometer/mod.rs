//! What each person's own data has cost so far: individual accounting (Feldman & Zrnic 2021) on the
//! integer norms that the gate realised.
//!
//! A round costs everybody the same in the ledger, Δ²/(2σ²). Whoever bought little has a shorter
//! vector and lost less: ‖q‖²/(2σ²). The odometer keeps that for every person and federation at
//! this agent, sealed under the store's key, for the person or the store's compliance officer to
//! see. It decides nothing: admission, refusals and noise depend on public parameters alone, since
//! whatever depended on a reading would tell something about it. Readings are personal data, are
//! not differentially private, and have no way out of the agent.

mod reading;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use chorale_dp::Rational;
use chorale_gate::Meter;
use chorale_plan::{Derived, Mechanism, Pseudonym, RoundSpec};
use chorale_wire::{FederationId, RoundNumber, codec};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use reading::{FederationReading, PersonReading};

use crate::{
    error::{Explain, redacted},
    keys::create_private_dir,
    pseudonym::{Mark, Pseudonymiser, Renames},
    store::{Layout, Named, NamesError, RenewError, SealError, Sealer, renew},
};

const ROUNDS: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("odometer rounds");
const TABLE: &str = "odometer rounds";

/// Where pseudonyms stand: in values alone.
const LAYOUT: Layout = Layout {
    tables: &[Named::nobody(TABLE).and_in_values(rename_round), Named::nobody("odometer names")],
    mark_table: "odometer names",
    mark_key: b"names",
};

/// Longest round in bytes: 2^24 persons.
const ROUND_BYTES_MAX: usize = 1 << 30;

/// The readings of one agent, in a sealed file of their own: `client-agent ingest` replaces what is
/// known about people, and never what they have lost.
pub struct Odometer {
    dir: PathBuf,
    sealer: Sealer,
    /// The keys that names are under, for what does not say so yet.
    mark: Option<Mark>,
}

/// What one round cost each person, from public numbers and realised norms.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundReadings {
    /// The public numbers; absent for a round without noise, which bounds nothing.
    pub(crate) public: Option<PublicCost>,
    /// Pseudonym and ‖q‖² of each person, ascending.
    pub(crate) norms: Vec<([u8; 32], u128)>,
}

redacted!(RoundReadings);

/// What of a round's cost is the same for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PublicCost {
    /// σ².
    pub(crate) sigma_squared: Rational,
    /// τd.
    pub(crate) trace: Rational,
    /// What the person's parts at other agents may add to the norm: (M_cap − 1)·⌊Δ/M_cap⌋.
    pub(crate) elsewhere: u64,
}

impl RoundReadings {
    /// An empty list for a round.
    #[must_use]
    pub fn of(spec: &RoundSpec, derived: &Derived) -> Self {
        let public = match (&spec.plan.mechanism, &derived.rho) {
            (Mechanism::DiscreteGaussian { sigma_squared, .. }, Some(rho)) => {
                let delta = Rational::from_integer(derived.delta);
                let twice = &Rational::from_integer(2) * sigma_squared;
                let elsewhere = u64::from(spec.plan.stores_max.saturating_sub(1)) * derived.clip;
                let trace = rho.as_rational() - &(&(&delta * &delta) / &twice);
                Some(PublicCost { sigma_squared: sigma_squared.clone(), trace, elsewhere })
            }
            _ => None,
        };
        Self { public, norms: Vec::new() }
    }
}

impl RoundReadings {
    /// ‖q‖² of `who`; `None` without a part.
    #[must_use]
    pub fn norm_squared(&self, who: Pseudonym) -> Option<u128> {
        let at = self.norms.binary_search_by(|(other, _)| other.cmp(who.as_bytes())).ok()?;
        self.norms.get(at).map(|(_, norm_squared)| *norm_squared)
    }
}

impl chorale_api::Elsewhere for Odometer {
    fn erase(&self, person: &[Pseudonym]) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self::erase(self, person)?)
    }
}

impl Meter for RoundReadings {
    fn person(&mut self, who: Pseudonym, norm_squared: u128) {
        self.norms.push((*who.as_bytes(), norm_squared));
    }
}

/// Why the odometer could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OdometerError {
    /// The directory or the lock file cannot be made or opened.
    #[error("the odometer's directory cannot be used")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The file could not be opened, read or written.
    #[error("the odometer cannot be {doing}")]
    Database {
        /// The file.
        path: PathBuf,
        /// `opened`, `read`, `written` or `sealed anew`.
        doing: &'static str,
        /// What the database says.
        #[source]
        source: Box<redb::Error>,
    },
    /// A value could not be sealed or opened.
    #[error("the odometer and the store key do not fit")]
    Seal {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: SealError,
    },
    /// What the names are under is not what the key file holds, or they cannot be renamed.
    #[error("the odometer and the pseudonym key do not fit")]
    Names {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: NamesError,
    },
    /// A value of another version, or too long.
    #[error("the odometer holds a round that this version cannot read, or would have to")]
    Codec {
        /// The file.
        path: PathBuf,
        /// What the codec says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Odometer {
    /// The odometer in `dir`, sealed by `sealer`; the file is made at the first round.
    #[must_use]
    pub fn new(dir: &Path, sealer: impl Into<Sealer>) -> Self {
        Self { dir: dir.into(), sealer: sealer.into(), mark: None }
    }

    /// The odometer for work with `names`: what stands there must be under the same keys, and what
    /// does not say under which it stands will do so from the next round on.
    ///
    /// # Errors
    /// [`OdometerError::Names`] when it is under other keys.
    pub fn under(mut self, names: &Pseudonymiser) -> Result<Self, OdometerError> {
        if self.path().exists() {
            let (_lock, database) = self.locked()?;
            let transaction = database.begin_read().map_err(|e| self.failed("read", e))?;
            LAYOUT.require(&transaction, &self.sealer, names).map_err(|e| self.names(e))?;
        }
        self.mark = Some(names.mark());
        Ok(self)
    }

    /// Whether anything stands under a shorter chain of pseudonym keys than that of `names`.
    ///
    /// # Errors
    /// [`OdometerError::Names`] when it is under other keys.
    pub fn is_behind(&self, names: &Pseudonymiser) -> Result<bool, OdometerError> {
        if !self.path().exists() {
            return Ok(false);
        }
        let (_lock, database) = self.locked()?;
        let transaction = database.begin_read().map_err(|e| self.failed("read", e))?;
        let standing = LAYOUT.standing(&transaction, &self.sealer, names);
        Ok(!standing.map_err(|e| self.names(e))?.is_nothing())
    }

    /// Gives everybody the name that `names` has for them, where the chain of keys has grown; how
    /// many rows that took. All or nothing, and nothing where it was done before.
    ///
    /// # Errors
    /// [`OdometerError`]; then nothing is changed.
    pub fn rename(&self, names: &Pseudonymiser) -> Result<u64, OdometerError> {
        if !self.path().exists() {
            return Ok(0);
        }
        let (_lock, database) = self.locked()?;
        LAYOUT.rename(&self.path(), database, &self.sealer, names).map_err(|e| self.names(e))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join("odometer.redb")
    }

    /// Adds a round, durably: before its vector leaves, so that no reading is ever too low. A
    /// vector that then does not leave all the same is read as if it had.
    ///
    /// # Errors
    /// [`OdometerError`]; the vector must not leave.
    pub fn record(
        &self,
        federation: &FederationId,
        round: RoundNumber,
        readings: &RoundReadings,
    ) -> Result<(), OdometerError> {
        let key = key_of(federation, round);
        let plain = codec::encode(readings, ROUND_BYTES_MAX).map_err(|e| self.codec(e))?;
        let plain = Zeroizing::new(plain);
        let sealed = self.sealer.seal(TABLE, &key, &plain).map_err(|e| self.seal(e))?;
        self.write(|table| table.insert(key.as_slice(), sealed.as_slice()).map(drop))
    }

    /// Takes a round back that will never be unmasked.
    ///
    /// # Errors
    /// [`OdometerError`]; the round then stays.
    pub fn forget(
        &self,
        federation: &FederationId,
        round: RoundNumber,
    ) -> Result<(), OdometerError> {
        let key = key_of(federation, round);
        self.write(|table| table.remove(key.as_slice()).map(drop))
    }

    /// Takes the readings of a person out of every round; how many rounds that were.
    ///
    /// # Errors
    /// [`OdometerError`]; then every reading stays.
    pub fn erase(&self, person: &[Pseudonym]) -> Result<u64, OdometerError> {
        let mut changed = Vec::new();
        self.each(|key, readings| {
            let mut left = readings.clone();
            left.norms.retain(|(who, _)| !person.iter().any(|gone| gone.as_bytes() == who));
            if left.norms.len() < readings.norms.len() {
                changed.push((key.to_vec(), left));
            }
        })?;
        if changed.is_empty() {
            return Ok(0);
        }
        let mut sealed = Vec::with_capacity(changed.len());
        for (key, left) in &changed {
            let plain = codec::encode(left, ROUND_BYTES_MAX).map_err(|e| self.codec(e))?;
            let plain = Zeroizing::new(plain);
            sealed.push((key, self.sealer.seal(TABLE, key, &plain).map_err(|e| self.seal(e))?));
        }
        self.write(|table| {
            for (key, value) in &sealed {
                // A round that was taken back in the meantime stays away.
                if table.get(key.as_slice())?.is_some() {
                    table.insert(key.as_slice(), value.as_slice())?;
                }
            }
            Ok(())
        })?;
        Ok(changed.len() as u64)
    }

    /// What `who` has lost to every federation through this agent.
    ///
    /// # Errors
    /// [`OdometerError`].
    pub fn person(&self, who: Pseudonym) -> Result<PersonReading, OdometerError> {
        let mut reading = PersonReading::default();
        self.each(|key, readings| {
            let name = key.split_last_chunk::<9>().map_or(&[][..], |(name, _)| name);
            reading.add(&String::from_utf8_lossy(name), readings, who);
        })?;
        Ok(reading)
    }

    /// Shows every round with its key.
    fn each(&self, mut show: impl FnMut(&[u8], &RoundReadings)) -> Result<(), OdometerError> {
        if !self.path().exists() {
            return Ok(());
        }
        let (_lock, database) = self.locked()?;
        let transaction = database.begin_read().map_err(|e| self.failed("read", e))?;
        let table = match transaction.open_table(ROUNDS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(self.failed("read", error)),
        };
        for entry in table.iter().map_err(|e| self.failed("read", e))? {
            let (key, sealed) = entry.map_err(|e| self.failed("read", e))?;
            let plain =
                self.sealer.open(TABLE, key.value(), sealed.value()).map_err(|e| self.seal(e))?;
            let round: RoundReadings =
                codec::decode(&plain, ROUND_BYTES_MAX).map_err(|e| self.codec(e))?;
            show(key.value(), &round);
        }
        Ok(())
    }

    /// ‖q‖² of `who` in one round, in squared lattice units; `None` without a part.
    ///
    /// # Errors
    /// [`OdometerError`].
    pub fn norm_squared(
        &self,
        federation: &FederationId,
        round: RoundNumber,
        who: Pseudonym,
    ) -> Result<Option<u128>, OdometerError> {
        let mut found = None;
        let wanted = key_of(federation, round);
        self.each(|key, readings| {
            if key == wanted.as_slice() {
                found = readings.norm_squared(who);
            }
        })?;
        Ok(found)
    }

    /// Seals every round anew that stands under the key before, in one transaction; how many that
    /// were.
    ///
    /// # Errors
    /// [`OdometerError`]; then nothing is changed.
    pub fn renew(&self) -> Result<u64, OdometerError> {
        if !self.path().exists() {
            return Ok(0);
        }
        let (_lock, database) = self.locked()?;
        renew(&database, &self.sealer).map_err(|error| match error {
            RenewError::Database(source) => {
                OdometerError::Database { path: self.path(), doing: "sealed anew", source }
            }
            RenewError::Seal(source) => self.seal(source),
        })
    }

    fn locked(&self) -> Result<(File, Database), OdometerError> {
        let directory = |source| OdometerError::Directory { path: self.dir.clone(), source };
        create_private_dir(&self.dir).map_err(directory)?;
        let lock = File::create(self.dir.join("odometer.lock")).map_err(directory)?;
        lock.lock().map_err(directory)?;
        let database = Database::create(self.path()).map_err(|e| self.failed("opened", e))?;
        Ok((lock, database))
    }

    fn write(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>) -> Result<(), redb::StorageError>,
    ) -> Result<(), OdometerError> {
        let (_lock, database) = self.locked()?;
        let transaction = database.begin_write().map_err(|e| self.failed("written", e))?;
        {
            let mut table =
                transaction.open_table(ROUNDS).map_err(|e| self.failed("written", e))?;
            change(&mut table).map_err(|e| self.failed("written", e))?;
        }
        if let Some(mark) = &self.mark {
            LAYOUT.record(&transaction, &self.sealer, mark).map_err(|e| self.names(e))?;
        }
        transaction.commit().map_err(|e| self.failed("written", e))
    }

    fn failed(&self, doing: &'static str, error: impl Into<redb::Error>) -> OdometerError {
        OdometerError::Database { path: self.path(), doing, source: Box::new(error.into()) }
    }

    fn names(&self, source: NamesError) -> OdometerError {
        OdometerError::Names { path: self.path(), source }
    }

    fn seal(&self, source: SealError) -> OdometerError {
        OdometerError::Seal { path: self.path(), source }
    }

    fn codec(&self, error: impl std::error::Error + Send + Sync + 'static) -> OdometerError {
        OdometerError::Codec { path: self.path(), source: Box::new(error) }
    }
}

/// The federation's name, a zero, the round's number: in order, and unambiguous from behind.
fn key_of(federation: &FederationId, round: RoundNumber) -> Vec<u8> {
    [federation.as_str().as_bytes(), &[0], &round.0.to_be_bytes()].concat()
}

/// A round under new names, in their order.
fn rename_round(
    renames: &Renames,
    value: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
    let mut round: RoundReadings = codec::decode(value, ROUND_BYTES_MAX)?;
    for (who, _) in &mut round.norms {
        *who = *renames.of(Pseudonym::from_bytes(*who)).as_bytes();
    }
    round.norms.sort_unstable_by_key(|(who, _)| *who);
    Ok(Zeroizing::new(codec::encode(&round, ROUND_BYTES_MAX)?))
}

impl Explain for OdometerError {
    fn place(&self) -> String {
        match self {
            Self::Directory { path, .. }
            | Self::Database { path, .. }
            | Self::Seal { path, .. }
            | Self::Names { path, .. }
            | Self::Codec { path, .. } => path.display().to_string(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Directory { .. } | Self::Database { .. } => {
                "check that the disk is not full and not failing; no vector leaves until then"
                    .into()
            }
            Self::Seal { .. } => "restore the store key that belongs to this data directory".into(),
            Self::Names { source, .. } => source.remedy().into(),
            Self::Codec { .. } => {
                "move the file away: from then on readings begin at nothing, so say so to whoever \
                 asks"
                    .into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
