//! The page that shows the API, in a real browser: every example is sent as it stands.
//!
//! Needs chromium; without it the test says that it skips, and fails where
//! `CHORALE_REQUIRE_PEERS` is set.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::{collections::BTreeMap, io, process::Command};

use axum::{response::Html, routing::get};
use serde_json::Value;

use support::Shop;

/// The page as it is served, which admits no frame around it and no other script.
const PAGE: &str = include_str!("../src/page.html");

/// Follows the page; does what a person would do, and writes what came back.
const DRIVER: &str = r#"<pre id="said">waiting</pre>
<script>
{
const said = document.getElementById("said");
const until = async (what) => {
  for (let tries = 0; tries < 400; tries += 1) {
    const found = what();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 25));
  }
  throw new Error("it never came: " + what);
};
const drive = async () => {
  const page = await until(() => document.querySelector("details") && document);
  page.getElementById("token").value = "TOKEN";
  const answers = {};
  // What is deleted cannot be asked for any more.
  const deletes = (operation) => operation.querySelector(".method").textContent === "DELETE";
  const all = [...page.querySelectorAll("details")].sort((a, b) => deletes(a) - deletes(b));
  for (const operation of all) {
    operation.open = true;
    const name = operation.querySelector("summary .method").textContent + " "
      + operation.querySelector("summary code").textContent;
    const out = operation.querySelector("pre");
    const [send, curl] = operation.querySelectorAll("button");
    curl.click();
    const command = out.textContent;
    out.textContent = "";
    send.click();
    answers[name] = { curl: command, answer: await until(() => out.textContent) };
  }
  return JSON.stringify({ about: page.getElementById("about").textContent, answers });
};
drive().then((text) => { said.textContent = "done" + text + "end"; },
  (error) => { said.textContent = "failed: " + error; });
}
</script>"#;

/// Without the flags about the network it looks up its maker's hosts at every start.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=60000",
];

/// What a page has become in the browser; `None` without one.
async fn visit(address: String) -> Option<String> {
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium");
    browser
        .args(FLAGS)
        .arg("--dump-dom")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address);
    match tokio::task::spawn_blocking(move || browser.output()).await.unwrap() {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let required = std::env::var_os("CHORALE_REQUIRE_PEERS").is_some();
            assert!(!required, "CHORALE_REQUIRE_PEERS is set: chromium is not there");
            eprintln!("skipped: chromium is not there");
            None
        }
        Err(error) => panic!("chromium does not start: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_the_page_works_as_it_stands() {
    let shop = Shop::new();
    let driver = PAGE.to_owned() + &DRIVER.replace("TOKEN", &shop.administrator);
    let service =
        shop.service.clone().route("/driver", get(move || async move { Html(driver.clone()) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    // As it is served, under its own policy, the page works in a browser.
    let Some(dom) = visit(format!("http://{address}/")).await else { return };
    assert!(dom.contains("<details"), "{dom}");
    let Some(dom) = visit(format!("http://{address}/driver")).await else { return };
    let said = dom.split_once("id=\"said\">").map_or(dom.as_str(), |(_, said)| said);
    let said = said.split_once("</pre>").map_or(said, |(said, _)| said);
    let text = said.strip_prefix("done").and_then(|text| text.strip_suffix("end"));
    let text = text.unwrap_or_else(|| panic!("{said}"));
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let said: Value = serde_json::from_str(&text).unwrap();
    assert!(said["about"].as_str().unwrap().len() > 20, "{}", said["about"]);

    let document: Value = serde_json::from_str(chorale_api::document()).unwrap();
    let operations: usize =
        document["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    let answers: BTreeMap<String, Value> = serde_json::from_value(said["answers"].clone()).unwrap();
    assert_eq!(answers.len(), operations, "{:?}", answers.keys());
    for (operation, said) in &answers {
        let answer = said["answer"].as_str().unwrap();
        // Letters need another agent, and this shop is linked with none.
        let status = if operation.contains("hand-over") { "403, " } else { "200, " };
        assert!(answer.starts_with(status), "{operation}: {answer}");
        let curl = said["curl"].as_str().unwrap();
        assert!(curl.starts_with("curl -X ") && curl.contains("$TOKEN"), "{operation}: {curl}");
        assert!(!curl.contains(&shop.administrator), "the token is shown");
    }
}
