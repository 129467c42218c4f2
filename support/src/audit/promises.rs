//! What the suite promised to look at: the tables of `fixtures/` that an audit reads.

use serde::Deserialize;

use super::AuditError;
use crate::{
    matrix::{Id, Matrix, Requirement, requirements},
    mcp::Toolset,
    measure::RouteTable,
    workspace,
};

/// The tables of this suite.
#[derive(Debug, Clone)]
pub(super) struct Promises {
    pub(super) matrix: Matrix,
    pub(super) tools: Vec<ToolPromise>,
    /// How many routes the HTTP twins of Build 1 have.
    pub(super) routes: usize,
    pub(super) requirements: Vec<Requirement>,
    pub(super) flows: FlowPromises,
}

/// One of the 20 tools.
#[derive(Debug, Clone)]
pub(super) struct ToolPromise {
    pub(super) server: String,
    pub(super) tool: String,
    /// Whether it takes arguments, so that there can be an invalid input.
    pub(super) parameters: bool,
}

/// Flows, error paths and dark corners, and what proves each (spec flows.md).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowPromises {
    pub(super) data_flow: Vec<FlowPromise>,
    pub(super) error_path: Vec<FlowPromise>,
    pub(super) application_flow: Vec<FlowPromise>,
    pub(super) dark_corner: Vec<FlowPromise>,
}

/// One of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowPromise {
    pub(super) key: String,
    pub(super) title: String,
    /// Where it begins and ends; flows only.
    #[serde(default)]
    pub(super) from: String,
    #[serde(default)]
    pub(super) to: String,
    /// How it comes about; error paths and dark corners only.
    #[serde(default)]
    pub(super) situation: String,
    pub(super) expected: String,
    /// The ids that prove it.
    #[serde(default)]
    pub(super) ids: Vec<Id>,
    /// Further tests that prove it, by function name.
    #[serde(default)]
    pub(super) tests: Vec<String>,
    /// What of it is proved apart.
    #[serde(default)]
    pub(super) parts: Vec<FlowPromise>,
}

impl Promises {
    /// Reads the tables of this suite.
    pub(super) fn load() -> Result<Self, AuditError> {
        let toolset = Toolset::load().map_err(AuditError::promise)?;
        let tools = toolset.tools.into_iter().map(|tool| ToolPromise {
            server: tool.server,
            tool: tool.name,
            parameters: tool.parameters,
        });
        let path = workspace::fixture("flows.toml");
        let unreadable = |reason: String| AuditError::Promise(format!("cannot read {}: {reason}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self {
            matrix: Matrix::load().map_err(AuditError::promise)?,
            tools: tools.collect(),
            routes: RouteTable::load().map_err(AuditError::promise)?.routes.len(),
            requirements: requirements().map_err(AuditError::promise)?,
            flows: toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?,
        })
    }
}
