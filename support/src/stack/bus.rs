//! The event bus of a running application, seen and handled from outside: Redis Streams
//! (tasktracker.md §4).

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;

use super::{docker::Project, servers::ask};
use crate::{
    session::{Supervisor, is_running},
    sut::Command,
    verdict::{Failure, Verdict},
    workspace,
};

/// How long a broker may take to end, and to answer again.
const RESTART_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two looks at something that is not there yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How many entries one read of a stream asks for.
const ENTRIES: &str = "100000";

/// What of its settings a broker needs to be the same after its restart.
const KEPT: [&str; 7] = ["port", "bind", "dir", "save", "appendonly", "appendfilename", "appendfsync"];

/// The service of the bus in a compose project.
const SERVICE: &str = "redis";

/// A Redis: a process of this machine, or a container of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bus {
    host: Ipv4Addr,
    port: u16,
    project: Option<Project>,
}

/// One entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name of the stream.
    pub stream: String,
    /// Names and values of its fields, in turn.
    pub fields: Vec<String>,
}

impl Entry {
    /// The first field that is a JSON object: the payload of the event.
    pub fn payload(&self) -> Option<Value> {
        self.fields.iter().filter_map(|field| serde_json::from_str(field).ok()).find(Value::is_object)
    }
}

impl Bus {
    /// The broker at an address like `redis://127.0.0.1:41202/0`; in a container when its
    /// application has a `project`.
    ///
    /// # Errors
    /// UNTESTABLE for any other address.
    pub fn at(url: &str, project: Option<&Project>) -> Result<Self, Failure> {
        let place = url.strip_prefix("redis://").and_then(|rest| rest.split('/').next()?.parse::<SocketAddrV4>().ok());
        let is_reached = |place: &SocketAddrV4| place.ip().is_loopback() || project.is_some();
        let place = place.filter(is_reached);
        let place =
            place.ok_or_else(|| Failure::untestable(format!("the event bus {url} is no Redis on this machine")))?;
        Ok(Self { host: *place.ip(), port: place.port(), project: project.cloned() })
    }

    async fn ask(&self, words: &[&str]) -> Result<Value, Failure> {
        ask(self.host, self.port, words)
            .await
            .map_err(|error| Failure::fail(format!("the event bus, {}: {error}", words.join(" "))))
    }

    /// The streams of a channel by its address (`order/created`), whatever their prefix.
    ///
    /// # Errors
    /// FAIL when the bus does not answer.
    pub async fn streams(&self, address: &str) -> Result<Vec<String>, Failure> {
        let keys = self.ask(&["KEYS", &format!("*{address}")]).await?;
        Ok(keys.as_array().into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect())
    }

