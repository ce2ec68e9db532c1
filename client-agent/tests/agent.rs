//! The program as a store administrator meets it: on real files, through its command line.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use chorale_client_agent::{
    Config, RedbJournal, Store, StorePolicy, features::Who, keys::Key, pseudonym::Pseudonymiser,
};
use chorale_round::agent::Behind;
use chorale_task::Catalogue;
use chorale_wire::{AgentId, Digest, Epoch, RoundNumber, message::StatedRound};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_client-agent");

const CATALOGUE: &str = "index,item_id,department,category\n\
    0,APPLES,PRODUCE,FRUIT\n1,PEARS,PRODUCE,FRUIT\n2,PICKLED HERRING,GROCERY,FISH\n\
    3,RYE BREAD,GROCERY,BREAD\n4,MATCHES,HOUSEHOLD,KINDLING\n";

const HEADER: &str = "when,customer,home,item,quantity,price,receipt,line\n";

const SQL: &str = "SELECT \"when\" AS event_time, customer AS person, home AS home_store,\n\
    'purchase' AS kind, item, quantity, price AS amount, receipt AS basket,\n\
    line AS event_id FROM receipts";

/// A store with its files in a temporary directory.
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new(csv: &str) -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        shop.write("receipts.csv", csv);
        shop.write("catalogue.csv", CATALOGUE);
        shop.write("agent.toml", &config(SQL));
        let made = shop.run(&["init"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = self.path("agent.toml");
        Command::new(PROGRAM).args(arguments).arg("--config").arg(config).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail with exit code 1, and returns what it says.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in ["error: ", "where: ", "what to do: "] {
            assert!(said.contains(part), "{said}");
        }
        said
    }

    fn store(&self) -> Store {
        let config = Config::load(&self.path("agent.toml")).unwrap();
        Store::open(&config.data_dir, &Key::read(&config.store_key_path()).unwrap()).unwrap()
    }
}

fn config(sql: &str) -> String {
    format!(
        "agent = \"store-367\"\nfederation = \"demo\"\ncoordinator = \"127.0.0.1:7443\"\n\
         home = \"367\"\ncatalogue = \"catalogue.csv\"\nevent_sql = '''\n{sql}\n'''\n\
         [[sources]]\nname = \"receipts\"\npath = \"receipts.csv\"\nformat = \"csv\"\n"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Eleven customers: the first buys herring every ten days, the others apples and bread.
fn receipts() -> String {
    let mut csv = HEADER.to_owned();
    let mut line = 0;
    let mut add = |day: u32, customer: &str, home: &str, item: &str| {
        line += 1;
        writeln!(
            csv,
            "2026-01-{day:02} 10:30:00,{customer},{home},{item},1,2.50,r{day}-{customer},{line}"
        )
        .unwrap();
    };
    for day in [1, 11, 21] {
        add(day, "CUSTOMER-0098765", "367", "PICKLED HERRING");
    }
    add(21, "CUSTOMER-0098765", "367", "PEARS");
    for number in 1..=10 {
        let customer = format!("CUSTOMER-{number:07}");
        add(5, &customer, if number == 10 { "999" } else { "367" }, "APPLES");
        add(6, &customer, if number == 10 { "999" } else { "367" }, "RYE BREAD");
    }
    csv
}

#[test]
fn from_a_file_to_answers() {
    let shop = Shop::new(&receipts());
    let checked = shop.json(&["data", "check", "--json"]);
    assert_eq!((checked["rows"].as_u64(), checked["used"].as_u64()), (Some(24), Some(24)));
    assert!(!shop.path("data/store.redb").exists(), "a check keeps nothing");

    let ingested = shop.json(&["ingest", "--json"]);
    assert_eq!(ingested["persons"], 11);
    assert_eq!(ingested["home_persons"], 10);

    let profile = shop.json(&["profiles", "show", "CUSTOMER-0098765", "--json"]);
    assert_eq!(profile["rhythm"]["baskets"], 3);
    assert_eq!(profile["categories"][0]["category"], "FISH");
    assert_eq!(profile["habits"][0]["item"], "PICKLED HERRING");
    assert_eq!(profile["habits"][0]["period_days"], 10.0);
    assert_eq!(profile["at_home"], true);

    let answer = shop.json(&["recommend", "CUSTOMER-0098765", "--json"]);
    assert_eq!(answer["items"][0]["item"], "PICKLED HERRING");
    assert_eq!(answer["items"][0]["source"], "history");
    assert!(answer["note"].as_str().unwrap().contains("no global model yet"));

    let fresh = shop.json(&["recommend", "CUSTOMER-0098765", "--new-only", "--json"]);
    let items: Vec<_> = fresh["items"].as_array().unwrap().iter().map(|i| &i["item"]).collect();
    assert_eq!(items[0], "APPLES");
    assert_eq!(fresh["items"][0]["source"], "local-popularity");
    assert!(!items.iter().any(|item| *item == "PICKLED HERRING" || *item == "PEARS"));

    let unknown = shop.json(&["recommend", "NOBODY", "--count", "2", "--json"]);
    assert_eq!(unknown["known"], false);
    assert_eq!(unknown["items"].as_array().unwrap().len(), 2);
    for command in [&["profiles", "show", "NOBODY"][..], &["recommend", "CUSTOMER-0000001"][..]] {
        let output = shop.run(command);
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("APPLES"), "{}", text(&output.stdout));
    }
}

#[test]
fn nothing_readable_stays_on_the_disk() {
    let shop = Shop::new(&receipts());
    shop.json(&["ingest", "--json"]);
    let mut seen = 0;
    for folder in ["data", "keys"] {
        for entry in fs::read_dir(shop.path(folder)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            seen += bytes.len();
            let words = ["CUSTOMER", "0098765", "HERRING", "APPLES", "RYE BREAD", "FRUIT", "r21-"];
            for word in words {
                let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!found, "'{word}' stands in {folder}");
            }
        }
    }
    assert!(seen > 4096);
}

