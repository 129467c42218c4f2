//! The run in time: each run of the test runner with its tests, as their own records tell.

use chrono::{DateTime, Utc};
use plotters::prelude::*;

use super::canvas::{Area, BAD, DrawError, FAINT, Frame, LETTERS, MARK, TEXT, draw, not_measured, text};
use crate::{
    audit::{Audit, Run, TestVerdict},
    verdict::Status,
};

/// The height of a test and of the name of a run, in pixels.
const LANE: i32 = 8;
const NAME: i32 = 24;

/// More tests of a run than this cannot be told apart; the longest are drawn.
const MOST: usize = 400;

/// A test in time, in seconds from the beginning of the session.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bar {
    from: f64,
    to: f64,
    passed: bool,
}

/// A run with its tests, those that ran at the same time in lanes of their own.
struct Band {
    name: String,
    lanes: Vec<Vec<Bar>>,
}

pub(super) fn timeline(audit: &Audit) -> Result<String, DrawError> {
    let bands: Vec<_> = audit.manifest.runs.iter().map(|run| band(run, audit)).collect();
    let bars = || bands.iter().flat_map(|band| band.lanes.iter().flatten());
    let (drawn, bad) = (bars().count(), bars().filter(|bar| !bar.passed).count());
    let description = format!(
        "{drawn} tests of {} runs by the time their records tell, those at the same time below each other; \
         {bad} that did not pass stand in a box. At most {MOST} tests of a run are drawn, the longest.",
        bands.len()
    );
    let heights = bands.iter().map(|band| NAME + LANE * band.lanes.len() as i32).sum::<i32>();
    let frame = Frame {
        key: "chart-timeline",
        title: "Timeline of the run",
        description: &description,
        height: heights.unsigned_abs() + 60,
    };
    let end = bars().map(|bar| bar.to).fold(0.0, f64::max);
    if drawn == 0 { not_measured(&frame) } else { draw(&frame, |area| paint(area, &bands, end.max(0.1), heights)) }
}

fn band(run: &Run, audit: &Audit) -> Band {
    let began = audit.manifest.started_at;
    let mut bars: Vec<_> = audit
        .tests
        .iter()
        .filter(|test| test.run.as_deref() == Some(run.run_id.as_str()))
        .filter_map(|test| bar(test, began))
        .collect();
    bars.sort_by(|one, other| (other.to - other.from).total_cmp(&(one.to - one.from)));
    bars.truncate(MOST);
    bars.sort_by(|one, other| one.from.total_cmp(&other.from).then(one.to.total_cmp(&other.to)));
    let milestone = run.milestone.map_or_else(|| "selection".to_owned(), |milestone| format!("M{milestone}"));
    Band { name: format!("{milestone}, {:.1} s", run.seconds), lanes: lanes(bars) }
}

fn bar(test: &TestVerdict, began: DateTime<Utc>) -> Option<Bar> {
    let since = |time: DateTime<Utc>| (time - began).as_seconds_f64().max(0.0);
    let (from, to) = (since(test.started_at?), since(test.finished_at?));
    (to >= from).then_some(Bar { from, to, passed: test.status == Status::Pass })
}

/// Each bar in the first lane that is free when it begins.
fn lanes(bars: Vec<Bar>) -> Vec<Vec<Bar>> {
    let mut lanes: Vec<Vec<Bar>> = Vec::new();
    for bar in bars {
        match lanes.iter_mut().find(|lane| lane.last().is_none_or(|last| last.to <= bar.from)) {
            Some(lane) => lane.push(bar),
            None => lanes.push(vec![bar]),
        }
    }
    lanes
}

fn paint(area: &Area<'_>, bands: &[Band], end: f64, heights: i32) -> Result<(), DrawError> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(38)
        .build_cartesian_2d(0.0..end, 0.0..f64::from(heights))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(("sans-serif", LETTERS).into_font().color(&TEXT))
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .x_desc("seconds since the session began")
        .draw()?;
    let pixel = |seconds: f64| chart.backend_coord(&(seconds, 0.0)).0;
    let (_, mut top) = chart.backend_coord(&(0.0, f64::from(heights)));
    for band in bands {
        text(area, &band.name, (pixel(0.0) + 2, top + 6), &TEXT)?;
        top += NAME;
        for lane in &band.lanes {
            for bar in lane {
                // What is shorter than a pixel is seen, too.
                let corners = [(pixel(bar.from), top), (pixel(bar.to).max(pixel(bar.from) + 1), top + LANE - 2)];
                area.draw(&Rectangle::new(corners, if bar.passed { MARK } else { BAD }.filled()))?;
                if !bar.passed {
                    let [(left, upper), (right, lower)] = corners;
                    let around = [(left - 2, upper - 2), (right + 2, lower + 2)];
                    area.draw(&Rectangle::new(around, TEXT.stroke_width(1)))?;
                }
            }
            top += LANE;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn bars_of_one_time_stand_in_lanes_of_their_own() {
        let bar = |from, to| Bar { from, to, passed: true };
        let lanes = lanes(vec![bar(0.0, 2.0), bar(1.0, 3.0), bar(2.0, 4.0)]);
        assert_eq!(lanes, [vec![bar(0.0, 2.0), bar(2.0, 4.0)], vec![bar(1.0, 3.0)]]);
    }
}
