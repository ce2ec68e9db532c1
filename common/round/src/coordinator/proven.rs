//! SURVIVORS with signed inclusion: to each survivor the set, and the headers of those survivors
//! whose shares it holds.

use std::{collections::BTreeMap, fmt, sync::Arc};

use chorale_secagg::Graph;
use chorale_wire::{
    AgentId, Signed, Slot, SlotSet, ToAgent,
    message::{MaskedHeader, ProvenSurvivors, Survivors},
};

use crate::context::{Context, with_neighbours_in};

/// The survivors and the signed headers of all their vectors. Each agent needs those of its
/// neighbours only: on the sparse graph some 50 KB, another 50 KB for everybody. So a message is
/// made when it is sent, and the headers exist once.
pub(super) struct Proven {
    fixed: Signed<Survivors>,
    survivors: SlotSet,
    headers: BTreeMap<Slot, Signed<MaskedHeader>>,
    graph: Arc<Graph>,
}

impl Proven {
    pub(super) fn new(
        fixed: Signed<Survivors>,
        survivors: SlotSet,
        headers: BTreeMap<Slot, Signed<MaskedHeader>>,
        context: &Context,
    ) -> Arc<Self> {
        Arc::new(Self { fixed, survivors, headers, graph: context.graph.clone() })
    }

    /// SURVIVORS for the agent at `slot`.
    pub(super) fn message(&self, slot: Slot) -> ToAgent {
        let subjects = with_neighbours_in(&self.graph, slot, &self.survivors);
        let headers = subjects.iter().filter_map(|subject| self.headers.get(subject).cloned());
        let headers = headers.collect();
        ToAgent::Survivors(ProvenSurvivors { fixed: self.fixed.clone(), headers })
    }
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proven").field("survivors", &self.survivors).finish_non_exhaustive()
    }
}

/// One message for each of several agents, different for everyone. A message is made when it is
/// asked for, so that those for thousands of agents never exist at the same time.
#[derive(Debug, Clone)]
pub struct Letters {
    receivers: Vec<(AgentId, Slot)>,
    proven: Arc<Proven>,
}

impl Letters {
    pub(super) fn new(receivers: Vec<(AgentId, Slot)>, proven: Arc<Proven>) -> Self {
        Self { receivers, proven }
    }

    /// Each agent and its message, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentId, ToAgent)> {
        self.receivers.iter().map(|(agent, slot)| (agent, self.proven.message(*slot)))
    }
}
