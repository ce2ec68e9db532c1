//! A small federation in a temporary folder: authority, enrolled agents with data, configurations.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chorale_client_agent::{
    Config as AgentConfig, PolicyFile, RedbJournal, Store, StorePolicy,
    cli::read_catalogue,
    ingest::ingest,
    keys::Key,
    observe::Wanted,
    policy::{Administrator, Signature, Terms},
    pseudonym::Pseudonymiser,
};
use chorale_coordinator::{
    config::Config as CoordinatorConfig,
    sign_off::{keygen, sign},
};
use chorale_dp::Rho;
use chorale_gate::Journal as _;
use chorale_ledger::Report;
use chorale_transport::{Addresses, Authority, CoordinatorKeys, StoreKeys};
use chorale_wire::{AgentId, FederationId};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::{
    running::{Agent, Coordinator, Kill},
    shop::{self, Shop},
};

/// What a federation looks like.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Agents enrolled.
    pub agents: u32,
    /// T_min.
    pub survivors_min: u32,
    /// ε over the lifetime; `None` for no noise.
    pub epsilon: Option<f64>,
    /// Customers of each shop.
    pub customers: u32,
    /// Items of the catalogue.
    pub items: u32,
    /// The `[[plan]]` tables.
    pub plans: String,
    /// The `[timing]` table.
    pub timing: String,
    /// How long ago everybody enrolled, in seconds.
    pub enrolled_ago_s: u64,
}

impl Default for Setup {
    /// Six agents of whom one may fail; a popularity round and three rounds of matrix
    /// factorisation at ε = 8.
    fn default() -> Self {
        let plans = plan("popularity", "popularity", 1, "3/10", "")
            + &plan("taste", "matrix-factorisation", 3, "7/10", "rank = 2\npersons = 60");
        Self {
            agents: 6,
            survivors_min: 5,
            epsilon: Some(8.0),
            customers: 10,
            items: 8,
            plans,
            timing: "gather_ms = 2000\nsetup_ms = 4000\nready_ms = 4000\nupload_ms = 4000\n\
                     reveal_ms = 4000\nretries = 4\n"
                .into(),
            enrolled_ago_s: 0,
        }
    }
}

/// A `[[plan]]` table.
#[must_use]
pub fn plan(name: &str, task: &str, rounds: u32, share: &str, parameters: &str) -> String {
    format!(
        "\n[[plan]]\nname = {name:?}\ntask = {task:?}\nrounds = {rounds}\n\
         budget_share = {share:?}\nscale_bits = 16\npersons_max = 512\n\
         events_before_s = 4000000000\n[plan.parameters]\n{parameters}\n"
    )
}

/// A federation whose agents are enrolled and have ingested their events.
#[derive(Debug)]
pub struct Federation {
    /// What it looks like.
    pub setup: Setup,
    folder: tempfile::TempDir,
    port: u16,
}

impl Federation {
    /// Makes everything but the running parts.
    ///
    /// # Panics
    /// When anything of it fails.
    pub async fn new(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let federation = Self { setup, folder, port: free_port() };
        let root = federation.root().to_path_buf();
        fs::write(root.join("catalogue.csv"), shop::catalogue(federation.setup.items)).unwrap();
        fs::write(root.join("coordinator.toml"), federation.coordinator_toml()).unwrap();
        federation.sign_off();
        federation.enrol();
        for number in 0..federation.setup.agents {
            federation.open_shop(number).await;
        }
        federation
    }

