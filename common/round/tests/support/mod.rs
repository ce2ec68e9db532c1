//! A federation in memory: one coordinator, some agents, a queue of messages and a clock.
#![allow(dead_code, clippy::unwrap_used, clippy::type_complexity, unreachable_pub, missing_docs)]

pub mod liar;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use chorale_dp::{Aes256CtrRng, FastDiscreteGaussian, Noise as _, Rational, SeededLayer};
use chorale_plan::{
    CohortRule, Derived, Mechanism, Parameters, Plan, RoundSpec, Shape, TaskSpec, layers_kept,
};
use chorale_round::{
    WitnessBook,
    agent::{self, Identity},
    coordinator::{self, CoordinatorConfig, Timeouts},
};
use chorale_secagg::MaskTicket as _;
use chorale_wire::{
    AgentId, Digest, Epoch, FederationId, Membership, RoundNumber, SecretKey, SessionId, Signed,
    ToAgent, ToCoordinator, VerifiedAbort,
    message::{LedgerHead, MaskedHeader, RefusalCode, StatedRound},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use zeroize::Zeroizing;

pub const START_MS: u64 = 1_800_000_000_000;
pub const COORDINATES: usize = 17;

pub fn federation() -> FederationId {
    FederationId::new("test").unwrap()
}

pub fn authority() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

pub fn coordinator_key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

pub fn agent_key(index: usize) -> SecretKey {
    let mut seed = [10 + (index % 200) as u8; 32];
    seed[31] ^= (index / 200) as u8;
    SecretKey::from_seed(&seed)
}

pub fn agent_id(index: usize) -> AgentId {
    AgentId::new(format!("store-{index:02}")).unwrap()
}

pub fn membership(index: usize, enrolled: usize) -> Membership {
    Membership {
        agent: agent_id(index),
        identity: agent_key(index).public(),
        tls_key: Digest::plain(agent_id(index).as_str().as_bytes()),
        administrator: SecretKey::from_seed(&[3; 32]).public(),
        not_before_s: 0,
        not_after_s: u64::MAX / 2000,
        enrolled: enrolled as u32,
    }
}

pub fn identity(index: usize, enrolled: usize) -> Arc<Identity> {
    Arc::new(Identity {
        agent: agent_id(index),
        key: agent_key(index),
        membership: Signed::sign(&membership(index, enrolled), &authority()).unwrap(),
        authority: authority().public(),
        coordinator: coordinator_key().public(),
        federation: federation(),
    })
}

pub fn rule(agents: usize) -> CohortRule {
    let agents = agents as u32;
    let corrupt = CohortRule::corrupt_of(agents, chorale_round::GAMMA_PER_MILLE);
    let mut rule = CohortRule { enrolled: agents, corrupt, survivors_min: 4 };
    rule.survivors_min = rule.survivors_floor(agents);
    if agents > 128 {
        // Nine tenths, so that the ring needs few neighbours and tests stay quick.
        rule.survivors_min = agents - agents / 10;
    }
    rule
}

pub fn spec(agents: usize, epoch: Epoch, round: u64, key_index: u16) -> RoundSpec {
    RoundSpec {
        federation: federation(),
        epoch,
        round: RoundNumber(round),
        key_index,
        step: 0,
        plan: Plan {
            name: "test".to_string(),
            task: TaskSpec { name: "popularity".to_string(), parameters: Parameters::default() },
            rounds: 64,
            mechanism: Mechanism::Unprotected,
            scale_bits: 10,
            persons_max: 100,
            stores_max: 1,
            cohort: rule(agents),
            catalogue: Digest::plain(b"catalogue"),
            events_before_s: 0,
            canary_lanes: 0,
        },
        shape: Shape { coordinates: COORDINATES as u32, clip: Rational::from_integer(1) },
        model: Digest::plain(&round.to_be_bytes()),
        ready_within_ms: 5_000,
        upload_within_ms: 7_000,
        keystream: chorale_wire::Keystream::default(),
        sign_off: None,
    }
}

pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// What an agent contributes to a round: small enough that no sum leaves the modulus.
pub fn values(index: usize, round: u64) -> Vec<i64> {
    (0..COORDINATES as i64)
        .map(|i| (index as i64 % 12 + 1) * 1009 * (i - 8) + round as i64 * 31 - i)
        .collect()
}

/// The layers of an agent's noise in a round: a base layer from a known seed, and the removable
/// ones from the seeds that the machine gave.
fn noise_layers(
    index: usize,
    round: u64,
    derived: &Derived,
    seeds: Vec<Zeroizing<[u8; 32]>>,
) -> Vec<SeededLayer> {
    let base = Zeroizing::new(*Digest::plain(&[index as u8, round as u8]).as_bytes());
    let variances = derived.layers.iter().map(|layer| layer.variance.clone());
    assert_eq!(seeds.len(), derived.layers.len().saturating_sub(1));
    variances
        .zip(std::iter::once(base).chain(seeds))
        .map(|(variance, seed)| SeededLayer { variance, seed })
        .collect()
}

fn add_layer(total: &mut [i64], layer: &SeededLayer) {
    let rng = Aes256CtrRng::from_seed(*layer.seed);
    FastDiscreteGaussian::new(&layer.variance, rng).unwrap().add_to(total);
}

/// What an agent's driver has on its disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Disk {
    pub facts: Vec<agent::Fact>,
    /// Rounds that are charged to the budget.
    pub charged: BTreeSet<StatedRound>,
}

