//! The supervisor: one process per session that owns what outlives a test, watches the run,
//! and when the run is gone, whatever way it went, ends everything that carries its mark.

use std::{
    collections::BTreeMap, fs::File, io, os::unix::process::CommandExt, path::Path, process::Stdio, time::Duration,
};

use futures::future::join_all;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
};

use super::{
    client::{Answer, Request, Service, scratch, socket_path},
    sweep::sweep,
};
use crate::{
    stack::{docker, servers},
    sut::{Command, Farewell, Port, Process},
    workspace,
};

/// How long a starting supervisor may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// What a supervisor watches and whose mark it sweeps.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The session.
    pub session: String,
    /// The process whose end is the end of the run.
    pub runner: u32,
    /// A command to run, with this program, when the run has ended and before the sweep.
    pub afterwards: Vec<String>,
}

/// Starts a supervisor as a process of its own, away from the terminal and the test runner's
/// pipes, and waits until it listens. Its messages go to `log`.
///
/// # Errors
/// When it cannot be started or does not listen; the text names its log.
pub fn start_supervisor(watch: &Watch, log: &Path) -> io::Result<()> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = File::options().create(true).append(true).open(log)?;
    let mut command = std::process::Command::new(workspace::run4_program());
    command
        .args(["internal", "supervise", &watch.session, &watch.runner.to_string()])
        .args(&watch.afterwards)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        // A group of its own: Ctrl-C at the terminal must reach the run, not its supervisor.
        .process_group(0);
    let mut child = command.spawn()?;
    let socket = socket_path(&watch.session);
    let deadline = std::time::Instant::now() + START_LIMIT;
    while !socket.exists() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("the supervisor ended with {status}; see {}", log.display())));
        }
        if std::time::Instant::now() > deadline {
            return Err(io::Error::other(format!("the supervisor does not listen; see {}", log.display())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The life of a supervisor: serves requests until the runner is gone or it is told to end,
/// then ends its processes and everything else of the session.
///
/// # Errors
/// When it cannot listen, or something of the session survives.
pub async fn supervise(watch: &Watch) -> io::Result<()> {
    let socket = socket_path(&watch.session);
    let listener = listen(&socket)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let runner = watch.runner;
    let mut runner_gone = tokio::task::spawn_blocking(move || wait_until_gone(runner));
    let mut owned = Owned::default();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                if let Err(error) = serve(connection?.0, &mut owned).await {
                    eprintln!("a request failed: {error}");
                }
            }
            gone = &mut runner_gone => {
                gone.map_err(io::Error::other)??;
                break;
            }
            _ = terminate.recv() => break,
            // The terminal's own signals end the run, and the end of the run is what counts here.
            _ = hangup.recv() => (),
            _ = interrupt.recv() => (),
        }
    }
    let _ = std::fs::remove_file(&socket);
    // All at once: the slowest of them sets the time.
    join_all(owned.services.values_mut().map(Process::stop)).await;
    let swept = sweep(&watch.session);
    let values = workspace::output().join("session").join(&watch.session);
    // The folder names the projects: it goes only when they are gone.
    let containers = docker::sweep(&values)?;
    servers::remove_data(&scratch(&watch.session))?;
    match std::fs::remove_dir_all(&values) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut swept: Vec<String> = swept?.into_iter().map(|(id, command)| format!("{id} {command}")).collect();
    swept.extend(containers);
    if !swept.is_empty() {
        eprintln!("session {}: ended what was left: {swept:?}", watch.session);
    }
    // Last: it fails when the folder of the run is gone, as that of a run inside a test may be.
    finish(watch)
}

fn finish(watch: &Watch) -> io::Result<()> {
    if watch.afterwards.is_empty() {
        return Ok(());
    }
    // This program, wherever it lay: nextest removes what it has unpacked from an archive.
    let status = std::process::Command::new("/proc/self/exe").args(&watch.afterwards).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{:?}: {status}", watch.afterwards))) }
}

/// Listens under a temporary name and renames, so that the socket works as soon as it is seen.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let unready = socket.with_extension("new");
    let _ = std::fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready)?;
    std::fs::rename(&unready, socket)?;
    Ok(listener)
}

/// What a supervisor keeps for its session.
#[derive(Default)]
struct Owned {
    services: BTreeMap<String, Process>,
    /// Held by their locks: the processes that listen on them know nothing of these.
    ports: Vec<Port>,
}

async fn serve(stream: UnixStream, owned: &mut Owned) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Start { name, argv, cwd, env, logs, farewell }) => {
            start(&mut owned.services, Command { key: name, argv, cwd, env, ready: None }, &logs, farewell)
        }
        Ok(Request::Port) => match Port::take() {
            Ok(port) => {
                let number = port.number();
                owned.ports.push(port);
                Answer::Port(number)
            }
            Err(error) => Answer::Refused(error.to_string()),
        },
        Ok(Request::Stop { name }) => match owned.services.remove(&name) {
            Some(mut process) => {
                process.stop().await;
                Answer::Stopped
            }
            None => Answer::Refused(format!("no process {name:?}")),
        },
        Err(error) => Answer::Refused(error.to_string()),
    };
    writer.write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes()).await
}

fn start(services: &mut BTreeMap<String, Process>, command: Command, logs: &Path, farewell: Farewell) -> Answer {
    let name = command.key.clone();
    if services.get_mut(&name).is_some_and(|process| process.exited().is_none()) {
        return Answer::Refused(format!("a process {name:?} is running already"));
    }
    match Process::spawn(&command, logs, false) {
        Ok(process) => {
            let process = process.with_farewell(farewell);
            let service =
                Service { name: name.clone(), id: process.id().unwrap_or_default(), log: process.log().to_path_buf() };
            services.insert(name, process);
            Answer::Started(service)
        }
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// Blocks until the process `id` has gone. A pidfd names one process even when its number is
/// used again.
fn wait_until_gone(id: u32) -> io::Result<()> {
    let Some(process) = Pid::from_raw(id.cast_signed()) else { return Ok(()) };
    let watched = match pidfd_open(process, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        other => other?,
    };
    loop {
        match poll(&mut [PollFd::new(&watched, PollFlags::IN)], None) {
            Err(Errno::INTR) | Ok(0) => (),
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}
