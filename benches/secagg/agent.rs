//! What one round costs one agent.

use chorale_dp::{
    Aes256CtrRng, FastDiscreteGaussian, Noise as _, Rational, clip::clip_to, rounding::round_dense,
};
use chorale_secagg::{
    EnvelopeContext, EpochSecrets, MaskTicket as _, PairwiseTicket, RoundShares, envelope, mask,
    shamir,
};
use chorale_wire::{
    Digest, Epoch, RoundNumber, SecretKey, Signed, Slot, codec,
    limits::{CONTROL_BYTES_MAX, ROUNDS_PER_EPOCH_MAX},
    message::{
        Commit, MaskedHeader, Ready, Reveal, RevealedShare, ShareEnvelope, ShareKind, SurvivorVote,
        Survivors, Vote,
    },
    sign::Message,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{AnyError, clock::best_cpu, federation::Federation, rates::Rates};

/// One real unit in lattice units, and the bound Δ of a person's vector.
const SCALE_BITS: u8 = 16;

/// CPU seconds and bytes of one agent in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AgentCost {
    /// Rounding, clipping and adding the vector of one person.
    pub(crate) quantise_s: f64,
    /// Key agreements, masks and packing.
    pub(crate) mask_s: f64,
    /// The agent's share of the noise.
    pub(crate) noise_s: f64,
    /// SHA-256 of the vector, signatures made and verified in the round.
    pub(crate) sign_s: f64,
    /// The round's share of an epoch of 64 rounds: keys, secret sharing, envelopes.
    pub(crate) setup_s: f64,
    pub(crate) total_s: f64,
    /// Bytes sent in the round, and the round's share of those sent to set the epoch up.
    pub(crate) bytes: usize,
    /// The floor of `mask_s`: `4d(k+1)/R + k·T_dh`.
    pub(crate) floor_s: f64,
}

/// Measures slot 0.
pub(crate) fn measure(
    federation: &Federation,
    rates: &Rates,
    repeats: usize,
) -> Result<(AgentCost, Vec<u8>), AnyError> {
    let coordinates = federation.setting.coordinates;
    let mut rng = ChaCha20Rng::from_seed([3; 32]);

    let values: Vec<f32> = (0..coordinates).map(|i| (i as f32).sin() / 300.0).collect();
    let (mut row, mut total) = (vec![0i64; coordinates], vec![0i64; coordinates]);
    let mut coins = Aes256CtrRng::from_rng(&mut rng);
    let quantise_s = best_cpu(
        repeats,
        || (),
        |()| {
            let rounded = round_dense(&values, SCALE_BITS, &mut row, &mut coins);
            clip_to(&mut row, 1 << SCALE_BITS);
            for (total, value) in total.iter_mut().zip(&row) {
                *total += value;
            }
            rounded
        },
    );

    let variance = Rational::from_integer(4096u64 * 4096);
    let mut noise = FastDiscreteGaussian::new(&variance, Aes256CtrRng::from_rng(&mut rng))?;
    let noise_s = best_cpu(repeats, || (), |()| noise.add_to(&mut total));

    let mask = |total| mask_slot_0(federation, total);
    let vector = mask(Zeroizing::new(total.clone()))?;
    let mask_s = best_cpu(repeats, || Zeroizing::new(total.clone()), mask);

    let (sign_s, round_bytes) = signatures(federation, &vector, repeats)?;
    let (setup_s, setup_bytes) = setup(federation, repeats)?;

    let cost = AgentCost {
        quantise_s,
        mask_s,
        noise_s,
        sign_s,
        setup_s,
        total_s: quantise_s + mask_s + noise_s + sign_s + setup_s,
        bytes: vector.len() + round_bytes + setup_bytes,
        floor_s: keystream_bytes(federation) / rates.keystream_bytes_per_s
            + federation.degree as f64 * rates.agreement_s,
    };
    Ok((cost, vector))
}

/// Bytes of keystream that masking applies in a second, packing included and key agreement not.
pub(crate) fn masking_bytes_per_s(
    federation: &Federation,
    repeats: usize,
) -> Result<f64, AnyError> {
    let coordinates = federation.setting.coordinates;
    let total = Zeroizing::new((0..coordinates as i64).collect::<Vec<i64>>());
    let ticket = || Ok::<_, AnyError>((ticket(federation)?, total.clone()));
    let seconds = best_cpu(repeats, ticket, |prepared| {
        prepared.and_then(|(ticket, total)| Ok(ticket.mask(total)?))
    });
    Ok(keystream_bytes(federation) / seconds)
}

/// Keystream of one vector: lanes have 8 bytes above 32 bits.
fn keystream_bytes(federation: &Federation) -> f64 {
    let lane_bytes = if federation.binding.modulus.is_narrow() { 4 } else { 8 };
    (lane_bytes * federation.setting.coordinates * (federation.degree + 1)) as f64
}

fn mask_slot_0(federation: &Federation, total: Zeroizing<Vec<i64>>) -> Result<Vec<u8>, AnyError> {
    Ok(ticket(federation)?.mask(total)?.into_bytes())
}

fn ticket(federation: &Federation) -> Result<PairwiseTicket, AnyError> {
    let session = federation.binding.session;
    let peers = federation.neighbours(Slot(0)).map(|peer| federation.public(peer));
    let pairs = mask::pairwise_keys(session, &federation.pairwise[0], Slot(0), peers)?;
    let self_key = mask::self_key(session, federation.secrets[0].self_seed());
    Ok(PairwiseTicket::new(federation.binding, self_key, pairs)?)
}

