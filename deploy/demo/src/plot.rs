//! Plots as self-contained SVG: no script, no font, no network.

use std::fmt::Write as _;

/// One horizontal bar.
pub struct Bar {
    /// Label to the left.
    pub label: String,
    /// Length of the bar.
    pub value: f64,
    /// Half-width of a whisker around the value, where there is one.
    pub whisker: Option<f64>,
    /// Colour class: `ours`, `local`, `pooled`.
    pub class: &'static str,
}

/// A horizontal bar chart. Bars begin at zero, so that lengths compare.
#[must_use]
pub fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let (left, right, row) = (210.0, 90.0, 26.0);
    let width = 760.0;
    let height = 56.0 + row * bars.len() as f64;
    let top = bars.iter().map(|bar| bar.value + bar.whisker.unwrap_or(0.0)).fold(1e-9, f64::max);
    let scale = (width - left - right) / top;
    let mut svg = open(width, height, title);
    for (index, bar) in bars.iter().enumerate() {
        let y = 40.0 + row * index as f64;
        let length = bar.value * scale;
        let _ = write!(
            svg,
            r#"<text class="label" x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect class="{}" x="{left}" y="{:.1}" width="{length:.1}" height="16" rx="2"/>"#,
            left - 10.0,
            y + 12.5,
            escape(&bar.label),
            bar.class,
            y
        );
        if let Some(whisker) = bar.whisker {
            let (from, to) =
                (left + (bar.value - whisker) * scale, left + (bar.value + whisker) * scale);
            let _ = write!(
                svg,
                r#"<line class="axis" x1="{from:.1}" y1="{:.1}" x2="{to:.1}" y2="{:.1}"/>"#,
                y + 8.0,
                y + 8.0
            );
        }
        let end = left + (bar.value + bar.whisker.unwrap_or(0.0)) * scale;
        let _ = write!(
            svg,
            r#"<text class="value" x="{:.1}" y="{:.1}">{:.4}</text>"#,
            end + 7.0,
            y + 12.5,
            bar.value
        );
    }
    let _ = write!(
        svg,
        r#"<text class="unit" x="{left}" y="{:.1}">{}</text></svg>"#,
        height - 4.0,
        escape(unit)
    );
    svg
}

