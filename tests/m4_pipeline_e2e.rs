//! Milestone 4, the pipeline: one real run of it, and runs with scripted parts that go wrong
//! (spec matrix.md, orchestrator.md, flows.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{
    config::Run4Config,
    fixtures::{Application, ApplicationAddress, EVENT_LIMIT, ScriptedBuilder, ScriptedServer, reported},
    mcp::{Fact, Kind, normalise},
    pipeline::{
        builder_state::parse_builder_state,
        decomposition::decomposition,
        orchestrator::Running,
        scripted_builder::{Event, read_log},
        workspace::{PipelineWorkspace, blank_state},
    },
    prelude::*,
    session::is_running,
    stack::docker::Project,
    tree, workspace,
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
    evidence.observe("total_cost", &run.workspace().state()?["total_cost"])?;
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
    evidence.check("no Architect still runs", left.is_empty(), &left)
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

// ---- the orchestrator itself: commands, state, signals, money, and the way back after a crash

/// Long enough for anything but a hang.
const LIMIT: Duration = Duration::from_secs(60);

/// The services of a small architecture, in the order in which they are built.
const SERVICES: [&str; 3] = ["one", "two", "three"];

/// Every state, and the commands that start from it.
const STARTS: [(&str, &[&str]); 11] = [
    ("init", &["plan", "run"]),
    ("architect_running", &[]),
    ("architect_review", &[]),
    ("contracts_registering", &["build"]),
    ("builders_running", &[]),
    ("builders_complete", &["integrate"]),
    ("integrating", &[]),
    ("quality_gate", &["verify"]),
    ("fix_pass", &[]),
    ("complete", &[]),
    ("failed", &[]),
];

/// The STATE.json of a success that has cost `cost` so far.
fn good_state(cost: f64) -> Value {
    json!({
        "run_id": "1", "summary": { "success": true, "test_passed": 9, "test_total": 10, "convergence_ratio": 0.9 },
        "total_cost": cost, "health": "passed", "completed_phases": ["build"],
    })
}

/// A builder that waits for a file `go` in its folder, and has left one process that ignores
/// SIGTERM and has left its group. The service `one` is built at once, for 0.25 USD.
fn waiting_builder() -> std::io::Result<ScriptedBuilder> {
    let (one, others) = (good_state(0.25), good_state(0.5));
    ScriptedBuilder::new(&format!(
        "log = '../../builders.log'
        steps = [{{ stray = 'stray' }}, {{ wait_for = 'go' }}, {{ state = '''{others}''' }}]
        [services.one]
        steps = [{{ state = '''{one}''' }}]"
    ))
}

/// How often the builder of each service was started.
fn starts(workspace: &PipelineWorkspace) -> Result<Vec<usize>, Failure> {
    let log = read_log(&workspace.root().join("builders.log")).map_err(Failure::broken)?;
    let started = |service: &&str| {
        log.iter().filter(|entry| entry.event == Event::Start && entry.cwd == workspace.build(service)).count()
    };
    Ok(SERVICES.iter().map(started).collect())
}

/// Runs `run` until the service `one` is built and the builders of the others are at work.
async fn in_the_builders(orchestrator: &Orchestrator) -> Result<Running, Failure> {
    let prd = orchestrator.sample_prd();
    let mut running = orchestrator.start(&["run", "--prd", &prd]).await?;
    let workspace = orchestrator.workspace();
    let is_there = |state: &Value| state["builder_costs"]["one"] == 0.25;
    running
        .until("two builders at work", LIMIT, || {
            workspace.state().is_ok_and(|state| is_there(&state))
                && ["two", "three"].iter().all(|service| workspace.build(service).join("stray").exists())
        })
        .await?;
    Ok(running)
}

/// Lets the waiting builders go on.
fn go(workspace: &PipelineWorkspace) -> std::io::Result<()> {
    ["two", "three"].iter().try_for_each(|service| workspace.put(format!("builds/{service}/go"), ""))
}

/// What earlier phases left: the text of each file and when it was written.
fn artefacts(workspace: &PipelineWorkspace) -> Result<BTreeMap<String, (String, SystemTime)>, Failure> {
    let names = ["service_map.json", "domain_model.json", "contract_registry.json"];
    let read =
        |name: &str| Ok((name.to_owned(), (workspace.text(name)?, workspace.file(name).metadata()?.modified()?)));
    names.into_iter().map(read).collect()
}

