//! From what a bundle shows to findings: every verdict that is no pass, every violation that the
//! gate or the integrator reported, every spelling that had to be forgiven (R4-M5-001). A pure
//! function of the bundle, used before the fix passes and for the report alike.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    conclusion::Level,
    join::{RowVerdict, TestVerdict},
    observations::Noticed,
};
use crate::{
    fix_pass::{
        catalogue::{Catalogue, Entry},
        convergence::{FixVerdict, Open, Stop, convergence},
        ledger::{Ledger, Pass},
        priority::Effect,
        symptom::{By, Scanned, Symptom, without_numbers},
        violation::{Severity, Violation},
    },
    matrix::{Matrix, Need, Row},
    pipeline::gate::canonical,
    state::{CatalogFull, System},
    verdict::Status,
};

/// How the names of tests begin that judge the system itself, beside those of ids. The others of
/// the requirements judge the suite, whose faults are no defects of the system.
const JUDGING: [&str; 5] = ["r4_m2_", "r4_m3_", "r4_m4_", "r4_m6_007", "r4_m6_008"];

/// The last milestone before the fix passes: what comes later and did not run is no gap yet.
const BEFORE_FIXES: u8 = 4;

/// What the fix passes did, as far as there were any.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FixHistory {
    /// The passes that ended.
    pub passes: Vec<Pass>,
    /// The first catalogue by priority, frozen.
    pub first: Open,
    /// Why they ended, or wait; none when the run was cut short.
    pub stop: Option<Stop>,
    /// How much of the first catalogue is gone, 0 to 1.
    pub convergence: f64,
    /// What it came to.
    pub verdict: FixVerdict,
    /// What was decided on the way.
    pub notes: Vec<String>,
}

impl FixHistory {
    /// The history of a ledger; `catalogue` is the one at the end. Without a ledger there is one
    /// only where nothing had to be fixed and `complete` says that every phase ran.
    pub(super) fn of(ledger: Option<&Ledger>, catalogue: &Catalogue, complete: bool) -> Option<Self> {
        let left = catalogue.count();
        let nothing = |ledger: &Ledger| ledger.passes.is_empty() && ledger.stop == Some(Stop::NothingToFix);
        match ledger {
            // That there was nothing to fix can be said only when every phase ran.
            Some(ledger) if nothing(ledger) && !complete => None,
            Some(ledger) => Some(Self {
                passes: ledger.passes.clone(),
                first: ledger.first,
                stop: ledger.stop,
                convergence: convergence(ledger.first, left),
                verdict: FixVerdict::of(convergence(ledger.first, left), left, ledger.stop),
                notes: ledger.notes.clone(),
            }),
            None if complete && left.p0 + left.p1 + left.p2 == 0 => Some(Self {
                passes: Vec::new(),
                first: left,
                stop: Some(Stop::NothingToFix),
                convergence: 1.0,
                verdict: FixVerdict::Converged,
                notes: Vec::new(),
            }),
            None => None,
        }
    }

    /// How far the threshold of convergence is met.
    pub(super) fn level(&self) -> Level {
        match self.convergence {
            share if share >= 0.95 => Level::Stretch,
            share if share >= 0.85 => Level::Target,
            share if share >= 0.70 => Level::Minimum,
            _ => Level::Below,
        }
    }
}

/// What a bundle shows to be wrong.
pub(super) struct Signs<'a> {
    pub(super) matrix: &'a Matrix,
    pub(super) rows: &'a [RowVerdict],
    pub(super) tests: &'a [TestVerdict],
    pub(super) noticed: &'a [Noticed],
}

/// The catalogue of `symptoms`: that of the fix passes with what is seen now, or a new one. What
/// scans said of a tree that was repaired since is no longer so.
pub(super) fn catalogue(symptoms: &[Symptom], ledger: Option<&Ledger>) -> (Catalogue, Option<CatalogFull>) {
    let mut catalogue = ledger.map(|ledger| ledger.catalogue.clone()).unwrap_or_default();
    let pass = ledger.map_or(0, |ledger| u32::try_from(ledger.passes.len()).unwrap_or(u32::MAX));
    let repaired: BTreeSet<_> =
        catalogue.entries.iter().filter(|entry| !entry.is_open()).map(|entry| entry.cause.clone()).collect();
    let is_repaired = |symptom: &&Symptom| symptom.key.starts_with("scan ") && repaired.contains(&symptom.cause);
    let seen: Vec<_> = symptoms.iter().filter(|symptom| !is_repaired(symptom)).cloned().collect();
    let full = catalogue.absorb(&seen, pass, None).err();
    (catalogue, full)
}

