//! The fix passes of the main job, between M4 and M5: on the bundle of the run, its generated
//! services, and whatever the profile has commands to repair (R4-M5-003, scoring.md §6).
//!
//! They run as a process of their own, `run4 internal fix`, so that the session's servers can be
//! asked for, and so that a kill between two steps is nothing new.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::{Outcome, Problem, block_on, internal, nextest, preflight, select::Selection, verify};
use crate::{
    audit::{self, Audit, Manifest, RunKind},
    config::Run4Config,
    fix_pass::{
        convergence::Limits,
        ground::{Applied, Ground, Look},
        ledger::{Ledger, Step},
        passes::FixLoop,
        trees::{INFRASTRUCTURE, Means, Part, Trees},
    },
    matrix::displayed_name,
    session::{Watch, start_supervisor},
    state::{FindingId, Run4State},
    sut::{Build, Place, Profile, probe},
    tree,
    verdict::{Failure, Status},
    workspace::{self, BUNDLE_VARIABLE, SESSION_VARIABLE},
};

/// Where a bundle keeps what its builders wrote (plan §7.4).
const BUILDER_OUTPUTS: &str = "m4_builder_outputs";

/// Where the tests of a verification and of a regression run leave their bundles.
const VERIFY: &str = "m5_verify";
const REGRESS: &str = "m5_regress";

/// The test whose record has the violations that the integration reports.
const INTEGRATION_TEST: &str = "sc_04_integration_tests";

/// How long a command that repairs a Build may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(3600);

/// The commands that repair, by target.
const COMMANDS: [(&str, &str); 4] =
    [("build1", "fix_build1"), ("build2", "fix_build2"), ("build3", "fix_build3"), ("integration", "fix_integration")];

/// Runs the fix passes on `bundle`; tells whether a signal ended them. Whatever else ends them early
/// is printed, and the report says how far they came.
pub(super) async fn phase(bundle: &Path, session: &nextest::Session<'_>, state: &mut Run4State) -> io::Result<bool> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = tokio::process::Command::new(workspace::run4_program())
        .args(["internal", "fix"])
        .env(SESSION_VARIABLE, session.id)
        .env(BUNDLE_VARIABLE, bundle)
        .env(nextest::SUBSTRATE_VARIABLE, session.substrate.to_string())
        // Ctrl-C reaches it once, passed on below.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut interrupted = false;
    let status = loop {
        let passed_on = tokio::select! {
            status = child.wait() => break status?,
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv() => Signal::TERM,
        };
        if let (Some(id), false) = (id, interrupted) {
            interrupted = true;
            // It may have ended meanwhile, which the wait will tell.
            let _ = kill_process(id, passed_on);
        }
    };
    if !interrupted && !status.success() {
        eprintln!("the fix passes ended early ({status}); `cargo run4 --resume` goes on with them");
    }
    match Ledger::load(bundle) {
        Ok(Some(ledger)) => keep(&ledger, state),
        Ok(None) => (),
        Err(error) => eprintln!("{error}"),
    }
    Ok(interrupted)
}

