//! The seven phases of a pipeline run and their gates (orchestrator.md §10).

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{watch::Timeline, workspace::PipelineWorkspace};

/// The share of contract tests above which phase 6 holds.
const COMPLIANCE: f64 = 0.70;

/// What one phase came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseResult {
    /// Its id: `parallel_builders`.
    pub phase_name: String,
    /// Whether its gate held.
    pub passed: bool,
    /// What the gate tolerated: with any of these it is never a plain pass.
    pub exceptions: Vec<String>,
    /// Why it did not hold.
    pub errors: Vec<String>,
    /// What it left.
    pub artifacts: Vec<PathBuf>,
    /// How long it took, in seconds; none when it did not run.
    pub duration_seconds: Option<f64>,
}

impl PhaseResult {
    /// The phase `name` with nothing said against it yet.
    pub fn begin(name: &str) -> Self {
        Self { phase_name: name.to_owned(), ..Self::default() }
    }

    /// Judges: passed when there is no error.
    #[must_use]
    pub fn end(mut self, duration_seconds: Option<f64>) -> Self {
        self.passed = self.errors.is_empty();
        self.duration_seconds = duration_seconds;
        self
    }

    /// `passed`, `passed with 2 exceptions`, or `failed: …`.
    pub fn verdict(&self) -> String {
        match self.exceptions.len() {
            _ if !self.passed => format!("failed: {}", self.errors.join("; ")),
            0 => "passed".into(),
            1 => "passed with 1 exception".into(),
            count => format!("passed with {count} exceptions"),
        }
    }

    fn expect(&mut self, holds: bool, error: impl FnOnce() -> String) {
        if !holds {
            self.errors.push(error());
        }
    }
}

/// The names that the PRD of a run promises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Services.
    pub services: BTreeSet<String>,
    /// Entities.
    pub entities: BTreeSet<String>,
}

/// What the suite saw itself of a run, beside the orchestrator's word.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The contracts that the Contract Engine lists, with whether it calls each valid.
    pub contracts: Vec<(String, bool)>,
    /// The services that answered healthy when the suite asked.
    pub healthy: BTreeSet<String>,
}

/// Phases 3 to 7 of the run in `workspace`, up to the first whose gate does not hold.
pub fn judge(workspace: &PipelineWorkspace, timeline: &Timeline, expected: &Expected, seen: &Seen) -> Vec<PhaseResult> {
    let state = workspace.state().unwrap_or_default();
    let phases: [&dyn Fn() -> PhaseResult; 5] = [
        &|| architect(workspace, expected).end(timeline.seconds_in(&["architect_running", "architect_review"])),
        &|| contracts(workspace, &state, seen).end(timeline.seconds_in(&["contracts_registering"])),
        &|| builders(workspace, &state).end(timeline.seconds_in(&["builders_running"])),
        &|| integration(workspace, &state, seen).end(timeline.seconds_in(&["integrating"])),
        &|| gate(workspace).end(timeline.seconds_in(&["quality_gate", "fix_pass"])),
    ];
    let mut results = Vec::new();
    for phase in phases {
        let result = phase();
        let passed = result.passed;
        results.push(result);
        if !passed {
            break;
        }
    }
    results
}

fn architect(workspace: &PipelineWorkspace, expected: &Expected) -> PhaseResult {
    let mut phase = PhaseResult::begin("architect_decomposition");
    for (file, list, names) in
        [("service_map.json", "services", &expected.services), ("domain_model.json", "entities", &expected.entities)]
    {
        let found: BTreeSet<_> = match workspace.json(file) {
            Ok(value) => texts(&value[list], "name"),
            Err(failure) => {
                phase.errors.push(failure.status().reason().unwrap_or_default().to_owned());
                continue;
            }
        };
        phase.artifacts.push(workspace.file(file));
        phase.expect(found.len() >= 3, || format!("{} {list}, fewer than 3", found.len()));
        let missing: Vec<_> = names.difference(&found).map(String::as_str).collect();
        phase.expect(missing.is_empty(), || format!("{list} without {}", missing.join(", ")));
    }
    phase
}

