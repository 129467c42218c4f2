//! Milestone 4, contracts: so far the promise that needs no pipeline run (spec matrix.md).

use rstest::rstest;
use serde_json::{Value, json};
use support::{mcp::Kind, prelude::*};

/// B1-04: every specification among the fixtures is valid without an error; one without
/// `info` and `paths` is not, and the errors say so.
#[rstest]
#[case::auth("openapi_auth", "openapi")]
#[case::order("openapi_order", "openapi")]
#[case::events("asyncapi_order", "asyncapi")]
#[tokio::test]
async fn b1_04_contract_validation(
    #[case] fixture: &str,
    #[case] kind: &str,
    mut build1: Build1,
    evidence: Evidence,
) -> Verdict {
    let spec = build1.variables().get(fixture).cloned().unwrap_or_default();
    let verdict = build1.call("validate_spec", json!({ "spec": spec, "type": kind })).await?.value(Kind::Object)?;
    evidence.check_eq("valid", &verdict["valid"], &json!(true))?;
    evidence.check_eq("errors", &verdict["errors"], &json!([]))?;

    let mut broken = spec;
    for key in ["info", "paths", "channels"] {
        broken.as_object_mut().map(|members| members.remove(key));
    }
    let verdict = build1.call("validate_spec", json!({ "spec": broken, "type": kind })).await?.value(Kind::Object)?;
    evidence.check_eq("the broken twin is not valid", &verdict["valid"], &json!(false))?;
    evidence.check(
        "its errors are listed",
        verdict["errors"].as_array().is_some_and(|errors| !errors.is_empty()),
        &verdict,
    )?;
    evidence.check(
        "each error is a text",
        verdict["errors"].as_array().into_iter().flatten().all(Value::is_string),
        &verdict,
    )
}
