//! Milestone 3: builders are called as processes, several at a time, and what they leave is
//! read with exact types (plan R4-M3-001, 002, 004; spec builder.md, orchestrator.md §5.2).

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{
    config::BuilderDepth::{Standard, Thorough},
    fix_pass::violation::Violation,
    fixtures::{CanaryTree, Outage, ScriptedBuilder, SideBySide},
    mcp::{Kind, Session, normalise},
    pipeline::{
        builder::{BuilderResult, invoke, invoke_all},
        builder_inputs::BuilderWorkspace,
        builder_state::{STATE_FILE, parse_builder_state},
        decomposition::decomposition,
        orchestrator::Outcome,
        scripted_builder::{Dump, Entry, Event, most_at_once, read_log},
        workspace::PipelineWorkspace,
    },
    prelude::*,
    session::{OUTER_SESSION_VARIABLE, is_running, marked_processes},
    stack::{servers, service::LiveService},
    sut::Process,
    tree, workspace,
};

/// Long enough for a scripted builder on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// What a good run leaves in STATE.json.
fn good_state() -> Value {
    json!({
        "run_id": "1", "summary": { "success": true, "test_passed": 9, "test_total": 10, "convergence_ratio": 0.9 },
        "total_cost": 0.5, "health": "passed", "completed_phases": ["build"],
    })
}

/// A scenario that leaves `state` in the place of STATE.json and ends well.
fn leaves(state: &str) -> String {
    format!("steps = [{{ state = '''{state}''' }}]")
}

/// The STATE.json that a run left.
fn state_of(result: &BuilderResult, evidence: &Evidence) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(result.output_dir.join(STATE_FILE));
    let text = evidence.check_ok(&format!("{}: it left a STATE.json", result.service_id), text)?;
    evidence.check_ok(&format!("{}: it is JSON", result.service_id), serde_json::from_str(&text))
}

/// `plan` stores the service map and the domain model that the Architect gave over MCP; the
/// Architect was started once and asked once, with the whole PRD.
#[rstest]
#[tokio::test]
async fn x_03_mcp_b1_to_b3_architect(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let prd = std::fs::read_to_string(orchestrator.sample_prd())?;
    // Services that the PRD does not have, so that they come from nowhere else.
    let reply = decomposition(&["stock", "billing"]);
    let architect = orchestrator.set_architecture(&reply)?;
    let outcome = planned(&orchestrator).await?;
    evidence.check_eq("the exit code", outcome.code, Some(0))?;
    for file in ["service_map", "domain_model"] {
        let stored = orchestrator.workspace().json(&format!("{file}.json"))?;
        evidence.check_eq(&format!("{file}.json is the Architect's"), &stored, &reply[file])?;
    }
    let state = orchestrator.workspace().state()?;
    evidence.check_eq("the state", &state["current_state"], &json!("contracts_registering"))?;
    let calls = architect.calls().map_err(Failure::broken)?;
    evidence.check_eq("its calls", calls, vec![("decompose".to_owned(), json!({ "prd_text": prd }))])?;
    evidence.check_eq("its starts", architect.starts().map_err(Failure::broken)?.len(), 1)
}

/// `init` and `plan` on the sample PRD: the end of `plan`.
async fn planned(orchestrator: &Orchestrator) -> Result<Outcome, Failure> {
    let begun = orchestrator.run(&["init", "--prd", &orchestrator.sample_prd()]).await?;
    if begun.code != Some(0) {
        return Err(Failure::fail(format!("init ended with {:?}: {}", begun.code, begun.stderr)));
    }
    orchestrator.run(&["plan"]).await
}

/// X-03, its twin: an Architect that is not there over MCP is asked over HTTP.
#[rstest]
#[case::no_such_program(Outage::NoSuchCommand)]
#[case::ends_at_once(Outage::ExitsAtOnce)]
#[tokio::test]
async fn x_03_http_when_mcp_is_down(
    #[case] outage: Outage,
    mut orchestrator: Orchestrator,
    mut build1: Build1,
    evidence: Evidence,
) -> Verdict {
    let unavailable = outage.server()?;
    orchestrator.set_server("architect", &unavailable.command);
    let url = build1.twin("architect_http").await?.url().to_owned();
    orchestrator.set("build1.architect.url", url.clone());
    let before = reqwest::get(format!("{url}/api/service-map")).await.map_err(Failure::broken)?;
    evidence.check_eq("the twin had no service map before", before.status().as_u16(), 404)?;
    let outcome = planned(&orchestrator).await?;
    evidence.check_eq("the exit code", outcome.code, Some(0))?;
    for (file, route) in [("service_map.json", "service-map"), ("domain_model.json", "domain-model")] {
        let served = reqwest::get(format!("{url}/api/{route}")).await.map_err(Failure::fail)?;
        let served: Value = served.json().await.map_err(Failure::fail)?;
        evidence.check_eq(&format!("{file} is what the twin made"), orchestrator.workspace().json(file)?, served)?;
    }
    Ok(())
}

