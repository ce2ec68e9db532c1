//! The running parts of a federation, as tasks of the test's own runtime.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use chorale_client_agent::{
    Config as AgentConfig,
    run::{self, Notice, RunOptions, Summary},
};
use chorale_coordinator::{
    config::Config as CoordinatorConfig,
    error::RunError,
    events::{Event, Reporter},
    service::{Options, serve},
};
use tokio::{sync::oneshot, task::JoinHandle};

/// A watchdog, not a statement about speed: whatever takes longer hangs.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// A coordinator that runs.
#[derive(Debug)]
pub struct Coordinator {
    task: JoinHandle<Result<(), RunError>>,
    stop: Option<oneshot::Sender<()>>,
    incoming: mpsc::Receiver<Event>,
    events: Vec<Event>,
}

impl Coordinator {
    /// Starts it; it ends when its programme is done.
    #[must_use]
    pub fn start(config: CoordinatorConfig) -> Self {
        let (sender, incoming) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let options = Options { exit_when_done: true, reporter: Reporter::Channel(sender) };
            let shutdown = async move {
                // A handle that was dropped is no order to stop.
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            serve(config, options, shutdown).await
        });
        Self { task, stop: Some(stop), incoming, events: Vec::new() }
    }

    /// What it has reported so far.
    pub fn events(&mut self) -> &[Event] {
        self.events.extend(self.incoming.try_iter());
        &self.events
    }

    /// Waits for an event.
    ///
    /// # Panics
    /// When it does not come, with what came instead.
    pub async fn until(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> bool) {
        let waiting = async {
            while !self.events().iter().any(&mut wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(WATCHDOG, waiting).await.is_err() {
            panic!("no event '{what}'; instead {:#?}", self.events);
        }
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Stops it as an operator does, and returns what it reported.
    ///
    /// # Panics
    /// When it hangs or fails.
    pub async fn stop(mut self) -> Vec<Event> {
        self.stop.take().unwrap().send(()).unwrap();
        let (result, events) = self.finish().await;
        result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
        events
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it hangs.
    pub async fn finish(mut self) -> (Result<(), RunError>, Vec<Event>) {
        let Ok(result) = tokio::time::timeout(WATCHDOG, &mut self.task).await else {
            panic!("the coordinator hangs; it reported {:#?}", self.events());
        };
        self.events();
        (result.unwrap(), self.events)
    }
}

/// When an agent dies.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// Never by itself.
    Never,
    /// In the moment in which it comes to a phase for the n-th time (from 1): it does nothing of
    /// what the phase asks for, and says goodbye to nobody.
    At(&'static str, u32),
}

/// An agent that runs.
#[derive(Debug)]
pub struct Agent {
    task: JoinHandle<Result<Summary, run::RunError>>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    /// Starts it; it ends when the programme is done.
    #[must_use]
    pub fn start(config: AgentConfig, kill: Kill) -> Self {
        let times = AtomicU32::new(0);
        Self::start_observed(config, move |phase| {
            if let Kill::At(deadly, nth) = kill
                && phase == deadly
                && times.fetch_add(1, Ordering::Relaxed) + 1 == nth
            {
                // The task unwinds and drops everything it holds; nothing is said or sent.
                std::panic::resume_unwind(Box::new("killed"));
            }
        })
    }

    /// Starts it with an eye on its phases; it goes on when `on_phase` returns.
    #[must_use]
    pub fn start_observed(
        config: AgentConfig,
        on_phase: impl Fn(&'static str) + Send + 'static,
    ) -> Self {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notes);
        let observer = Box::new(move |notice: Notice<'_>| match notice {
            Notice::Text(text) => heard.lock().unwrap().push(text.to_owned()),
            Notice::Phase(phase) => {
                heard.lock().unwrap().push(format!("phase: {phase}"));
                on_phase(phase);
            }
        });
        let options = RunOptions { exit_when_done: true, keep_profiles: true };
        let task = tokio::spawn(run::run(config, options, observer, std::future::pending()));
        Self { task, notes }
    }

    /// What it said, phases among it.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Kills it now.
    pub async fn kill(self) {
        self.task.abort();
        // Aborted or ended: it is gone either way.
        drop(self.task.await);
    }

    /// Waits for its end by [`Kill::At`].
    ///
    /// # Panics
    /// When it hangs or ended otherwise.
    pub async fn killed(self) {
        match tokio::time::timeout(WATCHDOG, self.task).await {
            Ok(Err(error)) if error.is_panic() => {}
            other => panic!("not killed: {other:?}; it said {:#?}", self.notes.lock().unwrap()),
        }
    }

    /// Waits for its good end.
    ///
    /// # Panics
    /// When it hangs or fails, with what it said.
    pub async fn finish(self) -> Summary {
        match tokio::time::timeout(WATCHDOG, self.task).await {
            Ok(Ok(Ok(summary))) => summary,
            other => panic!("{other:?}; it said {:#?}", self.notes.lock().unwrap()),
        }
    }
}
