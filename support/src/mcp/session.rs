//! One session: one server process with rmcp on its pipes.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rmcp::{
    RoleClient, ServiceExt,
    model::{CallToolRequestParams, Tool},
    service::{RunningService, ServiceError},
};
use serde::{Serialize, de::IgnoredAny};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::{McpError, Reply};
use crate::sut::{Command, Process};

/// How much may be under way between a server and the client, in bytes.
const PIPE: usize = 1 << 18;

/// How long a session waits for its parts (plan R4-M1-001; spec tools.md §1).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the start of the process to the answer to `initialize`.
    pub start: Duration,
    /// From a request to its reply.
    pub call: Duration,
    /// Without a single message from the server while a call is open.
    pub idle: Duration,
}

/// What a server says of itself when a session opens.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Identity {
    /// `serverInfo.name`.
    pub name: String,
    /// `serverInfo.version`.
    pub version: String,
    /// The protocol version both sides settled on.
    pub protocol_version: String,
    /// The capabilities as the server sent them.
    pub capabilities: Value,
}

/// An open session. Dropping it kills the server and everything it started; [`Session::close`]
/// ends it as the protocol asks.
#[derive(Debug)]
pub struct Session {
    client: RunningService<RoleClient, ()>,
    process: Process,
    command: Command,
    logs: PathBuf,
    limits: Limits,
    start_up: Duration,
    wire: Arc<Wire>,
}

/// What passed on the server's stdout.
#[derive(Debug)]
struct Wire {
    opened: Instant,
    last_message_ms: AtomicU64,
    noise: Mutex<Vec<String>>,
}

