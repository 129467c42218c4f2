//! The toolbox: the Python programs the suite drives, pinned and hashed in
//! `fixtures/toolbox/requirements.txt`, in a virtual environment at `.run4/toolbox`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

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
    let bar = progress(packages(&std::fs::read_to_string(requirements_path())?));
    bar.set_message("a virtual environment");
    run(Command::new("python3").args(["-m", "venv"]).arg(place), &|_| ())?;
    run(
        Command::new(place.join("bin/python"))
            .args(["-m", "pip", "install", "--progress-bar=off", "--disable-pip-version-check", "--no-input"])
            .args(["--require-hashes", "-r"])
            .arg(requirements_path()),
        &|line| show(&bar, line),
    )?;
    bar.finish_and_clear();
    Ok(())
}

/// A bar for `packages` steps; hidden where nobody watches.
fn progress(packages: u64) -> ProgressBar {
    let bar = ProgressBar::new(packages);
    // The template is a constant that was seen to work.
    if let Ok(style) = ProgressStyle::with_template("toolbox {bar:30} {pos}/{len} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// How many packages the text of a requirements file pins. Some are for other machines.
fn packages(requirements: &str) -> u64 {
    requirements.lines().filter(|line| !line.starts_with(['#', ' ']) && line.contains("==")).count() as u64
}

/// Shows a line of pip's.
fn show(bar: &ProgressBar, line: &str) {
    if let Some(package) = line.strip_prefix("Collecting ") {
        bar.inc(1);
        bar.set_message(package.split([' ', '=']).next().unwrap_or_default().to_owned());
    } else if line.starts_with("Installing collected packages") {
        bar.set_message("unpacking");
    }
}

/// Runs `command` to its end; `each` is shown every line that it prints.
fn run(command: &mut Command, each: &dyn Fn(&str)) -> io::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // A file: nobody reads a pipe while the other one is being read.
    let mut said = tempfile::tempfile()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said.try_clone()?)
        .spawn()
        .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
    if let Some(printed) = child.stdout.take() {
        for line in BufReader::new(printed).lines() {
            each(&line?);
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    said.rewind()?;
    said.read_to_string(&mut text)?;
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(5)..].join("\n");
    Err(io::Error::other(format!("{program} ended with {status}: {last}")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn pinned_packages_are_counted() {
        let text = "# a==1\none==1.0 \\\n    --hash=sha256:aa==\n    # via x\ntwo==2.0 ; python_version < '3.12' \\\n";
        assert_eq!(packages(text), 2);
    }

    #[test]
    fn the_bar_follows_what_pip_says() {
        let bar = ProgressBar::hidden();
        for line in ["Collecting anyio==4.1 (from -r x)", "  Using cached anyio.whl", "Collecting st (from y)"] {
            show(&bar, line);
        }
        assert_eq!((bar.position(), bar.message().as_str()), (2, "st"));
        show(&bar, "Installing collected packages: anyio, st");
        assert_eq!((bar.position(), bar.message().as_str()), (2, "unpacking"));
    }

    #[test]
    fn a_program_that_fails_is_told_with_its_last_words() {
        let script = "echo one; echo two; for i in 1 2 3 4 5 6; do echo word $i >&2; done; exit 3";
        let lines = std::cell::RefCell::new(Vec::new());
        let outcome = run(Command::new("sh").args(["-c", script]), &|line| lines.borrow_mut().push(line.to_owned()));
        assert_eq!(lines.into_inner(), ["one", "two"]);
        let text = outcome.expect_err("it failed").to_string();
        assert_eq!(text, "sh ended with exit status: 3: word 2\nword 3\nword 4\nword 5\nword 6");
        let missing = run(&mut Command::new("run4-no-such-program"), &|_| ()).expect_err("it is missing").to_string();
        assert!(missing.starts_with("run4-no-such-program: "), "{missing}");
    }
}
