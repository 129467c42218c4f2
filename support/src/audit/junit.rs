//! What the test runner says of each test: its JUnit files, read with their traps
//! (the file of an earlier run stays when the runner is killed; a flaky test reads as passed).

use std::{collections::BTreeMap, fmt, path::Path};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{
    bundle::{Manifest, Run},
    name::TestName,
    problem::Problem,
};

/// How the runner's suites of setup scripts begin.
const SETUP_SCRIPT: &str = "@setup-script:";

/// One test as the runner saw it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Execution {
    /// The run it was part of.
    pub(super) run_id: String,
    /// How long it took, in seconds.
    pub(super) seconds: Option<f64>,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// How many attempts failed before the last one.
    pub(super) retries: usize,
}

/// How a test ended, for the runner. Ordered from the least telling to the most: of several
/// results of one test the greatest counts, so that no failure hides behind a pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Not executed.
    Skipped,
    /// Executed once, successfully.
    Passed,
    /// Passed after it had failed, this many times.
    Flaky(usize),
    /// Failed, with the runner's words.
    Failed(String),
    /// Passed, but left a process holding its output.
    Leaked,
    /// Ended by a signal.
    Aborted(String),
    /// Ended because it took too long.
    TimedOut,
}

impl Outcome {
    fn of(status: &TestCaseStatus) -> Self {
        match status {
            TestCaseStatus::Skipped { .. } => Self::Skipped,
            TestCaseStatus::Success { flaky_runs } if flaky_runs.is_empty() => Self::Passed,
            TestCaseStatus::Success { flaky_runs } => Self::Flaky(flaky_runs.len()),
            TestCaseStatus::NonSuccess { kind, message, ty, .. } => {
                let ty = ty.as_ref().map_or("", |ty| ty.as_str());
                let text = message.as_ref().map_or(ty, |message| message.as_str()).trim().to_owned();
                match kind {
                    _ if ty.contains("timeout") => Self::TimedOut,
                    _ if ty.contains("abort") => Self::Aborted(text),
                    NonSuccessKind::Error if ty.contains("leaked") => Self::Leaked,
                    NonSuccessKind::Failure | NonSuccessKind::Error => Self::Failed(text),
                }
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped => formatter.write_str("skipped"),
            Self::Passed => formatter.write_str("passed"),
            Self::Flaky(times) => write!(formatter, "flaky: failed {times} times before it passed"),
            Self::Failed(message) if message.is_empty() => formatter.write_str("failed without a message"),
            Self::Failed(message) => formatter.write_str(message),
            Self::Leaked => formatter.write_str("left a process that holds its output"),
            Self::Aborted(message) => write!(formatter, "aborted: {message}"),
            Self::TimedOut => formatter.write_str("ended by the time limit"),
        }
    }
}

/// Reads the results of every run of `manifest`; what cannot be trusted is a problem.
pub(super) fn read_all(manifest: &Manifest, bundle: &Path) -> (BTreeMap<TestName, Execution>, Vec<Problem>) {
    let mut executions = BTreeMap::new();
    let mut problems = Vec::new();
    for run in &manifest.runs {
        match manifest.read(bundle, &run.junit).and_then(|bytes| parse(&String::from_utf8_lossy(&bytes), run)) {
            Ok((found, failures)) => {
                problems.extend(failures);
                for (name, execution) in found {
                    keep_most_telling(&mut executions, name, execution);
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    (executions, problems)
}

type Parsed = (Vec<(TestName, Execution)>, Vec<Problem>);

/// The tests of one file, and its setup scripts that failed.
fn parse(text: &str, run: &Run) -> Result<Parsed, Problem> {
    let path = || run.junit.clone();
    let report = Report::deserialize_from_str(text)
        .map_err(|error| Problem::Unreadable { path: path(), reason: error.to_string() })?;
    let found = report.uuid.map_or_else(|| "none".to_owned(), |uuid| uuid.to_string());
    if !found.eq_ignore_ascii_case(&run.run_id) {
        return Err(Problem::Stale { path: path(), expected: run.run_id.clone(), found });
    }
    let mut tests = Vec::new();
    let mut problems = Vec::new();
    for suite in &report.test_suites {
        match suite.name.as_str().strip_prefix(SETUP_SCRIPT) {
            Some(script) => problems.extend(setup_failure(script, suite)),
            None => tests.extend(suite.test_cases.iter().map(|case| test(suite, case, run))),
        }
    }
    Ok((tests, problems))
}

fn setup_failure(script: &str, suite: &TestSuite) -> Option<Problem> {
    let outcomes = suite.test_cases.iter().map(|case| Outcome::of(&case.status));
    outcomes
        .filter(|outcome| *outcome != Outcome::Passed)
        .map(|outcome| Problem::SetupFailed { name: script.to_owned(), reason: outcome.to_string() })
        .next()
}

fn test(suite: &TestSuite, case: &TestCase, run: &Run) -> (TestName, Execution) {
    let binary = case.classname.as_ref().unwrap_or(&suite.name);
    let execution = Execution {
        run_id: run.run_id.clone(),
        seconds: case.time.map(|time| time.as_secs_f64()),
        outcome: Outcome::of(&case.status),
        retries: retries(&case.status),
    };
    (TestName::of_runner(binary.as_str(), case.name.as_str()), execution)
}

fn retries(status: &TestCaseStatus) -> usize {
    match status {
        TestCaseStatus::Success { flaky_runs } => flaky_runs.len(),
        TestCaseStatus::NonSuccess { reruns, .. } => reruns.runs.len(),
        TestCaseStatus::Skipped { .. } => 0,
    }
}

fn keep_most_telling(executions: &mut BTreeMap<TestName, Execution>, name: TestName, execution: Execution) {
    match executions.get(&name) {
        Some(known) if known.outcome >= execution.outcome => (),
        _ => drop(executions.insert(name, execution)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    const RUN: &str = "9b18b3b1-00bd-4f69-a569-bc48e6cead07";

    fn run() -> Run {
        Run { milestone: Some(2), run_id: RUN.into(), junit: "junit/m2.xml".into(), exit_code: Some(0), seconds: 1.0 }
    }

    fn file(body: &str) -> String {
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="suite" tests="1" failures="0" errors="0" uuid="{RUN}">{body}</testsuites>"#
        )
    }

    fn suite(name: &str, case: &str) -> String {
        format!(
            r#"<testsuite name="{name}" tests="1" skipped="0" errors="0" failures="0">
<testcase name="b1_09_x [B1-09]" classname="{name}" time="0.250">{case}</testcase></testsuite>"#
        )
    }

    #[rstest]
    #[case::passed("", Outcome::Passed, 0)]
    #[case::skipped(r#"<skipped message="Skipped: test does not match the run-ignored option"/>"#, Outcome::Skipped, 0)]
    #[case::failed(
        r#"<failure type="test failure with exit code 101" message="FAIL: no name">text</failure>"#,
        Outcome::Failed("FAIL: no name".into()),
        0
    )]
    #[case::timeout(r#"<failure type="test timeout"/>"#, Outcome::TimedOut, 0)]
    #[case::abort(
        r#"<failure type="test abort" message="process aborted with signal 2 (SIGINT)"/>"#,
        Outcome::Aborted("process aborted with signal 2 (SIGINT)".into()),
        0
    )]
    #[case::leak(
        r#"<error type="test exited with code 0, but leaked handles so was marked failed"/>"#,
        Outcome::Leaked,
        0
    )]
    #[case::flaky(r#"<flakyFailure type="test failure" message="first"/>"#, Outcome::Flaky(1), 1)]
    #[case::retried(
        r#"<failure type="test failure" message="last"/><rerunFailure type="test failure" message="first"/>"#,
        Outcome::Failed("last".into()),
        1
    )]
    fn every_kind_of_result_is_told_apart(#[case] case: &str, #[case] outcome: Outcome, #[case] retries: usize) {
        let (tests, problems) = parse(&file(&suite("run4::m2_mcp_wiring", case)), &run()).expect("readable");
        assert_eq!(problems, []);
        let (name, execution) = tests.into_iter().next().expect("one test");
        assert_eq!(name.to_string(), "m2_mcp_wiring b1_09_x");
        assert_eq!(execution, Execution { run_id: RUN.into(), seconds: Some(0.25), outcome, retries });
    }

    #[test]
    fn a_failed_setup_script_is_a_problem_and_no_test() {
        let case = r#"<failure type="exit code 2" message="no toolbox"/>"#;
        let (tests, problems) = parse(&file(&suite("@setup-script:session", case)), &run()).expect("readable");
        assert_eq!(tests, []);
        assert_eq!(problems, [Problem::SetupFailed { name: "session".into(), reason: "no toolbox".into() }]);
    }

    #[test]
    fn the_file_of_another_run_is_refused() {
        let earlier = file(&suite("run4::m2_mcp_wiring", "")).replace("9b18", "0000");
        let problem = parse(&earlier, &run()).expect_err("stale");
        assert!(matches!(&problem, Problem::Stale { found, .. } if found.starts_with("0000")), "{problem}");
    }

    #[test]
    fn a_file_without_a_run_is_refused() {
        let anonymous = file("").replace(&format!(r#" uuid="{RUN}""#), "");
        assert!(matches!(parse(&anonymous, &run()), Err(Problem::Stale { .. })));
    }

    #[test]
    fn a_truncated_file_is_a_problem() {
        let whole = file(&suite("run4::m2_mcp_wiring", ""));
        assert!(matches!(parse(&whole[..whole.len() / 2], &run()), Err(Problem::Unreadable { .. })));
    }

    #[rstest]
    #[case::executed_counts(Outcome::Skipped, Outcome::Passed, Outcome::Passed)]
    #[case::failure_is_not_hidden(Outcome::Failed("x".into()), Outcome::Passed, Outcome::Failed("x".into()))]
    #[case::nor_a_timeout(Outcome::Passed, Outcome::TimedOut, Outcome::TimedOut)]
    fn of_several_results_the_most_telling_counts(
        #[case] first: Outcome,
        #[case] second: Outcome,
        #[case] kept: Outcome,
    ) {
        let name = TestName::of_runner("run4::m2", "t");
        let mut executions = BTreeMap::new();
        for outcome in [first, second] {
            let execution = Execution { run_id: RUN.into(), seconds: None, outcome, retries: 0 };
            keep_most_telling(&mut executions, name.clone(), execution);
        }
        assert_eq!(executions[&name].outcome, kept);
    }
}
