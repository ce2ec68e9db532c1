//! A federation that moves in step: all agents hear what was sent to them, on several threads,
//! then the coordinator hears all of them, in an order drawn by lot.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chorale_plan::CohortRule;
use chorale_round::{VerifiedMemo, agent, coordinator};
use chorale_secagg::{GraphParameters, MaskTicket as _};
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, Signed, ToAgent, ToCoordinator, message::MaskedHeader,
};
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::{
    CostRun,
    meter::{length, peak_memory_bytes, timed},
    report::{CostReport, Ledger, PHASES, Phase, Spent},
};
use crate::{
    federation::{Federation, START_MS, broken, tls_key},
    oracle::Failure,
};

/// Deadlines that may pass in one epoch's setup or one round before it counts as endless.
const DEADLINES_MAX: usize = 64;

/// One agent with its meter.
struct Node {
    name: AgentId,
    number: usize,
    machine: agent::Machine,
    rng: ChaCha20Rng,
    /// What was sent to it, with its length.
    inbox: Vec<(Arc<ToAgent>, u64)>,
    /// What it says, with its length.
    outbox: Vec<(Said, u64)>,
    /// It drops out of this round when COMMIT comes.
    leaves: bool,
    present: bool,
    spent: [Spent; PHASES],
}

enum Said {
    Control(ToCoordinator),
    Upload(Signed<MaskedHeader>, Vec<u8>),
}

/// The federation.
pub(super) struct Hall {
    run: CostRun,
    federation: Federation,
    index: BTreeMap<AgentId, usize>,
    coordinator: coordinator::Machine,
    nodes: Vec<Node>,
    luck: ChaCha20Rng,
    now_ms: u64,
    round: RoundNumber,
    spent: [Spent; PHASES],
    /// Survivors of the round at hand, once its sum is known.
    completed: Option<usize>,
    ledger: Ledger,
}

impl Hall {
    pub(super) fn new(run: &CostRun, rule: CohortRule) -> Result<Self, Failure> {
        let mut federation = Federation::new(run.seed, run.agents)?;
        federation.rule = rule;
        federation.coordinates = run.coordinates;
        let config = federation.config(Epoch(0), RoundNumber(0));
        let memo = Arc::new(VerifiedMemo::new());
        let nodes = federation.identities.iter().enumerate().map(|(number, identity)| {
            let machine = agent::Machine::new(identity.clone(), None, None);
            Node {
                name: identity.agent.clone(),
                number,
                // The first one is alone: it verifies everything itself.
                machine: if number == 0 { machine } else { machine.share_verified(memo.clone()) },
                rng: ChaCha20Rng::seed_from_u64(run.seed ^ ((number as u64 + 1) << 20)),
                inbox: Vec::new(),
                outbox: Vec::new(),
                leaves: false,
                present: false,
                spent: [Spent::default(); PHASES],
            }
        });
        Ok(Self {
            nodes: nodes.collect(),
            run: run.clone(),
            index: federation.agents.iter().cloned().zip(0..).collect(),
            coordinator: coordinator::Machine::new(config),
            federation,
            luck: ChaCha20Rng::seed_from_u64(run.seed),
            now_ms: START_MS,
            round: RoundNumber(0),
            spent: [Spent::default(); PHASES],
            completed: None,
            ledger: Ledger::default(),
        })
    }

    /// Everybody connects, and an epoch is set up.
    pub(super) fn set_up(&mut self) -> Result<(), Failure> {
        self.come_in()?;
        let everybody = self.federation.agents.iter().cloned().collect();
        let (rounds, now_ms) = (self.run.rounds as u16, self.now_ms);
        let coordinator = &mut self.coordinator;
        let (actions, cpu) = timed(|| coordinator.open_epoch(everybody, rounds, now_ms));
        self.spend(Phase::Advert, cpu);
        self.carry_out(Phase::Advert, actions.map_err(broken)?)?;
        self.settle()?;
        let roster = self.coordinator.epoch().ok_or_else(|| broken("the epoch failed"))?;
        if roster.agents() != self.nodes.len() {
            return Err(broken("an epoch without all agents"));
        }
        self.ledger.neighbours = match roster.graph_parameters() {
            GraphParameters::Complete { agents } => usize::from(*agents) - 1,
            GraphParameters::Ring(ring) => ring.neighbours(),
        };
        self.ledger.threshold = roster.share_threshold();
        self.ledger.votes_min = roster.votes_min();
        Ok(())
    }

