//! The required list: 58 ids, fixed before a run (spec matrix.md, `fixtures/matrix.toml`).

use std::{collections::BTreeSet, fmt, path::Path, sync::LazyLock};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{fix_pass::priority::Effect, workspace};

/// An id of the matrix in its written form: `B1-07`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(String);

impl Id {
    /// The prefix of the names of its test functions: `b1_07_`.
    pub fn test_prefix(&self) -> String {
        format!("{}_", self.0.to_lowercase().replace('-', "_"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// How bad it is when a row is red (plan §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Blocks a release.
    P0,
    /// Must be fixed in the current pass.
    P1,
    /// Fixed if time permits.
    P2,
}

/// What must be there before a row can be executed (spec matrix.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Processes of the system only.
    None,
    /// HTTP twins of Build 1.
    Http,
    /// One recorded run of the whole pipeline.
    Pipeline,
    /// Containers.
    Docker,
}

/// One row: a promise, its twin, and the test that judges both.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The id, `B1-07`.
    pub id: Id,
    /// The plan's test name, `test_mcp_tool_responses`.
    pub title: String,
    /// The test function, `b1_07_mcp_tool_responses`.
    pub test: String,
    /// The test binary, `m2_mcp_wiring`.
    pub binary: String,
    /// The plan's priority.
    pub priority: Priority,
    /// The milestone it belongs to, 1 to 6.
    pub milestone: u8,
    /// Further milestones that show it.
    pub also_milestones: Vec<u8>,
    /// The Builds it speaks of: `B1`, `B2`, `B3`.
    pub builds: Vec<String>,
    /// What a failure of it does to those who use the system; the usual of its priority when it
    /// is not said: see [`Row::effect`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    effect: Option<Effect>,
    /// What can be done until a failure is repaired; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workaround: String,
    /// The requirements it covers, `R4-M2-002`.
    pub requirements: Vec<String>,
    /// What must be there.
    pub need: Need,
    /// The manifest keys a profile must have.
    pub keys: Vec<String>,
    /// What must hold.
    pub promise: String,
    /// The negative counterpart that must hold too; empty when there is none.
    pub twin: String,
    /// What the promise says and its tests do not show yet, printed beside every pass; empty
    /// when they show all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub not_shown: String,
}

impl Row {
    /// What a failure of it does to those who use the system: what the decision tree asks. The
    /// priority of the row only proposes (scoring.md §5).
    pub fn effect(&self) -> Effect {
        self.effect.unwrap_or(match self.priority {
            Priority::P0 => Effect::Primary,
            Priority::P1 => Effect::Shared,
            Priority::P2 => Effect::Secondary,
        })
    }
}

/// The required list.
#[derive(Debug, Clone)]
pub struct Matrix {
    rows: Vec<Row>,
    pending: BTreeSet<Id>,
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatrixFile {
    pending: BTreeSet<Id>,
    row: Vec<Row>,
}

/// The matrix of this suite could not be read; the message names the place.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {reason}")]
pub struct MatrixError {
    path: String,
    reason: String,
}

/// A text that names no row.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no id {given} in the matrix; the nearest are {}", nearest.join(", "))]
pub struct UnknownId {
    /// What was given.
    pub given: String,
    /// The ids whose spelling is nearest, best first.
    pub nearest: Vec<String>,
}

impl Matrix {
    /// Reads the matrix of this suite.
    ///
    /// # Errors
    /// When the file is missing or breaks its shape.
    pub fn load() -> Result<Self, MatrixError> {
        Self::read(&workspace::fixture("matrix.toml"))
    }

    /// Reads a matrix from `path`.
    ///
    /// # Errors
    /// As [`Matrix::load`].
    pub fn read(path: &Path) -> Result<Self, MatrixError> {
        let failed = |reason: String| MatrixError { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let file: MatrixFile = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let mut seen = BTreeSet::new();
        for row in &file.row {
            if !seen.insert(row.id.clone()) {
                return Err(failed(format!("id {} stands twice", row.id)));
            }
        }
        if let Some(stray) = file.pending.iter().find(|id| !seen.contains(id)) {
            return Err(failed(format!("pending id {stray} has no row")));
        }
        Ok(Self { rows: file.row, pending: file.pending, digest: digest(text.as_bytes()) })
    }

    /// The rows in the plan's order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The SHA-256 of the file, in hex: what a run promised to verify.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The ids that no test claims yet; they are reported as UNTESTED.
    pub fn pending(&self) -> &BTreeSet<Id> {
        &self.pending
    }

    /// The row of `id`.
    pub fn row(&self, id: &Id) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == *id)
    }

