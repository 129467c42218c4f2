//! Milestone 2: Build 2's client wrappers turn every reply into its type and every failure into
//! its safe default, and find their way to the servers of Build 1 (plan R4-M2-003; spec
//! matrix.md, clients.md).

use std::{path::Path, time::Duration};

use rstest::rstest;
use rstest_reuse::{apply, template};
use serde_json::{Value, json};
use support::{
    config::{
        BuilderDepth::{Quick, Thorough},
        Run4Config,
    },
    fixtures::{Derived, Outage, ProbeCall, ProbeReport, ScriptedServer, Wired, earns_no_pass, wired},
    mcp::{Case, ClientMethod, Condition, Form, Kind, Tool, Toolset},
    pipeline::{
        builder::{BuilderResult, invoke},
        builder_config::BuilderConfig,
        builder_inputs::BuilderWorkspace,
        builder_state::parse_builder_state,
    },
    prelude::*,
    sut, toolbox, tree, workspace,
};

/// Long enough for any machine: the servers that are waited for in vain have limits of their own.
const STARTUP: Duration = Duration::from_secs(20);
const TOOL: Duration = Duration::from_secs(10);

/// The pauses before the retries.
const PAUSES: [f64; 3] = [1.0, 2.0, 4.0];

#[template]
#[rstest]
#[case::get_contract("get_contract")]
#[case::validate_endpoint("validate_endpoint")]
#[case::generate_tests("generate_tests")]
#[case::check_breaking_changes("check_breaking_changes")]
#[case::mark_implemented("mark_implemented")]
#[case::get_unimplemented_contracts("get_unimplemented_contracts")]
fn each_of_contract_engine(#[case] method: &str) {}

#[template]
#[rstest]
#[case::find_definition("find_definition")]
#[case::find_callers("find_callers")]
#[case::find_dependencies("find_dependencies")]
#[case::search_semantic("search_semantic")]
#[case::get_service_interface("get_service_interface")]
#[case::check_dead_code("check_dead_code")]
#[case::register_artifact("register_artifact")]
fn each_of_codebase_intelligence(#[case] method: &str) {}

#[template]
#[rstest]
#[case::decompose("decompose")]
#[case::get_service_map("get_service_map")]
#[case::get_contracts_for_service("get_contracts_for_service")]
#[case::get_domain_model("get_domain_model")]
fn each_of_architect(#[case] method: &str) {}

#[template]
#[rstest]
#[case::get_contract("get_contract")]
#[case::validate_endpoint("validate_endpoint")]
#[case::generate_tests("generate_tests")]
#[case::check_breaking_changes("check_breaking_changes")]
#[case::mark_implemented("mark_implemented")]
#[case::get_unimplemented_contracts("get_unimplemented_contracts")]
#[case::find_definition("find_definition")]
#[case::find_callers("find_callers")]
#[case::find_dependencies("find_dependencies")]
#[case::search_semantic("search_semantic")]
#[case::get_service_interface("get_service_interface")]
#[case::check_dead_code("check_dead_code")]
#[case::register_artifact("register_artifact")]
#[case::decompose("decompose")]
#[case::get_service_map("get_service_map")]
#[case::get_contracts_for_service("get_contracts_for_service")]
#[case::get_domain_model("get_domain_model")]
fn each_method(#[case] method: &str) {}

/// A call of `method`, its pauses recorded and not waited out.
fn call<'a>(method: &'a ClientMethod, arguments: &'a Value, server: sut::Command) -> ProbeCall<'a> {
    let (client, method) = (method.client.as_str(), method.method.as_str());
    ProbeCall { client, method, arguments, server, startup: STARTUP, tool: TOOL, real_sleep: false }
}

/// A server that takes `action` at every call of `tool`.
fn server_of(tool: &str, action: &Value) -> std::io::Result<ScriptedServer> {
    ScriptedServer::play(&json!({ "calls": { tool: [action] } }))
}

/// What the probe says of a call that was answered at once.
fn answered(type_name: &str, value: &Value) -> ProbeReport {
    ProbeReport {
        type_name: type_name.to_owned(),
        value: value.clone(),
        is_default: false,
        attempts: 1,
        sleeps_s: Vec::new(),
        reopened: 0,
        warnings: Vec::new(),
        raised: false,
    }
}

/// One method against scripted replies in every form: type, every field, and what was asked.
async fn replies_become_values(method: &ClientMethod, probe: &ClientProbe, evidence: &Evidence) -> Verdict {
    let main = ("the reply", &method.reply, method.value());
    let variants = method.variants.iter().map(|it| (it.name.as_str(), &it.reply, &it.value));
    let replies: Vec<_> = std::iter::once(main).chain(variants).collect();
    for (form, (name, reply, value)) in method.forms.iter().flat_map(|form| replies.iter().map(move |it| (form, *it))) {
        let (name, action) = (format!("{name} as {form:?}"), form.action(reply));
        let server = server_of(&method.tool, &action)?;
        let report = probe.call(&call(method, &method.arguments, server.command())).await?;
        evidence.check_eq(&format!("{name}: the answer"), report, answered(&method.type_name, value))?;
        let asked = vec![(method.tool.clone(), method.arguments.clone())];
        evidence.check_eq(&format!("{name}: what the server was asked"), server.calls()?, asked)?;
    }
    let server = server_of(&method.tool, &Form::Both.action(&method.reply))?;
    let report = probe.call(&call(method, &method.required, server.command())).await?;
    evidence.check_eq("by defaults: the answer", report, answered(&method.type_name, method.value()))?;
    let asked = server.calls()?;
    let accepted = matches!(&asked[..], [(tool, sent)] if *tool == method.tool && method.accepts_on_wire(sent));
    evidence.check("by defaults: the server was asked with the documented ones", accepted, asked)
}

/// B2-01: each method of the Contract Engine's client gives its result type with every field,
/// and sends exactly the documented arguments.
#[apply(each_of_contract_engine)]
#[tokio::test]
async fn b2_01_contract_client_all_methods(
    #[case] method: &str,
    client_methods: ClientMethods,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    replies_become_values(client_methods.method(method)?, &client_probe, &evidence).await
}

/// B2-02: so does each method of Codebase Intelligence's client, also when a list comes in
/// several blocks.
#[apply(each_of_codebase_intelligence)]
#[tokio::test]
async fn b2_02_codebase_client_all_methods(
    #[case] method: &str,
    client_methods: ClientMethods,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    replies_become_values(client_methods.method(method)?, &client_probe, &evidence).await
}

/// B2-03: a lost server, `isError`, garbage and an error without the flag give the documented
/// default and a warning, and nothing is raised. A good reply is no default, and "there is none"
/// is no warning.
#[apply(each_method)]
#[tokio::test]
async fn b2_03_mcp_safe_defaults(
    #[case] method: &str,
    toolset: Toolset,
    client_methods: ClientMethods,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    let method = client_methods.method(method)?;
    // Of a tool that may answer null it is one more way to say "there is none" (tools.md §8).
    let unflagged = toolset.tool(&method.tool)?.kind != Kind::Nullable;
    let unflagged = unflagged.then(|| json!({ "structured": r#"{"error": "503: out of order"}"# }));
    let ask = async |action: &Value| {
        let server = server_of(&method.tool, action)?;
        let report = client_probe.call(&call(method, &method.arguments, server.command())).await?;
        let asked = server.calls()?.iter().any(|(tool, _)| *tool == method.tool);
        evidence.check("the server was asked", asked, server.log()?.len())?;
        Ok::<_, Failure>(report)
    };
    let failures = [
        ("a lost server", Some(json!({ "exit": 3 }))),
        ("isError", Some(json!({ "is_error": "503: out of order" }))),
        ("garbage", Some(method.garbage.clone())),
        ("an error without the flag", unflagged),
    ];
    for (failure, action) in failures.into_iter().filter_map(|(failure, action)| Some((failure, action?))) {
        let report = ask(&action).await?;
        let default = report.is_default && report.type_name == method.default_type && method.is_default(&report.value);
        let documented = format!("{failure}: the default is {} {}", method.default_type, method.default());
        evidence.check(&documented, default, &report)?;
        evidence.check_eq(&format!("{failure}: raised"), report.raised, false)?;
        let named = report.warnings.iter().any(|warning| warning.contains(&method.tool));
        evidence.check(&format!("{failure}: a warning names the tool"), named, report.warnings)?;
    }
    let good = ask(&Form::Both.action(&method.reply)).await?;
    evidence.check_eq("a good reply", good, answered(&method.type_name, method.value()))?;
    if let Some(absent) = &method.absent {
        let report = ask(&Form::Both.action(absent)).await?;
        evidence.check_eq("there is none: the value", &report.value, method.default())?;
        evidence.check_eq("there is none: warnings", report.warnings, Vec::<String>::new())?;
    }
    Ok(())
}

/// What a scripted server does, how the limits are set, and after how many attempts there is a
/// real value or none.
struct Retries {
    scenario: Value,
    startup: Duration,
    tool: Duration,
    attempts: u32,
    answered: bool,
}

fn gives_up_after(attempts: u32, scenario: Value) -> Retries {
    Retries { scenario, startup: STARTUP, tool: TOOL, attempts, answered: false }
}

fn answers_at(attempts: u32, scenario: Value) -> Retries {
    Retries { answered: true, ..gives_up_after(attempts, scenario) }
}

/// The calls of `get_contract` in a scenario.
fn actions(actions: Value) -> Value {
    json!({ "get_contract": actions })
}

fn contract() -> Value {
    json!({ "both": r#"{"id": "c-1"}"# })
}

/// B2-10: a failure that may pass is tried again after 1, 2 and 4 s, each time with a new
/// session; one that will not pass is not.
#[rstest]
#[case::every_start_fails(gives_up_after(4, json!({ "fail_starts": 9 })))]
#[case::every_start_fails_by_another_code(gives_up_after(4, json!({ "fail_starts": 9, "fail_code": 3 })))]
#[case::every_start_is_mute(Retries {
    startup: Duration::from_millis(700), ..gives_up_after(4, json!({ "initialize": "silence" }))
})]
#[case::every_call_is_lost(gives_up_after(4, json!({ "calls": actions(json!([{ "exit": 1 }])) })))]
#[case::every_call_hangs(Retries {
    tool: Duration::from_millis(700), ..gives_up_after(4, json!({ "calls": actions(json!([{ "silence": true }])) }))
})]
#[case::two_starts_fail(answers_at(3, json!({ "fail_starts": 2, "calls": actions(json!([contract()])) })))]
#[case::two_calls_are_lost(answers_at(3, json!({
    "remember": true, "calls": actions(json!([{ "exit": 1 }, { "exit": 1 }, contract()]))
})))]
#[case::the_last_retry_is_answered(answers_at(4, json!({ "fail_starts": 3, "calls": actions(json!([contract()])) })))]
#[case::nothing_fails(answers_at(1, json!({ "calls": actions(json!([contract()])) })))]
#[case::is_error(gives_up_after(1, json!({ "calls": actions(json!([{ "is_error": "409: no" }, contract()])) })))]
#[case::json_rpc_error(gives_up_after(1, json!({ "calls": actions(json!([{ "rpc_error": -32603 }, contract()])) })))]
#[case::unknown_tool(gives_up_after(1, json!({ "tools": ["another"] })))]
#[case::business(gives_up_after(1, json!({ "calls": actions(json!([{ "text": r#"{"error": "no"}"# }, contract()])) })))]
#[case::garbage(gives_up_after(1, json!({ "calls": actions(json!([{ "text": "no JSON" }, contract()])) })))]
#[tokio::test]
async fn b2_10_retry_exponential_backoff(
    #[case] retries: Retries,
    client_methods: ClientMethods,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    let method = client_methods.method("get_contract")?;
    let server = ScriptedServer::play(&retries.scenario)?;
    let mut call = call(method, &method.arguments, server.command());
    (call.startup, call.tool) = (retries.startup, retries.tool);
    let report = client_probe.call(&call).await?;
    evidence.observe("report", &report)?;
    let again = retries.attempts as usize - 1;
    evidence.check_eq("attempts", report.attempts, retries.attempts)?;
    evidence.check_eq("pauses", report.sleeps_s, PAUSES[..again].to_vec())?;
    evidence.check_eq("sessions opened again", report.reopened as usize, again)?;
    evidence.check_eq("starts that the server saw", server.starts()?.len(), again + 1)?;
    evidence.check_eq("the value is the default", report.is_default, !retries.answered)?;
    evidence.check_eq("raised", report.raised, false)?;
    if retries.answered {
        evidence.check_eq("the value", &report.value["id"], &json!("c-1"))?;
        return evidence.check_eq("warnings", report.warnings, Vec::<String>::new());
    }
    evidence.check_eq("the number of warnings", report.warnings.len(), 1)?;
    let told =
        ["get_contract".to_owned(), retries.attempts.to_string()].iter().all(|it| report.warnings[0].contains(it));
    evidence.check("the warning has the tool and the number of attempts", told, report.warnings)
}

