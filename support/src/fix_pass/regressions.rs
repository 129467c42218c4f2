//! What a fix pass broke (R4-M1-005, R4-M5-006, scoring.md §7).

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

/// The hits of a scan set: scan code → path of each hit. A path that occurs twice is two hits.
pub type Violations = BTreeMap<String, Vec<String>>;

/// What is the case before or after a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The hits of the full scan set.
    pub violations: Violations,
    /// The same with line and message, equal ones counted.
    #[serde(default)]
    pub details: Vec<Hit>,
    /// Tests that passed.
    pub passed_tests: BTreeSet<String>,
    /// Tests that failed.
    pub failed_tests: BTreeSet<String>,
}

/// One hit of a scan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hit {
    /// The scan code.
    pub code: String,
    /// The path, below what was scanned.
    pub path: String,
    /// The line, from 1; 0 for none.
    pub line: u64,
    /// What is wrong.
    pub message: String,
    /// How often it stands there.
    pub count: usize,
}

impl Snapshot {
    /// The snapshot of these hits and tests.
    pub fn new(mut hits: Vec<Hit>, passed_tests: BTreeSet<String>, failed_tests: BTreeSet<String>) -> Self {
        hits.sort();
        let mut violations = Violations::new();
        for hit in &hits {
            let paths = violations.entry(hit.code.clone()).or_default();
            paths.extend(std::iter::repeat_n(hit.path.clone(), hit.count));
        }
        let details = hits.into_iter().fold(Vec::<Hit>::new(), |mut known, hit| {
            let alike = |one: &Hit| {
                (&one.code, &one.path, one.line, &one.message) == (&hit.code, &hit.path, hit.line, &hit.message)
            };
            match known.last_mut().filter(|last| alike(last)) {
                Some(last) => last.count += hit.count,
                None => known.push(hit),
            }
            known
        });
        Self { violations, details, passed_tests, failed_tests }
    }

    /// Where it has hits.
    pub fn places(&self) -> BTreeSet<Place> {
        counted(&self.violations).into_keys().collect()
    }
}

/// A scan code and a file; written `CODE:path`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    code: String,
    path: String,
}

impl Place {
    /// The place of `code` in `path`. Spellings of one path make one place: `./src\a.py` and
    /// `src/b/../a.py` are `src/a.py` (flows.md §5, corner 6).
    pub fn new(code: impl Into<String>, path: &str) -> Self {
        Self { code: code.into(), path: canonical(path) }
    }

    /// The scan code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The path in its one spelling.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.code, self.path)
    }
}

/// A place with more hits after a pass than before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewViolation {
    /// Where.
    pub place: Place,
    /// Hits before the pass.
    pub before: usize,
    /// Hits after it; always more.
    pub after: usize,
}

/// Everything that a pass made worse.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegressionDetails {
    /// Places with more hits than before, in order.
    pub new: Vec<NewViolation>,
    /// Those of `new` that had been fixed by this or an earlier pass.
    pub reappeared: Vec<Place>,
    /// Tests that passed before and fail now, in order, each once.
    pub flipped_tests: Vec<String>,
}

impl RegressionDetails {
    /// Compares a pass's snapshots. `ever_fixed` holds the places that any pass so far fixed.
    pub fn between(before: &Snapshot, after: &Snapshot, ever_fixed: &BTreeSet<Place>) -> Self {
        let new = new_violations(&before.violations, &after.violations);
        let reappeared = new.iter().map(|violation| &violation.place).filter(|place| ever_fixed.contains(place));
        Self {
            reappeared: reappeared.cloned().collect(),
            flipped_tests: before.passed_tests.intersection(&after.failed_tests).cloned().collect(),
            new,
        }
    }

    /// Regressions as the regression rate counts them: new hits plus flipped tests.
    pub fn count(&self) -> usize {
        let hits: usize = self.new.iter().map(|violation| violation.after - violation.before).sum();
        hits + self.flipped_tests.len()
    }
}

/// The places (`CODE:path`, sorted, each once) with more hits in `after` than in `before`.
/// A place that was absent is the common case; a second hit in the same file counts too.
pub fn detect_regressions(before: &Violations, after: &Violations) -> Vec<String> {
    let mut places: Vec<_> = new_violations(before, after).iter().map(|new| new.place.to_string()).collect();
    places.sort();
    places
}

fn new_violations(before: &Violations, after: &Violations) -> Vec<NewViolation> {
    let before = counted(before);
    let mut new = Vec::new();
    for (place, after) in counted(after) {
        let before = before.get(&place).copied().unwrap_or(0);
        if after > before {
            new.push(NewViolation { place, before, after });
        }
    }
    new
}

fn counted(violations: &Violations) -> BTreeMap<Place, usize> {
    let mut counts = BTreeMap::new();
    for (code, paths) in violations {
        for path in paths {
            *counts.entry(Place::new(code, path)).or_insert(0) += 1;
        }
    }
    counts
}

/// The one spelling of `path`: `/` between the parts, no `.`, no `..` that can be resolved.
fn canonical(path: &str) -> String {
    let path = path.replace('\\', "/");
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match (part, parts.last()) {
            ("" | ".", _) => {}
            ("..", Some(&last)) if last != ".." => {
                parts.pop();
            }
            ("..", None) if absolute => {}
            _ => parts.push(part),
        }
    }
    format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"))
}
