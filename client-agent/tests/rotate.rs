//! Pseudonyms under a new key, through the command line: the same people, under other names.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use chorale_client_agent::{
    Config, Store,
    keys::{Key, Unlock},
    pseudonym::Pseudonymiser,
};
use serde_json::{Value, json};
use support::Serving;

const PROGRAM: &str = env!("CARGO_BIN_EXE_client-agent");

const CONFIG: &str = r#"
agent = "store-1"
federation = "demo"
coordinator = "127.0.0.1:7443"
home = "1"
catalogue = "catalogue.csv"
event_sql = "SELECT day AS event_time, customer AS person, '1' AS home_store, 'purchase' AS kind, item FROM receipts"

[[sources]]
name = "receipts"
path = "receipts/*.csv"
format = "csv"
"#;

const CATALOGUE: &str = "index,item_id,department,category\n\
    0,APPLES,PRODUCE,FRUIT\n1,PEARS,PRODUCE,FRUIT\n2,TEA,DRINKS,TEA\n";

struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(shop.path("receipts")).unwrap();
        fs::write(shop.path("agent.toml"), CONFIG).unwrap();
        fs::write(shop.path("catalogue.csv"), CATALOGUE).unwrap();
        shop.run(&["init"]);
        shop
    }

    /// A day at which each of these buys something.
    fn day(&self, day: u32, customers: &[&str], item: &str) {
        let rows = customers.iter().map(|who| format!("2026-01-{day:02},{who},{item}\n"));
        let text = format!("day,customer,item\n{}", rows.collect::<String>());
        fs::write(self.path(&format!("receipts/{day:02}.csv")), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let config = self.path("agent.toml");
        Command::new(PROGRAM).args(arguments).arg("--config").arg(config).output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        support::run(self.dir.path(), arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// What a command that must fail says.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("where: ") && said.contains("what to do: "), "{said}");
        said
    }

    fn baskets(&self, who: &str) -> Value {
        self.json(&["profiles", "show", who])["rhythm"]["baskets"].clone()
    }

    fn config(&self) -> Config {
        Config::load(&self.path("agent.toml")).unwrap()
    }

    fn names(&self) -> Pseudonymiser {
        self.config().names().unwrap()
    }

    fn store(&self) -> Store {
        let config = self.config();
        Store::open(&config.data_dir, &config.hold_store_key().unwrap()).unwrap()
    }

    fn key(&self) -> String {
        self.path("keys/pseudonym.key").to_str().unwrap().to_owned()
    }

    fn chain(&self) -> (Value, Value) {
        let shown = self.json(&["keys", "show"]);
        let line = shown.as_array().unwrap().iter().find(|line| line["key"] == "pseudonyms");
        (line.unwrap()["keys"].clone(), line.unwrap()["rotating"].clone())
    }

    /// Whether the bytes stand anywhere in the agent's data.
    fn holds(&self, part: &[u8]) -> bool {
        fs::read_dir(self.path("data")).unwrap().any(|entry| {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(part.len()).any(|window| window == part)
        })
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

#[test]
fn the_same_person_is_found_with_everything_under_the_new_name() {
    let shop = Shop::new();
    shop.day(1, &["ada", "ben", "eve"], "APPLES");
    shop.run(&["ingest"]);
    let token = shop.run(&["tokens", "add", "shop", "--role", "administrator"]);
    let token = token.trim();
    let serve = || Serving::start(shop.dir.path(), &["--as-of", "2026-01-20T12:00:00Z"]);
    let session = json!({"session": "s-1"});
    {
        let agent = serve();
        let event = json!([{"type": "purchase", "session": "s-1", "item": "TEA", "id": "e-1"}]);
        assert_eq!(agent.call(token, "POST", "/v1/events", Some(&event)).0, 200);
        assert_eq!(agent.call(token, "POST", "/v1/users/ada/merge", Some(&session)).0, 200);
        let no = json!({"marketing": false});
        assert_eq!(agent.call(token, "PUT", "/v1/users/ben/consents", Some(&no)).0, 200);
        assert_eq!(agent.call(token, "DELETE", "/v1/users/eve", None).0, 200);
        let said = shop.refused(&["keys", "rotate", "--pseudonyms"]);
        assert!(said.contains("in use by another process"), "{said}");
    }
    let old = shop.names();
    assert_eq!(shop.chain(), (json!(1), json!(false)));
    assert!(shop.holds(old.person("ada").as_bytes()));

    let said = shop.run(&["keys", "rotate", "--pseudonyms"]);
    assert!(said.contains("all 2 keys") && !said.contains("going on"), "{said}");
    assert_eq!(shop.chain(), (json!(2), json!(false)));
    assert!(shop.run(&["keys", "show"]).contains("2 keys"));
    let new = shop.names();
    for (old, new) in [
        (old.person("ada"), new.person("ada")),
        (old.person("eve"), new.person("eve")),
        (old.session("s-1"), new.session("s-1")),
    ] {
        assert!(!shop.holds(old.as_bytes()) && shop.holds(new.as_bytes()));
    }
    assert!(shop.json(&["ingest"])["reading"]["nothing_new"].as_bool().unwrap());

    // Only what is new is read, and it comes to the same persons.
    shop.day(2, &["ada", "eve"], "PEARS");
    let ingested = shop.json(&["ingest"]);
    let reading = &ingested["reading"];
    assert_eq!(reading["added"], true, "{ingested}");
    assert_eq!((&reading["files_known"], &reading["files_read"]), (&json!(1), &json!(1)));
    assert_eq!(ingested["persons"], 2, "{ingested}");
    // Two receipts, and the live event of the merged session.
    assert_eq!(shop.baskets("ada"), 3);
    assert_eq!(shop.baskets("ben"), 1);
    let agent = serve();
    let (status, export) = agent.call(token, "GET", "/v1/users/ada/export", None);
    assert_eq!((status, export["history"].as_array().unwrap().len()), (200, 3), "{export}");
    assert_eq!(export["persons"].as_array().unwrap().len(), 2);
    let (_, consents) = agent.call(token, "GET", "/v1/users/ben/consents", None);
    let marketing =
        consents["consents"].as_array().unwrap().iter().find(|c| c["purpose"] == "marketing");
    assert_eq!(marketing.unwrap()["allowed"], false, "{consents}");
    let event = json!([{"type": "view", "user": "eve", "item": "TEA", "id": "e-2"}]);
    agent.call(token, "POST", "/v1/events", Some(&event));
    let (_, export) = agent.call(token, "GET", "/v1/users/eve/export", None);
    assert!(export["history"].as_array().unwrap().is_empty(), "{export}");
    assert_eq!(agent.call(token, "DELETE", "/v1/users/eve", None).0, 200, "the same receipt");
    assert_eq!(agent.call(token, "POST", "/v1/users/ada/unmerge", Some(&session)).0, 200);
    drop(agent);
    assert_eq!(shop.baskets("ada"), 2);
}

#[test]
fn linked_stores_come_to_the_same_pseudonyms() {
    let (one, two) = (Shop::new(), Shop::new());
    copy(&one.path("keys/pseudonym.key"), &two.path("keys/pseudonym.key"));
    for shop in [&one, &two] {
        shop.day(1, &["ada", "ben"], "APPLES");
        shop.run(&["ingest"]);
    }
    let said = two.refused(&["keys", "rotate", "--pseudonyms", "--to", &one.key()]);
    assert!(said.contains("no key that this agent does not have"), "{said}");
    one.run(&["keys", "rotate", "--pseudonyms"]);
    // Sealed with another passphrase than this store's own, if any.
    fs::write(one.path("passphrase"), "six words by dice\n").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(one.path("passphrase"), private).unwrap();
    }
    let passphrase = one.path("passphrase");
    let passphrase = passphrase.to_str().unwrap();
    let before = fs::read_to_string(one.key()).unwrap();
    one.run(&["keys", "wrap", "--passphrase", "--new-passphrase-file", passphrase]);
    let to = ["keys", "rotate", "--pseudonyms", "--to", &one.key()];
    assert!(two.refused(&to).contains("is sealed with a passphrase"));
    assert_eq!(two.chain(), (json!(1), json!(false)), "nothing was begun");
    two.run(&[&to[..], &["--to-passphrase-file", passphrase]].concat());
    assert_eq!(fs::read_to_string(two.key()).unwrap(), before);
    let unlock = format!("{CONFIG}\n[unlock]\npassphrase_file = \"passphrase\"\n");
    fs::write(one.path("agent.toml"), unlock).unwrap();
    for who in ["ada", "ben"] {
        assert_eq!(one.names().person(who), two.names().person(who));
        assert_eq!((one.baskets(who), two.baskets(who)), (json!(1), json!(1)));
    }
    let names: Vec<_> = one.store().persons().unwrap().into_keys().collect();
    assert!(two.store().persons().unwrap().into_keys().eq(names));

    // Each on its own is a fork, which is refused.
    one.run(&["keys", "rotate", "--pseudonyms"]);
    two.run(&["keys", "rotate", "--pseudonyms"]);
    one.run(&["keys", "wrap", "--clear"]);
    let said = two.refused(&to);
    assert!(said.contains("does not begin with this agent's keys"), "{said}");
    for wrong in [
        &["keys", "rotate", "--to", "elsewhere.key"][..],
        &["keys", "rotate", "--pseudonyms", "--to-passphrase-file", passphrase],
    ] {
        assert_eq!(two.output(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn backups_that_do_not_fit_are_refused_and_data_that_is_behind_is_renamed() {
    let shop = Shop::new();
    shop.day(1, &["ada"], "APPLES");
    shop.run(&["ingest"]);
    copy(&shop.path("data/store.redb"), &shop.path("old.redb"));
    copy(&shop.path("keys/pseudonym.key"), &shop.path("old.key"));
    shop.run(&["keys", "rotate", "--pseudonyms"]);
    copy(&shop.path("data/store.redb"), &shop.path("new.redb"));
    copy(&shop.path("keys/pseudonym.key"), &shop.path("new.key"));

    // The key file is an old one: no command works with the names, and no rotation goes on.
    copy(&shop.path("old.key"), &shop.path("keys/pseudonym.key"));
    for command in [
        &["ingest"][..],
        &["recommend", "ada"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["keys", "rotate", "--pseudonyms"],
    ] {
        let said = shop.refused(command);
        assert!(said.contains("pseudonym key do not fit"), "{said}");
        assert!(said.contains("newest pseudonym key file"), "{said}");
    }
    assert_eq!(shop.chain(), (json!(1), json!(false)), "no key was made");

    // The data is old: the rotation catches up, and makes no key.
    copy(&shop.path("new.key"), &shop.path("keys/pseudonym.key"));
    copy(&shop.path("old.redb"), &shop.path("data/store.redb"));
    let said = shop.refused(&["recommend", "ada"]);
    assert!(said.contains("under an earlier pseudonym key"), "{said}");
    let said = shop.run(&[
        "keys",
        "rotate",
        "--pseudonyms",
        "--to",
        shop.path("new.key").to_str().unwrap(),
    ]);
    assert!(said.contains("going on"), "{said}");
    assert_eq!(shop.chain(), (json!(2), json!(false)));
    assert_eq!(shop.baskets("ada"), 1);
    copy(&shop.path("old.redb"), &shop.path("data/store.redb"));
    shop.run(&["keys", "rotate", "--pseudonyms"]);
    assert_eq!((shop.chain().0, shop.baskets("ada")), (json!(2), json!(1)));
    copy(&shop.path("new.redb"), &shop.path("data/store.redb"));
    assert_eq!(shop.baskets("ada"), 1);

    // A rotation that was cut short: every command says so, and the next rotation finishes.
    let key = Key::create(&shop.path("next.key")).unwrap();
    let text = fs::read_to_string(shop.path("new.key")).unwrap();
    let next = fs::read_to_string(shop.path("next.key")).unwrap();
    fs::write(shop.key(), format!("{text}pending {next}")).unwrap();
    assert_eq!(shop.chain(), (json!(2), json!(true)));
    assert!(shop.run(&["keys", "show"]).contains("2 keys; a rotation was cut short"));
    for command in
        [&["ingest"][..], &["data", "check"], &["recommend", "ada"], &["profiles", "refresh"]]
    {
        let said = shop.refused(command);
        assert!(said.contains("a rotation of the pseudonym key was cut short"), "{said}");
        assert!(said.contains("keys rotate --pseudonyms"), "{said}");
    }
    let said = shop.run(&["keys", "rotate", "--pseudonyms"]);
    assert!(said.contains("going on") && said.contains("all 3 keys"), "{said}");
    let names = Pseudonymiser::open(&shop.path("new.key"), &Unlock::default()).unwrap().then(&key);
    assert!(shop.store().person(names.person("ada")).unwrap().is_some());
    assert_eq!(shop.baskets("ada"), 1);
}
