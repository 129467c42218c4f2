//! Small bundles for the tests of the audit: a matrix of four ids, the files of a run, and
//! ways to spoil them.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use chrono::{TimeZone, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Audit, AuditError, Manifest, Run, RunKind, SystemInfo, judge,
    promises::{FlowPromise, FlowPromises, Promises, ToolPromise},
};
use crate::{
    atomic,
    config::Substrate,
    evidence::{Check, Record},
    matrix::{Matrix, Requirement},
    verdict::Status,
};

pub(super) const SESSION: &str = "session-1";
pub(super) const RUN: &str = "9b18b3b1-00bd-4f69-a569-bc48e6cead07";
pub(super) const BINARY: &str = "m2_mcp_wiring";
const JUNIT: &str = "junit/m2.xml";

const MATRIX: &str = r#"
pending = ["X-01"]

[[row]]
id = "SC-02"
title = "test_app_deployment"
test = "sc_02_app_deployment"
binary = "m4_health_checks"
priority = "P0"
milestone = 4
also_milestones = []
builds = []
requirements = ["R4-M4-006"]
need = "docker"
keys = []
promise = "three services are healthy in `docker compose ps`"
twin = ""

[[row]]
id = "B1-07"
title = "test_mcp_tool_responses"
test = "b1_07_mcp_tool_responses"
binary = "m2_mcp_wiring"
priority = "P0"
milestone = 2
also_milestones = []
builds = ["B1"]
requirements = ["R4-M2-002"]
need = "http"
keys = ["architect_mcp"]
promise = "every tool answers without an error"
twin = "a server that answers {} fails"
not_shown = "answers over a slow network"

[[row]]
id = "B1-19"
title = "test_architect_cross_ref"
test = "b1_19_architect_cross_ref"
binary = "m2_mcp_wiring"
priority = "P1"
milestone = 2
also_milestones = []
builds = ["B1"]
requirements = ["R4-M2-008"]
need = "none"
keys = ["client_probe"]
promise = "contracts of a service are found"
twin = ""

[[row]]
id = "X-01"
title = "test_mcp_b1_to_b2_contract_engine"
test = "x_01_mcp_b1_to_b2_contract_engine"
binary = "m2_client_wrappers"
priority = "P0"
milestone = 2
also_milestones = []
builds = ["B1", "B2"]
requirements = ["R4-M2-003"]
need = "none"
keys = []
promise = "the six methods return the data of the real server"
twin = ""
"#;

/// The matrix of the samples.
pub(super) fn matrix() -> Matrix {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), MATRIX).expect("written");
    Matrix::read(file.path()).expect("the sample matrix has the right shape")
}

pub(super) fn promises() -> Promises {
    let matrix = matrix();
    let id = |written: &str| matrix.named(written).expect("in the sample").id.clone();
    let flow = |key: &str, title: &str, ids: &[&str], tests: &[&str]| FlowPromise {
        key: key.into(),
        title: title.into(),
        expected: "as promised".into(),
        ids: ids.iter().map(|written| id(written)).collect(),
        tests: tests.iter().map(|&test| test.to_owned()).collect(),
        ..FlowPromise::default()
    };
    let corner = FlowPromise {
        parts: vec![flow("2a", "one", &["B1-07"], &[]), flow("2b", "two", &[], &[])],
        ..flow("2", "concurrent builders", &[], &[])
    };
    let tool =
        |server: &str, tool: &str, parameters| ToolPromise { server: server.into(), tool: tool.into(), parameters };
    Promises {
        routes: 2,
        tools: vec![tool("architect", "decompose", true), tool("architect", "list_domains", false)],
        requirements: vec![Requirement {
            id: "R4-M2-004".into(),
            title: "sessions".into(),
            milestone: 2,
            ids: vec![id("B1-07")],
            tests: vec!["r4_m2_004_ten_calls".into()],
            pending: Vec::new(),
        }],
        flows: FlowPromises {
            data_flow: vec![flow("1", "PRD to service map", &["B1-07"], &[])],
            error_path: vec![flow("E1", "a server times out", &[], &["r4_m2_004_ten_calls"])],
            application_flow: vec![flow("DF-1", "register", &["X-01"], &[])],
            dark_corner: vec![flow("1", "startup race", &["B1-07"], &[]), corner],
        },
        matrix,
    }
}

/// A bundle being made. Everything is written and sealed by [`Bundle::seal`].
pub(super) struct Bundle {
    folder: TempDir,
    pub(super) manifest: Manifest,
    cases: Vec<(String, String)>,
    pub(super) run_of_results: String,
}

impl Bundle {
    /// A bundle without any test, of a system that has everything.
    pub(super) fn new() -> Self {
        let system = SystemInfo {
            name: "sample".into(),
            description: "a system made of paper".into(),
            keys: ["architect_mcp", "client_probe"].map(str::to_owned).into(),
        };
        let mut manifest = Manifest::promising(matrix().digest(), SESSION, RunKind::Full, system, Substrate::Process);
        let began = Utc.with_ymd_and_hms(2026, 11, 22, 8, 0, 0).single().expect("a time");
        manifest.started_at = began;
        manifest.finished_at = Some(began + chrono::TimeDelta::seconds(90));
        manifest.versions = BTreeMap::from([("nextest".to_owned(), "0.9.143".to_owned())]);
        manifest.add_run(Run {
            milestone: Some(2),
            run_id: RUN.into(),
            junit: JUNIT.into(),
            exit_code: Some(0),
            seconds: 90.0,
        });
        let folder = TempDir::new().expect("a folder");
        Self { folder, manifest, cases: Vec::new(), run_of_results: RUN.into() }
    }

