use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{audit::sample::Bundle, state::Priority};

const X: &str = "x_01_mcp_b1_to_b2_contract_engine";

fn green() -> Audit {
    Bundle::green().seal().audit()
}

/// What changed from `old` to `new`, each change as `direction kind what`.
fn said(old: &Audit, new: &Audit) -> Vec<String> {
    let diff = Diff::between(old, new);
    diff.changes.iter().map(|change| format!("{} {} {}", change.direction, change.kind, change.what)).collect()
}

fn with_result(status: Status, xml: &str) -> Audit {
    Bundle::green().result(X, xml).record(X, Some(status), |_| ()).seal().audit()
}

fn with_median(median: f64) -> Audit {
    let times = json!({"n": 10, "median_ms": median, "p95_ms": 20.0, "p99_ms": 30.0, "max_ms": 30.0});
    let mut audit = green();
    audit.latency[0].figures = serde_json::from_value(times).expect("figures");
    audit
}

#[test]
fn a_bundle_does_not_differ_from_itself() {
    let diff = Diff::between(&green(), &green());
    assert_eq!((diff.changes.as_slice(), diff.is_worse()), (&[][..], false));
}

#[rstest]
#[case::new_red(Status::Fail("no".into()), "<failure/>", "worse id X-01", true)]
#[case::new_green(Status::Pass, "", "better id X-01", false)]
fn a_verdict_that_changed_is_told(#[case] now: Status, #[case] xml: &str, #[case] expected: &str, #[case] worse: bool) {
    let new = with_result(now, xml);
    let changes = said(&green(), &new);
    assert!(changes.contains(&expected.to_owned()), "{changes:?}");
    assert_eq!(Diff::between(&green(), &new).is_worse(), worse);
}

#[test]
fn a_pass_that_is_not_shown_any_more_is_worse() {
    let mut new = green();
    new.tests.iter_mut().for_each(|test| test.status = Status::Untested("not run".into()));
    let changes = said(&green(), &new);
    assert!(changes.contains(&"worse test m2_mcp_wiring b1_19_architect_cross_ref".to_owned()), "{changes:?}");
}

#[test]
fn another_reason_for_the_same_verdict_is_no_change() {
    let [old, new] = ["one", "other"].map(|reason| Status::Fail(reason.into()));
    assert_eq!(verdict(Kind::Id, "x", &old, &new), None);
    let broken = verdict(Kind::Id, "x", &old, &Status::Broken("other".into())).expect("a change");
    assert_eq!(broken.direction, Direction::Other);
}

#[rstest]
#[case::passed(Status::Pass, "", "worse vanished", "other appeared")]
#[case::failed(Status::Fail("no".into()), "<failure/>", "other vanished", "worse appeared")]
fn tests_come_and_go(#[case] status: Status, #[case] xml: &str, #[case] gone: &str, #[case] come: &str) {
    let with = with_result(status, xml);
    let name = format!("m2_mcp_wiring {X}");
    assert!(said(&with, &green()).contains(&format!("{gone} {name}")), "{:?}", said(&with, &green()));
    assert!(said(&green(), &with).contains(&format!("{come} {name}")), "{:?}", said(&green(), &with));
}

#[test]
fn scores_are_told_by_term() {
    let new = with_result(Status::Pass, "");
    let changes = said(&green(), &new);
    for what in ["Build 1", "Build 1, Test Health", "Integration, Contract Fidelity", "Aggregate"] {
        assert!(changes.contains(&format!("better score {what}")), "{what}: {changes:?}");
    }
    assert!(said(&new, &green()).contains(&"worse score Build 1, Test Health".to_owned()));
}

/// The older median is 10 ms and its p95 20 ms.
#[rstest]
#[case::within_the_spread(19.9, None)]
#[case::slower(20.1, Some(Direction::Worse))]
#[case::faster_within_the_spread(0.1, None)]
fn a_median_moves_beyond_noise(#[case] median: f64, #[case] expected: Option<Direction>) {
    let (old, new) = (with_median(10.0), with_median(median));
    assert_eq!(moved(&old.latency[0], &new.latency[0]).map(|change| change.direction), expected);
}

#[rstest]
#[case::below_a_millisecond(0.2, 0.2, 1.1, false)]
#[case::a_millisecond(0.2, 0.2, 1.2, true)]
#[case::a_fifth(100.0, 100.0, 120.0, false)]
#[case::a_third(100.0, 100.0, 134.0, true)]
#[case::much_faster(100.0, 100.0, 50.0, true)]
fn small_times_and_small_shares_are_noise(
    #[case] before: f64,
    #[case] p95: f64,
    #[case] after: f64,
    #[case] moves: bool,
) {
    let (mut old, new) = (with_median(before), with_median(after));
    old.latency[0].figures.p95_ms = p95;
    assert_eq!(moved(&old.latency[0], &new.latency[0]).is_some(), moves);
}

#[test]
fn problems_and_findings_come_and_go() {
    let bundle = Bundle::green().seal();
    std::fs::write(bundle.path("junit/stray.xml"), "<x/>").expect("written");
    let spoilt = bundle.audit();
    assert_eq!(said(&green(), &spoilt), ["worse problem not listed: junit/stray.xml"]);
    assert_eq!(said(&spoilt, &green()), ["better problem not listed: junit/stray.xml"]);
    let failed = with_result(Status::Fail("no".into()), "<failure/>");
    let is_finding = |changes: Vec<String>, start: &str| changes.iter().any(|change| change.starts_with(start));
    assert!(is_finding(said(&green(), &failed), "worse finding X-01: no"), "{:?}", said(&green(), &failed));
    assert!(is_finding(said(&failed, &green()), "better finding X-01: no"), "{:?}", said(&failed, &green()));
}

#[rstest]
#[case::more_urgent(Priority::P2, Priority::P0, Some("worse finding X-01: no"), true)]
#[case::less_urgent(Priority::P0, Priority::P2, Some("better finding X-01: no"), false)]
#[case::the_same(Priority::P2, Priority::P2, None, false)]
fn a_finding_changes_its_priority(
    #[case] was: Priority,
    #[case] is: Priority,
    #[case] expected: Option<&str>,
    #[case] worse: bool,
) {
    let with_priority = |priority| {
        let mut audit = with_result(Status::Fail("no".into()), "<failure/>");
        audit.findings.entries[0].finding.priority = priority;
        audit
    };
    let (old, new) = (with_priority(was), with_priority(is));
    assert_eq!(said(&old, &new), expected.into_iter().collect::<Vec<_>>());
    assert_eq!(Diff::between(&old, &new).is_worse(), worse);
}
