//! What a test saw, written as it happens: one JSON file per test below `evidence/` of the
//! bundle, whole at every moment and there even when the test is killed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    atomic,
    matrix::function_name,
    verdict::{Failure, Status, Verdict, held_failure},
    workspace,
};

/// The file of one test. Its shape is the border between the tests and the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The test binary, `m2_mcp_wiring`.
    pub binary: String,
    /// The test function with its case, `b1_07_mcp_tool_responses::find_definition`.
    pub test: String,
    /// The session it ran in.
    pub session: String,
    /// The test runner's own run, when there was one.
    pub run: Option<String>,
    /// When the test began.
    pub started_at: DateTime<Utc>,
    /// When it ended; `None` while it runs, and for ever when it was killed.
    pub finished_at: Option<DateTime<Utc>>,
    /// What the test concluded; `None` while it runs.
    pub verdict: Option<Status>,
    /// Each fact that was checked, in order.
    pub checks: Vec<Check>,
    /// Measurements and replies worth keeping, by name.
    pub observations: BTreeMap<String, Value>,
}

/// One fact and whether it held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The fact as a sentence.
    pub fact: String,
    /// Whether it held.
    pub holds: bool,
    /// What was seen, where that says more than the fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Value>,
}

impl Record {
    /// The place of a test's record below a bundle.
    pub fn path(bundle: &Path, binary: &str, test: &str) -> PathBuf {
        bundle.join("evidence").join(binary).join(format!("{}.json", test.replace("::", "--")))
    }
}

/// The observation that holds a record's [`Figure`]s.
pub(crate) const FIGURES: &str = "figures";

/// A figure that a test measured, as the report prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what: `s`, `MiB`, `orders/s`.
    pub unit: String,
    /// What is promised, in the plan's words; empty when nothing is.
    #[serde(default)]
    pub promised: String,
}

/// The recorder of one test, given to it by the fixture [`evidence`](crate::fixtures::evidence).
///
/// A test that ends well without having checked anything panics on drop: its green would
/// mean nothing.
pub struct Evidence {
    path: PathBuf,
    record: Mutex<Record>,
}

impl Evidence {
    /// Starts the record of the test on this thread.
    ///
    /// # Errors
    /// When the bundle cannot be written.
    pub fn start() -> std::io::Result<Self> {
        let (binary, test) = current_test();
        let evidence = Self {
            path: Record::path(&workspace::bundle(), &binary, &test),
            record: Mutex::new(Record {
                binary,
                test,
                session: workspace::session_id(),
                run: std::env::var("NEXTEST_RUN_ID").ok(),
                started_at: Utc::now(),
                finished_at: None,
                verdict: None,
                checks: Vec::new(),
                observations: BTreeMap::new(),
            }),
        };
        atomic::write_json(&evidence.path, &*evidence.lock())?;
        Ok(evidence)
    }

    /// Says a fact about the system, with what was seen.
    ///
    /// # Errors
    /// A FAIL with the fact and what was seen when it does not hold.
    pub fn check(&self, fact: &str, holds: bool, seen: impl Serialize) -> Verdict {
        let seen = serde_json::to_value(seen)?;
        let reason = format!("{fact}: seen {}", shorten(&seen));
        self.add(Check { fact: fact.to_owned(), holds, seen: Some(seen) })?;
        if holds { Ok(()) } else { Err(Failure::fail(reason)) }
    }

    /// Says that what was seen is what was promised.
    ///
    /// # Errors
    /// A FAIL with both values when they differ.
    pub fn check_eq<T: Serialize + PartialEq<U>, U: Serialize>(&self, fact: &str, seen: T, promised: U) -> Verdict {
        let holds = seen == promised;
        let (seen, promised) = (serde_json::to_value(seen)?, serde_json::to_value(promised)?);
        let reason = format!("{fact}: promised {}, seen {}", shorten(&promised), shorten(&seen));
        self.add(Check { fact: fact.to_owned(), holds, seen: Some(seen) })?;
        if holds { Ok(()) } else { Err(Failure::fail(reason)) }
    }