/// B3-05: every command exists, and ends in a fresh workspace with the exit code of its
/// documentation; what it cannot do leaves no pipeline behind.
#[rstest]
#[case::version("--version", 0)]
#[case::no_such_command("frobnicate", 2)]
#[case::init("init --prd PRD", 0)]
#[case::init_without_prd("init", 2)]
#[case::init_with_a_missing_prd("init --prd /nowhere/prd.md", 2)]
#[case::plan("plan", 2)]
#[case::build("build", 2)]
#[case::integrate("integrate", 2)]
#[case::verify("verify", 2)]
#[case::run_without_prd("run", 2)]
#[case::run_on_what_is_not_there("run --prd PRD --deploy nowhere", 2)]
#[case::run_with_a_budget_that_is_none("run --prd PRD --budget much", 2)]
#[case::status("status", 2)]
#[case::resume("resume", 2)]
#[tokio::test]
async fn b3_05_cli_commands(
    #[case] command: &str,
    #[case] code: i32,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    orchestrator.set("builder.command", json!(["true"]));
    let prd = orchestrator.sample_prd();
    let words: Vec<_> = command.split(' ').map(|word| if word == "PRD" { prd.as_str() } else { word }).collect();
    let outcome = orchestrator.run(&words).await?;
    evidence.observe("outcome", &outcome)?;
    evidence.check_eq("the exit code", outcome.code, Some(code))?;
    let said = if code == 0 { &outcome.stdout } else { &outcome.stderr };
    evidence.check("it says something", !said.trim().is_empty(), said)?;
    let begun = if command.starts_with("init --prd PRD") { Some("init") } else { None };
    evidence.check_eq("the pipeline", orchestrator.workspace().current_state().as_deref(), begun)
}

/// B3-05: a command in a state it does not start from ends with 2, names both, and changes nothing.
#[rstest]
#[tokio::test]
async fn b3_05_other_states_are_refused(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    orchestrator.set("builder.command", json!(["true"]));
    let prd = orchestrator.sample_prd();
    let file = orchestrator.workspace().state_file();
    for (state, starting) in STARTS {
        orchestrator.workspace().write_state(&blank_state(state, &[]))?;
        let before = std::fs::read(&file)?;
        let commands: [&[&str]; 6] =
            [&["init", "--prd", &prd], &["plan"], &["build"], &["integrate"], &["verify"], &["run", "--prd", &prd]];
        for command in commands.into_iter().filter(|command| !starting.contains(&command[0])) {
            let outcome = orchestrator.run(command).await?;
            let name = format!("{} in {state}", command[0]);
            evidence.check_eq(&format!("{name}: the exit code"), outcome.code, Some(2))?;
            evidence.check(&format!("{name}: the state is named"), outcome.stderr.contains(state), &outcome.stderr)?;
            evidence.check_eq(&format!("{name}: the file"), std::fs::read(&file)?, before.clone())?;
        }
    }
    Ok(())
}

/// B3-05: `status` tells any state and changes nothing; `resume` of a pipeline that has ended
/// only says how.
#[rstest]
#[case::complete("complete", 0)]
#[case::failed("failed", 1)]
#[tokio::test]
async fn b3_05_ended_pipelines_stay_ended(
    #[case] end: &str,
    #[case] code: i32,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    orchestrator.set("builder.command", json!(["true"]));
    let mut state = blank_state(end, &["architect_running"]);
    state["interrupt_reason"] = json!("the architect fell asleep");
    orchestrator.workspace().write_state(&state)?;
    let file = orchestrator.workspace().state_file();
    let before = std::fs::read(&file)?;
    let status = orchestrator.run(&["status"]).await?;
    evidence.check_eq("status: the exit code", status.code, Some(0))?;
    evidence.check("status: it names the state", status.stdout.contains(end), &status.stdout)?;
    let resumed = orchestrator.run(&["resume"]).await?;
    evidence.check_eq("resume: the exit code", resumed.code, Some(code))?;
    let says_why = resumed.stderr.contains("the architect fell asleep");
    evidence.check_eq("resume: it says why a pipeline failed", says_why, end == "failed")?;
    evidence.check_eq("the file", std::fs::read(&file)?, before)
}

