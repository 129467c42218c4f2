//! Milestone 6: the report can be believed (plan R4-M6-001 to R4-M6-006; spec scoring.md), and
//! the dark corners that belong to no single build (R4-M6-008; spec flows.md §5).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};
use support::{
    audit::{
        Audit, Colour, Counted, Flow, Input, Problem, Traced,
        scoring::{IntegrationTerms, Rate, SystemTerms, Term, aggregate, integration_score, system_score},
        write_report,
    },
    browser,
    config::Run4Config,
    fix_pass::regressions::detect_regressions,
    fixtures::{HandMadeBundle, LargePrd, ScriptedBuilder, bundle, large_prd, test_functions},
    matrix::Matrix,
    mcp::{Kind, Toolset, normalise, reply_schema},
    measure::{
        Route, RouteTable, artifacts,
        outputs::{judge_instructions, judge_run},
        register,
        source::scan,
    },
    pipeline::{
        builder_inputs::INSTRUCTIONS_FILE,
        builder_state::{STATE_FILE, parse_builder_state},
        decomposition::decomposition,
        gate::GateInput,
    },
    prelude::*,
    stack::health::poll_until_healthy,
    sut::{ArtifactKind, Build, Process, Profile},
    tree, workspace,
};

/// How long after its start a server of the startup race is asked for the first time.
const SOON: Duration = Duration::from_secs(2);

/// How many tests a bundle has that is as wide as that of a whole run.
const WIDE: usize = 400;

/// The word of an id's status.
fn word(audit: &Audit, id: &str) -> &'static str {
    audit.rows.iter().find(|row| row.row.id.to_string() == id).map_or("absent", |row| row.status.word())
}

fn rate(passed: u32, total: u32) -> Term<Rate> {
    Rate::new(passed, total).map_or_else(|| Term::not_measured("no rate"), |rate| Term::measured(rate, "example"))
}

fn near(seen: f64, promised: f64) -> bool {
    (seen - promised).abs() < 0.005
}

/// R4-M6-001: the worked examples of the system score, one with a category that does not apply.
#[rstest]
#[case::a([(10, 10), (9, 10), (8, 10)], 1.0, Some((1, 1)), (4, 5), 91.50, "GREEN")]
#[case::b([(6, 10), (17, 20), (7, 10)], 10.0, Some((2, 3)), (3, 5), 58.67, "YELLOW")]
#[case::c([(9, 10), (19, 20), (9, 10)], 2.0, None, (14, 15), 89.63, "GREEN")]
fn r4_m6_001_system_score_examples(
    #[case] rates: [(u32, u32); 3],
    #[case] density: f64,
    #[case] health: Option<(u32, u32)>,
    #[case] artifacts: (u32, u32),
    #[case] promised: f64,
    #[case] colour: &str,
    evidence: Evidence,
) -> Verdict {
    let [requirements, tests, contracts] = rates.map(|(passed, total)| rate(passed, total));
    let score = system_score(&SystemTerms {
        requirements,
        tests,
        contracts,
        violation_density: Term::measured(density, "example"),
        health: health.map(|(passed, total)| rate(passed, total)),
        artifacts: rate(artifacts.0, artifacts.1),
    });
    evidence.check("the score", near(score.value, promised), score.value)?;
    evidence.check_eq("the colour", Colour::of_score(score.value).to_string(), colour)
}

/// R4-M6-001: what was not measured earns nothing, least of all full marks.
#[rstest]
fn r4_m6_001_unmeasured_terms_earn_nothing(evidence: Evidence) -> Verdict {
    let nothing = || Term::not_measured("nobody looked");
    let score = system_score(&SystemTerms {
        requirements: nothing(),
        tests: nothing(),
        contracts: nothing(),
        violation_density: Term::not_measured("nobody looked"),
        health: Some(nothing()),
        artifacts: nothing(),
    });
    evidence.check_eq("the score", score.value, 0.0)?;
    evidence.check_eq("it counts as not measured", score.is_measured(), false)
}

/// R4-M6-002: the worked example of the integration score.
#[rstest]
fn r4_m6_002_integration_score_examples(evidence: Evidence) -> Verdict {
    let violations = Term::measured(3, "example");
    let terms = IntegrationTerms { tools: rate(18, 20), flows: rate(8, 10), violations, phases: rate(6, 7) };
    let score = integration_score(&terms).value;
    evidence.check("the score", near(score, 81.43), score)
}

/// R4-M6-003: the worked example of the aggregate.
#[rstest]
fn r4_m6_003_aggregate_score_examples(evidence: Evidence) -> Verdict {
    let score = aggregate(91.5, 80.0, 70.0, 81.43);
    evidence.check("the score", near(score, 81.24), score)
}

/// R4-M6-005: each requirement of a Build names files and items that are there, and tests that
/// exist; the audit adds their verdicts.
#[rstest]
#[case::build1(Build::B1)]
#[case::build2(Build::B2)]
#[case::build3(Build::B3)]
fn r4_m6_005_requirements_of_a_build(#[case] build: Build, config: Run4Config, evidence: Evidence) -> Verdict {
    let profile = Profile::of(&config).map_err(Failure::broken)?;
    let (register, table) = register(&profile, build)?;
    evidence.append(Input::Requirements.observation(), &register)?;
    evidence.check("there are requirements", !register.requirements.is_empty(), register.requirements.len())?;
    let matrix = Matrix::load().map_err(Failure::broken)?;
    let functions = test_functions()?.into_values().flatten().collect();
    let unknown = table.map_or_else(Vec::new, |table| table.unknown_tests(&matrix, &functions));
    evidence.check_eq("tests that do not exist", unknown, Vec::<String>::new())?;
    let lost: Vec<_> = register.requirements.iter().filter(|it| !it.lost.is_empty()).collect();
    evidence.check_eq("implementations that are not there", &lost, &Vec::<&Traced>::new())
}

