//! One defect record (R4-M5-001, D-56).

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A defect and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// `FINDING-001` and so on.
    pub finding_id: FindingId,
    /// How bad it is.
    pub priority: Priority,
    /// Who has to fix it.
    pub system: System,
    /// The module or function at fault.
    pub component: String,
    /// How to reproduce it, or what a test printed.
    #[serde(default)]
    pub evidence: String,
    /// What to do.
    #[serde(default)]
    pub recommendation: String,
    /// What became of it.
    #[serde(default)]
    pub resolution: Resolution,
    /// The pass that fixed it; 0 for none.
    #[serde(default)]
    pub fix_pass_number: u32,
    /// The test or scan that confirms the fix; empty for none.
    #[serde(default)]
    pub fix_verification: String,
    /// When it was catalogued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
}

/// How bad a finding is (scoring.md §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Priority {
    /// Must be fixed before anything else.
    P0,
    /// Must be fixed in the current pass.
    P1,
    /// Fixed if time permits.
    P2,
    /// Documented only.
    P3,
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
        })
    }
}

/// Who a finding belongs to (spec README §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum System {
    /// Architect, Contract Engine, Codebase Intelligence.
    #[serde(rename = "Build 1")]
    Build1,
    /// The builder.
    #[serde(rename = "Build 2")]
    Build2,
    /// The orchestrator.
    #[serde(rename = "Build 3")]
    Build3,
    /// None of them alone.
    Integration,
}

impl fmt::Display for System {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Build1 => "Build 1",
            Self::Build2 => "Build 2",
            Self::Build3 => "Build 3",
            Self::Integration => "Integration",
        })
    }
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum Resolution {
    /// Nothing was decided yet; stored as an empty text.
    #[default]
    #[serde(rename = "")]
    Undecided,
    /// Repaired, and a check confirms it.
    #[serde(rename = "FIXED")]
    Fixed,
    /// Still there.
    #[serde(rename = "OPEN")]
    Open,
    /// Left as it is on purpose.
    #[serde(rename = "WONTFIX")]
    WontFix,
}

/// The id of a finding: `FINDING-` and three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct FindingId(u16);

/// A text that is not the id of a finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not FINDING- and three digits")]
pub struct InvalidFindingId(String);

/// The ids of findings are used up (D-127).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("the catalogue already holds FINDING-999, the last id there is")]
#[diagnostic(code(run4::state::catalog_full), help("fix what is catalogued, then start a new run"))]
pub struct CatalogFull;

impl FindingId {
    /// `FINDING-001`.
    pub const FIRST: Self = Self(1);

    const LAST: u16 = 999;
    const PREFIX: &str = "FINDING-";

    /// The id of the next finding beside `known`: highest plus one, whatever gaps there are.
    ///
    /// # Errors
    /// When `FINDING-999` is among them (D-127).
    pub fn after(known: impl IntoIterator<Item = Self>) -> Result<Self, CatalogFull> {
        known.into_iter().max().map_or(Ok(Self::FIRST), Self::next)
    }

    /// The id after this one.
    ///
    /// # Errors
    /// When this is `FINDING-999`.
    pub fn next(self) -> Result<Self, CatalogFull> {
        if self.0 < Self::LAST { Ok(Self(self.0 + 1)) } else { Err(CatalogFull) }
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}{:03}", Self::PREFIX, self.0))
    }
}

impl FromStr for FindingId {
    type Err = InvalidFindingId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix(Self::PREFIX)
            .filter(|digits| digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| InvalidFindingId(text.to_owned()))
    }
}

impl TryFrom<String> for FindingId {
    type Error = InvalidFindingId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FindingId> for String {
    fn from(id: FindingId) -> Self {
        id.to_string()
    }
}
