//! A verified ledger as one page for people: no script, nothing loaded from elsewhere, to be read on
//! a screen or printed.

use std::{collections::BTreeMap, fmt::Write as _};

use chorale_dp::accountant::{gdp, guess};
use chorale_wire::AgentId;

use crate::{
    entry::{Privacy, Unit},
    lineage::Lineage,
    report::{Completeness, Outcome, Report, RoundLine, round_down, round_up},
};

/// Most agents that the page lists one by one.
const AGENTS_LISTED_MAX: usize = 200;

/// What a page is made of: a report, the total over its predecessors, and when it was made.
#[derive(Debug)]
pub struct Page<'a> {
    /// The verified ledger.
    pub report: &'a Report,
    /// The total over it and its predecessors.
    pub lineage: &'a Lineage,
    /// When the page is made, in Unix seconds.
    pub now_s: u64,
}

/// An attacker's best chance, in (0.5, 1], to guess whether one person took part, when both answers
/// were equally likely before and it sees everything that was released: (1 + δ(0))/2 of the exact
/// Gaussian curve, δ(0) being the total variation distance (Balle and Wang 2018; Dong, Roth and Su
/// 2022). `None` where there is no noise. Rounded up; discreteness adds less than the last digit.
#[must_use]
pub fn guessing_chance(report: &Report) -> Option<f64> {
    let releases = report.releases.as_ref()?;
    let mu_squared = chorale_dp::accountant::bridge::mu_squared(releases).ok()?.to_f64_up();
    let distance = gdp::delta(0.0, mu_squared.sqrt().next_up()) + report.epsilon.delta;
    Some(guess::success(distance.next_up()))
}

impl Page<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn html(&self) -> String {
        let report = self.report;
        let mut page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\"><title>Privacy ledger of {}</title>\
             <style>{STYLE}</style></head><body><main><h1>Privacy ledger of {}</h1>",
            escape(&report.federation),
            escape(&report.federation)
        );
        self.summary(&mut page);
        self.in_words(&mut page);
        measured(&mut page, report);
        burn_down(&mut page, report);
        rounds(&mut page, report);
        endings(&mut page, report);
        participation(&mut page, report);
        self.evidence(&mut page);
        page.push_str("</main></body></html>\n");
        page
    }

    fn summary(&self, page: &mut String) {
        let report = self.report;
        let chance = guessing_chance(report);
        let share = match (&report.cap, report.counted_rho()) {
            (Privacy::Rho(cap), Privacy::Rho(rho)) => {
                let cap = cap.as_rational().to_f64_down();
                let share = rho.as_rational().to_f64_up() / cap * 100.0;
                if cap > 0.0 {
                    format!("{:.1} %", (share * 10.0).ceil() / 10.0)
                } else {
                    "–".into()
                }
            }
            _ => "no cap".into(),
        };
        let tiles = [
            (round_up(report.epsilon.best()), format!("ε at δ = {:.1e}", report.epsilon.delta)),
            (
                chance.map_or("100 %".into(), percent),
                "best chance to guess whether one person took part (50 % is blind)".into(),
            ),
            (share, "of the budget charged or reserved".into()),
            (
                format!("{} / {}", report.released, report.aborted),
                "rounds released / ended without a total".into(),
            ),
        ];
        page.push_str("<ul class=\"tiles\">");
        for (figure, text) in tiles {
            let _ = write!(page, "<li><b>{}</b>{}</li>", escape(&figure), escape(&text));
        }
        let _ = write!(
            page,
            "</ul><p>{}. Made on {}, from {} verified entries.</p>",
            escape(&report.purpose),
            date(self.now_s),
            report.entries
        );
    }

    fn in_words(&self, page: &mut String) {
        let report = self.report;
        let whom = match report.unit {
            Unit::Person => "one person, at all stores and in all rounds",
            Unit::PersonPerAgent => "one person at one store, in all rounds",
        };
        page.push_str("<h2>What this means</h2>");
        match guessing_chance(report) {
            Some(chance) => {
                let _ = write!(
                    page,
                    "<p>Somebody who sees everything that this federation ever released, who knows the \
                     data of everybody else, and who colludes with up to {} of the {} stores, wants to \
                     know whether {whom}, is in the data. Before, both answers are equally likely. The \
                     best guess is then right in at most {} of 100 cases; without having seen anything \
                     it would be right in 50.</p>",
                    report.corrupt,
                    report.enrolled,
                    percent(chance).trim_end_matches(" %")
                );
            }
            None => page.push_str(
                "<p><strong>This federation adds no noise.</strong> Clipping and masks hide each store \
                 from the coordinator, but nothing bounds what the released totals say about one \
                 person.</p>",
            ),
        }
        let _ = write!(
            page,
            "<p>This holds if at least {} stores survive each round and at most {} of them deviate. \
             Exactly: ε = {} by the exact Gaussian curve and {} by zCDP, at δ = {:.3e}.</p>",
            report.survivors_min,
            report.corrupt,
            round_up(report.epsilon.gaussian),
            round_up(report.epsilon.zcdp),
            report.epsilon.delta
        );
        if !report.predecessors.is_empty() {
            let lineage = self.lineage;
            let missing: Vec<&str> =
                lineage.missing.iter().map(|missing| missing.federation.as_str()).collect();
            let _ = write!(
                page,
                "<p>Together with {} earlier federation(s) over the same people: ε = {} by the exact \
                 Gaussian curve, {} by zCDP. {}</p>",
                lineage.found.len(),
                round_up(lineage.gaussian),
                round_up(lineage.zcdp),
                if missing.is_empty() {
                    "None is missing.".to_string()
                } else {
                    format!(
                        "<strong>Not counted, because their ledgers were not given: {}.</strong>",
                        escape(&missing.join(", "))
                    )
                }
            );
        }
    }

    fn evidence(&self, page: &mut String) {
        let report = self.report;
        let cosigned = match &report.cosigned {
            Some(head) => {
                format!("{} stores have cosigned every entry up to {}.", report.cosigners, head.seq)
            }
            None => "No store has cosigned it: the coordinator alone vouches for it.".into(),
        };
        let complete = match report.completeness {
            Completeness::UpTo { seq } => format!(
                "Complete only up to entry {seq}: no head was supplied, so entries could be missing at \
                 the end."
            ),
            Completeness::Head { seq, .. } => {
                format!("Complete up to entry {seq}, which a supplied head names.")
            }
        };
        let _ = write!(
            page,
            "<h2>Evidence</h2><p>{complete} {cosigned}</p><table class=\"keys\"><tbody>\
             <tr><th>last entry</th><td><code>{}</code></td></tr>\
             <tr><th>signed by the coordinator</th><td><code>{}</code></td></tr>\
             <tr><th>plans signed off by</th><td><code>{}</code></td></tr></tbody></table>\
             <p class=\"fine\">The ledger itself is the export for machines: JSON Lines, one entry a \
             line (docs/ledger.md). Recompute this page's figures with <code>coordinator ledger verify \
             FILE</code>, or without Chorale's code with <code>python3 docs/audit/verify_ledger.py \
             FILE</code>. Numbers of persons, norms and sums before noise are in no ledger.</p>",
            report.head, report.coordinator, report.compliance
        );
    }
}

