//! Milestone 4, deployment: who is healthy, and what the compose files say (spec topology.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{
    audit::{Counted, Input},
    config::{Run4Config, Substrate},
    fixtures::{NestedRun, is_victim, wait_as_victim},
    pipeline::workspace::blank_state,
    prelude::*,
    stack::{
        compose::{Compose, ComposeError, GENERATED_POSITION, STATIC_FILES, TEST_OVERLAY},
        docker::{Container, OwnDatabase, Project},
        health::{HealthAggregate, poll_until_healthy},
        servers::{segment_exists, segments_below},
    },
    sut::{Build, Place, Process, Profile},
    workspace,
};

/// The servers of Build 1 by the key of their HTTP twin, and how their health calls them.
const TWINS: [(&str, &str); 3] = [
    ("architect_http", "architect"),
    ("contract_engine_http", "contract-engine"),
    ("codebase_intelligence_http", "codebase-intelligence"),
];

/// The services of the sample PRD.
const GENERATED: [&str; 3] = ["auth-service", "notification-service", "order-service"];

/// The pause between two looks at a service on this machine.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long one look at a server that may be ill takes at most.
const LOOK: Duration = Duration::from_millis(500);

/// B1-02: each server of Build 1 says that it is healthy, and its own name; with a database where
/// none can be, none says so.
#[rstest]
#[tokio::test]
async fn b1_02_build1_health(mut build1: Build1, evidence: Evidence) -> Verdict {
    for (key, name) in TWINS {
        let mut command = build1.command(key)?;
        command.env.insert("DATABASE_PATH".into(), "/proc/no/such/folder.db".into());
        let url = command.ready.clone().ok_or_else(|| Failure::untestable(format!("commands.{key}.ready")))?;
        let mut lame = Process::spawn(&command, build1.logs(), false).map_err(Failure::fail)?;
        let urls = BTreeMap::from([(name.to_owned(), url)]);
        let limit = Instant::now() + Duration::from_secs(10);
        // It may need a while to say anything, or to give up.
        let seen = loop {
            let seen = poll_until_healthy(&urls, LOOK, INTERVAL, 1).await;
            if seen[name].status_code.is_some() || lame.exited().is_some() || Instant::now() > limit {
                break seen;
            }
        };
        let ended = lame.exited().map(|status| status.to_string());
        lame.kill().await;
        let told = json!({ "answer": seen[name], "ended": ended });
        evidence.check(&format!("{name}: it is not healthy without a database"), !seen[name].healthy, &told)?;
        evidence.check(
            &format!("{name}: it says so, or ends"),
            seen[name].status_code.is_some() || ended.is_some(),
            told,
        )?;

        let health = format!("{}/api/health", build1.twin(key).await?.url());
        let answer = reqwest::get(&health).await.map_err(Failure::fail)?;
        evidence.check_eq(&format!("{name}: HTTP status"), answer.status().as_u16(), 200)?;
        let body: Value = answer.json().await.map_err(Failure::fail)?;
        evidence.check_eq(&format!("{name}: status"), &body["status"], &json!("healthy"))?;
        evidence.check_eq(&format!("{name}: service_name"), &body["service_name"], &json!(name))?;
    }
    Ok(())
}

/// SC-03: the three generated services and the three servers of Build 1 are healthy twice in a row;
/// with one more that is stopped they are not, and it is named.
#[rstest]
#[tokio::test]
async fn sc_03_health_checks(pipeline_run: PipelineRun, mut build1: Build1, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let twins = run.twins.iter().map(|(section, url)| (section.replace('_', "-"), format!("{url}/api/health")));
    let services = run.address()?.services;
    let services = services.into_iter().map(|(name, url)| (name, format!("{url}/health")));
    let urls: BTreeMap<_, _> = services.chain(twins).collect();
    let names: BTreeSet<_> = urls.keys().map(String::as_str).collect();
    let expected = TWINS.map(|(_, name)| name).into_iter().chain(GENERATED).collect();
    evidence.check_eq("the services", names, expected)?;
    let settings = pipeline_run.settings();
    let required = settings.required_consecutive_healthy.max(2);
    let limit = settings.health_check_timeout();
    let aggregate = HealthAggregate::from(poll_until_healthy(&urls, limit, INTERVAL, required).await);
    evidence.check("all are healthy, twice in a row", aggregate.all_healthy, &aggregate)?;
    for (name, url) in &urls {
        let answer = reqwest::get(url).await.map_err(Failure::fail)?;
        evidence.check_eq(&format!("{name}: HTTP status"), answer.status().as_u16(), 200)?;
        let body: Value = answer.json().await.map_err(Failure::fail)?;
        evidence.check_eq(&format!("{name}: status"), &body["status"], &json!("healthy"))?;
    }

    let mut more = urls;
    more.insert("mortal".into(), format!("{}/api/health", build1.twin("contract_engine_http").await?.url()));
    let before = HealthAggregate::from(poll_until_healthy(&more, limit, INTERVAL, required).await);
    evidence.check("all are healthy with one more", before.all_healthy, &before)?;
    if let Some(mortal) = build1.take_twin("contract_engine_http") {
        mortal.stop().await;
    }
    // As long as two rounds need: nobody becomes healthy by waiting longer.
    let after = HealthAggregate::from(poll_until_healthy(&more, Duration::from_secs(1), INTERVAL, required).await);
    evidence.check("a stopped service turns the aggregate false", !after.all_healthy, &after)?;
    let ill: Vec<_> = after.results.values().filter(|result| !result.healthy).map(|result| &result.service).collect();
    evidence.check_eq("it is the one that was stopped", ill, vec!["mortal"])
}

