//! Data in shapes that nobody prepared for, mapped by configuration alone; and reading only what is
//! new.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output},
};

use chorale_client_agent::{Config, Store, keys::Key};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_client-agent");

const CATALOGUE: &str = "index,item_id,department,category\n\
    0,APPLES,PRODUCE,FRUIT\n1,PEARS,PRODUCE,FRUIT\n2,CAFÉ CRÈME,DRINKS,COFFEE\n3,TEA,DRINKS,TEA\n";

struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    /// A shop with this SQL, these further lines and these sources.
    fn new(sql: &str, more: &str, sources: &str) -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        shop.write("catalogue.csv", CATALOGUE);
        shop.configure(sql, more, sources);
        let made = shop.run(&["init"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        shop
    }

    fn configure(&self, sql: &str, more: &str, sources: &str) {
        let config = format!(
            "agent = 'store-1'\nfederation = 'demo'\ncoordinator = '127.0.0.1:7443'\nhome = '1'\n\
             catalogue = 'catalogue.csv'\nevent_sql = '''{sql}'''\n{more}\n{sources}"
        );
        self.write("agent.toml", &config);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = self.path("agent.toml");
        Command::new(PROGRAM).args(arguments).arg("--config").arg(config).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The report of a check, which faulty rows make fail.
    fn check(&self) -> Value {
        let output = self.run(&["data", "check", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        let aside: u64 = report["quarantined"]
            .as_object()
            .unwrap()
            .values()
            .map(|entry| entry["rows"].as_u64().unwrap())
            .sum();
        let rows = report["rows"].as_u64().unwrap();
        assert_eq!(rows, report["used"].as_u64().unwrap() + aside, "{report}");
        report
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Everybody's records and profiles, as they are stored.
    fn stored(&self) -> (usize, Vec<String>) {
        let config = Config::load(&self.path("agent.toml")).unwrap();
        let key = Key::read(&config.store_key_path()).unwrap();
        let store = Store::open(&config.data_dir, &key).unwrap();
        let lines = store.persons().unwrap().into_iter().map(|(who, record)| {
            let events: Vec<String> = record
                .events
                .iter()
                .map(|e| {
                    let (time, item, quantity) = (e.time_s, e.item, e.quantity);
                    format!("{time} {item} {:?} {} {quantity} {}", e.kind, e.basket, e.amount)
                })
                .collect();
            format!("{:?} {} {}", who.as_bytes(), record.at_home, events.join("; "))
        });
        let lines: Vec<String> = lines.collect();
        (store.profiles().unwrap().len(), lines)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn source(name: &str, path: &str, format: &str, more: &str) -> String {
    format!("[[sources]]\nname = '{name}'\npath = '{path}'\nformat = '{format}'\n{more}\n")
}

const SALES: &str = "SELECT time AS event_time, customer AS person, '1' AS home_store, \
    'purchase' AS kind, item, count AS quantity, receipt AS basket, id AS event_id, \
    _file AS file, _line AS line FROM sales";

fn sales(rows: &[(u32, &str, &str, &str)]) -> String {
    let mut csv = String::from("time,customer,item,count,receipt,id\n");
    for (day, customer, item, id) in rows {
        writeln!(csv, "2026-01-{day:02}T10:00:00Z,{customer},{item},1,r{day}{customer},{id}")
            .unwrap();
    }
    csv
}

#[test]
fn white_space_and_no_header() {
    // A log as a till writes it: no header, columns lined up, whole Unix seconds.
    let log = "# till 4\n1767225600   c1   APPLES  2\n1767225700 c2\tPEARS 1\n\n1767225800 c1 TEA\n\
               1767225900   c3 TEA 1\n";
    let sql = "SELECT cast(at AS bigint) AS event_time, who AS person, '1' AS home_store, \
        'purchase' AS kind, what AS item, count AS quantity, _file AS file, _line AS line FROM till";
    let options = "delimiter = 'whitespace'\nheader = false\ncomment = '#'\n\
        columns = ['at', 'who', 'what', 'count']";
    let shop = Shop::new(sql, "", &source("till", "till.log", "csv", options));
    shop.write("till.log", log);
    let report = shop.check();
    assert_eq!((&report["rows"], &report["used"]), (&4.into(), &3.into()));
    let malformed = &report["quarantined"]["malformed-line"];
    assert_eq!(malformed["first"], serde_json::json!([{ "file": "till.log", "number": 5 }]));
    let said = shop.refused(&["data", "check"]);
    assert!(said.contains("malformed line: 1 (till.log line 5)"), "{said}");
}

#[test]
fn a_clickstream_with_sessions_and_platforms() {
    let mut lines = String::new();
    for (number, (user, kind)) in
        [("\"u1\"", "view"), ("null", "view"), ("null", "addtocart"), ("\"u1\"", "transaction")]
            .into_iter()
            .enumerate()
    {
        writeln!(
            lines,
            "{{\"ts\": {}, \"user\": {user}, \"session\": {{\"id\": \"s{}\", \"platform\": \
             \"{}\"}}, \"event\": \"{kind}\", \"product\": \"TEA\", \"price\": 2.5}}",
            1_767_225_600_000u64 + number as u64,
            number % 3,
            ["ios", "web"][number % 2],
        )
        .unwrap();
    }
    lines.push_str("{\"ts\": 1767225600000, \"user\": \n[1, 2]\n");
    let sql = "SELECT ts / 1000 AS event_time, user AS person, \"session.id\" AS session, \
        '1' AS home_store, product AS item, price AS amount, _file AS file, _line AS line, \
        CASE event WHEN 'addtocart' THEN 'cart-add' WHEN 'transaction' THEN 'purchase' \
        ELSE event END AS kind FROM clicks WHERE \"session.platform\" IN ('ios', 'web')";
    let shop = Shop::new(
        sql,
        "[cleaning]\nquarantine_max_share = 0.5",
        &source("clicks", "clicks", "ndjson", ""),
    );
    shop.write("clicks/day.jsonl.part", "half a li");
    shop.write("clicks/day.jsonl", &lines);
    let report = shop.check();
    assert_eq!((&report["rows"], &report["used"]), (&6.into(), &4.into()));
    assert_eq!(report["quarantined"]["malformed-line"]["rows"], 2);
    assert_eq!(report["sources"][0]["files"], 1, "a file that is half written is none");
    let ingested = shop.json(&["ingest"]);
    // The customer, and two visits of nobody known; only the customer is at home.
    assert_eq!((&ingested["persons"], &ingested["home_persons"]), (&3.into(), &1.into()));
}

#[test]
fn encodings_and_time_zones() {
    let sql = "SELECT time AS event_time, zone, customer AS person, '1' AS home_store, \
        'purchase' AS kind, item FROM old UNION ALL \
        SELECT time, zone, customer, '1', 'purchase', item FROM wide";
    let old = "time;zone;customer;item\n2026-01-05 10:00:00;Asia/Shanghai;c1;CAFÉ CRÈME\n\
               2026-01-05T10:00:00+02:00;;c1;TEA\n2026-03-29 02:30:00;Europe/Berlin;c1;TEA\n\
               2026-01-05 10:00:00;Middle/Earth;c1;TEA\n";
    let latin: Vec<u8> = old.chars().map(|c| c as u8).collect();
    let wide = "time\tzone\tcustomer\titem\r\n2026-01-05 10:00:00\t\tc2\tCAFÉ CRÈME\r\n";
    let mut utf16 = vec![0xFF, 0xFE];
    wide.encode_utf16().for_each(|unit| utf16.extend(unit.to_le_bytes()));
    let sources = [
        source("old", "old.csv", "csv", "delimiter = ';'\nencoding = 'latin1'"),
        source("wide", "wide.txt", "csv", "delimiter = 'tab'"),
    ]
    .concat();
    let shop = Shop::new(sql, "[cleaning]\nquarantine_max_share = 0.5", &sources);
    shop.write("old.csv", latin);
    shop.write("wide.txt", utf16);
    let report = shop.check();
    // The hour that summer time skips, and a zone that nobody knows.
    assert_eq!(report["quarantined"]["unknown-time"]["rows"], 2, "{report}");
    assert_eq!((&report["rows"], &report["used"]), (&5.into(), &3.into()));
    shop.json(&["ingest"]);
    let (_, persons) = shop.stored();
    let all = persons.join("\n");
    // 2 o'clock UTC is 10 in Shanghai, 8 is 10 two hours east.
    for (time, item) in [(1_767_578_400, 2), (1_767_600_000, 3), (1_767_607_200, 2)] {
        assert!(all.contains(&format!("{time} {item} Purchase")), "{all}");
    }
    // Without the declaration its bytes are no text, and the report says so.
    let undeclared = sources.replace("encoding = 'latin1'", "");
    shop.configure(sql, "", &undeclared);
    let report = shop.check();
    assert_eq!(report["quarantined"]["wrong-encoding"]["rows"], 1);
}

#[test]
fn corrupted_lines_and_repeated_ids_explain_themselves() {
    let mut csv = sales(&[]);
    for number in 0..1000 {
        match number % 100 {
            50 => csv.push_str("2026-01-05T10:00:00Z,\"stray,APPLES,1\n"),
            _ => writeln!(csv, "2026-01-05T10:00:00Z,c{},APPLES,1,r,{number}", number % 7).unwrap(),
        }
    }
    for number in [3, 3, 4] {
        writeln!(csv, "2026-01-05T10:00:00Z,c{number},APPLES,1,r,{number}").unwrap();
    }
    let shop = Shop::new(SALES, "", &source("sales", "sales.csv", "csv", ""));
    shop.write("sales.csv", &csv);
    let report = shop.check();
    assert_eq!((&report["rows"], &report["used"]), (&1003.into(), &990.into()));
    assert_eq!(report["quarantined"]["malformed-line"]["rows"], 10);
    let first = |reason: &str| report["quarantined"][reason]["first"][0].clone();
    assert_eq!(first("malformed-line"), serde_json::json!({ "file": "sales.csv", "number": 52 }));
    assert_eq!(first("duplicate-id"), serde_json::json!({ "file": "sales.csv", "number": 1002 }));
    assert_eq!(report["quarantined"]["duplicate-id"]["rows"], 3);
    let page = shop.path("check.html");
    shop.run(&["data", "check", "--html", page.to_str().unwrap()]);
    let page = fs::read_to_string(page).unwrap();
    for words in ["1,003 rows = 990 used + 13 set aside", "malformed line", "sales.csv line 52"] {
        assert!(page.contains(words), "{page}");
    }
    assert!(!page.contains("stray") && !page.contains("c3"), "no content on the page");
}

#[test]
fn only_new_files_are_read_and_the_result_is_the_same() {
    let sources = source("sales", "drop/*.csv*", "csv", "drop_folder = true");
    let more = "[cleaning]\nrepeated_id = 'correct'";
    let shop = Shop::new(SALES, more, &sources);
    let first =
        sales(&[(1, "c1", "APPLES", "e1"), (2, "c2", "PEARS", "e2"), (9, "c1", "TEA", "e3")]);
    shop.write("drop/1.csv", first);
    let ingested = shop.json(&["ingest"]);
    assert_eq!(ingested["reading"]["files_read"], 1);
    assert_eq!(shop.json(&["ingest"])["reading"]["nothing_new"], true);

    // A late event, somebody new, a correction, an event taken back; compressed.
    let mut later =
        sales(&[(3, "c1", "PEARS", "e4"), (4, "c3", "TEA", "e5"), (2, "c2", "TEA", "e2")]);
    writeln!(later, "2026-01-09T10:00:00Z,c1,TEA,1,r9c1,e3").unwrap();
    let later = later.replace("TEA,1,r9c1,e3", "TEA,5,r9c1,e3");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(later.as_bytes()).unwrap();
    shop.write("drop/0-late.csv.gz", gzip.finish().unwrap());
    let added = shop.json(&["ingest"]);
    let reading = &added["reading"];
    assert_eq!((&reading["added"], &reading["files_known"]), (&true.into(), &1.into()));
    assert_eq!((&added["quality"]["rows"], &added["persons"]), (&4.into(), &3.into()));
    assert_eq!(added["quality"]["sources"][0]["known"], 1);
    let incremental = shop.stored();
    let whole = shop.json(&["ingest", "--all"]);
    assert_eq!((&whole["quality"]["rows"], &whole["quality"]["corrected"]), (&7.into(), &2.into()));
    assert_eq!(shop.stored(), incremental, "as if everything had been read at once");
    assert!(incremental.1.join("").contains("3 Purchase 2 5 "), "{incremental:?}");

    // A drop folder may be emptied; what was read stays, and a new recipe would lose it.
    fs::remove_file(shop.path("drop/1.csv")).unwrap();
    assert_eq!(shop.json(&["ingest"])["reading"]["nothing_new"], true);
    shop.write("drop/2.csv", sales(&[(5, "c4", "TEA", "e6")]));
    assert_eq!(shop.json(&["ingest"])["persons"], 4);
    shop.configure(SALES, "", &sources);
    let before = shop.stored();
    let said = shop.refused(&["ingest"]);
    assert!(said.contains("1 files that were read are gone") && said.contains("--all"), "{said}");
    assert_eq!(shop.stored(), before);
    assert_eq!(shop.json(&["ingest", "--all"])["persons"], 4);
}

#[test]
fn what_changes_older_rows_is_read_again() {
    let shop = Shop::new(SALES, "", &source("sales", "sales/*.csv", "csv", ""));
    shop.write("sales/1.csv", sales(&[(1, "c1", "APPLES", "e1"), (2, "c2", "PEARS", "e2")]));
    shop.json(&["ingest"]);
    // A file that changed.
    shop.write("sales/1.csv", sales(&[(1, "c1", "APPLES", "e1")]));
    let again = shop.json(&["ingest"]);
    assert_eq!((&again["reading"]["added"], &again["persons"]), (&false.into(), &1.into()));
    // A file that is gone.
    shop.write("sales/2.csv", sales(&[(2, "c2", "PEARS", "e2")]));
    assert_eq!(shop.json(&["ingest"])["reading"]["added"], true);
    fs::remove_file(shop.path("sales/1.csv")).unwrap();
    let again = shop.json(&["ingest"]);
    assert_eq!((&again["reading"]["added"], &again["persons"]), (&false.into(), &1.into()));
    // An SQL in which new rows change others.
    let sums = "SELECT min(time) AS event_time, customer AS person, '1' AS home_store, \
        'purchase' AS kind, item, count(*) AS quantity FROM sales GROUP BY customer, item";
    shop.configure(sums, "", &source("sales", "sales/*.csv", "csv", ""));
    shop.json(&["ingest"]);
    shop.write("sales/3.csv", sales(&[(3, "c2", "PEARS", "e3")]));
    let again = shop.json(&["ingest"]);
    assert_eq!((&again["reading"]["added"], &again["quality"]["rows"]), (&false.into(), &1.into()));
    // A young file is left for later.
    let settle = source("sales", "sales/*.csv", "csv", "settle_s = 3600");
    shop.configure(SALES, "", &settle);
    let said = shop.refused(&["ingest"]);
    assert!(said.contains("no file"), "{said}");
    // Held-out days: nothing is read, everything is judged anew.
    shop.configure(SALES, "", &source("sales", "sales/*.csv", "csv", ""));
    shop.json(&["ingest"]);
    let held_out = "events_before = '2026-01-03T00:00:00Z'";
    shop.configure(SALES, held_out, &source("sales", "sales/*.csv", "csv", ""));
    let again = shop.json(&["ingest"]);
    assert_eq!(again["reading"]["files_read"], 0);
    assert_eq!(again["bought_by"], serde_json::json!([0, 1, 0, 0]));
}

/// Ten times as much as memory may hold, and the same result; nothing of it stays on the disk.
#[test]
fn more_events_than_memory() {
    let shop = Shop::new(SALES, "memory_limit_mib = 64", &source("sales", "big.csv", "csv", ""));
    let mut csv = std::io::BufWriter::new(fs::File::create(shop.path("big.csv")).unwrap());
    csv.write_all(sales(&[]).as_bytes()).unwrap();
    // 300,000 events hold 25 MB while they are gathered; the limit's share for them is 5 MiB.
    for number in 0..300_000u32 {
        let (day, customer) = (number % 28 + 1, number.wrapping_mul(2_654_435_761) % 997);
        let item = ["APPLES", "PEARS", "TEA"][(number / 7 % 3) as usize];
        writeln!(csv, "2026-01-{day:02}T10:00:00Z,C-{customer:07},{item},1,r{day},e{number}")
            .unwrap();
    }
    csv.into_inner().unwrap().sync_all().unwrap();
    let small = shop.json(&["ingest"]);
    assert!(small["reading"]["sealed_runs"].as_u64().unwrap() >= 1, "{}", small["reading"]);
    let kept = shop.stored();
    shop.configure(SALES, "memory_limit_mib = 4096", &source("sales", "big.csv", "csv", ""));
    let large = shop.json(&["ingest", "--all"]);
    assert_eq!(large["reading"]["sealed_runs"], 0);
    assert_eq!((&small["quality"], &small["bought_by"]), (&large["quality"], &large["bought_by"]));
    assert_eq!(shop.stored(), kept);
    // What the engine would have to put on the disk in clear is refused, and says what to do.
    let sums = "SELECT min(time) AS event_time, customer AS person, '1' AS home_store, \
        'purchase' AS kind, item, id AS event_id FROM sales GROUP BY customer, item, id";
    shop.configure(sums, "memory_limit_mib = 64", &source("sales", "big.csv", "csv", ""));
    let said = shop.refused(&["ingest"]);
    assert!(said.contains("more memory") && said.contains("raise memory_limit_mib"), "{said}");
    assert_eq!(shop.stored(), kept);
}

/// What the engine says about a value that it cannot convert would show the value.
#[test]
fn errors_quote_no_row() {
    let numbers = SALES.replace("customer AS person", "cast(customer AS bigint) AS person");
    let shop = Shop::new(&numbers, "", &source("sales", "sales.csv", "csv", ""));
    shop.write("sales.csv", sales(&[(1, "CUSTOMER-77", "TEA", "e1")]));
    for command in [&["ingest"][..], &["data", "check"]] {
        let said = shop.refused(command);
        assert!(said.contains("reading stopped") && !said.contains("CUSTOMER-77"), "{said}");
    }
}
