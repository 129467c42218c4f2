use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;
use crate::{audit::sample::Bundle, verdict::Status};

const RECORD: &str = "evidence/m2_mcp_wiring/x_01_y.json";

fn failed() -> Audit {
    Bundle::green()
        .result("x_01_y", "<failure/>")
        .record("x_01_y", Some(Status::Fail("no".into())), |_| ())
        .seal()
        .audit()
}

fn results(log: &Value) -> Vec<Value> {
    log["runs"][0]["results"].as_array().cloned().unwrap_or_default()
}

/// The result of the rule `id`.
fn result_of(log: &Value, id: &str) -> Value {
    results(log).into_iter().find(|result| result["ruleId"] == id).expect("there is one")
}

#[test]
fn a_failing_id_is_a_result_at_its_record() {
    let log = sarif(&failed());
    let result = result_of(&log, "X-01");
    assert_eq!(result["level"], "error");
    assert_eq!(result["message"]["text"], "no");
    let place = &result["locations"][0]["physicalLocation"]["artifactLocation"];
    assert_eq!(*place, json!({ "uri": RECORD, "uriBaseId": "BUNDLE" }));
}

#[test]
fn a_finding_with_a_line_is_a_result_there() {
    let mut audit = failed();
    let entry = audit.findings.entries.iter_mut().find(|entry| entry.code == "X-01").expect("a finding");
    (entry.file, entry.line, entry.finding.priority) = ("auth service/main.py".into(), 7, Priority::P2);
    let result = result_of(&sarif(&audit), "X-01");
    assert_eq!(result["level"], "warning");
    let place = json!({
        "artifactLocation": { "uri": "auth%20service/main.py", "uriBaseId": "SYSTEM" },
        "region": { "startLine": 7 },
    });
    assert_eq!(result["locations"][0]["physicalLocation"], place);
}

#[test]
fn what_speaks_against_the_bundle_is_a_result() {
    let bundle = Bundle::green().seal();
    std::fs::write(bundle.path("junit/stray.xml"), "<x/>").expect("written");
    let result = result_of(&sarif(&bundle.audit()), "bundle");
    assert_eq!(result["message"]["text"], "not listed: junit/stray.xml");
}

#[test]
fn what_was_fixed_is_no_result() {
    let mut audit = failed();
    let before = results(&sarif(&audit)).len();
    let entry = audit.findings.entries.iter_mut().find(|entry| entry.code == "X-01").expect("a finding");
    entry.finding.resolution = crate::state::Resolution::Fixed;
    assert_eq!(results(&sarif(&audit)).len(), before - 1);
}

/// The rules of SARIF 2.1.0 that its schema cannot say, and those of it that matter here.
#[rstest]
#[case::nothing(Bundle::new().seal().audit())]
#[case::green(Bundle::green().seal().audit())]
#[case::failed(failed())]
fn every_log_has_the_shape_of_sarif(#[case] audit: Audit) {
    let log = sarif(&audit);
    assert_eq!((log["version"].as_str(), log["runs"].as_array().map(Vec::len)), (Some("2.1.0"), Some(1)));
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let ids: BTreeSet<_> = rules.iter().map(|rule| rule["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), rules.len(), "a rule stands there once");
    for result in results(&log) {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("a small one");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().expect("a level")), "{result}");
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{result}");
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"];
        let base = place["uriBaseId"].as_str().expect("a base");
        assert!(run["originalUriBaseIds"][base].is_object(), "{base}");
        assert!(place["uri"].as_str().is_some_and(|uri| uri.is_ascii() && !uri.contains(' ')), "{place}");
        assert!(result["partialFingerprints"]["cause/v1"].is_string(), "{result}");
    }
}
