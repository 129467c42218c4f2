//! Milestone 5, fix passes: what is catalogued, how urgent it is, what is done about it, and when
//! that ends (plan R4-M5-001 to R4-M5-005; spec scoring.md §5, §6, builder.md §6).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use rstest::rstest;
use serde_json::json;
use support::{
    audit::write_report,
    config::{
        BuilderDepth::{Quick, Thorough},
        Run4Config,
    },
    fix_pass::{
        catalogue::Catalogue,
        convergence::{FixVerdict, Limits, Open, Standing, Stop, convergence, ratio},
        instructions::{Item, render},
        ledger::{Ledger, Step, When, read_snapshot, snapshot_file},
        passes::FixLoop,
        priority::Effect,
        symptom::{By, Scanned, Symptom},
        trees::{INFRASTRUCTURE, Means, Part, Trees},
        violation::{Severity, Violation, count},
    },
    fixtures::{HandMadeBundle, ScriptedBuilder, bundle},
    pipeline::{
        builder::invoke,
        builder_inputs::{BuilderWorkspace, INSTRUCTIONS_FILE, ServiceInputs},
        builder_state::STATE_FILE,
    },
    prelude::*,
    state::{FindingId, FixPass, Priority, Resolution, System},
    sut::{Command, probe},
    tree, workspace,
};

/// What is planted into a tree, by the code that finds it.
const PLANTED: [&str; 3] = ["LOG-001", "HEALTH-001", "DOCKER-001"];

/// What the price of a work unit is in these runs, in US dollars.
const USD_PER_UNIT: f64 = 0.01;

/// A copy of a built service whose runs cost something and use servers of their own.
async fn built(builder: &Builder, service: usize, evidence: &Evidence) -> Result<BuilderWorkspace, Failure> {
    let samples = builder.built_samples().await?;
    let result = &samples.results[service];
    evidence.check("the service was built", result.success, &result.error)?;
    let services: Vec<ServiceInputs> = builder.sample_services().await?;
    let folder = builder.data().join(&result.service_id);
    tree::copy(samples.tree(service)?, &folder)?;
    let config = builder.config(Thorough, builder.data())?.with("metering.usd_per_unit", USD_PER_UNIT);
    Ok(BuilderWorkspace::write(&folder, &services[service], &config)?)
}

/// Plants one violation of each code of [`PLANTED`]; gives the files it changed.
fn plant(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut changed = Vec::new();
    let mut change = |path: PathBuf, edit: &dyn Fn(String) -> String| -> std::io::Result<()> {
        let before = std::fs::read_to_string(&path)?;
        let after = edit(before.clone());
        if after != before {
            std::fs::write(&path, after)?;
            changed.push(path);
        }
        Ok(())
    };
    change(folder.join("src/main.py"), &|text| text + "\n\nprint(\"planted\")\n")?;
    change(folder.join("Dockerfile"), &|text| {
        text.lines().filter(|line| !line.trim_start().starts_with("USER ")).map(|line| format!("{line}\n")).collect()
    })?;
    for path in tree::files(&folder.join("src"), "py")? {
        change(path, &|text| {
            ["/healthz", "/health", "/ready"].iter().fold(text, |text, route| text.replace(route, "/hidden"))
        })?;
    }
    Ok(changed)
}

/// What the builder's own scan finds in a tree.
async fn scan(builder: &Builder, folder: &Path) -> Result<Vec<Violation>, Failure> {
    builder.scan(folder, &folder.join("contracts"), Thorough).await
}

fn counts(violations: &[Violation]) -> [usize; 3] {
    PLANTED.map(|code| count(violations, code))
}

