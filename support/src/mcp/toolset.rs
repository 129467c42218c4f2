//! The table of the 20 tools: how each is called in each condition and what must come back
//! (`fixtures/toolset.toml`, spec tools.md §7). Read by the tests, the guards and the report.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Kind, Variables, variables::Source};
use crate::{verdict::Failure, workspace};

/// The toolset as its file says it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolset {
    variable: BTreeMap<String, Source>,
    /// The three servers.
    #[serde(rename = "server")]
    pub servers: Vec<Server>,
    #[serde(rename = "step")]
    steps: Vec<Step>,
    /// The tools in the order of spec tools.md §7.
    #[serde(rename = "tool")]
    pub tools: Vec<Tool>,
}

/// One of the three MCP servers (spec tools.md §1).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its key in `.mcp.json` and in the state file: `contract-engine`.
    pub key: String,
    /// Its manifest key: `contract_engine_mcp`.
    pub manifest: String,
    /// Its `serverInfo.name`: `Contract Engine`.
    pub title: String,
}

/// A named precondition: calls that run in order on fresh data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    calls: Vec<StepCall>,
}

/// One call of a precondition, and what of its reply later cases need.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepCall {
    /// The tool.
    pub tool: String,
    pub(super) arguments: String,
    /// Variables set from the reply, by JSON pointer.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
}

/// One tool.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The key of its server.
    pub server: String,
    /// What its value is.
    pub kind: Kind,
    /// The preconditions of its cases.
    #[serde(default)]
    pub after: Vec<String>,
    /// The manifest keys of the HTTP twins that must run beside.
    #[serde(default)]
    pub twins: Vec<String>,
    /// Whether it takes arguments, so that there can be an invalid input.
    pub parameters: bool,
    /// Its cases.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// How a tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// With all arguments that matter: a good reply.
    Valid,
    /// With the required arguments only: a good reply by defaults.
    RequiredOnly,
    /// About something that is not there: an empty or negative reply.
    Absent,
    /// With a wrong type or value: `isError`.
    Invalid,
}

impl Condition {
    /// Its name in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::RequiredOnly => "required_only",
            Self::Absent => "absent",
            Self::Invalid => "invalid",
        }
    }
}

/// One call and what must come back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name, unique within the tool.
    pub name: String,
    /// How the tool is called.
    pub condition: Condition,
    pub(super) arguments: String,
    #[serde(default)]
    pub(super) shows: Option<String>,
    #[serde(default)]
    pub(super) lacks: Option<String>,
    #[serde(default)]
    pub(super) is: Option<String>,
}

/// The toolset cannot be used; the message names the place.
#[derive(Debug, thiserror::Error)]
#[error("fixtures/toolset.toml: {0}")]
pub struct ToolsetError(pub(super) String);

impl From<ToolsetError> for Failure {
    fn from(error: ToolsetError) -> Self {
        Self::broken(error)
    }
}

impl Toolset {
    /// Reads the toolset of this suite.
    ///
    /// # Errors
    /// When the file is missing or breaks its shape.
    pub fn load() -> Result<Self, ToolsetError> {
        let text = std::fs::read_to_string(workspace::fixture("toolset.toml"))
            .map_err(|error| ToolsetError(error.to_string()))?;
        toml::from_str(&text).map_err(|error| ToolsetError(error.to_string()))
    }

    /// The tool `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn tool(&self, name: &str) -> Result<&Tool, ToolsetError> {
        self.tools
            .iter()
            .find(|tool| tool.name == name)
            .ok_or_else(|| ToolsetError(format!("there is no tool {name:?}")))
    }

    /// The server with the key `key`.
    ///
    /// # Errors
    /// When there is none.
    pub fn server(&self, key: &str) -> Result<&Server, ToolsetError> {
        self.servers
            .iter()
            .find(|server| server.key == key)
            .ok_or_else(|| ToolsetError(format!("there is no server {key:?}")))
    }

    /// The tools of one server.
    pub fn tools_of<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a Tool> {
        self.tools.iter().filter(move |tool| tool.server == server)
    }

    /// The calls of the precondition `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn step(&self, name: &str) -> Result<&[StepCall], ToolsetError> {
        self.steps
            .iter()
            .find(|step| step.name == name)
            .map(|step| step.calls.as_slice())
            .ok_or_else(|| ToolsetError(format!("there is no step {name:?}")))
    }

    /// What `${…}` stands for before any call has been made.
    ///
    /// # Errors
    /// When a fixture a variable names is missing or unreadable.
    pub fn variables(&self) -> Result<Variables, ToolsetError> {
        let mut variables = Variables::default();
        for (name, source) in &self.variable {
            let value = source.read().map_err(|reason| ToolsetError(format!("variable {name}: {reason}")))?;
            variables.set(name, value);
        }
        Ok(variables)
    }
}

impl Tool {
    /// The case `name` of this tool.
    ///
    /// # Errors
    /// When there is none.
    pub fn case(&self, name: &str) -> Result<&Case, ToolsetError> {
        self.cases
            .iter()
            .find(|case| case.name == name)
            .ok_or_else(|| ToolsetError(format!("tool {} has no case {name:?}", self.name)))
    }

    /// The cases in one condition.
    pub fn in_condition(&self, condition: Condition) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(move |case| case.condition == condition)
    }
}
