//! The audit: a pure function from a bundle (manifest, JUnit files, evidence) to verdicts,
//! scores and `SUPER_TEAM_AUDIT_REPORT.md`. The same bundle gives the same bytes
//! (DESIGN "Report", spec scoring.md).

mod adopt;
mod bundle;
mod charts;
mod colour;
mod conclusion;
pub mod coverage;
pub mod diff;
mod findings;
mod flows;
mod html;
mod inputs;
mod join;
mod junit;
mod listing;
mod measures;
mod merge;
mod name;
mod observations;
mod problem;
mod promises;
mod report;
mod sarif;
mod schema;
pub mod scoring;
mod testimony;
mod traceability;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tamper_tests;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use schemars::JsonSchema;
use serde::Serialize;

pub use adopt::adopt;
pub use bundle::{Manifest, Run, RunKind, SystemInfo};
pub use colour::Colour;
pub use conclusion::{Conclusion, Level, ReportVerdict, Threshold};
pub use coverage::ToolCoverage;
pub use findings::FixHistory;
pub use flows::{Flow, Flows, Proof};
pub use inputs::{Counted, Input, Inputs, Scanned, Sourced};
pub use join::{RowVerdict, TestVerdict};
pub use measures::Scores;
pub use merge::{MergeError, merge};
pub use name::TestName;
pub use observations::{Measured, PipelinePhase, Timing};
pub use problem::Problem;
pub use report::{FILE_NAME, step_summary, write_report};
pub use schema::schema;

pub use traceability::{Link, Register, TestStatus, TraceRow, Traceability, Traced};

use crate::{
    fix_pass::{
        catalogue::Catalogue,
        ledger::{self, Ledger},
        symptom::Symptom,
    },
    matrix::Priority,
    verdict::Status,
};
use conclusion::Seen;
use findings::Signs;
use flows::Proofs;
use join::Facts;
use listing::Listing;
use measures::Measures;
use observations::Observations;
use promises::Promises;

/// What a bundle proves.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Audit {
    /// What was run, on what.
    pub manifest: Manifest,
    /// The SHA-256 of the manifest, in hex: what it was when this was written.
    pub seal: String,
    /// Whether the runner's listing was there to say what should have run.
    pub listed: bool,
    /// Every id of the matrix, in its order.
    pub rows: Vec<RowVerdict>,
    /// Every test, by binary and name.
    pub tests: Vec<TestVerdict>,
    /// The interface coverage matrix.
    pub coverage: Vec<ToolCoverage>,
    /// Flows, error paths and dark corners.
    pub flows: Flows,
    /// The requirements of the plan.
    pub requirements: Vec<Flow>,
    /// Times of tools.
    pub latency: Vec<Timing>,
    /// Times from start to the first answer, by server.
    pub start_up: Vec<Timing>,
    /// The phases of the pipeline run, in their order; empty when none was recorded.
    pub phases: Vec<PipelinePhase>,
    /// What the pipeline run cost, in US dollars, metered; none when nobody knows.
    pub pipeline_cost: Option<f64>,
    /// Other figures that tests measured.
    pub figures: Vec<Measured>,
    /// Everything that the bundle shows to be wrong; findings are made of it.
    #[serde(skip)]
    pub symptoms: Vec<Symptom>,
    /// Every finding, in the order of the ids.
    pub findings: Catalogue,
    /// The fix passes; none when there were none and something was to be fixed.
    pub fix: Option<FixHistory>,
    /// What tests measured for the scores of the Builds.
    pub inputs: Inputs,
    /// The requirements of the Builds that a test looked for, by Build.
    pub traceability: Vec<Traceability>,
    /// The scores.
    pub scores: Scores,
    /// The thresholds and how far each is met.
    pub thresholds: Vec<Threshold>,
    /// The verdict of the report.
    pub conclusion: Conclusion,
    /// What speaks against trusting the bundle.
    pub problems: Vec<Problem>,
}

