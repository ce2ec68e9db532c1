//! Connections and messages: delays, losses, duplicates, reorderings, replays, breaks, and lies.

use chorale_round::{VerifiedRoster, agent};
use chorale_secagg::{Modulus, packing};
use chorale_wire::{AgentId, Signed, ToAgent, ToCoordinator, message::MaskedHeader};
use rand::RngExt as _;

use super::{Event, Upload, World};
use crate::{
    federation::{broken, tls_key},
    oracle::Failure,
};

/// Messages of each direction that an adversary on the line remembers.
const HISTORY_MAX: usize = 40;

/// What went over an agent's line, in whatever round or epoch.
#[derive(Default)]
pub(super) struct History {
    to_agent: Vec<ToAgent>,
    to_coordinator: Vec<ToCoordinator>,
}

/// What became of a message on its way.
struct Fate {
    /// When it arrives: never, once or twice.
    arrivals_ms: Vec<u64>,
    /// When an earlier one arrives again, and which, counted from the oldest.
    replay: Option<(u64, usize)>,
}

impl World {
    pub(super) fn connect(&mut self, index: usize) -> Result<(), Failure> {
        if self.nodes[index].dead || self.nodes[index].link.is_some() {
            return Ok(());
        }
        self.next_link += 1;
        self.nodes[index].link = Some(self.next_link);
        let agent = &self.federation.agents[index];
        self.timeline.note(self.now_ms, || format!("{agent} connects"));
        self.coordinator.connected(agent, Some(tls_key(agent)));
        let hello = self.nodes[index].machine.hello(None);
        self.send_to_coordinator(index, hello)?;
        self.upload(index);
        Ok(())
    }

    pub(super) fn send_to_agent(
        &mut self,
        agent: &AgentId,
        message: ToAgent,
    ) -> Result<(), Failure> {
        let unknown = || broken(format!("a message to the unknown {agent}"));
        let index = *self.index.get(agent).ok_or_else(unknown)?;
        if let ToAgent::Roster(roster) = &message {
            let names = || {
                let adverts = roster.adverts.iter().filter_map(|advert| advert.peek().ok());
                adverts.map(|advert| advert.agent).collect()
            };
            self.rosters.entry(roster.epoch).or_insert_with(names);
        }
        self.liar.note(&message);
        let mut messages = vec![message];
        if let Some(epoch) = self.coordinator.epoch().map(VerifiedRoster::epoch)
            && let Some(sharing) = self.oracle.sharing(epoch)
            && let Some(lie) = self.liar.split(sharing, agent, &messages[0]).map_err(broken)?
        {
            self.counts.lies += 1;
            let what = lie.what;
            self.timeline.note(self.now_ms, || format!("LIE: coordinator {what}, to {agent}"));
            messages = lie.messages;
        }
        if messages.is_empty() {
            return Ok(());
        }
        if self.luck.random_ratio(self.scenario.coordinator_lie_per_mille, 1_000)
            && let Some(lie) = self.liar.coordinator_says(&messages[0]).map_err(broken)?
        {
            self.counts.lies += 1;
            let what = lie.what;
            self.timeline.note(self.now_ms, || format!("LIE: coordinator {what}, to {agent}"));
            messages = lie.messages;
        }
        for message in messages {
            let Some(link) = self.nodes[index].link else { return Ok(()) };
            let fate = self.fate(index, true)?;
            for at_ms in fate.arrivals_ms {
                let message = message.clone();
                self.schedule(at_ms, Event::ToAgent { index, link, message });
            }
            let history = &mut self.history.entry(index).or_default().to_agent;
            let old = fate.replay.and_then(|(at_ms, place)| {
                let place = place.checked_rem(history.len())?;
                Some((at_ms, history[place].clone()))
            });
            remember(history, message);
            if let Some((at_ms, message)) = old {
                self.schedule(at_ms, Event::ToAgent { index, link, message });
            }
        }
        Ok(())
    }

