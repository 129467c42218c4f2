//! Where defects are seen and repaired: what a fix pass needs of the system it works on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    regressions::{Hit, Snapshot},
    symptom::Symptom,
};
use crate::verdict::Failure;

/// What one look showed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// Everything that is wrong.
    pub symptoms: Vec<Symptom>,
    /// Every hit of every scan.
    pub hits: Vec<Hit>,
    /// Every test that was executed, and whether it passed.
    pub tests: BTreeMap<String, bool>,
    /// The aggregate score, 0 to 100; none when it was not measured.
    pub score: Option<f64>,
}

impl Look {
    /// What later looks are compared with.
    pub fn snapshot(&self) -> Snapshot {
        let named = |passed: bool| {
            self.tests.iter().filter(|(_, it)| **it == passed).map(|(name, _)| name.clone()).collect::<BTreeSet<_>>()
        };
        Snapshot::new(self.hits.clone(), named(true), named(false))
    }
}

/// What became of instructions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Applied {
    /// Somebody worked on it.
    Done {
        /// The files that are different now.
        changed: Vec<String>,
        /// What it cost in US dollars; none when nobody knows.
        cost: Option<f64>,
        /// What went wrong; empty for nothing.
        #[serde(default)]
        error: String,
    },
    /// The instructions wait for a human.
    Awaiting,
}

/// A system that can be looked at and repaired.
pub trait Ground {
    /// Looks at everything: all scans, all tests.
    ///
    /// # Errors
    /// When the look could not be taken; a look that shows nothing wrong is none.
    fn look(&self) -> impl Future<Output = Result<Look, Failure>>;

    /// Looks only at what shows the symptoms with these keys; gives those that were looked for
    /// and are not there. What could not be looked for is not gone.
    ///
    /// # Errors
    /// As [`Ground::look`].
    fn gone(&self, keys: &BTreeSet<String>) -> impl Future<Output = Result<BTreeSet<String>, Failure>>;

    /// When `target` has its turn: a pass attempts the targets of the earliest turn only. None
    /// when nobody can be told to repair it.
    fn turn(&self, target: &str) -> Option<u8>;

    /// Has `target` repaired by the instructions in the file `instructions`.
    ///
    /// # Errors
    /// When the suite itself could not do its part; what the repair gets wrong is in the value.
    fn apply(&self, target: &str, instructions: &Path) -> impl Future<Output = Result<Applied, Failure>>;

    /// Keeps the state of everything that [`Ground::apply`] may change in the empty folder `place`.
    ///
    /// # Errors
    /// The file system's own.
    fn keep(&self, place: &Path) -> std::io::Result<()>;

    /// Brings a kept state back; tells whether it could.
    ///
    /// # Errors
    /// The file system's own.
    fn restore(&self, place: &Path) -> std::io::Result<bool>;
}
