//! Every drop-out pattern of a small federation, and what each must lead to.
//!
//! An agent's fate is the step at which it leaves, or that it stays. All assignments of fates to
//! agents are played with the real machines, one after the other, in one process, and each outcome
//! is compared with a prediction that knows nothing but the floors of the protocol: who is in the
//! sum, or which floor ended the round, and who is left out of an epoch. Nobody lies here, so
//! nobody may be blamed for more than having left.

mod room;

use chorale_plan::CohortRule;
use chorale_wire::message::AbortCause;

use crate::{federation::broken, oracle::Failure};
use room::{Room, RoundEnd, SetupEnd};

/// Agents of the largest federation whose patterns are enumerated: 6^6 = 46,656 rounds.
pub const AGENTS_MAX: usize = 6;

/// A message that an agent is about to send when it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Its advert.
    Advert,
    /// Its vote for the roster.
    RosterVote,
    /// The shares that it deals.
    Deal,
    /// Its word that it could open the shares dealt to it.
    Accept,
    /// READY.
    Ready,
    /// The masked vector.
    Vector,
    /// The vote on the survivors.
    Vote,
    /// The shares that it reveals.
    Reveal,
    /// Nothing more: it has revealed and leaves before the result.
    Result,
}

/// Where an agent can leave a round.
pub const ROUND_STEPS: [Step; 5] =
    [Step::Ready, Step::Vector, Step::Vote, Step::Reveal, Step::Result];

/// Where an agent can leave the setup of an epoch.
pub const SETUP_STEPS: [Step; 4] = [Step::Advert, Step::RosterVote, Step::Deal, Step::Accept];

/// When each agent leaves; `None` where it stays.
pub type Fates = Vec<Option<Step>>;

/// How the patterns ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Patterns played.
    pub patterns: usize,
    /// Exact sums.
    pub completed: usize,
    /// Aborts because too few were ready.
    pub cohort: usize,
    /// Aborts because too few vectors arrived.
    pub survivors: usize,
    /// Aborts because too few voted.
    pub votes: usize,
    /// Aborts because too few revealed.
    pub shares: usize,
    /// Aborts that enough agents voted for, so that charges are given back.
    pub certified: usize,
    /// Epochs that could not be set up.
    pub failed: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.patterns += other.patterns;
        self.completed += other.completed;
        self.cohort += other.cohort;
        self.survivors += other.survivors;
        self.votes += other.votes;
        self.shares += other.shares;
        self.certified += other.certified;
        self.failed += other.failed;
    }
}

/// All assignments of `steps`, or of staying, to `agents` agents, in a fixed order.
pub fn patterns(agents: usize, steps: &[Step]) -> impl Iterator<Item = Fates> {
    let choices = steps.len() + 1;
    (0..choices.pow(agents as u32)).map(move |number| {
        let digits = (0..agents as u32).map(|place| number / choices.pow(place) % choices);
        digits.map(|digit| digit.checked_sub(1).map(|step| steps[step])).collect()
    })
}

/// One pattern for every way to divide `agents` agents among `steps` and staying, in ascending and
/// in descending order of fates.
///
/// This stands for [`patterns`] where those are too many for a test. The machines tell agents
/// apart by their slots alone, and slots matter in two places: which of two neighbours adds their
/// pairwise mask, and which of the revealed shares a secret is interpolated from. Shares of honest
/// dealers lie on one polynomial, so any of them give the same secret. The masks of a pair cancel,
/// or are taken off, by the fates of these two and by which slot is the lower one: with both
/// orders, every pair of fates occurs both ways round. `cargo simulate --exhaustive 6` plays all.
pub fn divisions(agents: usize, steps: &[Step]) -> impl Iterator<Item = Fates> {
    let ascending = patterns(agents, steps).filter(|fates| fates.is_sorted());
    ascending.flat_map(|fates| {
        let descending: Fates = fates.iter().rev().copied().collect();
        if descending == fates { vec![fates] } else { vec![fates, descending] }
    })
}

