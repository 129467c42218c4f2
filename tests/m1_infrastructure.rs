//! Milestone 1: the suite itself stands on firm ground (plan R4-M1-001 to R4-M1-007; spec
//! README §6-8). The details of each mechanism are tested beside it, in `support`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{
    config::Run4Config,
    fix_pass::regressions::detect_regressions,
    fixtures::{NestedRun, ScriptedServer, is_victim, test_functions, wait_as_victim},
    matrix::{Matrix, Priority, requirements},
    mcp::{Class, Kind, Limits, McpError, Session, check_mcp_health},
    pipeline::builder_state::parse_builder_state,
    prelude::*,
    session::{Supervisor, scratch, shared},
    stack::{health::poll_until_healthy, servers},
    state::{HealthStatus, Loaded, Run4State},
    sut, toolbox, workspace,
};

/// Short limits for servers that misbehave on purpose.
const LIMITS: Limits =
    Limits { start: Duration::from_secs(5), call: Duration::from_secs(5), idle: Duration::from_secs(5) };

fn read(path: impl AsRef<Path>) -> Result<String, Failure> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|error| Failure::broken(format!("{}: {error}", path.display())))
}

/// R4-M1-001: defaults give way to run4.toml, and run4.toml to the environment.
#[rstest]
fn r4_m1_001_config_defaults_file_environment(evidence: Evidence) -> Verdict {
    let root = workspace::root();
    let plain = Run4Config::load_with(&root, Vec::<(&str, &str)>::new()).map_err(Failure::fail)?;
    let (timeout, passes) = (plain.builder_timeout_s, plain.max_fix_passes);
    evidence.check_eq(
        "the plan's defaults",
        json!([timeout, passes, plain.mcp_tool_timeout_ms]),
        json!([1800, 5, 60000]),
    )?;
    let changed = Run4Config::load_with(&root, vec![("RUN4_MAX_FIX_PASSES", "7")]).map_err(Failure::fail)?;
    evidence.check_eq("the environment wins", changed.max_fix_passes, 7)
}

/// R4-M1-001: a path that does not exist, and a key nobody knows, are refused by name.
#[rstest]
#[case::missing_path("RUN4_SAMPLE_PRD_PATH", "no/such.md", "no/such.md")]
#[case::unknown_key("RUN4_MAX_FIX_PASES", "7", "max_fix_passes")]
#[case::wrong_type("RUN4_BUILDER_TIMEOUT_S", "soon", "builder_timeout_s")]
fn r4_m1_001_bad_setting_is_refused(
    #[case] variable: &str,
    #[case] value: &str,
    #[case] named: &str,
    evidence: Evidence,
) -> Verdict {
    let refused = Run4Config::load_with(&workspace::root(), vec![(variable, value)]);
    let text = refused.map_or_else(|error| format!("{:?}", miette::Report::new(error)), |_| "accepted".into());
    evidence.check("the text names what is wrong", text.to_lowercase().contains(named), text)
}

/// R4-M1-002: a state survives a save and a load, and fits the plan's schema.
#[rstest]
fn r4_m1_002_state_round_trip(evidence: Evidence) -> Verdict {
    let folder = tempfile::tempdir()?;
    let mut state = Run4State::new();
    state.begin(2, "tests");
    state.complete(1);
    state.save(folder.path()).map_err(Failure::fail)?;
    let loaded = Run4State::load(folder.path()).map_err(Failure::fail)?.state();
    evidence.check_eq("the state comes back", serde_json::to_value(loaded)?, serde_json::to_value(&state)?)?;
    let schema = serde_json::from_str(&read(workspace::fixture("schemas/run4_state.schema.json"))?)?;
    let validator = jsonschema::validator_for(&schema).map_err(Failure::broken)?;
    let errors: Vec<_> = validator.iter_errors(&serde_json::to_value(&state)?).map(|error| error.to_string()).collect();
    evidence.check("it fits the schema of plan §7.1", errors.is_empty(), errors)
}

