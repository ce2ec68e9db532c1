//! Coordinator and agents are killed (SIGKILL) at random points of many rounds, as processes.
//!
//! At every kill and at the end: the ledger verifies, and what both sides have spent is never below
//! what was released. A total that was unmasked leaves a model file before anything else, so the
//! number of model files is a count of releases that no budget had a hand in. In all, at most one
//! reservation per kill is charged without a release. Every customer and profile of a killed agent is
//! there as before, and no file of either side holds a raw id in plain text.
//!
//! This executable is also the two programs. `cargo test -p chorale-tests --test crash` plays a
//! short run; `cargo test -p chorale-tests --test crash -- --rounds 200 --seed 7` a long one.
#![allow(missing_docs, clippy::unwrap_used)]

mod budget;
mod disks;
mod processes;

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use chorale_coordinator::events::Event;
use chorale_tests::{Federation, Setup, federation::plan};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use processes::{Died, Processes};

const AGENTS: u32 = 6;

/// Most rounds of one plan here; a plan may have 64.
const PLAN_ROUNDS: u32 = 50;

/// Nothing is heard for so long: it hangs. Not a statement about speed.
const SILENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.nth(1);
    match program.as_ref().and_then(|name| name.to_str()) {
        Some("coordinator") => {
            let arguments = std::iter::once("coordinator".into()).chain(arguments);
            return chorale_coordinator::cli::main(arguments);
        }
        Some("client-agent") => {
            let arguments = std::iter::once("client-agent".into()).chain(arguments);
            return chorale_client_agent::cli::main(arguments);
        }
        _ => {}
    }
    let option = |name: &str, default: u64| {
        let mut all = std::env::args().skip_while(|argument| argument != name).skip(1);
        all.next().map_or(default, |value| value.parse().unwrap())
    };
    let (rounds, seed) = (option("--rounds", 10) as u32, option("--seed", 1));
    let done = play(rounds, seed);
    let mut said = std::io::stderr().lock();
    writeln!(said, "test nothing_spent_is_forgotten_when_processes_are_killed ... ok\n{done}")
        .unwrap();
    ExitCode::SUCCESS
}

/// What a run did.
#[derive(Debug, Default)]
struct Done {
    rounds: u32,
    coordinator_kills: u32,
    agent_kills: u32,
    /// The coordinator gave up by itself, since a question must not be asked twice.
    halts: u32,
    /// Rounds charged in the ledger without a release.
    charged_for_nothing: u32,
    /// The most of them at one agent.
    charged_for_nothing_at_an_agent: u32,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} rounds released; the coordinator was killed {} times, agents {} times, {} halts; \
             charged without a release: {} rounds in the ledger, at most {} at one agent",
            self.rounds,
            self.coordinator_kills,
            self.agent_kills,
            self.halts,
            self.charged_for_nothing,
            self.charged_for_nothing_at_an_agent
        )
    }
}

fn play(rounds: u32, seed: u64) -> Done {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let federation = runtime.block_on(Federation::new(Setup {
        agents: AGENTS,
        survivors_min: AGENTS - 1,
        plans: plans(rounds),
        timing: "gather_ms = 2000\nsetup_ms = 5000\nready_ms = 5000\nupload_ms = 5000\n\
                 reveal_ms = 5000\nretries = 20\n"
            .into(),
        ..Setup::default()
    }));
    let known = disks::Known::of(&federation, AGENTS);
    let mut chance = Chance(ChaCha20Rng::seed_from_u64(seed));
    let mut done = Done::default();
    let mut processes = Processes::new(&federation);
    // A victim, and until when it lives.
    let mut doomed: Option<(u32, Instant)> = None;
    let mut released = BTreeSet::new();
    loop {
        let wait = doomed.map_or(SILENCE, |(_, end)| end.saturating_duration_since(Instant::now()));
        match processes.event(wait) {
            Ok(Event::RoundOpen { .. }) if doomed.is_none() && chance.below(100) < 45 => {
                // Half of the kills hit the coordinator. A round takes about a hundred milliseconds.
                let victim =
                    if chance.below(2) == 0 { AGENTS } else { chance.below(AGENTS.into()) as u32 };
                doomed = Some((victim, Instant::now() + Duration::from_millis(chance.below(150))));
            }
            Ok(Event::Round { round, .. }) => {
                released.insert(round);
            }
            Ok(Event::Finished { .. }) => break,
            Ok(_) => {}
            Err(Died::Nobody) => {
                let Some((victim, _)) = doomed.take() else {
                    panic!("nothing happens any more:\n{}", processes.last_words());
                };
                if victim == AGENTS {
                    done.coordinator_kills += 1;
                    released.extend(processes.kill_coordinator());
                    budget::check_ledger(&federation, &released);
                    disks::search(&federation, AGENTS);
                    processes.start_coordinator();
                } else {
                    done.agent_kills += 1;
                    processes.kill_agent(victim);
                    budget::check_agent(&federation, victim);
                    known.check(&federation, victim);
                    disks::search(&federation, AGENTS);
                    processes.start_agent(victim);
                }
            }
            Err(Died::Coordinator) => {
                doomed = None;
                if processes.coordinator_ended_well() {
                    break;
                }
                done.halts += 1;
                assert!(done.halts <= rounds, "it never goes on:\n{}", processes.last_words());
                budget::check_ledger(&federation, &released);
                processes.start_coordinator();
            }
        }
    }
    processes.finish();
    let report = budget::check_ledger(&federation, &released);
    assert_eq!(report.released, rounds);
    done.rounds = rounds;
    done.charged_for_nothing = budget::charged_for_nothing(&report);
    disks::search(&federation, AGENTS);
    for agent in 0..AGENTS {
        known.check(&federation, agent);
        let extra = budget::check_agent(&federation, agent);
        done.charged_for_nothing_at_an_agent = done.charged_for_nothing_at_an_agent.max(extra);
    }
    let kills = done.coordinator_kills + done.agent_kills;
    assert!(kills > 0, "this run showed nothing: {done}");
    assert!(done.charged_for_nothing <= kills, "{done}");
    assert!(done.charged_for_nothing_at_an_agent <= kills, "{done}");
    done
}

/// Half of the budget for the rounds, the rest for what kills cost.
fn plans(rounds: u32) -> String {
    let share = |some: u32| format!("{some}/{}", 2 * rounds);
    // Matrix factorisation begins with popularity.
    let mut text = plan("popularity", "popularity", 1, &share(1), "");
    let mut left = rounds - 1;
    while left > 0 {
        let some = left.min(PLAN_ROUNDS);
        let name = format!("taste-{left}");
        text += &plan(&name, "matrix-factorisation", some, &share(some), "rank = 2\npersons = 60");
        left -= some;
    }
    text
}

struct Chance(ChaCha20Rng);

impl Chance {
    /// A number below `bound`; the bias of a 64-bit remainder does not matter here.
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }
}