/// Every subset of `agents` agents leaving together at one of the steps of an epoch's setup.
pub fn subsets(agents: usize) -> impl Iterator<Item = Fates> {
    SETUP_STEPS.into_iter().flat_map(move |step| {
        (0..1u32 << agents).map(move |members| {
            (0..agents).map(|agent| (members >> agent & 1 == 1).then_some(step)).collect()
        })
    })
}

/// Plays a round for each of `patterns` in a federation of `agents`, on `threads` threads: the
/// patterns are dealt out in turn, and each thread has a federation of its own.
///
/// # Errors
/// [`Failure`]: the first pattern of a thread whose outcome is not the predicted one.
pub fn rounds(agents: usize, patterns: &[Fates], threads: usize) -> Result<Tally, Failure> {
    share_out(patterns, threads, |part| {
        let mut room = Room::new(agents)?;
        play(part, |fates| {
            let end = room.round(fates)?;
            expect(fates, &predicted_round(&room.rule(), fates), &end)?;
            Ok(tally_of(&end))
        })
    })
}

/// Sets up an epoch for each of `patterns` in a federation of `agents`, and plays one round with
/// whoever is left.
///
/// # Errors
/// [`Failure`], as [`rounds`].
pub fn setups(agents: usize, patterns: &[Fates], threads: usize) -> Result<Tally, Failure> {
    share_out(patterns, threads, |part| {
        let mut room = Room::new(agents)?;
        // Agents that have seen no votes since they started refuse rosters too small to hold a
        // witness of what they may have forgotten; an undisturbed epoch comes first.
        room.setup(&vec![None; agents])?;
        play(part, |fates| {
            let end = room.setup(fates)?;
            check_setup(&room.rule(), fates, &end)?;
            Ok(match end {
                SetupEnd::Ready { .. } => Tally { completed: 1, ..Tally::default() },
                SetupEnd::Failed { .. } => Tally { failed: 1, ..Tally::default() },
            })
        })
    })
}

fn share_out(
    patterns: &[Fates],
    threads: usize,
    work: impl Fn(&mut dyn Iterator<Item = &Fates>) -> Result<Tally, Failure> + Sync,
) -> Result<Tally, Failure> {
    let threads = threads.max(1);
    let work = &work;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let mut part = patterns.iter().skip(first).step_by(threads);
                scope.spawn(move || work(&mut part))
            })
            .collect();
        let mut total = Tally::default();
        for worker in workers {
            let part = worker.join().map_err(|_| broken("a thread of the enumeration died"))?;
            total.add(part?);
        }
        Ok(total)
    })
}

fn play(
    patterns: &mut dyn Iterator<Item = &Fates>,
    mut one: impl FnMut(&Fates) -> Result<Tally, Failure>,
) -> Result<Tally, Failure> {
    let mut total = Tally::default();
    for fates in patterns {
        let part = one(fates).map_err(|failure| Failure::Pattern {
            fates: fates.clone(),
            what: failure.to_string(),
        })?;
        total.add(part);
        total.patterns += 1;
    }
    Ok(total)
}

fn tally_of(end: &RoundEnd) -> Tally {
    let mut tally = Tally::default();
    let RoundEnd::Aborted { cause, certified } = end else {
        tally.completed = 1;
        return tally;
    };
    tally.certified = usize::from(*certified);
    match cause {
        AbortCause::Cohort => tally.cohort = 1,
        AbortCause::Survivors => tally.survivors = 1,
        AbortCause::Votes => tally.votes = 1,
        AbortCause::Shares | AbortCause::Stopped => tally.shares = 1,
    }
    tally
}

