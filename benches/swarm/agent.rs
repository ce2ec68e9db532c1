//! One agent of the swarm: connection, round machine, journal, gate. It is driven as the product's
//! agent is, without a store of data.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use chorale_dp::{Aes256CtrRng, LayeredNoise, SeededLayer};
use chorale_gate::{Journal as _, Permit, Protection, Release, Settlement};
use chorale_plan::{Derived, PersonSink, Policy, Refused, RoundSpec};
use chorale_round::agent::{Action, Machine};
use chorale_secagg::PairwiseTicket;
use chorale_task::Model;
use chorale_transport::{AgentLinkConfig, LinkEvent, LinkSender, Upload, connect};
use chorale_wire::{Digest, FederationId, ToAgent, message::RefusalCode};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tokio::sync::{Semaphore, mpsc, watch};
use zeroize::Zeroizing;

use crate::{
    Arguments, Failure,
    federation::{now_ms, rng},
    journal::MemoryJournal,
    meter::{Mark, Meter},
    vector,
};

/// What all agents of a run share.
pub(crate) struct Hive {
    pub(crate) arguments: Arguments,
    pub(crate) federation: FederationId,
    pub(crate) meter: Meter,
    /// Who computes: as many at once as the machine has cores, so that the network goes on.
    pub(crate) cores: Semaphore,
    /// Messages of the coordinator that an agent refused, and what else should not happen.
    pub(crate) troubles: Mutex<Vec<String>>,
    /// How far the run is.
    pub(crate) progress: watch::Sender<Progress>,
    /// Vectors that the coordinator acknowledged.
    pub(crate) uploaded: AtomicU64,
}

impl Hive {
    fn trouble(&self, store: u32, what: impl std::fmt::Display) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.push(format!("store-{store}: {what}"));
    }
}

/// One agent.
pub(crate) struct Agent {
    pub(crate) store: u32,
    pub(crate) hive: Arc<Hive>,
    pub(crate) link: AgentLinkConfig,
    pub(crate) machine: Machine,
    pub(crate) journal: MemoryJournal,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) state: Round,
}

/// What the agent holds of the round in progress.
#[derive(Default)]
pub(crate) struct Round {
    number: u64,
    /// Digest of the newest model.
    model: Option<Digest>,
    /// A round that waits for its model.
    wanted: Option<Wanted>,
    permit: Option<Permit>,
}

struct Wanted {
    spec: Arc<RoundSpec>,
    spec_digest: Digest,
    derived: Arc<Derived>,
}

/// How a connection ends.
enum Left {
    /// The run is over.
    Stopped,
    /// The agent vanishes in the middle of this round.
    Vanished(u64),
}

/// The highest round whose survivors are known, and whether the run is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) fixed: u64,
    pub(crate) stop: bool,
}

impl Agent {
    /// Takes part until the run ends. When it vanishes it comes back as soon as nobody waits for its
    /// vector any more, with the keys that it had: as after a network that was down.
    pub(crate) async fn run(
        mut self,
        mut progress: watch::Receiver<Progress>,
    ) -> Result<(), Failure> {
        loop {
            let (link, mut events) = connect(self.link.clone(), rng()?)?;
            self.hive.meter.count(link.clone());
            let left = self.serve(&link, &mut events, &mut progress).await?;
            link.close().await;
            let Left::Vanished(round) = left else { return Ok(()) };
            let seen =
                progress.wait_for(|progress| progress.stop || progress.fixed >= round).await?;
            if seen.stop {
                return Ok(());
            }
        }
    }