/// R4-M1-002: a file that is no state is set aside and kept, and nothing is loaded.
#[rstest]
#[case::truncated("{\"run_id\": \"")]
#[case::other_version(
    "{\"run_id\": \"00000000-0000-4000-8000-000000000000\", \"schema_version\": 2, \"current_milestone\": 0, \"current_phase\": \"x\"}"
)]
#[case::no_object("[]")]
fn r4_m1_002_unusable_state_is_none(#[case] text: &str, evidence: Evidence) -> Verdict {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("RUN4_STATE.json"), text)?;
    let Loaded::SetAside { kept_at, reason } = Run4State::load(folder.path()).map_err(Failure::fail)? else {
        return evidence.check("the file is not taken for a state", false, text);
    };
    evidence.check_eq("it is kept as it was", read(kept_at)?, text.to_owned())?;
    evidence.check("the reason is said", !reason.to_string().is_empty(), reason.to_string())
}

/// R4-M1-003: each specification among the fixtures is valid by its official schema.
#[rstest]
#[case::auth("sample_openapi_auth.yaml", "openapi-3.1.json", 3)]
#[case::order("sample_openapi_order.yaml", "openapi-3.1.json", 3)]
#[case::events("sample_asyncapi_order.yaml", "asyncapi-3.0.0.json", 2)]
fn r4_m1_003_fixtures_are_valid(
    #[case] name: &str,
    #[case] schema: &str,
    #[case] promised: usize,
    evidence: Evidence,
) -> Verdict {
    let document: Value = yaml_serde::from_str(&read(workspace::fixture(name))?).map_err(Failure::fail)?;
    let schema = serde_json::from_str(&read(workspace::fixture("schemas").join(schema))?)?;
    let validator = jsonschema::validator_for(&schema).map_err(Failure::broken)?;
    let errors: Vec<_> =
        validator.iter_errors(&document).map(|error| format!("{error} at {}", error.instance_path())).collect();
    evidence.check("it fits the official schema", errors.is_empty(), errors)?;
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations: usize = paths
        .map(|(_, item)| item.as_object().map_or(0, |item| item.keys().filter(|key| *key != "parameters").count()))
        .sum();
    let channels = document["channels"].as_object().map_or(0, serde_json::Map::len);
    evidence.check_eq("its endpoints or channels (plan §2.8)", operations + channels, promised)
}

/// R4-M1-003: the Pact file is a V4 contract on the login of auth-service, and the PRD has
/// its three services and some 300 lines.
#[rstest]
fn r4_m1_003_pact_and_prd_are_as_planned(evidence: Evidence) -> Verdict {
    let pact: Value = serde_json::from_str(&read(workspace::fixture("sample_pact_auth.json"))?)?;
    evidence.check_eq("its version", pact["metadata"]["pactSpecification"]["version"].clone(), json!("4.0"))?;
    evidence.check_eq(
        "its two sides",
        json!([pact["consumer"]["name"], pact["provider"]["name"]]),
        json!(["order-service", "auth-service"]),
    )?;
    let statuses: Vec<_> =
        pact["interactions"].as_array().into_iter().flatten().map(|one| one["response"]["status"].clone()).collect();
    evidence.check_eq("its interactions", statuses, vec![json!(200), json!(401)])?;
    let prd = read(workspace::fixture("sample_prd.md"))?;
    let services: Vec<_> = ["auth-service", "order-service", "notification-service"]
        .into_iter()
        .filter(|name| prd.contains(&format!("## {name}")))
        .collect();
    evidence.check_eq("its services", services.len(), 3)?;
    let lines = prd.lines().count();
    evidence.check("it has about 300 lines", (250..=400).contains(&lines), lines)
}

