//! The federation as processes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use chorale_coordinator::events::Event;
use chorale_tests::Federation;

use super::AGENTS;

/// What an agent logs when it refuses a round.
const REFUSED: &str = "this agent does not take part in the round";

/// Why there was no event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Died {
    /// Nobody: the time is over.
    Nobody,
    /// The coordinator ended by itself.
    Coordinator,
}

/// Processes of one federation; whatever runs at the end is killed.
pub(super) struct Processes<'a> {
    federation: &'a Federation,
    coordinator: Option<Child>,
    events: mpsc::Receiver<Event>,
    agents: Vec<Child>,
    /// How often a coordinator was started.
    starts: u64,
}

impl<'a> Processes<'a> {
    /// Starts everybody.
    pub(super) fn new(federation: &'a Federation) -> Self {
        let (_, events) = mpsc::channel();
        let mut all = Self { federation, coordinator: None, events, agents: Vec::new(), starts: 0 };
        all.start_coordinator();
        all.agents = (0..AGENTS).map(|agent| all.spawn_agent(agent)).collect();
        all
    }

    /// The coordinator's next event within `wait`.
    pub(super) fn event(&self, wait: Duration) -> Result<Event, Died> {
        match self.events.recv_timeout(wait) {
            Ok(event) => Ok(event),
            Err(RecvTimeoutError::Timeout) => Err(Died::Nobody),
            Err(RecvTimeoutError::Disconnected) => Err(Died::Coordinator),
        }
    }

    /// Starts the coordinator, which ends when its programme is done. Its operator has moved the
    /// data window on by a second: what an earlier one asked may have been answered, and agents
    /// answer no question twice.
    pub(super) fn start_coordinator(&mut self) {
        self.reap_coordinator();
        self.starts += 1;
        let path = self.federation.root().join("coordinator.toml");
        let text = fs::read_to_string(&path).unwrap();
        let window = |start: u64| format!("events_before_s = {}\n", 4_000_000_000 + start);
        let before = if text.contains(&window(0)) { 0 } else { self.starts - 1 };
        fs::write(&path, text.replace(&window(before), &window(self.starts))).unwrap();
        // Another window is another plan, which the compliance officer has to sign.
        self.federation.sign_off();
        let mut child = self
            .program("coordinator", "coordinator")
            .args(["run", "--exit-when-done", "--events", "--config"])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            // A killed process may leave half a line.
            let whole = lines.map_while(Result::ok);
            for event in whole.filter_map(|line| serde_json::from_str(&line).ok()) {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        (self.coordinator, self.events) = (Some(child), events);
    }

    /// Starts an agent again.
    pub(super) fn start_agent(&mut self, agent: u32) {
        self.agents[agent as usize] = self.spawn_agent(agent);
    }

    fn spawn_agent(&self, agent: u32) -> Child {
        self.program("client-agent", &format!("agent-{agent}"))
            .arg("--config")
            .arg(self.federation.agent_folder(agent).join("agent.toml"))
            .args(["run", "--exit-when-done"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn program(&self, program: &str, log: &str) -> Command {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log(log)).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(program).env("CHORALE_LOG", "warn").stdin(Stdio::null()).stderr(log);
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.federation.root().join(format!("{name}.log"))
    }

    /// SIGKILL. Rounds that it had announced as released and that were not read yet are returned.
    pub(super) fn kill_coordinator(&mut self) -> Vec<u64> {
        self.coordinator.as_mut().unwrap().kill().unwrap();
        self.reap_coordinator();
        let left = self.events.iter();
        left.filter_map(|event| match event {
            Event::Round { round, .. } => Some(round),
            _ => None,
        })
        .collect()
    }

    /// Whether a coordinator that is gone did all that it had to.
    pub(super) fn coordinator_ended_well(&mut self) -> bool {
        self.coordinator.take().unwrap().wait().unwrap().success()
    }

    /// SIGKILL.
    pub(super) fn kill_agent(&mut self, agent: u32) {
        let child = &mut self.agents[agent as usize];
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn reap_coordinator(&mut self) {
        if let Some(mut child) = self.coordinator.take() {
            child.wait().unwrap();
        }
    }

    /// Waits until everybody has ended. An agent that was started again too late to hear of the end
    /// is stopped; one that was asked once since then and refused says so with its exit code.
    pub(super) fn finish(&mut self) {
        let well = self.coordinator.is_none() || self.coordinator_ended_well();
        assert!(well, "{}", self.last_words());
        for (number, mut agent) in std::mem::take(&mut self.agents).into_iter().enumerate() {
            match ended(&mut agent) {
                Some(status) => {
                    let well = status.success() || self.last_line(number).contains(REFUSED);
                    assert!(well, "agent {number}: {status}\n{}", self.last_words());
                }
                None => {
                    agent.kill().unwrap();
                    agent.wait().unwrap();
                }
            }
        }
    }

    /// The last line that an agent logged.
    fn last_line(&self, agent: usize) -> String {
        let log = fs::read_to_string(self.log(&format!("agent-{agent}"))).unwrap_or_default();
        log.lines().next_back().unwrap_or_default().to_owned()
    }

    /// The end of every log.
    pub(super) fn last_words(&self) -> String {
        let names = (0..AGENTS).map(|agent| format!("agent-{agent}"));
        let mut text = String::new();
        for name in std::iter::once("coordinator".to_owned()).chain(names) {
            let log = fs::read_to_string(self.log(&name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(15).collect();
            text += &format!("--- {name}\n");
            lines.iter().rev().for_each(|line| text += &format!("{line}\n"));
        }
        text
    }
}

/// How a process ended, if it does so in half a minute.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    for _ in 0..300 {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        #[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
        std::thread::sleep(Duration::from_millis(100));
    }
    None
}

impl Drop for Processes<'_> {
    fn drop(&mut self) {
        for child in self.agents.iter_mut().chain(&mut self.coordinator) {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
