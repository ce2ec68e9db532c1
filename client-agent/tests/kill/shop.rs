//! An agent whose processes are killed, and what must be true of its files at any time.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use chorale_client_agent::{
    Config, Store,
    keys::{Key, NameKeys, StoreKey},
    pseudonym::Pseudonymiser,
};
use chorale_plan::Pseudonym;
use serde_json::json;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_client-agent");

const ITEMS: [&str; 3] = ["HERRING-IN-MUSTARD", "QUINCE-JELLY-JAR", "BUCKWHEAT-CRISPBREAD"];

const CONFIG: &str = r#"
agent = "store-367"
federation = "demo"
coordinator = "127.0.0.1:7443"
home = "367"
catalogue = "catalogue.csv"
event_sql = '''
SELECT day AS event_time, customer AS person, '367' AS home_store, 'purchase' AS kind, item,
       receipt AS basket
FROM receipts'''

[unlock]
passphrase_file = "passphrase"

[[sources]]
name = "receipts"
path = "receipts.csv"
format = "csv"
"#;

/// Customers that each growth of the files brings.
const GROWTH: u32 = 200;

pub(crate) struct Shop {
    dir: TempDir,
    token: String,
    /// Customers in the files now.
    customers: u32,
    /// Customers of the last ingest that is known to be whole.
    ingested: u32,
    /// Numbers of events that were acknowledged.
    acknowledged: BTreeSet<u32>,
    /// Numbers of events that were sent.
    sent: u32,
    /// Keys that must be nowhere in the clear.
    sealed_keys: Vec<String>,
    /// Pseudonyms as they were when nothing was being renamed.
    names: Option<Pseudonymiser>,
    /// Those before, which must be nowhere.
    old_names: Option<Pseudonymiser>,
}

