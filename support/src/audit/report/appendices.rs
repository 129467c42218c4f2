//! Section 7: every id, every other test of a requirement, and the cost.

use serde::Serialize;

use super::{
    findings::{self, Layout},
    inputs::{traceability, violations},
    table::{NOT_MEASURED, code, seconds, span, table, text, word},
};
use crate::{
    audit::{Audit, RowVerdict, TestVerdict, join::by_id},
    verdict::Status,
};

/// The plan's estimates in US dollars, least and most, by milestone (R4-M6-009, D-50).
const ESTIMATES: [(&str, u32, u32); 6] = [
    ("M1: Infrastructure", 2, 5),
    ("M2: B1->B2 Wiring", 3, 8),
    ("M3: B2->B3 Wiring", 3, 8),
    ("M4: E2E Pipeline", 15, 25),
    ("M5: Fix Passes", 10, 15),
    ("M6: Audit", 3, 5),
];

/// Section 7.
#[derive(Serialize)]
pub(super) struct Appendices {
    findings: Vec<Layout>,
    traceability: String,
    violations: String,
    ids: String,
    extra_tests: String,
    unit_tests: String,
    cost: String,
}

pub(super) fn section(audit: &Audit, base: &str) -> Appendices {
    let extra = |test: &&TestVerdict| test.id.is_none() && test.name.needs_evidence(false);
    let plain = || audit.tests.iter().filter(|test| test.id.is_none() && !test.name.needs_evidence(false));
    let by_id = by_id(&audit.tests);
    let own = |row: &RowVerdict| by_id.get(&row.row.id).map_or(&[][..], Vec::as_slice);
    Appendices {
        findings: findings::layouts(audit),
        traceability: traceability(audit),
        violations: violations(audit),
        ids: table(
            ["Id", "Status", "Priority", "Tests", "Duration", "Reason", "Evidence"],
            audit.rows.iter().map(|row| id(row, own(row), audit, base)),
        ),
        extra_tests: table(
            ["Test", "Status", "Duration", "Reason", "Evidence"],
            audit.tests.iter().filter(extra).map(|test| {
                [
                    code(&test.name.to_string()),
                    word(&test.status, audit.manifest.substrate),
                    seconds(test.seconds),
                    reason(&test.status, test.note.as_deref()),
                    links(&[test], base),
                ]
            }),
        ),
        unit_tests: format!(
            "{} of {} passed (result files of section 2)",
            plain().filter(|test| test.status == Status::Pass).count(),
            plain().count()
        ),
        cost: cost(audit),
    }
}

fn id(row: &RowVerdict, tests: &[&TestVerdict], audit: &Audit, base: &str) -> [String; 7] {
    let passed = tests.iter().filter(|test| test.status == Status::Pass).count();
    let note = tests.iter().filter(|test| test.status == row.status).find_map(|test| test.note.as_deref());
    [
        row.row.id.to_string(),
        word(&row.status, audit.manifest.substrate),
        format!("{:?}", row.row.priority),
        format!("{passed} of {} passed", tests.len()),
        seconds(row.seconds),
        match row.not_shown() {
            Some(part) => text(&format!("not shown yet: {part}")),
            None => reason(&row.status, note),
        },
        links(tests, base),
    ]
}

/// The reason of a verdict, and the runner's words where they add to it.
fn reason(status: &Status, note: Option<&str>) -> String {
    let reason = status.reason().unwrap_or_default();
    match note {
        Some(note) if !note.contains(reason) || reason.is_empty() => text(&format!("{reason} (runner: {note})")),
        _ => text(reason),
    }
}

fn links(tests: &[&TestVerdict], base: &str) -> String {
    let files: Vec<_> = tests.iter().filter_map(|test| test.evidence.as_deref()).collect();
    match files.as_slice() {
        [] => "none".to_owned(),
        [file] => format!("[record]({})", target(base, file)),
        many => {
            let numbered = many.iter().enumerate();
            numbered
                .map(|(index, file)| format!("[{}]({})", index + 1, target(base, file)))
                .collect::<Vec<_>>()
                .join(" ")
        }
    }
}

/// A link target that Markdown cannot misread.
fn target(base: &str, file: &str) -> String {
    format!("<{base}{}>", file.replace(['<', '>'], "").replace('|', "\\|"))
}

fn cost(audit: &Audit) -> String {
    let duration = |milestone: usize| {
        let runs = audit.manifest.runs.iter().filter(|run| run.milestone.map(usize::from) == Some(milestone));
        runs.map(|run| run.seconds).reduce(|sum, seconds| sum + seconds)
    };
    let shown = |seconds: Option<f64>| seconds.map_or_else(|| NOT_MEASURED.to_owned(), span);
    let spent =
        |cost: Option<f64>| cost.map_or_else(|| NOT_MEASURED.to_owned(), |cost| format!("{cost:.2} USD, metered"));
    let rows = ESTIMATES.iter().enumerate().map(|(index, (name, least, most))| {
        let (cost, time) = (spent(cost_of(audit, index + 1)), shown(duration(index + 1)));
        [(*name).to_owned(), cost, format!("{least}-{most} USD"), time]
    });
    let (least, most) = ESTIMATES.iter().fold((0, 0), |(low, high), (_, least, most)| (low + least, high + most));
    let sum = |part: &dyn Fn(usize) -> Option<f64>| (1..=ESTIMATES.len()).filter_map(part).reduce(|sum, one| sum + one);
    let (cost, time) = (sum(&|milestone| cost_of(audit, milestone)), sum(&duration));
    let total = ["**Total**".to_owned(), spent(cost), format!("{least}-{most} USD"), shown(time)];
    table(["Phase", "Cost", "Estimate of the plan", "Duration (`manifest.json`)"], rows.chain([total]))
}

/// What a milestone cost, in US dollars: the pipeline run, and the fix passes.
fn cost_of(audit: &Audit, milestone: usize) -> Option<f64> {
    match milestone {
        4 => audit.pipeline_cost,
        5 => {
            let passes = audit.fix.iter().flat_map(|fix| &fix.passes);
            passes.filter_map(|pass| pass.figures.cost).reduce(|sum, cost| sum + cost)
        }
        _ => None,
    }
}
