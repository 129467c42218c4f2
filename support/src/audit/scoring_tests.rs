use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::audit::Colour;

fn rate(passed: u32, total: u32) -> Term<Rate> {
    Term::measured(Rate::new(passed, total).expect("a rate"), "test")
}

/// Requirements, tests and contracts of ten or twenty; violations per KLOC; health; artifacts.
fn terms(
    requirements: Term<Rate>,
    tests: Term<Rate>,
    contracts: Term<Rate>,
    density: f64,
    health: Option<Term<Rate>>,
    artifacts: Term<Rate>,
) -> SystemTerms {
    SystemTerms {
        requirements,
        tests,
        contracts,
        violation_density: Term::measured(density, "test"),
        health,
        artifacts,
    }
}

fn close(seen: f64, promised: f64) -> bool {
    (seen - promised).abs() < 0.005
}

#[rstest]
#[case::a(terms(rate(10, 10), rate(9, 10), rate(8, 10), 1.0, Some(rate(1, 1)), rate(4, 5)), 91.50, Colour::Green)]
#[case::b(terms(rate(6, 10), rate(17, 20), rate(7, 10), 10.0, Some(rate(2, 3)), rate(3, 5)), 58.67, Colour::Yellow)]
#[case::c(terms(rate(9, 10), rate(19, 20), rate(9, 10), 2.0, None, rate(14, 15)), 89.63, Colour::Green)]
fn the_worked_examples_of_a_system(#[case] terms: SystemTerms, #[case] promised: f64, #[case] colour: Colour) {
    let score = system_score(&terms);
    assert!(close(score.value, promised), "{} for {promised}", score.value);
    assert_eq!(Colour::of_score(score.value), colour);
}

#[test]
fn the_worked_example_of_integration() {
    let terms = IntegrationTerms {
        tools: rate(18, 20),
        flows: rate(8, 10),
        violations: Term::measured(3, "test"),
        phases: rate(6, 7),
    };
    let score = integration_score(&terms).value;
    assert!(close(score, 81.43), "{score}");
}

#[test]
fn the_worked_example_of_the_aggregate() {
    assert!(close(aggregate(91.5, 80.0, 70.0, 81.43), 81.24));
}

#[test]
fn a_removed_category_is_named() {
    let score = system_score(&terms(rate(1, 1), rate(1, 1), rate(1, 1), 0.0, None, rate(1, 1)));
    assert_eq!(score.removed().collect::<Vec<_>>(), ["Docker Health"]);
    assert!(close(score.value, 100.0), "{}", score.value);
}

#[test]
fn what_was_not_measured_gives_no_points_and_says_why() {
    let mut terms = terms(rate(1, 1), rate(1, 1), rate(1, 1), 0.0, Some(rate(1, 1)), rate(1, 1));
    terms.violation_density = Term::not_measured("no scan");
    let score = system_score(&terms);
    assert!(close(score.value, 85.0), "{}", score.value);
    assert_eq!(score.measured(), (5, 6));
    let line = &score.lines[3];
    assert_eq!((line.points, line.figure.as_deref(), line.source.as_str()), (Some(0.0), None, "no scan"));
}

#[test]
fn a_score_of_nothing_is_not_measured() {
    let nothing = || Term::not_measured("nothing ran");
    let terms = IntegrationTerms {
        tools: nothing(),
        flows: nothing(),
        violations: Term::not_measured("nothing ran"),
        phases: nothing(),
    };
    assert!(!integration_score(&terms).is_measured());
}

#[rstest]
#[case::none_tested(0, 0)]
#[case::more_than_all(3, 2)]
fn a_rate_needs_a_denominator(#[case] passed: u32, #[case] total: u32) {
    assert_eq!(Rate::new(passed, total), None);
}

#[rstest]
#[case::full_marks(100.0, 1, 85.0)]
#[case::below(70.0, 6, 70.0)]
#[case::all_tested(100.0, 0, 100.0)]
fn an_untested_corner_caps(#[case] raw: f64, #[case] corners: usize, #[case] value: f64) {
    assert!(close(capped(raw, corners), value));
}

#[rstest]
#[case(80.0, Colour::Green)]
#[case(79.999, Colour::Yellow)]
#[case(50.0, Colour::Yellow)]
#[case(49.999, Colour::Red)]
fn a_score_is_classified_unrounded(#[case] score: f64, #[case] colour: Colour) {
    assert_eq!(Colour::of_score(score), colour);
}

prop_compose! {
    fn any_rate()(total in 1..60_u32)(passed in 0..=total, total in Just(total)) -> (u32, u32) { (passed, total) }
}

fn any_term() -> impl Strategy<Value = Term<Rate>> {
    prop_oneof![any_rate().prop_map(|(passed, total)| rate(passed, total)), Just(Term::not_measured("no"))]
}

prop_compose! {
    fn any_terms()(
        requirements in any_term(), tests in any_term(), contracts in any_term(),
        density in 0.0..40.0_f64, health in proptest::option::of(any_term()), artifacts in any_term(),
    ) -> SystemTerms { terms(requirements, tests, contracts, density, health, artifacts) }
}

proptest! {
    #[test]
    fn a_system_score_is_between_0_and_100(terms in any_terms()) {
        let score = system_score(&terms).value;
        prop_assert!((0.0..=100.0).contains(&score), "{}", score);
    }

    #[test]
    fn one_more_pass_never_lowers_a_score(terms in any_terms(), (passed, total) in any_rate()) {
        prop_assume!(passed < total);
        let with = |passed| system_score(&SystemTerms { tests: rate(passed, total), ..terms.clone() }).value;
        prop_assert!(with(passed + 1) >= with(passed));
    }

    #[test]
    fn measuring_never_lowers_a_score(terms in any_terms(), (passed, total) in any_rate()) {
        let with = |contracts| system_score(&SystemTerms { contracts, ..terms.clone() }).value;
        prop_assert!(with(rate(passed, total)) >= with(Term::not_measured("no")));
    }

    #[test]
    fn more_violations_never_raise_a_score(terms in any_terms(), density in 0.0..20.0_f64, more in 0.0..20.0_f64) {
        let with = |density| {
            let violation_density = Term::measured(density, "test");
            system_score(&SystemTerms { violation_density, ..terms.clone() }).value
        };
        prop_assert!(with(density + more) <= with(density));
    }

    #[test]
    fn integration_and_aggregate_are_bounded_and_capped(
        tools in any_term(), flows in any_term(), phases in any_term(), violations in 0..30_u32, corners in 0..7_usize,
        builds in (0.0..=100.0_f64, 0.0..=100.0_f64, 0.0..=100.0_f64),
    ) {
        let terms = IntegrationTerms { tools, flows, violations: Term::measured(violations, "test"), phases };
        let integration = integration_score(&terms).value;
        let total = capped(aggregate(builds.0, builds.1, builds.2, integration), corners);
        prop_assert!((0.0..=100.0).contains(&integration));
        prop_assert!((0.0..=100.000_001).contains(&total));
        prop_assert!(corners == 0 || total <= 85.0);
    }
}
