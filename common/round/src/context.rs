//! What both sides of a round hold: the roster, the spec and everything derived from them.

use std::sync::Arc;

use chorale_plan::{Derived, RoundSpec, SpecError, layers_kept};
use chorale_secagg::{Graph, WindowError, ticket::PAIRS_MIN};
use chorale_wire::{Digest, Epoch, FederationId, RoundNumber, SessionId, Slot, SlotSet, Verified};

use crate::roster::VerifiedRoster;

/// Why a round spec does not fit the epoch. The coordinator is to blame in every variant.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Of another federation.
    #[error("the round is for federation {given}, not {expected}")]
    Federation {
        /// The spec's federation.
        given: FederationId,
        /// The one at hand.
        expected: FederationId,
    },
    /// Of another epoch.
    #[error("the round is for epoch {given}; the keys at hand are for epoch {expected}")]
    Epoch {
        /// The spec's epoch.
        given: Epoch,
        /// The one at hand.
        expected: Epoch,
    },
    /// The plan assumes another number of corrupt agents than the epoch's keys were shared for.
    #[error(
        "the plan assumes {corrupt} corrupt of {enrolled} enrolled agents; \
         the memberships of this epoch say {expected_corrupt} of {expected_enrolled}"
    )]
    Threat {
        /// A in the plan.
        corrupt: u32,
        /// N in the plan.
        enrolled: u32,
        /// A of the epoch.
        expected_corrupt: u32,
        /// N of the epoch.
        expected_enrolled: u32,
    },
    /// The plan admits more drop-outs than the epoch's graph was made for.
    #[error("the plan admits {given} survivors; this epoch was set up for at least {expected}")]
    Survivors {
        /// T_min in the plan.
        given: u32,
        /// T_min of the epoch.
        expected: u32,
    },
    /// The spec is not admissible for this roster.
    #[error("the round spec is not admissible")]
    Spec(#[from] SpecError),
}

/// Why a cohort or survivor set is not admissible. The coordinator is to blame in every variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Over a roster of another size.
    #[error("the set is over {given} agents and the roster has {expected}")]
    OtherRoster {
        /// Agents of the set's roster.
        given: usize,
        /// Agents of the roster.
        expected: usize,
    },
    /// Smaller than T_min.
    #[error("{given} agents are in the set; the plan demands at least {needed}")]
    TooSmall {
        /// Agents in the set.
        given: usize,
        /// T_min.
        needed: usize,
    },
    /// Survivors who were not in the cohort.
    #[error("the survivors are not a subset of the cohort")]
    NotInCohort,
    /// Too few neighbours of an agent are in the set: its secrets could not be reconstructed, or
    /// too few masks would hide its vector.
    #[error("{given} neighbours of slot {slot} are in the set and {needed} are needed")]
    Neighbourhood {
        /// The agent.
        slot: Slot,
        /// Its neighbours in the set.
        given: usize,
        /// Shamir threshold t, and never below [`PAIRS_MIN`].
        needed: usize,
    },
    /// Agents that stand next to each other on the ring are missing: what remains could fall
    /// into parts whose sums can be told apart.
    #[error("the set does not keep the window rule")]
    Window(#[from] WindowError),
}

/// One round as both sides see it.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) roster: Arc<VerifiedRoster>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) spec: Arc<RoundSpec>,
    pub(crate) spec_digest: Digest,
    pub(crate) derived: Arc<Derived>,
}

impl Context {
    /// Checks that the spec fits federation, epoch and threat model, and derives its figures.
    pub(crate) fn new(
        federation: &FederationId,
        roster: Arc<VerifiedRoster>,
        graph: Arc<Graph>,
        spec: Verified<RoundSpec>,
    ) -> Result<Self, ContextError> {
        if spec.federation != *federation {
            return Err(ContextError::Federation {
                given: spec.federation.clone(),
                expected: federation.clone(),
            });
        }
        if spec.epoch != roster.epoch() {
            return Err(ContextError::Epoch { given: spec.epoch, expected: roster.epoch() });
        }
        let rule = &spec.plan.cohort;
        if rule.corrupt != roster.corrupt() || rule.enrolled < roster.enrolled() {
            return Err(ContextError::Threat {
                corrupt: rule.corrupt,
                enrolled: rule.enrolled,
                expected_corrupt: roster.corrupt(),
                expected_enrolled: roster.enrolled(),
            });
        }
        let (given, expected) = (rule.survivors_min, roster.survivors_min());
        if given < expected {
            return Err(ContextError::Survivors { given, expected });
        }
        let derived = spec.derive(roster.agents() as u32)?;
        Ok(Self {
            roster,
            graph,
            spec_digest: spec.digest(),
            spec: Arc::new(spec.into_inner()),
            derived: Arc::new(derived),
        })
    }

