//! One compose project, asked and handled through the docker CLI alone.

use std::{collections::BTreeMap, fs::File, time::Duration};

use chrono::{DateTime, Utc};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    config::Run4Config,
    session,
    stack::compose::{STATIC_FILES, TEST_OVERLAY},
    verdict::{Failure, Verdict},
    workspace,
};

/// How long one command of the CLI may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The label by which everything of a project is found.
pub(super) const LABEL: &str = "com.docker.compose.project";

/// A compose project, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    name: String,
}

/// A container as `docker compose ps --format json` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "PascalCase"))]
pub struct Container {
    /// Its id.
    #[serde(rename(deserialize = "ID"))]
    pub id: String,
    /// The service that it belongs to.
    pub service: String,
    /// `running`, `exited`.
    pub state: String,
    /// `healthy`, `unhealthy`, `starting`; empty without a health check.
    #[serde(default)]
    pub health: String,
    /// Its ports on this machine.
    #[serde(default)]
    pub publishers: Option<Vec<Publisher>>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "PascalCase"))]
pub struct Publisher {
    /// The port in the container.
    pub target_port: u16,
    /// The port on this machine; 0 when it is not published.
    pub published_port: u16,
}

impl Container {
    /// The port of this machine for the port `target` of the container.
    pub fn published(&self, target: u16) -> Option<u16> {
        let all = self.publishers.iter().flatten();
        all.filter(|it| it.target_port == target).map(|it| it.published_port).find(|port| *port != 0)
    }
}

/// How a program in a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Executed {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said, stdout then stderr.
    pub output: String,
}

impl Project {
    /// The project of this session: the configured name with the session's behind it, so that
    /// runs stand beside each other.
    pub fn of_this_session(config: &Run4Config) -> Self {
        Self::of(config, &workspace::session_id())
    }

