//! The command line of `cargo simulate`.

use std::collections::BTreeMap;

use chorale_simulator::{PARAMETERS, Parameter, Scenario, cost::CostRun, exhaustive};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// The usage.
    Help,
    /// Federations with faults.
    Faults(Faults),
    /// What a federation costs.
    Cost {
        /// Which federation.
        run: CostRun,
        /// Whether the figures come as JSON.
        json: bool,
    },
    /// Every drop-out pattern.
    Exhaustive {
        /// Agents.
        agents: usize,
    },
}

/// Federations with faults, one per seed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Faults {
    /// The first seed.
    pub(crate) first: u64,
    /// How many seeds from there on.
    pub(crate) count: u64,
    /// Whether to tell what happens.
    pub(crate) trace: bool,
    /// Whether to look for a smaller federation that fails too.
    pub(crate) shrink: bool,
    /// Numbers that are not the seed's, by place in [`PARAMETERS`].
    given: Vec<(usize, u64)>,
}

impl Faults {
    /// The federation of `seed` with the numbers that were given.
    pub(crate) fn scenario(&self, seed: u64) -> Scenario {
        let agents = self.given.iter().find(|(place, _)| PARAMETERS[*place].name == "agents");
        // A size alone means a federation of that size; with other numbers it is one of them.
        let mut scenario = match agents {
            Some((_, agents)) if self.given.len() == 1 && self.count > 1 => {
                Scenario::sized(seed, *agents as usize)
            }
            _ => Scenario::from_seed(seed),
        };
        for (place, value) in &self.given {
            PARAMETERS[*place].set(&mut scenario, *value);
        }
        scenario
    }
}

pub(crate) fn usage() -> String {
    let mut text = "\
Plays federations in virtual time, with delays, drop-outs, restarts, losses, duplicates,
reorderings, replays and lies, and checks after every step that sums are exact or rounds abort
cleanly, that no secret is given away and that nobody honest is blamed.

Usage: simulate [--seed N] [--count K] [--trace] [--no-shrink] [--NAME NUMBER]...
       simulate --agents N --rounds R --dropout P --coordinates D [--threads K] [--json]
       simulate --exhaustive N
  --seed N              the first seed (default 0); alone, it replays this one federation
  --count K             how many seeds from there on (default 1 with --seed, else 100)
  --trace               tell what happens, one line an event
  --no-shrink           when a seed fails, do not look for a smaller federation that fails too
  --exhaustive N        every drop-out pattern of N agents, 4 to 6, in rounds and in setups

With --dropout or --coordinates, one calm federation of N agents, 4 to 10,000, is played and its
CPU time, bytes and memory are printed:
  --dropout P           agents that drop out of each round after READY, per cent (default 0)
  --coordinates D       coordinates of a vector, up to 1,000,000 (default 1,000)
  --threads K           threads for the agents (default: one a core)
  --json                as JSON

Numbers of a federation, each the seed's own unless it is given:"
        .to_string();
    for Parameter { name, help, range, .. } in &PARAMETERS {
        let (least, most) = (range.start(), range.end());
        text.push_str(&format!("\n  {:<22}{help} ({least} to {most})", format!("--{name} N")));
    }
    text
}

/// Options with a number that are no parameter of a scenario.
const NUMBERS: [&str; 6] =
    ["--seed", "--count", "--exhaustive", "--dropout", "--coordinates", "--threads"];

/// Options without a number.
const FLAGS: [&str; 3] = ["--trace", "--no-shrink", "--json"];

/// What stands on the command line.
#[derive(Default)]
struct Words {
    flags: Vec<String>,
    numbers: BTreeMap<String, u64>,
}

impl Words {
    /// `None` where help is asked for.
    fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut read = Self::default();
        while let Some(word) = words.next() {
            if ["--help", "-h"].contains(&word.as_str()) {
                return Ok(None);
            }
            if FLAGS.contains(&word.as_str()) {
                read.flags.push(word);
                continue;
            }
            let known = NUMBERS.contains(&word.as_str())
                || PARAMETERS.iter().any(|known| word == format!("--{}", known.name));
            if !known {
                return Err(format!("'{word}' is not an option"));
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            let number = value.parse().map_err(|_| format!("'{value}' is not a whole number"))?;
            read.numbers.insert(word, number);
        }
        Ok(Some(read))
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }
}

