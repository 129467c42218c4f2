//! `cargo run4 bench`: the figures of the reference servers or of the audit, in release.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{Outcome, Problem, block_on, settings};
use crate::{
    fixtures::{Build1, synthetic_tree},
    mcp::{Condition, Kind, LatencyRecorder, LatencySummary, Toolset},
    verdict::Failure,
    workspace,
};

/// Calls per tool.
const CALLS: usize = 1000;

/// Calls of tools that work on a whole document.
const LONG_CALLS: usize = 100;

/// Starts per server.
const STARTS: usize = 30;

/// About as many lines has one synthetic module.
const MODULE_LINES: usize = 207;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Subject {
    /// The reference servers: start, calls, indexing
    Servers,
    /// The audit: time and memory for 58 and for 20,000 tests
    Audit,
}

/// Builds what is needed in release and measures with that build.
pub(super) fn in_release(subject: Subject) -> Outcome {
    let (needed, measurement): (&[&str], _) = match subject {
        Subject::Servers => (&["--bins"], "bench"),
        Subject::Audit => (&["--bin", "run4"], "bench-audit"),
    };
    let mut build = Command::new("cargo");
    let built = build.args(["build", "--release"]).args(needed).current_dir(workspace::root()).status()?;
    if !built.success() {
        return Err(Problem::unverified(miette::miette!("the release build fails")));
    }
    let program = workspace::root().join("target/release/run4");
    let status = Command::new(program).args(["internal", measurement]).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(super::exit::UNVERIFIED))
}

/// Measures the servers beside this program and prints the figures.
pub(super) fn measure() -> Outcome {
    let config = settings()?;
    let new = || -> Result<Build1, Problem> {
        let toolset = Toolset::load().map_err(|error| Problem::unverified(miette::miette!("{error}")))?;
        Build1::new(&config, toolset).map_err(|error| Problem::unverified(miette::miette!("{error}")))
    };
    let (mut starts, mut calls, mut index) = (new()?, new()?, new()?);
    let measured = block_on(async {
        println!("{:28} {:>6} {:>10} {:>10} {:>10} {:>10}", "start to initialize", "n", "median", "p95", "p99", "max");
        start_up(&mut starts).await?;
        println!("\n{:28} {:>6} {:>10} {:>10} {:>10} {:>10}", "tool", "n", "median", "p95", "p99", "max");
        latencies(&mut calls).await?;
        println!("\n{:>10} {:>12} {:>14} {:>10}", "lines", "total s", "last 50k s", "peak MiB");
        indexing(&mut index).await
    })?;
    measured.map_err(|failure: Failure| Problem::unverified(miette::miette!("{failure:?}")))?;
    Ok(0)
}

async fn start_up(build1: &mut Build1) -> Result<(), Failure> {
    let mut recorder = LatencyRecorder::default();
    for server in build1.toolset().servers.clone() {
        for _ in 0..STARTS {
            let session = build1.open(&server.key).await?;
            recorder.record(&server.key, session.start_up());
            session.close().await;
        }
    }
    print(&recorder.summary());
    Ok(())
}

async fn latencies(build1: &mut Build1) -> Result<(), Failure> {
    let mut recorder = LatencyRecorder::default();
    build1.twin("contract_engine_http").await?;
    for step in ["decompose", "contracts", "tree"] {
        build1.step(step).await?;
    }
    for tool in build1.toolset().tools.clone() {
        let case = tool.in_condition(Condition::RequiredOnly).chain(&tool.cases).next();
        let arguments = build1.arguments_of(case, &tool.name)?;
        let long = matches!(tool.name.as_str(), "decompose" | "validate_spec" | "create_contract" | "generate_tests");
        for _ in 0..if long { LONG_CALLS } else { CALLS } {
            let reply = build1.call(&tool.name, arguments.clone()).await?;
            recorder.record(&tool.name, reply.elapsed());
            if let Some(text) = reply.error_text() {
                return Err(Failure::fail(format!("{}: {text}", tool.name)));
            }
        }
    }
    print(&recorder.summary());
    Ok(())
}

/// Registers 500,000 lines and prints the time of each 50,000.
async fn indexing(build1: &mut Build1) -> Result<(), Failure> {
    const LINES: usize = 500_000;
    const STEP: usize = 50_000;
    let files = synthetic_tree(&build1.data().join("tree"), LINES / MODULE_LINES)?;
    let session = build1.session("codebase-intelligence").await?;
    let (mut lines, mut printed, mut total, mut last) = (0, 0, Duration::ZERO, Duration::ZERO);
    for (number, (path, count)) in files.iter().enumerate() {
        let begun = Instant::now();
        let arguments = json!({ "file_path": path, "service_name": "synthetic" });
        let reply: Value = session.call("register_artifact", arguments).await?.value(Kind::Object)?;
        if reply["indexed"] != true {
            return Err(Failure::fail(reply));
        }
        lines += count;
        total += begun.elapsed();
        last += begun.elapsed();
        if lines - printed >= STEP || number + 1 == files.len() {
            let peak = session.process().id().map_or(0.0, peak_mib);
            println!("{lines:>10} {:>12.2} {:>14.2} {peak:>10.0}", total.as_secs_f64(), last.as_secs_f64());
            (printed, last) = (lines, Duration::ZERO);
        }
    }
    Ok(())
}

/// The peak memory of a process in MiB, as the kernel counts it.
pub(super) fn peak_mib(id: u32) -> f64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

fn print(summary: &std::collections::BTreeMap<String, LatencySummary>) {
    for (name, figures) in summary {
        let LatencySummary { n, median_ms, p95_ms, p99_ms, max_ms } = figures;
        println!("{name:28} {n:>6} {median_ms:>7.2} ms {p95_ms:>7.2} ms {p99_ms:>7.2} ms {max_ms:>7.2} ms");
    }
}