/// B2-10: without a test's hand on the clock, the starts of the server are 1, 2 and 4 s apart.
#[rstest]
#[tokio::test]
async fn b2_10_real_pauses(client_methods: ClientMethods, client_probe: ClientProbe, evidence: Evidence) -> Verdict {
    let method = client_methods.method("get_contract")?;
    let server = ScriptedServer::play(&json!({ "fail_starts": 9 }))?;
    let call = ProbeCall { real_sleep: true, ..call(method, &method.arguments, server.command()) };
    let report = client_probe.call(&call).await?;
    evidence.check_eq("pauses", report.sleeps_s, PAUSES.to_vec())?;
    let starts = server.starts()?;
    let gaps: Vec<_> = starts.windows(2).map(|pair| (pair[1].at - pair[0].at).as_seconds_f64()).collect();
    let kept = gaps.len() == 3 && gaps.iter().zip(PAUSES).all(|(gap, pause)| (gap - pause).abs() <= 0.5);
    evidence.check("1, 2 and 4 s between the starts, give or take 0.5 s", kept, gaps)
}

/// R4-M2-003: what hangs ends at its limit, and the warning says what was done and what the
/// limit was.
#[rstest]
#[case::call(json!({ "otherwise": { "silence": true } }), STARTUP, Duration::from_millis(612))]
#[case::start(json!({ "initialize": "silence" }), Duration::from_millis(612), TOOL)]
#[tokio::test]
async fn r4_m2_003_limits_are_kept_and_named(
    #[case] scenario: Value,
    #[case] startup: Duration,
    #[case] tool: Duration,
    client_methods: ClientMethods,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    let method = client_methods.method("find_callers")?;
    let server = ScriptedServer::play(&scenario)?;
    let call = ProbeCall { startup, tool, ..call(method, &method.arguments, server.command()) };
    let report = client_probe.call(&call).await?;
    let named = report.warnings.iter().any(|warning| warning.contains("find_callers") && warning.contains("612"));
    evidence.check("a warning has the operation and the limit in ms", named, &report.warnings)?;
    let starts = server.starts()?;
    let gaps: Vec<_> = starts.windows(2).map(|pair| (pair[1].at - pair[0].at).as_seconds_f64()).collect();
    let kept = gaps.len() == 3 && gaps.iter().all(|gap| (0.4..1.612).contains(gap));
    evidence.check("each attempt ends within its limit and 1 s", kept, gaps)
}