    pub(super) fn send_to_coordinator(
        &mut self,
        index: usize,
        message: ToCoordinator,
    ) -> Result<(), Failure> {
        let agent = self.federation.agents[index].clone();
        self.oracle.said(&agent, &message)?;
        let certified = self.liar.hear_vote(&message).map_err(broken)?;
        self.certify_split(certified)?;
        let mut messages = vec![message];
        if self.court.is_liar(&agent)
            && self.luck.random_ratio(self.scenario.lie_per_mille, 1_000)
            && let identity = &self.federation.identities[index]
            && let Some(lie) = self.liar.agent_says(identity, &messages[0]).map_err(broken)?
        {
            self.counts.lies += 1;
            let what = lie.what;
            self.timeline.note(self.now_ms, || format!("LIE: {agent} {what}"));
            messages = lie.messages;
        }
        for message in messages {
            if let ToCoordinator::Complaint(complaint) = &message
                && let Ok(complaint) = complaint.peek()
                && let Some(roster) = self.rosters.get(&complaint.epoch)
                && let Some(dealer) = roster.get(complaint.dealer.index())
            {
                self.court.complaint(&agent, dealer)?;
            }
            let Some(link) = self.nodes[index].link else { return Ok(()) };
            let fate = self.fate(index, false)?;
            for at_ms in fate.arrivals_ms {
                let message = message.clone();
                self.schedule(at_ms, Event::ToCoordinator { index, link, message });
            }
            let history = &mut self.history.entry(index).or_default().to_coordinator;
            let old = fate.replay.and_then(|(at_ms, place)| {
                let place = place.checked_rem(history.len())?;
                Some((at_ms, history[place].clone()))
            });
            remember(history, message);
            if let Some((at_ms, message)) = old {
                self.schedule(at_ms, Event::ToCoordinator { index, link, message });
            }
        }
        Ok(())
    }

    /// The coordinator has got a certificate of survivors that are locked to different sessions.
    fn certify_split(&mut self, certified: Vec<(AgentId, ToAgent)>) -> Result<(), Failure> {
        for (agent, message) in certified {
            let unknown = || broken(format!("a message to the unknown {agent}"));
            let index = *self.index.get(&agent).ok_or_else(unknown)?;
            if let Some(link) = self.nodes[index].link {
                self.timeline.note(self.now_ms, || format!("LIE: a certificate, to {agent}"));
                let at_ms = self.now_ms + self.scenario.delay_max_ms;
                self.schedule(at_ms, Event::ToAgent { index, link, message });
            }
        }
        Ok(())
    }

    /// Sends the masked vector, on every connection again until the round is over: the transport
    /// resumes uploads.
    pub(super) fn upload(&mut self, index: usize) {
        let Some(link) = self.nodes[index].link else { return };
        let mut at_ms = self.now_ms;
        for (header, bytes) in self.nodes[index].uploads.clone() {
            at_ms += self.luck.random_range(1..=2 * self.scenario.delay_max_ms);
            self.schedule(at_ms, Event::Upload { index, link, header, bytes });
        }
    }

    /// What an agent uploads: its vector, or a liar's.
    pub(super) fn uploads_of(
        &mut self,
        index: usize,
        header: Signed<MaskedHeader>,
        bytes: Vec<u8>,
    ) -> Result<Vec<Upload>, Failure> {
        let agent = self.federation.agents[index].clone();
        let lies = self.court.is_liar(&agent)
            && self.luck.random_ratio(self.scenario.lie_per_mille, 1_000);
        if !lies {
            return Ok(vec![(header, bytes)]);
        }
        let key = &self.federation.identities[index].key;
        let lie = self.liar.agent_uploads(key, &header, &bytes).map_err(broken)?;
        self.counts.lies += 1;
        self.timeline.note(self.now_ms, || format!("LIE: {agent} {}", lie.what));
        for (other, other_bytes) in &lie.messages {
            self.take_second_vector(&agent, &bytes, other, other_bytes)?;
        }
        Ok(lie.messages)
    }

