//! The toolbox: the Python programs the suite drives, pinned and hashed in
//! `fixtures/toolbox/requirements.txt`, in a virtual environment at `.run4/toolbox`.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{atomic, matrix::digest, verdict::Failure, workspace};

/// The toolbox cannot be made; the text says what to do.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the toolbox cannot be made: {reason}")]
#[diagnostic(
    code(run4::toolbox),
    help("it needs python3 >= 3.11 with venv, and PyPI once; `cargo run4 doctor` tries again")
)]
pub struct ToolboxError {
    reason: String,
}

/// The interpreter of the toolbox.
///
/// # Errors
/// As [`folder`].
pub fn python() -> Result<PathBuf, Failure> {
    Ok(folder()?.join("bin/python"))
}

/// The folder of the toolbox, a virtual environment.
///
/// # Errors
/// UNTESTABLE(toolbox) when the toolbox has not been made.
pub fn folder() -> Result<PathBuf, Failure> {
    made().ok_or_else(|| Failure::untestable("toolbox: make it with `cargo run4 doctor`"))
}

/// The folder of the toolbox when it has been made.
pub fn made() -> Option<PathBuf> {
    let place = path();
    let current = required().and_then(|required| Ok(stamp(&place)? == required));
    current.unwrap_or(false).then_some(place)
}

/// Where the toolbox is or will be.
pub fn path() -> PathBuf {
    workspace::output().join("toolbox")
}

/// Makes the toolbox when it is missing or of other requirements; gives its interpreter.
/// Safe to call from several processes at once. A half-made one is made anew.
///
/// # Errors
/// When there is no Python, or the packages cannot be had.
pub fn ensure() -> Result<PathBuf, ToolboxError> {
    let failed = |error: io::Error| ToolboxError { reason: error.to_string() };
    let place = path();
    let required = required().map_err(failed)?;
    std::fs::create_dir_all(workspace::output()).map_err(failed)?;
    let lock = File::options().create(true).append(true).open(place.with_extension("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if stamp(&place).map_err(failed)? != required {
        make(&place).map_err(failed)?;
        atomic::write(&stamp_path(&place), &required).map_err(failed)?;
    }
    Ok(place.join("bin/python"))
}

fn make(place: &Path) -> io::Result<()> {
    if place.exists() {
        std::fs::remove_dir_all(place)?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
    run(Command::new(place.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--require-hashes", "-r"])
        .arg(requirements_path()))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command
        .output()
        .map_err(|error| io::Error::other(format!("{}: {error}", command.get_program().to_string_lossy())))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(io::Error::other(format!("{:?} ended with {}: {last}", command.get_program(), output.status)))
}

fn requirements_path() -> PathBuf {
    workspace::fixture("toolbox/requirements.txt")
}

fn required() -> io::Result<String> {
    std::fs::read(requirements_path()).map(|bytes| digest(&bytes))
}

fn stamp_path(place: &Path) -> PathBuf {
    place.join("requirements.sha256")
}

fn stamp(place: &Path) -> io::Result<String> {
    match std::fs::read_to_string(stamp_path(place)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}
