//! The event loop: virtual time, an unreliable network, restarting agents and an operator.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use chorale_dp::Rho;
use chorale_ledger::{AbortProof, Chain, Entry, Released, ReserveEntry, RosterEntry, verify};
use chorale_round::{agent, coordinator};
use chorale_secagg::MaskTicket as _;
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, Signed, ToAgent, ToCoordinator,
    message::{AbortCause, MaskedHeader, RefusalCode},
};
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use crate::{
    federation::{COORDINATES, Federation, START_MS, VALUE_MAX, broken, tls_key},
    oracle::{Failure, Oracle},
    scenario::Scenario,
};

/// How often the operator looks, in milliseconds.
const OPERATOR_EVERY_MS: u64 = 1_000;

/// How long the operator tries, in looks: half an hour of virtual time.
const OPERATOR_LOOKS_MAX: u32 = 1_800;

/// Rounds that the operator opens at most, completed or not.
const ROUNDS_OPENED_MAX: usize = 12;

/// Steps after which a federation counts as endless; the longest seen take a tenth of it.
const STEPS_MAX: usize = 200_000;

/// What became of a federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What was played.
    pub scenario: Scenario,
    /// Rounds that gave a sum.
    pub completed: usize,
    /// Rounds that ended without one.
    pub aborted: usize,
    /// Epochs that became ready.
    pub epochs: usize,
    /// Connections that broke.
    pub disconnects: usize,
    /// Restarts of agents and of the coordinator.
    pub restarts: usize,
    /// Messages that were refused by either side.
    pub faults: usize,
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// Digest over every event in order: equal for equal seeds.
    pub trace: Digest,
}

/// One agent with its surroundings.
struct Node {
    machine: agent::Machine,
    rng: ChaCha20Rng,
    /// Number of the current connection; `None` while there is none.
    link: Option<u64>,
    /// Counts restarts, so that work of an earlier life is not taken for this one's.
    life: u32,
    dead: bool,
    /// The upload that the transport repeats on every new connection.
    upload: Option<(Signed<MaskedHeader>, Vec<u8>)>,
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
    state: Result<Box<Inner>, Failure>,
}

/// What exists once the federation could be set up.
struct Inner {
    federation: Federation,
    coordinator: coordinator::Machine,
    nodes: Vec<Node>,
    oracle: Oracle,
    chain: Chain,
    ledger: String,
    open: Option<OpenRound>,
    opened: Vec<RoundNumber>,
    last_epoch: Epoch,
    charged: Rho,
    looks: u32,
    completed: usize,
    aborted: usize,
    epochs: usize,
    disconnects: usize,
    restarts: usize,
    faults: usize,
    trace: Digest,
}

