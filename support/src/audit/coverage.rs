//! The interface coverage matrix (R4-M6-006, spec scoring.md §10): how each of the 20 tools
//! was called, and how it answered.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{colour::Colour, promises::ToolPromise};

/// The name under which a test keeps its calls.
pub(super) const OBSERVATION: &str = "tool_calls";

/// The ids whose tests judge the tools; calls of other tests prepare something and are no proof.
const COUNTED_IDS: [&str; 2] = ["B1-07", "B1-15"];
/// Further tests that do, by the beginning of their name.
const COUNTED_TESTS: &str = "r4_m2_002";

/// One call as a test recorded it: the border between the tests and this matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The tool.
    pub tool: String,
    /// The case of `fixtures/toolset.toml`.
    pub case: String,
    /// How the tool was called.
    pub condition: CallCondition,
    /// Whether the reply had the promised shape.
    pub parseable: bool,
    /// Whether the reply kept every fact of the case.
    pub passed: bool,
}

/// How a tool was called (spec tools.md §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallCondition {
    /// With all arguments that matter.
    Valid,
    /// With the required arguments only.
    RequiredOnly,
    /// About something that is not there.
    Absent,
    /// With a wrong type or value.
    Invalid,
    /// Under a name that no tool has.
    Unknown,
}

/// Whether something was tried, and how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tried {
    /// Never tried.
    No,
    /// At least one try went wrong.
    Failed,
    /// Every try went well.
    Passed,
}

impl Tried {
    fn all(tries: impl Iterator<Item = bool>) -> Self {
        tries.fold(Self::No, |sum, good| match (sum, good) {
            (Self::Failed, _) | (_, false) => Self::Failed,
            (Self::No | Self::Passed, true) => Self::Passed,
        })
    }

    /// Whether it was tried at all.
    pub fn tested(self) -> bool {
        self != Self::No
    }

    /// Whether it was tried and every try went well.
    pub fn passed(self) -> bool {
        self == Self::Passed
    }
}

/// One row of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ToolCoverage {
    /// The key of its server.
    pub server: String,
    /// The tool.
    pub tool: String,
    /// Calls with good arguments.
    pub valid: Tried,
    /// Calls with wrong arguments; none for a tool that takes no arguments.
    pub error: Option<Tried>,
    /// Whether every reply to a good call had the promised shape.
    pub parseable: Tried,
    /// GREEN, YELLOW or RED.
    pub colour: Colour,
    /// The tests that recorded the calls, `m2_mcp_wiring b1_07_…`.
    pub sources: BTreeSet<String>,
}

/// Whether the calls of `test` count: it judges `id`, or is one of the requirement's own.
pub(super) fn counts(test: &str, id: Option<&str>) -> bool {
    id.is_some_and(|id| COUNTED_IDS.contains(&id)) || test.starts_with(COUNTED_TESTS)
}

/// The matrix over `tools` from calls and the tests that recorded them.
pub(super) fn matrix(tools: &[ToolPromise], calls: &[(String, ToolCall)]) -> Vec<ToolCoverage> {
    tools.iter().map(|promise| row(promise, calls)).collect()
}

fn row(promise: &ToolPromise, calls: &[(String, ToolCall)]) -> ToolCoverage {
    use CallCondition::{Absent, Invalid, RequiredOnly, Valid};
    let own = || calls.iter().filter(|(_, call)| call.tool == promise.tool);
    let passed =
        |condition| Tried::all(own().filter(move |(_, call)| call.condition == condition).map(|(_, call)| call.passed));
    let answered = own().filter(|(_, call)| matches!(call.condition, Valid | RequiredOnly | Absent));
    let valid = passed(Valid);
    let parseable = Tried::all(answered.map(|(_, call)| call.parseable));
    let error = promise.parameters.then(|| passed(Invalid));
    ToolCoverage {
        server: promise.server.clone(),
        tool: promise.tool.clone(),
        valid,
        error,
        parseable,
        colour: colour(valid, parseable, error),
        sources: own().map(|(source, _)| source.clone()).collect(),
    }
}

fn colour(valid: Tried, parseable: Tried, error: Option<Tried>) -> Colour {
    match (valid.passed() && parseable.passed(), error) {
        (false, _) => Colour::Red,
        (true, None | Some(Tried::Passed)) => Colour::Green,
        (true, Some(Tried::No | Tried::Failed)) => Colour::Yellow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    use CallCondition::{Absent, Invalid, RequiredOnly, Unknown, Valid};

    fn call(condition: CallCondition, parseable: bool, passed: bool) -> (String, ToolCall) {
        let call = ToolCall { tool: "decompose".into(), case: "c".into(), condition, parseable, passed };
        ("m2 b1_07".into(), call)
    }

    fn promise(parameters: bool) -> ToolPromise {
        ToolPromise { server: "architect".into(), tool: "decompose".into(), parameters }
    }

    #[rstest]
    #[case::all_good(vec![call(Valid, true, true), call(Invalid, true, true)], true, Colour::Green)]
    #[case::no_parameters(vec![call(Valid, true, true)], false, Colour::Green)]
    #[case::error_not_tested(vec![call(Valid, true, true)], true, Colour::Yellow)]
    #[case::error_not_passed(vec![call(Valid, true, true), call(Invalid, true, false)], true, Colour::Yellow)]
    #[case::nothing_called(vec![], true, Colour::Red)]
    #[case::only_errors(vec![call(Invalid, true, true)], true, Colour::Red)]
    #[case::only_required(vec![call(RequiredOnly, true, true), call(Invalid, true, true)], true, Colour::Red)]
    #[case::one_of_two_fails(vec![call(Valid, true, true), call(Valid, true, false)], true, Colour::Red)]
    #[case::the_first_of_two_fails(vec![call(Valid, true, false), call(Valid, true, true)], true, Colour::Red)]
    #[case::not_parseable(vec![call(Valid, false, true), call(Invalid, true, true)], true, Colour::Red)]
    #[case::absent_not_parseable(
        vec![call(Valid, true, true), call(Absent, false, true), call(Invalid, true, true)], true, Colour::Red)]
    #[case::a_wrong_name_is_no_call(vec![call(Unknown, true, true)], true, Colour::Red)]
    fn a_tool_has_a_colour(#[case] calls: Vec<(String, ToolCall)>, #[case] parameters: bool, #[case] colour: Colour) {
        assert_eq!(matrix(&[promise(parameters)], &calls)[0].colour, colour);
    }

    #[test]
    fn calls_of_other_tools_do_not_count() {
        let mut foreign = call(Valid, true, true);
        foreign.1.tool = "list_contracts".into();
        let row = &matrix(&[promise(true)], &[foreign])[0];
        assert_eq!((row.valid, row.parseable, row.sources.len()), (Tried::No, Tried::No, 0));
    }

    #[rstest]
    #[case("b1_07_mcp_tool_responses::decompose", Some("B1-07"), true)]
    #[case("b1_15_invalid_tool_input", Some("B1-15"), true)]
    #[case("r4_m2_002_required_only", None, true)]
    #[case("b1_18_multi_server", Some("B1-18"), false)]
    #[case("a_fact", None, false)]
    fn only_tests_of_tools_count(#[case] test: &str, #[case] id: Option<&str>, #[case] counted: bool) {
        assert_eq!(counts(test, id), counted);
    }
}
