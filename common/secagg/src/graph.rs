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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_complete_graph_joins_every_pair() {
        let graph = Graph::complete(5).unwrap();
        let neighbours: Vec<u16> = graph.neighbours(Slot(2)).map(|slot| slot.0).collect();
        assert_eq!(neighbours, [0, 1, 3, 4]);
        for one in 0..7 {
            for other in 0..7 {
                let (one, other) = (Slot(one), Slot(other));
                assert_eq!(
                    graph.are_neighbours(one, other),
                    graph.neighbours(one).any(|slot| slot == other)
                );
                assert_eq!(graph.are_neighbours(one, other), graph.are_neighbours(other, one));
            }
        }
        assert_eq!(graph.neighbours(Slot(5)).count(), 0);
    }

    #[test]
    fn other_sizes_are_refused() {
        assert_eq!(Graph::complete(1), Err(GraphError::TooFew { agents: 1 }));
        assert_eq!(Graph::complete(128).unwrap().agents(), 128);
        let refused = Graph::complete(129).unwrap_err();
        assert_eq!(refused, GraphError::TooMany { agents: 129 });
        assert!(refused.to_string().contains("sparse graph for more is not there yet"));
        assert!(Graph::complete(1 << 16).is_err());
    }

    #[test]
    fn the_seed_depends_on_every_nonce_and_the_roster() {
        let roster = Digest::plain(b"roster");
        let nonces = [[1; 32], [2; 32], [3; 32]];
        let reference = seed(&roster, &nonces);
        assert_ne!(reference, seed(&Digest::plain(b"other"), &nonces));
        assert_ne!(reference, seed(&roster, &nonces[..2]));
        for index in 0..3 {
            let mut changed = nonces;
            changed[index][31] ^= 1;
            assert_ne!(reference, seed(&roster, &changed));
        }
    }
}
