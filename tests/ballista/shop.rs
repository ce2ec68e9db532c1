//! A store with receipts of *The Complete Journey*, and an agent that reads them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use chorale_people::{features::PersonRecord, keys::Key, store::Store};
use chorale_plan::Pseudonym;
use serde_json::Value;

pub(crate) const JOIN: &str = "SELECT t.transaction_timestamp AS event_time, t.household_id AS person, \
    t.home_store AS home_store, 'purchase' AS kind, p.product_type AS item, t.quantity AS quantity, \
    t.sales_value AS amount, t.basket_id AS basket \
    FROM transactions t JOIN products p ON p.product_id = t.product_id";

pub(crate) const SUM: &str = "SELECT min(t.transaction_timestamp) AS event_time, t.household_id AS person, \
    t.home_store AS home_store, 'purchase' AS kind, p.product_type AS item, \
    sum(t.quantity) AS quantity, t.basket_id AS basket \
    FROM transactions t JOIN products p ON p.product_id = t.product_id \
    GROUP BY t.household_id, t.home_store, p.product_type, t.basket_id";

pub(crate) const FAILS: &str = "SELECT t.transaction_timestamp AS event_time, t.household_id AS person, \
    t.home_store AS home_store, 'purchase' AS kind, p.product_type AS item, \
    CAST(p.product_type AS bigint) AS quantity, t.basket_id AS basket \
    FROM transactions t JOIN products p ON p.product_id = t.product_id";

pub(crate) struct Shop(tempfile::TempDir);

impl Shop {
    /// An agent that reads for itself.
    pub(crate) fn new(sql: &str) -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        let source = |name: &str, path: &Path| {
            format!(
                "[[sources]]\nname = '{name}'\npath = '{}'\nformat = 'parquet'\n",
                path.display()
            )
        };
        shop.write(
            "agent.toml",
            &format!(
                "agent = 'store-367'\nfederation = 'demo'\ncoordinator = '127.0.0.1:7443'\n\
                 home = '367'\ncatalogue = '{}'\nevent_sql = \"{sql}\"\n\
                 [cleaning]\nquarantine_max_share = 0.5\n{}{}",
                data().join("catalogue.csv").display(),
                source("transactions", Path::new("receipts")),
                source("products", &data().join("products.parquet")),
            ),
        );
        fs::create_dir(shop.0.path().join("receipts")).unwrap();
        assert!(shop.run(&["init"], "warn").status.success());
        shop
    }

    /// The same agent by configuration and keys, without data, with its SQL on a cluster.
    pub(crate) fn twin(&self, engine: &str) -> Self {
        self.twin_with(engine, "")
    }

    /// As [`Self::twin`], with more in `[cluster]`.
    pub(crate) fn twin_with(&self, engine: &str, more: &str) -> Self {
        let twin = Self(tempfile::tempdir().unwrap());
        for folder in ["receipts", "keys"] {
            fs::create_dir(twin.0.path().join(folder)).unwrap();
        }
        for entry in fs::read_dir(self.0.path().join("keys")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), twin.0.path().join("keys").join(entry.file_name())).unwrap();
        }
        let config = self.config();
        let own = config.find("engine = ").or(config.find("[cleaning]")).unwrap();
        let config = config[..own].to_owned() + &config[config.find("[cleaning]").unwrap()..];
        let cluster = format!(
            "engine = '{engine}'\n[cluster]\nexecutor_disks = 'encrypted'\npartitions = 4\n{more}\n\
             [cleaning]"
        );
        twin.write("agent.toml", &config.replacen("[cleaning]", &cluster, 1));
        twin
    }

    pub(crate) fn config(&self) -> String {
        fs::read_to_string(self.0.path().join("agent.toml")).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    pub(crate) fn add_receipts(&self, of: &str) {
        let from = data().join("stores").join(of).join("transactions.parquet");
        let to = self.0.path().join("receipts").join(format!("{of}.parquet"));
        fs::copy(from, to).unwrap();
    }

    fn run(&self, arguments: &[&str], log: &str) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("client-agent").args(arguments).arg("--config");
        command.arg(self.0.path().join("agent.toml")).env("CHORALE_LOG", log).output().unwrap()
    }

    pub(crate) fn ingest(&self) -> Value {
        let output = self.run(&["ingest", "--json"], "warn");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("was not told"), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What the agent says, and logs at this level, when it does not take the events in.
    pub(crate) fn refused(&self, log: &str) -> String {
        let output = self.run(&["ingest"], log);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    fn store(&self) -> Store {
        let key = Key::read(&self.0.path().join("keys/store.key")).unwrap();
        Store::open(&self.0.path().join("data"), &key).unwrap()
    }

    pub(crate) fn persons(&self) -> BTreeMap<Pseudonym, PersonRecord> {
        self.store().persons().unwrap()
    }

    pub(crate) fn has_data(&self) -> bool {
        self.store().ingest().unwrap().is_some()
    }

    /// The names of all items.
    pub(crate) fn catalogue(&self) -> Vec<String> {
        let text = fs::read_to_string(data().join("catalogue.csv")).unwrap();
        text.lines().skip(1).filter_map(|line| Some(line.split(',').nth(1)?.to_owned())).collect()
    }
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/complete-journey")
}
