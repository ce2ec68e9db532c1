//! From shares to the sum: each secret is reconstructed, checked against the advert that
//! committed to it, and its masks are taken off. Wrong shares are found and left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
};

use chorale_secagg::{
    MaskedSum as _, PairwiseOpening, PairwiseSecret, SecretScalar, Share, Sum, SumError,
    keys::{check_pairwise, check_self},
    shamir, spread,
};
use chorale_wire::{SessionId, Slot, SlotSet, message::RoundPublicKeys};

use crate::context::Context;

/// Most sets of shares tried for one secret before the round is given up, where more shares are
/// wrong than can be decoded. All subsets of the demo's size are covered (11 over 7 is 330); a
/// neighbourhood of a hundred and fifty costs about a second, once: the round ends with it.
const SETS_TRIED_MAX: usize = 2_000;

/// The sum without masks.
pub(super) struct Unmasked {
    pub(super) totals: Vec<i64>,
    /// The canary lanes before surplus noise came off; empty where there is none to come off.
    pub(super) whole_lanes: Vec<i64>,
    /// Shares that did not fit: who revealed them, and whose secret they are of.
    pub(super) mismatches: Vec<(Slot, Slot)>,
}

/// Why the sum could not be unmasked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnmaskError {
    /// Too few agents revealed.
    #[error("{given} shares of a secret of slot {subject} were revealed and {needed} are needed")]
    TooFew { subject: Slot, given: usize, needed: usize },
    /// No set of shares gives the secret that the subject committed to.
    #[error(
        "the shares of slot {subject} give no secret that it committed to: it dealt bad shares, \
         or too many holders altered theirs"
    )]
    Inconsistent { subject: Slot },
    /// The surplus noise cannot be drawn again: the spec was derived with another sampler's range.
    #[error("the surplus noise cannot be drawn again")]
    Surplus(#[source] chorale_dp::SamplerError),
    /// The secrets are not those of the vectors added, or a key in the roster is unusable and the
    /// check of the adverts failed to see it.
    #[error("the sum cannot be read")]
    Sum(#[source] SumError),
}

impl UnmaskError {
    pub(super) fn blamed(&self) -> Option<Slot> {
        match self {
            Self::Inconsistent { subject } => Some(*subject),
            Self::Sum(SumError::Keys { dropped, .. }) => Some(*dropped),
            Self::TooFew { .. } | Self::Surplus(_) | Self::Sum(SumError::SelfMasks { .. }) => None,
        }
    }
}

/// Takes all masks off `sum`, on up to `threads` threads.
pub(super) fn unmask(
    context: &Context,
    session: SessionId,
    cohort: &SlotSet,
    survivors: &SlotSet,
    reveals: &BTreeMap<Slot, BTreeMap<Slot, Share>>,
    sum: Sum,
    threads: NonZeroUsize,
) -> Result<Unmasked, UnmaskError> {
    let mut solver = Solver {
        context,
        reveals,
        threshold: context.roster.share_threshold(),
        mismatches: Vec::new(),
        suspects: BTreeSet::new(),
    };
    let public = |slot: Slot| {
        let entry = context.roster.entry(slot);
        entry.and_then(|entry| entry.rounds.get(context.key_index()))
    };
    // In the order of the graph, so that the holders of neighbouring subjects are nearly the same.
    let by_place = context.graph.by_place().into_iter().filter(|slot| cohort.contains(*slot));
    let subjects = by_place.map(|slot| {
        let keys = public(slot).ok_or(UnmaskError::Inconsistent { subject: slot })?;
        Ok(Subject { slot, keys, survived: survivors.contains(slot) })
    });
    let subjects: Vec<Subject<'_>> = subjects.collect::<Result<_, _>>()?;
    // Nearly always every share fits: that is tried for all of them at once.
    let each = subjects.len().div_ceil(threads.get()).max(1);
    let runs: Vec<&[Subject<'_>]> = subjects.chunks(each).collect();
    let secrets = spread(threads, &runs, |run| solver.at_once(run)).into_iter().flatten();
    let mut opening = PairwiseOpening::new(session);
    for (subject, secret) in subjects.iter().zip(secrets) {
        let secret = match secret {
            Some(secret) => secret,
            None => solver.solve(subject)?,
        };
        match secret {
            Secret::SelfSeed(seed) => opening.survived(seed),
            Secret::Pairwise(secret) => {
                let joined = context.neighbours_in(subject.slot, survivors);
                let joined = joined.filter_map(|slot| Some((slot, public(slot)?.pairwise)));
                opening.dropped_out(subject.slot, secret, joined);
            }
        }
    }
    let totals = sum.open(&opening, threads).map_err(UnmaskError::Sum)?;
    Ok(Unmasked { totals, whole_lanes: Vec::new(), mismatches: solver.mismatches })
}

/// A cohort member, one of whose secrets is recovered.
struct Subject<'a> {
    slot: Slot,
    keys: &'a RoundPublicKeys,
    survived: bool,
}

/// The secret that its fate opens.
enum Secret {
    SelfSeed(SecretScalar),
    Pairwise(PairwiseSecret),
}

impl Subject<'_> {
    /// The secret in `scalar`, if it is what the subject committed to.
    fn accept(&self, scalar: SecretScalar) -> Option<Secret> {
        if self.survived {
            check_self(&scalar, self.keys).ok()?;
            Some(Secret::SelfSeed(scalar))
        } else {
            check_pairwise(&scalar, self.keys).ok().map(Secret::Pairwise)
        }
    }
}

struct Solver<'a> {
    context: &'a Context,
    reveals: &'a BTreeMap<Slot, BTreeMap<Slot, Share>>,
    threshold: usize,
    mismatches: Vec<(Slot, Slot)>,
    /// Holders of a share that did not fit; theirs are used last from then on.
    suspects: BTreeSet<Slot>,
}