/// X-03, its twin: without the Architect over MCP and over HTTP a run ends as a configuration
/// error, says both reasons, and keeps its state for another try.
#[rstest]
#[tokio::test]
async fn x_03_both_down_is_a_configuration_error(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let unavailable = Outage::NoSuchCommand.server()?;
    orchestrator.set_server("architect", &unavailable.command);
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    orchestrator.set("build1.architect.url", format!("http://{closed}"));
    let outcome = planned(&orchestrator).await?;
    evidence.observe("stderr", &outcome.stderr)?;
    evidence.check_eq("the exit code", outcome.code, Some(2))?;
    for part in [unavailable.command.argv[0].as_str(), &closed.to_string()] {
        evidence.check(&format!("stderr names {part}"), outcome.stderr.contains(part), &outcome.stderr)?;
    }
    let state = orchestrator.workspace().state()?;
    evidence.check("the state is no end", state["current_state"] != "failed", &state["current_state"])?;
    evidence.check_eq("interrupted", &state["interrupted"], &json!(true))?;
    evidence.check_eq("completed phases", &state["completed_phases"], &json!([]))?;
    // The same workspace goes on once there is one.
    let _architect = orchestrator.set_architecture(&decomposition(&["stock"]))?;
    orchestrator.set("architect.auto_approve", false);
    let outcome = orchestrator.run(&["resume"]).await?;
    evidence.check_eq("the exit code of resume", outcome.code, Some(0))?;
    let state = orchestrator.workspace().state()?;
    evidence.check_eq("the state after it", &state["current_state"], &json!("architect_review"))
}

/// a builder is called with `--cwd` and `--depth`, ends with 0, and leaves a STATE.json
/// with its summary; what it prints on stdout and on stderr is kept.
#[rstest]
#[tokio::test]
async fn x_04_subprocess_b3_to_b2(builder: Builder, evidence: Evidence) -> Verdict {
    let built = builder.built_samples().await?;
    for result in &built.results {
        let name = &result.service_id;
        evidence.append("results", result)?;
        evidence.check_eq(&format!("{name}: its exit code"), result.exit_code, Some(0))?;
        evidence.check(&format!("{name}: success"), result.success, &result.error)?;
        let state: Value = serde_json::from_slice(&std::fs::read(result.output_dir.join(STATE_FILE))?)?;
        evidence.check(
            &format!("{name}: STATE.json has a summary"),
            state["summary"].is_object(),
            &state["summary"],
        )?;
        let (stdout, stderr) = (result.stdout_text()?, result.stderr_text()?);
        evidence.check(&format!("{name}: a summary for people on stdout"), !stdout.trim().is_empty(), &stdout)?;
        evidence.check(&format!("{name}: a log on stderr"), !stderr.trim().is_empty(), &stderr)?;
        evidence.check(&format!("{name}: the two are apart"), stdout != stderr, stdout.len())?;
    }
    Ok(())
}

/// X-04, its twin: a builder that ends with 1 is no success, and the error says how it ended;
/// all of a long output is kept, each stream for itself.
#[rstest]
#[tokio::test]
async fn x_04_failing_builder_is_no_success(evidence: Evidence) -> Verdict {
    const LINES: usize = 50_000;
    let scenario = format!(
        "exit = 1\nsteps = [
            {{ stdout = {{ line = 'this line goes to stdout', count = {LINES} }} }},
            {{ stderr = {{ line = 'this line goes to stderr', count = {LINES} }} }},
            {{ stderr = {{ line = 'no database' }} }},
            {{ state = '''{}''' }},
        ]",
        good_state()
    );
    let scripted = ScriptedBuilder::new(&scenario)?;
    let result = invoke(&scripted.invocation("orders", LIMIT)?).await?;
    evidence.observe("result", &result)?;
    evidence.check_eq("success", result.success, false)?;
    evidence.check_eq("its exit code", result.exit_code, Some(1))?;
    evidence.check_eq("the error", result.error.as_deref(), Some("exit status: 1: no database"))?;
    let (stdout, stderr) = (result.stdout_text()?, result.stderr_text()?);
    evidence.check("there is more than a pipe holds", stdout.len() > 1 << 20, stdout.len())?;
    let count = |text: &str, stream: &str| text.lines().filter(|line| line.ends_with(stream)).count();
    evidence.check_eq("lines of stdout", [count(&stdout, "stdout"), count(&stdout, "stderr")], [LINES, 0])?;
    evidence.check_eq("lines of stderr", [count(&stderr, "stdout"), count(&stderr, "stderr")], [0, LINES])
}