/// What canary lanes showed, beside what is proven; short noise first and loudly.
fn measured(page: &mut String, report: &Report) {
    let Some(canaries) = &report.canaries else { return };
    page.push_str("<h2>What was measured</h2>");
    if !canaries.short.is_empty() {
        let short: Vec<String> = canaries.short.iter().map(u64::to_string).collect();
        let below = report.rounds.iter().filter_map(|line| line.canaries.as_ref());
        let below = below.filter(|line| line.below_promise).count();
        let _ = write!(
            page,
            "<p class=\"alarm\"><strong>Noise is short in round {}.</strong> At least one store in \
             the total did not add the noise it owes. {}</p>",
            short.join(", "),
            if below == 0 {
                "What is proven holds as long as no more stores fail to than may deviate."
            } else {
                "It is so short that what is proven does not hold for every such round."
            }
        );
    }
    if canaries.contradict() {
        page.push_str(
            "<p class=\"alarm\"><strong>What was measured contradicts what is proven.</strong> Do \
             not rely on any figure of this page before that is explained.</p>",
        );
    }
    let _ = write!(
        page,
        "<p>{} rounds carried canary lanes: places in the vector that hold noise and no data. Their \
         noise was measured, and an attacker's experiment was made in each of them. For one such \
         round, ε is at least {} by measurement (confidence {:.0} %; {} of {} guesses were right) and \
         at most {} by proof, at δ = {:.3e}.</p><p class=\"fine\">A measurement cannot prove \
         protection; it can only fail to refute it. Lanes find faults. A store that noises the lanes \
         and nothing else is not found by them.</p><table class=\"who\"><thead><tr><th>round</th>\
         <th>lanes</th><th>noise measured</th><th>guesses right</th><th>verdict</th></tr></thead><tbody>",
        canaries.rounds,
        round_down(canaries.epsilon_lower),
        canaries.confidence * 100.0,
        canaries.right,
        canaries.guesses,
        round_up(canaries.epsilon_upper),
        report.epsilon.delta_mechanism
    );
    for line in &report.rounds {
        let Some(shown) = &line.canaries else { continue };
        let verdict = match (shown.short, shown.below_promise) {
            (false, _) => "as owed",
            (true, false) => "<strong>short</strong>",
            (true, true) => "<strong>short, and less than was promised</strong>",
        };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{:.1} % of what is owed</td><td>{} of {}</td>\
             <td>{verdict}</td></tr>",
            line.round,
            shown.lanes,
            shown.noise * 100.0,
            shown.right,
            shown.guesses
        );
    }
    page.push_str("</tbody></table>");
}

