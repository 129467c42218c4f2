//! What this machine must have, checked before anything runs (spec README §9).

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{Outcome, Problem, exit};
use crate::{
    audit::SystemInfo,
    browser,
    config::{Run4Config, Substrate},
    session::end_aborted,
    stack::{docker, servers::survey},
    sut::{Port, Profile},
    toolbox, workspace,
};

/// The free space a run needs, in bytes: the build and one bundle.
const DISK: u64 = 3 << 30;

/// The oldest nextest whose configuration the suite uses.
const NEXTEST: (u32, u32, u32) = (0, 9, 134);

/// The oldest Python of the toolbox.
const PYTHON: (u32, u32, u32) = (3, 11, 0);

/// How one thing stands.
#[derive(Debug)]
enum Finding {
    /// As it must be.
    Good(String),
    /// Rows that need it are UNTESTABLE.
    Missing(String, &'static str),
    /// Nothing can run without it.
    Fatal(String, &'static str),
}

/// The name of a thing and how it stands.
type Check = (&'static str, Finding);

fn checks() -> Vec<Check> {
    vec![
        ("cargo", tool(&["cargo", "--version"], None, "install Rust with rustup", Finding::Fatal)),
        (
            "nextest",
            tool(
                &["cargo", "nextest", "--version"],
                Some(NEXTEST),
                "install it with `cargo install --locked cargo-nextest`",
                Finding::Fatal,
            ),
        ),
        (
            "python3",
            tool(
                &["python3", "--version"],
                Some(PYTHON),
                "install Python 3.11 or newer; until then the rows of the toolbox are UNTESTABLE",
                Finding::Missing,
            ),
        ),
        (
            "docker",
            tool(
                &["docker", "version", "--format", "{{.Server.Version}}"],
                None,
                "start a Docker engine; until then the rows of the docker substrate are UNTESTABLE",
                Finding::Missing,
            ),
        ),
        ("browser", browser()),
        ("disk", disk()),
        ("ports", ports()),
        ("processes", processes()),
    ]
}

fn tool(
    argv: &[&str],
    oldest: Option<(u32, u32, u32)>,
    remedy: &'static str,
    otherwise: fn(String, &'static str) -> Finding,
) -> Finding {
    match Command::new(argv[0]).args(&argv[1..]).output() {
        Err(error) => otherwise(error.to_string(), remedy),
        Ok(output) if !output.status.success() => {
            let text = String::from_utf8_lossy(&output.stderr);
            otherwise(text.lines().next().unwrap_or("it fails").to_owned(), remedy)
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned();
            match oldest {
                Some(oldest) if version(&text).is_none_or(|found| found < oldest) => {
                    otherwise(format!("{text} is older than {}.{}.{}", oldest.0, oldest.1, oldest.2), remedy)
                }
                _ => Finding::Good(text),
            }
        }
    }
}

/// The browser that the page of the report is shown in.
fn browser() -> Finding {
    let program = browser::program().map_or_else(|| browser::MISSING.to_owned(), |path| path.display().to_string());
    let remedy = "install Chromium; until then nothing shows that the page of the report works in a browser";
    tool(&[&program, "--version"], None, remedy, Finding::Missing)
}

/// The first `x.y.z` in a text.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut parts = word.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
    })
}

fn disk() -> Finding {
    const REMEDY: &str = "free some space on the disk of the workspace";
    match rustix::fs::statvfs(workspace::root()) {
        Err(error) => Finding::Fatal(error.to_string(), REMEDY),
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let text = format!("{} GiB free", free >> 30);
            if free < DISK { Finding::Fatal(text, REMEDY) } else { Finding::Good(text) }
        }
    }
}

fn ports() -> Finding {
    match Port::take() {
        Ok(port) => Finding::Good(format!("{} is free on 127.0.0.1", port.number())),
        Err(error) => Finding::Fatal(error.to_string(), "let this user listen on 127.0.0.1"),
    }
}

fn processes() -> Finding {
    match std::fs::read("/proc/self/environ") {
        Ok(_) => Finding::Good("/proc can be read".into()),
        Err(error) => Finding::Fatal(format!("/proc: {error}"), "run on Linux; the suite cleans up by /proc"),
    }
}

/// Checks this machine and sets up what is missing; prints how everything stands.
pub(super) fn doctor(config: &Run4Config) -> Outcome {
    let mut fatal = false;
    for (name, finding) in checks() {
        fatal |= matches!(finding, Finding::Fatal(..));
        println!("{}", line(name, &finding));
    }
    if fatal {
        return Ok(exit::UNVERIFIED);
    }
    let info = system(config)?;
    println!("{}", line("system", &Finding::Good(format!("{}: {}", info.name, info.description))));
    prepare_system(config)?;
    println!("{}", line("build", &Finding::Good("the system is built".into())));
    match toolbox::ensure() {
        Ok(python) => println!("{}", line("toolbox", &Finding::Good(python.display().to_string()))),
        Err(error) => {
            println!(
                "{}",
                line(
                    "toolbox",
                    &Finding::Missing(error.to_string(), "see the text above; rows that need it are UNTESTABLE")
                )
            );
        }
    }
    for (name, finding) in stack() {
        println!("{}", line(name, &finding));
    }
    Ok(0)
}

