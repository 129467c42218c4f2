//! The loop on a model: defects in memory, and repairs that do as they are told, or not.

use std::cell::{Cell, RefCell};

use pretty_assertions::assert_eq;
use proptest::{collection::vec, prelude::*};
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::{
    fix_pass::{convergence::FixVerdict, priority::Effect, regressions::Hit, symptom::Symptom, violation::Severity},
    state::System,
};

/// What a repair does with the defects that it is told of, for one target.
type Repair = fn(&Model, &str, Vec<u32>) -> Applied;

/// Defects by their effect, and how many more there will be.
struct Model {
    defects: RefCell<BTreeMap<u32, Effect>>,
    next: Cell<u32>,
    repair: Repair,
    /// When a target has its turn.
    turn: fn(&str) -> Option<u8>,
    fails_to_look: Cell<bool>,
    repairs: Cell<u32>,
}

const LIMITS: Limits = Limits { passes: 5, effectiveness_floor: 0.3, regression_ceiling: 0.25, budget: None };

fn done(changed: Vec<String>) -> Applied {
    Applied::Done { changed, cost: Some(0.25), error: String::new() }
}

/// Takes away what it is told of.
fn fixes(model: &Model, _: &str, told: Vec<u32>) -> Applied {
    model.defects.borrow_mut().retain(|number, _| !told.contains(number));
    done(told.iter().map(|number| format!("src/{number}.py")).collect())
}

fn fixes_nothing(_: &Model, _: &str, _: Vec<u32>) -> Applied {
    done(Vec::new())
}

/// Another defect comes for each that goes.
fn breaks(model: &Model, target: &str, told: Vec<u32>) -> Applied {
    let effects: Vec<_> = told.iter().map(|number| model.defects.borrow()[number]).collect();
    let applied = fixes(model, target, told);
    for effect in effects {
        model.defects.borrow_mut().insert(model.next.replace(model.next.get() + 1), effect);
    }
    applied
}

fn waits(_: &Model, _: &str, _: Vec<u32>) -> Applied {
    Applied::Awaiting
}

/// Takes one defect away at first, and brings two afterwards.
fn is_reckless(model: &Model, _: &str, _: Vec<u32>) -> Applied {
    let mut defects = model.defects.borrow_mut();
    match model.repairs.get() {
        1 => drop(defects.pop_first()),
        _ => defects.extend([(91, Effect::Primary), (93, Effect::Primary)]),
    }
    Applied::Done { changed: vec!["x".into()], cost: None, error: String::new() }
}

fn odd_ones_work(model: &Model, target: &str, told: Vec<u32>) -> Applied {
    if target == "even" { Applied::Awaiting } else { fixes(model, target, told) }
}

fn at_once(target: &str) -> Option<u8> {
    (target == "even" || target == "odd").then_some(0)
}

impl Model {
    fn new(effects: &[Effect], repair: Repair) -> Self {
        let defects: BTreeMap<u32, Effect> = (1..).zip(effects.iter().copied()).collect();
        let next = Cell::new(defects.len() as u32 + 1);
        let (defects, fails_to_look) = (RefCell::new(defects), Cell::new(false));
        Self { defects, next, repair, turn: at_once, fails_to_look, repairs: Cell::new(0) }
    }

    fn seen(&self, wanted: impl Fn(&str) -> bool) -> Look {
        let defects = self.defects.borrow();
        let symptoms: Vec<_> = defects.iter().map(|(number, effect)| symptom(*number, *effect)).collect();
        let symptoms: Vec<_> = symptoms.into_iter().filter(|symptom| wanted(&symptom.key)).collect();
        let hit = |symptom: &Symptom| Hit {
            code: symptom.code.clone(),
            path: symptom.file.clone(),
            line: 1,
            message: symptom.title.clone(),
            count: 1,
        };
        let hits = symptoms.iter().map(hit).collect();
        let score = Some(100.0 - 10.0 * defects.len() as f64);
        Look { hits, symptoms, tests: BTreeMap::new(), score }
    }
}

