//! The main job: preflight, the milestones in order with the state saved after each, the report.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};

use super::{
    Outcome, Problem, block_on, exit, fix, internal, nextest, preflight,
    select::{self, Selection},
};
use crate::{
    atomic,
    audit::{self, Audit, Manifest, RunKind},
    config::{Run4Config, Substrate},
    evidence::Record,
    fix_pass::ledger,
    matrix::{Matrix, requirements},
    session::{Watch, start_supervisor},
    state::{HealthResult, Loaded, Run4State},
    toolbox,
    verdict::Status,
};

/// What of the output folder belongs to one run (plan §7.4); the rest outlives runs.
const BUNDLE: [&str; 19] = [
    "RUN4_STATE.json",
    "manifest.json",
    "listing.json",
    "junit",
    "evidence",
    "logs",
    "m2_mcp_results.json",
    "m4_builder_outputs",
    "pipeline",
    "m5_fix_snapshots",
    "m5_fix_passes.json",
    "m5_fix_instructions",
    "m5_fix_best",
    "m5_verify",
    "m5_regress",
    "audit.json",
    "audit.sarif",
    "SUPER_TEAM_AUDIT_REPORT.html",
    "SUPER_TEAM_AUDIT_REPORT.md",
];

/// Where GitHub wants a summary of a step, as Markdown.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// The milestone before which the fix passes of a whole run are done.
const FIXES_BEFORE: u8 = 5;

/// What of the state names the words of the command line that the run was started with.
const SELECTION: &str = "selection";

/// Runs the main job; gives the exit code of its verdict.
pub(super) fn run(config: &Run4Config, words: &[String], resume: bool) -> Outcome {
    let matrix = Matrix::load().map_err(unreadable)?;
    let requirements = requirements().map_err(unreadable)?;
    let parse = |words: &[String]| Selection::parse(words, &matrix, &requirements).map_err(Problem::usage);
    let mut selection = parse(words)?;
    set_up(config)?;

    let bundle = &config.output_dir;
    let mut state = begin(config, bundle, words, resume)?;
    if resume && let Some(words) = state.milestone_artifacts.get(SELECTION) {
        selection = parse(&serde_json::from_value::<Vec<String>>(words.clone()).map_err(std::io::Error::other)?)?;
    }
    let id = state.run_id.to_string();
    let session = nextest::Session { id: &id, substrate: config.substrate };
    let watch = Watch { session: id.clone(), runner: std::process::id(), afterwards: Vec::new() };
    start_supervisor(&watch, &bundle.join("logs/supervisor.log"))?;
    let interrupted = block_on(milestones(bundle, &session, &selection, &mut state))??;

    let mut manifest = Manifest::load(bundle).map_err(unreadable)?;
    manifest.finish(bundle)?;
    let result = audit::audit(bundle).map_err(unreadable)?;
    let report = audit::write_report(&result, bundle)?;
    state.audit_report_path = report.display().to_string();
    keep_scores(&result, &mut state);
    save(&mut state, bundle)?;
    print_summary(&result, &report);
    if interrupted {
        eprintln!("the run was interrupted; go on with `cargo run4 --resume`");
        return Ok(exit::UNVERIFIED);
    }
    if selection == Selection::default() {
        return Ok(result.exit_code());
    }
    let chosen = result.tests.iter().map(|test| &test.name).filter(|name| selection.covers(&name.binary, &name.test));
    Ok(result.exit_code_of(&chosen.cloned().collect()))
}

/// The scores that were measured, for whoever reads the state (D-55: the capped values).
fn keep_scores(result: &Audit, state: &mut Run4State) {
    let scores = &result.scores;
    state.per_system_scores = ["build1", "build2", "build3"]
        .into_iter()
        .zip(&scores.builds)
        .filter(|(_, score)| score.is_measured())
        .map(|(name, score)| (name.to_owned(), score.value))
        .collect();
    (state.integration_score, state.aggregate_score) = (scores.integration_capped, scores.aggregate_capped);
    let raw = json!({ "integration": scores.integration.value, "aggregate": scores.aggregate_raw });
    state.milestone_artifacts.insert("raw_scores".to_owned(), raw);
}