    /// The project of another session.
    pub fn of(config: &Run4Config, session: &str) -> Self {
        let short: String = session.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        Self { name: format!("{}-{}", config.compose_project_name, short.to_lowercase()) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes that the project begins to be: the session's supervisor ends it.
    ///
    /// # Errors
    /// BROKEN when that cannot be written down.
    pub fn begin(&self) -> Verdict {
        Ok(super::note(&session::folder(), &self.name)?)
    }

    /// Stops every process in the container of a service, as in one that hangs: connections are taken,
    /// and nothing comes back. (`docker pause` asks more of a busy engine than it can do at times.)
    ///
    /// # Errors
    /// BROKEN when the engine does not list them, UNTESTABLE without the right to stop them.
    pub async fn freeze(&self, service: &str) -> Verdict {
        let container = self.container(service).await?;
        let listed = succeed(&["top", &container.id, "-o", "pid"]).await?;
        for id in listed.lines().filter_map(|line| line.trim().parse().ok()).filter_map(Pid::from_raw) {
            kill_process(id, Signal::STOP)
                .map_err(|error| Failure::untestable(format!("no right to stop {id:?} of {service}: {error}")))?;
        }
        Ok(())
    }

    /// Takes the container of a service off a network of the project.
    ///
    /// # Errors
    /// BROKEN when the engine does not do it.
    pub async fn cut_off(&self, service: &str, network: &str) -> Verdict {
        let container = self.container(service).await?;
        let network = self.network(network).await?["Id"].take();
        succeed(&["network", "disconnect", network.as_str().unwrap_or_default(), &container.id]).await.map(drop)
    }

    /// Starts services of the static compose files, with the test overlay last, and waits until they
    /// are healthy.
    ///
    /// # Errors
    /// UNTESTABLE without the images, FAIL when something does not become healthy.
    pub async fn up(&self, services: &[&str]) -> Verdict {
        let images = super::images().map_err(Failure::untestable)?;
        let mut command = Command::new("docker");
        command.args(["compose", "--project-name", &self.name]).current_dir(workspace::root().join("docker"));
        for file in STATIC_FILES[..STATIC_FILES.len() - 1].iter().chain([&TEST_OVERLAY]) {
            command.args(["--file", file]);
        }
        command.args(["up", "--detach", "--wait"]).args(services).envs(images);
        command.env("COMPOSE_PROJECT_NAME", &self.name).env("JWT_SECRET", "of nobody").kill_on_drop(true);
        let late = |_| Failure::fail(format!("{services:?} are not healthy after {} s", LIMIT.as_secs()));
        let output = tokio::time::timeout(LIMIT, command.output()).await.map_err(late)??;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failure::fail(String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// What the engine has of the project: `1 networks`, by kind.
    ///
    /// # Errors
    /// BROKEN when the engine cannot be asked.
    pub fn remains(&self) -> Result<Vec<String>, Failure> {
        Ok(super::sweep::remains(&self.name)?)
    }

    /// Keeps others from ending its containers as long as the result lives, or with `alone` from
    /// looking at them: for the test that ends one.
    ///
    /// # Errors
    /// BROKEN when the lock cannot be had.
    pub async fn lock(&self, alone: bool) -> Result<File, Failure> {
        session::lock("containers", alone).await
    }

    /// All its containers, those that have ended too, by service.
    ///
    /// # Errors
    /// BROKEN when they cannot be listed.
    pub async fn containers(&self) -> Result<BTreeMap<String, Container>, Failure> {
        let text = self.compose(&["ps", "--all", "--format", "json"]).await?;
        let read = |text: &str| serde_json::from_str::<Container>(text);
        let containers: Result<Vec<Container>, _> = match text.trim_start().starts_with('[') {
            true => serde_json::from_str(&text),
            false => text.lines().filter(|line| !line.trim().is_empty()).map(read).collect(),
        };
        let containers = containers.map_err(|error| Failure::broken(format!("docker compose ps: {error}: {text}")))?;
        Ok(containers.into_iter().map(|container| (container.service.clone(), container)).collect())
    }

    /// The container of a service.
    ///
    /// # Errors
    /// FAIL when there is none.
    pub async fn container(&self, service: &str) -> Result<Container, Failure> {
        let missing = || Failure::fail(format!("{service} has no container in the project {}", self.name));
        self.containers().await?.remove(service).ok_or_else(missing)
    }

    /// What `docker inspect` tells of the container of a service.
    ///
    /// # Errors
    /// FAIL when there is none.
    pub async fn inspect(&self, service: &str) -> Result<Value, Failure> {
        let container = self.container(service).await?;
        let text = succeed(&["inspect", &container.id]).await?;
        Ok(serde_json::from_str::<Value>(&text)?[0].take())
    }

    /// When each of its containers was started last, by service.
    ///
    /// # Errors
    /// BROKEN when the engine does not tell.
    pub async fn started(&self) -> Result<BTreeMap<String, DateTime<Utc>>, Failure> {
        let mut all = BTreeMap::new();
        for service in self.containers().await?.into_keys() {
            let at = self.inspect(&service).await?["State"]["StartedAt"].take();
            let at = serde_json::from_value(at)
                .map_err(|error| Failure::broken(format!("{service}: StartedAt: {error}")))?;
            all.insert(service, at);
        }
        Ok(all)
    }

    /// What `docker network inspect` tells of a network of the project, by its name in the files.
    ///
    /// # Errors
    /// FAIL when there is none.
    pub async fn network(&self, name: &str) -> Result<Value, Failure> {
        let filters = [format!("label={LABEL}={}", self.name), format!("label=com.docker.compose.network={name}")];
        let id = succeed(&["network", "ls", "--quiet", "--filter", &filters[0], "--filter", &filters[1]]).await?;
        let id = id.trim();
        if id.is_empty() {
            return Err(Failure::fail(format!("the project {} has no network {name}", self.name)));
        }
        Ok(serde_json::from_str::<Value>(&succeed(&["network", "inspect", id]).await?)?[0].take())
    }

    /// Runs a program in the container of a service.
    ///
    /// # Errors
    /// FAIL when there is no such container.
    pub async fn execute(&self, service: &str, argv: &[&str]) -> Result<Executed, Failure> {
        execute(&self.container(service).await?.id, argv).await
    }

    /// Restarts, kills or starts the container of a service: a verb of `docker`.
    ///
    /// # Errors
    /// BROKEN when the engine does not do it.
    pub async fn act(&self, verb: &str, service: &str) -> Verdict {
        let container = self.container(service).await?;
        succeed(&[verb, &container.id]).await.map(drop)
    }

    /// What each of its containers has in memory now, in MiB, without the file cache, by service.
    ///
    /// # Errors
    /// BROKEN when the engine does not tell.
    pub async fn memory(&self) -> Result<BTreeMap<String, f64>, Failure> {
        let containers = self.containers().await?;
        let ids = containers.values().map(|container| container.id.as_str());
        let words: Vec<&str> = ["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}"]
            .into_iter()
            .chain(ids)
            .collect();
        let text = succeed(&words).await?;
        let of = |container: &Container| {
            let line = text.lines().find(|line| line.starts_with(&container.id))?;
            mebibytes(line.split_whitespace().nth(1)?)
        };
        let missing = |service: &str| Failure::broken(format!("docker stats does not tell of {service}: {text}"));
        let told = |(service, container): (String, Container)| {
            of(&container).ok_or_else(|| missing(&service)).map(|memory| (service, memory))
        };
        containers.into_iter().map(told).collect()
    }

    async fn compose(&self, arguments: &[&str]) -> Result<String, Failure> {
        let words: Vec<&str> =
            ["compose", "--project-name", &self.name].into_iter().chain(arguments.iter().copied()).collect();
        succeed(&words).await
    }
}

async fn run(arguments: &[&str]) -> Result<std::process::Output, Failure> {
    // Away from the folder of the suite, whose files are no project of their own.
    let output = Command::new("docker").args(arguments).current_dir("/").kill_on_drop(true).output();
    let late = |_| Failure::broken(format!("docker {} has not ended after {} s", arguments.join(" "), LIMIT.as_secs()));
    Ok(tokio::time::timeout(LIMIT, output).await.map_err(late)??)
}

/// Runs a program in a container.
pub(super) async fn execute(container: &str, argv: &[&str]) -> Result<Executed, Failure> {
    let words: Vec<&str> = ["exec", container].into_iter().chain(argv.iter().copied()).collect();
    let output = run(&words).await?;
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Executed { code: output.status.code(), output: texts.concat() })
}

pub(super) async fn succeed(arguments: &[&str]) -> Result<String, Failure> {
    let output = run(arguments).await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::broken(format!("docker {}: {said}", arguments.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `12.5MiB` and its like, in MiB.
fn mebibytes(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 4] = [("KiB", 1.0 / 1024.0), ("MiB", 1.0), ("GiB", 1024.0), ("B", 1.0 / 1_048_576.0)];
    let (unit, size) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    Some(text.strip_suffix(unit)?.trim().parse::<f64>().ok()? * size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("12.5MiB", Some(12.5))]
    #[case("1.5GiB", Some(1536.0))]
    #[case("512KiB", Some(0.5))]
    #[case("0B", Some(0.0))]
    #[case("--", None)]
    fn sizes_are_read(#[case] text: &str, #[case] size: Option<f64>) {
        assert_eq!(mebibytes(text), size);
    }
}
