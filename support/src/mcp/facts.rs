//! What a reply is held against: planted facts and the schema of its tool.

use std::path::Path;

use serde_json::{Value, json};

use super::ToolsetError;
use crate::workspace;

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
}
