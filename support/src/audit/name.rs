//! How a test is called in the bundle, whoever writes its name.

use std::fmt;

use serde::Serialize;

use crate::matrix::function_name;

/// The package of the milestones; the binaries of other packages keep its name before theirs.
const SUITE: &str = "run4";

/// A test of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TestName {
    /// The binary, `m2_mcp_wiring`; of another package with its name, `architect::routes`.
    pub binary: String,
    /// The function with its modules and case, `b1_07_mcp_tool_responses::find_definition`.
    pub test: String,
}

impl TestName {
    /// The test that the runner shows as `displayed` of the binary `id`, `run4::m2_mcp_wiring`.
    pub(super) fn of_runner(id: &str, displayed: &str) -> Self {
        let binary = match id.split_once("::") {
            Some((SUITE, binary)) => binary,
            _ => id,
        };
        Self { binary: binary.to_owned(), test: function_name(displayed).to_owned() }
    }

    /// The test whose record stands at `path` of a bundle.
    pub(super) fn of_evidence(path: &str) -> Option<Self> {
        let (binary, file) = path.strip_prefix("evidence/")?.split_once('/')?;
        Some(Self { binary: binary.to_owned(), test: file.strip_suffix(".json")?.replace("--", "::") })
    }

    /// The function alone: `b1_07_mcp_tool_responses`.
    pub fn function(&self) -> &str {
        self.test.split("::").next().unwrap_or(&self.test)
    }

    /// The milestone that its binary belongs to: 2 for `m2_mcp_wiring`.
    pub fn milestone(&self) -> Option<u8> {
        let (number, _) = self.binary.strip_prefix('m')?.split_once('_')?;
        number.parse().ok()
    }

    /// Whether it judges an id of the matrix or a requirement, so that its word alone is
    /// not enough.
    pub(super) fn needs_evidence(&self, claims_id: bool) -> bool {
        claims_id || self.test.starts_with("r4_")
    }
}

impl fmt::Display for TestName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.binary, self.test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case::suite("run4::m2_mcp_wiring", "b1_07_x::case [B1-07]", "m2_mcp_wiring b1_07_x::case")]
    #[case::own_tests("run4-support", "matrix::tests::a_fact", "run4-support matrix::tests::a_fact")]
    #[case::other_package("architect::routes", "starts", "architect::routes starts")]
    fn the_runner_names_a_test(#[case] id: &str, #[case] displayed: &str, #[case] name: &str) {
        assert_eq!(TestName::of_runner(id, displayed).to_string(), name);
    }

    #[test]
    fn a_record_names_its_test() {
        let name = TestName::of_evidence("evidence/m2_mcp_wiring/b1_07_x--case.json").expect("a record");
        assert_eq!(name.to_string(), "m2_mcp_wiring b1_07_x::case");
        assert_eq!(name.function(), "b1_07_x");
        assert_eq!(TestName::of_evidence("junit/m2.xml"), None);
    }
}
