//! `cargo run4 bench audit`: how long an audit with all its outputs takes, and how much memory.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use chrono::Utc;
use quick_junit::{Report, TestCase, TestCaseStatus, TestSuite};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Outcome, Problem, bench::peak_mib};
use crate::{
    atomic,
    audit::{self, Manifest, Run, RunKind, SystemInfo},
    config::Substrate,
    evidence::{Check, Record},
    matrix::{Matrix, displayed_name},
    verdict::Status,
};

const SESSION: &str = "00000000-0000-4000-8000-000000000001";
const RUN: &str = "00000000-0000-4000-8000-000000000002";
const JUNIT: &str = "junit/m2.xml";

/// A size of bundle and what its audit may take.
struct Size {
    tests: usize,
    seconds: f64,
    mib: f64,
}

/// One test for each id, and a system that is tested by ten thousands.
const SIZES: [Size; 2] =
    [Size { tests: 58, seconds: 1.0, mib: 500.0 }, Size { tests: 20_000, seconds: 5.0, mib: 500.0 }];

/// What an audit took.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    seconds: f64,
    /// The peak of the memory of its process.
    mib: f64,
    /// The bytes of the report as Markdown.
    report_bytes: u64,
}

/// Audits synthetic bundles in processes of their own and prints what each took: 0 when it is
/// within the limits, else 1.
pub(super) fn measure() -> Outcome {
    println!(
        "{:>8} {:>10} {:>8} {:>10} {:>8} {:>12}",
        "tests", "seconds", "at most", "peak MiB", "at most", "report MiB"
    );
    let mut within = true;
    for size in &SIZES {
        let folder = tempfile::tempdir()?;
        write_bundle(folder.path(), size.tests).map_err(|error| Problem::unverified(miette::miette!("{error}")))?;
        let program = std::env::current_exe()?;
        let output = Command::new(program)
            .args(["internal", "audit-figures"])
            .arg(folder.path())
            .stderr(Stdio::inherit())
            .output()?;
        let Figures { seconds, mib, report_bytes } =
            serde_json::from_slice(&output.stdout).map_err(std::io::Error::other)?;
        #[expect(clippy::cast_precision_loss, reason = "a report is far below 2^52 bytes")]
        let report = report_bytes as f64 / 1_048_576.0;
        let tests = size.tests;
        println!("{tests:>8} {seconds:>10.2} {:>8.2} {mib:>10.0} {:>8.0} {report:>12.1}", size.seconds, size.mib);
        within &= seconds <= size.seconds && mib <= size.mib;
    }
    Ok(u8::from(!within))
}

/// Audits `bundle`, writes every output, and prints what it took.
pub(super) fn figures(bundle: &Path) -> Outcome {
    let begun = Instant::now();
    let result = audit::audit(bundle).map_err(|error| Problem::unverified(miette::miette!("{error}")))?;
    if let Some(problem) = result.problems.first() {
        return Err(Problem::unverified(miette::miette!("the synthetic bundle has a problem: {problem}")));
    }
    let report = audit::write_report(&result, bundle)?;
    let seconds = begun.elapsed().as_secs_f64();
    let figures = Figures { seconds, mib: peak_mib(std::process::id()), report_bytes: report.metadata()?.len() };
    println!("{}", serde_json::to_string(&figures).map_err(std::io::Error::other)?);
    Ok(0)
}

/// Writes a bundle of `tests` tests that passed, each with its record: in turn one of an id of the
/// matrix and one of a requirement, which has a row of its own in the report.
fn write_bundle(bundle: &Path, tests: usize) -> Result<(), Box<dyn std::error::Error>> {
    let matrix = Matrix::load()?;
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    let mut listed: BTreeMap<String, serde_json::Map<String, Value>> = BTreeMap::new();
    for (number, row) in matrix.rows().iter().cycle().take(tests).enumerate() {
        let function = if (number / matrix.rows().len()).is_multiple_of(2) { &row.test } else { "r4_m2_004_synthetic" };
        let test = format!("{function}::case_{number:05}");
        let id = format!("run4::{}", row.binary);
        let mut case = TestCase::new(displayed_name(&test), TestCaseStatus::success());
        case.set_classname(id.clone());
        case.set_time(std::time::Duration::from_millis(5));
        let matches = json!({ "ignored": false, "filter-match": { "status": "matches" } });
        listed.entry(id.clone()).or_default().insert(displayed_name(&test), matches);
        suites.entry(&row.binary).or_insert_with(|| TestSuite::new(id)).add_test_case(case);
        let record = record(&row.binary, test);
        let path = Record::path(bundle, &record.binary, &record.test);
        std::fs::create_dir_all(path.parent().unwrap_or(bundle))?;
        std::fs::write(path, serde_json::to_vec_pretty(&record)?)?;
    }
    let mut report = Report::new("run4");
    report.set_report_uuid(RUN.parse()?);
    report.add_test_suites(suites.into_values());
    atomic::write(&bundle.join(JUNIT), report.to_string()?)?;
    let listed: BTreeMap<_, _> = listed.into_iter().map(|(id, cases)| (id, json!({ "testcases": cases }))).collect();
    atomic::write_json(&bundle.join("listing.json"), &json!({ "rust-suites": listed }))?;
    let system = SystemInfo { name: "synthetic".into(), ..SystemInfo::default() };
    let mut manifest = Manifest::begin(SESSION, RunKind::Full, &system, Substrate::Docker)?;
    let run = Run { milestone: Some(2), run_id: RUN.into(), junit: JUNIT.into(), exit_code: Some(0), seconds: 1.0 };
    manifest.add_run(run);
    Ok(manifest.finish(bundle)?)
}

/// A record as big as most are.
fn record(binary: &str, test: String) -> Record {
    let check = |number| Check {
        fact: format!("promise {number} of the reply holds"),
        holds: true,
        seen: Some(json!({ "file_path": "/service/src/models.py", "line": number, "kind": "class" })),
    };
    let call =
        json!({ "tool": "decompose", "case": "synthetic", "condition": "valid", "parseable": true, "passed": true });
    Record {
        binary: binary.to_owned(),
        test,
        session: SESSION.into(),
        run: Some(RUN.into()),
        started_at: Utc::now(),
        finished_at: Some(Utc::now()),
        verdict: Some(Status::Pass),
        checks: (1..=5).map(check).collect(),
        observations: BTreeMap::from([("tool_calls".to_owned(), json!([call]))]),
    }
}
