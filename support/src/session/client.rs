//! Asking the supervisor for a long-lived process.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::supervise::{Watch, start_supervisor};
use crate::{
    sut::{self, Farewell},
    verdict::Failure,
    workspace,
};

/// A request to the supervisor, one JSON line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Start a process and keep it until the session ends.
    Start {
        name: String,
        argv: Vec<String>,
        cwd: PathBuf,
        env: BTreeMap<String, String>,
        logs: PathBuf,
        farewell: Farewell,
    },
    /// Take a port and keep it until the session ends.
    Port,
    /// End a process.
    Stop { name: String },
}

/// The supervisor's answer, one JSON line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Started(Service),
    Port(u16),
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

/// The folder for what belongs to `session` and must not lie below the workspace: data of
/// servers that run as another user. The supervisor removes it when the session ends.
///
/// It stands where every user may enter: in the temporary folder, or in `/tmp` when that one
/// is private.
pub fn scratch(session: &str) -> PathBuf {
    let usual = std::env::temp_dir();
    let parent = if all_may_enter(&usual) { usual } else { PathBuf::from("/tmp") };
    // As the kernel tells the working folder of a process, by which its processes are found.
    parent.canonicalize().unwrap_or(parent).join(format!("run4-{session}.d"))
}

/// Whether every user of this machine may enter `folder`.
pub(crate) fn all_may_enter(folder: &Path) -> bool {
    let open = |folder: &Path| folder.metadata().is_ok_and(|of| of.permissions().mode() & 0o001 != 0);
    folder.canonicalize().is_ok_and(|folder| folder.ancestors().all(open))
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
        self.start_with(name, command, logs, Farewell::default())
    }

    /// As [`Supervisor::start`], for a program that wants to be asked to end in its own way.
    ///
    /// # Errors
    /// As [`Supervisor::start`].
    pub fn start_with(
        &self,
        name: &str,
        command: &sut::Command,
        logs: &Path,
        farewell: Farewell,
    ) -> Result<Service, Failure> {
        let mut env = command.env.clone();
        env.insert(workspace::SESSION_VARIABLE.to_owned(), workspace::session_id());
        let request = Request::Start {
            name: name.to_owned(),
            argv: command.argv.clone(),
            cwd: command.cwd.clone(),
            env,
            logs: logs.to_path_buf(),
            farewell,
        };
        match self.ask(&request)? {
            Answer::Started(service) => Ok(service),
            Answer::Refused(reason) => Err(Failure::fail(reason)),
            other => Err(Failure::broken(format!("starting {name}: {other:?}"))),
        }
    }

    /// A port for a process of the supervisor: nobody else of the suite is given it until the
    /// session ends.
    ///
    /// # Errors
    /// BROKEN when none is free or the supervisor does not answer.
    pub fn port(&self) -> Result<u16, Failure> {
        match self.ask(&Request::Port)? {
            Answer::Port(number) => Ok(number),
            other => Err(Failure::broken(format!("a port of the supervisor: {other:?}"))),
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

    /// Ends the process `name` if there is one.
    ///
    /// # Errors
    /// BROKEN when the supervisor does not answer.
    pub(crate) fn clear(&self, name: &str) -> Result<(), Failure> {
        self.ask(&Request::Stop { name: name.to_owned() }).map(drop)
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
