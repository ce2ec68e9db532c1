//! What a ledger records, and never: user counts, norms, clipped fractions, sums before noise.

use std::fmt;

use chorale_dp::{Cap, Rational, Rho, sampler::fast::total_variation_bound};
use chorale_plan::{Derived, Mechanism, PlanError, RoundSpec};
use chorale_wire::{
    AgentId, DecodeError, Digest, EncodeError, Epoch, FederationId, Membership, PublicKey,
    RoundNumber, Signature, Signed,
    message::{AbortCause, RefusalCode},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::canary::{CanaryCommitment, CanaryOpening};
use crate::canonical::{hex32, hex32_list, hex64, hex64_list, number, whole};
use crate::chain::Head;
use crate::change::ChangeEntry;

/// Names the way costs are computed and added up; a verifier refuses a ledger with another.
pub const ACCOUNTANT_VERSION: &str = "zcdp-discrete-gaussian-1";

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Entry {
    /// The first entry: what the federation promises.
    Genesis(Box<GenesisEntry>),
    /// The agents of an epoch.
    Roster(RosterEntry),
    /// A round's cost is set aside, before its plan leaves the coordinator.
    Reserve(Box<ReserveEntry>),
    /// The round's total was unmasked.
    Release(Box<ReleaseEntry>),
    /// The round ended without a total.
    Abort(AbortEntry),
    /// The agents have cosigned an earlier head.
    Cosigned(CosignedEntry),
    /// The promise changes.
    Change(Box<ChangeEntry>),
}

/// What a federation promises, for its lifetime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenesisEntry {
    /// The federation.
    pub federation: FederationId,
    /// Whom the figures protect.
    pub unit: Unit,
    /// What neighbouring data sets are.
    pub adjacency: Adjacency,
    /// How one person at several stores is bounded.
    pub identity_method: IdentityMethod,
    /// M_cap: most agents at which one person counts; present exactly for
    /// [`IdentityMethod::UniformShare`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores_max: Option<u32>,
    /// The δ that the federation promises in all, above 0 and below 1.
    pub delta: Rational,
    /// The part of δ kept for what ρ does not cover (the sampler's distance from the exact law);
    /// ε is computed at the rest.
    pub delta_reserved: Rational,
    /// Cap on the sum of ρ, or `unprotected`: ε = ∞, no round has noise.
    pub cap_rho: Privacy,
    /// Caps over rolling windows and families of tasks, ascending by name; absent where there are
    /// none, as in a federation without noise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<Cap>,
    /// Identities on the authority's enrolment list, N.
    pub enrolled: u32,
    /// Agents assumed corrupt, A.
    pub corrupt: u32,
    /// Smallest admissible number of survivors in any round, T_min.
    pub survivors_min: u32,
    /// Digest of the declared item catalogue.
    #[serde(with = "hex32")]
    pub catalogue: Digest,
    /// The key that signs this ledger.
    #[serde(with = "hex32")]
    pub coordinator: PublicKey,
    /// The enrolment authority's key.
    #[serde(with = "hex32")]
    pub authority: PublicKey,
    /// The key without whose signature no plan runs ([`chorale_plan::SignOff`]).
    #[serde(with = "hex32")]
    pub compliance: PublicKey,
    /// Earlier federations over the same people, ascending by name: what they spent counts.
    pub predecessors: Vec<Predecessor>,
    /// [`ACCOUNTANT_VERSION`].
    pub accountant_version: String,
    /// The coordinator's software, name and version.
    pub software: String,
    /// What the federation is for, for example `evaluation only`.
    pub purpose: String,
}

/// An earlier federation over the same people, and the end of its ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Predecessor {
    /// The federation.
    pub federation: FederationId,
    /// The last entry of its ledger.
    #[serde(deserialize_with = "whole")]
    pub seq: u64,
    /// That entry's hash.
    #[serde(with = "hex32")]
    pub hash: Digest,
}

