//! Drives the round machine: events from the network and the clock in, messages, models and
//! ledger lines out.
//!
//! Order of durable writes around a round: RESERVE in the ledger, then ROUND-OPEN leaves; model
//! file, then the next position aside, then RELEASE in the ledger, then the position counts. A
//! crash between any two is resolved at the start ([`crate::recover`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chorale_dp::Frees;
use chorale_ledger::{
    AbortProof, Entry, RefusalKind, RefusalLine, ReserveEntry, RosterEntry, chain::Released,
};
use chorale_plan::{Derived, Plan, RoundSpec};
use chorale_round::coordinator::{
    Action, CertifiedAbort, Completed, CoordinatorConfig, KeptCertificate, Machine, Timeouts,
};
use chorale_task::{Model, Next, NoisyTotal, Progress, Task};
use chorale_transport::server::{EncodedMessage, Server, ServerEvent};
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, SecretKey, ToAgent, ToCoordinator, codec,
    limits::CONTROL_BYTES_MAX,
    message::{AbortCause, Reason, Waiting},
};
use tokio::sync::mpsc;

use crate::{
    canaries::{Canaries, Cut},
    config::Config,
    error::RunError,
    events::{Event, Reporter},
    programme::Programme,
    records::Records,
    service::Shutdown,
    sign_off::SignOffs,
    state::{Position, State},
};

/// How often an epoch that could not be set up is tried again before the run gives up.
const EPOCH_ATTEMPTS_MAX: u32 = 5;

/// How long the coordinator stays up for agents to fetch the final model.
const FAREWELL: Duration = Duration::from_secs(10);

/// Longest encoded optimiser state in bytes.
const PROGRESS_BYTES_MAX: usize = 256 << 20;

/// Everything a running coordinator holds.
pub(crate) struct Driver {
    pub(crate) config: Config,
    pub(crate) programme: Programme,
    pub(crate) key: SecretKey,
    pub(crate) machine: Machine,
    pub(crate) state: State,
    pub(crate) records: Records,
    pub(crate) sign_offs: SignOffs,
    pub(crate) server: Server,
    pub(crate) reporter: Reporter,
    pub(crate) position: Position,
    pub(crate) model: Model,
    pub(crate) model_bytes: Arc<Vec<u8>>,
    pub(crate) model_digest: Digest,
    holds: BTreeMap<AgentId, Digest>,
    traffic: Traffic,
    round: Option<OpenRound>,
    gathering_since_ms: u64,
    epoch_failures: u32,
    /// Who was left out of the last epoch that failed: the next attempt does without them, if it
    /// can.
    left_out: BTreeSet<AgentId>,
    retries: u32,
    aborted_epoch: bool,
    setting_up: bool,
    stopping: bool,
    /// When the window frees that the next round waits for, Unix seconds.
    waits_until_s: Option<u64>,
    /// Why no round is tried again, to be returned when the agents have been told.
    given_up: Option<RunError>,
    done: bool,
}

/// Bytes of messages, vectors and models; packets add a few per cent.
#[derive(Clone, Copy, Default)]
struct Traffic {
    received: u64,
    sent: u64,
}

/// The round in progress.
struct OpenRound {
    plan: Plan,
    spec: RoundSpec,
    task: Box<dyn Task>,
    canaries: Option<Canaries>,
    started: Instant,
    traffic_before: Traffic,
    cohort_fixed: bool,
}

/// The round machine of this configuration.
pub(crate) fn machine(
    config: &Config,
    key: &SecretKey,
    authority: chorale_wire::PublicKey,
    position: &Position,
    certified: Vec<KeptCertificate>,
) -> Machine {
    let setup = config.timing.setup_ms;
    Machine::new(CoordinatorConfig {
        key: SecretKey::from_seed(&key.to_seed()),
        federation: config.federation.clone(),
        authority,
        rule: config.cohort.rule(),
        timeouts: Timeouts {
            advert_ms: setup,
            roster_vote_ms: setup,
            shares_ms: setup,
            accept_ms: setup,
            survivor_vote_ms: config.timing.reveal_ms,
            reveal_ms: config.timing.reveal_ms,
            abort_vote_ms: config.timing.reveal_ms,
            ..Timeouts::default()
        },
        last_epoch: Epoch(position.epoch),
        last_round: RoundNumber(position.round),
        certified,
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    })
}

