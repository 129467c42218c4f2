//! The database and the broker of a session: real ones, one of each for all test processes,
//! started by the first that asks and owned by the supervisor (builder.md, D-102).
//!
//! They listen on 127.0.0.1 only, ask for no password, and keep nothing: their data lies in
//! the session's [`scratch`] folder and goes with it.

mod account;
mod postgres;
mod redis;
mod source;
mod tools;

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use postgres::query;
pub use redis::{ask, command};
pub use tools::{survey, tools_path};

use account::Account;

use crate::{
    session::{Supervisor, is_running, scratch, shared},
    sut::{self, Farewell, Place, Profile, tail},
    verdict::{Failure, Verdict},
    workspace,
};

/// How long a server may take from its start to its first answer.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two looks at a server that is not ready yet.
const READY_INTERVAL: Duration = Duration::from_millis(20);

/// What an entry of a profile calls the servers.
const DATABASE_PLACEHOLDER: &str = "database_url";
const EVENT_BUS_PLACEHOLDER: &str = "event_bus_url";

/// What an entry of a profile calls a `PATH` with all programs of the stack.
const TOOLS_PLACEHOLDER: &str = "tools_path";

/// A running server of this session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its address with everything a client needs: `redis://127.0.0.1:18002/0`.
    pub url: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The id of its process.
    pub id: u32,
    /// The program it was started from, for the report.
    pub program: PathBuf,
    /// The file with what it prints.
    pub log: PathBuf,
}

/// The PostgreSQL of this session. Its user may create databases.
///
/// # Errors
/// UNTESTABLE(postgresql) when neither this machine nor the toolbox has one, BROKEN when it
/// does not start.
pub async fn database() -> Result<Server, Failure> {
    shared("postgresql", postgres::start).await
}

/// A database of the caller's own on the PostgreSQL of this session; gives its address. It goes
/// with the session.
///
/// # Errors
/// As [`database`], and BROKEN when it cannot be created.
pub async fn new_database() -> Result<String, Failure> {
    let server = database().await?;
    let name = format!("own_{}", Uuid::new_v4().simple());
    query(&server, &format!("CREATE DATABASE {name}")).await?;
    let (place, _) = server.url.rsplit_once('/').ok_or_else(|| Failure::broken("the address has no database"))?;
    Ok(format!("{place}/{name}"))
}

/// The Redis of this session.
///
/// # Errors
/// UNTESTABLE(redis) when neither this machine nor the toolbox has one, BROKEN when it does
/// not start.
pub async fn event_bus() -> Result<Server, Failure> {
    shared("redis", redis::start).await
}

/// Sets `${database_url}`, `${event_bus_url}` and `${tools_path}` at `place` when the entry `key`
/// names them, starting what is not running yet.
///
/// # Errors
/// As [`database`], [`event_bus`] and [`tools_path`].
pub async fn fill(profile: &Profile, key: &str, place: &mut Place) -> Verdict {
    if profile.names(key, DATABASE_PLACEHOLDER) {
        place.set(DATABASE_PLACEHOLDER, database().await?.url);
    }
    if profile.names(key, EVENT_BUS_PLACEHOLDER) {
        place.set(EVENT_BUS_PLACEHOLDER, event_bus().await?.url);
    }
    if profile.names(key, TOOLS_PLACEHOLDER) {
        place.set(TOOLS_PLACEHOLDER, tools_path().await?);
    }
    Ok(())
}

/// A server about to start.
struct Recipe {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    farewell: Farewell,
    port: u16,
    url: String,
    home: Home,
}

