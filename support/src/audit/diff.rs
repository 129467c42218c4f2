//! What changed between two bundles: verdicts, tests, scores by term, latency, findings and what
//! speaks against trusting them. A pure function of two audits.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    Audit, Timing,
    report::SYSTEMS,
    scoring::{Line, Score},
};
use crate::{fix_pass::catalogue::Entry, verdict::Status};

/// What it takes for a time to have changed beyond noise, for people.
pub const LATENCY_RULE: &str = "a median counts as moved when it moved by more than 25 % of the older one, by more \
                                than the older spread (p95 - median), and by at least 1 ms";

/// The three parts of [`LATENCY_RULE`]: share, and least milliseconds.
const LATENCY_SHARE: f64 = 0.25;
const LATENCY_LEAST_MS: f64 = 1.0;

/// Points of a score that are no change.
const ROUNDING: f64 = 1e-9;

/// What changed from one bundle to another, in a fixed order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The older bundle.
    pub old: Side,
    /// The newer one.
    pub new: Side,
    /// What changed.
    pub changes: Vec<Change>,
}

/// Which run a bundle is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its session.
    pub session: String,
    /// When it began.
    pub started_at: chrono::DateTime<chrono::Utc>,
    /// The system under test.
    pub system: String,
    /// Where services ran.
    pub substrate: String,
    /// The revision of the suite, where it is known.
    pub revision: Option<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Whether it is for the better.
    pub direction: Direction,
    /// What kind of thing changed.
    pub kind: Kind,
    /// Which one.
    pub what: String,
    /// What it was; empty for what was not there.
    pub before: String,
    /// What it is; empty for what is not there.
    pub after: String,
}

/// Whether a change is for the better. Ordered as it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// For the worse.
    Worse,
    /// For the better.
    Better,
    /// Neither.
    Other,
}

/// What kind of thing changed. Ordered as it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What speaks against trusting a bundle.
    Problem,
    /// The verdict of an id of the matrix.
    Id,
    /// The verdict of a test.
    Test,
    /// A test that is new.
    Appeared,
    /// A test that is gone.
    Vanished,
    /// A score, or a term of one.
    Score,
    /// The median time of a tool.
    Latency,
    /// An open finding.
    Finding,
}

impl Diff {
    /// What changed from `old` to `new`.
    pub fn between(old: &Audit, new: &Audit) -> Self {
        let mut changes = problems(old, new);
        changes.extend(ids(old, new));
        changes.extend(tests(old, new));
        changes.extend(scores(old, new));
        changes.extend(latency(old, new));
        changes.extend(findings(old, new));
        changes.sort();
        Self { old: Side::of(old), new: Side::of(new), changes }
    }

    /// Whether anything is worse than it was.
    pub fn is_worse(&self) -> bool {
        self.changes.iter().any(|change| change.direction == Direction::Worse)
    }
}

impl Side {
    fn of(audit: &Audit) -> Self {
        let manifest = &audit.manifest;
        Self {
            session: manifest.session.clone(),
            started_at: manifest.started_at,
            system: manifest.system.name.clone(),
            substrate: manifest.substrate.to_string(),
            revision: manifest.revision.clone(),
        }
    }
}

fn change(
    direction: Direction,
    kind: Kind,
    what: impl ToString,
    before: impl ToString,
    after: impl ToString,
) -> Change {
    Change { direction, kind, what: what.to_string(), before: before.to_string(), after: after.to_string() }
}

/// Red below what is not known, that below green.
fn quality(status: &Status) -> u8 {
    match status {
        Status::Fail(_) | Status::Broken(_) => 0,
        Status::Untestable(_) | Status::Untested(_) => 1,
        Status::Pass => 2,
    }
}

fn verdict(kind: Kind, what: impl ToString, before: &Status, after: &Status) -> Option<Change> {
    let direction = match quality(after).cmp(&quality(before)) {
        std::cmp::Ordering::Less => Direction::Worse,
        std::cmp::Ordering::Greater => Direction::Better,
        // Another reason for the same word is no change.
        std::cmp::Ordering::Equal if before.word() == after.word() => return None,
        std::cmp::Ordering::Equal => Direction::Other,
    };
    Some(change(direction, kind, what, before, after))
}

fn ids(old: &Audit, new: &Audit) -> Vec<Change> {
    let before: BTreeMap<_, _> = old.rows.iter().map(|row| (&row.row.id, &row.status)).collect();
    let changed = new.rows.iter().filter_map(|row| {
        let was = before.get(&row.row.id)?;
        verdict(Kind::Id, &row.row.id, was, &row.status)
    });
    changed.collect()
}

fn tests(old: &Audit, new: &Audit) -> Vec<Change> {
    let (before, after) = (by_name(old), by_name(new));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter_map(|name| match (before.get(name), after.get(name)) {
        (Some(was), Some(is)) => verdict(Kind::Test, name, was, is),
        (Some(was), None) => {
            // A pass that nobody looks for any more is a promise given up.
            let direction = if **was == Status::Pass { Direction::Worse } else { Direction::Other };
            Some(change(direction, Kind::Vanished, name, was, ""))
        }
        (None, Some(is)) => {
            let direction = if quality(is) == 0 { Direction::Worse } else { Direction::Other };
            Some(change(direction, Kind::Appeared, name, "", is))
        }
        (None, None) => None,
    });
    changed.collect()
}

