//! The scripted builder: a real process that does what its file says, and nothing else. It
//! takes the place of a builder where a test needs one that fails, hangs or lies. Started as
//! `run4 internal builder SCENARIO --cwd DIR --depth DEPTH …`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::builder_state::STATE_FILE;
use crate::{atomic, sut, tree, workspace};

/// The pause between two looks at a file that is not there yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What the builder does; paths are relative to its `--cwd`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file that gets a line at its start and one at its end.
    #[serde(default)]
    pub log: Option<PathBuf>,
    /// Its steps, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Its exit code.
    #[serde(default)]
    pub exit: u8,
    /// What it does instead for the services named here, by the name of their folder.
    #[serde(default)]
    pub services: BTreeMap<String, Scenario>,
}

/// One thing that it does.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Writes this text into the place of STATE.json, whether it is JSON or not.
    State(String),
    /// Prints lines on stdout.
    Stdout(Lines),
    /// Prints lines on stderr.
    Stderr(Lines),
    /// Writes its arguments and its environment as JSON into this file.
    Dump(PathBuf),
    /// Waits until this file is there.
    WaitFor(PathBuf),
    /// Makes this empty file.
    Touch(PathBuf),
    /// Sleeps for this many milliseconds.
    SleepMs(u64),
    /// Copies the folder of this service from the one that holds the folders of several services:
    /// a finished build with its STATE.json, which is as good as new. Without such a folder it
    /// cannot be done.
    Copy(PathBuf),
    /// Starts a process that ignores SIGTERM, leaves the process group, and sleeps for ever; its
    /// id goes into this file.
    Stray(PathBuf),
}

/// A line and how often it is printed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    line: String,
    #[serde(default = "once")]
    count: usize,
}

fn once() -> usize {
    1
}

/// What a builder was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// Its arguments after the scenario.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: DateTime<Utc>,
    /// The folder of the builder.
    pub cwd: PathBuf,
    /// What.
    pub event: Event,
}

/// What a line of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A builder has started.
    Start,
    /// A builder is about to end.
    End,
}

/// A scenario or its log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("scripted builder: {}: {reason}", path.display())]
pub struct ScenarioError {
    path: PathBuf,
    reason: String,
}

/// The command that plays the scenario at `path`, in the place of a profile's `builder`.
pub fn command(path: &Path) -> sut::Command {
    let program = workspace::run4_program().display().to_string();
    sut::Command {
        key: "builder".into(),
        argv: vec![program, "internal".into(), "builder".into(), path.display().to_string()],
        cwd: path.parent().unwrap_or(Path::new(".")).to_path_buf(),
        env: BTreeMap::new(),
        ready: None,
    }
}

/// Plays the scenario at `path` with the arguments of a builder; gives the exit code.
///
/// # Errors
/// When the scenario cannot be read, or a step of it cannot be done.
pub fn play(path: &Path, arguments: &[String]) -> Result<u8, ScenarioError> {
    let failed = |reason: String| ScenarioError { path: path.to_path_buf(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let mut scenario: Scenario = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let cwd = arguments.iter().skip_while(|argument| *argument != "--cwd").nth(1);
    let cwd = PathBuf::from(cwd.ok_or_else(|| failed("there is no --cwd DIR".into()))?);
    let service = cwd.file_name().unwrap_or_default().to_string_lossy();
    if let Some(own) = scenario.services.remove(&*service) {
        scenario = Scenario { log: own.log.or(scenario.log), ..own };
    }
    note(&scenario, &cwd, Event::Start).map_err(|error| failed(error.to_string()))?;
    for step in &scenario.steps {
        take(step, &cwd, arguments).map_err(|error| failed(format!("{step:?}: {error}")))?;
    }
    note(&scenario, &cwd, Event::End).map_err(|error| failed(error.to_string()))?;
    Ok(scenario.exit)
}

fn take(step: &Step, cwd: &Path, arguments: &[String]) -> std::io::Result<()> {
    match step {
        Step::State(text) => atomic::write(&cwd.join(STATE_FILE), text),
        Step::Stdout(lines) => print(&mut std::io::stdout().lock(), lines),
        Step::Stderr(lines) => print(&mut std::io::stderr().lock(), lines),
        Step::Dump(path) => {
            let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
            let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
            atomic::write_json(&cwd.join(path), &Dump { arguments: arguments.to_vec(), environment })
        }
        Step::WaitFor(path) => {
            while !cwd.join(path).exists() {
                std::thread::sleep(LOOK_INTERVAL);
            }
            Ok(())
        }
        Step::Touch(path) => atomic::write(&cwd.join(path), ""),
        Step::SleepMs(time) => {
            std::thread::sleep(Duration::from_millis(*time));
            Ok(())
        }
        Step::Copy(folder) => tree::copy(&cwd.join(folder).join(cwd.file_name().unwrap_or_default()), cwd),
        Step::Stray(path) => stray(&cwd.join(path)),
    }
}

fn print(stream: &mut dyn Write, lines: &Lines) -> std::io::Result<()> {
    for _ in 0..lines.count {
        stream.write_all(format!("{}\n", lines.line).as_bytes())?;
    }
    stream.flush()
}

/// Starts a process that only SIGKILL ends, and that is nobody's child: its parent, a shell, is
/// gone at once.
fn stray(path: &Path) -> std::io::Result<()> {
    let script = "trap '' TERM INT HUP; setsid sh -c 'while :; do sleep 60; done' & echo $! > \"$1.new\" && mv \"$1.new\" \"$1\"";
    let status = Command::new("sh").args(["-c", script, "stray"]).arg(path).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("the shell ended with {status}"))) }
}

