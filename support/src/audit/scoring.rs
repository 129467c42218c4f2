//! The formulas of the plan's rubric (R4-M6-001..003, spec scoring.md §1-3), over inputs that
//! say of each term whether it was measured. What was not measured gives no points and says so.

use schemars::JsonSchema;
use serde::Serialize;

/// So many of so many. A rate without a denominator cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rate {
    passed: u32,
    total: u32,
}

impl Rate {
    /// `passed` of `total`; none when the total is zero or smaller than what passed.
    pub fn new(passed: u32, total: u32) -> Option<Self> {
        (total > 0 && passed <= total).then_some(Self { passed, total })
    }

    /// The share, 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.passed) / f64::from(self.total)
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} of {}", self.passed, self.total)
    }
}

/// A term of a formula.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Term<T> {
    /// Measured, with what the figure rests on.
    Measured {
        /// The figure.
        value: T,
        /// Test ids, files or commands.
        source: String,
    },
    /// Not measured: no points.
    NotMeasured {
        /// Why.
        reason: String,
    },
}

impl<T> Term<T> {
    /// A measured figure.
    pub fn measured(value: T, source: impl Into<String>) -> Self {
        Self::Measured { value, source: source.into() }
    }

    /// A figure nobody measured.
    pub fn not_measured(reason: impl Into<String>) -> Self {
        Self::NotMeasured { reason: reason.into() }
    }
}

/// The terms of one Build's score (spec scoring.md §1).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SystemTerms {
    /// GREEN rows of its requirements.
    pub requirements: Term<Rate>,
    /// Its ids that passed.
    pub tests: Term<Rate>,
    /// What fitted its schema.
    pub contracts: Term<Rate>,
    /// Violations per 1000 lines.
    pub violation_density: Term<f64>,
    /// Healthy containers; none where there are no containers, which takes the term out.
    pub health: Option<Term<Rate>>,
    /// Required artifacts that are there.
    pub artifacts: Term<Rate>,
}

/// The terms of the integration score (spec scoring.md §2).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntegrationTerms {
    /// Tools that are not RED.
    pub tools: Term<Rate>,
    /// Primary flows that pass.
    pub flows: Term<Rate>,
    /// Mismatches between Builds.
    pub violations: Term<u32>,
    /// Phases of the pipeline that completed.
    pub phases: Term<Rate>,
}

/// One line of a breakdown.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Line {
    /// The plan's name of the category.
    pub category: &'static str,
    /// The most points it can give.
    pub weight: f64,
    /// The points it gives; none when it is taken out.
    pub points: Option<f64>,
    /// The figure, `18 of 20`; none when it was not measured.
    pub figure: Option<String>,
    /// What the figure rests on, or why there is none.
    pub source: String,
}

/// A score with its breakdown.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Score {
    /// The lines, in the plan's order.
    pub lines: Vec<Line>,
    /// The score, 0 to 100, unrounded.
    pub value: f64,
}

impl Score {
    fn of(lines: Vec<Line>) -> Self {
        let applicable = || lines.iter().filter_map(|line| line.points.map(|points| (points, line.weight)));
        let points: f64 = applicable().map(|(points, _)| points).sum();
        let weight: f64 = applicable().map(|(_, weight)| weight).sum();
        Self { value: (100.0 * points / weight).clamp(0.0, 100.0), lines }
    }

    /// How many of its applicable terms were measured, and how many there are.
    pub fn measured(&self) -> (usize, usize) {
        let applicable = || self.lines.iter().filter(|line| line.points.is_some());
        (applicable().filter(|line| line.figure.is_some()).count(), applicable().count())
    }

    /// The score by the terms that were measured alone, scaled to 100: for comparing looks that
    /// measure the same terms, never for a report. None when none was measured.
    pub fn of_measured(&self) -> Option<f64> {
        let measured = || self.lines.iter().filter(|line| line.figure.is_some());
        let weight: f64 = measured().map(|line| line.weight).sum();
        let points: f64 = measured().filter_map(|line| line.points).sum();
        (weight > 0.0).then(|| 100.0 * points / weight)
    }

    /// Whether anything of it was measured; a score of nothing is not a score.
    pub fn is_measured(&self) -> bool {
        self.measured().0 > 0
    }

    /// The categories taken out because they cannot apply.
    pub fn removed(&self) -> impl Iterator<Item = &'static str> {
        self.lines.iter().filter(|line| line.points.is_none()).map(|line| line.category)
    }
}

fn line<T>(
    category: &'static str,
    weight: f64,
    term: &Term<T>,
    points: impl Fn(&T) -> f64,
    figure: impl Fn(&T) -> String,
) -> Line {
    match term {
        Term::Measured { value, source } => Line {
            category,
            weight,
            points: Some(points(value).clamp(0.0, weight)),
            figure: Some(figure(value)),
            source: source.clone(),
        },
        Term::NotMeasured { reason } => {
            Line { category, weight, points: Some(0.0), figure: None, source: reason.clone() }
        }
    }
}

fn rate_line(category: &'static str, weight: f64, term: &Term<Rate>) -> Line {
    line(category, weight, term, |rate| rate.share() * weight, Rate::to_string)
}

/// The score of a Build (R4-M6-001).
pub fn system_score(terms: &SystemTerms) -> Score {
    const HEALTH: &str = "Docker Health";
    let health = terms.health.as_ref().map_or_else(
        || Line {
            category: HEALTH,
            weight: 10.0,
            points: None,
            figure: None,
            source: "N/A: there are no containers on the process substrate; the other terms are scaled".into(),
        },
        |term| rate_line(HEALTH, 10.0, term),
    );
    Score::of(vec![
        rate_line("Functional Completeness", 30.0, &terms.requirements),
        rate_line("Test Health", 20.0, &terms.tests),
        rate_line("Contract Compliance", 20.0, &terms.contracts),
        line(
            "Code Quality",
            15.0,
            &terms.violation_density,
            |density| (15.0 - density * 1.5).max(0.0),
            |density| format!("{density:.2} violations per KLOC"),
        ),
        health,
        rate_line("Documentation", 5.0, &terms.artifacts),
    ])
}

/// The integration score (R4-M6-002), before any cap.
pub fn integration_score(terms: &IntegrationTerms) -> Score {
    Score::of(vec![
        rate_line("MCP Connectivity", 25.0, &terms.tools),
        rate_line("Data Flow Integrity", 25.0, &terms.flows),
        line(
            "Contract Fidelity",
            25.0,
            &terms.violations,
            |violations| (25.0 - f64::from(*violations) * 2.5).max(0.0),
            |violations| format!("{violations} cross-build violations"),
        ),
        rate_line("Pipeline Completion", 25.0, &terms.phases),
    ])
}

/// The aggregate of the raw scores (R4-M6-003), before any cap.
pub fn aggregate(build1: f64, build2: f64, build3: f64, integration: f64) -> f64 {
    build1 * 0.30 + build2 * 0.25 + build3 * 0.25 + integration * 0.20
}

/// What a score may be at most while `untested_corners` dark corners are not tested
/// (spec scoring.md §8 rule 1).
pub fn capped(raw: f64, untested_corners: usize) -> f64 {
    const CAP: f64 = 85.0;
    if untested_corners == 0 { raw } else { raw.min(CAP) }
}

#[cfg(test)]
#[path = "scoring_tests.rs"]
mod tests;
