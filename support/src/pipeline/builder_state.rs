//! What a builder says about its own run (R4-M1-005, R4-M3-002, builder.md §5.2).

#[cfg(test)]
mod tests;

use std::{fmt, fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where a builder leaves its state, below its output folder.
pub const STATE_FILE: &str = ".agent-team/STATE.json";

/// The seven fields of the contract between builder and orchestrator, as far as the file has
/// them with their exact type; a field that is missing or wrong is none and named in `error`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BuilderState {
    /// `summary.success`.
    pub success: Option<bool>,
    /// `summary.test_passed`.
    pub test_passed: Option<u64>,
    /// `summary.test_total`.
    pub test_total: Option<u64>,
    /// `summary.convergence_ratio`, 0 to 1.
    pub convergence_ratio: Option<f64>,
    /// `total_cost` in US dollars.
    pub total_cost: Option<f64>,
    /// `health`, or `convergence_health` when there is none.
    pub health: Option<BuilderHealth>,
    /// `completed_phases`.
    pub completed_phases: Option<Vec<String>>,
    /// Everything that is missing or wrong; none when all seven fields are there.
    pub error: Option<String>,
}

/// How a builder judges its own result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuilderHealth {
    /// Everything holds.
    Passed,
    /// Enough holds.
    Partial,
    /// Too little holds.
    Failed,
    /// Not judged.
    Unknown,
}

impl BuilderHealth {
    /// Whether `summary.success` must be true: for `passed` and `partial`.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Passed | Self::Partial)
    }
}

impl fmt::Display for BuilderHealth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Passed => "passed",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

impl BuilderState {
    /// How `success` and `health` disagree, which is a finding (builder.md §5.2).
    pub fn contradiction(&self) -> Option<String> {
        let (success, health) = (self.success?, self.health?);
        (success != health.is_success()).then(|| format!("summary.success is {success} although health is {health}"))
    }
}

/// Reads `.agent-team/STATE.json` below `output_dir`. Nothing is invented: an absent or
/// malformed file gives no fields, and a reason in `error`.
pub fn parse_builder_state(output_dir: &Path) -> BuilderState {
    let path = output_dir.join(STATE_FILE);
    let refused = |reason: &dyn fmt::Display| BuilderState {
        error: Some(format!("{}: {reason}", path.display())),
        ..BuilderState::default()
    };
    let value = match fs::read(&path).map(|bytes| serde_json::from_slice::<Value>(&bytes)) {
        Err(error) => return refused(&error),
        Ok(Err(error)) => return refused(&format_args!("not JSON: {error}")),
        Ok(Ok(value)) => value,
    };
    let Value::Object(top) = &value else { return refused(&"not a JSON object") };

    let mut faults = Vec::new();
    let mut state = read_fields(top, &mut faults);
    if !faults.is_empty() {
        state.error = Some(format!("{}: {}", path.display(), faults.join("; ")));
    }
    state
}

fn read_fields(top: &Map<String, Value>, faults: &mut Vec<String>) -> BuilderState {
    let summary = required(top, "", "summary", "an object", Value::as_object, faults);
    let mut fields = BuilderState {
        total_cost: required(top, "", "total_cost", "a number", Value::as_f64, faults),
        health: health(top, faults),
        completed_phases: required(top, "", "completed_phases", "a list of text", texts, faults),
        ..BuilderState::default()
    };
    if let Some(summary) = summary {
        let inside = "summary.";
        fields.success = required(summary, inside, "success", "true or false", Value::as_bool, faults);
        fields.test_passed = required(summary, inside, "test_passed", "a count", Value::as_u64, faults);
        fields.test_total = required(summary, inside, "test_total", "a count", Value::as_u64, faults);
        fields.convergence_ratio = required(summary, inside, "convergence_ratio", "a number, 0 to 1", share, faults);
    }
    fields
}

/// The field `key`, or none and a fault that names it.
fn required<'a, T>(
    fields: &'a Map<String, Value>,
    inside: &str,
    key: &str,
    expected: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
    faults: &mut Vec<String>,
) -> Option<T> {
    let Some(value) = fields.get(key) else {
        faults.push(format!("{inside}{key} is missing"));
        return None;
    };
    let read = read(value);
    if read.is_none() {
        faults.push(format!("{inside}{key} is {value}, expected {expected}"));
    }
    read
}

fn health(top: &Map<String, Value>, faults: &mut Vec<String>) -> Option<BuilderHealth> {
    let key = match top.contains_key("convergence_health") && !top.contains_key("health") {
        true => "convergence_health",
        false => "health",
    };
    required(top, "", key, "passed, partial, failed or unknown", |value| BuilderHealth::deserialize(value).ok(), faults)
}

fn share(value: &Value) -> Option<f64> {
    value.as_f64().filter(|share| (0.0..=1.0).contains(share))
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}
