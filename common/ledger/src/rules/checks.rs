//! What single entries must hold by themselves, and the votes that give a charge back.

use chorale_wire::{FederationId, Signed, message::Refusal};

use super::*;
use crate::entry::RefusalLine;

/// The certificate of an abort. The session is *this* round's, put together again from what makes
/// it: votes about another round are none about this one.
pub(super) fn certificate(
    held: &Reservation,
    proof: &AbortProof,
) -> Result<CertifiedRound, Violation> {
    let ReserveEntry { round, epoch, survivors_min, .. } = held.entry;
    let missing = Violation::EpochUnknown { round, epoch };
    let roster = held.roster.as_ref().ok_or(missing)?;
    let named = |agents, field| roster.slots(agents).ok_or(Violation::Voters { round, field });
    let (cohort, voters) = (named(&proof.cohort, "cohort")?, named(&proof.voters, "voters")?);
    if cohort.len() < survivors_min as usize {
        return Err(range("cohort", "at least survivors_min agents"));
    }
    if proof.signatures.len() != voters.len() {
        return Err(range("signatures", "one for each voter"));
    }
    let cohort = SlotSet::from_slots(roster.entry.agents.len(), cohort);
    let seed = &roster.entry.graph_seed;
    let session = SessionId::new(epoch, round, seed, &proof.spec, &cohort);
    let votes = voters.into_iter().zip(&proof.signatures);
    let signatures =
        votes.map(|(slot, signature)| VoterSignature { slot, signature: *signature }).collect();
    Ok(CertifiedRound {
        agents: roster.entry.agents.clone(),
        electorate: roster.electorate.clone(),
        certificate: AbortCertificate { session, signatures },
    })
}

/// Verifies that T agents of the round's roster signed a vote to abort it.
pub(super) fn check_votes(held: &Reservation, proof: &AbortProof) -> Result<(), Violation> {
    let round = held.entry.round;
    let CertifiedRound { agents, electorate, certificate } = certificate(held, proof)?;
    match certificate.verify(&electorate) {
        Ok(_) => Ok(()),
        Err(VotesError::TooFew { given, needed }) => {
            Err(Violation::TooFewVotes { round, votes: given, needed })
        }
        Err(VotesError::Signature { slot, .. }) => {
            let voter = agents.get(slot.index()).cloned();
            let unknown = Violation::Voters { round, field: "voters" };
            Err(voter.map_or(unknown, |voter| Violation::ForgedVote { round, voter }))
        }
        Err(VotesError::Order | VotesError::Stranger { .. } | VotesError::Encode(_)) => {
            Err(Violation::Voters { round, field: "voters" })
        }
    }
}

/// Verifies that who refused signed it, of this very plan, and is not among the `survivors`.
pub(super) fn check_refusals(
    federation: &FederationId,
    held: &Reservation,
    refusals: &[RefusalLine],
    survivors: &[AgentId],
) -> Result<(), Violation> {
    let ReserveEntry { round, epoch, plan_digest: plan, .. } = held.entry;
    let Some(roster) = held.roster.as_ref().filter(|_| !refusals.is_empty()) else {
        return Ok(());
    };
    let wrong = Violation::Refusals { round };
    let agents: Vec<AgentId> = refusals.iter().map(|line| line.agent.clone()).collect();
    let slots = roster.slots(&agents).ok_or(wrong.clone())?;
    if agents.iter().any(|agent| survivors.contains(agent)) {
        return Err(wrong);
    }
    for (slot, line) in slots.into_iter().zip(refusals) {
        let (federation, code) = (federation.clone(), line.why.code());
        let refusal = Refusal { federation, epoch, round, slot, plan, code };
        let member = roster.entry.memberships.get(slot.index()).ok_or(wrong.clone())?;
        let signed = Signed::with_signature(&refusal, line.signature);
        if !signed.is_ok_and(|signed| signed.verify(&member.identity).is_ok()) {
            return Err(Violation::ForgedRefusal { round, agent: line.agent.clone() });
        }
    }
    Ok(())
}

pub(super) fn range(field: &'static str, expected: &'static str) -> Violation {
    Violation::Range { field, expected }
}

pub(super) fn check_text(field: &'static str, text: &str) -> Result<(), Violation> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(range(field, "1 to 128 bytes without control characters"));
    }
    Ok(())
}

