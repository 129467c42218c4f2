//! The scripted MCP server: a real process whose answers stand in a file. It takes the place
//! of the plan's mock session (R4-M1-004, spec clients.md §5) and plays the bad servers of the
//! guards. Started as `run4 internal scripted SCENARIO [--log FILE]`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::verdict::Failure;

/// What the server says to whom; see `fixtures/scripted/` for examples.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its `serverInfo.name`.
    pub name: String,
    /// How it answers `initialize`.
    #[serde(default)]
    pub initialize: Greeting,
    /// How many starts end at once, counted in the log.
    #[serde(default)]
    pub fail_starts: usize,
    /// The exit code of such a start.
    #[serde(default = "one")]
    pub fail_code: u8,
    /// After how many calls a process ends with exit code 1, the last one answered; never when
    /// there is none.
    #[serde(default)]
    pub ends_after: Option<usize>,
    /// Whether the calls to earlier processes count too, by the log, when an action is chosen:
    /// without it each process begins with the first.
    #[serde(default)]
    pub remember: bool,
    /// The tools it lists.
    #[serde(default)]
    pub tools: Vec<String>,
    /// What it does at a call of any other tool.
    #[serde(default = "unknown_tool")]
    pub otherwise: Action,
    /// What it does at the calls of a tool: the first call takes the first action, and the
    /// last action is taken again and again.
    #[serde(default)]
    pub calls: BTreeMap<String, Vec<Action>>,
}

/// How a scripted server answers `initialize`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Greeting {
    /// As the protocol asks.
    #[default]
    Answer,
    /// Never.
    Silence,
    /// By exit code 3.
    Exit,
}

/// One answer to a call.
#[derive(Debug, Clone, Deserialize)]
pub struct Action {
    /// The wait before the answer, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// The content of an answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A value (JSON text) as text and as structured content.
    Both(String),
    /// A value (JSON text) as structured content only.
    Structured(String),
    /// A text as it is.
    Text(String),
    /// A list (JSON text) with one text block per element.
    Blocks(String),
    /// Success with no content at all.
    Empty(bool),
    /// The call's own arguments, as text and as structured content.
    Echo(bool),
    /// `isError` with this text.
    IsError(String),
    /// A JSON-RPC error with this code.
    RpcError(i32),
    /// A line that is not JSON instead of an answer.
    Noise(String),
    /// No answer.
    Silence(bool),
    /// The end of the process with this code.
    Exit(i32),
}

fn one() -> u8 {
    1
}

fn unknown_tool() -> Action {
    Action { delay_ms: 0, answer: Answer::RpcError(-32602) }
}

/// One line of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The process.
    pub pid: u32,
    /// `start`, or the method of a message.
    pub event: String,
    /// The message's parameters.
    #[serde(default)]
    pub params: Value,
}

impl Entry {
    /// The tool that a `tools/call` calls.
    pub fn called_tool(&self) -> Option<&str> {
        self.params["name"].as_str().filter(|_| self.event == "tools/call")
    }
}

/// The suite's own file is at fault, or its disk.
impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::broken(error)
    }
}

/// A scenario or its log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("scripted server: {path}: {reason}")]
pub struct ScenarioError {
    path: String,
    reason: String,
}

/// Reads the log of a scripted server; no log yet is no entry.
///
/// # Errors
/// When it cannot be read.
pub fn read_log(path: &Path) -> Result<Vec<Entry>, ScenarioError> {
    let failed = |reason: String| ScenarioError { path: path.display().to_string(), reason };
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error.to_string())),
        Ok(text) => text
            .lines()
            .map(|line| serde_json::from_str(line).map_err(|error| failed(format!("{error} in {line}"))))
            .collect(),
    }
}