    /// One round, in which some agents leave when COMMIT comes.
    pub(super) fn round(&mut self) -> Result<(), Failure> {
        self.come_in()?;
        let mut leavers: Vec<usize> = (1..self.nodes.len()).collect();
        leavers.shuffle(&mut self.luck);
        for number in leavers.into_iter().take(self.run.dropouts()) {
            self.nodes[number].leaves = true;
        }
        self.round = RoundNumber(self.coordinator.last_round().0 + 1);
        let missing = || broken("no epoch is ready");
        let epoch = self.coordinator.epoch().ok_or_else(missing)?.epoch();
        let key_index = self.coordinator.next_key_index().ok_or_else(missing)?;
        let model = Digest::plain(&self.round.0.to_be_bytes());
        let spec = self.federation.spec(epoch, self.round, key_index, model);
        self.completed = None;
        let (coordinator, now_ms) = (&mut self.coordinator, self.now_ms);
        let (actions, cpu) = timed(|| coordinator.open_round(&spec, now_ms));
        self.spend(Phase::Ready, cpu);
        self.carry_out(Phase::Ready, actions.map_err(broken)?)?;
        self.settle()?;
        match self.completed {
            Some(survivors) if survivors == self.nodes.len() - self.run.dropouts() => Ok(()),
            Some(survivors) => Err(broken(format!("a sum over {survivors} agents"))),
            None => Err(Failure::Ended { round: self.round, times: 0 }),
        }
    }

    pub(super) fn into_report(self, wall: Duration) -> CostReport {
        let agents = self.nodes.iter().map(|node| node.spent).collect();
        let rule = &self.federation.rule;
        self.ledger.report(&self.run, rule, agents, self.spent, wall, peak_memory_bytes())
    }

    /// Whoever is not here connects and says hello. What that costs belongs to no phase.
    fn come_in(&mut self) -> Result<(), Failure> {
        for number in 0..self.nodes.len() {
            let node = &mut self.nodes[number];
            node.leaves = false;
            if !node.present {
                node.present = true;
                node.inbox.clear();
                self.coordinator.connected(&node.name, Some(tls_key(&node.name)));
                let hello = node.machine.hello(None);
                let actions = self.coordinator.handle(&node.name, hello, self.now_ms);
                self.carry_out(Phase::Result, actions)?;
            }
        }
        self.settle()
    }

    /// Lets everybody hear and speak, and deadlines pass, until nothing is left to happen.
    fn settle(&mut self) -> Result<(), Failure> {
        for _ in 0..DEADLINES_MAX {
            while self.agents_hear()? {
                self.coordinator_hears()?;
            }
            let Some(next_ms) = self.coordinator.poll_deadline(self.now_ms) else {
                return Ok(());
            };
            self.now_ms = self.now_ms.max(next_ms);
            let (coordinator, now_ms) = (&mut self.coordinator, self.now_ms);
            let (actions, cpu) = timed(|| coordinator.tick(now_ms));
            // Only vectors are waited for in vain.
            self.spend(Phase::Masked, cpu);
            self.carry_out(Phase::Masked, actions)?;
        }
        Err(Failure::Endless { steps: DEADLINES_MAX })
    }