/// B3-02: all three services were deployed and found healthy, and the suite's own polling agrees.
#[rstest]
#[tokio::test]
async fn b3_02_deploy_and_health(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let report = run.workspace().json("INTEGRATION_REPORT.json")?;
    let counts = [&report["services_deployed"], &report["services_healthy"]];
    evidence.check_eq("services deployed, and healthy", counts, [&json!(3), &json!(3)])?;
    let state = run.workspace().state()?;
    let deployed: BTreeSet<_> =
        state["services_deployed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let expected = BTreeSet::from(["auth-service", "notification-service", "order-service"]);
    evidence.check_eq("services_deployed of the state", &deployed, &expected)?;
    let address = run.address()?;
    let urls: BTreeMap<_, _> =
        address.services.iter().map(|(name, url)| (name.clone(), format!("{url}/health"))).collect();
    let polled = poll_until_healthy(&urls, pipeline_run.settings().health_check_timeout(), INTERVAL, 2).await;
    evidence.observe("polled", &polled)?;
    let healthy = polled.values().filter(|result| result.healthy).count();
    evidence.check_eq("healthy by the suite's own polling", &json!(healthy), &report["services_healthy"])?;
    let servers = [
        ("postgresql", &state["phase_artifacts"]["integrating"]["database_url"]),
        ("redis", &json!(address.event_bus)),
    ];
    for (name, url) in servers {
        let scheme = url.as_str().and_then(|url| url.split_once("://")).map(|(scheme, _)| scheme);
        evidence.check_eq(&format!("{name}: the scheme of its address"), scheme, Some(name))?;
    }
    Ok(())
}

/// B3-06: the generated file has an entry for each successful builder and no other; merged with the
/// static files it is a sound model; without a successful build there is no file and a clear error.
#[rstest]
#[tokio::test]
async fn b3_06_compose_generation(orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    let results = [result(&orchestrator, "late-service", false)];
    prepare(&orchestrator, &results)?;
    let refused = orchestrator.run(&["integrate", "--generate-only"]).await?;
    evidence.check("without a successful build it fails", refused.code.is_some_and(|code| code != 0), &refused)?;
    let named = ["no compose file", "no service was built successfully", "late-service: no tests"];
    evidence.check("it says why", named.iter().all(|part| refused.stderr.contains(part)), &refused.stderr)?;
    evidence.check("there is no file", !orchestrator.workspace().compose_file().exists(), ())?;

    let built = ["auth-service", "order-service"];
    generate(&orchestrator, &built, &evidence).await?;
    let file = orchestrator.workspace().compose_file();
    let generated = evidence.check_ok("it is YAML", Compose::read(&[&file]))?;
    let names: BTreeSet<_> = generated.services().into_iter().filter(|name| *name != "traefik").collect();
    evidence.check_eq("one entry for each successful builder", &names, &BTreeSet::from(built))?;

    let merged = evidence.check_ok("the files merge", merged(&file, None))?;
    evidence.check_eq("problems of the merged model", merged.problems(), Vec::<String>::new())?;
    evidence.check_eq("secrets written into it", merged.literal_secrets(), Vec::<String>::new())?;
    let expected = ["architect", "codebase-intelligence", "contract-engine", "postgres", "redis", "traefik"];
    let expected: BTreeSet<_> = expected.into_iter().chain(built).collect();
    evidence.check_eq("the services of the merged model", merged.services(), expected)?;
    for name in built {
        entry_is_as_the_topology_says(&merged, name, &evidence)?;
    }
    let waits = waits_for_health(&merged.service("traefik")["depends_on"]);
    evidence.check("the gateway waits for them", built.iter().all(|name| waits.contains(*name)), &waits)?;
    check_with_docker(&file, &evidence)
}

/// X-08: the merged model has exactly the networks of the topology, with run4 and with test as the
/// last file; a database on the network of the gateway is seen.
#[rstest]
#[tokio::test]
async fn x_08_docker_compose_merge(
    orchestrator: Orchestrator,
    pipeline_run: PipelineRun,
    evidence: Evidence,
) -> Verdict {
    let built = ["auth-service", "notification-service", "order-service"];
    generate(&orchestrator, &built, &evidence).await?;
    let file = orchestrator.workspace().compose_file();
    let expected = expected_members(&built);
    for last in [None, Some(TEST_OVERLAY)] {
        let label = last.unwrap_or("docker-compose.run4.yml");
        let merged = evidence.check_ok(&format!("{label}: the files merge"), merged(&file, last))?;
        evidence.check_eq(&format!("{label}: problems"), merged.problems(), Vec::<String>::new())?;
        evidence.check_eq(&format!("{label}: members of the networks"), &merged.members(), &expected)?;
        networks_are_as_the_topology_says(&merged, label, &evidence)?;
        ports_are_as_the_topology_says(&merged, last.is_some(), &evidence)?;
    }
    let plant = "services: { postgres: { networks: [frontend] } }\n";
    let planted = evidence
        .check_ok("the plant merges", merged(&file, None).and_then(|merged| merged.with("plant.yml", plant)))?;
    evidence.check("a database on the gateway's network is seen", planted.members() != expected, planted.members())?;
    let strangers: BTreeSet<_> = planted.members()["frontend"].difference(&expected["frontend"]).copied().collect();
    evidence.check_eq("it is named", strangers, BTreeSet::from(["postgres"]))?;
    match pipeline_run.settings().substrate {
        Substrate::Process => evidence.observe("docker_network_inspect", "not run: it needs containers"),
        Substrate::Docker => live_networks_are_as_the_topology_says(&pipeline_run, &expected, &evidence).await,
    }
}

/// The same of the networks that the engine made: members, whether a way leads out, and whether
/// what is on the internal one alone has one.
async fn live_networks_are_as_the_topology_says(
    pipeline_run: &PipelineRun,
    expected: &BTreeMap<&str, BTreeSet<&str>>,
    evidence: &Evidence,
) -> Verdict {
    let run = pipeline_run.finished().await?;
    let project = run.project()?;
    let _lock = project.lock(false).await?;
    let containers = project.containers().await?;
    for (name, members) in expected {
        let network = project.network(name).await?;
        evidence.append("docker_network_inspect", &network)?;
        let ids = network["Containers"].as_object().into_iter().flatten().map(|(id, _)| id.as_str());
        let service = |id: &str| containers.values().find(|it| id.starts_with(&it.id)).map(|it| it.service.as_str());
        let found: BTreeSet<_> = ids.map(|id| service(id).unwrap_or("a stranger")).collect();
        evidence.check_eq(&format!("{name}: who is on it"), &found, members)?;
        evidence.check_eq(&format!("{name}: internal"), &network["Internal"], &json!(*name == "backend"))?;
    }
    // The gateway stands for the world: nobody else is on the outer network alone.
    let gateway = project.container("traefik").await?.id;
    let members = project.network("frontend").await?["Containers"].take();
    let mut addresses = members.as_object().into_iter().flatten().filter(|(id, _)| id.starts_with(&gateway));
    let address = addresses.next().and_then(|(_, member)| member["IPv4Address"].as_str()?.split('/').next());
    let address = address.ok_or_else(|| Failure::fail("the gateway has no address on its network"))?;
    for (service, finds_out) in [("redis", false), ("postgres", false), ("order-service", true)] {
        let ended = project.execute(service, &["sh", "-c", REACH, address, "80"]).await?;
        evidence.check(
            &format!("{service} finds a way out: {finds_out}"),
            (ended.code == Some(0)) == finds_out,
            ended,
        )?;
    }
    Ok(())
}

/// Ends with 0 when a connection to host `$0`, port `$1` can be made, whatever the image has for it.
const REACH: &str = r#"
if command -v bash >/dev/null; then exec timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$0" "$1"; fi
exec nc -z -w 3 "$0" "$1""#;

/// R4-M4-006: a service that does not become healthy is told as such and the others are served all
/// the same; the gateway strips the prefix; `down` leaves nothing, and there is nothing left to end.
#[rstest]
#[tokio::test]
async fn r4_m4_006_sick_service_is_told(mut orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    orchestrator.set("integration.health_timeout", 20);
    let results = ["echo-service", "sick-service"].map(|name| result(&orchestrator, name, true));
    plant(&orchestrator, "echo-service", ECHO)?;
    plant(&orchestrator, "sick-service", "raise SystemExit('no cure')\n")?;
    prepare(&orchestrator, &results)?;
    let outcome = orchestrator.run(&["integrate"]).await?;
    evidence.observe("integrate", &outcome)?;
    let state = orchestrator.workspace().state()?;
    let deployment = &state["phase_artifacts"]["integrating"];
    evidence.observe("deployment", deployment)?;
    let healthy = |name: &str| deployment["services"][name]["healthy"].clone();
    evidence.check_eq("what is healthy is told", healthy("echo-service"), json!(true))?;
    evidence.check_eq("what is not is told", healthy("sick-service"), json!(false))?;
    let reason = deployment["services"]["sick-service"]["error"].as_str().unwrap_or_default();
    evidence.check("the reason has the service's own words", reason.contains("no cure"), reason)?;
    let report = orchestrator.workspace().json("INTEGRATION_REPORT.json")?;
    let counts = (&report["services_deployed"], &report["services_healthy"]);
    evidence.check_eq("deployed and healthy", counts, (&json!(2), &json!(1)))?;
    let text = orchestrator.workspace().text("INTEGRATION_REPORT.md")?;
    evidence.check("the report lists it", text.contains("sick-service"), text)?;

    let url = |name: &str| deployment["services"][name]["url"].as_str().unwrap_or_default().to_owned();
    let urls = ["echo-service", "sick-service"].map(|name| (name.to_owned(), format!("{}/health", url(name))));
    let polled = poll_until_healthy(&urls.into(), Duration::from_secs(1), INTERVAL, 2).await;
    let seen: Vec<_> = polled.values().map(|result| (result.service.as_str(), result.healthy)).collect();
    evidence.check_eq("the suite sees the same", seen, vec![("echo-service", true), ("sick-service", false)])?;

    let gateway = deployment["gateway_url"].as_str().unwrap_or_default();
    let through = reqwest::get(format!("{gateway}/api/echo/deep/path")).await.map_err(Failure::fail)?;
    evidence.check_eq(
        "the gateway strips the prefix",
        through.text().await.map_err(Failure::fail)?.as_str(),
        "/deep/path",
    )?;
    let nowhere = reqwest::get(format!("{gateway}/api/nobody")).await.map_err(Failure::fail)?;
    evidence.check_eq("an unknown prefix", nowhere.status().as_u16(), 404)?;

    nothing_is_left_by_down(&orchestrator, &evidence).await?;
    let again = orchestrator.run(&["down"]).await?;
    evidence.check("a second `down` has nothing to do", again.code == Some(0), again)
}

/// R4-M4-006: a deployment whose orchestrator is killed while it waits for a service goes on
/// running; `down` ends all of it, shared memory included.
#[rstest]
#[tokio::test]
async fn r4_m4_006_killed_deployment_is_taken_down(orchestrator: Orchestrator, evidence: Evidence) -> Verdict {
    plant(&orchestrator, "slow-service", "import time\ntime.sleep(600)\n")?;
    prepare(&orchestrator, &[result(&orchestrator, "slow-service", true)])?;
    let mut running = orchestrator.start(&["integrate"]).await?;
    let is_service = |(_, command): &(i32, String)| command.contains("uvicorn");
    let started = || orchestrator.processes().is_ok_and(|found| found.iter().any(is_service));
    running.until("the service has started", Duration::from_secs(60), started).await?;
    running.kill().await?;
    let left = orchestrator.processes()?;
    evidence.check("the deployment outlives its orchestrator", left.len() > 2, left)?;
    nothing_is_left_by_down(&orchestrator, &evidence).await
}

/// A service without a framework that answers every request with its path.
const ECHO: &str = r#"
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["path"].encode()})
"#;

