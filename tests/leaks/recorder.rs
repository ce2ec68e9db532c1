//! A coordinator for one round that keeps everything it gets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use chorale_client_agent::run::Summary;
use chorale_plan::{CohortRule, Mechanism, Parameters, Plan, RoundSpec, TaskSpec};
use chorale_round::coordinator::{Action, CoordinatorConfig, Machine, Timeouts};
use chorale_secagg::{Modulus, packing};
use chorale_task::{Catalogue, Model};
use chorale_tests::{Federation, federation::now_s, running::WATCHDOG};
use chorale_transport::{CoordinatorKeys, Server, ServerConfig, ServerEvent};
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, SecretKey, ToCoordinator, codec, limits::CONTROL_BYTES_MAX,
};
use tokio::net::UdpSocket;

/// Everything that agents sent.
pub(crate) struct Recording {
    /// Control messages and headers, encoded.
    pub(crate) control: Vec<u8>,
    /// Vectors.
    pub(crate) vectors: Vec<Vector>,
    /// UDP payloads towards the coordinator.
    pub(crate) udp: Vec<u8>,
    /// What the coordinator read off their sum.
    pub(crate) totals: Vec<i64>,
}

/// One uploaded vector.
pub(crate) struct Vector {
    pub(crate) agent: AgentId,
    pub(crate) bytes: Vec<u8>,
    bits: u8,
}

impl Vector {
    /// How many of its coordinates are within `slack` of those of `bare`, modulo 2^w.
    pub(crate) fn near(&self, bare: &[i64], slack: i64) -> usize {
        let modulus = Modulus::new(self.bits).unwrap();
        let sent = packing::unpack(&self.bytes, bare.len(), modulus).unwrap();
        let near = |(sent, bare): (u64, &i64)| {
            let difference = (sent as i64 - bare).rem_euclid(1 << self.bits);
            difference.min((1 << self.bits) - difference) <= slack
        };
        sent.into_iter().zip(bare).filter(|pair| near(*pair)).count()
    }

    /// The same with other coordinates, for planting.
    pub(crate) fn with(&self, bare: &[i64]) -> Self {
        let values: Vec<u64> = bare.iter().map(|value| *value as u64).collect();
        let bytes = packing::pack(&values, Modulus::new(self.bits).unwrap());
        Self { agent: self.agent.clone(), bytes, bits: self.bits }
    }
}

/// What the round asks.
pub(crate) struct Question {
    pub(crate) mechanism: Mechanism,
    pub(crate) task: TaskSpec,
    /// Rounds of the plan; only the first one is run.
    pub(crate) rounds: u32,
    /// M_cap.
    pub(crate) stores_max: u32,
    /// The model that it is asked on.
    pub(crate) model: Model,
}

impl Question {
    /// A popularity round on the model that a federation begins with.
    pub(crate) fn popularity(federation: &Federation, mechanism: Mechanism) -> Self {
        let task = TaskSpec { name: "popularity".into(), parameters: Parameters::default() };
        let model = Model::for_catalogue(&catalogue(federation)).unwrap();
        Self { mechanism, task, rounds: 1, stores_max: 1, model }
    }
}

pub(crate) fn catalogue(federation: &Federation) -> Catalogue {
    let catalogue = std::fs::read(federation.root().join("catalogue.csv")).unwrap();
    Catalogue::read_csv(&catalogue).unwrap()
}

/// Runs one popularity round of a federation with all its agents and records it.
pub(crate) async fn record(federation: &Federation, mechanism: Mechanism) -> Recording {
    ask(federation, Question::popularity(federation, mechanism)).await
}

/// Runs one round of a federation with all its agents and records it.
pub(crate) async fn ask(federation: &Federation, question: Question) -> Recording {
    let (recording, summaries) = run(federation, question, None).await;
    assert!(summaries.iter().all(|summary| summary.completed == 1));
    recording
}

/// The same with a malicious coordinator: when an agent has said READY for the spec's model, it
/// is sent `other`, and only then the cohort.
pub(crate) async fn record_with_swapped_model(
    federation: &Federation,
    mechanism: Mechanism,
    other: &Model,
) -> (Recording, Vec<Summary>) {
    run(federation, Question::popularity(federation, mechanism), Some(other)).await
}