impl Recipe {
    /// Starts it under the supervisor and waits until `answers` succeeds.
    async fn start(self, answers: impl AsyncFn(u16) -> io::Result<()>) -> Result<Server, Failure> {
        let argv = [self.program.display().to_string()].into_iter().chain(self.arguments).collect();
        let command = self.home.command(self.name, argv);
        let service = Supervisor::of_this_session()?
            .start_with(self.name, &command, &logs(), self.farewell)
            .map_err(|failure| Failure::broken(failure.status().reason().unwrap_or_default()))?;
        let begun = Instant::now();
        loop {
            let Err(error) = answers(self.port).await else { break };
            let ended = !is_running(service.id);
            if ended || begun.elapsed() > READY_LIMIT {
                let state = if ended { "has ended" } else { "does not answer" };
                let log = tail(&service.log).unwrap_or_default();
                return Err(Failure::broken(format!("{} {state}: {error}; its log ends with:\n{log}", self.name)));
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
        Ok(Server { url: self.url, port: self.port, id: service.id, program: self.program, log: service.log })
    }
}

/// The folder of one server below the session's scratch folder, and the account it runs under.
struct Home {
    folder: PathBuf,
    account: Account,
}

impl Home {
    /// An empty folder for the server `name`, its account's own.
    fn new(name: &str) -> Result<Self, Failure> {
        let account = Account::for_servers().map_err(|reason| Failure::untestable(format!("{name}: {reason}")))?;
        // A test process that was killed while it started the server may have left both.
        Supervisor::of_this_session()?.clear(name)?;
        let folder = scratch(&workspace::session_id()).join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        account.give(&folder)?;
        Ok(Self { folder, account })
    }

    /// The command that runs `argv` in this folder under its account.
    fn command(&self, name: &str, argv: Vec<String>) -> sut::Command {
        let argv = self.account.argv(argv);
        sut::Command { key: name.to_owned(), argv, cwd: self.folder.clone(), env: Default::default(), ready: None }
    }
}

fn logs() -> PathBuf {
    workspace::bundle().join("logs/servers")
}

/// Removes a session's scratch folder, and the System V shared memory that any killed PostgreSQL
/// in it left; no process of the session may be left.
///
/// # Errors
/// When something cannot be removed.
pub(crate) fn remove_data(scratch: &Path) -> io::Result<()> {
    for segment in postgres::all_shared_memory(scratch) {
        free(segment)?;
    }
    match std::fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn free(segment: i64) -> io::Result<()> {
    if !segment_exists(segment) {
        return Ok(());
    }
    let output = Command::new("ipcrm").args(["-m", &segment.to_string()]).output()?;
    // It may have ended by itself meanwhile.
    if output.status.success() || !segment_exists(segment) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("shared memory segment {segment} stays: {}", text.trim())))
}

/// Whether this machine has the System V shared memory segment `id`.
pub fn segment_exists(id: i64) -> bool {
    let list = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    list.lines().skip(1).any(|line| line.split_whitespace().nth(1) == Some(&id.to_string()))
}

/// The System V shared memory segments of every PostgreSQL whose data lies below `folder`, as long
/// as their lock files are there.
pub fn segments_below(folder: &Path) -> Vec<i64> {
    postgres::all_shared_memory(folder)
}

/// The System V shared memory segment of the session's PostgreSQL while it runs.
pub fn segment_of(session: &str) -> Option<i64> {
    postgres::shared_memory(&scratch(session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_of_a_killed_server_is_freed_with_its_data() {
        let made = Command::new("ipcmk").args(["-M", "64"]).output().expect("util-linux is there");
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        let segment: i64 = text.trim().rsplit(' ').next().and_then(|id| id.parse().ok()).expect("an id");
        let folder = tempfile::tempdir().expect("a folder");
        let lock = format!("1\n/d\n1\n1\n\n127.0.0.1\n 17 {segment}\nready\n");
        crate::atomic::write(&folder.path().join("pipelines/one/data/postmaster.pid"), lock).expect("written");
        assert!(segment_exists(segment));
        remove_data(folder.path()).expect("removed");
        assert!(!segment_exists(segment) && !folder.path().exists());
        remove_data(folder.path()).expect("nothing to do");
    }
}
