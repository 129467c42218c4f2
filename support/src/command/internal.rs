//! What nextest and the suite start for themselves: `run4 internal …`.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::Subcommand;

use super::{Outcome, Problem, block_on, fix, names, nextest, preflight};
use crate::{
    audit::{Manifest, RunKind},
    config::Run4Config,
    mcp::scripted,
    pipeline::scripted_builder,
    session::{Watch, start_supervisor, supervise},
    toolbox,
    workspace::{self, BUNDLE_VARIABLE, SESSION_VARIABLE},
};

#[derive(Subcommand)]
pub(super) enum Internal {
    /// The setup script of nextest
    Setup,
    /// The list and run wrapper of nextest
    #[command(disable_help_flag = true)]
    Names {
        program: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The owner of what outlives a test
    Supervise {
        session: String,
        runner: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        afterwards: Vec<String>,
    },
    /// What a run of a developer leaves, after its last test
    Finish { bundle: PathBuf, run: String, profile: String },
    /// The fix passes of the main job
    Fix,
    /// The measurements of `cargo run4 bench`, with the programs beside this one
    Bench,
    /// A scripted MCP server on stdin and stdout
    Scripted {
        scenario: PathBuf,
        #[arg(long)]
        log: Option<PathBuf>,
    },
    /// A scripted builder, with the arguments of a real one
    #[command(disable_help_flag = true)]
    Builder {
        scenario: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

pub(super) fn run(command: Internal) -> Outcome {
    match command {
        Internal::Setup => setup(),
        Internal::Names { program, arguments } => Ok(names::wrap(&program, &arguments)?),
        Internal::Supervise { session, runner, afterwards } => {
            block_on(supervise(&Watch { session, runner, afterwards }))??;
            Ok(0)
        }
        Internal::Finish { bundle, run, profile } => finish(&bundle, &run, &profile),
        Internal::Fix => fix::run(),
        Internal::Bench => super::bench::measure(),
        Internal::Scripted { scenario, log } => {
            scripted::play(&scenario, log).map_err(|error| Problem::usage(miette::miette!("{error}")))
        }
        Internal::Builder { scenario, arguments } => {
            scripted_builder::play(&scenario, &arguments).map_err(|error| Problem::usage(miette::miette!("{error}")))
        }
    }
}

/// Prepares a run that a developer started with `cargo nextest run`: builds the system, makes
/// the toolbox, empties the bundle for such runs and starts the session. Under `cargo run4`
/// all of that has been done.
fn setup() -> Outcome {
    if std::env::var_os(SESSION_VARIABLE).is_some() {
        return Ok(0);
    }
    let run = variable("NEXTEST_RUN_ID")?;
    let config = super::settings()?;
    preflight::prepare_system(&config)?;
    if let Err(error) = toolbox::ensure() {
        eprintln!("warning: {error}; what needs it will be UNTESTABLE(toolbox)");
    }
    preflight::prepare_images(&config)?;
    let bundle = workspace::bundle();
    if bundle.exists() {
        std::fs::remove_dir_all(&bundle)?;
    }
    begin_manifest(&config, &bundle, &run, RunKind::Local)?;
    let watch = Watch {
        session: run.clone(),
        runner: std::os::unix::process::parent_id(),
        afterwards: ["internal", "finish", &bundle.display().to_string(), &run, &variable("NEXTEST_PROFILE")?]
            .map(str::to_owned)
            .to_vec(),
    };
    start_supervisor(&watch, &bundle.join("logs/supervisor.log"))?;
    let mut environment = std::fs::File::options().append(true).open(variable("NEXTEST_ENV")?)?;
    writeln!(environment, "{SESSION_VARIABLE}={run}\n{BUNDLE_VARIABLE}={}", bundle.display())?;
    Ok(0)
}

pub(super) fn begin_manifest(config: &Run4Config, bundle: &Path, session: &str, kind: RunKind) -> Result<(), Problem> {
    let mut manifest = Manifest::begin(session, kind, &preflight::system(config)?, config.substrate)
        .map_err(|error| Problem::unverified(miette::miette!("{error}")))?;
    manifest.versions = preflight::versions();
    manifest.revision = preflight::revision();
    Ok(manifest.save(bundle)?)
}

fn finish(bundle: &Path, run: &str, profile: &str) -> Outcome {
    nextest::keep_junit(bundle, run, profile, None, None)?;
    let mut manifest = Manifest::load(bundle).map_err(|error| Problem::unverified(miette::miette!("{error}")))?;
    manifest.finish(bundle)?;
    Ok(0)
}

fn variable(name: &str) -> Result<String, Problem> {
    std::env::var(name)
        .map_err(|_| Problem::usage(miette::miette!("{name} is not set: this command is for nextest's setup script")))
}