impl Predecessor {
    /// The end of its ledger.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

/// The agents of an epoch, as they certified them to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// The epoch, above every earlier one.
    #[serde(deserialize_with = "number")]
    pub epoch: Epoch,
    /// [`chorale_wire::message::Roster::digest`].
    #[serde(with = "hex32")]
    pub roster: Digest,
    /// Digest of the roster and all its agents' nonces; sessions bind it.
    #[serde(with = "hex32")]
    pub graph_seed: Digest,
    /// The agents, strictly ascending.
    pub agents: Vec<AgentId>,
    /// The enrolment authority's word for each agent's identity key, in the same order: whose
    /// signatures count in this epoch.
    pub memberships: Vec<MembershipLine>,
}

/// A [`Membership`] without the agent's name, which stands beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipLine {
    /// [`Membership::identity`].
    #[serde(with = "hex32")]
    pub identity: PublicKey,
    /// [`Membership::tls_key`].
    #[serde(with = "hex32")]
    pub tls_key: Digest,
    /// [`Membership::administrator`].
    #[serde(with = "hex32")]
    pub administrator: PublicKey,
    /// [`Membership::not_before_s`].
    #[serde(deserialize_with = "whole")]
    pub not_before_s: u64,
    /// [`Membership::not_after_s`].
    #[serde(deserialize_with = "whole")]
    pub not_after_s: u64,
    /// [`Membership::enrolled`].
    pub enrolled: u32,
    /// The authority's signature over the membership.
    #[serde(with = "hex64")]
    pub signature: Signature,
}

impl RosterEntry {
    /// The roster of an epoch from its agents' memberships in slot order.
    ///
    /// # Errors
    /// [`DecodeError`] when one cannot be read.
    pub fn of(
        epoch: Epoch,
        roster: Digest,
        graph_seed: Digest,
        memberships: &[Signed<Membership>],
    ) -> Result<Self, DecodeError> {
        let read = |signed: &Signed<Membership>| {
            let membership = signed.peek()?;
            let line = MembershipLine {
                identity: membership.identity,
                tls_key: membership.tls_key,
                administrator: membership.administrator,
                not_before_s: membership.not_before_s,
                not_after_s: membership.not_after_s,
                enrolled: membership.enrolled,
                signature: signed.signature(),
            };
            Ok((membership.agent, line))
        };
        let members = memberships.iter().map(read).collect::<Result<Vec<_>, DecodeError>>()?;
        let (agents, memberships) = members.into_iter().unzip();
        Ok(Self { epoch, roster, graph_seed, agents, memberships })
    }
}

impl MembershipLine {
    /// The membership of `agent` as the authority signed it, not verified.
    pub(crate) fn signed(&self, agent: &AgentId) -> Result<Signed<Membership>, EncodeError> {
        let membership = Membership {
            agent: agent.clone(),
            identity: self.identity,
            tls_key: self.tls_key,
            administrator: self.administrator,
            not_before_s: self.not_before_s,
            not_after_s: self.not_after_s,
            enrolled: self.enrolled,
        };
        Signed::with_signature(&membership, self.signature)
    }
}