async fn run(
    federation: &Federation,
    question: Question,
    other: Option<&Model>,
) -> (Recording, Vec<Summary>) {
    let keys = CoordinatorKeys::open(&federation.root().join("coordinator-keys")).unwrap();
    let (credentials, authority) = keys.credentials(now_s()).unwrap();
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let admit = Arc::new(|_: &AgentId, _: &Digest| true);
    let (server, mut events) = Server::bind(ServerConfig::new(local, credentials, admit)).unwrap();
    let udp = Arc::new(Mutex::new(Vec::new()));
    let relay = UdpSocket::bind(federation.address()).await.unwrap();
    let relay = tokio::spawn(relay_udp(relay, server.local_address().unwrap(), Arc::clone(&udp)));
    let agents = federation.start_agents(0..federation.setup.agents);
    let mut recorder = Recorder::new(federation, question, server, &keys, authority);
    recorder.other = other.map(|model| (model.digest().unwrap(), model.encode().unwrap().into()));
    let all = async {
        while agents.iter().any(|agent| agent.is_running()) {
            tokio::select! {
                event = events.recv() => recorder.on_event(event.unwrap()),
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    recorder.let_go();
                    let actions = recorder.machine.tick(now_ms());
                    recorder.carry_out(actions);
                }
            }
        }
    };
    tokio::time::timeout(WATCHDOG, all).await.expect("the round hangs");
    let mut summaries = Vec::new();
    for agent in agents {
        summaries.push(agent.finish().await);
    }
    relay.abort();
    let udp = std::mem::take(&mut *udp.lock().unwrap());
    (Recording { udp, ..recorder.recording }, summaries)
}

/// How long a READY is held back while the swapped model travels.
const HELD_MS: u64 = 500;

struct Recorder {
    agents: usize,
    machine: Machine,
    server: Server,
    model: Model,
    spec: RoundSpec,
    bits: u8,
    /// The model to swap in after READY, with its digest.
    other: Option<(Digest, Arc<Vec<u8>>)>,
    /// READY messages that are held back, and since when.
    held: Vec<(AgentId, ToCoordinator, u64)>,
    recording: Recording,
}

impl Recorder {
    fn new(
        federation: &Federation,
        question: Question,
        server: Server,
        keys: &CoordinatorKeys,
        authority: chorale_wire::PublicKey,
    ) -> Self {
        let agents = federation.setup.agents;
        let rule = CohortRule {
            enrolled: agents,
            corrupt: 1,
            survivors_min: federation.setup.survivors_min,
        };
        let catalogue = catalogue(federation);
        let Question { mechanism, task, rounds, stores_max, model } = question;
        let plan = Plan {
            name: "recorded".into(),
            task,
            rounds,
            mechanism,
            scale_bits: 16,
            persons_max: 512,
            stores_max,
            cohort: rule.clone(),
            catalogue: catalogue.digest(),
            events_before_s: 4_000_000_000,
            canary_lanes: 0,
        };
        let task = chorale_task::from_plan(&plan, catalogue.len()).unwrap();
        let spec = RoundSpec {
            federation: federation.name(),
            epoch: Epoch(1),
            round: RoundNumber(1),
            key_index: 0,
            step: 0,
            shape: task.shape(&model),
            model: model.digest().unwrap(),
            ready_within_ms: 20_000,
            upload_within_ms: 20_000,
            keystream: chorale_wire::Keystream::default(),
            sign_off: None,
            plan,
        };
        let machine = Machine::new(CoordinatorConfig {
            key: SecretKey::from_seed(&keys.identity().to_seed()),
            federation: federation.name(),
            authority,
            rule,
            timeouts: Timeouts::default(),
            last_epoch: Epoch(0),
            last_round: RoundNumber(0),
            certified: Vec::new(),
            threads: std::num::NonZeroUsize::MIN,
        });
        let bits = spec.derive(agents).unwrap().modulus_bits;
        let recording = Recording {
            control: Vec::new(),
            vectors: Vec::new(),
            udp: Vec::new(),
            totals: Vec::new(),
        };
        Self {
            agents: agents as usize,
            machine,
            server,
            model,
            spec,
            bits,
            other: None,
            held: Vec::new(),
            recording,
        }
    }

    /// Handles what was held back long enough.
    fn let_go(&mut self) {
        let now = now_ms();
        let all_here = self.held.len() == self.agents;
        if all_here && self.held.iter().all(|(_, _, since)| now >= since + HELD_MS) {
            for (agent, message, _) in std::mem::take(&mut self.held) {
                let actions = self.machine.handle(&agent, message, now);
                self.carry_out(actions);
            }
        }
    }