impl Signs<'_> {
    /// Everything that is wrong, in the order of ids and tests.
    pub(super) fn symptoms(&self) -> Vec<Symptom> {
        let tests = self.tests.iter().filter_map(|test| self.of_test(test));
        let unrun = self.rows.iter().filter(|row| row.tests.is_empty()).filter_map(|row| self.of_row(row));
        tests.chain(unrun).chain(self.noticed.iter().flat_map(noticed)).collect()
    }

    fn of_test(&self, test: &TestVerdict) -> Option<Symptom> {
        let milestone = test.name.milestone()?;
        let row = test.id.as_ref().and_then(|id| self.matrix.row(id));
        if row.is_none() && !JUDGING.iter().any(|kind| test.name.test.starts_with(kind)) {
            return None;
        }
        let place = test.evidence.as_deref().unwrap_or("no record");
        let name = test.name.to_string();
        symptom(&test.status, &name, &test.name.test, row, milestone).map(|symptom| Symptom {
            evidence: format!("{}: {place}", symptom.evidence),
            reproduction: format!("cargo nextest run {}", test.name.test),
            ..symptom
        })
    }

    /// An id without any test result.
    fn of_row(&self, row: &RowVerdict) -> Option<Symptom> {
        let id = row.row.id.to_string();
        symptom(&row.status, &id, &row.row.test, Some(&row.row), row.row.milestone)
    }
}

/// What the verdict `status` of the test `name` says; none for a pass, and for what was not to run yet.
fn symptom(status: &Status, name: &str, test: &str, row: Option<&Row>, milestone: u8) -> Option<Symptom> {
    let reason = status.reason()?;
    if matches!(status, Status::Untested(_)) && milestone > BEFORE_FIXES {
        return None;
    }
    let failed = matches!(status, Status::Fail(_));
    let code = row.map_or_else(|| requirement(test), |row| row.id.to_string());
    let (system, target) = owner(row, test);
    let effect = match (failed, row) {
        (false, _) => Effect::NotTried,
        (true, Some(row)) => row.effect(),
        (true, None) => effect_of_requirement(test),
    };
    // One broken run of the pipeline fails many ids with the same words.
    let shared = row.is_some_and(|row| row.need == Need::Pipeline) || !failed;
    let origin = if shared { status.word().to_owned() } else { format!("{system} {}", test.split("::").next()?) };
    Some(Symptom {
        key: format!("test {name}"),
        cause: format!("{origin}: {}", without_numbers(reason)),
        title: if failed { reason.split_whitespace().collect::<Vec<_>>().join(" ") } else { status.to_string() },
        component: component(row, test),
        target: if failed { target.to_owned() } else { String::new() },
        file: String::new(),
        line: 0,
        severity: Severity::Error,
        workaround: row.map(|row| row.workaround.clone()).unwrap_or_default(),
        evidence: status.word().to_owned(),
        reproduction: format!("cargo nextest run {code}"),
        recommendation: recommendation(status, row),
        code,
        system,
        effect,
    })
}

/// Whose it is, and who is told.
fn owner(row: Option<&Row>, test: &str) -> (System, &'static str) {
    let id = row.map(|row| row.id.to_string()).unwrap_or_default();
    match (id.split('-').next(), test) {
        (Some("B1"), _) => (System::Build1, "build1"),
        (Some("B2"), _) => (System::Build2, "build2"),
        (Some("B3"), _) => (System::Build3, "build3"),
        (_, test) if test.starts_with("r4_m2_003") || test.starts_with("r4_m3_") => (System::Build2, "build2"),
        (_, test) if test.starts_with("r4_m2_") => (System::Build1, "build1"),
        _ => (System::Integration, "integration"),
    }
}