/// ρ that is left of the cap after each round, as steps.
fn burn_down(page: &mut String, report: &Report) {
    let Privacy::Rho(cap) = &report.cap else { return };
    let cap = cap.as_rational().to_f64_down();
    if report.rounds.is_empty() || cap <= 0.0 {
        return;
    }
    let (width, height, left, top) = (640.0, 220.0, 48.0, 16.0);
    let step = width / report.rounds.len() as f64;
    let at = |share: f64| top + height * (1.0 - share.clamp(0.0, 1.0));
    let mut rest = 1.0;
    let mut path = format!("M{left:.1},{:.1}", at(rest));
    let mut marks = String::new();
    for (place, line) in report.rounds.iter().enumerate() {
        let x = left + step * (place as f64 + 1.0);
        let given_back = matches!(line.outcome, Outcome::Aborted { charged: false, .. });
        let cost = line.rho.rho().map_or(0.0, |rho| rho.as_rational().to_f64_up() / cap);
        let _ = write!(path, "H{x:.1}");
        if !given_back {
            rest -= cost;
            let _ = write!(path, "V{:.1}", at(rest));
        }
        let _ = write!(
            marks,
            "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\"><title>round {}: {:.2} % left</title></circle>",
            if given_back { "back" } else { "spent" },
            at(rest),
            line.round,
            rest.max(0.0) * 100.0
        );
    }
    let _ = write!(
        page,
        "<h2>Budget</h2><svg viewBox=\"0 0 {:.0} {:.0}\" role=\"img\"><title>What is left of the budget \
         after each round</title>",
        width + left + 16.0,
        height + top + 40.0
    );
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = write!(
            page,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" \
             y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            left + width,
            left - 6.0,
            at(tick) + 4.0,
            tick * 100.0,
            y = at(tick)
        );
    }
    let last = report.rounds.last().map_or(0, |line| line.round);
    let _ = write!(
        page,
        "<path class=\"line\" d=\"{path}\"/>{marks}<text x=\"{:.1}\" y=\"{:.1}\">round {}</text><text \
         x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">round {last}</text></svg><p class=\"fine\">ρ left of \
         the cap; rounds that have not ended count as spent. Hollow: given back.</p>",
        left,
        height + top + 22.0,
        report.rounds.first().map_or(0, |line| line.round),
        left + width,
        height + top + 22.0
    );
}

fn rounds(page: &mut String, report: &Report) {
    if report.rounds.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Rounds</h2><table><thead><tr><th>round</th><th>reserved (UTC)</th><th>plan</th>\
         <th>task</th><th>σ / Δ</th><th>σ²</th><th>ρ</th><th>stores</th><th>outcome</th></tr></thead><tbody>",
    );
    for line in &report.rounds {
        let noise = |figure: fn(&RoundLine, f64) -> String| {
            line.sigma_squared
                .as_ref()
                .map_or("none".into(), |variance| figure(line, variance.to_f64_down()))
        };
        let rho = match &line.rho {
            Privacy::Rho(rho) => format!("{:.6}", rho.as_rational().to_f64_up()),
            Privacy::Unprotected => "no noise".into(),
        };
        let stores = match &line.outcome {
            Outcome::Released { survivors } => format!("{survivors} of {}", line.agents),
            _ => format!("– of {}", line.agents),
        };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{rho}</td>\
             <td>{stores}</td><td>{}</td></tr>",
            line.round,
            date(line.time_s),
            escape(&line.plan),
            escape(&line.task),
            noise(|line, variance| format!("{:.3}", variance.sqrt() / line.delta as f64)),
            noise(|_, variance| format!("{variance:.4e}")),
            escape(&line.outcome.to_string())
        );
    }
    page.push_str("</tbody></table>");
}