/// R4-M2-003: a program that is not there is named.
#[rstest]
#[tokio::test]
async fn r4_m2_003_missing_program_is_named(
    client_methods: ClientMethods,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    let method = client_methods.method("decompose")?;
    let scripted = ScriptedServer::play(&json!({}))?;
    let mut server = scripted.command();
    // A name that no probe could know beforehand.
    let program = format!("run4-no-such-program-{}", std::process::id());
    server.argv[0].clone_from(&program);
    let report = client_probe.call(&call(method, &method.arguments, server)).await?;
    evidence.check("the default", report.is_default && !report.raised, &report)?;
    let named = report.warnings.iter().any(|warning| warning.contains(&program));
    evidence.check("a warning names the program", named, report.warnings)
}

/// R4-M2-003: however a call ends, no server is left when the client is closed.
#[rstest]
#[case::answered(json!({ "otherwise": { "both": "[]" } }))]
#[case::refused(json!({ "otherwise": { "is_error": "no" } }))]
#[case::lost(json!({ "otherwise": { "exit": 1 } }))]
#[case::hanging(json!({ "otherwise": { "silence": true } }))]
#[case::mute(json!({ "initialize": "silence" }))]
#[tokio::test]
async fn r4_m2_003_no_server_is_left(
    #[case] scenario: Value,
    client_methods: ClientMethods,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    let method = client_methods.method("find_callers")?;
    let server = ScriptedServer::play(&scenario)?;
    let mut call = call(method, &method.arguments, server.command());
    call.tool = Duration::from_millis(500);
    if scenario["initialize"].is_string() {
        call.startup = Duration::from_millis(500);
    }
    client_probe.call(&call).await?;
    let starts = server.starts()?;
    evidence.check("the server was started", !starts.is_empty(), starts.len())?;
    let is_there = |pid: &u32| Path::new("/proc").join(pid.to_string()).exists();
    let left: Vec<_> = starts.iter().map(|start| start.pid).filter(is_there).collect();
    evidence.check_eq("servers left behind", left, Vec::<u32>::new())
}

