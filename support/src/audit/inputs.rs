//! What tests measure for the scores of the Builds (spec scoring.md §1), and which test's word
//! counts for which term: the border between the tests and the formulas.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{join::TestVerdict, name::TestName, traceability::Register};
use crate::{sut::Build, verdict::Status};

/// A term of a Build's score that a test measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Its requirements: one [`Register`].
    Requirements,
    /// What fits its schema: [`Counted`].
    Contracts,
    /// Layer-3 scans of its source: [`Scanned`].
    Scans,
    /// Healthy containers: [`Counted`].
    Health,
    /// Required artifacts: [`Counted`].
    Artifacts,
}

impl Input {
    /// The name of the observation: a list with one element a Build.
    pub fn observation(self) -> &'static str {
        match self {
            Self::Requirements => "requirements",
            Self::Contracts => "contracts",
            Self::Scans => "scans",
            Self::Health => "container_health",
            Self::Artifacts => "artifacts",
        }
    }

    /// The test function that measures it for a Build; what others record does not count.
    pub(super) fn witness(self, build: Build) -> &'static str {
        match (self, build) {
            (Self::Requirements, _) => "r4_m6_005_requirements_of_a_build",
            (Self::Contracts, Build::B1) => "r4_m6_001_routes_fit_their_schemas",
            (Self::Contracts, Build::B2) => "sc_04_integration_tests",
            (Self::Contracts, Build::B3) => "r4_m6_001_outputs_fit_their_shapes",
            (Self::Scans, _) => "r4_m6_001_violation_density",
            (Self::Health, Build::B1) => "b1_01_build1_deploy",
            (Self::Health, Build::B2 | Build::B3) => "sc_02_app_deployment",
            (Self::Artifacts, _) => "r4_m6_001_artifacts_are_there",
        }
    }
}

/// So many of so many of one Build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    /// The Build.
    pub build: Build,
    /// How many are as promised.
    pub good: usize,
    /// How many were to be counted.
    pub total: usize,
    /// What is not as promised, by name.
    pub missing: Vec<String>,
}

impl Counted {
    /// The count of `all`, each with a name and what is wrong with it; nothing when it is good.
    pub fn of(build: Build, all: &[(String, Option<String>)]) -> Self {
        let missing: Vec<_> =
            all.iter().filter_map(|(name, wrong)| wrong.as_ref().map(|wrong| format!("{name}: {wrong}"))).collect();
        Self { build, good: all.len() - missing.len(), total: all.len(), missing }
    }
}

/// What the system's own gate finds in a Build's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scanned {
    /// The Build.
    pub build: Build,
    /// Whether layer 3 has looked at it.
    pub completed: bool,
    /// Non-blank lines of source.
    pub lines: usize,
    /// The folders that were scanned.
    pub sources: Vec<String>,
    /// Each violation: code, place and line.
    pub violations: Vec<String>,
}

impl Scanned {
    /// Violations per 1000 lines; none without source or without a completed scan.
    pub fn density(&self) -> Option<f64> {
        let violations = u32::try_from(self.violations.len()).ok()?;
        let lines = u32::try_from(self.lines).ok()?;
        (self.completed && lines > 0).then(|| f64::from(violations) * 1000.0 / f64::from(lines))
    }
}

/// An observation and the test that made it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Sourced<T> {
    /// What was observed.
    #[serde(flatten)]
    pub value: T,
    /// The test.
    pub source: TestName,
}

/// What is said of one Build.
pub(super) trait OfBuild: DeserializeOwned {
    fn build(&self) -> Build;
}

impl OfBuild for Counted {
    fn build(&self) -> Build {
        self.build
    }
}

impl OfBuild for Scanned {
    fn build(&self) -> Build {
        self.build
    }
}

impl OfBuild for Register {
    fn build(&self) -> Build {
        self.build
    }
}

/// Everything that was measured for the scores, by those whose word counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Inputs {
    /// What fits its schema.
    pub contracts: Vec<Sourced<Counted>>,
    /// Layer-3 scans.
    pub scans: Vec<Sourced<Scanned>>,
    /// Healthy containers.
    pub health: Vec<Sourced<Counted>>,
    /// Required artifacts.
    pub artifacts: Vec<Sourced<Counted>>,
    /// Registers of requirements.
    #[serde(skip)]
    pub(super) registers: Vec<Sourced<Register>>,
}

impl Inputs {
    /// Takes over what `found` holds of the record of `test`, as far as its word counts.
    pub(super) fn take<T: OfBuild>(into: &mut Vec<Sourced<T>>, input: Input, test: &TestName, found: Vec<T>) {
        let counted = found.into_iter().filter(|value| input.witness(value.build()) == test.function());
        into.extend(counted.map(|value| Sourced { value, source: test.clone() }));
    }

    /// What counts of `of` for a Build; of two that speak of it, the first by name.
    pub(super) fn of<T: OfBuild>(of: &[Sourced<T>], build: Build) -> Option<&Sourced<T>> {
        of.iter().find(|it| it.value.build() == build)
    }
}

/// Why nothing was measured for a Build: what became of the test that should have.
pub(super) fn why_not(input: Input, build: Build, tests: &[TestVerdict]) -> String {
    let function = input.witness(build);
    let case = format!("build{}", build.index() + 1);
    let about = |test: &&TestVerdict| {
        test.name.function() == function && (test.name.test == function || test.name.test.ends_with(&case))
    };
    match Status::worst(tests.iter().filter(about).map(|test| test.status.clone())) {
        None => format!("there is no result of {function}"),
        Some(Status::Pass) => format!("{function} recorded nothing of {build}"),
        Some(status) => format!("{function}: {status}"),
    }
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod whole_bundles;

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    fn scanned(completed: bool, lines: usize, violations: usize) -> Scanned {
        let violations = vec!["LOG-001 a.py:1".to_owned(); violations];
        Scanned { build: Build::B1, completed, lines, sources: Vec::new(), violations }
    }

    #[rstest]
    #[case::example(true, 5000, 5, Some(1.0))]
    #[case::clean(true, 100, 0, Some(0.0))]
    #[case::no_source(true, 0, 0, None)]
    #[case::no_scan(false, 5000, 0, None)]
    fn a_density_needs_source_and_scan(
        #[case] completed: bool,
        #[case] lines: usize,
        #[case] violations: usize,
        #[case] density: Option<f64>,
    ) {
        assert_eq!(scanned(completed, lines, violations).density(), density);
    }

    #[test]
    fn only_the_witness_of_a_build_counts() {
        let name = |test: &str| TestName { binary: "m4".into(), test: test.into() };
        let count = |build| Counted { build, good: 1, total: 1, missing: Vec::new() };
        let mut taken = Vec::new();
        let both = vec![count(Build::B1), count(Build::B2)];
        Inputs::take(&mut taken, Input::Contracts, &name("sc_04_integration_tests"), both.clone());
        Inputs::take(&mut taken, Input::Contracts, &name("b1_07_mcp_tool_responses"), both);
        let builds: Vec<_> = taken.iter().map(|it| it.value.build).collect();
        assert_eq!(builds, [Build::B2]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = [("a".to_owned(), None), ("b".to_owned(), Some("is empty".to_owned()))];
        let counted = Counted::of(Build::B3, &all);
        assert_eq!((counted.good, counted.total, counted.missing), (1, 2, vec!["b: is empty".to_owned()]));
    }
}