#[test]
fn a_second_ingest_changes_nothing() {
    let shop = Shop::new(&receipts());
    shop.json(&["ingest", "--json"]);
    let first = shop.store().persons().unwrap();
    let profiles = shop.store().profiles().unwrap();
    shop.json(&["ingest", "--json"]);
    assert_eq!(shop.store().persons().unwrap(), first);
    assert_eq!(shop.store().profiles().unwrap(), profiles);
    assert_eq!((first.len(), profiles.len()), (11, 11));
    let key = Key::read(&shop.path("keys/pseudonym.key")).unwrap();
    let who = Pseudonymiser::new(&key).person("CUSTOMER-0098765");
    assert_eq!(first[&who].events.len(), 4);
}

#[test]
fn bad_rows_are_set_aside_with_their_numbers() {
    let mut csv = receipts();
    csv.push_str("2026-01-07,CUSTOMER-0000001,367,APPLES,1,-2.50,r,901\n");
    let shop = Shop::new(&csv);
    let said = shop.refused(&["data", "check"]);
    assert!(said.contains("1 of 25 rows are faulty: negative amount: 1 (row 25)"), "{said}");
    // One in 25 is below the accepted share, so the rest is kept.
    let ingested = shop.json(&["ingest", "--json"]);
    assert_eq!(ingested["quality"]["used"], 24);
    assert_eq!(ingested["quality"]["quarantined"]["negative-amount"]["rows"], 1);

    csv.push_str("yesterday,CUSTOMER-0000001,367,APPLES,1,2.50,r,902\n");
    csv.push_str("2026-01-07,,367,APPLES,1,2.50,r,903\n");
    csv.push_str("2026-01-07,CUSTOMER-0000001,367,APPLES,many,2.50,r,904\n");
    csv.push_str("2026-01-07,CUSTOMER-0000001,367,APPLES,1,2.50,r,5\n");
    csv.push_str("2026-01-07,CUSTOMER-0000001,367,MOON ROCK,1,2.50,r,905\n");
    shop.write("receipts.csv", &csv);
    let before = shop.store().persons().unwrap();
    let said = shop.refused(&["ingest"]);
    for words in ["5 of 30 rows", "unknown time", "no customer", "not a number", "duplicate id"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("CUSTOMER") && !said.contains("outside the catalogue"), "{said}");
    assert_eq!(shop.store().persons().unwrap(), before, "a refused ingest changes nothing");
}