/// B3-05: a configuration error ends with 2 and names key, line and the nearest known key; no
/// pipeline is begun.
#[rstest]
#[case::unknown_key("architect:\n  auto_aprove: true\n", &["auto_aprove", "line 2", "auto_approve"])]
#[case::bad_value("depth: standard\nintegration:\n  timeout: soon\n", &["integration.timeout", "line 3"])]
#[tokio::test]
async fn b3_05_configuration_errors_are_named(
    #[case] text: &str,
    #[case] parts: &[&str],
    orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    std::fs::create_dir_all(orchestrator.workspace().file(""))?;
    std::fs::write(orchestrator.workspace().config_file(), text)?;
    let prd = orchestrator.sample_prd();
    let outcome = orchestrator.run_as_it_is(&["run", "--prd", &prd]).await?;
    evidence.check_eq("the exit code", outcome.code, Some(2))?;
    for part in parts {
        evidence.check(&format!("it names {part}"), outcome.stderr.contains(part), &outcome.stderr)?;
    }
    evidence.check_eq("the pipeline", orchestrator.workspace().current_state(), None)
}

/// A PIPELINE_STATE.json with every field set, nested values and fields of a later version included.
fn full_state() -> Value {
    let mut state = blank_state("quality_gate", &["architect_running", "builders_running", "integrating"]);
    let builder = json!({
        "system_id": "s", "service_id": "one", "success": true, "cost": 0.25, "error": null, "output_dir": "/b/one",
        "test_passed": 9, "test_total": 10, "convergence_ratio": 0.9, "artifacts": ["src/main.py"], "exit_code": 0,
        "duration_s": 1.5, "health": "passed", "completed_phases": ["build"], "of_a_later_version": { "a": [1, null] },
    });
    let set = json!({
        "config_path": "/w/config.yaml", "phase_artifacts": { "integrating": { "deep": { "er": [true, "ü"] } } },
        "architect_retries": 1, "service_map_path": "/w/m.json", "contract_registry_path": "/w/c.json",
        "domain_model_path": "/w/d.json", "builder_statuses": { "one": "succeeded" }, "builder_costs": { "one": 0.25, "two": null },
        "builder_results": [builder], "total_builders": 2, "successful_builders": 1, "services_deployed": ["one"],
        "integration_report_path": "/w/i.md", "quality_attempts": 1, "last_quality_results": { "layers": { "l": [0.5] } },
        "quality_report_path": "/w/q.md", "total_cost": 0.25, "phase_costs": { "builders_running": 0.25 },
        "budget_limit": 12.5, "interrupted": true, "interrupt_reason": "SIGINT", "of_a_later_version": { "b": [[]] },
    });
    for (key, value) in set.as_object().into_iter().flatten() {
        state[key] = value.clone();
    }
    state
}

/// B3-08: a state file with every field set survives load and save unchanged, nested values and
/// unknown fields included, and a temporary file that a killed writer left is nothing.
#[rstest]
#[tokio::test]
async fn b3_08_state_persistence(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    orchestrator.set("builder.command", json!(["true"]));
    let before = full_state();
    let after = orchestrator.probe("state", &before).await?;
    for (key, value) in before.as_object().into_iter().flatten() {
        evidence.check_eq(key, &after[key], value)?;
    }
    let workspace = orchestrator.workspace();
    workspace.write_state(&before)?;
    for left in [".tmpAb12.tmp", "PIPELINE_STATE.json.tmp"] {
        std::fs::write(workspace.file(left), "{\"current_state\": \"fai")?;
    }
    let status = orchestrator.run(&["status", "--json"]).await?;
    evidence.check_eq("status: the exit code", status.code, Some(0))?;
    let told = status.json()?;
    for (key, value) in before.as_object().into_iter().flatten() {
        evidence.check_eq(&format!("status: {key}"), &told[key], value)?;
    }
    Ok(())
}

/// B3-08, its twin: a file that is no whole state is named in the error, and left as it is.
#[rstest]
#[case::truncated(|text: &str| text[..text.len() / 2].to_owned())]
#[case::empty(|_: &str| String::new())]
#[case::of_another_shape(|_: &str| "[1]".to_owned())]
#[tokio::test]
async fn b3_08_broken_state_is_left_alone(
    #[case] broken: fn(&str) -> String,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    orchestrator.set("builder.command", json!(["true"]));
    let text = broken(&full_state().to_string());
    let file = orchestrator.workspace().state_file();
    let prd = orchestrator.sample_prd();
    std::fs::create_dir_all(orchestrator.workspace().file(""))?;
    std::fs::write(&file, &text)?;
    for command in [&["status"][..], &["resume"], &["verify"], &["run", "--prd", &prd], &["init", "--prd", &prd]] {
        let outcome = orchestrator.run(command).await?;
        let name = command[0];
        evidence.check_eq(&format!("{name}: the exit code"), outcome.code, Some(2))?;
        let is_named = outcome.stderr.contains("PIPELINE_STATE.json");
        evidence.check(&format!("{name}: the file is named"), is_named, &outcome.stderr)?;
        evidence.check_eq(&format!("{name}: the file"), std::fs::read_to_string(&file)?, text.clone())?;
    }
    Ok(())
}

