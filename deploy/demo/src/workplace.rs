//! Folders, configuration files and child processes of a run.

use std::{
    fs, io,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use chorale_client_agent::policy::{Administrator, Signature, Terms};
use chorale_wire::{AgentId, FederationId};

use crate::setting::{EVENT_SQL, Setting, TEST_START_S};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or folder cannot be used.
    #[error("cannot {action} {path}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The data set is not there.
    #[error("{path} is not there: {remedy}")]
    NoData {
        /// What was looked for.
        path: PathBuf,
        /// How to make it.
        remedy: &'static str,
    },
    /// A child process failed.
    #[error("`{command}` failed with {status}; its log is {log}:\n{tail}")]
    Child {
        /// The command.
        command: String,
        /// How it ended.
        status: String,
        /// Where its log lies.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A child process took too long.
    #[error("`{command}` did not finish within {seconds} s; its log is {log}")]
    Slow {
        /// The command.
        command: String,
        /// The limit.
        seconds: u64,
        /// Where its log lies.
        log: PathBuf,
    },
    /// A federation does not come to its end.
    #[error(
        "federation {federation} did not finish within {seconds} s; its logs are in the work folder"
    )]
    Stalled {
        /// The federation.
        federation: String,
        /// The limit.
        seconds: u64,
    },
    /// What a child reported cannot be read.
    #[error("the coordinator said something unexpected: {line}")]
    Event {
        /// The line.
        line: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// An agent's store, a model or the ledger cannot be read.
    #[error("cannot read {what}")]
    Read {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A store's administrator cannot sign its policy.
    #[error("the policy of {agent} cannot be signed")]
    Policy {
        /// The agent.
        agent: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A ledger does not verify: the run must not end as if all were well.
    #[error("the ledger of {federation} does not verify")]
    Ledger {
        /// The federation.
        federation: String,
        /// The entry and what is wrong with it.
        #[source]
        source: chorale_ledger::VerifyError,
    },
}

/// One store of a run.
#[derive(Clone, Debug)]
pub struct StorePlace {
    /// The store's number in the data.
    pub number: String,
    /// The agent's name.
    pub agent: String,
    /// Folder with keys and ingested data.
    pub folder: PathBuf,
}

impl StorePlace {
    /// The key of the store's administrator. It lies on the agent's machine here, because there is
    /// only one.
    #[must_use]
    pub fn administrator_key(&self) -> PathBuf {
        self.folder.join("administrator.key")
    }
}

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct Workplace {
    /// Root of everything that a run writes.
    pub root: PathBuf,
    /// The stores.
    pub stores: Vec<StorePlace>,
}

impl Workplace {
    /// Makes a fresh workplace in `root`, whose earlier content is removed if a run made it.
    ///
    /// # Errors
    /// [`DemoError`] when the data is missing or a folder cannot be made.
    pub fn create(root: &Path, setting: &Setting) -> Result<Self, DemoError> {
        let numbers = store_numbers(setting)?;
        if root.join(MARK).exists() {
            fs::remove_dir_all(root).map_err(file("clear", root))?;
        }
        fs::create_dir_all(root.join("logs")).map_err(file("create", root))?;
        fs::write(root.join(MARK), "made by the demo; may be deleted\n")
            .map_err(file("write", root))?;
        let root = root.canonicalize().map_err(file("find", root))?;
        let stores: Vec<StorePlace> = numbers
            .into_iter()
            .map(|number| StorePlace {
                agent: format!("store-{number}"),
                folder: root.join("stores").join(&number),
                number,
            })
            .collect();
        let place = Self { root, stores };
        for store in &place.stores {
            fs::create_dir_all(&store.folder).map_err(file("create", &store.folder))?;
            Administrator::create(&store.administrator_key()).map_err(policy_of(store))?;
        }
        Ok(place)
    }

    /// Writes a store's policy for one federation into `folder`, and signs it as the store's
    /// administrator does.
    ///
    /// # Errors
    /// [`DemoError::File`] or [`DemoError::Policy`].
    pub fn write_policy(
        &self,
        store: &StorePlace,
        federation: &str,
        folder: &Path,
    ) -> Result<(), DemoError> {
        let path = folder.join("policy.toml");
        self.write(&path, POLICY)?;
        let terms = Terms {
            agent: AgentId::new(&store.agent).map_err(policy_of(store))?,
            federation: FederationId::new(federation).map_err(policy_of(store))?,
            serial: 1,
            created_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |s| s.as_secs()),
        };
        let administrator =
            Administrator::read(&store.administrator_key()).map_err(policy_of(store))?;
        let (_, signature) = administrator.sign(&path, terms).map_err(policy_of(store))?;
        signature.write(&Signature::path_of(&path)).map_err(policy_of(store))
    }

    /// Writes a text file.
    ///
    /// # Errors
    /// [`DemoError::File`].
    pub fn write(&self, path: &Path, text: &str) -> Result<(), DemoError> {
        fs::write(path, text).map_err(file("write", path))
    }

    /// Where a child's log goes.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The CSV of stores that the enrolment authority invites.
    #[must_use]
    pub fn invitation_list(&self) -> String {
        let rows: String = self.stores.iter().map(|store| format!("{}\n", store.agent)).collect();
        format!("agent\n{rows}")
    }

    /// One agent's configuration for a federation; its policy lies in the same folder.
    #[must_use]
    pub fn agent_config(
        &self,
        setting: &Setting,
        store: &StorePlace,
        federation: &str,
        coordinator: &str,
        data_dir: &Path,
    ) -> String {
        let data = setting.data.canonicalize().unwrap_or_else(|_| setting.data.clone());
        let transactions = data.join("stores").join(&store.number).join("transactions.parquet");
        format!(
            "agent = {agent:?}\nfederation = {federation:?}\ncoordinator = {coordinator:?}\nhome = {home:?}\n\
             data_dir = {data_dir:?}\nkeys_dir = {keys:?}\ncatalogue = {catalogue:?}\n\
             events_before = \"{events_before}\"\n\nevent_sql = '''\n{EVENT_SQL}\n'''\n\n\
             [[sources]]\nname = \"transactions\"\npath = {transactions:?}\nformat = \"parquet\"\n\n\
             [[sources]]\nname = \"products\"\npath = {products:?}\nformat = \"parquet\"\n",
            agent = store.agent,
            home = store.number,
            keys = store.folder.join("keys"),
            catalogue = data.join("catalogue.csv"),
            products = data.join("products.parquet"),
            events_before = EVENTS_BEFORE,
        )
    }
}

/// The start of the test window as agents' configurations write it.
const EVENTS_BEFORE: &str = "2017-12-02T05:00:00Z";
const _: () = assert!(TEST_START_S == 1_512_190_800);

/// Marks a folder that a run made, so that only such a folder is ever removed.
const MARK: &str = ".chorale-demo";

/// Every store's policy in an evaluation: generous, because each ε is a federation of its own.
const POLICY: &str = "\
# What this store's agent admits. Evaluation only: production policies are stricter.
epsilon_max = 8.0
delta = \"1/100000\"
allow_unprotected = true
";

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DemoError {
    let path = path.to_path_buf();
    move |source| DemoError::File { action, path, source }
}

fn policy_of<E: std::error::Error + Send + Sync + 'static>(
    store: &StorePlace,
) -> impl FnOnce(E) -> DemoError {
    let agent = store.agent.clone();
    move |source| DemoError::Policy { agent, source: Box::new(source) }
}