    /// Hands every agent its messages; false when there were none.
    fn agents_hear(&mut self) -> Result<bool, Failure> {
        if self.nodes.iter().all(|node| node.inbox.is_empty()) {
            return Ok(false);
        }
        for number in 0..self.nodes.len() {
            let node = &self.nodes[number];
            let commit =
                |(message, _): &(Arc<ToAgent>, u64)| matches!(**message, ToAgent::Commit(_));
            if node.leaves && node.present && node.inbox.iter().any(commit) {
                self.leave(number)?;
            }
        }
        let (now_ms, coordinates) = (self.now_ms, self.run.coordinates);
        let part = self.nodes.len().div_ceil(self.run.threads.max(1));
        let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
            let parts = self.nodes.chunks_mut(part);
            let workers: Vec<_> = parts
                .map(|nodes| {
                    scope.spawn(move || {
                        nodes.iter_mut().try_for_each(|node| node.hear(now_ms, coordinates))
                    })
                })
                .collect();
            let died = || broken("a thread of the agents died");
            workers.into_iter().map(|worker| worker.join().map_err(|_| died()).flatten()).collect()
        });
        results.into_iter().collect::<Result<(), Failure>>()?;
        Ok(true)
    }

    /// The coordinator hears everybody, in an order drawn by lot.
    fn coordinator_hears(&mut self) -> Result<(), Failure> {
        let mut said = Vec::new();
        for node in &mut self.nodes {
            let number = node.number;
            said.extend(node.outbox.drain(..).map(|(said, length)| (number, said, length)));
        }
        said.shuffle(&mut self.luck);
        for (number, said, length) in said {
            let phase = phase_of_said(&said);
            let (coordinator, agent) = (&mut self.coordinator, &self.nodes[number].name);
            let now_ms = self.now_ms;
            let (actions, cpu) = match said {
                Said::Control(message) => timed(|| coordinator.handle(agent, message, now_ms)),
                Said::Upload(header, bytes) => timed(|| {
                    coordinator.upload(agent, &header, &chorale_wire::Hashed::of(bytes), now_ms)
                }),
            };
            self.spend(phase, cpu);
            self.spent[phase as usize].received_bytes += length;
            self.carry_out(phase, actions)?;
        }
        Ok(())
    }

    fn leave(&mut self, number: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[number];
        node.present = false;
        node.inbox.clear();
        let (coordinator, name, now_ms) = (&mut self.coordinator, &node.name, self.now_ms);
        let (actions, cpu) = timed(|| coordinator.disconnected(name, now_ms));
        self.spend(Phase::Masked, cpu);
        self.carry_out(Phase::Masked, actions)
    }

    fn carry_out(
        &mut self,
        phase: Phase,
        actions: Vec<coordinator::Action>,
    ) -> Result<(), Failure> {
        for action in actions {
            match action {
                coordinator::Action::Send(agent, message) => self.post(&[agent], message)?,
                coordinator::Action::Broadcast(agents, message) => self.post(&agents, message)?,
                coordinator::Action::SendEach(letters) => {
                    for (agent, message) in letters.iter() {
                        self.post(std::slice::from_ref(agent), message)?;
                    }
                }
                coordinator::Action::RoundComplete(completed) => self.complete(&completed)?,
                coordinator::Action::RoundAborted { reason, .. } => {
                    return Err(broken(format!("a round was aborted: {reason}")));
                }
                coordinator::Action::EpochFailed { reason, .. } => {
                    return Err(broken(format!("an epoch failed: {reason}")));
                }
                coordinator::Action::Fault(fault) => {
                    let (agent, what) = (fault.agent, format!("{}, in {phase:?}", fault.kind));
                    return Err(Failure::Blamed { agent, what });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn post(&mut self, agents: &[AgentId], message: ToAgent) -> Result<(), Failure> {
        let length = length(&message);
        let spent = &mut self.spent[phase_of(&message) as usize];
        spent.sent_bytes += length * agents.len() as u64;
        let message = Arc::new(message);
        for agent in agents {
            let unknown = || broken(format!("a message to the unknown {agent}"));
            let number = *self.index.get(agent).ok_or_else(unknown)?;
            if self.nodes[number].present {
                self.nodes[number].inbox.push((message.clone(), length));
            }
        }
        Ok(())
    }

    fn complete(&mut self, completed: &coordinator::Completed) -> Result<(), Failure> {
        let mut expected = vec![0i64; self.run.coordinates];
        for agent in &completed.agents {
            let unknown = || broken(format!("a vector of the unknown {agent}"));
            let number = *self.index.get(agent).ok_or_else(unknown)?;
            for (place, sum) in expected.iter_mut().enumerate() {
                *sum += value(number, completed.round, place);
            }
        }
        if completed.totals != expected {
            return Err(Failure::WrongSum { round: completed.round });
        }
        self.completed = Some(completed.agents.len());
        let model = Digest::plain(b"model");
        let coordinator = &mut self.coordinator;
        let (actions, cpu) = timed(|| coordinator.conclude(model, 1, model));
        self.spend(Phase::Result, cpu);
        self.carry_out(Phase::Result, actions)
    }

    fn spend(&mut self, phase: Phase, cpu: Duration) {
        self.spent[phase as usize].cpu += cpu;
    }
}

impl Node {
    /// Handles everything in the inbox.
    fn hear(&mut self, now_ms: u64, coordinates: usize) -> Result<(), Failure> {
        for (message, bytes) in std::mem::take(&mut self.inbox) {
            let phase = phase_of(&message);
            self.spent[phase as usize].received_bytes += bytes;
            let message = Arc::unwrap_or_clone(message);
            let (handled, cpu) = {
                let (machine, rng) = (&mut self.machine, &mut self.rng);
                timed(|| machine.handle(message, now_ms, rng))
            };
            self.spent[phase as usize].cpu += cpu;
            self.carry_out(phase, handled.map_err(broken)?, coordinates)?;
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        phase: Phase,
        actions: Vec<agent::Action>,
        coordinates: usize,
    ) -> Result<(), Failure> {
        for action in actions {
            match action {
                agent::Action::Send(message) => {
                    let bytes = length(&message);
                    self.spent[phase as usize].sent_bytes += bytes;
                    self.outbox.push((Said::Control(message), bytes));
                }
                agent::Action::Train { .. } => {
                    let machine = &mut self.machine;
                    let (ready, cpu) = timed(|| machine.ready());
                    self.spent[phase as usize].cpu += cpu;
                    self.carry_out(phase, ready.map_err(broken)?, coordinates)?;
                }
                agent::Action::Contribute { ticket, spec, .. } => {
                    let total: Vec<i64> = (0..coordinates)
                        .map(|place| value(self.number, spec.round, place))
                        .collect();
                    let total = Zeroizing::new(total);
                    let machine = &mut self.machine;
                    let (masked, cpu) = timed(|| {
                        let packed = ticket.mask(total).map_err(broken)?;
                        let (digest, length) = (packed.digest(), packed.bytes().len() as u64);
                        let header = machine.masked(digest, length).map_err(broken)?;
                        Ok::<_, Failure>((header, packed.into_bytes()))
                    });
                    let (header, vector) = masked?;
                    let bytes = length(&header) + vector.len() as u64;
                    let spent = &mut self.spent[phase as usize];
                    spent.cpu += cpu;
                    spent.sent_bytes += bytes;
                    self.outbox.push((Said::Upload(header, vector), bytes));
                }
                agent::Action::RoundAborted { end, reason, .. } if self.present => {
                    return Err(broken(format!("{} ended a round ({end:?}): {reason}", self.name)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What an agent contributes at one place: of either sign, different for agents and rounds.
fn value(agent: usize, round: RoundNumber, place: usize) -> i64 {
    ((agent * 7 + place * 13) % 2_003) as i64 - 1_000 + (round.0 % 100) as i64
}

/// The phase that a message to an agent opens for it.
fn phase_of(message: &ToAgent) -> Phase {
    match message {
        ToAgent::EpochOpen(_) => Phase::Advert,
        ToAgent::Roster(_) => Phase::Roster,
        ToAgent::RosterCertificate(_) => Phase::Deal,
        ToAgent::Shares(_) => Phase::Accept,
        ToAgent::RoundOpen(_) => Phase::Ready,
        ToAgent::Commit(_) => Phase::Masked,
        ToAgent::Survivors(_) => Phase::Vote,
        ToAgent::SurvivorCertificate(_) => Phase::Reveal,
        _ => Phase::Result,
    }
}

/// The phase that a message to the coordinator belongs to.
fn phase_of_said(said: &Said) -> Phase {
    match said {
        Said::Upload(..) => Phase::Masked,
        Said::Control(message) => match message {
            ToCoordinator::Advert(_) => Phase::Advert,
            ToCoordinator::RosterVote(_) => Phase::Roster,
            ToCoordinator::Shares(_) => Phase::Deal,
            ToCoordinator::SharesAccepted(_) => Phase::Accept,
            ToCoordinator::Ready(_) => Phase::Ready,
            ToCoordinator::SurvivorVote(_) => Phase::Vote,
            ToCoordinator::Reveal(_) => Phase::Reveal,
            _ => Phase::Result,
        },
    }
}
