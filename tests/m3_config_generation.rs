//! Milestone 3: the configuration that an orchestrator writes is the one that a builder reads,
//! and switches that are off are off (plan R4-M3-003, R4-M3-006; spec builder.md §3, §4, §7).

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rstest::rstest;
use serde_json::{Value, json};
use support::{
    config::BuilderDepth::{self, Exhaustive, Quick, Standard, Thorough},
    fixtures::{ScriptedBuilder, ScriptedServer},
    mcp::{Kind, Limits},
    pipeline::{
        builder::invoke,
        builder_config::BuilderConfig,
        builder_inputs::{BuilderWorkspace, ServiceInputs},
        builder_state::STATE_FILE,
        decomposition::decomposition,
        spec_hash::spec_hash,
    },
    prelude::*,
    sut::ProbeReply,
    tree,
};

/// What `config-check` says to the text of a file.
async fn check(builder: &Builder, text: &str) -> Result<ProbeReply, Failure> {
    let path = builder.data().join("config.yaml");
    std::fs::write(&path, text)?;
    builder.probe("config_probe", &["--config", &path.display().to_string()], "").await
}

/// The value at a dotted key.
fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(value, |place, part| &place[part])
}

/// The canonical configuration with made-up servers: `config-check` starts none.
fn canonical(builder: &Builder, depth: BuilderDepth) -> Result<BuilderConfig, Failure> {
    let config = builder.config(depth, builder.data())?;
    let named = ["contract_engine", "codebase_intelligence"].iter().fold(config, |config, section| {
        let root = builder.data().display().to_string();
        config.with(&format!("{section}.server_root"), root).with(&format!("{section}.mcp_command"), "server")
    });
    Ok(named)
}

