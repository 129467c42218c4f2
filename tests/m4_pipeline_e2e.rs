//! Milestone 4, the pipeline: so far the promise that needs no pipeline run (spec matrix.md).

use rstest::rstest;
use serde_json::json;
use support::{
    mcp::{Fact, Kind},
    prelude::*,
};

/// B1-03: the sample PRD is decomposed into exactly its three services and at least its three
/// entities; a text of five characters is rejected.
#[rstest]
#[tokio::test]
async fn b1_03_architect_decompose(mut build1: Build1, evidence: Evidence) -> Verdict {
    let prd = build1.variables().get("sample_prd").cloned();
    let reply = build1.call("decompose", json!({ "prd_text": prd })).await?.value(Kind::Object)?;
    let services = reply["service_map"]["services"].as_array().into_iter().flatten();
    let mut names: Vec<_> = services.filter_map(|service| service["name"].as_str()).collect();
    names.sort_unstable();
    evidence.check_eq("the services", names, vec!["auth-service", "notification-service", "order-service"])?;
    let entities = Fact::Shows(json!([{ "name": "User" }, { "name": "Order" }, { "name": "Notification" }]));
    let found = &reply["domain_model"]["entities"];
    evidence.check("the entities", entities.holds(found), found)?;
    let refused = build1.call("decompose", json!({ "prd_text": "short" })).await?;
    evidence.check("five characters are rejected", refused.error_text().is_some(), refused.envelope())
}
