//! What must never fail, whatever happens: watched from outside, on the wire and at the results.

mod readable;

use std::collections::{BTreeMap, BTreeSet};

use chorale_plan::{CohortRule, RoundSpec};
use chorale_round::{VerifiedRoster, coordinator::Completed};
use chorale_secagg::Graph;
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, SessionId, Slot, SlotSet, ToCoordinator,
    message::{Reveal, ShareKind, Vote},
};

use self::readable::MaskedFor;
pub(crate) use self::readable::Sharing;
use crate::exhaustive::Fates;

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
    /// An honest agent voted for fewer survivors than the floor.
    #[error("{voter} voted for {survivors} survivors; the floor is {floor}")]
    SmallVote {
        /// The agent.
        voter: AgentId,
        /// Survivors in the vote.
        survivors: usize,
        /// T_min.
        floor: usize,
    },
    /// An honest agent revealed in a session in which it had not voted.
    #[error("{holder} revealed shares in a session in which it masked or voted nothing")]
    Unasked {
        /// The agent.
        holder: AgentId,
    },
    /// Honest agents opened one round's masks over two sets of survivors.
    #[error("honest agents revealed over two sets of survivors with key {key_index} of {epoch}")]
    TwoSets {
        /// The epoch.
        epoch: Epoch,
        /// Which of its keys.
        key_index: u16,
    },
    /// The coordinator and the liars can know both secrets of an agent, and thus its vector.
    #[error("enough shares of both secrets of slot {subject} of epoch {epoch} are out")]
    Secrets {
        /// The epoch.
        epoch: Epoch,
        /// Whose secrets.
        subject: Slot,
    },
    /// The coordinator and the liars can read a sum of too few honest agents' vectors.
    #[error(
        "the vectors of {agents} honest agents in session {session} can be read; the floor is {floor}"
    )]
    Readable {
        /// The session for which they were masked.
        session: SessionId,
        /// Agents whose vectors are in the sum.
        agents: usize,
        /// T_min - A.
        floor: usize,
    },
    /// A holder gave up shares of both secrets of one agent.
    #[error("{holder} revealed both secrets' shares of slot {subject} in one round")]
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
    /// Somebody who did nothing wrong was blamed.
    #[error("{agent} did nothing wrong and is blamed: {what}")]
    Blamed {
        /// The agent.
        agent: AgentId,
        /// For what.
        what: String,
    },
    /// A drop-out pattern led to something else than it must.
    #[error("where the agents leave like this, {fates:?}: {what}")]
    Pattern {
        /// When each agent leaves.
        fates: Fates,
        /// What went wrong.
        what: String,
    },
    /// The simulator itself is broken, or its driver misused a machine.
    #[error("the simulator: {0}")]
    Simulator(String),
}

/// The keys that a round uses: an epoch's, by index. They serve one session.
type Keys = (Epoch, u16);

/// Digest of a masked vector, and the values in it.
type MaskedValues = (Digest, Vec<i64>);

/// By keys and subject: who gave up a share of the self seed, and of the pairwise key.
type Shares = BTreeMap<(Keys, Slot), [BTreeSet<AgentId>; 2]>;

/// Everything that was seen.
#[derive(Debug)]
pub(crate) struct Oracle {
    floors: Floors,
    /// What each agent masked for a session; a liar may have made several vectors.
    vectors: BTreeMap<(SessionId, AgentId), Vec<MaskedValues>>,
    tickets: BTreeMap<(AgentId, Keys), SessionId>,
    rounds: BTreeMap<(AgentId, RoundNumber), SessionId>,
    keys: BTreeMap<SessionId, Keys>,
    said: BTreeMap<(AgentId, String), Digest>,
    votes: BTreeMap<(AgentId, SessionId), SlotSet>,
    /// The set over which honest agents revealed.
    opened: BTreeMap<Keys, (SessionId, SlotSet)>,
    /// Who gave up a share of which secret of whom.
    shares: Shares,
    /// What honest agents masked for each session.
    masked: BTreeMap<SessionId, MaskedFor>,
    ended: BTreeMap<RoundNumber, usize>,
    sharing: BTreeMap<Epoch, Sharing>,
    /// Sessions that gave a sum.
    unmasked: BTreeSet<SessionId>,
    /// Sessions whose abort certificate is in the ledger.
    aborted: BTreeSet<SessionId>,
}

