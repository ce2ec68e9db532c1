//! The coordinator's process and what it reports.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use chorale_coordinator::events::Event;
use tokio::{sync::mpsc, time::timeout};

use crate::{Arguments, Failure, agent::Hive, federation::Federation, meter::Mark};

/// The word with which this program becomes the coordinator.
pub(crate) const SELF: &str = "coordinator";

/// How long the coordinator may take to end when its programme is done.
const END: Duration = Duration::from_secs(60);

/// Lines of the coordinator's log that are shown when a run fails.
const LINES_SHOWN: usize = 20;

/// A running coordinator.
pub(crate) struct Coordinator {
    child: Child,
    events: mpsc::UnboundedReceiver<Event>,
    patience: Duration,
}

/// A round that came to its result.
#[derive(Clone, Debug)]
pub(crate) struct Completed {
    pub(crate) round: u64,
    pub(crate) cohort: u32,
    pub(crate) survivors: u32,
    /// Digest of the model after it.
    pub(crate) model: String,
    pub(crate) seconds: f64,
}

impl Coordinator {
    /// Starts `coordinator run` with the federation's configuration. Unless another program is
    /// named it is this one, which then runs nothing but the coordinator's `main`.
    pub(crate) fn start(arguments: &Arguments, federation: &Federation) -> Result<Self, Failure> {
        let mut command = match &arguments.coordinator {
            Some(program) => Command::new(program),
            None => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(SELF);
                command
            }
        };
        let mut child = command
            .args(["run", "--exit-when-done", "--events", "--config"])
            .arg(federation.config())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(federation.log())?)
            .spawn()?;
        let output = child.stdout.take().ok_or("the coordinator has no standard output")?;
        let (to, events) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line)
                    && to.send(event).is_err()
                {
                    break;
                }
            }
        });
        Ok(Self { child, events, patience: Duration::from_secs(arguments.patience.into()) })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until agents can connect, and says where.
    pub(crate) async fn listening(&mut self) -> Result<String, Failure> {
        loop {
            if let Event::Listening { agents, .. } = self.next().await? {
                return Ok(agents);
            }
        }
    }

    async fn next(&mut self) -> Result<Event, Failure> {
        let event = timeout(2 * self.patience, self.events.recv()).await;
        let event = event.map_err(|_| "the coordinator reports nothing any more")?;
        Ok(event.ok_or("the coordinator ended before its programme")?)
    }

    /// Follows the coordinator to the end of its programme.
    pub(crate) async fn follow(&mut self, hive: &Hive) -> Result<Vec<Completed>, Failure> {
        let mut completed = Vec::new();
        let mut connected = 0;
        loop {
            match self.next().await? {
                Event::Agents { connected: now, expected } => {
                    if now > connected && (now % 100 == 0 || now == expected) {
                        eprintln!("{now} of {expected} agents are connected");
                    }
                    connected = now.max(connected);
                }
                Event::Epoch { epoch, agents, excluded } => {
                    hive.meter.mark(Mark::Ready);
                    eprintln!("epoch {epoch} with {agents} agents");
                    for (agent, why) in excluded {
                        eprintln!("  left out: {agent}: {why}");
                    }
                }
                Event::Cohort { round, agents } => {
                    eprintln!("round {round}: {agents} agents in the cohort");
                }
                Event::Round { round, cohort, survivors, model, seconds, .. } => {
                    hive.meter.mark(Mark::Over(round));
                    eprintln!("round {round}: {survivors} of {cohort} in {seconds:.1} s");
                    completed.push(Completed { round, cohort, survivors, model, seconds });
                }
                Event::BudgetWait { plan, reason, .. } => {
                    return Err(format!("{plan} does not fit its budget: {reason}").into());
                }
                Event::Refused { agent, reason, .. } => eprintln!("{agent} refused: {reason}"),
                Event::Aborted { round, reason, .. } => {
                    return Err(format!("round {round} was aborted: {reason}").into());
                }
                Event::NoiseShort { round, .. } => {
                    return Err(format!("the noise of round {round} is short").into());
                }
                Event::Finished { .. } => return Ok(completed),
                Event::Listening { .. } | Event::RoundOpen { .. } => {}
            }
        }
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn finish(&mut self) -> Result<(), Failure> {
        // Its standard output closes when it ends.
        let closed = async { while self.events.recv().await.is_some() {} };
        timeout(END, closed).await.map_err(|_| "the coordinator does not end")?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the coordinator: {status}").into()) }
    }

    /// Ends it where the run has failed.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("the coordinator had ended");
        }
    }
}

/// The end of a log.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}
