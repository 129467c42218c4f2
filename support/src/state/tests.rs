use std::fs;

use chrono::TimeZone;
use pretty_assertions::assert_eq;
use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
};
use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn finding(number: &str) -> Finding {
    Finding {
        finding_id: number.parse().expect("an id"),
        priority: Priority::P0,
        system: System::Build1,
        component: "contract engine".into(),
        evidence: "B1-10 is red".into(),
        recommendation: "accept 3.1".into(),
        resolution: Resolution::Fixed,
        fix_pass_number: 1,
        fix_verification: "b1_10".into(),
        created_at: Some(Utc::now()),
    }
}

/// A state in which no field has its default.
fn full() -> Run4State {
    let health = HealthResult {
        status: HealthStatus::Unhealthy,
        tools_count: 4,
        tool_names: vec!["decompose".into()],
        error: "gone".into(),
    };
    let pass = FixPass {
        pass_number: 1,
        targeted: 10,
        applied: 9,
        resolved: 8,
        failed: 2,
        regressions: 1,
        new_defects: 2,
        effectiveness: Some(0.8),
        score_before: Some(61.5),
        score_after: Some(72.25),
        cost: Some(0.75),
        seconds: Some(61.5),
    };
    let mut state = Run4State {
        completed_milestones: [1, 2, 3, 4].into(),
        milestone_artifacts: object(json!({ "m1": { "path": "x" } })),
        mcp_health: [("architect".into(), health)].into(),
        mcp_tool_results: [("decompose".into(), object(json!({ "ok": true })))].into(),
        b1_b2_wiring_passed: true,
        builder_invocation_passed: true,
        state_json_parsing_passed: true,
        config_generation_passed: true,
        b2_b3_wiring_passed: true,
        pipeline_completed: true,
        services_deployed: vec!["auth-service".into()],
        services_healthy: vec!["auth-service".into()],
        integration_report: object(json!({ "overall_health": "passed" })),
        quality_gate_report: object(json!({ "overall_verdict": "passed" })),
        defect_catalog: vec![finding("FINDING-001")],
        fix_passes: vec![pass],
        total_fix_passes: 1,
        convergence_score: 0.9,
        audit_report_path: ".run4/SUPER_TEAM_AUDIT_REPORT.md".into(),
        per_system_scores: [("build1".into(), 91.5)].into(),
        integration_score: 80.0,
        aggregate_score: 85.0,
        total_cost: 1.5,
        phase_costs: [("m4".into(), 1.5)].into(),
        ..Run4State::new()
    };
    state.begin(5, "verify");
    state.interrupt("SIGINT");
    state
}

fn loaded(directory: &TempDir) -> Run4State {
    Run4State::load(directory.path()).expect("readable").state().expect("a state")
}

#[rstest]
#[case::empty(Run4State::new())]
#[case::full(full())]
#[case::nothing_measured(Run4State { fix_passes: vec![FixPass::default()], ..full() })]
fn a_saved_state_fits_the_schema_of_the_plan(#[case] mut state: Run4State) {
    let directory = folder();
    state.save(directory.path()).expect("saved");
    let file = json_file(directory.path().join(FILE_NAME));
    let schema = json_file(crate::workspace::fixture("schemas/run4_state.schema.json"));
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");

    let errors: Vec<String> = validator.iter_errors(&file).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert!(!file.to_string().contains("null"), "absent values are left out, not null");
}

fn json_file(path: std::path::PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).expect("there")).expect("JSON")
}