impl World {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut luck = ChaCha20Rng::seed_from_u64(scenario.seed ^ 0x5eed);
        let state = Inner::new(scenario, &mut luck).map(Box::new);
        Self {
            scenario: scenario.clone(),
            luck,
            now_ms: START_MS,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            next_link: 0,
            last_arrival_ms: BTreeMap::new(),
            state,
        }
    }

    /// Runs until nothing is left to happen, and judges the end.
    pub(crate) fn play(mut self) -> Result<Summary, Failure> {
        let state = std::mem::replace(&mut self.state, Err(Failure::Endless { steps: 0 }));
        let mut inner = state?;
        for index in 0..inner.nodes.len() {
            let at_ms = self.now_ms + self.luck.random_range(0..2_000);
            self.schedule(at_ms, Event::Connect { index });
        }
        self.schedule(START_MS + OPERATOR_EVERY_MS, Event::Operator);
        for _ in 0..STEPS_MAX {
            if !self.step(&mut inner)? {
                return self.judge(*inner);
            }
        }
        Err(Failure::Endless { steps: STEPS_MAX })
    }

    /// The next event or deadline; false when there is none.
    fn step(&mut self, inner: &mut Inner) -> Result<bool, Failure> {
        let event_ms = self.queue.peek().map(|Reverse((at_ms, _))| *at_ms);
        let deadlines = inner.nodes.iter().filter(|node| !node.dead);
        let deadline_ms = deadlines
            .filter_map(|node| node.machine.poll_deadline())
            .chain(inner.coordinator.poll_deadline(self.now_ms))
            .min();
        let Some(next_ms) = event_ms.into_iter().chain(deadline_ms).min() else {
            return Ok(false);
        };
        self.now_ms = self.now_ms.max(next_ms);
        if event_ms == Some(next_ms) {
            if let Some(Reverse((_, number))) = self.queue.pop()
                && let Some(event) = self.events.remove(&number)
            {
                self.happen(inner, event)?;
            }
        } else {
            let actions = inner.coordinator.tick(self.now_ms);
            self.carry_out(inner, actions)?;
            for index in 0..inner.nodes.len() {
                if !inner.nodes[index].dead {
                    let actions = inner.nodes[index].machine.tick(self.now_ms);
                    self.carry_out_at(inner, index, actions)?;
                }
            }
        }
        Ok(true)
    }

    fn happen(&mut self, inner: &mut Inner, event: Event) -> Result<(), Failure> {
        inner.note(self.now_ms, &event);
        match event {
            Event::ToAgent { index, link, message } => {
                if inner.nodes[index].link != Some(link) {
                    return Ok(());
                }
                let node = &mut inner.nodes[index];
                let handled = node.machine.handle(message, self.now_ms, &mut node.rng);
                match handled {
                    Ok(actions) => self.carry_out_at(inner, index, actions),
                    Err(_) => {
                        inner.faults += 1;
                        Ok(())
                    }
                }
            }
            Event::ToCoordinator { index, link, message } => {
                if inner.nodes[index].link != Some(link) {
                    return Ok(());
                }
                let agent = inner.federation.agents[index].clone();
                let actions = inner.coordinator.handle(&agent, message, self.now_ms);
                self.carry_out(inner, actions)
            }
            Event::Upload { index, link, header, bytes } => {
                if inner.nodes[index].link != Some(link) {
                    return Ok(());
                }
                let agent = inner.federation.agents[index].clone();
                let actions = inner.coordinator.upload(
                    &agent,
                    &header,
                    &chorale_wire::Hashed::of(bytes),
                    self.now_ms,
                );
                self.carry_out(inner, actions)
            }
            Event::Connect { index } => self.connect(inner, index),
            Event::Trained { index, life, round } => self.trained(inner, index, life, round),
            Event::Masked { index, life, round, bytes } => {
                let node = &mut inner.nodes[index];
                if node.dead || node.life != life || node.machine.round() != Some(round) {
                    return Ok(());
                }
                let length = bytes.len() as u64;
                let header = node.machine.masked(Digest::plain(&bytes), length).map_err(broken)?;
                node.upload = Some((header, bytes));
                self.upload(inner, index);
                Ok(())
            }
            Event::Operator => self.operate(inner),
        }
    }

    fn connect(&mut self, inner: &mut Inner, index: usize) -> Result<(), Failure> {
        if inner.nodes[index].dead || inner.nodes[index].link.is_some() {
            return Ok(());
        }
        self.next_link += 1;
        inner.nodes[index].link = Some(self.next_link);
        let agent = &inner.federation.agents[index];
        inner.coordinator.connected(agent, Some(tls_key(agent)));
        let hello = inner.nodes[index].machine.hello(None);
        self.send_to_coordinator(inner, index, hello)?;
        self.upload(inner, index);
        Ok(())
    }

    fn trained(
        &mut self,
        inner: &mut Inner,
        index: usize,
        life: u32,
        round: RoundNumber,
    ) -> Result<(), Failure> {
        let refuses = self.luck.random_ratio(self.scenario.refusal_per_mille, 1_000);
        let node = &mut inner.nodes[index];
        if node.dead || node.life != life || node.machine.round() != Some(round) {
            return Ok(());
        }
        let actions = if refuses {
            node.machine.refuse(RefusalCode::Policy, "bad luck")
        } else {
            node.machine.ready()
        };
        self.carry_out_at(inner, index, actions.map_err(broken)?)
    }

    /// The operator looks: opens epochs and rounds while there is something to win.
    fn operate(&mut self, inner: &mut Inner) -> Result<(), Failure> {
        inner.looks += 1;
        let done = inner.completed as u64 >= self.scenario.rounds
            || inner.opened.len() >= ROUNDS_OPENED_MAX
            || inner.looks >= OPERATOR_LOOKS_MAX;
        if done {
            return Ok(());
        }
        self.schedule(self.now_ms + OPERATOR_EVERY_MS, Event::Operator);
        let restart = self.scenario.coordinator_restart_per_mille;
        // A look every second and a probability per pause: spread over some twenty looks.
        if self.luck.random_ratio(restart, 20_000) {
            return self.restart_coordinator(inner);
        }
        let floor = inner.federation.rule.survivors_min as usize;
        let able = inner.coordinator.able_agents().count();
        let here: BTreeSet<AgentId> = inner.coordinator.connected_agents().cloned().collect();
        match inner.coordinator.phase() {
            "between rounds" if able >= floor && inner.coordinator.next_key_index().is_some() => {
                self.open_round(inner)
            }
            "between rounds" | "without an epoch" if here.len() >= floor => {
                let rounds = self.scenario.rounds_per_epoch;
                match inner.coordinator.open_epoch(here, rounds, self.now_ms) {
                    Ok(actions) => self.carry_out(inner, actions),
                    Err(coordinator::OpenEpochError::Agents { .. }) => Ok(()),
                    Err(error) => Err(broken(error)),
                }
            }
            _ => Ok(()),
        }
    }

    fn open_round(&mut self, inner: &mut Inner) -> Result<(), Failure> {
        let Some((epoch, agents)) =
            inner.coordinator.epoch().map(|roster| (roster.epoch(), roster.agents()))
        else {
            return Ok(());
        };
        let Some(key_index) = inner.coordinator.next_key_index() else { return Ok(()) };
        let round = RoundNumber(inner.coordinator.last_round().0 + 1);
        let model = Digest::plain(&round.0.to_be_bytes());
        let spec = inner.federation.spec(epoch, round, key_index, model);
        let derived = spec.derive(agents as u32).map_err(broken)?;
        let rho = derived.rho.clone().unwrap_or_else(Rho::zero);
        // RESERVE is in the ledger before the plan leaves.
        let reserve = ReserveEntry::of(&spec, &derived).map_err(broken)?;
        inner.append(Entry::Reserve(Box::new(reserve)), self.now_ms)?;
        inner.open = Some(OpenRound { round, rho, committed: false });
        inner.opened.push(round);
        let actions = inner.coordinator.open_round(&spec, self.now_ms).map_err(broken)?;
        self.carry_out(inner, actions)
    }

    /// The coordinator's process dies, also in mid-round, and comes back with its durable state.
    fn restart_coordinator(&mut self, inner: &mut Inner) -> Result<(), Failure> {
        inner.restarts += 1;
        if let Some(open) = inner.open.take() {
            inner.abort(&open, AbortCause::Stopped, open.committed, self.now_ms)?;
        }
        let last_round = inner.coordinator.last_round();
        let config = inner.federation.config(inner.last_epoch, last_round);
        inner.coordinator = coordinator::Machine::new(config);
        for index in 0..inner.nodes.len() {
            if inner.nodes[index].link.take().is_some() {
                let at_ms = self.now_ms + self.luck.random_range(100..4_000);
                self.schedule(at_ms, Event::Connect { index });
            }
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        inner: &mut Inner,
        actions: Vec<coordinator::Action>,
    ) -> Result<(), Failure> {
        for action in actions {
            match action {
                coordinator::Action::Send(agent, message) => {
                    self.send_to_agent(inner, &agent, message)?
                }
                coordinator::Action::EpochStarted { epoch } => inner.last_epoch = epoch,
                coordinator::Action::EpochReady {
                    epoch, roster, graph_seed, memberships, ..
                } => {
                    inner.epochs += 1;
                    let entry =
                        RosterEntry::of(epoch, roster, graph_seed, &memberships).map_err(broken)?;
                    inner.append(Entry::Roster(entry), self.now_ms)?;
                }
                coordinator::Action::CohortFixed { .. } => {
                    if let Some(open) = &mut inner.open {
                        open.committed = true;
                    }
                }
                coordinator::Action::RoundComplete(completed) => {
                    self.complete(inner, &completed)?;
                }
                coordinator::Action::RoundAborted {
                    cause, unmask_started, certificate, ..
                } => {
                    if let Some(open) = inner.open.take() {
                        match certificate {
                            Some(proof) => {
                                inner.abort_certified(&open, cause, *proof, self.now_ms)?;
                            }
                            None => inner.abort(&open, cause, unmask_started, self.now_ms)?,
                        }
                    }
                }
                coordinator::Action::Fault(_) => inner.faults += 1,
                coordinator::Action::EpochFailed { .. } | coordinator::Action::Refused { .. } => {}
            }
        }
        Ok(())
    }

    fn complete(
        &mut self,
        inner: &mut Inner,
        completed: &coordinator::Completed,
    ) -> Result<(), Failure> {
        let floor = inner.federation.rule.survivors_min as usize;
        inner.oracle.completed(completed, floor)?;
        let Some(open) = inner.open.take().filter(|open| open.round == completed.round) else {
            return Err(Failure::Ended { round: completed.round, times: 2 });
        };
        let model = Digest::of("simulated model", &[completed.transcript.as_bytes()]);
        let released = Released {
            round: completed.round,
            session: completed.session,
            survivors: completed.agents.clone(),
            vectors: completed.vector_digests.clone(),
            transcript: completed.transcript,
            output_model: model,
        };
        let entry = inner.chain.release(released).map_err(ledger)?;
        inner.append(entry, self.now_ms)?;
        inner.charged = &inner.charged + &open.rho;
        inner.completed += 1;
        let head = inner.chain.head();
        let actions = inner.coordinator.conclude(model, head.seq, head.hash);
        self.carry_out(inner, actions)
    }

    fn carry_out_at(
        &mut self,
        inner: &mut Inner,
        index: usize,
        actions: Vec<agent::Action>,
    ) -> Result<(), Failure> {
        for action in actions {
            let life = inner.nodes[index].life;
            match action {
                agent::Action::Send(message) => self.send_to_coordinator(inner, index, message)?,
                agent::Action::Train { spec, .. } => {
                    inner.nodes[index].upload = None;
                    let at_ms = self.now_ms + self.luck.random_range(0..=self.scenario.work_max_ms);
                    self.schedule(at_ms, Event::Trained { index, life, round: spec.round });
                }
                agent::Action::Contribute { ticket, spec, session, .. } => {
                    let values: Vec<i64> = (0..COORDINATES)
                        .map(|_| self.luck.random_range(-VALUE_MAX..=VALUE_MAX))
                        .collect();
                    let packed = ticket.mask(Zeroizing::new(values.clone())).map_err(broken)?;
                    let agent = &inner.federation.agents[index];
                    let round = spec.round;
                    inner.oracle.contributed(agent, round, session, packed.digest(), values)?;
                    let at_ms = self.now_ms + self.luck.random_range(0..=self.scenario.work_max_ms);
                    let bytes = packed.into_bytes();
                    self.schedule(at_ms, Event::Masked { index, life, round, bytes });
                }
                agent::Action::RoundDone(_)
                | agent::Action::RoundAborted { .. }
                | agent::Action::EpochLost { .. } => inner.nodes[index].upload = None,
                agent::Action::AbortCertified(proof) => {
                    let agent = &inner.federation.agents[index];
                    inner.oracle.given_back(agent, proof.session())?;
                }
                // Nobody's disk is rolled back here, and nobody lies about others.
                agent::Action::Behind(behind) => {
                    return Err(Failure::Simulator(format!("somebody is behind: {behind:?}")));
                }
                agent::Action::Disputed { witnesses, .. } => {
                    return Err(Failure::Simulator(format!("{witnesses:?} invented rounds")));
                }
                // The machine's own memory stands for the disk.
                agent::Action::Remember(_)
                | agent::Action::EpochReady { .. }
                | agent::Action::Waiting { .. }
                | agent::Action::Finished { .. } => {}
            }
        }
        Ok(())
    }

    fn send_to_agent(
        &mut self,
        inner: &mut Inner,
        agent: &AgentId,
        message: ToAgent,
    ) -> Result<(), Failure> {
        let Some(index) = inner.federation.agents.iter().position(|other| other == agent) else {
            return Err(Failure::Simulator(format!("a message to the unknown {agent}")));
        };
        let Some(link) = inner.nodes[index].link else { return Ok(()) };
        for at_ms in self.fates(inner, index, true)? {
            let message = message.clone();
            self.schedule(at_ms, Event::ToAgent { index, link, message });
        }
        Ok(())
    }

    fn send_to_coordinator(
        &mut self,
        inner: &mut Inner,
        index: usize,
        message: ToCoordinator,
    ) -> Result<(), Failure> {
        inner.oracle.said(&inner.federation.agents[index], &message)?;
        let Some(link) = inner.nodes[index].link else { return Ok(()) };
        for at_ms in self.fates(inner, index, false)? {
            let message = message.clone();
            self.schedule(at_ms, Event::ToCoordinator { index, link, message });
        }
        Ok(())
    }

    /// Sends the masked vector, on every connection again until the round is over: the transport
    /// resumes uploads.
    fn upload(&mut self, inner: &mut Inner, index: usize) {
        let node = &inner.nodes[index];
        if let (Some(link), Some((header, bytes))) = (node.link, node.upload.clone()) {
            let at_ms = self.now_ms + self.luck.random_range(1..=2 * self.scenario.delay_max_ms);
            self.schedule(at_ms, Event::Upload { index, link, header, bytes });
        }
    }

    /// When a message arrives: never, once or twice, and mostly after its predecessors.
    fn fates(
        &mut self,
        inner: &mut Inner,
        index: usize,
        to_agent: bool,
    ) -> Result<Vec<u64>, Failure> {
        if self.luck.random_ratio(self.scenario.disconnect_per_mille, 1_000) {
            self.break_link(inner, index)?;
            return Ok(Vec::new());
        }
        if self.luck.random_ratio(self.scenario.loss_per_mille, 1_000) {
            return Ok(Vec::new());
        }
        let copies =
            1 + usize::from(self.luck.random_ratio(self.scenario.duplicate_per_mille, 1_000));
        let overtakes = self.luck.random_ratio(self.scenario.reorder_per_mille, 1_000);
        let mut times = Vec::with_capacity(copies);
        for _ in 0..copies {
            let drawn_ms = self.now_ms + self.luck.random_range(1..=self.scenario.delay_max_ms);
            let last_ms = self.last_arrival_ms.entry((index, to_agent)).or_default();
            let at_ms = if overtakes { drawn_ms } else { drawn_ms.max(*last_ms) };
            *last_ms = at_ms.max(*last_ms);
            times.push(at_ms);
        }
        Ok(times)
    }

    /// A connection breaks; perhaps because the agent restarts or dies.
    fn break_link(&mut self, inner: &mut Inner, index: usize) -> Result<(), Failure> {
        inner.disconnects += 1;
        let agent = inner.federation.agents[index].clone();
        let node = &mut inner.nodes[index];
        node.link = None;
        if self.luck.random_ratio(self.scenario.death_per_mille, 1_000) {
            node.dead = true;
        } else {
            if self.luck.random_ratio(self.scenario.restart_per_mille, 1_000) {
                inner.restarts += 1;
                node.life += 1;
                node.upload = None;
                let identity = inner.federation.identities[index].clone();
                let memory = node.machine.memory().after_restart();
                node.machine = agent::Machine::with_memory(identity, memory);
            }
            let at_ms = self.now_ms + self.luck.random_range(50..6_000);
            self.schedule(at_ms, Event::Connect { index });
        }
        let actions = inner.coordinator.disconnected(&agent, self.now_ms);
        self.carry_out(inner, actions)
    }

    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.next_event += 1;
        self.queue.push(Reverse((at_ms, self.next_event)));
        self.events.insert(self.next_event, event);
    }

    fn judge(self, inner: Inner) -> Result<Summary, Failure> {
        let phase = inner.coordinator.phase();
        if !["between rounds", "without an epoch"].contains(&phase) {
            return Err(Failure::Restless { who: "the coordinator".to_string(), phase });
        }
        for (agent, node) in inner.federation.agents.iter().zip(&inner.nodes) {
            if !node.dead && node.machine.round().is_some() {
                let phase = node.machine.phase();
                return Err(Failure::Restless { who: agent.to_string(), phase });
            }
        }
        inner.oracle.all_ended(&inner.opened)?;
        let report = verify(inner.ledger.as_bytes(), Some(inner.chain.head())).map_err(ledger)?;
        if report.open != 0 || report.spent.rho() != Some(&inner.charged) {
            return Err(Failure::Ledger(format!(
                "{} rounds are open and {} is charged instead of {}",
                report.open, report.spent, inner.charged
            )));
        }
        let scenario = &self.scenario;
        let calm = scenario.disconnect_per_mille == 0
            && scenario.loss_per_mille == 0
            && scenario.refusal_per_mille == 0
            && scenario.reorder_per_mille == 0
            && scenario.coordinator_restart_per_mille == 0;
        if calm && (inner.completed as u64) < scenario.rounds {
            let completed = inner.completed;
            return Err(Failure::Lazy { completed, wanted: scenario.rounds });
        }
        Ok(Summary {
            scenario: self.scenario,
            completed: inner.completed,
            aborted: inner.aborted,
            epochs: inner.epochs,
            disconnects: inner.disconnects,
            restarts: inner.restarts,
            faults: inner.faults,
            virtual_ms: self.now_ms - START_MS,
            trace: inner.trace,
        })
    }
}

