//! What tests measured while they ran: tool calls, times, phases of the pipeline and other
//! figures, from the sealed records of this session.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    coverage::{self, ToolCall},
    inputs::{Input, Inputs, OfBuild, Sourced},
    join::{Facts, TestVerdict},
    name::TestName,
    problem::Problem,
};
use crate::{
    evidence::{FIGURES, Figure, Record},
    matrix::Matrix,
    mcp::LatencySummary,
    sut::Build,
    verdict::Status,
};

/// The times of one tool or server, and the test that measured them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Timing {
    /// The tool or server.
    pub name: String,
    /// The figures.
    #[serde(flatten)]
    pub figures: LatencySummary,
    /// The test.
    pub source: String,
}

/// The row whose record tells the phases of the one run that all ids judge.
const PIPELINE_ROW: &str = "B3-01";

/// The row whose record has the report of the gate in that run.
const GATE_ROW: &str = "B3-04";

/// The row whose record has the violations of the integration report of that run.
const INTEGRATION_ROW: &str = "SC-04";

/// The row whose record has what that run cost.
const COST_ROW: &str = "SC-08";

/// A phase of the pipeline run, as the suite's own gate judged it (spec orchestrator.md §10).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PipelinePhase {
    /// `parallel_builders`.
    pub phase_name: String,
    /// Whether its gate held.
    pub passed: bool,
    /// What its gate tolerated.
    #[serde(default)]
    pub exceptions: Vec<String>,
    /// Why it did not hold.
    #[serde(default)]
    pub errors: Vec<String>,
    /// How long it took; null when it was not reached.
    pub duration_seconds: Option<f64>,
}

/// A figure and the test that measured it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Measured {
    /// The figure.
    #[serde(flatten)]
    pub figure: Figure,
    /// The test.
    pub source: String,
}

/// What a test noticed beside its verdict, and the test.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Noticed {
    /// The report of the quality gate in the pipeline run (orchestrator.md §5.4).
    Gate { source: String, report: Value },
    /// The violations of the integration report of that run.
    Integration { source: String, violations: Vec<Value> },
    /// A spelling that was read all the same (D-25).
    Spelling { source: String, spelling: String },
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Observations {
    /// The calls that count for the interface matrix, each with its test.
    pub(super) calls: Vec<(String, ToolCall)>,
    pub(super) latency: Vec<Timing>,
    pub(super) start_up: Vec<Timing>,
    pub(super) phases: Vec<PipelinePhase>,
    pub(super) figures: Vec<Measured>,
    /// What the scores of the Builds are computed from.
    pub(super) inputs: Inputs,
    pub(super) noticed: Vec<Noticed>,
    pub(super) pipeline_cost: Option<f64>,
    pub(super) problems: Vec<Problem>,
}

impl Observations {
    /// What `tests` observed, as far as they could be judged: of the others nobody knows what they saw.
    pub(super) fn gather(facts: &Facts, tests: &[TestVerdict]) -> Self {
        let mut all = Self::default();
        for test in tests.iter().filter(|test| matches!(test.status, Status::Pass | Status::Fail(_))) {
            if let Some(record) = facts.record(&test.name) {
                all.add(&test.name, record, facts.matrix);
            }
        }
        all
    }

    fn add(&mut self, name: &TestName, record: &Record, matrix: &Matrix) {
        let source = name.to_string();
        let id = matrix.claimed_by(&name.test).map(|row| row.id.to_string());
        if coverage::counts(&name.test, id.as_deref()) {
            let calls: Vec<ToolCall> = self.read(record, coverage::OBSERVATION).unwrap_or_default();
            self.calls.extend(calls.into_iter().map(|call| (source.clone(), call)));
        }
        let timings = |times: Option<BTreeMap<String, LatencySummary>>| {
            let times = times.unwrap_or_default().into_iter();
            times.map(|(name, figures)| Timing { name, figures, source: source.clone() }).collect::<Vec<_>>()
        };
        let latency = self.read(record, "latency");
        self.latency.extend(timings(latency));
        let start_up = self.read(record, "start_up");
        self.start_up.extend(timings(start_up));
        let figures: Vec<Figure> = self.read(record, FIGURES).unwrap_or_default();
        self.figures.extend(figures.into_iter().map(|figure| Measured { figure, source: source.clone() }));
        if id.as_deref() == Some(PIPELINE_ROW) {
            let phases: Vec<PipelinePhase> = self.read(record, "phases").unwrap_or_default();
            self.phases.extend(phases);
        }
        self.notice(id.as_deref(), &source, record);
        self.add_inputs(name, record);
    }

    fn add_inputs(&mut self, name: &TestName, record: &Record) {
        let mut inputs = std::mem::take(&mut self.inputs);
        self.take(&mut inputs.contracts, Input::Contracts, name, record);
        self.take(&mut inputs.scans, Input::Scans, name, record);
        self.take(&mut inputs.health, Input::Health, name, record);
        self.take(&mut inputs.artifacts, Input::Artifacts, name, record);
        self.take(&mut inputs.registers, Input::Requirements, name, record);
        self.inputs = inputs;
    }

    fn take<T: OfBuild>(&mut self, into: &mut Vec<Sourced<T>>, input: Input, name: &TestName, record: &Record) {
        if Build::ALL.iter().any(|build| input.witness(*build) == name.function()) {
            let found = self.read(record, input.observation()).unwrap_or_default();
            Inputs::take(into, input, name, found);
        }
    }

    fn notice(&mut self, id: Option<&str>, source: &str, record: &Record) {
        let spellings: BTreeSet<String> = self.read(record, "alternative_spellings").unwrap_or_default();
        let spelling = |spelling| Noticed::Spelling { source: source.to_owned(), spelling };
        self.noticed.extend(spellings.into_iter().map(spelling));
        let source = source.to_owned();
        match id {
            Some(GATE_ROW) => {
                let report: Option<Value> = self.read(record, "report");
                self.noticed.extend(report.map(|report| Noticed::Gate { source, report }));
            }
            Some(COST_ROW) => {
                let cost: Option<Option<f64>> = self.read(record, "total_cost");
                self.pipeline_cost = self.pipeline_cost.or(cost.flatten());
            }
            Some(INTEGRATION_ROW) => {
                let violations: Option<Vec<Value>> = self.read(record, "violations");
                self.noticed.extend(violations.map(|violations| Noticed::Integration { source, violations }));
            }
            _ => (),
        }
    }

    /// The observation `kind` of `record`; one of another shape is a problem.
    fn read<T: DeserializeOwned>(&mut self, record: &Record, kind: &str) -> Option<T> {
        let value = record.observations.get(kind)?;
        T::deserialize(value)
            .map_err(|error| {
                let path = Record::path(std::path::Path::new(""), &record.binary, &record.test);
                self.problems.push(Problem::Unreadable {
                    path: path.to_string_lossy().into_owned(),
                    reason: format!("the observation {kind:?}: {error}"),
                });
            })
            .ok()
    }
}

#[cfg(test)]
#[path = "observations_tests.rs"]
mod tests;
