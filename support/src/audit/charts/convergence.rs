//! How the fix passes converge (spec scoring.md §6).

use plotters::prelude::*;

use super::canvas::{DrawError, FAINT, Frame, LETTERS, MARK, MUTED, TEXT, draw, not_measured, text};

/// From where on a run is called acceptable and converged.
const BOUNDS: [(f64, &str); 2] = [(0.70, "acceptable"), (0.85, "converged")];

/// The convergence after one pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// The number of the pass, from 0 for the catalogue before the first.
    pub(crate) pass: u32,
    /// The convergence, 0 to 1.
    pub(crate) value: f64,
}

/// Draws the convergence by pass.
pub(super) fn convergence(points: &[Point]) -> Result<String, DrawError> {
    let said: Vec<_> = points.iter().map(|point| format!("{:.2} after pass {}", point.value, point.pass)).collect();
    let description = format!("Convergence by fix pass, 0 to 1: {}.", said.join(", "));
    let frame = Frame {
        key: "chart-convergence",
        title: "Convergence of the fix passes",
        description: if points.is_empty() { "No fix pass was recorded." } else { &description },
        height: 260,
    };
    let Some(last) = points.iter().map(|point| point.pass).max() else { return not_measured(&frame) };
    let right = f64::from(last.max(1));
    draw(&frame, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .margin_right(100)
            .x_label_area_size(38)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..right, 0.0..1.0)?;
        chart
            .configure_mesh()
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .axis_style(FAINT)
            .x_labels(last.max(1) as usize + 1)
            .x_label_formatter(&|pass| format!("{pass:.0}"))
            .y_label_formatter(&|value| format!("{value:.1}"))
            .label_style(("sans-serif", LETTERS).into_font().color(&TEXT))
            .x_desc("fix pass")
            .draw()?;
        for (bound, name) in BOUNDS {
            chart.draw_series([PathElement::new([(0.0, bound), (right, bound)], MUTED)])?;
            let (x, y) = chart.backend_coord(&(right, bound));
            text(area, name, (x + 8, y - 7), &MUTED)?;
        }
        let places = || points.iter().map(|point| (f64::from(point.pass), point.value));
        chart.draw_series(LineSeries::new(places(), MARK.stroke_width(3)))?;
        chart.draw_series(places().map(|place| Circle::new(place, 5, MARK.filled())))?;
        Ok(())
    })
}