/// What a round must lead to: the floors of `docs/protocol.md`, applied in the order of the
/// phases, and nothing else.
fn predicted_round(rule: &CohortRule, fates: &Fates) -> RoundEnd {
    let agents = fates.len() as u32;
    let beyond = |step: Step| -> Vec<usize> {
        let kept = |fate: &Option<Step>| fate.is_none_or(|leaves| leaves > step);
        (0..fates.len()).filter(|agent| kept(&fates[*agent])).collect()
    };
    let aborted = |cause, certified| RoundEnd::Aborted { cause, certified };
    let floor = rule.survivors_min as usize;
    let (cohort, survivors) = (beyond(Step::Ready), beyond(Step::Vector));
    let enough_votes = beyond(Step::Vote).len() >= rule.votes_min(agents) as usize;
    if cohort.len() < floor {
        return aborted(AbortCause::Cohort, false);
    }
    if survivors.len() < floor {
        // Vectors may have left: whoever is still there votes to abort.
        return aborted(AbortCause::Survivors, enough_votes);
    }
    if !enough_votes {
        // Whoever is still there has voted for the survivors and has no other vote.
        return aborted(AbortCause::Votes, false);
    }
    // On the complete graph everybody holds a share of everybody else's two secrets.
    let holders = beyond(Step::Reveal);
    let enough = cohort.iter().all(|subject| {
        let shares = holders.iter().filter(|holder| *holder != subject).count();
        shares >= rule.share_threshold(agents) as usize
    });
    if enough { RoundEnd::Sum { survivors } } else { aborted(AbortCause::Shares, false) }
}

/// An epoch comes to be exactly when those who stay are enough; only those who left are left out.
fn check_setup(rule: &CohortRule, fates: &Fates, end: &SetupEnd) -> Result<(), Failure> {
    let chosen = |left: bool| -> Vec<usize> {
        (0..fates.len()).filter(|agent| fates[*agent].is_some() == left).collect()
    };
    let (leavers, stayers) = (chosen(true), chosen(false));
    if rule.check(stayers.len() as u32).is_ok() {
        let ready = SetupEnd::Ready { agents: stayers, excluded: leavers };
        return expect(fates, &ready, end);
    }
    match end {
        SetupEnd::Failed { blamed } if blamed.iter().all(|agent| leavers.contains(agent)) => Ok(()),
        other => expect(fates, &SetupEnd::Failed { blamed: leavers }, other),
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(
    fates: &Fates,
    expected: &T,
    given: &T,
) -> Result<(), Failure> {
    if expected == given {
        return Ok(());
    }
    let what = format!("{given:?} came of it instead of {expected:?}");
    Err(Failure::Pattern { fates: fates.clone(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_all_assignments() {
        let all: Vec<Fates> = patterns(3, &ROUND_STEPS).collect();
        let distinct: std::collections::BTreeSet<&Fates> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (216, 216));
        assert_eq!(all[0], [None, None, None]);
        assert_eq!(all[215], [Some(Step::Result); 3]);
        assert_eq!(subsets(6).count(), 4 * 64);
        // 462 multisets of six fates, of which six are all alike.
        assert_eq!(divisions(6, &ROUND_STEPS).count(), 2 * 462 - 6);
    }

    #[test]
    fn predictions_by_hand() {
        let rule = CohortRule { enrolled: 6, corrupt: 1, survivors_min: 4 };
        let end = |leaving: &[Step]| {
            let mut fates: Fates = vec![None; 6];
            fates.iter_mut().zip(leaving).for_each(|(fate, step)| *fate = Some(*step));
            predicted_round(&rule, &fates)
        };
        let aborted = |cause, certified| RoundEnd::Aborted { cause, certified };
        assert_eq!(end(&[Step::Ready; 3]), aborted(AbortCause::Cohort, false));
        // T = 4: three are too few to certify that the round is aborted.
        assert_eq!(end(&[Step::Vector; 3]), aborted(AbortCause::Survivors, false));
        assert_eq!(end(&[Step::Vote; 3]), aborted(AbortCause::Votes, false));
        assert_eq!(end(&[Step::Reveal; 3]), aborted(AbortCause::Shares, false));
        assert_eq!(end(&[Step::Reveal; 2]), RoundEnd::Sum { survivors: vec![0, 1, 2, 3, 4, 5] });
        assert_eq!(
            end(&[Step::Ready, Step::Vector]),
            RoundEnd::Sum { survivors: vec![2, 3, 4, 5] }
        );
    }
}
