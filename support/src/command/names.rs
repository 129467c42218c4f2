//! The list and run wrapper of nextest: test names carry their id (`… [B1-07]`), so that the
//! literal `cargo nextest run B1-07` finds them beside `b1_07` and `test(/^b1_/)`; and a row
//! whose manifest key the profile lacks is listed as ignored, since it can neither pass nor fail;
//! so is a test that needs a browser where there is none.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use crate::{
    browser,
    config::{Run4Config, Substrate},
    matrix::{Matrix, Need, Row, displayed_name, function_name},
    sut::Profile,
    workspace,
};

/// Runs a test binary with its names rewritten both ways; gives its exit code.
pub(super) fn wrap(program: &str, arguments: &[String]) -> std::io::Result<u8> {
    if arguments.iter().any(|argument| argument == "--list") {
        return list(program, arguments);
    }
    Err(Command::new(program).args(arguments.iter().map(|argument| function_name(argument))).exec())
}

fn list(program: &str, arguments: &[String]) -> std::io::Result<u8> {
    let ignored_only = arguments.iter().any(|argument| argument == "--ignored");
    let listing = |arguments: &[String]| -> std::io::Result<(Vec<String>, i32)> {
        let output = Command::new(program).args(arguments).stderr(Stdio::inherit()).output()?;
        let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        Ok((lines, output.status.code().unwrap_or(1)))
    };
    let (mut lines, code) = listing(arguments)?;
    if ignored_only && let Some(unmet) = unmet_tests() {
        let all: Vec<_> = arguments.iter().filter(|argument| *argument != "--ignored").cloned().collect();
        let without_means = listing(&all)?.0.into_iter().filter(|line| unmet(line));
        lines.extend(without_means);
    }
    for line in lines {
        match line.rsplit_once(": ") {
            Some((name, kind)) => println!("{}: {kind}", displayed_name(name)),
            None => println!("{line}"),
        }
    }
    Ok(u8::try_from(code).unwrap_or(1))
}

/// Tells whether a test belongs to a row whose manifest keys the profile lacks, or that needs
/// containers where there are none, or whether it needs a browser and there is none. `None` when
/// settings or profile cannot be read: then the tests run and say so themselves.
fn unmet_tests() -> Option<impl Fn(&str) -> bool> {
    let matrix = Matrix::load().ok()?;
    let config = Run4Config::load(&workspace::root()).ok()?;
    let profile = Profile::read(&config.sut_manifest, Default::default()).ok()?;
    let lacks = move |row: &Row| {
        let needs_containers = row.need == Need::Docker && config.substrate == Substrate::Process;
        needs_containers || row.keys.iter().any(|key| !profile.has(key))
    };
    let no_browser = browser::program().is_none();
    Some(move |test: &str| matrix.claimed_by(test).is_some_and(&lacks) || no_browser && browser::is_needed_by(test))
}
