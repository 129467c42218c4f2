//! SUPER_TEAM_AUDIT_REPORT.md and audit.json (R4-M6-004, spec scoring.md §11). Tables are made
//! here; the order of the sections and the prose between stand in `report.md.jinja`.

mod appendices;
mod findings;
mod gaps;
mod history;
mod inputs;
mod integration;
mod step;
mod summary;
mod systems;
mod table;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use super::{
    Audit, Colour, ReportVerdict,
    charts::{self, Point},
    html, sarif,
};
use crate::{atomic, verdict::Status, workspace};
pub use step::step_summary;
pub(in crate::audit) use summary::SYSTEMS;

/// The name of the report.
pub const FILE_NAME: &str = "SUPER_TEAM_AUDIT_REPORT.md";

/// The same as a page for a browser.
const PAGE_FILE_NAME: &str = "SUPER_TEAM_AUDIT_REPORT.html";

/// The name of the audit as data.
const DATA_FILE_NAME: &str = "audit.json";

/// The findings for code hosts and editors.
const SARIF_FILE_NAME: &str = "audit.sarif";

/// The orchestrator's folder, where a copy of a full run's report belongs (D-04).
const ORCHESTRATOR_FOLDER: &str = ".super-orchestrator";

const TEMPLATE: &str = include_str!("../report.md.jinja");

/// Writes the report, as Markdown and as a page, and the audit as data and as SARIF into `bundle`; for the bundle of a full run also
/// a copy of the report to `.super-orchestrator/`. Gives the report's path.
///
/// # Errors
/// When the audit contradicts itself, so that no report may be written, or the file system's own.
pub fn write_report(audit: &Audit, bundle: &Path) -> io::Result<PathBuf> {
    write_below(audit, bundle, &workspace::root())
}

pub(super) fn write_below(audit: &Audit, bundle: &Path, root: &Path) -> io::Result<PathBuf> {
    let path = bundle.join(FILE_NAME);
    let text = render(audit, "")?;
    atomic::write_json(&bundle.join(DATA_FILE_NAME), audit)?;
    atomic::write_json(&bundle.join(SARIF_FILE_NAME), &sarif::sarif(audit))?;
    atomic::write(&bundle.join(PAGE_FILE_NAME), page(audit, &text)?)?;
    atomic::write(&path, text)?;
    let output = root.join(".run4");
    if output.canonicalize().ok().is_some_and(|output| bundle.canonicalize().ok() == Some(output)) {
        let copy = root.join(ORCHESTRATOR_FOLDER).join(FILE_NAME);
        atomic::write(&copy, render(audit, "../.run4/")?)?;
    }
    Ok(path)
}

/// The report as Markdown whose links to evidence begin with `base`.
pub(super) fn render(audit: &Audit, base: &str) -> io::Result<String> {
    if let Some(contradiction) = contradiction(audit) {
        return Err(io::Error::other(format!(
            "no report is written, since the audit contradicts itself: {contradiction}"
        )));
    }
    let page = Page {
        summary: summary::section(audit),
        method: summary::method(audit),
        systems: systems::section(audit),
        integration: integration::section(audit),
        history: history::section(audit),
        gaps: gaps::section(audit),
        appendix: appendices::section(audit, base),
    };
    fill(page).map_err(io::Error::other)
}

/// The report `markdown` as a page, with its charts.
pub(super) fn page(audit: &Audit, markdown: &str) -> io::Result<String> {
    let passes = audit.fix.iter().flat_map(|fix| &fix.passes);
    // Before the first pass all of the first catalogue is there.
    let start = passes.clone().next().map(|_| Point { pass: 0, value: 0.0 });
    let later = passes.map(|pass| Point { pass: pass.figures.pass_number, value: pass.convergence });
    let points: Vec<_> = start.into_iter().chain(later).collect();
    html::page(markdown, charts::all(audit, &points)?)
}

/// What the template prints.
#[derive(Serialize)]
struct Page {
    summary: summary::Summary,
    method: summary::Method,
    systems: Vec<systems::Assessment>,
    integration: integration::Integration,
    history: history::History,
    gaps: gaps::Gaps,
    appendix: appendices::Appendices,
}

fn fill(page: Page) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    environment.render_named_str("report.md.jinja", TEMPLATE, Serde(page))
}

/// What a report must never say at once (spec scoring.md §8 rule 6).
fn contradiction(audit: &Audit) -> Option<String> {
    let passing = audit.tests.iter().filter(|test| test.status == Status::Pass);
    let passing: BTreeSet<_> = passing.map(|test| &test.name).collect();
    for row in &audit.rows {
        let passed = |name| passing.contains(name);
        if row.status == Status::Pass && (row.tests.is_empty() || !row.tests.iter().all(passed)) {
            return Some(format!("{} passed, but not each of its tests did", row.row.id));
        }
    }
    let scores = &audit.scores;
    for matrix in &audit.traceability {
        let line = scores.builds[matrix.build.index()].lines.first();
        let is_full = line.is_some_and(|line| line.points.is_some_and(|points| points >= line.weight));
        if is_full && matrix.rows.iter().any(|row| row.colour != Colour::Green) {
            return Some(format!("{} is complete, but has gaps in appendix A", matrix.build));
        }
    }
    if scores.aggregate_capped > scores.aggregate_raw || scores.integration_capped > scores.integration.value {
        return Some("a capped score is above its raw value".into());
    }
    if audit.conclusion.verdict != ReportVerdict::Fail && !audit.problems.is_empty() {
        return Some("the verdict ignores problems of the bundle".into());
    }
    None
}