fn note(scenario: &Scenario, cwd: &Path, event: Event) -> std::io::Result<()> {
    let Some(path) = &scenario.log else { return Ok(()) };
    let entry = Entry { at: Utc::now(), cwd: cwd.to_path_buf(), event };
    // One short write in append mode, so that lines of several builders do not mix.
    let mut log = File::options().create(true).append(true).open(cwd.join(path))?;
    log.write_all(format!("{}\n", serde_json::to_string(&entry)?).as_bytes())
}

/// Reads the log of scripted builders, in the order in which it was written.
///
/// # Errors
/// When it cannot be read.
pub fn read_log(path: &Path) -> Result<Vec<Entry>, ScenarioError> {
    let failed = |reason: String| ScenarioError { path: path.to_path_buf(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| failed(format!("{error} in {line}")))).collect()
}

/// The largest number of builders that ran at the same time, by their log.
pub fn most_at_once(log: &[Entry]) -> usize {
    let mut running = 0usize;
    let counts = log.iter().map(|entry| {
        running = match entry.event {
            Event::Start => running + 1,
            Event::End => running.saturating_sub(1),
        };
        running
    });
    counts.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    fn entries(events: &str) -> Vec<Entry> {
        let entry = |letter| Entry {
            at: DateTime::UNIX_EPOCH,
            cwd: "/w".into(),
            event: if letter == 's' { Event::Start } else { Event::End },
        };
        events.chars().map(entry).collect()
    }

    #[rstest]
    #[case("", 0)]
    #[case("se", 1)]
    #[case("sese", 1)]
    #[case("ssesee", 2)]
    #[case("sssesee", 3)]
    fn those_at_once_are_counted(#[case] events: &str, #[case] most: usize) {
        assert_eq!(most_at_once(&entries(events)), most);
    }

    #[test]
    fn steps_are_taken_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let scenario = folder.path().join("scenario.toml");
        let text = r#"
            log = "log"
            exit = 3
            steps = [{ touch = "a" }, { wait_for = "a" }, { state = "{" }, { dump = "dump" }]
        "#;
        std::fs::write(&scenario, text).expect("written");
        let cwd = folder.path().join("orders");
        let arguments = ["--cwd".to_owned(), cwd.display().to_string(), "--depth".into(), "quick".into()];
        std::fs::create_dir(&cwd).expect("a folder");
        assert_eq!(play(&scenario, &arguments).expect("played"), 3);
        assert_eq!(std::fs::read_to_string(cwd.join(STATE_FILE)).expect("written"), "{");
        let dump: Dump = serde_json::from_slice(&std::fs::read(cwd.join("dump")).expect("there")).expect("JSON");
        assert_eq!(dump.arguments, arguments);
        let log = read_log(&cwd.join("log")).expect("readable");
        assert_eq!(log.iter().map(|entry| entry.event).collect::<Vec<_>>(), [Event::Start, Event::End]);
    }

    #[test]
    fn a_service_may_have_steps_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        atomic::write(&folder.path().join("built/orders/src/main.py"), "app").expect("written");
        let scenario = folder.path().join("scenario.toml");
        let text = "steps = [{ copy = '../built' }]\nlog = '../log'\n[services.users]\nexit = 1";
        std::fs::write(&scenario, text).expect("written");
        let run = |service: &str| {
            let cwd = folder.path().join(service);
            std::fs::create_dir_all(&cwd).expect("a folder");
            play(&scenario, &["--cwd".to_owned(), cwd.display().to_string()])
        };
        assert_eq!(run("users").expect("played"), 1);
        assert_eq!(run("orders").expect("played"), 0);
        assert_eq!(std::fs::read_to_string(folder.path().join("orders/src/main.py")).expect("copied"), "app");
        assert_eq!(read_log(&folder.path().join("log")).expect("readable").len(), 4, "the log is common");
        let error = run("unknown").expect_err("no such build").to_string();
        assert!(error.contains("built/unknown"), "{error}");
    }

    #[rstest]
    #[case::unknown_field("colour = 1", "unknown field `colour`")]
    #[case::unknown_step("steps = [{ dance = 1 }]", "unknown variant `dance`")]
    #[case::no_folder("exit = 1", "there is no --cwd DIR")]
    fn a_bad_scenario_is_refused(#[case] text: &str, #[case] part: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let scenario = folder.path().join("scenario.toml");
        std::fs::write(&scenario, text).expect("written");
        let error = play(&scenario, &[]).expect_err("bad").to_string();
        assert!(error.contains(part), "{error}");
    }
}