/// R4-M1-004: the scripted server answers initialize, list and call as its file says, and
/// notes what it was asked.
#[rstest]
#[tokio::test]
async fn r4_m1_004_scripted_server_answers(evidence: Evidence) -> Verdict {
    let scenario = r#"
        name = "Scripted"
        tools = ["one", "two"]
        [calls]
        one = [{ is_error = "not yet" }, { both = '{"n": 1}' }]
        two = [{ blocks = '[1, 2]' }]
    "#;
    let server = ScriptedServer::new(scenario)?;
    let session = server.open(LIMITS).await?;
    evidence.check_eq("its name", session.identity().name, "Scripted")?;
    evidence.check_eq("its tools", session.list_tools().await?.len(), 2)?;
    let first = session.call("one", json!({ "a": 1 })).await?;
    evidence.check_eq("the first call fails", first.error_text(), Some("not yet".to_owned()))?;
    evidence.check_eq(
        "the second succeeds",
        session.call("one", json!({})).await?.value(Kind::Object)?,
        json!({ "n": 1 }),
    )?;
    evidence.check_eq(
        "a block per element",
        session.call("two", json!({})).await?.value(Kind::List)?,
        json!([1, 2]),
    )?;
    session.close().await;
    let asked: Vec<_> = server.log()?.into_iter().map(|entry| entry.event).collect();
    let promised =
        ["start", "initialize", "notifications/initialized", "tools/list", "tools/call", "tools/call", "tools/call"];
    evidence.check_eq("its log", asked, promised.map(str::to_owned).to_vec())
}

/// R4-M1-004: the scripted server fails its first starts with a given code, ends after so many
/// calls, and goes on in its script in the next process.
#[rstest]
#[tokio::test]
async fn r4_m1_004_scripted_server_dies_and_remembers(evidence: Evidence) -> Verdict {
    let action = |n: u8| json!({ "both": json!({ "n": n }).to_string() });
    let server = ScriptedServer::play(&json!({
        "fail_starts": 1, "fail_code": 7, "ends_after": 2, "remember": true,
        "calls": { "count": [action(1), action(2), action(3)] },
    }))?;
    let mut first = sut::Process::spawn(&server.command(), server.logs(), true).map_err(Failure::broken)?;
    evidence.check_eq("the code of the failed start", first.wait().await?.code(), Some(7))?;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let session = server.open(LIMITS).await?;
        for _ in 0..2 {
            seen.push(session.call("count", json!({})).await?.value(Kind::Object)?["n"].clone());
        }
        let late = session.call("count", json!({})).await.map(|reply| reply.envelope());
        let class = late.as_ref().err().map(McpError::class);
        evidence.check("a third call finds nobody", class == Some(Class::Connection), format!("{late:?}"))?;
    }
    evidence.check_eq("the answers of both processes", seen, [1, 2, 3, 3].map(Value::from).to_vec())?;
    let calls = vec![("count".to_owned(), json!({})); 4];
    evidence.check_eq("its log of calls", server.calls()?, calls)?;
    evidence.check_eq("its log of starts", server.starts()?.len(), 3)
}

/// R4-M1-004: what a server does wrong has a class of its own, and never hangs.
#[rstest]
#[case::no_program("", Class::Connection)]
#[case::exits_at_once("initialize = 'exit'", Class::Connection)]
#[case::never_answers_initialize("initialize = 'silence'", Class::Timeout)]
#[case::never_answers("otherwise = { silence = true }", Class::Timeout)]
#[case::exits_in_the_call("otherwise = { exit = 3 }", Class::Connection)]
#[case::json_rpc_error("otherwise = { rpc_error = -32603 }", Class::Protocol)]
#[case::is_error("otherwise = { is_error = 'no' }", Class::Tool)]
#[case::garbage("otherwise = { text = 'not json' }", Class::Malformed)]
#[case::business("otherwise = { text = '{\"error\": \"no\"}' }", Class::Business)]
#[case::noise_instead("otherwise = { noise = 'hello' }", Class::Timeout)]
#[tokio::test]
async fn r4_m1_004_every_fault_has_its_class(#[case] fault: &str, #[case] class: Class, evidence: Evidence) -> Verdict {
    let server = ScriptedServer::new(&format!("name = 'faulty'\n{fault}"))?;
    let mut command = server.command();
    if fault.is_empty() {
        command.argv[0] = "run4-no-such-program".into();
    }
    // Long enough for a busy machine to start a process, short enough to wait for.
    let limits = Limits { start: Duration::from_secs(2), call: Duration::from_secs(1), idle: LIMITS.idle };
    let outcome = async {
        let session = Session::open(&command, server.logs(), limits).await?;
        session.call("any", json!({})).await?.value(Kind::Object)
    };
    let begun = Instant::now();
    let error = outcome.await.map_err(|error: McpError| (error.class(), error.to_string()));
    let seen = error.as_ref().err().map(|(class, _)| *class);
    evidence.check(&format!("the class is {class:?}"), seen == Some(class), format!("{error:?}"))?;
    evidence.check("the client does not hang", begun.elapsed() < Duration::from_secs(10), begun.elapsed().as_secs_f64())
}