/// a builder that takes too long is ended with everything it started, also what ignores
/// SIGTERM and has left its process group.
#[rstest]
#[tokio::test]
async fn x_04_timeout_ends_the_whole_tree(evidence: Evidence) -> Verdict {
    let scripted = ScriptedBuilder::new("steps = [{ stray = 'stray' }, { wait_for = 'never' }]")?;
    let limit = Duration::from_secs(3);
    let invocation = scripted.invocation("orders", limit)?;
    let begun = Instant::now();
    let result = invoke(&invocation).await?;
    let took = begun.elapsed();
    evidence.check_eq("success", result.success, false)?;
    evidence.check_eq("the error", result.error.as_deref(), Some("timeout after 3 s"))?;
    evidence.check("it ended soon after its limit", took < limit + Duration::from_secs(4), took.as_secs_f64())?;
    let stray = std::fs::read_to_string(invocation.dir.join("stray"))?;
    let stray = stray.trim().parse().map_err(Failure::broken)?;
    evidence.check("its grandchild has ended", !is_running(stray), stray)
}

/// Variables that are nobody's business but their owner's.
const CREDENTIALS: [&str; 4] = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// Names the folder in which the builder of a second test process works.
const INNER_VARIABLE: &str = "RUN4_INTERNAL_INNER";

/// no key of the caller's environment reaches a builder, only the short list; its
/// arguments are `--cwd` and `--depth`.
#[rstest]
#[tokio::test]
async fn x_04_builder_gets_no_credentials(evidence: Evidence) -> Verdict {
    let scripted =
        ScriptedBuilder::new(&format!("steps = [{{ dump = 'dump' }}, {{ state = '''{}''' }}]", good_state()))?;
    let mut invocation = scripted.invocation("orders", LIMIT)?;
    if let Some(dir) = std::env::var_os(INNER_VARIABLE) {
        invocation.dir = dir.into();
        let result = invoke(&invocation).await?;
        return evidence.check("the builder ran", result.success, &result);
    }
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", "x_04_builder_gets_no_credentials"])
        .envs(CREDENTIALS.map(|name| (name, "planted")))
        .env(INNER_VARIABLE, &invocation.dir)
        .env(workspace::BUNDLE_VARIABLE, scripted.folder())
        .output()?;
    evidence.check("a caller with keys ran it", output.status.success(), String::from_utf8_lossy(&output.stdout))?;
    let dump: Dump = serde_json::from_slice(&std::fs::read(invocation.dir.join("dump"))?)?;
    let dir = invocation.dir.display().to_string();
    evidence.check_eq("its arguments", &dump.arguments[..], ["--cwd", &dir, "--depth", "standard"])?;
    let kept = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];
    let names: Vec<_> = dump.environment.keys().filter(|name| !name.starts_with("RUN4_")).collect();
    evidence.check("only the short list", names.iter().all(|name| kept.contains(&name.as_str())), &names)?;
    let leaked: Vec<_> = dump.environment.iter().filter(|(_, value)| value.contains("planted")).collect();
    evidence.check_eq("keys that reached it", leaked, Vec::new())
}

/// `build` starts the builder of a service with `--cwd`, `--depth` and the short environment,
/// and its result has the values of STATE.json; what the builder prints is in the logs.
#[rstest]
#[tokio::test]
async fn x_04_orchestrator_calls_the_builder(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let scripted = ScriptedBuilder::new(&format!(
        "steps = [{{ dump = 'dump' }}, {{ stdout = {{ line = 'to stdout' }} }}, {{ stderr = {{ line = 'to stderr' }} }},
            {{ state = '''{}''' }}]",
        good_state()
    ))?;
    orchestrator.set_builder(&scripted.command());
    for name in CREDENTIALS {
        orchestrator.set_variable(name, "planted");
    }
    orchestrator.planned(&decomposition(&["orders"])).await?;
    let outcome = orchestrator.run(&["build", "--depth", "standard"]).await?;
    evidence.observe("stderr", &outcome.stderr)?;
    evidence.check_eq("the exit code", outcome.code, Some(0))?;
    let workspace = orchestrator.workspace();
    let dump: Dump = serde_json::from_slice(&std::fs::read(workspace.build("orders").join("dump"))?)?;
    let dir = workspace.build("orders").display().to_string();
    evidence.check_eq("its arguments", &dump.arguments[..], ["--cwd", &dir, "--depth", "standard"])?;
    let leaked: Vec<_> = dump.environment.iter().filter(|(_, value)| value.contains("planted")).collect();
    evidence.check_eq("keys that reached it", leaked, Vec::new())?;
    let state = workspace.state()?;
    evidence.check_eq("the state", &state["current_state"], &json!("builders_complete"))?;
    let result = &state["builder_results"][0];
    let seen = [
        "service_id",
        "success",
        "exit_code",
        "cost",
        "test_passed",
        "test_total",
        "convergence_ratio",
        "health",
        "completed_phases",
        "error",
    ];
    let expected = json!(["orders", true, 0, 0.5, 9, 10, 0.9, "passed", ["build"], null]);
    let seen: Vec<_> = seen.iter().map(|key| result[key].clone()).collect();
    evidence.check_eq("its result", json!(seen), expected)?;
    for (end, line) in [("out", "to stdout"), ("err", "to stderr")] {
        let logs = logs_of(workspace, end)?;
        evidence.check(&format!("a log of .{end} has its line"), logs.contains(line), &logs)?;
    }
    Ok(())
}