/// B3-09: SIGINT while builders work ends everything, what ignores SIGTERM and has left its group
/// included; the state is saved and says why, the exit code is 130. Twins: SIGTERM does the same,
/// and signals during the save change nothing.
#[rstest]
#[case::once(Signal::INT, 1)]
#[case::terminated(Signal::TERM, 1)]
#[case::again_during_the_save(Signal::INT, 100)]
#[tokio::test]
async fn b3_09_graceful_shutdown(
    #[case] signal: Signal,
    #[case] times: usize,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    let builder = waiting_builder()?;
    orchestrator.set_builder(&builder.command());
    let _architect = orchestrator.set_architecture(&decomposition(&SERVICES))?;
    let running = in_the_builders(&orchestrator).await?;
    running.signal(signal)?;
    for _ in 1..times {
        tokio::time::sleep(Duration::from_millis(1)).await;
        running.signal(signal)?;
    }
    let outcome = running.wait(LIMIT).await?;
    evidence.observe("outcome", &outcome)?;
    evidence.check_eq("the exit code", outcome.code, Some(130))?;
    let state = orchestrator.workspace().state()?;
    evidence.check_eq("the state", &state["current_state"], &json!("builders_running"))?;
    evidence.check_eq("interrupted", &state["interrupted"], &json!(true))?;
    let reason = state["interrupt_reason"].as_str().unwrap_or_default();
    evidence.check("the reason names the signal", reason.contains("SIG"), reason)?;
    evidence.check_eq("what the finished builder cost", &state["builder_costs"]["one"], &json!(0.25))?;
    evidence.check_eq("what still runs", orchestrator.processes()?, Vec::new())
}

/// What the way back after an interruption must be: the phases before are not repeated, nor is
/// the builder that had finished; no cost is lost; nothing of the first run lives on.
async fn resumes(orchestrator: &Orchestrator, first: &[(i32, String)], evidence: &Evidence) -> Verdict {
    let workspace = orchestrator.workspace();
    let (before, completed) = (artefacts(workspace)?, workspace.state()?["completed_phases"].clone());
    let phases = ["architect_running", "architect_review", "contracts_registering"];
    evidence.check_eq("phases completed before", &completed, &json!(phases))?;
    go(workspace)?;
    let mut running = orchestrator.start(&["resume"]).await?;
    running
        .until("three builds", LIMIT, || workspace.state().is_ok_and(|state| state["successful_builders"] == 3))
        .await?;
    // What comes next is not what this is about, and may have ended by itself.
    let _ = running.interrupt();
    evidence.observe("resumed", running.wait(LIMIT).await?)?;
    let state = workspace.state()?;
    evidence.check_eq("builders started: one, two, three", starts(workspace)?, [1, 2, 2].to_vec())?;
    evidence.check("the earlier phases' files are untouched", artefacts(workspace)? == before, &before)?;
    let completed: Vec<_> = state["completed_phases"].as_array().into_iter().flatten().take(4).collect();
    evidence.check_eq(
        "phases completed, in order",
        json!(completed),
        json!([phases[0], phases[1], phases[2], "builders_running"]),
    )?;
    evidence.check_eq("the total cost", &state["total_cost"], &json!(1.25))?;
    let left: Vec<_> = first.iter().filter(|(id, _)| is_running(id.cast_unsigned())).collect();
    evidence.check("nothing of the first run lives on", left.is_empty(), &left)
}

/// Corner 4a: a run that was interrupted by SIGINT while builders worked is resumed there.
#[rstest]
#[tokio::test]
async fn r4_m6_008_resume_after_sigint(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let builder = waiting_builder()?;
    orchestrator.set_builder(&builder.command());
    let _architect = orchestrator.set_architecture(&decomposition(&SERVICES))?;
    let running = in_the_builders(&orchestrator).await?;
    let first = orchestrator.processes()?;
    running.interrupt()?;
    evidence.check_eq("the exit code", running.wait(LIMIT).await?.code, Some(130))?;
    resumes(&orchestrator, &first, &evidence).await
}

