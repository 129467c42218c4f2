//! Section 3: the scores of the three Builds and what they rest on.

use serde::Serialize;

use super::{
    findings,
    inputs::counts,
    table::{NOT_MEASURED, table, text},
};
use crate::{
    audit::{Audit, coverage::Tried, scoring::Score},
    state::System,
    sut::Build,
};

/// One Build.
#[derive(Serialize)]
pub(super) struct Assessment {
    name: &'static str,
    score: String,
    removed: String,
    breakdown: String,
    findings: String,
    particular: String,
}

pub(super) fn section(audit: &Audit) -> Vec<Assessment> {
    let systems = [("Build 1", System::Build1), ("Build 2", System::Build2), ("Build 3", System::Build3)];
    Build::ALL
        .into_iter()
        .zip(systems)
        .zip(&audit.scores.builds)
        .map(|((build, (name, system)), score)| Assessment {
            name,
            score: if score.is_measured() { format!("{:.2}", score.value) } else { NOT_MEASURED.to_owned() },
            removed: score.removed().collect::<Vec<_>>().join(", "),
            breakdown: breakdown(score),
            findings: findings::of(audit, system),
            particular: match build {
                Build::B1 => format!("- {}\n{}", tools(audit), counts(audit, build)),
                Build::B2 | Build::B3 => counts(audit, build),
            },
        })
        .collect()
}

fn tools(audit: &Audit) -> String {
    if audit.coverage.iter().all(|tool| tool.sources.is_empty()) {
        return format!("Tool coverage: {NOT_MEASURED} (no call of a tool was recorded).");
    }
    let total = audit.coverage.len();
    let valid = audit.coverage.iter().filter(|tool| tool.valid.passed()).count();
    let errors = audit.coverage.iter().filter(|tool| tool.error.is_some_and(Tried::passed)).count();
    let possible = audit.coverage.iter().filter(|tool| tool.error.is_some()).count();
    format!(
        "Tool coverage (interface matrix, section 4): valid calls passed for {valid} of {total} tools, \
         invalid calls for {errors} of the {possible} that can have one."
    )
}

/// The lines of a score.
pub(super) fn breakdown(score: &Score) -> String {
    table(
        ["Category", "Weight", "Points", "Figure", "Source or reason"],
        score.lines.iter().map(|line| {
            let points = line.points.map_or_else(|| "N/A".to_owned(), |points| format!("{points:.2}"));
            let figure = match (&line.figure, line.points) {
                (Some(figure), _) => figure.clone(),
                (None, Some(_)) => NOT_MEASURED.to_owned(),
                (None, None) => "N/A".to_owned(),
            };
            [line.category.to_owned(), format!("{:.0}", line.weight), points, figure, text(&line.source)]
        }),
    )
}