/// What an agent signs, hashes and verifies in a round; the bytes of its messages beside the
/// vector.
fn signatures(
    federation: &Federation,
    vector: &[u8],
    repeats: usize,
) -> Result<(f64, usize), AnyError> {
    let binding = &federation.binding;
    let agents = federation.setting.agents;
    let coordinator = SecretKey::from_seed(&[9; 32]);
    let survivors = &federation.survivors;
    let commit = Commit {
        epoch: Epoch(1),
        round: RoundNumber(1),
        spec: binding.spec,
        cohort: survivors.clone(),
    };
    // ROUND-OPEN costs as much to verify as COMMIT.
    let commits = [Signed::sign(&commit, &coordinator)?, Signed::sign(&commit, &coordinator)?];
    let fixed = Survivors { session: binding.session, survivors: survivors.clone() };
    let fixed = Signed::sign(&fixed, &coordinator)?;
    let vote = |slot: Slot| SurvivorVote {
        session: binding.session,
        slot,
        vote: Vote::Survivors(survivors.clone()),
    };
    let votes: Vec<Signed<SurvivorVote>> = survivors
        .iter()
        .take(federation.votes)
        .map(|slot| Signed::sign(&vote(slot), &federation.identities[slot.index()]))
        .collect::<Result<_, _>>()?;

    let own = &federation.identities[0];
    let (publics, coordinator) = (
        federation.identities.iter().map(SecretKey::public).collect::<Vec<_>>(),
        coordinator.public(),
    );
    let ready = Ready { epoch: Epoch(1), round: RoundNumber(1), slot: Slot(0), spec: binding.spec };
    let shares = federation.neighbours(Slot(0)).map(|subject| RevealedShare {
        subject,
        kind: ShareKind::SelfSeed,
        share: [1; 32],
    });
    let reveal = Reveal {
        session: binding.session,
        slot: Slot(0),
        shares: shares.take(agents).collect(),
        surplus: None,
    };
    let round = || -> Result<usize, AnyError> {
        for commit in &commits {
            commit.verify(&coordinator)?;
        }
        let mut bytes = encoded(&Signed::sign(&ready, own)?)?;
        let header = MaskedHeader {
            session: binding.session,
            slot: Slot(0),
            length: vector.len() as u64,
            digest: Digest::plain(vector),
            noise: None,
        };
        bytes += encoded(&Signed::sign(&header, own)?)?;
        fixed.verify(&coordinator)?;
        bytes += encoded(&Signed::sign(&vote(Slot(0)), own)?)?;
        for (vote, slot) in votes.iter().zip(survivors.iter()) {
            vote.verify(&publics[slot.index()])?;
        }
        Ok(bytes + encoded(&Signed::sign(&reveal, own)?)?)
    };
    let bytes = round()?;
    Ok((best_cpu(repeats, || (), |()| round()), bytes))
}

fn encoded<T: Message>(signed: &Signed<T>) -> Result<usize, AnyError> {
    Ok(codec::encode(signed, CONTROL_BYTES_MAX)?.len())
}

/// The secrets of an epoch of 64 rounds, their shares in one envelope for each neighbour, and
/// opening as many: a 64th of the CPU seconds and of the bytes.
fn setup(federation: &Federation, repeats: usize) -> Result<(f64, usize), AnyError> {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let digest = Digest::plain(b"roster");
    let threshold = federation.share_threshold;
    let peers: Vec<Slot> = federation.neighbours(Slot(0)).collect();
    let points: Vec<u64> = peers.iter().map(|peer| peer.share_point()).collect();
    let identity = &federation.identities[0];
    let mut run = || -> Result<usize, AnyError> {
        let secrets = EpochSecrets::generate(&mut rng, ROUNDS_PER_EPOCH_MAX)?;
        let mut for_peer = vec![Vec::with_capacity(ROUNDS_PER_EPOCH_MAX); peers.len()];
        for round in (0..ROUNDS_PER_EPOCH_MAX).filter_map(|index| secrets.round(index)) {
            let key = shamir::split(round.key_seed(), threshold, &points, &mut rng)?;
            let seed = shamir::split(round.self_seed(), threshold, &points, &mut rng)?;
            for (peer, (key, seed)) in for_peer.iter_mut().zip(key.into_iter().zip(seed)) {
                peer.push(RoundShares { key, seed });
            }
        }
        let mut bytes = 0;
        for (peer, shares) in peers.iter().zip(&for_peer) {
            let context = EnvelopeContext {
                epoch: Epoch(1),
                roster: digest,
                graph_seed: digest,
                from: Slot(0),
                to: *peer,
                threshold: threshold as u32,
            };
            let plaintext = envelope::encode_shares(shares);
            // Sealed to itself, so that it can be opened here as if a neighbour had sent it.
            let (encapsulated, sealed) =
                envelope::seal(&secrets.hpke().public(), &context, &plaintext, &mut rng)?;
            let message = ShareEnvelope {
                epoch: Epoch(1),
                roster: digest,
                graph_seed: digest,
                from: Slot(0),
                to: *peer,
                encapsulated,
                sealed,
            };
            let signed = Signed::sign(&message, identity)?;
            bytes += encoded(&signed)?;
            let message = signed.verify(&identity.public())?;
            let opened =
                envelope::open(secrets.hpke(), &context, &message.encapsulated, &message.sealed)?;
            envelope::decode_shares(&opened, ROUNDS_PER_EPOCH_MAX)?;
        }
        Ok(bytes)
    };
    let bytes = run()?;
    let seconds = best_cpu(repeats.min(2), || (), |()| run());
    Ok((seconds / ROUNDS_PER_EPOCH_MAX as f64, bytes / ROUNDS_PER_EPOCH_MAX))
}
