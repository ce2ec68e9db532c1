//! The operator: opens epochs and rounds, and keeps the ledger.

use std::collections::BTreeSet;

use chorale_dp::Rho;
use chorale_ledger::{AbortProof, Entry, Released, ReserveEntry, RosterEntry};
use chorale_plan::SignOff;
use chorale_round::coordinator;
use chorale_wire::{AgentId, Digest, RoundNumber, message::AbortCause};
use rand::RngExt as _;

use super::{Event, OpenRound, World, judge::ledger};
use crate::{federation::broken, oracle::Failure, trace};

/// How often the operator looks, in milliseconds.
pub(super) const LOOKS_EVERY_MS: u64 = 1_000;

/// How long the operator tries, in looks: half an hour of virtual time.
const LOOKS_MAX: u32 = 1_800;

/// Rounds that the operator opens at most, completed or not.
const ROUNDS_OPENED_MAX: usize = 12;

impl World {
    /// The operator looks: opens epochs and rounds while there is something to win.
    pub(super) fn operate(&mut self) -> Result<(), Failure> {
        self.looks += 1;
        let done = self.counts.completed as u64 >= self.scenario.rounds
            || self.opened.len() >= ROUNDS_OPENED_MAX
            || self.looks >= LOOKS_MAX;
        if done {
            return Ok(());
        }
        self.schedule(self.now_ms + LOOKS_EVERY_MS, Event::Operator);
        let restart = self.scenario.coordinator_restart_per_mille;
        // A look every second and a probability per pause: spread over some twenty looks.
        if self.luck.random_ratio(restart, 20_000) {
            return self.restart_coordinator();
        }
        let floor = self.federation.rule.survivors_min as usize;
        let able = self.coordinator.able_agents().count();
        let here: BTreeSet<AgentId> = self.coordinator.connected_agents().cloned().collect();
        match self.coordinator.phase() {
            "between rounds" if able >= floor && self.coordinator.next_key_index().is_some() => {
                self.open_round()
            }
            "between rounds" | "without an epoch" if here.len() >= floor => {
                let rounds = self.scenario.rounds_per_epoch;
                match self.coordinator.open_epoch(here, rounds, self.now_ms) {
                    Ok(actions) => self.carry_out(actions),
                    Err(coordinator::OpenEpochError::Agents { .. }) => Ok(()),
                    Err(error) => Err(broken(error)),
                }
            }
            _ => Ok(()),
        }
    }

    fn open_round(&mut self) -> Result<(), Failure> {
        let Some((epoch, agents)) =
            self.coordinator.epoch().map(|roster| (roster.epoch(), roster.agents()))
        else {
            return Ok(());
        };
        let Some(key_index) = self.coordinator.next_key_index() else { return Ok(()) };
        let round = RoundNumber(self.coordinator.last_round().0 + 1);
        let model = Digest::plain(&round.0.to_be_bytes());
        let spec = self.federation.spec(epoch, round, key_index, model);
        let derived = spec.derive(agents as u32).map_err(broken)?;
        let rho = derived.rho.clone().unwrap_or_else(Rho::zero);
        let modulus_bits = derived.modulus_bits;
        // RESERVE is in the ledger before the plan leaves.
        let plan = spec.plan.digest().map_err(broken)?;
        let sign_off = SignOff { federation: spec.federation.clone(), plan };
        let sign_off = sign_off.sign(self.federation.compliance_key()).map_err(broken)?;
        let reserve = ReserveEntry::of(&spec, &derived, sign_off).map_err(broken)?;
        self.append(Entry::Reserve(Box::new(reserve)))?;
        self.open = Some(OpenRound { round, rho, modulus_bits, committed: false });
        self.opened.push(round);
        let actions = self.coordinator.open_round(&spec, self.now_ms).map_err(broken)?;
        self.carry_out(actions)
    }

    /// The coordinator's process dies, also in mid-round, and comes back with its durable state.
    fn restart_coordinator(&mut self) -> Result<(), Failure> {
        self.counts.restarts += 1;
        self.timeline.note(self.now_ms, || "the coordinator restarts".to_string());
        if let Some(open) = self.open.take() {
            self.abort(&open, AbortCause::Stopped, open.committed)?;
        }
        let last_round = self.coordinator.last_round();
        let config = self.federation.config(self.last_epoch, last_round);
        self.coordinator = coordinator::Machine::new(config);
        for index in 0..self.nodes.len() {
            self.court.trouble(&self.federation.agents[index]);
            if self.nodes[index].link.take().is_some() {
                let at_ms = self.now_ms + self.luck.random_range(100..4_000);
                self.schedule(at_ms, Event::Connect { index });
            }
        }
        Ok(())
    }

