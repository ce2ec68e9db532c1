//! What a seed stands for: the size of a federation, how unlucky it is and who lies in it.

use std::ops::RangeInclusive;

use chorale_plan::CohortRule;
use chorale_round::GAMMA_PER_MILLE;
use chorale_wire::limits::ROUNDS_PER_EPOCH_MAX;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// Agents of the largest federation with faults; larger ones are for `crate::cost`.
const AGENTS_MAX: u64 = 1_000;

/// A federation, its misfortunes and its liars. Probabilities are in thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The seed of everything.
    pub seed: u64,
    /// Agents.
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
    /// Per message: one that went the same way earlier, in whatever round or epoch, comes again.
    pub replay_per_mille: u32,
    /// Per round and agent: the agent refuses.
    pub refusal_per_mille: u32,
    /// Per pause between rounds: the coordinator restarts.
    pub coordinator_restart_per_mille: u32,
    /// Agents that lie, at most A of them count.
    pub liars: usize,
    /// Per message of a liar: it is a lie.
    pub lie_per_mille: u32,
    /// Per message of the coordinator: it is a lie.
    pub coordinator_lie_per_mille: u32,
    /// Per round: the coordinator shows one agent a cohort of its own, and the others survivors as
    /// if that agent were locked to theirs.
    pub split_per_mille: u32,
}

/// One number of a scenario, as an option of `cargo simulate`.
pub struct Parameter {
    /// Name of the option without dashes.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Admissible values; the least is the least trouble.
    pub range: RangeInclusive<u64>,
    read: fn(&Scenario) -> u64,
    write: fn(&mut Scenario, u64),
}

/// A parameter whose field has the type `$kind`.
macro_rules! parameter {
    ($name:literal, $help:literal, $range:expr, $field:ident: $kind:ty) => {
        Parameter {
            name: $name,
            help: $help,
            range: $range,
            read: |scenario| scenario.$field as u64,
            write: |scenario, value| scenario.$field = value as $kind,
        }
    };
}

/// Every number of a scenario but its seed.
pub const PARAMETERS: [Parameter; 18] = [
    parameter!("agents", "agents", 4..=AGENTS_MAX, agents: usize),
    parameter!("rounds", "rounds that are wanted", 1..=12, rounds: u64),
    parameter!(
        "rounds-per-epoch", "rounds whose keys an epoch prepares",
        1..=ROUNDS_PER_EPOCH_MAX as u64, rounds_per_epoch: u16
    ),
    parameter!("delay", "longest delay of a message, ms", 1..=5_000, delay_max_ms: u64),
    parameter!("work", "longest training or masking, ms", 1..=8_000, work_max_ms: u64),
    parameter!("disconnect", "per message: breaks, ‰", 0..=1_000, disconnect_per_mille: u32),
    parameter!("restart", "per break: restarts of the agent, ‰", 0..=1_000, restart_per_mille: u32),
    parameter!("death", "per break: agent is gone for good, ‰", 0..=1_000, death_per_mille: u32),
    parameter!("loss", "per message: lost, ‰", 0..=1_000, loss_per_mille: u32),
    parameter!("duplicate", "per message: doubled, ‰", 0..=1_000, duplicate_per_mille: u32),
    parameter!("reorder", "per message: overtakes others, ‰", 0..=1_000, reorder_per_mille: u32),
    parameter!("replay", "per message: an old one again, ‰", 0..=1_000, replay_per_mille: u32),
    parameter!("refusal", "per round and agent: refusals, ‰", 0..=1_000, refusal_per_mille: u32),
    parameter!(
        "coordinator-restart", "per pause: restarts of the coordinator, ‰",
        0..=1_000, coordinator_restart_per_mille: u32
    ),
    parameter!("liars", "agents that lie, at most A", 0..=1_000, liars: usize),
    parameter!("lie", "per message of a liar: lies, ‰", 0..=1_000, lie_per_mille: u32),
    parameter!(
        "coordinator-lie", "per message of the coordinator: lies, ‰",
        0..=1_000, coordinator_lie_per_mille: u32
    ),
    parameter!("split", "per round: two cohorts, ‰", 0..=1_000, split_per_mille: u32),
];

impl Parameter {
    /// The parameter's value in `scenario`.
    #[must_use]
    pub fn value(&self, scenario: &Scenario) -> u64 {
        (self.read)(scenario)
    }

    /// Sets it; false for an inadmissible value, and nothing is set then.
    pub fn set(&self, scenario: &mut Scenario, value: u64) -> bool {
        let admissible = self.range.contains(&value);
        if admissible {
            (self.write)(scenario, value);
        }
        admissible
    }
}

