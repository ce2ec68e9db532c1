//! A federation in one room: messages arrive at once and in order, time passes only when nothing
//! else can happen, and agents leave at the step that their fate names.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use chorale_plan::{CohortRule, Mechanism};
use chorale_round::{VerifiedMemo, agent, coordinator};
use chorale_secagg::MaskTicket as _;
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, Signed, ToAgent, ToCoordinator,
    limits::ROUNDS_PER_EPOCH_MAX,
    message::{AbortCause, MaskedHeader},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use zeroize::Zeroizing;

use super::Step;
use crate::{
    federation::{COORDINATES, Federation, START_MS, broken, tls_key},
    oracle::{Failure, Floors, Oracle},
};

/// Deadlines that may pass before a pattern counts as endless: a phase has two, its own and that
/// of an agent that might come back, and a setup has four phases and four restarts.
const DEADLINES_MAX: usize = 64;

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RoundEnd {
    /// An exact sum over these agents.
    Sum { survivors: Vec<usize> },
    /// No sum, and nobody blamed; whether enough agents voted to abort, so that charges are given
    /// back.
    Aborted { cause: AbortCause, certified: bool },
}

/// How the setup of an epoch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SetupEnd {
    /// An epoch of `agents`; `excluded` are left out. Its first round gave their exact sum.
    Ready { agents: Vec<usize>, excluded: Vec<usize> },
    /// No epoch.
    Failed { blamed: Vec<usize> },
}

struct Seat {
    identity: Arc<agent::Identity>,
    machine: agent::Machine,
    rng: ChaCha20Rng,
    present: bool,
    leaves: Option<Step>,
    /// How the round ended in the eyes of the agent.
    ends: Vec<AgentEnd>,
    /// Abort certificates that it verified.
    given_back: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum AgentEnd {
    Done { contributed: bool },
    Aborted(agent::RoundEnd),
}

enum Event {
    ToAgent(usize, ToAgent),
    ToCoordinator(usize, ToCoordinator),
    Upload(usize, Signed<MaskedHeader>, Vec<u8>),
}

pub(super) struct Room {
    federation: Federation,
    index: BTreeMap<AgentId, usize>,
    coordinator: coordinator::Machine,
    seats: Vec<Seat>,
    queue: VecDeque<Event>,
    now_ms: u64,
    oracle: Oracle,
    modulus_bits: u8,
    round_end: Option<RoundEnd>,
    setup_end: Option<SetupEnd>,
}

impl Room {
    pub(super) fn new(agents: usize) -> Result<Self, Failure> {
        let mut federation = Federation::new(agents as u64, agents)?;
        // The noise is not at stake here, and rational arithmetic would take most of the time.
        federation.mechanism = Mechanism::Unprotected;
        let config = federation.config(Epoch(0), RoundNumber(0));
        let identities = federation.identities.iter().enumerate();
        let memo = Arc::new(VerifiedMemo::new());
        let seats = identities
            .map(|(index, identity)| Seat {
                identity: identity.clone(),
                machine: agent::Machine::new(identity.clone(), None, None)
                    .share_verified(memo.clone()),
                rng: ChaCha20Rng::seed_from_u64(index as u64),
                present: false,
                leaves: None,
                ends: Vec::new(),
                given_back: 0,
            })
            .collect();
        let names = federation.agents.iter().cloned();
        let floors = Floors { rule: federation.rule.clone(), liars: BTreeSet::new() };
        Ok(Self {
            index: names.zip(0..).collect(),
            coordinator: coordinator::Machine::new(config),
            federation,
            seats,
            queue: VecDeque::new(),
            now_ms: START_MS,
            oracle: Oracle::new(floors),
            modulus_bits: 0,
            round_end: None,
            setup_end: None,
        })
    }

    pub(super) fn rule(&self) -> CohortRule {
        self.federation.rule.clone()
    }

    /// Plays one round in which agents leave as `fates` say. They come back afterwards, with
    /// their keys.
    pub(super) fn round(&mut self, fates: &[Option<Step>]) -> Result<RoundEnd, Failure> {
        self.gather(&vec![None; fates.len()])?;
        if self.coordinator.next_key_index().is_none() {
            // No session outlives its epoch: of what was seen in it only the aborts are kept, whose
            // certificates are sent again on later connections.
            self.oracle = self.oracle.after_epoch();
            self.open_epoch(ROUNDS_PER_EPOCH_MAX as u16)?;
        }
        self.gather(fates)?;
        let end = self.open_round()?;
        self.everybody_knows(&end)?;
        self.gather(&vec![None; fates.len()])?;
        self.at_rest()?;
        Ok(end)
    }

