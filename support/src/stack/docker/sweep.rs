//! The end of whatever a session left on the engine.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    process::Command,
};

use super::project::LABEL;

/// The file of a session that names its projects, one a line.
const FILE: &str = "compose-projects";

/// Kinds of things of a project: how they are listed and removed, in the order of their end.
const KINDS: [(&str, &[&str], &[&str]); 4] = [
    ("containers", &["ps", "--all", "--quiet"], &["rm", "--force", "--volumes"]),
    ("networks", &["network", "ls", "--quiet"], &["network", "rm"]),
    ("volumes", &["volume", "ls", "--quiet"], &["volume", "rm", "--force"]),
    ("images", &["image", "ls", "--quiet"], &["image", "rm", "--force"]),
];

/// Notes in the session's folder that `project` begins to be.
///
/// # Errors
/// The file system's own.
pub(crate) fn note(session: &Path, project: &str) -> io::Result<()> {
    std::fs::create_dir_all(session)?;
    writeln!(File::options().create(true).append(true).open(session.join(FILE))?, "{project}")
}

/// Removes containers, networks, volumes and images of every project that is noted in the
/// session's folder; gives what there was.
///
/// # Errors
/// When something cannot be removed.
pub(crate) fn sweep(session: &Path) -> io::Result<Vec<String>> {
    let projects = match std::fs::read_to_string(session.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        projects => projects?,
    };
    let mut swept = Vec::new();
    for project in projects.lines() {
        for (kind, list, remove) in KINDS {
            let found = docker(list, &["--filter", &format!("label={LABEL}={project}")])?;
            let mut ids: Vec<&str> = found.split_whitespace().collect();
            ids.sort_unstable();
            ids.dedup();
            if !ids.is_empty() {
                docker(remove, &ids)?;
                swept.push(format!("{} {kind} of {project}", ids.len()));
            }
        }
    }
    Ok(swept)
}

fn docker(command: &[&str], arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("docker").args(command).args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("docker {}: {said}", command.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