/// The process of [`phase`].
pub(super) fn run() -> Outcome {
    // Logs are named after the thread, as those of tests are.
    let thread = std::thread::Builder::new().name("fix_passes".into()).spawn(fix_passes)?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn fix_passes() -> Outcome {
    let config = super::settings()?;
    let (bundle, session) = (workspace::bundle(), workspace::session_id());
    let limits = Limits {
        passes: config.max_fix_passes,
        effectiveness_floor: config.fix_effectiveness_floor,
        regression_ceiling: config.regression_rate_ceiling,
        budget: None,
    };
    let ground = Bundle::new(&config, &bundle)?;
    let spent = ground.audit(&bundle).map_err(|failure| broken(&failure))?.pipeline_cost.unwrap_or(0.0);
    let limits = Limits { budget: config.budget_limit.map(|budget| (budget - spent).max(0.0)), ..limits };
    let mut fixes = FixLoop::open(&ground, &bundle, limits, &session).map_err(verify::unreadable)?;
    block_on(async {
        loop {
            let step = fixes.ledger().step;
            let more = fixes.advance().await.map_err(|failure| broken(&failure))?;
            tell(step, fixes.ledger());
            if !more {
                return Ok(0);
            }
        }
    })?
}

fn broken(failure: &Failure) -> Problem {
    let status = failure.status();
    Problem::unverified(miette::miette!("a fix pass could not go on: {status}"))
}

/// One line for each step that an engineer waits for.
fn tell(step: Step, ledger: &Ledger) {
    use Step::{Apply, Discover, Regress, Settle};
    let open = ledger.catalogue.count();
    match (step, ledger.stop) {
        (Discover, None) => {
            eprintln!("  findings: {} P0, {} P1, {} P2, {} P3", open.p0, open.p1, open.p2, open.p3);
        }
        (Regress, _) => {
            let Some(pass) = ledger.passes.last() else { return };
            let figures = &pass.figures;
            eprintln!(
                "  fix pass {}: {} of {} resolved, {} regressions, convergence {:.2}",
                figures.pass_number, figures.resolved, figures.targeted, figures.regressions, pass.convergence
            );
        }
        (Settle | Apply, Some(stop)) => eprintln!("  fix passes: {} ({})", stop.words(), ledger.verdict()),
        _ => (),
    }
}

/// The ground of a whole run.
struct Bundle<'c> {
    config: &'c Run4Config,
    bundle: PathBuf,
    profile: Profile,
    trees: Option<Trees>,
    /// Whether a Build may be another one now, so that M1 to M4 must run again.
    stale: Cell<bool>,
    /// Whether a Build was repaired in any pass: then no state of the services alone can be restored.
    builds_changed: Cell<bool>,
    /// Whether something was repaired that the tests of the bundle have not seen.
    unseen: Cell<bool>,
}

impl<'c> Bundle<'c> {
    fn new(config: &'c Run4Config, bundle: &Path) -> Result<Self, Problem> {
        let profile = Profile::of(config).map_err(Problem::usage)?;
        let trees = trees(config, &profile, &bundle.join(BUILDER_OUTPUTS))?;
        let ledger = Ledger::load(bundle).map_err(verify::unreadable)?;
        let [stale, builds_changed, unseen] = worked_on(ledger.as_ref()).map(Cell::new);
        Ok(Self { config, bundle: bundle.to_path_buf(), profile, trees, stale, builds_changed, unseen })
    }

    fn audit(&self, bundle: &Path) -> Result<Audit, Failure> {
        audit::audit(bundle).map_err(Failure::broken)
    }

    fn has_tree(&self, target: &str) -> bool {
        self.trees.as_ref().is_some_and(|trees| trees.turn(target).is_some())
    }

    /// The files of the Builds that a command for `target` may change, with their digests.
    fn sources(&self, target: &str) -> io::Result<BTreeMap<PathBuf, String>> {
        let mut all = BTreeMap::new();
        for build in Build::ALL {
            if target != "integration" && target != format!("build{}", build.index() + 1) {
                continue;
            }
            for source in &self.profile.build(build).sources {
                let root = self.profile.build_root(build).join(source);
                let files = tree::digests(&root, &["target", "node_modules", ".venv"])?;
                all.extend(files.into_iter().map(|(path, digest)| (source.join(path), digest)));
            }
        }
        Ok(all)
    }

