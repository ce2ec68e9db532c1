//! How many neighbours an agent of a ring needs, found by exact counting.
//!
//! The A corrupt agents are fixed before anybody can know the ring, because its permutation
//! depends on every agent's nonce; so are agents that drop out by accident. Seen from a fixed run
//! of m places of the ring, both are draws without replacement, and their numbers among the m are
//! hypergeometric. With n agents, A corrupt ones, D drop-outs and S = n - D survivors,
//!
//! - `c(m)` is the smallest c with `n · P[corrupt among m places >= c + 1] <= 2^-41`,
//! - `s(m)` is the largest s with `n · P[survivors among m places < s] <= 2^-40`,
//!
//! and m is the smallest number with `s(m) >= c(m) + 1` and `s(2m) >= c(2m) + 1`. Then k = 2m
//! neighbours (m on either side) suffice:
//!
//! - *Privacy*, up to 2^-40 for each ring drawn. No agent has more than c(2m) corrupt neighbours
//!   (2^-41 over all agents: whatever an agent itself is, its neighbours' places are 2m fixed
//!   ones), so a Shamir threshold above c(2m) keeps its secrets. No run of m places holds more
//!   than c(m) corrupt agents (2^-41); where more than c(m) of every m survive, an honest survivor
//!   is among any m places in a row, so that the honest survivors are joined along the ring by
//!   masks that nobody else knows. This holds for *every* survivor set that keeps the window rule,
//!   also for one that was chosen with the ring in view.
//! - *Correctness*, up to 2^-40 each: when D agents drop out by accident, the window rule holds,
//!   and every agent's surviving neighbours number at least s(2m), the largest threshold.
//!
//! All decisions are made in exact integers: no float decides. The method is that of Bell et al.
//! 2020 (section 4.1), for a protocol in which agents agree on one survivor set.

use chorale_wire::limits::{AGENTS_MAX, COMPLETE_GRAPH_AGENTS_MAX, NEIGHBOURS_MAX};
use num_bigint::BigUint;

use super::GraphError;

/// The shape of the graph that a roster needs. Both sides compute it; it is never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphParameters {
    /// Everybody is a neighbour of everybody else.
    Complete {
        /// Size of the roster, 2 to [`COMPLETE_GRAPH_AGENTS_MAX`].
        agents: u16,
    },
    /// Neighbours stand close together on a ring.
    Ring(RingParameters),
}

/// The figures of a ring. Only [`RingParameters::find`] makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingParameters {
    agents: u16,
    side: u16,
    threshold_min: u16,
    threshold_max: u16,
    window_survivors: u16,
}

impl GraphParameters {
    /// The graph for a roster of `agents` of which `corrupt` (A) are assumed corrupt and
    /// `dropouts` (D) may drop out: complete up to [`COMPLETE_GRAPH_AGENTS_MAX`], a ring above.
    ///
    /// # Errors
    /// [`GraphError`]: too few or too many agents, or no ring withstands so many of them.
    pub fn find(agents: usize, corrupt: usize, dropouts: usize) -> Result<Self, GraphError> {
        match agents {
            0..2 => Err(GraphError::TooFew { agents }),
            2..=COMPLETE_GRAPH_AGENTS_MAX => Ok(Self::Complete { agents: agents as u16 }),
            _ => RingParameters::find(agents, corrupt, dropouts).map(Self::Ring),
        }
    }
}

impl RingParameters {
    /// The smallest ring of `agents` that withstands `corrupt` (A) corrupt ones and `dropouts`
    /// (D) drop-outs. Takes some milliseconds for the largest rosters.
    ///
    /// # Errors
    /// [`GraphError::TooMany`] above [`AGENTS_MAX`]; [`GraphError::NoRing`] where not even
    /// min(n - 1, [`NEIGHBOURS_MAX`]) neighbours suffice.
    pub fn find(agents: usize, corrupt: usize, dropouts: usize) -> Result<Self, GraphError> {
        Self::find_at(&LEVELS, agents, corrupt, dropouts)
    }

    fn find_at(
        levels: &Levels,
        agents: usize,
        corrupt: usize,
        dropouts: usize,
    ) -> Result<Self, GraphError> {
        if agents > AGENTS_MAX {
            return Err(GraphError::TooMany { agents });
        }
        let none = GraphError::NoRing { agents, corrupt, dropouts };
        if corrupt > agents || dropouts > agents {
            return Err(none);
        }
        let side_max = NEIGHBOURS_MAX.min(agents.saturating_sub(1)) / 2;
        (1..=side_max)
            .find_map(|side| {
                let (window, _) = levels.bounds(agents, corrupt, dropouts, side)?;
                let (most, threshold_max) = levels.bounds(agents, corrupt, dropouts, 2 * side)?;
                // All are at most 2·side, which is at most NEIGHBOURS_MAX.
                Some(Self {
                    agents: agents as u16,
                    side: side as u16,
                    threshold_min: most as u16 + 1,
                    threshold_max: threshold_max as u16,
                    window_survivors: window as u16,
                })
            })
            .ok_or(none)
    }