/// The tool or case of a test, else what its id is about.
fn component(row: Option<&Row>, test: &str) -> String {
    let case = test.split_once("::").map(|(_, case)| case.trim_start_matches("case_"));
    let case = case.map(|case| case.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '_'));
    let subject = row.map_or(test.split("::").next().unwrap_or(test), |row| row.title.trim_start_matches("test_"));
    match case.filter(|case| !case.is_empty()) {
        Some(case) => format!("{subject}: {case}"),
        None => subject.to_owned(),
    }
}

/// `r4_m2_004_ten_calls` is of R4-M2-004.
fn requirement(test: &str) -> String {
    test.split('_').take(3).collect::<Vec<_>>().join("-").to_uppercase()
}

fn effect_of_requirement(test: &str) -> Effect {
    if test.starts_with("r4_m2_007") { Effect::Cosmetic } else { Effect::Shared }
}

fn recommendation(status: &Status, row: Option<&Row>) -> String {
    match (status, row) {
        (Status::Fail(_), Some(row)) => format!("make this hold: {}", row.promise),
        (Status::Fail(_), None) => "make the promise in the test's first line hold".into(),
        (Status::Broken(_), _) => "repair the suite or the machine and run again".into(),
        (Status::Untestable(reason), _) => format!("provide what is missing: {reason}"),
        (Status::Untested(_) | Status::Pass, _) => "run it".into(),
    }
}

/// What tests noticed beside their verdict.
fn noticed(noticed: &Noticed) -> Vec<Symptom> {
    match noticed {
        Noticed::Gate { source, report } => {
            let layers = report["layers"].as_object().into_iter().flatten();
            let lists = layers.flat_map(|(_, layer)| [&layer["violations"], &layer["contract_violations"]]);
            lists.filter_map(Value::as_array).flatten().map(|it| violation(it, source)).collect()
        }
        Noticed::Integration { source, violations } => violations.iter().map(|it| violation(it, source)).collect(),
        Noticed::Spelling { source, spelling } => vec![spelled(spelling, source)],
    }
}

fn violation(value: &Value, source: &str) -> Symptom {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let message = text("message");
    let place = [text("file_path"), text("file"), text("endpoint")].into_iter().find(|it| !it.is_empty());
    let violation = Violation {
        code: canonical(&text("code"), &message).to_owned(),
        severity: serde_json::from_value(value["severity"].clone()).unwrap_or(Severity::Error),
        file: place.unwrap_or_default(),
        line: value["line"].as_u64().unwrap_or(0),
        message,
    };
    // Contracts are judged on the running system; whoever generates the service is told.
    let contract = ["SCHEMA-", "PACT-", "FLOW-"].iter().any(|kind| violation.code.starts_with(kind));
    let service = text("service");
    let (by, target) = if contract { (By::Integration, "build2") } else { (By::Scan, service.as_str()) };
    Scanned {
        by,
        target,
        component: &service,
        system: System::Build2,
        evidence: &format!("reported in the pipeline run (record of {source})"),
        reproduction: "cargo nextest run B3-04; see .run4/local/pipeline/QUALITY_GATE_REPORT.md",
    }
    .symptom(&violation)
}

/// An alternative spelling that was read all the same (D-25).
fn spelled(spelling: &str, source: &str) -> Symptom {
    Symptom {
        key: format!("spelling {spelling}"),
        cause: format!("spelling {spelling}"),
        code: "SPELLING".into(),
        title: format!("a reply is spelled otherwise than the specification: {spelling}"),
        system: System::Build1,
        component: spelling.split(':').next().unwrap_or(spelling).to_owned(),
        target: "build1".into(),
        file: String::new(),
        line: 0,
        severity: Severity::Info,
        effect: Effect::Cosmetic,
        workaround: String::new(),
        evidence: format!("noticed by {source}"),
        reproduction: "cargo nextest run B1-07".into(),
        recommendation: "use the field names of the specification (tools.md)".into(),
    }
}

/// Those of `entries` that are of `system`, worst first, then by id.
pub(super) fn of_system(catalogue: &Catalogue, system: System) -> Vec<&Entry> {
    let mut own: Vec<_> = catalogue.entries.iter().filter(|entry| entry.finding.system == system).collect();
    own.sort_by_key(|entry| (entry.finding.priority, entry.finding.finding_id));
    own
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