impl Session {
    /// Starts `command` and completes the handshake. Its stderr goes to a file in `logs`.
    ///
    /// # Errors
    /// When the program cannot be started, ends before it answers, or does not answer within
    /// `limits.start`.
    pub async fn open(command: &Command, logs: &Path, limits: Limits) -> Result<Self, McpError> {
        let begun = Instant::now();
        let mut process = Process::spawn(command, logs, true)?;
        let handshake = |reason: String, process: &Process| McpError::Handshake {
            server: command.key.clone(),
            reason,
            log: process.log_tail(),
        };
        let Some((stdout, stdin)) = process.take_pipes() else {
            return Err(handshake("it has no pipes".into(), &process));
        };
        let wire = Arc::new(Wire { opened: begun, last_message_ms: AtomicU64::new(0), noise: Mutex::default() });
        let (lines, sieve) = tokio::io::duplex(PIPE);
        tokio::spawn(Arc::clone(&wire).carry(stdout, sieve));
        let client = match tokio::time::timeout(limits.start, ().serve((lines, stdin))).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                process.kill().await;
                return Err(handshake(error.to_string(), &process));
            }
            Err(_) => {
                process.kill().await;
                let log = process.log_tail();
                return Err(McpError::StartTimeout { server: command.key.clone(), limit: limits.start, log });
            }
        };
        let start_up = begun.elapsed();
        Ok(Self { client, process, command: command.clone(), logs: logs.to_path_buf(), limits, start_up, wire })
    }

    /// What the server said of itself in `initialize`.
    pub fn identity(&self) -> Identity {
        let Some(info) = self.client.peer_info() else { return Identity::default() };
        Identity {
            name: info.server_info.as_ref().map(|server| server.name.clone()).unwrap_or_default(),
            version: info.server_info.as_ref().map(|server| server.version.clone()).unwrap_or_default(),
            protocol_version: info.protocol_version.to_string(),
            capabilities: serde_json::to_value(&info.capabilities).unwrap_or_default(),
        }
    }

    /// The time from the start of the process to the end of the handshake.
    pub fn start_up(&self) -> Duration {
        self.start_up
    }

    /// The server's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The lines on the server's stdout that were not JSON; they were skipped.
    pub fn noise(&self) -> Vec<String> {
        self.wire.noise.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All tools of the server, page by page.
    ///
    /// # Errors
    /// As [`Session::call`], save those of a tool.
    pub async fn list_tools(&self) -> Result<Vec<Tool>, McpError> {
        self.within("tools/list", self.limits.call, self.client.list_all_tools()).await
    }

    /// Calls a tool. An `isError` reply is a [`Reply`] too: reading its value says so.
    ///
    /// # Errors
    /// When no reply came: the server went away, a limit passed, or it answered with a
    /// JSON-RPC error.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Reply, McpError> {
        self.call_within(self.limits.call, tool, arguments).await
    }

    /// As [`Session::call`], with a limit of its own.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub async fn call_within(&self, limit: Duration, tool: &str, arguments: Value) -> Result<Reply, McpError> {
        let mut request = CallToolRequestParams::new(tool.to_owned());
        if let Value::Object(members) = arguments {
            request = request.with_arguments(members);
        }
        let begun = Instant::now();
        let result = self.within(tool, limit, self.client.call_tool(request)).await?;
        Ok(Reply::new(tool, result, begun.elapsed()))
    }

    async fn within<T>(
        &self,
        operation: &str,
        limit: Duration,
        request: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, McpError> {
        let operation = operation.to_owned();
        let asked = Instant::now();
        tokio::select! {
            outcome = request => outcome.map_err(|error| self.classify(operation, error)),
            () = tokio::time::sleep(limit) => Err(McpError::CallTimeout { operation, limit }),
            () = self.wire.silence(asked, self.limits.idle) => {
                Err(McpError::IdleTimeout { operation, limit: self.limits.idle })
            }
        }
    }

    fn classify(&self, operation: String, error: ServiceError) -> McpError {
        match error {
            ServiceError::McpError(error) => {
                McpError::Protocol { operation, code: error.code.0, message: error.message.into_owned() }
            }
            ServiceError::UnexpectedResponse => {
                McpError::Malformed { tool: operation, problem: "the reply does not answer the request".into() }
            }
            _ => McpError::Closed { operation, server: self.command.key.clone(), log: self.process.log_tail() },
        }
    }

    /// Kills the server with everything it started, as a crash would, and waits for its end.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Closes this session and opens a new one with a new process on the same data.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn reopen(self) -> Result<Self, McpError> {
        let (command, logs, limits) = (self.command.clone(), self.logs.clone(), self.limits);
        self.close().await;
        Self::open(&command, &logs, limits).await
    }

    /// Ends the session as spec tools.md §2.1 asks: stdin closed, 2 s, TERM, 2 s, KILL.
    /// Gives the exit status when there was one.
    pub async fn close(mut self) -> Option<std::process::ExitStatus> {
        // The transport goes with the client, and with it the server's stdin.
        let _ = self.client.cancel().await;
        self.process.stop().await
    }
}

impl Wire {
    /// Passes the server's messages on and keeps what is not JSON. Ends with the server.
    async fn carry(self: Arc<Self>, stdout: tokio::process::ChildStdout, mut sieve: tokio::io::DuplexStream) {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while matches!(stdout.read_until(b'\n', &mut line).await, Ok(count) if count > 0) {
            self.last_message_ms.store(self.since_opened(), Ordering::Relaxed);
            if serde_json::from_slice::<IgnoredAny>(&line).is_ok() {
                if sieve.write_all(&line).await.is_err() {
                    return;
                }
            } else if !line.trim_ascii().is_empty() {
                let text = String::from_utf8_lossy(line.trim_ascii()).into_owned();
                self.noise.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
            line.clear();
        }
    }

    fn since_opened(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Resolves when no message has come for `limit`, counted from `asked` at the earliest.
    async fn silence(&self, asked: Instant, limit: Duration) {
        loop {
            let last_message = self.opened + Duration::from_millis(self.last_message_ms.load(Ordering::Relaxed));
            let until = last_message.max(asked) + limit;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }
}
