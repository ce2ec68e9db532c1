//! `evaluate --html`: the figures as one page for people: no script, nothing loaded from elsewhere,
//! to be read on a screen or printed.

use std::fmt::Write as _;

use chorale_people::evaluate::{Evaluation, Ranking, Scope};

use super::evaluate::{
    SCOPES, arm_name, classified_heads, classified_row, kept_back, of_scope, ranking_rows, verdict,
};

/// The page. `left_out` says why the federation's model was not judged.
pub(super) fn page(agent: &str, evaluation: &Evaluation, left_out: Option<&str>) -> String {
    let title = format!("Recommendations of {}", escape(agent));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>"
    );
    page += &format!("<p>{}</p>", escape(&kept_back(evaluation)));
    if let Some(why) = left_out {
        page += &format!(
            "<p class=\"note\">The federation's model is not judged: {}.</p>",
            escape(why)
        );
    }
    for (scope, heading) in SCOPES {
        section(&mut page, evaluation, scope, heading);
    }
    if let Some(habits) = &evaluation.habits {
        page += "<h2>Habits</h2><p>Customers buy some things again and again. Was what was due \
                 bought?</p>";
        page += &table(&[classified_heads(), classified_row("habits", habits)]);
        let counts = habits.counts;
        page += &table(&[
            ["", "bought", "not bought"].map(String::from).to_vec(),
            vec!["due".into(), counts.true_positive.to_string(), counts.false_positive.to_string()],
            vec![
                "not due".into(),
                counts.false_negative.to_string(),
                counts.true_negative.to_string(),
            ],
        ]);
    }
    page + WORDS + "</main></body></html>\n"
}

fn section(page: &mut String, evaluation: &Evaluation, scope: Scope, heading: &str) {
    *page += &format!("<h2>{}</h2>", escape(heading));
    let rankings = of_scope(evaluation, scope);
    let Some(first) = rankings.first() else {
        *page += "<p>Fewer than two customers bought one.</p>";
        return;
    };
    *page += &format!("<p>{} customers bought one.</p>", first.judged);
    *page += &format!("<figure>{}</figure>", plot(&rankings));
    for ranking in &rankings {
        for line in verdict(ranking).lines() {
            *page += &format!("<p class=\"verdict\">{}</p>", escape(line.trim()));
        }
    }
    *page += &table(&ranking_rows(&rankings));
}

/// Recall at each length with its interval, a row for each way to rank.
fn plot(rankings: &[&Ranking]) -> String {
    let rows: Vec<_> = rankings
        .iter()
        .flat_map(|ranking| ranking.at.iter().map(|at| (ranking.arm, at.k, &at.recall)))
        .collect();
    let (width, left, right, row) = (720.0, 230.0, 60.0, 24.0);
    let height = 60.0 + row * rows.len() as f64;
    let most = rows.iter().map(|(_, _, recall)| recall.high).fold(1e-9, f64::max);
    let place = |value: f64| left + value / most * (width - left - right);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\
         <title>Share of the bought items that the lists held</title>"
    );
    let bottom = height - 34.0;
    for tick in 0..=4 {
        let value = most * f64::from(tick) / 4.0;
        let x = place(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"6\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>\
             <text class=\"unit\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} %</text>",
            bottom + 16.0,
            100.0 * value
        );
    }
    for (number, (arm, k, recall)) in rows.iter().enumerate() {
        let y = 20.0 + row * number as f64;
        let class = format!("{arm:?}").to_ascii_lowercase();
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}, {k} items</text>\
             <line class=\"{class}\" x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>",
            left - 12.0,
            y + 4.5,
            arm_name(*arm),
            place(recall.low.max(0.0)),
            place(recall.high),
            place(recall.mean)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"unit\" x=\"0\" y=\"{:.1}\">share of the bought items that the lists held, \
         with 95% intervals</text></svg>",
        height - 2.0
    );
    svg
}

/// A table whose first row is its head.
fn table(rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"wide\"><table>");
    for (number, row) in rows.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        let cells: String =
            row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        let _ = write!(html, "<tr>{cells}</tr>");
    }
    html + "</table></div>"
}

/// Text safe inside markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const WORDS: &str = "<h2>What the words mean</h2><dl>\
<dt>kept back</dt><dd>Purchases that the lists were made without, and that then judged them. Nothing left the store for it.</dd>\
<dt>recall@k</dt><dd>Of what a customer bought, the share that a list of k items held.</dd>\
<dt>NDCG@k</dt><dd>The same, where an item high up in the list counts for more; 1 is perfect.</dd>\
<dt>precision@k</dt><dd>Of the k items in the list, the share that was bought.</dd>\
<dt>HR@k</dt><dd>The share of customers who bought anything in the list.</dd>\
<dt>AUC</dt><dd>The chance that a bought item stands above one that was not; 0.5 is a guess.</dd>\
<dt>accuracy, F1</dt><dd>The longest list taken as a forecast of everything that is bought: right answers of all; and precision and recall in one.</dd>\
<dt>interval</dt><dd>95%, over customers (bootstrap). Two that overlap may still differ, and the sentences under each plot say what may be said. They say nothing of other seasons.</dd></dl>";

const STYLE: &str = "\
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;background:#fff;margin:0}\
main{max-width:60rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}\
.note{border-left:4px solid #c98a2d;padding-left:.8rem}.verdict{font-weight:600}.wide{overflow-x:auto}\
figure{margin:1rem 0}table{border-collapse:collapse;font-size:.85rem;margin:1rem 0}\
td,th{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #cfd8e3;font-variant-numeric:tabular-nums}\
td:first-child,th:first-child{text-align:left}dt{font-weight:600}dd{margin:0 0 .5rem 0}\
svg{width:100%;font-size:13px}svg text{fill:#1d2530}svg .unit{fill:#67707d;font-size:12px}.grid{stroke:#d9dee5}\
.popular{fill:#a9b3c0;stroke:#a9b3c0;stroke-width:2.5}.storealone{fill:#c98a2d;stroke:#c98a2d;stroke-width:2.5}\
.federation{fill:#2463a8;stroke:#2463a8;stroke-width:2.5}";
