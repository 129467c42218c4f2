//! Processes of the system: own group, short environment, logs kept, nothing left behind.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::Child;

use super::Command;
use crate::workspace;

/// The variables a child inherits; everything else comes from its manifest entry.
const INHERITED: [&str; 6] = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];

/// How long a process may take to end after each step of [`Process::stop`] (spec tools.md §2.1).
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How much of a log is shown with an error, in bytes.
const TAIL: u64 = 2000;

/// A program of the system could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {key} ({program}): {source}; check commands.{key} in the profile")]
pub struct SpawnError {
    key: String,
    program: String,
    source: std::io::Error,
}

/// Where the standard streams of a program lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// No input; stdout and stderr into one log.
    Log,
    /// No input; stdout into a file beside the log of stderr, so that nobody need drain it.
    Files,
    /// Pipes for stdin and stdout; stderr into a log.
    Pipes,
}

/// How a program is asked to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Farewell {
    /// By SIGTERM.
    #[default]
    Terminate,
    /// By SIGQUIT: PostgreSQL waits for its clients at SIGTERM, and ends at once at this one.
    Quit,
}

/// A running program and everything it started. Dropping it kills the whole group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
    key: String,
    log: PathBuf,
    reads_input: bool,
    farewell: Farewell,
}

impl Process {
    /// Starts `command` in a process group of its own, with pipes when `piped`, else with a log.
    ///
    /// # Errors
    /// As [`Process::spawn_with`].
    pub fn spawn(command: &Command, logs: &Path, piped: bool) -> Result<Self, SpawnError> {
        Self::spawn_with(command, logs, if piped { Streams::Pipes } else { Streams::Log })
    }

    /// Starts `command` in a process group of its own. Its logs are files in `logs`.
    ///
    /// # Errors
    /// When the program or its log cannot be opened.
    pub fn spawn_with(command: &Command, logs: &Path, streams: Streams) -> Result<Self, SpawnError> {
        let failed = |source| SpawnError { key: command.key.clone(), program: command.argv.join(" "), source };
        let (log, file) = new_log(logs, &command.key).map_err(failed)?;
        let mut start = tokio::process::Command::new(&command.argv[0]);
        start.args(&command.argv[1..]).current_dir(&command.cwd).env_clear().process_group(0).kill_on_drop(true);
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                start.env(name, value);
            }
        }
        // The mark by which the supervisor finds what a killed test left.
        start.env(workspace::SESSION_VARIABLE, workspace::session_id()).envs(&command.env);
        start.stderr(file.try_clone().map_err(failed)?);
        match streams {
            Streams::Pipes => start.stdin(Stdio::piped()).stdout(Stdio::piped()),
            Streams::Files => start.stdin(Stdio::null()).stdout(File::create(output_of(&log)).map_err(failed)?),
            Streams::Log => start.stdin(Stdio::null()).stdout(file),
        };
        let child = start.spawn().map_err(failed)?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let key = command.key.clone();
        Ok(Self { child, group, key, log, reads_input: streams == Streams::Pipes, farewell: Farewell::default() })
    }

    /// Changes how [`Process::stop`] asks it to end.
    #[must_use]
    pub fn with_farewell(mut self, farewell: Farewell) -> Self {
        self.farewell = farewell;
        self
    }

    /// The process id; `None` once it has been reaped.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The manifest key it was started from.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The pipes, which can be taken once.
    pub fn take_pipes(&mut self) -> Option<(tokio::process::ChildStdout, tokio::process::ChildStdin)> {
        self.child.stdout.take().zip(self.child.stdin.take())
    }

    /// The exit status if the process has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills the whole group at once and reaps the process.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
    }

    /// Sends `signal` to the whole group.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // No such group means that everything has ended, which is what was wanted.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Ends the process and kills what is left of its group: waits for one that reads its
    /// input, which should be closed by now, then asks it to end, then kills it.
    pub async fn stop(&mut self) -> Option<ExitStatus> {
        if self.reads_input {
            let _ = tokio::time::timeout(STOP_GRACE, self.child.wait()).await;
        }
        if self.exited().is_none() {
            self.signal(match self.farewell {
                Farewell::Terminate => Signal::TERM,
                Farewell::Quit => Signal::QUIT,
            });
            let _ = tokio::time::timeout(STOP_GRACE, self.child.wait()).await;
        }
        self.kill().await;
        self.exited()
    }

    /// The file that holds its stderr.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The file that holds its stdout when it was started with [`Streams::Files`].
    pub fn output(&self) -> PathBuf {
        output_of(&self.log)
    }

    /// The end of its log, for an error's text.
    pub fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Kills the process group of the process `id` at once, as a crash would; does not wait.
pub fn kill_group(id: Option<u32>) {
    if let Some(group) = id.and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn output_of(log: &Path) -> PathBuf {
    log.with_extension("out")
}

fn new_log(folder: &Path, key: &str) -> std::io::Result<(PathBuf, File)> {
    std::fs::create_dir_all(folder)?;
    for number in 1u32.. {
        let path = folder.join(format!("{key}-{number}.log"));
        match File::options().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => (),
            other => return other.map(|file| (path, file)),
        }
    }
    unreachable!("some number is free")
}

/// The last [`TAIL`] bytes of a file.
pub(crate) fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