    /// Runs tests in a bundle and a session of their own: the whole of M1 to M4, or those of `filter`.
    async fn run_tests(&self, folder: &str, filter: Option<&str>) -> Result<PathBuf, Failure> {
        let told = |problem: Problem| Failure::broken(format!("{:?}", problem.report));
        // What was repaired as source must be built before it is judged.
        preflight::prepare_system(self.config).map_err(told)?;
        let place = self.bundle.join(folder);
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        let id = Uuid::new_v4().to_string();
        internal::begin_manifest(self.config, &place, &id, RunKind::Full).map_err(told)?;
        let watch = Watch { session: id.clone(), runner: std::process::id(), afterwards: Vec::new() };
        start_supervisor(&watch, &place.join("logs/supervisor.log"))?;
        let session = nextest::Session { id: &id, substrate: self.config.substrate };
        let interrupted = match filter {
            None => {
                let mut state = Run4State::new();
                [5, 6].into_iter().for_each(|milestone| state.complete(milestone));
                let everything = Selection::default();
                let run = verify::milestones(&place, &session, &everything, &mut state);
                let interrupted = Box::pin(run).await.map_err(told)?;
                if !interrupted && state.first_open_milestone().is_some() {
                    return Err(Failure::broken(format!(
                        "the tests did not run to their end: {}",
                        state.interrupt_reason
                    )));
                }
                interrupted
            }
            Some(filter) => {
                let ended = nextest::run("verify", filter, &place, &session).await?;
                nextest::keep_junit(&place, "", nextest::PROFILE, None, Some(&ended))?;
                !ended.ran_to_the_end()
            }
        };
        if interrupted {
            return Err(Failure::broken("the tests were interrupted"));
        }
        Manifest::load(&place).map_err(Failure::broken)?.finish(&place)?;
        Ok(place)
    }
}

/// The ground of the generated services and of the infrastructure, where there are some and the
/// system has what looks at them.
fn trees(config: &Run4Config, profile: &Profile, folder: &Path) -> Result<Option<Trees>, Problem> {
    let looks = ["orchestrator", "builder", "scan_probe"].iter().all(|key| profile.has(key));
    if !looks || !folder.is_dir() {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let tree = entry?.path();
        let name = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
        parts.push(Part { name, tree, means: Means::Builder });
    }
    parts.sort_by(|one, other| one.name.cmp(&other.name));
    let unusable = |reason: String| Problem::unverified(miette::miette!("{reason}"));
    let edit = profile.command("fix_infrastructure", &Place::new(folder)).map_err(Problem::usage)?;
    let compose = config.docker_compose_files.first().and_then(|file| file.parent());
    if let (Some(edit), Some(tree)) = (edit, compose.filter(|folder| folder.is_dir())) {
        parts.push(Part { name: INFRASTRUCTURE.to_owned(), tree: tree.to_path_buf(), means: Means::Edit(edit) });
    }
    match parts.is_empty() {
        true => Ok(None),
        false => Trees::new(config, parts).map(Some).map_err(unusable),
    }
}

/// What a run that is resumed has worked on before: whether a Build may be another one since its
/// tests ran, whether one ever was, and whether the tests have not seen the last repair. A pass is
/// about Builds or about trees.
fn worked_on(ledger: Option<&Ledger>) -> [bool; 3] {
    let of_builds = |items: &BTreeMap<String, Vec<FindingId>>| items.keys().any(|target| command_of(target).is_some());
    let passes = ledger.into_iter().flat_map(|ledger| &ledger.passes).map(|pass| &pass.items);
    let current = ledger.and_then(|ledger| ledger.current.as_ref()).map(|current| &current.items);
    let all: Vec<bool> = passes.chain(current).map(of_builds).collect();
    // Somebody who was awaited has been at work, or a command was.
    [current.is_some_and(of_builds), all.contains(&true), all.last() == Some(&false)]
}

/// The manifest key of the command that repairs `target`, when it is a Build or the integration.
fn command_of(target: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(known, _)| *known == target).map(|(_, key)| *key)
}

