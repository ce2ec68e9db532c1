//! One round: READY, COMMIT, MASKED, SURVIVORS, certificate, REVEAL, RESULT or ABORT.
//!
//! ROUND-OPEN carries a signed round spec, a type of the `plan` crate, as [`crate::SignedBytes`].

use serde::{Deserialize, Serialize};

use super::control::Reason;
use crate::{
    Digest, Epoch, FederationId, RoundNumber, SessionId, Signed, SignedBytes, Slot, SlotSet,
    certificate::VoterSignature,
    limits::{AGENTS_MAX, NEIGHBOURS_MAX, REASON_BYTES_MAX, SPEC_BYTES_MAX},
    sign::Message,
};

/// Agent to coordinator: the agent admitted the spec, has trained and wants to be in the cohort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The epoch.
    pub epoch: Epoch,
    /// The round.
    pub round: RoundNumber,
    /// The agent's slot.
    pub slot: Slot,
    /// Payload digest of the signed round spec.
    pub spec: Digest,
}

impl Message for Ready {
    const CONTEXT: &'static str = "ready";
    const BYTES_MAX: usize = 128;
}

/// Agent to coordinator: the agent does not take part, for a reason that depends on public
/// parameters only. Evidence for the ledger, which names the plan and never an agent's words: those
/// go beside it, unsigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The federation.
    pub federation: FederationId,
    /// The epoch.
    pub epoch: Epoch,
    /// The round.
    pub round: RoundNumber,
    /// The agent's slot.
    pub slot: Slot,
    /// Digest of the plan that was refused.
    pub plan: Digest,
    /// What kind of refusal.
    pub code: RefusalCode,
}

impl Message for Refusal {
    const CONTEXT: &'static str = "refusal";
    const BYTES_MAX: usize = 160;
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The agent's own policy does not admit the plan.
    Policy,
    /// The agent's privacy budget does not cover the round.
    Budget,
    /// The agent cannot take part (disk, data source, version).
    Unable,
    /// The agent's owner stopped it.
    Stopped,
    /// The compliance key that the agent's policy names has not signed the plan off.
    SignOff,
}

/// Coordinator to agents: the cohort of the round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The epoch.
    pub epoch: Epoch,
    /// The round.
    pub round: RoundNumber,
    /// Payload digest of the signed round spec.
    pub spec: Digest,
    /// The agents whose masks are in play.
    pub cohort: SlotSet,
}

impl Message for Commit {
    const CONTEXT: &'static str = "commit";
    const BYTES_MAX: usize = 256 + AGENTS_MAX / 8;
}

/// Precedes a masked vector on its upload stream, signed by the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskedHeader {
    /// The session.
    pub session: SessionId,
    /// The agent's slot.
    pub slot: Slot,
    /// Length of the packed vector in bytes.
    pub length: u64,
    /// Plain SHA-256 of the packed vector.
    pub digest: Digest,
    /// Commitment to the seeds of the vector's removable noise; exactly where the round's noise
    /// shares have more than one layer.
    pub noise: Option<Digest>,
}

impl Message for MaskedHeader {
    const CONTEXT: &'static str = "masked header";
    const BYTES_MAX: usize = 160;
}

/// Coordinator to agents: whose masked vectors arrived before the deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivors {
    /// The session.
    pub session: SessionId,
    /// The survivors, a subset of the cohort.
    pub survivors: SlotSet,
}

impl Message for Survivors {
    const CONTEXT: &'static str = "survivors";
    const BYTES_MAX: usize = 256 + AGENTS_MAX / 8;
}

/// Coordinator to one agent: SURVIVORS, with proof that the survivors whose shares this agent holds
/// masked their vectors for the very session that it is locked to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProvenSurvivors {
    /// The survivors.
    pub fixed: Signed<Survivors>,
    /// The header of the receiver's vector and of those of its neighbours among the survivors, as
    /// they signed them, in slot order: at most one more than [`NEIGHBOURS_MAX`].
    pub headers: Vec<Signed<MaskedHeader>>,
}

/// What an agent signs for a session, at most once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vote {
    /// Unmask the sum over exactly these survivors.
    Survivors(SlotSet),
    /// Unmask nothing.
    Abort,
}

/// Agent to coordinator to agents: the agent's one vote for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurvivorVote {
    /// The session.
    pub session: SessionId,
    /// The voter's slot.
    pub slot: Slot,
    /// The vote.
    pub vote: Vote,
}

