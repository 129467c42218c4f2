use std::{fs::File, os::unix::process::ExitStatusExt};

use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;

use super::*;

fn good() -> Value {
    json!({
        "run_id": "1", "summary": { "success": true, "test_passed": 9, "test_total": 10, "convergence_ratio": 0.9 },
        "total_cost": 0.5, "health": "partial", "completed_phases": ["build"],
    })
}

/// The result of a run that ended with `end` and left `state` in the place of STATE.json.
fn concluded(end: &End, stale: bool, state: Option<&str>, stderr: &str) -> BuilderResult {
    let folder = tempfile::tempdir().expect("a folder");
    if let Some(text) = state {
        crate::atomic::write(&folder.path().join(STATE_FILE), text).expect("written");
    }
    let log = folder.path().join("log");
    std::fs::write(&log, stderr).expect("written");
    let mut result = BuilderResult {
        service_id: "orders".into(),
        success: false,
        cost: None,
        cost_before: None,
        error: None,
        output_dir: folder.path().to_path_buf(),
        test_passed: None,
        test_total: None,
        convergence_ratio: None,
        health: None,
        completed_phases: None,
        exit_code: None,
        duration_s: 0.0,
        stdout: None,
        stderr: Some(log),
        left_behind: Vec::new(),
    };
    result.conclude(end, stale, parse_builder_state(folder.path()));
    result
}

fn exit(code: i32) -> End {
    End::Exited(ExitStatus::from_raw(code << 8))
}

#[test]
fn a_good_run_gives_all_figures() {
    let result = concluded(&exit(0), false, Some(&good().to_string()), "");
    assert!(result.success && result.error.is_none(), "{result:?}");
    assert_eq!((result.cost, result.test_passed, result.test_total), (Some(0.5), Some(9), Some(10)));
    assert_eq!((result.convergence_ratio, result.health), (Some(0.9), Some(BuilderHealth::Partial)));
    assert_eq!(result.completed_phases, Some(vec!["build".to_owned()]));
    assert_eq!(result.exit_code, Some(0));
}

#[rstest]
#[case::exit_code(exit(1), "INFO a\nERROR no database\n\n", "exit status: 1: ERROR no database")]
#[case::silent(exit(2), "", "exit status: 2: it said nothing")]
#[case::signal(End::Exited(ExitStatus::from_raw(9)), "", "signal: 9 (SIGKILL): it said nothing")]
#[case::timeout(End::TimedOut(Duration::from_secs(90)), "", "timeout after 90 s")]
#[case::short_timeout(End::TimedOut(Duration::from_millis(1500)), "", "timeout after 1.5 s")]
#[case::not_started(End::NotStarted("cannot start it".into()), "", "cannot start it")]
fn how_it_ended_comes_before_what_it_left(#[case] end: End, #[case] stderr: &str, #[case] error: &str) {
    let result = concluded(&end, false, Some(&good().to_string()), stderr);
    assert_eq!((result.success, result.error.as_deref()), (false, Some(error)));
}

#[test]
fn figures_of_an_earlier_run_are_not_given() {
    let result = concluded(&exit(0), true, Some(&good().to_string()), "");
    assert_eq!((result.success, result.error.as_deref()), (false, Some("stale STATE.json")));
    assert_eq!((result.cost, result.test_total, result.health, result.completed_phases), (None, None, None, None));
}

#[rstest]
#[case::no_file(None, "No such file")]
#[case::truncated(Some("{\"summary\""), "not JSON")]
#[case::no_summary(Some("{\"total_cost\": 0}"), "summary is missing")]
fn a_bad_state_is_no_success(#[case] state: Option<&str>, #[case] part: &str) {
    let result = concluded(&exit(0), false, state, "");
    assert!(!result.success && result.error.as_ref().is_some_and(|error| error.contains(part)), "{result:?}");
}

#[rstest]
#[case::says_no(false, "failed", "summary.success is false although it ended with 0")]
#[case::contradiction(true, "failed", "summary.success is true although health is failed")]
#[case::other_contradiction(false, "passed", "summary.success is false although health is passed")]
fn a_state_that_says_no_is_no_success(#[case] success: bool, #[case] health: &str, #[case] error: &str) {
    let mut state = good();
    state["summary"]["success"] = json!(success);
    state["health"] = json!(health);
    let result = concluded(&exit(0), false, Some(&state.to_string()), "");
    assert_eq!((result.success, result.error.as_deref()), (false, Some(error)));
}

#[rstest]
#[case::same_id_written_again("1", true)]
#[case::new_id("2", true)]
#[case::untouched("1", false)]
fn a_state_is_new_by_its_id_or_its_time(#[case] id: &str, #[case] written: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(STATE_FILE);
    crate::atomic::write(&path, good().to_string()).expect("written");
    let earlier = SystemTime::now() - Duration::from_secs(60);
    File::options().append(true).open(&path).and_then(|file| file.set_modified(earlier)).expect("set");
    let before = Stamp::of(folder.path());
    if written {
        let mut state = good();
        state["run_id"] = json!(id);
        crate::atomic::write(&path, state.to_string()).expect("written");
    }
    assert_eq!(Stamp::of(folder.path()) != before, written);
}
