//! The report: one HTML file without script or network, and the table on the terminal.

use std::fmt::Write as _;

use crate::{
    plot::{self, Bar, Interval, Line, escape},
    results::{Metric, Results, label},
};

/// The plot that stands on the first screen of the README.
#[must_use]
pub fn headline_plot(results: &Results) -> String {
    quality_plot(results, "new items")
}

/// The whole report as one HTML page.
#[must_use]
pub fn html(results: &Results) -> String {
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Chorale: {} stores trained together</title><style>{}{}</style></head><body><main>",
        results.agents,
        PAGE_STYLE,
        plot::STYLE
    );
    summary(&mut page, results);
    let _ = write!(page, "<h2>How good are the recommendations?</h2>");
    let _ = write!(
        page,
        "<p>Recall@20 over the households' purchases from {} on, ranked against the whole catalogue of {} product types. <em>New items</em>: only types the household had not bought before at its store. <em>All items</em>: everything it bought; every model is blended with the household's own history, which never leaves the store.</p>",
        escape(&results.model.test_from),
        results.model.items
    );
    for scope in ["new items", "all items"] {
        page.push_str(&quality_plot(results, scope));
    }
    metric_table(&mut page, results);
    uplift_section(&mut page, results);
    curve_section(&mut page, results);
    cost_section(&mut page, results);
    ledger_section(&mut page, results);
    let _ = write!(
        page,
        "<h2>What is random</h2><p>{}</p><p class=\"fine\">Data: Complete Journey (MIT licence), see tests/data/complete-journey/PROVENANCE.md. Not independently audited.</p></main></body></html>",
        escape(&results.randomness)
    );
    page
}

/// The table for the terminal.
#[must_use]
pub fn table(results: &Results) -> String {
    let mut text = String::new();
    let _ =
        writeln!(text, "{:<34} {:>10} {:>10} {:>10} {:>10}", "", "new items", "", "all items", "");
    let _ = writeln!(
        text,
        "{:<34} {:>10} {:>10} {:>10} {:>10}",
        "setting", "Recall@20", "NDCG@20", "Recall@20", "NDCG@20"
    );
    for new in results.metrics.iter().filter(|m| m.scope == "new items") {
        let all = results.metrics.iter().find(|m| {
            m.scope == "all items" && m.setting == new.setting && m.epsilon == new.epsilon
        });
        let _ = writeln!(
            text,
            "{:<34} {:>10.4} {:>10.4} {:>10} {:>10}",
            label(&new.setting, new.epsilon),
            new.recall_at_20,
            new.ndcg_at_20,
            all.map_or("-".into(), |m| format!("{:.4}", m.recall_at_20)),
            all.map_or("-".into(), |m| format!("{:.4}", m.ndcg_at_20)),
        );
    }
    let _ = writeln!(text);
    for row in results.uplift.iter().filter(|u| u.group == "all") {
        let verdict = if row.beats {
            "beats the best local blend"
        } else if row.high < 0.0 {
            "is worse than the best local blend"
        } else {
            "cannot be told from the best local blend"
        };
        let _ = writeln!(
            text,
            "{:<30} {:<9} {:+.4} [{:+.4}, {:+.4}]  {verdict}",
            label(&row.setting, row.epsilon),
            row.scope,
            row.difference,
            row.low,
            row.high
        );
    }
    text
}

fn summary(page: &mut String, results: &Results) {
    let ledger = &results.ledger;
    let _ = write!(
        page,
        "<h1>{} stores, one model, no pooled data</h1><p class=\"lead\">{} households at {} stores trained {} item types together through the gate, secure aggregation and differential privacy, over QUIC on this machine. {} agent(s) were killed in mid-round; the rounds completed without them.</p>",
        results.agents,
        results.model.households,
        results.agents,
        results.model.items,
        results.dropped
    );
    let _ = write!(page, "<ul class=\"facts\">");
    for (number, what) in [
        (results.rounds.to_string(), "rounds completed"),
        (format!("{:.1} MB", results.bytes_per_agent as f64 / 1e6), "sent by one agent"),
        (
            ledger.epsilon.map_or("∞".into(), |e| format!("{e:.3}")),
            "ε spent, recomputed from the ledger",
        ),
        (if ledger.verified { "verified" } else { "NOT VERIFIED" }.into(), "ledger"),
        (format!("{:.0} s", results.wall_s), "wall clock"),
    ] {
        let _ = write!(page, "<li><b>{}</b>{}</li>", escape(&number), escape(what));
    }
    let _ = write!(
        page,
        "</ul><p class=\"note\"><b>{}.</b> Each ε below is a federation with a ledger of its own on the same people; together they compose to more than any one of them. T_min = {}, A = {}.</p>",
        escape(&results.label),
        results.model.survivors_min,
        results.model.corrupt
    );
}