/// the configuration of each depth is accepted; it comes back as config and overrides,
/// complete, and with every value as the file has it.
#[rstest]
#[case::quick(Quick)]
#[case::standard(Standard)]
#[case::thorough(Thorough)]
#[case::exhaustive(Exhaustive)]
#[tokio::test]
async fn x_06_config_generation_compat(#[case] depth: BuilderDepth, builder: Builder, evidence: Evidence) -> Verdict {
    let file = canonical(&builder, depth)?;
    let reply = check(&builder, &file.yaml()).await?;
    evidence.check_eq("it is accepted", reply.code, Some(0))?;
    let reply = reply.json()?;
    evidence.observe("reply", &reply)?;
    let config = &reply["config"];
    for key in [
        "depth.default",
        "milestone.enabled",
        "e2e_testing.enabled",
        "post_orchestration_scans.mock_data_scan",
        "post_orchestration_scans.api_contract_scan",
        "contract_engine.server_root",
        "codebase_intelligence.server_root",
    ] {
        evidence.check(&format!("the configuration has {key}"), !at(config, key).is_null(), at(config, key))?;
    }
    evidence.check_eq("the depth", &reply["depth"], &json!(depth))?;
    let changed: BTreeMap<_, _> = file
        .leaves()
        .into_iter()
        .filter(|(key, value)| at(config, key) != value)
        .map(|(key, value)| (key.clone(), [value, at(config, &key).clone()]))
        .collect();
    evidence.check_eq("values that came back changed", changed, BTreeMap::new())?;
    let overrides: BTreeSet<_> =
        reply["overrides"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    evidence.check_eq(
        "overrides are the keys of the file",
        overrides,
        file.leaves().into_keys().collect::<BTreeSet<_>>(),
    )?;
    evidence.check_eq("unknown keys", &reply["unknown_keys"], &json!([]))
}

/// The switches that depths set, as a file without them gets them (builder.md §3.1).
const SWITCHES: [&str; 8] = [
    "contract_engine.enabled",
    "contract_engine.test_generation",
    "codebase_intelligence.enabled",
    "codebase_intelligence.register_artifacts",
    "contract_scans.endpoint_schema_scan",
    "contract_scans.missing_endpoint_scan",
    "contract_scans.event_schema_scan",
    "contract_scans.shared_model_scan",
];

/// a depth switches off what the file does not set itself, and nothing that it sets. The
/// two servers are switched on by the file where the depth lets them.
#[rstest]
#[case::quick(Quick, &[])]
#[case::standard(Standard, &[0, 2, 4, 5])]
#[case::thorough(Thorough, &[0, 1, 2, 3, 4, 5, 6, 7])]
#[case::exhaustive(Exhaustive, &[0, 1, 2, 3, 4, 5, 6, 7])]
#[tokio::test]
async fn x_06_depth_gates_what_the_file_leaves_open(
    #[case] depth: BuilderDepth,
    #[case] on: &[usize],
    builder: Builder,
    evidence: Evidence,
) -> Verdict {
    let mut server = json!({ "server_root": builder.data(), "mcp_command": "server" });
    if depth != Quick {
        server["enabled"] = json!(true);
    }
    let open = BuilderConfig::from_value(
        json!({ "depth": { "default": depth }, "contract_engine": server, "codebase_intelligence": server }),
    );
    let config = check(&builder, &open.yaml()).await?.json()?["config"].take();
    let section = |key: &str| key.split('.').next().unwrap_or_default().to_owned();
    // What a section that is off would do besides is nobody's business.
    let active = |key: &str| at(&config, &format!("{}.enabled", section(key))) != &json!(false);
    let seen: Vec<_> = SWITCHES.iter().filter(|key| active(key) && at(&config, key) == &json!(true)).collect();
    evidence.check_eq("what is on", seen, on.iter().map(|index| &SWITCHES[*index]).collect::<Vec<_>>())?;
    let set = SWITCHES.iter().fold(open, |config, key| config.with(key, true));
    let config = check(&builder, &set.yaml()).await?.json()?["config"].take();
    let lost: Vec<_> = SWITCHES.iter().filter(|key| at(&config, key) != &json!(true)).collect();
    evidence.check_eq("what the file set and the depth took away", lost, Vec::<&&str>::new())
}

/// X-06, its twin: `depth` as a word alone means the same or is refused by name; it never
/// crashes the builder.
#[rstest]
#[tokio::test]
async fn x_06_depth_as_a_word(builder: Builder, evidence: Evidence) -> Verdict {
    let file = canonical(&builder, Exhaustive)?.with("depth", "exhaustive");
    let reply = check(&builder, &file.yaml()).await?;
    evidence.observe("reply", &reply)?;
    if reply.code == Some(0) {
        let reply = reply.json()?;
        evidence.check_eq("it means the same", &reply["depth"], &json!("exhaustive"))?;
        return evidence.check_eq(
            "in the configuration, too",
            at(&reply["config"], "depth.default"),
            &json!("exhaustive"),
        );
    }
    evidence.check_eq("it is refused", reply.code, Some(2))?;
    evidence.check("by name", reply.stderr.contains("depth"), &reply.stderr)
}

/// a wrong value is refused with exit code 2 and the name of its key.
#[rstest]
#[case::unknown_depth("depth.default", json!("extreme"))]
#[case::depth_as_number("depth", json!(7))]
#[case::section_as_list("contract_engine", json!([]))]
#[case::section_as_word("milestone", json!("on"))]
#[case::switch_as_word("contract_engine.enabled", json!("yes"))]
#[case::switch_as_number("contract_scans.endpoint_schema_scan", json!(1))]
#[case::list_as_word("contract_engine.mcp_args", json!("mcp"))]
#[case::number_as_word("codebase_intelligence.startup_timeout_ms", json!("soon"))]
#[case::negative_number("agent_teams.max_teammates", json!(-1))]
#[case::no_contract_engine_root("contract_engine.server_root", json!(""))]
#[case::no_codebase_intelligence_root("codebase_intelligence.server_root", json!(""))]
#[tokio::test]
async fn x_06_wrong_value_is_refused_by_name(
    #[case] key: &str,
    #[case] value: Value,
    builder: Builder,
    evidence: Evidence,
) -> Verdict {
    let enabled = ["contract_engine.enabled", "codebase_intelligence.enabled"];
    let file =
        enabled.iter().fold(canonical(&builder, Thorough)?, |config, key| config.with(key, true)).with(key, value);
    let name = key.rsplit('.').next().unwrap_or(key);
    refused(&check(&builder, &file.yaml()).await?, name, &evidence)
}

/// a text that is no configuration is refused with exit code 2.
#[rstest]
#[case::no_yaml("depth: {default: [quick", "config.yaml")]
#[case::list("- depth\n", "config.yaml")]
#[tokio::test]
async fn x_06_no_configuration_is_refused(
    #[case] text: &str,
    #[case] named: &str,
    builder: Builder,
    evidence: Evidence,
) -> Verdict {
    refused(&check(&builder, text).await?, named, &evidence)
}

/// a file that is not there is refused with exit code 2 and its name.
#[rstest]
#[tokio::test]
async fn x_06_missing_file_is_refused(builder: Builder, evidence: Evidence) -> Verdict {
    let reply = builder.probe("config_probe", &["--config", "/no/such/file.yaml"], "").await?;
    refused(&reply, "/no/such/file.yaml", &evidence)
}

fn refused(reply: &ProbeReply, named: &str, evidence: &Evidence) -> Verdict {
    evidence.observe("reply", reply)?;
    evidence.check_eq("the exit code", reply.code, Some(2))?;
    evidence.check("the message names it", reply.stderr.contains(named), &reply.stderr)?;
    evidence.check(
        "it is no crash",
        !reply.stderr.contains("panicked") && !reply.stderr.contains("Traceback"),
        &reply.stderr,
    )
}

/// a section whose name is mis-spelt is accepted and reported.
#[rstest]
#[tokio::test]
async fn x_06_unknown_section_is_reported(builder: Builder, evidence: Evidence) -> Verdict {
    let file = canonical(&builder, Standard)?.with("contract_engin", json!({ "enabled": true }));
    let reply = check(&builder, &file.yaml()).await?.json()?;
    let unknown: Vec<_> = reply["unknown_keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    evidence.check("it is reported", unknown.iter().any(|key| key.starts_with("contract_engin")), &unknown)?;
    let known = unknown.iter().any(|key| key.starts_with("contract_engine"));
    evidence.check("no known one is", !known, &unknown)
}

/// the contract files that a builder is given are the registered specs, by their hash.
#[rstest]
#[tokio::test]
async fn x_06_contract_files_equal_registered_specs(builder: Builder, evidence: Evidence) -> Verdict {
    let mut services = builder.sample_services().await?;
    let session = builder.session("contract_engine_mcp", builder.data()).await?;
    builder.register_contracts(builder.data(), &mut services).await?;
    let mut count = 0;
    for inputs in &services {
        let folder = builder.data().join(&inputs.name);
        BuilderWorkspace::write(&folder, inputs, &BuilderConfig::default())?;
        for path in tree::files(&folder.join("contracts"), "json")? {
            let contract = json_file(&path, &evidence)?;
            let entry = session.call("get_contract", json!({ "contract_id": contract["id"] })).await?;
            let entry = entry.value(Kind::Nullable)?;
            let fact = format!("{}: {} is the registered one", inputs.name, path.display());
            evidence.check_eq(&fact, json!(spec_hash(&contract["spec"])), entry["spec_hash"].clone())?;
            count += 1;
        }
    }
    session.close().await;
    evidence.check("every service has a contract", count >= services.len(), count)
}

/// the configuration that the orchestrator writes at each depth is accepted as it is, has
/// what a builder must be told, and switches on what the canonical one does.
#[rstest]
#[case::quick(Quick)]
#[case::standard(Standard)]
#[case::thorough(Thorough)]
#[case::exhaustive(Exhaustive)]
#[tokio::test]
async fn x_06_orchestrator_config_is_accepted(
    #[case] depth: BuilderDepth,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    build_scripted(&mut orchestrator, depth, &["orders"], &evidence).await?;
    let text = std::fs::read_to_string(orchestrator.workspace().build("orders").join("config.yaml"))?;
    evidence.observe("config.yaml", &text)?;
    let builder = orchestrator.builder();
    let reply = check(builder, &text).await?;
    evidence.check_eq("it is accepted", reply.code, Some(0))?;
    let reply = reply.json()?;
    evidence.check_eq("the depth", &reply["depth"], &json!(depth))?;
    evidence.check_eq("unknown keys", &reply["unknown_keys"], &json!([]))?;
    let overrides = reply["overrides"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let overrides: BTreeSet<_> = overrides.collect();
    for key in [
        "depth.default",
        "milestone.enabled",
        "e2e_testing.enabled",
        "post_orchestration_scans.mock_data_scan",
        "post_orchestration_scans.api_contract_scan",
        "contract_engine.server_root",
        "codebase_intelligence.server_root",
    ] {
        evidence.check(&format!("the file sets {key}"), overrides.contains(key), &overrides)?;
    }
    for section in ["contract_engine", "codebase_intelligence"] {
        let root = &reply["config"][section]["server_root"];
        evidence.check(
            &format!("{section}.server_root is a path"),
            root.as_str().is_some_and(|root| !root.is_empty()),
            root,
        )?;
    }
    let expected = builder.config(depth, &orchestrator.build1_data())?;
    let expected = check(builder, &expected.yaml()).await?.json()?;
    let differ: BTreeMap<_, _> = SWITCHES
        .iter()
        .map(|key| (key, [at(&reply["config"], key), at(&expected["config"], key)]))
        .filter(|(_, [seen, expected])| seen != expected)
        .collect();
    evidence.check_eq("switches that differ from the canonical ones", differ, BTreeMap::new())
}

/// Lets the orchestrator plan these services and build them with a builder that only succeeds.
async fn build_scripted(
    orchestrator: &mut Orchestrator,
    depth: BuilderDepth,
    services: &[&str],
    evidence: &Evidence,
) -> Verdict {
    let state = json!({
        "run_id": "1", "summary": { "success": true, "test_passed": 9, "test_total": 10, "convergence_ratio": 0.9 },
        "total_cost": 0, "health": "passed", "completed_phases": ["build"],
    });
    let scripted = ScriptedBuilder::new(&format!("steps = [{{ state = '''{state}''' }}]"))?;
    orchestrator.set_builder(&scripted.command());
    orchestrator.planned(&decomposition(services)).await?;
    let outcome = orchestrator.run(&["build", "--depth", &depth.to_string()]).await?;
    evidence.observe("stderr", &outcome.stderr)?;
    evidence.check_eq("build ends well", outcome.code, Some(0))
}

/// the contract files that the orchestrator gives its builders are the registered specs, by
/// their hash; a service gets those that it provides and those that it consumes.
#[rstest]
#[tokio::test]
async fn x_06_orchestrator_hands_out_registered_specs(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let services = ["stock", "billing"];
    build_scripted(&mut orchestrator, Quick, &services, &evidence).await?;
    let session = orchestrator.builder().session("contract_engine_mcp", &orchestrator.build1_data()).await?;
    let mut expected = BTreeMap::new();
    for service in services {
        let reply = session.call("list_contracts", json!({ "service_name": service })).await?.value(Kind::Object)?;
        expected.insert(service, reply["items"][0]["spec_hash"].clone());
    }
    session.close().await;
    for (service, providers) in [("stock", &services[..1]), ("billing", &services[..])] {
        let mut hashes = Vec::new();
        for path in tree::files(&orchestrator.workspace().build(service).join("contracts"), "json")? {
            let contract = json_file(&path, &evidence)?;
            // A contract with its registration around it, or the bare spec.
            let spec = if contract["spec"].is_object() { &contract["spec"] } else { &contract };
            hashes.push(json!(spec_hash(spec)));
        }
        let mut registered: Vec<_> = providers.iter().map(|provider| expected[provider].clone()).collect();
        hashes.sort_by_key(Value::to_string);
        registered.sort_by_key(Value::to_string);
        evidence.check_eq(&format!("{service}: the contracts it was given"), hashes, registered)?;
    }
    Ok(())
}

/// The scans that every run makes, in their order, by a word of each name (builder.md §7).
const SCANS: [&str; 7] = ["mock", "ui", "api", "database", "e2e", "deployment", "asset"];

/// B2-09: with its four switches off a builder starts no MCP server, makes its other scans in
/// their order, uses no team and leaves no report; the configuration still comes back whole.
#[rstest]
#[tokio::test]
async fn b2_09_backward_compat(builder: Builder, evidence: Evidence) -> Verdict {
    let server = ScriptedServer::new("name = 'nobody calls'\notherwise = { is_error = 'switched off' }")?;
    let mut config = builder.config(Thorough, builder.data())?;
    for section in ["contract_engine", "codebase_intelligence"] {
        let command = server.command();
        config = config
            .with(&format!("{section}.enabled"), false)
            .with(&format!("{section}.server_root"), command.cwd.display().to_string())
            .with(&format!("{section}.mcp_command"), command.argv[0].clone())
            .with(&format!("{section}.mcp_args"), command.argv[1..].to_vec());
    }
    for scan in ["endpoint_schema_scan", "missing_endpoint_scan", "event_schema_scan", "shared_model_scan"] {
        config = config.with(&format!("contract_scans.{scan}"), false);
    }
    let checked = check(&builder, &config.yaml()).await?.json()?;
    evidence.check("config is returned", checked["config"].is_object(), &checked["config"])?;
    let overrides = checked["overrides"].as_array().map(Vec::len);
    evidence.check_eq("overrides are returned", overrides, Some(config.leaves().len()))?;

    let workspace = prepared(&builder, &config).await?;
    let result = builder.run(workspace.folder(), Thorough).await?;
    evidence.check("the run succeeds", result.success, &result.error)?;
    let starts = server.log().map_err(Failure::broken)?;
    evidence.check_eq("servers that were started", starts.len(), 0)?;
    let report = json_file(&workspace.folder().join(".agent-team/scan_report.json"), &evidence)?;
    let scans = report["scans"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = scans.iter().map(|scan| scan["name"].as_str().unwrap_or_default().to_lowercase()).collect();
    let fits = names.len() == SCANS.len() && names.iter().zip(SCANS).all(|(name, word)| name.contains(word));
    evidence.check("the scans, in their order", fits, &names)?;
    let state = json_file(&workspace.folder().join(STATE_FILE), &evidence)?;
    evidence.check_eq("agent_teams_active", &state["agent_teams_active"], &json!(false))?;
    for report in ["contract_report", "endpoint_test_report"] {
        evidence.check_eq(report, state.get(report), Some(&Value::Null))?;
    }
    // The log would have shown a start.
    let limit = builder.settings().mcp_startup_timeout();
    server.open(Limits { start: limit, call: limit, idle: limit }).await?.close().await;
    let starts = server.log().map_err(Failure::broken)?;
    evidence.check("a start is logged", starts.iter().any(|entry| entry.event == "start"), starts.len())
}

/// A folder with the inputs of one service of the sample PRD.
async fn prepared(builder: &Builder, config: &BuilderConfig) -> Result<BuilderWorkspace, Failure> {
    let services: Vec<ServiceInputs> = builder.sample_services().await?;
    let inputs = services.first().ok_or_else(|| Failure::fail("the sample PRD has no services"))?;
    Ok(BuilderWorkspace::write(&builder.data().join(&inputs.name), inputs, config)?)
}

fn json_file(path: &Path, evidence: &Evidence) -> Result<Value, Failure> {
    let text = evidence.check_ok(&format!("{} is there", path.display()), std::fs::read_to_string(path))?;
    evidence.check_ok(&format!("{} is JSON", path.display()), serde_json::from_str(&text))
}

/// What a builder decides on.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Cli,
    CliWithWarning,
    Teams,
    Refused,
}

/// Whether a private `PATH` has a `claude`, and whether that one works.
#[derive(Debug, Clone, Copy)]
enum Claude {
    Works,
    Fails,
    Missing,
}

/// R4-M3-006: the backend follows from configuration, environment and the external CLI as the
/// table of builder.md §4 has it.
#[rstest]
#[case::off(false, None, Claude::Missing, false, Decision::Cli)]
#[case::off_in_spite_of_everything(false, Some("1"), Claude::Works, true, Decision::Cli)]
#[case::no_variable(true, None, Claude::Works, true, Decision::CliWithWarning)]
#[case::other_variable(true, Some("true"), Claude::Works, false, Decision::CliWithWarning)]
#[case::no_cli(true, Some("1"), Claude::Missing, true, Decision::CliWithWarning)]
#[case::broken_cli(true, Some("1"), Claude::Fails, true, Decision::CliWithWarning)]
#[case::no_cli_no_fallback(true, Some("1"), Claude::Missing, false, Decision::Refused)]
#[case::broken_cli_no_fallback(true, Some("1"), Claude::Fails, false, Decision::Refused)]
#[case::teams(true, Some("1"), Claude::Works, true, Decision::Teams)]
#[case::teams_without_fallback(true, Some("1"), Claude::Works, false, Decision::Teams)]
#[tokio::test]
async fn r4_m3_006_backend_decision_table(
    #[case] enabled: bool,
    #[case] variable: Option<&str>,
    #[case] claude: Claude,
    #[case] fallback: bool,
    #[case] expected: Decision,
    builder: Builder,
    evidence: Evidence,
) -> Verdict {
    let mut command = builder.command("backend_probe").await?;
    command.env.extend(surroundings(builder.data(), variable, claude)?);
    let request = json!({ "agent_teams": { "enabled": enabled, "fallback_to_cli": fallback } });
    let reply = builder.probe_with(&command, &request.to_string()).await?;
    evidence.observe("reply", &reply)?;
    if expected == Decision::Refused {
        evidence.check_eq("the exit code", reply.code, Some(3))?;
        return evidence.check("the message names what is missing", reply.stderr.contains("claude"), &reply.stderr);
    }
    let reply = reply.json()?;
    let warned = reply["warnings"].as_array().map(|warnings| !warnings.is_empty());
    let decision = match (reply["backend"].as_str(), warned) {
        (Some("cli"), Some(false)) => Some(Decision::Cli),
        (Some("cli"), Some(true)) => Some(Decision::CliWithWarning),
        (Some("agent_teams"), Some(_)) => Some(Decision::Teams),
        _ => None,
    };
    evidence.check(&format!("the decision is {expected:?}"), decision == Some(expected), &reply)
}

/// R4-M3-006: a whole run without the external CLI goes on, warns, and says in its STATE.json
/// that no team was active.
#[rstest]
#[tokio::test]
async fn r4_m3_006_run_falls_back(builder: Builder, evidence: Evidence) -> Verdict {
    let config = builder.config(Quick, builder.data())?.with("agent_teams.enabled", true);
    let workspace = prepared(&builder, &config).await?;
    let mut invocation = builder.invocation(workspace.folder(), Quick).await?;
    invocation.command.env.extend(surroundings(builder.data(), Some("1"), Claude::Missing)?);
    let result = invoke(&invocation).await?;
    evidence.check("the run succeeds", result.success, &result.error)?;
    let state = json_file(&workspace.folder().join(STATE_FILE), &evidence)?;
    evidence.check_eq("agent_teams_active", &state["agent_teams_active"], &json!(false))?;
    let said = result.stderr_text()?;
    evidence.check("a warning names the CLI", said.contains("claude"), &said)
}

/// R4-M3-001: a call that is wrong ends with 2, and one look at stderr tells what to change.
#[rstest]
#[case::no_such_folder("no-such-folder", "quick", &["no-such-folder"])]
#[case::unknown_depth("", "deep", &["deep", "thorough"])]
#[case::nothing_to_build("", "quick", &["service.json", "prd.md"])]
#[tokio::test]
async fn r4_m3_001_wrong_call_is_refused(
    #[case] folder: &str,
    #[case] depth: &str,
    #[case] parts: &[&str],
    builder: Builder,
    evidence: Evidence,
) -> Verdict {
    let folder = builder.data().join(folder).display().to_string();
    let reply = builder.probe("builder", &["--cwd", &folder, "--depth", depth], "").await?;
    evidence.check_eq("the exit code", reply.code, Some(2))?;
    let missing: Vec<_> = parts.iter().filter(|part| !reply.stderr.contains(**part)).collect();
    evidence.check(&format!("the message names {}", parts.join(", ")), missing.is_empty(), &reply.stderr)
}

/// R4-M3-006: with the external CLI (a scripted one) a whole run is a team's: every task goes
/// from pending over in progress to completed, and the hook hears of each that is completed.
#[rstest]
#[tokio::test]
async fn r4_m3_006_agent_teams_with_external_cli(builder: Builder, evidence: Evidence) -> Verdict {
    let (hook, heard) = (builder.data().join("hook.sh"), builder.data().join("heard"));
    std::fs::write(&hook, format!("cat >> '{0}'; echo >> '{0}'\n", heard.display()))?;
    let config = builder
        .config(Quick, builder.data())?
        .with("agent_teams.enabled", true)
        .with("agent_teams.task_completed_hook", format!("sh {}", hook.display()));
    let workspace = prepared(&builder, &config).await?;
    let mut invocation = builder.invocation(workspace.folder(), Quick).await?;
    invocation.command.env.extend(surroundings(builder.data(), Some("1"), Claude::Works)?);
    let result = invoke(&invocation).await?;
    evidence.check("the run succeeds", result.success, &result.error)?;
    let state = json_file(&workspace.folder().join(STATE_FILE), &evidence)?;
    evidence.check_eq("agent_teams_active", &state["agent_teams_active"], &json!(true))?;

    let board = json_file(&workspace.folder().join(".agent-team/tasks.json"), &evidence)?;
    let tasks = board.as_array().cloned().unwrap_or_default();
    evidence.check("the team has tasks", !tasks.is_empty(), &board)?;
    for task in &tasks {
        let states: Vec<_> = task["history"].as_array().into_iter().flatten().map(|step| step[0].clone()).collect();
        let path = [json!("pending"), json!("in_progress"), json!("completed")];
        evidence.check_eq(&format!("the states of task {}", task["title"]), states, path)?;
    }
    let heard = std::fs::read_to_string(&heard).unwrap_or_default();
    let told: Vec<_> = heard.lines().filter(|line| line.contains("completed")).collect();
    evidence.check_eq("tasks that the hook heard of", told.len(), tasks.len())
}

/// The variables of a builder that finds the external CLI as `claude` says.
fn surroundings(folder: &Path, variable: Option<&str>, claude: Claude) -> std::io::Result<BTreeMap<String, String>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|folder| !folder.join("claude").exists()).collect();
    let script = match claude {
        Claude::Works => Some("#!/bin/sh\necho '2.0.0 (Claude Code)'\n"),
        Claude::Fails => Some("#!/bin/sh\necho 'not signed in' >&2\nexit 1\n"),
        Claude::Missing => None,
    };
    if let Some(script) = script {
        let private = folder.join("private-path");
        std::fs::create_dir_all(&private)?;
        std::fs::write(private.join("claude"), script)?;
        std::fs::set_permissions(private.join("claude"), std::fs::Permissions::from_mode(0o755))?;
        folders.insert(0, private);
    }
    let path = std::env::join_paths(folders).map_err(std::io::Error::other)?;
    let mut variables = BTreeMap::from([("PATH".to_owned(), path.to_string_lossy().into_owned())]);
    variables.extend(variable.map(|value| ("CLAUDE_CODE_EXPERIMENTAL_AGENT_TEAMS".to_owned(), value.to_owned())));
    Ok(variables)
}