/// What the logs of a workspace with this ending say, all of them.
fn logs_of(workspace: &PipelineWorkspace, end: &str) -> Result<String, Failure> {
    let files = tree::files(&workspace.file("logs"), end)?;
    Ok(files.iter().map(std::fs::read_to_string).collect::<Result<String, _>>()?)
}

/// X-04, its twin: a builder that ends with 1 is no success in the orchestrator's state, with an
/// error; when there is no other, the pipeline has failed.
#[rstest]
#[tokio::test]
async fn x_04_orchestrator_tells_a_failing_builder(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let scripted = ScriptedBuilder::new(&format!(
        "exit = 1\nsteps = [{{ stderr = {{ line = 'no database' }} }}, {{ state = '''{}''' }}]",
        good_state()
    ))?;
    orchestrator.set_builder(&scripted.command());
    orchestrator.planned(&decomposition(&["orders"])).await?;
    let outcome = orchestrator.run(&["build"]).await?;
    evidence.check_eq("the exit code", outcome.code, Some(1))?;
    let state = orchestrator.workspace().state()?;
    evidence.observe("state", &state)?;
    evidence.check_eq("the state", &state["current_state"], &json!("failed"))?;
    let result = &state["builder_results"][0];
    evidence.check_eq("success", &result["success"], &json!(false))?;
    evidence.check_eq("its exit code", &result["exit_code"], &json!(1))?;
    let said = result["error"].as_str().unwrap_or_default();
    evidence.check("its error says why", said.contains("no database"), said)?;
    let reason = state["interrupt_reason"].as_str().unwrap_or_default();
    evidence.check("the reason names the service", reason.contains("orders"), reason)
}

/// the seven fields of a real run's file have their exact types, and the caller's result
/// has the same values.
#[rstest]
#[tokio::test]
async fn x_05_state_json_contract(builder: Builder, evidence: Evidence) -> Verdict {
    for result in builder.built_samples().await?.results {
        let state = state_of(&result, &evidence)?;
        let name = &result.service_id;
        let summary = &state["summary"];
        let phases = state["completed_phases"].as_array();
        for (field, value, fits) in [
            ("summary.success", &summary["success"], summary["success"].is_boolean()),
            ("summary.test_passed", &summary["test_passed"], summary["test_passed"].is_u64()),
            ("summary.test_total", &summary["test_total"], summary["test_total"].is_u64()),
            ("summary.convergence_ratio", &summary["convergence_ratio"], summary["convergence_ratio"].is_number()),
            ("total_cost", &state["total_cost"], state["total_cost"].is_number()),
            ("health", &state["health"], state["health"].is_string()),
            (
                "completed_phases",
                &state["completed_phases"],
                phases.is_some_and(|phases| phases.iter().all(Value::is_string)),
            ),
        ] {
            evidence.check(&format!("{name}: the type of {field}"), fits, value)?;
        }
        let read = parse_builder_state(&result.output_dir);
        evidence.check_eq(&format!("{name}: what is wrong"), &read.error, &None::<String>)?;
        evidence.check_eq(&format!("{name}: success and health agree"), read.contradiction(), None::<String>)?;
        let tests = summary["test_total"].as_u64();
        evidence.check(&format!("{name}: its tests were run"), tests.is_some_and(|total| total > 0), tests)?;
        let seen = json!([result.test_passed, result.test_total, result.convergence_ratio, result.cost, result.health]);
        let said = json!([read.test_passed, read.test_total, read.convergence_ratio, read.total_cost, read.health]);
        evidence.check_eq(&format!("{name}: the result has its values"), seen, said)?;
    }
    Ok(())
}

/// X-05, its twin: a file that breaks the contract is an explicit error, never a value.
#[rstest]
#[case::missing_summary("/summary", None, "summary is missing")]
#[case::bool_as_int("/summary/test_passed", Some(json!(true)), "summary.test_passed is true, expected a count")]
#[case::int_as_bool("/summary/success", Some(json!(1)), "summary.success is 1, expected true or false")]
#[case::text_as_number("/total_cost", Some(json!("0.5")), "total_cost is \"0.5\", expected a number")]
#[case::contradiction("/health", Some(json!("failed")), "summary.success is true although health is failed")]
#[case::unknown_health("/health", Some(json!("green")), "health is \"green\"")]
#[tokio::test]
async fn x_05_broken_state_is_an_error(
    #[case] pointer: &str,
    #[case] value: Option<Value>,
    #[case] error: &str,
    evidence: Evidence,
) -> Verdict {
    let mut state = good_state();
    let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
    let fields = state.pointer_mut(parent).and_then(Value::as_object_mut);
    let fields = fields.ok_or_else(|| Failure::broken("no such place"))?;
    match value {
        Some(value) => drop(fields.insert(key.into(), value)),
        None => drop(fields.remove(key)),
    }
    refused(&state.to_string(), error, &evidence).await
}

