//! Section 6: what is not known, and why. The integrity of the bundle comes first.

use serde::Serialize;

use super::{
    inputs::completeness,
    integration::proofs,
    summary::SYSTEMS,
    table::{NOT_MEASURED, code, table, text},
};
use crate::{
    audit::{Audit, Colour},
    config::Substrate,
    verdict::Status,
};

/// Section 6.
#[derive(Serialize)]
pub(super) struct Gaps {
    problems: Vec<String>,
    unverified: String,
    other_tests: String,
    retried: String,
    requirements: String,
    requirement_totals: String,
    completeness: String,
    corners: Vec<String>,
    limitations: Vec<String>,
    follow_up: Vec<String>,
}

pub(super) fn section(audit: &Audit) -> Gaps {
    let of = |colour| audit.requirements.iter().filter(|row| row.colour == colour).count();
    let corners = audit.flows.dark_corners.iter().filter(|corner| !corner.tested);
    Gaps {
        problems: audit.problems.iter().map(|problem| text(&problem.to_string())).collect(),
        unverified: unverified(audit),
        other_tests: other_tests(audit),
        retried: retried(audit),
        requirements: requirements(audit),
        requirement_totals: format!(
            "{} GREEN, {} YELLOW, {} RED of {} requirements",
            of(Colour::Green),
            of(Colour::Yellow),
            of(Colour::Red),
            audit.requirements.len()
        ),
        completeness: completeness(audit),
        corners: corners
            .map(|corner| format!("{}. {} ({})", corner.key, text(&corner.title), proofs(corner)))
            .collect(),
        limitations: limitations(audit),
        follow_up: follow_up(audit),
    }
}

fn is_unverified(status: &Status) -> bool {
    !matches!(status, Status::Pass | Status::Fail(_))
}

fn unverified(audit: &Audit) -> String {
    table(
        ["Id", "Priority", "Milestone", "Status", "Reason"],
        audit.rows.iter().filter(|row| is_unverified(&row.status)).map(|row| {
            [
                row.row.id.to_string(),
                format!("{:?}", row.row.priority),
                format!("M{}", row.row.milestone),
                row.status.word().to_owned(),
                text(row.status.reason().unwrap_or_default()),
            ]
        }),
    )
}

/// Tests of no id that did not pass.
fn other_tests(audit: &Audit) -> String {
    let tests = audit.tests.iter().filter(|test| test.id.is_none() && test.status != Status::Pass);
    table(
        ["Test", "Status", "Reason"],
        tests.map(|test| {
            let reason = text(test.status.reason().unwrap_or_default());
            [code(&test.name.to_string()), test.status.word().to_owned(), reason]
        }),
    )
}

/// Tests that the runner tried more than once; one that is not the same twice is no witness.
fn retried(audit: &Audit) -> String {
    let tests = audit.tests.iter().filter(|test| test.retries > 0);
    table(
        ["Test", "Failed attempts before the last", "Status", "Last attempt"],
        tests.map(|test| {
            let last = if test.flaky { "passed" } else { "did not pass" };
            let status = test.status.word().to_owned();
            [code(&test.name.to_string()), test.retries.to_string(), status, last.to_owned()]
        }),
    )
}

fn requirements(audit: &Audit) -> String {
    table(
        ["Requirement", "What it asks for", "Status", "Verification", "Tests"],
        audit.requirements.iter().map(|row| {
            let verification = if row.colour == Colour::Green { "Verified" } else { "Gap" };
            [row.key.clone(), text(&row.title), row.colour.to_string(), verification.to_owned(), proofs(row)]
        }),
    )
}

fn limitations(audit: &Audit) -> Vec<String> {
    let mut known = Vec::new();
    if audit.manifest.substrate == Substrate::Process {
        known.push("Container packaging was not tested: services ran as processes of one machine.".to_owned());
    }
    if !audit.listed {
        known.push("There is no listing of the tests, so one that vanished is noticed by its id only.".to_owned());
    }
    if audit.manifest.finished_at.is_none() {
        known.push("The end of the session was not recorded; it may have been cut short.".to_owned());
    }
    for (system, score) in SYSTEMS.iter().zip(audit.scores.builds.iter().chain([&audit.scores.integration])) {
        let missing = score.lines.iter().filter(|line| line.points.is_some() && line.figure.is_none());
        known.extend(missing.map(|line| format!("{system}, {}: {NOT_MEASURED} ({}).", line.category, line.source)));
    }
    let partly = audit.rows.iter().filter_map(|row| Some((&row.row.id, row.not_shown()?)));
    known
        .extend(partly.map(|(id, part)| text(&format!("{id} passed for what its tests show; not shown yet: {part}."))));
    known.push(
        "The manifest is not signed: whoever writes it anew together with the files is found out only by \
         comparing its seal (section 2) with the one that the run printed."
            .to_owned(),
    );
    known.push("Cost of M1, M2, M3 and M6: nothing of them calls a model or is metered.".to_owned());
    known.push(unproven(audit));
    known
}