#[test]
fn unreadable_files_are_named() {
    let shop = Shop::new(&receipts());
    fs::remove_file(shop.path("receipts.csv")).unwrap();
    let said = shop.refused(&["data", "check"]);
    assert!(said.contains("source 'receipts' cannot be opened"), "{said}");
    assert!(said.contains("receipts.csv"), "{said}");

    shop.write("receipts.csv", &receipts());
    let parquet = config(SQL).replace("format = \"csv\"", "format = \"parquet\"");
    shop.write("agent.toml", &parquet);
    let said = shop.refused(&["ingest"]);
    assert!(said.contains("cannot be read as Parquet") && said.contains("because: "), "{said}");

    shop.write("agent.toml", &config(SQL).replace("receipts.csv", "nothing-*.csv"));
    let said = shop.refused(&["ingest"]);
    assert!(said.contains("no file matches the source 'receipts'"), "{said}");

    shop.write("agent.toml", &config(SQL).replace("catalogue.csv", "catalog.csv"));
    assert!(shop.refused(&["ingest"]).contains("the catalogue cannot be read"));

    shop.write("agent.toml", &config(SQL));
    shop.write("receipts.csv", &format!("{}2026-01-07,too,few\n", receipts()));
    let said = shop.refused(&["data", "check"]);
    assert!(said.contains("malformed line: 1 (receipts.csv line 26)"), "{said}");
    shop.write("agent.toml", &config(SQL).replace("receipts.csv", "receipts.csv.gz"));
    shop.write("receipts.csv.gz", "no gzip at all");
    let said = shop.refused(&["ingest"]);
    assert!(said.contains("cannot be read as Csv") && said.contains("because: "), "{said}");
}

#[test]
fn wrong_columns_are_named() {
    let shop = Shop::new(&receipts());
    let says = |sql: &str| {
        shop.write("agent.toml", &config(sql));
        shop.refused(&["data", "check"])
    };
    let said = says(&SQL.replace("customer AS", "costumer AS"));
    assert!(said.contains("names the column 'costumer', which no source has"), "{said}");
    assert!(said.contains("where: event_sql, line 1"), "{said}");
    let said = says(&SQL.replace("'purchase' AS kind, ", ""));
    assert!(said.contains("yields no column 'kind' (one of 'purchase'"), "{said}");
    let said = says(&SQL.replace("AS amount", "AS amuont"));
    assert!(said.contains("a column 'amuont', which is no part of an event"), "{said}");
    let said = says(&SQL.replace("quantity,", "true AS quantity,"));
    assert!(said.contains("yields 'quantity' as Boolean; expected how many"), "{said}");
    let said = says("SELEKT everything");
    assert!(said.contains("event_sql cannot be run"), "{said}");
    for writing in ["CREATE TABLE t AS SELECT 1", "COPY receipts TO 'stolen.csv'"] {
        let said = says(writing);
        assert!(said.contains("only SELECT is allowed"), "{said}");
    }
    assert!(!Path::new("stolen.csv").exists());
}

#[test]
fn typos_and_mistakes_in_commands() {
    let shop = Shop::new(&receipts());
    shop.write("agent.toml", &config(SQL).replace("home =", "hoem ="));
    let said = shop.refused(&["ingest"]);
    assert!(said.contains("unknown field `hoem`") && said.contains("agent.toml, line 4"), "{said}");
    for wrong in [&["recommend"][..], &["frobnicate"][..], &["recommend", "1", "--count", "0"][..]]
    {
        assert_eq!(shop.run(wrong).status.code(), Some(2));
    }
    assert_eq!(shop.run(&["--help"]).status.code(), Some(0));
    let script = shop.run(&["completions", "bash"]);
    assert!(script.status.success() && text(&script.stdout).contains("complete -F"));
    shop.write("agent.toml", &config(SQL));
    assert!(shop.refused(&["recommend", "1"]).contains("no events have been ingested yet"));
    let catalogue = CATALOGUE.replace("MATCHES", "CANDLES");
    shop.json(&["ingest", "--json"]);
    shop.write("catalogue.csv", &catalogue);
    assert!(shop.refused(&["recommend", "1"]).contains("belong to another catalogue"));
}

