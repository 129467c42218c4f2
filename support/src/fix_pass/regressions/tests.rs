use pretty_assertions::assert_eq;
use proptest::{collection::vec, prelude::*};
use rstest::rstest;

use super::*;

fn violations(hits: &[(&str, &[&str])]) -> Violations {
    hits.iter().map(|(code, paths)| ((*code).into(), paths.iter().map(|path| (*path).into()).collect())).collect()
}

fn texts(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|text| (*text).into()).collect()
}

#[rstest]
#[case::new_code(&[], &[("SEC-001", &["a.py"][..])], &["SEC-001:a.py"])]
#[case::new_path(&[("SEC-001", &["a.py"][..])], &[("SEC-001", &["a.py", "b.py"][..])], &["SEC-001:b.py"])]
#[case::same_path_other_code(&[("A", &["a.py"][..])], &[("A", &["a.py"][..]), ("B", &["a.py"])], &["B:a.py"])]
#[case::second_hit_in_the_file(&[("A", &["a.py"][..])], &[("A", &["a.py", "a.py"][..])], &["A:a.py"])]
#[case::a_fix_is_none(&[("A", &["a.py", "b.py"][..])], &[("A", &["b.py"][..])], &[])]
#[case::a_hit_less_is_none(&[("A", &["a.py", "a.py"][..])], &[("A", &["a.py"][..])], &[])]
#[case::each_once(&[], &[("A", &["a.py", "a.py", "a.py"][..])], &["A:a.py"])]
#[case::sorted_as_text(&[], &[("A", &["x"][..]), ("A-1", &["x"])], &["A-1:x", "A:x"])]
#[case::windows_separators(&[("A", &["src/api/a.py"][..])], &[("A", &[r"src\api\a.py"][..])], &[])]
#[case::dots_in_the_path(&[("A", &["src/a.py"][..])], &[("A", &["./src//api/../a.py"][..])], &[])]
#[case::outside_stays_outside(&[("A", &["a.py"][..])], &[("A", &["../a.py"][..])], &["A:../a.py"])]
fn regressions_are_what_is_new(
    #[case] before: &[(&str, &[&str])],
    #[case] after: &[(&str, &[&str])],
    #[case] expected: &[&str],
) {
    assert_eq!(detect_regressions(&violations(before), &violations(after)), expected);
}

#[rstest]
#[case::relative_parents("../../a", "../../a")]
#[case::resolved_parent("a/../../b", "../b")]
#[case::absolute_root("/../a", "/a")]
#[case::spaces_and_letters("./Größe x/a.py", "Größe x/a.py")]
fn a_path_has_one_spelling(#[case] path: &str, #[case] expected: &str) {
    assert_eq!(Place::new("A", path).path(), expected);
}

#[test]
fn details_tell_the_three_kinds_apart() {
    let before = Snapshot {
        violations: violations(&[("A", &["a.py"])]),
        passed_tests: texts(&["b1_07", "x_05", "x_06_is_not_run_again"]),
        failed_tests: texts(&["b2_04"]),
        details: Vec::new(),
    };
    let after = Snapshot {
        violations: violations(&[("A", &["a.py", "a.py", "a.py"]), ("B", &["b.py"])]),
        passed_tests: texts(&["x_05"]),
        failed_tests: texts(&["b1_07", "b2_04"]),
        details: Vec::new(),
    };
    let fixed_earlier = BTreeSet::from([Place::new("B", "b.py"), Place::new("C", "c.py")]);

    let details = RegressionDetails::between(&before, &after, &fixed_earlier);

    let new = |code, path, before, after| NewViolation { place: Place::new(code, path), before, after };
    assert_eq!(details.new, [new("A", "a.py", 1, 3), new("B", "b.py", 0, 1)]);
    assert_eq!(details.reappeared, [Place::new("B", "b.py")]);
    assert_eq!(details.flipped_tests, ["b1_07"]);
    assert_eq!(details.count(), 2 + 1 + 1);
}

#[test]
fn a_test_that_turns_red_is_seen_without_any_scan() {
    let before = Snapshot { passed_tests: texts(&["b1_07"]), ..Snapshot::default() };
    let after = Snapshot { failed_tests: texts(&["b1_07"]), ..Snapshot::default() };
    let details = RegressionDetails::between(&before, &after, &BTreeSet::new());
    assert_eq!((details.flipped_tests.len(), details.count()), (1, 1));
}

fn any_violations() -> impl Strategy<Value = Violations> {
    proptest::collection::btree_map("[A-C]", vec("[ab]{1,2}\\.py", 0..6), 0..4)
}

proptest! {
    #[test]
    fn nothing_changed_means_no_regressions(all in any_violations()) {
        prop_assert_eq!(detect_regressions(&all, &all), Vec::<String>::new());
    }

    #[test]
    fn regressions_are_sorted_unique_places_of_the_scan_after(before in any_violations(), after in any_violations()) {
        let found = detect_regressions(&before, &after);
        let places: BTreeSet<String> = after.iter()
            .flat_map(|(code, paths)| paths.iter().map(move |path| format!("{code}:{path}")))
            .collect();
        prop_assert!(found.iter().all(|place| places.contains(place)));
        prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_order_of_hits_does_not_matter(before in any_violations(), after in any_violations()) {
        let reversed = |all: &Violations| -> Violations {
            all.iter().map(|(code, paths)| (code.clone(), paths.iter().rev().cloned().collect())).collect()
        };
        prop_assert_eq!(
            detect_regressions(&before, &after),
            detect_regressions(&reversed(&before), &reversed(&after))
        );
    }

    #[test]
    fn from_nothing_every_place_is_new(after in any_violations()) {
        let places: BTreeSet<_> = after.iter()
            .flat_map(|(code, paths)| paths.iter().map(move |path| Place::new(code.as_str(), path).to_string()))
            .collect();
        prop_assert_eq!(detect_regressions(&Violations::new(), &after), Vec::from_iter(places));
    }
}