/// Rounds without a total, and why.
fn endings(page: &mut String, report: &Report) {
    let without: Vec<&RoundLine> = report
        .rounds
        .iter()
        .filter(|line| !matches!(line.outcome, Outcome::Released { .. }))
        .collect();
    page.push_str("<h2>What was refused or failed, and why</h2>");
    refusals(page, report);
    if without.is_empty() {
        page.push_str("<p>Every round that was reserved gave a total.</p>");
        return;
    }
    page.push_str("<ul>");
    for line in without {
        let why = match &line.outcome {
            Outcome::Aborted { cause, .. } => match cause.as_str() {
                "cohort" => {
                    "too few stores were ready: absent, or they refused by their own policy"
                }
                "survivors" => "too few masked vectors arrived",
                "votes" => "too few stores agreed on who had survived",
                "shares" => "too few shares to unmask the total, or bad ones",
                _ => "the coordinator stopped it, or had stopped",
            },
            _ => "it has not ended in this file",
        };
        let _ = write!(
            page,
            "<li>Round {} of {}: {}; {}.</li>",
            line.round,
            escape(&line.plan),
            escape(&line.outcome.to_string()),
            why
        );
    }
    page.push_str("</ul>");
}

/// Which stores refused which rounds, by their own signatures.
fn refusals(page: &mut String, report: &Report) {
    let refused: Vec<&RoundLine> =
        report.rounds.iter().filter(|line| !line.refused.is_empty()).collect();
    if refused.is_empty() {
        page.push_str("<p>The ledger holds no refusal.</p>");
        return;
    }
    page.push_str(
        "<table class=\"who\"><thead><tr><th>round</th><th>refused by (why)</th></tr></thead><tbody>",
    );
    for line in refused {
        // Names and kinds are made of letters, digits and hyphens.
        let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", line.round, line.refused_by());
    }
    page.push_str(
        "</tbody></table><p class=\"fine\">Each refusal is signed by its store and depends on public \
         parameters only: policy, budget, the officer's sign-off, or the store's owner. A coordinator \
         can leave one out and invent none.</p>",
    );
}

/// Which stores' vectors are in how many totals.
fn participation(page: &mut String, report: &Report) {
    let mut counts: BTreeMap<&AgentId, (u32, u32)> = BTreeMap::new();
    for line in &report.rounds {
        if !matches!(line.outcome, Outcome::Released { .. }) {
            continue;
        }
        for agent in report.rosters.get(line.roster).into_iter().flatten() {
            let (released, of) = counts.entry(agent).or_default();
            *of += 1;
            *released += u32::from(line.survivors.binary_search(agent).is_ok());
        }
    }
    if counts.is_empty() {
        return;
    }
    let always = counts.values().filter(|(released, of)| released == of).count();
    let _ = write!(
        page,
        "<h2>Who took part</h2><p>{} stores were in a roster with a released round; {always} of them \
         are in every total that they could be in.</p>",
        counts.len()
    );
    // The others first, then as many as a page bears.
    let mut listed: Vec<_> = counts.into_iter().collect();
    listed.sort_by_key(|(agent, (released, of))| (released == of, *agent));
    page.push_str(
        "<table class=\"who\"><thead><tr><th>store</th><th>in totals</th></tr></thead><tbody>",
    );
    let rest = listed.len().saturating_sub(AGENTS_LISTED_MAX);
    for (agent, (released, of)) in listed.into_iter().take(AGENTS_LISTED_MAX) {
        let _ = write!(page, "<tr><td>{agent}</td><td>{released} of {of}</td></tr>");
    }
    page.push_str("</tbody></table>");
    if rest > 0 {
        let _ = write!(page, "<p class=\"fine\">And {rest} more, which are in every total.</p>");
    }
}

fn percent(chance: f64) -> String {
    format!("{:.1} %", (chance * 1000.0).ceil() / 10.0)
}

/// Unix seconds as a date and minute, UTC (days to civil: Hinnant, "chrono-compatible low-level date
/// algorithms").
fn date(time_s: u64) -> String {
    let (days, second) = (time_s / 86_400, time_s % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3_600, second % 3_600 / 60)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "\
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;background:#fff;margin:0}\
main{max-width:60rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}\
.tiles{display:flex;flex-wrap:wrap;gap:.8rem;list-style:none;padding:0}\
.tiles li{flex:1 1 11rem;border:1px solid #cfd8e3;border-radius:6px;padding:.7rem .9rem;font-size:.85rem}\
.tiles b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}\
table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #e3e8ef;vertical-align:top}\
table.who{width:auto}.alarm{border:2px solid #b3261e;border-radius:6px;padding:.6rem .9rem;color:#8c1d18}code{font-size:.8rem;overflow-wrap:anywhere}.fine{font-size:.8rem;color:#556270}\
svg{width:100%;max-width:46rem;font:12px system-ui,sans-serif}.grid{stroke:#e3e8ef}\
.line{fill:none;stroke:#1f5fa8;stroke-width:2}.spent{fill:#1f5fa8}.back{fill:#fff;stroke:#1f5fa8}\
@media print{main{max-width:none;margin:0}body{font-size:11pt}h2{break-after:avoid}tr,svg,.tiles li{break-inside:avoid}\
thead{display:table-header-group}@page{margin:18mm}}";
