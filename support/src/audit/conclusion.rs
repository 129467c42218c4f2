//! Thresholds and the verdict of the report (spec scoring.md §4).

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    coverage::ToolCoverage,
    findings::FixHistory,
    inputs::Inputs,
    join::RowVerdict,
    measures::{Scores, count, executed},
    scoring::{Rate, Score},
};
use crate::{fix_pass::catalogue::Catalogue, matrix::Priority, state, sut::Build, verdict::Status};

/// A criterion and how far it is met.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Threshold {
    /// The criterion.
    pub criterion: &'static str,
    /// Minimum, target and stretch, as the plan writes them.
    pub bounds: [&'static str; 3],
    /// What was measured, printed; none when it was not.
    pub figure: Option<String>,
    /// How far it is met.
    pub level: Level,
    /// What the figure rests on, or why there is none.
    pub source: String,
}

/// How far a criterion is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nobody knows; counts as below the minimum.
    NotMeasured,
    /// Below the minimum.
    Below,
    /// At least the minimum.
    Minimum,
    /// At least the target.
    Target,
    /// The best asked for.
    Stretch,
}

impl std::fmt::Display for Level {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::NotMeasured => "not measured",
            Self::Below => "below minimum",
            Self::Minimum => "minimum",
            Self::Target => "target",
            Self::Stretch => "stretch",
        })
    }
}

/// The verdict of the report.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Conclusion {
    /// PASS, CONDITIONAL_PASS or FAIL.
    pub verdict: ReportVerdict,
    /// Whether the system is ready for production use, and why.
    pub sentence: String,
}

/// The three words of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReportVerdict {
    /// Everything that is asked for.
    Pass,
    /// Every minimum is met; the gaps are listed.
    ConditionalPass,
    /// Neither.
    Fail,
}

impl std::fmt::Display for ReportVerdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Pass => "PASS",
            Self::ConditionalPass => "CONDITIONAL_PASS",
            Self::Fail => "FAIL",
        })
    }
}

const SYSTEM: ([&str; 3], [f64; 3]) = (["60", "80", "90"], [60.0, 80.0, 90.0]);
const INTEGRATION: ([&str; 3], [f64; 3]) = (["50", "75", "90"], [50.0, 75.0, 90.0]);
const AGGREGATE: ([&str; 3], [f64; 3]) = (["65", "80", "90"], [65.0, 80.0, 90.0]);

/// What thresholds and verdict go by.
pub(super) struct Seen<'a> {
    pub(super) scores: &'a Scores,
    pub(super) rows: &'a [RowVerdict],
    pub(super) coverage: &'a [ToolCoverage],
    pub(super) inputs: &'a Inputs,
    pub(super) findings: &'a Catalogue,
    pub(super) fix: Option<&'a FixHistory>,
}