    /// A liar may put any vector into the sum, and the oracle must know which.
    fn take_second_vector(
        &mut self,
        agent: &AgentId,
        first: &[u8],
        header: &Signed<MaskedHeader>,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let Some(open) = &self.open else { return Ok(()) };
        let modulus = Modulus::new(open.modulus_bits).map_err(broken)?;
        let header = header.peek().map_err(broken)?;
        let Some(values) = self.oracle.vector(agent, header.session) else { return Ok(()) };
        let unpack = |bytes: &[u8]| packing::unpack(bytes, values.len(), modulus);
        let (Ok(first), Ok(second)) = (unpack(first), unpack(bytes)) else { return Ok(()) };
        // The masks of both are the same, so the vectors differ as the bytes do.
        let differences = second
            .iter()
            .zip(first)
            .map(|(second, first)| (*second as i64).wrapping_sub(first as i64));
        let values = values.iter().zip(differences).map(|(value, difference)| value + difference);
        let values = values.collect();
        self.oracle.second_vector(agent, header.session, header.digest, values);
        Ok(())
    }

    /// When a message arrives: never, once or twice, and mostly after its predecessors.
    fn fate(&mut self, index: usize, to_agent: bool) -> Result<Fate, Failure> {
        let agent = self.federation.agents[index].clone();
        if self.luck.random_ratio(self.scenario.disconnect_per_mille, 1_000) {
            self.break_link(index)?;
            return Ok(Fate { arrivals_ms: Vec::new(), replay: None });
        }
        if self.luck.random_ratio(self.scenario.loss_per_mille, 1_000) {
            self.court.trouble(&agent);
            self.timeline.note(self.now_ms, || format!("a message is lost, line of {agent}"));
            return Ok(Fate { arrivals_ms: Vec::new(), replay: None });
        }
        let replay = self.luck.random_ratio(self.scenario.replay_per_mille, 1_000).then(|| {
            let delay_ms = self.luck.random_range(1..=4 * self.scenario.delay_max_ms);
            (self.now_ms + delay_ms, self.luck.random_range(0..HISTORY_MAX))
        });
        let copies =
            1 + usize::from(self.luck.random_ratio(self.scenario.duplicate_per_mille, 1_000));
        let overtakes = self.luck.random_ratio(self.scenario.reorder_per_mille, 1_000);
        if overtakes || replay.is_some() {
            self.court.trouble(&agent);
        }
        let mut arrivals_ms = Vec::with_capacity(copies);
        for _ in 0..copies {
            let drawn_ms = self.now_ms + self.luck.random_range(1..=self.scenario.delay_max_ms);
            let last_ms = self.last_arrival_ms.entry((index, to_agent)).or_default();
            let at_ms = if overtakes { drawn_ms } else { drawn_ms.max(*last_ms) };
            *last_ms = at_ms.max(*last_ms);
            arrivals_ms.push(at_ms);
        }
        Ok(Fate { arrivals_ms, replay })
    }

    /// A connection breaks; perhaps because the agent restarts or dies.
    fn break_link(&mut self, index: usize) -> Result<(), Failure> {
        self.counts.disconnects += 1;
        let agent = self.federation.agents[index].clone();
        self.court.trouble(&agent);
        let node = &mut self.nodes[index];
        node.link = None;
        let what = if self.luck.random_ratio(self.scenario.death_per_mille, 1_000) {
            node.dead = true;
            "is gone for good"
        } else {
            let restarts = self.luck.random_ratio(self.scenario.restart_per_mille, 1_000);
            if restarts {
                self.counts.restarts += 1;
                node.life += 1;
                node.uploads.clear();
                let identity = self.federation.identities[index].clone();
                let memory = node.machine.memory().after_restart();
                node.machine =
                    agent::Machine::with_memory(identity, memory).share_verified(self.memo.clone());
            }
            let at_ms = self.now_ms + self.luck.random_range(50..6_000);
            self.schedule(at_ms, Event::Connect { index });
            if restarts { "restarts" } else { "loses its connection" }
        };
        self.timeline.note(self.now_ms, || format!("{agent} {what}"));
        let actions = self.coordinator.disconnected(&agent, self.now_ms);
        self.carry_out(actions)
    }
}

fn remember<T>(history: &mut Vec<T>, message: T) {
    if history.len() == HISTORY_MAX {
        history.remove(0);
    }
    history.push(message);
}
