//! Milestone 5, fix passes: so far the promise that needs no pipeline run (plan R4-M3-005,
//! R4-M5-003; spec builder.md §6).

use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::json;
use support::{
    config::BuilderDepth::{Quick, Thorough},
    fix_pass::{
        instructions::{Item, render},
        violation::{Violation, count},
    },
    fixtures::ScriptedBuilder,
    pipeline::{
        builder::invoke,
        builder_inputs::{BuilderWorkspace, INSTRUCTIONS_FILE, ServiceInputs},
        builder_state::STATE_FILE,
    },
    prelude::*,
    state::FindingId,
    tree,
};

/// What is planted into a tree, by the code that finds it.
const PLANTED: [&str; 3] = ["LOG-001", "HEALTH-001", "DOCKER-001"];

/// What the price of a work unit is in these runs, in US dollars.
const USD_PER_UNIT: f64 = 0.01;

/// A copy of a built service whose runs cost something and use servers of their own.
async fn built(builder: &Builder, evidence: &Evidence) -> Result<BuilderWorkspace, Failure> {
    let samples = builder.built_samples().await?;
    evidence.check("the service was built", samples.results[0].success, &samples.results[0].error)?;
    let services: Vec<ServiceInputs> = builder.sample_services().await?;
    let folder = builder.data().join(&samples.results[0].service_id);
    tree::copy(samples.tree(0)?, &folder)?;
    let config = builder.config(Thorough, builder.data())?.with("metering.usd_per_unit", USD_PER_UNIT);
    Ok(BuilderWorkspace::write(&folder, &services[0], &config)?)
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
    let workspace = built(&builder, &evidence).await?;
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
    let workspace = built(&builder, &evidence).await?;
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
    let invocation = scripted.invocation("orders", std::time::Duration::from_secs(30))?;
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