impl Shop {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("agent.toml"), CONFIG).unwrap();
        fs::write(dir.path().join("passphrase"), "correct horse battery staple\n").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(dir.path().join("passphrase"), private).unwrap();
        }
        let lines = ITEMS.iter().enumerate().map(|(n, item)| format!("{n},{item},FOOD,CUPBOARD\n"));
        let catalogue = format!("index,item_id,department,category\n{}", lines.collect::<String>());
        fs::write(dir.path().join("catalogue.csv"), catalogue).unwrap();
        let mut shop = Self {
            dir,
            token: String::new(),
            customers: 0,
            ingested: 0,
            acknowledged: BTreeSet::new(),
            sent: 0,
            sealed_keys: Vec::new(),
            names: None,
            old_names: None,
        };
        shop.grow();
        shop.run(&["init"]);
        let token = shop.run(&["tokens", "add", "shop", "--role", "collector"]).stdout;
        shop.token = String::from_utf8(token).unwrap().trim().to_owned();
        shop
    }

    /// More customers in the files.
    pub(crate) fn grow(&mut self) {
        self.customers += GROWTH;
        let line = |number: u32| {
            let item = ITEMS[number as usize % ITEMS.len()];
            format!("2026-01-0{},{},{item},{}\n", number % 8 + 1, customer(number), receipt(number))
        };
        let lines: String = (0..self.customers).map(line).collect();
        let text = format!("day,customer,item,receipt\n{lines}");
        fs::write(self.path("receipts.csv"), text).unwrap();
    }

    pub(crate) fn ingest(&self) {
        self.run(&["ingest"]);
    }

    pub(crate) fn rotate(&self) {
        self.run(&["keys", "rotate"]);
    }

    pub(crate) fn rename(&self) {
        self.run(&["keys", "rotate", "--pseudonyms"]);
    }

    pub(crate) fn unwrap(&mut self) {
        self.run(&["keys", "wrap", "--clear"]);
        self.sealed_keys.clear();
    }

    /// Whether the pseudonym key file says that a rotation was cut short.
    pub(crate) fn is_renaming(&self) -> bool {
        self.name_keys().is_pending()
    }

    pub(crate) fn refuses_to_ingest(&self) {
        let output = self.command(&["ingest"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let why = "a rotation of the pseudonym key was cut short";
        assert!(!output.status.success() && said.contains(why), "{said}");
    }

    /// Seals the key files with the passphrase.
    pub(crate) fn wrap(&mut self) {
        let config = self.config();
        let paths = [config.store_key_path(), config.pseudonym_key_path()];
        self.sealed_keys.extend(paths.iter().map(|path| {
            let key = Key::read(path).unwrap();
            key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        }));
        let file = self.path("passphrase");
        let file = file.to_str().unwrap();
        self.run(&["keys", "wrap", "--passphrase", "--new-passphrase-file", file]);
    }

    /// Whether the key file says that a rotation was cut short.
    pub(crate) fn is_rotating(&self) -> bool {
        self.hold().file().before().is_some()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Runs a command and kills it after `wait`, unless it has ended by then.
    pub(crate) fn kill(&self, arguments: &[&str], wait: Duration) {
        let quiet = Stdio::null;
        let mut child = self.command(arguments).stdout(quiet()).stderr(quiet()).spawn().unwrap();
        pause(wait);
        kill(&mut child);
    }

    /// A server takes events, one request after the other, until it is killed after `wait`.
    pub(crate) fn write_until_killed(&mut self, wait: Duration) {
        let (mut child, address) = self.serve();
        let killer = std::thread::spawn(move || {
            pause(wait);
            kill(&mut child);
        });
        loop {
            let number = self.sent;
            self.sent += 1;
            if self.send(&address, number).is_none() {
                break;
            }
            self.acknowledged.insert(number);
        }
        killer.join().unwrap();
    }

    pub(crate) fn refuses_to_rotate_beside_a_server(&self) {
        let (mut child, _) = self.serve();
        let output = self.command(&["keys", "rotate"]).output().unwrap();
        kill(&mut child);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("in use by another process"), "{said}");
    }

    /// Everything that must be true whenever nothing runs; whether the last ingest is the one of
    /// the files as they are now.
    pub(crate) fn check(&mut self) -> bool {
        self.search();
        let config = self.config();
        let store = Store::open(&config.data_dir, &self.hold()).unwrap();
        let names = self.current_names(&store);
        let (persons, profiles) = (store.persons().unwrap(), store.profiles().unwrap());
        assert_eq!(persons.len() as u64, store.ingest().unwrap().unwrap().persons);
        assert!(persons.keys().eq(profiles.keys()));
        let count = persons.len() as u32;
        assert!(count == self.ingested || count == self.customers, "{count} customers");
        self.ingested = count;
        let known = |number| persons.contains_key(&names.person(&customer(number)));
        assert!((0..count).all(known));
        let live = store.live().unwrap();
        for number in &self.acknowledged {
            let events = &live.events[&names.person(&customer(*number))];
            let id = names.event(&format!("event {}", event(*number)));
            assert!(events.iter().any(|event| event.id == id), "event {number} is gone");
        }
        count == self.customers
    }

    /// The names that the store is under, wholly: the new ones or, while they are not in force, those
    /// before.
    fn current_names(&mut self, store: &Store) -> Pseudonymiser {
        let keys = self.name_keys();
        let all = keys.all();
        if keys.is_pending() {
            return if store.is_behind(&all).unwrap() { self.names.clone().unwrap() } else { all };
        }
        assert!(!store.is_behind(&all).unwrap());
        if self.names.as_ref().is_some_and(|names| names.mark() != all.mark()) {
            self.old_names = self.names.take();
        }
        self.names = Some(all.clone());
        if let Some(old) = &self.old_names {
            let mut bytes = Vec::new();
            read_all(&self.path("data"), &mut bytes);
            let found = |who: Pseudonym| bytes.windows(32).any(|window| window == who.as_bytes());
            for number in 0..3 {
                assert!(!found(old.person(&customer(number))), "an old name is on the disk");
                assert!(found(all.person(&customer(number))));
            }
        }
        all
    }

    fn name_keys(&self) -> NameKeys {
        let config = self.config();
        NameKeys::open(&config.pseudonym_key_path(), &config.unlock.load().unwrap()).unwrap()
    }

    /// No file of the agent holds a raw id or text, or a key that is sealed. The files that the
    /// store brought do, which shows that the search finds them.
    fn search(&self) {
        let mut bytes = Vec::new();
        for folder in ["data", "keys"] {
            read_all(&self.path(folder), &mut bytes);
        }
        // Every raw id begins with one of these.
        let needles = ["CUSTOMER-", "RECEIPT-", "EVENT-", "SESSION-"].into_iter().chain(ITEMS);
        for needle in needles.chain(self.sealed_keys.iter().map(String::as_str)) {
            assert!(!holds(&bytes, needle), "{needle} is in plain text");
        }
        let receipts = fs::read(self.path("receipts.csv")).unwrap();
        assert!(holds(&receipts, "CUSTOMER-") && holds(&receipts, ITEMS[1]));
    }

    fn send(&self, address: &str, number: u32) -> Option<()> {
        let body = json!([{
            "type": "view", "user": customer(number), "session": session(number),
            "item": ITEMS[number as usize % ITEMS.len()], "id": event(number),
        }])
        .to_string();
        let mut stream = TcpStream::connect(address).ok()?;
        write!(
            stream,
            "POST /v1/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        // A reply that was cut short acknowledges nothing.
        let (head, body) = text.split_once("\r\n\r\n")?;
        let body: serde_json::Value = serde_json::from_str(body).ok()?;
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        assert_eq!(body["accepted"], 1, "{text}");
        Some(())
    }

    fn serve(&self) -> (Child, String) {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap();
        (child, address.trim_end_matches('/').to_owned())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        output
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).arg("--config").arg(self.path("agent.toml")).stdin(Stdio::null());
        command
    }

    fn hold(&self) -> StoreKey {
        self.config().hold_store_key().unwrap()
    }

    fn config(&self) -> Config {
        Config::load(&self.path("agent.toml")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn customer(number: u32) -> String {
    format!("CUSTOMER-{number:07}-OF-367")
}

fn receipt(number: u32) -> String {
    format!("RECEIPT-{number:07}")
}

fn event(number: u32) -> String {
    format!("EVENT-{number:07}")
}

fn session(number: u32) -> String {
    format!("SESSION-{number:07}")
}

fn kill(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
    child.wait().unwrap();
}

fn pause(wait: Duration) {
    let until = Instant::now() + wait;
    #[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

fn read_all(folder: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        into.extend(fs::read(entry.unwrap().path()).unwrap());
    }
}
