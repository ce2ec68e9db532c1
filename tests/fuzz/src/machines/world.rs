//! The federation, the network between its programs, and the schedule that the input is.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use chorale_plan::RoundSpec;
use chorale_round::{agent, coordinator};
use chorale_secagg::{MaskTicket as _, Modulus, PairwiseTicket, packing};
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, Signed, ToAgent, ToCoordinator,
    message::{MaskedHeader, RefusalCode, ShareEnvelope},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use zeroize::Zeroizing;

use super::{
    federation::{AGENTS, ROUNDS, START_MS, federation, tls_key, values},
    forge::{Knowledge, LIAR, Power, rewrite},
    oracle::Oracle,
};
use crate::{
    Verdict,
    choices::{Choices, edit},
};

/// Rounds that the operator opens at most.
const ROUNDS_OPENED_MAX: usize = 4;

/// Epochs that the operator opens at most; each has up to four restarts of its own.
const EPOCHS_OPENED_MAX: usize = 3;

/// Deliveries and deadlines after which a federation counts as endless: ten times the longest
/// that a schedule of 512 bytes can make.
const STEPS_MAX: usize = 20_000;

/// Messages that are kept to be replayed.
const HISTORY_MAX: usize = 512;

/// Messages of a federation.
#[derive(Debug, Default)]
pub struct Messages {
    /// What the coordinator said.
    pub to_agent: Vec<ToAgent>,
    /// What agents said.
    pub to_coordinator: Vec<ToCoordinator>,
    /// The headers of uploads.
    pub headers: Vec<Signed<MaskedHeader>>,
}

#[derive(Clone)]
enum Event {
    ToAgent(usize, ToAgent),
    ToCoordinator(usize, ToCoordinator),
    Upload(usize, Signed<MaskedHeader>, Vec<u8>),
}

/// What a program was asked to do and has not done.
enum Task {
    Train,
    Contribute(Box<PairwiseTicket>, Arc<RoundSpec>),
}

struct Node {
    machine: agent::Machine,
    rng: ChaCha20Rng,
    connected: bool,
    /// Answers nothing that it is asked.
    idle: bool,
    refuses: bool,
    task: Option<Task>,
    /// What the agent's journal would hold.
    last_epoch: Option<Epoch>,
    last_round: Option<RoundNumber>,
    upload: Option<(Signed<MaskedHeader>, Vec<u8>)>,
}

pub(super) struct World {
    power: Power,
    coordinator: coordinator::Machine,
    nodes: Vec<Node>,
    queue: VecDeque<Event>,
    history: VecDeque<Event>,
    known: Knowledge,
    /// Envelopes that the liar dealt.
    dealt: Vec<Signed<ShareEnvelope>>,
    oracle: Oracle,
    modulus_bits: u8,
    now_ms: u64,
    last_epoch: Epoch,
    rounds_opened: usize,
    epochs_opened: usize,
    steps: usize,
}

impl World {
    pub(super) fn new(power: Power) -> Self {
        let config = federation().config(Epoch(0), RoundNumber(0));
        Self {
            power,
            coordinator: coordinator::Machine::new(config),
            nodes: (0..AGENTS).map(Node::new).collect(),
            queue: VecDeque::new(),
            history: VecDeque::new(),
            known: Knowledge::default(),
            dealt: Vec::new(),
            oracle: Oracle::default(),
            modulus_bits: 0,
            now_ms: START_MS,
            last_epoch: Epoch(0),
            rounds_opened: 0,
            epochs_opened: 0,
            steps: 0,
        }
    }

    /// Everything that was said while the schedule was played, in order: seeds for the decoders.
    pub(super) fn record(mut self, data: &[u8]) -> Messages {
        self.run(data);
        let mut said = Messages::default();
        for event in self.history {
            match event {
                Event::ToAgent(_, message) => said.to_agent.push(message),
                Event::ToCoordinator(_, message) => said.to_coordinator.push(message),
                Event::Upload(_, header, _) => said.headers.push(header),
            }
        }
        said
    }

    /// Plays the schedule, then lets everything that is left happen undisturbed.
    pub(super) fn play(mut self, data: &[u8]) -> Verdict {
        self.run(data);
        if self.oracle.completed > 0 { Verdict::Accepted } else { Verdict::Refused }
    }