/// A round's cost and all that it is computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveEntry {
    /// The round, above every earlier one.
    #[serde(deserialize_with = "number")]
    pub round: RoundNumber,
    /// The epoch, that of the latest roster.
    #[serde(deserialize_with = "number")]
    pub epoch: Epoch,
    /// The plan's name.
    pub plan: String,
    /// [`chorale_plan::Plan::digest`].
    #[serde(with = "hex32")]
    pub plan_digest: Digest,
    /// The compliance key's signature under [`chorale_plan::SignOff`] for this plan.
    #[serde(with = "hex64")]
    pub sign_off: Signature,
    /// The task's name.
    pub task: String,
    /// The mechanism.
    pub mechanism: MechanismName,
    /// Length d of the vector.
    pub coordinates: u32,
    /// One real unit is 2^`scale_bits` lattice units.
    pub scale_bits: u8,
    /// Integer L2 bound Δ of one person's vectors over all agents together, in lattice units.
    #[serde(deserialize_with = "whole")]
    pub delta: u64,
    /// Variance of one agent's share of the noise, σ²/(T_min - A); absent without noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_variance: Option<Rational>,
    /// Levels u_0 > u_1 > ... > u_m = T_min of the layers that a share comes in, u_0 being the
    /// roster's size: with at least u_j survivors, the layers after j are taken off again. Absent
    /// where shares come in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_levels: Option<Vec<u32>>,
    /// σ² that T_min - A honest survivors carry together; absent without noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigma_squared: Option<Rational>,
    /// T_min of the plan, at least that of GENESIS.
    pub survivors_min: u32,
    /// A of the plan, that of GENESIS.
    pub corrupt: u32,
    /// Bits w of the masks' modulus.
    pub modulus_bits: u8,
    /// How one person at several stores is bounded, as in GENESIS.
    pub clip_share_rule: IdentityMethod,
    /// The part of Δ that one agent's vector of a person may have, 1/M_cap; present exactly for
    /// [`IdentityMethod::UniformShare`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_share: Option<Rational>,
    /// How real coordinates become integers.
    pub rounding_rule: RoundingRule,
    /// Bound on the total variation distance of one agent's noise in one coordinate, all its layers
    /// together, from the exact law, paid from δ; absent without noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler_distance: Option<Rational>,
    /// Canary lanes behind the coordinates, and the commitment to their coins; absent without
    /// lanes. They hold no data and cost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canaries: Option<CanaryCommitment>,
    /// Digest of the model that the contributions are computed on.
    #[serde(with = "hex32")]
    pub model: Digest,
    /// Cost of the round, Δ²/(2σ²) + τd.
    pub rho: Privacy,
}

/// A round's total was unmasked, and the model made from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseEntry {
    /// The round.
    #[serde(deserialize_with = "number")]
    pub round: RoundNumber,
    /// The bytes of the session id.
    #[serde(with = "hex32")]
    pub session: Digest,
    /// The certified survivors, strictly ascending.
    pub survivors: Vec<AgentId>,
    /// Plain SHA-256 of each survivor's packed vector, in the same order.
    #[serde(with = "hex32_list")]
    pub vectors: Vec<Digest>,
    /// Digest of the messages that certify the survivors.
    #[serde(with = "hex32")]
    pub transcript: Digest,
    /// Digest of the model after the round.
    #[serde(with = "hex32")]
    pub output_model: Digest,
    /// The canaries' coins and what their lanes showed; present exactly where RESERVE commits to
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canaries: Option<CanaryOpening>,
    /// Agents that refused the round before its cohort was fixed, ascending; absent where none did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalLine>,
    /// What the round is charged: all that it reserved.
    pub rho: Privacy,
    /// Sum of all charges, this one included.
    pub spent: Privacy,
}

/// A round ended without a total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortEntry {
    /// The round.
    #[serde(deserialize_with = "number")]
    pub round: RoundNumber,
    /// Why.
    #[serde(serialize_with = "cause_to_text", deserialize_with = "cause_from_text")]
    pub cause: AbortCause,
    /// Whether COMMIT was sent, so that masked vectors may have left agents.
    pub committed: bool,
    /// Whether agents were asked for shares.
    pub unmask_started: bool,
    /// What the round is charged: all that it reserved; or nothing if COMMIT was never sent, or if
    /// the agents voted to abort.
    pub rho_charged: Privacy,
    /// Sum of all charges, this one included.
    pub spent: Privacy,
    /// The agents' votes, where they give the charge back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Box<AbortProof>>,
    /// Agents that refused the round before its cohort was fixed, ascending; absent where none did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalLine>,
}

/// An agent's own word that it refused a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalLine {
    /// The agent.
    pub agent: AgentId,
    /// Why.
    pub why: RefusalKind,
    /// The agent's signature under a [`chorale_wire::message::Refusal`] of the round's plan.
    #[serde(with = "hex64")]
    pub signature: Signature,
}

/// Kinds of refusal that depend on public parameters only: what an agent was not able to do is none
/// of them, as that may depend on its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The agent's policy does not admit the plan.
    Policy,
    /// The agent's budget does not cover the round.
    Budget,
    /// The agent's owner stopped it.
    Stopped,
    /// The compliance key that the agent's policy names has not signed the plan off.
    SignOff,
}

