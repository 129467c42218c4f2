//! From verdicts and what tests measured to the terms of the formulas. What was not measured
//! is said to be so, each with its reason.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    colour::Colour,
    coverage::{ToolCoverage, Tried},
    flows::Flows,
    inputs::{Counted, Input, Inputs, Sourced, why_not},
    join::{RowVerdict, TestVerdict},
    observations::PipelinePhase,
    scoring::{IntegrationTerms, Rate, Score, SystemTerms, Term, aggregate, capped, integration_score, system_score},
    traceability::Traceability,
};
use crate::{config::Substrate, matrix::Need, sut::Build, verdict::Status};

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

impl Scores {
    /// The aggregate by the terms that were measured alone, capped; none when a system has none.
    pub fn of_measured(&self) -> Option<f64> {
        let [build1, build2, build3] = self.builds.each_ref().map(Score::of_measured);
        let raw = aggregate(build1?, build2?, build3?, self.integration.of_measured()?);
        Some(capped(raw, self.untested_corners.len()))
    }
}

/// What the scores are computed from.
pub(super) struct Measures<'a> {
    pub(super) rows: &'a [RowVerdict],
    pub(super) tests: &'a [TestVerdict],
    pub(super) inputs: &'a Inputs,
    pub(super) traceability: &'a [Traceability],
    /// How many routes the HTTP twins promise.
    pub(super) routes: usize,
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
        let builds = Build::ALL.map(|build| system_score(&self.system_terms(build)));
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

    fn system_terms(&self, build: Build) -> SystemTerms {
        let Inputs { contracts, health, artifacts, .. } = self.inputs;
        SystemTerms {
            requirements: self.requirements(build),
            tests: self.tests(build),
            contracts: match build {
                Build::B1 => self.contracts_of_build1(),
                Build::B2 | Build::B3 => self.counted(Input::Contracts, contracts, build),
            },
            violation_density: self.density(build),
            health: match self.substrate {
                Substrate::Process => None,
                Substrate::Docker => Some(self.counted(Input::Health, health, build)),
            },
            artifacts: self.counted(Input::Artifacts, artifacts, build),
        }
    }

    /// GREEN rows of its traceability matrix.
    fn requirements(&self, build: Build) -> Term<Rate> {
        match self.traceability.iter().find(|matrix| matrix.build == build) {
            None => Term::not_measured(why_not(Input::Requirements, build, self.tests)),
            Some(matrix) => {
                let source = format!("GREEN rows of {} (appendix A, {})", matrix.register, matrix.source);
                rate(matrix.count(Colour::Green), matrix.rows.len(), source)
            }
        }
    }

    /// What a test counted.
    fn counted(&self, input: Input, of: &[Sourced<Counted>], build: Build) -> Term<Rate> {
        match Inputs::of(of, build) {
            None => Term::not_measured(why_not(input, build, self.tests)),
            Some(found) => rate(found.value.good, found.value.total, found.source.to_string()),
        }
    }

    /// Violations of layer 3 per 1000 lines.
    fn density(&self, build: Build) -> Term<f64> {
        let Some(found) = Inputs::of(&self.inputs.scans, build) else {
            return Term::not_measured(why_not(Input::Scans, build, self.tests));
        };
        let source = &found.source;
        match found.value.density() {
            None if found.value.lines == 0 => Term::not_measured(format!("there is no source to scan ({source})")),
            None => Term::not_measured(format!("layer 3 did not look at its source ({source})")),
            Some(density) => {
                let (violations, lines) = (found.value.violations.len(), found.value.lines);
                Term::measured(density, format!("{violations} violations in {lines} lines ({source})"))
            }
        }
    }

    /// Its own ids and the X ids that name it (spec scoring.md §1).
    fn tests(&self, build: Build) -> Term<Rate> {
        let rows: Vec<_> = self.rows.iter().filter(|row| speaks_of(row, build)).collect();
        if !rows.iter().any(|row| executed(row)) {
            return Term::not_measured(format!("none of its {} ids was executed", rows.len()));
        }
        let source = format!("{build:?} ids and the X ids that name {build} (appendix C)");
        rate(rows.iter().filter(|row| row.status == Status::Pass).count(), rows.len(), source)
    }

    /// Tools and routes whose replies fit their schema; what nobody called does not fit.
    fn contracts_of_build1(&self) -> Term<Rate> {
        let routes = Inputs::of(&self.inputs.contracts, Build::B1);
        if self.no_tool_was_called() && routes.is_none() {
            return Term::not_measured("no call of a tool or route was recorded (B1-07)");
        }
        let fitting = self.coverage.iter().filter(|tool| tool.parseable.passed()).count();
        let tools = self.coverage.len();
        let (good, total, said) = match routes {
            Some(found) => {
                let Counted { good, total, .. } = found.value;
                (good, total, format!("{good} of {total} routes ({})", found.source))
            }
            None => {
                let reason = why_not(Input::Contracts, Build::B1, self.tests);
                (0, self.routes, format!("routes not measured and counted as misfits ({reason})"))
            }
        };
        let source = format!("{fitting} of {tools} tools (interface matrix: B1-07, R4-M2-002), {said}");
        rate(fitting + good, tools + total, source)
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

fn speaks_of(row: &RowVerdict, build: Build) -> bool {
    let (id, name) = (row.row.id.to_string(), format!("{build:?}"));
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
