//! The table of the 20 tools: how each is called in each condition and what must come back
//! (`fixtures/toolset.toml`, spec tools.md §7). Read by the tests, the guards and the report.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Kind;
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
    arguments: String,
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
    arguments: String,
    #[serde(default)]
    shows: Option<String>,
    #[serde(default)]
    lacks: Option<String>,
    #[serde(default)]
    is: Option<String>,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    text: Option<String>,
    document: Option<String>,
    folder: Option<String>,
    value: Option<String>,
    #[serde(default)]
    remove: Vec<String>,
}

/// The toolset cannot be used; the message names the place.
#[derive(Debug, thiserror::Error)]
#[error("fixtures/toolset.toml: {0}")]
pub struct ToolsetError(String);

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

impl Source {
    fn read(&self) -> Result<Value, String> {
        let read = |name: &String| {
            std::fs::read_to_string(workspace::fixture(name)).map_err(|error| format!("{name}: {error}"))
        };
        let mut value = match (&self.text, &self.document, &self.folder, &self.value) {
            (Some(name), None, None, None) => Value::String(read(name)?),
            (None, Some(name), None, None) => {
                yaml_serde::from_str(&read(name)?).map_err(|error| format!("{name}: {error}"))?
            }
            (None, None, Some(name), None) => json!(workspace::fixture(name)),
            (None, None, None, Some(text)) => serde_json::from_str(text).map_err(|error| error.to_string())?,
            _ => return Err("give exactly one of text, document, folder, value".into()),
        };
        for pointer in &self.remove {
            remove(&mut value, pointer).ok_or_else(|| format!("there is no {pointer} to remove"))?;
        }
        Ok(value)
    }
}

fn remove(document: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, key) = pointer.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    document.pointer_mut(parent)?.as_object_mut()?.shift_remove(&key)
}

/// What `${…}` stands for in arguments and facts.
#[derive(Debug, Clone, Default)]
pub struct Variables(Map<String, Value>);

impl Variables {
    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The arguments of a case.
    ///
    /// # Errors
    /// When they are not JSON or name an unknown variable.
    pub fn arguments(&self, case: &Case) -> Result<Value, ToolsetError> {
        self.json(&case.arguments)
    }

    /// The arguments of a step's call.
    ///
    /// # Errors
    /// As [`Variables::arguments`].
    pub fn step_arguments(&self, call: &StepCall) -> Result<Value, ToolsetError> {
        self.json(&call.arguments)
    }

    /// The facts a case promises of its reply.
    ///
    /// # Errors
    /// As [`Variables::arguments`].
    pub fn facts(&self, case: &Case) -> Result<Vec<Fact>, ToolsetError> {
        let promised =
            [(&case.shows, Fact::Shows as fn(Value) -> Fact), (&case.lacks, Fact::Lacks), (&case.is, Fact::Is)];
        promised.into_iter().filter_map(|(text, fact)| text.as_ref().map(|text| self.json(text).map(fact))).collect()
    }

    fn json(&self, text: &str) -> Result<Value, ToolsetError> {
        let template = serde_json::from_str(text).map_err(|error| ToolsetError(format!("{error} in {text}")))?;
        self.fill(template)
    }

    fn fill(&self, template: Value) -> Result<Value, ToolsetError> {
        Ok(match template {
            Value::String(text) => self.fill_text(&text)?,
            Value::Array(items) => items.into_iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?,
            Value::Object(members) => members
                .into_iter()
                .map(|(key, value)| Ok((key, self.fill(value)?)))
                .collect::<Result<Map<_, _>, ToolsetError>>()?
                .into(),
            other => other,
        })
    }

    fn fill_text(&self, text: &str) -> Result<Value, ToolsetError> {
        let Some((before, rest)) = text.split_once("${") else { return Ok(json!(text)) };
        let (name, after) =
            rest.split_once('}').ok_or_else(|| ToolsetError(format!("{text:?} has a ${{ without }}")))?;
        let value =
            self.get(name).ok_or_else(|| ToolsetError(format!("{text:?} names the unknown variable {name:?}")))?;
        if before.is_empty() && after.is_empty() {
            return Ok(value.clone());
        }
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let after = self.fill_text(after)?;
        Ok(json!(format!("{before}{value}{}", after.as_str().unwrap_or_default())))
    }
}