/// R4-M2-003: a request that names no call is refused with exit code 2, and the text names
/// what is wrong.
#[rstest]
#[case::no_json("hello", "client-probe")]
#[case::no_client(r#"{"method": "get_contract"}"#, "client")]
#[case::unknown_client(
    r#"{"client": "bob", "method": "get_contract", "server": {"argv": ["true"]}}"#,
    "contract_engine"
)]
#[case::unknown_method(
    r#"{"client": "architect", "method": "get_contract", "server": {"argv": ["true"]}}"#,
    "decompose"
)]
#[case::no_server(r#"{"client": "contract_engine", "method": "get_contract"}"#, "server")]
#[tokio::test]
async fn r4_m2_003_bad_request_is_refused(
    #[case] request: &str,
    #[case] named: &str,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    let run = client_probe.run(request, Duration::from_secs(20)).await?;
    evidence.check_eq("its exit code", run.code, Some(2))?;
    evidence.check_eq("its stdout", &run.stdout, "")?;
    evidence.check(&format!("its stderr names {named}"), run.stderr.contains(named), &run.stderr)
}

/// X-01: what was put into the Contract Engine directly comes back through each method of its client.
#[apply(each_of_contract_engine)]
#[tokio::test]
async fn x_01_mcp_b1_to_b2_contract_engine(#[case] method: &str, mut wired: Wired, evidence: Evidence) -> Verdict {
    wired.facts_come_back(method, &evidence, |_, _| true).await
}