    /// What is on the streams of a channel, oldest first.
    ///
    /// # Errors
    /// FAIL when the bus does not answer.
    pub async fn entries(&self, address: &str) -> Result<Vec<Entry>, Failure> {
        let mut all = Vec::new();
        for stream in self.streams(address).await? {
            let entries = self.ask(&["XRANGE", &stream, "-", "+", "COUNT", ENTRIES]).await?;
            all.extend(
                entries
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|entry| Entry { stream: stream.clone(), fields: texts(&entry[1]) }),
            );
        }
        Ok(all)
    }

    /// Puts an entry on its stream once more.
    ///
    /// # Errors
    /// FAIL when the bus does not take it.
    pub async fn repeat(&self, entry: &Entry) -> Verdict {
        let mut words = vec!["XADD", &entry.stream, "*"];
        words.extend(entry.fields.iter().map(String::as_str));
        self.ask(&words).await.map(drop)
    }

    /// Waits until [`Bus::is_handled`] was true once, for at most `limit`; tells whether it was. Once is
    /// enough: what others send afterwards is on the same streams.
    ///
    /// # Errors
    /// As [`Bus::is_handled`].
    pub async fn is_handled_within(&self, address: &str, limit: Duration) -> Result<bool, Failure> {
        let begun = tokio::time::Instant::now();
        while !self.is_handled(address).await? {
            if begun.elapsed() >= limit {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(true)
    }

    /// Whether every group has been given, and has done with, everything on the streams of a
    /// channel. False while no group is there.
    ///
    /// # Errors
    /// FAIL when the bus does not answer.
    pub async fn is_handled(&self, address: &str) -> Result<bool, Failure> {
        let streams = self.streams(address).await?;
        for stream in &streams {
            let last = self.ask(&["XREVRANGE", stream, "+", "-", "COUNT", "1"]).await?[0][0].clone();
            let groups = self.ask(&["XINFO", "GROUPS", stream]).await?;
            let groups: Vec<_> = groups.as_array().into_iter().flatten().collect();
            let done = |group: &&&Value| {
                value_of(group, "pending") == Some(&Value::from(0))
                    && value_of(group, "last-delivered-id") == Some(&last)
            };
            if groups.is_empty() || !groups.iter().all(|group| done(&group)) {
                return Ok(false);
            }
        }
        Ok(!streams.is_empty())
    }

    /// Ends the broker as an operator does and starts the same program with the same settings in
    /// the same folder, or restarts its container; gives how long nobody could use it. A process
    /// belongs to the session's supervisor.
    ///
    /// # Errors
    /// FAIL when it keeps nothing on disk or does not come back.
    pub async fn restart(&self) -> Result<Duration, Failure> {
        if let Some(project) = &self.project {
            let begun = tokio::time::Instant::now();
            project.act("restart", SERVICE).await?;
            self.comes_back().await?;
            return Ok(begun.elapsed());
        }
        let information = self.ask(&["INFO", "server"]).await?;
        let fact = |name: &str| {
            let text = information.as_str().unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::to_owned)
        };
        let missing = |name: &str| Failure::fail(format!("the event bus does not tell its {name}"));
        let id: u32 = fact("process_id").and_then(|id| id.parse().ok()).ok_or_else(|| missing("process_id"))?;
        let mut argv = vec![fact("executable").ok_or_else(|| missing("executable"))?];
        for name in KEPT {
            let setting = self.ask(&["CONFIG", "GET", name]).await?;
            if let Some(value) = setting[1].as_str() {
                argv.push(format!("--{name}"));
                // A list is given as several words; an empty one as an empty word.
                argv.extend(value.split(' ').map(str::to_owned));
            }
        }
        let cwd = std::fs::read_link(format!("/proc/{id}/cwd"))?;
        let begun = tokio::time::Instant::now();
        // The connection is lost before there can be an answer.
        let _ = ask(self.host, self.port, &["SHUTDOWN"]).await;
        wait(|| async { Ok(!is_running(id)) }, "end").await?;
        let command =
            Command { key: format!("event-bus-{}", self.port), argv, cwd, env: Default::default(), ready: None };
        let logs: PathBuf = workspace::bundle().join("logs/servers");
        Supervisor::of_this_session()?.clear(&command.key)?;
        Supervisor::of_this_session()?.start(&command.key, &command, &logs)?;
        self.comes_back().await?;
        Ok(begun.elapsed())
    }

    async fn comes_back(&self) -> Verdict {
        wait(|| async { Ok(ask(self.host, self.port, &["PING"]).await.is_ok()) }, "come back").await
    }
}

async fn wait(holds: impl AsyncFn() -> Result<bool, Failure>, what: &str) -> Verdict {
    let begun = tokio::time::Instant::now();
    while !holds().await? {
        if begun.elapsed() > RESTART_LIMIT {
            return Err(Failure::fail(format!("the event bus did not {what} within {} s", RESTART_LIMIT.as_secs())));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// A member of a reply that lists names and values in turn.
fn value_of<'v>(pairs: &'v Value, name: &str) -> Option<&'v Value> {
    let pairs = pairs.as_array()?;
    pairs.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| &pair[1])
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::full("redis://127.0.0.1:41202/0", Some(41202))]
    #[case::short("redis://127.0.0.1:41202", Some(41202))]
    #[case::elsewhere("redis://redis:6379/0", None)]
    #[case::other("nats://127.0.0.1:4222", None)]
    fn only_a_redis_of_this_machine_can_be_handled(#[case] url: &str, #[case] port: Option<u16>) {
        assert_eq!(Bus::at(url, None).ok().map(|bus| bus.port), port);
    }

    #[test]
    fn a_payload_is_the_field_that_is_an_object() {
        let fields = ["event_id", "7", "payload", r#"{"order_id": 1}"#].map(str::to_owned).to_vec();
        let entry = Entry { stream: "order/created".into(), fields };
        assert_eq!(entry.payload(), Some(json!({ "order_id": 1 })));
    }

    #[test]
    fn pairs_are_read_by_name() {
        let group = json!(["name", "pending", "pending", 3]);
        assert_eq!(value_of(&group, "pending"), Some(&json!(3)));
        assert_eq!(value_of(&group, "lag"), None);
    }
}