    async fn serve(
        &mut self,
        link: &LinkSender,
        events: &mut mpsc::Receiver<LinkEvent>,
        progress: &mut watch::Receiver<Progress>,
    ) -> Result<Left, Failure> {
        loop {
            let event = tokio::select! {
                event = events.recv() => event.ok_or("a link ended by itself")?,
                stopped = progress.wait_for(|progress| progress.stop) => {
                    return stopped.map(|_| Left::Stopped).map_err(Failure::from);
                }
            };
            let actions = match event {
                LinkEvent::Connected => {
                    link.control(self.machine.hello(self.state.model))?;
                    continue;
                }
                LinkEvent::Control(message) => self.hear(message).await?,
                LinkEvent::Model(bytes) => self.on_model(&bytes)?,
                LinkEvent::Uploaded { .. } => {
                    self.hive.uploaded.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                LinkEvent::UploadRefused { reason, .. } => {
                    self.hive.trouble(self.store, format_args!("its vector was refused: {reason}"));
                    continue;
                }
                LinkEvent::Disconnected { reason, .. } => {
                    tracing::info!(store = self.store, %reason, "not connected");
                    continue;
                }
            };
            if let Some(left) = self.carry_out(actions, link).await? {
                return Ok(left);
            }
        }
    }

    /// Handles a message. What takes long waits for a core and does not hold up the network.
    async fn hear(&mut self, message: ToAgent) -> Result<Vec<Action>, Failure> {
        if let Some(mark) = self.mark_of(&message) {
            self.hive.meter.mark(mark);
            if let Mark::Vote(round) = mark {
                self.hive.progress.send_if_modified(|progress| {
                    let newer = round > progress.fixed;
                    progress.fixed = progress.fixed.max(round);
                    newer
                });
            }
        }
        let handled = if is_heavy(&message) {
            let hive = Arc::clone(&self.hive);
            let _core = hive.cores.acquire().await?;
            tokio::task::block_in_place(|| self.machine.handle(message, now_ms(), &mut self.rng))
        } else {
            self.machine.handle(message, now_ms(), &mut self.rng)
        };
        Ok(handled.unwrap_or_else(|fault| {
            self.hive.trouble(self.store, fault);
            Vec::new()
        }))
    }

    fn mark_of(&self, message: &ToAgent) -> Option<Mark> {
        let round = self.state.number;
        Some(match message {
            ToAgent::EpochOpen(_) => Mark::Advertise,
            ToAgent::Roster(_) => Mark::Roster,
            ToAgent::RosterCertificate(_) => Mark::Deal,
            ToAgent::Shares(_) => Mark::Accept,
            ToAgent::Commit(_) => Mark::Mask(round),
            ToAgent::Survivors(_) => Mark::Vote(round),
            ToAgent::SurvivorCertificate(_) => Mark::Reveal(round),
            _ => return None,
        })
    }

    async fn carry_out(
        &mut self,
        actions: Vec<Action>,
        link: &LinkSender,
    ) -> Result<Option<Left>, Failure> {
        let mut actions = std::collections::VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Send(message) => link.control(message)?,
                Action::Remember(fact) => self.journal.remember(&self.hive.federation, fact)?,
                Action::Train { spec, spec_digest, derived, .. } => {
                    self.state.number = spec.round.0;
                    self.hive.meter.mark(Mark::Open(spec.round.0));
                    self.state.wanted = Some(Wanted { spec, spec_digest, derived });
                    actions.extend(self.judge()?);
                }
                Action::Contribute { ticket, spec, derived, session, electorate, noise_seeds } => {
                    if drops_out(&self.hive.arguments, self.store, spec.round.0) {
                        // As after a crash of the network: nothing more is said, nothing left.
                        return Ok(Some(Left::Vanished(spec.round.0)));
                    }
                    let settlement =
                        Settlement::Released { session, electorate, time_s: now_ms() / 1_000 };
                    self.contribute(ticket, &derived, noise_seeds, settlement, link).await?;
                }
                Action::RoundDone(_) => self.refund()?,
                Action::RoundAborted { round, reason, .. } => {
                    // Whoever vanished learns from the next round that the last one is over.
                    if !drops_out(&self.hive.arguments, self.store, round.0) {
                        let what = format_args!("round {round} ended without a result: {reason}");
                        self.hive.trouble(self.store, what);
                    }
                    self.refund()?;
                }
                Action::AbortCertified(proof) => {
                    self.journal.reopen(&self.hive.federation, &proof)?;
                }
                Action::EpochLost { epoch, reason } => {
                    self.hive.trouble(self.store, format_args!("epoch {epoch}: {reason}"));
                }
                Action::Behind(_) | Action::Doubtful { .. } | Action::Disputed { .. } => {
                    self.hive.trouble(self.store, "others state rounds that never were");
                }
                Action::EpochReady { .. } | Action::Waiting { .. } | Action::Finished { .. } => {}
            }
        }
        Ok(None)
    }

    fn on_model(&mut self, bytes: &[u8]) -> Result<Vec<Action>, Failure> {
        self.state.model = Some(Model::digest_of(bytes));
        self.judge()
    }

    /// Charges a round whose model is here, and says READY.
    fn judge(&mut self) -> Result<Vec<Action>, Failure> {
        let model = self.state.model;
        let Some(wanted) = self.state.wanted.take_if(|wanted| Some(wanted.spec.model) == model)
        else {
            return Ok(Vec::new());
        };
        let Wanted { spec, spec_digest, derived } = wanted;
        let now_s = now_ms() / 1_000;
        match Permit::mint(&spec, spec_digest, &derived, &Anything, &mut self.journal, now_s) {
            Ok(permit) => {
                self.state.permit = Some(permit);
                Ok(self.machine.ready()?)
            }
            Err(error) => {
                self.hive.trouble(self.store, &error);
                Ok(self.machine.refuse(RefusalCode::Unable, &error.to_string())?)
            }
        }
    }

    /// Gives back the charge of a round whose vector never left.
    fn refund(&mut self) -> Result<(), Failure> {
        self.state.wanted = None;
        match self.state.permit.take() {
            Some(permit) => Ok(permit.refund(&mut self.journal)?),
            None => Ok(()),
        }
    }

    async fn contribute(
        &mut self,
        ticket: PairwiseTicket,
        derived: &Derived,
        noise_seeds: Vec<Zeroizing<[u8; 32]>>,
        settlement: Settlement,
        link: &LinkSender,
    ) -> Result<(), Failure> {
        let permit =
            self.state.permit.take().ok_or("a cohort with an agent that holds no permit")?;
        let round = permit.round();
        let (store, coordinates) = (self.store, self.hive.arguments.coordinates);
        let people = move |sink: &mut dyn PersonSink| vector::contribute(store, coordinates, sink);
        let release = {
            let _core = self.hive.cores.acquire().await?;
            tokio::task::block_in_place(|| release(permit, ticket, derived, noise_seeds, people))?
        };
        let header = self.machine.masked(release.digest(), release.len() as u64)?;
        // From here on the vector may have left: the charge stands.
        self.journal.settle(&self.hive.federation, round, settlement)?;
        Ok(link.upload(Upload { header, release })?)
    }
}

