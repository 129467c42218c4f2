//! The caller's side of a builder (builder.md §1, §5.2, §8; orchestrator.md §5.2): starts it,
//! waits, ends everything it started, and says what it has done.

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant, SystemTime},
};

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::builder_state::{BuilderHealth, BuilderState, STATE_FILE, parse_builder_state};
use crate::{
    config::BuilderDepth,
    session::sweep_marked,
    sut::{Command, Process, Streams},
};

/// Marks everything that one run of a builder starts.
const MARK_VARIABLE: &str = "RUN4_INTERNAL_INVOCATION";

/// One run of a builder.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The command of the profile; `--cwd`, `--depth` and `extra` are appended.
    pub command: Command,
    /// The project folder of one service, named after it.
    pub dir: PathBuf,
    /// The depth.
    pub depth: BuilderDepth,
    /// Further arguments.
    pub extra: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// The folder for what it prints.
    pub logs: PathBuf,
}

/// What one run of a builder came to. A figure is none when this run did not leave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuilderResult {
    /// The service, by the name of its folder.
    pub service_id: String,
    /// Whether it ended with 0, left a fresh STATE.json, and that says so.
    pub success: bool,
    /// `total_cost` in US dollars, of all runs in this folder.
    pub cost: Option<f64>,
    /// `total_cost` before this run.
    pub cost_before: Option<f64>,
    /// Why it is no success.
    pub error: Option<String>,
    /// The folder it worked in.
    pub output_dir: PathBuf,
    /// `summary.test_passed`.
    pub test_passed: Option<u64>,
    /// `summary.test_total`.
    pub test_total: Option<u64>,
    /// `summary.convergence_ratio`.
    pub convergence_ratio: Option<f64>,
    /// `health`.
    pub health: Option<BuilderHealth>,
    /// `completed_phases`.
    pub completed_phases: Option<Vec<String>>,
    /// Its exit code; none when it did not start or a signal ended it.
    pub exit_code: Option<i32>,
    /// How long it ran, in seconds.
    pub duration_s: f64,
    /// The file with its stdout; none when it did not start.
    pub stdout: Option<PathBuf>,
    /// The file with its stderr; none when it did not start.
    pub stderr: Option<PathBuf>,
    /// The command lines of processes that outlived it, and were killed.
    pub left_behind: Vec<String>,
}

/// How a run ended.
enum End {
    NotStarted(String),
    TimedOut(Duration),
    Exited(ExitStatus),
}

/// What tells one STATE.json from the next.
#[derive(Debug, Default, PartialEq)]
struct Stamp {
    run_id: Option<String>,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(dir: &Path) -> Self {
        let path = dir.join(STATE_FILE);
        let value = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        Self {
            run_id: value.and_then(|value| value["run_id"].as_str().map(str::to_owned)),
            modified: path.metadata().and_then(|data| data.modified()).ok(),
        }
    }
}

/// Runs a builder to its end, or to its time-out. Nothing it started is running afterwards.
///
/// # Errors
/// When the machine fails: what the builder does wrong is in the result.
pub async fn invoke(invocation: &Invocation) -> io::Result<BuilderResult> {
    let dir = &invocation.dir;
    let (before, cost_before) = (Stamp::of(dir), parse_builder_state(dir).total_cost);
    let mut result = BuilderResult {
        service_id: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        success: false,
        cost: None,
        cost_before,
        error: None,
        output_dir: dir.clone(),
        test_passed: None,
        test_total: None,
        convergence_ratio: None,
        health: None,
        completed_phases: None,
        exit_code: None,
        duration_s: 0.0,
        stdout: None,
        stderr: None,
        left_behind: Vec::new(),
    };
    let begun = Instant::now();
    let end = run(invocation, &mut result).await?;
    result.duration_s = begun.elapsed().as_secs_f64();
    let after = Stamp::of(dir);
    let stale = after.modified.is_some() && after == before;
    result.conclude(&end, stale, parse_builder_state(dir));
    Ok(result)
}