/// What holds against the coordinator and the liars together.
#[derive(Debug, Clone)]
pub(crate) struct Floors {
    /// The federation's rule.
    pub(crate) rule: CohortRule,
    /// Liars, who give every share and every secret that they hold to the coordinator.
    pub(crate) liars: BTreeSet<AgentId>,
}

impl Oracle {
    pub(crate) fn new(floors: Floors) -> Self {
        Self {
            floors,
            vectors: BTreeMap::new(),
            tickets: BTreeMap::new(),
            rounds: BTreeMap::new(),
            keys: BTreeMap::new(),
            said: BTreeMap::new(),
            votes: BTreeMap::new(),
            opened: BTreeMap::new(),
            shares: Shares::new(),
            masked: BTreeMap::new(),
            ended: BTreeMap::new(),
            sharing: BTreeMap::new(),
            unmasked: BTreeSet::new(),
            aborted: BTreeSet::new(),
        }
    }

    /// An epoch's keys are shared by `roster`, along the graph of this seed.
    pub(crate) fn shared(&mut self, roster: &VerifiedRoster, graph_seed: Digest) {
        let names = roster.agent_ids().cloned().collect();
        let graph = Graph::new(*roster.graph_parameters(), graph_seed);
        let sharing = Sharing::new(names, graph, roster.share_threshold(), &self.floors.liars);
        self.sharing.insert(roster.epoch(), sharing);
    }

    /// Who shares with whom in an epoch.
    pub(crate) fn sharing(&self, epoch: Epoch) -> Option<&Sharing> {
        self.sharing.get(&epoch)
    }

    /// An agent masked `values`: once per round and once with its keys, for one session, whose
    /// cohort it saw.
    pub(crate) fn contributed(
        &mut self,
        agent: &AgentId,
        spec: &RoundSpec,
        (session, cohort): (SessionId, SlotSet),
        vector: Digest,
        values: Vec<i64>,
    ) -> Result<(), Failure> {
        let twice = |what: String| Failure::Twice { agent: agent.clone(), what };
        let (round, keys) = (spec.round, (spec.epoch, spec.key_index));
        if self.rounds.insert((agent.clone(), round), session).is_some() {
            return Err(twice(format!("vectors for round {round}")));
        }
        if self.tickets.insert((agent.clone(), keys), session).is_some() {
            return Err(twice(format!("vectors with key {} of epoch {}", keys.1, keys.0)));
        }
        self.keys.insert(session, keys);
        if let Some(slot) = self.sharing.get(&keys.0).and_then(|sharing| sharing.slot_of(agent))
            && !self.floors.liars.contains(agent)
        {
            let new = || MaskedFor { keys, cohort, agents: BTreeSet::new() };
            self.masked.entry(session).or_insert_with(new).agents.insert(slot);
        }
        self.vectors.entry((session, agent.clone())).or_default().push((vector, values));
        Ok(())
    }

    /// A liar made another vector for a session for which it masked one.
    pub(crate) fn second_vector(
        &mut self,
        agent: &AgentId,
        session: SessionId,
        vector: Digest,
        values: Vec<i64>,
    ) {
        self.vectors.entry((session, agent.clone())).or_default().push((vector, values));
    }

    /// What an agent masked first for `session`.
    pub(crate) fn vector(&self, agent: &AgentId, session: SessionId) -> Option<&[i64]> {
        let vectors = self.vectors.get(&(session, agent.clone()))?;
        vectors.first().map(|(_, values)| values.as_slice())
    }