#[test]
fn a_new_state_has_every_field_of_the_plan_with_its_default() {
    let mut file = serde_json::to_value(Run4State::new()).expect("JSON");
    let id = file["run_id"].take();
    let started = file["started_at"].take();
    let expected = json!({
        "run_id": null, "started_at": null, "current_milestone": 0, "current_phase": "not_started",
        "completed_milestones": [], "milestone_artifacts": {}, "mcp_health": {}, "mcp_tool_results": {},
        "b1_b2_wiring_passed": false, "builder_invocation_passed": false, "state_json_parsing_passed": false,
        "config_generation_passed": false, "b2_b3_wiring_passed": false, "pipeline_completed": false,
        "services_deployed": [], "services_healthy": [], "integration_report": {}, "quality_gate_report": {},
        "defect_catalog": [], "fix_passes": [], "total_fix_passes": 0, "convergence_score": 0.0,
        "audit_report_path": "", "per_system_scores": {}, "integration_score": 0.0, "aggregate_score": 0.0,
        "total_cost": 0.0, "phase_costs": {}, "interrupted": false, "interrupt_reason": "", "schema_version": 1,
    });
    assert_eq!(file, expected);
    let id: Uuid = id.as_str().and_then(|id| id.parse().ok()).expect("a UUID");
    assert_eq!(id.get_version_num(), 4);
    assert!(started.as_str().is_some_and(|time| time.ends_with('Z')), "{started} is UTC");
}

#[test]
fn a_minimal_file_gets_the_defaults() {
    let directory = folder();
    let id = Uuid::new_v4();
    let minimal = json!({ "run_id": id, "schema_version": 1, "current_milestone": 2, "current_phase": "tools" });
    fs::write(directory.path().join(FILE_NAME), minimal.to_string()).expect("written");
    let mut expected = Run4State { run_id: id, started_at: None, ..Run4State::new() };
    expected.begin(2, "tools");
    assert_eq!(loaded(&directory), expected);
}

#[test]
fn a_save_makes_the_folder_and_stamps_the_time() {
    let directory = folder();
    let inside = directory.path().join("deep/.run4");
    let mut state = full();
    let before = Utc::now();
    state.save(&inside).expect("saved");
    assert!(state.updated_at.is_some_and(|saved| saved >= before));
    assert_eq!(Run4State::load(&inside).expect("readable").state(), Some(state));
    assert!(!inside.join(TEMPORARY_NAME).exists());
}

#[test]
fn an_absent_file_or_folder_is_missing_and_no_error() {
    let directory = folder();
    assert_eq!(Run4State::load(directory.path()).expect("readable"), Loaded::Missing);
    assert_eq!(Run4State::load(&directory.path().join("nowhere")).expect("readable"), Loaded::Missing);
}

#[test]
fn a_leftover_temporary_file_is_ignored() {
    let directory = folder();
    fs::write(directory.path().join(TEMPORARY_NAME), "{\"run_id\":").expect("written");
    assert_eq!(Run4State::load(directory.path()).expect("readable"), Loaded::Missing);
    let mut state = full();
    state.save(directory.path()).expect("saved over it");
    assert_eq!(loaded(&directory), state);
}

#[rstest]
#[case::empty("", "not JSON: EOF while parsing a value at line 1 column 0")]
#[case::garbled("{oops", "not JSON: key must be a string at line 1 column 2")]
#[case::not_utf8(b"\xff\xfe".as_slice(), "not JSON: expected value at line 1 column 1")]
#[case::list("[1]", "not a JSON object")]
#[case::null("null", "not a JSON object")]
#[case::no_version("{}", "schema_version is null, expected 1")]
#[case::next_version(r#"{"schema_version": 2}"#, "schema_version is 2, expected 1")]
#[case::version_as_text(r#"{"schema_version": "1"}"#, "schema_version is \"1\", expected 1")]
#[case::no_run_id(r#"{"schema_version": 1}"#, "not a state: missing field `run_id` at line 1 column 21")]
fn a_file_that_is_no_state_is_set_aside(#[case] text: impl AsRef<[u8]>, #[case] expected: &str) {
    let directory = folder();
    let path = directory.path().join(FILE_NAME);
    for number in 1..=2 {
        fs::write(&path, &text).expect("written");
        let found = Run4State::load(directory.path()).expect("readable");
        let Loaded::SetAside { kept_at, reason } = found else { panic!("{found:?} was accepted") };
        assert_eq!(reason.to_string(), expected);
        assert_eq!(kept_at, directory.path().join(format!("{FILE_NAME}.unusable-{number}")));
        assert_eq!(fs::read(&kept_at).expect("kept"), text.as_ref());
        assert!(!path.exists());
    }
}

