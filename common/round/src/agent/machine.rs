//! The machine that a driver feeds: it holds the current state and turns messages into actions.

mod end;

use std::sync::Arc;

use chorale_plan::RoundSpec;
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, SessionId, Signed, SignedBytes, ToAgent, ToCoordinator,
    message::{
        Commit, EpochOpen, Hello, MaskedHeader, ProvenSurvivors, RefusalCode, Roster,
        RosterCertificate, ShareEnvelope, SurvivorCertificate,
    },
};
use rand_core::CryptoRng;

use super::{
    abort::Past,
    action::{Action, RoundEnd},
    advertise::Advertising,
    deal::DealtOutcome,
    fault::Fault,
    head,
    identity::{Identity, Kept},
    memory::{Behind, Fact, Memory},
    roster::Certified,
    state::{RoundState, Running, State, Transition, foreign, step},
};
use crate::memo::VerifiedMemo;

/// Time in milliseconds that an agent gives votes and reveals beyond the spec's own times. When it
/// is over, the round's secrets are wiped: a coordinator that stalls gets nothing.
const AGREEMENT_WITHIN_MS: u64 = 180_000;

/// The agent's side of the protocol. See [`super`] for the states.
#[derive(Debug)]
pub struct Machine {
    identity: Arc<Identity>,
    state: State,
    memory: Memory,
    /// The last refusal with the spec that it answers, to be sent again after a reconnect.
    refusal: Option<(Digest, ToCoordinator)>,
    /// The session of the last result, to tell a repetition.
    last_result: Option<SessionId>,
    /// What is left of the last round that ended without a result, until another one begins.
    past: Option<Past>,
    /// What other agents of this process have verified.
    memo: Option<Arc<VerifiedMemo>>,
}

