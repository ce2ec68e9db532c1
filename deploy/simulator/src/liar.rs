//! Parties that lie. An honest machine speaks, and what it says is altered before it leaves, with
//! the liar's own key: whatever a corrupt party could sign, and nothing that it could not.
//!
//! The lies are those of the attack list in `docs/threat-model.md`, drawn at random; silence is
//! one of them.

mod agent;
mod coordinator;
mod split;

use std::collections::BTreeMap;

use chorale_plan::CohortRule;
use chorale_wire::{
    AgentId, EncodeError, Message, SecretKey, Signed, SignedBytes, SlotSet, ToAgent,
    message::{Commit, ShareEnvelope},
};
use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;

use self::split::Split;

/// A lie in the place of one message.
pub(crate) struct Lie<M> {
    /// What it is, for people to read.
    pub(crate) what: &'static str,
    /// What is said instead; empty for silence.
    pub(crate) messages: Vec<M>,
}

impl<M> Lie<M> {
    fn silence() -> Self {
        Self { what: "says nothing", messages: Vec::new() }
    }

    fn one(what: &'static str, message: M) -> Self {
        Self { what, messages: vec![message] }
    }

    fn both(what: &'static str, first: M, second: M) -> Self {
        Self { what, messages: vec![first, second] }
    }
}

/// What liars remember of what they heard.
#[derive(Default)]
struct Memory {
    /// HPKE keys of the last roster, by slot.
    hpke: Vec<[u8; 32]>,
    /// The last envelopes that came.
    inbox: Vec<Signed<ShareEnvelope>>,
}

/// Everybody who lies, with one memory: liars collude.
pub(crate) struct Liar {
    luck: ChaCha20Rng,
    rule: CohortRule,
    coordinator: SecretKey,
    memory: BTreeMap<AgentId, Memory>,
    /// The spec and the cohort of the last round that the coordinator opened.
    open: Option<SignedBytes>,
    commit: Option<Commit>,
    /// A cohort that is being split.
    split: Option<Split>,
}

impl Liar {
    pub(crate) fn new(luck: ChaCha20Rng, rule: CohortRule, coordinator: SecretKey) -> Self {
        let memory = BTreeMap::new();
        Self { luck, rule, coordinator, memory, open: None, commit: None, split: None }
    }

    /// The coordinator is about to say something.
    pub(crate) fn note(&mut self, message: &ToAgent) {
        match message {
            ToAgent::RoundOpen(open) => self.open = Some(open.clone()),
            ToAgent::Commit(commit) => self.commit = commit.peek().ok(),
            _ => {}
        }
    }

    /// A lying agent hears something.
    pub(crate) fn hear(&mut self, agent: &AgentId, message: &ToAgent) {
        let memory = self.memory.entry(agent.clone()).or_default();
        match message {
            ToAgent::Roster(roster) => {
                let adverts = roster.adverts.iter().filter_map(|advert| advert.peek().ok());
                memory.hpke = adverts.map(|advert| advert.hpke).collect();
            }
            ToAgent::Shares(envelopes) => memory.inbox = envelopes.clone(),
            _ => {}
        }
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.luck.random_range(0..choices.len())]
    }

    fn place(&mut self, length: usize) -> usize {
        self.luck.random_range(0..length.max(1))
    }

    /// A set without one of its members, or without all but three.
    fn smaller(&mut self, set: &SlotSet) -> SlotSet {
        let mut members: Vec<_> = set.iter().collect();
        if self.luck.random_bool(0.25) {
            members.truncate(3);
        } else if !members.is_empty() {
            members.remove(self.place(members.len()));
        }
        SlotSet::from_slots(set.agents(), members)
    }
}

/// Alters a signed message and signs it with `key`. What cannot be read is left as it is.
fn altered<T: Message>(
    signed: &Signed<T>,
    key: &SecretKey,
    alter: impl FnOnce(&mut T),
) -> Result<Signed<T>, EncodeError> {
    match signed.peek() {
        Ok(mut message) => {
            alter(&mut message);
            Signed::sign(&message, key)
        }
        Err(_) => Ok(signed.clone()),
    }
}