impl Scenario {
    /// The federation of `seed`: 4 to 9 agents. One in four has a calm network, so that plain
    /// success is tested too; in half of all somebody lies.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let calm = rng.random_bool(0.25);
        let mut bad_luck = |most: u32| {
            let drawn = rng.random_range(0..=most);
            if calm || drawn % 3 == 0 { 0 } else { drawn }
        };
        let mut scenario = Self {
            seed,
            disconnect_per_mille: bad_luck(40),
            restart_per_mille: bad_luck(400),
            death_per_mille: bad_luck(200),
            loss_per_mille: bad_luck(15),
            duplicate_per_mille: bad_luck(100),
            reorder_per_mille: bad_luck(100),
            replay_per_mille: bad_luck(50),
            refusal_per_mille: bad_luck(100),
            coordinator_restart_per_mille: bad_luck(300),
            agents: rng.random_range(4..=9),
            rounds: rng.random_range(1..=3),
            rounds_per_epoch: rng.random_range(1..=3),
            delay_max_ms: rng.random_range(1..=800),
            work_max_ms: rng.random_range(1..=4_000),
            liars: 0,
            lie_per_mille: 0,
            coordinator_lie_per_mille: 0,
            split_per_mille: 0,
        };
        let villains = rng.random_range(0..8);
        if villains % 2 == 1 {
            scenario.liars = scenario.corrupt_max();
            scenario.lie_per_mille = rng.random_range(50..=400);
        }
        if villains == 6 || villains == 7 {
            scenario.coordinator_lie_per_mille = rng.random_range(5..=150);
            scenario.split_per_mille = rng.random_range(0..=300);
        }
        scenario
    }

    /// The federation of `seed` with so many agents. The more there are, the less often each
    /// message is unlucky, so that epochs come to be and rounds complete: a setup has some n
    /// messages, and one of them that fails can end it. As many as are assumed corrupt lie where
    /// any do.
    #[must_use]
    pub fn sized(seed: u64, agents: usize) -> Self {
        let mut scenario = Self::from_seed(seed);
        let squared = (agents * agents) as u32;
        let share = |per_mille: u32| (per_mille * 36).div_ceil(squared);
        scenario.agents = agents;
        scenario.disconnect_per_mille = share(scenario.disconnect_per_mille);
        scenario.loss_per_mille = share(scenario.loss_per_mille);
        scenario.reorder_per_mille = share(scenario.reorder_per_mille);
        scenario.replay_per_mille = share(scenario.replay_per_mille);
        // A lie ends less, and there are only n/10 liars.
        scenario.lie_per_mille = (scenario.lie_per_mille * 12).div_ceil(agents as u32);
        scenario.coordinator_lie_per_mille = share(scenario.coordinator_lie_per_mille);
        if scenario.liars > 0 {
            scenario.liars = scenario.corrupt_max();
        }
        scenario
    }

    /// The command that plays exactly this federation.
    #[must_use]
    pub fn command(&self) -> String {
        let given = Self::from_seed(self.seed);
        let mut command = format!("cargo simulate --seed {}", self.seed);
        for parameter in &PARAMETERS {
            let value = parameter.value(self);
            if value != parameter.value(&given) {
                command.push_str(&format!(" --{} {value}", parameter.name));
            }
        }
        command
    }

    /// Agents assumed corrupt, A.
    #[must_use]
    pub fn corrupt_max(&self) -> usize {
        CohortRule::corrupt_of(self.agents as u32, GAMMA_PER_MILLE) as usize
    }

    /// Whether messages arrive once, in order and in time, everybody stays and nobody refuses.
    pub(crate) fn calm(&self) -> bool {
        self.disconnect_per_mille == 0
            && self.loss_per_mille == 0
            && self.refusal_per_mille == 0
            && self.reorder_per_mille == 0
            && self.replay_per_mille == 0
            && self.coordinator_restart_per_mille == 0
    }

    /// Whether nobody lies.
    pub(crate) fn honest(&self) -> bool {
        (self.liars == 0 || self.lie_per_mille == 0)
            && self.coordinator_lie_per_mille == 0
            && self.split_per_mille == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_holds_every_number_that_differs() {
        let scenario = Scenario::from_seed(11);
        assert_eq!(scenario.command(), "cargo simulate --seed 11");
        let mut other = scenario.clone();
        for parameter in &PARAMETERS {
            let value = parameter.value(&other);
            let changed = if value == *parameter.range.end() { value - 1 } else { value + 1 };
            assert!(parameter.set(&mut other, changed));
        }
        let command = other.command();
        let mut replayed = scenario;
        let mut words = command.split(' ').skip(4);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let parameter = PARAMETERS.iter().find(|other| name == format!("--{}", other.name));
            parameter.map(|known| known.set(&mut replayed, value.parse().unwrap_or(u64::MAX)));
        }
        assert_eq!(replayed, other);
        let agents = &PARAMETERS[0];
        assert!(!agents.set(&mut other, 3));
    }
}
