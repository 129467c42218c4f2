//! Containers: whether this machine can run them, the compose project of a session as it is seen
//! from outside, and its end (spec topology.md, substrate docker).

mod project;
mod single;
mod sweep;

use std::{collections::BTreeMap, process::Command};

pub use project::{Container, Executed, Project};
pub use single::OwnDatabase;
pub(crate) use sweep::{has_noted, note, sweep};

use crate::workspace;

/// Whether an engine answers and the CLI has compose v2.
///
/// # Errors
/// With what is missing and how to get it.
pub fn readiness() -> Result<(), String> {
    let answer = |arguments: &[&str]| Command::new("docker").args(arguments).output();
    match answer(&["version", "--format", "{{.Server.Version}}"]) {
        Err(error) => return Err(format!("docker: {error}")),
        Ok(output) if !output.status.success() => {
            return Err(format!("no docker engine answers: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(_) => (),
    }
    match answer(&["compose", "version"]) {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("docker has no compose v2; run docker/compose-plugin.sh".to_owned()),
    }
}

/// The images of the topology by the variables that the compose files name them with; builds none.
///
/// # Errors
/// With what is missing and how to get it.
pub fn images() -> Result<BTreeMap<String, String>, String> {
    let script = workspace::root().join("docker/images.sh");
    let output =
        Command::new(&script).arg("--check").output().map_err(|error| format!("{}: {error}", script.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let pairs = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(pairs.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
}
