//! The tests that should have run: what the test runner listed before the run
//! (`cargo nextest list --message-format json`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::name::TestName;

/// The listed tests, and whether the run selected them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing(BTreeMap<TestName, bool>);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    rust_suites: BTreeMap<String, Suite>,
}

#[derive(Deserialize)]
struct Suite {
    testcases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Case {
    filter_match: FilterMatch,
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
enum FilterMatch {
    Matches,
    Mismatch,
}

impl Listing {
    /// Reads what the runner printed.
    pub(super) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let file: File = serde_json::from_slice(text)?;
        let tests = file.rust_suites.iter().flat_map(|(binary, suite)| {
            suite.testcases.iter().map(move |(test, case)| {
                let selected = matches!(case.filter_match, FilterMatch::Matches);
                (TestName::of_runner(binary, test), selected)
            })
        });
        Ok(Self(tests.collect()))
    }

    /// The tests that exist.
    pub(super) fn tests(&self) -> impl Iterator<Item = &TestName> {
        self.0.keys()
    }

    /// Whether the run was to execute `test`.
    pub(super) fn selects(&self, test: &TestName) -> bool {
        self.0.get(test).copied().unwrap_or(false)
    }

    #[cfg(test)]
    pub(super) fn of(tests: impl IntoIterator<Item = (TestName, bool)>) -> Self {
        Self(tests.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    // As nextest 0.9.143 printed it, without the parts that are not read.
    const PRINTED: &str = r#"{
      "rust-build-meta": {"target-directory": "target"},
      "test-count": 3,
      "rust-suites": {
        "run4::m2_mcp_wiring": {
          "package-name": "run4", "binary-id": "run4::m2_mcp_wiring", "kind": "test", "status": "listed",
          "testcases": {
            "b1_09_handshake [B1-09]": {"kind": "test", "ignored": false, "filter-match": {"status": "matches"}},
            "b1_10_handshake [B1-10]":
              {"kind": "test", "ignored": false, "filter-match": {"status": "mismatch", "reason": "default-filter"}},
            "slow": {"kind": "test", "ignored": true, "filter-match": {"status": "mismatch", "reason": "ignored"}}
          }
        },
        "architect": {"package-name": "architect", "status": "listed", "testcases": {}}
      }
    }"#;

    #[test]
    fn the_runner_says_which_tests_there_are() {
        let listing = Listing::parse(PRINTED.as_bytes()).expect("readable");
        let tests: Vec<_> = listing.tests().map(|name| (name.test.as_str(), listing.selects(name))).collect();
        assert_eq!(tests, [("b1_09_handshake", true), ("b1_10_handshake", false), ("slow", false)]);
    }
}