async fn nothing_is_left_by_down(orchestrator: &Orchestrator, evidence: &Evidence) -> Verdict {
    let segments = segments_below(orchestrator.workspace().root());
    evidence.check("a database with shared memory runs", segments.iter().any(|id| segment_exists(*id)), &segments)?;
    let down = orchestrator.run(&["down"]).await?;
    evidence.check_eq("`down` ends well", down.code, Some(0))?;
    evidence.check_eq("what still runs", orchestrator.processes()?, Vec::new())?;
    let left: Vec<_> = segments.iter().filter(|id| segment_exists(**id)).collect();
    evidence.check_eq("shared memory that is left", left, Vec::<&i64>::new())?;
    let pid_files = orchestrator.workspace().file("run");
    let left: Vec<_> = names_in(&pid_files).into_iter().filter(|name| name.ends_with(".pid")).collect();
    evidence.check_eq("pid files that are left", left, Vec::<String>::new())
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Makes `code` the only file of the built service `name`.
fn plant(orchestrator: &Orchestrator, name: &str, code: &str) -> Verdict {
    let main = orchestrator.workspace().build(name).join("src/main.py");
    fs::create_dir_all(main.parent().unwrap_or(&main))?;
    Ok(fs::write(main, code)?)
}

/// A BuilderResult as orchestrator.md §5.2 has it.
fn result(orchestrator: &Orchestrator, name: &str, success: bool) -> Value {
    json!({
        "system_id": "prepared", "service_id": name, "success": success, "cost": 0.0,
        "error": if success { Value::Null } else { json!("no tests") },
        "output_dir": orchestrator.workspace().build(name),
        "test_passed": 10, "test_total": 10, "convergence_ratio": 1.0, "artifacts": [],
        "exit_code": i32::from(!success), "duration_s": 1.0, "health": "passed", "completed_phases": [],
    })
}

/// Prepares the workspace as after the builders, without contracts.
fn prepare(orchestrator: &Orchestrator, results: &[Value]) -> Verdict {
    let workspace = orchestrator.workspace();
    let mut state =
        blank_state("builders_complete", &["architect_running", "contracts_registering", "builders_running"]);
    let registry = workspace.file("contract_registry.json");
    workspace.put(&registry, json!({ "contracts": [], "dropped": [] }).to_string())?;
    workspace.put("prd.md", fs::read_to_string(orchestrator.sample_prd())?)?;
    state["prd_path"] = json!(workspace.root().join("prd.md"));
    state["contract_registry_path"] = json!(registry);
    state["builder_results"] = json!(results);
    state["total_builders"] = json!(results.len());
    state["successful_builders"] = json!(results.iter().filter(|result| result["success"] == true).count());
    Ok(workspace.write_state(&state)?)
}

/// Has the compose file of `built` written, with a builder beside them that failed.
async fn generate(orchestrator: &Orchestrator, built: &[&str], evidence: &Evidence) -> Verdict {
    let mut results: Vec<_> = built.iter().map(|name| result(orchestrator, name, true)).collect();
    results.push(result(orchestrator, "late-service", false));
    prepare(orchestrator, &results)?;
    let before = orchestrator.workspace().state()?;
    let outcome = orchestrator.run(&["integrate", "--generate-only"]).await?;
    evidence.check("the compose file is written", outcome.code == Some(0), &outcome)?;
    evidence.check_eq(
        "the state stays",
        &orchestrator.workspace().state()?["current_state"],
        &before["current_state"],
    )?;
    evidence.observe("docker-compose.generated.yml", fs::read_to_string(orchestrator.workspace().compose_file())?)
}

/// The files of the project in their order, `generated` among them, `last` in the place of the last one.
fn files(generated: &Path, last: Option<&str>) -> Vec<PathBuf> {
    let mut names = STATIC_FILES;
    names[3] = last.unwrap_or(names[3]);
    let mut files = names.map(|name| workspace::root().join("docker").join(name)).to_vec();
    files.insert(GENERATED_POSITION, generated.to_path_buf());
    files
}

fn merged(generated: &Path, last: Option<&str>) -> Result<Compose, ComposeError> {
    Compose::read(&files(generated, last))
}

/// topology.md §2.
fn expected_members<'n>(built: &[&'n str]) -> BTreeMap<&'n str, BTreeSet<&'n str>> {
    let both = ["architect", "contract-engine", "codebase-intelligence"].into_iter().chain(built.iter().copied());
    let both: BTreeSet<&str> = both.collect();
    let with = |more: &[&'n str]| both.iter().copied().chain(more.iter().copied()).collect();
    BTreeMap::from([("frontend", with(&["traefik"])), ("backend", with(&["postgres", "redis"]))])
}

fn networks_are_as_the_topology_says(merged: &Compose, label: &str, evidence: &Evidence) -> Verdict {
    let networks = &merged.model()["networks"];
    for (network, internal) in [("frontend", false), ("backend", true)] {
        let network_of = &networks[network];
        let fact = format!("{label}: {network} is a bridge of this project, internal: {internal}");
        let is_internal = network_of["internal"].as_bool().unwrap_or(false);
        let holds = network_of["driver"] == "bridge" && network_of["external"].is_null() && is_internal == internal;
        evidence.check(&fact, holds, network_of)?;
    }
    Ok(())
}

/// topology.md §3: databases publish nothing, generated services no fixed port; in tests nobody does.
fn ports_are_as_the_topology_says(merged: &Compose, in_tests: bool, evidence: &Evidence) -> Verdict {
    let mut published = BTreeMap::new();
    for name in merged.services() {
        let ports = merged.service(name)["ports"].as_array().into_iter().flatten().filter_map(Value::as_str);
        published.insert(name, ports.map(host_port).collect::<Vec<_>>());
    }
    evidence.observe(if in_tests { "ports_in_tests" } else { "ports" }, &published)?;
    for (name, ports) in published {
        let expected: &[Option<u16>] = match name {
            "postgres" | "redis" => &[],
            "traefik" if in_tests => &[None, None],
            "traefik" => &[Some(80), Some(8080)],
            "architect" if !in_tests => &[Some(8001)],
            "contract-engine" if !in_tests => &[Some(8002)],
            "codebase-intelligence" if !in_tests => &[Some(8003)],
            _ => &[None],
        };
        evidence.check_eq(&format!("{name}: ports of this machine, in tests: {in_tests}"), ports, expected.to_vec())?;
    }
    Ok(())
}

/// The port of this machine in `[address:][port:]container`; none when Docker chooses it.
fn host_port(port: &str) -> Option<u16> {
    port.rsplit_once(':').and_then(|(host, _)| host.rsplit(':').next()?.parse().ok())
}

/// topology.md §5 and §7, for one generated service.
fn entry_is_as_the_topology_says(merged: &Compose, name: &str, evidence: &Evidence) -> Verdict {
    let service = merged.service(name);
    let waits = waits_for_health(&service["depends_on"]);
    let expected = ["architect", "codebase-intelligence", "postgres", "redis"].map(str::to_owned);
    evidence.check_eq(&format!("{name}: what it waits for"), waits, BTreeSet::from(expected))?;
    let test = service["healthcheck"]["test"].to_string();
    evidence.check(&format!("{name}: its health is asked on 8080"), test.contains("8080/health"), &test)?;
    let limits = &service["deploy"]["resources"]["limits"];
    evidence.check_eq(&format!("{name}: memory limit"), &limits["memory"], &json!("512M"))?;
    for variable in ["DATABASE_URL", "EVENT_BUS_URL", "JWT_SECRET", "PORT"] {
        let value = &service["environment"][variable];
        evidence.check(&format!("{name}: {variable} is given"), value.is_string(), value)?;
    }
    let labels = &service["labels"];
    let rule = labels[format!("traefik.http.routers.{name}.rule")].as_str().unwrap_or_default();
    evidence.check(&format!("{name}: a route by PathPrefix"), rule.starts_with("PathPrefix(`/api/"), labels)?;
    let port = &labels[format!("traefik.http.services.{name}.loadbalancer.server.port")];
    evidence.check_eq(&format!("{name}: the gateway's port"), port, &json!("8080"))
}

/// The names in a `depends_on` that are waited for until they are healthy.
fn waits_for_health(depends_on: &Value) -> BTreeSet<String> {
    let entries = depends_on.as_object().into_iter().flatten();
    entries.filter(|(_, how)| how["condition"] == "service_healthy").map(|(name, _)| name.clone()).collect()
}

/// `docker compose config -q`, where that command exists: it needs no engine.
fn check_with_docker(generated: &Path, evidence: &Evidence) -> Verdict {
    let has = std::process::Command::new("docker").args(["compose", "version"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return evidence.observe("docker_compose_config", "not run: there is no docker compose");
    }
    let mut config = std::process::Command::new("docker");
    config.args(["compose", "-p", "super-team-run4-test"]);
    for file in files(generated, None) {
        config.arg("-f").arg(file);
    }
    let output = config.args(["config", "-q"]).env("JWT_SECRET", "of-this-check").output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    evidence.check("docker compose config -q", output.status.success(), text)
}

// ---- What only containers can show (topology.md §2 to §7)

/// Whether each of these services has a container that is healthy.
fn are_healthy(containers: &BTreeMap<String, Container>, services: &[&str]) -> bool {
    services.iter().all(|service| containers.get(*service).is_some_and(|it| it.health == "healthy"))
}

/// SC-02: `docker compose ps` shows the three generated services as healthy, and each answers at
/// its port; listed, starting or gone would not do.
#[rstest]
#[tokio::test]
async fn sc_02_app_deployment(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let project = run.project()?;
    let _lock = project.lock(false).await?;
    let containers = project.containers().await?;
    evidence.observe("docker_compose_ps", &containers)?;
    let map = run.workspace().json("service_map.json")?["services"].as_array().map_or(0, Vec::len);
    let counted = |build, names: &[&str], total| {
        let ill = |name: &&&str| !are_healthy(&containers, &[**name]);
        let missing: Vec<_> = names.iter().filter(ill).map(|name| (*name).to_owned()).collect();
        Counted { build, good: names.len() - missing.len(), total, missing }
    };
    let with_gateway = [&GENERATED[..], &["traefik"]].concat();
    evidence.append(Input::Health.observation(), counted(Build::B2, &GENERATED, map))?;
    evidence.append(Input::Health.observation(), counted(Build::B3, &with_gateway, with_gateway.len()))?;
    evidence.check(
        "all three are healthy",
        are_healthy(&containers, &GENERATED),
        containers.keys().collect::<Vec<_>>(),
    )?;
    for name in GENERATED {
        let mut twin = containers.clone();
        twin.entry(name.to_owned()).and_modify(|container| container.health = "starting".into());
        evidence.check(&format!("{name} would not do as long as it starts"), !are_healthy(&twin, &GENERATED), name)?;
        twin.remove(name);
        evidence.check(&format!("{name} may not be missing"), !are_healthy(&twin, &GENERATED), name)?;
        let port = containers[name].published(8080);
        let port = port.ok_or_else(|| Failure::fail(format!("{name} publishes no port")))?;
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/health")).await.map_err(Failure::fail)?;
        evidence.check_eq(&format!("{name}: /health at its port"), answer.status().as_u16(), 200)?;
    }
    Ok(())
}

/// Memory limits in MiB (topology.md §5).
const LIMITS: [(&str, u64); 9] = [
    ("postgres", 512),
    ("redis", 128),
    ("contract-engine", 512),
    ("architect", 512),
    ("codebase-intelligence", 1024),
    ("auth-service", 512),
    ("order-service", 512),
    ("notification-service", 512),
    ("traefik", 128),
];

/// SC-02: every container has the memory limit of the topology, all of them stay below the 4.5 GB
/// of the plan, and the run stays far below the limits.
#[rstest]
#[tokio::test]
async fn sc_02_memory_budget(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let project = run.project()?;
    let _lock = project.lock(false).await?;
    let memory = project.memory().await?;
    evidence.observe("memory_mib", &memory)?;
    let mut limits = 0;
    for (service, mebibytes) in LIMITS {
        let limit = project.inspect(service).await?["HostConfig"]["Memory"].as_u64().unwrap_or(0) >> 20;
        evidence.check_eq(&format!("{service}: limit in MiB"), limit, mebibytes)?;
        limits += limit;
    }
    let used: f64 = memory.values().sum();
    evidence.check("the limits are within 4.5 GiB", limits <= 4608, limits)?;
    evidence.figure("memory of all containers", used.round(), "MiB", "at most 4608")?;
    evidence.check("what is used is within the limits", used > 0.0 && used < 4608.0, used)
}

/// SC-02: database and broker of a project start by themselves and answer. Inside a nested run
/// this is the test that the run's end interrupts.
#[rstest]
#[tokio::test]
async fn sc_02_database_and_broker_answer(config: Run4Config, evidence: Evidence) -> Verdict {
    // Beside the project of the pipeline run.
    let project = Project::of(&config, &format!("own-{}", workspace::session_id()));
    project.begin()?;
    project.up(&["postgres", "redis"]).await?;
    if is_victim() {
        evidence.check_ok(
            "the nested run ends",
            tokio::task::spawn_blocking(wait_as_victim).await.map_err(Failure::broken)?,
        )?;
        return Ok(());
    }
    let sql =
        ["psql", "--username", "superteam", "--no-align", "--tuples-only", "--command", "select 6 * 7", "superteam"];
    let answer = project.execute("postgres", &sql).await?;
    evidence.check_eq("SQL is answered", answer.output.trim(), "42")?;
    let answer = project.execute("redis", &["redis-cli", "ping"]).await?;
    evidence.check_eq("the broker answers", answer.output.trim(), "PONG")
}

/// SC-02: a test that needs a database of its own has one in a container, which takes the password
/// that it was made with and no other, and goes with the test.
#[rstest]
#[tokio::test]
async fn sc_02_database_of_a_single_test(config: Run4Config, evidence: Evidence) -> Verdict {
    let project = Project::of(&config, &format!("single-{}", workspace::session_id()));
    let database = OwnDatabase::start(&project).await?;
    for statement in ["create table kept (number int)", "insert into kept values (42)"] {
        let done = database.query(statement, None).await?;
        evidence.check(statement, done.code == Some(0), &done)?;
    }
    let answer = database.query("select number from kept", None).await?;
    evidence.check_eq("what was kept", answer.output.trim(), "42")?;
    let refused = database.query("select 1", Some("guessed")).await?;
    evidence.check("another password is refused", refused.code != Some(0), &refused)?;
    evidence.check_eq("while it runs", project.remains()?, vec!["1 containers".to_owned()])?;
    database.remove().await?;
    evidence.check_eq("afterwards", project.remains()?, Vec::<String>::new())
}

/// SC-02: however a run ends, nothing of its project is left: no container, network, volume or
/// image.
#[rstest]
#[case::finished(None)]
#[case::interrupted(Some(Signal::INT))]
#[case::killed(Some(Signal::KILL))]
fn sc_02_run_leaves_nothing_on_the_engine(
    #[case] signal: Option<Signal>,
    config: Run4Config,
    evidence: Evidence,
) -> Verdict {
    let run = NestedRun::start_on("m4_health_checks", "sc_02_database_and_broker_answer", Substrate::Docker)?;
    let project = Project::of(&config, &format!("own-{}", run.session()));
    let running = project.remains()?;
    evidence.check("the run has containers and networks", running.len() >= 2, &running)?;
    run.end(signal)?;
    // The supervisor outlives the run for as long as that takes.
    let begun = Instant::now();
    while !project.remains()?.is_empty() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(INTERVAL);
    }
    evidence.observe("seconds_to_clean", begun.elapsed().as_secs_f64())?;
    evidence.check_eq("what is left on the engine", project.remains()?, Vec::<String>::new())
}

/// B1-01: the three servers of Build 1 run and are healthy in the merged project, a port of this
/// machine answers for each, and nobody started before what it waits for.
#[rstest]
#[tokio::test]
async fn b1_01_build1_deploy(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let project = run.project()?;
    let _lock = project.lock(false).await?;
    let containers = project.containers().await?;
    evidence.observe("docker_compose_ps", &containers)?;
    let ill = |name: &&str| !are_healthy(&containers, &[*name]);
    let missing: Vec<_> = TWINS.map(|(_, name)| name).into_iter().filter(ill).map(str::to_owned).collect();
    let counted = Counted { build: Build::B1, good: TWINS.len() - missing.len(), total: TWINS.len(), missing };
    evidence.append(Input::Health.observation(), counted)?;
    for (_, name) in TWINS {
        let container = project.container(name).await?;
        evidence.check_eq(&format!("{name}: its state"), container.state.as_str(), "running")?;
        evidence.check_eq(&format!("{name}: its health"), container.health.as_str(), "healthy")?;
        let port = container.published(8000).ok_or_else(|| Failure::fail(format!("{name} publishes no port")))?;
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/api/health")).await.map_err(Failure::fail)?;
        evidence.check_eq(&format!("{name}: /api/health at its port"), answer.status().as_u16(), 200)?;
        let body: Value = answer.json().await.map_err(Failure::fail)?;
        evidence.check_eq(&format!("{name}: who answers"), &body["service_name"], &json!(name))?;
    }
    let started = &run.started;
    evidence.observe("started_at", started)?;
    for (service, needs) in CASCADE {
        for need in *needs {
            let waited = started.get(*service).zip(started.get(*need)).map(|(after, before)| *after - *before);
            let is_later = waited.is_some_and(|waited| waited.num_milliseconds() >= FIRST_LOOK_MS);
            evidence.check(
                &format!("{service} started when {need} had been looked at"),
                is_later,
                waited.map(|it| it.num_milliseconds()),
            )?;
        }
    }
    Ok(())
}

/// When the engine looks at the health of a container first, after its start: what waits for it
/// starts later than that (docker-compose.test.yml).
const FIRST_LOOK_MS: i64 = 1000;

/// Who waits for whom (topology.md §5, §6).
const CASCADE: &[(&str, &[&str])] = &[
    ("contract-engine", &["postgres"]),
    ("architect", &["contract-engine"]),
    ("codebase-intelligence", &["contract-engine"]),
    ("auth-service", &["postgres", "redis", "architect", "codebase-intelligence"]),
    ("order-service", &["postgres", "redis", "architect", "codebase-intelligence"]),
    ("notification-service", &["postgres", "redis", "architect", "codebase-intelligence"]),
    ("traefik", &["architect", "auth-service", "order-service", "notification-service"]),
];

/// B1-01: a server whose process dies is started again by the engine, becomes healthy, and is
/// reached by its route as before.
#[rstest]
#[tokio::test]
async fn b1_01_killed_server_comes_back(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let project = run.project()?;
    let _lock = project.lock(true).await?;
    let before = project.inspect("architect").await?;
    let id = before["State"]["Pid"].as_i64().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let id = id.ok_or_else(|| Failure::fail("the architect has no process"))?;
    // `docker kill` would be a wish of the operator, who is obeyed: it is not started again.
    kill_process(id, Signal::KILL).map_err(|error| Failure::untestable(format!("no right to kill it: {error}")))?;
    let begun = Instant::now();
    let came_back = loop {
        let container = project.inspect("architect").await?;
        let is_back = container["RestartCount"] != before["RestartCount"];
        if (is_back && container["State"]["Health"]["Status"] == "healthy") || begun.elapsed() > Duration::from_secs(60)
        {
            break container;
        }
        tokio::time::sleep(INTERVAL).await;
    };
    evidence.observe("seconds_until_healthy", begun.elapsed().as_secs_f64())?;
    evidence.check_eq("restarts", &came_back["RestartCount"], &json!(1))?;
    evidence.check_eq("its health", &came_back["State"]["Health"]["Status"], &json!("healthy"))?;
    let gateway = run.address()?.gateway.unwrap_or_default();
    let urls = BTreeMap::from([("architect".to_owned(), format!("{gateway}/api/architect/api/health"))]);
    let polled = poll_until_healthy(&urls, Duration::from_secs(10), INTERVAL, 1).await;
    evidence.check("its route leads to it again", polled["architect"].healthy, &polled)
}

/// B1-20: the architect's container finds contract-engine by its name, and order-service's finds
/// auth-service; a name that nobody has is found by neither.
#[rstest]
#[tokio::test]
async fn b1_20_inter_container_dns(config: Run4Config, pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let project = run.project()?;
    let _lock = project.lock(false).await?;
    let profile = Profile::of(&config).map_err(Failure::broken)?;
    let probe = profile.command("container_probe", &Place::new(&run.workspace)).map_err(Failure::broken)?;
    let probe = probe.ok_or_else(|| Failure::untestable("container_probe"))?;
    let probe: Vec<&str> = probe.argv.iter().map(String::as_str).filter(|argument| *argument != "{url}").collect();
    let python = "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)";
    let python = ["python3", "-c", python];
    for (from, program, host, path) in [
        ("architect", &probe[..], "contract-engine:8000", "/api/health"),
        ("order-service", &python[..], "auth-service:8080", "/health"),
    ] {
        let asked = async |host: &str| {
            let url = format!("http://{host}{path}");
            let argv: Vec<&str> = program.iter().copied().chain([url.as_str()]).collect();
            project.execute(from, &argv).await
        };
        let found = asked(host).await?;
        evidence.append("probes", json!({ "from": from, "of": host, "ended": found }))?;
        evidence.check(&format!("{from} reaches {host}"), found.code == Some(0), &found)?;
        let nobody = asked("nobody-has-this-name:8000").await?;
        evidence.check(&format!("{from} does not find a name that nobody has"), nobody.code != Some(0), &nobody)?;
    }
    Ok(())
}

/// Prefix, path behind it, and the title or name of who has to answer (topology.md §7).
const ROUTES: [(&str, &str, &str, &str); 9] = [
    ("architect", "/api/health", "/service_name", "architect"),
    ("contracts", "/api/health", "/service_name", "contract-engine"),
    ("contracts", "/api/contracts", "/items", ""),
    ("codebase", "/api/health", "/service_name", "codebase-intelligence"),
    ("auth", "/health", "/status", "healthy"),
    ("auth", "/openapi.json", "/info/title", "auth-service"),
    ("orders", "/openapi.json", "/info/title", "order-service"),
    ("notifications", "/openapi.json", "/info/title", "notification-service"),
    ("orders", "/health", "/status", "healthy"),
];

/// B3-07: each working URL of the routing table reaches its service through the gateway by the
/// labels of the containers; what has no route, or no such path behind it, is a 404.
#[rstest]
#[tokio::test]
async fn b3_07_traefik_routing(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let run = pipeline_run.finished().await?;
    let _lock = run.project()?.lock(false).await?;
    let gateway = run.address()?.gateway.ok_or_else(|| Failure::fail("the run names no gateway"))?;
    let get = async |path: &str| reqwest::get(format!("{gateway}{path}")).await.map_err(Failure::fail);
    for (prefix, path, pointer, who) in ROUTES {
        let path = format!("/api/{prefix}{path}");
        let answer = get(&path).await?;
        evidence.check_eq(&format!("{path}: HTTP status"), answer.status().as_u16(), 200)?;
        let body: Value = answer.json().await.map_err(Failure::fail)?;
        let said = body.pointer(pointer).cloned().unwrap_or_default();
        let fits = said.as_str().map_or(said.is_array() && who.is_empty(), |said| similar(said, who));
        evidence.check(&format!("{path}: {pointer} says who answers"), fits, &said)?;
    }
    for path in ["/api/architect/health", "/api/nobody/health", "/"] {
        evidence.check_eq(&format!("{path}: HTTP status"), get(path).await?.status().as_u16(), 404)?;
    }
    Ok(())
}

/// Whether a title is that of a service, however its words are written: `Order Service API`.
fn similar(title: &str, service: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace([' ', '_', '-'], "");
    plain(title).contains(&plain(service))
}
