//! Curves over ε as SVG.

use std::path::Path;

use plotters::prelude::*;

use crate::AnyError;

/// One curve: a name and a value for each ε, and whether it is a bound rather than a measurement.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f64>,
    pub(crate) proven: bool,
}

/// Draws curves over the places of `labels`, from least to most noise.
pub(crate) fn draw(
    path: &Path,
    title: &str,
    unit: &str,
    labels: &[String],
    range: std::ops::Range<f64>,
    curves: &[Curve],
) -> Result<(), AnyError> {
    let root = SVGBackend::new(path, (760, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let last = labels.len() as f64 - 1.0;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.15..last + 0.15, range)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE.mix(0.0))
        .x_labels(labels.len())
        .x_label_formatter(&|x| {
            let near = x.round();
            let exact = (x - near).abs() < 1e-6;
            let label = labels.get(near as usize).filter(|_| exact && near >= 0.0);
            label.cloned().unwrap_or_default()
        })
        .y_desc(unit)
        .draw()?;
    let colours = [BLACK, RGBColor(0, 92, 175), RGBColor(200, 80, 0), RGBColor(20, 130, 80)];
    for (curve, colour) in curves.iter().zip(colours.into_iter().cycle()) {
        let points: Vec<(f64, f64)> =
            curve.values.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect();
        let style = colour.stroke_width(if curve.proven { 1 } else { 2 });
        chart
            .draw_series(LineSeries::new(points.clone(), style))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        if !curve.proven {
            chart.draw_series(
                points.into_iter().map(|point| Circle::new(point, 4, colour.filled())),
            )?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
