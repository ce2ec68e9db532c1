//! The machine that a driver feeds, and what all phases share.

use std::{collections::BTreeSet, sync::Arc};

use chorale_plan::RoundSpec;
use chorale_wire::{
    AgentId, Digest, Epoch, Message, PublicKey, RoundNumber, SessionId, Signed, Slot, SlotSet,
    ToAgent, ToCoordinator,
    limits::ROUNDS_PER_EPOCH_MAX,
    message::{
        Abort, AbortCause, Hello, MaskedHeader, Reason, Refusal, RefusalCode, SurvivorVote, Waiting,
    },
};

use super::{
    accept::Accepting,
    advertise::Advertising,
    agree::Agreeing,
    collect::Collecting,
    conclude::Concluding,
    config::CoordinatorConfig,
    contribution::{ContributionError, ReceivedContribution, Receiving},
    deal::Dealing,
    fault::{Fault, FaultKind, OpenEpochError, OpenRoundError},
    gather::Gathering,
    peers::Peers,
    reveal::Revealing,
    roster::RosterVoting,
    setup::Setup,
};
use crate::{context::Context, roster::VerifiedRoster};

/// What the driver must do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Send a message. It may get lost with the connection: what matters is sent again when the
    /// agent says hello.
    Send(AgentId, ToAgent),
    /// An attempt to set up an epoch uses this number. Store it durably before carrying out the
    /// actions that follow, so that no epoch number is ever used twice.
    EpochStarted {
        /// The number.
        epoch: Epoch,
    },
    /// An epoch is ready for rounds.
    EpochReady {
        /// The epoch.
        epoch: Epoch,
        /// Its agents in slot order.
        agents: Vec<AgentId>,
        /// Digest of the roster.
        roster: Digest,
        /// Digest of the roster and all nonces; sessions bind it.
        graph_seed: Digest,
        /// Invited agents that are not in it, and why.
        excluded: Vec<(AgentId, String)>,
    },
    /// No epoch could be set up.
    EpochFailed {
        /// The last number tried; `Epoch(0)` when none was.
        epoch: Epoch,
        /// Why.
        reason: String,
        /// Agents that were left out, and why.
        blamed: Vec<(AgentId, String)>,
    },
    /// An agent does not take part in the round.
    Refused {
        /// The agent.
        agent: AgentId,
        /// The round.
        round: RoundNumber,
        /// What kind of refusal.
        code: RefusalCode,
        /// The agent's words.
        reason: Reason,
    },
    /// The cohort is fixed.
    CohortFixed {
        /// The round.
        round: RoundNumber,
        /// Agents in the cohort.
        agents: Vec<AgentId>,
    },
    /// The totals are known. Update model and ledger, then call [`Machine::conclude`].
    RoundComplete(Box<Completed>),
    /// The round ended without a result.
    RoundAborted {
        /// The round.
        round: RoundNumber,
        /// Why.
        cause: AbortCause,
        /// Why, for people.
        reason: String,
        /// Agents to blame, where they are known, and for what.
        blamed: Vec<(AgentId, String)>,
        /// Whether a certificate left the coordinator, so that shares may be known.
        unmask_started: bool,
    },
    /// A message was dropped.
    Fault(Fault),
}

/// A completed round.
#[derive(Clone, PartialEq)]
pub struct Completed {
    /// The session.
    pub session: SessionId,
    /// The epoch.
    pub epoch: Epoch,
    /// The round.
    pub round: RoundNumber,
    /// Payload digest of the signed round spec.
    pub spec: Digest,
    /// Digest of session, cohort, survivors, vectors and votes.
    pub transcript: Digest,
    /// Agents whose masks were in play.
    pub cohort: SlotSet,
    /// Agents whose vectors are in the totals.
    pub survivors: SlotSet,
    /// The survivors by name, in slot order.
    pub agents: Vec<AgentId>,
    /// Plain SHA-256 of each survivor's packed vector, in slot order.
    pub vector_digests: Vec<Digest>,
    /// The survivors' votes, in slot order.
    pub votes: Vec<Signed<SurvivorVote>>,
    /// The sum of the survivors' vectors in lattice units, noise included.
    pub totals: Vec<i64>,
}

