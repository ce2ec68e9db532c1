//! What each person's part weighed, for an odometer that stays at the agent.

use chorale_plan::Pseudonym;

/// Takes the weight of each person's part while a vector is made. What it learns is personal data
/// and must not leave the agent; it cannot refuse or change anything.
pub trait Meter {
    /// `who`'s part was added with squared L2 norm `norm_squared`, in squared lattice units, after
    /// rounding and clipping: at most ⌊Δ/M_cap⌋², and 0 for a part of zeros.
    fn person(&mut self, who: Pseudonym, norm_squared: u128);
}
