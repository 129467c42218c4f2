//! What a measured input earns, and what it earns when nobody can vouch for it.

use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::audit::{Audit, report::render, sample::Bundle};

const ROUTES: &str = "r4_m6_001_routes_fit_their_schemas";
const ARTIFACTS: &str = "r4_m6_001_artifacts_are_there::case_1_build1";
const DENSITY: &str = "r4_m6_001_violation_density::case_1_build1";

/// A good bundle in which `test` ended with `verdict` and observed this.
fn with(bundle: Bundle, test: &str, verdict: Status, input: Input, value: Value) -> Bundle {
    let xml = if verdict == Status::Pass { "" } else { "<failure/>" };
    bundle.result(test, xml).record(test, Some(verdict), |record| {
        record.observations.insert(input.observation().to_owned(), value);
    })
}

fn counted(good: usize, total: usize) -> Value {
    json!([{ "build": "B1", "good": good, "total": total, "missing": vec!["a: gone"; total - good] }])
}

fn line<'a>(audit: &'a Audit, category: &str) -> &'a crate::audit::scoring::Line {
    audit.scores.builds[0].lines.iter().find(|line| line.category == category).expect("a category of the rubric")
}

#[rstest]
#[case::passed(Status::Pass, Some("12 of 15"), 4.0)]
#[case::failed(Status::Fail("a is gone".into()), Some("12 of 15"), 4.0)]
#[case::broken(Status::Broken("the disk is full".into()), None, 0.0)]
fn a_count_needs_a_test_that_could_be_judged(
    #[case] verdict: Status,
    #[case] figure: Option<&str>,
    #[case] points: f64,
) {
    let bundle = with(Bundle::green(), ARTIFACTS, verdict, Input::Artifacts, counted(12, 15));
    let audit = bundle.seal().audit();
    let line = line(&audit, "Documentation");
    assert_eq!((line.figure.as_deref(), line.points), (figure, Some(points)));
}

#[test]
fn routes_that_nobody_asked_count_as_misfits() {
    let without = Bundle::green().seal().audit();
    assert_eq!(line(&without, "Contract Compliance").figure.as_deref(), Some("2 of 4"));
    let with = with(Bundle::green(), ROUTES, Status::Pass, Input::Contracts, counted(2, 2)).seal().audit();
    assert_eq!(line(&with, "Contract Compliance").figure.as_deref(), Some("4 of 4"));
}

#[rstest]
#[case::none(0, 15.0)]
#[case::five(5, 13.5)]
#[case::many(60, 0.0)]
fn a_density_costs_points(#[case] violations: usize, #[case] points: f64) {
    let violations = vec!["LOG-001 a x.py:1"; violations];
    let scanned = json!([{
        "build": "B1", "completed": true, "lines": 5000, "sources": ["a"], "violations": violations,
    }]);
    let audit = with(Bundle::green(), DENSITY, Status::Pass, Input::Scans, scanned).seal().audit();
    assert_eq!(line(&audit, "Code Quality").points, Some(points));
}

#[test]
fn the_report_names_what_is_missing_and_what_was_found() {
    let scanned = json!([{
        "build": "B1", "completed": true, "lines": 5000, "sources": ["a"], "violations": ["LOG-001 a x.py:1"],
    }]);
    let bundle = with(Bundle::green(), ARTIFACTS, Status::Pass, Input::Artifacts, counted(14, 15));
    let audit = with(bundle, DENSITY, Status::Pass, Input::Scans, scanned).seal().audit();
    let report = render(&audit, "").expect("renders");
    for said in ["Required artifacts: 14 of 15", "Not: a: gone.", "| Build 1 | LOG-001 a x.py:1 |"] {
        assert!(report.contains(said), "{said} is missing");
    }
}

#[test]
fn a_reason_says_what_became_of_the_test() {
    let bundle = Bundle::green().result(ARTIFACTS, "<failure/>").record(
        ARTIFACTS,
        Some(Status::Untestable("the profile has no builds.build1.artifacts".into())),
        |_| (),
    );
    let audit = bundle.seal().audit();
    let source = &line(&audit, "Documentation").source;
    assert!(source.contains("UNTESTABLE(the profile has no builds.build1.artifacts)"), "{source}");
}

#[test]
fn full_completeness_beside_a_gap_stops_the_report() {
    let register = json!([{
        "build": "B1", "path": "by hand", "is_prd": false, "expected": null,
        "requirements": [{
            "id": "S1-001", "description": "it answers", "milestone": "", "implementation": ["a.rs"],
            "source_available": true, "lost": [], "tests": ["B1-07"], "link": "stated",
        }],
    }]);
    let test = "r4_m6_005_requirements_of_a_build::case_1_build1";
    let mut audit = with(Bundle::green(), test, Status::Pass, Input::Requirements, register).seal().audit();
    assert_eq!(line(&audit, "Functional Completeness").points, Some(30.0));
    render(&audit, "").expect("renders");
    audit.traceability[0].rows[0].colour = crate::audit::Colour::Red;
    let error = render(&audit, "").expect_err("contradiction").to_string();
    assert!(error.contains("Build 1 is complete, but has gaps"), "{error}");
}

#[test]
fn the_id_of_a_requirement_stays_in_its_cell() {
    let register = json!([{
        "build": "B1", "path": "by hand", "is_prd": false, "expected": null,
        "requirements": [{
            "id": "S1 | ![](http://elsewhere/)", "description": "it answers", "milestone": "M2", "implementation": [],
            "source_available": true, "lost": [], "tests": [], "link": "stated",
        }],
    }]);
    let test = "r4_m6_005_requirements_of_a_build::case_1_build1";
    let audit = with(Bundle::green(), test, Status::Pass, Input::Requirements, register).seal().audit();
    let report = render(&audit, "").expect("renders");
    assert!(report.contains("\n| S1 \\| !\\[](http://elsewhere/) | Build 1 | M2 |"), "{report}");
}