pub(super) fn unreadable(error: impl std::fmt::Display) -> Problem {
    Problem::unverified(miette::miette!("{error}"))
}

/// Checks this machine and makes what every run needs.
fn set_up(config: &Run4Config) -> Result<(), Problem> {
    preflight::preflight()?;
    eprintln!("building the suite and the system under test");
    preflight::prepare_system(config)?;
    eprintln!("checking the toolbox");
    if let Err(error) = toolbox::ensure() {
        eprintln!("warning: {error}; rows that need it are UNTESTABLE(toolbox)");
    }
    preflight::prepare_images(config)
}

/// The table at the end of a run: what is not PASS, the counts, and where the report is.
pub(super) fn print_summary(result: &Audit, report: &Path) {
    for row in result.rows.iter().filter(|row| !matches!(row.status, Status::Pass | Status::Untested(_))) {
        println!("{:6} {:11} {}", row.row.id, row.status.word(), row.status.reason().unwrap_or_default());
    }
    for problem in &result.problems {
        println!("bundle {problem}");
    }
    let counts = result.counts();
    println!(
        "\n{:>4} PASS  {:>4} FAIL  {:>4} BROKEN  {:>4} UNTESTABLE  {:>4} UNTESTED  of {} ids",
        counts.pass,
        counts.fail,
        counts.broken,
        counts.untestable,
        counts.untested,
        result.rows.len()
    );
    println!("{}", result.conclusion.sentence);
    println!("seal: {}", result.seal);
    println!("report: {}", report.display());
    if let Some(file) = std::env::var_os(STEP_SUMMARY).filter(|file| !file.is_empty())
        && let Err(error) = append(Path::new(&file), &audit::step_summary(result, &report.display().to_string()))
    {
        eprintln!("warning: {} ({STEP_SUMMARY}) is not written: {error}", file.display());
    }
}

fn append(file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::File::options().create(true).append(true).open(file)?.write_all(text.as_bytes())
}

/// The state to work on: a fresh one after the last run's bundle has been put away, or with
/// `resume` the one the last run left.
fn begin(config: &Run4Config, bundle: &Path, words: &[String], resume: bool) -> Result<Run4State, Problem> {
    let loaded = Run4State::load(bundle).map_err(Problem::unverified)?;
    if let Loaded::SetAside { kept_at, reason } = &loaded {
        eprintln!("the state of the last run is unusable ({reason}); it is kept at {}", kept_at.display());
    }
    match loaded.state() {
        Some(state) if resume => {
            let before = Manifest::load(bundle).map_err(unreadable)?.substrate;
            if before != config.substrate {
                let (now, help) = (config.substrate, format!("add `--substrate {before}`"));
                return Err(Problem::usage(miette::miette!(help = help, "the run is one of {before}, not of {now}")));
            }
            return Ok(state);
        }
        Some(state) => put_away(bundle, &state.run_id.to_string())?,
        None if resume => {
            return Err(Problem::usage(miette::miette!(
                help = "start a run with `cargo run4`",
                "there is no run to resume in {}",
                bundle.display()
            )));
        }
        None => put_away(bundle, &format!("unknown-{}", chrono::Utc::now().format("%Y%m%dT%H%M%SZ")))?,
    }
    let mut state = Run4State::new();
    if !words.is_empty() {
        state.milestone_artifacts.insert(SELECTION.to_owned(), json!(words));
    }
    internal::begin_manifest(config, bundle, &state.run_id.to_string(), RunKind::Full)?;
    save(&mut state, bundle)?;
    Ok(state)
}

/// Moves what a run left to `history/<run>`.
fn put_away(bundle: &Path, run: &str) -> std::io::Result<()> {
    let left: Vec<_> = BUNDLE.iter().filter(|name| bundle.join(name).exists()).collect();
    if left.is_empty() {
        return Ok(());
    }
    let place = bundle.join("history").join(run);
    std::fs::create_dir_all(&place)?;
    for name in left {
        let target = place.join(name);
        if target.is_dir() {
            std::fs::remove_dir_all(&target)?;
        }
        std::fs::rename(bundle.join(name), target)?;
    }
    Ok(())
}

