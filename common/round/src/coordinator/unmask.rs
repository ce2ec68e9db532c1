//! From shares to the sum: each secret is reconstructed, checked against the advert that
//! committed to it, and its masks are taken off. Wrong shares are found and left out.

use std::collections::{BTreeMap, BTreeSet};

use chorale_secagg::{
    PairwiseSecret, SecretScalar, Share, Sum, SumError,
    keys::{check_pairwise, check_self},
    shamir,
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
    /// A key in the roster is unusable: the check of the adverts failed to see it.
    #[error("the pairwise masks of slot {subject} cannot be derived")]
    Keys {
        subject: Slot,
        #[source]
        source: chorale_secagg::MaskError,
    },
    /// The surplus noise cannot be drawn again: the spec was derived with another sampler's range.
    #[error("the surplus noise cannot be drawn again")]
    Surplus(#[source] chorale_dp::SamplerError),
    /// The masks taken off are not those of the vectors added.
    #[error("the sum cannot be read")]
    Sum(#[source] SumError),
}

impl UnmaskError {
    pub(super) fn blamed(&self) -> Option<Slot> {
        match self {
            Self::Inconsistent { subject } | Self::Keys { subject, .. } => Some(*subject),
            Self::TooFew { .. } | Self::Sum(_) | Self::Surplus(_) => None,
        }
    }
}

/// Takes all masks off `sum`.
pub(super) fn unmask(
    context: &Context,
    session: SessionId,
    cohort: &SlotSet,
    survivors: &SlotSet,
    reveals: &BTreeMap<Slot, BTreeMap<Slot, Share>>,
    mut sum: Sum,
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
    for subject in cohort.iter() {
        let keys = public(subject).ok_or(UnmaskError::Inconsistent { subject })?;
        if survivors.contains(subject) {
            let seed = solver.solve(subject, |scalar| check_self(scalar, keys).is_ok())?;
            sum.subtract_self(session, &seed);
        } else {
            let secret = solver.pairwise(subject, keys)?;
            let joined = context.neighbours_in(subject, survivors);
            let joined = joined.filter_map(|slot| Some((slot, public(slot)?.pairwise)));
            sum.cancel_dropped(session, &secret, subject, joined)
                .map_err(|source| UnmaskError::Keys { subject, source })?;
        }
    }
    Ok(Unmasked { totals: sum.finish().map_err(UnmaskError::Sum)?, mismatches: solver.mismatches })
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
    fn pairwise(
        &mut self,
        subject: Slot,
        keys: &RoundPublicKeys,
    ) -> Result<PairwiseSecret, UnmaskError> {
        let seed = self.solve(subject, |scalar| check_pairwise(scalar, keys).is_ok())?;
        check_pairwise(&seed, keys).map_err(|_| UnmaskError::Inconsistent { subject })
    }

    /// The secret of `subject` that `fits` what it committed to.
    fn solve(
        &mut self,
        subject: Slot,
        fits: impl Fn(&SecretScalar) -> bool,
    ) -> Result<SecretScalar, UnmaskError> {
        // Only its neighbours hold shares of an agent's secrets.
        let holders = self.context.graph.neighbours(subject).into_iter();
        let mut shares: Vec<(Slot, Share)> = holders
            .filter_map(|holder| Some((holder, self.reveals.get(&holder)?.get(&subject)?.clone())))
            .collect();
        shares.sort_by_key(|(holder, _)| (self.suspects.contains(holder), *holder));
        if shares.len() < self.threshold {
            return Err(UnmaskError::TooFew {
                subject,
                given: shares.len(),
                needed: self.threshold,
            });
        }
        let attempt = |picks: &[usize]| {
            let picked: Vec<(u64, Share)> = picks
                .iter()
                .filter_map(|pick| shares.get(*pick))
                .map(|(holder, share)| (holder.share_point(), share.clone()))
                .collect();
            let scalar = shamir::reconstruct(&picked, self.threshold).ok()?;
            fits(&scalar).then_some(scalar)
        };
        let first: Vec<usize> = (0..self.threshold).collect();
        if let Some(scalar) = attempt(&first) {
            return Ok(scalar);
        }
        if let Some((scalar, wrong)) = self.decode(&shares, &fits) {
            self.suspect(subject, wrong);
            return Ok(scalar);
        }
        let mut candidates = windows(shares.len(), self.threshold)
            .chain(Combinations::new(shares.len(), self.threshold))
            .take(SETS_TRIED_MAX);
        let found = candidates.find_map(|picks| Some((attempt(&picks)?, picks)));
        let Some((scalar, good)) = found else {
            return Err(UnmaskError::Inconsistent { subject });
        };
        let mut bad = Vec::new();
        for pick in (0..shares.len()).filter(|pick| !good.contains(pick)) {
            let mut swapped = good.clone();
            swapped[0] = pick;
            if attempt(&swapped).is_none() {
                bad.push(shares[pick].0);
            }
        }
        self.suspect(subject, bad);
        Ok(scalar)
    }

    /// The secret that most shares agree on, if it `fits`, and the holders of the wrong ones.
    fn decode(
        &self,
        shares: &[(Slot, Share)],
        fits: impl Fn(&SecretScalar) -> bool,
    ) -> Option<(SecretScalar, Vec<Slot>)> {
        let points: Vec<(u64, Share)> =
            shares.iter().map(|(holder, share)| (holder.share_point(), share.clone())).collect();
        let decoded = shamir::decode(&points, self.threshold).ok()??;
        let wrong = decoded.wrong.iter().map(|place| shares[*place].0).collect();
        fits(&decoded.secret).then_some((decoded.secret, wrong))
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