impl std::fmt::Debug for Completed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Completed")
            .field("round", &self.round)
            .field("session", &self.session)
            .field("cohort", &self.cohort)
            .field("survivors", &self.survivors)
            .field("coordinates", &self.totals.len())
            .finish_non_exhaustive()
    }
}

/// The coordinator's side of the protocol. See [`super`] for the call order.
#[derive(Debug)]
pub struct Machine {
    desk: Desk,
    stage: Stage,
}

impl Machine {
    /// A machine that knows no agent and has no epoch.
    #[must_use]
    pub fn new(config: CoordinatorConfig) -> Self {
        Self {
            desk: Desk {
                peers: Peers::new(config.timeouts.reconnect_grace_ms),
                last_epoch: config.last_epoch,
                last_round: config.last_round,
                config,
                actions: Vec::new(),
            },
            stage: Stage::Idle,
        }
    }

    /// A connection of `agent` stands; a newer one replaces an older one. `tls_key` is the
    /// SHA-256 of the connection's `SubjectPublicKeyInfo`, which the agent's membership must name;
    /// `None` only where there is no TLS, in tests. Messages flow after its `Hello`.
    pub fn connected(&mut self, agent: &AgentId, tls_key: Option<Digest>) {
        self.desk.peers.connected(agent.clone(), tls_key);
    }

    /// The connection of `agent` broke.
    pub fn disconnected(&mut self, agent: &AgentId, now_ms: u64) -> Vec<Action> {
        self.desk.peers.disconnected(agent, now_ms);
        self.advance(now_ms)
    }

    /// A message of `agent`, whom the transport has authenticated.
    pub fn handle(&mut self, agent: &AgentId, message: ToCoordinator, now_ms: u64) -> Vec<Action> {
        if let Err(kind) = self.dispatch(agent, message, now_ms) {
            self.desk.fault(agent, kind);
        }
        self.advance(now_ms)
    }

    /// What vectors are checked against, while a round collects them.
    #[must_use]
    pub fn receiving(&self) -> Option<Receiving> {
        match &self.stage {
            Stage::Collecting(collecting) => Some(collecting.receiving()),
            _ => None,
        }
    }

    /// A masked vector that was checked.
    pub fn vector(&mut self, received: &ReceivedContribution, now_ms: u64) -> Vec<Action> {
        // A deadline that has passed is honoured even if nobody ticked: late vectors are refused.
        self.step(now_ms);
        let taken = match &mut self.stage {
            Stage::Collecting(collecting) => collecting.on_vector(received),
            _ => Err(ContributionError::Late),
        };
        if let Err(error) = taken {
            let kind = FaultKind::Contribution(error);
            self.desk.fault(received.agent(), kind);
        }
        self.advance(now_ms)
    }

    /// A masked vector as it arrived: [`ReceivedContribution::parse`] and [`Self::vector`].
    pub fn upload(
        &mut self,
        agent: &AgentId,
        header: &Signed<MaskedHeader>,
        bytes: Vec<u8>,
        now_ms: u64,
    ) -> Vec<Action> {
        let parsed = match self.receiving() {
            Some(receiving) => ReceivedContribution::parse(agent, header, bytes, &receiving),
            None => Err(ContributionError::Late),
        };
        match parsed {
            Ok(received) => self.vector(&received, now_ms),
            Err(error) => {
                self.desk.fault(agent, FaultKind::Contribution(error));
                self.advance(now_ms)
            }
        }
    }