/// R4-M6-005: GREEN needs an implementation and tests that passed, YELLOW lacks a test or its
/// execution, RED lacks the implementation or has a failure; without source all is a gap. (Whether
/// there is source, files that are named, and those of them that are lost.)
#[rstest]
#[case::all((true, 1, 0), &["B1-09"], Colour::Green, "PASS")]
#[case::no_test((true, 1, 0), &[], Colour::Yellow, "UNTESTED")]
#[case::not_executed((true, 1, 0), &["B1-09", "B1-10"], Colour::Yellow, "UNTESTED")]
#[case::unknown_test((true, 1, 0), &["no_such_test"], Colour::Yellow, "UNTESTED")]
#[case::failed((true, 1, 0), &["B1-09", "B1-11"], Colour::Red, "FAIL")]
#[case::no_implementation((true, 0, 0), &["B1-09"], Colour::Red, "PASS")]
#[case::lost((true, 1, 1), &["B1-09"], Colour::Red, "PASS")]
#[case::no_source((false, 1, 0), &["B1-09"], Colour::Red, "UNTESTED")]
fn r4_m6_005_traceability_colours(
    mut bundle: HandMadeBundle,
    #[case] (source_available, named, lost): (bool, usize, usize),
    #[case] tests: &[&str],
    #[case] promised: Colour,
    #[case] status: &str,
    evidence: Evidence,
) -> Verdict {
    let register = json!({
        "build": "B1", "path": "by hand", "is_prd": false, "expected": null,
        "requirements": [{
            "id": "S1-001", "description": "it answers", "milestone": "M2",
            "implementation": vec!["src/a.rs"; named], "source_available": source_available,
            "lost": vec!["src/a.rs"; lost], "tests": tests, "link": "derived",
        }],
    });
    bundle.passed("b1_09_mcp_handshake_architect", vec![])?;
    bundle.failed("b1_11_mcp_handshake_codebase")?;
    bundle.observed("r4_m6_005_requirements_of_a_build::case_1_build1", Input::Requirements, json!([register]))?;
    bundle.seal()?;
    let audit = bundle.audit()?;
    evidence.check_eq("matrices", audit.traceability.len(), 1)?;
    let row = &audit.traceability[0].rows[0];
    evidence.check_eq("the status of its tests", row.test_status.to_string(), status)?;
    evidence.check_eq("the colour", row.colour, promised)?;
    let term = &audit.scores.builds[0].lines[0];
    let points = if promised == Colour::Green { 30.0 } else { 0.0 };
    evidence.check_eq("points for requirements", (term.points, term.figure.is_some()), (Some(points), true))?;
    let report = std::fs::read_to_string(write_report(&audit, bundle.path())?)?;
    let verification = if promised == Colour::Green { "Verified" } else { "Gap" };
    let cells = format!("| {status} | {verification} | {promised} | derived |");
    evidence.check("the row stands in appendix A", report.contains(&cells), cells)
}

/// R4-M6-005: without a register nothing is traced, and the report says why.
#[rstest]
fn r4_m6_005_nothing_traced_is_not_measured(bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    bundle.seal()?;
    let audit = bundle.audit()?;
    evidence.check_eq("matrices", audit.traceability.len(), 0)?;
    for score in &audit.scores.builds {
        let term = &score.lines[0];
        evidence.check_eq("points for requirements", (term.points, &term.figure), (Some(0.0), &None))?;
        let told = term.source.contains("r4_m6_005_requirements_of_a_build");
        evidence.check("it is told which test is missing", told, &term.source)?;
    }
    Ok(())
}

/// R4-M6-001: each route of the three HTTP twins answers a good request with its status and a
/// body of its shape; all are asked before one is judged, so that the figure is whole.
#[rstest]
#[tokio::test]
async fn r4_m6_001_routes_fit_their_schemas(mut build1: Build1, evidence: Evidence) -> Verdict {
    // The Architect registers what it finds with the engine.
    build1.twin("contract_engine_http").await?;
    let mut variables = build1.variables().clone();
    let mut judged = Vec::new();
    for route in RouteTable::load().map_err(Failure::broken)?.routes {
        judged.push((route.name(), route.ask(&mut build1, &mut variables).await?));
    }
    build1.close().await;
    let counted = Counted::of(Build::B1, &judged);
    evidence.append(Input::Contracts.observation(), &counted)?;
    evidence.check_eq("routes", counted.total, 21)?;
    evidence.check_eq("routes that do not fit", counted.missing, Vec::<String>::new())
}

/// R4-M6-001: the OpenAPI document of each server of Build 1 is valid by the official schema, and
/// names the routes of the HTTP specification with the status of each, no more and no less.
#[rstest]
#[case::architect("architect", "architect_http")]
#[case::contract_engine("contract-engine", "contract_engine_http")]
#[case::codebase_intelligence("codebase-intelligence", "codebase_intelligence_http")]
fn r4_m6_001_api_documents_are_true(
    #[case] service: &str,
    #[case] twin: &str,
    config: Run4Config,
    evidence: Evidence,
) -> Verdict {
    let profile = Profile::of(&config).map_err(Failure::broken)?;
    let mut named = profile.build(Build::B1).artifacts.iter();
    let document = named.find(|it| it.service == service && it.kind == ArtifactKind::ApiDocument);
    let path = document.and_then(|it| it.path.as_ref());
    let path = path.ok_or_else(|| Failure::untestable(format!("the profile names no API document of {service}")))?;
    let text = std::fs::read_to_string(profile.build_root(Build::B1).join(path)).map_err(Failure::fail)?;
    let document: Value = yaml_serde::from_str(&text).map_err(Failure::fail)?;
    let schema = serde_json::from_str(&std::fs::read_to_string(workspace::fixture("schemas/openapi-3.1.json"))?)?;
    let validator = jsonschema::validator_for(&schema).map_err(Failure::broken)?;
    let errors: Vec<_> = validator.iter_errors(&document).map(|it| format!("{it} at {}", it.instance_path())).collect();
    evidence.check_eq("what does not fit the official schema", errors, Vec::<String>::new())?;
    let routes = RouteTable::load().map_err(Failure::broken)?.routes;
    let promised: BTreeSet<_> = routes.iter().filter(|it| it.twin == twin).map(Route::success).collect();
    let mut told = BTreeSet::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let statuses = operation["responses"].as_object().into_iter().flatten().map(|(status, _)| status);
            let success = statuses.filter(|status| status.starts_with('2'));
            told.extend(success.map(|status| format!("{} {path} {status}", method.to_uppercase())));
        }
    }
    evidence.check_eq("its routes", told, promised)
}

/// R4-M6-001: the six outputs of the orchestrator fit their shapes: five of the pipeline run, and
/// the instructions of a fix pass.
#[rstest]
#[tokio::test]
async fn r4_m6_001_outputs_fit_their_shapes(
    pipeline_run: PipelineRun,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    let run = pipeline_run.finished().await?;
    let mut judged = judge_run(&run.workspace())?;
    let instructions = instructions_of_a_fix_pass(&mut orchestrator).await?;
    evidence.observe("instructions", &instructions)?;
    judged.push(judge_instructions(&instructions));
    let counted = Counted::of(Build::B3, &judged);
    evidence.append(Input::Contracts.observation(), &counted)?;
    evidence.check_eq("outputs", counted.total, 6)?;
    evidence.check_eq("outputs that do not fit", counted.missing, Vec::<String>::new())
}

