//! The end of whatever a session left on the engine.

use std::{
    collections::BTreeSet,
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

/// Whether a session has noted a project.
pub(crate) fn has_noted(session: &Path) -> bool {
    session.join(FILE).exists()
}

/// How many things of each kind the engine has of `project`; kinds without any are left out.
///
/// # Errors
/// When the engine cannot be asked.
pub(super) fn remains(project: &str) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for (kind, list, _) in KINDS {
        let count = found(list, project)?.len();
        all.extend((count > 0).then(|| format!("{count} {kind}")));
    }
    Ok(all)
}

fn found(list: &[&str], project: &str) -> io::Result<BTreeSet<String>> {
    let text = docker(list, &["--filter", &format!("label={LABEL}={project}")])?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
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
            let found = found(list, project)?;
            let ids: Vec<&str> = found.iter().map(String::as_str).collect();
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
