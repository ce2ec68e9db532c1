//! A thousand agents and a coordinator on one machine, over real QUIC.
//!
//! `cargo run --release -p chorale-benches --bin swarm -- --agents 1000 --coordinates 100000`
//!
//! The coordinator is the product's own program, in a process of its own, so that its memory and
//! CPU time can be read from the operating system. The agents share this process; each has its own
//! keys, certificate, connection, round machine, journal, noise and masks, and stands for a store
//! with one customer. Nothing of the protocol is left out: every agent verifies every advert and
//! every vote itself, unless `--share-verified` says otherwise.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's output")]

mod agent;
mod arguments;
mod coordinator;
mod federation;
mod journal;
mod meter;
mod process;
mod report;
mod vector;
mod verdict;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Instant,
};

use chorale_dp::{Rational, Rho};
use chorale_round::{
    VerifiedMemo,
    agent::{Identity, Machine, Memory},
};
use chorale_transport::AgentLinkConfig;
use chorale_wire::SecretKey;
use clap::Parser as _;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

pub(crate) use crate::arguments::Arguments;
use crate::{
    agent::{Agent, Hive, Progress, Round},
    coordinator::Coordinator,
    federation::Federation,
    journal::MemoryJournal,
    meter::{Mark, Meter},
    report::Figures,
};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // The same program as the product's `coordinator`; see `coordinator::Coordinator::start`.
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == coordinator::SELF) {
        return chorale_coordinator::cli::main(words);
    }
    let arguments = match Arguments::try_parse().and_then(Arguments::checked) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(error.as_ref());
            while let Some(error) = cause {
                eprintln!("swarm: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Instant::now();
    eprintln!("making keys and certificates of {} agents", arguments.agents);
    let federation = Federation::create(arguments)?;
    let enrolment_s = begun.elapsed().as_secs_f64();
    let mut coordinator = Coordinator::start(arguments, &federation)?;
    let figures = match follow(arguments, &federation, &mut coordinator, enrolment_s) {
        Ok(figures) => figures,
        Err(error) => {
            // Whatever happened, no child outlives the run, and what it said is kept.
            coordinator.kill();
            eprintln!("{}", coordinator::last_lines(&federation.log()));
            eprintln!("the run's files are in {}", federation.keep().display());
            return Err(error);
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        println!("{figures}");
    }
    match figures.troubles.as_slice() {
        [] => Ok(()),
        troubles => Err(format!("{} things should not have happened", troubles.len()).into()),
    }
}

/// Runs the agents beside the coordinator to the end of its programme.
fn follow(
    arguments: &Arguments,
    federation: &Federation,
    coordinator: &mut Coordinator,
    enrolment_s: f64,
) -> Result<Figures, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let hive = Arc::new(Hive {
        arguments: arguments.clone(),
        federation: federation.name.clone(),
        meter: Meter::new(coordinator.id()),
        cores: Semaphore::new(cores),
        troubles: Mutex::default(),
        progress: watch::channel(Progress::default()).0,
        uploaded: AtomicU64::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let completed = std::thread::scope(|scope| {
        scope.spawn(|| hive.meter.watch());
        let completed = runtime.block_on(take_part(arguments, federation, coordinator, &hive));
        hive.meter.end();
        completed
    })?;
    let checks = verdict::check(arguments, &federation.state(), &completed)?;
    let troubles =
        std::mem::take(&mut *hive.troubles.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Figures::new(&hive, enrolment_s, &completed, checks, troubles))
}

async fn take_part(
    arguments: &Arguments,
    federation: &Federation,
    coordinator: &mut Coordinator,
    hive: &Arc<Hive>,
) -> Result<Vec<coordinator::Completed>, Failure> {
    let address = coordinator.listening().await?;
    hive.meter.mark(Mark::Connect);
    let mut tasks = JoinSet::new();
    for agent in agents(arguments, federation, &address, hive)? {
        tasks.spawn(agent?.run(hive.progress.subscribe()));
    }
    // An agent ends before the run does only where something is wrong.
    let fallen = async {
        match tasks.join_next().await {
            Some(ended) => Err::<(), Failure>(match ended {
                Ok(Ok(())) => "an agent ended by itself".into(),
                Ok(Err(error)) => error,
                Err(error) => error.into(),
            }),
            None => std::future::pending().await,
        }
    };
    let completed = tokio::select! {
        completed = coordinator.follow(hive) => completed?,
        fallen = fallen => return Err(fallen.err().unwrap_or_else(|| "an agent ended".into())),
    };
    hive.progress.send_replace(Progress { fixed: u64::MAX, stop: true });
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    coordinator.finish().await?;
    Ok(completed)
}

/// All agents, each with what it would have on its own machine.
fn agents<'a>(
    arguments: &'a Arguments,
    federation: &'a Federation,
    address: &'a str,
    hive: &'a Arc<Hive>,
) -> Result<impl Iterator<Item = Result<Agent, Failure>> + use<'a>, Failure> {
    let memo = arguments.share_verified.then(|| Arc::new(VerifiedMemo::new()));
    // More than any swarm spends: what it costs people is no matter here.
    let cap = Rho::new(Rational::from_integer(1_000_000u64))?;
    Ok((0..).zip(&federation.members).map(move |(store, member)| {
        let enrolment = &member.enrolment;
        let identity = Arc::new(Identity {
            agent: enrolment.agent.clone(),
            key: SecretKey::from_seed(&member.key.to_seed()),
            membership: enrolment.membership.clone(),
            authority: enrolment.authority,
            coordinator: enrolment.coordinator,
            federation: federation.name.clone(),
        });
        // As the product's agent, whose policy names the floor.
        let memory = Memory::new(None, None).with_survivors_floor(arguments.survivors_min());
        let machine = Machine::with_memory(identity, memory);
        Ok(Agent {
            store,
            hive: Arc::clone(hive),
            link: AgentLinkConfig::new(address, enrolment.credentials.clone()),
            machine: match &memo {
                Some(memo) => machine.share_verified(Arc::clone(memo)),
                None => machine,
            },
            journal: MemoryJournal::new(cap.clone()),
            rng: federation::rng()?,
            state: Round::default(),
        })
    }))
}
