//! What the scores of the Builds rest on: counts with what is missing, scans, and the
//! traceability of requirements (spec scoring.md §1, §9).

use super::{
    integration::shown,
    table::{NOT_MEASURED, code, table, text},
};
use crate::{
    audit::{
        Audit, Colour, Counted, Input, Inputs, Sourced, TraceRow, Traceability, inputs::why_not,
        measures::count as number, scoring::Rate,
    },
    sut::Build,
};

/// What tests counted for a Build, one line each.
pub(super) fn counts(audit: &Audit, build: Build) -> String {
    let Inputs { contracts, artifacts, .. } = &audit.inputs;
    let what = match build {
        Build::B1 => "Routes of the HTTP twins that fit their schema",
        Build::B2 => "Contract tests on the generated services",
        Build::B3 => "Outputs that fit their shape",
    };
    let lines = [
        count(what, Input::Contracts, contracts, audit, build),
        count("Required artifacts", Input::Artifacts, artifacts, audit, build),
        scan(audit, build),
    ];
    lines.map(|line| format!("- {line}")).join("\n")
}

fn count(what: &str, input: Input, of: &[Sourced<Counted>], audit: &Audit, build: Build) -> String {
    match Inputs::of(of, build) {
        None => format!("{what}: {NOT_MEASURED} ({}).", text(&why_not(input, build, &audit.tests))),
        Some(found) => {
            let Counted { good, total, missing, .. } = &found.value;
            let missing: Vec<_> = missing.iter().map(|it| text(it)).collect();
            let missing = if missing.is_empty() { String::new() } else { format!(" Not: {}.", missing.join("; ")) };
            format!("{what}: {good} of {total} ({}).{missing}", code(&found.source.to_string()))
        }
    }
}

fn scan(audit: &Audit, build: Build) -> String {
    match Inputs::of(&audit.inputs.scans, build) {
        None => {
            let reason = text(&why_not(Input::Scans, build, &audit.tests));
            format!("Layer-3 scan of its source: {NOT_MEASURED} ({reason}).")
        }
        Some(found) => {
            let sources: Vec<_> = found.value.sources.iter().map(|it| code(it)).collect();
            format!(
                "Layer-3 scan of its source: {} violations in {} lines of {} (appendix B, {}).",
                found.value.violations.len(),
                found.value.lines,
                sources.join(", "),
                code(&found.source.to_string())
            )
        }
    }
}

/// Appendix B: every violation of the scans.
pub(super) fn violations(audit: &Audit) -> String {
    if audit.inputs.scans.is_empty() {
        return format!("{NOT_MEASURED}: no layer-3 scan is in the bundle.");
    }
    let rows = audit.inputs.scans.iter().flat_map(|found| {
        let build = found.value.build.to_string();
        found.value.violations.iter().map(move |it| [build.clone(), text(it), code(&found.source.to_string())])
    });
    table(["Build", "Violation", "Source"], rows)
}

/// Section 6: how complete each Build is.
pub(super) fn completeness(audit: &Audit) -> String {
    let rows = Build::ALL.map(|build| match matrix_of(audit, build) {
        None => {
            let reason = text(&why_not(Input::Requirements, build, &audit.tests));
            let unknown = || NOT_MEASURED.to_owned();
            [build.to_string(), unknown(), unknown(), unknown(), unknown(), unknown(), "90 %".into(), reason]
        }
        Some(matrix) => {
            let of = |colour| matrix.count(colour);
            let (green, all) = (of(Colour::Green), matrix.rows.len());
            [
                build.to_string(),
                register(matrix),
                green.to_string(),
                of(Colour::Yellow).to_string(),
                of(Colour::Red).to_string(),
                percentage(green, all),
                "90 %".into(),
                code(&matrix.source),
            ]
        }
    });
    table(["Build", "Register", "GREEN", "YELLOW", "RED", "Completeness", "Target", "Source"], rows)
}

fn matrix_of(audit: &Audit, build: Build) -> Option<&Traceability> {
    audit.traceability.iter().find(|matrix| matrix.build == build)
}

/// Where the requirements of a Build stand; a count other than the plan's is said.
fn register(matrix: &Traceability) -> String {
    let path = code(&matrix.register);
    match matrix.expected {
        None => format!("{path} (of the suite)"),
        Some(expected) if expected == matrix.rows.len() => format!("{path} (PRD, {expected} as planned)"),
        Some(expected) => format!("{path} (PRD, {} where the plan has {expected})", matrix.rows.len()),
    }
}

fn percentage(part: usize, all: usize) -> String {
    Rate::new(number(part), number(all))
        .map_or_else(|| NOT_MEASURED.to_owned(), |rate| format!("{rate} ({:.2} %)", 100.0 * rate.share()))
}

/// The registers that were used, for section 2.
pub(super) fn registers(audit: &Audit) -> String {
    let of = |build: Build| match matrix_of(audit, build) {
        None => format!("{build}: {NOT_MEASURED}"),
        Some(matrix) => format!("{build}: {}", register(matrix)),
    };
    Build::ALL.map(of).join("; ")
}

/// Appendix A: every requirement of the Builds.
pub(super) fn traceability(audit: &Audit) -> String {
    if audit.traceability.is_empty() {
        return format!("Requirements of the Builds: {NOT_MEASURED} (no register was traced, see section 6).");
    }
    let rows = audit.traceability.iter().flat_map(|matrix| matrix.rows.iter().map(move |row| cells(matrix.build, row)));
    table(
        [
            "Req ID",
            "Build",
            "Milestone",
            "Description",
            "Implementation",
            "Tests",
            "Test status",
            "Verification",
            "Status",
            "Link",
        ],
        rows,
    )
}

fn cells(build: Build, row: &TraceRow) -> [String; 10] {
    let TraceRow { traced, proofs, test_status, colour } = row;
    let is_lost = |place: &String| traced.lost.contains(place) || !traced.source_available;
    let places = traced.implementation.iter().map(|place| {
        let missing = if is_lost(place) { " (not found)" } else { "" };
        format!("{}{missing}", code(place))
    });
    let places: Vec<_> = places.collect();
    [
        text(&traced.id),
        build.to_string(),
        text(&traced.milestone),
        text(&traced.description),
        if places.is_empty() { "none".to_owned() } else { places.join(", ") },
        shown(proofs),
        test_status.to_string(),
        row.verification().to_owned(),
        colour.to_string(),
        traced.link.to_string(),
    ]
}