    /// Sets up an epoch while agents leave as `fates` say, and plays a round with the rest.
    pub(super) fn setup(&mut self, fates: &[Option<Step>]) -> Result<SetupEnd, Failure> {
        self.gather(fates)?;
        let end = self.open_epoch(1)?;
        if let SetupEnd::Ready { agents, .. } = &end {
            let sum = self.open_round()?;
            if sum != (RoundEnd::Sum { survivors: agents.clone() }) {
                return Err(broken(format!("the epoch's round ended with {sum:?}")));
            }
            self.everybody_knows(&sum)?;
        }
        self.gather(&vec![None; fates.len()])?;
        self.at_rest()?;
        Ok(end)
    }

    /// Everybody who is not here comes in, and takes note of its fate.
    fn gather(&mut self, fates: &[Option<Step>]) -> Result<(), Failure> {
        for (index, fate) in fates.iter().enumerate() {
            self.seats[index].leaves = *fate;
            if !self.seats[index].present {
                self.seats[index].present = true;
                let agent = self.federation.agents[index].clone();
                self.coordinator.connected(&agent, Some(tls_key(&agent)));
                let hello = self.seats[index].machine.hello(None);
                self.send_to_coordinator(index, hello)?;
            }
        }
        self.drain()
    }

    fn leave(&mut self, index: usize) -> Result<(), Failure> {
        self.seats[index].present = false;
        self.queue.retain(|event| match event {
            Event::ToAgent(agent, _)
            | Event::ToCoordinator(agent, _)
            | Event::Upload(agent, _, _) => *agent != index,
        });
        let agent = self.federation.agents[index].clone();
        let actions = self.coordinator.disconnected(&agent, self.now_ms);
        self.carry_out(actions)
    }

    fn open_epoch(&mut self, rounds: u16) -> Result<SetupEnd, Failure> {
        self.setup_end = None;
        let everybody = self.federation.agents.iter().cloned().collect();
        let actions =
            self.coordinator.open_epoch(everybody, rounds, self.now_ms).map_err(broken)?;
        self.carry_out(actions)?;
        self.settle()?;
        self.setup_end.take().ok_or_else(|| broken("an epoch neither came to be nor failed"))
    }

    fn open_round(&mut self) -> Result<RoundEnd, Failure> {
        self.round_end = None;
        for seat in &mut self.seats {
            seat.ends.clear();
            seat.given_back = 0;
        }
        let missing = || broken("no epoch is ready");
        let epoch = self.coordinator.epoch().ok_or_else(missing)?.epoch();
        let key_index = self.coordinator.next_key_index().ok_or_else(missing)?;
        let round = RoundNumber(self.coordinator.last_round().0 + 1);
        let model = Digest::plain(&round.0.to_be_bytes());
        let spec = self.federation.spec(epoch, round, key_index, model);
        let actions = self.coordinator.open_round(&spec, self.now_ms).map_err(broken)?;
        self.carry_out(actions)?;
        self.settle()?;
        self.round_end.take().ok_or(Failure::Ended { round, times: 0 })
    }

    /// Delivers messages and lets deadlines pass until the coordinator waits for nothing.
    fn settle(&mut self) -> Result<(), Failure> {
        for _ in 0..DEADLINES_MAX {
            self.drain()?;
            let Some(next_ms) = self.coordinator.poll_deadline(self.now_ms) else {
                return Ok(());
            };
            self.now_ms = self.now_ms.max(next_ms);
            let actions = self.coordinator.tick(self.now_ms);
            self.carry_out(actions)?;
        }
        Err(Failure::Endless { steps: DEADLINES_MAX })
    }

