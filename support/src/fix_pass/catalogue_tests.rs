use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;
use crate::state::System;

fn symptom(key: &str, cause: &str, effect: Effect) -> Symptom {
    Symptom {
        key: key.into(),
        cause: cause.into(),
        code: "B3-01".into(),
        title: cause.into(),
        system: System::Build3,
        component: "pipeline".into(),
        target: if effect == Effect::NotTried { "" } else { "build3" }.into(),
        file: String::new(),
        line: 0,
        severity: Severity::Error,
        effect,
        workaround: String::new(),
        evidence: "e".into(),
        reproduction: "r".into(),
        recommendation: "do".into(),
    }
}

fn untried(key: &str) -> Symptom {
    symptom(key, "no postgresql", Effect::NotTried)
}

#[test]
fn what_fails_once_it_can_be_tried_is_a_defect_of_its_own() {
    let mut catalogue = Catalogue::default();
    catalogue.absorb(&[untried("test a"), untried("test b")], 0, None).expect("ids");
    let failed = [symptom("test a", "exit 1", Effect::Primary), symptom("test b", "no reply", Effect::Shared)];
    let new = catalogue.absorb(&failed, 1, None).expect("ids");
    assert_eq!(new.len(), 2);
    assert_eq!(catalogue.count(), Open { p0: 1, p1: 1, p2: 0, p3: 1 });
    assert_eq!(catalogue.entries[1].target, "build3");
    catalogue.settle([FindingId::FIRST], &failed, 1, "the full set");
    assert_eq!(catalogue.count().p3, 0, "nothing is left that could not be tried");
}

#[test]
fn what_cannot_be_tried_any_more_is_not_fixed() {
    let mut catalogue = Catalogue::default();
    catalogue.absorb(&[symptom("test a", "exit 1", Effect::Primary)], 0, None).expect("an id");
    assert_eq!(catalogue.absorb(&[untried("test a")], 1, None).expect("no id"), []);
    let fixed = catalogue.settle([FindingId::FIRST], &[untried("test a")], 1, "the full set");
    assert_eq!((fixed, catalogue.count().p0), (Vec::new(), 1));
}

#[rstest]
#[case::all_gone(&["test a", "test b"], 1)]
#[case::one_was_not_looked_for(&["test a"], 0)]
fn a_finding_is_resolved_when_each_symptom_was_looked_for(#[case] gone: &[&str], #[case] resolved: usize) {
    let mut catalogue = Catalogue::default();
    let seen = ["test a", "test b"].map(|key| symptom(key, "exit 1", Effect::Primary));
    catalogue.absorb(&seen, 0, None).expect("an id");
    let gone = gone.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(catalogue.resolved(&[FindingId::FIRST], &gone).len(), resolved);
}

#[test]
fn a_finding_is_classified_again_by_what_was_seen_last() {
    let mut catalogue = Catalogue::default();
    catalogue.absorb(&[symptom("test a", "exit 1", Effect::Shared)], 0, None).expect("an id");
    catalogue.entries[0].attempts = 2;
    catalogue.absorb(&[symptom("test a", "exit 2", Effect::NoStart)], 1, None).expect("no id");
    assert_eq!(catalogue.entries[0].finding.priority, Priority::P1);
    catalogue.entries[0].classify_again();
    assert_eq!(catalogue.entries[0].finding.priority, Priority::P0);
}
