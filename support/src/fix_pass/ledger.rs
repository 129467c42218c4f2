//! What the fix passes of a run have done so far: saved after each step, so that a run that is
//! killed between two of them goes on where it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    catalogue::Catalogue,
    convergence::{FixVerdict, Open, Standing, Stop, convergence},
    ground::Applied,
    regressions::{Place, RegressionDetails, Snapshot},
};
use crate::{
    atomic,
    state::{FindingId, FixPass, Priority},
};

/// The name of the file in a bundle.
pub const FILE_NAME: &str = "m5_fix_passes.json";

/// The folder of the snapshots in a bundle (plan §7.4).
pub const SNAPSHOTS: &str = "m5_fix_snapshots";

/// The folder of the instructions in a bundle.
pub const INSTRUCTIONS: &str = "m5_fix_instructions";

const SCHEMA_VERSION: u32 = 1;

/// Everything that fix passes must remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    schema_version: u32,
    /// The run that it belongs to.
    pub session: String,
    /// What is done next.
    pub step: Step,
    /// All findings.
    pub catalogue: Catalogue,
    /// The first catalogue by priority, frozen.
    pub first: Open,
    /// The passes that have ended.
    pub passes: Vec<Pass>,
    /// The pass that is being done.
    pub current: Option<Current>,
    /// Why it ended, or waits.
    pub stop: Option<Stop>,
    /// Where any pass so far has fixed something.
    pub ever_fixed: BTreeSet<Place>,
    /// The best state so far: the pass after which it was (0 before the first), and its score.
    pub best: Option<(u32, f64)>,
    /// The score of the last look, 0 to 100; none when it was not measured.
    pub score: Option<f64>,
    /// Whether a score fell and the best state was brought back.
    pub restored: bool,
    /// What was decided on the way: downgrades, extensions, restorations.
    pub notes: Vec<String>,
}

/// The steps of a pass, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The first look, and the first catalogue.
    Discover,
    /// Whether to stop; else what is attempted, and its instructions.
    Instruct,
    /// The repair.
    Apply,
    /// The scans and tests that had found what was attempted, once more.
    Verify,
    /// The full set, compared with the one before.
    Regress,
    /// Whether the best state is brought back.
    Settle,
    /// Nothing.
    Ended,
}

/// A pass that is being done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Current {
    /// Counted from 1.
    pub number: u32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// What is attempted, by target.
    pub items: BTreeMap<String, Vec<FindingId>>,
    /// What became of the instructions, by target.
    pub applied: BTreeMap<String, Applied>,
    /// What verification showed to be gone.
    pub resolved: Vec<FindingId>,
    /// Whether it was left in the middle and taken up again.
    #[serde(default)]
    pub taken_up: bool,
}

impl Current {
    /// Whether its length says nothing: it waited for somebody, or for the run to go on.
    pub fn waited(&self) -> bool {
        self.taken_up || self.applied.values().any(|applied| *applied == Applied::Awaiting)
    }
}

/// A pass that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pass {
    /// The figures of the plan.
    #[serde(flatten)]
    pub figures: FixPass,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// What was attempted, by target.
    pub items: BTreeMap<String, Vec<FindingId>>,
    /// What became of the instructions, by target.
    pub applied_by: BTreeMap<String, Applied>,
    /// What was fixed.
    pub fixed: Vec<FindingId>,
    /// What it broke.
    pub broken: RegressionDetails,
    /// What was seen for the first time, by priority.
    pub discovered: Open,
    /// How much of the first catalogue was gone after it, 0 to 1.
    pub convergence: f64,
}

/// A ledger cannot be used; the text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}: {reason}; start afresh with `cargo run4`, it keeps the old run in history/")]
pub struct LedgerError {
    path: String,
    reason: String,
}

impl Ledger {
    /// The ledger of a run that has not looked yet.
    pub fn new(session: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            session: session.to_owned(),
            step: Step::Discover,
            catalogue: Catalogue::default(),
            first: Open::default(),
            passes: Vec::new(),
            current: None,
            stop: None,
            ever_fixed: BTreeSet::new(),
            best: None,
            score: None,
            restored: false,
            notes: Vec::new(),
        }
    }

    /// Reads the ledger in `home`; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read or is of another version.
    pub fn load(home: &Path) -> Result<Option<Self>, LedgerError> {
        let path = home.join(FILE_NAME);
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LedgerError { path: path.display().to_string(), reason: error.to_string() }),
            Ok(text) => {
                Self::parse(&text).map(Some).map_err(|reason| LedgerError { path: path.display().to_string(), reason })
            }
        }
    }

    /// Reads a ledger from the text of its file.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let ledger: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match ledger.schema_version {
            SCHEMA_VERSION => Ok(ledger),
            other => Err(format!("its schema_version is {other}, this suite writes {SCHEMA_VERSION}")),
        }
    }

    /// Writes it to `home`, whole or not at all.
    ///
    /// # Errors
    /// The file system's own.
    pub fn save(&self, home: &Path) -> io::Result<()> {
        atomic::write_json(&home.join(FILE_NAME), self)
    }

    /// The figures of the passes that have ended.
    pub fn figures(&self) -> Vec<FixPass> {
        self.passes.iter().map(|pass| pass.figures.clone()).collect()
    }

    /// How much of the first catalogue is gone, 0 to 1.
    pub fn convergence(&self) -> f64 {
        convergence(self.first, self.catalogue.count())
    }

    /// Where the loop stands; `figures` are its own.
    pub fn standing<'a>(&self, figures: &'a [FixPass]) -> Standing<'a> {
        let mut urgent = self.catalogue.open().filter(|entry| entry.finding.priority == Priority::P1);
        Standing {
            passes: figures,
            open: self.catalogue.count(),
            workarounds: urgent.all(|entry| !entry.workaround.is_empty()),
            convergence: self.convergence(),
            score: self.score,
            spent: figures.iter().filter_map(|pass| pass.cost).sum(),
        }
    }

    /// What it came to.
    pub fn verdict(&self) -> FixVerdict {
        FixVerdict::of(self.convergence(), self.catalogue.count(), self.stop)
    }
}

/// The file of the snapshot before or after pass `number`.
pub fn snapshot_file(home: &Path, number: u32, when: When) -> PathBuf {
    let when = match when {
        When::Before => "before",
        When::After => "after",
    };
    home.join(SNAPSHOTS).join(format!("fix_pass_{number}_{when}.json"))
}

/// Which of the two snapshots of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the repair.
    Before,
    /// After it.
    After,
}

/// Reads a snapshot.
///
/// # Errors
/// When it is missing or no snapshot; the text names it.
pub fn read_snapshot(path: &Path) -> io::Result<Snapshot> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let text = std::fs::read(path).map_err(named)?;
    serde_json::from_slice(&text).map_err(|error| named(error.into()))
}
