use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::audit::sample::{self, BINARY, RUN, SESSION, matrix};

const JUDGED: &str = "b1_07_mcp_tool_responses";

fn name(test: &str) -> TestName {
    TestName { binary: BINARY.into(), test: test.into() }
}

fn execution(outcome: Outcome) -> Execution {
    Execution { run_id: RUN.into(), seconds: Some(1.0), outcome, retries: 0 }
}

fn intact(test: &str, verdict: Option<Status>, change: impl FnOnce(&mut Record)) -> Testimony {
    let mut record = sample::record(test, verdict);
    change(&mut record);
    Testimony::Intact(Box::new(record))
}

fn pass(test: &str) -> Testimony {
    intact(test, Some(Status::Pass), |_| ())
}

/// The world of one test; the system has everything unless `keys` says otherwise.
struct World {
    executions: BTreeMap<TestName, Execution>,
    testimonies: BTreeMap<TestName, Testimony>,
    listing: Option<Listing>,
    keys: BTreeSet<String>,
    substrate: Substrate,
    has_browser: bool,
}

impl World {
    fn of(test: &str, outcome: Option<Outcome>, testimony: Option<Testimony>) -> Self {
        let name = name(test);
        Self {
            executions: outcome.map(|outcome| (name.clone(), execution(outcome))).into_iter().collect(),
            testimonies: testimony.map(|testimony| (name, testimony)).into_iter().collect(),
            listing: None,
            keys: ["architect_mcp", "client_probe"].map(str::to_owned).into(),
            substrate: Substrate::Process,
            has_browser: false,
        }
    }

    fn judge(&self) -> (Vec<TestVerdict>, Vec<RowVerdict>) {
        let (matrix, sessions) = (matrix(), BTreeSet::from([SESSION]));
        let facts = Facts {
            matrix: &matrix,
            sessions: &sessions,
            substrate: self.substrate,
            has_browser: self.has_browser,
            keys: &self.keys,
            listing: self.listing.as_ref(),
            executions: &self.executions,
            testimonies: &self.testimonies,
        };
        let tests = facts.judge_tests();
        let rows = facts.judge_rows(&tests);
        (tests, rows)
    }

    fn status(&self) -> String {
        let (tests, _) = self.judge();
        assert_eq!(tests.len(), 1, "one test has one verdict");
        tests[0].status.to_string()
    }

    fn row(&self, id: &str) -> String {
        let (_, rows) = self.judge();
        let row = rows.into_iter().find(|row| row.row.id.to_string() == id).expect("in the sample");
        row.status.to_string()
    }
}

#[rstest]
#[case::agreed(pass(JUDGED), "PASS")]
#[case::nothing_checked(intact(JUDGED, Some(Status::Pass), |record| record.checks.clear()), "BROKEN(disagree: the runner says passed, its evidence holds no check)")]
#[case::check_does_not_hold(intact(JUDGED, Some(Status::Pass), |record| record.checks[0].holds = false), "BROKEN(disagree: the runner says passed, its evidence says that this does not hold: it answers)")]
#[case::other_session(intact(JUDGED, Some(Status::Pass), |record| record.session = "old".into()), "BROKEN(disagree: the runner says passed, its evidence is of session old)")]
#[case::other_run(intact(JUDGED, Some(Status::Pass), |record| record.run = Some("old".into())), "BROKEN(disagree: the runner says passed, its evidence is of run old)")]
#[case::evidence_fails(intact(JUDGED, Some(Status::Fail("no".into())), |_| ()), "BROKEN(disagree: the runner says passed, its evidence says FAIL(no))")]
#[case::no_verdict(intact(JUDGED, None, |_| ()), "BROKEN(disagree: the runner says passed, its evidence has no verdict)")]
#[case::altered(Testimony::Spoilt("evidence altered: x".into()), "BROKEN(evidence altered: x)")]
fn a_pass_needs_its_own_record(#[case] testimony: Testimony, #[case] status: &str) {
    assert_eq!(World::of(JUDGED, Some(Outcome::Passed), Some(testimony)).status(), status);
}