impl RefusalKind {
    /// The kind of a refusal; `None` for one that may depend on data.
    #[must_use]
    pub fn of(code: RefusalCode) -> Option<Self> {
        match code {
            RefusalCode::Policy => Some(Self::Policy),
            RefusalCode::Budget => Some(Self::Budget),
            RefusalCode::Stopped => Some(Self::Stopped),
            RefusalCode::SignOff => Some(Self::SignOff),
            RefusalCode::Unable => None,
        }
    }

    /// The word that agents sign.
    #[must_use]
    pub fn code(self) -> RefusalCode {
        match self {
            Self::Policy => RefusalCode::Policy,
            Self::Budget => RefusalCode::Budget,
            Self::Stopped => RefusalCode::Stopped,
            Self::SignOff => RefusalCode::SignOff,
        }
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "policy",
            Self::Budget => "budget",
            Self::Stopped => "stopped",
            Self::SignOff => "sign-off",
        })
    }
}

impl Entry {
    /// A RELEASE or an ABORT with the refusals of its round; other entries have none.
    #[must_use]
    pub fn with_refusals(mut self, refusals: Vec<RefusalLine>) -> Self {
        match &mut self {
            Self::Release(release) => release.refusals = refusals,
            Self::Abort(abort) => abort.refusals = refusals,
            _ => {}
        }
        self
    }
}

/// T agents' votes to abort one session, and what makes that session: proof that the vectors which
/// may have left will never be unmasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortProof {
    /// Payload digest of the signed round spec.
    #[serde(with = "hex32")]
    pub spec: Digest,
    /// The cohort, strictly ascending.
    pub cohort: Vec<AgentId>,
    /// Who voted to abort, strictly ascending.
    pub voters: Vec<AgentId>,
    /// Each voter's signature, in the same order.
    #[serde(with = "hex64_list")]
    pub signatures: Vec<Signature>,
}

/// T agents of the roster in force have cosigned the ledger up to an earlier entry: they saw no other
/// history up to there, and will sign none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosignedEntry {
    /// The entry up to which they have.
    #[serde(deserialize_with = "whole")]
    pub seq: u64,
    /// Its hash.
    #[serde(with = "hex32")]
    pub hash: Digest,
    /// Who cosigned, strictly ascending.
    pub voters: Vec<AgentId>,
    /// Each one's signature over a [`chorale_wire::message::LedgerHead`], in the same order.
    #[serde(with = "hex64_list")]
    pub signatures: Vec<Signature>,
}

impl ReserveEntry {
    /// The reservation of a round, from its spec and what was derived from it, for agents that
    /// use the fast sampler. `sign_off` is the compliance key's for the plan. A plan with canary
    /// lanes needs [`Self::with_canaries`] too.
    ///
    /// # Errors
    /// [`PlanError`] when the plan cannot be encoded.
    pub fn of(spec: &RoundSpec, derived: &Derived, sign_off: Signature) -> Result<Self, PlanError> {
        let (mechanism, sigma_squared) = match &spec.plan.mechanism {
            Mechanism::DiscreteGaussian { sigma_squared, .. } => {
                (MechanismName::DiscreteGaussian, Some(sigma_squared.clone()))
            }
            Mechanism::Unprotected => (MechanismName::Unprotected, None),
        };
        Ok(Self {
            round: spec.round,
            epoch: spec.epoch,
            plan: spec.plan.name.clone(),
            plan_digest: spec.plan.digest()?,
            sign_off,
            task: spec.plan.task.name.clone(),
            mechanism,
            coordinates: spec.shape.coordinates,
            scale_bits: spec.plan.scale_bits,
            delta: derived.delta,
            share_variance: derived.share_variance.clone(),
            noise_levels: (derived.layers.len() > 1)
                .then(|| derived.layers.iter().map(|layer| layer.survivors).collect()),
            sigma_squared,
            survivors_min: spec.plan.cohort.survivors_min,
            corrupt: spec.plan.cohort.corrupt,
            modulus_bits: derived.modulus_bits,
            clip_share_rule: IdentityMethod::of(spec.plan.stores_max),
            clip_share: clip_share(spec.plan.stores_max),
            rounding_rule: RoundingRule::UnbiasedPerCoordinate,
            sampler_distance: derived.share_variance.as_ref().map(|_| {
                &Rational::from_integer(derived.layers.len() as u64) * &total_variation_bound()
            }),
            canaries: None,
            model: spec.model,
            rho: derived.rho.clone().map_or(Privacy::Unprotected, Privacy::Rho),
        })
    }
}