    fn drain(&mut self) -> Result<(), Failure> {
        while let Some(event) = self.queue.pop_front() {
            match event {
                Event::ToAgent(index, message) => {
                    let seat = &mut self.seats[index];
                    let handled = seat.machine.handle(message, self.now_ms, &mut seat.rng);
                    let actions = handled.map_err(broken)?;
                    self.carry_out_at(index, actions)?;
                }
                Event::ToCoordinator(index, message) => {
                    let last = matches!(message, ToCoordinator::Reveal(_));
                    let agent = self.federation.agents[index].clone();
                    let actions = self.coordinator.handle(&agent, message, self.now_ms);
                    self.carry_out(actions)?;
                    if last && self.seats[index].leaves == Some(Step::Result) {
                        self.leave(index)?;
                    }
                }
                Event::Upload(index, header, bytes) => {
                    let agent = self.federation.agents[index].clone();
                    let actions = self.coordinator.upload(
                        &agent,
                        &header,
                        &chorale_wire::Hashed::of(bytes),
                        self.now_ms,
                    );
                    self.carry_out(actions)?;
                }
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, actions: Vec<coordinator::Action>) -> Result<(), Failure> {
        for action in actions {
            match action {
                coordinator::Action::Send(agent, message) => {
                    let index = self.seat_of(&agent)?;
                    if self.seats[index].present {
                        self.queue.push_back(Event::ToAgent(index, message));
                    }
                }
                coordinator::Action::Broadcast(agents, message) => {
                    for agent in agents {
                        let index = self.seat_of(&agent)?;
                        if self.seats[index].present {
                            self.queue.push_back(Event::ToAgent(index, message.clone()));
                        }
                    }
                }
                coordinator::Action::SendEach(letters) => {
                    for (agent, message) in letters.iter() {
                        let index = self.seat_of(agent)?;
                        if self.seats[index].present {
                            self.queue.push_back(Event::ToAgent(index, message));
                        }
                    }
                }
                coordinator::Action::EpochReady { agents, excluded, graph_seed, .. } => {
                    if let Some(roster) = self.coordinator.epoch() {
                        self.oracle.shared(roster, graph_seed);
                    }
                    let agents = self.seats_of(agents.iter())?;
                    let excluded = self.seats_of(excluded.iter().map(|(agent, _)| agent))?;
                    self.setup_end = Some(SetupEnd::Ready { agents, excluded });
                }
                coordinator::Action::EpochFailed { blamed, .. } => {
                    let blamed = self.seats_of(blamed.iter().map(|(agent, _)| agent))?;
                    self.setup_end = Some(SetupEnd::Failed { blamed });
                }
                coordinator::Action::RoundComplete(completed) => self.complete(&completed)?,
                coordinator::Action::RoundAborted { round, cause, blamed, certificate, .. } => {
                    if let Some((agent, what)) = blamed.into_iter().next() {
                        return Err(Failure::Blamed { agent, what });
                    }
                    self.oracle.end(round)?;
                    let certified = certificate.is_some();
                    if let Some(proof) = certificate {
                        self.oracle.abort_recorded(proof.session)?;
                    }
                    self.round_end = Some(RoundEnd::Aborted { cause, certified });
                }
                coordinator::Action::Fault(fault) => {
                    let (agent, what) = (fault.agent, fault.kind.to_string());
                    return Err(Failure::Blamed { agent, what });
                }
                coordinator::Action::EpochStarted { .. }
                | coordinator::Action::CohortFixed { .. }
                | coordinator::Action::Refused { .. }
                | coordinator::Action::HeadCosigned(_)
                | coordinator::Action::HeadWanted { .. } => {}
            }
        }
        Ok(())
    }

    fn complete(&mut self, completed: &coordinator::Completed) -> Result<(), Failure> {
        self.oracle.completed(completed, self.modulus_bits)?;
        let survivors = self.seats_of(completed.agents.iter())?;
        self.round_end = Some(RoundEnd::Sum { survivors });
        let model = Digest::plain(b"model");
        let actions = self.coordinator.conclude(model, 1, model);
        self.carry_out(actions)
    }

    fn carry_out_at(&mut self, index: usize, actions: Vec<agent::Action>) -> Result<(), Failure> {
        let mut seen = None;
        for action in actions {
            match action {
                agent::Action::Remember(agent::Fact::CohortSeen { cohort, .. }) => {
                    seen = Some(cohort);
                }
                agent::Action::Send(message) => self.send_to_coordinator(index, message)?,
                agent::Action::Train { .. } => {
                    let actions = self.seats[index].machine.ready().map_err(broken)?;
                    self.carry_out_at(index, actions)?;
                }
                agent::Action::Contribute { ticket, spec, session, derived, .. } => {
                    self.modulus_bits = derived.modulus_bits;
                    if self.seats[index].leaves == Some(Step::Vector) {
                        self.leave(index)?;
                        continue;
                    }
                    let values = values(index, spec.round);
                    let packed = ticket.mask(Zeroizing::new(values.clone())).map_err(broken)?;
                    let agent = &self.seats[index].identity.agent;
                    let digest = packed.digest();
                    let cohort = seen.take().ok_or_else(|| broken("a session without a cohort"))?;
                    let locked = (session, cohort);
                    self.oracle.contributed(agent, &spec, locked, digest, values)?;
                    let bytes = packed.into_bytes();
                    let machine = &mut self.seats[index].machine;
                    let header = machine.masked(digest, bytes.len() as u64).map_err(broken)?;
                    self.queue.push_back(Event::Upload(index, header, bytes));
                }
                agent::Action::RoundDone(outcome) => {
                    let contributed = outcome.contributed;
                    self.seats[index].ends.push(AgentEnd::Done { contributed });
                }
                agent::Action::RoundAborted { end, .. } => {
                    self.seats[index].ends.push(AgentEnd::Aborted(end));
                }
                agent::Action::AbortCertified(proof) => {
                    let seat = &mut self.seats[index];
                    self.oracle.given_back(&seat.identity.agent, proof.session())?;
                    seat.given_back += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn send_to_coordinator(&mut self, index: usize, message: ToCoordinator) -> Result<(), Failure> {
        if self.seats[index].leaves.is_some_and(|step| Some(step) == step_of(&message)) {
            return self.leave(index);
        }
        self.oracle.said(&self.seats[index].identity.agent, &message)?;
        if self.seats[index].present {
            self.queue.push_back(Event::ToCoordinator(index, message));
        }
        Ok(())
    }

    /// Whoever stayed learned how the round ended, once.
    fn everybody_knows(&self, end: &RoundEnd) -> Result<(), Failure> {
        let expected = match end {
            RoundEnd::Sum { .. } => AgentEnd::Done { contributed: true },
            RoundEnd::Aborted { cause, .. } => AgentEnd::Aborted(agent::RoundEnd::Aborted(*cause)),
        };
        let certificates = usize::from(matches!(end, RoundEnd::Aborted { certified: true, .. }));
        for seat in self.seats.iter().filter(|seat| seat.present) {
            let Seat { ends, given_back, identity, .. } = seat;
            if ends.len() != 1 || ends[0] != expected || *given_back != certificates {
                let agent = &identity.agent;
                let what = format!("{agent} learned {ends:?} of {end:?}, refunds: {given_back}");
                return Err(broken(what));
            }
        }
        Ok(())
    }

    /// No round is in progress anywhere.
    fn at_rest(&self) -> Result<(), Failure> {
        for seat in &self.seats {
            if seat.machine.round().is_some() {
                let who = seat.identity.agent.to_string();
                return Err(Failure::Restless { who, phase: seat.machine.phase() });
            }
        }
        Ok(())
    }

    fn seats_of<'a>(
        &self,
        agents: impl Iterator<Item = &'a AgentId>,
    ) -> Result<Vec<usize>, Failure> {
        let mut seats = agents.map(|agent| self.seat_of(agent)).collect::<Result<Vec<_>, _>>()?;
        seats.sort_unstable();
        Ok(seats)
    }

    fn seat_of(&self, agent: &AgentId) -> Result<usize, Failure> {
        let unknown = || broken(format!("{agent} is not in this federation"));
        self.index.get(agent).copied().ok_or_else(unknown)
    }
}

/// The step that a message is.
fn step_of(message: &ToCoordinator) -> Option<Step> {
    match message {
        ToCoordinator::Advert(_) => Some(Step::Advert),
        ToCoordinator::RosterVote(_) => Some(Step::RosterVote),
        ToCoordinator::Shares(_) => Some(Step::Deal),
        ToCoordinator::SharesAccepted(_) => Some(Step::Accept),
        ToCoordinator::Ready(_) => Some(Step::Ready),
        ToCoordinator::SurvivorVote(_) => Some(Step::Vote),
        ToCoordinator::Reveal(_) => Some(Step::Reveal),
        _ => None,
    }
}

/// What an agent contributes: different for every agent, round and coordinate, of either sign.
fn values(index: usize, round: RoundNumber) -> Vec<i64> {
    let (agent, round) = (index as i64 + 1, (round.0 % 1_000) as i64);
    (0..COORDINATES as i64).map(|place| agent * 1_009 * (place - 5) + 31 * round - place).collect()
}
