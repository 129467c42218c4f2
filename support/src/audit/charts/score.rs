//! The scores: for each system the points of each category, in a box as long as its weight.

use plotters::prelude::*;

use super::canvas::{Area, DrawError, FAINT, Frame, MARK, MUTED, TEXT, draw, not_measured, text};
use crate::audit::{
    Audit,
    report::SYSTEMS,
    scoring::{Line, Score},
};

const ROW: i32 = 20;

/// Where the boxes begin, in pixels.
const LEFT: i32 = 210;

/// Pixels per point.
const SCALE: f64 = 12.0;

pub(super) fn scores(audit: &Audit) -> Result<String, DrawError> {
    let scores: Vec<_> =
        SYSTEMS.into_iter().zip(audit.scores.builds.iter().chain([&audit.scores.integration])).collect();
    let rows = scores.iter().map(|(_, score)| score.lines.len() + 1).sum::<usize>() as u32;
    let frame = Frame {
        key: "chart-scores",
        title: "Score breakdown",
        description: &description(&scores),
        height: (rows + 1) * ROW.unsigned_abs(),
    };
    if !scores.iter().any(|(_, score)| score.is_measured()) {
        return not_measured(&frame);
    }
    draw(&frame, |area| {
        let mut top = 4;
        for (system, score) in &scores {
            let value = if score.is_measured() { format!("{:.2}", score.value) } else { "not measured".to_owned() };
            text(area, &format!("{system}: {value}"), (8, top), &TEXT)?;
            top += ROW;
            for line in &score.lines {
                category(area, line, top)?;
                top += ROW;
            }
        }
        Ok(())
    })
}

fn description(scores: &[(&str, &Score)]) -> String {
    let said = scores.iter().map(|(system, score)| {
        if score.is_measured() { format!("{system} {:.2}", score.value) } else { format!("{system} not measured") }
    });
    let said: Vec<_> = said.collect();
    format!("Points of each category beside its weight. {}.", said.join(", "))
}

fn category(area: &Area<'_>, line: &Line, top: i32) -> Result<(), DrawError> {
    let length = |points: f64| LEFT + (points * SCALE).round() as i32;
    text(area, line.category, (24, top), &MUTED)?;
    let place = |points: f64| [(LEFT, top), (length(points), top + ROW - 6)];
    if let (Some(points), Some(_)) = (line.points, &line.figure) {
        area.draw(&Rectangle::new(place(points), MARK.filled()))?;
    }
    area.draw(&Rectangle::new(place(line.weight), FAINT.stroke_width(1)))?;
    let value = match (line.points, &line.figure) {
        (None, _) => "N/A".to_owned(),
        (Some(_), None) => format!("not measured, of {:.0}", line.weight),
        (Some(points), Some(_)) => format!("{points:.2} of {:.0}", line.weight),
    };
    text(area, &value, (length(line.weight) + 8, top), &TEXT)
}