fn symptom(number: u32, effect: Effect) -> Symptom {
    Symptom {
        key: format!("defect {number}"),
        cause: format!("cause {number}"),
        code: "X-001".into(),
        title: format!("defect {number}"),
        system: System::Build2,
        component: "service".into(),
        target: if number.is_multiple_of(2) { "even" } else { "odd" }.into(),
        file: format!("src/{number}.py"),
        line: 1,
        severity: Severity::Error,
        effect,
        workaround: String::new(),
        evidence: "the model".into(),
        reproduction: "look".into(),
        recommendation: "repair it".into(),
    }
}

impl Ground for Model {
    async fn look(&self) -> Result<Look, Failure> {
        match self.fails_to_look.get() {
            true => Err(Failure::broken("the scan crashed")),
            false => Ok(self.seen(|_| true)),
        }
    }

    async fn gone(&self, keys: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        let seen: BTreeSet<_> = self.seen(|key| keys.contains(key)).symptoms.into_iter().map(|it| it.key).collect();
        Ok(keys.difference(&seen).cloned().collect())
    }

    fn turn(&self, target: &str) -> Option<u8> {
        (self.turn)(target)
    }

    async fn apply(&self, target: &str, instructions: &Path) -> Result<Applied, Failure> {
        let text = fs::read_to_string(instructions)?;
        let all: Vec<u32> = self.defects.borrow().keys().copied().collect();
        let is_told = |number: &u32| {
            text.contains(&format!("X-001 defect {number}\n")) && symptom(*number, Effect::Primary).target == target
        };
        self.repairs.set(self.repairs.get() + 1);
        Ok((self.repair)(self, target, all.into_iter().filter(is_told).collect()))
    }

    fn keep(&self, place: &Path) -> std::io::Result<()> {
        atomic::write_json(&place.join("defects.json"), &*self.defects.borrow())
    }

    fn restore(&self, place: &Path) -> std::io::Result<bool> {
        *self.defects.borrow_mut() = serde_json::from_slice(&fs::read(place.join("defects.json"))?)?;
        Ok(true)
    }
}