/// Reads the command line.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Options, String> {
    let Some(words) = Words::read(words)? else { return Ok(Options::Help) };
    if let Some(agents) = words.number("--exhaustive") {
        let most = exhaustive::AGENTS_MAX;
        return match usize::try_from(agents) {
            Ok(agents) if (4..=most).contains(&agents) => Ok(Options::Exhaustive { agents }),
            _ => Err(format!("--exhaustive is 4 to {most}, not {agents}")),
        };
    }
    if words.number("--dropout").is_some() || words.number("--coordinates").is_some() {
        return cost_run(&words);
    }
    let mut given = Vec::new();
    for (place, parameter) in PARAMETERS.iter().enumerate() {
        let name = format!("--{}", parameter.name);
        let Some(number) = words.number(&name) else { continue };
        if !parameter.range.contains(&number) {
            let (least, most) = (parameter.range.start(), parameter.range.end());
            return Err(format!("{name} is {least} to {most}, not {number}"));
        }
        given.push((place, number));
    }
    let seed = words.number("--seed");
    let default_count = if seed.is_some() { 1 } else { 100 };
    Ok(Options::Faults(Faults {
        first: seed.unwrap_or(0),
        count: words.number("--count").unwrap_or(default_count),
        trace: words.has("--trace"),
        shrink: !words.has("--no-shrink"),
        given,
    }))
}

fn cost_run(words: &Words) -> Result<Options, String> {
    let known = |name: &str| {
        ["--agents", "--rounds", "--seed"].contains(&name)
            || (NUMBERS.contains(&name) && name != "--count")
    };
    if let Some(other) = words.numbers.keys().find(|name| !known(name)) {
        return Err(format!("{other} does not go with --dropout and --coordinates"));
    }
    let size = |name: &str, default: usize| match words.number(name) {
        Some(number) => usize::try_from(number).map_err(|_| format!("{name} is too large")),
        None => Ok(default),
    };
    let percent = words.number("--dropout").unwrap_or(0);
    if percent > 100 {
        return Err(format!("--dropout is 0 to 100 per cent, not {percent}"));
    }
    let run = CostRun {
        agents: size("--agents", 100)?,
        rounds: size("--rounds", 1)?,
        dropout_per_mille: 10 * percent as u32,
        coordinates: size("--coordinates", 1_000)?,
        seed: words.number("--seed").unwrap_or(0),
        threads: size("--threads", std::thread::available_parallelism().map_or(1, usize::from))?,
    };
    Ok(Options::Cost { run, json: words.has("--json") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_string))
    }

    #[test]
    fn the_printed_command_is_the_scenario() {
        for seed in 0..40 {
            let scenario = Scenario::sized(seed, 20);
            let command = scenario.command();
            let line = command.trim_start_matches("cargo simulate ");
            let Ok(Options::Faults(faults)) = read(line) else { unreachable!("{line}") };
            assert_eq!((faults.first, faults.count), (seed, 1));
            assert_eq!(faults.scenario(seed), scenario, "{command}");
        }
    }

    #[test]
    fn a_cost_run_is_told_from_faults() {
        let line = "--agents 1000 --rounds 2 --dropout 5 --coordinates 100 --json";
        let Ok(Options::Cost { run, json: true }) = read(line) else { unreachable!() };
        assert_eq!((run.agents, run.rounds, run.coordinates), (1_000, 2, 100));
        assert_eq!(run.dropout_per_mille, 50);
        assert!(read("--coordinates 5 --loss 3").is_err());
        assert!(matches!(read("--agents 30 --count 5"), Ok(Options::Faults(_))));
        assert!(matches!(read("--exhaustive 5"), Ok(Options::Exhaustive { agents: 5 })));
    }

    #[test]
    fn bad_lines_are_refused() {
        for line in ["--exhaustive 7", "--agents 3", "--loss", "--loss x", "--nothing 1"] {
            assert!(read(line).is_err(), "{line}");
        }
        assert_eq!(read("--help"), Ok(Options::Help));
    }
}