/// X-02: files registered through the client of Codebase Intelligence are known to each of its methods.
#[apply(each_of_codebase_intelligence)]
#[tokio::test]
async fn x_02_mcp_b1_to_b2_codebase_intel(#[case] method: &str, mut wired: Wired, evidence: Evidence) -> Verdict {
    wired.facts_come_back(method, &evidence, |_, _| true).await
}

/// R4-M2-003: the Architect's client keeps the same promises, with scripted replies and with the
/// Architect itself.
#[apply(each_of_architect)]
#[tokio::test]
async fn r4_m2_003_architect_client_four_methods(
    #[case] method: &str,
    mut wired: Wired,
    evidence: Evidence,
) -> Verdict {
    replies_become_values(wired.methods().method(method)?, wired.probe(), &evidence).await?;
    wired.facts_come_back(method, &evidence, |_, _| true).await
}

/// R4-M2-003: the client of the Contract Engine reads one that is written with another SDK
/// (FastMCP), with structured content and with text only.
#[rstest]
#[tokio::test]
async fn r4_m2_003_another_sdk_is_read_alike(
    #[values("structured", "text")] form: &str,
    config: Run4Config,
    toolset: Toolset,
    client_methods: ClientMethods,
    client_probe: ClientProbe,
    evidence: Evidence,
) -> Verdict {
    let server = [toolbox::python()?, workspace::fixture("foreign/fastmcp_server.py"), form.into()];
    let entry = json!({ "argv": server, "env": { "DATABASE_PATH": "${data}/contracts.json" } });
    let foreign = Derived::new(&config, &json!({ "contract_engine_mcp": entry }))?;
    let build1 = Build1::new(&foreign.config, toolset).map_err(Failure::broken)?;
    let mut wired = Wired::new(build1, client_methods, client_probe);
    let methods = wired.methods().clone();
    for method in methods.all().iter().filter(|method| method.client == "contract_engine") {
        // A start of Python takes its time: one good case of each, and of "none" where SDKs differ.
        let first = |tool: &Tool, case: &Case| {
            let of_its_kind = tool.in_condition(case.condition).next().is_some_and(|first| first.name == case.name);
            let told_apart = match case.condition {
                Condition::Absent => matches!(tool.kind, Kind::Nullable | Kind::List),
                condition => condition == Condition::Valid,
            };
            of_its_kind && told_apart
        };
        wired.facts_come_back(&method.method, &evidence, first).await?;
    }
    Ok(())
}

