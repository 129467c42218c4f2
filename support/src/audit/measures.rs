//! From verdicts to the terms of the formulas. What this suite cannot measure yet is said to
//! be not measured, each with its reason.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    colour::Colour,
    coverage::{ToolCoverage, Tried},
    flows::Flows,
    join::RowVerdict,
    observations::PipelinePhase,
    scoring::{IntegrationTerms, Rate, Score, SystemTerms, Term, aggregate, capped, integration_score, system_score},
};
use crate::{config::Substrate, matrix::Need, verdict::Status};

/// The scores of a run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Scores {
    /// Build 1, Build 2, Build 3.
    pub builds: [Score; 3],
    /// The integration, raw.
    pub integration: Score,
    /// The integration, capped.
    pub integration_capped: f64,
    /// The aggregate of the raw scores.
    pub aggregate_raw: f64,
    /// The aggregate, capped: what colour and verdict go by.
    pub aggregate_capped: f64,
    /// The dark corners that were not tested and so cap both.
    pub untested_corners: Vec<String>,
}

/// What the scores are computed from.
pub(super) struct Measures<'a> {
    pub(super) rows: &'a [RowVerdict],
    pub(super) coverage: &'a [ToolCoverage],
    pub(super) flows: &'a Flows,
    pub(super) phases: &'a [PipelinePhase],
    pub(super) substrate: Substrate,
}

/// How many phases milestone 4 has.
pub(super) const PHASES: usize = 7;

const NO_PIPELINE: &str = "no id that needs a pipeline run was executed (milestone 4)";

impl Measures<'_> {
    pub(super) fn scores(&self) -> Scores {
        let builds = [1, 2, 3].map(|build| system_score(&self.system_terms(build)));
        let integration = integration_score(&self.integration_terms());
        let untested_corners = self.flows.untested_corners();
        let raw = aggregate(builds[0].value, builds[1].value, builds[2].value, integration.value);
        Scores {
            integration_capped: capped(integration.value, untested_corners.len()),
            aggregate_raw: raw,
            aggregate_capped: capped(raw, untested_corners.len()),
            builds,
            integration,
            untested_corners,
        }
    }

    fn system_terms(&self, build: u8) -> SystemTerms {
        SystemTerms {
            requirements: Term::not_measured("no requirements of the Builds were traced (appendix A)"),
            tests: self.tests(build),
            contracts: if build == 1 { self.tool_contracts() } else { Term::not_measured(NO_PIPELINE) },
            violation_density: Term::not_measured("no layer-3 scan of its source is in the bundle"),
            health: match self.substrate {
                Substrate::Process => None,
                Substrate::Docker => Some(Term::not_measured("no container health is in the bundle")),
            },
            artifacts: Term::not_measured("its artifacts were not counted"),
        }
    }

    /// Its own ids and the X ids that name it (spec scoring.md §1).
    fn tests(&self, build: u8) -> Term<Rate> {
        let rows: Vec<_> = self.rows.iter().filter(|row| speaks_of(row, build)).collect();
        if !rows.iter().any(|row| executed(row)) {
            return Term::not_measured(format!("none of its {} ids was executed", rows.len()));
        }
        let source = format!("B{build} ids and the X ids that name Build {build} (appendix C)");
        rate(rows.iter().filter(|row| row.status == Status::Pass).count(), rows.len(), source)
    }

    fn tool_contracts(&self) -> Term<Rate> {
        if self.no_tool_was_called() {
            return Term::not_measured("no call of a tool was recorded (B1-07)");
        }
        let fitting = self.coverage.iter().filter(|tool| tool.parseable.passed()).count();
        let source = "tools whose every reply fits its schema (interface matrix: B1-07, R4-M2-002); \
                      routes of the HTTP twins: not measured";
        rate(fitting, self.coverage.len(), source)
    }

    fn no_tool_was_called(&self) -> bool {
        self.coverage.iter().all(|tool| tool.sources.is_empty())
    }

    fn integration_terms(&self) -> IntegrationTerms {
        let not_red = self.coverage.iter().filter(|tool| tool.colour != Colour::Red).count();
        IntegrationTerms {
            tools: if self.no_tool_was_called() {
                Term::not_measured("no call of a tool was recorded (B1-07, B1-15)")
            } else {
                rate(not_red, self.coverage.len(), "tools that are not RED (interface matrix: B1-07, B1-15)")
            },
            flows: self.primary_flows(),
            violations: self.cross_build_violations(),
            phases: self.pipeline_phases(),
        }
    }

    /// Phases whose gate held, of the plan's seven (D-17).
    fn pipeline_phases(&self) -> Term<Rate> {
        if self.phases.is_empty() {
            return Term::not_measured("no recorded pipeline run is in the bundle (B3-01)");
        }
        rate(self.phases.iter().filter(|phase| phase.passed).count(), PHASES, "phases whose gate held (B3-01)")
    }

    /// A flow is proved by a run of the whole; ids of single steps do not make one.
    fn primary_flows(&self) -> Term<Rate> {
        if !self.rows.iter().any(|row| row.row.need == Need::Pipeline && executed(row)) {
            return Term::not_measured(NO_PIPELINE);
        }
        let met = |flow: &&super::flows::Flow| flow.colour == Colour::Green || flow.only_docker_missing;
        rate(self.flows.data.iter().filter(met).count(), self.flows.data.len(), "primary data flows (section 4)")
    }

    /// One for each X id that did not pass, so that not testing is never free, and one for
    /// each tool with a reply that does not fit its schema.
    fn cross_build_violations(&self) -> Term<u32> {
        let cross = self.rows.iter().filter(|row| row.row.id.to_string().starts_with("X-"));
        let open = cross.filter(|row| row.status != Status::Pass).count();
        let misfits = self.coverage.iter().filter(|tool| tool.parseable == Tried::Failed).count();
        let source =
            format!("{open} X ids without a pass (appendix C), {misfits} tools off their schema (interface matrix)");
        Term::measured(count(open + misfits), source)
    }
}

fn speaks_of(row: &RowVerdict, build: u8) -> bool {
    let (id, name) = (row.row.id.to_string(), format!("B{build}"));
    id.starts_with(&format!("{name}-")) || id.starts_with("X-") && row.row.builds.contains(&name)
}

/// Whether the system was seen to keep or break the promise.
pub(super) fn executed(row: &RowVerdict) -> bool {
    matches!(row.status, Status::Pass | Status::Fail(_))
}

/// The system that a failing row is counted under in the report.
pub(super) fn system_of(row: &RowVerdict) -> &'static str {
    match row.row.id.to_string().split_once('-').map(|(kind, _)| kind) {
        Some("B1") => "Build 1",
        Some("B2") => "Build 2",
        Some("B3") => "Build 3",
        _ => "Integration",
    }
}

fn rate(passed: usize, total: usize, source: impl Into<String>) -> Term<Rate> {
    match Rate::new(count(passed), count(total)) {
        Some(rate) => Term::measured(rate, source),
        None => Term::not_measured("there was nothing to count"),
    }
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
