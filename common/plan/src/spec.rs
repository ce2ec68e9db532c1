//! One round of a plan as the coordinator signs it, and everything derived from it.

use chorale_dp::{Rational, Rho};
use chorale_wire::{
    Digest, Epoch, FederationId, Keystream, Message, RoundNumber, Signature,
    limits::{COORDINATES_MAX, ROUNDS_PER_EPOCH_MAX},
};
use serde::{Deserialize, Serialize};

use crate::{
    CohortError, Mechanism, NoiseLayer, Plan, PlanError, Shape, noise, plan::PLAN_BYTES_MAX,
};

/// The payload of ROUND-OPEN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundSpec {
    /// The federation.
    pub federation: FederationId,
    /// The epoch whose keys mask this round.
    pub epoch: Epoch,
    /// The round's number over the federation's lifetime.
    pub round: RoundNumber,
    /// Which of the epoch's prepared keys: 0 for the first round of the epoch.
    pub key_index: u16,
    /// Which round of the plan, from 0.
    pub step: u32,
    /// The plan.
    pub plan: Plan,
    /// Vector length and clip; the agent recomputes it from task and model.
    pub shape: Shape,
    /// Digest of the model that the contributions are computed on.
    pub model: Digest,
    /// Time in milliseconds, from receipt, within which the agent should be ready.
    pub ready_within_ms: u32,
    /// Time in milliseconds after COMMIT within which the masked vector must have arrived.
    pub upload_within_ms: u32,
    /// Which cipher makes the masks: one for all, since both ends of a pair must use the same.
    pub keystream: Keystream,
    /// The compliance key's signature under [`crate::SignOff`] for the plan, for agents whose policy
    /// demands it. No part of the plan's digest, which it signs.
    pub sign_off: Option<Signature>,
}

impl Message for RoundSpec {
    const CONTEXT: &'static str = "round open";
    const BYTES_MAX: usize = PLAN_BYTES_MAX + 1024;
}

/// What follows from a spec for a roster of a given size. Both sides compute it and never send it.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// Agents in the roster that it was derived for.
    pub agents: u32,
    /// Integer L2 bound Δ = ⌊C·2^s⌋ of one person's vectors, over all agents together.
    pub delta: u64,
    /// Integer L2 bound of one person's vector at one agent, ⌊Δ/M_cap⌋: M_cap of them add up to Δ
    /// at most.
    pub clip: u64,
    /// Modulus bits w: masks and sums are modulo 2^w.
    pub modulus_bits: u8,
    /// Variance of one agent's noise share, σ²/(T_min - A); `None` for [`Mechanism::Unprotected`].
    pub share_variance: Option<Rational>,
    /// The layers of that share, from the one that always stays; more than one only where the
    /// plan has surplus removed. Empty for [`Mechanism::Unprotected`].
    pub layers: Vec<NoiseLayer>,
    /// zCDP cost of the round, Δ²/(2σ²) + τd; `None` for [`Mechanism::Unprotected`].
    pub rho: Option<Rho>,
}

/// Why a spec cannot run. The coordinator is to blame in every variant.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The plan is out of range.
    #[error("the plan is not admissible")]
    Plan(#[from] PlanError),
    /// The cohort floors are violated.
    #[error("the cohort rule is not admissible")]
    Cohort(#[from] CohortError),
    /// A number of the spec outside its range.
    #[error("round {round}: {field} must be {expected}")]
    Range {
        /// The round.
        round: RoundNumber,
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The lattice is too coarse for the vector's length.
    #[error(
        "plan '{plan}': the bound at one agent, {delta}, is not well above √d/2 = {half_root}: \
         raise scale_bits, else rounding exceeds the clip"
    )]
    Coarse {
        /// The plan's name.
        plan: String,
        /// ⌊Δ/M_cap⌋.
        delta: u64,
        /// √d/2, rounded up.
        half_root: u64,
    },
    /// One agent's noise share, or a layer of it, would be below 16 lattice units.
    #[error(
        "plan '{plan}': an agent's noise share, or a layer of it, has variance below 16²: raise \
         scale_bits"
    )]
    NoiseTooFine {
        /// The plan's name.
        plan: String,
    },
    /// The sum could wrap around the modulus.
    #[error(
        "plan '{plan}': a sum could need {bits} bits; at most 62 are possible: lower scale_bits or persons_max"
    )]
    Wraps {
        /// The plan's name.
        plan: String,
        /// Bits needed.
        bits: u32,
    },
}

