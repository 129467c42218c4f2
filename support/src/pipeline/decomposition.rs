//! A decomposition that a scripted Architect gives (tools.md §4): small, complete, and whatever
//! services a test is about.

use serde_json::{Map, Value, json};

/// The reply of `decompose` for these services: each owns one entity and provides one contract,
/// `<service>-api`, which the service after it consumes.
pub fn decomposition(services: &[&str]) -> Value {
    let now = chrono::Utc::now().to_rfc3339();
    let before = |index: usize| index.checked_sub(1).map(|index| format!("{}-api", services[index]));
    let definition = |(index, name): (usize, &&str)| {
        json!({
            "name": name, "domain": name, "description": format!("Keeps the records of {name}."),
            "stack": { "backend": "Python, FastAPI", "database": "PostgreSQL", "frontend": null, "message_broker": null },
            "estimated_loc": 500, "owns_entities": [entity(name)],
            "provides_contracts": [format!("{name}-api")],
            "consumes_contracts": before(index).into_iter().collect::<Vec<_>>(),
        })
    };
    let model = |name: &&str| {
        json!({
            "name": entity(name), "description": format!("A record of {name}."), "owning_service": name,
            "fields": [{ "name": "id", "type": "UUID", "required": true, "description": "" }],
            "state_machine": null,
        })
    };
    json!({
        "service_map": {
            "project_name": "Scripted", "services": services.iter().enumerate().map(definition).collect::<Vec<_>>(),
            "generated_at": now, "prd_hash": "0".repeat(64), "build_cycle_id": null,
        },
        "domain_model": {
            "entities": services.iter().map(model).collect::<Vec<_>>(), "relationships": [], "generated_at": now,
        },
        "contract_stubs": services.iter().map(|name| stub(name)).collect::<Vec<_>>(),
        "validation_issues": [], "interview_questions": [],
    })
}

/// `order-service` owns `OrderService`.
fn entity(service: &str) -> String {
    let words = service.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    words.collect()
}

/// The draft of the contract that `service` provides: one operation.
fn stub(service: &str) -> Value {
    let record = json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } });
    let answer = json!({ "description": "The record.", "content": { "application/json": { "schema": record } } });
    let path = format!("/{service}/{{id}}");
    let mut paths = Map::new();
    paths.insert(
        path,
        json!({ "get": {
        "operationId": format!("get{}", entity(service)),
        "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
        "responses": { "200": answer },
    } }),
    );
    json!({
        "name": format!("{service}-api"), "service_name": service, "type": "openapi", "version": "1.0.0",
        "spec": { "openapi": "3.1.0", "info": { "title": service, "version": "1.0.0" }, "paths": paths },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::reply_schema;
    use pretty_assertions::assert_eq;

    #[test]
    fn it_is_a_reply_of_the_tool() {
        let reply = decomposition(&["user-service", "orders"]);
        let schema = reply_schema("decompose").expect("the table has it");
        let misfits: Vec<_> = schema.iter_errors(&reply).map(|error| error.to_string()).collect();
        assert_eq!(misfits, Vec::<String>::new());
        assert_eq!(reply["service_map"]["services"][1]["consumes_contracts"], json!(["user-service-api"]));
        assert_eq!(reply["service_map"]["services"][0]["owns_entities"], json!(["UserService"]));
        assert_eq!(reply["contract_stubs"][0]["service_name"], "user-service");
    }
}