impl Inner {
    fn new(scenario: &Scenario, luck: &mut ChaCha20Rng) -> Result<Self, Failure> {
        let federation = Federation::new(scenario.seed, scenario.agents)?;
        let config = federation.config(Epoch(0), RoundNumber(0));
        let (chain, ledger) =
            Chain::genesis(federation.genesis()?, &federation.coordinator_key(), START_MS / 1_000)
                .map_err(broken)?;
        let memory =
            agent::Memory::new(None, None).with_survivors_floor(federation.rule.survivors_min);
        let nodes = federation
            .identities
            .iter()
            .map(|identity| Node {
                machine: agent::Machine::with_memory(identity.clone(), memory.clone()),
                rng: ChaCha20Rng::seed_from_u64(luck.next_u64()),
                link: None,
                life: 0,
                dead: false,
                upload: None,
            })
            .collect();
        Ok(Self {
            coordinator: coordinator::Machine::new(config),
            federation,
            nodes,
            oracle: Oracle::default(),
            chain,
            ledger,
            open: None,
            opened: Vec::new(),
            last_epoch: Epoch(0),
            charged: Rho::zero(),
            looks: 0,
            completed: 0,
            aborted: 0,
            epochs: 0,
            disconnects: 0,
            restarts: 0,
            faults: 0,
            trace: Digest::plain(b""),
        })
    }

