//! One answer against one contract.

use std::collections::BTreeSet;

use jsonschema::{Draft, error::ValidationErrorKind, paths::LocationSegment};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One way in which an answer breaks its contract.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Breach {
    /// `SCHEMA-001` for a body, `SCHEMA-002` for a status (orchestrator.md §6).
    pub code: String,
    /// The service.
    pub service: String,
    /// `GET /orders/{id}`.
    pub endpoint: String,
    /// The field of the body, or the status.
    pub what: String,
}

/// What is wrong with an answer of `service` to `method` (in capitals) at the path template
/// `path`, by the OpenAPI document `spec`.
pub fn breaches(service: &str, spec: &Value, method: &str, path: &str, status: u16, body: &Value) -> BTreeSet<Breach> {
    let breach = |code: &str, what: String| Breach {
        code: code.to_owned(),
        service: service.to_owned(),
        endpoint: format!("{method} {path}"),
        what,
    };
    let operation = &spec["paths"][path][method.to_lowercase()];
    let response = follow(spec, &operation["responses"][status.to_string()]);
    if !response.is_object() {
        return BTreeSet::from([breach("SCHEMA-002", status.to_string())]);
    }
    let schema = &response["content"]["application/json"]["schema"];
    if schema.is_null() {
        return BTreeSet::new();
    }
    let mut root = spec.clone();
    // Beside the contract's own keys, so that its references resolve.
    root["allOf"] = Value::Array(vec![schema.clone()]);
    match jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true).build(&root) {
        Err(error) => BTreeSet::from([breach("SCHEMA-001", format!("unusable schema: {error}"))]),
        Ok(validator) => {
            let fields = validator.iter_errors(body).flat_map(|error| fields(&error));
            fields.map(|field| breach("SCHEMA-001", field)).collect()
        }
    }
}

fn follow<'v>(spec: &'v Value, value: &'v Value) -> &'v Value {
    let target = value["$ref"].as_str().and_then(|reference| spec.pointer(reference.strip_prefix('#')?));
    target.unwrap_or(value)
}

/// The fields that an error is about.
fn fields(error: &jsonschema::ValidationError<'_>) -> Vec<String> {
    let place: Vec<String> = error
        .instance_path()
        .segments()
        .map(|segment| match segment {
            LocationSegment::Property(name) => name.to_string(),
            LocationSegment::Index(index) => index.to_string(),
        })
        .collect();
    let below = |name: &str| place.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected.iter().map(|name| below(name)).collect(),
        ValidationErrorKind::Required { property } => vec![below(property.as_str().unwrap_or_default())],
        _ if place.is_empty() => vec!["body".to_owned()],
        _ => vec![place.join(".")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::json;

    fn spec() -> Value {
        json!({
            "paths": { "/orders/{id}": { "get": { "responses": {
                "200": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } } },
                "404": { "$ref": "#/components/responses/Unknown" },
            } } } },
            "components": {
                "responses": { "Unknown": { "description": "no such order" } },
                "schemas": { "Order": {
                    "type": "object", "required": ["id"], "additionalProperties": false,
                    "properties": { "id": { "type": "string", "format": "uuid" }, "at": { "type": "string", "format": "date-time" } },
                } },
            },
        })
    }

    const ID: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

    #[rstest]
    #[case::good(200, json!({ "id": ID, "at": "2026-11-24T18:00:00Z" }), &[])]
    #[case::optional(200, json!({ "id": ID }), &[])]
    #[case::extra(200, json!({ "id": ID, "note": 1 }), &["SCHEMA-001 note"])]
    #[case::missing(200, json!({}), &["SCHEMA-001 id"])]
    #[case::type_of_optional(200, json!({ "id": ID, "at": 1 }), &["SCHEMA-001 at"])]
    #[case::format(200, json!({ "id": "7" }), &["SCHEMA-001 id"])]
    #[case::no_object(200, json!([]), &["SCHEMA-001 body"])]
    #[case::status(400, json!({}), &["SCHEMA-002 400"])]
    #[case::reference_to_a_response(404, json!("anything"), &[])]
    fn every_breach_is_named(#[case] status: u16, #[case] body: Value, #[case] expected: &[&str]) {
        let found = breaches("orders", &spec(), "GET", "/orders/{id}", status, &body);
        let found: Vec<_> = found.into_iter().map(|it| format!("{} {}", it.code, it.what)).collect();
        assert_eq!(found, expected);
    }
}
