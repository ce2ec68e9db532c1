//! What a reading found, as one page for people: no script, nothing loaded from elsewhere.

use std::{fmt::Write as _, io, path::PathBuf};

use chorale_wire::AgentId;

use super::{data, thousands};
use crate::{
    error::Explain,
    observe::{Quality, Reason},
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
padding:0 1rem;color:#1b1b1b}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;\
border-bottom:1px solid #ddd;vertical-align:top}.bar{display:flex;height:1.6rem;\
border-radius:.3rem;overflow:hidden;background:#eee}.bar span{min-width:2px}\
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:.2rem;margin-right:.4rem}";

const USED: &str = "#2f7d4f";
const FAULTS: &str = "#b3362b";
const OUTSIDE: &str = "#c9a227";

/// The page cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the page cannot be written")]
pub(super) struct PageError {
    /// Where to.
    pub(super) path: PathBuf,
    /// What the operating system says.
    #[source]
    pub(super) source: io::Error,
}

impl Explain for PageError {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn remedy(&self) -> String {
        "check the directory, its owner and its free space".into()
    }
}

/// The page.
pub(super) fn page(agent: &AgentId, quality: &Quality) -> String {
    let agent = escape(&agent.to_string());
    let outside =
        quality.quarantined.get(&Reason::UnknownItem).map_or(0, |quarantine| quarantine.rows);
    let parts = [
        (quality.used, USED, "used"),
        (quality.faulty_rows(), FAULTS, "set aside as faulty"),
        (outside, OUTSIDE, "about items outside the catalogue"),
    ];
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>Data of {agent}</title>\
         <style>{STYLE}</style></head><body><main><h1>What {agent} can read</h1>\
         <p>{} rows = {} used + {} set aside. No row's content stands on this page.</p>\
         <div class=\"bar\" role=\"img\" aria-label=\"{} of {} rows are used\">",
        thousands(quality.rows),
        thousands(quality.used),
        thousands(quality.quarantined_rows()),
        thousands(quality.used),
        thousands(quality.rows),
    );
    for (rows, colour, _) in parts.iter().filter(|(rows, ..)| *rows > 0) {
        let _ = write!(page, "<span style=\"flex:{rows};background:{colour}\"></span>");
    }
    page.push_str("</div><p>");
    for (rows, colour, what) in parts {
        let rows = thousands(rows);
        let _ = write!(
            page,
            "<span class=\"key\" style=\"background:{colour}\"></span>{rows} {what} &nbsp; "
        );
    }
    page.push_str("</p>");
    for (title, rows) in [
        ("Sources", data::sources(quality)),
        ("Set aside, and where the first ones stand", data::reasons(quality)),
        ("Columns of event_sql", data::columns(quality)),
    ] {
        table(&mut page, title, &rows);
    }
    page.push_str(
        "<h2>What to do</h2><p>Repair faulty rows at their source. <code>client-agent ingest</code> \
         leaves them out and goes on while their share is at most \
         <code>cleaning.quarantine_max_share</code>. Items outside the catalogue are no fault: the \
         federation does not know them.</p></main></body></html>\n",
    );
    page
}

fn table(page: &mut String, title: &str, rows: &[Vec<String>]) {
    let [head, body @ ..] = rows else { return };
    if body.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>{title}</h2><table><tr>");
    for cell in head {
        let _ = write!(page, "<th>{}</th>", escape(cell));
    }
    page.push_str("</tr>");
    for row in body {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escape(cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
