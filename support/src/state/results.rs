//! The typed results that a state holds.

use serde::{Deserialize, Serialize};

/// Health of one MCP server (plan §7.1 `health_result`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// Whether it started, initialised and listed its tools.
    pub status: HealthStatus,
    /// How many tools it offers.
    #[serde(default)]
    pub tools_count: u32,
    /// Their names.
    #[serde(default)]
    pub tool_names: Vec<String>,
    /// Why it is unhealthy; empty and not stored when it is not (D-10).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Whether an MCP server works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// It does.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// The figures of one fix pass (R4-M5-004, scoring.md §6). A rate or score without a value
/// is not stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FixPass {
    /// Counted from 1.
    pub pass_number: u32,
    /// Findings the pass attempted.
    pub targeted: u32,
    /// Attempted findings that changed at least one file.
    pub applied: u32,
    /// Attempted findings confirmed as fixed.
    pub resolved: u32,
    /// Attempted findings that are still there.
    pub failed: u32,
    /// New violations and tests that turned red (scoring.md §7).
    pub regressions: u32,
    /// Defects seen for the first time.
    pub new_defects: u32,
    /// Resolved by targeted; none when nothing was targeted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effectiveness: Option<f64>,
    /// Aggregate score before the pass, 0 to 100; none when not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_before: Option<f64>,
    /// Aggregate score after it, 0 to 100; none when not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_after: Option<f64>,
    /// Measured cost in US dollars; none when not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// How long it took, in seconds; none when not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}