fn finish(model: &Model, home: &TempDir, limits: Limits) -> Ledger {
    let fixes = FixLoop::open(model, home.path(), limits, "session").expect("a new ledger");
    wait(fixes.run()).expect("the loop ends")
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

fn home() -> TempDir {
    TempDir::new().expect("a folder")
}

const ALL: [Effect; 4] = [Effect::Primary, Effect::Shared, Effect::Secondary, Effect::Cosmetic];

#[rstest]
#[case::fixed(&ALL, fixes, Stop::NothingUrgent, 1, FixVerdict::Converged)]
#[case::nothing_to_do(&[], fixes, Stop::NothingToFix, 0, FixVerdict::Converged)]
#[case::only_documented(&[Effect::Cosmetic], fixes, Stop::NothingToFix, 0, FixVerdict::Converged)]
#[case::nothing_is_fixed(&ALL, fixes_nothing, Stop::Effectiveness, 2, FixVerdict::NotConverged)]
#[case::something_else_breaks(&ALL, breaks, Stop::RegressionRate, 2, FixVerdict::NotConverged)]
fn a_loop_ends_by_a_rule(
    #[case] effects: &[Effect],
    #[case] repair: Repair,
    #[case] stop: Stop,
    #[case] passes: usize,
    #[case] verdict: FixVerdict,
) {
    let home = home();
    let ledger = finish(&Model::new(effects, repair), &home, LIMITS);
    assert_eq!((ledger.stop, ledger.passes.len(), ledger.verdict()), (Some(stop), passes, verdict));
    assert!(!home.path().join(BEST).exists(), "the kept state is gone");
}

#[test]
fn figures_of_a_pass_that_breaks_as_much_as_it_mends() {
    let ledger = finish(&Model::new(&ALL[..2], breaks), &home(), LIMITS);
    let figures = &ledger.passes[0].figures;
    assert_eq!((figures.targeted, figures.applied, figures.resolved), (2, 2, 2));
    assert_eq!((figures.regressions, figures.new_defects), (2, 2));
    assert_eq!((figures.effectiveness, figures.net_effectiveness()), (Some(1.0), Some(0.0)));
    assert_eq!(ledger.passes[0].discovered, Open { p0: 1, p1: 1, ..Open::default() });
    assert_eq!(ledger.first, Open { p0: 1, p1: 1, ..Open::default() });
}

#[test]
fn a_budget_that_is_used_up_ends_the_loop() {
    let limits = Limits { budget: Some(0.5), ..LIMITS };
    let ledger = finish(&Model::new(&ALL, fixes_nothing), &home(), limits);
    assert_eq!((ledger.stop, ledger.passes.len()), (Some(Stop::Budget), 1));
    assert_eq!(ledger.passes[0].figures.cost, Some(0.5));
}

#[test]
fn instructions_wait_for_somebody_and_the_loop_goes_on_afterwards() {
    let (home, model) = (home(), Model::new(&ALL[..1], waits));
    let ledger = finish(&model, &home, LIMITS);
    assert_eq!((ledger.stop, ledger.step, ledger.passes.len()), (Some(Stop::AwaitingFix), Step::Verify, 0));
    assert_eq!(ledger.catalogue.entries[0].reason, "awaiting fix: no fix command is configured for odd");
    let again = finish(&model, &home, LIMITS);
    assert_eq!(again.stop, Some(Stop::AwaitingFix), "nobody has done anything");
    assert_eq!(again.catalogue.entries[0].attempts, 0, "to wait is no attempt");
    model.defects.borrow_mut().clear();
    let ledger = finish(&model, &home, LIMITS);
    assert_eq!((ledger.stop, ledger.passes.len()), (Some(Stop::NothingUrgent), 2));
    assert_eq!(ledger.passes[1].figures.applied, 1);
    assert_eq!(ledger.passes[1].figures.seconds, None, "the time of the wait is no time of the pass");
}

#[test]
fn who_waits_does_not_hold_up_who_works() {
    let home = home();
    let mut model = Model::new(&[Effect::Primary; 3], odd_ones_work);
    model.turn = |target| Some(u8::from(target == "even"));
    let ledger = finish(&model, &home, LIMITS);
    assert_eq!((ledger.stop, ledger.passes.len()), (Some(Stop::AwaitingFix), 1));
    let figures = &ledger.passes[0].figures;
    assert_eq!((figures.targeted, figures.resolved), (2, 2), "who waits has attempted nothing");
    assert_eq!(ledger.catalogue.count(), Open { p0: 1, ..Open::default() });
}

#[test]
fn what_nobody_can_repair_stays_open_with_the_reason() {
    let home = home();
    let mut model = Model::new(&ALL[..1], fixes);
    model.turn = |_| None;
    let ledger = finish(&model, &home, LIMITS);
    assert_eq!(ledger.stop, Some(Stop::NoMeans));
    assert_eq!(ledger.catalogue.entries[0].reason, "nobody is there who could repair odd");
}

#[test]
fn a_p1_that_survives_three_attempts_is_assessed_anew() {
    let limits = Limits { effectiveness_floor: 0.0, ..LIMITS };
    let ledger = finish(&Model::new(&[Effect::Shared], fixes_nothing), &home(), limits);
    assert_eq!((ledger.stop, ledger.passes.len()), (Some(Stop::NothingUrgent), 3));
    let entry = &ledger.catalogue.entries[0];
    assert_eq!(entry.finding.priority, Priority::P2);
    assert!(!entry.workaround.is_empty());
    insta::assert_snapshot!(ledger.notes.join("\n"), @"
    FINDING-001: two attempts failed; classified again as P1 (3: a secondary feature is broken, and another Build suffers)
    FINDING-001: three attempts failed; from P1 to P2, workaround: do without what service should do here
    ");
}

#[test]
fn the_best_state_is_restored_when_the_last_pass_lowers_the_score() {
    let home = home();
    let model = Model::new(&[Effect::Primary, Effect::Cosmetic, Effect::Primary], is_reckless);
    let ledger = finish(&model, &home, Limits { passes: 2, ..LIMITS });
    assert_eq!((ledger.stop, ledger.restored), (Some(Stop::PassLimit), true));
    assert_eq!(model.defects.borrow().len(), 2);
    assert_eq!(ledger.catalogue.count(), Open { p0: 1, p3: 1, ..Open::default() });
    assert_eq!(ledger.score, Some(80.0));
    assert_eq!(ledger.passes[1].figures.cost, None);
    let last = ledger.notes.last().expect("a note");
    assert!(last.contains("the state after pass 1 (80.00) was restored"), "{last}");
}

#[test]
fn a_pass_that_ends_in_the_middle_has_fixed_nothing() {
    let (home, model) = (home(), Model::new(&ALL, fixes));
    let mut fixes = FixLoop::open(&model, home.path(), LIMITS, "s").expect("new");
    while fixes.ledger().step != Step::Regress {
        assert!(wait(fixes.advance()).expect("a step"));
    }
    model.fails_to_look.set(true);
    assert!(wait(fixes.advance()).is_err());
    let ledger = Ledger::load(home.path()).expect("readable").expect("there");
    assert_eq!(ledger.current.as_ref().map(|current| current.resolved.len()), Some(3));
    assert_eq!(ledger.catalogue.count(), ledger.first);
    assert_eq!(ledger.verdict(), FixVerdict::NotConverged);
}

#[test]
fn a_look_that_fails_is_no_look_without_defects() {
    let (home, model) = (home(), Model::new(&ALL, fixes));
    model.fails_to_look.set(true);
    let failed = wait(FixLoop::open(&model, home.path(), LIMITS, "s").expect("new").run());
    assert!(failed.is_err());
    assert_eq!(Ledger::load(home.path()).expect("readable"), None);
}

#[test]
fn a_ledger_of_another_version_is_refused() {
    let home = home();
    let mut text = serde_json::to_value(Ledger::new("s")).expect("JSON");
    text["schema_version"] = 2.into();
    atomic::write_json(&home.path().join(super::super::ledger::FILE_NAME), &text).expect("written");
    let error = Ledger::load(home.path()).expect_err("another version").to_string();
    assert!(error.contains("schema_version is 2") && error.contains("cargo run4"), "{error}");
}

/// A ledger without its times.
fn timeless(ledger: &Ledger) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                for name in ["started_at", "created_at", "seconds"] {
                    fields.remove(name);
                }
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => (),
        }
    }
    let mut value = serde_json::to_value(ledger).expect("JSON");
    strip(&mut value);
    value
}

