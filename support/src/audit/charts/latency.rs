//! Round-trip times of tools on a logarithmic axis.

use plotters::prelude::*;

use super::canvas::{
    Area, BAD, DrawError, FAINT, Frame, LETTERS, MARK, MUTED, TEXT, draw, not_measured, shortened, text,
};
use crate::{audit::Timing, mcp::LatencySummary};

const ROW: u32 = 20;

/// More rows than this nobody looks at; the table has all.
const MOST: usize = 60;

/// The least time the axis can show, in milliseconds.
const LEAST: f64 = 0.001;

/// A little less than the first power of ten, so that its label is not cut off.
const EDGE: f64 = 0.99;

pub(super) fn latency(timings: &[Timing]) -> Result<String, DrawError> {
    let mut shown: Vec<_> = timings.iter().collect();
    shown.sort_by(|one, other| other.figures.p99_ms.total_cmp(&one.figures.p99_ms));
    shown.truncate(MOST);
    let description = format!(
        "Median, p95, p99 and longest time in milliseconds, on a logarithmic axis; the {} slowest of {} by p99.",
        shown.len(),
        timings.len()
    );
    let frame = Frame {
        key: "chart-latency",
        title: "Latency of tools",
        description: &description,
        height: shown.len() as u32 * ROW + 90,
    };
    if shown.is_empty() { not_measured(&frame) } else { draw(&frame, |area| paint(area, &shown)) }
}

fn paint(area: &Area<'_>, shown: &[&Timing]) -> Result<(), DrawError> {
    legend(area)?;
    let times = || shown.iter().flat_map(|timing| quantiles(&timing.figures));
    let low = 10f64.powf(times().fold(f64::INFINITY, f64::min).log10().floor());
    let high = 10f64.powf(times().fold(LEAST, f64::max).log10().ceil()).max(low * 10.0);
    let rows = shown.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_top(34)
        .x_label_area_size(38)
        .y_label_area_size(190)
        .build_cartesian_2d((low * EDGE..high).log_scale(), 0.0..rows)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(("sans-serif", LETTERS).into_font().color(&TEXT))
        .x_label_formatter(&|ms| format!("{ms}"))
        .x_desc("milliseconds")
        .draw()?;
    for (index, timing) in shown.iter().enumerate() {
        let row = rows - index as f64 - 0.5;
        let [median, p95, p99, max] = quantiles(&timing.figures);
        chart.draw_series([
            PathElement::new([(median, row), (max, row)], MUTED),
            PathElement::new([(max, row - 0.3), (max, row + 0.3)], TEXT.stroke_width(2)),
        ])?;
        chart.draw_series([Circle::new((median, row), 4, MARK.filled())])?;
        chart.draw_series([TriangleMarker::new((p95, row), 5, TEXT.filled())])?;
        chart.draw_series([Cross::new((p99, row), 4, BAD.stroke_width(2))])?;
        let (_, y) = chart.backend_coord(&(low, row));
        text(area, &shortened(&timing.name, 28), (8, y - 7), &TEXT)?;
    }
    Ok(())
}

fn quantiles(figures: &LatencySummary) -> [f64; 4] {
    [figures.median_ms, figures.p95_ms, figures.p99_ms, figures.max_ms].map(|ms| ms.max(LEAST))
}

/// Each mark has a shape of its own, so that no colour is needed to tell them apart.
fn legend(area: &Area<'_>) -> Result<(), DrawError> {
    area.draw(&Circle::new((210, 16), 4, MARK.filled()))?;
    area.draw(&TriangleMarker::new((310, 16), 5, TEXT.filled()))?;
    area.draw(&Cross::new((390, 16), 4, BAD.stroke_width(2)))?;
    area.draw(&PathElement::new([(470, 10), (470, 22)], TEXT.stroke_width(2)))?;
    for (name, left) in [("median", 220), ("p95", 320), ("p99", 400), ("longest", 480)] {
        text(area, name, (left, 10), &TEXT)?;
    }
    Ok(())
}
