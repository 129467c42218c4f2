//! Asking the supervisor for a long-lived process.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::supervise::{Watch, start_supervisor};
use crate::{sut, verdict::Failure, workspace};

/// A request to the supervisor, one JSON line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Start a process and keep it until the session ends.
    Start { name: String, argv: Vec<String>, cwd: PathBuf, env: BTreeMap<String, String>, logs: PathBuf },
    /// End a process.
    Stop { name: String },
}

/// The supervisor's answer, one JSON line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Started(Service),
    Stopped,
    Refused(String),
}

/// A process of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name within the session.
    pub name: String,
    /// Its process id.
    pub id: u32,
    /// The file with what it prints.
    pub log: PathBuf,
}

/// The supervisor of this session, as its test processes see it.
#[derive(Debug, Clone)]
pub struct Supervisor {
    socket: PathBuf,
}

/// Where the supervisor of `session` listens; short, since socket paths are limited to 108 bytes.
pub(super) fn socket_path(session: &str) -> PathBuf {
    std::env::temp_dir().join(format!("run4-{session}.sock"))
}

impl Supervisor {
    /// The supervisor of this session. Plain `cargo test` runs no setup script: there each test
    /// binary gets one of its own, which ends with it.
    ///
    /// # Errors
    /// BROKEN when it does not start.
    pub fn of_this_session() -> Result<Self, Failure> {
        let session = workspace::session_id();
        let socket = socket_path(&session);
        if !socket.exists() {
            let watch = Watch { session, runner: std::process::id(), afterwards: Vec::new() };
            start_supervisor(&watch, &workspace::bundle().join("logs/supervisor.log"))?;
        }
        Ok(Self { socket })
    }

    /// Starts `command` as a process that lives until the session ends.
    ///
    /// # Errors
    /// FAIL when the program cannot be started, BROKEN when the supervisor does not answer.
    pub fn start(&self, name: &str, command: &sut::Command, logs: &Path) -> Result<Service, Failure> {
        let mut env = command.env.clone();
        env.insert(workspace::SESSION_VARIABLE.to_owned(), workspace::session_id());
        let request = Request::Start {
            name: name.to_owned(),
            argv: command.argv.clone(),
            cwd: command.cwd.clone(),
            env,
            logs: logs.to_path_buf(),
        };
        match self.ask(&request)? {
            Answer::Started(service) => Ok(service),
            Answer::Refused(reason) => Err(Failure::fail(reason)),
            Answer::Stopped => Err(Failure::broken("the supervisor gave the wrong answer")),
        }
    }

    /// Ends the process `name` and everything it started.
    ///
    /// # Errors
    /// BROKEN when the supervisor does not answer or has no such process.
    pub fn stop(&self, name: &str) -> Result<(), Failure> {
        match self.ask(&Request::Stop { name: name.to_owned() })? {
            Answer::Stopped => Ok(()),
            other => Err(Failure::broken(format!("stopping {name}: {other:?}"))),
        }
    }

    fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        let exchange = || -> std::io::Result<Answer> {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(serde_json::from_str(&line)?)
        };
        exchange().map_err(|error| Failure::broken(format!("the supervisor at {}: {error}", self.socket.display())))
    }
}
