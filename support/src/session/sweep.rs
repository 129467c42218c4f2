//! Finding and ending every process of a session by the mark in its environment.

use std::{io, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::scratch;
use crate::workspace::SESSION_VARIABLE;

/// The mark of processes that a test of a session starts in a session of their own.
pub const OUTER_SESSION_VARIABLE: &str = "RUN4_INTERNAL_OUTER_SESSION";

/// How often the sweep looks again, since a process may fork while it is found.
const ROUNDS: u32 = 50;

/// The processes of `session`, without this one: id and command line. They carry its mark, or
/// work in its [`scratch`] folder: PostgreSQL's children write their title over their environment.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn marked_processes(session: &str) -> io::Result<Vec<(i32, String)>> {
    let folder = scratch(session);
    let marks = [SESSION_VARIABLE, OUTER_SESSION_VARIABLE].map(|name| format!("{name}={session}"));
    processes(&|process| marks.iter().any(|mark| has_mark(process, mark)) || works_in(process, &folder))
}

/// The processes that work in `folder` or below: id and command line.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn processes_in(folder: &Path) -> io::Result<Vec<(i32, String)>> {
    processes(&|process| works_in(process, folder))
}

/// Whether the supervisor of `session` runs.
///
/// # Errors
/// When `/proc` cannot be read.
pub(super) fn is_supervised(session: &str) -> io::Result<bool> {
    let command = format!("\0supervise\0{session}\0");
    let is_it = |process: &Path| {
        std::fs::read(process.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&command))
    };
    Ok(!processes(&is_it)?.is_empty())
}

/// Whether the process `id` runs: one that has ended and that its parent has not asked for yet
/// does not.
pub fn is_running(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The state follows the name, which may itself have brackets.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Whether the process at `/proc/<id>` has `mark`, a `NAME=value`, in its environment.
/// Processes that end meanwhile, or belong to others, cannot be read and are not ours.
fn has_mark(process: &Path, mark: &str) -> bool {
    std::fs::read(process.join("environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes()))
}

/// Whether the process at `/proc/<id>` works in `folder` or below.
fn works_in(process: &Path, folder: &Path) -> bool {
    std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
}

/// The processes that `wanted` picks by their `/proc/<id>`, without this one.
fn processes(wanted: &dyn Fn(&Path) -> bool) -> io::Result<Vec<(i32, String)>> {
    let own = std::process::id().cast_signed();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if id != own && wanted(&entry.path()) {
            let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            found.push((id, command.replace('\0', " ").trim().to_owned()));
        }
    }
    Ok(found)
}

/// Kills every process of `session`; gives what was found.
///
/// # Errors
/// When `/proc` cannot be read, or something survives.
pub fn sweep(session: &str) -> io::Result<Vec<(i32, String)>> {
    end_all(&|| marked_processes(session))
}

/// Kills every process that has `mark`, a `NAME=value`, in its environment; gives what was found.
///
/// # Errors
/// As [`sweep`].
pub(crate) fn sweep_marked(mark: &str) -> io::Result<Vec<(i32, String)>> {
    end_all(&|| processes(&|process| has_mark(process, mark)))
}

/// Kills every process that works in `folder` or below; gives what was found.
///
/// # Errors
/// As [`sweep`].
pub(crate) fn sweep_folder(folder: &Path) -> io::Result<Vec<(i32, String)>> {
    end_all(&|| processes_in(folder))
}

fn end_all(find: &dyn Fn() -> io::Result<Vec<(i32, String)>>) -> io::Result<Vec<(i32, String)>> {
    let mut swept = Vec::new();
    for _ in 0..ROUNDS {
        let found = find()?;
        if found.is_empty() {
            return Ok(swept);
        }
        for (id, command) in found {
            if let Some(process) = Pid::from_raw(id)
                && kill_process(process, Signal::KILL).is_ok()
                && !swept.contains(&(id, command.clone()))
            {
                swept.push((id, command));
            }
        }
        // A killed process stays in /proc until the kernel has taken it apart.
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!("these processes survive: {:?}", find()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that ignores SIGTERM, marked, in a session of its own and no child of ours.
    fn stray(mark: &str) -> i32 {
        let (name, value) = mark.split_once('=').expect("a mark");
        let output = std::process::Command::new("sh")
            .args(["-c", "trap '' TERM; setsid sleep 60 >/dev/null 2>&1 & echo $!"])
            .env(name, value)
            .output()
            .expect("sh runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("an id")
    }

    #[test]
    fn a_marked_process_is_swept_wherever_it_went() {
        let mark = format!("RUN4_TEST_MARK={}", std::process::id());
        let id = stray(&mark);
        assert!(sweep_marked(&format!("{mark}0")).expect("readable").is_empty());
        let swept = sweep_marked(&mark).expect("readable");
        assert!(swept.iter().any(|(swept, _)| *swept == id), "{swept:?} without {id}");
        assert!(sweep_marked(&mark).expect("readable").is_empty());
    }

    #[test]
    fn a_process_that_was_not_waited_for_has_ended_all_the_same() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep runs");
        assert!(is_running(child.id()));
        child.kill().expect("killed");
        while is_running(child.id()) {
            std::thread::yield_now();
        }
        assert!(Path::new("/proc").join(child.id().to_string()).exists(), "it was not waited for");
        child.wait().expect("it has ended");
        assert!(!is_running(child.id()));
    }

    #[test]
    fn a_process_in_the_scratch_folder_belongs_to_the_session() {
        let session = format!("sweep-test-{}", std::process::id());
        let folder = scratch(&session);
        std::fs::create_dir_all(folder.join("deep")).expect("a folder");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env_clear()
            .current_dir(folder.join("deep"))
            .spawn()
            .expect("sleep runs");
        let found = marked_processes(&session).expect("readable");
        assert_eq!(found.len(), 1, "{found:?}");
        let swept = std::thread::spawn(move || sweep(&session));
        child.wait().expect("it is killed");
        assert_eq!(swept.join().expect("no panic").expect("nothing survives"), found);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
