//! Violations as scans report them (builder.md §7, orchestrator.md §5.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::Priority;

/// One hit of a scan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Violation {
    /// `LOG-001`
    pub code: String,
    /// How bad the scan says it is.
    pub severity: Severity,
    /// The file, relative to the tree; empty when it is of no one file.
    #[serde(default)]
    pub file: String,
    /// The line, from 1; 0 when it is of no one line.
    #[serde(default)]
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

/// How bad a scan says a violation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Lets somebody in, or leaks something.
    Critical,
    /// Wrong.
    Error,
    /// Not as it should be.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word of reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// The priority of a violation that nobody has classified (builder.md §6).
    pub fn default_priority(self) -> Priority {
        match self {
            Self::Critical => Priority::P0,
            Self::Error => Priority::P1,
            Self::Warning | Self::Info => Priority::P2,
        }
    }
}

/// How many of `violations` have `code`.
pub fn count(violations: &[Violation], code: &str) -> usize {
    violations.iter().filter(|violation| violation.code == code).count()
}