#[rstest]
#[case::id(JUDGED, "BROKEN(disagree: the runner says passed, but it left no evidence)")]
#[case::requirement("r4_m2_004_ten_calls", "BROKEN(disagree: the runner says passed, but it left no evidence)")]
#[case::own_logic("tests::a_plain_fact", "PASS")]
fn a_pass_without_a_record(#[case] test: &str, #[case] status: &str) {
    assert_eq!(World::of(test, Some(Outcome::Passed), None).status(), status);
}

#[rstest]
#[case::fail(Some(Status::Fail("lost".into())), "FAIL(lost)")]
#[case::broken(Some(Status::Broken("disk full".into())), "BROKEN(disk full)")]
#[case::untestable(Some(Status::Untestable("client_probe".into())), "UNTESTABLE(client_probe)")]
#[case::killed(None, "BROKEN(exit 101)")]
#[case::contradiction(Some(Status::Pass), "BROKEN(disagree: its evidence says PASS, the runner: exit 101)")]
fn a_failure_means_what_its_record_says(#[case] verdict: Option<Status>, #[case] status: &str) {
    let outcome = Outcome::Failed("exit 101".into());
    assert_eq!(World::of(JUDGED, Some(outcome), Some(intact(JUDGED, verdict, |_| ()))).status(), status);
}

#[rstest]
#[case::failure(Outcome::Failed("exit 101".into()), "BROKEN(exit 101)")]
#[case::timeout(Outcome::TimedOut, "BROKEN(ended by the time limit)")]
#[case::leak(Outcome::Leaked, "BROKEN(left a process that holds its output)")]
#[case::abort(Outcome::Aborted("SIGINT".into()), "BROKEN(aborted: SIGINT)")]
#[case::flaky(Outcome::Flaky(1), "BROKEN(flaky: failed 1 times before it passed)")]
fn a_failure_without_a_record_says_nothing_of_the_system(#[case] outcome: Outcome, #[case] status: &str) {
    assert_eq!(World::of(JUDGED, Some(outcome), None).status(), status);
}

#[test]
fn a_flaky_pass_is_broken_even_with_a_good_record() {
    let world = World::of(JUDGED, Some(Outcome::Flaky(2)), Some(pass(JUDGED)));
    assert!(world.status().starts_with("BROKEN(flaky"), "{}", world.status());
}

#[rstest]
#[case::not_selected(JUDGED, &["architect_mcp"], "UNTESTED(not selected)")]
#[case::no_key(JUDGED, &[], "UNTESTABLE(architect_mcp)")]
#[case::docker("sc_02_app_deployment", &[], "UNTESTABLE(docker)")]
#[case::no_id("r4_m2_004_ten_calls", &[], "UNTESTED(not selected)")]
#[case::no_browser("r4_m6_004_html_renders", &[], "UNTESTABLE(chromium)")]
fn a_skipped_test_is_never_silent(#[case] test: &str, #[case] keys: &[&str], #[case] status: &str) {
    let mut world = World::of(test, Some(Outcome::Skipped), None);
    world.keys = keys.iter().map(|&key| key.to_owned()).collect();
    assert_eq!(world.status(), status);
}

#[test]
fn a_test_of_the_browser_that_was_skipped_with_one_is_untested() {
    let mut world = World::of("r4_m6_004_html_renders", Some(Outcome::Skipped), None);
    world.has_browser = true;
    assert_eq!(world.status(), "UNTESTED(not selected)");
}

#[test]
fn a_docker_row_that_was_skipped_with_docker_is_untested() {
    let mut world = World::of("sc_02_app_deployment", Some(Outcome::Skipped), None);
    world.substrate = Substrate::Docker;
    assert_eq!(world.status(), "UNTESTED(not selected)");
}

#[test]
fn a_skipped_test_with_a_record_is_broken() {
    let world = World::of(JUDGED, Some(Outcome::Skipped), Some(pass(JUDGED)));
    assert!(world.status().starts_with("BROKEN(disagree"), "{}", world.status());
}