fn class_of(metric: &Metric) -> &'static str {
    if metric.setting.starts_with("federated") {
        "ours"
    } else if metric.setting.starts_with("pooled") {
        "pooled"
    } else {
        "local"
    }
}

fn quality_plot(results: &Results, scope: &str) -> String {
    let bars: Vec<Bar> = results
        .metrics
        .iter()
        .filter(|metric| metric.scope == scope)
        .map(|metric| Bar {
            label: label(&metric.setting, metric.epsilon),
            value: metric.recall_at_20,
            whisker: metric.recall_spread,
            class: class_of(metric),
        })
        .collect();
    plot::bars(&format!("Recall@20, {scope}"), "mean over households; longer is better", &bars)
}

fn metric_table(page: &mut String, results: &Results) {
    let _ = write!(
        page,
        "<table><thead><tr><th>setting</th><th>ε</th><th>δ</th><th>scope</th><th>Recall@20</th><th>NDCG@20</th><th>spread</th><th>seeds</th><th>households</th></tr></thead><tbody>"
    );
    for metric in &results.metrics {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.4}</td><td>{:.4}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&metric.setting),
            metric.epsilon.map_or("–".into(), |e| e.to_string()),
            metric.delta.map_or("–".into(), |d| format!("{d:.0e}")),
            escape(&metric.scope),
            metric.recall_at_20,
            metric.ndcg_at_20,
            metric.recall_spread.map_or("–".into(), |s| format!("±{s:.4}")),
            metric.seeds.map_or("1".into(), |s| s.to_string()),
            metric.households
        );
    }
    page.push_str("</tbody></table>");
}

fn uplift_section(page: &mut String, results: &Results) {
    page.push_str("<h2>Does sharing beat staying alone?</h2><p>Paired difference in Recall@20 per household against the best <em>local blend</em> (own frequency with recency, and the store's own popularity), with a 95% interval. Blue: the interval lies above zero. Grey: it includes zero, so nothing is claimed.</p>");
    for scope in ["new items", "all items"] {
        let rows: Vec<Interval> = results
            .uplift
            .iter()
            .filter(|row| row.scope == scope)
            .map(|row| Interval {
                label: format!(
                    "{} · {} ({})",
                    label(&row.setting, row.epsilon),
                    row.group,
                    row.households
                ),
                middle: row.difference,
                low: row.low,
                high: row.high,
            })
            .collect();
        if !rows.is_empty() {
            page.push_str(&plot::intervals(
                &format!("Uplift over the best local blend, {scope}"),
                "difference in Recall@20",
                &rows,
            ));
        }
    }
}

fn curve_section(page: &mut String, results: &Results) {
    let mut lines: Vec<Line> = Vec::new();
    for point in &results.learning_curve {
        let name = label(&point.setting, point.epsilon);
        let place = (f64::from(point.round), point.recall_at_20);
        match lines.iter_mut().find(|line| line.label == name) {
            Some(line) => line.points.push(place),
            None => lines.push(Line { label: name, points: vec![place] }),
        }
    }
    if !lines.is_empty() {
        page.push_str("<h2>Learning curve</h2><p>The global model alone, after each round.</p>");
        page.push_str(&plot::lines(
            "Recall@20 after each round, new items",
            "round",
            "Recall@20",
            &lines,
        ));
    }
}

fn cost_section(page: &mut String, results: &Results) {
    page.push_str("<h2>What a round costs</h2><table><thead><tr><th>federation</th><th>plan</th><th>rounds</th><th>received / round</th><th>sent / round</th><th>seconds / round</th><th>survivors</th></tr></thead><tbody>");
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for cost in &results.round_costs {
        let key = (cost.federation.as_str(), cost.plan.as_str());
        if !groups.contains(&key) {
            groups.push(key);
        }
    }
    for (federation, plan) in groups {
        let rows: Vec<_> = results
            .round_costs
            .iter()
            .filter(|cost| cost.federation == federation && cost.plan == plan)
            .collect();
        let count = rows.len().max(1) as f64;
        let mean = |f: &dyn Fn(&&crate::results::RoundCost) -> f64| {
            rows.iter().map(f).sum::<f64>() / count
        };
        let low = rows.iter().map(|cost| cost.survivors).min().unwrap_or(0);
        let high = rows.iter().map(|cost| cost.survivors).max().unwrap_or(0);
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2} MB</td><td>{:.2} MB</td><td>{:.2}</td><td>{}</td></tr>",
            escape(federation),
            escape(plan),
            rows.len(),
            mean(&|cost| cost.bytes_received as f64) / 1e6,
            mean(&|cost| cost.bytes_sent as f64) / 1e6,
            mean(&|cost| cost.seconds),
            if low == high { low.to_string() } else { format!("{low} to {high}") }
        );
    }
    page.push_str("</tbody></table>");
}