/// The servers and tools of the pipeline, each asked for its version: one that is there may still
/// be for another machine.
fn stack() -> Vec<Check> {
    const REMEDY: &str = "`cargo run4 doctor` makes the toolbox, which has it; rows that need it are UNTESTABLE";
    let check = |(name, found): (&'static str, Result<PathBuf, String>)| match found {
        Err(reason) => (name, Finding::Missing(reason, REMEDY)),
        Ok(program) => {
            let program = program.display().to_string();
            let asked: &[&str] = match name {
                "traefik" => &["version"],
                "pact" => &["verifier", "--version"],
                _ => &["--version"],
            };
            let argv: Vec<_> = [program.as_str()].into_iter().chain(asked.iter().copied()).collect();
            let finding = match tool(&argv, None, REMEDY, Finding::Missing) {
                Finding::Good(version) => Finding::Good(format!("{version} ({program})")),
                other => other,
            };
            (name, finding)
        }
    };
    survey().into_iter().map(check).collect()
}

/// As [`doctor`], before the main job: says only what is not as it must be.
pub(super) fn preflight() -> Result<(), Problem> {
    let found = checks();
    for (name, finding) in found.iter().filter(|(_, finding)| !matches!(finding, Finding::Good(_))) {
        eprintln!("{}", line(name, finding));
    }
    if found.iter().any(|(_, finding)| matches!(finding, Finding::Fatal(..))) {
        return Err(Problem::unverified(miette::miette!(
            help = "`cargo run4 doctor` shows everything that was checked",
            "this machine lacks something that every run needs"
        )));
    }
    Ok(())
}

fn line(name: &str, finding: &Finding) -> String {
    match finding {
        Finding::Good(text) => format!("  ok      {name:10} {text}"),
        Finding::Missing(text, remedy) => format!("  missing {name:10} {text}\n                     → {remedy}"),
        Finding::Fatal(text, remedy) => format!("  FATAL   {name:10} {text}\n                     → {remedy}"),
    }
}

/// Versions of what a run depends on, for its manifest.
pub(super) fn versions() -> BTreeMap<String, String> {
    checks()
        .into_iter()
        .filter_map(|(name, finding)| match finding {
            Finding::Good(text) if !matches!(name, "disk" | "ports" | "processes") => Some((name.to_owned(), text)),
            _ => None,
        })
        .collect()
}

/// The revision of the suite, with a mark when files differ from it; `None` outside a checkout.
pub(super) fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(workspace::root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain"])?.is_empty();
    Some(git(&["rev-parse", "HEAD"])? + if changed { " with changes" } else { "" })
}

fn profile(config: &Run4Config) -> Result<Profile, Problem> {
    Profile::of(config).map_err(Problem::usage)
}

/// What the report says of the system under test.
pub(super) fn system(config: &Run4Config) -> Result<SystemInfo, Problem> {
    let profile = profile(config)?;
    let manifest = profile.manifest();
    Ok(SystemInfo {
        name: manifest.name.clone(),
        description: manifest.description.clone(),
        keys: manifest.commands.keys().cloned().collect(),
    })
}

/// Runs the profile's `prepare` commands.
pub(super) fn prepare_system(config: &Run4Config) -> Result<(), Problem> {
    if !workspace::programs().starts_with(workspace::root()) {
        eprintln!("the programs are those of the archive; `prepare` of the profile is left out");
        return Ok(());
    }
    for argv in &profile(config)?.manifest().prepare {
        let failed = |reason: String| {
            Problem::unverified(miette::miette!(
                help = "it stands under `prepare` in the profile; run it by hand to see more",
                "{}: {reason}",
                argv.join(" ")
            ))
        };
        let Some((program, arguments)) = argv.split_first() else { continue };
        let status = Command::new(program)
            .args(arguments)
            .current_dir(workspace::root())
            .status()
            .map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            return Err(failed(status.to_string()));
        }
    }
    Ok(())
}

/// On the docker substrate, makes the images that are missing or stale.
pub(super) fn prepare_images(config: &Run4Config) -> Result<(), Problem> {
    const HELP: &str = "leave `--substrate docker` out to run everything as processes";
    if config.substrate == Substrate::Process {
        return Ok(());
    }
    let failed = |reason: String| Problem::unverified(miette::miette!(help = HELP, "substrate docker: {reason}"));
    docker::readiness().map_err(failed)?;
    let ended = end_aborted().map_err(|error| failed(format!("what an aborted run left: {error}")))?;
    if !ended.is_empty() {
        eprintln!("removed what an aborted run left: {}", ended.join(", "));
    }
    eprintln!("checking the images");
    let script = workspace::root().join("docker/images.sh");
    let made = Command::new(&script).stdout(Stdio::null()).status();
    let made = made.map_err(|error| failed(format!("{}: {error}", script.display())))?;
    if made.success() { Ok(()) } else { Err(failed(format!("docker/images.sh ended with {made}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_print() {
        assert_eq!(version("cargo-nextest 0.9.143 (60fa45f63 2026-08-04)"), Some((0, 9, 143)));
        assert_eq!(version("Python 3.11.7"), Some((3, 11, 7)));
        assert_eq!(version("no version"), None);
    }

    #[test]
    fn a_tool_that_is_not_there_has_a_remedy() {
        let finding = tool(&["run4-no-such-tool"], None, "install it", Finding::Fatal);
        assert!(matches!(finding, Finding::Fatal(_, "install it")), "{finding:?}");
    }

    #[test]
    fn an_old_tool_is_refused() {
        let finding = tool(&["cargo", "--version"], Some((99, 0, 0)), "update it", Finding::Missing);
        assert!(matches!(finding, Finding::Missing(_, "update it")), "{finding:?}");
    }
}
