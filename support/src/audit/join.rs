//! From results and records to verdicts: per test, then per id of the matrix.
//!
//! A pass needs two witnesses: the runner's result and the test's own sealed record. Where
//! they disagree nothing is said about the system, so the verdict is BROKEN.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    junit::{Execution, Outcome},
    listing::Listing,
    name::TestName,
    testimony::Testimony,
};
use crate::{
    browser,
    config::Substrate,
    evidence::Record,
    matrix::{Id, Matrix, Need, Row},
    verdict::Status,
};

/// What is known about one test.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TestVerdict {
    /// The test.
    #[serde(flatten)]
    pub name: TestName,
    /// The id it judges, if any.
    pub id: Option<Id>,
    /// The verdict.
    #[serde(flatten)]
    pub status: Status,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// Its record, below the bundle.
    pub evidence: Option<String>,
    /// The runner's own words, where they say more.
    pub note: Option<String>,
    /// The run of the test runner that its result is of.
    pub run: Option<String>,
    /// How many attempts failed before the last one.
    pub retries: usize,
    /// Whether the last attempt passed after others had failed.
    pub flaky: bool,
    /// When it began, by its own record.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended, by its own record.
    pub finished_at: Option<DateTime<Utc>>,
}

/// What is known about one id.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RowVerdict {
    /// The promise.
    pub row: Row,
    /// The worst of its tests.
    #[serde(flatten)]
    pub status: Status,
    /// How long its tests took together, in seconds; none when none ran.
    pub seconds: Option<f64>,
    /// Its tests.
    pub tests: Vec<TestName>,
}

impl RowVerdict {
    /// What a pass leaves open: the part of the promise that no test shows yet.
    pub(super) fn not_shown(&self) -> Option<&str> {
        let part = self.row.not_shown.as_str();
        (self.status == Status::Pass && !part.is_empty()).then_some(part)
    }
}

/// Everything a verdict rests on.
pub(super) struct Facts<'a> {
    pub(super) matrix: &'a Matrix,
    /// The sessions whose records count.
    pub(super) sessions: &'a BTreeSet<&'a str>,
    pub(super) substrate: Substrate,
    /// Whether there was a browser to show a page in.
    pub(super) has_browser: bool,
    /// The manifest keys that the system has.
    pub(super) keys: &'a BTreeSet<String>,
    /// What should have run; without it, what the results list.
    pub(super) listing: Option<&'a Listing>,
    pub(super) executions: &'a BTreeMap<TestName, Execution>,
    pub(super) testimonies: &'a BTreeMap<TestName, Testimony>,
}

