//! The quality gate of an orchestrator: workspaces prepared for `verify`, and what its report
//! says (orchestrator.md §5.4, §6).

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use super::workspace::{PipelineWorkspace, blank_state};
use crate::{fix_pass::violation::Severity, verdict::Failure};

/// The layers, in the order in which they must run.
pub const LAYERS: [&str; 4] = ["layer1_service", "layer2_contract", "layer3_system", "layer4_adversarial"];

/// The phases behind a workspace that waits for `verify`.
const COMPLETED: [&str; 4] = ["architect_running", "contracts_registering", "builders_running", "integrating"];

/// What `verify` finds in a prepared workspace: hand-written results of the phases before.
#[derive(Debug, Clone, Default)]
pub struct GateInput {
    builds: Vec<Value>,
    contracts: Vec<Value>,
    contract_tests: Option<(usize, usize)>,
}

impl GateInput {
    /// No builder and no integration.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the service `name`, a success with 20 of 20 tests and convergence 1, in its place
    /// below `builds/`; `changes` are members of its BuilderResult that differ.
    #[must_use]
    pub fn service(mut self, name: &str, changes: &Value) -> Self {
        let mut result = json!({
            "system_id": "prepared", "service_id": name, "success": true, "cost": 0.0, "error": null,
            "test_passed": 20, "test_total": 20, "convergence_ratio": 1.0, "artifacts": [],
            "exit_code": 0, "duration_s": 1.0, "health": "passed", "completed_phases": [],
        });
        for (key, value) in changes.as_object().into_iter().flatten() {
            result[key] = value.clone();
        }
        self.builds.push(result);
        self
    }

    /// Adds a registered contract of `service`: `openapi` or `asyncapi`.
    #[must_use]
    pub fn contract(mut self, service: &str, name: &str, kind: &str, spec: &Value) -> Self {
        self.contracts.push(json!({
            "name": name, "service_name": service, "type": kind, "version": "1.0.0", "spec": spec,
            "contract_id": name, "consumers": [],
        }));
        self
    }

    /// So many contract tests passed of so many; without this, the integration did not run.
    #[must_use]
    pub fn contract_tests(mut self, passed: usize, total: usize) -> Self {
        self.contract_tests = Some((passed, total));
        self
    }

    /// Writes the workspace as it is before `verify`; the trees of the services are the caller's.
    ///
    /// # Errors
    /// The file system's own.
    pub fn write(&self, workspace: &PipelineWorkspace) -> std::io::Result<()> {
        let mut state = blank_state("quality_gate", &COMPLETED);
        let mut results = self.builds.clone();
        for result in &mut results {
            let folder = workspace.build(result["service_id"].as_str().unwrap_or_default());
            std::fs::create_dir_all(&folder)?;
            result["output_dir"] = json!(folder);
        }
        let registry = workspace.file("contract_registry.json");
        workspace.put(&registry, json!({ "contracts": self.contracts, "dropped": [] }).to_string())?;
        state["contract_registry_path"] = json!(registry);
        state["successful_builders"] = json!(results.iter().filter(|result| result["success"] == true).count());
        state["total_builders"] = json!(results.len());
        state["builder_results"] = json!(results);
        workspace.put("prd.md", "# Prepared\n")?;
        state["prd_path"] = json!(workspace.root().join("prd.md"));
        if let Some((passed, total)) = self.contract_tests {
            let report = workspace.file("INTEGRATION_REPORT.json");
            workspace.put(&report, self.integration_report(passed, total).to_string())?;
            state["integration_report_path"] = json!(report);
        }
        workspace.write_state(&state)
    }

    fn integration_report(&self, passed: usize, total: usize) -> Value {
        let health = if passed == total { "passed" } else { "partial" };
        let count = self.builds.len();
        json!({
            "services_deployed": count, "services_healthy": count,
            "contract_tests_total": total, "contract_tests_passed": passed,
            "integration_tests_total": 1, "integration_tests_passed": 1,
            "data_flow_tests_total": 0, "data_flow_tests_passed": 0,
            "boundary_tests_total": 0, "boundary_tests_passed": 0,
            "violations": [], "overall_health": health,
        })
    }
}

