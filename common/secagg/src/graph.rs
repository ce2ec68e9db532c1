//! Who shares masks and secrets with whom.
//!
//! With few agents every pair does. Above [`COMPLETE_GRAPH_AGENTS_MAX`] the graph is that of Bell
//! et al. 2020: a Harary ring, in which each agent has the k/2 agents on either side of its place
//! as neighbours, under a [permutation] that the graph seed decides. How large k must be is a
//! matter of [counting](parameters).
//!
//! The ring protects only survivor sets that keep the *window rule* ([`Graph::check_window`]):
//! every k/2 places in a row keep more than a certain number of survivors, so that no choice of
//! drop-outs cuts the honest survivors into parts whose sums could be told apart.

mod parameters;
mod permutation;

use chorale_wire::{
    Digest, Slot, SlotSet,
    limits::{AGENTS_MAX, COMPLETE_GRAPH_AGENTS_MAX, NEIGHBOURS_MAX},
};

pub use parameters::{GraphParameters, RingParameters};

/// The neighbourhood of every slot of a roster, built once per epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    seed: Digest,
    shape: Shape,
}

#[derive(Clone, PartialEq, Eq)]
enum Shape {
    Complete {
        agents: u16,
    },
    Ring {
        parameters: RingParameters,
        /// The slot at each place.
        ring: Vec<Slot>,
        /// The place of each slot.
        places: Vec<u16>,
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
    /// Above the limit of all rosters.
    #[error("{agents} agents are too many for one roster: at most {AGENTS_MAX} are possible")]
    TooMany {
        /// Size of the roster.
        agents: usize,
    },
    /// Not even the most neighbours that are possible suffice.
    #[error(
        "no sparse graph of {agents} agents with at most {NEIGHBOURS_MAX} neighbours each \
         withstands {corrupt} corrupt agents and {dropouts} drop-outs: raise survivors_min, \
         or open the epoch with at most {COMPLETE_GRAPH_AGENTS_MAX} agents"
    )]
    NoRing {
        /// Size of the roster.
        agents: usize,
        /// Agents assumed corrupt.
        corrupt: usize,
        /// Drop-outs to be withstood.
        dropouts: usize,
    },
}

/// A set of agents that does not keep the window rule: the sum over it could fall apart into
/// sums over fewer agents. Whoever chose the set is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{present} of {window} agents in a row on the ring are in the set; at least {needed} are \
     needed, so that the others stay joined by masks"
)]
pub struct WindowError {
    /// Places in a window.
    pub window: usize,
    /// Agents of the set in the emptiest window.
    pub present: usize,
    /// Fewest admissible.
    pub needed: usize,
}

impl Graph {
    /// The graph of these parameters under `seed` ([`seed`]).
    #[must_use]
    pub fn new(parameters: GraphParameters, seed: Digest) -> Self {
        let shape = match parameters {
            GraphParameters::Complete { agents } => Shape::Complete { agents },
            GraphParameters::Ring(parameters) => {
                // The roster's size is at most AGENTS_MAX.
                let ring = permutation::ring(&seed, parameters.agents() as u16);
                let mut places = vec![0; ring.len()];
                for (place, slot) in ring.iter().enumerate() {
                    places[slot.index()] = place as u16;
                }
                Shape::Ring { parameters, ring, places }
            }
        };
        Self { seed, shape }
    }

    /// The seed that the graph was built from; a digest of the roster and all its nonces.
    #[must_use]
    pub fn seed(&self) -> Digest {
        self.seed
    }

    /// Size of the roster.
    #[must_use]
    pub fn agents(&self) -> usize {
        match &self.shape {
            Shape::Complete { agents } => usize::from(*agents),
            Shape::Ring { ring, .. } => ring.len(),
        }
    }

    /// Neighbours of each agent.
    #[must_use]
    pub fn degree(&self) -> usize {
        match &self.shape {
            Shape::Complete { agents } => usize::from(*agents) - 1,
            Shape::Ring { parameters, .. } => parameters.neighbours(),
        }
    }

