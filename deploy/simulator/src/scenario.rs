//! What a seed stands for: the size of a federation and how unlucky it is.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// A federation and its misfortunes. Probabilities are in thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The seed of everything.
    pub seed: u64,
    /// Agents, 4 to 9.
    pub agents: usize,
    /// Rounds that the operator wants.
    pub rounds: u64,
    /// Rounds whose keys an epoch prepares.
    pub rounds_per_epoch: u16,
    /// Longest delay of a message in milliseconds.
    pub delay_max_ms: u64,
    /// Longest time of training or masking in milliseconds.
    pub work_max_ms: u64,
    /// Per message: its connection breaks instead, and all that is on the way is lost.
    pub disconnect_per_mille: u32,
    /// Per break: the agent restarts and loses its keys.
    pub restart_per_mille: u32,
    /// Per break: the agent never comes back.
    pub death_per_mille: u32,
    /// Per message: it is lost although the connection stays.
    pub loss_per_mille: u32,
    /// Per message: it arrives twice.
    pub duplicate_per_mille: u32,
    /// Per message: it overtakes others.
    pub reorder_per_mille: u32,
    /// Per round and agent: the agent refuses.
    pub refusal_per_mille: u32,
    /// Per pause between rounds: the coordinator restarts.
    pub coordinator_restart_per_mille: u32,
}

impl Scenario {
    /// The federation of `seed`. One in four is calm, so that plain success is tested too.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let calm = rng.random_bool(0.25);
        let mut bad_luck = |most: u32| {
            let drawn = rng.random_range(0..=most);
            if calm || drawn % 3 == 0 { 0 } else { drawn }
        };
        Self {
            seed,
            disconnect_per_mille: bad_luck(40),
            restart_per_mille: bad_luck(400),
            death_per_mille: bad_luck(200),
            loss_per_mille: bad_luck(15),
            duplicate_per_mille: bad_luck(100),
            reorder_per_mille: bad_luck(100),
            refusal_per_mille: bad_luck(100),
            coordinator_restart_per_mille: bad_luck(300),
            agents: rng.random_range(4..=9),
            rounds: rng.random_range(1..=3),
            rounds_per_epoch: rng.random_range(1..=3),
            delay_max_ms: rng.random_range(1..=800),
            work_max_ms: rng.random_range(1..=4_000),
        }
    }
}
