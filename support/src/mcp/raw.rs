//! Sessions line by line, for what no client library would send (spec tools.md §2.4).

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout},
};

use super::McpError;
use crate::sut::{Command, Process};

/// A server and its bare pipes. Dropping it kills the server.
#[derive(Debug)]
pub struct RawSession {
    process: Process,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    limit: Duration,
    next_id: u64,
}

impl RawSession {
    /// Starts `command` and shakes hands by plain lines. `limit` bounds every wait.
    ///
    /// # Errors
    /// When the program cannot be started or does not answer `initialize`.
    pub async fn open(command: &Command, logs: &Path, limit: Duration) -> Result<Self, McpError> {
        let mut process = Process::spawn(command, logs, true)?;
        let Some((stdout, stdin)) = process.take_pipes() else {
            let (server, reason) = (command.key.clone(), "it has no pipes".into());
            return Err(McpError::Handshake { server, reason, log: process.log_tail() });
        };
        let mut session = Self { process, stdin, lines: BufReader::new(stdout).lines(), limit, next_id: 0 };
        let client = json!({ "name": "run4-raw", "version": "1" });
        let offer = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
        session.request("initialize", offer).await?;
        session.send_line(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string()).await?;
        Ok(session)
    }

    /// Writes one line as it is.
    ///
    /// # Errors
    /// When the server has closed its stdin.
    pub async fn send_line(&mut self, line: &str) -> Result<(), McpError> {
        let written = self.stdin.write_all(format!("{line}\n").as_bytes()).await;
        written.map_err(|_| self.closed("writing a line"))
    }

    /// Sends a request and waits for the message with its id; gives that whole message.
    ///
    /// # Errors
    /// When the server goes away or does not answer within the limit.
    pub async fn request(&mut self, method: &str, params: Value) -> Result<Value, McpError> {
        self.next_id += 1;
        let id = self.next_id;
        self.send_line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()).await?;
        self.answer_to(method, &json!(id)).await
    }

    async fn answer_to(&mut self, method: &str, id: &Value) -> Result<Value, McpError> {
        let (limit, operation) = (self.limit, method.to_owned());
        let answer = async {
            loop {
                let Ok(Some(line)) = self.lines.next_line().await else { return Err(self.closed(method)) };
                match serde_json::from_str::<Value>(&line) {
                    Ok(message) if message["id"] == *id => return Ok(message),
                    _ => (),
                }
            }
        };
        tokio::time::timeout(limit, answer).await.unwrap_or(Err(McpError::CallTimeout { operation, limit }))
    }

    fn closed(&self, operation: &str) -> McpError {
        McpError::Closed {
            operation: operation.to_owned(),
            server: self.process.key().to_owned(),
            log: self.process.log_tail(),
        }
    }
}