impl Ground for Bundle<'_> {
    async fn look(&self) -> Result<Look, Failure> {
        if self.stale.get() {
            let fresh = self.run_tests(REGRESS, None).await?;
            audit::adopt(&self.bundle, &fresh).map_err(Failure::broken)?;
            self.stale.set(false);
            self.unseen.set(false);
        }
        let audit = self.audit(&self.bundle)?;
        let mut look = match &self.trees {
            Some(trees) => trees.look().await?,
            None => Look::default(),
        };
        // What the gate said of these trees is taken anew, from the trees as they are now.
        let told = audit.symptoms.iter().filter(|it| !(it.key.starts_with("scan ") && self.has_tree(&it.target)));
        look.symptoms.extend(told.cloned());
        let judged = audit.tests.iter().filter_map(|test| match test.status {
            Status::Pass => Some((test.name.to_string(), true)),
            Status::Fail(_) => Some((test.name.to_string(), false)),
            Status::Broken(_) | Status::Untestable(_) | Status::Untested(_) => None,
        });
        look.tests.extend(judged);
        // By what M1 to M4 measure, and only when they have seen the last repair.
        look.score = if self.unseen.get() { None } else { audit.scores.of_measured() };
        Ok(look)
    }

    async fn gone(&self, keys: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        let mut gone = match &self.trees {
            Some(trees) => trees.gone(keys).await?,
            None => BTreeSet::new(),
        };
        let Some(filter) = filter(keys) else { return Ok(gone) };
        let place = self.run_tests(VERIFY, Some(&filter)).await?;
        let audit = self.audit(&place)?;
        let passed: BTreeSet<_> =
            audit.tests.iter().filter(|test| test.status == Status::Pass).map(|test| test.name.to_string()).collect();
        let still: BTreeSet<_> = audit.symptoms.iter().map(|symptom| symptom.key.as_str()).collect();
        // The record of the integration is there only when its test ran to its end.
        let integrated = passed.iter().any(|test| test.contains(INTEGRATION_TEST));
        gone.extend(
            keys.iter()
                .filter(|key| match key.split_once(' ') {
                    Some(("test", name)) => passed.contains(name),
                    Some(("contract", _)) => integrated && !still.contains(key.as_str()),
                    _ => false,
                })
                .cloned(),
        );
        fs::remove_dir_all(place)?;
        Ok(gone)
    }

    /// Builds first: what they generate is generated anew. Last what waits for somebody.
    fn turn(&self, target: &str) -> Option<u8> {
        match command_of(target) {
            Some(key) if self.profile.has(key) => Some(0),
            Some(_) => Some(2),
            None => self.has_tree(target).then_some(1),
        }
    }

    async fn apply(&self, target: &str, instructions: &Path) -> Result<Applied, Failure> {
        let Some(key) = command_of(target) else {
            self.unseen.set(true);
            let trees = self.trees.as_ref().ok_or_else(|| Failure::broken(format!("there is no tree of {target}")))?;
            return trees.apply(target, instructions).await;
        };
        let mut place = Place::new(instructions.parent().unwrap_or(instructions));
        place.set("instructions", instructions.display());
        let Some(command) = self.profile.command(key, &place).map_err(Failure::broken)? else {
            eprintln!("  awaiting fix of {target}: {}", instructions.display());
            return Ok(Applied::Awaiting);
        };
        self.stale.set(true);
        self.builds_changed.set(true);
        let before = self.sources(target)?;
        let reply = probe(&command, "", &self.bundle.join("logs/fix"), COMMAND_LIMIT).await?;
        let error = match reply.code {
            Some(0) => String::new(),
            code => format!("the command ended with {code:?}: {}", reply.stderr.trim()),
        };
        let changed = tree::differences(&before, &self.sources(target)?);
        Ok(Applied::Done {
            changed: changed.iter().map(|path| path.display().to_string()).collect(),
            cost: None,
            error,
        })
    }

    fn keep(&self, place: &Path) -> io::Result<()> {
        self.trees.as_ref().map_or(Ok(()), |trees| trees.keep(place))
    }

    /// The trees only, and only when nothing else was changed: what commands do belongs to the user.
    fn restore(&self, place: &Path) -> io::Result<bool> {
        match &self.trees {
            Some(trees) if !self.builds_changed.get() => trees.restore(place),
            _ => Ok(false),
        }
    }
}