    /// Begins to set up an epoch of `rounds` rounds among `agents`. An epoch without a round in
    /// progress is given up for it.
    ///
    /// # Errors
    /// [`OpenEpochError`]; nothing has happened then.
    pub fn open_epoch(
        &mut self,
        agents: BTreeSet<AgentId>,
        rounds: u16,
        now_ms: u64,
    ) -> Result<Vec<Action>, OpenEpochError> {
        if !matches!(self.stage, Stage::Idle | Stage::Between(_)) {
            let phase = self.stage.name();
            return Err(OpenEpochError::Busy { phase });
        }
        if rounds == 0 || usize::from(rounds) > ROUNDS_PER_EPOCH_MAX {
            return Err(OpenEpochError::Rounds { rounds });
        }
        if self.desk.last_epoch.0 == u64::MAX {
            return Err(OpenEpochError::Exhausted);
        }
        let rule = &self.desk.config.rule;
        rule.check(agents.len() as u32).map_err(|error| OpenEpochError::Agents {
            agents: agents.len(),
            reason: error.to_string(),
        })?;
        self.void_epoch("a new epoch begins");
        self.stage = Setup::begin(agents, rounds, &mut self.desk, now_ms);
        Ok(self.advance(now_ms))
    }

    /// Begins a round. `spec` must name the current epoch ([`Self::epoch`]), a new round number
    /// and the next unused key ([`Self::next_key_index`]).
    ///
    /// # Errors
    /// [`OpenRoundError`]; nothing has happened then.
    pub fn open_round(
        &mut self,
        spec: &RoundSpec,
        now_ms: u64,
    ) -> Result<Vec<Action>, OpenRoundError> {
        let Stage::Between(epoch) = &self.stage else {
            let phase = self.stage.name();
            return Err(OpenRoundError::Busy { phase });
        };
        if spec.round <= self.desk.last_round {
            return Err(OpenRoundError::Round { round: spec.round, last: self.desk.last_round });
        }
        if epoch.next_key >= epoch.roster.rounds() {
            let epoch = epoch.roster.epoch();
            return Err(OpenRoundError::UsedUp { epoch });
        }
        if usize::from(spec.key_index) != epoch.next_key {
            return Err(OpenRoundError::KeyIndex {
                epoch: epoch.roster.epoch(),
                given: spec.key_index,
                expected: epoch.next_key,
            });
        }
        if spec.plan.cohort != self.desk.config.rule {
            return Err(OpenRoundError::Rule);
        }
        let key = &self.desk.config.key;
        let signed = Signed::sign(spec, key)?;
        let verified = signed.verify(&key.public())?;
        let federation = &self.desk.config.federation;
        let context = Context::new(federation, epoch.roster.clone(), epoch.seed, verified)?;
        self.desk.last_round = spec.round;
        if let Stage::Between(mut epoch) = std::mem::replace(&mut self.stage, Stage::Idle) {
            epoch.next_key += 1;
            epoch.last_end = None;
            let open = signed.into_bytes();
            self.stage =
                Stage::Gathering(Gathering::open(epoch, context, open, &mut self.desk, now_ms));
        }
        Ok(self.advance(now_ms))
    }

