//! Whole bundles: what a change to a file, a run or a record does to the audit.

use std::{collections::BTreeSet, fs, path::Path};

use pretty_assertions::assert_eq;
use rstest::rstest;
use tempfile::TempDir;

use super::{
    report::{render, write_below},
    sample::{BINARY, Bundle},
    *,
};

const RECORD: &str = "evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json";

fn status(audit: &Audit, id: &str) -> String {
    let row = audit.rows.iter().find(|row| row.row.id.to_string() == id).expect("in the sample");
    row.status.to_string()
}

fn problems(audit: &Audit) -> Vec<String> {
    audit.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_bundle_has_no_problem() {
    let audit = Bundle::green().seal().audit();
    assert_eq!(problems(&audit), Vec::<String>::new());
    assert_eq!(audit.counts(), Counts { pass: 2, untestable: 1, untested: 1, ..Counts::default() });
    assert_eq!(status(&audit, "X-01"), "UNTESTED(no test yet)");
    assert!(audit.coverage.iter().all(|tool| tool.colour == Colour::Green), "{:?}", audit.coverage);
    assert_eq!(audit.latency.len(), 1);
}

#[rstest]
#[case::altered(|path: &Path| fs::write(path, "{}").expect("written"), "altered: ", "BROKEN(evidence altered: ")]
#[case::missing(|path: &Path| fs::remove_file(path).expect("removed"), "missing: ", "BROKEN(evidence missing: ")]
fn a_changed_record_breaks_its_test_and_is_named(
    #[case] change: fn(&Path),
    #[case] problem: &str,
    #[case] verdict: &str,
) {
    let bundle = Bundle::green().seal();
    change(&bundle.path(RECORD));
    let audit = bundle.audit();
    assert_eq!(problems(&audit), [format!("{problem}{RECORD}")]);
    assert_eq!(status(&audit, "B1-19"), format!("{verdict}{RECORD})"));
    assert_eq!(audit.exit_code(), 2);
}

#[test]
fn a_record_added_after_the_seal_proves_nothing() {
    let bundle = Bundle::green().result("x_01_mcp_b1_to_b2_contract_engine", "").seal();
    let audit = bundle.record("x_01_mcp_b1_to_b2_contract_engine", Some(Status::Pass), |_| ()).audit();
    assert!(status(&audit, "X-01").starts_with("BROKEN(evidence not listed: "), "{}", status(&audit, "X-01"));
}

#[test]
fn results_of_an_earlier_run_are_refused() {
    let mut bundle = Bundle::green();
    bundle.run_of_results = "00000000-0000-4000-8000-000000000000".into();
    let audit = bundle.seal().audit();
    let found = problems(&audit);
    assert!(found.iter().any(|problem| problem.starts_with("stale: junit/m2.xml")), "{found:?}");
    assert!(found.contains(&Problem::NothingRan.to_string()), "{found:?}");
    assert_eq!(audit.counts().pass, 0);
    assert_eq!(audit.exit_code(), 2);
}

#[test]
fn altered_results_are_refused() {
    let bundle = Bundle::green().result("x_01_mcp_b1_to_b2_contract_engine", "<failure/>").seal();
    let path = bundle.path("junit/m2.xml");
    let forged = fs::read_to_string(&path).expect("readable").replace("<failure/>", "");
    fs::write(path, forged).expect("written");
    let audit = bundle.audit();
    assert!(problems(&audit).contains(&"altered: junit/m2.xml".to_owned()), "{:?}", problems(&audit));
    assert_eq!(audit.counts().pass, 0);
}

#[test]
fn another_matrix_is_a_problem() {
    let mut bundle = Bundle::green();
    bundle.manifest.matrix_digest = "0".repeat(64);
    let found = problems(&bundle.seal().audit());
    assert!(found[0].starts_with("the matrix changed since the run"), "{found:?}");
}

#[test]
fn a_test_that_was_listed_and_did_not_run_is_untested() {
    let bundle = Bundle::green().listing(&[("b1_07_mcp_tool_responses::validate_spec", true)]).seal();
    assert_eq!(status(&bundle.audit(), "B1-07"), "UNTESTED(not run)");
}

#[test]
fn an_observation_of_another_shape_is_a_problem() {
    let bundle = Bundle::green().result("b1_07_mcp_tool_responses::x", "").record(
        "b1_07_mcp_tool_responses::x",
        Some(Status::Pass),
        |record| {
            record.observations.insert("tool_calls".into(), "many".into());
        },
    );
    let found = problems(&bundle.seal().audit());
    assert!(found[0].contains("tool_calls"), "{found:?}");
}

#[rstest]
#[case::fail(Bundle::green().result("x_01_y", "<failure/>").record("x_01_y", Some(Status::Fail("no".into())), |_| ()), 1)]
#[case::broken(Bundle::green().result("x_01_y", "<failure/>"), 2)]
#[case::untested(Bundle::green(), 2)]
#[case::nothing(Bundle::new(), 2)]
fn the_exit_code_says_what_happened(#[case] bundle: Bundle, #[case] code: u8) {
    assert_eq!(bundle.seal().audit().exit_code(), code);
}

#[test]
fn with_docker_and_everything_passed_all_is_verified() {
    let mut bundle = Bundle::green().passed("x_01_y").passed("sc_02_app_deployment");
    bundle.manifest.substrate = crate::config::Substrate::Docker;
    let bundle = bundle.seal();
    assert_eq!(bundle.audit().exit_code(), 0);
    fs::write(bundle.path("junit/stray.xml"), "<x/>").expect("written");
    let audit = bundle.audit();
    assert_eq!((problems(&audit), audit.exit_code()), (vec!["not listed: junit/stray.xml".to_owned()], 2));
}

#[rstest]
#[case::passed(&["b1_19_architect_cross_ref"], 0)]
#[case::one_unknown(&["b1_19_architect_cross_ref", "b1_20_x"], 2)]
#[case::none(&[], 2)]
fn a_selection_has_an_exit_code_of_its_own(#[case] tests: &[&str], #[case] code: u8) {
    let names = tests.iter().map(|test| TestName { binary: BINARY.into(), test: (*test).into() });
    assert_eq!(Bundle::green().seal().audit().exit_code_of(&names.collect()), code);
}

#[test]
fn a_corner_is_tested_when_each_of_its_parts_is() {
    let audit = Bundle::green().seal().audit();
    assert_eq!(audit.scores.untested_corners, ["2"]);
    assert!(audit.scores.aggregate_capped <= 85.0);
}

#[test]
fn what_ran_nothing_has_no_score() {
    let audit = Bundle::new().seal().audit();
    assert!(audit.scores.builds.iter().all(|score| !score.is_measured()));
    let report = render(&audit, "").expect("renders");
    assert!(
        report.contains(
            "| Build 1 | not measured | not measured | not measured | not measured | not measured | not measured |"
        ),
        "{report}"
    );
}

#[test]
fn a_contradiction_stops_the_report() {
    let mut audit = Bundle::green().seal().audit();
    audit.tests.iter_mut().for_each(|test| test.status = Status::Untested("forged".into()));
    let error = render(&audit, "").expect_err("contradiction").to_string();
    assert!(error.contains("B1-07 passed, but"), "{error}");
}

#[test]
fn the_same_bundle_gives_the_same_bytes() {
    let bundle = Bundle::green().seal();
    let first = (render(&bundle.audit(), "").expect("renders"), serde_json::to_string(&bundle.audit()).expect("JSON"));
    let second = (render(&bundle.audit(), "").expect("renders"), serde_json::to_string(&bundle.audit()).expect("JSON"));
    assert_eq!(first, second);
}

#[test]
fn every_row_and_every_section_is_in_the_report() {
    let audit = Bundle::green().seal().audit();
    let report = render(&audit, "").expect("renders");
    for row in &audit.rows {
        assert!(report.contains(&format!("| {} | ", row.row.id)), "{} is missing", row.row.id);
    }
    let sections: Vec<_> = report.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(
        sections,
        [
            "## 1. Executive Summary",
            "## 2. Methodology",
            "## 3. Per-System Assessment",
            "## 4. Integration Assessment",
            "## 5. Fix Pass History",
            "## 6. Gap Analysis",
            "## 7. Appendices",
        ]
    );
}

#[test]
fn a_deliberate_regression_shows_in_verdict_score_and_report() {
    let before = Bundle::green().seal().audit();
    let after = Bundle::green()
        .result("b1_19_architect_cross_ref::twin", "<failure/>")
        .record("b1_19_architect_cross_ref::twin", Some(Status::Fail("the error names no URL".into())), |_| ())
        .seal()
        .audit();
    assert_eq!(status(&after, "B1-19"), "FAIL(the error names no URL)");
    assert!(after.scores.builds[0].value < before.scores.builds[0].value);
    assert!(render(&after, "").expect("renders").contains("the error names no URL"));
}

#[test]
fn the_whole_report() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    let report = render(&Bundle::green().seal().audit(), "").expect("renders");
    settings.bind(|| insta::assert_snapshot!("report", report));
}