/// What the orchestrator tells the builder of a service that the gate did not let through.
async fn instructions_of_a_fix_pass(orchestrator: &mut Orchestrator) -> Result<String, Failure> {
    const SERVICE: &str = "planted-service";
    let builder = ScriptedBuilder::new("steps = [{ wait_for = 'never' }]")?;
    orchestrator.set_builder(&builder.command());
    let workspace = orchestrator.workspace().clone();
    GateInput::new().service(SERVICE, &json!({})).contract_tests(10, 10).write(&workspace)?;
    let planted = "OPTIONS = {\"verify_signature\": False}\n\n\ndef show(order):\n    print(order)\n";
    workspace.put(workspace.build(SERVICE).join("src/main.py"), planted)?;
    let mut running = orchestrator.start(&["resume"]).await?;
    let file = workspace.build(SERVICE).join(INSTRUCTIONS_FILE);
    running.until("the instructions", COST_LIMIT, || file.exists()).await?;
    // The builder waits for ever; what it was told is all that is wanted.
    running.kill().await?;
    Ok(std::fs::read_to_string(file)?)
}

/// R4-M6-001: the system's own gate scans the source of each Build, that of the builder together
/// with what it generated; without source or scan there is no density.
#[rstest]
#[case::build1(Build::B1)]
#[case::build2(Build::B2)]
#[case::build3(Build::B3)]
#[tokio::test]
async fn r4_m6_001_violation_density(
    #[case] build: Build,
    config: Run4Config,
    orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    let profile = Profile::of(&config).map_err(Failure::broken)?;
    let mut sources: Vec<_> =
        profile.build(build).sources.iter().map(|path| profile.build_root(build).join(path)).collect();
    if sources.is_empty() {
        return Err(Failure::untestable(format!("the profile has no builds.build{}.sources", build.index() + 1)));
    }
    if build == Build::B2 {
        let built = orchestrator.builder().built_samples().await?;
        sources.extend(built.results.iter().map(|result| result.output_dir.clone()));
    }
    let scanned = scan(&orchestrator, build, &sources).await?;
    evidence.append(Input::Scans.observation(), &scanned)?;
    evidence.check("layer 3 has looked at it", scanned.completed, &scanned)?;
    evidence.check("there is a density", scanned.density().is_some(), scanned.lines)
}

/// R4-M6-001: the documents and routes that each Build must have are counted; what is missing is
/// named.
#[rstest]
#[case::build1(Build::B1, 15)]
#[case::build2(Build::B2, 15)]
#[case::build3(Build::B3, 4)]
#[tokio::test]
async fn r4_m6_001_artifacts_are_there(
    #[case] build: Build,
    #[case] required: usize,
    config: Run4Config,
    mut build1: Build1,
    pipeline_run: PipelineRun,
    evidence: Evidence,
) -> Verdict {
    let profile = Profile::of(&config).map_err(Failure::broken)?;
    let judged = match build {
        Build::B1 => artifacts::of_build1(&profile, &mut build1).await?,
        Build::B2 => artifacts::of_build2(&pipeline_run).await?,
        Build::B3 => artifacts::of_build3(&profile, &pipeline_run).await?,
    };
    let counted = Counted::of(build, &judged);
    evidence.append(Input::Artifacts.observation(), &counted)?;
    evidence.check("all that are required are asked for", counted.total >= required, counted.total)?;
    evidence.check_eq("artifacts that are missing", counted.missing, Vec::<String>::new())
}

/// R4-M6-004: an empty run gives a whole report: seven sections, all 58 ids, none green, and
/// an exit code that says that nothing was verified.
#[rstest]
fn r4_m6_004_report_skeleton(bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    bundle.seal()?;
    let audit = bundle.audit()?;
    evidence.check_eq("ids that passed", audit.counts().pass, 0)?;
    evidence.check_eq("the exit code", audit.exit_code(), 2)?;
    let report = std::fs::read_to_string(write_report(&audit, bundle.path())?)?;
    let sections: Vec<_> = report.lines().filter(|line| line.starts_with("## ")).collect();
    let promised = [
        "## 1. Executive Summary",
        "## 2. Methodology",
        "## 3. Per-System Assessment",
        "## 4. Integration Assessment",
        "## 5. Fix Pass History",
        "## 6. Gap Analysis",
        "## 7. Appendices",
    ];
    evidence.check_eq("its sections", sections, promised.to_vec())?;
    let absent: Vec<_> =
        audit.rows.iter().map(|row| row.row.id.to_string()).filter(|id| !report.contains(id)).collect();
    evidence.check_eq("ids it leaves out", absent, Vec::<String>::new())?;
    let again = std::fs::read_to_string(write_report(&bundle.audit()?, bundle.path())?)?;
    evidence.check("the same bundle gives the same bytes", again == report, report.len())
}

/// R4-M6-004: a deliberate regression between two runs lowers the scores, and the report names it.
#[rstest]
#[case::promise(false, &[], "| B1-11 | FAIL |")]
#[case::source(true, &["SEC-003 a src/a.py:3"], "| Build 1 | SEC-003 a src/a.py:3 |")]
fn r4_m6_004_regression_lowers_the_score(
    #[from(bundle)] before: HandMadeBundle,
    #[from(bundle)] after: HandMadeBundle,
    #[case] is_kept: bool,
    #[case] violations: &[&str],
    #[case] named: &str,
    evidence: Evidence,
) -> Verdict {
    let (before, told_before) = run_of_a_system(before, true, &[])?;
    let (after, told_after) = run_of_a_system(after, is_kept, violations)?;
    let score = |audit: &Audit| [audit.scores.builds[0].value, audit.scores.aggregate_capped];
    let (was, is) = (score(&before), score(&after));
    evidence.check("the score of Build 1 falls", is[0] < was[0], (was[0], is[0]))?;
    evidence.check("the aggregate falls", is[1] < was[1], (was[1], is[1]))?;
    evidence.check("the report names it", told_after.contains(named), named)?;
    evidence.check("the report of before does not name it", !told_before.contains(named), named)
}

