//! The agent's part in a federation: connect, judge, train, send what the gate released.
//!
//! The protocol itself is `chorale_round::agent::Machine`, which owns no socket, clock or file.
//! This driver feeds it and carries out what it says. The heavy steps (reading persons, training,
//! noise, masking) run beside the network, so that the connection stays alive.

mod contribute;
mod error;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chorale_gate::{Journal as _, Permit, Settlement};
use chorale_plan::{Derived, RoundSpec};
use chorale_round::agent::{Action, Behind, Fault, Machine, RoundEnd};
use chorale_secagg::PairwiseTicket;
use chorale_task::{Catalogue, Model};
use chorale_transport::{LinkError, LinkEvent, LinkSender, Upload};
use chorale_wire::{
    AgentId, Digest, RoundNumber, SessionId, ToAgent, ToCoordinator, VerifiedAbort,
    message::RefusalCode,
};
use futures::future::BoxFuture;
use rand_core::SeedableRng as _;
use tokio::{sync::mpsc, task::JoinSet};
use zeroize::Zeroizing;

use self::contribute::{Contribution, Made, Unreleased};
pub use self::error::RunError;
use crate::{
    config::Config,
    journal::{ACKNOWLEDGE, JournalError, RedbJournal},
    live::Purpose,
    odometer::Odometer,
    policy::VerifiedPolicy,
    store::Store,
};

/// How often the driver looks at the clock when nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// How often events past their period are taken out.
const DAY: Duration = Duration::from_secs(86_400);

/// How long a round waits for the model it is computed on.
const MODEL_WAIT: Duration = Duration::from_secs(60);

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rounds that completed with this agent among the survivors.
    pub completed: u64,
    /// Rounds that this agent refused.
    pub refused: u64,
    /// Rounds that ended without a result.
    pub aborted: u64,
    /// Digest of the final model, when the programme is done.
    pub final_model: Option<Digest>,
}

