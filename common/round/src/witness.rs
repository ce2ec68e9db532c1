//! What agents saw of each other, and what follows for one whose journal is older than that.
//!
//! An agent locks a session and masks its vector only after it has written down, durably, whom it
//! saw in the cohort ([`WitnessBook`]). A sum can be read only where all honest survivors masked
//! for one session, T_min survivors at least, so that at least T_min - A - 1 *other* honest agents
//! have every readable round of an agent in their books. In the votes on the next roster each of
//! them states what is above the agent's own claim ([`Statement`]); [`judge`] says what counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chorale_wire::{
    AgentId, Epoch, RoundNumber, Slot, SlotSet,
    limits::STATED_ROUNDS_MAX,
    message::{RosterVote, StatedRound, Statement},
};

use crate::roster::{Entry, VerifiedRoster};

/// Rounds that a book keeps: of a federation with a finite budget more than it can ever run. An
/// agent that lost more than this can be told only that there was more, and stays out.
pub const WITNESSED_ROUNDS_MAX: usize = 4096;

/// The rounds that this agent saw others take part in, by name and not by slot. It is rebuilt
/// from the agent's durable journal after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessBook {
    /// The roster that was voted for last, in slot order.
    roster: Option<(Epoch, Arc<[AgentId]>)>,
    rounds: BTreeMap<StatedRound, Seen>,
    /// The highest round of each agent that was dropped for want of room.
    forgotten: BTreeMap<AgentId, RoundNumber>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    roster: Arc<[AgentId]>,
    cohort: SlotSet,
}

impl Seen {
    /// A roster is in ascending order of agent ids.
    fn contains(&self, agent: &AgentId) -> bool {
        let slot = self.roster.binary_search(agent).ok();
        slot.is_some_and(|slot| self.cohort.contains(Slot(slot as u16)))
    }

    fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.cohort.iter().filter_map(|slot| self.roster.get(slot.index()))
    }
}

impl WitnessBook {
    /// An empty book.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The roster of `epoch`, in slot order, before this agent votes for it.
    pub fn vote(&mut self, epoch: Epoch, agents: impl IntoIterator<Item = AgentId>) {
        self.roster = Some((epoch, agents.into_iter().collect()));
    }

    /// The cohort of a round of `epoch`, before this agent masks its vector. A cohort of another
    /// epoch than the last vote's has no names and is not kept.
    pub fn see(&mut self, epoch: Epoch, round: StatedRound, cohort: SlotSet) {
        let Some((_, roster)) = self.roster.as_ref().filter(|(voted, _)| *voted == epoch) else {
            return;
        };
        self.rounds.insert(round, Seen { roster: roster.clone(), cohort });
        if self.rounds.len() > WITNESSED_ROUNDS_MAX
            && let Some((dropped, seen)) = self.rounds.pop_first()
        {
            for agent in seen.agents() {
                self.forgotten.insert(agent.clone(), dropped.round);
            }
        }
    }