/// A violation of a gate's report, by the names of orchestrator.md §7.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GateViolation {
    /// `LOG-001`; the codes of other gates by their counterpart.
    pub code: String,
    /// The service.
    pub service: String,
    /// The file below the service's tree, or the endpoint; empty when it is of none.
    pub place: String,
    /// The line, from 1; 0 when it is of none.
    pub line: u64,
    /// How bad the gate says it is; an unknown word counts as an error.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
}

/// QUALITY_GATE_REPORT: the JSON file, else `last_quality_results` of the state; and the Markdown.
#[derive(Debug, Clone)]
pub struct GateReport {
    value: Value,
    /// QUALITY_GATE_REPORT.md.
    pub markdown: String,
}

impl GateReport {
    /// The report in a workspace.
    ///
    /// # Errors
    /// FAIL when there is none.
    pub fn read(workspace: &PipelineWorkspace) -> Result<Self, Failure> {
        let value = match workspace.json("QUALITY_GATE_REPORT.json") {
            Ok(value) => value,
            Err(_) => workspace.state()?["last_quality_results"].clone(),
        };
        if !value["layers"].is_object() {
            return Err(Failure::fail(format!("the report of the quality gate has no layers: {value}")));
        }
        Ok(Self { value, markdown: workspace.text("QUALITY_GATE_REPORT.md")? })
    }

    /// All of it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// `overall_verdict`.
    pub fn overall(&self) -> &str {
        self.value["overall_verdict"].as_str().unwrap_or_default()
    }

    /// One layer.
    pub fn layer(&self, name: &str) -> &Value {
        &self.value["layers"][name]
    }

    /// The verdicts of the four layers, in the order of [`LAYERS`].
    pub fn verdicts(&self) -> [&str; 4] {
        LAYERS.map(|name| self.layer(name)["verdict"].as_str().unwrap_or_default())
    }

    /// The layers in the order in which they ran: by `sequence`, else as they stand (D-128).
    pub fn order(&self) -> Vec<&str> {
        let mut layers: Vec<(&String, &Value)> = self.value["layers"].as_object().into_iter().flatten().collect();
        if layers.iter().all(|(_, layer)| layer["sequence"].is_u64()) {
            layers.sort_by_key(|(_, layer)| layer["sequence"].as_u64());
        }
        layers.into_iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Every violation of every layer.
    pub fn violations(&self) -> Vec<GateViolation> {
        LAYERS.iter().flat_map(|layer| self.violations_of(layer)).collect()
    }

    /// The violations of one layer.
    pub fn violations_of(&self, layer: &str) -> Vec<GateViolation> {
        let lists = ["violations", "contract_violations"].map(|list| &self.layer(layer)[list]);
        let mut found: Vec<_> = lists.into_iter().filter_map(Value::as_array).flatten().map(violation).collect();
        found.sort();
        found
    }

    /// The codes that the report has, in any layer.
    pub fn codes(&self) -> BTreeSet<String> {
        self.violations().into_iter().map(|violation| violation.code).collect()
    }

    /// The lines of the Markdown below the heading `title`.
    pub fn section(&self, title: &str) -> Vec<&str> {
        let lines = self.markdown.lines().skip_while(|line| line.trim_start_matches('#').trim() != title).skip(1);
        lines.take_while(|line| !line.starts_with("## ")).collect()
    }
}

fn violation(value: &Value) -> GateViolation {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let message = text("message");
    let place = [text("file_path"), text("file"), text("endpoint")].into_iter().find(|it| !it.is_empty());
    GateViolation {
        code: canonical(&text("code"), &message).to_owned(),
        service: text("service"),
        place: place.unwrap_or_default(),
        line: value["line"].as_u64().unwrap_or(0),
        severity: serde_json::from_value(value["severity"].clone()).unwrap_or(Severity::Error),
        message,
    }
}

/// What a code of another gate is called here; where a number carries another meaning, the
/// message decides (orchestrator.md §7, D-36).
pub fn canonical<'a>(code: &'a str, message: &str) -> &'a str {
    let says = |words: &[&str]| words.iter().any(|word| message.to_lowercase().contains(word));
    match code {
        "DEAD-001" => "ADV-001",
        "DEAD-002" => "ADV-002",
        "SEC-SCAN-001" if says(&["password"]) => "SEC-SECRET-006",
        "SEC-SCAN-001" => "SEC-SECRET-003",
        "DOCKER-001" if says(&["health check", "healthcheck"]) => "DOCKER-005",
        _ => code,
    }
}