/// One estimate with an interval.
pub struct Interval {
    /// Label to the left.
    pub label: String,
    /// The estimate.
    pub middle: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Estimates with intervals around a zero line. What excludes zero is drawn in full colour.
#[must_use]
pub fn intervals(title: &str, unit: &str, rows: &[Interval]) -> String {
    let (left, right, row) = (330.0, 30.0, 24.0);
    let width = 760.0;
    let height = 64.0 + row * rows.len() as f64;
    let low = rows.iter().map(|r| r.low).fold(0.0, f64::min);
    let high = rows.iter().map(|r| r.high).fold(1e-9, f64::max);
    let place = |value: f64| left + (value - low) / (high - low) * (width - left - right);
    let mut svg = open(width, height, title);
    let bottom = 40.0 + row * rows.len() as f64;
    let _ = write!(
        svg,
        r#"<line class="axis" x1="{0:.1}" y1="34" x2="{0:.1}" y2="{bottom:.1}"/>"#,
        place(0.0)
    );
    for (index, r) in rows.iter().enumerate() {
        let y = 50.0 + row * index as f64;
        let class = if r.low > 0.0 {
            "ours"
        } else if r.high < 0.0 {
            "worse"
        } else {
            "unclear"
        };
        let _ = write!(
            svg,
            r#"<text class="label" x="{:.1}" y="{:.1}" text-anchor="end">{}</text><line class="{class} whisker" x1="{:.1}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/><circle class="{class}" cx="{:.1}" cy="{y:.1}" r="4.5"/>"#,
            left - 14.0,
            y + 4.5,
            escape(&r.label),
            place(r.low),
            place(r.high),
            place(r.middle)
        );
    }
    for tick in ticks(low, high) {
        let _ = write!(
            svg,
            r#"<text class="unit" x="{:.1}" y="{:.1}" text-anchor="middle">{tick:+.3}</text>"#,
            place(tick),
            bottom + 14.0
        );
    }
    let _ = write!(
        svg,
        r#"<text class="unit" x="0" y="{:.1}">{}</text></svg>"#,
        height - 4.0,
        escape(unit)
    );
    svg
}

/// One line of a line chart.
pub struct Line {
    /// Label at the line's end.
    pub label: String,
    /// Points, ascending in the first coordinate.
    pub points: Vec<(f64, f64)>,
}

/// A line chart with labels at the line ends instead of a legend.
#[must_use]
pub fn lines(title: &str, x_unit: &str, y_unit: &str, lines: &[Line]) -> String {
    let (width, height, left, right, top, bottom) = (760.0, 320.0, 60.0, 190.0, 40.0, 46.0);
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let x_high = all().map(|p| p.0).fold(1.0, f64::max);
    let x_low = all().map(|p| p.0).fold(x_high, f64::min);
    let y_high = all().map(|p| p.1).fold(1e-9, f64::max);
    let y_low = all().map(|p| p.1).fold(y_high, f64::min);
    let pad = (y_high - y_low).max(1e-9) * 0.08;
    let (y_low, y_high) = (y_low - pad, y_high + pad);
    let x =
        |value: f64| left + (value - x_low) / (x_high - x_low).max(1e-9) * (width - left - right);
    let y =
        |value: f64| height - bottom - (value - y_low) / (y_high - y_low) * (height - top - bottom);
    let mut svg = open(width, height, title);
    for tick in ticks(y_low, y_high) {
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{left}" x2="{:.1}" y1="{1:.1}" y2="{1:.1}"/><text class="unit" x="{2:.1}" y="{3:.1}" text-anchor="end">{tick:.3}</text>"#,
            width - right,
            y(tick),
            left - 6.0,
            y(tick) + 4.0
        );
    }
    let mut ends: Vec<(f64, String)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        let _ =
            write!(svg, r#"<polyline class="line l{}" points="{}"/>"#, index % 6, path.join(" "));
        if let Some(last) = line.points.last() {
            ends.push((
                y(last.1),
                format!(r#"<text class="value t{}" "#, index % 6)
                    + &format!(
                        r#"x="{:.1}" y="@">{}</text>"#,
                        x(last.0) + 8.0,
                        escape(&line.label)
                    ),
            ));
        }
    }
    // Labels keep 15 units of distance.
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut last = f64::NEG_INFINITY;
    for (wanted, text) in ends {
        let at = wanted.max(last + 15.0);
        last = at;
        svg.push_str(&text.replace('@', &format!("{:.1}", at + 4.0)));
    }
    for step in 0..=(x_high - x_low) as u32 {
        let value = x_low + f64::from(step);
        let _ = write!(
            svg,
            r#"<text class="unit" x="{:.1}" y="{:.1}" text-anchor="middle">{value}</text>"#,
            x(value),
            height - bottom + 16.0
        );
    }
    let _ = write!(
        svg,
        r#"<text class="unit" x="{left}" y="{:.1}">{}, vertical: {}</text></svg>"#,
        height - 8.0,
        escape(x_unit),
        escape(y_unit)
    );
    svg
}

/// Colours and type of every plot, for a page or a stand-alone file.
pub const STYLE: &str = "svg{font-family:system-ui,'Segoe UI',sans-serif;font-size:13px;max-width:100%;height:auto}\
 .title{font-weight:600;font-size:15px}.label,.title,.value{fill:#1d2530}.value{font-size:12px}.unit{fill:#67707d;font-size:12px}\
 .axis{stroke:#1d2530;stroke-width:1.2}.grid{stroke:#d9dee5;stroke-width:1}\
 .ours{fill:#2463a8;stroke:#2463a8}.local{fill:#a9b3c0}.pooled{fill:#c98a2d}.worse{fill:#b23a48;stroke:#b23a48}.unclear{fill:#a9b3c0;stroke:#a9b3c0}\
 .whisker{stroke-width:2.5}.line{fill:none;stroke-width:2.2}\
 .l0{stroke:#9ec3e8}.l1{stroke:#6ba3d8}.l2{stroke:#3d82c2}.l3{stroke:#2463a8}.l4{stroke:#123a66}.l5{stroke:#c98a2d}\
 .t0,.t1,.t2,.t3,.t4{fill:#2463a8}.t5{fill:#c98a2d}\
 @media(prefers-color-scheme:dark){.label,.title,.value{fill:#e8ecf1}.axis{stroke:#e8ecf1}.grid{stroke:#333b46}.unit{fill:#9aa4b1}.t0,.t1,.t2,.t3,.t4{fill:#7fb3e6}.l4{stroke:#cfe2f5}}";

/// A plot as a file of its own.
#[must_use]
pub fn standalone(svg: &str) -> String {
    let background = r##"<rect width="100%" height="100%" fill="#ffffff"/>"##;
    let light = STYLE.split("@media").next().unwrap_or_default();
    match svg.find('>') {
        Some(end) => {
            format!("{}<style>{light}</style>{background}{}", &svg[..=end], &svg[end + 1..])
        }
        None => svg.to_string(),
    }
}

fn open(width: f64, height: f64, title: &str) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"><title>{0}</title><text class="title" x="0" y="20">{0}</text>"#,
        escape(title)
    )
}

/// A handful of round values inside a range.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = (high - low).max(1e-9);
    let rough = span / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= rough)
        .unwrap_or(power * 10.0);
    let mut tick = (low / step).ceil() * step;
    let mut found = Vec::new();
    while tick <= high + 1e-12 && found.len() < 12 {
        found.push(if tick.abs() < step * 1e-6 { 0.0 } else { tick });
        tick += step;
    }
    found
}

/// Text safe inside markup.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 1.0), vec![0.0, 0.5, 1.0]);
        assert!(ticks(-0.01, 0.02).contains(&0.0));
    }

    #[test]
    fn markup_is_escaped() {
        let svg = bars("a<b", "x&y", &[]);
        assert!(svg.contains("a&lt;b") && svg.contains("x&amp;y"));
    }
}