/// Nextest's filter for the tests among the keys of symptoms, and for the test that reads the
/// integration report where a contract is broken; none when there is nothing to run.
fn filter(keys: &BTreeSet<String>) -> Option<String> {
    let tests = keys.iter().filter_map(|key| key.strip_prefix("test ")?.split_once(' '));
    let one = |(binary, test): (&str, &str)| format!("(binary(={binary}) & test(={}))", displayed_name(test));
    let mut all: Vec<_> = tests.map(one).collect();
    if keys.iter().any(|key| key.starts_with("contract ")) {
        all.push(format!("test(/^{INTEGRATION_TEST}/)"));
    }
    (!all.is_empty()).then(|| format!("package(=run4) & ({})", all.join(" | ")))
}

/// What the state keeps of the fix passes (plan §7.1).
fn keep(ledger: &Ledger, state: &mut Run4State) {
    state.defect_catalog = ledger.catalogue.entries.iter().map(|entry| entry.finding.clone()).collect();
    state.fix_passes = ledger.figures();
    state.total_fix_passes = u32::try_from(ledger.passes.len()).unwrap_or(u32::MAX);
    state.convergence_score = ledger.convergence();
}

/// Whether the fix passes of `bundle` still have something to do in a run that is resumed.
pub(super) fn is_open(bundle: &Path) -> Result<bool, Problem> {
    let ledger = Ledger::load(bundle).map_err(verify::unreadable)?;
    Ok(ledger.is_some_and(|ledger| ledger.step != Step::Ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fix_pass::{
            convergence::Open,
            ledger::{Current, Pass},
        },
        state::FixPass,
    };
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case::nothing(&[], None, [false, false, false])]
    #[case::waited_for_a_build(&[], Some("build1"), [true, true, false])]
    #[case::in_the_middle_of_a_service(&[], Some("auth-service"), [false, false, true])]
    #[case::a_build_then_a_service(&["build1", "auth-service"], None, [false, true, true])]
    #[case::a_service_then_a_build(&["auth-service", "build1"], None, [false, true, false])]
    fn a_resumed_run_knows_what_it_has_worked_on(
        #[case] passes: &[&str],
        #[case] current: Option<&str>,
        #[case] known: [bool; 3],
    ) {
        let mut ledger = Ledger::new("session");
        let items = |target: &str| BTreeMap::from([(target.to_owned(), vec![FindingId::FIRST])]);
        let pass = |target: &&str| {
            let (figures, items, started_at) = (FixPass::default(), items(target), chrono::Utc::now());
            let (applied_by, fixed, broken) = Default::default();
            Pass {
                figures,
                started_at,
                items,
                applied_by,
                fixed,
                broken,
                discovered: Open::default(),
                convergence: 0.0,
            }
        };
        ledger.passes = passes.iter().map(pass).collect();
        ledger.current = current.map(|target| Current {
            number: 1,
            started_at: chrono::Utc::now(),
            items: items(target),
            applied: BTreeMap::new(),
            resolved: Vec::new(),
            taken_up: true,
        });
        assert_eq!(worked_on(Some(&ledger)), known);
    }

    #[rstest]
    #[case::tests(
        &["test m2_mcp_wiring b1_07_x::case_1", "scan auth-service LOG-001 src/a.py m"],
        Some("package(=run4) & ((binary(=m2_mcp_wiring) & test(=b1_07_x::case_1 [B1-07])))")
    )]
    #[case::contracts(
        &["contract auth-service SCHEMA-001 GET /x m"],
        Some("package(=run4) & (test(/^sc_04_integration_tests/))")
    )]
    #[case::only_scans(&["scan auth-service LOG-001 src/a.py m"], None)]
    fn a_verification_runs_just_what_is_concerned(#[case] keys: &[&str], #[case] expected: Option<&str>) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(filter(&keys).as_deref(), expected);
    }
}