/// The tests that plant a regression, and what notices it.
const PROOFS: [(&str, &str); 2] = [
    ("r4_m5_005_bad_builders_are_stopped::case_1_breaks", "scans and snapshots"),
    ("r4_m6_004_regression_lowers_the_score", "scores and report"),
];

/// Whether this run showed that a deliberate regression is noticed (scoring.md §8 rule 4).
fn unproven(audit: &Audit) -> String {
    let passed = |proof: &str| {
        let mut tests = audit.tests.iter().filter(|it| it.name.test == proof || it.name.function() == proof).peekable();
        tests.peek().is_some() && tests.all(|test| test.status == Status::Pass)
    };
    let named = |wanted: bool| {
        let proofs = PROOFS.iter().filter(|(test, _)| passed(test) == wanted);
        proofs.map(|(test, what)| format!("{what} by {}", code(test))).collect::<Vec<_>>().join(", ")
    };
    match (named(true), named(false)) {
        (shown, missing) if missing.is_empty() => {
            format!("That a deliberate regression is noticed was shown in this run: {shown}.")
        }
        (_, missing) => format!(
            "**The audit is unproven**: that a deliberate regression is noticed was not shown in this run for \
             {missing}."
        ),
    }
}

/// What to do about each kind of gap, worst first.
fn follow_up(audit: &Audit) -> Vec<String> {
    type Kind = fn(&Status) -> bool;
    let ids = |kind: Kind| {
        let rows = audit.rows.iter().filter(|row| kind(&row.status));
        rows.map(|row| row.row.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let kinds: [(Kind, &str); 4] = [
        (|status| matches!(status, Status::Fail(_)), "Repair the system, then run again"),
        (|status| matches!(status, Status::Broken(_)), "Repair the suite or the machine, then run again"),
        (|status| matches!(status, Status::Untestable(_)), "Provide what is missing (see the reasons above) for"),
        (|status| matches!(status, Status::Untested(_)), "Run, or write the tests of"),
    ];
    let mut todo: Vec<_> =
        kinds.into_iter().map(|(kind, text)| (ids(kind), text)).filter(|(ids, _)| !ids.is_empty()).collect();
    if !audit.problems.is_empty() {
        todo.insert(0, ("see the problems above".to_owned(), "Run everything anew; this bundle cannot be trusted"));
    }
    todo.into_iter().map(|(ids, text)| format!("{text}: {ids}.")).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::audit::sample::Bundle;

    const SCANS: &str = "r4_m5_005_bad_builders_are_stopped::case_1_breaks";
    const OTHER: &str = "r4_m5_005_bad_builders_are_stopped::case_2_idle";
    const SCORES: [&str; 2] =
        ["r4_m6_004_regression_lowers_the_score::case_1_a", "r4_m6_004_regression_lowers_the_score::case_2_b"];

    #[rstest]
    #[case::all(&[SCANS, SCORES[0], SCORES[1]], &[OTHER], &[])]
    #[case::no_score(&[SCANS], &[], &["scores and report"])]
    #[case::a_case_of_the_score(&[SCANS, SCORES[0]], &[SCORES[1]], &["scores and report"])]
    #[case::no_scan(&[SCORES[0], SCORES[1]], &[SCANS], &["scans and snapshots"])]
    #[case::nothing(&[], &[], &["scans and snapshots", "scores and report"])]
    fn a_run_without_both_proofs_is_unproven(
        #[case] passed: &[&str],
        #[case] failed: &[&str],
        #[case] missing: &[&str],
    ) {
        let bundle = passed.iter().fold(Bundle::new(), |bundle, test| bundle.passed(test));
        let bundle = failed.iter().fold(bundle, |bundle, test| bundle.result(test, "<failure/>"));
        let said = unproven(&bundle.seal().audit());
        assert_eq!(said.starts_with("**The audit is unproven**"), !missing.is_empty(), "{said}");
        for part in ["scans and snapshots", "scores and report"] {
            assert_eq!(said.contains(part), missing.is_empty() || missing.contains(&part), "{part}: {said}");
        }
    }
}