/// The parts that [`Driver::new`] puts together.
pub(crate) struct Parts {
    pub(crate) sign_offs: SignOffs,
    pub(crate) config: Config,
    pub(crate) programme: Programme,
    pub(crate) key: SecretKey,
    pub(crate) authority: chorale_wire::PublicKey,
    pub(crate) state: State,
    pub(crate) records: Records,
    pub(crate) server: Server,
    pub(crate) reporter: Reporter,
    pub(crate) position: Position,
    pub(crate) model: Model,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Result<Self, RunError> {
        let Parts {
            config,
            programme,
            key,
            authority,
            state,
            records,
            sign_offs,
            server,
            reporter,
            position,
            model,
        } = parts;
        let machine = machine(&config, &key, authority, &position, records.certified());
        let bytes = model.encode()?;
        let digest = Model::digest_of(&bytes);
        state.save_model(&digest, &bytes)?;
        server.expect_no_uploads();
        let done = programme.is_over(&position);
        Ok(Self {
            config,
            programme,
            key,
            machine,
            state,
            records,
            sign_offs,
            server,
            reporter,
            position,
            model,
            model_bytes: Arc::new(bytes),
            model_digest: digest,
            holds: BTreeMap::new(),
            traffic: Traffic::default(),
            round: None,
            gathering_since_ms: now_ms(),
            epoch_failures: 0,
            left_out: BTreeSet::new(),
            retries: 0,
            aborted_epoch: false,
            setting_up: false,
            stopping: false,
            waits_until_s: None,
            given_up: None,
            done,
        })
    }