impl Disk {
    /// What an agent knows that was started on this disk.
    pub fn memory(&self) -> agent::Memory {
        let mut book = WitnessBook::new();
        let (mut last_epoch, mut head) = (None, None);
        for fact in self.facts.iter().cloned() {
            match fact {
                agent::Fact::RosterVoted { epoch, agents } => {
                    last_epoch = last_epoch.max(Some(epoch));
                    book.vote(epoch, agents);
                }
                agent::Fact::CohortSeen { epoch, round, cohort } => book.see(epoch, round, cohort),
                agent::Fact::HeadCosigned { head: cosigned } => head = Some(cosigned),
            }
        }
        let last_round = self.charged.last().map(|stated| stated.round);
        agent::Memory::new(last_epoch, last_round).with_book(book).with_last_head(head)
    }
}

pub struct Node {
    pub machine: agent::Machine,
    pub rng: ChaCha20Rng,
    pub connected: bool,
    pub dead: bool,
    pub sent: usize,
    pub received: usize,
    /// Answer to every round.
    pub refuses: bool,
    pub done: Vec<agent::Outcome>,
    pub aborted: Vec<(RoundNumber, agent::RoundEnd)>,
    pub faults: Vec<agent::Fault>,
    /// Abort certificates that it verified.
    pub certified: Vec<VerifiedAbort>,
    /// Sessions that it masked a vector for, and who can vote in them.
    pub masked: Vec<(SessionId, Digest)>,
    pub disk: Disk,
    pub behind: Vec<agent::Behind>,
    /// Who stated what does not count.
    pub disputed: Vec<AgentId>,
    /// Who stated rounds of it that nobody can tell to be true or invented.
    pub doubted: Vec<AgentId>,
}

/// What breaks: after `agent` has handled its `after`-th message, or, with `sending`, after it has
/// sent its `after`-th message.
#[derive(Debug, Clone, Copy)]
pub struct Break {
    pub agent: usize,
    pub after: usize,
    pub sending: bool,
    /// Whether it comes back at once, with its keys.
    pub returns: bool,
}

enum Event {
    ToAgent(usize, ToAgent),
    ToCoordinator(usize, ToCoordinator),
    Upload(usize, Signed<MaskedHeader>, Vec<u8>),
    Return(usize),
}