/// The record of a test, seen from this session.
enum Seen<'a> {
    Nothing,
    Spoilt(&'a str),
    /// Left by another session.
    Foreign(&'a str),
    Record(&'a Record),
}

impl Facts<'_> {
    /// The verdict of every test that was expected, has a result, or wrote a record.
    pub(super) fn judge_tests(&self) -> Vec<TestVerdict> {
        let listed = self.listing.into_iter().flat_map(Listing::tests);
        let witnessed = self.testimonies.keys().filter(|name| !matches!(self.seen(name), Seen::Foreign(_)));
        let names: BTreeSet<_> = listed.chain(self.executions.keys()).chain(witnessed).collect();
        names.into_iter().map(|name| self.judge_test(name)).collect()
    }

    fn judge_test(&self, name: &TestName) -> TestVerdict {
        let row = self.matrix.claimed_by(&name.test);
        let execution = self.executions.get(name);
        let outcome = execution.map(|execution| &execution.outcome);
        let status = self.status(name, row, execution);
        let (has_record, intact) = match self.seen(name) {
            Seen::Record(record) => (true, Some(record)),
            Seen::Spoilt(_) => (true, None),
            Seen::Nothing | Seen::Foreign(_) => (false, None),
        };
        let path = has_record.then(|| Record::path(Path::new(""), &name.binary, &name.test));
        let telling = |outcome: &&Outcome| !matches!(outcome, Outcome::Passed | Outcome::Skipped);
        let note = outcome.filter(telling).map(Outcome::to_string);
        TestVerdict {
            name: name.clone(),
            id: row.map(|row| row.id.clone()),
            seconds: execution
                .filter(|execution| execution.outcome != Outcome::Skipped)
                .and_then(|execution| execution.seconds),
            evidence: path.map(|path| path.to_string_lossy().into_owned()),
            note: note.filter(|note| status.reason() != Some(note)),
            run: execution.map(|execution| execution.run_id.clone()),
            retries: execution.map_or(0, |execution| execution.retries),
            flaky: matches!(outcome, Some(Outcome::Flaky(_))),
            started_at: intact.map(|record| record.started_at),
            finished_at: intact.and_then(|record| record.finished_at),
            status,
        }
    }

    /// What a test wrote in this session, as it was sealed.
    pub(super) fn record(&self, name: &TestName) -> Option<&Record> {
        match self.seen(name) {
            Seen::Record(record) => Some(record),
            Seen::Nothing | Seen::Spoilt(_) | Seen::Foreign(_) => None,
        }
    }

    fn seen(&self, name: &TestName) -> Seen<'_> {
        match self.testimonies.get(name) {
            None => Seen::Nothing,
            Some(Testimony::Spoilt(reason)) => Seen::Spoilt(reason),
            Some(Testimony::Intact(record)) if !self.sessions.contains(record.session.as_str()) => {
                Seen::Foreign(&record.session)
            }
            Some(Testimony::Intact(record)) => Seen::Record(record),
        }
    }

    fn status(&self, name: &TestName, row: Option<&Row>, execution: Option<&Execution>) -> Status {
        let needs_evidence = name.needs_evidence(row.is_some());
        let seen = self.seen(name);
        let Some(Execution { run_id, outcome, .. }) = execution else {
            return match seen {
                Seen::Spoilt(reason) => Status::Broken(reason.to_owned()),
                Seen::Record(_) => broken("it wrote evidence in this session, but the runner left no result of it"),
                Seen::Nothing | Seen::Foreign(_) => Status::Untested(self.unrun_reason(name).to_owned()),
            };
        };
        match (outcome, seen) {
            (_, Seen::Spoilt(reason)) => Status::Broken(reason.to_owned()),
            (Outcome::Skipped, Seen::Record(_)) => {
                broken("disagree: the runner skipped it, but it wrote evidence in this session")
            }
            (Outcome::Skipped, _) => self.unselected(name, row),
            (Outcome::Flaky(_), _) => Status::Broken(outcome.to_string()),
            (Outcome::Passed, Seen::Record(record)) => confirm(record, run_id),
            (Outcome::Passed, _) if !needs_evidence => Status::Pass,
            (Outcome::Passed, Seen::Foreign(session)) => {
                Status::Broken(format!("disagree: the runner says passed, its evidence is of session {session}"))
            }
            (Outcome::Passed, Seen::Nothing) => broken("disagree: the runner says passed, but it left no evidence"),
            (failure, Seen::Record(record)) => explain(failure, record),
            (failure, Seen::Nothing | Seen::Foreign(_)) => Status::Broken(failure.to_string()),
        }
    }

    fn unrun_reason(&self, name: &TestName) -> &'static str {
        if self.listing.is_some_and(|listing| !listing.selects(name)) { "not selected" } else { "not run" }
    }

    /// Why a test was left out: what it needs is not there, or nobody asked for it.
    fn unselected(&self, name: &TestName, row: Option<&Row>) -> Status {
        if browser::is_needed_by(&name.test) && !self.has_browser {
            return Status::Untestable(browser::MISSING.into());
        }
        let Some(row) = row else { return Status::Untested("not selected".into()) };
        if lacks_docker(row, self.substrate) {
            return Status::Untestable("docker".into());
        }
        match row.keys.iter().find(|key| !self.keys.contains(*key)) {
            Some(key) => Status::Untestable(key.clone()),
            None => Status::Untested("not selected".into()),
        }
    }

    /// The verdict of every id of the matrix, in its order.
    pub(super) fn judge_rows(&self, tests: &[TestVerdict]) -> Vec<RowVerdict> {
        let by_id = by_id(tests);
        let own = |row: &Row| by_id.get(&row.id).map_or(&[][..], Vec::as_slice);
        self.matrix.rows().iter().map(|row| self.judge_row(row, own(row))).collect()
    }

    fn judge_row(&self, row: &Row, tests: &[&TestVerdict]) -> RowVerdict {
        let pending = self.matrix.pending().contains(&row.id);
        let none = || Status::Untested(if pending { "no test yet" } else { "not run" }.to_owned());
        let worst = Status::worst(tests.iter().map(|test| test.status.clone())).unwrap_or_else(none);
        let status = match worst {
            // A pass without containers would say nothing about containers.
            Status::Pass | Status::Untested(_) if lacks_docker(row, self.substrate) => {
                Status::Untestable("docker".into())
            }
            other => other,
        };
        RowVerdict {
            row: row.clone(),
            status,
            seconds: tests.iter().filter_map(|test| test.seconds).reduce(|sum, seconds| sum + seconds),
            tests: tests.iter().map(|test| test.name.clone()).collect(),
        }
    }
}

/// The tests that judge an id, by that id, each in the order of `tests`.
pub(super) fn by_id(tests: &[TestVerdict]) -> BTreeMap<&Id, Vec<&TestVerdict>> {
    let mut by_id: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for test in tests {
        if let Some(id) = &test.id {
            by_id.entry(id).or_default().push(test);
        }
    }
    by_id
}

fn lacks_docker(row: &Row, substrate: Substrate) -> bool {
    row.need == Need::Docker && substrate == Substrate::Process
}

fn broken(reason: &str) -> Status {
    Status::Broken(reason.to_owned())
}

/// What a pass of the runner is worth beside the test's own record.
fn confirm(record: &Record, run_id: &str) -> Status {
    let disagree = |what: String| Status::Broken(format!("disagree: the runner says passed, {what}"));
    if record.run.as_deref().is_some_and(|run| !run.eq_ignore_ascii_case(run_id)) {
        return disagree(format!("its evidence is of run {}", record.run.as_deref().unwrap_or_default()));
    }
    match &record.verdict {
        None => disagree("its evidence has no verdict".into()),
        Some(Status::Pass) if record.checks.is_empty() => disagree("its evidence holds no check".into()),
        Some(Status::Pass) => match record.checks.iter().find(|check| !check.holds) {
            Some(check) => disagree(format!("its evidence says that this does not hold: {}", check.fact)),
            None => Status::Pass,
        },
        Some(other) => disagree(format!("its evidence says {other}")),
    }
}

/// What a failure of the runner means, as the test's own record has it.
fn explain(failure: &Outcome, record: &Record) -> Status {
    match &record.verdict {
        Some(told @ (Status::Fail(_) | Status::Broken(_) | Status::Untestable(_))) => told.clone(),
        None => Status::Broken(failure.to_string()),
        Some(other) => Status::Broken(format!("disagree: its evidence says {other}, the runner: {failure}")),
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