/// Plays the scenario at `path` on stdin and stdout until stdin ends; gives the exit code.
///
/// # Errors
/// When the scenario cannot be read or the log not written.
pub fn play(path: &Path, log: Option<PathBuf>) -> Result<u8, ScenarioError> {
    let failed = |reason: String| ScenarioError { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let scenario: Scenario = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let past = log.as_deref().map(read_log).transpose()?.unwrap_or_default();
    let starts = past.iter().filter(|entry| entry.event == "start").count();
    let mut counts = BTreeMap::new();
    if scenario.remember {
        for tool in past.iter().filter_map(Entry::called_tool) {
            *counts.entry(tool.to_owned()).or_default() += 1;
        }
    }
    let mut server = Server { scenario, log, counts, taken: 0 };
    server.note("start", &Value::Null).map_err(|error| failed(error.to_string()))?;
    if starts < server.scenario.fail_starts {
        return Ok(server.scenario.fail_code);
    }
    server.run().map_err(|error| failed(error.to_string()))
}

struct Server {
    scenario: Scenario,
    log: Option<PathBuf>,
    counts: BTreeMap<String, usize>,
    taken: usize,
}

/// What follows a message.
enum Next {
    Say(Value),
    SayLine(String),
    Nothing,
    Exit(u8),
}

impl Server {
    fn run(&mut self) -> std::io::Result<u8> {
        for line in std::io::stdin().lock().lines() {
            let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
            let method = message["method"].as_str().unwrap_or_default();
            self.note(method, &message["params"])?;
            if message.get("id").is_none() {
                continue;
            }
            match self.answer(method, &message["params"]) {
                Next::Say(mut body) => {
                    body["jsonrpc"] = json!("2.0");
                    body["id"] = message["id"].clone();
                    say(&body.to_string())?;
                }
                Next::SayLine(line) => say(&line)?,
                Next::Nothing => (),
                Next::Exit(code) => return Ok(code),
            }
            self.taken += usize::from(method == "tools/call");
            if self.scenario.ends_after.is_some_and(|calls| self.taken >= calls) {
                return Ok(1);
            }
        }
        Ok(0)
    }

    fn answer(&mut self, method: &str, params: &Value) -> Next {
        match (method, self.scenario.initialize) {
            ("initialize", Greeting::Silence) => Next::Nothing,
            ("initialize", Greeting::Exit) => Next::Exit(3),
            ("initialize", Greeting::Answer) => result(json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": { "tools": {} },
                "serverInfo": { "name": self.scenario.name, "version": "1.0.0" },
            })),
            ("ping", _) => result(json!({})),
            ("tools/list", _) => {
                let schema = json!({ "type": "object" });
                let tools = self.scenario.tools.iter().map(|name| json!({ "name": name, "inputSchema": schema }));
                result(json!({ "tools": tools.collect::<Vec<_>>() }))
            }
            ("tools/call", _) => self.call(params),
            _ => rpc_error(-32601, "method not found"),
        }
    }

    fn call(&mut self, params: &Value) -> Next {
        let tool = params["name"].as_str().unwrap_or_default().to_owned();
        let count = self.counts.entry(tool.clone()).or_default();
        let actions = self.scenario.calls.get(&tool).filter(|actions| !actions.is_empty());
        let action = actions.map_or(&self.scenario.otherwise, |actions| &actions[(*count).min(actions.len() - 1)]);
        *count += 1;
        std::thread::sleep(Duration::from_millis(action.delay_ms));
        match &action.answer {
            Answer::Both(text) => match serde_json::from_str::<Value>(text) {
                Ok(value) => both(value),
                Err(error) => rpc_error(-32603, &format!("the scenario's value is not JSON: {error}")),
            },
            Answer::Structured(text) => match serde_json::from_str::<Value>(text) {
                Ok(value) => result(json!({ "content": [], "structuredContent": value })),
                Err(error) => rpc_error(-32603, &format!("the scenario's value is not JSON: {error}")),
            },
            Answer::Text(text) => result(json!({ "content": [{ "type": "text", "text": text }] })),
            Answer::Blocks(text) => {
                let elements: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
                let blocks = elements.iter().map(|element| json!({ "type": "text", "text": element.to_string() }));
                result(json!({ "content": blocks.collect::<Vec<_>>() }))
            }
            Answer::Empty(_) => result(json!({ "content": [] })),
            Answer::Echo(_) => both(params["arguments"].clone()),
            Answer::IsError(text) => result(json!({ "isError": true, "content": [{ "type": "text", "text": text }] })),
            Answer::RpcError(code) => rpc_error(*code, "the scenario says so"),
            Answer::Noise(line) => Next::SayLine(line.clone()),
            Answer::Silence(_) => Next::Nothing,
            Answer::Exit(code) => Next::Exit(u8::try_from(*code).unwrap_or(1)),
        }
    }

    fn note(&self, event: &str, params: &Value) -> std::io::Result<()> {
        let Some(path) = &self.log else { return Ok(()) };
        let entry = Entry { at: Utc::now(), pid: std::process::id(), event: event.to_owned(), params: params.clone() };
        let mut log = File::options().create(true).append(true).open(path)?;
        log.write_all(format!("{}\n", serde_json::to_string(&entry)?).as_bytes())
    }
}

fn result(result: Value) -> Next {
    Next::Say(json!({ "result": result }))
}

fn both(value: Value) -> Next {
    let text = json!([{ "type": "text", "text": value.to_string() }]);
    let structured = if value.is_object() { value } else { json!({ "result": value }) };
    result(json!({ "content": text, "structuredContent": structured }))
}

fn rpc_error(code: i32, message: &str) -> Next {
    Next::Say(json!({ "error": { "code": code, "message": message } }))
}

fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("{line}\n").as_bytes())?;
    stdout.flush()
}