/// a fix run at depth quick repairs what the instructions name: the scan finds it no
/// more, the cost has risen, the run has an id of its own, and the instructions are put away.
/// The same instructions again change nothing.
#[rstest]
#[tokio::test]
async fn x_07_fix_instructions_consumed(builder: Builder, evidence: Evidence) -> Verdict {
    let workspace = built(&builder, 0, &evidence).await?;
    let folder = workspace.folder();
    evidence.check_eq("before the plants", counts(&scan(&builder, folder).await?), [0, 0, 0])?;
    evidence.observe("planted_in", plant(folder)?)?;
    let found = scan(&builder, folder).await?;
    evidence.check("the scan finds each plant", counts(&found).iter().all(|count| *count > 0), counts(&found))?;

    let service = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut id = FindingId::FIRST;
    let mut items = Vec::new();
    for violation in found.iter().filter(|violation| PLANTED.contains(&violation.code.as_str())) {
        items.push(Item::unclassified(id, &service, violation, "remove the violation, change nothing else"));
        id = id.next().map_err(Failure::broken)?;
    }
    let instructions = render("x-07", 1, &service, &items);
    let listed = instructions.lines().filter(|line| line.starts_with("### ")).count();
    evidence.check_eq("each of them is listed, and nothing else", listed, items.len())?;
    evidence.observe("instructions", &instructions)?;
    workspace.put(INSTRUCTIONS_FILE, &instructions)?;
    let run_before = run_id(folder)?;
    let result = builder.run(folder, Quick).await?;
    evidence.observe("result", &result)?;
    evidence.check("the fix run succeeds", result.success, &result.error)?;
    evidence.check_eq("what the scan finds now", counts(&scan(&builder, folder).await?), [0, 0, 0])?;
    evidence.check("the cost has risen", result.cost > result.cost_before, [result.cost_before, result.cost])?;
    evidence.check("the run has an id of its own", run_id(folder)? != run_before, run_id(folder)?)?;
    evidence.check("the instructions are put away", !folder.join(INSTRUCTIONS_FILE).exists(), INSTRUCTIONS_FILE)?;

    let fixed = tree::digests(folder, &[".agent-team"])?;
    workspace.put(INSTRUCTIONS_FILE, &instructions)?;
    let again = builder.run(folder, Quick).await?;
    evidence.check("the second run succeeds", again.success, &again.error)?;
    let changed = tree::differences(&fixed, &tree::digests(folder, &[".agent-team"])?);
    evidence.check_eq("what it changed", changed, Vec::<PathBuf>::new())
}

/// The `run_id` in the STATE.json of a folder.
fn run_id(folder: &Path) -> Result<String, Failure> {
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join(STATE_FILE))?)?;
    Ok(state["run_id"].to_string())
}

/// X-07, its twin: without instructions a run at depth quick leaves a built tree as it is.
#[rstest]
#[tokio::test]
async fn x_07_no_instructions_change_nothing(builder: Builder, evidence: Evidence) -> Verdict {
    let workspace = built(&builder, 0, &evidence).await?;
    let before = tree::digests(workspace.folder(), &[".agent-team"])?;
    let result = builder.run(workspace.folder(), Quick).await?;
    evidence.check("the run succeeds", result.success, &result.error)?;
    let changed = tree::differences(&before, &tree::digests(workspace.folder(), &[".agent-team"])?);
    evidence.check_eq("what it changed", changed, Vec::<PathBuf>::new())
}

/// X-07, its twin: a fix run that leaves the STATE.json of the run before is no success, and
/// its figures are not taken for this run's.
#[rstest]
#[tokio::test]
async fn x_07_stale_state_is_recognised(evidence: Evidence) -> Verdict {
    let scripted = ScriptedBuilder::new("steps = [{ stdout = { line = 'all fixed' } }]")?;
    let invocation = scripted.invocation("orders", Duration::from_secs(30))?;
    let old = json!({
        "run_id": "old", "summary": { "success": true, "test_passed": 9, "test_total": 9, "convergence_ratio": 1.0 },
        "total_cost": 0.5, "health": "passed", "completed_phases": ["build"],
    });
    support::atomic::write_json(&invocation.dir.join(STATE_FILE), &old)?;
    let result = invoke(&invocation).await?;
    evidence.check_eq("it ended well", result.exit_code, Some(0))?;
    evidence.check_eq("the error", result.error.as_deref(), Some("stale STATE.json"))?;
    evidence.check_eq("its cost", result.cost, None::<f64>)
}

// ---- findings