    /// The compliance officer signs every plan off. Where a plan cannot run, nothing is signed, and
    /// the coordinator says why.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn sign_off(&self) {
        let root = self.root();
        let (key, rng) = (root.join("compliance.key"), &mut ChaCha20Rng::from_seed([5; 32]));
        if !key.exists() {
            keygen(&key, rng).unwrap();
        }
        drop(sign(&self.coordinator_config(), &key, &root.join("sign-off.json")));
    }

    /// The folder of everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of one agent.
    #[must_use]
    pub fn agent_folder(&self, number: u32) -> PathBuf {
        self.root().join(self.shop(number).name())
    }

    /// One agent's shop.
    #[must_use]
    pub fn shop(&self, number: u32) -> Shop {
        Shop { number, customers: self.setup.customers, items: self.setup.items }
    }

    /// The coordinator's address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One agent's configuration, read from its file.
    ///
    /// # Panics
    /// When the file is not valid.
    #[must_use]
    pub fn agent_config(&self, number: u32) -> AgentConfig {
        AgentConfig::load(&self.agent_folder(number).join("agent.toml")).unwrap()
    }

    /// The coordinator's configuration, read from its file.
    ///
    /// # Panics
    /// When the file is not valid.
    #[must_use]
    pub fn coordinator_config(&self) -> CoordinatorConfig {
        CoordinatorConfig::load(&self.root().join("coordinator.toml")).unwrap()
    }

    /// Starts the coordinator, which ends when its programme is done.
    ///
    /// # Panics
    /// When its address is not free.
    #[must_use]
    pub fn start_coordinator(&self) -> Coordinator {
        // An earlier one's address is free a moment after its last connection is gone.
        let begun = std::time::Instant::now();
        while UdpSocket::bind(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < crate::running::WATCHDOG, "the address stays in use");
            #[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
            std::thread::sleep(Duration::from_millis(20));
        }
        Coordinator::start(self.coordinator_config())
    }

    /// Starts one agent, which ends when the programme is done.
    #[must_use]
    pub fn start_agent(&self, number: u32, kill: Kill) -> Agent {
        Agent::start(self.agent_config(number), kill)
    }

    /// Starts the agents that live.
    #[must_use]
    pub fn start_agents(&self, numbers: std::ops::Range<u32>) -> Vec<Agent> {
        numbers.map(|number| self.start_agent(number, Kill::Never)).collect()
    }

    /// The ledger as the file has it.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn ledger_text(&self) -> String {
        fs::read_to_string(self.root().join("state/ledger.jsonl")).unwrap()
    }

    /// Shows the ledger to the auditor's verifier in Python. Where there is no Python it says so,
    /// and fails if `CHORALE_REQUIRE_PEERS` is set.
    ///
    /// # Panics
    /// When the ledger is refused.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub fn audit_by_python(&self) {
        let script = crate::checkout().join("docs/audit/verify_ledger.py");
        let ledger = self.root().join("state/ledger.jsonl");
        let said = std::process::Command::new("python3").arg("-B").arg(script).arg(ledger).output();
        match said {
            Ok(said) => {
                let text = String::from_utf8_lossy(&said.stdout).into_owned();
                assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
            }
            Err(error) => {
                let required = std::env::var_os("CHORALE_REQUIRE_PEERS").is_some();
                assert!(!required, "CHORALE_REQUIRE_PEERS is set: {error}");
                eprintln!("skipped: python3 is not there ({error})");
            }
        }
    }

    /// What the ledger says, verified offline from the file alone.
    ///
    /// # Panics
    /// When it does not verify.
    #[must_use]
    pub fn verified_ledger(&self) -> Report {
        chorale_ledger::verify(self.ledger_text().as_bytes(), None).unwrap()
    }

    /// What one agent's journal says it has spent, and its cap. The agent must not be running.
    ///
    /// # Panics
    /// When the journal is damaged or in use.
    #[must_use]
    pub fn journal(&self, number: u32) -> (Rho, Rho) {
        let journal = self.open_journal(number);
        (journal.spent(&self.name()).unwrap(), journal.state().cap(&self.name()).clone())
    }

    /// One agent's journal. The agent must not be running.
    ///
    /// # Panics
    /// When the journal is damaged or in use.
    #[must_use]
    pub fn open_journal(&self, number: u32) -> RedbJournal {
        let config = self.agent_config(number);
        let (policy, _) = StorePolicy::read(&config.policy).unwrap();
        RedbJournal::open(&config.data_dir, policy.budgets()).unwrap()
    }

    /// One agent's sealed store. The agent must not be running.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn open_store(&self, number: u32) -> Store {
        let config = self.agent_config(number);
        Store::open(&config.data_dir, &Key::read(&config.store_key_path()).unwrap()).unwrap()
    }

    /// One agent's pseudonyms.
    ///
    /// # Panics
    /// When its key cannot be read.
    #[must_use]
    pub fn pseudonyms(&self, number: u32) -> Pseudonymiser {
        let config = self.agent_config(number);
        Pseudonymiser::new(&Key::read(&config.pseudonym_key_path()).unwrap())
    }

    /// Signs one agent's policy as it is, as its administrator does.
    ///
    /// # Panics
    /// When the policy is not valid.
    pub fn sign_policy(&self, number: u32, serial: u32) {
        let config = self.agent_config(number);
        let administrator = Administrator::read(&self.administrator_key(number)).unwrap();
        let (agent, federation) = (config.agent, config.federation);
        let terms = Terms { agent, federation, serial, created_s: now_s() };
        let (_, signature) = administrator.sign(&config.policy, terms).unwrap();
        signature.write(&Signature::path_of(&config.policy)).unwrap();
    }

    /// The file of the key of one store's administrator.
    #[must_use]
    pub fn administrator_key(&self, number: u32) -> PathBuf {
        self.agent_folder(number).join("administrator.key")
    }

    /// The federation's name.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn name(&self) -> FederationId {
        FederationId::new("small").unwrap()
    }

    fn coordinator_toml(&self) -> String {
        let Setup { agents, survivors_min, epsilon, plans, timing, .. } = &self.setup;
        let privacy = match epsilon {
            Some(epsilon) => format!("epsilon = {epsilon:?}"),
            None => "unprotected = true".into(),
        };
        format!(
            "federation = \"small\"\npurpose = \"test\"\nagents = {agents}\n\
             catalogue = \"catalogue.csv\"\nstate = \"state\"\nkeys = \"coordinator-keys\"\n\
             listen = \"{}\"\n[privacy]\n{privacy}\n\
             [cohort]\nenrolled = {agents}\nsurvivors_min = {survivors_min}\n\
             [timing]\n{timing}\n{plans}",
            self.address()
        )
    }

    /// Keys and certificates, by the authority itself: the network's part is tested elsewhere.
    fn enrol(&self) {
        let (now_s, mut rng) = (now_s() - self.setup.enrolled_ago_s, rng());
        let mut authority =
            Authority::create(&self.root().join("authority"), now_s, &mut rng).unwrap();
        let keys =
            CoordinatorKeys::generate(&self.root().join("coordinator-keys"), &mut rng).unwrap();
        let bundle = authority.issue_server(&keys.request().unwrap(), now_s, &mut rng).unwrap();
        keys.accept(&bundle, now_s).unwrap();
        let stores: Vec<_> = (0..self.setup.agents)
            .map(|number| (AgentId::new(self.shop(number).name()).unwrap(), String::new()))
            .collect();
        let addresses = Addresses { coordinator: self.address(), enrolment: self.address() };
        let validity = Duration::from_secs(3600);
        let invitations = authority.invite(&stores, &addresses, validity, now_s, &mut rng).unwrap();
        for (number, invitation) in (0..).zip(&invitations) {
            let keys =
                StoreKeys::generate(&self.agent_folder(number).join("keys"), &mut rng).unwrap();
            let administrator =
                Administrator::create(&self.administrator_key(number)).unwrap().public();
            let request = keys.request(invitation, &administrator).unwrap();
            let bundle = authority.sign(&request, now_s, &mut rng).unwrap();
            keys.accept(invitation, &administrator, &bundle, now_s).unwrap();
        }
    }

    /// Files, keys and ingested events of one shop.
    async fn open_shop(&self, number: u32) {
        let (shop, folder) = (self.shop(number), self.agent_folder(number));
        fs::write(folder.join("receipts.csv"), shop.receipts()).unwrap();
        fs::write(folder.join("agent.toml"), self.agent_toml(&shop)).unwrap();
        fs::write(folder.join("policy.toml"), POLICY).unwrap();
        self.sign_policy(number, 1);
        let config = self.agent_config(number);
        Key::create(&config.pseudonym_key_path()).unwrap();
        Key::create(&config.store_key_path()).unwrap();
        self.ingest(number).await;
    }

    /// One agent reads its store's events with the catalogue as it is now. It must not be running.
    ///
    /// # Panics
    /// When they cannot be read.
    pub async fn ingest(&self, number: u32) {
        let config = self.agent_config(number);
        let catalogue = read_catalogue(&config.catalogue).unwrap();
        let store = self.open_store(number);
        let names = self.pseudonyms(number);
        ingest(&config, &catalogue, &names, &store, now_s() as i64, Wanted::All).await.unwrap();
    }

    fn agent_toml(&self, shop: &Shop) -> String {
        format!(
            "agent = {:?}\nfederation = \"small\"\ncoordinator = {:?}\nhome = \"{}\"\n\
             catalogue = \"../catalogue.csv\"\nevent_sql = '''{}'''\n\
             [[sources]]\nname = \"receipts\"\npath = \"receipts.csv\"\nformat = \"csv\"\n",
            shop.name(),
            self.address(),
            shop.number,
            shop::EVENT_SQL
        )
    }
}

/// The policy of every agent: a small federation, ε up to 8, no noise allowed for comparisons.
pub const POLICY: &str = "epsilon_max = 8.0\nallow_unprotected = true\nsurvivors_min = 4\n\
                          roster_min = 4\nstores_max_min = 2\n";

/// The policy of every agent as it is read.
///
/// # Panics
/// Never.
#[must_use]
pub fn policy() -> StorePolicy {
    let file = PolicyFile {
        epsilon_max: 8.0,
        allow_unprotected: true,
        survivors_min: 4,
        roster_min: 4,
        stores_max_min: Some(2),
        ..PolicyFile::default()
    };
    StorePolicy::new(file, Path::new("policy.toml")).unwrap()
}

/// Present time, Unix seconds.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A generator for test keys: fresh at every run, so that no two federations share keys.
fn rng() -> ChaCha20Rng {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&nanos.to_le_bytes());
    seed[16..20].copy_from_slice(&std::process::id().to_le_bytes());
    seed[20] = FEDERATIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    ChaCha20Rng::from_seed(seed)
}

static FEDERATIONS: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