/// What the audit says of a system that keeps the promise of B1-11, or not, and in whose source layer 3
/// found these violations; with the report.
fn run_of_a_system(mut bundle: HandMadeBundle, is_kept: bool, violations: &[&str]) -> Result<(Audit, String), Failure> {
    const PROMISE: &str = "b1_11_mcp_handshake_codebase";
    if is_kept { bundle.passed(PROMISE, vec![]).map(drop) } else { bundle.failed(PROMISE) }?;
    let scan = json!({ "build": "B1", "completed": true, "lines": 1000, "sources": ["a"], "violations": violations });
    bundle.observed("r4_m6_001_violation_density::case_1_build1", Input::Scans, json!([scan]))?;
    bundle.seal()?;
    let audit = bundle.audit()?;
    let report = std::fs::read_to_string(write_report(&audit, bundle.path())?)?;
    Ok((audit, report))
}

/// R4-M6-009: the cost table has a row for each milestone and the total; a duration is measured,
/// a cost that nobody measured says so, and an estimate is called one.
#[rstest]
fn r4_m6_009_cost_table(bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    bundle.seal()?;
    let report = std::fs::read_to_string(write_report(&bundle.audit()?, bundle.path())?)?;
    let table = report.split("### D. Cost breakdown").nth(1).unwrap_or_default();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .map(|line| line.trim_end_matches(" |").split(" | ").collect())
        .collect();
    let column = |index: usize| rows.iter().map(|row| row.get(index).copied().unwrap_or_default()).collect::<Vec<_>>();
    let first: Vec<_> = column(0).iter().map(|name| name.split(':').next().unwrap_or_default().to_owned()).collect();
    evidence.check_eq("its rows", first, ["Phase", "M1", "M2", "M3", "M4", "M5", "M6", "**Total**"].to_vec())?;
    evidence.check_eq(
        "costs that say a figure",
        column(1)[1..].iter().filter(|cost| **cost != "not measured").count(),
        0,
    )?;
    evidence.check("the estimate is called one", column(2)[0].contains("Estimate"), column(2))?;
    let durations = column(3);
    let measured = [durations[2], durations[7]];
    evidence.check_eq("the duration of M2, and the total", measured, ["1.0 s", "1.0 s"])?;
    evidence.check_eq("the duration of M4", durations[4], "not measured")
}

/// R4-M6-004: a pass stands on the test's own record; without it, or with another, it falls.
#[rstest]
#[case::whole(|_: &Path| Ok(()), "PASS", 0)]
#[case::altered(|path: &Path| std::fs::write(path, std::fs::read_to_string(path)?.replace("it held", "it held well")), "BROKEN", 1)]
#[case::removed(|path: &Path| std::fs::remove_file(path), "BROKEN", 1)]
fn r4_m6_004_every_figure_has_evidence(
    mut bundle: HandMadeBundle,
    #[case] tamper: fn(&Path) -> std::io::Result<()>,
    #[case] promised: &str,
    #[case] problems: usize,
    evidence: Evidence,
) -> Verdict {
    let record = bundle.passed("b1_09_mcp_handshake_architect", vec![])?;
    bundle.seal()?;
    tamper(&record)?;
    let audit = bundle.audit()?;
    evidence.check_eq("the status of B1-09", word(&audit, "B1-09"), promised)?;
    let named: Vec<_> = audit.problems.iter().map(Problem::to_string).filter(|text| text.contains("b1_09")).collect();
    evidence.check_eq("problems that name the record", named.len(), problems)
}

/// R4-M6-004: a green result without any record is not a pass.
#[rstest]
fn r4_m6_004_green_without_a_record_is_broken(mut bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    let record = bundle.passed("b1_09_mcp_handshake_architect", vec![])?;
    std::fs::remove_file(record)?;
    bundle.seal()?;
    evidence.check_eq("the status of B1-09", word(&bundle.audit()?, "B1-09"), "BROKEN")
}

/// R4-M6-006: a tool is GREEN when valid and invalid calls passed, YELLOW without the invalid
/// one, RED when a valid one did not.
#[rstest]
#[case::both(true, Some(true), Colour::Green)]
#[case::error_not_tested(true, None, Colour::Yellow)]
#[case::error_failed(true, Some(false), Colour::Yellow)]
#[case::valid_failed(false, Some(true), Colour::Red)]
fn r4_m6_006_interface_matrix_colours(
    mut bundle: HandMadeBundle,
    #[case] valid: bool,
    #[case] error: Option<bool>,
    #[case] promised: Colour,
    toolset: Toolset,
    evidence: Evidence,
) -> Verdict {
    let call = |condition: &str, passed| json!({ "tool": "find_callers", "case": "by hand", "condition": condition, "parseable": true, "passed": passed });
    bundle.passed("b1_07_mcp_tool_responses::case_16_find_callers", vec![call("valid", valid)])?;
    let errors = error.map(|passed| call("invalid", passed)).into_iter().collect();
    bundle.passed("b1_15_invalid_tool_input::case_16_find_callers", errors)?;
    bundle.seal()?;
    let audit = bundle.audit()?;
    evidence.check_eq("tools in the matrix", audit.coverage.len(), toolset.tools.len())?;
    let tool = audit.coverage.iter().find(|tool| tool.tool == "find_callers");
    evidence.check_eq("the colour", tool.map(|tool| tool.colour), Some(promised))?;
    let other = audit.coverage.iter().find(|tool| tool.tool == "decompose");
    evidence.check_eq("a tool nobody called", other.map(|tool| tool.colour), Some(Colour::Red))
}

/// R4-M6-007: each data flow and error path stands in its table with whether it was tested, its
/// colour and its evidence: GREEN when all of it passed, RED when something failed or nothing ran.
#[rstest]
fn r4_m6_007_flow_table(mut bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    bundle.passed("b1_03_architect_decompose", vec![])?;
    bundle.failed("b1_04_contract_validation")?;
    bundle.passed("r4_m6_007_e1_architect_times_out", vec![])?;
    bundle.seal()?;
    let audit = bundle.audit()?;
    let flows = &audit.flows;
    let sizes = [&flows.data, &flows.errors, &flows.application, &flows.dark_corners].map(Vec::len);
    evidence.check_eq("rows of the four tables", sizes, [10, 7, 5, 6])?;
    let row = |flow: &Flow| (flow.key.clone(), flow.tested, flow.colour);
    let told: Vec<_> = flows.data[..3].iter().chain(&flows.errors[..2]).map(row).collect();
    let promised = [
        ("1", true, Colour::Green),
        ("2", true, Colour::Red),
        ("3", false, Colour::Red),
        ("E1", true, Colour::Green),
        ("E2", false, Colour::Red),
    ];
    evidence.check_eq(
        "what is said of them",
        told,
        promised.map(|(key, tested, colour)| (key.to_owned(), tested, colour)).to_vec(),
    )?;
    let report = std::fs::read_to_string(write_report(&audit, bundle.path())?)?;
    for (title, proof) in [("PRD to service map", "B1-03 PASS"), ("service map to contracts", "B1-04 FAIL")] {
        let stands = report.lines().any(|line| line.contains(title) && line.contains(proof));
        evidence.check(&format!("{title} stands in the report with its evidence"), stands, proof)?;
    }
    Ok(())
}