/// B2-03, its twin: probes that say nothing, `{}`, what they were asked, "answered" or "failed"
/// to everything, or that fail, do not earn a single pass in this whole binary. (The calls to
/// another SDK's server are those of X-01, and Python takes its time.)
#[rstest]
#[case::silent("cat > /dev/null")]
#[case::objects("cat > /dev/null; echo '{}'")]
#[case::echo("cat")]
#[case::always_answered(
    r#"cat > /dev/null; echo '{"type": "object", "value": {}, "is_default": false, "attempts": 1, "sleeps_s": [],
        "reopened": 0, "warnings": [], "raised": false}'"#
)]
#[case::always_given_up(
    r#"cat > /dev/null; echo '{"type": "none", "value": null, "is_default": true, "attempts": 4, "sleeps_s": [1, 2, 4],
        "reopened": 3, "warnings": ["get_contract find_callers 612 run4-no-such-program decompose 4"], "raised": false}'"#
)]
#[case::refuses("cat > /dev/null; echo 'client method server contract_engine decompose' >&2; exit 3")]
fn b2_03_bad_probes_earn_no_pass(#[case] probe: &str, config: Run4Config, evidence: Evidence) -> Verdict {
    let derived = Derived::new(&config, &json!({ "client_probe": { "argv": ["sh", "-c", probe] } }))?;
    // The last three speak of the builder, and the second makes the calls of X-01.
    let skip = ["bad_probes", "another_sdk", "b2_07", "b2_08", "r4_m2_006"];
    earns_no_pass(&evidence, derived.manifest(), &skip, &[], 70)
}

/// How long a server may take to start where it is known that it never will, in milliseconds.
const OUTAGE_STARTUP_MS: u64 = 300;

/// What a run may take beside the attempts to reach a server: a build on a busy machine.
const BUILD: Duration = Duration::from_secs(60);

