use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

use super::*;

fn complete() -> Value {
    json!({
        "summary": { "success": true, "test_passed": 41, "test_total": 42, "convergence_ratio": 0.9 },
        "total_cost": 1.25,
        "health": "passed",
        "completed_phases": ["plan", "code"],
        "run_id": "anything else is ignored",
    })
}

/// What the parser makes of `text` in the place of a STATE.json.
fn parsed(text: &str) -> BuilderState {
    let output = TempDir::new().expect("a folder");
    let path = output.path().join(STATE_FILE);
    fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
    fs::write(&path, text).expect("written");
    let mut state = parse_builder_state(output.path());
    let here = format!("{}: ", path.display());
    state.error = state.error.map(|error| error.strip_prefix(&here).expect("the error names the file").to_owned());
    state
}

/// As [`parsed`], for the complete file with one value replaced or, by none, removed.
fn parsed_with(pointer: &str, value: Option<Value>) -> BuilderState {
    let mut file = complete();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let fields = file.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    match value {
        Some(value) => fields.insert(key.into(), value),
        None => fields.remove(key),
    };
    parsed(&file.to_string())
}

#[test]
fn a_complete_file_gives_seven_fields_and_no_error() {
    let expected = BuilderState {
        success: Some(true),
        test_passed: Some(41),
        test_total: Some(42),
        convergence_ratio: Some(0.9),
        total_cost: Some(1.25),
        health: Some(BuilderHealth::Passed),
        completed_phases: Some(vec!["plan".into(), "code".into()]),
        error: None,
    };
    assert_eq!(parsed(&complete().to_string()), expected);
}

#[rstest]
#[case::success_as_number("/summary/success", json!(1), "summary.success is 1, expected true or false")]
#[case::success_as_text("/summary/success", json!("true"), "summary.success is \"true\", expected true or false")]
#[case::bool_is_no_int("/summary/test_passed", json!(true), "summary.test_passed is true, expected a count")]
#[case::float_is_no_int("/summary/test_total", json!(42.0), "summary.test_total is 42.0, expected a count")]
#[case::negative_count("/summary/test_total", json!(-1), "summary.test_total is -1, expected a count")]
#[case::text_is_no_int("/summary/test_total", json!("42"), "summary.test_total is \"42\", expected a count")]
#[case::bool_is_no_float("/total_cost", json!(false), "total_cost is false, expected a number")]
#[case::text_is_no_float("/total_cost", json!("1.25"), "total_cost is \"1.25\", expected a number")]
#[case::null_is_no_float("/total_cost", json!(null), "total_cost is null, expected a number")]
#[case::ratio_above_one("/summary/convergence_ratio", json!(1.1), "summary.convergence_ratio is 1.1, expected a number, 0 to 1")]
#[case::other_health("/health", json!("green"), "health is \"green\", expected passed, partial, failed or unknown")]
#[case::phases_as_text("/completed_phases", json!("plan"), "completed_phases is \"plan\", expected a list of text")]
#[case::phase_as_number("/completed_phases", json!(["plan", 2]), "completed_phases is [\"plan\",2], expected a list of text")]
fn a_value_of_the_wrong_type_is_named_and_not_used(#[case] pointer: &str, #[case] value: Value, #[case] error: &str) {
    let state = parsed_with(pointer, Some(value));
    assert_eq!(state.error.as_deref(), Some(error));
    let json = serde_json::to_value(&state).expect("JSON");
    let field = pointer.rsplit('/').next().expect("a name");
    assert_eq!(json[field], Value::Null, "the field that is wrong has no value");
    let given = json.as_object().expect("fields").values().filter(|value| !value.is_null()).count();
    assert_eq!(given, 6 + 1, "the six others are read as they are, plus the error");
}

#[rstest]
#[case("/summary/success", "summary.success is missing")]
#[case("/summary/test_passed", "summary.test_passed is missing")]
#[case("/summary/test_total", "summary.test_total is missing")]
#[case("/summary/convergence_ratio", "summary.convergence_ratio is missing")]
#[case("/total_cost", "total_cost is missing")]
#[case("/health", "health is missing")]
#[case("/completed_phases", "completed_phases is missing")]
fn a_missing_field_is_named(#[case] pointer: &str, #[case] error: &str) {
    assert_eq!(parsed_with(pointer, None).error.as_deref(), Some(error));
}

#[test]
fn a_missing_summary_is_an_error_and_no_failed_run() {
    let state = parsed_with("/summary", None);
    assert_eq!(state.error.as_deref(), Some("summary is missing"));
    assert_eq!((state.success, state.test_passed, state.test_total, state.convergence_ratio), (None, None, None, None));
    assert_eq!(state.total_cost, Some(1.25));
}

#[rstest]
#[case::int_for_float("/total_cost", json!(3))]
#[case::int_ratio("/summary/convergence_ratio", json!(1))]
#[case::no_phases("/completed_phases", json!([]))]
fn a_fitting_value_is_accepted(#[case] pointer: &str, #[case] value: Value) {
    assert_eq!(parsed_with(pointer, Some(value)).error, None);
}

#[rstest]
#[case::alternative(None, Some("partial"), Some(BuilderHealth::Partial))]
#[case::health_first(Some("failed"), Some("passed"), Some(BuilderHealth::Failed))]
#[case::wrong_health_is_not_replaced(Some("green"), Some("passed"), None)]
fn convergence_health_stands_in_for_a_missing_health(
    #[case] health: Option<&str>,
    #[case] alternative: Option<&str>,
    #[case] expected: Option<BuilderHealth>,
) {
    let mut file = complete();
    let fields = file.as_object_mut().expect("an object");
    fields.remove("health");
    for (key, value) in [("health", health), ("convergence_health", alternative)] {
        fields.extend(value.map(|value| (key.to_owned(), json!(value))));
    }
    assert_eq!(parsed(&file.to_string()).health, expected);
}

#[rstest]
#[case::empty("", "not JSON: EOF while parsing a value at line 1 column 0")]
#[case::truncated("{\"summary\": {", "not JSON: EOF while parsing an object at line 1 column 13")]
#[case::list("[]", "not a JSON object")]
#[case::nothing_in_it(
    "{}",
    "summary is missing; total_cost is missing; health is missing; completed_phases is missing"
)]
fn a_malformed_file_gives_a_reason_and_no_values(#[case] text: &str, #[case] error: &str) {
    assert_eq!(parsed(text), BuilderState { error: Some(error.into()), ..BuilderState::default() });
}

#[test]
fn an_absent_file_is_named_even_when_one_lies_elsewhere() {
    let output = TempDir::new().expect("a folder");
    fs::write(output.path().join("STATE.json"), complete().to_string()).expect("written");
    let state = parse_builder_state(output.path());
    let error = state.error.clone().expect("an error");
    assert!(error.contains(".agent-team/STATE.json: No such file"), "{error}");
    assert_eq!(state, BuilderState { error: Some(error), ..BuilderState::default() });
}

#[rstest]
#[case(true, "passed", None)]
#[case(true, "partial", None)]
#[case(false, "failed", None)]
#[case(false, "unknown", None)]
#[case(true, "failed", Some("summary.success is true although health is failed"))]
#[case(true, "unknown", Some("summary.success is true although health is unknown"))]
#[case(false, "partial", Some("summary.success is false although health is partial"))]
fn success_and_health_must_agree(#[case] success: bool, #[case] health: &str, #[case] expected: Option<&str>) {
    let mut file = complete();
    file["summary"]["success"] = json!(success);
    file["health"] = json!(health);
    assert_eq!(parsed(&file.to_string()).contradiction().as_deref(), expected);
}