/// The three HTTP twins of Build 1 and the server of each.
const TWINS: [(&str, &str); 3] = [
    ("architect_http", "architect"),
    ("contract_engine_http", "contract-engine"),
    ("codebase_intelligence_http", "codebase-intelligence"),
];

/// R4-M6-008, corner 1: both faces of the three servers start at the same moment on fresh data,
/// and each is asked within 2 s: all are healthy within 30 s and all answer, five times over.
#[rstest]
#[tokio::test]
async fn r4_m6_008_startup_race(config: Run4Config, toolset: Toolset, evidence: Evidence) -> Verdict {
    // Programs and libraries come from the disk once, so that the race is one of the servers.
    race(&config, &toolset, &evidence, "warming up").await?;
    for repetition in 1..=5 {
        race(&config, &toolset, &evidence, &format!("repetition {repetition}")).await?;
    }
    Ok(())
}

async fn race(config: &Run4Config, toolset: &Toolset, evidence: &Evidence, name: &str) -> Verdict {
    let build1 = Build1::new(config, toolset.clone()).map_err(Failure::broken)?;
    let commands = TWINS.map(|(key, _)| build1.command(key));
    let begun = Instant::now();
    let mut twins = Vec::new();
    let mut addresses = BTreeMap::new();
    for command in commands {
        let command = command?;
        let ready =
            command.ready.clone().ok_or_else(|| Failure::untestable(format!("{} has no ready", command.key)))?;
        twins.push(Process::spawn(&command, build1.logs(), false).map_err(Failure::fail)?);
        addresses.insert(command.key, ready);
    }
    let asked = async |server: &str, tool: &str, arguments: Value| {
        let session = build1.open(server).await?;
        let waited = begun.elapsed();
        let reply = session.call(tool, arguments).await?;
        let answered = reply.error_text().is_none();
        session.close().await;
        evidence.check(&format!("{name}: {server} is asked within 2 s"), waited < SOON, waited.as_secs_f64())?;
        evidence.check(&format!("{name}: {server} answers {tool}"), answered, reply.envelope())
    };
    let (architect, contracts, code, healthy) = tokio::join!(
        asked("architect", "decompose", json!({ "prd_text": build1.variables().get("sample_prd") })),
        asked("contract-engine", "list_contracts", json!({})),
        asked("codebase-intelligence", "check_dead_code", json!({})),
        poll_until_healthy(&addresses, Duration::from_secs(30), Duration::from_millis(10), 1),
    );
    architect.and(contracts).and(code)?;
    evidence.append("seconds", json!({ "run": name, "until_all_answered": begun.elapsed().as_secs_f64() }))?;
    for (key, health) in &healthy {
        evidence.check(&format!("{name}: {key} is healthy within 30 s"), health.healthy, health)?;
    }
    for twin in &mut twins {
        twin.stop().await;
    }
    let mut complaints = Vec::new();
    for path in tree::files(build1.logs(), "log")? {
        let text = std::fs::read_to_string(&path)?;
        complaints.extend(text.lines().filter(|line| line.contains("locked")).map(str::to_owned));
    }
    evidence.check_eq(&format!("{name}: messages of a lock"), complaints, Vec::<String>::new())
}

/// R4-M6-008, corner 5: a PRD of 200 000 bytes is decomposed within twice the normal time, and
/// no service, entity or owner of it is lost.
#[rstest]
#[tokio::test]
async fn r4_m6_008_large_prd(mut build1: Build1, evidence: Evidence) -> Verdict {
    let sample = std::fs::read_to_string(workspace::fixture("sample_prd.md"))?;
    let LargePrd { text, services, entities } = large_prd(&sample, 200_000).map_err(Failure::broken)?;
    evidence.check("it has 200 000 bytes", text.len() >= 200_000, text.len())?;
    build1.session("architect").await?;
    let begun = Instant::now();
    let reply = build1.call("decompose", json!({ "prd_text": text })).await?.value(Kind::Object)?;
    let seconds = begun.elapsed().as_secs_f64();
    evidence.observe("seconds", seconds)?;
    evidence.check("it takes at most 120 s", seconds <= 120.0, seconds)?;
    let schema = reply_schema("decompose")?;
    let misfits: Vec<_> = schema.iter_errors(&reply).map(|error| error.to_string()).take(3).collect();
    evidence.check_eq("what in the reply does not fit its schema", misfits, Vec::<String>::new())?;
    let listed = reply["service_map"]["services"].as_array().into_iter().flatten();
    let found: BTreeSet<_> = listed.filter_map(|service| service["name"].as_str().map(str::to_owned)).collect();
    evidence.check_eq("the services", found, services)?;
    let listed = reply["domain_model"]["entities"].as_array().into_iter().flatten();
    let owner =
        |entity: &Value| Some((entity["name"].as_str()?.to_owned(), entity["owning_service"].as_str()?.to_owned()));
    let found: BTreeMap<_, _> = listed.filter_map(owner).collect();
    let lost: Vec<_> = entities.iter().filter(|(entity, owner)| found.get(*entity) != Some(owner)).collect();
    evidence.check("no entity is lost or has another owner", lost.is_empty(), lost)
}

/// Files whose names and places are awkward, with the function in each.
const AWKWARD: [(&str, &str); 3] =
    [("plain.py", "plainly"), ("with space/größe.py", "with_umlaut"), ("deep/日本/file name.py", "far_down")];

