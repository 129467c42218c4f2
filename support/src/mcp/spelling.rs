//! The alternative spellings a server may use (spec tools.md §8): made canonical before a
//! reply is judged, and named, so that the report can list them as P3 findings.

use serde_json::{Value, json};

use super::{Kind, McpError};

/// The canonical form of a tool's reply, and the alternative spellings found in it.
///
/// # Errors
/// The reply's own error; a business error of a nullable tool is its way to say "none".
pub fn normalise(tool: &str, kind: Kind, value: Result<Value, McpError>) -> Result<(Value, Vec<String>), McpError> {
    let mut spellings = Vec::new();
    let mut value = match value {
        Err(McpError::Business { message, .. }) if kind == Kind::Nullable => {
            spellings.push(format!("{tool}: none is said as an error: {message}"));
            Value::Null
        }
        other => other?,
    };
    if kind == Kind::Nullable && value == json!({}) {
        spellings.push(format!("{tool}: none is said as an empty object"));
        value = Value::Null;
    }
    match tool {
        "find_definition" => {
            for (canonical, accepted) in [("file_path", "file"), ("line_start", "line")] {
                rename(tool, &mut value, accepted, canonical, &mut spellings);
            }
            // A server that says `file` and `line` knows no end and no docstring.
            if !spellings.is_empty() {
                default(&mut value, "line_end", |value| value["line_start"].clone());
                default(&mut value, "docstring", |_| Value::Null);
            }
        }
        "mark_implemented" => rename(tool, &mut value, "total", "total_implementations", &mut spellings),
        "validate_endpoint" => {
            for violation in value["violations"].as_array_mut().into_iter().flatten() {
                if violation.is_object() && violation.get("severity").is_none() {
                    violation["severity"] = json!("error");
                    spellings.push(format!("{tool}: a violation without severity"));
                }
            }
        }
        _ => (),
    }
    Ok((value, spellings))
}

fn rename(tool: &str, value: &mut Value, accepted: &str, canonical: &str, spellings: &mut Vec<String>) {
    if let Some(object) = value.as_object_mut()
        && !object.contains_key(canonical)
        && let Some(found) = object.remove(accepted)
    {
        object.insert(canonical.to_owned(), found);
        spellings.push(format!("{tool}: {canonical} is spelt {accepted}"));
    }
}

fn default(value: &mut Value, key: &str, make: impl Fn(&Value) -> Value) {
    let made = make(value);
    if let Some(object) = value.as_object_mut() {
        object.entry(key).or_insert(made);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case::definition("find_definition", Kind::Nullable,
        json!({"file": "a.py", "line": 3, "kind": "class", "signature": null}),
        json!({"kind": "class", "signature": null, "file_path": "a.py", "line_start": 3, "line_end": 3, "docstring": null}), 2)]
    #[case::total("mark_implemented", Kind::Object, json!({"total": 1}), json!({"total_implementations": 1}), 1)]
    #[case::severity("validate_endpoint", Kind::Object, json!({"violations": [{}]}), json!({"violations": [{"severity": "error"}]}), 1)]
    #[case::empty_object("get_contract", Kind::Nullable, json!({}), Value::Null, 1)]
    #[case::canonical("mark_implemented", Kind::Object, json!({"total_implementations": 1}), json!({"total_implementations": 1}), 0)]
    #[case::no_default_without_spelling("find_definition", Kind::Nullable, json!({"file_path": "a"}), json!({"file_path": "a"}), 0)]
    fn alternatives_become_canonical(
        #[case] tool: &str,
        #[case] kind: Kind,
        #[case] said: Value,
        #[case] canonical: Value,
        #[case] count: usize,
    ) {
        let (value, spellings) = normalise(tool, kind, Ok(said)).expect("a value");
        assert_eq!(value, canonical);
        assert_eq!(spellings.len(), count, "{spellings:?}");
    }
}
