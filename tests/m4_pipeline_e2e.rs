//! Milestone 4, the pipeline: one real run of it, and runs with scripted parts that go wrong
//! (spec matrix.md, orchestrator.md, flows.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};
use support::{
    fixtures::{Application, ApplicationAddress, EVENT_LIMIT, ScriptedBuilder, ScriptedServer},
    mcp::{Fact, Kind, normalise},
    pipeline::{builder_state::parse_builder_state, decomposition::decomposition},
    prelude::*,
    session::is_running,
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

/// What a run does in order; the states in between are entered in this order, too.
const PHASES: [&str; 6] = [
    "architect_running",
    "architect_review",
    "contracts_registering",
    "builders_running",
    "integrating",
    "quality_gate",
];

/// The states that a good run may be in, in order. A fix pass leads back to the gate.
const STATES: [&str; 10] = [
    "init",
    "architect_running",
    "architect_review",
    "contracts_registering",
    "builders_running",
    "builders_complete",
    "integrating",
    "quality_gate",
    "fix_pass",
    "complete",
];

/// SC-01: from the PRD to `complete` through every phase, with stdin closed and no hand.
#[rstest]
#[tokio::test]
async fn sc_01_full_pipeline_no_intervention(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    evidence.observe("outcome", &run.outcome)?;
    evidence.check_eq("auto_approve", &run.config["architect"]["auto_approve"], &json!(true))?;
    let state = run.workspace().state()?;
    evidence.check_eq("the state", &state["current_state"], &json!("complete"))?;
    evidence.check_eq("the exit code", run.outcome.code, Some(0))?;
    let completed = state["completed_phases"].as_array().cloned().unwrap_or_default();
    let missing: Vec<_> = PHASES.iter().filter(|phase| !completed.contains(&json!(phase))).collect();
    evidence.check_eq("phases that are not completed", missing, Vec::<&&str>::new())
}

/// SC-01, its twin: without `auto_approve` the run stops at the review, and nothing is built.
#[rstest]
#[tokio::test]
async fn sc_01_stops_for_approval(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let scripted = ScriptedBuilder::new("")?;
    orchestrator.set_builder(&scripted.command()).set("architect.auto_approve", false);
    let prd = orchestrator.sample_prd();
    let outcome = orchestrator.run(&["run", "--prd", &prd]).await?;
    evidence.observe("outcome", &outcome)?;
    let workspace = orchestrator.workspace();
    evidence.check_eq("the state", workspace.state()?["current_state"].as_str(), Some("architect_review"))?;
    evidence.check(
        "the architecture is there to be reviewed",
        workspace.file("service_map.json").exists(),
        &outcome,
    )?;
    let contracts = workspace.file("contract_registry.json");
    evidence.check("no contract was registered", !contracts.exists(), contracts)?;
    let built = workspace.root().join("builds");
    evidence.check("no builder was started", !built.exists(), built)
}

/// B3-01: all seven phases hold, and every state up to `complete` was entered in order.
#[rstest]
#[tokio::test]
async fn b3_01_pipeline_e2e(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    evidence.observe("phases", &run.phases)?;
    evidence.observe("timeline", &run.timeline)?;
    for phase in &run.phases {
        evidence.check(&format!("{}: {}", phase.phase_name, phase.verdict()), phase.passed, phase)?;
    }
    let names: Vec<_> = run.phases.iter().map(|phase| phase.phase_name.as_str()).collect();
    let promised = [
        "build1_health",
        "mcp_smoke",
        "architect_decomposition",
        "contract_registration",
        "parallel_builders",
        "integration_deployment",
        "quality_gate",
    ];
    evidence.check_eq("the phases", names, promised.to_vec())?;

    let seen: Vec<_> = run.timeline.states.iter().map(|entered| entered.state.as_str()).collect();
    let ranks: Vec<_> = seen.iter().map(|state| STATES.iter().position(|known| known == state)).collect();
    evidence.check("every state is a known one", ranks.iter().all(Option::is_some), &seen)?;
    let is_step = |pair: &[&str]| pair[0] == "fix_pass" && pair[1] == "quality_gate";
    let backward: Vec<_> = seen.windows(2).filter(|pair| !is_step(pair) && rank(pair[0]) > rank(pair[1])).collect();
    evidence.check_eq("steps backward", backward, Vec::<&[&str]>::new())?;
    evidence.check_eq("the last state", seen.last().copied(), Some("complete"))?;
    let state = run.workspace().state()?;
    let completed: Vec<_> =
        state["completed_phases"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let planned: Vec<_> = completed.iter().copied().filter(|phase| PHASES.contains(phase)).collect();
    evidence.check_eq("the phases in the order of their completion", planned, PHASES.to_vec())
}

fn rank(state: &str) -> Option<usize> {
    STATES.iter().position(|known| *known == state)
}

/// SC-06: what the builders wrote is in the index, for each service, and an empty index is empty.
#[rstest]
#[tokio::test]
async fn sc_06_codebase_indexing(pipeline_run: PipelineRun, mut build1: Build1, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let state = run.workspace().state()?;
    let builds: Vec<_> = state["builder_results"].as_array().into_iter().flatten().collect();
    evidence.check("there are builds", !builds.is_empty(), builds.len())?;
    for build in builds {
        let service = build["service_id"].as_str().unwrap_or_default();
        let symbols = symbols(&run.twins["codebase_intelligence"], service).await?;
        evidence.append("symbols", json!({ "service": service, "total": symbols.total }))?;
        evidence.check(&format!("{service} has symbols"), symbols.total > 0, symbols.total)?;
        let tree = run.workspace().build(service).canonicalize()?;
        let foreign: Vec<_> = symbols.files.iter().filter(|file| !Path::new(file).starts_with(&tree)).collect();
        evidence.check(&format!("{service}: they are of its tree"), foreign.is_empty(), foreign)?;
        let absent: Vec<_> = symbols.files.iter().filter(|file| !Path::new(file).exists()).collect();
        evidence.check(&format!("{service}: their files exist"), absent.is_empty(), absent)?;
    }
    let empty = build1.twin("codebase_intelligence_http").await?.url().to_owned();
    evidence.check_eq("symbols of an empty index", symbols(&empty, "auth-service").await?.total, 0)
}

/// The symbols of a service.
struct Symbols {
    total: u64,
    files: BTreeSet<String>,
}

/// Asks an HTTP twin of Codebase Intelligence for the symbols of a service (http.md §1.4): a page
/// with a total, or a bare list.
async fn symbols(twin: &str, service: &str) -> Result<Symbols, Failure> {
    let url = format!("{twin}/api/symbols");
    let failed = |error: reqwest::Error| Failure::fail(format!("{url}: {error}"));
    let query = [("service_name", service), ("page", "1"), ("page_size", "100")];
    let request = reqwest::Client::new().get(&url).query(&query).send().await.map_err(failed)?;
    let answer: Value = request.error_for_status().map_err(failed)?.json().await.map_err(failed)?;
    let list = answer["items"].as_array().or(answer.as_array()).cloned().unwrap_or_default();
    Ok(Symbols {
        total: answer["total"].as_u64().unwrap_or(list.len() as u64),
        files: list.iter().filter_map(|symbol| symbol["file_path"].as_str().map(str::to_owned)).collect(),
    })
}

/// SC-07 on what was generated: `User` is found in the tree of auth-service, at its very line.
#[rstest]
#[tokio::test]
async fn sc_07_mcp_queries_on_generated_service(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let session = pipeline_run.builder().session("codebase_intelligence_mcp", &run.build1_data()).await?;
    let found = session.call("find_definition", json!({ "symbol": "User" })).await?.value(Kind::Nullable);
    let (found, _) = normalise("find_definition", Kind::Nullable, found)?;
    evidence.observe("definition", &found)?;
    let file = found["file_path"].as_str().unwrap_or_default().to_owned();
    let tree = run.workspace().build("auth-service").canonicalize()?;
    evidence.check("it is in the tree of auth-service", Path::new(&file).starts_with(&tree), &file)?;
    let source = std::fs::read_to_string(&file)?;
    let number = found["line_start"].as_u64().and_then(|line| usize::try_from(line).ok()).unwrap_or_default();
    let line = source.lines().nth(number.saturating_sub(1)).unwrap_or_default();
    evidence.check("its line defines User", line.contains("class User"), line)?;
    let unknown = session.call("find_definition", json!({ "symbol": "NoSuchSymbolAnywhere" })).await?;
    evidence.check_eq("an unknown symbol", unknown.value(Kind::Nullable)?, Value::Null)?;
    session.close().await;
    Ok(())
}

/// SC-08: from the PRD to the deployed system in less than six hours.
#[rstest]
#[tokio::test]
async fn sc_08_pipeline_duration(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    run.address()?;
    evidence.observe("seconds_in_all", run.timeline.seconds)?;
    let seconds = run.timeline.deployed_after_s;
    evidence.observe("seconds_until_deployed", seconds)?;
    let seconds = seconds.ok_or_else(|| Failure::fail("it was never seen to have deployed anything"))?;
    let colour = match seconds {
        seconds if seconds < 21_600.0 => "GREEN",
        seconds if seconds <= 36_000.0 => "YELLOW",
        _ => "RED",
    };
    evidence.observe("colour", colour)?;
    evidence.check_eq("the colour of its duration", colour, "GREEN")
}

/// R4-M4-004: the registry of the run is what the Contract Engine has, and nothing was dropped.
#[rstest]
#[tokio::test]
async fn r4_m4_004_registry_is_what_the_engine_has(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let registry = run.workspace().json("contract_registry.json")?;
    let session = pipeline_run.builder().session("contract_engine_mcp", &run.build1_data()).await?;
    let contracts = registry["contracts"].as_array().cloned().unwrap_or_default();
    evidence.check("there are three at least", contracts.len() >= 3, contracts.len())?;
    for contract in &contracts {
        let id = &contract["contract_id"];
        let stored = session.call("get_contract", json!({ "contract_id": id })).await?.value(Kind::Object)?;
        for field in ["service_name", "type", "version", "spec"] {
            evidence.check_eq(&format!("{}: {field}", contract["name"]), &contract[field], &stored[field])?;
        }
    }
    session.close().await;
    evidence.check_eq("what was dropped", &registry["dropped"], &json!([]))
}

/// R4-M4-005: what the run says of each builder is what that builder left.
#[rstest]
#[tokio::test]
async fn r4_m4_005_results_are_what_builders_left(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let state = run.workspace().state()?;
    let results = state["builder_results"].as_array().cloned().unwrap_or_default();
    evidence.check_eq("total_builders", &state["total_builders"], &json!(results.len()))?;
    let succeeded = results.iter().filter(|result| result["success"] == true).count();
    evidence.check_eq("successful_builders", &state["successful_builders"], &json!(succeeded))?;
    evidence.check_eq("builders that succeeded", succeeded, 3)?;
    for result in &results {
        let service = result["service_id"].as_str().unwrap_or_default();
        let left = parse_builder_state(&run.workspace().build(service));
        evidence.check(&format!("{service}: STATE.json is whole"), left.error.is_none(), &left)?;
        let same = |name: &str, seen: &Value, left: Value| {
            evidence.check(
                &format!("{service}: {name}"),
                *seen == left || seen.as_f64().is_some_and(|seen| left.as_f64() == Some(seen)),
                [seen, &left],
            )
        };
        same("success", &result["success"], json!(left.success))?;
        same("cost", &result["cost"], json!(left.total_cost))?;
        same("test_passed", &result["test_passed"], json!(left.test_passed))?;
        same("test_total", &result["test_total"], json!(left.test_total))?;
        same("convergence_ratio", &result["convergence_ratio"], json!(left.convergence_ratio))?;
        same("health", &result["health"], json!(left.health))?;
        same("completed_phases", &result["completed_phases"], json!(left.completed_phases))?;
    }
    Ok(())
}

/// R4-M4-006: the main journey through the gateway by its path prefixes: register, log in, order, message.
#[rstest]
#[tokio::test]
async fn r4_m4_006_journey_through_the_gateway(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let address = pipeline_run.finished().await?.address()?;
    let gateway = address.gateway.clone().ok_or_else(|| Failure::fail("the run names no gateway"))?;
    let prefixes = [("auth-service", "auth"), ("order-service", "orders"), ("notification-service", "notifications")];
    let routed = prefixes.map(|(service, prefix)| (service.to_owned(), format!("{gateway}/api/{prefix}")));
    let application = Application::at(ApplicationAddress { services: routed.into(), ..address })?;
    let _lock = application.bus_lock(false).await?;
    let ada = application.person().await?;
    let order = application.order(&ada).await?;
    evidence.check_eq("the order is", &order["status"], &json!("pending"))?;
    let seen = application.notifications_until(&ada, EVENT_LIMIT, |seen| !seen.is_empty()).await?;
    evidence.check_eq("its messages within 5 s", seen.len(), 1)?;
    evidence.check_eq("the message is about", &seen[0]["order_id"], &order["id"])?;
    let nowhere = reqwest::get(format!("{gateway}/api/nowhere/health")).await.map_err(Failure::fail)?;
    evidence.check_eq("a prefix of nobody", nowhere.status().as_u16(), 404)
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
    let architects: Vec<_> = hangs.starts().map_err(Failure::broken)?.iter().map(|start| start.pid).collect();
    evidence.check_eq("starts of the Architect", architects.len(), 3)?;
    let least = Duration::from_secs(3 * LIMIT).as_secs_f64();
    evidence.check("every attempt had its time", outcome.seconds >= least, outcome.seconds)?;
    for (place, text) in
        [("interrupt_reason", state["interrupt_reason"].as_str().unwrap_or_default()), ("stderr", &outcome.stderr)]
    {
        let names_it = text.contains("timeout") && text.contains("architect");
        evidence.check(&format!("{place} names the time-out of the phase"), names_it, text)?;
    }
    // A killed process ends a moment after the signal.
    let begun = Instant::now();
    while architects.iter().any(|id| is_running(*id)) && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let left: Vec<_> = architects.into_iter().filter(|id| is_running(*id)).collect();
    evidence.check_eq("Architects that still run", left, Vec::new())
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