    /// Runs until the programme is done (and `exit_when_done`), `shutdown` resolves or an error
    /// stops the federation.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<ServerEvent>,
        exit_when_done: bool,
        mut shutdown: Shutdown,
    ) -> Result<(), RunError> {
        let mut farewell: Option<Instant> = None;
        loop {
            if self.done && exit_when_done {
                let since = *farewell.get_or_insert_with(Instant::now);
                if self.machine.connected_agents().next().is_none()
                    && since.elapsed() > Duration::from_millis(300)
                    || since.elapsed() > FAREWELL
                {
                    break;
                }
            }
            let wait = self.until_next_tick();
            tokio::select! {
                biased;
                () = &mut shutdown, if !self.stopping => {
                    self.stopping = true;
                    let reason = "the coordinator is shutting down";
                    let actions = self.machine.abort_round(reason, now_ms());
                    self.carry_out(actions)?;
                }
                event = events.recv() => match event {
                    Some(event) => self.on_event(event)?,
                    None => return Err(RunError::Network),
                },
                () = tokio::time::sleep(wait) => {
                    let actions = self.machine.tick(now_ms());
                    self.carry_out(actions)?;
                }
            }
            if self.stopping {
                // The agents may still vote on the round; that has a deadline of its own.
                if self.round.is_none() {
                    break;
                }
                continue;
            }
            if let Some(error) = self.given_up.take() {
                self.server.shutdown().await;
                return Err(error);
            }
            self.schedule()?;
        }
        drop(events);
        self.server.shutdown().await;
        Ok(())
    }

    fn until_next_tick(&self) -> Duration {
        const IDLE: Duration = Duration::from_millis(250);
        let now = now_ms();
        self.machine
            .poll_deadline(now)
            .map_or(IDLE, |deadline| Duration::from_millis(deadline.saturating_sub(now)).min(IDLE))
    }

    fn on_event(&mut self, event: ServerEvent) -> Result<(), RunError> {
        let now = now_ms();
        let actions = match event {
            ServerEvent::Connected { agent, tls_key, .. } => {
                self.machine.connected(&agent, Some(tls_key));
                self.holds.remove(&agent);
                Vec::new()
            }
            ServerEvent::Disconnected { agent, .. } => {
                let actions = self.machine.disconnected(&agent, now);
                self.holds.remove(&agent);
                self.report_agents();
                actions
            }
            ServerEvent::Control { agent, message, .. } => {
                self.traffic.received += encoded_length(&message);
                let hello = match &message {
                    ToCoordinator::Hello(hello) => Some(hello.model),
                    _ => None,
                };
                let actions = self.machine.handle(&agent, message, now);
                if let Some(model) = hello {
                    self.on_hello(&agent, model);
                }
                actions
            }
            ServerEvent::Vector { agent, header, vector } => {
                self.traffic.received += vector.bytes().len() as u64;
                self.machine.upload(&agent, &header, &vector, now)
            }
        };
        self.carry_out(actions)
    }

    fn on_hello(&mut self, agent: &AgentId, model: Option<Digest>) {
        if let Some(digest) = model {
            self.holds.insert(agent.clone(), digest);
        }
        self.report_agents();
        if self.done {
            self.send_model(agent);
            let finished = ToAgent::Finished {
                round: RoundNumber(self.position.round),
                model: self.model_digest,
            };
            self.send(agent, &finished);
        } else if self.round.is_some() {
            // The machine has sent again what the agent needs; the model goes with it.
            self.send_model(agent);
        } else {
            let what = format!(
                "{} of {} agents are here",
                self.machine.connected_agents().count(),
                self.config.agents
            );
            self.send(agent, &ToAgent::Waiting(Waiting { what: Reason::new(&what) }));
        }
    }

    fn report_agents(&self) {
        self.reporter.report(&Event::Agents {
            connected: self.machine.connected_agents().count() as u32,
            expected: self.config.agents,
        });
    }

    /// Begins whatever is due: an epoch, or the next round.
    fn schedule(&mut self) -> Result<(), RunError> {
        if self.done || self.round.is_some() || self.setting_up {
            return Ok(());
        }
        let able = self.machine.able_agents().count() as u32;
        let has_keys = self.machine.next_key_index().is_some();
        if has_keys && !self.aborted_epoch && able >= self.config.cohort.survivors_min {
            return self.open_round();
        }
        self.gather()
    }

    /// Opens an epoch when everybody is here, or enough after the gathering time.
    fn gather(&mut self) -> Result<(), RunError> {
        let now = now_ms();
        let mut here: BTreeSet<AgentId> = self.machine.connected_agents().cloned().collect();
        let waited = now.saturating_sub(self.gathering_since_ms);
        let left_out = here.intersection(&self.left_out).count();
        let mut expected = self.config.agents;
        if here.len() - left_out >= self.config.cohort.survivors_min as usize {
            here.retain(|agent| !self.left_out.contains(agent));
            expected -= (left_out as u32).min(expected);
        }
        let enough = here.len() as u32 >= expected
            || (waited >= self.config.timing.gather_ms
                && here.len() as u32 >= self.config.cohort.survivors_min);
        if !enough {
            return Ok(());
        }
        let left = self.programme.rounds_left(&self.position) + self.config.timing.retries;
        // The larger the roster, the fewer rounds' keys fit into it; another epoch follows.
        let fitting = chorale_wire::message::Roster::rounds_max(here.len());
        let rounds = left.min(fitting as u32) as u16;
        match self.machine.open_epoch(here, rounds, now) {
            Ok(actions) => {
                self.aborted_epoch = false;
                self.setting_up = true;
                self.carry_out(actions)
            }
            Err(error) => {
                tracing::warn!(%error, "no epoch can be opened now");
                self.gathering_since_ms = now;
                Ok(())
            }
        }
    }

    fn open_round(&mut self) -> Result<(), RunError> {
        let Some(roster) = self.machine.epoch() else { return Ok(()) };
        let (epoch, agents) = (roster.epoch(), roster.agents() as u32);
        let Some(key_index) = self.machine.next_key_index() else { return Ok(()) };
        let (plan, task) = self.programme.current(&self.position, &self.model)?;
        // Before a number is spent: nobody sees a round of a plan that was not signed off.
        let sign_off = self.sign_offs.of(&plan)?;
        let spec = RoundSpec {
            federation: self.config.federation.clone(),
            epoch,
            round: RoundNumber(self.position.round + 1),
            key_index,
            step: self.position.step,
            shape: task.shape(&self.model),
            model: self.model_digest,
            ready_within_ms: self.config.timing.ready_ms,
            upload_within_ms: self.config.timing.upload_ms,
            keystream: self.config.keystream,
            sign_off: Some(sign_off),
            plan: plan.clone(),
        };
        let derived = spec.derive(agents)?;
        if self.waits_for_a_window(&spec, &derived) {
            return Ok(());
        }
        // The number is spent before the round can be seen by anybody.
        self.position.round += 1;
        self.state.save(&self.position)?;
        let reserve = ReserveEntry::of(&spec, &derived, sign_off)?;
        let (canaries, reserve) = Canaries::commit(&spec, &derived, reserve)?;
        self.records.append(Entry::Reserve(Box::new(reserve)), &self.key, now_s())?;
        let able: Vec<AgentId> = self.machine.able_agents().cloned().collect();
        self.round = Some(OpenRound {
            plan,
            spec: spec.clone(),
            task,
            canaries,
            started: Instant::now(),
            traffic_before: self.traffic,
            cohort_fixed: false,
        });
        self.reporter.report(&Event::RoundOpen {
            round: spec.round.0,
            of: self.programme.rounds_in_all(),
            plan: spec.plan.name.clone(),
        });
        for agent in able {
            self.send_model(&agent);
        }
        let actions = self.machine.open_round(&spec, now_ms())?;
        self.carry_out(actions)
    }

    /// Whether the round must wait for a window to move on. What never fits is for the ledger to
    /// refuse.
    fn waits_for_a_window(&mut self, spec: &RoundSpec, derived: &Derived) -> bool {
        let Some(rho) = &derived.rho else { return false };
        let admitted = self.records.admits(&spec.plan.task.name, rho, now_s());
        let until = match &admitted {
            Err(exceeded) => match exceeded.frees {
                Frees::At(second) => Some((second, exceeded.to_string())),
                Frees::WhenRoundsEnd | Frees::Never => None,
            },
            Ok(()) => None,
        };
        let Some((until_s, reason)) = until else {
            self.waits_until_s = None;
            return false;
        };
        if self.waits_until_s.replace(until_s) != Some(until_s) {
            let what = Waiting { what: Reason::new(&reason) };
            let here: Vec<AgentId> = self.machine.connected_agents().cloned().collect();
            here.iter().for_each(|agent| self.send(agent, &ToAgent::Waiting(what.clone())));
            let plan = spec.plan.name.clone();
            self.reporter.report(&Event::BudgetWait { plan, until_s, reason });
        }
        true
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), RunError> {
        for action in actions {
            match action {
                Action::Send(agent, message) => self.send(&agent, &message),
                Action::Broadcast(agents, message) => self.broadcast(&agents, &message),
                Action::SendEach(letters) => {
                    letters.iter().for_each(|(agent, message)| self.send(agent, &message));
                }
                Action::EpochStarted { epoch } => {
                    self.position.epoch = epoch.0;
                    self.state.save(&self.position)?;
                }
                Action::EpochReady { epoch, agents, roster, graph_seed, memberships, excluded } => {
                    self.epoch_failures = 0;
                    self.left_out.clear();
                    self.setting_up = false;
                    let entry = RosterEntry::of(epoch, roster, graph_seed, &memberships)
                        .map_err(RunError::Roster)?;
                    self.records.append(Entry::Roster(entry), &self.key, now_s())?;
                    let excluded =
                        excluded.into_iter().map(|(agent, why)| (agent.to_string(), why)).collect();
                    let agents = agents.len() as u32;
                    self.reporter.report(&Event::Epoch { epoch: epoch.0, agents, excluded });
                    self.offer_head()?;
                }
                Action::EpochFailed { reason, blamed, .. } => {
                    self.on_epoch_failed(reason, blamed)?
                }
                Action::Refused { agent, round, code, reason, signature } => {
                    let gathering = self.round.as_ref().is_some_and(|open| !open.cohort_fixed);
                    if let Some(why) = RefusalKind::of(code).filter(|_| gathering) {
                        let agent = agent.clone();
                        self.records.refused(RefusalLine { agent, why, signature });
                    }
                    self.reporter.report(&Event::Refused {
                        round: round.0,
                        agent: agent.to_string(),
                        reason: reason.to_string(),
                    })
                }
                Action::CohortFixed { round, agents } => {
                    if let Some(open) = &mut self.round {
                        open.cohort_fixed = true;
                    }
                    if let Some(receiving) = self.machine.receiving() {
                        self.server.expect_uploads(receiving.session(), receiving.length());
                    }
                    let agents = agents.len() as u32;
                    self.reporter.report(&Event::Cohort { round: round.0, agents });
                }
                Action::RoundComplete(completed) => self.on_complete(&completed)?,
                Action::RoundAborted {
                    round,
                    reason,
                    blamed,
                    cause,
                    unmask_started,
                    certificate,
                } => {
                    self.record_abort(round, cause, unmask_started, certificate.as_deref())?;
                    let blamed =
                        blamed.into_iter().map(|(agent, why)| (agent.to_string(), why)).collect();
                    self.on_aborted(round, reason, blamed, certificate.as_deref());
                    self.offer_head()?;
                }
                Action::HeadCosigned(head) => {
                    let (seq, agents) = (head.head.seq, head.votes.len());
                    self.records.cosigned(head, &self.key, now_s())?;
                    tracing::info!(seq, agents, "a head of the ledger is cosigned");
                }
                Action::HeadWanted { agent, from } => match self.records.offer_after(&from) {
                    Some(offer) => self.send(&agent, &ToAgent::LedgerHead(offer)),
                    None => tracing::error!(
                        %agent,
                        seq = from.seq,
                        hash = %from.hash,
                        "this agent has cosigned a head that the ledger does not hold: was the \
                         ledger restored from a backup?"
                    ),
                },
                Action::Fault(fault) => tracing::warn!(%fault, "a message was dropped"),
            }
        }
        Ok(())
    }

    fn on_epoch_failed(
        &mut self,
        reason: String,
        blamed: Vec<(AgentId, String)>,
    ) -> Result<(), RunError> {
        self.epoch_failures += 1;
        self.setting_up = false;
        self.gathering_since_ms = now_ms();
        for (agent, why) in &blamed {
            tracing::warn!(%agent, %why, "left out of the epoch");
        }
        self.left_out = blamed.into_iter().map(|(agent, _)| agent).collect();
        if self.epoch_failures >= EPOCH_ATTEMPTS_MAX {
            return Err(RunError::Epoch { attempts: self.epoch_failures, reason });
        }
        tracing::warn!(%reason, attempt = self.epoch_failures, "no epoch could be set up; trying again");
        Ok(())
    }

    fn on_complete(&mut self, completed: &Completed) -> Result<(), RunError> {
        let Some(open) = self.round.take() else { return Ok(()) };
        self.server.expect_no_uploads();
        let survivors = completed.survivors.len() as u32;
        let Cut { data, opening } = Cut::make(open.canaries.as_ref(), completed, &self.state)?;
        let total = NoisyTotal::from_lattice(
            data,
            open.plan.scale_bits,
            survivors,
            completed.noise_variance.as_ref(),
        )?;
        let progress = self.progress()?;
        let mut next = self.position.clone();
        self.model = match open.task.update(self.model.clone(), progress, &total)? {
            Next::Round(model, progress) => {
                next.step += 1;
                next.progress = codec::encode(&progress, PROGRESS_BYTES_MAX)?;
                model
            }
            Next::Done(model) => {
                next.plan += 1;
                next.step = 0;
                next.progress = Vec::new();
                model
            }
        };
        self.model_bytes = Arc::new(self.model.encode()?);
        self.model_digest = Model::digest_of(&self.model_bytes);
        self.state.save_model(&self.model_digest, &self.model_bytes)?;
        next.model = Some(self.model_digest);
        self.state.save_aside(&next)?;
        let released = Released {
            round: completed.round,
            session: completed.session,
            survivors: completed.agents.clone(),
            vectors: completed.vector_digests.clone(),
            transcript: completed.transcript,
            output_model: self.model_digest,
            canaries: opening,
        };
        let head = self.records.release(released, &self.key, now_s())?;
        self.state.save(&next)?;
        self.position = next;
        self.retries = 0;
        self.reporter.report(&Event::Round {
            round: completed.round.0,
            plan: open.plan.name.clone(),
            survivors,
            cohort: completed.cohort.len() as u32,
            model: self.model_digest.to_string(),
            bytes_received: self.traffic.received - open.traffic_before.received,
            bytes_sent: self.traffic.sent - open.traffic_before.sent,
            seconds: open.started.elapsed().as_secs_f64(),
        });
        let actions = self.machine.conclude(self.model_digest, head.seq, head.hash);
        self.carry_out(actions)?;
        self.offer_head()?;
        if self.records.noise_short() == Some(completed.round) {
            // The agents know that the round is over. The model stays here, and nothing follows.
            let (round, plan) = (completed.round.0, open.plan.name.clone());
            self.reporter.report(&Event::NoiseShort { round, plan });
            self.given_up = Some(RunError::NoiseShort { round: completed.round });
            return Ok(());
        }
        if self.programme.is_over(&self.position) { self.finish() } else { Ok(()) }
    }

    /// Asks the epoch's agents to cosign the ledger as it stands. No round waits for it.
    fn offer_head(&mut self) -> Result<(), RunError> {
        let Some(offer) = self.records.offer() else { return Ok(()) };
        let actions = self.machine.offer_head(offer);
        self.carry_out(actions)
    }

    fn finish(&mut self) -> Result<(), RunError> {
        self.done = true;
        let here: Vec<AgentId> = self.machine.connected_agents().cloned().collect();
        for agent in here {
            self.send_model(&agent);
        }
        let actions = self.machine.finish(self.model_digest);
        self.carry_out(actions)?;
        self.reporter.report(&Event::Finished {
            rounds: self.programme.rounds_in_all(),
            model: self.model_digest.to_string(),
        });
        Ok(())
    }

    /// Before the cohort is fixed no masked vector can exist. Afterwards the charge stands, unless
    /// the agents voted that nothing will ever be unmasked.
    fn record_abort(
        &mut self,
        round: RoundNumber,
        cause: AbortCause,
        unmask_started: bool,
        certificate: Option<&CertifiedAbort>,
    ) -> Result<(), RunError> {
        let committed = self.round.as_ref().is_some_and(|open| open.cohort_fixed);
        match certificate {
            Some(certified) => {
                let (voters, signatures) = certified.votes.iter().cloned().unzip();
                let (spec, cohort) = (certified.spec, certified.cohort.clone());
                let proof = AbortProof { spec, cohort, voters, signatures };
                self.records.abort_certified(round, cause, proof, &self.key, now_s())?;
            }
            None => {
                let (key, time_s) = (&self.key, now_s());
                self.records.abort(round, cause, committed, unmask_started, key, time_s)?;
            }
        }
        Ok(())
    }

    fn on_aborted(
        &mut self,
        round: RoundNumber,
        reason: String,
        blamed: Vec<(String, String)>,
        certificate: Option<&CertifiedAbort>,
    ) {
        let Some(open) = self.round.take() else { return };
        self.server.expect_no_uploads();
        self.retries += 1;
        // A certificate shows an epoch whose agents can still decide: its next key may do. Else
        // the keys of agents that got lost are not coming back: gather a new epoch.
        self.aborted_epoch = certificate.is_none();
        self.gathering_since_ms = now_ms();
        let retry = self.retries <= self.config.timing.retries;
        self.reporter.report(&Event::Aborted {
            round: round.0,
            reason: reason.clone(),
            blamed,
            retry,
            votes: certificate.map(|certified| certified.votes.len() as u32),
        });
        if !retry {
            self.given_up = Some(RunError::Round { round, spec: open.spec.plan.name, reason });
        }
    }

    fn progress(&self) -> Result<Progress, RunError> {
        if self.position.progress.is_empty() {
            return Ok(Progress::default());
        }
        Ok(codec::decode(&self.position.progress, PROGRESS_BYTES_MAX)?)
    }

    fn send(&mut self, agent: &AgentId, message: &ToAgent) {
        self.broadcast(std::slice::from_ref(agent), message);
    }

    /// Encodes a message once for all its receivers.
    fn broadcast(&mut self, agents: &[AgentId], message: &ToAgent) {
        let encoded = match EncodedMessage::new(message) {
            Ok(encoded) => encoded,
            Err(error) => return tracing::error!(%error, "a message cannot be encoded"),
        };
        for agent in agents {
            self.traffic.sent += encoded.len() as u64;
            if let Err(error) = self.server.send_encoded(agent, &encoded) {
                tracing::warn!(%agent, %error, "a message could not be queued");
            }
        }
    }

    /// Sends the current model to an agent that does not hold it.
    fn send_model(&mut self, agent: &AgentId) {
        if self.holds.get(agent) == Some(&self.model_digest) {
            return;
        }
        match self.server.send_model(agent, Arc::clone(&self.model_bytes)) {
            Ok(()) => {
                self.traffic.sent += self.model_bytes.len() as u64;
                self.holds.insert(agent.clone(), self.model_digest);
            }
            Err(error) => tracing::warn!(%agent, %error, "the model could not be queued"),
        }
    }
}

fn encoded_length<T: serde::Serialize>(message: &T) -> u64 {
    codec::encode(message, CONTROL_BYTES_MAX).map_or(0, |bytes| bytes.len() as u64)
}

/// The wall clock in Unix milliseconds. This is one of the two places that read it.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The wall clock in Unix seconds.
pub(crate) fn now_s() -> u64 {
    now_ms() / 1000
}