/// A violation, as a scan of `service` reports it.
fn scanned(service: &str, code: &str, severity: Severity, file: &str, line: u64) -> Symptom {
    let violation = Violation { code: code.into(), severity, file: file.into(), line, message: format!("{code} here") };
    Scanned {
        by: By::Scan,
        component: service,
        target: service,
        system: System::Build2,
        evidence: "by hand",
        reproduction: "scan",
    }
    .symptom(&violation)
}

/// R4-M5-001: symptoms of one cause are one finding; its id stays when it is seen again, when it is
/// fixed, and when it is back; a new cause gets the next id. After FINDING-999 cataloguing stops.
#[rstest]
fn r4_m5_001_catalogue_examples(evidence: Evidence) -> Verdict {
    let log = |line| scanned("auth-service", "LOG-001", Severity::Warning, "src/main.py", line);
    let root = scanned("auth-service", "DOCKER-001", Severity::Error, "Dockerfile", 0);
    let elsewhere = scanned("order-service", "LOG-001", Severity::Warning, "src/main.py", 3);
    let mut catalogue = Catalogue::default();
    let ids = |new: Vec<FindingId>| new.iter().map(ToString::to_string).collect::<Vec<_>>();
    let absorb = |catalogue: &mut Catalogue, seen: &[Symptom], pass| {
        catalogue.absorb(seen, pass, None).map(ids).map_err(Failure::fail)
    };
    let first = absorb(&mut catalogue, &[log(3), log(9), root.clone()], 0)?;
    evidence.check_eq("two prints in a file are one finding", first, ["FINDING-001", "FINDING-002"].to_vec())?;
    let second = absorb(&mut catalogue, &[log(4), root.clone(), elsewhere.clone()], 1)?;
    evidence.check_eq("another service is another finding", second, ["FINDING-003"].to_vec())?;
    let all: Vec<_> = catalogue.entries.iter().map(|entry| entry.finding.finding_id).collect();
    let fixed = ids(catalogue.settle(all, &[root, elsewhere], 1, "the scan"));
    evidence.check_eq("what no look shows is fixed", fixed, ["FINDING-001"].to_vec())?;
    evidence.check_eq("its record", &catalogue.entries[0].finding.resolution, &Resolution::Fixed)?;
    evidence.check_eq("what is back has its id", absorb(&mut catalogue, &[log(3)], 2)?, Vec::<String>::new())?;
    let entry = &catalogue.entries[0];
    evidence.check(
        "it is open again, and says so",
        entry.is_open() && entry.reason.contains("is back"),
        &entry.reason,
    )?;
    let many: Vec<_> = (0..1000).map(|it| scanned(&format!("s{it}"), "X-001", Severity::Error, "a", 1)).collect();
    let full = Catalogue::default().absorb(&many, 0, None);
    evidence.check("the thousandth is refused", full.is_err(), full.err().map(|error| error.to_string()))
}

/// R4-M5-002: the branches of the decision tree in their order, with the branch that was taken.
#[rstest]
#[case::no_start(Effect::NoStart, true, Priority::P0, "1:")]
#[case::primary(Effect::Primary, false, Priority::P0, "2:")]
#[case::primary_with_a_workaround(Effect::Primary, true, Priority::P1, "2:")]
#[case::shared(Effect::Shared, false, Priority::P1, "3:")]
#[case::secondary(Effect::Secondary, false, Priority::P2, "3:")]
#[case::cosmetic(Effect::Cosmetic, false, Priority::P3, "4:")]
#[case::no_health_route(Effect::of_code("HEALTH-001", Severity::Warning), false, Priority::P0, "1:")]
#[case::no_route(Effect::of_code("CONTRACT-002", Severity::Error), false, Priority::P0, "2:")]
#[case::extra_field(Effect::of_code("SCHEMA-001", Severity::Error), false, Priority::P1, "3:")]
#[case::print(Effect::of_code("LOG-001", Severity::Warning), false, Priority::P2, "3:")]
#[case::naming(Effect::of_code("ADV-004", Severity::Info), false, Priority::P3, "4:")]
#[case::critical(
    Effect::of_code("DOCKER-006", Severity::Critical),
    false,
    Priority::P0,
    "unclassified: severity critical"
)]
#[case::error(Effect::of_code("DOCKER-001", Severity::Error), false, Priority::P1, "unclassified: severity error")]
#[case::not_tried(Effect::NotTried, false, Priority::P3, "none:")]
fn r4_m5_002_decision_tree_examples(
    #[case] effect: Effect,
    #[case] workaround: bool,
    #[case] priority: Priority,
    #[case] branch: &str,
    evidence: Evidence,
) -> Verdict {
    let decision = effect.decide(workaround);
    evidence.check_eq("the priority", decision.priority, priority)?;
    evidence.check("the branch is recorded", decision.branch.starts_with(branch), decision.branch)
}