impl Seen<'_> {
    /// The table of thresholds, in the order of the spec.
    pub(super) fn thresholds(&self) -> Vec<Threshold> {
        let scores = self.scores;
        let [build1, build2, build3] = &scores.builds;
        let aggregate_measured = scores.builds.iter().chain([&scores.integration]).any(Score::is_measured);
        vec![
            score("Build 1 score", SYSTEM, build1.value, build1.is_measured(), "section 3"),
            score("Build 2 score", SYSTEM, build2.value, build2.is_measured(), "section 3"),
            score("Build 3 score", SYSTEM, build3.value, build3.is_measured(), "section 3"),
            score(
                "Integration score",
                INTEGRATION,
                scores.integration_capped,
                scores.integration.is_measured(),
                "section 4, capped",
            ),
            score("Aggregate score", AGGREGATE, scores.aggregate_capped, aggregate_measured, "section 1, capped"),
            self.remaining(Urgent::P0),
            self.remaining(Urgent::P1),
            pass_rate(self.rows),
            tool_coverage(self.coverage),
            contract_compliance(self.inputs),
            self.convergence(),
        ]
    }

    /// Open findings of a priority; a count of nothing executed would be no count.
    fn remaining(&self, urgent: Urgent) -> Threshold {
        let (criterion, bounds, limits, priority) = match urgent {
            Urgent::P0 => ("P0 remaining", ["0", "0", "0"], [0, 0, 0], Priority::P0),
            Urgent::P1 => ("P1 remaining", ["<= 3 with workarounds", "0", "0"], [3, 0, 0], Priority::P1),
        };
        if !self.rows.iter().any(executed) {
            return unmeasured(criterion, bounds, "no id was executed");
        }
        let open = self.findings.count();
        let left = match urgent {
            Urgent::P0 => open.p0,
            Urgent::P1 => open.p1,
        };
        let unverified = self.rows.iter().filter(|row| row.row.priority == priority && !executed(row)).count();
        let level = level(limits.map(|limit| left <= limit));
        Threshold {
            criterion,
            bounds,
            figure: Some(format!("{left}, with {unverified} ids not verified")),
            // Behind an id that nobody judged there may be another one.
            level: if unverified == 0 { level } else { level.min(Level::Minimum) },
            source: "open findings (appendix B)".into(),
        }
    }

    fn convergence(&self) -> Threshold {
        const BOUNDS: [&str; 3] = ["0.70", "0.85", "0.95"];
        match self.fix {
            None => unmeasured("Fix convergence", BOUNDS, "no fix pass is in the bundle (section 5)"),
            Some(fix) => Threshold {
                criterion: "Fix convergence",
                bounds: BOUNDS,
                figure: Some(format!("{:.2}", fix.convergence)),
                level: fix.level(),
                source: format!("{}, section 5", fix.verdict),
            },
        }
    }

    /// The verdict from the thresholds, the ids and the number of problems of the bundle.
    pub(super) fn conclude(&self, thresholds: &[Threshold], problems: usize) -> Conclusion {
        let against_conditional = self.against_conditional(thresholds, problems);
        let against_pass = self.against_pass();
        let (verdict, sentence) = if !against_conditional.is_empty() {
            let reasons = against_conditional.join("; ");
            (ReportVerdict::Fail, format!("The system is not shown to be ready for production use: {reasons}."))
        } else if !against_pass.is_empty() {
            let gaps = against_pass.join("; ");
            (
                ReportVerdict::ConditionalPass,
                format!("The system is ready for production use with the gaps listed: {gaps}."),
            )
        } else {
            (
                ReportVerdict::Pass,
                "The system is ready for production use: every minimum is met and every P0 promise was kept.".into(),
            )
        };
        Conclusion { verdict, sentence }
    }

    fn against_conditional(&self, thresholds: &[Threshold], problems: usize) -> Vec<String> {
        let mut against = Vec::new();
        if problems > 0 {
            against.push(format!("integrity problems of the bundle: {problems}"));
        }
        for (level, text) in [(Level::Below, "below the minimum"), (Level::NotMeasured, "not measured")] {
            let criteria: Vec<_> =
                thresholds.iter().filter(|row| row.level == level).map(|row| row.criterion).collect();
            if !criteria.is_empty() {
                against.push(format!("{text}: {}", criteria.join(", ")));
            }
        }
        let urgent = self.findings.open().filter(|entry| entry.finding.priority == state::Priority::P1);
        let without: Vec<_> = urgent
            .filter(|entry| entry.workaround.is_empty())
            .map(|entry| format!("{} ({})", entry.finding.finding_id, entry.code))
            .collect();
        if !without.is_empty() {
            against.push(format!("P1 without a workaround: {}", without.join(", ")));
        }
        let broken = self.rows.iter().filter(|row| row.row.priority == Priority::P0);
        let broken: Vec<_> =
            broken.filter(|row| matches!(row.status, Status::Broken(_))).map(|row| row.row.id.to_string()).collect();
        if !broken.is_empty() {
            against.push(format!("P0 that the suite could not judge: {}", broken.join(", ")));
        }
        against
    }

    fn against_pass(&self) -> Vec<String> {
        let mut against = Vec::new();
        if self.scores.aggregate_capped < 80.0 {
            against.push(format!("the aggregate is {:.2}", self.scores.aggregate_capped));
        }
        let left = self.findings.count().p1;
        against.extend((left > 0).then(|| format!("P1 with workarounds: {left}")));
        let unverified: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.row.priority == Priority::P0 && row.status != Status::Pass)
            .map(|row| row.row.id.to_string())
            .collect();
        if !unverified.is_empty() {
            against.push(format!("P0 not verified: {}", unverified.join(", ")));
        }
        against
    }
}

