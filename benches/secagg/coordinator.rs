//! What one round costs the coordinator.

use std::num::NonZeroUsize;

use chorale_secagg::{
    MaskedSum as _, PairwiseOpening, Share, Sum,
    keys::{check_pairwise, check_self},
    shamir, spread,
};
use chorale_wire::{
    Digest, SecretKey, Signed, Slot,
    message::{MaskedHeader, RoundPublicKeys},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;

use crate::{
    AnyError,
    clock::{best_cpu, best_wall},
    federation::Federation,
    rates::Rates,
};

/// Bytes of different vectors that are summed in turn, so that they come from memory and not
/// from a cache, as vectors from the network do.
const VECTOR_BYTES: usize = 96 << 20;

/// CPU seconds of the coordinator in one round, and bytes it receives.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CoordinatorCost {
    /// Unpacking the survivors' vectors and adding them.
    pub(crate) add_s: f64,
    /// Reconstructing secrets, key agreements, and taking the masks off.
    pub(crate) unmask_s: f64,
    /// SHA-256 of the vectors and the signatures of their headers.
    pub(crate) verify_s: f64,
    pub(crate) total_s: f64,
    pub(crate) bytes_received: usize,
    /// The floor of `add_s + unmask_s`.
    pub(crate) floor_s: f64,
    /// Wall-clock seconds of unmasking on all cores.
    pub(crate) unmask_wall_s: f64,
    pub(crate) threads: usize,
}

/// Measures a round whose survivors all send `vector`.
pub(crate) fn measure(
    federation: &Federation,
    rates: &Rates,
    vector: &[u8],
    agent_bytes: usize,
    repeats: usize,
) -> Result<CoordinatorCost, AnyError> {
    let survivors = federation.survivors.len();
    let copies = VECTOR_BYTES.div_ceil(vector.len()).min(survivors);
    let vectors: Vec<Vec<u8>> = vec![vector.to_vec(); copies];

    let add = |mut sum: Sum| -> Result<Sum, AnyError> {
        for index in 0..survivors {
            sum.add_packed(&vectors[index % copies])?;
        }
        Ok(sum)
    };
    let empty = || {
        let binding = &federation.binding;
        Sum::new(binding.coordinates, binding.modulus, binding.keystream)
    };
    let add_s = best_cpu(repeats, empty, add);

    let dealt = Dealt::new(federation)?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let full = || add(empty());
    let unmask =
        |sum: Result<Sum, AnyError>, threads| dealt.unmask(federation, sum?, threads).map(|_| ());
    unmask(full(), threads)?;
    let unmask_s = best_cpu(repeats, full, |sum| unmask(sum, NonZeroUsize::MIN));
    let unmask_wall_s = best_wall(repeats, full, |sum| unmask(sum, threads));

    let verify_s = verify(federation, &vectors, repeats)?;
    Ok(CoordinatorCost {
        add_s,
        unmask_s,
        verify_s,
        total_s: add_s + unmask_s + verify_s,
        bytes_received: survivors * agent_bytes,
        floor_s: floor(federation, rates),
        unmask_wall_s,
        threads: threads.get(),
    })
}

/// `4d(|U| + Σ_dropped |N(j)∩U|)/R + nd/add_rate + |dropped|·k·T_dh`, in CPU seconds.
fn floor(federation: &Federation, rates: &Rates) -> f64 {
    let coordinates = federation.setting.coordinates as f64;
    let pairs: usize =
        federation.dropped().map(|dropped| federation.surviving_neighbours(dropped).count()).sum();
    let lane_bytes = if federation.binding.modulus.is_narrow() { 4.0 } else { 8.0 };
    let survivors = federation.survivors.len();
    lane_bytes * coordinates * (survivors + pairs) as f64 / rates.keystream_bytes_per_s
        + survivors as f64 * coordinates / rates.add_per_s
        + pairs as f64 * rates.agreement_s
}

/// The shares that survivors revealed: of each agent those of one of its secrets.
struct Dealt {
    publics: Vec<RoundPublicKeys>,
    shares: Vec<Vec<(u64, Share)>>,
}

impl Dealt {
    fn new(federation: &Federation) -> Result<Self, AnyError> {
        let mut rng = ChaCha20Rng::from_seed([6; 32]);
        let shares = federation.slots().map(|subject| {
            let holders: Vec<u64> =
                federation.surviving_neighbours(subject).map(|peer| peer.share_point()).collect();
            let secret = &federation.secrets[subject.index()];
            let secret = if federation.survivors.contains(subject) {
                secret.self_seed()
            } else {
                secret.key_seed()
            };
            let threshold = federation.share_threshold;
            let shares = shamir::split(secret, threshold, &holders, &mut rng)?;
            Ok(holders.into_iter().zip(shares).collect())
        });
        Ok(Self {
            shares: shares.collect::<Result<_, AnyError>>()?,
            publics: federation.secrets.iter().map(|secret| secret.public()).collect(),
        })
    }

    fn unmask(
        &self,
        federation: &Federation,
        sum: Sum,
        threads: NonZeroUsize,
    ) -> Result<Vec<i64>, AnyError> {
        let subjects = federation.by_place();
        let runs: Vec<&[Slot]> = subjects.chunks(subjects.len().div_ceil(threads.get())).collect();
        let secrets = spread(threads, &runs, |run| {
            let shares: Vec<Vec<(u64, Share)>> =
                run.iter().map(|subject| self.shares[subject.index()].clone()).collect();
            shamir::reconstruct_many(&shares, federation.share_threshold)
        });
        let secrets = secrets.into_iter().flatten();
        let mut opening = PairwiseOpening::new(federation.binding.session);
        for (subject, secret) in subjects.into_iter().zip(secrets) {
            let (secret, public) = (secret?, &self.publics[subject.index()]);
            if federation.survivors.contains(subject) {
                check_self(&secret, public)?;
                opening.survived(secret);
            } else {
                let pairwise = check_pairwise(&secret, public)?;
                let survivors =
                    federation.surviving_neighbours(subject).map(|peer| federation.public(peer));
                opening.dropped_out(subject, pairwise, survivors);
            }
        }
        Ok(sum.open(&opening, threads)?)
    }
}

/// The header's signature and the SHA-256 of every survivor's vector.
fn verify(federation: &Federation, vectors: &[Vec<u8>], repeats: usize) -> Result<f64, AnyError> {
    let digest = Digest::plain(&vectors[0]);
    let sign = |slot: Slot| {
        let header = MaskedHeader {
            session: federation.binding.session,
            slot,
            length: vectors[0].len() as u64,
            digest,
            noise: None,
        };
        Signed::sign(&header, &federation.identities[slot.index()])
    };
    let headers: Vec<Signed<MaskedHeader>> =
        federation.survivors.iter().map(sign).collect::<Result<_, _>>()?;
    let publics: Vec<_> = federation.identities.iter().map(SecretKey::public).collect();
    let run = || -> Result<(), AnyError> {
        for (index, (slot, header)) in federation.survivors.iter().zip(&headers).enumerate() {
            let header = header.verify(&publics[slot.index()])?;
            if Digest::plain(&vectors[index % vectors.len()]) != header.digest {
                return Err("a vector is not the one that was signed".into());
            }
        }
        Ok(())
    };
    run()?;
    Ok(best_cpu(repeats, || (), |()| run()))
}