#[rstest]
#[case("/current_milestone", json!(7))]
#[case("/current_milestone", json!(-1))]
#[case("/completed_milestones", json!([0]))]
#[case("/run_id", json!(""))]
#[case("/started_at", json!("yesterday"))]
#[case("/mcp_health/architect/error", json!(null))]
#[case("/mcp_health/architect/status", json!("degraded"))]
#[case("/defect_catalog/0/finding_id", json!("FINDING-1"))]
#[case("/defect_catalog/0/finding_id", json!("FINDING-+12"))]
#[case("/defect_catalog/0/priority", json!("P4"))]
#[case("/defect_catalog/0/resolution", json!("fixed"))]
#[case("/fix_passes", json!({}))]
#[case("/convergence_score", json!(null))]
fn a_field_of_the_wrong_shape_sets_the_file_aside(#[case] pointer: &str, #[case] value: Value) {
    let directory = folder();
    let mut file = serde_json::to_value(full()).expect("JSON");
    *file.pointer_mut(pointer).expect("a field") = value;
    fs::write(directory.path().join(FILE_NAME), file.to_string()).expect("written");
    let found = Run4State::load(directory.path()).expect("readable");
    assert!(matches!(&found, Loaded::SetAside { reason: Unusable::WrongShape(_), .. }), "{found:?}");
}

#[test]
fn a_file_cut_off_anywhere_is_set_aside() {
    let directory = folder();
    let path = directory.path().join(FILE_NAME);
    let mut state = full();
    state.save(directory.path()).expect("saved");
    let whole = fs::read(&path).expect("there");
    // Only the newline at the end may be missing.
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).expect("written");
        match Run4State::load(directory.path()).expect("readable") {
            Loaded::SetAside { kept_at, .. } => fs::remove_file(kept_at).expect("removed"),
            other => panic!("{other:?} from the first {length} bytes"),
        }
    }
}

#[rstest]
#[case::score(|state: &mut Run4State| state.aggregate_score = f64::NAN)]
#[case::cost(|state: &mut Run4State| state.total_cost = f64::INFINITY)]
#[case::milestone(|state: &mut Run4State| state.current_milestone = 7)]
#[case::completed(|state: &mut Run4State| state.complete(0))]
fn a_state_that_could_not_be_read_back_is_not_written(#[case] spoil: fn(&mut Run4State)) {
    let directory = folder();
    let mut state = full();
    state.save(directory.path()).expect("saved");
    let good = loaded(&directory);
    spoil(&mut state);
    let error = state.save(directory.path()).expect_err("refused");
    assert!(matches!(error, StateError::NotStorable { .. }), "{error}");
    assert_eq!(loaded(&directory), good);
}

