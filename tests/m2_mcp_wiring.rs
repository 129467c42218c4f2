//! Milestone 2: every MCP tool of Build 1 can be called, and a session survives what can
//! happen to it (plan R4-M2-001, 002, 004, 005, 007, 008; spec matrix.md, tools.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::{Duration, Instant},
};

use rstest::rstest;
use rstest_reuse::{apply, template};
use serde_json::{Value, json};
use support::{
    fixtures::{earns_no_pass, synthetic_tree},
    mcp::{Class, Condition, Kind, LatencyRecorder, RawSession, Tool, check_mcp_health, normalise},
    prelude::*,
    toolbox, workspace,
};

#[template]
#[rstest]
#[case::architect("architect")]
#[case::contract_engine("contract-engine")]
#[case::codebase_intelligence("codebase-intelligence")]
fn each_server(#[case] server: &str) {}

#[template]
#[rstest]
#[case::decompose("decompose")]
#[case::get_service_map("get_service_map")]
#[case::get_domain_model("get_domain_model")]
#[case::validate_spec("validate_spec")]
#[case::create_contract("create_contract")]
#[case::list_contracts("list_contracts")]
#[case::get_contracts_for_service("get_contracts_for_service")]
#[case::get_contract("get_contract")]
#[case::validate_endpoint("validate_endpoint")]
#[case::generate_tests("generate_tests")]
#[case::check_breaking_changes("check_breaking_changes")]
#[case::mark_implemented("mark_implemented")]
#[case::get_unimplemented_contracts("get_unimplemented_contracts")]
#[case::register_artifact("register_artifact")]
#[case::find_definition("find_definition")]
#[case::find_callers("find_callers")]
#[case::find_dependencies("find_dependencies")]
#[case::search_semantic("search_semantic")]
#[case::get_service_interface("get_service_interface")]
#[case::check_dead_code("check_dead_code")]
fn each_tool(#[case] tool: &str) {}

/// SC-07: a definition is found by file and line; an unknown symbol is null.
#[rstest]
#[tokio::test]
async fn sc_07_mcp_queries(mut build1: Build1, evidence: Evidence) -> Verdict {
    let tool = build1.toolset().tool("find_definition")?.clone();
    build1.prepare(&tool).await?;
    build1.judge(&tool, tool.case("user_class")?, &evidence).await?;
    build1.judge(&tool, tool.case("unknown_name")?, &evidence).await
}

/// B1-05: a contract's tests are Python that parses and names an operation of the contract;
/// of an unknown contract there are none.
#[rstest]
#[tokio::test]
async fn b1_05_contract_test_gen(mut build1: Build1, evidence: Evidence) -> Verdict {
    let tool = build1.toolset().tool("generate_tests")?.clone();
    build1.prepare(&tool).await?;
    let id = build1.variables().get("contract_id").cloned();
    let source = build1.call("generate_tests", json!({ "contract_id": id })).await?.value(Kind::String)?;
    let source = source.as_str().unwrap_or_default();
    let operation = ["loginUser", "/login"].iter().any(|name| source.contains(name));
    evidence.check("the tests name the login operation", operation, source)?;

    let file = build1.data().join("test_contract.py");
    std::fs::write(&file, source)?;
    let parser = toolbox::python().unwrap_or_else(|_| "python3".into());
    let parsed =
        Command::new(parser).args(["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"]).arg(file).output();
    match parsed {
        Ok(output) => evidence.check(
            "the tests parse as Python",
            output.status.success(),
            String::from_utf8_lossy(&output.stderr),
        )?,
        Err(error) => {
            evidence.observe("note", format!("judged by structure only, python3 cannot be started: {error}"))?;
            evidence.check("the tests define a test function", source.contains("def test_"), source)?;
        }
    }
    build1.judge(&tool, tool.case("unknown_id")?, &evidence).await
}

/// B1-06: 50,000 lines of code registered file by file are indexed in less than 60 s.
#[rstest]
#[tokio::test]
async fn b1_06_codebase_indexing_perf(mut build1: Build1, evidence: Evidence) -> Verdict {
    const FILES: usize = 250;
    let tree = synthetic_tree(&build1.data().join("tree"), FILES)?;
    let lines: usize = tree.iter().map(|(_, lines)| lines).sum();
    evidence.check("the tree has at least 50,000 lines", lines >= 50_000, lines)?;
    let session = build1.session("codebase-intelligence").await?;
    let begun = Instant::now();
    let mut symbols = 0;
    for (path, _) in &tree {
        let arguments = json!({ "file_path": path, "service_name": "synthetic" });
        let reply = session.call("register_artifact", arguments).await?.value(Kind::Object)?;
        symbols += reply["symbols_found"].as_u64().unwrap_or_default();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let colour = if seconds < 60.0 {
        "GREEN"
    } else if seconds <= 120.0 {
        "YELLOW"
    } else {
        "RED"
    };
    evidence
        .observe("indexing", json!({ "lines": lines, "symbols": symbols, "seconds": seconds, "colour": colour }))?;
    evidence.figure(&format!("{lines} lines indexed"), seconds, "s", "below 60 s")?;
    evidence.check("every function and class was found", symbols >= (FILES * 41) as u64, symbols)?;
    let last = session.call("find_definition", json!({ "symbol": format!("Worker{}", FILES - 1) })).await?;
    let last = normalise("find_definition", Kind::Nullable, last.value(Kind::Nullable))?.0;
    evidence.check("the last class can be found", last["line_start"].is_u64(), &last)?;
    evidence.check("it took less than 60 s", colour == "GREEN", seconds)
}

/// B1-07: every tool answers without error, in its schema, with the facts that were planted,
/// called with all arguments, with the required ones only, and about what does not exist.
#[apply(each_tool)]
#[tokio::test]
async fn b1_07_mcp_tool_responses(#[case] tool: &str, mut build1: Build1, evidence: Evidence) -> Verdict {
    let tool = build1.toolset().tool(tool)?.clone();
    build1.prepare(&tool).await?;
    for case in tool.cases.iter().filter(|case| case.condition != Condition::Invalid) {
        build1.judge(&tool, case, &evidence).await?;
    }
    build1.close().await;
    Ok(())
}

/// B1-07: the 20 tools answer one after the other on the same data, in the order of their use.
#[rstest]
#[tokio::test]
async fn b1_07_mcp_tool_responses_in_order(mut build1: Build1, evidence: Evidence) -> Verdict {
    let mut done = BTreeSet::new();
    for tool in build1.toolset().tools.clone() {
        for twin in &tool.twins {
            build1.twin(twin).await?;
        }
        for step in tool.after.iter().filter(|step| done.insert((*step).clone())) {
            build1.step(step).await?;
        }
        let reply = build1.arguments_of(tool.in_condition(Condition::Valid).next(), &tool.name)?;
        let value = normalise(&tool.name, tool.kind, build1.call(&tool.name, reply).await?.value(tool.kind));
        evidence.check_ok(&format!("{} answers", tool.name), value)?;
    }
    Ok(())
}

/// B1-07, its twin: servers that say nothing, say yes to everything, give everything back or
/// answer `{}` do not earn a single pass in this whole binary.
#[rstest]
#[case::null("null")]
#[case::yes("yes")]
#[case::echo("echo")]
#[case::objects("objects")]
fn b1_07_bad_servers_earn_no_pass(#[case] system: &str, evidence: Evidence) -> Verdict {
    let manifest = workspace::fixture(format!("sut/{system}.toml"));
    let limits = ["RUN4_MCP_STARTUP_TIMEOUT_MS", "RUN4_MCP_FIRST_START_TIMEOUT_MS", "RUN4_MCP_TOOL_TIMEOUT_MS"];
    earns_no_pass(&evidence, &manifest, &["bad_servers"], &limits.map(|name| (name, "500")), 60)
}

/// B1-08: planted unused code is named with high confidence; entry points and what is used
/// are not.
#[rstest]
#[tokio::test]
async fn b1_08_dead_code_detection(mut build1: Build1, evidence: Evidence) -> Verdict {
    let tool = build1.toolset().tool("check_dead_code")?.clone();
    build1.prepare(&tool).await?;
    let planted = json!([{ "symbol_name": "_never_called", "confidence": "high" }]);
    let dead = build1.call("check_dead_code", json!({})).await?.value(Kind::List)?;
    let fact = support::mcp::Fact::Shows(planted);
    evidence.check("the planted function is listed with high confidence", fact.holds(&dead), &dead)?;
    for case in tool.in_condition(Condition::Valid).chain(tool.in_condition(Condition::RequiredOnly)) {
        build1.judge(&tool, case, &evidence).await?;
    }
    Ok(())
}

/// The handshake of one server: it offers tools under its own name.
async fn handshake(server: &str, mut build1: Build1, evidence: Evidence) -> Verdict {
    let title = build1.toolset().server(server)?.title.clone();
    let identity = build1.session(server).await?.identity();
    evidence.observe("identity", &identity)?;
    evidence.check("capabilities include tools", identity.capabilities["tools"].is_object(), &identity.capabilities)?;
    evidence.check_eq("serverInfo.name", identity.name, title)
}

/// B1-09: the Architect shakes hands and offers tools.
#[rstest]
#[tokio::test]
async fn b1_09_mcp_handshake_architect(build1: Build1, evidence: Evidence) -> Verdict {
    handshake("architect", build1, evidence).await
}

/// B1-10: the Contract Engine shakes hands and offers tools.
#[rstest]
#[tokio::test]
async fn b1_10_mcp_handshake_contract(build1: Build1, evidence: Evidence) -> Verdict {
    handshake("contract-engine", build1, evidence).await
}

/// B1-11: Codebase Intelligence shakes hands and offers tools.
#[rstest]
#[tokio::test]
async fn b1_11_mcp_handshake_codebase(build1: Build1, evidence: Evidence) -> Verdict {
    handshake("codebase-intelligence", build1, evidence).await
}

/// The tools of one server are exactly the promised ones.
async fn tool_names(server: &str, build1: &mut Build1, evidence: &Evidence) -> Result<BTreeSet<String>, Failure> {
    let promised: BTreeSet<_> = build1.toolset().tools_of(server).map(|tool| tool.name.clone()).collect();
    let listed: Vec<_> =
        build1.session(server).await?.list_tools().await?.into_iter().map(|tool| tool.name.into_owned()).collect();
    let names: BTreeSet<_> = listed.iter().cloned().collect();
    evidence.check_eq("missing tools", promised.difference(&names).collect::<Vec<_>>(), Vec::<&String>::new())?;
    evidence.check_eq("surplus tools", names.difference(&promised).collect::<Vec<_>>(), Vec::<&String>::new())?;
    evidence.check_eq("the number of tools", listed.len(), promised.len())?;
    Ok(names)
}

/// B1-12: the Architect has exactly its 4 tools.
#[rstest]
#[tokio::test]
async fn b1_12_tool_count_architect(mut build1: Build1, evidence: Evidence) -> Verdict {
    let names = tool_names("architect", &mut build1, &evidence).await?;
    evidence.check_eq("tools of the Architect", names.len(), 4)
}

/// B1-13: the Contract Engine has exactly its 9 tools.
#[rstest]
#[tokio::test]
async fn b1_13_tool_count_contract(mut build1: Build1, evidence: Evidence) -> Verdict {
    let names = tool_names("contract-engine", &mut build1, &evidence).await?;
    evidence.check_eq("tools of the Contract Engine", names.len(), 9)
}

/// B1-14: Codebase Intelligence has exactly its 7 tools, and no name occurs twice among the 20.
#[rstest]
#[tokio::test]
async fn b1_14_tool_count_codebase(mut build1: Build1, evidence: Evidence) -> Verdict {
    let mut all = tool_names("codebase-intelligence", &mut build1, &evidence).await?;
    evidence.check_eq("tools of Codebase Intelligence", all.len(), 7)?;
    for server in ["architect", "contract-engine"] {
        all.extend(tool_names(server, &mut build1, &evidence).await?);
    }
    evidence.check_eq("unique names over all three servers", all.len(), 20)
}

/// B1-15: invalid input gives `isError` with a text, and the session answers a valid call next.
#[apply(each_tool)]
#[tokio::test]
async fn b1_15_invalid_tool_input(#[case] tool: &str, mut build1: Build1, evidence: Evidence) -> Verdict {
    let tool = build1.toolset().tool(tool)?.clone();
    build1.prepare(&tool).await?;
    let invalid: Vec<_> = tool.in_condition(Condition::Invalid).cloned().collect();
    // Two tools take no arguments, so that there is nothing invalid to send (tools.md §7).
    if invalid.is_empty() {
        return untyped_arguments_are_ignored(&tool, &mut build1, &evidence).await;
    }
    for case in &invalid {
        build1.judge(&tool, case, &evidence).await?;
        let arguments = build1.arguments_of(tool.in_condition(Condition::RequiredOnly).next(), &tool.name)?;
        let next = build1.call(&tool.name, arguments).await?;
        let next = normalise(&tool.name, tool.kind, next.value(tool.kind));
        evidence.check_ok(&format!("a valid call after {}", case.name), next)?;
    }
    Ok(())
}

async fn untyped_arguments_are_ignored(tool: &Tool, build1: &mut Build1, evidence: &Evidence) -> Verdict {
    evidence.check("the tool takes no arguments", !tool.parameters, &tool.name)?;
    let with_surplus = build1.call(&tool.name, json!({ "surplus": [1] })).await?;
    let with_surplus = normalise(&tool.name, tool.kind, with_surplus.value(tool.kind))?.0;
    let without = build1.call(&tool.name, json!({})).await?;
    let without = normalise(&tool.name, tool.kind, without.value(tool.kind))?.0;
    evidence.check_eq("a surplus argument changes nothing", with_surplus, without)?;
    let valid = tool.in_condition(Condition::Valid).next().ok_or_else(|| Failure::broken("no valid case"))?;
    build1.judge(tool, valid, evidence).await
}

/// B1-16: an unknown tool gives an error, and the session stays usable.
#[apply(each_server)]
#[tokio::test]
async fn b1_16_nonexistent_tool(#[case] server: &str, mut build1: Build1, evidence: Evidence) -> Verdict {
    let promised = build1.toolset().tools_of(server).count();
    let session = build1.session(server).await?;
    let refused = match session.call("no_such_tool", json!({})).await {
        Ok(reply) => reply.error_text(),
        Err(error) if error.class() == Class::Protocol => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    evidence.check("an unknown tool is refused", refused.as_ref().is_some_and(|text| !text.is_empty()), &refused)?;
    evidence.check_eq("the session still lists its tools", session.list_tools().await?.len(), promised)
}

/// B1-17: a killed server is noticed at the next call, and a new session has all earlier data.
#[rstest]
#[tokio::test]
async fn b1_17_server_crash_recovery(mut build1: Build1, evidence: Evidence) -> Verdict {
    build1.step("contracts").await?;
    let id = build1.variables().get("contract_id").cloned();
    let mut session =
        build1.take_session("contract-engine").ok_or_else(|| Failure::broken("the step opened no session"))?;
    let before = session.call("get_contract", json!({ "contract_id": id })).await?.value(Kind::Nullable)?;

    session.kill().await;
    let noticed = Instant::now();
    let lost = session.call("get_contract", json!({ "contract_id": id })).await.map(|reply| reply.envelope());
    let class = lost.as_ref().err().map(support::mcp::McpError::class);
    evidence.check(
        "the next call says that the server is gone",
        class == Some(Class::Connection),
        format!("{lost:?}"),
    )?;
    evidence.check(
        "it says so at once",
        noticed.elapsed() < Duration::from_secs(2),
        noticed.elapsed().as_secs_f64(),
    )?;

    let session = session.reopen().await?;
    let after = session.call("get_contract", json!({ "contract_id": id })).await?.value(Kind::Nullable)?;
    evidence.check("the contract was there before", before.is_object(), &before)?;
    evidence.check_eq("nothing was lost", after, before)
}

/// B1-17: a server killed in the middle of a call leaves the call either done or not done,
/// never half done, and loses nothing that came before.
#[rstest]
#[tokio::test]
async fn b1_17_server_crash_recovery_mid_call(mut build1: Build1, evidence: Evidence) -> Verdict {
    build1.step("contracts").await?;
    let spec = build1.variables().get("openapi_order").cloned().unwrap_or_default();
    let create = |name: &str| json!({ "service_name": name, "type": "openapi", "version": "1.0.0", "spec": spec });
    let session =
        build1.take_session("contract-engine").ok_or_else(|| Failure::broken("the step opened no session"))?;
    // The kills are spread over the time that the first create of a server takes, and beyond it.
    let mut session = session.reopen().await?;
    let whole = session.call("create_contract", create("undisturbed")).await?.elapsed();
    let mut outcomes = BTreeMap::<&str, u32>::new();
    for round in 0..12 {
        session = session.reopen().await?;
        let name = format!("killed-{round}");
        let group = session.process().id();
        let kill = async {
            tokio::time::sleep(whole * round / 8).await;
            support::sut::kill_group(group);
        };
        let (outcome, ()) = tokio::join!(session.call("create_contract", create(&name)), kill);
        let confirmed = outcome.is_ok_and(|reply| reply.error_text().is_none());
        session = session.reopen().await?;
        let found = session.call("list_contracts", json!({ "service_name": name })).await?.value(Kind::Object)?;
        let outcome = match (confirmed, found["total"].as_u64()) {
            (true, Some(1)) => "confirmed and done",
            (false, Some(1)) => "done, not confirmed",
            (false, Some(0)) => "not done",
            _ => "lost, or done twice",
        };
        evidence.check("a killed create is done once or not at all", outcome != "lost, or done twice", &found)?;
        if outcome != "not done" {
            evidence.check_eq("the contract is whole", &found["items"][0]["spec"], &spec)?;
        }
        *outcomes.entry(outcome).or_default() += 1;
    }
    evidence.observe("outcomes", &outcomes)?;
    let all = session.call("list_contracts", json!({ "service_name": "auth-service" })).await?.value(Kind::Object)?;
    evidence.check_eq("the contract from before is there", &all["total"], &json!(1))
}

/// B1-18: three servers at once answer interleaved calls without an error or a lock.
#[rstest]
#[tokio::test]
async fn b1_18_multi_server_simultaneous(build1: Build1, evidence: Evidence) -> Verdict {
    let (architect, contracts, code) = tokio::try_join!(
        build1.open("architect"),
        build1.open("contract-engine"),
        build1.open("codebase-intelligence")
    )?;
    let fixture = |name: &str| build1.variables().get(name).cloned().unwrap_or_default();
    let (prd, spec, tree) = (fixture("sample_prd"), fixture("openapi_auth"), fixture("tree"));
    let file = format!("{}/src/models/user.py", tree.as_str().unwrap_or_default());
    for round in 0..10 {
        let service = format!("service-{round}");
        let (map, contract, symbols) = tokio::try_join!(
            architect.call("decompose", json!({ "prd_text": prd })),
            contracts.call(
                "create_contract",
                json!({ "service_name": service, "type": "openapi", "version": "1.0.0", "spec": spec })
            ),
            code.call("register_artifact", json!({ "file_path": file, "service_name": service })),
        )?;
        let (map, contract, symbols) =
            (map.value(Kind::Object)?, contract.value(Kind::Object)?, symbols.value(Kind::Object)?);
        evidence.check(
            "three services",
            map["service_map"]["services"].as_array().is_some_and(|list| list.len() == 3),
            &map["service_map"]["services"],
        )?;
        evidence.check("a contract", contract["id"].is_string(), &contract)?;
        evidence.check("indexed symbols", symbols["indexed"] == true, &symbols)?;
    }
    let second = build1.open("contract-engine").await?;
    let list = json!({ "page_size": 100 });
    let (one, two) =
        tokio::try_join!(contracts.call("list_contracts", list.clone()), second.call("list_contracts", list))?;
    let (one, two) = (one.value(Kind::Object)?, two.value(Kind::Object)?);
    evidence.check_eq("all ten contracts", &one["total"], &json!(10))?;
    evidence.check_eq("a second session on the same data sees the same", one, two)
}

/// B1-19: contracts registered by the Architect come back by service name with role and
/// counterparty; when the Contract Engine is down the error names its address.
#[rstest]
#[tokio::test]
async fn b1_19_architect_cross_ref(mut build1: Build1, evidence: Evidence) -> Verdict {
    let engine = build1.twin("contract_engine_http").await?.url().to_owned();
    let architect = build1.twin("architect_http").await?.url().to_owned();
    let prd = build1.variables().get("sample_prd").cloned();
    let posted = reqwest::Client::new()
        .post(format!("{architect}/api/decompose"))
        .json(&json!({ "prd_text": prd }))
        .send()
        .await;
    let posted = evidence.check_ok("POST /api/decompose answers", posted)?;
    evidence.check_eq("its status", posted.status().as_u16(), 201)?;

    let query = json!({ "service_name": "auth-service" });
    let contracts = build1.call("get_contracts_for_service", query.clone()).await?.value(Kind::List)?;
    let contracts = contracts.as_array().cloned().unwrap_or_default();
    evidence.check(
        "auth-service provides a contract",
        contracts.iter().any(|contract| contract["role"] == "provider"),
        &contracts,
    )?;
    evidence.check(
        "each has role and counterparty",
        contracts.iter().all(|contract| contract["role"].is_string() && contract["counterparty"].is_string()),
        &contracts,
    )?;

    if let Some(twin) = build1.take_twin("contract_engine_http") {
        twin.stop().await;
    }
    let refused = build1.call("get_contracts_for_service", query).await?.error_text().unwrap_or_default();
    evidence.check("an outage is an error that names the address", refused.contains(&engine), refused)
}

/// R4-M2-004: ten calls one after the other on one session all succeed, and it closes cleanly.
#[apply(each_server)]
#[tokio::test]
async fn r4_m2_004_ten_sequential_calls(#[case] server: &str, mut build1: Build1, evidence: Evidence) -> Verdict {
    let tool =
        build1.toolset().tools_of(server).next().cloned().ok_or_else(|| Failure::broken("a server without tools"))?;
    build1.prepare(&tool).await?;
    let case = tool
        .in_condition(Condition::Valid)
        .next()
        .cloned()
        .ok_or_else(|| Failure::broken("a tool without a valid case"))?;
    for _ in 0..10 {
        build1.judge(&tool, &case, &evidence).await?;
    }
    let session = build1.take_session(server).ok_or_else(|| Failure::broken("no session"))?;
    // What is not JSON on its stdout breaks no promise, but the report's reader should know.
    evidence.observe("noise", session.noise())?;
    let status = session.close().await;
    evidence.check(
        "the server ends with success when its input ends",
        status.is_some_and(|status| status.success()),
        format!("{status:?}"),
    )
}

/// R4-M2-004: a call that takes too long is a time-out, and the session goes on after it.
#[rstest]
#[tokio::test]
async fn r4_m2_004_slow_call_times_out(mut build1: Build1, evidence: Evidence) -> Verdict {
    let prd = build1.variables().get("sample_prd").and_then(Value::as_str).unwrap_or_default().to_owned();
    let long = prd.repeat(1_000_000 / prd.len());
    let session = build1.session("architect").await?;
    let limit = Duration::from_millis(1);
    let slow = session.call_within(limit, "decompose", json!({ "prd_text": long })).await;
    let class = slow.as_ref().err().map(support::mcp::McpError::class);
    evidence.check(
        "a call over its limit is a time-out",
        class == Some(Class::Timeout),
        format!("{:?}", slow.map(|reply| reply.elapsed())),
    )?;
    let next = session.call("decompose", json!({ "prd_text": prd })).await?.value(Kind::Object)?;
    evidence.check("the next call is answered", next["service_map"]["services"].is_array(), &next["service_map"])
}

/// R4-M2-004: a new session has the whole data of the one before.
#[rstest]
#[tokio::test]
async fn r4_m2_004_reopened_session_sees_data(mut build1: Build1, evidence: Evidence) -> Verdict {
    for (step, server, tool, arguments) in [
        ("decompose", "architect", "get_service_map", json!({})),
        ("contracts", "contract-engine", "list_contracts", json!({})),
        ("tree", "codebase-intelligence", "find_definition", json!({ "symbol": "User" })),
    ] {
        build1.step(step).await?;
        let session = build1.take_session(server).ok_or_else(|| Failure::broken("no session"))?;
        let before = session.call(tool, arguments.clone()).await?.value(Kind::Nullable)?;
        let session = session.reopen().await?;
        let after = session.call(tool, arguments).await?.value(Kind::Nullable)?;
        evidence.check(&format!("{tool} had something to say"), before.is_object(), &before)?;
        evidence.check_eq(&format!("{tool} says the same in a new session"), after, before)?;
    }
    Ok(())
}

/// R4-M2-005: a line that is no JSON is survived, and text where an object belongs is refused.
#[apply(each_server)]
#[tokio::test]
async fn r4_m2_005_malformed_json(#[case] server: &str, build1: Build1, evidence: Evidence) -> Verdict {
    let promised = build1.toolset().tools_of(server).count();
    let limits = build1.limits(server);
    let mut session = RawSession::open(&build1.command(server)?, build1.logs(), limits.start.min(limits.call)).await?;
    session.send_line("this is not JSON {").await?;
    let listed = session.request("tools/list", json!({})).await?;
    let count = listed["result"]["tools"].as_array().map(Vec::len);
    evidence.check_eq("the next request is answered", count, Some(promised))?;
    let tool = build1.toolset().tools_of(server).next().map(|tool| tool.name.clone());
    let refused = session.request("tools/call", json!({ "name": tool, "arguments": "{not an object" })).await?;
    let said = refused["error"].is_object() || refused["result"]["isError"] == true;
    evidence.check("text where an object belongs is refused", said, &refused)?;
    let listed = session.request("tools/list", json!({})).await?;
    evidence.check("the session is still usable", listed["result"]["tools"].is_array(), &listed)
}

/// R4-M2-005: a server that ends with an error is noticed, and its last words are shown.
#[rstest]
#[tokio::test]
async fn r4_m2_005_nonzero_exit_is_logged(build1: Build1, evidence: Evidence) -> Verdict {
    let mut command = build1.command("contract-engine")?;
    let file = build1.data().join("a-file");
    std::fs::write(&file, "not a folder")?;
    command.env.insert("DATABASE_PATH".into(), file.join("contracts.db").display().to_string());
    let refused = support::mcp::Session::open(&command, build1.logs(), build1.limits("contract-engine")).await;
    let error = match refused {
        Ok(_) => return evidence.check("a server that cannot open its data does not start", false, "it started"),
        Err(error) => error,
    };
    evidence.check("the end is noticed as a lost connection", error.class() == Class::Connection, error.to_string())?;
    let mut process = support::sut::Process::spawn(&command, build1.logs(), false).map_err(Failure::broken)?;
    let status = process.wait().await?;
    evidence.check("the exit code is not zero", status.code().is_some_and(|code| code != 0), status.to_string())?;
    evidence.check("the log says why", !process.log_tail().is_empty(), process.log_tail())
}

/// R4-M2-007: every tool answers within 5 s and every server starts within its limit; the
/// figures are kept.
#[rstest]
#[tokio::test]
async fn r4_m2_007_latency(mut build1: Build1, evidence: Evidence) -> Verdict {
    const CALLS: usize = 30;
    const WARM_UP: usize = 3;
    let (mut latency, mut start_up, mut health) =
        (LatencyRecorder::default(), LatencyRecorder::default(), BTreeMap::new());
    for server in build1.toolset().servers.clone() {
        let result =
            check_mcp_health(&build1.command(&server.key)?, build1.logs(), build1.limits(&server.key).start).await;
        evidence.check(&format!("{} is healthy", server.key), result.error.is_empty(), &result)?;
        health.insert(server.key.clone(), result);
        for _ in 0..5 {
            let session = build1.open(&server.key).await?;
            start_up.record(&server.key, session.start_up());
            session.close().await;
        }
    }
    build1.twin("contract_engine_http").await?;
    for step in ["decompose", "contracts", "tree"] {
        build1.step(step).await?;
    }
    for tool in build1.toolset().tools.clone() {
        let arguments =
            build1.arguments_of(tool.in_condition(Condition::RequiredOnly).chain(&tool.cases).next(), &tool.name)?;
        for round in 0..CALLS + WARM_UP {
            let reply = build1.call(&tool.name, arguments.clone()).await?;
            if round >= WARM_UP {
                latency.record(&tool.name, reply.elapsed());
            }
            normalise(&tool.name, tool.kind, reply.value(tool.kind))?;
        }
    }
    let (latency, start_up) = (latency.summary(), start_up.summary());
    evidence.observe("latency", &latency)?;
    evidence.observe("start_up", &start_up)?;
    evidence.observe("mcp_health", &health)?;
    evidence.check_eq("tools measured", latency.len(), 20)?;
    for (tool, figures) in &latency {
        evidence.check(&format!("{tool} answers within 5 s"), figures.max_ms < 5000.0, figures)?;
    }
    for (server, figures) in &start_up {
        evidence.check(&format!("{server} starts within 30 s"), figures.max_ms < 30_000.0, figures)?;
    }
    Ok(())
}

/// R4-M2-008: what is written over MCP is read over HTTP, and the reverse.
#[rstest]
#[tokio::test]
async fn r4_m2_008_twins_share_their_data(mut build1: Build1, evidence: Evidence) -> Verdict {
    let client = reqwest::Client::new();
    let engine = build1.twin("contract_engine_http").await?.url().to_owned();
    build1.step("contracts").await?;
    let id = build1.variables().get("contract_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let over_mcp = build1.call("get_contract", json!({ "contract_id": id })).await?.value(Kind::Nullable)?;
    let over_http = evidence
        .check_ok("GET /api/contracts/{id}", client.get(format!("{engine}/api/contracts/{id}")).send().await)?;
    let over_http: Value = evidence.check_ok("its body is JSON", over_http.json().await)?;
    evidence.check_eq("a contract created over MCP is the same over HTTP", over_http, over_mcp)?;

    let spec = build1.variables().get("openapi_order").cloned();
    let new = json!({ "service_name": "over-http", "type": "openapi", "version": "2.0.0", "spec": spec });
    let created = evidence
        .check_ok("POST /api/contracts", client.post(format!("{engine}/api/contracts")).json(&new).send().await)?;
    let created: Value = evidence.check_ok("its body is JSON", created.json().await)?;
    let over_mcp = build1.call("get_contract", json!({ "contract_id": created["id"] })).await?.value(Kind::Nullable)?;
    evidence.check_eq("a contract created over HTTP is the same over MCP", over_mcp, created)?;

    let code = build1.twin("codebase_intelligence_http").await?.url().to_owned();
    build1.step("tree").await?;
    let symbols =
        evidence.check_ok("GET /api/symbols", client.get(format!("{code}/api/symbols?name=User")).send().await)?;
    let symbols: Value = evidence.check_ok("its body is JSON", symbols.json().await)?;
    let listed = symbols.get("items").unwrap_or(&symbols).as_array().cloned().unwrap_or_default();
    evidence.check(
        "a class indexed over MCP is listed over HTTP",
        listed.iter().any(|symbol| symbol["symbol_name"] == "User"),
        &symbols,
    )
}

/// The cases of this file are the rows of the table: a tool added there must be added here.
#[rstest]
fn every_case_is_in_the_table(toolset: support::mcp::Toolset) {
    let source = std::fs::read_to_string(workspace::root().join(file!())).expect("this file is there");
    for tool in &toolset.tools {
        assert!(source.contains(&format!("#[case::{0}(\"{0}\")]", tool.name)), "{} has no case here", tool.name);
    }
    assert_eq!(toolset.tools.len(), 20);
}