fn contracts(workspace: &PipelineWorkspace, state: &Value, seen: &Seen) -> PhaseResult {
    let mut phase = PhaseResult::begin("contract_registration");
    phase.artifacts.push(workspace.file("contract_registry.json"));
    let is_done = state["completed_phases"].as_array().is_some_and(|all| all.contains(&"contracts_registering".into()));
    phase.expect(is_done, || "contracts_registering is not completed".into());
    phase.expect(seen.contracts.len() >= 3, || format!("{} contracts listed, fewer than 3", seen.contracts.len()));
    for (name, _) in seen.contracts.iter().filter(|(_, valid)| !valid) {
        phase.errors.push(format!("{name} is not valid"));
    }
    phase
}

fn builders(workspace: &PipelineWorkspace, state: &Value) -> PhaseResult {
    let mut phase = PhaseResult::begin("parallel_builders");
    let results: Vec<_> = state["builder_results"].as_array().into_iter().flatten().collect();
    let succeeded = results.iter().filter(|result| result["success"] == true).count();
    phase.expect(succeeded >= 2, || format!("{succeeded} of {} builders succeeded, fewer than 2", results.len()));
    for result in results {
        let service = result["service_id"].as_str().unwrap_or_default();
        phase.artifacts.push(workspace.build(service));
        if result["success"] != true {
            phase.exceptions.push(format!("{service}: {}", result["error"]));
        }
    }
    phase
}