#[template]
#[rstest]
#[case::no_such_command(Outage::NoSuchCommand)]
#[case::exits_at_once(Outage::ExitsAtOnce)]
#[case::never_answers(Outage::NeverAnswers)]
fn each_outage(#[case] outage: Outage) {}

/// A thorough run over a copy of the first built sample, in which the server of `section`
/// fails and `plant` has changed the tree. The service's own tests are not run.
async fn run_without(
    section: &str,
    outage: Outage,
    builder: &Builder,
    plant: impl Fn(&Path) -> Verdict,
) -> Result<BuilderResult, Failure> {
    let samples = builder.built_samples().await?;
    let service = &builder.sample_services().await?[0];
    let folder = builder.data().join(&service.name);
    tree::copy(samples.tree(0)?, &folder)?;
    std::fs::remove_dir_all(folder.join(".agent-team"))?;
    plant(&folder)?;
    let unavailable = outage.server()?;
    let mut servers = builder.servers(builder.data())?;
    servers.insert(section.to_owned(), unavailable.command.clone());
    let config = BuilderConfig::canonical(Thorough, &servers)
        .map_err(Failure::broken)?
        .with(&format!("{section}.startup_timeout_ms"), OUTAGE_STARTUP_MS)
        .with("e2e_testing.enabled", false);
    BuilderWorkspace::write(&folder, service, &config)?;
    builder.run(&folder, Thorough).await
}

/// Says that a run gave up on a server in time, went on to its end, and named what was missing.
fn check_fallback(evidence: &Evidence, result: &BuilderResult, name: &str) -> Verdict {
    let attempts = 4.0 * Duration::from_millis(OUTAGE_STARTUP_MS).as_secs_f64() + PAUSES.iter().sum::<f64>();
    let limit = attempts + BUILD.as_secs_f64();
    evidence.check("it did not wait longer than its attempts take", result.duration_s < limit, result.duration_s)?;
    let state = parse_builder_state(&result.output_dir);
    evidence.check("it went on to its end", state.error.is_none(), &state)?;
    let log = result.stderr_text()?;
    evidence.check(&format!("its log says that {name} is missing"), log.contains(name), &log)
}

/// The API contract scan in `.agent-team/scan_report.json`, as often as it is there.
fn api_contract_scans(folder: &Path) -> Result<Vec<Value>, Failure> {
    let report: Value = serde_json::from_slice(&std::fs::read(folder.join(".agent-team/scan_report.json"))?)?;
    let scans = report["scans"].as_array().cloned().unwrap_or_default();
    let is_one =
        |scan: &Value| scan["name"].as_str().is_some_and(|name| name == "api_contract" || name == "API contract");
    Ok(scans.into_iter().filter(is_one).collect())
}

/// B2-07: without a Contract Engine the API contract scan is the builder's own, and what is
/// planted into the source is reported all the same.
#[apply(each_outage)]
#[tokio::test]
async fn b2_07_fallback_contract_engine(#[case] outage: Outage, builder: Builder, evidence: Evidence) -> Verdict {
    let hide_route = |folder: &Path| -> Verdict {
        let mut hits = 0;
        for path in tree::files(&folder.join("src"), "py")? {
            let text = std::fs::read_to_string(&path)?;
            hits += text.matches("\"/users/me\"").count();
            std::fs::write(&path, text.replace("\"/users/me\"", "\"/users/hidden\""))?;
        }
        evidence.check("the source has the route that is hidden", hits > 0, hits)
    };
    let result = run_without("contract_engine", outage, &builder, hide_route).await?;
    check_fallback(&evidence, &result, "Contract Engine")?;
    let scans = api_contract_scans(&result.output_dir)?;
    let sources: Vec<_> = scans.iter().map(|scan| scan["source"].clone()).collect();
    evidence.check_eq("the source of the API contract scan", sources, [json!("static")])?;
    let report = std::fs::read_to_string(result.output_dir.join(".agent-team/scan_report.json"))?;
    evidence.check("the hidden endpoint is reported", report.contains("GET /users/me"), &report)
}

/// B2-07, its twin: with a Contract Engine the API contract scan is the engine's.
#[rstest]
#[tokio::test]
async fn b2_07_contract_engine_judges_when_it_is_there(builder: Builder, evidence: Evidence) -> Verdict {
    let samples = builder.built_samples().await?;
    for index in 0..samples.results.len() {
        let scans = api_contract_scans(samples.tree(index)?)?;
        let sources: Vec<_> = scans.iter().map(|scan| scan["source"].clone()).collect();
        let name = &samples.results[index].service_id;
        evidence.check_eq(&format!("{name}: the source of the API contract scan"), sources, [json!("mcp")])?;
    }
    Ok(())
}

/// B2-08: without Codebase Intelligence the builder makes its own map of the code.
#[apply(each_outage)]
#[tokio::test]
async fn b2_08_fallback_codebase_intel(#[case] outage: Outage, builder: Builder, evidence: Evidence) -> Verdict {
    let add_file = |folder: &Path| -> Verdict {
        Ok(std::fs::write(folder.join("src/planted_module.py"), "def planted_function():\n    return 1\n")?)
    };
    let result = run_without("codebase_intelligence", outage, &builder, add_file).await?;
    check_fallback(&evidence, &result, "Codebase Intelligence")?;
    let map = std::fs::read_to_string(result.output_dir.join(".agent-team/CODEBASE_MAP.md"))
        .map_err(|error| Failure::fail(format!("there is no CODEBASE_MAP.md: {error}")))?;
    evidence.check("the map says that it is static", map.contains("source: static"), &map)?;
    evidence.check("the map lists the planted file", map.contains("src/planted_module.py"), &map)
}

/// B2-08, its twin: with Codebase Intelligence there is no static map; the code is registered.
#[rstest]
#[tokio::test]
async fn b2_08_code_is_registered_when_it_is_there(builder: Builder, evidence: Evidence) -> Verdict {
    let samples = builder.built_samples().await?;
    let folder = samples.tree(0)?;
    evidence.check("there is no static map", !folder.join(".agent-team/CODEBASE_MAP.md").exists(), folder)?;
    let state: Value = serde_json::from_slice(&std::fs::read(folder.join(".agent-team/STATE.json"))?)?;
    let registered = state["registered_artifacts"].as_array().map_or(0, Vec::len);
    evidence.check("its files are registered", registered > 0, &state["registered_artifacts"])
}

/// R4-M2-006: without an Architect a builder that has only the PRD decomposes it by itself.
#[rstest]
#[case::none_is_named(None)]
#[case::no_such_command(Some(Outage::NoSuchCommand))]
#[case::exits_at_once(Some(Outage::ExitsAtOnce))]
#[tokio::test]
async fn r4_m2_006_architect_unavailable(
    #[case] outage: Option<Outage>,
    builder: Builder,
    evidence: Evidence,
) -> Verdict {
    let service = &builder.sample_services().await?[0];
    let folder = builder.data().join(&service.name);
    let unavailable = outage.map(Outage::server).transpose()?;
    support::atomic::write(&folder.join("prd.md"), format!("Target service: {}\n\n{}", service.name, service.prd))?;
    support::atomic::write(&folder.join("config.yaml"), "depth: {default: quick}\n")?;
    let mut invocation = builder.invocation(&folder, Quick).await?;
    if let Some(server) = &unavailable {
        let argv = serde_json::to_string(&server.command.argv)?;
        invocation.command.env.insert("ARCHITECT_MCP_COMMAND".into(), argv);
    }
    let result = invoke(&invocation).await?;
    evidence.observe("result", &result)?;
    evidence.check("the service was built all the same", result.success, &result.error)?;
    let log = result.stderr_text()?;
    evidence.check("a warning names the Architect", log.contains("Architect"), &log)
}

/// The cases of this file are the rows of the table, in the list of all and in that of their
/// client: a row added there must be added here, and the reverse.
#[rstest]
fn every_case_is_in_the_table(client_methods: ClientMethods) {
    let source = std::fs::read_to_string(workspace::root().join(file!())).expect("this file is there");
    let named = |line: &str| {
        let (label, name) = line.strip_prefix("#[case::")?.strip_suffix("\")]")?.split_once("(\"")?;
        (label == name).then(|| name.to_owned())
    };
    let mut cases: Vec<_> = source.lines().filter_map(named).collect();
    let rows = client_methods.all().iter().map(|method| method.method.clone());
    let mut promised: Vec<_> = rows.clone().chain(rows).collect();
    cases.sort();
    promised.sort();
    assert_eq!(cases, promised);
    assert_eq!(client_methods.all().len(), 17);
}
