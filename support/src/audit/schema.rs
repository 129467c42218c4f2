//! The JSON Schema of audit.json, made from the types that are written.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Audit;

/// Keywords whose schemas speak of a part of the value; all others speak of the value itself.
const OF_PARTS: [&str; 4] = ["properties", "$defs", "items", "additionalProperties"];

/// The JSON Schema of audit.json (draft 2020-12), published as `fixtures/schemas/audit.schema.json`.
/// It knows every field: one that it does not name is an error.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Audit>().to_value();
    close(&mut schema);
    schema
}

/// Closes a schema and those of its parts. A branch of it is left open, since it sees the fields of
/// the whole.
fn close(schema: &mut Value) {
    let Some(keywords) = schema.as_object_mut() else { return };
    close_parts(keywords);
    keywords.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
}

fn close_parts(keywords: &mut serde_json::Map<String, Value>) {
    for (keyword, value) in keywords.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(parts)) => parts.values_mut().for_each(close),
            (keyword, value @ Value::Object(_)) if OF_PARTS.contains(&keyword) => close(value),
            ("oneOf" | "anyOf" | "allOf", Value::Array(branches)) => {
                branches.iter_mut().filter_map(Value::as_object_mut).for_each(close_parts);
            }
            _ => (),
        }
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