    /// Tells the agents the result of the completed round: the new model's digest and the ledger
    /// head after the RELEASE entry. Without a completed round nothing happens.
    pub fn conclude(
        &mut self,
        model: Digest,
        ledger_sequence: u64,
        ledger_head: Digest,
    ) -> Vec<Action> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Concluding(concluding) => {
                concluding.close(model, ledger_sequence, ledger_head, &mut self.desk)
            }
            other => other,
        };
        self.desk.take_actions()
    }

    /// Stops the round in progress, also a completed one that was not concluded. Without a round
    /// nothing happens.
    pub fn abort_round(&mut self, reason: &str) -> Vec<Action> {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        self.stage = match stage.into_round() {
            Ok(round) => {
                round.abort(AbortCause::Stopped, reason.to_string(), Vec::new(), &mut self.desk)
            }
            Err(stage) => *stage,
        };
        self.desk.take_actions()
    }

    /// Ends the programme: every connected agent is told the last round and the final model, and
    /// the epoch's keys are no longer used.
    pub fn finish(&mut self, model: Digest) -> Vec<Action> {
        let agents: Vec<AgentId> = self.desk.peers.reachable_agents().cloned().collect();
        for agent in agents {
            let finished = ToAgent::Finished { round: self.desk.last_round, model };
            self.desk.send(&agent, finished);
        }
        self.desk.take_actions()
    }

    /// Time passes. Due at [`Self::poll_deadline`].
    pub fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        self.advance(now_ms)
    }

    /// The next moment, in Unix milliseconds, at which [`Self::tick`] has something to do.
    #[must_use]
    pub fn poll_deadline(&self, now_ms: u64) -> Option<u64> {
        let deadline_ms = self.stage.deadline_ms()?;
        let grace_ms = self.desk.peers.next_grace_end_ms(now_ms);
        Some(grace_ms.map_or(deadline_ms, |grace_ms| grace_ms.min(deadline_ms)))
    }

    /// The epoch that is ready, with its agents in slot order; `None` while there is none.
    #[must_use]
    pub fn epoch(&self) -> Option<&VerifiedRoster> {
        self.stage.epoch_state().map(|epoch| &*epoch.roster)
    }

    /// The epoch's next unused key; `None` when no epoch is ready or its keys are used up.
    #[must_use]
    pub fn next_key_index(&self) -> Option<u16> {
        let epoch = self.stage.epoch_state()?;
        (epoch.next_key < epoch.roster.rounds()).then_some(epoch.next_key as u16)
    }

    /// Agents of the ready epoch that are connected and hold their keys: who can be in the next
    /// cohort.
    pub fn able_agents(&self) -> impl Iterator<Item = &AgentId> {
        let epoch = self.stage.epoch_state();
        epoch.into_iter().flat_map(|epoch| {
            let slots = epoch.roster.slots().zip(epoch.roster.agent_ids());
            slots
                .filter(|(slot, agent)| {
                    !epoch.lost.contains(slot) && self.desk.peers.reachable(agent)
                })
                .map(|(_, agent)| agent)
        })
    }

    /// Agents that are connected and have said hello.
    pub fn connected_agents(&self) -> impl Iterator<Item = &AgentId> {
        self.desk.peers.reachable_agents()
    }

    /// The highest round number used so far.
    #[must_use]
    pub fn last_round(&self) -> RoundNumber {
        self.desk.last_round
    }

    /// What the machine is doing, for people to read.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        self.stage.name()
    }

    fn void_epoch(&mut self, reason: &str) {
        if let Stage::Between(epoch) = std::mem::replace(&mut self.stage, Stage::Idle) {
            for agent in epoch.roster.agent_ids() {
                let void =
                    ToAgent::EpochVoid { epoch: epoch.roster.epoch(), reason: Reason::new(reason) };
                self.desk.send(agent, void);
            }
        }
    }

    fn advance(&mut self, now_ms: u64) -> Vec<Action> {
        self.step(now_ms);
        self.desk.take_actions()
    }

    /// Closes phases that have all answers, or whose time is over. Every phase that opens sends
    /// something and waits, or fails; restarts are bounded: the loop ends.
    fn step(&mut self, now_ms: u64) {
        while self.stage.is_due(&self.desk, now_ms) {
            let stage = std::mem::replace(&mut self.stage, Stage::Idle);
            self.stage = stage.close(&mut self.desk, now_ms);
        }
    }

    fn dispatch(
        &mut self,
        agent: &AgentId,
        message: ToCoordinator,
        now_ms: u64,
    ) -> Result<(), FaultKind> {
        let kind = message_name(&message);
        let message = match message {
            ToCoordinator::Hello(hello) => return self.on_hello(agent, &hello),
            other => other,
        };
        if !self.desk.peers.reachable(agent) {
            return Err(FaultKind::BeforeHello { message: kind });
        }
        // A deadline that has passed is honoured even if nobody ticked.
        self.step(now_ms);
        let slot = self.stage.slot_of(agent);
        let part = || slot.ok_or(FaultKind::NoPart);
        let desk = &mut self.desk;
        match (&mut self.stage, message) {
            (Stage::Advertising(stage), ToCoordinator::Advert(advert)) => {
                stage.on_advert(agent, advert, desk, now_ms)
            }
            (Stage::RosterVoting(stage), ToCoordinator::RosterVote(vote)) => {
                stage.on_vote(part()?, vote, desk)
            }
            (Stage::Dealing(stage), ToCoordinator::Shares(shares)) => {
                stage.on_shares(part()?, shares)
            }
            (Stage::Accepting(stage), ToCoordinator::SharesAccepted(epoch)) => {
                stage.on_accepted(part()?, epoch)
            }
            (Stage::Accepting(stage), ToCoordinator::Complaint(complaint)) => {
                stage.on_complaint(part()?, &complaint)
            }
            (Stage::Gathering(stage), ToCoordinator::Ready(ready)) => {
                stage.on_ready(part()?, &ready)
            }
            (Stage::Gathering(stage), ToCoordinator::Refusal(refusal)) => {
                stage.on_refusal(part()?, &refusal, desk)
            }
            (Stage::Collecting(stage), ToCoordinator::Refusal(refusal)) => {
                stage.on_refusal(part()?, &refusal, desk)
            }
            (Stage::Agreeing(stage), ToCoordinator::SurvivorVote(vote)) => {
                stage.on_vote(part()?, vote)
            }
            (Stage::Revealing(stage), ToCoordinator::Reveal(reveal)) => {
                stage.on_reveal(part()?, &reveal)
            }
            (stage, _) => Err(FaultKind::OutOfPhase { message: kind, phase: stage.name() }),
        }
    }

    /// A (re)connected agent gets again what it needs for the current phase.
    fn on_hello(&mut self, agent: &AgentId, hello: &Hello) -> Result<(), FaultKind> {
        if hello.agent != *agent || hello.federation != self.desk.config.federation {
            return Err(FaultKind::Hello);
        }
        self.desk.peers.hello(hello);
        if !self.desk.peers.reachable(agent) {
            return Err(FaultKind::BeforeHello { message: "Hello" });
        }
        let keys = self.stage.epoch_number().is_some() && hello.epoch == self.stage.epoch_number();
        self.stage.resume(agent, keys, &mut self.desk);
        Ok(())
    }
}