    /// Size of the roster.
    #[must_use]
    pub fn agents(&self) -> usize {
        usize::from(self.agents)
    }

    /// Neighbours k of each agent, an even number.
    #[must_use]
    pub fn neighbours(&self) -> usize {
        2 * self.window()
    }

    /// Places m = k/2 in a window: also the neighbours on either side.
    #[must_use]
    pub fn window(&self) -> usize {
        usize::from(self.side)
    }

    /// Every window must keep more survivors than this.
    #[must_use]
    pub fn window_survivors(&self) -> usize {
        usize::from(self.window_survivors)
    }

    /// Smallest admissible Shamir threshold: one above the corrupt neighbours of any agent.
    #[must_use]
    pub fn threshold_min(&self) -> usize {
        usize::from(self.threshold_min)
    }

    /// Largest admissible Shamir threshold: so many neighbours of any agent survive.
    #[must_use]
    pub fn threshold_max(&self) -> usize {
        usize::from(self.threshold_max)
    }

    /// The Shamir threshold t in use: the middle of the admissible range, rounded down.
    ///
    /// At the lower end one agent's secrets are lost first when somewhat more agents are corrupt
    /// than assumed; at the upper end a round is lost first when somewhat more drop out, withhold
    /// or alter their shares. Neither promise rests on the slack, and the middle leaves some to
    /// both.
    #[must_use]
    pub fn threshold(&self) -> usize {
        usize::midpoint(self.threshold_min(), self.threshold_max())
    }
}

/// Statistical levels as exponents of 1/2.
#[derive(Clone, Copy, Debug)]
struct Levels {
    /// For each of the two bounds on corrupt agents.
    privacy_bits: u32,
    /// For each of the two bounds on survivors.
    correctness_bits: u32,
}

/// Two bounds at 2^-41 make 2^-40 for privacy.
const LEVELS: Levels = Levels { privacy_bits: 41, correctness_bits: 40 };

impl Levels {
    /// c and s for `places` places in a row; `None` unless s >= c + 1.
    fn bounds(
        &self,
        agents: usize,
        corrupt: usize,
        dropouts: usize,
        places: usize,
    ) -> Option<(usize, usize)> {
        let most_corrupt = most_marked(agents, corrupt, places, self.privacy_bits);
        // Fewer than s survive iff more than m - s drop out: the same question again.
        let fewest_survivors =
            places - most_marked(agents, dropouts, places, self.correctness_bits);
        (fewest_survivors > most_corrupt).then_some((most_corrupt, fewest_survivors))
    }
}

/// The smallest c with `n · P[X >= c + 1] <= 2^-bits`, where X counts the `marked` among `drawn`
/// of `population` = n that are drawn without replacement. All arguments are at most
/// `population`.
///
/// Exact: `P[X = j] = C(marked, j) · C(n - marked, drawn - j) / C(n, drawn)`, and the numerators
/// are added up from the largest j downwards while n · 2^bits times their sum is at most
/// C(n, drawn).
fn most_marked(population: usize, marked: usize, drawn: usize, bits: u32) -> usize {
    let unmarked = population - marked;
    let limit = (choose(population, drawn) >> bits) / population;
    let mut count = marked.min(drawn);
    let mut ways = choose(marked, count) * choose(unmarked, drawn - count);
    let mut sum = BigUint::ZERO;
    loop {
        sum += &ways;
        if sum > limit || count == 0 {
            return count;
        }
        // From j to j - 1, a division without remainder; zero where fewer cannot be drawn.
        ways *= count as u64 * (unmarked + count - drawn) as u64;
        ways /= (marked - count + 1) as u64 * (drawn - count + 1) as u64;
        count -= 1;
    }
}

/// Ways to choose `picks` of `count` at most 2^16; zero where there are none.
fn choose(count: usize, picks: usize) -> BigUint {
    if picks > count {
        return BigUint::ZERO;
    }
    let picks = picks.min(count - picks);
    (0..picks).fold(BigUint::from(1_u32), |ways, taken| {
        ways * (count - taken) as u64 / (taken + 1) as u64
    })
}

#[cfg(test)]
mod tests;
