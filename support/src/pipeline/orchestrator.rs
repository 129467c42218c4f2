//! Running an orchestrator: one process for one command, its output and its end.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::workspace::PipelineWorkspace;
use crate::{
    sut::{Command, Process, Streams},
    verdict::Failure,
};

/// The pause between two looks at PIPELINE_STATE.json.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What one command of an orchestrator came to.
#[must_use = "look at the exit code"]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The command with its arguments, without the program.
    pub command: Vec<String>,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said beside.
    pub stderr: String,
    /// How long it took.
    pub seconds: f64,
}

impl Outcome {
    /// What it printed, as JSON.
    ///
    /// # Errors
    /// FAIL when it is none.
    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.stdout).map_err(|error| {
            let said = format!("{}\n{}", self.stdout.trim(), self.stderr.trim());
            Failure::fail(format!("{:?} printed no JSON ({error}): {said}", self.command))
        })
    }
}

/// A command of an orchestrator that runs. Dropping it kills the orchestrator's process group,
/// which is not what it has started: that has groups of its own.
#[derive(Debug)]
pub struct Running {
    process: Process,
    command: Vec<String>,
    workspace: PipelineWorkspace,
    begun: Instant,
}

impl Running {
    /// Starts `program` with `arguments`, a command first, in `workspace`. Its stdin is closed.
    ///
    /// # Errors
    /// FAIL when it cannot be started.
    pub fn start(
        program: &Command,
        arguments: &[&str],
        workspace: &PipelineWorkspace,
        logs: &Path,
    ) -> Result<Self, Failure> {
        let mut command = program.clone();
        command.argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let process = Process::spawn_with(&command, logs, Streams::Files).map_err(Failure::fail)?;
        let command = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Ok(Self { process, command, workspace: workspace.clone(), begun: Instant::now() })
    }

    /// The process id; none once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.exited().is_some()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// FAIL when it has not ended after `limit`, counted from now; it is killed then.
    pub async fn wait(mut self, limit: Duration) -> Result<Outcome, Failure> {
        let Ok(status) = tokio::time::timeout(limit, self.process.wait()).await else {
            self.process.kill().await;
            let state = self.workspace.current_state();
            let (said, limit) = (self.process.log_tail(), limit.as_secs_f64());
            let command = &self.command;
            return Err(Failure::fail(format!("{command:?} has not ended after {limit} s, in {state:?}: {said}")));
        };
        let code = status?.code();
        let seconds = self.begun.elapsed().as_secs_f64();
        let [stdout, stderr] = [self.process.output(), self.process.log().to_path_buf()].map(text_of);
        Ok(Outcome { command: self.command.clone(), code, stdout: stdout?, stderr: stderr?, seconds })
    }

    /// Waits until PIPELINE_STATE.json says `state`.
    ///
    /// # Errors
    /// As [`Running::until`].
    pub async fn until_state(&mut self, state: &str, limit: Duration) -> Result<(), Failure> {
        let workspace = self.workspace.clone();
        self.until(state, limit, || workspace.current_state().as_deref() == Some(state)).await
    }

