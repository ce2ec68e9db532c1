//! The HTTP API as a process of its own, over a real connection.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_client-agent");

const CATALOGUE: &str = "index,item_id,department,category\n\
    0,APPLES,PRODUCE,FRUIT\n1,PEARS,PRODUCE,FRUIT\n2,RYE BREAD,GROCERY,BREAD\n";

const CONFIG: &str = r#"
agent = "store-367"
federation = "demo"
coordinator = "127.0.0.1:7443"
home = "367"
catalogue = "catalogue.csv"
event_sql = '''
SELECT day AS event_time, customer AS person, '367' AS home_store, 'purchase' AS kind, item
FROM receipts'''

[[sources]]
name = "receipts"
path = "receipts.csv"
format = "csv"
"#;

/// An agent that serves; killed without a word when dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(dir: &Path) -> Self {
        let mut child = command(dir, &["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap();
        Self { address: address.trim_end_matches('/').to_owned(), child }
    }

    fn call(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--config").arg(dir.join("agent.toml"));
    command
}

fn run(dir: &Path, arguments: &[&str]) -> String {
    let output = command(dir, arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn from_a_file_and_live_events_to_answers_over_a_killed_process() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("agent.toml"), CONFIG).unwrap();
    fs::write(dir.join("catalogue.csv"), CATALOGUE).unwrap();
    let receipts = "day,customer,item\n2026-01-02,1,APPLES\n2026-01-02,2,APPLES\n\
        2026-01-03,2,RYE BREAD\n";
    fs::write(dir.join("receipts.csv"), receipts).unwrap();
    run(dir, &["init"]);
    run(dir, &["ingest"]);
    let token = run(dir, &["tokens", "add", "shop", "--role", "application"]);
    let token = token.trim();
    let listed: Value = serde_json::from_str(&run(dir, &["tokens", "list", "--json"])).unwrap();
    assert_eq!(listed, json!([{"name": "shop", "role": "application"}]));

    let serving = Serving::start(dir);
    let (status, profile) = serving.call(token, "GET", "/v1/users/2/profile", None);
    assert_eq!((status, &profile["facts"]["items"]), (200, &json!(2)));
    let events = json!([{"type": "purchase", "user": "2", "item": "PEARS", "id": "e1"}]);
    let began = Instant::now();
    let (status, kept) = serving.call(token, "POST", "/v1/events", Some(&events));
    assert_eq!((status, &kept["accepted"]), (200, &json!(1)));
    let (_, profile) = serving.call(token, "GET", "/v1/users/2/profile", None);
    assert_eq!(profile["facts"]["items"], 3, "after {:?}", began.elapsed());
    let (status, _) = serving.call("wrong", "GET", "/v1/users/2/profile", None);
    assert_eq!(status, 401);

    // Killed without a word: what was acknowledged is there.
    drop(serving);
    let serving = Serving::start(dir);
    let (_, profile) = serving.call(token, "GET", "/v1/users/2/profile", None);
    assert_eq!(profile["facts"]["items"], 3);
    let (_, kept) = serving.call(token, "POST", "/v1/events", Some(&events));
    assert_eq!(kept["duplicates"], 1);

    // The command line and an ingest work beside it, and live events stay.
    let shown: Value =
        serde_json::from_str(&run(dir, &["profiles", "show", "2", "--json"])).unwrap();
    assert_eq!(shown["rhythm"]["items"], 3);
    let more = format!("{receipts}2026-01-04,3,RYE BREAD\n");
    fs::write(dir.join("receipts.csv"), more).unwrap();
    run(dir, &["ingest"]);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, profile) = serving.call(token, "GET", "/v1/users/3/profile", None);
        if profile["known"] == true {
            break;
        }
        assert!(Instant::now() < until, "an ingest beside the server is never seen");
        // Slower than the rate limit.
        #[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
        std::thread::sleep(Duration::from_millis(100));
    }
    let (_, profile) = serving.call(token, "GET", "/v1/users/2/profile", None);
    assert_eq!(profile["facts"]["items"], 3);
}