pub(super) fn check_genesis(entry: &GenesisEntry) -> Result<(), Violation> {
    if entry.accountant_version != ACCOUNTANT_VERSION {
        return Err(Violation::Accountant { found: entry.accountant_version.clone() });
    }
    check_text("software", &entry.software)?;
    check_text("purpose", &entry.purpose)?;
    if entry.delta <= Rational::zero() || entry.delta >= Rational::one() {
        return Err(range("delta", "above 0 and below 1"));
    }
    if entry.delta_reserved < Rational::zero() || entry.delta_reserved >= entry.delta {
        return Err(range("delta_reserved", "at least 0 and below delta"));
    }
    if entry.unit == Unit::Person && entry.identity_method == IdentityMethod::PerAgent {
        return Err(range("unit", "person-per-agent where persons are not told apart"));
    }
    let names = entry.predecessors.iter().map(|predecessor| &predecessor.federation);
    if !names.clone().is_sorted_by(|a, b| a < b)
        || names.clone().any(|name| *name == entry.federation)
        || entry.predecessors.len() > PREDECESSORS_MAX
    {
        return Err(range("predecessors", "at most 64 other federations, ascending, each once"));
    }
    check_stores(entry)?;
    Cap::check_all(&entry.caps)?;
    if !entry.caps.is_empty() && entry.cap_rho == Privacy::Unprotected {
        return Err(range("caps", "absent in a federation without noise"));
    }
    // T_min agents are the smallest roster that may follow.
    check_cohort(entry, entry.survivors_min, entry.survivors_min)
}

/// M_cap stands where persons are divided, and nowhere else.
pub(super) fn check_stores(entry: &GenesisEntry) -> Result<(), Violation> {
    match (entry.identity_method, entry.stores_max) {
        (IdentityMethod::UniformShare, Some(stores)) if stores >= 2 && stores <= entry.enrolled => {
            Ok(())
        }
        (IdentityMethod::UniformShare, _) => Err(range("stores_max", "2 to the number enrolled")),
        (_, None) => Ok(()),
        (_, Some(_)) => Err(range("stores_max", "absent unless identity_method is uniform-share")),
    }
}

/// The floors of GENESIS, with a T_min that may be higher, for a roster of `agents`.
pub(super) fn check_cohort(
    genesis: &GenesisEntry,
    survivors_min: u32,
    agents: u32,
) -> Result<(), Violation> {
    let GenesisEntry { enrolled, corrupt, .. } = *genesis;
    // Keeps the rule's sums far from overflow.
    if enrolled as usize > AGENTS_MAX || survivors_min > enrolled {
        return Err(range("enrolled, survivors_min", "at most 10,000, survivors_min not above it"));
    }
    if corrupt == 0 || corrupt > enrolled {
        return Err(range("corrupt", "1 to the number enrolled"));
    }
    let rule = CohortRule { enrolled, corrupt, survivors_min };
    rule.check(agents).map_err(|source| Violation::Cohort { agents, source })
}

/// Ranges of the numbers that do not depend on the ledger.
pub(super) fn check_numbers(entry: &ReserveEntry) -> Result<(), Violation> {
    check_text("plan", &entry.plan)?;
    check_text("task", &entry.task)?;
    if entry.coordinates == 0 || entry.coordinates as usize > COORDINATES_MAX {
        return Err(range("coordinates", "1 to 2^24"));
    }
    if entry.scale_bits > 40 {
        return Err(range("scale_bits", "0 to 40"));
    }
    if entry.delta == 0 {
        return Err(range("delta", "1 or more"));
    }
    if !(2..=MODULUS_BITS_MAX).contains(&u32::from(entry.modulus_bits)) {
        return Err(range("modulus_bits", "2 to 62"));
    }
    Ok(())
}

pub(super) fn check_no_cost(entry: &ReserveEntry) -> Result<(), Violation> {
    let none = entry.sigma_squared.is_none()
        && entry.share_variance.is_none()
        && entry.noise_levels.is_none()
        && entry.sampler_distance.is_none();
    if !none {
        return Err(range("sigma_squared, share_variance, sampler_distance", "absent"));
    }
    if entry.rho != Privacy::Unprotected {
        return Err(range("rho", "'unprotected'"));
    }
    Ok(())
}

/// The levels fall from the roster's size to T_min, and every layer that follows from them is as
/// coarse as a share must be, so that τ is bounded as for shares in one piece.
pub(super) fn check_layers(
    entry: &ReserveEntry,
    sigma_squared: &Rational,
) -> Result<(), Violation> {
    let Some(levels) = &entry.noise_levels else { return Ok(()) };
    let falls = levels.windows(2).all(|pair| pair[0] > pair[1]);
    let lengths = 2..=REMOVABLE_LAYERS_MAX as usize + 1;
    if !falls || !lengths.contains(&levels.len()) || levels.last() != Some(&entry.survivors_min) {
        return Err(range("noise_levels", "2 to 5 falling levels that end at survivors_min"));
    }
    let mut below = Rational::zero();
    for level in levels {
        let sum = sigma_squared / &Rational::from_integer(level - entry.corrupt);
        if &sum - &below < Rational::from_integer(SHARE_SIGMA_MIN * SHARE_SIGMA_MIN) {
            return Err(range(
                "noise_levels",
                "such that every layer has variance 16 squared or more",
            ));
        }
        below = sum;
    }
    Ok(())
}
