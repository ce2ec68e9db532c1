//! The right to release one vector: minted only by policy and journal together, used up once.

use chorale_dp::Rational;
use chorale_plan::{Derived, NoiseLayer, PlanError, Policy, Refused, RoundSpec, SpecError};
use chorale_wire::{Digest, FederationId, RoundNumber};

use crate::journal::{Charge, Journal, Settlement};

/// The right to release one vector for one round. It cannot be made otherwise than by
/// [`Permit::mint`], and not be copied.
#[must_use = "the round is charged: release it, or give the charge back with `refund`"]
pub struct Permit {
    pub(crate) federation: FederationId,
    pub(crate) round: RoundNumber,
    pub(crate) spec: Digest,
    /// The task's coordinates, at the front of the vector.
    pub(crate) coordinates: usize,
    /// All coordinates, the canary lanes at the end included: those hold noise alone.
    pub(crate) length: usize,
    pub(crate) scale_bits: u8,
    pub(crate) persons_max: u32,
    pub(crate) clip: u64,
    pub(crate) modulus_bits: u8,
    pub(crate) share_variance: Option<Rational>,
    pub(crate) layers: Vec<NoiseLayer>,
}

/// Why no permit was minted. Nothing was charged, unless the journal itself failed half-way.
#[derive(Debug, thiserror::Error)]
pub enum PermitError<E: std::error::Error + Send + Sync + 'static> {
    /// The spec cannot run. The coordinator is to blame.
    #[error("round {round} cannot run")]
    Spec {
        /// The round.
        round: RoundNumber,
        /// Why.
        #[source]
        source: SpecError,
    },
    /// The plan cannot be encoded. The coordinator is to blame.
    #[error("round {round}: its plan has no digest")]
    Plan {
        /// The round.
        round: RoundNumber,
        /// Why.
        #[source]
        source: PlanError,
    },
    /// The derived numbers are not those of the spec. The caller is to blame.
    #[error("round {round}: {field} was not derived from the spec; this is a fault of the program")]
    Derived {
        /// The round.
        round: RoundNumber,
        /// Which number.
        field: &'static str,
    },
    /// The agent's policy does not admit the round.
    #[error("this agent does not take part")]
    Refused(#[from] Refused),
    /// The agent's journal refuses the charge or cannot be written.
    #[error("the round could not be charged in this agent's journal, so nothing is released")]
    Journal(#[source] E),
}

impl Permit {
    /// Asks the agent's policy, then charges the round in its journal, durably, and only then
    /// gives the right to release.
    ///
    /// `spec` is the content of a verified ROUND-OPEN, `spec_digest` its payload digest and
    /// `derived` what [`RoundSpec::derive`] gave for the roster; its numbers are recomputed here.
    /// `now_s` is the present in Unix seconds; windows are judged by it.
    ///
    /// # Errors
    /// [`PermitError`]; it depends on public parameters only.
    pub fn mint<J: Journal>(
        spec: &RoundSpec,
        spec_digest: Digest,
        derived: &Derived,
        policy: &(impl Policy + ?Sized),
        journal: &mut J,
        now_s: u64,
    ) -> Result<Self, PermitError<J::Error>> {
        let round = spec.round;
        check_derived(spec, derived)?;
        let plan = spec.plan.digest().map_err(|source| PermitError::Plan { round, source })?;
        policy.admits(spec, derived)?;
        journal
            .charge(&Charge {
                federation: spec.federation.clone(),
                round,
                plan,
                model: spec.model,
                window: spec.plan.events_before_s,
                task: spec.plan.task.name.clone(),
                rho: derived.rho.clone(),
                time_s: now_s,
            })
            .map_err(PermitError::Journal)?;
        Ok(Self {
            federation: spec.federation.clone(),
            round,
            spec: spec_digest,
            coordinates: spec.shape.coordinates as usize,
            length: spec.vector_length(),
            scale_bits: spec.plan.scale_bits,
            persons_max: spec.plan.persons_max,
            clip: derived.clip,
            modulus_bits: derived.modulus_bits,
            share_variance: derived.share_variance.clone(),
            layers: derived.layers.clone(),
        })
    }

    /// Gives the charge back: who still holds the permit has released nothing under it.
    ///
    /// # Errors
    /// The journal's own; the charge then stands.
    pub fn refund<J: Journal>(self, journal: &mut J) -> Result<(), J::Error> {
        journal.settle(&self.federation, self.round, Settlement::Refunded)
    }

    /// The federation.
    #[must_use]
    pub fn federation(&self) -> &FederationId {
        &self.federation
    }

    /// The round.
    #[must_use]
    pub fn round(&self) -> RoundNumber {
        self.round
    }
}

/// Recomputes what `derived` says from the spec and the size of the roster in it. That size is
/// the round machine's word: the gate sees no roster, and no smaller one than T_min derives.
fn check_derived<E: std::error::Error + Send + Sync + 'static>(
    spec: &RoundSpec,
    derived: &Derived,
) -> Result<(), PermitError<E>> {
    let round = spec.round;
    let own = spec.derive(derived.agents).map_err(|source| PermitError::Spec { round, source })?;
    let differs = |field| Err(PermitError::Derived { round, field });
    if derived.delta != own.delta {
        return differs("the bound Δ");
    }
    if derived.clip != own.clip {
        return differs("the bound at one agent");
    }
    if derived.share_variance != own.share_variance {
        return differs("the noise share");
    }
    if derived.layers != own.layers {
        return differs("the noise layers");
    }
    if derived.rho != own.rho {
        return differs("the cost ρ");
    }
    if derived.modulus_bits != own.modulus_bits {
        return differs("the modulus");
    }
    Ok(())
}
