//! What must not come back (plan R4-M5-006): the comparison that finds regressions.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;
use support::{
    fix_pass::regressions::{RegressionDetails, Snapshot, detect_regressions},
    prelude::*,
};

/// R4-M5-006: a second hit in the same file is a regression, though the file was listed before.
#[rstest]
fn r4_m5_006_regressions_are_found(evidence: Evidence) -> Verdict {
    let before = BTreeMap::from([("LOG-001".to_owned(), vec!["a.py".to_owned()])]);
    let after = BTreeMap::from([("LOG-001".to_owned(), vec!["a.py".to_owned(), "a.py".to_owned()])]);
    evidence.check_eq("new", detect_regressions(&before, &after), vec!["LOG-001:a.py".to_owned()])
}

/// R4-M5-006: a test that passed and now fails is a regression without any scan code.
#[rstest]
#[case::broken(true, false, 1)]
#[case::repaired(false, true, 0)]
fn r4_m5_006_test_flip_is_a_regression(
    #[case] before: bool,
    #[case] after: bool,
    #[case] regressions: usize,
    evidence: Evidence,
) -> Verdict {
    let snapshot = |passed| {
        let test = BTreeSet::from(["b1_07".to_owned()]);
        let (passed_tests, failed_tests) = if passed { (test, BTreeSet::new()) } else { (BTreeSet::new(), test) };
        Snapshot { passed_tests, failed_tests, ..Snapshot::default() }
    };
    let details = RegressionDetails::between(&snapshot(before), &snapshot(after), &BTreeSet::new());
    evidence.check_eq("regressions", details.count(), regressions)
}