    pub(super) fn carry_out(&mut self, actions: Vec<coordinator::Action>) -> Result<(), Failure> {
        for action in actions {
            if let Some(line) = trace::coordinator_action(&action) {
                self.timeline.note(self.now_ms, || format!("=== coordinator: {line}"));
            }
            match action {
                coordinator::Action::Send(agent, message) => self.send_to_agent(&agent, message)?,
                coordinator::Action::Broadcast(agents, message) => {
                    for agent in agents {
                        self.send_to_agent(&agent, message.clone())?;
                    }
                }
                coordinator::Action::SendEach(letters) => {
                    for (agent, message) in letters.iter() {
                        self.send_to_agent(agent, message)?;
                    }
                }
                coordinator::Action::EpochStarted { epoch } => self.last_epoch = epoch,
                coordinator::Action::EpochReady {
                    epoch,
                    roster,
                    graph_seed,
                    memberships,
                    excluded,
                    ..
                } => {
                    self.court.epoch(&excluded)?;
                    if let Some(roster) = self.coordinator.epoch() {
                        self.oracle.shared(roster, graph_seed);
                    }
                    self.counts.epochs += 1;
                    let entry =
                        RosterEntry::of(epoch, roster, graph_seed, &memberships).map_err(broken)?;
                    self.append(Entry::Roster(entry))?;
                }
                coordinator::Action::EpochFailed { blamed, .. } => self.court.epoch(&blamed)?,
                coordinator::Action::CohortFixed { .. } => {
                    if let Some(open) = &mut self.open {
                        open.committed = true;
                    }
                    let split = self.scenario.split_per_mille;
                    let splits = split > 0 && self.luck.random_ratio(split, 1_000);
                    self.liar.next_cohort(splits, &self.federation.identities);
                }
                coordinator::Action::RoundComplete(completed) => self.complete(&completed)?,
                coordinator::Action::RoundAborted {
                    cause,
                    unmask_started,
                    blamed,
                    certificate,
                    ..
                } => {
                    self.court.round(&blamed)?;
                    match (self.open.take(), certificate) {
                        (Some(open), Some(proof)) => self.abort_certified(&open, cause, *proof)?,
                        (Some(open), None) => self.abort(&open, cause, unmask_started)?,
                        (None, _) => {}
                    }
                }
                coordinator::Action::Fault(fault) => {
                    self.counts.faults += 1;
                    self.court.fault(&fault)?;
                }
                // Heads are not offered here.
                coordinator::Action::Refused { .. }
                | coordinator::Action::HeadCosigned(_)
                | coordinator::Action::HeadWanted { .. } => {}
            }
        }
        Ok(())
    }

    fn complete(&mut self, completed: &coordinator::Completed) -> Result<(), Failure> {
        let Some(open) = self.open.take().filter(|open| open.round == completed.round) else {
            return Err(Failure::Ended { round: completed.round, times: 2 });
        };
        self.oracle.completed(completed, open.modulus_bits)?;
        let model = Digest::of("simulated model", &[completed.transcript.as_bytes()]);
        let released = Released {
            round: completed.round,
            session: completed.session,
            survivors: completed.agents.clone(),
            vectors: completed.vector_digests.clone(),
            transcript: completed.transcript,
            output_model: model,
            canaries: None,
        };
        let entry = self.chain.release(released).map_err(ledger)?;
        self.append(entry)?;
        self.charged = &self.charged + &open.rho;
        self.counts.completed += 1;
        let head = self.chain.head();
        let actions = self.coordinator.conclude(model, head.seq, head.hash);
        self.carry_out(actions)
    }

    /// ABORT: what was committed stays charged, what never left is given back.
    fn abort(
        &mut self,
        open: &OpenRound,
        cause: AbortCause,
        unmask_started: bool,
    ) -> Result<(), Failure> {
        self.oracle.end(open.round)?;
        self.counts.aborted += 1;
        if open.committed {
            self.charged = &self.charged + &open.rho;
        }
        let entry =
            self.chain.abort(open.round, cause, open.committed, unmask_started).map_err(ledger)?;
        self.append(entry)
    }

    /// ABORT by the agents' votes: nothing is charged.
    fn abort_certified(
        &mut self,
        open: &OpenRound,
        cause: AbortCause,
        proof: coordinator::CertifiedAbort,
    ) -> Result<(), Failure> {
        self.oracle.end(open.round)?;
        self.oracle.abort_recorded(proof.session)?;
        self.counts.aborted += 1;
        self.counts.certified += 1;
        let (voters, signatures) = proof.votes.into_iter().unzip();
        let proof = AbortProof { spec: proof.spec, cohort: proof.cohort, voters, signatures };
        let entry = self.chain.abort_certified(open.round, cause, proof).map_err(ledger)?;
        self.append(entry)
    }

    fn append(&mut self, entry: Entry) -> Result<(), Failure> {
        let key = self.federation.coordinator_key();
        let line = self.chain.append(entry, &key, self.now_ms / 1_000).map_err(ledger)?;
        self.ledger.push_str(&line);
        Ok(())
    }
}