/// X-05, its twin: a file that was cut short, or is none, is an explicit error.
#[rstest]
#[case::truncated("{\"summary\": {\"success\": tr", "not JSON")]
#[case::empty("", "not JSON")]
#[case::list("[]", "not a JSON object")]
#[tokio::test]
async fn x_05_malformed_state_is_an_error(#[case] text: &str, #[case] error: &str, evidence: Evidence) -> Verdict {
    refused(text, error, &evidence).await
}

async fn refused(state: &str, error: &str, evidence: &Evidence) -> Verdict {
    let scripted = ScriptedBuilder::new(&leaves(state))?;
    let result = invoke(&scripted.invocation("orders", LIMIT)?).await?;
    evidence.check_eq("it ended well", result.exit_code, Some(0))?;
    evidence.check_eq("success", result.success, false)?;
    let said = result.error.as_deref().unwrap_or_default();
    evidence.check("the error says why", said.contains(error), said)
}

/// R4-M3-002: a STATE.json of an earlier run is not taken for this one's, and one that was
/// written again is.
#[rstest]
#[case::untouched("steps = []".to_owned(), Some("stale STATE.json"))]
#[case::written_again(leaves(&good_state().to_string()), None)]
#[tokio::test]
async fn r4_m3_002_stale_state_is_recognised(
    #[case] scenario: String,
    #[case] error: Option<&str>,
    evidence: Evidence,
) -> Verdict {
    let scripted = ScriptedBuilder::new(&scenario)?;
    let invocation = scripted.invocation("orders", LIMIT)?;
    let file = invocation.dir.join(STATE_FILE);
    support::atomic::write(&file, good_state().to_string())?;
    let result = invoke(&invocation).await?;
    evidence.check_eq("it ended well", result.exit_code, Some(0))?;
    evidence.check_eq("the error", result.error.as_deref(), error)?;
    let figures = [result.test_total.is_some(), result.cost.is_some(), result.health.is_some()];
    evidence.check_eq("its figures are given", figures, [error.is_none(); 3])?;
    evidence.check_eq("the cost before is known", result.cost_before, Some(0.5))
}

/// B2-05: two, then three builders at once all succeed, and nothing is written outside of the
/// folder of each.
#[rstest]
#[tokio::test]
async fn b2_05_parallel_builders(builder: Builder, evidence: Evidence) -> Verdict {
    let two: SideBySide = builder.built_pair().await?;
    let three = builder.built_samples().await?;
    for (count, built) in [(2, two), (3, three)] {
        evidence.check_eq("builders at once", built.results.len(), count)?;
        for result in &built.results {
            evidence.check(&format!("{} of {count} succeeds", result.service_id), result.success, &result.error)?;
        }
        evidence.check_eq(&format!("foreign writes of {count}"), built.foreign_writes, Vec::<PathBuf>::new())?;
    }
    Ok(())
}

