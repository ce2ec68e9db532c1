//! The event loop: virtual time, an unreliable network, restarting agents, an operator, and
//! whoever lies.

mod judge;
mod network;
mod operator;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use chorale_dp::Rho;
use chorale_ledger::Chain;
use chorale_round::{VerifiedMemo, agent, coordinator};
use chorale_secagg::MaskTicket as _;
use chorale_wire::{
    AgentId, Digest, Epoch, Hashed, RoundNumber, Signed, ToAgent, ToCoordinator,
    message::{MaskedHeader, RefusalCode},
};
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use crate::{
    blame::Court,
    federation::{COORDINATES, Federation, START_MS, VALUE_MAX, broken},
    liar::Liar,
    oracle::{Failure, Floors, Oracle},
    scenario::Scenario,
    trace::{self, Timeline},
};

/// Steps per agent after which a federation counts as endless; the longest seen take a tenth.
const STEPS_PER_AGENT_MAX: usize = 40_000;

/// What became of a federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What was played.
    pub scenario: Scenario,
    /// Rounds that gave a sum.
    pub completed: usize,
    /// Rounds that ended without one.
    pub aborted: usize,
    /// Those of them that the agents voted to abort, so that nothing is charged.
    pub certified: usize,
    /// Epochs that became ready.
    pub epochs: usize,
    /// Connections that broke.
    pub disconnects: usize,
    /// Restarts of agents and of the coordinator.
    pub restarts: usize,
    /// Lies that were told.
    pub lies: usize,
    /// Messages that were refused by either side.
    pub faults: usize,
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// Digest over every event in order: equal for equal seeds.
    pub trace: Digest,
}

/// A masked vector behind its signed header.
pub(crate) type Upload = (Signed<MaskedHeader>, Vec<u8>);

/// One agent with its surroundings.
struct Node {
    machine: agent::Machine,
    rng: ChaCha20Rng,
    /// Number of the current connection; `None` while there is none.
    link: Option<u64>,
    /// Counts restarts, so that work of an earlier life is not taken for this one's.
    life: u32,
    dead: bool,
    /// The uploads that the transport repeats on every new connection; an honest agent has one.
    uploads: Vec<Upload>,
}

enum Event {
    ToAgent { index: usize, link: u64, message: ToAgent },
    ToCoordinator { index: usize, link: u64, message: ToCoordinator },
    Upload { index: usize, link: u64, header: Signed<MaskedHeader>, bytes: Vec<u8> },
    Connect { index: usize },
    Trained { index: usize, life: u32, round: RoundNumber },
    Masked { index: usize, life: u32, round: RoundNumber, bytes: Vec<u8> },
    Operator,
}

/// A round that the ledger holds a reservation for.
struct OpenRound {
    round: RoundNumber,
    rho: Rho,
    modulus_bits: u8,
    committed: bool,
}

pub(crate) struct World {
    scenario: Scenario,
    luck: ChaCha20Rng,
    now_ms: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    next_link: u64,
    /// When the last message in each direction of each agent arrives, for order.
    last_arrival_ms: BTreeMap<(usize, bool), u64>,
    /// Earlier messages in each direction of each agent, for replays.
    history: BTreeMap<usize, network::History>,
    federation: Federation,
    index: BTreeMap<AgentId, usize>,
    /// Agents by slot, of every roster that the coordinator showed.
    rosters: BTreeMap<Epoch, Vec<AgentId>>,
    coordinator: coordinator::Machine,
    memo: Arc<VerifiedMemo>,
    nodes: Vec<Node>,
    oracle: Oracle,
    court: Court,
    liar: Liar,
    chain: Chain,
    ledger: String,
    open: Option<OpenRound>,
    opened: Vec<RoundNumber>,
    last_epoch: Epoch,
    charged: Rho,
    looks: u32,
    counts: Counts,
    trace: Digest,
    timeline: Timeline,
    phase: &'static str,
}