fn integration(workspace: &PipelineWorkspace, state: &Value, seen: &Seen) -> PhaseResult {
    let mut phase = PhaseResult::begin("integration_deployment");
    let report = match workspace.json("INTEGRATION_REPORT.json") {
        Ok(report) => report,
        Err(failure) => {
            phase.errors.push(failure.status().reason().unwrap_or_default().to_owned());
            return phase;
        }
    };
    phase.artifacts.push(workspace.file("INTEGRATION_REPORT.md"));
    let deployed: BTreeSet<_> =
        state["services_deployed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    phase.expect(!deployed.is_empty(), || "nothing was deployed".into());
    for service in deployed.iter().filter(|service| !seen.healthy.contains(**service)) {
        phase.errors.push(format!("{service} is not healthy"));
    }
    let count = |name: &str| report[name].as_f64().unwrap_or_default();
    let (passed, total) = (count("contract_tests_passed"), count("contract_tests_total"));
    phase.expect(total > 0.0 && passed / total > COMPLIANCE, || format!("{passed} of {total} contract tests passed"));
    let failed = report["violations"].as_array().map_or(0, Vec::len);
    phase.exceptions.extend((0..failed).map(|index| report["violations"][index]["message"].to_string()));
    if phase.exceptions.is_empty() && passed < total {
        phase.exceptions.push(format!("{} contract tests did not pass", total - passed));
    }
    phase
}

fn gate(workspace: &PipelineWorkspace) -> PhaseResult {
    let mut phase = PhaseResult::begin("quality_gate");
    let report = match workspace.json("QUALITY_GATE_REPORT.json") {
        Ok(report) => report,
        Err(failure) => {
            phase.errors.push(failure.status().reason().unwrap_or_default().to_owned());
            return phase;
        }
    };
    phase.artifacts.push(workspace.file("QUALITY_GATE_REPORT.md"));
    let verdict = report["overall_verdict"].as_str().unwrap_or("missing");
    phase.expect(matches!(verdict, "passed" | "partial"), || format!("the verdict is {verdict}"));
    for layer in ["layer1_service", "layer2_contract", "layer3_system"] {
        let checks = report["layers"][layer]["total_checks"].as_u64().unwrap_or_default();
        phase.expect(checks > 0, || format!("{layer} checked nothing"));
    }
    for layer in report["layers"].as_object().into_iter().flatten().map(|(_, layer)| layer) {
        for list in ["violations", "contract_violations"] {
            let listed = layer[list].as_array().into_iter().flatten();
            phase.exceptions.extend(listed.map(|one| format!("{}: {}", one["code"], one["message"])));
        }
    }
    if verdict == "partial" && phase.exceptions.is_empty() {
        phase.exceptions.push("the verdict is partial".into());
    }
    phase
}

fn texts(list: &Value, field: &str) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(|one| one[field].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::workspace::blank_state;
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::json;
    use tempfile::TempDir;

    /// A run in which everything went well.
    fn run() -> (TempDir, PipelineWorkspace) {
        let folder = TempDir::new().expect("a folder");
        let workspace = PipelineWorkspace::at(folder.path());
        let named = |names: [&str; 3]| json!(names.map(|name| json!({ "name": name })));
        let mut state = blank_state("complete", &["architect_running", "contracts_registering"]);
        state["builder_results"] =
            json!(["a", "b", "c"].map(|name| json!({ "service_id": name, "success": true, "error": null })));
        state["services_deployed"] = json!(["a", "b", "c"]);
        workspace.write_state(&state).expect("written");
        let layer = json!({ "total_checks": 1, "violations": [], "contract_violations": [] });
        for (name, value) in [
            ("service_map.json", json!({ "services": named(["a", "b", "c"]) })),
            ("domain_model.json", json!({ "entities": named(["X", "Y", "Z"]) })),
            (
                "INTEGRATION_REPORT.json",
                json!({ "contract_tests_total": 10, "contract_tests_passed": 10, "violations": [] }),
            ),
            (
                "QUALITY_GATE_REPORT.json",
                json!({ "overall_verdict": "passed", "layers": {
                    "layer1_service": layer, "layer2_contract": layer, "layer3_system": layer,
                } }),
            ),
        ] {
            crate::atomic::write_json(&workspace.file(name), &value).expect("written");
        }
        (folder, workspace)
    }

    fn set(names: [&str; 3]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    fn verdicts(workspace: &PipelineWorkspace, seen: &Seen) -> Vec<String> {
        let expected = Expected { services: set(["a", "b", "c"]), entities: set(["X", "Y", "Z"]) };
        judge(workspace, &Timeline::default(), &expected, seen).iter().map(PhaseResult::verdict).collect()
    }

    fn seen() -> Seen {
        let contracts = ["one", "two", "three"].map(|name| (name.to_owned(), true)).to_vec();
        Seen { contracts, healthy: set(["a", "b", "c"]) }
    }

    /// Changes a value of a file of the orchestrator's.
    fn change(workspace: &PipelineWorkspace, file: &str, pointer: &str, value: Value) {
        let mut whole = workspace.json(file).expect("there");
        *whole.pointer_mut(pointer).expect("it has that") = value;
        crate::atomic::write_json(&workspace.file(file), &whole).expect("written");
    }

    #[test]
    fn a_good_run_passes_every_phase() {
        let (_folder, workspace) = run();
        assert_eq!(verdicts(&workspace, &seen()), ["passed"; 5]);
    }

    #[rstest]
    #[case::entity("domain_model.json", "/entities/0/name", json!("W"), &["failed: entities without X"])]
    #[case::two_builders("PIPELINE_STATE.json", "/builder_results/0/success", json!(false), &["passed", "passed", "passed with 1 exception", "passed", "passed"])]
    #[case::compliance("INTEGRATION_REPORT.json", "/contract_tests_passed", json!(7), &["passed", "passed", "passed", "failed: 7 of 10 contract tests passed"])]
    #[case::above("INTEGRATION_REPORT.json", "/contract_tests_passed", json!(8), &["passed", "passed", "passed", "passed with 1 exception", "passed"])]
    #[case::skipped("QUALITY_GATE_REPORT.json", "/overall_verdict", json!("skipped"), &["passed", "passed", "passed", "passed", "failed: the verdict is skipped"])]
    #[case::partial("QUALITY_GATE_REPORT.json", "/overall_verdict", json!("partial"), &["passed", "passed", "passed", "passed", "passed with 1 exception"])]
    #[case::no_checks("QUALITY_GATE_REPORT.json", "/layers/layer3_system/total_checks", json!(0), &["passed", "passed", "passed", "passed", "failed: layer3_system checked nothing"])]
    #[case::findings("QUALITY_GATE_REPORT.json", "/layers/layer3_system/violations", json!([{ "code": "LOG-001", "message": "print" }, { "code": "LOG-001", "message": "print" }]), &["passed", "passed", "passed", "passed", "passed with 2 exceptions"])]
    fn a_gate_says_what_it_tolerates_and_ends_the_run(
        #[case] file: &str,
        #[case] pointer: &str,
        #[case] value: Value,
        #[case] expected: &[&str],
    ) {
        let (_folder, workspace) = run();
        change(&workspace, file, pointer, value);
        assert_eq!(verdicts(&workspace, &seen()), expected);
    }

    #[test]
    fn the_suites_own_eyes_count() {
        let (_folder, workspace) = run();
        let mut sick = seen();
        sick.healthy.remove("b");
        assert_eq!(verdicts(&workspace, &sick).last().map(String::as_str), Some("failed: b is not healthy"));
        let mut bad = seen();
        bad.contracts[1].1 = false;
        assert_eq!(verdicts(&workspace, &bad), ["passed", "failed: two is not valid"]);
    }
}