    /// An agent's machine said something: one vote per epoch number and per session, one reveal,
    /// and never so much that two secrets of one agent are known.
    pub(crate) fn said(&mut self, agent: &AgentId, message: &ToCoordinator) -> Result<(), Failure> {
        let (what, digest) = match message {
            ToCoordinator::RosterVote(signed) => {
                let Ok(vote) = signed.peek() else { return Ok(()) };
                (format!("votes on rosters of epoch {}", vote.epoch), signed.payload_digest())
            }
            ToCoordinator::SurvivorVote(signed) => {
                let Ok(vote) = signed.peek() else { return Ok(()) };
                if let Vote::Survivors(set) = &vote.vote {
                    self.voted(agent, vote.session, set)?;
                }
                (format!("votes in session {}", vote.session), signed.payload_digest())
            }
            ToCoordinator::Reveal(signed) => {
                let Ok(reveal) = signed.peek() else { return Ok(()) };
                self.revealed(agent, &reveal)?;
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

    /// Whatever can be read with all that was revealed for `keys` is a sum over enough of the
    /// honest.
    fn check_readable(&self, keys: Keys) -> Result<(), Failure> {
        let Some(sharing) = self.sharing.get(&keys.0) else { return Ok(()) };
        let rule = &self.floors.rule;
        let floor = rule.survivors_min.saturating_sub(rule.corrupt) as usize;
        for (session, masked) in self.masked.iter().filter(|(_, masked)| masked.keys == keys) {
            let parts = sharing.readable_parts(masked, &self.shares);
            if let Some(part) = parts.into_iter().find(|part| part.len() < floor) {
                let (session, agents) = (*session, part.len());
                return Err(Failure::Readable { session, agents, floor });
            }
        }
        Ok(())
    }

    fn voted(&mut self, agent: &AgentId, session: SessionId, set: &SlotSet) -> Result<(), Failure> {
        let (survivors, floor) = (set.len(), self.floors.rule.survivors_min as usize);
        if survivors < floor {
            let voter = agent.clone();
            return Err(Failure::SmallVote { voter, survivors, floor });
        }
        self.votes.insert((agent.clone(), session), set.clone());
        Ok(())
    }

    fn revealed(&mut self, agent: &AgentId, reveal: &Reveal) -> Result<(), Failure> {
        let unasked = || Failure::Unasked { holder: agent.clone() };
        let session = reveal.session;
        let keys = *self.keys.get(&session).ok_or_else(unasked)?;
        let set = self.votes.get(&(agent.clone(), session)).ok_or_else(unasked)?.clone();
        let sharing = self.sharing.get(&keys.0).ok_or_else(unasked)?;
        let opened = self.opened.entry(keys).or_insert_with(|| (session, set.clone()));
        if *opened != (session, set) {
            return Err(Failure::TwoSets { epoch: keys.0, key_index: keys.1 });
        }
        for share in &reveal.shares {
            let holders = self.shares.entry((keys, share.subject)).or_default();
            let kind = usize::from(share.kind == ShareKind::PairwiseKey);
            if holders[1 - kind].contains(agent) {
                let (holder, subject) = (agent.clone(), share.subject);
                return Err(Failure::BothShares { holder, subject });
            }
            holders[kind].insert(agent.clone());
            let known = |kind: usize| sharing.opens(share.subject, &holders[kind]);
            if known(0) && known(1) {
                return Err(Failure::Secrets { epoch: keys.0, subject: share.subject });
            }
        }
        self.check_readable(keys)
    }

    /// A round completed: the totals are exactly the sum of what the survivors masked, modulo
    /// 2^w, since a liar may have made any vector.
    pub(crate) fn completed(
        &mut self,
        completed: &Completed,
        modulus_bits: u8,
    ) -> Result<(), Failure> {
        let (round, floor) = (completed.round, self.floors.rule.survivors_min as usize);
        if completed.agents.len() < floor {
            let survivors = completed.agents.len();
            return Err(Failure::BelowFloor { round, survivors, floor });
        }
        let mut expected = vec![0i64; completed.totals.len()];
        for (agent, digest) in completed.agents.iter().zip(&completed.vector_digests) {
            let vectors = self.vectors.get(&(completed.session, agent.clone()));
            let vector = vectors.and_then(|all| all.iter().find(|(vector, _)| vector == digest));
            let Some((_, values)) = vector else {
                return Err(Failure::Phantom { round, agent: agent.clone() });
            };
            expected.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let expected: Vec<i64> =
            expected.into_iter().map(|sum| centred(sum, modulus_bits)).collect();
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

    /// An oracle that has seen nothing but which sessions were aborted.
    pub(crate) fn after_epoch(&self) -> Self {
        Self { aborted: self.aborted.clone(), ..Self::new(self.floors.clone()) }
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

/// The representative of `value` modulo 2^`bits` nearest to zero, as the sum is read.
fn centred(value: i64, bits: u8) -> i64 {
    let modulus = 1i64 << bits;
    let rest = value.rem_euclid(modulus);
    if rest > modulus / 2 { rest - modulus } else { rest }
}

#[cfg(test)]
mod tests;