#[derive(Default)]
struct Counts {
    completed: usize,
    aborted: usize,
    certified: usize,
    epochs: usize,
    disconnects: usize,
    restarts: usize,
    lies: usize,
    faults: usize,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, timeline: Timeline) -> Result<Self, Failure> {
        let mut luck = ChaCha20Rng::seed_from_u64(scenario.seed ^ 0x5eed);
        let federation = Federation::new(scenario.seed, scenario.agents)?;
        let config = federation.config(Epoch(0), RoundNumber(0));
        let genesis = federation.genesis()?;
        let (chain, ledger) =
            Chain::genesis(genesis, &federation.coordinator_key(), START_MS / 1_000)
                .map_err(broken)?;
        let memo = Arc::new(VerifiedMemo::new());
        let nodes = federation
            .identities
            .iter()
            .map(|identity| Node {
                machine: agent::Machine::new(identity.clone(), None, None)
                    .share_verified(memo.clone()),
                rng: ChaCha20Rng::seed_from_u64(luck.next_u64()),
                link: None,
                life: 0,
                dead: false,
                uploads: Vec::new(),
            })
            .collect();
        let court = court(scenario, &federation, &mut luck);
        let floors = Floors { rule: federation.rule.clone(), liars: court.liars.clone() };
        let liar_luck = ChaCha20Rng::seed_from_u64(luck.next_u64());
        let liar = Liar::new(liar_luck, federation.rule.clone(), federation.coordinator_key());
        Ok(Self {
            scenario: scenario.clone(),
            luck,
            now_ms: START_MS,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            next_link: 0,
            last_arrival_ms: BTreeMap::new(),
            history: BTreeMap::new(),
            rosters: BTreeMap::new(),
            index: federation.agents.iter().cloned().zip(0..).collect(),
            coordinator: coordinator::Machine::new(config),
            federation,
            memo,
            nodes,
            oracle: Oracle::new(floors),
            court,
            liar,
            chain,
            ledger,
            open: None,
            opened: Vec::new(),
            last_epoch: Epoch(0),
            charged: Rho::zero(),
            looks: 0,
            counts: Counts::default(),
            trace: Digest::plain(b""),
            timeline,
            phase: "",
        })
    }

    /// Runs until nothing is left to happen, and judges the end. The time line comes with it.
    pub(crate) fn play(mut self) -> (Result<Summary, Failure>, Vec<String>) {
        let result = self.run().and_then(|()| self.judge());
        if let Err(failure) = &result {
            self.timeline.note(self.now_ms, || format!("VIOLATION: {failure}"));
        }
        (result, self.timeline.into_lines())
    }

    fn run(&mut self) -> Result<(), Failure> {
        for liar in &self.court.liars {
            self.timeline.note(START_MS, || format!("{liar} is corrupt"));
        }
        for index in 0..self.nodes.len() {
            let at_ms = self.now_ms + self.luck.random_range(0..2_000);
            self.schedule(at_ms, Event::Connect { index });
        }
        self.schedule(START_MS + operator::LOOKS_EVERY_MS, Event::Operator);
        let steps_max = STEPS_PER_AGENT_MAX * self.nodes.len();
        for _ in 0..steps_max {
            if !self.step()? {
                return Ok(());
            }
        }
        Err(Failure::Endless { steps: steps_max })
    }

    /// The next event or deadline; false when there is none.
    fn step(&mut self) -> Result<bool, Failure> {
        let event_ms = self.queue.peek().map(|Reverse((at_ms, _))| *at_ms);
        let deadlines = self.nodes.iter().filter(|node| !node.dead);
        let deadline_ms = deadlines
            .filter_map(|node| node.machine.poll_deadline())
            .chain(self.coordinator.poll_deadline(self.now_ms))
            .min();
        let Some(next_ms) = event_ms.into_iter().chain(deadline_ms).min() else {
            return Ok(false);
        };
        self.now_ms = self.now_ms.max(next_ms);
        if event_ms == Some(next_ms) {
            if let Some(Reverse((_, number))) = self.queue.pop()
                && let Some(event) = self.events.remove(&number)
            {
                self.happen(event)?;
            }
        } else {
            let actions = self.coordinator.tick(self.now_ms);
            self.carry_out(actions)?;
            for index in 0..self.nodes.len() {
                if !self.nodes[index].dead {
                    let actions = self.nodes[index].machine.tick(self.now_ms);
                    self.carry_out_at(index, actions)?;
                }
            }
        }
        self.note_phase();
        Ok(true)
    }

    fn happen(&mut self, event: Event) -> Result<(), Failure> {
        self.note(&event);
        match event {
            Event::ToAgent { index, link, message } if self.is_current(index, link) => {
                self.deliver_to_agent(index, message)
            }
            Event::ToCoordinator { index, link, message } if self.is_current(index, link) => {
                let agent = self.federation.agents[index].clone();
                self.timeline.note(self.now_ms, || {
                    format!("{agent} -> coordinator: {}", trace::to_coordinator(&message))
                });
                let actions = self.coordinator.handle(&agent, message, self.now_ms);
                self.carry_out(actions)
            }
            Event::Upload { index, link, header, bytes } if self.is_current(index, link) => {
                let agent = self.federation.agents[index].clone();
                self.timeline.note(self.now_ms, || {
                    format!("{agent} -> coordinator: masked vector, {} bytes", bytes.len())
                });
                let actions =
                    self.coordinator.upload(&agent, &header, &Hashed::of(bytes), self.now_ms);
                self.carry_out(actions)
            }
            Event::ToAgent { .. } | Event::ToCoordinator { .. } | Event::Upload { .. } => Ok(()),
            Event::Connect { index } => self.connect(index),
            Event::Trained { index, life, round } => self.trained(index, life, round),
            Event::Masked { index, life, round, bytes } => self.masked(index, life, round, bytes),
            Event::Operator => self.operate(),
        }
    }

    fn is_current(&self, index: usize, link: u64) -> bool {
        self.nodes[index].link == Some(link)
    }

    fn deliver_to_agent(&mut self, index: usize, message: ToAgent) -> Result<(), Failure> {
        let agent = self.federation.agents[index].clone();
        self.timeline
            .note(self.now_ms, || format!("coordinator -> {agent}: {}", trace::to_agent(&message)));
        if self.court.is_liar(&agent) {
            self.liar.hear(&agent, &message);
        }
        let node = &mut self.nodes[index];
        let handled = node.machine.handle(message, self.now_ms, &mut node.rng);
        match handled {
            Ok(actions) => self.carry_out_at(index, actions),
            Err(fault) => {
                self.counts.faults += 1;
                self.timeline
                    .note(self.now_ms, || format!("{agent} refuses it: {}", trace::story(&fault)));
                self.court.agent_fault(&agent, &fault)
            }
        }
    }

    fn trained(&mut self, index: usize, life: u32, round: RoundNumber) -> Result<(), Failure> {
        let refuses = self.luck.random_ratio(self.scenario.refusal_per_mille, 1_000);
        let node = &mut self.nodes[index];
        if node.dead || node.life != life || node.machine.round() != Some(round) {
            return Ok(());
        }
        let actions = if refuses {
            node.machine.refuse(RefusalCode::Policy, "bad luck")
        } else {
            node.machine.ready()
        };
        self.carry_out_at(index, actions.map_err(broken)?)
    }

    fn masked(
        &mut self,
        index: usize,
        life: u32,
        round: RoundNumber,
        bytes: Vec<u8>,
    ) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        if node.dead || node.life != life || node.machine.round() != Some(round) {
            return Ok(());
        }
        let length = bytes.len() as u64;
        let header = node.machine.masked(Digest::plain(&bytes), length).map_err(broken)?;
        self.liar.overhear(&header);
        self.nodes[index].uploads = self.uploads_of(index, header, bytes)?;
        self.upload(index);
        Ok(())
    }

    fn carry_out_at(&mut self, index: usize, actions: Vec<agent::Action>) -> Result<(), Failure> {
        let mut seen = None;
        for action in actions {
            if let Some(line) = trace::agent_action(&action) {
                let agent = &self.federation.agents[index];
                self.timeline.note(self.now_ms, || format!("{agent} {line}"));
            }
            let life = self.nodes[index].life;
            match action {
                agent::Action::Send(message) => self.send_to_coordinator(index, message)?,
                agent::Action::Train { spec, .. } => {
                    self.nodes[index].uploads.clear();
                    let at_ms = self.now_ms + self.luck.random_range(0..=self.scenario.work_max_ms);
                    self.schedule(at_ms, Event::Trained { index, life, round: spec.round });
                }
                agent::Action::Contribute { ticket, spec, session, .. } => {
                    let values: Vec<i64> = (0..COORDINATES)
                        .map(|_| self.luck.random_range(-VALUE_MAX..=VALUE_MAX))
                        .collect();
                    let packed = ticket.mask(Zeroizing::new(values.clone())).map_err(broken)?;
                    let agent = &self.federation.agents[index];
                    let round = spec.round;
                    let cohort = seen.take().ok_or_else(|| broken("a session without a cohort"))?;
                    let (locked, digest) = ((session, cohort), packed.digest());
                    self.oracle.contributed(agent, &spec, locked, digest, values)?;
                    let at_ms = self.now_ms + self.luck.random_range(0..=self.scenario.work_max_ms);
                    let bytes = packed.into_bytes();
                    self.schedule(at_ms, Event::Masked { index, life, round, bytes });
                }
                agent::Action::RoundDone(_)
                | agent::Action::RoundAborted { .. }
                | agent::Action::EpochLost { .. } => self.nodes[index].uploads.clear(),
                agent::Action::AbortCertified(proof) => {
                    let agent = &self.federation.agents[index];
                    self.oracle.given_back(agent, proof.session())?;
                }
                // Nobody's disk is rolled back here, and nobody lies about others.
                agent::Action::Behind(behind) => {
                    return Err(Failure::Simulator(format!("somebody is behind: {behind:?}")));
                }
                agent::Action::Doubtful { witnesses, .. }
                | agent::Action::Disputed { witnesses, .. } => {
                    return Err(Failure::Simulator(format!("{witnesses:?} invented rounds")));
                }
                // The machine's own memory stands for the disk.
                agent::Action::Remember(agent::Fact::CohortSeen { cohort, .. }) => {
                    seen = Some(cohort);
                }
                agent::Action::Remember(_)
                | agent::Action::EpochReady { .. }
                | agent::Action::Waiting { .. }
                | agent::Action::Finished { .. } => {}
            }
        }
        Ok(())
    }

    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.next_event += 1;
        self.queue.push(Reverse((at_ms, self.next_event)));
        self.events.insert(self.next_event, event);
    }

    fn note_phase(&mut self) {
        let phase = self.coordinator.phase();
        if phase != self.phase {
            self.phase = phase;
            self.timeline.note(self.now_ms, || format!("=== coordinator is {phase}"));
        }
    }

    /// Takes the event into the trace.
    fn note(&mut self, event: &Event) {
        let (kind, index, detail) = match event {
            Event::ToAgent { index, message, .. } => (0u8, *index, format!("{message:?}")),
            Event::ToCoordinator { index, message, .. } => (1, *index, format!("{message:?}")),
            Event::Upload { index, bytes, .. } => (2, *index, Digest::plain(bytes).to_string()),
            Event::Connect { index } => (3, *index, String::new()),
            Event::Trained { index, .. } => (4, *index, String::new()),
            Event::Masked { index, .. } => (5, *index, String::new()),
            Event::Operator => (6, 0, String::new()),
        };
        self.trace = Digest::of(
            "simulated event",
            &[
                self.trace.as_bytes(),
                &self.now_ms.to_be_bytes(),
                &[kind],
                &(index as u64).to_be_bytes(),
                detail.as_bytes(),
            ],
        );
    }
}

/// Who lies: never more agents than the federation assumes corrupt.
fn court(scenario: &Scenario, federation: &Federation, luck: &mut ChaCha20Rng) -> Court {
    let mut honest: Vec<&AgentId> = federation.agents.iter().collect();
    let count = scenario.liars.min(federation.rule.corrupt as usize);
    let lie = scenario.lie_per_mille > 0 || scenario.split_per_mille > 0;
    let count = if lie { count } else { 0 };
    let drawn = (0..count).map(|_| honest.swap_remove(luck.random_range(0..honest.len())).clone());
    let quiet = scenario.calm() && scenario.duplicate_per_mille == 0;
    let coordinator_lies = scenario.coordinator_lie_per_mille > 0 || scenario.split_per_mille > 0;
    Court::new(drawn.collect(), coordinator_lies, quiet)
}