pub struct World {
    pub size: usize,
    pub rule: CohortRule,
    pub coordinator: coordinator::Machine,
    pub nodes: Vec<Node>,
    queue: VecDeque<Event>,
    pub now_ms: u64,
    pub rounds: u64,
    pub mechanism: Mechanism,
    pub breaks: Option<Break>,
    /// Changes messages on their way to agents.
    pub tamper: Option<Box<dyn FnMut(usize, ToAgent) -> ToAgent>>,
    /// Changes messages on their way to the coordinator.
    pub forge: Option<Box<dyn FnMut(usize, ToCoordinator) -> Vec<ToCoordinator>>>,
    pub completed: Vec<coordinator::Completed>,
    pub aborted: Vec<(RoundNumber, chorale_wire::message::AbortCause, Vec<(AgentId, String)>)>,
    /// Proofs that came with aborted rounds.
    pub certified: Vec<coordinator::CertifiedAbort>,
    pub epochs: Vec<(Epoch, Vec<AgentId>)>,
    pub started: Vec<Epoch>,
    pub failed: Vec<String>,
    pub excluded: Vec<(AgentId, String)>,
    pub faults: Vec<coordinator::Fault>,
    /// Whether uploads are put aside instead of delivered.
    pub hold_uploads: bool,
    pub held_uploads: Vec<(usize, Signed<MaskedHeader>, Vec<u8>)>,
    /// Layers of noise that agents added, by agent and round.
    pub noise: BTreeMap<(usize, u64), Vec<SeededLayer>>,
    /// Agents whose surplus noise cannot be taken off.
    pub keep_surplus: BTreeSet<usize>,
    /// Canary lanes of every round's plan.
    pub canary_lanes: u32,
    /// Agents that add no noise and reveal the seeds of its layers as if they had.
    pub silent: BTreeSet<usize>,
    /// Heads of the ledger that T agents have cosigned.
    pub cosigned: Vec<coordinator::CosignedHead>,
    /// Agents that asked for the ledger after a head.
    pub wanted: Vec<(AgentId, LedgerHead)>,
}

impl World {
    pub fn new(size: usize, rounds: u64) -> Self {
        Self::with_rule(size, rounds, rule(size))
    }

    pub fn with_rule(size: usize, rounds: u64, rule: CohortRule) -> Self {
        let coordinator = coordinator::Machine::new(CoordinatorConfig {
            key: coordinator_key(),
            federation: federation(),
            authority: authority().public(),
            rule: rule.clone(),
            timeouts: Timeouts { reconnect_grace_ms: 500, ..Timeouts::default() },
            last_epoch: Epoch(0),
            last_round: RoundNumber(0),
            certified: Vec::new(),
            threads: std::num::NonZeroUsize::MIN.saturating_add(1),
        });
        let nodes = (0..size)
            .map(|index| Node {
                machine: agent::Machine::new(identity(index, size), None, None),
                rng: rng(index as u64),
                connected: false,
                dead: false,
                sent: 0,
                received: 0,
                refuses: false,
                done: Vec::new(),
                aborted: Vec::new(),
                faults: Vec::new(),
                certified: Vec::new(),
                masked: Vec::new(),
                disk: Disk::default(),
                behind: Vec::new(),
                disputed: Vec::new(),
                doubted: Vec::new(),
            })
            .collect();
        Self {
            size,
            rule,
            coordinator,
            nodes,
            queue: VecDeque::new(),
            now_ms: START_MS,
            rounds,
            mechanism: Mechanism::Unprotected,
            breaks: None,
            tamper: None,
            forge: None,
            completed: Vec::new(),
            aborted: Vec::new(),
            certified: Vec::new(),
            epochs: Vec::new(),
            started: Vec::new(),
            failed: Vec::new(),
            excluded: Vec::new(),
            faults: Vec::new(),
            hold_uploads: false,
            held_uploads: Vec::new(),
            noise: BTreeMap::new(),
            keep_surplus: BTreeSet::new(),
            canary_lanes: 0,
            silent: BTreeSet::new(),
            cosigned: Vec::new(),
            wanted: Vec::new(),
        }
    }

    pub fn connect(&mut self, index: usize) {
        self.nodes[index].connected = true;
        let key = Some(membership(index, self.size).tls_key);
        self.coordinator.connected(&agent_id(index), key);
        let hello = self.nodes[index].machine.hello(None);
        self.queue.push_back(Event::ToCoordinator(index, hello));
    }

