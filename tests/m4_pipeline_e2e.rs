//! Milestone 4, the pipeline: so far the promise that needs no pipeline run (spec matrix.md).

use std::{collections::BTreeMap, time::Duration};

use rstest::rstest;
use serde_json::{Value, json};
use support::{
    fixtures::{ScriptedBuilder, ScriptedServer},
    mcp::{Fact, Kind},
    pipeline::decomposition::decomposition,
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

// ---- error paths of the front phases

/// E1: an Architect that hangs is asked three times; then the run has failed, by the time-out of
/// its phase, and nothing of it runs any more.
#[rstest]
#[case::at_the_handshake(json!({ "initialize": "silence" }))]
#[case::at_the_call(json!({ "calls": { "decompose": [{ "silence": true }] } }))]
#[tokio::test]
async fn r4_m6_007_e1_architect_times_out(
    #[case] scenario: Value,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    const LIMIT: u64 = 1;
    let hangs = ScriptedServer::play(&scenario)?;
    orchestrator.set_server("architect", &hangs.command()).set("architect.timeout", LIMIT);
    let prd = orchestrator.sample_prd();
    let outcome = orchestrator.run(&["run", "--prd", &prd]).await?;
    evidence.observe("stderr", &outcome.stderr)?;
    evidence.check_eq("the exit code", outcome.code, Some(1))?;
    let state = orchestrator.workspace().state()?;
    evidence.check_eq("the state", &state["current_state"], &json!("failed"))?;
    evidence.check_eq("retries", [&state["architect_retries"], &state["max_architect_retries"]], [&json!(2); 2])?;
    evidence.check_eq("starts of the Architect", hangs.starts().map_err(Failure::broken)?.len(), 3)?;
    let least = Duration::from_secs(3 * LIMIT).as_secs_f64();
    evidence.check("every attempt had its time", outcome.seconds >= least, outcome.seconds)?;
    for (place, text) in
        [("interrupt_reason", state["interrupt_reason"].as_str().unwrap_or_default()), ("stderr", &outcome.stderr)]
    {
        let names_it = text.contains("timeout") && text.contains("architect");
        evidence.check(&format!("{place} names the time-out of the phase"), names_it, text)?;
    }
    evidence.check_eq("what still runs", orchestrator.processes()?, Vec::new())
}

/// A builder that only leaves the STATE.json of a success.
fn scripted_builder(more: &str) -> std::io::Result<ScriptedBuilder> {
    let state = json!({
        "run_id": "1", "summary": { "success": true, "test_passed": 9, "test_total": 10, "convergence_ratio": 0.9 },
        "total_cost": 0, "health": "passed", "completed_phases": ["build"],
    });
    ScriptedBuilder::new(&format!("steps = [{{ state = '''{state}''' }}]\n{more}"))
}

/// E2: an invalid contract is dropped with a warning, the valid one is registered, and every
/// service is built. Twin: two valid ones are registered without a warning.
#[rstest]
#[case::one_is_invalid(true, &["billing"])]
#[case::all_are_valid(false, &["billing", "stock"])]
#[tokio::test]
async fn r4_m6_007_e2_invalid_contract_is_dropped(
    #[case] is_broken: bool,
    #[case] registered: &[&str],
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    let services = ["stock", "billing"];
    let mut reply = decomposition(&services);
    if is_broken {
        reply["contract_stubs"][0]["spec"] = json!({ "openapi": "3.1.0" });
    }
    let scripted = scripted_builder("")?;
    orchestrator.set_builder(&scripted.command());
    orchestrator.planned(&reply).await?;
    let outcome = orchestrator.run(&["build"]).await?;
    evidence.observe("stderr", &outcome.stderr)?;
    evidence.check_eq("the exit code", outcome.code, Some(0))?;
    let warned: Vec<_> = outcome.stderr.lines().filter(|line| line.contains("stock-api")).collect();
    evidence.check_eq("it is warned of the invalid one", !warned.is_empty(), is_broken)?;
    let session = orchestrator.builder().session("contract_engine_mcp", &orchestrator.build1_data()).await?;
    let reply = session.call("list_contracts", json!({})).await?.value(Kind::Object)?;
    session.close().await;
    let mut found: Vec<_> =
        reply["items"].as_array().into_iter().flatten().filter_map(|entry| entry["service_name"].as_str()).collect();
    found.sort_unstable();
    evidence.check_eq("what the Contract Engine has", found, registered.to_vec())?;
    let state = orchestrator.workspace().state()?;
    evidence.check_eq("the state", &state["current_state"], &json!("builders_complete"))?;
    evidence.check_eq("services built", &state["successful_builders"], &json!(services.len()))
}

/// E3: a builder that crashes is no success and says why, and the others finish. When all crash,
/// the pipeline has failed and names each.
#[rstest]
#[case::one("[services.two]\nexit = 1", &["two"], 0, "builders_complete")]
#[case::all("[services.one]\nexit = 1\n[services.two]\nexit = 1\n[services.three]\nexit = 1", &["one", "two", "three"], 1, "failed")]
#[tokio::test]
async fn r4_m6_007_e3_builder_crashes(
    #[case] crashes: &str,
    #[case] crashed: &[&str],
    #[case] code: i32,
    #[case] end: &str,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    let scripted = scripted_builder(crashes)?;
    orchestrator.set_builder(&scripted.command());
    orchestrator.planned(&decomposition(&["one", "two", "three"])).await?;
    let outcome = orchestrator.run(&["build"]).await?;
    evidence.observe("stderr", &outcome.stderr)?;
    evidence.check_eq("the exit code", outcome.code, Some(code))?;
    let state = orchestrator.workspace().state()?;
    evidence.check_eq("the state", &state["current_state"], &json!(end))?;
    let results = state["builder_results"].as_array().cloned().unwrap_or_default();
    evidence.observe("results", &results)?;
    evidence.check_eq("every builder has a result", results.len(), 3)?;
    let outcomes: BTreeMap<_, _> = results.iter().map(|result| (result["service_id"].as_str(), result)).collect();
    for service in ["one", "two", "three"] {
        let result = outcomes.get(&Some(service)).copied().unwrap_or(&Value::Null);
        let is_crash = crashed.contains(&service);
        evidence.check_eq(&format!("{service}: success"), &result["success"], &json!(!is_crash))?;
        let error = &result["error"];
        evidence.check(&format!("{service}: an error only if it crashed"), error.is_string() == is_crash, error)?;
    }
    let reason = state["interrupt_reason"].as_str().unwrap_or_default();
    let named = crashed.iter().all(|service| reason.contains(service));
    evidence.check("a failed pipeline names the crashed", named || end != "failed", reason)
}
