//! The machine that the coordinator's driver feeds.

use std::collections::BTreeSet;

use chorale_plan::RoundSpec;
use chorale_wire::{
    AgentId, Digest, Hashed, RoundNumber, Signed, ToAgent, ToCoordinator,
    limits::ROUNDS_PER_EPOCH_MAX,
    message::{AbortCause, HeadOffer, Hello, MaskedHeader, Reason, Roster, Vote},
};

use super::{
    abort::End,
    action::Action,
    config::CoordinatorConfig,
    contribution::{ContributionError, ReceivedContribution, Receiving},
    desk::Desk,
    fault::{FaultKind, OpenEpochError, OpenRoundError},
    gather::Gathering,
    head::Cosigning,
    peers::Peers,
    setup::Setup,
    stage::Stage,
};
use crate::{
    context::Context,
    roster::{VerifiedRoster, graph_for},
};

/// The coordinator's side of the protocol. See [`super`] for the call order.
#[derive(Debug)]
pub struct Machine {
    desk: Desk,
    stage: Stage,
    /// The head of the ledger that agents are cosigning.
    head: Option<Cosigning>,
}

impl Machine {
    /// A machine that knows no agent and has no epoch.
    #[must_use]
    pub fn new(mut config: CoordinatorConfig) -> Self {
        let certified = std::mem::take(&mut config.certified);
        Self {
            desk: Desk {
                peers: Peers::new(config.timeouts.reconnect_grace_ms),
                last_epoch: config.last_epoch,
                last_round: config.last_round,
                actions: Vec::new(),
                certified: certified.into_iter().rev().collect(),
                config,
            },
            stage: Stage::Idle,
            head: None,
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
    pub fn vector(&mut self, received: &ReceivedContribution<'_>, now_ms: u64) -> Vec<Action> {
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
        vector: &Hashed,
        now_ms: u64,
    ) -> Vec<Action> {
        let parsed = match self.receiving() {
            Some(receiving) => ReceivedContribution::parse(agent, header, vector, &receiving),
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
        graph_for(rule, agents.len() as u32).map_err(OpenEpochError::Graph)?;
        let rounds_max = Roster::rounds_max(agents.len());
        if usize::from(rounds) > rounds_max {
            return Err(OpenEpochError::TooLong { agents: agents.len(), rounds, rounds_max });
        }
        self.void_epoch("a new epoch begins");
        self.desk.peers.forget_roster();
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
        let context =
            Context::new(federation, epoch.roster.clone(), epoch.graph.clone(), verified)?;
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

    /// Asks the agents of the epoch at hand to cosign a head of the ledger, which must be that of a
    /// time when its roster was the latest one. It takes the place of an earlier head. Without an
    /// epoch nothing happens.
    pub fn offer_head(&mut self, offer: HeadOffer) -> Vec<Action> {
        if let Some(epoch) = self.stage.epoch_state() {
            self.head = Some(Cosigning::open(offer, epoch.roster.clone(), &mut self.desk));
        }
        self.desk.take_actions()
    }

    /// Stops the round in progress, also a completed one that was not concluded. Without a round
    /// nothing happens. Where masked vectors may have left and no survivor certificate has, the
    /// agents vote on it first: the round has ended when [`Action::RoundAborted`] comes.
    pub fn abort_round(&mut self, reason: &str, now_ms: u64) -> Vec<Action> {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let end = End::new(AbortCause::Stopped, reason);
        self.stage = stage.abort(end, &mut self.desk, now_ms);
        self.advance(now_ms)
    }

    /// Ends the programme: every connected agent is told the last round and the final model, and
    /// the epoch's keys are no longer used.
    pub fn finish(&mut self, model: Digest) -> Vec<Action> {
        let agents: Vec<AgentId> = self.desk.peers.agents_here().cloned().collect();
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
        self.desk.peers.agents_here()
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
        let message = match (message, &mut self.head) {
            (ToCoordinator::HeadVote(vote), Some(head)) => {
                return head.on_vote(agent, &vote, &mut self.desk);
            }
            (ToCoordinator::HeadFrom(from), Some(head)) => {
                return head.on_behind(agent, from, &mut self.desk);
            }
            (other, _) => other,
        };
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
                stage.on_vote(part()?, &vote, desk)
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
            (Stage::Gathering(stage), ToCoordinator::Refusal(refusal, reason)) => {
                stage.on_refusal(part()?, &refusal, reason, desk)
            }
            (Stage::Collecting(stage), ToCoordinator::Refusal(refusal, reason)) => {
                stage.on_refusal(part()?, &refusal, reason, desk)
            }
            (Stage::Agreeing(stage), ToCoordinator::SurvivorVote(vote)) => {
                stage.on_vote(part()?, &vote)
            }
            (Stage::Aborting(stage), ToCoordinator::SurvivorVote(vote)) => {
                stage.on_vote(part()?, &vote)
            }
            (Stage::Revealing(stage), ToCoordinator::Reveal(reveal)) => {
                stage.on_reveal(part()?, &reveal)
            }
            // One vote more than were needed.
            (Stage::Between(_) | Stage::Gathering(_), ToCoordinator::SurvivorVote(vote))
                if vote.peek().is_ok_and(|vote| vote.vote == Vote::Abort) =>
            {
                Ok(())
            }
            (stage, _) => Err(FaultKind::OutOfPhase { message: kind, phase: stage.name() }),
        }
    }

    /// Whether the agent's connection has another TLS key than the one in its membership in the
    /// roster at hand. Certificates outlive the enrolment that replaced them.
    fn is_foreign(&self, agent: &AgentId) -> bool {
        let entry = self.stage.roster().and_then(|roster| roster.entry(roster.slot_of(agent)?));
        let given = self.desk.peers.tls_key(agent);
        entry.zip(given).is_some_and(|(entry, given)| given != entry.tls_key)
    }

    /// A (re)connected agent gets again what it needs for the current phase.
    fn on_hello(&mut self, agent: &AgentId, hello: &Hello) -> Result<(), FaultKind> {
        if hello.agent != *agent || hello.federation != self.desk.config.federation {
            return Err(FaultKind::Hello);
        }
        let foreign = self.is_foreign(agent);
        self.desk.peers.hello(hello, foreign);
        if foreign {
            // It says nothing about the agent in the roster, whatever it says about its keys.
            return Err(FaultKind::TlsKey);
        }
        if !self.desk.peers.reachable(agent) {
            return Err(FaultKind::BeforeHello { message: "Hello" });
        }
        self.desk.send_certified(agent);
        let keys = self.stage.epoch_number().is_some() && hello.epoch == self.stage.epoch_number();
        self.stage.resume(agent, keys, &mut self.desk);
        if let Some(head) = &mut self.head {
            head.resume(agent, &mut self.desk);
        }
        Ok(())
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
        ToCoordinator::Refusal(..) => "refusal",
        ToCoordinator::SurvivorVote(_) => "survivor vote",
        ToCoordinator::Reveal(_) => "REVEAL",
        ToCoordinator::HeadVote(_) => "cosignature",
        ToCoordinator::HeadFrom(_) => "head request",
    }
}