/// Why there is nothing to audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No run has left anything there.
    #[error("no manifest.json in {bundle}: run `cargo run4` first, or name the folder of a run with --bundle")]
    NoManifest {
        /// The folder.
        bundle: String,
    },
    /// The manifest cannot be understood.
    #[error("cannot use {path}: {reason}; run `cargo run4` again, the bundle cannot be repaired by hand")]
    UnreadableManifest {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A table of the suite cannot be read, so that nothing says what was promised.
    #[error("{0}")]
    Promise(String),
    /// The bundle cannot be read.
    #[error("cannot read the bundle: {0}")]
    Io(#[from] std::io::Error),
}

impl AuditError {
    fn promise(error: impl std::fmt::Display) -> Self {
        Self::Promise(error.to_string())
    }
}

/// How many ids have each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// PASS.
    pub pass: usize,
    /// FAIL.
    pub fail: usize,
    /// BROKEN.
    pub broken: usize,
    /// UNTESTABLE.
    pub untestable: usize,
    /// UNTESTED.
    pub untested: usize,
}

/// Audits the bundle in the folder `bundle`.
///
/// # Errors
/// When there is no usable manifest, or a table of the suite cannot be read. Whatever is
/// wrong with the rest of a bundle is a [`Problem`] of the audit.
pub fn audit(bundle: &Path) -> Result<Audit, AuditError> {
    let manifest = Manifest::load(bundle)?;
    judge(bundle, manifest, &Promises::load()?)
}

fn judge(bundle: &Path, manifest: Manifest, promises: &Promises) -> Result<Audit, AuditError> {
    let mut problems = BTreeSet::new();
    let (executions, found) = junit::read_all(&manifest, bundle);
    problems.extend(found);
    let (testimonies, found) = testimony::read_all(&manifest, bundle)?;
    problems.extend(found);
    let (listing, found) = read_listing(&manifest, bundle)?;
    problems.extend(found);
    problems.extend(stray_results(&manifest, bundle)?);
    if manifest.matrix_digest != promises.matrix.digest() {
        let (promised, present) = (manifest.matrix_digest.clone(), promises.matrix.digest().to_owned());
        problems.insert(Problem::MatrixChanged { promised, present });
    }
    if executions.values().all(|execution| execution.outcome == junit::Outcome::Skipped) {
        problems.insert(Problem::NothingRan);
    }
    let sessions = manifest.sessions();
    let facts = Facts {
        matrix: &promises.matrix,
        sessions: &sessions,
        substrate: manifest.substrate,
        has_browser: manifest.versions.contains_key("browser"),
        keys: &manifest.system.keys,
        listing: listing.as_ref(),
        executions: &executions,
        testimonies: &testimonies,
    };
    let tests = facts.judge_tests();
    let rows = facts.judge_rows(&tests);
    let observations = Observations::gather(&facts, &tests);
    problems.extend(observations.problems);
    let coverage = coverage::matrix(&promises.tools, &observations.calls);
    let proofs = Proofs::new(&rows, &tests);
    let (flows, requirements) = (proofs.flows(&promises.flows), proofs.requirements(&promises.requirements));
    let inputs = observations.inputs;
    let traceability: Vec<_> = inputs.registers.iter().map(|found| Traceability::new(found, &proofs)).collect();
    let measures = Measures {
        rows: &rows,
        tests: &tests,
        inputs: &inputs,
        traceability: &traceability,
        routes: promises.routes,
        coverage: &coverage,
        flows: &flows,
        phases: &observations.phases,
        substrate: manifest.substrate,
    };
    let scores = measures.scores();
    let signs = Signs { matrix: &promises.matrix, rows: &rows, tests: &tests, noticed: &observations.noticed };
    let (ledger, found) = read_ledger(&manifest, bundle)?;
    // Without a ledger that can be trusted nobody knows whether there was nothing to fix.
    let complete = found.is_none() && observations.phases.len() == measures::PHASES;
    problems.extend(found);
    let symptoms = signs.symptoms();
    let (findings, full) = findings::catalogue(&symptoms, ledger.as_ref());
    problems.extend(full.map(|_| Problem::CatalogueFull));
    let fix = FixHistory::of(ledger.as_ref(), &findings, complete);
    let seen = Seen {
        scores: &scores,
        rows: &rows,
        coverage: &coverage,
        inputs: &inputs,
        findings: &findings,
        fix: fix.as_ref(),
    };
    let thresholds = seen.thresholds();
    Ok(Audit {
        conclusion: seen.conclude(&thresholds, problems.len()),
        seal: bundle::seal(bundle)?,
        listed: listing.is_some(),
        manifest,
        rows,
        tests,
        coverage,
        flows,
        requirements,
        latency: observations.latency,
        start_up: observations.start_up,
        phases: observations.phases,
        pipeline_cost: observations.pipeline_cost,
        figures: observations.figures,
        symptoms,
        findings,
        fix,
        inputs,
        traceability,
        scores,
        thresholds,
        problems: problems.into_iter().collect(),
    })
}