/// The priorities that have a threshold.
#[derive(Debug, Clone, Copy)]
enum Urgent {
    P0,
    P1,
}

fn score(
    criterion: &'static str,
    (bounds, limits): ([&'static str; 3], [f64; 3]),
    value: f64,
    is_measured: bool,
    source: &'static str,
) -> Threshold {
    if !is_measured {
        return unmeasured(criterion, bounds, "none of its terms was measured");
    }
    let level = level(limits.map(|limit| value >= limit));
    Threshold { criterion, bounds, figure: Some(format!("{value:.2}")), level, source: source.to_owned() }
}

fn unmeasured(criterion: &'static str, bounds: [&'static str; 3], reason: &str) -> Threshold {
    Threshold { criterion, bounds, figure: None, level: Level::NotMeasured, source: reason.to_owned() }
}

/// The level of a criterion from which of its three bounds are met.
fn level(met: [bool; 3]) -> Level {
    match met {
        [true, true, true] => Level::Stretch,
        [true, true, false] => Level::Target,
        [true, false, _] => Level::Minimum,
        [false, ..] => Level::Below,
    }
}

fn pass_rate(rows: &[RowVerdict]) -> Threshold {
    let passed = rows.iter().filter(|row| row.status == Status::Pass).count();
    share("Test pass rate", ["85 %", "95 %", "100 %"], [0.85, 0.95, 1.0], passed, rows.len(), "ids (appendix C)")
}

fn tool_coverage(coverage: &[ToolCoverage]) -> Threshold {
    const BOUNDS: [&str; 3] = ["90 %", "100 %", "100 % + errors"];
    if coverage.iter().all(|tool| tool.sources.is_empty()) {
        return unmeasured("MCP tool coverage", BOUNDS, "no call of a tool was recorded");
    }
    let passed = coverage.iter().filter(|tool| tool.valid.passed()).count();
    let errors = coverage.iter().filter_map(|tool| tool.error).all(super::coverage::Tried::passed);
    let source = "valid calls (interface matrix, section 4)";
    let limits = [0.9, 1.0, if errors { 1.0 } else { f64::INFINITY }];
    share("MCP tool coverage", BOUNDS, limits, passed, coverage.len(), source)
}

/// Contract tests on the generated services: the figure of phase 6.
fn contract_compliance(inputs: &Inputs) -> Threshold {
    const CRITERION: (&str, [&str; 3]) = ("Contract compliance", ["80 %", "95 %", "100 %"]);
    let (criterion, bounds) = CRITERION;
    match Inputs::of(&inputs.contracts, Build::B2) {
        None => unmeasured(criterion, bounds, "contract tests on the generated services: see Build 2 in section 3"),
        Some(found) => {
            let source = format!("contract tests on the generated services ({})", found.source);
            share(criterion, bounds, [0.8, 0.95, 1.0], found.value.good, found.value.total, &source)
        }
    }
}

fn share(
    criterion: &'static str,
    bounds: [&'static str; 3],
    limits: [f64; 3],
    passed: usize,
    total: usize,
    source: &str,
) -> Threshold {
    match Rate::new(count(passed), count(total)) {
        None => unmeasured(criterion, bounds, "there was nothing to count"),
        Some(rate) => Threshold {
            criterion,
            bounds,
            figure: Some(format!("{rate} ({:.2} %)", 100.0 * rate.share())),
            level: level(limits.map(|limit| rate.share() >= limit)),
            source: source.to_owned(),
        },
    }
}

#[cfg(test)]
#[path = "conclusion_tests.rs"]
mod tests;
