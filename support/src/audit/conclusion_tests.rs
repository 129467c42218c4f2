use rstest::rstest;

use super::*;
use crate::{
    audit::{Audit, report::render, sample::Bundle, step_summary},
    fix_pass::{priority::Effect, symptom::Symptom, violation::Severity},
    state::System,
};

#[rstest]
#[case::nothing([false, false, false], Level::Below)]
#[case::minimum([true, false, false], Level::Minimum)]
#[case::target([true, true, false], Level::Target)]
#[case::stretch([true, true, true], Level::Stretch)]
fn a_level_is_reached_step_by_step(#[case] met: [bool; 3], #[case] expected: Level) {
    assert_eq!(level(met), expected);
}

#[rstest]
#[case::reachable(50, Level::Minimum)]
#[case::not_reached(49, Level::Below)]
#[case::all(58, Level::Stretch)]
fn eighty_five_percent_of_58_are_50(#[case] passed: usize, #[case] expected: Level) {
    let row = share("Test pass rate", ["85 %", "95 %", "100 %"], [0.85, 0.95, 1.0], passed, 58, "");
    assert_eq!(row.level, expected);
}

/// An audit in which everything that can be said is good.
fn best() -> (Audit, Vec<Threshold>) {
    let mut audit = Bundle::green().passed("x_01_y").passed("sc_02_app_deployment").seal().audit();
    audit.rows.iter_mut().for_each(|row| row.status = Status::Pass);
    audit.scores.aggregate_capped = 90.0;
    let mut thresholds = audit.thresholds.clone();
    thresholds.iter_mut().for_each(|row| row.level = Level::Stretch);
    (audit, thresholds)
}

fn concluded(audit: &Audit, thresholds: &[Threshold], problems: usize) -> Conclusion {
    let Audit { scores, rows, coverage, inputs, findings, fix, .. } = audit;
    Seen { scores, rows, coverage, inputs, findings, fix: fix.as_ref() }.conclude(thresholds, problems)
}

fn verdict(audit: &Audit, thresholds: &[Threshold], problems: usize) -> ReportVerdict {
    concluded(audit, thresholds, problems).verdict
}

/// A finding of priority P1, with or without a workaround.
fn urgent(workaround: &str) -> Symptom {
    Symptom {
        key: "k".into(),
        cause: "c".into(),
        code: "B1-19".into(),
        title: "t".into(),
        system: System::Build1,
        component: "x".into(),
        target: "build1".into(),
        file: String::new(),
        line: 0,
        severity: Severity::Error,
        effect: Effect::Shared,
        workaround: workaround.into(),
        evidence: "e".into(),
        reproduction: "r".into(),
        recommendation: "do".into(),
    }
}

#[test]
fn everything_good_passes() {
    let (audit, thresholds) = best();
    assert_eq!(verdict(&audit, &thresholds, 0), ReportVerdict::Pass);
}

#[test]
fn a_problem_of_the_bundle_fails() {
    let (audit, thresholds) = best();
    assert_eq!(verdict(&audit, &thresholds, 1), ReportVerdict::Fail);
}

#[rstest]
#[case::below_minimum(Level::Below)]
#[case::not_measured(Level::NotMeasured)]
fn a_missed_minimum_fails(#[case] level: Level) {
    let (audit, mut thresholds) = best();
    thresholds[0].level = level;
    assert_eq!(verdict(&audit, &thresholds, 0), ReportVerdict::Fail);
}

#[rstest]
#[case::p0_broken("B1-07", Status::Broken("x".into()), ReportVerdict::Fail)]
#[case::p0_untestable("SC-02", Status::Untestable("docker".into()), ReportVerdict::ConditionalPass)]
#[case::p0_untested("X-01", Status::Untested("x".into()), ReportVerdict::ConditionalPass)]
fn one_id_is_enough(#[case] id: &str, #[case] status: Status, #[case] expected: ReportVerdict) {
    let (mut audit, thresholds) = best();
    set(&mut audit, id, status);
    assert_eq!(verdict(&audit, &thresholds, 0), expected);
}

#[rstest]
#[case::without_a_workaround("", ReportVerdict::Fail)]
#[case::with_a_workaround("read it over HTTP", ReportVerdict::ConditionalPass)]
fn a_p1_that_is_left_needs_a_workaround(#[case] workaround: &str, #[case] expected: ReportVerdict) {
    let (mut audit, thresholds) = best();
    audit.findings.absorb(&[urgent(workaround)], 0, None).expect("an id");
    assert_eq!(verdict(&audit, &thresholds, 0), expected);
}

#[test]
fn a_code_of_the_system_forges_no_verdict() {
    let mut audit = Bundle::green().seal().audit();
    let code = "X\n\n**Verdict: PASS.** ![](http://elsewhere/x.png)".to_owned();
    audit.findings.absorb(&[Symptom { code, ..urgent("") }], 0, None).expect("an id");
    audit.conclusion = concluded(&audit, &audit.thresholds, 0);
    for said in [render(&audit, "").expect("renders"), step_summary(&audit, "report.md")] {
        assert!(!said.contains("\n**Verdict: PASS.**"), "{said}");
        assert!(!said.contains("![]("), "{said}");
    }
}

#[test]
fn a_low_aggregate_is_conditional() {
    let (mut audit, thresholds) = best();
    audit.scores.aggregate_capped = 79.9;
    assert_eq!(verdict(&audit, &thresholds, 0), ReportVerdict::ConditionalPass);
}

fn set(audit: &mut Audit, id: &str, status: Status) {
    let row = audit.rows.iter_mut().find(|row| row.row.id.to_string() == id).expect("in the sample");
    row.status = status;
}

#[test]
fn an_unverified_p0_keeps_the_count_from_its_target() {
    let audit = Bundle::green().seal().audit();
    let row = audit.thresholds.iter().find(|row| row.criterion == "P0 remaining").expect("a criterion");
    assert_eq!((row.figure.as_deref(), row.level), (Some("0, with 2 ids not verified"), Level::Minimum));
}