    fn append(&mut self, entry: Entry, now_ms: u64) -> Result<(), Failure> {
        let key = self.federation.coordinator_key();
        let line = self.chain.append(entry, &key, now_ms / 1_000).map_err(ledger)?;
        self.ledger.push_str(&line);
        Ok(())
    }

    /// ABORT: what was committed stays charged, what never left is given back.
    fn abort(
        &mut self,
        open: &OpenRound,
        cause: AbortCause,
        unmask_started: bool,
        now_ms: u64,
    ) -> Result<(), Failure> {
        self.oracle.end(open.round)?;
        self.aborted += 1;
        if open.committed {
            self.charged = &self.charged + &open.rho;
        }
        let entry =
            self.chain.abort(open.round, cause, open.committed, unmask_started).map_err(ledger)?;
        self.append(entry, now_ms)
    }

    /// ABORT by the agents' votes: nothing is charged.
    fn abort_certified(
        &mut self,
        open: &OpenRound,
        cause: AbortCause,
        proof: coordinator::CertifiedAbort,
        now_ms: u64,
    ) -> Result<(), Failure> {
        self.oracle.end(open.round)?;
        self.oracle.abort_recorded(proof.session)?;
        self.aborted += 1;
        let (voters, signatures) = proof.votes.into_iter().unzip();
        let proof = AbortProof { spec: proof.spec, cohort: proof.cohort, voters, signatures };
        let entry = self.chain.abort_certified(open.round, cause, proof).map_err(ledger)?;
        self.append(entry, now_ms)
    }

    /// Takes the event into the trace.
    fn note(&mut self, now_ms: u64, event: &Event) {
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
                &now_ms.to_be_bytes(),
                &[kind, index as u8],
                detail.as_bytes(),
            ],
        );
    }
}

fn ledger(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Failure::Ledger(text)
}