    pub fn disconnect(&mut self, index: usize) {
        self.nodes[index].connected = false;
        self.queue.retain(|event| match event {
            Event::ToAgent(agent, _)
            | Event::ToCoordinator(agent, _)
            | Event::Upload(agent, _, _)
            | Event::Return(agent) => *agent != index,
        });
        let actions = self.coordinator.disconnected(&agent_id(index), self.now_ms);
        self.act(actions);
    }

    /// The agent's process dies, and starts again on `disk` under a new connection.
    pub fn restart(&mut self, index: usize, disk: Disk) {
        self.disconnect(index);
        self.nodes[index].machine =
            agent::Machine::with_memory(identity(index, self.size), disk.memory());
        self.nodes[index].disk = disk;
        self.connect(index);
        self.settle_queue();
    }

    /// Connects everybody, opens one epoch and runs to the end.
    pub fn run_all(&mut self) {
        for index in 0..self.size {
            self.connect(index);
        }
        self.settle_queue();
        self.open_epoch();
        self.run();
    }

    pub fn open_epoch(&mut self) {
        let agents: BTreeSet<AgentId> = (0..self.size).map(agent_id).collect();
        let rounds = self.rounds as u16;
        let actions = self.coordinator.open_epoch(agents, rounds, self.now_ms).unwrap();
        self.act(actions);
    }