impl Solver<'_> {
    /// The shares of the subject's secret that its neighbours revealed; those of suspects last.
    fn shares(&self, subject: &Subject<'_>) -> Vec<(Slot, Share)> {
        // Only its neighbours hold shares of an agent's secrets.
        let holders = self.context.graph.neighbours(subject.slot).into_iter();
        let mut shares: Vec<(Slot, Share)> = holders
            .filter_map(|holder| {
                Some((holder, self.reveals.get(&holder)?.get(&subject.slot)?.clone()))
            })
            .collect();
        shares.sort_by_key(|(holder, _)| (self.suspects.contains(holder), *holder));
        shares
    }

    /// The secret behind the shares at these places, if they give the one committed to.
    fn attempt(
        &self,
        subject: &Subject<'_>,
        shares: &[(Slot, Share)],
        picks: impl IntoIterator<Item = usize>,
    ) -> Option<Secret> {
        let picked: Vec<(u64, Share)> = picks
            .into_iter()
            .filter_map(|pick| shares.get(pick))
            .map(|(holder, share)| (holder.share_point(), share.clone()))
            .collect();
        subject.accept(shamir::reconstruct(&picked, self.threshold).ok()?)
    }

    /// The secret of each subject, where just enough of its shares give it.
    fn at_once(&self, subjects: &[Subject<'_>]) -> Vec<Option<Secret>> {
        let shares = subjects.iter().map(|subject| {
            let shares = self.shares(subject).into_iter();
            shares.map(|(holder, share)| (holder.share_point(), share)).collect()
        });
        let shares: Vec<Vec<(u64, Share)>> = shares.collect();
        let found = shamir::reconstruct_many(&shares, self.threshold).into_iter();
        subjects.iter().zip(found).map(|(subject, found)| subject.accept(found.ok()?)).collect()
    }

    /// The secret of a subject of which some shares may be wrong.
    fn solve(&mut self, subject: &Subject<'_>) -> Result<Secret, UnmaskError> {
        let shares = self.shares(subject);
        let slot = subject.slot;
        if shares.len() < self.threshold {
            let (given, needed) = (shares.len(), self.threshold);
            return Err(UnmaskError::TooFew { subject: slot, given, needed });
        }
        let attempt = |picks: &[usize]| self.attempt(subject, &shares, picks.iter().copied());
        let first: Vec<usize> = (0..self.threshold).collect();
        if let Some(secret) = attempt(&first) {
            return Ok(secret);
        }
        if let Some((secret, wrong)) = self.decode(subject, &shares) {
            self.suspect(slot, wrong);
            return Ok(secret);
        }
        let mut candidates = windows(shares.len(), self.threshold)
            .chain(Combinations::new(shares.len(), self.threshold))
            .take(SETS_TRIED_MAX);
        let found = candidates.find_map(|picks| Some((attempt(&picks)?, picks)));
        let Some((secret, good)) = found else {
            return Err(UnmaskError::Inconsistent { subject: slot });
        };
        let mut bad = Vec::new();
        for pick in (0..shares.len()).filter(|pick| !good.contains(pick)) {
            let mut swapped = good.clone();
            swapped[0] = pick;
            if attempt(&swapped).is_none() {
                bad.push(shares[pick].0);
            }
        }
        self.suspect(slot, bad);
        Ok(secret)
    }

    /// The secret that most shares agree on, if it is right, and the holders of the wrong ones.
    fn decode(
        &self,
        subject: &Subject<'_>,
        shares: &[(Slot, Share)],
    ) -> Option<(Secret, Vec<Slot>)> {
        let points: Vec<(u64, Share)> =
            shares.iter().map(|(holder, share)| (holder.share_point(), share.clone())).collect();
        let decoded = shamir::decode(&points, self.threshold).ok()??;
        let wrong = decoded.wrong.iter().map(|place| shares[*place].0).collect();
        Some((subject.accept(decoded.secret)?, wrong))
    }

    fn suspect(&mut self, subject: Slot, holders: Vec<Slot>) {
        for holder in holders {
            self.mismatches.push((holder, subject));
            self.suspects.insert(holder);
        }
    }
}

/// All runs of `size` neighbours on the ring of `count` shares: one of them avoids the wrong
/// shares whenever they stand close together.
fn windows(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..count).map(move |start| (0..size).map(|step| (start + step) % count).collect())
}

/// All `size`-element subsets of `0..count` in lexicographic order.
struct Combinations {
    count: usize,
    next: Option<Vec<usize>>,
}

impl Combinations {
    fn new(count: usize, size: usize) -> Self {
        Self { count, next: (size <= count).then(|| (0..size).collect()) }
    }
}

impl Iterator for Combinations {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.take()?;
        let size = current.len();
        let movable = (0..size).rev().find(|place| current[*place] < self.count - size + place);
        if let Some(place) = movable {
            let mut following = current.clone();
            following[place] += 1;
            for later in place + 1..size {
                following[later] = following[later - 1] + 1;
            }
            self.next = Some(following);
        }
        Some(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_all_subsets() {
        assert_eq!(Combinations::new(11, 7).count(), 330);
        assert_eq!(Combinations::new(4, 4).count(), 1);
        let pairs: Vec<Vec<usize>> = Combinations::new(3, 2).collect();
        assert_eq!(pairs, [vec![0, 1], vec![0, 2], vec![1, 2]]);
    }

    #[test]
    fn windows_go_round() {
        let runs: Vec<Vec<usize>> = windows(4, 3).collect();
        assert_eq!(runs[3], [3, 0, 1]);
        assert_eq!(runs.len(), 4);
    }
}