    /// The neighbours of `slot` in ascending order; none for a slot outside the roster.
    #[must_use]
    pub fn neighbours(&self, slot: Slot) -> Vec<Slot> {
        if slot.index() >= self.agents() {
            return Vec::new();
        }
        match &self.shape {
            Shape::Complete { agents } => {
                (0..*agents).map(Slot).filter(|other| *other != slot).collect()
            }
            Shape::Ring { parameters, ring, places } => {
                let place = usize::from(places[slot.index()]);
                let mut neighbours: Vec<Slot> = (1..=parameters.window())
                    .flat_map(|step| [place + step, place + ring.len() - step])
                    .map(|place| ring[place % ring.len()])
                    .collect();
                neighbours.sort_unstable();
                neighbours
            }
        }
    }

    /// All slots, those next to each other being neighbours of nearly the same agents.
    #[must_use]
    pub fn by_place(&self) -> Vec<Slot> {
        match &self.shape {
            Shape::Complete { agents } => (0..*agents).map(Slot).collect(),
            Shape::Ring { ring, .. } => ring.clone(),
        }
    }

    /// Whether the two slots are neighbours.
    #[must_use]
    pub fn are_neighbours(&self, one: Slot, other: Slot) -> bool {
        if one == other || one.index().max(other.index()) >= self.agents() {
            return false;
        }
        match &self.shape {
            Shape::Complete { .. } => true,
            Shape::Ring { parameters, ring, places } => {
                let apart = places[one.index()].abs_diff(places[other.index()]);
                let apart = usize::from(apart);
                apart.min(ring.len() - apart) <= parameters.window()
            }
        }
    }

    /// Checks the window rule over the whole ring: of every k/2 places in a row, across the end
    /// as well, more than [`RingParameters::window_survivors`] are in `present`. The complete
    /// graph has no such rule: there everybody shares a mask with everybody.
    ///
    /// # Errors
    /// [`WindowError`] describes the emptiest window. A set over another roster counts as empty.
    pub fn check_window(&self, present: &SlotSet) -> Result<(), WindowError> {
        let Shape::Ring { parameters, ring, .. } = &self.shape else {
            return Ok(());
        };
        let window = parameters.window();
        let needed = parameters.window_survivors() + 1;
        let same_roster = present.agents() == ring.len();
        let there =
            |place: usize| usize::from(same_roster && present.contains(ring[place % ring.len()]));
        let mut count: usize = (0..window).map(there).sum();
        let mut emptiest = count;
        for place in 1..ring.len() {
            count = count + there(place + window - 1) - there(place - 1);
            emptiest = emptiest.min(count);
        }
        if emptiest < needed {
            return Err(WindowError { window, present: emptiest, needed });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Complete { agents } => write!(f, "Complete({agents})"),
            Self::Ring { parameters, .. } => parameters.fmt(f),
        }
    }
}