// ---- figures and rules

/// A pass that attempted 10, with these figures.
fn pass(applied: u32, resolved: u32, regressions: u32, new_defects: u32) -> FixPass {
    FixPass { targeted: 10, applied, resolved, regressions, new_defects, ..FixPass::default() }
}

/// R4-M5-004: the worked example, and zero denominators, which are no value and no zero.
#[rstest]
fn r4_m5_004_pass_metrics_examples(evidence: Evidence) -> Verdict {
    let near = |rate: Option<f64>, promised: f64| rate.is_some_and(|rate| (rate - promised).abs() < 0.0005);
    let good = FixPass { score_before: Some(61.5), score_after: Some(72.25), ..pass(9, 8, 1, 2) };
    evidence.check("effectiveness", near(ratio(good.resolved, good.targeted), 0.8), good.resolved)?;
    evidence.check("net effectiveness", near(good.net_effectiveness(), 0.7), good.net_effectiveness())?;
    evidence.check("regression rate", near(good.regression_rate(), 0.111), good.regression_rate())?;
    evidence.check("score delta", near(good.score_delta(), 10.75), good.score_delta())?;
    let harmful = pass(9, 1, 4, 0);
    evidence.check_eq("never below zero", harmful.net_effectiveness(), Some(0.0))?;
    let nothing = FixPass::default();
    let rates = [nothing.net_effectiveness(), nothing.regression_rate(), nothing.score_delta(), ratio(0, 0)];
    evidence.check_eq("nothing of nothing has no value", rates, [None; 4])
}

/// What the settings allow by default.
const LIMITS: Limits = Limits { passes: 5, effectiveness_floor: 0.30, regression_ceiling: 0.25, budget: Some(10.0) };

