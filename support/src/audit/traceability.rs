//! The requirements of the Builds with their implementation and tests (R4-M6-005, spec
//! scoring.md §9): a test looks whether the implementation is there, the audit adds verdicts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    colour::Colour,
    flows::{Proof, Proofs},
    inputs::Sourced,
};
use crate::{sut::Build, verdict::Status};

/// The requirements of one Build, as a test found them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Register {
    /// The Build.
    pub build: Build,
    /// Where they stand: the table of the suite, or a PRD.
    pub path: String,
    /// Whether they are those of a PRD.
    pub is_prd: bool,
    /// How many the plan expects of a PRD.
    pub expected: Option<usize>,
    /// The requirements, in their order.
    pub requirements: Vec<Traced>,
}

/// One requirement, and whether its implementation was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traced {
    /// `S1-001`; of a PRD `B1:REQ-001`.
    pub id: String,
    /// What it asks for.
    pub description: String,
    /// Its milestone, or the heading that it stands below; empty when there is none.
    pub milestone: String,
    /// The files, and the items in them.
    pub implementation: Vec<String>,
    /// Whether the source of the Build was there to look.
    pub source_available: bool,
    /// Those of them that were not found.
    pub lost: Vec<String>,
    /// Matrix ids and test functions.
    pub tests: Vec<String>,
    /// Who says that the tests show it.
    pub link: Link,
}

/// Who says that a test shows a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// A document.
    Stated,
    /// The suite.
    Derived,
}

impl std::fmt::Display for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Stated => "stated",
            Self::Derived => "derived",
        })
    }
}

impl Traced {
    fn is_implemented(&self) -> bool {
        self.source_available && !self.implementation.is_empty() && self.lost.is_empty()
    }
}

/// The traceability matrix of one Build.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Traceability {
    /// The Build.
    pub build: Build,
    /// Where its requirements stand.
    pub register: String,
    /// Whether that is a PRD.
    pub is_prd: bool,
    /// How many the plan expects of the PRD, where there is one.
    pub expected: Option<usize>,
    /// The test that looked for the implementations.
    pub source: String,
    /// Its rows.
    pub rows: Vec<TraceRow>,
}

/// One row of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TraceRow {
    /// What was found of the requirement.
    #[serde(flatten)]
    pub traced: Traced,
    /// Its tests, each with its verdict.
    pub proofs: Vec<Proof>,
    /// What its tests say together.
    pub test_status: TestStatus,
    /// GREEN, YELLOW or RED.
    pub colour: Colour,
}

/// What the tests of a requirement say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TestStatus {
    /// All of them passed, and there is one.
    Pass,
    /// One failed.
    Fail,
    /// Neither.
    Untested,
}

impl std::fmt::Display for TestStatus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Untested => "UNTESTED",
        })
    }
}

impl TestStatus {
    fn of(proofs: &[Proof]) -> Self {
        if proofs.iter().any(|proof| matches!(proof.status, Status::Fail(_))) {
            Self::Fail
        } else if !proofs.is_empty() && proofs.iter().all(|proof| proof.status == Status::Pass) {
            Self::Pass
        } else {
            Self::Untested
        }
    }
}

impl TraceRow {
    /// `Verified` or `Gap`.
    pub fn verification(&self) -> &'static str {
        if self.colour == Colour::Green { "Verified" } else { "Gap" }
    }
}

impl Traceability {
    /// How many rows have a colour.
    pub fn count(&self, colour: Colour) -> usize {
        self.rows.iter().filter(|row| row.colour == colour).count()
    }

    /// The matrix of what `found` tells, with the verdicts of `proofs`.
    pub(super) fn new(found: &Sourced<Register>, proofs: &Proofs<'_>) -> Self {
        let register = &found.value;
        Self {
            build: register.build,
            register: register.path.clone(),
            is_prd: register.is_prd,
            expected: register.expected,
            source: found.source.to_string(),
            rows: register.requirements.iter().map(|traced| row(traced, proofs)).collect(),
        }
    }
}

fn row(traced: &Traced, proofs: &Proofs<'_>) -> TraceRow {
    let proofs: Vec<_> = traced.tests.iter().map(|name| proofs.named(name)).collect();
    let test_status = if traced.source_available { TestStatus::of(&proofs) } else { TestStatus::Untested };
    TraceRow { colour: colour(traced.is_implemented(), test_status), traced: traced.clone(), proofs, test_status }
}

/// The rule of spec scoring.md §9.
fn colour(is_implemented: bool, test_status: TestStatus) -> Colour {
    match (is_implemented, test_status) {
        (false, _) | (true, TestStatus::Fail) => Colour::Red,
        (true, TestStatus::Pass) => Colour::Green,
        (true, TestStatus::Untested) => Colour::Yellow,
    }
}
