//! A scheduler and its executors, each a process, with folders of their own.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::{
    cluster::BallistaCluster, config::SchedulerConfig, scheduler_process::start_server,
};

/// Where clients get a query's rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Results {
    ThroughTheScheduler,
    FromTheExecutors,
}

pub(crate) struct Cluster {
    pub(crate) port: u16,
    processes: Vec<Child>,
    folder: tempfile::TempDir,
}

/// A port that nobody listens to.
pub(crate) fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `scheduler PORT proxy|direct`
pub(crate) fn scheduler(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let bind_port: u16 = arguments.next().unwrap().parse().unwrap();
    let proxy = arguments.next().unwrap() == "proxy";
    let config = SchedulerConfig {
        bind_port,
        enable_embedded_flight_proxy: proxy,
        ..SchedulerConfig::default()
    };
    run(async move {
        let cluster = BallistaCluster::new_from_config(&config).await?;
        start_server(cluster, ([127, 0, 0, 1], bind_port).into(), Arc::new(config)).await
    })
}

/// `executor SCHEDULER_PORT FOLDER`
pub(crate) fn executor(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let scheduler_port: u16 = arguments.next().unwrap().parse().unwrap();
    let config = ExecutorProcessConfig {
        scheduler_host: "127.0.0.1".into(),
        scheduler_port,
        scheduler_connect_timeout_seconds: 60,
        port: port(),
        grpc_port: port(),
        vcores: 2,
        work_dir: arguments.next(),
        ..ExecutorProcessConfig::default()
    };
    run(start_executor_process(Arc::new(config)))
}

fn run(program: impl Future<Output = Result<(), ballista_core::error::BallistaError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(program).unwrap();
    ExitCode::SUCCESS
}

impl Cluster {
    pub(crate) fn start(results: Results) -> Self {
        let (port, folder) = (port(), tempfile::tempdir().unwrap());
        let how = if results == Results::ThroughTheScheduler { "proxy" } else { "direct" };
        let mut cluster = Self { port, processes: Vec::new(), folder };
        cluster.spawn(&["scheduler", &port.to_string(), how]);
        wait("the scheduler", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        for executor in cluster.executors() {
            std::fs::create_dir(&executor).unwrap();
            cluster.spawn(&["executor", &port.to_string(), executor.to_str().unwrap()]);
        }
        cluster
    }

    fn spawn(&mut self, arguments: &[&str]) {
        let program = std::env::current_exe().unwrap();
        let child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn().unwrap();
        self.processes.push(child);
    }

    pub(crate) fn engine(&self) -> String {
        format!("ballista://127.0.0.1:{}", self.port)
    }

    fn executors(&self) -> [PathBuf; 2] {
        ["one", "two"].map(|name| self.folder.path().join(name))
    }

    /// No file is on an executor's disk, soon after the last query.
    pub(crate) fn nothing_is_left(&self) {
        wait("the executors to delete what they wrote", || {
            self.executors().iter().all(|executor| files(executor) == 0)
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

fn wait(whom: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for {whom}");
        sleep(Duration::from_millis(50));
    }
}