/// R4-M5-005: each hard stop alone, the soft stop with all of its rules and without each of them,
/// and what looks like one and is none.
#[rstest]
#[case::no_urgent_one(vec![pass(9, 9, 0, 0)], Open { p2: 3, ..Open::default() }, 0.8, Some(Stop::NothingUrgent))]
#[case::nothing_at_all(vec![], Open { p3: 2, ..Open::default() }, 1.0, Some(Stop::NothingToFix))]
#[case::limit(vec![pass(9, 8, 0, 4); 5], ONE_P0, 0.8, Some(Stop::PassLimit))]
#[case::more_passes_while_low(vec![pass(9, 8, 0, 4); 5], ONE_P0, 0.6, None)]
#[case::seven_are_the_end(vec![pass(9, 8, 0, 4); 7], ONE_P0, 0.6, Some(Stop::PassLimit))]
#[case::effectiveness(vec![pass(0, 0, 0, 4), pass(1, 2, 0, 4)], ONE_P0, 0.8, Some(Stop::Effectiveness))]
#[case::one_bad_pass(vec![pass(9, 9, 0, 4), pass(0, 0, 0, 4)], ONE_P0, 0.8, None)]
#[case::not_in_a_row(vec![pass(0, 0, 0, 4), pass(9, 9, 0, 4), pass(0, 0, 0, 4)], ONE_P0, 0.8, None)]
#[case::no_value_breaks_the_row(vec![pass(0, 0, 0, 4), FixPass::default(), pass(0, 0, 0, 4)], ONE_P0, 0.8, None)]
#[case::regressions(vec![pass(8, 8, 3, 4), pass(8, 8, 3, 4)], ONE_P0, 0.8, Some(Stop::RegressionRate))]
#[case::exactly_the_ceiling(vec![pass(8, 8, 2, 4), pass(8, 8, 2, 4)], ONE_P0, 0.8, None)]
#[case::soft(vec![pass(8, 8, 0, 2), pass(8, 8, 0, 2)], TWO_P1, 0.8, Some(Stop::SoftConvergence))]
#[case::soft_but_three_p1(vec![pass(8, 8, 0, 2); 2], Open { p1: 3, ..Open::default() }, 0.8, None)]
#[case::soft_but_a_blocker(vec![pass(8, 8, 0, 2); 2], ONE_P0, 0.8, None)]
#[case::soft_but_much_new(vec![pass(8, 8, 0, 3), pass(8, 8, 0, 2)], TWO_P1, 0.8, None)]
#[case::soft_after_one_pass(vec![pass(8, 8, 0, 0)], TWO_P1, 0.8, None)]
fn r4_m5_005_stop_rules(
    #[case] passes: Vec<FixPass>,
    #[case] open: Open,
    #[case] convergence: f64,
    #[case] promised: Option<Stop>,
    evidence: Evidence,
) -> Verdict {
    let standing = Standing { passes: &passes, open, workarounds: true, convergence, score: Some(70.0), spent: 9.0 };
    evidence.check_eq("the rule", LIMITS.stop(&standing), promised)?;
    if promised == Some(Stop::SoftConvergence) {
        for (why, other) in [
            ("without workarounds", Standing { workarounds: false, ..standing }),
            ("below 70", Standing { score: Some(69.9), ..standing }),
            ("without a score", Standing { score: None, ..standing }),
        ] {
            evidence.check_eq(why, LIMITS.stop(&other), None)?;
        }
    }
    if promised.is_none() {
        let spent = Standing { spent: 10.0, ..standing };
        evidence.check_eq("the budget is a hard stop", LIMITS.stop(&spent), Some(Stop::Budget))?;
    }
    Ok(())
}

const ONE_P0: Open = Open { p0: 1, p1: 0, p2: 0, p3: 0 };
const TWO_P1: Open = Open { p0: 0, p1: 2, p2: 0, p3: 0 };

/// R4-M5-005: the worked examples of convergence, and the verdict beside each.
#[rstest]
#[case::example([2, 4, 5], [0, 1, 3], 0.76, FixVerdict::Acceptable)]
#[case::clamped([2, 4, 5], [3, 5, 4], 0.0, FixVerdict::NotConverged)]
#[case::a_blocker_beside_a_high_share([10, 0, 0], [1, 0, 0], 0.9, FixVerdict::NotConverged)]
#[case::nothing_to_do([0, 0, 0], [0, 0, 0], 1.0, FixVerdict::Converged)]
#[case::enough([2, 4, 5], [0, 1, 0], 0.88, FixVerdict::Converged)]
#[case::four_p1([0, 20, 0], [0, 4, 0], 0.8, FixVerdict::NotConverged)]
fn r4_m5_005_convergence_examples(
    #[case] first: [u32; 3],
    #[case] left: [u32; 3],
    #[case] promised: f64,
    #[case] verdict: FixVerdict,
    evidence: Evidence,
) -> Verdict {
    let open = |[p0, p1, p2]: [u32; 3]| Open { p0, p1, p2, p3: 7 };
    let share = convergence(open(first), open(left));
    evidence.check("the share", (share - promised).abs() < 0.005, share)?;
    evidence.check_eq("the verdict", FixVerdict::of(share, open(left), None), verdict)?;
    let soft = match verdict {
        FixVerdict::NotConverged if left[0] == 0 => FixVerdict::SoftStop,
        other => other,
    };
    let told = FixVerdict::of(share, open(left), Some(Stop::SoftConvergence));
    evidence.check_eq("the verdict where the soft stop held", told, soft)
}

// ---- whole loops

/// What the loops may spend, in US dollars, where the budget is not what they are about.
const PLENTY: Limits = Limits { budget: None, ..LIMITS };