fn by_name(audit: &Audit) -> BTreeMap<String, &Status> {
    audit.tests.iter().map(|test| (test.name.to_string(), &test.status)).collect()
}

fn scores(old: &Audit, new: &Audit) -> Vec<Change> {
    let mut changes = Vec::new();
    for ((name, was, before), (_, is, after)) in systems(old).into_iter().zip(systems(new)) {
        changes.extend(points(name, Some(before), Some(after)));
        let terms: BTreeMap<_, _> = was.lines.iter().map(|line| (line.category, line)).collect();
        let term = |line: &Line| {
            let was = terms.get(line.category)?;
            points(&format!("{name}, {}", line.category), was.points, line.points)
        };
        changes.extend(is.lines.iter().filter_map(term));
    }
    changes.extend(points("Aggregate", Some(old.scores.aggregate_capped), Some(new.scores.aggregate_capped)));
    changes
}

/// Each system with its score, and the value that counts.
fn systems(audit: &Audit) -> Vec<(&'static str, &Score, f64)> {
    let values = audit.scores.builds.iter().map(|score| (score, score.value));
    let values = values.chain([(&audit.scores.integration, audit.scores.integration_capped)]);
    SYSTEMS.into_iter().zip(values).map(|(name, (score, value))| (name, score, value)).collect()
}

fn points(what: &str, before: Option<f64>, after: Option<f64>) -> Option<Change> {
    let shown = |points: Option<f64>| points.map_or_else(|| "N/A".to_owned(), |points| format!("{points:.2}"));
    let direction = match (before, after) {
        (Some(was), Some(is)) if is < was - ROUNDING => Direction::Worse,
        (Some(was), Some(is)) if is > was + ROUNDING => Direction::Better,
        (Some(_), Some(_)) | (None, None) => return None,
        _ => Direction::Other,
    };
    Some(change(direction, Kind::Score, what, shown(before), shown(after)))
}

fn latency(old: &Audit, new: &Audit) -> Vec<Change> {
    let key = |timing: &Timing| (timing.name.clone(), timing.source.clone());
    let before: BTreeMap<_, _> = old.latency.iter().map(|timing| (key(timing), timing)).collect();
    new.latency.iter().filter_map(|timing| moved(before.get(&key(timing))?, timing)).collect()
}

/// [`LATENCY_RULE`].
fn moved(was: &Timing, is: &Timing) -> Option<Change> {
    let (before, after) = (was.figures.median_ms, is.figures.median_ms);
    let distance = (after - before).abs();
    let spread = was.figures.p95_ms - before;
    if distance <= LATENCY_SHARE * before || distance <= spread || distance < LATENCY_LEAST_MS {
        return None;
    }
    let direction = if after > before { Direction::Worse } else { Direction::Better };
    Some(change(direction, Kind::Latency, &is.name, format!("{before:.2} ms"), format!("{after:.2} ms")))
}

fn problems(old: &Audit, new: &Audit) -> Vec<Change> {
    let of = |audit: &Audit| -> BTreeSet<String> { audit.problems.iter().map(ToString::to_string).collect() };
    let (before, after) = (of(old), of(new));
    let come = after.difference(&before).map(|it| change(Direction::Worse, Kind::Problem, it, "", "new"));
    let gone = before.difference(&after).map(|it| change(Direction::Better, Kind::Problem, it, "there", ""));
    come.chain(gone).collect()
}

/// Open findings by their cause, since ids are given anew in each run, and how urgent they are.
fn findings(old: &Audit, new: &Audit) -> Vec<Change> {
    let (before, after) = (open(old), open(new));
    let what = |entry: &Entry| format!("{}: {}", entry.code, entry.title);
    let said = |entry: &Entry| format!("{:?}", entry.finding.priority);
    let come = after.iter().filter(|(cause, _)| !before.contains_key(*cause));
    let come = come.map(|(_, entry)| change(Direction::Worse, Kind::Finding, what(entry), "", said(entry)));
    let gone = before.iter().filter(|(cause, _)| !after.contains_key(*cause));
    let gone = gone.map(|(_, entry)| change(Direction::Better, Kind::Finding, what(entry), said(entry), ""));
    let common = after.iter().filter_map(|(cause, is)| Some((*before.get(cause)?, *is)));
    let moved = common.filter_map(|(was, is)| {
        // P0 is less than P3.
        let direction = match is.finding.priority.cmp(&was.finding.priority) {
            std::cmp::Ordering::Less => Direction::Worse,
            std::cmp::Ordering::Greater => Direction::Better,
            std::cmp::Ordering::Equal => return None,
        };
        Some(change(direction, Kind::Finding, what(is), said(was), said(is)))
    });
    come.chain(gone).chain(moved).collect()
}

fn open(audit: &Audit) -> BTreeMap<&str, &Entry> {
    let open = audit.findings.entries.iter().filter(|entry| entry.is_open());
    open.map(|entry| (entry.cause.as_str(), entry)).collect()
}

impl std::fmt::Display for Direction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Other => "other",
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Problem => "problem",
            Self::Id => "id",
            Self::Test => "test",
            Self::Appeared => "appeared",
            Self::Vanished => "vanished",
            Self::Score => "score",
            Self::Latency => "latency",
            Self::Finding => "finding",
        })
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