/// What every phase can reach: configuration, connections and the list of actions.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) config: CoordinatorConfig,
    pub(super) peers: Peers,
    pub(super) last_epoch: Epoch,
    last_round: RoundNumber,
    actions: Vec<Action>,
}

impl Desk {
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Sends to an agent that is there; to others it is sent when they say hello.
    pub(super) fn send(&mut self, agent: &AgentId, message: ToAgent) {
        if self.peers.reachable(agent) {
            self.act(Action::Send(agent.clone(), message));
        }
    }

    pub(super) fn waiting(&mut self, agent: &AgentId, what: &str) {
        let what = Reason::new(what);
        self.send(agent, ToAgent::Waiting(Waiting { what }));
    }

    pub(super) fn fault(&mut self, agent: &AgentId, kind: FaultKind) {
        let agent = agent.clone();
        self.act(Action::Fault(Fault { agent, kind }));
    }

    /// Signs one of the coordinator's small messages; `None` when it does not fit its limit.
    pub(super) fn sign<T: Message>(&self, message: &T) -> Option<Signed<T>> {
        Signed::sign(message, &self.config.key).ok()
    }

    fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}

/// An epoch whose keys are in place.
#[derive(Debug)]
pub(super) struct EpochState {
    pub(super) roster: Arc<VerifiedRoster>,
    pub(super) seed: Digest,
    next_key: usize,
    /// Agents that restarted and thus lost their keys.
    pub(super) lost: BTreeSet<Slot>,
    /// How the last round ended, for agents that missed it.
    pub(super) last_end: Option<ToAgent>,
}

impl EpochState {
    pub(super) fn new(roster: Arc<VerifiedRoster>, seed: Digest) -> Self {
        Self { roster, seed, next_key: 0, lost: BTreeSet::new(), last_end: None }
    }
}