impl Machine {
    /// A machine without keys that knows nothing of other agents. `last_epoch` and `last_round`
    /// are the highest numbers that this agent ever took part in, as far as its durable journal
    /// knows; `None` for a new agent.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        last_epoch: Option<Epoch>,
        last_round: Option<RoundNumber>,
    ) -> Self {
        Self::with_memory(identity, Memory::new(last_epoch, last_round))
    }

    /// A machine without keys, with what the agent's durable journal holds.
    #[must_use]
    pub fn with_memory(identity: Arc<Identity>, memory: Memory) -> Self {
        Self {
            identity,
            state: State::Idle,
            memory,
            refusal: None,
            last_result: None,
            past: None,
            memo: None,
        }
    }

    /// What the agent remembers; a durable journal that stored every [`Action::Remember`] and
    /// [`Action::Behind`] holds the same.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Verifies public objects once for all agents that hold `memo`, in one process. Without it,
    /// an agent verifies everything itself.
    #[must_use]
    pub fn share_verified(mut self, memo: Arc<VerifiedMemo>) -> Self {
        self.memo = Some(memo);
        self
    }

    /// The first message on every connection. `model` is the digest of the newest model at hand.
    #[must_use]
    pub fn hello(&self, model: Option<Digest>) -> ToCoordinator {
        ToCoordinator::Hello(Hello {
            federation: self.identity.federation.clone(),
            agent: self.identity.agent.clone(),
            epoch: self.epoch(),
            model,
        })
    }

    /// The epoch that this agent holds secrets for, also while it is being set up.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.state {
            State::Idle => None,
            State::Advertised(state) => Some(state.epoch()),
            State::RosterVoted(state) => Some(state.roster().epoch()),
            State::Dealt(state) => Some(state.roster().epoch()),
            State::Keyed(keys, _) => Some(keys.roster().epoch()),
        }
    }

    /// The round in progress at this agent.
    #[must_use]
    pub fn round(&self) -> Option<RoundNumber> {
        self.running().map(|running| running.state.party().round())
    }

    /// What the agent is doing, for people to read.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        self.state.name()
    }

    /// When [`Self::tick`] has something to do, in Unix milliseconds.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<u64> {
        self.running().map(|running| running.deadline_ms)
    }

    /// Time passes: when the round's deadline is over, its secrets are wiped.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.running().is_some_and(|running| now_ms >= running.deadline_ms) {
            let reason = "the coordinator did not bring the round to an end in time";
            self.drop_round(RoundEnd::Deadline, reason, &mut actions);
        }
        actions
    }

    /// A message of the coordinator.
    ///
    /// # Errors
    /// [`Fault`]: the message was refused and the state is as it was. Where the round's deadline
    /// had passed by then, its end is reported instead, and the message counts as late.
    pub fn handle<R: CryptoRng + ?Sized>(
        &mut self,
        message: ToAgent,
        now_ms: u64,
        rng: &mut R,
    ) -> Result<Vec<Action>, Fault> {
        let mut actions = self.tick(now_ms);
        let expired = !actions.is_empty();
        match self.dispatch(message, now_ms, rng, &mut actions) {
            Err(fault) if !expired => Err(fault),
            Ok(()) | Err(_) => Ok(actions),
        }
    }

    /// The agent admitted the spec and has trained: say READY.
    ///
    /// # Errors
    /// [`Fault::Call`] when no round waits for it.
    pub fn ready(&mut self) -> Result<Vec<Action>, Fault> {
        self.in_round("ready", |state| match state {
            RoundState::Opened(opened) => {
                step(opened.ready(), RoundState::AwaitingCommit, RoundState::Opened)
            }
            other => foreign(other),
        })
        .map(|answer| vec![Action::Send(answer)])
    }

    /// The agent does not take part in the round, or cannot contribute after all: send a refusal
    /// and wipe the round's secrets. Possible until the vector is masked.
    ///
    /// # Errors
    /// [`Fault::Call`] when no round waits for an answer.
    pub fn refuse(&mut self, code: RefusalCode, reason: &str) -> Result<Vec<Action>, Fault> {
        let state = self.state.name();
        let running = match &mut self.state {
            State::Keyed(_, running) => running,
            _ => return Err(Fault::Call { call: "refuse", state }),
        };
        let party = match running.as_ref().map(|running| &running.state) {
            Some(RoundState::Opened(round)) => &round.party,
            Some(RoundState::AwaitingCommit(round)) => &round.party,
            Some(RoundState::Committed(round)) => &round.party,
            _ => return Err(Fault::Call { call: "refuse", state }),
        };
        let refusal = party.refusal(code, reason)?;
        self.refusal = Some((party.context.spec_digest, refusal.clone()));
        self.past = running.take().map(|running| Past::of(running.state, true));
        Ok(vec![Action::Send(refusal)])
    }

    /// The gate released the masked vector: sign its header for the upload. `digest` is its plain
    /// SHA-256, `length` its bytes.
    ///
    /// # Errors
    /// [`Fault::Call`] when no session is locked, [`Fault::Masked`] for a wrong length.
    pub fn masked(&mut self, digest: Digest, length: u64) -> Result<Signed<MaskedHeader>, Fault> {
        self.in_round("masked", |state| match state {
            RoundState::Committed(committed) => {
                step(committed.on_masked(digest, length), RoundState::Masked, RoundState::Committed)
            }
            other => foreign(other),
        })
    }

    fn dispatch<R: CryptoRng + ?Sized>(
        &mut self,
        message: ToAgent,
        now_ms: u64,
        rng: &mut R,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        match message {
            ToAgent::Waiting(waiting) => actions.push(Action::Waiting { what: waiting.what }),
            ToAgent::EpochOpen(open) => self.on_epoch_open(&open, rng, actions)?,
            ToAgent::Roster(roster) => self.on_roster(&roster, now_ms, actions)?,
            ToAgent::RosterCertificate(certificate) => {
                self.on_roster_certificate(&certificate, rng, actions)?;
            }
            ToAgent::Shares(envelopes) => self.on_shares(&envelopes, actions)?,
            ToAgent::RoundOpen(open) => self.on_round_open(open, now_ms, actions)?,
            ToAgent::Commit(commit) => self.on_commit(&commit, now_ms, rng, actions)?,
            ToAgent::Survivors(survivors) => self.on_survivors(&survivors, actions)?,
            ToAgent::SurvivorCertificate(certificate) => {
                self.on_certificate(&certificate, actions)?;
            }
            ToAgent::RoundResult(result) => self.on_result(&result, actions)?,
            ToAgent::Abort(abort) => self.on_abort(&abort, actions)?,
            ToAgent::EpochVoid { epoch, reason } => {
                if self.epoch() == Some(epoch) {
                    self.drop_epoch(reason.as_str(), actions);
                }
            }
            ToAgent::Finished { round, model } => actions.push(Action::Finished { round, model }),
            ToAgent::AbortCertificate { certificate, electorate } => {
                self.on_abort_certificate(&certificate, electorate.as_ref(), actions)?;
            }
            ToAgent::LedgerHead(offer) => {
                head::on_offer(&self.identity, &mut self.memory, &offer, actions)?;
            }
        }
        Ok(())
    }

    fn on_epoch_open<R: CryptoRng + ?Sized>(
        &mut self,
        open: &Signed<EpochOpen>,
        rng: &mut R,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        if let State::Advertised(state) = &self.state
            && open.verify(&self.identity.coordinator).is_ok_and(|open| open.epoch == state.epoch())
        {
            actions.push(Action::Send(state.answer()));
            return Ok(());
        }
        let Memory { last_epoch, last_round, .. } = self.memory;
        let (state, answer) =
            Advertising::start(&self.identity, open, last_epoch, last_round, rng)?;
        self.drop_epoch("a newer epoch began", actions);
        self.memory.last_epoch = Some(state.epoch());
        self.state = State::Advertised(state);
        actions.push(Action::Send(answer));
        Ok(())
    }

    fn on_roster(
        &mut self,
        roster: &Roster,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Advertised(state) => {
                match state.on_roster(roster, &self.memory, now_ms, self.memo.as_deref()) {
                    Ok((next, answer)) => {
                        let epoch = next.roster().epoch();
                        let agents = next.roster().agent_ids().cloned().collect();
                        self.remember(Fact::RosterVoted { epoch, agents }, actions);
                        self.state = State::RosterVoted(next);
                        actions.push(Action::Send(answer));
                        Ok(())
                    }
                    Err(Kept { state, error }) => {
                        self.state = State::Advertised(*state);
                        Err(error.into())
                    }
                }
            }
            State::RosterVoted(state) => {
                let same = roster.digest() == state.roster().digest();
                let answer = state.answer();
                self.state = State::RosterVoted(state);
                if !same {
                    return Err(Fault::Second { message: "ROSTER", scope: "epoch number" });
                }
                actions.push(Action::Send(answer));
                Ok(())
            }
            other => self.unexpected("ROSTER", other),
        }
    }

    fn on_roster_certificate<R: CryptoRng + ?Sized>(
        &mut self,
        certificate: &RosterCertificate,
        rng: &mut R,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::RosterVoted(state) => {
                match state.on_certificate(certificate, &self.memory, self.memo.as_deref(), rng) {
                    Ok(Certified::Dealt { state, answer, disputed }) => {
                        report_disputed(certificate.epoch, disputed, actions);
                        self.memory.confirm();
                        self.state = State::Dealt(*state);
                        actions.push(Action::Send(answer));
                        Ok(())
                    }
                    Ok(Certified::Behind { behind, disputed }) => {
                        report_disputed(certificate.epoch, disputed, actions);
                        self.on_behind(behind, actions);
                        Ok(())
                    }
                    Ok(Certified::Doubtful { witnesses }) => {
                        let epoch = certificate.epoch;
                        let reason = "others state rounds of this agent that its journal does not \
                                      know, and may all be corrupt"
                            .to_string();
                        actions.push(Action::Doubtful { epoch, witnesses });
                        actions.push(Action::EpochLost { epoch, reason });
                        Ok(())
                    }
                    Err(Kept { state, error }) => {
                        self.state = State::RosterVoted(*state);
                        Err(error.into())
                    }
                }
            }
            State::Dealt(state) if certificate.epoch == state.roster().epoch() => {
                // Sent again after a reconnect: the shares are never dealt a second time.
                actions.push(Action::Send(state.answer()));
                self.state = State::Dealt(state);
                Ok(())
            }
            other => self.unexpected("ROSTER-QC", other),
        }
    }

    /// The state, and the epoch's secrets with it, is gone already. The next advert claims what
    /// the driver stores now.
    fn on_behind(&mut self, behind: Behind, actions: &mut Vec<Action>) {
        self.memory.restore(&behind);
        let epoch = behind.epoch;
        let reason = "other agents saw more from this agent than its journal knows".to_string();
        actions.extend([Action::Behind(behind), Action::EpochLost { epoch, reason }]);
    }

    fn on_shares(
        &mut self,
        envelopes: &[Signed<ShareEnvelope>],
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Dealt(state) => {
                let epoch = state.roster().epoch();
                match state.on_shares(envelopes) {
                    Ok(DealtOutcome::Keys(mut keys, answer)) => {
                        keys.set_last_round(self.memory.last_round);
                        actions.push(Action::Send(answer));
                        actions.push(Action::EpochReady {
                            epoch,
                            agents: keys.roster().agents(),
                            rounds: keys.rounds_left(),
                        });
                        self.state = State::Keyed(Box::new(keys), None);
                        Ok(())
                    }
                    Ok(DealtOutcome::Complaint { dealer, error, message }) => {
                        actions.push(Action::Send(message));
                        let reason = format!("the shares dealt by {dealer} are bad: {error}");
                        actions.push(Action::EpochLost { epoch, reason });
                        Ok(())
                    }
                    Err(Kept { state, error }) => {
                        self.state = State::Dealt(*state);
                        Err(error.into())
                    }
                }
            }
            State::Keyed(keys, None) => {
                actions.push(Action::Send(keys.answer()));
                self.state = State::Keyed(keys, None);
                Ok(())
            }
            other => self.unexpected("SHARES", other),
        }
    }

    fn on_round_open(
        &mut self,
        open: SignedBytes,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let digest = open.clone().into_typed::<RoundSpec>().payload_digest();
        if self.repeat_round_open(digest, actions) {
            return Ok(());
        }
        let name = self.state.name();
        let State::Keyed(keys, _) = &mut self.state else {
            return Err(Fault::Unexpected { message: "ROUND-OPEN", state: name });
        };
        let opened = keys.open_round(open)?;
        self.drop_round(RoundEnd::Superseded, "a newer round began", actions);
        let spec = opened.spec().clone();
        self.memory.last_round = Some(spec.round);
        self.refusal = None;
        self.past = None;
        actions.push(Action::Train {
            spec_digest: opened.spec_digest(),
            derived: opened.derived().clone(),
            agents: opened.agents(),
            spec: spec.clone(),
        });
        let within_ms = u64::from(spec.ready_within_ms) + u64::from(spec.upload_within_ms);
        if let State::Keyed(_, running) = &mut self.state {
            *running = Some(Running {
                state: RoundState::Opened(opened),
                deadline_ms: now_ms.saturating_add(within_ms + AGREEMENT_WITHIN_MS),
            });
        }
        Ok(())
    }

    /// Answers a ROUND-OPEN that was answered before in the same way; returns whether it was.
    fn repeat_round_open(&self, digest: Digest, actions: &mut Vec<Action>) -> bool {
        if let Some((refused, refusal)) = &self.refusal
            && *refused == digest
        {
            actions.push(Action::Send(refusal.clone()));
            return true;
        }
        match self.running().map(|running| &running.state) {
            Some(state) if state.party().context.spec_digest == digest => {
                if let RoundState::AwaitingCommit(state) = state {
                    actions.push(Action::Send(state.answer()));
                }
                true
            }
            _ => false,
        }
    }

    fn on_commit<R: CryptoRng + ?Sized>(
        &mut self,
        commit: &Signed<Commit>,
        now_ms: u64,
        rng: &mut R,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        if let Some(locked) = self.running().and_then(|running| running.state.commit()) {
            // One session per round: the same COMMIT is a repetition, another one an attack.
            return if locked == commit.payload_digest() {
                Ok(())
            } else {
                Err(Fault::Second { message: "COMMIT", scope: "round" })
            };
        }
        let stated = match self.running().map(|running| &running.state) {
            Some(RoundState::AwaitingCommit(state)) => {
                let context = &state.party.context;
                Some(context.spec.stated(&context.derived)?)
            }
            _ => None,
        };
        let ticket = self.in_round("COMMIT", |state| match state {
            RoundState::AwaitingCommit(state) => step(
                state.on_commit(commit, rng),
                RoundState::Committed,
                RoundState::AwaitingCommit,
            ),
            other => foreign(other),
        })?;
        if let State::Keyed(_, Some(running)) = &mut self.state
            && let RoundState::Committed(committed) = &running.state
        {
            let context = &committed.party.context;
            let within_ms = u64::from(context.spec.upload_within_ms) + AGREEMENT_WITHIN_MS;
            running.deadline_ms = now_ms.saturating_add(within_ms);
            if let Some(round) = stated {
                let (epoch, cohort) = (context.roster.epoch(), committed.cohort().clone());
                let fact = Fact::CohortSeen { epoch, round, cohort };
                self.memory.note(&fact);
                actions.push(Action::Remember(fact));
            }
            actions.push(Action::Contribute {
                ticket,
                spec: context.spec.clone(),
                derived: context.derived.clone(),
                session: committed.session(),
                electorate: context.roster.electorate().digest(),
                noise_seeds: committed.noise_seeds(),
            });
        }
        Ok(())
    }

    fn on_survivors(
        &mut self,
        survivors: &ProvenSurvivors,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let voted = match self.running().map(|running| &running.state) {
            Some(RoundState::SurvivorVoted(state)) => Some((&state.survivors, state.answer())),
            Some(RoundState::Revealed(state)) => Some((&state.survivors, state.answer())),
            _ => None,
        };
        if let Some((set, answer)) = voted {
            // One vote per session: the same set is a repetition, another one an attack.
            let same = survivors
                .fixed
                .verify(&self.identity.coordinator)
                .is_ok_and(|message| message.survivors == *set);
            if !same {
                return Err(Fault::Second { message: "SURVIVORS", scope: "session" });
            }
            actions.push(Action::Send(answer));
            return Ok(());
        }
        let memo = self.memo.clone();
        let answer = self.in_round("SURVIVORS", |state| match state {
            RoundState::Masked(state) => step(
                state.on_survivors(survivors, memo.as_deref()),
                RoundState::SurvivorVoted,
                RoundState::Masked,
            ),
            other => foreign(other),
        })?;
        actions.push(Action::Send(answer));
        Ok(())
    }

    fn on_certificate(
        &mut self,
        certificate: &SurvivorCertificate,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        if let Some(RoundState::Revealed(state)) = self.running().map(|running| &running.state)
            && certificate.session == state.locked.session
        {
            actions.push(Action::Send(state.answer()));
            return Ok(());
        }
        let memo = self.memo.clone();
        let answer = self.in_round("certificate", |state| match state {
            RoundState::SurvivorVoted(state) => step(
                state.on_certificate(certificate, memo.as_deref()),
                RoundState::Revealed,
                RoundState::SurvivorVoted,
            ),
            other => foreign(other),
        })?;
        actions.push(Action::Send(answer));
        Ok(())
    }

    /// What the driver must have on its disk before the actions that follow.
    fn remember(&mut self, fact: Fact, actions: &mut Vec<Action>) {
        self.memory.note(&fact);
        actions.push(Action::Remember(fact));
    }

    fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Keyed(_, running) => running.as_ref(),
            _ => None,
        }
    }

    fn unexpected(&mut self, message: &'static str, state: State) -> Result<(), Fault> {
        self.state = state;
        Err(Fault::Unexpected { message, state: self.state.name() })
    }

    /// Runs one transition of the round in progress; on a refusal the state is put back.
    fn in_round<T>(
        &mut self,
        what: &'static str,
        transition: impl FnOnce(RoundState) -> Transition<T>,
    ) -> Result<T, Fault> {
        let name = self.state.name();
        let call = matches!(what, "ready" | "masked");
        let misplaced = || {
            if call {
                Fault::Call { call: what, state: name }
            } else {
                Fault::Unexpected { message: what, state: name }
            }
        };
        let State::Keyed(_, running) = &mut self.state else {
            return Err(misplaced());
        };
        let Some(Running { state, deadline_ms }) = running.take() else {
            return Err(misplaced());
        };
        let (state, result) = match transition(state) {
            Ok((state, value)) => (state, Ok(value)),
            Err(back) => {
                let (state, fault) = *back;
                (state, Err(fault.unwrap_or_else(misplaced)))
            }
        };
        *running = Some(Running { state, deadline_ms });
        result
    }
}

fn report_disputed(epoch: Epoch, witnesses: Vec<AgentId>, actions: &mut Vec<Action>) {
    if !witnesses.is_empty() {
        actions.push(Action::Disputed { epoch, witnesses });
    }
}