fn any_effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        Just(Effect::NoStart),
        Just(Effect::Primary),
        Just(Effect::Shared),
        Just(Effect::Secondary),
        Just(Effect::Cosmetic)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However often the loop is killed between two steps, it comes to the same end.
    #[test]
    fn a_loop_that_is_killed_between_any_two_steps_comes_to_the_same_end(
        effects in vec(any_effect(), 0..8),
        repair in prop_oneof![Just(fixes as Repair), Just(fixes_nothing as Repair), Just(breaks as Repair)],
    ) {
        let through = finish(&Model::new(&effects, repair), &home(), LIMITS);
        let (place, model) = (home(), Model::new(&effects, repair));
        loop {
            let mut fixes = FixLoop::open(&model, place.path(), LIMITS, "session").expect("readable");
            if !wait(fixes.advance()).expect("a step") {
                break;
            }
        }
        let stopped = Ledger::load(place.path()).expect("readable").expect("there");
        prop_assert_eq!(timeless(&stopped), timeless(&through));
    }

    /// No finding is lost or counted twice, whatever the repair does.
    #[test]
    fn every_defect_is_one_finding(effects in vec(any_effect(), 0..8), harmful in any::<bool>()) {
        let model = Model::new(&effects, if harmful { breaks as Repair } else { fixes });
        let ledger = finish(&model, &home(), LIMITS);
        prop_assert_eq!(ledger.catalogue.entries.len() as u32, model.next.get() - 1);
        let open: BTreeSet<_> = ledger.catalogue.open().map(|entry| entry.title.clone()).collect();
        let there: BTreeSet<_> = model.defects.borrow().keys().map(|number| format!("defect {number}")).collect();
        prop_assert_eq!(open, there);
        for pass in &ledger.passes {
            prop_assert_eq!(pass.figures.resolved + pass.figures.failed, pass.figures.targeted);
        }
    }
}