/// Corner 4b: only the orchestrator's process is killed while builders work; `resume` ends the
/// orphans and goes on there.
#[rstest]
#[tokio::test]
async fn r4_m6_008_resume_after_sigkill(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let builder = waiting_builder()?;
    orchestrator.set_builder(&builder.command());
    let _architect = orchestrator.set_architecture(&decomposition(&SERVICES))?;
    let running = in_the_builders(&orchestrator).await?;
    running.kill().await?;
    let first = orchestrator.processes()?;
    evidence.check("there are orphans", first.len() >= 4, &first)?;
    evidence.check_eq(
        "the saved state",
        orchestrator.workspace().current_state().as_deref(),
        Some("builders_running"),
    )?;
    resumes(&orchestrator, &first, &evidence).await
}

/// R4-M6-008: SIGKILL in any phase leaves a whole state file that names the phase, and `resume`
/// goes on from there without what hung. (The builders: [`r4_m6_008_resume_after_sigkill`]; what
/// comes after them: [`r4_m6_008_sigkill_in_the_later_phases`].)
#[rstest]
#[case::architect("architect_running", "architect")]
#[case::contracts("contracts_registering", "contract_engine")]
#[tokio::test]
async fn r4_m6_008_sigkill_in_any_phase(
    #[case] phase: &str,
    #[case] hangs: &str,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    let state = good_state(0.5);
    let builder = ScriptedBuilder::new(&format!("steps = [{{ state = '''{state}''' }}]"))?;
    orchestrator.set_builder(&builder.command());
    let _architect = orchestrator.set_architecture(&decomposition(&SERVICES))?;
    let argv = format!("build1.{hangs}.argv");
    let good = orchestrator.config().await?.value()["build1"][hangs]["argv"].clone();
    let own = orchestrator.workspace().root().join("hangs");
    // It takes no notice of the end of its input, and so outlives a client that was killed.
    let script = format!("cd '{}' && echo $$ > pid.new && mv pid.new pid && while :; do sleep 60; done", own.display());
    std::fs::create_dir(&own)?;
    orchestrator.set(&argv, json!(["sh", "-c", script]));
    let prd = orchestrator.sample_prd();
    let mut running = orchestrator.start(&["run", "--prd", &prd]).await?;
    running.until("the hanging server", LIMIT, || own.join("pid").exists()).await?;
    running.kill().await?;
    let orphan = std::fs::read_to_string(own.join("pid"))?.trim().parse().map_err(Failure::broken)?;
    evidence.check("the server has outlived its client", is_running(orphan), orphan)?;
    let saved = orchestrator.workspace().state()?;
    evidence.check_eq("the saved state", &saved["current_state"], &json!(phase))?;
    let workspace = orchestrator.workspace().clone();
    let written = || workspace.file("service_map.json").metadata().and_then(|data| data.modified()).ok();
    let map = written();
    evidence.check_eq("the Architect had answered", map.is_some(), phase != "architect_running")?;

    orchestrator.set(&argv, good);
    let mut running = orchestrator.start(&["resume"]).await?;
    running
        .until("three builds", LIMIT, || workspace.state().is_ok_and(|state| state["successful_builders"] == 3))
        .await?;
    evidence.check("the orphan has ended", !is_running(orphan), orphan)?;
    let _ = running.interrupt();
    evidence.observe("resumed", running.wait(LIMIT).await?)?;
    let state = workspace.state()?;
    evidence.check_eq("the pipeline is the same", &state["pipeline_id"], &saved["pipeline_id"])?;
    let is_kept = map.is_none() || written() == map;
    evidence.check("the Architect is not asked again once it has answered", is_kept, map)?;
    let order: Vec<_> = state["completed_phases"].as_array().into_iter().flatten().take(4).collect();
    let phases = ["architect_running", "architect_review", "contracts_registering", "builders_running"];
    evidence.check_eq("phases completed, in order", json!(order), json!(phases))
}

