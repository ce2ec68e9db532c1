//! What must hold whatever happens: the oracle sees everything that honest programs say and do.

use std::collections::{BTreeMap, BTreeSet};

use chorale_round::coordinator::Completed;
use chorale_wire::{
    Digest, Epoch, RoundNumber, SessionId, Slot, SlotSet, ToCoordinator,
    message::{ShareKind, Vote},
};

use super::federation::{COORDINATES, federation};

/// Everything that was seen, by agent.
#[derive(Default)]
pub(super) struct Oracle {
    /// Payload digests of roster votes.
    rosters: BTreeMap<(usize, Epoch), Digest>,
    /// The one session of a round at an agent.
    sessions: BTreeMap<(usize, RoundNumber), SessionId>,
    /// The epoch of each session.
    epochs: BTreeMap<SessionId, Epoch>,
    /// Agents that signed a vector's header for a session.
    masked: BTreeSet<(usize, SessionId)>,
    /// Votes on survivors.
    votes: BTreeMap<(usize, SessionId), (Digest, Option<SlotSet>)>,
    reveals: BTreeMap<(usize, SessionId), Digest>,
    /// Rounds that are over for an agent.
    over: BTreeSet<(usize, RoundNumber)>,
    /// What arrived in each vector, modulo 2^w, by its digest.
    vectors: BTreeMap<Digest, Vec<u64>>,
    /// The one session of a round that an agent voted to abort.
    aborts: BTreeMap<(usize, RoundNumber), SessionId>,
    /// Sessions that enough agents voted to abort, as an honest program found.
    certified: BTreeSet<SessionId>,
    /// Sessions that gave a sum.
    summed: BTreeSet<SessionId>,
    /// Rounds that ended at the coordinator.
    ended: BTreeSet<RoundNumber>,
    /// Rounds that gave a sum.
    pub(super) completed: usize,
}

impl Oracle {
    /// An agent was asked for its vector in `session`.
    pub(super) fn asked(
        &mut self,
        agent: usize,
        (epoch, round): (Epoch, RoundNumber),
        session: SessionId,
    ) {
        self.epochs.insert(session, epoch);
        let earlier = self.sessions.insert((agent, round), session);
        assert!(earlier.is_none(), "agent {agent}: a second vector for round {round}");
    }

    /// An agent signed the header of its vector for `session`.
    pub(super) fn masked(&mut self, agent: usize, session: SessionId) {
        self.masked.insert((agent, session));
    }

    /// Agents vote for the first one as a survivor only if it masked for this very session: its
    /// key is in no liar's hands. It is in a roster exactly if it voted for it, at slot 0.
    fn included(&self, voter: usize, session: SessionId, survivors: &SlotSet) {
        let roster = |agent: usize| self.rosters.get(&(agent, *self.epochs.get(&session)?));
        if voter != 0 && roster(0).is_some() && roster(0) == roster(voter) {
            let masked = self.masked.contains(&(0, session));
            let claimed = survivors.contains(Slot(0));
            assert!(masked || !claimed, "agent {voter}: votes for one that masked elsewhere");
        }
    }

    /// A vector left an agent, or a liar replaced it by this one.
    pub(super) fn vector(&mut self, digest: Digest, values: Vec<u64>) {
        self.vectors.insert(digest, values);
    }

    /// What was in the vector with this digest, as far as it is known.
    pub(super) fn known_vector(&self, digest: &Digest) -> Option<Vec<u64>> {
        self.vectors.get(digest).cloned()
    }

    /// A round ended at an agent.
    pub(super) fn over(&mut self, agent: usize, round: RoundNumber) {
        self.over.insert((agent, round));
    }