/// The graph's seed: a digest of the roster and of *all* its nonces in slot order. No agent and
/// no coordinator can choose it, because every nonce was committed to before any was revealed.
/// It decides the ring's permutation; envelopes and sessions bind it, whatever the graph.
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
    use proptest::prelude::*;

    use super::*;

    fn graph(agents: usize, corrupt: usize, dropouts: usize, seed: &[u8]) -> Graph {
        let parameters = GraphParameters::find(agents, corrupt, dropouts).unwrap();
        Graph::new(parameters, Digest::plain(seed))
    }

    fn assert_consistent(graph: &Graph) {
        let agents = graph.agents() as u16;
        for one in 0..agents + 2 {
            let neighbours = graph.neighbours(Slot(one));
            let expected = if one < agents { graph.degree() } else { 0 };
            assert_eq!(neighbours.len(), expected);
            assert!(neighbours.is_sorted_by(|a, b| a < b));
            for other in 0..agents + 2 {
                let joined = graph.are_neighbours(Slot(one), Slot(other));
                assert_eq!(joined, neighbours.contains(&Slot(other)));
                assert_eq!(joined, graph.are_neighbours(Slot(other), Slot(one)));
            }
        }
    }

    #[test]
    fn up_to_128_agents_every_pair_is_joined() {
        let small = graph(5, 1, 1, b"any");
        let neighbours: Vec<u16> = small.neighbours(Slot(2)).iter().map(|slot| slot.0).collect();
        assert_eq!(neighbours, [0, 1, 3, 4]);
        assert_consistent(&small);
        // Nobody but the set's size decides, and that is for others to check.
        assert_eq!(small.check_window(&SlotSet::empty(5)), Ok(()));
        assert_eq!(graph(128, 13, 42, b"any").degree(), 127);
    }

    #[test]
    fn above_agents_have_the_next_places_on_either_side() {
        let ring = graph(160, 16, 16, b"seed");
        assert_eq!(ring.degree(), 66);
        assert_consistent(&ring);
        let order = permutation::ring(&ring.seed(), 160);
        let mut expected: Vec<Slot> =
            (1..=33).flat_map(|step| [order[step], order[160 - step]]).collect();
        expected.sort_unstable();
        assert_eq!(ring.neighbours(order[0]), expected);
        assert_ne!(ring, graph(160, 16, 16, b"other"));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let find = GraphParameters::find;
        assert_eq!(find(1, 1, 0), Err(GraphError::TooFew { agents: 1 }));
        assert_eq!(find(10_001, 1, 0), Err(GraphError::TooMany { agents: 10_001 }));
        let refused = find(10_000, 3_300, 3_333).unwrap_err();
        assert!(matches!(refused, GraphError::NoRing { .. }));
        assert!(refused.to_string().contains("raise survivors_min"));
        assert!(find(200, 201, 0).is_err() && find(200, 0, 201).is_err());
        // Every third agent may drop out at the default share of corrupt ones, at every size.
        for agents in [129, 130, 150, 200, 500, 1_000, 3_000, 10_000] {
            assert!(find(agents, agents.div_ceil(10), agents / 3).is_ok(), "{agents}");
        }
    }

    #[test]
    fn one_emptied_window_anywhere_breaks_the_rule() {
        let ring = graph(160, 16, 16, b"seed");
        let order = permutation::ring(&ring.seed(), 160);
        let all = || SlotSet::from_slots(160, order.iter().copied());
        assert_eq!(ring.check_window(&all()), Ok(()));
        // 16 of 33 places must not be fewer than 17: 16 may be missing in a row, and no 17.
        for start in 0..160 {
            let without = |missing: usize| {
                let gone: Vec<Slot> =
                    (0..missing).map(|step| order[(start + step) % 160]).collect();
                SlotSet::from_slots(160, all().iter().filter(|slot| !gone.contains(slot)))
            };
            assert_eq!(ring.check_window(&without(16)), Ok(()), "{start}");
            let error = ring.check_window(&without(17)).unwrap_err();
            assert_eq!(error, WindowError { window: 33, present: 16, needed: 17 }, "{start}");
        }
        assert!(ring.check_window(&SlotSet::from_slots(161, order)).is_err());
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn the_window_rule_is_its_definition(
            seed: [u8; 8],
            agents in 129_usize..200,
            gone in proptest::collection::vec(any::<u16>(), 0..40),
        ) {
            let ring = graph(agents, agents.div_ceil(10), agents / 5, &seed);
            let order = permutation::ring(&ring.seed(), agents as u16);
            let gone: Vec<Slot> = gone.iter().map(|slot| Slot(slot % agents as u16)).collect();
            let present =
                SlotSet::from_slots(agents, order.iter().copied().filter(|s| !gone.contains(s)));
            let GraphParameters::Ring(parameters) =
                GraphParameters::find(agents, agents.div_ceil(10), agents / 5).unwrap()
            else {
                panic!("a complete graph");
            };
            let counts = (0..agents).map(|start| {
                let window = (0..parameters.window()).map(|step| order[(start + step) % agents]);
                window.filter(|slot| present.contains(*slot)).count()
            });
            let emptiest = counts.min().unwrap();
            prop_assert_eq!(
                ring.check_window(&present).is_ok(),
                emptiest > parameters.window_survivors()
            );
        }
    }
}