/// R4-M6-008, corner 6: whatever a path is spelled like, the index knows one file under one path.
#[rstest]
#[case::canonical("", "")]
#[case::dots("./", "./deep/../")]
#[case::up_and_down("deep/../", "with space/../deep/./../")]
#[case::doubled("/", "deep//..//")]
#[tokio::test]
async fn r4_m6_008_path_format(
    #[case] registered: &str,
    #[case] asked: &str,
    mut build1: Build1,
    evidence: Evidence,
) -> Verdict {
    let root = build1.data().canonicalize()?.join("awkward tree");
    for (path, function) in AWKWARD {
        let source = format!("import plain\n\n\ndef {function}():\n    return 1\n");
        support::atomic::write(&root.join(path), source)?;
    }
    // Twice: under the spelling of this case, and as it is.
    for spelling in [registered, ""] {
        for (path, _) in AWKWARD {
            let file = format!("{}/{spelling}{path}", root.display());
            let reply =
                build1.call("register_artifact", json!({ "file_path": file, "service_name": "awkward" })).await?;
            let reply = reply.value(Kind::Object)?;
            evidence.check(&format!("{spelling}{path} is indexed"), reply["indexed"] == true, &reply)?;
        }
    }
    let interface = build1.call("get_service_interface", json!({ "service_name": "awkward" })).await?;
    let interface = interface.value(Kind::Object)?;
    let symbols: Vec<_> = interface["exported_symbols"].as_array().into_iter().flatten().collect();
    for (path, function) in AWKWARD {
        let file = root.join(path).display().to_string();
        let known: Vec<_> = symbols.iter().filter(|symbol| symbol["symbol_name"] == function).collect();
        evidence.check_eq(&format!("{function} is there"), known.len(), 1)?;
        evidence.check_eq(&format!("{function}: its one path"), &known[0]["file_path"], &json!(file))?;
        let found = build1.call("find_definition", json!({ "symbol": function })).await?.value(Kind::Nullable);
        let (found, _) = normalise("find_definition", Kind::Nullable, found)?;
        evidence.check_eq(&format!("{function} is defined in"), &found["file_path"], &json!(file))?;
        let spelled = format!("{}/{asked}{path}", root.display());
        let found = build1.call("find_dependencies", json!({ "file_path": spelled })).await?.value(Kind::Object)?;
        let expected = build1.call("find_dependencies", json!({ "file_path": file })).await?.value(Kind::Object)?;
        evidence.check(&format!("{file} imports something"), expected["imports"] != json!([]), &expected)?;
        evidence.check_eq(&format!("what {spelled} imports"), &found, &expected)?;
    }
    Ok(())
}

/// R4-M6-008, corner 6: separators of Windows and needless parts in snapshots and in STATE.json
/// make no difference to what is compared.
#[rstest]
fn r4_m6_008_path_format_in_files(evidence: Evidence) -> Verdict {
    let snapshot = |paths: &[&str]| {
        BTreeMap::from([("LOG-001".to_owned(), paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())])
    };
    let before = snapshot(&["src/größe 1.py", "src/a.py"]);
    let respelled = snapshot(&[r".\src\größe 1.py", r"src\sub/..\a.py"]);
    evidence.check_eq(
        "what other spellings make worse",
        detect_regressions(&before, &respelled),
        Vec::<String>::new(),
    )?;
    let moved = detect_regressions(&before, &snapshot(&[r"src\b.py"]));
    evidence.check_eq("what another file makes worse", moved, vec!["LOG-001:src/b.py"])?;

    let folder = tempfile::tempdir()?;
    let state = |artifact: &str| {
        json!({
            "run_id": "1", "total_cost": 0.5, "health": "passed", "completed_phases": ["build"],
            "summary": { "success": true, "test_passed": 9, "test_total": 9, "convergence_ratio": 1.0 },
            "artifacts": [artifact],
        })
    };
    let mut read = Vec::new();
    for artifact in ["src/main.py", r"src\größe 1.py", r"C:\build\src/./main.py"] {
        support::atomic::write_json(&folder.path().join(STATE_FILE), &state(artifact))?;
        read.push(parse_builder_state(folder.path()));
    }
    evidence.check("each STATE.json is read", read[0].error.is_none(), &read[0].error)?;
    evidence.check("all are read alike", read.iter().all(|state| *state == read[0]), &read)
}

// ---- what a pipeline costs

/// B3-10: the total cost is the sum of the phases' costs, and above 0 once builders with a price
/// for each file have run; without a price all of it is 0. Twin: more than a tiny budget ends the
/// run with exit code 3, where it can be resumed.
#[rstest]
#[case::with_a_price(Some(0.01))]
#[case::without_a_price(None)]
#[tokio::test]
async fn b3_10_budget_tracking(
    #[case] price: Option<f64>,
    mut orchestrator: Orchestrator,
    evidence: Evidence,
) -> Verdict {
    let workspace = orchestrator.workspace().clone();
    if let Some(price) = price {
        workspace.put("price.yaml", format!("metering: {{usd_per_unit: {price}}}\n"))?;
        orchestrator.set("agent_team_config_path", "price.yaml");
    }
    orchestrator.set("builder.depth", "quick");
    orchestrator.planned(&decomposition(&["records"])).await?;
    let outcome = orchestrator.run(&["build", "--budget", "0.001"]).await?;
    evidence.observe("outcome", &outcome)?;
    let state = workspace.state()?;
    let costs: BTreeMap<String, Option<f64>> =
        serde_json::from_value(state["phase_costs"].clone()).map_err(Failure::fail)?;
    evidence.observe("phase_costs", &costs)?;
    let known: Vec<f64> = costs.values().flatten().copied().collect();
    evidence.check_eq("every phase has a known cost", known.len(), costs.len())?;
    let total = state["total_cost"].as_f64().unwrap_or(f64::NAN);
    let sum: f64 = known.iter().sum();
    evidence.check("the total is the sum of the phases", (total - sum).abs() < 1e-6, (total, sum))?;
    if price.is_none() {
        evidence.check_eq("without a price: the exit code", outcome.code, Some(0))?;
        return evidence.check("without a price: the total", total == 0.0, total);
    }
    evidence.check("the builders have cost something", total > 0.001, total)?;
    evidence.check_eq("above the budget: the exit code", outcome.code, Some(3))?;
    evidence.check_eq("above the budget: the state", &state["current_state"], &json!("builders_running"))?;
    evidence.check_eq("above the budget: the reason", &state["interrupt_reason"], &json!("budget"))?;
    let mut running = orchestrator.start(&["resume", "--budget", "100"]).await?;
    running
        .until("the phase after the builders", COST_LIMIT, || {
            workspace.state().is_ok_and(|state| state["current_state"] != "builders_running")
        })
        .await?;
    // What comes next is not what this is about, and may have ended by itself.
    let _ = running.interrupt();
    evidence.observe("resumed", running.wait(COST_LIMIT).await?)?;
    evidence.check_eq("resumed: the total", &workspace.state()?["total_cost"], &state["total_cost"])
}

/// How long a small pipeline may take to its next phase.
const COST_LIMIT: Duration = Duration::from_secs(60);

