//! One federation of a run: a coordinator and its agents as child processes.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::ChildStdout,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use chorale_client_agent::policy::Administrator;
use chorale_coordinator::events::Event;
use chorale_task::Model;
use indicatif::ProgressBar;

use crate::{
    results::{LedgerSummary, RoundCost},
    setting::{DELTA, Recipe, Setting, TEST_START_S},
    workplace::{DemoError, Process, Workplace, free_ports},
};

/// Longest time in seconds for one federation.
const FEDERATION_SECONDS: u64 = 900;

/// What a federation trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programme {
    /// A popularity round, then gradient rounds.
    MatrixFactorisation,
    /// One round of the Gram matrix.
    Cooccurrence,
}

/// What one federation left behind.
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// The model after each round, in order.
    pub models: Vec<Model>,
    /// What each round cost.
    pub costs: Vec<RoundCost>,
    /// Agents that were killed while a round ran that then completed.
    pub dropped: u32,
    /// Its ledger, verified offline.
    pub ledger: LedgerSummary,
    /// The ledger file.
    pub ledger_path: PathBuf,
}

/// A federation about to run.
pub struct Federation<'a> {
    /// The run's folders.
    pub place: &'a Workplace,
    /// Data and rules.
    pub setting: &'a Setting,
    /// Name, for example `epsilon-4`.
    pub name: String,
    /// ε, rank and learning rate.
    pub recipe: Recipe,
    /// What is trained.
    pub programme: Programme,
    /// Kill one agent in mid-round in the last round.
    pub kill_one: bool,
    /// Whether agents make their stored profiles anew at the end.
    pub profiles: bool,
    /// Stores that have not enrolled yet do so with the first federation.
    pub enrol: bool,
}