/// B2-05: of five builders three run at once, never more, and the fourth starts after an end.
#[rstest]
#[tokio::test]
async fn b2_05_never_more_than_three_at_once(evidence: Evidence) -> Verdict {
    const AT_ONCE: usize = 3;
    let scripted = ScriptedBuilder::new(&format!(
        "log = '../log'\nsteps = [{{ wait_for = '../go' }}, {{ state = '''{}''' }}]",
        good_state()
    ))?;
    let names = ["one", "two", "three", "four", "five"];
    let invocations: Vec<_> =
        names.iter().map(|name| scripted.invocation(name, LIMIT)).collect::<std::io::Result<_>>()?;
    let log = scripted.folder().join("log");
    let let_go = async {
        let begun = Instant::now();
        while read_log(&log).map_or(0, |entries| entries.len()) < AT_ONCE && begun.elapsed() < LIMIT {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // All wait now; one more would show itself in this time.
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::write(scripted.folder().join("go"), "")
    };
    let (results, let_go) = tokio::join!(invoke_all(&invocations, AT_ONCE), let_go);
    let_go?;
    let results = results?;
    let entries = read_log(&log).map_err(Failure::broken)?;
    evidence.observe("log", &entries)?;
    let order: Vec<_> = results.iter().map(|result| result.service_id.as_str()).collect();
    evidence.check_eq("a result for each, in their order", order, names.to_vec())?;
    evidence.check("all succeed", results.iter().all(|result| result.success), errors(&results))?;
    evidence.check_eq("the most at once", most_at_once(&entries), AT_ONCE)?;
    let first = |event| entries.iter().filter(move |entry: &&Entry| entry.event == event).map(|entry| entry.at);
    let (fourth, end) = (first(Event::Start).nth(AT_ONCE), first(Event::End).next());
    evidence.check("the fourth starts after an end", fourth >= end && end.is_some(), [end, fourth])
}

/// B2-05: the orchestrator runs three of five builders at once, never more; the fourth starts
/// after an end.
#[rstest]
#[tokio::test]
async fn b2_05_orchestrator_runs_three_at_once(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    const AT_ONCE: usize = 3;
    let scripted = ScriptedBuilder::new(&format!(
        "log = '../log'\nsteps = [{{ wait_for = '../go' }}, {{ state = '''{}''' }}]",
        good_state()
    ))?;
    orchestrator.set_builder(&scripted.command());
    orchestrator.planned(&decomposition(&["one", "two", "three", "four", "five"])).await?;
    let builds = orchestrator.workspace().root().join("builds");
    let log = builds.join("log");
    let mut running = orchestrator.start(&["build"]).await?;
    let started = || read_log(&log).is_ok_and(|entries| entries.len() >= AT_ONCE);
    running.until("three builders", LIMIT, started).await?;
    // All wait now; one more would show itself in this time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::write(builds.join("go"), "")?;
    let outcome = running.wait(LIMIT).await?;
    evidence.check_eq("the exit code", outcome.code, Some(0))?;
    let entries = read_log(&log).map_err(Failure::broken)?;
    evidence.observe("log", &entries)?;
    evidence.check_eq("the most at once", most_at_once(&entries), AT_ONCE)?;
    let first = |event| entries.iter().filter(move |entry: &&Entry| entry.event == event).map(|entry| entry.at);
    let (fourth, end) = (first(Event::Start).nth(AT_ONCE), first(Event::End).next());
    evidence.check("the fourth starts after an end", fourth >= end && end.is_some(), [end, fourth])?;
    let state = orchestrator.workspace().state()?;
    evidence.check_eq("successes", &state["successful_builders"], &json!(5))
}

fn errors(results: &[BuilderResult]) -> BTreeMap<&str, &Option<String>> {
    results.iter().map(|result| (result.service_id.as_str(), &result.error)).collect()
}

/// B2-06: after a thorough build its files are indexed, and their definitions are found in the
/// tree; a file that cannot be parsed is not indexed.
#[rstest]
#[tokio::test]
async fn b2_06_artifact_registration(builder: Builder, evidence: Evidence) -> Verdict {
    let built = builder.built_samples().await?;
    let tree = built.tree(0)?;
    evidence.check("the build succeeds", built.results[0].success, &built.results[0].error)?;
    let session = builder.session("codebase_intelligence_mcp", &built.data).await?;
    let others = declared(built.tree(1)?)?;
    // What another service declares, too, may be found there.
    let own: BTreeMap<_, _> = declared(tree)?.into_iter().filter(|(name, _)| !others.contains_key(name)).collect();
    evidence.check("the tree declares something of its own", !own.is_empty(), own.len())?;
    for (name, file) in &own {
        let found = definition(&session, name).await?;
        evidence.check(&format!("{name} is found in the tree"), points_to(&found, file), &found)?;
    }
    let broken = builder.data().join("broken.py");
    std::fs::write(&broken, "def broken(:\n    return )\n")?;
    let arguments = json!({ "file_path": broken, "service_name": "broken" });
    let reply = session.call("register_artifact", arguments).await?.value(Kind::Object)?;
    evidence.check_eq("a broken file is indexed", &reply["indexed"], &json!(false))?;
    session.close().await;
    Ok(())
}

/// R4-M3-004: two builders that register in one index at the same time get in nobody's way:
/// the symbols of both are found, and no lock surfaces.
#[rstest]
#[tokio::test]
async fn r4_m3_004_two_builders_on_one_index(builder: Builder, evidence: Evidence) -> Verdict {
    let built = builder.built_pair().await?;
    for result in &built.results {
        evidence.check(&format!("{} succeeds", result.service_id), result.success, &result.error)?;
        let said = (result.stdout_text()? + &result.stderr_text()?).to_lowercase();
        let locks: Vec<_> = said.lines().filter(|line| line.contains("locked")).collect();
        evidence.check_eq(&format!("{}: locks it speaks of", result.service_id), locks, Vec::<&str>::new())?;
    }
    let session = builder.session("codebase_intelligence_mcp", &built.data).await?;
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for index in 0..built.results.len() {
        let declared = declared(built.tree(index)?)?;
        evidence.check(&format!("tree {index} declares something"), !declared.is_empty(), declared.len())?;
        for (name, file) in declared {
            places.entry(name).or_default().push(file);
        }
    }
    let mut missing = BTreeMap::new();
    for (name, files) in &places {
        let found = definition(&session, name).await?;
        if !files.iter().any(|file| points_to(&found, file)) {
            missing.insert(name, found);
        }
    }
    session.close().await;
    evidence.observe("symbols", places.len())?;
    evidence.check("every symbol is found", missing.is_empty(), missing)
}

/// The classes and functions that the Python files below `src/` of a tree declare at their top,
/// with the file; names that two files declare are left out.
fn declared(tree: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in tree::files(&tree.join("src"), "py")? {
        for line in std::fs::read_to_string(&path)?.lines() {
            let line = line.strip_prefix("async ").unwrap_or(line);
            let declared = line.strip_prefix("class ").or(line.strip_prefix("def "));
            let name = declared.and_then(|rest| rest.split(['(', ':', '[', ' ']).next());
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                found.entry(name.to_owned()).or_default().push(path.clone());
            }
        }
    }
    Ok(found
        .into_iter()
        .filter_map(|(name, mut files)| Some((name, files.pop().filter(|_| files.is_empty())?)))
        .collect())
}