#[test]
fn a_folder_in_the_place_of_the_file_is_an_error_that_names_it() {
    let directory = folder();
    let path = directory.path().join(FILE_NAME);
    fs::create_dir(&path).expect("made");
    for error in [
        Run4State::load(directory.path()).expect_err("not a file").to_string(),
        full().save(directory.path()).expect_err("not a file").to_string(),
    ] {
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

#[rstest]
#[case::fresh(&[], 0, Some(1))]
#[case::in_order(&[1, 2], 3, Some(3))]
#[case::a_gap_is_not_skipped(&[1, 3, 4], 5, Some(2))]
#[case::current_is_done(&[1, 2], 2, Some(3))]
#[case::twice(&[1, 1, 2], 2, Some(3))]
#[case::all(&[6, 5, 4, 3, 2, 1], 6, None)]
fn a_run_goes_on_at_the_first_milestone_not_completed(
    #[case] completed: &[u8],
    #[case] current: u8,
    #[case] expected: Option<u8>,
) {
    let mut state = Run4State::new();
    completed.iter().for_each(|milestone| state.complete(*milestone));
    state.begin(current, "x");
    assert_eq!(state.first_open_milestone(), expected);
}

#[test]
fn a_failure_is_recorded_and_is_no_interruption() {
    let mut state = Run4State::new();
    state.begin(4, "deploy");
    state.fail("order-service never answered");
    let recorded = (state.current_milestone, state.current_phase.as_str(), state.interrupted);
    assert_eq!(recorded, (4, "deploy", false));
    assert_eq!(state.interrupt_reason, "order-service never answered");
    state.begin(4, "deploy");
    assert_eq!(state.interrupt_reason, "", "a new attempt starts clean");
}

#[rstest]
#[case::none(&[], "FINDING-001")]
#[case::after_the_highest(&["FINDING-002", "FINDING-009", "FINDING-004"], "FINDING-010")]
#[case::three_digits(&["FINDING-099"], "FINDING-100")]
fn the_next_finding_follows_the_highest(#[case] present: &[&str], #[case] expected: &str) {
    let state = Run4State { defect_catalog: present.iter().map(|id| finding(id)).collect(), ..Run4State::new() };
    assert_eq!(
        FindingId::after(state.defect_catalog.iter().map(|finding| finding.finding_id))
            .map(|id| id.to_string())
            .as_deref(),
        Ok(expected)
    );
}

#[test]
fn a_full_catalogue_is_an_error() {
    let state = Run4State { defect_catalog: vec![finding("FINDING-999")], ..Run4State::new() };
    assert_eq!(FindingId::after(state.defect_catalog.iter().map(|finding| finding.finding_id)), Err(CatalogFull));
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (0..4_000_000_000_i64, 0..1_000_000_000_u32)
        .prop_map(|(seconds, nanos)| Utc.timestamp_opt(seconds, nanos).single().expect("in range"))
}

/// Figures with two decimals, which JSON keeps to the bit.
fn figure() -> impl Strategy<Value = f64> {
    (0..1_000_000_u32).prop_map(|hundredths| f64::from(hundredths) / 100.0)
}

prop_compose! {
    fn any_finding()(
        number in 0..=999_u16,
        priority in prop::sample::select(vec![Priority::P0, Priority::P1, Priority::P2, Priority::P3]),
        system in prop::sample::select(vec![System::Build1, System::Build2, System::Build3, System::Integration]),
        resolution in prop::sample::select(
            vec![Resolution::Undecided, Resolution::Fixed, Resolution::Open, Resolution::WontFix]
        ),
        (component, evidence) in any::<(String, String)>(),
        created_at in option::of(time()),
    ) -> Finding {
        let finding_id = format!("FINDING-{number:03}").parse().expect("an id");
        Finding { finding_id, priority, system, component, evidence, resolution, created_at, ..finding("FINDING-001") }
    }
}

prop_compose! {
    fn any_state()(
        (current_milestone, current_phase) in (0..=6_u8, any::<String>()),
        completed_milestones in btree_set(1..=6_u8, 0..6),
        (started_at, interrupted, interrupt_reason) in (option::of(time()), any::<bool>(), any::<String>()),
        services_deployed in vec(any::<String>(), 0..3),
        defect_catalog in vec(any_finding(), 0..4),
        effectiveness in vec(option::of(figure()), 0..3),
        phase_costs in btree_map(any::<String>(), figure(), 0..3),
        aggregate_score in figure(),
    ) -> Run4State {
        let passes = effectiveness.into_iter().map(|effectiveness| FixPass { effectiveness, ..FixPass::default() });
        Run4State {
            current_milestone, current_phase, completed_milestones, started_at, interrupted, interrupt_reason,
            services_deployed, defect_catalog, phase_costs, aggregate_score,
            fix_passes: passes.collect(),
            ..full()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_state_survives_a_save_and_a_load(mut state in any_state()) {
        let directory = folder();
        state.save(directory.path()).expect("saved");
        prop_assert_eq!(loaded(&directory), state);
    }

    #[test]
    fn any_bytes_load_without_a_panic_and_are_never_lost(bytes in vec(any::<u8>(), 0..200)) {
        let directory = folder();
        fs::write(directory.path().join(FILE_NAME), &bytes).expect("written");
        match Run4State::load(directory.path()).expect("readable") {
            Loaded::SetAside { kept_at, .. } => prop_assert_eq!(fs::read(kept_at).expect("kept"), bytes),
            other => prop_assert!(false, "{:?} from {:?}", other, bytes),
        }
    }
}