    /// Number of rounds in the book.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rounds.len()
    }

    /// Whether the book is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// What to state with the vote for `roster`: one statement for each other agent that claims
    /// less than is known here, and those for whom there was no room. Room is shared evenly, and
    /// where even one round each does not fit, the roster's fresh digest decides who comes first:
    /// nobody's false modesty takes it away for ever from an agent that needs it.
    pub(crate) fn statements(
        &self,
        roster: &VerifiedRoster,
        own: Slot,
    ) -> (Vec<Statement>, Option<SlotSet>) {
        let slots = roster.slots().filter(|slot| *slot != own);
        let mut behind: Vec<Statement> =
            slots.filter_map(|slot| self.about(slot, roster.entry(slot)?)).collect();
        let agents = roster.agents();
        let room = RosterVote::room_max(agents);
        let share = room / behind.len().max(1);
        if share >= RosterVote::room_of(1) {
            for statement in &mut behind {
                shorten(statement, share);
            }
            return (behind, None);
        }
        let first = roster.digest().as_bytes()[..8]
            .iter()
            .fold(0, |number, byte| (number << 8 | usize::from(*byte)) % behind.len().max(1));
        behind.rotate_left(first);
        let mut room = room - RosterVote::room_of_set(agents);
        let mut unstated = SlotSet::empty(agents);
        behind.retain_mut(|statement| {
            let fits = room >= RosterVote::room_of(1);
            if fits {
                shorten(statement, room);
                room -= RosterVote::room_of(statement.rounds.len());
            } else {
                unstated.insert(statement.about);
            }
            fits
        });
        behind.sort_unstable_by_key(|statement| statement.about);
        (behind, Some(unstated))
    }

    /// Everything that is known here of an agent above its own claim.
    fn about(&self, about: Slot, entry: &Entry) -> Option<Statement> {
        let claim = entry.last_round;
        // What was dropped comes before everything else: nothing is complete without it.
        if self.forgotten.get(&entry.agent).is_some_and(|round| Some(*round) > claim) {
            return Some(Statement { about, rounds: Vec::new(), more: true });
        }
        let newest_first = self.rounds.iter().rev();
        let mut rounds: Vec<StatedRound> = newest_first
            .take_while(|(stated, _)| Some(stated.round) > claim)
            .filter(|(_, seen)| seen.contains(&entry.agent))
            .map(|(stated, _)| *stated)
            .collect();
        rounds.reverse();
        (!rounds.is_empty()).then_some(Statement { about, rounds, more: false })
    }
}

/// Leaves the lowest rounds, as many as fit.
fn shorten(statement: &mut Statement, room: usize) {
    let fits = (0..=STATED_ROUNDS_MAX).rev().find(|fits| RosterVote::room_of(*fits) <= room);
    let fits = fits.unwrap_or(0);
    if statement.rounds.len() > fits {
        statement.rounds.truncate(fits);
        statement.more = true;
    }
}

/// Whether what the vote of the agent at `own` states fits the roster: about others in ascending
/// order, not about nothing, rounds ascending and above the claim, and not too much.
pub(crate) fn are_wellformed(roster: &VerifiedRoster, own: Slot, vote: &RosterVote) -> bool {
    let RosterVote { statements, unstated, .. } = vote;
    let agents = roster.agents();
    let set = unstated.as_ref().map_or(0, |_| RosterVote::room_of_set(agents));
    let lists = statements.iter().map(|statement| RosterVote::room_of(statement.rounds.len()));
    statements.windows(2).all(|pair| pair[0].about < pair[1].about)
        && set + lists.sum::<usize>() <= RosterVote::room_max(agents)
        && unstated.as_ref().is_none_or(|set| {
            set.agents() == agents
                && !set.is_empty()
                && !set.contains(own)
                && statements.iter().all(|statement| !set.contains(statement.about))
        })
        && statements.iter().all(|statement| {
            let Some(entry) = roster.entry(statement.about).filter(|_| statement.about != own)
            else {
                return false;
            };
            let rounds = &statement.rounds;
            (statement.more || !rounds.is_empty())
                && rounds.len() <= STATED_ROUNDS_MAX
                && rounds.windows(2).all(|pair| pair[0] < pair[1])
                && rounds.first().is_none_or(|first| Some(first.round) > entry.last_round)
        })
}

/// What the votes of a whole roster say about one of its agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Rounds above the agent's claim that at least one honest agent states, ascending.
    pub(crate) rounds: Vec<StatedRound>,
    /// Whether there may be still higher ones: they did not fit, or are stated by so few that the
    /// corrupt agents alone could have.
    pub(crate) more: bool,
    /// Whether at least one honest agent says that anything is missing at all.
    pub(crate) certain: bool,
    /// Whose statements these are, by slot.
    pub(crate) witnesses: Vec<Slot>,
    /// Who stated rounds that too few others state: liars, or witnesses of a session that could
    /// not be read.
    pub(crate) disputed: Vec<Slot>,
}

impl Verdict {
    /// Whether the agent's journal is older than what others saw from it.
    pub(crate) fn is_behind(&self) -> bool {
        self.more || !self.rounds.is_empty()
    }
}