impl Message for SurvivorVote {
    const CONTEXT: &'static str = "survivor vote";
    const BYTES_MAX: usize = 256 + AGENTS_MAX / 8;
}

/// Coordinator to agents: at least T votes for one survivor set. The vote of each slot is
/// [`SurvivorVote`] with this session, that slot and these survivors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurvivorCertificate {
    /// The session.
    pub session: SessionId,
    /// The survivors that were voted for.
    pub survivors: SlotSet,
    /// Who signed that vote, in slot order.
    pub signatures: Vec<VoterSignature>,
}

/// Coordinator to agents: at least T votes to abort one session, which is proof that its vectors
/// will never be unmasked. The vote of each slot is [`SurvivorVote`] with this session, that slot
/// and [`Vote::Abort`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortCertificate {
    /// The session.
    pub session: SessionId,
    /// Who signed that vote, in slot order.
    pub signatures: Vec<VoterSignature>,
}

/// Which secret of the subject a share belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShareKind {
    /// Of the self-mask seed: the subject survived.
    SelfSeed,
    /// Of the pairwise key: the subject is in the cohort and did not survive.
    PairwiseKey,
}

/// One share held by the sender of a [`Reveal`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevealedShare {
    /// The agent whose secret was shared.
    pub subject: Slot,
    /// Which of its two secrets.
    pub kind: ShareKind,
    /// The share, a canonical scalar.
    pub share: [u8; 32],
}

impl std::fmt::Debug for RevealedShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RevealedShare({} {:?})", self.subject, self.kind)
    }
}

/// A link of the chain behind [`MaskedHeader::noise`]: it opens the noise layers that the certified
/// survivors make superfluous.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseLink(pub [u8; 32]);

impl std::fmt::Debug for NoiseLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoiseLink(redacted)")
    }
}

/// Agent to coordinator: for each neighbour exactly one of its two shares, and the surplus noise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reveal {
    /// The session.
    pub session: SessionId,
    /// The sender's slot.
    pub slot: Slot,
    /// The shares, ascending by subject.
    pub shares: Vec<RevealedShare>,
    /// What opens this agent's surplus noise; absent where none of it is surplus.
    pub surplus: Option<NoiseLink>,
}

impl Message for Reveal {
    const CONTEXT: &'static str = "reveal";
    const BYTES_MAX: usize = 256 + 64 * NEIGHBOURS_MAX;
}

/// Coordinator to agents: the round is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundResult {
    /// The session.
    pub session: SessionId,
    /// The survivors.
    pub survivors: SlotSet,
    /// Digest of the packed vector of each survivor, in slot order.
    pub vectors: Vec<Digest>,
    /// Digest of the model after the round; the bytes follow on a model stream.
    pub model: Digest,
    /// Ledger head after the RELEASE entry: sequence number and digest.
    pub ledger_sequence: u64,
    /// Digest of that entry.
    pub ledger_head: Digest,
}

impl Message for RoundResult {
    const CONTEXT: &'static str = "round result";
    const BYTES_MAX: usize = 512 + 40 * AGENTS_MAX;
}

/// Coordinator to agents: the round ends without a result. Secrets of the round are deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Abort {
    /// The epoch.
    pub epoch: Epoch,
    /// The round.
    pub round: RoundNumber,
    /// Why.
    pub cause: AbortCause,
    /// For people to read.
    pub reason: Reason,
    /// Asks for votes to abort the round's session: present where the cohort was fixed, so that
    /// vectors may have left agents, and no survivor certificate left the coordinator.
    pub ballot: Option<Ballot>,
}

impl Message for Abort {
    const CONTEXT: &'static str = "abort";
    const BYTES_MAX: usize = 256 + REASON_BYTES_MAX + AGENTS_MAX / 8 + SPEC_BYTES_MAX;
}

/// The session that is to be aborted, by what makes it: an agent computes the session itself and
/// takes its word about no other round, and one that missed ROUND-OPEN can use up the round's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ballot {
    /// The signed round spec, as in ROUND-OPEN.
    pub spec: SignedBytes,
    /// The cohort, as in COMMIT.
    pub cohort: SlotSet,
}

/// Why a round was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortCause {
    /// Too few agents were ready.
    Cohort,
    /// Too few masked vectors arrived.
    Survivors,
    /// Too few votes for one survivor set.
    Votes,
    /// Too few or bad shares to unmask.
    Shares,
    /// The operator or the coordinator stopped it.
    Stopped,
}