/// The reply of `find_definition`, in its canonical spelling.
async fn definition(session: &Session, symbol: &str) -> Result<Value, Failure> {
    let reply = session.call("find_definition", json!({ "symbol": symbol })).await?;
    Ok(normalise("find_definition", Kind::Nullable, reply.value(Kind::Nullable))?.0)
}

/// Whether a definition is in `file`, whose path the server may know by its end only.
fn points_to(definition: &Value, file: &Path) -> bool {
    definition["file_path"].as_str().is_some_and(|place| file.ends_with(place))
}

/// R4-M3-001: a builder that is asked to end saves its state as interrupted, and ends with
/// everything it started.
#[rstest]
#[case::interrupt(Signal::INT)]
#[case::terminate(Signal::TERM)]
#[tokio::test]
async fn r4_m3_001_interrupted_builder_saves_its_state(
    #[case] signal: Signal,
    builder: Builder,
    evidence: Evidence,
) -> Verdict {
    let service = &builder.sample_services().await?[0];
    let folder = builder.data().join(&service.name);
    let config = builder.config(Thorough, builder.data())?;
    BuilderWorkspace::write(&folder, service, &config)?;
    let mut command = builder.command("builder").await?;
    let cwd = folder.display().to_string();
    command.argv.extend(["--cwd", &cwd, "--depth", "thorough"].map(str::to_owned));
    command.env.insert(OUTER_SESSION_VARIABLE.into(), cwd.clone());
    let mut process = Process::spawn(&command, builder.logs(), false).map_err(Failure::fail)?;
    let read =
        || std::fs::read(folder.join(STATE_FILE)).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    // In this phase it has a child: the service's tests.
    let is_testing = || read().is_some_and(|state| state["current_phase"] == "tests");
    let begun = Instant::now();
    while !is_testing() && process.exited().is_none() && begun.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    evidence.check("it was at work when it was asked to end", process.exited().is_none(), process.log_tail())?;
    process.signal(signal);
    let status = tokio::time::timeout(LIMIT, process.wait()).await.map_err(|_| Failure::fail("it did not end"))??;
    evidence.check_eq("its exit code", status.code(), Some(130))?;
    let state = read().unwrap_or_default();
    evidence.check_eq("interrupted", &state["interrupted"], &json!(true))?;
    evidence.check_eq("success", &state["summary"]["success"], &json!(false))?;
    // What was killed with it may take a moment to be gone.
    let begun = Instant::now();
    while !marked_processes(&cwd)?.is_empty() && begun.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    evidence.check_eq("what it left running", marked_processes(&cwd)?, Vec::new())
}

/// R4-M3-001: a product of other services, names, keys and states is built as well, and every
/// service passes its own tests.
#[rstest]
#[tokio::test]
async fn r4_m3_001_second_product_is_built(builder: Builder, evidence: Evidence) -> Verdict {
    let services = builder.services_of(&workspace::fixture("second_prd.md")).await?;
    evidence.check("it has four services at least", services.len() >= 4, services.len())?;
    let built = builder.build_side_by_side(&builder.data().join("second"), services).await?;
    evidence.observe("results", &built.results)?;
    for result in &built.results {
        let name = &result.service_id;
        evidence.check(&format!("{name}: success"), result.success, &result.error)?;
        let (passed, total) = (result.test_passed, result.test_total);
        evidence.check(&format!("{name}: its tests ran"), total.is_some_and(|total| total > 0), total)?;
        evidence.check_eq(&format!("{name}: its tests passed"), passed, total)?;
        evidence.check_eq(&format!("{name}: its contracts are kept"), result.convergence_ratio, Some(1.0))?;
    }
    Ok(())
}