// ---- the report in a browser

/// Opens the table of all ids, sorts it by its status twice and writes what came of it.
const SORT_BY_STATUS: &str = r#"<script>
const heading = document.getElementById("c-test-results");
const table = heading.nextElementSibling.querySelector("table");
const header = [...table.tHead.rows[0].cells].find((cell) => cell.textContent === "Status");
const button = header.querySelector("button");
button.focus();
const seen = { focused: document.activeElement === button, before: header.getAttribute("aria-sort"), sorted: [] };
for (let click = 0; click < 2; click++) {
  button.click();
  const cells = [...table.tBodies[0].rows].map((row) => row.cells[1].textContent.split(" ")[0]);
  seen.sorted.push({ order: header.getAttribute("aria-sort"), first: cells[0], last: cells.at(-1), rows: cells.length });
}
const told = document.createElement("pre");
told.id = "told";
told.textContent = JSON.stringify(seen);
document.body.append(told);
</script></body>"#;

/// R4-M6-004: the page of the report works in a browser: nothing is complained of, all sections and
/// charts are there, every link leads somewhere, and tables are sorted by their headers.
#[rstest]
#[tokio::test]
async fn r4_m6_004_html_renders(mut bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    let hostile = json!({ "tool": "</td><script>alert(1)</script>", "case": "[x](javascript:alert(1))", "condition": "valid", "parseable": true, "passed": true });
    bundle.passed("b1_07_mcp_tool_responses::case_01_decompose", vec![hostile])?;
    bundle.passed("b1_09_mcp_handshake_architect", vec![])?;
    bundle.seal()?;
    shows_well("a bundle made by hand", bundle.path(), &bundle.audit()?, &evidence).await?;
    sorts_tables(bundle.path(), &evidence).await?;
    let wide = HandMadeBundle::wide(WIDE)?;
    wide.seal()?;
    shows_well("a wide bundle", wide.path(), &wide.audit()?, &evidence).await
}