    fn run(&mut self, data: &[u8]) {
        let mut choices = Choices::new(data);
        for index in 0..AGENTS {
            self.connect(index);
        }
        self.deliver_all();
        self.open_epoch();
        while !choices.is_over() {
            self.choose(&mut choices);
        }
        for node in &mut self.nodes {
            node.idle = false;
        }
        for index in 0..AGENTS {
            self.work(index);
        }
        while self.next() {}
        assert_eq!(self.coordinator.poll_deadline(self.now_ms), None, "the coordinator waits");
        let waits = self.nodes.iter().any(|node| node.machine.poll_deadline().is_some());
        assert!(!waits, "an agent waits for ever");
    }

    /// One decision of the schedule.
    fn choose(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() {
            count @ 0..64 => {
                for _ in 0..=count {
                    self.next();
                }
            }
            kind @ 64..128 => self.seek(kind - 64, choices),
            128 => {
                self.queue.pop_front();
            }
            129 => {
                if let Some(event) = self.queue.front().cloned() {
                    self.queue.push_back(event);
                    self.next();
                }
            }
            130 => {
                if let Some(event) = self.queue.pop_front() {
                    let place = choices.below(self.queue.len() + 1);
                    self.queue.insert(place, event);
                }
            }
            131 => self.replay(choices, false),
            132..=139 => self.change_next(choices),
            140..=143 => self.replay(choices, true),
            144..=159 => self.invent(choices),
            160..=163 => self.garble(choices),
            164..=167 => self.upload_other(choices),
            168..=175 => self.time_passes(choices),
            176..=183 => {
                let index = choices.below(AGENTS);
                if self.nodes[index].connected {
                    self.disconnect(index)
                } else {
                    self.connect(index)
                }
            }
            184..=187 => self.restart(choices.below(AGENTS)),
            188..=195 => self.operate(choices),
            196..=203 => self.change_mood(choices),
            204..=207 => self.stray_call(choices),
            _ => {
                self.next();
            }
        }
    }