/// A round in progress, in whatever phase.
#[derive(Debug)]
pub(super) struct InRound {
    pub(super) epoch: EpochState,
    pub(super) context: Context,
    refused: BTreeSet<Slot>,
    pub(super) unmask_started: bool,
}

impl InRound {
    pub(super) fn new(epoch: EpochState, context: Context) -> Self {
        Self { epoch, context, refused: BTreeSet::new(), unmask_started: false }
    }

    pub(super) fn identity(&self, slot: Slot) -> Result<PublicKey, FaultKind> {
        let entry = self.context.roster.entry(slot).ok_or(FaultKind::NoPart)?;
        Ok(entry.identity)
    }

    /// Whether the agent refused or lost its keys.
    pub(super) fn is_out(&self, slot: Slot) -> bool {
        self.refused.contains(&slot) || self.epoch.lost.contains(&slot)
    }

    /// Whether each of `slots` has answered or cannot answer any more.
    pub(super) fn all_settled(
        &self,
        mut slots: impl Iterator<Item = Slot>,
        desk: &Desk,
        now_ms: u64,
        answered: impl Fn(Slot) -> bool,
    ) -> bool {
        slots.all(|slot| {
            let entry = self.context.roster.entry(slot);
            answered(slot)
                || self.is_out(slot)
                || !entry.is_some_and(|entry| desk.peers.worth_waiting_for(&entry.agent, now_ms))
        })
    }

    pub(super) fn send(&self, slot: Slot, message: ToAgent, desk: &mut Desk) {
        if let Some(entry) = self.context.roster.entry(slot)
            && !self.epoch.lost.contains(&slot)
        {
            desk.send(&entry.agent, message);
        }
    }

    pub(super) fn send_to_all(&self, desk: &mut Desk, message: &ToAgent) {
        for slot in self.context.roster.slots() {
            self.send(slot, message.clone(), desk);
        }
    }

    pub(super) fn send_waiting(&self, slot: Slot, desk: &mut Desk) {
        if let Some(entry) = self.context.roster.entry(slot) {
            let what = format!("round {} goes on without this agent", self.context.round());
            desk.waiting(&entry.agent, &what);
        }
    }

    /// Takes a signed refusal.
    pub(super) fn refuse(
        &mut self,
        slot: Slot,
        signed: &Signed<Refusal>,
        desk: &mut Desk,
    ) -> Result<(), FaultKind> {
        let entry = self.context.roster.entry(slot).ok_or(FaultKind::NoPart)?;
        let refusal = signed
            .verify(&entry.identity)
            .map_err(|source| FaultKind::Signature { message: "refusal", source })?
            .into_inner();
        if refusal.slot != slot
            || refusal.epoch != self.context.roster.epoch()
            || refusal.round != self.context.round()
        {
            return Err(FaultKind::Elsewhere { message: "refusal" });
        }
        if self.refused.insert(slot) {
            desk.act(Action::Refused {
                agent: entry.agent.clone(),
                round: refusal.round,
                code: refusal.code,
                reason: refusal.reason,
            });
        }
        Ok(())
    }

    /// Ends the round without a result and tells everybody.
    pub(super) fn abort(
        mut self,
        cause: AbortCause,
        reason: String,
        blamed: Vec<(AgentId, String)>,
        desk: &mut Desk,
    ) -> Stage {
        let abort = Abort {
            epoch: self.context.roster.epoch(),
            round: self.context.round(),
            cause,
            reason: Reason::new(&reason),
        };
        if let Some(signed) = desk.sign(&abort) {
            let message = ToAgent::Abort(signed);
            self.send_to_all(desk, &message);
            self.epoch.last_end = Some(message);
        }
        desk.act(Action::RoundAborted {
            round: self.context.round(),
            cause,
            reason,
            blamed,
            unmask_started: self.unmask_started,
        });
        Stage::Between(self.epoch)
    }

    pub(super) fn abort_unencodable(self, message: &str, desk: &mut Desk) -> Stage {
        let reason = format!("{message} could not be encoded; this is a defect of the program");
        self.abort(AbortCause::Stopped, reason, Vec::new(), desk)
    }
}

