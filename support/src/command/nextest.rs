//! Driving nextest: what runs now, what failed, and the JUnit file it leaves.

use std::{
    ffi::OsString,
    fs::File,
    io,
    num::NonZero,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use crate::{
    audit::{Manifest, Run},
    config::Substrate,
    matrix::function_name,
    workspace::{self, BUNDLE_VARIABLE, SESSION_VARIABLE},
};

/// The nextest profile of the main job.
pub(super) const PROFILE: &str = "audit";

/// Nextest's own variable for the number of its slots.
const THREADS_VARIABLE: &str = "NEXTEST_TEST_THREADS";

/// Exit codes of nextest that mean "the tests ran to their end".
const RAN: [i32; 2] = [0, 100];

/// The setting of the substrate, for the tests.
pub(super) const SUBSTRATE_VARIABLE: &str = "RUN4_SUBSTRATE";

/// What the runs of one session have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session<'a> {
    pub(super) id: &'a str,
    pub(super) substrate: Substrate,
}

/// How a run of nextest ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub(super) code: Option<i32>,
    /// The signal this command passed on to it.
    pub(super) interrupted: Option<&'static str>,
    /// How many tests passed and how many did not.
    pub(super) counts: (u64, u64),
    /// Its wall time, in seconds.
    pub(super) seconds: f64,
}

impl Ended {
    /// Whether every selected test ran.
    pub(super) fn ran_to_the_end(&self) -> bool {
        self.interrupted.is_none() && self.code.is_some_and(|code| RAN.contains(&code))
    }
}

/// How many slots the tests share: what the user says, else four per core. A test takes two of
/// them, one that only waits takes one (nextest.toml).
fn test_threads() -> OsString {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::env::var_os(THREADS_VARIABLE).unwrap_or_else(|| (4 * cores).to_string().into())
}

/// A `cargo nextest` command in the workspace, away from the terminal, for tests on `substrate`.
pub(super) fn command(arguments: &[&str], substrate: Substrate) -> Command {
    let mut command = Command::new("cargo");
    command.arg("nextest").args(arguments).current_dir(workspace::root()).stdin(Stdio::null()).kill_on_drop(true);
    command.env(SUBSTRATE_VARIABLE, substrate.to_string());
    command
}

/// Runs the tests that `filter` selects as part of `session` and shows their progress.
pub(super) async fn run(title: &str, filter: &str, bundle: &Path, session: &Session<'_>) -> io::Result<Ended> {
    let begun = Instant::now();
    let junit = junit_path(PROFILE);
    // What is there afterwards is of this run.
    if junit.exists() {
        std::fs::remove_file(&junit)?;
    }
    let log = bundle.join("logs").join(format!("nextest-{}.log", title.to_lowercase()));
    std::fs::create_dir_all(bundle.join("logs"))?;
    let mut child =
        command(&["run", "--profile", PROFILE, "--no-input-handler", "--no-tests", "warn"], session.substrate)
            .env(THREADS_VARIABLE, test_threads())
            .args(["--message-format", "libtest-json-plus", "-E", filter])
            .env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1")
            .env(SESSION_VARIABLE, session.id)
            .env(BUNDLE_VARIABLE, bundle)
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            // A group of its own: Ctrl-C reaches it once, passed on below.
            .process_group(0)
            .spawn()?;
    let progress = Progress::start(title);
    let (interrupted, counts) = follow(&mut child, &progress).await?;
    let status = child.wait().await?;
    progress.finish();
    let ended = Ended { code: status.code(), interrupted, counts, seconds: begun.elapsed().as_secs_f64() };
    if ended.interrupted.is_none() && !ended.ran_to_the_end() {
        eprintln!("cargo nextest ended with {status}; see {}", log.display());
    }
    Ok(ended)
}