/// Takes the line `USER …` out of a Dockerfile: DOCKER-001, P1.
fn run_as_root(folder: &Path) -> Verdict {
    let path = folder.join("Dockerfile");
    let text = std::fs::read_to_string(&path)?;
    let kept: String = text.lines().filter(|line| !line.starts_with("USER ")).map(|line| format!("{line}\n")).collect();
    Ok(std::fs::write(path, kept)?)
}

/// A part that the misbehaving builder of `fixtures/scripted` repairs.
fn misbehaving(tree: &Path, habit: &str) -> Part {
    let script = workspace::fixture("scripted/bad_builder.py").display().to_string();
    let argv = ["python3".to_owned(), script, habit.to_owned()].to_vec();
    let command = Command { key: "builder".into(), argv, cwd: tree.into(), env: BTreeMap::new(), ready: None };
    part(tree, Means::Program(command))
}

fn part(tree: &Path, means: Means) -> Part {
    let name = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Part { name, tree: tree.into(), means }
}

/// Infrastructure with a container that may do anything (DOCKER-006, P0), and the edit that takes
/// it away again.
fn infrastructure(folder: &Path) -> Result<Part, Failure> {
    let tree = folder.join(INFRASTRUCTURE);
    let compose = std::fs::read_to_string(workspace::root().join("docker/docker-compose.infra.yml"))?;
    let planted = compose.replacen("    image:", "    privileged: true\n    image:", 1);
    support::atomic::write(&tree.join("docker-compose.infra.yml"), planted)?;
    let edit = "grep -q DOCKER-006 \"$RUN4_INSTRUCTIONS\" && sed -i '/privileged: true/d' docker-compose.infra.yml";
    let argv = ["sh", "-c", edit].map(str::to_owned).to_vec();
    let command =
        Command { key: "fix_infrastructure".into(), argv, cwd: tree.clone(), env: BTreeMap::new(), ready: None };
    Ok(Part { name: INFRASTRUCTURE.into(), tree, means: Means::Edit(command) })
}

/// Codes of the findings that are open, with their priorities.
fn open_codes(ledger: &Ledger) -> BTreeSet<String> {
    ledger.catalogue.open().map(|entry| format!("{} {}", entry.finding.priority, entry.code)).collect()
}

