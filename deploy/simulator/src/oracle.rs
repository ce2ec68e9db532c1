//! What must never fail, whatever happens: watched from outside, on the wire and at the results.

use std::collections::{BTreeMap, BTreeSet};

use chorale_round::coordinator::Completed;
use chorale_wire::{
    AgentId, Digest, RoundNumber, SessionId, Slot, ToCoordinator, message::ShareKind,
};

use crate::federation::COORDINATES;

/// What was violated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The totals are not the sum of the survivors' vectors.
    #[error("round {round}: the totals are not the sum of the survivors' vectors")]
    WrongSum {
        /// The round.
        round: RoundNumber,
    },
    /// A sum over fewer agents than the floor came out.
    #[error("round {round}: a sum over {survivors} agents came out; the floor is {floor}")]
    BelowFloor {
        /// The round.
        round: RoundNumber,
        /// Survivors.
        survivors: usize,
        /// T_min.
        floor: usize,
    },
    /// An agent is in the sum and made no vector for this session.
    #[error("round {round}: {agent} is in the sum and contributed nothing to this session")]
    Phantom {
        /// The round.
        round: RoundNumber,
        /// The agent.
        agent: AgentId,
    },
    /// An agent did something twice that it may do once.
    #[error("{agent} made two different messages: {what}")]
    Twice {
        /// The agent.
        agent: AgentId,
        /// What, and for which epoch, round or session.
        what: String,
    },
    /// A holder gave up shares of both secrets of one agent.
    #[error("{holder} revealed both secrets' shares of slot {subject} in one session")]
    BothShares {
        /// The holder.
        holder: AgentId,
        /// Whose shares.
        subject: Slot,
    },
    /// A session gave a sum, and T agents voted that it never will.
    #[error("session {session} gave a sum and was certified as aborted")]
    BothCertified {
        /// The session.
        session: SessionId,
    },
    /// An agent took a charge back that the ledger does not give back.
    #[error("{agent} takes its charge for session {session} back and the ledger does not")]
    Unrecorded {
        /// The agent.
        agent: AgentId,
        /// The session.
        session: SessionId,
    },
    /// The ledger refused an entry, or the finished ledger does not verify.
    #[error("the ledger: {0}")]
    Ledger(String),
    /// A round ended twice, or not at all.
    #[error("round {round} ended {times} times")]
    Ended {
        /// The round.
        round: RoundNumber,
        /// How often.
        times: usize,
    },
    /// Somebody still waits at the end.
    #[error("at the end {who} is {phase}")]
    Restless {
        /// Who.
        who: String,
        /// What it waits for.
        phase: &'static str,
    },
    /// The federation never comes to rest.
    #[error("still busy after {steps} steps")]
    Endless {
        /// Steps taken.
        steps: usize,
    },
    /// A calm federation did not reach its goal.
    #[error("nothing went wrong, and yet {completed} of {wanted} rounds completed")]
    Lazy {
        /// Rounds completed.
        completed: usize,
        /// Rounds wanted.
        wanted: u64,
    },
    /// The simulator itself is broken, or its driver misused a machine.
    #[error("the simulator: {0}")]
    Simulator(String),
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    vectors: BTreeMap<(SessionId, AgentId), (Digest, Vec<i64>)>,
    tickets: BTreeMap<(AgentId, RoundNumber), SessionId>,
    said: BTreeMap<(AgentId, String), Digest>,
    kinds: BTreeMap<(AgentId, SessionId, Slot), ShareKind>,
    ended: BTreeMap<RoundNumber, usize>,
    unmasked: BTreeSet<SessionId>,
    aborted: BTreeSet<SessionId>,
}

impl Oracle {
    /// An agent masked `values`: once per round, for one session.
    pub(crate) fn contributed(
        &mut self,
        agent: &AgentId,
        round: RoundNumber,
        session: SessionId,
        vector: Digest,
        values: Vec<i64>,
    ) -> Result<(), Failure> {
        let twice = |what: String| Failure::Twice { agent: agent.clone(), what };
        if self.tickets.insert((agent.clone(), round), session).is_some() {
            return Err(twice(format!("vectors for round {round}")));
        }
        let key = (session, agent.clone());
        if self.vectors.insert(key, (vector, values)).is_some() {
            return Err(twice(format!("vectors for session {session}")));
        }
        Ok(())
    }