/// Smallest admissible standard deviation of one agent's noise share, in lattice units.
pub const SHARE_SIGMA_MIN: u64 = 16;

/// Longest time in milliseconds that a round may give its agents to get ready, and as long again to
/// upload: a day each. An agent wipes a round's secrets at its own deadline, which these two decide
/// but for a constant, so that no coordinator may name any number.
pub const PHASE_WITHIN_MS_MAX: u32 = 24 * 60 * 60 * 1000;

/// Largest modulus in bits, so that a centred sum fits an `i64` with room to spare.
pub const MODULUS_BITS_MAX: u32 = 62;

impl RoundSpec {
    /// Length of the vectors that are masked and summed: the task's coordinates, then the plan's
    /// canary lanes.
    #[must_use]
    pub fn vector_length(&self) -> usize {
        self.shape.coordinates as usize + self.plan.canary_lanes as usize
    }

    /// Derives Δ, the modulus, the noise share and ρ for a roster of `agents`, and refuses a spec
    /// that is out of range, too coarse, too fine or could wrap.
    ///
    /// # Errors
    /// [`SpecError`] says which rule is violated.
    pub fn derive(&self, agents: u32) -> Result<Derived, SpecError> {
        self.plan.check()?;
        self.plan.cohort.check(agents)?;
        let range = |field, expected| Err(SpecError::Range { round: self.round, field, expected });
        let coordinates = u64::from(self.shape.coordinates);
        if coordinates == 0 || coordinates > COORDINATES_MAX as u64 {
            return range("shape.coordinates", "1 to 2^24");
        }
        if self.vector_length() > COORDINATES_MAX {
            return range("canary_lanes", "at most 2^24 together with the task's coordinates");
        }
        if self.shape.clip <= Rational::zero() || self.shape.clip > Rational::from_integer(1 << 20)
        {
            return range("shape.clip", "positive and at most 2^20");
        }
        if usize::from(self.key_index) >= ROUNDS_PER_EPOCH_MAX {
            return range("key_index", "below 64");
        }
        if self.step >= self.plan.rounds {
            return range("step", "below the plan's rounds");
        }
        if self.ready_within_ms > PHASE_WITHIN_MS_MAX {
            return range("ready_within_ms", "at most a day");
        }
        if self.upload_within_ms > PHASE_WITHIN_MS_MAX {
            return range("upload_within_ms", "at most a day");
        }
        let delta = self.delta()?;
        let clip = delta / u64::from(self.plan.stores_max);
        let half_root = coordinates.isqrt() / 2 + 1;
        if clip < 2 * half_root {
            let plan = self.plan.name.clone();
            return Err(SpecError::Coarse { plan, delta: clip, half_root });
        }
        let (share_variance, rho) = self.noise(delta)?;
        let layers = self.layers(agents)?;
        let modulus_bits = self.modulus_bits(agents, clip, share_variance.as_ref())?;
        Ok(Derived { agents, delta, clip, modulus_bits, share_variance, layers, rho })
    }

    /// Δ = ⌊C·2^s⌋: rounded down, so that the integer bound never exceeds the real one.
    fn delta(&self) -> Result<u64, SpecError> {
        let scaled = &self.shape.clip * &Rational::from_integer(1u64 << self.plan.scale_bits);
        u64::try_from(scaled.floor())
            .map_err(|_| SpecError::Wraps { plan: self.plan.name.clone(), bits: 64 })
    }

    fn noise(&self, delta: u64) -> Result<(Option<Rational>, Option<Rho>), SpecError> {
        let Mechanism::DiscreteGaussian { sigma_squared, .. } = &self.plan.mechanism else {
            return Ok((None, None));
        };
        let honest = self.plan.cohort.honest_min();
        let share = sigma_squared / &Rational::from_integer(i64::from(honest));
        self.check_fineness(&share)?;
        let rho =
            Rho::of_distributed_gaussian(delta, sigma_squared, honest, self.shape.coordinates);
        Ok((Some(share), Some(rho)))
    }

    /// The layers of one share. Each must be as coarse as a share in one piece: the bound on τ
    /// that ρ charges holds for any number of parts of variance 16² or more (`docs/privacy.md`).
    fn layers(&self, agents: u32) -> Result<Vec<NoiseLayer>, SpecError> {
        let Mechanism::DiscreteGaussian { sigma_squared, remove_surplus } = &self.plan.mechanism
        else {
            return Ok(Vec::new());
        };
        let layers = noise::layers(&self.plan.cohort, agents, sigma_squared, *remove_surplus);
        layers.iter().try_for_each(|layer| self.check_fineness(&layer.variance))?;
        Ok(layers)
    }