    /// The row that a written id names, in either spelling: `B1-07`, `b1_07`.
    ///
    /// # Errors
    /// When there is none: the nearest ids.
    pub fn named(&self, given: &str) -> Result<&Row, UnknownId> {
        let written = given.to_uppercase().replace('_', "-");
        self.rows.iter().find(|row| row.id.0 == written).ok_or_else(|| {
            let mut near: Vec<_> =
                self.rows.iter().map(|row| (strsim::damerau_levenshtein(&written, &row.id.0), &row.id.0)).collect();
            near.sort();
            UnknownId { given: given.to_owned(), nearest: near.into_iter().take(3).map(|(_, id)| id.clone()).collect() }
        })
    }

    /// The row that a test function claims by its name, `b1_07_mcp_tool_responses::case`.
    pub fn claimed_by(&self, test: &str) -> Option<&Row> {
        let function = test.split("::").next().unwrap_or(test);
        self.rows.iter().find(|row| function.starts_with(&row.id.test_prefix()))
    }
}

/// One requirement of the plan and what covers it (`fixtures/requirements.toml`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The id, `R4-M2-004`.
    pub id: String,
    /// What it asks for.
    pub title: String,
    /// Its milestone, 1 to 6.
    pub milestone: u8,
    /// The matrix ids that cover it.
    pub ids: Vec<Id>,
    /// Further tests that cover it, by function name.
    pub tests: Vec<String>,
    /// Those of them that do not exist yet.
    #[serde(default)]
    pub pending: Vec<String>,
}

/// Reads the requirements of the plan.
///
/// # Errors
/// When the file is missing or breaks its shape.
pub fn requirements() -> Result<Vec<Requirement>, MatrixError> {
    #[derive(Deserialize)]
    struct File {
        requirement: Vec<Requirement>,
    }
    let path = workspace::fixture("requirements.toml");
    let failed = |reason: String| MatrixError { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    toml::from_str(&text).map(|file: File| file.requirement).map_err(|error| failed(error.to_string()))
}

/// The lower-case hex SHA-256 of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Rewrites a test name for people: `b1_07_mcp_tool_responses::case` gets the suffix
/// ` [B1-07]`, so that both spellings find it on nextest's command line.
pub fn displayed_name(test: &str) -> String {
    match written_id(test) {
        Some(id) => format!("{test} [{id}]"),
        None => test.to_owned(),
    }
}

/// Takes the suffix of [`displayed_name`] off again.
pub fn function_name(displayed: &str) -> &str {
    displayed.split(" [").next().unwrap_or(displayed)
}

/// The id at the front of a test function's name: `b1_07_…` is B1-07, `r4_m2_004_…` R4-M2-004.
fn written_id(test: &str) -> Option<String> {
    static KINDS: LazyLock<[(&str, usize); 6]> =
        LazyLock::new(|| [("sc", 1), ("b1", 1), ("b2", 1), ("b3", 1), ("x", 1), ("r4", 2)]);
    let mut parts = test.split("::").next()?.split('_');
    let kind = parts.next()?;
    let (_, count) = KINDS.iter().find(|(name, _)| *name == kind)?;
    let mut id = kind.to_uppercase();
    for index in 0..*count {
        let part = parts.next()?;
        let number = if *count == 2 && index == 0 { part.strip_prefix('m')? } else { part };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        id = format!("{id}-{}", part.to_uppercase());
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case::matrix("b1_07_mcp_tool_responses::decompose", "b1_07_mcp_tool_responses::decompose [B1-07]")]
    #[case::cross("x_10_quality_gate", "x_10_quality_gate [X-10]")]
    #[case::requirement("r4_m2_004_ten_calls", "r4_m2_004_ten_calls [R4-M2-004]")]
    #[case::plain("a_plain_fact", "a_plain_fact")]
    #[case::almost("b1_mcp", "b1_mcp")]
    #[case::word("sc_fi_07", "sc_fi_07")]
    fn names_carry_their_id(#[case] test: &str, #[case] displayed: &str) {
        assert_eq!(displayed_name(test), displayed);
        assert_eq!(function_name(displayed), test);
    }

    #[test]
    fn an_unknown_id_is_refused_with_the_nearest() {
        let matrix = Matrix::load().expect("the matrix is readable");
        assert_eq!(matrix.named("b1_07").expect("known").id.to_string(), "B1-07");
        let unknown = matrix.named("B1-70").expect_err("unknown");
        assert!(unknown.nearest.contains(&"B1-07".to_owned()), "{unknown}");
    }
}