    /// An agent said something.
    pub(super) fn said(&mut self, agent: usize, message: &ToCoordinator) {
        match message {
            ToCoordinator::RosterVote(signed) => {
                let vote = signed.peek().expect("its own message");
                let digest = signed.payload_digest();
                let first = *self.rosters.entry((agent, vote.epoch)).or_insert(digest);
                assert_eq!(first, digest, "agent {agent}: two rosters for epoch {}", vote.epoch);
            }
            ToCoordinator::Ready(signed) => {
                let ready = signed.peek().expect("its own message");
                self.not_over(agent, ready.round, "READY");
            }
            ToCoordinator::SurvivorVote(signed) => {
                let vote = signed.peek().expect("its own message");
                let set = match vote.vote {
                    Vote::Survivors(set) => {
                        self.in_session(agent, vote.session, "a survivor vote");
                        self.included(agent, vote.session, &set);
                        Some(set)
                    }
                    // A vote to unmask nothing may follow the end of the round.
                    Vote::Abort => None,
                };
                let said = (signed.payload_digest(), set);
                let first = self.votes.entry((agent, vote.session)).or_insert(said.clone());
                assert_eq!(*first, said, "agent {agent}: two votes in one session");
            }
            ToCoordinator::Reveal(signed) => {
                let reveal = signed.peek().expect("its own message");
                self.in_session(agent, reveal.session, "a reveal");
                let digest = signed.payload_digest();
                let first = *self.reveals.entry((agent, reveal.session)).or_insert(digest);
                assert_eq!(first, digest, "agent {agent}: two reveals in one session");
                let vote = self.votes.get(&(agent, reveal.session));
                let survivors = vote.and_then(|(_, set)| set.clone());
                let survivors = survivors.expect("a reveal without a vote for survivors");
                let mut subjects = BTreeSet::new();
                for share in &reveal.shares {
                    assert!(share.subject != reveal.slot, "agent {agent}: its own share");
                    assert!(subjects.insert(share.subject), "agent {agent}: both shares");
                    let kind = match survivors.contains(share.subject) {
                        true => ShareKind::SelfSeed,
                        false => ShareKind::PairwiseKey,
                    };
                    assert_eq!(share.kind, kind, "agent {agent}: the wrong secret's share");
                }
            }
            _ => {}
        }
    }

    /// An agent answered a ballot about a round by voting to abort this session. One session a
    /// round, and none other than the one that it is locked to.
    pub(super) fn voted_to_abort(&mut self, agent: usize, round: RoundNumber, session: SessionId) {
        let first = *self.aborts.entry((agent, round)).or_insert(session);
        assert_eq!(first, session, "agent {agent}: votes to abort two sessions of round {round}");
        let locked = self.sessions.get(&(agent, round));
        assert!(locked.is_none_or(|locked| *locked == session), "agent {agent}: not its session");
    }

    /// A program verified that enough agents voted to abort a session. `honest` where no more
    /// agents lie than T allows for: then the session cannot have a sum.
    pub(super) fn certified(&mut self, session: SessionId, honest: bool) {
        self.certified.insert(session);
        assert!(!honest || !self.summed.contains(&session), "aborted after there was a sum");
    }

    /// The coordinator fixed a round's end without a sum.
    pub(super) fn aborted(&mut self, round: RoundNumber) {
        assert!(self.ended.insert(round), "round {round} ended twice");
    }

    /// The coordinator has a sum. `exact` where it is honest: then it must be the vectors'.
    pub(super) fn completed(&mut self, completed: &Completed, modulus_bits: u8, exact: bool) {
        self.aborted(completed.round);
        self.completed += 1;
        self.summed.insert(completed.session);
        let survivors = &completed.survivors;
        assert!(survivors.is_subset(&completed.cohort), "survivors outside the cohort");
        let floor = federation().rule.survivors_min as usize;
        assert!(survivors.len() >= floor, "a sum of {} agents", survivors.len());
        assert_eq!(survivors.len(), completed.vector_digests.len());
        assert_eq!(survivors.len(), completed.agents.len());
        assert_eq!(completed.totals.len(), COORDINATES);
        if !exact {
            return;
        }
        assert!(!self.certified.contains(&completed.session), "a sum of an aborted session");
        let mask = (1u64 << modulus_bits) - 1;
        let mut expected = vec![0u64; COORDINATES];
        for digest in &completed.vector_digests {
            let vector = self.vectors.get(digest).expect("a vector that nobody sent");
            expected
                .iter_mut()
                .zip(vector)
                .for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
        }
        for (total, expected) in completed.totals.iter().zip(&expected) {
            assert_eq!(*total as u64 & mask, expected & mask, "not the sum of the vectors");
            assert!(total.unsigned_abs() <= 1 << (modulus_bits - 1), "outside the modulus");
        }
    }

    fn in_session(&self, agent: usize, session: SessionId, what: &str) {
        let rounds = self.sessions.iter().filter(|(_, known)| **known == session);
        let round = rounds.map(|((owner, round), _)| (*owner, *round)).find(|(o, _)| *o == agent);
        let Some((_, round)) = round else {
            panic!("agent {agent}: {what} in a session not its own")
        };
        self.not_over(agent, round, what);
    }

    fn not_over(&self, agent: usize, round: RoundNumber, what: &str) {
        let over = self.over.contains(&(agent, round));
        assert!(!over, "agent {agent}: {what} in round {round}, which has ended for it");
    }
}

/// A slot set over the federation from the bits of a byte.
pub(super) fn set(bits: u8, agents: usize) -> SlotSet {
    SlotSet::from_slots(agents, (0..8u16).filter(|bit| bits >> bit & 1 == 1).map(Slot))
}