async fn run(invocation: &Invocation, result: &mut BuilderResult) -> io::Result<End> {
    let mark = Uuid::new_v4().to_string();
    let mut command = invocation.command.clone();
    command.key = result.service_id.clone();
    command.argv.extend(["--cwd".into(), invocation.dir.display().to_string()]);
    command.argv.extend(["--depth".into(), invocation.depth.to_string()]);
    command.argv.extend(invocation.extra.iter().cloned());
    command.env.insert(MARK_VARIABLE.into(), mark.clone());
    let mut process = match Process::spawn_with(&command, &invocation.logs, Streams::Files) {
        Err(error) => return Ok(End::NotStarted(error.to_string())),
        Ok(process) => process,
    };
    (result.stdout, result.stderr) = (Some(process.output()), Some(process.log().to_path_buf()));
    let end = match tokio::time::timeout(invocation.timeout, process.wait()).await {
        Ok(status) => End::Exited(status?),
        Err(_) => End::TimedOut(invocation.timeout),
    };
    // By its mark, since a builder's child may have left the group, and its parent may be gone.
    let mark = format!("{MARK_VARIABLE}={mark}");
    let left = tokio::task::spawn_blocking(move || sweep_marked(&mark)).await.map_err(io::Error::other)??;
    process.kill().await;
    if matches!(end, End::Exited(_)) {
        result.left_behind = left.into_iter().map(|(_, command)| command).collect();
    }
    Ok(end)
}

impl BuilderResult {
    /// Fills in what a run left: `state`, which is of an earlier run when it is `stale`.
    fn conclude(&mut self, end: &End, stale: bool, state: BuilderState) {
        if let End::Exited(status) = end {
            self.exit_code = status.code();
        }
        self.error = error_of(end, stale, &state, self.stderr.as_deref());
        self.success = self.error.is_none();
        if !stale {
            self.cost = state.total_cost;
            (self.test_passed, self.test_total) = (state.test_passed, state.test_total);
            self.convergence_ratio = state.convergence_ratio;
            (self.health, self.completed_phases) = (state.health, state.completed_phases);
        }
    }

    /// What it printed on stdout.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be read.
    pub fn stdout_text(&self) -> io::Result<String> {
        text_of(self.stdout.as_deref())
    }

    /// What it printed on stderr.
    ///
    /// # Errors
    /// As [`BuilderResult::stdout_text`].
    pub fn stderr_text(&self) -> io::Result<String> {
        text_of(self.stderr.as_deref())
    }
}

/// Why a run is no success; the first reason that holds.
fn error_of(end: &End, stale: bool, state: &BuilderState, stderr: Option<&Path>) -> Option<String> {
    match end {
        End::NotStarted(reason) => return Some(reason.clone()),
        End::TimedOut(limit) => return Some(format!("timeout after {} s", limit.as_secs_f64())),
        End::Exited(status) if !status.success() => {
            let text = text_of(stderr).unwrap_or_default();
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            return Some(format!("{status}: {last}"));
        }
        End::Exited(_) => (),
    }
    match (&state.error, state.success) {
        _ if stale => Some("stale STATE.json".into()),
        (Some(error), _) => Some(error.clone()),
        (None, Some(true)) => state.contradiction(),
        (None, _) => state.contradiction().or_else(|| Some("summary.success is false although it ended with 0".into())),
    }
}

fn text_of(path: Option<&Path>) -> io::Result<String> {
    let path = path.ok_or_else(|| io::Error::other("the builder did not start"))?;
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// Runs builders at the same time, never more than `max_concurrent`; gives their results in
/// the order of the invocations.
///
/// # Errors
/// As [`invoke`].
pub async fn invoke_all(invocations: &[Invocation], max_concurrent: usize) -> io::Result<Vec<BuilderResult>> {
    let places = Semaphore::new(max_concurrent);
    let runs = invocations.iter().map(async |invocation| {
        let _place = places.acquire().await.map_err(io::Error::other)?;
        invoke(invocation).await
    });
    join_all(runs).await.into_iter().collect()
}