    pub(crate) fn round(&self) -> RoundNumber {
        self.spec.round
    }

    /// The epoch's prepared keys that this round uses, as an index.
    pub(crate) fn key_index(&self) -> usize {
        usize::from(self.spec.key_index)
    }

    /// Length of the vectors: the task's coordinates and the plan's canary lanes.
    pub(crate) fn coordinates(&self) -> usize {
        self.spec.vector_length()
    }

    /// T_min.
    pub(crate) fn survivors_min(&self) -> usize {
        self.spec.plan.cohort.survivors_min as usize
    }

    /// Layers of an agent's noise that may come off again; the base layer never does.
    pub(crate) fn removable_layers(&self) -> usize {
        self.derived.layers.len().saturating_sub(1)
    }

    /// The first layer, counted from the base layer as 0, that is surplus when so many agents
    /// survive; `None` when all must stay.
    pub(crate) fn first_surplus_layer(&self, survivors: usize) -> Option<usize> {
        let layers = &self.derived.layers;
        let first = layers_kept(layers, survivors);
        (first > 0 && first < layers.len()).then_some(first)
    }

    /// The session of a cohort. The graph seed stands in the roster's place: it binds the roster
    /// and every nonce.
    pub(crate) fn session(&self, cohort: &SlotSet) -> SessionId {
        SessionId::new(
            self.roster.epoch(),
            self.round(),
            &self.graph.seed(),
            &self.spec_digest,
            cohort,
        )
    }

    /// What `own` demands of a cohort: T_min, the right roster, enough of its own neighbours to
    /// hide and reconstruct it, and the window rule over the whole ring. Whoever is missing in the
    /// cohort is missing among the survivors.
    pub(crate) fn check_cohort(&self, cohort: &SlotSet, own: Slot) -> Result<(), SetError> {
        self.check_size(cohort)?;
        self.check_neighbourhood(cohort, own)?;
        Ok(self.graph.check_window(cohort)?)
    }

    /// What `own` demands of survivors: U ⊆ C, and all that it demands of a cohort.
    pub(crate) fn check_survivors(
        &self,
        cohort: &SlotSet,
        survivors: &SlotSet,
        own: Slot,
    ) -> Result<(), SetError> {
        self.check_size(survivors)?;
        if !survivors.is_subset(cohort) {
            return Err(SetError::NotInCohort);
        }
        self.check_cohort(survivors, own)
    }

    /// What every member of `cohort` demands of `present`, cohort or survivors. For members that
    /// are not in it: that their secrets can be reconstructed.
    pub(crate) fn check_for_all(
        &self,
        cohort: &SlotSet,
        present: &SlotSet,
    ) -> Result<(), SetError> {
        self.check_size(present)?;
        cohort.iter().try_for_each(|slot| self.check_neighbourhood(present, slot))?;
        Ok(self.graph.check_window(present)?)
    }

    /// The neighbours of `slot` that are in `set`, in ascending order.
    pub(crate) fn neighbours_in<'a>(
        &self,
        slot: Slot,
        set: &'a SlotSet,
    ) -> impl Iterator<Item = Slot> + use<'a> {
        self.graph.neighbours(slot).into_iter().filter(|neighbour| set.contains(*neighbour))
    }

    /// A set over this roster, of at least T_min agents.
    pub(crate) fn check_size(&self, set: &SlotSet) -> Result<(), SetError> {
        if set.agents() != self.roster.agents() {
            return Err(SetError::OtherRoster {
                given: set.agents(),
                expected: self.roster.agents(),
            });
        }
        let (given, needed) = (set.len(), self.survivors_min());
        if given < needed {
            return Err(SetError::TooSmall { given, needed });
        }
        Ok(())
    }

    /// The neighbours of `slot` in the set reach the sharing threshold, so that its secrets can
    /// be reconstructed, and the corrupt ones among them cannot do it alone.
    fn check_neighbourhood(&self, set: &SlotSet, slot: Slot) -> Result<(), SetError> {
        let given = self.neighbours_in(slot, set).count();
        let needed = self.roster.share_threshold().max(PAIRS_MIN);
        if given < needed {
            return Err(SetError::Neighbourhood { slot, given, needed });
        }
        Ok(())
    }
}

/// `slot` itself and its neighbours, as far as they are in `set`, in ascending order: the survivors
/// whose headers an agent is shown.
pub(crate) fn with_neighbours_in(graph: &Graph, slot: Slot, set: &SlotSet) -> Vec<Slot> {
    let mut slots = graph.neighbours(slot);
    slots.push(slot);
    slots.retain(|slot| set.contains(*slot));
    slots.sort_unstable();
    slots
}
