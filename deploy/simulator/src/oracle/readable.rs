//! What the coordinator and the liars can read with all shares that came out, in whatever session:
//! not what the protocol means to open, but what arithmetic opens.

use std::collections::{BTreeMap, BTreeSet};

use chorale_secagg::Graph;
use chorale_wire::{AgentId, Slot, SlotSet};

use super::{Keys, Shares};

/// Kinds of secrets, as places in [`Shares`].
const SELF_SEED: usize = 0;
const PAIRWISE_KEY: usize = 1;

/// What honest agents masked for one session.
#[derive(Debug)]
pub(super) struct MaskedFor {
    pub(super) keys: Keys,
    pub(super) cohort: SlotSet,
    /// Honest agents that made a vector.
    pub(super) agents: BTreeSet<Slot>,
}

/// Who shares masks and secrets with whom in an epoch.
#[derive(Debug)]
pub(crate) struct Sharing {
    names: Vec<AgentId>,
    slots: BTreeMap<AgentId, Slot>,
    graph: Graph,
    /// Shares that open a secret.
    threshold: usize,
    liars: BTreeSet<Slot>,
}

impl Sharing {
    pub(super) fn new(
        names: Vec<AgentId>,
        graph: Graph,
        threshold: usize,
        liars: &BTreeSet<AgentId>,
    ) -> Self {
        let slots: BTreeMap<AgentId, Slot> = names.iter().cloned().zip((0..).map(Slot)).collect();
        let liars = liars.iter().filter_map(|liar| slots.get(liar).copied()).collect();
        Self { names, slots, graph, threshold, liars }
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(crate) fn liars(&self) -> &BTreeSet<Slot> {
        &self.liars
    }

    pub(crate) fn slot_of(&self, agent: &AgentId) -> Option<Slot> {
        self.slots.get(agent).copied()
    }

    pub(crate) fn name(&self, slot: Slot) -> Option<&AgentId> {
        self.names.get(slot.index())
    }

    /// Whether the shares of these holders, and those that liars hold, open a secret of `subject`.
    pub(super) fn opens(&self, subject: Slot, holders: &BTreeSet<AgentId>) -> bool {
        let silent_liars = self.graph.neighbours(subject).into_iter().filter(|slot| {
            self.liars.contains(slot) && self.name(*slot).is_none_or(|name| !holders.contains(name))
        });
        holders.len() + silent_liars.count() >= self.threshold
    }

    /// The parts of a session's honest vectors whose sums can be read: vectors of which the self
    /// mask is known, with every neighbour with whom they share a mask that nobody else knows. One
    /// such mask that no other vector of the part takes off hides all of it.
    pub(super) fn readable_parts(
        &self,
        masked: &MaskedFor,
        shares: &Shares,
    ) -> Vec<BTreeSet<Slot>> {
        let known = |slot: Slot, kind: usize| {
            self.liars.contains(&slot)
                || shares
                    .get(&(masked.keys, slot))
                    .is_some_and(|holders| self.opens(slot, &holders[kind]))
        };
        let bare: BTreeSet<Slot> =
            masked.agents.iter().copied().filter(|slot| known(*slot, SELF_SEED)).collect();
        if bare.is_empty() {
            return Vec::new();
        }
        let open: BTreeSet<Slot> =
            masked.cohort.iter().filter(|slot| known(*slot, PAIRWISE_KEY)).collect();
        let mut left = bare.clone();
        let mut parts = Vec::new();
        while let Some(first) = left.pop_first() {
            let (mut part, mut hidden) = (BTreeSet::from([first]), false);
            let mut waiting = vec![first];
            while let Some(slot) = waiting.pop() {
                let joined = self.graph.neighbours(slot).into_iter().filter(|other| {
                    masked.cohort.contains(*other) && !open.contains(other) && !open.contains(&slot)
                });
                for other in joined {
                    if !bare.contains(&other) {
                        hidden = true;
                    } else if part.insert(other) {
                        left.remove(&other);
                        waiting.push(other);
                    }
                }
            }
            if !hidden {
                parts.push(part);
            }
        }
        parts
    }
}