async fn shows_well(name: &str, folder: &Path, audit: &Audit, evidence: &Evidence) -> Verdict {
    let page = write_report(audit, folder)?.with_extension("html");
    let opened = browser::open(&page).await?;
    evidence.check_eq(&format!("{name}: what the console says"), &opened.console, &Vec::<String>::new())?;
    let document = &opened.document;
    evidence.check_eq(&format!("{name}: sections"), document.matches("<h2 id=").count(), 7)?;
    evidence.check_eq(&format!("{name}: charts"), document.matches("role=\"img\"").count(), 4)?;
    evidence.check_eq(&format!("{name}: scripts"), document.matches("<script").count(), 1)?;
    let address = reqwest::Url::from_file_path(&page).map_err(|()| Failure::broken("the page has no address"))?;
    let is_dead = |link: &&str| match link.strip_prefix('#') {
        Some(anchor) => !document.contains(&format!(" id=\"{anchor}\"")),
        None => !address.join(link).is_ok_and(|target| target.to_file_path().is_ok_and(|file| file.is_file())),
    };
    let links: BTreeSet<_> =
        document.split("<a href=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
    evidence.check(&format!("{name}: it has links to sections and to records"), links.len() > 7, links.len())?;
    let dead: Vec<_> = links.into_iter().filter(is_dead).collect();
    evidence.check_eq(&format!("{name}: links that lead nowhere"), dead, Vec::<&str>::new())
}

/// Sorts a table of a copy of the page that lets a script of this test run.
async fn sorts_tables(folder: &Path, evidence: &Evidence) -> Verdict {
    let text = std::fs::read_to_string(folder.join("SUPER_TEAM_AUDIT_REPORT.html"))?;
    let text = text.replace("Content-Security-Policy", "nothing").replace("</body>", SORT_BY_STATUS);
    let page = folder.join("sorted.html");
    std::fs::write(&page, text)?;
    let opened = browser::open(&page).await?;
    evidence.check_eq("sorting: what the console says", &opened.console, &Vec::<String>::new())?;
    let told = opened.document.split_once("<pre id=\"told\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let told: Value = serde_json::from_str(told.map_or("null", |(told, _)| told))?;
    let sorted =
        |order: &str, first: &str, last: &str| json!({ "order": order, "first": first, "last": last, "rows": 58 });
    let promised = json!({
        "focused": true,
        "before": "none",
        "sorted": [sorted("ascending", "UNTESTABLE", "PASS"), sorted("descending", "PASS", "UNTESTABLE")],
    });
    evidence.check_eq("sorting by status, worst first and then the other way round", &told, &promised)
}

// ---- a bundle that somebody changed

/// R4-M6-004: `cargo run4 audit` of a bundle that was changed names the file, says that its
/// integrity is red and that the verdict is FAIL, and ends with exit code 2.
#[rstest]
#[case::record_removed(|folder: &Path, record: &Path| remove(folder, record), "bundle missing: evidence/")]
#[case::record_altered(|folder: &Path, record: &Path| alter(folder, record, "it held", "it held well"), "bundle altered: evidence/")]
#[case::record_copied(|folder: &Path, record: &Path| std::fs::copy(folder.join(record), folder.join("evidence/m2_mcp_wiring/b1_10_x.json")).map(drop), "bundle not listed: evidence/m2_mcp_wiring/b1_10_x.json")]
#[case::results_altered(|folder: &Path, _: &Path| alter(folder, Path::new("junit/m2.xml"), "b1_09", "b1_10"), "bundle altered: junit/m2.xml")]
#[case::results_removed(|folder: &Path, _: &Path| remove(folder, Path::new("junit/m2.xml")), "bundle missing: junit/m2.xml")]
#[case::matrix_digest(|folder: &Path, _: &Path| alter(folder, Path::new("manifest.json"), "\"matrix_digest\": \"", "\"matrix_digest\": \"0"), "bundle the matrix changed since the run")]
#[case::manifest_removed(|folder: &Path, _: &Path| remove(folder, Path::new("manifest.json")), "run `cargo run4` first")]
#[case::manifest_cut_off(|folder: &Path, _: &Path| std::fs::write(folder.join("manifest.json"), "{"), "run `cargo run4` again")]
fn r4_m6_004_tampering(
    mut bundle: HandMadeBundle,
    #[case] tamper: fn(&Path, &Path) -> std::io::Result<()>,
    #[case] named: &str,
    evidence: Evidence,
) -> Verdict {
    let record = bundle.passed("b1_09_mcp_handshake_architect", vec![])?;
    bundle.seal()?;
    let folder = bundle.path();
    let (code, said) = run4(&["audit", "--bundle", &folder.display().to_string()])?;
    evidence.check("the bundle is whole at first", code == Some(2) && !said.contains("bundle "), &said)?;
    tamper(folder, record.strip_prefix(folder).map_err(Failure::broken)?)?;
    let (code, said) = run4(&["audit", "--bundle", &folder.display().to_string()])?;
    evidence.check_eq("the exit code", code, Some(2))?;
    evidence.check("it names what changed", said.contains(named), &said)?;
    if !named.starts_with("bundle ") {
        return Ok(());
    }
    let report = std::fs::read_to_string(folder.join("SUPER_TEAM_AUDIT_REPORT.md"))?;
    for part in ["**Integrity: RED.**", "**Verdict: FAIL.**", named.trim_start_matches("bundle ")] {
        evidence.check(&format!("the report says {part}"), report.contains(part), report.len())?;
    }
    Ok(())
}

fn remove(folder: &Path, file: &Path) -> std::io::Result<()> {
    std::fs::remove_file(folder.join(file))
}

fn alter(folder: &Path, file: &Path, from: &str, to: &str) -> std::io::Result<()> {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(path, text.replacen(from, to, 1))
}

/// R4-M6-004: `cargo run4 diff` tells what changed between two bundles, and its exit code whether
/// anything got worse.
#[rstest]
#[case::the_same(&["b1_09_mcp_handshake_architect"], 0, "nothing changed")]
#[case::one_more(&["b1_09_mcp_handshake_architect", "b1_11_mcp_handshake_codebase"], 0, "better id B1-11: UNTESTED(not run) → PASS")]
#[case::another(&["b1_11_mcp_handshake_codebase"], 1, "worse id B1-09: PASS → UNTESTED(not run)")]
fn r4_m6_004_two_runs_compared(
    mut bundle: HandMadeBundle,
    #[from(bundle)] mut later: HandMadeBundle,
    #[case] tests: &[&str],
    #[case] promised: i32,
    #[case] told: &str,
    evidence: Evidence,
) -> Verdict {
    bundle.passed("b1_09_mcp_handshake_architect", vec![])?;
    bundle.seal()?;
    for test in tests {
        later.passed(test, vec![])?;
    }
    later.seal()?;
    let [old, new] = [&bundle, &later].map(|bundle| bundle.path().display().to_string());
    let (code, said) = run4(&["diff", &old, &new])?;
    evidence.check_eq("the exit code", code, Some(promised))?;
    evidence.check("what it tells", said.contains(told), &said)?;
    let (code, said) = run4(&["diff", &old, &new, "--json"])?;
    let printed: Value = serde_json::from_str(&said)?;
    evidence.check_eq("as JSON: the exit code", code, Some(promised))?;
    evidence.check_eq("as JSON: nothing changed", printed["changes"] == json!([]), told == "nothing changed")?;
    let (code, said) = run4(&["diff", &old, &format!("{new}/nowhere")])?;
    evidence.check_eq("a folder without a run: the exit code", code, Some(64))?;
    evidence.check("a folder without a run: what to do", said.contains("run `cargo run4` first"), &said)
}

/// Runs the command of this build; gives its exit code and what it said, on one line.
fn run4(arguments: &[&str]) -> Result<(Option<i32>, String), Failure> {
    let mut command = std::process::Command::new(workspace::run4_program());
    let output = command.args(arguments).env_remove("GITHUB_STEP_SUMMARY").output()?;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    // Errors are wrapped to the width of a terminal.
    Ok((output.status.code(), said.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")))
}

// ---- the report for programs

/// R4-M6-004: audit.json fits its published schema, which knows every field; the SARIF log beside it
/// names what is open.
#[rstest]
fn r4_m6_004_data_fits_its_schema(mut bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    bundle.passed("b1_09_mcp_handshake_architect", vec![])?;
    bundle.seal()?;
    let text = std::fs::read_to_string(workspace::fixture("schemas/audit.schema.json"))?;
    let schema = jsonschema::validator_for(&serde_json::from_str(&text)?).map_err(Failure::broken)?;
    let wide = HandMadeBundle::wide(WIDE)?;
    wide.seal()?;
    let whole = wide.audit()?;
    let counts = [whole.tests.len(), whole.phases.len(), whole.problems.len()];
    evidence.check_eq("wide: tests, phases and problems", counts, [WIDE, 7, 0])?;
    evidence.check("wide: tests that failed are findings", whole.findings.open().count() > 10, counts)?;
    for (name, bundle) in [("small", &bundle), ("wide", &wide)] {
        let folder = bundle.path();
        write_report(&bundle.audit()?, folder)?;
        let read =
            |name: &str| -> Result<Value, Failure> { Ok(serde_json::from_slice(&std::fs::read(folder.join(name))?)?) };
        let data = read("audit.json")?;
        let misfits: Vec<_> = schema.iter_errors(&data).map(|it| format!("{}: {it}", it.instance_path())).collect();
        evidence.check_eq(&format!("{name}: what does not fit"), misfits, Vec::<String>::new())?;
        let count = |list: &Value| list.as_array().map_or(0, Vec::len);
        let entries = data["findings"].as_array().into_iter().flatten();
        let open = entries.filter(|entry| entry["resolution"] == "OPEN").count();
        let results = count(&read("audit.sarif")?["runs"][0]["results"]);
        evidence.check_eq(&format!("{name}: results of the SARIF log"), results, open + count(&data["problems"]))?;
    }
    Ok(())
}

/// R4-M6-004: on GitHub the command appends a short summary to that of the step, and only there.
#[rstest]
fn r4_m6_004_step_summary(mut bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    bundle.passed("b1_09_mcp_handshake_architect", vec![])?;
    bundle.seal()?;
    let folder = bundle.path();
    let file = folder.join("summary.md");
    std::fs::write(&file, "what another step said\n")?;
    let output = std::process::Command::new(workspace::run4_program())
        .args(["audit", "--bundle", &folder.display().to_string()])
        .env("GITHUB_STEP_SUMMARY", &file)
        .output()?;
    evidence.check_eq("the exit code is that of the audit", output.status.code(), Some(2))?;
    let summary = std::fs::read_to_string(&file)?;
    for part in [
        "what another step said\n## Run 4: FAIL",
        "1 PASS",
        "| SC-02 | UNTESTABLE | docker |",
        "SUPER_TEAM_AUDIT_REPORT.md",
    ] {
        evidence.check(&format!("it says {part}"), summary.contains(part), &summary)?;
    }
    Ok(())
}
