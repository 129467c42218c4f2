//! Generated services as processes (spec http.md §2).

use std::{
    collections::BTreeMap,
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::health::wait_healthy;
use crate::{
    sut::{Command, Port, Process},
    toolbox,
    verdict::Failure,
};

/// How long a service may take to become ready (http.md §2).
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The pause between two looks at a service that is not ready yet.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// A running generated service. Dropping it kills it.
#[derive(Debug)]
pub struct LiveService {
    process: Process,
    port: Port,
}

impl LiveService {
    /// Starts the service in `tree` with the toolbox's Python, and waits until it is healthy.
    /// `env` is what it is configured by: `DATABASE_URL`, `EVENT_BUS_URL`, `JWT_SECRET`, peers.
    ///
    /// # Errors
    /// UNTESTABLE without a toolbox, BROKEN when no port is free, FAIL when the service does not
    /// become healthy.
    pub async fn start(tree: &Path, env: &BTreeMap<String, String>, logs: &Path) -> Result<Self, Failure> {
        let name = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let port = Port::take()?;
        let number = port.number().to_string();
        let python = toolbox::python()?.display().to_string();
        let argv = [&python, "-m", "uvicorn", "src.main:app", "--host", "127.0.0.1", "--port", &number];
        let mut env = env.clone();
        env.insert("PORT".into(), number.clone());
        // Byte code would count as something that was written into the tree.
        env.insert("PYTHONDONTWRITEBYTECODE".into(), "1".into());
        let command = Command {
            key: name.clone(),
            argv: argv.map(str::to_owned).to_vec(),
            cwd: tree.to_path_buf(),
            env,
            ready: None,
        };
        let process = Process::spawn(&command, logs, false).map_err(Failure::fail)?;
        let service = Self { process, port };
        let urls = BTreeMap::from([(name, service.url("/health"))]);
        match wait_healthy(&urls, READY_LIMIT, READY_INTERVAL, 1).await {
            Ok(_) => Ok(service),
            Err(error) => Err(Failure::fail(format!("{error}; its log ends with:\n{}", service.process.log_tail()))),
        }
    }

    /// The address of a path of the service: `/health`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port.number())
    }

    /// The JSON body of its answer to `GET path`, with an access token where there is one.
    ///
    /// # Errors
    /// FAIL when it does not answer with success and JSON.
    pub async fn get(&self, path: &str, token: Option<&str>) -> Result<Value, Failure> {
        self.ask(reqwest::Client::new().get(self.url(path)), token).await
    }

    /// As [`LiveService::get`], for `POST path` with a JSON body.
    ///
    /// # Errors
    /// As [`LiveService::get`].
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Value, Failure> {
        self.ask(reqwest::Client::new().post(self.url(path)).json(body), token).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder, token: Option<&str>) -> Result<Value, Failure> {
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        let failed = |error: reqwest::Error| Failure::fail(format!("{}: {error}", self.process.key()));
        let answer = request.send().await.map_err(failed)?;
        let (url, status) = (answer.url().clone(), answer.status());
        let body = answer.text().await.map_err(failed)?;
        if !status.is_success() {
            return Err(Failure::fail(format!("{} at {url} answered {status}: {body}", self.process.key())));
        }
        serde_json::from_str(&body).map_err(|error| Failure::fail(format!("{url}: {error}: {body}")))
    }

    /// Asks it to end, as an operator would; gives how it ended and how long that took.
    pub async fn stop(mut self) -> (Option<ExitStatus>, Duration) {
        let begun = Instant::now();
        let status = self.process.stop().await;
        (status, begun.elapsed())
    }
}
