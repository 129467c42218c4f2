//! Finding and ending every process of a session by the mark in its environment.

use std::{io, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::workspace::SESSION_VARIABLE;

/// The mark of processes that a test of a session starts in a session of their own.
pub const OUTER_SESSION_VARIABLE: &str = "RUN4_INTERNAL_OUTER_SESSION";

/// How often the sweep looks again, since a process may fork while it is found.
const ROUNDS: u32 = 50;

/// The processes that carry the mark of `session`, without this one: id and command line.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn marked_processes(session: &str) -> io::Result<Vec<(i32, String)>> {
    let marks = [SESSION_VARIABLE, OUTER_SESSION_VARIABLE].map(|name| format!("{name}={session}"));
    let own = std::process::id().cast_signed();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Processes that end meanwhile, or belong to others, cannot be read and are not ours.
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        let marked = environment.split(|byte| *byte == 0).any(|pair| marks.iter().any(|mark| pair == mark.as_bytes()));
        if marked && id != own {
            let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            found.push((id, command.replace('\0', " ").trim().to_owned()));
        }
    }
    Ok(found)
}

/// Kills every process that carries the mark of `session`; gives what was found.
///
/// # Errors
/// When `/proc` cannot be read, or something survives.
pub fn sweep(session: &str) -> io::Result<Vec<(i32, String)>> {
    let mut swept = Vec::new();
    for _ in 0..ROUNDS {
        let found = marked_processes(session)?;
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
    Err(io::Error::other(format!("processes of session {session} survive: {:?}", marked_processes(session)?)))
}