    /// A bundle in which everything that can run on processes passed.
    pub(super) fn green() -> Self {
        let calls = |tool: &str, condition: &str| json!({"tool": tool, "case": condition, "condition": condition, "parseable": true, "passed": true});
        let times = json!({"n": 10, "median_ms": 1.0, "p95_ms": 2.0, "p99_ms": 2.5, "max_ms": 3.0});
        Self::new()
            .result("b1_07_mcp_tool_responses::decompose", "")
            .record("b1_07_mcp_tool_responses::decompose", Some(Status::Pass), |record| {
                let observed = json!([calls("decompose", "valid"), calls("decompose", "invalid")]);
                record.observations.insert("tool_calls".into(), observed);
                record.observations.insert("latency".into(), json!({ "decompose": times }));
                let figure =
                    json!([{"what": "50,000 lines indexed", "value": 4.5, "unit": "s", "promised": "below 60 s"}]);
                record.observations.insert("figures".into(), figure);
            })
            .result("b1_07_mcp_tool_responses::list_domains", "")
            .record("b1_07_mcp_tool_responses::list_domains", Some(Status::Pass), |record| {
                record.observations.insert("tool_calls".into(), json!([calls("list_domains", "valid")]));
            })
            .passed("b1_19_architect_cross_ref")
            .passed("r4_m2_004_ten_calls")
            .result("tests::a_plain_fact", "")
    }

    /// Adds a result with the inner elements `xml`: empty for a pass.
    pub(super) fn result(mut self, test: &str, xml: &str) -> Self {
        self.cases.push((test.to_owned(), xml.to_owned()));
        self
    }

    /// Adds a passed result and a record that says so.
    pub(super) fn passed(self, test: &str) -> Self {
        self.result(test, "").record(test, Some(Status::Pass), |_| ())
    }

    /// Adds a record.
    pub(super) fn record(self, test: &str, verdict: Option<Status>, change: impl FnOnce(&mut Record)) -> Self {
        let mut record = record(test, verdict);
        change(&mut record);
        atomic::write_json(&Record::path(self.folder.path(), BINARY, test), &record).expect("written");
        self
    }

    /// Adds the runner's listing: tests and whether the run selects them.
    pub(super) fn listing(self, tests: &[(&str, bool)]) -> Self {
        let case = |selected: bool| json!({"ignored": false, "filter-match": {"status": if selected { "matches" } else { "mismatch" }}});
        let cases: serde_json::Map<String, Value> =
            tests.iter().map(|(test, selected)| ((*test).to_owned(), case(*selected))).collect();
        let listing = json!({"rust-suites": {(format!("run4::{BINARY}")): {"testcases": cases}}});
        atomic::write_json(&self.folder.path().join("listing.json"), &listing).expect("written");
        self
    }

    /// Writes the results and seals.
    pub(super) fn seal(mut self) -> Self {
        let mut cases = String::new();
        for (test, xml) in &self.cases {
            let shown = crate::matrix::displayed_name(test);
            write!(cases, r#"<testcase name="{shown}" classname="run4::{BINARY}" time="0.500">{xml}</testcase>"#)
                .expect("a text takes everything");
        }
        let count = self.cases.len();
        let text = format!(
            r#"<testsuites name="run4" tests="{count}" failures="0" errors="0" uuid="{}"><testsuite name="run4::{BINARY}" tests="{count}" failures="0" errors="0">{cases}</testsuite></testsuites>"#,
            self.run_of_results
        );
        atomic::write(&self.path(JUNIT), text).expect("written");
        self.manifest.seal(self.folder.path()).expect("sealed");
        self
    }

    /// A path of the bundle.
    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Audits the bundle as it stands.
    pub(super) fn audit(&self) -> Audit {
        self.try_audit().expect("the bundle has a manifest")
    }

    fn try_audit(&self) -> Result<Audit, AuditError> {
        judge(self.folder.path(), Manifest::load(self.folder.path())?, &promises())
    }
}

/// The record of a test of this session that checked one fact.
pub(super) fn record(test: &str, verdict: Option<Status>) -> Record {
    let began = Utc.with_ymd_and_hms(2026, 11, 22, 8, 0, 1).single().expect("a time");
    Record {
        binary: BINARY.into(),
        test: test.into(),
        session: SESSION.into(),
        run: Some(RUN.into()),
        started_at: began,
        finished_at: verdict.as_ref().map(|_| began),
        checks: vec![Check { fact: "it answers".into(), holds: !matches!(verdict, Some(Status::Fail(_))), seen: None }],
        verdict,
        observations: BTreeMap::new(),
    }
}