/// Judges what the voters of a roster state about one of its agents: voter and statement.
///
/// Let `sure` be g, the number of honest agents in the roster that have every readable round in
/// their books ([`crate::VerifiedRoster::witnesses_min`]), and `corrupt` be A. A round counts when
/// q = min(g, A + 1) voters state it in equal words: honest witnesses of a readable round do,
/// because one session has one spec, and with q = A + 1 the corrupt agents alone can state what
/// they like. With a smaller q the corrupt agents alone may have stated a round: then it is not
/// charged, and neither is any higher one, since the agent would claim to know the lower ones with
/// it; but the agent takes no part until more witnesses are there. Where lists are cut off, only rounds up to the (g - q + 1)-th lowest end count: at
/// most g - q honest lists end before such a round, so that q are left.
pub(crate) fn judge(sure: usize, corrupt: usize, statements: &[(Slot, Statement)]) -> Verdict {
    let quorum = sure.clamp(1, corrupt + 1);
    let mut ends: Vec<Option<StatedRound>> = statements
        .iter()
        .filter(|(_, statement)| statement.more)
        .map(|(_, statement)| statement.rounds.last().copied())
        .collect();
    ends.sort_unstable();
    let end = ends.get(sure.saturating_sub(quorum)).copied();
    let mut voters: BTreeMap<StatedRound, BTreeSet<Slot>> = BTreeMap::new();
    for (voter, statement) in statements {
        for stated in &statement.rounds {
            voters.entry(*stated).or_default().insert(*voter);
        }
    }
    let mut verdict =
        Verdict { more: end.is_some(), certain: ends.len() > corrupt, ..Verdict::default() };
    let (mut witnesses, mut disputed) = (BTreeSet::new(), BTreeSet::new());
    for (stated, by) in voters {
        if end.is_some_and(|end| Some(stated) > end) {
            break;
        }
        if by.len() >= quorum {
            let certain = by.len() > corrupt;
            witnesses.extend(by);
            if !certain {
                verdict.more = true;
                break;
            }
            verdict.certain = true;
            verdict.rounds.push(stated);
        } else {
            disputed.extend(by);
        }
    }
    if verdict.more {
        let cut = statements.iter().filter(|(_, statement)| statement.more);
        witnesses.extend(cut.map(|(voter, _)| *voter));
    }
    verdict.witnesses = witnesses.into_iter().collect();
    verdict.disputed = disputed.into_iter().collect();
    verdict
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_secagg::EpochSecrets;
    use chorale_wire::{
        Digest, FederationId, Membership, SecretKey, Signed,
        message::{Advert, Roster},
    };
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    use super::*;
    use crate::roster::Expectation;

    fn stated(round: u64) -> StatedRound {
        StatedRound {
            round: RoundNumber(round),
            question: Digest::plain(&round.to_be_bytes()),
            cost: Some(u128::from(round)),
        }
    }

    fn says(voter: u16, rounds: &[u64], more: bool) -> (Slot, Statement) {
        let rounds = rounds.iter().copied().map(stated).collect();
        (Slot(voter), Statement { about: Slot(0), rounds, more })
    }

    fn agent(index: usize) -> AgentId {
        AgentId::new(format!("store-{index:03}")).unwrap()
    }

    /// A roster whose agents claim to know of `claims`.
    fn roster(claims: &[Option<RoundNumber>]) -> VerifiedRoster {
        let authority = SecretKey::from_seed(&[1; 32]);
        let federation = FederationId::new("test").unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let adverts = claims.iter().enumerate().map(|(index, last_round)| {
            let key = SecretKey::generate(&mut rng);
            let membership = Membership {
                agent: agent(index),
                identity: key.public(),
                tls_key: Digest::plain(&index.to_be_bytes()),
                administrator: SecretKey::from_seed(&[3; 32]).public(),
                not_before_s: 0,
                not_after_s: u64::MAX,
                enrolled: claims.len() as u32,
            };
            let secrets = EpochSecrets::generate(&mut rng, 1).unwrap();
            let (hpke, nonce_commitment, rounds) = secrets.advert_parts();
            let advert = Advert {
                federation: federation.clone(),
                epoch: Epoch(2),
                agent: agent(index),
                membership: Signed::sign(&membership, &authority).unwrap(),
                hpke,
                nonce_commitment,
                last_round: *last_round,
                rounds,
            };
            Signed::sign(&advert, &key).unwrap()
        });
        let adverts: Vec<_> = adverts.collect();
        let survivors_min = claims.len() as u32;
        let expect = Expectation {
            federation: &federation,
            epoch: Epoch(2),
            rounds: 1,
            authority: &authority.public(),
            now_s: 1,
        };
        VerifiedRoster::check(&Roster { epoch: Epoch(2), survivors_min, adverts }, &expect).unwrap()
    }

    /// A book in which all agents took part in so many rounds.
    fn book(agents: usize, rounds: u64) -> WitnessBook {
        let mut book = WitnessBook::new();
        book.vote(Epoch(1), (0..agents).map(agent));
        for round in 1..=rounds {
            let all = SlotSet::from_slots(agents, (0..agents as u16).map(Slot));
            book.see(Epoch(1), stated(round), all);
        }
        book
    }

    fn vote(roster: &VerifiedRoster, book: &WitnessBook, own: Slot) -> RosterVote {
        let (statements, unstated) = book.statements(roster, own);
        RosterVote {
            federation: FederationId::new("test").unwrap(),
            epoch: Epoch(2),
            roster: roster.digest(),
            slot: own,
            nonce: [0; 32],
            statements,
            unstated,
        }
    }

    #[test]
    fn room_is_shared_and_who_gets_none_is_told_so() {
        // Everybody but the voter claims nothing; 64 statements of one round each fit.
        for (agents, listed) in [(5, 16), (34, 1), (65, 1), (80, 0)] {
            let roster = roster(&vec![None; agents]);
            let vote = vote(&roster, &book(agents, 20), Slot(0));
            assert!(are_wellformed(&roster, Slot(0), &vote), "{agents}");
            let told: usize =
                vote.statements.len() + vote.unstated.as_ref().map_or(0, SlotSet::len);
            assert_eq!(told, agents - 1, "everybody is told");
            if listed > 0 {
                assert!(vote.statements.iter().all(|statement| statement.more));
                assert!(vote.unstated.is_none());
                let counts = vote.statements.iter().map(|statement| statement.rounds.len());
                assert!(counts.min() >= Some(listed), "{agents}");
            } else {
                assert!(vote.statements.len() > 1 && vote.unstated.is_some());
            }
        }
    }

    #[test]
    fn nothing_is_stated_about_those_who_claim_enough() {
        let known = Some(RoundNumber(20));
        let roster = roster(&[known, None, Some(RoundNumber(19)), known, Some(RoundNumber(99))]);
        let vote = vote(&roster, &book(5, 20), Slot(0));
        let about: Vec<(u16, usize, bool)> = vote
            .statements
            .iter()
            .map(|statement| (statement.about.0, statement.rounds.len(), statement.more))
            .collect();
        assert_eq!(about, [(1, 20, false), (2, 1, false)]);
        // A set of the unstated must be over this roster, about others and not about nothing.
        let with = |slots: &[u16], agents| {
            let set = SlotSet::from_slots(agents, slots.iter().copied().map(Slot));
            are_wellformed(&roster, Slot(0), &RosterVote { unstated: Some(set), ..vote.clone() })
        };
        assert!(with(&[3], 5));
        assert!(!with(&[0], 5) && !with(&[1], 5) && !with(&[], 5) && !with(&[3], 6));
    }

    #[test]
    fn one_witness_stops_an_agent_where_no_more_are_sure_and_charges_nothing() {
        let alone = [says(3, &[7], false)];
        let doubted = judge(1, 2, &alone);
        assert!(doubted.is_behind() && !doubted.certain && doubted.rounds.is_empty());
        assert_eq!(doubted.witnesses, [Slot(3)]);
        // What three say is true; a round above one that only two say is not charged with it.
        let three =
            [says(1, &[7, 8, 9], false), says(3, &[7, 8, 9], false), says(4, &[7, 9], false)];
        let verdict = judge(1, 2, &three);
        assert_eq!((&verdict.rounds[..], verdict.more), (&[stated(7)][..], true));
        assert!(verdict.certain);
        for sure in 2..6 {
            let verdict = judge(sure, 2, &alone);
            assert!(!verdict.is_behind());
            assert_eq!(verdict.disputed, [Slot(3)]);
        }
        // Three of two corrupt agents cannot all lie, however many honest ones are sure.
        let three = [says(1, &[7], false), says(3, &[7], false), says(4, &[7, 9], false)];
        let verdict = judge(9, 2, &three);
        assert_eq!(verdict.rounds, [stated(7)]);
        assert_eq!(verdict.disputed, [Slot(4)]);
    }

    #[test]
    fn rounds_beyond_a_list_that_was_cut_off_wait_for_the_next_epoch() {
        let cut = [says(1, &[3, 4], true), says(2, &[3, 4, 5], false), says(3, &[4, 5], false)];
        let verdict = judge(1, 1, &cut);
        assert_eq!(verdict.rounds, [stated(3), stated(4)]);
        assert!(verdict.more && verdict.certain);
        // A list that says nothing but that there is more holds everything up.
        let silent = [says(1, &[], true), says(2, &[4, 5], false)];
        let verdict = judge(1, 1, &silent);
        assert_eq!((verdict.rounds.len(), verdict.more), (0, true));
        assert!(verdict.is_behind() && !verdict.certain);
        // With as many honest witnesses to spare as there are corrupt agents, nobody can.
        let verdict =
            judge(3, 1, &[says(1, &[], true), says(2, &[4], false), says(3, &[4], false)]);
        assert_eq!((&verdict.rounds[..], verdict.more), (&[stated(4)][..], false));
    }

    #[test]
    fn a_full_book_says_that_it_forgot() {
        let agent = AgentId::new("store-00").unwrap();
        let mut book = WitnessBook::new();
        book.see(Epoch(1), stated(0), SlotSet::from_slots(1, [Slot(0)]));
        assert!(book.is_empty(), "a cohort without a roster has no names");
        book.vote(Epoch(1), [agent.clone()]);
        for round in 1..=WITNESSED_ROUNDS_MAX as u64 + 2 {
            book.see(Epoch(1), stated(round), SlotSet::from_slots(1, [Slot(0)]));
        }
        assert_eq!(book.len(), WITNESSED_ROUNDS_MAX);
        assert_eq!(book.forgotten, BTreeMap::from([(agent, RoundNumber(2))]));
    }

    proptest! {
        /// Whatever A corrupt voters state, and wherever lists are cut off: what `sure` honest
        /// voters have in their books counts or is promised for later, and nothing else counts; where
        /// the honest ones are enough, nobody is held up.
        #[test]
        fn honest_witnesses_prevail(
            sure in 1usize..8,
            corrupt in 1usize..4,
            readable in proptest::collection::btree_set(1u64..30, 0..12),
            lies in proptest::collection::vec(
                (proptest::collection::btree_set(1u64..40, 0..12), any::<bool>()), 0..4),
            room in proptest::collection::vec(0usize..14, 8),
        ) {
            let mut statements = Vec::new();
            let mut cut = false;
            for (voter, room) in (0..sure).zip(&room) {
                let all: Vec<u64> = readable.iter().copied().collect();
                let (listed, more) = (&all[..all.len().min(*room)], all.len() > *room);
                cut |= more;
                if !listed.is_empty() || more {
                    statements.push(says(voter as u16, listed, more));
                }
            }
            for (voter, (rounds, more)) in (0..corrupt).zip(&lies) {
                let rounds: Vec<u64> = rounds.iter().copied().collect();
                if *more || !rounds.is_empty() {
                    statements.push(says((10 + voter) as u16, &rounds, *more));
                }
            }
            let verdict = judge(sure, corrupt, &statements);
            let counted: BTreeSet<u64> = verdict.rounds.iter().map(|s| s.round.0).collect();
            let highest = counted.last().copied().unwrap_or(0);
            for round in &readable {
                prop_assert!(counted.contains(round) || verdict.more && *round > highest, "{round}");
            }
            prop_assert!(counted.is_subset(&readable));
            let honest_say = |(voter, _): &(Slot, Statement)| usize::from(voter.0) < sure;
            prop_assert!(!verdict.certain || statements.iter().any(honest_say));
            if sure > 2 * corrupt && !cut {
                prop_assert!(!verdict.more);
                prop_assert_eq!(counted, readable);
            }
        }
    }
}