/// R4-M5-003: a workspace with planted defects of all priorities converges within three passes
/// without a regression: builders mend the services, an edit the infrastructure, P3 is documented;
/// each file of instructions lists its own target's items, and scans from outside confirm it all.
/// The loop is dropped and opened anew between any two steps, as if it had been killed there.
#[rstest]
#[tokio::test]
async fn r4_m5_003_fix_loop_on_canary_workspace(config: Run4Config, builder: Builder, evidence: Evidence) -> Verdict {
    let (auth, order) = (built(&builder, 0, &evidence).await?, built(&builder, 1, &evidence).await?);
    // Somebody must listen to the events of order-service, or they are a finding.
    let listener = built(&builder, 2, &evidence).await?;
    plant(auth.folder())?;
    run_as_root(order.folder())?;
    let dockerfile = std::fs::read_to_string(order.folder().join("Dockerfile"))?;
    order.put("Dockerfile", dockerfile.replace("EXPOSE", "# EXPOSE"))?;
    let infrastructure = infrastructure(builder.data())?;
    let mut parts = vec![infrastructure];
    parts.extend([&auth, &order, &listener].map(|service| part(service.folder(), Means::Builder)));
    let ground = Trees::new(&config, parts).map_err(Failure::broken)?;
    let home = builder.data().join("home");
    let mut steps = Vec::new();
    loop {
        let mut fixes = FixLoop::open(&ground, &home, PLENTY, "the session").map_err(Failure::fail)?;
        steps.push(fixes.ledger().step);
        if !fixes.advance().await? {
            break;
        }
    }
    evidence.observe("steps", &steps)?;
    let ledger = Ledger::load(&home).map_err(Failure::fail)?.ok_or_else(|| Failure::fail("there is no ledger"))?;
    evidence.observe("ledger", &ledger)?;
    let found: BTreeSet<_> =
        ledger.catalogue.entries.iter().map(|entry| (entry.code.as_str(), entry.target.as_str())).collect();
    for planted in [
        ("HEALTH-001", "auth-service"),
        ("LOG-001", "auth-service"),
        ("DOCKER-001", "order-service"),
        ("DEPLOY-002", "order-service"),
        ("DOCKER-006", INFRASTRUCTURE),
    ] {
        evidence.check(&format!("{planted:?} is in the catalogue"), found.contains(&planted), &found)?;
    }
    let Open { p0, p1, p2, p3 } = ledger.first;
    evidence.check("all priorities are there", [p0, p1, p2, p3].iter().all(|count| *count > 0), ledger.first)?;
    evidence.check_eq("why it ended", ledger.stop, Some(Stop::NothingUrgent))?;
    evidence.check("within three passes", ledger.passes.len() <= 3, ledger.passes.len())?;
    evidence.check_eq("the verdict", ledger.verdict(), FixVerdict::Converged)?;
    evidence.check_eq("what is left", open_codes(&ledger), BTreeSet::from(["P3 DEPLOY-002".to_owned()]))?;
    let broken: u32 = ledger.passes.iter().map(|pass| pass.figures.regressions).sum();
    evidence.check_eq("regressions", broken, 0)?;
    let delta = ledger.passes[0].figures.score_delta();
    evidence.check("the score has risen", delta.is_some_and(|delta| delta > 0.0), delta)?;
    let cost = ledger.passes[0].figures.cost;
    evidence.check("its cost was metered", cost.is_some_and(|cost| cost > 0.0), cost)?;
    instructions_are_exact(&home, &ledger, &evidence)?;
    let read = |when| read_snapshot(&snapshot_file(&home, 1, when));
    let (before, after) = (read(When::Before)?, read(When::After)?);
    let gone: Vec<_> = before.places().difference(&after.places()).map(ToString::to_string).collect();
    evidence.check("the difference of the snapshots is stored", gone.len() >= 4, &gone)?;
    evidence.check_eq("places that only the later one has", after.places().difference(&before.places()).count(), 0)
}

/// Each file lists the findings of its target that were attempted, and nothing else.
fn instructions_are_exact(home: &Path, ledger: &Ledger, evidence: &Evidence) -> Verdict {
    for pass in &ledger.passes {
        for (target, ids) in &pass.items {
            let folder = format!("m5_fix_instructions/pass_{}/{target}", pass.figures.pass_number);
            let text = std::fs::read_to_string(home.join(folder).join(INSTRUCTIONS_FILE))?;
            let listed = text.lines().filter_map(|line| line.strip_prefix("### ")?.split(' ').next());
            let listed: BTreeSet<_> = listed.map(str::to_owned).collect();
            let promised: BTreeSet<_> = ids.iter().map(ToString::to_string).collect();
            evidence.check_eq(&format!("what {target} is told"), listed, promised)?;
            let foreign = |id: &FindingId| ledger.catalogue.get(*id).is_none_or(|entry| entry.target != *target);
            evidence.check_eq(
                &format!("what of it is another's than {target}"),
                ids.iter().filter(|id| foreign(id)).count(),
                0,
            )?;
        }
    }
    Ok(())
}

