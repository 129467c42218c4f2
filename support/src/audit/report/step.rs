//! The short summary that a CI job shows beside its log.

use super::{
    summary::scores,
    table::{code, line, table, text},
};
use crate::{
    audit::{Audit, Counts},
    verdict::Status,
};

/// More tests than this are not listed; the report has all.
const MOST: usize = 50;

/// The summary of an audit as Markdown: verdict, counts, scores, what is not PASS, and that the
/// report stands at `report`.
pub fn step_summary(audit: &Audit, report: &str) -> String {
    let Counts { pass, fail, broken, untestable, untested } = audit.counts();
    let mut parts = vec![
        format!("## Run 4: {}", audit.conclusion.verdict),
        line(&audit.conclusion.sentence),
        format!(
            "Of {} ids: {pass} PASS, {fail} FAIL, {broken} BROKEN, {untestable} UNTESTABLE, {untested} UNTESTED.",
            audit.rows.len()
        ),
        scores(audit),
    ];
    if !audit.problems.is_empty() {
        let problems = audit.problems.iter().map(|problem| format!("- {}", text(&problem.to_string())));
        parts.push("### Integrity: RED".to_owned());
        parts.push(problems.collect::<Vec<_>>().join("\n"));
    }
    parts.push("### Not PASS".to_owned());
    parts.push(not_passed(audit));
    parts.push(format!("Report: {}, SHA-256 of its manifest: {}.", code(report), code(&audit.seal)));
    parts.join("\n\n") + "\n\n"
}

/// Ids first, then further tests.
fn not_passed(audit: &Audit) -> String {
    let row =
        |name: String, status: &Status| [name, status.word().to_owned(), text(status.reason().unwrap_or_default())];
    let ids = audit.rows.iter().filter(|row| row.status != Status::Pass);
    let ids = ids.map(|id| row(id.row.id.to_string(), &id.status));
    let others = || audit.tests.iter().filter(|test| test.id.is_none() && test.status != Status::Pass);
    let tests = others().take(MOST).map(|test| row(code(&test.name.to_string()), &test.status));
    let listed = table(["Id or test", "Status", "Reason"], ids.chain(tests));
    match others().count().saturating_sub(MOST) {
        0 => listed,
        more => format!("{listed}\n\nand {more} more tests, in the report."),
    }
}