/// The places where the Python sources of `tree` outside of tests begin a line with `print(`:
/// the suite's own count, which knows nothing of comments and strings.
///
/// # Errors
/// The file system's own.
pub fn prints(tree: &Path) -> std::io::Result<BTreeSet<(String, u64)>> {
    let mut found = BTreeSet::new();
    for path in crate::tree::files(tree, "py")? {
        let below = path.strip_prefix(tree).unwrap_or(&path);
        let is_test = below.starts_with("tests")
            || below.file_name().is_some_and(|name| name.to_string_lossy().starts_with("test_"));
        let text = std::fs::read_to_string(&path)?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !is_test && line.trim_start().starts_with("print("));
        found.extend(lines.map(|(number, _)| (below.display().to_string(), number)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    use super::*;

    fn report(layers: Value) -> GateReport {
        let markdown = "# R\n\n## Advisory Findings\n\n| LOG-001 |\n\n## Fix History\n\nx\n".into();
        GateReport { value: json!({ "overall_verdict": "partial", "layers": layers }), markdown }
    }

    #[rstest]
    #[case::own("LOG-001", "print", "LOG-001")]
    #[case::dead_event("DEAD-001", "x", "ADV-001")]
    #[case::dead_contract("DEAD-002", "x", "ADV-002")]
    #[case::password("SEC-SCAN-001", "hardcoded Password", "SEC-SECRET-006")]
    #[case::api_key("SEC-SCAN-001", "hardcoded API key", "SEC-SECRET-003")]
    #[case::other_meaning("DOCKER-001", "missing HEALTHCHECK", "DOCKER-005")]
    #[case::same_meaning("DOCKER-001", "runs as root", "DOCKER-001")]
    #[case::no_counterpart("NAME-001", "x", "NAME-001")]
    fn codes_of_other_gates_have_their_names_here(#[case] code: &str, #[case] message: &str, #[case] name: &str) {
        assert_eq!(canonical(code, message), name);
    }

    #[test]
    fn the_order_is_that_of_the_sequence() {
        let layers = json!({ "b": { "sequence": 2 }, "a": { "sequence": 1 } });
        assert_eq!(report(layers).order(), ["a", "b"]);
        assert_eq!(report(json!({ "b": {}, "a": { "sequence": 1 } })).order(), ["b", "a"]);
    }

    #[test]
    fn violations_of_both_kinds_are_read() {
        let scan = json!({ "code": "LOG-001", "service": "a", "file_path": "src/x.py", "line": 3, "message": "m" });
        let contract = json!({ "code": "SCHEMA-001", "service": "b", "endpoint": "GET /x", "message": "n" });
        let report =
            report(json!({ LAYERS[1]: { "contract_violations": [contract] }, LAYERS[2]: { "violations": [scan] } }));
        let found: Vec<_> = report.violations().into_iter().map(|it| (it.code, it.place, it.line)).collect();
        assert_eq!(found, [("SCHEMA-001".into(), "GET /x".into(), 0), ("LOG-001".into(), "src/x.py".into(), 3)]);
    }

    #[test]
    fn a_section_ends_with_the_next() {
        assert_eq!(report(json!({})).section("Advisory Findings"), ["", "| LOG-001 |", ""]);
        assert_eq!(report(json!({})).section("Nothing"), [""; 0]);
    }

    #[test]
    fn prints_are_counted_outside_of_tests() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["src/a.py", "tests/b.py", "src/test_c.py"] {
            crate::atomic::write(&folder.path().join(path), "x = 1\n    print(x)\n# print(x)\n").expect("written");
        }
        assert_eq!(prints(folder.path()).expect("readable"), BTreeSet::from([("src/a.py".to_owned(), 2)]));
    }
}
