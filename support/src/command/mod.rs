//! The `run4` command: a thin driver of nextest around the suite (DESIGN; README for use).

mod bench;
mod fix;
mod internal;
mod names;
mod nextest;
mod preflight;
mod select;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use miette::Report;

use crate::{
    audit,
    config::{Run4Config, Substrate},
    stack::docker,
    workspace,
};

/// Exit codes (DESIGN "A verdict has five values").
mod exit {
    /// Something could not be verified: broken, untested, or nothing ran.
    pub(super) const UNVERIFIED: u8 = 2;
    /// The command line or the settings are wrong.
    pub(super) const USAGE: u8 = 64;
}

#[derive(Parser)]
#[command(
    name = "cargo run4",
    bin_name = "cargo run4",
    version,
    about = "Verify a Super Agent Team end to end and write SUPER_TEAM_AUDIT_REPORT.md",
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  cargo run4                  everything, ending with the report
  cargo run4 m2               one milestone
  cargo run4 B1-07 SC-07      two ids of the matrix
  cargo run4 R4-M2-004        the tests of a requirement
  cargo run4 --substrate docker   the services in containers
  cargo run4 --resume         go on after an interruption
  cargo run4 audit            write the report of the last run again
  cargo run4 audit --bundle m1 m2 m3   one report of the bundles of several jobs
  RUN4_SUT_MANIFEST=my.toml cargo run4   another system

Exit codes: 0 all verified, 1 a promise is broken, 2 something could not be verified, 64 bad usage."
)]
struct Cli {
    #[command(flatten)]
    verify: Verify,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What the main job verifies.
#[derive(Args)]
struct Verify {
    /// Ids (B1-07), requirements (R4-M2-004) or milestones (m2); everything when none is given
    selection: Vec<String>,
    /// Go on with the last run at its first open milestone
    #[arg(long, conflicts_with = "selection")]
    resume: bool,
    /// Where services run; `auto` takes containers where an engine and the images are there.
    /// Without it the setting `substrate` says
    #[arg(long, value_name = "SUBSTRATE")]
    substrate: Option<Wanted>,
}

/// A substrate of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    Process,
    Docker,
    Auto,
}

impl Wanted {
    /// The substrate that this comes to on this machine, with what there is to say about it.
    fn settle(self) -> Substrate {
        match self {
            Self::Process => Substrate::Process,
            Self::Docker => Substrate::Docker,
            Self::Auto => match docker::readiness().and_then(|()| docker::images().map(drop)) {
                Ok(()) => {
                    eprintln!("substrate docker: an engine answers, and the images are there");
                    Substrate::Docker
                }
                Err(reason) => {
                    eprintln!("substrate process: {reason}");
                    Substrate::Process
                }
            },
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Check this machine, set up what is missing, and say what to do about the rest
    Doctor,
    /// Write the report of a run again from what it left
    Audit {
        /// The folder of the run; several are merged, as those of the jobs of a CI matrix
        #[arg(long, value_name = "DIR", num_args = 1.., default_value = ".run4")]
        bundle: Vec<PathBuf>,
        /// Where several are merged to
        #[arg(long, value_name = "DIR", default_value = ".run4/merged")]
        into: PathBuf,
    },
    /// Measure the reference servers in release and print the figures
    Bench,
    /// For the suite's own processes
    #[command(hide = true)]
    Internal {
        #[command(subcommand)]
        command: internal::Internal,
    },
}

/// The main function of the `run4` binary.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to stdout.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let outcome = match cli.command {
        Some(Command::Internal { command }) => internal::run(command),
        Some(Command::Audit { bundle, into }) => write_audit(&bundle, &into),
        Some(Command::Doctor) => settings().and_then(|config| preflight::doctor(&config)),
        Some(Command::Bench) => bench::in_release(),
        None => settings().and_then(|mut config| {
            config.substrate = cli.verify.substrate.map_or(config.substrate, Wanted::settle);
            verify::run(&config, &cli.verify.selection, cli.verify.resume)
        }),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(Problem { report, code }) => {
            eprintln!("{report:?}");
            ExitCode::from(code)
        }
    }
}

/// Why the command ends early, and with which code.
struct Problem {
    report: Report,
    code: u8,
}

type Outcome = Result<u8, Problem>;

impl Problem {
    fn usage(error: impl Into<Report>) -> Self {
        Self { report: error.into(), code: exit::USAGE }
    }

    fn unverified(error: impl Into<Report>) -> Self {
        Self { report: error.into(), code: exit::UNVERIFIED }
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::unverified(miette::miette!("{error}"))
    }
}

fn settings() -> Result<Run4Config, Problem> {
    Run4Config::load(&workspace::root()).map_err(Problem::usage)
}

/// The one runtime of this process (D-03).
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Problem> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}

fn write_audit(bundles: &[PathBuf], into: &Path) -> Outcome {
    let place = |folder: &PathBuf| workspace::root().join(folder);
    let bundle = match bundles {
        [one] => place(one),
        several => {
            let into = workspace::root().join(into);
            let parts: Vec<_> = several.iter().map(place).collect();
            audit::merge(&parts, &into).map_err(|error| Problem::unverified(miette::miette!("{error}")))?;
            into
        }
    };
    let bundle = &bundle;
    let result = audit::audit(bundle).map_err(|error| Problem::unverified(miette::miette!("{error}")))?;
    let report = audit::write_report(&result, bundle)?;
    verify::print_summary(&result, &report);
    Ok(result.exit_code())
}