/// R4-M6-008: SIGKILL with an application deployed, at the gate and in a fix pass: each time the
/// state names the phase, `resume` ends what hangs and goes on there, and the run that was killed
/// three times still ends with its application mended.
#[rstest]
#[tokio::test]
async fn r4_m6_008_sigkill_in_the_later_phases(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    const PLANTED: &str = "src/planted.py";
    let _architect = small_architecture(&mut orchestrator).await?;
    let workspace = orchestrator.workspace().clone();
    let [samples, go] = ["samples", "go"].map(|name| workspace.root().join(name));
    let sample = samples.join(SMALL);
    tree::copy(&orchestrator.builder().built_samples().await?.folder.join(SMALL), &sample)?;
    // So much to read that the gate is still at work when it is seen to have begun.
    for number in 0..500 {
        std::fs::write(sample.join(format!("src/bulk_{number}.py")), "def one():\n    return 1\n".repeat(50))?;
    }
    std::fs::write(sample.join(PLANTED), "OPTIONS = {\"verify_signature\": False}\n")?;
    std::fs::write(&go, "")?;
    let builder = ScriptedBuilder::new(&format!(
        "log = '../../builders.log'
        steps = [{{ wait_for = '{}' }}, {{ copy = '{}' }}, {{ state = '''{}''' }}]",
        go.display(),
        samples.display(),
        good_state(0.5)
    ))?;
    orchestrator.set_builder(&builder.command());
    let killed = async |running: Running, phase: &str| {
        running.kill().await?;
        let orphans = orchestrator.processes()?;
        evidence.append("orphans", json!({ "phase": phase, "processes": orphans }))?;
        evidence.check(&format!("{phase}: there are orphans"), !orphans.is_empty(), &orphans)?;
        evidence.check_eq(&format!("{phase}: the saved state"), workspace.current_state().as_deref(), Some(phase))?;
        Ok::<_, Failure>(orphans)
    };
    let have_ended = |orphans: &[(i32, String)]| !orphans.iter().any(|(id, _)| is_running(id.cast_unsigned()));
    let builders = || {
        let log = read_log(&workspace.root().join("builders.log")).unwrap_or_default();
        log.iter().filter(|entry| entry.event == Event::Start).count()
    };

    let prd = orchestrator.sample_prd();
    let mut running = orchestrator.start(&["run", "--prd", &prd]).await?;
    running.until("a deployment", LIMIT, || is_deployed(&orchestrator)).await?;
    let orphans = killed(running, "integrating").await?;
    std::fs::remove_file(&go)?;

    let mut running = orchestrator.start(&["resume"]).await?;
    running.until_state("quality_gate", LIMIT).await?;
    evidence.check("the first deployment has ended", have_ended(&orphans), &orphans)?;
    killed(running, "quality_gate").await?;

    let mut running = orchestrator.start(&["resume"]).await?;
    running.until("the builder of the fix pass", LIMIT, || builders() == 2).await?;
    let told = std::fs::read_to_string(workspace.build(SMALL).join("FIX_INSTRUCTIONS.md"))?;
    evidence.check("it is told where the violation is", told.contains(&format!("{PLANTED}:1")), &told)?;
    let orphans = killed(running, "fix_pass").await?;

    std::fs::write(sample.join(PLANTED), "OPTIONS = {}\n")?;
    let mut running = orchestrator.start(&["resume"]).await?;
    running.until("the builder of the fix pass, again", LIMIT, || builders() == 3).await?;
    evidence.check("what the fix pass had has ended", have_ended(&orphans), &orphans)?;
    std::fs::write(&go, "")?;
    let outcome = running.wait(LIMIT).await?;
    evidence.observe("outcome", &outcome)?;
    evidence.check_eq("the exit code", outcome.code, Some(0))?;
    let state = workspace.state()?;
    evidence.check_eq("the state", &state["current_state"], &json!("complete"))?;
    evidence.check_eq("fix passes", &state["quality_attempts"], &json!(1))?;
    evidence.check_eq("builders in all, one of them in vain", builders(), 3)?;
    let report = workspace.json("QUALITY_GATE_REPORT.json")?;
    evidence.check_eq("the gate's blocking violations", &report["blocking_violations"], &json!(0))?;
    evidence.check("the application stays up", is_deployed(&orchestrator), orchestrator.processes()?)?;
    evidence.check_eq("down: the exit code", orchestrator.run(&["down"]).await?.code, Some(0))?;
    evidence.check_eq("down: what still runs", orchestrator.processes()?, Vec::new())
}

/// Whether servers and a service run in the workspace.
fn is_deployed(orchestrator: &Orchestrator) -> bool {
    let found = orchestrator.processes().unwrap_or_default();
    ["postgres", "redis-server", "uvicorn"].iter().all(|name| found.iter().any(|(_, line)| line.contains(name)))
}