    /// Delivers everything and lets every deadline pass, until nothing is left to happen.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            self.settle_queue();
            let agents = self.nodes.iter().filter(|node| !node.dead);
            let next = agents
                .filter_map(|node| node.machine.poll_deadline())
                .chain(self.coordinator.poll_deadline(self.now_ms))
                .min();
            let Some(next) = next else { return };
            assert!(next >= self.now_ms, "a deadline in the past was not honoured");
            self.now_ms = next;
            let actions = self.coordinator.tick(self.now_ms);
            self.act(actions);
            for index in 0..self.size {
                if !self.nodes[index].dead {
                    let actions = self.nodes[index].machine.tick(self.now_ms);
                    self.act_at_agent(index, actions);
                }
            }
        }
        panic!("the federation never comes to rest");
    }

    pub fn settle_queue(&mut self) {
        while let Some(event) = self.queue.pop_front() {
            self.deliver(event);
        }
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::ToAgent(index, message) => {
                if !self.nodes[index].connected {
                    return;
                }
                let message = match &mut self.tamper {
                    Some(tamper) => tamper(index, message),
                    None => message,
                };
                let node = &mut self.nodes[index];
                match node.machine.handle(message, self.now_ms, &mut node.rng) {
                    Ok(actions) => self.act_at_agent(index, actions),
                    Err(fault) => node.faults.push(fault),
                }
                self.nodes[index].received += 1;
                self.maybe_break(index, false);
            }
            Event::ToCoordinator(index, message) => {
                let messages = match &mut self.forge {
                    Some(forge) => forge(index, message),
                    None => vec![message],
                };
                for message in messages {
                    let actions = self.coordinator.handle(&agent_id(index), message, self.now_ms);
                    self.act(actions);
                }
                self.nodes[index].sent += 1;
                self.maybe_break(index, true);
            }
            Event::Upload(index, header, bytes) if self.hold_uploads => {
                self.held_uploads.push((index, header, bytes));
            }
            Event::Upload(index, header, bytes) => {
                let actions = self.coordinator.upload(
                    &agent_id(index),
                    &header,
                    &chorale_wire::Hashed::of(bytes),
                    self.now_ms,
                );
                self.act(actions);
                self.nodes[index].sent += 1;
                self.maybe_break(index, true);
            }
            Event::Return(index) => self.connect(index),
        }
    }

    fn maybe_break(&mut self, index: usize, sending: bool) {
        let Some(broken) = self.breaks else { return };
        let node = &self.nodes[index];
        let count = if sending { node.sent } else { node.received };
        if broken.agent == index && broken.sending == sending && broken.after == count {
            self.breaks = None;
            self.disconnect(index);
            if broken.returns {
                self.queue.push_back(Event::Return(index));
            } else {
                self.nodes[index].dead = true;
            }
        }
    }

    pub fn act(&mut self, actions: Vec<coordinator::Action>) {
        for action in actions {
            match action {
                coordinator::Action::Send(agent, message) => {
                    let index = (0..self.size).find(|i| agent_id(*i) == agent).unwrap();
                    self.queue.push_back(Event::ToAgent(index, message));
                }
                coordinator::Action::Broadcast(agents, message) => {
                    for agent in agents {
                        let index = (0..self.size).find(|i| agent_id(*i) == agent).unwrap();
                        self.queue.push_back(Event::ToAgent(index, message.clone()));
                    }
                }
                coordinator::Action::SendEach(letters) => {
                    for (agent, message) in letters.iter() {
                        let index = (0..self.size).find(|i| agent_id(*i) == *agent).unwrap();
                        self.queue.push_back(Event::ToAgent(index, message));
                    }
                }
                coordinator::Action::EpochStarted { epoch } => self.started.push(epoch),
                coordinator::Action::EpochReady { epoch, agents, excluded, .. } => {
                    self.epochs.push((epoch, agents));
                    self.excluded.extend(excluded);
                    self.next_round();
                }
                coordinator::Action::EpochFailed { reason, blamed, .. } => {
                    self.failed.push(reason);
                    self.excluded.extend(blamed);
                }
                coordinator::Action::RoundComplete(completed) => {
                    self.check_sum(&completed);
                    self.completed.push(*completed);
                    let model = Digest::plain(b"model");
                    let actions = self.coordinator.conclude(model, 3, Digest::plain(b"head"));
                    self.act(actions);
                    self.next_round();
                }
                coordinator::Action::RoundAborted { round, cause, blamed, certificate, .. } => {
                    self.aborted.push((round, cause, blamed));
                    self.certified.extend(certificate.map(|certified| *certified));
                    self.next_round();
                }
                coordinator::Action::Fault(fault) => self.faults.push(fault),
                coordinator::Action::HeadCosigned(head) => self.cosigned.push(head),
                coordinator::Action::HeadWanted { agent, from } => self.wanted.push((agent, from)),
                coordinator::Action::Refused { .. } | coordinator::Action::CohortFixed { .. } => {}
            }
        }
    }

    fn next_round(&mut self) {
        let Some(key_index) = self.coordinator.next_key_index() else {
            return;
        };
        let epoch = self.coordinator.epoch().unwrap().epoch();
        let round = self.coordinator.last_round().0 + 1;
        let mut spec = spec(self.size, epoch, round, key_index);
        spec.plan.mechanism = self.mechanism.clone();
        spec.plan.cohort = self.rule.clone();
        spec.plan.canary_lanes = self.canary_lanes;
        let actions = self.coordinator.open_round(&spec, self.now_ms).unwrap();
        self.act(actions);
    }

    pub fn act_at_agent(&mut self, index: usize, actions: Vec<agent::Action>) {
        for action in actions {
            let node = &mut self.nodes[index];
            match action {
                agent::Action::Send(message) => {
                    self.queue.push_back(Event::ToCoordinator(index, message));
                }
                agent::Action::Remember(fact) => node.disk.facts.push(fact),
                agent::Action::Behind(behind) => {
                    node.disk.charged.extend(behind.rounds.iter().copied());
                    node.behind.push(behind);
                    let hello = node.machine.hello(None);
                    self.queue.push_back(Event::ToCoordinator(index, hello));
                }
                agent::Action::Disputed { witnesses, .. } => node.disputed.extend(witnesses),
                agent::Action::Doubtful { witnesses, .. } => {
                    node.doubted.extend(witnesses);
                    let hello = node.machine.hello(None);
                    self.queue.push_back(Event::ToCoordinator(index, hello));
                }
                agent::Action::Train { spec, derived, .. } => {
                    if !node.refuses {
                        node.disk.charged.insert(spec.stated(&derived).unwrap());
                    }
                    let actions = if node.refuses {
                        node.machine.refuse(RefusalCode::Policy, "not today")
                    } else {
                        node.machine.ready()
                    };
                    self.act_at_agent(index, actions.unwrap());
                }
                agent::Action::Contribute {
                    ticket,
                    spec,
                    derived,
                    noise_seeds,
                    session,
                    electorate,
                } => {
                    node.masked.push((session, electorate));
                    let mut total = Zeroizing::new(values(index, spec.round.0));
                    total.resize(spec.vector_length(), 0);
                    let layers = noise_layers(index, spec.round.0, &derived, noise_seeds);
                    if !self.silent.contains(&index) {
                        layers.iter().for_each(|layer| add_layer(&mut total, layer));
                    }
                    self.noise.insert((index, spec.round.0), layers);
                    let packed = ticket.mask(total).unwrap();
                    let length = packed.bytes().len() as u64;
                    let header = node.machine.masked(packed.digest(), length).unwrap();
                    let upload = Event::Upload(index, header, packed.into_bytes());
                    self.queue.push_back(upload);
                }
                agent::Action::RoundDone(outcome) => node.done.push(outcome),
                agent::Action::AbortCertified(proof) => node.certified.push(proof),
                agent::Action::RoundAborted { round, end, .. } => node.aborted.push((round, end)),
                _ => {}
            }
        }
    }

    fn check_sum(&self, completed: &coordinator::Completed) {
        let mut expected = vec![0; COORDINATES + self.canary_lanes as usize];
        for agent in &completed.agents {
            let index = (0..self.size).find(|i| agent_id(*i) == *agent).unwrap();
            let part = values(index, completed.round.0);
            expected.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            let layers = &self.noise[&(index, completed.round.0)];
            let kept = self.layers_in_total(index, layers.len(), completed.agents.len());
            if self.silent.contains(&index) {
                // What it never added is taken off all the same.
                let mut taken = vec![0; expected.len()];
                layers[kept..].iter().for_each(|layer| add_layer(&mut taken, layer));
                expected.iter_mut().zip(taken).for_each(|(sum, x)| *sum -= x);
            } else {
                layers[..kept].iter().for_each(|layer| add_layer(&mut expected, layer));
            }
        }
        assert_eq!(completed.totals, expected, "a wrong sum came out");
        assert!(completed.agents.len() >= self.rule.survivors_min as usize);
    }

    fn layers_in_total(&self, index: usize, layers: usize, survivors: usize) -> usize {
        if layers == 0 || self.keep_surplus.contains(&index) {
            return layers;
        }
        let mut spec = spec(self.size, Epoch(1), 1, 0);
        spec.plan.mechanism = self.mechanism.clone();
        spec.plan.cohort = self.rule.clone();
        layers_kept(&spec.derive(self.size as u32).unwrap().layers, survivors)
    }

    /// Nobody waits: no round is in progress anywhere.
    pub fn assert_at_rest(&self) {
        let phase = self.coordinator.phase();
        assert!(
            ["between rounds", "without an epoch"].contains(&phase),
            "the coordinator is {phase}"
        );
        for node in self.nodes.iter().filter(|node| !node.dead) {
            assert_eq!(node.machine.round(), None, "{}", node.machine.phase());
        }
    }
}

/// The agents of a ready epoch, as machines, for tests in which the test plays the coordinator.
pub fn ready_agents(size: usize, rounds: u64) -> (Vec<(agent::Machine, ChaCha20Rng)>, Epoch) {
    let mut world = World::new(size, rounds);
    for index in 0..size {
        world.connect(index);
    }
    world.settle_queue();
    // The world must not open a round by itself: everything but ROUND-OPEN is delivered.
    world.tamper = Some(Box::new(|_, message| match message {
        ToAgent::RoundOpen(_) => held_back(),
        other => other,
    }));
    world.open_epoch();
    world.settle_queue();
    let epoch = world.epochs[0].0;
    let nodes = world.nodes.into_iter();
    (nodes.map(|node| (node.machine, node.rng)).collect(), epoch)
}

/// What an agent hears in the place of a message that the test holds back.
pub fn held_back() -> ToAgent {
    let what = chorale_wire::message::Reason::new("held back");
    ToAgent::Waiting(chorale_wire::message::Waiting { what })
}

pub fn by_agent<T>(items: impl IntoIterator<Item = (AgentId, T)>) -> BTreeMap<AgentId, T> {
    items.into_iter().collect()
}
