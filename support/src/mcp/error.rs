//! Everything that can go wrong between the suite and an MCP server (spec tools.md §2.2).

use std::time::Duration;

use crate::{sut::SpawnError, verdict::Failure};

/// The failure classes of spec tools.md §2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The server is not there, or no longer there.
    Connection,
    /// The server did not answer in time.
    Timeout,
    /// A JSON-RPC error object.
    Protocol,
    /// `isError: true`.
    Tool,
    /// A reply that is not of the tool's kind.
    Malformed,
    /// An object whose only key is `error`, without the error flag.
    Business,
}

/// A call, or the start of a session, did not give a value.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// The program could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The server was started but the handshake failed.
    #[error("{server} did not complete initialize: {reason}; its log ends with:\n{log}")]
    Handshake {
        /// The manifest key of the server.
        server: String,
        /// What the transport saw.
        reason: String,
        /// The end of the server's log.
        log: String,
    },
    /// No answer to `initialize` within the start limit.
    #[error("{server} did not answer initialize within {} ms; its log ends with:\n{log}", limit.as_millis())]
    StartTimeout {
        /// The manifest key of the server.
        server: String,
        /// The limit that passed.
        limit: Duration,
        /// The end of the server's log.
        log: String,
    },
    /// No reply to a call within the call limit.
    #[error("{operation} gave no reply within {} ms", limit.as_millis())]
    CallTimeout {
        /// What was asked.
        operation: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// The server sent nothing at all for the idle limit while a call was open.
    #[error("{operation}: the server sent nothing for {} ms", limit.as_millis())]
    IdleTimeout {
        /// What was asked.
        operation: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// The server went away; the session is dead.
    #[error("{operation}: {server} closed the connection; its log ends with:\n{log}")]
    Closed {
        /// What was asked.
        operation: String,
        /// The manifest key of the server.
        server: String,
        /// The end of the server's log.
        log: String,
    },
    /// A JSON-RPC error object.
    #[error("{operation}: JSON-RPC error {code}: {message}")]
    Protocol {
        /// What was asked.
        operation: String,
        /// The error's code.
        code: i32,
        /// The error's text.
        message: String,
    },
    /// A reply with `isError: true`.
    #[error("{tool} refused: {message}")]
    Tool {
        /// The tool.
        tool: String,
        /// The joined text of the reply.
        message: String,
    },
    /// A reply that is not of the tool's kind.
    #[error("{tool}: {problem}")]
    Malformed {
        /// The tool.
        tool: String,
        /// What is wrong with the reply.
        problem: String,
    },
    /// A reply whose only key is `error`, without the error flag.
    #[error("{tool} answered with an error it did not flag: {message}")]
    Business {
        /// The tool.
        tool: String,
        /// The text of the error.
        message: String,
    },
}

impl McpError {
    /// The failure class.
    pub fn class(&self) -> Class {
        match self {
            Self::Spawn(_) | Self::Handshake { .. } | Self::Closed { .. } => Class::Connection,
            Self::StartTimeout { .. } | Self::CallTimeout { .. } | Self::IdleTimeout { .. } => Class::Timeout,
            Self::Protocol { .. } => Class::Protocol,
            Self::Tool { .. } => Class::Tool,
            Self::Malformed { .. } => Class::Malformed,
            Self::Business { .. } => Class::Business,
        }
    }
}

/// What a server does wrong is a FAIL of the system.
impl From<McpError> for Failure {
    fn from(error: McpError) -> Self {
        Self::fail(error)
    }
}
