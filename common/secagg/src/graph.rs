//! Who shares masks and secrets with whom.
//!
//! With few agents every pair does. The sparse graph of Bell et al. 2020 (a Harary ring under a
//! seeded permutation), which larger rosters need, is not there yet: such rosters are refused.

use chorale_wire::{Digest, Slot, limits::COMPLETE_GRAPH_AGENTS_MAX};

/// The neighbourhood of every slot of a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Graph {
    /// Everybody is a neighbour of everybody else.
    Complete {
        /// Size of the roster, 2 to [`COMPLETE_GRAPH_AGENTS_MAX`].
        agents: u16,
    },
}

/// Why there is no graph for a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// One agent has nobody to share masks with.
    #[error("{agents} agents are too few for a graph; at least 2 are needed")]
    TooFew {
        /// Size of the roster.
        agents: usize,
    },
    /// Above the limit of the complete graph.
    #[error(
        "{agents} agents are too many: the complete graph serves up to \
         {COMPLETE_GRAPH_AGENTS_MAX} and the sparse graph for more is not there yet; \
         open the epoch with fewer agents"
    )]
    TooMany {
        /// Size of the roster.
        agents: usize,
    },
}

impl Graph {
    /// The complete graph over `agents` agents.
    ///
    /// # Errors
    /// [`GraphError`] unless `agents` is 2 to [`COMPLETE_GRAPH_AGENTS_MAX`].
    pub fn complete(agents: usize) -> Result<Self, GraphError> {
        match agents {
            0..2 => Err(GraphError::TooFew { agents }),
            2..=COMPLETE_GRAPH_AGENTS_MAX => Ok(Self::Complete { agents: agents as u16 }),
            _ => Err(GraphError::TooMany { agents }),
        }
    }

    /// Size of the roster.
    #[must_use]
    pub fn agents(&self) -> usize {
        match self {
            Self::Complete { agents } => usize::from(*agents),
        }
    }

    /// The neighbours of `slot` in ascending order; none for a slot outside the roster.
    pub fn neighbours(&self, slot: Slot) -> impl Iterator<Item = Slot> + use<> {
        match self {
            Self::Complete { agents } => {
                let end = if slot.0 < *agents { *agents } else { 0 };
                (0..end).map(Slot).filter(move |other| *other != slot)
            }
        }
    }

    /// Whether the two slots are neighbours.
    #[must_use]
    pub fn are_neighbours(&self, one: Slot, other: Slot) -> bool {
        match self {
            Self::Complete { agents } => one != other && one.0 < *agents && other.0 < *agents,
        }
    }
}

/// The graph's seed: a digest of the roster and of *all* its nonces in slot order. No agent and
/// no coordinator can choose it, because every nonce was committed to before any was revealed.
/// The complete graph does not use it; envelopes bind it.
#[must_use]
pub fn seed(roster: &Digest, nonces: &[[u8; 32]]) -> Digest {
    let mut parts: Vec<&[u8]> = Vec::with_capacity(nonces.len() + 1);
    parts.push(roster.as_bytes());
    parts.extend(nonces.iter().map(<[u8; 32]>::as_slice));
    Digest::of("chorale/1 graph seed", &parts)
}