    fn check_fineness(&self, variance: &Rational) -> Result<(), SpecError> {
        if *variance < Rational::from_integer((SHARE_SIGMA_MIN * SHARE_SIGMA_MIN) as i64) {
            return Err(SpecError::NoiseTooFine { plan: self.plan.name.clone() });
        }
        Ok(())
    }

    /// w = ⌈log2(2(nB + 12σ_max) + 1)⌉ with B = P_max·⌊Δ/M_cap⌋ and σ_max² = nσ²/(T_min - A).
    fn modulus_bits(
        &self,
        agents: u32,
        clip: u64,
        share: Option<&Rational>,
    ) -> Result<u8, SpecError> {
        let wraps = |bits| SpecError::Wraps { plan: self.plan.name.clone(), bits };
        let sum = u128::from(agents) * u128::from(self.plan.persons_max) * u128::from(clip);
        let noise = match share {
            None => 0,
            Some(share) => {
                let variance = share * &Rational::from_integer(i64::from(agents));
                let variance = u128::try_from(variance.ceil()).map_err(|_| wraps(128))?;
                12 * (variance.isqrt() + 1)
            }
        };
        let span = sum.checked_add(noise).and_then(|half| half.checked_mul(2)).ok_or(wraps(128))?;
        let bits = 128 - span.leading_zeros();
        if bits > MODULUS_BITS_MAX { Err(wraps(bits)) } else { Ok(bits as u8) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{CohortRule, Parameters, TaskSpec};

    fn spec() -> RoundSpec {
        RoundSpec {
            federation: FederationId::new("test").unwrap(),
            epoch: Epoch(1),
            round: RoundNumber(1),
            key_index: 0,
            step: 0,
            plan: Plan {
                name: "plan".into(),
                task: TaskSpec { name: "popularity".into(), parameters: Parameters::default() },
                rounds: 1,
                mechanism: Mechanism::DiscreteGaussian {
                    sigma_squared: Rational::from_integer(1u64 << 32),
                    remove_surplus: false,
                },
                scale_bits: 16,
                persons_max: 256,
                stores_max: 1,
                cohort: CohortRule { enrolled: 99, corrupt: 10, survivors_min: 90 },
                catalogue: Digest::plain(b"catalogue"),
                events_before_s: 0,
                canary_lanes: 0,
            },
            shape: Shape { coordinates: 1847, clip: Rational::one() },
            model: Digest::plain(b"model"),
            ready_within_ms: 1000,
            upload_within_ms: 1000,
            keystream: Keystream::Aes256Ctr,
            sign_off: None,
        }
    }

    #[test]
    fn derived_numbers_by_hand() {
        let derived = spec().derive(99).unwrap();
        assert_eq!(derived.delta, 65536);
        assert_eq!(derived.share_variance, Rational::new(1u64 << 32, 80));
        // nB = 99·256·65536 = 1,660,944,384; 12σ_max = 12·72,905 = 874,860 and a little;
        // twice that and one is below 2^32.
        assert_eq!(derived.modulus_bits, 32);
        // Δ²/(2σ²) = 1/2, and a trace of τd.
        let rho = derived.rho.unwrap();
        assert!(*rho.as_rational() > Rational::new(1, 2).unwrap());
        assert!(*rho.as_rational() < Rational::new(500_000_001, 1_000_000_000).unwrap());
    }

    #[test]
    fn the_modulus_holds_every_possible_sum() {
        for persons_max in [1, 7, 255, 256, 1000, 1 << 20] {
            for scale_bits in [12, 16, 20] {
                let mut spec = spec();
                spec.plan.persons_max = persons_max;
                spec.plan.scale_bits = scale_bits;
                let derived = spec.derive(99).unwrap();
                let extreme = 99 * i128::from(persons_max) * i128::from(derived.delta);
                assert!(2 * extreme < 1i128 << derived.modulus_bits);
            }
        }
    }

    #[test]
    fn the_shares_of_all_agents_add_up_to_no_more_than_delta() {
        for stores_max in [1, 2, 3, 7, 12, 99] {
            let mut spec = spec();
            spec.plan.stores_max = stores_max;
            let derived = spec.derive(99).unwrap();
            assert!(derived.clip * u64::from(stores_max) <= derived.delta);
            assert!((derived.clip + 1) * u64::from(stores_max) > derived.delta);
            // What a person costs does not depend on how the person is divided.
            let whole = self::spec().derive(99).unwrap();
            assert_eq!((derived.delta, &derived.rho), (whole.delta, &whole.rho));
        }
        for stores_max in [0, 100] {
            let mut spec = spec();
            spec.plan.stores_max = stores_max;
            assert!(matches!(spec.derive(99), Err(SpecError::Plan(_))), "{stores_max}");
        }
        // A share too small for the lattice is refused like a clip too small.
        let mut coarse = spec();
        (coarse.plan.scale_bits, coarse.plan.stores_max) = (10, 12);
        coarse.shape.coordinates = 1 << 14;
        assert!(matches!(coarse.derive(99), Err(SpecError::Coarse { delta: 85, .. })));
    }

    /// Lanes hold noise alone: nothing that is derived for the task depends on them.
    #[test]
    fn lanes_make_the_vector_longer_and_nothing_else() {
        let bare = spec();
        let mut laned = spec();
        laned.plan.canary_lanes = 256;
        assert_eq!((bare.vector_length(), laned.vector_length()), (1847, 1847 + 256));
        assert_eq!(bare.derive(99).unwrap(), laned.derive(99).unwrap());
        assert_ne!(bare.plan.digest().unwrap(), laned.plan.digest().unwrap());
        for (lanes, coordinates) in [(255, 1847), ((1 << 20) + 1, 1847), (256, (1 << 24) - 255)] {
            laned.plan.canary_lanes = lanes;
            laned.shape.coordinates = coordinates;
            assert!(laned.derive(99).is_err(), "{lanes}");
        }
        let mut bare = bare;
        (bare.plan.canary_lanes, bare.plan.mechanism) = (256, Mechanism::Unprotected);
        assert!(matches!(bare.derive(99), Err(SpecError::Plan(_))));
    }

    #[test]
    fn no_phase_may_take_more_than_a_day() {
        let spec = |ready_within_ms, upload_within_ms| {
            RoundSpec { ready_within_ms, upload_within_ms, ..spec() }.derive(99)
        };
        assert!(spec(PHASE_WITHIN_MS_MAX, PHASE_WITHIN_MS_MAX).is_ok());
        for (ready, upload, late) in [
            (PHASE_WITHIN_MS_MAX + 1, 0, "ready_within_ms"),
            (0, PHASE_WITHIN_MS_MAX + 1, "upload_within_ms"),
            (u32::MAX, u32::MAX, "ready_within_ms"),
        ] {
            let refused = spec(ready, upload);
            assert!(
                matches!(&refused, Err(SpecError::Range { field, .. }) if *field == late),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn what_could_go_wrong_is_refused_when_it_is_made() {
        let mut coarse = spec();
        coarse.plan.scale_bits = 5;
        coarse.shape.coordinates = 1 << 20;
        assert!(matches!(coarse.derive(99), Err(SpecError::Coarse { .. })));
        let mut fine = spec();
        let mechanism = |sigma_squared: i64, remove_surplus| Mechanism::DiscreteGaussian {
            sigma_squared: Rational::from_integer(sigma_squared),
            remove_surplus,
        };
        fine.plan.mechanism = mechanism(80 * 256 - 1, false);
        assert!(matches!(fine.derive(99), Err(SpecError::NoiseTooFine { .. })));
        // A share that is coarse enough in one piece, and too fine in layers.
        fine.plan.mechanism = mechanism(80 * 256, false);
        assert!(fine.derive(99).is_ok());
        fine.plan.mechanism = mechanism(80 * 256, true);
        assert!(matches!(fine.derive(99), Err(SpecError::NoiseTooFine { .. })));
        let mut wraps = spec();
        wraps.plan.scale_bits = 40;
        wraps.plan.persons_max = 1 << 24;
        assert!(matches!(wraps.derive(99), Err(SpecError::Wraps { .. })));
        let mut small = spec();
        small.plan.cohort.survivors_min = 12;
        assert!(matches!(small.derive(99), Err(SpecError::Cohort(_))));
    }

    #[test]
    fn a_plan_round_trips_through_the_codec_and_json() {
        let mut plan = spec().plan;
        plan.task.parameters.0.insert("rank".into(), crate::Parameter::Integer(8));
        plan.task.parameters.0.insert("eta".into(), crate::Parameter::Real(300.0));
        let bytes = chorale_wire::codec::encode(&plan, 1 << 14).unwrap();
        assert_eq!(chorale_wire::codec::decode::<Plan>(&bytes, 1 << 14).unwrap(), plan);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}
