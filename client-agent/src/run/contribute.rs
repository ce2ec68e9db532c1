//! From an admitted round to a released vector.

use std::sync::Arc;

use chorale_dp::{Aes256CtrRng, LayeredNoise, SeededLayer};
use chorale_gate::{JournalRefusal, Permit, PermitError, Release};
use chorale_people::retention::Cut;
use chorale_plan::{Derived, RoundSpec};
use chorale_secagg::PairwiseTicket;
use chorale_task::{Catalogue, Model, from_plan};
use chorale_wire::{RoundNumber, message::RefusalCode};
use rand_core::SeedableRng as _;
use zeroize::Zeroizing;

use super::error::ContributionError;
use crate::{
    features::Who, journal::JournalError, odometer::RoundReadings, policy::StorePolicy,
    store::Store,
};

/// Everything that one vector needs.
pub(super) struct Contribution {
    pub(super) store: Arc<Store>,
    pub(super) window_end_s: i64,
    pub(super) catalogue: Arc<Catalogue>,
    /// Whether training needs a yes first.
    pub(super) ask_first: bool,
    /// Events that are still kept.
    pub(super) cut: Option<Cut>,
    pub(super) model: Model,
    pub(super) permit: Permit,
    pub(super) ticket: PairwiseTicket,
    pub(super) spec: Arc<RoundSpec>,
    pub(super) derived: Arc<Derived>,
    /// Seeds of the removable layers of the noise.
    pub(super) noise_seeds: Vec<Zeroizing<[u8; 32]>>,
}

/// A vector, and what it costs each person.
pub(super) struct Made {
    pub(super) round: RoundNumber,
    pub(super) release: Release,
    pub(super) readings: RoundReadings,
}

/// No vector was made; nothing left.
pub(super) struct Unreleased {
    pub(super) round: RoundNumber,
    pub(super) error: ContributionError,
}

/// Whether the round fits this agent: its catalogue, the shape that its own code computes, its
/// roster rule. Public parameters only.
pub(super) fn check(
    spec: &RoundSpec,
    model: &Model,
    catalogue: &Catalogue,
    policy: &StorePolicy,
    agents: usize,
) -> Result<(), String> {
    if spec.plan.catalogue != catalogue.digest() {
        return Err("the plan is over another catalogue than this agent's".into());
    }
    let task = from_plan(&spec.plan, catalogue.len()).map_err(|error| error.to_string())?;
    if task.shape(model) != spec.shape {
        return Err("the spec's shape is not the one that the task has on this model".into());
    }
    let survivors_min = spec.plan.cohort.survivors_min;
    policy.admits_roster(agents as u32, survivors_min).map_err(|error| error.to_string())
}

/// Which kind of refusal an unminted permit is.
pub(super) fn code_of(error: &PermitError<JournalError>) -> RefusalCode {
    match error {
        PermitError::Refused(_) => RefusalCode::Policy,
        PermitError::Journal(JournalError::Refused(JournalRefusal::Unacknowledged { .. })) => {
            RefusalCode::Stopped
        }
        PermitError::Journal(JournalError::Refused(_)) => RefusalCode::Budget,
        _ => RefusalCode::Unable,
    }
}

impl Contribution {
    /// Reads the persons, trains, and takes the vector through the gate.
    pub(super) fn release(self) -> Result<Made, Unreleased> {
        let round = self.spec.round;
        self.make()
            .map(|(release, readings)| Made { round, release, readings })
            .map_err(|error| Unreleased { round, error })
    }

    fn make(self) -> Result<(Release, RoundReadings), ContributionError> {
        let mut readings = RoundReadings::of(&self.spec, &self.derived);
        let task = from_plan(&self.spec.plan, self.catalogue.len())?;
        let who = Who::of(self.spec.plan.stores_max);
        let mut people = self.store.contributors(
            who,
            self.window_end_s,
            &self.catalogue,
            self.ask_first,
            self.cut.as_ref(),
        )?;
        // The fast one: it flips a coin for every coordinate of every person.
        let mut rounding = Aes256CtrRng::from_rng(&mut super::system_rng());
        let model = &self.model;
        let train =
            |sink: &mut dyn chorale_plan::PersonSink| task.contribute(model, &mut people, sink);
        let release = match self.derived.layers.split_first() {
            Some((base, removable)) => {
                let removable: Vec<SeededLayer> = removable
                    .iter()
                    .zip(self.noise_seeds)
                    .map(|(layer, seed)| SeededLayer { variance: layer.variance.clone(), seed })
                    .collect();
                let seeded = Aes256CtrRng::from_rng(&mut super::system_rng());
                let mut noise = LayeredNoise::new(&base.variance, seeded, &removable)?;
                chorale_gate::release_metered(
                    self.permit,
                    &mut rounding,
                    chorale_gate::Protection::Noise(&mut noise),
                    self.ticket,
                    train,
                    &mut readings,
                )
            }
            None => chorale_gate::release_metered(
                self.permit,
                &mut rounding,
                chorale_gate::Protection::None,
                self.ticket,
                train,
                &mut readings,
            ),
        };
        let release = release.map_err(|error| ContributionError::Gate(Box::new(error)))?;
        Ok((release, readings))
    }
}
