//! Schemas of what is measured, beside those of the tools' replies and with their definitions.

use serde_json::{Value, json};

use crate::{verdict::Failure, workspace};

/// The definitions that every file may name.
const SHARED: &str = "schemas/tool_replies.schema.json";

/// The schema `name` among the definitions of `file`, a fixture, and those of the tools' replies.
///
/// # Errors
/// BROKEN when a file is missing or has no such definition.
pub(super) fn validator(file: &str, name: &str) -> Result<jsonschema::Validator, Failure> {
    let mut definitions = serde_json::Map::new();
    for path in [SHARED, file] {
        let text = std::fs::read_to_string(workspace::fixture(path))?;
        let schema: Value = serde_json::from_str(&text).map_err(|error| Failure::broken(format!("{path}: {error}")))?;
        definitions.extend(schema["$defs"].as_object().cloned().unwrap_or_default());
    }
    if !definitions.contains_key(name) {
        return Err(Failure::broken(format!("neither {file} nor {SHARED} defines {name:?}")));
    }
    let schema = json!({ "$ref": format!("#/$defs/{name}"), "$defs": definitions });
    jsonschema::validator_for(&schema).map_err(|error| Failure::broken(format!("{file}: {name}: {error}")))
}

/// What of `value` does not fit; none when all of it does.
pub(super) fn misfit(schema: &jsonschema::Validator, value: &Value) -> Option<String> {
    let wrong: Vec<_> = schema.iter_errors(value).map(|it| format!("{it} at {}", it.instance_path())).take(3).collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}