fn ledger_section(page: &mut String, results: &Results) {
    page.push_str("<h2>Privacy spent</h2><p>Recomputed offline from each federation's ledger file: <code>coordinator ledger verify FILE</code>.</p><table><thead><tr><th>federation</th><th>ledger</th><th>entries</th><th>rounds</th><th>aborted</th><th>ε (exact Gaussian)</th><th>ε (zCDP)</th><th>δ</th></tr></thead><tbody>");
    for ledger in &results.ledgers {
        let epsilon = |e: Option<f64>| e.map_or("∞".into(), |e| format!("{e:.4}"));
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&ledger.federation),
            if ledger.verified { "verified" } else { "<b>not verified</b>" },
            ledger.entries,
            ledger.released,
            ledger.aborted,
            epsilon(ledger.epsilon),
            epsilon(ledger.epsilon_zcdp),
            ledger.delta.map_or("–".into(), |d| format!("{d:.0e}"))
        );
    }
    page.push_str("</tbody></table>");
}

const PAGE_STYLE: &str = ":root{color-scheme:light dark}body{margin:0;background:#fff;color:#1d2530;font:16px/1.55 system-ui,'Segoe UI',sans-serif}\
main{max-width:820px;margin:0 auto;padding:40px 20px 80px}h1{font-size:30px;line-height:1.2;margin:0 0 12px}h2{margin:44px 0 8px;font-size:21px}\
.lead{font-size:18px}.facts{display:flex;flex-wrap:wrap;gap:12px 34px;list-style:none;padding:0;margin:24px 0}.facts li{display:flex;flex-direction:column;color:#67707d;font-size:14px}\
.facts b{font-size:24px;color:#2463a8;font-variant-numeric:tabular-nums}.note{border-left:4px solid #c98a2d;padding:6px 14px}\
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}th,td{text-align:left;padding:5px 10px;border-bottom:1px solid #d9dee5;white-space:nowrap}\
th{color:#67707d;font-weight:500}svg{display:block;margin:18px 0}.fine{color:#67707d;font-size:13px}\
@media(prefers-color-scheme:dark){body{background:#12161c;color:#e8ecf1}.facts b{color:#7fb3e6}th,td{border-color:#333b46}}";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::results::{Metric, Uplift};

    fn results() -> Results {
        let metric = |setting: &str, epsilon, scope: &str, recall_at_20| Metric {
            setting: setting.into(),
            epsilon,
            delta: None,
            scope: scope.into(),
            recall_at_20,
            ndcg_at_20: 0.1,
            recall_spread: None,
            ndcg_spread: None,
            seeds: None,
            households: 7,
        };
        let uplift = |low, beats| Uplift {
            setting: "federated".into(),
            epsilon: Some(4.0),
            group: "all".into(),
            scope: "new items".into(),
            difference: 0.01,
            low,
            high: 0.02,
            beats,
            households: 7,
        };
        Results {
            agents: 12,
            metrics: vec![
                metric("popularity", None, "new items", 0.09),
                metric("federated", Some(4.0), "new items", 0.11),
                metric("federated", Some(4.0), "all items", 0.31),
            ],
            uplift: vec![uplift(0.001, true), uplift(-0.001, false)],
            ..Results::default()
        }
    }

    #[test]
    fn the_page_is_self_contained() {
        let page = html(&results());
        for word in ["<script", "src=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        // The only address in it is the SVG name space, which nothing fetches.
        assert_eq!(
            page.matches("http").count(),
            page.matches("http://www.w3.org/2000/svg").count()
        );
    }

    #[test]
    fn beats_is_said_only_where_the_interval_excludes_zero() {
        let text = table(&results());
        assert_eq!(text.matches("beats the best").count(), 1);
        assert_eq!(text.matches("cannot be told").count(), 1);
        assert!(text.contains("0.3100"));
    }
}