/// The phase at hand.
#[derive(Debug)]
pub(super) enum Stage {
    Idle,
    Advertising(Advertising),
    RosterVoting(RosterVoting),
    Dealing(Dealing),
    Accepting(Accepting),
    Between(EpochState),
    Gathering(Gathering),
    Collecting(Collecting),
    Agreeing(Agreeing),
    Revealing(Revealing),
    Concluding(Concluding),
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Self::Idle => "without an epoch",
            Self::Advertising(_) => "waiting for adverts",
            Self::RosterVoting(_) => "waiting for roster votes",
            Self::Dealing(_) => "waiting for dealt shares",
            Self::Accepting(_) => "waiting for the shares to be accepted",
            Self::Between(_) => "between rounds",
            Self::Gathering(_) => "waiting for agents to be ready",
            Self::Collecting(_) => "waiting for masked vectors",
            Self::Agreeing(_) => "waiting for survivor votes",
            Self::Revealing(_) => "waiting for revealed shares",
            Self::Concluding(_) => "waiting for the model and the ledger",
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Idle | Self::Between(_) | Self::Concluding(_) => None,
            Self::Advertising(stage) => Some(stage.deadline_ms),
            Self::RosterVoting(stage) => Some(stage.deadline_ms),
            Self::Dealing(stage) => Some(stage.deadline_ms),
            Self::Accepting(stage) => Some(stage.deadline_ms),
            Self::Gathering(stage) => Some(stage.deadline_ms),
            Self::Collecting(stage) => Some(stage.deadline_ms),
            Self::Agreeing(stage) => Some(stage.deadline_ms),
            Self::Revealing(stage) => Some(stage.deadline_ms),
        }
    }

    fn is_due(&self, desk: &Desk, now_ms: u64) -> bool {
        let settled = match self {
            Self::Idle | Self::Between(_) | Self::Concluding(_) => return false,
            Self::Advertising(stage) => stage.settled(desk, now_ms),
            Self::RosterVoting(stage) => stage.settled(desk, now_ms),
            Self::Dealing(stage) => stage.settled(desk, now_ms),
            Self::Accepting(stage) => stage.settled(desk, now_ms),
            Self::Gathering(stage) => stage.settled(desk, now_ms),
            Self::Collecting(stage) => stage.settled(desk, now_ms),
            Self::Agreeing(stage) => stage.settled(desk, now_ms),
            Self::Revealing(stage) => stage.settled(desk, now_ms),
        };
        settled || self.deadline_ms().is_some_and(|deadline_ms| now_ms >= deadline_ms)
    }

    fn close(self, desk: &mut Desk, now_ms: u64) -> Self {
        match self {
            Self::Idle | Self::Between(_) | Self::Concluding(_) => self,
            Self::Advertising(stage) => stage.close(desk, now_ms),
            Self::RosterVoting(stage) => stage.close(desk, now_ms),
            Self::Dealing(stage) => stage.close(desk, now_ms),
            Self::Accepting(stage) => stage.close(desk, now_ms),
            Self::Gathering(stage) => stage.close(desk, now_ms),
            Self::Collecting(stage) => stage.close(desk, now_ms),
            Self::Agreeing(stage) => stage.close(desk, now_ms),
            Self::Revealing(stage) => stage.close(desk),
        }
    }

    fn roster(&self) -> Option<&VerifiedRoster> {
        match self {
            Self::Idle | Self::Advertising(_) => None,
            Self::RosterVoting(stage) => Some(&stage.roster),
            Self::Dealing(stage) => Some(&stage.roster),
            Self::Accepting(stage) => Some(&stage.roster),
            other => other.epoch_state().map(|epoch| &*epoch.roster),
        }
    }

    fn slot_of(&self, agent: &AgentId) -> Option<Slot> {
        self.roster()?.slot_of(agent)
    }

    fn epoch_number(&self) -> Option<Epoch> {
        match self {
            Self::Advertising(stage) => Some(stage.epoch()),
            other => other.roster().map(VerifiedRoster::epoch),
        }
    }

    fn epoch_state(&self) -> Option<&EpochState> {
        match self {
            Self::Between(epoch) => Some(epoch),
            other => other.round().map(|round| &round.epoch),
        }
    }

    fn round(&self) -> Option<&InRound> {
        match self {
            Self::Gathering(stage) => Some(&stage.round),
            Self::Collecting(stage) => Some(&stage.round),
            Self::Agreeing(stage) => Some(&stage.round),
            Self::Revealing(stage) => Some(&stage.round),
            Self::Concluding(stage) => Some(stage.round()),
            _ => None,
        }
    }

    fn into_round(self) -> Result<InRound, Box<Self>> {
        match self {
            Self::Gathering(stage) => Ok(stage.round),
            Self::Collecting(stage) => Ok(stage.round),
            Self::Agreeing(stage) => Ok(stage.round),
            Self::Revealing(stage) => Ok(stage.round),
            Self::Concluding(stage) => Ok(stage.into_round()),
            other => Err(Box::new(other)),
        }
    }

    fn lost_mut(&mut self) -> Option<&mut BTreeSet<Slot>> {
        match self {
            Self::Between(epoch) => Some(&mut epoch.lost),
            Self::Gathering(stage) => Some(&mut stage.round.epoch.lost),
            Self::Collecting(stage) => Some(&mut stage.round.epoch.lost),
            Self::Agreeing(stage) => Some(&mut stage.round.epoch.lost),
            Self::Revealing(stage) => Some(&mut stage.round.epoch.lost),
            Self::Concluding(stage) => Some(stage.lost_mut()),
            _ => None,
        }
    }

    /// Sends an agent that said hello what it needs in this phase. `keys` says whether it holds
    /// the keys of the epoch at hand.
    fn resume(&mut self, agent: &AgentId, keys: bool, desk: &mut Desk) {
        if let Self::Advertising(stage) = self {
            return stage.resume(agent, keys, desk);
        }
        let Some(slot) = self.slot_of(agent) else {
            let what = match self {
                Self::Idle => "an epoch to begin",
                _ => "the next epoch; the current one began without this agent",
            };
            return desk.waiting(agent, what);
        };
        if !keys && let Some(lost) = self.lost_mut() {
            lost.insert(slot);
            if let Self::Gathering(stage) = self {
                stage.lose(slot);
            }
            let what = "the next epoch; this agent restarted and lost its keys of the current one";
            return desk.waiting(agent, what);
        }
        match self {
            Self::Idle | Self::Advertising(_) => {}
            Self::RosterVoting(stage) => stage.resume(agent, slot, keys, desk),
            Self::Dealing(stage) => stage.resume(agent, slot, keys, desk),
            Self::Accepting(stage) => stage.resume(agent, slot, keys, desk),
            Self::Between(epoch) => match epoch.last_end.clone() {
                Some(message) => desk.send(agent, message),
                None => desk.waiting(agent, "the next round"),
            },
            Self::Gathering(stage) => stage.resume(slot, desk),
            Self::Collecting(stage) => stage.resume(slot, desk),
            Self::Agreeing(stage) => stage.resume(slot, desk),
            Self::Revealing(stage) => stage.resume(slot, desk),
            Self::Concluding(stage) => stage.round().send_waiting(slot, desk),
        }
    }
}

fn message_name(message: &ToCoordinator) -> &'static str {
    match message {
        ToCoordinator::Hello(_) => "Hello",
        ToCoordinator::Advert(_) => "advert",
        ToCoordinator::RosterVote(_) => "roster vote",
        ToCoordinator::Shares(_) => "share envelopes",
        ToCoordinator::SharesAccepted(_) => "acceptance",
        ToCoordinator::Complaint(_) => "complaint",
        ToCoordinator::Ready(_) => "READY",
        ToCoordinator::Refusal(_) => "refusal",
        ToCoordinator::SurvivorVote(_) => "survivor vote",
        ToCoordinator::Reveal(_) => "REVEAL",
    }
}