    /// An agent said something: one vote per epoch number and per session, one reveal.
    pub(crate) fn said(&mut self, agent: &AgentId, message: &ToCoordinator) -> Result<(), Failure> {
        let (what, digest) = match message {
            ToCoordinator::RosterVote(signed) => {
                let Ok(vote) = signed.peek() else { return Ok(()) };
                (format!("votes on rosters of epoch {}", vote.epoch), signed.payload_digest())
            }
            ToCoordinator::SurvivorVote(signed) => {
                let Ok(vote) = signed.peek() else { return Ok(()) };
                (format!("votes in session {}", vote.session), signed.payload_digest())
            }
            ToCoordinator::Reveal(signed) => {
                let Ok(reveal) = signed.peek() else { return Ok(()) };
                for share in &reveal.shares {
                    let key = (agent.clone(), reveal.session, share.subject);
                    if *self.kinds.entry(key).or_insert(share.kind) != share.kind {
                        return Err(Failure::BothShares {
                            holder: agent.clone(),
                            subject: share.subject,
                        });
                    }
                }
                (format!("reveals in session {}", reveal.session), signed.payload_digest())
            }
            _ => return Ok(()),
        };
        match self.said.insert((agent.clone(), what.clone()), digest) {
            Some(earlier) if earlier != digest => {
                Err(Failure::Twice { agent: agent.clone(), what })
            }
            _ => Ok(()),
        }
    }