/// R4-M6-008: as long as an orchestrator is at work, another one is refused and changes nothing.
#[rstest]
#[tokio::test]
async fn r4_m6_008_one_orchestrator_a_workspace(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let builder = waiting_builder()?;
    orchestrator.set_builder(&builder.command());
    let _architect = orchestrator.set_architecture(&decomposition(&SERVICES))?;
    let running = in_the_builders(&orchestrator).await?;
    let second = orchestrator.run(&["resume"]).await?;
    evidence.check_eq("the second's exit code", second.code, Some(2))?;
    evidence.check("it says why", second.stderr.contains("another orchestrator"), &second.stderr)?;
    evidence.check_eq("builders started: one, two, three", starts(orchestrator.workspace())?, [1, 1, 1].to_vec())?;
    running.interrupt()?;
    evidence.check_eq("the first's exit code", running.wait(LIMIT).await?.code, Some(130))
}

/// The service of [`small_architecture`].
const SMALL: &str = "auth-service";

/// An Architect that answers with one service of the sample PRD.
async fn small_architecture(orchestrator: &mut Orchestrator) -> Result<ScriptedServer, Failure> {
    let prd = std::fs::read_to_string(orchestrator.sample_prd())?;
    let session = orchestrator.builder().session("architect_mcp", orchestrator.builder().data()).await?;
    let mut reply = session.call("decompose", json!({ "prd_text": prd })).await?.value(Kind::Object)?;
    session.close().await;
    for (list, key) in [
        ("/service_map/services", "name"),
        ("/domain_model/entities", "owning_service"),
        ("/contract_stubs", "service_name"),
    ] {
        if let Some(Value::Array(items)) = reply.pointer_mut(list) {
            items.retain(|item| item[key] == SMALL);
        }
    }
    reply["domain_model"]["relationships"] = json!([]);
    Ok(orchestrator.set_architecture(&reply)?)
}

/// The smallest pipeline that goes to its end for real: [`small_architecture`], and a builder that
/// puts the finished tree in place for `cost` US dollars.
async fn small_pipeline(
    orchestrator: &mut Orchestrator,
    cost: f64,
) -> Result<(ScriptedServer, ScriptedBuilder), Failure> {
    let architect = small_architecture(orchestrator).await?;
    let built = orchestrator.builder().built_samples().await?;
    let scenario = format!(
        "log = '../../builders.log'\nsteps = [{{ copy = '{}' }}, {{ state = '''{}''' }}]",
        built.folder.display(),
        good_state(cost)
    );
    let builder = ScriptedBuilder::new(&scenario)?;
    orchestrator.set_builder(&builder.command());
    Ok((architect, builder))
}

/// E6: a run that costs more than its budget stops where it is, with exit code 3, and a resume
/// with the same budget does nothing more; with a higher one it goes on to its end, without
/// building again.
#[rstest]
#[tokio::test]
async fn r4_m6_007_e6_budget_exceeded(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let _scripted = small_pipeline(&mut orchestrator, 0.5).await?;
    let prd = orchestrator.sample_prd();
    let workspace = orchestrator.workspace().clone();
    let builds = || read_log(&workspace.root().join("builders.log")).map(|log| log.len() / 2).map_err(Failure::broken);
    for command in [&["run", "--prd", &prd, "--budget", "0.001"][..], &["resume"]] {
        let outcome = orchestrator.run(command).await?;
        evidence.observe(command[0], &outcome)?;
        evidence.check_eq(&format!("{}: the exit code", command[0]), outcome.code, Some(3))?;
        let state = workspace.state()?;
        evidence.check_eq("the state stays", &state["current_state"], &json!("builders_running"))?;
        evidence.check_eq("the reason", &state["interrupt_reason"], &json!("budget"))?;
        evidence.check_eq("interrupted", &state["interrupted"], &json!(true))?;
        evidence.check_eq("the cost is not lost", &state["total_cost"], &json!(0.5))?;
        evidence.check_eq("builds", builds()?, 1)?;
    }
    let outcome = orchestrator.run(&["resume", "--budget", "10"]).await?;
    evidence.observe("resumed", &outcome)?;
    evidence.check_eq("with more money: the exit code", outcome.code, Some(0))?;
    let state = workspace.state()?;
    evidence.check_eq("with more money: the state", &state["current_state"], &json!("complete"))?;
    evidence.check_eq("with more money: the cost", &state["total_cost"], &json!(0.5))?;
    evidence.check_eq("builds", builds()?, 1)
}