/// R4-M1-004: lines that are not JSON are kept, also when they begin like it, and the session goes on.
#[rstest]
#[case::words("hello")]
#[case::half_an_object("{ not an object")]
#[tokio::test]
async fn r4_m1_004_noise_is_skipped_and_kept(#[case] noise: &str, evidence: Evidence) -> Verdict {
    let server = ScriptedServer::new(&format!(
        "name = 'loud'\n[calls]\nloud = [{{ noise = '{noise}' }}]\nquiet = [{{ both = '{{}}' }}]"
    ))?;
    let session = server.open(LIMITS).await?;
    let unanswered = session.call_within(Duration::from_millis(200), "loud", json!({})).await;
    let class = unanswered.as_ref().err().map(McpError::class);
    evidence.check("noise is no answer", class == Some(Class::Timeout), format!("{unanswered:?}"))?;
    evidence.check_eq("the next call", session.call("quiet", json!({})).await?.value(Kind::Object)?, json!({}))?;
    evidence.check_eq("the noise", session.noise(), vec![noise.to_owned()])
}

/// R4-M1-004: a server that says nothing at all ends a call at the idle limit, before the
/// limit of the call.
#[rstest]
#[tokio::test]
async fn r4_m1_004_silence_is_an_idle_timeout(evidence: Evidence) -> Verdict {
    let server = ScriptedServer::new("name = 'silent'\notherwise = { silence = true }")?;
    let session = server.open(Limits { idle: Duration::from_millis(200), ..LIMITS }).await?;
    let silent = session.call("any", json!({})).await;
    evidence.check("the error says so", matches!(silent, Err(McpError::IdleTimeout { .. })), format!("{silent:?}"))
}