impl ReserveEntry {
    /// The same with a commitment to the canary coins that `seed` gives, for a plan with `lanes`.
    #[must_use]
    pub fn with_canaries(mut self, lanes: u32, seed: &[u8; 32]) -> Self {
        self.canaries = Some(CanaryCommitment::new(lanes, seed, self.round));
        self
    }
}

/// A cost or a cap: an exact ρ, or the word `unprotected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// An exact ρ.
    Rho(Rho),
    /// No noise: ε = ∞.
    Unprotected,
}

impl Privacy {
    /// The ρ; `None` for [`Self::Unprotected`].
    #[must_use]
    pub fn rho(&self) -> Option<&Rho> {
        match self {
            Self::Rho(rho) => Some(rho),
            Self::Unprotected => None,
        }
    }
}

impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rho(rho) => fmt::Display::fmt(rho, f),
            Self::Unprotected => f.write_str("unprotected"),
        }
    }
}

impl Serialize for Privacy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Rho(rho) => rho.serialize(to),
            Self::Unprotected => to.serialize_str("unprotected"),
        }
    }
}

impl<'de> Deserialize<'de> for Privacy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "unprotected" {
            return Ok(Self::Unprotected);
        }
        let value = Rational::parse(&text).map_err(D::Error::custom)?;
        Rho::new(value).map(Self::Rho).map_err(D::Error::custom)
    }
}

/// Whom the figures protect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// One person, over all agents and all rounds of the federation.
    Person,
    /// One person at one agent: weaker, for federations that cannot tell persons apart.
    PersonPerAgent,
}

/// What neighbouring data sets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adjacency {
    /// One person's data is added or removed.
    AddRemove,
}

/// How one person at several stores is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityMethod {
    /// A person counts at one store only, the one that the data names as theirs, with all of Δ.
    HomeStore,
    /// A person counts at up to M_cap agents, at each with ⌊Δ/M_cap⌋.
    UniformShare,
    /// Not at all: a person counts with all of Δ at each agent that knows them.
    PerAgent,
}

impl IdentityMethod {
    /// The rule of plans with this M_cap.
    #[must_use]
    pub fn of(stores_max: u32) -> Self {
        if stores_max > 1 { Self::UniformShare } else { Self::HomeStore }
    }
}

/// 1/M_cap, where a person may count at several agents.
fn clip_share(stores_max: u32) -> Option<Rational> {
    if stores_max > 1 { Rational::new(1, stores_max) } else { None }
}

/// The mechanism's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MechanismName {
    /// Distributed discrete Gaussian.
    DiscreteGaussian,
    /// No noise.
    Unprotected,
}

/// How real coordinates become integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundingRule {
    /// Each coordinate up or down at random without bias, per person, before the integer clip.
    UnbiasedPerCoordinate,
}

/// The word for a cause.
pub(crate) fn cause_text(cause: AbortCause) -> &'static str {
    match cause {
        AbortCause::Cohort => "cohort",
        AbortCause::Survivors => "survivors",
        AbortCause::Votes => "votes",
        AbortCause::Shares => "shares",
        AbortCause::Stopped => "stopped",
    }
}

fn cause_to_text<S: Serializer>(cause: &AbortCause, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(cause_text(*cause))
}

fn cause_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<AbortCause, D::Error> {
    let text = String::deserialize(from)?;
    [
        AbortCause::Cohort,
        AbortCause::Survivors,
        AbortCause::Votes,
        AbortCause::Shares,
        AbortCause::Stopped,
    ]
    .into_iter()
    .find(|cause| cause_text(*cause) == text)
    .ok_or_else(|| D::Error::custom("not a cause of an abort"))
}