/// Reads the events of a running nextest until it closes its stdout. A signal to this process
/// is passed on once; nextest then ends its tests and writes its JUnit file.
async fn follow(child: &mut Child, progress: &Progress) -> io::Result<(Option<&'static str>, (u64, u64))> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let nextest = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let Some(stdout) = child.stdout.take() else { return Ok((None, (0, 0))) };
    let mut lines = BufReader::new(stdout).lines();
    let (mut interrupted, mut passed, mut failed) = (None, 0, 0);
    loop {
        let received = tokio::select! {
            line = lines.next_line() => match line? {
                None => return Ok((interrupted, (passed, failed))),
                Some(line) => {
                    match progress.show(&line) {
                        Some(true) => passed += 1,
                        Some(false) => failed += 1,
                        None => (),
                    }
                    continue;
                }
            },
            _ = interrupt.recv() => ("SIGINT", Signal::INT),
            _ = terminate.recv() => ("SIGTERM", Signal::TERM),
        };
        if let (None, Some(nextest)) = (interrupted, nextest) {
            interrupted = Some(received.0);
            progress.say(&format!("{}: ending the tests", received.0));
            let _ = kill_process(nextest, received.1);
        }
    }
}

/// Copies the JUnit file of a run into the bundle and notes the run in its manifest. `run` is
/// the run it must be of; empty takes the one in the file.
pub(super) fn keep_junit(
    bundle: &Path,
    run: &str,
    profile: &str,
    milestone: Option<u8>,
    ended: Option<&Ended>,
) -> io::Result<()> {
    let text = std::fs::read_to_string(junit_path(profile))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", junit_path(profile).display())))?;
    let found = text.split_once("uuid=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
    if !run.is_empty() && found != run {
        return Err(io::Error::other(format!("the JUnit file is of run {found:?}, not of {run}")));
    }
    let name = milestone.map_or_else(|| "junit/tests.xml".to_owned(), |number| format!("junit/m{number}.xml"));
    crate::atomic::write(&bundle.join(&name), &text)?;
    let mut manifest = Manifest::load(bundle).map_err(io::Error::other)?;
    manifest.add_run(Run {
        milestone,
        run_id: found.to_owned(),
        junit: name,
        exit_code: ended.and_then(|ended| ended.code),
        seconds: ended.map_or(0.0, |ended| ended.seconds),
    });
    manifest.seal(bundle)
}

fn junit_path(profile: &str) -> PathBuf {
    workspace::root().join("target/nextest").join(profile).join("junit.xml")
}

/// The bar of one milestone: how many tests are done and which runs now.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn start(title: &str) -> Self {
        let bar = ProgressBar::new(0);
        // The template is a constant that was seen to work.
        if let Ok(style) = ProgressStyle::with_template("{prefix:>4} {bar:30} {pos}/{len} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(title.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Self { bar }
    }

    /// Shows one event; tells whether a test passed or did not.
    fn show(&self, line: &str) -> Option<bool> {
        let event: Value = serde_json::from_str(line).ok()?;
        let name = event["name"].as_str().unwrap_or_default();
        let name = function_name(name.split_once('$').map_or(name, |(_, test)| test));
        match (event["type"].as_str()?, event["event"].as_str()?) {
            ("suite", "started") => {
                self.bar.inc_length(event["test_count"].as_u64().unwrap_or_default());
                None
            }
            ("test", "started") => {
                self.bar.set_message(name.to_owned());
                None
            }
            ("test", "ok") => {
                self.bar.inc(1);
                Some(true)
            }
            ("test", "failed" | "timeout") => {
                self.bar.inc(1);
                self.say(&format!("  ✗ {name}\n{}", reason(&event)));
                Some(false)
            }
            _ => None,
        }
    }

    /// Prints above the bar, also where there is no terminal.
    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The lines of a failed test that say why.
fn reason(event: &Value) -> String {
    let output = event["stdout"].as_str().unwrap_or_default();
    let from = output.find("Error: ").or_else(|| output.find("panicked at")).unwrap_or_default();
    output[from..]
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("note: run with"))
        .take(4)
        .map(|line| format!("      {}", line.chars().take(240).collect::<String>()))
        .collect::<Vec<_>>()
        .join("\n")
}