/// R4-M1-004: the client reads the replies of a server written with another SDK (FastMCP),
/// with structured content and with text only.
#[rstest]
#[tokio::test]
async fn r4_m1_004_another_sdk_is_read_alike(
    #[values("structured", "text")] form: &str,
    evidence: Evidence,
) -> Verdict {
    let folder = tempfile::tempdir()?;
    let argv = [toolbox::python()?, workspace::fixture("foreign/fastmcp_server.py"), form.into()];
    let command = sut::Command {
        key: "fastmcp".into(),
        argv: argv.map(|word| word.display().to_string()).to_vec(),
        cwd: folder.path().to_path_buf(),
        env: BTreeMap::new(),
        ready: None,
    };
    let session = Session::open(&command, folder.path(), Limits { start: Duration::from_secs(30), ..LIMITS }).await?;
    evidence.check_eq("its name", session.identity().name, "Foreign")?;
    let spec = json!({ "spec": { "info": {} }, "type": "openapi" });
    let verdict = session.call("validate_spec", spec).await?.value(Kind::Object)?;
    evidence.check_eq(
        "an object",
        verdict,
        json!({ "valid": false, "errors": ["paths is missing"], "warnings": [] }),
    )?;
    for (count, wanted) in [(2, "known"), (0, "unknown")] {
        let callers = session.call("find_callers", json!({ "symbol": wanted })).await?.value(Kind::List)?;
        evidence.check_eq(&format!("a list of {count}"), callers.as_array().map(Vec::len), Some(count))?;
    }
    let one = session.call("find_callers", json!({ "symbol": "known", "max_results": 1 })).await?.value(Kind::List)?;
    evidence.check_eq("a list of one", one, json!([{ "file_path": "a.py", "line": 3, "caller_name": "caller_3" }]))?;
    let found = session.call("find_definition", json!({ "symbol": "known" })).await?.value(Kind::Nullable)?;
    evidence.check_eq("an object that could be null", &found["line_start"], &json!(1))?;
    let none = session.call("find_definition", json!({ "symbol": "unknown" })).await?.value(Kind::Nullable)?;
    evidence.check_eq("null", none, Value::Null)?;
    let spec = json!({ "examples": ["not", "a", "list"] });
    let contract = json!({ "service_name": "any", "type": "json_schema", "version": "1.0.0", "spec": spec });
    let contract = session.call("create_contract", contract).await?.value(Kind::Object)?;
    let id = json!({ "contract_id": contract["id"] });
    let text = session.call("generate_tests", id).await?.value(Kind::String)?;
    evidence.check_eq("a text that looks like JSON", text, json!(r#"["not", "a", "list"]"#))?;
    let refused = session.call("validate_spec", json!({ "spec": "text", "type": "openapi" })).await?;
    evidence.check("wrong types are refused", refused.error_text().is_some(), refused.envelope())?;
    let unknown = session.call("no_such_tool", json!({})).await.map(|reply| reply.error_text());
    evidence.check("an unknown tool is refused", !matches!(unknown, Ok(None)), format!("{unknown:?}"))
}

/// R4-M1-005: polling sees a service become healthy, and says what it saw last of one that does not.
#[rstest]
#[tokio::test]
async fn r4_m1_005_polling_succeeds_and_times_out(mut build1: Build1, evidence: Evidence) -> Verdict {
    let up = build1.twin("contract_engine_http").await?.url().to_owned();
    let urls = BTreeMap::from([
        ("up".to_owned(), format!("{up}/api/health")),
        ("down".to_owned(), "http://127.0.0.1:9/api/health".to_owned()),
    ]);
    let results = poll_until_healthy(&urls, Duration::from_secs(1), Duration::from_millis(20), 2).await;
    evidence.observe("results", format!("{results:?}"))?;
    evidence.check_eq("the service that is up", results["up"].healthy, true)?;
    evidence.check_eq("the service that is down", results["down"].healthy, false)?;
    evidence.check("its last state is said", results["down"].error.is_some(), format!("{:?}", results["down"].error))
}

/// R4-M1-005: the health check of an MCP server tells its tools, or why there are none.
#[rstest]
#[tokio::test]
async fn r4_m1_005_mcp_health(evidence: Evidence) -> Verdict {
    let server = ScriptedServer::new("name = 'good'\ntools = ['one']")?;
    let good = check_mcp_health(&server.command(), server.logs(), LIMITS.start).await;
    evidence.check_eq(
        "a good server",
        json!([good.status, good.tools_count, good.tool_names]),
        json!(["healthy", 1, ["one"]]),
    )?;
    let server = ScriptedServer::new("name = 'bad'\ninitialize = 'exit'")?;
    let bad = check_mcp_health(&server.command(), server.logs(), LIMITS.start).await;
    evidence.check("a bad server says why", bad.status == HealthStatus::Unhealthy && !bad.error.is_empty(), &bad)
}

/// R4-M1-005: a builder's state is read with exact types, and nothing is invented.
#[rstest]
fn r4_m1_005_builder_state_parser(evidence: Evidence) -> Verdict {
    let folder = tempfile::tempdir()?;
    let missing = parse_builder_state(folder.path());
    evidence.check(
        "a missing file is an error without values",
        missing.error.is_some() && missing.test_total.is_none(),
        format!("{missing:?}"),
    )?;
    let good = json!({
        "summary": { "success": true, "test_passed": 9, "test_total": 10, "convergence_ratio": 1 },
        "total_cost": 0.5, "health": "passed", "completed_phases": ["build"],
    });
    std::fs::create_dir_all(folder.path().join(".agent-team"))?;
    let file = folder.path().join(".agent-team/STATE.json");
    std::fs::write(&file, good.to_string())?;
    let state = parse_builder_state(folder.path());
    evidence.check(
        "a good file is read",
        state.error.is_none() && state.test_passed == Some(9),
        format!("{state:?}"),
    )?;
    std::fs::write(&file, good.to_string().replace("\"test_passed\":9", "\"test_passed\":true"))?;
    let state = parse_builder_state(folder.path());
    evidence.check("a bool is not an int", state.error.is_some(), format!("{state:?}"))
}

/// R4-M1-005: only what is new counts as a regression.
#[rstest]
fn r4_m1_005_regressions_are_only_new_entries(evidence: Evidence) -> Verdict {
    let before = BTreeMap::from([("LOG-001".to_owned(), vec!["a.py".to_owned()])]);
    let after = BTreeMap::from([
        ("LOG-001".to_owned(), vec!["b.py".to_owned(), "a.py".to_owned()]),
        ("SEC-001".to_owned(), vec!["a.py".to_owned()]),
    ]);
    evidence.check_eq(
        "new ones, sorted",
        detect_regressions(&before, &after),
        vec!["LOG-001:b.py".to_owned(), "SEC-001:a.py".to_owned()],
    )?;
    evidence.check_eq("nothing new", detect_regressions(&after, &before), Vec::<String>::new())
}

/// R4-M1-006: a value is computed once a session, and a long-lived service belongs to the
/// supervisor. Inside a nested run this is the test that the run's end interrupts.
#[rstest]
#[tokio::test]
async fn r4_m1_006_session_fixtures_start_and_stop(build1: Build1, evidence: Evidence) -> Verdict {
    let supervisor = Supervisor::of_this_session()?;
    let name = format!("victim-{}", std::process::id());
    let first = shared(&name, || async { Ok(std::process::id()) }).await?;
    let second = shared(&name, || async { Err::<u32, _>(Failure::broken("computed twice")) }).await?;
    evidence.check_eq("a shared value is computed once", second, first)?;
    let service = supervisor.start(&name, &build1.command("contract_engine_http")?, build1.logs())?;
    let alive = || Path::new("/proc").join(service.id.to_string()).exists();
    evidence.check("the service runs", alive(), &service.name)?;
    let session = build1.open("architect").await?;
    if !wait_as_victim()? {
        supervisor.stop(&name)?;
        evidence.check("the service has ended", !alive(), &service.name)?;
    }
    session.close().await;
    Ok(())
}

/// R4-M1-006: however a run ends, it leaves no process behind.
#[rstest]
#[case::finished(None)]
#[case::interrupted(Some(Signal::INT))]
#[case::terminated(Some(Signal::TERM))]
#[case::killed(Some(Signal::KILL))]
fn r4_m1_006_run_leaves_no_process(#[case] signal: Option<Signal>, evidence: Evidence) -> Verdict {
    let run = NestedRun::start("m1_infrastructure", "r4_m1_006_session_fixtures")?;
    let running = run.processes()?;
    evidence.check("the run is in the middle of things", running.len() >= 3, &running)?;
    let (left, took) = run.end(signal)?;
    evidence.observe("seconds_to_clean", took.as_secs_f64())?;
    evidence.check_eq("processes left behind", left, Vec::new())
}

/// Names the file in which a second test process writes the addresses it was given.
const PEER_VARIABLE: &str = "RUN4_INTERNAL_PEER";

/// R4-M1-006: a real database and a real broker answer, the same ones in every test process of
/// a session. Inside a nested run this is the test that the run's end interrupts.
#[rstest]
#[tokio::test]
async fn r4_m1_006_database_and_broker_answer(evidence: Evidence) -> Verdict {
    let (database, bus) = (servers::database().await?, servers::event_bus().await?);
    evidence.observe("programs", [&database.program, &bus.program])?;
    evidence.check_eq("SQL is answered", servers::query(&database, "select 1").await?, Some("1".to_owned()))?;
    if let Some(file) = std::env::var_os(PEER_VARIABLE) {
        return Ok(std::fs::write(file, [database.url, bus.url].join("\n"))?);
    }
    if is_victim() {
        // A client that is in the middle of things, too.
        let _busy = tokio::spawn(async move { servers::query(&database, "select pg_sleep(600)").await });
        return tokio::task::spawn_blocking(wait_as_victim)
            .await
            .map_err(Failure::broken)?
            .map(drop)
            .map_err(Failure::from);
    }
    let name = format!("r4_m1_006_{}", std::process::id());
    for sql in [format!("create database {name}"), format!("drop database {name}")] {
        evidence.check_ok("its user may create databases", servers::query(&database, &sql).await)?;
    }
    let say = async |line: &str| servers::command(&bus, &line.split(' ').collect::<Vec<_>>()).await;
    say(&format!("XGROUP CREATE {name} readers 0 MKSTREAM")).await?;
    let id = say(&format!("XADD {name} * order 7")).await?;
    let read = say(&format!("XREADGROUP GROUP readers one STREAMS {name} >")).await?;
    evidence.check_eq("an event reaches its group", read, json!([[name, [[id, ["order", "7"]]]]]))?;
    say(&format!("DEL {name}")).await?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("peer");
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", "r4_m1_006_database_and_broker_answer"])
        .env(PEER_VARIABLE, &file)
        .env(workspace::SESSION_VARIABLE, workspace::session_id())
        .env(workspace::BUNDLE_VARIABLE, folder.path())
        .output()?;
    let peer = std::fs::read_to_string(&file).unwrap_or_else(|_| String::from_utf8_lossy(&output.stdout).into_owned());
    evidence.check_eq("another process has the same ones", peer, [database.url, bus.url].join("\n"))
}

/// R4-M1-006: however a run ends, it leaves nothing of its database and its broker: no
/// process, no data, no shared memory.
#[rstest]
#[case::finished(None)]
#[case::interrupted(Some(Signal::INT))]
#[case::killed(Some(Signal::KILL))]
fn r4_m1_006_run_leaves_no_server(#[case] signal: Option<Signal>, evidence: Evidence) -> Verdict {
    let run = NestedRun::start("m1_infrastructure", "r4_m1_006_database_and_broker")?;
    let (data, segment) = (scratch(run.session()), servers::segment_of(run.session()));
    let running = run.processes()?;
    let serves = |name: &str| running.iter().any(|(_, command)| command.contains(name));
    evidence.check("both run", serves("postgres") && serves("redis-server"), &running)?;
    let segment = segment.ok_or_else(|| Failure::broken("the database tells no shared memory"))?;
    evidence.check("its shared memory is there", servers::segment_exists(segment), segment)?;
    let (left, took) = run.end(signal)?;
    evidence.observe("seconds_to_clean", took.as_secs_f64())?;
    evidence.check_eq("processes left behind", left, Vec::new())?;
    evidence.check("no data is left", !data.exists(), &data)?;
    evidence.check("no shared memory is left", !servers::segment_exists(segment), segment)
}

/// R4-M1-007: every id is claimed by its function in its binary or listed as pending, no test
/// claims an id that is not there, and the totals are the plan's.
#[rstest]
fn r4_m1_007_registry_matches_test_functions(evidence: Evidence) -> Verdict {
    let matrix = Matrix::load().map_err(Failure::fail)?;
    let functions = test_functions().map_err(Failure::broken)?;
    let claims = |row: &support::matrix::Row| functions.get(&row.binary).is_some_and(|names| names.contains(&row.test));
    let unclaimed: BTreeSet<_> = matrix.rows().iter().filter(|row| !claims(row)).map(|row| row.id.clone()).collect();
    evidence.check_eq("ids without a test", &unclaimed, matrix.pending())?;
    let like_an_id = |name: &&String| ["sc_", "b1_", "b2_", "b3_", "x_"].iter().any(|prefix| name.starts_with(prefix));
    let strays: Vec<_> =
        functions.values().flatten().filter(like_an_id).filter(|name| matrix.claimed_by(name).is_none()).collect();
    evidence.check_eq("tests with an unknown id", strays, Vec::<&String>::new())?;
    let count = |prefix: &str| matrix.rows().iter().filter(|row| row.id.to_string().starts_with(prefix)).count();
    evidence.check_eq("ids by category (plan §4.6)", ["SC", "B1", "B2", "B3", "X"].map(count), [8, 20, 10, 10, 10])?;
    let graded = |priority| matrix.rows().iter().filter(|row| row.priority == priority).count();
    evidence.check_eq("ids by priority", [Priority::P0, Priority::P1, Priority::P2].map(graded), [38, 18, 2])
}

/// R4-M1-007: each requirement of M1, and each other whose ids all have tests, is covered by
/// tests that exist, save those that it lists as pending; and no test is named after a requirement that does not.
#[rstest]
fn r4_m1_007_requirements_are_covered(evidence: Evidence) -> Verdict {
    let functions = test_functions().map_err(Failure::broken)?;
    let all: BTreeSet<_> = functions.values().flatten().cloned().collect();
    let requirements = requirements().map_err(Failure::fail)?;
    let named = requirements.iter().flat_map(|requirement| requirement.tests.iter());
    let missing: Vec<_> = named.filter(|test| !all.contains(*test)).collect();
    let pending: Vec<_> = requirements.iter().flat_map(|requirement| requirement.pending.iter()).collect();
    evidence.check_eq("tests that requirements.toml names and nobody wrote", missing, pending)?;
    let known: BTreeSet<_> =
        requirements.iter().map(|requirement| requirement.id.to_lowercase().replace('-', "_")).collect();
    let strays: Vec<_> =
        all.iter().filter(|name| name.starts_with("r4_")).filter(|name| !known.contains(&name[..9])).collect();
    evidence.check_eq("tests of unknown requirements", strays, Vec::<&String>::new())
}

/// R4-M1-007: the suite reaches the system under test through processes only.
#[rstest]
fn r4_m1_007_suite_depends_on_no_reference_crate(evidence: Evidence) -> Verdict {
    // Of this platform only: the others' packages need not be on this machine.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform])
        .current_dir(workspace::root())
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        Failure::broken(format!("cargo metadata: {error}: {}", String::from_utf8_lossy(&output.stderr)))
    })?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let is_reference = |id: &Value| {
        packages.iter().any(|package| {
            package["id"] == *id
                && package["manifest_path"].as_str().is_some_and(|path| path.contains("/fixtures/reference/"))
        })
    };
    let edges: BTreeMap<_, _> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|node| (node["id"].to_string(), node["dependencies"].as_array().cloned().unwrap_or_default()))
        .collect();
    let mut open: Vec<Value> = packages
        .iter()
        .filter(|package| package["name"] == "run4" || package["name"] == "run4-support")
        .map(|package| package["id"].clone())
        .collect();
    evidence.check_eq("packages of the suite", open.len(), 2)?;
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        evidence.check("what the suite links is no part of the system", !is_reference(&id), &id)?;
        if seen.insert(id.to_string()) {
            open.extend(edges.get(&id.to_string()).cloned().unwrap_or_default());
        }
    }
    evidence.check("the whole graph was walked", seen.len() > 50, seen.len())
}