/// R4-M5-005: a builder that breaks something else at each fix is stopped by the regression rule,
/// one that fixes nothing by the effectiveness rule, and any by the budget; each says so, and no
/// loop calls that a success.
#[rstest]
#[case::breaks("breaks", PLENTY, (Stop::RegressionRate, 2))]
#[case::fixes_nothing("idles", PLENTY, (Stop::Effectiveness, 2))]
#[case::costs_too_much("idles", Limits { budget: Some(0.2), ..PLENTY }, (Stop::Budget, 1))]
#[tokio::test]
async fn r4_m5_005_bad_builders_are_stopped(
    #[case] habit: &str,
    #[case] limits: Limits,
    #[case] (promised, passes): (Stop, usize),
    bundle: HandMadeBundle,
    config: Run4Config,
    builder: Builder,
    evidence: Evidence,
) -> Verdict {
    let service = built(&builder, 0, &evidence).await?;
    run_as_root(service.folder())?;
    let ground = Trees::new(&config, vec![misbehaving(service.folder(), habit)]).map_err(Failure::broken)?;
    let home = builder.data().join("home");
    let ledger = FixLoop::open(&ground, &home, limits, "the session").map_err(Failure::fail)?.run().await?;
    evidence.observe("ledger", &ledger)?;
    evidence.check_eq("why it ended", ledger.stop, Some(promised))?;
    ledger.save(bundle.path())?;
    bundle.seal()?;
    let report = std::fs::read_to_string(write_report(&bundle.audit()?, bundle.path())?)?;
    let history = report.split("## 5. Fix Pass History").nth(1).unwrap_or_default();
    let said = format!("**NOT_CONVERGED**: {}. Passes: {passes}.", promised.words());
    evidence.check("the report says so", history.contains(&said), said)?;
    evidence.check_eq("passes", ledger.passes.len(), passes)?;
    evidence.check_eq("the verdict", ledger.verdict(), FixVerdict::NotConverged)?;
    let figures = &ledger.passes[0].figures;
    if habit == "breaks" {
        evidence.check_eq("what it was told of is gone", figures.resolved, 1)?;
        evidence.check_eq("what it broke is counted", figures.regressions, 3)?;
        let delta = figures.score_delta();
        evidence.check("the score falls", delta.is_some_and(|delta| delta < 0.0), delta)?;
        let new = ledger.passes.iter().flat_map(|pass| &pass.broken.new).map(|new| new.place.code().to_owned());
        evidence.check_eq(
            "what it broke",
            new.collect::<Vec<_>>(),
            ["SEC-SECRET-006"; 6].map(str::to_owned).to_vec(),
        )?;
    } else {
        evidence.check_eq("nothing was resolved", (figures.resolved, figures.applied), (0, 0))?;
        evidence.check_eq("the rate of regressions has no value", figures.regression_rate(), None)?;
    }
    Ok(())
}

// ---- a whole run

/// R4-M5-003: where the profile has no command that could repair a Build, the instructions are
/// written, the finding stays open, and the run says that it awaits a fix; it goes on from there.
#[rstest]
#[tokio::test]
async fn r4_m5_003_a_foreign_system_is_awaited(mut bundle: HandMadeBundle, evidence: Evidence) -> Verdict {
    bundle.failed("b1_09_mcp_handshake_architect")?;
    bundle.seal()?;
    let argv = [workspace::run4_program().display().to_string(), "internal".into(), "fix".into()].to_vec();
    let (session, place) = (HandMadeBundle::SESSION.to_owned(), bundle.path().display().to_string());
    let env = [(workspace::SESSION_VARIABLE, session), (workspace::BUNDLE_VARIABLE, place)];
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let command = Command { key: "run4".into(), argv, cwd: workspace::root(), env, ready: None };
    let reply = probe(&command, "", bundle.path(), Duration::from_secs(60)).await?;
    evidence.observe("reply", &reply)?;
    evidence.check_eq("the exit code", reply.code, Some(0))?;
    let ledger = Ledger::load(bundle.path()).map_err(Failure::fail)?.ok_or_else(|| Failure::fail("no ledger"))?;
    evidence.check_eq("why it stands", ledger.stop, Some(Stop::AwaitingFix))?;
    evidence.check_eq("where it goes on", ledger.step, Step::Verify)?;
    evidence.check("what is open", open_codes(&ledger).contains("P0 B1-09"), open_codes(&ledger))?;
    let text = std::fs::read_to_string(bundle.path().join("m5_fix_instructions/pass_1/build1/FIX_INSTRUCTIONS.md"))?;
    let told = ["## P0 (MUST FIX)", "B1-09", "it did not hold", "cargo nextest run b1_09_mcp_handshake_architect"];
    let missing: Vec<_> = told.into_iter().filter(|words| !text.contains(words)).collect();
    evidence.check_eq("what the instructions do not say", missing, Vec::<&str>::new())
}