type FoundListing = (Option<Listing>, Option<Problem>);

fn read_listing(manifest: &Manifest, bundle: &Path) -> Result<FoundListing, AuditError> {
    let sealed = manifest.evidence.contains_key(bundle::LISTING);
    if !sealed && !fs::exists(bundle.join(bundle::LISTING))? {
        return Ok((None, None));
    }
    let listing = manifest.read(bundle, bundle::LISTING).and_then(|bytes| {
        Listing::parse(&bytes)
            .map_err(|error| Problem::Unreadable { path: bundle::LISTING.into(), reason: error.to_string() })
    });
    Ok(listing.map_or_else(|problem| (None, Some(problem)), |listing| (Some(listing), None)))
}

fn read_ledger(manifest: &Manifest, bundle: &Path) -> Result<(Option<Ledger>, Option<Problem>), AuditError> {
    let path = ledger::FILE_NAME;
    if !manifest.evidence.contains_key(path) && !fs::exists(bundle.join(path))? {
        return Ok((None, None));
    }
    let read = manifest
        .read(bundle, path)
        .and_then(|bytes| Ledger::parse(&bytes).map_err(|reason| Problem::Unreadable { path: path.into(), reason }));
    Ok(read.map_or_else(|problem| (None, Some(problem)), |ledger| (Some(ledger), None)))
}

/// Results of no run of the manifest, and snapshots of fix passes, that are not what was sealed;
/// what is read is checked there.
fn stray_results(manifest: &Manifest, bundle: &Path) -> Result<Vec<Problem>, AuditError> {
    let mut files = manifest.known_files(bundle)?;
    files.retain(|path| {
        let is_result = path.starts_with("junit/") && manifest.runs.iter().all(|run| run.junit != *path);
        is_result || path.starts_with(ledger::SNAPSHOTS)
    });
    Ok(files.iter().filter_map(|path| manifest.read(bundle, path).err()).collect())
}

impl Audit {
    /// How many ids have each verdict.
    pub fn counts(&self) -> Counts {
        self.rows.iter().fold(Counts::default(), |mut counts, row| {
            *match row.status {
                Status::Pass => &mut counts.pass,
                Status::Fail(_) => &mut counts.fail,
                Status::Broken(_) => &mut counts.broken,
                Status::Untestable(_) => &mut counts.untestable,
                Status::Untested(_) => &mut counts.untested,
            } += 1;
            counts
        })
    }

    /// The exit code for the whole list (DESIGN "A verdict has five values"): 0 every id is
    /// verified, where an id below P0 may be UNTESTABLE; 1 something failed; 2 something could
    /// not be verified, or the bundle has a problem.
    pub fn exit_code(&self) -> u8 {
        let verified = |row: &RowVerdict| match row.status {
            Status::Pass => true,
            Status::Untestable(_) => row.row.priority != Priority::P0,
            Status::Untested(_) | Status::Broken(_) | Status::Fail(_) => false,
        };
        self.code(&self.tests.iter().collect::<Vec<_>>(), self.rows.iter().all(verified))
    }

    /// The exit code when only `selected` was to be verified: 0 all of them passed, 1 one
    /// failed, 2 one could not be verified, there is none, or the bundle has a problem.
    pub fn exit_code_of(&self, selected: &BTreeSet<TestName>) -> u8 {
        let by_name: BTreeMap<_, _> = self.tests.iter().map(|test| (&test.name, test)).collect();
        let tests: Vec<_> = selected.iter().filter_map(|name| by_name.get(name).copied()).collect();
        let all_passed = tests.len() == selected.len() && tests.iter().all(|test| test.status == Status::Pass);
        self.code(&tests, !tests.is_empty() && all_passed)
    }

    fn code(&self, tests: &[&TestVerdict], verified: bool) -> u8 {
        let any = |kind: fn(&Status) -> bool| tests.iter().any(|test| kind(&test.status));
        if any(|status| matches!(status, Status::Fail(_))) {
            1
        } else if verified && self.problems.is_empty() && !any(|status| matches!(status, Status::Broken(_))) {
            0
        } else {
            2
        }
    }
}
