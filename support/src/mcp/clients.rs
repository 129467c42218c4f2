//! The table of the 17 methods of Build 2's client wrappers: what is asked, what a scripted
//! server answers, and what the caller must get (`fixtures/clients.toml`, spec clients.md §2).

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, json};

use crate::{verdict::Failure, workspace};

/// The methods in the order of spec clients.md §2.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientMethods {
    #[serde(rename = "method")]
    methods: Vec<ClientMethod>,
}

/// One method of one client.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientMethod {
    /// The client as the probe names it: `contract_engine`.
    pub client: String,
    /// Its name, unique among all clients.
    pub method: String,
    /// The tool that it calls.
    pub tool: String,
    /// A call with every argument; the names are those on the wire.
    #[serde(deserialize_with = "json_text")]
    pub arguments: Value,
    /// The same call with the arguments only that have no default.
    #[serde(deserialize_with = "json_text")]
    pub required: Value,
    /// What the other arguments are when they are not given.
    #[serde(default = "no_members", deserialize_with = "json_text")]
    pub defaults: Value,
    /// The value that the tool answers with.
    #[serde(deserialize_with = "json_text")]
    pub reply: Value,
    /// The envelopes it may come in.
    pub forms: Vec<Form>,
    /// The name of the result type of this reply.
    #[serde(rename = "type")]
    pub type_name: String,
    #[serde(default, deserialize_with = "some_json_text")]
    value: Option<Value>,
    /// The name of the safe default's type.
    pub default_type: String,
    #[serde(deserialize_with = "json_text")]
    default: Value,
    #[serde(default)]
    reason: Option<String>,
    /// The reply that says "there is none".
    #[serde(default, deserialize_with = "some_json_text")]
    pub absent: Option<Value>,
    /// A reply that is not of the tool's kind, as the action of a scripted server.
    #[serde(default = "no_json")]
    pub garbage: Value,
    /// Further replies.
    #[serde(default, rename = "variant")]
    pub variants: Vec<Variant>,
}

/// Another reply, and what the caller gets of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What is special.
    pub name: String,
    /// The value that the tool answers with.
    #[serde(deserialize_with = "json_text")]
    pub reply: Value,
    /// What the caller gets.
    #[serde(deserialize_with = "json_text")]
    pub value: Value,
}

/// An envelope that SDKs put a value in (spec tools.md §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As text and as structured content.
    Both,
    /// As structured content without text.
    Structured,
    /// As text alone.
    Text,
    /// As one text for each element of a list.
    Blocks,
}

/// The table cannot be used; the message names the place.
#[derive(Debug, thiserror::Error)]
#[error("fixtures/clients.toml: {0}")]
pub struct ClientMethodsError(String);

impl From<ClientMethodsError> for Failure {
    fn from(error: ClientMethodsError) -> Self {
        Self::broken(error)
    }
}

impl Form {
    /// The action of a scripted server that answers `value` in this form.
    pub fn action(self, value: &Value) -> Value {
        match self {
            Self::Both => json!({ "both": value.to_string() }),
            Self::Structured if value.is_object() => json!({ "structured": value.to_string() }),
            Self::Structured => json!({ "structured": json!({ "result": value }).to_string() }),
            Self::Text => json!({ "text": value.as_str().map_or_else(|| value.to_string(), str::to_owned) }),
            Self::Blocks => json!({ "blocks": value.to_string() }),
        }
    }
}

impl ClientMethods {
    /// Reads the table of this suite.
    ///
    /// # Errors
    /// When the file is missing or breaks its shape.
    pub fn load() -> Result<Self, ClientMethodsError> {
        let text = std::fs::read_to_string(workspace::fixture("clients.toml"))
            .map_err(|error| ClientMethodsError(error.to_string()))?;
        toml::from_str(&text).map_err(|error| ClientMethodsError(error.to_string()))
    }

    /// All methods.
    pub fn all(&self) -> &[ClientMethod] {
        &self.methods
    }

    /// The method `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn method(&self, name: &str) -> Result<&ClientMethod, ClientMethodsError> {
        self.methods
            .iter()
            .find(|method| method.method == name)
            .ok_or_else(|| ClientMethodsError(format!("there is no method {name:?}")))
    }
}

impl ClientMethod {
    /// What the caller gets of the reply.
    pub fn value(&self) -> &Value {
        self.value.as_ref().unwrap_or(&self.reply)
    }