/// What the agent reports while it runs; no personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Something for people to read.
    Text(&'a str),
    /// The round machine has come to another state. It is told before anything that this state
    /// asks for is carried out.
    Phase(&'static str),
}

/// Takes an agent's notices.
pub type Observer = Box<dyn Fn(Notice<'_>) + Send>;

/// Everything the driver holds.
struct Driver {
    config: Config,
    options: RunOptions,
    policy: VerifiedPolicy,
    catalogue: Catalogue,
    store: Arc<Store>,
    journal: RedbJournal,
    odometer: Odometer,
    machine: Machine,
    link: LinkSender,
    observer: Observer,
    summary: Summary,
    /// The newest model that arrived.
    model: Option<(Digest, Model)>,
    /// A round that waits for its model.
    wanted: Option<Wanted>,
    /// The permit of the round in progress.
    permit: Option<(RoundNumber, Permit)>,
    /// For which session the vector of the round in progress leaves, when it does.
    parting: Option<Parting>,
    /// Vectors that are being made. A slow one may outlive its round: it is refunded when it is
    /// there.
    releasing: JoinSet<Result<Made, Unreleased>>,
    /// The round whose vector was handed to the link.
    uploading: Option<RoundNumber>,
    finished: Option<(Digest, tokio::time::Instant)>,
    /// The phase that the observer knows.
    phase: &'static str,
    /// When events past their period were last taken out.
    expired: Option<tokio::time::Instant>,
}

/// For which session the vector of a round is made.
struct Parting {
    round: RoundNumber,
    session: SessionId,
    electorate: Digest,
}

impl Parting {
    /// The settlement of a vector that leaves now.
    fn settled(&self) -> Settlement {
        let Self { session, electorate, .. } = *self;
        Settlement::Released { session, electorate, time_s: now_s() }
    }
}

/// A round that was opened and whose model has not arrived.
struct Wanted {
    spec: Arc<RoundSpec>,
    spec_digest: Digest,
    derived: Arc<Derived>,
    agents: usize,
    since: tokio::time::Instant,
}

/// How an agent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// End when the coordinator says that the programme is done and the final model is stored.
    pub exit_when_done: bool,
    /// Leave the stored profiles as they are when the programme is done. They are made anew when
    /// somebody asks for one.
    pub keep_profiles: bool,
}

/// Takes part in the federation until the programme is done (with
/// [`RunOptions::exit_when_done`]) or `shutdown` resolves.
///
/// # Errors
/// [`RunError`]: keys, policy, data or disk cannot be used. Lost connections are no error: the
/// agent keeps trying.
pub fn run(
    config: Config,
    options: RunOptions,
    observer: Observer,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, Result<Summary, RunError>> {
    take_part(config, options, observer, Box::pin(shutdown))
}

/// Without type parameters, so that its code is made in this crate and not in every program.
fn take_part(
    config: Config,
    options: RunOptions,
    observer: Observer,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, Result<Summary, RunError>> {
    Box::pin(async move {
        let (driver, events) = Driver::start(config, options, observer)?;
        driver.run(events, shutdown).await
    })
}

impl Driver {
    fn start(
        config: Config,
        options: RunOptions,
        observer: Observer,
    ) -> Result<(Self, mpsc::Receiver<LinkEvent>), RunError> {
        let (identity, link_config, administrator) = error::identity(&config)?;
        // Verified once: a policy that is changed later holds from the next start.
        let policy = VerifiedPolicy::enforce(&config, &administrator)?;
        let catalogue = read_catalogue(&config.catalogue)?;
        let key = config.hold_store_key()?;
        let names = config.names()?;
        let store = Store::open(&config.data_dir, &key)?.under(&names)?;
        store.require_ingest(&catalogue.digest(), &config.home)?;
        // A charge that an earlier run left open stands: were this disk a restored backup, its
        // vector may have left.
        let mut journal = RedbJournal::open(&config.data_dir, policy.budgets())?;
        let interrupted = journal.begin_run(now_s())?;
        if interrupted > 0 {
            tracing::warn!(
                interrupted,
                "rounds of an earlier run were cut short; they stay charged"
            );
        }
        let memory =
            journal.memory(&config.federation)?.with_survivors_floor(policy.survivors_floor());
        let machine = Machine::with_memory(Arc::new(identity), memory);
        let model = match store.model()? {
            Some(model) => Some((model.digest()?, model)),
            None => None,
        };
        let (link, events) =
            chorale_transport::connect(link_config, system_rng()).map_err(RunError::Tls)?;
        let odometer = Odometer::new(&config.data_dir, &key).under(&names)?;
        let driver = Self {
            config,
            options,
            policy,
            catalogue,
            store: Arc::new(store),
            journal,
            odometer,
            machine,
            link,
            observer,
            summary: Summary::default(),
            model,
            wanted: None,
            permit: None,
            parting: None,
            releasing: JoinSet::new(),
            uploading: None,
            finished: None,
            phase: "",
            expired: None,
        };
        Ok((driver, events))
    }

    async fn run(
        mut self,
        mut events: mpsc::Receiver<LinkEvent>,
        mut shutdown: BoxFuture<'static, ()>,
    ) -> Result<Summary, RunError> {
        self.say_unacknowledged();
        loop {
            self.conclude().await;
            if self.options.exit_when_done && self.is_done() {
                break;
            }
            if self.options.exit_when_done
                && self.finished.is_some_and(|(_, since)| since.elapsed() > MODEL_WAIT)
            {
                self.say("the programme is done, and its final model did not arrive");
                self.summary.final_model = None;
                break;
            }
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                released = joined(&mut self.releasing) => self.on_released(released?)?,
                event = events.recv() => match event {
                    Some(event) => self.on_event(event)?,
                    None => break,
                },
                () = tokio::time::sleep(TICK) => {
                    let actions = self.machine.tick(now_ms());
                    self.carry_out(actions)?;
                }
            }
            self.check_model_wait()?;
            self.note_phase();
            self.expire_daily();
        }
        self.link.close().await;
        Ok(self.summary)
    }

    /// Takes events past their period out of the store, at the start and once a day, beside the
    /// rounds. No round sees them anyway.
    fn expire_daily(&mut self) {
        if self.expired.is_some_and(|last| last.elapsed() < DAY) {
            return;
        }
        self.expired = Some(tokio::time::Instant::now());
        let (config, catalogue) = (self.config.clone(), self.catalogue.clone());
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            match crate::ingest::expire(&config, &catalogue, &store, now_s().cast_signed()) {
                Ok(expired) if expired.is_nothing() => {}
                Ok(expired) => tracing::info!(?expired, "events past their period were taken out"),
                Err(error) => {
                    let error = error::one_line(error.explained());
                    tracing::error!(error, "events past their period cannot be taken out");
                }
            }
        });
    }

    /// Makes the stored profiles anew, once, when the programme is done. A failure here costs
    /// nothing: whoever asks for a profile gets it from the model.
    async fn conclude(&mut self) {
        if !self.is_done() || self.options.keep_profiles {
            return;
        }
        self.options.keep_profiles = true;
        let (config, catalogue) = (self.config.clone(), self.catalogue.clone());
        let store = Arc::clone(&self.store);
        let refreshed = tokio::task::spawn_blocking(move || {
            crate::profiles::refresh(config.served(), catalogue, &store).map_err(|e| e.to_string())
        });
        match refreshed.await {
            Ok(Ok(count)) => self.say(&format!("{count} profiles are made with the new model")),
            Ok(Err(error)) => tracing::warn!(%error, "the stored profiles are as before"),
            Err(error) => tracing::warn!(%error, "the stored profiles are as before"),
        }
    }

    /// Done: the coordinator said so and the final model is stored.
    fn is_done(&self) -> bool {
        let arrived = self.model.as_ref().map(|(digest, _)| *digest);
        self.finished.is_some_and(|(model, _)| Some(model) == arrived)
    }

    fn on_event(&mut self, event: LinkEvent) -> Result<(), RunError> {
        match event {
            LinkEvent::Connected => {
                self.say("connected");
                let model = self.model.as_ref().map(|(digest, _)| *digest);
                self.send(self.machine.hello(model))
            }
            LinkEvent::Disconnected { reason, retry_in } => {
                self.say(&format!(
                    "not connected ({reason}); trying again in {:.1} s",
                    retry_in.as_secs_f64()
                ));
                Ok(())
            }
            LinkEvent::Control(message) => self.on_message(message),
            LinkEvent::Model(bytes) => self.on_model(&bytes),
            LinkEvent::Uploaded { .. } => Ok(()),
            LinkEvent::UploadRefused { reason, .. } => {
                self.say(&format!("the coordinator did not take the vector: {reason}"));
                Ok(())
            }
        }
    }

    fn on_message(&mut self, message: ToAgent) -> Result<(), RunError> {
        match self.machine.handle(message, now_ms(), &mut system_rng()) {
            Ok(actions) => {
                self.note_phase();
                self.carry_out(actions)
            }
            Err(fault) => {
                tracing::warn!(%fault, "a message of the coordinator was refused");
                // The owner must know of a ledger with two histories, and keep the evidence.
                if let Fault::Head(error) = &fault {
                    self.say(&error.to_string());
                }
                Ok(())
            }
        }
    }

    fn on_model(&mut self, bytes: &[u8]) -> Result<(), RunError> {
        let digest = Model::digest_of(bytes);
        match Model::decode(bytes) {
            Ok(model) if *model.catalogue() != self.catalogue.digest() => {
                tracing::warn!(
                    "the coordinator sent a model over another catalogue; it is not kept"
                );
                return Ok(());
            }
            Ok(model) => {
                self.store.save_model(&model)?;
                self.model = Some((digest, model));
            }
            Err(error) => {
                tracing::warn!(%error, "the coordinator sent a model that cannot be read");
                return Ok(());
            }
        }
        match self.wanted.take_if(|wanted| wanted.spec.model == digest) {
            Some(wanted) => self.judge(wanted),
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), RunError> {
        for action in actions {
            match action {
                Action::Send(message) => self.send(message)?,
                // Where this fails the agent stops, and nothing that follows is carried out.
                Action::Remember(fact) => self.journal.remember(&self.config.federation, fact)?,
                Action::Behind(behind) => self.on_behind(&behind)?,
                Action::Doubtful { epoch, witnesses } => {
                    let names = names(&witnesses);
                    self.say(&format!(
                        "epoch {epoch}: {names} stated rounds that this agent's journal does not \
                         know. So few agents are here that were sure to see them that all of these \
                         may lie: nothing is charged, and this agent waits for a larger roster. If \
                         its disk is an old one, stop it; if this goes on, let all stores raise \
                         survivors_min in their policies to what the plans use"
                    ));
                    tracing::error!(%epoch, names, "it cannot be told whether this journal is old");
                    let model = self.model.as_ref().map(|(digest, _)| *digest);
                    self.send(self.machine.hello(model))?;
                }
                Action::Disputed { epoch, witnesses } => {
                    let names = names(&witnesses);
                    self.say(&format!(
                        "epoch {epoch}: {names} stated rounds of this agent that too few others \
                         saw; they do not count"
                    ));
                    tracing::warn!(%epoch, names, "statements about this agent do not count");
                }
                Action::Train { spec, spec_digest, derived, agents } => {
                    // Whatever round waited for a model before is over.
                    self.wanted = None;
                    let since = tokio::time::Instant::now();
                    let wanted = Wanted { spec, spec_digest, derived, agents, since };
                    self.say(&format!(
                        "round {} of plan '{}'",
                        wanted.spec.round, wanted.spec.plan.name
                    ));
                    if self.model.as_ref().is_some_and(|(digest, _)| *digest == wanted.spec.model) {
                        self.judge(wanted)?;
                    } else {
                        self.wanted = Some(wanted);
                    }
                }
                Action::Contribute { ticket, spec, derived, session, electorate, noise_seeds } => {
                    self.parting = Some(Parting { round: spec.round, session, electorate });
                    self.contribute(ticket, spec, derived, noise_seeds)?;
                }
                Action::EpochReady { epoch, agents, rounds } => {
                    self.say(&format!("epoch {epoch}: {agents} agents, keys for {rounds} rounds"))
                }
                Action::EpochLost { epoch, reason } => {
                    self.say(&format!("epoch {epoch} is over: {reason}"));
                }
                Action::RoundDone(outcome) => {
                    self.summary.completed += u64::from(outcome.contributed);
                    self.uploading = None;
                    self.wanted = None;
                    // A permit that is still here was not used: the cohort went on without it.
                    if let Some(unused) = self.permit.as_ref().map(|(held, _)| *held) {
                        self.refund(unused)?;
                    }
                    if let Some(round) = outcome.round {
                        self.say(&format!("round {round} is complete"));
                    }
                }
                Action::RoundAborted { round, end, reason } => {
                    self.on_aborted(round, end, &reason)?
                }
                Action::AbortCertified(proof) => self.on_abort_certified(&proof)?,
                Action::Waiting { what } => self.say(&format!("waiting: {what}")),
                Action::Finished { round, model } => {
                    self.finished = Some((model, tokio::time::Instant::now()));
                    self.summary.final_model = Some(model);
                    self.say(&format!("the programme is done after round {round}"));
                }
            }
        }
        Ok(())
    }

    /// This agent's journal is an old one: what is missing is charged before anything else, and
    /// its owner must know.
    fn on_behind(&mut self, behind: &Behind) -> Result<(), RunError> {
        self.journal.restore(&self.config.federation, behind, now_s())?;
        let names = names(&behind.witnesses);
        tracing::error!(names, rounds = behind.rounds.len(), "this agent's journal is an old one");
        self.say(&format!(
            "this agent's journal is older than what other agents saw from it (a restored \
             backup?): {} rounds are charged again, as stated by {names}",
            behind.rounds.len()
        ));
        self.say_unacknowledged();
        // Without the epoch's keys: the coordinator goes on without this agent.
        let model = self.model.as_ref().map(|(digest, _)| *digest);
        self.send(self.machine.hello(model))
    }

    fn say_unacknowledged(&self) {
        if self.journal.state().restoration(&self.config.federation).is_some() {
            self.say(&format!("this agent answers no round until you {ACKNOWLEDGE}"));
        }
    }

    /// Charges the round to the budget (policy first) and checks the plan against this store.
    fn judge(&mut self, wanted: Wanted) -> Result<(), RunError> {
        let Wanted { spec, spec_digest, derived, agents, .. } = wanted;
        let Some((_, model)) = &self.model else { return Ok(()) };
        if let Err(refused) = self.policy.admits_sign_off(&spec) {
            return self.refuse(RefusalCode::SignOff, &refused.to_string());
        }
        if let Err(refusal) = contribute::check(&spec, model, &self.catalogue, &self.policy, agents)
        {
            return self.refuse(RefusalCode::Policy, &refusal);
        }
        let journal = &mut self.journal;
        match Permit::mint(&spec, spec_digest, &derived, &self.policy, journal, now_s()) {
            Ok(permit) => self.permit = Some((spec.round, permit)),
            Err(error) => {
                let code = contribute::code_of(&error);
                if code == RefusalCode::Unable {
                    tracing::error!(error = error::one_line(&error), "the round cannot be charged");
                    return self.refuse(code, "this agent's budget journal cannot be written");
                }
                return self.refuse(code, &error::one_line(&error));
            }
        }
        match self.machine.ready() {
            Ok(actions) => self.carry_out(actions),
            Err(fault) => {
                tracing::warn!(%fault, "the round ended before this agent was ready");
                self.refund(spec.round)
            }
        }
    }

    /// Takes the vector through the gate, beside the network.
    fn contribute(
        &mut self,
        ticket: PairwiseTicket,
        spec: Arc<RoundSpec>,
        derived: Arc<Derived>,
        noise_seeds: Vec<Zeroizing<[u8; 32]>>,
    ) -> Result<(), RunError> {
        if self.permit.as_ref().is_none_or(|(round, _)| *round != spec.round) {
            return self.refuse(RefusalCode::Unable, "the agent holds no permit for this round");
        }
        // The session binds the spec's model, so the vector must be computed on that one, whatever
        // model arrived since: else a coordinator could give each agent another.
        let model = self.model.as_ref().filter(|(digest, _)| *digest == spec.model);
        let Some(model) = model.map(|(_, model)| model.clone()) else {
            self.refund(spec.round)?;
            return self.refuse(RefusalCode::Unable, "another model came than the round's own");
        };
        let Some((_, permit)) = self.permit.take() else { return Ok(()) };
        let contribution = Contribution {
            store: Arc::clone(&self.store),
            window_end_s: self.config.window_end_s(spec.plan.events_before_s),
            catalogue: Arc::new(self.catalogue.clone()),
            ask_first: self.config.serve.asks_first(Purpose::Training),
            cut: self.config.retention_days.at(now_s().cast_signed()),
            model,
            permit,
            ticket,
            spec,
            derived,
            noise_seeds,
        };
        self.releasing.spawn_blocking(move || contribution.release());
        Ok(())
    }

    fn on_released(&mut self, released: Result<Made, Unreleased>) -> Result<(), RunError> {
        match released {
            Ok(Made { round, release, readings }) => {
                let parting = self.parting.take_if(|parting| parting.round == round);
                let Some(parting) = parting.filter(|_| self.machine.round() == Some(round)) else {
                    // The round ended while the vector was made; it never left.
                    return self.refund(round);
                };
                match self.machine.masked(release.digest(), release.len() as u64) {
                    Ok(header) => {
                        // From here on the vector may have left: readings and charge stand.
                        self.odometer.record(&self.config.federation, round, &readings)?;
                        self.journal.settle(&self.config.federation, round, parting.settled())?;
                        self.note_phase();
                        self.uploading = Some(round);
                        self.link.upload(Upload { header, release }).map_err(RunError::Link)
                    }
                    Err(fault) => {
                        tracing::warn!(%fault, "the vector came too late for its round");
                        self.refund(round)
                    }
                }
            }
            Err(Unreleased { round, error }) => {
                tracing::error!(%error, "no vector could be made");
                self.refund(round)?;
                if self.machine.round() != Some(round) {
                    // Another round may have begun since; it is not this failure's to refuse.
                    return Ok(());
                }
                self.refuse(RefusalCode::Unable, "the agent could not make its contribution")
            }
        }
    }

    fn on_aborted(
        &mut self,
        round: RoundNumber,
        end: RoundEnd,
        reason: &str,
    ) -> Result<(), RunError> {
        self.summary.aborted += 1;
        self.wanted = None;
        self.say(&format!("round {round} ended without a result ({end:?}): {reason}"));
        // Without a permit the round was not charged, or its vector left (the charge stands), or
        // is being made (it is refunded when it is there).
        if self.permit.as_ref().is_some_and(|(held, _)| *held == round) {
            self.refund(round)?;
        }
        Ok(())
    }

    /// Gives the charge of a round back whose vector left, on proof that it will never be unmasked.
    fn on_abort_certified(&mut self, proof: &VerifiedAbort) -> Result<(), RunError> {
        match self.journal.reopen(&self.config.federation, proof) {
            Ok(round) => {
                self.uploading = None;
                self.odometer.forget(&self.config.federation, round)?;
                self.say(&format!(
                    "round {round} will never be unmasked: the agents voted to abort it, and its \
                     charge is given back"
                ));
                Ok(())
            }
            // Nothing of this agent's left for that session, or it was given back before.
            Err(JournalError::Refused(refusal)) => {
                tracing::debug!(%refusal, "an abort certificate gives nothing back here");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the charge back: the masked vector never left this agent, and the round's number is
    /// spent for ever.
    fn refund(&mut self, round: RoundNumber) -> Result<(), RunError> {
        if self.permit.as_ref().is_some_and(|(held, _)| *held == round) {
            self.permit = None;
        }
        self.journal.settle(&self.config.federation, round, Settlement::Refunded)?;
        Ok(())
    }

    fn refuse(&mut self, code: RefusalCode, reason: &str) -> Result<(), RunError> {
        self.summary.refused += 1;
        self.say(&format!("refused: {reason}"));
        tracing::warn!(?code, reason, "this agent does not take part in the round");
        match self.machine.refuse(code, reason) {
            Ok(actions) => self.carry_out(actions),
            Err(fault) => {
                tracing::debug!(%fault, "no round waits for a refusal");
                Ok(())
            }
        }
    }

    fn check_model_wait(&mut self) -> Result<(), RunError> {
        if self.wanted.take_if(|wanted| wanted.since.elapsed() > MODEL_WAIT).is_some() {
            return self.refuse(RefusalCode::Unable, "the round's model did not arrive in time");
        }
        Ok(())
    }

    /// A full queue is no reason to stop: the coordinator asks again after a reconnect.
    fn send(&self, message: ToCoordinator) -> Result<(), RunError> {
        match self.link.control(message) {
            Err(LinkError::Full) => {
                tracing::warn!("too many messages wait for the line; one was dropped");
                Ok(())
            }
            other => other.map_err(RunError::Link),
        }
    }

    /// Tells the observer where the round machine stands, once for each change.
    fn note_phase(&mut self) {
        let phase = self.machine.phase();
        if phase != self.phase {
            self.phase = phase;
            (self.observer)(Notice::Phase(phase));
        }
    }

    fn say(&self, text: &str) {
        tracing::info!(agent = %self.config.agent, text);
        (self.observer)(Notice::Text(text));
    }
}

/// The next result of the tasks; pending for ever where there is none.
async fn joined<T: 'static>(tasks: &mut JoinSet<T>) -> Result<T, RunError> {
    match tasks.join_next().await {
        Some(result) => result.map_err(RunError::Task),
        None => std::future::pending().await,
    }
}

fn names(agents: &[AgentId]) -> String {
    agents.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", ")
}

fn read_catalogue(path: &Path) -> Result<Catalogue, RunError> {
    let bytes = std::fs::read(path)
        .map_err(|source| RunError::CatalogueRead { path: path.into(), source })?;
    Catalogue::read_csv(&bytes).map_err(|source| RunError::Catalogue { path: path.into(), source })
}

/// Whose policies the agent obeys, as its membership says.
pub(crate) fn administrator(config: &Config) -> Result<chorale_wire::PublicKey, RunError> {
    error::identity(config).map(|(_, _, administrator)| administrator)
}

/// A generator seeded from the operating system; a new one for each use.
pub(crate) fn system_rng() -> rand_chacha::ChaCha20Rng {
    let mut seed = Zeroizing::new([0u8; 32]);
    // Without randomness from the operating system nothing here is safe: stop at once.
    getrandom::fill(seed.as_mut()).unwrap_or_else(|error| {
        panic!("the operating system gives no randomness ({error}); the agent stops")
    });
    rand_chacha::ChaCha20Rng::from_seed(*seed)
}

/// The wall clock in Unix seconds.
fn now_s() -> u64 {
    now_ms() / 1000
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
