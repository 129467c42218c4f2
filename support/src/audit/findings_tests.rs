use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;

use crate::{
    audit::{Audit, sample::Bundle},
    fix_pass::{
        convergence::{Open, Stop},
        ledger::{FILE_NAME, Ledger},
    },
    state::{Priority, Resolution, System},
    verdict::Status,
};

const FIRST: &str = "b1_07_mcp_tool_responses::case_1_find_callers";
const SECOND: &str = "b1_07_mcp_tool_responses::case_2_find_definition";

fn failed(bundle: Bundle, test: &str, reason: &str) -> Bundle {
    bundle.result(test, "<failure/>").record(test, Some(Status::Fail(reason.into())), |_| ())
}

/// Code, priority and title of each finding.
fn found(audit: &Audit) -> Vec<(String, Priority, String)> {
    let entries = audit.findings.entries.iter();
    entries.map(|entry| (entry.code.clone(), entry.finding.priority, entry.title.clone())).collect()
}

#[test]
fn what_cannot_be_tried_is_documented_and_nothing_more() {
    let audit = Bundle::green().seal().audit();
    assert_eq!(audit.findings.count(), Open { p3: 2, ..Open::default() });
    let codes: Vec<_> = audit.findings.entries.iter().map(|entry| entry.code.as_str()).collect();
    assert_eq!(codes, ["SC-02", "X-01"]);
    assert!(audit.fix.is_none(), "no phase was recorded");
}

#[rstest]
#[case::one_cause("exit 1 after 20 ms", "exit 1 after 31 ms", 1)]
#[case::two_causes("exit 1", "no reply", 2)]
fn a_cause_is_one_finding(#[case] first: &str, #[case] second: &str, #[case] findings: usize) {
    let bundle = failed(failed(Bundle::new(), FIRST, first), SECOND, second);
    let audit = bundle.seal().audit();
    let urgent: Vec<_> = audit.findings.open().filter(|entry| entry.finding.priority == Priority::P0).collect();
    assert_eq!(urgent.len(), findings);
    let (finding, entry) = (&urgent[0].finding, urgent[0]);
    assert_eq!((finding.system, entry.target.as_str()), (System::Build1, "build1"));
    assert_eq!(finding.component, "mcp_tool_responses: find_callers");
    assert_eq!(entry.reproduction, format!("cargo nextest run {FIRST}"));
    assert!(finding.evidence.contains("evidence/m2_mcp_wiring/b1_07"), "{}", finding.evidence);
}

#[test]
fn what_the_suite_broke_is_no_defect_of_the_system() {
    let bundle =
        Bundle::new().result(FIRST, "<failure/>").record(FIRST, Some(Status::Broken("disk full".into())), |_| ());
    let audit = bundle.seal().audit();
    assert!(found(&audit).contains(&("B1-07".into(), Priority::P3, "BROKEN(disk full)".into())), "{:?}", found(&audit));
    assert_eq!(audit.findings.count().p0, 0);
}

#[test]
fn a_spelling_that_was_forgiven_is_a_finding() {
    let audit = Bundle::new()
        .result(FIRST, "")
        .record(FIRST, Some(Status::Pass), |record| {
            record.observations.insert("alternative_spellings".into(), json!(["find_callers: line_no for line"]));
        })
        .seal()
        .audit();
    let entry = audit.findings.entries.iter().find(|entry| entry.code == "SPELLING").expect("a finding");
    assert_eq!((entry.finding.priority, entry.finding.component.as_str()), (Priority::P3, "find_callers"));
}

#[test]
fn the_ledger_of_the_fix_passes_goes_on_in_the_report() {
    let bundle = failed(Bundle::new(), FIRST, "no reply").seal();
    let mut ledger = Ledger::new("session-1");
    let audit = bundle.audit();
    ledger.catalogue = audit.findings.clone();
    ledger.first = audit.findings.count();
    ledger.stop = Some(Stop::NoMeans);
    let entry = &mut ledger.catalogue.entries[0];
    entry.finding.resolution = Resolution::Fixed;
    entry.finding.fix_pass_number = 1;
    ledger.save(&bundle.path("")).expect("written");
    let audit = bundle.seal().audit();
    let fix = audit.fix.as_ref().expect("a history");
    assert_eq!(fix.stop, Some(Stop::NoMeans));
    let entry = &audit.findings.entries[0];
    assert_eq!(entry.finding.resolution, Resolution::Open, "it is seen, so it is not fixed");
    assert_eq!(entry.reason, "was fixed in pass 1, and is back");
}

#[test]
fn an_altered_ledger_is_named_and_proves_nothing() {
    let bundle = Bundle::green();
    Ledger::new("session-1").save(&bundle.path("")).expect("written");
    let bundle = bundle.seal();
    let mut forged = Ledger::new("session-1");
    forged.stop = Some(Stop::NothingToFix);
    forged.save(&bundle.path("")).expect("written");
    let audit = bundle.audit();
    assert_eq!(audit.problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("altered: {FILE_NAME}")]);
    assert!(audit.fix.is_none());
}

#[test]
fn nothing_to_fix_is_said_only_when_every_phase_ran() {
    let mut audit = Bundle::green().seal().audit();
    assert!(audit.fix.is_none());
    audit.findings.entries.clear();
    let mut ledger = Ledger::new("session-1");
    ledger.stop = Some(Stop::NothingToFix);
    for ledger in [None, Some(&ledger)] {
        let history = |complete| super::FixHistory::of(ledger, &audit.findings, complete).map(|fix| fix.stop);
        assert_eq!((history(false), history(true)), (None, Some(Some(Stop::NothingToFix))));
    }
}

#[rstest]
#[case::of_the_system("r4_m2_004_ten_calls", 1)]
#[case::of_the_suite("r4_m5_005_stop_rules", 0)]
#[case::of_nothing("a_plain_fact", 0)]
fn what_the_suite_gets_wrong_itself_is_no_finding(#[case] test: &str, #[case] findings: usize) {
    let audit = failed(Bundle::new(), test, "exit 1").seal().audit();
    assert_eq!(audit.findings.entries.iter().filter(|entry| entry.title.contains("exit 1")).count(), findings);
}