fn store_numbers(setting: &Setting) -> Result<Vec<String>, DemoError> {
    let path = setting.data.join("stores.csv");
    let text = fs::read_to_string(&path).map_err(|_| DemoError::NoData {
        path: path.clone(),
        remedy: "run `python3 tests/data/make-complete-journey.py` (with --all for the full set)",
    })?;
    Ok(text
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next())
        .filter(|number| !number.is_empty())
        .map(str::to_string)
        .collect())
}

/// Two free ports on loopback: one for agents (UDP), one for enrolment (UDP).
#[must_use]
pub fn free_ports() -> [u16; 2] {
    let free = || {
        UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .or_else(|_| TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()))
            .map_or(47_443, |address| address.port())
    };
    // Both sockets are open at once, so that the ports differ.
    let first = UdpSocket::bind("127.0.0.1:0");
    let port = first.as_ref().ok().and_then(|socket| socket.local_addr().ok());
    let second = free();
    [port.map_or(47_442, |address| address.port()), second]
}

/// A child that is one of the two programs, re-executed from this one.
pub struct Process {
    child: Child,
    command: String,
    log: PathBuf,
}

impl Process {
    /// Starts `coordinator …` or `client-agent …`. Standard error goes to `log`; standard output
    /// to a pipe where `piped`, else to the log too.
    ///
    /// # Errors
    /// [`DemoError::File`] when the process cannot be started.
    pub fn start(arguments: &[&str], log: &Path, piped: bool) -> Result<Self, DemoError> {
        let open = |path: &Path| {
            fs::OpenOptions::new().create(true).append(true).open(path).map_err(file("open", path))
        };
        let program = std::env::current_exe().map_err(file("find", Path::new("this program")))?;
        let child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(if piped { Stdio::piped() } else { open(log)?.into() })
            .stderr(open(log)?)
            .env("RUST_BACKTRACE", "0")
            .spawn()
            .map_err(file("start", &program))?;
        let command = arguments.iter().take(3).copied().collect::<Vec<_>>().join(" ");
        Ok(Self { child, command, log: log.to_path_buf() })
    }

    /// The child's standard output, once.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Kills the process as a power cut would.
    pub fn kill(&mut self) {
        if let Err(error) = self.child.kill() {
            tracing::debug!(%error, "already gone");
        }
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "could not be waited for");
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for a successful end within `seconds`.
    ///
    /// # Errors
    /// [`DemoError::Child`] with the log's tail, or [`DemoError::Slow`].
    pub fn finish(mut self, seconds: u64) -> Result<(), DemoError> {
        let begun = std::time::Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(DemoError::Child {
                        command: self.command.clone(),
                        status: status.to_string(),
                        tail: tail(&self.log),
                        log: self.log.clone(),
                    });
                }
                Ok(None) if begun.elapsed().as_secs() >= seconds => {
                    self.kill();
                    return Err(DemoError::Slow {
                        command: self.command.clone(),
                        seconds,
                        log: self.log.clone(),
                    });
                }
                Ok(None) => pause(10),
                Err(source) => {
                    return Err(DemoError::File {
                        action: "wait for",
                        path: self.command.clone().into(),
                        source,
                    });
                }
            }
        }
    }
}

impl Drop for Process {
    /// No child outlives the run.
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
    }
}

/// Waits for some milliseconds between two looks at a child process.
pub fn pause(milliseconds: u64) {
    // The demo's parent is no protocol code; it only watches its children.
    #[allow(clippy::disallowed_methods)]
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