impl Federation<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// [`DemoError`] when a child fails or the ledger does not verify.
    pub fn run(&self, bar: &ProgressBar) -> Result<Outcome, DemoError> {
        self.run_first(bar, |_| Ok(()))
    }

    /// Runs the first federation of a run: stores enrol with it, and `between` happens after
    /// that and before the agents start.
    ///
    /// # Errors
    /// [`DemoError`] when a child fails or the ledger does not verify.
    pub fn run_first(
        &self,
        bar: &ProgressBar,
        between: impl FnOnce(&ProgressBar) -> Result<(), DemoError>,
    ) -> Result<Outcome, DemoError> {
        let folder = self.place.root.join("federations").join(&self.name);
        let make = |path: &Path| {
            fs::create_dir_all(path).map_err(|source| DemoError::File {
                action: "create",
                path: path.to_path_buf(),
                source,
            })
        };
        make(&folder.join("state"))?;
        let ports = free_ports();
        let config = folder.join("coordinator.toml");
        self.place.write(&config, &self.coordinator_config(ports))?;
        let key = text(&self.place.root.join("compliance.key"));
        Process::start(
            &["coordinator", "plan", "sign", "--config", &text(&config), "--key", &key],
            &self.place.log("compliance"),
            false,
        )?
        .finish(60)?;
        let log = self.place.log(&format!("{}-coordinator", self.name));
        let mut coordinator = Process::start(
            &["coordinator", "run", "--config", &text(&config), "--exit-when-done", "--events"],
            &log,
            true,
        )?;
        let output = coordinator.output();
        if self.enrol {
            self.enrol(ports, bar)?;
        }
        between(bar)?;
        let mut agents = BTreeMap::new();
        for store in &self.place.stores {
            let home = folder.join("stores").join(&store.number);
            make(&home)?;
            self.copy_data(&store.folder.join("data"), &home.join("data"))?;
            let address = format!("127.0.0.1:{}", ports[0]);
            let text_of = self.place.agent_config(
                self.setting,
                store,
                &self.name,
                &address,
                &home.join("data"),
            );
            let config = home.join("agent.toml");
            self.place.write(&config, &text_of)?;
            self.place.write_policy(store, &self.name, &home)?;
            let log = self.place.log(&format!("{}-{}", self.name, store.agent));
            let config = text(&config);
            let mut arguments =
                vec!["client-agent", "run", "--config", &config, "--exit-when-done"];
            if !self.profiles {
                arguments.push("--keep-profiles");
            }
            agents.insert(store.agent.clone(), Process::start(&arguments, &log, false)?);
        }
        let mut outcome = Outcome {
            name: self.name.clone(),
            models: Vec::new(),
            costs: Vec::new(),
            dropped: 0,
            ledger: LedgerSummary::default(),
            ledger_path: folder.join("state").join("ledger.jsonl"),
        };
        if let Some(output) = output {
            let lines = lines_of(output);
            self.follow(&lines, &folder, &mut agents, &mut outcome, bar)?;
        }
        coordinator.finish(FEDERATION_SECONDS)?;
        for (_, agent) in agents {
            agent.finish(60)?;
        }
        outcome.ledger = self.verify(&outcome.ledger_path)?;
        Ok(outcome)
    }

    /// Takes the coordinator's events until it closes its output. A federation that takes too
    /// long, or in which an agent ends before its time, is an error: nothing here waits for ever.
    fn follow(
        &self,
        lines: &Receiver<String>,
        folder: &Path,
        agents: &mut BTreeMap<String, Process>,
        outcome: &mut Outcome,
        bar: &ProgressBar,
    ) -> Result<(), DemoError> {
        let begun = Instant::now();
        let mut last = 0;
        let mut done = false;
        let mut killed: Option<u64> = None;
        loop {
            let line = match lines.recv_timeout(Duration::from_secs(2)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    if begun.elapsed().as_secs() > FEDERATION_SECONDS {
                        return Err(DemoError::Stalled {
                            federation: self.name.clone(),
                            seconds: FEDERATION_SECONDS,
                        });
                    }
                    let gone = agents.iter_mut().find_map(|(name, agent)| {
                        (!done && !agent.is_running()).then(|| name.clone())
                    });
                    if let Some(agent) = gone.and_then(|name| agents.remove(&name)) {
                        agent.finish(1)?;
                    }
                    continue;
                }
            };
            let event: Event = serde_json::from_str(&line)
                .map_err(|source| DemoError::Event { line: line.clone(), source })?;
            match event {
                Event::Agents { connected, expected } if last == 0 => {
                    bar.set_message(format!("{connected} of {expected} stores connected"));
                }
                Event::RoundOpen { round, of, plan } => {
                    last = of;
                    bar.set_length(of);
                    bar.set_message(format!("{plan}: round {round} of {of}"));
                }
                // The cohort is fixed and masked vectors are being made: the worst moment to go.
                Event::Cohort { round, .. }
                    if self.kill_one && round == last && killed.is_none() =>
                {
                    if let Some((name, mut agent)) = agents.pop_last() {
                        agent.kill();
                        killed = Some(round);
                        bar.println(format!("  {name} was killed in mid-round {round}"));
                    }
                }
                Event::Round {
                    round,
                    plan,
                    survivors,
                    cohort,
                    model,
                    bytes_received,
                    bytes_sent,
                    seconds,
                } => {
                    if killed == Some(round) && survivors < cohort {
                        outcome.dropped += cohort - survivors;
                        bar.println(format!(
                            "  round {round} completed with {survivors} of {cohort} stores"
                        ));
                    }
                    bar.set_position(round);
                    outcome.models.push(read_model(&folder.join("state").join("models"), &model)?);
                    outcome.costs.push(RoundCost {
                        federation: self.name.clone(),
                        round,
                        plan,
                        bytes_received,
                        bytes_sent,
                        seconds,
                        survivors,
                        cohort,
                    });
                }
                Event::BudgetWait { plan, reason, .. } => {
                    bar.println(format!("  {plan} waits for its budget: {reason}"))
                }
                Event::Refused { agent, reason, .. } => {
                    bar.println(format!("  {agent} refuses: {reason}"))
                }
                Event::Aborted { reason, .. } => {
                    bar.println(format!("  a round was aborted: {reason}"))
                }
                Event::NoiseShort { round, plan } => {
                    bar.println(format!("  round {round} of {plan}: its noise is short"))
                }
                Event::Finished { .. } => done = true,
                Event::Listening { .. }
                | Event::Epoch { .. }
                | Event::Agents { .. }
                | Event::Cohort { .. } => {}
            }
        }
    }

    /// Every store enrols over the network: keys are born in its own folder.
    fn enrol(&self, ports: [u16; 2], bar: &ProgressBar) -> Result<(), DemoError> {
        let root = &self.place.root;
        let run = |arguments: &[&str], name: &str| {
            Process::start(arguments, &self.place.log(name), false)?.finish(60)
        };
        bar.set_message("invitations");
        let list = root.join("stores.csv");
        self.place.write(&list, &self.place.invitation_list())?;
        let (authority, invitations) =
            (text(&root.join("authority")), text(&root.join("invitations")));
        let state = root.join("federations").join(&self.name).join("state");
        let (agents_at, enrol_at) =
            (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
        run(
            &[
                "coordinator",
                "ca",
                "invite",
                "--ca",
                &authority,
                "--stores",
                &text(&list),
                "--address",
                &agents_at,
                "--enrolment",
                &enrol_at,
                "--out",
                &invitations,
                "--state",
                &text(&state),
            ],
            "ca",
        )?;
        let mut waiting = Vec::new();
        for store in &self.place.stores {
            let invitation =
                root.join("invitations").join(format!("{}.invitation.toml", store.agent));
            let keys = text(&store.folder.join("keys"));
            let administrator = text(&Administrator::public_path(&store.administrator_key()));
            let arguments = [
                "client-agent",
                "enrol",
                &text(&invitation),
                "--administrator",
                &administrator,
                "--keys",
                &keys,
                "--wait-s",
                "120",
            ];
            let log = self.place.log(&format!("enrol-{}", store.agent));
            waiting.push(Process::start(&arguments, &log, false)?);
        }
        let begun = Instant::now();
        while waiting.iter_mut().any(Process::is_running) && begun.elapsed().as_secs() < 120 {
            let running = waiting.iter_mut().filter_map(|p| p.is_running().then_some(())).count();
            bar.set_message(format!("{running} stores wait for their certificate"));
            crate::workplace::pause(200);
            run(
                &["coordinator", "ca", "sign", "--ca", &authority, "--state", &text(&state)],
                "ca",
            )?;
        }
        waiting.into_iter().try_for_each(|process| process.finish(10))
    }

    /// Each federation has a copy of the agents' sealed data, so that its journal is its own.
    fn copy_data(&self, from: &Path, to: &Path) -> Result<(), DemoError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| DemoError::File { action: "copy", path, source }
        };
        fs::create_dir_all(to).map_err(failed(to))?;
        for entry in fs::read_dir(from).map_err(failed(from))? {
            let entry = entry.map_err(failed(from))?;
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).map_err(failed(from))?;
            }
        }
        Ok(())
    }

    fn verify(&self, path: &Path) -> Result<LedgerSummary, DemoError> {
        let content = fs::read(path).map_err(|source| DemoError::File {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let report = chorale_ledger::verify(&content, None)
            .map_err(|source| DemoError::Ledger { federation: self.name.clone(), source })?;
        let finite = |value: f64| value.is_finite().then_some(value);
        Ok(LedgerSummary {
            federation: report.federation.clone(),
            verified: true,
            entries: report.entries,
            epsilon: finite(report.epsilon.gaussian),
            epsilon_zcdp: finite(report.epsilon.zcdp),
            delta: finite(report.epsilon.gaussian).map(|_| DELTA),
            released: u64::from(report.released),
            aborted: u64::from(report.aborted),
        })
    }

    fn coordinator_config(&self, ports: [u16; 2]) -> String {
        let Setting { persons_max, survivors_min, .. } = *self.setting;
        let stores = self.place.stores.len();
        let data = self.setting.data.canonicalize().unwrap_or_else(|_| self.setting.data.clone());
        let privacy = match self.recipe.epsilon {
            Some(epsilon) => format!("epsilon = {epsilon:?}\ndelta = \"1/100000\""),
            None => "unprotected = true".to_string(),
        };
        let mut text = format!(
            "federation = {name:?}\npurpose = \"evaluation only\"\nagents = {stores}\ncatalogue = {catalogue:?}\n\
             state = \"state\"\nkeys = {keys:?}\ncompliance = {compliance:?}\nlisten = \"127.0.0.1:{}\"\nenrolment_listen = \"127.0.0.1:{}\"\nenrolments_per_minute = 100000\n\n\
             [privacy]\n{privacy}\n\n[cohort]\nenrolled = {stores}\nsurvivors_min = {survivors_min}\n\n\
             [timing]\ngather_ms = 120000\nsetup_ms = 60000\nready_ms = 60000\nupload_ms = 60000\nreveal_ms = 30000\n",
            ports[0],
            ports[1],
            name = self.name,
            catalogue = data.join("catalogue.csv"),
            keys = self.place.root.join("coordinator-keys"),
            compliance = self.place.root.join("compliance.pub"),
        );
        let plan = |name: &str,
                    task: &str,
                    rounds: u32,
                    share: &str,
                    scale: u8,
                    parameters: &str| {
            format!(
                "\n[[plan]]\nname = {name:?}\ntask = {task:?}\nrounds = {rounds}\nbudget_share = \"{share}\"\n\
                 scale_bits = {scale}\npersons_max = {persons_max}\nevents_before_s = {TEST_START_S}\n\
                 [plan.parameters]\n{parameters}\n"
            )
        };
        match self.programme {
            Programme::Cooccurrence => {
                text.push_str(&plan("cooccurrence", "cooccurrence", 1, "1", 16, ""));
            }
            Programme::MatrixFactorisation => {
                let floor = format!("floor_noise = {:?}", self.setting.floor_noise);
                text.push_str(&plan("popularity", "popularity", 1, "3/10", 16, &floor));
                let parameters = format!(
                    "rank = {}\neta = {:?}\npersons = {}\ntail_exponent = {:?}\ndepartment_share = {:?}",
                    self.recipe.rank,
                    self.recipe.eta,
                    self.setting.persons_declared,
                    self.setting.tail_exponent,
                    self.setting.department_share
                );
                let rounds = self.setting.rounds;
                text.push_str(&plan(
                    "taste",
                    "matrix-factorisation",
                    rounds,
                    "7/10",
                    16,
                    &parameters,
                ));
            }
        }
        text
    }
}

/// The lines of a child's output, read beside everything else.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            // Whoever listened has gone, or the child has: both end the thread.
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn read_model(folder: &Path, digest: &str) -> Result<Model, DemoError> {
    let path = folder.join(format!("{digest}.model"));
    let bytes = fs::read(&path).map_err(|source| DemoError::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    Model::decode(&bytes).map_err(|source| DemoError::Read {
        what: path.display().to_string(),
        source: Box::new(source),
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