    /// The next message arrives or, when there is none, the next deadline passes. False when
    /// nothing is left to happen.
    fn next(&mut self) -> bool {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "the federation never comes to rest");
        if let Some(event) = self.queue.pop_front() {
            self.happen(event);
            return true;
        }
        let agents = self.nodes.iter().filter_map(|node| node.machine.poll_deadline());
        let next = agents.chain(self.coordinator.poll_deadline(self.now_ms)).min();
        let Some(next) = next else { return false };
        assert!(next >= self.now_ms, "a deadline in the past was not honoured");
        self.now_ms = next;
        self.tick();
        true
    }

    fn tick(&mut self) {
        let actions = self.coordinator.tick(self.now_ms);
        self.act(actions);
        for index in 0..AGENTS {
            let before = self.nodes[index].machine.round();
            let actions = self.nodes[index].machine.tick(self.now_ms);
            self.note_end(index, before);
            self.act_at(index, actions);
        }
    }

    /// Notes that a round is over for an agent, before anything that it says next is judged.
    fn note_end(&mut self, index: usize, before: Option<RoundNumber>) {
        let after = self.nodes[index].machine.round();
        if let Some(round) = before.filter(|round| after != Some(*round)) {
            self.oracle.over(index, round);
            self.nodes[index].task = None;
        }
    }

    fn deliver_all(&mut self) {
        while let Some(event) = self.queue.pop_front() {
            self.happen(event);
        }
    }

    /// Delivers until a message of this kind, for or from this agent, is next.
    fn seek(&mut self, kind: u8, choices: &mut Choices<'_>) {
        let wanted = choices.byte();
        for _ in 0..256 {
            let found = self.queue.front().is_some_and(|event| {
                event.kind() == kind % KINDS
                    && (usize::from(wanted) >= AGENTS || event.agent() == usize::from(wanted))
            });
            if found || !self.next() {
                return;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(event.clone());
        match event {
            Event::ToAgent(index, message) => {
                if self.nodes[index].connected {
                    self.learn(index, &message);
                    self.arrive(index, message);
                }
            }
            Event::ToCoordinator(index, message) => {
                if self.nodes[index].connected {
                    let agent = &federation().agents[index];
                    let actions = self.coordinator.handle(agent, message, self.now_ms);
                    self.act(actions);
                }
            }
            Event::Upload(index, header, bytes) => {
                if self.nodes[index].connected {
                    let agent = &federation().agents[index];
                    let vector = chorale_wire::Hashed::of(bytes);
                    let actions = self.coordinator.upload(agent, &header, &vector, self.now_ms);
                    self.act(actions);
                }
            }
        }
    }

    fn arrive(&mut self, index: usize, message: ToAgent) {
        let ballot = match &message {
            ToAgent::Abort(abort) => abort.peek().ok().map(|abort| abort.round),
            _ => None,
        };
        let node = &mut self.nodes[index];
        let before = node.outline();
        match node.machine.handle(message, self.now_ms, &mut node.rng) {
            Ok(actions) => {
                node.last_epoch = node.last_epoch.max(node.machine.epoch());
                self.note_end(index, before.2);
                for action in &actions {
                    if let (agent::Action::Send(ToCoordinator::SurvivorVote(vote)), Some(round)) =
                        (action, ballot)
                    {
                        let session = vote.peek().expect("its own vote").session;
                        self.oracle.voted_to_abort(index, round, session);
                    }
                }
                self.act_at(index, actions);
            }
            Err(fault) => {
                let after = self.nodes[index].outline();
                assert_eq!(before, after, "a refused message changed the state: {fault}");
            }
        }
    }

    /// What a liar sees pass by.
    fn learn(&mut self, index: usize, message: &ToAgent) {
        match message {
            ToAgent::Roster(roster) => {
                (self.known.epoch, self.known.roster) = (Some(roster.epoch), Some(roster.clone()));
            }
            ToAgent::RoundOpen(open) => {
                let typed = open.clone().into_typed::<RoundSpec>();
                if let Ok(spec) = typed.peek() {
                    self.known.round = Some(spec.round);
                    self.known.spec = Some(typed.payload_digest());
                    self.known.open = Some(open.clone());
                }
            }
            ToAgent::Shares(envelopes) if index == 0 || self.power == Power::OneAgent => {
                self.known.envelopes.clone_from(envelopes);
            }
            _ => {}
        }
    }

    fn act(&mut self, actions: Vec<coordinator::Action>) {
        for action in actions {
            match action {
                coordinator::Action::Send(agent, message) => {
                    let index = federation().index_of(&agent);
                    self.queue.push_back(Event::ToAgent(index, message));
                }
                coordinator::Action::Broadcast(agents, message) => {
                    for agent in agents {
                        let index = federation().index_of(&agent);
                        self.queue.push_back(Event::ToAgent(index, message.clone()));
                    }
                }
                coordinator::Action::SendEach(letters) => {
                    for (agent, message) in letters.iter() {
                        let index = federation().index_of(agent);
                        self.queue.push_back(Event::ToAgent(index, message));
                    }
                }
                coordinator::Action::EpochStarted { epoch } => {
                    assert!(epoch > self.last_epoch, "an epoch number is used twice");
                    self.last_epoch = epoch;
                }
                coordinator::Action::EpochReady { .. } => self.open_round(),
                coordinator::Action::RoundComplete(completed) => {
                    let exact = self.power == Power::OneAgent;
                    self.oracle.completed(&completed, self.modulus_bits, exact);
                    let (model, head) = (Digest::plain(b"model"), Digest::plain(b"head"));
                    let actions = self.coordinator.conclude(model, 3, head);
                    self.act(actions);
                    self.open_round();
                }
                coordinator::Action::RoundAborted { round, certificate, .. } => {
                    self.oracle.aborted(round);
                    if let Some(certificate) = certificate {
                        self.oracle.certified(certificate.session, self.power == Power::OneAgent);
                    }
                    self.open_round();
                }
                _ => {}
            }
        }
    }

    fn act_at(&mut self, index: usize, actions: Vec<agent::Action>) {
        for action in actions {
            match action {
                agent::Action::Send(message) => {
                    self.oracle.said(index, &message);
                    if let (ToCoordinator::Shares(envelopes), LIAR) = (&message, index) {
                        self.dealt.clone_from(envelopes);
                    }
                    self.queue.push_back(Event::ToCoordinator(index, message));
                }
                agent::Action::Train { spec, .. } => {
                    let node = &mut self.nodes[index];
                    node.last_round = node.last_round.max(Some(spec.round));
                    node.task = Some(Task::Train);
                    self.work(index);
                }
                agent::Action::Contribute { ticket, spec, derived, session, .. } => {
                    self.oracle.asked(index, (spec.epoch, spec.round), session);
                    self.modulus_bits = derived.modulus_bits;
                    if index == 0 || self.power == Power::OneAgent {
                        self.known.session = Some(session);
                    }
                    self.nodes[index].task = Some(Task::Contribute(Box::new(ticket), spec));
                    self.work(index);
                }
                agent::Action::AbortCertified(abort) => {
                    self.oracle.certified(abort.session(), self.power == Power::OneAgent);
                }
                _ => {}
            }
        }
    }

    /// A program does what it was asked to do, unless it idles.
    fn work(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.idle || node.machine.round().is_none() {
            return;
        }
        match node.task.take() {
            None => {}
            Some(Task::Train) => {
                let before = node.machine.round();
                let actions = match node.refuses {
                    true => node.machine.refuse(RefusalCode::Policy, "not today"),
                    false => node.machine.ready(),
                };
                self.note_end(index, before);
                // Only a call that the schedule made out of turn can have answered before.
                if let Ok(actions) = actions {
                    self.act_at(index, actions);
                }
            }
            Some(Task::Contribute(ticket, spec)) => {
                let values = values(index, spec.round);
                let packed = ticket.mask(Zeroizing::new(values.clone())).expect("a full vector");
                let (digest, bytes) = (packed.digest(), packed.into_bytes());
                let Ok(header) = node.machine.masked(digest, bytes.len() as u64) else { return };
                let session = header.peek().expect("its own message").session;
                self.oracle.masked(index, session);
                if index == 0 {
                    self.known.header = Some(header.clone());
                }
                node.upload = Some((header.clone(), bytes.clone()));
                self.known.vectors = vec![digest; self.nodes.len() - 1];
                self.oracle.vector(digest, values.into_iter().map(|value| value as u64).collect());
                self.queue.push_back(Event::Upload(index, header, bytes));
            }
        }
    }

    fn connect(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.connected = true;
        self.coordinator.connected(&federation().agents[index], Some(tls_key(index)));
        self.queue.push_back(Event::ToCoordinator(index, node.machine.hello(None)));
        if let Some((header, bytes)) = node.upload.clone() {
            self.queue.push_back(Event::Upload(index, header, bytes));
        }
    }

    fn disconnect(&mut self, index: usize) {
        self.nodes[index].connected = false;
        self.queue.retain(|event| event.agent() != index);
        let actions = self.coordinator.disconnected(&federation().agents[index], self.now_ms);
        self.act(actions);
    }

    /// An agent's program dies and comes back with its journal and without its keys.
    fn restart(&mut self, index: usize) {
        if self.nodes[index].connected {
            self.disconnect(index);
        }
        let node = &mut self.nodes[index];
        if let Some(round) = node.machine.round() {
            self.oracle.over(index, round);
        }
        let identity = federation().identities[index].clone();
        node.machine = agent::Machine::new(identity, node.last_epoch, node.last_round);
        (node.task, node.upload) = (None, None);
        self.connect(index);
    }

    fn time_passes(&mut self, choices: &mut Choices<'_>) {
        self.now_ms += choices.pick(&[0, 1, 400, 501, 5_000, 12_000, 21_000, 300_000]);
        self.tick();
    }

    fn change_mood(&mut self, choices: &mut Choices<'_>) {
        let index = choices.below(AGENTS);
        let mood = choices.byte();
        let node = &mut self.nodes[index];
        (node.idle, node.refuses) = (mood & 1 != 0, mood & 2 != 0);
        self.work(index);
    }

    /// The agent's driver calls out of turn: it is told so, and nothing else happens.
    fn stray_call(&mut self, choices: &mut Choices<'_>) {
        let index = choices.below(AGENTS);
        let node = &mut self.nodes[index];
        let before = node.outline();
        let answer = match choices.below(3) {
            0 => node.machine.ready(),
            1 => node.machine.refuse(RefusalCode::Stopped, "stopped"),
            _ => {
                let (digest, length) = (Digest::plain(b"other"), u64::from(choices.byte()));
                node.machine.masked(digest, length).map(|_| Vec::new())
            }
        };
        match answer {
            Ok(actions) => {
                self.note_end(index, before.2);
                self.act_at(index, actions);
            }
            Err(fault) => {
                let after = self.nodes[index].outline();
                assert_eq!(before, after, "a refused call changed the state: {fault}");
            }
        }
    }

    /// The operator intervenes.
    fn operate(&mut self, choices: &mut Choices<'_>) {
        match choices.below(4) {
            0 => {
                let actions = self.coordinator.abort_round("the operator stopped it", self.now_ms);
                self.act(actions);
            }
            1 => self.open_epoch(),
            2 => self.open_round(),
            _ => self.restart_coordinator(),
        }
    }

    /// The coordinator's program dies and comes back with its durable numbers.
    fn restart_coordinator(&mut self) {
        let last_round = self.coordinator.last_round();
        let config = federation().config(self.last_epoch, last_round);
        self.coordinator = coordinator::Machine::new(config);
        self.queue.clear();
        for index in 0..AGENTS {
            if self.nodes[index].connected {
                self.connect(index);
            }
        }
    }

    fn open_epoch(&mut self) {
        if self.epochs_opened == EPOCHS_OPENED_MAX {
            return;
        }
        let here: BTreeSet<AgentId> = self.coordinator.connected_agents().cloned().collect();
        if let Ok(actions) = self.coordinator.open_epoch(here, ROUNDS, self.now_ms) {
            self.epochs_opened += 1;
            self.act(actions);
        }
    }

    fn open_round(&mut self) {
        let (Some(key_index), Some(roster)) =
            (self.coordinator.next_key_index(), self.coordinator.epoch())
        else {
            return;
        };
        let round = RoundNumber(self.coordinator.last_round().0 + 1);
        let spec = federation().spec(roster.epoch(), round, key_index);
        if self.rounds_opened < ROUNDS_OPENED_MAX
            && let Ok(actions) = self.coordinator.open_round(&spec, self.now_ms)
        {
            self.rounds_opened += 1;
            self.act(actions);
        }
    }

    /// The liar changes the message that is next, if it passes through its hands.
    fn change_next(&mut self, choices: &mut Choices<'_>) {
        if let Some(event) = self.queue.pop_front() {
            let event = self.changed(event, choices);
            self.happen(event);
        }
    }

    fn changed(&self, event: Event, choices: &mut Choices<'_>) -> Event {
        match (self.power, event) {
            (Power::Coordinator, Event::ToAgent(index, message)) => {
                Event::ToAgent(index, self.power.change_to_agent(message, choices))
            }
            (Power::OneAgent, Event::ToCoordinator(LIAR, message)) => {
                Event::ToCoordinator(LIAR, self.power.change_to_coordinator(message, choices))
            }
            (_, other) => other,
        }
    }

    /// Something that was said before is said again, as it was or changed, by whoever lies.
    fn replay(&mut self, choices: &mut Choices<'_>, change: bool) {
        // Counted from the last message, so that small numbers stay near.
        let Some(place) = self.history.len().checked_sub(1 + choices.below(64)) else { return };
        let event = match (self.power, self.history[place].clone()) {
            (Power::Coordinator, Event::ToAgent(index, message)) => {
                let to = choices.pick(&[index, 0, index, (index + 1) % AGENTS]);
                Event::ToAgent(to, message)
            }
            // What others said is known to an agent from rosters and certificates.
            (Power::OneAgent, Event::ToCoordinator(_, message)) => {
                Event::ToCoordinator(LIAR, message)
            }
            (Power::OneAgent, Event::Upload(_, header, bytes)) => {
                Event::Upload(LIAR, header, bytes)
            }
            _ => return,
        };
        let event = if change { self.changed(event, choices) } else { event };
        self.happen(event);
    }

    /// The liar makes a message up.
    fn invent(&mut self, choices: &mut Choices<'_>) {
        let event = match self.power {
            Power::Coordinator => {
                let to = choices.pick(&[0, 0, 0, 1, 2]);
                let message = self.power.invent_to_agent(&self.known, choices);
                message.map(|message| Event::ToAgent(to, message))
            }
            Power::OneAgent => {
                let message = self.power.invent_to_coordinator(&self.known, &self.dealt, choices);
                message.map(|message| Event::ToCoordinator(LIAR, message))
            }
        };
        if let Some(event) = event {
            self.happen(event);
        }
    }

    /// Bytes of the next message change on the way, and no signature is renewed.
    fn garble(&mut self, choices: &mut Choices<'_>) {
        let event = match (self.power, self.queue.pop_front()) {
            (Power::Coordinator, Some(Event::ToAgent(index, message))) => {
                rewrite(&message, choices).map(|message| Event::ToAgent(index, message))
            }
            (Power::OneAgent, Some(Event::ToCoordinator(LIAR, message))) => {
                rewrite(&message, choices).map(|message| Event::ToCoordinator(LIAR, message))
            }
            (_, other) => other,
        };
        if let Some(event) = event {
            self.happen(event);
        }
    }

    /// The lying agent uploads another vector than its machine masked. It may: the sum then holds
    /// what it sent, and nobody else's part changes.
    fn upload_other(&mut self, choices: &mut Choices<'_>) {
        let Some((header, bytes)) = self.nodes[LIAR].upload.clone() else { return };
        if self.power != Power::OneAgent {
            return;
        }
        let mut other = bytes.clone();
        edit(&mut other, choices);
        let Some(changed) = self.power.header(&header, &other, choices) else { return };
        if let (Ok(modulus), Ok(said)) = (Modulus::new(self.modulus_bits), header.peek())
            && let (Some(values), Ok(masked), Ok(now)) = (
                self.oracle.known_vector(&said.digest),
                packing::unpack(&bytes, super::federation::COORDINATES, modulus),
                packing::unpack(&other, super::federation::COORDINATES, modulus),
            )
        {
            let moved = values.iter().zip(masked.iter().zip(&now));
            let moved = moved.map(|(value, (was, is))| value.wrapping_add(*is).wrapping_sub(*was));
            self.oracle.vector(Digest::plain(&other), moved.collect());
        }
        self.happen(Event::Upload(LIAR, changed, other));
    }
}

impl Node {
    fn new(index: usize) -> Self {
        let identity = federation().identities[index].clone();
        Self {
            machine: agent::Machine::new(identity, None, None),
            rng: ChaCha20Rng::seed_from_u64(index as u64),
            connected: false,
            idle: false,
            refuses: false,
            task: None,
            last_epoch: None,
            last_round: None,
            upload: None,
        }
    }

    /// What can be seen of the machine's state from outside.
    fn outline(&self) -> (&'static str, Option<Epoch>, Option<RoundNumber>, Option<u64>) {
        let machine = &self.machine;
        (machine.phase(), machine.epoch(), machine.round(), machine.poll_deadline())
    }
}

/// Kinds of events that [`World::seek`] tells apart.
const KINDS: u8 = 18;

impl Event {
    fn agent(&self) -> usize {
        match self {
            Self::ToAgent(index, _) | Self::ToCoordinator(index, _) | Self::Upload(index, ..) => {
                *index
            }
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::ToAgent(_, ToAgent::EpochOpen(_)) => 0,
            Self::ToAgent(_, ToAgent::Roster(_)) => 1,
            Self::ToAgent(_, ToAgent::RosterCertificate(_)) => 2,
            Self::ToAgent(_, ToAgent::Shares(_)) => 3,
            Self::ToAgent(_, ToAgent::RoundOpen(_)) => 4,
            Self::ToAgent(_, ToAgent::Commit(_)) => 5,
            Self::ToAgent(_, ToAgent::Survivors(_)) => 6,
            Self::ToAgent(_, ToAgent::SurvivorCertificate(_)) => 7,
            Self::ToAgent(_, ToAgent::RoundResult(_)) => 8,
            Self::ToAgent(..) => 9,
            Self::ToCoordinator(_, ToCoordinator::Advert(_)) => 10,
            Self::ToCoordinator(_, ToCoordinator::RosterVote(_)) => 11,
            Self::ToCoordinator(_, ToCoordinator::Shares(_)) => 12,
            Self::ToCoordinator(_, ToCoordinator::Ready(_)) => 13,
            Self::ToCoordinator(_, ToCoordinator::SurvivorVote(_)) => 14,
            Self::ToCoordinator(_, ToCoordinator::Reveal(_)) => 15,
            Self::ToCoordinator(..) => 16,
            Self::Upload(..) => 17,
        }
    }
}