#[rstest]
#[case::selected(true, None, "UNTESTED(not run)")]
#[case::filtered_out(false, None, "UNTESTED(not selected)")]
#[case::record_of_this_session(
    true,
    Some(pass(JUDGED)),
    "BROKEN(it wrote evidence in this session, but the runner left no result of it)"
)]
#[case::record_of_another(true, Some(intact(JUDGED, Some(Status::Pass), |record| record.session = "old".into())), "UNTESTED(not run)")]
#[case::altered(true, Some(Testimony::Spoilt("evidence altered: x".into())), "BROKEN(evidence altered: x)")]
fn a_listed_test_without_a_result(#[case] selected: bool, #[case] testimony: Option<Testimony>, #[case] status: &str) {
    let mut world = World::of(JUDGED, None, testimony);
    world.listing = Some(Listing::of([(name(JUDGED), selected)]));
    assert_eq!(world.status(), status);
}

#[rstest]
#[case::pending("X-01", "UNTESTED(no test yet)")]
#[case::no_result("B1-19", "UNTESTED(not run)")]
#[case::docker("SC-02", "UNTESTABLE(docker)")]
fn an_id_without_a_test(#[case] id: &str, #[case] status: &str) {
    assert_eq!(World::of("tests::a_plain_fact", Some(Outcome::Passed), None).row(id), status);
}

#[rstest]
#[case::pass(Outcome::Passed, Some(Status::Pass), "UNTESTABLE(docker)")]
#[case::fail(Outcome::Failed("x".into()), Some(Status::Fail("dead".into())), "FAIL(dead)")]
fn without_containers_nothing_passes_that_needs_them(
    #[case] outcome: Outcome,
    #[case] verdict: Option<Status>,
    #[case] status: &str,
) {
    let test = "sc_02_app_deployment";
    assert_eq!(World::of(test, Some(outcome), Some(intact(test, verdict, |_| ()))).row("SC-02"), status);
}

#[test]
fn an_id_is_as_good_as_its_worst_case() {
    let mut world = World::of("b1_07_mcp_tool_responses::a", Some(Outcome::Passed), None);
    world.testimonies.insert(name("b1_07_mcp_tool_responses::a"), pass("b1_07_mcp_tool_responses::a"));
    assert_eq!(world.row("B1-07"), "PASS");
    world.listing = Some(Listing::of([(name("b1_07_mcp_tool_responses::b"), true)]));
    assert_eq!(world.row("B1-07"), "UNTESTED(not run)");
}

fn outcome() -> impl Strategy<Value = Option<Outcome>> {
    proptest::option::weighted(
        0.9,
        prop_oneof![
            5 => Just(Outcome::Passed),
            1 => Just(Outcome::Skipped),
            1 => Just(Outcome::Flaky(1)),
            1 => Just(Outcome::Failed("x".into())),
            1 => Just(Outcome::TimedOut),
        ],
    )
}

fn verdict() -> impl Strategy<Value = Option<Status>> {
    prop_oneof![
        5 => Just(Some(Status::Pass)),
        1 => Just(None),
        1 => Just(Some(Status::Fail("x".into()))),
        1 => Just(Some(Status::Untested("x".into()))),
    ]
}

fn testimony() -> impl Strategy<Value = Option<Testimony>> {
    let record = (verdict(), proptest::bool::weighted(0.9)).prop_map(|(verdict, own)| {
        intact("t", verdict, |record| {
            if !own {
                record.session = "old".into();
            }
        })
    });
    proptest::option::weighted(0.9, prop_oneof![9 => record, 1 => Just(Testimony::Spoilt("altered".into()))])
}

proptest! {
    #[test]
    fn no_id_passes_unless_every_listed_test_of_it_did(
        tests in proptest::collection::vec((outcome(), testimony()), 0..4),
    ) {
        let mut world = World::of("tests::a_plain_fact", Some(Outcome::Passed), None);
        let mut all_good = !tests.is_empty();
        let mut listed = Vec::new();
        for (index, (outcome, testimony)) in tests.into_iter().enumerate() {
            let name = name(&format!("{JUDGED}::case_{index}"));
            let witnessed = matches!(&testimony, Some(Testimony::Intact(record))
                if record.session == SESSION && record.verdict == Some(Status::Pass));
            all_good &= outcome == Some(Outcome::Passed) && witnessed;
            world.executions.extend(outcome.map(|outcome| (name.clone(), execution(outcome))));
            world.testimonies.extend(testimony.map(|testimony| (name.clone(), testimony)));
            listed.push((name, true));
        }
        world.listing = Some(Listing::of(listed));
        prop_assert_eq!(world.row("B1-07") == "PASS", all_good);
    }
}