/// Takes the vector through the gate: rounding, clipping, noise, masks.
fn release<E: std::error::Error + Send + Sync + 'static>(
    permit: Permit,
    ticket: PairwiseTicket,
    derived: &Derived,
    noise_seeds: Vec<Zeroizing<[u8; 32]>>,
    people: impl FnOnce(&mut dyn PersonSink) -> Result<(), E>,
) -> Result<Release, Failure> {
    let mut rounding = Aes256CtrRng::from_rng(&mut rng()?);
    let Some((base, removable)) = derived.layers.split_first() else {
        return Ok(chorale_gate::release(permit, &mut rounding, Protection::None, ticket, people)?);
    };
    let removable: Vec<SeededLayer> = removable
        .iter()
        .zip(noise_seeds)
        .map(|(layer, seed)| SeededLayer { variance: layer.variance.clone(), seed })
        .collect();
    let source = Aes256CtrRng::from_rng(&mut rng()?);
    let mut noise = LayeredNoise::new(&base.variance, source, &removable)?;
    let protection = Protection::Noise(&mut noise);
    Ok(chorale_gate::release(permit, &mut rounding, protection, ticket, people)?)
}

/// Whether an agent is among those that vanish in a round: others in each, exactly as many as the
/// arguments say.
pub(crate) fn drops_out(arguments: &Arguments, store: u32, round: u64) -> bool {
    let (agents, leave) = (u64::from(arguments.agents), u64::from(arguments.leave()));
    (u64::from(store) + round * leave) % agents < leave
}

/// What takes more than a few milliseconds where a roster has a thousand agents.
fn is_heavy(message: &ToAgent) -> bool {
    matches!(
        message,
        ToAgent::EpochOpen(_)
            | ToAgent::Roster(_)
            | ToAgent::RosterCertificate(_)
            | ToAgent::Shares(_)
            | ToAgent::Commit(_)
            | ToAgent::Survivors(_)
            | ToAgent::SurvivorCertificate(_)
            | ToAgent::LedgerHead(_)
    )
}

/// Admits everything: the swarm measures, it protects nobody.
struct Anything;

impl Policy for Anything {
    fn admits(&self, _: &RoundSpec, _: &Derived) -> Result<(), Refused> {
        Ok(())
    }
}