    /// A round completed: the totals are exactly the sum of what the survivors masked.
    pub(crate) fn completed(&mut self, completed: &Completed, floor: usize) -> Result<(), Failure> {
        let round = completed.round;
        if completed.agents.len() < floor {
            let survivors = completed.agents.len();
            return Err(Failure::BelowFloor { round, survivors, floor });
        }
        let mut expected = vec![0; COORDINATES];
        for (agent, digest) in completed.agents.iter().zip(&completed.vector_digests) {
            match self.vectors.get(&(completed.session, agent.clone())) {
                Some((vector, values)) if vector == digest => {
                    expected.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
                _ => return Err(Failure::Phantom { round, agent: agent.clone() }),
            }
        }
        if completed.totals != expected {
            return Err(Failure::WrongSum { round });
        }
        self.unmasked.insert(completed.session);
        self.exclusive(completed.session)?;
        self.end(round)
    }

    /// The coordinator wrote an abort certificate into the ledger.
    pub(crate) fn abort_recorded(&mut self, session: SessionId) -> Result<(), Failure> {
        self.aborted.insert(session);
        self.exclusive(session)
    }

    /// An agent verified an abort certificate and takes its charge back: the ledger had it first,
    /// so that no agent's account is below the federation's.
    pub(crate) fn given_back(&self, agent: &AgentId, session: SessionId) -> Result<(), Failure> {
        if !self.aborted.contains(&session) {
            return Err(Failure::Unrecorded { agent: agent.clone(), session });
        }
        self.exclusive(session)
    }

    fn exclusive(&self, session: SessionId) -> Result<(), Failure> {
        if self.unmasked.contains(&session) && self.aborted.contains(&session) {
            return Err(Failure::BothCertified { session });
        }
        Ok(())
    }

    /// A round ended, in whatever way: once.
    pub(crate) fn end(&mut self, round: RoundNumber) -> Result<(), Failure> {
        let times = self.ended.entry(round).or_default();
        *times += 1;
        if *times == 1 { Ok(()) } else { Err(Failure::Ended { round, times: *times }) }
    }

    /// At the end: every opened round ended.
    pub(crate) fn all_ended(&self, opened: &[RoundNumber]) -> Result<(), Failure> {
        for round in opened {
            if !self.ended.contains_key(round) {
                return Err(Failure::Ended { round: *round, times: 0 });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_wire::{
        Epoch, SecretKey, Signed, SlotSet,
        message::{Reveal, RevealedShare, SurvivorCertificate},
    };

    use super::*;

    fn session(round: u64) -> SessionId {
        let none = Digest::plain(b"");
        SessionId::new(Epoch(1), RoundNumber(round), &none, &none, &SlotSet::empty(4))
    }

    fn agent() -> AgentId {
        AgentId::new("store-0").unwrap()
    }

    fn completed(totals: Vec<i64>) -> Completed {
        Completed {
            session: session(1),
            epoch: Epoch(1),
            round: RoundNumber(1),
            spec: Digest::plain(b""),
            transcript: Digest::plain(b""),
            cohort: SlotSet::empty(4),
            survivors: SlotSet::empty(4),
            agents: vec![agent()],
            vector_digests: vec![Digest::plain(b"vector")],
            certificate: SurvivorCertificate {
                session: session(1),
                survivors: SlotSet::empty(4),
                signatures: Vec::new(),
            },
            totals,
            noise_variance: None,
        }
    }

    fn seen() -> Oracle {
        let mut oracle = Oracle::default();
        let vector = Digest::plain(b"vector");
        let values = vec![7; COORDINATES];
        oracle.contributed(&agent(), RoundNumber(1), session(1), vector, values).unwrap();
        oracle
    }

    #[test]
    fn wrong_sums_floors_and_phantoms_are_seen() {
        assert_eq!(seen().completed(&completed(vec![7; COORDINATES]), 1), Ok(()));
        let mut off = vec![7; COORDINATES];
        off[3] += 1;
        let verdict = seen().completed(&completed(off), 1);
        assert!(matches!(verdict, Err(Failure::WrongSum { .. })));
        let verdict = seen().completed(&completed(vec![7; COORDINATES]), 2);
        assert!(matches!(verdict, Err(Failure::BelowFloor { .. })));
        let mut aborted = seen();
        let early = aborted.given_back(&agent(), session(1));
        assert!(matches!(early, Err(Failure::Unrecorded { .. })));
        aborted.abort_recorded(session(1)).unwrap();
        aborted.given_back(&agent(), session(1)).unwrap();
        let verdict = aborted.completed(&completed(vec![7; COORDINATES]), 1);
        assert!(matches!(verdict, Err(Failure::BothCertified { .. })));
        let verdict = Oracle::default().completed(&completed(vec![0; COORDINATES]), 1);
        assert!(matches!(verdict, Err(Failure::Phantom { .. })));
    }

    #[test]
    fn second_vectors_second_ends_and_second_reveals_are_seen() {
        let mut oracle = seen();
        let vector = Digest::plain(b"other");
        let second = oracle.contributed(&agent(), RoundNumber(1), session(2), vector, Vec::new());
        assert!(matches!(second, Err(Failure::Twice { .. })));
        oracle.end(RoundNumber(1)).unwrap();
        assert!(matches!(oracle.end(RoundNumber(1)), Err(Failure::Ended { times: 2, .. })));
        assert!(matches!(
            oracle.all_ended(&[RoundNumber(1), RoundNumber(2)]),
            Err(Failure::Ended { times: 0, .. })
        ));
        let reveal = |kind, byte| {
            let share = RevealedShare { subject: Slot(1), kind, share: [byte; 32] };
            let shares = vec![share];
            let reveal = Reveal { session: session(1), slot: Slot(0), shares, surplus: None };
            let key = SecretKey::from_seed(&[1; 32]);
            ToCoordinator::Reveal(Signed::sign(&reveal, &key).unwrap())
        };
        oracle.said(&agent(), &reveal(ShareKind::SelfSeed, 1)).unwrap();
        oracle.said(&agent(), &reveal(ShareKind::SelfSeed, 1)).unwrap();
        let other = oracle.said(&agent(), &reveal(ShareKind::SelfSeed, 2));
        assert!(matches!(other, Err(Failure::Twice { .. })));
        let both = oracle.said(&agent(), &reveal(ShareKind::PairwiseKey, 1));
        assert!(matches!(both, Err(Failure::BothShares { .. })));
    }
}