    fn on_event(&mut self, event: ServerEvent) {
        let now = now_ms();
        let actions = match event {
            ServerEvent::Connected { agent, tls_key, .. } => {
                self.machine.connected(&agent, Some(tls_key));
                Vec::new()
            }
            ServerEvent::Disconnected { agent, .. } => self.machine.disconnected(&agent, now),
            ServerEvent::Control { agent, message: message @ ToCoordinator::Ready(_), .. }
                if self.other.is_some() =>
            {
                let other = self.other.as_ref().map(|(_, bytes)| Arc::clone(bytes)).unwrap();
                self.server.send_model(&agent, other).unwrap();
                self.held.push((agent, message, now));
                Vec::new()
            }
            ServerEvent::Control { agent, message, .. } => {
                self.keep(&message);
                let hello = matches!(message, ToCoordinator::Hello(_));
                let mut actions = self.machine.handle(&agent, message, now);
                let here: BTreeSet<AgentId> = self.machine.connected_agents().cloned().collect();
                if hello && here.len() == self.agents {
                    actions.extend(self.machine.open_epoch(here, 1, now).unwrap());
                }
                actions
            }
            ServerEvent::Vector { agent, header, vector: arrived } => {
                self.recording.control.extend(codec::encode(&header, CONTROL_BYTES_MAX).unwrap());
                let vector = Vector {
                    agent: agent.clone(),
                    bytes: arrived.bytes().to_vec(),
                    bits: self.bits,
                };
                self.recording.vectors.push(vector);
                self.machine.upload(&agent, &header, &arrived, now)
            }
        };
        self.carry_out(actions);
    }

    fn keep(&mut self, message: &ToCoordinator) {
        self.recording.control.extend(codec::encode(message, CONTROL_BYTES_MAX).unwrap());
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(agent, message) => {
                    // An agent that has just left does not matter here.
                    drop(self.server.send(&agent, &message));
                }
                Action::Broadcast(agents, message) => {
                    for agent in agents {
                        drop(self.server.send(&agent, &message));
                    }
                }
                Action::SendEach(letters) => {
                    for (agent, message) in letters.iter() {
                        drop(self.server.send(agent, &message));
                    }
                }
                Action::EpochReady { agents, .. } => {
                    let model = Arc::new(self.model.encode().unwrap());
                    for agent in &agents {
                        self.server.send_model(agent, Arc::clone(&model)).unwrap();
                    }
                    let actions = self.machine.open_round(&self.spec, now_ms()).unwrap();
                    self.carry_out(actions);
                }
                Action::RoundComplete(completed) => {
                    self.recording.totals = completed.totals;
                    let head = Digest::plain(b"head");
                    let mut actions = self.machine.conclude(self.spec.model, 1, head);
                    actions.extend(self.machine.finish(self.spec.model));
                    self.carry_out(actions);
                }
                Action::RoundAborted { .. } if self.other.is_some() => {
                    let (digest, _) = self.other.clone().unwrap();
                    let actions = self.machine.finish(digest);
                    self.carry_out(actions);
                }
                Action::RoundAborted { reason, .. } | Action::EpochFailed { reason, .. } => {
                    panic!("{reason}")
                }
                Action::Refused { .. } if self.other.is_some() => {}
                Action::Refused { reason, .. } => panic!("{reason}"),
                Action::Fault(fault) => panic!("{fault}"),
                Action::EpochStarted { .. }
                | Action::CohortFixed { .. }
                | Action::HeadCosigned(_)
                | Action::HeadWanted { .. } => {}
            }
        }
    }
}

/// Passes datagrams on, and keeps those that go to the coordinator.
async fn relay_udp(front: UdpSocket, server: SocketAddr, kept: Arc<Mutex<Vec<u8>>>) {
    let front = Arc::new(front);
    let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut packet = vec![0; 65_536];
    loop {
        let Ok((length, from)) = front.recv_from(&mut packet).await else { continue };
        kept.lock().unwrap().extend_from_slice(&packet[..length]);
        let back = match backs.get(&from) {
            Some(back) => Arc::clone(back),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                back.connect(server).await.unwrap();
                backs.insert(from, Arc::clone(&back));
                let (back_in, front) = (Arc::clone(&back), Arc::clone(&front));
                tokio::spawn(async move {
                    let mut packet = vec![0; 65_536];
                    while let Ok(length) = back_in.recv(&mut packet).await {
                        // A lost datagram is what QUIC is made for.
                        drop(front.send_to(&packet[..length], from).await);
                    }
                });
                back
            }
        };
        drop(back.send(&packet[..length]).await);
    }
}

fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