/// Runs the selected milestones in their order; tells whether a signal ended the run.
pub(super) async fn milestones(
    bundle: &Path,
    session: &nextest::Session<'_>,
    selection: &Selection,
    state: &mut Run4State,
) -> Result<bool, Problem> {
    let present = list(bundle, session.substrate).await?;
    for milestone in select::milestones() {
        if milestone == FIXES_BEFORE && fix_passes(bundle, session, selection, state).await? {
            return Ok(true);
        }
        let Some(filter) = selection.filter(milestone, &present) else { continue };
        if state.completed_milestones.contains(&milestone) {
            continue;
        }
        state.begin(milestone, "tests");
        save(state, bundle)?;
        begin_milestone(bundle, milestone)?;
        let ended = nextest::run(&format!("M{milestone}"), &filter, bundle, session).await?;
        if ended.ran_to_the_end() && ended.counts == (0, 0) {
            continue;
        }
        let kept = nextest::keep_junit(bundle, "", nextest::PROFILE, Some(milestone), Some(&ended));
        match kept {
            Err(error) if ended.ran_to_the_end() => return Err(error.into()),
            // A run that was cut short may have left no results, which the audit will say.
            Err(error) => eprintln!("M{milestone} left no results: {error}"),
            Ok(()) => (),
        }
        if milestone == 2 {
            keep_mcp_results(bundle, state)?;
        }
        if ended.ran_to_the_end() {
            let (passed, failed) = ended.counts;
            eprintln!("  M{milestone}  {passed} passed, {failed} not, {:.1} s", ended.seconds);
            state.current_phase = "done".into();
            state.complete(milestone);
        } else if let Some(signal) = ended.interrupted {
            state.interrupt(signal);
        } else {
            state.fail(format!("nextest ended with {:?}", ended.code));
        }
        save(state, bundle)?;
        if ended.interrupted.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The fix passes of a whole run, once or where they were left; tells whether a signal ended them.
async fn fix_passes(
    bundle: &Path,
    session: &nextest::Session<'_>,
    selection: &Selection,
    state: &mut Run4State,
) -> Result<bool, Problem> {
    let complete = (1..FIXES_BEFORE).all(|milestone| state.completed_milestones.contains(&milestone));
    let again = state.completed_milestones.contains(&FIXES_BEFORE);
    if *selection != Selection::default() || !complete || (again && !fix::is_open(bundle)?) {
        return Ok(false);
    }
    if again {
        discard_later(bundle, state)?;
    }
    state.begin(FIXES_BEFORE, "fix passes");
    save(state, bundle)?;
    let mut manifest = Manifest::load(bundle).map_err(unreadable)?;
    manifest.check(bundle, ledger::FILE_NAME).map_err(unreadable)?;
    manifest.unseal(|path| path == ledger::FILE_NAME || path.starts_with(ledger::SNAPSHOTS));
    manifest.save(bundle)?;
    let interrupted = fix::phase(bundle, session, state).await?;
    if interrupted {
        state.interrupt("a signal in the fix passes");
    }
    save(state, bundle)?;
    Ok(interrupted)
}

/// Takes the seal off what a milestone's tests write: they are about to run.
fn unseal(manifest: &mut Manifest, milestone: u8) {
    let results = format!("junit/m{milestone}.xml");
    let records = select::binaries(milestone).iter().map(|binary| format!("evidence/{binary}/")).collect::<Vec<_>>();
    manifest.unseal(|path| path == results || records.iter().any(|folder| path.starts_with(folder)));
}

/// As [`unseal`], in the manifest of `bundle`.
fn begin_milestone(bundle: &Path, milestone: u8) -> Result<(), Problem> {
    let mut manifest = Manifest::load(bundle).map_err(unreadable)?;
    unseal(&mut manifest, milestone);
    Ok(manifest.save(bundle)?)
}

/// Takes away what the milestones after the fix passes have found: it is of the system before its
/// repair, and they run again.
fn discard_later(bundle: &Path, state: &mut Run4State) -> Result<(), Problem> {
    state.completed_milestones.retain(|milestone| *milestone < FIXES_BEFORE);
    let mut manifest = Manifest::load(bundle).map_err(unreadable)?;
    let is_later = |run: &audit::Run| run.milestone.is_some_and(|milestone| milestone >= FIXES_BEFORE);
    let mut left: Vec<_> =
        manifest.runs.iter().filter(|run| is_later(run)).map(|run| bundle.join(&run.junit)).collect();
    let binaries = select::milestones().filter(|milestone| *milestone >= FIXES_BEFORE).flat_map(select::binaries);
    left.extend(binaries.map(|binary| bundle.join("evidence").join(binary)));
    for path in left {
        match if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) } {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => (),
        }
    }
    manifest.runs.retain(|run| !is_later(run));
    let later = |milestone: &u8| *milestone >= FIXES_BEFORE;
    select::milestones().filter(later).for_each(|milestone| unseal(&mut manifest, milestone));
    Ok(manifest.save(bundle)?)
}