/// R4-M1-007: nextest.toml is valid by nextest's own schema, and its tests get one try.
#[rstest]
fn r4_m1_007_nextest_configuration_is_valid(evidence: Evidence) -> Verdict {
    let output = Command::new("cargo").args(["nextest", "self", "schema", "repo-config"]).output()?;
    let schema: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        Failure::broken(format!("nextest's schema: {error}: {}", String::from_utf8_lossy(&output.stderr)))
    })?;
    let text = read(workspace::root().join(".config/nextest.toml"))?;
    evidence.check_eq("the link leads to nextest.toml", &text, &read(workspace::root().join("nextest.toml"))?)?;
    let config: Value = serde_json::to_value(toml::from_str::<toml::Table>(&text).map_err(Failure::fail)?)?;
    let validator = jsonschema::validator_for(&schema).map_err(Failure::broken)?;
    let errors: Vec<_> =
        validator.iter_errors(&config).map(|error| format!("{error} at {}", error.instance_path())).collect();
    evidence.check("it fits nextest's schema", errors.is_empty(), errors)?;
    for profile in ["default", "ci", "audit"] {
        let settings = &config["profile"][profile];
        evidence.check(&format!("profile {profile} writes JUnit"), settings["junit"]["path"].is_string(), settings)?;
        let retries = &settings["retries"];
        evidence.check(&format!("profile {profile} has no retries"), retries.is_null() || *retries == 0, retries)?;
    }
    Ok(())
}
