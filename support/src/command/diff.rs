//! `cargo run4 diff OLD NEW`: what changed between two runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Outcome, Problem};
use crate::{
    audit::{
        self, Audit, AuditError,
        diff::{Diff, Side},
    },
    workspace,
};

/// Something is worse than it was.
const WORSE: u8 = 1;

/// How much of a reason a line shows.
const LIMIT: usize = 100;

#[derive(Args)]
#[command(after_help = format!(
    "{}.\nExit codes: 0 nothing got worse, 1 something did, 2 a bundle cannot be read, 64 bad usage.",
    audit::diff::LATENCY_RULE
))]
pub(super) struct Arguments {
    /// The folder of the older run, `.run4/history/<run>`
    old: PathBuf,
    /// The folder of the newer run, `.run4`
    new: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let diff = Diff::between(&read(&arguments.old)?, &read(&arguments.new)?);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&diff).map_err(std::io::Error::other)?);
    } else {
        print(&diff);
    }
    Ok(if diff.is_worse() { WORSE } else { 0 })
}

fn read(folder: &Path) -> Result<Audit, Problem> {
    audit::audit(&workspace::root().join(folder)).map_err(|error| {
        let report = miette::miette!("{error}");
        if matches!(error, AuditError::NoManifest { .. }) {
            Problem::usage(report)
        } else {
            Problem::unverified(report)
        }
    })
}

fn print(diff: &Diff) {
    for (name, side) in [("old", &diff.old), ("new", &diff.new)] {
        let Side { session, started_at, system, substrate, revision } = side;
        let revision = revision.as_deref().unwrap_or("an unknown revision");
        println!("{name}: {session} of {started_at}, {system} on {substrate}, suite {revision}");
    }
    println!();
    if diff.changes.is_empty() {
        println!("nothing changed");
        return;
    }
    for change in &diff.changes {
        let [what, before, after] = [&change.what, &change.before, &change.after].map(|text| shortened(text));
        println!("{:6}  {:8}  {what}: {} → {}", change.direction, change.kind, there(&before), there(&after));
    }
    let worse = diff.changes.iter().filter(|change| change.direction == audit::diff::Direction::Worse).count();
    println!("\n{} changes, {worse} for the worse", diff.changes.len());
}

fn there(text: &str) -> &str {
    if text.is_empty() { "—" } else { text }
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}