/// Something a reply must or must not say.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// It contains this: objects as a subset, each element of a list in some element.
    Shows(Value),
    /// No element of it contains any of these.
    Lacks(Value),
    /// It is exactly this.
    Is(Value),
}

impl Fact {
    /// Whether `reply` keeps the fact.
    pub fn holds(&self, reply: &Value) -> bool {
        match self {
            Self::Shows(pattern) => contains(reply, pattern),
            Self::Lacks(patterns) => {
                let (patterns, elements) = (as_slice(patterns), as_slice(reply));
                !patterns.iter().any(|pattern| elements.iter().any(|element| contains(element, pattern)))
            }
            Self::Is(value) => reply == value,
        }
    }
}

impl std::fmt::Display for Fact {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shows(pattern) => write!(formatter, "the reply shows {pattern}"),
            Self::Lacks(patterns) => write!(formatter, "the reply has none of {patterns}"),
            Self::Is(value) => write!(formatter, "the reply is {value}"),
        }
    }
}

fn as_slice(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn contains(value: &Value, pattern: &Value) -> bool {
    match (value, pattern) {
        (Value::Object(members), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| members.get(key).is_some_and(|member| contains(member, wanted)))
        }
        (Value::Array(elements), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| elements.iter().any(|element| contains(element, wanted)))
        }
        // A text that shows another as its part: generated sources and messages.
        (Value::String(text), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| wanted.as_str().is_some_and(|wanted| text.contains(wanted)))
        }
        (value, pattern) => value == pattern,
    }
}

/// The schema of each tool's reply, by tool name (`fixtures/schemas/tool_replies.schema.json`).
///
/// # Errors
/// When the file is missing, is not JSON, or has no `$defs` entry for `tool`.
pub fn reply_schema(tool: &str) -> Result<jsonschema::Validator, ToolsetError> {
    let path = Path::new("schemas/tool_replies.schema.json");
    let failed = |reason: String| ToolsetError(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(workspace::fixture(path)).map_err(|error| failed(error.to_string()))?;
    let mut schema: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    if schema["$defs"].get(tool).is_none() {
        return Err(failed(format!("no $defs entry {tool:?}")));
    }
    schema["$ref"] = json!(format!("#/$defs/{tool}"));
    jsonschema::validator_for(&schema).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::subset(json!({"a": 1, "b": 2}), json!({"a": 1}), true)]
    #[case::missing_key(json!({"a": 1}), json!({"b": 1}), false)]
    #[case::some_element(json!([{"a": 1}, {"a": 2}]), json!([{"a": 2}]), true)]
    #[case::no_element(json!([{"a": 1}]), json!([{"a": 2}]), false)]
    #[case::empty_object_shows_nothing(json!({}), json!({"a": 1}), false)]
    #[case::part_of_a_text(json!("def test_login():"), json!(["login"]), true)]
    #[case::number_is_not_its_text(json!("1"), json!(1), false)]
    fn shows(#[case] reply: Value, #[case] pattern: Value, #[case] holds: bool) {
        assert_eq!(Fact::Shows(pattern).holds(&reply), holds);
    }

    #[test]
    fn lacks_looks_at_every_element() {
        let fact = Fact::Lacks(json!([{"name": "main"}]));
        assert!(fact.holds(&json!([{"name": "helper"}])));
        assert!(!fact.holds(&json!([{"name": "helper"}, {"name": "main", "line": 3}])));
    }

    #[test]
    fn variables_fill_whole_values_and_parts_of_texts() {
        let mut variables = Variables::default();
        variables.set("spec", json!({"openapi": "3.1.0"}));
        variables.set("tree", json!("/code"));
        let filled = variables.json(r#"{"spec": "${spec}", "path": "${tree}/a/${tree}"}"#).expect("fills");
        assert_eq!(filled, json!({"spec": {"openapi": "3.1.0"}, "path": "/code/a//code"}));
        assert!(variables.json(r#""${nothing}""#).expect_err("unknown").to_string().contains("nothing"));
    }
}