#[test]
fn an_administrator_signs_a_policy() {
    let shop = Shop::new(&receipts());
    let (key, policy) = (shop.path("admin/administrator.key"), shop.path("policy.toml"));
    let (key, policy) = (key.to_str().unwrap(), policy.to_str().unwrap());
    let signature = shop.path("policy.toml.sig");
    assert!(shop.refused(&["policy", "keygen", "--out", key]).contains("cannot be used"));
    fs::create_dir(shop.path("admin")).unwrap();
    let made = shop.run(&["policy", "keygen", "--out", key]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let public = fs::read_to_string(shop.path("admin/administrator.pub")).unwrap();
    assert!(text(&made.stdout).contains(public.trim()));
    assert!(!text(&made.stdout).contains(fs::read_to_string(key).unwrap().trim()));
    assert!(shop.refused(&["policy", "keygen", "--out", key]).contains("keep the key"));

    let sign = |more: &[&str]| {
        let output = shop.run(&[&["policy", "sign", policy, "--key", key][..], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = sign(&[]);
    assert!(said.contains("as number 1 for store-367 in federation demo"), "{said}");
    assert!(said.contains("at most ε = 1 at δ = 1/100000"), "{said}");
    assert!(sign(&[]).contains("as number 2"));
    assert!(sign(&["--serial", "9"]).contains("as number 9"));
    assert!(sign(&[]).contains("as number 10"));
    let elsewhere = sign(&["--agent", "store-1", "--federation", "west"]);
    assert!(elsewhere.contains("as number 11 for store-1 in federation west"), "{elsewhere}");

    // Somebody else's number is not counted on from.
    let other = shop.path("other.key");
    let other = other.to_str().unwrap();
    assert!(shop.run(&["policy", "keygen", "--out", other]).status.success());
    let said = shop.refused(&["policy", "sign", policy, "--key", other]);
    assert!(said.contains("not this administrator's") && said.contains("--serial"), "{said}");
    fs::write(&signature, "0123").unwrap();
    assert!(shop.refused(&["policy", "sign", policy, "--key", key]).contains("is damaged"));
    let loose = fs::read_to_string(policy).unwrap().replace("1/3", "1/2");
    shop.write("policy.toml", &loose);
    let said = shop.refused(&["policy", "sign", policy, "--key", key, "--serial", "12"]);
    assert!(said.contains("'dropout_max' must be"), "{said}");
    assert_eq!(fs::read_to_string(&signature).unwrap(), "0123", "nothing was signed");

    assert!(shop.refused(&["policy", "check"]).contains("enrol this store first"));
    for wrong in [
        &["policy", "sign", policy][..],
        &["policy", "sign", policy, "--key", key, "--serial", "0"],
        &["policy", "sign", policy, "--key", key, "--agent", "store-1"],
        &["enrol", "invitation.toml"],
    ] {
        assert_eq!(shop.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let said = shop.refused(&["enrol", "invitation.toml", "--administrator", "nobody.pub"]);
    assert!(said.contains("invitation"), "{said}");
}

/// What other agents stated is shown, refuses rounds, and is acknowledged once.
#[test]
fn a_restored_backup_is_shown_and_acknowledged() {
    let shop = Shop::new(&receipts());
    let fresh = shop.json(&["journal", "show", "--json"]);
    assert_eq!((&fresh["restored_rounds"], &fresh["rho_spent"]), (&Value::Null, &0.0.into()));
    assert!(shop.refused(&["journal", "acknowledge"]).contains("nothing to acknowledge"));

    let config = Config::load(&shop.path("agent.toml")).unwrap();
    let cap = StorePolicy::read(&config.policy).unwrap().0.cap().clone();
    let mut journal = RedbJournal::open(&config.data_dir, cap).unwrap();
    let question = Digest::plain(b"question");
    let rounds = vec![StatedRound { round: RoundNumber(7), question, cost: Some(1 << 60) }];
    let witnesses = vec![AgentId::new("store-9").unwrap()];
    let behind = Behind { epoch: Epoch(2), rounds, more: false, witnesses };
    journal.restore(&config.federation, &behind, 1_700_000_000).unwrap();
    // The journal belongs to one process at a time.
    assert!(shop.refused(&["journal", "show"]).contains("another agent is running"));
    drop(journal);

    let shown = shop.json(&["journal", "show", "--json"]);
    assert_eq!(shown["restored_rounds"], serde_json::json!([7]));
    assert_eq!(shown["restored_by"], serde_json::json!(["store-9"]));
    assert_eq!((&shown["last_round"], &shown["rho_spent"]), (&7.into(), &0.0625.into()));
    let said = text(&shop.run(&["journal", "show"]).stdout);
    assert!(said.contains("a restored backup?") && said.contains("journal acknowledge"), "{said}");
    let done = shop.run(&["journal", "acknowledge"]);
    assert!(done.status.success() && text(&done.stdout).contains("store-9"));
    assert_eq!(shop.json(&["journal", "show", "--json"])["restored_rounds"], Value::Null);
    assert!(shop.refused(&["journal", "acknowledge"]).contains("nothing to acknowledge"));
}

/// A limit on file sizes stands for a full disk: writing fails in the middle of the ingest.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let shop = Shop::new(&receipts());
    shop.json(&["ingest", "--json"]);
    let before = shop.store().persons().unwrap();
    let mut csv = receipts();
    for number in 0..40_000 {
        writeln!(csv, "2026-01-09,MANY-{},367,APPLES,1,2.50,r{number},n{number}", number % 9000)
            .unwrap();
    }
    shop.write("receipts.csv", &csv);
    let limited = format!(
        "trap '' XFSZ; ulimit -f 4096; exec '{PROGRAM}' ingest --config '{}'",
        shop.path("agent.toml").display()
    );
    let output = Command::new("sh").args(["-c", &limited]).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the data file cannot be written"), "{said}");
    assert!(said.contains("disk is not full") && said.contains("because: "), "{said}");
    assert_eq!(shop.store().persons().unwrap(), before);
    let output = shop.run(&["recommend", "CUSTOMER-0098765"]);
    assert!(output.status.success());

    let full = format!("'{PROGRAM}' init --print >/dev/full");
    if Path::new("/dev/full").exists() {
        let output = Command::new("sh").args(["-c", &full]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("the answer cannot be written"));
    }
}

#[test]
fn complete_journey_from_parquet() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/complete-journey");
    assert!(data.join("catalogue.csv").exists(), "the evaluation data is part of the checkout");
    let shop = Shop::new(&receipts());
    let mut config = include_str!("../src/cli/example-agent.toml").to_owned();
    for (from, to) in [
        ("\"catalogue.csv\"", data.join("catalogue.csv")),
        ("\"transactions.parquet\"", data.join("stores/367/transactions.parquet")),
        ("\"products.parquet\"", data.join("products.parquet")),
    ] {
        config = config.replace(from, &format!("\"{}\"", to.display()));
    }
    let config = config.replace("# events_before", "events_before");
    shop.write("agent.toml", &config);
    let ingested = shop.json(&["ingest", "--json"]);
    let quality = &ingested["quality"];
    let set_aside: u64 = quality["quarantined"]
        .as_object()
        .unwrap()
        .values()
        .map(|entry| entry["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(quality["rows"].as_u64().unwrap(), quality["used"].as_u64().unwrap() + set_aside);
    assert!(quality["used"].as_u64().unwrap() > 10_000, "{quality}");
    assert_eq!(quality["quarantined"].as_object().unwrap().len(), 1, "{quality}");
    assert_eq!((&ingested["persons"], &ingested["home_persons"]), (&86.into(), &66.into()));
    let store = shop.store();
    let end = Config::load(&shop.path("agent.toml")).unwrap().window_end_s(u64::MAX);
    let text = fs::read(data.join("catalogue.csv")).unwrap();
    let catalogue = Catalogue::read_csv(&text).unwrap();
    let count = |end| store.contributors(Who::AtHome, end, &catalogue, false, None).unwrap().len();
    let contributors = count(end);
    assert_eq!(contributors, 66);
    assert!(count(i64::MAX) >= contributors);
}

#[test]
fn periods_end_in_ingests_and_by_command() {
    let day = |days_ago: i64| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        chorale_people::calendar::date(now - days_ago * 86_400)
    };
    let row = |days_ago: i64, who: u32, item: &str, line: u32| {
        format!("{},{who},367,{item},1,1.5,{who}{days_ago},{line}\n", day(days_ago))
    };
    let csv = [
        HEADER.to_owned(),
        row(400, 1, "APPLES", 1),
        row(100, 1, "PEARS", 2),
        row(400, 2, "APPLES", 3),
        row(40, 3, "MATCHES", 4),
    ];
    let shop = Shop::new(&csv.concat());
    let config = config(SQL);
    let keeping = |days: &str| {
        shop.write("agent.toml", &format!("{config}\n[retention_days]\n{days}\n"));
    };
    keeping("purchase = 0");
    assert!(shop.refused(&["ingest"]).contains("retention_days"));
    keeping("purchases = 30");
    assert!(shop.refused(&["ingest"]).contains("unknown variant `purchases`"));
    keeping("events = 365");
    let ingested = shop.json(&["ingest", "--json"]);
    assert_eq!((&ingested["persons"], &ingested["quality"]["used"]), (&2.into(), &4.into()));
    assert_eq!(
        (&ingested["expired"]["events"], &ingested["expired"]["persons"]),
        (&2.into(), &1.into())
    );
    assert_eq!(ingested["bought_by"], serde_json::json!([0, 1, 0, 0, 1]));
    let nobody = shop.json(&["profiles", "show", "2", "--json"]);
    assert_eq!(nobody["known"], false, "{nobody}");
    // A shorter period needs no file to be read again.
    keeping("events = 365\npurchase = 60");
    let expired = shop.json(&["data", "expire", "--json"]);
    assert_eq!((&expired["events"], &expired["persons"]), (&1.into(), &1.into()));
    assert_eq!(shop.store().persons().unwrap().len(), 1);
    assert_eq!(shop.json(&["data", "expire", "--json"])["events"], 0);
    let again = shop.json(&["ingest", "--json"]);
    assert_eq!((&again["reading"]["nothing_new"], &again["persons"]), (&true.into(), &1.into()));
    let all = shop.json(&["ingest", "--all", "--json"]);
    assert_eq!((&all["expired"]["events"], &all["persons"]), (&3.into(), &1.into()));
    shop.write("agent.toml", &config);
    let said = shop.run(&["data", "expire"]);
    assert!(text(&said.stdout).contains("Nothing expires"), "{}", text(&said.stdout));
}

#[test]
fn declared_features_make_a_table_of_the_past() {
    let csv = format!(
        "{HEADER}2017-10-01 10:00:00,1,367,APPLES,1,2.5,1,1\n\
         2017-11-01 00:00:00,1,367,PEARS,1,4,2,2\n2017-10-05 10:00:00,2,367,MATCHES,1,1,3,3\n"
    );
    let shop = Shop::new(&csv);
    let feature = "[[features]]\nname = 'fruit-spend'\nowner = 'crm'\npurpose = 'marketing'\n\
        measure = 'amount'\ncategory = 'FRUIT'\nrange = [0.0, 100.0]\nttl_hours = 24\n";
    let config = config(SQL);
    shop.write("agent.toml", &format!("{config}\n{}", feature.replace("'crm'", "''")));
    assert!(shop.refused(&["features", "list"]).contains("features[0].owner"));
    let segment = "[[serve.segments]]\nid = 'x'\ntitle = 'x'\n\
        all = [{ fact = 'feature', feature = 'spend', min = 1.0 }]\n";
    shop.write("agent.toml", &format!("{config}\n{feature}\n{segment}"));
    assert!(shop.refused(&["features", "list"]).contains("serve.segments[0].all"));
    shop.write("agent.toml", &format!("{config}\n{feature}"));
    shop.json(&["ingest", "--json"]);
    let listed = shop.run(&["features", "list"]);
    for word in ["fruit-spend", "crm", "marketing", "number", "0 to 100", "FRUIT"] {
        assert!(text(&listed.stdout).contains(word), "{}", text(&listed.stdout));
    }
    let table = shop.run(&["features", "table", "--at", "2017-11-01,2017-11-01T00:00:01Z"]);
    let lines: Vec<Value> =
        text(&table.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    let value = |at: &str| {
        let mut values: Vec<f64> = lines
            .iter()
            .filter(|line| line["at"] == at)
            .map(|line| line["features"]["fruit-spend"].as_f64().unwrap())
            .collect();
        values.sort_by(f64::total_cmp);
        values
    };
    // What happened at the instant itself is not in its value.
    assert_eq!(value("2017-11-01T00:00:00Z"), [0.0, 2.5]);
    assert_eq!(value("2017-11-01T00:00:01Z"), [0.0, 6.5]);
    // An agent can say who it is to another's policy, which checks what it is told.
    let entry = shop.run(&["keys", "link"]);
    let entry = text(&entry.stdout).replace("give = false", "give = true");
    let policy = fs::read_to_string(shop.path("policy.toml")).unwrap();
    shop.write("policy.toml", &format!("{policy}\n{entry}"));
    let (policy, _) = StorePolicy::read(&shop.path("policy.toml")).unwrap();
    let linked = &policy.rules().hand_over;
    assert!(linked.len() == 1 && linked[0].give && !linked[0].take && linked[0].days == 30);
    shop.write("policy.toml", &format!("{entry}\n{entry}"));
    assert!(StorePolicy::read(&shop.path("policy.toml")).is_err());
    assert_eq!(shop.json(&["data", "disclosures", "--json"]), serde_json::json!([]));
}

/// Discounts and channels come with the files, and a channel that nobody named is no channel.
#[test]
fn features_know_promotions_and_channels() {
    let csv = format!(
        "{HEADER}2017-10-01 10:00:00,1,367,APPLES,1,3,1,1\n2017-10-02 10:00:00,1,367,PEARS,1,5,2,2\n\
         2017-10-03 10:00:00,1,367,PEARS,1,4,3,3\n2017-10-03 10:00:00,1,367,PEARS,1,4,3,4\n"
    );
    let shop = Shop::new(&csv);
    let feature = |name: &str, rest: &str| {
        format!(
            "[[features]]\nname = '{name}'\nowner = 'crm'\npurpose = 'marketing'\n{rest}\n\
             ttl_hours = 24\n"
        )
    };
    let features = feature("bargains", "measure = 'discount-share'\nrange = [0.0, 1.0]")
        + &feature("web", "measure = 'share'\nchannel = 'web'\nrange = [0.0, 1.0]");
    let sql = SQL.replacen(
        "SELECT",
        "SELECT CASE WHEN price = '3' THEN 4.0 END AS discount, CASE WHEN price = '5' THEN ' Web' \
         WHEN price = '4' THEN 'fax' END AS channel,",
        1,
    );
    shop.write("agent.toml", &format!("{}\n{features}", config(&sql)));
    assert!(shop.refused(&["ingest"]).contains("features[1].channel"));
    let rules = "[cleaning]\nquarantine_max_share = 0.5\nchannels = ['till', 'web']\n";
    shop.write("agent.toml", &format!("{}\n{rules}{features}", config(&sql)));
    let ingested = shop.json(&["ingest", "--json"]);
    assert_eq!(ingested["quality"]["quarantined"]["unknown-channel"]["rows"], 2);
    assert_eq!(ingested["quality"]["used"], 2);
    let table = shop.run(&["features", "table", "--at", "2017-11-01"]);
    let line: Value = serde_json::from_str(text(&table.stdout).trim()).unwrap();
    assert_eq!(line["features"]["web"], 0.5);
    let bargains = line["features"]["bargains"].as_f64().unwrap();
    assert!((bargains - 4.0 / 12.0).abs() < 1e-9, "{bargains}");
}

#[test]
fn evaluation_is_honest_about_what_was_kept_back() {
    // Two dozen customers with a habit each; half of them take to bread in the last month.
    let mut csv = String::from(HEADER);
    for who in 0..24u32 {
        let item = ["APPLES", "PEARS", "PICKLED HERRING"][(who % 3) as usize];
        let row = |csv: &mut String, day: &str, item: &str, line: u32| {
            writeln!(csv, "{day} 10:00:00,{who},367,{item},1,1.5,{who}{day},{line}").unwrap();
        };
        for (line, day) in
            ["2017-09-01", "2017-10-01", "2017-11-01", "2017-12-01"].into_iter().enumerate()
        {
            row(&mut csv, day, item, 10 * who + line as u32);
        }
        if who % 2 == 0 {
            row(&mut csv, "2017-12-02", "RYE BREAD", 10 * who + 9);
        }
    }
    let shop = Shop::new(&csv);
    let early = shop.run(&["evaluate"]);
    assert_eq!(early.status.code(), Some(1), "nothing was ingested");
    let ingested = shop.run(&["ingest"]);
    assert!(ingested.status.success(), "{}", text(&ingested.stderr));
    let figures = shop.json(&["evaluate", "--days", "30", "--top", "1,3", "--json"]);
    assert_eq!((figures["persons"].as_u64(), figures["items"].as_u64()), (Some(24), Some(5)));
    assert!(figures["federation_left_out"].as_str().unwrap().contains("no model"));
    let find = |scope: &str, arm: &str| {
        let all = figures["rankings"].as_array().unwrap();
        all.iter().find(|one| one["scope"] == scope && one["arm"] == arm).unwrap().clone()
    };
    let new = find("new-items", "store-alone");
    assert_eq!((new["judged"].as_u64(), new["at"][0]["k"].as_u64()), (Some(12), Some(1)));
    assert_eq!(new["at"][0]["recall"]["mean"], 0.0, "nobody had bought bread before the cut");
    let all = find("all-items", "store-alone");
    assert_eq!(
        (all["judged"].as_u64(), all["at"][0]["hit_rate"]["mean"].as_f64()),
        (Some(24), Some(1.0))
    );
    assert_eq!(figures["habits"]["recall"], 1.0);
    for split in ["folds", "leave-one-out"] {
        let said = shop.run(&["evaluate", "--split", split]);
        let said = text(&said.stdout).to_owned();
        assert!(said.contains("store alone") && said.contains("HR@k"), "{said}");
    }
    let page = shop.path("evaluation.html");
    let said =
        shop.run(&["evaluate", "--days", "30", "--top", "1,3", "--html", page.to_str().unwrap()]);
    assert!(said.status.success() && text(&said.stdout).contains("store alone"));
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<svg").count(), 2, "a plot for each question");
    assert!(
        page.contains(&format!("<td>{:.4}</td>", new["at"][0]["recall"]["mean"].as_f64().unwrap()))
    );
    assert!(page.contains("there is no model of the federation yet"));
    for outside in ["<script", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let nowhere = shop.run(&["evaluate", "--html", "/nowhere/page.html"]);
    assert!(text(&nowhere.stderr).contains("the page cannot be written"));
    let wrong = shop.run(&["evaluate", "--from", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
    let empty = shop.run(&["evaluate", "--from", "2018-01-01T00:00:00Z"]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(text(&empty.stderr).contains("earlier --from"), "{}", text(&empty.stderr));
}