    /// Whether `value` is the safe default; where that says why, the text is any but empty.
    pub fn is_default(&self, value: &Value) -> bool {
        let mut value = value.clone();
        let reason = self.reason.as_ref().map(|field| value.as_object_mut().and_then(|object| object.remove(field)));
        let explained =
            reason.is_none_or(|text| text.is_some_and(|text| text.as_str().is_some_and(|text| !text.is_empty())));
        explained && value == self.default
    }

    /// The safe default without the text that says why.
    pub fn default(&self) -> &Value {
        &self.default
    }

    /// The names of all arguments.
    pub fn argument_names(&self) -> BTreeSet<&str> {
        names(&self.arguments)
    }

    /// Whether `sent` is what may be on the wire when only the required arguments are given:
    /// these, and any of the others with its default.
    pub fn accepts_on_wire(&self, sent: &Value) -> bool {
        let may = |name: &str, value: &Value| self.required.get(name).or(self.defaults.get(name)) == Some(value);
        let Some(members) = sent.as_object() else { return false };
        names(&self.required).iter().all(|name| members.contains_key(*name))
            && members.iter().all(|(name, value)| may(name, value))
    }
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn no_members() -> Value {
    json!({})
}

fn no_json() -> Value {
    json!({ "text": "this is no JSON" })
}

fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let text = String::deserialize(deserializer)?;
    serde_json::from_str(&text).map_err(|error| D::Error::custom(format!("{error} in {text}")))
}

fn some_json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    json_text(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Kind, Toolset};
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[test]
    fn the_table_wraps_every_tool_but_three() {
        let (methods, toolset) = (ClientMethods::load().expect("a table"), Toolset::load().expect("a toolset"));
        let mut wrapped: Vec<_> = methods.all().iter().map(|method| method.tool.as_str()).collect();
        wrapped.extend(["create_contract", "validate_spec", "list_contracts"]);
        wrapped.sort_unstable();
        let mut tools: Vec<_> = toolset.tools.iter().map(|tool| tool.name.as_str()).collect();
        tools.sort_unstable();
        assert_eq!(wrapped, tools);
    }

    #[test]
    fn every_row_is_whole() {
        let (methods, toolset) = (ClientMethods::load().expect("a table"), Toolset::load().expect("a toolset"));
        for method in methods.all() {
            let (name, tool) = (&method.method, toolset.tool(&method.tool).expect("a tool"));
            assert_eq!(tool.server, method.client.replace('_', "-"), "{name}: the server of its tool");
            assert_eq!(tool.parameters, !method.argument_names().is_empty(), "{name}: arguments");
            let mut given = names(&method.required);
            given.extend(names(&method.defaults));
            assert_eq!(given, method.argument_names(), "{name}: required and defaults are all arguments");
            assert_eq!(method.forms.contains(&Form::Blocks), tool.kind == Kind::List, "{name}: a list comes in blocks");
            for form in [Form::Both, Form::Structured, Form::Text] {
                assert!(method.forms.contains(&form), "{name}: {form:?}");
            }
            assert!(!method.is_default(method.value()), "{name}: the good value is no default");
        }
    }

    #[test]
    fn a_default_that_says_why_needs_a_text() {
        let methods = ClientMethods::load().expect("a table");
        let method = methods.method("validate_endpoint").expect("a row");
        assert!(method.is_default(&json!({"valid": false, "violations": [], "error": "lost"})));
        for bad in [json!({"valid": false, "violations": [], "error": ""}), json!({"valid": false, "violations": []})] {
            assert!(!method.is_default(&bad), "{bad}");
        }
    }

    #[rstest]
    #[case::all_defaults(json!({"query": "database connection", "language": null, "service_name": null, "n_results": 10}), true)]
    #[case::no_defaults(json!({"query": "database connection"}), true)]
    #[case::another_default(json!({"query": "database connection", "n_results": 5}), false)]
    #[case::another_name(json!({"query": "database connection", "limit": 10}), false)]
    #[case::nothing(json!({}), false)]
    fn defaults_may_be_sent_or_left_out(#[case] sent: Value, #[case] accepted: bool) {
        let methods = ClientMethods::load().expect("a table");
        assert_eq!(methods.method("search_semantic").expect("a row").accepts_on_wire(&sent), accepted);
    }
}