/// Writes the list of the suite's tests into the bundle: what must appear in JUnit. Gives the
/// test binaries that exist.
async fn list(bundle: &Path, substrate: Substrate) -> Result<BTreeSet<String>, Problem> {
    // All packages, as every other build has it: another choice would compile anew what they share.
    let arguments = ["list", "--profile", nextest::PROFILE, "--message-format", "json", "-E", "package(=run4)"];
    // The first time this builds the tests, which an engineer wants to watch.
    let output = nextest::command(&arguments, substrate).stderr(Stdio::inherit()).output().await?;
    if !output.status.success() {
        return Err(Problem::unverified(miette::miette!("the tests cannot be listed: see the text above")));
    }
    let mut listing: Value = serde_json::from_slice(&output.stdout).map_err(std::io::Error::other)?;
    let mut present = BTreeSet::new();
    if let Some(suites) = listing["rust-suites"].as_object_mut() {
        suites.retain(|_, suite| suite["package-name"] == "run4");
        present.extend(suites.values().filter_map(|suite| suite["binary-name"].as_str().map(str::to_owned)));
    }
    let mut manifest = Manifest::load(bundle).map_err(unreadable)?;
    manifest.unseal(|path| path == "listing.json");
    manifest.save(bundle)?;
    atomic::write_json(&bundle.join("listing.json"), &listing)?;
    Ok(present)
}

/// Gathers what M2 measured: `m2_mcp_results.json` (plan §7.4) and the state's M2 fields.
fn keep_mcp_results(bundle: &Path, state: &mut Run4State) -> std::io::Result<()> {
    let mut tools: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut results = serde_json::Map::new();
    for record in records(&bundle.join("evidence/m2_mcp_wiring"))? {
        let calls = record.observations.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            tools.entry(call["tool"].as_str().unwrap_or_default().to_owned()).or_default().push(call.clone());
        }
        for name in ["latency", "start_up", "mcp_health"] {
            if let Some(value) = record.observations.get(name) {
                results.insert(name.to_owned(), value.clone());
            }
        }
    }
    if let Some(health) = results.get("mcp_health") {
        state.mcp_health = serde_json::from_value::<BTreeMap<String, HealthResult>>(health.clone())?;
    }
    state.mcp_tool_results = tools
        .iter()
        .map(|(tool, calls)| {
            let passed = calls.iter().all(|call| call["passed"] == true);
            (
                tool.clone(),
                serde_json::Map::from_iter([
                    ("passed".to_owned(), json!(passed)),
                    ("calls".to_owned(), json!(calls.len())),
                ]),
            )
        })
        .collect();
    results.insert("tool_calls".into(), json!(tools));
    atomic::write_json(&bundle.join("m2_mcp_results.json"), &results)
}

/// The evidence records in `folder`; none when it is not there.
fn records(folder: &Path) -> std::io::Result<Vec<Record>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    paths.iter().map(|path| Ok(serde_json::from_slice(&std::fs::read(path)?)?)).collect()
}

fn save(state: &mut Run4State, bundle: &Path) -> Result<(), Problem> {
    state.save(bundle).map_err(Problem::unverified)
}