    /// Waits until `holds`; `what` names it.
    ///
    /// # Errors
    /// FAIL when the orchestrator ends before, or `limit` is over.
    pub async fn until(&mut self, what: &str, limit: Duration, holds: impl Fn() -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        while !holds() {
            let ended = self.process.exited();
            if ended.is_some() && holds() {
                return Ok(());
            }
            if ended.is_some() || begun.elapsed() > limit {
                let how = ended.map_or_else(|| "still runs".to_owned(), |status| format!("ended with {status}"));
                let (state, said) = (self.workspace.current_state(), self.process.log_tail());
                let command = &self.command;
                return Err(Failure::fail(format!("{command:?} {how} in {state:?} before {what}: {said}")));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Sends SIGINT to the orchestrator's process alone, as a terminal's Ctrl-C does to one that
    /// keeps its children in groups of their own.
    ///
    /// # Errors
    /// FAIL when it has ended already.
    pub fn interrupt(&self) -> Result<(), Failure> {
        self.signal(Signal::INT)
    }

    /// Kills the orchestrator's process alone by SIGKILL and waits for its end; what it started
    /// lives on.
    ///
    /// # Errors
    /// FAIL when it has ended already.
    pub async fn kill(mut self) -> Result<(), Failure> {
        self.signal(Signal::KILL)?;
        self.process.wait().await?;
        Ok(())
    }

    /// Sends a signal to the orchestrator's process alone.
    ///
    /// # Errors
    /// FAIL when it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let id = self.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let gone = || Failure::fail(format!("{:?} ended before the signal", self.command));
        kill_process(id.ok_or_else(gone)?, signal).map_err(|_| gone())
    }
}

fn text_of(path: PathBuf) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::workspace::blank_state;
    use pretty_assertions::assert_eq;
    use tempfile::TempDir;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A shell script in the place of an orchestrator.
    fn start(folder: &TempDir, script: &str) -> Running {
        let argv = ["sh", "-c", script, "orchestrator"].map(str::to_owned).to_vec();
        let cwd = folder.path().to_path_buf();
        let program = Command { key: "orchestrator".into(), argv, cwd, env: Default::default(), ready: None };
        let workspace = PipelineWorkspace::at(folder.path());
        Running::start(&program, &["run", "--json"], &workspace, &folder.path().join("logs")).expect("sh runs")
    }

    #[tokio::test]
    async fn output_and_code_are_kept_apart() {
        let folder = TempDir::new().expect("a folder");
        let running = start(&folder, "echo \"{\\\"command\\\": \\\"$1\\\"}\"; echo said >&2; read line || exit 3");
        let outcome = running.wait(LIMIT).await.expect("an end");
        assert_eq!(outcome.json().expect("JSON"), serde_json::json!({ "command": "run" }));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(3), "said\n"), "stdin is closed");
    }

    #[tokio::test]
    async fn a_state_is_waited_for() {
        let folder = TempDir::new().expect("a folder");
        let workspace = PipelineWorkspace::at(folder.path());
        let mut running = start(&folder, "exec sleep 60");
        let error = running.until_state("init", Duration::from_millis(50)).await.expect_err("no state");
        assert!(format!("{error:?}").contains("still runs in None before init"), "{error:?}");
        workspace.write_state(&blank_state("init", &[])).expect("written");
        running.until_state("init", LIMIT).await.expect("it is there");
        running.interrupt().expect("it runs");
        assert_eq!(running.wait(LIMIT).await.expect("an end").code, None);
    }

    #[tokio::test]
    async fn an_early_end_is_told() {
        let folder = TempDir::new().expect("a folder");
        let mut running = start(&folder, "echo no such PRD >&2; exit 2");
        let error = running.until_state("init", LIMIT).await.expect_err("it ended");
        let text = format!("{error:?}");
        assert!(text.contains("exit status: 2") && text.contains("no such PRD"), "{text}");
    }

    #[tokio::test]
    async fn a_kill_leaves_what_was_started() {
        let folder = TempDir::new().expect("a folder");
        // Written by the child, which has a session of its own by then.
        let script = "setsid sh -c 'echo $$ > started; while :; do sleep 60; done' & wait";
        let mut running = start(&folder, script);
        let path = folder.path().join("started");
        running
            .until("a child", LIMIT, || std::fs::read_to_string(&path).is_ok_and(|id| id.ends_with('\n')))
            .await
            .expect("started");
        let child: i32 = std::fs::read_to_string(&path).expect("there").trim().parse().expect("an id");
        running.kill().await.expect("it ran");
        assert!(crate::session::is_running(child.cast_unsigned()));
        rustix::process::kill_process_group(Pid::from_raw(child).expect("an id"), Signal::KILL).expect("it runs");
    }
}