/// R4-M3-001: what was built runs: each service is healthy, serves its registered contract, and
/// ends within 10 s; an order of one becomes a message of another.
#[rstest]
#[tokio::test]
async fn r4_m3_001_built_services_run_together(builder: Builder, evidence: Evidence) -> Verdict {
    let built = builder.built_samples().await?;
    let secret = workspace::session_id();
    let env = BTreeMap::from([
        ("DATABASE_URL".to_owned(), servers::new_database().await?),
        ("EVENT_BUS_URL".to_owned(), servers::event_bus().await?.url),
        ("EVENT_STREAM_PREFIX".to_owned(), format!("{}:", std::process::id())),
        ("JWT_SECRET".to_owned(), secret.repeat(2)),
    ]);
    let mut live = BTreeMap::new();
    for inputs in builder.sample_services().await? {
        let service = LiveService::start(&built.folder.join(&inputs.name), &env, builder.logs()).await?;
        let served = service.get("/openapi.json", None).await?;
        let own = |contract: &&Value| contract["service_name"] == *inputs.name && contract["type"] == "openapi";
        let promised = inputs.contracts.values().find(own).map(|contract| contract["spec"].clone());
        evidence.check_eq(&format!("{}: /openapi.json is its contract", inputs.name), Some(served), promised)?;
        live.insert(inputs.name, service);
    }
    let person = json!({ "email": "ada@example.org", "password": secret });
    live["auth-service"].post("/register", None, &person).await?;
    let tokens = live["auth-service"].post("/login", None, &person).await?;
    let token = tokens["access_token"].as_str();
    let order = json!({ "items": [{ "product_id": "p-1", "quantity": 2, "price": 4.5 }], "total": 9.0 });
    let order = live["order-service"].post("/orders", token, &order).await?;
    evidence.check_eq("a new order is pending", &order["status"], &json!("pending"))?;
    let begun = Instant::now();
    let mut listed = Value::Null;
    let is_listed = |listed: &Value| {
        listed
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["order_id"] == order["id"] && !order["id"].is_null()))
    };
    while !is_listed(&listed) && begun.elapsed() < Duration::from_secs(5) {
        listed = live["notification-service"].get("/notifications", token).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    evidence.observe("seconds_until_the_message", begun.elapsed().as_secs_f64())?;
    evidence.check("the order's message arrived within 5 s", is_listed(&listed), &listed)?;
    for (name, service) in live {
        let (status, took) = service.stop().await;
        evidence.check(&format!("{name}: it ended within 10 s"), took < Duration::from_secs(10), took.as_secs_f64())?;
        let killed = status.and_then(|status| status.signal()) == Some(Signal::KILL.as_raw());
        evidence.check(&format!("{name}: it did not have to be killed"), !killed, took.as_secs_f64())?;
    }
    Ok(())
}

/// B2-04: a scan finds what is planted in a service and says where, the deeper scans run at
/// their depth only, the clean twin has nothing, and no scan writes into the tree.
#[rstest]
#[tokio::test]
async fn b2_04_contract_scan_detection(builder: Builder, evidence: Evidence) -> Verdict {
    let (planted, clean) = (CanaryTree::planted()?, CanaryTree::clean()?);
    let before = (planted.digests()?, clean.digests()?);
    let found = builder.scan(planted.path(), &planted.contracts(), Thorough).await?;
    evidence.observe("planted", &found)?;
    for (code, file, parts) in PLANTS {
        let is_it = |hit: &&Violation| {
            hit.code == *code && hit.file == *file && parts.iter().all(|part| hit.message.contains(part))
        };
        let fact = format!("{code} in {file} names {}", parts.join(", "));
        evidence.check(&fact, found.iter().any(|hit| is_it(&hit)), of_code(&found, code))?;
    }
    let standard = builder.scan(planted.path(), &planted.contracts(), Standard).await?;
    for (code, at_standard) in
        [("CONTRACT-001", true), ("CONTRACT-002", true), ("CONTRACT-003", false), ("CONTRACT-004", false)]
    {
        let expected = if at_standard { of_code(&found, code) } else { Vec::new() };
        evidence.check_eq(&format!("{code} at depth standard"), of_code(&standard, code), expected)?;
    }
    let clean_found = builder.scan(clean.path(), &clean.contracts(), Thorough).await?;
    let contract_codes: Vec<_> = PLANTS.iter().flat_map(|(code, ..)| of_code(&clean_found, code)).collect();
    evidence.check_eq("violations of the clean twin", contract_codes, Vec::<&Violation>::new())?;
    let written = [tree::differences(&before.0, &planted.digests()?), tree::differences(&before.1, &clean.digests()?)];
    evidence.check_eq("files that a scan changed", written.concat(), Vec::<PathBuf>::new())
}

/// What `fixtures/canary/planted` plants: the code, the file, and what a message has to name.
const PLANTS: &[(&str, &str, &[&str])] = &[
    ("CONTRACT-001", "src/models/orders.py", &["/orders", "user_id"]),
    ("CONTRACT-001", "src/models/orders.py", &["/orders/{id}", "total", "number", "string"]),
    // Optional, there, and of another type.
    ("CONTRACT-001", "src/models/orders.py", &["/orders/{id}", "note", "string", "integer"]),
    ("CONTRACT-002", "src/routes/orders.py", &["PUT", "/orders/{id}"]),
    ("CONTRACT-003", "src/events.py", &["OrderCreated", "user_id"]),
    ("CONTRACT-004", "src/models/users.py", &["User", "mail"]),
];

fn of_code<'v>(violations: &'v [Violation], code: &str) -> Vec<&'v Violation> {
    violations.iter().filter(|violation| violation.code == code).collect()
}