/// E7: SIGINT during the integration takes the deployment down, and `resume` deploys and tests
/// anew. (During the builders: [`b3_09_graceful_shutdown`].)
#[rstest]
#[tokio::test]
async fn r4_m6_007_e7_sigint_during_integration(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let _scripted = small_pipeline(&mut orchestrator, 0.0).await?;
    let prd = orchestrator.sample_prd();
    let workspace = orchestrator.workspace().clone();
    let mut running = orchestrator.start(&["run", "--prd", &prd]).await?;
    running.until("a deployment", LIMIT, || is_deployed(&orchestrator)).await?;
    evidence.check_eq("the state", workspace.current_state().as_deref(), Some("integrating"))?;
    running.interrupt()?;
    let outcome = running.wait(LIMIT).await?;
    evidence.observe("outcome", &outcome)?;
    evidence.check_eq("the exit code", outcome.code, Some(130))?;
    let state = workspace.state()?;
    evidence.check_eq("the saved state", &state["current_state"], &json!("integrating"))?;
    evidence.check_eq("interrupted", &state["interrupted"], &json!(true))?;
    evidence.check_eq("what still runs", orchestrator.processes()?, Vec::new())?;
    let resumed = orchestrator.run(&["resume"]).await?;
    evidence.observe("resumed", &resumed)?;
    evidence.check_eq("resume: the exit code", resumed.code, Some(0))?;
    evidence.check_eq("resume: the state", workspace.current_state().as_deref(), Some("complete"))?;
    evidence.check("resume: the application stays up", is_deployed(&orchestrator), orchestrator.processes()?)?;
    evidence.check_eq("down: the exit code", orchestrator.run(&["down"]).await?.code, Some(0))?;
    evidence.check_eq("down: what still runs", orchestrator.processes()?, Vec::new())
}

/// SC-02: of a service whose container hangs, is killed or cut off from its database while the
/// application is tested, the report says which it is, and nothing hangs beyond its limit.
#[rstest]
#[case::frozen("freeze")]
#[case::killed("kill")]
#[case::cut_off("backend")]
#[tokio::test]
async fn sc_02_fault_is_told(
    #[case] fault: &str,
    config: Run4Config,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    const SECONDS: u64 = 90;
    let _scripted = small_pipeline(&mut orchestrator, 0.0).await?;
    let project = Project::of(&config, &format!("{fault}-{}", workspace::session_id()));
    orchestrator.deploy_to(&project)?;
    orchestrator.set("phase_timeouts.integration", SECONDS).set("integration.timeout", SECONDS);
    for command in [&["init", "--prd", &orchestrator.sample_prd()][..], &["plan"], &["build"]] {
        let outcome = orchestrator.run(command).await?;
        evidence.check_eq(&format!("{}: the exit code", command[0]), outcome.code, Some(0))?;
    }
    let mut running = orchestrator.start(&["integrate"]).await?;
    let place = orchestrator.workspace().clone();
    let is_deployed = || {
        place.state().is_ok_and(|state| state["phase_artifacts"]["integrating"]["services"][SMALL]["healthy"] == true)
    };
    running.until("a deployment", LIMIT, is_deployed).await?;
    match fault {
        "freeze" => project.freeze(SMALL).await?,
        "backend" => project.cut_off(SMALL, fault).await?,
        verb => project.act(verb, SMALL).await?,
    }
    let outcome = running.wait(Duration::from_secs(SECONDS + 30)).await?;
    evidence.observe("outcome", &outcome)?;
    let state = place.state()?;
    let reason = state["interrupt_reason"].as_str().unwrap_or_default().to_owned();
    let report = place.json("INTEGRATION_REPORT.json").unwrap_or_default();
    let blamed: Vec<_> = reported(&report).into_iter().filter(|[_, of, ..]| of == SMALL).collect();
    evidence
        .observe("blamed", json!({ "reason": reason, "violations": blamed, "health": report["overall_health"] }))?;
    evidence.check("it is no pass", outcome.code != Some(0) || report["overall_health"] != "passed", &outcome)?;
    evidence.check("the service is named", !blamed.is_empty() || reason.contains(SMALL), &reason)?;
    evidence.check_eq("down: the exit code", orchestrator.run(&["down"]).await?.code, Some(0))?;
    evidence.check_eq("down: what is left on the engine", project.remains()?, Vec::<String>::new())
}
