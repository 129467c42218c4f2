//! What `${…}` stands for in the table of tools, and where its values come from.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Case, Fact, StepCall, ToolsetError};
use crate::workspace;

/// Where the value of a variable comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    text: Option<String>,
    document: Option<String>,
    folder: Option<String>,
    value: Option<String>,
    #[serde(default)]
    remove: Vec<String>,
}

impl Source {
    /// The value, read from the fixture the source names.
    pub(super) fn read(&self) -> Result<Value, String> {
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

    /// The JSON text `text`, filled.
    ///
    /// # Errors
    /// As [`Variables::arguments`].
    pub(crate) fn value(&self, text: &str) -> Result<Value, ToolsetError> {
        self.json(text)
    }

    /// The text `text`, filled.
    ///
    /// # Errors
    /// When it names an unknown variable.
    pub(crate) fn text(&self, text: &str) -> Result<String, ToolsetError> {
        let filled = self.fill_text(text)?;
        Ok(filled.as_str().map_or_else(|| filled.to_string(), str::to_owned))
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

#[cfg(test)]
mod tests {
    use super::*;

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