#[test]
fn the_whole_summary_of_a_step() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    let bundle = Bundle::green().seal();
    fs::write(bundle.path("junit/stray.xml"), "<x/>").expect("written");
    let summary = step_summary(&bundle.audit(), ".run4/SUPER_TEAM_AUDIT_REPORT.md");
    settings.bind(|| insta::assert_snapshot!("step_summary", summary));
}

#[test]
fn a_step_summary_does_not_grow_without_end() {
    let many =
        (0..60).fold(Bundle::green(), |bundle, number| bundle.result(&format!("r4_m2_009_x::{number}"), "<failure/>"));
    let summary = step_summary(&many.seal().audit(), "report");
    assert!(summary.contains("and 10 more tests, in the report."), "{summary}");
}

#[test]
fn the_report_is_written_beside_its_data_and_copied_for_a_full_run() {
    let root = TempDir::new().expect("a folder");
    let audit = Bundle::green().seal().audit();
    let local = root.path().join(".run4/local");
    fs::create_dir_all(&local).expect("made");
    write_below(&audit, &local, root.path()).expect("written");
    let copy = root.path().join(".super-orchestrator").join(FILE_NAME);
    assert!(!copy.exists(), "a developer's run is no release");
    let output = root.path().join(".run4");
    let path = write_below(&audit, &output, root.path()).expect("written");
    assert_eq!(path, output.join(FILE_NAME));
    assert!(output.join("audit.json").exists());
    let copied = fs::read_to_string(copy).expect("a copy");
    assert!(copied.contains("(<../.run4/evidence/m2_mcp_wiring/"), "links of the copy lead back");
}

#[test]
fn this_suite_has_promises_to_audit() {
    let promises = Promises::load().expect("the tables of this suite can be read");
    assert_eq!(promises.matrix.rows().len(), 58);
    assert_eq!(promises.tools.len(), 20);
    assert_eq!(promises.flows.data_flow.len(), 10);
    assert_eq!(promises.flows.dark_corner.len(), 6);
    let totals: Vec<_> = ["B1", "B2", "B3"]
        .map(|build| {
            let own = |id: &str| id.starts_with(&format!("{build}-"));
            let rows = promises.matrix.rows().iter();
            rows.filter(|row| {
                let id = row.id.to_string();
                own(&id) || id.starts_with("X-") && row.builds.iter().any(|named| named == build)
            })
            .count()
        })
        .into();
    assert_eq!(totals, [24, 18, 18]);
    let names: BTreeSet<_> = promises.flows.data_flow.iter().map(|flow| &flow.key).collect();
    assert_eq!(names.len(), 10);
}