    /// Says that an operation of the system succeeds, and gives its value.
    ///
    /// # Errors
    /// A FAIL with the operation's error.
    pub fn check_ok<T, E: std::fmt::Display>(&self, fact: &str, outcome: Result<T, E>) -> Result<T, Failure> {
        match outcome {
            Ok(value) => self.add(Check { fact: fact.to_owned(), holds: true, seen: None }).map(|()| value),
            Err(error) => {
                self.check(fact, false, error.to_string())?;
                unreachable!("a check that does not hold is an error")
            }
        }
    }

    /// Keeps a measurement or a reply under a name.
    ///
    /// # Errors
    /// BROKEN when the bundle cannot be written.
    pub fn observe(&self, name: &str, value: impl Serialize) -> Verdict {
        let value = serde_json::to_value(value)?;
        self.change(|record| {
            record.observations.insert(name.to_owned(), value);
        })
    }

    /// Adds one element to the list kept under a name.
    ///
    /// # Errors
    /// BROKEN when the bundle cannot be written.
    pub fn append(&self, name: &str, value: impl Serialize) -> Verdict {
        let value = serde_json::to_value(value)?;
        self.change(|record| match record.observations.entry(name.to_owned()).or_insert_with(|| Value::Array(vec![])) {
            Value::Array(list) => list.push(value),
            other => *other = Value::Array(vec![other.take(), value]),
        })
    }

    /// Keeps a figure for the report: `value` in `unit`, and what is promised of it.
    ///
    /// # Errors
    /// BROKEN when the bundle cannot be written.
    pub fn figure(&self, what: &str, value: f64, unit: &str, promised: &str) -> Verdict {
        let [what, unit, promised] = [what, unit, promised].map(str::to_owned);
        self.append(FIGURES, Figure { what, value, unit, promised })
    }

    fn add(&self, check: Check) -> Verdict {
        self.change(|record| record.checks.push(check))
    }

    fn change(&self, change: impl FnOnce(&mut Record)) -> Verdict {
        let mut record = self.lock();
        change(&mut record);
        Ok(atomic::write_json(&self.path, &*record)?)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        let mut record = self.lock();
        let failed = record.checks.iter().find(|check| !check.holds).map(|check| check.fact.clone());
        let verdict = match (failed, held_failure()) {
            (Some(fact), None) => Status::Fail(fact),
            (_, Some(status)) => status,
            (None, None) if std::thread::panicking() => Status::Broken("the test panicked".into()),
            (None, None) if record.checks.is_empty() => Status::Broken("the test checked nothing".into()),
            (None, None) => Status::Pass,
        };
        let silent = record.checks.is_empty() && verdict == Status::Broken("the test checked nothing".into());
        record.finished_at = Some(Utc::now());
        record.verdict = Some(verdict);
        let written = atomic::write_json(&self.path, &*record);
        let test = record.test.clone();
        drop(record);
        if !std::thread::panicking() {
            assert!(!silent, "{test} ended without a single check; say what it saw with evidence.check(..)");
            if let Err(error) = written {
                panic!("the evidence of {test} is lost: {error}");
            }
        }
    }
}

/// The binary and function of the test on this thread.
pub(crate) fn current_test() -> (String, String) {
    let program = std::env::current_exe().unwrap_or_default();
    let stem = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let binary = stem.rsplit_once('-').map_or(stem.as_str(), |(name, _)| name).to_owned();
    let thread = std::thread::current().name().filter(|name| *name != "main").map(str::to_owned);
    // The guard runs a whole binary in one process, where the thread is the only name.
    let test = thread
        .or_else(|| std::env::var("NEXTEST_TEST_NAME").ok().map(|name| function_name(&name).to_owned()))
        .unwrap_or_else(|| "unnamed".into());
    (binary, test)
}

fn shorten(value: &Value) -> String {
    const LIMIT: usize = 600;
    let text = value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}"));
    match text.char_indices().nth(LIMIT) {
        None => text,
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}
