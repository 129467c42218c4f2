use std::collections::BTreeMap;

use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    audit::{
        sample::{BINARY, Bundle, SESSION, record},
        testimony::Testimony,
    },
    config::Substrate,
};

/// What is gathered of a test that observed this and ended with `status`.
fn gathered(test: &str, kind: &str, value: &Value, status: Status) -> String {
    let matrix = Matrix::load().expect("the matrix of this suite");
    let name = TestName { binary: BINARY.into(), test: test.into() };
    let mut record = record(test, Some(status.clone()));
    record.observations.insert(kind.into(), value.clone());
    let facts = Facts {
        matrix: &matrix,
        sessions: &BTreeSet::from([SESSION]),
        substrate: Substrate::Process,
        has_browser: false,
        keys: &BTreeSet::new(),
        listing: None,
        executions: &BTreeMap::new(),
        testimonies: &BTreeMap::from([(name, Testimony::Intact(Box::new(record)))]),
    };
    let mut tests = facts.judge_tests();
    tests.iter_mut().for_each(|test| test.status = status.clone());
    format!("{:?}", Observations::gather(&facts, &tests))
}

#[rstest]
#[case::calls("b1_07_mcp_tool_responses", "tool_calls", json!([{ "tool": "decompose", "case": "a", "condition": "valid", "parseable": true, "passed": true }]))]
#[case::phases("b3_01_x", "phases", json!([{ "phase_name": "architect", "passed": true, "duration_seconds": 1.0 }]))]
#[case::cost("sc_08_x", "total_cost", json!(1.5))]
#[case::gate("b3_04_x", "report", json!({ "layers": [] }))]
#[case::integration("sc_04_x", "violations", json!([]))]
#[case::spellings("x_01_x", "alternative_spellings", json!(["a"]))]
fn only_tests_that_could_be_judged_observe(#[case] test: &str, #[case] kind: &str, #[case] value: Value) {
    let nothing = format!("{:?}", Observations::default());
    let of = |status| gathered(test, kind, &value, status);
    for status in [Status::Pass, Status::Fail("no".into())] {
        assert_ne!(of(status), nothing);
    }
    for status in [Status::Broken("no".into()), Status::Untestable("docker".into()), Status::Untested("not run".into())]
    {
        assert_eq!(of(status), nothing);
    }
}

#[test]
fn a_test_that_the_runner_contradicts_earns_nothing() {
    let call = json!([{ "tool": "decompose", "case": "a", "condition": "valid", "parseable": true, "passed": true }]);
    let test = "b1_07_mcp_tool_responses";
    let bundle = |xml: &str| {
        Bundle::new().result(test, xml).record(test, Some(Status::Pass), |record| {
            record.observations.insert("tool_calls".into(), call.clone());
        })
    };
    let points = |bundle: Bundle| bundle.seal().audit().scores.integration.lines[0].points;
    assert_ne!(points(bundle("")), Some(0.0));
    assert_eq!(points(bundle("<failure/>")), Some(0.0));
}
